/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory slots and the log of pages that the guest wrote.
 *
 * Why: each RAM mapping of the address space is one KVM slot. A block may be
 * mapped in several pieces, so its dirty log is gathered from several slots.
 *
 * With KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, reading the log and protecting the
 * pages again are two calls. The second holds KVM's MMU lock, on which guest
 * faults wait, for as long as its range takes; so it is done in pieces, and
 * only where there is something to protect. Either way the pages are
 * protected again before sync returns (RamDirtyLogOps): a write after that is
 * seen by the next sync.
 *
 * Invariants:
 *   (1) A bit of a slot's log is cleared in the kernel only after it has been
 *       ORed into the caller's map.
 *
 * Threads: set-up by the main thread; the log has one user (ram.h).
 */
#include "kvm-internal.h"

#include <errno.h>
#include <inttypes.h>

#include "util/bits.h"
#include "util/error.h"

/* 64 MiB: about half a millisecond under the MMU lock. A multiple of 64, as
 * KVM_CLEAR_DIRTY_LOG wants. */
#define CLEAR_PIECE_PAGES 16384u

typedef struct KvmSlot {
    uint32_t id;
    RamMapping mapping;
    unsigned long *bitmap; /* scratch of sync */
} KvmSlot;

typedef struct KvmBlockLog {
    KvmMemory *memory;
    RamBlock *block;
} KvmBlockLog;

struct KvmMemory {
    /* Immutable after kvm_vm_set_memory(). */
    KvmVm *kvm;
    GArray *slots;   /* of KvmSlot */
    GPtrArray *logs; /* of KvmBlockLog, one for each block */
};

static uint64_t slot_pages(const KvmSlot *s)
{
    return s->mapping.size_bytes >> RAM_PAGE_BITS;
}

