/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole board: what lies where, the ACPI tables, the chipset's PCI
 * functions, and that every device's state survives saving and loading.
 */
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "hw/i386/pc.h"
#include "hw/pci/pci.h"
#include "memory/dma.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TABLES 0xe0000
#define TABLES_BYTES 0x20000

typedef struct Board {
    Fixture f;
    PcMachine *pc;
    uint8_t *tables; /* what pc_machine_load() left at TABLES */
} Board;

/* A kernel that only has to be accepted: PVH ELF32 of one page. */
static char *kernel_path;

static void board_init(Board *b, const char *machine, uint64_t ram,
                       bool serial)
{
    PcConfig cfg = { .machine = machine, .cpus = 3, .append = "a=b" };
    GError *err = NULL;

    fixture_init(&b->f, ram);
    cfg.kernel = kernel_path;
    cfg.serial[0] = serial ? b->f.chr : NULL;
    b->pc = pc_machine_new(&cfg, &b->f.machine, &err);
    g_assert_no_error(err);
    b->tables = NULL;
}

static void board_load(Board *b)
{
    VcpuBootState boot;
    GError *err = NULL;

    machine_reset(&b->f.machine);
    pc_machine_load(b->pc, &boot, &err);
    g_assert_no_error(err);
    b->tables = g_realloc(b->tables, TABLES_BYTES);
    g_assert_cmpint(dma_read(b->f.machine.memory, TABLES, b->tables,
                             TABLES_BYTES), ==, 0);
}

static void board_done(Board *b)
{
    machine_done(&b->f.machine);
    pc_machine_free(b->pc);
    /* fixture_done() finds the devices gone. */
    fixture_done(&b->f);
    g_free(b->tables);
}

/* ---- Names -------------------------------------------------------------- */

static void test_names(void)
{
    g_assert_cmpstr(pc_machine_canonical_name("pc"), ==, "pc-i440fx-7.2");
    g_assert_cmpstr(pc_machine_canonical_name("q35"), ==, "pc-q35-7.2");
    g_assert_cmpstr(pc_machine_canonical_name("pc-q35-7.2"), ==,
                    "pc-q35-7.2");
    g_assert_cmpstr(pc_machine_canonical_name("none"), ==, "none");
    g_assert_null(pc_machine_canonical_name("microvm"));
    g_assert_null(pc_machine_canonical_name(""));
}

