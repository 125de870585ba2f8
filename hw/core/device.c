/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices: registration with the machine and the end of their life.
 *
 * Why: the machine must find every device in one order (that of creation)
 * to reset, pause, migrate and free them; this file keeps that list.
 *
 * Invariants:
 *   (1) A device is in machine->devices from device_init() to device_done().
 *   (2) (type, instance) names a device within a machine, and equal command
 *       lines give equal names: instances count up in order of creation.
 *
 * Threads: main thread only.
 */
#include "hw/core/machine.h"

/* (2): one more than the highest instance of the type so far. */
static unsigned next_instance(const Machine *machine, const char *type)
{
    unsigned next = 0;

    for (guint i = 0; i < machine->devices->len; i++) {
        const Device *d = g_ptr_array_index(machine->devices, i);

        if (g_str_equal(d->type, type) && d->instance >= next) {
            next = d->instance + 1;
        }
    }
    return next;
}

void device_init(Device *dev, Machine *machine, const char *type,
                 const char *id, const DeviceOps *ops,
                 const VMStateDescription *vmsd)
{
    dev->type = type;
    dev->id = g_strdup(id);
    dev->ops = ops;
    dev->machine = machine;
    dev->vmsd = vmsd;
    dev->instance = next_instance(machine, type);
    vm_mutex_init(&dev->lock, VM_RANK_DEVICE);
    g_ptr_array_add(machine->devices, dev);
}

void device_done(Device *dev)
{
    g_ptr_array_remove(dev->machine->devices, dev);
    vm_mutex_done(&dev->lock);
    g_clear_pointer(&dev->id, g_free);
}

void device_free(Device *dev)
{
    if (!dev) {
        return;
    }
    if (dev->ops && dev->ops->free) {
        dev->ops->free(dev);
        return;
    }
    device_done(dev);
    g_free(dev);
}