static int slot_install(KvmVm *kvm, const KvmSlot *s, bool log)
{
    struct kvm_userspace_memory_region region = {
        .slot = s->id,
        .flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0,
        .guest_phys_addr = s->mapping.gpa,
        .memory_size = s->mapping.size_bytes,
        .userspace_addr =
            (uintptr_t)ram_block_hva(s->mapping.block) + s->mapping.offset,
    };

    return KVM_CALL(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* Sets or clears logging for the first count slots of a block. */
static int log_switch(KvmBlockLog *log, unsigned count, bool on)
{
    KvmMemory *m = log->memory;

    for (unsigned i = 0; i < count; i++) {
        KvmSlot *s = &g_array_index(m->slots, KvmSlot, i);
        int r;

        if (s->mapping.block != log->block) {
            continue;
        }
        r = slot_install(m->kvm, s, on);
        if (r < 0) {
            if (on) {
                (void)log_switch(log, i, /* on= */ false);
            }
            return r;
        }
    }
    return 0;
}

static int kvm_log_start(void *opaque)
{
    KvmBlockLog *log = opaque;

    return log_switch(log, log->memory->slots->len, /* on= */ true);
}

static void kvm_log_stop(void *opaque)
{
    KvmBlockLog *log = opaque;

    (void)log_switch(log, log->memory->slots->len, /* on= */ false);
}

/* ORs pages bits of from into map, beginning at bit first of map. */
static void bitmap_or_at(unsigned long *map, uint64_t first,
                         const unsigned long *from, uint64_t pages)
{
    unsigned shift = first % 64;
    unsigned long *to = map + first / 64;

    for (size_t w = 0; w < VM_BITMAP_LONGS(pages); w++) {
        if (from[w] == 0) {
            continue;
        }
        to[w] |= from[w] << shift;
        if (shift && from[w] >> (64 - shift)) {
            to[w + 1] |= from[w] >> (64 - shift);
        }
    }
}

/* Protects again what the log of a slot showed, in pieces. */
static int slot_clear(KvmVm *kvm, const KvmSlot *s)
{
    uint64_t pages = slot_pages(s);

    for (uint64_t first = 0; first < pages; first += CLEAR_PIECE_PAGES) {
        uint64_t n = MIN(pages - first, CLEAR_PIECE_PAGES);
        struct kvm_clear_dirty_log clear = {
            .slot = s->id,
            .num_pages = (uint32_t)n,
            .first_page = first,
            .dirty_bitmap = s->bitmap + first / 64,
        };
        int r;

        if (vm_bitmap_next_set(s->bitmap, first, first + n) == first + n) {
            continue;
        }
        r = KVM_CALL(kvm->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int slot_sync(KvmVm *kvm, const KvmSlot *s, unsigned long *map)
{
    struct kvm_dirty_log get = { .slot = s->id, .dirty_bitmap = s->bitmap };
    int r = KVM_CALL(kvm->vm_fd, KVM_GET_DIRTY_LOG, &get);

    if (r < 0) {
        return r;
    }
    bitmap_or_at(map, s->mapping.offset >> RAM_PAGE_BITS, s->bitmap,
                 slot_pages(s)); /* (1) */
    return kvm->caps.dirty_log_manual ? slot_clear(kvm, s) : 0;
}

static int kvm_log_sync(void *opaque, unsigned long *map)
{
    KvmBlockLog *log = opaque;
    KvmMemory *m = log->memory;

    for (unsigned i = 0; i < m->slots->len; i++) {
        KvmSlot *s = &g_array_index(m->slots, KvmSlot, i);
        int r = s->mapping.block == log->block ? slot_sync(m->kvm, s, map) : 0;

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static const RamDirtyLogOps kvm_log_ops = {
    .start = kvm_log_start,
    .sync = kvm_log_sync,
    .stop = kvm_log_stop,
};

static void slot_done(gpointer data)
{
    KvmSlot *s = data;

    g_free(s->bitmap);
}

static void memory_add_slot(const RamMapping *mapping, void *opaque)
{
    KvmMemory *m = opaque;
    KvmSlot s = { .id = m->slots->len, .mapping = *mapping };

    s.bitmap = vm_bitmap_new(slot_pages(&s));
    g_array_append_val(m->slots, s);
}

static void memory_add_log(KvmMemory *m, RamBlock *block)
{
    KvmBlockLog *log;

    for (unsigned i = 0; i < m->logs->len; i++) {
        log = g_ptr_array_index(m->logs, i);
        if (log->block == block) {
            return;
        }
    }
    log = g_new0(KvmBlockLog, 1);
    log->memory = m;
    log->block = block;
    g_ptr_array_add(m->logs, log);
    ram_block_set_dirty_log(block, &kvm_log_ops, log);
}

void kvm_memory_free(KvmMemory *m)
{
    if (!m) {
        return;
    }
    for (unsigned i = 0; i < m->logs->len; i++) {
        KvmBlockLog *log = g_ptr_array_index(m->logs, i);

        ram_block_set_dirty_log(log->block, NULL, NULL);
    }
    g_ptr_array_unref(m->logs);
    g_array_unref(m->slots);
    g_free(m);
}

bool kvm_vm_set_memory(KvmVm *kvm, AddressSpace *memory, GError **errp)
{
    KvmMemory *m = g_new0(KvmMemory, 1);

    g_assert(!kvm->memory);
    kvm->memory = m;
    m->kvm = kvm;
    m->slots = g_array_new(FALSE, TRUE, sizeof(KvmSlot));
    g_array_set_clear_func(m->slots, slot_done);
    m->logs = g_ptr_array_new_with_free_func(g_free);
    address_space_foreach_ram(memory, memory_add_slot, m);
    if (m->slots->len > kvm->caps.max_slots) {
        return vm_error_set(errp, 0, "KVM has %u memory slots, %u are needed",
                            kvm->caps.max_slots, m->slots->len);
    }
    for (unsigned i = 0; i < m->slots->len; i++) {
        KvmSlot *s = &g_array_index(m->slots, KvmSlot, i);
        int r = slot_install(kvm, s, /* log= */ false);

        if (r < 0) {
            return vm_error_set(errp, -r,
                                "KVM refuses guest memory at 0x%" PRIx64
                                ", %" PRIu64 " bytes",
                                s->mapping.gpa, s->mapping.size_bytes);
        }
        memory_add_log(m, s->mapping.block);
    }
    return true;
}
