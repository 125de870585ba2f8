/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA: hostile ranges, pins that balance, marks at the right moment.
 *
 * A fake pager counts pins by page and can lose a page's content; it checks
 * that a page is marked dirty before it is unpinned.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "memory/dma.h"
#include "util/bits.h"

#define KIB UINT64_C(1024)
#define PAGES 64u
#define HIGH_GPA (UINT64_C(1) << 32)

typedef struct FakePager {
    RamBlock *rb;
    unsigned pins[PAGES];
    unsigned total;
    PageNo lost; /* unreadable page; PAGES: none */
} FakePager;

static void each_page(FakePager *p, RamOffset offset, size_t len, int by)
{
    for (PageNo n = offset >> 12; n <= (offset + len - 1) >> 12; n++) {
        g_assert_true(by > 0 || p->pins[n] > 0);
        p->pins[n] += (unsigned)by;
    }
}

static int fake_pin(void *opaque, RamOffset offset, size_t len)
{
    FakePager *p = opaque;

    if (p->lost >= offset >> 12 && p->lost <= (offset + len - 1) >> 12) {
        return -EIO;
    }
    p->total++;
    each_page(p, offset, len, 1);
    return 0;
}

static void fake_unpin(void *opaque, RamOffset offset, size_t len)
{
    each_page(opaque, offset, len, -1);
}

typedef struct Fixture {
    AddressSpace *as;
    RamBlock *rb;
    FakePager pager;
} Fixture;

/* 128 KiB at 0, a hole, 64 KiB at 4 GiB, and right behind it 64 KiB more
 * that are elsewhere in the block. */
static void setup(Fixture *f, gconstpointer data)
{
    static const RamPagerOps ops = { fake_pin, fake_unpin };

    f->as = address_space_new(AS_MEMORY);
    f->rb = ram_block_new("r", PAGES * RAM_PAGE_BYTES, NULL);
    f->pager.rb = f->rb;
    f->pager.lost = PAGES;
    ram_block_set_pager(f->rb, &ops, &f->pager);
    address_space_map_ram(f->as, 0, f->rb, 0, 128 * KIB);
    address_space_map_ram(f->as, HIGH_GPA, f->rb, 192 * KIB, 64 * KIB);
    address_space_map_ram(f->as, HIGH_GPA + 64 * KIB, f->rb, 128 * KIB,
                          64 * KIB);
    g_assert_cmpint(ram_dirty_start(f->rb), ==, 0);
}

static void teardown(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < PAGES; i++) {
        g_assert_cmpuint(f->pager.pins[i], ==, 0);
    }
    ram_dirty_stop(f->rb);
    address_space_free(f->as);
    ram_block_free(f->rb);
}

static unsigned dirty_count(Fixture *f)
{
    unsigned long map[1] = { 0 };

    g_assert_cmpint(ram_dirty_sync(f->rb, map), ==, 0);
    return (unsigned)vm_bitmap_count(map, 0, PAGES);
}

static void test_copy(Fixture *f, gconstpointer data)
{
    uint8_t in[10000], out[10000] = { 0 };

    for (unsigned i = 0; i < sizeof(in); i++) {
        in[i] = (uint8_t)(i * 13);
    }
    g_assert_cmpint(dma_write(f->as, 100, in, sizeof(in)), ==, 0);
    g_assert_cmpint(dma_read(f->as, 100, out, sizeof(out)), ==, 0);
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    g_assert_cmpuint(dirty_count(f), ==, 3);
    /* Over the seam of two pieces of the block. */
    memset(out, 0, sizeof(out));
    g_assert_cmpint(
        dma_write(f->as, HIGH_GPA + 64 * KIB - 5000, in, sizeof(in)), ==, 0);
    g_assert_cmpint(
        dma_read(f->as, HIGH_GPA + 64 * KIB - 5000, out, sizeof(out)), ==, 0);
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    g_assert_cmpmem(ram_block_hva(f->rb) + 256 * KIB - 5000, 5000, in, 5000);
    g_assert_cmpmem(ram_block_hva(f->rb) + 128 * KIB, 5000, in + 5000, 5000);
}

/* Addresses and lengths that a guest could write into a ring. */
static void test_hostile(Fixture *f, gconstpointer data)
{
    static const struct {
        GuestAddr gpa;
        size_t len;
    } bad[] = {
        { UINT64_MAX, 1 },
        { UINT64_MAX - 3, 8 },
        { UINT64_MAX, SIZE_MAX },
        { 0, SIZE_MAX },
        { 1, SIZE_MAX },
        { 128 * KIB, 1 },
        { 128 * KIB - 1, 2 },
        { 0, 128 * KIB + 1 },
        { HIGH_GPA - 1, 2 },
        { HIGH_GPA + 128 * KIB - 1, 2 },
        { UINT64_C(1) << 52, 1 },
    };
    uint8_t byte = 1;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        DmaMapping m;

        g_assert_cmpint(
            dma_map(f->as, bad[i].gpa, bad[i].len, DMA_FROM_DEVICE, &m), ==,
            -EFAULT);
        g_assert_cmpint(dma_read(f->as, bad[i].gpa, &byte, bad[i].len), ==,
                        -EFAULT);
        g_assert_cmpint(dma_write(f->as, bad[i].gpa, &byte, bad[i].len), ==,
                        -EFAULT);
    }
    g_assert_cmpuint(f->pager.total, ==, 0);
    g_assert_cmpuint(dirty_count(f), ==, 0);
}

