/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel loading: images made here, good ones and every way to be bad that
 * the loader has to survive; then seeded random damage. The board is real,
 * so what a kernel would find is read back from RAM.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "hw/i386/pc.h"
#include "memory/dma.h"

#define MIB (UINT64_C(1) << 20)
#define RAM_BYTES (64 * MIB)

static char *kernel_path, *initrd_path;

static void write_file(const char *path, const void *data, size_t len)
{
    /* Not synced: nothing here has to survive a crash. A new file each
     * time, since GLib 2.74 does not truncate an old one. */
    (void)unlink(path);
    g_assert_true(g_file_set_contents_full(path, data, len,
                                           G_FILE_SET_CONTENTS_NONE, 0600,
                                           NULL));
}

static void put_le(uint8_t *p, uint64_t value, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        p[i] = value >> (8 * i);
    }
}

static uint64_t get_le(const uint8_t *p, unsigned len)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < len; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

/* ---- Running the loader ------------------------------------------------- */

typedef struct Load {
    Fixture f;
    PcMachine *pc;
    VcpuBootState boot;
    GError *err;
    bool ok;
} Load;

static void load_ram(Load *l, const char *initrd, const char *append,
                     uint64_t ram)
{
    PcConfig cfg = { .machine = "pc", .cpus = 1, .kernel = kernel_path,
                     .initrd = initrd, .append = append };

    memset(l, 0, sizeof(*l));
    fixture_init(&l->f, ram);
    l->pc = pc_machine_new(&cfg, &l->f.machine, &l->err);
    g_assert_no_error(l->err);
    l->ok = pc_machine_load(l->pc, &l->boot, &l->err);
    g_assert_true(l->ok == (l->err == NULL));
}

static void load(Load *l, const char *initrd, const char *append)
{
    load_ram(l, initrd, append, RAM_BYTES);
}

static void load_done(Load *l)
{
    machine_done(&l->f.machine);
    pc_machine_free(l->pc);
    fixture_done(&l->f);
    g_clear_error(&l->err);
}

/* One line that says why. */
static void expect_refusal(const char *initrd, const char *append,
                           uint64_t ram, const char *why)
{
    Load l;

    load_ram(&l, initrd, append, ram);
    g_assert_false(l.ok);
    if (!strstr(l.err->message, why) || strchr(l.err->message, '\n')) {
        g_test_message("expected '%s', got '%s'", why, l.err->message);
        g_test_fail();
    }
    load_done(&l);
}

static uint8_t *guest_read(Load *l, uint64_t gpa, size_t len)
{
    uint8_t *buf = g_malloc(len);

    g_assert_cmpint(dma_read(l->f.machine.memory, gpa, buf, len), ==, 0);
    return buf;
}

/* ---- bzImage ------------------------------------------------------------ */

#define SETUP_SECTS 2
#define PAYLOAD_AT ((SETUP_SECTS + 1) * 512)
#define PAYLOAD_BYTES 8192
#define BZIMAGE_BYTES (PAYLOAD_AT + PAYLOAD_BYTES)
#define PREF_ADDRESS (16 * MIB)
#define INIT_SIZE (4 * MIB)

static uint8_t *make_bzimage(void)
{
    uint8_t *b = g_malloc0(BZIMAGE_BYTES);

    b[0x1f1] = SETUP_SECTS;
    put_le(b + 0x1fe, 0xaa55, 2);
    b[0x200] = 0xeb;
    b[0x201] = 0x6a; /* the header ends at 0x26c */
    memcpy(b + 0x202, "HdrS", 4);
    put_le(b + 0x206, 0x020f, 2);
    b[0x211] = 1;
    put_le(b + 0x22c, 0x7fffffff, 4);
    put_le(b + 0x230, 2 * MIB, 4);
    b[0x234] = 1;
    put_le(b + 0x236, 1, 2);
    put_le(b + 0x238, 2047, 4);
    put_le(b + 0x258, PREF_ADDRESS, 8);
    put_le(b + 0x260, INIT_SIZE, 4);
    for (unsigned i = 0; i < PAYLOAD_BYTES; i++) {
        b[PAYLOAD_AT + i] = i * 7 + 3;
    }
    return b;
}

