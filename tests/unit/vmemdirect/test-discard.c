/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discard: pages that the guest gives up read as zero from then on, whatever
 * their chunk is doing at that moment, and memory and file blocks are given
 * back. One test for each state of the chunk and each race with I/O in
 * flight, on the fake world of fake.h; test-pager.c mixes discards into its
 * random runs.
 */
#include <errno.h>
#include <string.h>

#include "fake.h"

#define ROOMY (FAKE_PAGES * 4)
#define C 1u /* the chunk that the tests work on, and its first page */
#define PAGE (C * FAKE_CHUNK_PAGES)

static void assert_state(Fake *f, ChunkNo c, VmdChunkState want)
{
    g_assert_cmpstr(vmd_chunk_state_to_string(fake_state(f, c)), ==,
                    vmd_chunk_state_to_string(want));
}

/* A world whose chunk C has the values 30, 31 ... */
static Fake *new_filled(void)
{
    Fake *f = fake_new(ROOMY, false);

    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        fake_write(f, PAGE + i, (uint8_t)(30 + i));
    }
    return f;
}

static void discard(Fake *f, uint32_t i, uint32_t n)
{
    vmd_pager_discard(&f->pager, PAGE + i, n);
    vmd_pager_check(&f->pager);
    fake_step(f);
}

/* All pages are as written, but [i, i + n), which are zero. */
static void assert_holes(Fake *f, uint32_t i, uint32_t n)
{
    for (uint32_t k = 0; k < FAKE_CHUNK_PAGES; k++) {
        bool hole = k >= i && k < i + n;
        g_assert_cmpuint(fake_read(f, PAGE + k), ==, hole ? 0 : 30 + k);
    }
    fake_complete_all(f);
}

static void one_interval(Fake *f)
{
    for (unsigned s = 0; s <= VMD_AGING_SLICES; s++) {
        fake_now += 1000000000 / VMD_AGING_SLICES;
        fake_step(f);
        fake_complete_all(f);
    }
}

static void start_write(Fake *f)
{
    fake_standby(f, C);
    g_assert_true(vmd_chunk_write_back(&f->pager, C));
    fake_step(f);
    assert_state(f, C, VMD_WRITING);
    g_assert_cmpuint(fake_requests(f), ==, 1);
}

/* Page i is faulted on: its read is request 0, the rest's comes after it. */
static void start_fill(Fake *f, uint32_t i)
{
    fake_swap_out(f, C);
    g_assert_null(fake_touch(f, PAGE + i, false));
    assert_state(f, C, VMD_FILLING);
    g_assert_cmpuint(fake_request(f, 0)->offset, ==,
                     (PAGE + i) * RAM_PAGE_BYTES);
    g_assert_cmpuint(fake_requests(f), >, 1);
}

/* --- quiet chunks -------------------------------------------------------- */

static void test_never_written(void)
{
    Fake *f = fake_new(ROOMY, false);

    vmd_pager_discard(&f->pager, 0, FAKE_PAGES);
    fake_step(f);
    assert_state(f, 0, VMD_ZERO);
    g_assert_cmpuint(fake_requests(f), ==, 0);
    fake_free(f);
}

