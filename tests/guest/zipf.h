/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random ranks with the Zipf distribution of exponent 0.99, by integers.
 *
 * Knows nothing of the guest: the unit tests run it on the host.
 */
#ifndef GUEST_ZIPF_H
#define GUEST_ZIPF_H

#include <stdint.h>

#define ZIPF_OCTAVES_MAX 32

struct Zipf {
    uint64_t ranks;
    unsigned octaves;
    /* Weight of all ranks below 2^(i+1), in units of 2^-40. */
    uint64_t below[ZIPF_OCTAVES_MAX];
};

/* (x / 2^32)^-0.99 in units of 2^-32, for x in [2^32, 2^33); correct to
 * 2 parts in a million. */
uint64_t zipf_power(uint64_t x);
/* 1 <= ranks < 2^32. Takes tens of nanoseconds a rank. */
void zipf_init(struct Zipf *zipf, uint64_t ranks);
/* A rank in [0, ranks), 0 the most frequent. next gives 64 random bits. */
uint64_t zipf_rank(const struct Zipf *zipf, uint64_t (*next)(void *opaque),
                   void *opaque);

#endif
