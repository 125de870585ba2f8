/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Back ends of the command line: character devices, images, networks, random
 * sources; and the monitors, which sit on character devices.
 *
 * Every named thing has one list and one name space, as in QEMU; devices find
 * it through vm_machine_backends.
 *
 * Threads: main, before the VM runs and after it has ended.
 */
#include "system-internal.h"

#include <string.h>

#include "util/error.h"
#include "util/log.h"

/* --- Character devices -------------------------------------------------- */

Chardev *vm_find_chardev(Vm *vm, const char *id)
{
    for (guint i = 0; i < vm->chardevs->len; i++) {
        if (g_strcmp0(chardev_id(vm->chardevs->pdata[i]), id) == 0) {
            return vm->chardevs->pdata[i];
        }
    }
    return NULL;
}

static bool add_chardev(Vm *vm, Chardev *take_chr, const char *opt,
                        GError **errp)
{
    g_autoptr(Chardev) chr = take_chr;

    if (vm_find_chardev(vm, chardev_id(chr))) {
        return vm_error_set(errp, 0, "%s: duplicate id '%s'", opt,
                            chardev_id(chr));
    }
    g_ptr_array_add(vm->chardevs, g_steal_pointer(&chr));
    return true;
}

bool vm_prefix_option(GError **errp, const char *opt)
{
    g_autofree char *name = g_strdup_printf("%s:", opt + 1);

    if (!errp || !*errp || g_str_has_prefix((*errp)->message, "-")) {
        return false;
    }
    if (g_str_has_prefix((*errp)->message, name)) {
        g_prefix_error(errp, "-"); /* "vmemdirect: ..." has it but that */
    } else {
        g_prefix_error(errp, "%s: ", opt);
    }
    return false;
}

/* text is the short form; *ret_chr NULL for "none". */
static bool short_chardev(Vm *vm, const char *opt, const char *text,
                          const char *id, Chardev **ret_chr, GError **errp)
{
    g_autofree char *path = vm_fdset_replace(vm->options, text, errp);
    Chardev *chr = NULL;

    if (!path) {
        return vm_prefix_option(errp, opt);
    }
    if (g_str_has_prefix(path, "chardev:")) {
        *ret_chr = vm_find_chardev(vm, path + strlen("chardev:"));
        return *ret_chr ||
               vm_error_set(errp, 0, "%s: no chardev '%s'", opt,
                            path + strlen("chardev:"));
    }
    if (!chardev_new_from_short(path, id, &chr, errp)) {
        return vm_prefix_option(errp, opt);
    }
    if (chr && !add_chardev(vm, chr, opt, errp)) {
        return false;
    }
    *ret_chr = chr;
    return true;
}

bool vm_chardevs_start(Vm *vm, GError **errp)
{
    for (guint i = 0; i < vm->options->chardevs->len; i++) {
        g_autofree char *text = vm_fdset_replace(
            vm->options, vm->options->chardevs->pdata[i], errp);
        Chardev *chr = text ? chardev_new_from_option(text, errp) : NULL;

        if (!chr) {
            return vm_prefix_option(errp, "-chardev");
        }
        if (!add_chardev(vm, chr, "-chardev", errp)) {
            return false;
        }
    }
    return true;
}

void vm_chardevs_stop(Vm *vm)
{
    for (guint i = vm->chardevs->len; i > 0; i--) {
        chardev_flush(vm->chardevs->pdata[i - 1]);
        chardev_free(vm->chardevs->pdata[i - 1]);
    }
    g_ptr_array_set_size(vm->chardevs, 0);
}

/* A "mon:" serial port brings its monitor along. */
static bool mux_monitor(Vm *vm, Chardev *chr, GError **errp)
{
    Chardev *port = chr ? chardev_monitor_port(chr) : NULL;

    return !port || monitor_server_add_hmp(vm->monitor, port, errp);
}

bool vm_serials(Vm *vm, Chardev *ret[VM_SERIALS_MAX], GError **errp)
{
    const VmOptions *o = vm->options;
    bool console = o->nographic && !o->nodefaults && o->serials->len == 0;

    if (console) {
        return short_chardev(vm, "-nographic",
                             o->monitors->len ? "stdio" : "mon:stdio",
                             "serial0", &ret[0], errp) &&
               mux_monitor(vm, ret[0], errp);
    }
    for (guint i = 0; i < o->serials->len; i++) {
        g_autofree char *id = g_strdup_printf("serial%u", i);

        if (!short_chardev(vm, "-serial", o->serials->pdata[i], id, &ret[i],
                           errp) ||
            !mux_monitor(vm, ret[i], errp)) {
            return false;
        }
    }
    return true;
}

