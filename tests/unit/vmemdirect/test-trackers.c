/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access sources: what they tell, what they refuse, what they leave behind.
 *
 * How: idle pages on a fake of the kernel's two files, with frames in any
 * order; DAMON on a tree of plain files that stands in for sysfs; the
 * observer's thread with a tracker of the test.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "../../../vmemdirect/observer.h"
#include "../../../vmemdirect/tracker-idle.h"
#include "fake-damon.h"
#include "util/bits.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/thread.h"

/* --- idle pages: a fake kernel ------------------------------------------- */

#define PAGES 3000u
#define FRAMES 65536u

typedef struct Memory {
    uint64_t frame[PAGES]; /* 0: not there */
    bool idle[FRAMES];
    bool tail[FRAMES]; /* of a huge page: has no bit */
    unsigned reads, closed;
    int error;
} Memory;

static int fake_pagemap(void *opaque, PageNo first, uint32_t count,
                        uint64_t *entries)
{
    Memory *m = opaque;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t frame = m->frame[first + i];
        /* Other bits are set, too: exclusive, soft-dirty. */
        entries[i] = frame ? UINT64_C(1) << 63 | UINT64_C(3) << 55 | frame
                           : 0;
    }
    return m->error;
}

static int fake_read(void *opaque, uint64_t word, uint32_t count,
                     uint64_t *words)
{
    Memory *m = opaque;

    m->reads++;
    for (uint32_t w = 0; w < count; w++) {
        words[w] = 0;
        for (unsigned n = 0; n < 64; n++) {
            uint64_t frame = (word + w) * 64 + n;
            g_assert_cmpuint(frame, <, FRAMES);
            words[w] |= (uint64_t)(m->idle[frame] && !m->tail[frame]) << n;
        }
    }
    return 0;
}

static int fake_write(void *opaque, uint64_t word, uint32_t count,
                      const uint64_t *words)
{
    Memory *m = opaque;

    for (uint32_t w = 0; w < count; w++) {
        for (unsigned n = 0; n < 64; n++) {
            if ((words[w] >> n) & 1) {
                m->idle[(word + w) * 64 + n] = true;
            }
        }
    }
    return 0;
}

static void fake_close(void *opaque)
{
    ((Memory *)opaque)->closed++;
}

static const VmdIdleIo fake_io = { fake_pagemap, fake_read, fake_write,
                                   fake_close };

static void access_page(Memory *m, PageNo page)
{
    uint64_t frame = m->frame[page];

    m->idle[m->tail[frame] ? frame & ~UINT64_C(511) : frame] = false;
}

/* Page p on a frame of its own, in an order that is not its own. */
static Memory *new_memory(void)
{
    Memory *m = g_new0(Memory, 1);

    for (PageNo p = 0; p < PAGES; p++) {
        m->frame[p] = 512 + (p * 7919) % 30011;
    }
    return m;
}

static void check_collect(VmdTracker *t, PageNo first, uint32_t count,
                          int result, const bool *want)
{
    unsigned long got[VM_BITMAP_LONGS(PAGES)] = { 0 };

    g_assert_cmpint(t->ops->collect(t, first, count, got), ==, result);
    for (uint32_t i = 0; i < count; i++) {
        bool wanted = want && want[first + i];
        g_assert_cmpint(vm_bit_test(got, i), ==, wanted);
    }
}

static void test_idle_tells_each_page(void)
{
    Memory *m = new_memory();
    VmdTracker *t = vmd_idle_new(&fake_io, m, PAGES);
    GRand *rng = g_rand_new_with_seed(3);

    /* Not marked yet: nothing is known, whatever the bits say. */
    check_collect(t, 0, PAGES, 0, NULL);
    for (int round = 0; round < 20; round++) {
        bool want[PAGES] = { false };
        for (int k = 0; k < 200; k++) {
            PageNo p = (PageNo)g_rand_int_range(rng, 0, PAGES);
            access_page(m, p);
            want[p] = true;
        }
        check_collect(t, 0, 1024, 1, want);
        check_collect(t, 1024, PAGES - 1024, 1, want);
    }
    check_collect(t, 0, PAGES, 1, NULL);
    t->ops->stop(t);
    g_assert_cmpuint(m->closed, ==, 1);
    g_rand_free(rng);
    g_free(m);
}

