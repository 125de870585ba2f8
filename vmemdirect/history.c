/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access history: aging, keys, and the lists that reclaim chooses from.
 *
 * Time is cut in intervals. Each page has 8 bits: at the end of an interval
 * they shift right, and bit 7 takes whether the page was accessed in it
 * (aging). A chunk's key is the largest value among its pages, where a page
 * that was accessed in the present interval counts as if that had ended.
 * Resident chunks hang in one list per key, in order of arrival, so that the
 * coldest is found in O(1).
 *
 * What is known of accesses:
 *   - a page that faulted was accessed;
 *   - a chunk outside of the guest mapping was not, unless it faulted;
 *   - of resident pages, what the tracker says (tracker.h). An observing one
 *     tells it for all pages of a chunk once an interval, or less often where
 *     that would cost too much. The soft one makes pages fault.
 * The pages of a chunk shift for an interval only if something is known of
 * the chunk in it, in the same sense: it was observed, or it was out of the
 * mapping; without an observing tracker also if one of its pages faulted.
 * Otherwise the chunk keeps what it has.
 *
 * A chunk catches up with its intervals before anything about it changes:
 * when a page of it is accessed, when its state changes, and by a walk that
 * passes all chunks once an interval. It knows the interval up to which that
 * is done, so a walk that comes late finds out by how many intervals, and
 * shifts as often; nothing depends on when the walk comes but how long a
 * key is out of date. The walk is bounded in each step and has a purse: 1 % of
 * the time goes in. Where a VM is so large that this is not enough, the walk
 * takes several intervals to come round.
 *
 * Invariants: (H1) a chunk is on the list resident[key], or on behind if it is
 * marked so, iff it is RESIDENT; on standby iff it is STANDBY. (H2)
 * resident_keys has a bit for each list that is not empty. (H3) key is as said
 * above; a chunk has its accessed bit iff one of its pages has. (H4)
 * While the guest stands still, no interval ends: it uses nothing then, which
 * says nothing of what is hot. The interval in which it stopped goes on where
 * it was when the guest does.
 *
 * Threads: the pager thread; history_lock lets others copy histories.
 */
#include "pager-internal.h"

#include <string.h>

/* Bounds of the walk in one step of the pager. */
#define WALK_CHUNKS 4096u
#define WALK_PAGES 65536u
/* Intervals that may pass in a stall: more than 8 are as good as 8, but their
 * number has 16 bits. */
#define STALL_INTERVALS_MAX 30000u

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
    p->tracker = p->cfg.tracker;
    p->interval_end_ns = p->cfg.now_ns() + p->cfg.aging_interval_ns;
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

static bool is_observed(const VmdPager *p)
{
    return p->tracker && p->tracker->ops->collect;
}

static bool is_out(const VmdChunk *chunk)
{
    return chunk->state != VMD_RESIDENT && chunk->state != VMD_FILLING;
}

static uint8_t aged(uint8_t history, bool accessed)
{
    return (uint8_t)((history >> 1) | (accessed ? 0x80 : 0));
}

static uint8_t largest(const uint8_t *history, uint32_t n)
{
    uint8_t key = 0;

    for (uint32_t i = 0; i < n; i++) {
        key = MAX(key, history[i]);
    }
    return key;
}

/* 16 pages at once; GCC and clang make the best of it. */
typedef uint8_t Lanes __attribute__((vector_size(16)));

/* The accessed bits of 16 pages as 0 or 0xff. */
static Lanes accessed_lanes(const VmdPager *p, PageNo page)
{
    static const Lanes bit = { 1, 2, 4, 8, 16, 32, 64, 128,
                               1, 2, 4, 8, 16, 32, 64, 128 };
    uint16_t bits = (uint16_t)(p->accessed[page / 64] >> (page % 64));
    uint8_t low = (uint8_t)bits, high = (uint8_t)(bits >> 8);
    Lanes lanes = { low,  low,  low,  low,  low,  low,  low,  low,
                    high, high, high, high, high, high, high, high };

    return (Lanes)((lanes & bit) != 0);
}

static Lanes larger_lanes(Lanes a, Lanes b)
{
    Lanes first = (Lanes)(a > b);

    return (a & first) | (b & ~first);
}

static uint8_t largest_lane(Lanes lanes)
{
    uint8_t key = 0;

    for (unsigned i = 0; i < sizeof(lanes); i++) {
        key = MAX(key, lanes[i]);
    }
    return key;
}

/* The largest of what the accessed pages of [first, end) will be when the
 * interval ends. */
static uint8_t accessed_key(const VmdPager *p, PageNo first, PageNo end)
{
    Lanes keys = { 0 };
    PageNo page = first;

    for (; end - page >= sizeof(Lanes); page += sizeof(Lanes)) {
        Lanes now;
        memcpy(&now, p->history + page, sizeof(now));
        keys = larger_lanes(keys, ((now >> 1) | 0x80) &
                                      accessed_lanes(p, page));
    }
    uint8_t key = largest_lane(keys);
    for (; page < end; page++) {
        if (vm_bit_test(p->accessed, page)) {
            key = MAX(key, aged(p->history[page], true));
        }
    }
    return key;
}

