/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM blocks: the mapping, pins and dirty tracking.
 *
 * Why: RAM must be anonymous private memory for UFFDIO_MOVE, must not be
 * shared by fork() or merged by ksmd (either makes pages that cannot be
 * moved), and the VMM's own writes must be tracked beside KVM's log, which
 * does not see them.
 *
 * Invariants:
 *   (1) A page that the VMM wrote between start and stop of the tracking is
 *       in the map of a sync that began after the write was marked.
 *   (2) pager and log change only while nothing else uses the block.
 *
 * (1) holds without a test of "is tracking on": ram_mark_dirty() always sets
 * the bits, and ram_dirty_start() only throws away marks of writes that have
 * happened, which the first pass reads anyway. Testing a flag first would
 * need a full fence between the write and the test, as dear as the mark;
 * and skipping a bit that is set already would let a sync take that bit
 * before the bytes are visible.
 *
 * Threads: see ram.h. Locks: none; dirty is a bitmap of atomic words.
 */
#include "memory/ram.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "util/bits.h"
#include "util/error.h"
#include "util/thread.h"

/* UFFDIO_MOVE moves whole huge pages between equally aligned places. */
#define RAM_ALIGN_BYTES ((size_t)2 << 20)

struct RamBlock {
    /* Immutable after ram_block_new(). */
    char *id;
    uint64_t size_bytes;
    uint8_t *hva;
    void *reservation; /* what was mapped, with the slack of the alignment */
    size_t reservation_bytes;

    /* Set by the main thread before vCPUs run (2). */
    const RamPagerOps *pager;
    void *pager_opaque;
    const RamDirtyLogOps *log;
    void *log_opaque;

    /* Atomic words: pages that the VMM wrote. */
    unsigned long *dirty;

    /* Only the one user of the tracking. */
    bool tracking;
};

/*
 * Maps size bytes at an aligned address. The slack stays reserved: without
 * access and without pages it costs nothing, and nothing can be mapped right
 * beside guest RAM.
 */
static bool ram_reserve(RamBlock *rb, GError **errp)
{
    uintptr_t base;

    rb->reservation_bytes = rb->size_bytes + RAM_ALIGN_BYTES;
    if (rb->reservation_bytes < rb->size_bytes) {
        return vm_error_set(errp, EINVAL, "RAM '%s'", rb->id);
    }
    rb->reservation = mmap(NULL, rb->reservation_bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                           /* fd= */ -1, 0);
    if (rb->reservation == MAP_FAILED) {
        rb->reservation = NULL;
        return vm_error_set(errp, errno,
                            "cannot set up guest memory '%s' of %" PRIu64
                            " bytes",
                            rb->id, rb->size_bytes);
    }
    base = (uintptr_t)rb->reservation + RAM_ALIGN_BYTES - 1;
    rb->hva = (uint8_t *)(base & ~(uintptr_t)(RAM_ALIGN_BYTES - 1));
    if (mprotect(rb->hva, rb->size_bytes, PROT_READ | PROT_WRITE) < 0) {
        return vm_error_set(errp, errno,
                            "cannot make guest memory '%s' accessible",
                            rb->id);
    }
    return true;
}

static bool ram_advise(RamBlock *rb, GError **errp)
{
    if (madvise(rb->hva, rb->size_bytes, MADV_DONTFORK) < 0) {
        return vm_error_set(errp, errno, "guest memory '%s': MADV_DONTFORK",
                            rb->id);
    }
    /* As guests expect, for speed; the pager decides anew for itself. A kernel
     * without huge pages refuses by EINVAL. */
    (void)madvise(rb->hva, rb->size_bytes, MADV_HUGEPAGE);
    /* A kernel without KSM refuses by EINVAL and cannot merge anyway. */
    if (madvise(rb->hva, rb->size_bytes, MADV_UNMERGEABLE) < 0 &&
        errno != EINVAL) {
        return vm_error_set(errp, errno, "guest memory '%s': MADV_UNMERGEABLE",
                            rb->id);
    }
    return true;
}

RamBlock *ram_block_new(const char *id, uint64_t size_bytes, GError **errp)
{
    g_autoptr(RamBlock) rb = g_new0(RamBlock, 1);

    rb->id = g_strdup(id);
    rb->size_bytes = size_bytes;
    if (size_bytes == 0 || size_bytes % RAM_PAGE_BYTES != 0) {
        vm_error_set(errp, 0,
                     "RAM '%s': %" PRIu64 " bytes is not a positive multiple "
                     "of the page size",
                     id, size_bytes);
        return NULL;
    }
    if (!ram_reserve(rb, errp) || !ram_advise(rb, errp)) {
        return NULL;
    }
    rb->dirty = vm_bitmap_new(ram_block_pages(rb));
    return g_steal_pointer(&rb);
}

