/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: a direction of the connection that ends, stalls or is slow, at
 * whatever byte, leaves at most one side with the VM: the source, unless RUN
 * may have got through. Each side ends by itself, in time, or by a cancel,
 * and says why; nothing is left open. What is only slow arrives.
 *
 * How: the relay of test-cut.c, with the source's waits made short. What is
 * tried are the boundaries of records, places inside of them, and seeded
 * random bytes, in both directions.
 */
#include "run.h"

#include <string.h>

#include "../../../migration/migration-internal.h"
#include "util/clock.h"

static const FakeVmConfig config = { 131, 16, 3 * 16, NULL, 0 };
#define RANDOM_PLACES 12
#define SHORT_NS (40 * VM_NS_PER_MS)

static Run *harmed_run(Harm harm, bool there, uint64_t at)
{
    Run *run = run_new(&config, &config);
    Direction *d = there ? &run->relay->there : &run->relay->back;

    d->harm = harm;
    d->harm_at = at;
    return run;
}

typedef void (*Try)(const Map *map, bool there, uint64_t at);

static void try_everywhere(const Map *map, bool there, Try try)
{
    const GByteArray *bytes = map_bytes(map, there);
    const GArray *records = map_records(map, there);

    for (guint i = 0; i < records->len; i++) {
        const Record *r = &g_array_index(records, Record, i);

        try(map, there, r->at);
        /* Inside, in turn: the head, the first and the last bytes. */
        try(map, there, i % 3 == 0   ? r->at + 7
                        : i % 3 == 1 ? r->at + sizeof(r->head) - 1
                                     : r->at + sizeof(r->head) +
                                           r->head.length - 1);
    }
    for (int i = 0; i < RANDOM_PLACES; i++) {
        try(map, there, (uint64_t)g_test_rand_int_range(0, (int)bytes->len));
    }
}

static void test_everywhere(Try try)
{
    Map map = map_new(&config, &config, /* checksum= */ false);

    try_everywhere(&map, /* there= */ true, try);
    try_everywhere(&map, /* there= */ false, try);
    map_done(&map);
}

/* Unless the destination has not seen a HELLO, it ends. */
static void settle(Run *run, const Map *map, bool there, uint64_t at)
{
    if (!there || at >= map_hello_bytes(map)) {
        (void)fake_vm_wait(run->dst);
    }
}

/* -- one direction ends ------------------------------------------------- */

static void try_end(const Map *map, bool there, uint64_t at)
{
    Run *run = harmed_run(HARM_END, there, at);
    bool came = there ? at >= map_hello_bytes(map)
                      : at >= map_last_record(map, there);

    run_go(run);
    settle(run, map, there, at);
    run_check(run);
    if (there) {
        /* Without all of RUN it says FAILED, and the way back is open. */
        g_assert_true(fake_vm_runs(run->src));
        g_assert_true(!came || strstr(run->src->error, "ends too early"));
        g_assert_true(!came || strstr(run->dst->error, "ends too early"));
    } else {
        g_assert_true(came ? fake_vm_runs(run->dst)
                           : fake_vm_runs(run->src));
    }
    run_free(run);
}

static void test_end(void)
{
    test_everywhere(try_end);
}

/* -- nothing more comes ------------------------------------------------- */

static void shorten_waits(Run *run)
{
    run->src->mig->waits = (MigWaits){
        .welcome_ns = SHORT_NS,
        .pass_ns = SHORT_NS,
        .ready_ns = SHORT_NS,
        .running_ns = SHORT_NS,
        .write_ns = SHORT_NS,
        .last_words_ns = VM_NS_PER_MS,
    };
}

static void check_stalled(Run *run, const Map *map, bool there, uint64_t at)
{
    settle(run, map, there, at);
    run_check(run);
    if (at < map_last_record(map, there)) {
        g_assert_true(fake_vm_runs(run->src));
    } else if (there) {
        g_assert_false(fake_vm_runs(run->dst));
    }
    run_free(run);
}

static void try_stall(const Map *map, bool there, uint64_t at)
{
    Run *run = harmed_run(HARM_STALL, there, at);

    shorten_waits(run);
    run_go(run);
    g_assert_cmpint(fake_vm_status(run->src), ==, MIGRATION_FAILED);
    check_stalled(run, map, there, at);
}

static void test_stall(void)
{
    test_everywhere(try_stall);
}

static void try_cancel(const Map *map, bool there, uint64_t at)
{
    Run *run = harmed_run(HARM_STALL, there, at);
    bool too_late = at >= map_last_record(map, there);

    /* Only this one cannot be cancelled. */
    run->src->mig->waits.running_ns = SHORT_NS;
    run_start(run);
    relay_wait_stall(run->relay);
    migration_cancel(run->src->mig);
    run_finish_source(run);
    if (!too_late) {
        g_assert_cmpint(fake_vm_status(run->src), ==, MIGRATION_CANCELLED);
    }
    check_stalled(run, map, there, at);
}

static void test_cancel(void)
{
    test_everywhere(try_cancel);
}

/* -- slow --------------------------------------------------------------- */

static void try_delay(const Map *map, bool there, uint64_t at)
{
    Run *run = harmed_run(HARM_DELAY, there, at);

    run_go(run);
    g_assert_cmpint(fake_vm_status(run->src), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(run->dst), ==, MIGRATION_COMPLETED);
    g_assert_true(fake_vm_runs(run->dst));
    run_check(run);
    run_free(run);
}

static void test_delay(void)
{
    test_everywhere(try_delay);
}

/* -- answers with a wrong byte ------------------------------------------ */

static void try_flip_back(const Map *map, bool there, uint64_t at)
{
    Run *run;

    if (there) {
        return; /* test-cut.c does */
    }
    run = harmed_run(HARM_FLIP, there, at);
    run->relay->back.flip = (uint8_t)(1u << g_test_rand_int_range(0, 8));
    shorten_waits(run); /* a length that was made longer */
    run_go(run);
    (void)fake_vm_wait(run->dst);
    run_check(run);
    run_free(run);
}

static void test_flip_back(void)
{
    test_everywhere(try_flip_back);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/proxy/end", test_end);
    g_test_add_func("/proxy/stall", test_stall);
    g_test_add_func("/proxy/cancel", test_cancel);
    g_test_add_func("/proxy/delay", test_delay);
    g_test_add_func("/proxy/flip-back", test_flip_back);
    return g_test_run();
}
