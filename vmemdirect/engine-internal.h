/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine's data and mailbox, for engine.c and engine-placement.c.
 *
 * Threads: any, but for what is marked.
 */
#ifndef VMD_ENGINE_INTERNAL_H
#define VMD_ENGINE_INTERNAL_H

#include "observer.h"
#include "pager-internal.h"
#include "spin.h"
#include "vmemdirect/vmemdirect.h"
#include "watchdog.h"

typedef struct VmdMessage VmdMessage;
struct VmdMessage {
    VmdMessage *next;
    void (*run)(VmdEngine *vmd, VmdMessage *m);
    /* For posters that wait; protected by the mailbox lock. */
    bool done;
    VmCond *waiter; /* while one sleeps; else NULL */
};

/* An observation on its way to the pager; there is one at a time. */
typedef struct Observed {
    VmdMessage message;
    VmdObserver *observer;
    const VmdObservation *observation;
} Observed;

struct VmdEngine {
    /* Immutable after vmd_engine_new(). */
    uint8_t *base;
    uint64_t bytes;
    uint32_t chunk_pages;
    uint8_t *frames;
    size_t frames_bytes;
    uint8_t *huge_stage; /* the last piece of frames, or NULL */
    void *reservation;   /* what was mapped for frames */
    size_t reservation_bytes;
    VmFaultService *faults;
    char *swap_path; /* for messages: the name may be gone */
    int swap_fd;
    int event_fd;
    VmdIo *io;
    bool checksum, encrypt; /* io is a seal */
    const char *mode_name;
    char *tracker_root;
    VmdTrackerEnv tracker_env;
    VmdTracker *tracker;   /* as chosen; NULL: off */
    VmdObserver *observer; /* its thread, if it has one */
    VmThread *thread;
    VmdWatchdog *watchdog; /* NULL: none */
    RamPlacement placement;

    /* Mailbox, protected by lock (rank VM_RANK_PAGER). */
    VmMutex lock;
    VmdMessage *first, *last;
    VmdStats last_stats; /* as of the last answer */

    /* The pager thread's; read by the watchdog. */
    VmdPulse pulse;

    /* Pager thread; before it starts and after it ends, the main thread. */
    VmdPager pager;
    VmdIo *backing; /* around io, once the VM starts from a file; or NULL */
    VmdSpin spin;
    bool quit;
    VmdTrackerReport tracker_report; /* a text never changes once it is there */
    VmdTracker *spare_tracker;       /* runs since the chosen one failed */

    /* The observer's until posted, then the pager's until it was run. */
    Observed observed;
};

/* To be run on the pager thread; the message is its own until then. */
void vmd_engine_post(VmdEngine *vmd, VmdMessage *m);
/* Pager thread: the poster of m goes on. */
void vmd_engine_finish(VmdEngine *vmd, VmdMessage *m);
void vmd_engine_wait(VmdEngine *vmd, VmdMessage *m);
/* Runs the function on the pager thread, and waits. */
void vmd_engine_call(VmdEngine *vmd, void (*function)(VmdPager *p, void *arg),
                     void *arg);

/* --- engine-placement.c ------------------------------------------------- */
extern const RamPlacementOps vmd_engine_placement_ops;
/* Pager thread. */
void vmd_engine_import_lent(RamImport *im);

#endif
