/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -device: the types that there are, and making one of them.
 *
 * Threads: main, before the VM runs.
 */
#include "system-internal.h"

#include <string.h>

#include "hw/virtio/virtio-types.h"
#include "util/error.h"

static const DeviceType *const tables[] = { pc_device_types,
                                            virtio_device_types };

const DeviceType *vm_device_type_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const DeviceType *t = tables[i]; t->name; t++) {
            if (strcmp(t->name, name) == 0) {
                return t;
            }
        }
    }
    return NULL;
}

void vm_device_types_foreach(void (*fn)(const DeviceType *type, void *opaque),
                             void *opaque)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const DeviceType *t = tables[i]; t->name; t++) {
            fn(t, opaque);
        }
    }
}

static bool device_add(Vm *vm, VmKeyval *kv, GError **errp)
{
    const char *driver = vm_keyval_get(kv, "driver");
    const char *id = vm_keyval_get(kv, "id");
    const DeviceType *type = vm_device_type_find(driver);

    if (!type) {
        return vm_error_set(errp, 0, "-device: '%s' is not a valid device "
                            "model name ('-device help' lists them)", driver);
    }
    if (id && machine_find_device(&vm->machine, id)) {
        return vm_error_set(errp, 0, "-device: duplicate id '%s'", id);
    }
    if (!type->create(&vm->machine, id, kv, errp) ||
        !vm_keyval_check_all_used(kv, errp)) {
        return vm_prefix_option(errp, "-device");
    }
    return true;
}

/* -debugcon DEV is "-chardev DEV,id=debugcon -device isa-debugcon,...". */
static bool debugcon_add(Vm *vm, GError **errp)
{
    const char *text = vm->options->debugcon;
    g_autoptr(VmKeyval) kv = NULL;
    Chardev *chr = NULL;

    if (!text) {
        return true;
    }
    if (!g_str_has_prefix(text, "chardev:")) {
        if (!chardev_new_from_short(text, "debugcon", &chr, errp)) {
            return false;
        }
        if (!chr) {
            return true; /* none */
        }
        g_ptr_array_add(vm->chardevs, chr);
        text = "chardev:debugcon";
    }
    kv = vm_keyval_parse("-debugcon", "isa-debugcon,iobase=0xe9", "driver",
                         errp);
    if (!kv) {
        return false;
    }
    vm_keyval_set(kv, "chardev", text + strlen("chardev:"));
    return device_add(vm, kv, errp);
}

bool vm_devices_start(Vm *vm, GError **errp)
{
    if (!debugcon_add(vm, errp)) {
        return false;
    }
    for (guint i = 0; i < vm->options->devices->len; i++) {
        if (!device_add(vm, vm->options->devices->pdata[i], errp)) {
            return false;
        }
    }
    return true;
}

static void add_help(const DeviceType *type, void *opaque)
{
    g_string_append_printf(opaque, "name \"%s\", desc \"%s\"\n", type->name,
                           type->description);
}

char *vm_devices_help(void)
{
    GString *text = g_string_new(NULL);

    vm_device_types_foreach(add_help, text);
    return g_string_free(text, /* free_segment= */ FALSE);
}