/* Identity mapping of gpa, walked as the processor does. */
static uint64_t walk(Load *l, uint64_t va)
{
    uint64_t table = l->boot.cr3;

    for (int shift = 39; shift >= 21; shift -= 9) {
        g_autofree uint8_t *entry =
            guest_read(l, table + (va >> shift & 511) * 8, 8);
        uint64_t value = get_le(entry, 8);

        g_assert_cmphex(value & 3, ==, 3);
        if (value & 0x80) {
            g_assert_cmpint(shift, ==, 21);
            return (value & ~UINT64_C(0x1fffff)) | (va & 0x1fffff);
        }
        table = value & ~UINT64_C(0xfff);
    }
    g_assert_not_reached();
}

static void check_e820(const uint8_t *bp)
{
    uint64_t end = 0, ram = 0;

    g_assert_cmpuint(bp[0x1e8], >, 3);
    for (unsigned i = 0; i < bp[0x1e8]; i++) {
        const uint8_t *e = bp + 0x2d0 + 20 * i;

        g_assert_cmpuint(get_le(e, 8), >=, end); /* sorted, no overlap */
        end = get_le(e, 8) + get_le(e + 8, 8);
        if (get_le(e + 16, 4) == 1) {
            ram += get_le(e + 8, 8);
            /* the tables are not RAM */
            g_assert_true(get_le(e, 8) >= 0x100000 || end <= 0xe0000);
        }
    }
    g_assert_cmpuint(ram, ==, RAM_BYTES - 0x100000 + 0x9fc00);
}

static void test_bzimage(void)
{
    g_autofree uint8_t *image = make_bzimage();
    g_autofree uint8_t *bp = NULL, *code = NULL, *cmdline = NULL;
    g_autofree uint8_t *initrd = NULL, *gdt = NULL;
    uint64_t initrd_at;
    Load l;

    write_file(kernel_path, image, BZIMAGE_BYTES);
    write_file(initrd_path, "initrd contents", 15);
    load(&l, initrd_path, "console=ttyS0 quiet");
    g_assert_no_error(l.err);
    g_assert_true(l.boot.long_mode);
    g_assert_cmphex(l.boot.rip, ==, PREF_ADDRESS + 0x200);
    g_assert_cmphex(l.boot.code_selector, ==, 0x10);
    g_assert_cmphex(l.boot.data_selector, ==, 0x18);
    code = guest_read(&l, PREF_ADDRESS, PAYLOAD_BYTES);
    g_assert_cmpmem(code, PAYLOAD_BYTES, image + PAYLOAD_AT, PAYLOAD_BYTES);

    bp = guest_read(&l, l.boot.rsi, 4096);
    g_assert_cmpmem(bp + 0x202, 4, "HdrS", 4);
    g_assert_cmphex(bp[0x210], ==, 0xff);
    cmdline = guest_read(&l, get_le(bp + 0x228, 4), 20);
    g_assert_cmpstr((char *)cmdline, ==, "console=ttyS0 quiet");
    initrd_at = get_le(bp + 0x218, 4);
    g_assert_cmpuint(get_le(bp + 0x21c, 4), ==, 15);
    g_assert_cmphex(initrd_at % 4096, ==, 0);
    g_assert_cmphex(initrd_at, >=, PREF_ADDRESS + INIT_SIZE);
    g_assert_cmphex(initrd_at + 15, <=, RAM_BYTES);
    initrd = guest_read(&l, initrd_at, 15);
    g_assert_cmpmem(initrd, 15, "initrd contents", 15);
    g_assert_cmphex(get_le(bp + 0x70, 8), ==, 0xe0000);
    check_e820(bp);

    gdt = guest_read(&l, l.boot.gdt_base, l.boot.gdt_limit + 1);
    g_assert_cmphex(get_le(gdt + 0x10, 8) >> 53 & 1, ==, 1); /* L */
    g_assert_cmphex(walk(&l, l.boot.rip), ==, l.boot.rip);
    g_assert_cmphex(walk(&l, l.boot.rsi), ==, l.boot.rsi);
    g_assert_cmphex(walk(&l, 0xfee00020), ==, 0xfee00020);
    load_done(&l);
}

