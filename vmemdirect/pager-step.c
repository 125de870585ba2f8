/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pager as a whole: its beginning, its end, and one step of its life.
 *
 * A step does what is due, in this order: completions (they free memory),
 * aging, reclaim, then everybody who waits for memory or I/O, and at last
 * hands new requests to the device. Each part bounds its work, so that the
 * next faults are read soon.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

void vmd_pager_step(VmdPager *p)
{
    int64_t now = p->cfg.now_ns();

    p->cfg.io->ops->reap(p->cfg.io);
    if (!p->fatal) {
        vmd_history_tick(p, now);
        vmd_reclaim_step(p);
        vmd_pager_serve_pending(p);
        vmd_pager_serve_pin_waiters(p);
        vmd_carry_step(p);
        vmd_reclaim_punch(p);
    } else {
        vmd_pager_serve_pin_waiters(p);
    }
    vmd_transfers_pump(p);
}

int64_t vmd_pager_deadline_ns(const VmdPager *p)
{
    bool work = p->pending_count > 0 || p->pin_waiters || p->reclaiming ||
                !g_queue_is_empty((GQueue *)&p->frame_waiters) ||
                !g_queue_is_empty((GQueue *)&p->held_imports);

    if (work && !p->fatal && p->in_flight == 0) {
        /* Nothing will wake us: pinned chunks, or a write error. */
        return MIN(vmd_history_deadline_ns(p), p->cfg.now_ns() + 1000 * 1000);
    }
    return vmd_history_deadline_ns(p);
}

uint32_t vmd_pager_frames_needed(uint64_t pages, uint32_t chunk_pages)
{
    return (uint32_t)((pages + chunk_pages - 1) / chunk_pages) +
           VMD_EXTRA_FRAMES;
}

void vmd_pager_init(VmdPager *p, const VmdPagerConfig *cfg)
{
    *p = (VmdPager){ .cfg = *cfg };
    p->chunk_count = (uint32_t)((cfg->pages + cfg->chunk_pages - 1) /
                                cfg->chunk_pages);
    p->chunks = g_new0(VmdChunk, p->chunk_count);
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        p->chunks[c].frame = VMD_NONE;
        p->chunks[c].last_fault = UINT16_MAX / 2; /* long ago */
    }
    p->pins = g_new0(atomic_uint, p->chunk_count);
    p->leaving = g_new0(atomic_uchar, p->chunk_count);
    p->present = vm_bitmap_new(cfg->pages);
    p->stored = vm_bitmap_new(cfg->pages);
    p->occupied = vm_bitmap_new(cfg->pages);
    p->pending = g_new0(VmdPendingFault, VMD_PENDING_MAX);
    g_queue_init(&p->frame_waiters);
    g_queue_init(&p->held_imports);
    vmd_history_init(p);
    vmd_frames_init(p);
    vmd_transfers_init(p);
    vmd_landings_init(p);
    vmd_budget_set(p, cfg->budget_pages);
}

void vmd_pager_done(VmdPager *p)
{
    vmd_landings_done(p);
    vmd_transfers_done(p);
    vmd_frames_done(p);
    vmd_history_done(p);
    g_queue_clear(&p->frame_waiters);
    g_queue_clear(&p->held_imports);
    g_free(p->chunks);
    g_free(p->pins);
    g_free(p->leaving);
    g_free(p->present);
    g_free(p->stored);
    g_free(p->occupied);
    g_free(p->pending);
}

void vmd_bits_take(unsigned long *ret, const unsigned long *map,
                   uint64_t first, uint32_t count)
{
    for (unsigned w = 0; w < RAM_CHUNK_LONGS; w++) {
        ret[w] = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (vm_bit_test(map, first + i)) {
            vm_bit_set(ret, i);
        }
    }
}
