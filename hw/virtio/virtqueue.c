/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues: taking chains of buffers and giving them back.
 *
 * Why: every virtio device moves its data through these rings, and every word
 * of them is the guest's to spoil. This file is the only reader of ring
 * memory; what it hands out is bounded and checked, but for the addresses in
 * the segments, which dma_map() and friends check at the touch.
 *
 * Invariants:
 *   (1) virtqueue_in_flight() <= size: a driver that offers more than it has
 *       descriptors is refused, so device memory for requests is bounded.
 *   (2) A walk of a chain visits at most VIRTQUEUE_CHAIN_MAX descriptors,
 *       hence ends, loop or not.
 *
 * Ordering: the driver writes an entry, then the index; we load the index
 * with acquire (dma_load_u16) before we read entries. We write used entries,
 * then the index with release. "Enable kicks, then look again" and "publish,
 * then look whether an interrupt is wanted" each need a full fence between
 * the store and the load, to pair with the driver's own (2.7.13.3.1,
 * 2.7.14): without it both sides could go to sleep.
 *
 * Threads: the device's lock is held.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "hw/virtio/virtqueue.h"

/* Layout, 2.7.5 to 2.7.8. */
#define DESC_BYTES 16
#define DESC_F_NEXT 1
#define DESC_F_WRITE 2
#define DESC_F_INDIRECT 4
#define AVAIL_F_NO_INTERRUPT 1
#define USED_F_NO_NOTIFY 1
#define RING_INDEX 2
#define AVAIL_RING 4
#define USED_RING 4
#define USED_BYTES 8

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} Desc;

typedef struct UsedEntry {
    uint32_t id, len;
} UsedEntry;

G_STATIC_ASSERT(sizeof(Desc) == DESC_BYTES);
G_STATIC_ASSERT(sizeof(UsedEntry) == USED_BYTES);

/* ---- Set-up ------------------------------------------------------------ */

void virtqueue_reset(VirtQueue *vq)
{
    vq->size = vq->size_max;
    vq->enabled = false;
    vq->vector = VIRTIO_NO_VECTOR;
    vq->desc = vq->driver = vq->device = 0;
    vq->next_avail = vq->next_used = vq->told_used = 0;
    vq->told_valid = false;
}

static bool area_ok(uint64_t addr, uint64_t bytes, uint64_t align)
{
    return addr % align == 0 && addr + bytes > addr;
}

int virtqueue_check_layout(const VirtQueue *vq)
{
    uint64_t n = vq->size;

    /* 2.7.1: a power of two; the device said how much it takes. */
    if (n == 0 || n > vq->size_max || (n & (n - 1)) != 0) {
        return -EINVAL;
    }
    if (!area_ok(vq->desc, n * DESC_BYTES, 16) ||
        !area_ok(vq->driver, AVAIL_RING + 2 * n + 2, 2) ||
        !area_ok(vq->device, USED_RING + USED_BYTES * n + 2, 4)) {
        return -EINVAL;
    }
    return 0;
}

uint16_t virtqueue_in_flight(const VirtQueue *vq)
{
    return vq->next_avail - vq->next_used;
}

/* ---- Taking ------------------------------------------------------------ */

static int read_desc(const VirtQueue *vq, GuestAddr table, unsigned index,
                     Desc *ret)
{
    int r = dma_read(vq->memory, table + (uint64_t)index * DESC_BYTES, ret,
                     sizeof(*ret));

    if (r < 0) {
        return r;
    }
    ret->addr = GUINT64_FROM_LE(ret->addr);
    ret->len = GUINT32_FROM_LE(ret->len);
    ret->flags = GUINT16_FROM_LE(ret->flags);
    ret->next = GUINT16_FROM_LE(ret->next);
    return 0;
}

static int add_segment(VirtChain *chain, const Desc *d)
{
    bool in = d->flags & DESC_F_WRITE;
    uint32_t *bytes = in ? &chain->in_bytes : &chain->out_bytes;
    VirtSegment *segment;

    if (!in && chain->in_count > 0) {
        return -EINVAL; /* 2.7.4.2: readable ones come first */
    }
    if ((uint64_t)chain->in_bytes + chain->out_bytes + d->len > UINT32_MAX) {
        return -EINVAL; /* 2.7.5.2: at most 2^32 bytes together */
    }
    if (d->len == 0) {
        return 0;
    }
    segment = &chain->segment[chain->out_count + chain->in_count];
    segment->addr = d->addr;
    segment->len = d->len;
    *bytes += d->len;
    if (in) {
        chain->in_count++;
    } else {
        chain->out_count++;
    }
    return 0;
}

