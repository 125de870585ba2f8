/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults: how one is served, and how much it brings along.
 *
 * A fault asks where its page is (the four places at the head of pager.c) and
 * takes the shortest way from there: nowhere, a zero page; in a frame, a move
 * or, while that is written, a copy; in the file, a read, of the page alone or
 * of what lies around it (window.c), or of a sequence (ahead.c, stride.c). A
 * thread that pins pages asks in the same way.
 *
 * A fault that cannot be served now (no memory, a write in flight) waits in
 * pending[] and is tried again at each step. Waking a thread whose page is
 * not there is always allowed: it faults again. A discard wakes who waits for
 * a read of the page; any other fault on it is still in pending[] or in the
 * kernel's queue.
 *
 * T1 to T22 are those of pager.c.
 *
 * Threads: the pager thread.
 */
#include "chunk.h"

#include <errno.h>

typedef enum Served { SERVED, DEFERRED } Served;

/* --- zero pages ----------------------------------------------------------- */

/* Zero pages around i: all of the chunk, or 64 KiB when memory is scarce. */
static void zero_run(const VmdPager *p, ChunkNo c, uint32_t i,
                     uint32_t *ret_first, uint32_t *ret_count)
{
    uint32_t low = 0, high = vmd_chunk_len(p, c), first = i, end = i + 1;

    if (vmd_available_pages(p) < (int64_t)(vmd_high_watermark(p) + high)) {
        low = i & ~15u;
        high = MIN(high, low + 16);
    }
    while (first > low && vmd_page_is_nowhere(p, c, first - 1)) {
        first--;
    }
    while (end < high && vmd_page_is_nowhere(p, c, end)) {
        end++;
    }
    *ret_first = first;
    *ret_count = end - first;
}

/* ZERO -> RESIDENT by a huge page. False: page i is still not there. */
static bool zero_fault_huge(VmdPager *p, ChunkNo c, uint32_t i)
{
    PageNo base = vmd_first_page(p, c);

    if (!vmd_huge_may_zero(p, c)) {
        return false;
    }
    uint32_t made = vmd_huge_make(p, vmd_guest_addr(p, base));
    if (made == 0) {
        return false;
    }
    for (uint32_t k = 0; k < made; k++) {
        vmd_page_set_present(p, base + k, true);
    }
    p->chunks[c].huge = made == p->cfg.chunk_pages;
    vmd_chunk_set_state(p, c, VMD_RESIDENT);
    return i < made;
}

/*
 * Pages that are only read share the system's zero page. One that is written
 * gets memory of its own at once, with as many neighbours as the window says:
 * otherwise each costs a second fault, in the kernel. T1.
 */
static Served zero_fault(VmdPager *p, ChunkNo c, uint32_t i, bool write)
{
    VmdChunk *chunk = &p->chunks[c];
    PageNo base = vmd_first_page(p, c);
    uint32_t first, count;
    size_t done;

    if (write && zero_fault_huge(p, c, i)) {
        p->stats.faults_zero++;
        vmd_history_accessed(p, base + i);
        return SERVED;
    }
    if (!vmd_make_room(p, 1, /* reclaim= */ false)) {
        return DEFERRED;
    }
    zero_run(p, c, i, &first, &count);
    if (write) {
        uint32_t window = MAX(vmd_window(p, c), p->cfg.landing_pages);
        uint32_t end = MIN(first + count, (i & ~(window - 1)) + window);
        first = MAX(first, i & ~(window - 1));
        count = end - first;
    }
    if (!vmd_make_room(p, count, /* reclaim= */ false)) {
        first = i;
        count = 1;
    }
    int r = p->cfg.mem->zero(p->cfg.mem_opaque, vmd_guest_addr(p, base + first),
                             count * RAM_PAGE_BYTES, write, &done);
    for (uint32_t k = 0; k < done / RAM_PAGE_BYTES; k++) {
        vmd_page_set_present(p, base + first + k, true);
    }
    if (r < 0) {
        vmd_pager_fatal(p, r);
        return DEFERRED;
    }
    p->stats.faults_zero++;
    if (chunk->state == VMD_ZERO || chunk->state == VMD_SWAPPED) {
        vmd_chunk_set_state(p, c, VMD_RESIDENT);
    } else if (chunk->state == VMD_WRITING) {
        chunk->recalled = true;
    }
    vmd_history_accessed(p, base + i);
    return SERVED;
}

