/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An engine with an observing tracker: its word reaches the history while
 * memory is paged, and the engine survives its failure.
 *
 * How: DAMON is a tree of files (fake-damon.h) that says that the first
 * quarter of RAM is accessed; real userfaultfd, real memory that is twice the
 * budget, threads that write all over it and verify. Then the tree breaks.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../vmemdirect/config.h"
#include "fake-damon.h"
#include "memory/fault-service.h"
#include "util/clock.h"
#include "util/thread.h"
#include "vmemdirect/vmemdirect.h"

#define MIB 64u
#define CHUNKS MIB /* of 1 MiB */
#define BYTES ((size_t)MIB << 20)
#define PAGES (BYTES / RAM_PAGE_BYTES)
#define THREADS 2u
#define LONG_NS (60 * VM_NS_PER_SEC)

typedef struct Writer {
    VmThread *thread;
    unsigned index;
    uint64_t wrong, passes;
} Writer;

static uint64_t *ram;
static VmdEngine *engine;
static atomic_bool stop;

static void on_event(void *opaque, const VmdEvent *event)
{
    g_error("%s trouble: %s", vmd_trouble_to_string(event->what),
            vmd_error_to_string(event->error));
}

/* Its pages hold how often they were written; goes round until told. */
static void writer(void *arg)
{
    Writer *w = arg;

    while (!atomic_load(&stop)) {
        for (PageNo p = w->index; p < PAGES; p += THREADS) {
            uint64_t *word = ram + p * RAM_PAGE_BYTES / sizeof(*ram);
            w->wrong += *word != w->passes;
            (*word)++;
        }
        w->passes++;
    }
}

static void keys(RamChunkInfo *infos)
{
    RamPlacement *placement = vmd_engine_placement(engine);

    placement->ops->chunk_infos(placement->opaque, infos);
}

/* What DAMON calls accessed has the top bit in each interval. */
static bool quarter_is_hot(void)
{
    RamChunkInfo infos[CHUNKS];
    unsigned hot = 0, cold = 0;

    keys(infos);
    for (unsigned c = 0; c < CHUNKS; c++) {
        hot += c < CHUNKS / 4 && infos[c].key >= 0xe0;
        cold += c >= CHUNKS / 4 && infos[c].key < 0x20;
    }
    return hot == CHUNKS / 4 && cold == CHUNKS * 3 / 4;
}

static void wait_for(bool (*condition)(void), const char *what)
{
    int64_t deadline = vm_clock_ns() + LONG_NS;

    while (!condition()) {
        if (vm_clock_ns() > deadline) {
            g_error("no sign of: %s", what);
        }
        g_usleep(10000);
    }
}

static bool took_soft_faults(void)
{
    VmdStats s;

    vmd_engine_stats(engine, &s);
    return strcmp(s.tracker, "soft") == 0;
}

static bool start(const FakeDamon *damon, uint64_t budget_mib)
{
    static const VmdEvents events = { on_event };
    g_autoptr(VmdConfig) cfg = vmd_config_new();
    g_autoptr(GError) err = NULL;
    g_autofree char *swap = g_strdup_printf("%s/observed-%d.swap",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *memory = g_strdup_printf("%" PRIu64 "M", budget_mib);

    g_assert_true(vmd_config_set(cfg, "swap", swap, NULL));
    g_assert_true(vmd_config_set(cfg, "memory", memory, NULL));
    g_assert_true(vmd_config_set(cfg, "chunk-pages", "256", NULL)); /* 1 MiB */
    g_assert_true(vmd_config_set(cfg, "aging-interval", "10", NULL));
    g_assert_true(vmd_config_set(cfg, "tracker", "damon", NULL));
    cfg->tracker_root = g_strdup(damon->root);
    ram = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(ram != MAP_FAILED);
    fake_damon_put_region(damon, 0, (uintptr_t)ram,
                          (uintptr_t)ram + BYTES / 4);
    engine = vmd_engine_new(cfg, ram, BYTES, &events, NULL, &err);
    if (!engine) {
        g_test_skip(err->message);
        (void)munmap(ram, BYTES);
        return false;
    }
    return true;
}

static void end(FakeDamon *damon)
{
    vmd_engine_free(engine);
    (void)munmap(ram, BYTES);
    fake_damon_free(damon);
}

static void test_history_follows(void)
{
    FakeDamon *damon = fake_damon_new();

    if (!start(damon, 2 * MIB)) {
        fake_damon_free(damon);
        return;
    }
    for (PageNo p = 0; p < PAGES; p++) {
        ram[p * RAM_PAGE_BYTES / sizeof(*ram)] = 1;
    }
    wait_for(quarter_is_hot, "a hot quarter");
    end(damon);
}

static void test_paging_goes_on(void)
{
    FakeDamon *damon = fake_damon_new();
    Writer writers[THREADS] = { { 0 } };
    VmdStats s;

    if (!start(damon, MIB / 2)) {
        fake_damon_free(damon);
        return;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i].index = i;
        writers[i].thread = vm_thread_new("writer", writer, &writers[i]);
    }
    g_usleep(1000 * 1000);
    vmd_engine_stats(engine, &s);
    g_assert_cmpstr(s.tracker, ==, "damon");
    g_assert_cmpuint(s.tracker_round_ns, >, 0);
    fake_damon_break(damon);
    wait_for(took_soft_faults, "soft faults");
    g_usleep(500 * 1000);
    vmd_engine_stats(engine, &s);
    g_assert_nonnull(strstr(s.tracker_why_not[2], "failed"));
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        vm_thread_join(writers[i].thread);
        g_assert_cmpuint(writers[i].wrong, ==, 0);
        g_assert_cmpuint(writers[i].passes, >, 0);
    }
    g_assert_cmpuint(s.page_out_bytes, >, 0);
    end(damon);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    VmFaultService *probe = vm_fault_service_new(&err);

    g_test_init(&argc, &argv, NULL);
    if (!probe) {
        printf("1..0 # SKIP %s\n", err->message);
        return 0;
    }
    vm_fault_service_free(probe);
    g_test_add_func("/observed/history-follows", test_history_follows);
    g_test_add_func("/observed/paging-goes-on", test_paging_goes_on);
    return g_test_run();
}