/* Frames of others, in the same words, are not marked. */
static void test_idle_leaves_others_alone(void)
{
    Memory *m = new_memory();
    VmdTracker *t = vmd_idle_new(&fake_io, m, PAGES);
    bool ours[FRAMES] = { false };

    for (PageNo p = 0; p < PAGES; p++) {
        ours[m->frame[p]] = true;
    }
    check_collect(t, 0, PAGES, 0, NULL);
    for (uint64_t frame = 0; frame < FRAMES; frame++) {
        g_assert_cmpint(m->idle[frame], ==, ours[frame]);
    }
    t->ops->stop(t);
    g_free(m);
}

/* A page that comes in is not told before it was marked; one that went is
 * never told. */
static void test_idle_absent(void)
{
    Memory *m = new_memory();
    VmdTracker *t = vmd_idle_new(&fake_io, m, PAGES);
    bool want[PAGES] = { false };
    uint64_t frame = m->frame[5];

    m->frame[5] = 0;
    check_collect(t, 0, 64, 0, NULL);
    m->frame[5] = frame;
    access_page(m, 5);
    check_collect(t, 0, 64, 1, NULL);
    access_page(m, 5);
    want[5] = true;
    check_collect(t, 0, 64, 1, want);
    access_page(m, 5);
    m->frame[5] = 0;
    check_collect(t, 0, 64, 1, NULL);
    t->ops->stop(t);
    g_free(m);
}

/* A memory that lies in a row is read in a row. */
static void test_idle_reads_little(void)
{
    Memory *m = new_memory();
    VmdTracker *t = vmd_idle_new(&fake_io, m, PAGES);

    for (PageNo p = 0; p < PAGES; p++) {
        m->frame[p] = 1000 + p;
    }
    check_collect(t, 0, PAGES, 0, NULL);
    g_assert_cmpuint(m->reads, ==, 1);
    t->ops->stop(t);
    g_free(m);
}

/* Only the head of a huge page has a bit; it speaks for all. */
static void test_idle_huge(void)
{
    Memory *m = new_memory();
    VmdTracker *t = vmd_idle_new(&fake_io, m, PAGES);
    bool want[PAGES] = { false };

    for (PageNo p = 0; p < 512; p++) {
        m->frame[512 + p] = 40960 + p;
        m->tail[40960 + p] = p > 0;
    }
    check_collect(t, 0, PAGES, 0, NULL);
    check_collect(t, 0, PAGES, 1, NULL);
    access_page(m, 512 + 77);
    memset(want + 512, true, 512);
    check_collect(t, 0, PAGES, 1, want);
    check_collect(t, 0, PAGES, 1, NULL);
    t->ops->stop(t);
    g_free(m);
}

static void test_idle_error(void)
{
    Memory *m = new_memory();
    VmdTracker *t = vmd_idle_new(&fake_io, m, PAGES);

    m->error = -EPERM;
    check_collect(t, 0, 64, -EPERM, NULL);
    t->ops->stop(t);
    g_free(m);
}

/* --- files in place of the kernel's -------------------------------------- */

#define KDAMONDS FAKE_KDAMONDS
#define CONTEXT FAKE_CONTEXT
#define GUEST_PAGES 4096u

static char *path_of(const FakeDamon *tree, const char *name)
{
    return g_build_filename(tree->root, name, NULL);
}

static void check_file(const FakeDamon *tree, const char *name,
                       const char *want)
{
    g_autofree char *path = path_of(tree, name);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_strchomp(text);
    g_assert_cmpstr(text, ==, want);
}

