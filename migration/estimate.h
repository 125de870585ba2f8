/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long the rest of RAM would take to send.
 *
 * Arithmetic only: the source measures and asks.
 *
 * Threads: the source's thread.
 */
#ifndef VM_MIGRATION_ESTIMATE_H
#define VM_MIGRATION_ESTIMATE_H

#include <stdint.h>

/* All zero at the beginning of a job. */
typedef struct MigEstimate {
    /* private below; 0: not known yet */
    double bytes_per_ns;
    double chunks_per_ns;
} MigEstimate;

/* After a pass that took so long until all of it was in its place at the
 * destination: what lies in a buffer somewhere has not been sent. */
void mig_estimate_pass(MigEstimate *e, uint64_t bytes, uint64_t chunks,
                       int64_t took_ns);

/* After a pass: what so many dirty bytes in so many chunks would take. */
double mig_estimate_ns(const MigEstimate *e, uint64_t bytes, uint64_t chunks);

#endif
