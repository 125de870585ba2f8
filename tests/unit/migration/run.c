/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One migration through the relay. See run.h.
 */
#include "run.h"

#include <string.h>

/* But for pipes: the migrations here have none, and a sanitizer's own child
 * process has two, from its first report on, though it be suppressed. */
/* Sockets and eventfds: a sanitizer opens pipes to its symbolizer. */
static unsigned count_fds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    const char *name;
    unsigned n = 0;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_strconcat("/proc/self/fd/", name, NULL);
        g_autofree char *what = g_file_read_link(path, NULL);

        n += what && (g_str_has_prefix(what, "socket:") ||
                      strstr(what, "[eventfd]"));
    }
    return n;
}

Run *run_new(const FakeVmConfig *src, const FakeVmConfig *dst)
{
    Run *run = g_new0(Run, 1);

    (void)g_main_context_default(); /* has a descriptor of its own */
    run->fds = count_fds();
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

void run_with_checksums(Run *run)
{
    MigrationCapabilities c = { .checksum = true };

    g_assert_true(migration_set_capabilities(run->src->mig, &c, NULL));
}

void run_start(Run *run)
{
    relay_start(run->relay);
    g_assert_true(migration_start(run->src->mig, run->src_uri, NULL));
}

void run_finish_source(Run *run)
{
    (void)fake_vm_wait(run->src);
    relay_release(run->relay);
    relay_join(run->relay);
}

void run_go(Run *run)
{
    run_start(run);
    run_finish_source(run);
}

static void check_empty(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);

    g_assert_nonnull(dir);
    g_assert_cmpstr(g_dir_read_name(dir), ==, NULL);
}

void run_free(Run *run)
{
    g_assert_false(run->world.violated);
    fake_vm_free(run->src);
    fake_vm_free(run->dst);
    relay_free(run->relay);
    check_empty(run->dir);
    fake_dir_free(run->dir);
    g_assert_cmpuint(count_fds(), ==, run->fds);
    g_free(run->src_uri);
    g_free(run->dst_uri);
    g_free(run);
}

static void check_says_why(FakeVm *f, const char *const *words)
{
    MigrationInfo info;

    migration_query(f->mig, &info);
    g_assert_cmpint(info.status, ==, MIGRATION_FAILED);
    g_assert_true(info.error[0] && g_str_has_prefix(f->error, info.error));
    while (*words && !strstr(f->error, *words)) {
        words++;
    }
    if (!*words) {
        g_test_message("this is no cause: %s", f->error);
        g_test_fail();
    }
}

static void check_causes(Run *run)
{
    static const char *const at_source[] = {
        "closed the connection", "connection to the destination",
        "the destination failed: ", "the destination does not answer",
        "cannot send to the destination: ", "may be running",
        "no answer to the handshake: ", "the destination refused: ",
        "not in the protocol", "does not speak", "the destination chose",
        NULL
    };
    static const char *const at_destination[] = {
        "cannot receive from the source: ", "cannot answer the source: ",
        "refused the source: ", "migration stream: ", NULL
    };

    if (fake_vm_status(run->src) == MIGRATION_FAILED) {
        check_says_why(run->src, at_source);
    }
    if (fake_vm_status(run->dst) == MIGRATION_FAILED) {
        check_says_why(run->dst, at_destination);
    }
}

void run_check(Run *run)
{
    bool src = fake_vm_runs(run->src), dst = fake_vm_runs(run->dst);
    MigrationStatus s = fake_vm_status(run->src);

    g_assert_false(src && dst);
    g_assert_cmpint(run->world.image_owners, <=, 1);
    g_assert_true(run->src->owns_images || !src);
    if (dst) {
        g_assert_true(fake_vm_equal(run->src, run->dst));
        /* The source either knows, or says that it does not. */
        g_assert_true(s == MIGRATION_COMPLETED ||
                      strstr(run->src->error, "may be running"));
    } else {
        g_assert_true(s == MIGRATION_FAILED || s == MIGRATION_CANCELLED);
        g_assert_true(src || strstr(run->src->error, "may be running"));
    }
    check_causes(run);
}

/* -- where the records are ---------------------------------------------- */

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

Map map_new(const FakeVmConfig *src, const FakeVmConfig *dst, bool checksum)
{
    Run *run = run_new(src, dst);
    Map map = { .there = g_byte_array_new(), .back = g_byte_array_new() };

    if (checksum) {
        run_with_checksums(run);
    }
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

void map_done(Map *map)
{
    g_byte_array_unref(map->there);
    g_byte_array_unref(map->back);
    g_array_unref(map->there_records);
    g_array_unref(map->back_records);
}


const GArray *map_records(const Map *map, bool there)
{
    return there ? map->there_records : map->back_records;
}

const GByteArray *map_bytes(const Map *map, bool there)
{
    return there ? map->there : map->back;
}

uint64_t map_hello_bytes(const Map *map)
{
    return sizeof(MigWireRecord) +
           g_array_index(map->there_records, Record, 0).head.length;
}

uint64_t map_last_record(const Map *map, bool there)
{
    const GArray *records = map_records(map, there);
    const Record *r = &g_array_index(records, Record, records->len - 1);

    g_assert_cmpuint(r->head.type, ==,
                     there ? MIG_REC_RUN : MIG_REC_RUNNING);
    return r->at;
}

bool map_is_payload(const Map *map, uint64_t at)
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