/* Too little RAM at the preferred address: it moves down. */
static void test_bzimage_moves(void)
{
    g_autofree uint8_t *image = make_bzimage();
    Load l;

    write_file(kernel_path, image, BZIMAGE_BYTES);
    load_ram(&l, NULL, NULL, 18 * MIB);
    g_assert_no_error(l.err);
    g_assert_cmphex(l.boot.rip, ==, 2 * MIB + 0x200);
    load_done(&l);
    expect_refusal(NULL, NULL, 5 * MIB, "KiB of RAM");
    image[0x234] = 0; /* not relocatable */
    write_file(kernel_path, image, BZIMAGE_BYTES);
    expect_refusal(NULL, NULL, 18 * MIB, "KiB of RAM");
}

/* initrd_addr_max keeps the initrd low. */
static void test_bzimage_initrd_limit(void)
{
    g_autofree uint8_t *image = make_bzimage();
    g_autofree uint8_t *big = g_malloc0(4 * MIB);
    g_autofree uint8_t *bp = NULL;
    Load l;

    put_le(image + 0x22c, 0x17fffff, 4); /* 24 MiB */
    write_file(kernel_path, image, BZIMAGE_BYTES);
    write_file(initrd_path, big, 4 * MIB);
    load(&l, initrd_path, NULL);
    g_assert_no_error(l.err);
    bp = guest_read(&l, l.boot.rsi, 4096);
    g_assert_cmphex(get_le(bp + 0x218, 4), ==, 20 * MIB);
    load_done(&l);
    put_le(image + 0x22c, 0x16fffff, 4);
    write_file(kernel_path, image, BZIMAGE_BYTES);
    expect_refusal(initrd_path, NULL, RAM_BYTES, "does not fit");
    put_le(image + 0x22c, 0, 4);
    write_file(kernel_path, image, BZIMAGE_BYTES);
    expect_refusal(initrd_path, NULL, RAM_BYTES, "does not fit");
    expect_refusal("/nonexistent/initrd", NULL, RAM_BYTES, "/nonexistent");
}

static void refuse_bzimage(unsigned at, unsigned len, uint64_t value,
                           const char *why)
{
    g_autofree uint8_t *image = make_bzimage();

    put_le(image + at, value, len);
    write_file(kernel_path, image, BZIMAGE_BYTES);
    expect_refusal(NULL, NULL, RAM_BYTES, why);
}

static void test_bad_bzimages(void)
{
    g_autofree uint8_t *image = make_bzimage();
    g_autofree char *long_line = g_strnfill(2048, 'a');
    g_autofree char *fits = g_strnfill(2047, 'a');
    Load l;

    refuse_bzimage(0x1fe, 2, 0, "neither");
    refuse_bzimage(0x202, 4, 0, "neither");
    refuse_bzimage(0x206, 2, 0x020b, "2.11");
    refuse_bzimage(0x211, 1, 0, "zImage");
    refuse_bzimage(0x236, 2, 0, "64-bit");
    refuse_bzimage(0x1f1, 1, 0xff, "truncated");
    refuse_bzimage(0x260, 4, 0xffffffff, "KiB of RAM");
    put_le(image + 0x230, 0, 4); /* no alignment, place out of range */
    put_le(image + 0x258, UINT64_MAX - 4095, 8);
    write_file(kernel_path, image, BZIMAGE_BYTES);
    expect_refusal(NULL, NULL, RAM_BYTES, "KiB of RAM");

    g_free(image);
    image = make_bzimage();
    write_file(kernel_path, image, BZIMAGE_BYTES);
    expect_refusal(NULL, long_line, RAM_BYTES, "too long");
    load(&l, NULL, fits);
    g_assert_no_error(l.err);
    load_done(&l);
    for (size_t len = 0; len <= PAYLOAD_AT + 0x200; len += 61) {
        write_file(kernel_path, image, len);
        load(&l, NULL, NULL);
        g_assert_false(l.ok);
        load_done(&l);
    }
}