/* --- write protection ------------------------------------------------------
 */

/*
 * How many pages lose their protection at once: a chunk that is written here
 * and there stays mostly clean, one that is written all over costs few
 * faults. A huge page stays whole, but while a migration watches: then a page
 * without protection looks written as soon as it is read.
 */
static uint32_t unprotect_span(VmdPager *p, VmdChunk *chunk)
{
    if (chunk->huge && !p->tracking) {
        return RAM_CHUNK_PAGES_MAX;
    }
    chunk->huge = false;
    return 1u << MIN(2u * chunk->wp_faults, 9u);
}

/* T18 */
static Served write_protect_fault(VmdPager *p, ChunkNo c, uint32_t i)
{
    VmdChunk *chunk = &p->chunks[c];
    PageNo base = vmd_first_page(p, c);
    uint32_t span = unprotect_span(p, chunk);
    uint32_t first = i & ~(span - 1);
    uint32_t end = MIN(first + span, vmd_chunk_len(p, c));

    /* (3): first stored, then writable. */
    for (uint32_t k = first; k < end; k++) {
        if (vmd_page_present(p, base + k)) {
            vm_bit_clear(p->stored, base + k);
        }
    }
    int r = p->cfg.mem->unprotect(p->cfg.mem_opaque,
                                  vmd_guest_addr(p, base + first),
                                  (end - first) * RAM_PAGE_BYTES);
    if (r < 0) {
        vmd_pager_fatal(p, r);
    }
    chunk->wp_faults = (uint8_t)MIN(chunk->wp_faults + 1, 5);
    p->stats.faults_write_protect++;
    vmd_read_first_written(p, base + i);
    vmd_history_accessed(p, base + i);
    return SERVED;
}

/* --- reads -----------------------------------------------------------------
 */

/* Is the page in the file only, and nobody reads it yet? */
static bool wants_read(VmdPager *p, ChunkNo c, uint32_t i)
{
    if (!vmd_page_in_file_only(p, c, i) || vmd_page_in_frame(p, c, i) ||
        vmd_landing_find(p, c, i)) {
        return false;
    }
    if (p->chunks[c].state == VMD_FILLING) {
        const VmdTransfer *t = p->frames.owner[p->chunks[c].frame];
        return !vm_bit_test(t->flying, i) && !vm_bit_test(t->todo, i);
    }
    return true;
}

/* T4: reads page i, and of its window (a power of two) what is beside it. */
static Served read_few(VmdPager *p, ChunkNo c, uint32_t i, uint32_t window,
                       const VmdPendingFault *fault)
{
    uint32_t low = i & ~(window - 1);
    uint32_t high = MIN(low + window, vmd_chunk_len(p, c));
    uint32_t first = i, end = i + 1;

    while (first > low && wants_read(p, c, first - 1)) {
        first--;
    }
    while (end < high && wants_read(p, c, end)) {
        end++;
    }
    VmdLanding *l =
        vmd_landing_start(p, c, first, end - first, fault->since_ns);
    if (!l && end - first > 1) {
        first = i;
        l = vmd_landing_start(p, c, i, 1, fault->since_ns);
    }
    if (!l) {
        return DEFERRED;
    }
    if (fault->kind == VM_FAULT_WRITE ||
        vmd_read_first_guess(p, fault->page)) {
        l->written |= 1u << (i - first);
    }
    p->stats.faults_hard++;
    return SERVED;
}

