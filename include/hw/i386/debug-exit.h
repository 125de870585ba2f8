/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debug-exit: a write of V to its port ends the process with status
 * (V << 1) | 1.
 *
 * Threads: see hw/core/device.h.
 */
#ifndef VM_HW_I386_DEBUG_EXIT_H
#define VM_HW_I386_DEBUG_EXIT_H

#include "hw/core/device.h"

/* DeviceType.create of "isa-debug-exit": iobase, iosize. */
bool debug_exit_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp);

#endif
