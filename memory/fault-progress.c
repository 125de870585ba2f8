/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two things that the manual does not say shape the loop.
 *
 * EAGAIN means that another thread changes the address space, or holds the
 * page for a moment; it goes away by itself.
 *
 * EEXIST from MOVE need not mean that somebody else filled the destination.
 * Linux 6.18, which moves pages in batches, forgets to clear the EAGAIN of an
 * earlier try: when its own second try succeeds, the pages are moved, but not
 * counted, and the third try finds them at the destination. (Seen about once
 * in 10^5 moves of zero pages that a thread writes to at the same moment; read
 * in the source of move_pages().) A page that is there while its source has
 * gone was moved. Taking it for an error would lose the page: nobody would
 * know where it is.
 */
#include "fault-progress.h"

#include <errno.h>
#include <sched.h>

/* After this many tries in a row without progress the caller gets EAGAIN. */
#define RETRIES_MAX 10000

int vm_fault_go_on(const VmFaultOp *op, size_t len, size_t *ret_done,
                   size_t *ret_unreported)
{
    size_t done = 0, unreported = 0;
    unsigned idle = 0;
    int result = 0;

    while (done < len && result == 0) {
        int64_t n = op->attempt(op->opaque, done, len - done);
        if (n > 0) {
            done += (size_t)n;
            idle = 0;
        } else if (n == -EEXIST && op->source_gone &&
                   op->source_gone(op->opaque, done)) {
            done += op->page_bytes;
            unreported += op->page_bytes;
            idle = 0;
        } else if (n == -EAGAIN && ++idle <= RETRIES_MAX) {
            (void)sched_yield();
        } else {
            result = n == 0 ? -EIO : (int)n;
        }
    }
    *ret_done = done;
    *ret_unreported = unreported;
    return result;
}
