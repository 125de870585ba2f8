/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reclaim: which chunks leave, and when.
 *
 * Memory that is available at once (free budget and stale frames) is kept
 * between a low and a high watermark in the background, so that a fault finds
 * some. When it falls below the low one, resident chunks go to STANDBY,
 * coldest first, and the oldest of STANDBY go to the file; what is clean or
 * zero needs no write. STANDBY is kept filled beyond the need while there is
 * pressure: it is the second chance of a wrong choice.
 *
 * One step does a bounded amount of work, so that faults are served in
 * between. Page-out has the lowest priority in the device (transfer.c).
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

/* Bounds of one step. */
#define MOVES_PER_STEP 8u
#define WRITE_BACKS_PER_STEP 16u
#define SKIPS_PER_STEP 16u
#define PUNCH_CHUNKS_PER_STEP 64u
#define PUNCH_CHUNKS_PER_SLICE 4096u
#define WRITING_CHUNKS_MAX 32u

static uint64_t standby_target(const VmdPager *p)
{
    return MIN(p->cfg.budget_pages / 8, 64ull * 256);
}

static bool somebody_waits(const VmdPager *p)
{
    return p->pending_count > 0 || p->pin_waiters ||
           !g_queue_is_empty((GQueue *)&p->frame_waiters);
}

/* What will be available when the writes under way are done. */
static int64_t expected_pages(const VmdPager *p)
{
    return vmd_available_pages(p) + (int64_t)p->writing_pages;
}

/* The coldest movable chunk to STANDBY. */
static bool move_coldest_out(VmdPager *p)
{
    for (unsigned skips = 0; skips < SKIPS_PER_STEP; skips++) {
        ChunkNo c = vmd_resident_coldest(p);
        if (c == VMD_NONE) {
            return false;
        }
        if (vmd_chunk_move_out(p, c) == 0) {
            return true;
        }
        vmd_resident_to_tail(p, c); /* pinned: in use, so not cold either */
    }
    return false;
}

static bool writes_allowed(const VmdPager *p, int64_t now)
{
    uint64_t limit = (uint64_t)WRITING_CHUNKS_MAX * p->cfg.chunk_pages;

    return p->writing_pages < MAX(limit, 256u) &&
           (!vmd_health_has(&p->health, VMD_TROUBLE_WRITE) ||
            (now >= p->write_retry_ns && p->requests[VMD_WRITE] == 0 &&
             p->queue[VMD_WRITE].first == NULL));
}

/* The oldest of STANDBY that may go. */
static bool write_oldest_back(VmdPager *p, int64_t now)
{
    bool may_write = writes_allowed(p, now);
    ChunkNo c = p->standby.first;

    for (unsigned skips = 0; c != VMD_NONE && skips < SKIPS_PER_STEP;
         skips++) {
        ChunkNo next = p->chunks[c].next;
        if ((may_write || vmd_chunk_can_drop(p, c)) &&
            vmd_chunk_write_back(p, c)) {
            return true;
        }
        c = next;
    }
    return false;
}

/* What reclaim works towards: the watermark, and the way to a new budget. */
static int64_t wanted_pages(const VmdPager *p)
{
    return (int64_t)(vmd_high_watermark(p) + p->budget.limit_pages -
                     p->cfg.budget_pages);
}

static void decide(VmdPager *p)
{
    int64_t expected = expected_pages(p);

    if (expected < (int64_t)vmd_low_watermark(p) ||
        !vmd_budget_is_reached(p)) {
        p->reclaiming = true;
    } else if (expected >= wanted_pages(p)) {
        p->reclaiming = false;
    }
}

/* Is a further chunk in STANDBY of use, if none there can leave now? Not if
 * the device has all the writes that it may have. */
static bool moves_help(const VmdPager *p, int64_t now)
{
    return vmd_health_has(&p->health, VMD_TROUBLE_WRITE) ||
           writes_allowed(p, now) || p->standby_pages < standby_target(p);
}

