/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file back end: output only, into a regular file, device or FIFO.
 *
 * Why: logs of a guest's serial port or debug console. O_NONBLOCK matters for
 * FIFOs and devices only; a regular file takes the bytes at once, and a full
 * disk loses them. Threads: see chardev.h.
 */
#include "chardev-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

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

Chardev *chardev_file_new(const char *id, const char *path, bool append,
                          GError **errp)
{
    FileChardev *f;
    int fd = open(path,
                  O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
                      (append ? O_APPEND : O_TRUNC),
                  0666);

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
