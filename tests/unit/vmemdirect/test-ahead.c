/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sequences: reading ahead, dropping behind. */
#include <errno.h>
#include <string.h>

#include "fake.h"

#define ROOMY (FAKE_PAGES + 64)
#define PAGE(c, i) ((PageNo)(c) * FAKE_CHUNK_PAGES + (i))

static void swap_out_all(Fake *f, ChunkNo first, ChunkNo end)
{
    for (ChunkNo c = first; c < end; c++) {
        for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
            fake_write(f, PAGE(c, i), (uint8_t)(c + i));
        }
    }
    for (ChunkNo c = first; c < end; c++) {
        fake_swap_out(f, c);
        f->pager.chunks[c].heat = 0;
    }
    f->pager.fault_number += 10000;
    memset(f->pager.streams, 0, sizeof(f->pager.streams));
}

static void read_chunk(Fake *f, ChunkNo c)
{
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        g_assert_cmpuint(fake_read(f, PAGE(c, i)), ==, (uint8_t)(c + i));
    }
}

static void test_sequence_is_read_ahead(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 2, 16);
    read_chunk(f, 2);
    read_chunk(f, 3); /* the neighbour of a dense one: a sequence */
    fake_complete_all(f);
    g_assert_cmpint(fake_state(f, 4), ==, VMD_STANDBY);
    g_assert_true(f->pager.chunks[4].ahead);
    uint64_t hard = f->pager.stats.faults_hard;
    for (ChunkNo c = 4; c < 16; c++) {
        fake_complete_all(f);
        read_chunk(f, c);
    }
    g_assert_cmpuint(f->pager.stats.faults_hard, ==, hard);
    g_assert_cmpuint(f->pager.stats.page_in_bytes, ==,
                     14 * FAKE_CHUNK_PAGES * RAM_PAGE_BYTES);
    fake_free(f);
}

static void test_backwards_too(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 2, 16);
    read_chunk(f, 15);
    read_chunk(f, 14);
    fake_complete_all(f);
    g_assert_cmpint(fake_state(f, 13), ==, VMD_STANDBY);
    g_assert_cmpint(fake_state(f, 12), !=, VMD_RESIDENT);
    fake_free(f);
}

static void test_scattered_is_not(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 2, 20);
    for (ChunkNo c = 2; c < 20; c += 3) {
        f->pager.fault_number += 100;
        g_assert_cmpuint(fake_read(f, PAGE(c, 1)), ==, c + 1);
        fake_complete_all(f);
    }
    g_assert_cmpuint(f->pager.stats.page_in_bytes, ==, 6 * RAM_PAGE_BYTES);
    fake_free(f);
}

/* What was read ahead for nothing costs no write. */
static void test_unused_is_dropped(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 2, 8);
    read_chunk(f, 2);
    read_chunk(f, 3);
    fake_complete_all(f);
    g_assert_cmpint(fake_state(f, 4), ==, VMD_STANDBY);
    uint64_t written = f->pager.stats.page_out_bytes;
    g_assert_true(vmd_chunk_write_back(&f->pager, 4));
    g_assert_cmpint(fake_state(f, 4), ==, VMD_SWAPPED);
    g_assert_false(f->pager.chunks[4].ahead);
    g_assert_cmpuint(f->pager.stats.page_out_bytes, ==, written);
    read_chunk(f, 4);
    fake_complete_all(f);
    fake_free(f);
}

/* The reader is faster than the device: it waits for the read under way. */
static void test_touched_while_it_is_read(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 2, 8);
    read_chunk(f, 2);
    g_assert_true(vmd_chunk_read_ahead(&f->pager, 5));
    fake_step(f);
    g_assert_cmpint(fake_state(f, 5), ==, VMD_FILLING);
    unsigned requests = fake_requests(f);
    g_assert_null(fake_touch(f, PAGE(5, 3), false));
    g_assert_false(f->pager.chunks[5].ahead);
    g_assert_cmpuint(fake_requests(f), >=, requests);
    fake_complete_all(f);
    g_assert_cmpint(fake_state(f, 5), ==, VMD_RESIDENT);
    read_chunk(f, 5);
    fake_complete_all(f);
    fake_free(f);
}

/* Given up while it is read ahead, and after it has arrived. */
static void test_discard_ahead(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 2, 8);
    g_assert_true(vmd_chunk_read_ahead(&f->pager, 5));
    fake_step(f);
    vmd_pager_discard(&f->pager, PAGE(5, 2), 1);
    fake_complete_all(f);
    g_assert_cmpint(fake_state(f, 5), ==, VMD_STANDBY);
    vmd_pager_discard(&f->pager, PAGE(5, 3), 1);
    g_assert_cmpuint(fake_read(f, PAGE(5, 2)), ==, 0);
    g_assert_cmpuint(fake_read(f, PAGE(5, 3)), ==, 0);
    g_assert_cmpuint(fake_read(f, PAGE(5, 4)), ==, 9);
    fake_complete_all(f);
    fake_free(f);
}

