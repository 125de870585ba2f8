/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compiled once for each kind of vector instructions; KIND is its function. */
#include "page-hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

VmdPageHash KIND(const void *data, size_t len, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(data, len, seed);

    return (VmdPageHash){ hash.low64, hash.high64 };
}
