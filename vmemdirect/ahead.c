/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sequences of chunks: reading ahead of them, and dropping behind.
 *
 * A sequence begins when a chunk faults whose neighbour was just read as a
 * whole. From then on the next chunks are read before they are touched, and
 * left in STANDBY: the first touch costs a soft fault, which also says how far
 * the reader has come, so that the next ones can be asked for in time. What is
 * never touched is dropped from STANDBY without a write. The depth doubles
 * with each chunk, up to 4 MiB and 1/16 of the budget.
 *
 * Chunks that a sequence has left behind are the first to be paged out. Least
 * recently used would be the worst choice for somebody who sweeps over more
 * memory than there is, again and again: each page is gone when its turn
 * comes. This way a part of the memory as large as the budget stays, and the
 * rest is read; and a scan does not push out what others use.
 *
 *              neighbour was dense          touched within depth
 *     (unused) --------------------> stream ---------------------+
 *         ^                           |  ^                       |
 *         |     least recently used   |  |  at, depth advance    |
 *         +---------------------------+  +-----------------------+
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

/* Pages to be read ahead at most, and what must stay available beyond. */
#define AHEAD_PAGES_MAX 1024u
#define DEPTH_MAX 64u

static uint32_t depth_max(const VmdPager *p)
{
    uint64_t pages = MIN(AHEAD_PAGES_MAX, p->cfg.budget_pages / 16);

    return (uint32_t)CLAMP(pages / p->cfg.chunk_pages, 1u, DEPTH_MAX);
}

/* How many steps of s lie between its last chunk and c: > 0 is ahead. */
static int64_t steps(const VmdStream *s, ChunkNo c)
{
    return ((int64_t)c - (int64_t)s->at) * s->dir;
}

static VmdStream *stream_of(VmdPager *p, ChunkNo c)
{
    for (unsigned k = 0; k < VMD_STREAMS; k++) {
        VmdStream *s = &p->streams[k];
        int64_t n = s->dir ? steps(s, c) : -1;
        if (n >= 0 && n <= (int64_t)s->depth + 1) {
            return s;
        }
    }
    return NULL;
}

static VmdStream *least_recently_used(VmdPager *p)
{
    VmdStream *oldest = &p->streams[0];

    for (unsigned k = 0; k < VMD_STREAMS; k++) {
        VmdStream *s = &p->streams[k];
        if (s->dir == 0) {
            return s;
        }
        if (p->fault_number - s->last_used >
            p->fault_number - oldest->last_used) {
            oldest = s;
        }
    }
    return oldest;
}

static ChunkNo at_step(const VmdPager *p, const VmdStream *s, int64_t n)
{
    int64_t c = (int64_t)s->at + n * s->dir;

    return c >= 0 && c < (int64_t)p->chunk_count ? (ChunkNo)c : VMD_NONE;
}

static void read_ahead(VmdPager *p, const VmdStream *s)
{
    for (uint32_t n = 1; n <= s->depth; n++) {
        ChunkNo c = at_step(p, s, n);
        int64_t left = vmd_available_pages(p) - p->cfg.chunk_pages;
        if (c == VMD_NONE || left < (int64_t)vmd_low_watermark(p) / 2) {
            return;
        }
        if (p->chunks[c].state == VMD_SWAPPED &&
            !vmd_chunk_read_ahead(p, c)) {
            return;
        }
    }
}

/* The reader may still be in the last chunk, and a little before it. */
static void drop_behind(VmdPager *p, const VmdStream *s, int64_t n)
{
    for (int64_t back = 2; back < n + 2; back++) {
        ChunkNo c = at_step(p, s, -back);
        if (c != VMD_NONE) {
            vmd_chunk_set_behind(p, c, true);
        }
    }
}

void vmd_ahead_touched(VmdPager *p, ChunkNo c)
{
    VmdStream *s = stream_of(p, c);

    if (!s) {
        int dir = vmd_was_dense(p, c - 1) ? 1
                  : vmd_was_dense(p, c + 1) ? -1 : 0;
        if (dir == 0) {
            return;
        }
        s = least_recently_used(p);
        *s = (VmdStream){ .at = c, .dir = dir, .depth = 1 };
    } else if (steps(s, c) > 0) {
        int64_t n = steps(s, c);
        s->at = c;
        s->depth = MIN(2 * s->depth, depth_max(p));
        drop_behind(p, s, n);
    }
    s->last_used = p->fault_number;
    read_ahead(p, s);
}
