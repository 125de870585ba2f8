/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: a migration moves every byte and every device to where the plan
 * says, at most one side runs at any time, and whatever fails or is
 * cancelled leaves the source as it was.
 *
 * How: both sides in this process, over real sockets, with fake VMs.
 */
#include "fake-vm.h"

#include <string.h>

#define PAGES 515u /* the last chunk is a short one */
#define CHUNK 16u

static void pair_listen(FakePair *p)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(migration_listen(p->dst->mig, p->uri, &err));
    g_assert_no_error(err);
    g_assert_cmpstr(migration_listen_address(p->dst->mig), ==, p->uri);
}

static void pair_start(FakePair *p)
{
    g_autoptr(GError) err = NULL;

    fake_vm_set_bandwidth(p->src, 0);
    g_assert_true(migration_start(p->src->mig, p->uri, &err));
    g_assert_no_error(err);
}

static void expect_moved(FakePair *p)
{
    if (fake_vm_wait(p->src) != MIGRATION_COMPLETED) {
        g_test_message("source: %s", p->src->error);
    }
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_COMPLETED);
    g_assert_false(fake_vm_runs(p->src));
    g_assert_true(fake_vm_runs(p->dst));
    g_assert_cmpint(p->world.image_owners, ==, 1);
    g_assert_cmpint(p->dst->starts, ==, 1);
    g_assert_cmpint(p->src->resumes, ==, 0);
    g_assert_true(fake_vm_equal(p->src, p->dst));
}

static void expect_stayed(FakePair *p, MigrationStatus status)
{
    g_assert_cmpint(fake_vm_wait(p->src), ==, status);
    g_assert_true(fake_vm_runs(p->src));
    g_assert_false(fake_vm_runs(p->dst));
    g_assert_true(p->src->owns_images);
    g_assert_cmpint(p->dst->starts, ==, 0);
    g_assert_cmpint(p->src->resumes, ==, p->src->stops);
}

static const FakeVmConfig plain = { PAGES, CHUNK, UINT64_MAX, NULL, 0 };
static const FakeVmConfig plain_other_chunk = { PAGES, 64, UINT64_MAX, NULL,
                                                0 };
static const FakeVmConfig paged = { PAGES, CHUNK, 10 * CHUNK, NULL, 0 };
static const FakeVmConfig paged_smaller_chunk = { PAGES, 4, 160, NULL, 0 };
static const FakeVmConfig paged_other_chunk = { PAGES, 6, 80, NULL, 0 };

typedef struct Case {
    const FakeVmConfig *src, *dst;
} Case;

static void test_moves(const void *data)
{
    const Case *c = data;
    FakePair *p = fake_pair_new(c->src, c->dst);
    MigrationInfo info;

    pair_listen(p);
    pair_start(p);
    expect_moved(p);
    migration_query(p->src->mig, &info);
    g_assert_cmpint(info.status, ==, MIGRATION_COMPLETED);
    g_assert_cmpuint(info.transferred_bytes, >, 0);
    g_assert_cmpuint(info.ram_remaining_bytes, ==, 0);
    g_assert_cmpuint(info.sent_ram_bytes + info.sent_swap_bytes, ==,
                     info.normal_pages * RAM_PAGE_BYTES);
    g_assert_null(migration_listen_address(p->dst->mig));
    fake_pair_free(p);
}

/* The hottest chunks that fit are in RAM, the rest in swap; histories come. */
static void test_placement(void)
{
    FakePair *p = fake_pair_new(&paged, &paged);
    uint64_t ram_pages = 0;
    int coldest_ram = 256, hottest_swap = -1;

    pair_listen(p);
    pair_start(p);
    expect_moved(p);
    for (ChunkNo c = 0; c < (PAGES + CHUNK - 1) / CHUNK; c++) {
        RamPlace place = fake_pager_place(p->dst, c);
        int key = (uint8_t)(c * 3 + 1);

        if (c % 4 == 0) {
            g_assert_cmpint(place, ==, RAM_PLACE_ZERO);
            continue;
        }
        g_assert_cmpint(fake_pager_history(p->dst, c, 1), ==,
                        (uint8_t)((c * CHUNK + 1) ^ 42));
        if (place == RAM_PLACE_RAM) {
            ram_pages += CHUNK;
            coldest_ram = MIN(coldest_ram, key);
        } else {
            hottest_swap = MAX(hottest_swap, key);
        }
    }
    g_assert_cmpuint(ram_pages, ==, 10 * CHUNK);
    g_assert_cmpint(hottest_swap, <=, coldest_ram);
    fake_pair_free(p);
}

