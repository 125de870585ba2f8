/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RAM that fills after a start from a saved file.
 *
 * Nothing of the guest is in RAM at first. What it touches is brought as ever;
 * beside that, chunks are brought in the order of their heat when the VM was
 * saved, hottest first, one or two at a time, for as long as there is room
 * above the high watermark: reclaim never begins because of this. The rest
 * stays where it is. A chunk that somebody has touched meanwhile is passed.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

/* Requests under way: the device is for who waits. */
#define WARM_IO_MAX 2u

static void stop(VmdPager *p)
{
    g_clear_pointer(&p->warm.order, g_free);
    p->warm.next = p->warm.count = 0;
}

void vmd_warm_start(VmdPager *p)
{
    uint32_t at[256] = { 0 };
    uint32_t count = 0;

    stop(p);
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        if (p->chunks[c].state == VMD_SWAPPED) {
            at[p->chunks[c].key]++;
        }
    }
    for (int key = 255; key >= 0; key--) {
        uint32_t n = at[key];

        at[key] = count;
        count += n;
    }
    p->warm.order = g_new(ChunkNo, MAX(count, 1));
    p->warm.count = count;
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        if (p->chunks[c].state == VMD_SWAPPED) {
            p->warm.order[at[p->chunks[c].key]++] = c;
        }
    }
}

void vmd_warm_done(VmdPager *p)
{
    stop(p);
}

static bool has_room(const VmdPager *p)
{
    return vmd_available_pages(p) - (int64_t)p->cfg.chunk_pages >
           (int64_t)vmd_high_watermark(p);
}

void vmd_warm_step(VmdPager *p)
{
    while (p->warm.next < p->warm.count) {
        ChunkNo c = p->warm.order[p->warm.next];

        if (!has_room(p)) {
            stop(p);
            return;
        }
        if (p->queue[VMD_AHEAD].first ||
            p->requests[VMD_AHEAD] >= WARM_IO_MAX ||
            p->requests[VMD_CRITICAL] > 0) {
            return; /* the end of one of them is another step */
        }
        if (p->chunks[c].state == VMD_SWAPPED && !vmd_chunk_bring(p, c)) {
            return;
        }
        p->warm.next++;
    }
    if (p->warm.order) {
        stop(p);
    }
}
