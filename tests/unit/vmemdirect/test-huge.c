/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chunks that are one huge page: made once, kept whole as they circulate,
 * given up without harm. The fake kernel keeps its own account of which piece
 * is huge, and splits what a real one would split; the checks of the pager
 * (budget, charged slots) run after each step, as in every test here.
 */
#include <errno.h>
#include <string.h>

#include "fake.h"

#define ROOMY (FAKE_PAGES * 4)
#define C 2u /* the chunk that the tests work on, and its first page */
#define PAGE (C * FAKE_CHUNK_PAGES)
#define ALL FAKE_CHUNK_PAGES

static bool guest_is_huge(Fake *f)
{
    g_assert_true(f->guest_pieces[C].huge == f->pager.chunks[C].huge);
    return f->guest_pieces[C].huge;
}

static bool frame_is_huge(Fake *f)
{
    FrameNo frame = f->pager.chunks[C].frame;

    g_assert_true(f->frame_pieces[frame].huge ==
                  vm_bit_test(f->pager.frames.huge, frame));
    return f->frame_pieces[frame].huge;
}

static void assert_content(Fake *f, uint32_t zero_from, uint32_t zero_count)
{
    for (uint32_t i = 0; i < ALL; i++) {
        bool zero = i >= zero_from && i - zero_from < zero_count;
        g_assert_cmpuint(fake_read(f, PAGE + i), ==, zero ? 0 : 40 + i);
    }
    fake_complete_all(f);
}

static Fake *new_filled(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    for (uint32_t i = 0; i < ALL; i++) {
        fake_write(f, PAGE + i, (uint8_t)(40 + i));
    }
    g_assert_true(guest_is_huge(f));
    return f;
}

/* Out, and read ahead: FILLING into a huge page, one request for it. */
static void start_reading(Fake *f)
{
    fake_swap_out(f, C);
    g_assert_cmpint(fake_state(f, C), ==, VMD_SWAPPED);
    g_assert_true(vmd_chunk_read_ahead(&f->pager, C));
    fake_step(f);
    g_assert_cmpint(fake_state(f, C), ==, VMD_FILLING);
    g_assert_true(frame_is_huge(f));
}

/* --- new ones ------------------------------------------------------------ */

static void test_first_write(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    fake_write(f, PAGE + 3, 1);
    g_assert_true(guest_is_huge(f));
    g_assert_cmpuint(f->pager.guest_pages, ==, ALL);
    g_assert_cmpuint(f->pager.stats.faults_zero, ==, 1);
    g_assert_cmpuint(fake_read(f, PAGE + 4), ==, 0);
    g_assert_cmpuint(fake_read(f, PAGE + 3), ==, 1);
    fake_free(f);
}

/* What is only read shares the zero page, as ever. */
static void test_first_read(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    g_assert_cmpuint(fake_read(f, PAGE), ==, 0);
    g_assert_cmpuint(f->huge_made, ==, 0);
    fake_free(f);
}

static void test_no_room(void)
{
    Fake *f = fake_new_huge(16 * FAKE_CHUNK_PAGES, false);

    for (ChunkNo c = 0; c < FAKE_CHUNKS - 1; c++) {
        fake_write(f, c * FAKE_CHUNK_PAGES, 1);
        g_assert_cmpuint(fake_read(f, c * FAKE_CHUNK_PAGES + 1), ==, 0);
        g_assert_cmpuint(f->pager.guest_pages +
                         f->pager.frames.populated_pages, <=,
                         16 * FAKE_CHUNK_PAGES);
    }
    fake_complete_all(f);
    fake_free(f);
}

/* The last chunk is too short for one. */
static void test_short_chunk(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    fake_write(f, FAKE_PAGES - 1, 1);
    g_assert_cmpuint(f->huge_made, ==, 0);
    fake_free(f);
}

/* A system without huge pages is asked once a second. */
static void test_none_to_be_had(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    f->no_huge = true;
    fake_write(f, PAGE, 1);
    fake_write(f, 0, 2);
    g_assert_cmpuint(f->huge_made, ==, 1);
    g_assert_false(guest_is_huge(f));
    g_assert_cmpuint(fake_read(f, PAGE), ==, 1);
    f->no_huge = false;
    fake_now += VMD_RETRY_NS;
    fake_write(f, 8 * FAKE_CHUNK_PAGES, 3);
    g_assert_cmpuint(f->huge_made, ==, 2);
    g_assert_true(f->guest_pieces[8].huge);
    fake_free(f);
}

