/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chunk states: where each page of guest RAM is, and how it gets elsewhere.
 *
 * A page's content is in exactly one of four places, looked up in this order:
 * the guest mapping (present), the chunk's frame (valid, in STANDBY and
 * WRITING), the swap file (stored), or nowhere (it is zero). This file,
 * fault.c and discard.c are the only ones that change a chunk's state.
 *
 *   FILLING -> STANDBY: the chunk was read ahead (ahead.c), and nobody has
 *   touched it yet; a touch in FILLING makes it as if it had faulted, but
 *   where it is read into a huge page (huge.c): that comes in as a whole, and
 *   who touches it waits for that (recalled).
 *
 *          zero fault                     chosen or sampled
 *   ZERO ------------> RESIDENT ------------------------> STANDBY
 *    ^ ^                ^  ^  ^                            |  | |
 *    | |                |  |  +------- touched ------------+  | |
 *    | |   all pages    |  |           (soft fault)           | |
 *    | |   read         |  |                                  | |
 *    | |         FILLING|  |  touched meanwhile, written      | | dirty:
 *    | |           ^    |  +------------------------WRITING<--|-+ write
 *    | |     hard  |    |                            |   |    |
 *    | |     fault |    | zero fault        written, |   +----+ write failed
 *    | |           |    |                   quiet    v
 *    | |           +--SWAPPED <--------------------- clean or zero: dropped
 *    | +---------------- nothing stored -------------- from STANDBY
 *    +-- discarded: from RESIDENT, SWAPPED, STANDBY, FAILED at once; WRITING
 *        and FILLING end as usual, with nothing left to keep
 *
 * A fault that needs few pages does not go through FILLING: it is a landing
 * (landing.c), which leaves the state alone until its pages arrive; then
 * SWAPPED -> RESIDENT. Landings may run beside a fill or a write.
 *
 *   FILLING -> FAILED: a page cannot be read; left by vmd_pager_retry().
 *   ZERO, SWAPPED -> WRITING, RESIDENT: import (migration), without a fault.
 *   ZERO -> SWAPPED: the VM starts from a saved file (backing.c).
 *
 * A RESIDENT chunk may be partly present: its other pages are in the file or
 * zero, and fault by themselves.
 *
 * Invariants (vmd_pager_check() asserts them):
 *   (1) A chunk has a frame iff it is STANDBY, WRITING or FILLING (a FAILED
 *       one has none).
 *   (2) ZERO: no page present or stored. SWAPPED: none present, some stored.
 *       STANDBY: none present. RESIDENT, FILLING, FAILED: no frame counts as
 *       content.
 *   (3) present and stored: equal to the file and write-protected. A write
 *       faults, and takes stored away before the page becomes writable.
 *   (4) present and not stored: the file's copy, if any, is out of date.
 *   (5) A page in a frame is not present, except in WRITING, where a touched
 *       page was copied back; that copy is never stored. While it is read
 *       ahead, what has arrived is in the frame and not present; so are the
 *       zero pages of a huge page.
 *   (6) Nothing is moved out of the guest while pins are held, see below.
 *   (7) No write to the file is in flight but for WRITING chunks, and none
 *       while a hole is punched in the same chunk.
 *   (8) guest_pages is the number of present pages.
 *   (9) While any kind of error is pending the content of a page is still in
 *       one of the four places: errors lose nothing.
 *  (10) What I/O in flight brings or takes away counts only for pages that
 *       were not discarded meanwhile: a read, for those still stored and
 *       absent; a write, for those still in the frame and absent.
 *  (11) A chunk is FAILED, or will be when its I/O ends (failed), only while
 *       VMD_TROUBLE_READ lasts and no retry has followed: nobody waits for a
 *       repair that nobody knows of.
 *
 * Pins. pin: pins[c]++, then wait until leaving[c] is 0, then (if pages are
 * missing) ask the pager thread for them. Move-out: leaving[c] = 1, then look
 * at pins[c]; if it is not 0, leaving[c] = 0 and give up. All four are
 * sequentially consistent: of a pin and a move-out that race, at least one
 * sees the other. Either the pinner waits until the pages are out and has
 * them brought back, or the move-out does not happen.
 *
 * T1 to T22 are the transitions of tests/model/chunk.pml, which has them all
 * checked, in every order.
 *
 * Threads: the pager thread; pins, leaving and present are also read and
 * pins written by pinning threads.
 */
#include "chunk.h"

#include <errno.h>
#include <string.h>