static void test_resident(void)
{
    Fake *f = new_filled();
    int64_t room = vmd_free_pages(&f->pager);

    discard(f, 2, 3);
    assert_state(f, C, VMD_RESIDENT);
    g_assert_cmpint(vmd_free_pages(&f->pager), ==, room + 3);
    assert_holes(f, 2, 3);
    discard(f, 0, FAKE_CHUNK_PAGES);
    assert_state(f, C, VMD_ZERO);
    g_assert_cmpuint(f->pager.guest_pages, ==, 0);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

/* A page that also lies in the file must not come back from there. */
static void test_clean(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    assert_holes(f, 0, 0);
    g_assert_true(vmd_page_stored(&f->pager, PAGE + 4));
    discard(f, 4, 1);
    g_assert_false(vmd_page_stored(&f->pager, PAGE + 4));
    assert_holes(f, 4, 1);
    fake_swap_out(f, C);
    assert_holes(f, 4, 1);
    fake_free(f);
}

static void test_standby(void)
{
    Fake *f = new_filled();

    fake_standby(f, C);
    int64_t room = vmd_free_pages(&f->pager);
    discard(f, 0, 2);
    assert_state(f, C, VMD_STANDBY);
    g_assert_cmpint(vmd_free_pages(&f->pager), ==, room + 2);
    assert_holes(f, 0, 2);
    fake_standby(f, C);
    discard(f, 0, FAKE_CHUNK_PAGES);
    assert_state(f, C, VMD_ZERO);
    g_assert_cmpuint(f->pager.frames.populated_pages, ==, 0);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

/* Some pages in the frame, others in the file, each discarded or not. */
static void test_standby_partly_stored(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    g_assert_null(fake_touch(f, PAGE + 1, true));
    fake_complete(f, 0, 0);
    while (fake_requests(f) > 0) {
        fake_complete(f, 0, -EIO); /* the rest stays in the file only */
    }
    fake_standby(f, C);
    discard(f, 0, 3);
    assert_state(f, C, VMD_SWAPPED); /* nothing is left in the frame */
    assert_holes(f, 0, 3);
    fake_free(f);
}

static void test_swapped(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    discard(f, 6, 2);
    assert_state(f, C, VMD_SWAPPED);
    assert_holes(f, 6, 2);
    fake_swap_out(f, C);
    discard(f, 0, FAKE_CHUNK_PAGES);
    assert_state(f, C, VMD_ZERO);
    g_assert_nonnull(fake_touch(f, PAGE, false)); /* without a read */
    g_assert_cmpuint(fake_requests(f), ==, 0);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

static void test_across_chunks(void)
{
    Fake *f = fake_new(ROOMY, false);
    PageNo end = FAKE_PAGES - 2;

    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        fake_write(f, page, (uint8_t)(page + 1));
    }
    for (ChunkNo c = 0; c < FAKE_CHUNKS; c += 3) {
        fake_standby(f, c);
    }
    for (ChunkNo c = 1; c < FAKE_CHUNKS; c += 3) {
        fake_swap_out(f, c);
    }
    vmd_pager_discard(&f->pager, 3, end - 3);
    fake_step(f);
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(f, page), ==,
                         page >= 3 && page < end ? 0 : (uint8_t)(page + 1));
    }
    fake_complete_all(f);
    fake_free(f);
}

/* --- write in flight ----------------------------------------------------- */

static void test_writing(void)
{
    Fake *f = new_filled();

    start_write(f);
    discard(f, 3, 2);
    fake_complete(f, 0, 0);
    assert_state(f, C, VMD_SWAPPED);
    g_assert_false(vmd_page_stored(&f->pager, PAGE + 3));
    g_assert_true(vmd_page_stored(&f->pager, PAGE + 5));
    assert_holes(f, 3, 2);
    fake_free(f);
}

