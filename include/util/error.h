/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors that a person reads, and the names of the two error idioms.
 *
 * Control plane (set-up, options, QMP, migration control): a function returns
 * bool (or a pointer) and fills a GError with one line for a person.
 * Data plane (faults, I/O, exits, stream bytes): a function returns 0 or a
 * count, or -errno; it does not allocate and does not log.
 *
 * Threads: any. A GError belongs to whoever received it.
 */
#ifndef VM_UTIL_ERROR_H
#define VM_UTIL_ERROR_H

#include <glib.h>
#include <stdbool.h>

/* Domain of every GError made here; code is a positive errno, or 0. */
#define VM_ERROR (vm_error_quark())
GQuark vm_error_quark(void);

/*
 * Fills *errp (if errp is not NULL and *errp is NULL: the first error wins)
 * with the formatted message; a positive errnum appends ": strerror". Always
 * returns false, so that "return vm_error_set(...)" is the whole error path.
 */
bool vm_error_set(GError **errp, int errnum, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

#endif
