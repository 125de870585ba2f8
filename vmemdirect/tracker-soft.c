/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Soft faults as an access source: no privilege, no kernel feature.
 *
 * In each slice of the aging interval it moves a few resident chunks to
 * STANDBY, in the order of a clock. Those that are used come back by a soft
 * fault, which names the page; those that stay age, since nothing was heard of
 * them.
 *
 * It has a purse: 1 % of the time goes in, and what it costs is taken out as
 * it is measured, for the guest's part by an estimate. A cold chunk costs one
 * move; a hot one much more, so a guest that uses all of its memory is sampled
 * seldom. Where moves are slow (nested virtualisation), so is sampling.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

/* Bounds of one slice. */
#define SAMPLES_PER_SLICE 8u
#define SAMPLE_TRIES_PER_SLICE 4096u
/*
 * What the guest pays for a sampled chunk that it uses, in multiples of what
 * the pager paid for moving it out and back: the fault, and the entries of
 * the second-level page table that have to be made again one by one. Measured
 * on shadow paging: 61 us for the two moves of 1 MiB, 64 us for the fault,
 * 0.9 us for each of 256 entries.
 */
#define GUEST_COST_FACTOR 10

typedef struct Soft {
    VmdTracker tracker; /* first */
    uint32_t hand;      /* of the clock */
    int64_t purse_ns;   /* negative: in debt */
    int64_t round_start_ns;
} Soft;

static VmdTracker *soft_start(const VmdTrackerEnv *env, GError **errp)
{
    Soft *s = g_new0(Soft, 1);

    s->tracker.ops = &vmd_tracker_soft;
    s->round_start_ns = env->now_ns();
    return &s->tracker;
}

static void soft_stop(VmdTracker *t)
{
    g_free(t);
}

static void pay(Soft *s, int64_t ns)
{
    s->purse_ns -= ns;
    atomic_fetch_add(&s->tracker.spent_ns, ns);
}

/* The next chunk of the clock. */
static ChunkNo turn(Soft *s, const VmdPager *p)
{
    ChunkNo c = s->hand;

    s->hand = (c + 1) % p->chunk_count;
    if (s->hand == 0) {
        int64_t now = p->cfg.now_ns();
        atomic_store(&s->tracker.round_ns, now - s->round_start_ns);
        s->round_start_ns = now;
    }
    return c;
}

static void soft_look(VmdTracker *t, VmdPager *p)
{
    Soft *s = (Soft *)t;
    int64_t slice_ns = p->cfg.aging_interval_ns / VMD_AGING_SLICES;
    unsigned tries = MIN(p->chunk_count, SAMPLE_TRIES_PER_SLICE);
    unsigned left = SAMPLES_PER_SLICE;

    s->purse_ns = MIN(s->purse_ns + slice_ns / VMD_TRACKER_COST_DIVISOR,
                      slice_ns);
    for (; tries > 0 && left > 0 && s->purse_ns > 0; tries--) {
        ChunkNo c = turn(s, p);
        VmdChunk *chunk = &p->chunks[c];

        if (chunk->state != VMD_RESIDENT) {
            continue;
        }
        /* One full aging first: what just came in says nothing new. */
        if (chunk->fresh) {
            chunk->fresh = false;
            continue;
        }
        left--;
        int64_t start = p->cfg.now_ns();
        if (vmd_chunk_move_out(p, c) == 0) { /* else pinned, so in use */
            chunk->sampled = true;
        }
        pay(s, p->cfg.now_ns() - start);
    }
}

static void soft_recalled(VmdTracker *t, int64_t cost_ns)
{
    /* Out and in take about the same. */
    pay((Soft *)t, 2 * cost_ns * GUEST_COST_FACTOR);
}

const VmdTrackerOps vmd_tracker_soft = {
    .name = "soft",
    .start = soft_start,
    .stop = soft_stop,
    .look = soft_look,
    .recalled = soft_recalled,
};
