/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util/fd.c and util/clock.c: transfers that finish, vectors that shrink.
 */
#include "util/fd.h"
#include "util/clock.h"
#include "util/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_close_keeps_errno(void)
{
    int fd = 987654; /* not open: close() fails with EBADF */

    errno = ENOSPC;
    vm_close_fd(&fd);
    g_assert_cmpint(errno, ==, ENOSPC);
    g_assert_cmpint(fd, ==, -1);
    vm_close_fd(&fd);
}

static void test_autofd_and_steal(void)
{
    int number, kept;

    {
        vm_autofd fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        vm_autofd other = open("/dev/null", O_RDONLY | O_CLOEXEC);

        number = fd;
        kept = vm_steal_fd(&other);
        g_assert_cmpint(other, ==, -1);
    }
    g_assert_cmpint(fcntl(number, F_GETFD), ==, -1);
    g_assert_cmpint(fcntl(kept, F_GETFD), !=, -1);
    vm_close_fd(&kept);
}

#define PIPE_BYTES (300 * 1000) /* several times a pipe's buffer */

typedef struct Feed {
    int fd;
    const char *bytes;
    int result;
} Feed;

static void feed_pipe(void *opaque)
{
    Feed *feed = opaque;

    feed->result = vm_write_full(feed->fd, feed->bytes, PIPE_BYTES);
    vm_close_fd(&feed->fd);
}

/* More than the pipe holds: both sides go through short counts. */
static void test_pipe(void)
{
    g_autofree char *sent = g_malloc(PIPE_BYTES);
    g_autofree char *got = g_malloc0(PIPE_BYTES);
    Feed feed = { .bytes = sent };
    VmThread *writer;
    int fds[2];
    char byte;

    for (int i = 0; i < PIPE_BYTES; i++) {
        sent[i] = (char)(i * 31 >> 3);
    }
    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    feed.fd = fds[1];
    writer = vm_thread_new("writer", feed_pipe, &feed);
    g_assert_cmpint(vm_read_full(fds[0], got, PIPE_BYTES), ==, 0);
    g_assert_cmpint(vm_read_full(fds[0], &byte, 1), ==, -ENODATA);
    vm_thread_join(writer);
    g_assert_cmpint(feed.result, ==, 0);
    g_assert_cmpmem(sent, PIPE_BYTES, got, PIPE_BYTES);
    vm_close_fd(&fds[0]);
}

static void test_file(void)
{
    vm_autofd fd = memfd_create("test", MFD_CLOEXEC);
    char buf[8] = { 0 };

    g_assert_cmpint(vm_pwrite_full(fd, "abcdef", 6, 100), ==, 0);
    g_assert_cmpint(vm_pread_full(fd, buf, 6, 100), ==, 0);
    g_assert_cmpstr(buf, ==, "abcdef");
    g_assert_cmpint(vm_pread_full(fd, buf, 3, 104), ==, -ENODATA);
    g_assert_cmpint(vm_pread_full(fd, buf, 0, 5000), ==, 0);
}

static void test_errors(void)
{
    vm_autofd fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char byte = 0;

    g_assert_cmpint(vm_write_full(fd, &byte, 1), ==, -EBADF);
    g_assert_cmpint(vm_pwrite_full(fd, &byte, 1, 0), ==, -EBADF);
    g_assert_cmpint(vm_read_full(-1, &byte, 1), ==, -EBADF);
    g_assert_cmpint(vm_pread_full(fd, &byte, 1, -1), ==, -EINVAL);
    g_assert_cmpint(vm_read_full(fd, &byte, 1), ==, -ENODATA);
}

/* Every way to cut a vector with empty elements in two. */
static void test_iov_advance(void)
{
    char bytes[10] = "0123456789";

    for (size_t cut = 0; cut <= sizeof(bytes); cut++) {
        struct iovec v[] = {
            { bytes, 0 },     { bytes, 3 },     { bytes + 3, 0 },
            { bytes + 3, 1 }, { bytes + 4, 6 }, { bytes, 0 },
        };
        struct iovec *iov = v;
        int n = G_N_ELEMENTS(v);

        g_assert_cmpuint(vm_iov_bytes(iov, n), ==, sizeof(bytes));
        vm_iov_advance(&iov, &n, cut);
        g_assert_cmpuint(vm_iov_bytes(iov, n), ==, sizeof(bytes) - cut);
        if (cut < sizeof(bytes)) {
            g_assert_cmpint(*(char *)iov->iov_base, ==, bytes[cut]);
        } else {
            g_assert_cmpint(n, ==, 0);
        }
    }
}

static void test_clocks(void)
{
    int64_t before_ns = vm_clock_ns();
    int64_t after_ns = vm_clock_ns();
    int64_t wall_s = g_get_real_time() / G_USEC_PER_SEC;

    g_assert_cmpint(before_ns, >, 0);
    g_assert_cmpint(after_ns, >=, before_ns);
    g_assert_cmpint(vm_clock_real_ns() / VM_NS_PER_SEC - wall_s, <=, 1);
    g_assert_cmpint(vm_clock_real_ns() / VM_NS_PER_SEC - wall_s, >=, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/util/fd/close-keeps-errno", test_close_keeps_errno);
    g_test_add_func("/util/fd/autofd-and-steal", test_autofd_and_steal);
    g_test_add_func("/util/fd/pipe", test_pipe);
    g_test_add_func("/util/fd/file", test_file);
    g_test_add_func("/util/fd/errors", test_errors);
    g_test_add_func("/util/fd/iov-advance", test_iov_advance);
    g_test_add_func("/util/clock/clocks", test_clocks);
    return g_test_run();
}
