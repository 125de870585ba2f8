/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The benchmarks' arithmetic in the test guest: a histogram that counts into
 * wrong buckets, or a skew that is not Zipf's, would bend every figure.
 */
#include <glib.h>
#include <math.h>

#include "hist.h"
#include "zipf.h"

#define EXPONENT 0.99

/* Buckets do not overlap, leave nothing out, and are at most 1/16 wide. */
static void test_hist_buckets(void)
{
    uint64_t begin = 0;

    for (uint64_t v = 1; v < 1u << 20; v++) {
        unsigned last = hist_index(v - 1), index = hist_index(v);

        g_assert_true(index == last || index == last + 1);
        if (index != last) {
            begin = v;
        }
        g_assert_cmpuint((v - begin) * 16, <=, begin);
    }
    g_assert_cmpuint(hist_index(0), ==, 0);
    g_assert_cmpuint(hist_index(15), ==, 15);
    g_assert_cmpuint(hist_index(16), ==, 16);
    g_assert_cmpuint(hist_index(31), ==, 31);
    g_assert_cmpuint(hist_index(32), ==, 32);
    g_assert_cmpuint(hist_index(33), ==, 32);
}

static void test_hist_ends(void)
{
    struct Hist hist = { 0 };

    g_assert_cmpuint(hist_index((1ull << 40) - 1), ==, HIST_BUCKETS - 1);
    g_assert_cmpuint(hist_index(UINT64_MAX), ==, HIST_BUCKETS - 1);
    hist_add(&hist, UINT64_MAX);
    hist_add(&hist, 0);
    g_assert_cmpuint(hist.count[0], ==, 1);
    g_assert_cmpuint(hist.count[HIST_BUCKETS - 1], ==, 1);
}

static void test_zipf_power(void)
{
    const double one = 4294967296.0;

    for (uint64_t x = 1ull << 32; x < 2ull << 32; x += 1234567) {
        double want = pow((double)x / one, -EXPONENT);

        g_assert_cmpfloat(fabs((double)zipf_power(x) / one / want - 1), <,
                          2e-6);
    }
}

static double weight(uint64_t ranks)
{
    double sum = 0;

    for (uint64_t r = 1; r <= ranks; r++) {
        sum += pow((double)r, -EXPONENT);
    }
    return sum;
}

static void test_zipf_weights(void)
{
    static const uint64_t sizes[] = { 1, 2, 3, 4, 1000, 1 << 20, 1234567 };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        struct Zipf zipf;
        double got;

        zipf_init(&zipf, sizes[i]);
        got = (double)zipf.below[zipf.octaves - 1] / pow(2, 40);
        g_assert_cmpfloat(fabs(got / weight(sizes[i]) - 1), <, 3e-6);
    }
}

/* splitmix64 */
static uint64_t next_random(void *opaque)
{
    uint64_t *state = opaque, x = *state += 0x9e3779b97f4a7c15ull;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* Each rank comes as often as it should, within five deviations. */
static void test_zipf_ranks(void)
{
    enum { RANKS = 1000, DRAWS = 2000000 };
    static unsigned counts[RANKS];
    double all = weight(RANKS);
    struct Zipf zipf;
    uint64_t state = 1;

    zipf_init(&zipf, RANKS);
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t rank = zipf_rank(&zipf, next_random, &state);

        g_assert_cmpuint(rank, <, RANKS);
        counts[rank]++;
    }
    for (unsigned r = 0; r < RANKS; r++) {
        double want = DRAWS * pow(r + 1, -EXPONENT) / all;

        g_assert_cmpfloat(fabs(counts[r] - want), <, 5 * sqrt(want));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest/hist/buckets", test_hist_buckets);
    g_test_add_func("/guest/hist/ends", test_hist_ends);
    g_test_add_func("/guest/zipf/power", test_zipf_power);
    g_test_add_func("/guest/zipf/weights", test_zipf_weights);
    g_test_add_func("/guest/zipf/ranks", test_zipf_ranks);
    return g_test_run();
}
