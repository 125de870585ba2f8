/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bitmaps of unsigned longs, plain and atomic, and runs of bits.
 *
 * Bit n is bit n % 64 of word n / 64. Threads: the plain functions need one
 * owner; the _atomic ones may race with each other. No function allocates
 * but vm_bitmap_new().
 */
#ifndef VM_UTIL_BITS_H
#define VM_UTIL_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VM_BITS_PER_LONG 64u
#define VM_BITMAP_LONGS(n) (((size_t)(n) + 63u) / 64u)

unsigned long *vm_bitmap_new(size_t bits); /* zeroed; g_free() */

static inline bool vm_bit_test(const unsigned long *map, size_t n)
{
    return (map[n / 64] >> (n % 64)) & 1;
}

static inline void vm_bit_set(unsigned long *map, size_t n)
{
    map[n / 64] |= 1ul << (n % 64);
}

static inline void vm_bit_clear(unsigned long *map, size_t n)
{
    map[n / 64] &= ~(1ul << (n % 64));
}

void vm_bitmap_set(unsigned long *map, size_t first, size_t count);
void vm_bitmap_clear(unsigned long *map, size_t first, size_t count);
size_t vm_bitmap_count(const unsigned long *map, size_t first, size_t count);
/* First set (clear) bit in [first, end), or end. */
size_t vm_bitmap_next_set(const unsigned long *map, size_t first, size_t end);
size_t vm_bitmap_next_clear(const unsigned long *map, size_t first,
                            size_t end);

/* Release order: what was written before the set is seen by the taker. */
void vm_bitmap_set_atomic(unsigned long *map, size_t first, size_t count);
/* Takes and clears one word (64 bits) with acquire order. */
unsigned long vm_bitmap_take_word(unsigned long *map, size_t word);

#endif
