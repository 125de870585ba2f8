/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine's I/O on a real file: what is written is read, what is not all
 * there is an error, and a file that somebody cuts is never made long again
 * with zeros in place of what was lost. Once for each implementation.
 */
#include "../../../vmemdirect/io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096u
#define PAGES 16u

typedef struct Bench {
    int fd;
    VmdIo *io;
    uint8_t *buf;
    int result; /* 1: not yet */
} Bench;

static Bench *bench;

static void on_done(VmdIoRequest *req, int result)
{
    g_assert_cmpint(bench->result, ==, 1);
    bench->result = result;
}

/* Runs one request to its end. */
static int run(Bench *b, VmdIoOp op, uint64_t page, uint32_t count)
{
    VmdIoRequest req = { .op = op, .offset = page * PAGE, .buf = b->buf,
                         .len = count * PAGE, .done = on_done };
    struct pollfd fd = { .fd = b->io->ops->fd(b->io), .events = POLLIN };

    b->result = 1;
    g_assert_cmpint(b->io->ops->submit(b->io, &req), ==, 0);
    b->io->ops->flush(b->io);
    while (b->result == 1) {
        g_assert_cmpint(poll(&fd, 1, 10000), ==, 1);
        (void)b->io->ops->reap(b->io);
    }
    return b->result;
}

static bool begin(Bench *b, bool uring)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *name = NULL;

    *b = (Bench){ .fd = g_file_open_tmp("test-io-XXXXXX", &name, NULL) };
    g_assert_cmpint(b->fd, >=, 0);
    (void)unlink(name);
    g_assert_cmpint(ftruncate(b->fd, PAGES * PAGE), ==, 0);
    b->io = uring ? vmd_io_uring_new(b->fd, PAGES * PAGE, 8, &err)
                  : vmd_io_aio_new(b->fd, PAGES * PAGE, 8, &err);
    if (!b->io) {
        (void)close(b->fd);
        g_test_skip(err->message);
        return false;
    }
    b->buf = g_aligned_alloc0(PAGES, PAGE, PAGE);
    bench = b;
    return true;
}

static void end(Bench *b)
{
    b->io->ops->free(b->io);
    g_aligned_free(b->buf);
    (void)close(b->fd);
}

static void fill_file(Bench *b)
{
    for (uint32_t page = 0; page < PAGES; page++) {
        memset(b->buf + page * PAGE, (int)page + 1, PAGE);
    }
    g_assert_cmpint(run(b, VMD_IO_WRITE, 0, PAGES), ==, 0);
    memset(b->buf, 0, PAGES * PAGE);
}

static void assert_page(Bench *b, uint64_t page)
{
    g_assert_cmpint(run(b, VMD_IO_READ, page, 1), ==, 0);
    g_assert_cmpuint(b->buf[0], ==, page + 1);
    g_assert_cmpuint(b->buf[PAGE - 1], ==, page + 1);
}

static void test_round_trip(gconstpointer uring)
{
    Bench b;

    if (!begin(&b, GPOINTER_TO_INT(uring))) {
        return;
    }
    fill_file(&b);
    for (uint32_t page = 0; page < PAGES; page++) {
        assert_page(&b, page);
    }
    g_assert_cmpint(run(&b, VMD_IO_PUNCH, 4, 2), <=, 0);
    assert_page(&b, 3);
    assert_page(&b, 6);
    end(&b);
}

/* Cut to six pages and a half. */
static void test_cut(gconstpointer uring)
{
    Bench b;

    if (!begin(&b, GPOINTER_TO_INT(uring))) {
        return;
    }
    fill_file(&b);
    g_assert_cmpint(ftruncate(b.fd, 6 * PAGE + PAGE / 2), ==, 0);
    assert_page(&b, 5);
    g_assert_cmpint(run(&b, VMD_IO_READ, 7, 1), ==, -ENODATA);
    g_assert_cmpint(run(&b, VMD_IO_READ, 6, 1), ==, -ENODATA);
    g_assert_cmpint(run(&b, VMD_IO_READ, 0, PAGES), ==, -ENODATA);
    /* A write would make the lost pages read as zeros. */
    g_assert_cmpint(run(&b, VMD_IO_WRITE, 15, 1), ==, -ENODATA);
    g_assert_cmpint(run(&b, VMD_IO_WRITE, 0, 1), ==, -ENODATA);
    g_assert_cmpint(lseek(b.fd, 0, SEEK_END), ==, 6 * PAGE + PAGE / 2);
    /* So does who makes it long again. */
    g_assert_cmpint(ftruncate(b.fd, PAGES * PAGE), ==, 0);
    g_assert_cmpint(run(&b, VMD_IO_READ, 7, 1), ==, -ENODATA);
    g_assert_cmpint(run(&b, VMD_IO_WRITE, 7, 1), ==, -ENODATA);
    assert_page(&b, 5);
    end(&b);
}

