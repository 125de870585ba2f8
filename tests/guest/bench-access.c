/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benchmarks that touch pages: sweeps, random pages, a hot set beside a scan,
 * new memory. The first access to a page is timed: it is the one that can
 * fault.
 *
 *   seq-read     every word of every page, in order, verified
 *   seq-write    every word of every page, in order, written
 *   rand-read    a word of a random page, verified
 *   rand-rmw     a counter in a random page, incremented
 *   increments   the same without timing: the speed of plain memory
 *   hot-scan     16 counters in random pages of the first hot= MiB, then a
 *                word of the next page of the rest; one sweep over the hot
 *                pages goes ahead, so that they are in RAM
 *   page-out     pages behind the first hot= MiB, never touched before,
 *                written: one round is all there is
 *
 * Content is as in pages.c, version 1 after the fill. Word 0 of a page is the
 * counter: the check compares the sum of all with the number of increments.
 */
#include "bench.h"

#define HOT_PER_SCAN 16
#define BATCH 256 /* operations between two looks at the clock */

static volatile uint64_t *words_of(uint64_t page)
{
    return memory_page(page);
}

static uint64_t hot_count(const struct BenchCpu *b)
{
    uint64_t hot = params.hot * MIB_PAGES / cpu_count;

    if (hot == 0 || hot >= b->pages) {
        fatal("hot= has to be less than mib=");
    }
    return hot;
}

static void fill_pages(struct BenchCpu *b, uint64_t count)
{
    for (uint64_t k = 0; k < count; k++) {
        page_put(workload_page(b->cpu, k), 1);
    }
}

static void fill_all(struct BenchCpu *b)
{
    fill_pages(b, b->pages);
}

static void fill_hot(struct BenchCpu *b)
{
    b->cursor = hot_count(b);
    fill_pages(b, b->cursor);
}

static uint64_t next_in_sweep(struct BenchCpu *b, uint64_t first)
{
    uint64_t k = b->cursor < first ? first : b->cursor;

    b->cursor = k + 1 == b->pages ? 0 : k + 1;
    return workload_page(b->cpu, k);
}

static void increment(struct BenchCpu *b, uint64_t page, unsigned hist)
{
    uint64_t begin = bench_begin();

    words_of(page)[0]++;
    bench_end(b, hist, begin);
}

/* Word 0 is left out: it may be a counter. */
static void look(struct BenchCpu *b, uint64_t page, unsigned hist)
{
    unsigned word = 1 + (unsigned)bench_random(b, PAGE_WORDS - 1);
    uint64_t begin = bench_begin();
    uint64_t got = words_of(page)[word];

    bench_end(b, hist, begin);
    page_word_check(b->cpu, page, 1, word, got);
}

static uint64_t random_page(struct BenchCpu *b, uint64_t count)
{
    return workload_page(b->cpu, bench_random(b, count));
}

static void step_seq_read(struct BenchCpu *b)
{
    uint64_t page = next_in_sweep(b, 0);

    look(b, page, 0);
    page_words_check(b->cpu, page, 1, 0);
    b->ops++;
}

static void step_seq_write(struct BenchCpu *b)
{
    uint64_t sweeps = (b->total + b->ops) / b->pages;
    uint64_t page = next_in_sweep(b, 0);
    uint64_t begin = bench_begin();

    words_of(page)[0] = 0;
    bench_end(b, 0, begin);
    page_put(page, (uint32_t)sweeps + 2);
    b->ops++;
}

static void step_rand_read(struct BenchCpu *b)
{
    look(b, random_page(b, b->pages), 0);
    b->ops++;
}

static void step_rand_rmw(struct BenchCpu *b)
{
    increment(b, random_page(b, b->pages), 0);
    b->ops++;
}

static void step_increments(struct BenchCpu *b)
{
    for (unsigned i = 0; i < BATCH; i++) {
        words_of(random_page(b, b->pages))[0]++;
    }
    b->ops += BATCH;
}

static void warm_hot(struct BenchCpu *b)
{
    for (uint64_t k = 0; b->total == 0 && k < hot_count(b); k++) {
        (void)words_of(workload_page(b->cpu, k))[0];
    }
}

static void step_hot_scan(struct BenchCpu *b)
{
    uint64_t hot = hot_count(b);

    for (unsigned i = 0; i < HOT_PER_SCAN; i++) {
        increment(b, random_page(b, hot), 0);
    }
    look(b, next_in_sweep(b, hot), 1);
    b->ops += HOT_PER_SCAN;
}

static void step_page_out(struct BenchCpu *b)
{
    uint64_t page = next_in_sweep(b, hot_count(b));
    uint64_t begin = bench_begin();

    words_of(page)[0] = 0;
    bench_end(b, 0, begin);
    page_put(page, 1);
    b->ops++;
}

static void check_version(struct BenchCpu *b, uint32_t version)
{
    for (uint64_t k = 0; k < b->pages; k++) {
        page_words_check(b->cpu, workload_page(b->cpu, k), version, 0);
    }
}

static void check_first(struct BenchCpu *b)
{
    check_version(b, 1);
}

static void check_last(struct BenchCpu *b)
{
    check_version(b, (uint32_t)(b->total / b->pages + 1));
}

static void check_counters(struct BenchCpu *b)
{
    uint64_t sum = 0;

    for (uint64_t k = 0; k < b->pages; k++) {
        uint64_t page = workload_page(b->cpu, k);

        sum += words_of(page)[0] - page_word_want(page, 1, 0);
        page_words_check(b->cpu, page, 1, 1);
    }
    if (sum != b->total) {
        page_note_bad(b->cpu, &(struct BadPage){ .page = ~0ull,
                                                 .want = b->total,
                                                 .got = sum });
    }
}

const struct Bench bench_access[] = {
    { "seq-read", { "read" }, true, fill_all, NULL, step_seq_read,
      check_first },
    { "seq-write", { "write" }, true, fill_all, NULL, step_seq_write,
      check_last },
    { "rand-read", { "read" }, false, fill_all, NULL, step_rand_read,
      check_first },
    { "rand-rmw", { "write" }, false, fill_all, NULL, step_rand_rmw,
      check_counters },
    { "increments", { NULL }, false, fill_all, NULL, step_increments,
      check_counters },
    { "hot-scan", { "hot", "scan" }, false, fill_all, warm_hot,
      step_hot_scan, check_counters },
    { "page-out", { "write" }, true, fill_hot, NULL, step_page_out,
      check_first },
    { NULL },
};
