/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices' access to guest RAM.
 *
 * Why: the engine may take any page away at any moment except while it is
 * pinned, and a guest address from a ring is whatever the guest wrote there.
 * So each access is checked whole, pinned, done, marked and unpinned, in that
 * order.
 *
 * Invariants:
 *   (1) Nothing is pinned, read or written unless the whole range is RAM.
 *   (2) A mapping that failed holds no pin.
 *   (3) A page is marked dirty after its bytes are written and before it is
 *       unpinned: the mark belongs to content that is still there.
 *
 * Threads: see dma.h. Locks: none.
 */
#include "memory/dma.h"

#include <errno.h>
#include <string.h>

#include "util/thread.h"

typedef struct DmaPiece {
    RamBlock *block;
    RamOffset offset;
    size_t len;
} DmaPiece;

/*
 * Cuts [gpa, gpa+len) into pieces of RAM. Returns how many, or -EFAULT (1).
 * RAM is mapped for ever, so the answer stays true.
 */
static int dma_resolve(AddressSpace *as, GuestAddr gpa, size_t len,
                       DmaPiece pieces[DMA_MAX_PIECES])
{
    int n = 0;

    if (gpa + len < gpa) {
        return -EFAULT;
    }
    while (len > 0) {
        uint64_t have;
        DmaPiece *p = &pieces[n];

        if (n == DMA_MAX_PIECES ||
            !address_space_find_ram(as, gpa, len, &p->block, &p->offset,
                                    &have)) {
            return -EFAULT;
        }
        p->len = have;
        gpa += have;
        len -= have;
        n++;
    }
    return n;
}

static uint8_t *piece_hva(const DmaPiece *p)
{
    return ram_block_hva(p->block) + p->offset;
}

int dma_read(AddressSpace *as, GuestAddr gpa, void *buf, size_t len)
{
    DmaPiece pieces[DMA_MAX_PIECES];
    uint8_t *to = buf;
    int n = dma_resolve(as, gpa, len, pieces);

    for (int i = 0; i < n; i++) {
        const DmaPiece *p = &pieces[i];
        int r = ram_pin(p->block, p->offset, p->len);

        if (r < 0) {
            return r;
        }
        memcpy(to, piece_hva(p), p->len);
        ram_unpin(p->block, p->offset, p->len);
        to += p->len;
    }
    return MIN(n, 0);
}

int dma_write(AddressSpace *as, GuestAddr gpa, const void *buf, size_t len)
{
    DmaPiece pieces[DMA_MAX_PIECES];
    const uint8_t *from = buf;
    int n = dma_resolve(as, gpa, len, pieces);

    for (int i = 0; i < n; i++) {
        const DmaPiece *p = &pieces[i];
        int r = ram_pin(p->block, p->offset, p->len);

        if (r < 0) {
            return r;
        }
        memcpy(piece_hva(p), from, p->len);
        ram_mark_dirty(p->block, p->offset, p->len); /* (3) */
        ram_unpin(p->block, p->offset, p->len);
        from += p->len;
    }
    return MIN(n, 0);
}

/*
 * Touches each page the way the device will use it. The pin made the pages
 * present, but they may be write-protected (clean) still: better that this
 * thread waits for the pager than the kernel in the middle of an I/O
 * submission. Adding 0 atomically changes nothing that a running guest could
 * notice.
 */
static void dma_touch(const DmaPiece *p, DmaDirection direction)
{
    uint8_t *hva = piece_hva(p);
    size_t at = 0;

    while (at < p->len) {
        if (direction == DMA_FROM_DEVICE) {
            (void)__atomic_fetch_add(&hva[at], 0, __ATOMIC_RELAXED);
        } else {
            (void)__atomic_load_n(&hva[at], __ATOMIC_RELAXED);
        }
        at += RAM_PAGE_BYTES - (p->offset + at) % RAM_PAGE_BYTES;
    }
}

static void dma_unpin_pieces(const DmaPiece *pieces, int n)
{
    for (int i = 0; i < n; i++) {
        ram_unpin(pieces[i].block, pieces[i].offset, pieces[i].len);
    }
}

