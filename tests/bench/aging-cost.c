/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the access history costs: aging by GiB of RAM, and where it leads at
 * sizes that this machine has not got. One of the measurements of
 * tests/bench/tracker.
 *
 *     aging-cost GIB...
 *
 * How: a pager whose memory is address space that nobody touches; every chunk
 * is set to what costs most, resident and observed with pages accessed in each
 * interval; then to what costs least, never accessed. The clock is this
 * thread's CPU time, and jumps where the pager would sleep: steps are run
 * until the walk has come round, as the pager's thread does it. Prints JSON:
 * for each size the CPU time of a round, by GiB, the longest step, which is
 * what a fault may wait for, and how long a round takes when it may use 1 % of
 * a CPU.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../vmemdirect/pager-internal.h"
#include "util/clock.h"

#define CHUNK_PAGES 256u
#define INTERVAL_NS VM_NS_PER_SEC
#define ROUNDS 3u

static int64_t skipped_ns; /* time that is left out */

/* CPU time: neighbours do not count. */
static int64_t cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * VM_NS_PER_SEC + t.tv_nsec;
}

static int64_t now(void)
{
    return cpu_ns() + skipped_ns;
}

static int collect(VmdTracker *t, PageNo first, uint32_t count,
                   unsigned long *accessed)
{
    return 0;
}

static const VmdTrackerOps ops = { .name = "bench", .collect = collect };
static VmdTracker tracker = { .ops = &ops };

/* Only what history.c uses. */
static void init(VmdPager *p, uint64_t gib)
{
    p->cfg = (VmdPagerConfig){
        .pages = gib << 18,
        .chunk_pages = CHUNK_PAGES,
        .aging_interval_ns = INTERVAL_NS,
        .now_ns = now,
        .tracker = &tracker,
    };
    p->chunk_count = (uint32_t)(p->cfg.pages / CHUNK_PAGES);
    p->chunks = g_new0(VmdChunk, p->chunk_count);
    p->present = vm_bitmap_new(p->cfg.pages);
    vm_bitmap_set(p->present, 0, p->cfg.pages);
    vmd_history_init(p);
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        p->chunks[c].state = VMD_RESIDENT;
        vmd_resident_add(p, c);
    }
}

static void done(VmdPager *p)
{
    vmd_history_done(p);
    g_free(p->chunks);
    g_free(p->present);
}

/* A word on all of RAM: every third page was accessed. */
static int64_t observe(VmdPager *p)
{
    unsigned long accessed[CHUNK_PAGES / 64];
    int64_t start = cpu_ns();

    memset(accessed, 0x49, sizeof(accessed));
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        vmd_history_observe(p, vmd_first_page(p, c), CHUNK_PAGES, accessed);
    }
    return cpu_ns() - start;
}

/* To the end of the interval, and round once. */
static void walk_round(VmdPager *p, int64_t *ret_longest_ns)
{
    uint32_t left = p->chunk_count;
    uint32_t hand;

    skipped_ns += MAX(p->interval_end_ns - now(), 0);
    while (left > 0) {
        if (p->walk_due == 0 || p->walk_purse_ns < 0) {
            skipped_ns += MAX(p->next_slice_ns - now(), 0);
        }
        hand = p->walk_hand;
        int64_t start = cpu_ns();
        vmd_history_tick(p, now());
        *ret_longest_ns = MAX(*ret_longest_ns, cpu_ns() - start);
        left -= MIN(left, (p->walk_hand + p->chunk_count - hand) %
                              p->chunk_count);
    }
}

/* CPU time of a walk over chunks that were never accessed. */
static double cold_round(VmdPager *p)
{
    int64_t longest = 0;

    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        static const uint8_t never[CHUNK_PAGES];
        vmd_history_set(p, c, never);
    }
    uint64_t before = p->stats.aging_spent_ns;
    walk_round(p, &longest);
    return (double)(p->stats.aging_spent_ns - before);
}

static void measure(uint64_t gib, bool last)
{
    VmdPager *p = g_new0(VmdPager, 1);
    int64_t observed = 0, longest = 0;

    init(p, gib);
    observed = observe(p); /* warms up: the pages of all tables */
    walk_round(p, &longest);
    uint64_t before = p->stats.aging_spent_ns;
    int64_t start = now();
    observed = 0;
    longest = 0;
    for (unsigned n = 0; n < ROUNDS; n++) {
        observed += observe(p);
        walk_round(p, &longest);
    }
    uint64_t spent = p->stats.aging_spent_ns;
    double took = (double)(now() - start) / ROUNDS;
    double round = (double)(spent - before) / ROUNDS;
    double cold = cold_round(p);
    printf("  {\"gib\": %" PRIu64 ", \"walk-us\": %.0f, "
           "\"walk-us-per-gib\": %.1f, \"cold-us-per-gib\": %.1f, "
           "\"observe-us-per-gib\": %.1f, "
           "\"longest-step-us\": %.0f, \"round-s\": %.2f}%s\n",
           gib, round / 1e3, round / 1e3 / (double)gib,
           cold / 1e3 / (double)gib,
           (double)observed / ROUNDS / 1e3 / (double)gib,
           (double)longest / 1e3, took / 1e9, last ? "" : ",");
    done(p);
    g_free(p);
}

int main(int argc, char **argv)
{
    printf("[\n");
    for (int i = 1; i < argc; i++) {
        measure(g_ascii_strtoull(argv[i], NULL, 10), i == argc - 1);
    }
    printf("]\n");
    return 0;
}
