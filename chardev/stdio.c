/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stdio back end: standard input and output, a terminal in raw mode.
 *
 * Why raw: the guest's tty does the echoing and line editing. With signal=on
 * Ctrl-c still ends the VM; with signal=off it goes to the guest.
 *
 * Invariants:
 *   (1) Terminal modes and O_NONBLOCK belong to the open file, which others
 *       (the shell) share: whatever was changed is put back when the chardev
 *       goes or the process exits.
 *   (2) One stdio chardev at a time.
 *
 * Threads: main thread; see chardev.h.
 */
#include "chardev-internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "util/error.h"

/* (2): what to put back, valid while in_use. */
static struct {
    bool in_use;
    bool exit_hook; /* registered once a process */
    bool is_tty;
    struct termios tty;
    int flags_in, flags_out;
} stdio_saved;

/* (1) */
static void stdio_restore(void)
{
    if (!stdio_saved.in_use) {
        return;
    }
    stdio_saved.in_use = false;
    if (stdio_saved.is_tty) {
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &stdio_saved.tty);
    }
    (void)fcntl(STDOUT_FILENO, F_SETFL, stdio_saved.flags_out);
    (void)fcntl(STDIN_FILENO, F_SETFL, stdio_saved.flags_in);
}

static void stdio_done(Chardev *chr)
{
    stdio_restore();
}

static const ChardevOps stdio_ops = {
    .done = stdio_done,
};

static void make_raw(bool signals)
{
    struct termios raw = stdio_saved.tty;

    raw.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR |
                     ICRNL | IXON);
    raw.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals) {
        raw.c_lflag &= ~ISIG;
    }
    raw.c_cflag &= ~(CSIZE | PARENB);
    raw.c_cflag |= CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

Chardev *chardev_stdio_new(const char *id, bool signals, GError **errp)
{
    Chardev *chr;

    if (stdio_saved.in_use) {
        vm_error_set(errp, 0,
                     "cannot use stdio by multiple character devices");
        return NULL;
    }
    stdio_saved.flags_in = fcntl(STDIN_FILENO, F_GETFL);
    stdio_saved.flags_out = fcntl(STDOUT_FILENO, F_GETFL);
    if (stdio_saved.flags_in < 0 || stdio_saved.flags_out < 0) {
        vm_error_set(errp, 0, "chardev '%s': stdin or stdout is closed", id);
        return NULL;
    }
    stdio_saved.in_use = true;
    if (!stdio_saved.exit_hook) {
        stdio_saved.exit_hook = true;
        (void)atexit(stdio_restore);
    }
    stdio_saved.is_tty = tcgetattr(STDIN_FILENO, &stdio_saved.tty) == 0;
    if (stdio_saved.is_tty) {
        make_raw(signals);
    }
    (void)fcntl(STDIN_FILENO, F_SETFL, stdio_saved.flags_in | O_NONBLOCK);
    (void)fcntl(STDOUT_FILENO, F_SETFL, stdio_saved.flags_out | O_NONBLOCK);

    chr = g_new0(Chardev, 1);
    chardev_init(chr, &stdio_ops, id, g_strdup("stdio"));
    chardev_channel_open(chr, STDIN_FILENO, STDOUT_FILENO);
    chr->opened = true;
    return chr;
}
