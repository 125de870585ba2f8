/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options that make devices and back ends. They are kept as VmKeyval; the
 * code that makes the thing checks the properties.
 *
 * Threads: main.
 */
#include "options-internal.h"

#include <string.h>

#include "util/error.h"

/* Keeps kv if it has the key. */
static bool keep(GPtrArray *list, VmKeyval *take_kv, const char *opt,
                 const char *needed, GError **errp)
{
    g_autoptr(VmKeyval) kv = take_kv;

    if (!kv) {
        return false;
    }
    if (!vm_keyval_get(kv, needed)) {
        return vm_error_set(errp, 0, "%s: parameter '%s' is missing", opt,
                            needed);
    }
    g_ptr_array_add(list, g_steal_pointer(&kv));
    return true;
}

bool opt_device(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    if (strcmp(arg, "help") == 0) {
        o->action = VM_OPTIONS_DEVICES;
        return true;
    }
    return keep(o->devices, options_keyval(opt, arg, "driver", errp), opt,
                "driver", errp);
}

bool opt_netdev(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    return keep(o->netdevs, options_keyval(opt, arg, "type", errp), opt, "id",
                errp);
}

bool opt_blockdev(VmOptions *o, const char *opt, const char *arg,
                  GError **errp)
{
    return keep(o->blockdevs, options_keyval(opt, arg, NULL, errp), opt,
                "node-name", errp);
}

/* --- -drive ------------------------------------------------------------- */

static bool drive_device(VmOptions *o, const char *opt, const char *id,
                         GError **errp)
{
    g_autoptr(VmKeyval) kv =
        vm_keyval_parse(opt, "virtio-blk-pci", "driver", errp);

    if (!kv) {
        return false;
    }
    vm_keyval_set(kv, "drive", id);
    g_ptr_array_add(o->devices, g_steal_pointer(&kv));
    return true;
}

bool opt_drive(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    static const char *const media[] = { "disk", NULL };
    g_autoptr(VmKeyval) kv = options_keyval(opt, arg, NULL, errp);
    g_autofree char *id = NULL;
    const char *type;
    bool virtio;

    if (!kv || !options_accept_only(kv, opt, "media", media, errp)) {
        return false;
    }
    type = vm_keyval_get(kv, "if");
    type = type ? type : "ide"; /* as in QEMU */
    virtio = strcmp(type, "virtio") == 0;
    if (!virtio && strcmp(type, "none") != 0) {
        return vm_error_set(errp, 0, "%s: if=%s is not supported, use "
                            "if=virtio or if=none", opt, type);
    }
    if (!vm_keyval_get(kv, "id")) {
        id = g_strdup_printf("%s%u", type, o->drive_counts[virtio]);
        vm_keyval_set(kv, "id", id);
    }
    o->drive_counts[virtio]++;
    if (virtio && !drive_device(o, opt, vm_keyval_get(kv, "id"), errp)) {
        return false;
    }
    g_ptr_array_add(o->drives, g_steal_pointer(&kv));
    return true;
}

/* --- Network ------------------------------------------------------------ */

static bool nic_add(VmOptions *o, const char *opt, VmKeyval *kv,
                    GError **errp)
{
    static const char *const models[] = { "virtio", "virtio-net-pci", NULL };
    g_autofree char *id = g_strdup_printf("#nic%u", o->nic_count++);
    const char *model = vm_keyval_get(kv, "model");
    const char *mac = vm_keyval_get(kv, "mac");
    g_autoptr(VmKeyval) card = NULL;

    if (!model || !g_strv_contains(models, model)) {
        return vm_error_set(errp, 0,
                            "%s: model '%s' is not supported, use "
                            "model=virtio-net-pci", opt,
                            model ? model : "e1000 (the default)");
    }
    card = vm_keyval_parse(opt, "virtio-net-pci", "driver", errp);
    if (!card) {
        return false;
    }
    if (!vm_keyval_get(kv, "id")) {
        vm_keyval_set(kv, "id", id);
    }
    vm_keyval_set(card, "netdev", vm_keyval_get(kv, "id"));
    if (mac) {
        vm_keyval_set(card, "mac", mac);
    }
    g_ptr_array_add(o->devices, g_steal_pointer(&card));
    return true;
}

static void nic_copy(const char *key, const char *value, void *opaque)
{
    if (strcmp(key, "model") != 0 && strcmp(key, "mac") != 0) {
        vm_keyval_set(opaque, key, value);
    }
}

