/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables, as firmware would leave them in RAM.
 *
 * RSDP, RSDT, XSDT, FADT, FACS, MADT, DSDT, an SSDT with what the DSDT asks
 * for at run time, and MCFG on q35, in one blob for one address.
 *
 * Threads: any; pure functions.
 */
#ifndef VM_HW_ACPI_TABLES_H
#define VM_HW_ACPI_TABLES_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define ACPI_TABLES_CPUS_MAX 255

typedef struct AcpiTablesConfig {
    bool q35;
    unsigned cpus; /* APIC ids 0 to cpus - 1 */
    unsigned com_mask; /* bit n: COMn+1 is there */
    /* 64-bit window of the PCI host bridge. */
    uint64_t pci64_base, pci64_bytes;
    uint64_t ecam_base; /* q35; 0: none, and no MCFG */
} AcpiTablesConfig;

/*
 * Tables linked for base, a multiple of 64 below 4 GiB; the RSDP comes first.
 */
GByteArray *acpi_tables_build(const AcpiTablesConfig *cfg, uint32_t base);

#endif
