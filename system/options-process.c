/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options about the process: names, descriptors, what ends it.
 *
 * Threads: main.
 */
#include "options-internal.h"

#include <fcntl.h>
#include <string.h>

#include "util/error.h"

bool opt_name(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "guest", errp);
    const char *guest = kv ? vm_keyval_get(kv, "guest") : NULL;

    if (!kv || !vm_keyval_get_bool(kv, "debug-threads", false,
                                   &o->debug_threads, errp) ||
        !vm_keyval_check_all_used(kv, errp)) {
        return false;
    }
    g_free(o->name);
    o->name = g_strdup(guest);
    return true;
}

bool opt_uuid(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    if (!g_uuid_string_is_valid(arg)) {
        return vm_error_set(errp, 0, "%s: '%s' is not a UUID", opt, arg);
    }
    g_free(o->uuid);
    o->uuid = g_ascii_strdown(arg, -1);
    return true;
}

static bool action_word(VmKeyval *kv, const char *opt, const char *key,
                        const char *yes, const char *no, bool *value,
                        GError **errp)
{
    const char *word = vm_keyval_get(kv, key);

    if (!word) {
        return true;
    }
    if (strcmp(word, yes) != 0 && strcmp(word, no) != 0) {
        return vm_error_set(errp, 0, "%s: %s=%s (want %s or %s)", opt, key,
                            word, no, yes);
    }
    *value = strcmp(word, yes) == 0;
    return true;
}

bool opt_action(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, NULL, errp);

    return kv &&
           action_word(kv, opt, "reboot", "shutdown", "reset", &o->no_reboot,
                       errp) &&
           action_word(kv, opt, "shutdown", "pause", "poweroff",
                       &o->no_shutdown, errp) &&
           vm_keyval_check_all_used(kv, errp);
}

bool opt_msg(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, NULL, errp);

    return kv &&
           vm_keyval_get_bool(kv, "timestamp", o->timestamps, &o->timestamps,
                              errp) &&
           vm_keyval_check_all_used(kv, errp);
}

/* *value: is it "deny"? words: those that are not. */
static bool sandbox_word(VmKeyval *kv, const char *opt, const char *key,
                         const char *const *words, bool *value,
                         GError **errp)
{
    const char *word = vm_keyval_get(kv, key);

    *value = g_strcmp0(word, "deny") == 0;
    return !word || *value || g_strv_contains(words, word) ||
           options_refuse(opt, key, word, errp);
}

bool opt_sandbox(VmOptions *o, const char *opt, const char *arg,
                 GError **errp)
{
    static const char *const allow[] = { "allow", NULL };
    /* Children never gain privileges, whatever is said. */
    static const char *const children[] = { "allow", "children", NULL };
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "enable", errp);
    VmSandbox s;

    if (!kv || !vm_keyval_get_bool(kv, "enable", false, &s.on, errp) ||
        !sandbox_word(kv, opt, "obsolete", allow, &s.deny_obsolete, errp) ||
        !sandbox_word(kv, opt, "elevateprivileges", children,
                      &s.deny_elevate, errp) ||
        !sandbox_word(kv, opt, "spawn", allow, &s.deny_spawn, errp) ||
        !sandbox_word(kv, opt, "resourcecontrol", allow, &s.deny_resources,
                      errp) ||
        !vm_keyval_check_all_used(kv, errp)) {
        return false;
    }
    o->sandbox = s;
    return true;
}

bool opt_incoming(VmOptions *o, const char *opt, const char *arg,
                  GError **errp)
{
    if (o->incoming) {
        return vm_error_set(errp, 0, "%s: given twice", opt);
    }
    if (arg[0] == '\0') {
        return vm_error_set(errp, 0, "%s: names no address", opt);
    }
    o->incoming = g_strdup(arg);
    return true;
}

bool opt_pidfile(VmOptions *o, const char *opt, const char *arg,
                 GError **errp)
{
    if (arg[0] == '\0') {
        return vm_error_set(errp, 0, "%s: names no file", opt);
    }
    g_free(o->pidfile);
    o->pidfile = g_strdup(arg);
    return true;
}

bool opt_add_fd(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, NULL, errp);
    VmFdOption *entry;
    uint64_t fd, set;

    if (!kv || !vm_keyval_get_u64(kv, "fd", UINT64_MAX, &fd, errp) ||
        !vm_keyval_get_u64(kv, "set", UINT64_MAX, &set, errp)) {
        return false;
    }
    if (fd == UINT64_MAX || set == UINT64_MAX) {
        return vm_error_set(errp, 0, "%s: needs fd=N and set=N", opt);
    }
    if (fd < 3 || fd > G_MAXINT || fcntl((int)fd, F_GETFD) < 0) {
        return vm_error_set(errp, 0,
                            "%s: fd=%" G_GUINT64_FORMAT " is no descriptor "
                            "that was passed", opt, fd);
    }
    if (o->fds->len >= VM_FDSETS_MAX) {
        return vm_error_set(errp, 0, "%s: more than %u descriptors", opt,
                            VM_FDSETS_MAX);
    }
    entry = g_new0(VmFdOption, 1);
    entry->fd = (int)fd;
    entry->set = set;
    entry->opaque = g_strdup(vm_keyval_get(kv, "opaque"));
    g_ptr_array_add(o->fds, entry);
    return vm_keyval_check_all_used(kv, errp);
}