static const char *const state_names[] = {
    [VMD_ZERO] = "zero",       [VMD_RESIDENT] = "resident",
    [VMD_STANDBY] = "standby", [VMD_WRITING] = "writing",
    [VMD_SWAPPED] = "swapped", [VMD_FILLING] = "filling",
    [VMD_FAILED] = "failed",
};

const char *vmd_chunk_state_to_string(VmdChunkState state)
{
    return state < VMD_STATE__COUNT ? state_names[state] : "?";
}

/* --- small things -------------------------------------------------------- */

bool vmd_page_in_frame(const VmdPager *p, ChunkNo c, uint32_t i)
{
    const VmdChunk *chunk = &p->chunks[c];

    return (chunk->state == VMD_STANDBY || chunk->state == VMD_WRITING) &&
           vm_bit_test(p->frames.valid, vmd_frame_first(p, chunk->frame) + i);
}

uint64_t vmd_chunk_slots(const VmdPager *p, ChunkNo c)
{
    return vm_bitmap_count(p->frames.valid,
                           vmd_frame_first(p, p->chunks[c].frame),
                           p->cfg.chunk_pages);
}

void vmd_chunk_set_state(VmdPager *p, ChunkNo c, VmdChunkState state)
{
    VmdChunk *chunk = &p->chunks[c];

    vmd_history_catch_up(p, c);
    if (chunk->state == VMD_RESIDENT) {
        vmd_resident_remove(p, c);
        chunk->behind = false;
        chunk->huge = false;
    } else if (chunk->state == VMD_STANDBY) {
        vmd_standby_remove(p, c);
        p->standby_pages -= vmd_chunk_slots(p, c);
    } else if (chunk->state == VMD_WRITING) {
        p->writing_pages -= vmd_chunk_slots(p, c);
    }
    if (state == VMD_RESIDENT && chunk->state != VMD_RESIDENT) {
        chunk->fresh = true;
    }
    p->failed_chunks -= chunk->state == VMD_FAILED;
    p->failed_chunks += state == VMD_FAILED;
    chunk->state = (uint8_t)state;
    if (state == VMD_RESIDENT) {
        vmd_resident_add(p, c);
    } else if (state == VMD_STANDBY) {
        vmd_standby_add(p, c);
        p->standby_pages += vmd_chunk_slots(p, c);
    } else if (state == VMD_WRITING) {
        p->writing_pages += vmd_chunk_slots(p, c);
    }
}

void vmd_chunk_set_behind(VmdPager *p, ChunkNo c, bool behind)
{
    VmdChunk *chunk = &p->chunks[c];

    if (chunk->state == VMD_RESIDENT && chunk->behind != behind) {
        vmd_resident_remove(p, c);
        chunk->behind = behind;
        vmd_resident_add(p, c);
    }
}

/* valid slots of a STANDBY or WRITING chunk change only through these. */
void vmd_chunk_forget_slot(VmdPager *p, ChunkNo c, uint32_t i)
{
    VmdChunk *chunk = &p->chunks[c];

    vm_bit_clear(p->frames.valid, vmd_frame_first(p, chunk->frame) + i);
    if (chunk->state == VMD_STANDBY) {
        p->standby_pages--;
    } else if (chunk->state == VMD_WRITING) {
        p->writing_pages--;
    }
}

static void drop_frame(VmdPager *p, ChunkNo c)
{
    FrameNo f = p->chunks[c].frame;

    p->chunks[c].frame = VMD_NONE;
    vmd_frame_put(p, f);
}

/* present is read by pinning threads: release pairs with their acquire. */
void vmd_page_set_present(VmdPager *p, PageNo page, bool present)
{
    unsigned long *word = &p->present[page / 64];
    unsigned long bit = 1ul << (page % 64);

    g_assert(vmd_page_present(p, page) != present);
    __atomic_store_n(word, present ? *word | bit : *word & ~bit,
                     __ATOMIC_RELEASE);
    p->guest_pages += present ? 1 : (uint64_t)-1;
}

static bool any_stored(const VmdPager *p, ChunkNo c)
{
    PageNo first = vmd_first_page(p, c);
    PageNo end = first + vmd_chunk_len(p, c);

    return vm_bitmap_next_set(p->stored, first, end) < end;
}

static bool any_present(const VmdPager *p, ChunkNo c)
{
    PageNo first = vmd_first_page(p, c);
    PageNo end = first + vmd_chunk_len(p, c);

    return vm_bitmap_next_set(p->present, first, end) < end;
}

