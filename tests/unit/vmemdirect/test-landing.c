/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small reads, and how much a fault brings in. */
#include <errno.h>
#include <string.h>

#include "fake.h"

#define ROOMY (FAKE_PAGES + 64)
#define PAGE(c, i) ((PageNo)(c) * FAKE_CHUNK_PAGES + (i))

/* Chunk c in the file, page i full of base + i. */
static void swapped_chunk(Fake *f, ChunkNo c, uint8_t base)
{
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        fake_write(f, PAGE(c, i), (uint8_t)(base + i));
    }
    fake_swap_out(f, c);
    g_assert_cmpint(fake_state(f, c), ==, VMD_SWAPPED);
    /* Nothing is soon any more, nor dense. */
    f->pager.fault_number += 10000;
    f->pager.chunks[c].heat = 0;
}

static uint64_t paged_in(const Fake *f)
{
    return f->pager.stats.page_in_bytes / RAM_PAGE_BYTES;
}

static void test_scattered_fault_brings_one_page(void)
{
    Fake *f = fake_new(ROOMY, false);

    for (ChunkNo c = 1; c < 5; c++) {
        swapped_chunk(f, c, 10);
    }
    for (ChunkNo c = 1; c < 5; c++) {
        f->pager.fault_number += 100; /* of other chunks */
        g_assert_cmpuint(fake_read(f, PAGE(c, 3)), ==, 13);
        g_assert_cmpint(fake_state(f, c), ==, VMD_RESIDENT);
    }
    g_assert_cmpuint(paged_in(f), ==, 4);
    fake_free(f);
}

static void test_sequence_grows_to_whole_chunks(void)
{
    Fake *f = fake_new(ROOMY, false);

    for (ChunkNo c = 1; c < 5; c++) {
        swapped_chunk(f, c, 10);
    }
    for (PageNo page = PAGE(1, 0); page < PAGE(5, 0); page++) {
        g_assert_cmpuint(fake_read(f, page), ==,
                         10 + page % FAKE_CHUNK_PAGES);
    }
    g_assert_cmpuint(paged_in(f), ==, 4 * FAKE_CHUNK_PAGES);
    /* 1, 4 and 8 pages in the first chunk, then one fault a chunk. */
    g_assert_cmpuint(f->pager.stats.faults_hard, <=, 3 + 3);
    fake_free(f);
}

static void test_write_comes_in_writable(void)
{
    Fake *f = fake_new(ROOMY, false);

    swapped_chunk(f, 1, 10);
    fake_write(f, PAGE(1, 2), 99);
    g_assert_cmpuint(f->pager.stats.faults_write_protect, ==, 0);
    g_assert_false(vmd_page_stored(&f->pager, PAGE(1, 2)));
    fake_swap_out(f, 1);
    g_assert_cmpuint(fake_read(f, PAGE(1, 2)), ==, 99);
    g_assert_cmpuint(fake_read(f, PAGE(1, 3)), ==, 13);
    fake_complete_all(f);
    fake_free(f);
}

/* Reads page k of some chunk that is in the file; true: it came in writable. */
static bool read_scattered(Fake *f, uint32_t k)
{
    ChunkNo c = 1 + k % 8;

    if (fake_state(f, c) == VMD_ZERO) {
        swapped_chunk(f, c, 10);
    } else {
        fake_swap_out(f, c);
    }
    f->pager.fault_number += 100; /* of other chunks */
    PageNo page = PAGE(c, k % FAKE_CHUNK_PAGES);
    g_assert_cmpuint(fake_read(f, page), ==, 10 + k % FAKE_CHUNK_PAGES);
    return !vmd_page_stored(&f->pager, page);
}

static unsigned writable_of(Fake *f, uint32_t n, bool write_after)
{
    unsigned writable = 0;

    for (uint32_t k = 0; k < n; k++) {
        bool was = read_scattered(f, k);
        writable += was;
        if (write_after) {
            uint64_t faults = f->pager.stats.faults_write_protect;
            fake_write(f, PAGE(1 + k % 8, k % FAKE_CHUNK_PAGES),
                       (uint8_t)(10 + k % FAKE_CHUNK_PAGES));
            g_assert_cmpuint(f->pager.stats.faults_write_protect - faults, ==,
                             was ? 0 : 1);
        }
    }
    return writable;
}

