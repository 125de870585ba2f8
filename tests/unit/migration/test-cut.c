/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: whatever happens to the connection at whatever byte, at most one
 * side runs the VM, and it is the source unless RUN got through; a corrupted
 * stream never makes the destination run with other content.
 *
 * How: a relay between the two sides counts the bytes of each direction. It
 * cuts after n of them, or flips a bit of byte n. A first run without harm
 * records where each record begins; the boundaries, their neighbours and
 * seeded random places between are then tried one by one.
 */
#include "run.h"

#include <string.h>

#define PAGES 131u
#define CHUNK 16u

static const FakeVmConfig paged = { PAGES, CHUNK, 3 * CHUNK, NULL, 0 };
static const FakeVmConfig plain = { PAGES, CHUNK, UINT64_MAX, NULL, 0 };

/* The destination ends too, unless it never had a HELLO. */
static void settle_destination(Run *run, bool had_hello)
{
    if (had_hello) {
        (void)fake_vm_wait(run->dst);
    }
}

/* -- cuts --------------------------------------------------------------- */

/* Ends of all cuts: who runs. */
static unsigned ended_source, ended_destination, ended_neither;

static void count_end(Run *run, bool before_last)
{
    if (fake_vm_runs(run->src)) {
        ended_source++;
    } else if (fake_vm_runs(run->dst)) {
        ended_destination++;
        g_assert_false(before_last);
    } else {
        ended_neither++;
        g_assert_false(before_last);
    }
}

static void try_cut(const FakeVmConfig *src, const FakeVmConfig *dst,
                    const Map *map, bool there, uint64_t at,
                    uint64_t hello_bytes)
{
    Run *run = run_new(src, dst);
    Direction *d = there ? &run->relay->there : &run->relay->back;
    uint64_t last = map_last_record(map, there);

    d->harm = HARM_CUT;
    d->harm_at = at;
    run_go(run);
    settle_destination(run, !there || at >= hello_bytes);
    run_check(run);
    count_end(run, at < last);
    run_free(run);
}

static void cut_direction(const FakeVmConfig *src, const FakeVmConfig *dst,
                          const Map *map, bool there)
{
    const GByteArray *bytes = map_bytes(map, there);
    const GArray *records = map_records(map, there);
    uint64_t hello = map_hello_bytes(map);

    for (guint i = 0; i < records->len; i++) {
        const Record *r = &g_array_index(records, Record, i);
        uint64_t end = r->at + sizeof(r->head) + r->head.length;
        uint64_t places[] = { r->at, r->at + 1, r->at + 15, r->at + 16,
                              r->at + 17, end - 1 };

        for (size_t k = 0; k < G_N_ELEMENTS(places); k++) {
            if (places[k] < bytes->len) {
                try_cut(src, dst, map, there, places[k], hello);
            }
        }
    }
    for (int i = 0; i < 40; i++) {
        try_cut(src, dst, map, there,
                (uint64_t)g_test_rand_int_range(0, (int)bytes->len), hello);
    }
}

static void test_cuts(const void *data)
{
    const FakeVmConfig *c = data;
    Map map = map_new(&paged, c, /* checksum= */ false);

    cut_direction(&paged, c, &map, /* there= */ true);
    cut_direction(&paged, c, &map, /* there= */ false);
    map_done(&map);
    g_test_message("the VM ended at the source %u times, at the destination "
                   "%u, paused %u", ended_source, ended_destination,
                   ended_neither);
    g_assert_cmpuint(ended_source, >, 0);
    g_assert_cmpuint(ended_destination, >, 0);
    g_assert_cmpuint(ended_neither, >, 0);
}

/* -- flips -------------------------------------------------------------- */

