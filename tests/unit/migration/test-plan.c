/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: the plan keeps to the budget, gives RAM to the hottest, leaves
 * zero chunks out, and orders the first pass from cold to hot.
 *
 * How: small cases by hand, and seeded random ones against the invariants
 * at the head of plan.c.
 */
#include "../../../migration/exchange.h"
#include "../../../migration/plan.h"
#include "util/bits.h"

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

/* --- chunks that change places -------------------------------------------- */

static void test_exchange_by_hand(void)
{
    static const RamPlace place[] = {
        RAM_PLACE_RAM, RAM_PLACE_SWAP, RAM_PLACE_RAM, RAM_PLACE_SWAP,
        RAM_PLACE_RAM, RAM_PLACE_ZERO, RAM_PLACE_SWAP, /* 3 pages */
    };
    static const RamChunkInfo infos[] = {
        { RAM_PLACE_RAM, 9 },   { RAM_PLACE_SWAP, 3 }, { RAM_PLACE_RAM, 0xc0 },
        { RAM_PLACE_SWAP, 50 }, { RAM_PLACE_RAM, 5 },  { RAM_PLACE_RAM, 200 },
        { RAM_PLACE_RAM, 1 },
    };
    unsigned long written = 1ul << 1 | 1ul << 3 | 1ul << 5 | 1ul << 6;
    g_autoptr(MigExchange) x =
        mig_exchange_new(place, infos, &written, 7, 8, 51, 0);

    /* 3 is hottest, and gets 4's place; 1 gets 0's. 2 is being read. */
    g_assert_cmpuint(x->to_ram_count, ==, 2);
    g_assert_cmpuint(x->to_ram[0], ==, 3);
    g_assert_cmpuint(x->to_ram[1], ==, 1);
    g_assert_cmpuint(x->to_swap_count, ==, 2);
    g_assert_cmpuint(x->to_swap[0], ==, 4);
    g_assert_cmpuint(x->to_swap[1], ==, 0);
    g_assert_cmpuint(x->room_pages, ==, 0);
}

static void test_exchange_takes_room_first(void)
{
    static const RamPlace place[] = { RAM_PLACE_RAM, RAM_PLACE_SWAP };
    static const RamChunkInfo infos[] = { { RAM_PLACE_RAM, 9 },
                                          { RAM_PLACE_SWAP, 3 } };
    unsigned long written = 1ul << 1;
    g_autoptr(MigExchange) x =
        mig_exchange_new(place, infos, &written, 2, 8, 16, 9);

    g_assert_cmpuint(x->to_ram_count, ==, 1);
    g_assert_cmpuint(x->to_swap_count, ==, 0);
    g_assert_cmpuint(x->room_pages, ==, 1);
}

static void check_exchange(const MigExchange *x, const RamPlace *place,
                           const RamChunkInfo *infos,
                           const unsigned long *written, uint32_t cp,
                           uint64_t total, uint64_t room)
{
    uint64_t gives = room, takes = 0;

    for (uint32_t i = 0; i < x->to_swap_count; i++) {
        ChunkNo c = x->to_swap[i];
        g_assert_cmpint(place[c], ==, RAM_PLACE_RAM);
        g_assert_false(vm_bit_test(written, c));
        g_assert_cmpuint(infos[c].key, <, 0xc0);
        gives += MIN(cp, total - (uint64_t)c * cp);
    }
    for (uint32_t i = 0; i < x->to_ram_count; i++) {
        ChunkNo c = x->to_ram[i];
        g_assert_cmpint(place[c], ==, RAM_PLACE_SWAP);
        g_assert_true(vm_bit_test(written, c));
        takes += MIN(cp, total - (uint64_t)c * cp);
    }
    g_assert_cmpuint(takes, <=, gives);
    g_assert_cmpuint(x->room_pages, ==, gives - takes);
    g_assert_true(x->to_swap_count == 0 || x->to_ram_count > 0);
}

static void test_exchange_random(void)
{
    for (int n = 0; n < 300; n++) {
        RamChunkInfo infos[200];
        RamPlace place[200];
        unsigned long written[4] = { 0 };
        uint32_t chunks = (uint32_t)g_test_rand_int_range(1, 200);
        uint32_t cp = (uint32_t)g_test_rand_int_range(1, 512);
        uint64_t total = (uint64_t)chunks * cp -
                         (uint64_t)g_test_rand_int_range(0, (int)cp);
        uint64_t room = (uint64_t)g_test_rand_int_range(0, 2000);
        g_autoptr(MigExchange) x = NULL;

        for (uint32_t c = 0; c < chunks; c++) {
            place[c] = (RamPlace)g_test_rand_int_range(0, RAM_PLACE__COUNT);
            infos[c].place = RAM_PLACE_RAM;
            infos[c].key = (uint8_t)g_test_rand_int_range(0, 256);
            if (g_test_rand_int_range(0, 3) == 0) {
                vm_bit_set(written, c);
            }
        }
        x = mig_exchange_new(place, infos, written, chunks, cp, total, room);
        check_exchange(x, place, infos, written, cp, total, room);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/plan/by-hand", test_by_hand);
    g_test_add_func("/plan/no-limit-and-none", test_no_limit_and_none);
    g_test_add_func("/plan/random", test_random);
    g_test_add_func("/exchange/by-hand", test_exchange_by_hand);
    g_test_add_func("/exchange/room", test_exchange_takes_room_first);
    g_test_add_func("/exchange/random", test_exchange_random);
    return g_test_run();
}
