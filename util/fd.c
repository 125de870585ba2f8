/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads and writes that finish, and vectors that shrink as they are written.
 *
 * Why: read(2) and write(2) may stop short or be interrupted; each caller
 * that forgets this has a rare bug. Threads: any; nothing is shared here.
 */
#include "util/fd.h"

#include <errno.h>
#include <glib.h>
#include <unistd.h>

void vm_close_fd(int *fd)
{
    int saved = errno;

    if (*fd >= 0) {
        /* Linux frees the number even when close() reports an error. */
        (void)close(*fd);
        *fd = -1;
    }
    errno = saved;
}

int vm_steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

/* What one transfer returned: bytes (> 0), 0 to try again, or -errno. */
static ssize_t transfer_result(ssize_t n)
{
    if (n > 0) {
        return n;
    }
    if (n == 0) {
        return -ENODATA;
    }
    return errno == EINTR ? 0 : -errno;
}

int vm_read_full(int fd, void *buf, size_t len)
{
    char *at = buf;

    while (len > 0) {
        ssize_t n = transfer_result(read(fd, at, len));

        if (n < 0) {
            return (int)n;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int vm_write_full(int fd, const void *buf, size_t len)
{
    const char *at = buf;

    while (len > 0) {
        ssize_t n = transfer_result(write(fd, at, len));

        if (n < 0) {
            return (int)n;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int vm_pread_full(int fd, void *buf, size_t len, off_t offset)
{
    char *at = buf;

    while (len > 0) {
        ssize_t n = transfer_result(pread(fd, at, len, offset));

        if (n < 0) {
            return (int)n;
        }
        at += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

int vm_pwrite_full(int fd, const void *buf, size_t len, off_t offset)
{
    const char *at = buf;

    while (len > 0) {
        ssize_t n = transfer_result(pwrite(fd, at, len, offset));

        if (n < 0) {
            return (int)n;
        }
        at += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

void vm_iov_advance(struct iovec **iov, int *iovcnt, size_t bytes)
{
    while (*iovcnt > 0 && bytes >= (*iov)->iov_len) {
        bytes -= (*iov)->iov_len;
        (*iov)++;
        (*iovcnt)--;
    }
    if (bytes > 0) {
        g_assert(*iovcnt > 0);
        (*iov)->iov_base = (char *)(*iov)->iov_base + bytes;
        (*iov)->iov_len -= bytes;
    }
}

size_t vm_iov_bytes(const struct iovec *iov, int iovcnt)
{
    size_t bytes = 0;

    for (int i = 0; i < iovcnt; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}
