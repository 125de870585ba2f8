/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: what this program can do, for management that asks before it starts
 * anything (libvirt, with -M none).
 *
 * Every answer comes from the table that the thing itself is made by: types of
 * devices and machines, CPU models, kinds of objects. What is not implemented
 * is not listed, so that management refuses it by itself.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <string.h>

#include "accel/cpu-models.h"

/* --- Types --------------------------------------------------------------- */

static void add_type(json_object *list, const char *name, const char *parent)
{
    json_object *entry = json_object_new_object();

    qmp_put_str(entry, "name", name);
    qmp_put_str(entry, "parent", parent);
    json_object_array_add(list, entry);
}

static void add_device_type(const DeviceType *type, void *opaque)
{
    add_type(opaque, type->name, "device");
}

static bool list_types(void *opaque, Monitor *mon, json_object *args,
                       json_object **ret_value, GError **errp)
{
    const char *name;

    *ret_value = json_object_new_array();
    vm_device_types_foreach(add_device_type, *ret_value);
    for (size_t i = 0; vm_options_object_type(i); i++) {
        add_type(*ret_value, vm_options_object_type(i), "object");
    }
    for (const PcMachineInfo *m = pc_machine_infos; m->name; m++) {
        g_autofree char *type = g_strdup_printf("%s-machine", m->name);

        add_type(*ret_value, type, "machine");
    }
    for (size_t i = 0; (name = cpu_model_name(i)); i++) {
        g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", name);

        add_type(*ret_value, type, "x86_64-cpu");
    }
    return true;
}

/*
 * Parts of the board that -device does not know: of them there are the
 * properties that -global takes.
 */
static const struct {
    const char *type, *property, *property_type;
} board_properties[] = {
    { "ICH9-LPC", "disable_s3", "uint8" },
    { "ICH9-LPC", "disable_s4", "uint8" },
    { "PIIX4_PM", "disable_s3", "uint8" },
    { "PIIX4_PM", "disable_s4", "uint8" },
    { "kvm-pit", "lost_tick_policy", "LostTickPolicy" },
};

/* False: there is no such type. */
static bool add_properties(json_object *list, const char *name)
{
    const DeviceType *type = vm_device_type_find(name);
    bool found = type != NULL;

    for (const DeviceProperty *p = type ? type->properties : NULL;
         p && p->name; p++) {
        vm_qom_add_property(list, p->name, p->type);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(board_properties); i++) {
        if (strcmp(board_properties[i].type, name) == 0) {
            vm_qom_add_property(list, board_properties[i].property,
                         board_properties[i].property_type);
            found = true;
        }
    }
    return found;
}

static bool device_list_properties(void *opaque, Monitor *mon,
                                   json_object *args, json_object **ret_value,
                                   GError **errp)
{
    const char *name = qmp_arg_str(args, "typename");
    json_object *list = json_object_new_array();

    if (!add_properties(list, name)) {
        json_object_put(list);
        g_set_error(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_FOUND,
                    "Device '%s' not found", name);
        return false;
    }
    *ret_value = list;
    return true;
}

/*
 * A type that is not there has no properties, and is no error: libvirt 9.0
 * asks for memory-backend-file unseen, and does not survive an error.
 */
static bool qom_list_properties(void *opaque, Monitor *mon, json_object *args,
                                json_object **ret_value, GError **errp)
{
    const char *name = qmp_arg_str(args, "typename");

    *ret_value = json_object_new_array();
    if (g_str_has_suffix(name, "-x86_64-cpu")) {
        g_autofree char *model =
            g_strndup(name, strlen(name) - strlen("-x86_64-cpu"));

        vm_cpu_add_properties(*ret_value, model);
    } else {
        (void)add_properties(*ret_value, name);
    }
    return true;
}

/* --- Machines ------------------------------------------------------------ */

