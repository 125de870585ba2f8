/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small reads: the page that a vCPU waits for, and up to 15 neighbours.
 *
 * They do not go through a frame. The pages are read into a buffer that stays
 * where it is, and are copied into the guest with their write protection by
 * one UFFDIO_COPY. For so few pages that is cheaper than to move them (MOVE,
 * WRITEPROTECT, WAKE, two hashes), the chunk keeps its state while the read
 * is under way, and it may even be in the middle of being written.
 *
 * The pages are charged to the budget when the read is planned
 * (landing_pages), the buffers are not: 4 MiB a VM.
 *
 * Invariants: a page is read by one landing or one fill at a time. What is
 * brought of pages that were discarded meanwhile is thrown away.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

void vmd_landings_init(VmdPager *p)
{
    size_t bytes = VMD_LANDING_PAGES * RAM_PAGE_BYTES;

    /* Not from the frame region: these pages are never moved. */
    p->landing_memory = g_aligned_alloc0(VMD_LANDINGS, bytes, RAM_PAGE_BYTES);
    for (unsigned k = 0; k < VMD_LANDINGS; k++) {
        p->landings[k].buf = p->landing_memory + k * bytes;
    }
}

void vmd_landings_done(VmdPager *p)
{
    g_aligned_free(p->landing_memory);
}

VmdLanding *vmd_landing_find(VmdPager *p, ChunkNo c, uint32_t i)
{
    if (p->chunks[c].landings == 0) {
        return NULL;
    }
    for (unsigned k = 0; k < VMD_LANDINGS; k++) {
        VmdLanding *l = &p->landings[k];
        if (l->count > 0 && l->chunk == c && i >= l->first &&
            i - l->first < l->count) {
            return l;
        }
    }
    return NULL;
}

static VmdLanding *unused(VmdPager *p)
{
    for (unsigned k = 0; k < VMD_LANDINGS; k++) {
        if (p->landings[k].count == 0) {
            return &p->landings[k];
        }
    }
    return NULL;
}

VmdLanding *vmd_landing_start(VmdPager *p, ChunkNo c, uint32_t first,
                              uint32_t count, int64_t since_ns)
{
    VmdLanding *l = unused(p);

    g_assert(count >= 1 && count <= VMD_LANDING_PAGES);
    if (!l || !vmd_make_room(p, count, /* reclaim= */ false)) {
        return NULL;
    }
    /* base: where page 0 of the chunk would be, as for every transfer. */
    uintptr_t base = (uintptr_t)l->buf - first * RAM_PAGE_BYTES;
    VmdTransfer *t = vmd_transfer_new(p, VMD_CRITICAL, c, VMD_NONE,
                                      (uint8_t *)base);
    if (!t) {
        return NULL;
    }
    *l = (VmdLanding){ .chunk = c, .first = first, .count = count,
                       .since_ns = since_ns, .buf = l->buf };
    t->landing = l;
    vm_bitmap_set(t->todo, first, count);
    p->landing_pages += count;
    p->chunks[c].landings++;
    vmd_transfer_start(p, t);
    return l;
}

void vmd_landing_free(VmdPager *p, VmdLanding *l)
{
    p->landing_pages -= l->count;
    p->chunks[l->chunk].landings--;
    l->count = 0;
}