static void test_refusals(void)
{
    static const struct {
        const char *machine;
        unsigned cpus;
        uint64_t ram;
        const char *why;
    } cases[] = {
        { "isapc", 1, 64 * MIB, "isapc" },
        { "pc", 0, 64 * MIB, "CPUs" },
        { "pc", 256, 64 * MIB, "CPUs" },
        { "pc", 1, 1 * MIB, "RAM" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        PcConfig cfg = { .machine = cases[i].machine,
                         .cpus = cases[i].cpus };
        GError *err = NULL;
        Fixture f;

        fixture_init(&f, cases[i].ram);
        g_assert_null(pc_machine_new(&cfg, &f.machine, &err));
        g_assert_nonnull(strstr(err->message, cases[i].why));
        g_clear_error(&err);
        fixture_done(&f);
    }
}

/* ---- Memory ------------------------------------------------------------- */

typedef struct Pieces {
    RamMapping m[4];
    unsigned count;
} Pieces;

static void add_piece(const RamMapping *m, void *opaque)
{
    Pieces *p = opaque;

    g_assert_cmpuint(p->count, <, 4);
    p->m[p->count++] = *m;
}

/* RAM is not touched here, so its size costs nothing. */
static void test_ram_layout(void)
{
    static const struct {
        const char *machine;
        uint64_t ram, low;
    } cases[] = {
        { "pc", 512 * MIB, 512 * MIB },
        { "pc", 3 * GIB, 3 * GIB },
        { "pc", 3 * GIB + MIB, 3 * GIB },
        { "pc", 5 * GIB, 3 * GIB },
        { "q35", 2 * GIB + 512 * MIB, 2 * GIB + 512 * MIB },
        { "q35", 2816 * MIB, 2 * GIB },
        { "q35", 5 * GIB, 2 * GIB },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Pieces p = { .count = 0 };
        Board b;

        board_init(&b, cases[i].machine, cases[i].ram, false);
        address_space_foreach_ram(b.f.machine.memory, add_piece, &p);
        g_assert_cmpuint(p.m[0].gpa, ==, 0);
        g_assert_cmpuint(p.m[0].size_bytes, ==, cases[i].low);
        g_assert_cmpuint(p.count, ==, cases[i].ram > cases[i].low ? 2 : 1);
        if (p.count == 2) {
            g_assert_cmpuint(p.m[1].gpa, ==, 4 * GIB);
            g_assert_cmpuint(p.m[1].offset, ==, cases[i].low);
            g_assert_cmpuint(p.m[1].size_bytes, ==,
                             cases[i].ram - cases[i].low);
        }
        board_done(&b);
    }
}

static uint8_t cmos(Board *b, uint8_t index)
{
    out8(&b->f, 0x70, index);
    return in8(&b->f, 0x71);
}

static void test_cmos(void)
{
    Board b;

    board_init(&b, "pc", 5 * GIB, false);
    g_assert_cmpuint(cmos(&b, 0x15) | cmos(&b, 0x16) << 8, ==, 640);
    g_assert_cmpuint(cmos(&b, 0x30) | cmos(&b, 0x31) << 8, ==, 0xffff);
    g_assert_cmpuint(cmos(&b, 0x34) | cmos(&b, 0x35) << 8, ==,
                     (3 * GIB - 16 * MIB) >> 16);
    g_assert_cmpuint(cmos(&b, 0x5b) | cmos(&b, 0x5c) << 8 |
                         cmos(&b, 0x5d) << 16, ==, 2 * GIB >> 16);
    g_assert_cmpuint(cmos(&b, 0x5f), ==, 2);
    board_done(&b);
}

static void test_unowned_ports(void)
{
    Board b;

    board_init(&b, "q35", 64 * MIB, false);
    out8(&b.f, 0x80, 0x12);
    g_assert_cmphex(in8(&b.f, 0x3f8 + 5), ==, 0xff);
    g_assert_cmphex(port_read(&b.f, 0x1234, 4), ==, 0xffffffff);
    board_done(&b);
}

/* ---- ACPI --------------------------------------------------------------- */

static uint64_t get_le(const uint8_t *p, unsigned len)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < len; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    while (len--) {
        s += *p++;
    }
    return s;
}

/* The table at gpa, whose length and checksum are right. */
static const uint8_t *table_at(const Board *b, uint64_t gpa)
{
    const uint8_t *t;
    uint32_t len;

    g_assert_cmpuint(gpa, >=, TABLES);
    g_assert_cmpuint(gpa, <=, TABLES + TABLES_BYTES - 36);
    t = b->tables + (gpa - TABLES);
    len = get_le(t + 4, 4);
    g_assert_cmpuint(len, <=, TABLES + TABLES_BYTES - gpa);
    g_assert_cmpuint(sum(t, len), ==, 0);
    return t;
}

static const uint8_t *find_table(const Board *b, const char *signature)
{
    const uint8_t *xsdt = table_at(b, get_le(b->tables + 24, 8));
    const uint8_t *rsdt = table_at(b, get_le(b->tables + 16, 4));
    unsigned count = (get_le(xsdt + 4, 4) - 36) / 8;
    const uint8_t *found = NULL;

    g_assert_cmpuint((get_le(rsdt + 4, 4) - 36) / 4, ==, count);
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = get_le(xsdt + 36 + 8 * i, 8);

        g_assert_cmpuint(get_le(rsdt + 36 + 4 * i, 4), ==, at);
        if (memcmp(table_at(b, at), signature, 4) == 0) {
            g_assert_null(found);
            found = table_at(b, at);
        }
    }
    return found;
}

