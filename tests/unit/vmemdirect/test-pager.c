/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chunk protocol: every transition, the races scripted one by one, errors
 * at each I/O, and seeded random runs with the invariants checked after each
 * step. The world is fake (fake.h), so that a race is a sequence of calls.
 */
#include <errno.h>
#include <string.h>

#include "fake.h"
#include "util/clock.h"

#define ROOMY (FAKE_PAGES * 4)

static void assert_state(Fake *f, ChunkNo c, VmdChunkState want)
{
    g_assert_cmpstr(vmd_chunk_state_to_string(fake_state(f, c)), ==,
                    vmd_chunk_state_to_string(want));
}

/* Chunk c with pages 1..8 of distinct values. */
static void fill_chunk(Fake *f, ChunkNo c, uint8_t base)
{
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        fake_write(f, c * FAKE_CHUNK_PAGES + i, (uint8_t)(base + i));
    }
}

static void assert_chunk(Fake *f, ChunkNo c, uint8_t base)
{
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        g_assert_cmpuint(fake_read(f, c * FAKE_CHUNK_PAGES + i), ==,
                         (uint8_t)(base + i));
    }
}

static void test_zero_fault(void)
{
    Fake *f = fake_new(ROOMY, false);

    g_assert_cmpuint(fake_read(f, 3), ==, 0);
    assert_state(f, 0, VMD_RESIDENT);
    g_assert_cmpuint(f->pager.stats.faults_zero, ==, 1);
    g_assert_cmpuint(fake_requests(f), ==, 0);
    fake_free(f);
}

static void test_zero_pages_are_never_written(void)
{
    Fake *f = fake_new(ROOMY, false);

    (void)fake_read(f, 0);
    fake_standby(f, 0);
    g_assert_true(vmd_chunk_write_back(&f->pager, 0));
    assert_state(f, 0, VMD_ZERO);
    fake_step(f);
    g_assert_cmpuint(fake_requests(f), ==, 0);

    fake_write(f, 9, 0); /* written, but with zeros */
    fake_write(f, 10, 7);
    fake_swap_out(f, 1);
    assert_state(f, 1, VMD_SWAPPED);
    g_assert_false(f->file_written[9]);
    g_assert_true(f->file_written[10]);
    g_assert_cmpuint(fake_read(f, 9), ==, 0);
    g_assert_cmpuint(fake_read(f, 10), ==, 7);
    fake_complete_all(f);
    fake_free(f);
}

static void test_critical_page_comes_first(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 2, 10);
    fake_swap_out(f, 2);
    fake_make_dense(f, 2);
    g_assert_null(fake_touch(f, 2 * 8 + 5, false));
    assert_state(f, 2, VMD_FILLING);
    VmdIoRequest *first = fake_request(f, 0);
    g_assert_cmpuint(first->len, ==, RAM_PAGE_BYTES);
    g_assert_cmpuint(first->offset, ==, (2 * 8 + 5) * RAM_PAGE_BYTES);

    unsigned wakes = f->wakes;
    fake_complete(f, 0, 0);
    g_assert_cmpuint(f->wakes, >, wakes);
    g_assert_nonnull(fake_touch(f, 2 * 8 + 5, false)); /* rest still flies */
    assert_state(f, 2, VMD_FILLING);
    fake_complete_all(f);
    assert_state(f, 2, VMD_RESIDENT);
    assert_chunk(f, 2, 10);
    fake_free(f);
}

static void test_many_faults_one_read(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 2, 10);
    fake_swap_out(f, 2);
    for (int k = 0; k < 3; k++) {
        g_assert_null(fake_touch(f, 2 * 8 + 5, false));
        g_assert_null(fake_touch(f, 2 * 8 + 6, false));
    }
    fake_complete_all(f);
    assert_chunk(f, 2, 10);
    g_assert_cmpuint(f->pager.stats.page_in_bytes, ==,
                     FAKE_CHUNK_PAGES * RAM_PAGE_BYTES);
    fake_free(f);
}

static void test_soft_fault_needs_no_io(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_standby(f, 1);
    assert_chunk(f, 1, 30);
    assert_state(f, 1, VMD_RESIDENT);
    g_assert_cmpuint(f->pager.stats.faults_soft, ==, 1);
    g_assert_cmpuint(fake_requests(f), ==, 0);
    fake_free(f);
}

