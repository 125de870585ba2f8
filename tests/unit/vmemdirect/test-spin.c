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

/* Somebody else wants the core: longer and longer pauses, then short ones. */
static void test_preempted(void)
{
    VmdSpin spin;
    int64_t now = MS, pause[3];

    vmd_spin_init(&spin, 50 * US);
    for (unsigned k = 0; k < G_N_ELEMENTS(pause); k++) {
        faults(&spin, &now, 20 * US, 200);
        g_assert_true(vmd_spin_again(&spin, now, times));
        switches++;
        g_assert_false(vmd_spin_again(&spin, now, times));
        int64_t began = now;
        while (!vmd_spin_again(&spin, now, times)) {
            faults(&spin, &now, 20 * US, 1);
        }
        pause[k] = now - began;
    }
    g_assert_cmpint(pause[1], >=, 2 * pause[0] - MS);
    g_assert_cmpint(pause[2], >=, 2 * pause[1] - MS);
    faults(&spin, &now, 20 * US, 200000); /* four quiet seconds */
    g_assert_true(vmd_spin_again(&spin, now, times));
    switches++;
    g_assert_false(vmd_spin_again(&spin, now, times));
    g_assert_cmpint(spin.off_until_ns - now, <=, pause[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/spin/frequent", test_frequent);
    g_test_add_func("/spin/off", test_off);
    g_test_add_func("/spin/preempted", test_preempted);
    return g_test_run();
}