/* Follows the chain from first in a table of count descriptors. */
static int walk(VirtQueue *vq, GuestAddr table, unsigned count,
                unsigned first, bool in_indirect, VirtChain *chain,
                unsigned *budget)
{
    unsigned index = first;

    for (;;) {
        Desc d;
        int r;

        if (index >= count || (*budget)-- == 0) {
            return -EINVAL; /* (2) */
        }
        r = read_desc(vq, table, index, &d);
        if (r < 0) {
            return r;
        }
        if (d.flags & DESC_F_INDIRECT) {
            /* 2.7.5.3.1: negotiated, not nested, no NEXT beside it. */
            if (!vq->indirect || in_indirect || (d.flags & DESC_F_NEXT) ||
                d.len == 0 || d.len % DESC_BYTES ||
                d.len / DESC_BYTES > 65536) {
                return -EINVAL;
            }
            return walk(vq, d.addr, d.len / DESC_BYTES, 0,
                        /* in_indirect= */ true, chain, budget);
        }
        r = add_segment(chain, &d);
        if (r < 0) {
            return r;
        }
        if (!(d.flags & DESC_F_NEXT)) {
            return 0;
        }
        index = d.next;
    }
}

/* How many entries wait; -errno. */
static int entries_waiting(const VirtQueue *vq)
{
    uint16_t index, waiting;
    int r = dma_load_u16(vq->memory, vq->driver + RING_INDEX, &index);

    if (r < 0) {
        return r;
    }
    waiting = index - vq->next_avail;
    return waiting > vq->size ? -EINVAL : waiting;
}

int virtqueue_pop(VirtQueue *vq, VirtChain *chain)
{
    unsigned budget = VIRTQUEUE_CHAIN_MAX;
    uint16_t head;
    int r = entries_waiting(vq);

    if (r <= 0) {
        return r;
    }
    if (virtqueue_in_flight(vq) >= vq->size) {
        return -EINVAL; /* (1) */
    }
    r = dma_load_u16(vq->memory,
                     vq->driver + AVAIL_RING +
                         2 * (vq->next_avail & (vq->size - 1)),
                     &head);
    if (r < 0) {
        return r;
    }
    chain->head = head;
    chain->out_count = chain->in_count = 0;
    chain->out_bytes = chain->in_bytes = 0;
    r = walk(vq, vq->desc, vq->size, head, /* in_indirect= */ false, chain,
             &budget);
    if (r < 0) {
        return r;
    }
    vq->next_avail++;
    return 1;
}

void virtqueue_unpop(VirtQueue *vq)
{
    g_assert(virtqueue_in_flight(vq) > 0);
    vq->next_avail--;
}

/* ---- Giving back ------------------------------------------------------- */

int virtqueue_fill(VirtQueue *vq, unsigned index, uint16_t head,
                   uint32_t written)
{
    UsedEntry e = { GUINT32_TO_LE(head), GUINT32_TO_LE(written) };
    unsigned at = (uint16_t)(vq->next_used + index) & (vq->size - 1);

    return dma_write(vq->memory,
                     vq->device + USED_RING + (uint64_t)at * USED_BYTES, &e,
                     sizeof(e));
}

int virtqueue_publish(VirtQueue *vq, unsigned count)
{
    uint16_t next = vq->next_used + count;
    int r;

    g_assert(count <= virtqueue_in_flight(vq));
    r = dma_store_u16(vq->memory, vq->device + RING_INDEX, next);
    if (r < 0) {
        return r;
    }
    vq->next_used = next;
    /* A whole turn since the driver was last told: the comparison in
     * virtqueue_should_notify() would be ambiguous. */
    if ((uint16_t)(next - vq->told_used) < count) {
        vq->told_valid = false;
    }
    return 0;
}

int virtqueue_push(VirtQueue *vq, uint16_t head, uint32_t written)
{
    int r = virtqueue_fill(vq, 0, head, written);

    return r < 0 ? r : virtqueue_publish(vq, 1);
}

/* ---- Notifications ----------------------------------------------------- */

