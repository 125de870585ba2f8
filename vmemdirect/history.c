/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access history: aging, keys, and the lists that reclaim chooses from.
 *
 * Each page has 8 bits: at each interval they shift right, and bit 7 takes
 * whether the page was accessed in it (aging). A chunk's key is the largest
 * of its pages' values as they would be if the interval ended now. Resident
 * chunks hang in one list per key, in order of arrival, so that the coldest
 * is found in O(1).
 *
 * What is known of accesses without help from the kernel:
 *   - a page that faulted was accessed;
 *   - a chunk outside of the guest mapping was not, unless it faulted;
 *   - nothing about pages of a resident chunk. The soft tracker finds out: it
 *     moves a few resident chunks to STANDBY in each interval, in the order of
 *     a clock; those that are touched come back by a soft fault and say so.
 * So a chunk ages (its pages shift) when something is known of it: it is not
 * resident, or one of its pages was accessed in the interval. Others keep
 * what they have until their turn comes.
 *
 * Sampling has a purse: 1 % of the time goes in, and what it costs is taken
 * out as it is measured, for the guest's part by an estimate. A cold chunk
 * costs one move; a hot one much more, so a guest that uses all of its memory
 * is sampled seldom. Where moves are slow (nested virtualisation), so is
 * sampling.
 *
 * The walk over all chunks is cut in VMD_AGING_SLICES, so that a large VM
 * does not stop the pager for long.
 *
 * Invariants: (H1) a chunk is on the list resident[key], or on behind if it is
 * marked so, iff it is RESIDENT; on standby iff it is STANDBY. (H2)
 * resident_keys has a bit for each list that is not empty.
 *
 * Threads: the pager thread; history_lock lets others copy histories.
 */
#include "pager-internal.h"

#include <string.h>

/* Bounds of one slice. */
#define SAMPLES_PER_SLICE 8u
#define SAMPLE_TRIES_PER_SLICE 4096u
/*
 * What the guest pays for a sampled chunk that it uses, in multiples of what
 * the pager paid for moving it out and back: the fault, and the entries of
 * the second-level page table that have to be made again one by one. Measured
 * on shadow paging: 61 us for the two moves of 1 MiB, 64 us for the fault,
 * 0.9 us for each of 256 entries.
 */
#define GUEST_COST_FACTOR 10
/* The share of one CPU that tracking may cost, as a divisor: 1 %. */
#define COST_DIVISOR 100

void vmd_history_init(VmdPager *p)
{
    vm_mutex_init(&p->history_lock, VM_RANK_LEAF);
    p->history = g_new0(uint8_t, p->cfg.pages);
    p->accessed = vm_bitmap_new(p->cfg.pages);
    for (unsigned k = 0; k < 256; k++) {
        p->resident[k] = (VmdList){ VMD_NONE, VMD_NONE, 0 };
    }
    p->standby = (VmdList){ VMD_NONE, VMD_NONE, 0 };
    p->behind = (VmdList){ VMD_NONE, VMD_NONE, 0 };
    p->next_slice_ns = p->cfg.now_ns() +
                       p->cfg.aging_interval_ns / VMD_AGING_SLICES;
}

void vmd_history_done(VmdPager *p)
{
    vm_mutex_done(&p->history_lock);
    g_free(p->history);
    g_free(p->accessed);
}

/* --- lists --------------------------------------------------------------- */

static void list_append(VmdPager *p, VmdList *list, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];

    chunk->next = VMD_NONE;
    chunk->prev = list->last;
    if (list->last != VMD_NONE) {
        p->chunks[list->last].next = c;
    } else {
        list->first = c;
    }
    list->last = c;
    list->count++;
}

static void list_remove(VmdPager *p, VmdList *list, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];

    if (chunk->prev != VMD_NONE) {
        p->chunks[chunk->prev].next = chunk->next;
    } else {
        list->first = chunk->next;
    }
    if (chunk->next != VMD_NONE) {
        p->chunks[chunk->next].prev = chunk->prev;
    } else {
        list->last = chunk->prev;
    }
    list->count--;
}

void vmd_resident_add(VmdPager *p, ChunkNo c)
{
    uint8_t key = p->chunks[c].key;

    if (p->chunks[c].behind) {
        list_append(p, &p->behind, c);
        return;
    }
    list_append(p, &p->resident[key], c);
    vm_bit_set(p->resident_keys, key);
}

void vmd_resident_remove(VmdPager *p, ChunkNo c)
{
    uint8_t key = p->chunks[c].key;

    if (p->chunks[c].behind) {
        list_remove(p, &p->behind, c);
        return;
    }
    list_remove(p, &p->resident[key], c);
    if (p->resident[key].count == 0) {
        vm_bit_clear(p->resident_keys, key);
    }
}

void vmd_standby_add(VmdPager *p, ChunkNo c)
{
    list_append(p, &p->standby, c);
}

void vmd_standby_remove(VmdPager *p, ChunkNo c)
{
    list_remove(p, &p->standby, c);
}

ChunkNo vmd_resident_coldest(const VmdPager *p)
{
    size_t key = vm_bitmap_next_set(p->resident_keys, 0, 256);

    if (p->behind.count > 0) {
        return p->behind.first;
    }
    return key < 256 ? p->resident[key].first : VMD_NONE;
}

