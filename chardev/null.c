/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The null back end: takes all output, gives no input.
 *
 * Why: "-serial null" gives the guest a port that goes nowhere. Threads: see
 * chardev.h.
 */
#include "chardev-internal.h"

static void null_write(Chardev *chr, const uint8_t *buf, size_t len)
{
}

static void null_accept_input(Chardev *chr)
{
}

static const ChardevOps null_ops = {
    .write = null_write,
    .accept_input = null_accept_input,
};

Chardev *chardev_null_new(const char *id)
{
    Chardev *chr = g_new0(Chardev, 1);

    chardev_init(chr, &null_ops, id, g_strdup("null"));
    chr->opened = true;
    return chr;
}
