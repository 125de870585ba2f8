/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When the pager thread spins, and when it sleeps.
 *
 * A thread that sleeps has to be woken: 33 us where the core is idle and the
 * host is a virtual machine itself, as much as the device needs for the page.
 * So while faults are frequent the thread looks for the next event itself.
 * What that may cost is bounded: it spins only between faults that come less
 * than a few poll times apart, it offers the core to others at each turn, and
 * it stops for a while when somebody has taken the core for long. A kernel
 * thread that comes for some microseconds does not count: where completions
 * are handled by such threads, there is one for each fault.
 *
 * Time and the count of involuntary switches come from the caller.
 * Threads: the pager thread.
 */
#ifndef VMD_SPIN_H
#define VMD_SPIN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct VmdSpin {
    int64_t poll_ns;      /* 0: never */
    int64_t last_ns;      /* of the last fault */
    int64_t gap_ns;       /* between faults, smoothed */
    int64_t off_until_ns; /* somebody else needed the core */
    int64_t back_off_ns;
    bool spinning;
    int64_t looked_ns;    /* the last turn, while spinning */
    uint64_t preempted;   /* as seen at the last question */
} VmdSpin;

void vmd_spin_init(VmdSpin *spin, int64_t poll_ns);
/* A fault was read. */
void vmd_spin_fault(VmdSpin *spin, int64_t now_ns);
/*
 * Nothing to do now: look again at once (true), or sleep? preempted() tells
 * how often the thread was made to leave its core so far; it is asked only
 * where the answer counts.
 */
bool vmd_spin_again(VmdSpin *spin, int64_t now_ns, uint64_t (*preempted)(void));

#endif
