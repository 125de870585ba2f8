/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: throttled vCPUs rest for their share of time; whoever sleeps is
 * left alone, whoever does not rest is kicked until he does; and a rest ends
 * at once when it is over, be it by a pause.
 *
 * How: threads stand for vCPUs, and their CPU time is what the test says. A
 * rest lasts hours, so that only what ends it can.
 */
#include <glib.h>
#include <stdatomic.h>

#include "util/clock.h"
#include "util/thread.h"
#include "vcpu-throttle.h"

#define CPUS 3u
#define TIMEOUT_NS (60 * VM_NS_PER_SEC)
#define AWAKE_NS 1000

typedef struct World {
    VcpuThrottle *throttle;
    _Atomic int64_t cpu_ns[CPUS];
    _Atomic int64_t burns_ns[CPUS]; /* what it uses from look to look */
    _Atomic unsigned looks[CPUS], kicks[CPUS];
    atomic_bool over; /* the vCPU thread has left its rest */
} World;

static int64_t cpu_time_ns(void *opaque, unsigned cpu)
{
    World *w = opaque;

    atomic_fetch_add(&w->looks[cpu], 1);
    return atomic_fetch_add(&w->cpu_ns[cpu], atomic_load(&w->burns_ns[cpu]));
}

static void kick(void *opaque, unsigned cpu)
{
    World *w = opaque;

    atomic_fetch_add(&w->kicks[cpu], 1);
}

static const VcpuThrottleOps ops = { cpu_time_ns, kick };

static const VcpuThrottleTimes endless = {
    .cycle_ns = 3600 * VM_NS_PER_SEC,
    .run_min_ns = VM_NS_PER_SEC,
    .look_ns = VM_NS_PER_MS / 10,
    .awake_ns = AWAKE_NS,
};
static const VcpuThrottleTimes quick = {
    .cycle_ns = VM_NS_PER_MS,
    .run_min_ns = VM_NS_PER_MS / 10,
    .look_ns = VM_NS_PER_MS / 10,
    .awake_ns = AWAKE_NS,
};

static World *world_new(const VcpuThrottleTimes *times)
{
    World *w = g_new0(World, 1);

    w->throttle = vcpu_throttle_new(CPUS, times, &ops, w);
    return w;
}

static void world_free(World *w)
{
    vcpu_throttle_free(w->throttle);
    g_free(w);
}

static void wait_looks(World *w, unsigned cpu, unsigned more)
{
    unsigned end = atomic_load(&w->looks[cpu]) + more;
    int64_t until_ns = vm_clock_ns() + TIMEOUT_NS;

    while (atomic_load(&w->looks[cpu]) < end) {
        g_assert_cmpint(vm_clock_ns(), <, until_ns);
        g_usleep(100);
    }
}

static void vcpu_0(void *arg)
{
    World *w = arg;

    vcpu_throttle_rest(w->throttle, 0);
    atomic_store(&w->over, true);
}

/* One that rests is not looked at any more. */
static void wait_resting(World *w)
{
    int64_t until_ns = vm_clock_ns() + TIMEOUT_NS;
    unsigned before;

    do {
        g_assert_cmpint(vm_clock_ns(), <, until_ns);
        before = atomic_load(&w->looks[0]);
        wait_looks(w, 1, 3);
    } while (atomic_load(&w->looks[0]) != before);
}

static VmThread *begin_rest(World *w)
{
    VmThread *thread;

    atomic_store(&w->over, false);
    vcpu_throttle_set(w->throttle, 99);
    wait_looks(w, 0, 1); /* the rest has begun */
    thread = vm_thread_new("vcpu", vcpu_0, w);
    wait_resting(w);
    g_assert_false(atomic_load(&w->over));
    return thread;
}

static void test_parts(void)
{
    const VcpuThrottleTimes times = { .cycle_ns = 10 * VM_NS_PER_MS,
                                      .run_min_ns = VM_NS_PER_MS / 2 };

    for (unsigned p = 1; p <= VCPU_THROTTLE_MAX_PERCENT; p++) {
        int64_t run_ns, rest_ns;

        vcpu_throttle_parts(&times, p, &run_ns, &rest_ns);
        g_assert_cmpint(ABS(rest_ns * 100 - p * (run_ns + rest_ns)), <, 100);
        g_assert_cmpint(run_ns, >=, times.run_min_ns);
        g_assert_cmpint(run_ns + rest_ns, ==, p <= 95 ? 10 * VM_NS_PER_MS
                                                      : times.run_min_ns *
                                                            100 / (100 - p));
    }
}

