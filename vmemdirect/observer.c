/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread of an observing tracker; see observer.h.
 *
 * A round is due at each multiple of the aging interval, and is spread over
 * the first half of it, so that a batch that comes late is still in its own
 * interval: the pager counts one observation of a chunk in an interval.
 *
 * The purse: a hundredth of the time that passes goes in, the CPU time of
 * each batch comes out, with what the pager needs to take it; while it is
 * empty, the thread sleeps.
 *
 * All of this goes by the guest's time, which stands while the guest does, as
 * the intervals of the history do. What is being looked at when the guest
 * stops is still delivered: it is of the interval that goes on.
 *
 * Threads: the observer's own, but for what the header says.
 */
#include "observer.h"

#include <string.h>
#include <time.h>

#include "util/clock.h"
#include "util/thread.h"

struct VmdObserver {
    /* Immutable after vmd_observer_new(). */
    VmdTracker *tracker;
    VmdTrackerEnv env;
    VmdDeliver deliver;
    void *opaque;
    VmThread *thread;

    /* Observer thread; read by the pager between deliver and taken. */
    VmdObservation observation;

    /* Observer thread. */
    int64_t purse_ns, purse_filled_ns;

    /* Protected by lock (rank LEAF). */
    VmMutex lock;
    VmCond changed;
    bool quit;
    bool delivered;   /* and not yet taken */
    int64_t taker_ns; /* what the pager says it has cost, not yet paid */
    bool stands;      /* the guest does, since then */
    int64_t stands_since_ns;
    int64_t stood_ns; /* how long it has, before that */
};

static int64_t thread_cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * VM_NS_PER_SEC + t.tv_nsec;
}

static int64_t guest_now_locked(const VmdObserver *o)
{
    int64_t now = o->stands ? o->stands_since_ns : o->env.now_ns();

    return now - o->stood_ns;
}

static int64_t guest_now(VmdObserver *o)
{
    vm_mutex_lock(&o->lock);
    int64_t now = guest_now_locked(o);
    vm_mutex_unlock(&o->lock);
    return now;
}

/* False: the thread has to end. */
static bool sleep_until(VmdObserver *o, int64_t when_ns)
{
    bool quit;

    vm_mutex_lock(&o->lock);
    for (;;) {
        int64_t left = when_ns - guest_now_locked(o);
        if (o->quit || left <= 0) {
            break;
        }
        if (o->stands) {
            vm_cond_wait(&o->changed, &o->lock);
        } else {
            (void)vm_cond_wait_ns(&o->changed, &o->lock, left);
        }
    }
    quit = o->quit;
    vm_mutex_unlock(&o->lock);
    return !quit;
}

/* Sleeps until the purse is not empty. */
static bool wait_for_purse(VmdObserver *o)
{
    int64_t now = guest_now(o);

    o->purse_ns += (now - o->purse_filled_ns) / VMD_TRACKER_COST_DIVISOR;
    o->purse_ns = MIN(o->purse_ns,
                      o->env.interval_ns / VMD_TRACKER_COST_DIVISOR);
    o->purse_filled_ns = now;
    if (o->purse_ns >= 0) {
        return true;
    }
    return sleep_until(o, now - o->purse_ns * VMD_TRACKER_COST_DIVISOR);
}

static void pay(VmdObserver *o, int64_t ns)
{
    atomic_fetch_add(&o->tracker->spent_ns, ns);
    o->purse_ns -= ns;
}

static bool hand_over(VmdObserver *o)
{
    bool quit;

    vm_mutex_lock(&o->lock);
    quit = o->quit;
    o->delivered = !quit;
    vm_mutex_unlock(&o->lock);
    if (quit) {
        return false;
    }
    o->deliver(o->opaque, o, &o->observation);
    vm_mutex_lock(&o->lock);
    while (o->delivered && !o->quit) {
        vm_cond_wait(&o->changed, &o->lock);
    }
    quit = o->quit;
    pay(o, o->taker_ns);
    o->taker_ns = 0;
    vm_mutex_unlock(&o->lock);
    return !quit;
}