int virtqueue_should_notify(VirtQueue *vq)
{
    uint16_t word, old = vq->told_used;
    bool was_valid = vq->told_valid;
    int r;

    /* Partner: the driver's fence between setting used_event (or its flag)
     * and looking at the used index once more. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!vq->event_idx) {
        r = dma_load_u16(vq->memory, vq->driver, &word);
        return r < 0 ? r : !(word & AVAIL_F_NO_INTERRUPT);
    }
    r = dma_load_u16(vq->memory, vq->driver + AVAIL_RING + 2 * vq->size,
                     &word);
    if (r < 0) {
        return r;
    }
    vq->told_used = vq->next_used;
    vq->told_valid = true;
    /* 2.7.7.2: is the driver's mark among those passed since? */
    return !was_valid || (uint16_t)(vq->next_used - word - 1) <
                             (uint16_t)(vq->next_used - old);
}

static int set_used_flags(VirtQueue *vq, uint16_t flags)
{
    return dma_store_u16(vq->memory, vq->device, flags);
}

int virtqueue_kicks_disable(VirtQueue *vq)
{
    /* With event indexes a stale avail_event does the same. */
    return vq->event_idx ? 0 : set_used_flags(vq, USED_F_NO_NOTIFY);
}

int virtqueue_kicks_enable(VirtQueue *vq)
{
    int r;

    if (vq->event_idx) {
        /* Not next_avail: of entries that wait for more to join them the
         * driver has told already. */
        r = entries_waiting(vq);
        if (r >= 0) {
            r = dma_store_u16(vq->memory,
                              vq->device + USED_RING + USED_BYTES * vq->size,
                              vq->next_avail + r);
        }
    } else {
        r = set_used_flags(vq, 0);
    }
    if (r < 0) {
        return r;
    }
    /* Partner: the driver's fence between moving the available index and
     * reading whether we want a kick. */
    atomic_thread_fence(memory_order_seq_cst);
    r = entries_waiting(vq);
    return r < 0 ? r : r > 0;
}

/* ---- Small copies ------------------------------------------------------ */

static int64_t copy(VirtQueue *vq, const VirtSegment *segment, unsigned count,
                    uint64_t skip, uint8_t *in, const uint8_t *out,
                    size_t len)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < len; i++) {
        size_t n;
        int r;

        if (skip >= segment[i].len) {
            skip -= segment[i].len;
            continue;
        }
        n = MIN(segment[i].len - skip, len - done);
        r = in ? dma_read(vq->memory, segment[i].addr + skip, in + done, n)
               : dma_write(vq->memory, segment[i].addr + skip, out + done, n);
        if (r < 0) {
            return r;
        }
        done += n;
        skip = 0;
    }
    return done;
}

int64_t virtqueue_read(VirtQueue *vq, const VirtSegment *segment,
                       unsigned count, uint64_t skip, void *buf, size_t len)
{
    return copy(vq, segment, count, skip, buf, NULL, len);
}

int64_t virtqueue_write(VirtQueue *vq, const VirtSegment *segment,
                        unsigned count, uint64_t skip, const void *buf,
                        size_t len)
{
    return copy(vq, segment, count, skip, NULL, buf, len);
}

/* ---- Migration --------------------------------------------------------- */

int virtqueue_check_loaded(const VirtQueue *vq)
{
    if (vq->size > vq->size_max) {
        return -EINVAL;
    }
    if (!vq->enabled) {
        return 0;
    }
    /* Requests are drained before saving, so none may be in flight. */
    if (virtqueue_in_flight(vq) != 0) {
        return -EINVAL;
    }
    return virtqueue_check_layout(vq);
}

const VMStateDescription virtqueue_vmstate = {
    .name = "virtqueue",
    .version = 1,
    .minimum_version = 1,
    .fields = (const VMStateField[]){
        VMSTATE_U16(size, VirtQueue),
        VMSTATE_BOOL(enabled, VirtQueue),
        VMSTATE_U16(vector, VirtQueue),
        VMSTATE_U64(desc, VirtQueue),
        VMSTATE_U64(driver, VirtQueue),
        VMSTATE_U64(device, VirtQueue),
        VMSTATE_U16(next_avail, VirtQueue),
        VMSTATE_U16(next_used, VirtQueue),
        VMSTATE_U16(told_used, VirtQueue),
        VMSTATE_BOOL(told_valid, VirtQueue),
        VMSTATE_END,
    },
};
