/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A placement seen in smaller chunks than its own.
 *
 * Why: both sides of a migration speak of chunks of one size, the smaller of
 * theirs. The side with larger ones is seen through this: each of its chunks
 * is `ratio` chunks of the view, of which an export or import concerns a part.
 *
 * An import of a part goes where the rest of its chunk lies already, as that of
 * a page that was written again does. No chunk of the view can be sent to swap
 * by itself, so to_swap is not there.
 *
 * Threads: as the placement below; the view has no state of its own but what
 * belongs to one export or import.
 */
#include "memory/placement.h"

#include <errno.h>
#include <string.h>

#include "util/bits.h"
#include "util/thread.h"

typedef struct FinerPlacement {
    RamPlacement base;
    const RamPlacement *coarse; /* outlives this one */
    uint64_t pages;
    uint32_t chunk_pages, ratio;
} FinerPlacement;

/* Where chunk of the view lies in which one of the placement below. */
static uint32_t offset_of(const FinerPlacement *p, ChunkNo chunk)
{
    return chunk % p->ratio * p->chunk_pages;
}

static uint64_t chunks_of(const FinerPlacement *p)
{
    return (p->pages + p->chunk_pages - 1) / p->chunk_pages;
}

static uint32_t length_of(const FinerPlacement *p, ChunkNo chunk)
{
    return (uint32_t)MIN((uint64_t)p->chunk_pages,
                         p->pages - (uint64_t)chunk * p->chunk_pages);
}

/* The part's bits of a map, as the view has them, and the other way round. */
static void to_coarse(const FinerPlacement *p, ChunkNo chunk,
                      const unsigned long *map, unsigned long *ret)
{
    uint32_t offset = offset_of(p, chunk);

    memset(ret, 0, RAM_CHUNK_LONGS * sizeof(*ret));
    for (uint32_t i = 0; i < length_of(p, chunk); i++) {
        if (vm_bit_test(map, i)) {
            vm_bit_set(ret, offset + i);
        }
    }
}

static void to_fine(const FinerPlacement *p, ChunkNo chunk,
                    const unsigned long *map, unsigned long *ret)
{
    uint32_t offset = offset_of(p, chunk);

    memset(ret, 0, RAM_CHUNK_LONGS * sizeof(*ret));
    for (uint32_t i = 0; i < length_of(p, chunk); i++) {
        if (vm_bit_test(map, offset + i)) {
            vm_bit_set(ret, i);
        }
    }
}

/* --- what is asked ------------------------------------------------------- */

static uint32_t finer_chunk_pages(void *opaque)
{
    return ((FinerPlacement *)opaque)->chunk_pages;
}

static uint64_t finer_budget_pages(void *opaque)
{
    const RamPlacement *coarse = ((FinerPlacement *)opaque)->coarse;

    return coarse->ops->budget_pages(coarse->opaque);
}

static void finer_counters(void *opaque, RamPagingCounters *ret)
{
    const RamPlacement *coarse = ((FinerPlacement *)opaque)->coarse;

    coarse->ops->counters(coarse->opaque, ret);
}

static void finer_chunk_infos(void *opaque, RamChunkInfo *ret_infos)
{
    FinerPlacement *p = opaque;
    uint64_t chunks = chunks_of(p);
    g_autofree RamChunkInfo *coarse =
        g_new(RamChunkInfo, (chunks + p->ratio - 1) / p->ratio);

    p->coarse->ops->chunk_infos(p->coarse->opaque, coarse);
    for (uint64_t c = 0; c < chunks; c++) {
        ret_infos[c] = coarse[c / p->ratio];
    }
}

static void finer_history(void *opaque, ChunkNo chunk, uint8_t *ret_history)
{
    FinerPlacement *p = opaque;
    uint8_t history[RAM_CHUNK_PAGES_MAX] = { 0 };

    p->coarse->ops->history(p->coarse->opaque, chunk / p->ratio, history);
    memcpy(ret_history, history + offset_of(p, chunk), p->chunk_pages);
}

static void finer_tracking_start(void *opaque)
{
    const RamPlacement *coarse = ((FinerPlacement *)opaque)->coarse;

    coarse->ops->tracking_start(coarse->opaque);
}

static void finer_tracking_stop(void *opaque)
{
    const RamPlacement *coarse = ((FinerPlacement *)opaque)->coarse;

    coarse->ops->tracking_stop(coarse->opaque);
}

/* --- export -------------------------------------------------------------- */

typedef struct PartExport {
    RamExport coarse;
    RamExport *fine;
    const FinerPlacement *p;
} PartExport;

static void export_done(RamExport *coarse)
{
    PartExport *part = coarse->opaque;
    RamExport *fine = part->fine;

    fine->result = coarse->result;
    to_fine(part->p, fine->chunk, coarse->zero, fine->zero);
    to_fine(part->p, fine->chunk, coarse->in_buf, fine->in_buf);
    fine->done(fine);
}

static int finer_export_start(void *opaque, RamExport *e)
{
    FinerPlacement *p = opaque;
    PartExport *part;
    int r;

    if (e->chunk >= chunks_of(p)) {
        return -EINVAL;
    }
    part = g_new0(PartExport, 1);
    part->fine = e;
    part->p = p;
    part->coarse = (RamExport){
        .chunk = e->chunk / p->ratio,
        /* Only the part of it that e->buf is will be written. */
        .buf = (void *)((uintptr_t)e->buf -
                        (uintptr_t)offset_of(p, e->chunk) * RAM_PAGE_BYTES),
        .done = export_done,
        .opaque = part,
    };
    to_coarse(p, e->chunk, e->want, part->coarse.want);
    e->below = part;
    r = p->coarse->ops->export_start(p->coarse->opaque, &part->coarse);
    if (r < 0) {
        e->below = NULL;
        g_free(part);
    }
    return r;
}