/*
 * Shifts the pages [first, end) by `by`, of which the first takes what was
 * accessed; the largest of the new values. first is a multiple of 16 where
 * there are 16 pages or more.
 */
static uint8_t shift_pages(VmdPager *p, PageNo first, PageNo end, unsigned by)
{
    uint8_t top = (uint8_t)(0x100 >> by);
    Lanes keys = { 0 };
    PageNo page = first;

    for (; end - page >= sizeof(Lanes); page += sizeof(Lanes)) {
        Lanes now;
        memcpy(&now, p->history + page, sizeof(now));
        now = (by < 8 ? now >> (uint8_t)by : (Lanes){ 0 }) |
              (accessed_lanes(p, page) & top);
        memcpy(p->history + page, &now, sizeof(now));
        keys = larger_lanes(keys, now);
    }
    uint8_t key = largest_lane(keys);
    for (; page < end; page++) {
        uint8_t now = (uint8_t)((p->history[page] >> by) |
                                (vm_bit_test(p->accessed, page) ? top : 0));
        p->history[page] = now;
        key = MAX(key, now);
    }
    return key;
}

/*
 * Ends an interval of which something is known, and then `more` in which the
 * chunk is known not to have been accessed.
 */
static void shift(VmdPager *p, ChunkNo c, unsigned more)
{
    PageNo first = vmd_first_page(p, c);
    PageNo end = first + vmd_chunk_len(p, c);

    vm_mutex_lock(&p->history_lock);
    uint8_t key = shift_pages(p, first, end, MIN(more + 1, 9u));
    vm_mutex_unlock(&p->history_lock);
    vm_bitmap_clear(p->accessed, first, end - first);
    p->chunks[c].accessed = false;
    set_key(p, c, key);
}

/* The intervals that have ended and that the chunk has not aged for. */
static uint16_t ended(const VmdPager *p, ChunkNo c)
{
    return (uint16_t)(p->interval - p->chunks[c].aged_to);
}

void vmd_history_catch_up(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];
    uint16_t intervals = ended(p, c);

    if (intervals == 0) {
        return;
    }
    chunk->aged_to = p->interval;
    /* What is known is of the first of these intervals: in a later one the
     * chunk would have caught up before it was noted. */
    bool known = is_out(chunk) || chunk->observed ||
                 (chunk->accessed && !is_observed(p));
    if (known && chunk->key != 0) {
        shift(p, c, is_out(chunk) ? intervals - 1u : 0);
    }
    chunk->observed = false;
    if (!p->tracker) {
        chunk->fresh = false; /* nobody else would */
    }
}

/* Counts an access in the present interval, with which the chunk has caught
 * up. */
static void note_access(VmdPager *p, ChunkNo c, PageNo page)
{
    VmdChunk *chunk = &p->chunks[c];

    if (!vm_bit_test(p->accessed, page)) {
        vm_bit_set(p->accessed, page);
        chunk->accessed = true;
        set_key(p, c, MAX(chunk->key, aged(p->history[page], true)));
    }
}

void vmd_history_accessed(VmdPager *p, PageNo page)
{
    ChunkNo c = (ChunkNo)(page / p->cfg.chunk_pages);

    vmd_history_catch_up(p, c);
    note_access(p, c, page);
}

void vmd_history_set_part(VmdPager *p, ChunkNo c, uint32_t first,
                          uint32_t count, const uint8_t *history)
{
    PageNo base = vmd_first_page(p, c);
    PageNo end = base + vmd_chunk_len(p, c);

    vmd_history_catch_up(p, c);
    vm_mutex_lock(&p->history_lock);
    memcpy(p->history + base + first, history, count);
    vm_mutex_unlock(&p->history_lock);
    vm_bitmap_clear(p->accessed, base + first, count);
    uint8_t key = largest(p->history + base, (uint32_t)(end - base));
    PageNo page = vm_bitmap_next_set(p->accessed, base, end);
    p->chunks[c].accessed = page < end;
    for (; page < end; page = vm_bitmap_next_set(p->accessed, page + 1, end)) {
        key = MAX(key, aged(p->history[page], true));
    }
    p->chunks[c].observed = false;
    set_key(p, c, key);
}

void vmd_history_set(VmdPager *p, ChunkNo c, const uint8_t *history)
{
    vmd_history_set_part(p, c, 0, vmd_chunk_len(p, c), history);
}

/* --- what the tracker says ------------------------------------------------ */

/* Takes over the bits of [first, end) of pages that are present; bit 0 of
 * accessed is page zero, which is a multiple of 64. */
static bool take_bits(VmdPager *p, const unsigned long *accessed, PageNo zero,
                      PageNo first, PageNo end)
{
    bool any = false;

    for (PageNo at = first; at < end; at = (at / 64 + 1) * 64) {
        unsigned long mask = ~0ul << (at % 64);
        if (end - at < 64 - at % 64) {
            mask &= (1ul << (end % 64)) - 1;
        }
        unsigned long bits = accessed[(at - zero) / 64] &
                             p->present[at / 64] & mask;
        p->accessed[at / 64] |= bits;
        any = any || bits != 0;
    }
    return any;
}

