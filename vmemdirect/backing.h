/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages that still lie in a file that the VM was saved to.
 *
 * A VmdIo around the swap file's: the pager does not know that it is there.
 * It has pages stored that were never written, and when it reads one, that
 * comes from where the saved file has it, checked against its checksum. A
 * page that is written, or whose hole is punched, is the swap file's from then
 * on. The saved file is never written; it may lose its name, but not its
 * content: what cannot be read there, or is not what was saved, is an error
 * as of the swap file (-EIO, -ESTALE if it was cut, -EBADMSG if it is
 * damaged).
 *
 * Memory: 12 bytes a page, and a bit.
 *
 * Threads: the pager thread.
 */
#ifndef VMD_BACKING_H
#define VMD_BACKING_H

#include "io.h"
#include "memory/placement.h"

typedef struct VmdBackingConfig {
    uint64_t pages;  /* of guest RAM */
    unsigned depth;  /* requests in flight, as for the I/O inside */
    VmdIo *swap;     /* outlives it */
    VmdIo *file;     /* reads the saved file; taken */
    RamBacking from; /* what placement.h says is taken */
} VmdBackingConfig;

/* On failure nothing is taken. */
VmdIo *vmd_backing_new(const VmdBackingConfig *cfg, GError **errp);
/* A bit a page of guest RAM: pages that a read of would come from the file. */
const unsigned long *vmd_backing_pages(const VmdIo *backing);

#endif