static void check_number(const FakeDamon *tree, const char *name,
                         uint64_t want)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, want);

    check_file(tree, name, text);
}

static VmdTrackerEnv env_of(const FakeDamon *tree)
{
    return (VmdTrackerEnv){
        .guest = (const uint8_t *)(uintptr_t)0x7f0000000000,
        .pages = GUEST_PAGES,
        .chunk_pages = 16,
        .interval_ns = VM_NS_PER_SEC,
        .now_ns = vm_clock_ns,
        .root = tree->root,
    };
}

static int64_t fake_clock;

static int64_t fake_now(void)
{
    return fake_clock;
}

static void refused(const VmdTrackerOps *ops, const VmdTrackerEnv *env,
                    const char *reason)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(ops->start(env, &err));
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(err->message, reason));
}

/* --- DAMON --------------------------------------------------------------- */

static void test_damon_sets_up_and_cleans_up(void)
{
    FakeDamon *tree = fake_damon_new();
    VmdTrackerEnv env = env_of(tree);
    uint64_t start = (uintptr_t)env.guest;
    g_autoptr(GError) err = NULL;
    VmdTracker *t = vmd_tracker_damon.start(&env, &err);

    g_assert_no_error(err);
    check_number(tree, KDAMONDS "/nr_kdamonds", 1);
    check_file(tree, CONTEXT "/operations", "fvaddr");
    check_number(tree, CONTEXT "/targets/0/pid_target", (uint64_t)getpid());
    check_number(tree, CONTEXT "/targets/0/regions/0/start", start);
    check_number(tree, CONTEXT "/targets/0/regions/0/end",
                 start + GUEST_PAGES * RAM_PAGE_BYTES);
    check_number(tree, CONTEXT "/monitoring_attrs/nr_regions/max", 256);
    check_file(tree, CONTEXT "/schemes/0/action", "stat");
    check_file(tree, KDAMONDS "/0/state", "on");
    t->ops->stop(t);
    check_file(tree, KDAMONDS "/0/state", "off");
    check_number(tree, KDAMONDS "/nr_kdamonds", 0);
    fake_damon_free(tree);
}

/* The checks in a second, and so the cost, do not grow with the VM. */
static void test_damon_cost_is_bounded(void)
{
    FakeDamon *tree = fake_damon_new();
    VmdTrackerEnv env = env_of(tree);

    env.pages = UINT64_C(1) << 28; /* 1 TiB */
    env.chunk_pages = 256;
    env.interval_ns = VM_NS_PER_SEC;
    VmdTracker *t = vmd_tracker_damon.start(&env, NULL);
    g_assert_nonnull(t);
    check_number(tree, CONTEXT "/monitoring_attrs/nr_regions/max", 1000);
    check_number(tree, CONTEXT "/monitoring_attrs/intervals/sample_us",
                 200000);
    check_number(tree, CONTEXT "/monitoring_attrs/intervals/aggr_us",
                 3200000);
    t->ops->stop(t);
    fake_damon_free(tree);
}

