/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A budget that changes: growing counts at once; shrinking is done after a
 * number of steps in proportion to the excess, whatever the guest does, and
 * the limit never rises on the way; what stands in the way is named. On the
 * fake world of fake.h, where a step is a call and the device answers when
 * told to.
 */
#include <errno.h>
#include <string.h>

#include "fake.h"

#define ROOMY (FAKE_PAGES * 4)
#define SMALL (8u * FAKE_CHUNK_PAGES)
/* Steps for each chunk of the excess. A step ends one write; a chunk of 8
 * pages may take several, and what the guest gets of it as many again. */
#define STEPS_PER_CHUNK 5u
#define STEPS_MORE 8u

static Fake *new_full(void)
{
    Fake *f = fake_new(ROOMY, false);

    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        fake_write(f, page, (uint8_t)(page + 1));
    }
    return f;
}

static VmdStats stats(Fake *f)
{
    VmdStats s;

    vmd_pager_fill_stats(&f->pager, &s);
    g_assert_cmpuint(s.budget_used_bytes, <=, s.budget_limit_bytes);
    g_assert_cmpint(s.budget_obstacle != NULL, ==,
                    s.budget_state == VMD_BUDGET_CANNOT);
    return s;
}

static void assert_budget(Fake *f, VmdBudgetState state, const char *obstacle)
{
    VmdStats s = stats(f);

    g_assert_cmpstr(vmd_budget_state_to_string(s.budget_state), ==,
                    vmd_budget_state_to_string(state));
    g_assert_cmpstr(s.budget_obstacle, ==, obstacle);
    if (state == VMD_BUDGET_REACHED) {
        g_assert_cmpuint(s.budget_used_bytes, <=, s.budget_bytes);
    }
}

static void assert_content(Fake *f)
{
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(f, page), ==, (uint8_t)(page + 1));
    }
    fake_complete_all(f);
}

static unsigned allowed_steps(Fake *f, uint64_t pages)
{
    uint64_t used = vmd_used_pages(&f->pager);

    return STEPS_MORE + STEPS_PER_CHUNK *
           (unsigned)((used - MIN(used, pages)) / FAKE_CHUNK_PAGES);
}

static void complete_oldest(Fake *f, VmdIoOp op)
{
    for (unsigned i = 0; i < fake_requests(f); i++) {
        if (fake_request(f, i)->op == op) {
            fake_complete(f, i, 0);
            return;
        }
    }
}

/* The device ends one read and one write. */
static void one_step(Fake *f)
{
    uint64_t limit = f->pager.budget.limit_pages;

    fake_step(f);
    complete_oldest(f, VMD_IO_READ);
    complete_oldest(f, VMD_IO_WRITE);
    g_assert_cmpuint(f->pager.budget.limit_pages, <=, limit); /* (B2) */
}

/* Sets the budget and steps until it is reached; the guest sleeps. */
static void shrink(Fake *f, uint64_t pages)
{
    unsigned left = allowed_steps(f, pages);

    vmd_budget_set(&f->pager, pages);
    while (!vmd_budget_is_reached(&f->pager)) {
        g_assert_cmpuint(left--, >, 0);
        one_step(f);
    }
    assert_budget(f, VMD_BUDGET_REACHED, NULL);
    fake_complete_all(f);
}

static void test_shrink_dirty(void)
{
    Fake *f = new_full();

    fake_now += 5000000;
    vmd_budget_set(&f->pager, SMALL);
    assert_budget(f, VMD_BUDGET_CONVERGING, NULL);
    shrink(f, SMALL);
    g_assert_cmpuint(f->pager.stats.page_out_ops, >, 0);
    assert_content(f);
    fake_free(f);
}

/* What the file has already needs no writes. */
static void test_shrink_clean(void)
{
    Fake *f = new_full();

    for (ChunkNo c = 0; c < FAKE_CHUNKS; c++) {
        fake_swap_out(f, c);
    }
    assert_content(f);
    uint64_t written = f->pager.stats.page_out_bytes;
    shrink(f, SMALL);
    g_assert_cmpuint(f->pager.stats.page_out_bytes, ==, written);
    assert_content(f);
    fake_free(f);
}

static void test_shrink_unused(void)
{
    Fake *f = fake_new(ROOMY, false);

    fake_write(f, 0, 1);
    vmd_budget_set(&f->pager, SMALL);
    assert_budget(f, VMD_BUDGET_REACHED, NULL); /* at once */
    g_assert_cmpint(stats(f).budget_took_ns, ==, 0);
    fake_free(f);
}

/* Faults that found no memory are served with the new budget's. */
static void test_grow_counts_at_once(void)
{
    Fake *f = new_full();

    shrink(f, SMALL);
    vmd_budget_set(&f->pager, ROOMY);
    assert_budget(f, VMD_BUDGET_REACHED, NULL);
    uint64_t out = f->pager.stats.page_out_bytes;
    assert_content(f);
    g_assert_cmpuint(f->pager.stats.page_out_bytes, ==, out);
    g_assert_cmpuint(f->pager.guest_pages, ==, FAKE_PAGES);
    fake_free(f);
}

static void test_change_on_the_way(void)
{
    Fake *f = new_full();

    vmd_budget_set(&f->pager, SMALL);
    one_step(f);
    one_step(f);
    g_assert_false(vmd_budget_is_reached(&f->pager));
    vmd_budget_set(&f->pager, 2 * SMALL);
    one_step(f);
    shrink(f, SMALL);
    vmd_budget_set(&f->pager, ROOMY);
    g_assert_true(vmd_budget_is_reached(&f->pager));
    assert_content(f);
    fake_free(f);
}

