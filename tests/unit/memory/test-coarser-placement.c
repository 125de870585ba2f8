/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A placement seen in larger chunks, by who imports. The one below is a fake
 * that keeps what it gets; its chunks have 4 pages, those of the view 16, the
 * last of both is short. Its imports end when the test says so.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "memory/placement.h"
#include "util/bits.h"

#define FINE 4u
#define COARSE 16u
#define PAGES 38u /* nine chunks and 2 pages; two and 6 */
#define CHUNKS 10u

typedef struct Below {
    RamPlacement base;
    uint8_t ram[PAGES]; /* the first byte of each page */
    uint8_t history[PAGES];
    RamPlace place[CHUNKS];
    RamImport *committed[CHUNKS];
    unsigned count;
    uint8_t frames[CHUNKS][FINE * RAM_PAGE_BYTES];
    ChunkNo fail_chunk;
    int begin_result, import_result; /* of that chunk */
} Below;

static uint32_t below_chunk_pages(void *opaque)
{
    return FINE;
}

static uint64_t below_budget_pages(void *opaque)
{
    return 1234;
}

static void below_counters(void *opaque, RamPagingCounters *ret)
{
    *ret = (RamPagingCounters){ 5, 6 };
}

static int below_import_begin(void *opaque, RamImport *im)
{
    Below *b = opaque;

    g_assert_cmpuint(im->chunk, <, CHUNKS);
    im->buf = b->frames[im->chunk];
    return im->chunk == b->fail_chunk ? b->begin_result : 0;
}

static void below_import_commit(void *opaque, RamImport *im)
{
    Below *b = opaque;

    b->committed[b->count++] = im;
}

static int below_import_zero(void *opaque, ChunkNo chunk,
                             const uint8_t *history)
{
    Below *b = opaque;

    for (PageNo i = chunk * FINE; i < MIN((chunk + 1) * FINE, PAGES); i++) {
        b->ram[i] = 0;
        b->history[i] = history ? history[i - chunk * FINE] : b->history[i];
    }
    return chunk == b->fail_chunk ? b->import_result : 0;
}

static const RamPlacementOps below_ops = {
    .chunk_pages = below_chunk_pages,
    .budget_pages = below_budget_pages,
    .counters = below_counters,
    .import_begin = below_import_begin,
    .import_commit = below_import_commit,
    .import_zero = below_import_zero,
};

typedef struct View {
    Below below;
    RamPlacement *p;
} View;

static View *view_new(void)
{
    View *v = g_new0(View, 1);

    v->below.base = (RamPlacement){ &below_ops, &v->below };
    v->below.fail_chunk = CHUNKS;
    memset(v->below.ram, 0xee, PAGES);
    v->p = ram_coarser_placement_new(&v->below.base, PAGES, COARSE);
    return v;
}

static void view_free(View *v)
{
    ram_coarser_placement_free(v->p);
    g_free(v);
}

static void finish(View *v)
{
    Below *b = &v->below;

    for (unsigned k = 0; k < b->count; k++) {
        RamImport *im = b->committed[k];
        PageNo base = im->chunk * FINE;

        for (uint32_t i = 0; i < FINE && base + i < PAGES; i++) {
            if (vm_bit_test(im->pages, i)) {
                b->ram[base + i] = ((uint8_t *)im->buf)[i * RAM_PAGE_BYTES];
            } else if (vm_bit_test(im->zero, i)) {
                b->ram[base + i] = 0;
            }
            if (im->history) {
                b->history[base + i] = im->history[i];
            }
        }
        b->place[im->chunk] = im->place;
        im->result = im->chunk == b->fail_chunk ? b->import_result : 0;
        im->done(im);
    }
    b->count = 0;
}

static unsigned done_calls;

static void import_done(RamImport *im)
{
    done_calls++;
}

/* Page i of the chunk has the byte i + 1. */
static void send(View *v, RamImport *im)
{
    done_calls = 0;
    g_assert_cmpint(v->p->ops->import_begin(v->p->opaque, im), ==, 0);
    for (uint32_t i = 0; i < COARSE; i++) {
        if (vm_bit_test(im->pages, i)) {
            memset((uint8_t *)im->buf + i * RAM_PAGE_BYTES, (int)i + 1,
                   RAM_PAGE_BYTES);
        }
    }
    v->p->ops->import_commit(v->p->opaque, im);
}

