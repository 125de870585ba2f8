/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI Express: the capability that its functions have, and root ports.
 *
 * Why root ports: management puts each device of a q35 machine behind one of
 * its own. A port is a PCI-to-PCI bridge to a bus with one slot. It has no
 * hot-plug and no errors to tell, and its link is always up.
 *
 * Sources: PCI Express Base 5.0, 7.5.3; PCI-to-PCI Bridge Architecture 1.2,
 * chapter 3.
 *
 * Threads: set-up on the main thread; the rest is PciDevice's.
 */
#include "hw/pci/pci.h"

#include "util/error.h"

/* QEMU's generic root port. */
#define ROOT_PORT_VENDOR 0x1b36
#define ROOT_PORT_DEVICE 0x000c
#define CLASS_PCI_BRIDGE 0x060400
#define HEADER_TYPE_BRIDGE 0x01
#define HEADER_MULTIFUNCTION 0x80
/* Bridge control: parity error response, SERR# enable. */
#define BRIDGE_CONTROL_WRITABLE 0x0003

/* Offsets in the capability, 7.5.3. */
enum {
    EXPRESS_CAPABILITIES = 0x02,
    EXPRESS_DEVICE_CAPABILITIES = 0x04,
    EXPRESS_DEVICE_CONTROL = 0x08,
    EXPRESS_LINK_CAPABILITIES = 0x0c,
    EXPRESS_LINK_STATUS = 0x12,
    EXPRESS_LINK_CAPABILITIES_2 = 0x2c,
    EXPRESS_BYTES = 0x3c,
};
enum { EXPRESS_TYPE_ENDPOINT = 0, EXPRESS_TYPE_ROOT_PORT = 4 };
#define EXPRESS_VERSION 2
#define ROLE_BASED_ERRORS (UINT32_C(1) << 15)
#define DEVICE_CONTROL_WRITABLE 0x00ef /* errors, ordering, payload size */
#define LINK_2_5_GT_X1 0x11 /* speed 1, width 1: caps and status alike */
#define LINK_SPEEDS_2_5_GT 0x02

static void add_express(PciDevice *pci, unsigned type, unsigned port)
{
    uint8_t cap = pci_device_add_capability(pci, PCI_CAP_ID_EXPRESS,
                                            EXPRESS_BYTES);

    pci_device_set_config(pci, cap + EXPRESS_CAPABILITIES, 2,
                          EXPRESS_VERSION | type << 4, 0);
    pci_device_set_config(pci, cap + EXPRESS_DEVICE_CAPABILITIES, 4,
                          ROLE_BASED_ERRORS, 0);
    pci_device_set_config(pci, cap + EXPRESS_DEVICE_CONTROL, 2, 0,
                          DEVICE_CONTROL_WRITABLE);
    pci_device_set_config(pci, cap + EXPRESS_LINK_CAPABILITIES, 4,
                          LINK_2_5_GT_X1 | port << 24, 0);
    pci_device_set_config(pci, cap + EXPRESS_LINK_STATUS, 2, LINK_2_5_GT_X1,
                          0);
    pci_device_set_config(pci, cap + EXPRESS_LINK_CAPABILITIES_2, 4,
                          LINK_SPEEDS_2_5_GT, 0);
}

void pci_express_add_endpoint(PciDevice *pci)
{
    add_express(pci, EXPRESS_TYPE_ENDPOINT, 0);
}

/* ---- Root ports --------------------------------------------------------- */

typedef struct RootPort {
    PciDevice pci;
    PciBus *below;
} RootPort;

static void port_reset(Device *dev)
{
    pci_device_reset((PciDevice *)dev);
}

/* What is behind it was made later, hence is gone. */
static void port_free(Device *dev)
{
    RootPort *port = (RootPort *)dev;

    pci_bus_free_below(port->below);
    pci_device_done(&port->pci);
    g_free(port);
}

static const DeviceOps port_ops = {
    .reset = port_reset,
    .free = port_free,
};