static void test_clean_chunk_is_dropped(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_swap_out(f, 1);
    assert_chunk(f, 1, 30);
    fake_complete_all(f);
    uint64_t written = f->pager.stats.page_out_bytes;
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_can_drop(&f->pager, 1));
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    assert_state(f, 1, VMD_SWAPPED);
    g_assert_cmpuint(f->pager.stats.page_out_bytes, ==, written);
    assert_chunk(f, 1, 30);
    fake_complete_all(f);
    fake_free(f);
}

static void test_written_page_is_written_again(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_swap_out(f, 1);
    assert_chunk(f, 1, 30);
    fake_complete_all(f);
    fake_write(f, 8 + 3, 99); /* faults on the protection */
    g_assert_cmpuint(f->pager.stats.faults_write_protect, ==, 1);
    uint64_t written = f->pager.stats.page_out_bytes;
    fake_swap_out(f, 1);
    /* Only what is dirty, give or take a bridged gap. */
    g_assert_cmpuint(f->pager.stats.page_out_bytes - written, ==,
                     RAM_PAGE_BYTES);
    g_assert_cmpuint(fake_read(f, 8 + 3), ==, 99);
    g_assert_cmpuint(fake_read(f, 8 + 4), ==, 34);
    fake_complete_all(f);
    fake_free(f);
}

/* A write between MOVE and WRITEPROTECT makes the page dirty. */
static void test_change_during_move_in(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_swap_out(f, 1);
    fake_make_dense(f, 1);
    g_assert_null(fake_touch(f, 8, false));
    fake_complete(f, 0, 0); /* copied, with its protection at once */
    g_assert_true(vmd_page_stored(&f->pager, 8));
    f->change_on_in = true;
    fake_complete(f, 0, 0);
    g_assert_false(vmd_page_stored(&f->pager, 9));
    fake_complete_all(f);
    fake_standby(f, 1);
    g_assert_false(vmd_chunk_can_drop(&f->pager, 1));
    fake_free(f);
}

static void test_touch_while_writing(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    assert_state(f, 1, VMD_WRITING);
    g_assert_cmpuint(fake_requests(f), ==, 1);
    /* The page comes back at once, the write goes on. */
    uint8_t *at = fake_touch(f, 8 + 2, true);
    g_assert_nonnull(at);
    g_assert_cmpuint(at[0], ==, 32);
    memset(at, 77, RAM_PAGE_BYTES);
    fake_complete(f, 0, 0);
    assert_state(f, 1, VMD_RESIDENT);
    g_assert_false(vmd_page_stored(&f->pager, 8 + 2));
    g_assert_true(vmd_page_stored(&f->pager, 8 + 3));
    g_assert_cmpuint(fake_read(f, 8 + 2), ==, 77);
    fake_swap_out(f, 1);
    g_assert_cmpuint(fake_read(f, 8 + 2), ==, 77);
    g_assert_cmpuint(fake_read(f, 8 + 3), ==, 33);
    fake_complete_all(f);
    fake_free(f);
}

static void test_write_error_loses_nothing(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    fake_complete(f, 0, -ENOSPC);
    assert_state(f, 1, VMD_STANDBY);
    g_assert_cmpint(f->began[VMD_TROUBLE_WRITE], ==, 1);
    g_assert_cmpint(f->last_event.error, ==, ENOSPC);
    g_assert_true(f->last_event.stop);
    g_assert_cmpuint(f->pager.stats.write_errors, ==, 1);
    assert_chunk(f, 1, 30);

    fake_swap_out(f, 1); /* there is space again */
    fake_now += 3 * VM_NS_PER_SEC;
    fake_step(f);
    g_assert_cmpint(f->over[VMD_TROUBLE_WRITE], ==, 1);
    assert_chunk(f, 1, 30);
    fake_complete_all(f);
    fake_free(f);
}

/* A clean page that a failed write went over, to save a request, may be
 * anything in the file. */