/* The kernel splits it on the way, and moves a part only. */
static void test_part_of_one(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    f->huge_pages = 3;
    fake_write(f, PAGE + 5, 1);
    g_assert_false(guest_is_huge(f));
    g_assert_cmpuint(fake_read(f, PAGE), ==, 0);
    g_assert_cmpuint(fake_read(f, PAGE + 5), ==, 1);
    fake_free(f);
}

/* --- kept whole ---------------------------------------------------------- */

static void test_out_and_back(void)
{
    Fake *f = new_filled();

    for (unsigned k = 0; k < 3; k++) {
        fake_standby(f, C);
        g_assert_true(frame_is_huge(f));
        assert_content(f, 0, 0);
        g_assert_true(guest_is_huge(f));
    }
    g_assert_cmpuint(f->huge_made, ==, 1);
    fake_free(f);
}

static void test_through_the_file(void)
{
    Fake *f = new_filled();

    for (unsigned k = 0; k < 3; k++) {
        start_reading(f);
        g_assert_cmpuint(fake_requests(f), ==, 1);
        fake_complete_all(f);
        g_assert_cmpint(fake_state(f, C), ==, VMD_STANDBY);
        assert_content(f, 0, 0);
        g_assert_true(guest_is_huge(f));
    }
    g_assert_cmpuint(f->huge_made, ==, 1); /* the same one, all the time */
    fake_free(f);
}

/* With no used one at hand, a new one is read into. */
static void test_read_into_a_new_one(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    /* The used one goes. */
    uint64_t all = (uint64_t)vmd_available_pages(&f->pager) - ALL;
    g_assert_true(vmd_make_room(&f->pager, all, /* reclaim= */ false));
    g_assert_true(vmd_chunk_read_ahead(&f->pager, C));
    g_assert_true(frame_is_huge(f));
    g_assert_cmpuint(f->huge_made, ==, 2);
    fake_step(f);
    fake_complete_all(f);
    assert_content(f, 0, 0);
    g_assert_true(guest_is_huge(f));
    fake_free(f);
}

/* Who touches it while it is read waits for all of it. */
static void test_touched_while_read(void)
{
    Fake *f = new_filled();

    start_reading(f);
    g_assert_null(fake_touch(f, PAGE + 1, false));
    g_assert_null(fake_touch(f, PAGE + 6, true));
    g_assert_cmpuint(fake_requests(f), >=, 1);
    while (fake_state(f, C) == VMD_FILLING) {
        g_assert_cmpuint(f->pager.chunks[C].landings, ==, 0);
        fake_complete(f, 0, 0);
    }
    g_assert_cmpint(fake_state(f, C), ==, VMD_RESIDENT);
    g_assert_true(guest_is_huge(f));
    assert_content(f, 0, 0);
    fake_free(f);
}

/* One write fault makes all of it writable: else it would be split. */
static void test_write_fault(void)
{
    Fake *f = new_filled();

    start_reading(f);
    fake_complete_all(f);
    assert_content(f, 0, 0);
    g_assert_true(f->guest_protected[PAGE + 2]);
    for (uint32_t i = 0; i < ALL; i++) {
        fake_write(f, PAGE + i, (uint8_t)(40 + i));
    }
    g_assert_cmpuint(f->pager.stats.faults_write_protect, ==, 1);
    g_assert_true(guest_is_huge(f));
    fake_swap_out(f, C); /* the file gets what was written */
    assert_content(f, 0, 0);
    fake_free(f);
}

/* A few zero pages in between do not cost the huge page. */
static void test_zero_pages(void)
{
    Fake *f = new_filled();

    fake_write(f, PAGE + 4, 0);
    start_reading(f);
    g_assert_cmpuint(fake_requests(f), ==, 2);
    g_assert_null(fake_touch(f, PAGE + 4, false)); /* not a zero fault */
    fake_complete_all(f);
    g_assert_true(guest_is_huge(f));
    assert_content(f, 4, 1);
    fake_write(f, PAGE + 4, 44);
    fake_swap_out(f, C);
    assert_content(f, 0, 0);
    fake_free(f);
}

/* Many do: then small pages are less memory. */
static void test_many_zero_pages(void)
{
    Fake *f = new_filled();

    fake_write(f, PAGE + 4, 0);
    fake_write(f, PAGE + 5, 0);
    fake_swap_out(f, C);
    g_assert_true(vmd_chunk_read_ahead(&f->pager, C));
    g_assert_false(frame_is_huge(f));
    fake_step(f);
    fake_complete_all(f);
    assert_content(f, 4, 2);
    fake_free(f);
}

/* --- by migration -------------------------------------------------------- */

static void arrived(RamImport *im)
{
    *(bool *)im->opaque = true;
}

