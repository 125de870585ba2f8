/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Placement of RAM that is never paged.
 *
 * Why: migration knows chunks, places and heat only; a VM without the pager
 * answers in the same terms: every chunk is in RAM, or zero where nothing
 * was ever written, and none is hotter than another.
 *
 * The kernel's page table tells which pages were never touched
 * (/proc/self/pagemap, Documentation/admin-guide/mm/pagemap.rst: bit 63
 * present, bit 62 swapped). Without that file every page is read, which is
 * slower and otherwise the same.
 *
 * Exports point at the guest's own pages and finish at once. Imports lend the
 * guest's own pages too: the payload is received where it belongs.
 *
 * Invariants:
 *   (1) A page reported as zero was zero at some moment after export_start()
 *       was entered; a later write is the dirty log's.
 *   (2) Pages in neither map of an import are not touched by us.
 *
 * Threads: any; the struct is immutable.
 */
#include "memory/placement.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "util/bits.h"
#include "util/fd.h"

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
/* Entries read at once: 1 GiB of guest RAM. */
#define PAGEMAP_BATCH_PAGES 262144u
/* There is no history: all are equally warm. */
#define PLAIN_KEY 128u

typedef struct PlainPlacement {
    RamPlacement base;
    RamBlock *ram;
    uint32_t chunk_pages;
    int pagemap_fd; /* -1: not there */
} PlainPlacement;

const char *ram_place_to_string(RamPlace place)
{
    static const char *const names[RAM_PLACE__COUNT] = {
        [RAM_PLACE_ZERO] = "zero",
        [RAM_PLACE_RAM] = "ram",
        [RAM_PLACE_SWAP] = "swap",
    };

    g_assert(place < RAM_PLACE__COUNT);
    return names[place];
}

static uint64_t plain_chunks(const PlainPlacement *p)
{
    return (ram_block_pages(p->ram) + p->chunk_pages - 1) / p->chunk_pages;
}

static PageNo chunk_first(const PlainPlacement *p, ChunkNo chunk)
{
    return (PageNo)chunk * p->chunk_pages;
}

/* The last chunk may be shorter. */
static uint32_t chunk_length(const PlainPlacement *p, ChunkNo chunk)
{
    PageNo left = ram_block_pages(p->ram) - chunk_first(p, chunk);

    return (uint32_t)MIN(left, p->chunk_pages);
}

static uint8_t *page_hva(const PlainPlacement *p, PageNo page)
{
    return ram_block_hva(p->ram) + (page << RAM_PAGE_BITS);
}

/*
 * Fills entries with what the page table says; all "present" if that cannot
 * be known.
 */
static void pagemap_read(const PlainPlacement *p, PageNo first, size_t pages,
                         uint64_t *ret_entries)
{
    off_t at = (off_t)((uintptr_t)page_hva(p, first) / RAM_PAGE_BYTES *
                       sizeof(uint64_t));

    if (p->pagemap_fd < 0 ||
        vm_pread_full(p->pagemap_fd, ret_entries,
                      pages * sizeof(*ret_entries), at) < 0) {
        for (size_t i = 0; i < pages; i++) {
            ret_entries[i] = PAGEMAP_PRESENT;
        }
    }
}

static bool entry_touched(uint64_t entry)
{
    return entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED);
}

static bool page_is_zero(const uint8_t *page)
{
    const uint64_t *words = (const void *)page;

    for (size_t i = 0; i < RAM_PAGE_BYTES / sizeof(*words); i += 8) {
        if (words[i] | words[i + 1] | words[i + 2] | words[i + 3] |
            words[i + 4] | words[i + 5] | words[i + 6] | words[i + 7]) {
            return false;
        }
    }
    return true;
}

static uint32_t plain_chunk_pages(void *opaque)
{
    PlainPlacement *p = opaque;

    return p->chunk_pages;
}

static uint64_t plain_budget_pages(void *opaque)
{
    return UINT64_MAX;
}

static void plain_counters(void *opaque, RamPagingCounters *ret)
{
    *ret = (RamPagingCounters){ 0 };
}

static void plain_chunk_infos(void *opaque, RamChunkInfo *ret_infos)
{
    PlainPlacement *p = opaque;
    g_autofree uint64_t *entries = g_new(uint64_t, PAGEMAP_BATCH_PAGES);
    PageNo pages = ram_block_pages(p->ram);

    for (uint64_t c = 0; c < plain_chunks(p); c++) {
        ret_infos[c] = (RamChunkInfo){ .place = RAM_PLACE_ZERO };
    }
    for (PageNo first = 0; first < pages; first += PAGEMAP_BATCH_PAGES) {
        size_t n = MIN(pages - first, PAGEMAP_BATCH_PAGES);

        pagemap_read(p, first, n, entries);
        for (size_t i = 0; i < n; i++) {
            if (entry_touched(entries[i])) {
                ret_infos[(first + i) / p->chunk_pages] =
                    (RamChunkInfo){ .place = RAM_PLACE_RAM, .key = PLAIN_KEY };
            }
        }
    }
}

