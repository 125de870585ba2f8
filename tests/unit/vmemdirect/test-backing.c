/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM that starts from a saved file: each page is what was saved until it is
 * written, wherever the rest of its chunk is by then; RAM fills by falling
 * heat as far as there is room; a page that cannot be read, or is not what was
 * saved, is never handed on, and is told like an error of the swap file.
 *
 * How: the pager of fake.h, with a second file behind it, in which the pages
 * lie backwards within groups of three, so that no chunk is in one piece. Every
 * fifth page is zero. Its reads end at the next step.
 */
#include "../../../vmemdirect/backing.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "fake.h"
#include "util/fd.h"

#define ROOMY (FAKE_PAGES * 4)
#define TIGHT (10 * FAKE_CHUNK_PAGES)

/* The saved file. */
typedef struct SavedIo {
    VmdIo io;
    Fake *fake;
    uint8_t *content;
    GPtrArray *waiting;
    GArray *order; /* of PageNo: what was read, page by page of the file */
    int fd;
    int result; /* of each read */
} SavedIo;

typedef struct Start {
    Fake *f;
    SavedIo *saved; /* the backing's */
    VmdIo *backing;
} Start;

static uint8_t value_of(PageNo page)
{
    return page % 5 == 4 ? 0 : (uint8_t)(page * 7 + 1) | 1;
}

static uint32_t place_of(PageNo page)
{
    return page % 5 == 4 ? 0 : 1 + (uint32_t)(page / 3 * 3 + 2 - page % 3);
}

static uint64_t sum(const uint8_t *page)
{
    uint64_t total = 1;

    for (size_t i = 0; i < RAM_PAGE_BYTES; i++) {
        total = total * 31 + page[i];
    }
    return total;
}

/* --- the file ------------------------------------------------------------ */

static int saved_submit(VmdIo *io, VmdIoRequest *req)
{
    g_assert_cmpint(req->op, ==, VMD_IO_READ);
    g_ptr_array_add(((SavedIo *)io)->waiting, req);
    return 0;
}

static void saved_flush(VmdIo *io)
{
}

/* As a real read does, also one that fails. */
static void populate(SavedIo *s, const VmdIoRequest *req)
{
    Fake *f = s->fake;
    size_t slots = (size_t)f->pager.frames.count * FAKE_CHUNK_PAGES;

    for (uint32_t done = 0; done < req->len; done += RAM_PAGE_BYTES) {
        const uint8_t *at = req->buf + done;
        if (at >= f->frames && at < f->frames + slots * RAM_PAGE_BYTES) {
            f->frame_present[(size_t)(at - f->frames) / RAM_PAGE_BYTES] = true;
        }
    }
}

static unsigned saved_reap(VmdIo *io)
{
    SavedIo *s = (SavedIo *)io;
    unsigned count = s->waiting->len;

    for (unsigned i = 0; i < count; i++) {
        VmdIoRequest *req = g_ptr_array_index(s->waiting, 0);

        g_ptr_array_remove_index(s->waiting, 0);
        populate(s, req);
        if (s->result == 0) {
            memcpy(req->buf, s->content + req->offset, req->len);
        }
        for (uint32_t k = 0; k < req->len / RAM_PAGE_BYTES; k++) {
            PageNo page = req->offset / RAM_PAGE_BYTES + k;
            g_array_append_val(s->order, page);
        }
        req->done(req, s->result);
    }
    return count;
}

static int saved_fd(const VmdIo *io)
{
    return ((const SavedIo *)io)->fd;
}

static void saved_free(VmdIo *io)
{
    SavedIo *s = (SavedIo *)io;

    g_assert_cmpuint(s->waiting->len, ==, 0);
    g_ptr_array_unref(s->waiting);
    g_array_unref(s->order);
    vm_close_fd(&s->fd);
    g_free(s->content);
    g_free(s);
}

static const VmdIoOps saved_ops = {
    .name = "saved",
    .submit = saved_submit,
    .flush = saved_flush,
    .reap = saved_reap,
    .fd = saved_fd,
    .free = saved_free,
};