static uint64_t ram_pages_at(FakeVm *f)
{
    uint64_t pages = 0;

    for (ChunkNo c = 0; c < (PAGES + CHUNK - 1) / CHUNK; c++) {
        pages += fake_pager_place(f, c) == RAM_PLACE_RAM ? CHUNK : 0;
    }
    return pages;
}

/* Chunk 1 is one of the coldest, but written while it is sent: it gets the
 * place of the coldest one in RAM that is not. times: how often. */
static void test_exchange(const void *data)
{
    unsigned times = GPOINTER_TO_UINT(data);
    FakePair *p = fake_pair_new(&paged, &paged);
    MigrationInfo info;

    fake_pager_redirty_chunk(p->src, 1, times);
    pair_listen(p);
    pair_start(p);
    expect_moved(p);
    g_assert_cmpint(fake_pager_place(p->dst, 1), ==, RAM_PLACE_RAM);
    g_assert_cmpuint(ram_pages_at(p->dst), <=, 10 * CHUNK);
    g_assert_cmpuint(ram_pages_at(p->dst), >=, 9 * CHUNK);
    migration_query(p->src->mig, &info);
    /* All, the exchange, the last one: what is in RAM makes no more. */
    g_assert_cmpuint(info.dirty_sync_count, ==, 3);
    fake_pair_free(p);
}

/* Each pass another chunk of the destination's swap is written: it ends. */
static void test_exchange_ends(void)
{
    FakePair *p = fake_pair_new(&paged, &paged);
    MigrationInfo info;

    fake_pager_redirty(p->src);
    pair_listen(p);
    pair_start(p);
    expect_moved(p);
    g_assert_cmpuint(ram_pages_at(p->dst), <=, 10 * CHUNK);
    migration_query(p->src->mig, &info);
    g_assert_cmpuint(info.dirty_sync_count, <=, 5);
    fake_pair_free(p);
}

static void test_dirtying(const void *data)
{
    const Case *c = data;

    for (int round = 0; round < 5; round++) {
        FakePair *p = fake_pair_new(c->src, c->dst);

        /* Chunk 1 and 3 are in RAM; between them the swapped one. */
        fake_vm_start_guest(p->src, MIN(CHUNK, c->src->chunk_pages),
                            MIN(CHUNK, c->src->chunk_pages));
        pair_listen(p);
        pair_start(p);
        expect_moved(p);
        g_assert_cmpuint(p->src->guest_writes, >, 0);
        fake_pair_free(p);
    }
}

/* There and back again, with the same objects. */
static void test_back(void)
{
    FakePair *p = fake_pair_new(&paged, &plain);
    g_autoptr(GError) err = NULL;

    pair_listen(p);
    pair_start(p);
    expect_moved(p);
    g_array_set_size(p->src->statuses, 0);
    g_array_set_size(p->dst->statuses, 0);
    g_assert_true(migration_listen(p->src->mig, p->uri, &err));
    g_assert_true(migration_start(p->dst->mig, p->uri, &err));
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_COMPLETED);
    g_assert_true(fake_vm_runs(p->src));
    g_assert_true(fake_vm_equal(p->src, p->dst));
    fake_pair_free(p);
}

/* Whoever lets it run later takes its images then, and not sooner. */
static void test_late_block_activate(void)
{
    const MigrationCapabilities late = { .late_block_activate = true };

    for (int paused = 0; paused < 2; paused++) {
        FakePair *p = fake_pair_new(&plain, &plain);
        bool was;

        if (paused) {
            p->src->vm.stop(p->src, &was);
        }
        g_assert_true(
            migration_set_capabilities(p->dst->mig, &late, NULL));
        pair_listen(p);
        pair_start(p);
        g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_COMPLETED);
        g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_COMPLETED);
        g_assert_true(fake_vm_runs(p->dst) == !paused);
        g_assert_true(p->dst->owns_images == !paused);
        g_assert_false(p->src->owns_images);
        fake_pair_free(p);
    }
}

/* A paused guest arrives paused, and its images with it. */
static void test_paused(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);
    bool was;

    p->src->vm.stop(p->src, &was);
    pair_listen(p);
    pair_start(p);
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_COMPLETED);
    g_assert_false(fake_vm_runs(p->dst));
    g_assert_true(p->dst->owns_images);
    fake_pair_free(p);
}

