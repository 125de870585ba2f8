/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placement of a block that is never paged: exports and imports by chunk. */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "memory/placement.h"
#include "util/bits.h"

#define CHUNK_PAGES 16u
#define PAGES 40u /* two chunks and a half */

static unsigned done_calls;

static void export_done(RamExport *e)
{
    done_calls++;
}

static void import_done(RamImport *im)
{
    done_calls++;
}

static RamBlock *block_new(void)
{
    GError *error = NULL;
    RamBlock *rb = ram_block_new("r", PAGES * RAM_PAGE_BYTES, &error);

    g_assert_no_error(error);
    return rb;
}

static uint8_t *page(RamBlock *rb, unsigned n)
{
    return ram_block_hva(rb) + n * RAM_PAGE_BYTES;
}

static void test_infos(void)
{
    g_autoptr(RamBlock) rb = block_new();
    RamPlacement *p = ram_plain_placement_new(rb, CHUNK_PAGES);
    RamChunkInfo infos[3];
    RamPagingCounters counters;
    uint8_t history[CHUNK_PAGES];

    page(rb, 39)[5] = 1;
    p->ops->chunk_infos(p->opaque, infos);
    g_assert_cmpint(infos[0].place, ==, RAM_PLACE_ZERO);
    g_assert_cmpint(infos[1].place, ==, RAM_PLACE_ZERO);
    g_assert_cmpint(infos[2].place, ==, RAM_PLACE_RAM);
    g_assert_cmpuint(infos[2].key, >, infos[0].key);
    g_assert_cmpuint(p->ops->chunk_pages(p->opaque), ==, CHUNK_PAGES);
    g_assert_cmpuint(p->ops->budget_pages(p->opaque), ==, UINT64_MAX);
    p->ops->counters(p->opaque, &counters);
    g_assert_cmpuint(counters.pages_in + counters.pages_out, ==, 0);
    memset(history, 0xff, sizeof(history));
    p->ops->history(p->opaque, 0, history);
    g_assert_cmpuint(history[CHUNK_PAGES - 1], ==, 0);
    g_assert_cmpstr(ram_place_to_string(RAM_PLACE_SWAP), ==, "swap");
    ram_plain_placement_free(p);
}

/* Wanted pages are zero or read in place; nothing else is said. */
static void test_export(void)
{
    g_autoptr(RamBlock) rb = block_new();
    RamPlacement *p = ram_plain_placement_new(rb, CHUNK_PAGES);
    RamExport e = { .chunk = 2, .done = export_done };

    page(rb, 32)[0] = 1;    /* has content */
    page(rb, 33)[4095] = 1; /* has content at its end */
    page(rb, 34)[0] = 1;    /* touched, but zero again */
    page(rb, 34)[0] = 0;
    vm_bitmap_set(e.want, 0, 8);
    vm_bit_clear(e.want, 1);
    done_calls = 0;
    g_assert_cmpint(p->ops->export_start(p->opaque, &e), ==, 0);
    g_assert_cmpuint(done_calls, ==, 1);
    g_assert_cmpint(e.result, ==, 0);
    g_assert_cmphex(e.zero[0], ==, 0xfc);
    g_assert_cmphex(e.in_buf[0], ==, 0);
    p->ops->export_end(p->opaque, &e);
    e.chunk = 3;
    g_assert_cmpint(p->ops->export_start(p->opaque, &e), ==, -EINVAL);
    e.chunk = UINT32_MAX;
    g_assert_cmpint(p->ops->export_start(p->opaque, &e), ==, -EINVAL);
    g_assert_cmpuint(done_calls, ==, 1);
    ram_plain_placement_free(p);
}

/* Pages with content appear, zero ones become zero, others stay. */
static void test_import(void)
{
    g_autoptr(RamBlock) rb = block_new();
    RamPlacement *p = ram_plain_placement_new(rb, CHUNK_PAGES);
    RamImport im = { .chunk = 1, .place = RAM_PLACE_SWAP,
                     .done = import_done };

    memset(page(rb, 17), 7, RAM_PAGE_BYTES);
    memset(page(rb, 18), 8, RAM_PAGE_BYTES);
    g_assert_cmpint(p->ops->import_begin(p->opaque, &im), ==, 0);
    memset(im.buf, 9, RAM_PAGE_BYTES);
    vm_bit_set(im.pages, 0);
    vm_bit_set(im.zero, 1);
    done_calls = 0;
    p->ops->import_commit(p->opaque, &im);
    g_assert_cmpuint(done_calls, ==, 1);
    g_assert_cmpint(im.result, ==, 0);
    g_assert_cmpuint(page(rb, 16)[4095], ==, 9);
    g_assert_cmpuint(page(rb, 17)[0], ==, 0);
    g_assert_cmpuint(page(rb, 17)[4095], ==, 0);
    g_assert_cmpuint(page(rb, 18)[0], ==, 8);
    g_assert_cmpint(p->ops->import_begin(p->opaque, &im), ==, 0);
    p->ops->import_abort(p->opaque, &im);
    im.chunk = 3;
    g_assert_cmpint(p->ops->import_begin(p->opaque, &im), ==, -EINVAL);
    g_assert_cmpint(p->ops->import_zero(p->opaque, 1, NULL), ==, 0);
    g_assert_cmpuint(page(rb, 16)[0] + page(rb, 18)[0], ==, 0);
    page(rb, 39)[0] = 1;
    g_assert_cmpint(p->ops->import_zero(p->opaque, 2, NULL), ==, 0);
    g_assert_cmpuint(page(rb, 39)[0], ==, 0);
    g_assert_cmpint(p->ops->import_zero(p->opaque, 3, NULL), ==, -EINVAL);
    ram_plain_placement_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/plain-placement/infos", test_infos);
    g_test_add_func("/plain-placement/export", test_export);
    g_test_add_func("/plain-placement/import", test_import);
    return g_test_run();
}
