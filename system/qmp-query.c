/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: queries about what the VM consists of.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <string.h>

#include "util/log.h"

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

/* --- query-block -------------------------------------------------------- */

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

static json_object *block_image(const BlockBackend *blk)
{
    json_object *image = json_object_new_object();

    qmp_put_u64(image, "virtual-size", block_backend_bytes(blk));
    qmp_put_str(image, "filename", block_backend_filename(blk));
    qmp_put_str(image, "format", "raw");
    return image;
}

static json_object *block_inserted(const BlockBackend *blk)
{
    static const char *const zeroes[] = {
        "iops_rd", "iops_wr", "iops", "bps_rd", "bps_wr", "bps",
        "backing_file_depth", "detect_zeroes", "write_threshold",
    };
    json_object *inserted = json_object_new_object();
    json_object *cache = json_object_new_object();

    for (size_t i = 0; i < G_N_ELEMENTS(zeroes); i++) {
        if (strcmp(zeroes[i], "detect_zeroes") == 0) {
            qmp_put_str(inserted, zeroes[i], "off");
        } else {
            qmp_put_int(inserted, zeroes[i], 0);
        }
    }
    qmp_put_bool(inserted, "ro", block_backend_read_only(blk));
    qmp_put_str(inserted, "node-name", block_backend_id(blk));
    qmp_put_str(inserted, "drv", "raw");
    qmp_put_str(inserted, "file", block_backend_filename(blk));
    qmp_put_bool(inserted, "encrypted", false);
    qmp_put_bool(cache, "writeback", block_backend_write_cache(blk));
    qmp_put_bool(cache, "direct", false);
    qmp_put_bool(cache, "no-flush", false);
    json_object_object_add(inserted, "cache", cache);
    json_object_object_add(inserted, "image", block_image(blk));
    return inserted;
}

static json_object *block_entry(const Vm *vm, const BlockBackend *blk)
{
    json_object *entry = json_object_new_object();
    VmKeyval *device = block_device(vm, block_backend_id(blk));
    const char *id = device ? vm_keyval_get(device, "id") : NULL;

    qmp_put_str(entry, "device", block_backend_id(blk));
    if (id) {
        g_autofree char *path =
            g_strdup_printf("/machine/peripheral/%s/virtio-backend", id);

        qmp_put_str(entry, "qdev", path);
    }
    qmp_put_str(entry, "io-status", "ok");
    qmp_put_bool(entry, "locked", false);
    qmp_put_bool(entry, "removable", false);
    qmp_put_str(entry, "type", "unknown");
    json_object_object_add(entry, "inserted", block_inserted(blk));
    return entry;
}

static bool query_block(void *opaque, Monitor *mon, json_object *args,
                        json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    *ret_value = json_object_new_array();
    for (guint i = 0; i < vm->blocks->len; i++) {
        json_object_array_add(*ret_value,
                              block_entry(vm, vm->blocks->pdata[i]));
    }
    return true;
}

/* --- query-cpus-fast ---------------------------------------------------- */

static json_object *cpu_entry(const Vm *vm, unsigned cpu)
{
    json_object *entry = json_object_new_object();
    json_object *props = json_object_new_object();
    g_autofree char *path =
        g_strdup_printf("/machine/unattached/device[%u]", cpu);

    qmp_put_int(props, "socket-id", cpu);
    qmp_put_int(props, "core-id", 0);
    qmp_put_int(props, "thread-id", 0);
    qmp_put_int(entry, "thread-id", vcpus_thread_id(vm->vcpus, cpu));
    json_object_object_add(entry, "props", props);
    qmp_put_str(entry, "qom-path", path);
    qmp_put_int(entry, "cpu-index", cpu);
    qmp_put_str(entry, "target", "x86_64");
    return entry;
}

static bool query_cpus_fast(void *opaque, Monitor *mon, json_object *args,
                            json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    unsigned count = vm->vcpus ? vcpus_count(vm->vcpus) : 0;

    *ret_value = json_object_new_array();
    for (unsigned i = 0; i < count; i++) {
        json_object_array_add(*ret_value, cpu_entry(vm, i));
    }
    return true;
}

const QmpCommand vm_qmp_query_commands[] = {
    { "query-name", NULL, query_name, "The VM's name (-name)." },
    { "query-uuid", NULL, query_uuid, "The VM's UUID (-uuid)." },
    { "query-kvm", NULL, query_kvm, "Whether KVM can be used." },
    { "query-target", NULL, query_target, "The guest's architecture." },
    { "query-chardev", NULL, query_chardev, "The character devices." },
    { "query-block", NULL, query_block, "The images." },
    { "query-cpus-fast", NULL, query_cpus_fast,
      "The vCPUs and their host threads." },
    { NULL },
};
