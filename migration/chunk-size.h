/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM's RAM in chunks of the size that both sides have agreed upon.
 *
 * Threads: a migration's own. Lifetime: from the handshake to the job's end;
 * the VM's own placement outlives it.
 */
#ifndef MIGRATION_CHUNK_SIZE_H
#define MIGRATION_CHUNK_SIZE_H

#include "memory/placement.h"
#include "migration/migration.h"

typedef struct MigChunks {
    const RamPlacement *placement; /* the VM's own, or owned */
    RamPlacement *owned;
    void (*free_owned)(RamPlacement *p);
} MigChunks;

/* Can RAM that is paged in chunks of own pages be sent in such chunks? */
bool mig_chunks_can_send(uint32_t own, uint32_t chunk_pages);
/* The same for what is received: also in larger ones, which costs a copy. */
bool mig_chunks_can_receive(uint32_t own, uint32_t chunk_pages);
/* chunk_pages: the VM's own, or one that it can send or receive; any, if the
 * VM's RAM is not paged. */
void mig_chunks_init(MigChunks *ret, const MigrationVm *vm,
                     uint32_t chunk_pages);
void mig_chunks_done(MigChunks *chunks);

#endif
