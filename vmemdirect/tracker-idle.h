/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tracker-idle.c reads and writes, so that a test can stand in for the
 * kernel. Functions return 0 or -errno. Threads: the caller's.
 */
#ifndef VMD_TRACKER_IDLE_H
#define VMD_TRACKER_IDLE_H

#include "tracker.h"

typedef struct VmdIdleIo {
    /* /proc/self/pagemap: the entries of count pages of guest RAM. */
    int (*read_pagemap)(void *opaque, PageNo first, uint32_t count,
                        uint64_t *entries);
    /* /sys/kernel/mm/page_idle/bitmap: bit n of word w is frame 64 * w + n.
     * Writing ones makes idle; zeros change nothing. */
    int (*read_idle)(void *opaque, uint64_t word, uint32_t count,
                     uint64_t *words);
    int (*write_idle)(void *opaque, uint64_t word, uint32_t count,
                      const uint64_t *words);
    void (*close)(void *opaque);
} VmdIdleIo;

VmdTracker *vmd_idle_new(const VmdIdleIo *io, void *opaque, uint64_t pages);

#endif
