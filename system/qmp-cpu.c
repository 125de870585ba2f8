/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: CPU models, and the vCPUs as objects.
 *
 *   /machine/unattached/device[N]   vCPU N: its features, on or off
 *
 * What a vCPU has is computed anew from -cpu and this host, by the functions
 * that made it.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <string.h>

#include "accel/cpu-models.h"
#include "util/error.h"
#include "util/size.h"

#define CPU_PATH "/machine/unattached/device["

static char *cpu_type(const char *model)
{
    size_t len = strcspn(model, ",");

    return g_strdup_printf("%.*s-x86_64-cpu", (int)len, model);
}

/* --- Models --------------------------------------------------------------- */

static void add_missing(const char *name, CpuFeatureState state, void *opaque)
{
    if (state == CPU_FEATURE_MISSING) {
        json_object_array_add(opaque, json_object_new_string(name));
    }
}

static json_object *definition(const KvmCpus *cpus, const char *name)
{
    json_object *entry = json_object_new_object();
    g_autofree char *type = cpu_type(name);

    qmp_put_str(entry, "name", name);
    qmp_put_str(entry, "typename", type);
    qmp_put_bool(entry, "static", false);
    qmp_put_bool(entry, "migration-safe", cpu_model_is_fixed(name));
    qmp_put_bool(entry, "deprecated", false);
    if (cpus) {
        json_object *missing = json_object_new_array();

        (void)kvm_cpus_expand(cpus, name, add_missing, missing, NULL, NULL);
        json_object_object_add(entry, "unavailable-features", missing);
    }
    return entry;
}

/* Without KVM nothing is known about what would run. */
static bool query_definitions(void *opaque, Monitor *mon, json_object *args,
                              json_object **ret_value, GError **errp)
{
    g_autoptr(KvmCpus) cpus = kvm_cpus_new(NULL);
    const char *name;

    *ret_value = json_object_new_array();
    for (size_t i = 0; (name = cpu_model_name(i)); i++) {
        json_object_array_add(*ret_value, definition(cpus, name));
    }
    return true;
}

/* "NAME,KEY=on,..." of {"name":NAME,"props":{KEY:true,...}}. */
static char *model_text(json_object *model, GError **errp)
{
    json_object *name, *props;
    g_autoptr(GString) text = NULL;

    if (!json_object_object_get_ex(model, "name", &name) ||
        !json_object_is_type(name, json_type_string)) {
        vm_error_set(errp, 0, "Parameter 'model.name' is missing");
        return NULL;
    }
    text = g_string_new(json_object_get_string(name));
    if (!json_object_object_get_ex(model, "props", &props)) {
        return g_strdup(text->str);
    }
    if (!json_object_is_type(props, json_type_object)) {
        vm_error_set(errp, 0, "Parameter 'model.props' expects an object");
        return NULL;
    }
    json_object_object_foreach(props, key, value) {
        if (!json_object_is_type(value, json_type_boolean)) {
            vm_error_set(errp, 0, "Property '%s' expects a boolean", key);
            return NULL;
        }
        g_string_append_printf(text, ",%s=%s", key,
                               json_object_get_boolean(value) ? "on" : "off");
    }
    return g_strdup(text->str);
}

static void put_feature(const char *name, CpuFeatureState state, void *opaque)
{
    qmp_put_bool(opaque, name, state == CPU_FEATURE_ON);
}