static void test_readers_that_write_get_writable_pages(void)
{
    Fake *f = fake_new(ROOMY, false);

    g_assert_cmpuint(writable_of(f, 100, /* write_after= */ false), ==, 0);
    /* It takes a dozen to believe it, then one in eight is a sample. */
    g_assert_cmpuint(writable_of(f, 40, true), >=, 20);
    g_assert_cmpuint(writable_of(f, 80, true), ==, 70);
    /* And back: the samples of those that only read count as not written when
     * the next take their places. */
    (void)writable_of(f, 2000, false);
    g_assert_cmpuint(writable_of(f, 100, false), ==, 0);
    fake_free(f);
}

/* A migration that watches writes sees those of readers, too. */
static void test_readers_are_watched_while_tracking(void)
{
    Fake *f = fake_new(ROOMY, false);

    (void)writable_of(f, 100, true);
    swapped_chunk(f, 1, 10);
    f->pager.tracking = true;
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        g_assert_cmpuint(fake_read(f, PAGE(1, i)), ==, 10 + i);
        g_assert_true(vmd_page_stored(&f->pager, PAGE(1, i)));
    }
    f->pager.tracking = false;
    fake_free(f);
}

/* Reader and writer wait for the same page; and for its neighbour. */
static void test_reader_and_writer_meet(void)
{
    Fake *f = fake_new(ROOMY, false);

    swapped_chunk(f, 1, 10);
    fake_make_dense(f, 1);
    f->pager.chunks[1].heat = 0; /* rises to 1: a window of 4 */
    g_assert_null(fake_touch(f, PAGE(1, 2), false));
    g_assert_cmpuint(fake_request(f, 0)->len, ==, 4 * RAM_PAGE_BYTES);
    g_assert_null(fake_touch(f, PAGE(1, 3), true));
    g_assert_cmpuint(fake_requests(f), ==, 1);
    fake_complete(f, 0, 0);
    g_assert_true(vmd_page_stored(&f->pager, PAGE(1, 2)));
    g_assert_false(vmd_page_stored(&f->pager, PAGE(1, 3)));
    g_assert_nonnull(fake_touch(f, PAGE(1, 3), true));
    fake_free(f);
}

/* A page that is in the file only is read while others are written. */
static void test_lands_while_writing(void)
{
    Fake *f = fake_new(ROOMY, false);

    swapped_chunk(f, 1, 10);
    fake_write(f, PAGE(1, 0), 50);
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_WRITING);
    g_assert_null(fake_touch(f, PAGE(1, 5), false));
    g_assert_cmpuint(fake_requests(f), ==, 2);
    fake_complete(f, 1, 0);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_WRITING);
    g_assert_nonnull(fake_touch(f, PAGE(1, 5), false));
    fake_complete_all(f);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_RESIDENT);
    g_assert_cmpuint(fake_read(f, PAGE(1, 0)), ==, 50);
    g_assert_cmpuint(fake_read(f, PAGE(1, 5)), ==, 15);
    fake_complete_all(f);
    fake_free(f);
}

/* The page has landed, then the write fails: the others join it. */
static void test_write_fails_after_landing(void)
{
    Fake *f = fake_new(ROOMY, false);

    swapped_chunk(f, 1, 10);
    fake_write(f, PAGE(1, 0), 50);
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    g_assert_null(fake_touch(f, PAGE(1, 5), false));
    fake_complete(f, 1, 0);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_WRITING);
    fake_complete(f, 0, -ENOSPC);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_RESIDENT);
    g_assert_cmpuint(fake_read(f, PAGE(1, 0)), ==, 50);
    g_assert_cmpuint(fake_read(f, PAGE(1, 5)), ==, 15);
    fake_complete_all(f);
    fake_free(f);
}