/* The state of a chunk without frame and without I/O, by its pages. */
VmdChunkState vmd_chunk_settled_state(const VmdPager *p, ChunkNo c)
{
    if (any_present(p, c)) {
        return VMD_RESIDENT;
    }
    return any_stored(p, c) ? VMD_SWAPPED : VMD_ZERO;
}

void vmd_pager_wake(VmdPager *p, PageNo page, uint64_t n)
{
    (void)p->cfg.mem->wake(p->cfg.mem_opaque, vmd_guest_addr(p, page),
                           n * RAM_PAGE_BYTES);
}

void vmd_pager_fatal(VmdPager *p, int error)
{
    if (!p->fatal) {
        p->fatal = true;
        vmd_health_failed(&p->health, VMD_TROUBLE_ENGINE, error,
                          p->cfg.now_ns());
    }
}

/* --- pages into the guest ------------------------------------------------ */

/* Slots [i, i+n) of f become present pages of c; protected or not. */
static void move_in_run(VmdPager *p, ChunkNo c, FrameNo f, uint32_t i,
                        uint32_t n, bool protect)
{
    PageNo page = vmd_first_page(p, c) + i;
    bool changed;
    size_t done;

    p->protects |= protect;
    int r = p->cfg.mem->in(p->cfg.mem_opaque, vmd_guest_addr(p, page),
                           vmd_frame_addr(p, f) + i * RAM_PAGE_BYTES,
                           n * RAM_PAGE_BYTES, protect, &done, &changed);
    uint32_t moved = (uint32_t)(done / RAM_PAGE_BYTES);

    vmd_frame_lost(p, f, i, moved);
    for (uint32_t k = 0; k < moved; k++) {
        vmd_page_set_present(p, page + k, true);
        if (p->chunks[c].state == VMD_STANDBY ||
            p->chunks[c].state == VMD_WRITING) {
            vmd_chunk_forget_slot(p, c, i + k);
        }
    }
    if (changed) {
        vm_bitmap_clear(p->stored, page, moved); /* (3) */
    }
    if (r < 0) {
        vmd_pager_fatal(p, r);
    }
}

/* The huge page of f becomes the guest's; protected as a whole. */
static void move_in_huge(VmdPager *p, ChunkNo c, FrameNo f)
{
    vmd_huge_clear_way(p, vmd_guest_addr(p, vmd_first_page(p, c)));
    move_in_run(p, c, f, 0, p->cfg.chunk_pages,
                p->tracking || any_stored(p, c));
    p->chunks[c].huge = !p->fatal;
}

/*
 * Moves the slots of f that are set in map (bit 0 is page 0 of the chunk)
 * into the guest, in runs of equal need for protection.
 */
void vmd_chunk_move_in(VmdPager *p, ChunkNo c, FrameNo f,
                       const unsigned long *map)
{
    PageNo base = vmd_first_page(p, c);
    uint32_t len = vmd_chunk_len(p, c);
    uint32_t i = (uint32_t)vm_bitmap_next_set(map, 0, len);

    if (vm_bit_test(p->frames.huge, f) && vmd_huge_is_whole(p, c, map)) {
        move_in_huge(p, c, f);
        return;
    }
    while (i < len && !p->fatal) {
        bool protect = vmd_page_stored(p, base + i) || p->tracking;
        uint32_t n = 1;
        while (i + n < len && vm_bit_test(map, i + n) &&
               (vmd_page_stored(p, base + i + n) || p->tracking) == protect) {
            n++;
        }
        move_in_run(p, c, f, i, n, protect);
        i = (uint32_t)vm_bitmap_next_set(map, i + n, len);
    }
}

/* FILLING while ahead, into a huge page: nothing of it comes in before all is
 * read. */
bool vmd_chunk_filling_huge(const VmdPager *p, ChunkNo c)
{
    const VmdChunk *chunk = &p->chunks[c];

    return chunk->state == VMD_FILLING && chunk->ahead &&
           vm_bit_test(p->frames.huge, chunk->frame);
}

bool vmd_page_is_nowhere(const VmdPager *p, ChunkNo c, uint32_t i)
{
    PageNo page = vmd_first_page(p, c) + i;

    if (vmd_page_present(p, page) || vmd_page_stored(p, page) ||
        vmd_page_in_frame(p, c, i)) {
        return false;
    }
    return !vmd_chunk_filling_huge(p, c) ||
           !vm_bit_test(p->frames.valid,
                        vmd_frame_first(p, p->chunks[c].frame) + i);
}

