/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RAM blocks: what is promised about the mapping, pins, and that no write is
 * ever lost between a mark and a sync.
 */
#include <errno.h>
#include <glib.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory/ram.h"
#include "util/bits.h"
#include "util/thread.h"

#define MIB (UINT64_C(1) << 20)

static RamBlock *block_new(uint64_t bytes)
{
    GError *error = NULL;
    RamBlock *rb = ram_block_new("test", bytes, &error);

    g_assert_no_error(error);
    return rb;
}

static void test_new(void)
{
    g_autoptr(RamBlock) rb = block_new(3 * MIB + RAM_PAGE_BYTES);

    g_assert_cmpstr(ram_block_id(rb), ==, "test");
    g_assert_cmpuint(ram_block_bytes(rb), ==, 3 * MIB + RAM_PAGE_BYTES);
    g_assert_cmpuint(ram_block_pages(rb), ==, 769);
    g_assert_cmpuint((uintptr_t)ram_block_hva(rb) % (2 * MIB), ==, 0);
    g_assert_cmpuint(ram_block_hva(rb)[ram_block_bytes(rb) - 1], ==, 0);
    ram_block_hva(rb)[ram_block_bytes(rb) - 1] = 1;
}

static void test_bad_sizes(void)
{
    static const uint64_t sizes[] = { 0, 1, RAM_PAGE_BYTES - 1,
                                      RAM_PAGE_BYTES + 1, UINT64_MAX,
                                      UINT64_MAX - RAM_PAGE_BYTES + 1,
                                      UINT64_C(1) << 62 };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(ram_block_new("test", sizes[i], &error));
        g_assert_nonnull(error);
    }
}

/* A child of fork() does not have the block (else its pages were shared and
 * could not be moved). */
