/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much a fault brings in.
 *
 * A scattered access wants its 4 KiB and nothing else: reading 1 MiB for it
 * costs the device 50 times as much, and pushes 255 pages out. A dense or
 * sequential one wants the whole chunk, since 256 faults cost more than one
 * read of 1 MiB. What tells them apart without access bits is how the hard
 * faults of one chunk lie in the sequence of all hard faults: a dense access
 * comes back to the chunk at once, a scattered one after about as many faults
 * as there are chunks.
 *
 * So each chunk has a heat. A fault that comes soon after the last one on the
 * same chunk raises it, any other makes it 0; the window is 4^heat pages: 1,
 * 4, 16, 64, 256. A sequential reader meets five faults in its first chunk.
 * "Soon" is 1/32 of the number of chunks, and 2 to 32 faults: with random
 * accesses 3 % of the faults come that soon, and the window is 4 pages then.
 *
 * A chunk whose neighbour was just read as a whole is taken for the next one
 * of a sequence, and read as a whole at once.
 *
 * Nothing outlives such a series: memory that was filled in sequence may well
 * be used at random (measured: with a heat that only sinks by one a fault, a
 * random reader got three times the pages that it asked for).
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

#define SOON_MIN 2u
#define SOON_MAX 32u

static bool comes_soon(const VmdPager *p, const VmdChunk *chunk)
{
    uint16_t gap = (uint16_t)((uint16_t)p->fault_number - chunk->last_fault);

    return gap <= CLAMP(p->chunk_count / 32, SOON_MIN, SOON_MAX);
}

bool vmd_was_dense(const VmdPager *p, ChunkNo n)
{
    uint32_t heat = 0;

    while (1u << (2 * (heat + 1)) < p->cfg.chunk_pages) {
        heat++;
    }
    return n < p->chunk_count && p->chunks[n].heat >= heat &&
           comes_soon(p, &p->chunks[n]);
}

uint32_t vmd_window(VmdPager *p, ChunkNo c)
{
    VmdChunk *chunk = &p->chunks[c];

    if (comes_soon(p, chunk)) {
        chunk->heat = (uint8_t)MIN(chunk->heat + 1u, VMD_HEAT_MAX);
    } else if (vmd_was_dense(p, c - 1) || vmd_was_dense(p, c + 1)) {
        chunk->heat = VMD_HEAT_MAX;
    } else {
        chunk->heat = 0;
    }
    p->fault_number++;
    chunk->last_fault = (uint16_t)p->fault_number;
    return MIN(1u << (2 * chunk->heat), p->cfg.chunk_pages);
}
