/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels that boot by PVH.
 *
 * Source: Xen docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/
 * start_info.h (version 1): the image carries a note (name "Xen", type 18,
 * XEN_ELFNOTE_PHYS32_ENTRY) with a 32-bit entry point, which is entered in
 * flat protected mode with EBX at an hvm_start_info. ELF as in the System V
 * gABI; ELF32 and ELF64 differ in field widths only.
 *
 * Threads: main thread.
 */
#include "pc-internal.h"

#include <elf.h>
#include <string.h>

#include "util/error.h"

#define PHDRS_MAX 128
#define NOTES_MAX_BYTES 65536u
#define NOTE_PHYS32_ENTRY 18

#define START_INFO_MAGIC 0x336ec578
#define START_INFO_VERSION 1
#define START_INFO_BYTES 56
#define MODULE_BYTES 32
#define MEMMAP_ENTRY_BYTES 24
#define MODULE_AT (PC_PVH_INFO + 0x40)
#define MEMMAP_AT (PC_PVH_INFO + 0x80)
#define INFO_BYTES 0x400

#define GDT_CODE_32 UINT64_C(0x00cf9b000000ffff)
#define GDT_DATA UINT64_C(0x00cf93000000ffff)
#define BOOT_CS 0x10
#define BOOT_DS 0x18

/* A program header of either class. */
typedef struct Segment {
    uint32_t type;
    uint64_t offset, paddr, filesz, memsz, align;
} Segment;

typedef struct Elf {
    Segment segment[PHDRS_MAX];
    unsigned segments;
    bool has_entry;
    uint32_t entry;
    uint64_t end; /* of the highest byte loaded */
} Elf;

/* ---- Headers ------------------------------------------------------------ */

static bool bad_elf(const PcImage *image, const char *why, GError **errp)
{
    return vm_error_set(errp, 0, "'%s' is no ELF kernel that can be loaded: "
                        "%s", image->path, why);
}

static Segment segment_from_32(const Elf32_Phdr *p)
{
    return (Segment){ p->p_type,   p->p_offset, p->p_paddr,
                      p->p_filesz, p->p_memsz,  p->p_align };
}

static Segment segment_from_64(const Elf64_Phdr *p)
{
    return (Segment){ p->p_type,   p->p_offset, p->p_paddr,
                      p->p_filesz, p->p_memsz,  p->p_align };
}

static bool read_segments_32(const PcImage *image, Elf *elf, GError **errp)
{
    Elf32_Ehdr eh;
    Elf32_Phdr ph[PHDRS_MAX];

    if (!pc_image_read(image, 0, &eh, sizeof(eh), errp)) {
        return false;
    }
    if (eh.e_machine != EM_386 && eh.e_machine != EM_X86_64) {
        return bad_elf(image, "not for x86", errp);
    }
    if (eh.e_phentsize != sizeof(ph[0]) || eh.e_phnum > PHDRS_MAX) {
        return bad_elf(image, "bad program headers", errp);
    }
    if (!pc_image_read(image, eh.e_phoff, ph, eh.e_phnum * sizeof(ph[0]),
                       errp)) {
        return false;
    }
    elf->segments = eh.e_phnum;
    for (unsigned i = 0; i < elf->segments; i++) {
        elf->segment[i] = segment_from_32(&ph[i]);
    }
    return true;
}

static bool read_segments_64(const PcImage *image, Elf *elf, GError **errp)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph[PHDRS_MAX];

    if (!pc_image_read(image, 0, &eh, sizeof(eh), errp)) {
        return false;
    }
    if (eh.e_machine != EM_X86_64) {
        return bad_elf(image, "not for x86-64", errp);
    }
    if (eh.e_phentsize != sizeof(ph[0]) || eh.e_phnum > PHDRS_MAX) {
        return bad_elf(image, "bad program headers", errp);
    }
    if (!pc_image_read(image, eh.e_phoff, ph, eh.e_phnum * sizeof(ph[0]),
                       errp)) {
        return false;
    }
    elf->segments = eh.e_phnum;
    for (unsigned i = 0; i < elf->segments; i++) {
        elf->segment[i] = segment_from_64(&ph[i]);
    }
    return true;
}

