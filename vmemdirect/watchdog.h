/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does the pager's thread still move?
 *
 * It waits for nothing but work, and a step of it is short. If one lasts for
 * io-timeout, a system call does not return (a file system that hangs), or it
 * is our own bug: in any case no fault is answered, and the thread itself
 * cannot say so. A thread of its own looks at its pulse:
 *
 *     MOVES ----- the same step in VMD_WATCH_TICKS ticks ----> STALLED
 *       ^                (told: VMD_TROUBLE_STALL)               |
 *       +---------------- another step (told: over) -------------+
 *
 * Ticks are counted, not time: if the whole process was held up (SIGSTOP, a
 * debugger, a host without CPU time), the pager was, too, and it is no stall.
 *
 * Threads: any, but for the pulse.
 */
#ifndef VMD_WATCHDOG_H
#define VMD_WATCHDOG_H

#include <stdatomic.h>

#include "vmemdirect/vmemdirect.h"

/* Odd: in a step; even: asleep. The watched thread's, who begins in a step;
 * relaxed, since it orders nothing. */
typedef struct VmdPulse {
    atomic_uint beats;
} VmdPulse;

#define VMD_PULSE_INIT { 1 }

/* A step ends, or begins. Only one thread writes: no atomic addition. */
static inline void vmd_pulse_beat(VmdPulse *pulse)
{
    unsigned beats = atomic_load_explicit(&pulse->beats, memory_order_relaxed);

    atomic_store_explicit(&pulse->beats, beats + 1, memory_order_relaxed);
}

#define VMD_WATCH_TICKS 4u

/* What the watcher knows; begins as all zero. */
typedef struct VmdWatch {
    unsigned beats;
    unsigned ticks; /* in which beats was this, and odd */
} VmdWatch;

/* One tick; true: the thread is stalled. */
bool vmd_watch_tick(VmdWatch *w, unsigned beats);

typedef struct VmdWatchdog VmdWatchdog;

/* Calls events->event() from its own thread, stop being the policy. */
VmdWatchdog *vmd_watchdog_new(const VmdPulse *pulse, int64_t timeout_ns,
                              bool stop, const VmdEvents *events,
                              void *opaque);
void vmd_watchdog_free(VmdWatchdog *w);
/* NULL: there is none, so nothing is ever stalled. */
bool vmd_watchdog_stalled(const VmdWatchdog *w);
/* If it is stalled still, that is to be told again. */
void vmd_watchdog_retry(VmdWatchdog *w);
/* Of the present stall: fills in its entry. */
void vmd_watchdog_stats(const VmdWatchdog *w, VmdStats *ret);

#endif
