/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discard: the guest gives pages up, and from then on they read as zero. They
 * leave all four places within the call, whatever the chunk is doing, so that
 * nobody waits for I/O. A page is zero by (10) even if a read of its old
 * content is still to come; it may fault in as zero beside it. Pins do not hold
 * discards up: only the guest's own I/O into a page that it gave up is lost,
 * and a pinning thread that touches such a page faults like any other. The
 * blocks of the file are punched later (reclaim.c).
 *
 * (10) and T19 are those of pager.c. Threads: the pager thread.
 */
#include "chunk.h"

/* map: bits that other does not have leave it. */
static void keep_common(unsigned long *map, const unsigned long *other)
{
    for (unsigned w = 0; w < RAM_CHUNK_LONGS; w++) {
        map[w] &= other[w];
    }
}

static void give_back(VmdPager *p, uint8_t *addr, uint32_t pages)
{
    int r =
        p->cfg.mem->discard(p->cfg.mem_opaque, addr, pages * RAM_PAGE_BYTES);

    p->budget.freed_pages += pages;
    if (r < 0) {
        vmd_pager_fatal(p, r);
    }
}

static void discard_present(VmdPager *p, ChunkNo c, const unsigned long *map)
{
    unsigned long pages[RAM_CHUNK_LONGS];
    PageNo base = vmd_first_page(p, c);
    uint32_t len = vmd_chunk_len(p, c), end;

    vmd_bits_take(pages, p->present, base, len);
    keep_common(pages, map);
    for (uint32_t i = (uint32_t)vm_bitmap_next_set(pages, 0, len); i < len;
         i = (uint32_t)vm_bitmap_next_set(pages, end, len)) {
        end = (uint32_t)vm_bitmap_next_clear(pages, i, len);
        p->chunks[c].huge = false;
        for (uint32_t k = i; k < end; k++) {
            vmd_page_set_present(p, base + k, false);
        }
        give_back(p, vmd_guest_addr(p, base + i), end - i);
    }
}

/* In WRITING and FILLING the memory is still in use; the chunk's end frees
 * it. */
static void discard_framed(VmdPager *p, ChunkNo c, const unsigned long *map)
{
    unsigned long pages[RAM_CHUNK_LONGS];
    FrameNo f = p->chunks[c].frame;
    uint32_t len = vmd_chunk_len(p, c), end;

    vmd_bits_take(pages, p->frames.valid, vmd_frame_first(p, f), len);
    keep_common(pages, map);
    for (uint32_t i = (uint32_t)vm_bitmap_next_set(pages, 0, len); i < len;
         i = (uint32_t)vm_bitmap_next_set(pages, end, len)) {
        end = (uint32_t)vm_bitmap_next_clear(pages, i, len);
        for (uint32_t k = i; k < end; k++) {
            vmd_chunk_forget_slot(p, c, k);
        }
        if (p->chunks[c].state == VMD_STANDBY) {
            give_back(p, vmd_frame_addr(p, f) + i * RAM_PAGE_BYTES, end - i);
            vmd_frame_lost(p, f, i, end - i);
        }
    }
}

/* The state that is left, where no I/O is under way. */
static void settle(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];

    if (chunk->state == VMD_STANDBY) {
        if (vmd_chunk_slots(p, c) == 0) {
            vmd_chunk_leave_frame(p, c);
        }
    } else if (chunk->state == VMD_FAILED &&
               vmd_any_in_file_only(p, c, 0, vmd_chunk_len(p, c))) {
        return; /* nobody knows whether the rest can be read */
    } else if (vmd_chunk_settled_state(p, c) != chunk->state) {
        vmd_chunk_set_state(p, c, vmd_chunk_settled_state(p, c));
    }
}

/* T19 */
void vmd_chunk_discard(VmdPager *p, ChunkNo c, const unsigned long *pages)
{
    VmdChunk *chunk = &p->chunks[c];
    PageNo base = vmd_first_page(p, c);
    uint32_t len = vmd_chunk_len(p, c);

    for (uint32_t i = (uint32_t)vm_bitmap_next_set(pages, 0, len); i < len;
         i = (uint32_t)vm_bitmap_next_set(pages, i + 1, len)) {
        vm_bit_clear(p->stored, base + i);
    }
    discard_present(p, c, pages);
    if (chunk->state == VMD_STANDBY || chunk->state == VMD_WRITING ||
        chunk->ahead) {
        discard_framed(p, c, pages);
    }
    if (chunk->state != VMD_WRITING && chunk->state != VMD_FILLING) {
        settle(p, c);
    }
    if (chunk->state == VMD_FILLING || chunk->landings > 0) {
        vmd_pager_wake(p, base, len); /* who waits for a read that is void */
    }
}

void vmd_pager_discard(VmdPager *p, PageNo first, uint64_t count)
{
    PageNo end = first + count;

    g_assert(end <= p->cfg.pages);
    for (PageNo page = first; page < end && !p->fatal;) {
        unsigned long map[RAM_CHUNK_LONGS] = {0};
        ChunkNo c = (ChunkNo)(page / p->cfg.chunk_pages);
        PageNo base = vmd_first_page(p, c);
        PageNo stop = MIN(end, base + vmd_chunk_len(p, c));

        vm_bitmap_set(map, page - base, stop - page);
        vmd_chunk_discard(p, c, map);
        page = stop;
    }
    p->stats.discarded_bytes += count * RAM_PAGE_BYTES;
}