static void finer_export_end(void *opaque, RamExport *e)
{
    FinerPlacement *p = opaque;
    PartExport *part = e->below;

    e->below = NULL;
    p->coarse->ops->export_end(p->coarse->opaque, &part->coarse);
    g_free(part);
}

/* --- import -------------------------------------------------------------- */

typedef struct PartImport {
    RamImport coarse;
    RamImport *fine;
} PartImport;

static void import_done(RamImport *coarse)
{
    PartImport *part = coarse->opaque;
    RamImport *fine = part->fine;

    fine->result = coarse->result;
    g_free(part);
    fine->done(fine);
}

static int finer_import_begin(void *opaque, RamImport *im)
{
    FinerPlacement *p = opaque;
    uint32_t offset = offset_of(p, im->chunk);
    PartImport *part;
    int r;

    if (im->chunk >= chunks_of(p)) {
        return -EINVAL;
    }
    part = g_new0(PartImport, 1);
    part->fine = im;
    part->coarse = (RamImport){
        .chunk = im->chunk / p->ratio,
        .place = im->place,
        .history = im->history,
        .history_first = offset,
        .history_count = length_of(p, im->chunk),
        .done = import_done,
        .opaque = part,
    };
    to_coarse(p, im->chunk, im->pages, part->coarse.pages);
    r = p->coarse->ops->import_begin(p->coarse->opaque, &part->coarse);
    if (r < 0) {
        g_free(part);
        return r;
    }
    im->below = part;
    im->buf = (uint8_t *)part->coarse.buf + (size_t)offset * RAM_PAGE_BYTES;
    return 0;
}

static void finer_import_commit(void *opaque, RamImport *im)
{
    FinerPlacement *p = opaque;
    PartImport *part = im->below;

    im->below = NULL;
    to_coarse(p, im->chunk, im->pages, part->coarse.pages);
    to_coarse(p, im->chunk, im->zero, part->coarse.zero);
    p->coarse->ops->import_commit(p->coarse->opaque, &part->coarse);
}

static void finer_import_abort(void *opaque, RamImport *im)
{
    FinerPlacement *p = opaque;
    PartImport *part = im->below;

    im->below = NULL;
    p->coarse->ops->import_abort(p->coarse->opaque, &part->coarse);
    g_free(part);
}

typedef struct ZeroWait {
    VmMutex lock;
    VmCond cond;
    bool done; /* protected by lock */
} ZeroWait;

static void zero_done(RamImport *im)
{
    ZeroWait *wait = im->opaque;

    vm_mutex_lock(&wait->lock);
    wait->done = true;
    vm_cond_signal(&wait->cond);
    vm_mutex_unlock(&wait->lock);
}

/* An import without content. */
static int finer_import_zero(void *opaque, ChunkNo chunk,
                             const uint8_t *history)
{
    FinerPlacement *p = opaque;
    ZeroWait wait = { .done = false };
    RamImport im = { .chunk = chunk, .place = RAM_PLACE_RAM,
                     .history = history, .done = zero_done, .opaque = &wait };
    int r = finer_import_begin(p, &im);

    if (r < 0) {
        return r;
    }
    vm_bitmap_set(im.zero, 0, length_of(p, chunk));
    vm_mutex_init(&wait.lock, VM_RANK_LEAF);
    vm_cond_init(&wait.cond);
    finer_import_commit(p, &im);
    vm_mutex_lock(&wait.lock);
    while (!wait.done) {
        vm_cond_wait(&wait.cond, &wait.lock);
    }
    vm_mutex_unlock(&wait.lock);
    vm_cond_done(&wait.cond);
    vm_mutex_done(&wait.lock);
    return im.result;
}

static const RamPlacementOps finer_ops = {
    .chunk_pages = finer_chunk_pages,
    .budget_pages = finer_budget_pages,
    .counters = finer_counters,
    .chunk_infos = finer_chunk_infos,
    .history = finer_history,
    .export_start = finer_export_start,
    .export_end = finer_export_end,
    .tracking_start = finer_tracking_start,
    .tracking_stop = finer_tracking_stop,
    .import_begin = finer_import_begin,
    .import_commit = finer_import_commit,
    .import_abort = finer_import_abort,
    .import_zero = finer_import_zero,
};

RamPlacement *ram_finer_placement_new(const RamPlacement *coarse,
                                      uint64_t pages, uint32_t chunk_pages)
{
    uint32_t own = coarse->ops->chunk_pages(coarse->opaque);
    FinerPlacement *p = g_new0(FinerPlacement, 1);

    g_assert(chunk_pages > 0 && own % chunk_pages == 0);
    p->base = (RamPlacement){ &finer_ops, p };
    p->coarse = coarse;
    p->pages = pages;
    p->chunk_pages = chunk_pages;
    p->ratio = own / chunk_pages;
    return &p->base;
}

void ram_finer_placement_free(RamPlacement *p)
{
    g_free(p ? p->opaque : NULL);
}
