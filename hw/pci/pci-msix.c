/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X: the vector table, its masks and pending bits.
 *
 * Why: a vector's message (address, data) is the guest's choice and may be
 * masked singly (vector control bit 0) or all together (function mask); what
 * comes in meanwhile is remembered as pending and sent when the mask goes
 * (PCI 3.0 sections 6.8.2 and 6.8.3.5).
 *
 * Invariants:
 *   (1) pending has bits below vectors only.
 *   (2) The table holds only bits that a guest can write: address bits 1-0
 *       and the reserved bits of vector control are zero.
 *
 * Threads: the device's lock is held, by the table region's dispatch too.
 */
#include <errno.h>
#include <string.h>

#include "pci-internal.h"

#define MSIX_CONTROL 2 /* offset in the capability */
#define MSIX_TABLE 4
#define MSIX_PBA 8
#define MSIX_CAPABILITY_BYTES 12
#define MSIX_CONTROL_ENABLE 0x8000
#define MSIX_CONTROL_MASK_ALL 0x4000

#define MSIX_REGION_BYTES 4096
#define MSIX_PBA_OFFSET 0x800

/* Offsets in an entry. */
enum { ENTRY_ADDRESS = 0, ENTRY_DATA = 8, ENTRY_CONTROL = 12 };
#define ENTRY_CONTROL_MASK 1u

/* An MSI is a memory write into the LAPICs' window; anything else would be a
 * write to wherever the guest likes, which we do not offer. */
#define MSI_WINDOW UINT64_C(0xfee00000)
#define MSI_WINDOW_MASK (~UINT64_C(0xfffff))

G_STATIC_ASSERT(PCI_MSIX_VECTORS_MAX * PCI_MSIX_ENTRY_BYTES <=
                MSIX_PBA_OFFSET);

static uint32_t table_get(const PciDevice *pci, unsigned offset)
{
    uint32_t value;

    memcpy(&value, &pci->msix.table[offset], sizeof(value));
    return GUINT32_FROM_LE(value);
}

static void table_put(PciDevice *pci, unsigned offset, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    memcpy(&pci->msix.table[offset], &value, sizeof(value));
}

static unsigned table_bytes(const PciDevice *pci)
{
    return pci->msix.vectors * PCI_MSIX_ENTRY_BYTES;
}

static unsigned control(const PciDevice *pci)
{
    return pci_get_config(pci, pci->msix.capability + MSIX_CONTROL, 2);
}

bool pci_msix_enabled(const PciDevice *pci)
{
    return pci->msix.capability && (control(pci) & MSIX_CONTROL_ENABLE);
}

static bool vector_masked(const PciDevice *pci, unsigned vector)
{
    unsigned offset = vector * PCI_MSIX_ENTRY_BYTES + ENTRY_CONTROL;

    return (control(pci) & MSIX_CONTROL_MASK_ALL) ||
           (table_get(pci, offset) & ENTRY_CONTROL_MASK);
}

static void send_vector(PciDevice *pci, unsigned vector)
{
    const Machine *machine = pci->machine;
    unsigned entry = vector * PCI_MSIX_ENTRY_BYTES;
    uint64_t address = table_get(pci, entry + ENTRY_ADDRESS) |
                       (uint64_t)table_get(pci, entry + ENTRY_ADDRESS + 4)
                           << 32;

    if ((address & MSI_WINDOW_MASK) == MSI_WINDOW) {
        machine->interrupts->send_msi(machine->interrupts_opaque, address,
                                      table_get(pci, entry + ENTRY_DATA));
    }
}

void pci_msix_notify(PciDevice *pci, unsigned vector)
{
    if (!pci_msix_enabled(pci) || vector >= pci->msix.vectors ||
        !pci_bus_master_enabled(pci)) {
        return;
    }
    if (vector_masked(pci, vector)) {
        pci->msix.pending |= UINT64_C(1) << vector;
        return;
    }
    send_vector(pci, vector);
}

/* After a mask changed: sends what is pending and no longer masked. */
static void send_pending(PciDevice *pci)
{
    if (!pci_msix_enabled(pci) || !pci_bus_master_enabled(pci)) {
        return;
    }
    for (unsigned v = 0; pci->msix.pending >> v && v < pci->msix.vectors;
         v++) {
        uint64_t bit = UINT64_C(1) << v;

        if ((pci->msix.pending & bit) && !vector_masked(pci, v)) {
            pci->msix.pending &= ~bit;
            send_vector(pci, v);
        }
    }
}

