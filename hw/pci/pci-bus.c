/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI root bus: who sits where, and how the guest reaches them.
 *
 * Why: configuration mechanism #1 (PCI 3.0 section 3.2.2.3.2) latches an
 * address at port 0xcf8 and moves data at 0xcfc-0xcff; ECAM (PCIe 5.0 section
 * 7.2.2) maps every function's space into memory. Both end in
 * pci_device_config_read() and _write().
 *
 * Port 0xcf9 is the chipset's reset control register; it lies within the
 * address register's four ports, so byte accesses to it are served here (a
 * configuration address takes effect by a 32-bit access only).
 *
 * Invariants:
 *   (1) slots[] changes during set-up and freeing only, hence is read
 *       without a lock.
 *   (2) The bus's device lock (rank DEVICE) is unused by the ports: they hold
 *       latch_lock (rank PCI_BUS) for the latch alone, and nothing while they
 *       are in a device.
 */
#include <string.h>

#include "pci-internal.h"
#include "util/error.h"

#define PCI_FIRST_AUTO_SLOT 3
#define PCI_SLOTS 32
#define ICH9_LPC_SLOT 0x1f

#define CONFIG_ADDRESS_ENABLE (UINT32_C(1) << 31)
#define RESET_CONTROL_OFFSET 1
/* ICH9 datasheet 13.7.5: bit 1 hard reset, bit 2 resets the CPU. */
#define RESET_CONTROL_WRITABLE 0x0e
#define RESET_CONTROL_CPU 0x04

struct PciBus {
    Device dev;

    /* Immutable after set-up. */
    Machine *machine;
    bool is_q35;
    PciDevice *slots[PCI_DEVFN_MAX];
    IoRegion address_region, data_region, ecam_region;

    /* Protected by latch_lock. */
    VmMutex latch_lock;
    uint32_t config_address;
    uint8_t reset_control;
};

/* ---- Ports ------------------------------------------------------------- */

static PciDevice *find_device(PciBus *bus, unsigned bus_no, unsigned devfn)
{
    return bus_no == 0 ? bus->slots[devfn] : NULL;
}

static uint32_t all_ones(unsigned size)
{
    return size >= 4 ? UINT32_MAX : (UINT32_C(1) << (size * 8)) - 1;
}

static uint64_t address_read(void *opaque, uint64_t offset, unsigned size)
{
    PciBus *bus = opaque;
    uint64_t value = all_ones(size);

    vm_mutex_lock(&bus->latch_lock);
    if (size == 4) {
        value = bus->config_address;
    } else if (size == 1 && offset == RESET_CONTROL_OFFSET) {
        value = bus->reset_control;
    }
    vm_mutex_unlock(&bus->latch_lock);
    return value;
}

static void reset_control_write(PciBus *bus, uint8_t value)
{
    Machine *machine = bus->machine;
    bool reset = value & RESET_CONTROL_CPU;

    vm_mutex_lock(&bus->latch_lock);
    /* The reset bit acts and reads back as clear. */
    bus->reset_control = value & RESET_CONTROL_WRITABLE & ~RESET_CONTROL_CPU;
    vm_mutex_unlock(&bus->latch_lock);
    if (reset && machine->requests && machine->requests->reset) {
        machine->requests->reset(machine->requests_opaque);
    }
}

static void address_write(void *opaque, uint64_t offset, uint64_t value,
                          unsigned size)
{
    PciBus *bus = opaque;

    if (size == 1 && offset == RESET_CONTROL_OFFSET) {
        reset_control_write(bus, value);
    } else if (size == 4) {
        vm_mutex_lock(&bus->latch_lock);
        /* Bits 30-24 and 1-0 are reserved and read as zero. */
        bus->config_address = value & UINT32_C(0x80fffffc);
        vm_mutex_unlock(&bus->latch_lock);
    }
}

/* The function that the latch points at, and the register in it. */
static PciDevice *latched_device(PciBus *bus, unsigned *ret_register)
{
    uint32_t address;

    vm_mutex_lock(&bus->latch_lock);
    address = bus->config_address;
    vm_mutex_unlock(&bus->latch_lock);
    if (!(address & CONFIG_ADDRESS_ENABLE)) {
        return NULL;
    }
    *ret_register = address & 0xfc;
    return find_device(bus, (address >> 16) & 0xff, (address >> 8) & 0xff);
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    unsigned reg;
    PciDevice *pci = latched_device(opaque, &reg);

    return pci ? pci_device_config_read(pci, reg + offset, size)
               : all_ones(size);
}

