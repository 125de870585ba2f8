/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much to slow the guest down, so that a migration converges.
 *
 * Arithmetic only: the source measures, asks, and tells the VM.
 *
 * Threads: the source's thread.
 */
#ifndef VM_MIGRATION_THROTTLE_H
#define VM_MIGRATION_THROTTLE_H

#include "migration/migration.h"

/* All zero at the beginning of a job. */
typedef struct MigThrottle {
    unsigned percent; /* the share of their time that vCPUs rest; 0: none */
    /* private below */
    unsigned excesses;
    int64_t took_ns;
    uint64_t dirtied_bytes, sent_bytes;
} MigThrottle;

/*
 * After a pass that does not lead to the switch-over: what was dirtied while
 * it lasted, and what it sent. Returns true when percent has changed.
 */
bool mig_throttle_pass(MigThrottle *t, const MigrationParameters *p,
                       uint64_t dirtied_bytes, uint64_t sent_bytes,
                       int64_t took_ns);

#endif