static void test_import(void)
{
    View *v = view_new();
    uint8_t history[COARSE] = { 0, [5] = 50, [15] = 150 };
    RamImport im = { .chunk = 1, .place = RAM_PLACE_SWAP, .pages = { 0x8060 },
                     .zero = { 0x0080 }, .history = history,
                     .done = import_done };

    send(v, &im);
    g_assert_cmpuint(v->below.count, ==, 4);
    g_assert_cmpuint(done_calls, ==, 0);
    finish(v);
    g_assert_cmpuint(done_calls, ==, 1);
    g_assert_cmpint(im.result, ==, 0);
    g_assert_cmpuint(v->below.ram[16 + 4], ==, 0xee);
    g_assert_cmpuint(v->below.ram[16 + 5], ==, 6);
    g_assert_cmpuint(v->below.ram[16 + 6], ==, 7);
    g_assert_cmpuint(v->below.ram[16 + 7], ==, 0);
    g_assert_cmpuint(v->below.ram[16 + 15], ==, 16);
    g_assert_cmpuint(v->below.history[16 + 5], ==, 50);
    g_assert_cmpuint(v->below.history[16 + 15], ==, 150);
    g_assert_cmpint(v->below.place[5], ==, RAM_PLACE_SWAP);
    view_free(v);
}

/* Only the parts of which something came, up to the end of RAM. */
static void test_import_parts(void)
{
    View *v = view_new();
    RamImport im = { .chunk = 2, .place = RAM_PLACE_RAM, .pages = { 0x30 },
                     .done = import_done };

    send(v, &im);
    g_assert_cmpuint(v->below.count, ==, 1);
    g_assert_cmpuint(v->below.committed[0]->chunk, ==, 9);
    finish(v);
    g_assert_cmpuint(done_calls, ==, 1);
    g_assert_cmpuint(v->below.ram[37], ==, 6);
    im = (RamImport){ .chunk = 2, .done = import_done };
    send(v, &im); /* nothing at all */
    g_assert_cmpuint(done_calls, ==, 1);
    im.chunk = 3;
    g_assert_cmpint(v->p->ops->import_begin(v->p->opaque, &im), ==, -EINVAL);
    im.chunk = 0;
    g_assert_cmpint(v->p->ops->import_begin(v->p->opaque, &im), ==, 0);
    v->p->ops->import_abort(v->p->opaque, &im);
    view_free(v);
}

/* The first error is the import's, when all of its parts have ended. */
static void test_import_fails(void)
{
    View *v = view_new();
    RamImport im = { .chunk = 0, .pages = { 0xffff }, .done = import_done };

    v->below.fail_chunk = 1;
    v->below.begin_result = -EIO;
    send(v, &im);
    g_assert_cmpuint(v->below.count, ==, 3);
    g_assert_cmpuint(done_calls, ==, 0);
    finish(v);
    g_assert_cmpuint(done_calls, ==, 1);
    g_assert_cmpint(im.result, ==, -EIO);
    v->below.begin_result = 0;
    v->below.import_result = -ENOSPC;
    send(v, &im);
    finish(v);
    g_assert_cmpint(im.result, ==, -ENOSPC);
    g_assert_cmpint(v->p->ops->import_zero(v->p->opaque, 0, NULL), ==,
                    -ENOSPC);
    view_free(v);
}

static void test_import_zero(void)
{
    View *v = view_new();
    uint8_t history[COARSE] = { 0, [5] = 50 };

    g_assert_cmpint(v->p->ops->import_zero(v->p->opaque, 2, history), ==, 0);
    g_assert_cmpuint(v->below.ram[31], ==, 0xee);
    for (PageNo i = 32; i < PAGES; i++) {
        g_assert_cmpuint(v->below.ram[i], ==, 0);
    }
    g_assert_cmpuint(v->below.history[37], ==, 50);
    g_assert_cmpint(v->p->ops->import_zero(v->p->opaque, 3, NULL), ==,
                    -EINVAL);
    view_free(v);
}

static void test_infos(void)
{
    View *v = view_new();
    RamPagingCounters counters;

    g_assert_cmpuint(v->p->ops->chunk_pages(v->p->opaque), ==, COARSE);
    g_assert_cmpuint(v->p->ops->budget_pages(v->p->opaque), ==, 1234);
    v->p->ops->counters(v->p->opaque, &counters);
    g_assert_cmpuint(counters.pages_out, ==, 6);
    view_free(v);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coarser-placement/infos", test_infos);
    g_test_add_func("/coarser-placement/import", test_import);
    g_test_add_func("/coarser-placement/import-parts", test_import_parts);
    g_test_add_func("/coarser-placement/import-fails", test_import_fails);
    g_test_add_func("/coarser-placement/import-zero", test_import_zero);
    return g_test_run();
}
