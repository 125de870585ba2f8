/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DeviceType.create of each device here; _nt are the -non-transitional names.
 *
 * Threads: main thread, before the VM runs.
 */
#ifndef VM_HW_VIRTIO_VIRTIO_DEVICES_H
#define VM_HW_VIRTIO_VIRTIO_DEVICES_H

#include "hw/virtio/virtio-types.h"

bool virtio_balloon_create(Machine *machine, const char *id, VmKeyval *props,
                           GError **errp);
bool virtio_balloon_create_nt(Machine *machine, const char *id,
                              VmKeyval *props, GError **errp);
bool virtio_blk_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp);
bool virtio_blk_create_nt(Machine *machine, const char *id, VmKeyval *props,
                          GError **errp);
bool virtio_net_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp);
bool virtio_net_create_nt(Machine *machine, const char *id, VmKeyval *props,
                          GError **errp);
bool virtio_rng_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp);
bool virtio_rng_create_nt(Machine *machine, const char *id, VmKeyval *props,
                          GError **errp);

#endif
