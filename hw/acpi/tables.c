/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI tables.
 *
 * Layouts as in ACPI 6.3 (FADT as of revision 5, ACPI 5.0), MCFG as in PCI
 * Firmware 3.2, section 4.1.2. The DSDTs are compiled from hw/acpi/ASL files
 * by iasl when the project is built.
 *
 * Invariant: (1) every table starts at a multiple of 16 in the blob (the
 * RSDP must, ACPI 6.3, 5.2.5.1; the FACS at one of 64, 5.2.10), and its
 * checksum is filled in when it is complete.
 */
#include "hw/acpi/tables.h"

#include <string.h>

#include "dsdt.h"
#include "hw/acpi/pm.h"

#define OEM_ID "VMEMD " /* 6 bytes */
#define OEM_TABLE_ID "VMEMDIR " /* 8 bytes */
#define CREATOR_ID "VMD " /* 4 bytes */

#define RSDP_BYTES 36
#define RSDP_V1_BYTES 20
#define HEADER_BYTES 36
#define HEADER_LENGTH_AT 4
#define HEADER_CHECKSUM_AT 9
#define FACS_BYTES 64
#define FADT_BYTES 268 /* revision 5 */

#define LAPIC_ADDRESS 0xfee00000u
#define IOAPIC_ADDRESS 0xfec00000u
#define RESET_PORT 0xcf9
#define RESET_VALUE 0x0e

enum { /* MADT, section 5.2.12 */
    MADT_PCAT_COMPAT = 1, /* flag: the 8259s are there too */
    MADT_LAPIC = 0,
    MADT_IOAPIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LAPIC_NMI = 4,
    MADT_ENABLED = 1,
    MADT_ACTIVE_HIGH_LEVEL = 0x000d,
};
enum { /* FADT flags, table 5-35 */
    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_NO_SLEEP_BUTTON = 1 << 5,
    FADT_NO_FIXED_RTC = 1 << 6,
    FADT_RESET_REGISTER = 1 << 10,
    /* IA-PC boot flags, table 5-36. Without bit 1 (8042), so that nobody
     * probes for a keyboard. */
    FADT_LEGACY_DEVICES = 1 << 0,
    FADT_NO_VGA = 1 << 2,
};
enum { GAS_PORTS = 1, GAS_BYTE = 1, GAS_WORD = 2, GAS_DWORD = 3 };

typedef struct TableWriter {
    GByteArray *blob;
    uint32_t base; /* guest address of the blob's first byte */
} TableWriter;

/* ---- Bytes -------------------------------------------------------------- */

static void put_bytes(TableWriter *w, const void *bytes, size_t len)
{
    g_byte_array_append(w->blob, bytes, len);
}

static void put_le(TableWriter *w, uint64_t value, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        uint8_t byte = value >> (8 * i);

        put_bytes(w, &byte, 1);
    }
}

static void put_u8(TableWriter *w, uint8_t value)
{
    put_le(w, value, 1);
}

static void put_zero(TableWriter *w, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        put_u8(w, 0);
    }
}

static void set_le(TableWriter *w, size_t at, uint64_t value, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        w->blob->data[at + i] = value >> (8 * i);
    }
}

static void align(TableWriter *w, unsigned to)
{
    while (w->blob->len % to) {
        put_u8(w, 0);
    }
}

/* Generic address structure, section 5.2.3.2. */
static void put_gas(TableWriter *w, uint16_t port, unsigned bits,
                    unsigned access)
{
    put_u8(w, GAS_PORTS);
    put_u8(w, bits);
    put_u8(w, 0);
    put_u8(w, access);
    put_le(w, port, 8);
}

static uint8_t checksum(const uint8_t *bytes, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += bytes[i];
    }
    return -sum;
}

/* ---- Tables ------------------------------------------------------------- */

/* Returns the offset for table_end(). */
static size_t table_begin(TableWriter *w, const char *signature,
                          uint8_t revision)
{
    size_t at;

    align(w, 16); /* (1) */
    at = w->blob->len;
    put_bytes(w, signature, 4);
    put_le(w, 0, 4); /* length */
    put_u8(w, revision);
    put_u8(w, 0); /* checksum */
    put_bytes(w, OEM_ID, 6);
    put_bytes(w, OEM_TABLE_ID, 8);
    put_le(w, 1, 4);
    put_bytes(w, CREATOR_ID, 4);
    put_le(w, 1, 4);
    return at;
}

/* Returns the table's guest address. */
static uint32_t table_end(TableWriter *w, size_t at)
{
    size_t len = w->blob->len - at;

    set_le(w, at + HEADER_LENGTH_AT, len, 4);
    w->blob->data[at + HEADER_CHECKSUM_AT] =
        checksum(w->blob->data + at, len); /* (1) */
    return w->base + at;
}

