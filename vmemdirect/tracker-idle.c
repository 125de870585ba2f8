/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Idle page tracking as an access source (CONFIG_IDLE_PAGE_TRACKING; Linux
 * Documentation/admin-guide/mm/idle_page_tracking.rst).
 *
 * The kernel keeps a bit for each physical page: idle, if it was marked so and
 * not accessed since. It asks the second-level page tables too, so accesses by
 * the guest count. /proc/self/pagemap tells which physical page is behind
 * which page of the guest. For each batch: read both, a page that was marked
 * last time and is not idle any more was accessed, mark all of them again.
 *
 * The pages of a batch are sorted by physical number, since one read of the
 * bitmap gives 64 neighbours, and a memory that was filled in order lies in
 * long runs.
 *
 * Only the first page of a huge page has a bit; the others always read as not
 * idle. So where 512 pages in a row lie as a huge page would, and none but the
 * first is idle, the first one speaks for all. (Small pages that happen to
 * lie so, and all of which but the first were accessed, are taken for one.)
 *
 * An access between the read of a bit and its marking is lost. A page that
 * was exchanged for another one since it was marked may be told wrongly; the
 * pager knows such chunks, and does not listen.
 *
 * Invariant: (I1) a page is in marked only if it was there, and was marked,
 * when its batch was last collected.
 *
 * Threads: the observer's.
 */
#include "tracker-idle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "observer.h"
#include "util/bits.h"
#include "util/error.h"
#include "util/fd.h"

/* proc_pid_pagemap(5) */
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_FRAME ((UINT64_C(1) << 55) - 1)
#define HUGE_PAGES 512u
/* Words of the bitmap in one read; and the gap that is rather read. */
#define RUN_WORDS 512u
#define GAP_WORDS 8u

typedef struct Place {
    uint64_t frame; /* physical page */
    uint32_t bit;   /* page of the batch */
} Place;

typedef struct Idle {
    VmdTracker tracker; /* first */
    const VmdIdleIo *io;
    void *opaque;
    unsigned long *marked; /* by page */
    Place *places;         /* VMD_OBSERVER_BATCH_PAGES */
    uint64_t *entries;     /* the same */
} Idle;

static int compare_places(const void *a, const void *b)
{
    uint64_t x = ((const Place *)a)->frame, y = ((const Place *)b)->frame;

    return x < y ? -1 : x > y;
}

/* The pages of the batch that are there, in order of their frames. */
static int find_places(Idle *idle, PageNo first, uint32_t count,
                       uint32_t *ret_n)
{
    uint32_t n = 0;
    bool sorted = true;
    int r = idle->io->read_pagemap(idle->opaque, first, count, idle->entries);

    if (r < 0) {
        return r;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t frame = idle->entries[i] & ENTRY_FRAME;
        if ((idle->entries[i] & ENTRY_PRESENT) && frame != 0) {
            sorted = sorted && (n == 0 || idle->places[n - 1].frame < frame);
            idle->places[n++] = (Place){ frame, i };
        }
    }
    if (!sorted) {
        qsort(idle->places, n, sizeof(idle->places[0]), compare_places);
    }
    *ret_n = n;
    return 0;
}

/* As many places from `from` on as one read of the bitmap covers well. */
static uint32_t run_end(const Idle *idle, uint32_t from, uint32_t n)
{
    uint64_t low = idle->places[from].frame / 64;
    uint64_t last = low;
    uint32_t end = from + 1;

    while (end < n) {
        uint64_t word = idle->places[end].frame / 64;
        if (word - last > GAP_WORDS || word - low >= RUN_WORDS) {
            break;
        }
        last = word;
        end++;
    }
    return end;
}

static bool is_idle(const uint64_t *words, uint64_t low, uint64_t frame)
{
    return (words[frame / 64 - low] >> (frame % 64)) & 1;
}

/* Do the places from `from` on look like one huge page, see above? */
static bool is_huge(const Idle *idle, const uint64_t *words, uint64_t low,
                    uint32_t from, uint32_t end)
{
    const Place *head = &idle->places[from];

    if (head->frame % HUGE_PAGES != 0 || end - from < HUGE_PAGES ||
        idle->places[from + HUGE_PAGES - 1].frame !=
            head->frame + HUGE_PAGES - 1) {
        return false;
    }
    for (uint32_t i = 1; i < HUGE_PAGES; i++) {
        if (head[i].bit != head->bit + i ||
            is_idle(words, low, head[i].frame)) {
            return false;
        }
    }
    return true;
}

static int collect_run(Idle *idle, PageNo first, uint32_t from, uint32_t end,
                       unsigned long *accessed)
{
    uint64_t idle_words[RUN_WORDS], marks[RUN_WORDS] = { 0 };
    uint64_t low = idle->places[from].frame / 64;
    uint32_t count = (uint32_t)(idle->places[end - 1].frame / 64 - low + 1);
    uint32_t huge_end = from; /* places before it follow their head */
    bool head_idle = false;
    int r = idle->io->read_idle(idle->opaque, low, count, idle_words);

    if (r < 0) {
        return r;
    }
    for (uint32_t k = from; k < end; k++) {
        const Place *place = &idle->places[k];
        bool is = is_idle(idle_words, low, place->frame);
        if (k >= huge_end && is_huge(idle, idle_words, low, k, end)) {
            huge_end = k + HUGE_PAGES;
            head_idle = is;
        }
        if (k < huge_end) {
            is = head_idle;
        }
        if (!is && vm_bit_test(idle->marked, first + place->bit)) {
            vm_bit_set(accessed, place->bit);
        }
        marks[place->frame / 64 - low] |= UINT64_C(1) << (place->frame % 64);
    }
    r = idle->io->write_idle(idle->opaque, low, count, marks);
    for (uint32_t k = from; r == 0 && k < end; k++) { /* (I1) */
        vm_bit_set(idle->marked, first + idle->places[k].bit);
    }
    return r;
}

