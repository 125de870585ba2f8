/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util/bits.c: every run against a bit-by-bit model, and the edges of words.
 */
#include "util/bits.h"
#include "util/thread.h"

#include <glib.h>
#include <string.h>

#define BITS 200

typedef struct Fixture {
    unsigned long map[VM_BITMAP_LONGS(BITS)];
    bool model[BITS];
} Fixture;

static void check_equal(const Fixture *f)
{
    for (size_t i = 0; i < BITS; i++) {
        g_assert_cmpint(vm_bit_test(f->map, i), ==, f->model[i]);
    }
    /* Nothing behind the last bit was touched. */
    g_assert_cmphex(f->map[BITS / 64] >> (BITS % 64), ==, 0);
}

static void model_fill(Fixture *f, size_t first, size_t count, bool value)
{
    for (size_t i = first; i < first + count; i++) {
        f->model[i] = value;
    }
}

static size_t model_next(const Fixture *f, size_t first, size_t end, bool value)
{
    while (first < end && f->model[first] != value) {
        first++;
    }
    return MIN(first, end);
}

static size_t model_count(const Fixture *f, size_t first, size_t count)
{
    size_t n = 0;

    for (size_t i = first; i < first + count; i++) {
        n += f->model[i];
    }
    return n;
}

/* Random runs: set, clear, atomic set; then count and search a random part. */
static void test_against_model(void)
{
    Fixture f = { { 0 } };

    for (int round = 0; round < 20000; round++) {
        size_t first = (size_t)g_test_rand_int_range(0, BITS);
        size_t count =
            (size_t)g_test_rand_int_range(0, (gint32)(BITS - first) + 1);
        size_t end = first + count;

        switch (g_test_rand_int_range(0, 3)) {
        case 0:
            vm_bitmap_set(f.map, first, count);
            model_fill(&f, first, count, true);
            break;
        case 1:
            vm_bitmap_clear(f.map, first, count);
            model_fill(&f, first, count, false);
            break;
        default:
            vm_bitmap_set_atomic(f.map, first, count);
            model_fill(&f, first, count, true);
            break;
        }
        check_equal(&f);
        first = (size_t)g_test_rand_int_range(0, BITS);
        end = (size_t)g_test_rand_int_range((gint32)first, BITS + 1);
        g_assert_cmpuint(vm_bitmap_count(f.map, first, end - first), ==,
                         model_count(&f, first, end - first));
        g_assert_cmpuint(vm_bitmap_next_set(f.map, first, end), ==,
                         model_next(&f, first, end, true));
        g_assert_cmpuint(vm_bitmap_next_clear(f.map, first, end), ==,
                         model_next(&f, first, end, false));
    }
}

static void test_empty_runs(void)
{
    unsigned long map[1] = { 0 };

    vm_bitmap_set(map, 0, 0);
    vm_bitmap_set(map, 64, 0); /* may not read map[1] */
    vm_bitmap_clear(map, 64, 0);
    vm_bitmap_set_atomic(map, 64, 0);
    g_assert_cmphex(map[0], ==, 0);
    g_assert_cmpuint(vm_bitmap_count(map, 64, 0), ==, 0);
    g_assert_cmpuint(vm_bitmap_next_set(map, 64, 64), ==, 64);
    g_assert_cmpuint(vm_bitmap_next_set(map, 0, 64), ==, 64);
}

static void test_new_is_zero(void)
{
    g_autofree unsigned long *map = vm_bitmap_new(65);

    g_assert_cmphex(map[0] | map[1], ==, 0);
    vm_bit_set(map, 64);
    g_assert_cmphex(map[1], ==, 1);
    vm_bit_clear(map, 64);
    g_assert_cmphex(map[1], ==, 0);
}

#define RACE_ROUNDS 20000

typedef struct Race {
    unsigned long map[1];
    unsigned data[64]; /* data[i] is written before bit i is set */
    int done;
} Race;

static void race_setter(void *opaque)
{
    Race *race = opaque;

    for (unsigned n = 1; n <= RACE_ROUNDS; n++) {
        size_t bit = n % 64;

        while (__atomic_load_n(&race->map[0], __ATOMIC_ACQUIRE) >> bit & 1) {
            sched_yield();
        }
        race->data[bit] = n;
        vm_bitmap_set_atomic(race->map, bit, 1);
    }
    __atomic_store_n(&race->done, 1, __ATOMIC_RELEASE);
}

/* No set is lost, and each taken bit brings its data with it. */
static void test_take_race(void)
{
    Race race = { { 0 } };
    VmThread *setter = vm_thread_new("setter", race_setter, &race);
    unsigned long word = 0;
    unsigned taken = 0;
    bool done;

    do {
        done = __atomic_load_n(&race.done, __ATOMIC_ACQUIRE);
        word = vm_bitmap_take_word(race.map, 0);
        for (unsigned bit = 0; bit < 64; bit++) {
            if (word >> bit & 1) {
                g_assert_cmpuint(race.data[bit] % 64, ==, bit);
                taken++;
            }
        }
        if (!word) {
            sched_yield();
        }
    } while (!done || word);
    vm_thread_join(setter);
    g_assert_cmpuint(taken, ==, RACE_ROUNDS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/util/bits/against-model", test_against_model);
    g_test_add_func("/util/bits/empty-runs", test_empty_runs);
    g_test_add_func("/util/bits/new-is-zero", test_new_is_zero);
    g_test_add_func("/util/bits/take-race", test_take_race);
    return g_test_run();
}