/*
 * The guest writes all over its memory as fast as it can: tries so many pages
 * in each step. It gets something done all the time, and the limit comes down
 * nevertheless.
 */
static void shrink_under_load(guint32 seed, unsigned tries)
{
    Fake *f = new_full();
    GRand *rng = g_rand_new_with_seed(seed);
    unsigned left = allowed_steps(f, SMALL), done = 0, steps = 0;
    uint8_t shadow[FAKE_PAGES];

    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        shadow[page] = (uint8_t)(page + 1);
    }
    vmd_budget_set(&f->pager, SMALL);
    while (!vmd_budget_is_reached(&f->pager)) {
        g_assert_cmpuint(left--, >, 0);
        steps++;
        for (unsigned k = 0; k < tries; k++) {
            PageNo page = (PageNo)g_rand_int_range(rng, 0, FAKE_PAGES);
            uint8_t *at = fake_touch(f, page, true);
            if (at) {
                memset(at, ++shadow[page], RAM_PAGE_BYTES);
                done++;
            }
        }
        one_step(f);
    }
    g_test_message("seed %u: %u steps, %u writes", seed, steps, done);
    g_assert_cmpuint(done, >=, steps / 2);
    assert_budget(f, VMD_BUDGET_REACHED, NULL);
    fake_complete_all(f);
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(f, page), ==, shadow[page]);
    }
    fake_complete_all(f);
    g_rand_free(rng);
    fake_free(f);
}

static void test_shrink_under_load(void)
{
    for (guint32 seed = 1; seed <= 40; seed++) {
        shrink_under_load(seed, 1 + seed % 8);
    }
}

/* --- what stands in the way ---------------------------------------------- */

static void let_time_pass(Fake *f)
{
    for (int k = 0; k < 30; k++) {
        fake_now += 100000000;
        fake_step(f);
    }
}

static void test_pinned(void)
{
    Fake *f = new_full();

    for (ChunkNo c = 0; c < FAKE_CHUNKS; c++) {
        atomic_store(&f->pager.pins[c], 1);
    }
    vmd_budget_set(&f->pager, SMALL);
    fake_step(f);
    assert_budget(f, VMD_BUDGET_CONVERGING, NULL); /* may still let go */
    let_time_pass(f);
    assert_budget(f, VMD_BUDGET_CANNOT, "pinned");
    g_assert_cmpuint(f->pager.guest_pages, ==, FAKE_PAGES);

    for (ChunkNo c = 0; c < FAKE_CHUNKS; c++) {
        atomic_store(&f->pager.pins[c], 0);
    }
    shrink(f, SMALL);
    assert_content(f);
    fake_free(f);
}

static void test_write_error(void)
{
    Fake *f = new_full();

    vmd_budget_set(&f->pager, SMALL);
    fake_step(f);
    while (fake_requests(f) > 0) {
        fake_complete(f, 0, -ENOSPC);
    }
    assert_budget(f, VMD_BUDGET_CANNOT, "write-error");
    g_assert_cmpuint(f->pager.budget.limit_pages, >, SMALL);
    vmd_pager_retry(&f->pager); /* there is space again */
    one_step(f);
    shrink(f, SMALL);
    assert_content(f);
    fake_free(f);
}

static void test_device_hangs(void)
{
    Fake *f = new_full();

    vmd_budget_set(&f->pager, SMALL);
    fake_step(f);
    g_assert_cmpuint(fake_requests(f), >, 0);
    let_time_pass(f);
    assert_budget(f, VMD_BUDGET_CANNOT, "slow-io");
    fake_complete_all(f);
    shrink(f, SMALL);
    assert_content(f);
    fake_free(f);
}

/* The device has all the writes that it may have: no more chunks are taken
 * from the guest than STANDBY holds. */
static void test_moves_wait_for_writes(void)
{
    Fake *f = new_full();

    vmd_budget_set(&f->pager, SMALL);
    for (int k = 0; k < 100; k++) {
        fake_step(f);
    }
    g_assert_cmpuint(f->pager.standby_pages, <=,
                     SMALL / 8 + FAKE_CHUNK_PAGES);
    fake_complete_all(f);
    fake_free(f);
}

static void test_times(void)
{
    Fake *f = new_full();

    vmd_budget_set(&f->pager, SMALL);
    fake_now += 7000000;
    g_assert_cmpint(stats(f).budget_age_ns, ==, 7000000);
    while (!vmd_budget_is_reached(&f->pager)) {
        fake_now += 1000000;
        one_step(f);
    }
    int64_t took = stats(f).budget_took_ns;
    g_assert_cmpint(took, >, 7000000);
    fake_complete_all(f);
    fake_now += 1000000000;
    g_assert_cmpint(stats(f).budget_took_ns, ==, took);
    g_assert_cmpint(stats(f).budget_age_ns, ==, took + 1000000000);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/budget/shrink-dirty", test_shrink_dirty);
    g_test_add_func("/budget/shrink-clean", test_shrink_clean);
    g_test_add_func("/budget/shrink-unused", test_shrink_unused);
    g_test_add_func("/budget/grow-counts-at-once", test_grow_counts_at_once);
    g_test_add_func("/budget/change-on-the-way", test_change_on_the_way);
    g_test_add_func("/budget/shrink-under-load", test_shrink_under_load);
    g_test_add_func("/budget/pinned", test_pinned);
    g_test_add_func("/budget/write-error", test_write_error);
    g_test_add_func("/budget/device-hangs", test_device_hangs);
    g_test_add_func("/budget/moves-wait-for-writes",
                    test_moves_wait_for_writes);
    g_test_add_func("/budget/times", test_times);
    return g_test_run();
}