static void data_write(void *opaque, uint64_t offset, uint64_t value,
                       unsigned size)
{
    unsigned reg;
    PciDevice *pci = latched_device(opaque, &reg);

    if (pci) {
        pci_device_config_write(pci, reg + offset, value, size);
    }
}

static const IoRegionOps address_ops = {
    .read = address_read, .write = address_write, .max_bytes = 4,
};
static const IoRegionOps data_ops = {
    .read = data_read, .write = data_write, .max_bytes = 4,
};

/* ---- ECAM -------------------------------------------------------------- */

static PciDevice *ecam_device(PciBus *bus, uint64_t offset,
                              unsigned *ret_register)
{
    PciDevice *pci = find_device(bus, offset >> 20, (offset >> 12) & 0xff);

    *ret_register = offset & 0xfff;
    return *ret_register < PCI_CONFIG_BYTES ? pci : NULL;
}

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned size)
{
    unsigned reg;
    PciDevice *pci = ecam_device(opaque, offset, &reg);

    return pci ? pci_device_config_read(pci, reg, size) : all_ones(size);
}

static void ecam_write(void *opaque, uint64_t offset, uint64_t value,
                       unsigned size)
{
    unsigned reg;
    PciDevice *pci = ecam_device(opaque, offset, &reg);

    if (pci) {
        pci_device_config_write(pci, reg, value, size);
    }
}

static const IoRegionOps ecam_ops = {
    .read = ecam_read, .write = ecam_write, .max_bytes = 4,
};

/* ---- The bus as a device ----------------------------------------------- */

static void pci_bus_reset(Device *dev)
{
    PciBus *bus = (PciBus *)dev;

    vm_mutex_lock(&bus->latch_lock);
    bus->config_address = 0;
    bus->reset_control = 0;
    vm_mutex_unlock(&bus->latch_lock);
}

static void pci_bus_free(Device *dev)
{
    PciBus *bus = (PciBus *)dev;
    Machine *machine = bus->machine;

    address_space_unmap_io(machine->ports, &bus->address_region);
    address_space_unmap_io(machine->ports, &bus->data_region);
    machine->pci = NULL;
    vm_mutex_done(&bus->latch_lock);
    device_done(&bus->dev);
    g_free(bus);
}

static const DeviceOps pci_bus_ops = {
    .reset = pci_bus_reset,
    .free = pci_bus_free,
};

static int pci_bus_post_load(void *opaque, int version)
{
    PciBus *bus = opaque;

    /* Whatever came, only what the guest could have written stays. */
    bus->config_address &= UINT32_C(0x80fffffc);
    bus->reset_control &= RESET_CONTROL_WRITABLE & ~RESET_CONTROL_CPU;
    return 0;
}

static const VMStateDescription pci_bus_vmstate = {
    .name = "pci-bus",
    .version = 1,
    .minimum_version = 1,
    .post_load = pci_bus_post_load,
    .fields = (const VMStateField[]){
        VMSTATE_U32(config_address, PciBus),
        VMSTATE_U8(reset_control, PciBus),
        VMSTATE_END,
    },
};

static void region_init(IoRegion *region, const char *name,
                        const IoRegionOps *ops, PciBus *bus, uint64_t bytes)
{
    region->name = name;
    region->ops = ops;
    region->opaque = bus;
    region->size_bytes = bytes;
}

PciBus *pci_bus_new(Machine *machine, bool is_q35)
{
    PciBus *bus = g_new0(PciBus, 1);
    int r;

    bus->machine = machine;
    bus->is_q35 = is_q35;
    vm_mutex_init(&bus->latch_lock, VM_RANK_PCI_BUS);
    region_init(&bus->address_region, "pci-config-address", &address_ops,
                bus, 4);
    region_init(&bus->data_region, "pci-config-data", &data_ops, bus, 4);
    region_init(&bus->ecam_region, "pci-ecam", &ecam_ops, bus,
                PCI_ECAM_BYTES);
    r = address_space_map_io(machine->ports, 0xcf8, &bus->address_region);
    g_assert(r == 0); /* the board maps the ports, each once */
    r = address_space_map_io(machine->ports, 0xcfc, &bus->data_region);
    g_assert(r == 0);
    device_init(&bus->dev, machine, "pci-bus", NULL, &pci_bus_ops,
                &pci_bus_vmstate);
    machine->pci = bus;
    return bus;
}

const char *pci_bus_name(const PciBus *bus)
{
    return bus->is_q35 ? "pcie.0" : "pci.0";
}

Machine *pci_bus_machine(PciBus *bus)
{
    return bus->machine;
}

IoRegion *pci_bus_ecam_region(PciBus *bus)
{
    return bus->is_q35 ? &bus->ecam_region : NULL;
}

