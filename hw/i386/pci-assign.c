/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What firmware does for PCI functions: gives each base address register a
 * place and each bridge its bus numbers and windows, tells the interrupt line,
 * turns decoding on.
 *
 * Why: a guest without firmware would have to do it; Linux does, small test
 * guests do not.
 *
 * Each window hands out places from its start upwards, aligned to the size
 * of the BAR. What a bridge passes on is a part of the windows with nothing
 * else in it. Threads: main thread, vCPUs paused.
 */
#include "pc-internal.h"

#include "hw/pci/pci.h"
#include "util/error.h"

/* Units of a bridge's windows (PCI-to-PCI Bridge Architecture 1.2, 3.2.5). */
#define BRIDGE_PORTS_BYTES UINT64_C(0x1000)
#define BRIDGE_MEMORY_BYTES UINT64_C(0x100000)

typedef struct Window {
    uint64_t next, end;
} Window;

typedef struct Assign {
    Window ports, memory32, memory64;
    unsigned last_bus;
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

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* The part of w that a bridge passes on. */
typedef struct BridgeWindow {
    Window *from;
    uint64_t before, start, unit;
} BridgeWindow;

static BridgeWindow bridge_window_open(Window *w, uint64_t unit)
{
    BridgeWindow b = { w, w->next, round_up(w->next, unit), unit };

    w->next = b.start;
    return b;
}

/* Its first and its last byte; a base above the limit passes nothing on. */
static void bridge_window_close(const BridgeWindow *b, uint64_t *ret_base,
                                uint64_t *ret_limit)
{
    if (b->from->next == b->start) {
        b->from->next = b->before;
        *ret_base = UINT32_MAX;
        *ret_limit = 0;
        return;
    }
    b->from->next = round_up(b->from->next, b->unit);
    *ret_base = b->start;
    *ret_limit = b->from->next - 1;
}

static void assign_device(PciDevice *pci, void *opaque);

static void assign_bridge(PciDevice *pci, Assign *a)
{
    BridgeWindow ports = bridge_window_open(&a->ports, BRIDGE_PORTS_BYTES);
    BridgeWindow memory32 =
        bridge_window_open(&a->memory32, BRIDGE_MEMORY_BYTES);
    BridgeWindow memory64 =
        bridge_window_open(&a->memory64, BRIDGE_MEMORY_BYTES);
    unsigned number = ++a->last_bus;
    uint64_t base, limit;

    pci_device_config_write(pci, PCI_SECONDARY_BUS, number, 1);
    pci_device_config_write(pci, PCI_SUBORDINATE_BUS, number, 1);
    pci_bus_foreach(pci_bus_below(pci), assign_device, a);
    bridge_window_close(&ports, &base, &limit);
    pci_device_config_write(pci, PCI_IO_BASE, base >> 8, 1);
    pci_device_config_write(pci, PCI_IO_LIMIT, limit >> 8, 1);
    bridge_window_close(&memory32, &base, &limit);
    pci_device_config_write(pci, PCI_MEMORY_BASE, base >> 16, 2);
    pci_device_config_write(pci, PCI_MEMORY_LIMIT, limit >> 16, 2);
    bridge_window_close(&memory64, &base, &limit);
    pci_device_config_write(pci, PCI_PREFETCH_BASE, base >> 16, 2);
    pci_device_config_write(pci, PCI_PREFETCH_LIMIT, limit >> 16, 2);
    pci_device_config_write(pci, PCI_PREFETCH_BASE_UPPER, base >> 32, 4);
    pci_device_config_write(pci, PCI_PREFETCH_LIMIT_UPPER, limit >> 32, 4);
    pci_device_config_write(pci, PCI_COMMAND,
                            PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
                                PCI_COMMAND_MASTER, 2);
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
                                pci_device_gsi(pci, pin - 1), 1);
    }
    if (has_bars && a->ok) {
        pci_device_config_write(pci, PCI_COMMAND,
                                PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    }
    if (pci_bus_below(pci) && a->ok) {
        assign_bridge(pci, a);
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