/* --- Monitors ----------------------------------------------------------- */

static bool monitor_chardev(Vm *vm, const VmMonitorOption *m, guint index,
                            Chardev **ret_chr, GError **errp)
{
    g_autofree char *id = g_strdup_printf("compat_monitor%u", index);

    if (m->chardev) {
        *ret_chr = vm_find_chardev(vm, m->chardev);
        return *ret_chr || vm_error_set(errp, 0, "-mon: no chardev '%s'",
                                        m->chardev);
    }
    return short_chardev(vm, m->mode == VM_MONITOR_QMP ? "-qmp" : "-monitor",
                         m->text, id, ret_chr, errp);
}

bool vm_monitors_start(Vm *vm, GError **errp)
{
    for (guint i = 0; i < vm->options->monitors->len; i++) {
        const VmMonitorOption *m = vm->options->monitors->pdata[i];
        Chardev *chr = NULL;
        bool ok;

        if (!monitor_chardev(vm, m, i, &chr, errp)) {
            return false;
        }
        if (!chr) {
            continue; /* -monitor none */
        }
        ok = m->mode == VM_MONITOR_QMP
                 ? monitor_server_add_qmp(vm->monitor, chr, m->pretty, errp)
                 : monitor_server_add_hmp(vm->monitor, chr, errp);
        if (!ok) {
            return vm_prefix_option(errp, "-mon");
        }
    }
    return true;
}

/* --- Images ------------------------------------------------------------- */

static BlockBackend *find_block(Vm *vm, const char *id)
{
    for (guint i = 0; i < vm->blocks->len; i++) {
        if (g_strcmp0(block_backend_id(vm->blocks->pdata[i]), id) == 0) {
            return vm->blocks->pdata[i];
        }
    }
    return NULL;
}

static bool add_block(Vm *vm, VmKeyval *kv, const char *opt, GError **errp)
{
    /* An incoming VM: the source still owns the image. */
    g_autoptr(BlockBackend) blk = vm->options->incoming
                                      ? block_backend_new_inactive(kv, errp)
                                      : block_backend_new(kv, errp);

    if (!blk || !vm_keyval_check_all_used(kv, errp)) {
        return vm_prefix_option(errp, opt);
    }
    if (find_block(vm, block_backend_id(blk))) {
        return vm_error_set(errp, 0, "%s: duplicate id '%s'", opt,
                            block_backend_id(blk));
    }
    g_ptr_array_add(vm->blocks, g_steal_pointer(&blk));
    return true;
}

static bool is_protocol(VmKeyval *kv)
{
    return g_strcmp0(vm_keyval_get(kv, "driver"), "raw") != 0;
}

static VmKeyval *find_node(Vm *vm, const char *name)
{
    for (guint i = 0; i < vm->options->blockdevs->len; i++) {
        VmKeyval *kv = vm->options->blockdevs->pdata[i];

        if (g_strcmp0(vm_keyval_get(kv, "node-name"), name) == 0) {
            return kv;
        }
    }
    return NULL;
}

static void copy_below(const char *key, const char *value, void *opaque)
{
    g_autofree char *below = g_strdup_printf("file.%s", key);

    if (strcmp(key, "node-name") != 0) {
        vm_keyval_set(opaque, below, value);
    }
}

static void copy_but_file(const char *key, const char *value, void *opaque)
{
    if (strcmp(key, "file") != 0) {
        vm_keyval_set(opaque, key, value);
    }
}

/*
 * "raw" over the node named by file= becomes one back end, as if the lower
 * node had been written inside of it; so does a lower node that nobody is
 * above, since a disk may use it directly.
 */
