/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake, as pure functions (docs/migration-format.md, section 3).
 *
 * Why here and not in the two sides: what the destination refuses and what
 * the source expects is one rule, tested without a socket.
 *
 * Chunk size: a side that pages has one and cannot change it; a side that
 * keeps all of its RAM resident adapts. Two that page must agree.
 *
 * Threads: any; nothing is shared.
 */
#include "hello.h"

#include <inttypes.h>
#include <string.h>

#include "chunk-size.h"
#include "util/error.h"

void mig_hello_of_vm(const MigrationVm *vm, MigHello *ret)
{
    const RamPlacement *p = vm->placement;

    memset(ret, 0, sizeof(*ret));
    ret->version_min = MIG_WIRE_VERSION_MIN;
    ret->version_max = MIG_WIRE_VERSION_MAX;
    ret->adapts_chunk = p->ops->budget_pages(p->opaque) == UINT64_MAX;
    ret->features = MIG_WIRE_FEATURES;
    ret->page_bytes = RAM_PAGE_BYTES;
    ret->chunk_pages = p->ops->chunk_pages(p->opaque);
    ret->vcpus = vm->vcpus;
    ret->ram_blocks = 1;
    ret->ram_bytes = ram_block_bytes(vm->ram);
    g_strlcpy(ret->machine, vm->machine, sizeof(ret->machine));
    g_strlcpy(ret->ram_id, ram_block_id(vm->ram), sizeof(ret->ram_id));
}

void mig_hello_set_one_way(MigHello *hello, bool one_way)
{
    hello->features &= ~MIG_FEATURE_ONE_WAY;
    hello->features |= one_way ? MIG_FEATURE_ONE_WAY : 0;
    hello->features_required = one_way ? MIG_FEATURE_ONE_WAY : 0;
}

bool mig_hello_is_one_way(const MigHello *hello)
{
    return hello->features_required & MIG_FEATURE_ONE_WAY;
}

void mig_hello_set_channels(MigHello *hello, unsigned channels)
{
    uint64_t bit = channels ? MIG_FEATURE_CHANNELS : 0;

    hello->channels = channels;
    hello->features = (hello->features & ~MIG_FEATURE_CHANNELS) | bit;
    hello->features_required |= bit;
}

GByteArray *mig_hello_encode(const MigHello *hello)
{
    GByteArray *out = g_byte_array_new();
    MigWireHello w = {
        .signature = MIG_WIRE_SIGNATURE,
        .version_min = hello->version_min,
        .version_max = hello->version_max,
        .flags = (hello->adapts_chunk ? MIG_HELLO_ADAPTS_CHUNK : 0) |
                 hello->channels << MIG_HELLO_CHANNELS_SHIFT,
        .features = hello->features,
        .features_required = hello->features_required,
        .page_bytes = hello->page_bytes,
        .chunk_pages = hello->chunk_pages,
        .vcpus = hello->vcpus,
        .machine_bytes = (uint16_t)strlen(hello->machine),
        .ram_blocks = (uint16_t)hello->ram_blocks,
    };
    MigWireRamBlock block = { .bytes = hello->ram_bytes,
                              .id_bytes = (uint16_t)strlen(hello->ram_id) };

    g_byte_array_append(out, (const guint8 *)&w, sizeof(w));
    g_byte_array_append(out, (const guint8 *)hello->machine,
                        w.machine_bytes);
    g_byte_array_append(out, (const guint8 *)&block, sizeof(block));
    g_byte_array_append(out, (const guint8 *)hello->ram_id, block.id_bytes);
    return out;
}

/* A name of len bytes at *at; moves *at behind it. */
static bool take_name(const uint8_t **at, const uint8_t *end, size_t len,
                      char ret[MIG_NAME_BYTES_MAX + 1])
{
    if (len > MIG_NAME_BYTES_MAX || len > (size_t)(end - *at)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isprint((char)(*at)[i])) {
            return false;
        }
    }
    memcpy(ret, *at, len);
    ret[len] = '\0';
    *at += len;
    return true;
}

bool mig_hello_decode(const void *body, size_t len, MigHello *ret)
{
    const uint8_t *at = body, *end;
    MigWireHello w;
    MigWireRamBlock block;

    if (len < sizeof(w)) {
        return false;
    }
    end = at + len;
    memcpy(&w, at, sizeof(w));
    at += sizeof(w);
    memset(ret, 0, sizeof(*ret));
    if (memcmp(w.signature, MIG_WIRE_SIGNATURE, sizeof(w.signature)) != 0 ||
        !take_name(&at, end, w.machine_bytes, ret->machine) ||
        (size_t)(end - at) < sizeof(block)) {
        return false;
    }
    memcpy(&block, at, sizeof(block));
    at += sizeof(block);
    if (!take_name(&at, end, block.id_bytes, ret->ram_id)) {
        return false;
    }
    /* What follows belongs to later versions, and to further blocks. */
    ret->version_min = w.version_min;
    ret->version_max = w.version_max;
    ret->adapts_chunk = w.flags & MIG_HELLO_ADAPTS_CHUNK;
    ret->channels = w.features & MIG_FEATURE_CHANNELS
                        ? w.flags >> MIG_HELLO_CHANNELS_SHIFT &
                              MIG_CHANNELS_MAX
                        : 0;
    ret->features = w.features;
    ret->features_required = w.features_required;
    ret->page_bytes = w.page_bytes;
    ret->chunk_pages = w.chunk_pages;
    ret->vcpus = w.vcpus;
    ret->ram_blocks = w.ram_blocks;
    ret->ram_bytes = block.bytes;
    return true;
}

