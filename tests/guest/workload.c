/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The workload: what is written and read, how fast, and what is said of it.
 *
 * Lines on the console, all from processor 0:
 *   G ...                     start, with the parameters as understood
 *   F pages us                first fill done
 *   P us writes reads gap     progress, each 100 ms: time since start, pages
 *                             written and read, longest time in which any
 *                             processor did not run, all in microseconds
 *   B k                       verification k begins
 *   V ok pages k us           ... and has found every word as it must be
 *   V BAD page=.. word=.. want=.. got=.. version=..   at once, when met
 *   V bad wrong pages k us    ... and has found wrong pages
 *   S round pages us          pattern=scan: a sweep is done
 *   T round keys us           pattern=sort: a round is done
 *   A pages                   balloon=1: so many are in the balloon now
 *   END ok|bad                secs= are over and the last verification done
 *   X text                    the guest cannot go on
 *
 * Pages are dealt to processors in groups of 16, so that processors meet in
 * every chunk but never in a page.
 */
#include "bench.h"

#define GROUP_PAGES 16u
#define PROGRESS_US 100000u

struct Cpu cpus[MAX_CPUS];
unsigned cpu_count;

static uint64_t start_tsc;
static uint64_t own_pages, own_hot_pages; /* of one processor */
static uint64_t tsc_per_page;             /* 0: no limit */
static uint64_t zipf_octaves;

/* Written by processor 0. final is set before the pass that it is about. */
static uint64_t pass_request;
static bool pass_final;

/* Processor 0 only. */
static uint64_t next_progress_tsc, next_verify_tsc, pass_start_tsc;
static uint64_t pass_printed;
static uint64_t bad_printed[MAX_CPUS];
static uint64_t bad_at_pass;

uint64_t random_next(struct Cpu *cpu)
{
    /* xorshift64* (Vigna 2016) */
    uint64_t x = cpu->random;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    cpu->random = x;
    return x * 0x2545f4914f6cdd1dull;
}

static uint64_t random_below(struct Cpu *cpu, uint64_t limit)
{
    return (uint64_t)((unsigned __int128)random_next(cpu) * limit >> 64);
}

uint64_t tsc_to_us(uint64_t tsc)
{
    return tsc / params.mhz;
}

uint64_t workload_page(const struct Cpu *cpu, uint64_t k)
{
    uint64_t group = k / GROUP_PAGES * cpu_count + cpu->index;

    return group * GROUP_PAGES + k % GROUP_PAGES;
}

uint64_t workload_own_pages(void)
{
    return own_pages;
}

uint64_t workload_own_hot_pages(void)
{
    return own_hot_pages;
}

static uint64_t all_writes(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        sum += load_relaxed(&cpus[i].writes);
    }
    return sum;
}

static uint64_t all_reads(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        sum += load_relaxed(&cpus[i].reads);
    }
    return sum;
}

static uint64_t all_bad(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        sum += load_acquire(&cpus[i].bad);
    }
    return sum;
}

/* A processor that raises its gap between the two accesses loses that
 * update: rare, and the next gap counts again. */
static uint64_t take_gap(void)
{
    uint64_t gap = 0;

    for (unsigned i = 0; i < cpu_count; i++) {
        uint64_t g = load_relaxed(&cpus[i].gap_tsc);

        __atomic_store_n(&cpus[i].gap_tsc, 0, __ATOMIC_RELAXED);
        gap = g > gap ? g : gap;
    }
    return gap;
}

static uint64_t note_time(struct Cpu *cpu)
{
    uint64_t now = rdtsc();
    uint64_t gap = now - cpu->last_tsc;

    if (gap > cpu->gap_tsc) {
        __atomic_store_n(&cpu->gap_tsc, gap, __ATOMIC_RELAXED);
    }
    cpu->last_tsc = now;
    return now;
}

static void note_time_while_printing(void)
{
    note_time(&cpus[0]);
}

static void print_progress(uint64_t now)
{
    uint64_t n[] = { tsc_to_us(now - start_tsc), all_writes(), all_reads(),
                     tsc_to_us(take_gap()) };

    put_numbers("P", n, 4);
}

static void print_bad(const struct BadPage *bad)
{
    put_text("V BAD");
    put_field("page", bad->page);
    put_field("word", bad->word);
    put_field_hex("want", bad->want);
    put_field_hex("got", bad->got);
    put_field("version", bad->version);
    put_end();
}

static void print_bad_pages(void)
{
    for (unsigned i = 0; i < cpu_count; i++) {
        while (bad_printed[i] < load_acquire(&cpus[i].bad)) {
            if (bad_printed[i] >= BAD_PAGES_KEPT) {
                return;
            }
            print_bad(&bad_pages[i][bad_printed[i]++]);
        }
    }
}

void workload_tick(struct Cpu *cpu)
{
    uint64_t now = note_time(cpu);

    if (cpu->index == 0 && now >= next_progress_tsc &&
        params.bench.bytes == 0) {
        next_progress_tsc = now + PROGRESS_US * params.mhz;
        print_progress(now);
        print_bad_pages();
        if (params.acpi) {
            power_button_obey();
        }
    }
}

