/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pattern=sort and bench=sort: a quicksort in place over all of a processor's
 * pages: Hoare's partition, median of three, insertion sort for what is small.
 *
 * Sum and exclusive-or of the keys before and after, and their order, show
 * a lost or stale page.
 */
#include "guest.h"

#define SMALL 16
#define STACK_MAX 64 /* the larger part is put off: log2(keys) are enough */

struct Sums {
    uint64_t sum, xor;
};
static struct Sums put_sums[MAX_CPUS];

static uint64_t key_count(void)
{
    return workload_own_pages() * PAGE_WORDS;
}

static uint64_t *key_at(const struct Cpu *cpu, uint64_t i)
{
    uint64_t *words = memory_page(workload_page(cpu, i / PAGE_WORDS));

    return &words[i % PAGE_WORDS];
}

void sort_put_keys(struct Cpu *cpu, uint64_t round)
{
    uint64_t keys = key_count();
    struct Sums sums = { 0 };

    cpu->random = (params.seed + round) * 0x9e3779b97f4a7c15ull +
                  cpu->index * 2 + 1;
    cpu->random |= 1;
    for (uint64_t i = 0; i < keys; i++) {
        uint64_t key = random_next(cpu);

        *key_at(cpu, i) = key;
        sums.sum += key;
        sums.xor ^= key;
        if (i % PAGE_WORDS == 0) {
            workload_tick(cpu);
        }
    }
    put_sums[cpu->index] = sums;
}

bool sort_is_right(struct Cpu *cpu)
{
    struct Sums got = { 0 }, want = put_sums[cpu->index];
    uint64_t keys = key_count(), last = 0;
    bool ok = true;

    for (uint64_t i = 0; i < keys; i++) {
        uint64_t key = *key_at(cpu, i);

        ok = ok && key >= last;
        last = key;
        got.sum += key;
        got.xor ^= key;
        if (i % PAGE_WORDS == 0) {
            workload_tick(cpu);
        }
    }
    return ok && got.sum == want.sum && got.xor == want.xor;
}

static void swap_keys(uint64_t *a, uint64_t *b)
{
    uint64_t t = *a;

    *a = *b;
    *b = t;
}

static void insertion_sort(struct Cpu *cpu, uint64_t low, uint64_t high)
{
    for (uint64_t i = low + 1; i < high; i++) {
        uint64_t key = *key_at(cpu, i), j = i;

        while (j > low && *key_at(cpu, j - 1) > key) {
            *key_at(cpu, j) = *key_at(cpu, j - 1);
            j--;
        }
        *key_at(cpu, j) = key;
    }
}

static uint64_t median(uint64_t a, uint64_t b, uint64_t c)
{
    if (a > b) {
        swap_keys(&a, &b);
    }
    return c < a ? a : c > b ? b : c;
}

/* Hoare's partition of [low, high); returns the first index of the upper
 * part, which is neither empty nor all. */
static uint64_t partition(struct Cpu *cpu, uint64_t low, uint64_t high)
{
    uint64_t pivot = median(*key_at(cpu, low),
                            *key_at(cpu, low + (high - low) / 2),
                            *key_at(cpu, high - 1));
    uint64_t i = low, j = high - 1;

    for (;;) {
        while (*key_at(cpu, i) < pivot) {
            i++;
        }
        while (*key_at(cpu, j) > pivot) {
            j--;
        }
        if (i >= j) {
            return j + 1 == high ? j : j + 1;
        }
        swap_keys(key_at(cpu, i), key_at(cpu, j));
        i++;
        j--;
        if ((i & 0xfff) == 0) {
            workload_tick(cpu);
        }
    }
}

void sort_keys(struct Cpu *cpu)
{
    struct {
        uint64_t low, high;
    } stack[STACK_MAX];
    unsigned depth = 0;
    uint64_t low = 0, high = key_count();

    for (;;) {
        while (high - low > SMALL) {
            uint64_t middle = partition(cpu, low, high);

            if (middle - low > high - middle) {
                stack[depth].low = low;
                stack[depth++].high = middle;
                low = middle;
            } else {
                stack[depth].low = middle;
                stack[depth++].high = high;
                high = middle;
            }
        }
        insertion_sort(cpu, low, high);
        workload_tick(cpu);
        if (depth == 0) {
            return;
        }
        low = stack[--depth].low;
        high = stack[depth].high;
    }
}

bool sort_round(struct Cpu *cpu, uint64_t round, uint64_t *ret_tsc)
{
    uint64_t start;

    sort_put_keys(cpu, round);
    start = rdtsc();
    sort_keys(cpu);
    *ret_tsc = rdtsc() - start;
    return sort_is_right(cpu);
}
