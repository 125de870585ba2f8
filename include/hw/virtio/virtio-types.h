/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -device types of hw/virtio: virtio-balloon-pci, virtio-blk-pci,
 * virtio-net-pci, virtio-rng-pci (and their -non-transitional names). Ends
 * with name == NULL.
 */
#ifndef VM_HW_VIRTIO_VIRTIO_TYPES_H
#define VM_HW_VIRTIO_VIRTIO_TYPES_H

#include "hw/core/device.h"

extern const DeviceType virtio_device_types[];

#endif