static void check_madt(const uint8_t *madt, unsigned cpus)
{
    unsigned len = get_le(madt + 4, 4), at = 44, lapics = 0, ioapics = 0;
    bool timer = false, sci = false;

    while (at < len) {
        const uint8_t *e = madt + at;

        g_assert_cmpuint(e[1], >=, 2);
        switch (e[0]) {
        case 0:
            g_assert_cmpuint(e[3], ==, lapics);
            g_assert_cmpuint(get_le(e + 4, 4), ==, 1);
            lapics++;
            break;
        case 1:
            g_assert_cmphex(get_le(e + 4, 4), ==, 0xfec00000);
            ioapics++;
            break;
        case 2:
            timer |= e[3] == 0 && get_le(e + 4, 4) == 2;
            sci |= e[3] == 9 && get_le(e + 4, 4) == 9 &&
                   get_le(e + 8, 2) == 0xd;
            break;
        default:
            break;
        }
        at += e[1];
    }
    g_assert_cmpuint(at, ==, len);
    g_assert_cmpuint(lapics, ==, cpus);
    g_assert_cmpuint(ioapics, ==, 1);
    g_assert_true(timer && sci);
}

static void check_fadt(const Board *b, const uint8_t *fadt)
{
    const uint8_t *facs = b->tables + (get_le(fadt + 36, 4) - TABLES);

    g_assert_cmpuint(get_le(fadt + 4, 4), ==, 268);
    g_assert_cmpuint(fadt[8], ==, 5);
    g_assert_cmpint(memcmp(facs, "FACS", 4), ==, 0);
    g_assert_cmpuint(get_le(fadt + 36, 4) % 64, ==, 0);
    g_assert_cmpint(memcmp(table_at(b, get_le(fadt + 40, 4)), "DSDT", 4), ==,
                    0);
    g_assert_cmphex(get_le(fadt + 140, 8), ==, get_le(fadt + 40, 4));
    g_assert_cmpuint(get_le(fadt + 46, 2), ==, 9);    /* SCI */
    g_assert_cmphex(get_le(fadt + 48, 4), ==, 0);     /* SMI_CMD */
    g_assert_cmphex(get_le(fadt + 56, 4), ==, 0x600); /* PM1a event */
    g_assert_cmphex(get_le(fadt + 64, 4), ==, 0x604); /* PM1a control */
    g_assert_cmphex(get_le(fadt + 76, 4), ==, 0x608); /* PM timer */
    g_assert_cmphex(fadt[108], ==, 0x32);             /* century */
    g_assert_cmphex(get_le(fadt + 109, 2) & 2, ==, 0); /* no 8042 */
    g_assert_cmphex(get_le(fadt + 112, 4) & 1 << 20, ==, 0); /* not reduced */
    g_assert_cmphex(get_le(fadt + 112, 4) & 1 << 10, !=, 0); /* reset reg. */
    g_assert_cmphex(get_le(fadt + 120, 8), ==, 0xcf9);
    g_assert_cmphex(get_le(fadt + 152, 8), ==, 0x600);
    g_assert_cmphex(get_le(fadt + 212, 8), ==, 0x608);
}

static void check_ssdt(const uint8_t *ssdt, uint64_t window, unsigned coms)
{
    g_assert_nonnull(ssdt);
    g_assert_cmpint(memcmp(ssdt + 36, "\x08\\P64B\x0e", 7), ==, 0);
    g_assert_cmphex(get_le(ssdt + 43, 8), ==, window);
    g_assert_cmpint(memcmp(ssdt + 66, "\x08\\COMS\x0e", 7), ==, 0);
    g_assert_cmphex(get_le(ssdt + 73, 8), ==, coms);
}

static void test_acpi(void)
{
    static const char *const machines[] = { "pc", "q35" };

    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *mcfg;
        Board b;

        board_init(&b, machines[i], 64 * MIB, /* serial= */ i == 0);
        board_load(&b);
        g_assert_cmpint(memcmp(b.tables, "RSD PTR ", 8), ==, 0);
        g_assert_cmpuint(sum(b.tables, 20), ==, 0);
        g_assert_cmpuint(sum(b.tables, 36), ==, 0);
        g_assert_cmpuint(b.tables[15], ==, 2);
        check_fadt(&b, find_table(&b, "FACP"));
        check_madt(find_table(&b, "APIC"), 3);
        check_ssdt(find_table(&b, "SSDT"), 4 * GIB, i == 0 ? 1 : 0);
        mcfg = find_table(&b, "MCFG");
        g_assert_cmpint(mcfg != NULL, ==, i == 1);
        if (mcfg) {
            g_assert_cmphex(get_le(mcfg + 44, 8), ==, 0xb0000000);
            g_assert_cmpuint(mcfg[55], ==, 255);
        }
        board_done(&b);
    }
}