static bool read_segments(const PcImage *image, Elf *elf, GError **errp)
{
    uint8_t ident[EI_NIDENT];

    if (!pc_image_read(image, 0, ident, sizeof(ident), errp)) {
        return false;
    }
    if (ident[EI_DATA] != ELFDATA2LSB) {
        return bad_elf(image, "not little-endian", errp);
    }
    switch (ident[EI_CLASS]) {
    case ELFCLASS32:
        return read_segments_32(image, elf, errp);
    case ELFCLASS64:
        return read_segments_64(image, elf, errp);
    default:
        return bad_elf(image, "unknown class", errp);
    }
}

/* ---- Note --------------------------------------------------------------- */

/* Sizes in a note are 32 bits, so 64-bit sums cannot overflow. */
static uint64_t note_pad(uint64_t len, uint64_t align)
{
    return (len + align - 1) / align * align;
}

/* Looks at each note of a segment; align is 4 or, for some linkers, 8. */
static void scan_notes(const uint8_t *notes, size_t len, uint64_t align,
                       Elf *elf)
{
    Elf32_Nhdr nh; /* the same in both classes */
    size_t at = 0;

    while (len - at >= sizeof(nh)) {
        uint64_t name = at + sizeof(nh), desc, next;

        memcpy(&nh, notes + at, sizeof(nh));
        desc = at + note_pad(sizeof(nh) + (uint64_t)nh.n_namesz, align);
        next = desc + note_pad(nh.n_descsz, align);
        if (desc > len || nh.n_descsz > len - desc) {
            return;
        }
        if (nh.n_type == NOTE_PHYS32_ENTRY && nh.n_namesz == 4 &&
            memcmp(notes + name, "Xen", 4) == 0 && nh.n_descsz >= 4) {
            memcpy(&elf->entry, notes + desc, 4);
            elf->has_entry = true;
        }
        if (next >= len) {
            return;
        }
        at = next;
    }
}

static bool find_entry(const PcImage *image, Elf *elf, GError **errp)
{
    for (unsigned i = 0; i < elf->segments; i++) {
        const Segment *s = &elf->segment[i];
        g_autofree uint8_t *notes = NULL;

        if (s->type != PT_NOTE || s->filesz == 0) {
            continue;
        }
        if (s->filesz > NOTES_MAX_BYTES) {
            return bad_elf(image, "notes are too large", errp);
        }
        notes = g_malloc(s->filesz);
        if (!pc_image_read(image, s->offset, notes, s->filesz, errp)) {
            return false;
        }
        scan_notes(notes, s->filesz, s->align == 8 ? 8 : 4, elf);
    }
    if (!elf->has_entry) {
        return vm_error_set(errp, 0, "Error loading uncompressed kernel "
                            "without PVH ELF Note: '%s'", image->path);
    }
    return true;
}

/* ---- Segments ----------------------------------------------------------- */

static bool write_zeros(AddressSpace *memory, uint64_t gpa, uint64_t len,
                        const char *what, GError **errp)
{
    g_autofree uint8_t *zeros = g_malloc0(NOTES_MAX_BYTES);

    while (len > 0) {
        size_t n = MIN(len, NOTES_MAX_BYTES);

        if (!pc_write_ram(memory, gpa, zeros, n, what, errp)) {
            return false;
        }
        gpa += n;
        len -= n;
    }
    return true;
}

static bool load_segment(const PcLoadInput *in, const PcImage *image,
                         const Segment *s, GError **errp)
{
    if (s->filesz > s->memsz) {
        return bad_elf(image, "a segment is larger in the file than in "
                              "memory", errp);
    }
    if (!pc_range_is_loadable(in->map, s->paddr, s->memsz)) {
        return vm_error_set(errp, 0, "'%s': segment at 0x%" G_GINT64_MODIFIER
                            "x, 0x%" G_GINT64_MODIFIER "x bytes, is not in "
                            "RAM that a kernel may use", image->path,
                            s->paddr, s->memsz);
    }
    return pc_image_load(image, s->offset, s->filesz, in->memory, s->paddr,
                         errp) &&
           write_zeros(in->memory, s->paddr + s->filesz,
                       s->memsz - s->filesz, image->path, errp);
}

