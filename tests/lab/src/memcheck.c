/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memcheck: writes known bytes to memory for a time, and verifies them all.
 *
 *     memcheck mib=N [hot=MIB] [rate=PAGES/S] [secs=N] [jobs=N] [seed=N]
 *
 * SIGTERM ends the time early.
 *
 * Every 4 KiB page holds words that depend on the seed, the page's number and
 * how often it has been written: a lost write, a stale page, a page of zeros
 * and a page in the wrong place all differ from what is expected. Until the
 * time is over each job picks random pages of its hot part, verifies and
 * rewrites them; now and then it sweeps all of its memory in order, which
 * brings cold pages back in. A last sweep verifies everything.
 *
 * Prints, for the harness:
 *   MEMCHECK fill t=S pages=N         once a second, by job 0, until then
 *   MEMCHECK filled mib=N secs=S      all jobs have written all of their memory
 *   MEMCHECK beat t=S pages=N         once a second, by job 0
 *   MEMCHECK gap ms=N t=S             job 0 stood still for over GAP_NS
 *   MEMCHECK bad job=N page=N gen=N   a wrong page (the first few)
 *   MEMCHECK done pages=N sweeps=N bad=N
 * Exit status 0: every byte was right.
 *
 * Jobs are processes: nothing is shared but a page of counters.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))
#define NS_PER_S 1000000000ull
#define GAP_NS 100000000ull
#define SLICE_NS 10000000ull /* pacing: this often a burst of writes */
#define SWEEP_EVERY_NS (5 * NS_PER_S)
#define MAX_JOBS 16u
#define MAX_REPORTS 5u

typedef struct Options {
    uint64_t mib, hot, rate, secs, jobs, seed;
} Options;

/* Shared between the jobs. */
typedef struct Counters {
    uint64_t filled; /* jobs; atomic */
    bool stop;       /* set by the parent's signal handler; atomic */
    struct {
        uint64_t pages, sweeps, bad;
    } job[MAX_JOBS]; /* each written by its job only */
} Counters;

typedef struct Job {
    unsigned index;
    uint64_t seed;
    uint64_t random;
    uint64_t (*pages)[PAGE_WORDS];
    uint32_t *generation;
    uint64_t count, hot;
    uint64_t start_ns, end_ns, last_ns;
} Job;

static Counters *counters; /* mapped before the jobs start */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Spreads the bits of x; one to one (odd factors: digits of pi and e). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x243f6a8885a308d3ull;
    x = (x ^ (x >> 27)) * 0xb7e151628aed2a6bull;
    return x ^ (x >> 33);
}

static uint64_t next_random(Job *job)
{
    job->random += 0x9e3779b97f4a7c15ull;
    return mix(job->random);
}

static uint64_t page_key(const Job *job, uint64_t page)
{
    return mix(job->seed ^ mix(page + 1) ^
               ((uint64_t)job->generation[page] << 40));
}

static void write_page(Job *job, uint64_t page)
{
    uint64_t key;

    job->generation[page]++;
    key = page_key(job, page);
    for (unsigned i = 0; i < PAGE_WORDS; i++) {
        job->pages[page][i] = key + i * 0xb7e151628aed2a6bull;
    }
}

static void verify_page(Job *job, uint64_t page)
{
    uint64_t key = page_key(job, page);
    uint64_t wrong = 0;

    for (unsigned i = 0; i < PAGE_WORDS; i++) {
        wrong |= job->pages[page][i] ^ (key + i * 0xb7e151628aed2a6bull);
    }
    if (wrong == 0) {
        return;
    }
    if (counters->job[job->index].bad++ < MAX_REPORTS) {
        printf("MEMCHECK bad job=%u page=%llu gen=%u word0=%llx want=%llx\n",
               job->index, (unsigned long long)page, job->generation[page],
               (unsigned long long)job->pages[page][0],
               (unsigned long long)key);
    }
}

/* The first write of every page. Slow ones are no gaps: all of it is slow. */
static void fill(Job *job)
{
    for (uint64_t page = 0; page < job->count; page++) {
        uint64_t now = now_ns();

        write_page(job, page);
        if (job->index == 0 && now / NS_PER_S != job->last_ns / NS_PER_S) {
            printf("MEMCHECK fill t=%.2f pages=%llu\n",
                   (double)(now - job->start_ns) / NS_PER_S,
                   (unsigned long long)page);
            job->last_ns = now;
        }
    }
}

/* Job 0 is the one whose clock is watched. */
static void watch_clock(Job *job)
{
    uint64_t now = now_ns();
    double t = (double)(now - job->start_ns) / NS_PER_S;

    if (job->index != 0) {
        return;
    }
    if (now - job->last_ns > GAP_NS) {
        printf("MEMCHECK gap ms=%llu t=%.2f\n",
               (unsigned long long)((now - job->last_ns) / 1000000), t);
    }
    if (now / NS_PER_S != job->last_ns / NS_PER_S) {
        printf("MEMCHECK beat t=%.2f pages=%llu\n", t,
               (unsigned long long)counters->job[0].pages);
    }
    job->last_ns = now;
}

