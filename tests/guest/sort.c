/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pattern=sort and bench=sort: a quicksort in place over all of a processor's
 * pages: Hoare's partition, median of three, insertion sort for what is small.
 *
 * A record has record= words, the first of which is its key; the others are
 * made from it. Sum and exclusive-or of the keys before and after, their
 * order, and the other words show a lost or stale page.
 */
#include "guest.h"

#define SMALL 16
#define STACK_MAX 64 /* the larger part is put off: log2(records) are enough */

struct Sums {
    uint64_t sum, xor;
};
static struct Sums put_sums[MAX_CPUS];

static uint64_t record_count(void)
{
    return workload_own_pages() * PAGE_WORDS / params.record;
}

/* A record lies within a page. */
static uint64_t *record_at(const struct Cpu *cpu, uint64_t i)
{
    uint64_t word = i * params.record;
    uint64_t *words = memory_page(workload_page(cpu, word / PAGE_WORDS));

    return &words[word % PAGE_WORDS];
}

static uint64_t key_at(const struct Cpu *cpu, uint64_t i)
{
    return *record_at(cpu, i);
}

static uint64_t other_word(uint64_t key, uint64_t word)
{
    return key * 0x9e3779b97f4a7c15ull + word;
}

static void add_key(struct Sums *sums, uint64_t key)
{
    sums->sum += key;
    sums->xor ^= key;
}

void sort_put_keys(struct Cpu *cpu, uint64_t round)
{
    struct Sums sums = { 0 };

    cpu->random = (params.seed + round) * 0x9e3779b97f4a7c15ull +
                  cpu->index * 2 + 1;
    cpu->random |= 1;
    for (uint64_t i = 0; i < record_count(); i++) {
        uint64_t *record = record_at(cpu, i);
        uint64_t key = random_next(cpu);

        record[0] = key;
        for (uint64_t w = 1; w < params.record; w++) {
            record[w] = other_word(key, w);
        }
        add_key(&sums, key);
        if (i * params.record % PAGE_WORDS == 0) {
            workload_tick(cpu);
        }
    }
    put_sums[cpu->index] = sums;
}

bool sort_is_right(struct Cpu *cpu)
{
    struct Sums got = { 0 }, want = put_sums[cpu->index];
    uint64_t last = 0;
    bool ok = true;

    for (uint64_t i = 0; i < record_count(); i++) {
        const volatile uint64_t *record = record_at(cpu, i);
        uint64_t key = record[0];

        ok = ok && key >= last;
        last = key;
        for (uint64_t w = 1; w < params.record; w++) {
            ok = ok && record[w] == other_word(key, w);
        }
        add_key(&got, key);
        if (i * params.record % PAGE_WORDS == 0) {
            workload_tick(cpu);
        }
    }
    return ok && got.sum == want.sum && got.xor == want.xor;
}

static void copy_record(uint64_t *to, const uint64_t *from)
{
    for (uint64_t w = 0; w < params.record; w++) {
        to[w] = from[w];
    }
}

static void swap_records(uint64_t *a, uint64_t *b)
{
    for (uint64_t w = 0; w < params.record; w++) {
        uint64_t t = a[w];

        a[w] = b[w];
        b[w] = t;
    }
}

static void insertion_sort(struct Cpu *cpu, uint64_t low, uint64_t high)
{
    for (uint64_t i = low + 1; i < high; i++) {
        uint64_t record[RECORD_WORDS_MAX], j = i;

        copy_record(record, record_at(cpu, i));
        while (j > low && key_at(cpu, j - 1) > record[0]) {
            copy_record(record_at(cpu, j), record_at(cpu, j - 1));
            j--;
        }
        copy_record(record_at(cpu, j), record);
    }
}

static uint64_t median(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t low = a < b ? a : b, high = a < b ? b : a;

    return c < low ? low : c > high ? high : c;
}

/* Hoare's partition of [low, high); returns the first index of the upper
 * part, which is neither empty nor all. */
static uint64_t partition(struct Cpu *cpu, uint64_t low, uint64_t high)
{
    uint64_t pivot = median(key_at(cpu, low),
                            key_at(cpu, low + (high - low) / 2),
                            key_at(cpu, high - 1));
    uint64_t i = low, j = high - 1;

    for (;;) {
        while (key_at(cpu, i) < pivot) {
            i++;
        }
        while (key_at(cpu, j) > pivot) {
            j--;
        }
        if (i >= j) {
            return j + 1 == high ? j : j + 1;
        }
        swap_records(record_at(cpu, i), record_at(cpu, j));
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
    uint64_t low = 0, high = record_count();

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
