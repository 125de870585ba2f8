/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI: the buses, and what every function on them has.
 *
 * A function embeds PciDevice (which embeds Device) as its first member. This
 * module owns its configuration space: which bits the guest may write, where
 * the base address registers (BARs) point, the INTx line, and the MSI-X table.
 * A BAR is an IoRegion that appears in the machine's memory or ports while
 * the guest has enabled decoding and the address makes sense.
 *
 * The guest reaches configuration space by ports 0xcf8-0xcff (mechanism #1,
 * PCI 3.0 section 3.2.2.3.2) and, on q35, by the 256 MiB ECAM window (PCIe
 * 5.0 section 7.2.2). The reset control register at port 0xcf9 lies inside
 * the address port and is served here too.
 *
 * Threads: set-up and freeing on the main thread while no vCPU runs. What
 * takes a PciDevice afterwards wants that device's lock held, unless it says
 * otherwise. The bus's own lock (VM_RANK_PCI_BUS) covers the address port
 * alone and is never held across a device.
 */
#ifndef VM_HW_PCI_PCI_H
#define VM_HW_PCI_PCI_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "hw/core/device.h"
#include "hw/core/machine.h"
#include "memory/address-space.h"
#include "migration/vmstate.h"
#include "util/keyval.h"

/* Conventional space only: no function here has anything beyond; ECAM reads
 * there give all ones. */
#define PCI_CONFIG_BYTES 256
#define PCI_BARS 6
#define PCI_DEVFN_MAX 256
#define PCI_DEVFN(slot, fn) ((uint8_t)(((slot) << 3) | (fn)))
#define PCI_SLOT(devfn) ((unsigned)(devfn) >> 3)
#define PCI_FN(devfn) ((unsigned)(devfn) & 7)

#define PCI_ECAM_BYTES (UINT64_C(256) << 20)
/* A power of two keeps the table and the pending bits within 4 KiB. */
#define PCI_MSIX_VECTORS_MAX 64
#define PCI_MSIX_ENTRY_BYTES 16

/* Offsets of the type 0 header, PCI 3.0 section 6.1. */
enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS_PROG = 0x09, /* three bytes: interface, subclass, class */
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR_0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_CAPABILITY_LIST = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
    PCI_CONFIG_HEADER_BYTES = 0x40,
};
/* Those of the type 1 header, PCI-to-PCI Bridge Architecture 1.2, 3.2. */
enum {
    PCI_PRIMARY_BUS = 0x18,
    PCI_SECONDARY_BUS = 0x19,
    PCI_SUBORDINATE_BUS = 0x1a,
    PCI_IO_BASE = 0x1c,
    PCI_IO_LIMIT = 0x1d,
    PCI_MEMORY_BASE = 0x20,
    PCI_MEMORY_LIMIT = 0x22,
    PCI_PREFETCH_BASE = 0x24,
    PCI_PREFETCH_LIMIT = 0x26,
    PCI_PREFETCH_BASE_UPPER = 0x28,
    PCI_PREFETCH_LIMIT_UPPER = 0x2c,
    PCI_BRIDGE_CONTROL = 0x3e,
};
enum {
    PCI_COMMAND_IO = 1 << 0,
    PCI_COMMAND_MEMORY = 1 << 1,
    PCI_COMMAND_MASTER = 1 << 2,
    PCI_COMMAND_SERR = 1 << 8,
    PCI_COMMAND_INTX_DISABLE = 1 << 10,
    PCI_STATUS_INTERRUPT = 1 << 3,
    PCI_STATUS_CAP_LIST = 1 << 4,
};
enum {
    PCI_CAP_ID_VENDOR = 0x09,
    PCI_CAP_ID_EXPRESS = 0x10,
    PCI_CAP_ID_MSIX = 0x11,
};

typedef struct PciDevice PciDevice;

/* ---- Interrupt pins ---------------------------------------------------- */

/* pin 0 is INTA. The same on both machines: GSI 16 to 19 (the I/O APIC pins
 * 16-19); the board's _PRT says so. */
#define PCI_GSI_FIRST 16
static inline unsigned pci_slot_pin_to_gsi(unsigned slot, unsigned pin)
{
    return PCI_GSI_FIRST + (slot + pin) % 4;
}