static void test_write_error_between_dirty_pages(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_swap_out(f, 1);
    assert_chunk(f, 1, 30);
    fake_complete_all(f);
    fake_write(f, 8 + 2, 99);
    f->pager.chunks[1].wp_faults = 0; /* one page loses its protection */
    fake_write(f, 8 + 4, 99);
    g_assert_true(vmd_page_stored(&f->pager, 8 + 3));
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    g_assert_cmpuint(fake_request(f, 0)->len, ==, 3 * RAM_PAGE_BYTES);
    memset(f->file + (8 + 3) * RAM_PAGE_BYTES, 0xee, RAM_PAGE_BYTES);
    fake_complete(f, 0, -EIO);
    assert_state(f, 1, VMD_STANDBY);
    /* What was dirty goes, so that the rest might be dropped as clean. */
    vmd_pager_discard(&f->pager, 8 + 2, 1);
    vmd_pager_discard(&f->pager, 8 + 4, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_complete_all(f);
    g_assert_cmpuint(fake_read(f, 8 + 3), ==, 33);
    fake_complete_all(f);
    fake_free(f);
}

static void test_write_error_while_touched(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    g_assert_nonnull(fake_touch(f, 8, false));
    fake_complete(f, 0, -EIO);
    assert_state(f, 1, VMD_RESIDENT);
    for (uint32_t i = 0; i < 8; i++) {
        g_assert_false(vmd_page_stored(&f->pager, 8 + i));
    }
    assert_chunk(f, 1, 30);
    fake_free(f);
}

static void test_read_error_stops_never_lies(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_swap_out(f, 1);
    g_assert_null(fake_touch(f, 8, false));
    for (unsigned k = 0; k < VMD_READ_TRIES; k++) {
        /* The critical read is the one of one page at the chunk's start. */
        for (unsigned i = 0; i < fake_requests(f); i++) {
            if (fake_request(f, i)->offset == 8 * RAM_PAGE_BYTES &&
                fake_request(f, i)->len == RAM_PAGE_BYTES) {
                fake_complete(f, i, -EIO);
                break;
            }
        }
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 1);
    while (fake_requests(f) > 0) {
        fake_complete(f, 0, -EIO);
    }
    assert_state(f, 1, VMD_FAILED);
    g_assert_null(fake_touch(f, 8, false)); /* nothing in place of data */

    vmd_pager_retry(&f->pager); /* the device is repaired */
    assert_chunk(f, 1, 30);
    fake_complete_all(f);
    fake_free(f);
}

/* A page goes away behind the pager's back: an end, not a loop. */
static void test_vanished_page_stops(void)
{
    Fake *f = fake_new(ROOMY, false);

    fake_write(f, 9, 1);
    for (unsigned k = 0; k < 100; k++) { /* vCPUs that came late */
        vmd_pager_fault(&f->pager, 9, VM_FAULT_READ);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_ENGINE], ==, 0);
    f->guest_present[9] = false;
    for (unsigned k = 0; k <= VMD_GHOST_FAULTS; k++) {
        vmd_pager_fault(&f->pager, 9, VM_FAULT_READ);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_ENGINE], ==, 1);
    fake_free(f);
}

static void test_failed_fill_is_no_harm(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    fake_swap_out(f, 1);
    g_assert_null(fake_touch(f, 8, false));
    fake_complete(f, 0, 0);
    while (fake_requests(f) > 0) {
        fake_complete(f, 0, -EIO);
    }
    assert_state(f, 1, VMD_RESIDENT); /* partly present */
    assert_chunk(f, 1, 30);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    fake_complete_all(f);
    fake_free(f);
}

static void test_pinned_stays(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    atomic_store(&f->pager.pins[1], 1);
    g_assert_cmpint(vmd_chunk_move_out(&f->pager, 1), ==, -EBUSY);
    assert_state(f, 1, VMD_RESIDENT);
    g_assert_cmpint(atomic_load(&f->pager.leaving[1]), ==, 0);
    atomic_store(&f->pager.pins[1], 0);
    fake_standby(f, 1);
    fake_free(f);
}

/* The kernel holds a page in the middle: all or nothing. */
static void test_busy_page_stays(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 1, 30);
    f->busy_page = 8 + 4;
    g_assert_cmpint(vmd_chunk_move_out(&f->pager, 1), ==, -EBUSY);
    assert_state(f, 1, VMD_RESIDENT);
    fake_step(f);
    assert_chunk(f, 1, 30);
    g_assert_cmpuint(f->pager.stats.faults_soft, ==, 0);
    fake_free(f);
}