void vmd_resident_to_tail(VmdPager *p, ChunkNo c)
{
    vmd_resident_remove(p, c);
    vmd_resident_add(p, c);
}

static void set_key(VmdPager *p, ChunkNo c, uint8_t key)
{
    VmdChunk *chunk = &p->chunks[c];

    if (chunk->key == key) {
        return;
    }
    if (chunk->state == VMD_RESIDENT) {
        vmd_resident_remove(p, c);
        chunk->key = key;
        vmd_resident_add(p, c);
    } else {
        chunk->key = key;
    }
}

/* --- aging --------------------------------------------------------------- */

static uint8_t aged(uint8_t history, bool accessed)
{
    return (uint8_t)((history >> 1) | (accessed ? 0x80 : 0));
}

void vmd_history_accessed(VmdPager *p, PageNo page)
{
    ChunkNo c = (ChunkNo)(page / p->cfg.chunk_pages);
    VmdChunk *chunk = &p->chunks[c];

    if (!vm_bit_test(p->accessed, page)) {
        vm_bit_set(p->accessed, page);
        chunk->accessed = true;
        set_key(p, c, MAX(chunk->key, aged(p->history[page], true)));
    }
}

static uint8_t largest(const uint8_t *history, uint32_t n)
{
    uint8_t key = 0;

    for (uint32_t i = 0; i < n; i++) {
        key = MAX(key, history[i]);
    }
    return key;
}

void vmd_history_set(VmdPager *p, ChunkNo c, const uint8_t *history)
{
    PageNo first = vmd_first_page(p, c);
    uint32_t n = vmd_chunk_len(p, c);

    vm_mutex_lock(&p->history_lock);
    memcpy(p->history + first, history, n);
    vm_mutex_unlock(&p->history_lock);
    vm_bitmap_clear(p->accessed, first, n);
    p->chunks[c].accessed = false;
    set_key(p, c, largest(history, n));
}

static bool is_known(const VmdChunk *chunk)
{
    return chunk->accessed ||
           (chunk->state != VMD_RESIDENT && chunk->state != VMD_FILLING);
}

static void age_chunk(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];
    PageNo first = vmd_first_page(p, c);
    uint32_t n = vmd_chunk_len(p, c);
    uint8_t *history = p->history + first;

    if (!is_known(chunk) || (chunk->key == 0 && !chunk->accessed)) {
        return;
    }
    vm_mutex_lock(&p->history_lock);
    for (uint32_t i = 0; i < n; i++) {
        history[i] >>= 1;
    }
    if (chunk->accessed) {
        for (size_t i = vm_bitmap_next_set(p->accessed, first, first + n);
             i < first + n;
             i = vm_bitmap_next_set(p->accessed, i + 1, first + n)) {
            p->history[i] |= 0x80;
        }
    }
    uint8_t key = largest(history, n);
    vm_mutex_unlock(&p->history_lock);
    vm_bitmap_clear(p->accessed, first, n);
    chunk->accessed = false;
    set_key(p, c, key);
}

static int64_t slice_ns(const VmdPager *p)
{
    return p->cfg.aging_interval_ns / VMD_AGING_SLICES;
}

static void sample(VmdPager *p)
{
    unsigned left = SAMPLES_PER_SLICE;

    p->purse_ns = MIN(p->purse_ns + slice_ns(p) / COST_DIVISOR, slice_ns(p));
    for (unsigned n = 0; n < SAMPLE_TRIES_PER_SLICE && left > 0 &&
                         p->purse_ns > 0; n++) {
        ChunkNo c = p->sample_hand;
        VmdChunk *chunk = &p->chunks[c];

        p->sample_hand = (c + 1) % p->chunk_count;
        if (chunk->state != VMD_RESIDENT) {
            continue;
        }
        /* One full aging first: what just came in says nothing new. */
        if (chunk->fresh) {
            chunk->fresh = false;
            continue;
        }
        left--;
        int64_t start = p->cfg.now_ns();
        if (vmd_chunk_move_out(p, c) == 0) { /* else pinned, so in use */
            chunk->sampled = true;
        }
        p->purse_ns -= p->cfg.now_ns() - start;
    }
}

void vmd_history_recalled(VmdPager *p, ChunkNo c, int64_t cost_ns)
{
    if (p->chunks[c].sampled) {
        p->chunks[c].sampled = false;
        /* Out and in take about the same. */
        p->purse_ns -= 2 * cost_ns * GUEST_COST_FACTOR;
    }
}

void vmd_history_tick(VmdPager *p, int64_t now_ns)
{
    if (now_ns < p->next_slice_ns) {
        return;
    }
    uint32_t per_slice = (p->chunk_count + VMD_AGING_SLICES - 1) /
                         VMD_AGING_SLICES;
    uint32_t begin = p->slice * per_slice;
    uint32_t end = MIN(begin + per_slice, p->chunk_count);

    for (ChunkNo c = begin; c < end; c++) {
        age_chunk(p, c);
    }
    p->slice = (p->slice + 1) % VMD_AGING_SLICES;
    if (p->cfg.soft_tracker) {
        sample(p);
    }
    p->next_slice_ns = now_ns + slice_ns(p);
}
