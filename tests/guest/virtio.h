/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The test guest's virtio driver core: a modern device on PCI (virtio
 * 1.2, 4.1 and 2.7), polled, one request at a time in each queue.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "guest.h"

#define VIRTIO_QUEUES 5
#define VIRTIO_QUEUE_SIZE 16

struct VirtioBuffer {
    const volatile void *at;
    uint32_t bytes;
    bool in; /* the device may write it */
};

/* Finds the device with one of these PCI ids, and sets it up with those of
 * the features that it offers. False: there is none; anything else that goes
 * wrong is fatal. */
bool virtio_start(uint16_t id, uint16_t transitional_id, uint64_t features,
                  unsigned queues);
bool virtio_has_feature(uint64_t feature);
/* 32-bit fields of the device's configuration. */
uint32_t virtio_config_read(unsigned offset);
void virtio_config_write(unsigned offset, uint32_t value);

/* Each queue belongs to one processor. */
void virtio_offer(unsigned queue, const struct VirtioBuffer *buffers,
                  unsigned count);
bool virtio_is_back(unsigned queue); /* what was offered last */
/* Offers and waits. */
void virtio_request(struct Cpu *cpu, unsigned queue,
                    const struct VirtioBuffer *buffers, unsigned count);

#endif
