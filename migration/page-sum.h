/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The checksum of a page, docs/migration-format.md 4.2: XXH3, 64 bits, without
 * a seed. It finds damage, and is no defence against who wants it.
 *
 * Threads: any.
 */
#ifndef VM_MIGRATION_PAGE_SUM_H
#define VM_MIGRATION_PAGE_SUM_H

#include <stdint.h>

/* The guest may be writing to the page: the sum is of some mixture then. */
uint64_t mig_page_sum(const uint8_t *page);

#endif