/* Static and full say the same: every feature that there is by name. */
static bool query_expansion(void *opaque, Monitor *mon, json_object *args,
                            json_object **ret_value, GError **errp)
{
    g_autoptr(KvmCpus) cpus = kvm_cpus_new(errp);
    g_autofree char *text = NULL;
    json_object *model = NULL, *props;
    CpuIdentity identity;

    (void)json_object_object_get_ex(args, "model", &model);
    text = cpus ? model_text(model, errp) : NULL;
    if (!text) {
        return false;
    }
    props = json_object_new_object();
    if (!kvm_cpus_expand(cpus, text, put_feature, props, &identity, errp)) {
        json_object_put(props);
        return false;
    }
    qmp_put_int(props, "family", identity.family);
    qmp_put_int(props, "model", identity.model);
    qmp_put_int(props, "stepping", identity.stepping);
    qmp_put_str(props, "vendor", identity.vendor);
    *ret_value = json_object_new_object();
    model = json_object_new_object();
    text[strcspn(text, ",")] = '\0';
    qmp_put_str(model, "name", text);
    json_object_object_add(model, "props", props);
    json_object_object_add(*ret_value, "model", model);
    return true;
}

/* --- vCPUs ---------------------------------------------------------------- */

static char *cpu_path(unsigned cpu)
{
    return g_strdup_printf(CPU_PATH "%u]", cpu);
}

static json_object *cpu_place(unsigned cpu)
{
    json_object *props = json_object_new_object();

    qmp_put_int(props, "socket-id", cpu);
    qmp_put_int(props, "core-id", 0);
    qmp_put_int(props, "thread-id", 0);
    return props;
}

static json_object *cpu_entry(const Vm *vm, unsigned cpu)
{
    json_object *entry = json_object_new_object();
    g_autofree char *path = cpu_path(cpu);

    qmp_put_int(entry, "thread-id", vcpus_thread_id(vm->vcpus, cpu));
    json_object_object_add(entry, "props", cpu_place(cpu));
    qmp_put_str(entry, "qom-path", path);
    qmp_put_int(entry, "cpu-index", cpu);
    qmp_put_str(entry, "target", "x86_64");
    return entry;
}

static unsigned cpu_count(const Vm *vm)
{
    return vm->vcpus ? vcpus_count(vm->vcpus) : 0;
}

static bool query_cpus_fast(void *opaque, Monitor *mon, json_object *args,
                            json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    *ret_value = json_object_new_array();
    for (unsigned i = 0; i < cpu_count(vm); i++) {
        json_object_array_add(*ret_value, cpu_entry(vm, i));
    }
    return true;
}

static bool query_hotpluggable(void *opaque, Monitor *mon, json_object *args,
                               json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    g_autofree char *type = cpu_type(vm->options->cpu);

    *ret_value = json_object_new_array();
    for (unsigned i = 0; i < cpu_count(vm); i++) {
        json_object *entry = json_object_new_object();
        g_autofree char *path = cpu_path(i);

        qmp_put_str(entry, "type", type);
        qmp_put_int(entry, "vcpus-count", 1);
        json_object_object_add(entry, "props", cpu_place(i));
        qmp_put_str(entry, "qom-path", path);
        json_object_array_add(*ret_value, entry);
    }
    return true;
}

/* --- vCPUs as objects ----------------------------------------------------- */

bool vm_cpu_is_path(const Vm *vm, const char *path)
{
    g_autofree char *number = NULL;
    uint64_t cpu;

    if (!g_str_has_prefix(path, CPU_PATH) || !g_str_has_suffix(path, "]")) {
        return false;
    }
    number = g_strndup(path + strlen(CPU_PATH),
                       strlen(path) - strlen(CPU_PATH) - 1);
    return vm_u64_parse(number, "cpu", &cpu, NULL) && cpu < cpu_count(vm);
}

typedef struct Properties {
    json_object *list;
    GHashTable *seen; /* names; "kvmclock" has two bits */
} Properties;

static void add_feature(const char *name, CpuFeatureState state, void *opaque)
{
    Properties *p = opaque;

    if (g_hash_table_add(p->seen, g_strdup(name))) {
        vm_qom_add_property(p->list, name, "bool");
    }
}

/* The properties of -cpu that are no features, and can be either way. */
static const char *const cpu_switches[] = { "migratable", "kvm", "enforce",
                                            "host-phys-bits" };

