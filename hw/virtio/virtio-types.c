/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names by which -device knows the virtio devices.
 *
 * Both names of a device make the same thing: only the modern interface is
 * implemented. Threads: immutable.
 */
#include "hw/virtio/virtio-types.h"

#include "virtio-devices.h"

const DeviceType virtio_device_types[] = {
    { "virtio-balloon-pci", "Virtio memory balloon", virtio_balloon_create },
    { "virtio-balloon-pci-non-transitional", "Virtio memory balloon",
      virtio_balloon_create_nt },
    { "virtio-blk-pci", "Virtio block device", virtio_blk_create },
    { "virtio-blk-pci-non-transitional", "Virtio block device",
      virtio_blk_create_nt },
    { "virtio-net-pci", "Virtio network card", virtio_net_create },
    { "virtio-net-pci-non-transitional", "Virtio network card",
      virtio_net_create_nt },
    { "virtio-rng-pci", "Virtio entropy source", virtio_rng_create },
    { "virtio-rng-pci-non-transitional", "Virtio entropy source",
      virtio_rng_create_nt },
    { NULL, NULL, NULL },
};