typedef struct Refusal {
    FakeVmConfig dst;
    const char *text;
} Refusal;

static void test_refused(const void *data)
{
    const Refusal *r = data;
    FakePair *p = fake_pair_new(&paged, &r->dst);

    pair_listen(p);
    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->src->error, r->text));
    g_assert_nonnull(strstr(p->dst->error, r->text));
    g_assert_cmpint(p->src->stops, ==, 0);
    fake_pair_free(p);
}

static void test_no_listener(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);

    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->src->error, p->dir));
    fake_pair_free(p);
}

static void test_bad_uri(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);
    static const char *const bad[] = { "", "tcp:", "unix:", "rdma:host:1",
                                       "tcp:host", "exec:", "file:", "fd:",
                                       "fd:name", "fd:-1", "cat",
                                       "file:x,offset=1" };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) e1 = NULL;
        g_autoptr(GError) e2 = NULL;

        g_assert_false(migration_start(p->src->mig, bad[i], &e1));
        g_assert_nonnull(e1);
        g_assert_false(migration_listen(p->dst->mig, bad[i], &e2));
        g_assert_nonnull(e2);
    }
    fake_pair_free(p);
}

static void test_one_job(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);
    g_autoptr(GError) err = NULL;

    pair_listen(p);
    g_assert_false(migration_start(p->dst->mig, p->uri, &err));
    g_assert_cmpstr(err->message, ==,
                    "There's a migration process in progress");
    migration_set_blocker(p->src->mig, "a reason");
    g_clear_error(&err);
    g_assert_false(migration_start(p->src->mig, p->uri, &err));
    g_assert_cmpstr(err->message, ==, "a reason");
    fake_pair_free(p);
}

/* -- failures ----------------------------------------------------------- */

static void test_stop_fails(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);

    p->src->fail_stop = true;
    pair_listen(p);
    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    fake_pair_free(p);
}

static void test_inactivate_fails(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);

    p->src->fail_inactivate = true;
    pair_listen(p);
    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->src->error, "images do not flush"));
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    fake_pair_free(p);
}

/* RUN was sent, the destination says that it never runs: the source may. */
static void test_start_fails(void)
{
    FakePair *p = fake_pair_new(&plain, &paged);

    p->dst->fail_start = true;
    pair_listen(p);
    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->src->error, "this VM does not start"));
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    fake_pair_free(p);
}

static void test_activate_fails(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);

    p->dst->fail_activate = true;
    pair_listen(p);
    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->src->error, "images do not open"));
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    fake_pair_free(p);
}

static void test_import_fails(const void *data)
{
    FakePair *p = fake_pair_new(&paged, &paged);

    fake_pager_fail_import(p->dst, GPOINTER_TO_INT(data));
    pair_listen(p);
    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->src->error, "No space left"));
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    fake_pair_free(p);
}

static void test_export_fails(const void *data)
{
    FakePair *p = fake_pair_new(&paged, &paged);

    fake_pager_fail_export(p->src, GPOINTER_TO_INT(data));
    pair_listen(p);
    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->src->error, "cannot read chunk"));
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    fake_pair_free(p);
}

/* -- cancel ------------------------------------------------------------- */

/* At any moment: while connecting, in a pass, in the switch-over. */
static void test_cancel(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (int i = 0; i < 60; i++) {
        FakePair *p = fake_pair_new(&paged, &paged);
        MigrationStatus s;

        fake_vm_start_guest(p->src, CHUNK, CHUNK);
        pair_listen(p);
        pair_start(p);
        if (i % 4) {
            fake_vm_wait_status(p->src, i % 4 == 1 ? MIGRATION_ACTIVE
                                                   : MIGRATION_DEVICE);
        }
        g_usleep(g_rand_int_range(rand, 0, 4000));
        migration_cancel(p->src->mig);
        s = fake_vm_wait(p->src);
        if (s == MIGRATION_COMPLETED) { /* the cancel came too late */
            g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_COMPLETED);
            g_assert_true(fake_vm_runs(p->dst));
        } else {
            expect_stayed(p, MIGRATION_CANCELLED);
            if (i % 4) { /* else it may not have had its HELLO */
                g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
            }
        }
        fake_pair_free(p);
    }
}