/* Noticed by a write, before any read. */
static void test_cut_before_write(gconstpointer uring)
{
    Bench b;

    if (!begin(&b, GPOINTER_TO_INT(uring))) {
        return;
    }
    fill_file(&b);
    g_assert_cmpint(ftruncate(b.fd, 4 * PAGE), ==, 0);
    g_assert_cmpint(run(&b, VMD_IO_WRITE, 12, 1), ==, -ENODATA);
    g_assert_cmpint(ftruncate(b.fd, PAGES * PAGE), ==, 0);
    g_assert_cmpint(run(&b, VMD_IO_READ, 4, 1), ==, -ENODATA);
    assert_page(&b, 3);
    end(&b);
}

/* A write in flight has made it longer again, before anybody looked. */
static void test_cut_and_extended(gconstpointer uring)
{
    Bench b;

    if (!begin(&b, GPOINTER_TO_INT(uring))) {
        return;
    }
    fill_file(&b);
    g_assert_cmpint(ftruncate(b.fd, 4 * PAGE), ==, 0);
    memset(b.buf, 11, PAGE);
    g_assert_cmpint(pwrite(b.fd, b.buf, PAGE, 10 * PAGE), ==, PAGE);
    g_assert_cmpint(run(&b, VMD_IO_WRITE, 12, 1), ==, -ENODATA);
    for (uint64_t page = 4; page < PAGES; page++) {
        if (page != 10) {
            g_assert_cmpint(run(&b, VMD_IO_READ, page, 1), ==, -ENODATA);
        }
    }
    assert_page(&b, 3);
    assert_page(&b, 10);
    end(&b);
}

/* What a system call's result means. */
static void test_advance(void)
{
    VmdIoFile file = { .fd = -1, .bytes = 0 };
    VmdIoRequest req = { .op = VMD_IO_WRITE, .len = 2 * PAGE };
    int result = 1;

    g_assert_true(vmd_io_advance(&file, &req, 512, &result)); /* short */
    g_assert_cmpuint(req.progress, ==, 512);
    g_assert_true(vmd_io_advance(&file, &req, PAGE, &result));
    g_assert_false(vmd_io_advance(&file, &req, PAGE - 512, &result));
    g_assert_cmpint(result, ==, 0);

    req.progress = 0;
    g_assert_false(vmd_io_advance(&file, &req, 100, &result));
    g_assert_cmpint(result, ==, -EIO);
    g_assert_false(vmd_io_advance(&file, &req, 3 * PAGE, &result));
    g_assert_cmpint(result, ==, -EIO);
    g_assert_false(vmd_io_advance(&file, &req, -ENOSPC, &result));
    g_assert_cmpint(result, ==, -ENOSPC);
    g_assert_false(vmd_io_advance(&file, &req, 0, &result));
    g_assert_cmpint(result, ==, -ENODATA);
    req.op = VMD_IO_PUNCH;
    g_assert_false(vmd_io_advance(&file, &req, 0, &result));
    g_assert_cmpint(result, ==, 0);
}

int main(int argc, char **argv)
{
    gconstpointer yes = GINT_TO_POINTER(TRUE), no = GINT_TO_POINTER(FALSE);

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/io/advance", test_advance);
    g_test_add_data_func("/io/uring/round-trip", yes, test_round_trip);
    g_test_add_data_func("/io/uring/cut", yes, test_cut);
    g_test_add_data_func("/io/uring/cut-before-write", yes,
                         test_cut_before_write);
    g_test_add_data_func("/io/uring/cut-and-extended", yes,
                         test_cut_and_extended);
    g_test_add_data_func("/io/aio/round-trip", no, test_round_trip);
    g_test_add_data_func("/io/aio/cut", no, test_cut);
    g_test_add_data_func("/io/aio/cut-before-write", no,
                         test_cut_before_write);
    g_test_add_data_func("/io/aio/cut-and-extended", no,
                         test_cut_and_extended);
    return g_test_run();
}
