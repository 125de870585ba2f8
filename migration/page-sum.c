/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The checksum of a page. A file of its own, since the loops of the header
 * want -O3, and the library's own copy of them has 2 to 4 times the latency.
 */
#include "page-sum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "memory/ram.h"

uint64_t mig_page_sum(const uint8_t *page)
{
    return XXH3_64bits(page, RAM_PAGE_BYTES);
}
