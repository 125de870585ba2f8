/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The access history: 8 bits a page, exact to its definition.
 *
 * How: the pager on the fake world of fake.h; the clock stands where the test
 * puts it. A model beside it has its own 8 bits a page.
 */
#include <string.h>

#include "fake.h"

#define ROOMY (64 * FAKE_CHUNK_PAGES)
#define INTERVAL 1000000000 /* fake.c's */
#define CHUNK 1u            /* the chunk that most tests look at */
#define FIRST (CHUNK * FAKE_CHUNK_PAGES)

static int no_collect(VmdTracker *t, PageNo first, uint32_t count,
                      unsigned long *accessed)
{
    return 0;
}

static const VmdTrackerOps observing_ops = { .name = "observing",
                                             .collect = no_collect };
static VmdTracker observing = { .ops = &observing_ops };

/* A pager, 1 ns ahead of the first interval's middle. */
static Fake *new_in_mid_interval(bool soft)
{
    Fake *f = fake_new(ROOMY, soft);

    fake_now += INTERVAL / 2;
    fake_step(f);
    return f;
}

/* The bits of a page, as they are at this moment. */
static uint8_t bits(Fake *f, PageNo page)
{
    ChunkNo c = (ChunkNo)(page / FAKE_CHUNK_PAGES);

    vmd_history_advance(&f->pager, fake_now);
    vmd_history_catch_up(&f->pager, c);
    vmd_pager_check(&f->pager);
    return f->pager.history[page];
}

static void touch(Fake *f, PageNo page)
{
    vmd_history_advance(&f->pager, fake_now);
    (void)fake_read(f, page);
    fake_complete_all(f);
}

static void fill(Fake *f, ChunkNo c)
{
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        fake_write(f, c * FAKE_CHUNK_PAGES + i, (uint8_t)(i + 1));
    }
}

static void set_all(Fake *f, uint8_t value)
{
    uint8_t history[FAKE_CHUNK_PAGES];

    memset(history, value, sizeof(history));
    vmd_history_set(&f->pager, CHUNK, history);
}

static void observe(Fake *f, uint8_t accessed)
{
    unsigned long map[1] = { (unsigned long)accessed << FIRST };

    vmd_history_advance(&f->pager, fake_now);
    vmd_history_observe(&f->pager, 0, FIRST + FAKE_CHUNK_PAGES, map);
    vmd_pager_check(&f->pager);
}

/* --- aging --------------------------------------------------------------- */

static void test_shifts_and_sets_the_top_bit(void)
{
    Fake *f = new_in_mid_interval(false);

    fill(f, CHUNK);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x80);
    fake_swap_out(f, CHUNK); /* known not to be accessed from here on */
    for (unsigned k = 1; k <= 9; k++) {
        fake_now += INTERVAL;
        g_assert_cmphex(bits(f, FIRST), ==, 0x80 >> k);
        g_assert_cmphex(f->pager.chunks[CHUNK].key, ==, 0x80 >> k);
    }
    set_all(f, 0xff);
    touch(f, FIRST);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0xff);
    g_assert_cmphex(bits(f, FIRST + 1), ==, 0x7f);
    fake_free(f);
}

/* The border belongs to the interval that begins with it. */
static void test_borders(void)
{
    Fake *f = fake_new(ROOMY, false);
    int64_t border = fake_now + 3 * (int64_t)INTERVAL;

    fill(f, CHUNK);
    fake_swap_out(f, CHUNK);
    fake_now = border - 1;
    set_all(f, 0);
    touch(f, FIRST);
    fake_standby(f, CHUNK);
    fake_now = border;
    touch(f, FIRST + 1);
    g_assert_cmphex(f->pager.history[FIRST], ==, 0x80);
    g_assert_cmphex(f->pager.history[FIRST + 1], ==, 0);
    fake_standby(f, CHUNK);
    fake_now = border + INTERVAL - 1;
    g_assert_cmphex(bits(f, FIRST), ==, 0x80);
    fake_now = border + INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x40);
    g_assert_cmphex(bits(f, FIRST + 1), ==, 0x80);
    fake_free(f);
}

/* Two intervals missed are two shifts, and so on; nothing comes out of a
 * stall of any length but zeros. */
