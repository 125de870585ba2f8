/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paging for kernels without UFFDIO_MOVE (before Linux 6.8).
 *
 * Out: write-protect, copy to the frame, MADV_DONTNEED. A vCPU that writes in
 * between sleeps on the protection and meets a missing page afterwards. Why
 * the copy, where the page could be written to the file straight from the
 * guest: the frame makes it STANDBY, so that a wrong choice costs a soft
 * fault and not a read, and the engine has one state machine, not two.
 *
 * In: UFFDIO_COPY with its atomic write protection; then the frame's memory
 * is given back. For that moment both copies exist, so the budget is exceeded
 * by up to one chunk.
 *
 * The kernel does not guard pages with I/O in flight here: MADV_DONTNEED
 * would orphan them. The engine's pins are the only guard.
 */
#include "mem-common.h"

#include <string.h>

static int copy_out(void *opaque, void *guest, void *frame, size_t len,
                    size_t *ret_done)
{
    *ret_done = 0;
    int r = vm_fault_protect(opaque, guest, len, /* protect= */ true,
                             /* wake= */ false);
    if (r < 0) {
        return r;
    }
    memcpy(frame, guest, len);
    r = vmd_mem_discard(NULL, guest, len);
    if (r == 0) {
        *ret_done = len;
    }
    return r;
}

static int copy_in(void *opaque, void *guest, void *frame, size_t len,
                   bool protect, size_t *ret_done, bool *ret_changed)
{
    *ret_changed = false;
    int r = vm_fault_copy(opaque, guest, frame, len, protect, /* wake= */ true,
                          ret_done);
    if (*ret_done > 0) {
        (void)vmd_mem_discard(NULL, frame, *ret_done);
    }
    return r;
}

const VmdMemOps vmd_mem_copy = {
    .name = "copy",
    .out = copy_out,
    .in = copy_in,
    .copy_in = vmd_mem_copy_in,
    .zero = vmd_mem_zero,
    .unprotect = vmd_mem_unprotect,
    .wake = vmd_mem_wake,
    .discard = vmd_mem_discard,
};
