/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: images, the disks that use them, and what they have done.
 *
 * An image is one back end, however it was spelled: -drive makes a device in
 * QEMU's sense, with the id as its name; -blockdev makes nodes, "raw" over
 * "file", of which both names lead to the same back end.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <string.h>
#include <sys/stat.h>

/* The disk whose drive= names the image. */
static VmKeyval *block_device(const Vm *vm, const char *id)
{
    for (guint i = 0; i < vm->options->devices->len; i++) {
        VmKeyval *kv = vm->options->devices->pdata[i];

        if (g_strcmp0(vm_keyval_get(kv, "drive"), id) == 0) {
            return kv;
        }
    }
    return NULL;
}

static bool is_drive(const Vm *vm, const char *id)
{
    for (guint i = 0; i < vm->options->drives->len; i++) {
        VmKeyval *kv = vm->options->drives->pdata[i];

        if (g_strcmp0(vm_keyval_get(kv, "id"), id) == 0) {
            return true;
        }
    }
    return false;
}

/* "device", and "qdev" if a disk with an id uses the image. */
static void put_names(json_object *entry, const Vm *vm,
                      const BlockBackend *blk)
{
    const char *id = block_backend_id(blk);
    VmKeyval *device = block_device(vm, id);
    const char *disk = device ? vm_keyval_get(device, "id") : NULL;

    qmp_put_str(entry, "device", is_drive(vm, id) ? id : "");
    if (disk) {
        g_autofree char *path =
            g_strdup_printf("/machine/peripheral/%s/virtio-backend", disk);

        qmp_put_str(entry, "qdev", path);
    }
}

/* --- Nodes ---------------------------------------------------------------- */

static json_object *block_image(const BlockBackend *blk, const char *driver)
{
    json_object *image = json_object_new_object();
    struct stat st;

    qmp_put_u64(image, "virtual-size", block_backend_bytes(blk));
    qmp_put_str(image, "filename", block_backend_filename(blk));
    qmp_put_str(image, "format", driver);
    if (stat(block_backend_filename(blk), &st) == 0) {
        qmp_put_u64(image, "actual-size", (uint64_t)st.st_blocks * 512);
    }
    qmp_put_bool(image, "dirty-flag", false);
    return image;
}

static json_object *block_node(const BlockBackend *blk, const char *name,
                               const char *driver)
{
    static const char *const zeroes[] = {
        "iops_rd", "iops_wr", "iops", "bps_rd", "bps_wr", "bps",
        "backing_file_depth", "write_threshold",
    };
    json_object *node = json_object_new_object();
    json_object *cache = json_object_new_object();

    for (size_t i = 0; i < G_N_ELEMENTS(zeroes); i++) {
        qmp_put_int(node, zeroes[i], 0);
    }
    qmp_put_str(node, "detect_zeroes", "off");
    qmp_put_bool(node, "ro", block_backend_read_only(blk));
    qmp_put_str(node, "node-name", name);
    qmp_put_str(node, "drv", driver);
    qmp_put_str(node, "file", block_backend_filename(blk));
    qmp_put_bool(node, "encrypted", false);
    qmp_put_bool(cache, "writeback", block_backend_write_cache(blk));
    qmp_put_bool(cache, "direct", block_backend_direct(blk));
    qmp_put_bool(cache, "no-flush", block_backend_no_flush(blk));
    json_object_object_add(node, "cache", cache);
    json_object_object_add(node, "image", block_image(blk, driver));
    return node;
}

/* The -blockdev below the image's own node; NULL: it has no name. */
static VmKeyval *node_below(const Vm *vm, const BlockBackend *blk)
{
    const char *below = NULL;

    for (guint i = 0; i < vm->options->blockdevs->len; i++) {
        VmKeyval *kv = vm->options->blockdevs->pdata[i];

        if (g_strcmp0(vm_keyval_get(kv, "node-name"),
                      block_backend_id(blk)) == 0) {
            below = vm_keyval_get(kv, "file");
        }
    }
    for (guint i = 0; below && i < vm->options->blockdevs->len; i++) {
        VmKeyval *kv = vm->options->blockdevs->pdata[i];

        if (g_strcmp0(vm_keyval_get(kv, "node-name"), below) == 0) {
            return kv;
        }
    }
    return NULL;
}

typedef void NodeFn(json_object *list, const BlockBackend *blk,
                    const char *name, const char *driver);

static void foreach_node(const Vm *vm, NodeFn *fn, json_object *list)
{
    for (guint i = 0; i < vm->blocks->len; i++) {
        const BlockBackend *blk = vm->blocks->pdata[i];
        VmKeyval *below = node_below(vm, blk);

        fn(list, blk, block_backend_id(blk), "raw");
        if (below) {
            fn(list, blk, vm_keyval_get(below, "node-name"),
               vm_keyval_get(below, "driver"));
        }
    }
}

static void add_node(json_object *list, const BlockBackend *blk,
                     const char *name, const char *driver)
{
    json_object_array_add(list, block_node(blk, name, driver));
}

static bool query_named_nodes(void *opaque, Monitor *mon, json_object *args,
                              json_object **ret_value, GError **errp)
{
    *ret_value = json_object_new_array();
    foreach_node(opaque, add_node, *ret_value);
    return true;
}

