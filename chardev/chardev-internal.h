/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the back ends share: the object, and a channel over two descriptors
 * with a bounded output queue.
 *
 * A back end embeds Chardev as its first member, fills in ops and calls
 * chardev_init(). It may hand the channel descriptors (chardev_channel_open)
 * and then has nothing to do but say what the end of input means.
 *
 * Threads: main thread, but where a member says otherwise.
 */
#ifndef VM_CHARDEV_INTERNAL_H
#define VM_CHARDEV_INTERNAL_H

#include <sys/types.h>

#include "chardev/chardev.h"
#include "util/thread.h"

/* A reader that is this far behind loses output: above a QMP schema dump,
 * below what hurts the host. */
#define CHARDEV_QUEUE_MAX_BYTES ((size_t)4 << 20)
#define CHARDEV_READ_BYTES ((size_t)4096)

typedef struct ChardevOps {
    /* Instead of the channel. Any thread. */
    void (*write)(Chardev *chr, const uint8_t *buf, size_t len);
    void (*accept_input)(Chardev *chr);
    void (*flush)(Chardev *chr);
    /* A front end came (chr->handler set) or went. Optional. */
    void (*attached)(Chardev *chr);
    /* Reads like read(2); NULL: read(2). */
    ssize_t (*read)(Chardev *chr, uint8_t *buf, size_t len);
    ssize_t (*send)(Chardev *chr, const uint8_t *buf, size_t len);
    /* The channel's input ended or failed; its input watch is gone. NULL:
     * tells the front end CLOSED and keeps the output. */
    void (*input_ended)(Chardev *chr);
    /* The last queued byte went out after chardev_channel_drain(). */
    void (*drained)(Chardev *chr);
    /* Frees what the embedding struct holds, not the struct. Optional. */
    void (*done)(Chardev *chr);
} ChardevOps;

struct Chardev {
    /* Immutable after chardev_init(). */
    const ChardevOps *ops;
    char *id;

    /* Main thread only. */
    char *label;
    const ChardevHandler *handler; /* NULL: no front end */
    void *opaque;
    bool opened; /* the front end has been told, or would have been */

    /* Protected by lock (rank VM_RANK_BACKEND). */
    VmMutex lock;
    int in_fd, out_fd;   /* -1: none; borrowed from the back end */
    GSource *in_source;  /* set and cleared under lock, destroyed by main */
    bool in_paused;      /* in_source only waits for a hang-up */
    unsigned accept_seq; /* chardev_accept_input() calls so far */
    GSource *out_source; /* there iff out is not empty */
    GByteArray *out;
    size_t out_sent; /* bytes at the head of out that are gone */
    bool draining;   /* takes no more; tells drained() when empty */
};

void chardev_init(Chardev *chr, const ChardevOps *ops, const char *id,
                  char *take_label);
void chardev_set_label(Chardev *chr, char *take_label);
/* Tells the front end, once a change. */
void chardev_set_opened(Chardev *chr, bool opened);

/* The descriptors are the back end's to close, after chardev_channel_close().
 * Either may be -1. Both are non-blocking, or never block. */
void chardev_channel_open(Chardev *chr, int in_fd, int out_fd);
/* Forgets the descriptors and what is queued. */
void chardev_channel_close(Chardev *chr);
/* Writes what is queued, refuses more; true if nothing is left to write,
 * else drained() will be called. */
bool chardev_channel_drain(Chardev *chr);

/* Back ends. id may be NULL in none of them. */
Chardev *chardev_null_new(const char *id);
Chardev *chardev_stdio_new(const char *id, bool signals, GError **errp);
Chardev *chardev_file_new(const char *id, const char *path, bool append,
                          GError **errp);
Chardev *chardev_pty_new(const char *id, GError **errp);
/* Takes its properties from kv: path, host, port, fd, server, wait... */
Chardev *chardev_socket_new(const char *id, VmKeyval *kv, GError **errp);
/* Consumes base. */
Chardev *chardev_mux_new(const char *id, Chardev *take_base);
Chardev *chardev_mux_monitor(Chardev *mux); /* NULL if it is no mux */

#endif
