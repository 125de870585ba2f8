/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every device is: a name, a lock, a reset, a state description.
 *
 * A device embeds Device as its first member. Its register handlers run with
 * its lock held (IoRegion.lock = &dev->lock); so do reset, save and load.
 * A device may touch guest RAM while holding its own lock, and may take the
 * lock of a bus or backend, never that of another device.
 *
 * Lifetime: created by the board or by -device through DeviceType.create, on
 * the main thread before the VM runs; freed when no vCPU and no I/O thread is
 * left. Threads: as said at each member.
 */
#ifndef VM_HW_CORE_DEVICE_H
#define VM_HW_CORE_DEVICE_H

#include <glib.h>

#include "migration/vmstate.h"
#include "util/keyval.h"
#include "util/thread.h"

typedef struct Device Device;
typedef struct Machine Machine;

typedef struct DeviceOps {
    /* Power-on state. Lock held, vCPUs paused. */
    void (*reset)(Device *dev);
    /*
     * Stop touching guest RAM and finish what is in flight (it may wait);
     * then start again. Main thread, lock NOT held. Called around pauses of
     * the VM, so that a paused VM's RAM and device state do not change. A
     * device that waits elsewhere asks machine->out_of_patience() meanwhile,
     * and says so in machine->at_rest if it gave up.
     */
    void (*quiesce)(Device *dev);
    void (*resume)(Device *dev);
    /* Frees the embedding struct; calls device_done() on the way. NULL:
     * device_done() and g_free() are all there is to do. */
    void (*free)(Device *dev);
} DeviceOps;

struct Device {
    /* Immutable after device_init(). */
    const char *type; /* QEMU's name: "virtio-blk-pci" */
    char *id;         /* -device ...,id=; or NULL */
    const DeviceOps *ops; /* every member may be NULL */
    Machine *machine;
    const VMStateDescription *vmsd; /* of the embedding struct; NULL: none */
    unsigned instance;              /* tells equal types apart; in order of
                                     * creation, so equal command lines agree */
    VmMutex lock;                   /* rank VM_RANK_DEVICE */
};

/* Registers dev with the machine, which then owns it and frees it. */
void device_init(Device *dev, Machine *machine, const char *type,
                 const char *id, const DeviceOps *ops,
                 const VMStateDescription *vmsd);
/* Undoes device_init(), except that the struct stays; for ops->free. */
void device_done(Device *dev);
/* Takes dev out of its machine and frees it: for a create() that fails after
 * device_init(). NULL is fine. */
void device_free(Device *dev);

/* A property that create() reads, as management sees it. One that can only be
 * what it is by default is not told. */
typedef struct DeviceProperty {
    const char *name;
    const char *type; /* QEMU's word: "bool", "uint32", "str" */
} DeviceProperty;

/* A type that -device can name. */
typedef struct DeviceType {
    const char *name;
    const char *description;
    /* Reads its properties from props; the caller has taken driver and id,
     * and checks afterwards that every property was used. */
    bool (*create)(Machine *machine, const char *id, VmKeyval *props,
                   GError **errp);
    const DeviceProperty *properties; /* ends with name == NULL */
} DeviceType;

#endif