static int pin_result;
static unsigned pins_done;

static void pin_done(VmdPinWaiter *w, int result)
{
    pin_result = result;
    pins_done++;
}

static void test_pin_brings_pages_in(void)
{
    Fake *f = fake_new(ROOMY, false);
    VmdPinWaiter w = { .first = 6, .count = 12, .done = pin_done };

    pins_done = 0;
    fill_chunk(f, 1, 30);
    fake_swap_out(f, 1);
    vmd_pager_add_pin_waiter(&f->pager, &w);
    fake_step(f);
    g_assert_cmpuint(pins_done, ==, 0);
    fake_complete_all(f);
    fake_step(f);
    g_assert_cmpuint(pins_done, ==, 1);
    g_assert_cmpint(pin_result, ==, 0);
    for (PageNo page = 6; page < 18; page++) {
        g_assert_true(f->guest_present[page]);
    }
    fake_complete_all(f);
    fake_free(f);
}

static void test_budget_is_hard(void)
{
    const uint64_t budget = 10 * FAKE_CHUNK_PAGES;
    Fake *f = fake_new(budget, false);

    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        fake_write(f, page, (uint8_t)(page + 1));
        g_assert_cmpint(vmd_free_pages(&f->pager), >=, 0);
    }
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(f, page), ==, (uint8_t)(page + 1));
        g_assert_cmpint(vmd_free_pages(&f->pager), >=, 0);
    }
    fake_complete_all(f);
    fake_free(f);
}

/* --- export and import --------------------------------------------------- */

static unsigned exports_done, imports_done;

static void export_done(RamExport *e)
{
    exports_done++;
}

static void import_done(RamImport *im)
{
    imports_done++;
}

static void check_export(Fake *f, ChunkNo c, uint8_t base)
{
    g_autofree uint8_t *buf = g_malloc(FAKE_CHUNK_PAGES * RAM_PAGE_BYTES);
    RamExport e = { .chunk = c, .buf = buf, .done = export_done };
    VmdChunkState before = fake_state(f, c);

    exports_done = 0;
    memset(e.want, 0xff, sizeof(e.want));
    vmd_carry_export(&f->pager, &e);
    fake_step(f);
    while (exports_done == 0) {
        fake_complete(f, fake_requests(f) - 1, 0);
    }
    g_assert_cmpint(e.result, ==, 0);
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        PageNo page = c * FAKE_CHUNK_PAGES + i;
        const uint8_t *at = vm_bit_test(e.in_buf, i)
                                ? buf + i * RAM_PAGE_BYTES
                                : f->guest + page * RAM_PAGE_BYTES;
        if (base == 0) {
            g_assert_true(vm_bit_test(e.zero, i));
        } else {
            g_assert_false(vm_bit_test(e.zero, i));
            g_assert_cmpuint(at[0], ==, base + i);
        }
    }
    g_assert_cmpint(e.pinned, ==, atomic_load(&f->pager.pins[c]) > 0);
    atomic_store(&f->pager.pins[c], 0);
    g_assert_cmpint(fake_state(f, c), ==, before);
}

/* Few exports are read while somebody waits for a page. */
static void test_exports_beside_a_fault(void)
{
    enum { EXPORTS = 5 };
    Fake *f = fake_new(ROOMY, false);
    uint8_t *buf = g_malloc((size_t)EXPORTS * FAKE_CHUNK_PAGES *
                            RAM_PAGE_BYTES);
    RamExport e[EXPORTS] = { 0 };

    for (ChunkNo c = 1; c < 3 + EXPORTS; c++) {
        fill_chunk(f, c, (uint8_t)(c * 20));
        fake_swap_out(f, c);
    }
    f->pager.fault_number += 100;
    g_assert_null(fake_touch(f, 1 * 8, false));
    g_assert_cmpuint(fake_requests(f), ==, 1);
    exports_done = 0;
    for (unsigned k = 0; k < EXPORTS; k++) {
        e[k] = (RamExport){ .chunk = 2 + k, .done = export_done,
                            .buf = buf + (size_t)k * FAKE_CHUNK_PAGES *
                                         RAM_PAGE_BYTES };
        memset(e[k].want, 0xff, sizeof(e[k].want));
        vmd_carry_export(&f->pager, &e[k]);
    }
    fake_step(f);
    g_assert_cmpuint(fake_requests(f), ==, 1 + 2);
    fake_complete(f, 1, 0);
    g_assert_cmpuint(fake_requests(f), ==, 1 + 2);
    fake_complete(f, 0, 0); /* nobody waits any more */
    fake_step(f);
    g_assert_cmpuint(fake_requests(f), ==, EXPORTS - 1);
    fake_complete_all(f);
    g_assert_cmpuint(exports_done, ==, EXPORTS);
    for (unsigned k = 0; k < EXPORTS; k++) {
        atomic_store(&f->pager.pins[2 + k], 0);
    }
    g_free(buf);
    fake_free(f);
}

