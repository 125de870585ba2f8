/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: a VM moves through descriptors, commands and files as it does
 * through connections; where nobody answers, what was not written in full is
 * never run, and a command that failed counts.
 *
 * How: as test-migrate.c, with both sides in this process, or one after the
 * other.
 */
#include "fake-vm.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../migration/wire.h"

#define PAGES 515u /* the last chunk is a short one */
#define CHUNK 16u

static const FakeVmConfig plain = { PAGES, CHUNK, UINT64_MAX, NULL, 0 };
static const FakeVmConfig paged = { PAGES, CHUNK, 10 * CHUNK, NULL, 0 };
static const FakeVmConfig tight = { PAGES, CHUNK, 5 * CHUNK, NULL, 0 };
static const FakeVmConfig smaller_chunk = { PAGES, 4, 160, NULL, 0 };
static const FakeVmConfig other_chunk = { PAGES, 6, 80, NULL, 0 };
static const FakeVmConfig small = { 14, 4, 8, NULL, 1 };

static FakePair *unlimited_pair_new(const FakeVmConfig *src,
                                    const FakeVmConfig *dst)
{
    FakePair *p = fake_pair_new(src, dst);

    fake_vm_set_bandwidth(p->src, 0);
    return p;
}

static void want_answers(FakeVm *f)
{
    MigrationCapabilities c = { .return_path = true };

    g_assert_true(migration_set_capabilities(f->mig, &c, NULL));
}

static void start(FakeVm *f, const char *uri)
{
    g_autoptr(GError) err = NULL;

    g_array_set_size(f->statuses, 0); /* of an earlier job */
    g_assert_true(migration_start(f->mig, uri, &err));
    g_assert_no_error(err);
}

static void listen_to(FakeVm *f, const char *uri)
{
    g_autoptr(GError) err = NULL;

    g_array_set_size(f->statuses, 0);
    g_assert_true(migration_listen(f->mig, uri, &err));
    g_assert_no_error(err);
    g_assert_null(migration_listen_address(f->mig));
}

static void expect_end(FakeVm *f, MigrationStatus status)
{
    MigrationStatus is = fake_vm_wait(f);

    if (is != status) {
        g_test_message("%s: %s", migration_status_to_string(is), f->error);
    }
    g_assert_cmpint(is, ==, status);
}

static void expect_moved(FakePair *p)
{
    expect_end(p->src, MIGRATION_COMPLETED);
    expect_end(p->dst, MIGRATION_COMPLETED);
    g_assert_false(fake_vm_runs(p->src));
    g_assert_true(fake_vm_runs(p->dst));
    g_assert_cmpint(p->world.image_owners, ==, 1);
    g_assert_cmpint(p->dst->starts, ==, 1);
    g_assert_cmpint(p->src->resumes, ==, 0);
    g_assert_true(fake_vm_equal(p->src, p->dst));
}

/* The source failed and goes on. */
static void expect_stayed(FakeVm *f, const char *word)
{
    expect_end(f, MIGRATION_FAILED);
    g_assert_true(fake_vm_runs(f));
    g_assert_true(f->owns_images);
    if (!strstr(f->error, word)) {
        g_test_message("'%s', not '%s'", f->error, word);
    }
    g_assert_nonnull(strstr(f->error, word));
}

static void expect_not_loaded(FakeVm *f, const char *word)
{
    expect_end(f, MIGRATION_FAILED);
    g_assert_false(fake_vm_runs(f));
    g_assert_cmpint(f->starts, ==, 0);
    if (!strstr(f->error, word)) {
        g_test_message("'%s', not '%s'", f->error, word);
    }
    g_assert_nonnull(strstr(f->error, word));
}

/* -- descriptors -------------------------------------------------------- */

static char *fd_uri(int fd)
{
    return g_strdup_printf("fd:%d", fd);
}

static void move_through(int to, int from, bool answers)
{
    FakePair *p = unlimited_pair_new(&paged, &paged);
    g_autofree char *dst_uri = fd_uri(from);
    g_autofree char *src_uri = fd_uri(to);

    if (answers) {
        want_answers(p->src);
    }
    fake_vm_start_guest(p->src, CHUNK, CHUNK);
    listen_to(p->dst, dst_uri);
    start(p->src, src_uri);
    expect_moved(p);
    fake_pair_free(p);
    g_assert_cmpint(fcntl(to, F_GETFD), ==, -1); /* taken over */
}

