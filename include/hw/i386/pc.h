/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC board: "pc" (pc-i440fx-7.2) and "q35" (pc-q35-7.2).
 *
 * It maps RAM, creates the chipset (PCI host bridge, RTC, i8042, ACPI power
 * management), the serial ports and the ACPI tables, and loads a kernel
 * straight into RAM (bzImage by the 64-bit boot protocol, PVH ELF).
 *
 * Threads: main thread; VM not running. Errors: GError.
 */
#ifndef VM_HW_I386_PC_H
#define VM_HW_I386_PC_H

#include "accel/vcpu.h"
#include "chardev/chardev.h"
#include "hw/core/machine.h"

#define PC_SERIAL_MAX 4

typedef struct PcConfig {
    const char *machine; /* canonical name, see pc_machine_canonical_name() */
    unsigned cpus;
    const char *kernel, *initrd, *append; /* kernel NULL: none to load */
    Chardev *serial[PC_SERIAL_MAX];       /* NULL: port absent */
    int64_t rtc_offset_s; /* RTC minus host's UTC */
} PcConfig;

typedef struct PcMachine PcMachine;

typedef struct PcMachineInfo {
    const char *name, *alias; /* the versioned one; the short one, or NULL */
    const char *description;
    unsigned cpus_max;
    bool is_default;
} PcMachineInfo;
/* Ends with name == NULL. */
extern const PcMachineInfo pc_machine_infos[];

/* "pc", "q35", versioned names, "none" -> canonical name, or NULL. */
const char *pc_machine_canonical_name(const char *name);

/*
 * Builds the board into machine, whose memory, ports, ram, interrupts,
 * requests, backends and io_context are set already; sets machine->pci. cfg
 * is copied (chardevs and strings are borrowed for the machine's life).
 */
PcMachine *pc_machine_new(const PcConfig *cfg, Machine *machine,
                          GError **errp);
void pc_machine_free(PcMachine *pc);

/*
 * Writes kernel, initrd, command line, boot tables and ACPI tables into RAM
 * and tells where CPU 0 starts. At power-on and again after each reset; not
 * before an incoming migration.
 */
bool pc_machine_load(PcMachine *pc, VcpuBootState *ret_boot, GError **errp);

/* system_powerdown: presses the ACPI power button. */
void pc_machine_power_button(PcMachine *pc);

/* -device types of this folder, hw/char and hw/pci: isa-serial, isa-debugcon,
 * isa-debug-exit, pcie-root-port. Ends with name == NULL. */
extern const DeviceType pc_device_types[];

#endif
