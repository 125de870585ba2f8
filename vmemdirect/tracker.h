/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access sources: who says which pages of a resident chunk were accessed.
 *
 * The history (history.c) knows by itself of pages that fault. What happens
 * to pages that are mapped, only a tracker can tell. There are two kinds:
 *
 *   in the pager    look() is called once a slice and does a bounded look at
 *                   a few chunks (soft).
 *   observing       collect() says for a range which pages were accessed since
 *                   it was last called for that range (idle, damon). It may
 *                   read files and sleep, so it has a thread of its own
 *                   (observer.h); faults never wait for it.
 *
 *   name   needs                          tells
 *   rwp    userfaultfd of 2026, see tracker-rwp.c: never usable here so far
 *   idle   root, idle page tracking       each page, exactly
 *   damon  root, DAMON that nobody uses   regions, by samples
 *   soft   nothing                        some chunks, by moving them out
 *
 * Threads: start(), stop() by the main thread, while no other uses the
 * tracker; look() and recalled() by the pager thread, collect() by the
 * observer's; interrupt() by any. spent_ns and round_ns may be read by any.
 */
#ifndef VMD_TRACKER_H
#define VMD_TRACKER_H

#include <glib.h>
#include <stdatomic.h>

#include "config.h"
#include "memory/ram.h"

struct VmdPager;
typedef struct VmdTrackerOps VmdTrackerOps;

/* The share of one CPU that tracking may cost, as a divisor: 1 %. */
#define VMD_TRACKER_COST_DIVISOR 100

typedef struct VmdTracker {
    const VmdTrackerOps *ops;
    /* What it has cost so far, in CPU time; for soft, the guest's part by an
     * estimate. */
    atomic_int_least64_t spent_ns;
    /* How long the last look at all of RAM took: its true interval. */
    atomic_int_least64_t round_ns;
} VmdTracker;

typedef struct VmdTrackerEnv {
    const uint8_t *guest;
    uint64_t pages;
    uint32_t chunk_pages;
    int64_t interval_ns; /* of aging */
    int64_t (*now_ns)(void);
    const char *root; /* before /proc and /sys: empty, or a fake of a test */
} VmdTrackerEnv;

struct VmdTrackerOps {
    const char *name;
    /* Probes, and begins; NULL with the reason if it cannot work here. */
    VmdTracker *(*start)(const VmdTrackerEnv *env, GError **errp);
    void (*stop)(VmdTracker *t); /* leaves nothing behind; frees t */

    /* In the pager. */
    void (*look)(VmdTracker *t, struct VmdPager *p);
    /* A chunk that look() moved out was touched; to bring it back took
     * cost_ns. */
    void (*recalled)(VmdTracker *t, int64_t cost_ns);

    /* Observing: bit i of accessed (given clear) is page first + i. first is
     * a multiple of 64 and chunk_pages; calls go round RAM in order. 1: said;
     * 0: nothing is known of this range yet; -errno: it cannot go on. */
    int (*collect)(VmdTracker *t, PageNo first, uint32_t count,
                   unsigned long *accessed);
    void (*interrupt)(VmdTracker *t); /* a collect() that sleeps returns */
};

extern const VmdTrackerOps vmd_tracker_rwp, vmd_tracker_idle,
    vmd_tracker_damon, vmd_tracker_soft;

/* Why each tracker that is better than the one that runs does not; NULL: it
 * runs, or was not wanted. The texts are owned by the report. */
typedef struct VmdTrackerReport {
    char *why_not[VMD_TRACKERS];
} VmdTrackerReport;
void vmd_tracker_report_clear(VmdTrackerReport *report);

/*
 * The one that kind names; AUTO: the first of the table that can work. OFF:
 * *ret_tracker is NULL. False, with the reason, if the named one cannot work.
 */
bool vmd_tracker_choose(VmdTrackerKind kind, const VmdTrackerEnv *env,
                        VmdTracker **ret_tracker, VmdTrackerReport *ret_report,
                        GError **errp);
const VmdTrackerOps *vmd_tracker_ops(unsigned index); /* < VMD_TRACKERS */

#endif