static SavedIo *saved_new(Fake *f)
{
    SavedIo *s = g_new0(SavedIo, 1);

    s->io.ops = &saved_ops;
    s->fake = f;
    s->content = g_malloc0((FAKE_PAGES + 4) * RAM_PAGE_BYTES);
    s->waiting = g_ptr_array_new();
    s->order = g_array_new(FALSE, FALSE, sizeof(PageNo));
    s->fd = eventfd(0, EFD_CLOEXEC);
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        memset(s->content + place_of(page) * RAM_PAGE_BYTES, value_of(page),
               RAM_PAGE_BYTES);
        /* For the fake, which looks after pages that count as stored. */
        memset(f->file + page * RAM_PAGE_BYTES, value_of(page),
               RAM_PAGE_BYTES);
        f->file_written[page] = true;
    }
    return s;
}

/* --- the start ----------------------------------------------------------- */

static RamBacking make_map(const SavedIo *s)
{
    RamBacking from = { .fd = -1, .sum = sum };

    from.at = g_new(uint32_t, FAKE_PAGES);
    from.sums = g_new0(uint64_t, FAKE_PAGES);
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        from.at[page] = place_of(page);
        if (from.at[page]) {
            from.sums[page] = sum(s->content + from.at[page] * RAM_PAGE_BYTES);
        }
    }
    return from;
}

/* Chunk c has the history c * 8 in all of its pages. */
static Start start(uint64_t budget_pages)
{
    Start s = { .f = fake_new(budget_pages, /* soft_tracker= */ false) };
    VmdBackingConfig cfg = { .pages = FAKE_PAGES, .depth = 16,
                             .swap = &s.f->io.io };
    uint8_t history[FAKE_PAGES];
    GError *error = NULL;

    s.saved = saved_new(s.f);
    cfg.file = &s.saved->io;
    cfg.from = make_map(s.saved);
    s.backing = vmd_backing_new(&cfg, &error);
    g_assert_no_error(error);
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        history[page] = (uint8_t)(page / FAKE_CHUNK_PAGES * 8);
    }
    g_assert_cmpint(vmd_carry_back(&s.f->pager, s.backing, history), ==, 0);
    return s;
}

static void start_done(Start *s)
{
    fake_complete_all(s->f);
    fake_free(s->f);
    s->backing->ops->free(s->backing);
}

/* Nothing comes by itself. */
static void keep_cold(Start *s)
{
    vmd_warm_done(&s->f->pager);
}

static void assert_saved(Start *s)
{
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(s->f, page), ==, value_of(page));
    }
}

static uint64_t backing_pages(Start *s)
{
    VmdStats stats;

    vmd_pager_fill_stats(&s->f->pager, &stats);
    return stats.backing_bytes / RAM_PAGE_BYTES;
}

/* --- tests --------------------------------------------------------------- */

static void test_reads(void)
{
    Start s = start(TIGHT);

    keep_cold(&s);
    g_assert_cmpint(fake_state(s.f, 3), ==, VMD_SWAPPED);
    assert_saved(&s);
    assert_saved(&s); /* some have gone meanwhile, without a write */
    g_assert_cmpuint(s.f->pager.stats.page_out_bytes, ==, 0);
    g_assert_cmpuint(s.saved->order->len * RAM_PAGE_BYTES, ==,
                     s.f->pager.stats.page_in_bytes); /* all from there */
    start_done(&s);
}

/* Pages that were written are the swap file's, their neighbours are not. */
static void test_writes(void)
{
    Start s = start(ROOMY);
    uint64_t before;

    keep_cold(&s);
    before = backing_pages(&s);
    for (PageNo page = 0; page < FAKE_PAGES; page += 4) {
        fake_write(s.f, page, 200);
    }
    g_assert_cmpuint(backing_pages(&s), <, before);
    for (ChunkNo c = 0; c < FAKE_CHUNKS; c++) {
        fake_swap_out(s.f, c);
    }
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(s.f, page), ==,
                         page % 4 == 0 ? 200 : value_of(page));
    }
    start_done(&s);
}

static void test_discard(void)
{
    Start s = start(ROOMY);

    keep_cold(&s);
    vmd_pager_discard(&s.f->pager, 8, 16);
    fake_step(s.f);
    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpuint(fake_read(s.f, page), ==,
                         page >= 8 && page < 24 ? 0 : value_of(page));
    }
    start_done(&s);
}

