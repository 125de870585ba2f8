/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware: PM1 event and control blocks, PM timer, SCI.
 *
 * Always in ACPI mode: there is no SMI command port, and SCI_EN reads as 1
 * (ACPI 6.3, 4.8.3.2.1 and 5.2.9, SMI_CMD).
 *
 * Threads: main thread; see hw/core/device.h.
 */
#ifndef VM_HW_ACPI_PM_H
#define VM_HW_ACPI_PM_H

#include "hw/core/machine.h"

/* Where QEMU's firmware puts the block on both machines; guests that write
 * 0x2000 to port 0x604 to power off rely on it. */
#define ACPI_PM_BASE 0x600
#define ACPI_PM1_EVENT 0x0 /* 4 bytes */
#define ACPI_PM1_CONTROL 0x4 /* 2 bytes */
#define ACPI_PM_TIMER 0x8 /* 4 bytes */
#define ACPI_PM_BYTES 0xc
#define ACPI_SCI_GSI 9
/* SLP_TYP of \_S5 */
#define ACPI_SLEEP_TYPE_S5 0

typedef struct AcpiPm AcpiPm;

/* The machine owns it. */
AcpiPm *acpi_pm_new(Machine *machine);
/* Any thread that holds no device's lock. */
void acpi_pm_power_button(AcpiPm *pm);

#endif