static void test_writing_all(void)
{
    Fake *f = new_filled();

    start_write(f);
    discard(f, 0, FAKE_CHUNK_PAGES);
    fake_complete(f, 0, 0);
    assert_state(f, C, VMD_ZERO);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

/* Used again at once, while the old content is still being written. */
static void test_writing_then_touched(void)
{
    Fake *f = new_filled();

    start_write(f);
    discard(f, 3, 1);
    uint8_t *at = fake_touch(f, PAGE + 3, true);
    g_assert_nonnull(at);
    g_assert_cmpuint(at[0], ==, 0);
    memset(at, 33, RAM_PAGE_BYTES);
    fake_complete(f, 0, 0);
    assert_state(f, C, VMD_RESIDENT);
    g_assert_false(vmd_page_stored(&f->pager, PAGE + 3));
    assert_holes(f, 0, 0);
    fake_swap_out(f, C);
    assert_holes(f, 0, 0);
    fake_free(f);
}

/* The page had been copied back into the guest before. */
static void test_writing_copied_back(void)
{
    Fake *f = new_filled();

    start_write(f);
    g_assert_nonnull(fake_touch(f, PAGE + 3, true));
    discard(f, 3, 1);
    g_assert_false(f->guest_present[PAGE + 3]);
    fake_complete(f, 0, 0);
    assert_state(f, C, VMD_RESIDENT);
    assert_holes(f, 3, 1);
    fake_free(f);
}

static void test_writing_fails(void)
{
    Fake *f = new_filled();

    start_write(f);
    discard(f, 0, 4);
    fake_complete(f, 0, -ENOSPC);
    assert_state(f, C, VMD_STANDBY);
    assert_holes(f, 0, 4);

    start_write(f);
    discard(f, 4, 4);
    fake_complete(f, 0, -ENOSPC);
    assert_state(f, C, VMD_ZERO); /* nothing to keep: no frame held */
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

/* --- read in flight ------------------------------------------------------ */

/* Who sleeps on the page is let go and finds zeros; the read comes to
 * nothing, even if the page has been written meanwhile. */
static void test_filling_critical(void)
{
    Fake *f = new_filled();

    start_fill(f, 5);
    unsigned wakes = f->wakes;
    discard(f, 5, 1);
    g_assert_cmpuint(f->wakes, >, wakes);
    uint8_t *at = fake_touch(f, PAGE + 5, true);
    g_assert_nonnull(at);
    g_assert_cmpuint(at[0], ==, 0);
    memset(at, 99, RAM_PAGE_BYTES);
    fake_complete_all(f);
    assert_state(f, C, VMD_RESIDENT);
    g_assert_cmpuint(fake_read(f, PAGE + 5), ==, 99);
    g_assert_false(vmd_page_stored(&f->pager, PAGE + 5));
    g_assert_cmpuint(fake_read(f, PAGE + 4), ==, 34);
    fake_free(f);
}

static void test_filling_rest(void)
{
    Fake *f = new_filled();

    start_fill(f, 5);
    discard(f, 0, 3);
    fake_complete_all(f);
    assert_state(f, C, VMD_RESIDENT);
    assert_holes(f, 0, 3);
    fake_free(f);
}

static void test_filling_all(void)
{
    Fake *f = new_filled();

    start_fill(f, 5);
    discard(f, 0, FAKE_CHUNK_PAGES);
    fake_complete_all(f);
    assert_state(f, C, VMD_ZERO);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

/* A page that has come already, while the others are on their way. */
static void test_filling_present(void)
{
    Fake *f = new_filled();

    start_fill(f, 5);
    fake_complete(f, 0, 0);
    g_assert_true(f->guest_present[PAGE + 5]);
    discard(f, 5, 1);
    fake_complete_all(f);
    assert_holes(f, 5, 1);
    fake_free(f);
}

/* Nobody needs what cannot be read: the VM goes on. */
static void test_filling_fails(void)
{
    Fake *f = new_filled();

    start_fill(f, 5);
    discard(f, 5, 1);
    fake_complete(f, 0, -EIO);
    fake_complete_all(f);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    assert_state(f, C, VMD_RESIDENT);
    assert_holes(f, 5, 1);
    fake_free(f);
}

/* The page that cannot be read is given up before the fill has ended. */
static void test_filling_failed_before(void)
{
    Fake *f = new_filled();

    start_fill(f, 5);
    for (unsigned k = 0; k < VMD_READ_TRIES; k++) {
        unsigned i = 0;
        while (fake_request(f, i)->len != RAM_PAGE_BYTES ||
               fake_request(f, i)->offset != (PAGE + 5) * RAM_PAGE_BYTES) {
            i++;
        }
        fake_complete(f, i, -EIO);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 1);
    discard(f, 5, 1);
    fake_complete_all(f);
    assert_state(f, C, VMD_RESIDENT);
    assert_holes(f, 5, 1);
    fake_free(f);
}

static void test_failed(void)
{
    Fake *f = new_filled();

    start_fill(f, 0);
    while (fake_requests(f) > 0) {
        fake_complete(f, 0, -EIO);
    }
    assert_state(f, C, VMD_FAILED);
    discard(f, 0, 1);
    assert_state(f, C, VMD_FAILED);
    g_assert_nonnull(fake_touch(f, PAGE, false));
    g_assert_null(fake_touch(f, PAGE + 1, false)); /* waits */
    discard(f, 1, FAKE_CHUNK_PAGES - 1);
    assert_state(f, C, VMD_RESIDENT);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

/* --- small reads --------------------------------------------------------- */

/* A window of 4 pages around page i is read, and nothing else. */
static void start_landing(Fake *f, uint32_t i)
{
    fake_swap_out(f, C);
    fake_make_dense(f, C);
    f->pager.chunks[C].heat = 0; /* rises to 1 */
    g_assert_null(fake_touch(f, PAGE + i, false));
    g_assert_cmpuint(fake_requests(f), ==, 1);
    g_assert_cmpuint(fake_request(f, 0)->len, ==, 4 * RAM_PAGE_BYTES);
    assert_state(f, C, VMD_SWAPPED);
}

static void test_landing(void)
{
    Fake *f = new_filled();

    start_landing(f, 0);
    unsigned wakes = f->wakes;
    discard(f, 1, 2);
    g_assert_cmpuint(f->wakes, >, wakes);
    fake_complete(f, 0, 0);
    assert_state(f, C, VMD_RESIDENT);
    g_assert_true(f->guest_present[PAGE]);
    g_assert_false(f->guest_present[PAGE + 1]);
    g_assert_true(f->guest_present[PAGE + 3]);
    g_assert_cmpuint(f->pager.landing_pages, ==, 0);
    assert_holes(f, 1, 2);
    fake_free(f);
}

static void test_landing_all(void)
{
    Fake *f = new_filled();

    start_landing(f, 2);
    discard(f, 0, 4);
    assert_state(f, C, VMD_SWAPPED);
    fake_complete(f, 0, 0);
    assert_state(f, C, VMD_SWAPPED); /* nothing has come */
    assert_holes(f, 0, 4);
    fake_free(f);
}

static void test_landing_then_touched(void)
{
    Fake *f = new_filled();

    start_landing(f, 2);
    discard(f, 0, FAKE_CHUNK_PAGES);
    assert_state(f, C, VMD_ZERO);
    uint8_t *at = fake_touch(f, PAGE + 2, true);
    g_assert_nonnull(at);
    g_assert_cmpuint(at[0], ==, 0);
    memset(at, 99, RAM_PAGE_BYTES);
    fake_complete(f, 0, 0);
    g_assert_cmpuint(fake_read(f, PAGE + 2), ==, 99);
    g_assert_cmpuint(fake_read(f, PAGE + 1), ==, 0);
    fake_free(f);
}

static void test_landing_fails(void)
{
    Fake *f = new_filled();

    start_landing(f, 0);
    discard(f, 0, 4);
    fake_complete(f, 0, -EIO);
    g_assert_cmpuint(fake_requests(f), ==, 0); /* not tried again */
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    assert_holes(f, 0, 4);
    fake_free(f);
}

/* A page is being written and one of the chunk's others read: both go. */
static void test_landing_beside_a_write(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    f->pager.fault_number += 10000;
    f->pager.chunks[C].heat = 0;
    fake_write(f, PAGE, 99);
    fake_standby(f, C);
    g_assert_true(vmd_chunk_write_back(&f->pager, C));
    fake_step(f);
    f->pager.fault_number += 10000; /* again: this page only */
    g_assert_null(fake_touch(f, PAGE + 5, false));
    assert_state(f, C, VMD_WRITING);
    g_assert_cmpuint(fake_requests(f), ==, 2);
    discard(f, 5, 1);
    discard(f, 0, 1);
    fake_complete(f, 1, 0);
    g_assert_false(f->guest_present[PAGE + 5]);
    fake_complete(f, 0, 0);
    assert_state(f, C, VMD_SWAPPED);
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        g_assert_cmpuint(fake_read(f, PAGE + i), ==,
                         i == 0 || i == 5 ? 0 : 30 + i);
    }
    fake_complete_all(f);
    fake_free(f);
}

/* --- no memory ----------------------------------------------------------- */

static ChunkNo chunk_in(Fake *f, VmdChunkState state)
{
    ChunkNo c = 0;

    while (fake_state(f, c) != state) {
        c++;
        g_assert_cmpuint(c, <, FAKE_CHUNKS);
    }
    return c;
}

static void pin_all(Fake *f, unsigned pins)
{
    for (ChunkNo c = 0; c < FAKE_CHUNKS; c++) {
        atomic_store(&f->pager.pins[c], pins);
    }
}

/* A fault on a page in the file waits for memory, of which none may leave. The
 * page is given up: then it needs no read, but memory all the same, which
 * other discards bring. */
static void test_waiting_for_memory(void)
{
    Fake *f = fake_new(FAKE_PAGES / 2, false);
    bool given[FAKE_PAGES] = { false };

    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        fake_write(f, page, (uint8_t)(page + 1));
    }
    fake_complete_all(f);
    PageNo wanted = chunk_in(f, VMD_SWAPPED) * FAKE_CHUNK_PAGES;
    pin_all(f, 1);
    for (PageNo page = FAKE_PAGES - 1; page > wanted; page--) {
        (void)fake_touch(f, page, true); /* takes what is left */
        fake_complete_all(f);
    }
    g_assert_null(fake_touch(f, wanted, true));
    g_assert_cmpuint(fake_requests(f), ==, 0);
    g_assert_cmpuint(f->pager.pending_count, >, 0);

    vmd_pager_discard(&f->pager, wanted, 1);
    given[wanted] = true;
    fake_step(f);
    g_assert_false(f->guest_present[wanted]);
    while (!f->guest_present[wanted]) { /* without another fault */
        PageNo other = chunk_in(f, VMD_RESIDENT) * FAKE_CHUNK_PAGES;
        vmd_pager_discard(&f->pager, other, FAKE_CHUNK_PAGES);
        memset(given + other, true, FAKE_CHUNK_PAGES);
        fake_step(f);
        fake_complete_all(f);
    }
    pin_all(f, 0);
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(f, page), ==,
                         given[page] ? 0 : (uint8_t)(page + 1));
    }
    fake_complete_all(f);
    fake_free(f);
}