static void plain_history(void *opaque, ChunkNo chunk, uint8_t *ret_history)
{
    PlainPlacement *p = opaque;

    memset(ret_history, 0, p->chunk_pages);
}

static int plain_export_start(void *opaque, RamExport *e)
{
    PlainPlacement *p = opaque;
    uint64_t entries[RAM_CHUNK_PAGES_MAX];
    PageNo first = chunk_first(p, e->chunk);
    uint32_t pages;

    if (e->chunk >= plain_chunks(p)) {
        return -EINVAL;
    }
    pages = chunk_length(p, e->chunk);
    pagemap_read(p, first, pages, entries);
    memset(e->zero, 0, sizeof(e->zero));
    memset(e->in_buf, 0, sizeof(e->in_buf));
    for (uint32_t i = 0; i < pages; i++) {
        /* (1): a page without a page-table entry is not even read, which
         * would give it one. */
        if (vm_bit_test(e->want, i) &&
            (!entry_touched(entries[i]) ||
             page_is_zero(page_hva(p, first + i)))) {
            vm_bit_set(e->zero, i);
        }
    }
    e->result = 0;
    e->pinned = false;
    e->done(e);
    return 0;
}

static void plain_export_end(void *opaque, RamExport *e)
{
}

static void plain_tracking_start(void *opaque)
{
}

static void plain_tracking_stop(void *opaque)
{
}

static int plain_import_begin(void *opaque, RamImport *im)
{
    PlainPlacement *p = opaque;

    if (im->chunk >= plain_chunks(p)) {
        return -EINVAL;
    }
    im->buf = page_hva(p, chunk_first(p, im->chunk));
    im->frame = NULL;
    return 0;
}

/* Leaves a page that is zero as it is: a store would give it memory. */
static void clear_page(uint8_t *page)
{
    if (!page_is_zero(page)) {
        memset(page, 0, RAM_PAGE_BYTES);
    }
}

static void plain_import_commit(void *opaque, RamImport *im)
{
    PlainPlacement *p = opaque;
    PageNo first = chunk_first(p, im->chunk);
    uint32_t pages = chunk_length(p, im->chunk);

    for (uint32_t i = 0; i < pages; i++) {
        if (vm_bit_test(im->zero, i)) {
            clear_page(page_hva(p, first + i));
        }
    }
    im->result = 0;
    im->done(im);
}

static void plain_import_abort(void *opaque, RamImport *im)
{
    im->buf = NULL;
}

static int plain_import_zero(void *opaque, ChunkNo chunk,
                             const uint8_t *history)
{
    PlainPlacement *p = opaque;
    RamRange range;

    if (chunk >= plain_chunks(p)) {
        return -EINVAL;
    }
    range.offset = chunk_first(p, chunk) << RAM_PAGE_BITS;
    range.len = (uint64_t)chunk_length(p, chunk) << RAM_PAGE_BITS;
    ram_discard(p->ram, &range, 1);
    return 0;
}

static const RamPlacementOps plain_ops = {
    .chunk_pages = plain_chunk_pages,
    .budget_pages = plain_budget_pages,
    .counters = plain_counters,
    .chunk_infos = plain_chunk_infos,
    .history = plain_history,
    .export_start = plain_export_start,
    .export_end = plain_export_end,
    .tracking_start = plain_tracking_start,
    .tracking_stop = plain_tracking_stop,
    .import_begin = plain_import_begin,
    .import_commit = plain_import_commit,
    .import_abort = plain_import_abort,
    .import_zero = plain_import_zero,
};

RamPlacement *ram_plain_placement_new(RamBlock *rb, uint32_t chunk_pages)
{
    PlainPlacement *p = g_new0(PlainPlacement, 1);

    g_assert(chunk_pages >= 1 && chunk_pages <= RAM_CHUNK_PAGES_MAX);
    p->base.ops = &plain_ops;
    p->base.opaque = p;
    p->ram = rb;
    p->chunk_pages = chunk_pages;
    p->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    return &p->base;
}

void ram_plain_placement_free(RamPlacement *placement)
{
    PlainPlacement *p;

    if (!placement) {
        return;
    }
    p = placement->opaque;
    vm_close_fd(&p->pagemap_fd);
    g_free(p);
}