static bool check_protocol(const MigHello *src, const MigHello *own,
                           GError **errp)
{
    uint64_t missing = src->features_required & ~own->features;

    if (src->version_min > own->version_max ||
        src->version_max < own->version_min) {
        return vm_error_set(errp, 0,
                            "migration stream version: the source speaks %u "
                            "to %u, the destination %u to %u",
                            src->version_min, src->version_max,
                            own->version_min, own->version_max);
    }
    if (missing == MIG_FEATURE_CHANNELS) {
        return vm_error_set(errp, 0, "the source wants several connections "
                                     "(multifd), which the destination's way "
                                     "in cannot take");
    }
    if (missing) {
        return vm_error_set(errp, 0,
                            "the source requires migration features 0x%" PRIx64
                            " that the destination does not have", missing);
    }
    return true;
}

static bool check_machine(const MigHello *src, const MigHello *own,
                          GError **errp)
{
    if (strcmp(src->machine, own->machine) != 0) {
        return vm_error_set(errp, 0,
                            "machine type differs: '%s' at the source, '%s' "
                            "at the destination",
                            src->machine, own->machine);
    }
    if (src->vcpus != own->vcpus) {
        return vm_error_set(errp, 0,
                            "number of CPUs differs: %" PRIu32 " at the "
                            "source, %" PRIu32 " at the destination",
                            src->vcpus, own->vcpus);
    }
    return true;
}

static bool check_ram(const MigHello *src, const MigHello *own,
                      GError **errp)
{
    if (src->page_bytes != own->page_bytes) {
        return vm_error_set(errp, 0,
                            "page size differs: %" PRIu32 " bytes at the "
                            "source, %" PRIu32 " at the destination",
                            src->page_bytes, own->page_bytes);
    }
    if (src->ram_blocks != own->ram_blocks ||
        strcmp(src->ram_id, own->ram_id) != 0) {
        return vm_error_set(errp, 0,
                            "RAM layout differs: %" PRIu32 " blocks from "
                            "'%s' on at the source, %" PRIu32 " from '%s' on "
                            "at the destination",
                            src->ram_blocks, src->ram_id, own->ram_blocks,
                            own->ram_id);
    }
    if (src->ram_bytes != own->ram_bytes) {
        return vm_error_set(errp, 0,
                            "RAM size differs: %" PRIu64 " bytes at the "
                            "source, %" PRIu64 " at the destination",
                            src->ram_bytes, own->ram_bytes);
    }
    return true;
}

/* The size to use, or 0. */
static uint32_t choose_chunk_pages(const MigHello *src, const MigHello *own)
{
    bool source_can = !mig_hello_is_one_way(src) &&
                      (src->adapts_chunk ||
                       mig_chunks_can_send(src->chunk_pages, own->chunk_pages));

    if (src->chunk_pages == 0 || src->chunk_pages > RAM_CHUNK_PAGES_MAX) {
        return 0;
    }
    if (own->adapts_chunk || src->chunk_pages == own->chunk_pages) {
        return src->chunk_pages;
    }
    if (source_can) {
        return own->chunk_pages;
    }
    return mig_chunks_can_receive(own->chunk_pages, src->chunk_pages)
               ? src->chunk_pages
               : 0;
}

bool mig_hello_answer(const MigHello *source, const MigHello *own,
                      uint64_t budget_pages, MigWireWelcome *ret,
                      GError **errp)
{
    uint32_t chunk_pages = choose_chunk_pages(source, own);

    if (!check_protocol(source, own, errp) ||
        !check_machine(source, own, errp) || !check_ram(source, own, errp)) {
        return false;
    }
    if (!chunk_pages) {
        return vm_error_set(errp, 0,
                            "chunk size differs: %" PRIu32 " pages at the "
                            "source, %" PRIu32 " at the destination",
                            source->chunk_pages, own->chunk_pages);
    }
    *ret = (MigWireWelcome){
        .version = MIN(source->version_max, own->version_max),
        .chunk_pages = chunk_pages,
        .features = source->features & own->features,
        .budget_pages = budget_pages,
    };
    return true;
}

bool mig_hello_accept(const MigHello *own, const MigWireWelcome *welcome,
                      GError **errp)
{
    if (welcome->version < own->version_min ||
        welcome->version > own->version_max) {
        return vm_error_set(errp, 0,
                            "the destination chose migration stream version "
                            "%u, which was not offered", welcome->version);
    }
    if (welcome->features & ~own->features) {
        return vm_error_set(errp, 0,
                            "the destination chose migration features 0x%"
                            PRIx64 " that were not offered",
                            welcome->features & ~own->features);
    }
    if (welcome->chunk_pages == 0 ||
        welcome->chunk_pages > RAM_CHUNK_PAGES_MAX ||
        (!own->adapts_chunk &&
         !mig_chunks_can_send(own->chunk_pages, welcome->chunk_pages))) {
        return vm_error_set(errp, 0,
                            "the destination chose a chunk size of %" PRIu32
                            " pages, which the source cannot use",
                            welcome->chunk_pages);
    }
    return true;
}