/* ---- ELF ---------------------------------------------------------------- */

#define ENTRY 0x200080u
#define SEGMENT_AT 0x200000u
#define NOTE_AT 0x200u
#define CODE_AT 0x1000u
#define CODE_BYTES 0x800u
#define ELF_BYTES (CODE_AT + CODE_BYTES)

typedef struct Note {
    Elf32_Nhdr header;
    char name[4];
    uint32_t desc[2];
} Note;

static uint8_t *make_elf64(void)
{
    uint8_t *image = g_malloc0(ELF_BYTES);
    Elf64_Ehdr *eh = (Elf64_Ehdr *)image;
    Elf64_Phdr *ph = (Elf64_Phdr *)(image + sizeof(*eh));
    Note note = { { 4, 8, 18 }, "Xen", { ENTRY, 0 } };

    memcpy(eh->e_ident, ELFMAG, SELFMAG);
    eh->e_ident[EI_CLASS] = ELFCLASS64;
    eh->e_ident[EI_DATA] = ELFDATA2LSB;
    eh->e_machine = EM_X86_64;
    eh->e_phoff = sizeof(*eh);
    eh->e_phentsize = sizeof(*ph);
    eh->e_phnum = 2;
    ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = CODE_AT,
                          .p_paddr = SEGMENT_AT, .p_filesz = CODE_BYTES,
                          .p_memsz = 0x3000, .p_align = 0x1000 };
    ph[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = NOTE_AT,
                          .p_filesz = sizeof(note), .p_memsz = sizeof(note),
                          .p_align = 4 };
    memcpy(image + NOTE_AT, &note, sizeof(note));
    memset(image + CODE_AT, 0x90, CODE_BYTES);
    return image;
}

static Elf64_Phdr *phdr64(uint8_t *image, unsigned n)
{
    return (Elf64_Phdr *)(image + sizeof(Elf64_Ehdr)) + n;
}

static uint8_t *make_elf32(void)
{
    uint8_t *image = g_malloc0(ELF_BYTES);
    Elf32_Ehdr *eh = (Elf32_Ehdr *)image;
    Elf32_Phdr *ph = (Elf32_Phdr *)(image + sizeof(*eh));
    Note note = { { 4, 4, 18 }, "Xen", { ENTRY, 0 } };

    memcpy(eh->e_ident, ELFMAG, SELFMAG);
    eh->e_ident[EI_CLASS] = ELFCLASS32;
    eh->e_ident[EI_DATA] = ELFDATA2LSB;
    eh->e_machine = EM_386;
    eh->e_phoff = sizeof(*eh);
    eh->e_phentsize = sizeof(*ph);
    eh->e_phnum = 2;
    ph[0] = (Elf32_Phdr){ .p_type = PT_LOAD, .p_offset = CODE_AT,
                          .p_paddr = SEGMENT_AT, .p_filesz = CODE_BYTES,
                          .p_memsz = 0x3000, .p_align = 0x1000 };
    ph[1] = (Elf32_Phdr){ .p_type = PT_NOTE, .p_offset = NOTE_AT,
                          .p_filesz = 20, .p_memsz = 20, .p_align = 4 };
    memcpy(image + NOTE_AT, &note, sizeof(note));
    memset(image + CODE_AT, 0x90, CODE_BYTES);
    return image;
}