/* Pages of the map arrive, with what assert_content() expects. */
static void begin_import(Fake *f, RamImport *im)
{
    f->lent = 0;
    vmd_carry_import_begin(&f->pager, im);
    g_assert_cmpuint(f->lent, ==, 1);
    for (uint32_t i = 0; i < ALL; i++) {
        if (vm_bit_test(im->pages, i)) {
            uint8_t *at = (uint8_t *)im->buf + i * RAM_PAGE_BYTES;
            memset(at, 40 + (int)i, RAM_PAGE_BYTES);
            f->frame_present[(size_t)(at - f->frames) / RAM_PAGE_BYTES] = true;
        }
    }
}

static void end_import(Fake *f, RamImport *im)
{
    vmd_carry_import_commit(&f->pager, im);
    fake_step(f);
    fake_complete_all(f);
    g_assert_true(*(bool *)im->opaque);
    g_assert_cmpint(im->result, ==, 0);
}

static void import(Fake *f, RamPlace place, unsigned long pages)
{
    bool done = false;
    RamImport im = { .chunk = C, .place = place, .pages = { pages },
                     .done = arrived, .opaque = &done };

    begin_import(f, &im);
    end_import(f, &im);
}

static void test_arrives(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    import(f, RAM_PLACE_RAM, 0xff);
    g_assert_true(guest_is_huge(f));
    assert_content(f, 0, 0);
    import(f, RAM_PLACE_RAM, 0x3c); /* written since */
    g_assert_true(guest_is_huge(f));
    g_assert_cmpuint(f->huge_made, ==, 1);
    assert_content(f, 0, 0);
    fake_swap_out(f, C); /* the file gets all of it */
    assert_content(f, 0, 0);
    fake_free(f);
}

static void test_arrives_with_zero_pages(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    import(f, RAM_PLACE_RAM, 0xef);
    g_assert_true(guest_is_huge(f));
    assert_content(f, 4, 1);
    vmd_carry_import_zero(&f->pager, C, NULL);
    import(f, RAM_PLACE_RAM, 0xcf); /* too many */
    g_assert_false(guest_is_huge(f));
    assert_content(f, 4, 2);
    fake_free(f);
}

/* What is on its way to the file needs none. */
static void test_arrives_in_the_file(void)
{
    Fake *f = fake_new_huge(ROOMY, false);

    import(f, RAM_PLACE_SWAP, 0xff);
    g_assert_cmpint(fake_state(f, C), ==, VMD_SWAPPED);
    g_assert_cmpuint(f->huge_made, ==, 0);
    assert_content(f, 0, 0);
    fake_free(f);
}

/* A page that did not arrive stays what it has become meanwhile. */
static void test_written_while_it_arrives(void)
{
    Fake *f = fake_new_huge(ROOMY, false);
    bool done = false;
    RamImport im = { .chunk = C, .place = RAM_PLACE_RAM, .pages = { 0xef },
                     .done = arrived, .opaque = &done };

    begin_import(f, &im);
    g_assert_true(f->frame_pieces[GPOINTER_TO_UINT(im.frame) - 1].huge);
    fake_write(f, PAGE + 4, 44);
    end_import(f, &im);
    assert_content(f, 0, 0);
    fake_free(f);
}

/* --- given up ------------------------------------------------------------ */

static void test_scattered_faults(void)
{
    Fake *f = new_filled();

    fake_swap_out(f, C);
    g_assert_cmpuint(fake_read(f, PAGE + 3), ==, 43);
    fake_complete_all(f);
    g_assert_false(guest_is_huge(f));
    assert_content(f, 0, 0);
    fake_free(f);
}

static void test_discard_a_part(void)
{
    Fake *f = new_filled();

    vmd_pager_discard(&f->pager, PAGE + 2, 3);
    fake_step(f);
    g_assert_false(guest_is_huge(f));
    fake_standby(f, C);
    g_assert_false(frame_is_huge(f));
    assert_content(f, 2, 3);
    fake_free(f);
}

static void test_discard_in_standby(void)
{
    Fake *f = new_filled();

    fake_standby(f, C);
    vmd_pager_discard(&f->pager, PAGE + 2, 3);
    g_assert_false(frame_is_huge(f));
    fake_step(f);
    assert_content(f, 2, 3);
    fake_free(f);
}