static void test_fd_socket(void)
{
    int fds[2];

    for (int answers = 0; answers < 2; answers++) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
                                   fds), ==, 0);
        move_through(fds[0], fds[1], answers);
    }
}

static void test_fd_pipe(void)
{
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    move_through(fds[1], fds[0], /* answers= */ false);
}

static void test_fd_bad(void)
{
    FakePair *p = unlimited_pair_new(&plain, &plain);
    g_autofree char *read_end = NULL;
    g_autofree char *datagrams = NULL;
    g_autofree char *pipe_end = NULL;
    int fds[2], sockets[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    read_end = fd_uri(fds[0]);
    start(p->src, read_end);
    expect_stayed(p->src, "cannot be written");
    pipe_end = fd_uri(fds[1]);
    want_answers(p->src);
    start(p->src, pipe_end);
    expect_stayed(p->src, "return-path");
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets), ==, 0);
    datagrams = fd_uri(sockets[0]);
    start(p->src, datagrams);
    expect_stayed(p->src, "not a stream socket");
    start(p->src, datagrams); /* closed meanwhile */
    expect_stayed(p->src, "Bad file descriptor");
    (void)close(sockets[1]);
    fake_pair_free(p);
}

/* Refused at once: the descriptor is gone all the same. */
static void test_fd_taken(void)
{
    FakePair *p = unlimited_pair_new(&plain, &plain);
    g_autoptr(GError) err = NULL;
    g_autofree char *uri = NULL;
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    uri = fd_uri(fds[1]);
    migration_set_blocker(p->src->mig, "not now");
    g_assert_false(migration_start(p->src->mig, uri, &err));
    g_assert_cmpint(fcntl(fds[1], F_GETFD), ==, -1);
    (void)close(fds[0]);
    fake_pair_free(p);
}

/* -- files -------------------------------------------------------------- */

static char *file_uri(const FakePair *p)
{
    return g_strdup_printf("file:%s/vm", p->dir);
}

static void remove_file(const char *uri)
{
    g_assert_cmpint(g_unlink(uri + strlen("file:")), ==, 0);
}

typedef struct Case {
    const FakeVmConfig *src, *dst;
} Case;

static void test_file(const void *data)
{
    const Case *c = data;
    FakePair *p = unlimited_pair_new(c->src, c->dst);
    g_autofree char *uri = file_uri(p);

    fake_vm_start_guest(p->src, c->src->chunk_pages, c->src->chunk_pages);
    start(p->src, uri);
    expect_end(p->src, MIGRATION_COMPLETED);
    g_assert_false(fake_vm_runs(p->src));
    g_assert_cmpint(p->world.image_owners, ==, 0);
    listen_to(p->dst, uri);
    expect_moved(p);
    remove_file(uri);
    fake_pair_free(p);
}

/* The hottest chunks are in RAM, as many as fit a budget that the source
 * has never heard of. */
static void test_file_placement(void)
{
    FakePair *p = unlimited_pair_new(&paged, &tight);
    g_autofree char *uri = file_uri(p);
    unsigned in_ram = 0;
    int coldest_ram = 256, hottest_swap = -1;

    start(p->src, uri);
    expect_end(p->src, MIGRATION_COMPLETED);
    listen_to(p->dst, uri);
    expect_moved(p);
    for (ChunkNo c = 0; c < PAGES / CHUNK; c++) {
        int key = (uint8_t)(c * 3 + 1);

        if (fake_pager_place(p->dst, c) == RAM_PLACE_RAM) {
            in_ram++;
            coldest_ram = MIN(coldest_ram, key);
        } else if (fake_pager_place(p->dst, c) == RAM_PLACE_SWAP) {
            hottest_swap = MAX(hottest_swap, key);
        }
    }
    g_assert_cmpuint(in_ram, ==, 5);
    g_assert_cmpint(hottest_swap, <=, coldest_ram);
    remove_file(uri);
    fake_pair_free(p);
}

