/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How devices touch guest RAM.
 *
 * Everything outside the vCPUs goes through here: copies for small things
 * (rings, headers), mappings for I/O buffers. A mapping pins its pages (see
 * RamPagerOps), so that no page with I/O in flight is ever paged out; that
 * rule is the engine's first one.
 *
 * Threads: any that may fault; no lock of rank VM_RANK_NO_FAULT or above may
 * be held. All calls may sleep until a page is there.
 * Errors: -EFAULT, the range is not all RAM, or is misaligned or in too many
 * pieces where that matters (nothing is read or written then); -EIO, the
 * pager cannot go on.
 */
#ifndef VM_MEMORY_DMA_H
#define VM_MEMORY_DMA_H

#include <sys/uio.h>

#include "memory/address-space.h"

int dma_read(AddressSpace *as, GuestAddr gpa, void *buf, size_t len);
/* Marks the pages dirty. */
int dma_write(AddressSpace *as, GuestAddr gpa, const void *buf, size_t len);

typedef enum DmaDirection {
    DMA_TO_DEVICE,   /* the device reads guest RAM */
    DMA_FROM_DEVICE, /* the device writes guest RAM */
} DmaDirection;

/* A range maps to at most this many pieces (it may span RAM mappings). */
#define DMA_MAX_PIECES 4

typedef struct DmaMapping {
    struct iovec iov[DMA_MAX_PIECES];
    int iovcnt;
    DmaDirection direction; /* private below */
    struct {
        RamBlock *block;
        RamOffset offset;
    } piece[DMA_MAX_PIECES];
} DmaMapping;

/* Maps and pins [gpa, gpa+len). len 0 gives no pieces. All or nothing. */
int dma_map(AddressSpace *as, GuestAddr gpa, size_t len,
            DmaDirection direction, DmaMapping *ret);
/* Marks the first written_bytes dirty (FROM_DEVICE only), then unpins. */
void dma_unmap(DmaMapping *m, size_t written_bytes);

/* Little-endian loads and stores of ring fields, with acquire/release order
 * towards the guest. addr is aligned to the size. */
int dma_load_u16(AddressSpace *as, GuestAddr gpa, uint16_t *ret);
int dma_load_u32(AddressSpace *as, GuestAddr gpa, uint32_t *ret);
int dma_load_u64(AddressSpace *as, GuestAddr gpa, uint64_t *ret);
int dma_store_u16(AddressSpace *as, GuestAddr gpa, uint16_t value);
int dma_store_u32(AddressSpace *as, GuestAddr gpa, uint32_t value);

#endif