/* For chunks of which no frame counts as content, or pages not in it. */
bool vmd_page_in_file_only(const VmdPager *p, ChunkNo c, uint32_t i)
{
    PageNo page = vmd_first_page(p, c) + i;

    return vmd_page_stored(p, page) && !vmd_page_present(p, page);
}

bool vmd_any_in_file_only(const VmdPager *p, ChunkNo c, uint32_t first,
                          uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (vmd_page_in_file_only(p, c, i)) {
            return true;
        }
    }
    return false;
}

/* Pages that have arrived in the frame of a chunk that is read ahead. */
void vmd_chunk_move_in_arrived(VmdPager *p, ChunkNo c)
{
    unsigned long map[RAM_CHUNK_LONGS];
    FrameNo f = p->chunks[c].frame;

    vmd_bits_take(map, p->frames.valid, vmd_frame_first(p, f),
                  p->cfg.chunk_pages);
    vm_bitmap_clear(p->frames.valid, vmd_frame_first(p, f), p->cfg.chunk_pages);
    vmd_chunk_move_in(p, c, f, map);
}

/* --- out of the guest ---------------------------------------------------- */

static bool any_framed(const VmdPager *p, FrameNo f)
{
    uint64_t first = vmd_frame_first(p, f), end = first + p->cfg.chunk_pages;

    return vm_bitmap_next_set(p->frames.valid, first, end) < end;
}

/* T13: back out of a move-out that met a pinned page. */
static void undo_move_out(VmdPager *p, ChunkNo c, FrameNo f)
{
    unsigned long map[RAM_CHUNK_LONGS];

    vmd_bits_take(map, p->frames.valid, vmd_frame_first(p, f),
                  p->cfg.chunk_pages);
    vmd_chunk_move_in(p, c, f, map);
    vmd_frame_put(p, f);
}

/* Where the move that begins at page a ends: behind the last page, or, if
 * holes cannot be skipped, at the first hole. */
static PageNo move_out_end(const VmdPager *p, PageNo a, PageNo end)
{
    if (!p->cfg.mem->skips_holes) {
        return vm_bitmap_next_clear(p->present, a, end);
    }
    while (!vmd_page_present(p, end - 1)) {
        end--;
    }
    return end;
}

static int move_out_pages(VmdPager *p, ChunkNo c, FrameNo f)
{
    PageNo base = vmd_first_page(p, c);
    PageNo end = base + vmd_chunk_len(p, c);
    int r = 0;

    for (PageNo a = vm_bitmap_next_set(p->present, base, end); a < end && !r;
         a = vm_bitmap_next_set(p->present, a, end)) {
        PageNo b = move_out_end(p, a, end);
        size_t done;
        r = p->cfg.mem->out(p->cfg.mem_opaque, vmd_guest_addr(p, a),
                            vmd_frame_addr(p, f) + (a - base) * RAM_PAGE_BYTES,
                            (b - a) * RAM_PAGE_BYTES, &done);
        PageNo stop = a + done / RAM_PAGE_BYTES;
        for (PageNo page = a; page < stop;
             page = vm_bitmap_next_set(p->present, page, stop)) {
            uint32_t i = (uint32_t)(page - base);
            vmd_page_set_present(p, page, false);
            vmd_frame_gained(p, f, i, 1);
            vm_bit_set(p->frames.valid, vmd_frame_first(p, f) + i);
        }
    }
    return r;
}

/* T12 */
int vmd_chunk_move_out(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];

    g_assert(chunk->state == VMD_RESIDENT);
    if (chunk->landings > 0) {
        return -EBUSY; /* somebody waits for a page of it */
    }
    atomic_store(&p->leaving[c], 1);
    if (atomic_load(&p->pins[c]) > 0) { /* (6) */
        atomic_store(&p->leaving[c], 0);
        return -EBUSY;
    }
    FrameNo f = vmd_frame_get_empty(p);
    if (f == VMD_NONE) {
        atomic_store(&p->leaving[c], 0);
        return -ENOMEM;
    }
    bool huge = chunk->huge;
    if (huge) {
        vmd_huge_clear_way(p, vmd_frame_addr(p, f));
    }
    int r = move_out_pages(p, c, f);
    if (r == 0) {
        if (huge) {
            vm_bit_set(p->frames.huge, f);
        }
        chunk->frame = f;
        vmd_chunk_set_state(p, c, VMD_STANDBY);
    } else {
        chunk->huge = huge && !any_framed(p, f);
        undo_move_out(p, c, f);
    }
    atomic_store(&p->leaving[c], 0);
    return r;
}

