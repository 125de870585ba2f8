/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contract in spin.h. */
#include "spin.h"

#include <glib.h>

/* Faults are frequent when they come within this many poll times. */
#define FREQUENT 4
/* A turn that is shorter was not interrupted by anybody who needs the core. */
#define LONG_TURN_NS (300 * 1000LL)
#define BACK_OFF_MIN_NS (10 * 1000 * 1000LL)
#define BACK_OFF_MAX_NS (1000 * 1000 * 1000LL)

void vmd_spin_init(VmdSpin *spin, int64_t poll_ns)
{
    *spin = (VmdSpin){ .poll_ns = poll_ns, .gap_ns = INT64_MAX / 8,
                       .back_off_ns = BACK_OFF_MIN_NS };
}

void vmd_spin_fault(VmdSpin *spin, int64_t now_ns)
{
    int64_t gap = MIN(now_ns - spin->last_ns, INT64_MAX / 8);

    spin->gap_ns += (gap - spin->gap_ns) / 4;
    spin->last_ns = now_ns;
}

static bool is_wanted(const VmdSpin *spin, int64_t now_ns)
{
    int64_t most = FREQUENT * spin->poll_ns;

    return spin->poll_ns > 0 && now_ns >= spin->off_until_ns &&
           spin->gap_ns <= most && now_ns - spin->last_ns <= most;
}

/* Again so soon after the last pause: the machine is busy. */
static void back_off(VmdSpin *spin, int64_t now_ns)
{
    spin->back_off_ns =
        now_ns - spin->off_until_ns < spin->back_off_ns
            ? MIN(2 * spin->back_off_ns, BACK_OFF_MAX_NS)
            : BACK_OFF_MIN_NS;
    spin->off_until_ns = now_ns + spin->back_off_ns;
    spin->spinning = false;
}

/* Has somebody else had the core since the last turn, and for long? */
static bool was_interrupted(VmdSpin *spin, int64_t now_ns, uint64_t times)
{
    bool switched = times != spin->preempted;

    spin->preempted = times;
    return spin->spinning && switched &&
           now_ns - spin->looked_ns >= LONG_TURN_NS;
}

bool vmd_spin_again(VmdSpin *spin, int64_t now_ns, uint64_t (*preempted)(void))
{
    if (!is_wanted(spin, now_ns)) {
        spin->spinning = false;
        return false;
    }
    if (was_interrupted(spin, now_ns, preempted())) {
        back_off(spin, now_ns);
        return false;
    }
    spin->spinning = true;
    spin->looked_ns = now_ns;
    return true;
}
