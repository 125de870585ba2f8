/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debugcon: a port that writes bytes to a chardev.
 *
 * Why: firmware and test guests log through it without an interrupt or a
 * state machine. It has no state, hence no vmstate.
 *
 * Threads: chardev_write() locks for itself, so no lock is held around the
 * handlers.
 */
#include "hw/char/debugcon.h"

#include "chardev/chardev.h"
#include "hw/char/isa-props.h"
#include "hw/core/machine.h"
#include "util/error.h"

#define DEBUGCON_PORT 0xe9
#define DEBUGCON_READBACK 0xe9

typedef struct Debugcon {
    Device dev;

    /* Immutable. */
    IoRegion region;
    Chardev *chr;
    uint8_t readback;
} Debugcon;

static uint64_t debugcon_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((Debugcon *)opaque)->readback;
}

static void debugcon_write(void *opaque, uint64_t offset, uint64_t value,
                           unsigned size)
{
    uint8_t byte = value;

    chardev_write(((Debugcon *)opaque)->chr, &byte, 1);
}

static const IoRegionOps debugcon_io_ops = {
    .read = debugcon_read,
    .write = debugcon_write,
    .max_bytes = 1,
};

static void debugcon_free(Device *dev)
{
    Debugcon *d = (Debugcon *)dev;

    address_space_unmap_io(dev->machine->ports, &d->region);
    device_done(dev);
    g_free(d);
}

static const DeviceOps debugcon_ops = {
    .free = debugcon_free,
};

bool debugcon_create(Machine *machine, const char *id, VmKeyval *props,
                     GError **errp)
{
    uint64_t iobase, readback;
    Chardev *chr;
    Debugcon *d;

    if (!isa_take_chardev(machine, "isa-debugcon", props, &chr, errp) ||
        !isa_take_number(props, "iobase", DEBUGCON_PORT, 0xffff, &iobase,
                         errp) ||
        !isa_take_number(props, "readback", DEBUGCON_READBACK, 0xff,
                         &readback, errp)) {
        return false;
    }
    d = g_new0(Debugcon, 1);
    d->chr = chr;
    d->readback = readback;
    d->region = (IoRegion){
        .name = "isa-debugcon",
        .ops = &debugcon_io_ops,
        .opaque = d,
        .size_bytes = 1,
    };
    if (!isa_map_ports(machine, iobase, &d->region, errp)) {
        g_free(d);
        return false;
    }
    device_init(&d->dev, machine, "isa-debugcon", id, &debugcon_ops, NULL);
    return true;
}