/* The write fails, the chunk is STANDBY again: then the page lands. */
static void test_lands_in_standby(void)
{
    Fake *f = fake_new(ROOMY, false);

    swapped_chunk(f, 1, 10);
    fake_write(f, PAGE(1, 0), 50);
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    g_assert_null(fake_touch(f, PAGE(1, 5), false));
    fake_complete(f, 0, -EIO);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_STANDBY);
    fake_complete(f, 0, 0);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_RESIDENT);
    g_assert_cmpuint(fake_read(f, PAGE(1, 0)), ==, 50);
    g_assert_cmpuint(fake_read(f, PAGE(1, 5)), ==, 15);
    fake_complete_all(f);
    fake_free(f);
}

/* Who waits for a page keeps its chunk in memory. */
static void test_chunk_stays_while_it_waits(void)
{
    Fake *f = fake_new(ROOMY, false);

    swapped_chunk(f, 1, 10);
    g_assert_cmpuint(fake_read(f, PAGE(1, 0)), ==, 10);
    f->pager.fault_number += 100;
    g_assert_null(fake_touch(f, PAGE(1, 5), false));
    g_assert_cmpint(vmd_chunk_move_out(&f->pager, 1), ==, -EBUSY);
    fake_complete_all(f);
    g_assert_cmpint(vmd_chunk_move_out(&f->pager, 1), ==, 0);
    fake_free(f);
}

/* What arrives for a page that was discarded meanwhile is thrown away. */
static void test_discard_beats_landing(void)
{
    Fake *f = fake_new(ROOMY, false);
    unsigned long all[RAM_CHUNK_LONGS];

    memset(all, 0xff, sizeof(all));
    swapped_chunk(f, 1, 10);
    g_assert_null(fake_touch(f, PAGE(1, 5), false));
    vmd_chunk_discard(&f->pager, 1, all);
    fake_write(f, PAGE(1, 5), 77); /* a new page, while the old one flies */
    fake_complete_all(f);
    g_assert_cmpuint(fake_read(f, PAGE(1, 5)), ==, 77);
    g_assert_cmpuint(fake_read(f, PAGE(1, 6)), ==, 0);
    g_assert_cmpuint(f->pager.landing_pages, ==, 0);
    fake_free(f);
}

/* A window that cannot be read: the page alone can. */
static void test_error_in_window(void)
{
    Fake *f = fake_new(ROOMY, false);

    swapped_chunk(f, 1, 10);
    fake_make_dense(f, 1);
    f->pager.chunks[1].heat = 0;
    g_assert_null(fake_touch(f, PAGE(1, 2), false));
    for (unsigned k = 0; k < VMD_READ_TRIES; k++) {
        g_assert_cmpuint(fake_request(f, 0)->len, ==, 4 * RAM_PAGE_BYTES);
        fake_complete(f, 0, -EIO);
    }
    g_assert_cmpuint(fake_requests(f), ==, 0);
    f->pager.fault_number += 100;
    g_assert_null(fake_touch(f, PAGE(1, 2), false));
    g_assert_cmpuint(fake_request(f, 0)->len, ==, RAM_PAGE_BYTES);
    fake_complete(f, 0, 0);
    g_assert_cmpuint(fake_read(f, PAGE(1, 2)), ==, 12);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    fake_free(f);
}

/* Nothing can be read, and the guest faults again and again at once, as a
 * dense reader does: it ends with a chunk that has failed. */
static void test_error_in_dense_chunk(void)
{
    Fake *f = fake_new(ROOMY, false);
    unsigned reads = 0;

    swapped_chunk(f, 1, 10);
    fake_make_dense(f, 1);
    f->pager.chunks[1].heat = 0;
    while (fake_state(f, 1) != VMD_FAILED) {
        g_assert_null(fake_touch(f, PAGE(1, 2), false));
        for (; fake_requests(f) > 0; reads++) {
            fake_complete(f, 0, -EIO);
        }
        g_assert_cmpuint(reads, <=, 6 * VMD_READ_TRIES);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 1);
    vmd_pager_retry(&f->pager);
    g_assert_cmpuint(fake_read(f, PAGE(1, 2)), ==, 12);
    g_assert_cmpuint(fake_read(f, PAGE(1, 5)), ==, 15);
    fake_complete_all(f);
    fake_free(f);
}

