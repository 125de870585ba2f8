/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench=NAME: rounds, their report, and the choice of the benchmark.
 *
 * Lines on the console, all from processor 0, beside G, V, END and X of
 * workload.c:
 *   F pages us                memory filled; for settle= ms nothing is done,
 *                             so that the host can set limits meanwhile
 *   R round ops us            a round; the first warm= ones do not count
 *   M                         the rounds that count begin now
 *   H name index:count ...    times of single accesses in the rounds that
 *                             count, in ticks of the TSC (hist.h)
 *
 * No progress is printed: a line costs a millisecond. Histograms follow the
 * last round, so that the host can take its own readings at its line.
 */
#include "bench.h"

static struct BenchCpu bench_cpus[MAX_CPUS];
static const struct Bench *bench;

uint64_t bench_random(struct BenchCpu *b, uint64_t limit)
{
    return (uint64_t)((unsigned __int128)random_next(b->cpu) * limit >> 64);
}

static const struct Bench *find_bench(void)
{
    const struct Bench *const tables[] = { bench_access, bench_kv,
                                           bench_sort };

    for (unsigned t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        for (const struct Bench *b = tables[t]; b->name != NULL; b++) {
            if (word_is(params.bench, b->name)) {
                return b;
            }
        }
    }
    fatal("unknown bench in -append");
}

static uint64_t ms_to_tsc(uint64_t ms)
{
    return ms * 1000 * params.mhz;
}

static void settle(void)
{
    uint64_t start = rdtsc();

    while (rdtsc() - start < ms_to_tsc(params.settle)) {
        cpu_relax();
    }
}

static void fill(struct BenchCpu *b)
{
    uint64_t begin = rdtsc();

    bench->setup(b);
    smp_barrier(b->cpu);
    if (b->cpu->index == 0) {
        put_numbers("F", (uint64_t[]){ b->pages * cpu_count,
                                       tsc_to_us(rdtsc() - begin) }, 2);
        settle();
    }
}

static bool round_over(const struct BenchCpu *b)
{
    return (!bench->by_sweep || b->cursor == 0) && rdtsc() >= b->end_tsc;
}

static void print_round(uint64_t round, uint64_t us)
{
    uint64_t ops = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        ops += bench_cpus[i].ops;
    }
    put_numbers("R", (uint64_t[]){ round, ops, us }, 3);
}

static void run_round(struct BenchCpu *b, uint64_t round)
{
    uint64_t start;

    if (bench->prepare != NULL) {
        bench->prepare(b);
    }
    if (round == params.warm) {
        memset(b->hist, 0, sizeof(b->hist));
        if (b->cpu->index == 0) {
            put_text("M\n");
        }
    }
    b->ops = 0;
    smp_barrier(b->cpu);
    start = rdtsc();
    b->end_tsc = start + ms_to_tsc(params.round);
    do {
        bench->step(b);
    } while (!round_over(b));
    b->total += b->ops;
    smp_barrier(b->cpu);
    if (b->cpu->index == 0) {
        print_round(round, tsc_to_us(rdtsc() - start));
    }
    smp_barrier(b->cpu); /* all ops have been read */
}

static void print_hist(unsigned h)
{
    if (bench->hists[h] == NULL) {
        return;
    }
    put_text("H ");
    put_text(bench->hists[h]);
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t count = 0;

        for (unsigned c = 0; c < cpu_count; c++) {
            count += bench_cpus[c].hist[h].count[i];
        }
        if (count != 0) {
            put_text(" ");
            put_u64(i);
            put_text(":");
            put_u64(count);
        }
    }
    put_end();
}

void bench_run(struct Cpu *cpu)
{
    struct BenchCpu *b = &bench_cpus[cpu->index];

    b->cpu = cpu;
    b->pages = workload_own_pages();
    if (cpu->index == 0) {
        bench = find_bench();
    }
    smp_barrier(cpu);
    fill(b);
    for (uint64_t round = 0; round < params.warm + params.rounds; round++) {
        run_round(b, round);
    }
    if (cpu->index == 0) {
        print_hist(0);
        print_hist(1);
    }
    if (params.check) {
        bench->check(b);
    }
    smp_barrier(cpu);
    if (cpu->index == 0) {
        workload_finish();
    }
    park();
}