/* ---- PCI ---------------------------------------------------------------- */

static uint32_t config_id(Board *b, unsigned slot, unsigned fn)
{
    port_write(&b->f, 0xcf8, 0x80000000u | slot << 11 | fn << 8, 4);
    return port_read(&b->f, 0xcfc, 4);
}

static void test_bridges(void)
{
    Board b;

    board_init(&b, "pc", 64 * MIB, false);
    g_assert_cmphex(config_id(&b, 0, 0), ==, 0x12378086);
    g_assert_cmphex(config_id(&b, 1, 0), ==, 0x70008086);
    g_assert_cmphex(config_id(&b, 1, 3), ==, 0x71138086);
    g_assert_cmphex(config_id(&b, 2, 0), ==, 0xffffffff);
    out8(&b.f, 0xcf9, 0x02);
    g_assert_cmpuint(b.f.resets, ==, 0);
    out8(&b.f, 0xcf9, 0x0e);
    g_assert_cmpuint(b.f.resets, ==, 1);
    board_done(&b);

    board_init(&b, "q35", 64 * MIB, false);
    g_assert_cmphex(config_id(&b, 0, 0), ==, 0x29c08086);
    g_assert_cmphex(config_id(&b, 31, 0), ==, 0x29188086);
    g_assert_cmphex(port_read(&b.f, 0xcfc, 2), ==, 0x8086);
    {
        uint32_t id;

        address_space_io_read(b.f.machine.memory, 0xb00f8000, &id, 4);
        g_assert_cmphex(id, ==, 0x29188086);
    }
    board_done(&b);
}

/* A function with one BAR of each kind gets places and an interrupt line. */
static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0x42;
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value,
                      unsigned size)
{
}

static const IoRegionOps bar_ops = { .read = bar_read, .write = bar_write };

typedef struct TestFunction {
    PciDevice pci;
    IoRegion region[3];
} TestFunction;

static void function_reset(Device *dev)
{
    pci_device_reset((PciDevice *)dev);
}

static void function_free(Device *dev)
{
    pci_device_done((PciDevice *)dev);
    g_free(dev);
}

static const DeviceOps function_ops = { .reset = function_reset,
                                        .free = function_free };

static void test_pci_assign(void)
{
    static const PciIdentity identity = {
        .vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000,
        .interrupt_pin = 2,
    };
    TestFunction *t = g_new0(TestFunction, 1);
    uint8_t byte;
    uint64_t at;
    Board b;

    board_init(&b, "q35", 64 * MIB, false);
    pci_device_init(&t->pci, b.f.machine.pci, PCI_DEVFN(5, 0), &identity,
                    "test-function", NULL, &function_ops, NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        t->region[i] = (IoRegion){ "bar", &bar_ops, t, 64u << (4 * i), NULL };
    }
    pci_device_add_bar(&t->pci, 0, PCI_BAR_PORTS, false, &t->region[0]);
    pci_device_add_bar(&t->pci, 1, PCI_BAR_MEMORY_32, false, &t->region[1]);
    pci_device_add_bar(&t->pci, 2, PCI_BAR_MEMORY_64, true, &t->region[2]);
    board_load(&b);
    g_assert_cmphex(in8(&b.f, pci_get_config(&t->pci, 0x10, 4) & ~3u), ==,
                    0x42);
    at = pci_get_config(&t->pci, 0x14, 4) & ~0xfu;
    g_assert_cmphex(at, >=, 0xc0000000);
    address_space_io_read(b.f.machine.memory, at, &byte, 1);
    g_assert_cmphex(byte, ==, 0x42);
    at = (pci_get_config(&t->pci, 0x18, 4) & ~0xfu) |
         (uint64_t)pci_get_config(&t->pci, 0x1c, 4) << 32;
    g_assert_cmphex(at, >=, 4 * GIB);
    address_space_io_read(b.f.machine.memory, at + 100, &byte, 1);
    g_assert_cmphex(byte, ==, 0x42);
    /* INTB of slot 5: 16 + (5 + 1) % 4. */
    g_assert_cmpuint(pci_get_config(&t->pci, PCI_INTERRUPT_LINE, 1), ==, 18);
    board_load(&b); /* after a reset, again */
    g_assert_cmphex(pci_get_config(&t->pci, PCI_COMMAND, 2) & 3, ==, 3);
    board_done(&b);
}

