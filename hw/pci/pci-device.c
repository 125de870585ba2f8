/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI function's configuration space: masks, BARs, INTx, state.
 *
 * Why: what a guest can do to configuration space is the same for every
 * function and easy to get wrong, so it is done here once: each byte has a
 * mask of writable bits, and the effects (decoding, interrupt line, MSI-X)
 * follow from the bytes alone, so that reset and migration only have to set
 * the bytes and ask for the effects again.
 *
 * Invariants:
 *   (1) A bit of config differs from config_power_on only where writable or
 *       write_1_clears has it, except the interrupt status bit.
 *   (2) bar[i].mapped iff the region is in the machine's map, at mapped_at.
 *   (3) The line is high iff intx_level, INTx is not disabled by the command
 *       register, and MSI-X is off.
 *
 * Threads: dev.lock, but for set-up.
 */
#include <errno.h>
#include <string.h>

#include "pci-internal.h"

#define BAR_PORTS_FLAG 0x1
#define BAR_64_FLAG 0x4
#define BAR_PREFETCH_FLAG 0x8
#define COMMAND_WRITABLE                                                    \
    (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |             \
     PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

/* ---- Bytes ------------------------------------------------------------- */

uint32_t pci_get_config(const PciDevice *pci, unsigned offset, unsigned len)
{
    uint32_t value = 0;

    g_assert(len <= 4 && offset + len <= PCI_CONFIG_BYTES);
    for (unsigned i = 0; i < len; i++) {
        value |= (uint32_t)pci->config[offset + i] << (8 * i);
    }
    return value;
}

static void put_bytes(uint8_t *bytes, unsigned offset, unsigned len,
                      uint32_t value)
{
    g_assert(len <= 4 && offset + len <= PCI_CONFIG_BYTES);
    for (unsigned i = 0; i < len; i++) {
        bytes[offset + i] = value >> (8 * i);
    }
}

void pci_put_config(PciDevice *pci, unsigned offset, unsigned len,
                    uint32_t value)
{
    put_bytes(pci->config, offset, len, value);
}

void pci_device_set_config(PciDevice *pci, unsigned offset, unsigned len,
                           uint32_t value, uint32_t writable_mask)
{
    put_bytes(pci->config, offset, len, value);
    put_bytes(pci->config_power_on, offset, len, value);
    put_bytes(pci->writable, offset, len, writable_mask);
}

/* ---- BARs -------------------------------------------------------------- */

static AddressSpace *bar_space(const PciDevice *pci, const PciBar *bar)
{
    return bar->kind == PCI_BAR_PORTS ? pci->machine->ports
                                      : pci->machine->memory;
}

/* Where the guest wants BAR n to appear; false: nowhere. */
static bool bar_wanted_at(const PciDevice *pci, unsigned n, uint64_t *ret)
{
    const PciBar *bar = &pci->bar[n];
    unsigned offset = PCI_BAR_0 + 4 * n;
    bool ports = bar->kind == PCI_BAR_PORTS;
    uint32_t command = pci_get_config(pci, PCI_COMMAND, 2);
    uint64_t address, end;

    if (!(command & (ports ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY))) {
        return false;
    }
    address = pci_get_config(pci, offset, 4);
    if (bar->kind == PCI_BAR_MEMORY_64) {
        address |= (uint64_t)pci_get_config(pci, offset + 4, 4) << 32;
    }
    address &= ports ? ~UINT64_C(3) : ~UINT64_C(15);
    /* Zero is "not assigned"; all ones is the guest asking for the size. */
    if (address == 0 ||
        __builtin_add_overflow(address, bar->region->size_bytes, &end) ||
        (ports && end > 0x10000) ||
        (bar->kind == PCI_BAR_MEMORY_32 && end > UINT64_C(0xffffffff))) {
        return false;
    }
    *ret = address;
    return true;
}

static void bar_unmap(PciDevice *pci, PciBar *bar)
{
    if (bar->mapped) {
        address_space_unmap_io(bar_space(pci, bar), bar->region);
        bar->mapped = false;
    }
}

/* (2). A place that something else owns leaves the BAR unmapped; it is tried
 * again at the next write to configuration space. */
static void update_bars(PciDevice *pci)
{
    for (unsigned n = 0; n < PCI_BARS; n++) {
        PciBar *bar = &pci->bar[n];
        uint64_t address = 0;
        bool wanted;

        if (bar->kind == PCI_BAR_NONE) {
            continue;
        }
        wanted = bar_wanted_at(pci, n, &address);
        if (bar->mapped && (!wanted || bar->mapped_at != address)) {
            bar_unmap(pci, bar);
        }
        if (wanted && !bar->mapped &&
            address_space_map_io(bar_space(pci, bar), address,
                                 bar->region) == 0) {
            bar->mapped = true;
            bar->mapped_at = address;
        }
    }
}

void pci_device_add_bar(PciDevice *pci, unsigned bar, PciBarKind kind,
                        bool prefetchable, IoRegion *region)
{
    unsigned offset = PCI_BAR_0 + 4 * bar;
    uint64_t mask = ~(region->size_bytes - 1);
    uint32_t flags = 0;

    g_assert(bar < PCI_BARS && pci->bar[bar].kind == PCI_BAR_NONE);
    g_assert(kind != PCI_BAR_MEMORY_64 || bar + 1 < PCI_BARS);
    g_assert((region->size_bytes & (region->size_bytes - 1)) == 0);
    if (!region->lock) {
        region->lock = &pci->dev.lock;
    }
    pci->bar[bar].kind = kind;
    pci->bar[bar].region = region;
    if (kind == PCI_BAR_PORTS) {
        flags = BAR_PORTS_FLAG;
    } else {
        flags = (prefetchable ? BAR_PREFETCH_FLAG : 0) |
                (kind == PCI_BAR_MEMORY_64 ? BAR_64_FLAG : 0);
    }
    pci_device_set_config(pci, offset, 4, flags, mask);
    if (kind == PCI_BAR_MEMORY_64) {
        pci_device_set_config(pci, offset + 4, 4, 0, mask >> 32);
    }
}

/* ---- Interrupt line ---------------------------------------------------- */

bool pci_bus_master_enabled(const PciDevice *pci)
{
    return pci_get_config(pci, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

void pci_update_intx(PciDevice *pci)
{
    uint32_t command = pci_get_config(pci, PCI_COMMAND, 2);
    uint32_t status = pci_get_config(pci, PCI_STATUS, 2);

    if (!pci->intx) {
        return;
    }
    status &= ~(uint32_t)PCI_STATUS_INTERRUPT;
    status |= pci->intx_level ? PCI_STATUS_INTERRUPT : 0;
    pci_put_config(pci, PCI_STATUS, 2, status);
    irq_line_set(pci->intx, pci->intx_source,
                 pci->intx_level && !(command & PCI_COMMAND_INTX_DISABLE) &&
                     !pci_msix_enabled(pci));
}

void pci_set_intx(PciDevice *pci, bool level)
{
    pci->intx_level = level;
    pci_update_intx(pci);
}

/* ---- The guest's accesses ---------------------------------------------- */

uint32_t pci_device_config_read(PciDevice *pci, unsigned offset, unsigned len)
{
    uint32_t value;

    g_assert(len <= 4 && offset + len <= PCI_CONFIG_BYTES);
    vm_mutex_lock(&pci->dev.lock);
    if (pci->pci_ops && pci->pci_ops->config_reading) {
        pci->pci_ops->config_reading(pci, offset, len);
    }
    value = pci_get_config(pci, offset, len);
    vm_mutex_unlock(&pci->dev.lock);
    return value;
}

static bool touches(unsigned offset, unsigned len, unsigned start,
                    unsigned bytes)
{
    return offset < start + bytes && start < offset + len;
}

static void config_changed(PciDevice *pci, unsigned offset, unsigned len)
{
    update_bars(pci);
    if (touches(offset, len, PCI_COMMAND, 2)) {
        pci_update_intx(pci);
    }
    if (pci->msix.capability &&
        (touches(offset, len, pci->msix.capability + 2, 2) ||
         touches(offset, len, PCI_COMMAND, 2))) {
        pci_msix_control_written(pci);
    }
    if (pci->pci_ops && pci->pci_ops->config_written) {
        pci->pci_ops->config_written(pci, offset, len);
    }
}

void pci_device_config_write(PciDevice *pci, unsigned offset, uint32_t value,
                             unsigned len)
{
    g_assert(len <= 4 && offset + len <= PCI_CONFIG_BYTES);
    vm_mutex_lock(&pci->dev.lock);
    for (unsigned i = 0; i < len; i++) {
        uint8_t *byte = &pci->config[offset + i];
        uint8_t mask = pci->writable[offset + i];
        uint8_t in = value >> (8 * i);

        *byte = (*byte & ~mask) | (in & mask);
        *byte &= ~(in & pci->write_1_clears[offset + i]);
    }
    config_changed(pci, offset, len);
    vm_mutex_unlock(&pci->dev.lock);
}

/* ---- Life -------------------------------------------------------------- */

static void set_identity(PciDevice *pci, const PciIdentity *id)
{
    pci_device_set_config(pci, PCI_VENDOR_ID, 2, id->vendor, 0);
    pci_device_set_config(pci, PCI_DEVICE_ID, 2, id->device, 0);
    pci_device_set_config(pci, PCI_COMMAND, 2, 0, COMMAND_WRITABLE);
    pci_device_set_config(pci, PCI_REVISION_ID, 1, id->revision, 0);
    pci_device_set_config(pci, PCI_CLASS_PROG, 3, id->class_code, 0);
    pci_device_set_config(pci, PCI_HEADER_TYPE, 1,
                          id->multifunction ? 0x80 : 0, 0);
    pci_device_set_config(pci, PCI_SUBSYSTEM_VENDOR_ID, 2,
                          id->subsystem_vendor, 0);
    pci_device_set_config(pci, PCI_SUBSYSTEM_ID, 2, id->subsystem, 0);
    pci_device_set_config(pci, PCI_INTERRUPT_LINE, 1, 0, 0xff);
    pci_device_set_config(pci, PCI_INTERRUPT_PIN, 1, id->interrupt_pin, 0);
}

void pci_device_init(PciDevice *pci, PciBus *bus, uint8_t devfn,
                     const PciIdentity *identity, const char *type,
                     const char *id, const DeviceOps *ops,
                     const PciDeviceOps *pci_ops,
                     const VMStateDescription *vmsd)
{
    pci->machine = pci_bus_machine(bus);
    pci->bus = bus;
    pci->devfn = devfn;
    pci->pci_ops = pci_ops;
    pci->next_capability = PCI_CONFIG_HEADER_BYTES;
    set_identity(pci, identity);
    if (identity->interrupt_pin) {
        unsigned gsi = pci_device_gsi(pci, identity->interrupt_pin - 1);

        pci->intx = irq_line_get(pci->machine, gsi);
        pci->intx_source = irq_line_add_source(pci->intx);
    }
    device_init(&pci->dev, pci->machine, type, id, ops, vmsd);
    pci_bus_set_device(bus, devfn, pci);
}

void pci_device_done(PciDevice *pci)
{
    for (unsigned n = 0; n < PCI_BARS; n++) {
        bar_unmap(pci, &pci->bar[n]);
    }
    pci_bus_set_device(pci->bus, pci->devfn, NULL);
    device_done(&pci->dev);
}

void pci_device_reset(PciDevice *pci)
{
    memcpy(pci->config, pci->config_power_on, sizeof(pci->config));
    pci_msix_reset(pci);
    pci_set_intx(pci, false);
    update_bars(pci);
}

uint8_t pci_device_add_capability(PciDevice *pci, uint8_t cap_id,
                                  unsigned len)
{
    unsigned offset = pci->next_capability;
    uint32_t status = pci_get_config(pci, PCI_STATUS, 2);

    g_assert(len >= 2 && offset + len <= PCI_CONFIG_BYTES);
    pci_device_set_config(pci, offset, 1, cap_id, 0);
    pci_device_set_config(pci, offset + 1, 1,
                          pci_get_config(pci, PCI_CAPABILITY_LIST, 1), 0);
    pci_device_set_config(pci, PCI_CAPABILITY_LIST, 1, offset, 0);
    pci_device_set_config(pci, PCI_STATUS, 2, status | PCI_STATUS_CAP_LIST,
                          0);
    pci->next_capability = (offset + len + 3) & ~3u;
    return offset;
}

/* ---- Migration --------------------------------------------------------- */

/* (1) for what came from the wire. */
static bool loaded_config_is_ours(const PciDevice *pci)
{
    for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++) {
        uint8_t fixed = ~(pci->writable[i] | pci->write_1_clears[i]);

        if (i == PCI_STATUS) {
            fixed &= ~PCI_STATUS_INTERRUPT;
        }
        if ((pci->config[i] ^ pci->config_power_on[i]) & fixed) {
            return false;
        }
    }
    return true;
}

static int pci_device_post_load(void *opaque, int version)
{
    PciDevice *pci = opaque;

    if (!loaded_config_is_ours(pci) || pci_msix_check_loaded(pci) < 0) {
        pci_device_reset(pci); /* leave nothing of it behind */
        return -EINVAL;
    }
    update_bars(pci);
    pci_update_intx(pci);
    return 0;
}

static const VMStateDescription pci_msix_vmstate = {
    .name = "pci-msix",
    .version = 1,
    .minimum_version = 1,
    .fields = (const VMStateField[]){
        VMSTATE_BUFFER(table, PciMsix),
        VMSTATE_U64(pending, PciMsix),
        VMSTATE_END,
    },
};

const VMStateDescription pci_device_vmstate = {
    .name = "pci-device",
    .version = 1,
    .minimum_version = 1,
    .post_load = pci_device_post_load,
    .fields = (const VMStateField[]){
        VMSTATE_U8_ARRAY(config, PciDevice, PCI_CONFIG_BYTES),
        VMSTATE_STRUCT(msix, PciDevice, pci_msix_vmstate),
        VMSTATE_BOOL(intx_level, PciDevice),
        VMSTATE_END,
    },
};
