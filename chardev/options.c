/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a chardev is spelled: "-chardev BACKEND,id=..." and the short forms of
 * -serial, -monitor and -debugcon.
 *
 * Why a file of its own: names and refusals follow QEMU, apart from what the
 * back ends do. Back ends that QEMU has and we have not are refused by name.
 *
 * Threads: main thread.
 */
#include "chardev-internal.h"

#include <string.h>

#include "util/error.h"

static const char *const refused_backends[] = {
    "pipe",    "udp",   "serial",     "tty",     "parallel", "parport",
    "console", "vc",    "spicevmc",   "spiceport", "ringbuf", "memory",
    "msmouse", "wctablet", "braille", "testdev", "telnet",   "fdset",
    "dbus",    "qemu-vdagent", "websocket", "tn3270",
};

static bool refuse_backend(const char *name, GError **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refused_backends); i++) {
        if (g_str_equal(name, refused_backends[i])) {
            return vm_error_set(errp, 0, "chardev backend '%s' is not "
                                "supported", name);
        }
    }
    return vm_error_set(errp, 0, "'%s' is not a valid char driver name",
                        name);
}

/* Properties of every back end. */
static bool take_common(VmKeyval *kv, GError **errp)
{
    static const char *const refused[] = { "logfile", "logappend" };
    bool mux;

    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        if (vm_keyval_get(kv, refused[i])) {
            return vm_error_set(errp, 0, "chardev: '%s' is not supported",
                                refused[i]);
        }
    }
    if (!vm_keyval_get_bool(kv, "mux", false, &mux, errp)) {
        return false;
    }
    return !mux || vm_error_set(errp, 0, "chardev: 'mux' is not supported; "
                                "use -serial mon:...");
}

static Chardev *new_file(const char *id, VmKeyval *kv, GError **errp)
{
    const char *path = vm_keyval_get(kv, "path");
    bool append;

    if (!path || !path[0]) {
        vm_error_set(errp, 0, "chardev: file: no filename given");
        return NULL;
    }
    if (!vm_keyval_get_bool(kv, "append", false, &append, errp) ||
        !vm_keyval_check_all_used(kv, errp)) {
        return NULL;
    }
    return chardev_file_new(id, path, append, errp);
}

static Chardev *new_stdio(const char *id, VmKeyval *kv, GError **errp)
{
    bool signals;

    if (!vm_keyval_get_bool(kv, "signal", true, &signals, errp) ||
        !vm_keyval_check_all_used(kv, errp)) {
        return NULL;
    }
    return chardev_stdio_new(id, signals, errp);
}

static Chardev *new_backend(const char *name, const char *id, VmKeyval *kv,
                            GError **errp)
{
    if (!take_common(kv, errp)) {
        return NULL;
    }
    if (g_str_equal(name, "socket")) {
        return chardev_socket_new(id, kv, errp);
    }
    if (g_str_equal(name, "file")) {
        return new_file(id, kv, errp);
    }
    if (g_str_equal(name, "stdio")) {
        return new_stdio(id, kv, errp);
    }
    if (g_str_equal(name, "null")) {
        return vm_keyval_check_all_used(kv, errp) ? chardev_null_new(id)
                                                  : NULL;
    }
    if (g_str_equal(name, "pty")) {
        return vm_keyval_check_all_used(kv, errp) ? chardev_pty_new(id, errp)
                                                  : NULL;
    }
    refuse_backend(name, errp);
    return NULL;
}

Chardev *chardev_new_from_option(const char *text, GError **errp)
{
    g_autoptr(VmKeyval) kv =
        vm_keyval_parse("-chardev", text, "backend", errp);
    const char *name, *id;

    if (!kv) {
        return NULL;
    }
    name = vm_keyval_get(kv, "backend");
    id = vm_keyval_get(kv, "id");
    if (!id || !id[0]) {
        vm_error_set(errp, 0, "chardev: no id specified");
        return NULL;
    }
    if (!name) {
        vm_error_set(errp, 0, "chardev: \"%s\" missing backend", id);
        return NULL;
    }
    return new_backend(name, id, kv, errp);
}