static void test_file_refused(void)
{
    FakePair *p = unlimited_pair_new(&paged, &other_chunk);
    g_autofree char *uri = file_uri(p);
    g_autofree char *nowhere = g_strdup_printf("file:%s/no/vm", p->dir);
    g_autofree char *dir = g_strdup_printf("file:%s", p->dir);

    start(p->src, nowhere);
    expect_stayed(p->src, "No such file");
    start(p->src, dir);
    expect_stayed(p->src, "Is a directory");
    start(p->src, "file:/dev/null");
    expect_stayed(p->src, "not a regular file");
    start(p->src, uri);
    expect_end(p->src, MIGRATION_COMPLETED);
    listen_to(p->dst, uri);
    expect_not_loaded(p->dst, "chunk size differs");
    remove_file(uri);
    fake_pair_free(p);
}

/* A file that a failed job leaves behind has nothing in it. */
static void test_file_failed(void)
{
    FakePair *p = unlimited_pair_new(&paged, &paged);
    g_autofree char *uri = file_uri(p);
    struct stat st;

    fake_pager_fail_export(p->src, 9);
    start(p->src, uri);
    expect_stayed(p->src, "cannot read chunk");
    g_assert_cmpint(stat(uri + strlen("file:"), &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 0);
    listen_to(p->dst, uri);
    expect_not_loaded(p->dst, "closed the connection");
    remove_file(uri);
    fake_pair_free(p);
}

/* -- damage ------------------------------------------------------------- */

static void save_small(char **ret_bytes, gsize *ret_len)
{
    FakePair *p = unlimited_pair_new(&small, &small);
    g_autofree char *uri = file_uri(p);

    start(p->src, uri);
    expect_end(p->src, MIGRATION_COMPLETED);
    g_assert_true(g_file_get_contents(uri + strlen("file:"), ret_bytes,
                                      ret_len, NULL));
    remove_file(uri);
    fake_pair_free(p);
}

/* Loads those bytes; whether the VM ran then. */
static bool load_bytes(const char *bytes, gsize len)
{
    FakeWorld world = { 0 };
    FakeVm *f = fake_vm_new(&world, &small);
    char *dir = fake_dir_new();
    g_autofree char *uri = g_strdup_printf("file:%s/vm", dir);
    bool ran;

    g_assert_true(g_file_set_contents(uri + strlen("file:"), bytes,
                                      (gssize)len, NULL));
    listen_to(f, uri);
    ran = fake_vm_wait(f) == MIGRATION_COMPLETED && fake_vm_runs(f);
    g_assert_true(ran == fake_vm_runs(f));
    remove_file(uri);
    fake_vm_free(f);
    fake_dir_free(dir);
    return ran;
}

static void test_truncated(void)
{
    g_autofree char *bytes = NULL;
    gsize len;

    save_small(&bytes, &len);
    g_assert_true(load_bytes(bytes, len));
    for (gsize n = 0; n < len; n += n + 200 < len && n > 100 ? 97 : 1) {
        g_assert_false(load_bytes(bytes, n));
    }
}

/* One bit, in the HELLO, in some places of RAM, and in devices, COMPLETE and
 * RUN. */
static void test_damaged(void)
{
    g_autofree char *bytes = NULL;
    gsize len, advisory_of_run, advisory_of_complete;

    save_small(&bytes, &len);
    advisory_of_run = len - sizeof(MigWireRun) - sizeof(MigWireRecord) +
                      offsetof(MigWireRecord, flags) + 1;
    advisory_of_complete = advisory_of_run - sizeof(MigWireComplete) -
                           sizeof(MigWireRecord);
    for (gsize at = 0; at < len; at++) {
        if (at > 100 && at + 300 < len && at % 409) {
            continue;
        }
        if (at == advisory_of_run || at == advisory_of_complete) {
            continue; /* they mean nothing, and are in no digest */
        }
        bytes[at] ^= 1 << at % 8;
        if (load_bytes(bytes, len)) {
            g_test_message("byte %zu of %zu", (size_t)at, (size_t)len);
            g_test_fail();
        }
        bytes[at] ^= 1 << at % 8;
    }
}

/* -- commands ----------------------------------------------------------- */

/* Through a command on either side, which two FIFOs join. */
static void test_exec(const void *data)
{
    bool answers = data;
    FakePair *p = unlimited_pair_new(&paged, &paged);
    g_autofree char *there = g_strdup_printf("%s/there", p->dir);
    g_autofree char *back = g_strdup_printf("%s/back", p->dir);
    g_autofree char *src_uri =
        g_strdup_printf("exec:cat %s & cat > %s; wait", back, there);
    g_autofree char *dst_uri =
        g_strdup_printf("exec:cat %s & cat > %s; wait", there, back);

    g_assert_cmpint(mkfifo(there, 0600), ==, 0);
    g_assert_cmpint(mkfifo(back, 0600), ==, 0);
    if (answers) {
        want_answers(p->src);
    }
    listen_to(p->dst, dst_uri);
    start(p->src, src_uri);
    expect_moved(p);
    (void)g_unlink(there);
    (void)g_unlink(back);
    fake_pair_free(p);
}

static void test_exec_dies(void)
{
    FakePair *p = unlimited_pair_new(&plain, &plain);

    start(p->src, "exec:head -c 100000 > /dev/null; exit 4");
    expect_stayed(p->src, "status 4");
    start(p->src, "exec:/nonexistent/command 2> /dev/null");
    expect_stayed(p->src, "status 127");
    want_answers(p->src);
    start(p->src, "exec:head -c 5 > /dev/null; exit 5");
    expect_stayed(p->src, "status 5");
    listen_to(p->dst, "exec:exit 6");
    expect_not_loaded(p->dst, "status 6");
    fake_pair_free(p);
}

/* It has had everything, so it may run elsewhere. */
static void test_exec_fails_late(void)
{
    FakePair *p = unlimited_pair_new(&plain, &plain);

    start(p->src, "exec:cat > /dev/null; exit 3");
    expect_end(p->src, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->src->error, "status 3"));
    g_assert_nonnull(strstr(p->src->error, "stays paused"));
    g_assert_false(fake_vm_runs(p->src));
    g_assert_cmpint(p->src->resumes, ==, 0);
    fake_pair_free(p);
}

