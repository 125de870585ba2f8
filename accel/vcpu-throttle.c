/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttling of vCPUs.
 *
 * Why: a guest that dirties its memory faster than a migration can send it
 * has to be slowed down. Time is cut into cycles of a run and a rest; while
 * the rest lasts, vCPUs stay out of the guest.
 *
 *                percent set             its time is over
 *     OFF --------------------> REST <--------------------> RUN
 *      ^    (and not suspended)  |                           |
 *      +-------------------------+---------------------------+
 *                    percent 0, or suspended
 *
 * All rest at the same time: a vCPU that waits for a lock which another one
 * holds would run for nothing. They rest outside KVM_RUN; a kick makes those
 * who are inside come out.
 *
 * A kick is a hint: it is lost on a thread that is about to enter KVM_RUN. So
 * the thread looks again and again, and kicks whoever has used awake_ns of
 * CPU time since the last kick or rest. The same rule leaves those alone who
 * sleep in HLT or in a page fault: they cost a look, and no more.
 *
 * Invariants:
 *   (1) resting is true only in REST, and only the thread makes it true.
 *   (2) A vCPU's rest ends with the phase in which it began: woken late, it
 *       runs first, so that a busy host cannot make it rest for ever.
 *   (3) Whoever ends a rest, suspend() and set() included, wakes the vCPUs
 *       himself: no pause waits for the thread.
 *
 * Threads: "vcpu-throttle" runs the cycle, from the first set() to free().
 * Locks: lock, rank VM_RANK_VCPU.
 */
#include "vcpu-throttle.h"

#include <glib.h>
#include <stdatomic.h>

#include "util/clock.h"
#include "util/thread.h"

typedef struct ThrottledVcpu {
    bool rests;
    int64_t used_ns; /* CPU time when it was kicked or last rested */
} ThrottledVcpu;

struct VcpuThrottle {
    /* Immutable after vcpu_throttle_new(). */
    VcpuThrottleTimes times;
    const VcpuThrottleOps *ops;
    void *opaque;
    unsigned count;

    /* The one caller of vcpu_throttle_set(). */
    VmThread *thread; /* NULL: never needed yet */

    /* Atomic; see (1). Written under lock, read with and without. */
    atomic_bool resting;

    VmMutex lock; /* rank VM_RANK_VCPU */
    VmCond changed; /* for the thread */
    VmCond woken;   /* for those who rest */
    /* Protected by lock. */
    unsigned percent;
    unsigned phase; /* counts the ends of rests, and interruptions */
    bool suspended, quit;
    ThrottledVcpu *vcpu;
};

void vcpu_throttle_parts(const VcpuThrottleTimes *times, unsigned percent,
                         int64_t *ret_run_ns, int64_t *ret_rest_ns)
{
    int64_t cycle_ns = MAX(times->cycle_ns,
                           times->run_min_ns * 100 / (100 - percent));

    *ret_rest_ns = cycle_ns * percent / 100;
    *ret_run_ns = cycle_ns - *ret_rest_ns;
}

static bool is_on(const VcpuThrottle *t)
{
    return t->percent > 0 && !t->suspended;
}

bool vcpu_throttle_is_resting(const VcpuThrottle *t)
{
    return atomic_load_explicit(&t->resting, memory_order_relaxed);
}

static void let_rest_locked(VcpuThrottle *t) VM_REQUIRES(t->lock)
{
    atomic_store_explicit(&t->resting, true, memory_order_relaxed);
}

static void let_go_locked(VcpuThrottle *t) VM_REQUIRES(t->lock)
{
    atomic_store_explicit(&t->resting, false, memory_order_relaxed);
    t->phase++;
    vm_cond_broadcast(&t->woken);
}

static void kick_awake_locked(VcpuThrottle *t) VM_REQUIRES(t->lock)
{
    for (unsigned i = 0; i < t->count; i++) {
        ThrottledVcpu *v = &t->vcpu[i];
        int64_t used_ns;

        if (v->rests) {
            continue;
        }
        used_ns = t->ops->cpu_time_ns(t->opaque, i);
        if (used_ns - v->used_ns >= t->times.awake_ns) {
            v->used_ns = used_ns;
            t->ops->kick(t->opaque, i);
        }
    }
}

/* To come to rest has cost time as well: that is not held against them. */
static void forgive_locked(VcpuThrottle *t) VM_REQUIRES(t->lock)
{
    for (unsigned i = 0; i < t->count; i++) {
        if (t->vcpu[i].rests) {
            t->vcpu[i].used_ns = t->ops->cpu_time_ns(t->opaque, i);
        }
    }
}