static uint32_t build_dsdt(TableWriter *w, bool q35)
{
    size_t at;

    align(w, 16);
    at = w->blob->len;
    if (q35) {
        put_bytes(w, acpi_dsdt_q35, acpi_dsdt_q35_bytes);
    } else {
        put_bytes(w, acpi_dsdt_pc, acpi_dsdt_pc_bytes);
    }
    return w->base + at; /* iasl has made the header */
}

/* Name (\NAME, value): NameOp, RootChar, NameSeg, QWordPrefix (section
 * 20.2). */
static void put_aml_name(TableWriter *w, const char *name, uint64_t value)
{
    put_u8(w, 0x08);
    put_u8(w, '\\');
    put_bytes(w, name, 4);
    put_u8(w, 0x0e);
    put_le(w, value, 8);
}

static uint32_t build_ssdt(TableWriter *w, const AcpiTablesConfig *cfg)
{
    size_t at = table_begin(w, "SSDT", 2);

    put_aml_name(w, "P64B", cfg->pci64_base);
    put_aml_name(w, "P64L", cfg->pci64_bytes);
    put_aml_name(w, "COMS", cfg->com_mask);
    return table_end(w, at);
}

static uint32_t build_facs(TableWriter *w)
{
    size_t at;

    align(w, 64); /* (1) */
    at = w->blob->len;
    put_bytes(w, "FACS", 4);
    put_le(w, FACS_BYTES, 4);
    put_zero(w, FACS_BYTES - 8);
    w->blob->data[at + 32] = 2; /* version */
    return w->base + at;
}

static void put_madt_override(TableWriter *w, uint8_t irq, uint32_t gsi,
                              uint16_t flags)
{
    put_u8(w, MADT_OVERRIDE);
    put_u8(w, 10);
    put_u8(w, 0); /* ISA */
    put_u8(w, irq);
    put_le(w, gsi, 4);
    put_le(w, flags, 2);
}

static uint32_t build_madt(TableWriter *w, unsigned cpus)
{
    size_t at = table_begin(w, "APIC", 3);

    put_le(w, LAPIC_ADDRESS, 4);
    put_le(w, MADT_PCAT_COMPAT, 4);
    for (unsigned i = 0; i < cpus; i++) {
        put_u8(w, MADT_LAPIC);
        put_u8(w, 8);
        put_u8(w, i); /* processor id */
        put_u8(w, i); /* APIC id */
        put_le(w, MADT_ENABLED, 4);
    }
    put_u8(w, MADT_IOAPIC);
    put_u8(w, 12);
    put_u8(w, 0); /* id */
    put_u8(w, 0);
    put_le(w, IOAPIC_ADDRESS, 4);
    put_le(w, 0, 4); /* first GSI */
    put_madt_override(w, 0, 2, 0); /* the PIT sits at pin 2 */
    put_madt_override(w, ACPI_SCI_GSI, ACPI_SCI_GSI, MADT_ACTIVE_HIGH_LEVEL);
    put_u8(w, MADT_LAPIC_NMI);
    put_u8(w, 6);
    put_u8(w, 0xff); /* all processors */
    put_le(w, 0, 2);
    put_u8(w, 1); /* LINT1 */
    return table_end(w, at);
}

static void put_fadt_ports(TableWriter *w)
{
    put_le(w, ACPI_PM_BASE + ACPI_PM1_EVENT, 4);
    put_le(w, 0, 4); /* PM1b event */
    put_le(w, ACPI_PM_BASE + ACPI_PM1_CONTROL, 4);
    put_le(w, 0, 4); /* PM1b control */
    put_le(w, 0, 4); /* PM2 control */
    put_le(w, ACPI_PM_BASE + ACPI_PM_TIMER, 4);
    put_le(w, 0, 8); /* GPE0, GPE1 */
    put_u8(w, 4);    /* PM1 event length */
    put_u8(w, 2);    /* PM1 control length */
    put_u8(w, 0);    /* PM2 */
    put_u8(w, 4);    /* PM timer length */
    put_u8(w, 0);    /* GPE0 length */
    put_u8(w, 0);    /* GPE1 length */
    put_u8(w, 0);    /* GPE1 base */
}

