/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two clocks, in nanoseconds.
 *
 * Why: int64_t nanoseconds hold 292 years, add and compare without a struct,
 * and are what KVM and timerfd want. Threads: any.
 */
#include "util/clock.h"

#include <time.h>

static int64_t clock_read_ns(clockid_t id)
{
    struct timespec now;

    /* Cannot fail: both ids exist on every Linux and now is ours. */
    (void)clock_gettime(id, &now);
    return now.tv_sec * VM_NS_PER_SEC + now.tv_nsec;
}

int64_t vm_clock_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

int64_t vm_clock_real_ns(void)
{
    return clock_read_ns(CLOCK_REALTIME);
}