/*
 * Zipf with exponent 1: every octave of ranks is equally likely. Ranks are
 * spread over the pages by a prime, so that hot pages are not neighbours.
 */
static uint64_t pick_zipf(struct Cpu *cpu)
{
    uint64_t octave = random_below(cpu, zipf_octaves);
    uint64_t rank = (1ull << octave) + random_below(cpu, 1ull << octave) - 1;

    return rank % own_hot_pages * 2654435761ull % own_hot_pages;
}

static void end_of_sweep(struct Cpu *cpu)
{
    if (cpu->index == 0 && params.pattern == PATTERN_SCAN) {
        uint64_t now = rdtsc();
        uint64_t n[] = { cpu->phase, own_hot_pages / params.stride,
                         tsc_to_us(now - cpu->round_start_tsc) };

        put_numbers("S", n, 3);
        cpu->round_start_tsc = rdtsc();
    }
    cpu->phase++;
    cpu->cursor = cpu->phase % params.stride;
}

static uint64_t pick_seq(struct Cpu *cpu)
{
    uint64_t k = cpu->cursor;

    cpu->cursor += params.stride;
    if (cpu->cursor >= own_hot_pages) {
        end_of_sweep(cpu);
    }
    return k;
}

static uint64_t pick(struct Cpu *cpu)
{
    switch (params.pattern) {
    case PATTERN_ZIPF:
        return pick_zipf(cpu);
    case PATTERN_SEQ:
    case PATTERN_SCAN:
        return pick_seq(cpu);
    default:
        return random_below(cpu, own_hot_pages);
    }
}

/* Time lost while the processor did not run is not caught up by a burst of
 * more than one period of progress. */
static bool rate_allows(struct Cpu *cpu)
{
    uint64_t slack = PROGRESS_US * params.mhz;

    if (tsc_per_page == 0) {
        return true;
    }
    if (cpu->last_tsc < cpu->next_tsc) {
        cpu_relax();
        return false;
    }
    if (cpu->last_tsc - cpu->next_tsc > slack) {
        cpu->next_tsc = cpu->last_tsc - slack;
    }
    return true;
}

static void step(struct Cpu *cpu)
{
    uint64_t page;
    bool read;

    if (!rate_allows(cpu)) {
        return;
    }
    if (params.discard != 0 && random_below(cpu, 100) < params.discard) {
        balloon_discard(cpu, random_below(cpu, own_hot_pages / GROUP_PAGES) *
                                 GROUP_PAGES, GROUP_PAGES);
        return;
    }
    read = params.pattern == PATTERN_SCAN ||
           (params.read != 0 && random_below(cpu, 100) < params.read);
    page = workload_page(cpu, pick(cpu));
    if (read) {
        page_peek(cpu, page, (unsigned)(random_next(cpu) % PAGE_WORDS));
        cpu->reads++;
    } else {
        page_write(cpu, page);
        cpu->writes++;
    }
    if (!read || params.read == 100 || params.pattern == PATTERN_SCAN) {
        cpu->next_tsc += tsc_per_page;
    }
}

static void sort_step(struct Cpu *cpu)
{
    uint64_t tsc, round = cpu->phase++;
    bool ok = sort_round(cpu, round, &tsc);
    uint64_t n[] = { round, own_pages * PAGE_WORDS / params.record,
                     tsc_to_us(tsc) };

    cpu->writes += own_pages;
    if (!ok && cpu->bad < BAD_PAGES_KEPT) {
        bad_pages[cpu->index][cpu->bad] = (struct BadPage){ 0 };
    }
    if (!ok) {
        store_release(&cpu->bad, cpu->bad + 1);
    }
    if (cpu->index == 0) {
        put_numbers("T", n, 3);
    }
}

static void verify(struct Cpu *cpu, uint64_t pass)
{
    uint64_t sum = 0;

    if (params.pattern != PATTERN_SORT) { /* which checks every round */
        for (uint64_t k = 0; k < own_pages; k++) {
            uint64_t page = workload_page(cpu, k);

            sum += balloon_holds(cpu, k) && !pass_final
                       ? page_version(cpu, page)
                       : page_check(cpu, page, pass_final);
            workload_tick(cpu);
        }
        if (sum != cpu->version_sum) {
            if (cpu->bad < BAD_PAGES_KEPT) {
                bad_pages[cpu->index][cpu->bad] = (struct BadPage){
                    .page = ~0ull, .want = cpu->version_sum, .got = sum
                };
            }
            store_release(&cpu->bad, cpu->bad + 1);
        }
    }
    cpu->checked = own_pages;
    cpu->next_tsc = cpu->last_tsc;
    store_release(&cpu->done_pass, pass);
}

static bool pass_done_by_all(void)
{
    for (unsigned i = 0; i < cpu_count; i++) {
        if (load_acquire(&cpus[i].done_pass) != pass_request) {
            return false;
        }
    }
    return true;
}

