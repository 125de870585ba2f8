/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI buses: who sits where, and how the guest reaches them.
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
 * The root bus has number 0; a bus behind a bridge has the number that the
 * guest (or the board) writes into that bridge. Bridges pass every address on:
 * a function below decodes where its BARs say, whatever the windows of the
 * bridge are.
 *
 * Invariants:
 *   (1) slots[] and below change during set-up and freeing only, hence are
 *       read without a lock.
 *   (2) The host's device lock (rank DEVICE) is unused by the ports: they hold
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

typedef struct PciHost PciHost;

struct PciBus {
    /* Immutable after set-up. */
    PciHost *host;
    char *name;        /* NULL: nothing can be put on it by name */
    PciDevice *bridge; /* that leads here; NULL: the root */
    PciDevice *slots[PCI_DEVFN_MAX];
};

struct PciHost {
    Device dev;

    /* Immutable after set-up. */
    Machine *machine;
    bool is_q35;
    PciBus root;
    GPtrArray *below; /* PciBus, of the bridges on the root bus */
    IoRegion address_region, data_region, ecam_region;

    /* Protected by latch_lock. */
    VmMutex latch_lock;
    uint32_t config_address;
    uint8_t reset_control;
};

/* ---- Ports ------------------------------------------------------------- */

static PciDevice *find_device(PciHost *host, unsigned bus_no, unsigned devfn)
{
    if (bus_no == 0) {
        return host->root.slots[devfn];
    }
    for (guint i = 0; i < host->below->len; i++) {
        PciBus *bus = host->below->pdata[i];

        if (pci_device_config_read(bus->bridge, PCI_SECONDARY_BUS, 1) ==
            bus_no) {
            return bus->slots[devfn];
        }
    }
    return NULL;
}

static uint32_t all_ones(unsigned size)
{
    return size >= 4 ? UINT32_MAX : (UINT32_C(1) << (size * 8)) - 1;
}

static uint64_t address_read(void *opaque, uint64_t offset, unsigned size)
{
    PciHost *host = opaque;
    uint64_t value = all_ones(size);

    vm_mutex_lock(&host->latch_lock);
    if (size == 4) {
        value = host->config_address;
    } else if (size == 1 && offset == RESET_CONTROL_OFFSET) {
        value = host->reset_control;
    }
    vm_mutex_unlock(&host->latch_lock);
    return value;
}

static void reset_control_write(PciHost *host, uint8_t value)
{
    Machine *machine = host->machine;
    bool reset = value & RESET_CONTROL_CPU;

    vm_mutex_lock(&host->latch_lock);
    /* The reset bit acts and reads back as clear. */
    host->reset_control = value & RESET_CONTROL_WRITABLE & ~RESET_CONTROL_CPU;
    vm_mutex_unlock(&host->latch_lock);
    if (reset && machine->requests && machine->requests->reset) {
        machine->requests->reset(machine->requests_opaque);
    }
}

static void address_write(void *opaque, uint64_t offset, uint64_t value,
                          unsigned size)
{
    PciHost *host = opaque;

    if (size == 1 && offset == RESET_CONTROL_OFFSET) {
        reset_control_write(host, value);
    } else if (size == 4) {
        vm_mutex_lock(&host->latch_lock);
        /* Bits 30-24 and 1-0 are reserved and read as zero. */
        host->config_address = value & UINT32_C(0x80fffffc);
        vm_mutex_unlock(&host->latch_lock);
    }
}

