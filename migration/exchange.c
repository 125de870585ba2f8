/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which chunks change places after the first pass.
 *
 * Why: the plan was made of what was known before the migration. A chunk that
 * is written while it runs is hot, whatever the history said; in swap at the
 * destination, each further copy of it would be a write to the device, some
 * of them while the VM stands, and a fault as soon as it runs there. So it
 * goes to RAM as a whole, from the source's memory and not from the
 * destination's disk, and the coldest chunks that nobody writes make room.
 *
 * Invariants:
 *   (1) to_swap has chunks that are in RAM, not written, and not known to be
 *       in use otherwise; to_ram has written ones in swap.
 *   (2) to_ram takes no more pages than to_swap and room_pages give.
 *   (3) A chunk goes to swap only if one that comes to RAM needs its place.
 */
#include "exchange.h"

#include <stdlib.h>

#include "util/bits.h"

/* A key of this or more: accessed in the present interval and the one before.
 * Less does not say much: a chunk of which nothing was heard since it came in
 * has the top bit as well. */
#define IN_USE 0xc0u

static uint64_t pages_of(ChunkNo chunk, uint32_t chunk_pages,
                         uint64_t total_pages)
{
    return MIN((uint64_t)chunk_pages,
               total_pages - (uint64_t)chunk * chunk_pages);
}

/* Sorts as a number: coldest first, then by chunk. */
static uint64_t sort_key(const RamChunkInfo *info, ChunkNo chunk)
{
    return (uint64_t)info->key << 32 | chunk;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Sorted keys of the chunks that are candidates. */
static GArray *candidates(const RamPlace *place, const RamChunkInfo *infos,
                          const unsigned long *written, uint32_t chunks,
                          RamPlace from)
{
    GArray *keys = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    for (ChunkNo c = 0; c < chunks; c++) {
        bool hot = vm_bit_test(written, c);
        bool wanted = from == RAM_PLACE_SWAP
                          ? hot
                          : !hot && infos[c].key < IN_USE;
        if (place[c] == from && wanted) {
            uint64_t key = sort_key(&infos[c], c);
            g_array_append_val(keys, key);
        }
    }
    g_array_sort(keys, compare_u64);
    return keys;
}

static ChunkNo chunk_at(const GArray *keys, uint32_t i)
{
    return (ChunkNo)g_array_index(keys, uint64_t, i);
}

MigExchange *mig_exchange_new(const RamPlace *place, const RamChunkInfo *infos,
                              const unsigned long *written, uint32_t chunks,
                              uint32_t chunk_pages, uint64_t total_pages,
                              uint64_t room_pages)
{
    g_autoptr(GArray) hot =
        candidates(place, infos, written, chunks, RAM_PLACE_SWAP);
    g_autoptr(GArray) cold =
        candidates(place, infos, written, chunks, RAM_PLACE_RAM);
    MigExchange *x = g_new0(MigExchange, 1);

    x->to_ram = g_new(ChunkNo, hot->len);
    x->to_swap = g_new(ChunkNo, cold->len);
    x->room_pages = room_pages;
    for (uint32_t i = hot->len; i-- > 0;) {
        ChunkNo c = chunk_at(hot, i);
        uint64_t need = pages_of(c, chunk_pages, total_pages);
        uint64_t room = x->room_pages;
        uint32_t taken = x->to_swap_count;

        while (room < need && taken < cold->len) {
            room += pages_of(chunk_at(cold, taken), chunk_pages, total_pages);
            taken++;
        }
        if (room < need) {
            break; /* (3) */
        }
        for (uint32_t k = x->to_swap_count; k < taken; k++) {
            x->to_swap[k] = chunk_at(cold, k);
        }
        x->to_swap_count = taken;
        x->room_pages = room - need;
        x->to_ram[x->to_ram_count++] = c;
    }
    return x;
}

void mig_exchange_free(MigExchange *x)
{
    if (x) {
        g_free(x->to_swap);
        g_free(x->to_ram);
        g_free(x);
    }
}