static void test_export_moves_nothing(void)
{
    Fake *f = fake_new(ROOMY, false);

    for (ChunkNo c = 1; c < 5; c++) {
        fill_chunk(f, c, (uint8_t)(c * 20));
    }
    fake_standby(f, 2);
    fake_swap_out(f, 3);
    fake_standby(f, 4);
    g_assert_true(vmd_chunk_write_back(&f->pager, 4));
    fake_step(f);
    assert_state(f, 4, VMD_WRITING);
    uint64_t in = f->pager.stats.page_in_bytes;
    check_export(f, 0, 0);
    check_export(f, 1, 20);
    check_export(f, 2, 40);
    check_export(f, 3, 60);
    check_export(f, 4, 80);
    g_assert_cmpuint(f->pager.stats.page_in_bytes, ==, in);
    fake_complete_all(f);
    fake_free(f);
}

static int try_import(Fake *f, ChunkNo c, RamPlace place, uint8_t base,
                      unsigned long pages, unsigned long zero)
{
    RamImport im = { .chunk = c, .place = place, .pages = { pages },
                     .zero = { zero }, .done = import_done };

    imports_done = 0;
    f->lent = 0;
    vmd_carry_import_begin(&f->pager, &im);
    g_assert_cmpuint(f->lent, ==, 1);
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        if (vm_bit_test(im.pages, i)) {
            uint8_t *at = (uint8_t *)im.buf + i * RAM_PAGE_BYTES;
            memset(at, base + (int)i, RAM_PAGE_BYTES);
            f->frame_present[(size_t)(at - f->frames) / RAM_PAGE_BYTES] =
                true;
        }
    }
    vmd_carry_import_commit(&f->pager, &im);
    fake_step(f);
    while (imports_done == 0) {
        fake_complete(f, 0, 0);
    }
    return im.result;
}

static void import(Fake *f, ChunkNo c, RamPlace place, uint8_t base,
                   unsigned long pages, unsigned long zero)
{
    g_assert_cmpint(try_import(f, c, place, base, pages, zero), ==, 0);
}

/* A part of a chunk that cannot be read does not join it; all of it does. */
static void test_import_into_failed(void)
{
    Fake *f = fake_new(ROOMY, false);

    fill_chunk(f, 2, 30);
    fake_swap_out(f, 2);
    f->pager.fault_number += 100;
    g_assert_null(fake_touch(f, 2 * 8 + 1, false));
    for (unsigned k = 0; k < VMD_READ_TRIES; k++) {
        fake_complete(f, 0, -EIO);
    }
    assert_state(f, 2, VMD_FAILED);
    g_assert_cmpint(try_import(f, 2, RAM_PLACE_SWAP, 40, 0x0c, 0), ==, -EIO);
    assert_state(f, 2, VMD_FAILED);
    import(f, 2, RAM_PLACE_SWAP, 40, 0xff, 0);
    assert_state(f, 2, VMD_SWAPPED);
    g_assert_cmpuint(fake_read(f, 2 * 8 + 1), ==, 41);
    fake_complete_all(f);
    fake_free(f);
}

