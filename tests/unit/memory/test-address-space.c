/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address spaces: who answers an access, in which pieces, and that lookups
 * stay right while the map changes under them.
 */
#include <errno.h>
#include <glib.h>
#include <stdatomic.h>
#include <string.h>

#include "memory/address-space.h"
#include "util/bits.h"
#include "util/thread.h"

#define MIB (UINT64_C(1) << 20)
#define CALLS_MAX 16u

/* A device of 64 bytes of memory that notes each call. */
typedef struct Recorder {
    uint8_t bytes[64];
    struct {
        bool write;
        uint64_t offset, value;
        unsigned size;
    } calls[CALLS_MAX];
    unsigned n;
} Recorder;

static uint64_t recorder_read(void *opaque, uint64_t offset, unsigned size)
{
    Recorder *r = opaque;
    uint64_t value = 0;

    g_assert_cmpuint(offset % size, ==, 0);
    g_assert_cmpuint(offset + size, <=, sizeof(r->bytes));
    memcpy(&value, r->bytes + offset, size);
    if (r->n < CALLS_MAX) {
        r->calls[r->n].write = false;
        r->calls[r->n].offset = offset;
        r->calls[r->n].value = value;
        r->calls[r->n++].size = size;
    }
    return value;
}

static void recorder_write(void *opaque, uint64_t offset, uint64_t value,
                           unsigned size)
{
    Recorder *r = opaque;

    g_assert_cmpuint(offset % size, ==, 0);
    g_assert_cmpuint(offset + size, <=, sizeof(r->bytes));
    g_assert_true(size == 8 || value < UINT64_C(1) << (size * 8));
    memcpy(r->bytes + offset, &value, size);
    if (r->n < CALLS_MAX) {
        r->calls[r->n].write = true;
        r->calls[r->n].offset = offset;
        r->calls[r->n].value = value;
        r->calls[r->n++].size = size;
    }
}

static const IoRegionOps any_ops = { recorder_read, recorder_write };
static const IoRegionOps dword_ops = { recorder_read, recorder_write, 4, 4 };
static const IoRegionOps word_ops = { recorder_read, recorder_write, 1, 2 };

static IoRegion region(const IoRegionOps *ops, Recorder *r, uint64_t bytes)
{
    return (IoRegion){ "recorder", ops, r, bytes, NULL };
}

static uint64_t read_n(AddressSpace *as, uint64_t addr, unsigned n)
{
    uint64_t value = 0;

    address_space_io_read(as, addr, &value, n);
    return value;
}

static void write_n(AddressSpace *as, uint64_t addr, uint64_t value,
                    unsigned n)
{
    address_space_io_write(as, addr, &value, n);
}

static void test_unowned(void)
{
    g_autoptr(AddressSpace) memory = address_space_new(AS_MEMORY);
    g_autoptr(AddressSpace) ports = address_space_new(AS_PORTS);

    for (unsigned n = 1; n <= 8; n++) {
        uint64_t ones = n == 8 ? UINT64_MAX : (UINT64_C(1) << n * 8) - 1;

        g_assert_cmphex(read_n(memory, 0, n), ==, ones);
        g_assert_cmphex(read_n(memory, UINT64_MAX, n), ==, ones);
        g_assert_cmphex(read_n(memory, UINT64_MAX - 3, n), ==, ones);
        g_assert_cmphex(read_n(ports, 0xffff, n), ==, ones);
        write_n(memory, UINT64_MAX, 0, n);
        write_n(ports, 0xffff, 0, n);
    }
}

static void test_overlap(void)
{
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    Recorder r = { 0 };
    IoRegion a = region(&any_ops, &r, 64), b = region(&any_ops, &r, 64);

    g_assert_cmpint(address_space_map_io(as, 0x1000, &a), ==, 0);
    g_assert_cmpint(address_space_map_io(as, 0x1000, &b), ==, -EEXIST);
    g_assert_cmpint(address_space_map_io(as, 0x103f, &b), ==, -EEXIST);
    g_assert_cmpint(address_space_map_io(as, 0xfc1, &b), ==, -EEXIST);
    g_assert_cmpint(address_space_map_io(as, 0x1040, &b), ==, 0);
    address_space_unmap_io(as, &b);
    address_space_unmap_io(as, &b);
    g_assert_cmpint(address_space_map_io(as, 0xfc0, &b), ==, 0);
    write_n(as, 0xfff, 0xab, 1);
    g_assert_cmphex(r.bytes[63], ==, 0xab);
    address_space_unmap_io(as, &a);
    g_assert_cmphex(read_n(as, 0x1000, 1), ==, 0xff);
    g_assert_cmphex(read_n(as, 0xfff, 1), ==, 0xab);
}

