/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benchmarks of the test guest: what one is.
 *
 * A benchmark is run in rounds: bench.c fills the memory, lets the host set
 * its limits, then repeats step() until a round is over, and reports each
 * round and in the end the times of single accesses.
 */
#ifndef GUEST_BENCH_H
#define GUEST_BENCH_H

#include "guest.h"
#include "hist.h"

#define BENCH_HISTS 2

/* One processor's part. Processor 0 reads it between barriers. */
struct BenchCpu {
    struct Cpu *cpu;
    uint64_t pages;   /* of this processor, by workload_page() */
    uint64_t cursor;  /* of sweeps; 0 at the end of one */
    uint64_t end_tsc; /* of this round, at the earliest */
    uint64_t ops;     /* of this round */
    uint64_t total;   /* of all rounds before, for the check */
    struct Hist hist[BENCH_HISTS];
};

struct Bench {
    const char *name;
    const char *hists[BENCH_HISTS]; /* what is timed; NULL: nothing */
    /* A round is over after round= ms, if by_sweep only when the cursor is
     * 0, too. */
    bool by_sweep;
    void (*setup)(struct BenchCpu *b); /* fills the memory */
    /* Before each round, not timed; NULL: nothing. */
    void (*prepare)(struct BenchCpu *b);
    void (*step)(struct BenchCpu *b);  /* some operations, tens of us */
    /* Looks at everything; what is wrong goes to page_note_bad(). */
    void (*check)(struct BenchCpu *b);
};

/* bench-access.c, bench-kv.c, bench-sort.c: ended by an entry without name. */
extern const struct Bench bench_access[], bench_kv[], bench_sort[];

/* bench.c */
void bench_run(struct Cpu *cpu) __attribute__((noreturn));
uint64_t bench_random(struct BenchCpu *b, uint64_t limit);

/* Time of what is between the two, serialized on both sides. */
static inline uint64_t bench_begin(void)
{
    uint64_t now;

    __asm__ volatile("lfence" : : : "memory");
    now = rdtsc();
    __asm__ volatile("lfence" : : : "memory");
    return now;
}

static inline void bench_end(struct BenchCpu *b, unsigned hist,
                             uint64_t begin)
{
    hist_add(&b->hist[hist], bench_begin() - begin);
}

#endif
