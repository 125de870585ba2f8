/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two sides of a job share with its control (migration.c).
 *
 * Threads: each function says. lock is of rank VM_RANK_MIGRATION; nothing
 * of the VM is called with it held.
 */
#ifndef VM_MIGRATION_INTERNAL_H
#define VM_MIGRATION_INTERNAL_H

#include "migration/migration.h"
#include "stream.h"
#include "util/channel.h"
#include "util/thread.h"

typedef struct MigEvent {
    uint64_t pass; /* it begins; 0: the status has changed */
    MigrationStatus status;
    char *error;
} MigEvent;

/* How long the source waits, of docs/migration-format.md 5.2; the last is the
 * destination's, of 4.7. */
typedef struct MigWaits {
    int64_t welcome_ns; /* the TLS handshake counts */
    int64_t pass_ns;
    int64_t ready_ns;
    int64_t running_ns;
    int64_t write_ns; /* the destination takes no byte */
    int64_t last_words_ns; /* for the reason that explains a failed write */
    int64_t join_ns;       /* destination, from WELCOME on: all channels */
} MigWaits;

struct Migration {
    /* Immutable after migration_new(). */
    const MigrationVm *vm;
    GSource *events; /* on the default context; ready when queue is not empty */

    /* Main thread only. */
    VmThread *thread; /* of the last job; joined before the next */
    char *address;    /* of the last job: a URI, of link.h */
    char *listen_address;
    char *blocker;

    /* Written by the main thread while no job is active, else immutable. */
    int cancel_fd; /* eventfd: readable when the job shall end */
    TlsCreds *tls_creds; /* or NULL */
    char *tls_hostname;  /* or NULL */
    MigWaits waits;      /* tests shorten them */
    const uint8_t *token; /* of 4.7, for tests; NULL: random bytes */
    MigrationCapabilities capabilities;

    /* Protected by lock. */
    VmMutex lock;
    VmCond wake; /* cancel, continue, or new parameters */
    MigrationParameters parameters;
    MigrationInfo info;
    bool active;    /* a job's thread is at work */
    bool cancelled; /* it shall end */
    bool continued; /* PRE_SWITCHOVER is over */
    bool committed; /* RUN may be on its way: too late to cancel */
    MigStream *stream;    /* of the job, for cutting; or NULL */
    VmListener *listener; /* of the job, for waking; or NULL */
    int64_t start_ns;
    int64_t pace_ns; /* when the next bytes may leave */
    RamPagingCounters counters_base;
    bool counters_final; /* the VM runs here: its faults are its own */
    GQueue queue; /* of MigEvent */
};

/* Job thread. The terminal states go through mig_finish() only. */
void mig_set_status(Migration *m, MigrationStatus status);
/* The last thing a job's thread does. error: for FAILED, else NULL. */
void mig_finish(Migration *m, MigrationStatus status, const char *error);

/* Job thread of a destination, just before the VM starts: the paging counters
 * of the job stay as they are. */
void mig_finalize_counters(Migration *m);

/* Job thread of a source: counts and tells. */
void mig_begin_pass(Migration *m);

/* Job thread of a source: waits in PRE_SWITCHOVER until that is over, for a
 * while: true. False: not yet. */
bool mig_wait_continue(Migration *m, int64_t timeout_ns);

/* parameters.c */
void mig_parameters_init(MigrationParameters *p);
bool mig_parameters_check(const MigrationParameters *p, GError **errp);

/* Any thread. */
bool mig_is_cancelled(Migration *m);
/* Job thread: publishes the stream so that a cancel can cut it; NULL takes
 * it back. Cuts it at once when the job is cancelled already. */
void mig_publish_stream(Migration *m, MigStream *s);
/* Takes the listener back, for freeing. */
VmListener *mig_take_listener(Migration *m);
/*
 * From here until mig_uncommit() no cancel cuts the stream. Returns false
 * when the job is cancelled already.
 */
bool mig_commit(Migration *m);
void mig_uncommit(Migration *m);

/* Job thread: sleeps while the bandwidth limit says so, or until cancelled;
 * then accounts for bytes that are about to be sent. */
void mig_pace(Migration *m, uint64_t bytes);

/* Changes the info under the lock: MIG_INFO(m, info->x += 1). */
#define MIG_INFO(m, statement)                 \
    do {                                       \
        MigrationInfo *info = &(m)->info;      \
        vm_mutex_lock(&(m)->lock);             \
        statement;                             \
        vm_mutex_unlock(&(m)->lock);           \
    } while (0)

/* The two sides: thread functions, arg is the Migration. */
void mig_source_run(void *arg);
void mig_destination_run(void *arg);

#endif