static void test_bad_ranges(void)
{
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    g_autoptr(AddressSpace) ports = address_space_new(AS_PORTS);
    g_autoptr(RamBlock) rb = ram_block_new("r", MIB, NULL);
    Recorder r = { 0 };
    IoRegion a = region(&any_ops, &r, 64), empty = region(&any_ops, &r, 0);

    g_assert_cmpint(address_space_map_io(as, 0, &empty), ==, -EINVAL);
    g_assert_cmpint(address_space_map_io(as, UINT64_MAX - 10, &a), ==,
                    -EINVAL);
    g_assert_cmpint(address_space_map_io(as, (UINT64_C(1) << 52) - 63, &a),
                    ==, -EINVAL);
    g_assert_cmpint(address_space_map_io(as, (UINT64_C(1) << 52) - 64, &a),
                    ==, 0);
    g_assert_cmpint(address_space_map_io(ports, 0xffc1, &a), ==, -EINVAL);
    g_assert_cmpint(address_space_map_io(ports, 0xffc0, &a), ==, 0);
    g_assert_cmpint(address_space_map_ram(as, 0, rb, 0, MIB + 4096), ==,
                    -EINVAL);
    g_assert_cmpint(address_space_map_ram(as, 0, rb, 4096, MIB), ==, -EINVAL);
    g_assert_cmpint(address_space_map_ram(as, 0, rb, UINT64_MAX - 4095, 8192),
                    ==, -EINVAL);
    g_assert_cmpint(address_space_map_ram(as, 1, rb, 0, 4096), ==, -EINVAL);
    g_assert_cmpint(address_space_map_ram(ports, 0, rb, 0, 4096), ==,
                    -EINVAL);
}

/* An access is cut into the widest aligned pieces that the device takes. */
static void test_split(void)
{
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    Recorder r = { 0 };
    IoRegion a = region(&word_ops, &r, 64);

    for (unsigned i = 0; i < 64; i++) {
        r.bytes[i] = (uint8_t)i;
    }
    g_assert_cmpint(address_space_map_io(as, 0x1000, &a), ==, 0);
    g_assert_cmphex(read_n(as, 0x1003, 8), ==, 0x0a09080706050403);
    g_assert_cmpuint(r.n, ==, 5);
    g_assert_cmpuint(r.calls[0].size, ==, 1);
    g_assert_cmpuint(r.calls[1].size, ==, 2);
    g_assert_cmpuint(r.calls[1].offset, ==, 4);
    g_assert_cmpuint(r.calls[4].size, ==, 1);
    r.n = 0;
    write_n(as, 0x1001, 0x112233, 3);
    g_assert_cmpuint(r.n, ==, 2);
    g_assert_cmphex(r.calls[0].value, ==, 0x33);
    g_assert_cmphex(r.calls[1].value, ==, 0x1122);
}

/* Ports are at most 4 bytes wide by default, memory 8. */
static void test_default_width(void)
{
    g_autoptr(AddressSpace) memory = address_space_new(AS_MEMORY);
    g_autoptr(AddressSpace) ports = address_space_new(AS_PORTS);
    Recorder r = { 0 };
    IoRegion a = region(&any_ops, &r, 64), b = region(&any_ops, &r, 64);

    address_space_map_io(memory, 0, &a);
    address_space_map_io(ports, 0, &b);
    (void)read_n(memory, 0, 8);
    g_assert_cmpuint(r.n, ==, 1);
    (void)read_n(ports, 0, 8);
    g_assert_cmpuint(r.n, ==, 3);
}

/* A device of 4-byte registers sees whole registers only; a narrow write
 * keeps the other bytes. */
static void test_widen(void)
{
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    Recorder r = { .bytes = { 0x10, 0x11, 0x12, 0x13, 0x14, 0x15 } };
    IoRegion a = region(&dword_ops, &r, 64);

    g_assert_cmpint(address_space_map_io(as, 0x1000, &a), ==, 0);
    g_assert_cmphex(read_n(as, 0x1001, 2), ==, 0x1211);
    g_assert_cmpuint(r.calls[0].size, ==, 4);
    g_assert_cmphex(read_n(as, 0x1003, 2), ==, 0x1413);
    g_assert_cmpuint(r.n, ==, 3);
    r.n = 0;
    write_n(as, 0x1002, 0xcdab, 2);
    g_assert_cmpuint(r.n, ==, 2);
    g_assert_false(r.calls[0].write);
    g_assert_true(r.calls[1].write);
    g_assert_cmphex(r.calls[1].value, ==, 0xcdab1110);
    r.n = 0;
    write_n(as, 0x1003, 0x77665544332211, 7); /* 1 + 4 + 2 */
    g_assert_cmphex(read_n(as, 0x1000, 8), ==, 0x5544332211ab1110);
}

