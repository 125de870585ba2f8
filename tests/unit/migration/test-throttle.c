/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: the steps of auto-converge are those of docs/qmp.md, whatever the
 * passes are like.
 *
 * How: passes by numbers, with the arithmetic that the page describes.
 */
#include "../../../migration/throttle.h"

#include "util/clock.h"

#define LONG_NS VM_NS_PER_SEC

static const MigrationParameters defaults = {
    .throttle_trigger_threshold = 50,
    .cpu_throttle_initial = 20,
    .cpu_throttle_increment = 10,
    .max_cpu_throttle = 99,
};

/* One pass, of 1000 bytes; returns the share after it. */
static unsigned pass(MigThrottle *t, const MigrationParameters *p,
                     uint64_t dirtied_bytes)
{
    unsigned before = t->percent;
    bool changed = mig_throttle_pass(t, p, dirtied_bytes, 1000, LONG_NS);

    g_assert_cmpint(changed, ==, t->percent != before);
    return t->percent;
}

static void test_steps(void)
{
    static const unsigned want[] = { 0,  20, 20, 30, 30, 40, 40, 50, 50, 60,
                                     60, 70, 70, 80, 80, 90, 90, 99, 99, 99 };
    MigThrottle t = { 0 };

    for (size_t i = 0; i < G_N_ELEMENTS(want); i++) {
        g_assert_cmpuint(pass(&t, &defaults, 501), ==, want[i]);
    }
}

/* At the threshold there is no excess. */
static void test_threshold(void)
{
    MigrationParameters p = defaults;
    MigThrottle t = { 0 };

    for (int i = 0; i < 10; i++) {
        g_assert_cmpuint(pass(&t, &p, 500), ==, 0);
    }
    p.throttle_trigger_threshold = 100;
    for (int i = 0; i < 10; i++) {
        g_assert_cmpuint(pass(&t, &p, 1000), ==, 0);
    }
    p.throttle_trigger_threshold = 1;
    g_assert_cmpuint(pass(&t, &p, 11), ==, 0);
    g_assert_cmpuint(pass(&t, &p, 11), ==, 20);
}

/* A guest that writes in every other pass only. */
static void test_bursts(void)
{
    MigThrottle t = { 0 };

    g_assert_cmpuint(pass(&t, &defaults, 5000), ==, 0);
    g_assert_cmpuint(pass(&t, &defaults, 0), ==, 0);
    g_assert_cmpuint(pass(&t, &defaults, 5000), ==, 20);
    g_assert_cmpuint(pass(&t, &defaults, 0), ==, 20);
    g_assert_cmpuint(pass(&t, &defaults, 5000), ==, 20);
    g_assert_cmpuint(pass(&t, &defaults, 0), ==, 20);
    g_assert_cmpuint(pass(&t, &defaults, 5000), ==, 30);
}

/* Many short passes are one check. */
static void test_short_passes(void)
{
    MigThrottle t = { 0 };

    for (int check = 1; check <= 4; check++) {
        for (int i = 0; i < 9; i++) {
            g_assert_false(mig_throttle_pass(&t, &defaults, 60, 100,
                                             10 * VM_NS_PER_MS));
        }
        g_assert_cmpint(mig_throttle_pass(&t, &defaults, 60, 100,
                                          10 * VM_NS_PER_MS),
                        ==, check % 2 == 0);
    }
    g_assert_cmpuint(t.percent, ==, 30);
    /* Their sum counts: five that dirty, five that do not. */
    for (int i = 0; i < 20; i++) {
        g_assert_false(mig_throttle_pass(&t, &defaults, i % 2 ? 100 : 0, 100,
                                         10 * VM_NS_PER_MS));
    }
}

static void test_maximum(void)
{
    MigrationParameters p = defaults;
    MigThrottle t = { 0 };

    p.max_cpu_throttle = 25;
    for (int i = 0; i < 3; i++) {
        (void)pass(&t, &p, 1000);
    }
    g_assert_cmpuint(pass(&t, &p, 1000), ==, 25);
    (void)pass(&t, &p, 1000);
    g_assert_cmpuint(pass(&t, &p, 1000), ==, 25);
    /* Lowered while the migration runs: it holds from the next step on. */
    p.max_cpu_throttle = 21;
    (void)pass(&t, &p, 1000);
    g_assert_cmpuint(pass(&t, &p, 1000), ==, 21);
}

/* The last steps: what would be just enough, if that is less. */
static void test_tailslow(void)
{
    MigrationParameters p = defaults;
    MigThrottle t = { 0 };

    p.cpu_throttle_tailslow = 1;
    (void)pass(&t, &p, 1000);
    g_assert_cmpuint(pass(&t, &p, 1000), ==, 20); /* the first is initial */
    (void)pass(&t, &p, 1000);
    /* 80 % run; 40 % would do: that is farther than a step. */
    g_assert_cmpuint(pass(&t, &p, 1000), ==, 30);
    (void)pass(&t, &p, 520);
    /* 70 * 500 / 520 = 67.3, rounded down: 3 more. */
    g_assert_cmpuint(pass(&t, &p, 520), ==, 33);
    (void)pass(&t, &p, 501);
    /* 67 * 500 / 501 = 66.9: 1 more, never none. */
    g_assert_cmpuint(pass(&t, &p, 501), ==, 34);
    p.max_cpu_throttle = 36;
    (void)pass(&t, &p, 1000);
    g_assert_cmpuint(pass(&t, &p, 1000), ==, 36);
}

/* Nothing sent, or as much as there are numbers: no trap, no wrong turn. */
static void test_extremes(void)
{
    MigrationParameters p = defaults;
    MigThrottle t = { 0 };

    p.cpu_throttle_tailslow = 1;
    g_assert_false(mig_throttle_pass(&t, &p, 0, 0, LONG_NS));
    g_assert_false(mig_throttle_pass(&t, &p, 1, 0, LONG_NS));
    g_assert_true(mig_throttle_pass(&t, &p, UINT64_MAX, 0, LONG_NS));
    g_assert_cmpuint(t.percent, ==, 20);
    g_assert_false(mig_throttle_pass(&t, &p, 1, 0, LONG_NS));
    g_assert_true(mig_throttle_pass(&t, &p, UINT64_MAX, UINT64_MAX, LONG_NS));
    g_assert_cmpuint(t.percent, ==, 30);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/throttle/steps", test_steps);
    g_test_add_func("/throttle/threshold", test_threshold);
    g_test_add_func("/throttle/bursts", test_bursts);
    g_test_add_func("/throttle/short-passes", test_short_passes);
    g_test_add_func("/throttle/maximum", test_maximum);
    g_test_add_func("/throttle/tailslow", test_tailslow);
    g_test_add_func("/throttle/extremes", test_extremes);
    return g_test_run();
}