int dma_map(AddressSpace *as, GuestAddr gpa, size_t len,
            DmaDirection direction, DmaMapping *ret)
{
    DmaPiece pieces[DMA_MAX_PIECES];
    int n = dma_resolve(as, gpa, len, pieces);

    if (n < 0) {
        return n;
    }
    vm_assert_may_fault();
    for (int i = 0; i < n; i++) {
        const DmaPiece *p = &pieces[i];
        int r = ram_pin(p->block, p->offset, p->len);

        if (r < 0) {
            dma_unpin_pieces(pieces, i); /* (2) */
            return r;
        }
        if (ram_block_is_paged(p->block)) {
            dma_touch(p, direction);
        }
    }
    ret->iovcnt = n;
    ret->direction = direction;
    for (int i = 0; i < n; i++) {
        ret->iov[i].iov_base = piece_hva(&pieces[i]);
        ret->iov[i].iov_len = pieces[i].len;
        ret->piece[i].block = pieces[i].block;
        ret->piece[i].offset = pieces[i].offset;
    }
    return 0;
}

void dma_unmap(DmaMapping *m, size_t written_bytes)
{
    size_t left = m->direction == DMA_FROM_DEVICE ? written_bytes : 0;

    for (int i = 0; i < m->iovcnt; i++) {
        size_t len = m->iov[i].iov_len;
        size_t written = MIN(left, len);

        ram_mark_dirty(m->piece[i].block, m->piece[i].offset, written);
        ram_unpin(m->piece[i].block, m->piece[i].offset, len); /* (3) */
        left -= written;
    }
    m->iovcnt = 0;
}

/*
 * Pins an aligned field, which therefore lies in one page. Pairs with
 * ram_unpin() of the same range.
 */
static int dma_pin_field(AddressSpace *as, GuestAddr gpa, unsigned size,
                         DmaPiece *ret)
{
    uint64_t have;

    if (gpa % size != 0 ||
        !address_space_find_ram(as, gpa, size, &ret->block, &ret->offset,
                                &have) ||
        have < size) {
        return -EFAULT;
    }
    ret->len = size;
    return ram_pin(ret->block, ret->offset, size);
}

/*
 * Acquire: what the guest wrote before it stored the field (descriptors, then
 * the index) is read afterwards. Release: the other way round. The partner is
 * the guest's driver.
 */
#define DMA_DEFINE_LOAD(bits)                                               \
    int dma_load_u##bits(AddressSpace *as, GuestAddr gpa,                   \
                         uint##bits##_t *ret)                               \
    {                                                                       \
        DmaPiece p;                                                         \
        int r = dma_pin_field(as, gpa, bits / 8, &p);                       \
                                                                            \
        if (r == 0) {                                                       \
            *ret = __atomic_load_n(                                         \
                (uint##bits##_t *)(void *)piece_hva(&p), __ATOMIC_ACQUIRE); \
            ram_unpin(p.block, p.offset, p.len);                            \
        }                                                                   \
        return r;                                                           \
    }

#define DMA_DEFINE_STORE(bits)                                              \
    int dma_store_u##bits(AddressSpace *as, GuestAddr gpa,                  \
                          uint##bits##_t value)                             \
    {                                                                       \
        DmaPiece p;                                                         \
        int r = dma_pin_field(as, gpa, bits / 8, &p);                       \
                                                                            \
        if (r == 0) {                                                       \
            __atomic_store_n((uint##bits##_t *)(void *)piece_hva(&p),       \
                             value, __ATOMIC_RELEASE);                      \
            ram_mark_dirty(p.block, p.offset, p.len); /* (3) */             \
            ram_unpin(p.block, p.offset, p.len);                            \
        }                                                                   \
        return r;                                                           \
    }

DMA_DEFINE_LOAD(16)
DMA_DEFINE_LOAD(32)
DMA_DEFINE_LOAD(64)
DMA_DEFINE_STORE(16)
DMA_DEFINE_STORE(32)