static bool add_node(Vm *vm, VmKeyval *kv, GError **errp)
{
    const char *below = vm_keyval_get(kv, "file");
    VmKeyval *node = below ? find_node(vm, below) : NULL;
    g_autoptr(VmKeyval) whole = vm_keyval_parse("-blockdev", "", NULL, errp);

    if (!whole) {
        return false;
    }
    if (below && (!node || !is_protocol(node))) {
        return vm_error_set(errp, 0, "-blockdev: no node '%s' of driver "
                            "'file'", below);
    }
    if (node) {
        vm_keyval_foreach(kv, copy_but_file, whole);
        vm_keyval_foreach(node, copy_below, whole);
    } else if (is_protocol(kv)) {
        vm_keyval_foreach(kv, copy_below, whole);
        vm_keyval_set(whole, "driver", "raw");
        vm_keyval_set(whole, "node-name", vm_keyval_get(kv, "node-name"));
    } else {
        vm_keyval_foreach(kv, copy_but_file, whole);
    }
    return add_block(vm, whole, "-blockdev", errp);
}

static bool node_is_below(Vm *vm, VmKeyval *kv)
{
    const char *name = vm_keyval_get(kv, "node-name");

    for (guint i = 0; i < vm->options->blockdevs->len; i++) {
        VmKeyval *other = vm->options->blockdevs->pdata[i];

        if (g_strcmp0(vm_keyval_get(other, "file"), name) == 0) {
            return true;
        }
    }
    return false;
}

bool vm_blocks_start(Vm *vm, GError **errp)
{
    const VmOptions *o = vm->options;

    for (guint i = 0; i < o->blockdevs->len; i++) {
        VmKeyval *kv = o->blockdevs->pdata[i];

        if (!node_is_below(vm, kv) && !add_node(vm, kv, errp)) {
            return false;
        }
    }
    for (guint i = 0; i < o->drives->len; i++) {
        if (!add_block(vm, o->drives->pdata[i], "-drive", errp)) {
            return false;
        }
    }
    vm->images_active = !o->incoming;
    return true;
}

void vm_blocks_stop(Vm *vm)
{
    for (guint i = 0; i < vm->blocks->len; i++) {
        block_backend_free(vm->blocks->pdata[i]);
    }
    g_ptr_array_set_size(vm->blocks, 0);
}

/* --- Networks ----------------------------------------------------------- */

static NetBackend *find_net(Vm *vm, const char *id)
{
    for (guint i = 0; i < vm->nets->len; i++) {
        if (g_strcmp0(net_backend_id(vm->nets->pdata[i]), id) == 0) {
            return vm->nets->pdata[i];
        }
    }
    return NULL;
}

bool vm_nets_start(Vm *vm, GError **errp)
{
    for (guint i = 0; i < vm->options->netdevs->len; i++) {
        VmKeyval *kv = vm->options->netdevs->pdata[i];
        g_autoptr(NetBackend) net = net_backend_new(kv, errp);

        if (!net || !vm_keyval_check_all_used(kv, errp)) {
            return vm_prefix_option(errp, "-netdev");
        }
        if (g_strcmp0(vm_keyval_get(kv, "vhost"), "on") == 0) {
            vm_warn("-netdev '%s': vhost=on: there is no vhost-net, packets "
                    "go through this process", net_backend_id(net));
        }
        if (find_net(vm, net_backend_id(net))) {
            return vm_error_set(errp, 0, "-netdev: duplicate id '%s'",
                                net_backend_id(net));
        }
        g_ptr_array_add(vm->nets, g_steal_pointer(&net));
    }
    return true;
}

void vm_nets_stop(Vm *vm)
{
    for (guint i = 0; i < vm->nets->len; i++) {
        net_backend_free(vm->nets->pdata[i]);
    }
    g_ptr_array_set_size(vm->nets, 0);
}

/* --- What devices find -------------------------------------------------- */

static BlockBackend *backend_block(void *opaque, const char *id)
{
    return find_block(opaque, id);
}

static NetBackend *backend_net(void *opaque, const char *id)
{
    return find_net(opaque, id);
}

static Chardev *backend_chardev(void *opaque, const char *id)
{
    return vm_find_chardev(opaque, id);
}

static const char *backend_rng(void *opaque, const char *id)
{
    Vm *vm = opaque;

    for (guint i = 0; i < vm->options->objects->len; i++) {
        const VmObjectOption *object = vm->options->objects->pdata[i];

        if (strcmp(object->id, id) == 0) {
            return object->filename; /* NULL: another kind of object */
        }
    }
    return NULL;
}

const MachineBackends vm_machine_backends = {
    .find_block = backend_block,
    .find_net = backend_net,
    .find_chardev = backend_chardev,
    .find_rng = backend_rng,
};