static bool load_segments(const PcLoadInput *in, const PcImage *image,
                          Elf *elf, GError **errp)
{
    bool entry_loaded = false;

    for (unsigned i = 0; i < elf->segments; i++) {
        const Segment *s = &elf->segment[i];

        if (s->type != PT_LOAD || s->memsz == 0) {
            continue;
        }
        if (!load_segment(in, image, s, errp)) {
            return false;
        }
        elf->end = MAX(elf->end, s->paddr + s->memsz);
        entry_loaded |= elf->entry >= s->paddr &&
                        elf->entry - s->paddr < s->memsz;
    }
    return entry_loaded ||
           bad_elf(image, "its entry point is in no segment", errp);
}

/* ---- hvm_start_info ----------------------------------------------------- */

static void put_le(uint8_t *p, uint64_t value, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        p[i] = value >> (8 * i);
    }
}

static bool write_start_info(const PcLoadInput *in, uint64_t initrd,
                             uint64_t initrd_bytes, GError **errp)
{
    uint8_t info[INFO_BYTES] = { 0 };
    uint8_t *module = info + (MODULE_AT - PC_PVH_INFO);
    uint8_t *memmap = info + (MEMMAP_AT - PC_PVH_INFO);

    G_STATIC_ASSERT(MEMMAP_AT - PC_PVH_INFO +
                        PC_RANGES_MAX * MEMMAP_ENTRY_BYTES <= INFO_BYTES);
    put_le(info, START_INFO_MAGIC, 4);
    put_le(info + 4, START_INFO_VERSION, 4);
    put_le(info + 12, initrd_bytes ? 1 : 0, 4);
    put_le(info + 16, initrd_bytes ? MODULE_AT : 0, 8);
    put_le(info + 24, PC_CMDLINE, 8);
    put_le(info + 32, in->rsdp, 8);
    put_le(info + 40, MEMMAP_AT, 8);
    put_le(info + 48, in->map->ranges, 4);
    put_le(module, initrd, 8);
    put_le(module + 8, initrd_bytes, 8);
    for (unsigned i = 0; i < in->map->ranges; i++) {
        const PcRange *r = &in->map->range[i];

        put_le(memmap + i * MEMMAP_ENTRY_BYTES, r->base, 8);
        put_le(memmap + i * MEMMAP_ENTRY_BYTES + 8, r->bytes, 8);
        put_le(memmap + i * MEMMAP_ENTRY_BYTES + 16, r->kind, 4);
    }
    return pc_write_ram(in->memory, PC_PVH_INFO, info, sizeof(info),
                        "PVH start information", errp);
}

static bool write_gdt(AddressSpace *memory, GError **errp)
{
    uint8_t gdt[4 * 8] = { 0 };

    put_le(gdt + BOOT_CS, GDT_CODE_32, 8);
    put_le(gdt + BOOT_DS, GDT_DATA, 8);
    return pc_write_ram(memory, PC_GDT, gdt, sizeof(gdt), "GDT", errp);
}

bool pc_elf_load(const PcLoadInput *in, const PcImage *image,
                 VcpuBootState *ret_boot, GError **errp)
{
    g_autofree Elf *elf = g_new0(Elf, 1);
    uint64_t initrd, initrd_bytes;

    if (!read_segments(image, elf, errp) ||
        !find_entry(image, elf, errp) ||
        !load_segments(in, image, elf, errp) ||
        !pc_load_initrd(in, elf->end, in->map->low_ram_bytes, &initrd,
                        &initrd_bytes, errp) ||
        !pc_load_cmdline(in, PC_CMDLINE_MAX_BYTES, errp) ||
        !write_start_info(in, initrd, initrd_bytes, errp) ||
        !write_gdt(in->memory, errp)) {
        return false;
    }
    *ret_boot = (VcpuBootState){
        .long_mode = false,
        .rip = elf->entry,
        .rsp = PC_STACK_TOP,
        .rbx = PC_PVH_INFO,
        .gdt_base = PC_GDT,
        .gdt_limit = 4 * 8 - 1,
        .code_selector = BOOT_CS,
        .data_selector = BOOT_DS,
    };
    return true;
}