/* Its only page cannot be read, while the chunk is being written. */
static void test_error_while_writing(void)
{
    Fake *f = fake_new(ROOMY, false);

    swapped_chunk(f, 1, 10);
    fake_write(f, PAGE(1, 0), 50);
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    f->pager.fault_number += 100;
    g_assert_null(fake_touch(f, PAGE(1, 5), false));
    for (unsigned k = 0; k < VMD_READ_TRIES; k++) {
        fake_complete(f, fake_requests(f) - 1, -EIO);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 1);
    fake_complete(f, 0, 0);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_FAILED);
    vmd_pager_retry(&f->pager);
    g_assert_cmpuint(fake_read(f, PAGE(1, 0)), ==, 50);
    g_assert_cmpuint(fake_read(f, PAGE(1, 5)), ==, 15);
    fake_complete_all(f);
    fake_free(f);
}

/* Chunk 1 is being written, request 0; its page 5 could not be read. */
static void error_while_writing(Fake *f)
{
    swapped_chunk(f, 1, 10);
    fake_write(f, PAGE(1, 0), 50);
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    f->pager.fault_number += 100;
    g_assert_null(fake_touch(f, PAGE(1, 5), false));
    for (unsigned k = 0; k < VMD_READ_TRIES; k++) {
        fake_complete(f, fake_requests(f) - 1, -EIO);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 1);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_WRITING);
}

/* "cont" while the write is under way: the chunk does not fail afterwards,
 * when nobody is told any more. */
static void test_retry_while_writing(void)
{
    Fake *f = fake_new(ROOMY, false);

    error_while_writing(f);
    vmd_pager_retry(&f->pager);
    fake_complete(f, 0, 0);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_SWAPPED);
    g_assert_cmpuint(fake_read(f, PAGE(1, 5)), ==, 15);
    g_assert_cmpuint(fake_read(f, PAGE(1, 0)), ==, 50);
    fake_complete_all(f);
    fake_free(f);
}

/* The write fails as well: FAILED now, not at a later page-out. */
static void test_read_and_write_errors(void)
{
    Fake *f = fake_new(ROOMY, false);

    error_while_writing(f);
    fake_complete(f, 0, -EIO);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_FAILED);
    vmd_pager_retry(&f->pager);
    g_assert_cmpuint(fake_read(f, PAGE(1, 5)), ==, 15);
    g_assert_cmpuint(fake_read(f, PAGE(1, 0)), ==, 50);
    fake_complete_all(f);
    fake_swap_out(f, 1);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_SWAPPED);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/window/scattered", test_scattered_fault_brings_one_page);
    g_test_add_func("/window/sequence", test_sequence_grows_to_whole_chunks);
    g_test_add_func("/landing/write", test_write_comes_in_writable);
    g_test_add_func("/read-first/guess",
                    test_readers_that_write_get_writable_pages);
    g_test_add_func("/read-first/tracking",
                    test_readers_are_watched_while_tracking);
    g_test_add_func("/landing/reader-and-writer", test_reader_and_writer_meet);
    g_test_add_func("/landing/while-writing", test_lands_while_writing);
    g_test_add_func("/landing/write-fails-after-landing",
                    test_write_fails_after_landing);
    g_test_add_func("/landing/in-standby", test_lands_in_standby);
    g_test_add_func("/landing/chunk-stays", test_chunk_stays_while_it_waits);
    g_test_add_func("/landing/discard", test_discard_beats_landing);
    g_test_add_func("/landing/error-in-window", test_error_in_window);
    g_test_add_func("/landing/error-in-dense-chunk",
                    test_error_in_dense_chunk);
    g_test_add_func("/landing/error-while-writing", test_error_while_writing);
    g_test_add_func("/landing/retry-while-writing", test_retry_while_writing);
    g_test_add_func("/landing/read-and-write-errors",
                    test_read_and_write_errors);
    return g_test_run();
}
