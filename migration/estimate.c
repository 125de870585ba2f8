/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long the rest of RAM would take to send, by the last pass.
 *
 * A pass costs by its bytes and by its chunks: each chunk is a record, a
 * frame to be lent and a few threads to be woken, whether all of its pages
 * are dirty or one is. How much of the time is whose is not known. But if the
 * rest is f times the bytes and g times the chunks of the last pass, it takes
 * max(f, g) times as long at most. After the first pass, whose chunks are
 * whole, that is far too much for a rest of many chunks with few pages each;
 * then one more pass is made, which is short for the same reason, and from
 * there on the passes are alike.
 *
 * By bytes alone the rest of a key-value guest took up to 1.7 times as long as
 * was thought, and there was more of it.
 *
 * Threads: the source's.
 */
#include "estimate.h"

#include <glib.h>
#include <stdbool.h>

/* A pass that sent less measures latency, or the search for zero pages: it
 * can only raise the rates. */
#define SAMPLE_BYTES (1u << 20)
/* Of either, a ns: what nothing was sent of is slow, and no rate is 0. */
#define RATE_MIN 1e-9

static void adjust(double *rate, uint64_t sent, int64_t took_ns, bool can_fall)
{
    double now = MAX((double)sent / (double)MAX(took_ns, 1), RATE_MIN);

    *rate = can_fall ? now : MAX(now, *rate);
}

void mig_estimate_pass(MigEstimate *e, uint64_t bytes, uint64_t chunks,
                       int64_t took_ns)
{
    bool is_sample = bytes >= SAMPLE_BYTES;

    adjust(&e->bytes_per_ns, bytes, took_ns, is_sample);
    adjust(&e->chunks_per_ns, chunks, took_ns, is_sample);
}

double mig_estimate_ns(const MigEstimate *e, uint64_t bytes, uint64_t chunks)
{
    return MAX((double)bytes / e->bytes_per_ns,
               (double)chunks / e->chunks_per_ns);
}
