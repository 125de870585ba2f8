/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: a saved VM whose file says where its memory lies starts without
 * having it read, and has the same memory; whatever is done to the file, no
 * page of it is ever another one than was saved; and a file that is in use is
 * not written.
 *
 * How: as test-link.c, with a placement at the destination that takes files
 * (fake-vm.h), and reads of them what the map says.
 */
#include "fake-vm.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "../../../migration/wire.h"

#define PAGES 515u /* the last chunk is a short one */
#define CHUNK 16u

static const FakeVmConfig plain = { PAGES, CHUNK, UINT64_MAX, NULL, 0 };
static const FakeVmConfig paged = { PAGES, CHUNK, 10 * CHUNK, NULL, 0 };
static const FakeVmConfig finer = { PAGES, CHUNK / 2, 10 * CHUNK, NULL, 0 };
static const FakeVmConfig coarser = { PAGES, CHUNK * 2, 10 * CHUNK, NULL, 0 };
static const FakeVmConfig small = { 14, 4, 8, NULL, 1 };

typedef struct Saved {
    FakePair *p;
    char *path, *uri;
} Saved;

static MigrationStatus save(FakeVm *f, const char *uri)
{
    g_array_set_size(f->statuses, 0); /* of an earlier job */
    g_assert_true(migration_start(f->mig, uri, NULL));
    return fake_vm_wait(f);
}

static MigrationStatus load(FakeVm *f, const char *uri)
{
    g_array_set_size(f->statuses, 0);
    g_assert_true(migration_listen(f->mig, uri, NULL));
    return fake_vm_wait(f);
}

/* A pair whose first VM is in the file. guest: it writes meanwhile. */
static Saved saved_new(const FakeVmConfig *src, const FakeVmConfig *dst,
                       bool guest)
{
    Saved s = { .p = fake_pair_new(src, dst) };

    s.path = g_build_filename(s.p->dir, "vm", NULL);
    s.uri = g_strdup_printf("file:%s", s.path);
    fake_vm_set_bandwidth(s.p->src, 0);
    if (guest) {
        fake_vm_start_guest(s.p->src, CHUNK, CHUNK);
    }
    g_assert_cmpint(save(s.p->src, s.uri), ==, MIGRATION_COMPLETED);
    return s;
}

static void saved_free(Saved *s)
{
    (void)g_unlink(s->path);
    g_free(s->path);
    g_free(s->uri);
    fake_pair_free(s->p);
}

/* -- good files --------------------------------------------------------- */

static void test_in_place(const void *source)
{
    const FakeVmConfig *src = source;
    /* Of other chunks, the fake pager has the one that it would write zero. */
    Saved s = saved_new(src, &paged, /* guest= */ src->chunk_pages == CHUNK);
    FakeVm *dst = s.p->dst;

    fake_pager_allow_back(dst);
    g_assert_cmpint(load(dst, s.uri), ==, MIGRATION_COMPLETED);
    g_assert_true(fake_pager_is_backed(dst));
    g_assert_cmpuint(fake_pager_bad_pages(dst), ==, 0);
    g_assert_true(fake_vm_runs(dst));
    g_assert_true(fake_vm_equal(s.p->src, dst));
    saved_free(&s);
}

static void test_history(void)
{
    Saved s = saved_new(&paged, &paged, /* guest= */ false);

    fake_pager_allow_back(s.p->dst);
    g_assert_cmpint(load(s.p->dst, s.uri), ==, MIGRATION_COMPLETED);
    for (PageNo page = 0; page < PAGES; page++) {
        g_assert_cmpuint(
            fake_pager_history(s.p->src, (ChunkNo)(page / CHUNK),
                               page % CHUNK),
            ==,
            fake_pager_history(s.p->dst, (ChunkNo)(page / CHUNK),
                               page % CHUNK));
    }
    saved_free(&s);
}

/* A descriptor of the same file is a stream: who gave it may be at any place
 * of it. */