/* --- reading ahead ------------------------------------------------------- */

static void start_ahead(Fake *f)
{
    fake_swap_out(f, C);
    g_assert_true(vmd_chunk_read_ahead(&f->pager, C));
    fake_step(f);
    assert_state(f, C, VMD_FILLING);
}

static void test_ahead(void)
{
    Fake *f = new_filled();

    start_ahead(f);
    discard(f, 2, 2);
    fake_complete_all(f);
    assert_state(f, C, VMD_STANDBY);
    assert_holes(f, 2, 2);
    start_ahead(f);
    discard(f, 0, FAKE_CHUNK_PAGES);
    fake_complete_all(f);
    assert_state(f, C, VMD_ZERO);
    g_assert_cmpuint(f->pager.frames.stale_pages, ==,
                     f->pager.frames.populated_pages);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

static void test_ahead_then_touched(void)
{
    Fake *f = new_filled();

    start_ahead(f);
    discard(f, 2, 1);
    uint8_t *at = fake_touch(f, PAGE + 2, true);
    g_assert_nonnull(at);
    g_assert_cmpuint(at[0], ==, 0);
    memset(at, 32, RAM_PAGE_BYTES);
    fake_complete_all(f);
    assert_state(f, C, VMD_RESIDENT);
    g_assert_false(vmd_page_stored(&f->pager, PAGE + 2));
    assert_holes(f, 0, 0);
    fake_free(f);
}

/* --- pins, protection, migration ----------------------------------------- */

static int pin_result;
static unsigned pins_done;

static void pin_done(VmdPinWaiter *w, int result)
{
    pin_result = result;
    pins_done++;
}

/* I/O of the guest into a page that it gives up: its own affair; I/O into
 * the chunk's other pages is untouched. */
static void test_pinned(void)
{
    Fake *f = new_filled();

    atomic_store(&f->pager.pins[C], 1);
    discard(f, 2, 1);
    g_assert_false(f->guest_present[PAGE + 2]);
    g_assert_true(f->guest_present[PAGE + 3]);
    assert_holes(f, 2, 1);
    atomic_store(&f->pager.pins[C], 0);
    fake_free(f);
}

static void test_pin_waits_for_a_read(void)
{
    Fake *f = new_filled();
    VmdPinWaiter w = { .first = PAGE, .count = 8, .done = pin_done };

    pins_done = 0;
    fake_swap_out(f, C);
    vmd_pager_add_pin_waiter(&f->pager, &w);
    fake_step(f);
    g_assert_cmpuint(pins_done, ==, 0);
    discard(f, 0, FAKE_CHUNK_PAGES);
    g_assert_cmpuint(pins_done, ==, 1); /* without the read */
    g_assert_cmpint(pin_result, ==, 0);
    fake_complete_all(f);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

/* The event of a write to a protected page is read after its discard. */
static void test_late_write_protect_fault(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    assert_holes(f, 0, 0);
    discard(f, 3, 1);
    unsigned wakes = f->wakes;
    vmd_pager_fault(&f->pager, PAGE + 3, VM_FAULT_WRITE_PROTECT);
    g_assert_cmpuint(f->wakes, ==, wakes + 1);
    fake_write(f, PAGE + 3, 33);
    assert_holes(f, 0, 0);
    fake_free(f);
}

static unsigned exports_done;

static void export_done(RamExport *e)
{
    exports_done++;
}

/* What was exported before is stale, and sent again as dirty: as zero. */
static void test_export(void)
{
    Fake *f = new_filled();
    g_autofree uint8_t *buf = g_malloc(FAKE_CHUNK_PAGES * RAM_PAGE_BYTES);
    RamExport e = { .chunk = C, .buf = buf, .done = export_done };

    exports_done = 0;
    f->pager.tracking = true;
    fake_swap_out(f, C);
    memset(e.want, 0xff, sizeof(e.want));
    vmd_carry_export(&f->pager, &e);
    fake_step(f);
    discard(f, 0, 4);
    fake_complete_all(f);
    g_assert_cmpuint(exports_done, ==, 1);
    vmd_carry_export(&f->pager, &e);
    fake_step(f);
    fake_complete_all(f);
    g_assert_cmpuint(exports_done, ==, 2);
    g_assert_cmphex(e.zero[0], ==, 0x0f);
    g_assert_cmphex(e.in_buf[0], ==, 0xf0);
    assert_holes(f, 0, 4);
    fake_free(f);
}

/* --- the file ------------------------------------------------------------ */

static uint64_t blocks(const Fake *f)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        n += f->file_written[PAGE + i];
    }
    return n;
}

