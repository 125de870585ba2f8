/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pager thread that does not move is told once, and so is that it moves
 * again; who says retry meanwhile is told again; one that sleeps, or works
 * step by step, is never told of. What counts is tested tick by tick; the
 * thread, with ticks of 5 ms, by waiting for what it tells.
 */
#include "../../../vmemdirect/watchdog.h"

#include <errno.h>

#include "util/clock.h"
#include "util/thread.h"

#define TIMEOUT_NS (20 * VM_NS_PER_MS)

/* --- ticks --------------------------------------------------------------- */

static void test_same_step(void)
{
    VmdWatch w = { 0 };

    g_assert_false(vmd_watch_tick(&w, 7)); /* seen for the first time */
    for (unsigned i = 1; i < VMD_WATCH_TICKS; i++) {
        g_assert_false(vmd_watch_tick(&w, 7));
    }
    for (unsigned i = 0; i < 10; i++) {
        g_assert_true(vmd_watch_tick(&w, 7));
    }
    g_assert_false(vmd_watch_tick(&w, 9)); /* the next step, as long */
    for (unsigned i = 1; i < VMD_WATCH_TICKS; i++) {
        g_assert_false(vmd_watch_tick(&w, 9));
    }
    g_assert_true(vmd_watch_tick(&w, 9));
}

static void test_asleep(void)
{
    VmdWatch w = { 0 };

    for (unsigned i = 0; i < 100; i++) {
        g_assert_false(vmd_watch_tick(&w, 8));
    }
}

static void test_busy(void)
{
    VmdWatch w = { 0 };

    for (unsigned i = 1; i < 100; i += 2) { /* always met in a step */
        for (unsigned k = 0; k < VMD_WATCH_TICKS; k++) {
            g_assert_false(vmd_watch_tick(&w, i));
        }
    }
}

/* The counter comes round. */
static void test_wraps(void)
{
    VmdPulse pulse = { UINT_MAX };

    vmd_pulse_beat(&pulse);
    g_assert_cmpuint(atomic_load(&pulse.beats), ==, 0);
}

/* --- the thread ---------------------------------------------------------- */

typedef struct Bench {
    VmMutex lock;
    VmCond changed;
    unsigned began, over;
    VmdEvent last;
    VmdPulse pulse;
    VmdWatchdog *watchdog;
} Bench;

static void on_event(void *opaque, const VmdEvent *event)
{
    Bench *b = opaque;

    vm_mutex_lock(&b->lock);
    g_assert_cmpint(event->what, ==, VMD_TROUBLE_STALL);
    b->last = *event;
    *(event->over ? &b->over : &b->began) += 1;
    vm_cond_signal(&b->changed);
    vm_mutex_unlock(&b->lock);
}

static const VmdEvents events = { on_event };

static void begin(Bench *b, bool stop)
{
    *b = (Bench){ .pulse = VMD_PULSE_INIT };
    vm_mutex_init(&b->lock, VM_RANK_LEAF);
    vm_cond_init(&b->changed);
    b->watchdog = vmd_watchdog_new(&b->pulse, TIMEOUT_NS, stop, &events, b);
}

static void end(Bench *b)
{
    vmd_watchdog_free(b->watchdog);
    vm_cond_done(&b->changed);
    vm_mutex_done(&b->lock);
}

static void wait_for(Bench *b, const unsigned *count, unsigned value)
{
    vm_mutex_lock(&b->lock);
    while (*count < value) {
        vm_cond_wait(&b->changed, &b->lock);
    }
    g_assert_cmpuint(*count, ==, value);
    vm_mutex_unlock(&b->lock);
}

static void test_told(void)
{
    VmdStats stats;
    Bench b;

    begin(&b, true); /* in a step that does not end */
    wait_for(&b, &b.began, 1);
    g_assert_true(vmd_watchdog_stalled(b.watchdog));
    g_assert_cmpint(b.last.error, ==, ETIME);
    g_assert_true(b.last.stop);
    vmd_watchdog_stats(b.watchdog, &stats);
    g_assert_cmpuint(stats.trouble[VMD_TROUBLE_STALL].failures, ==, 1);
    g_assert_cmpuint(stats.trouble[VMD_TROUBLE_STALL].age_ns, >=, TIMEOUT_NS);
    vmd_watchdog_retry(b.watchdog); /* in vain */
    wait_for(&b, &b.began, 2);
    vmd_pulse_beat(&b.pulse); /* it sleeps */
    wait_for(&b, &b.over, 1);
    g_assert_false(vmd_watchdog_stalled(b.watchdog));
    vmd_watchdog_stats(b.watchdog, &stats);
    g_assert_cmpuint(stats.trouble[VMD_TROUBLE_STALL].failures, ==, 0);
    vmd_watchdog_retry(b.watchdog); /* nothing is wrong: not told */
    vmd_pulse_beat(&b.pulse);
    wait_for(&b, &b.began, 3);
    end(&b);
    g_assert_cmpuint(b.began, ==, 3);
    g_assert_cmpuint(b.over, ==, 1);
}

static void test_policy_is_report(void)
{
    Bench b;

    begin(&b, false);
    wait_for(&b, &b.began, 1);
    g_assert_false(b.last.stop);
    end(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/watchdog/same-step", test_same_step);
    g_test_add_func("/watchdog/asleep", test_asleep);
    g_test_add_func("/watchdog/busy", test_busy);
    g_test_add_func("/watchdog/wraps", test_wraps);
    g_test_add_func("/watchdog/told", test_told);
    g_test_add_func("/watchdog/policy-is-report", test_policy_is_report);
    return g_test_run();
}