/* T2 */
void vmd_chunk_recall(VmdPager *p, ChunkNo c)
{
    unsigned long map[RAM_CHUNK_LONGS];
    FrameNo f = p->chunks[c].frame;

    g_assert(p->chunks[c].state == VMD_STANDBY);
    vmd_bits_take(map, p->frames.valid, vmd_frame_first(p, f),
                  p->cfg.chunk_pages);
    vmd_chunk_move_in(p, c, f, map);
    p->chunks[c].wp_faults = 0;
    p->chunks[c].ahead = false;
    vmd_chunk_set_state(p, c, VMD_RESIDENT);
    drop_frame(p, c);
}

/* --- STANDBY to the file ------------------------------------------------- */

static bool page_is_zero(const uint8_t *page)
{
    const uint64_t *word = (const uint64_t *)page;

    for (size_t i = 0; i < RAM_PAGE_BYTES / sizeof(*word); i += 8) {
        if (word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] |
            word[i + 5] | word[i + 6] | word[i + 7]) {
            return false;
        }
    }
    return true;
}

/* Pages in the frame that the file does not have. */
static bool dirty_pages(const VmdPager *p, ChunkNo c, unsigned long *ret)
{
    PageNo base = vmd_first_page(p, c);
    bool any = false;

    for (unsigned w = 0; w < RAM_CHUNK_LONGS; w++) {
        ret[w] = 0;
    }
    for (uint32_t i = 0; i < vmd_chunk_len(p, c); i++) {
        if (vmd_page_in_frame(p, c, i) && !vmd_page_stored(p, base + i)) {
            vm_bit_set(ret, i);
            any = true;
        }
    }
    return any;
}

bool vmd_chunk_can_drop(VmdPager *p, ChunkNo c)
{
    unsigned long dirty[RAM_CHUNK_LONGS];

    return !dirty_pages(p, c, dirty);
}

/* Dirty pages that turn out to be zero need no place anywhere. */
static void forget_zero_pages(VmdPager *p, ChunkNo c)
{
    unsigned long dirty[RAM_CHUNK_LONGS];
    FrameNo f = p->chunks[c].frame;
    uint32_t len = vmd_chunk_len(p, c);

    (void)dirty_pages(p, c, dirty);
    for (uint32_t i = (uint32_t)vm_bitmap_next_set(dirty, 0, len); i < len;
         i = (uint32_t)vm_bitmap_next_set(dirty, i + 1, len)) {
        if (page_is_zero(vmd_frame_addr(p, f) + i * RAM_PAGE_BYTES)) {
            vmd_chunk_forget_slot(p, c, i);
            p->stats.found_zero_bytes += RAM_PAGE_BYTES;
        }
    }
}

/* It is FAILED, or will be when its I/O is quiet. */
static void set_failed(VmdPager *p, ChunkNo c, bool failed)
{
    VmdChunk *chunk = &p->chunks[c];

    p->failed_chunks += (uint64_t)failed - chunk->failed;
    chunk->failed = failed;
}

/* The chunk's I/O has ended: FAILED if a page of it cannot be read. */
void vmd_chunk_leave_frame(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];
    bool failed =
        chunk->failed && vmd_any_in_file_only(p, c, 0, vmd_chunk_len(p, c));

    set_failed(p, c, false);
    chunk->sampled = false;
    chunk->ahead = false;
    vmd_chunk_set_state(p, c,
                        failed ? VMD_FAILED : vmd_chunk_settled_state(p, c));
    drop_frame(p, c);
}

/* T14 if there is nothing to write, else T15. */
bool vmd_chunk_write_back(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];
    unsigned long dirty[RAM_CHUNK_LONGS];

    g_assert(chunk->state == VMD_STANDBY);
    forget_zero_pages(p, c);
    if (!dirty_pages(p, c, dirty)) {
        p->stats.dropped_clean_bytes += vmd_chunk_slots(p, c) * RAM_PAGE_BYTES;
        vmd_chunk_leave_frame(p, c);
        return true;
    }
    if (chunk->punching) { /* (7) */
        return false;
    }
    VmdTransfer *t = vmd_transfer_new(p, VMD_WRITE, c, chunk->frame,
                                      vmd_frame_addr(p, chunk->frame));
    if (!t) {
        return false;
    }
    for (unsigned w = 0; w < RAM_CHUNK_LONGS; w++) {
        t->todo[w] = dirty[w];
    }
    chunk->recalled = false;
    chunk->sampled = false;
    vmd_chunk_set_state(p, c, VMD_WRITING);
    vmd_transfer_start(p, t);
    return true;
}