static void test_late(void)
{
    for (unsigned missed = 0; missed < 12; missed++) {
        Fake *f = new_in_mid_interval(false);
        fill(f, CHUNK);
        fake_standby(f, CHUNK);
        set_all(f, 0xff);
        touch(f, FIRST);
        fake_standby(f, CHUNK);
        fake_now += (int64_t)(missed + 1) * INTERVAL;
        fake_step(f);
        /* In the first of them it was accessed. */
        g_assert_cmphex(bits(f, FIRST), ==, 0xff >> missed);
        g_assert_cmphex(bits(f, FIRST + 1), ==, 0xff >> (missed + 1));
        fake_free(f);
    }
    Fake *f = new_in_mid_interval(false);
    fill(f, CHUNK);
    fake_standby(f, CHUNK);
    for (int64_t stall = 65535; stall <= 65537; stall++) {
        set_all(f, 0xff);
        fake_now += stall * INTERVAL;
        g_assert_cmphex(bits(f, FIRST), ==, 0);
    }
    fake_free(f);
}

/* What was accessed after a stall, was accessed then, although the walk has
 * not come round since. */
static void test_access_after_stall(void)
{
    Fake *f = new_in_mid_interval(false);

    fill(f, CHUNK);
    fake_standby(f, CHUNK);
    set_all(f, 0);
    fake_now += 3 * (int64_t)INTERVAL;
    touch(f, FIRST);
    fake_standby(f, CHUNK);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x80);
    fake_free(f);
}

/* Nothing is known of a resident chunk without faults: it keeps its bits. */
static void test_unknown_keeps(void)
{
    Fake *f = new_in_mid_interval(false);

    fill(f, CHUNK);
    set_all(f, 0xa5);
    fake_now += 3 * (int64_t)INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0xa5);
    fake_standby(f, CHUNK); /* counts from here on */
    g_assert_cmphex(bits(f, FIRST), ==, 0xa5);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0xa5 >> 1);
    touch(f, FIRST + 3);
    fake_now += 2 * (int64_t)INTERVAL; /* one of them unknown */
    g_assert_cmphex(bits(f, FIRST), ==, 0xa5 >> 2);
    g_assert_cmphex(bits(f, FIRST + 3), ==, 0x80 | 0xa5 >> 2);
    fake_free(f);
}

/* The largest value; of a page accessed by now, as if the interval ended. */
static void test_key(void)
{
    Fake *f = new_in_mid_interval(false);
    uint8_t history[FAKE_CHUNK_PAGES] = { 1, 0x41, 0, 0x30 };

    fill(f, CHUNK);
    fake_standby(f, CHUNK);
    vmd_history_set(&f->pager, CHUNK, history);
    g_assert_cmphex(f->pager.chunks[CHUNK].key, ==, 0x41);
    touch(f, FIRST + 3);
    g_assert_cmphex(f->pager.chunks[CHUNK].key, ==, 0x98);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST + 3), ==, 0x98);
    g_assert_cmphex(f->pager.chunks[CHUNK].key, ==, 0x98);
    g_assert_cmphex(bits(f, FIRST + 1), ==, 0x20);
    fake_free(f);
}

/* Chunks in every state, accesses and late steps at random, against a model
 * of the definition. */
static void test_model(void)
{
    uint8_t model[FAKE_PAGES] = { 0 };
    bool accessed[FAKE_PAGES] = { false };
    GRand *rng = g_rand_new_with_seed(7);
    Fake *f = new_in_mid_interval(false);
    int64_t end = fake_now + INTERVAL / 2;

    for (ChunkNo c = 0; c + 1 < FAKE_CHUNKS; c++) {
        fill(f, c);
    }
    memset(f->pager.history, 0, FAKE_PAGES);
    for (ChunkNo c = 0; c < FAKE_CHUNKS; c++) {
        vmd_history_set(&f->pager, c, model);
    }
    for (unsigned k = 0; k < 3000; k++) {
        PageNo page = (PageNo)g_rand_int_range(rng, 0, FAKE_PAGES - 8);
        ChunkNo c = (ChunkNo)(page / FAKE_CHUNK_PAGES);
        if (fake_state(f, c) == VMD_RESIDENT) {
            /* Out, and so known, in each interval: the definition itself. */
            fake_standby(f, c);
        } else if (g_rand_boolean(rng)) {
            touch(f, page);
            accessed[page] = true;
            fake_standby(f, c);
        }
        fake_now += g_rand_int_range(rng, 0, INTERVAL / 4);
        if (g_rand_int_range(rng, 0, 50) == 0) {
            fake_now += g_rand_int_range(rng, 0, 3) * (int64_t)INTERVAL;
        }
        for (; fake_now >= end; end += INTERVAL) {
            for (PageNo i = 0; i < FAKE_PAGES; i++) {
                model[i] = (uint8_t)(model[i] >> 1 | (accessed[i] ? 0x80 : 0));
                accessed[i] = false;
            }
        }
        vmd_history_advance(&f->pager, fake_now);
        if (g_rand_boolean(rng)) {
            fake_step(f);
        }
        if (fake_state(f, c) == VMD_STANDBY) {
            for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
                PageNo p = c * FAKE_CHUNK_PAGES + i;
                g_assert_cmphex(bits(f, p), ==, model[p]);
            }
        }
        /* What stays resident over a border is unknown: not in the model. */
        for (ChunkNo r = 0; r + 1 < FAKE_CHUNKS; r++) {
            if (fake_state(f, r) == VMD_RESIDENT) {
                memset(model + r * FAKE_CHUNK_PAGES, 0, FAKE_CHUNK_PAGES);
                vmd_history_set(&f->pager, r, model + r * FAKE_CHUNK_PAGES);
            }
        }
    }
    fake_complete_all(f);
    fake_free(f);
    g_rand_free(rng);
}