void vmd_reclaim_step(VmdPager *p)
{
    int64_t now = p->cfg.now_ns();
    unsigned moves = 0;

    vmd_budget_step(p);
    decide(p);
    if (!p->reclaiming && !somebody_waits(p)) {
        return;
    }
    for (unsigned n = 0; n < WRITE_BACKS_PER_STEP &&
                         expected_pages(p) < wanted_pages(p);
         n++) {
        if (!write_oldest_back(p, now) &&
            (moves++ >= MOVES_PER_STEP || !moves_help(p, now) ||
             !move_coldest_out(p))) {
            break;
        }
    }
    while (p->reclaiming && p->standby_pages < standby_target(p) &&
           moves++ < MOVES_PER_STEP && move_coldest_out(p)) {
    }
    decide(p);
}

/* --- holes --------------------------------------------------------------- */

/* A chunk of which nothing is stored: all of its blocks at once. */
static bool punch_all(VmdPager *p, ChunkNo c, PageNo first, PageNo end)
{
    PageNo last = end;

    while (!vm_bit_test(p->occupied, last - 1)) {
        last--;
    }
    return vmd_punch(p, c, (uint32_t)(first - vmd_first_page(p, c)),
                     (uint32_t)(last - first));
}

/* The first run of file blocks that nobody needs, at least half a chunk. */
static bool punch_run(VmdPager *p, ChunkNo c)
{
    PageNo base = vmd_first_page(p, c);
    uint32_t len = vmd_chunk_len(p, c);
    uint32_t first = 0, end = 0;

    for (uint32_t i = 0; i < len; i++) {
        if (!vm_bit_test(p->occupied, base + i) ||
            vmd_page_stored(p, base + i)) {
            continue;
        }
        if (i != end) {
            first = i;
        }
        end = i + 1;
        if (end - first >= MAX(len / 2, 1u)) {
            break;
        }
    }
    while (end < len && vm_bit_test(p->occupied, base + end) &&
           !vmd_page_stored(p, base + end)) {
        end++;
    }
    return end - first >= MAX(len / 2, 1u) &&
           vmd_punch(p, c, first, end - first);
}

/* False: the chunk has no blocks, so that this look cost nothing. */
static bool punch_chunk(VmdPager *p, ChunkNo c)
{
    const VmdChunk *chunk = &p->chunks[c];
    PageNo base = vmd_first_page(p, c);
    PageNo end = base + vmd_chunk_len(p, c);
    PageNo first = vm_bitmap_next_set(p->occupied, base, end);

    if (first == end) {
        return false;
    }
    if (chunk->landings > 0) {
        return true; /* pages of it are being read, wanted or not */
    }
    if (chunk->state == VMD_ZERO) {
        (void)punch_all(p, c, first, end);
    } else if ((chunk->state == VMD_RESIDENT && !chunk->fresh) ||
               chunk->state == VMD_SWAPPED) {
        (void)punch_run(p, c);
    }
    return true;
}

/*
 * A chunk whose pages were changed or discarded gives its blocks back, but
 * not at once: it might be paged out again soon. The walk passes a chunk
 * about once per aging interval, and stands still while somebody waits for a
 * read. What one slice of the interval does not get done for want of
 * requests goes on as they complete.
 */
void vmd_reclaim_punch(VmdPager *p)
{
    unsigned left = PUNCH_CHUNKS_PER_STEP;

    if (p->slice != p->punch_slice) {
        p->punch_slice = p->slice;
        p->punch_left = MIN(p->chunk_count / VMD_AGING_SLICES + 1,
                            PUNCH_CHUNKS_PER_SLICE);
    }
    while (p->requests[VMD_CRITICAL] == 0 && p->punch_left > 0 && left > 0 &&
           p->punches < VMD_PUNCHES_MAX) {
        ChunkNo c = p->punch_hand;

        p->punch_left--;
        p->punch_hand = (c + 1) % p->chunk_count;
        left -= punch_chunk(p, c);
    }
}
