/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which access source runs: the table of them, best first, and the choice.
 *
 * Threads: main.
 */
#include "tracker.h"

static const VmdTrackerOps *const table[VMD_TRACKERS] = {
    &vmd_tracker_rwp,
    &vmd_tracker_idle,
    &vmd_tracker_damon,
    &vmd_tracker_soft,
};

const VmdTrackerOps *vmd_tracker_ops(unsigned index)
{
    g_assert(index < VMD_TRACKERS);
    return table[index];
}

static VmdTracker *choose_best(const VmdTrackerEnv *env,
                               VmdTrackerReport *report)
{
    VmdTracker *t = NULL;

    for (unsigned i = 0; i < VMD_TRACKERS && !t; i++) {
        g_autoptr(GError) why = NULL;
        t = table[i]->start(env, &why);
        if (!t) {
            report->why_not[i] = g_strdup(why->message);
        }
    }
    return t;
}

bool vmd_tracker_choose(VmdTrackerKind kind, const VmdTrackerEnv *env,
                        VmdTracker **ret_tracker, VmdTrackerReport *ret_report,
                        GError **errp)
{
    *ret_report = (VmdTrackerReport){ { NULL } };
    *ret_tracker = NULL;
    if (kind == VMD_TRACKER_OFF) {
        return true;
    }
    if (kind == VMD_TRACKER_AUTO) {
        *ret_tracker = choose_best(env, ret_report);
        g_assert(*ret_tracker); /* soft needs nothing */
        return true;
    }
    const VmdTrackerOps *ops = table[kind - VMD_TRACKER_RWP];
    *ret_tracker = ops->start(env, errp);
    if (!*ret_tracker) {
        g_prefix_error(errp, "vmemdirect: tracker=%s: ", ops->name);
        return false;
    }
    return true;
}

void vmd_tracker_report_clear(VmdTrackerReport *report)
{
    for (unsigned i = 0; i < VMD_TRACKERS; i++) {
        g_clear_pointer(&report->why_not[i], g_free);
    }
}
