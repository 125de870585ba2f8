/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench=sort: a round sorts all of a processor's pages by the quicksort of
 * sort.c. Making the records and checking the order are not timed.
 */
#include "bench.h"

static void setup(struct BenchCpu *b)
{
    sort_put_keys(b->cpu, 0);
}

static void check(struct BenchCpu *b)
{
    if (!sort_is_right(b->cpu)) {
        page_note_bad(b->cpu, &(struct BadPage){ .page = ~0ull });
    }
}

static void prepare(struct BenchCpu *b)
{
    if (b->total != 0) {
        check(b);
        sort_put_keys(b->cpu, b->total);
    }
}

static void step(struct BenchCpu *b)
{
    sort_keys(b->cpu);
    b->ops += b->pages * PAGE_WORDS / params.record;
}

const struct Bench bench_sort[] = {
    { "sort", { NULL }, true, setup, prepare, step, check },
    { NULL },
};
