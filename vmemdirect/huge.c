/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chunks that are one huge page, with chunk-pages=512.
 *
 * A guest whose memory is mapped by huge pages runs faster: fewer levels to
 * walk, less to fill again after a fault. So a huge page is made where a chunk
 * is first written, and then kept whole as it circulates: MOVE takes a whole
 * one at once (4 us measured, where 1 MiB of small pages takes 27 to 38).
 *
 *                      first write, with room
 *      (new page) ---------------------------------> guest (chunk->huge)
 *          |                                           |          ^
 *          | read ahead,                     moved out |          | soft fault,
 *          | or arrives, none stale                    v          | or all read
 *          +------> frame (frames.huge) <----------------+        |
 *                     |    ^      STANDBY, WRITING, stale ---------+
 *                     |    |                                |
 *                     |    +--- and again: a stale one -----+
 *                     +--- a part is moved or given up: small pages
 *
 * New pages come from the stage, one piece of the frame mapping that asks for
 * huge pages (MADV_HUGEPAGE), from where they are moved. Guest RAM and frames
 * themselves ask for none: a plain fault there, by a read from the file say,
 * must not bring 511 pages that nobody has charged, and khugepaged must not
 * fill holes which a fault is to find.
 *
 * A chunk that is read by single pages stays one of small pages. Reading all
 * of it where the guest wants 4 KiB would cost more than a huge page gains.
 *
 * Invariants (vmd_pager_check()):
 *   (G1) chunk->huge: RESIDENT (or about to be), all pages present.
 *   (F4) in frame.c.
 * Both say what the engine did. If the kernel splits a huge page for reasons
 * of its own, moves of it take longer, and nothing else is different.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

#include <string.h>

/* Of a chunk that is read into a huge page, this share may be zero pages,
 * which then need memory that they did not need before. */
#define ZERO_SHARE 8u

bool vmd_huge_is_whole(const VmdPager *p, ChunkNo c, const unsigned long *map)
{
    return p->cfg.huge_stage && vmd_chunk_len(p, c) == p->cfg.chunk_pages &&
           vm_bitmap_next_clear(map, 0, p->cfg.chunk_pages) ==
               p->cfg.chunk_pages;
}

void vmd_huge_clear_way(VmdPager *p, uint8_t *addr)
{
    p->cfg.mem->clear_way(p->cfg.mem_opaque, addr,
                          p->cfg.chunk_pages * RAM_PAGE_BYTES);
}

uint32_t vmd_huge_make(VmdPager *p, uint8_t *addr)
{
    size_t done;

    if (p->cfg.now_ns() < p->huge_retry_ns) {
        return 0;
    }
    int r = p->cfg.mem->huge(p->cfg.mem_opaque, addr, p->cfg.huge_stage,
                             p->cfg.chunk_pages * RAM_PAGE_BYTES, &done);
    if (r < 0) {
        /* Do not ask a system that has none for each fault. */
        p->huge_retry_ns = p->cfg.now_ns() + VMD_RETRY_NS;
    }
    return (uint32_t)(done / RAM_PAGE_BYTES);
}

bool vmd_huge_may_zero(VmdPager *p, ChunkNo c)
{
    uint32_t n = p->cfg.chunk_pages;

    return p->cfg.huge_stage && p->cfg.now_ns() >= p->huge_retry_ns &&
           p->chunks[c].state == VMD_ZERO && vmd_chunk_len(p, c) == n &&
           vmd_available_pages(p) >= (int64_t)(vmd_high_watermark(p) + n) &&
           vmd_make_room(p, n, /* reclaim= */ false);
}

/* An empty frame gets its huge page. */
static bool populate(VmdPager *p, FrameNo f)
{
    uint32_t n = p->cfg.chunk_pages;
    uint32_t made = vmd_huge_make(p, vmd_frame_addr(p, f));

    if (made < n) {
        vmd_frame_lost(p, f, made, n - made);
        return false;
    }
    vm_bit_set(p->frames.huge, f);
    return true;
}

/* A chunk that can be a huge page, and few pages of it are not in the map. */
static bool is_nearly_whole(const VmdPager *p, ChunkNo c,
                            const unsigned long *map)
{
    uint32_t n = p->cfg.chunk_pages;

    return p->cfg.huge_stage && vmd_chunk_len(p, c) == n &&
           vm_bitmap_count(map, 0, n) >= n - n / ZERO_SHARE;
}

/* A frame with a huge page, of which the slots that are not in the map are
 * zeroed, and valid. */
static FrameNo get_zeroed(VmdPager *p, const unsigned long *map)
{
    bool empty;
    FrameNo f = vmd_frame_get_huge(p, &empty);

    if (f == VMD_NONE) {
        return VMD_NONE;
    }
    if (empty && !populate(p, f)) {
        vmd_frame_put(p, f);
        return VMD_NONE;
    }
    for (uint32_t i = 0; i < p->cfg.chunk_pages; i++) {
        if (!vm_bit_test(map, i)) {
            memset(vmd_frame_addr(p, f) + i * RAM_PAGE_BYTES, 0,
                   RAM_PAGE_BYTES);
            vm_bit_set(p->frames.valid, vmd_frame_first(p, f) + i);
        }
    }
    return f;
}

FrameNo vmd_huge_frame(VmdPager *p, ChunkNo c, const unsigned long *map)
{
    return is_nearly_whole(p, c, map) && p->chunks[c].state == VMD_SWAPPED &&
                   p->chunks[c].landings == 0
               ? get_zeroed(p, map)
               : VMD_NONE;
}

FrameNo vmd_huge_import_frame(VmdPager *p, const RamImport *im)
{
    return im->place == RAM_PLACE_RAM &&
                   is_nearly_whole(p, im->chunk, im->pages) &&
                   p->chunks[im->chunk].state == VMD_ZERO
               ? get_zeroed(p, im->pages)
               : VMD_NONE;
}
