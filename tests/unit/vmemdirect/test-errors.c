/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device that fails, is full or hangs: nothing is lost, everybody who waits
 * is answered in the end, and each trouble is told at its edges.
 *
 * The fake device refuses or keeps its requests as each test says; the clock
 * is moved by hand. What a guest sees is compared with what it wrote.
 */
#include <errno.h>
#include <string.h>

#include "fake.h"
#include "util/clock.h"

#define ROOMY (FAKE_PAGES * 4)
#define TIGHT (10 * FAKE_CHUNK_PAGES)
#define SECOND VM_NS_PER_SEC

static uint8_t value_of(PageNo page)
{
    return (uint8_t)(page * 7 + 1);
}

static void write_pages(Fake *f, PageNo count)
{
    for (PageNo page = 0; page < count; page++) {
        fake_write(f, page, value_of(page));
    }
}

static void assert_pages(Fake *f, PageNo count)
{
    for (PageNo page = 0; page < count; page++) {
        g_assert_cmpuint(fake_read(f, page), ==, value_of(page));
    }
}

/* Time passes; all writes that come fail so. */
static void fail_writes(Fake *f, int64_t ns, int result)
{
    for (int64_t end = fake_now + ns; fake_now < end; fake_now += SECOND / 20) {
        fake_step(f);
        for (unsigned i = 0; i < fake_requests(f);) {
            if (fake_request(f, i)->op == VMD_IO_WRITE) {
                fake_complete(f, i, result);
            } else {
                i++;
            }
        }
    }
}

static void pass(Fake *f, int64_t ns)
{
    for (int64_t end = fake_now + ns; fake_now < end; fake_now += SECOND / 20) {
        fake_step(f);
        fake_complete_all(f);
    }
}

/* The budget shrinks to what needs writes that the device refuses. */
static Fake *new_with_write_error(int error)
{
    Fake *f = fake_new(ROOMY, false);

    write_pages(f, FAKE_PAGES);
    vmd_budget_set(&f->pager, TIGHT);
    fail_writes(f, 10 * SECOND, error);
    g_assert_cmpint(f->began[VMD_TROUBLE_WRITE], ==, 1);
    return f;
}

static void test_full_for_long(void)
{
    Fake *f = new_with_write_error(-ENOSPC);

    /* One write a second is tried, not as many as there are. */
    uint64_t tried = f->pager.stats.write_errors;
    fail_writes(f, 60 * SECOND, -ENOSPC);
    g_assert_cmpuint(f->pager.stats.write_errors - tried, >=, 55);
    g_assert_cmpuint(f->pager.stats.write_errors - tried, <=, 65);
    g_assert_cmpint(f->began[VMD_TROUBLE_WRITE], ==, 1);
    g_assert_cmpint(f->over[VMD_TROUBLE_WRITE], ==, 0);

    pass(f, 10 * SECOND); /* there is room again */
    g_assert_cmpint(f->over[VMD_TROUBLE_WRITE], ==, 1);
    g_assert_cmpint(vmd_free_pages(&f->pager), >=, 0);
    assert_pages(f, FAKE_PAGES);
    fake_complete_all(f);
    fake_free(f);
}

/* Some blocks are there, others not: writes fail and succeed by turns. */
static void test_nearly_full(void)
{
    Fake *f = fake_new(ROOMY, false);

    write_pages(f, FAKE_PAGES);
    vmd_budget_set(&f->pager, TIGHT);
    for (unsigned k = 0; k < 400; k++) {
        fake_now += SECOND / 4;
        fake_step(f);
        if (fake_requests(f) > 0) {
            bool write = fake_request(f, 0)->op == VMD_IO_WRITE;
            fake_complete(f, 0, write && k % 2 == 0 ? -ENOSPC : 0);
        }
        if (k % 8 == 0) { /* keeps reclaim busy */
            PageNo page = k / 8 % FAKE_PAGES;
            uint8_t *at = fake_touch(f, page, true);
            if (at) {
                memset(at, value_of(page), RAM_PAGE_BYTES);
            }
        }
    }
    g_assert_cmpuint(f->pager.stats.write_errors, >=, 10);
    g_assert_cmpint(f->began[VMD_TROUBLE_WRITE], <=, 4);
    pass(f, 70 * SECOND);
    assert_pages(f, FAKE_PAGES);
    fake_complete_all(f);
    fake_free(f);
}

