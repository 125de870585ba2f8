/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bzImage: the Linux/x86 boot protocol, 64-bit entry.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (protocol 2.12 and later,
 * section "64-bit Boot Protocol") and zero-page.rst.
 *
 * The 64-bit entry wants long mode with an identity mapping of the kernel,
 * the boot parameters and the command line: 2 MiB pages over the low 4 GiB,
 * which every x86-64 processor has.
 *
 * Threads: main thread.
 */
#include "pc-internal.h"

#include <string.h>

#include "util/error.h"

/* Offsets in the file, and in boot_params alike. */
enum {
    HDR_SETUP_SECTS = 0x1f1,
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x200, /* its second byte: how far the header goes */
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_TYPE_OF_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_CMD_LINE_PTR = 0x228,
    HDR_INITRD_ADDR_MAX = 0x22c,
    HDR_KERNEL_ALIGNMENT = 0x230,
    HDR_RELOCATABLE = 0x234,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_SETUP_DATA = 0x250,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END_MAX = 0x290, /* E820 and others follow in boot_params */
};
enum { /* boot_params only */
    BP_ACPI_RSDP = 0x070,
    BP_E820_ENTRIES = 0x1e8,
    BP_E820_TABLE = 0x2d0,
    BP_E820_ENTRY_BYTES = 20,
    BP_BYTES = 4096,
};

#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define VERSION_MIN 0x020c
#define LOADED_HIGH 0x01
#define XLF_KERNEL_64 0x0001
#define LOADER_UNKNOWN 0xff
#define ENTRY_64 0x200
#define SECTOR_BYTES 512

#define GDT_CODE_64 UINT64_C(0x00af9b000000ffff)
#define GDT_DATA UINT64_C(0x00cf93000000ffff)
#define BOOT_CS 0x10
#define BOOT_DS 0x18

#define PTE_PRESENT_WRITE 0x3u
#define PTE_LARGE 0x80u
#define PT_ENTRIES 512
#define PT_DIRECTORIES 4 /* of 1 GiB each */
#define LARGE_PAGE_BYTES (UINT64_C(2) << 20)

typedef struct Bzimage {
    uint8_t header[HDR_END_MAX];
    unsigned header_bytes; /* of header[] that the file's header fills */
    uint64_t payload_at, payload_bytes;
    uint64_t gpa;
    uint64_t init_bytes; /* RAM that it uses before it knows the map */
} Bzimage;

static uint64_t get_le(const uint8_t *p, unsigned len)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < len; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

static void put_le(uint8_t *p, uint64_t value, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        p[i] = value >> (8 * i);
    }
}

/* ---- Header ------------------------------------------------------------- */

