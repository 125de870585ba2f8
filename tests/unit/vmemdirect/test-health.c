/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Troubles are told at their edges: a device that fails a thousand times, or
 * that fails and works by turns, is one event at the beginning and one at the
 * end. The clock is an argument; events are counted.
 */
#include "../../../vmemdirect/health.h"

#include <errno.h>

#include "util/clock.h"

#define SECOND VM_NS_PER_SEC

typedef struct Told {
    VmdHealth health;
    unsigned began[VMD_TROUBLE__COUNT], over[VMD_TROUBLE__COUNT];
    VmdEvent last;
} Told;

static void on_event(void *opaque, const VmdEvent *event)
{
    Told *t = opaque;

    (event->over ? t->over : t->began)[event->what]++;
    t->last = *event;
}

static const VmdEvents events = { on_event };

static void init(Told *t)
{
    const bool stop[VMD_TROUBLE__COUNT] = { [VMD_TROUBLE_READ] = true };

    *t = (Told){ 0 };
    vmd_health_init(&t->health, &events, t, stop);
}

static void test_words(void)
{
    for (unsigned i = 0; i < VMD_TROUBLE__COUNT; i++) {
        for (unsigned j = 0; j < i; j++) {
            g_assert_cmpstr(vmd_trouble_to_string(i), !=,
                            vmd_trouble_to_string(j));
        }
    }
    g_assert_cmpstr(vmd_error_to_string(ENOSPC), ==, g_strerror(ENOSPC));
    g_assert_cmpstr(vmd_error_to_string(ENODATA), !=, g_strerror(ENODATA));
}

static void test_told_once(void)
{
    VmdStats s = { 0 };
    Told t;

    init(&t);
    g_assert_false(vmd_health_any(&t.health));
    for (int64_t k = 0; k < 1000; k++) {
        vmd_health_failed(&t.health, VMD_TROUBLE_WRITE, -ENOSPC, SECOND + k);
        vmd_health_step(&t.health, SECOND + k);
    }
    g_assert_cmpuint(t.began[VMD_TROUBLE_WRITE], ==, 1);
    g_assert_cmpint(t.last.error, ==, ENOSPC);
    g_assert_false(t.last.stop);
    g_assert_true(vmd_health_has(&t.health, VMD_TROUBLE_WRITE));
    g_assert_true(vmd_health_any(&t.health));
    vmd_health_stats(&t.health, 4 * SECOND, &s);
    g_assert_cmpuint(s.trouble[VMD_TROUBLE_WRITE].failures, ==, 1000);
    g_assert_cmpuint(s.trouble[VMD_TROUBLE_WRITE].age_ns, ==, 3 * SECOND);
    g_assert_cmpint(s.trouble[VMD_TROUBLE_WRITE].error, ==, ENOSPC);
    g_assert_cmpuint(s.trouble[VMD_TROUBLE_READ].failures, ==, 0);

    /* Time alone is no proof that it is over. */
    vmd_health_step(&t.health, 100 * SECOND);
    g_assert_cmpuint(t.over[VMD_TROUBLE_WRITE], ==, 0);
    vmd_health_good(&t.health, VMD_TROUBLE_WRITE, 100 * SECOND);
    vmd_health_step(&t.health, 101 * SECOND);
    g_assert_cmpuint(t.over[VMD_TROUBLE_WRITE], ==, 0);
    vmd_health_step(&t.health, 102 * SECOND);
    g_assert_cmpuint(t.over[VMD_TROUBLE_WRITE], ==, 1);
    g_assert_false(vmd_health_any(&t.health));
    vmd_health_stats(&t.health, 101 * SECOND, &s);
    g_assert_cmpuint(s.trouble[VMD_TROUBLE_WRITE].failures, ==, 0);
}

/* A file system that is nearly full: every other write fails, for an hour. */
static void test_flapping(void)
{
    Told t;

    init(&t);
    for (int64_t ms = 0; ms < 3600 * 1000; ms += 100) {
        int64_t now = ms * VM_NS_PER_MS;
        if (ms % 200 == 0) {
            vmd_health_failed(&t.health, VMD_TROUBLE_WRITE, -ENOSPC, now);
        } else {
            vmd_health_good(&t.health, VMD_TROUBLE_WRITE, now);
        }
        vmd_health_step(&t.health, now);
    }
    g_assert_cmpuint(t.began[VMD_TROUBLE_WRITE], ==, 1);
    g_assert_cmpuint(t.over[VMD_TROUBLE_WRITE], ==, 0);
}

