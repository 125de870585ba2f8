/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strides: faults at equal distances, as of somebody who reads a column of a
 * table. The distance is larger than what a window covers, so that each page
 * is a fault of its own, and reading whole chunks would bring mostly what
 * nobody wants. After three equal distances the next pages are read before
 * they are touched, twice as many each time, up to 16.
 *
 *     a new place            equal distance, third time
 *   ---------------> last ------------------------------> pages ahead
 *                    ^  |                                   |
 *                    +--+ another distance                  | the page after
 *                    ^                                      | them faults
 *                    +--------------------------------------+
 *
 * Eight strides are followed at a time. A fault belongs to the one that
 * expects it, else to the one whose last fault was nearest; random faults
 * only make these forget.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

#include <stdlib.h>

#define SURE 3u         /* equal distances */
#define AHEAD_MAX 16u
#define NEAR_PAGES 65536 /* a fault farther away is another stride */

static VmdStride *expecting(VmdPager *p, PageNo page)
{
    for (unsigned k = 0; k < VMD_STRIDES; k++) {
        VmdStride *s = &p->strides[k];
        if (s->delta != 0 && (int64_t)page == (int64_t)s->last + s->delta) {
            return s;
        }
    }
    return NULL;
}

/* The nearest, or else the one that was used longest ago. */
static VmdStride *nearest(VmdPager *p, PageNo page)
{
    VmdStride *near = NULL, *oldest = &p->strides[0];

    for (unsigned k = 0; k < VMD_STRIDES; k++) {
        VmdStride *s = &p->strides[k];
        int64_t distance = llabs((int64_t)page - (int64_t)s->last);
        if (s->last_used > 0 && distance <= NEAR_PAGES &&
            (!near || distance < llabs((int64_t)page - (int64_t)near->last))) {
            near = s;
        }
        if (s->last_used < oldest->last_used) {
            oldest = s;
        }
    }
    if (near) {
        return near;
    }
    *oldest = (VmdStride){ .last = page };
    return oldest;
}

uint32_t vmd_stride(VmdPager *p, PageNo page, int64_t *ret_delta)
{
    VmdStride *s = expecting(p, page);
    uint32_t ahead = 0;

    if (s) {
        s->equal++;
    } else {
        s = nearest(p, page);
        s->delta = (int64_t)page - (int64_t)s->last;
        s->equal = 1;
    }
    s->last = page;
    s->last_used = ++p->stride_clock;
    if (s->equal >= SURE && llabs(s->delta) >= p->cfg.landing_pages) {
        ahead = MIN(1u << MIN(s->equal - SURE + 1, 8u), AHEAD_MAX);
        s->last = (PageNo)((int64_t)page + ahead * s->delta);
    }
    *ret_delta = s->delta;
    return ahead;
}