static void test_damon_tells_regions(void)
{
    FakeDamon *tree = fake_damon_new();
    VmdTrackerEnv env = env_of(tree);
    uint64_t start = (uintptr_t)env.guest;
    unsigned long got[VM_BITMAP_LONGS(GUEST_PAGES)] = { 0 };

    env.now_ns = fake_now;
    VmdTracker *t = vmd_tracker_damon.start(&env, NULL);
    g_assert_nonnull(t);
    fake_clock += 43 * VM_NS_PER_SEC; /* its cost, below, is 1 % of it */
    fake_damon_put_region(tree, 3, start + 100 * 4096, start + 200 * 4096);
    /* Over both edges. */
    fake_damon_put_region(tree, 11, start - 4096, start + 2 * 4096);
    fake_damon_put_region(tree, 12, start + 4090 * 4096, start + 5000 * 4096);
    fake_damon_put(tree, "proc/77/stat", "77 (kdamond.0) S 2 0 0 0 -1 2129984 "
                   "0 0 0 0 3 40 0 0 20 0\n");
    g_assert_cmpint(t->ops->collect(t, 0, 2048, got), ==, 1);
    check_file(tree, KDAMONDS "/0/state", "update_schemes_tried_regions");
    for (PageNo p = 0; p < 2048; p++) {
        g_assert_cmpint(vm_bit_test(got, p), ==,
                        p < 2 || (p >= 100 && p < 200));
    }
    g_assert_cmpint(atomic_load(&t->spent_ns), ==, 430 * VM_NS_PER_MS);
    /* The second half is of the same snapshot, whatever happened since. */
    fake_damon_put_region(tree, 4, start + 3000 * 4096, start + 3100 * 4096);
    memset(got, 0, sizeof(got));
    g_assert_cmpint(t->ops->collect(t, 2048, 2048, got), ==, 1);
    for (PageNo p = 0; p < 2048; p++) {
        g_assert_cmpint(vm_bit_test(got, p), ==, p >= 4090 - 2048);
    }
    t->ops->stop(t);
    fake_damon_free(tree);
}

/* A kdamond that takes more than 1 % of a CPU samples less often, one that
 * takes much less as often as at first. */
static void test_damon_cost_adapts(void)
{
    FakeDamon *tree = fake_damon_new();
    VmdTrackerEnv env = env_of(tree);
    uint64_t ticks = 0;
    unsigned long got[VM_BITMAP_LONGS(GUEST_PAGES)] = { 0 };
    const char *sample = CONTEXT "/monitoring_attrs/intervals/sample_us";
    static const struct {
        unsigned percent;
        uint64_t sample_us;
    } rounds[] = { { 1, 62500 }, { 3, 187500 }, { 60, 750000 },
                   { 1, 750000 }, { 0, 375000 }, { 0, 187500 }, { 0, 93750 },
                   { 0, 62500 }, { 0, 62500 } };

    fake_clock = 1000 * VM_NS_PER_SEC;
    env.now_ns = fake_now;
    VmdTracker *t = vmd_tracker_damon.start(&env, NULL);
    g_assert_nonnull(t);
    check_number(tree, sample, 62500);
    for (size_t i = 0; i < G_N_ELEMENTS(rounds); i++) {
        fake_clock += 10 * VM_NS_PER_SEC;
        ticks += rounds[i].percent * 10; /* of 10 s, at 100 Hz */
        g_autofree char *stat = g_strdup_printf(
            "77 (kdamond.0) S 2 0 0 0 -1 2129984 0 0 0 0 0 %d 0 0 20 0\n",
            (int)ticks);
        fake_damon_put(tree, "proc/77/stat", stat);
        fake_damon_put(tree, KDAMONDS "/0/state", "-");
        g_assert_cmpint(t->ops->collect(t, 0, 64, got), ==, 1);
        check_number(tree, sample, rounds[i].sample_us);
        check_number(tree, CONTEXT "/monitoring_attrs/intervals/aggr_us",
                     rounds[i].sample_us * 16);
        bool changed = i > 0 && rounds[i].sample_us !=
                                    rounds[i - 1].sample_us;
        check_file(tree, KDAMONDS "/0/state",
                   changed ? "commit" : "update_schemes_tried_regions");
    }
    t->ops->stop(t);
    fake_damon_free(tree);
}

static void test_damon_in_use(void)
{
    FakeDamon *tree = fake_damon_new();
    VmdTrackerEnv env = env_of(tree);
    g_autofree char *path = path_of(tree, KDAMONDS "/nr_kdamonds");

    fake_damon_put(tree, KDAMONDS "/nr_kdamonds", "1\n");
    fake_damon_put(tree, KDAMONDS "/0/state", "on\n");
    refused(&vmd_tracker_damon, &env, "in use");
    check_number(tree, KDAMONDS "/nr_kdamonds", 1); /* hands off */
    check_file(tree, KDAMONDS "/0/state", "on");
    fake_damon_put(tree, KDAMONDS "/nr_kdamonds", "0\n");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(flock(fd, LOCK_EX), ==, 0);
    refused(&vmd_tracker_damon, &env, "another VM");
    (void)close(fd);
    VmdTracker *t = vmd_tracker_damon.start(&env, NULL);
    g_assert_nonnull(t);
    refused(&vmd_tracker_damon, &env, "another VM");
    t->ops->stop(t);
    fake_damon_free(tree);
}