/* --- I/O completions ----------------------------------------------------- */

static void note_write_error(VmdPager *p, int result)
{
    int64_t now = p->cfg.now_ns();

    p->stats.write_errors++;
    p->write_retry_ns = now + VMD_RETRY_NS;
    vmd_health_failed(&p->health, VMD_TROUBLE_WRITE, result, now);
}

/* T16 */
void vmd_chunk_write_done(VmdPager *p, VmdTransfer *t, uint32_t first,
                          uint32_t count, int result)
{
    PageNo base = vmd_first_page(p, t->chunk);

    /* Also a failed write may have left blocks. */
    vm_bitmap_set(p->occupied, base + first, count);
    if (result < 0) {
        t->error = result;
        /* Clean pages, too, that were written to save a request: nobody knows
         * what the file has of them now. (9) */
        for (uint32_t i = first; i < first + count; i++) {
            if (vmd_page_in_frame(p, t->chunk, i)) {
                vm_bit_clear(p->stored, base + i);
            }
        }
        note_write_error(p, result);
        return;
    }
    vmd_health_good(&p->health, VMD_TROUBLE_WRITE, p->cfg.now_ns());
    for (uint32_t i = first; i < first + count; i++) {
        if (vmd_page_in_frame(p, t->chunk, i) &&
            !vmd_page_present(p, base + i)) { /* (5), (10) */
            vm_bit_set(p->stored, base + i);
        }
    }
}

static void latency(VmdPager *p, int64_t since_ns)
{
    uint64_t ns = (uint64_t)MAX(p->cfg.now_ns() - since_ns, 1);
    unsigned bucket = 63u - (unsigned)__builtin_clzll(ns);

    p->stats.fault_latency[MIN(bucket, VMD_LATENCY_BUCKETS - 1u)]++;
}

/* T9: a page that somebody waits for cannot be read. */
static void fail_chunk(VmdPager *p, ChunkNo c, int error)
{
    VmdChunk *chunk = &p->chunks[c];

    if (chunk->state == VMD_STANDBY) {
        vmd_chunk_recall(p, c);
    }
    if (chunk->state == VMD_FILLING || chunk->state == VMD_WRITING) {
        set_failed(p, c, true);
    } else {
        vmd_chunk_set_state(p, c, VMD_FAILED);
    }
    vmd_health_failed(&p->health, VMD_TROUBLE_READ, error, p->cfg.now_ns());
}

/* Copies pages [k, k+n) of a landing into the guest. */
static void land_run(VmdPager *p, const VmdLanding *l, uint32_t k, uint32_t n,
                     bool written)
{
    PageNo page = vmd_first_page(p, l->chunk) + l->first + k;
    size_t done;

    p->protects |= !written;
    if (written) {
        vm_bitmap_clear(p->stored, page, n); /* (3) */
    }
    int r = p->cfg.mem->copy_in(p->cfg.mem_opaque, vmd_guest_addr(p, page),
                                l->buf + k * RAM_PAGE_BYTES, n * RAM_PAGE_BYTES,
                                !written, &done);
    for (uint32_t m = 0; m < done / RAM_PAGE_BYTES; m++) {
        vmd_page_set_present(p, page + m, true);
    }
    if (r < 0) {
        vmd_pager_fatal(p, r);
    }
}

/*
 * T8: the pages of a landing have arrived. Its chunk may have changed its state
 * meanwhile, but each page is still in the file only, or discarded (10).
 */
static void land(VmdPager *p, VmdLanding *l)
{
    VmdChunk *chunk = &p->chunks[l->chunk];

    if (chunk->state == VMD_STANDBY) {
        vmd_chunk_recall(p, l->chunk);
    }
    for (uint32_t k = 0, n; k < l->count && !p->fatal; k += n) {
        bool wanted = vmd_page_in_file_only(p, l->chunk, l->first + k);
        bool written = l->written >> k & 1;
        for (n = 1;
             k + n < l->count &&
             vmd_page_in_file_only(p, l->chunk, l->first + k + n) == wanted &&
             (l->written >> (k + n) & 1) == written;
             n++) {
        }
        if (wanted) {
            land_run(p, l, k, n, written);
        }
    }
    if (chunk->state == VMD_SWAPPED) {
        chunk->wp_faults = 0;
        vmd_chunk_set_state(p, l->chunk, VMD_RESIDENT);
    }
    if (l->since_ns != 0) {
        latency(p, l->since_ns);
    }
}

