/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread of an observing tracker.
 *
 * Goes round RAM once an aging interval, in batches: asks the tracker which
 * pages were accessed, hands the answer over, and waits until it was taken.
 * Where a round would cost more than the tracker's share of a CPU, it takes
 * longer, and so do the intervals that it tells about: at a terabyte the
 * interval grows, not the cost.
 *
 * Threads: new, set_running, stop, free by the main thread; taken() by the
 * pager thread.
 */
#ifndef VMD_OBSERVER_H
#define VMD_OBSERVER_H

#include "tracker.h"

#define VMD_OBSERVER_BATCH_PAGES 8192u /* >= any chunk */

typedef struct VmdObserver VmdObserver;

typedef struct VmdObservation {
    int error; /* -errno: the tracker cannot go on, this is the last one */
    PageNo first;
    uint32_t count;
    unsigned long accessed[VMD_OBSERVER_BATCH_PAGES / 64];
} VmdObservation;

/* Called on the observer's thread. The observation stays as it is until
 * vmd_observer_taken(), which the receiver has to call. */
typedef void (*VmdDeliver)(void *opaque, VmdObserver *observer,
                           const VmdObservation *observation);
VmdObserver *vmd_observer_new(VmdTracker *t, const VmdTrackerEnv *env,
                              VmdDeliver deliver, void *opaque);
/* cost_ns: what it took to make use of it, which is part of the cost. */
void vmd_observer_taken(VmdObserver *o, int64_t cost_ns);
/* While the guest stands still nobody looks. It runs at first. */
void vmd_observer_set_running(VmdObserver *o, bool running);
/* Ends the thread. An observation that was delivered stays valid, and may be
 * taken, until _free(). */
void vmd_observer_stop(VmdObserver *o);
void vmd_observer_free(VmdObserver *o);

#endif
