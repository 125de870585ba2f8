/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole engine on real memory, without a guest: threads hammer a paged
 * range and verify every byte, and give up pages of it, while budgets change
 * and devices do O_DIRECT I/O into pinned pages.
 *
 *     hammer [--seconds N] [--seed N] [--mib N] [--budget-mib N]
 *            [--threads N] [--dir PATH] [--any-rss] [--lock] [--inject]
 *            [key=value of -vmemdirect ...]
 *
 * Promise tested: whatever the pager does, a page reads back what was last
 * written to it; the process never holds more than the budget and a bounded
 * rest; statistics add up. How: each page is owned by one thread, which keeps
 * its version and fills it with a function of (seed, page, version); it
 * verifies the old content before it writes a new one. A page of version 0
 * was never written and must be zero, and so must be one that was discarded:
 * that takes it to the next version that is all zero.
 *
 * --inject: the device is ill now and then (inject.h), and somebody repairs it
 * and has the engine try again, twenty times a second. Who waits for a page
 * sleeps until then; nothing else may change.
 *
 * Prints one TAP line; exit status 77 where userfaultfd cannot be used.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../../vmemdirect/config.h"
#include "inject.h"
#include "memory/fault-service.h"
#include "memory/ram.h"
#include "util/clock.h"
#include "util/thread.h"
#include "vmemdirect/vmemdirect.h"

#define WORDS (RAM_PAGE_BYTES / sizeof(uint64_t))
#define ZERO_VERSION 16u
#define HUGE_BYTES ((size_t)2 << 20)
#define DISCARD_RANGES 8u

typedef struct Options {
    int64_t seconds;
    uint64_t seed, mib, budget_mib, threads;
    const char *dir;
    gboolean any_rss; /* sanitizers need memory of their own */
    gboolean lock;    /* all memory, as it is touched */
    gboolean inject;  /* failures */
} Options;

static Options opt = { 3, 1, 192, 64, 3, "/var/tmp", FALSE, FALSE, FALSE };
static bool checksums;

static uint8_t *ram;
static uint64_t pages;
static uint32_t *versions; /* by page; owned by the page's thread */
static VmdEngine *vmd;
static atomic_bool stop;
static atomic_uint_fast64_t operations, bad, device_ios, discards;

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15ull;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9ull;
    return x ^ (x >> 32);
}

static uint64_t next_random(uint64_t *state)
{
    return mix(*state += 0x9e3779b97f4a7c15ull);
}

static uint64_t expected(PageNo page, uint32_t version, size_t word)
{
    /* Every 16th version is a page of zeros: a page that loses content. */
    if (version % ZERO_VERSION == 0) {
        return 0;
    }
    return mix(opt.seed ^ (page << 20) ^ ((uint64_t)version << 44) ^ word);
}

static void report_bad(PageNo page, size_t word, uint64_t got, uint64_t want)
{
    if (atomic_fetch_add(&bad, 1) < 10) {
        printf("# BAD page %" PRIu64 " word %zu got %016" PRIx64
               " want %016" PRIx64 "\n", page, word, got, want);
    }
}

/* These two stand for a guest, which no sanitizer watches either. */
#define GUEST_CODE __attribute__((no_sanitize("thread"), noinline))

GUEST_CODE static void verify_page(PageNo page, const void *at)
{
    const uint64_t *words = at;

    for (size_t i = 0; i < WORDS; i++) {
        uint64_t want = expected(page, versions[page], i);
        if (words[i] != want) {
            report_bad(page, i, words[i], want);
            return;
        }
    }
}

GUEST_CODE static void write_page(PageNo page, void *at)
{
    uint64_t *words = at;

    versions[page]++;
    for (size_t i = 0; i < WORDS; i++) {
        words[i] = expected(page, versions[page], i);
    }
}

/*
 * Gives up some runs of pages in [first, end), in one call, as a balloon
 * does; afterwards none of them may show what it was.
 */
static void discard_some(uint64_t *rng, PageNo first, PageNo end)
{
    RamRange ranges[DISCARD_RANGES];

    for (unsigned r = 0; r < DISCARD_RANGES; r++) {
        PageNo page = first + next_random(rng) % (end - first);
        uint64_t n = 1 + next_random(rng) % (r == 0 ? 600 : 4);

        n = MIN(n, end - page);
        ranges[r] = (RamRange){ page * RAM_PAGE_BYTES, n * RAM_PAGE_BYTES };
        for (PageNo p = page; p < page + n; p++) {
            versions[p] += ZERO_VERSION - versions[p] % ZERO_VERSION;
        }
    }
    vmd_pager_ops.discard(vmd, ranges, DISCARD_RANGES);
    for (unsigned r = 0; r < DISCARD_RANGES; r++) {
        if (next_random(rng) % 2 == 0) {
            verify_page(ranges[r].offset / RAM_PAGE_BYTES,
                        ram + ranges[r].offset);
        }
    }
    atomic_fetch_add(&discards, 1);
}

