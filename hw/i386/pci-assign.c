/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What firmware does for PCI functions: gives each base address register a
 * place, tells the interrupt line, turns decoding on.
 *
 * Why: a guest without firmware would have to do it; Linux does, small test
 * guests do not.
 *
 * Each window hands out places from its start upwards, aligned to the size
 * of the BAR. Threads: main thread, vCPUs paused.
 */
#include "pc-internal.h"

#include "hw/pci/pci.h"
#include "util/error.h"

typedef struct Window {
    uint64_t next, end;
} Window;

typedef struct Assign {
    Window ports, memory32, memory64;
    GError **errp;
    bool ok;
} Assign;

static bool window_take(Window *w, uint64_t bytes, uint64_t *ret)
{
    uint64_t at = (w->next + bytes - 1) & ~(bytes - 1);

    if (at < w->next || at >= w->end || bytes > w->end - at) {
        return false;
    }
    w->next = at + bytes;
    *ret = at;
    return true;
}

static Window *window_of(Assign *a, PciBarKind kind)
{
    switch (kind) {
    case PCI_BAR_PORTS:
        return &a->ports;
    case PCI_BAR_MEMORY_32:
        return &a->memory32;
    default:
        return &a->memory64;
    }
}

static void assign_bar(PciDevice *pci, unsigned n, Assign *a)
{
    const PciBar *bar = &pci->bar[n];
    unsigned offset = PCI_BAR_0 + 4 * n;
    uint64_t at;

    if (!window_take(window_of(a, bar->kind), bar->region->size_bytes, &at)) {
        a->ok = vm_error_set(a->errp, 0, "no room for BAR %u of PCI device "
                             "%02x.%x (%s)", n, PCI_SLOT(pci->devfn),
                             PCI_FN(pci->devfn), pci->dev.type);
        return;
    }
    pci_device_config_write(pci, offset, at, 4);
    if (bar->kind == PCI_BAR_MEMORY_64) {
        pci_device_config_write(pci, offset + 4, at >> 32, 4);
    }
}

static void assign_device(PciDevice *pci, void *opaque)
{
    Assign *a = opaque;
    unsigned pin = pci->config_power_on[PCI_INTERRUPT_PIN];
    bool has_bars = false;

    for (unsigned n = 0; n < PCI_BARS && a->ok; n++) {
        if (pci->bar[n].kind != PCI_BAR_NONE) {
            assign_bar(pci, n, a);
            has_bars = true;
        }
    }
    if (pin) {
        pci_device_config_write(pci, PCI_INTERRUPT_LINE,
                                pci_slot_pin_to_gsi(PCI_SLOT(pci->devfn),
                                                    pin - 1), 1);
    }
    if (has_bars && a->ok) {
        pci_device_config_write(pci, PCI_COMMAND,
                                PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    }
}

bool pc_pci_assign(PciBus *bus, const PcMemoryMap *map, GError **errp)
{
    Assign a = {
        .ports = { PC_PCI_PORTS_BASE, PC_PCI_PORTS_END },
        .memory32 = { PC_PCI32_BASE, PC_PCI32_END },
        .memory64 = { map->pci64_base, map->pci64_base + PC_PCI64_BYTES },
        .errp = errp,
        .ok = true,
    };

    pci_bus_foreach(bus, assign_device, &a);
    return a.ok;
}
