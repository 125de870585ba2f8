/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: properties of devices by their path, in QEMU's object tree.
 *
 * Of that tree there is what management reads at run time: the directory of
 * the devices that have an id, and in it the properties of the table below.
 *
 *   /machine/peripheral        one child for each -device with an id
 *   /machine/peripheral/ID     the device
 *   /machine/unattached/device[N]   vCPU N: see qmp-cpu.c
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <string.h>

#include "hw/virtio/virtio-balloon.h"

#define PERIPHERAL "/machine/peripheral"

typedef struct QomProperty {
    const char *name, *type;
    bool (*has)(Device *dev);
    json_object *(*get)(Device *dev);
    bool (*set)(Device *dev, json_object *value, GError **errp); /* or NULL */
} QomProperty;

static bool fail(GError **errp, const char *text)
{
    g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_GENERIC, text);
    return false;
}

/* --- The properties ------------------------------------------------------ */

static bool is_any(Device *dev)
{
    return true;
}

static json_object *get_type(Device *dev)
{
    return json_object_new_string(dev->type);
}

static bool is_balloon(Device *dev)
{
    return virtio_balloon_from_device(dev) != NULL;
}

static json_object *get_stats(Device *dev)
{
    json_object *o = json_object_new_object();
    json_object *values = json_object_new_object();
    VirtioBalloonStats s;

    virtio_balloon_get_stats(virtio_balloon_from_device(dev), &s);
    for (unsigned tag = 0; tag < VIRTIO_BALLOON_STATS; tag++) {
        qmp_put_u64(values, virtio_balloon_stat_name(tag), s.value[tag]);
    }
    json_object_object_add(o, "stats", values);
    qmp_put_int(o, "last-update", s.last_update_s);
    return o;
}

static json_object *get_interval(Device *dev)
{
    VirtioBalloon *b = virtio_balloon_from_device(dev);

    return json_object_new_int64(virtio_balloon_get_interval_s(b));
}

static bool set_interval(Device *dev, json_object *value, GError **errp)
{
    int64_t seconds = json_object_get_int64(value);

    if (!json_object_is_type(value, json_type_int)) {
        return fail(errp, "Invalid parameter type for "
                          "'guest-stats-polling-interval', expected: integer");
    }
    if (seconds < 0) {
        return fail(errp, "timer value must be greater than zero");
    }
    if (seconds > UINT32_MAX) {
        return fail(errp, "timer value is too big");
    }
    virtio_balloon_set_interval_s(virtio_balloon_from_device(dev),
                                  (uint32_t)seconds);
    return true;
}

static const QomProperty properties[] = {
    { "type", "string", is_any, get_type, NULL },
    { "guest-stats", "guest statistics", is_balloon, get_stats, NULL },
    { "guest-stats-polling-interval", "int", is_balloon, get_interval,
      set_interval },
};

/* --- The tree ------------------------------------------------------------ */

void vm_qom_add_property(json_object *list, const char *name,
                         const char *type)
{
    json_object *entry = json_object_new_object();

    qmp_put_str(entry, "name", name);
    qmp_put_str(entry, "type", type);
    json_object_array_add(list, entry);
}

static Device *find_device(Vm *vm, const char *path, GError **errp)
{
    const char *id = path + strlen(PERIPHERAL "/");
    Device *dev = NULL;

    if (vm->has_machine && g_str_has_prefix(path, PERIPHERAL "/")) {
        dev = machine_find_device(&vm->machine, id);
    }
    if (!dev) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND,
                    "Device '%s' not found", path);
    }
    return dev;
}

static const QomProperty *find_property(Device *dev, const char *name,
                                        GError **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(properties); i++) {
        if (strcmp(properties[i].name, name) == 0 && properties[i].has(dev)) {
            return &properties[i];
        }
    }
    g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                "Property '%s.%s' not found", dev->type, name);
    return NULL;
}

static void list_peripheral(const Vm *vm, json_object *list)
{
    vm_qom_add_property(list, "type", "string");
    for (guint i = 0; i < vm->machine.devices->len; i++) {
        const Device *dev = vm->machine.devices->pdata[i];

        if (dev->id) {
            g_autofree char *type = g_strdup_printf("child<%s>", dev->type);

            vm_qom_add_property(list, dev->id, type);
        }
    }
}

static bool qom_list(void *opaque, Monitor *mon, json_object *args,
                     json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    const char *path = qmp_arg_str(args, "path");
    Device *dev;

    if (vm->has_machine && strcmp(path, PERIPHERAL) == 0) {
        *ret_value = json_object_new_array();
        list_peripheral(vm, *ret_value);
        return true;
    }
    if (vm_cpu_is_path(vm, path)) {
        *ret_value = vm_cpu_list(vm);
        return true;
    }
    dev = find_device(vm, path, errp);
    if (!dev) {
        return false;
    }
    *ret_value = json_object_new_array();
    for (size_t i = 0; i < G_N_ELEMENTS(properties); i++) {
        if (properties[i].has(dev)) {
            vm_qom_add_property(*ret_value, properties[i].name,
                                properties[i].type);
        }
    }
    return true;
}

static bool qom_get(void *opaque, Monitor *mon, json_object *args,
                    json_object **ret_value, GError **errp)
{
    const char *path = qmp_arg_str(args, "path");
    const char *name = qmp_arg_str(args, "property");
    const QomProperty *p;
    Device *dev;

    if (vm_cpu_is_path(opaque, path)) {
        return vm_cpu_get(opaque, name, ret_value, errp);
    }
    dev = find_device(opaque, path, errp);
    p = dev ? find_property(dev, name, errp) : NULL;
    if (p) {
        *ret_value = p->get(dev);
    }
    return p != NULL;
}

static bool qom_set(void *opaque, Monitor *mon, json_object *args,
                    json_object **ret_value, GError **errp)
{
    Device *dev = find_device(opaque, qmp_arg_str(args, "path"), errp);
    const QomProperty *p =
        dev ? find_property(dev, qmp_arg_str(args, "property"), errp) : NULL;
    json_object *value = NULL;

    if (!p) {
        return false;
    }
    if (!p->set) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Property '%s.%s' is not writable", dev->type, p->name);
        return false;
    }
    (void)json_object_object_get_ex(args, "value", &value);
    return p->set(dev, value, errp);
}

static const QmpArgument list_args[] = {
    { "path", "str" },
    { NULL },
};
static const QmpArgument get_args[] = {
    { "path", "str" },
    { "property", "str" },
    { NULL },
};
static const QmpArgument set_args[] = {
    { "path", "str" },
    { "property", "str" },
    { "value", "any" },
    { NULL },
};

static const QmpArgument property_members[] = {
    { "name", "str" },
    { "type", "str" },
    { NULL },
};

const QmpCommand vm_qmp_qom_commands[] = {
    { "qom-list", list_args, qom_list, "The properties of an object.",
      "array", property_members },
    { "qom-get", get_args, qom_get, "The value of a property.", "any" },
    { "qom-set", set_args, qom_set, "Sets a property." },
    { NULL },
};