static void observe_chunk(VmdPager *p, ChunkNo c, PageNo zero,
                          const unsigned long *accessed)
{
    VmdChunk *chunk = &p->chunks[c];
    PageNo first = vmd_first_page(p, c);
    PageNo end = first + vmd_chunk_len(p, c);

    if (is_out(chunk)) {
        return;
    }
    if (chunk->fresh) {
        /* It came in since the tracker last looked: what was read may be of
         * the pages that were there before. */
        chunk->fresh = false;
        return;
    }
    vmd_history_catch_up(p, c);
    chunk->observed = true;
    if (take_bits(p, accessed, zero, first, end)) {
        chunk->accessed = true;
        set_key(p, c, MAX(chunk->key, accessed_key(p, first, end)));
    }
}

void vmd_history_observe(VmdPager *p, PageNo first, uint32_t count,
                         const unsigned long *accessed)
{
    g_assert(first % 64 == 0 && first % p->cfg.chunk_pages == 0);
    for (PageNo page = first; page < first + count;
         page += p->cfg.chunk_pages) {
        observe_chunk(p, (ChunkNo)(page / p->cfg.chunk_pages), first,
                      accessed);
    }
}

void vmd_history_recalled(VmdPager *p, ChunkNo c, int64_t cost_ns)
{
    if (p->chunks[c].sampled) {
        p->chunks[c].sampled = false;
        if (p->tracker && p->tracker->ops->recalled) {
            p->tracker->ops->recalled(p->tracker, cost_ns);
        }
    }
}

/* --- time ----------------------------------------------------------------- */

void vmd_history_advance(VmdPager *p, int64_t now_ns)
{
    if (p->stands || now_ns < p->interval_end_ns) { /* (H4) */
        return;
    }
    int64_t interval_ns = p->cfg.aging_interval_ns;
    int64_t passed = (now_ns - p->interval_end_ns) / interval_ns + 1;

    p->interval_end_ns += passed * interval_ns;
    p->interval = (uint16_t)(p->interval + MIN(passed, STALL_INTERVALS_MAX));
}

void vmd_history_set_running(VmdPager *p, bool running, int64_t now_ns)
{
    if (running == !p->stands) {
        return;
    }
    if (running) {
        p->interval_end_ns += now_ns - p->stands_since_ns;
    } else {
        vmd_history_advance(p, now_ns);
        p->stands_since_ns = now_ns;
    }
    p->stands = !running;
}

/* Some chunks of the walk, as long as it is behind and can pay. */
static void walk(VmdPager *p)
{
    uint32_t pages = 0;

    if (p->walk_due == 0 || p->walk_purse_ns < 0) {
        return;
    }
    int64_t start_ns = p->cfg.now_ns();
    for (uint32_t n = 0; n < WALK_CHUNKS && pages < WALK_PAGES &&
                         p->walk_due > 0; n++) {
        ChunkNo c = p->walk_hand;
        if (ended(p, c) > 0 && p->chunks[c].key != 0) {
            pages += p->cfg.chunk_pages;
        }
        vmd_history_catch_up(p, c);
        p->walk_hand = (c + 1) % p->chunk_count;
        p->walk_due--;
    }
    int64_t cost_ns = p->cfg.now_ns() - start_ns;
    p->walk_purse_ns -= cost_ns;
    p->stats.aging_spent_ns += (uint64_t)cost_ns;
}

static void begin_slice(VmdPager *p, int64_t now_ns)
{
    int64_t slice_ns = p->cfg.aging_interval_ns / VMD_AGING_SLICES;
    uint32_t chunks = (p->chunk_count + VMD_AGING_SLICES - 1) /
                      VMD_AGING_SLICES;

    p->slice = (p->slice + 1) % VMD_AGING_SLICES;
    p->walk_due = MIN(p->walk_due + chunks, p->chunk_count);
    p->walk_purse_ns = MIN(p->walk_purse_ns +
                               slice_ns / VMD_TRACKER_COST_DIVISOR,
                           slice_ns);
    if (p->tracker && p->tracker->ops->look && !p->stands) {
        p->tracker->ops->look(p->tracker, p);
    }
    p->next_slice_ns += slice_ns;
    if (p->next_slice_ns <= now_ns) {
        p->next_slice_ns = now_ns + slice_ns; /* late: no burst */
    }
}

void vmd_history_tick(VmdPager *p, int64_t now_ns)
{
    vmd_history_advance(p, now_ns);
    if (now_ns >= p->next_slice_ns) {
        begin_slice(p, now_ns);
    }
    walk(p);
}

int64_t vmd_history_deadline_ns(const VmdPager *p)
{
    return p->walk_due > 0 && p->walk_purse_ns >= 0 ? 0 : p->next_slice_ns;
}
