/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When the pager thread spins. */
#include <glib.h>

#include "../../../vmemdirect/spin.h"

#define US 1000LL
#define MS (1000 * US)

static uint64_t switches;

static uint64_t times(void)
{
    return switches;
}

static void faults(VmdSpin *spin, int64_t *now, int64_t gap, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        *now += gap;
        vmd_spin_fault(spin, *now);
    }
}

static void test_frequent(void)
{
    VmdSpin spin;
    int64_t now = MS;

    vmd_spin_init(&spin, 50 * US);
    g_assert_false(vmd_spin_again(&spin, now, times));
    faults(&spin, &now, 100 * US, 200);
    g_assert_true(vmd_spin_again(&spin, now + 90 * US, times));
    g_assert_false(vmd_spin_again(&spin, now + 300 * US, times)); /* they end */
    faults(&spin, &now, 10 * MS, 20); /* they get rare */
    g_assert_false(vmd_spin_again(&spin, now + US, times));
}

static void test_off(void)
{
    VmdSpin spin;
    int64_t now = MS;

    vmd_spin_init(&spin, 0);
    faults(&spin, &now, 10 * US, 200);
    g_assert_false(vmd_spin_again(&spin, now, times));
}

/* A turn in which somebody else had the core for so long. */
static bool turn_after(VmdSpin *spin, int64_t *now, int64_t ns)
{
    switches++;
    *now += ns;
    vmd_spin_fault(spin, *now);
    return vmd_spin_again(spin, *now, times);
}

/* Somebody else needs the core: longer and longer pauses, then short ones. */
static void test_preempted(void)
{
    VmdSpin spin;
    int64_t now = MS, pause[3];

    vmd_spin_init(&spin, 50 * US);
    for (unsigned k = 0; k < G_N_ELEMENTS(pause); k++) {
        faults(&spin, &now, 20 * US, 200);
        g_assert_true(vmd_spin_again(&spin, now, times));
        g_assert_false(turn_after(&spin, &now, 400 * US));
        int64_t began = now;
        while (!vmd_spin_again(&spin, now, times)) {
            faults(&spin, &now, 20 * US, 1);
        }
        pause[k] = now - began;
    }
    g_assert_cmpint(pause[1], >=, 2 * pause[0] - MS);
    g_assert_cmpint(pause[2], >=, 2 * pause[1] - MS);
    for (unsigned k = 0; k < 200000; k++) { /* four quiet seconds */
        faults(&spin, &now, 20 * US, 1);
        g_assert_true(vmd_spin_again(&spin, now, times));
    }
    g_assert_false(turn_after(&spin, &now, 400 * US));
    g_assert_cmpint(spin.off_until_ns - now, <=, pause[0]);
}

/* A kernel thread that comes for a moment, or a turn full of work. */
static void test_not_preempted(void)
{
    VmdSpin spin;
    int64_t now = MS;

    vmd_spin_init(&spin, 100 * US);
    faults(&spin, &now, 20 * US, 200);
    switches++; /* before it spins */
    g_assert_true(vmd_spin_again(&spin, now, times));
    for (unsigned k = 0; k < 1000; k++) {
        g_assert_true(turn_after(&spin, &now, 30 * US));
    }
    now += 350 * US; /* the thread's own work: nobody has come since */
    g_assert_true(vmd_spin_again(&spin, now, times));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/spin/frequent", test_frequent);
    g_test_add_func("/spin/off", test_off);
    g_test_add_func("/spin/preempted", test_preempted);
    g_test_add_func("/spin/not-preempted", test_not_preempted);
    return g_test_run();
}
