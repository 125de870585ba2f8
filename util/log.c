/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines on stderr.
 *
 * Why: libvirt and people read this; a line must reach the file whole even
 * when several threads report at once, so each is one write(2). VM_DEBUG is
 * read once. Threads: any; vm_log_init() before the first other thread.
 */
#include "util/log.h"
#include "util/clock.h"
#include "util/fd.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define LOG_NAME "qemu-system-x86_64"

/* Immutable once other threads run. */
static bool log_timestamps;

void vm_log_init(bool timestamps)
{
    log_timestamps = timestamps;
}

static void log_line(const char *prefix, const char *format, va_list args)
    G_GNUC_PRINTF(2, 0);

static void log_line(const char *prefix, const char *format, va_list args)
{
    g_autofree char *text = g_strdup_vprintf(format, args);
    g_autofree char *stamp = NULL;
    g_autofree char *line = NULL;

    if (log_timestamps) {
        int64_t now_ns = vm_clock_real_ns();
        g_autoptr(GDateTime) now =
            g_date_time_new_from_unix_utc(now_ns / VM_NS_PER_SEC);
        g_autofree char *seconds = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");

        stamp = g_strdup_printf("%s.%06dZ ", seconds,
                                (int)(now_ns % VM_NS_PER_SEC / 1000));
    }
    line = g_strdup_printf("%s" LOG_NAME ": %s%s\n", stamp ? stamp : "",
                           prefix, text);
    /* Nobody is left to tell if stderr is gone. */
    (void)vm_write_full(STDERR_FILENO, line, strlen(line));
}

void vm_report(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_line("", format, args);
    va_end(args);
}

void vm_warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_line("warning: ", format, args);
    va_end(args);
}

static pthread_once_t debug_once = PTHREAD_ONCE_INIT;
static char **debug_areas; /* of VM_DEBUG, or NULL; never freed */

static void read_debug_areas(void)
{
    const char *text = g_getenv("VM_DEBUG");

    debug_areas = text ? g_strsplit(text, ",", /* max_tokens= */ -1) : NULL;
}

bool vm_debug_on(const char *area)
{
    const char *const *areas;

    pthread_once(&debug_once, read_debug_areas);
    areas = (const char *const *)debug_areas;
    return areas &&
           (g_strv_contains(areas, area) || g_strv_contains(areas, "all"));
}

void vm_debug_line(const char *area, const char *format, ...)
{
    g_autofree char *prefix = g_strdup_printf("debug: %s: ", area);
    va_list args;

    va_start(args, format);
    log_line(prefix, format, args);
    va_end(args);
}