/* What was placed in RAM leaves for the file; its bytes do not change. */
static void test_to_swap(void)
{
    Fake *f = fake_new(ROOMY, false);

    import(f, 1, RAM_PLACE_RAM, 20, 0xff, 0);
    vmd_carry_to_swap(&f->pager, 1);
    fake_step(f);
    assert_state(f, 1, VMD_WRITING);
    vmd_carry_to_swap(&f->pager, 1); /* once is enough */
    fake_complete_all(f);
    assert_state(f, 1, VMD_SWAPPED);
    g_assert_cmpuint(f->pager.stats.page_out_bytes, ==, 0);
    g_assert_cmpuint(f->pager.stats.import_swap_bytes, ==, 8 * RAM_PAGE_BYTES);
    vmd_carry_to_swap(&f->pager, 1);
    vmd_carry_to_swap(&f->pager, 3); /* nothing is there */
    assert_state(f, 1, VMD_SWAPPED);
    assert_state(f, 3, VMD_ZERO);
    /* And it comes back to RAM as a whole. */
    import(f, 1, RAM_PLACE_RAM, 60, 0xff, 0);
    assert_state(f, 1, VMD_RESIDENT);
    g_assert_cmpuint(fake_read(f, 8 + 3), ==, 63);
    fake_complete_all(f);
    fake_free(f);
}

/* No room, but for what is on its way to the file: the import waits. */
static void test_import_waits_for_room(void)
{
    Fake *f = fake_new(12 * FAKE_CHUNK_PAGES, false);
    ChunkNo c = 1;

    for (;; c++) {
        g_assert_cmpuint(c, <, FAKE_CHUNKS - 3);
        import(f, c, RAM_PLACE_RAM, 20, 0xff, 0);
        if (fake_state(f, c) == VMD_SWAPPED) {
            break;
        }
    }
    g_assert_cmpuint(c, >, 3);
    vmd_carry_to_swap(&f->pager, 1);
    fake_step(f);
    assert_state(f, 1, VMD_WRITING);
    import(f, c + 1, RAM_PLACE_RAM, 60, 0xff, 0);
    assert_state(f, 1, VMD_SWAPPED);
    assert_state(f, c + 1, VMD_RESIDENT);
    g_assert_cmpuint(fake_read(f, (c + 1) * 8 + 1), ==, 61);
    fake_complete_all(f);
    fake_free(f);
}

static void test_to_swap_that_fails(void)
{
    Fake *f = fake_new(ROOMY, false);

    import(f, 1, RAM_PLACE_RAM, 20, 0xff, 0);
    atomic_store(&f->pager.pins[1], 1);
    vmd_carry_to_swap(&f->pager, 1);
    assert_state(f, 1, VMD_RESIDENT);
    atomic_store(&f->pager.pins[1], 0);
    vmd_carry_to_swap(&f->pager, 1);
    fake_step(f);
    fake_complete(f, 0, -ENOSPC);
    assert_state(f, 1, VMD_STANDBY);
    g_assert_cmpuint(fake_read(f, 8 + 5), ==, 25);
    fake_complete_all(f);
    fake_free(f);
}

static void test_import_goes_to_its_place(void)
{
    Fake *f = fake_new(ROOMY, false);

    import(f, 1, RAM_PLACE_RAM, 20, 0xff, 0);
    assert_state(f, 1, VMD_RESIDENT);
    g_assert_cmpuint(fake_requests(f), ==, 0);
    import(f, 2, RAM_PLACE_SWAP, 40, 0xff, 0);
    assert_state(f, 2, VMD_SWAPPED);
    /* Dirty pages, where the chunk lies. */
    import(f, 1, RAM_PLACE_SWAP, 120, 0x0c, 0x10);
    assert_state(f, 1, VMD_RESIDENT);
    import(f, 2, RAM_PLACE_SWAP, 140, 0x0c, 0x10);
    assert_state(f, 2, VMD_SWAPPED);
    g_assert_cmpuint(f->pager.stats.page_in_ops, ==, 0);
    g_assert_cmpuint(f->pager.stats.page_out_ops, ==, 0);
    for (ChunkNo c = 1; c <= 2; c++) {
        uint8_t base = (uint8_t)(c * 20);
        g_assert_cmpuint(fake_read(f, c * 8 + 0), ==, base);
        g_assert_cmpuint(fake_read(f, c * 8 + 2), ==, base + 102);
        g_assert_cmpuint(fake_read(f, c * 8 + 3), ==, base + 103);
        g_assert_cmpuint(fake_read(f, c * 8 + 4), ==, 0);
        g_assert_cmpuint(fake_read(f, c * 8 + 5), ==, base + 5);
    }
    fake_complete_all(f);
    g_assert_cmpint(vmd_carry_import_zero(&f->pager, 1, NULL), ==, 0);
    assert_state(f, 1, VMD_ZERO);
    g_assert_cmpuint(fake_read(f, 8), ==, 0);
    fake_free(f);
}