bool opt_nic(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = NULL, netdev = NULL;

    if (strcmp(arg, "none") == 0) {
        return true;
    }
    kv = vm_keyval_parse(opt, arg, "type", errp);
    netdev = vm_keyval_parse("-nic", "", NULL, errp);
    if (!kv || !netdev) {
        return false;
    }
    if (g_strcmp0(vm_keyval_get(kv, "type"), "none") == 0) {
        return options_refuse(opt, "type", "none with properties", errp);
    }
    if (!nic_add(o, opt, kv, errp)) {
        return false;
    }
    vm_keyval_foreach(kv, nic_copy, netdev);
    g_ptr_array_add(o->netdevs, g_steal_pointer(&netdev));
    return true;
}

bool opt_net(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    return strcmp(arg, "none") == 0 ||
           vm_error_set(errp, 0, "%s: only 'none' is supported, use -netdev "
                        "and -device", opt);
}

/* --- Character devices and monitors ------------------------------------- */

bool opt_chardev(VmOptions *o, const char *opt, const char *arg,
                 GError **errp)
{
    g_ptr_array_add(o->chardevs, g_strdup(arg));
    return true;
}

bool opt_serial(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    if (o->serials->len >= VM_SERIALS_MAX) {
        return vm_error_set(errp, 0, "%s: more than %u serial ports", opt,
                            VM_SERIALS_MAX);
    }
    g_ptr_array_add(o->serials, g_strdup(arg));
    return true;
}

bool opt_parallel(VmOptions *o, const char *opt, const char *arg,
                  GError **errp)
{
    return strcmp(arg, "none") == 0 ||
           vm_error_set(errp, 0, "%s: there is no parallel port, only 'none' "
                        "is accepted", opt);
}

static void monitor_add(VmOptions *o, VmMonitorMode mode, bool pretty,
                        const char *chardev, const char *text)
{
    VmMonitorOption *m = g_new0(VmMonitorOption, 1);

    m->mode = mode;
    m->pretty = pretty;
    m->chardev = g_strdup(chardev);
    m->text = g_strdup(text);
    g_ptr_array_add(o->monitors, m);
}

bool opt_monitor(VmOptions *o, const char *opt, const char *arg,
                 GError **errp)
{
    monitor_add(o, VM_MONITOR_HMP, false, NULL, arg);
    return true;
}

bool opt_qmp(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    monitor_add(o, VM_MONITOR_QMP, false, NULL, arg);
    return true;
}

bool opt_qmp_pretty(VmOptions *o, const char *opt, const char *arg,
                    GError **errp)
{
    monitor_add(o, VM_MONITOR_QMP, /* pretty= */ true, NULL, arg);
    return true;
}

bool opt_mon(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "chardev", errp);
    const char *chardev = kv ? vm_keyval_get(kv, "chardev") : NULL;
    const char *mode = kv ? vm_keyval_get(kv, "mode") : NULL;
    bool pretty, control = g_strcmp0(mode, "control") == 0;

    if (!kv || !vm_keyval_get_bool(kv, "pretty", false, &pretty, errp)) {
        return false;
    }
    (void)vm_keyval_get(kv, "id"); /* nothing names a monitor */
    if (!chardev) {
        return vm_error_set(errp, 0, "%s: parameter 'chardev' is missing",
                            opt);
    }
    if (mode && !control && strcmp(mode, "readline") != 0) {
        return vm_error_set(errp, 0, "%s: unknown mode '%s'", opt, mode);
    }
    if (pretty && !control) {
        return vm_error_set(errp, 0, "%s: pretty=on needs mode=control", opt);
    }
    if (!vm_keyval_check_all_used(kv, errp)) {
        return false;
    }
    monitor_add(o, control ? VM_MONITOR_QMP : VM_MONITOR_HMP, pretty, chardev,
                NULL);
    return true;
}

/* As in QEMU: an isa-debugcon of its own, at port 0xe9. */
bool opt_debugcon(VmOptions *o, const char *opt, const char *arg,
                  GError **errp)
{
    if (o->debugcon) {
        return vm_error_set(errp, 0, "%s: given twice", opt);
    }
    o->debugcon = g_strdup(arg);
    return true;
}

/* --- What is not there -------------------------------------------------- */

bool opt_display(VmOptions *o, const char *opt, const char *arg,
                 GError **errp)
{
    return strcmp(arg, "none") == 0 ||
           vm_error_set(errp, 0, "%s: there is no display, only 'none' is "
                        "accepted", opt);
}

bool opt_vga(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    return strcmp(arg, "none") == 0 ||
           vm_error_set(errp, 0, "%s: there is no graphics card, only 'none' "
                        "is accepted", opt);
}

bool opt_audiodev(VmOptions *o, const char *opt, const char *arg,
                  GError **errp)
{
    static const char *const drivers[] = { "none", NULL };
    g_autoptr(VmKeyval) kv = options_keyval(opt, arg, "driver", errp);

    if (!kv || !options_accept_only(kv, opt, "driver", drivers, errp)) {
        return false;
    }
    (void)vm_keyval_get(kv, "id");
    return vm_keyval_check_all_used(kv, errp);
}
