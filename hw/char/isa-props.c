/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Properties and ports of ISA devices.
 *
 * Why: three devices read them alike and should refuse them alike. Threads:
 * main thread.
 */
#include "hw/char/isa-props.h"

#include "util/error.h"

bool isa_take_number(VmKeyval *props, const char *key, uint64_t default_value,
                     uint64_t max, uint64_t *ret, GError **errp)
{
    uint64_t value;

    if (!vm_keyval_get_u64(props, key, default_value, &value, errp)) {
        return false;
    }
    if (value > max) {
        return vm_error_set(errp, 0, "Parameter '%s' expects a value up to "
                            "0x%" G_GINT64_MODIFIER "x", key, max);
    }
    *ret = value;
    return true;
}

bool isa_take_chardev(Machine *machine, const char *type, VmKeyval *props,
                      Chardev **ret, GError **errp)
{
    const char *name = vm_keyval_get(props, "chardev");
    Chardev *chr;

    if (!name) {
        return vm_error_set(errp, 0, "Can't create %s device, empty char "
                            "device", type);
    }
    chr = machine->backends->find_chardev(machine->backends_opaque, name);
    if (!chr) {
        return vm_error_set(errp, 0, "Property '%s.chardev' can't find value "
                            "'%s'", type, name);
    }
    *ret = chr;
    return true;
}

bool isa_map_ports(Machine *machine, uint64_t iobase, IoRegion *region,
                   GError **errp)
{
    if (iobase + region->size_bytes > 0x10000) {
        return vm_error_set(errp, 0, "%s: ports 0x%" G_GINT64_MODIFIER "x "
                            "reach beyond 0xffff", region->name, iobase);
    }
    if (address_space_map_io(machine->ports, iobase, region) < 0) {
        return vm_error_set(errp, 0, "%s: port 0x%" G_GINT64_MODIFIER "x is "
                            "in use", region->name, iobase);
    }
    return true;
}
