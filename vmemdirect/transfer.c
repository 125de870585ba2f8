/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O on behalf of chunks: runs of pages between the swap file and memory.
 *
 * A transfer is what one chunk wants read or written; it is cut into requests
 * (runs of neighbouring pages) as the device has room for them. There is one
 * queue for each kind; a page that a vCPU waits for goes first, exports for
 * migration next, then the rest of chunks being filled, then page-out. Fills
 * are bounded, and fewer while a critical read is under way: a 4 KiB read
 * must not stand behind many 1 MiB reads in the device (measured: p50 284 us
 * against 949 us).
 *
 * All memory is allocated at start: 512 transfers, 128 requests.
 *
 * Life of a transfer: new -> start (queued) -> all of todo submitted (off the
 * queue) -> nothing in flight -> vmd_chunk_transfer_finished() -> free.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

#include <errno.h>

/* Gaps up to this many pages are transferred rather than cut around. */
#define GAP_PAGES 8u
/* Export reads in flight while somebody waits for a page: with 24 of up to
 * 2 MiB each, he waited 42 to 74 ms (90th percentile). */
#define EXPORTS_BESIDE_FAULTS 2u

void vmd_transfers_init(VmdPager *p)
{
    p->transfers = g_new0(VmdTransfer, VMD_TRANSFERS_MAX);
    for (unsigned i = 0; i < VMD_TRANSFERS_MAX; i++) {
        p->transfers[i].next = p->free_transfers;
        p->free_transfers = &p->transfers[i];
    }
    p->slots = g_new0(VmdSlot, VMD_IO_DEPTH);
    for (unsigned i = 0; i < VMD_IO_DEPTH; i++) {
        p->slots[i].pager = p;
        p->slots[i].next_free = p->free_slots;
        p->free_slots = &p->slots[i];
    }
}

void vmd_transfers_done(VmdPager *p)
{
    g_free(p->transfers);
    g_free(p->slots);
}

VmdTransfer *vmd_transfer_new(VmdPager *p, VmdTransferKind kind, ChunkNo c,
                              FrameNo f, uint8_t *base)
{
    VmdTransfer *t = p->free_transfers;

    if (t) {
        p->free_transfers = t->next;
        *t = (VmdTransfer){ .kind = kind, .chunk = c, .frame = f,
                            .base = base };
        if (f != VMD_NONE) {
            g_assert(!p->frames.owner[f]);
            p->frames.owner[f] = t;
        }
    }
    return t;
}

static void enqueue(VmdPager *p, VmdTransfer *t)
{
    t->next = NULL;
    t->queued = true;
    if (p->queue[t->kind].last) {
        p->queue[t->kind].last->next = t;
    } else {
        p->queue[t->kind].first = t;
    }
    p->queue[t->kind].last = t;
}

static void unqueue_first(VmdPager *p, VmdTransferKind kind)
{
    VmdTransfer *t = p->queue[kind].first;

    t->queued = false;
    p->queue[kind].first = t->next;
    if (!t->next) {
        p->queue[kind].last = NULL;
    }
}

static bool todo_empty(const VmdTransfer *t)
{
    for (unsigned i = 0; i < RAM_CHUNK_LONGS; i++) {
        if (t->todo[i] != 0) {
            return false;
        }
    }
    return true;
}

static void finish(VmdPager *p, VmdTransfer *t)
{
    if (t->frame != VMD_NONE) {
        p->frames.owner[t->frame] = NULL;
    }
    vmd_chunk_transfer_finished(p, t);
    t->next = p->free_transfers;
    p->free_transfers = t;
}

void vmd_transfer_start(VmdPager *p, VmdTransfer *t)
{
    if (todo_empty(t)) {
        finish(p, t);
    } else {
        enqueue(p, t);
    }
}

void vmd_transfer_retry(VmdPager *p, VmdTransfer *t, uint32_t first,
                        uint32_t count)
{
    t->tries++;
    vm_bitmap_set(t->todo, first, count);
    if (!t->queued) {
        enqueue(p, t);
    }
}

/* --- requests ------------------------------------------------------------ */