/* ---- Short forms -------------------------------------------------------- */

static Chardev *short_file(const char *path, const char *id, GError **errp)
{
    /* A comma belongs to the path here. */
    g_autoptr(VmKeyval) kv = vm_keyval_parse("file", "", NULL, errp);

    if (!kv) {
        return NULL;
    }
    vm_keyval_set(kv, "path", path);
    return new_file(id, kv, errp);
}

static Chardev *short_unix(const char *text, const char *id, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse("unix", text, "path", errp);

    return kv ? chardev_socket_new(id, kv, errp) : NULL;
}

/* "HOST:PORT,...", "[V6]:PORT,...", ":PORT". */
static Chardev *short_tcp(const char *text, const char *id, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse("tcp", text, "address", errp);
    const char *address = kv ? vm_keyval_get(kv, "address") : NULL;
    const char *colon = address ? strrchr(address, ':') : NULL;
    g_autofree char *host = NULL;
    size_t len;

    if (!kv) {
        return NULL;
    }
    if (!colon || !colon[1]) {
        vm_error_set(errp, 0, "tcp:%s: HOST:PORT expected", text);
        return NULL;
    }
    len = colon - address;
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        host = g_strndup(address + 1, len - 2);
    } else {
        host = g_strndup(address, len);
    }
    vm_keyval_set(kv, "port", colon + 1);
    vm_keyval_set(kv, "host", host);
    return chardev_socket_new(id, kv, errp);
}

static Chardev *short_mon(const char *text, const char *id, GError **errp)
{
    g_autofree char *base_id = g_strdup_printf("%s-base", id);
    Chardev *base = NULL;

    if (g_str_equal(text, "stdio")) {
        base = chardev_stdio_new(base_id, /* signals= */ false, errp);
    } else if (!g_str_equal(text, "none") &&
               !g_str_has_prefix(text, "mon:")) {
        if (!chardev_new_from_short(text, base_id, &base, errp)) {
            return NULL;
        }
    } else {
        vm_error_set(errp, 0, "mon:%s: there is nothing to share", text);
    }
    return base ? chardev_mux_new(id, base) : NULL;
}

static Chardev *new_short(const char *text, const char *id, GError **errp)
{
    static const struct {
        const char *prefix;
        Chardev *(*make)(const char *rest, const char *id, GError **errp);
    } forms[] = {
        { "file:", short_file },
        { "unix:", short_unix },
        { "tcp:", short_tcp },
        { "mon:", short_mon },
    };
    g_autofree char *name = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        if (g_str_has_prefix(text, forms[i].prefix)) {
            return forms[i].make(text + strlen(forms[i].prefix), id, errp);
        }
    }
    if (g_str_equal(text, "null")) {
        return chardev_null_new(id);
    }
    if (g_str_equal(text, "stdio")) {
        return chardev_stdio_new(id, /* signals= */ true, errp);
    }
    if (g_str_equal(text, "pty")) {
        return chardev_pty_new(id, errp);
    }
    if (g_str_has_prefix(text, "/dev/")) {
        vm_error_set(errp, 0, "host device '%s' as a chardev is not "
                     "supported", text);
        return NULL;
    }
    if (g_str_has_prefix(text, "chardev:")) {
        vm_error_set(errp, 0, "chardev '%s' not found", text + 8);
        return NULL;
    }
    name = g_strndup(text, strcspn(text, ":,"));
    refuse_backend(name, errp);
    return NULL;
}

bool chardev_new_from_short(const char *text, const char *id,
                            Chardev **ret_chardev, GError **errp)
{
    Chardev *chr = NULL;

    if (!g_str_equal(text, "none")) {
        chr = new_short(text, id, errp);
        if (!chr) {
            return false;
        }
    }
    *ret_chardev = chr;
    return true;
}

Chardev *chardev_monitor_port(Chardev *chr)
{
    return chardev_mux_monitor(chr);
}
