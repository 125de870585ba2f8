/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: what the front end sees, and the channel below.
 *
 * Why: all back ends but the null one and the multiplexer move bytes over
 * descriptors; reading when the front end has room and queueing what a slow
 * reader does not take is done once, here.
 *
 * Invariants:
 *   (1) No lock is held when a handler of the front end is called: it takes
 *       its device's lock, which ranks below ours.
 *   (2) out_source exists iff bytes are queued; bytes never overtake: a
 *       direct write happens only while the queue is empty.
 *   (3) Between a can_receive() that said 0 and the pause of the input, an
 *       accept_input() on another thread is noticed by accept_seq.
 *
 * Threads: see chardev.h. Sources are attached to the default context by any
 * thread and run on the main thread.
 */
#include "chardev-internal.h"

#include <errno.h>
#include <glib-unix.h>
#include <unistd.h>

#include "util/error.h"

static gboolean channel_readable(int fd, GIOCondition cond, gpointer data);
static gboolean channel_writable(int fd, GIOCondition cond, gpointer data);

void chardev_init(Chardev *chr, const ChardevOps *ops, const char *id,
                  char *take_label)
{
    chr->ops = ops;
    chr->id = g_strdup(id);
    chr->label = take_label;
    chr->in_fd = -1;
    chr->out_fd = -1;
    chr->out = g_byte_array_new();
    vm_mutex_init(&chr->lock, VM_RANK_BACKEND);
}

void chardev_free(Chardev *chr)
{
    if (!chr) {
        return;
    }
    chr->handler = NULL;
    chardev_flush(chr);
    chardev_channel_close(chr);
    if (chr->ops->done) {
        chr->ops->done(chr);
    }
    vm_mutex_done(&chr->lock);
    g_byte_array_unref(chr->out);
    g_free(chr->label);
    g_free(chr->id);
    g_free(chr);
}

const char *chardev_id(const Chardev *chr)
{
    return chr->id;
}

const char *chardev_label(const Chardev *chr)
{
    return chr->label;
}

void chardev_set_label(Chardev *chr, char *take_label)
{
    g_free(chr->label);
    chr->label = take_label;
}

void chardev_set_opened(Chardev *chr, bool opened)
{
    if (chr->opened == opened) {
        return;
    }
    chr->opened = opened;
    if (chr->handler && chr->handler->event) {
        chr->handler->event(chr->opaque,
                            opened ? CHARDEV_OPENED : CHARDEV_CLOSED);
    }
}

/* ---- Sources (lock held) ------------------------------------------------ */

static GSource *add_source_locked(Chardev *chr, int fd, GIOCondition cond,
                                  GUnixFDSourceFunc fn)
{
    GSource *source = g_unix_fd_source_new(fd, cond);

    g_source_set_callback(source, G_SOURCE_FUNC(fn), chr, NULL);
    g_source_attach(source, NULL);
    return source;
}

static void drop_source(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        g_source_unref(*source);
        *source = NULL;
    }
}

static void watch_input_locked(Chardev *chr, bool paused)
{
    drop_source(&chr->in_source);
    chr->in_paused = paused;
    /* A back end that can be opened again gives up a peer that hung up while
     * nobody reads, so that the next one gets in; others (a pipe on stdin)
     * keep the bytes until somebody reads. */
    if (chr->in_fd < 0 || (paused && !chr->ops->input_ended)) {
        return;
    }
    /* Poll reports hang-ups and errors unasked. */
    chr->in_source = add_source_locked(chr, chr->in_fd,
                                       paused ? G_IO_HUP : G_IO_IN,
                                       channel_readable);
}

/* ---- Output ------------------------------------------------------------- */

static ssize_t channel_send(Chardev *chr, const uint8_t *buf, size_t len)
{
    ssize_t n;

    do {
        n = chr->ops->send ? chr->ops->send(chr, buf, len)
                           : write(chr->out_fd, buf, len);
    } while (n < 0 && errno == EINTR);
    return n;
}

static void forget_queue_locked(Chardev *chr)
{
    drop_source(&chr->out_source);
    g_byte_array_set_size(chr->out, 0);
    chr->out_sent = 0;
}

/*
 * Writes without blocking. What cannot be written now is queued; what will
 * never be (the peer is gone, the disk is full) is dropped: the reader's side
 * learns of it by itself.
 */
static void send_or_queue_locked(Chardev *chr, const uint8_t *buf, size_t len)
{
    size_t room;

    while (chr->out->len == 0 && len > 0) {
        ssize_t n = channel_send(chr, buf, len);

        if (n < 0 && errno != EAGAIN) {
            return;
        }
        if (n < 0) {
            break;
        }
        buf += n;
        len -= n;
    }
    if (len == 0) {
        return;
    }
    room = CHARDEV_QUEUE_MAX_BYTES - MIN(chr->out->len,
                                         CHARDEV_QUEUE_MAX_BYTES);
    g_byte_array_append(chr->out, buf, MIN(len, room));
    if (!chr->out_source) {
        chr->out_source = add_source_locked(chr, chr->out_fd, G_IO_OUT,
                                            channel_writable);
    }
}

static void flush_locked(Chardev *chr)
{
    while (chr->out_sent < chr->out->len) {
        ssize_t n = channel_send(chr, chr->out->data + chr->out_sent,
                                 chr->out->len - chr->out_sent);

        if (n < 0 && errno == EAGAIN) {
            /* Keep the array from growing for ever at its head. */
            if (chr->out_sent >= CHARDEV_QUEUE_MAX_BYTES / 4) {
                g_byte_array_remove_range(chr->out, 0, chr->out_sent);
                chr->out_sent = 0;
            }
            return;
        }
        if (n < 0) {
            break; /* the peer is gone */
        }
        chr->out_sent += n;
    }
    forget_queue_locked(chr);
}