/* Protected pages cannot be written over by who would serve the fault. */
static void test_import_over_protected(void)
{
    Fake *f = fake_new(ROOMY, false);

    import(f, 1, RAM_PLACE_SWAP, 20, 0xff, 0);
    g_assert_cmpuint(fake_read(f, 8 + 2), ==, 22);
    fake_complete_all(f);
    g_assert_true(f->guest_protected[8 + 2]);
    import(f, 1, RAM_PLACE_RAM, 120, 0x0c, 0);
    g_assert_false(f->guest_protected[8 + 2]);
    g_assert_cmpuint(fake_read(f, 8 + 2), ==, 122);
    g_assert_cmpuint(fake_read(f, 8 + 3), ==, 123);
    g_assert_cmpuint(fake_read(f, 8 + 5), ==, 25);
    fake_complete_all(f);
    fake_free(f);
}

static void test_import_history(void)
{
    Fake *f = fake_new(ROOMY, false);
    uint8_t history[FAKE_CHUNK_PAGES] = { 0, 3, 0x81, 7 };
    RamImport im = { .chunk = 2, .place = RAM_PLACE_RAM, .pages = { 1 },
                     .history = history, .done = import_done };

    vmd_carry_import_begin(&f->pager, &im);
    memset(im.buf, 5, RAM_PAGE_BYTES);
    f->frame_present[(size_t)((uint8_t *)im.buf - f->frames) /
                     RAM_PAGE_BYTES] = true;
    vmd_carry_import_commit(&f->pager, &im);
    fake_step(f);
    g_assert_cmpuint(f->pager.chunks[2].key, ==, 0x81);
    g_assert_cmpmem(f->pager.history + 16, 8, history, 8);
    fake_free(f);
}

/* --- random -------------------------------------------------------------- */

static void random_run(GRand *rng, unsigned steps, bool huge)
{
    Fake *f = huge ? fake_new_huge(ROOMY, true) : fake_new(ROOMY, true);
    uint8_t shadow[FAKE_PAGES] = { 0 };

    for (unsigned k = 0; k < steps; k++) {
        PageNo page = (PageNo)g_rand_int_range(rng, 0, FAKE_PAGES);
        ChunkNo c = (ChunkNo)(page / FAKE_CHUNK_PAGES);
        switch (g_rand_int_range(rng, 0, 16)) {
        case 0: {
            uint8_t *at = fake_touch(f, page, true);
            if (at) {
                shadow[page] = (uint8_t)g_rand_int_range(rng, 0, 5);
                memset(at, shadow[page], RAM_PAGE_BYTES);
            }
            break;
        }
        case 1: {
            const uint8_t *at = fake_touch(f, page, false);
            g_assert_true(!at || (at[0] == shadow[page] &&
                                  at[RAM_PAGE_BYTES - 1] == shadow[page]));
            break;
        }
        case 2:
            if (fake_state(f, c) == VMD_RESIDENT) {
                (void)vmd_chunk_move_out(&f->pager, c);
            }
            break;
        case 3:
            if (fake_state(f, c) == VMD_STANDBY) {
                (void)vmd_chunk_write_back(&f->pager, c);
            }
            break;
        case 4:
            vmd_budget_set(&f->pager,
                           (uint64_t)g_rand_int_range(rng, 8, 40) *
                               FAKE_CHUNK_PAGES);
            break;
        case 5:
            fake_now += g_rand_int_range(rng, 0, 200) * 1000000;
            break;
        case 6:
            f->busy_page = g_rand_boolean(rng) ? page : UINT64_MAX;
            break;
        case 7: {
            uint64_t n = (uint64_t)g_rand_int_range(rng, 1, 20);
            n = MIN(n, FAKE_PAGES - page);
            vmd_pager_discard(&f->pager, page, n);
            memset(shadow + page, 0, n);
            break;
        }
        case 13:
        case 14:
            if (fake_state(f, c) == VMD_SWAPPED) {
                (void)vmd_chunk_read_ahead(&f->pager, c);
            }
            break;
        case 15:
            f->no_huge = g_rand_boolean(rng);
            f->huge_pages = (unsigned)g_rand_int_range(
                rng, FAKE_CHUNK_PAGES / 2, FAKE_CHUNK_PAGES + 1);
            break;
        case 8:
            if (fake_requests(f) > 0) {
                /* Reads fail seldom: three in a row stop the VM. */
                unsigned i = (unsigned)g_rand_int_range(
                    rng, 0, (gint32)fake_requests(f));
                bool fail = fake_request(f, i)->op != VMD_IO_READ &&
                            g_rand_int_range(rng, 0, 4) == 0;
                fake_complete(f, i, fail ? -EIO : 0);
            }
            break;
        default:
            if (fake_requests(f) > 0) {
                fake_complete(f, (unsigned)g_rand_int_range(
                                     rng, 0, (gint32)fake_requests(f)), 0);
            } else {
                fake_step(f);
            }
            break;
        }
        vmd_pager_check(&f->pager);
    }
    f->busy_page = UINT64_MAX;
    vmd_budget_set(&f->pager, ROOMY);
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(f, page), ==, shadow[page]);
    }
    fake_complete_all(f);
    fake_free(f);
}

