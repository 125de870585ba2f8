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
#include "fake-vm.h"
#include "relay.h"

#include <string.h>

#include "../../../migration/wire.h"

#define PAGES 131u
#define CHUNK 16u

typedef struct Run {
    FakeWorld world;
    FakeVm *src, *dst;
    char *dir, *src_uri, *dst_uri;
    Relay *relay;
} Run;

static const FakeVmConfig paged = { PAGES, CHUNK, 3 * CHUNK, NULL, 0 };
static const FakeVmConfig plain = { PAGES, CHUNK, UINT64_MAX, NULL, 0 };

static Run *run_new(const FakeVmConfig *src, const FakeVmConfig *dst)
{
    Run *run = g_new0(Run, 1);

    run->src = fake_vm_new(&run->world, src);
    run->dst = fake_vm_new(&run->world, dst);
    run->dir = fake_dir_new();
    run->src_uri = g_strdup_printf("unix:%s/relay", run->dir);
    run->dst_uri = g_strdup_printf("unix:%s/dst", run->dir);
    fake_vm_boot(run->src);
    fake_vm_fill(run->src, 7);
    fake_vm_set_bandwidth(run->src, 0);
    g_assert_true(migration_listen(run->dst->mig, run->dst_uri, NULL));
    run->relay = relay_new(run->src_uri, run->dst_uri);
    return run;
}

static void run_go(Run *run)
{
    relay_start(run->relay);
    g_assert_true(migration_start(run->src->mig, run->src_uri, NULL));
    (void)fake_vm_wait(run->src);
    relay_join(run->relay);
}

static void run_free(Run *run)
{
    g_assert_false(run->world.violated);
    fake_vm_free(run->src);
    fake_vm_free(run->dst);
    relay_free(run->relay);
    fake_dir_free(run->dir);
    g_free(run->src_uri);
    g_free(run->dst_uri);
    g_free(run);
}

/* The destination ends too, unless it never had a HELLO. */
static void settle_destination(Run *run, bool had_hello)
{
    if (had_hello) {
        (void)fake_vm_wait(run->dst);
    }
}

/* What must hold after any harm. */
static void check_after(Run *run)
{
    bool src = fake_vm_runs(run->src), dst = fake_vm_runs(run->dst);
    MigrationStatus s = fake_vm_status(run->src);

    g_assert_false(src && dst);
    g_assert_cmpint(run->world.image_owners, <=, 1);
    if (dst) {
        g_assert_true(fake_vm_equal(run->src, run->dst));
        /* The source either knows, or says that it does not. */
        g_assert_true(s == MIGRATION_COMPLETED ||
                      strstr(run->src->error, "may be running"));
    } else {
        g_assert_cmpint(s, ==, MIGRATION_FAILED);
        g_assert_true(src || strstr(run->src->error, "may be running"));
    }
}

/* -- where the records are ---------------------------------------------- */

typedef struct Record {
    size_t at;
    MigWireRecord head;
} Record;

static GArray *find_records(const GByteArray *bytes)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(Record));
    size_t at = 0;

    while (at < bytes->len) {
        Record r = { .at = at };

        g_assert_cmpuint(bytes->len - at, >=, sizeof(r.head));
        memcpy(&r.head, bytes->data + at, sizeof(r.head));
        g_assert_cmpuint(r.head.magic, ==, MIG_WIRE_MAGIC);
        g_array_append_val(list, r);
        at += sizeof(r.head) + r.head.length;
    }
    g_assert_cmpuint(at, ==, bytes->len);
    return list;
}

typedef struct Map {
    GByteArray *there, *back;
    GArray *there_records, *back_records;
} Map;

static Map record_run(const FakeVmConfig *src, const FakeVmConfig *dst)
{
    Run *run = run_new(src, dst);
    Map map = { .there = g_byte_array_new(), .back = g_byte_array_new() };

    run->relay->there.record = g_byte_array_ref(map.there);
    run->relay->back.record = g_byte_array_ref(map.back);
    run_go(run);
    g_assert_cmpint(fake_vm_wait(run->src), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(run->dst), ==, MIGRATION_COMPLETED);
    run_free(run);
    map.there_records = find_records(map.there);
    map.back_records = find_records(map.back);
    return map;
}

static void map_done(Map *map)
{
    g_byte_array_unref(map->there);
    g_byte_array_unref(map->back);
    g_array_unref(map->there_records);
    g_array_unref(map->back_records);
}

/* -- cuts --------------------------------------------------------------- */

/* Ends of all cuts: who runs. */
static unsigned ended_source, ended_destination, ended_neither;

/*
 * Where the last record of a direction begins: RUN there, RUNNING back.
 * Before it the source knows that the VM is its own. The sizes of passes
 * vary from run to run only with a guest, and there is none here.
 */
static uint64_t last_record(const GArray *records, uint16_t type)
{
    const Record *r = &g_array_index(records, Record, records->len - 1);

    g_assert_cmpuint(r->head.type, ==, type);
    return r->at;
}

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
    uint64_t last = there ? last_record(map->there_records, MIG_REC_RUN)
                          : last_record(map->back_records, MIG_REC_RUNNING);

    d->harm = HARM_CUT;
    d->harm_at = at;
    run_go(run);
    settle_destination(run, !there || at >= hello_bytes);
    check_after(run);
    count_end(run, at < last);
    run_free(run);
}

static void cut_direction(const FakeVmConfig *src, const FakeVmConfig *dst,
                          const Map *map, bool there)
{
    const GByteArray *bytes = there ? map->there : map->back;
    const GArray *records = there ? map->there_records : map->back_records;
    uint64_t hello = sizeof(MigWireRecord) +
                     g_array_index(map->there_records, Record, 0).head.length;

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
    Map map = record_run(&paged, c);

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

/* A flip in a page cannot be seen by this version of the format. */
static bool is_payload(const Map *map, uint64_t at)
{
    for (guint i = 0; i < map->there_records->len; i++) {
        const Record *r = &g_array_index(map->there_records, Record, i);
        uint64_t end = r->at + sizeof(r->head) + r->head.length;
        MigWireChunk chunk;

        if (at >= r->at && at < end && r->head.type == MIG_REC_CHUNK) {
            memcpy(&chunk, map->there->data + r->at + sizeof(r->head),
                   sizeof(chunk));
            return at >= end - chunk.payload_pages * RAM_PAGE_BYTES;
        }
    }
    return false;
}

static void try_flip(uint64_t at)
{
    Run *run = run_new(&paged, &paged);

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
    Map map = record_run(&paged, &paged);

    for (guint i = 0; i < map.there_records->len; i++) {
        const Record *r = &g_array_index(map.there_records, Record, i);
        uint64_t bytes = sizeof(r->head) + r->head.length;

        for (int k = 0; k < 6; k++) {
            uint64_t at = r->at + (uint64_t)g_test_rand_int_range(
                                      0, (int)MIN(bytes, 96));

            if (!is_payload(&map, at)) {
                try_flip(at);
            }
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
    g_test_add_func("/cut/garbage-first", test_garbage_first);
    return g_test_run();
}
