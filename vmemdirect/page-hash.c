/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The secret, and the choice of the code that fits the CPU. */
#include "page-hash.h"

#include <pthread.h>
#include <sys/random.h>

static uint64_t seed;
static bool has_avx2;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
    while (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
    }
    has_avx2 = __builtin_cpu_supports("avx2");
}

VmdPageHash vmd_page_hash(const void *data, size_t len)
{
    (void)pthread_once(&once, start);
    return has_avx2 ? vmd_page_hash_avx2(data, len, seed)
                    : vmd_page_hash_sse2(data, len, seed);
}
