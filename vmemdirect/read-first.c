/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages that are read first and written next, as by an increment.
 *
 * A page that is read from the file comes in write-protected, so that it can
 * go again without a write. If its reader writes it next, that costs a second
 * fault, which takes longer than everything else but the device. If most
 * readers do, pages come in writable at once, and count as dirty.
 *
 *   share of the samples that were written
 *      at most half:  all come in protected, and each is a sample
 *      more:          one in eight is; the others come in writable
 *
 * A sample is a page that was read for a fault of a reader. It ends when it is
 * written (a write-protect fault), or when the next takes its place in a small
 * table by page number: as not written. So only a write that follows soon
 * counts; with random faults, one within about as many as the table has places.
 *
 * What a wrong guess costs: a page that was not written is written to the
 * file when its chunk goes, with others, and nobody waits for that. Where half
 * of the guesses are right, one such write is spared one fault.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

#define SHARE_ONE 1024u
#define SHARE_WEIGHT 16u /* how many samples the share remembers */
#define SAMPLE_ONE_OF 8u

static VmdReadSample *place(VmdReadFirst *r, PageNo page)
{
    return &r->samples[page % VMD_READ_SAMPLES];
}

bool vmd_read_first_guess(VmdPager *p, PageNo page)
{
    VmdReadFirst *r = &p->read_first;
    VmdReadSample *s = place(r, page);

    if (p->tracking) {
        return false; /* a migration wants to see each write */
    }
    if (r->share > SHARE_ONE / 2 && ++r->guesses % SAMPLE_ONE_OF != 0) {
        return true;
    }
    if (s->waits) {
        r->share -= r->share / SHARE_WEIGHT;
    }
    *s = (VmdReadSample){ .page = page, .waits = true };
    return false;
}

void vmd_read_first_written(VmdPager *p, PageNo page)
{
    VmdReadFirst *r = &p->read_first;
    VmdReadSample *s = place(r, page);

    if (s->waits && s->page == page) {
        s->waits = false;
        r->share += (SHARE_ONE - r->share) / SHARE_WEIGHT;
    }
}