/* A hot eighth takes most accesses, the rest is swept in runs. */
static PageNo pick(uint64_t *rng, uint64_t first, uint64_t count)
{
    uint64_t r = next_random(rng);

    return first + (r % 8 < 6 ? (r >> 8) % (count / 8) : (r >> 8) % count);
}

static void worker(void *arg)
{
    uint64_t self = (uintptr_t)arg;
    uint64_t rng = opt.seed * 1000 + self;
    /* One part more than workers: the device's. */
    uint64_t count = pages / (opt.threads + 1);
    uint64_t first = self * count;

    while (!atomic_load(&stop)) {
        PageNo page = pick(&rng, first, count);
        uint64_t run = next_random(&rng) % 64 == 0 ? 300 : 1;
        for (; run > 0 && page < first + count && !atomic_load(&stop);
             run--, page++) {
            verify_page(page, ram + page * RAM_PAGE_BYTES);
            if (next_random(&rng) % 3 == 0) {
                write_page(page, ram + page * RAM_PAGE_BYTES);
            }
            atomic_fetch_add(&operations, 1);
        }
        if (next_random(&rng) % 256 == 0) {
            discard_some(&rng, first, first + count);
        }
    }
}

/* As a disk would: pinned pages go to a file and come back, by O_DIRECT. */
static void device(void *arg)
{
    uint64_t rng = opt.seed * 77;
    uint64_t count = pages / (opt.threads + 1);
    uint64_t first = opt.threads * count;
    g_autofree char *name = g_strdup_printf("%s/hammer-XXXXXX", opt.dir);
    int fd = mkostemp(name, O_DIRECT);

    g_assert(fd >= 0);
    (void)unlink(name);
    while (!atomic_load(&stop)) {
        uint64_t n = 1 + next_random(&rng) % 32;
        PageNo page = first + next_random(&rng) % (count - n);
        uint8_t *at = ram + page * RAM_PAGE_BYTES;
        int r = vmd_pager_ops.pin(vmd, page * RAM_PAGE_BYTES,
                                  n * RAM_PAGE_BYTES);
        if (r == -EIO && opt.inject) {
            continue; /* the device would fail its request */
        }
        g_assert(r == 0);
        for (uint64_t i = 0; i < n; i++) {
            verify_page(page + i, at + i * RAM_PAGE_BYTES);
            write_page(page + i, at + i * RAM_PAGE_BYTES);
        }
        g_assert(pwrite(fd, at, n * RAM_PAGE_BYTES, 0) ==
                 (ssize_t)(n * RAM_PAGE_BYTES));
        memset(at, 0x5a, n * RAM_PAGE_BYTES);
        g_assert(pread(fd, at, n * RAM_PAGE_BYTES, 0) ==
                 (ssize_t)(n * RAM_PAGE_BYTES));
        vmd_pager_ops.unpin(vmd, page * RAM_PAGE_BYTES, n * RAM_PAGE_BYTES);
        if (next_random(&rng) % 64 == 0) {
            discard_some(&rng, first, first + count);
        }
        atomic_fetch_add(&device_ios, 1);
    }
    (void)close(fd);
}

/* Touches what others own, so that faults on one page meet. */
GUEST_CODE static void bystander(void *arg)
{
    uint64_t rng = opt.seed * 13;

    while (!atomic_load(&stop)) {
        PageNo page = next_random(&rng) % pages;
        for (int k = 0; k < 8 && page + (PageNo)k < pages; k++) {
            (void)*(volatile uint8_t *)(ram + (page + (PageNo)k) *
                                              RAM_PAGE_BYTES);
        }
    }
}

static uint64_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    uint64_t size, rss = 0;

    g_assert(f);
    g_assert(fscanf(f, "%" SCNu64 " %" SCNu64, &size, &rss) == 2);
    (void)fclose(f);
    return rss * RAM_PAGE_BYTES;
}

