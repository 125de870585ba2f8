/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keyboard controller without keyboard or mouse, and system control port A
 * (0x92): what is left of them on a machine without either is reset and A20.
 *
 * Threads: main thread; see hw/core/device.h.
 */
#ifndef VM_HW_I386_I8042_H
#define VM_HW_I386_I8042_H

#include "hw/core/machine.h"

/* Ports 0x60, 0x64, 0x92; IRQ 1 and 12. The machine owns it. */
void i8042_new(Machine *machine);

#endif
