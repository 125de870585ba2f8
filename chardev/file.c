/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file back end: output only, into a regular file, device or FIFO.
 *
 * Why: logs of a guest's serial port or debug console. O_NONBLOCK matters for
 * FIFOs and devices only; a regular file takes the bytes at once, and a full
 * disk loses them.
 *
 * A descriptor that was passed ("/proc/self/fd/N", from -add-fd) is copied, not
 * opened anew: it may be of a file that this user must not open.
 *
 * Threads: see chardev.h.
 */
#include "chardev-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/size.h"

#define PASSED "/proc/self/fd/"

typedef struct FileChardev {
    Chardev chr;
    int fd;
} FileChardev;

static void file_done(Chardev *chr)
{
    vm_close_fd(&((FileChardev *)chr)->fd);
}

static const ChardevOps file_ops = {
    .done = file_done,
};

/* -1 and errno. Who passed it has said whether it appends. */
static int copy_passed(uint64_t number)
{
    int flags = number <= G_MAXINT ? fcntl((int)number, F_GETFL) : -1;

    if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    /* Shared with who passed it, who does not write. */
    return flags < 0 || fcntl((int)number, F_SETFL, flags | O_NONBLOCK) < 0
               ? -1
               : fcntl((int)number, F_DUPFD_CLOEXEC, 3);
}

static int open_file(const char *path, bool append)
{
    uint64_t number;

    if (g_str_has_prefix(path, PASSED) &&
        vm_u64_parse(path + strlen(PASSED), "fd", &number, NULL)) {
        return copy_passed(number);
    }
    return open(path,
                O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
                    (append ? O_APPEND : O_TRUNC),
                0666);
}

Chardev *chardev_file_new(const char *id, const char *path, bool append,
                          GError **errp)
{
    FileChardev *f;
    int fd = open_file(path, append);

    if (fd < 0) {
        vm_error_set(errp, errno, "chardev '%s': open '%s'", id, path);
        return NULL;
    }
    f = g_new0(FileChardev, 1);
    f->fd = fd;
    chardev_init(&f->chr, &file_ops, id, g_strdup_printf("file:%s", path));
    chardev_channel_open(&f->chr, -1, fd);
    f->chr.opened = true;
    return &f->chr;
}