static int idle_collect(VmdTracker *t, PageNo first, uint32_t count,
                        unsigned long *accessed)
{
    Idle *idle = (Idle *)t;
    bool known = vm_bitmap_next_set(idle->marked, first, first + count) <
                 first + count;
    uint32_t n = 0;
    int r = find_places(idle, first, count, &n);

    if (r < 0) {
        return r;
    }
    for (uint32_t k = 0; k < n; ) {
        uint32_t end = run_end(idle, k, n);
        r = collect_run(idle, first, k, end, accessed);
        if (r < 0) {
            return r;
        }
        k = end;
    }
    /* (I1): what is not there now is not marked. */
    for (uint32_t i = 0; i < count; i++) {
        if (!(idle->entries[i] & ENTRY_PRESENT)) {
            vm_bit_clear(idle->marked, first + i);
        }
    }
    return known;
}

VmdTracker *vmd_idle_new(const VmdIdleIo *io, void *opaque, uint64_t pages)
{
    Idle *idle = g_new0(Idle, 1);

    idle->tracker.ops = &vmd_tracker_idle;
    idle->io = io;
    idle->opaque = opaque;
    idle->marked = vm_bitmap_new(pages);
    idle->places = g_new(Place, VMD_OBSERVER_BATCH_PAGES);
    idle->entries = g_new(uint64_t, VMD_OBSERVER_BATCH_PAGES);
    return &idle->tracker;
}

static void idle_stop(VmdTracker *t)
{
    Idle *idle = (Idle *)t;

    idle->io->close(idle->opaque);
    g_free(idle->marked);
    g_free(idle->places);
    g_free(idle->entries);
    g_free(idle);
}

/* --- the kernel's files -------------------------------------------------- */

typedef struct Files {
    int pagemap, bitmap;
    uint64_t guest_page; /* virtual page number of the guest's page 0 */
} Files;

static int read_all(int fd, void *buf, size_t len, uint64_t offset)
{
    ssize_t n = pread(fd, buf, len, (off_t)offset);

    return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

static int files_read_pagemap(void *opaque, PageNo first, uint32_t count,
                              uint64_t *entries)
{
    Files *f = opaque;

    return read_all(f->pagemap, entries, count * sizeof(*entries),
                    (f->guest_page + first) * sizeof(*entries));
}

/* The end of memory may cut the last words short: nothing of ours is there. */
static int files_read_idle(void *opaque, uint64_t word, uint32_t count,
                           uint64_t *words)
{
    return read_all(((Files *)opaque)->bitmap, words, count * sizeof(*words),
                    word * sizeof(*words));
}

static int files_write_idle(void *opaque, uint64_t word, uint32_t count,
                            const uint64_t *words)
{
    size_t len = count * sizeof(*words);
    ssize_t n = pwrite(((Files *)opaque)->bitmap, words, len,
                       (off_t)(word * sizeof(*words)));

    return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

static void files_close(void *opaque)
{
    Files *f = opaque;

    vm_close_fd(&f->pagemap);
    vm_close_fd(&f->bitmap);
    g_free(f);
}

static const VmdIdleIo files_io = {
    .read_pagemap = files_read_pagemap,
    .read_idle = files_read_idle,
    .write_idle = files_write_idle,
    .close = files_close,
};

/* Physical page numbers are shown to CAP_SYS_ADMIN only; others read 0. */
static bool sees_frames(Files *f)
{
    volatile int here = 1;
    uint64_t entry = 0;
    uint64_t page = (uintptr_t)&here / RAM_PAGE_BYTES;

    return read_all(f->pagemap, &entry, sizeof(entry),
                    page * sizeof(entry)) == 0 &&
           (entry & ENTRY_PRESENT) && (entry & ENTRY_FRAME) != 0;
}

static int open_file(const VmdTrackerEnv *env, const char *path, int flags)
{
    g_autofree char *full = g_strconcat(env->root, path, NULL);
    int fd = open(full, flags | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static VmdTracker *idle_start(const VmdTrackerEnv *env, GError **errp)
{
    Files *f = g_new0(Files, 1);

    f->guest_page = (uintptr_t)env->guest / RAM_PAGE_BYTES;
    f->pagemap = open_file(env, "/proc/self/pagemap", O_RDONLY);
    f->bitmap = open_file(env, "/sys/kernel/mm/page_idle/bitmap", O_RDWR);
    if (f->bitmap == -ENOENT) {
        vm_error_set(errp, 0,
                     "this kernel has no idle page tracking "
                     "(CONFIG_IDLE_PAGE_TRACKING)");
    } else if (f->bitmap < 0) {
        vm_error_set(errp, -f->bitmap,
                     "/sys/kernel/mm/page_idle/bitmap cannot be opened; it "
                     "needs root");
    } else if (f->pagemap < 0 || !sees_frames(f)) {
        vm_error_set(errp, 0,
                     "/proc/self/pagemap shows no physical pages; that needs "
                     "CAP_SYS_ADMIN");
    } else {
        return vmd_idle_new(&files_io, f, env->pages);
    }
    f->pagemap = MAX(f->pagemap, -1);
    f->bitmap = MAX(f->bitmap, -1);
    files_close(f);
    return NULL;
}

const VmdTrackerOps vmd_tracker_idle = {
    .name = "idle",
    .start = idle_start,
    .stop = idle_stop,
    .collect = idle_collect,
};
