/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames and the budget.
 *
 * The frame region is as large as guest RAM and a bit, but it is only address
 * space: a frame costs memory for the slots (pages) that are populated. The
 * budget is a hard limit on memory:
 *
 *   guest_pages + landing_pages + frames.populated_pages <= limit_pages
 *
 * where landing_pages are on their way to the guest (landing.c), and
 * limit_pages is the budget, or on its way to a smaller one (budget.c).
 *
 * A free frame is either empty (no memory) or stale (memory with content that
 * nobody wants). Page-out moves guest pages into an empty frame; once they
 * are in the file the frame is stale, and the next page-in reads into it and
 * moves its pages into the guest: memory circulates, and is neither allocated
 * nor zeroed on the way. Where memory is wanted in another shape (zero pages
 * for the guest), stale frames are emptied.
 *
 * A slot counts as populated from the moment a read into it is planned.
 *
 * Invariants (vmd_pager_check()):
 *   (F1) populated_pages is the number of set bits of populated.
 *   (F2) stale_pages is that number over the frames on the stale lists.
 *   (F3) frames on the empty list have no populated and no valid slot, those
 *        on the stale lists no valid one, and no transfer uses either.
 *   (F4) a frame that counts as huge is populated in all slots, and free ones
 *        are on the list stale_huge iff they count as huge. Whether the kernel
 *        has split it nobody knows: then moves are slower, nothing else.
 *
 * One chunk of memory (the emergency reserve) is kept from faults, so that
 * whoever frees memory can always go on.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

#define LOW_WATERMARK_MAX 16384u /* pages */

void vmd_frames_init(VmdPager *p)
{
    VmdFrames *fr = &p->frames;
    uint64_t slots;

    fr->base = p->cfg.frame_base;
    fr->count = vmd_pager_frames_needed(p->cfg.pages, p->cfg.chunk_pages);
    slots = (uint64_t)fr->count * p->cfg.chunk_pages;
    fr->populated = vm_bitmap_new(slots);
    fr->valid = vm_bitmap_new(slots);
    fr->huge = vm_bitmap_new(fr->count);
    fr->next = g_new(uint32_t, fr->count);
    fr->owner = g_new0(VmdTransfer *, fr->count);
    fr->stale = VMD_NONE;
    fr->stale_huge = VMD_NONE;
    fr->empty = VMD_NONE;
    for (uint32_t f = fr->count; f-- > 0;) {
        fr->next[f] = fr->empty;
        fr->empty = f;
    }
}

void vmd_frames_done(VmdPager *p)
{
    g_free(p->frames.populated);
    g_free(p->frames.valid);
    g_free(p->frames.huge);
    g_free(p->frames.next);
    g_free(p->frames.owner);
}

int64_t vmd_free_pages(const VmdPager *p)
{
    return (int64_t)p->budget.limit_pages - (int64_t)vmd_used_pages(p);
}

int64_t vmd_available_pages(const VmdPager *p)
{
    return vmd_free_pages(p) + (int64_t)p->frames.stale_pages;
}

/* A part of a small budget; of a large one, what the device reads in some 20
 * milliseconds: more would lie idle. */
uint64_t vmd_low_watermark(const VmdPager *p)
{
    uint64_t least = 4ull * p->cfg.chunk_pages;
    uint64_t low = MAX(MIN(p->cfg.budget_pages / 64, LOW_WATERMARK_MAX),
                       MAX(least, 64u));

    return MIN(low, p->cfg.budget_pages / 8);
}

uint64_t vmd_high_watermark(const VmdPager *p)
{
    return 2 * vmd_low_watermark(p);
}

void vmd_frame_gained(VmdPager *p, FrameNo f, uint32_t first, uint32_t n)
{
    uint64_t slot = vmd_frame_first(p, f) + first;

    p->frames.populated_pages +=
        n - vm_bitmap_count(p->frames.populated, slot, n);
    vm_bitmap_set(p->frames.populated, slot, n);
}

void vmd_frame_lost(VmdPager *p, FrameNo f, uint32_t first, uint32_t n)
{
    uint64_t slot = vmd_frame_first(p, f) + first;

    p->frames.populated_pages -=
        vm_bitmap_count(p->frames.populated, slot, n);
    vm_bitmap_clear(p->frames.populated, slot, n);
    vm_bit_clear(p->frames.huge, f); /* (F4) */
}

static uint64_t populated_of(const VmdPager *p, FrameNo f)
{
    return vm_bitmap_count(p->frames.populated, vmd_frame_first(p, f),
                           p->cfg.chunk_pages);
}