static void test_map(Fixture *f, gconstpointer data)
{
    DmaMapping m;

    g_assert_cmpint(dma_map(f->as, 5, 0, DMA_FROM_DEVICE, &m), ==, 0);
    g_assert_cmpint(m.iovcnt, ==, 0);
    dma_unmap(&m, 0);

    g_assert_cmpint(dma_map(f->as, HIGH_GPA + 60 * KIB, 8 * KIB,
                            DMA_FROM_DEVICE, &m),
                    ==, 0);
    g_assert_cmpint(m.iovcnt, ==, 2);
    g_assert_true(m.iov[0].iov_base == ram_block_hva(f->rb) + 252 * KIB);
    g_assert_cmpuint(m.iov[0].iov_len, ==, 4 * KIB);
    g_assert_true(m.iov[1].iov_base == ram_block_hva(f->rb) + 128 * KIB);
    g_assert_cmpuint(m.iov[1].iov_len, ==, 4 * KIB);
    g_assert_cmpuint(f->pager.pins[63], ==, 1);
    g_assert_cmpuint(f->pager.pins[32], ==, 1);
    g_assert_cmpuint(dirty_count(f), ==, 0);
    dma_unmap(&m, 4 * KIB + 1);
    g_assert_cmpuint(dirty_count(f), ==, 2);

    g_assert_cmpint(dma_map(f->as, 0, 8 * KIB, DMA_FROM_DEVICE, &m), ==, 0);
    dma_unmap(&m, 1);
    g_assert_cmpuint(dirty_count(f), ==, 1);
    g_assert_cmpint(dma_map(f->as, 0, 8 * KIB, DMA_TO_DEVICE, &m), ==, 0);
    dma_unmap(&m, 8 * KIB);
    g_assert_cmpuint(dirty_count(f), ==, 0);
}

/* Content that is lost fails the whole mapping and leaves no pin behind. */
static void test_lost(Fixture *f, gconstpointer data)
{
    uint8_t buf[8192];
    uint32_t value;
    DmaMapping m;

    f->pager.lost = 32;
    g_assert_cmpint(dma_map(f->as, HIGH_GPA + 60 * KIB, 8 * KIB,
                            DMA_TO_DEVICE, &m),
                    ==, -EIO);
    g_assert_cmpuint(f->pager.total, ==, 1);
    g_assert_cmpint(dma_read(f->as, HIGH_GPA + 60 * KIB, buf, sizeof(buf)),
                    ==, -EIO);
    g_assert_cmpint(dma_write(f->as, HIGH_GPA + 64 * KIB, buf, 1), ==, -EIO);
    g_assert_cmpint(dma_load_u32(f->as, HIGH_GPA + 64 * KIB, &value), ==,
                    -EIO);
    g_assert_cmpint(dma_store_u16(f->as, HIGH_GPA + 64 * KIB, 1), ==, -EIO);
}

static void test_fields(Fixture *f, gconstpointer data)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    memcpy(ram_block_hva(f->rb) + 8, "\1\2\3\4\5\6\7\10", 8);
    g_assert_cmpint(dma_load_u16(f->as, 8, &u16), ==, 0);
    g_assert_cmphex(u16, ==, 0x0201);
    g_assert_cmpint(dma_load_u32(f->as, 8, &u32), ==, 0);
    g_assert_cmphex(u32, ==, 0x04030201);
    g_assert_cmpint(dma_load_u64(f->as, 8, &u64), ==, 0);
    g_assert_cmphex(u64, ==, 0x0807060504030201);
    g_assert_cmpuint(dirty_count(f), ==, 0);
    g_assert_cmpint(dma_store_u16(f->as, 10, 0xabcd), ==, 0);
    g_assert_cmpint(dma_store_u32(f->as, 0x1004, 0x12345678), ==, 0);
    g_assert_cmpuint(ram_block_hva(f->rb)[10], ==, 0xcd);
    g_assert_cmpuint(ram_block_hva(f->rb)[0x1007], ==, 0x12);
    g_assert_cmpuint(dirty_count(f), ==, 2);
    g_assert_cmpint(dma_load_u16(f->as, 1, &u16), ==, -EFAULT);
    g_assert_cmpint(dma_load_u64(f->as, 4, &u64), ==, -EFAULT);
    g_assert_cmpint(dma_store_u32(f->as, UINT64_MAX - 3, 0), ==, -EFAULT);
    g_assert_cmpint(dma_load_u16(f->as, 128 * KIB, &u16), ==, -EFAULT);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add(name, Fixture, NULL, setup, fn, teardown)
    ADD("/dma/copy", test_copy);
    ADD("/dma/hostile", test_hostile);
    ADD("/dma/map", test_map);
    ADD("/dma/lost", test_lost);
    ADD("/dma/fields", test_fields);
    return g_test_run();
}
