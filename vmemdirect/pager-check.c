/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pager looked at from outside: its invariants, and its statistics.
 *
 * The numbers in parentheses are those at the head of pager.c, frame.c and
 * history.c. Threads: the pager thread.
 */
#include "backing.h"
#include "pager-internal.h"

static bool has_frame(const VmdChunk *chunk)
{
    return chunk->state == VMD_STANDBY || chunk->state == VMD_WRITING ||
           chunk->state == VMD_FILLING;
}

static void check_chunk(VmdPager *p, ChunkNo c)
{
    const VmdChunk *chunk = &p->chunks[c];
    PageNo first = vmd_first_page(p, c);
    uint32_t len = vmd_chunk_len(p, c);
    size_t present = vm_bitmap_count(p->present, first, len);
    size_t stored = vm_bitmap_count(p->stored, first, len);

    g_assert(has_frame(chunk) == (chunk->frame != VMD_NONE)); /* (1) */
    g_assert(!chunk->failed || chunk->state == VMD_WRITING ||
             chunk->state == VMD_FILLING); /* (11) */
    switch ((VmdChunkState)chunk->state) { /* (2) */
    case VMD_ZERO:
        g_assert(present == 0 && stored == 0);
        break;
    case VMD_SWAPPED:
        g_assert(present == 0 && stored > 0);
        break;
    case VMD_STANDBY:
        g_assert(present == 0);
        break;
    case VMD_RESIDENT:
        g_assert(present > 0);
        break;
    default:
        break;
    }
    g_assert(!chunk->huge || (present == p->cfg.chunk_pages &&
                              chunk->state == VMD_RESIDENT)); /* (G1) */
    for (uint32_t i = 0; i < len; i++) { /* (5) */
        if (vmd_page_in_frame(p, c, i) && vmd_page_present(p, first + i)) {
            g_assert(chunk->state == VMD_WRITING && chunk->recalled);
            g_assert(!vmd_page_stored(p, first + i));
        }
    }
}

static void check_history(const VmdPager *p, ChunkNo c)
{
    PageNo first = vmd_first_page(p, c);
    uint8_t key = 0;
    bool any = false;

    for (PageNo page = first; page < first + vmd_chunk_len(p, c); page++) {
        uint8_t value = p->history[page];
        if (vm_bit_test(p->accessed, page)) {
            any = true;
            value = MAX(value, (uint8_t)(value >> 1 | 0x80));
        }
        key = MAX(key, value);
    }
    g_assert(p->chunks[c].key == key); /* (H3) */
    g_assert(p->chunks[c].accessed == any);
}

static void check_list(const VmdPager *p, const VmdList *list,
                       VmdChunkState state, int key)
{
    uint64_t count = 0;

    for (ChunkNo c = list->first; c != VMD_NONE; c = p->chunks[c].next) {
        g_assert(p->chunks[c].state == state); /* (H1) */
        g_assert(key < 0 || p->chunks[c].key == key);
        count++;
    }
    g_assert(count == list->count);
}

static size_t populated_slots(const VmdPager *p, FrameNo f)
{
    return vm_bitmap_count(p->frames.populated, vmd_frame_first(p, f),
                           p->cfg.chunk_pages);
}

static void check_frames(const VmdPager *p)
{
    const VmdFrames *fr = &p->frames;
    uint64_t stale = 0;

    for (FrameNo f = fr->stale; f != VMD_NONE; f = fr->next[f]) {
        stale += populated_slots(p, f);
        g_assert(!fr->owner[f] && !vm_bit_test(fr->huge, f)); /* (F4) */
    }
    for (FrameNo f = fr->stale_huge; f != VMD_NONE; f = fr->next[f]) {
        stale += populated_slots(p, f);
        g_assert(!fr->owner[f] && vm_bit_test(fr->huge, f)); /* (F4) */
    }
    for (FrameNo f = 0; f < fr->count; f++) {
        g_assert(!vm_bit_test(fr->huge, f) ||
                 populated_slots(p, f) == p->cfg.chunk_pages); /* (F4) */
    }
    g_assert(stale == fr->stale_pages); /* (F2) */
    for (FrameNo f = fr->empty; f != VMD_NONE; f = fr->next[f]) {
        g_assert(populated_slots(p, f) == 0); /* (F3) */
        g_assert(!fr->owner[f]);
    }
    g_assert(vm_bitmap_count(fr->populated, 0,
                             (size_t)fr->count * p->cfg.chunk_pages) ==
             fr->populated_pages); /* (F1) */
}