static void check_elf_loaded(const uint8_t *image)
{
    g_autofree uint8_t *info = NULL, *cmdline = NULL, *code = NULL;
    g_autofree uint8_t *module = NULL, *memmap = NULL, *zero = NULL;
    g_autofree uint8_t *initrd = NULL;
    uint8_t junk[0x3000];
    Load l;

    write_file(kernel_path, image, ELF_BYTES);
    write_file(initrd_path, "modulemodule", 12);
    load(&l, initrd_path, "mib=64");
    g_assert_no_error(l.err);
    g_assert_false(l.boot.long_mode);
    g_assert_cmphex(l.boot.rip, ==, ENTRY);
    info = guest_read(&l, l.boot.rbx, 56);
    g_assert_cmphex(get_le(info, 4), ==, 0x336ec578);
    g_assert_cmpuint(get_le(info + 4, 4), ==, 1);
    g_assert_cmpuint(get_le(info + 12, 4), ==, 1);
    module = guest_read(&l, get_le(info + 16, 8), 32);
    g_assert_cmpuint(get_le(module + 8, 8), ==, 12);
    initrd = guest_read(&l, get_le(module, 8), 12);
    g_assert_cmpmem(initrd, 12, "modulemodule", 12);
    cmdline = guest_read(&l, get_le(info + 24, 8), 7);
    g_assert_cmpstr((char *)cmdline, ==, "mib=64");
    g_assert_cmphex(get_le(info + 32, 8), ==, 0xe0000);
    memmap = guest_read(&l, get_le(info + 40, 8),
                        get_le(info + 48, 4) * 24);
    g_assert_cmphex(get_le(memmap, 8), ==, 0);
    g_assert_cmpuint(get_le(memmap + 16, 4), ==, 1);
    code = guest_read(&l, SEGMENT_AT, CODE_BYTES);
    g_assert_cmpmem(code, CODE_BYTES, image + CODE_AT, CODE_BYTES);

    /* A second load, after the guest wrote its bss: zero again. */
    memset(junk, 0xcc, sizeof(junk));
    g_assert_cmpint(dma_write(l.f.machine.memory, SEGMENT_AT, junk,
                              sizeof(junk)), ==, 0);
    g_assert_true(pc_machine_load(l.pc, &l.boot, NULL));
    zero = guest_read(&l, SEGMENT_AT + CODE_BYTES, 0x3000 - CODE_BYTES);
    for (unsigned i = 0; i < 0x3000 - CODE_BYTES; i++) {
        g_assert_cmphex(zero[i], ==, 0);
    }
    load_done(&l);
}

static void test_elf64(void)
{
    g_autofree uint8_t *image = make_elf64();

    check_elf_loaded(image);
}

static void test_elf32(void)
{
    g_autofree uint8_t *image = make_elf32();

    check_elf_loaded(image);
}

static void refuse_elf(uint8_t *take_image, size_t len, const char *why)
{
    write_file(kernel_path, take_image, len);
    g_free(take_image);
    expect_refusal(NULL, NULL, RAM_BYTES, why);
}

static void test_bad_elfs(void)
{
    static const struct {
        uint64_t paddr, memsz;
    } places[] = {
        { RAM_BYTES, 0x1000 },           { RAM_BYTES - 0x1000, 0x3000 },
        { 0x90000, 0x1000 },             { 0xe0000, 0x1000 },
        { 0x80000, 0x100000 },           { UINT64_MAX - 0xfff, 0x3000 },
        { 0x200000, UINT64_MAX },        { 0x100000000, 0x3000 },
    };
    uint8_t *e;

    e = make_elf64();
    e[EI_DATA] = ELFDATA2MSB;
    refuse_elf(e, ELF_BYTES, "little-endian");
    e = make_elf64();
    e[EI_CLASS] = 7;
    refuse_elf(e, ELF_BYTES, "class");
    e = make_elf64();
    ((Elf64_Ehdr *)e)->e_machine = EM_AARCH64;
    refuse_elf(e, ELF_BYTES, "x86-64");
    e = make_elf64();
    ((Elf64_Ehdr *)e)->e_phentsize = 1;
    refuse_elf(e, ELF_BYTES, "program headers");
    e = make_elf64();
    ((Elf64_Ehdr *)e)->e_phnum = 0xffff;
    refuse_elf(e, ELF_BYTES, "program headers");
    e = make_elf64();
    ((Elf64_Ehdr *)e)->e_phoff = UINT64_MAX - 8;
    refuse_elf(e, ELF_BYTES, "truncated");
    e = make_elf64();
    phdr64(e, 0)->p_offset = UINT64_MAX - 4;
    refuse_elf(e, ELF_BYTES, "truncated");
    e = make_elf64();
    phdr64(e, 0)->p_filesz = 0x4000;
    refuse_elf(e, ELF_BYTES, "larger in the file");
    refuse_elf(make_elf64(), ELF_BYTES - 1, "truncated");
    e = make_elf64();
    phdr64(e, 1)->p_type = PT_NULL;
    refuse_elf(e, ELF_BYTES, "without PVH ELF Note");
    e = make_elf64();
    phdr64(e, 1)->p_filesz = UINT64_C(1) << 40;
    refuse_elf(e, ELF_BYTES, "too large");
    e = make_elf64();
    phdr64(e, 1)->p_filesz = 19; /* cuts the descriptor */
    refuse_elf(e, ELF_BYTES, "without PVH ELF Note");
    e = make_elf64();
    put_le(e + NOTE_AT, 0xffffffff, 4); /* name size */
    refuse_elf(e, ELF_BYTES, "without PVH ELF Note");
    e = make_elf64();
    put_le(e + NOTE_AT + 4, 0xffffffff, 4); /* descriptor size */
    refuse_elf(e, ELF_BYTES, "without PVH ELF Note");
    e = make_elf64();
    put_le(e + NOTE_AT + 16, 0x100, 4); /* entry outside */
    refuse_elf(e, ELF_BYTES, "entry point");
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        e = make_elf64();
        phdr64(e, 0)->p_paddr = places[i].paddr;
        phdr64(e, 0)->p_memsz = places[i].memsz;
        refuse_elf(e, ELF_BYTES, "not in RAM");
    }
}

