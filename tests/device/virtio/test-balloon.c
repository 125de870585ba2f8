/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-balloon-pci: what the guest gives up is zero when its request comes
 * back, and nothing else is touched, whatever the guest names; statistics
 * come and go; a paused device keeps still.
 *
 * How: the driver of driver.h; guest RAM is filled with a pattern, and looked
 * at page by page. A recording pager tells in which order things happen.
 */
#include <string.h>

#include "driver.h"
#include "hw/virtio/virtio-balloon.h"
#include "migration/vmstate-io.h"
#include "util/bits.h"

enum { INFLATE, DEFLATE, STATS, REPORT, REPORT_AS_5_5_2 };
#define F_STATS (UINT64_C(1) << 1)
#define F_OOM (UINT64_C(1) << 2)
#define F_POISON (UINT64_C(1) << 4)
#define F_REPORTING (UINT64_C(1) << 5)

#define PFNS_AT UINT64_C(0x200000)  /* lists of page numbers */
#define STATS_AT UINT64_C(0x280000)
#define FREE_AT UINT64_C(0x400000)  /* pages to give up, from here on */
#define FREE_PFN (FREE_AT >> 12)
#define RAM_PFNS (LAB_RAM_BYTES >> 12)
#define ROM_AT UINT64_C(0x10000000)
#define PATTERN 0x5a
#define NEEDS_RESET 0x4f

typedef struct Balloon {
    Lab lab;
    Driver d;
    PciDevice *pci;
    VirtioBalloon *b;
    RamBlock *rom; /* mapped at ROM_AT, not the machine's RAM */
} Balloon;

static void balloon_start(Balloon *t, uint64_t features)
{
    driver_start(&t->d, features, features & F_REPORTING ? 5 : 3);
    memset(t->lab.mem + FREE_AT, PATTERN, LAB_RAM_BYTES - FREE_AT);
}

static void balloon_new(Balloon *t, const char *options, uint64_t features)
{
    GError *err = NULL;

    memset(t, 0, sizeof(*t));
    lab_init(&t->lab, /* is_q35= */ false, /* ioeventfds= */ true);
    t->rom = ram_block_new("rom", 1 << 20, &err);
    g_assert_no_error(err);
    memset(ram_block_hva(t->rom), PATTERN, 1 << 20);
    g_assert_cmpint(address_space_map_ram(t->lab.machine.memory, ROM_AT,
                                          t->rom, 0, 1 << 20), ==, 0);
    t->pci = lab_device(&t->lab, "virtio-balloon-pci", options);
    t->b = virtio_balloon_find(&t->lab.machine);
    g_assert_true((void *)t->b == (void *)t->pci);
    driver_init(&t->d, &t->lab, t->pci, /* msix= */ false);
    balloon_start(t, features);
}

static void balloon_free(Balloon *t)
{
    for (unsigned i = 0; i < 1 << 20; i++) {
        g_assert_cmpuint(ram_block_hva(t->rom)[i], ==, PATTERN);
    }
    lab_done(&t->lab);
    ram_block_free(t->rom);
}

/* Pages of [FREE_AT, end of RAM) are zero iff their bit is set. */
static void assert_zero_pages(Balloon *t, const unsigned long *zero)
{
    for (uint64_t pfn = FREE_PFN; pfn < RAM_PFNS; pfn++) {
        const uint8_t *page = t->lab.mem + (pfn << 12);
        uint8_t want = vm_bit_test(zero, pfn) ? 0 : PATTERN;

        for (unsigned i = 0; i < 4096; i += 511) {
            if (page[i] != want) {
                g_error("page 0x%x byte %u is 0x%x", (unsigned)pfn, i,
                        page[i]);
            }
        }
    }
}

/* One chain; it must come back. */
static void give(Balloon *t, unsigned q, const Buf *bufs, unsigned count)
{
    uint16_t head = driver_add(&t->d, q, bufs, count);
    uint32_t id, len;

    driver_kick(&t->d, q);
    g_assert_true(driver_wait_used(&t->d, q, &id, &len));
    g_assert_cmpuint(id, ==, head);
    g_assert_cmpuint(len, ==, 0);
}