/* What a killed VM leaves is taken over; what differs from that in a single
 * thing is somebody else's. */
static void test_damon_left_over(void)
{
    static const struct {
        const char *name, *ours, *other;
    } files[] = {
        { KDAMONDS "/nr_kdamonds", "1\n", "2\n" },
        { KDAMONDS "/0/state", "off\n", "on\n" },
        { KDAMONDS "/0/contexts/nr_contexts", "1\n", "0\n" },
        { CONTEXT "/operations", "fvaddr\n", "vaddr\n" },
        { CONTEXT "/targets/nr_targets", "1\n", "2\n" },
        { CONTEXT "/targets/0/pid_target", "5000\n", "5001\n" },
        { CONTEXT "/schemes/nr_schemes", "1\n", "3\n" },
        { CONTEXT "/schemes/0/action", "stat\n", "pageout\n" },
    };
    FakeDamon *tree = fake_damon_new();
    VmdTrackerEnv env = env_of(tree);

    fake_damon_put(tree, "proc/5001/stat", "5001 (other) S\n"); /* lives */
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        fake_damon_put(tree, files[i].name, files[i].ours);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        fake_damon_put(tree, files[i].name, files[i].other);
        refused(&vmd_tracker_damon, &env, "in use");
        fake_damon_put(tree, files[i].name, files[i].ours);
    }
    VmdTracker *t = vmd_tracker_damon.start(&env, NULL);
    g_assert_nonnull(t);
    check_number(tree, KDAMONDS "/nr_kdamonds", 1);
    check_number(tree, CONTEXT "/targets/0/pid_target", (uint64_t)getpid());
    t->ops->stop(t);
    check_number(tree, KDAMONDS "/nr_kdamonds", 0);
    fake_damon_free(tree);
}

static void test_damon_missing(void)
{
    FakeDamon *tree = fake_damon_new();
    VmdTrackerEnv env = env_of(tree);
    g_autofree char *operations = path_of(tree, CONTEXT "/operations");
    g_autofree char *kdamonds = path_of(tree, KDAMONDS "/nr_kdamonds");

    /* Half of a set-up is undone. */
    g_assert_cmpint(g_remove(operations), ==, 0);
    refused(&vmd_tracker_damon, &env, "operations");
    check_number(tree, KDAMONDS "/nr_kdamonds", 0);
    g_assert_cmpint(g_remove(kdamonds), ==, 0);
    refused(&vmd_tracker_damon, &env, "CONFIG_DAMON_SYSFS");
    fake_damon_free(tree);
}

/* --- the choice ---------------------------------------------------------- */