static void landing_done(VmdPager *p, VmdTransfer *t, int result)
{
    VmdLanding *l = t->landing;

    if (!vmd_any_in_file_only(p, l->chunk, l->first, l->count)) {
        vmd_landing_free(p, l); /* (10): who waited has been woken */
        return;
    }
    if (result < 0) {
        vmd_note_read_error(p, result);
        if (t->tries + 1 < VMD_READ_TRIES) {
            vmd_transfer_retry(p, t, l->first, l->count);
            return;
        }
        if (l->count > 1 || l->since_ns == 0) {
            /* Who waits faults again, and then gets its page alone; or
             * nobody waits. */
            p->chunks[l->chunk].heat = 0;
            p->chunks[l->chunk].suspect = true;
        } else {
            fail_chunk(p, l->chunk, result);
        }
        vmd_pager_wake(p, vmd_first_page(p, l->chunk) + l->first, l->count);
    } else {
        p->chunks[l->chunk].suspect = false;
        land(p, l);
    }
    vmd_landing_free(p, l);
}

/* T10; landings: T8, T9 */
void vmd_chunk_read_done(VmdPager *p, VmdTransfer *t, uint32_t first,
                         uint32_t count, int result)
{
    unsigned long map[RAM_CHUNK_LONGS] = {0};

    if (t->kind == VMD_CRITICAL) {
        landing_done(p, t, result);
        return;
    }
    g_assert(p->chunks[t->chunk].state == VMD_FILLING);
    if (result == 0) {
        bool ahead = p->chunks[t->chunk].ahead;
        for (uint32_t i = first; i < first + count; i++) {
            if (!vmd_page_in_file_only(p, t->chunk, i)) { /* (10) */
                continue;
            }
            if (ahead) {
                vm_bit_set(p->frames.valid, vmd_frame_first(p, t->frame) + i);
            } else {
                vm_bit_set(map, i);
            }
        }
        vmd_chunk_move_in(p, t->chunk, t->frame, map);
        return;
    }
    /* A fill that fails is no harm yet: its pages fault by themselves, and a
     * thread that waits already is woken to do so. */
    vmd_note_read_error(p, result);
    vmd_pager_wake(p, vmd_first_page(p, t->chunk) + first, count);
}

/* T11 */
static void fill_finished(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];

    bool touched = chunk->recalled;

    chunk->recalled = false;
    if (chunk->ahead && !touched && !chunk->failed &&
        vmd_chunk_slots(p, c) > 0 && !any_present(p, c)) {
        vmd_chunk_set_state(p, c, VMD_STANDBY);
        return;
    }
    if (chunk->ahead) {
        chunk->ahead = false;
        vmd_chunk_move_in_arrived(p, c);
    }
    vmd_chunk_leave_frame(p, c);
    if (touched) {
        vmd_pager_wake(p, vmd_first_page(p, c), vmd_chunk_len(p, c));
    }
}

/* T17 */
static void write_finished(VmdPager *p, VmdTransfer *t)
{
    ChunkNo c = t->chunk;
    VmdChunk *chunk = &p->chunks[c];
    PageNo base = vmd_first_page(p, c);

    /* What was copied back meanwhile is the guest's now. */
    for (uint32_t i = 0; i < vmd_chunk_len(p, c); i++) {
        if (vmd_page_in_frame(p, c, i) && vmd_page_present(p, base + i)) {
            vmd_chunk_forget_slot(p, c, i);
        }
    }
    /* On the way to a smaller budget the rest goes, as it was meant to. */
    bool recall = chunk->recalled && vmd_budget_is_reached(p);
    chunk->recalled = false;
    if (recall ||
        (t->error && (any_present(p, c) || chunk->failed))) { /* (2), (11) */
        unsigned long map[RAM_CHUNK_LONGS];
        vmd_bits_take(map, p->frames.valid, vmd_frame_first(p, chunk->frame),
                      p->cfg.chunk_pages);
        vmd_chunk_move_in(p, c, chunk->frame, map);
        chunk->wp_faults = 0;
        vmd_chunk_leave_frame(p, c);
    } else if (t->error && vmd_chunk_slots(p, c) > 0) {
        vmd_chunk_set_state(p, c,
                            VMD_STANDBY); /* (9): the data stays in the frame */
    } else {
        vmd_chunk_leave_frame(p, c);
    }
    if (t->import_) {
        t->import_->result = t->error;
        t->import_->done(t->import_);
    }
}