void vmd_pager_check(VmdPager *p)
{
    uint64_t resident = 0, by_state[VMD_STATE__COUNT] = { 0 };
    uint64_t standby_pages = 0, writing_pages = 0, failing = 0;

    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        const VmdChunk *chunk = &p->chunks[c];
        check_chunk(p, c);
        check_history(p, c);
        by_state[chunk->state]++;
        failing += chunk->failed;
        for (uint32_t i = 0; i < vmd_chunk_len(p, c); i++) {
            if (vmd_page_in_frame(p, c, i)) {
                standby_pages += chunk->state == VMD_STANDBY;
                writing_pages += chunk->state == VMD_WRITING;
            }
        }
    }
    for (int key = 0; key < 256; key++) {
        check_list(p, &p->resident[key], VMD_RESIDENT, key);
        g_assert(vm_bit_test(p->resident_keys, (size_t)key) ==
                 (p->resident[key].count > 0)); /* (H2) */
        resident += p->resident[key].count;
    }
    check_list(p, &p->standby, VMD_STANDBY, -1);
    check_list(p, &p->behind, VMD_RESIDENT, -1);
    g_assert(resident + p->behind.count == by_state[VMD_RESIDENT]);
    g_assert(p->standby.count == by_state[VMD_STANDBY]);
    g_assert(failing + by_state[VMD_FAILED] == p->failed_chunks);
    g_assert(p->failed_chunks == 0 ||
             vmd_health_has(&p->health, VMD_TROUBLE_READ)); /* (11) */
    g_assert(standby_pages == p->standby_pages);
    g_assert(writing_pages == p->writing_pages);
    g_assert(vm_bitmap_count(p->present, 0, p->cfg.pages) ==
             p->guest_pages); /* (8) */
    g_assert(vmd_used_pages(p) <= p->budget.limit_pages); /* (B1) */
    g_assert(p->budget.limit_pages >= p->cfg.budget_pages);
    check_frames(p);
}

/* --- statistics ---------------------------------------------------------- */

/* Pages of c by where they are. */
static void count_chunk(const VmdPager *p, ChunkNo c, VmdStats *s)
{
    PageNo first = vmd_first_page(p, c);

    for (uint32_t i = 0; i < vmd_chunk_len(p, c); i++) {
        bool stored = vmd_page_stored(p, first + i);
        bool present = vmd_page_present(p, first + i);
        if (present || vmd_page_in_frame(p, c, i)) {
            *(present ? &s->resident_bytes : &s->standby_bytes) +=
                RAM_PAGE_BYTES;
            *(stored ? &s->clean_bytes : &s->dirty_bytes) += RAM_PAGE_BYTES;
        } else {
            *(stored ? &s->swapped_bytes : &s->zero_bytes) += RAM_PAGE_BYTES;
        }
    }
}

/* The common cases by whole chunks, so that a large VM costs little. */
static void count_pages(const VmdPager *p, ChunkNo c, VmdStats *s)
{
    uint64_t bytes = (uint64_t)vmd_chunk_len(p, c) * RAM_PAGE_BYTES;
    uint64_t stored;

    switch ((VmdChunkState)p->chunks[c].state) {
    case VMD_ZERO:
        s->zero_bytes += bytes;
        break;
    case VMD_SWAPPED:
        stored = vm_bitmap_count(p->stored, vmd_first_page(p, c),
                                 vmd_chunk_len(p, c)) * RAM_PAGE_BYTES;
        s->swapped_bytes += stored;
        s->zero_bytes += bytes - stored;
        break;
    default:
        count_chunk(p, c, s);
        break;
    }
}

static uint64_t count_both(const unsigned long *a, const unsigned long *b,
                           uint64_t bits)
{
    uint64_t count = 0;

    for (size_t w = 0; w < VM_BITMAP_LONGS(bits); w++) {
        count += (uint64_t)__builtin_popcountl(a[w] & b[w]);
    }
    return count;
}

void vmd_pager_fill_stats(VmdPager *p, VmdStats *ret)
{
    *ret = p->stats; /* the counters */
    vmd_budget_fill_stats(p, ret);
    ret->ram_bytes = p->cfg.pages * RAM_PAGE_BYTES;
    ret->chunk_pages = p->cfg.chunk_pages;
    ret->frames_bytes = p->frames.populated_pages * RAM_PAGE_BYTES;
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        const VmdChunk *chunk = &p->chunks[c];
        count_pages(p, c, ret);
        ret->chunks_by_state[chunk->state]++;
        ret->key_histogram[chunk->key]++;
        ret->pinned_chunks += atomic_load(&p->pins[c]) > 0;
    }
    ret->failed_chunks = p->failed_chunks;
    int64_t now = p->cfg.now_ns(), oldest = vmd_transfers_oldest_ns(p);
    ret->oldest_request_ns = oldest == 0 ? 0 : (uint64_t)(now - oldest);
    vmd_health_stats(&p->health, now, ret);
    ret->stored_bytes = vm_bitmap_count(p->occupied, 0, p->cfg.pages) *
                        RAM_PAGE_BYTES;
    if (p->backing) {
        ret->backing_bytes = count_both(vmd_backing_pages(p->backing),
                                        p->stored, p->cfg.pages) *
                             RAM_PAGE_BYTES;
    }
    ret->tracker = p->tracker ? p->tracker->ops->name : "off";
    if (p->tracker) {
        ret->tracker_spent_ns =
            (uint64_t)atomic_load(&p->tracker->spent_ns);
        ret->tracker_round_ns =
            (uint64_t)atomic_load(&p->tracker->round_ns);
    }
}