static bool add_features(json_object *list, const char *model)
{
    g_autoptr(KvmCpus) cpus = kvm_cpus_new(NULL);
    Properties p = { list, NULL };
    bool ok;

    if (!cpus) {
        return false;
    }
    p.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    ok = kvm_cpus_expand(cpus, model, add_feature, &p, NULL, NULL);
    g_hash_table_unref(p.seen);
    return ok;
}

void vm_cpu_add_properties(json_object *list, const char *model)
{
    if (add_features(list, model)) {
        for (size_t i = 0; i < G_N_ELEMENTS(cpu_switches); i++) {
            vm_qom_add_property(list, cpu_switches[i], "bool");
        }
        vm_qom_add_property(list, "unavailable-features", "strList");
    }
}

json_object *vm_cpu_list(const Vm *vm)
{
    json_object *list = json_object_new_array();

    vm_qom_add_property(list, "type", "string");
    (void)add_features(list, vm->options->cpu); /* it runs, so there is KVM */
    vm_qom_add_property(list, "unavailable-features", "strList");
    return list;
}

typedef struct Lookup {
    const char *name;
    bool found, on;
} Lookup;

static void look_up(const char *name, CpuFeatureState state, void *opaque)
{
    Lookup *l = opaque;

    if (strcmp(name, l->name) == 0) {
        l->found = true;
        l->on = state == CPU_FEATURE_ON;
    }
}

bool vm_cpu_get(const Vm *vm, const char *property, json_object **ret,
                GError **errp)
{
    g_autoptr(KvmCpus) cpus = kvm_cpus_new(errp);
    const char *model = vm->options->cpu;
    g_autofree char *type = cpu_type(model);
    Lookup l = { .name = property };

    if (!cpus) {
        return false;
    }
    if (strcmp(property, "type") == 0) {
        *ret = json_object_new_string(type);
        return true;
    }
    if (strcmp(property, "unavailable-features") == 0) {
        json_object *missing = json_object_new_array();

        (void)kvm_cpus_expand(cpus, model, add_missing, missing, NULL, NULL);
        *ret = missing; /* it runs, so the model is right */
        return true;
    }
    if (!kvm_cpus_expand(cpus, model, look_up, &l, NULL, errp)) {
        return false;
    }
    if (!l.found) {
        return vm_error_set(errp, 0, "Property '%s.%s' not found", type,
                            property);
    }
    *ret = json_object_new_boolean(l.on);
    return true;
}

static const QmpArgument expansion_args[] = {
    { "type", "static|full" },
    { "model", "object" },
    { NULL },
};
static const QmpArgument definition_members[] = {
    { "name", "str" },
    { "typename", "str" },
    { "static", "bool" },
    { "migration-safe", "bool" },
    { "deprecated", "bool" },
    { "unavailable-features", "array", .optional = true },
    { NULL },
};
static const QmpArgument expansion_members[] = {
    { "model", "object" },
    { NULL },
};
static const QmpArgument cpu_members[] = {
    { "cpu-index", "int" },
    { "thread-id", "int" },
    { "qom-path", "str" },
    { "target", "str" },
    { "props", "object" },
    { NULL },
};
static const QmpArgument hotpluggable_members[] = {
    { "type", "str" },
    { "vcpus-count", "int" },
    { "props", "object" },
    { "qom-path", "str", .optional = true },
    { NULL },
};

const QmpCommand vm_qmp_cpu_commands[] = {
    { "query-cpu-definitions", NULL, query_definitions, "The CPU models.",
      "array", definition_members },
    { "query-cpu-model-expansion", expansion_args, query_expansion,
      "The features of a CPU model on this host.", "object",
      expansion_members },
    { "query-cpus-fast", NULL, query_cpus_fast,
      "The vCPUs and their host threads.", "array", cpu_members },
    { "query-hotpluggable-cpus", NULL, query_hotpluggable,
      "The places of vCPUs, all of them taken.", "array",
      hotpluggable_members },
    { NULL },
};