/* Returns false when somebody else has ended it. */
static bool rest_part_locked(VcpuThrottle *t, int64_t rest_ns)
    VM_REQUIRES(t->lock)
{
    int64_t end_ns = vm_clock_ns() + rest_ns, left_ns;
    unsigned phase = t->phase;

    let_rest_locked(t);
    while (t->phase == phase && (left_ns = end_ns - vm_clock_ns()) > 0) {
        kick_awake_locked(t);
        (void)vm_cond_wait_ns(&t->changed, &t->lock,
                              MIN(left_ns, t->times.look_ns));
    }
    if (t->phase != phase) {
        return false;
    }
    forgive_locked(t);
    let_go_locked(t);
    return true;
}

static void run_part_locked(VcpuThrottle *t, int64_t run_ns)
    VM_REQUIRES(t->lock)
{
    int64_t end_ns = vm_clock_ns() + run_ns, left_ns;
    unsigned phase = t->phase;

    while (t->phase == phase && (left_ns = end_ns - vm_clock_ns()) > 0) {
        (void)vm_cond_wait_ns(&t->changed, &t->lock, left_ns);
    }
}

static void throttle_thread(void *arg)
{
    VcpuThrottle *t = arg;

    vm_mutex_lock(&t->lock);
    while (!t->quit) {
        int64_t run_ns, rest_ns;

        if (!is_on(t)) {
            vm_cond_wait(&t->changed, &t->lock);
            continue;
        }
        vcpu_throttle_parts(&t->times, t->percent, &run_ns, &rest_ns);
        if (rest_part_locked(t, rest_ns)) {
            run_part_locked(t, run_ns);
        }
    }
    vm_mutex_unlock(&t->lock);
}

VcpuThrottle *vcpu_throttle_new(unsigned count, const VcpuThrottleTimes *times,
                                const VcpuThrottleOps *ops, void *opaque)
{
    VcpuThrottle *t = g_new0(VcpuThrottle, 1);

    t->times = *times;
    t->ops = ops;
    t->opaque = opaque;
    t->count = count;
    t->vcpu = g_new0(ThrottledVcpu, count);
    atomic_init(&t->resting, false);
    vm_mutex_init(&t->lock, VM_RANK_VCPU);
    vm_cond_init(&t->changed);
    vm_cond_init(&t->woken);
    return t;
}

/* (3). The thread leaves whatever part it is in. */
static void interrupt_locked(VcpuThrottle *t) VM_REQUIRES(t->lock)
{
    let_go_locked(t);
    vm_cond_signal(&t->changed);
}

void vcpu_throttle_free(VcpuThrottle *t)
{
    if (!t) {
        return;
    }
    if (t->thread) {
        vm_mutex_lock(&t->lock);
        t->quit = true;
        interrupt_locked(t);
        vm_mutex_unlock(&t->lock);
        vm_thread_join(t->thread);
    }
    vm_cond_done(&t->woken);
    vm_cond_done(&t->changed);
    vm_mutex_done(&t->lock);
    g_free(t->vcpu);
    g_free(t);
}

void vcpu_throttle_set(VcpuThrottle *t, unsigned percent)
{
    g_assert(percent <= VCPU_THROTTLE_MAX_PERCENT);
    if (percent > 0 && !t->thread) {
        t->thread = vm_thread_new("vcpu-throttle", throttle_thread, t);
    }
    vm_mutex_lock(&t->lock);
    t->percent = percent;
    if (percent == 0) {
        interrupt_locked(t);
    } else {
        vm_cond_signal(&t->changed);
    }
    vm_mutex_unlock(&t->lock);
}

void vcpu_throttle_suspend(VcpuThrottle *t)
{
    vm_mutex_lock(&t->lock);
    t->suspended = true;
    interrupt_locked(t);
    vm_mutex_unlock(&t->lock);
}

void vcpu_throttle_resume(VcpuThrottle *t)
{
    vm_mutex_lock(&t->lock);
    t->suspended = false;
    vm_cond_signal(&t->changed);
    vm_mutex_unlock(&t->lock);
}

void vcpu_throttle_rest(VcpuThrottle *t, unsigned cpu)
{
    unsigned phase;

    if (!vcpu_throttle_is_resting(t)) {
        return;
    }
    vm_mutex_lock(&t->lock);
    phase = t->phase;
    t->vcpu[cpu].rests = true;
    while (vcpu_throttle_is_resting(t) && t->phase == phase) { /* (2) */
        vm_cond_wait(&t->woken, &t->lock);
    }
    t->vcpu[cpu].rests = false;
    vm_mutex_unlock(&t->lock);
}