static void sweep(Job *job)
{
    for (uint64_t page = 0; page < job->count; page++) {
        verify_page(job, page);
        if (page % 64 == 0) {
            watch_clock(job);
        }
    }
    counters->job[job->index].sweeps++;
}

static void burst(Job *job, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t page = next_random(job) % job->hot;

        verify_page(job, page);
        write_page(job, page);
        counters->job[job->index].pages++;
    }
}

static void work(Job *job, uint64_t rate)
{
    uint64_t per_slice = rate == 0 ? 32 : rate * SLICE_NS / NS_PER_S + 1;
    uint64_t next_sweep_ns = job->start_ns + SWEEP_EVERY_NS;

    while (now_ns() < job->end_ns &&
           !__atomic_load_n(&counters->stop, __ATOMIC_RELAXED)) {
        burst(job, per_slice);
        watch_clock(job);
        if (now_ns() >= next_sweep_ns) {
            sweep(job);
            next_sweep_ns = now_ns() + SWEEP_EVERY_NS;
        }
        if (rate != 0) {
            struct timespec pause = { .tv_nsec = SLICE_NS };

            nanosleep(&pause, NULL);
        }
    }
}

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        perror("memcheck: mmap");
        exit(2);
    }
    return p;
}

static int run_job(const Options *o, unsigned index)
{
    Job job = { .index = index,
                .seed = mix(o->seed + index),
                .random = mix(o->seed * 31 + index),
                .count = (o->mib << 20) / PAGE_BYTES / o->jobs,
                .hot = (o->hot << 20) / PAGE_BYTES / o->jobs };

    job.pages = map(job.count * PAGE_BYTES);
    job.generation = map(job.count * sizeof(*job.generation));
    job.start_ns = job.last_ns = now_ns();
    fill(&job);
    if (__atomic_add_fetch(&counters->filled, 1, __ATOMIC_SEQ_CST) ==
        o->jobs) {
        printf("MEMCHECK filled mib=%llu secs=%.2f\n",
               (unsigned long long)o->mib,
               (double)(now_ns() - job.start_ns) / NS_PER_S);
    }
    job.start_ns = job.last_ns = now_ns();
    job.end_ns = job.start_ns + o->secs * NS_PER_S;
    work(&job, o->rate / o->jobs);
    sweep(&job);
    return counters->job[index].bad != 0;
}

static bool parse(int argc, char **argv, Options *o)
{
    const struct {
        const char *name;
        uint64_t *value;
    } names[] = {
        { "mib", &o->mib },   { "hot", &o->hot },   { "rate", &o->rate },
        { "secs", &o->secs }, { "jobs", &o->jobs }, { "seed", &o->seed },
    };

    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '='), *end;
        bool known = false;

        for (unsigned n = 0; equals && n < sizeof(names) / sizeof(*names);
             n++) {
            size_t length = strlen(names[n].name);

            if ((size_t)(equals - argv[i]) == length &&
                strncmp(argv[i], names[n].name, length) == 0) {
                errno = 0;
                *names[n].value = strtoull(equals + 1, &end, 10);
                known = errno == 0 && end != equals + 1 && *end == '\0';
            }
        }
        if (!known) {
            fprintf(stderr, "memcheck: cannot use '%s'\n", argv[i]);
            return false;
        }
    }
    if (o->hot == 0 || o->hot > o->mib) {
        o->hot = o->mib;
    }
    return o->mib > 0 && o->mib < (1u << 20) && o->jobs > 0 &&
           o->jobs <= MAX_JOBS && o->hot >= o->jobs;
}

static void stop(int signal)
{
    (void)signal;
    __atomic_store_n(&counters->stop, true, __ATOMIC_RELAXED);
}

static bool reap(uint64_t jobs)
{
    bool good = true;
    int status;

    for (uint64_t i = 0; i < jobs; i++) {
        pid_t pid;

        do {
            pid = wait(&status);
        } while (pid < 0 && errno == EINTR);
        good &= pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return good;
}

int main(int argc, char **argv)
{
    Options o = { .secs = 10, .jobs = 1, .seed = 1 };
    uint64_t pages = 0, sweeps = 0, bad = 0;
    bool good;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: memcheck mib=N [hot=MIB] [rate=PAGES/S] "
                        "[secs=N] [jobs=N] [seed=N]\n");
        return 2;
    }
    counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counters == MAP_FAILED) {
        perror("memcheck: mmap");
        return 2;
    }
    for (unsigned i = 0; i < o.jobs; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            signal(SIGTERM, SIG_IGN);
            exit(run_job(&o, i));
        } else if (pid < 0) {
            perror("memcheck: fork");
            return 2;
        }
    }
    signal(SIGTERM, stop);
    good = reap(o.jobs);
    for (unsigned i = 0; i < o.jobs; i++) {
        pages += counters->job[i].pages;
        sweeps += counters->job[i].sweeps;
        bad += counters->job[i].bad;
    }
    printf("MEMCHECK done pages=%llu sweeps=%llu bad=%llu\n",
           (unsigned long long)pages, (unsigned long long)sweeps,
           (unsigned long long)bad);
    return good && bad == 0 ? 0 : 1;
}
