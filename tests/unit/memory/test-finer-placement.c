/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A placement seen in smaller chunks. The one below is a fake, which keeps
 * what it is asked; its chunks have 16 pages, those of the view 4, the last of
 * both is short.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "memory/placement.h"
#include "util/bits.h"

#define COARSE 16u
#define FINE 4u
#define PAGES 38u /* two chunks and 6 pages; nine and 2 */

typedef struct Below {
    RamPlacement base;
    RamExport *exporting;
    RamImport *importing;
    unsigned long pages[3], zero[3]; /* imported so far, by chunk */
    RamPlace place[3];
    uint8_t history[3 * COARSE];
    uint8_t frame[COARSE * RAM_PAGE_BYTES];
    unsigned ended, aborted, tracking;
    int begin_result;
} Below;

static uint32_t below_chunk_pages(void *opaque)
{
    return COARSE;
}

static uint64_t below_budget_pages(void *opaque)
{
    return 1234;
}

static void below_counters(void *opaque, RamPagingCounters *ret)
{
    *ret = (RamPagingCounters){ 5, 6 };
}

static void below_infos(void *opaque, RamChunkInfo *ret)
{
    for (unsigned c = 0; c < 3; c++) {
        ret[c] = (RamChunkInfo){ ((Below *)opaque)->place[c],
                                 (uint8_t)(10 + c) };
    }
}

static void below_history(void *opaque, ChunkNo chunk, uint8_t *ret)
{
    /* Of the last chunk, what there is of it. */
    memcpy(ret, ((Below *)opaque)->history + chunk * COARSE,
           MIN(COARSE, PAGES - chunk * COARSE));
}

static int below_export_start(void *opaque, RamExport *e)
{
    ((Below *)opaque)->exporting = e;
    return 0;
}

static void below_export_end(void *opaque, RamExport *e)
{
    Below *b = opaque;

    g_assert_true(e == b->exporting);
    b->exporting = NULL;
    b->ended++;
}

static void below_tracking_start(void *opaque)
{
    ((Below *)opaque)->tracking++;
}

static void below_tracking_stop(void *opaque)
{
    ((Below *)opaque)->tracking--;
}

static int below_import_begin(void *opaque, RamImport *im)
{
    Below *b = opaque;

    im->buf = b->frame;
    b->importing = im;
    return b->begin_result;
}

static void below_import_commit(void *opaque, RamImport *im)
{
    Below *b = opaque;

    b->pages[im->chunk] |= im->pages[0];
    b->zero[im->chunk] |= im->zero[0];
    if (im->history) {
        g_assert_cmpuint(im->history_count, >, 0);
        memcpy(b->history + im->chunk * COARSE + im->history_first,
               im->history, im->history_count);
    }
    im->result = 0;
    im->done(im);
}

static void below_import_abort(void *opaque, RamImport *im)
{
    ((Below *)opaque)->aborted++;
}

static const RamPlacementOps below_ops = {
    .chunk_pages = below_chunk_pages,
    .budget_pages = below_budget_pages,
    .counters = below_counters,
    .chunk_infos = below_infos,
    .history = below_history,
    .export_start = below_export_start,
    .export_end = below_export_end,
    .tracking_start = below_tracking_start,
    .tracking_stop = below_tracking_stop,
    .import_begin = below_import_begin,
    .import_commit = below_import_commit,
    .import_abort = below_import_abort,
};

typedef struct View {
    Below below;
    RamPlacement *p;
} View;

static View *view_new(void)
{
    View *v = g_new0(View, 1);

    v->below.base = (RamPlacement){ &below_ops, &v->below };
    v->p = ram_finer_placement_new(&v->below.base, PAGES, FINE);
    return v;
}

static void view_free(View *v)
{
    ram_finer_placement_free(v->p);
    g_free(v);
}

static unsigned done_calls;

static void export_done(RamExport *e)
{
    done_calls++;
}

static void import_done(RamImport *im)
{
    done_calls++;
}

static void test_infos(void)
{
    View *v = view_new();
    const RamPlacementOps *ops = v->p->ops;
    RamChunkInfo infos[10];
    RamPagingCounters counters;
    uint8_t history[FINE];

    v->below.place[1] = RAM_PLACE_SWAP;
    for (unsigned i = 0; i < PAGES; i++) {
        v->below.history[i] = (uint8_t)i;
    }
    ops->chunk_infos(v->p->opaque, infos);
    for (unsigned c = 0; c < 10; c++) {
        g_assert_cmpint(infos[c].place, ==, v->below.place[c / 4]);
        g_assert_cmpuint(infos[c].key, ==, 10 + c / 4);
    }
    ops->history(v->p->opaque, 6, history);
    g_assert_cmpuint(history[0], ==, 24);
    g_assert_cmpuint(history[3], ==, 27);
    ops->history(v->p->opaque, 9, history);
    g_assert_cmpuint(history[1], ==, 37);
    g_assert_cmpuint(ops->chunk_pages(v->p->opaque), ==, FINE);
    g_assert_cmpuint(ops->budget_pages(v->p->opaque), ==, 1234);
    ops->counters(v->p->opaque, &counters);
    g_assert_cmpuint(counters.pages_in, ==, 5);
    ops->tracking_start(v->p->opaque);
    g_assert_cmpuint(v->below.tracking, ==, 1);
    ops->tracking_stop(v->p->opaque);
    g_assert_cmpuint(v->below.tracking, ==, 0);
    view_free(v);
}