/* Off, as at first and later: nobody rests, nobody is looked at. */
static void test_off(void)
{
    World *w = world_new(&endless);

    vcpu_throttle_rest(w->throttle, 0);
    vcpu_throttle_set(w->throttle, 0);
    vcpu_throttle_rest(w->throttle, 0);
    vcpu_throttle_set(w->throttle, 50);
    vcpu_throttle_set(w->throttle, 0);
    vcpu_throttle_rest(w->throttle, 0);
    world_free(w);
}

static void test_kicks(void)
{
    World *w = world_new(&endless);

    atomic_store(&w->cpu_ns[0], 77 * AWAKE_NS); /* before it fell asleep */
    atomic_store(&w->burns_ns[1], AWAKE_NS);    /* busy */
    atomic_store(&w->burns_ns[2], AWAKE_NS / 4);
    vcpu_throttle_set(w->throttle, 99);
    wait_looks(w, 2, 101);
    vcpu_throttle_suspend(w->throttle);
    g_assert_cmpuint(w->kicks[0], ==, 1);
    g_assert_cmpuint(w->kicks[1], ==, w->looks[1] - 1);
    g_assert_cmpuint(w->kicks[2], ==, (w->looks[2] - 1) / 4);
    world_free(w);
}

typedef void (*EndRest)(VcpuThrottle *t);

static void end_by_set(VcpuThrottle *t)
{
    vcpu_throttle_set(t, 0);
}

/* Afterwards nobody rests, until it begins again. */
static void test_end(const void *data)
{
    World *w = world_new(&endless);
    VmThread *thread = begin_rest(w);

    (*(const EndRest *)data)(w->throttle);
    vm_thread_join(thread);
    vcpu_throttle_rest(w->throttle, 0);
    vcpu_throttle_set(w->throttle, 0);
    vcpu_throttle_resume(w->throttle);
    thread = begin_rest(w);
    vcpu_throttle_suspend(w->throttle);
    vm_thread_join(thread);
    world_free(w);
}

/* A new share holds across a pause, and does not end it. */
static void test_set_while_suspended(void)
{
    World *w = world_new(&endless);
    VmThread *thread;

    vcpu_throttle_suspend(w->throttle);
    vcpu_throttle_set(w->throttle, 99);
    vcpu_throttle_rest(w->throttle, 0);
    vcpu_throttle_resume(w->throttle);
    thread = begin_rest(w);
    vcpu_throttle_set(w->throttle, 50);
    g_assert_false(atomic_load(&w->over));
    vcpu_throttle_set(w->throttle, 0);
    vm_thread_join(thread);
    world_free(w);
}

/* Rests end by themselves: a vCPU gets on, however often it comes. Together
 * with pauses and changes in between it is for the thread sanitizer. */
static void test_cycles(void)
{
    World *w = world_new(&quick);

    for (unsigned i = 0; i < 60; i++) {
        VmThread *thread;

        vcpu_throttle_set(w->throttle, 1 + i * 33 % 99);
        thread = vm_thread_new("vcpu", vcpu_0, w);
        vcpu_throttle_rest(w->throttle, 1);
        vm_thread_join(thread);
        if (i % 4 == 0) {
            vcpu_throttle_suspend(w->throttle);
            vcpu_throttle_rest(w->throttle, 1);
            vcpu_throttle_resume(w->throttle);
        }
    }
    wait_looks(w, 2, 10);
    world_free(w);
}

int main(int argc, char **argv)
{
    static const EndRest by_set = end_by_set;
    static const EndRest by_suspend = vcpu_throttle_suspend;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle/parts", test_parts);
    g_test_add_func("/throttle/off", test_off);
    g_test_add_func("/throttle/kicks", test_kicks);
    g_test_add_data_func("/throttle/end/set", &by_set, test_end);
    g_test_add_data_func("/throttle/end/suspend", &by_suspend, test_end);
    g_test_add_func("/throttle/set-while-suspended",
                    test_set_while_suspended);
    g_test_add_func("/throttle/cycles", test_cycles);
    return g_test_run();
}