static json_object *machine_entry(const PcMachineInfo *m)
{
    json_object *entry = json_object_new_object();

    qmp_put_str(entry, "name", m->name);
    if (m->alias) {
        qmp_put_str(entry, "alias", m->alias);
    }
    if (m->is_default) {
        qmp_put_bool(entry, "is-default", true);
    }
    qmp_put_int(entry, "cpu-max", m->cpus_max);
    /* True means that query-hotpluggable-cpus is there; all are plugged. */
    qmp_put_bool(entry, "hotpluggable-cpus", m->alias != NULL);
    qmp_put_bool(entry, "numa-mem-supported", false);
    qmp_put_bool(entry, "deprecated", false);
    if (m->alias) {
        qmp_put_str(entry, "default-cpu-type", "qemu64-x86_64-cpu");
        qmp_put_str(entry, "default-ram-id", "pc.ram");
    }
    return entry;
}

static bool query_machines(void *opaque, Monitor *mon, json_object *args,
                           json_object **ret_value, GError **errp)
{
    *ret_value = json_object_new_array();
    for (const PcMachineInfo *m = pc_machine_infos; m->name; m++) {
        json_object_array_add(*ret_value, machine_entry(m));
    }
    return true;
}

/* --- What there is none of ----------------------------------------------- */

static bool query_nothing(void *opaque, Monitor *mon, json_object *args,
                          json_object **ret_value, GError **errp)
{
    *ret_value = json_object_new_array();
    return true;
}

/* --- Options ------------------------------------------------------------- */

static bool query_options(void *opaque, Monitor *mon, json_object *args,
                          json_object **ret_value, GError **errp)
{
    const char *wanted = qmp_arg_str(args, "option");

    *ret_value = json_object_new_array();
    for (size_t i = 0; vm_options_with_parameters[i].option; i++) {
        const VmOptionParameters *o = &vm_options_with_parameters[i];
        json_object *entry, *parameters;

        if (wanted && strcmp(wanted, o->option) != 0) {
            continue;
        }
        entry = json_object_new_object();
        parameters = json_object_new_array();
        for (const VmOptionParameter *p = o->parameters; p->name; p++) {
            vm_qom_add_property(parameters, p->name, p->type);
        }
        qmp_put_str(entry, "option", o->option);
        json_object_object_add(entry, "parameters", parameters);
        json_object_array_add(*ret_value, entry);
    }
    return true;
}

static const QmpArgument typename_args[] = {
    { "typename", "str" },
    { NULL },
};
static const QmpArgument option_args[] = {
    { "option", "str", .optional = true },
    { NULL },
};
static const QmpArgument type_members[] = {
    { "name", "str" },
    { "parent", "str", .optional = true },
    { NULL },
};
static const QmpArgument property_members[] = {
    { "name", "str" },
    { "type", "str" },
    { NULL },
};
static const QmpArgument option_members[] = {
    { "option", "str" },
    { "parameters", "array" },
    { NULL },
};
static const QmpArgument machine_members[] = {
    { "name", "str" },
    { "alias", "str", .optional = true },
    { "is-default", "bool", .optional = true },
    { "cpu-max", "int" },
    { "hotpluggable-cpus", "bool" },
    { "numa-mem-supported", "bool" },
    { "deprecated", "bool" },
    { "default-cpu-type", "str", .optional = true },
    { "default-ram-id", "str", .optional = true },
    { NULL },
};

const QmpCommand vm_qmp_probe_commands[] = {
    { "qom-list-types", NULL, list_types,
      "The types of devices, objects, machines and CPUs.", "array",
      type_members },
    { "qom-list-properties", typename_args, qom_list_properties,
      "The properties of a type.", "array", property_members },
    { "device-list-properties", typename_args, device_list_properties,
      "The properties that -device takes.", "array", property_members },
    { "query-machines", NULL, query_machines, "The machines.", "array",
      machine_members },
    { "query-command-line-options", option_args, query_options,
      "Options whose parameters management asks for.", "array",
      option_members },
    { "query-tpm-models", NULL, query_nothing, "There are none.", "array" },
    { "query-tpm-types", NULL, query_nothing, "There are none.", "array" },
    { "query-iothreads", NULL, query_nothing, "There are none to be named.",
      "array" },
    { "query-jobs", NULL, query_nothing, "There are none.", "array" },
    { NULL },
};