/* ---- Bus --------------------------------------------------------------- */

/*
 * Makes the root bus ("pci.0", or "pcie.0" on q35), maps ports 0xcf8-0xcff
 * in machine->ports and sets machine->pci. The machine owns it (it is a
 * Device, so that the address port is reset and migrated).
 */
PciBus *pci_bus_new(Machine *machine, bool is_q35);
const char *pci_bus_name(const PciBus *bus);
/* q35: PCI_ECAM_BYTES long; the board maps it. NULL on pc. */
IoRegion *pci_bus_ecam_region(PciBus *bus);
/* The function at devfn, or NULL. Any thread: set-up never changes later. */
PciDevice *pci_bus_get_device(PciBus *bus, unsigned devfn);
/* In rising order of devfn; not what is behind bridges. */
void pci_bus_foreach(PciBus *bus, void (*fn)(PciDevice *pci, void *opaque),
                     void *opaque);

bool pci_bus_is_root(const PciBus *bus);
/* Is it a bus of a PCI Express machine? */
bool pci_bus_is_express(const PciBus *bus);

/*
 * The bus behind a bridge of the root bus, for the bridge's create() and
 * free(); it is empty when it is freed. name is borrowed, and may be NULL. Its
 * number is what the bridge's configuration space says.
 */
PciBus *pci_bus_new_below(PciDevice *bridge, const char *name);
void pci_bus_free_below(PciBus *bus);
/* NULL: the function is no bridge. */
PciBus *pci_bus_below(const PciDevice *bridge);

typedef struct PciPlace {
    PciBus *bus;
    uint8_t devfn;
    bool multifunction;
} PciPlace;

/*
 * Takes "addr" ("5", "05.0", "0x5.0x1"), "bus" (the root's if absent) and
 * "multifunction" from props and checks that the place is free; without addr,
 * the first free slot from 3 on (below 0x1f on q35, where the LPC bridge
 * lives), or slot 0 behind a bridge.
 */
bool pci_bus_choose_slot(PciBus *root, const char *type, VmKeyval *props,
                         PciPlace *ret, GError **errp);

/* ---- Device ------------------------------------------------------------ */

typedef struct PciIdentity {
    uint16_t vendor, device;
    uint8_t revision;
    uint32_t class_code; /* 24 bits: class, subclass, interface */
    uint16_t subsystem_vendor, subsystem; /* 0, 0: none */
    uint8_t interrupt_pin; /* 0: none; 1: INTA ... */
    bool multifunction;
} PciIdentity;

typedef struct PciDeviceOps {
    /* After the guest wrote [offset, offset+len) of configuration space and
     * the masks were applied. Optional. */
    void (*config_written)(PciDevice *pci, unsigned offset, unsigned len);
    /* Before the guest reads it, to refresh bytes of it. Optional. */
    void (*config_reading)(PciDevice *pci, unsigned offset, unsigned len);
    /* A vector was masked (in the table, by the function mask, or by MSI-X
     * being disabled) or unmasked. Optional. */
    void (*msix_changed)(PciDevice *pci);
} PciDeviceOps;

typedef enum PciBarKind {
    PCI_BAR_NONE,
    PCI_BAR_PORTS,
    PCI_BAR_MEMORY_32,
    PCI_BAR_MEMORY_64, /* takes the next BAR as well */
} PciBarKind;

typedef struct PciBar {
    PciBarKind kind;
    IoRegion *region; /* size: a power of two, >= 16 (4 for ports) */
    bool mapped;
    uint64_t mapped_at;
} PciBar;

typedef struct PciMsix {
    uint8_t capability; /* offset in configuration space; 0: no MSI-X */
    uint16_t vectors;
    IoRegion table_region; /* table at 0, pending bits at 0x800 */
    uint8_t table[PCI_MSIX_VECTORS_MAX * PCI_MSIX_ENTRY_BYTES];
    uint64_t pending;
} PciMsix;

struct PciDevice {
    Device dev;

    /* Immutable after set-up. */
    Machine *machine;
    PciBus *bus;
    uint8_t devfn;
    const PciDeviceOps *pci_ops;
    uint8_t config_power_on[PCI_CONFIG_BYTES];
    uint8_t writable[PCI_CONFIG_BYTES];       /* 1: guest may write the bit */
    uint8_t write_1_clears[PCI_CONFIG_BYTES]; /* 1: writing 1 clears it */
    uint8_t next_capability; /* first free offset */
    IrqLine *intx;
    unsigned intx_source;

