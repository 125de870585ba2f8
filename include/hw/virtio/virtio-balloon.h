/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The balloon of a machine, as the monitor sees it.
 *
 * A machine has at most one. MachineRequests.balloon_changed() tells that
 * what virtio_balloon_actual_bytes() returns has changed.
 *
 * Threads: any; no lock of rank VM_RANK_DEVICE or above held.
 */
#ifndef VM_HW_VIRTIO_VIRTIO_BALLOON_H
#define VM_HW_VIRTIO_VIRTIO_BALLOON_H

#include "hw/core/machine.h"

typedef struct VirtioBalloon VirtioBalloon;

/* NULL: the machine has none. */
VirtioBalloon *virtio_balloon_find(const Machine *machine);
VirtioBalloon *virtio_balloon_from_device(Device *dev); /* NULL: another */

/* How much of its RAM the guest is to keep; more than there is means all. */
void virtio_balloon_set_target(VirtioBalloon *b, uint64_t bytes);
/* How much it has kept, as it says. */
uint64_t virtio_balloon_actual_bytes(VirtioBalloon *b);

/* virtio 1.2, 5.5.6.4: tags 0 to 9. */
#define VIRTIO_BALLOON_STATS 10
const char *virtio_balloon_stat_name(unsigned tag); /* QEMU's */

typedef struct VirtioBalloonStats {
    int64_t last_update_s;                /* since 1970; 0: never */
    uint64_t value[VIRTIO_BALLOON_STATS]; /* UINT64_MAX: not told */
} VirtioBalloonStats;
void virtio_balloon_get_stats(VirtioBalloon *b, VirtioBalloonStats *ret);

/* How often the guest is asked for them; 0: never. */
uint32_t virtio_balloon_get_interval_s(VirtioBalloon *b);
void virtio_balloon_set_interval_s(VirtioBalloon *b, uint32_t interval_s);

#endif
