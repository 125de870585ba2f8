/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine as the sum of its devices: reset, pause, resume, free.
 *
 * Why: these four walk all devices in a fixed order, with the locking that
 * device.h promises, so that no caller has to know it.
 *
 * Threads: main thread, vCPUs paused (or none made yet).
 */
#include <string.h>

#include "hw-core-internal.h"

void machine_init(Machine *machine)
{
    memset(machine, 0, sizeof(*machine));
    machine->devices = g_ptr_array_new();
}

void machine_done(Machine *machine)
{
    if (!machine->devices) {
        return; /* never set up, or done already */
    }
    /* Each free takes at least its own device out of the list; a bus may
     * take its children out as well. */
    while (machine->devices->len > 0) {
        guint before = machine->devices->len;

        device_free(g_ptr_array_index(machine->devices, before - 1));
        g_assert(machine->devices->len < before);
    }
    g_clear_pointer(&machine->devices, g_ptr_array_unref);
    for (unsigned gsi = 0; gsi < MACHINE_GSIS; gsi++) {
        g_clear_pointer(&machine->lines[gsi], irq_line_free);
    }
}

Device *machine_find_device(const Machine *machine, const char *id)
{
    for (guint i = 0; i < machine->devices->len; i++) {
        Device *dev = g_ptr_array_index(machine->devices, i);

        if (g_strcmp0(dev->id, id) == 0 && id) {
            return dev;
        }
    }
    return NULL;
}

void machine_reset(Machine *machine)
{
    for (guint i = 0; i < machine->devices->len; i++) {
        Device *dev = g_ptr_array_index(machine->devices, i);

        if (dev->ops && dev->ops->reset) {
            vm_mutex_lock(&dev->lock);
            dev->ops->reset(dev);
            vm_mutex_unlock(&dev->lock);
        }
    }
}

bool machine_quiesce(Machine *machine)
{
    machine->at_rest = true;
    for (guint i = 0; i < machine->devices->len; i++) {
        Device *dev = g_ptr_array_index(machine->devices, i);

        if (dev->ops && dev->ops->quiesce) {
            dev->ops->quiesce(dev);
        }
    }
    return machine->at_rest;
}

void machine_resume(Machine *machine)
{
    for (guint i = 0; i < machine->devices->len; i++) {
        Device *dev = g_ptr_array_index(machine->devices, i);

        if (dev->ops && dev->ops->resume) {
            dev->ops->resume(dev);
        }
    }
}