static void test_read_error_ahead(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 2, 8);
    g_assert_true(vmd_chunk_read_ahead(&f->pager, 5));
    fake_step(f);
    fake_complete(f, 0, -EIO);
    g_assert_cmpint(fake_state(f, 5), ==, VMD_SWAPPED);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    read_chunk(f, 5);
    fake_complete_all(f);
    fake_free(f);
}

/* Every tenth page: after a few faults they are there before. */
static void test_stride(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 0, 22);
    for (PageNo page = 3; page < PAGE(22, 0); page += 10) {
        g_assert_cmpuint(fake_read(f, page), ==,
                         (uint8_t)(page / FAKE_CHUNK_PAGES +
                                   page % FAKE_CHUNK_PAGES));
        fake_complete_all(f);
    }
    g_assert_cmpuint(f->pager.stats.faults_hard, <=, 8); /* of 18 */
    g_assert_cmpuint(f->pager.stats.page_in_bytes, <=, 24 * RAM_PAGE_BYTES);
    fake_free(f);
}

/* The reader is as fast as the device: it waits for what is under way. */
static void test_stride_meets_reader(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 0, 22);
    for (PageNo page = 3; page < 3 + 4 * 10; page += 10) {
        (void)fake_read(f, page);
    }
    g_assert_cmpuint(fake_requests(f), >, 0);
    unsigned requests = fake_requests(f);
    g_assert_null(fake_touch(f, 43, true));
    g_assert_cmpuint(fake_requests(f), ==, requests);
    fake_complete_all(f);
    g_assert_nonnull(fake_touch(f, 43, true));
    g_assert_cmpuint(f->pager.stats.faults_write_protect, ==, 0);
    fake_free(f);
}

/* What nobody waits for may be unreadable. */
static void test_stride_read_error(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 0, 22);
    for (PageNo page = 3; page < 3 + 4 * 10; page += 10) {
        (void)fake_read(f, page);
    }
    g_assert_cmpuint(fake_requests(f), >, 0);
    while (fake_requests(f) > 0) {
        fake_complete(f, 0, -EIO);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    g_assert_cmpuint(fake_read(f, 43), ==, 5 + 3);
    fake_complete_all(f);
    fake_free(f);
}

static void test_behind_goes_first(void)
{
    Fake *f = fake_new(ROOMY, false);

    swap_out_all(f, 2, 14);
    fake_write(f, PAGE(20, 0), 1); /* resident, and older */
    for (ChunkNo c = 2; c < 12; c++) {
        read_chunk(f, c);
        fake_complete_all(f);
    }
    g_assert_true(f->pager.chunks[5].behind);
    g_assert_false(f->pager.chunks[11].behind);
    g_assert_cmpuint(vmd_resident_coldest(&f->pager), >=, 2);
    g_assert_cmpuint(vmd_resident_coldest(&f->pager), <, 11);
    ChunkNo first = vmd_resident_coldest(&f->pager);
    fake_standby(f, first);
    g_assert_false(f->pager.chunks[first].behind);
    read_chunk(f, first);
    fake_free(f);
}

/* More memory than budget, swept again and again: a part of it stays. */
static void test_sweeps_keep_a_part(void)
{
    Fake *f = fake_new(FAKE_PAGES / 2 + 32, false);
    uint64_t in[6];

    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        fake_write(f, page, (uint8_t)(page % 251));
    }
    for (unsigned sweep = 0; sweep < G_N_ELEMENTS(in); sweep++) {
        uint64_t before = f->pager.stats.page_in_bytes;
        for (PageNo page = 0; page < FAKE_PAGES; page++) {
            g_assert_cmpuint(fake_read(f, page), ==, page % 251);
        }
        in[sweep] = (f->pager.stats.page_in_bytes - before) / RAM_PAGE_BYTES;
    }
    /* Least recently used would read all of it each time. */
    g_assert_cmpuint(in[5], <, FAKE_PAGES * 9 / 10);
    fake_complete_all(f);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ahead/sequence", test_sequence_is_read_ahead);
    g_test_add_func("/ahead/backwards", test_backwards_too);
    g_test_add_func("/ahead/scattered", test_scattered_is_not);
    g_test_add_func("/ahead/unused", test_unused_is_dropped);
    g_test_add_func("/ahead/touched", test_touched_while_it_is_read);
    g_test_add_func("/ahead/discard", test_discard_ahead);
    g_test_add_func("/ahead/read-error", test_read_error_ahead);
    g_test_add_func("/stride/read-ahead", test_stride);
    g_test_add_func("/stride/meets-reader", test_stride_meets_reader);
    g_test_add_func("/stride/read-error", test_stride_read_error);
    g_test_add_func("/behind/goes-first", test_behind_goes_first);
    g_test_add_func("/behind/sweeps", test_sweeps_keep_a_part);
    return g_test_run();
}
