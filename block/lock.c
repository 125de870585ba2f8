/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks, so that two VMs do not write one image.
 *
 * Why in this form: QEMU and its tools guard images by open-file-description
 * locks on single bytes, one byte for each right that a user exercises and
 * one for each right that it will not share; speaking the same language
 * protects against them too. A user first takes (shared) locks on its bytes
 * and then looks whether anybody holds the opposite byte: two that start at
 * once may both fail, but never both succeed.
 *
 * Bytes: 100 + right in use, 200 + right denied to others; rights are
 * 0 consistent read, 1 write, 3 resize. A disk in use denies write and
 * resize to others.
 *
 * Threads: main or migration thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "block-internal.h"
#include "util/error.h"

#define LOCK_USE_BASE 100
#define LOCK_DENY_BASE 200

enum { RIGHT_READ = 0, RIGHT_WRITE = 1, RIGHT_RESIZE = 3 };

#define BIT(n) (1u << (n))
#define DENIED (BIT(RIGHT_WRITE) | BIT(RIGHT_RESIZE))

static int lock_byte(int fd, off_t byte, short type)
{
    struct flock fl = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
    };

    return fcntl(fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
}

/* 1: somebody else holds the byte; 0: nobody; or -errno. */
static int byte_is_held(int fd, off_t byte)
{
    struct flock fl = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
    };

    if (fcntl(fd, F_OFD_GETLK, &fl) < 0) {
        return -errno;
    }
    return fl.l_type != F_UNLCK;
}

static int take_bytes(int fd, off_t base, unsigned rights)
{
    int r = 0;

    for (unsigned right = 0; rights >> right && r == 0; right++) {
        if (rights & BIT(right)) {
            r = lock_byte(fd, base + right, F_RDLCK);
        }
    }
    return r;
}

static int any_held(int fd, off_t base, unsigned rights)
{
    int r = 0;

    for (unsigned right = 0; rights >> right && r == 0; right++) {
        if (rights & BIT(right)) {
            r = byte_is_held(fd, base + right);
        }
    }
    return r;
}

void block_lock_drop(int fd)
{
    struct flock fl = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

    /* Closing the file would drop them as well. */
    (void) fcntl(fd, F_OFD_SETLK, &fl);
}

bool block_lock_take(int fd, const char *filename, bool read_only,
                     GError **errp)
{
    unsigned used = BIT(RIGHT_READ) | (read_only ? 0 : BIT(RIGHT_WRITE));
    int r = take_bytes(fd, LOCK_USE_BASE, used);

    if (r == 0) {
        r = take_bytes(fd, LOCK_DENY_BASE, DENIED);
    }
    if (r == 0) {
        r = any_held(fd, LOCK_DENY_BASE, used);
    }
    if (r == 0) {
        r = any_held(fd, LOCK_USE_BASE, DENIED);
    }
    if (r == 0) {
        return true;
    }
    block_lock_drop(fd);
    if (r > 0) {
        return vm_error_set(errp, EBUSY,
                            "'%s' is in use by another process (a lock on "
                            "it forbids %s it)", filename,
                            read_only ? "reading" : "writing");
    }
    return vm_error_set(errp, -r, "cannot lock '%s'", filename);
}