/* ---- Root ports ---------------------------------------------------------- */

static uint32_t config_read(Board *b, unsigned bus, uint8_t devfn,
                            unsigned offset)
{
    port_write(&b->f, 0xcf8, UINT32_C(1) << 31 | bus << 16 |
                                 (uint32_t)devfn << 8 | offset, 4);
    return port_read(&b->f, 0xcfc, 4);
}

static void create(Board *b, const char *text)
{
    GError *err = NULL;

    g_assert_true(fixture_create(&b->f, text, &err));
    g_assert_no_error(err);
}

static void create_refused(Board *b, const char *text, const char *why)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(fixture_create(&b->f, text, &err));
    g_assert_nonnull(strstr(err->message, why));
}

/* As virtio devices choose their places. */
static bool choose(Board *b, const char *text, PciPlace *ret, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-device", text, NULL, errp);

    return pci_bus_choose_slot(b->f.machine.pci, "test-function", kv, ret,
                               errp);
}

static TestFunction *function_behind(Board *b, const char *text)
{
    static const PciIdentity identity = {
        .vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000,
        .interrupt_pin = 1,
    };
    TestFunction *t = g_new0(TestFunction, 1);
    PciPlace place;

    g_assert_true(choose(b, text, &place, NULL));
    pci_device_init(&t->pci, place.bus, place.devfn, &identity,
                    "test-function", NULL, &function_ops, NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        t->region[i] = (IoRegion){ "bar", &bar_ops, t, 4096, NULL };
    }
    t->region[0].size_bytes = 64;
    pci_device_add_bar(&t->pci, 0, PCI_BAR_PORTS, false, &t->region[0]);
    pci_device_add_bar(&t->pci, 1, PCI_BAR_MEMORY_32, false, &t->region[1]);
    pci_device_add_bar(&t->pci, 2, PCI_BAR_MEMORY_64, true, &t->region[2]);
    return t;
}

#define FIRST_PORT                                                         \
    "pcie-root-port,id=pci.1,bus=pcie.0,port=8,chassis=1,addr=0x1,"       \
    "multifunction=on"
#define SECOND_PORT                                                       \
    "pcie-root-port,id=pci.2,bus=pcie.0,port=9,chassis=2,addr=0x1.0x1"

/* The loader numbers the buses and opens the windows that are needed; the
 * function is reached by both mechanisms, and under no other number. */