void vmd_chunk_transfer_finished(VmdPager *p, VmdTransfer *t)
{
    switch (t->kind) {
    case VMD_CRITICAL:
        break;
    case VMD_FILL:
    case VMD_AHEAD:
        fill_finished(p, t->chunk);
        break;
    case VMD_WRITE:
        write_finished(p, t);
        break;
    case VMD_EXPORT:
        vmd_carry_export_finished(p, t);
        break;
    case VMD_TRANSFER__COUNT:
        g_assert_not_reached();
    }
}

/* --- import -------------------------------------------------------------- */

/*
 * What is in the guest already is written over, and leaves the map: that costs
 * less than to exchange pages, and a huge page stays whole. Nobody runs yet.
 * Where pages may be protected, a write to them could wait for this thread.
 */
static void write_over(VmdPager *p, ChunkNo c, FrameNo f, unsigned long *pages)
{
    PageNo base = vmd_first_page(p, c);

    for (uint32_t i = 0; !p->protects && i < vmd_chunk_len(p, c); i++) {
        if (vm_bit_test(pages, i) && vmd_page_present(p, base + i)) {
            memcpy(vmd_guest_addr(p, base + i),
                   vmd_frame_addr(p, f) + i * RAM_PAGE_BYTES, RAM_PAGE_BYTES);
            vm_bit_clear(pages, i);
        }
    }
}

void vmd_chunk_import_ram(VmdPager *p, ChunkNo c, FrameNo f,
                          unsigned long *pages)
{
    if (p->chunks[c].state == VMD_STANDBY) {
        vmd_chunk_recall(p, c);
    }
    write_over(p, c, f, pages);
    vmd_chunk_discard(p, c, pages); /* older copies elsewhere */
    vmd_chunk_move_in(p, c, f, pages);
    if (p->chunks[c].state != vmd_chunk_settled_state(p, c)) {
        vmd_chunk_set_state(p, c, vmd_chunk_settled_state(p, c));
    }
}

bool vmd_chunk_import_swap(VmdPager *p, ChunkNo c, FrameNo f, RamImport *im)
{
    VmdChunk *chunk = &p->chunks[c];

    g_assert(chunk->state == VMD_ZERO || chunk->state == VMD_SWAPPED);
    if (chunk->punching) { /* (7) */
        return false;
    }
    VmdTransfer *t = vmd_transfer_new(p, VMD_WRITE, c, f, vmd_frame_addr(p, f));
    if (!t) {
        return false;
    }
    vmd_chunk_discard(p, c, im->pages); /* stored again when written */
    for (uint32_t i = 0; i < vmd_chunk_len(p, c); i++) {
        if (vm_bit_test(im->pages, i)) {
            vm_bit_set(t->todo, i);
            vm_bit_set(p->frames.valid, vmd_frame_first(p, f) + i);
        }
    }
    t->import_ = im;
    chunk->frame = f;
    chunk->recalled = false;
    vmd_chunk_set_state(p, c, VMD_WRITING);
    vmd_transfer_start(p, t);
    return true;
}

void vmd_chunk_adopt(VmdPager *p, ChunkNo c, const unsigned long *pages)
{
    PageNo base = vmd_first_page(p, c);

    g_assert(p->chunks[c].state == VMD_ZERO);
    for (uint32_t i = 0; i < vmd_chunk_len(p, c); i++) {
        if (vm_bit_test(pages, i)) {
            vm_bit_set(p->stored, base + i);
        }
    }
    vmd_chunk_set_state(p, c, vmd_chunk_settled_state(p, c));
}

/* --- repair --------------------------------------------------------------- */

/* T20 */
void vmd_pager_retry(VmdPager *p)
{
    p->write_retry_ns = 0;
    vmd_health_retry(&p->health);
    if (!vmd_health_has(&p->health, VMD_TROUBLE_READ)) {
        return;
    }
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        VmdChunk *chunk = &p->chunks[c];
        if (chunk->state == VMD_FAILED) {
            vmd_chunk_set_state(p, c, vmd_chunk_settled_state(p, c));
        } else if (chunk->failed) {
            /* With I/O in flight still: who waits faults again, and its page
             * is read once more. */
            set_failed(p, c, false);
            vmd_pager_wake(p, vmd_first_page(p, c), vmd_chunk_len(p, c));
        }
    }
}
