/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The watchdog of the pager's thread; drawing and contract in watchdog.h.
 *
 * Threads: the watchdog's own, but for what the header says. Locks: lock (rank
 * LEAF), which is not held while something is told.
 */
#include "watchdog.h"

#include <errno.h>

#include "util/clock.h"
#include "util/thread.h"

struct VmdWatchdog {
    /* Immutable after vmd_watchdog_new(). */
    const VmdPulse *pulse;
    int64_t tick_ns;
    bool stop;
    const VmdEvents *events;
    void *opaque;
    VmThread *thread;

    /* Watchdog thread. */
    VmdWatch watch;

    /* Atomic, and alone: no other data goes by them. */
    atomic_bool stalled; /* the watchdog thread's */
    atomic_bool told;    /* since it began, or since the last retry */
    _Atomic int64_t began_ns;

    /* Protected by lock. */
    VmMutex lock;
    VmCond changed;
    bool quit;
};

bool vmd_watch_tick(VmdWatch *w, unsigned beats)
{
    if (beats % 2 == 1 && beats == w->beats) {
        w->ticks += w->ticks < VMD_WATCH_TICKS;
    } else {
        w->ticks = 0;
    }
    w->beats = beats;
    return w->ticks == VMD_WATCH_TICKS;
}

static void tell(const VmdWatchdog *w, bool over)
{
    VmdEvent event = { .what = VMD_TROUBLE_STALL, .over = over,
                       .error = over ? 0 : ETIME, .stop = !over && w->stop };

    w->events->event(w->opaque, &event);
}

static void tick(VmdWatchdog *w)
{
    bool was = atomic_load(&w->stalled);
    bool is = vmd_watch_tick(&w->watch,
                             atomic_load_explicit(&w->pulse->beats,
                                                  memory_order_relaxed));

    if (is && !was) {
        atomic_store(&w->began_ns,
                     vm_clock_ns() - VMD_WATCH_TICKS * w->tick_ns);
        atomic_store(&w->told, false);
    }
    atomic_store(&w->stalled, is);
    if (is && !atomic_exchange(&w->told, true)) {
        tell(w, /* over= */ false);
    } else if (was && !is) {
        tell(w, /* over= */ true);
    }
}

/* False: the thread has to end. */
static bool sleep_a_tick(VmdWatchdog *w)
{
    int64_t until = vm_clock_ns() + w->tick_ns;
    int64_t left = w->tick_ns;
    bool quit;

    vm_mutex_lock(&w->lock);
    while (!w->quit && left > 0) {
        (void)vm_cond_wait_ns(&w->changed, &w->lock, left);
        left = until - vm_clock_ns();
    }
    quit = w->quit;
    vm_mutex_unlock(&w->lock);
    return !quit;
}

static void watchdog_thread(void *arg)
{
    VmdWatchdog *w = arg;

    vm_thread_set_never_faults();
    while (sleep_a_tick(w)) {
        tick(w);
    }
}

VmdWatchdog *vmd_watchdog_new(const VmdPulse *pulse, int64_t timeout_ns,
                              bool stop, const VmdEvents *events,
                              void *opaque)
{
    VmdWatchdog *w = g_new0(VmdWatchdog, 1);

    w->pulse = pulse;
    w->tick_ns = timeout_ns / VMD_WATCH_TICKS;
    w->stop = stop;
    w->events = events;
    w->opaque = opaque;
    vm_mutex_init(&w->lock, VM_RANK_LEAF);
    vm_cond_init(&w->changed);
    w->thread = vm_thread_new("vmd-watchdog", watchdog_thread, w);
    return w;
}

void vmd_watchdog_free(VmdWatchdog *w)
{
    if (!w) {
        return;
    }
    vm_mutex_lock(&w->lock);
    w->quit = true;
    vm_cond_signal(&w->changed);
    vm_mutex_unlock(&w->lock);
    vm_thread_join(w->thread);
    vm_cond_done(&w->changed);
    vm_mutex_done(&w->lock);
    g_free(w);
}

bool vmd_watchdog_stalled(const VmdWatchdog *w)
{
    return w && atomic_load(&w->stalled);
}

void vmd_watchdog_retry(VmdWatchdog *w)
{
    if (w) {
        atomic_store(&w->told, false);
    }
}

void vmd_watchdog_stats(const VmdWatchdog *w, VmdStats *ret)
{
    struct VmdTroubleStats *stall = &ret->trouble[VMD_TROUBLE_STALL];

    *stall = (struct VmdTroubleStats){ 0 };
    if (vmd_watchdog_stalled(w)) {
        stall->failures = 1;
        stall->error = ETIME;
        stall->age_ns = (uint64_t)(vm_clock_ns() - atomic_load(&w->began_ns));
    }
}
