/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: the pager's figures, its history and its budget.
 *
 * Names are those of VmdStats in kebab case; units are in the names.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <inttypes.h>
#include <stddef.h>

#include "util/clock.h"
#include "util/error.h"

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
    COUNTER("backing-bytes", backing_bytes),
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
    COUNTER("tracker-spent-ns", tracker_spent_ns),
    COUNTER("tracker-round-ns", tracker_round_ns),
    COUNTER("aging-spent-ns", aging_spent_ns),
    COUNTER("checksum-errors", checksum_errors),
    COUNTER("failed-chunks", failed_chunks),
    COUNTER("seal-bytes", seal_bytes),
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
    qmp_put_u64(o, "remaining-bytes", s->budget_limit_bytes - s->budget_bytes);
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

/* Those that would be better, and why they do not run. */
static json_object *trackers_not_used(const VmdStats *s)
{
    json_object *object = json_object_new_object();

    for (unsigned i = 0; i < VMD_TRACKERS; i++) {
        if (s->tracker_why_not[i]) {
            qmp_put_str(object, s->tracker_names[i], s->tracker_why_not[i]);
        }
    }
    return object;
}

/* What is wrong at the moment; empty: nothing. */
static json_object *troubles(const VmdStats *s)
{
    json_object *array = json_object_new_array();

    for (unsigned i = 0; i < VMD_TROUBLE__COUNT; i++) {
        json_object *entry;

        if (s->trouble[i].failures == 0) {
            continue;
        }
        entry = json_object_new_object();
        qmp_put_str(entry, "operation", vmd_trouble_to_string(i));
        qmp_put_str(entry, "error",
                    vmd_error_to_string(s->trouble[i].error));
        qmp_put_u64(entry, "failures", s->trouble[i].failures);
        qmp_put_u64(entry, "since-ms", s->trouble[i].age_ns / VM_NS_PER_MS);
        json_object_array_add(array, entry);
    }
    return array;
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
    qmp_put_str(*ret_value, "locked", vm_locked_to_string(vm->locked));
    json_object_object_add(*ret_value, "budget", budget(&s));
    json_object_object_add(*ret_value, "trackers-not-used",
                           trackers_not_used(&s));
    qmp_put_bool(*ret_value, "checksum", s.checksum);
    qmp_put_bool(*ret_value, "encrypt", s.encrypt);
    json_object_object_add(*ret_value, "troubles", troubles(&s));
    qmp_put_u64(*ret_value, "oldest-request-ms",
                s.oldest_request_ns / VM_NS_PER_MS);
    json_object_object_add(*ret_value, "chunks-by-state",
                           numbers(s.chunks_by_state,
                                   G_N_ELEMENTS(s.chunks_by_state)));
    json_object_object_add(*ret_value, "fault-latency", latencies(&s));
    json_object_object_add(*ret_value, "key-histogram",
                           numbers(s.key_histogram,
                                   G_N_ELEMENTS(s.key_histogram)));
    return true;
}

/* A chunk's history as two hexadecimal digits a page. */
static json_object *chunk_history(const RamPlacement *placement,
                                  ChunkNo chunk, const RamChunkInfo *info,
                                  uint32_t pages)
{
    json_object *object = json_object_new_object();
    uint8_t history[RAM_CHUNK_PAGES_MAX];
    char digits[2 * RAM_CHUNK_PAGES_MAX + 1] = "";

    placement->ops->history(placement->opaque, chunk, history);
    for (uint32_t i = 0; i < pages; i++) {
        g_snprintf(digits + 2 * i, 3, "%02x", history[i]);
    }
    qmp_put_u64(object, "chunk", chunk);
    qmp_put_str(object, "place", ram_place_to_string(info->place));
    qmp_put_int(object, "key", info->key);
    qmp_put_str(object, "history", digits);
    return object;
}

#define HISTORY_CHUNKS_MAX 4096u

static bool query_history(void *opaque, Monitor *mon, json_object *args,
                          json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    uint64_t first = 0, count = 1;
    VmdStats s;

    if (!need_engine(vm, errp)) {
        return false;
    }
    (void)qmp_arg_u64(args, "chunk", &first);
    (void)qmp_arg_u64(args, "count", &count);
    vmd_engine_stats(vm->engine, &s);
    if (s.trouble[VMD_TROUBLE_STALL].failures > 0) { /* it would not answer */
        return vm_error_set(errp, 0, "vmemdirect: %s",
                            vmd_error_to_string(ETIME));
    }
    uint64_t pages = s.ram_bytes / RAM_PAGE_BYTES;
    uint64_t chunks = (pages + s.chunk_pages - 1) / s.chunk_pages;
    if (count == 0 || count > HISTORY_CHUNKS_MAX || first >= chunks ||
        count > chunks - first) {
        return vm_error_set(errp, 0,
                            "chunk and count: there are %" PRIu64 " chunks; "
                            "at most %u can be asked for at once",
                            chunks, HISTORY_CHUNKS_MAX);
    }
    const RamPlacement *placement = vmd_engine_placement(vm->engine);
    g_autofree RamChunkInfo *infos = g_new(RamChunkInfo, chunks);
    placement->ops->chunk_infos(placement->opaque, infos);
    *ret_value = json_object_new_array();
    for (uint64_t c = first; c < first + count; c++) {
        uint64_t left = pages - c * s.chunk_pages;
        json_object_array_add(
            *ret_value, chunk_history(placement, (ChunkNo)c, &infos[c],
                                      (uint32_t)MIN(left, s.chunk_pages)));
    }
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

static const QmpArgument history_args[] = {
    { "chunk", "size" },
    { "count", "size", true },
    { NULL },
};

static const QmpArgument history_members[] = {
    { "chunk", "size" },
    { "place", "zero|ram|swap" },
    { "key", "int" },
    { "history", "str" },
    { NULL },
};

const QmpCommand vm_qmp_vmemdirect_commands[] = {
    { "query-vmemdirect", NULL, query_vmemdirect,
      "Where the guest's memory is, and what paging has done.", "any" },
    { "query-vmemdirect-history", history_args, query_history,
      "The access history of chunks, page by page.", "array",
      history_members },
    { "vmemdirect-set", set_args, set_vmemdirect,
      "Changes the budget; see 'budget' of query-vmemdirect." },
    { NULL },
};
