/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC board: RAM, chipset, serial ports, boot tables.
 *
 * "pc" and "q35" are one board that differs in its PCI identities, its ECAM
 * window and its memory split. "none" has RAM and buses, nothing on them.
 *
 * Threads: main thread, VM not running.
 */
#include "hw/i386/pc.h"

#include "hw/acpi/pm.h"
#include "hw/acpi/tables.h"
#include "hw/char/debugcon.h"
#include "hw/char/serial.h"
#include "hw/i386/debug-exit.h"
#include "hw/i386/i8042.h"
#include "hw/pci/pci.h"
#include "hw/rtc/mc146818.h"
#include "pc-internal.h"
#include "util/error.h"

#define MACHINE_PC "pc-i440fx-7.2"
#define MACHINE_Q35 "pc-q35-7.2"
#define MACHINE_NONE "none"

struct PcMachine {
    PcConfig cfg;
    Machine *machine; /* borrowed; owns the devices below */
    bool q35, none;
    PcMemoryMap map;
    AcpiPm *pm;
};

const PcMachineInfo pc_machine_infos[] = {
    { MACHINE_PC, "pc", "PC, i440FX", ACPI_TABLES_CPUS_MAX,
      .is_default = true },
    { MACHINE_Q35, "q35", "PC, Q35", ACPI_TABLES_CPUS_MAX },
    { MACHINE_NONE, NULL, "no machine, QMP only", 1 },
    { NULL },
};

static const DeviceProperty serial_properties[] = {
    { "chardev", "str" },
    { "index", "uint32" },
    { "iobase", "uint32" },
    { "irq", "uint32" },
    { NULL },
};
static const DeviceProperty debugcon_properties[] = {
    { "chardev", "str" },
    { "iobase", "uint32" },
    { "readback", "uint32" },
    { NULL },
};
static const DeviceProperty debug_exit_properties[] = {
    { "iobase", "uint32" },
    { "iosize", "uint32" },
    { NULL },
};
static const DeviceProperty root_port_properties[] = {
    { "addr", "int32" },
    { "multifunction", "bool" },
    { "port", "uint8" },
    { "chassis", "uint8" },
    { "slot", "uint16" },
    { NULL },
};

const DeviceType pc_device_types[] = {
    { "isa-serial", "16550A serial port", serial_isa_create,
      serial_properties },
    { "isa-debugcon", "port that writes to a chardev", debugcon_create,
      debugcon_properties },
    { "isa-debug-exit", "port that ends the process", debug_exit_create,
      debug_exit_properties },
    { "pcie-root-port", "PCI Express root port", pcie_root_port_create,
      root_port_properties },
    { NULL },
};

const char *pc_machine_canonical_name(const char *name)
{
    for (const PcMachineInfo *m = pc_machine_infos; m->name; m++) {
        if (g_str_equal(m->name, name) || g_strcmp0(m->alias, name) == 0) {
            return m->name;
        }
    }
    return NULL;
}

/* ---- Building ----------------------------------------------------------- */

static bool map_ram(PcMachine *pc, GError **errp)
{
    Machine *m = pc->machine;
    int r = address_space_map_ram(m->memory, 0, m->ram, 0,
                                  pc->map.low_ram_bytes);

    if (r == 0 && pc->map.high_ram_bytes) {
        r = address_space_map_ram(m->memory, PC_4G, m->ram,
                                  pc->map.low_ram_bytes,
                                  pc->map.high_ram_bytes);
    }
    return r == 0 || vm_error_set(errp, -r, "cannot map guest RAM");
}

/* Memory sizes where firmware and old systems look for them. */
static void fill_cmos(PcMachine *pc, Rtc *rtc)
{
    uint64_t low = pc->map.low_ram_bytes;
    uint64_t above_1m_kib = low > PC_HIGH_RAM ? (low - PC_HIGH_RAM) >> 10 : 0;
    uint64_t above_16m = low > (16 << 20) ? (low - (16 << 20)) >> 16 : 0;
    uint64_t above_4g = pc->map.high_ram_bytes >> 16;

    above_1m_kib = MIN(above_1m_kib, 0xffff);
    above_16m = MIN(above_16m, 0xffff);
    rtc_set_cmos(rtc, 0x14, 0x02); /* equipment: a coprocessor */
    rtc_set_cmos(rtc, 0x15, 640 & 0xff);
    rtc_set_cmos(rtc, 0x16, 640 >> 8);
    rtc_set_cmos(rtc, 0x17, above_1m_kib);
    rtc_set_cmos(rtc, 0x18, above_1m_kib >> 8);
    rtc_set_cmos(rtc, 0x30, above_1m_kib);
    rtc_set_cmos(rtc, 0x31, above_1m_kib >> 8);
    rtc_set_cmos(rtc, 0x34, above_16m);
    rtc_set_cmos(rtc, 0x35, above_16m >> 8);
    rtc_set_cmos(rtc, 0x5b, above_4g);
    rtc_set_cmos(rtc, 0x5c, above_4g >> 8);
    rtc_set_cmos(rtc, 0x5d, above_4g >> 16);
    rtc_set_cmos(rtc, 0x5f, pc->cfg.cpus - 1);
}