static void test_choice(void)
{
    FakeDamon *tree = fake_damon_new();
    VmdTrackerEnv env = env_of(tree);
    VmdTrackerReport report;
    VmdTracker *t = NULL;
    g_autoptr(GError) err = NULL;

    /* The best that works; the report says why no better one. */
    g_assert_true(vmd_tracker_choose(VMD_TRACKER_AUTO, &env, &t, &report,
                                     NULL));
    g_assert_cmpstr(t->ops->name, ==, "damon");
    g_assert_nonnull(report.why_not[0]);
    g_assert_nonnull(strstr(report.why_not[1], "CONFIG_IDLE_PAGE_TRACKING"));
    g_assert_null(report.why_not[2]);
    g_assert_null(report.why_not[3]);
    vmd_tracker_report_clear(&report);
    t->ops->stop(t);

    fake_damon_put(tree, KDAMONDS "/nr_kdamonds", "1\n");
    fake_damon_put(tree, KDAMONDS "/0/state", "on\n");
    g_assert_true(vmd_tracker_choose(VMD_TRACKER_AUTO, &env, &t, &report,
                                     NULL));
    g_assert_cmpstr(t->ops->name, ==, "soft");
    g_assert_nonnull(strstr(report.why_not[2], "in use"));
    vmd_tracker_report_clear(&report);
    t->ops->stop(t);

    /* A named one that cannot work is refused, with the reason. */
    g_assert_false(vmd_tracker_choose(VMD_TRACKER_DAMON, &env, &t, &report,
                                      &err));
    g_assert_nonnull(strstr(err->message, "tracker=damon"));
    g_assert_nonnull(strstr(err->message, "in use"));
    g_clear_error(&err);
    g_assert_false(vmd_tracker_choose(VMD_TRACKER_IDLE, &env, &t, &report,
                                      &err));
    g_assert_nonnull(strstr(err->message, "tracker=idle"));
    g_clear_error(&err);
    g_assert_false(vmd_tracker_choose(VMD_TRACKER_RWP, &env, &t, &report,
                                      &err));
    g_assert_nonnull(strstr(err->message, "tracker=rwp"));

    g_assert_true(vmd_tracker_choose(VMD_TRACKER_OFF, &env, &t, &report,
                                     NULL));
    g_assert_null(t);
    fake_damon_free(tree);
}

/* --- the observer -------------------------------------------------------- */

typedef struct Source {
    VmdTracker tracker; /* first */
    unsigned rounds;    /* begun; observer thread */
    int64_t cost_ns;    /* of each batch */
    int64_t taker_ns;   /* what the taker says */
    int error;          /* in the third round */
    VmMutex lock;
    VmCond changed;
    unsigned delivered; /* these three under the lock */
    int last_error;
    bool interrupted;
} Source;

static int64_t thread_cpu_ns(void)
{
    struct timespec t;

    g_assert_cmpint(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), ==, 0);
    return t.tv_sec * VM_NS_PER_SEC + t.tv_nsec;
}

static void burn(int64_t ns)
{
    int64_t end = thread_cpu_ns() + ns;

    while (thread_cpu_ns() < end) {
    }
}

static int source_collect(VmdTracker *t, PageNo first, uint32_t count,
                          unsigned long *accessed)
{
    Source *s = (Source *)t;

    s->rounds += first == 0;
    burn(s->cost_ns);
    if (s->rounds == 1) {
        return 0;
    }
    if (s->rounds == 3 && s->error) {
        return s->error;
    }
    vm_bit_set(accessed, first / 4096 % 64);
    return 1;
}

/* Sleeps until it is interrupted. */
static int sleepy_collect(VmdTracker *t, PageNo first, uint32_t count,
                          unsigned long *accessed)
{
    Source *s = (Source *)t;

    vm_mutex_lock(&s->lock);
    s->delivered++;
    vm_cond_broadcast(&s->changed);
    while (!s->interrupted) {
        vm_cond_wait(&s->changed, &s->lock);
    }
    vm_mutex_unlock(&s->lock);
    return -EINTR;
}

static void sleepy_interrupt(VmdTracker *t)
{
    Source *s = (Source *)t;

    vm_mutex_lock(&s->lock);
    s->interrupted = true;
    vm_cond_broadcast(&s->changed);
    vm_mutex_unlock(&s->lock);
}

static const VmdTrackerOps source_ops = { .name = "source",
                                          .collect = source_collect };
static const VmdTrackerOps sleepy_ops = { .name = "sleepy",
                                          .collect = sleepy_collect,
                                          .interrupt = sleepy_interrupt };

static Source *new_source(const VmdTrackerOps *ops)
{
    Source *s = g_new0(Source, 1);

    s->tracker.ops = ops;
    vm_mutex_init(&s->lock, VM_RANK_LEAF);
    vm_cond_init(&s->changed);
    return s;
}