    /* Protected by dev.lock. */
    uint8_t config[PCI_CONFIG_BYTES];
    PciBar bar[PCI_BARS];
    PciMsix msix;
    bool intx_level; /* what the function asks for, whatever is masked */
};

/*
 * Makes the function at devfn (from pci_bus_choose_slot(), or a place the
 * board knows to be free), and registers it with the machine as a Device,
 * after which it cannot fail. pci_ops may be NULL.
 */
void pci_device_init(PciDevice *pci, PciBus *bus, uint8_t devfn,
                     const PciIdentity *identity, const char *type,
                     const char *id, const DeviceOps *ops,
                     const PciDeviceOps *pci_ops,
                     const VMStateDescription *vmsd);
/* From DeviceOps.free: unmaps and leaves the bus. */
void pci_device_done(PciDevice *pci);
/* From DeviceOps.reset: header, BARs, MSI-X and INTx as at power-on. */
void pci_device_reset(PciDevice *pci);

/* Set-up: values and write masks of device-specific registers. A value set
 * here is the power-on value. */
void pci_device_set_config(PciDevice *pci, unsigned offset, unsigned len,
                           uint32_t value, uint32_t writable_mask);
/* Set-up: region becomes BAR number bar; its lock becomes dev.lock if it has
 * none. */
void pci_device_add_bar(PciDevice *pci, unsigned bar, PciBarKind kind,
                        bool prefetchable, IoRegion *region);
/* Set-up: adds a capability of len bytes and links it; returns its offset.
 * The body (from offset + 2) is zero and read-only. */
uint8_t pci_device_add_capability(PciDevice *pci, uint8_t cap_id,
                                  unsigned len);
/* The GSI of pin (0 is INTA) of the function, where it sits. */
unsigned pci_device_gsi(const PciDevice *pci, unsigned pin);

/* Little-endian reads and writes of config by the device itself. */
uint32_t pci_get_config(const PciDevice *pci, unsigned offset, unsigned len);
void pci_put_config(PciDevice *pci, unsigned offset, unsigned len,
                    uint32_t value);
/* The guest's access as the ports and ECAM make it (takes the device's
 * lock); len is 1, 2 or 4 and offset a multiple of it. */
uint32_t pci_device_config_read(PciDevice *pci, unsigned offset, unsigned len);
void pci_device_config_write(PciDevice *pci, unsigned offset, uint32_t value,
                             unsigned len);

/* May the function read and write guest RAM? */
bool pci_bus_master_enabled(const PciDevice *pci);
void pci_set_intx(PciDevice *pci, bool level);

/* ---- MSI-X (PCI 3.0 section 6.8.2) ------------------------------------- */

/* Set-up: BAR number bar becomes a 4 KiB region with table and pending bits.
 * 1 <= vectors <= PCI_MSIX_VECTORS_MAX. */
void pci_msix_init(PciDevice *pci, unsigned bar, unsigned vectors);
bool pci_msix_enabled(const PciDevice *pci);
/* Sends the vector, or marks it pending while it is masked. Does nothing for
 * a vector out of range or while MSI-X or bus mastering is off. */
void pci_msix_notify(PciDevice *pci, unsigned vector);

/* ---- PCI Express (pcie.c) ---------------------------------------------- */

/* Set-up, of a function behind a root port: it is an end point, with the
 * capability that end points have. */
void pci_express_add_endpoint(PciDevice *pci);
/* DeviceType.create of "pcie-root-port": port, chassis, slot, hotplug=off. The
 * bus behind it has the id's name. */
bool pcie_root_port_create(Machine *machine, const char *id, VmKeyval *props,
                           GError **errp);

/* ---- Migration --------------------------------------------------------- */

/*
 * Configuration space, MSI-X table and INTx, for VMSTATE_STRUCT(pci, T,
 * pci_device_vmstate). Its post_load refuses what differs in read-only bits
 * and maps the BARs.
 */
extern const VMStateDescription pci_device_vmstate;

#endif