static void check_stats(uint64_t budget, uint64_t base_rss, bool settled)
{
    VmdStats s;

    vmd_engine_stats(vmd, &s);
    g_assert_cmpuint(s.resident_bytes + s.standby_bytes + s.swapped_bytes +
                     s.zero_bytes, ==, s.ram_bytes);
    g_assert_cmpuint(s.clean_bytes + s.dirty_bytes, ==,
                     s.resident_bytes + s.standby_bytes);
    g_assert_cmpuint(s.budget_used_bytes, <=, s.budget_limit_bytes);
    if (settled) {
        g_assert_cmpint(s.budget_state, ==, VMD_BUDGET_REACHED);
        g_assert_cmpuint(s.resident_bytes + s.frames_bytes, <=, budget);
        uint64_t rss = resident_bytes();
        if (!opt.any_rss && rss > budget + base_rss + (32u << 20)) {
            printf("# RSS %" PRIu64 " budget %" PRIu64 " base %" PRIu64 "\n",
                   rss, budget, base_rss);
            atomic_fetch_add(&bad, 1);
        }
    }
}

static void on_event(void *opaque, const VmdEvent *event)
{
    if (opt.inject && event->what != VMD_TROUBLE_ENGINE) {
        return;
    }
    printf("# %s trouble %s: %s\n", vmd_trouble_to_string(event->what),
           event->over ? "over" : "began",
           vmd_error_to_string(event->error));
    atomic_fetch_add(&bad, 1);
}

static VmdIo *wrap(VmdIo *take)
{
    InjectConfig cfg = { opt.seed, checksums };

    return inject_new(take, &cfg);
}

/* The VM goes on, again and again. */
static void medic(void *arg)
{
    while (!atomic_load((atomic_bool *)arg)) {
        g_usleep(50000);
        vmd_engine_retry(vmd);
    }
}

static void run(void)
{
    VmThread *threads[64];
    uint64_t rng = opt.seed * 31, budget = opt.budget_mib << 20;
    int64_t end = vm_clock_ns() + opt.seconds * VM_NS_PER_SEC;
    int64_t change = vm_clock_ns() + VM_NS_PER_SEC / 2, changed = 0;
    uint64_t base_rss = resident_bytes();

    for (uint64_t t = 0; t < opt.threads; t++) {
        threads[t] = vm_thread_new("worker", worker, (void *)(uintptr_t)t);
    }
    threads[opt.threads] = vm_thread_new("device", device, NULL);
    threads[opt.threads + 1] = vm_thread_new("bystander", bystander, NULL);
    while (vm_clock_ns() < end) {
        g_usleep(20000);
        int64_t now = vm_clock_ns();
        check_stats(budget, base_rss,
                    !opt.inject && now - changed > 3 * VM_NS_PER_SEC);
        if (now > change) {
            budget = ((opt.budget_mib / 2) +
                      next_random(&rng) % opt.budget_mib) << 20;
            g_assert(vmd_engine_set_budget(vmd, budget, NULL));
            changed = now;
            change = now + (int64_t)(next_random(&rng) % 8) * VM_NS_PER_SEC;
        }
    }
    atomic_store(&stop, true);
    inject_stop();
    for (uint64_t t = 0; t <= opt.threads + 1; t++) {
        vm_thread_join(threads[t]);
    }
    for (PageNo page = 0; page < pages; page++) {
        verify_page(page, ram + page * RAM_PAGE_BYTES);
    }
}

static void print_summary(void)
{
    VmdStats s;

    vmd_engine_stats(vmd, &s);
    printf("# mode=%s io=%s chunk-pages=%u operations=%" PRIu64
           " device=%" PRIu64 " hard=%" PRIu64 " soft=%" PRIu64
           " zero=%" PRIu64 " wp=%" PRIu64 " in=%" PRIu64 "M out=%" PRIu64
           "M dropped=%" PRIu64 "M found-zero=%" PRIu64
           "M discards=%" PRIu64 "\n",
           s.mode, s.io, s.chunk_pages, (uint64_t)operations,
           (uint64_t)device_ios, s.faults_hard, s.faults_soft, s.faults_zero,
           s.faults_write_protect, s.page_in_bytes >> 20,
           s.page_out_bytes >> 20, s.dropped_clean_bytes >> 20,
           s.found_zero_bytes >> 20, (uint64_t)discards);
    if (opt.inject) {
        printf("# meddled-with=%" PRIu64 " read-errors=%" PRIu64
               " (checksum %" PRIu64 ") write-errors=%" PRIu64 "\n",
               inject_count(), s.read_errors, s.checksum_errors,
               s.write_errors);
    }
}