/* ---- Damage ------------------------------------------------------------- */

/* Whatever a few random bytes do to the headers, the loader answers, and
 * answers with a message when it refuses. */
static void test_random_damage(void)
{
    Load l;

    for (unsigned round = 0; round < 300; round++) {
        bool elf = g_test_rand_bit();
        size_t len = elf ? ELF_BYTES : BZIMAGE_BYTES;
        g_autofree uint8_t *image = elf ? make_elf64() : make_bzimage();
        unsigned changes = g_test_rand_int_range(1, 6);

        while (changes--) {
            unsigned at = g_test_rand_int_range(0, 0x290);

            image[at] = g_test_rand_bit() ? 0xff : g_test_rand_int();
        }
        write_file(kernel_path, image, len);
        load(&l, NULL, NULL);
        load_done(&l);
    }
}

static void test_no_file(void)
{
    unlink(kernel_path);
    expect_refusal(NULL, NULL, RAM_BYTES, kernel_path);
    write_file(kernel_path, "", 0);
    expect_refusal(NULL, NULL, RAM_BYTES, "truncated");
    write_file(kernel_path, "#!/bin/sh\n", 10);
    expect_refusal(NULL, NULL, RAM_BYTES, "too short");
}

static void test_directory(void)
{
    g_autofree char *saved = g_steal_pointer(&kernel_path);

    kernel_path = g_strdup("/");
    expect_refusal(NULL, NULL, RAM_BYTES, "not a regular file");
    g_free(kernel_path);
    kernel_path = g_steal_pointer(&saved);
}

int main(int argc, char **argv)
{
    g_autofree char *dir = NULL;
    int result;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vmd-loader-XXXXXX", NULL);
    kernel_path = g_build_filename(dir, "kernel", NULL);
    initrd_path = g_build_filename(dir, "initrd", NULL);
    g_test_add_func("/loader/bzimage", test_bzimage);
    g_test_add_func("/loader/bzimage-moves", test_bzimage_moves);
    g_test_add_func("/loader/bzimage-initrd", test_bzimage_initrd_limit);
    g_test_add_func("/loader/bzimage-bad", test_bad_bzimages);
    g_test_add_func("/loader/elf64", test_elf64);
    g_test_add_func("/loader/elf32", test_elf32);
    g_test_add_func("/loader/elf-bad", test_bad_elfs);
    g_test_add_func("/loader/damage", test_random_damage);
    g_test_add_func("/loader/no-file", test_no_file);
    g_test_add_func("/loader/directory", test_directory);
    result = g_test_run();
    (void)unlink(kernel_path);
    (void)unlink(initrd_path);
    (void)rmdir(dir);
    g_free(kernel_path);
    g_free(initrd_path);
    return result;
}