static void put_fadt_extended_ports(TableWriter *w)
{
    put_gas(w, ACPI_PM_BASE + ACPI_PM1_EVENT, 32, GAS_WORD);
    put_zero(w, 12);
    put_gas(w, ACPI_PM_BASE + ACPI_PM1_CONTROL, 16, GAS_WORD);
    put_zero(w, 12);
    put_zero(w, 12); /* PM2 */
    put_gas(w, ACPI_PM_BASE + ACPI_PM_TIMER, 32, GAS_DWORD);
    put_zero(w, 12 + 12); /* GPE0, GPE1 */
    put_zero(w, 12 + 12); /* sleep control and status: hardware-reduced */
}

/* Section 5.2.9. */
static uint32_t build_fadt(TableWriter *w, uint32_t facs, uint32_t dsdt)
{
    size_t at = table_begin(w, "FACP", 5);

    put_le(w, facs, 4);
    put_le(w, dsdt, 4);
    put_u8(w, 0);               /* reserved */
    put_u8(w, 4);               /* profile: enterprise server */
    put_le(w, ACPI_SCI_GSI, 2);
    put_le(w, 0, 4);            /* SMI_CMD: always in ACPI mode */
    put_zero(w, 4);             /* its values */
    put_fadt_ports(w);
    put_u8(w, 0);               /* _CST */
    put_le(w, 0xfff, 2);        /* C2 latency: none */
    put_le(w, 0xfff, 2);        /* C3 latency: none */
    put_le(w, 0, 4);            /* flush size and stride: WBINVD works */
    put_zero(w, 2);             /* duty */
    put_zero(w, 2);             /* day and month alarm */
    put_u8(w, 0x32);            /* century */
    put_le(w, FADT_LEGACY_DEVICES | FADT_NO_VGA, 2);
    put_u8(w, 0);
    put_le(w, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON |
                  FADT_NO_FIXED_RTC | FADT_RESET_REGISTER, 4);
    put_gas(w, RESET_PORT, 8, GAS_BYTE);
    put_u8(w, RESET_VALUE);
    put_le(w, 0, 2);            /* ARM flags */
    put_u8(w, 1);               /* minor version */
    put_le(w, 0, 8);            /* X_FIRMWARE_CTRL: the 32-bit one counts */
    put_le(w, dsdt, 8);
    put_fadt_extended_ports(w);
    g_assert(w->blob->len - at == FADT_BYTES);
    return table_end(w, at);
}

static uint32_t build_mcfg(TableWriter *w, uint64_t ecam)
{
    size_t at = table_begin(w, "MCFG", 1);

    put_zero(w, 8);
    put_le(w, ecam, 8);
    put_le(w, 0, 2); /* segment */
    put_u8(w, 0);    /* first bus */
    put_u8(w, 255);  /* last bus */
    put_zero(w, 4);
    return table_end(w, at);
}

/* RSDT or XSDT. */
static uint32_t build_root(TableWriter *w, const char *signature,
                           unsigned entry_bytes, const uint32_t *tables,
                           unsigned count)
{
    size_t at = table_begin(w, signature, 1);

    for (unsigned i = 0; i < count; i++) {
        put_le(w, tables[i], entry_bytes);
    }
    return table_end(w, at);
}

/* Section 5.2.5.3; its place at the start of the blob is reserved. */
static void fill_rsdp(TableWriter *w, uint32_t rsdt, uint32_t xsdt)
{
    uint8_t *rsdp = w->blob->data;

    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, OEM_ID, 6);
    rsdp[15] = 2;
    set_le(w, 16, rsdt, 4);
    set_le(w, 20, RSDP_BYTES, 4);
    set_le(w, 24, xsdt, 8);
    rsdp[8] = checksum(rsdp, RSDP_V1_BYTES);
    rsdp[32] = checksum(rsdp, RSDP_BYTES);
}

GByteArray *acpi_tables_build(const AcpiTablesConfig *cfg, uint32_t base)
{
    TableWriter w = { .blob = g_byte_array_new(), .base = base };
    uint32_t tables[4], facs, dsdt, rsdt;
    unsigned count = 0;

    g_assert(base % 64 == 0 && cfg->cpus >= 1 &&
             cfg->cpus <= ACPI_TABLES_CPUS_MAX);
    put_zero(&w, RSDP_BYTES);
    facs = build_facs(&w);
    dsdt = build_dsdt(&w, cfg->q35);
    tables[count++] = build_fadt(&w, facs, dsdt);
    tables[count++] = build_madt(&w, cfg->cpus);
    tables[count++] = build_ssdt(&w, cfg);
    if (cfg->q35 && cfg->ecam_base) {
        tables[count++] = build_mcfg(&w, cfg->ecam_base);
    }
    rsdt = build_root(&w, "RSDT", 4, tables, count);
    fill_rsdp(&w, rsdt, build_root(&w, "XSDT", 8, tables, count));
    return w.blob;
}
