/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: the pager's figures and its budget.
 *
 * Names are those of VmdStats in kebab case; units are in the names.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <stddef.h>

#include "util/clock.h"

static const struct {
    const char *key;
    size_t offset;
} counters[] = {
#define COUNTER(key, field) { key, offsetof(VmdStats, field) }
    COUNTER("budget-bytes", budget_bytes),
    COUNTER("ram-bytes", ram_bytes),
    COUNTER("frames-bytes", frames_bytes),
    COUNTER("resident-bytes", resident_bytes),
    COUNTER("standby-bytes", standby_bytes),
    COUNTER("swapped-bytes", swapped_bytes),
    COUNTER("zero-bytes", zero_bytes),
    COUNTER("clean-bytes", clean_bytes),
    COUNTER("dirty-bytes", dirty_bytes),
    COUNTER("stored-bytes", stored_bytes),
    COUNTER("pinned-chunks", pinned_chunks),
    COUNTER("faults-hard", faults_hard),
    COUNTER("faults-soft", faults_soft),
    COUNTER("faults-zero", faults_zero),
    COUNTER("faults-write-protect", faults_write_protect),
    COUNTER("page-in-bytes", page_in_bytes),
    COUNTER("page-in-ops", page_in_ops),
    COUNTER("page-out-bytes", page_out_bytes),
    COUNTER("page-out-ops", page_out_ops),
    COUNTER("export-bytes", export_bytes),
    COUNTER("import-ram-bytes", import_ram_bytes),
    COUNTER("import-swap-bytes", import_swap_bytes),
    COUNTER("dropped-clean-bytes", dropped_clean_bytes),
    COUNTER("found-zero-bytes", found_zero_bytes),
    COUNTER("discarded-bytes", discarded_bytes),
    COUNTER("read-errors", read_errors),
    COUNTER("write-errors", write_errors),
#undef COUNTER
};

static bool need_engine(const Vm *vm, GError **errp)
{
    if (vm->engine) {
        return true;
    }
    g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_ACTIVE,
                        "The VM was started without -vmemdirect");
    return false;
}

static json_object *numbers(const uint64_t *values, size_t count)
{
    json_object *array = json_object_new_array();

    for (size_t i = 0; i < count; i++) {
        json_object_array_add(array, json_object_new_uint64(values[i]));
    }
    return array;
}

static json_object *latencies(const VmdStats *s)
{
    json_object *array = json_object_new_array();

    for (unsigned i = 0; i < VMD_LATENCY_BUCKETS; i++) {
        json_object *entry = json_object_new_object();

        qmp_put_u64(entry, "from-ns", UINT64_C(1) << i);
        qmp_put_u64(entry, "count", s->fault_latency[i]);
        json_object_array_add(array, entry);
    }
    return array;
}

static json_object *budget(const VmdStats *s)
{
    json_object *o = json_object_new_object();

    qmp_put_u64(o, "target-bytes", s->budget_bytes);
    qmp_put_u64(o, "current-bytes", s->budget_used_bytes);
    qmp_put_u64(o, "limit-bytes", s->budget_limit_bytes);
    qmp_put_str(o, "state", vmd_budget_state_to_string(s->budget_state));
    if (s->budget_obstacle) {
        qmp_put_str(o, "reason", s->budget_obstacle);
    }
    qmp_put_int(o, "age-ms", s->budget_age_ns / VM_NS_PER_MS);
    if (s->budget_state == VMD_BUDGET_REACHED) {
        qmp_put_int(o, "took-ms", s->budget_took_ns / VM_NS_PER_MS);
    }
    return o;
}

static bool query_vmemdirect(void *opaque, Monitor *mon, json_object *args,
                             json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    VmdStats s;

    if (!need_engine(vm, errp)) {
        return false;
    }
    vmd_engine_stats(vm->engine, &s);
    *ret_value = json_object_new_object();
    for (size_t i = 0; i < G_N_ELEMENTS(counters); i++) {
        const char *at = (const char *)&s + counters[i].offset;

        qmp_put_u64(*ret_value, counters[i].key, *(const uint64_t *)at);
    }
    qmp_put_int(*ret_value, "chunk-pages", s.chunk_pages);
    qmp_put_str(*ret_value, "mode", s.mode);
    qmp_put_str(*ret_value, "io", s.io);
    qmp_put_str(*ret_value, "tracker", s.tracker);
    json_object_object_add(*ret_value, "budget", budget(&s));
    json_object_object_add(*ret_value, "chunks-by-state",
                           numbers(s.chunks_by_state,
                                   G_N_ELEMENTS(s.chunks_by_state)));
    json_object_object_add(*ret_value, "fault-latency", latencies(&s));
    json_object_object_add(*ret_value, "key-histogram",
                           numbers(s.key_histogram,
                                   G_N_ELEMENTS(s.key_histogram)));
    return true;
}

static bool set_vmemdirect(void *opaque, Monitor *mon, json_object *args,
                           json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    uint64_t bytes = 0;

    if (!need_engine(vm, errp)) {
        return false;
    }
    return !qmp_arg_u64(args, "memory", &bytes) ||
           vmd_engine_set_budget(vm->engine, bytes, errp);
}

static const QmpArgument set_args[] = {
    { "memory", "size" },
    { NULL },
};

const QmpCommand vm_qmp_vmemdirect_commands[] = {
    { "query-vmemdirect", NULL, query_vmemdirect,
      "Where the guest's memory is, and what paging has done." },
    { "vmemdirect-set", set_args, set_vmemdirect,
      "Changes the budget; see 'budget' of query-vmemdirect." },
    { NULL },
};
