/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Log lines on stderr, and trace points.
 *
 * Lines are "qemu-system-x86_64: text", as QEMU prints them. Only monitor and
 * system report errors to people; the layers below return errors, and may
 * use vm_debug(), which VM_DEBUG=area[,area...|all] in the environment turns
 * on for an area. Threads: any.
 */
#ifndef VM_UTIL_LOG_H
#define VM_UTIL_LOG_H

#include <glib.h>
#include <stdbool.h>

void vm_log_init(bool timestamps); /* -msg timestamp=on */
void vm_report(const char *format, ...) G_GNUC_PRINTF(1, 2);
void vm_warn(const char *format, ...) G_GNUC_PRINTF(1, 2);
bool vm_debug_on(const char *area);
void vm_debug_line(const char *area, const char *format, ...)
    G_GNUC_PRINTF(2, 3);
#define vm_debug(area, ...)                    \
    do {                                       \
        if (G_UNLIKELY(vm_debug_on(area))) {   \
            vm_debug_line(area, __VA_ARGS__);  \
        }                                      \
    } while (0)

#endif
