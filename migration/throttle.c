/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The steps of auto-converge, with QEMU's parameters and meaning.
 *
 * A check finds an excess when the guest has dirtied more than
 * throttle-trigger-threshold percent of what was sent in the same time. Each
 * second excess is a step: to cpu-throttle-initial, then up by
 * cpu-throttle-increment, never above max-cpu-throttle. The excesses of a
 * step need not follow each other: a guest that writes in bursts, dirtying
 * much in every other pass, would never converge.
 *
 * A check covers CHECK_NS at least. Passes can be much shorter than that,
 * with a small downtime-limit, and than a cycle of the vCPUs' rests (50 ms at
 * 99 %): what one of them sees is chance, and to step on each would have a
 * guest at its slowest within moments. QEMU's checks cover a second.
 *
 * Threads: the source's.
 */
#include "throttle.h"

#include "util/clock.h"

#define CHECK_NS (100 * VM_NS_PER_MS)
#define EXCESSES_FOR_STEP 2u

/* cpu-throttle-tailslow: not beyond the share of the CPU with which the guest
 * would dirty just as much as the threshold, if that is less than a step. */
static unsigned increment(const MigThrottle *t, const MigrationParameters *p,
                          double threshold_bytes)
{
    unsigned runs = 100 - t->percent;
    unsigned ideal = (unsigned)(runs * threshold_bytes /
                                (double)t->dirtied_bytes);

    return p->cpu_throttle_tailslow
               ? MIN(runs - ideal, (unsigned)p->cpu_throttle_increment)
               : (unsigned)p->cpu_throttle_increment;
}

static unsigned check(MigThrottle *t, const MigrationParameters *p)
{
    double threshold_bytes = (double)t->sent_bytes *
                             (double)p->throttle_trigger_threshold / 100;

    if ((double)t->dirtied_bytes <= threshold_bytes ||
        ++t->excesses < EXCESSES_FOR_STEP) {
        return t->percent;
    }
    t->excesses = 0;
    if (t->percent == 0) {
        return (unsigned)p->cpu_throttle_initial;
    }
    return MIN(t->percent + increment(t, p, threshold_bytes),
               (unsigned)p->max_cpu_throttle);
}

bool mig_throttle_pass(MigThrottle *t, const MigrationParameters *p,
                       uint64_t dirtied_bytes, uint64_t sent_bytes,
                       int64_t took_ns)
{
    unsigned before = t->percent;

    t->dirtied_bytes += dirtied_bytes;
    t->sent_bytes += sent_bytes;
    t->took_ns += took_ns;
    if (t->took_ns < CHECK_NS) {
        return false;
    }
    t->percent = check(t, p);
    t->dirtied_bytes = t->sent_bytes = 0;
    t->took_ns = 0;
    return t->percent != before;
}