/* A whole VM comes out of the command, which then says that it is wrong. */
static void test_exec_says_wrong(void)
{
    FakePair *p = unlimited_pair_new(&paged, &paged);
    g_autofree char *uri = file_uri(p);
    g_autofree char *fails =
        g_strdup_printf("exec:cat %s; exit 7", uri + strlen("file:"));
    g_autofree char *babbles =
        g_strdup_printf("exec:cat %s; echo", uri + strlen("file:"));

    start(p->src, uri);
    expect_end(p->src, MIGRATION_COMPLETED);
    listen_to(p->dst, fails);
    expect_not_loaded(p->dst, "status 7");
    listen_to(p->dst, babbles);
    expect_not_loaded(p->dst, "writes on");
    remove_file(uri);
    fake_pair_free(p);
}

static void test_exec_cancelled(void)
{
    FakePair *p = unlimited_pair_new(&plain, &plain);

    start(p->src, "exec:sleep 1000");
    fake_vm_wait_status(p->src, MIGRATION_ACTIVE);
    migration_cancel(p->src->mig);
    expect_end(p->src, MIGRATION_CANCELLED);
    g_assert_true(fake_vm_runs(p->src));
    fake_pair_free(p);
}

int main(int argc, char **argv)
{
    static const Case cases[] = {
        { &plain, &plain }, { &paged, &paged }, { &plain, &tight },
        { &paged, &plain }, { &tight, &paged },
        { &paged, &smaller_chunk }, { &smaller_chunk, &paged },
    };

    g_test_init(&argc, &argv, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* as the program does */
    g_test_add_func("/link/fd/socket", test_fd_socket);
    g_test_add_func("/link/fd/pipe", test_fd_pipe);
    g_test_add_func("/link/fd/bad", test_fd_bad);
    g_test_add_func("/link/fd/taken", test_fd_taken);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = g_strdup_printf("/link/file/moves/%zu", i);

        g_test_add_data_func(name, &cases[i], test_file);
    }
    g_test_add_func("/link/file/placement", test_file_placement);
    g_test_add_func("/link/file/refused", test_file_refused);
    g_test_add_func("/link/file/failed", test_file_failed);
    g_test_add_func("/link/file/truncated", test_truncated);
    g_test_add_func("/link/file/damaged", test_damaged);
    g_test_add_data_func("/link/exec/one-way", NULL, test_exec);
    g_test_add_data_func("/link/exec/answers", "", test_exec);
    g_test_add_func("/link/exec/dies", test_exec_dies);
    g_test_add_func("/link/exec/fails-late", test_exec_fails_late);
    g_test_add_func("/link/exec/says-wrong", test_exec_says_wrong);
    g_test_add_func("/link/exec/cancelled", test_exec_cancelled);
    return g_test_run();
}
