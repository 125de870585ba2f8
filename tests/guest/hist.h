/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Histogram of times: 16 buckets an octave, so that a bucket is at most 1/16
 * wide of its value. tests/bench/histogram.py has the same numbering.
 *
 * Knows nothing of the guest: the unit tests run it on the host.
 */
#ifndef GUEST_HIST_H
#define GUEST_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 4
#define HIST_SUB (1u << HIST_SUB_BITS)
#define HIST_VALUE_BITS 40 /* larger values go into the last bucket */
#define HIST_BUCKETS ((HIST_VALUE_BITS - HIST_SUB_BITS + 1) * HIST_SUB)

struct Hist {
    uint32_t count[HIST_BUCKETS];
};

/* Values below 16 have a bucket each; above, the bucket is the exponent and
 * the four bits behind the leading one. */
static inline unsigned hist_index(uint64_t value)
{
    unsigned exponent;

    if (value < HIST_SUB) {
        return (unsigned)value;
    }
    if (value >> HIST_VALUE_BITS != 0) {
        return HIST_BUCKETS - 1;
    }
    exponent = 63u - (unsigned)__builtin_clzll(value);
    return (exponent - HIST_SUB_BITS + 1) * HIST_SUB +
           (unsigned)(value >> (exponent - HIST_SUB_BITS) & (HIST_SUB - 1));
}

static inline void hist_add(struct Hist *hist, uint64_t value)
{
    hist->count[hist_index(value)]++;
}

#endif
