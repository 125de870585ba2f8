/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What it costs to wake a thread that sleeps on another processor: a part of
 * every fault that one thread has and another resolves. A physical limit of
 * the machine, as the device's latency is one; under a hypervisor it can be
 * as large.
 *
 *     wake-cost [TIMES]
 *
 * How: one thread works for 60 us, about as long as a page is read, and writes
 * an eventfd that the other one reads; each is bound to a processor. From
 * before the write to after the read, by the TSC. Prints JSON: percentiles in
 * us on another processor and on the same one, and what the write itself
 * takes.
 */
#include <glib.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/clock.h"

#define WORK_NS (60 * 1000)

typedef struct Wake {
    int fd, back;
    int cpu;
    unsigned times;
    int64_t sent_ns; /* written by one thread while the other sleeps */
    int64_t *took_ns;
} Wake;

static void bind_to(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0) {
        perror("wake-cost: sched_setaffinity");
        exit(1);
    }
}

static void signal_fd(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof(one)) != sizeof(one)) {
        abort();
    }
}

static void wait_fd(int fd)
{
    uint64_t value;

    if (read(fd, &value, sizeof(value)) != sizeof(value)) {
        abort();
    }
}

static void *sleeper(void *arg)
{
    Wake *w = arg;

    bind_to(w->cpu);
    for (unsigned i = 0; i < w->times; i++) {
        wait_fd(w->fd);
        w->took_ns[i] = vm_clock_ns() - w->sent_ns;
        signal_fd(w->back);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Returns what the write took on average, us. */
static double measure(Wake *w)
{
    int64_t writes_ns = 0;
    GThread *thread = g_thread_new("sleeper", sleeper, w);

    for (unsigned i = 0; i < w->times; i++) {
        int64_t end = vm_clock_ns() + WORK_NS;
        while (vm_clock_ns() < end) {
        }
        w->sent_ns = vm_clock_ns();
        signal_fd(w->fd);
        writes_ns += vm_clock_ns() - w->sent_ns;
        wait_fd(w->back);
    }
    g_thread_join(thread);
    qsort(w->took_ns, w->times, sizeof(w->took_ns[0]), compare);
    return (double)writes_ns / w->times / 1000;
}

static void print(const char *name, const Wake *w, double write_us)
{
    printf("\"%s\": {\"p50\": %.2f, \"p99\": %.2f, \"write\": %.2f}", name,
           (double)w->took_ns[w->times / 2] / 1000,
           (double)w->took_ns[w->times * 99ull / 100] / 1000, write_us);
}

int main(int argc, char **argv)
{
    unsigned times = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10000;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    Wake w = { eventfd(0, 0), eventfd(0, 0), 0, MAX(times, 100u), 0, NULL };

    w.took_ns = g_new0(int64_t, w.times);
    bind_to(0);
    putchar('{');
    if (cpus > 1) {
        w.cpu = 1;
        print("other", &w, measure(&w));
        printf(", ");
    }
    w.cpu = 0;
    print("same", &w, measure(&w));
    puts("}");
    g_free(w.took_ns);
    return 0;
}