static gboolean channel_writable(int fd, GIOCondition cond, gpointer data)
{
    Chardev *chr = data;
    bool drained, more;

    vm_mutex_lock(&chr->lock);
    flush_locked(chr);
    more = chr->out->len > 0;
    drained = !more && chr->draining;
    vm_mutex_unlock(&chr->lock);
    if (drained && chr->ops->drained) {
        chr->ops->drained(chr);
    }
    return more ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

void chardev_write(Chardev *chr, const void *buf, size_t len)
{
    if (chr->ops->write) {
        chr->ops->write(chr, buf, len);
        return;
    }
    vm_mutex_lock(&chr->lock);
    if (chr->out_fd >= 0 && !chr->draining) {
        send_or_queue_locked(chr, buf, len);
    }
    vm_mutex_unlock(&chr->lock);
}

void chardev_flush(Chardev *chr)
{
    if (chr->ops->flush) {
        chr->ops->flush(chr);
        return;
    }
    vm_mutex_lock(&chr->lock);
    if (chr->out_fd >= 0) {
        flush_locked(chr);
    }
    vm_mutex_unlock(&chr->lock);
}

/* ---- Input -------------------------------------------------------------- */

static void input_ended(Chardev *chr)
{
    vm_mutex_lock(&chr->lock);
    drop_source(&chr->in_source);
    chr->in_fd = -1;
    vm_mutex_unlock(&chr->lock);
    if (chr->ops->input_ended) {
        chr->ops->input_ended(chr);
    } else {
        chardev_set_opened(chr, false);
    }
}

static ssize_t channel_read(Chardev *chr, int fd, uint8_t *buf, size_t len)
{
    ssize_t n;

    do {
        n = chr->ops->read ? chr->ops->read(chr, buf, len)
                           : read(fd, buf, len);
    } while (n < 0 && errno == EINTR);
    return n;
}

static size_t front_end_room(Chardev *chr)
{
    return chr->handler ? chr->handler->can_receive(chr->opaque) : 0;
}

static gboolean channel_readable(int fd, GIOCondition cond, gpointer data)
{
    Chardev *chr = data;
    uint8_t buf[CHARDEV_READ_BYTES];
    unsigned seq;
    bool paused;
    size_t room;
    ssize_t n;

    vm_mutex_lock(&chr->lock);
    paused = chr->in_paused;
    seq = chr->accept_seq;
    vm_mutex_unlock(&chr->lock);
    if (paused) {
        input_ended(chr); /* nothing but a hang-up wakes us */
        return G_SOURCE_REMOVE;
    }
    room = front_end_room(chr);
    if (room == 0) {
        vm_mutex_lock(&chr->lock);
        if (chr->accept_seq == seq) { /* (3) */
            watch_input_locked(chr, /* paused= */ true);
        }
        vm_mutex_unlock(&chr->lock);
        return G_SOURCE_CONTINUE; /* ignored if the source is replaced */
    }
    n = channel_read(chr, fd, buf, MIN(room, sizeof(buf)));
    if (n > 0) {
        chr->handler->receive(chr->opaque, buf, n);
    } else if (n == 0 || errno != EAGAIN) {
        input_ended(chr);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

void chardev_accept_input(Chardev *chr)
{
    if (chr->ops->accept_input) {
        chr->ops->accept_input(chr);
        return;
    }
    vm_mutex_lock(&chr->lock);
    chr->accept_seq++;
    if (chr->in_fd >= 0 && chr->in_paused) {
        watch_input_locked(chr, /* paused= */ false);
    }
    vm_mutex_unlock(&chr->lock);
}

/* ---- Channel ------------------------------------------------------------ */

void chardev_channel_open(Chardev *chr, int in_fd, int out_fd)
{
    vm_mutex_lock(&chr->lock);
    chr->in_fd = in_fd;
    chr->out_fd = out_fd;
    chr->draining = false;
    watch_input_locked(chr, /* paused= */ !chr->handler);
    vm_mutex_unlock(&chr->lock);
}

void chardev_channel_close(Chardev *chr)
{
    vm_mutex_lock(&chr->lock);
    drop_source(&chr->in_source);
    forget_queue_locked(chr);
    chr->in_fd = -1;
    chr->out_fd = -1;
    vm_mutex_unlock(&chr->lock);
}

bool chardev_channel_drain(Chardev *chr)
{
    bool empty;

    vm_mutex_lock(&chr->lock);
    chr->draining = true;
    if (chr->out_fd >= 0) {
        flush_locked(chr);
    }
    empty = chr->out->len == 0;
    vm_mutex_unlock(&chr->lock);
    return empty;
}

/* ---- Front end ---------------------------------------------------------- */

bool chardev_attach(Chardev *chr, const ChardevHandler *handler, void *opaque,
                    GError **errp)
{
    if (chr->handler) {
        return vm_error_set(errp, 0, "chardev '%s' is in use already",
                            chr->id);
    }
    chr->handler = handler;
    chr->opaque = opaque;
    if (chr->ops->attached) {
        chr->ops->attached(chr);
    }
    if (chr->opened && handler->event) {
        handler->event(opaque, CHARDEV_OPENED);
    }
    chardev_accept_input(chr);
    return true;
}

void chardev_detach(Chardev *chr)
{
    chr->handler = NULL; /* the next input finds no room and pauses */
    chr->opaque = NULL;
    if (chr->ops->attached) {
        chr->ops->attached(chr);
    }
}
