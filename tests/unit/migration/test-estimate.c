/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: what is thought to fit within the downtime limit does, whether the
 * rest is few whole chunks or few pages of each of many.
 *
 * How: passes by numbers, of a destination that needs so long for a byte and
 * so long for a chunk.
 */
#include "../../../migration/estimate.h"

#include <glib.h>

#include "util/clock.h"

#define CHUNK_BYTES (256u << 10)
#define PAGE_BYTES 4096u
#define NS_PER_CHUNK (100 * VM_NS_PER_US)

/* 1 GB/s, and each chunk. */
static int64_t truth_ns(uint64_t bytes, uint64_t chunks)
{
    return (int64_t)(bytes + chunks * NS_PER_CHUNK);
}

static void pass(MigEstimate *e, uint64_t bytes, uint64_t chunks)
{
    mig_estimate_pass(e, bytes, chunks, truth_ns(bytes, chunks));
}

static void expect_ms(const MigEstimate *e, uint64_t bytes, uint64_t chunks,
                      int64_t want_ms)
{
    g_assert_cmpint((int64_t)(mig_estimate_ns(e, bytes, chunks) / 1e6), ==,
                    want_ms);
}

/* As the first pass was. */
static void test_whole_chunks(void)
{
    MigEstimate e = { 0 };

    mig_estimate_pass(&e, 1000 * CHUNK_BYTES, 1000, VM_NS_PER_SEC);
    expect_ms(&e, 1000 * CHUNK_BYTES, 1000, 1000);
    expect_ms(&e, 10 * CHUNK_BYTES, 10, 10);
    expect_ms(&e, 0, 0, 0);
}

/* A page of each chunk is 1/64 of the bytes, and was 1/64 of the time. */
static void test_few_pages_of_many_chunks(void)
{
    MigEstimate e = { 0 };
    uint64_t chunks = 2000, bytes = chunks * PAGE_BYTES;

    pass(&e, chunks * CHUNK_BYTES, chunks);
    g_assert_cmpfloat(mig_estimate_ns(&e, bytes, chunks), >=,
                      (double)truth_ns(bytes, chunks));
    /* After one such pass it is known. */
    pass(&e, bytes, chunks);
    expect_ms(&e, bytes, chunks,
              truth_ns(bytes, chunks) / VM_NS_PER_MS);
    expect_ms(&e, bytes / 4, chunks / 4,
              truth_ns(bytes / 4, chunks / 4) / VM_NS_PER_MS);
}

/* Whatever the passes were and the rest is. */
static void test_never_too_short(void)
{
    GRand *rand = g_rand_new_with_seed(11);

    for (int i = 0; i < 1000; i++) {
        MigEstimate e = { 0 };
        uint64_t chunks[2], bytes[2];

        for (int k = 0; k < 2; k++) {
            chunks[k] = (uint64_t)g_rand_int_range(rand, 256, 100000);
            bytes[k] = chunks[k] * PAGE_BYTES *
                       (uint64_t)g_rand_int_range(rand, 1, 65);
        }
        pass(&e, bytes[0], chunks[0]);
        g_assert_cmpfloat(mig_estimate_ns(&e, bytes[1], chunks[1]) * 1.000001,
                          >=, (double)truth_ns(bytes[1], chunks[1]));
    }
    g_rand_free(rand);
}

/* What a few bytes take is the way there and back, mostly. */
static void test_small_pass(void)
{
    MigEstimate e = { 0 };

    mig_estimate_pass(&e, 1000 * CHUNK_BYTES, 1000, VM_NS_PER_SEC);
    mig_estimate_pass(&e, PAGE_BYTES, 1, 100 * VM_NS_PER_MS);
    expect_ms(&e, 10 * CHUNK_BYTES, 10, 10);
    /* It was faster: that counts. */
    mig_estimate_pass(&e, 2 * PAGE_BYTES, 2, VM_NS_PER_US);
    expect_ms(&e, 10 * CHUNK_BYTES, 10, 0);
    /* And a large one counts whatever it says. */
    mig_estimate_pass(&e, 1000 * CHUNK_BYTES, 1000, 2 * VM_NS_PER_SEC);
    expect_ms(&e, 10 * CHUNK_BYTES, 10, 20);
}

/* No trap, and nothing is free that was never tried. */
static void test_extremes(void)
{
    MigEstimate e = { 0 };

    mig_estimate_pass(&e, 0, 0, 0);
    g_assert_cmpfloat(mig_estimate_ns(&e, 1, 1), >=, 0.999e9);
    g_assert_cmpfloat(mig_estimate_ns(&e, 0, 0), ==, 0);
    mig_estimate_pass(&e, UINT64_MAX, UINT64_MAX, INT64_MAX);
    g_assert_cmpfloat(mig_estimate_ns(&e, UINT64_MAX, 1), >, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/estimate/whole-chunks", test_whole_chunks);
    g_test_add_func("/estimate/few-pages-of-many-chunks",
                    test_few_pages_of_many_chunks);
    g_test_add_func("/estimate/never-too-short", test_never_too_short);
    g_test_add_func("/estimate/small-pass", test_small_pass);
    g_test_add_func("/estimate/extremes", test_extremes);
    return g_test_run();
}
