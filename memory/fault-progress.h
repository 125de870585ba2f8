/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How an operation of userfaultfd over a range goes on until it is done.
 *
 * MOVE, COPY and ZEROPAGE report, in one field, the bytes done, or the error
 * of the first page; and EAGAIN, also after partial progress. What is behind
 * that is in fault-progress.c. Apart from the ioctls, so that every answer of
 * a kernel can be played by a test.
 *
 * Threads: any; no state.
 */
#ifndef VM_MEMORY_FAULT_PROGRESS_H
#define VM_MEMORY_FAULT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VmFaultOp {
    /* Runs the ioctl for len bytes from offset done: > 0 bytes, or -errno. */
    int64_t (*attempt)(void *opaque, size_t done, size_t len);
    /* MOVE only: has the source page at this offset gone? NULL: cannot. */
    bool (*source_gone)(void *opaque, size_t done);
    void *opaque;
    size_t page_bytes;
} VmFaultOp;

/*
 * Returns 0 or the -errno of the page at *ret_done. *ret_unreported: bytes
 * that the kernel has done but never reported, so that nobody was woken.
 */
int vm_fault_go_on(const VmFaultOp *op, size_t len, size_t *ret_done,
                   size_t *ret_unreported);

#endif