static void start_pass(bool final)
{
    put_numbers("B", (uint64_t[]){ pass_request + 1 }, 1);
    pass_start_tsc = rdtsc();
    bad_at_pass = all_bad();
    pass_final = final;
    store_release(&pass_request, pass_request + 1);
}

static void print_pass(void)
{
    uint64_t pages = own_pages * cpu_count;
    uint64_t us = tsc_to_us(rdtsc() - pass_start_tsc);
    uint64_t bad = all_bad() - bad_at_pass;

    print_bad_pages();
    if (bad == 0) {
        put_numbers("V ok", (uint64_t[]){ pages, pass_request, us }, 3);
    } else {
        put_numbers("V bad", (uint64_t[]){ bad, pages, pass_request, us },
                      4);
    }
    pass_printed = pass_request;
}

void workload_finish(void)
{
    bool bad = all_bad() != 0;

    print_bad_pages();
    print_progress(note_time(&cpus[0]));
    put_text(bad ? "END bad" : "END ok");
    put_end();
    if (params.exit) {
        power_off(bad);
    }
    park();
}

/* Processor 0: begins, reports and ends verifications. */
static void manage_passes(void)
{
    uint64_t now = cpus[0].last_tsc;

    if (pass_printed != pass_request) {
        if (pass_done_by_all()) {
            print_pass();
            next_verify_tsc = now + params.verify * 1000000 * params.mhz;
        }
        return;
    }
    if (pass_final) {
        workload_finish();
    } else if (params.secs != 0 &&
               now - start_tsc >= params.secs * 1000000 * params.mhz) {
        start_pass(true);
    } else if (params.verify != 0 && now >= next_verify_tsc) {
        start_pass(false);
    }
}

static void fill(struct Cpu *cpu)
{
    uint64_t begin = rdtsc();

    cpu->last_tsc = begin;
    for (uint64_t k = 0; k < own_pages; k++) {
        page_fill(cpu, workload_page(cpu, k));
        workload_tick(cpu);
    }
    smp_barrier(cpu);
    if (cpu->index == 0) {
        uint64_t n[] = { own_pages * cpu_count,
                         tsc_to_us(rdtsc() - begin) };

        put_numbers("F", n, 2);
    }
}

static void start_work(struct Cpu *cpu)
{
    cpu->last_tsc = rdtsc();
    cpu->next_tsc = cpu->last_tsc;
    cpu->round_start_tsc = cpu->last_tsc;
    if (cpu->index == 0) {
        take_gap();
        next_verify_tsc =
            cpu->last_tsc + params.verify * 1000000 * params.mhz;
    }
}

void workload_run(struct Cpu *cpu)
{
    if (params.bench.bytes != 0) {
        bench_run(cpu);
    }
    if (params.pattern != PATTERN_SORT) {
        fill(cpu);
    }
    start_work(cpu);
    for (;;) {
        uint64_t pass = load_acquire(&pass_request);

        workload_tick(cpu);
        balloon_poll(cpu);
        if (cpu->done_pass != pass) {
            verify(cpu, pass);
        }
        if (cpu->index == 0) {
            manage_passes();
        }
        if (pass_final && cpu->done_pass == pass_request) {
            if (cpu->index != 0) {
                park();
            }
            continue;
        }
        if (params.pattern == PATTERN_SORT) {
            sort_step(cpu);
        } else {
            step(cpu);
        }
    }
}

static void print_start(uint64_t hot_pages)
{
    put_text("G");
    put_field("pages", own_pages * cpu_count);
    put_field("hot", hot_pages);
    put_field("cpus", cpu_count);
    put_field("mhz", params.mhz);
    put_field("seed", params.seed);
    put_end();
}

void workload_init(void)
{
    uint64_t pages = memory_workload_pages();
    uint64_t hot = params.hot * MIB_PAGES;
    uint64_t deal = GROUP_PAGES * cpu_count;

    if (hot == 0 || hot > pages) {
        hot = pages;
    }
    own_pages = pages / deal * GROUP_PAGES;
    own_hot_pages = hot / deal * GROUP_PAGES;
    if (own_hot_pages == 0 || params.stride > own_hot_pages) {
        fatal("hot is too small");
    }
    zipf_octaves = 0;
    while ((2ull << zipf_octaves) <= own_hot_pages + 1) {
        zipf_octaves++;
    }
    if (params.rate != 0) {
        tsc_per_page = params.mhz * 1000000 * cpu_count /
                       (params.rate * MIB_PAGES);
    }
    start_tsc = rdtsc();
    for (unsigned i = 0; i < cpu_count; i++) {
        cpus[i].index = i;
        cpus[i].random = params.seed * 0x9e3779b97f4a7c15ull + i + 1;
        cpus[i].random |= 1;
    }
    next_progress_tsc = start_tsc;
    pages_init(hot);
    console_byte_hook = note_time_while_printing;
    cpus[0].last_tsc = start_tsc;
    print_start(own_hot_pages * cpu_count);
}