static bool map_ecam(PcMachine *pc, GError **errp)
{
    IoRegion *ecam = pci_bus_ecam_region(pc->machine->pci);
    int r = ecam ? address_space_map_io(pc->machine->memory, PC_ECAM_BASE,
                                        ecam) : 0;

    return r == 0 || vm_error_set(errp, -r, "cannot map the ECAM window");
}

static bool add_serial_ports(PcMachine *pc, GError **errp)
{
    for (unsigned i = 0; i < PC_SERIAL_MAX; i++) {
        if (pc->cfg.serial[i] &&
            !serial_isa_new(pc->machine, NULL, serial_isa_places[i],
                            pc->cfg.serial[i], errp)) {
            return false;
        }
    }
    return true;
}

static bool build_board(PcMachine *pc, GError **errp)
{
    Machine *m = pc->machine;
    Rtc *rtc;

    if (!map_ram(pc, errp)) {
        return false;
    }
    if (pc->none) {
        pci_bus_new(m, false);
        return true;
    }
    pci_bus_new(m, pc->q35);
    pc_bridges_new(m->pci, pc->q35);
    rtc = rtc_new(m, pc->cfg.rtc_offset_s);
    fill_cmos(pc, rtc);
    i8042_new(m);
    pc->pm = acpi_pm_new(m);
    return map_ecam(pc, errp) && add_serial_ports(pc, errp);
}

PcMachine *pc_machine_new(const PcConfig *cfg, Machine *machine,
                          GError **errp)
{
    const char *name = pc_machine_canonical_name(cfg->machine);
    PcMachine *pc;

    if (!name) {
        vm_error_set(errp, 0, "unsupported machine type '%s'", cfg->machine);
        return NULL;
    }
    if (cfg->cpus < 1 || cfg->cpus > ACPI_TABLES_CPUS_MAX) {
        vm_error_set(errp, 0, "Invalid SMP CPUs %u. The max CPUs supported "
                     "by machine '%s' is %d", cfg->cpus, name,
                     ACPI_TABLES_CPUS_MAX);
        return NULL;
    }
    if (ram_block_bytes(machine->ram) < 2 * PC_HIGH_RAM) {
        vm_error_set(errp, 0, "machine '%s' needs at least 2 MiB of RAM",
                     name);
        return NULL;
    }
    pc = g_new0(PcMachine, 1);
    pc->cfg = *cfg;
    pc->cfg.machine = name;
    pc->machine = machine;
    pc->q35 = g_str_equal(name, MACHINE_Q35);
    pc->none = g_str_equal(name, MACHINE_NONE);
    pc_memory_map_init(&pc->map, pc->q35, ram_block_bytes(machine->ram));
    if (!build_board(pc, errp)) {
        pc_machine_free(pc);
        return NULL;
    }
    return pc;
}

void pc_machine_free(PcMachine *pc)
{
    g_free(pc); /* the devices are the machine's */
}

void pc_machine_power_button(PcMachine *pc)
{
    if (pc->pm) {
        acpi_pm_power_button(pc->pm);
    }
}

/* ---- Loading ------------------------------------------------------------ */

static bool load_tables(PcMachine *pc, GError **errp)
{
    AcpiTablesConfig cfg = {
        .q35 = pc->q35,
        .cpus = pc->cfg.cpus,
        .com_mask = serial_isa_mask(pc->machine),
        .pci64_base = pc->map.pci64_base,
        .pci64_bytes = PC_PCI64_BYTES,
        .ecam_base = pc->q35 ? PC_ECAM_BASE : 0,
    };
    g_autoptr(GByteArray) tables = acpi_tables_build(&cfg, PC_TABLES);

    g_assert(tables->len <= PC_TABLES_END - PC_TABLES);
    return pc_write_ram(pc->machine->memory, PC_TABLES, tables->data,
                        tables->len, "ACPI tables", errp);
}

bool pc_machine_load(PcMachine *pc, VcpuBootState *ret_boot, GError **errp)
{
    PcLoadInput in = {
        .memory = pc->machine->memory,
        .map = &pc->map,
        .kernel = pc->cfg.kernel,
        .initrd = pc->cfg.initrd,
        .append = pc->cfg.append,
        .rsdp = PC_TABLES,
    };

    if (!pc->cfg.kernel) {
        return vm_error_set(errp, 0, "machine '%s' has nothing to boot: "
                            "firmware is not supported, use -kernel",
                            pc->cfg.machine);
    }
    return pc_pci_assign(pc->machine->pci, &pc->map, errp) &&
           load_tables(pc, errp) && pc_load_kernel(&in, ret_boot, errp);
}