static int64_t still(void)
{
    return fake_now;
}

/* All chunks are resident while they are looked at. */
static void observe_all(VmdPager *p, uint32_t count,
                        const unsigned long *accessed)
{
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        p->chunks[c].state = VMD_FILLING;
    }
    vmd_history_observe(p, 0, count, accessed);
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        p->chunks[c].state = VMD_ZERO;
    }
}

/* Chunks of more pages than are shifted at once, and a short last one. */
static void test_wide_chunks(void)
{
    enum { CHUNK_PAGES = 64, COUNT = 4 * CHUNK_PAGES + 39 };
    VmdPager *p = g_new0(VmdPager, 1);
    GRand *rng = g_rand_new_with_seed(11);
    uint8_t model[COUNT];

    p->cfg = (VmdPagerConfig){ .pages = COUNT, .chunk_pages = CHUNK_PAGES,
                               .aging_interval_ns = INTERVAL,
                               .now_ns = still };
    p->chunk_count = 5;
    p->chunks = g_new0(VmdChunk, p->chunk_count); /* ZERO: known */
    p->present = vm_bitmap_new(COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        if (i % 7 != 3) {
            vm_bit_set(p->present, i);
        }
    }
    vmd_history_init(p);
    for (unsigned round = 0; round < 200; round++) {
        int missed = g_rand_int_range(rng, 0, 11);
        bool accessed[COUNT] = { false };
        unsigned long seen[COUNT / 64 + 1] = { 0 };
        for (unsigned i = 0; i < COUNT; i++) {
            model[i] = (uint8_t)g_rand_int_range(rng, 0, 256);
        }
        for (ChunkNo c = 0; c < p->chunk_count; c++) {
            vmd_history_set(p, c, model + c * CHUNK_PAGES);
        }
        bool see = g_rand_boolean(rng); /* by observation, or by faults */
        p->tracker = see ? &observing : NULL;
        for (unsigned k = 0; k < 80; k++) {
            PageNo page = (PageNo)g_rand_int_range(rng, 0, COUNT);
            if (see) {
                vm_bit_set(seen, page);
            } else {
                vmd_history_accessed(p, page);
            }
            accessed[page] = !see || vm_bit_test(p->present, page);
        }
        if (see) {
            observe_all(p, COUNT, seen);
            missed = 0; /* of these nothing would be known */
        }
        fake_now += (missed + 1) * (int64_t)INTERVAL;
        vmd_history_advance(p, fake_now);
        for (ChunkNo c = 0; c < p->chunk_count; c++) {
            uint8_t key = 0;
            vmd_history_catch_up(p, c);
            for (unsigned i = c * CHUNK_PAGES;
                 i < MIN((c + 1) * CHUNK_PAGES, COUNT); i++) {
                unsigned value = (unsigned)model[i] >> 1 |
                                 (accessed[i] ? 0x80u : 0);
                g_assert_cmphex(p->history[i], ==, value >> missed);
                key = MAX(key, p->history[i]);
            }
            g_assert_cmphex(p->chunks[c].key, ==, key);
        }
    }
    vmd_history_done(p);
    g_free(p->present);
    g_free(p->chunks);
    g_free(p);
    g_rand_free(rng);
}

/* The walk passes every chunk once an interval, whatever else happens. */
static void test_walk(void)
{
    Fake *f = fake_new(ROOMY, false);

    for (ChunkNo c = 0; c < 20; c++) {
        fill(f, c);
        fake_standby(f, c);
    }
    fake_now += INTERVAL;
    for (unsigned s = 0; s < VMD_AGING_SLICES; s++) {
        fake_step(f);
        fake_now += INTERVAL / VMD_AGING_SLICES;
    }
    for (ChunkNo c = 0; c < 20; c++) {
        g_assert_cmphex(f->pager.history[c * FAKE_CHUNK_PAGES], ==, 0x80);
    }
    fake_free(f);
}