/* A cont in vain is told; one that helps is not. */
static void test_retry_is_told(void)
{
    Fake *f = new_with_write_error(-EIO);

    g_assert_cmpint(f->last_event.error, ==, EIO);
    vmd_pager_retry(&f->pager);
    fail_writes(f, SECOND / 10, -EIO); /* at once, not a second later */
    g_assert_cmpint(f->began[VMD_TROUBLE_WRITE], ==, 2);
    vmd_pager_retry(&f->pager);
    pass(f, 5 * SECOND);
    g_assert_cmpint(f->began[VMD_TROUBLE_WRITE], ==, 2);
    g_assert_cmpint(f->over[VMD_TROUBLE_WRITE], ==, 1);
    assert_pages(f, FAKE_PAGES);
    fake_complete_all(f);
    fake_free(f);
}

/* --- who waits in a pin -------------------------------------------------- */

typedef struct Pinner {
    VmdPinWaiter waiter;
    unsigned done;
    int result;
} Pinner;

static void pin_done(VmdPinWaiter *w, int result)
{
    Pinner *pinner = (Pinner *)w;

    pinner->done++;
    pinner->result = result;
}

static void pin(Fake *f, Pinner *pinner, PageNo page)
{
    *pinner = (Pinner){ .waiter = { .first = page, .count = 1,
                                    .done = pin_done } };
    vmd_pager_add_pin_waiter(&f->pager, &pinner->waiter);
}

/* No memory can be freed: the pin waits, and is served when it can be. */
static void test_pin_waits_for_writes(void)
{
    Fake *f = fake_new(TIGHT, false);
    Pinner pinner;

    write_pages(f, FAKE_PAGES);
    fake_complete_all(f);
    vmd_budget_set(&f->pager, FAKE_CHUNK_PAGES); /* nothing fits any more */
    PageNo page = 0;
    while (f->guest_present[page]) {
        page++;
    }
    pin(f, &pinner, page);
    fail_writes(f, 5 * SECOND, -ENOSPC);
    g_assert_cmpuint(pinner.done, ==, 0);
    vmd_budget_set(&f->pager, TIGHT);
    pass(f, 5 * SECOND);
    g_assert_cmpuint(pinner.done, ==, 1);
    g_assert_cmpint(pinner.result, ==, 0);
    assert_pages(f, FAKE_PAGES);
    fake_complete_all(f);
    fake_free(f);
}

static void fail_reads(Fake *f)
{
    for (unsigned k = 0; k < 20 && fake_requests(f) > 0; k++) {
        fake_complete(f, 0, -EIO);
    }
}

/* An unreadable page may be repaired: its pinner waits as a vCPU does. */
static void test_pin_waits_for_repair(void)
{
    Fake *f = fake_new(ROOMY, false);
    Pinner pinner;

    write_pages(f, 2 * FAKE_CHUNK_PAGES);
    fake_swap_out(f, 1);
    pin(f, &pinner, FAKE_CHUNK_PAGES + 3);
    fake_step(f);
    fail_reads(f);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_FAILED);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 1);
    g_assert_true(f->last_event.stop);
    pass(f, 10 * SECOND);
    g_assert_cmpuint(pinner.done, ==, 0);
    g_assert_cmpint(f->over[VMD_TROUBLE_READ], ==, 0);

    vmd_pager_retry(&f->pager); /* in vain */
    fake_step(f);
    fail_reads(f);
    g_assert_cmpint(fake_state(f, 1), ==, VMD_FAILED);
    g_assert_cmpint(f->began[VMD_TROUBLE_READ], ==, 2);
    g_assert_cmpuint(pinner.done, ==, 0);

    vmd_pager_retry(&f->pager); /* repaired */
    pass(f, 5 * SECOND);
    g_assert_cmpuint(pinner.done, ==, 1);
    g_assert_cmpint(pinner.result, ==, 0);
    g_assert_cmpint(f->over[VMD_TROUBLE_READ], ==, 1);
    assert_pages(f, 2 * FAKE_CHUNK_PAGES);
    fake_complete_all(f);
    fake_free(f);
}