void ram_block_free(RamBlock *rb)
{
    if (!rb) {
        return;
    }
    if (rb->reservation) {
        (void)munmap(rb->reservation, rb->reservation_bytes);
    }
    g_free(rb->dirty);
    g_free(rb->id);
    g_free(rb);
}

const char *ram_block_id(const RamBlock *rb)
{
    return rb->id;
}

uint64_t ram_block_bytes(const RamBlock *rb)
{
    return rb->size_bytes;
}

PageNo ram_block_pages(const RamBlock *rb)
{
    return rb->size_bytes >> RAM_PAGE_BITS;
}

uint8_t *ram_block_hva(const RamBlock *rb)
{
    return rb->hva;
}

void ram_block_set_pager(RamBlock *rb, const RamPagerOps *ops, void *opaque)
{
    rb->pager = ops;
    rb->pager_opaque = opaque;
}

void ram_block_set_dirty_log(RamBlock *rb, const RamDirtyLogOps *ops,
                             void *opaque)
{
    rb->log = ops;
    rb->log_opaque = opaque;
}

/* Ranges come from lookups in our own maps, never straight from a guest. */
static void ram_check_range(const RamBlock *rb, RamOffset offset, size_t len)
{
    g_assert(offset <= rb->size_bytes && len <= rb->size_bytes - offset);
}

int ram_pin(RamBlock *rb, RamOffset offset, size_t len)
{
    ram_check_range(rb, offset, len);
    if (!rb->pager || len == 0) {
        return 0;
    }
    vm_assert_may_fault();
    return rb->pager->pin(rb->pager_opaque, offset, len);
}

void ram_unpin(RamBlock *rb, RamOffset offset, size_t len)
{
    ram_check_range(rb, offset, len);
    if (rb->pager && len > 0) {
        rb->pager->unpin(rb->pager_opaque, offset, len);
    }
}

/* Locked memory keeps its pages; then they are cleared. */
static void give_back(RamBlock *rb, const RamRange *range)
{
    uint8_t *hva = rb->hva + range->offset;

    if (range->len > 0 && madvise(hva, range->len, MADV_DONTNEED) < 0) {
        memset(hva, 0, range->len);
    }
}

void ram_discard(RamBlock *rb, const RamRange *ranges, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        ram_check_range(rb, ranges[i].offset, ranges[i].len);
        g_assert(ranges[i].offset % RAM_PAGE_BYTES == 0 &&
                 ranges[i].len % RAM_PAGE_BYTES == 0);
        if (!rb->pager) {
            give_back(rb, &ranges[i]);
        }
    }
    if (rb->pager) {
        vm_assert_may_fault();
        rb->pager->discard(rb->pager_opaque, ranges, count);
    }
    for (unsigned i = 0; i < count; i++) {
        ram_mark_dirty(rb, ranges[i].offset, ranges[i].len); /* (1) */
    }
}

bool ram_block_is_paged(const RamBlock *rb)
{
    return rb->pager != NULL;
}

int ram_dirty_start(RamBlock *rb)
{
    int r;

    if (rb->tracking) {
        return -EBUSY;
    }
    for (size_t w = 0; w < VM_BITMAP_LONGS(ram_block_pages(rb)); w++) {
        (void)vm_bitmap_take_word(rb->dirty, w); /* (1) */
    }
    r = rb->log ? rb->log->start(rb->log_opaque) : 0;
    rb->tracking = r == 0;
    return r;
}

int ram_dirty_sync(RamBlock *rb, unsigned long *map)
{
    int r;

    g_assert(rb->tracking);
    r = rb->log ? rb->log->sync(rb->log_opaque, map) : 0;
    if (r < 0) {
        return r;
    }
    for (size_t w = 0; w < VM_BITMAP_LONGS(ram_block_pages(rb)); w++) {
        /* The plain load spares a locked exchange for each clean word; a bit
         * set just after it is for the next sync. */
        if (__atomic_load_n(&rb->dirty[w], __ATOMIC_RELAXED)) {
            map[w] |= vm_bitmap_take_word(rb->dirty, w);
        }
    }
    return 0;
}

void ram_dirty_stop(RamBlock *rb)
{
    if (!rb->tracking) {
        return;
    }
    if (rb->log) {
        rb->log->stop(rb->log_opaque);
    }
    rb->tracking = false;
}

void ram_mark_dirty(RamBlock *rb, RamOffset offset, size_t len)
{
    PageNo first = offset >> RAM_PAGE_BITS;

    ram_check_range(rb, offset, len);
    if (len > 0) {
        PageNo last = (offset + len - 1) >> RAM_PAGE_BITS;

        vm_bitmap_set_atomic(rb->dirty, first, last - first + 1);
    }
}