static void test_blocks_are_punched(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    g_assert_cmpuint(blocks(f), ==, FAKE_CHUNK_PAGES);
    discard(f, 0, 5);
    g_assert_cmpuint(fake_requests(f), ==, 0); /* not at once */
    one_interval(f);
    g_assert_cmpuint(blocks(f), ==, 3);
    discard(f, 6, 1); /* a small hole waits ... */
    one_interval(f);
    g_assert_cmpuint(blocks(f), ==, 3);
    discard(f, 5, 3); /* ... until all of the chunk is gone */
    one_interval(f);
    g_assert_cmpuint(blocks(f), ==, 0);
    assert_holes(f, 0, FAKE_CHUNK_PAGES);
    fake_free(f);
}

/* What the write of a discarded page leaves behind goes, too. */
static void test_blocks_of_a_late_write(void)
{
    Fake *f = new_filled();

    start_write(f);
    discard(f, 0, FAKE_CHUNK_PAGES);
    fake_complete(f, 0, 0);
    g_assert_cmpuint(blocks(f), ==, FAKE_CHUNK_PAGES);
    one_interval(f);
    g_assert_cmpuint(blocks(f), ==, 0);
    fake_free(f);
}

/* No write of new content may meet the hole of the old one. */
static void test_punch_holds_writes_up(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    discard(f, 0, FAKE_CHUNK_PAGES);
    for (unsigned s = 0; s <= VMD_AGING_SLICES && fake_requests(f) == 0;
         s++) {
        fake_now += 1000000000 / VMD_AGING_SLICES;
        fake_step(f);
    }
    g_assert_cmpuint(fake_requests(f), ==, 1);
    g_assert_cmpint(fake_request(f, 0)->op, ==, VMD_IO_PUNCH);
    fake_write(f, PAGE + 1, 31); /* needs no I/O */
    fake_standby(f, C);
    g_assert_false(vmd_chunk_write_back(&f->pager, C));
    fake_complete(f, 0, 0);
    g_assert_true(vmd_chunk_write_back(&f->pager, C));
    fake_step(f);
    fake_complete_all(f);
    g_assert_cmpuint(fake_read(f, PAGE + 1), ==, 31);
    g_assert_cmpuint(fake_read(f, PAGE + 2), ==, 0);
    fake_complete_all(f);
    fake_free(f);
}