static void masks_changed(PciDevice *pci)
{
    send_pending(pci);
    if (pci->pci_ops && pci->pci_ops->msix_changed) {
        pci->pci_ops->msix_changed(pci);
    }
}

void pci_msix_control_written(PciDevice *pci)
{
    masks_changed(pci);
    pci_update_intx(pci); /* INTx rests while MSI-X is on */
}

static uint64_t region_read(void *opaque, uint64_t offset, unsigned size)
{
    PciDevice *pci = opaque;

    if (offset < table_bytes(pci)) {
        return table_get(pci, offset);
    }
    if (offset == MSIX_PBA_OFFSET || offset == MSIX_PBA_OFFSET + 4) {
        return (uint32_t)(pci->msix.pending >>
                          (offset - MSIX_PBA_OFFSET) * 8);
    }
    return 0;
}

static void region_write(void *opaque, uint64_t offset, uint64_t value,
                         unsigned size)
{
    PciDevice *pci = opaque;

    if (offset >= table_bytes(pci)) {
        return; /* pending bits are read-only */
    }
    switch (offset % PCI_MSIX_ENTRY_BYTES) {
    case ENTRY_ADDRESS:
        table_put(pci, offset, value & ~UINT64_C(3));
        break;
    case ENTRY_CONTROL:
        table_put(pci, offset, value & ENTRY_CONTROL_MASK);
        masks_changed(pci);
        break;
    default:
        table_put(pci, offset, value);
        break;
    }
}

/* 64-bit accesses are allowed too (6.8.2); dispatch splits them. */
static const IoRegionOps region_ops = {
    .read = region_read,
    .write = region_write,
    .min_bytes = 4,
    .max_bytes = 4,
};

void pci_msix_init(PciDevice *pci, unsigned bar, unsigned vectors)
{
    PciMsix *msix = &pci->msix;

    g_assert(vectors >= 1 && vectors <= PCI_MSIX_VECTORS_MAX);
    msix->vectors = vectors;
    msix->table_region.name = "pci-msix";
    msix->table_region.ops = &region_ops;
    msix->table_region.opaque = pci;
    msix->table_region.size_bytes = MSIX_REGION_BYTES;
    pci_device_add_bar(pci, bar, PCI_BAR_MEMORY_32, /* prefetchable= */ false,
                       &msix->table_region);
    msix->capability =
        pci_device_add_capability(pci, PCI_CAP_ID_MSIX, MSIX_CAPABILITY_BYTES);
    pci_device_set_config(pci, msix->capability + MSIX_CONTROL, 2,
                          vectors - 1,
                          MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
    pci_device_set_config(pci, msix->capability + MSIX_TABLE, 4, bar, 0);
    pci_device_set_config(pci, msix->capability + MSIX_PBA, 4,
                          MSIX_PBA_OFFSET | bar, 0);
    pci_msix_reset(pci);
}

void pci_msix_reset(PciDevice *pci)
{
    memset(pci->msix.table, 0, sizeof(pci->msix.table));
    pci->msix.pending = 0;
    for (unsigned v = 0; v < pci->msix.vectors; v++) {
        table_put(pci, v * PCI_MSIX_ENTRY_BYTES + ENTRY_CONTROL,
                  ENTRY_CONTROL_MASK);
    }
}

int pci_msix_check_loaded(PciDevice *pci)
{
    const PciMsix *msix = &pci->msix;

    if (msix->vectors < 64 && msix->pending >> msix->vectors) {
        return -EINVAL;
    }
    for (unsigned v = 0; v < msix->vectors; v++) {
        unsigned entry = v * PCI_MSIX_ENTRY_BYTES;

        if ((table_get(pci, entry + ENTRY_ADDRESS) & 3) ||
            (table_get(pci, entry + ENTRY_CONTROL) & ~ENTRY_CONTROL_MASK)) {
            return -EINVAL;
        }
    }
    for (size_t i = table_bytes(pci); i < sizeof(msix->table); i++) {
        if (msix->table[i]) {
            return -EINVAL;
        }
    }
    return 0;
}
