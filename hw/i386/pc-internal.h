/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the files of the board: where things lie in guest memory, and the
 * loader.
 *
 * Low memory that the loader uses (all of it is the guest's again once it
 * runs; the tables at 1 MiB - 128 KiB are reserved in the memory map):
 *
 *   0x90000  GDT             0x98000  hvm_start_info, module list, memory map
 *   0x91000  page tables     0x99000  command line
 *   0x97000  boot_params     0x9f000  top of the stack
 *   0xe0000  ACPI tables, RSDP first
 */
#ifndef VM_HW_I386_PC_INTERNAL_H
#define VM_HW_I386_PC_INTERNAL_H

#include "hw/i386/pc.h"

#define PC_LOADER_BASE 0x90000u
#define PC_GDT 0x90000u
#define PC_PAGE_TABLES 0x91000u /* PML4, PDPT, four page directories */
#define PC_BOOT_PARAMS 0x97000u
#define PC_PVH_INFO 0x98000u
#define PC_CMDLINE 0x99000u
#define PC_CMDLINE_MAX_BYTES 0x4000u /* with the terminating zero */
#define PC_STACK_TOP 0x9f000u
#define PC_EBDA 0x9fc00u /* end of conventional memory */
#define PC_TABLES 0xe0000u
#define PC_TABLES_END 0x100000u
#define PC_HIGH_RAM 0x100000u

#define PC_PCI32_BASE 0xc0000000u
#define PC_PCI32_END 0xfec00000u
#define PC_PCI_PORTS_BASE 0xc000u
#define PC_PCI_PORTS_END 0x10000u
#define PC_ECAM_BASE 0xb0000000u
#define PC_ECAM_BYTES 0x10000000u
#define PC_PCI64_BYTES (UINT64_C(32) << 30)
#define PC_4G (UINT64_C(1) << 32)

/* ---- Memory map --------------------------------------------------------- */

typedef enum PcRangeKind {
    PC_RANGE_RAM = 1, /* as in E820 and in hvm_memmap_table_entry */
    PC_RANGE_RESERVED = 2,
} PcRangeKind;

typedef struct PcRange {
    uint64_t base, bytes;
    PcRangeKind kind;
} PcRange;

#define PC_RANGES_MAX 16

typedef struct PcMemoryMap {
    uint64_t low_ram_bytes;  /* from 0 */
    uint64_t high_ram_bytes; /* from 4 GiB */
    uint64_t pci64_base;
    PcRange range[PC_RANGES_MAX]; /* in rising order */
    unsigned ranges;
} PcMemoryMap;

void pc_memory_map_init(PcMemoryMap *map, bool q35, uint64_t ram_bytes);

/* ---- Loader ------------------------------------------------------------- */

typedef struct PcLoadInput {
    AddressSpace *memory;
    const PcMemoryMap *map;
    const char *kernel, *initrd, *append; /* the last two may be NULL */
    uint32_t rsdp;
} PcLoadInput;

/* Looks at the file and takes the loader that fits. */
bool pc_load_kernel(const PcLoadInput *in, VcpuBootState *ret_boot,
                    GError **errp);

/* An open file of known size. */
typedef struct PcImage {
    const char *path; /* borrowed, for messages */
    int fd;
    uint64_t bytes;
} PcImage;

bool pc_image_open(PcImage *image, const char *path, GError **errp);
void pc_image_close(PcImage *image);
/* Fails if the range is not all in the file. */
bool pc_image_read(const PcImage *image, uint64_t offset, void *buf,
                   size_t len, GError **errp);
/* Copies a range of the file into RAM. */
bool pc_image_load(const PcImage *image, uint64_t offset, uint64_t len,
                   AddressSpace *memory, GuestAddr gpa, GError **errp);
/* Writes RAM; what names the thing in the message. */
bool pc_write_ram(AddressSpace *memory, GuestAddr gpa, const void *buf,
                  size_t len, const char *what, GError **errp);
/* Is [gpa, gpa+len) RAM below 4 GiB, clear of the loader's own structures
 * and of the tables? */
bool pc_range_is_loadable(const PcMemoryMap *map, uint64_t gpa, uint64_t len);
/* Places the initrd as high as end (exclusive) allows, above floor. Without
 * an initrd both results are 0. */
bool pc_load_initrd(const PcLoadInput *in, uint64_t floor, uint64_t end,
                    uint64_t *ret_gpa, uint64_t *ret_bytes, GError **errp);
/* max_bytes is what the kernel takes, with the terminating zero. */
bool pc_load_cmdline(const PcLoadInput *in, uint32_t max_bytes, GError **errp);

bool pc_bzimage_load(const PcLoadInput *in, const PcImage *image,
                     VcpuBootState *ret_boot, GError **errp);
bool pc_elf_load(const PcLoadInput *in, const PcImage *image,
                 VcpuBootState *ret_boot, GError **errp);

/* ---- PCI ---------------------------------------------------------------- */

/* Host bridge, ISA bridge and power management functions. */
void pc_bridges_new(PciBus *bus, bool q35);
/* What firmware does: BARs, interrupt lines, decoding. */
bool pc_pci_assign(PciBus *bus, const PcMemoryMap *map, GError **errp);

#endif