static void test_root_port(void)
{
    TestFunction *t;
    uint32_t base, limit, bar;
    uint8_t id[4];
    Board b;

    board_init(&b, "q35", 64 * MIB, false);
    create(&b, FIRST_PORT);
    create(&b, SECOND_PORT);
    t = function_behind(&b, "bus=pci.2,addr=0x0");
    board_load(&b);
    for (unsigned fn = 0; fn < 2; fn++) {
        uint8_t devfn = PCI_DEVFN(1, fn);

        g_assert_cmphex(config_read(&b, 0, devfn, 0), ==, 0x000c1b36);
        g_assert_cmphex(config_read(&b, 0, devfn, 8) >> 8, ==, 0x060400);
        g_assert_cmphex(config_read(&b, 0, devfn, 0x0c) >> 16 & 0x7f, ==, 1);
        g_assert_cmphex(config_read(&b, 0, devfn, PCI_PRIMARY_BUS) &
                            0xffffff, ==, (fn + 1) * 0x010100u);
        g_assert_cmphex(config_read(&b, 0, devfn, PCI_COMMAND) & 7, ==, 7);
    }
    g_assert_cmphex(config_read(&b, 2, 0, 0), ==, 0x56781234);
    g_assert_cmphex(config_read(&b, 1, 0, 0), ==, UINT32_MAX);
    g_assert_cmphex(config_read(&b, 3, 0, 0), ==, UINT32_MAX);
    g_assert_cmphex(config_read(&b, 2, PCI_DEVFN(1, 0), 0), ==, UINT32_MAX);
    address_space_io_read(b.f.machine.memory, 0xb0000000 + (2 << 20), id, 4);
    g_assert_cmphex(id[0] | id[1] << 8, ==, 0x1234);

    /* Nothing is behind the first: closed. */
    for (unsigned at = PCI_MEMORY_BASE; at <= PCI_PREFETCH_BASE; at += 4) {
        bar = config_read(&b, 0, PCI_DEVFN(1, 0), at);
        g_assert_cmphex(bar & 0xfff0, >, bar >> 16 & 0xfff0);
    }
    bar = config_read(&b, 2, 0, 0x14);
    base = config_read(&b, 0, PCI_DEVFN(1, 1), PCI_MEMORY_BASE);
    limit = (base & 0xfff00000) | 0xfffff;
    base = (base & 0xfff0) << 16;
    g_assert_cmphex(bar, >=, base);
    g_assert_cmphex(bar + 4095, <=, limit);
    bar = config_read(&b, 2, 0, 0x10) & ~3u;
    base = config_read(&b, 0, PCI_DEVFN(1, 1), PCI_IO_BASE);
    g_assert_cmphex(bar, >=, (base & 0xf0) << 8);
    g_assert_cmphex(bar + 63, <=, (base & 0xf000) | 0xfff);
    bar = config_read(&b, 2, 0, 0x1c);
    g_assert_cmphex(bar, ==,
                    config_read(&b, 0, PCI_DEVFN(1, 1),
                                PCI_PREFETCH_BASE_UPPER));
    /* INTA of slot 0 behind slot 1. */
    g_assert_cmpuint(pci_get_config(&t->pci, PCI_INTERRUPT_LINE, 1), ==, 17);

    /* The guest numbers it anew. */
    port_write(&b.f, 0xcf8, 0x80000900 | PCI_PRIMARY_BUS, 4);
    port_write(&b.f, 0xcfc + 1, 0x55, 1);
    g_assert_cmphex(config_read(&b, 2, 0, 0), ==, UINT32_MAX);
    g_assert_cmphex(config_read(&b, 0x55, 0, 0), ==, 0x56781234);
    board_load(&b);
    g_assert_cmphex(config_read(&b, 2, 0, 0), ==, 0x56781234);
    board_done(&b);
}

static void test_root_port_refusals(void)
{
    PciPlace place;
    Board b;

    board_init(&b, "pc", 64 * MIB, false);
    create_refused(&b, "pcie-root-port", "q35");
    board_done(&b);
    board_init(&b, "q35", 64 * MIB, false);
    create(&b, FIRST_PORT);
    create_refused(&b, "pcie-root-port,bus=pci.1", "'pcie.0' only");
    create_refused(&b, "pcie-root-port,bus=pci.7", "'pci.7'");
    create_refused(&b, "pcie-root-port,hotplug=on", "hotplug=on");
    create_refused(&b, "pcie-root-port,port=256", "255");
    create_refused(&b, "pcie-root-port,addr=1", "taken");
    g_assert_false(choose(&b, "bus=pci.1,addr=0x1", &place, NULL));
    g_assert_false(choose(&b, "bus=pci.2", &place, NULL));
    (void)function_behind(&b, "bus=pci.1");
    g_assert_false(choose(&b, "bus=pci.1", &place, NULL));
    board_done(&b);
}

/* ---- State -------------------------------------------------------------- */

static void check_description(const VMStateDescription *vmsd)
{
    g_assert_cmpuint(strlen(vmsd->name), <=, 63);
    g_assert_cmpint(vmsd->version, >=, vmsd->minimum_version);
    g_assert_nonnull(vmsd->fields);
    for (const VMStateField *field = vmsd->fields; field->name; field++) {
        g_assert_cmpuint(field->count, >, 0);
        g_assert_cmpuint(field->element_bytes, >, 0);
        if (field->type == VMSTATE_TYPE_STRUCT) {
            check_description(field->sub);
        }
    }
}