/* Pages at equal distances, which nobody waits for yet. */
static void read_strided(VmdPager *p, PageNo page, int64_t delta, uint32_t n)
{
    for (uint32_t k = 1; k <= n; k++) {
        int64_t next = (int64_t)page + k * delta;
        if (next < 0 || next >= (int64_t)p->cfg.pages) {
            return;
        }
        ChunkNo c = (ChunkNo)((PageNo)next / p->cfg.chunk_pages);
        uint32_t i = (uint32_t)((PageNo)next % p->cfg.chunk_pages);
        VmdChunkState state = (VmdChunkState)p->chunks[c].state;
        if ((state == VMD_SWAPPED || state == VMD_RESIDENT) &&
            wants_read(p, c, i) &&
            !vmd_landing_start(p, c, i, 1, /* since_ns= */ 0)) {
            return;
        }
    }
}

/* T5, T6: SWAPPED or RESIDENT -> FILLING: the window around page i, but for
 * what is being read already. False: nothing to read, or no room; the pages
 * fault. */
static bool start_fill(VmdPager *p, ChunkNo c, uint32_t i, uint32_t window,
                       VmdTransferKind kind)
{
    unsigned long map[RAM_CHUNK_LONGS] = {0};
    uint32_t low = i & ~(window - 1);
    uint32_t high = MIN(low + window, vmd_chunk_len(p, c));
    bool any = false;

    for (uint32_t k = low; k < high; k++) {
        if (wants_read(p, c, k)) {
            vm_bit_set(map, k);
            any = true;
        }
    }
    FrameNo f = any && kind == VMD_AHEAD ? vmd_huge_frame(p, c, map) : VMD_NONE;
    if (f == VMD_NONE && any) {
        f = vmd_frame_get(p, map);
    }
    if (f == VMD_NONE) {
        return false;
    }
    VmdTransfer *t = vmd_transfer_new(p, kind, c, f, vmd_frame_addr(p, f));
    if (!t) {
        vmd_frame_put(p, f);
        return false;
    }
    for (unsigned w = 0; w < RAM_CHUNK_LONGS; w++) {
        t->todo[w] = map[w];
    }
    p->chunks[c].frame = f;
    p->chunks[c].wp_faults = 0;
    p->chunks[c].ahead = kind == VMD_AHEAD;
    p->chunks[c].recalled = false;
    vmd_chunk_set_state(p, c, VMD_FILLING);
    vmd_transfer_start(p, t);
    return true;
}

bool vmd_chunk_read_ahead(VmdPager *p, ChunkNo c)
{
    g_assert(p->chunks[c].state == VMD_SWAPPED);
    return p->chunks[c].landings > 0 ||
           start_fill(p, c, 0, RAM_CHUNK_PAGES_MAX, VMD_AHEAD);
}

bool vmd_chunk_bring(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];

    g_assert(chunk->state == VMD_SWAPPED);
    if (chunk->landings > 0) {
        return true; /* it is being touched */
    }
    /* As read-ahead does, since that makes huge pages; and then as if it were
     * touched at once. */
    if (!start_fill(p, c, 0, RAM_CHUNK_PAGES_MAX, VMD_AHEAD)) {
        return false;
    }
    chunk->recalled = vmd_chunk_filling_huge(p, c);
    chunk->ahead = chunk->recalled;
    return true;
}

/* T7: FILLING while ahead -> FILLING: somebody was faster than the device. */
static void touched_while_ahead(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];

    p->fault_number++;
    chunk->last_fault = (uint16_t)p->fault_number;
    chunk->heat = VMD_HEAT_MAX;
    if (vmd_chunk_filling_huge(p, c)) {
        chunk->recalled = true;
    } else {
        chunk->ahead = false;
        vmd_chunk_move_in_arrived(p, c);
    }
    vmd_ahead_touched(p, c);
}

