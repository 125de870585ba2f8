/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /dev/fdset/N: descriptors that were passed with -add-fd, by name.
 *
 * The name becomes /proc/self/fd/M, of which the back end makes a copy.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <string.h>

#include "util/error.h"

#define FDSET_PREFIX "/dev/fdset/"

static const VmFdOption *find_set(const VmOptions *o, guint64 set)
{
    for (guint i = 0; i < o->fds->len; i++) {
        const VmFdOption *f = o->fds->pdata[i];

        if (f->set == set) {
            return f;
        }
    }
    return NULL;
}

char *vm_fdset_replace(const VmOptions *o, const char *text, GError **errp)
{
    const char *at = strstr(text, FDSET_PREFIX);
    const VmFdOption *f;
    char *end;
    guint64 set;

    if (!at) {
        return g_strdup(text);
    }
    set = g_ascii_strtoull(at + strlen(FDSET_PREFIX), &end, 10);
    f = end > at + strlen(FDSET_PREFIX) ? find_set(o, set) : NULL;
    if (!f) {
        vm_error_set(errp, 0, "no descriptor for '%s' (-add-fd)", at);
        return NULL;
    }
    return g_strdup_printf("%.*s/proc/self/fd/%d%s", (int)(at - text), text,
                           f->fd, end);
}