/* Each device of one board loads what its twin on another board saved, and
 * refuses a state that is cut short. */
static void test_all_state(void)
{
    static const char *const machines[] = { "pc", "q35" };

    for (unsigned i = 0; i < 2; i++) {
        Board a, b;

        board_init(&a, machines[i], 64 * MIB, true);
        board_init(&b, machines[i], 64 * MIB, true);
        if (i == 1) {
            create(&a, FIRST_PORT);
            create(&b, FIRST_PORT);
        }
        board_load(&a);
        g_assert_cmpuint(a.f.machine.devices->len, ==,
                         b.f.machine.devices->len);
        for (guint d = 0; d < a.f.machine.devices->len; d++) {
            Device *from = g_ptr_array_index(a.f.machine.devices, d);
            Device *to = g_ptr_array_index(b.f.machine.devices, d);
            g_autoptr(GByteArray) state = NULL;
            g_autoptr(GByteArray) again = NULL;

            g_assert_cmpstr(from->type, ==, to->type);
            g_assert_cmpuint(from->instance, ==, to->instance);
            g_assert_nonnull(from->vmsd);
            check_description(from->vmsd);
            machine_quiesce(&a.f.machine);
            machine_quiesce(&b.f.machine);
            state = fixture_save(from);
            g_assert_true(fixture_load(to, state));
            again = fixture_save(to);
            if (!g_str_equal(from->type, "mc146818rtc")) { /* it goes on */
                g_assert_cmpmem(state->data, state->len, again->data,
                                again->len);
            }
            if (state->len > 0) {
                g_byte_array_set_size(state, state->len - 1);
                g_assert_false(fixture_load(to, state));
            }
        }
        board_done(&a);
        board_done(&b);
    }
}

/* ---- Kernel ------------------------------------------------------------- */

/* ELF header, two program headers, a PVH note, at least a page of zeros. */
static void write_kernel(void)
{
    static const uint8_t header[] = {
        0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        2, 0, 3, 0, 1, 0, 0, 0, 0, 0, 0x20, 0, 52, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 52, 0, 32, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        /* PT_LOAD: offset 0 at 2 MiB, 0x100 bytes of 0x1000 */
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0x20, 0,
        0, 1, 0, 0, 0, 0x10, 0, 0, 7, 0, 0, 0, 0, 0x10, 0, 0,
        /* PT_NOTE: offset 116, 20 bytes */
        4, 0, 0, 0, 116, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        20, 0, 0, 0, 20, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0,
        /* the note: entry at 2 MiB + 0x80 */
        4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0,
        0x80, 0, 0x20, 0,
    };
    g_autofree uint8_t *image = g_malloc0(0x100);
    int fd;

    memcpy(image, header, sizeof(header));
    kernel_path = g_build_filename(g_get_tmp_dir(), "vmd-test-pc-XXXXXX",
                                   NULL);
    fd = g_mkstemp(kernel_path);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(kernel_path, (char *)image, 0x100,
                                      NULL));
}

int main(int argc, char **argv)
{
    int result;

    g_test_init(&argc, &argv, NULL);
    write_kernel();
    g_test_add_func("/pc/names", test_names);
    g_test_add_func("/pc/refusals", test_refusals);
    g_test_add_func("/pc/ram-layout", test_ram_layout);
    g_test_add_func("/pc/cmos", test_cmos);
    g_test_add_func("/pc/unowned-ports", test_unowned_ports);
    g_test_add_func("/pc/acpi", test_acpi);
    g_test_add_func("/pc/bridges", test_bridges);
    g_test_add_func("/pc/pci-assign", test_pci_assign);
    g_test_add_func("/pc/root-port", test_root_port);
    g_test_add_func("/pc/root-port-refusals", test_root_port_refusals);
    g_test_add_func("/pc/state", test_all_state);
    result = g_test_run();
    (void)unlink(kernel_path);
    g_free(kernel_path);
    return result;
}