/* --- a guest that stands still -------------------------------------------- */

static void set_running(Fake *f, bool running)
{
    vmd_history_set_running(&f->pager, running, fake_now);
}

/* However long it stands: the interval in which it stopped goes on, with what
 * was left of it, and what is touched meanwhile is of that interval. */
static void test_stands(void)
{
    Fake *f = new_in_mid_interval(false);

    fill(f, CHUNK);
    fake_standby(f, CHUNK);
    set_all(f, 0xff);
    set_running(f, false);
    for (unsigned k = 0; k < 100; k++) {
        fake_now += INTERVAL / 3;
        fake_step(f);
        g_assert_cmphex(bits(f, FIRST), ==, 0xff);
    }
    touch(f, FIRST); /* a device, or the monitor */
    fake_standby(f, CHUNK);
    set_running(f, false); /* once is enough */
    fake_now += INTERVAL;
    set_running(f, true);
    set_running(f, true);
    fake_now += INTERVAL / 2 - 1;
    g_assert_cmphex(bits(f, FIRST + 1), ==, 0xff);
    fake_now += 1;
    g_assert_cmphex(bits(f, FIRST), ==, 0xff);
    g_assert_cmphex(bits(f, FIRST + 1), ==, 0x7f);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x7f);
    g_assert_cmphex(bits(f, FIRST + 1), ==, 0x3f);
    fake_free(f);
}

/* Intervals that had ended before, but were not yet looked at, count. */
static void test_stands_after_a_stall(void)
{
    Fake *f = new_in_mid_interval(false);

    fill(f, CHUNK);
    fake_standby(f, CHUNK);
    set_all(f, 0xff);
    fake_now += 2 * (int64_t)INTERVAL;
    set_running(f, false);
    fake_now += 5 * (int64_t)INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x3f);
    set_running(f, true);
    g_assert_cmphex(bits(f, FIRST), ==, 0x3f);
    fake_free(f);
}

/* --- observing trackers -------------------------------------------------- */

static void test_observed(void)
{
    Fake *f = new_in_mid_interval(false);

    f->pager.tracker = &observing;
    fill(f, CHUNK);
    observe(f, 0x00); /* it came in meanwhile: not listened to */
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0); /* not aged: nothing is known */
    g_assert_cmphex(f->pager.chunks[CHUNK].key, ==, 0x80);
    observe(f, 0x02);
    g_assert_cmphex(f->pager.chunks[CHUNK].key, ==, 0x80);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x80); /* the fill */
    g_assert_cmphex(bits(f, FIRST + 1), ==, 0x80);
    for (unsigned k = 1; k <= 3; k++) {
        observe(f, 0x02);
        fake_now += INTERVAL;
        g_assert_cmphex(bits(f, FIRST), ==, 0x80 >> k);
        g_assert_cmphex(bits(f, FIRST + 1), ==, (0xff00 >> (k + 1)) & 0xff);
    }
    /* Two observations in an interval are one, none are none. */
    observe(f, 0x01);
    observe(f, 0x00);
    fake_now += 4 * (int64_t)INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x88);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x88);
    fake_free(f);
}

/* A fault in a chunk that is observed elsewhere says nothing of the rest. */
static void test_observed_fault_is_not_all(void)
{
    Fake *f = new_in_mid_interval(false);

    f->pager.tracker = &observing;
    fake_write(f, FIRST, 1);
    set_all(f, 0x40);
    observe(f, 0);
    observe(f, 0);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x20);
    vmd_history_accessed(&f->pager, FIRST + 7);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x20);
    observe(f, 0);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0x10);
    g_assert_cmphex(bits(f, FIRST + 7), ==, 0x90);
    fake_free(f);
}

/* Bits of pages that are not there are not believed. */
static void test_observed_absent(void)
{
    Fake *f = new_in_mid_interval(false);

    f->pager.tracker = &observing;
    fill(f, CHUNK);
    fake_standby(f, CHUNK);
    set_all(f, 0);
    observe(f, 0xff);
    fake_now += INTERVAL;
    g_assert_cmphex(bits(f, FIRST), ==, 0);
    fake_free(f);
}

/* --- victims, soft tracker ----------------------------------------------- */

static void test_coldest_goes_first(void)
{
    Fake *f = fake_new(ROOMY, false);
    uint8_t hot[FAKE_CHUNK_PAGES] = { 0xff }, cold[FAKE_CHUNK_PAGES] = { 1 };

    for (ChunkNo c = 0; c < 3; c++) {
        fill(f, c);
    }
    vmd_history_set(&f->pager, 0, hot);
    vmd_history_set(&f->pager, 1, cold);
    vmd_history_set(&f->pager, 2, hot);
    g_assert_cmpuint(vmd_resident_coldest(&f->pager), ==, 1);
    fake_free(f);
}