static void test_random(void)
{
    const char *given = g_getenv("VMD_SEED");
    guint32 seed = given ? (guint32)g_ascii_strtoull(given, NULL, 10) : 1;

    for (guint32 k = 0; k < 20; k++) {
        GRand *rng = g_rand_new_with_seed(seed + k);
        g_test_message("seed %u", seed + k);
        random_run(rng, 600, /* huge= */ k % 2);
        g_rand_free(rng);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pager/zero-fault", test_zero_fault);
    g_test_add_func("/pager/zero-pages-are-never-written",
                    test_zero_pages_are_never_written);
    g_test_add_func("/pager/critical-page-comes-first",
                    test_critical_page_comes_first);
    g_test_add_func("/pager/many-faults-one-read", test_many_faults_one_read);
    g_test_add_func("/pager/soft-fault-needs-no-io",
                    test_soft_fault_needs_no_io);
    g_test_add_func("/pager/clean-chunk-is-dropped",
                    test_clean_chunk_is_dropped);
    g_test_add_func("/pager/written-page-is-written-again",
                    test_written_page_is_written_again);
    g_test_add_func("/pager/change-during-move-in",
                    test_change_during_move_in);
    g_test_add_func("/pager/touch-while-writing", test_touch_while_writing);
    g_test_add_func("/pager/write-error-loses-nothing",
                    test_write_error_loses_nothing);
    g_test_add_func("/pager/write-error-while-touched",
                    test_write_error_while_touched);
    g_test_add_func("/pager/write-error-between-dirty-pages",
                    test_write_error_between_dirty_pages);
    g_test_add_func("/pager/read-error-stops-never-lies",
                    test_read_error_stops_never_lies);
    g_test_add_func("/pager/vanished-page-stops", test_vanished_page_stops);
    g_test_add_func("/pager/failed-fill-is-no-harm",
                    test_failed_fill_is_no_harm);
    g_test_add_func("/pager/pinned-stays", test_pinned_stays);
    g_test_add_func("/pager/busy-page-stays", test_busy_page_stays);
    g_test_add_func("/pager/pin-brings-pages-in", test_pin_brings_pages_in);
    g_test_add_func("/pager/budget-is-hard", test_budget_is_hard);
    g_test_add_func("/carry/export-moves-nothing", test_export_moves_nothing);
    g_test_add_func("/carry/exports-beside-a-fault",
                    test_exports_beside_a_fault);
    g_test_add_func("/carry/import-goes-to-its-place",
                    test_import_goes_to_its_place);
    g_test_add_func("/carry/to-swap", test_to_swap);
    g_test_add_func("/carry/import-over-protected",
                    test_import_over_protected);
    g_test_add_func("/carry/import-waits-for-room",
                    test_import_waits_for_room);
    g_test_add_func("/carry/to-swap-fails", test_to_swap_that_fails);
    g_test_add_func("/carry/import-into-failed", test_import_into_failed);
    g_test_add_func("/carry/import-history", test_import_history);
    g_test_add_func("/pager/random", test_random);
    return g_test_run();
}