/* The function that the latch points at, and the register in it. */
static PciDevice *latched_device(PciHost *host, unsigned *ret_register)
{
    uint32_t address;

    vm_mutex_lock(&host->latch_lock);
    address = host->config_address;
    vm_mutex_unlock(&host->latch_lock);
    if (!(address & CONFIG_ADDRESS_ENABLE)) {
        return NULL;
    }
    *ret_register = address & 0xfc;
    return find_device(host, (address >> 16) & 0xff, (address >> 8) & 0xff);
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

static PciDevice *ecam_device(PciHost *host, uint64_t offset,
                              unsigned *ret_register)
{
    PciDevice *pci = find_device(host, offset >> 20, (offset >> 12) & 0xff);

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
    PciHost *host = (PciHost *)dev;

    vm_mutex_lock(&host->latch_lock);
    host->config_address = 0;
    host->reset_control = 0;
    vm_mutex_unlock(&host->latch_lock);
}

static void pci_bus_free(Device *dev)
{
    PciHost *host = (PciHost *)dev;
    Machine *machine = host->machine;

    address_space_unmap_io(machine->ports, &host->address_region);
    address_space_unmap_io(machine->ports, &host->data_region);
    machine->pci = NULL;
    vm_mutex_done(&host->latch_lock);
    g_assert(host->below->len == 0); /* their bridges are gone */
    g_ptr_array_unref(host->below);
    g_free(host->root.name);
    device_done(&host->dev);
    g_free(host);
}

static const DeviceOps pci_bus_ops = {
    .reset = pci_bus_reset,
    .free = pci_bus_free,
};

static int pci_bus_post_load(void *opaque, int version)
{
    PciHost *host = opaque;

    /* Whatever came, only what the guest could have written stays. */
    host->config_address &= UINT32_C(0x80fffffc);
    host->reset_control &= RESET_CONTROL_WRITABLE & ~RESET_CONTROL_CPU;
    return 0;
}

static const VMStateDescription pci_bus_vmstate = {
    .name = "pci-bus",
    .version = 1,
    .minimum_version = 1,
    .post_load = pci_bus_post_load,
    .fields = (const VMStateField[]){
        VMSTATE_U32(config_address, PciHost),
        VMSTATE_U8(reset_control, PciHost),
        VMSTATE_END,
    },
};

static void region_init(IoRegion *region, const char *name,
                        const IoRegionOps *ops, PciHost *host, uint64_t bytes)
{
    region->name = name;
    region->ops = ops;
    region->opaque = host;
    region->size_bytes = bytes;
}

PciBus *pci_bus_new(Machine *machine, bool is_q35)
{
    PciHost *host = g_new0(PciHost, 1);
    int r;

    host->machine = machine;
    host->is_q35 = is_q35;
    host->root.host = host;
    host->root.name = g_strdup(is_q35 ? "pcie.0" : "pci.0");
    host->below = g_ptr_array_new();
    vm_mutex_init(&host->latch_lock, VM_RANK_PCI_BUS);
    region_init(&host->address_region, "pci-config-address", &address_ops,
                host, 4);
    region_init(&host->data_region, "pci-config-data", &data_ops, host, 4);
    region_init(&host->ecam_region, "pci-ecam", &ecam_ops, host,
                PCI_ECAM_BYTES);
    r = address_space_map_io(machine->ports, 0xcf8, &host->address_region);
    g_assert(r == 0); /* the board maps the ports, each once */
    r = address_space_map_io(machine->ports, 0xcfc, &host->data_region);
    g_assert(r == 0);
    device_init(&host->dev, machine, "pci-bus", NULL, &pci_bus_ops,
                &pci_bus_vmstate);
    machine->pci = &host->root;
    return machine->pci;
}

PciBus *pci_bus_new_below(PciDevice *bridge, const char *name)
{
    PciBus *bus = g_new0(PciBus, 1);

    g_assert(!bridge->bus->bridge); /* one level is enough for root ports */
    bus->host = bridge->bus->host;
    bus->name = g_strdup(name);
    bus->bridge = bridge;
    g_ptr_array_add(bus->host->below, bus);
    return bus;
}

void pci_bus_free_below(PciBus *bus)
{
    g_ptr_array_remove(bus->host->below, bus);
    g_free(bus->name);
    g_free(bus);
}

PciBus *pci_bus_below(const PciDevice *bridge)
{
    const GPtrArray *below = bridge->bus->host->below;

    for (guint i = 0; i < below->len; i++) {
        PciBus *bus = below->pdata[i];

        if (bus->bridge == bridge) {
            return bus;
        }
    }
    return NULL;
}

bool pci_bus_is_root(const PciBus *bus)
{
    return !bus->bridge;
}

bool pci_bus_is_express(const PciBus *bus)
{
    return bus->host->is_q35;
}

const char *pci_bus_name(const PciBus *bus)
{
    return bus->name;
}

Machine *pci_bus_machine(PciBus *bus)
{
    return bus->host->machine;
}

IoRegion *pci_bus_ecam_region(PciBus *bus)
{
    return bus->host->is_q35 ? &bus->host->ecam_region : NULL;
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

/* PCI-to-PCI Bridge Architecture 1.2, 9.1: pins rotate by the slot. */
unsigned pci_device_gsi(const PciDevice *pci, unsigned pin)
{
    const PciDevice *bridge = pci->bus->bridge;

    if (bridge) {
        return pci_slot_pin_to_gsi(PCI_SLOT(bridge->devfn),
                                   (PCI_SLOT(pci->devfn) + pin) % 4);
    }
    return pci_slot_pin_to_gsi(PCI_SLOT(pci->devfn), pin);
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
    bool root = pci_bus_is_root(bus);
    unsigned first = root ? PCI_FIRST_AUTO_SLOT : 0;
    unsigned end = !root ? 1 : bus->host->is_q35 ? ICH9_LPC_SLOT : PCI_SLOTS;

    for (unsigned slot = first; slot < end; slot++) {
        if (slot_is_empty(bus, slot)) {
            *ret_devfn = PCI_DEVFN(slot, 0);
            return true;
        }
    }
    return vm_error_set(errp, 0, "PCI: no slot left on bus '%s' for %s",
                        bus->name ? bus->name : "(unnamed)", type);
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
    if (!pci_bus_is_root(bus) && PCI_SLOT(devfn) != 0) {
        return vm_error_set(errp, 0,
                            "%s: PCI address %02x.%x: behind a root port "
                            "there is slot 0 only", type, PCI_SLOT(devfn),
                            PCI_FN(devfn));
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

static PciBus *find_bus(PciBus *root, const char *name)
{
    const GPtrArray *below = root->host->below;

    if (!name || g_str_equal(name, root->name)) {
        return root;
    }
    for (guint i = 0; i < below->len; i++) {
        PciBus *bus = below->pdata[i];

        if (g_strcmp0(name, bus->name) == 0) {
            return bus;
        }
    }
    return NULL;
}

bool pci_bus_choose_slot(PciBus *root, const char *type, VmKeyval *props,
                         PciPlace *ret, GError **errp)
{
    const char *addr = vm_keyval_get(props, "addr");
    const char *name = vm_keyval_get(props, "bus");

    ret->bus = find_bus(root, name);
    if (!ret->bus) {
        return vm_error_set(errp, 0, "Bus '%s' not found", name);
    }
    if (!vm_keyval_get_bool(props, "multifunction", false,
                            &ret->multifunction, errp)) {
        return false;
    }
    return addr ? choose_given_slot(ret->bus, type, addr, &ret->devfn, errp)
                : choose_free_slot(ret->bus, type, &ret->devfn, errp);
}
