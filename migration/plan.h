/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The placement plan: where each chunk shall live at the destination, and in
 * which order the first pass sends them.
 *
 * Pure functions on arrays; no I/O, no locks, no globals.
 */
#ifndef VM_MIGRATION_PLAN_H
#define VM_MIGRATION_PLAN_H

#include <stdint.h>

#include "memory/placement.h"

typedef struct MigPlan {
    uint32_t chunks;
    RamPlace *place;  /* by chunk */
    ChunkNo *order;   /* of the first pass, ZERO chunks left out */
    uint32_t ordered; /* elements of order */
    uint64_t ram_pages, swap_pages, zero_pages;
} MigPlan;

/* budget_pages: what the destination announced. The last chunk may be
 * shorter: total_pages says. */
MigPlan *mig_plan_new(const RamChunkInfo *infos, uint32_t chunks,
                      uint32_t chunk_pages, uint64_t total_pages,
                      uint64_t budget_pages);
void mig_plan_free(MigPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigPlan, mig_plan_free)

#endif