/* --- query-block ---------------------------------------------------------- */

static bool query_block(void *opaque, Monitor *mon, json_object *args,
                        json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    *ret_value = json_object_new_array();
    for (guint i = 0; i < vm->blocks->len; i++) {
        const BlockBackend *blk = vm->blocks->pdata[i];
        json_object *entry = json_object_new_object();

        put_names(entry, vm, blk);
        qmp_put_str(entry, "io-status", "ok");
        qmp_put_bool(entry, "locked", false);
        qmp_put_bool(entry, "removable", false);
        qmp_put_str(entry, "type", "unknown");
        json_object_object_add(entry, "inserted",
                               block_node(blk, block_backend_id(blk), "raw"));
        json_object_array_add(*ret_value, entry);
    }
    return true;
}

/* --- query-blockstats ----------------------------------------------------- */

typedef struct StatsKind {
    const char *word;
    BlockOp op, also; /* the same twice, if there is one only */
} StatsKind;

/* Zeroes are written, whatever the file system makes of it. */
static const StatsKind stats_kinds[] = {
    { "rd", BLOCK_READ, BLOCK_READ },
    { "wr", BLOCK_WRITE, BLOCK_WRITE_ZEROES },
    { "flush", BLOCK_FLUSH, BLOCK_FLUSH },
    { "unmap", BLOCK_DISCARD, BLOCK_DISCARD },
};

static void put_figure(json_object *stats, const char *before,
                       const StatsKind *k, const char *after,
                       const uint64_t *values)
{
    g_autofree char *key = g_strconcat(before, k->word, after, NULL);

    qmp_put_u64(stats, key,
                values[k->op] + (k->also != k->op ? values[k->also] : 0));
}

static json_object *block_counters(const BlockBackend *blk)
{
    json_object *stats = json_object_new_object();
    BlockStats s;

    block_backend_stats(blk, &s);
    for (size_t i = 0; i < G_N_ELEMENTS(stats_kinds); i++) {
        const StatsKind *k = &stats_kinds[i];

        put_figure(stats, "", k, "_operations", s.operations);
        put_figure(stats, "failed_", k, "_operations", s.failed);
        put_figure(stats, "", k, "_total_time_ns", s.total_ns);
        if (k->op != BLOCK_FLUSH) {
            put_figure(stats, "", k, "_bytes", s.bytes);
        }
    }
    return stats;
}

static void add_node_stats(json_object *list, const BlockBackend *blk,
                           const char *name, const char *driver)
{
    json_object *entry = json_object_new_object();

    qmp_put_str(entry, "node-name", name);
    json_object_object_add(entry, "stats", block_counters(blk));
    json_object_array_add(list, entry);
}

static bool query_stats(void *opaque, Monitor *mon, json_object *args,
                        json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    *ret_value = json_object_new_array();
    if (qmp_arg_bool(args, "query-nodes", false)) {
        foreach_node(vm, add_node_stats, *ret_value);
        return true;
    }
    for (guint i = 0; i < vm->blocks->len; i++) {
        const BlockBackend *blk = vm->blocks->pdata[i];
        json_object *entry = json_object_new_object();

        put_names(entry, vm, blk);
        qmp_put_str(entry, "node-name", block_backend_id(blk));
        json_object_object_add(entry, "stats", block_counters(blk));
        json_object_array_add(*ret_value, entry);
    }
    return true;
}

static const QmpArgument flat_args[] = {
    { "flat", "bool", .optional = true },
    { NULL },
};
static const QmpArgument stats_args[] = {
    { "query-nodes", "bool", .optional = true },
    { NULL },
};
static const QmpArgument block_members[] = {
    { "device", "str" },
    { "qdev", "str", .optional = true },
    { "type", "str" },
    { "removable", "bool" },
    { "locked", "bool" },
    { "io-status", "str" },
    { "inserted", "object" },
    { NULL },
};
static const QmpArgument node_members[] = {
    { "node-name", "str" },
    { "file", "str" },
    { "drv", "str" },
    { "ro", "bool" },
    { "encrypted", "bool" },
    { "detect_zeroes", "str" },
    { "write_threshold", "int" },
    { "backing_file_depth", "int" },
    { "bps", "int" },
    { "bps_rd", "int" },
    { "bps_wr", "int" },
    { "iops", "int" },
    { "iops_rd", "int" },
    { "iops_wr", "int" },
    { "cache", "object" },
    { "image", "object" },
    { NULL },
};
static const QmpArgument stats_members[] = {
    { "device", "str", .optional = true },
    { "qdev", "str", .optional = true },
    { "node-name", "str" },
    { "stats", "object" },
    { NULL },
};

const QmpCommand vm_qmp_block_commands[] = {
    { "query-block", NULL, query_block, "The images.", "array",
      block_members },
    { "query-named-block-nodes", flat_args, query_named_nodes,
      "The images by the names of their nodes.", "array", node_members },
    { "query-blockstats", stats_args, query_stats,
      "What was read from images and written to them.", "array",
      stats_members },
    { NULL },
};
