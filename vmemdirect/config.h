/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of -vmemdirect, parsed. Filled by vmd_config_set(). */
#ifndef VMD_CONFIG_H
#define VMD_CONFIG_H

#include "io.h"
#include "vmemdirect/vmemdirect.h"

/* Unless chunks of huge pages are better. */
#define VMD_CHUNK_PAGES 256u

typedef enum VmdMode { VMD_MODE_AUTO, VMD_MODE_MOVE, VMD_MODE_COPY } VmdMode;
typedef enum VmdIoKind { VMD_IO_AUTO, VMD_IO_URING, VMD_IO_AIO } VmdIoKind;

/* Which access source; after AUTO best first, as in tracker.c's table. */
typedef enum VmdTrackerKind {
    VMD_TRACKER_AUTO,
    VMD_TRACKER_RWP,
    VMD_TRACKER_IDLE,
    VMD_TRACKER_DAMON,
    VMD_TRACKER_SOFT,
    VMD_TRACKER_OFF
} VmdTrackerKind;

struct VmdConfig {
    char *swap;
    uint64_t memory_bytes; /* 0: not given */
    uint32_t chunk_pages; /* 0: auto */
    VmdMode mode;
    VmdIoKind io;
    VmdTrackerKind tracker;
    char *tracker_root; /* of tests: VmdTrackerEnv.root; NULL: the kernel's */
    uint64_t aging_interval_ms;
    uint64_t poll_us;
    bool keep_swap;
    bool stop_on_write_error;
    uint64_t io_timeout_s; /* 0: never */
    bool stop_on_timeout;
    bool checksum, encrypt;
    VmdIo *(*wrap_io)(VmdIo *take); /* of tests: around the device; or NULL */
};

#endif