static void step_until_warm(Start *s)
{
    for (int i = 0; i < 10000 && s->f->pager.warm.order; i++) {
        fake_step(s->f);
        g_assert_cmpuint(fake_requests(s->f), ==, 0); /* of the swap file */
    }
    g_assert_null(s->f->pager.warm.order);
    for (int i = 0; i < 100; i++) {
        fake_step(s->f);
    }
}

static void test_warm_all(void)
{
    Start s = start(ROOMY);

    step_until_warm(&s);
    for (ChunkNo c = 0; c < FAKE_CHUNKS; c++) {
        g_assert_cmpint(fake_state(s.f, c), ==, VMD_RESIDENT);
    }
    /* The hottest is the last one. */
    g_assert_cmpuint(g_array_index(s.saved->order, PageNo, 0), >,
                     (FAKE_CHUNKS - 2) * FAKE_CHUNK_PAGES);
    s.saved->result = -EIO; /* nothing is read any more */
    assert_saved(&s);
    start_done(&s);
}

static void test_warm_some(void)
{
    Start s = start(TIGHT);
    unsigned resident = 0;

    step_until_warm(&s);
    for (ChunkNo c = 0; c < FAKE_CHUNKS; c++) {
        bool here = fake_state(s.f, c) == VMD_RESIDENT;
        g_assert_true(here || fake_state(s.f, c) == VMD_SWAPPED);
        g_assert_true(here || resident == 0); /* the hottest ones */
        resident += here;
    }
    g_assert_cmpuint(resident, >, 0);
    g_assert_cmpuint(s.f->pager.stats.dropped_clean_bytes, ==, 0);
    assert_saved(&s);
    start_done(&s);
}

static void expect_failed(Start *s, PageNo page, int error)
{
    for (int i = 0; i < 50; i++) {
        g_assert_null(fake_touch(s->f, page, false));
    }
    g_assert_cmpint(fake_state(s->f, (ChunkNo)(page / FAKE_CHUNK_PAGES)), ==,
                    VMD_FAILED);
    g_assert_cmpint(s->f->began[VMD_TROUBLE_READ], ==, 1);
    g_assert_true(s->f->last_event.stop);
    g_assert_cmpint(s->f->last_event.error, ==, error);
}

static void test_unreadable(const void *error)
{
    Start s = start(ROOMY);

    keep_cold(&s);
    s.saved->result = -GPOINTER_TO_INT(error);
    expect_failed(&s, 30,
                  s.saved->result == -ENODATA ? ESTALE
                                              : GPOINTER_TO_INT(error));
    s.saved->result = 0;
    vmd_pager_retry(&s.f->pager);
    assert_saved(&s);
    start_done(&s);
}

static void test_damaged(void)
{
    Start s = start(ROOMY);
    uint8_t *byte = s.saved->content + place_of(30) * RAM_PAGE_BYTES + 77;

    keep_cold(&s);
    *byte ^= 0x10;
    expect_failed(&s, 30, EBADMSG);
    *byte ^= 0x10;
    vmd_pager_retry(&s.f->pager);
    assert_saved(&s);
    start_done(&s);
}

/* Nobody waits for what comes by itself. */
static void test_warm_unreadable(void)
{
    Start s = start(ROOMY);

    s.saved->result = -EIO;
    step_until_warm(&s);
    g_assert_cmpint(s.f->began[VMD_TROUBLE_READ], ==, 0);
    s.saved->result = 0;
    assert_saved(&s);
    start_done(&s);
}

static void test_busy(void)
{
    Start s = start(ROOMY);

    g_assert_cmpint(vmd_carry_back(&s.f->pager, s.backing, NULL), ==, -EBUSY);
    start_done(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/backing/reads", test_reads);
    g_test_add_func("/backing/writes", test_writes);
    g_test_add_func("/backing/discard", test_discard);
    g_test_add_func("/backing/warm/all", test_warm_all);
    g_test_add_func("/backing/warm/some", test_warm_some);
    g_test_add_func("/backing/warm/unreadable", test_warm_unreadable);
    g_test_add_data_func("/backing/eio", GINT_TO_POINTER(EIO),
                         test_unreadable);
    g_test_add_data_func("/backing/cut", GINT_TO_POINTER(ENODATA),
                         test_unreadable);
    g_test_add_func("/backing/damaged", test_damaged);
    g_test_add_func("/backing/busy", test_busy);
    return g_test_run();
}
