/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Troubles of the engine: when they begin, end and are told. See health.h.
 *
 * Invariants:
 *   (1) Between two "began" of a trouble there is an "over" or a retry.
 *   (2) VMD_TROUBLE_ENGINE has no "over".
 *
 * VMD_TROUBLE_STALL is not this module's: see watchdog.h.
 *
 * Threads: the pager thread.
 */
#include "health.h"

#include <errno.h>

#include "util/clock.h"

#define CALM_LEAST_NS (2 * VM_NS_PER_SEC)
#define CALM_MOST_NS (64 * VM_NS_PER_SEC)
/* A trouble that comes back within this time was not really over. */
#define RELAPSE_NS (60 * VM_NS_PER_SEC)

const char *vmd_trouble_to_string(VmdTrouble what)
{
    static const char *const names[VMD_TROUBLE__COUNT] = {
        [VMD_TROUBLE_WRITE] = "write",
        [VMD_TROUBLE_READ] = "read",
        [VMD_TROUBLE_TIMEOUT] = "timeout",
        [VMD_TROUBLE_STALL] = "stall",
        [VMD_TROUBLE_ENGINE] = "engine",
    };

    g_assert(what < VMD_TROUBLE__COUNT);
    return names[what];
}

const char *vmd_error_to_string(int error)
{
    switch (error) {
    case EBADMSG:
        return "checksum mismatch";
    case ENODATA:
        return "the swap file was cut short";
    case ESTALE:
        return "the saved file that the VM was started from was cut short";
    case ETIME:
        return "the pager's thread does not move";
    case ETIMEDOUT:
        return "the swap file does not answer";
    default:
        return g_strerror(error);
    }
}

void vmd_health_init(VmdHealth *h, const VmdEvents *events, void *opaque,
                     const bool stop[VMD_TROUBLE__COUNT])
{
    *h = (VmdHealth){ .events = events, .events_opaque = opaque };
    for (unsigned i = 0; i < VMD_TROUBLE__COUNT; i++) {
        h->stop[i] = stop[i];
        h->trouble[i].calm_ns = CALM_LEAST_NS;
    }
    /* A request that is late is over when it is there. */
    h->trouble[VMD_TROUBLE_TIMEOUT].calm_ns = 0;
}

static void begin(VmdHealth *h, VmdTrouble what, int64_t now_ns)
{
    int64_t calm = h->trouble[what].calm_ns;
    bool relapse = h->trouble[what].over_ns != 0 &&
                   now_ns - h->trouble[what].over_ns < RELAPSE_NS;

    h->trouble[what].active = true;
    h->trouble[what].told = false;
    h->trouble[what].failures = 0;
    h->trouble[what].began_ns = now_ns;
    if (calm > 0) {
        h->trouble[what].calm_ns = relapse ? MIN(2 * calm, CALM_MOST_NS)
                                           : CALM_LEAST_NS;
    }
}

void vmd_health_failed(VmdHealth *h, VmdTrouble what, int error,
                       int64_t now_ns)
{
    if (!h->trouble[what].active) {
        begin(h, what, now_ns);
    }
    h->trouble[what].good_ns = 0;
    h->trouble[what].error = -error;
    h->trouble[what].failures++;
    if (!h->trouble[what].told) { /* (1) */
        VmdEvent event = { .what = what, .error = -error,
                           .stop = h->stop[what] };
        h->trouble[what].told = true;
        h->events->event(h->events_opaque, &event);
    }
}

void vmd_health_good(VmdHealth *h, VmdTrouble what, int64_t now_ns)
{
    if (h->trouble[what].good_ns == 0) {
        h->trouble[what].good_ns = now_ns;
    }
}

void vmd_health_retry(VmdHealth *h)
{
    for (unsigned i = 0; i < VMD_TROUBLE__COUNT; i++) {
        h->trouble[i].told = false;
    }
}

void vmd_health_step(VmdHealth *h, int64_t now_ns)
{
    for (unsigned i = 0; i < VMD_TROUBLE__COUNT; i++) {
        VmdEvent over = { .what = (VmdTrouble)i, .over = true };

        if (i == VMD_TROUBLE_ENGINE || !h->trouble[i].active || /* (2) */
            h->trouble[i].good_ns == 0 ||
            now_ns - h->trouble[i].good_ns < h->trouble[i].calm_ns) {
            continue;
        }
        h->trouble[i].active = false;
        h->trouble[i].over_ns = now_ns;
        h->events->event(h->events_opaque, &over);
    }
}

bool vmd_health_has(const VmdHealth *h, VmdTrouble what)
{
    return h->trouble[what].active;
}

bool vmd_health_any(const VmdHealth *h)
{
    for (unsigned i = 0; i < VMD_TROUBLE__COUNT; i++) {
        if (h->trouble[i].active) {
            return true;
        }
    }
    return false;
}

void vmd_health_stats(const VmdHealth *h, int64_t now_ns, VmdStats *ret)
{
    for (unsigned i = 0; i < VMD_TROUBLE__COUNT; i++) {
        ret->trouble[i] = (struct VmdTroubleStats){ 0 };
        if (h->trouble[i].active) {
            ret->trouble[i].failures = h->trouble[i].failures;
            ret->trouble[i].age_ns = (uint64_t)(now_ns -
                                                h->trouble[i].began_ns);
            ret->trouble[i].error = h->trouble[i].error;
        }
    }
}
