/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chunks that change places at the destination after the first pass.
 *
 * Pure calculation; any thread.
 */
#ifndef VM_MIGRATION_EXCHANGE_H
#define VM_MIGRATION_EXCHANGE_H

#include "memory/placement.h"

typedef struct MigExchange {
    ChunkNo *to_swap; /* in RAM so far: the coldest first */
    uint32_t to_swap_count;
    ChunkNo *to_ram;  /* in swap so far: the hottest first */
    uint32_t to_ram_count;
    uint64_t room_pages; /* of the budget, left over afterwards */
} MigExchange;

/*
 * place: where each chunk is at the destination. infos: fresh. written: a bit
 * a chunk, those that the guest has written since they were sent. room_pages:
 * of the destination's budget, free now.
 */
MigExchange *mig_exchange_new(const RamPlace *place, const RamChunkInfo *infos,
                              const unsigned long *written, uint32_t chunks,
                              uint32_t chunk_pages, uint64_t total_pages,
                              uint64_t room_pages);
void mig_exchange_free(MigExchange *x);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigExchange, mig_exchange_free)

#endif
