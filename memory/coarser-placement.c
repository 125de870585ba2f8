/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A placement seen in larger chunks than its own, by who imports.
 *
 * Why: a file has chunks of the size that the VM which was saved had, and
 * nobody can be asked for others. Each chunk of the view is `ratio` chunks of
 * the placement below. Their frames do not lie beside each other, so what
 * arrives goes through a buffer. It lasts from import_begin() to the end of
 * import_commit(), so that there is one for each thread that receives.
 *
 * Threads: as the placement below; the view has no state of its own but what
 * belongs to one import.
 */
#include "memory/placement.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "util/bits.h"

typedef struct CoarserPlacement {
    RamPlacement base;
    const RamPlacement *fine; /* outlives this one */
    uint64_t pages;
    uint32_t chunk_pages, fine_pages, ratio;
} CoarserPlacement;

/* An import of the view; its parts are those of the placement below. */
typedef struct WholeImport {
    RamImport *whole;
    uint8_t *buf;
    atomic_uint left; /* parts that are under way, and who begins them */
    atomic_int result; /* the first error */
    RamImport parts[];
} WholeImport;

static bool is_valid(const CoarserPlacement *p, ChunkNo chunk)
{
    return (uint64_t)chunk * p->chunk_pages < p->pages;
}

/* Parts of chunk: the last one may have fewer. */
static uint32_t parts_of(const CoarserPlacement *p, ChunkNo chunk)
{
    uint64_t left = p->pages - (uint64_t)chunk * p->chunk_pages;

    return (uint32_t)MIN((left + p->fine_pages - 1) / p->fine_pages, p->ratio);
}

static uint32_t coarser_chunk_pages(void *opaque)
{
    return ((CoarserPlacement *)opaque)->chunk_pages;
}

static uint64_t coarser_budget_pages(void *opaque)
{
    const RamPlacement *fine = ((CoarserPlacement *)opaque)->fine;

    return fine->ops->budget_pages(fine->opaque);
}

static void coarser_counters(void *opaque, RamPagingCounters *ret)
{
    const RamPlacement *fine = ((CoarserPlacement *)opaque)->fine;

    fine->ops->counters(fine->opaque, ret);
}

static int coarser_import_begin(void *opaque, RamImport *im)
{
    CoarserPlacement *p = opaque;
    WholeImport *w;

    if (!is_valid(p, im->chunk)) {
        return -EINVAL;
    }
    w = g_malloc0(sizeof(*w) + p->ratio * sizeof(w->parts[0]));
    w->whole = im;
    w->buf = g_malloc((size_t)p->chunk_pages * RAM_PAGE_BYTES);
    im->below = w;
    im->buf = w->buf;
    return 0;
}

static void ended(WholeImport *w, int result)
{
    int none = 0;

    if (result < 0) {
        atomic_compare_exchange_strong(&w->result, &none, result);
    }
    if (atomic_fetch_sub(&w->left, 1) == 1) {
        RamImport *whole = w->whole;

        whole->result = atomic_load(&w->result);
        g_free(w);
        whole->done(whole);
    }
}

static void part_done(RamImport *part)
{
    ended(part->opaque, part->result);
}

static bool takes_part(const RamImport *part)
{
    for (unsigned i = 0; i < RAM_CHUNK_LONGS; i++) {
        if (part->pages[i] | part->zero[i]) {
            return true;
        }
    }
    return part->history;
}

/* Part k; its bits, and its pages in the frame that it is lent. */
static void import_part(const CoarserPlacement *p, WholeImport *w, uint32_t k)
{
    const RamPlacementOps *ops = p->fine->ops;
    const RamImport *whole = w->whole;
    RamImport *part = &w->parts[k];
    uint32_t first = k * p->fine_pages;
    int r;

    *part = (RamImport){
        .chunk = whole->chunk * p->ratio + k,
        .place = whole->place,
        .history = whole->history ? whole->history + first : NULL,
        .done = part_done,
        .opaque = w,
    };
    for (uint32_t i = 0; i < p->fine_pages; i++) {
        if (vm_bit_test(whole->pages, first + i)) {
            vm_bit_set(part->pages, i);
        }
        if (vm_bit_test(whole->zero, first + i)) {
            vm_bit_set(part->zero, i);
        }
    }
    if (!takes_part(part)) {
        return;
    }
    atomic_fetch_add(&w->left, 1);
    r = ops->import_begin(p->fine->opaque, part);
    if (r < 0) {
        ended(w, r);
        return;
    }
    for (uint32_t i = 0; i < p->fine_pages; i++) {
        if (vm_bit_test(part->pages, i)) {
            memcpy((uint8_t *)part->buf + (size_t)i * RAM_PAGE_BYTES,
                   w->buf + (size_t)(first + i) * RAM_PAGE_BYTES,
                   RAM_PAGE_BYTES);
        }
    }
    ops->import_commit(p->fine->opaque, part);
}

static void coarser_import_commit(void *opaque, RamImport *im)
{
    CoarserPlacement *p = opaque;
    WholeImport *w = im->below;

    im->below = NULL;
    atomic_store(&w->left, 1);
    for (uint32_t k = 0; k < parts_of(p, im->chunk); k++) {
        import_part(p, w, k);
    }
    g_clear_pointer(&w->buf, g_free);
    ended(w, 0);
}

static void coarser_import_abort(void *opaque, RamImport *im)
{
    WholeImport *w = im->below;

    im->below = NULL;
    g_free(w->buf);
    g_free(w);
}

static int coarser_import_zero(void *opaque, ChunkNo chunk,
                               const uint8_t *history)
{
    CoarserPlacement *p = opaque;
    int r = is_valid(p, chunk) ? 0 : -EINVAL;

    for (uint32_t k = 0; r == 0 && k < parts_of(p, chunk); k++) {
        r = p->fine->ops->import_zero(
            p->fine->opaque, chunk * p->ratio + k,
            history ? history + (size_t)k * p->fine_pages : NULL);
    }
    return r;
}

static const RamPlacementOps coarser_ops = {
    .chunk_pages = coarser_chunk_pages,
    .budget_pages = coarser_budget_pages,
    .counters = coarser_counters,
    .import_begin = coarser_import_begin,
    .import_commit = coarser_import_commit,
    .import_abort = coarser_import_abort,
    .import_zero = coarser_import_zero,
};

RamPlacement *ram_coarser_placement_new(const RamPlacement *fine,
                                        uint64_t pages, uint32_t chunk_pages)
{
    uint32_t own = fine->ops->chunk_pages(fine->opaque);
    CoarserPlacement *p = g_new0(CoarserPlacement, 1);

    g_assert(chunk_pages <= RAM_CHUNK_PAGES_MAX && chunk_pages % own == 0);
    p->base = (RamPlacement){ &coarser_ops, p };
    p->fine = fine;
    p->pages = pages;
    p->chunk_pages = chunk_pages;
    p->fine_pages = own;
    p->ratio = chunk_pages / own;
    return &p->base;
}

void ram_coarser_placement_free(RamPlacement *p)
{
    g_free(p ? p->opaque : NULL);
}
