/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pager on a file that somebody else writes to, with checksums: what is
 * not what was written is an error like any other, and never in the guest.
 * What migration reads while it is written again is no error.
 */
#include <errno.h>
#include <string.h>

#include "../../../vmemdirect/seal.h"
#include "fake.h"
#include "util/clock.h"

#define ROOMY (FAKE_PAGES * 4)
#define PAGE(c, i) ((PageNo)(c) * FAKE_CHUNK_PAGES + (i))

static Fake *sealed_new(void)
{
    const VmdSealConfig cfg = {
        .pages = FAKE_PAGES,
        .depth = VMD_IO_DEPTH,
        .writes = VMD_WRITES_MAX,
        .write_bytes = FAKE_CHUNK_PAGES * RAM_PAGE_BYTES,
        .checksum = true,
    };
    Fake *f = fake_new(ROOMY, false);

    f->pager.cfg.io = vmd_seal_new(&f->io.io, &cfg);
    return f;
}

static void sealed_free(Fake *f)
{
    f->pager.cfg.io->ops->free(f->pager.cfg.io);
    fake_free(f);
}

static void swapped_chunk(Fake *f, ChunkNo c, uint8_t base)
{
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        fake_write(f, PAGE(c, i), (uint8_t)(base + i));
    }
    fake_swap_out(f, c);
    g_assert_cmpint(fake_state(f, c), ==, VMD_SWAPPED);
}

static void flip(Fake *f, PageNo page)
{
    f->file[page * RAM_PAGE_BYTES + 1234] ^= 0x10;
}

/* Touches until the access goes through or nothing is to be done any more. */
static const uint8_t *touch(Fake *f, PageNo page)
{
    for (unsigned k = 0; k < 50; k++) {
        const uint8_t *at = fake_touch(f, page, false);
        if (at) {
            return at;
        }
        fake_complete_all(f);
    }
    return NULL;
}

static void test_page_in(void)
{
    Fake *f = sealed_new();

    swapped_chunk(f, 1, 10);
    flip(f, PAGE(1, 3));
    g_assert_null(touch(f, PAGE(1, 3)));
    g_assert_cmpint(fake_state(f, 1), ==, VMD_FAILED);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 1);
    g_assert_cmpint(f->last_event.error, ==, EBADMSG);
    g_assert_true(f->last_event.stop);
    g_assert_cmpstr(vmd_error_to_string(f->last_event.error), ==,
                    "checksum mismatch");
    g_assert_cmpuint(f->pager.stats.checksum_errors, >=, VMD_READ_TRIES);
    g_assert_false(f->guest_present[PAGE(1, 3)]);

    vmd_pager_retry(&f->pager); /* in vain */
    g_assert_null(touch(f, PAGE(1, 3)));
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 2);

    flip(f, PAGE(1, 3)); /* repaired */
    vmd_pager_retry(&f->pager);
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        g_assert_cmpuint(fake_read(f, PAGE(1, i)), ==, 10 + i);
    }
    fake_complete_all(f);
    sealed_free(f);
}

/* The other pages of its chunk are none the worse. */
static void test_fill(void)
{
    Fake *f = sealed_new();

    swapped_chunk(f, 1, 10);
    fake_make_dense(f, 1);
    flip(f, PAGE(1, 6));
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        if (i != 6) {
            const uint8_t *at = touch(f, PAGE(1, i));
            g_assert_nonnull(at);
            g_assert_cmpuint(at[0], ==, 10 + i);
        }
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    g_assert_null(touch(f, PAGE(1, 6)));
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 1);
    fake_complete_all(f);
    sealed_free(f);
}

/* Zeros where a hole was punched by somebody else. */
static void test_hole_of_somebody_else(void)
{
    Fake *f = sealed_new();

    swapped_chunk(f, 1, 10);
    memset(f->file + PAGE(1, 2) * RAM_PAGE_BYTES, 0, RAM_PAGE_BYTES);
    g_assert_null(touch(f, PAGE(1, 2)));
    g_assert_cmpint(f->last_event.error, ==, EBADMSG);
    fake_complete_all(f);
    sealed_free(f);
}

/* --- export -------------------------------------------------------------- */

static unsigned exports_done;

static void export_done(RamExport *e)
{
    exports_done++;
}

static void start_export(Fake *f, RamExport *e, ChunkNo c)
{
    *e = (RamExport){ .chunk = c, .done = export_done,
                      .buf = g_malloc(FAKE_CHUNK_PAGES * RAM_PAGE_BYTES) };
    memset(e->want, 0xff, sizeof(e->want));
    exports_done = 0;
    vmd_carry_export(&f->pager, e);
    fake_step(f);
}

static void test_export_is_checked(void)
{
    Fake *f = sealed_new();
    RamExport e;

    swapped_chunk(f, 1, 10);
    flip(f, PAGE(1, 4));
    start_export(f, &e, 1);
    fake_complete_all(f);
    g_assert_cmpuint(exports_done, ==, 1);
    g_assert_cmpint(e.result, ==, -EIO);
    g_assert_cmpuint(f->pager.stats.checksum_errors, ==, 1);
    flip(f, PAGE(1, 4));
    g_free(e.buf);
    start_export(f, &e, 1);
    fake_complete_all(f);
    g_assert_cmpint(e.result, ==, 0);
    g_assert_cmpuint(((uint8_t *)e.buf)[4 * RAM_PAGE_BYTES], ==, 14);
    g_free(e.buf);
    sealed_free(f);
}

/*
 * While the read is under way the page comes in, is changed and is being
 * written again: the checksum is the new one's, the file has the old content
 * still. The export takes the new one, from where it is.
 */
static void test_export_meets_write(void)
{
    Fake *f = sealed_new();
    RamExport e;

    swapped_chunk(f, 1, 10);
    start_export(f, &e, 1);
    g_assert_cmpuint(fake_requests(f), ==, 1);
    const VmdIoRequest *export = fake_request(f, 0);
    while (!fake_touch(f, PAGE(1, 3), false)) {
        fake_complete(f, fake_requests(f) - 1, 0); /* not the export's */
    }
    memset(fake_touch(f, PAGE(1, 3), true), 99, RAM_PAGE_BYTES);
    while (fake_requests(f) > 1) { /* the rest of a fill, if there is one */
        fake_complete(f, 1, 0);
    }
    fake_standby(f, 1);
    g_assert_true(vmd_chunk_write_back(&f->pager, 1));
    fake_step(f);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_WRITING);
    g_assert_true(fake_request(f, 0) == export);
    fake_complete(f, 0, 0); /* with the old content */
    fake_complete_all(f);
    g_assert_cmpuint(exports_done, ==, 1);
    g_assert_cmpint(e.result, ==, 0);
    for (uint32_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        g_assert_true(vm_bit_test(e.in_buf, i));
        g_assert_cmpuint(((uint8_t *)e.buf)[i * RAM_PAGE_BYTES], ==,
                         i == 3 ? 99 : 10 + i);
    }
    g_assert_cmpuint(f->pager.stats.read_errors, ==, 0);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 0);
    g_free(e.buf);
    sealed_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/checksum/page-in", test_page_in);
    g_test_add_func("/checksum/fill", test_fill);
    g_test_add_func("/checksum/hole-of-somebody-else",
                    test_hole_of_somebody_else);
    g_test_add_func("/checksum/export-is-checked", test_export_is_checked);
    g_test_add_func("/checksum/export-meets-write", test_export_meets_write);
    return g_test_run();
}
