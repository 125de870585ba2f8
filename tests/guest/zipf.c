/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Zipf ranks by rejection.
 *
 * Rank r (from 1) has the weight r^-0.99. First an octave [2^o, 2^(o+1)) is
 * chosen by its exact weight, then a rank evenly within it, which is accepted
 * with (r / 2^o)^-0.99, a number between 1/2 and 1. So there is no table of
 * ranks that would itself be paged, and no floating point, which the guest
 * does not have.
 */
#include "zipf.h"

#define ONE (1ull << 32)
#define POWER_OF_2 0x101c7d6c4ull    /* 2^0.01 in units of 2^-32         */
#define LN_POWER_OF_2 0x1c642ccb8ull /* ln 2^0.01 in units of 2^-40      */

/* log2 of x / 2^31 in units of 2^-20, for x in [2^31, 2^32), by squaring. */
static uint32_t log2_fraction(uint64_t x)
{
    uint32_t log = 0;

    for (unsigned i = 0; i < 20; i++) {
        x = x * x >> 31;
        log <<= 1;
        if (x >= ONE) {
            x >>= 1;
            log |= 1;
        }
    }
    return log;
}

/* x^-0.99 = x^0.01 / x, and x^0.01 = exp(ln 2^0.01 * log2 x), whose exponent
 * is below 0.007: three terms of the series leave less than 1e-7. */
uint64_t zipf_power(uint64_t x)
{
    uint64_t t = log2_fraction(x >> 1) * (LN_POWER_OF_2 >> 8) >> 20;
    uint64_t power = ONE + t + (t * t >> 33);

    /* In 64 bits: there is no library to divide 128. */
    return (power << 30) / (x >> 2);
}

void zipf_init(struct Zipf *zipf, uint64_t ranks)
{
    uint64_t scale = ONE << 8; /* 2^(-0.99 o), in units of 2^-40 */
    uint64_t sum = 0;
    unsigned o;

    zipf->ranks = ranks;
    for (o = 0; o < ZIPF_OCTAVES_MAX && ranks >> o != 0; o++) {
        uint64_t first = 1ull << o, end = first << 1, in_octave = 0;

        end = end <= ranks + 1 ? end : ranks + 1;
        for (uint64_t r = first; r < end; r++) {
            in_octave += zipf_power(r << (32 - o));
        }
        sum += (uint64_t)((unsigned __int128)in_octave * scale >> 32);
        zipf->below[o] = sum;
        scale = (uint64_t)((unsigned __int128)scale * POWER_OF_2 >> 33);
    }
    zipf->octaves = o;
}

static uint64_t below(uint64_t random, uint64_t limit)
{
    return (uint64_t)((unsigned __int128)random * limit >> 64);
}

uint64_t zipf_rank(const struct Zipf *zipf, uint64_t (*next)(void *opaque),
                   void *opaque)
{
    uint64_t u = below(next(opaque), zipf->below[zipf->octaves - 1]);
    uint64_t r, first, width;
    unsigned o = 0;

    while (u >= zipf->below[o]) {
        o++;
    }
    first = 1ull << o;
    width = zipf->ranks + 1 - first;
    width = width < first ? width : first;
    do {
        r = first + below(next(opaque), width);
    } while ((next(opaque) >> 32) >= zipf_power(r << (32 - o)));
    return r - 1;
}