static void parse(int argc, char **argv, VmdConfig *cfg)
{
    GOptionEntry entries[] = {
        { "seconds", 0, 0, G_OPTION_ARG_INT64, &opt.seconds, NULL, NULL },
        { "seed", 0, 0, G_OPTION_ARG_INT64, &opt.seed, NULL, NULL },
        { "mib", 0, 0, G_OPTION_ARG_INT64, &opt.mib, NULL, NULL },
        { "budget-mib", 0, 0, G_OPTION_ARG_INT64, &opt.budget_mib, NULL,
          NULL },
        { "threads", 0, 0, G_OPTION_ARG_INT64, &opt.threads, NULL, NULL },
        { "dir", 0, 0, G_OPTION_ARG_FILENAME, &opt.dir, NULL, NULL },
        { "any-rss", 0, 0, G_OPTION_ARG_NONE, &opt.any_rss, NULL, NULL },
        { "lock", 0, 0, G_OPTION_ARG_NONE, &opt.lock, NULL, NULL },
        { "inject", 0, 0, G_OPTION_ARG_NONE, &opt.inject, NULL, NULL },
        { NULL, 0, 0, 0, NULL, NULL, NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new("[key=value]");
    g_autoptr(GError) err = NULL;
    char *error = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) ||
        opt.threads < 1 || opt.threads > 60) {
        error = err ? err->message : g_strdup("bad number of threads");
    }
    for (int i = 1; !error && i < argc; i++) {
        g_auto(GStrv) pair = g_strsplit(argv[i], "=", 2);
        if (!pair[0] || !pair[1] ||
            !vmd_config_set(cfg, pair[0], pair[1], &err)) {
            error = err ? err->message : argv[i];
        }
    }
    if (error) {
        fprintf(stderr, "hammer: %s\n", error);
        exit(2);
    }
}

/* The system call, since sanitizers replace the function by nothing. */
static long lock_all(void)
{
    return syscall(SYS_mlockall, MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

int main(int argc, char **argv)
{
    g_autoptr(VmdConfig) cfg = vmd_config_new();
    g_autoptr(GError) err = NULL;
    static const VmdEvents events = { on_event };

    setlinebuf(stdout);
    /* auto might take this machine's DAMON, of which there is one. */
    g_assert(vmd_config_set(cfg, "tracker", "soft", NULL));
    g_autofree char *name = g_strdup_printf("/hammer-%d.swap", getpid());
    parse(argc, argv, cfg);
    g_autofree char *path = g_strconcat(opt.dir, name, NULL);
    g_autofree char *memory = g_strdup_printf("%" PRIu64 "M",
                                              opt.budget_mib);
    g_assert(vmd_config_set(cfg, "swap", path, NULL));
    g_assert(vmd_config_set(cfg, "memory", memory, NULL));

    checksums = cfg->checksum;
    cfg->wrap_io = opt.inject ? wrap : NULL;
    VmFaultService *probe = vm_fault_service_new(&err);
    if (!probe) {
        printf("1..0 # SKIP %s\n", err->message);
        return 0;
    }
    vm_fault_service_free(probe);

    pages = (opt.mib << 20) / RAM_PAGE_BYTES;
    versions = g_new0(uint32_t, pages);
    memset(versions, 0, pages * sizeof(versions[0]));
    uint8_t *mapped = mmap(NULL, (opt.mib << 20) + HUGE_BYTES,
                           PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(mapped != MAP_FAILED);
    ram = mapped + (-(uintptr_t)mapped & (HUGE_BYTES - 1));
    vmd = vmd_engine_new(cfg, ram, opt.mib << 20, &events, NULL, &err);
    if (!vmd) {
        printf("1..0 # SKIP %s\n", err->message);
        return 0;
    }
    if (opt.lock && lock_all() < 0) {
        printf("1..0 # SKIP mlockall: %s\n", strerror(errno));
        return 0;
    }
    atomic_bool healed = false;
    VmThread *doctor =
        opt.inject ? vm_thread_new("medic", medic, &healed) : NULL;
    run();
    if (doctor) {
        atomic_store(&healed, true);
        vm_thread_join(doctor);
    }
    print_summary();
    vmd_engine_free(vmd);
    (void)munmap(mapped, (opt.mib << 20) + HUGE_BYTES);
    g_free(versions);
    printf("%s 1 - seed %" PRIu64 ", %" PRIu64 " operations, %" PRIu64
           " bad\n1..1\n", bad ? "not ok" : "ok", opt.seed,
           (uint64_t)operations, (uint64_t)bad);
    return bad ? 1 : 0;
}
