/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block backends: an image that virtio-blk reads and writes.
 *
 * Requests are asynchronous; completions are delivered on the GMainContext
 * given at opening (the I/O thread's). The caller keeps the iovecs mapped and
 * pinned (dma_map()) until done().
 *
 * Threads: submit and completion on the I/O thread only; open and close on
 * the main thread while no request is in flight. done() is never called from
 * within block_backend_submit(), so that a lock may be held around the one
 * that the other takes.
 */
#ifndef VM_BLOCK_BLOCK_H
#define VM_BLOCK_BLOCK_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/keyval.h"

typedef struct BlockBackend BlockBackend;

typedef enum BlockOp {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,
    BLOCK_DISCARD,
    BLOCK_WRITE_ZEROES,
} BlockOp;
#define BLOCK_OPS 5u /* how many there are */

typedef struct BlockRequest BlockRequest;
struct BlockRequest {
    BlockOp op;
    uint64_t offset, len; /* bytes, multiples of 512 */
    const struct iovec *iov;
    int iovcnt;
    bool fua;       /* WRITE: on stable storage before done() */
    bool may_unmap; /* WRITE_ZEROES: may give the blocks back */
    void (*done)(BlockRequest *req, int result); /* 0 or -errno */
    void *opaque;
    void *backend_private;
};

/*
 * -drive if=none,id=,file=,format=raw,readonly=,cache=none|writeback|...,
 * aio=, discard=, or -blockdev's raw over file (driver=raw,file.driver=file,
 * file.filename=...,node-name=). Other formats and drivers are refused by
 * name. aio= is checked and otherwise without effect: requests always go by
 * io_uring. The file is locked as QEMU does (shared for read-only): a second
 * user is refused.
 */
BlockBackend *block_backend_new(VmKeyval *options, GError **errp);
/* The same for an incoming migration: not locked, and nothing may be written,
 * until block_backend_activate(). */
BlockBackend *block_backend_new_inactive(VmKeyval *options, GError **errp);
void block_backend_free(BlockBackend *blk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockBackend, block_backend_free)

const char *block_backend_id(const BlockBackend *blk);
const char *block_backend_filename(const BlockBackend *blk);
uint64_t block_backend_bytes(const BlockBackend *blk);
bool block_backend_read_only(const BlockBackend *blk);
/* Requests that are multiples of this need no bounce buffer. */
unsigned block_backend_sector_bytes(const BlockBackend *blk);
/* false with cache=writethrough|directsync: each write shall be stable. */
bool block_backend_write_cache(const BlockBackend *blk);
/* O_DIRECT; and whether flushes are left out (cache=unsafe). */
bool block_backend_direct(const BlockBackend *blk);
bool block_backend_no_flush(const BlockBackend *blk);
/* One user (-device) each; false: it has one already. */
bool block_backend_claim(BlockBackend *blk);

/* Once, before requests: where completions go. */
bool block_backend_start(BlockBackend *blk, GMainContext *context,
                         GError **errp);
void block_backend_submit(BlockBackend *blk, BlockRequest *req);
/* Waits until nothing is in flight. I/O thread, or with it stopped. */
void block_backend_drain(BlockBackend *blk);

/* What was done since the start, by BlockOp; failed requests count in failed
 * alone. Any thread. */
typedef struct BlockStats {
    uint64_t operations[BLOCK_OPS], failed[BLOCK_OPS];
    uint64_t bytes[BLOCK_OPS];
    uint64_t total_ns[BLOCK_OPS]; /* from submit to done() */
} BlockStats;
void block_backend_stats(const BlockBackend *blk, BlockStats *ret);

/* Hand-over: inactivate flushes, drops the lock and refuses writes; activate
 * takes the lock again. Main or migration thread, drained. */
bool block_backend_inactivate(BlockBackend *blk, GError **errp);
bool block_backend_activate(BlockBackend *blk, GError **errp);

#endif
