/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: the plan keeps to the budget, gives RAM to the hottest, leaves
 * zero chunks out, and orders the first pass from cold to hot.
 *
 * How: small cases by hand, and seeded random ones against the invariants
 * at the head of plan.c.
 */
#include "../../../migration/plan.h"

static void test_by_hand(void)
{
    static const RamChunkInfo infos[] = {
        { RAM_PLACE_RAM, 200 }, { RAM_PLACE_ZERO, 0 },
        { RAM_PLACE_SWAP, 10 }, { RAM_PLACE_RAM, 10 },
        { RAM_PLACE_RAM, 100 }, /* the short one: 3 pages */
    };
    static const ChunkNo order[] = { 2, 3, 4, 0 };
    g_autoptr(MigPlan) p = mig_plan_new(infos, 5, 8, 35, 12);

    g_assert_cmpmem(p->order, p->ordered * sizeof(ChunkNo), order,
                    sizeof(order));
    g_assert_cmpint(p->place[0], ==, RAM_PLACE_RAM);
    g_assert_cmpint(p->place[1], ==, RAM_PLACE_ZERO);
    g_assert_cmpint(p->place[2], ==, RAM_PLACE_SWAP);
    g_assert_cmpint(p->place[3], ==, RAM_PLACE_SWAP);
    g_assert_cmpint(p->place[4], ==, RAM_PLACE_RAM);
    g_assert_cmpuint(p->ram_pages, ==, 11);
    g_assert_cmpuint(p->swap_pages, ==, 16);
    g_assert_cmpuint(p->zero_pages, ==, 8);
}

static void test_no_limit_and_none(void)
{
    static const RamChunkInfo infos[] = { { RAM_PLACE_SWAP, 1 },
                                          { RAM_PLACE_RAM, 2 } };
    g_autoptr(MigPlan) all = mig_plan_new(infos, 2, 4, 8, UINT64_MAX);
    g_autoptr(MigPlan) none = mig_plan_new(infos, 2, 4, 8, 0);

    g_assert_cmpuint(all->ram_pages, ==, 8);
    g_assert_cmpuint(none->swap_pages, ==, 8);
}

static void check_invariants(const MigPlan *p, const RamChunkInfo *infos,
                             uint64_t total, uint64_t budget)
{
    g_autofree unsigned *times = g_new0(unsigned, p->chunks);
    bool in_ram = false;

    g_assert_cmpuint(p->ram_pages, <=, budget);
    g_assert_cmpuint(p->ram_pages + p->swap_pages + p->zero_pages, ==, total);
    for (uint32_t i = 0; i < p->ordered; i++) {
        ChunkNo c = p->order[i];

        times[c]++;
        g_assert_true(i == 0 ||
                      infos[p->order[i - 1]].key <= infos[c].key);
        g_assert_true(p->place[c] == RAM_PLACE_RAM || !in_ram);
        in_ram = p->place[c] == RAM_PLACE_RAM;
    }
    for (ChunkNo c = 0; c < p->chunks; c++) {
        g_assert_cmpuint(times[c], ==, infos[c].place != RAM_PLACE_ZERO);
        g_assert_true((p->place[c] == RAM_PLACE_ZERO) ==
                      (infos[c].place == RAM_PLACE_ZERO));
    }
}

static void test_random(void)
{
    for (int n = 0; n < 300; n++) {
        RamChunkInfo infos[200];
        uint32_t chunks = (uint32_t)g_test_rand_int_range(1, 200);
        uint32_t cp = (uint32_t)g_test_rand_int_range(1, 512);
        uint64_t total = (uint64_t)chunks * cp -
                         (uint64_t)g_test_rand_int_range(0, (int)cp);
        uint64_t budget = (uint64_t)g_test_rand_int_range(0, 60000);
        g_autoptr(MigPlan) p = NULL;

        for (uint32_t c = 0; c < chunks; c++) {
            infos[c].place = (RamPlace)g_test_rand_int_range(
                0, RAM_PLACE__COUNT);
            infos[c].key = (uint8_t)g_test_rand_int_range(0, 6);
        }
        p = mig_plan_new(infos, chunks, cp, total, budget);
        check_invariants(p, infos, total, budget);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/plan/by-hand", test_by_hand);
    g_test_add_func("/plan/no-limit-and-none", test_no_limit_and_none);
    g_test_add_func("/plan/random", test_random);
    return g_test_run();
}