/* The part that is wanted, at its place in the caller's buffer. */
static void test_export(void)
{
    View *v = view_new();
    uint8_t buf[FINE * RAM_PAGE_BYTES];
    RamExport e = { .chunk = 6, .want = { 0xd }, .buf = buf,
                    .done = export_done };

    done_calls = 0;
    g_assert_cmpint(v->p->ops->export_start(v->p->opaque, &e), ==, 0);
    RamExport *below = v->below.exporting;
    g_assert_cmpuint(below->chunk, ==, 1);
    g_assert_cmphex(below->want[0], ==, 0xd00);
    memset((uint8_t *)below->buf + 11 * RAM_PAGE_BYTES, 7, RAM_PAGE_BYTES);
    below->zero[0] = 0x100;
    below->in_buf[0] = 0x800;
    below->result = -EIO;
    below->done(below);
    g_assert_cmpuint(done_calls, ==, 1);
    g_assert_cmpint(e.result, ==, -EIO);
    g_assert_cmphex(e.zero[0], ==, 0x1);
    g_assert_cmphex(e.in_buf[0], ==, 0x8);
    g_assert_cmpuint(buf[3 * RAM_PAGE_BYTES], ==, 7);
    v->p->ops->export_end(v->p->opaque, &e);
    g_assert_cmpuint(v->below.ended, ==, 1);
    e.chunk = 10;
    g_assert_cmpint(v->p->ops->export_start(v->p->opaque, &e), ==, -EINVAL);
    view_free(v);
}

static void test_import(void)
{
    View *v = view_new();
    uint8_t history[FINE] = { 1, 2, 3, 4 };
    RamImport im = { .chunk = 9, .place = RAM_PLACE_SWAP, .pages = { 0x2 },
                     .zero = { 0x1 }, .history = history,
                     .done = import_done };

    done_calls = 0;
    g_assert_cmpint(v->p->ops->import_begin(v->p->opaque, &im), ==, 0);
    g_assert_cmpuint(v->below.importing->chunk, ==, 2);
    g_assert_cmpint(v->below.importing->place, ==, RAM_PLACE_SWAP);
    g_assert_true((uint8_t *)im.buf == v->below.frame + 4 * RAM_PAGE_BYTES);
    v->p->ops->import_commit(v->p->opaque, &im);
    g_assert_cmpuint(done_calls, ==, 1);
    g_assert_cmphex(v->below.pages[2], ==, 0x20);
    g_assert_cmphex(v->below.zero[2], ==, 0x10);
    g_assert_cmpuint(v->below.history[36], ==, 1);
    g_assert_cmpuint(v->below.history[37], ==, 2);
    g_assert_cmpuint(v->below.history[38], ==, 0); /* there is no such page */
    im.chunk = 10;
    g_assert_cmpint(v->p->ops->import_begin(v->p->opaque, &im), ==, -EINVAL);
    view_free(v);
}

static void test_import_fails(void)
{
    View *v = view_new();
    RamImport im = { .chunk = 1, .pages = { 0x2 }, .done = import_done };

    g_assert_cmpint(v->p->ops->import_begin(v->p->opaque, &im), ==, 0);
    v->p->ops->import_abort(v->p->opaque, &im);
    g_assert_cmpuint(v->below.aborted, ==, 1);
    v->below.begin_result = -EIO;
    g_assert_cmpint(v->p->ops->import_begin(v->p->opaque, &im), ==, -EIO);
    g_assert_cmpint(v->p->ops->import_zero(v->p->opaque, 1, NULL), ==, -EIO);
    view_free(v);
}

/* The rest of the chunk below stays as it is. */
static void test_import_zero(void)
{
    View *v = view_new();
    uint8_t history[FINE] = { 9, 9, 9, 9 };

    g_assert_cmpint(v->p->ops->import_zero(v->p->opaque, 5, history), ==, 0);
    g_assert_cmphex(v->below.pages[1], ==, 0);
    g_assert_cmphex(v->below.zero[1], ==, 0xf0);
    g_assert_cmpuint(v->below.history[19], ==, 0);
    g_assert_cmpuint(v->below.history[20], ==, 9);
    g_assert_cmpint(v->p->ops->import_zero(v->p->opaque, 9, NULL), ==, 0);
    g_assert_cmphex(v->below.zero[2], ==, 0x30);
    g_assert_cmpint(v->p->ops->import_zero(v->p->opaque, 10, NULL), ==,
                    -EINVAL);
    view_free(v);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/finer-placement/infos", test_infos);
    g_test_add_func("/finer-placement/export", test_export);
    g_test_add_func("/finer-placement/import", test_import);
    g_test_add_func("/finer-placement/import-fails", test_import_fails);
    g_test_add_func("/finer-placement/import-zero", test_import_zero);
    return g_test_run();
}