static void read_finished(VmdPager *p, VmdTransfer *t, VmdSlot *slot,
                          int result)
{
    if (t->kind != VMD_EXPORT) {
        vmd_chunk_read_done(p, t, slot->first, slot->count, result);
        return;
    }
    if (result == 0) {
        p->stats.export_bytes += slot->count * RAM_PAGE_BYTES;
        return;
    }
    if (result == -EBADMSG) {
        t->error = result; /* it may be elsewhere by now: see carry.c */
        return;
    }
    vmd_note_read_error(p, result);
    if (t->tries + 1 < VMD_READ_TRIES) {
        vmd_transfer_retry(p, t, slot->first, slot->count);
    } else {
        t->error = result;
    }
}

static void request_done(VmdIoRequest *request, int result)
{
    VmdSlot *slot = (VmdSlot *)request;
    VmdPager *p = slot->pager;
    VmdTransfer *t = slot->transfer;

    p->in_flight--;
    p->requests[t->kind]--;
    t->in_flight--;
    vm_bitmap_clear(t->flying, slot->first, slot->count);
    slot->since_ns = 0;
    if (t->kind == VMD_WRITE) {
        vmd_chunk_write_done(p, t, slot->first, slot->count, result);
    } else {
        read_finished(p, t, slot, result);
    }
    slot->next_free = p->free_slots;
    p->free_slots = slot;
    if (t->in_flight == 0 && !t->queued) {
        finish(p, t);
    }
}

static bool may_submit(const VmdPager *p, VmdTransferKind kind)
{
    unsigned left = VMD_IO_DEPTH - p->in_flight;

    if (left == 0 || !p->free_slots) {
        return false;
    }
    switch (kind) {
    case VMD_CRITICAL:
        return true;
    case VMD_EXPORT:
        return left > VMD_IO_SPARE &&
               p->requests[kind] <
                   (p->requests[VMD_CRITICAL] > 0 ? EXPORTS_BESIDE_FAULTS :
                                                    VMD_EXPORT_IO_MAX);
    case VMD_FILL:
        return left > VMD_IO_SPARE &&
               p->requests[kind] <
                   (p->requests[VMD_CRITICAL] > 0 ? 1u : VMD_FILLS_MAX);
    case VMD_AHEAD:
        return left > VMD_IO_SPARE &&
               p->requests[kind] <
                   (p->requests[VMD_CRITICAL] > 0 ? 1u : VMD_AHEAD_IO_MAX);
    case VMD_WRITE:
        return left > VMD_IO_SPARE && p->requests[kind] < VMD_WRITES_MAX;
    case VMD_TRANSFER__COUNT:
        break;
    }
    g_assert_not_reached();
}

/*
 * May page i be transferred although it is not wanted, to save a request?
 * A write may repeat what the frame holds anyway. A read into a frame may
 * not: the slot might have lost its memory, which is then not charged.
 */
static bool may_bridge(const VmdPager *p, const VmdTransfer *t, uint32_t i)
{
    if (t->kind == VMD_EXPORT) {
        return vmd_page_stored(p, vmd_first_page(p, t->chunk) + i);
    }
    return t->kind == VMD_WRITE && vmd_page_in_frame(p, t->chunk, i);
}

/* The next run of pages of the transfer; they leave todo. */
static void next_run(VmdPager *p, VmdTransfer *t, uint32_t *ret_first,
                     uint32_t *ret_count)
{
    uint32_t len = vmd_chunk_len(p, t->chunk);
    uint32_t first = (uint32_t)vm_bitmap_next_set(t->todo, 0, len);
    uint32_t end = (uint32_t)vm_bitmap_next_clear(t->todo, first, len);

    while (end < len) {
        uint32_t next = (uint32_t)vm_bitmap_next_set(t->todo, end, len);
        uint32_t i = end;
        if (next == len || next - end > GAP_PAGES) {
            break;
        }
        while (i < next && may_bridge(p, t, i)) {
            i++;
        }
        if (i < next) {
            break;
        }
        end = (uint32_t)vm_bitmap_next_clear(t->todo, next, len);
    }
    vm_bitmap_clear(t->todo, first, end - first);
    *ret_first = first;
    *ret_count = end - first;
}

static void count_operation(VmdPager *p, const VmdTransfer *t, uint32_t count)
{
    if (t->kind == VMD_WRITE) {
        if (t->exchanged) {
            p->stats.import_swap_bytes += count * RAM_PAGE_BYTES;
        } else if (!t->import_) {
            p->stats.page_out_ops++;
            p->stats.page_out_bytes += count * RAM_PAGE_BYTES;
        }
    } else if (t->kind != VMD_EXPORT) {
        p->stats.page_in_ops++;
        p->stats.page_in_bytes += count * RAM_PAGE_BYTES;
    }
}

