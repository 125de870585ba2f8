/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How pages travel between the guest mapping and a frame.
 *
 * Two implementations: mem-move.c (UFFDIO_MOVE, nothing is copied) and
 * mem-copy.c (UFFDIO_COPY and MADV_DONTNEED, for kernels before 6.8). Both
 * leave the source without pages, so that the pager's accounting is one.
 * Unit tests bring a fake.
 *
 * Threads: the pager thread only. Errors: -errno; *ret_done is the number of
 * bytes done from the start, also on failure.
 */
#ifndef VMD_MEM_H
#define VMD_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "memory/fault-service.h"

typedef struct VmdMemOps {
    const char *name;
    /* Guest pages to an empty piece of a frame. -EBUSY: the kernel holds the
     * page at *ret_done pinned. skips_holes: pages may be missing in between,
     * which then are missing in the frame, and count as done. */
    bool skips_holes;
    int (*out)(void *opaque, void *guest, void *frame, size_t len,
               size_t *ret_done);
    /*
     * Frame pages to a missing piece of the guest; wakes. protect: the pages
     * are write-protected there; *ret_changed tells that the guest may have
     * written before the protection held, so that they are not known to
     * equal what was in the frame.
     */
    int (*in)(void *opaque, void *guest, void *frame, size_t len, bool protect,
              size_t *ret_done, bool *ret_changed);
    /* A copy of pages that stay where they are; protected from the first
     * moment on; wakes. */
    int (*copy_in)(void *opaque, void *guest, const void *from, size_t len,
                   bool protect, size_t *ret_done);
    /* Pages of zeros; wakes. own: with memory of their own, since they will
     * be written; else the kernel may map a page that all share. */
    int (*zero)(void *opaque, void *guest, size_t len, bool own,
                size_t *ret_done);
    int (*unprotect)(void *opaque, void *guest, size_t len); /* wakes */
    int (*wake)(void *opaque, void *guest, size_t len);
    /* Gives the memory back to the system; the pages become missing. */
    int (*discard)(void *opaque, void *addr, size_t len);
    /*
     * Huge pages, len bytes each; both NULL where they cannot be moved.
     * clear_way: nothing is mapped in [addr, addr+len), and a huge page shall
     * be moved there. huge: a new one, of zeros, to such a place, by way of
     * the empty piece stage; wakes. -ENOMEM: the system has none now.
     */
    void (*clear_way)(void *opaque, void *addr, size_t len);
    int (*huge)(void *opaque, void *to, void *stage, size_t len,
                size_t *ret_done);
} VmdMemOps;

/* opaque is the VmFaultService. */
extern const VmdMemOps vmd_mem_move;
extern const VmdMemOps vmd_mem_copy;

#endif