static void give_pfns(Balloon *t, unsigned q, const uint32_t *pfns,
                      unsigned count)
{
    const Buf buf = { PFNS_AT, count * 4, false };

    for (unsigned i = 0; i < count; i++) {
        mem_put(&t->lab, PFNS_AT + i * 4, 4, pfns[i]);
    }
    give(t, q, &buf, 1);
}

static bool is_alive(Balloon *t)
{
    const uint32_t pfn = FREE_PFN;

    give_pfns(t, INFLATE, &pfn, 1);
    return t->lab.mem[FREE_AT] == 0;
}

/* ---- Identity and configuration ---------------------------------------- */

static void test_identity(void)
{
    static const struct {
        const char *options;
        uint64_t features;
        unsigned queues;
    } cases[] = {
        { "", F_STATS | F_POISON, 3 },
        { "page-poison=off", F_STATS, 3 },
        { "deflate-on-oom=on,free-page-reporting=on",
          F_STATS | F_OOM | F_POISON | F_REPORTING, 5 },
        { "free-page-hint=off,guest-stats-polling-interval=2",
          F_STATS | F_POISON, 3 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Balloon t;

        balloon_new(&t, cases[i].options, 0);
        g_assert_cmphex(lab_config_read(&t.lab, t.d.devfn, 0, 4), ==,
                        0x10451af4);
        g_assert_cmphex(lab_config_read(&t.lab, t.d.devfn, 8, 4), ==,
                        0x00ff0001);
        g_assert_cmphex(driver_offered(&t.d) & 0xffff, ==,
                        cases[i].features);
        g_assert_cmpuint(driver_common(&t.d, 0x12, 2), ==, cases[i].queues);
        g_assert_cmpuint(virtio_balloon_get_interval_s(t.b), ==,
                         i == 3 ? 2 : 0);
        balloon_free(&t);
    }
}

static void test_properties(void)
{
    static const struct {
        const char *options, *why;
    } bad[] = {
        { "", "Only one balloon" },
        { "free-page-hint=on", "free-page-hint=on is not supported" },
        { "deflate-on-oom=maybe", "deflate-on-oom" },
        { "guest-stats-polling-interval=4294967296", "polling-interval" },
    };
    Balloon t;

    balloon_new(&t, "", 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;

        g_assert_false(lab_try_device(&t.lab, "virtio-balloon-pci",
                                      bad[i].options, &err));
        if (!strstr(err->message, bad[i].why)) {
            g_error("%s: '%s'", bad[i].options, err->message);
        }
        g_error_free(err);
    }
    g_assert_true(virtio_balloon_from_device(&t.pci->dev) == t.b);
    lab_device(&t.lab, "virtio-rng-pci", "");
    g_assert_null(virtio_balloon_from_device(
        g_ptr_array_index(t.lab.machine.devices,
                          t.lab.machine.devices->len - 1)));
    balloon_free(&t);
}

static uint32_t config(Balloon *t, unsigned at)
{
    return lab_read(&t->lab, t->d.bar + 0x2000 + at, 4);
}

static void test_target(void)
{
    Balloon t;

    balloon_new(&t, "", 0);
    g_assert_cmpuint(config(&t, 0), ==, 0);
    virtio_balloon_set_target(t.b, LAB_RAM_BYTES / 4);
    g_assert_cmpuint(config(&t, 0), ==, RAM_PFNS * 3 / 4);
    g_assert_true(t.lab.line[19]);
    g_assert_cmpuint(lab_read(&t.lab, t.d.bar + 0x1000, 1), ==, 2);
    virtio_balloon_set_target(t.b, UINT64_MAX);
    g_assert_cmpuint(config(&t, 0), ==, 0);
    virtio_balloon_set_target(t.b, 1);
    g_assert_cmpuint(config(&t, 0), ==, RAM_PFNS - 1);

    /* The driver's words; what is the device's it cannot write. */
    g_assert_cmpuint(virtio_balloon_actual_bytes(t.b), ==, LAB_RAM_BYTES);
    lab_write(&t.lab, t.d.bar + 0x2004, 5, 4);
    g_assert_cmpuint(t.lab.balloon_changes, ==, 1);
    g_assert_cmpuint(virtio_balloon_actual_bytes(t.b), ==,
                     LAB_RAM_BYTES - 5 * 4096);
    lab_write(&t.lab, t.d.bar + 0x2004, 5, 4);
    g_assert_cmpuint(t.lab.balloon_changes, ==, 1);
    lab_write(&t.lab, t.d.bar + 0x2005, 1, 1); /* in pieces */
    g_assert_cmpuint(config(&t, 4), ==, 0x105);
    lab_write(&t.lab, t.d.bar + 0x2000, 77, 4);
    g_assert_cmpuint(config(&t, 0), ==, RAM_PFNS - 1);
    lab_write(&t.lab, t.d.bar + 0x200c, 0xaaaaaaaa, 4);
    g_assert_cmphex(config(&t, 12), ==, 0xaaaaaaaa);
    lab_write(&t.lab, t.d.bar + 0x2004, UINT32_MAX, 4);
    g_assert_cmpuint(virtio_balloon_actual_bytes(t.b), ==, 0);

    /* A new driver has an empty balloon, and the old wish of the host. */
    driver_reset(&t.d);
    g_assert_cmpuint(t.lab.balloon_changes, ==, 4);
    g_assert_cmpuint(virtio_balloon_actual_bytes(t.b), ==, LAB_RAM_BYTES);
    g_assert_cmpuint(config(&t, 0), ==, RAM_PFNS - 1);
    g_assert_cmpuint(config(&t, 12), ==, 0);
    balloon_free(&t);
}

/* ---- Inflate and deflate ----------------------------------------------- */

static void test_inflate(gconstpointer features)
{
    /* In no order, with neighbours, and one twice. */
    static const uint32_t pfns[] = {
        FREE_PFN + 9, FREE_PFN + 8, FREE_PFN + 100, FREE_PFN + 7,
        RAM_PFNS - 1, FREE_PFN + 100, FREE_PFN + 10, FREE_PFN,
    };
    g_autofree unsigned long *zero = vm_bitmap_new(RAM_PFNS);
    Balloon t;

    balloon_new(&t, "", GPOINTER_TO_SIZE(features));
    for (size_t i = 0; i < G_N_ELEMENTS(pfns); i++) {
        vm_bit_set(zero, pfns[i]);
    }
    give_pfns(&t, INFLATE, pfns, G_N_ELEMENTS(pfns));
    assert_zero_pages(&t, zero);
    g_assert_true(t.lab.line[19]);

    /* The guest uses two again, and says so; nothing happens to them. */
    memset(t.lab.mem + FREE_AT, PATTERN, 4096);
    give_pfns(&t, DEFLATE, &pfns[7], 1);
    vm_bit_clear(zero, FREE_PFN);
    assert_zero_pages(&t, zero);
    balloon_free(&t);
}

/* Many lists at once, in several pieces each, over several turns. */
static void test_inflate_much(void)
{
    g_autofree unsigned long *zero = vm_bitmap_new(RAM_PFNS);
    uint32_t id, len;
    Balloon t;

    balloon_new(&t, "", 0);
    for (unsigned c = 0; c < 20; c++) {
        uint64_t at = PFNS_AT + c * 0x1000;
        const Buf bufs[] = { { at, 401, false }, { at + 401, 399, false } };

        for (unsigned i = 0; i < 200; i++) {
            uint32_t pfn = FREE_PFN + (c + i * 21) % 3000;
            mem_put(&t.lab, at + i * 4, 4, pfn);
            if (pfn < RAM_PFNS) {
                vm_bit_set(zero, pfn);
            }
        }
        driver_add(&t.d, INFLATE, bufs, 2);
    }
    driver_kick(&t.d, INFLATE);
    for (unsigned c = 0; c < 20; c++) {
        g_assert_true(driver_wait_used(&t.d, INFLATE, &id, &len));
    }
    assert_zero_pages(&t, zero);
    balloon_free(&t);
}

static unsigned used_at_discard, discards;
static Balloon *recorded;

static void record_discard(void *opaque, const RamRange *ranges,
                           unsigned count)
{
    g_assert_cmpuint(count, >, 0);
    used_at_discard = ring_used_index(&recorded->d, INFLATE);
    discards++;
}

static int no_pin(void *opaque, RamOffset offset, size_t len)
{
    return 0;
}

static void no_unpin(void *opaque, RamOffset offset, size_t len)
{
}

/* When the guest hears of it, it is done. */
static void test_discard_comes_first(void)
{
    static const RamPagerOps ops = { no_pin, no_unpin, record_discard };
    const uint32_t pfn = FREE_PFN;
    Balloon t;

    balloon_new(&t, "", 0);
    recorded = &t;
    discards = 0;
    ram_block_set_pager(t.lab.ram, &ops, NULL);
    give_pfns(&t, INFLATE, &pfn, 1);
    g_assert_cmpuint(discards, ==, 1);
    g_assert_cmpuint(used_at_discard, ==, 0);
    g_assert_cmpuint(ring_used_index(&t.d, INFLATE), ==, 1);
    ram_block_set_pager(t.lab.ram, NULL, NULL);
    balloon_free(&t);
}

/* ---- Hostile lists ----------------------------------------------------- */

static void test_bad_pfns(void)
{
    static const uint32_t pfns[] = {
        RAM_PFNS,             /* the first beyond RAM */
        RAM_PFNS + 12345,
        UINT32_MAX,           /* wraps, if somebody counts on */
        UINT32_MAX - 1,
        ROM_AT >> 12,         /* RAM for the map, not for the guest */
        (ROM_AT >> 12) + 255,
        LAB_BAR_AT >> 12,     /* the device's own registers */
        RAM_PFNS - 1,         /* good, and a neighbour of the first */
    };
    g_autofree unsigned long *zero = vm_bitmap_new(RAM_PFNS);
    Balloon t;

    balloon_new(&t, "", 0);
    give_pfns(&t, INFLATE, pfns, G_N_ELEMENTS(pfns));
    vm_bit_set(zero, RAM_PFNS - 1);
    assert_zero_pages(&t, zero);
    give_pfns(&t, DEFLATE, pfns, G_N_ELEMENTS(pfns));
    g_assert_true(is_alive(&t));
    balloon_free(&t);
}

/* The ring itself, its descriptors and the list: the guest's own fault, and
 * nobody else's. */
static void test_own_rings(void)
{
    uint32_t pfns[] = { PFNS_AT >> 12, 0, 0, 0 };
    Balloon t;

    balloon_new(&t, "", 0);
    pfns[1] = (uint32_t)(t.d.ring[INFLATE].desc >> 12);
    pfns[2] = (uint32_t)(t.d.ring[INFLATE].avail >> 12);
    pfns[3] = (uint32_t)(t.d.ring[INFLATE].used >> 12);
    for (unsigned i = 0; i < 4; i++) {
        mem_put(&t.lab, PFNS_AT + i * 4, 4, pfns[i]);
    }
    driver_add(&t.d, INFLATE, &(Buf){ PFNS_AT, 16, false }, 1);
    driver_kick(&t.d, INFLATE);
    lab_run_io(&t.lab);
    driver_reset(&t.d);
    balloon_start(&t, 0);
    g_assert_true(is_alive(&t));
    balloon_free(&t);
}

static void test_odd_chains(void)
{
    static const Buf cases[][2] = {
        { { PFNS_AT, 3, false }, { 0, 0, false } },     /* no whole number */
        { { PFNS_AT, 7, false }, { PFNS_AT, 4, true } },
        { { PFNS_AT, 4096, true }, { 0, 0, false } },   /* no list at all */
        { { PFNS_AT, 4, false }, { PFNS_AT, 4096, true } },
    };
    Balloon t;

    balloon_new(&t, "free-page-reporting=on", F_REPORTING);
    memset(t.lab.mem + PFNS_AT, 0xff, 4096);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        unsigned n = cases[i][1].len ? 2 : 1;

        give(&t, INFLATE, cases[i], n);
        give(&t, DEFLATE, cases[i], n);
        g_assert_cmpuint(t.lab.mem[PFNS_AT], ==, 0xff);
        if (!cases[i][0].in && n == 1) {
            give(&t, REPORT, cases[i], n); /* nothing to write into */
        }
    }
    g_assert_true(is_alive(&t));
    balloon_free(&t);
}

