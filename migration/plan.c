/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The placement plan.
 *
 * Why: the source knows what is hot, the destination how much fits. The
 * hottest chunks that fit go to RAM there, the others to its swap; what was
 * never touched is neither sent nor stored. The first pass goes from cold to
 * hot, since what is hot is written again soon and would be sent twice.
 *
 * Invariants:
 *   (1) The pages planned as RAM are at most the budget.
 *   (2) Each chunk is ZERO or occurs exactly once in order.
 *   (3) No SWAP chunk comes after a RAM chunk in order: it is never hotter.
 *
 * Equal keys: what is in RAM at the source counts as hotter than what is in
 * its swap, and then rising chunk number, so that the swap file is read in
 * its own order.
 *
 * Threads: any; nothing is shared.
 */
#include "plan.h"

#include <stdlib.h>

/* Heat in the high bits, the chunk in the low ones: sorts as a number. */
static uint64_t sort_key(const RamChunkInfo *info, ChunkNo chunk)
{
    return (uint64_t)info->key << 40 |
           (uint64_t)(info->place == RAM_PLACE_RAM) << 32 | chunk;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t pages_of(ChunkNo chunk, uint32_t chunk_pages,
                         uint64_t total_pages)
{
    return MIN((uint64_t)chunk_pages,
               total_pages - (uint64_t)chunk * chunk_pages);
}

static void order_chunks(MigPlan *plan, const RamChunkInfo *infos)
{
    g_autofree uint64_t *keys = g_new(uint64_t, plan->chunks);

    for (ChunkNo c = 0; c < plan->chunks; c++) {
        if (infos[c].place != RAM_PLACE_ZERO) {
            keys[plan->ordered++] = sort_key(&infos[c], c);
        }
    }
    qsort(keys, plan->ordered, sizeof(*keys), compare_u64);
    for (uint32_t i = 0; i < plan->ordered; i++) {
        plan->order[i] = (ChunkNo)keys[i];
    }
}

MigPlan *mig_plan_new(const RamChunkInfo *infos, uint32_t chunks,
                      uint32_t chunk_pages, uint64_t total_pages,
                      uint64_t budget_pages)
{
    MigPlan *plan = g_new0(MigPlan, 1);

    plan->chunks = chunks;
    plan->place = g_new0(RamPlace, chunks); /* RAM_PLACE_ZERO */
    plan->order = g_new(ChunkNo, chunks);
    order_chunks(plan, infos);
    /* From the hottest down; once one does not fit, all colder ones go to
     * swap, so that (3) holds. */
    for (uint32_t i = plan->ordered; i-- > 0;) {
        ChunkNo c = plan->order[i];
        uint64_t pages = pages_of(c, chunk_pages, total_pages);

        if (plan->swap_pages == 0 &&
            pages <= budget_pages - plan->ram_pages) {
            plan->place[c] = RAM_PLACE_RAM;
            plan->ram_pages += pages;
        } else {
            plan->place[c] = RAM_PLACE_SWAP;
            plan->swap_pages += pages;
        }
    }
    plan->zero_pages = total_pages - plan->ram_pages - plan->swap_pages;
    return plan;
}

void mig_plan_free(MigPlan *plan)
{
    if (plan) {
        g_free(plan->place);
        g_free(plan->order);
        g_free(plan);
    }
}