/* Good for some seconds, bad for a moment, for an hour: told more seldom. */
static void test_relapses(void)
{
    Told t;

    init(&t);
    for (int64_t s = 0; s < 3600; s++) {
        if (s % 5 == 0) {
            vmd_health_failed(&t.health, VMD_TROUBLE_WRITE, -EIO, s * SECOND);
        } else {
            vmd_health_good(&t.health, VMD_TROUBLE_WRITE, s * SECOND);
        }
        vmd_health_step(&t.health, s * SECOND);
    }
    g_assert_cmpuint(t.began[VMD_TROUBLE_WRITE], >=, 2);
    g_assert_cmpuint(t.began[VMD_TROUBLE_WRITE], <=, 4);
    /* Once it has been well for long, the next one counts as the first. */
    vmd_health_good(&t.health, VMD_TROUBLE_WRITE, 3600 * SECOND);
    vmd_health_step(&t.health, 4000 * SECOND);
    unsigned over = t.over[VMD_TROUBLE_WRITE];
    g_assert_cmpuint(over, ==, t.began[VMD_TROUBLE_WRITE]);
    vmd_health_failed(&t.health, VMD_TROUBLE_WRITE, -EIO, 5000 * SECOND);
    vmd_health_good(&t.health, VMD_TROUBLE_WRITE, 5000 * SECOND);
    vmd_health_step(&t.health, 5002 * SECOND);
    g_assert_cmpuint(t.over[VMD_TROUBLE_WRITE], ==, over + 1);
}

/* Who says cont hears about it again if it was in vain, and only then. */
static void test_retry(void)
{
    Told t;

    init(&t);
    vmd_health_failed(&t.health, VMD_TROUBLE_READ, -EIO, SECOND);
    g_assert_true(t.last.stop);
    vmd_health_retry(&t.health);
    g_assert_cmpuint(t.began[VMD_TROUBLE_READ], ==, 1);
    vmd_health_failed(&t.health, VMD_TROUBLE_READ, -EIO, 2 * SECOND);
    vmd_health_failed(&t.health, VMD_TROUBLE_READ, -EIO, 3 * SECOND);
    g_assert_cmpuint(t.began[VMD_TROUBLE_READ], ==, 2);
    vmd_health_retry(&t.health);
    vmd_health_good(&t.health, VMD_TROUBLE_READ, 3 * SECOND);
    vmd_health_step(&t.health, 4 * SECOND); /* not calm yet */
    g_assert_cmpuint(t.over[VMD_TROUBLE_READ], ==, 0);
    vmd_health_step(&t.health, 5 * SECOND);
    g_assert_cmpuint(t.over[VMD_TROUBLE_READ], ==, 1);
}

static void test_timeout_is_over_at_once(void)
{
    Told t;

    init(&t);
    for (int64_t round = 0; round < 5; round++) {
        int64_t now = (round + 1) * 10 * SECOND;
        vmd_health_failed(&t.health, VMD_TROUBLE_TIMEOUT, -ETIMEDOUT, now);
        vmd_health_step(&t.health, now);
        g_assert_cmpuint(t.over[VMD_TROUBLE_TIMEOUT], ==, round);
        vmd_health_good(&t.health, VMD_TROUBLE_TIMEOUT, now);
        vmd_health_step(&t.health, now + 1);
        g_assert_cmpuint(t.over[VMD_TROUBLE_TIMEOUT], ==, round + 1);
    }
}

static void test_engine_is_for_ever(void)
{
    Told t;

    init(&t);
    vmd_health_failed(&t.health, VMD_TROUBLE_ENGINE, -EFAULT, SECOND);
    vmd_health_good(&t.health, VMD_TROUBLE_ENGINE, SECOND);
    vmd_health_step(&t.health, 1000 * SECOND);
    g_assert_cmpuint(t.over[VMD_TROUBLE_ENGINE], ==, 0);
    g_assert_true(vmd_health_any(&t.health));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/health/words", test_words);
    g_test_add_func("/health/told-once", test_told_once);
    g_test_add_func("/health/flapping", test_flapping);
    g_test_add_func("/health/relapses", test_relapses);
    g_test_add_func("/health/retry", test_retry);
    g_test_add_func("/health/timeout-is-over-at-once",
                    test_timeout_is_over_at_once);
    g_test_add_func("/health/engine-is-for-ever", test_engine_is_for_ever);
    return g_test_run();
}