static void test_not_inherited(void)
{
    g_autoptr(RamBlock) rb = block_new(MIB);
    int fds[2], status;
    pid_t child;

    ram_block_hva(rb)[0] = 1;
    g_assert_cmpint(pipe(fds), ==, 0);
    child = fork();
    if (child == 0) {
        /* write() from unmapped memory fails; touching it would kill. */
        _exit(write(fds[1], ram_block_hva(rb), 1) < 0 && errno == EFAULT
                  ? 0
                  : 1);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
    close(fds[0]);
    close(fds[1]);
}

typedef struct FakePager {
    unsigned pins, unpins, discards;
    RamOffset offset;
    size_t len;
    int result;
} FakePager;

static int fake_pin(void *opaque, RamOffset offset, size_t len)
{
    FakePager *p = opaque;

    p->pins++;
    p->offset = offset;
    p->len = len;
    return p->result;
}

static void fake_unpin(void *opaque, RamOffset offset, size_t len)
{
    FakePager *p = opaque;

    p->unpins++;
    p->offset = offset;
    p->len = len;
}

static void fake_discard(void *opaque, const RamRange *ranges,
                         unsigned count)
{
    FakePager *p = opaque;

    p->discards += count;
    p->offset = ranges[count - 1].offset;
    p->len = ranges[count - 1].len;
}

static const RamPagerOps fake_ops = { fake_pin, fake_unpin, fake_discard };

static void test_pins(void)
{
    g_autoptr(RamBlock) rb = block_new(MIB);
    FakePager pager = { 0 };

    g_assert_false(ram_block_is_paged(rb));
    g_assert_cmpint(ram_pin(rb, 0, MIB), ==, 0);
    ram_unpin(rb, 0, MIB);
    ram_block_set_pager(rb, &fake_ops, &pager);
    g_assert_true(ram_block_is_paged(rb));
    g_assert_cmpint(ram_pin(rb, 5, 17), ==, 0);
    g_assert_cmpuint(pager.offset, ==, 5);
    g_assert_cmpuint(pager.len, ==, 17);
    ram_unpin(rb, 5, 17);
    g_assert_cmpuint(pager.unpins, ==, 1);
    g_assert_cmpint(ram_pin(rb, MIB, 0), ==, 0);
    g_assert_cmpuint(pager.pins, ==, 1);
    pager.result = -EIO;
    g_assert_cmpint(ram_pin(rb, 0, 1), ==, -EIO);
    ram_block_set_pager(rb, NULL, NULL);
    g_assert_cmpint(ram_pin(rb, 0, 1), ==, 0);
}

typedef struct FakeLog {
    unsigned long *pages;
    bool on;
    int result;
} FakeLog;

static int fake_start(void *opaque)
{
    FakeLog *log = opaque;

    log->on = log->result == 0;
    return log->result;
}

static int fake_sync(void *opaque, unsigned long *map)
{
    FakeLog *log = opaque;

    g_assert_true(log->on);
    map[0] |= log->pages[0];
    log->pages[0] = 0;
    return log->result;
}

static void fake_stop(void *opaque)
{
    ((FakeLog *)opaque)->on = false;
}

static const RamDirtyLogOps fake_log_ops = { fake_start, fake_sync,
                                             fake_stop };

/* Guest writes from the log and our own marks arrive in one map, once. */
static void test_dirty(void)
{
    g_autoptr(RamBlock) rb = block_new(MIB);
    unsigned long pages = 1ul << 63;
    FakeLog log = { .pages = &pages };
    unsigned long map[4] = { 0 };

    ram_block_set_dirty_log(rb, &fake_log_ops, &log);
    ram_mark_dirty(rb, 0, MIB); /* before start: the first pass sends it */
    g_assert_cmpint(ram_dirty_start(rb), ==, 0);
    g_assert_cmpint(ram_dirty_start(rb), ==, -EBUSY);
    ram_mark_dirty(rb, RAM_PAGE_BYTES - 1, 2);
    ram_mark_dirty(rb, MIB - 1, 1);
    ram_mark_dirty(rb, MIB, 0);
    map[1] = 4; /* ORed into */
    g_assert_cmpint(ram_dirty_sync(rb, map), ==, 0);
    g_assert_cmphex(map[0], ==, 3 | 1ul << 63);
    g_assert_cmphex(map[1], ==, 4);
    g_assert_cmphex(map[3], ==, 1ul << 63);
    memset(map, 0, sizeof(map));
    g_assert_cmpint(ram_dirty_sync(rb, map), ==, 0);
    g_assert_cmphex(map[0] | map[1] | map[2] | map[3], ==, 0);
    log.result = -EIO;
    g_assert_cmpint(ram_dirty_sync(rb, map), ==, -EIO);
    ram_dirty_stop(rb);
    g_assert_false(log.on);
    ram_dirty_stop(rb);
    g_assert_cmpint(ram_dirty_start(rb), ==, -EIO);
    log.result = 0;
    g_assert_cmpint(ram_dirty_start(rb), ==, 0);
    ram_dirty_stop(rb);
}

static uint64_t resident_pages(RamBlock *rb)
{
    unsigned char map[256];
    uint64_t n = 0;

    g_assert_cmpuint(ram_block_pages(rb), <=, sizeof(map));
    g_assert_cmpint(mincore(ram_block_hva(rb), ram_block_bytes(rb), map), ==,
                    0);
    for (uint64_t i = 0; i < ram_block_pages(rb); i++) {
        n += map[i] & 1;
    }
    return n;
}

/* Zero, without memory, and told to migration; the other pages stay. */
static void discard_some(RamBlock *rb)
{
    const RamRange ranges[] = {
        { 8 * RAM_PAGE_BYTES, 100 * RAM_PAGE_BYTES },
        { 100 * RAM_PAGE_BYTES, 20 * RAM_PAGE_BYTES }, /* overlaps */
        { MIB, 0 },
        { MIB - RAM_PAGE_BYTES, RAM_PAGE_BYTES },
    };
    unsigned long map[4] = { 0 };

    memset(ram_block_hva(rb), 0x5a, MIB);
    g_assert_cmpint(ram_dirty_start(rb), ==, 0);
    ram_discard(rb, ranges, G_N_ELEMENTS(ranges));
    g_assert_cmpint(ram_dirty_sync(rb, map), ==, 0);
    ram_dirty_stop(rb);
    for (unsigned i = 0; i < 256; i++) {
        bool gone = (i >= 8 && i < 120) || i == 255;

        g_assert_cmpuint(vm_bit_test(map, i), ==, gone);
        g_assert_cmpuint(ram_block_hva(rb)[i * RAM_PAGE_BYTES], ==,
                         gone ? 0 : 0x5a);
    }
}

static void test_discard(void)
{
    g_autoptr(RamBlock) rb = block_new(MIB);
    const RamRange most = { RAM_PAGE_BYTES, MIB - RAM_PAGE_BYTES };

    discard_some(rb);
    ram_discard(rb, &most, 1);
    g_assert_cmpuint(resident_pages(rb), ==, 1);
    if (mlock(ram_block_hva(rb), MIB) < 0) {
        g_test_message("no locked memory here");
        return;
    }
    discard_some(rb); /* it cannot leave, but is cleared */
    g_assert_cmpuint(resident_pages(rb), ==, 256);
}

static void test_discard_paged(void)
{
    g_autoptr(RamBlock) rb = block_new(MIB);
    const RamRange ranges[] = { { 0, RAM_PAGE_BYTES },
                                { RAM_PAGE_BYTES, 2 * RAM_PAGE_BYTES } };
    FakePager pager = { 0 };
    unsigned long map[4] = { 0 };

    ram_block_set_pager(rb, &fake_ops, &pager);
    ram_block_hva(rb)[0] = 1;
    g_assert_cmpint(ram_dirty_start(rb), ==, 0);
    ram_discard(rb, ranges, 2);
    g_assert_cmpuint(pager.discards, ==, 2);
    g_assert_cmpuint(pager.len, ==, 2 * RAM_PAGE_BYTES);
    g_assert_cmpuint(ram_block_hva(rb)[0], ==, 1); /* the pager's affair */
    g_assert_cmpint(ram_dirty_sync(rb, map), ==, 0);
    g_assert_cmphex(map[0], ==, 7);
    ram_dirty_stop(rb);
}

/*
 * Writers store a growing value in each page and mark it; the collector
 * copies each page that a sync reports. At the end its copy must be the
 * memory: a mark that a sync takes before the bytes are visible, or loses,
 * leaves an old value behind for good.
 */
#define RACE_PAGES 128u
#define RACE_ROUNDS 20000u
#define RACE_WRITERS 2u

typedef struct Race {
    RamBlock *rb;
    _Atomic unsigned running;
} Race;

typedef struct Writer {
    Race *race;
    unsigned index;
} Writer;

static _Atomic uint32_t *race_word(RamBlock *rb, unsigned page, unsigned i)
{
    return (_Atomic uint32_t *)(void *)(ram_block_hva(rb) +
                                        page * RAM_PAGE_BYTES + i * 4);
}

static void race_writer(void *arg)
{
    Writer *w = arg;
    unsigned page = w->index * 37;

    for (uint32_t n = 1; n <= RACE_ROUNDS; n++) {
        page = (page * 5 + 1) % RACE_PAGES;
        atomic_store_explicit(race_word(w->race->rb, page, w->index), n,
                              memory_order_relaxed);
        ram_mark_dirty(w->race->rb, page * RAM_PAGE_BYTES, 4);
    }
    w->race->running--;
}

static void race_collect(RamBlock *rb, uint32_t copy[][RACE_WRITERS])
{
    unsigned long map[RACE_PAGES / 64] = { 0 };

    g_assert_cmpint(ram_dirty_sync(rb, map), ==, 0);
    for (unsigned p = 0; p < RACE_PAGES; p++) {
        for (unsigned i = 0; vm_bit_test(map, p) && i < RACE_WRITERS; i++) {
            copy[p][i] = atomic_load_explicit(race_word(rb, p, i),
                                              memory_order_relaxed);
        }
    }
}

static void test_dirty_race(void)
{
    g_autoptr(RamBlock) rb = block_new(RACE_PAGES * RAM_PAGE_BYTES);
    Race race = { .rb = rb, .running = RACE_WRITERS };
    Writer writers[RACE_WRITERS];
    VmThread *threads[RACE_WRITERS];
    static uint32_t copy[RACE_PAGES][RACE_WRITERS];

    g_assert_cmpint(ram_dirty_start(rb), ==, 0);
    for (unsigned i = 0; i < RACE_WRITERS; i++) {
        writers[i] = (Writer){ &race, i };
        threads[i] = vm_thread_new("writer", race_writer, &writers[i]);
    }
    while (race.running > 0) {
        race_collect(rb, copy);
    }
    for (unsigned i = 0; i < RACE_WRITERS; i++) {
        vm_thread_join(threads[i]);
    }
    race_collect(rb, copy);
    for (unsigned p = 0; p < RACE_PAGES; p++) {
        for (unsigned i = 0; i < RACE_WRITERS; i++) {
            g_assert_cmpuint(copy[p][i], ==, *race_word(rb, p, i));
        }
    }
    ram_dirty_stop(rb);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ram/new", test_new);
    g_test_add_func("/ram/bad-sizes", test_bad_sizes);
    g_test_add_func("/ram/not-inherited", test_not_inherited);
    g_test_add_func("/ram/pins", test_pins);
    g_test_add_func("/ram/discard", test_discard);
    g_test_add_func("/ram/discard-paged", test_discard_paged);
    g_test_add_func("/ram/dirty", test_dirty);
    g_test_add_func("/ram/dirty-race", test_dirty_race);
    return g_test_run();
}