/* The read brings a page that is zero since: it must not come back. */
static void test_discard_while_read(void)
{
    Fake *f = new_filled();

    start_reading(f);
    g_assert_null(fake_touch(f, PAGE + 1, false));
    vmd_pager_discard(&f->pager, PAGE + 2, 3);
    fake_write(f, PAGE + 3, 0); /* in use again before the read ends */
    unsigned wakes = f->wakes;
    fake_complete_all(f);
    g_assert_cmpuint(f->wakes, >, wakes);
    g_assert_false(guest_is_huge(f));
    assert_content(f, 2, 3);
    fake_free(f);
}

/* Who waits is woken, faults again, and gets its page alone. */
static void test_read_error(void)
{
    Fake *f = new_filled();

    fake_write(f, PAGE + 4, 0); /* so that there are two requests */
    start_reading(f);
    g_assert_null(fake_touch(f, PAGE + 6, false));
    g_assert_cmpuint(fake_requests(f), ==, 2);
    fake_complete(f, 1, -EIO);
    g_assert_null(fake_touch(f, PAGE + 6, false)); /* woken, too early */
    fake_complete(f, 0, 0);
    g_assert_cmpint(fake_state(f, C), ==, VMD_RESIDENT);
    g_assert_cmpuint(f->woken_bytes, ==, ALL * RAM_PAGE_BYTES);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    assert_content(f, 4, 1);
    fake_free(f);
}

/* A page with I/O in flight holds it in its place, in one piece. */
static void test_busy(void)
{
    Fake *f = new_filled();

    f->busy_page = PAGE;
    g_assert_cmpint(vmd_chunk_move_out(&f->pager, C), ==, -EBUSY);
    g_assert_true(guest_is_huge(f));
    f->busy_page = PAGE + 4;
    g_assert_cmpint(vmd_chunk_move_out(&f->pager, C), ==, -EBUSY);
    g_assert_false(guest_is_huge(f));
    f->busy_page = UINT64_MAX;
    fake_step(f);
    assert_content(f, 0, 0);
    fake_free(f);
}

static void test_touched_while_written(void)
{
    Fake *f = new_filled();

    fake_standby(f, C);
    g_assert_true(vmd_chunk_write_back(&f->pager, C));
    fake_step(f);
    fake_write(f, PAGE + 3, 43); /* copied back */
    fake_complete_all(f);
    g_assert_cmpint(fake_state(f, C), ==, VMD_RESIDENT);
    g_assert_false(guest_is_huge(f));
    assert_content(f, 0, 0);
    fake_free(f);
}

/* A migration counts pages, so they lose their protection one by one. */
static void test_migration(void)
{
    Fake *f = new_filled();

    f->pager.tracking = true;
    fake_standby(f, C);
    assert_content(f, 0, 0);
    g_assert_true(guest_is_huge(f));
    fake_write(f, PAGE + 1, 41);
    g_assert_true(f->guest_protected[PAGE + 2]);
    g_assert_false(f->pager.chunks[C].huge);
    assert_content(f, 0, 0);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/huge/first-write", test_first_write);
    g_test_add_func("/huge/first-read", test_first_read);
    g_test_add_func("/huge/no-room", test_no_room);
    g_test_add_func("/huge/short-chunk", test_short_chunk);
    g_test_add_func("/huge/none-to-be-had", test_none_to_be_had);
    g_test_add_func("/huge/part-of-one", test_part_of_one);
    g_test_add_func("/huge/out-and-back", test_out_and_back);
    g_test_add_func("/huge/through-the-file", test_through_the_file);
    g_test_add_func("/huge/read-into-a-new-one", test_read_into_a_new_one);
    g_test_add_func("/huge/touched-while-read", test_touched_while_read);
    g_test_add_func("/huge/write-fault", test_write_fault);
    g_test_add_func("/huge/zero-pages", test_zero_pages);
    g_test_add_func("/huge/many-zero-pages", test_many_zero_pages);
    g_test_add_func("/huge/arrives", test_arrives);
    g_test_add_func("/huge/arrives-with-zero-pages",
                    test_arrives_with_zero_pages);
    g_test_add_func("/huge/arrives-in-the-file", test_arrives_in_the_file);
    g_test_add_func("/huge/written-while-it-arrives",
                    test_written_while_it_arrives);
    g_test_add_func("/huge/scattered-faults", test_scattered_faults);
    g_test_add_func("/huge/discard-a-part", test_discard_a_part);
    g_test_add_func("/huge/discard-in-standby", test_discard_in_standby);
    g_test_add_func("/huge/discard-while-read", test_discard_while_read);
    g_test_add_func("/huge/read-error", test_read_error);
    g_test_add_func("/huge/busy", test_busy);
    g_test_add_func("/huge/touched-while-written",
                    test_touched_while_written);
    g_test_add_func("/huge/migration", test_migration);
    return g_test_run();
}
