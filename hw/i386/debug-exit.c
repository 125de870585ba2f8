/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debug-exit: how a test guest ends the VM with a result.
 *
 * It has no state, hence no vmstate. Threads: vCPUs; asks only.
 */
#include "hw/i386/debug-exit.h"

#include "hw/char/isa-props.h"
#include "hw/core/machine.h"
#include "util/error.h"

#define DEBUG_EXIT_PORT 0x501
#define DEBUG_EXIT_BYTES 2
#define DEBUG_EXIT_BYTES_MAX 4

typedef struct DebugExit {
    Device dev;

    /* Immutable. */
    IoRegion region;
} DebugExit;

static uint64_t debug_exit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, uint64_t offset, uint64_t value,
                             unsigned size)
{
    Machine *m = ((DebugExit *)opaque)->dev.machine;

    /* exit(3) keeps eight bits anyway. */
    m->requests->debug_exit(m->requests_opaque,
                            (int)((value << 1 | 1) & 0x7fffffff));
}

static const IoRegionOps debug_exit_io_ops = {
    .read = debug_exit_read,
    .write = debug_exit_write,
    .max_bytes = 4,
};

static void debug_exit_free(Device *dev)
{
    DebugExit *d = (DebugExit *)dev;

    address_space_unmap_io(dev->machine->ports, &d->region);
    device_done(dev);
    g_free(d);
}

static const DeviceOps debug_exit_ops = {
    .free = debug_exit_free,
};

bool debug_exit_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp)
{
    uint64_t iobase, iosize;
    DebugExit *d;

    if (!isa_take_number(props, "iobase", DEBUG_EXIT_PORT, 0xffff, &iobase,
                         errp) ||
        !isa_take_number(props, "iosize", DEBUG_EXIT_BYTES,
                         DEBUG_EXIT_BYTES_MAX, &iosize, errp)) {
        return false;
    }
    if (iosize == 0) {
        return vm_error_set(errp, 0, "isa-debug-exit: iosize must not be 0");
    }
    d = g_new0(DebugExit, 1);
    d->region = (IoRegion){
        .name = "isa-debug-exit",
        .ops = &debug_exit_io_ops,
        .opaque = d,
        .size_bytes = iosize,
    };
    if (!isa_map_ports(machine, iobase, &d->region, errp)) {
        g_free(d);
        return false;
    }
    device_init(&d->dev, machine, "isa-debug-exit", id, &debug_exit_ops,
                NULL);
    return true;
}
