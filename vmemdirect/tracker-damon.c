/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DAMON on our own address space as an access source (sysfs interface; Linux
 * Documentation/admin-guide/mm/damon/usage.rst).
 *
 * A kernel thread (kdamond) splits the guest's mapping in regions, checks one
 * page of each at every sampling interval, and counts in how many of these it
 * was accessed. A scheme that does nothing but account (stat) selects the
 * regions that were accessed in at least an eighth of the samples; once a
 * round its tried regions are read. All pages of such a region count as
 * accessed: this source is as coarse as its regions are.
 *
 * The cost does not grow with the guest: at most REGIONS_MAX regions, and
 * CHECKS_PER_SECOND checks. With many regions the sampling interval grows, and
 * with it that of a round, which is always SAMPLES of them. What kdamond takes
 * is measured; where that is more than 1 % of a CPU (a check is slow), the
 * sampling interval grows too.
 *
 * The interface has one set of kdamonds for the whole machine. It is taken
 * only if there is none (nr_kdamonds is 0), under a lock on that file which
 * keeps other VMs of ours out; at the end it is put back to 0. If this process
 * is killed its kdamond ends by itself, but nr_kdamonds keeps 1. What is left
 * then is known by its settings, and the next VM takes it over.
 *
 * Threads: start and stop by the main thread, the rest by the observer's;
 * interrupt by any.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "observer.h"
#include "tracker.h"
#include "util/bits.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"

#define ADMIN "/sys/kernel/mm/damon/admin/kdamonds"
#define CONTEXT "0/contexts/0/"
#define SCHEME CONTEXT "schemes/0/"
#define REGIONS_MAX 1000u
#define REGIONS_MIN 10u /* what the kernel asks for */
/* 2 us each is 1 % of a CPU. */
#define CHECKS_PER_SECOND 5000u
/* Samples in a round; accessed in how many of them counts. */
#define SAMPLES 16u
#define SAMPLES_ACCESSED 2u
#define SAMPLE_MIN_NS (5 * VM_NS_PER_MS)
#define SAMPLE_MAX_NS (10 * VM_NS_PER_SEC)
#define BUSY_TRIES 200u
#define BUSY_US 5000u
/* Longer ones would only make us wait: rounds look at their end. */
#define AGGREGATION_MAX_NS (4 * VM_NS_PER_SEC)

typedef struct Region {
    PageNo first, end;
} Region;

typedef struct Damon {
    VmdTracker tracker; /* first */
    VmdTrackerEnv env;
    char *admin;     /* path of the kdamonds directory */
    int lock_fd;     /* nr_kdamonds, locked */
    bool made;       /* we have made kdamond 0 */
    GArray *regions; /* of Region: the last snapshot, in order */
    int64_t sample_ns;
    int64_t kdamond_ns; /* its CPU time, when last looked at */
    int64_t looked_ns;
} Damon;

/* --- files --------------------------------------------------------------- */

/* 0 or -errno; a short write is an error in sysfs too. */
static int put_once(const Damon *d, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(d->admin, name, NULL);
    vm_autofd fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    ssize_t n = write(fd, text, strlen(text));
    return n < 0 ? -errno : (size_t)n == strlen(text) ? 0 : -EIO;
}

/* The interface has one lock, and says EBUSY to whoever meets another one in
 * it: our own two threads, or a person who looks. */
static int put(const Damon *d, const char *name, const char *text)
{
    int r = put_once(d, name, text);

    for (unsigned n = 0; r == -EBUSY && n < BUSY_TRIES; n++) {
        g_usleep(BUSY_US);
        r = put_once(d, name, text);
    }
    return r;
}

static int put_u64(const Damon *d, const char *name, uint64_t value)
{
    char text[24];

    g_snprintf(text, sizeof(text), "%" PRIu64, value);
    return put(d, name, text);
}

static int get(const char *path, char *text, size_t size)
{
    vm_autofd fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, text, size - 1);
    if (n < 0) {
        return -errno;
    }
    text[n] = '\0';
    g_strchomp(text);
    return 0;
}

static int get_u64(const Damon *d, const char *name, uint64_t *ret)
{
    g_autofree char *path = g_build_filename(d->admin, name, NULL);
    char text[32];
    guint64 value;
    int r = get(path, text, sizeof(text));

    if (r == 0 && !g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64,
                                              &value, NULL)) {
        r = -EINVAL;
    }
    if (r == 0) {
        *ret = value;
    }
    return r;
}