/* One whole aging interval. */
static void age(Fake *f)
{
    for (unsigned s = 0; s < VMD_AGING_SLICES; s++) {
        fake_now += INTERVAL / VMD_AGING_SLICES;
        fake_step(f);
    }
}

static void test_soft_tracker_finds_the_hot(void)
{
    Fake *f = fake_new(ROOMY, true);

    for (ChunkNo c = 0; c < 20; c++) {
        fill(f, c);
    }
    for (int k = 0; k < 40; k++) {
        for (ChunkNo c = 0; c < 4; c++) {
            (void)fake_read(f, c * 8);
        }
        age(f);
    }
    for (ChunkNo c = 4; c < 20; c++) {
        g_assert_cmpuint(f->pager.chunks[c].key, <, 0x10);
    }
    for (ChunkNo c = 0; c < 4; c++) {
        g_assert_cmpuint(f->pager.chunks[c].key, >=, 0x20);
    }
    g_assert_cmpint(atomic_load(&f->pager.tracker->round_ns), >, 0);
    fake_free(f);
}

static void test_soft_tracker_rests(void)
{
    Fake *f = fake_new(ROOMY, true);

    for (ChunkNo c = 0; c < 20; c++) {
        fill(f, c);
    }
    vmd_history_set_running(&f->pager, false, fake_now);
    for (int k = 0; k < 40; k++) {
        age(f);
    }
    for (ChunkNo c = 0; c < 20; c++) {
        g_assert_false(f->pager.chunks[c].sampled);
        g_assert_cmphex(f->pager.chunks[c].key, ==, 0x80);
    }
    vmd_history_set_running(&f->pager, true, fake_now);
    age(f);
    age(f);
    unsigned sampled = 0;
    for (ChunkNo c = 0; c < 20; c++) {
        sampled += f->pager.chunks[c].sampled;
    }
    g_assert_cmpuint(sampled, >, 0);
    fake_free(f);
}

/* Every look at the clock takes 100 us, and so does a move. */
static int64_t slow_clock(void)
{
    return fake_now += 100000;
}

static void test_soft_tracker_pays(void)
{
    Fake *f = fake_new(ROOMY, true);
    unsigned moved = 0;

    for (ChunkNo c = 0; c < 20; c++) {
        fill(f, c);
    }
    age(f);
    age(f);
    f->pager.cfg.now_ns = slow_clock;
    int64_t before = atomic_load(&f->pager.tracker->spent_ns);
    int64_t start = fake_now;
    for (int k = 0; k < 20; k++) {
        for (ChunkNo c = 0; c < 20; c++) {
            moved += f->pager.chunks[c].sampled;
            (void)fake_read(f, c * 8);
        }
        age(f);
    }
    int64_t spent = atomic_load(&f->pager.tracker->spent_ns) - before;
    g_assert_cmpuint(moved, >, 0);
    g_assert_cmpint(spent, >, 0);
    g_assert_cmpint(spent, <=, (fake_now - start) / 100 + INTERVAL / 16);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/history/shifts-and-sets-the-top-bit",
                    test_shifts_and_sets_the_top_bit);
    g_test_add_func("/history/borders", test_borders);
    g_test_add_func("/history/late", test_late);
    g_test_add_func("/history/access-after-stall", test_access_after_stall);
    g_test_add_func("/history/unknown-keeps", test_unknown_keeps);
    g_test_add_func("/history/key", test_key);
    g_test_add_func("/history/model", test_model);
    g_test_add_func("/history/wide-chunks", test_wide_chunks);
    g_test_add_func("/history/walk", test_walk);
    g_test_add_func("/history/stands", test_stands);
    g_test_add_func("/history/stands-after-a-stall",
                    test_stands_after_a_stall);
    g_test_add_func("/history/observed", test_observed);
    g_test_add_func("/history/observed-fault-is-not-all",
                    test_observed_fault_is_not_all);
    g_test_add_func("/history/observed-absent", test_observed_absent);
    g_test_add_func("/history/coldest-goes-first", test_coldest_goes_first);
    g_test_add_func("/soft/finds-the-hot", test_soft_tracker_finds_the_hot);
    g_test_add_func("/soft/rests", test_soft_tracker_rests);
    g_test_add_func("/soft/pays", test_soft_tracker_pays);
    return g_test_run();
}
