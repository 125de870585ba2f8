/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The compiled DSDTs; scripts/asl-to-c makes the file that defines them. */
#ifndef VM_HW_ACPI_DSDT_H
#define VM_HW_ACPI_DSDT_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t acpi_dsdt_pc[];
extern const size_t acpi_dsdt_pc_bytes;
extern const uint8_t acpi_dsdt_q35[];
extern const size_t acpi_dsdt_q35_bytes;

#endif