/* --- set-up -------------------------------------------------------------- */

typedef struct Setting {
    const char *name;
    uint64_t value;
} Setting;

static int put_settings(const Damon *d, const Setting *settings, size_t n,
                        const char **ret_name)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        *ret_name = settings[i].name;
        r = put_u64(d, settings[i].name, settings[i].value);
    }
    return r;
}

/* One region a chunk, if that is not too many. */
static uint64_t regions_max(const VmdTrackerEnv *env)
{
    return CLAMP(env->pages / env->chunk_pages, 2 * REGIONS_MIN, REGIONS_MAX);
}

/* Often enough for SAMPLES a round, seldom enough for the cost. */
static int64_t first_sample_ns(const VmdTrackerEnv *env)
{
    int64_t fit = MIN(env->interval_ns, AGGREGATION_MAX_NS) / SAMPLES;
    int64_t pay = (int64_t)regions_max(env) * VM_NS_PER_SEC /
                  CHECKS_PER_SECOND;

    return MAX(MAX(fit, pay), SAMPLE_MIN_NS);
}

static int put_intervals(const Damon *d, const char **ret_name)
{
    uint64_t sample_us = (uint64_t)(d->sample_ns / VM_NS_PER_US);
    const Setting intervals[] = {
        { CONTEXT "monitoring_attrs/intervals/sample_us", sample_us },
        { CONTEXT "monitoring_attrs/intervals/aggr_us", sample_us * SAMPLES },
        { CONTEXT "monitoring_attrs/intervals/update_us",
          sample_us * SAMPLES * 16 },
    };

    return put_settings(d, intervals, G_N_ELEMENTS(intervals), ret_name);
}

static int put_target_and_scheme(const Damon *d, const char **ret_name)
{
    const VmdTrackerEnv *env = &d->env;
    uint64_t start = (uintptr_t)env->guest;
    const Setting settings[] = {
        { CONTEXT "monitoring_attrs/nr_regions/max", regions_max(env) },
        { CONTEXT "monitoring_attrs/nr_regions/min", regions_max(env) / 2 },
        { CONTEXT "targets/nr_targets", 1 },
        { CONTEXT "targets/0/pid_target", (uint64_t)getpid() },
        { CONTEXT "targets/0/regions/nr_regions", 1 },
        { CONTEXT "targets/0/regions/0/start", start },
        { CONTEXT "targets/0/regions/0/end",
          start + env->pages * RAM_PAGE_BYTES },
        { CONTEXT "schemes/nr_schemes", 1 },
        { SCHEME "access_pattern/sz/max", G_MAXINT64 },
        { SCHEME "access_pattern/nr_accesses/min", SAMPLES_ACCESSED },
        { SCHEME "access_pattern/nr_accesses/max", SAMPLES },
        { SCHEME "access_pattern/age/max", G_MAXUINT32 },
    };

    return put_settings(d, settings, G_N_ELEMENTS(settings), ret_name);
}

static int configure(const Damon *d, const char **ret_name)
{
    *ret_name = "0/contexts/nr_contexts";
    int r = put_u64(d, *ret_name, 1);
    if (r == 0) {
        r = put_intervals(d, ret_name);
    }
    if (r == 0) {
        r = put_target_and_scheme(d, ret_name);
    }
    if (r == 0) {
        *ret_name = SCHEME "action";
        r = put(d, *ret_name, "stat");
    }
    if (r == 0) {
        /* Not vaddr, which would find regions all over the process. */
        *ret_name = CONTEXT "operations";
        r = put(d, *ret_name, "fvaddr");
    }
    if (r == 0) {
        *ret_name = "0/state";
        r = put(d, *ret_name, "on");
    }
    return r;
}

static bool is_u64(const Damon *d, const char *name, uint64_t value)
{
    uint64_t is;

    return get_u64(d, name, &is) == 0 && is == value;
}

static bool is_text(const Damon *d, const char *name, const char *value)
{
    g_autofree char *path = g_build_filename(d->admin, name, NULL);
    char text[32];

    return get(path, text, sizeof(text)) == 0 && strcmp(text, value) == 0;
}