/* A bandwidth limit holds the job back, and a cancel wakes it. */
static void test_cancel_paced(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);

    pair_listen(p);
    pair_start(p);
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_COMPLETED);
    fake_pair_free(p);

    p = fake_pair_new(&plain, &plain);
    fake_vm_set_bandwidth(p->src, 10000);
    pair_listen(p);
    g_assert_true(migration_start(p->src->mig, p->uri, NULL));
    fake_vm_wait_status(p->src, MIGRATION_ACTIVE);
    g_usleep(20000);
    g_assert_cmpint(fake_vm_status(p->src), ==, MIGRATION_ACTIVE);
    migration_cancel(p->src->mig);
    expect_stayed(p, MIGRATION_CANCELLED);
    fake_pair_free(p);
}

/* -- the pause before the switch-over ------------------------------------ */

static FakePair *pair_pause(void)
{
    FakePair *p = fake_pair_new(&paged, &paged);
    MigrationCapabilities c = { .pause_before_switchover = true };

    g_assert_true(migration_set_capabilities(p->src->mig, &c, NULL));
    fake_vm_start_guest(p->src, CHUNK, CHUNK);
    pair_listen(p);
    pair_start(p);
    fake_vm_wait_status(p->src, MIGRATION_PRE_SWITCHOVER);
    g_assert_false(fake_vm_runs(p->src));
    return p;
}

static void test_pause(void)
{
    FakePair *p = pair_pause();
    g_autoptr(GError) err = NULL;
    MigrationInfo info;

    g_usleep(20000);
    g_assert_false(migration_continue(p->src->mig, MIGRATION_DEVICE, &err));
    g_assert_cmpstr(err->message, ==,
                    "Migration not in expected state: pre-switchover");
    migration_query(p->src->mig, &info);
    g_assert_cmpint(info.status, ==, MIGRATION_PRE_SWITCHOVER);
    g_assert_true(p->src->owns_images);
    g_assert_true(migration_continue(p->src->mig, MIGRATION_PRE_SWITCHOVER,
                                     NULL));
    expect_moved(p);
    migration_query(p->src->mig, &info);
    g_assert_cmpint(info.pause_us, >=, 20000);
    g_assert_cmpuint(info.dirty_sync_count, ==, p->src->passes);
    g_assert_cmpuint(info.precopy_bytes + info.downtime_bytes, ==,
                     info.transferred_bytes);
    g_assert_cmpuint(info.downtime_bytes, >, 0);
    g_assert_false(migration_continue(p->src->mig, MIGRATION_PRE_SWITCHOVER,
                                      NULL));
    fake_pair_free(p);
}

static void test_pause_cancelled(void)
{
    FakePair *p = pair_pause();

    migration_cancel(p->src->mig);
    expect_stayed(p, MIGRATION_CANCELLED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    fake_pair_free(p);
}

/* The destination goes away meanwhile: noticed without being asked. */
static void test_pause_alone(void)
{
    FakePair *p = pair_pause();

    g_clear_pointer(&p->dst->mig, migration_free);
    expect_stayed(p, MIGRATION_FAILED);
    fake_pair_free(p);
}

static void test_capabilities_locked(void)
{
    FakePair *p = pair_pause();
    MigrationCapabilities c = { 0 };
    g_autoptr(GError) err = NULL;

    g_assert_false(migration_set_capabilities(p->src->mig, &c, &err));
    g_assert_cmpstr(err->message, ==,
                    "There's a migration process in progress");
    fake_pair_free(p);
}

static void test_parameters(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);
    g_autoptr(GError) err = NULL;
    MigrationParameters before, now;

    migration_get_parameters(p->src->mig, &before);
    g_assert_cmpuint(before.downtime_limit_ms, ==, 300);
    g_assert_cmpuint(before.max_bandwidth_bytes_per_s, ==, 128 << 20);
    now = before;
    now.downtime_limit_ms = 2000001;
    g_assert_false(migration_set_parameters(p->src->mig, &now, &err));
    g_assert_cmpstr(err->message, ==, "Parameter 'downtime-limit' expects an "
                                      "integer in the range of 0 to 2000000");
    migration_get_parameters(p->src->mig, &now);
    g_assert_cmpmem(&now, sizeof(now), &before, sizeof(before));
    fake_pair_free(p);
}

/* With a bandwidth that nobody has, what is dirty never fits; with the
 * highest, it fits at once. */