/* The topmost frame of a list. */
static FrameNo take(VmdPager *p, uint32_t *list)
{
    FrameNo f = *list;

    if (f != VMD_NONE) {
        *list = p->frames.next[f];
    }
    if (f != VMD_NONE && list != &p->frames.empty) {
        p->frames.stale_pages -= populated_of(p, f);
    }
    return f;
}

static void give(VmdPager *p, uint32_t *list, FrameNo f)
{
    p->frames.next[f] = *list;
    *list = f;
}

/* Gives the memory of a stale frame back to the system; huge pages last. */
static bool empty_one(VmdPager *p)
{
    VmdFrames *fr = &p->frames;
    FrameNo f = take(p, fr->stale != VMD_NONE ? &fr->stale : &fr->stale_huge);

    if (f == VMD_NONE) {
        return false;
    }
    size_t len = (size_t)p->cfg.chunk_pages * RAM_PAGE_BYTES;
    int r = p->cfg.mem->discard(p->cfg.mem_opaque, vmd_frame_addr(p, f), len);
    g_assert(r == 0); /* our own mapping: only a bug makes this fail */
    vmd_frame_lost(p, f, 0, p->cfg.chunk_pages);
    give(p, &fr->empty, f);
    return true;
}

bool vmd_make_room(VmdPager *p, uint64_t n, bool reclaim)
{
    int64_t reserve = reclaim ? 0 : (int64_t)p->cfg.chunk_pages;

    while (vmd_free_pages(p) - (int64_t)n < reserve) {
        if (vmd_available_pages(p) - (int64_t)n < reserve || !empty_one(p)) {
            return false;
        }
    }
    return true;
}

FrameNo vmd_frame_get_empty(VmdPager *p)
{
    if (p->frames.empty == VMD_NONE && !empty_one(p)) {
        return VMD_NONE;
    }
    return take(p, &p->frames.empty);
}

/* Slots in need that have no memory yet. */
static uint64_t missing_slots(const VmdPager *p, FrameNo f,
                              const unsigned long *need)
{
    uint64_t first = vmd_frame_first(p, f);
    uint64_t missing = 0;

    for (uint32_t i = 0; i < p->cfg.chunk_pages; i++) {
        missing += vm_bit_test(need, i) &&
                   !vm_bit_test(p->frames.populated, first + i);
    }
    return missing;
}

FrameNo vmd_frame_get(VmdPager *p, const unsigned long *need)
{
    VmdFrames *fr = &p->frames;
    /* A huge page comes last: to use a part of it is to split it. */
    FrameNo f = take(p, fr->stale != VMD_NONE   ? &fr->stale
                        : fr->empty != VMD_NONE ? &fr->empty
                                                : &fr->stale_huge);

    if (f == VMD_NONE) {
        return VMD_NONE;
    }
    if (!vmd_make_room(p, missing_slots(p, f, need), /* reclaim= */ false)) {
        vmd_frame_put(p, f);
        return VMD_NONE;
    }
    for (uint32_t i = 0; i < p->cfg.chunk_pages; i++) {
        if (vm_bit_test(need, i)) {
            vmd_frame_gained(p, f, i, 1);
        }
    }
    return f;
}

FrameNo vmd_frame_get_huge(VmdPager *p, bool *ret_empty)
{
    FrameNo f = take(p, &p->frames.stale_huge);

    *ret_empty = f == VMD_NONE;
    if (f != VMD_NONE) {
        return f;
    }
    f = vmd_frame_get_empty(p);
    if (f == VMD_NONE) {
        return VMD_NONE;
    }
    if (!vmd_make_room(p, p->cfg.chunk_pages, /* reclaim= */ false)) {
        vmd_frame_put(p, f);
        return VMD_NONE;
    }
    vmd_frame_gained(p, f, 0, p->cfg.chunk_pages);
    return f;
}

void vmd_frame_put(VmdPager *p, FrameNo f)
{
    VmdFrames *fr = &p->frames;
    uint64_t pages = populated_of(p, f);

    g_assert(!fr->owner[f]); /* (F3) */
    vm_bitmap_clear(fr->valid, vmd_frame_first(p, f), p->cfg.chunk_pages);
    p->budget.freed_pages += pages;
    fr->stale_pages += pages;
    give(p, pages == 0                  ? &fr->empty
            : vm_bit_test(fr->huge, f) ? &fr->stale_huge
                                       : &fr->stale, f);
}

void vmd_frames_trim(VmdPager *p)
{
    while (vmd_free_pages(p) < 0 && empty_one(p)) {
    }
}