PciDevice *pci_bus_get_device(PciBus *bus, unsigned devfn)
{
    return devfn < PCI_DEVFN_MAX ? bus->slots[devfn] : NULL;
}

void pci_bus_set_device(PciBus *bus, uint8_t devfn, PciDevice *pci)
{
    g_assert(!pci || !bus->slots[devfn]);
    bus->slots[devfn] = pci;
}

void pci_bus_foreach(PciBus *bus, void (*fn)(PciDevice *pci, void *opaque),
                     void *opaque)
{
    for (unsigned devfn = 0; devfn < PCI_DEVFN_MAX; devfn++) {
        if (bus->slots[devfn]) {
            fn(bus->slots[devfn], opaque);
        }
    }
}

/* ---- addr= ------------------------------------------------------------- */

/* A hexadecimal number up to max at *text, with or without "0x". */
static bool parse_hex(const char **text, unsigned max, unsigned *ret)
{
    char *end;
    guint64 value;

    if (!g_ascii_isxdigit(**text)) {
        return false; /* g_ascii_strtoull() would take signs and blanks */
    }
    value = g_ascii_strtoull(*text, &end, 16);
    if (end == *text || value > max) {
        return false;
    }
    *text = end;
    *ret = value;
    return true;
}

/* QEMU reads both numbers as hexadecimal: "5", "05.0", "0x1f.0x3". */
static bool parse_addr(const char *text, uint8_t *ret_devfn)
{
    unsigned slot, fn = 0;

    if (!parse_hex(&text, PCI_SLOTS - 1, &slot)) {
        return false;
    }
    if (*text == '.') {
        text++;
        if (!parse_hex(&text, 7, &fn)) {
            return false;
        }
    }
    if (*text) {
        return false;
    }
    *ret_devfn = PCI_DEVFN(slot, fn);
    return true;
}

static bool slot_is_empty(const PciBus *bus, unsigned slot)
{
    for (unsigned fn = 0; fn < 8; fn++) {
        if (bus->slots[PCI_DEVFN(slot, fn)]) {
            return false;
        }
    }
    return true;
}

static bool choose_free_slot(const PciBus *bus, const char *type,
                             uint8_t *ret_devfn, GError **errp)
{
    unsigned end = bus->is_q35 ? ICH9_LPC_SLOT : PCI_SLOTS;

    for (unsigned slot = PCI_FIRST_AUTO_SLOT; slot < end; slot++) {
        if (slot_is_empty(bus, slot)) {
            *ret_devfn = PCI_DEVFN(slot, 0);
            return true;
        }
    }
    return vm_error_set(errp, 0, "PCI: no slot left on bus '%s' for %s",
                        pci_bus_name(bus), type);
}

static bool choose_given_slot(const PciBus *bus, const char *type,
                              const char *addr, uint8_t *ret_devfn,
                              GError **errp)
{
    const PciDevice *first;
    uint8_t devfn;

    if (!parse_addr(addr, &devfn)) {
        return vm_error_set(errp, 0,
                            "%s: bad PCI address '%s' (want SLOT[.FUNCTION], "
                            "hexadecimal)", type, addr);
    }
    if (bus->slots[devfn]) {
        return vm_error_set(errp, 0,
                            "%s: PCI address %02x.%x is taken by %s", type,
                            PCI_SLOT(devfn), PCI_FN(devfn),
                            bus->slots[devfn]->dev.type);
    }
    /* Guests look at functions 1-7 only if function 0 says so. */
    first = bus->slots[PCI_DEVFN(PCI_SLOT(devfn), 0)];
    if (PCI_FN(devfn) != 0 && first &&
        !(first->config_power_on[PCI_HEADER_TYPE] & 0x80)) {
        return vm_error_set(errp, 0,
                            "%s: PCI slot %02x is taken by %s, which is not "
                            "multifunction", type, PCI_SLOT(devfn),
                            first->dev.type);
    }
    *ret_devfn = devfn;
    return true;
}

bool pci_bus_choose_slot(PciBus *bus, const char *type, VmKeyval *props,
                         uint8_t *ret_devfn, bool *ret_multifunction,
                         GError **errp)
{
    const char *addr = vm_keyval_get(props, "addr");
    const char *name = vm_keyval_get(props, "bus");

    if (name && !g_str_equal(name, pci_bus_name(bus))) {
        return vm_error_set(errp, 0, "Bus '%s' not found", name);
    }
    if (!vm_keyval_get_bool(props, "multifunction", false, ret_multifunction,
                            errp)) {
        return false;
    }
    return addr ? choose_given_slot(bus, type, addr, ret_devfn, errp)
                : choose_free_slot(bus, type, ret_devfn, errp);
}