/* The page is in the file only. */
static Served hard_fault(VmdPager *p, ChunkNo c, uint32_t i,
                         const VmdPendingFault *fault)
{
    VmdChunkState state = (VmdChunkState)p->chunks[c].state;
    VmdLanding *l = vmd_landing_find(p, c, i);

    if (l) {
        if (l->since_ns == 0) {
            l->since_ns = fault->since_ns;
        }
        if (fault->kind == VM_FAULT_WRITE) {
            l->written |= 1u << (i - l->first);
        }
        return SERVED; /* it will wake */
    }
    if (state == VMD_FILLING) {
        VmdTransfer *t = p->frames.owner[p->chunks[c].frame];
        if (p->chunks[c].ahead && !p->chunks[c].recalled) {
            touched_while_ahead(p, c);
        }
        if (vmd_chunk_filling_huge(p, c)) {
            return SERVED; /* fill_finished() wakes */
        }
        if (vm_bit_test(t->flying, i) ||
            vmd_page_present(p, vmd_first_page(p, c) + i)) {
            return SERVED;
        }
        vm_bit_clear(t->todo, i); /* sooner by itself */
    }
    if (!vmd_make_room(p, 1, /* reclaim= */ false)) {
        return DEFERRED;
    }
    if (p->chunks[c].suspect) { /* which page it is that fails */
        vmd_history_accessed(p, vmd_first_page(p, c) + i);
        return read_few(p, c, i, 1, fault);
    }
    int64_t delta;
    uint32_t ahead = vmd_stride(p, fault->page, &delta);
    if (ahead > 0) {
        Served served = read_few(p, c, i, 1, fault);
        read_strided(p, fault->page, delta, ahead);
        return served;
    }
    uint32_t window = vmd_window(p, c);
    bool fill = window > p->cfg.landing_pages &&
                (state == VMD_SWAPPED || state == VMD_RESIDENT);
    vmd_history_accessed(p, vmd_first_page(p, c) + i);
    if (read_few(p, c, i, fill ? 1 : MIN(window, p->cfg.landing_pages),
                 fault) == DEFERRED) {
        return DEFERRED;
    }
    if (fill) {
        (void)start_fill(p, c, i, window, VMD_FILL);
    }
    vmd_ahead_touched(p, c);
    return SERVED;
}

/* T3: the page is in a frame that is being written to the file: copy it back.
 */
static Served fault_while_writing(VmdPager *p, ChunkNo c, uint32_t i)
{
    PageNo page = vmd_first_page(p, c) + i;
    FrameNo f = p->chunks[c].frame;
    size_t done;

    p->chunks[c].recalled = true;
    if (!vmd_make_room(p, 1, /* reclaim= */ true)) {
        return DEFERRED;
    }
    vm_bit_clear(p->stored, page); /* (5) */
    int r = p->cfg.mem->copy_in(p->cfg.mem_opaque, vmd_guest_addr(p, page),
                                vmd_frame_addr(p, f) + i * RAM_PAGE_BYTES,
                                RAM_PAGE_BYTES, p->tracking, &done);
    if (r < 0) {
        vmd_pager_fatal(p, r);
        return DEFERRED;
    }
    vmd_page_set_present(p, page, true);
    p->stats.faults_soft++;
    vmd_history_accessed(p, page);
    return SERVED;
}

/* STANDBY -> RESIDENT: it was a wrong choice, or was read ahead. */
static void soft_fault(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];
    bool ahead = chunk->ahead;
    int64_t start = p->cfg.now_ns();

    chunk->ahead = false;
    vmd_chunk_recall(p, c);
    vmd_history_recalled(p, c, p->cfg.now_ns() - start);
    p->stats.faults_soft++;
    if (ahead) {
        p->fault_number++;
        chunk->last_fault = (uint16_t)p->fault_number;
        chunk->heat = VMD_HEAT_MAX;
        vmd_ahead_touched(p, c);
    }
}

static Served missing_fault(VmdPager *p, ChunkNo c, uint32_t i,
                            const VmdPendingFault *fault)
{
    VmdChunk *chunk = &p->chunks[c];
    PageNo page = vmd_first_page(p, c) + i;

    if (chunk->state == VMD_STANDBY) {
        bool here = vmd_page_in_frame(p, c, i);
        soft_fault(p, c);
        vmd_history_accessed(p, page);
        if (here) {
            return SERVED;
        }
    }
    if (vmd_page_is_nowhere(p, c, i)) {
        return zero_fault(p, c, i, fault->kind == VM_FAULT_WRITE);
    }
    if (vmd_page_in_frame(p, c, i)) {
        return fault_while_writing(p, c, i);
    }
    if (chunk->state == VMD_FAILED) {
        return DEFERRED; /* for ever, unless vmd_pager_retry() helps */
    }
    return hard_fault(p, c, i, fault);
}

