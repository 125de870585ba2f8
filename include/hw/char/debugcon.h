/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debugcon: each byte written to a port goes to a chardev; a read gives a
 * constant, by which software finds the port.
 *
 * Threads: see hw/core/device.h.
 */
#ifndef VM_HW_CHAR_DEBUGCON_H
#define VM_HW_CHAR_DEBUGCON_H

#include "hw/core/device.h"

/* DeviceType.create of "isa-debugcon": chardev, iobase, readback. */
bool debugcon_create(Machine *machine, const char *id, VmKeyval *props,
                     GError **errp);

#endif