static void try_flip(uint64_t at)
{
    Run *run = run_new(&paged, &paged);

    run_with_checksums(run);
    run->relay->there.harm = HARM_FLIP;
    run->relay->there.harm_at = at;
    relay_start(run->relay);
    g_assert_true(migration_start(run->src->mig, run->src_uri, NULL));
    /* A length that was made longer leaves both waiting, as a hang of the
     * network would: a person cancels then. */
    for (int i = 0; i < 25 && fake_vm_status(run->src) < MIGRATION_COMPLETED;
         i++) {
        g_usleep(2000);
        while (g_main_context_iteration(NULL, FALSE)) {
        }
    }
    migration_cancel(run->src->mig);
    (void)fake_vm_wait(run->src);
    relay_join(run->relay);
    for (int i = 0; i < 25 && fake_vm_status(run->dst) < MIGRATION_COMPLETED;
         i++) {
        g_usleep(2000);
        while (g_main_context_iteration(NULL, FALSE)) {
        }
    }
    if (fake_vm_runs(run->dst)) {
        g_test_message("flip at %" G_GUINT64_FORMAT, at);
        /* Only what means nothing may have been hit. */
        g_assert_true(fake_vm_equal(run->src, run->dst));
    }
    g_assert_false(fake_vm_runs(run->src) && fake_vm_runs(run->dst));
    g_assert_true(fake_vm_runs(run->src) || fake_vm_runs(run->dst) ||
                  strstr(run->src->error, "may be running"));
    run_free(run);
}

static void test_flips(void)
{
    Map map = map_new(&paged, &paged, /* checksum= */ true);

    for (guint i = 0; i < map.there_records->len; i++) {
        const Record *r = &g_array_index(map.there_records, Record, i);
        uint64_t bytes = sizeof(r->head) + r->head.length;

        for (int k = 0; k < 6; k++) {
            uint64_t at = r->at + (uint64_t)g_test_rand_int_range(
                                      0, (int)MIN(bytes, 96));

            try_flip(at);
        }
    }
    map_done(&map);
}

/* In pages, where nothing but the checksums is wrong. */
static void try_flip_page(uint64_t at)
{
    Run *run = run_new(&paged, &paged);

    run_with_checksums(run);
    run->relay->there.harm = HARM_FLIP;
    run->relay->there.harm_at = at;
    run->relay->there.flip = (uint8_t)(1u << g_test_rand_int_range(0, 8));
    run_go(run);
    (void)fake_vm_wait(run->dst);
    run_check(run);
    g_assert_true(fake_vm_runs(run->src));
    g_assert_nonnull(strstr(run->src->error, "damaged on its way"));
    g_assert_nonnull(strstr(run->dst->error, "damaged on its way"));
    run_free(run);
}

static void test_flips_in_pages(void)
{
    Map map = map_new(&paged, &paged, /* checksum= */ true);
    unsigned tried = 0;

    while (tried < 40) {
        uint64_t at = (uint64_t)g_test_rand_int_range(0, (int)map.there->len);

        if (map_is_payload(&map, at)) {
            try_flip_page(at);
            tried++;
        }
    }
    map_done(&map);
}

/* -- what comes before a HELLO ------------------------------------------ */

static void test_garbage_first(void)
{
    static const char *const garbage[] = { "", "x", "GET / HTTP/1.1\r\n\r\n",
                                           "QEVM\0\0\0\3aaaaaaaaaaaaaaaaaaa" };
    Run *run = run_new(&plain, &plain);

    for (size_t i = 0; i < G_N_ELEMENTS(garbage); i++) {
        g_autoptr(VmChannel) ch = vm_channel_connect(run->dst_uri, -1, NULL);

        g_assert_nonnull(ch);
        (void)vm_channel_write_full(ch, garbage[i], strlen(garbage[i]));
    }
    g_assert_nonnull(migration_listen_address(run->dst->mig));
    run_go(run);
    g_assert_cmpint(fake_vm_wait(run->src), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(run->dst), ==, MIGRATION_COMPLETED);
    run_free(run);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/cut/paged", &paged, test_cuts);
    g_test_add_data_func("/cut/plain", &plain, test_cuts);
    g_test_add_func("/cut/flips", test_flips);
    g_test_add_func("/cut/flips-in-pages", test_flips_in_pages);
    g_test_add_func("/cut/garbage-first", test_garbage_first);
    return g_test_run();
}