/* pci_device_vmstate checks what was loaded. */
static const VMStateDescription port_vmstate = {
    .name = "pcie-root-port",
    .version = 1,
    .minimum_version = 1,
    .fields = (const VMStateField[]){
        VMSTATE_STRUCT(pci, RootPort, pci_device_vmstate),
        VMSTATE_END,
    },
};

/* In place of the header of type 0 that pci_device_init() has made. */
static void set_bridge_header(PciDevice *pci, bool multifunction)
{
    static const struct {
        uint8_t offset, len;
        uint32_t value, writable;
    } registers[] = {
        { PCI_PRIMARY_BUS, 3, 0, 0xffffff },
        { PCI_IO_BASE, 2, 0, 0xf0f0 },
        { PCI_MEMORY_BASE, 4, 0, 0xfff0fff0 },
        { PCI_PREFETCH_BASE, 4, 0x00010001, 0xfff0fff0 }, /* 64 bits */
        { PCI_PREFETCH_BASE_UPPER, 4, 0, UINT32_MAX },
        { PCI_PREFETCH_LIMIT_UPPER, 4, 0, UINT32_MAX },
        { PCI_BRIDGE_CONTROL, 2, 0, BRIDGE_CONTROL_WRITABLE },
    };

    pci_device_set_config(pci, PCI_HEADER_TYPE, 1,
                          HEADER_TYPE_BRIDGE |
                              (multifunction ? HEADER_MULTIFUNCTION : 0),
                          0);
    for (size_t i = 0; i < G_N_ELEMENTS(registers); i++) {
        pci_device_set_config(pci, registers[i].offset, registers[i].len,
                              registers[i].value, registers[i].writable);
    }
}

typedef struct PortProps {
    uint64_t port, chassis, slot; /* the last two number hot-plug slots */
    PciPlace place;
} PortProps;

static bool read_port_props(Machine *machine, VmKeyval *props, PortProps *p,
                            GError **errp)
{
    bool hotplug;

    if (!machine->pci || !pci_bus_is_express(machine->pci)) {
        return vm_error_set(errp, 0, "pcie-root-port: needs a machine with "
                            "PCI Express (q35)");
    }
    if (!vm_keyval_get_u64(props, "port", 0, &p->port, errp) ||
        !vm_keyval_get_u64(props, "chassis", 0, &p->chassis, errp) ||
        !vm_keyval_get_u64(props, "slot", 0, &p->slot, errp) ||
        !vm_keyval_get_bool(props, "hotplug", false, &hotplug, errp) ||
        !pci_bus_choose_slot(machine->pci, "pcie-root-port", props, &p->place,
                             errp)) {
        return false;
    }
    if (hotplug) {
        return vm_error_set(errp, 0, "pcie-root-port: hotplug=on is not "
                            "supported");
    }
    if (p->port > 255 || p->chassis > 255 || p->slot > 8191) {
        return vm_error_set(errp, 0, "pcie-root-port: port and chassis are 0 "
                            "to 255, slot is 0 to 8191");
    }
    return pci_bus_is_root(p->place.bus) ||
           vm_error_set(errp, 0, "pcie-root-port: goes on bus '%s' only",
                        pci_bus_name(machine->pci));
}

bool pcie_root_port_create(Machine *machine, const char *id, VmKeyval *props,
                           GError **errp)
{
    PortProps p = { 0 };
    PciIdentity identity = {
        .vendor = ROOT_PORT_VENDOR,
        .device = ROOT_PORT_DEVICE,
        .class_code = CLASS_PCI_BRIDGE,
    };
    RootPort *port;

    if (!read_port_props(machine, props, &p, errp)) {
        return false;
    }
    identity.multifunction = p.place.multifunction;
    port = g_new0(RootPort, 1);
    pci_device_init(&port->pci, p.place.bus, p.place.devfn, &identity,
                    "pcie-root-port", id, &port_ops, NULL, &port_vmstate);
    set_bridge_header(&port->pci, p.place.multifunction);
    add_express(&port->pci, EXPRESS_TYPE_ROOT_PORT, (unsigned)p.port);
    port->below = pci_bus_new_below(&port->pci, id);
    return true;
}