static void test_switchover_bandwidth(void)
{
    FakePair *p = fake_pair_new(&paged, &paged);
    MigrationParameters parameters;

    migration_get_parameters(p->src->mig, &parameters);
    parameters.switchover_bandwidth_bytes_per_s = 1;
    g_assert_true(migration_set_parameters(p->src->mig, &parameters, NULL));
    fake_pager_redirty(p->src);
    pair_listen(p);
    pair_start(p);
    while (p->src->passes < 5) {
        g_assert_cmpint(fake_vm_status(p->src), !=, MIGRATION_COMPLETED);
        g_main_context_iteration(NULL, /* may_block= */ TRUE);
    }
    migration_get_parameters(p->src->mig, &parameters);
    parameters.switchover_bandwidth_bytes_per_s = UINT64_MAX;
    g_assert_true(migration_set_parameters(p->src->mig, &parameters, NULL));
    expect_moved(p);
    fake_pair_free(p);
}

/* Freeing ends a listener, and a job. */
static void test_free_active(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);

    pair_listen(p);
    fake_pair_free(p);
    p = fake_pair_new(&plain, &plain);
    pair_listen(p);
    pair_start(p);
    fake_pair_free(p);
}

int main(int argc, char **argv)
{
    static const Case cases[] = {
        { &plain, &plain },  { &paged, &paged },
        { &plain, &paged },  { &paged, &plain },
        { &plain, &plain_other_chunk },
        { &paged, &plain_other_chunk },
        { &plain_other_chunk, &paged },
        { &paged, &paged_smaller_chunk },
        { &paged_smaller_chunk, &paged },
    };
    static const Refusal refusals[] = {
        { { PAGES + 1, CHUNK, 99, NULL, 0 }, "RAM size differs" },
        { { PAGES, CHUNK, 99, "q35-test", 0 }, "machine type differs" },
        { { PAGES, CHUNK, 99, NULL, 3 }, "number of CPUs differs" },
    };
    static Refusal chunk = { .text = "chunk size differs" };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *a = g_strdup_printf("/migrate/moves/%zu", i);
        g_autofree char *b = g_strdup_printf("/migrate/dirtying/%zu", i);

        g_test_add_data_func(a, &cases[i], test_moves);
        g_test_add_data_func(b, &cases[i], test_dirtying);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_autofree char *a = g_strdup_printf("/migrate/refused/%zu", i);

        g_test_add_data_func(a, &refusals[i], test_refused);
    }
    chunk.dst = paged_other_chunk;
    g_test_add_data_func("/migrate/refused/chunk", &chunk, test_refused);
    g_test_add_data_func("/migrate/exchange/once", GUINT_TO_POINTER(1),
                         test_exchange);
    g_test_add_data_func("/migrate/exchange/always", GUINT_TO_POINTER(1000),
                         test_exchange);
    g_test_add_func("/migrate/exchange/ends", test_exchange_ends);
    g_test_add_func("/migrate/placement", test_placement);
    g_test_add_func("/migrate/back", test_back);
    g_test_add_func("/migrate/paused", test_paused);
    g_test_add_func("/migrate/late-block-activate",
                    test_late_block_activate);
    g_test_add_func("/migrate/no-listener", test_no_listener);
    g_test_add_func("/migrate/bad-uri", test_bad_uri);
    g_test_add_func("/migrate/one-job", test_one_job);
    g_test_add_func("/migrate/fails/stop", test_stop_fails);
    g_test_add_func("/migrate/fails/inactivate", test_inactivate_fails);
    g_test_add_func("/migrate/fails/start", test_start_fails);
    g_test_add_func("/migrate/fails/activate", test_activate_fails);
    for (int n = 1; n <= 24; n += 7) {
        g_autofree char *a = g_strdup_printf("/migrate/fails/import/%d", n);
        g_autofree char *b = g_strdup_printf("/migrate/fails/export/%d", n);

        g_test_add_data_func(a, GINT_TO_POINTER(n), test_import_fails);
        g_test_add_data_func(b, GINT_TO_POINTER(n), test_export_fails);
    }
    g_test_add_func("/migrate/cancel/anywhere", test_cancel);
    g_test_add_func("/migrate/cancel/paced", test_cancel_paced);
    g_test_add_func("/migrate/pause/continued", test_pause);
    g_test_add_func("/migrate/pause/cancelled", test_pause_cancelled);
    g_test_add_func("/migrate/pause/alone", test_pause_alone);
    g_test_add_func("/migrate/capabilities", test_capabilities_locked);
    g_test_add_func("/migrate/parameters", test_parameters);
    g_test_add_func("/migrate/switchover-bandwidth",
                    test_switchover_bandwidth);
    g_test_add_func("/migrate/free-active", test_free_active);
    return g_test_run();
}