static bool is_alive(const Damon *d, uint64_t pid)
{
    g_autofree char *path = g_strdup_printf("%s/proc/%" PRIu64, d->env.root,
                                            pid);

    return access(path, F_OK) == 0;
}

/*
 * The one kdamond that there is was left by a VM of ours that was killed: it
 * is off, set up as configure() does it, and for a process that is gone. To
 * make another in its place is safe even if somebody starts it at this
 * moment: the kernel refuses that for one that is on.
 */
static bool is_left_over(const Damon *d)
{
    uint64_t pid;

    return is_text(d, "0/state", "off") &&
           is_u64(d, "0/contexts/nr_contexts", 1) &&
           is_text(d, CONTEXT "operations", "fvaddr") &&
           is_u64(d, CONTEXT "targets/nr_targets", 1) &&
           is_u64(d, CONTEXT "schemes/nr_schemes", 1) &&
           is_text(d, SCHEME "action", "stat") &&
           get_u64(d, CONTEXT "targets/0/pid_target", &pid) == 0 &&
           !is_alive(d, pid);
}

static bool take_lock(Damon *d, GError **errp)
{
    g_autofree char *path = g_build_filename(d->admin, "nr_kdamonds", NULL);
    uint64_t kdamonds = 0;

    d->lock_fd = open(path, O_RDWR | O_CLOEXEC);
    if (d->lock_fd < 0 && errno == ENOENT) {
        return vm_error_set(errp, 0,
                            "this kernel has no DAMON (CONFIG_DAMON_SYSFS)");
    }
    if (d->lock_fd < 0) {
        return vm_error_set(errp, errno, "%s cannot be opened; it needs root",
                            path);
    }
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        return vm_error_set(errp, 0, "DAMON is in use by another VM");
    }
    int r = get_u64(d, "nr_kdamonds", &kdamonds);
    if (r < 0) {
        return vm_error_set(errp, -r, "%s cannot be read", path);
    }
    if (kdamonds != 0 && !(kdamonds == 1 && is_left_over(d))) {
        return vm_error_set(errp, 0,
                            "DAMON is in use: %s is %" PRIu64 ", not 0", path,
                            kdamonds);
    }
    return true;
}

static void damon_stop(VmdTracker *t)
{
    Damon *d = (Damon *)t;

    if (d->made) {
        (void)put(d, "0/state", "off"); /* it may be off */
        (void)put_u64(d, "nr_kdamonds", 0);
    }
    vm_close_fd(&d->lock_fd);
    g_array_unref(d->regions);
    g_free(d->admin);
    g_free(d);
}

static VmdTracker *damon_start(const VmdTrackerEnv *env, GError **errp)
{
    Damon *d = g_new0(Damon, 1);
    const char *name = "nr_kdamonds";

    d->tracker.ops = &vmd_tracker_damon;
    d->env = *env;
    d->admin = g_strconcat(env->root, ADMIN, NULL);
    d->lock_fd = -1;
    d->sample_ns = first_sample_ns(env);
    d->looked_ns = env->now_ns();
    d->regions = g_array_new(FALSE, FALSE, sizeof(Region));
    if (!take_lock(d, errp)) {
        damon_stop(&d->tracker);
        return NULL;
    }
    int r = put_u64(d, name, 1);
    d->made = r == 0;
    if (r == 0) {
        r = configure(d, &name);
    }
    if (r < 0) {
        vm_error_set(errp, -r, "DAMON: cannot set %s", name);
        damon_stop(&d->tracker);
        return NULL;
    }
    return &d->tracker;
}

/* --- rounds -------------------------------------------------------------- */

/* The kernel thread's CPU time; false if it is not to be had. */
static bool kdamond_cpu_ns(const Damon *d, int64_t *ret_ns)
{
    uint64_t pid = 0, user, kernel;
    char text[512];

    if (get_u64(d, "0/pid", &pid) < 0) {
        return false;
    }
    g_autofree char *path = g_strdup_printf("%s/proc/%" PRIu64 "/stat",
                                            d->env.root, pid);
    if (get(path, text, sizeof(text)) < 0) {
        return false;
    }
    /* proc_pid_stat(5): 14 and 15, utime and stime; 2 may have blanks. */
    const char *after = strrchr(text, ')');
    if (!after || sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u "
                         "%*u %" SCNu64 " %" SCNu64, &user, &kernel) != 2) {
        return false;
    }
    *ret_ns = (int64_t)(user + kernel) *
              (VM_NS_PER_SEC / sysconf(_SC_CLK_TCK));
    return true;
}