/*
 * A fault on a page that is there has been resolved since its event was
 * written; as many in a row as there are vCPUs are normal. If they do not
 * end, the page has vanished behind our back, and waking its reader again and
 * again would only hide that.
 */
static void note_ghost(VmdPager *p, PageNo page)
{
    p->ghost_faults = page == p->ghost_page ? p->ghost_faults + 1 : 1;
    p->ghost_page = page;
    if (p->ghost_faults > VMD_GHOST_FAULTS) {
        vmd_pager_fatal(p, -EFAULT);
    }
}

static Served serve(VmdPager *p, const VmdPendingFault *fault)
{
    ChunkNo c = (ChunkNo)(fault->page / p->cfg.chunk_pages);
    uint32_t i = (uint32_t)(fault->page % p->cfg.chunk_pages);

    if (p->fatal) {
        return DEFERRED; /* nobody goes on with a wrong byte */
    }
    if (vmd_page_present(p, fault->page)) {
        if (fault->kind == VM_FAULT_WRITE_PROTECT) {
            return write_protect_fault(p, c, i);
        }
        vmd_pager_wake(p, fault->page,
                       1); /* resolved since the event was written */
        note_ghost(p, fault->page);
        return SERVED;
    }
    if (fault->kind == VM_FAULT_WRITE_PROTECT) {
        vmd_pager_wake(p, fault->page,
                       1); /* moved out since: it faults as missing */
        return SERVED;
    }
    p->ghost_faults = 0;
    return missing_fault(p, c, i, fault);
}

void vmd_pager_fault(VmdPager *p, PageNo page, VmFaultKind kind)
{
    VmdPendingFault fault = {page, kind, p->cfg.now_ns()};

    g_assert(page < p->cfg.pages);
    if (serve(p, &fault) == SERVED) {
        return;
    }
    if (p->pending_count < VMD_PENDING_MAX) {
        p->pending[p->pending_count++] = fault;
    } else {
        vmd_pager_wake(p, page, 1); /* it faults again, later */
    }
}

void vmd_pager_serve_pending(VmdPager *p)
{
    uint32_t kept = 0;

    for (uint32_t k = 0; k < p->pending_count; k++) {
        VmdPendingFault fault = p->pending[k];
        if (serve(p, &fault) == DEFERRED) {
            p->pending[kept++] = fault;
        }
    }
    p->pending_count = kept;
}

/* --- pins ------------------------------------------------------------------
 */

/* T22. 0: all there; 1: not yet; -EIO: never. Starts what is missing. A page
 * that is unreadable may be repaired: its waiter waits as a vCPU does. */
static int pin_progress(VmdPager *p, const VmdPinWaiter *w)
{
    int result = 0;

    for (PageNo page = w->first; page < w->first + w->count; page++) {
        if (vmd_page_present(p, page)) {
            continue;
        }
        VmdPendingFault fault = {page, VM_FAULT_WRITE, p->cfg.now_ns()};
        if (p->fatal) {
            return -EIO;
        }
        (void)serve(p, &fault);
        if (!vmd_page_present(p, page)) {
            result = 1;
        }
    }
    return result;
}

void vmd_pager_serve_pin_waiters(VmdPager *p)
{
    VmdPinWaiter **link = &p->pin_waiters;

    while (*link) {
        VmdPinWaiter *w = *link;
        int r = pin_progress(p, w);
        if (r == 1) {
            link = &w->next;
            continue;
        }
        *link = w->next;
        w->done(w, r);
    }
}

void vmd_pager_add_pin_waiter(VmdPager *p, VmdPinWaiter *w)
{
    w->next = p->pin_waiters;
    p->pin_waiters = w;
}
