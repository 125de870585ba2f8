/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ISA devices have in common: taking their properties, mapping ports.
 *
 * Threads: main thread. Errors: GError, in the words of QEMU where it has
 * any.
 */
#ifndef VM_HW_CHAR_ISA_PROPS_H
#define VM_HW_CHAR_ISA_PROPS_H

#include "chardev/chardev.h"
#include "hw/core/machine.h"

/* A number up to max; default_value if it is absent. */
bool isa_take_number(VmKeyval *props, const char *key, uint64_t default_value,
                     uint64_t max, uint64_t *ret, GError **errp);
/* The property "chardev", which must be there. */
bool isa_take_chardev(Machine *machine, const char *type, VmKeyval *props,
                      Chardev **ret, GError **errp);
/* Fails if the ports are taken or reach beyond 0xffff. */
bool isa_map_ports(Machine *machine, uint64_t iobase, IoRegion *region,
                   GError **errp);

#endif