static bool check_header(const PcImage *image, Bzimage *b, GError **errp)
{
    const uint8_t *h = b->header;
    unsigned version = get_le(h + HDR_VERSION, 2);

    if (get_le(h + HDR_BOOT_FLAG, 2) != BOOT_FLAG ||
        get_le(h + HDR_MAGIC, 4) != HEADER_MAGIC) {
        return vm_error_set(errp, 0, "'%s' is neither a bzImage nor an ELF "
                            "kernel", image->path);
    }
    if (version < VERSION_MIN) {
        return vm_error_set(errp, 0, "'%s' has boot protocol %u.%02u; 2.12 "
                            "is the oldest that is supported", image->path,
                            version >> 8, version & 0xff);
    }
    if (!(h[HDR_LOADFLAGS] & LOADED_HIGH)) {
        return vm_error_set(errp, 0, "'%s' is a zImage, which is not "
                            "supported", image->path);
    }
    if (!(get_le(h + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64)) {
        return vm_error_set(errp, 0, "'%s' has no 64-bit entry point",
                            image->path);
    }
    return true;
}

static bool read_header(const PcImage *image, Bzimage *b, GError **errp)
{
    unsigned sectors;

    if (image->bytes < HDR_END_MAX) {
        return vm_error_set(errp, 0, "'%s' is too short for a kernel",
                            image->path);
    }
    if (!pc_image_read(image, 0, b->header, sizeof(b->header), errp) ||
        !check_header(image, b, errp)) {
        return false;
    }
    sectors = b->header[HDR_SETUP_SECTS] ? b->header[HDR_SETUP_SECTS] : 4;
    b->payload_at = (uint64_t)(sectors + 1) * SECTOR_BYTES;
    if (b->payload_at + ENTRY_64 >= image->bytes) {
        return vm_error_set(errp, 0, "'%s' is truncated: nothing follows its "
                            "setup code", image->path);
    }
    b->payload_bytes = image->bytes - b->payload_at;
    b->header_bytes = MIN(HDR_MAGIC + b->header[HDR_JUMP + 1], HDR_END_MAX);
    return true;
}

/* Where it prefers to be, or else, if it can move, as low as it may. */
static bool choose_place(const PcLoadInput *in, const PcImage *image,
                         Bzimage *b, GError **errp)
{
    uint64_t align = get_le(b->header + HDR_KERNEL_ALIGNMENT, 4);

    b->gpa = get_le(b->header + HDR_PREF_ADDRESS, 8);
    b->init_bytes = MAX(get_le(b->header + HDR_INIT_SIZE, 4),
                        b->payload_bytes);
    if (b->gpa >= PC_HIGH_RAM &&
        pc_range_is_loadable(in->map, b->gpa, b->init_bytes)) {
        return true;
    }
    if (b->header[HDR_RELOCATABLE] && align && (align & (align - 1)) == 0) {
        b->gpa = (PC_HIGH_RAM + align - 1) & ~(align - 1);
        if (pc_range_is_loadable(in->map, b->gpa, b->init_bytes)) {
            return true;
        }
    }
    return vm_error_set(errp, 0, "'%s' needs %" G_GUINT64_FORMAT " KiB of "
                        "RAM, more than there is below 4 GiB", image->path,
                        b->init_bytes / 1024);
}

/* ---- What the kernel finds ---------------------------------------------- */

static void fill_e820(uint8_t *bp, const PcMemoryMap *map)
{
    for (unsigned i = 0; i < map->ranges; i++) {
        uint8_t *entry = bp + BP_E820_TABLE + i * BP_E820_ENTRY_BYTES;

        put_le(entry, map->range[i].base, 8);
        put_le(entry + 8, map->range[i].bytes, 8);
        put_le(entry + 16, map->range[i].kind, 4);
    }
    bp[BP_E820_ENTRIES] = map->ranges;
}

static bool write_boot_params(const PcLoadInput *in, const Bzimage *b,
                              uint64_t initrd, uint64_t initrd_bytes,
                              GError **errp)
{
    g_autofree uint8_t *bp = g_malloc0(BP_BYTES);

    memcpy(bp + HDR_SETUP_SECTS, b->header + HDR_SETUP_SECTS,
           b->header_bytes - HDR_SETUP_SECTS);
    bp[HDR_TYPE_OF_LOADER] = LOADER_UNKNOWN;
    put_le(bp + HDR_RAMDISK_IMAGE, initrd, 4);
    put_le(bp + HDR_RAMDISK_SIZE, initrd_bytes, 4);
    put_le(bp + HDR_CMD_LINE_PTR, PC_CMDLINE, 4);
    put_le(bp + HDR_SETUP_DATA, 0, 8);
    put_le(bp + BP_ACPI_RSDP, in->rsdp, 8);
    fill_e820(bp, in->map);
    return pc_write_ram(in->memory, PC_BOOT_PARAMS, bp, BP_BYTES,
                        "boot parameters", errp);
}

static bool write_gdt(AddressSpace *memory, GError **errp)
{
    uint8_t gdt[4 * 8] = { 0 };

    put_le(gdt + BOOT_CS, GDT_CODE_64, 8);
    put_le(gdt + BOOT_DS, GDT_DATA, 8);
    return pc_write_ram(memory, PC_GDT, gdt, sizeof(gdt), "GDT", errp);
}

/* PML4 -> PDPT -> four directories of 2 MiB pages, one to one. */
static bool write_page_tables(AddressSpace *memory, GError **errp)
{
    size_t bytes = (2 + PT_DIRECTORIES) * RAM_PAGE_BYTES;
    g_autofree uint8_t *pt = g_malloc0(bytes);
    uint8_t *pdpt = pt + RAM_PAGE_BYTES;
    uint8_t *pd = pt + 2 * RAM_PAGE_BYTES;

    put_le(pt, (PC_PAGE_TABLES + RAM_PAGE_BYTES) | PTE_PRESENT_WRITE, 8);
    for (unsigned i = 0; i < PT_DIRECTORIES; i++) {
        put_le(pdpt + 8 * i,
               (PC_PAGE_TABLES + (2 + i) * RAM_PAGE_BYTES) |
                   PTE_PRESENT_WRITE, 8);
    }
    for (unsigned i = 0; i < PT_DIRECTORIES * PT_ENTRIES; i++) {
        put_le(pd + 8 * i,
               i * LARGE_PAGE_BYTES | PTE_LARGE | PTE_PRESENT_WRITE, 8);
    }
    return pc_write_ram(memory, PC_PAGE_TABLES, pt, bytes, "page tables",
                        errp);
}

bool pc_bzimage_load(const PcLoadInput *in, const PcImage *image,
                     VcpuBootState *ret_boot, GError **errp)
{
    uint64_t initrd, initrd_bytes, initrd_end;
    Bzimage b = { 0 };

    if (!read_header(image, &b, errp) ||
        !choose_place(in, image, &b, errp)) {
        return false;
    }
    initrd_end = get_le(b.header + HDR_INITRD_ADDR_MAX, 4) + 1;
    if (!pc_image_load(image, b.payload_at, b.payload_bytes, in->memory,
                       b.gpa, errp) ||
        !pc_load_initrd(in, b.gpa + b.init_bytes, initrd_end, &initrd,
                        &initrd_bytes, errp) ||
        !pc_load_cmdline(in,
                         MIN(get_le(b.header + HDR_CMDLINE_SIZE, 4),
                             PC_CMDLINE_MAX_BYTES - 1) + 1, errp) ||
        !write_boot_params(in, &b, initrd, initrd_bytes, errp) ||
        !write_gdt(in->memory, errp) ||
        !write_page_tables(in->memory, errp)) {
        return false;
    }
    *ret_boot = (VcpuBootState){
        .long_mode = true,
        .rip = b.gpa + ENTRY_64,
        .rsp = PC_STACK_TOP,
        .rsi = PC_BOOT_PARAMS,
        .cr3 = PC_PAGE_TABLES,
        .gdt_base = PC_GDT,
        .gdt_limit = 4 * 8 - 1,
        .code_selector = BOOT_CS,
        .data_selector = BOOT_DS,
    };
    return true;
}
