/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 16550A UARTs on the ISA bus ("isa-serial").
 *
 * Threads: created on the main thread; see hw/core/device.h.
 */
#ifndef VM_HW_CHAR_SERIAL_H
#define VM_HW_CHAR_SERIAL_H

#include "chardev/chardev.h"
#include "hw/core/machine.h"

#define SERIAL_ISA_MAX 4

typedef struct SerialPlace {
    uint16_t iobase;
    uint8_t irq;
} SerialPlace;

/* COM1 to COM4. */
extern const SerialPlace serial_isa_places[SERIAL_ISA_MAX];

/* The machine owns the device. chr is borrowed and must outlive it. */
bool serial_isa_new(Machine *machine, const char *id, SerialPlace place,
                    Chardev *chr, GError **errp);

/* Bit n is set if a port stands at serial_isa_places[n]. */
unsigned serial_isa_mask(const Machine *machine);

/* DeviceType.create of "isa-serial": chardev, index, iobase, irq. */
bool serial_isa_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp);

#endif