/* The sampling interval for a kdamond that took cost_ns of passed_ns. */
static int64_t better_sample_ns(const Damon *d, int64_t cost_ns,
                                int64_t passed_ns)
{
    int64_t allowed_ns = passed_ns / VMD_TRACKER_COST_DIVISOR;

    if (cost_ns > 2 * allowed_ns) {
        return d->sample_ns * MIN(cost_ns / MAX(allowed_ns, 1), 4);
    }
    if (cost_ns < allowed_ns / 4) {
        return MAX(d->sample_ns / 2, first_sample_ns(&d->env));
    }
    return d->sample_ns;
}

static int account(Damon *d)
{
    int64_t cpu_ns, now = d->env.now_ns();
    const char *name;

    if (!kdamond_cpu_ns(d, &cpu_ns)) {
        return 0; /* then nobody knows what it costs */
    }
    int64_t cost_ns = cpu_ns - d->kdamond_ns;
    int64_t sample_ns = MIN(better_sample_ns(d, cost_ns, now - d->looked_ns),
                            SAMPLE_MAX_NS);
    atomic_fetch_add(&d->tracker.spent_ns, cost_ns);
    d->kdamond_ns = cpu_ns;
    d->looked_ns = now;
    if (sample_ns == d->sample_ns) {
        return 0;
    }
    d->sample_ns = sample_ns;
    int r = put_intervals(d, &name);
    return r < 0 ? r : put(d, "0/state", "commit");
}

/* One of the tried regions, if it is of the guest. */
static void add_region(Damon *d, const char *number)
{
    uint64_t base = (uintptr_t)d->env.guest, start, end;
    g_autofree char *from = g_strconcat(SCHEME "tried_regions/", number,
                                        "/start", NULL);
    g_autofree char *to = g_strconcat(SCHEME "tried_regions/", number, "/end",
                                      NULL);

    if (!g_ascii_isdigit(number[0]) || get_u64(d, from, &start) < 0 ||
        get_u64(d, to, &end) < 0) {
        return;
    }
    start = MAX(start, base);
    end = MIN(end, base + d->env.pages * RAM_PAGE_BYTES);
    if (start < end) {
        Region region = { (start - base) / RAM_PAGE_BYTES,
                          (end - base) / RAM_PAGE_BYTES };
        g_array_append_val(d->regions, region);
    }
}

static gint compare_regions(gconstpointer a, gconstpointer b)
{
    PageNo x = ((const Region *)a)->first, y = ((const Region *)b)->first;

    return x < y ? -1 : x > y;
}

/* Waits for the end of an aggregation, which is when the kernel answers. */
static int snapshot(Damon *d)
{
    int r = put(d, "0/state", "update_schemes_tried_regions");
    g_autofree char *path = g_build_filename(d->admin,
                                             SCHEME "tried_regions", NULL);
    const char *number;

    if (r < 0) {
        return r;
    }
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    if (!dir) {
        return -ENOENT;
    }
    g_array_set_size(d->regions, 0);
    while ((number = g_dir_read_name(dir))) {
        add_region(d, number);
    }
    g_array_sort(d->regions, compare_regions);
    return account(d);
}

static int damon_collect(VmdTracker *t, PageNo first, uint32_t count,
                         unsigned long *accessed)
{
    Damon *d = (Damon *)t;
    int r = first == 0 ? snapshot(d) : 0;

    if (r < 0) {
        return r;
    }
    for (guint i = 0; i < d->regions->len; i++) {
        const Region *region = &g_array_index(d->regions, Region, i);
        PageNo from = MAX(region->first, first);
        PageNo to = MIN(region->end, first + count);
        if (from < to) {
            vm_bitmap_set(accessed, from - first, to - from);
        }
    }
    return 1;
}

static void damon_interrupt(VmdTracker *t)
{
    /* What waits for kdamond's answer sees that it is gone. */
    (void)put((Damon *)t, "0/state", "off");
}

const VmdTrackerOps vmd_tracker_damon = {
    .name = "damon",
    .start = damon_start,
    .stop = damon_stop,
    .collect = damon_collect,
    .interrupt = damon_interrupt,
};
