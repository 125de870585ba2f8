/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chipset's PCI functions: host bridge, ISA (LPC) bridge, and on pc the
 * power management function.
 *
 * Why: guests know a board by them, and Linux's quirks read the base of the
 * PM block from them. Their registers are otherwise inert: no firmware is
 * there to program them, and what they would route is wired for good.
 * Numbers: Intel 290549 (440FX), 290562 (PIIX3, PIIX4), 316966 (ICH9).
 *
 * Threads: set-up by the main thread.
 */
#include "pc-internal.h"

#include "hw/acpi/pm.h"
#include "hw/pci/pci.h"

#define VENDOR_INTEL 0x8086
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM 0x1100
#define CLASS_HOST_BRIDGE 0x060000
#define CLASS_ISA_BRIDGE 0x060100
#define CLASS_OTHER_BRIDGE 0x068000

typedef struct BridgeKind {
    const char *type;
    uint8_t devfn;
    PciIdentity identity;
    struct {
        uint8_t offset, len;
        uint32_t value;
    } config[2]; /* power-on values, read only; len 0: none */
} BridgeKind;

static const BridgeKind pc_bridges[] = {
    { "i440FX", PCI_DEVFN(0, 0),
      { VENDOR_INTEL, 0x1237, 0x02, CLASS_HOST_BRIDGE, SUBSYSTEM_VENDOR,
        SUBSYSTEM, 0, false } },
    { "PIIX3", PCI_DEVFN(1, 0),
      { VENDOR_INTEL, 0x7000, 0x00, CLASS_ISA_BRIDGE, SUBSYSTEM_VENDOR,
        SUBSYSTEM, 0, true } },
    { "PIIX4_PM", PCI_DEVFN(1, 3),
      { VENDOR_INTEL, 0x7113, 0x03, CLASS_OTHER_BRIDGE, SUBSYSTEM_VENDOR,
        SUBSYSTEM, 0, true },
      { { 0x40, 4, ACPI_PM_BASE | 1 }, { 0x80, 1, 0x01 } } },
};
static const BridgeKind q35_bridges[] = {
    { "mch", PCI_DEVFN(0, 0),
      { VENDOR_INTEL, 0x29c0, 0x00, CLASS_HOST_BRIDGE, SUBSYSTEM_VENDOR,
        SUBSYSTEM, 0, false } },
    { "ICH9-LPC", PCI_DEVFN(31, 0),
      { VENDOR_INTEL, 0x2918, 0x02, CLASS_ISA_BRIDGE, SUBSYSTEM_VENDOR,
        SUBSYSTEM, 0, false },
      { { 0x40, 4, ACPI_PM_BASE | 1 }, { 0x44, 1, 0x80 } } },
};

typedef struct Bridge {
    PciDevice pci;
} Bridge;

static void bridge_reset(Device *dev)
{
    pci_device_reset((PciDevice *)dev);
}

static void bridge_free(Device *dev)
{
    pci_device_done((PciDevice *)dev);
    g_free(dev);
}

static const DeviceOps bridge_ops = {
    .reset = bridge_reset,
    .free = bridge_free,
};

/* pci_device_vmstate checks what was loaded. */
static const VMStateField bridge_fields[] = {
    VMSTATE_STRUCT(pci, Bridge, pci_device_vmstate),
    VMSTATE_END,
};

static const VMStateDescription bridge_vmstate = {
    .name = "chipset-function",
    .version = 1,
    .minimum_version = 1,
    .fields = bridge_fields,
};

static void bridge_new(PciBus *bus, const BridgeKind *kind)
{
    Bridge *b = g_new0(Bridge, 1);

    pci_device_init(&b->pci, bus, kind->devfn, &kind->identity, kind->type,
                    NULL, &bridge_ops, NULL, &bridge_vmstate);
    for (size_t i = 0; i < G_N_ELEMENTS(kind->config); i++) {
        if (kind->config[i].len) {
            pci_device_set_config(&b->pci, kind->config[i].offset,
                                  kind->config[i].len,
                                  kind->config[i].value, 0);
        }
    }
}

void pc_bridges_new(PciBus *bus, bool q35)
{
    const BridgeKind *kinds = q35 ? q35_bridges : pc_bridges;
    size_t count = q35 ? G_N_ELEMENTS(q35_bridges)
                       : G_N_ELEMENTS(pc_bridges);

    for (size_t i = 0; i < count; i++) {
        bridge_new(bus, &kinds[i]);
    }
}