static void test_descriptor_is_read(void)
{
    Saved s = saved_new(&paged, &paged, /* guest= */ false);
    int fd = open(s.path, O_RDONLY | O_CLOEXEC);
    g_autofree char *uri = g_strdup_printf("fd:%d", fd);

    fake_pager_allow_back(s.p->dst);
    g_assert_cmpint(load(s.p->dst, uri), ==, MIGRATION_COMPLETED);
    g_assert_false(fake_pager_is_backed(s.p->dst));
    g_assert_true(fake_vm_equal(s.p->src, s.p->dst));
    saved_free(&s);
}

/* -- locks -------------------------------------------------------------- */

static void test_in_use(void)
{
    Saved s = saved_new(&paged, &paged, /* guest= */ false);
    FakePair *other = fake_pair_new(&paged, &paged);
    int fd = open(s.path, O_RDONLY | O_CLOEXEC);
    g_autofree char *before = NULL, *after = NULL;
    gsize before_len, after_len;

    g_assert_true(g_file_get_contents(s.path, &before, &before_len, NULL));
    g_assert_cmpint(flock(fd, LOCK_SH), ==, 0);
    g_assert_cmpint(save(other->src, s.uri), ==, MIGRATION_FAILED);
    g_assert_nonnull(strstr(other->src->error, "in use"));
    g_assert_true(fake_vm_runs(other->src));
    g_assert_true(g_file_get_contents(s.path, &after, &after_len, NULL));
    g_assert_cmpmem(before, before_len, after, after_len);
    g_assert_cmpint(flock(fd, LOCK_EX), ==, 0);
    g_assert_cmpint(load(s.p->dst, s.uri), ==, MIGRATION_FAILED);
    g_assert_nonnull(strstr(s.p->dst->error, "being written"));
    (void)close(fd);
    fake_pair_free(other);
    saved_free(&s);
}

/* -- bad files ---------------------------------------------------------- */

typedef struct File {
    FakePair *p; /* whose first VM is in it */
    char *path, *uri;
    char *bytes;
    gsize len;
} File;

static File file_new(void)
{
    Saved s = saved_new(&small, &small, /* guest= */ false);
    File f = { s.p, s.path, s.uri, NULL, 0 };

    g_assert_true(g_file_get_contents(f.path, &f.bytes, &f.len, NULL));
    return f;
}

static void file_free(File *f)
{
    (void)g_unlink(f->path);
    g_free(f->path);
    g_free(f->uri);
    g_free(f->bytes);
    fake_pair_free(f->p);
}

typedef enum Verdict {
    REFUSED,
    RIGHT,
    KNOWN, /* it runs, and what was damaged will be an error when touched */
    WRONG,
} Verdict;

/* Loads the first len bytes. */
static Verdict file_load(File *f, gsize len)
{
    FakeWorld world = { 0 };
    FakeVm *dst = fake_vm_new(&world, &small);
    Verdict v = REFUSED;

    (void)g_unlink(f->path); /* GLib 2.74 would not cut it */
    g_assert_true(g_file_set_contents_full(f->path, f->bytes, (gssize)len,
                                           G_FILE_SET_CONTENTS_NONE, 0600,
                                           NULL));
    fake_pager_allow_back(dst);
    if (load(dst, f->uri) == MIGRATION_COMPLETED) {
        v = fake_pager_bad_pages(dst) ? KNOWN
            : fake_vm_equal(f->p->src, dst) ? RIGHT : WRONG;
    } else {
        g_assert_false(fake_vm_runs(dst));
    }
    fake_vm_free(dst);
    return v;
}

static void test_truncated(void)
{
    File f = file_new();

    g_assert_cmpint(file_load(&f, f.len), ==, RIGHT);
    for (gsize n = 0; n < f.len; n += n + 400 < f.len ? 311 : 1) {
        g_assert_cmpint(file_load(&f, n), ==, REFUSED);
    }
    file_free(&f);
}

