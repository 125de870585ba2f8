/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: queries about what the VM consists of.
 *
 * Threads: main.
 */
#include "system-internal.h"

static bool query_name(void *opaque, Monitor *mon, json_object *args,
                       json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    *ret_value = json_object_new_object();
    if (vm->options->name) {
        qmp_put_str(*ret_value, "name", vm->options->name);
    }
    return true;
}

static bool query_uuid(void *opaque, Monitor *mon, json_object *args,
                       json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    const char *uuid = vm->options->uuid;

    *ret_value = json_object_new_object();
    qmp_put_str(*ret_value, "UUID",
                uuid ? uuid : "00000000-0000-0000-0000-000000000000");
    return true;
}

static bool query_kvm(void *opaque, Monitor *mon, json_object *args,
                      json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    *ret_value = json_object_new_object();
    qmp_put_bool(*ret_value, "enabled", vm->kvm || kvm_available(NULL));
    qmp_put_bool(*ret_value, "present", true);
    return true;
}

static bool query_target(void *opaque, Monitor *mon, json_object *args,
                         json_object **ret_value, GError **errp)
{
    *ret_value = json_object_new_object();
    qmp_put_str(*ret_value, "arch", "x86_64");
    return true;
}

static bool query_chardev(void *opaque, Monitor *mon, json_object *args,
                          json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    *ret_value = json_object_new_array();
    for (guint i = 0; i < vm->chardevs->len; i++) {
        Chardev *chr = vm->chardevs->pdata[i];
        json_object *entry = json_object_new_object();

        qmp_put_bool(entry, "frontend-open", true);
        qmp_put_str(entry, "filename", chardev_label(chr));
        qmp_put_str(entry, "label", chardev_id(chr));
        json_object_array_add(*ret_value, entry);
    }
    return true;
}

static const QmpArgument name_members[] = {
    { "name", "str", .optional = true },
    { NULL },
};
static const QmpArgument uuid_members[] = {
    { "UUID", "str" },
    { NULL },
};
static const QmpArgument kvm_members[] = {
    { "enabled", "bool" },
    { "present", "bool" },
    { NULL },
};
static const QmpArgument target_members[] = {
    { "arch", "str" },
    { NULL },
};
static const QmpArgument chardev_members[] = {
    { "label", "str" },
    { "filename", "str" },
    { "frontend-open", "bool" },
    { NULL },
};

const QmpCommand vm_qmp_query_commands[] = {
    { "query-name", NULL, query_name, "The VM's name (-name).", "object",
      name_members },
    { "query-uuid", NULL, query_uuid, "The VM's UUID (-uuid).", "object",
      uuid_members },
    { "query-kvm", NULL, query_kvm, "Whether KVM can be used.", "object",
      kvm_members },
    { "query-target", NULL, query_target, "The guest's architecture.",
      "object", target_members },
    { "query-chardev", NULL, query_chardev, "The character devices.",
      "array", chardev_members },
    { NULL },
};
