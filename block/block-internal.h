/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backend as its files see it: options and files (block.c), locks
 * (lock.c), requests (request.c).
 *
 * Threads: as in block/block.h.
 */
#ifndef VM_BLOCK_BLOCK_INTERNAL_H
#define VM_BLOCK_BLOCK_INTERNAL_H

#include <liburing.h>
#include <stdatomic.h>

#include "block/block.h"

/* Requests with the kernel at one time; more wait in a list. */
#define BLOCK_DEPTH 128
/* Bounce buffers are no larger, whatever the guest asks for. */
#define BLOCK_BOUNCE_BYTES ((uint64_t)1 << 20)

struct BlockBackend {
    /* Immutable after block_backend_new(). */
    char *id, *filename;
    int fd;
    bool read_only, direct, no_flush, write_cache, discard, locking;
    uint64_t bytes;
    unsigned alignment; /* 1 unless direct */

    /* Main thread; changes only while drained. */
    bool active, claimed;

    /* I/O thread only. */
    bool started;
    struct io_uring ring;
    GMainContext *context;
    GSource *source, *retry; /* completions; a submit to try again */
    GQueue waiting;          /* of BlockJob *, in order of arrival */
    unsigned in_flight;
    bool exclusive; /* the one in flight tolerates no other */

    /* Atomic: written by the I/O thread, read by any. Relaxed: each counter
     * is right by itself. */
    struct {
        atomic_uint_fast64_t operations, failed, bytes, total_ns;
    } counters[BLOCK_OPS];
};

/* Byte-range locks; see lock.c. */
bool block_lock_take(int fd, const char *filename, bool read_only,
                     GError **errp);
void block_lock_drop(int fd);

/* For tests: pretends that the file wants this alignment. */
void block_backend_set_alignment(BlockBackend *blk, unsigned alignment);

void block_requests_done(BlockBackend *blk);

#endif
