/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs of bits in bitmaps of unsigned longs.
 *
 * Why: residency, dirty and sent maps are walked in runs of many bits; word
 * at a time is 64 times less work than bit at a time. Each function cuts its
 * range into words with run_mask(). Threads: see bits.h.
 */
#include "util/bits.h"

#include <glib.h>

/* The part of [first, end) that lies in word w, as a mask. first < end. */
static unsigned long run_mask(size_t w, size_t first, size_t end)
{
    unsigned long mask = ~0ul;

    if (w == first / 64) {
        mask &= ~0ul << (first % 64);
    }
    if (w == (end - 1) / 64) {
        mask &= ~0ul >> (63 - (end - 1) % 64);
    }
    return mask;
}

unsigned long *vm_bitmap_new(size_t bits)
{
    return g_new0(unsigned long, VM_BITMAP_LONGS(bits));
}

void vm_bitmap_set(unsigned long *map, size_t first, size_t count)
{
    size_t end = first + count;

    for (size_t w = first / 64; count && w <= (end - 1) / 64; w++) {
        map[w] |= run_mask(w, first, end);
    }
}

void vm_bitmap_clear(unsigned long *map, size_t first, size_t count)
{
    size_t end = first + count;

    for (size_t w = first / 64; count && w <= (end - 1) / 64; w++) {
        map[w] &= ~run_mask(w, first, end);
    }
}

size_t vm_bitmap_count(const unsigned long *map, size_t first, size_t count)
{
    size_t end = first + count;
    size_t total = 0;

    for (size_t w = first / 64; count && w <= (end - 1) / 64; w++) {
        total += (size_t)__builtin_popcountl(map[w] & run_mask(w, first, end));
    }
    return total;
}

/* First bit in [first, end) that differs from those of flip, or end. */
static size_t next_bit(const unsigned long *map, size_t first, size_t end,
                       unsigned long flip)
{
    if (first >= end) {
        return end;
    }
    for (size_t w = first / 64; w <= (end - 1) / 64; w++) {
        unsigned long found = (map[w] ^ flip) & run_mask(w, first, end);

        if (found) {
            return w * 64 + (size_t)__builtin_ctzl(found);
        }
    }
    return end;
}

size_t vm_bitmap_next_set(const unsigned long *map, size_t first, size_t end)
{
    return next_bit(map, first, end, 0);
}

size_t vm_bitmap_next_clear(const unsigned long *map, size_t first, size_t end)
{
    return next_bit(map, first, end, ~0ul);
}

void vm_bitmap_set_atomic(unsigned long *map, size_t first, size_t count)
{
    size_t end = first + count;

    for (size_t w = first / 64; count && w <= (end - 1) / 64; w++) {
        /*
         * Release: pairs with the acquire in vm_bitmap_take_word(). Without
         * it the taker could see the bit but not the data that it announces.
         */
        __atomic_fetch_or(&map[w], run_mask(w, first, end), __ATOMIC_RELEASE);
    }
}

unsigned long vm_bitmap_take_word(unsigned long *map, size_t word)
{
    /* Acquire: pairs with the release in vm_bitmap_set_atomic(). */
    return __atomic_exchange_n(&map[word], 0ul, __ATOMIC_ACQUIRE);
}
