/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM: one block of anonymous memory, its dirty bitmap, and who pages
 * it.
 *
 * A RamBlock is MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, 2 MiB aligned,
 * MADV_DONTFORK and MADV_UNMERGEABLE; it is never a memfd, since UFFDIO_MOVE
 * wants anonymous memory. Offsets into it (RamOffset) are not guest physical
 * addresses: the board maps pieces of the block at guest addresses.
 *
 * Two kinds of party plug into a block:
 *  - a pager (RamPagerOps, vmemdirect/ or a post-copy receiver) keeps pages
 *    elsewhere and can pin ranges;
 *  - an accelerator (RamDirtyLogOps) knows which pages the guest wrote.
 *
 * Threads: a block is set up by the main thread before vCPUs exist; after
 * that the functions below may be called by any thread unless they say
 * otherwise.
 */
#ifndef VM_MEMORY_RAM_H
#define VM_MEMORY_RAM_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAM_PAGE_BITS 12
#define RAM_PAGE_BYTES ((size_t)1 << RAM_PAGE_BITS)

typedef uint64_t GuestAddr; /* guest physical address          */
typedef uint64_t RamOffset; /* bytes from the start of a block */
typedef uint64_t PageNo;    /* RamOffset >> RAM_PAGE_BITS      */

typedef struct RamBlock RamBlock;

/* Multiples of RAM_PAGE_BYTES, inside of the block. */
typedef struct RamRange {
    RamOffset offset;
    uint64_t len;
} RamRange;

/*
 * Pins keep pages in the guest mapping while a device or the kernel works on
 * them by host address. pin() may sleep (it may read the swap file); after
 * it returns 0 every page of the range is present and stays at its physical
 * place until unpin(), or until the guest itself discards it. It must be
 * called by a thread that may fault.
 * Errors: -EIO, the pager cannot go on; nothing is pinned then.
 *
 * discard(): see ram_discard().
 */
typedef struct RamPagerOps {
    int (*pin)(void *opaque, RamOffset offset, size_t len);
    void (*unpin)(void *opaque, RamOffset offset, size_t len);
    void (*discard)(void *opaque, const RamRange *ranges, unsigned count);
} RamPagerOps;

/*
 * Dirty log of the guest's own writes. sync() ORs the pages written since
 * the last sync into map (one bit a page of the block) and re-arms the log
 * before it returns, so that a later write is reported by a later sync.
 * Errors: -errno.
 */
typedef struct RamDirtyLogOps {
    int (*start)(void *opaque);
    int (*sync)(void *opaque, unsigned long *map);
    void (*stop)(void *opaque);
} RamDirtyLogOps;

/* size_bytes is a positive multiple of RAM_PAGE_BYTES. */
RamBlock *ram_block_new(const char *id, uint64_t size_bytes, GError **errp);
void ram_block_free(RamBlock *rb);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RamBlock, ram_block_free)

const char *ram_block_id(const RamBlock *rb);
uint64_t ram_block_bytes(const RamBlock *rb);
PageNo ram_block_pages(const RamBlock *rb);
/* Host address of the block's first byte; touching it may sleep. */
uint8_t *ram_block_hva(const RamBlock *rb);

/* Main thread, before vCPUs run; NULL ops takes the party away. */
void ram_block_set_pager(RamBlock *rb, const RamPagerOps *ops, void *opaque);
void ram_block_set_dirty_log(RamBlock *rb, const RamDirtyLogOps *ops,
                             void *opaque);

bool ram_block_is_paged(const RamBlock *rb); /* has a pager */

/* No pager: returns 0 at once. See RamPagerOps. */
int ram_pin(RamBlock *rb, RamOffset offset, size_t len);
void ram_unpin(RamBlock *rb, RamOffset offset, size_t len);

/*
 * The guest gives these pages up: their memory and their place in a swap file
 * are released, and they read as zero. When the call returns, no old content
 * can be seen any more; it does not wait for I/O, nor for pins: who touches a
 * pinned page that was discarded faults, and finds zeros. Marks the pages
 * dirty. Ranges may overlap. Any thread that may fault.
 */
void ram_discard(RamBlock *rb, const RamRange *ranges, unsigned count);

/*
 * Dirty tracking for migration. start fails with -EBUSY while somebody else
 * tracks; stop without start does nothing. Between start and stop,
 * ram_dirty_sync() ORs into map every page that the guest (dirty log) or the
 * VMM (ram_mark_dirty()) wrote since the previous sync. One user at a time.
 */
int ram_dirty_start(RamBlock *rb);
int ram_dirty_sync(RamBlock *rb, unsigned long *map);
void ram_dirty_stop(RamBlock *rb);
/*
 * Every write of the VMM into guest RAM is marked AFTER the bytes are
 * written: a mark that came first could be collected with the old content.
 * KVM's log does not see such writes. One locked OR for each 64 pages.
 */
void ram_mark_dirty(RamBlock *rb, RamOffset offset, size_t len);

#endif