/* False: the thread has to end. */
static bool batch(VmdObserver *o, PageNo first)
{
    VmdObservation *ob = &o->observation;
    int64_t start = thread_cpu_ns();

    ob->first = first;
    ob->count = (uint32_t)MIN(o->env.pages - first, VMD_OBSERVER_BATCH_PAGES);
    memset(ob->accessed, 0, sizeof(ob->accessed));
    int r = o->tracker->ops->collect(o->tracker, first, ob->count,
                                     ob->accessed);
    pay(o, thread_cpu_ns() - start);
    ob->error = MIN(r, 0);
    return (r == 0 || hand_over(o)) && r >= 0;
}

static bool round_of_batches(VmdObserver *o, int64_t start_ns)
{
    for (PageNo first = 0; first < o->env.pages;
         first += VMD_OBSERVER_BATCH_PAGES) {
        double part = (double)first / (double)o->env.pages / 2;
        int64_t due = start_ns +
                      (int64_t)(part * (double)o->env.interval_ns);
        if (!sleep_until(o, due) || !wait_for_purse(o) || !batch(o, first)) {
            return false;
        }
    }
    return true;
}

static void observer_thread(void *arg)
{
    VmdObserver *o = arg;
    int64_t interval_ns = o->env.interval_ns;
    int64_t start = guest_now(o), before = 0;

    vm_thread_set_never_faults();
    o->purse_filled_ns = start;
    while (round_of_batches(o, start)) {
        if (before != 0) {
            atomic_store(&o->tracker->round_ns, start - before);
        }
        before = start;
        /* The next one that is not over; late ones are left out. */
        int64_t late = MAX(guest_now(o) - start - 1, 0);
        start += (late / interval_ns + 1) * interval_ns;
    }
}

VmdObserver *vmd_observer_new(VmdTracker *t, const VmdTrackerEnv *env,
                              VmdDeliver deliver, void *opaque)
{
    VmdObserver *o = g_new0(VmdObserver, 1);

    o->tracker = t;
    o->env = *env;
    o->deliver = deliver;
    o->opaque = opaque;
    vm_mutex_init(&o->lock, VM_RANK_LEAF);
    vm_cond_init(&o->changed);
    o->thread = vm_thread_new("vmd-observer", observer_thread, o);
    return o;
}

void vmd_observer_taken(VmdObserver *o, int64_t cost_ns)
{
    vm_mutex_lock(&o->lock);
    o->delivered = false;
    o->taker_ns += cost_ns;
    vm_cond_broadcast(&o->changed);
    vm_mutex_unlock(&o->lock);
}

void vmd_observer_set_running(VmdObserver *o, bool running)
{
    int64_t now = o->env.now_ns();

    vm_mutex_lock(&o->lock);
    if (running && o->stands) {
        o->stood_ns += now - o->stands_since_ns;
    } else if (!running && !o->stands) {
        o->stands_since_ns = now;
    }
    o->stands = !running;
    vm_cond_broadcast(&o->changed);
    vm_mutex_unlock(&o->lock);
}

void vmd_observer_stop(VmdObserver *o)
{
    if (!o || !o->thread) {
        return;
    }
    vm_mutex_lock(&o->lock);
    o->quit = true;
    vm_cond_broadcast(&o->changed);
    vm_mutex_unlock(&o->lock);
    if (o->tracker->ops->interrupt) {
        o->tracker->ops->interrupt(o->tracker);
    }
    vm_thread_join(g_steal_pointer(&o->thread));
}

void vmd_observer_free(VmdObserver *o)
{
    if (o) {
        vmd_observer_stop(o);
        vm_cond_done(&o->changed);
        vm_mutex_done(&o->lock);
        g_free(o);
    }
}