/* Submits the next run; false: the device's queue is full. */
static bool submit_run(VmdPager *p, VmdTransfer *t)
{
    VmdSlot *slot = p->free_slots;
    uint32_t first, count;

    next_run(p, t, &first, &count);
    slot->transfer = t;
    slot->chunk = t->chunk;
    slot->first = first;
    slot->count = count;
    slot->request = (VmdIoRequest){
        .op = t->kind == VMD_WRITE ? VMD_IO_WRITE : VMD_IO_READ,
        .offset = (vmd_first_page(p, t->chunk) + first) * RAM_PAGE_BYTES,
        .buf = t->base + first * RAM_PAGE_BYTES,
        .len = (uint32_t)(count * RAM_PAGE_BYTES),
        .done = request_done,
    };
    if (p->cfg.io->ops->submit(p->cfg.io, &slot->request) < 0) {
        vm_bitmap_set(t->todo, first, count);
        return false;
    }
    p->free_slots = slot->next_free;
    slot->since_ns = p->cfg.now_ns();
    p->in_flight++;
    p->requests[t->kind]++;
    t->in_flight++;
    vm_bitmap_set(t->flying, first, count);
    count_operation(p, t, count);
    return true;
}

void vmd_transfers_pump(VmdPager *p)
{
    for (int kind = 0; kind < VMD_TRANSFER__COUNT; kind++) {
        VmdTransfer *t;
        while ((t = p->queue[kind].first) &&
               may_submit(p, (VmdTransferKind)kind)) {
            if (todo_empty(t)) {
                /* Its last pages were read by landings instead. */
                unqueue_first(p, (VmdTransferKind)kind);
                if (t->in_flight == 0) {
                    finish(p, t);
                }
                continue;
            }
            if (!submit_run(p, t)) {
                break;
            }
            if (todo_empty(t)) {
                unqueue_first(p, (VmdTransferKind)kind);
            }
        }
    }
    p->cfg.io->ops->flush(p->cfg.io);
}

int64_t vmd_transfers_oldest_ns(const VmdPager *p)
{
    int64_t oldest = 0;

    for (unsigned i = 0; p->in_flight > 0 && i < VMD_IO_DEPTH; i++) {
        int64_t since = p->slots[i].since_ns;
        if (since != 0 && (oldest == 0 || since < oldest)) {
            oldest = since;
        }
    }
    return oldest;
}

/* --- holes --------------------------------------------------------------- */

static void punch_done(VmdIoRequest *request, int result)
{
    VmdSlot *slot = (VmdSlot *)request;
    VmdPager *p = slot->pager;

    p->in_flight--;
    p->punches--;
    slot->since_ns = 0;
    p->chunks[slot->chunk].punching = false;
    if (result < 0) {
        /* The blocks stay; they are written over or punched another time. */
        vm_bitmap_set(p->occupied,
                      vmd_first_page(p, slot->chunk) + slot->first,
                      slot->count);
    }
    slot->next_free = p->free_slots;
    p->free_slots = slot;
}

/* T21; it ends in punch_done(). */
bool vmd_punch(VmdPager *p, ChunkNo c, uint32_t first, uint32_t count)
{
    VmdSlot *slot = p->free_slots;

    if (!slot || VMD_IO_DEPTH - p->in_flight <= VMD_IO_SPARE ||
        p->punches >= VMD_PUNCHES_MAX || p->chunks[c].punching) {
        return false;
    }
    slot->transfer = NULL;
    slot->chunk = c;
    slot->first = first;
    slot->count = count;
    slot->request = (VmdIoRequest){
        .op = VMD_IO_PUNCH,
        .offset = (vmd_first_page(p, c) + first) * RAM_PAGE_BYTES,
        .len = (uint32_t)(count * RAM_PAGE_BYTES),
        .done = punch_done,
    };
    if (p->cfg.io->ops->submit(p->cfg.io, &slot->request) < 0) {
        return false;
    }
    p->free_slots = slot->next_free;
    slot->since_ns = p->cfg.now_ns();
    p->in_flight++;
    p->punches++;
    p->chunks[c].punching = true;
    vm_bitmap_clear(p->occupied, vmd_first_page(p, c) + first, count);
    return true;
}
