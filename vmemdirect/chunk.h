/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the transitions of a chunk are made of: for pager.c, fault.c and
 * discard.c, which are the only ones that make any. The states and their
 * invariants are at the head of pager.c.
 *
 * Threads: the pager thread.
 */
#ifndef VMD_CHUNK_H
#define VMD_CHUNK_H

#include "pager-internal.h"

/* The lists, counters and history follow. */
void vmd_chunk_set_state(VmdPager *p, ChunkNo c, VmdChunkState state);
/* The state of a chunk without frame and without I/O, by its pages. */
VmdChunkState vmd_chunk_settled_state(const VmdPager *p, ChunkNo c);
/* The chunk's I/O has ended; its frame goes. */
void vmd_chunk_leave_frame(VmdPager *p, ChunkNo c);
/* Slots of its frame that hold a page; one of them does no longer. */
uint64_t vmd_chunk_slots(const VmdPager *p, ChunkNo c);
void vmd_chunk_forget_slot(VmdPager *p, ChunkNo c, uint32_t i);
/* It must be the other way round now. Pinning threads may look. */
void vmd_page_set_present(VmdPager *p, PageNo page, bool present);

/* Page i of c: in none of the four places, so zero; in the file, and not in
 * the guest. */
bool vmd_page_is_nowhere(const VmdPager *p, ChunkNo c, uint32_t i);
bool vmd_page_in_file_only(const VmdPager *p, ChunkNo c, uint32_t i);
bool vmd_any_in_file_only(const VmdPager *p, ChunkNo c, uint32_t first,
                          uint32_t count);
/* Nothing of it comes in before all is read. */
bool vmd_chunk_filling_huge(const VmdPager *p, ChunkNo c);

/* Slots of f into the guest: bit 0 of the map is page 0 of c. Who waits for
 * the pages wakes. */
void vmd_chunk_move_in(VmdPager *p, ChunkNo c, FrameNo f,
                       const unsigned long *map);
/* What has arrived of a chunk that is read ahead. */
void vmd_chunk_move_in_arrived(VmdPager *p, ChunkNo c);
/* Who sleeps on the pages faults again, if they are not there. */
void vmd_pager_wake(VmdPager *p, PageNo page, uint64_t n);

#endif