/* A list longer than the device cares to read ends early. */
static void test_long_list(void)
{
    Buf bufs[32];
    Balloon t;

    balloon_new(&t, "", 0);
    for (uint64_t i = 0; i < 0x8000; i++) {
        mem_put(&t.lab, PFNS_AT + i * 4, 4, FREE_PFN);
    }
    for (unsigned i = 0; i < 32; i++) {
        bufs[i] = (Buf){ PFNS_AT, 0x8000 * 4, false };
    }
    give(&t, INFLATE, bufs, 32);
    g_assert_cmpuint(t.lab.mem[FREE_AT], ==, 0);
    g_assert_cmpuint(t.lab.mem[FREE_AT + 4096], ==, PATTERN);
    balloon_free(&t);
}

static void test_unreadable_list(void)
{
    static const Buf cases[] = {
        { UINT64_C(1) << 50, 4, false },
        { LAB_RAM_BYTES - 4, 8, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Balloon t;

        balloon_new(&t, "", 0);
        driver_add(&t.d, INFLATE, &cases[i], 1);
        driver_kick(&t.d, INFLATE);
        lab_run_io(&t.lab);
        g_assert_cmphex(driver_status(&t.d), ==, NEEDS_RESET);
        driver_reset(&t.d);
        balloon_start(&t, 0);
        g_assert_true(is_alive(&t));
        balloon_free(&t);
    }
}

/* ---- Free page reporting ------------------------------------------------ */

static void set_pages(unsigned long *map, uint64_t from, uint64_t bytes)
{
    vm_bitmap_set(map, from >> 12, bytes >> 12);
}

static void test_report(void)
{
    static const Buf bufs[] = {
        { FREE_AT, 0x200000, true },
        { FREE_AT + 0x300000, 0x1000, true },
        { FREE_AT + 0x400800, 0x2000, true }, /* one whole page */
        { FREE_AT + 0x500001, 0xfff, true },  /* none */
        { FREE_AT + 0x100000, 0x180000, true }, /* overlaps the first */
    };

    for (unsigned q = REPORT; q <= REPORT_AS_5_5_2; q++) {
        g_autofree unsigned long *zero = vm_bitmap_new(RAM_PFNS);
        Balloon t;

        balloon_new(&t, "free-page-reporting=on", F_REPORTING | F_STATS);
        give(&t, q, bufs, G_N_ELEMENTS(bufs));
        set_pages(zero, FREE_AT, 0x280000);
        set_pages(zero, FREE_AT + 0x300000, 0x1000);
        set_pages(zero, FREE_AT + 0x401000, 0x1000);
        assert_zero_pages(&t, zero);
        balloon_free(&t);
    }
}

static void test_bad_reports(void)
{
    static const Buf bufs[] = {
        { LAB_RAM_BYTES - 0x1000, 0x80000000, true }, /* beyond the end */
        { ROM_AT, 0x100000, true },
        { LAB_BAR_AT, 0x1000, true },
        { UINT64_MAX - 0xfff, 0x1000, true },
        { UINT64_MAX - 0x7ff, 0x40000000, true },
        { UINT64_C(1) << 63, 0x10000000, true },
        { FREE_AT, 0x1000, true },
    };
    g_autofree unsigned long *zero = vm_bitmap_new(RAM_PFNS);
    Balloon t;

    balloon_new(&t, "free-page-reporting=on", F_REPORTING | F_STATS);
    for (size_t i = 0; i < G_N_ELEMENTS(bufs); i++) {
        give(&t, REPORT, &bufs[i], 1);
    }
    set_pages(zero, LAB_RAM_BYTES - 0x1000, 0x1000);
    set_pages(zero, FREE_AT, 0x1000);
    assert_zero_pages(&t, zero);
    g_assert_true(is_alive(&t));
    balloon_free(&t);
}

/* Pages with a pattern that the guest counts on are left alone. */
static void test_poison(void)
{
    static const Buf buf = { FREE_AT, 0x1000, true };
    Balloon t;

    balloon_new(&t, "free-page-reporting=on", F_REPORTING | F_POISON);
    lab_write(&t.lab, t.d.bar + 0x200c, 0xaaaaaaaa, 4);
    give(&t, REPORT, &buf, 1);
    g_assert_cmpuint(t.lab.mem[FREE_AT], ==, PATTERN);
    lab_write(&t.lab, t.d.bar + 0x200c, 0, 4);
    give(&t, REPORT, &buf, 1);
    g_assert_cmpuint(t.lab.mem[FREE_AT], ==, 0);
    balloon_free(&t);
}

/* ---- Statistics --------------------------------------------------------- */

static void put_stat(Balloon *t, unsigned n, uint16_t tag, uint64_t value)
{
    uint8_t *at = t->lab.mem + STATS_AT + n * 10;

    memcpy(at, &tag, 2);
    memcpy(at + 2, &value, 8);
}

static void offer_stats(Balloon *t, uint32_t bytes)
{
    driver_add(&t->d, STATS, &(Buf){ STATS_AT, bytes, false }, 1);
    driver_kick(&t->d, STATS);
    lab_run_io(&t->lab);
}

static void test_stats(gconstpointer features)
{
    VirtioBalloonStats s;
    uint32_t id, len;
    Balloon t;

    balloon_new(&t, "", F_STATS | GPOINTER_TO_SIZE(features));
    virtio_balloon_get_stats(t.b, &s);
    g_assert_cmpint(s.last_update_s, ==, 0);
    g_assert_cmphex(s.value[0], ==, UINT64_MAX);

    put_stat(&t, 0, 4, 1000);
    put_stat(&t, 1, 5, 2000);
    put_stat(&t, 2, 10, 3000); /* of a later version */
    put_stat(&t, 3, 0xffff, 4000);
    offer_stats(&t, 40);
    virtio_balloon_get_stats(t.b, &s);
    g_assert_cmpint(s.last_update_s, >, 0);
    g_assert_cmpuint(s.value[4], ==, 1000);
    g_assert_cmpuint(s.value[5], ==, 2000);
    g_assert_cmphex(s.value[0], ==, UINT64_MAX);
    g_assert_cmpstr(virtio_balloon_stat_name(4), ==, "stat-free-memory");
    g_assert_false(driver_poll_used(&t.d, STATS, &id, &len)); /* kept */

    /* Asked for, the driver gets its buffer back and fills it again. */
    virtio_balloon_set_interval_s(t.b, 100);
    g_assert_true(driver_wait_used(&t.d, STATS, &id, &len));
    put_stat(&t, 0, 4, 900);
    offer_stats(&t, 19); /* half of the second */
    virtio_balloon_get_stats(t.b, &s);
    g_assert_cmpuint(s.value[4], ==, 900);
    g_assert_cmpuint(s.value[5], ==, 2000);
    g_assert_false(driver_poll_used(&t.d, STATS, &id, &len)); /* in 100 s */

    virtio_balloon_set_interval_s(t.b, 0);
    virtio_balloon_set_interval_s(t.b, 1);
    g_assert_true(driver_wait_used(&t.d, STATS, &id, &len));
    offer_stats(&t, 10);
    g_assert_true(driver_wait_used(&t.d, STATS, &id, &len)); /* again */
    g_assert_cmpuint(virtio_balloon_get_interval_s(t.b), ==, 1);
    driver_reset(&t.d);
    virtio_balloon_get_stats(t.b, &s);
    g_assert_cmpint(s.last_update_s, ==, 0);
    balloon_free(&t);
}

static void test_bad_stats(void)
{
    const Buf bad = { UINT64_C(1) << 50, 10, false };
    VirtioBalloonStats s;
    Balloon t;

    balloon_new(&t, "", F_STATS);
    memset(t.lab.mem + STATS_AT, 0, 65536);
    offer_stats(&t, 65536); /* only its beginning counts */
    virtio_balloon_get_stats(t.b, &s);
    g_assert_cmpuint(s.value[0], ==, 0);
    offer_stats(&t, 10); /* a second one at a time is none too many */
    offer_stats(&t, 0);
    g_assert_true(is_alive(&t));
    balloon_free(&t);

    balloon_new(&t, "", F_STATS);
    driver_add(&t.d, STATS, &bad, 1);
    driver_kick(&t.d, STATS);
    lab_run_io(&t.lab);
    g_assert_cmphex(driver_status(&t.d), ==, NEEDS_RESET);
    virtio_balloon_set_interval_s(t.b, 1); /* asks nobody */
    lab_run_io(&t.lab);
    balloon_free(&t);

    /* The ring is spoilt while the device waits for its time. */
    balloon_new(&t, "", F_STATS);
    offer_stats(&t, 10);
    mem_put(&t.lab, t.d.ring[STATS].avail + 2, 2, 40000);
    virtio_balloon_set_interval_s(t.b, 1);
    lab_run_io(&t.lab);
    g_assert_cmphex(driver_status(&t.d), ==, NEEDS_RESET);
    balloon_free(&t);
}

/* ---- Pause and migration ------------------------------------------------ */

/* The copy goes on where the first stopped, statistics buffer and all. */
static void test_migrate(void)
{
    g_autoptr(GByteArray) state = g_byte_array_new();
    const uint32_t pfn = FREE_PFN + 3;
    GError *err = NULL;
    VirtioBalloonStats s;
    Balloon from, to;
    uint32_t id, len;

    balloon_new(&from, "", F_STATS | F_POISON);
    virtio_balloon_set_target(from.b, LAB_RAM_BYTES / 2);
    lab_write(&from.lab, from.d.bar + 0x2004, 9, 4);
    put_stat(&from, 0, 4, 1000);
    offer_stats(&from, 10);
    machine_quiesce(&from.lab.machine);
    /* Nothing moves in a paused machine. */
    virtio_balloon_set_interval_s(from.b, 1);
    lab_run_io(&from.lab);
    g_assert_false(driver_poll_used(&from.d, STATS, &id, &len));
    mem_put(&from.lab, PFNS_AT, 4, pfn);
    driver_add(&from.d, INFLATE, &(Buf){ PFNS_AT, 4, false }, 1);
    driver_kick(&from.d, INFLATE);
    lab_run_io(&from.lab);
    g_assert_cmpuint(from.lab.mem[pfn << 12], ==, PATTERN);
    g_assert_true(vmstate_save(from.pci->dev.vmsd, from.pci, 1 << 20, state,
                               &err));

    balloon_new(&to, "", 0);
    driver_reset(&to.d);
    machine_quiesce(&to.lab.machine);
    g_assert_true(vmstate_load(to.pci->dev.vmsd, to.pci, 1, state->data,
                               state->len, &err));
    memcpy(to.lab.mem, from.lab.mem, LAB_RAM_BYTES);
    to.d = from.d;
    to.d.lab = &to.lab;
    machine_resume(&to.lab.machine);
    g_assert_true(driver_wait_used(&to.d, INFLATE, &id, &len));
    g_assert_cmpuint(to.lab.mem[pfn << 12], ==, 0);
    g_assert_cmpuint(config(&to, 0), ==, RAM_PFNS / 2);
    g_assert_cmpuint(virtio_balloon_actual_bytes(to.b), ==,
                     LAB_RAM_BYTES - 9 * 4096);
    lab_run_io(&to.lab);
    virtio_balloon_get_stats(to.b, &s);
    g_assert_cmpuint(s.value[4], ==, 1000); /* read once more */
    virtio_balloon_set_interval_s(to.b, 100);
    g_assert_true(driver_wait_used(&to.d, STATS, &id, &len));
    balloon_free(&to);
    balloon_free(&from);
}

/* Whatever byte of the state is spoilt: refused, or harmless. */
static void test_hostile_state(void)
{
    g_autoptr(GByteArray) state = g_byte_array_new();
    GError *err = NULL;
    unsigned refused = 0;
    Balloon t;

    balloon_new(&t, "", F_STATS);
    offer_stats(&t, 10);
    machine_quiesce(&t.lab.machine);
    g_assert_true(vmstate_save(t.pci->dev.vmsd, t.pci, 1 << 20, state, &err));
    for (guint i = 0; i < state->len; i++) {
        for (unsigned flip = 1; flip < 256; flip = flip * 4 + 3) {
            g_autoptr(GError) why = NULL;

            state->data[i] ^= flip;
            if (vmstate_load(t.pci->dev.vmsd, t.pci, 1, state->data,
                             state->len, &why)) {
                machine_resume(&t.lab.machine);
                driver_kick(&t.d, STATS);
                for (int n = 0; n < 3; n++) {
                    g_main_context_iteration(t.lab.context, FALSE);
                }
                machine_quiesce(&t.lab.machine);
            } else {
                refused++;
            }
            state->data[i] ^= flip;
        }
    }
    g_assert_cmpuint(refused, >, 0);
    balloon_free(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-balloon/identity", test_identity);
    g_test_add_func("/virtio-balloon/properties", test_properties);
    g_test_add_func("/virtio-balloon/target", test_target);
    g_test_add_data_func("/virtio-balloon/inflate", NULL, test_inflate);
    g_test_add_data_func("/virtio-balloon/inflate-event-index",
                         GSIZE_TO_POINTER(VIRTIO_F_EVENT_IDX), test_inflate);
    g_test_add_func("/virtio-balloon/inflate-much", test_inflate_much);
    g_test_add_func("/virtio-balloon/discard-comes-first",
                    test_discard_comes_first);
    g_test_add_func("/virtio-balloon/bad-pfns", test_bad_pfns);
    g_test_add_func("/virtio-balloon/own-rings", test_own_rings);
    g_test_add_func("/virtio-balloon/odd-chains", test_odd_chains);
    g_test_add_func("/virtio-balloon/long-list", test_long_list);
    g_test_add_func("/virtio-balloon/unreadable-list", test_unreadable_list);
    g_test_add_func("/virtio-balloon/report", test_report);
    g_test_add_func("/virtio-balloon/bad-reports", test_bad_reports);
    g_test_add_func("/virtio-balloon/poison", test_poison);
    g_test_add_data_func("/virtio-balloon/stats", NULL, test_stats);
    g_test_add_data_func("/virtio-balloon/stats-event-index",
                         GSIZE_TO_POINTER(VIRTIO_F_EVENT_IDX), test_stats);
    g_test_add_func("/virtio-balloon/bad-stats", test_bad_stats);
    g_test_add_func("/virtio-balloon/migrate", test_migrate);
    g_test_add_func("/virtio-balloon/hostile-state", test_hostile_state);
    return g_test_run();
}