/* From a device, over a hole, into another device; off the end of the ports;
 * from a device into RAM. */
static void test_crossing(void)
{
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    g_autoptr(AddressSpace) ports = address_space_new(AS_PORTS);
    g_autoptr(RamBlock) rb = ram_block_new("r", MIB, NULL);
    Recorder r = { 0 };
    IoRegion a = region(&any_ops, &r, 2), b = region(&any_ops, &r, 2);
    IoRegion c = region(&any_ops, &r, 2), d = region(&any_ops, &r, 4);
    unsigned long map[4] = { 0 };

    r.bytes[0] = 0x21;
    r.bytes[1] = 0x43;
    address_space_map_io(as, 0x1000, &a);
    address_space_map_io(as, 0x1004, &b);
    g_assert_cmphex(read_n(as, 0x1001, 5), ==, 0x4321ffff43);
    address_space_map_io(ports, 0xfffe, &c);
    g_assert_cmphex(read_n(ports, 0xfffe, 4), ==, 0xffff4321);
    address_space_map_ram(as, 0x2000, rb, 0, MIB);
    address_space_map_io(as, 0x1ffc, &d);
    g_assert_cmpint(ram_dirty_start(rb), ==, 0);
    write_n(as, 0x1ffe, 0x0807060504030201, 8);
    g_assert_cmphex(r.bytes[2], ==, 1);
    g_assert_cmphex(r.bytes[3], ==, 2);
    g_assert_cmphex(ram_block_hva(rb)[0], ==, 3);
    g_assert_cmphex(ram_block_hva(rb)[5], ==, 8);
    g_assert_cmphex(read_n(as, 0x1ffe, 8), ==, 0x0807060504030201);
    g_assert_cmpint(ram_dirty_sync(rb, map), ==, 0);
    g_assert_cmphex(map[0], ==, 1);
    ram_dirty_stop(rb);
}

static void count_ram(const RamMapping *m, void *opaque)
{
    GArray *all = opaque;

    g_array_append_val(all, *m);
}

static void test_ram(void)
{
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    g_autoptr(RamBlock) rb = ram_block_new("r", 4 * MIB, NULL);
    g_autoptr(RamBlock) other = ram_block_new("o", MIB, NULL);
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(RamMapping));
    Recorder r = { 0 };
    IoRegion hole = region(&any_ops, &r, 64);
    RamBlock *block;
    RamOffset offset;
    uint64_t len;

    address_space_map_ram(as, UINT64_C(1) << 32, rb, 3 * MIB, MIB);
    address_space_map_ram(as, 0, rb, 0, 2 * MIB);
    address_space_map_ram(as, 2 * MIB, rb, 2 * MIB, MIB);
    address_space_map_ram(as, 3 * MIB, other, 0, MIB);
    address_space_map_io(as, 4 * MIB, &hole);
    address_space_foreach_ram(as, count_ram, all);
    g_assert_cmpuint(all->len, ==, 4);
    g_assert_cmpuint(g_array_index(all, RamMapping, 0).gpa, ==, 0);
    g_assert_cmpuint(g_array_index(all, RamMapping, 3).gpa, ==,
                     UINT64_C(1) << 32);
    g_assert_cmpuint(g_array_index(all, RamMapping, 3).offset, ==, 3 * MIB);

    /* Two mappings that are neighbours in the block are one piece. */
    g_assert_true(address_space_find_ram(as, 0x1234, UINT64_MAX, &block,
                                         &offset, &len));
    g_assert_true(block == rb);
    g_assert_cmpuint(offset, ==, 0x1234);
    g_assert_cmpuint(len, ==, 3 * MIB - 0x1234);
    g_assert_true(
        address_space_find_ram(as, 3 * MIB, 7, &block, &offset, &len));
    g_assert_true(block == other);
    g_assert_cmpuint(len, ==, 7);
    g_assert_false(
        address_space_find_ram(as, 4 * MIB, 1, &block, &offset, &len));
    g_assert_false(
        address_space_find_ram(as, UINT64_MAX, 1, &block, &offset, &len));
    g_assert_true(address_space_find_ram(as, (UINT64_C(1) << 32) + MIB - 1, 8,
                                         &block, &offset, &len));
    g_assert_cmpuint(len, ==, 1);
}