static void free_source(Source *s)
{
    vm_cond_done(&s->changed);
    vm_mutex_done(&s->lock);
    g_free(s);
}

static void on_observation(void *opaque, VmdObserver *observer,
                           const VmdObservation *o)
{
    Source *s = opaque;

    vm_mutex_lock(&s->lock);
    if (o->error == 0) {
        g_assert_cmpuint(o->first, ==,
                         s->delivered % 3 * VMD_OBSERVER_BATCH_PAGES);
        g_assert_cmpuint(o->count, ==, s->delivered % 3 == 2
                                           ? 100 : VMD_OBSERVER_BATCH_PAGES);
        g_assert_true(vm_bit_test(o->accessed, o->first / 4096 % 64));
    }
    s->last_error = o->error;
    s->delivered++;
    vm_cond_broadcast(&s->changed);
    vm_mutex_unlock(&s->lock);
    vmd_observer_taken(observer, s->taker_ns);
}

static void wait_delivered(Source *s, unsigned n)
{
    vm_mutex_lock(&s->lock);
    while (s->delivered < n) {
        vm_cond_wait(&s->changed, &s->lock);
    }
    vm_mutex_unlock(&s->lock);
}

static const VmdTrackerEnv observer_env = {
    .pages = 2 * VMD_OBSERVER_BATCH_PAGES + 100,
    .chunk_pages = 1,
    .interval_ns = 10 * VM_NS_PER_MS,
    .now_ns = vm_clock_ns,
    .root = "",
};

/* Rounds in order, the first without a word; then an error ends it. */
static void test_observer_rounds(void)
{
    Source *s = new_source(&source_ops);

    s->error = -EIO;
    VmdObserver *o = vmd_observer_new(&s->tracker, &observer_env,
                                      on_observation, s);
    wait_delivered(s, 4);
    vmd_observer_free(o);
    g_assert_cmpuint(s->delivered, ==, 4);
    g_assert_cmpint(s->last_error, ==, -EIO);
    g_assert_cmpint(atomic_load(&s->tracker.round_ns), >=,
                    observer_env.interval_ns);
    free_source(s);
}

/* A batch that costs 1 ms of CPU, at both ends together, has to wait for
 * 100 ms of time. */
static void test_observer_pays(void)
{
    Source *s = new_source(&source_ops);
    int64_t start = vm_clock_ns();

    s->cost_ns = VM_NS_PER_MS / 2;
    s->taker_ns = VM_NS_PER_MS / 2;
    VmdObserver *o = vmd_observer_new(&s->tracker, &observer_env,
                                      on_observation, s);
    /* The eighth batch; the first round's three have no taker. */
    wait_delivered(s, 5);
    g_assert_cmpint(vm_clock_ns() - start, >=, (3 * 49 + 4 * 99) *
                                                   VM_NS_PER_MS);
    g_assert_cmpint(atomic_load(&s->tracker.spent_ns), >=,
                    (3 + 4 * 2) * VM_NS_PER_MS / 2);
    vmd_observer_free(o);
    free_source(s);
}

static unsigned delivered(Source *s)
{
    vm_mutex_lock(&s->lock);
    unsigned n = s->delivered;
    vm_mutex_unlock(&s->lock);
    return n;
}

static void keep_it(void *opaque, VmdObserver *observer,
                    const VmdObservation *o)
{
    Source *s = opaque;

    vm_mutex_lock(&s->lock);
    s->delivered++;
    vm_cond_broadcast(&s->changed);
    vm_mutex_unlock(&s->lock);
}

static void count_it(void *opaque, VmdObserver *observer,
                     const VmdObservation *o)
{
    keep_it(opaque, observer, o);
    vmd_observer_taken(observer, 0);
}

static atomic_int_least64_t hand_ns; /* of a clock that the test moves */

