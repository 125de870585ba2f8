/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is wrong with the engine at the moment, and who has been told.
 *
 * A device that fails does so thousands of times a second, and a full file
 * system takes some writes and refuses others. So a trouble has a beginning
 * and an end, and only these are told:
 *
 *             failed()                    (told: began)
 *     WELL -------------------> TROUBLED ---+
 *      ^                         |   ^      | failed(), good(): counted
 *      |  step(): good, and no   |   +------+ retry(): told again if it fails
 *      |  failure since: calm    |
 *      +-------------------------+        (told: over)
 *
 * Calm means that something has worked, and that nothing failed from then on
 * for some time: two seconds, and twice as long each time that the trouble
 * comes back within a minute, up to about a minute. So a trouble that comes
 * and goes is told ever more seldom.
 *
 * Threads: the pager thread; the embedding struct is its own.
 */
#ifndef VMD_HEALTH_H
#define VMD_HEALTH_H

#include "vmemdirect/vmemdirect.h"

typedef struct VmdHealth {
    const VmdEvents *events;
    void *events_opaque;
    bool stop[VMD_TROUBLE__COUNT]; /* policy */
    struct {
        bool active;
        bool told; /* since it began, or since the last retry */
        int error; /* positive, of the last failure */
        uint64_t failures;
        int64_t began_ns, over_ns;
        int64_t good_ns; /* the first time since the last failure; 0: none */
        int64_t calm_ns;
    } trouble[VMD_TROUBLE__COUNT];
} VmdHealth;

/* stop: which troubles mean that the VM must not go on. */
void vmd_health_init(VmdHealth *h, const VmdEvents *events, void *opaque,
                     const bool stop[VMD_TROUBLE__COUNT]);
/* error: -errno. */
void vmd_health_failed(VmdHealth *h, VmdTrouble what, int error,
                       int64_t now_ns);
/* What used to fail did not. */
void vmd_health_good(VmdHealth *h, VmdTrouble what, int64_t now_ns);
void vmd_health_retry(VmdHealth *h);
/* Ends what is over; about once a second. */
void vmd_health_step(VmdHealth *h, int64_t now_ns);
bool vmd_health_has(const VmdHealth *h, VmdTrouble what);
bool vmd_health_any(const VmdHealth *h);
void vmd_health_stats(const VmdHealth *h, int64_t now_ns, VmdStats *ret);

#endif
