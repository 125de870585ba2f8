/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filling a GError in one line.
 *
 * Why: nearly every refusal is "what was attempted, on which object", and
 * often an errno. One function keeps the wording and the first-error-wins
 * rule the same everywhere. Threads: any.
 */
#include "util/error.h"

#include <pthread.h>
#include <stdarg.h>

static pthread_once_t quark_once = PTHREAD_ONCE_INIT;
static GQuark quark;

static void make_quark(void)
{
    quark = g_quark_from_static_string("vm-error-quark");
}

/* Why not G_DEFINE_QUARK: its first calls race with each other. */
GQuark vm_error_quark(void)
{
    pthread_once(&quark_once, make_quark);
    return quark;
}

bool vm_error_set(GError **errp, int errnum, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    if (!errp || *errp) {
        return false;
    }
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    if (errnum > 0) {
        *errp = g_error_new(VM_ERROR, errnum, "%s: %s", text,
                            g_strerror(errnum));
    } else {
        *errp = g_error_new_literal(VM_ERROR, 0, text);
    }
    return false;
}