/* More regions than the first table holds, in a shuffled order. */
static void test_many(void)
{
    enum { N = 1000 };
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    static IoRegion regions[N];
    static Recorder recorders[N];

    for (unsigned i = 0; i < N; i++) {
        unsigned k = i * 7 % N;

        recorders[k].bytes[0] = (uint8_t)k;
        recorders[k].bytes[1] = (uint8_t)(k >> 8);
        regions[k] = region(&any_ops, &recorders[k], 64);
        g_assert_cmpint(address_space_map_io(as, k * 128, &regions[k]), ==,
                        0);
    }
    for (unsigned k = 0; k < N; k++) {
        g_assert_cmphex(read_n(as, k * 128, 2), ==, k);
        g_assert_cmphex(read_n(as, k * 128 + 64, 1), ==, 0xff);
    }
    for (unsigned k = 0; k < N; k += 2) {
        address_space_unmap_io(as, &regions[k]);
    }
    for (unsigned k = 0; k < N; k++) {
        g_assert_cmphex(read_n(as, k * 128, 2), ==, k % 2 ? k : 0xffff);
    }
}

static void test_lock(void)
{
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    Recorder r = { 0 };
    VmMutex lock;
    IoRegion a = region(&any_ops, &r, 64);

    vm_mutex_init(&lock, VM_RANK_DEVICE);
    a.lock = &lock;
    address_space_map_io(as, 0, &a);
    write_n(as, 0, 5, 1);
    g_assert_cmphex(read_n(as, 0, 1), ==, 5);
    vm_mutex_lock(&lock); /* was released */
    vm_mutex_unlock(&lock);
    vm_mutex_done(&lock);
}

/*
 * Readers look up a region that never moves while others come and go on both
 * sides of it; a torn or stale lookup gives all ones or another's value.
 */
#define STRESS_ROUNDS 20000u

typedef struct Stress {
    AddressSpace *as;
    _Atomic bool stop;
    _Atomic uint64_t lookups;
} Stress;

static uint64_t constant_read(void *opaque, uint64_t offset, unsigned size)
{
    return GPOINTER_TO_UINT(opaque);
}

static void no_write(void *opaque, uint64_t offset, uint64_t value,
                     unsigned size)
{
}

static void stress_reader(void *arg)
{
    Stress *s = arg;
    uint64_t n = 0;

    while (!s->stop) {
        uint64_t moving;

        g_assert_cmphex(read_n(s->as, 0x8000, 4), ==, 0x1234);
        moving = read_n(s->as, 0x1000, 4);
        g_assert_true(moving == 0x77 || moving == 0xffffffff);
        n++;
    }
    s->lookups += n;
}

static void test_stress(void)
{
    static const IoRegionOps ops = { constant_read, no_write };
    g_autoptr(AddressSpace) as = address_space_new(AS_MEMORY);
    Stress s = { .as = as };
    VmThread *threads[2];
    IoRegion fixed = { "fixed", &ops, GUINT_TO_POINTER(0x1234), 64, NULL };
    IoRegion moving[100];

    g_assert_cmpint(address_space_map_io(as, 0x8000, &fixed), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(moving); i++) {
        moving[i] =
            (IoRegion){ "moving", &ops, GUINT_TO_POINTER(0x77), 64, NULL };
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = vm_thread_new("reader", stress_reader, &s);
    }
    for (unsigned i = 0; i < STRESS_ROUNDS; i++) {
        IoRegion *m = &moving[i * 31 % G_N_ELEMENTS(moving)];
        uint64_t at = (uint64_t)(m - moving) * 64 +
                      (i % 2 ? UINT64_C(0x9000) : UINT64_C(0x1000));

        address_space_unmap_io(as, m);
        g_assert_cmpint(address_space_map_io(as, at, m), ==, 0);
    }
    s.stop = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        vm_thread_join(threads[i]);
    }
    g_test_message("%" G_GUINT64_FORMAT " lookups", s.lookups);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/address-space/unowned", test_unowned);
    g_test_add_func("/address-space/overlap", test_overlap);
    g_test_add_func("/address-space/bad-ranges", test_bad_ranges);
    g_test_add_func("/address-space/split", test_split);
    g_test_add_func("/address-space/default-width", test_default_width);
    g_test_add_func("/address-space/widen", test_widen);
    g_test_add_func("/address-space/crossing", test_crossing);
    g_test_add_func("/address-space/ram", test_ram);
    g_test_add_func("/address-space/many", test_many);
    g_test_add_func("/address-space/lock", test_lock);
    g_test_add_func("/address-space/stress", test_stress);
    return g_test_run();
}