/* Memory that cannot be released would keep its old content: the VM stops. */
static void test_release_fails(void)
{
    Fake *f = new_filled();

    f->discard_error = -EINVAL;
    vmd_pager_discard(&f->pager, PAGE, 1);
    g_assert_cmpint(f->began[VMD_TROUBLE_ENGINE], ==, 1);
    f->discard_error = 0;
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/discard/never-written", test_never_written);
    g_test_add_func("/discard/resident", test_resident);
    g_test_add_func("/discard/clean", test_clean);
    g_test_add_func("/discard/standby", test_standby);
    g_test_add_func("/discard/standby-partly-stored",
                    test_standby_partly_stored);
    g_test_add_func("/discard/swapped", test_swapped);
    g_test_add_func("/discard/across-chunks", test_across_chunks);
    g_test_add_func("/discard/writing", test_writing);
    g_test_add_func("/discard/writing-all", test_writing_all);
    g_test_add_func("/discard/writing-then-touched",
                    test_writing_then_touched);
    g_test_add_func("/discard/writing-copied-back", test_writing_copied_back);
    g_test_add_func("/discard/writing-fails", test_writing_fails);
    g_test_add_func("/discard/filling-critical", test_filling_critical);
    g_test_add_func("/discard/filling-rest", test_filling_rest);
    g_test_add_func("/discard/filling-all", test_filling_all);
    g_test_add_func("/discard/filling-present", test_filling_present);
    g_test_add_func("/discard/filling-fails", test_filling_fails);
    g_test_add_func("/discard/filling-failed-before",
                    test_filling_failed_before);
    g_test_add_func("/discard/failed", test_failed);
    g_test_add_func("/discard/landing", test_landing);
    g_test_add_func("/discard/landing-all", test_landing_all);
    g_test_add_func("/discard/landing-then-touched",
                    test_landing_then_touched);
    g_test_add_func("/discard/landing-fails", test_landing_fails);
    g_test_add_func("/discard/landing-beside-a-write",
                    test_landing_beside_a_write);
    g_test_add_func("/discard/waiting-for-memory", test_waiting_for_memory);
    g_test_add_func("/discard/ahead", test_ahead);
    g_test_add_func("/discard/ahead-then-touched", test_ahead_then_touched);
    g_test_add_func("/discard/pinned", test_pinned);
    g_test_add_func("/discard/pin-waits-for-a-read",
                    test_pin_waits_for_a_read);
    g_test_add_func("/discard/late-write-protect-fault",
                    test_late_write_protect_fault);
    g_test_add_func("/discard/export", test_export);
    g_test_add_func("/discard/blocks-are-punched", test_blocks_are_punched);
    g_test_add_func("/discard/blocks-of-a-late-write",
                    test_blocks_of_a_late_write);
    g_test_add_func("/discard/punch-holds-writes-up",
                    test_punch_holds_writes_up);
    g_test_add_func("/discard/release-fails", test_release_fails);
    return g_test_run();
}
