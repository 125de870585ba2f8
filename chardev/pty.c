/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pty back end: a pseudo-terminal whose other end somebody opens by name.
 *
 * Why a timer: Linux shows "nobody has the slave open" as POLLHUP on the
 * master, and its end by nothing that could be waited for. While nobody is
 * there, output is dropped and a timer looks again.
 *
 * Threads: main thread; see chardev.h.
 */
#include "chardev-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

#define PTY_LOOK_INTERVAL_MS 200

typedef struct PtyChardev {
    Chardev chr;
    int master;
    guint timer; /* 0: somebody is connected */
} PtyChardev;

static gboolean pty_look(gpointer data)
{
    PtyChardev *p = data;
    struct pollfd pfd = { .fd = p->master, .events = POLLOUT };

    if (poll(&pfd, 1, 0) < 0 || (pfd.revents & POLLHUP)) {
        return G_SOURCE_CONTINUE;
    }
    p->timer = 0;
    chardev_channel_open(&p->chr, p->master, p->master);
    chardev_set_opened(&p->chr, true);
    return G_SOURCE_REMOVE;
}

static void pty_input_ended(Chardev *chr)
{
    PtyChardev *p = (PtyChardev *)chr;

    chardev_channel_close(chr);
    chardev_set_opened(chr, false);
    p->timer = g_timeout_add(PTY_LOOK_INTERVAL_MS, pty_look, p);
}

static void pty_done(Chardev *chr)
{
    PtyChardev *p = (PtyChardev *)chr;

    if (p->timer) {
        g_source_remove(p->timer);
    }
    vm_close_fd(&p->master);
}

static const ChardevOps pty_ops = {
    .input_ended = pty_input_ended,
    .done = pty_done,
};

/* The slave keeps its modes while the master is open. */
static int pty_set_raw(const char *name)
{
    vm_autofd slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios raw;

    if (slave < 0 || tcgetattr(slave, &raw) < 0) {
        return -errno;
    }
    cfmakeraw(&raw);
    return tcsetattr(slave, TCSAFLUSH, &raw) < 0 ? -errno : 0;
}

static int pty_open_master(char *name, size_t name_bytes)
{
    vm_autofd fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    int r;

    if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0) {
        return -errno;
    }
    r = ptsname_r(fd, name, name_bytes);
    if (r == 0) {
        r = -pty_set_raw(name);
    }
    return r ? -r : vm_steal_fd(&fd);
}

Chardev *chardev_pty_new(const char *id, GError **errp)
{
    char name[64];
    int fd = pty_open_master(name, sizeof(name));
    PtyChardev *p;

    if (fd < 0) {
        vm_error_set(errp, -fd, "chardev '%s': cannot open a pty", id);
        return NULL;
    }
    p = g_new0(PtyChardev, 1);
    p->master = fd;
    chardev_init(&p->chr, &pty_ops, id, g_strdup_printf("pty:%s", name));
    p->timer = g_timeout_add(PTY_LOOK_INTERVAL_MS, pty_look, p);
    /* Not an error message: where else would a person learn the name? */
    fprintf(stderr, "char device redirected to %s (label %s)\n", name, id);
    return &p->chr;
}
