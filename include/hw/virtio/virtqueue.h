/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues (virtio 1.2 section 2.7), seen from the device.
 *
 * The rings lie in guest RAM and their content is hostile: every function
 * that reads them returns -errno for what the specification forbids, and the
 * caller then puts the device into "needs reset".
 *
 * Threads: the device's lock is held; every call may sleep on guest RAM.
 */
#ifndef VM_HW_VIRTIO_VIRTQUEUE_H
#define VM_HW_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/address-space.h"
#include "memory/dma.h"
#include "migration/vmstate.h"

#define VIRTQUEUE_SIZE_MAX 1024
/* Descriptors in one chain, an indirect table's included. */
#define VIRTQUEUE_CHAIN_MAX 1024
#define VIRTIO_NO_VECTOR 0xffff

typedef struct VirtQueue {
    /* Immutable after set-up. */
    AddressSpace *memory;
    uint16_t size_max;

    /* Set by the driver; fixed while enabled. */
    uint16_t size;
    bool enabled;
    uint16_t vector; /* MSI-X vector, or VIRTIO_NO_VECTOR */
    uint64_t desc, driver, device; /* guest addresses of the three areas */

    /* Set by the device core before the queue runs, from the features. */
    bool event_idx, indirect;

    /* Progress; free-running indexes. */
    uint16_t next_avail;  /* the next entry to take */
    uint16_t next_used;   /* the next entry to give back */
    uint16_t told_used;   /* next_used when the driver was last told */
    bool told_valid;
} VirtQueue;

typedef struct VirtSegment {
    GuestAddr addr;
    uint32_t len;
} VirtSegment;

/* One request: the buffers to read, then those to write. */
typedef struct VirtChain {
    uint16_t head;
    unsigned out_count, in_count; /* readable, writable segments */
    uint32_t out_bytes, in_bytes;
    VirtSegment segment[VIRTQUEUE_CHAIN_MAX]; /* out first */
} VirtChain;

void virtqueue_reset(VirtQueue *vq);
/* Are the areas aligned (2.7) and free of wrap-around? 0 or -EINVAL. */
int virtqueue_check_layout(const VirtQueue *vq);

/* 1: *chain is filled and the entry taken; 0: nothing there; or -errno. */
int virtqueue_pop(VirtQueue *vq, VirtChain *chain);
/* Puts back what virtqueue_pop() took last, if nothing was given back. */
void virtqueue_unpop(VirtQueue *vq);
/* Entries taken and not given back. */
uint16_t virtqueue_in_flight(const VirtQueue *vq);

/*
 * Gives chains back: _fill writes the entry that lies ahead of next_used by
 * index, _publish lets the driver see count of them. written: bytes written
 * into the chain's writable part.
 */
int virtqueue_fill(VirtQueue *vq, unsigned index, uint16_t head,
                   uint32_t written);
int virtqueue_publish(VirtQueue *vq, unsigned count);
int virtqueue_push(VirtQueue *vq, uint16_t head, uint32_t written);

/* Does the driver want to hear of what was published since it was last told?
 * 1, 0 or -errno; 1 counts as told. */
int virtqueue_should_notify(VirtQueue *vq);

/* Asks the driver for kicks or not (a hint; 2.7.10). After _enable, 1 means
 * that entries are there already. */
int virtqueue_kicks_disable(VirtQueue *vq);
int virtqueue_kicks_enable(VirtQueue *vq);

/* Copies between a buffer and segments [first, first+count) from byte skip
 * on; returns bytes copied (less at the end of the segments) or -errno. */
int64_t virtqueue_read(VirtQueue *vq, const VirtSegment *segment,
                       unsigned count, uint64_t skip, void *buf, size_t len);
int64_t virtqueue_write(VirtQueue *vq, const VirtSegment *segment,
                        unsigned count, uint64_t skip, const void *buf,
                        size_t len);

extern const VMStateDescription virtqueue_vmstate;
/* 0 or -EINVAL. */
int virtqueue_check_loaded(const VirtQueue *vq);

#endif
