/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hash that tells whether pages were changed (see mem-move.c): XXH3, 128
 * bits, with a secret seed made at the first use. A guest could only ever hurt
 * its own data with a collision, and cannot find one.
 *
 * Threads: any.
 */
#ifndef VMD_PAGE_HASH_H
#define VMD_PAGE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VmdPageHash {
    uint64_t low, high;
} VmdPageHash;

VmdPageHash vmd_page_hash(const void *data, size_t len);

static inline bool vmd_page_hash_equal(VmdPageHash a, VmdPageHash b)
{
    return a.low == b.low && a.high == b.high;
}

/* Private: the same for one kind of vector instructions each. */
VmdPageHash vmd_page_hash_sse2(const void *data, size_t len, uint64_t seed);
VmdPageHash vmd_page_hash_avx2(const void *data, size_t len, uint64_t seed);

#endif