/* At the end of the VM nobody waits for a device that may never answer. */
static void test_abandon(void)
{
    Fake *f = fake_new(ROOMY, false);
    RamImport im = { .chunk = 5, .place = RAM_PLACE_RAM, .pages = { 0xff } };
    Pinner pinner;

    write_pages(f, 2 * FAKE_CHUNK_PAGES);
    fake_swap_out(f, 1);
    pin(f, &pinner, FAKE_CHUNK_PAGES + 3);
    fake_step(f);
    g_assert_cmpuint(fake_requests(f), >, 0);
    vmd_pager_abandon(&f->pager);
    fake_step(f);
    g_assert_cmpuint(pinner.done, ==, 1);
    g_assert_cmpint(pinner.result, ==, -EIO);
    vmd_carry_import_begin(&f->pager, &im);
    g_assert_cmpuint(f->lent, ==, 1);
    g_assert_null(im.buf);
    g_assert_cmpint(vmd_carry_import_zero(&f->pager, 1, NULL), ==, -EIO);
    for (unsigned i = 0; i < VMD_TROUBLE__COUNT; i++) {
        g_assert_cmpint(f->began[i], ==, 0); /* it is no failure */
    }
    fake_complete_all(f);
    fake_free(f);
}

/* --- a device that hangs ------------------------------------------------- */

static void test_timeout(void)
{
    Fake *f = fake_new(ROOMY, false);
    VmdStats s;

    write_pages(f, 2 * FAKE_CHUNK_PAGES);
    fake_swap_out(f, 1);
    g_assert_null(fake_touch(f, FAKE_CHUNK_PAGES, false));
    for (unsigned k = 0; k < 29; k++) {
        fake_now += SECOND;
        fake_step(f);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_TIMEOUT], ==, 0);
    g_assert_cmpint(vmd_pager_deadline_ns(&f->pager), <=, fake_now + SECOND);
    for (unsigned k = 0; k < 60; k++) {
        fake_now += SECOND;
        fake_step(f);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_TIMEOUT], ==, 1);
    g_assert_true(f->last_event.stop);
    vmd_pager_fill_stats(&f->pager, &s);
    g_assert_cmpuint(s.oldest_request_ns, ==, 89 * SECOND);
    vmd_pager_retry(&f->pager); /* cont, though nothing has changed */
    fake_now += SECOND;
    fake_step(f);
    g_assert_cmpint(f->began[VMD_TROUBLE_TIMEOUT], ==, 2);
    g_assert_cmpint(f->over[VMD_TROUBLE_TIMEOUT], ==, 0);

    fake_complete_all(f);
    fake_now += SECOND;
    fake_step(f);
    g_assert_cmpint(f->over[VMD_TROUBLE_TIMEOUT], ==, 1);
    vmd_pager_fill_stats(&f->pager, &s);
    g_assert_cmpuint(s.oldest_request_ns, ==, 0);
    assert_pages(f, 2 * FAKE_CHUNK_PAGES);
    fake_complete_all(f);
    fake_free(f);
}

/* A busy device is not one that hangs: each request is soon answered. */
static void test_busy_is_no_timeout(void)
{
    Fake *f = fake_new(TIGHT, false);

    for (unsigned k = 0; k < 200; k++) {
        fake_now += SECOND / 2;
        fake_write(f, k * 13 % FAKE_PAGES, (uint8_t)k);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_TIMEOUT], ==, 0);
    fake_complete_all(f);
    fake_free(f);
}

static void test_timeout_can_be_off(void)
{
    Fake *f = fake_new(ROOMY, false);

    f->pager.cfg.io_timeout_ns = 0;
    write_pages(f, FAKE_CHUNK_PAGES);
    fake_swap_out(f, 0);
    g_assert_null(fake_touch(f, 0, false));
    for (unsigned k = 0; k < 100; k++) {
        fake_now += 60 * SECOND;
        fake_step(f);
    }
    g_assert_cmpint(f->began[VMD_TROUBLE_TIMEOUT], ==, 0);
    fake_complete_all(f);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/errors/full-for-long", test_full_for_long);
    g_test_add_func("/errors/nearly-full", test_nearly_full);
    g_test_add_func("/errors/retry-is-told", test_retry_is_told);
    g_test_add_func("/errors/pin-waits-for-writes",
                    test_pin_waits_for_writes);
    g_test_add_func("/errors/pin-waits-for-repair",
                    test_pin_waits_for_repair);
    g_test_add_func("/errors/abandon", test_abandon);
    g_test_add_func("/errors/timeout", test_timeout);
    g_test_add_func("/errors/busy-is-no-timeout", test_busy_is_no_timeout);
    g_test_add_func("/errors/timeout-can-be-off", test_timeout_can_be_off);
    return g_test_run();
}
