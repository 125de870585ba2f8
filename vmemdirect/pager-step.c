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

#include <errno.h>

#include "util/clock.h"

static void check_timeout(VmdPager *p, int64_t now)
{
    int64_t oldest = vmd_transfers_oldest_ns(p);

    if (p->cfg.io_timeout_ns == 0) {
        return;
    }
    if (oldest != 0 && now - oldest >= p->cfg.io_timeout_ns) {
        vmd_health_failed(&p->health, VMD_TROUBLE_TIMEOUT, -ETIMEDOUT, now);
    } else {
        vmd_health_good(&p->health, VMD_TROUBLE_TIMEOUT, now);
    }
}

/* What has to be looked at now and then, whatever happens or does not. */
static void beat(VmdPager *p, int64_t now)
{
    if (now >= p->next_beat_ns) {
        p->next_beat_ns = now + VMD_BEAT_NS;
        check_timeout(p, now);
        if (p->failed_chunks == 0) { /* by a retry, or discarded */
            vmd_health_good(&p->health, VMD_TROUBLE_READ, now);
        }
        vmd_health_step(&p->health, now);
    }
}

void vmd_pager_step(VmdPager *p)
{
    int64_t now = p->cfg.now_ns();

    p->cfg.io->ops->reap(p->cfg.io);
    beat(p, now);
    if (!p->fatal) {
        vmd_history_tick(p, now);
        vmd_reclaim_step(p);
        vmd_pager_serve_pending(p);
        vmd_pager_serve_pin_waiters(p);
        vmd_carry_step(p);
        vmd_warm_step(p);
        vmd_reclaim_punch(p);
    } else {
        vmd_pager_serve_pin_waiters(p);
        vmd_carry_abandon(p);
    }
    vmd_transfers_pump(p);
}

int64_t vmd_pager_deadline_ns(const VmdPager *p)
{
    const VmdIo *io = p->cfg.io;
    int64_t next = MIN(vmd_history_deadline_ns(p), p->next_beat_ns);
    bool work = p->pending_count > 0 || p->pin_waiters || p->reclaiming ||
                !g_queue_is_empty((GQueue *)&p->frame_waiters) ||
                !g_queue_is_empty((GQueue *)&p->held_imports);

    if (io->ops->busy && io->ops->busy(io)) {
        return p->cfg.now_ns();
    }
    if (work && !p->fatal && p->in_flight == 0) {
        /* Nothing will wake us: pinned chunks, or a trouble. */
        int64_t again = vmd_health_any(&p->health) ? 50 * VM_NS_PER_MS
                                                   : VM_NS_PER_MS;
        return MIN(next, p->cfg.now_ns() + again);
    }
    return next;
}

uint32_t vmd_pager_frames_needed(uint64_t pages, uint32_t chunk_pages)
{
    return (uint32_t)((pages + chunk_pages - 1) / chunk_pages) +
           VMD_EXTRA_FRAMES;
}

void vmd_pager_abandon(VmdPager *p)
{
    p->fatal = true; /* without an event: it is not a failure */
}

void vmd_pager_init(VmdPager *p, const VmdPagerConfig *cfg)
{
    const bool stop[VMD_TROUBLE__COUNT] = {
        [VMD_TROUBLE_WRITE] = cfg->stop_on_write_error,
        [VMD_TROUBLE_READ] = true, /* nothing can stand in for it */
        [VMD_TROUBLE_TIMEOUT] = cfg->stop_on_timeout,
        [VMD_TROUBLE_ENGINE] = true,
    };

    *p = (VmdPager){ .cfg = *cfg };
    vmd_health_init(&p->health, cfg->events, cfg->events_opaque, stop);
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
    vmd_warm_done(p);
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