static int64_t hand_clock(void)
{
    return atomic_load(&hand_ns);
}

/* Nobody looks again: as far as some milliseconds can tell. */
static void assert_rests(Source *s, unsigned n)
{
    g_usleep(20000);
    g_assert_cmpuint(delivered(s), ==, n);
}

/* The clock moves; running: wakes who sleeps by it. */
static void pass(VmdObserver *o, int64_t ns, bool running)
{
    atomic_fetch_add(&hand_ns, ns);
    vmd_observer_set_running(o, running);
}

/* Nothing is looked at while the guest stands, and no round is made up for
 * afterwards: the interval goes on where it was. */
static void test_observer_rests(void)
{
    VmdTrackerEnv env = observer_env;
    Source *s = new_source(&source_ops);

    env.now_ns = hand_clock;
    env.interval_ns = 10 * VM_NS_PER_SEC; /* a hundredth of it is plenty */
    env.pages = 64;                       /* a batch is a round */
    VmdObserver *o = vmd_observer_new(&s->tracker, &env, count_it, s);
    while (atomic_load(&s->tracker.spent_ns) == 0) {
        g_usleep(1000); /* the first round, which is not delivered */
    }
    for (unsigned n = 0; n < 3; n++) {
        pass(o, env.interval_ns, true);
        wait_delivered(s, n + 1);
    }
    vmd_observer_set_running(o, false);
    pass(o, 100 * env.interval_ns + 1, false);
    assert_rests(s, 3);
    vmd_observer_set_running(o, true);
    assert_rests(s, 3);
    pass(o, env.interval_ns - 1, true);
    assert_rests(s, 3);
    pass(o, 1, true);
    wait_delivered(s, 4);
    vmd_observer_free(o);
    g_assert_cmpuint(s->delivered, ==, 4);
    free_source(s);
}

/* It ends although nobody takes what it has, and out of a sleep. */
static void test_observer_stops(void)
{
    Source *s = new_source(&source_ops);
    VmdObserver *o = vmd_observer_new(&s->tracker, &observer_env, keep_it, s);

    wait_delivered(s, 1);
    vmd_observer_stop(o);
    vmd_observer_taken(o, 0); /* as the pager may, after the end */
    vmd_observer_free(o);
    g_assert_cmpuint(s->delivered, ==, 1);
    free_source(s);

    s = new_source(&sleepy_ops);
    o = vmd_observer_new(&s->tracker, &observer_env, keep_it, s);
    wait_delivered(s, 1);
    vmd_observer_free(o);
    g_assert_cmpuint(s->delivered, ==, 1); /* and no error is told */
    free_source(s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/idle/tells-each-page", test_idle_tells_each_page);
    g_test_add_func("/idle/leaves-others-alone",
                    test_idle_leaves_others_alone);
    g_test_add_func("/idle/absent", test_idle_absent);
    g_test_add_func("/idle/reads-little", test_idle_reads_little);
    g_test_add_func("/idle/huge", test_idle_huge);
    g_test_add_func("/idle/error", test_idle_error);
    g_test_add_func("/damon/sets-up-and-cleans-up",
                    test_damon_sets_up_and_cleans_up);
    g_test_add_func("/damon/cost-is-bounded", test_damon_cost_is_bounded);
    g_test_add_func("/damon/cost-adapts", test_damon_cost_adapts);
    g_test_add_func("/damon/tells-regions", test_damon_tells_regions);
    g_test_add_func("/damon/in-use", test_damon_in_use);
    g_test_add_func("/damon/left-over", test_damon_left_over);
    g_test_add_func("/damon/missing", test_damon_missing);
    g_test_add_func("/choice", test_choice);
    g_test_add_func("/observer/rounds", test_observer_rounds);
    g_test_add_func("/observer/pays", test_observer_pays);
    g_test_add_func("/observer/rests", test_observer_rests);
    g_test_add_func("/observer/stops", test_observer_stops);
    return g_test_run();
}
