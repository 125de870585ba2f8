/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names by which -device knows the virtio devices, and what properties
 * they have.
 *
 * Both names of a device make the same thing: only the modern interface is
 * implemented. Threads: immutable.
 */
#include "hw/virtio/virtio-types.h"

#include "virtio-devices.h"

/* What virtio_pci_props() reads. */
#define PCI_PROPERTIES                                                  \
    { "addr", "int32" }, { "multifunction", "bool" },                   \
    { "event_idx", "bool" }, { "indirect_desc", "bool" },               \
    { "ioeventfd", "bool" }, { "vectors", "uint32" }, { NULL, NULL }

static const DeviceProperty balloon_properties[] = {
    { "deflate-on-oom", "bool" },
    { "free-page-reporting", "bool" },
    { "page-poison", "bool" },
    { "guest-stats-polling-interval", "int" },
    PCI_PROPERTIES,
};
static const DeviceProperty blk_properties[] = {
    { "drive", "str" },
    { "serial", "str" },
    { "bootindex", "int32" },
    { "num-queues", "uint16" },
    { "queue-size", "uint16" },
    { "logical_block_size", "size" },
    { "physical_block_size", "size" },
    { "write-cache", "bool" },
    { "config-wce", "bool" },
    { "discard", "bool" },
    { "write-zeroes", "bool" },
    PCI_PROPERTIES,
};
static const DeviceProperty net_properties[] = {
    { "netdev", "str" },
    { "mac", "str" },
    { "bootindex", "int32" },
    { "mrg_rxbuf", "bool" },
    { "rx_queue_size", "uint16" },
    { "tx_queue_size", "uint16" },
    PCI_PROPERTIES,
};
static const DeviceProperty rng_properties[] = {
    { "rng", "str" },
    { "max-bytes", "uint64" },
    { "period", "uint32" },
    PCI_PROPERTIES,
};

const DeviceType virtio_device_types[] = {
    { "virtio-balloon-pci", "Virtio memory balloon", virtio_balloon_create,
      balloon_properties },
    { "virtio-balloon-pci-non-transitional", "Virtio memory balloon",
      virtio_balloon_create_nt, balloon_properties },
    { "virtio-blk-pci", "Virtio block device", virtio_blk_create,
      blk_properties },
    { "virtio-blk-pci-non-transitional", "Virtio block device",
      virtio_blk_create_nt, blk_properties },
    { "virtio-net-pci", "Virtio network card", virtio_net_create,
      net_properties },
    { "virtio-net-pci-non-transitional", "Virtio network card",
      virtio_net_create_nt, net_properties },
    { "virtio-rng-pci", "Virtio entropy source", virtio_rng_create,
      rng_properties },
    { "virtio-rng-pci-non-transitional", "Virtio entropy source",
      virtio_rng_create_nt, rng_properties },
    { NULL, NULL, NULL },
};