static void test_damaged(void)
{
    File f = file_new();
    unsigned verdicts[4] = { 0 };

    for (gsize at = 0; at < f.len; at++) {
        if (at > 200 && at + 1200 < f.len && at % 409) {
            continue;
        }
        f.bytes[at] ^= (char)(1 << at % 8);
        verdicts[file_load(&f, f.len)]++;
        f.bytes[at] ^= (char)(1 << at % 8);
    }
    g_test_message("%u refused, %u right, %u found when touched",
                   verdicts[REFUSED], verdicts[RIGHT], verdicts[KNOWN]);
    g_assert_cmpuint(verdicts[WRONG], ==, 0);
    g_assert_cmpuint(verdicts[REFUSED], >, 0);
    g_assert_cmpuint(verdicts[KNOWN], >, 0);
    file_free(&f);
}

/* The end of the file, with a digest that fits whatever is in it. */
typedef struct End {
    MigWireRecord foot_head;
    MigWireFoot foot;
    MigWireRecord complete_head;
    MigWireComplete complete;
    MigWireRecord run_head;
    MigWireRun run;
} __attribute__((packed)) End;

static End *file_end(File *f)
{
    return (End *)(f->bytes + f->len - sizeof(End));
}

static void file_mend(File *f)
{
    End *end = file_end(f);
    const char *from = f->bytes + end->foot.offset;

    end->complete.digest =
        mig_digest(end->foot.digest, from,
                   (size_t)((char *)&end->complete_head - from));
}

static MigWireIndex *file_index(File *f)
{
    return (MigWireIndex *)(f->bytes + file_end(f)->foot.offset +
                            sizeof(MigWireRecord));
}

/* Lies that no digest finds. */
static void test_hostile(void)
{
    File f = file_new();
    uint32_t *at = (uint32_t *)(file_index(&f) + 1);
    uint32_t was = at[0];
    uint64_t offset = file_end(&f)->foot.offset;

    file_mend(&f);
    g_assert_cmpint(file_load(&f, f.len), ==, RIGHT);
    at[0] = (uint32_t)(f.len / 4096);
    file_mend(&f);
    g_assert_cmpint(file_load(&f, f.len), ==, REFUSED);
    at[0] = UINT32_MAX;
    file_mend(&f);
    g_assert_cmpint(file_load(&f, f.len), ==, REFUSED);
    at[0] = was;
    file_index(&f)->count++;
    file_mend(&f);
    g_assert_cmpint(file_load(&f, f.len), ==, REFUSED);
    file_index(&f)->count--;
    file_index(&f)->first = 1;
    file_mend(&f);
    g_assert_cmpint(file_load(&f, f.len), ==, REFUSED);
    file_index(&f)->first = 0;
    file_mend(&f);
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t places[] = { 0, f.len, UINT64_MAX };

        file_end(&f)->foot.offset = places[i];
        g_assert_cmpint(file_load(&f, f.len), ==, REFUSED);
    }
    file_end(&f)->foot.offset = offset;
    g_assert_cmpint(file_load(&f, f.len), ==, RIGHT);
    file_free(&f);
}

static bool has_direct_io(void)
{
    char *dir = fake_dir_new();
    g_autofree char *path = g_build_filename(dir, "probe", NULL);
    int fd = open(path, O_RDONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);

    (void)g_unlink(path);
    fake_dir_free(dir);
    return fd >= 0 && close(fd) == 0;
}

static void test_skipped(void)
{
    g_test_skip("no O_DIRECT in the directory for temporary files");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!has_direct_io()) {
        g_test_add_func("/file", test_skipped);
        return g_test_run();
    }
    g_test_add_data_func("/file/in-place/paged", &paged, test_in_place);
    g_test_add_data_func("/file/in-place/plain", &plain, test_in_place);
    g_test_add_data_func("/file/in-place/finer", &finer, test_in_place);
    g_test_add_data_func("/file/in-place/coarser", &coarser, test_in_place);
    g_test_add_func("/file/history", test_history);
    g_test_add_func("/file/descriptor", test_descriptor_is_read);
    g_test_add_func("/file/in-use", test_in_use);
    g_test_add_func("/file/truncated", test_truncated);
    g_test_add_func("/file/damaged", test_damaged);
    g_test_add_func("/file/hostile", test_hostile);
    return g_test_run();
}
