/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When vCPUs rest, so that they use less than the CPU time they could.
 *
 * Knows neither KVM nor Vcpus: what it does to a vCPU goes through ops.
 *
 * Threads: each function says.
 */
#ifndef VM_ACCEL_VCPU_THROTTLE_H
#define VM_ACCEL_VCPU_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#define VCPU_THROTTLE_MAX_PERCENT 99u

typedef struct VcpuThrottle VcpuThrottle;

/* Called by the throttle's thread, under its lock (rank VM_RANK_VCPU). */
typedef struct VcpuThrottleOps {
    /* What the vCPU's thread has used so far. */
    int64_t (*cpu_time_ns)(void *opaque, unsigned cpu);
    /* Makes it leave the guest; may come too early to do so. */
    void (*kick)(void *opaque, unsigned cpu);
} VcpuThrottleOps;

typedef struct VcpuThrottleTimes {
    int64_t cycle_ns;   /* a run and a rest, where run_min_ns allows it */
    int64_t run_min_ns;
    int64_t look_ns;    /* how often those who do not rest are looked for */
    int64_t awake_ns;   /* who has used less since is not disturbed */
} VcpuThrottleTimes;

/* ops and opaque are borrowed. Nobody rests. */
VcpuThrottle *vcpu_throttle_new(unsigned count, const VcpuThrottleTimes *times,
                                const VcpuThrottleOps *ops, void *opaque);
/* Nobody may be in vcpu_throttle_rest() any more, nor come. */
void vcpu_throttle_free(VcpuThrottle *t);

/* Any thread, one at a time: the share of time to rest, up to
 * VCPU_THROTTLE_MAX_PERCENT; 0: none, and who rests wakes. */
void vcpu_throttle_set(VcpuThrottle *t, unsigned percent);

/* Any thread. Between these two nobody rests, and who did wakes at once. */
void vcpu_throttle_suspend(VcpuThrottle *t);
void vcpu_throttle_resume(VcpuThrottle *t);

/* A vCPU's thread: whether it is to rest now. Too late an answer makes it be
 * kicked. */
bool vcpu_throttle_is_resting(const VcpuThrottle *t);
/* That vCPU's thread, out of the guest: returns when it may go on. */
void vcpu_throttle_rest(VcpuThrottle *t, unsigned cpu);

/* A cycle's two parts; percent is 1 to VCPU_THROTTLE_MAX_PERCENT. */
void vcpu_throttle_parts(const VcpuThrottleTimes *times, unsigned percent,
                         int64_t *ret_run_ns, int64_t *ret_rest_ns);

#endif
