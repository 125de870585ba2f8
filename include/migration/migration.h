/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Live migration: control.
 *
 * One job at a time, outgoing or incoming. The job runs on its own threads;
 * control calls return at once. The VM behind it is reached through
 * MigrationVm, so that migration/ knows no devices and no vCPUs.
 *
 * Threads: control by the main thread. Events come on the main thread.
 * Errors: GError.
 */
#ifndef VM_MIGRATION_MIGRATION_H
#define VM_MIGRATION_MIGRATION_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "crypto/tls-creds.h"
#include "memory/placement.h"
#include "memory/ram.h"
#include "migration/vmstate.h"

typedef struct Migration Migration;

typedef enum MigrationStatus {
    MIGRATION_NONE,
    MIGRATION_SETUP,
    MIGRATION_ACTIVE,
    MIGRATION_PRE_SWITCHOVER,
    MIGRATION_DEVICE,
    MIGRATION_COMPLETED,
    MIGRATION_FAILED,
    MIGRATION_CANCELLING,
    MIGRATION_CANCELLED,
    MIGRATION__COUNT
} MigrationStatus;
const char *migration_status_to_string(MigrationStatus status); /* QEMU's */

/* One device's state: what vmstate saves and loads. */
typedef struct MigrationDevice {
    const VMStateDescription *vmsd;
    uint32_t instance;
    void *opaque;
    struct VmMutex *lock; /* taken around save and load; or NULL */
} MigrationDevice;

/* The VM, as migration sees it. All functions are called on a migration
 * thread unless they say otherwise, and may take locks up to
 * VM_RANK_RUN_STATE. */
typedef struct MigrationVm {
    const char *machine;   /* "pc-q35-7.2": both sides must agree */
    unsigned vcpus;
    RamBlock *ram;
    RamPlacement *placement;
    /* Stops the VM for the switch-over: vCPUs paused, devices quiescent.
     * *ret_was_running: it ran before. */
    int (*stop)(void *opaque, bool *ret_was_running);
    /* The source goes on (failure, cancel): called only after a stop() that
     * said "it ran before", and after activate() if it had inactivated. This
     * is the only leave to run: a job that ends as FAILED without it has
     * left the VM paused for good reason (the destination may be running, or
     * images are lost), and only an operator's "cont" may end that. */
    void (*resume)(void *opaque);
    /* The destination takes over; run: the source ran (the callee adds -S).
     * Returns 0, or -errno with *errp filled: then nothing runs here, now or
     * later, not by "cont" either, and the source goes on. */
    int (*start)(void *opaque, bool run, GError **errp);
    /* inactivate: gives up images (source, before the hand-over; destination,
     * when start() failed). activate: takes them back (source, when the
     * hand-over was refused) or takes them over (destination, just before
     * start()). A failed inactivate() is followed by activate(). NULL: the VM
     * has none. */
    bool (*inactivate)(void *opaque, GError **errp);
    bool (*activate)(void *opaque, GError **errp);
    /* The share of their time that vCPUs rest, in percent, 0 to 99; 0: none,
     * as at first. It holds across stop(), which it must not make slower. */
    void (*throttle)(void *opaque, unsigned percent);
    /* Devices to save or load, in order; g_array of MigrationDevice, which
     * the caller unrefs. Called once the VM is stopped (source) or built
     * (destination). The pair (vmsd->name, instance) is unique. */
    GArray *(*devices)(void *opaque);
    /* Main thread, from the default GMainContext: status changed (MIGRATION
     * event). error: for FAILED, else NULL. */
    void (*status_changed)(void *opaque, MigrationStatus status,
                           const char *error);
    /* Likewise, in order with the statuses: a pass over RAM begins
     * (MIGRATION_PASS event). NULL: not wanted. */
    void (*pass_begun)(void *opaque, uint64_t pass);
    void *opaque;
} MigrationVm;

Migration *migration_new(const MigrationVm *vm); /* borrowed, outlives it */
/* Cancels what runs and joins. */
void migration_free(Migration *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Migration, migration_free)

/* May change while a job runs. */
typedef struct MigrationParameters {
    uint64_t max_bandwidth_bytes_per_s; /* 0: no limit */
    uint64_t downtime_limit_ms;
    /* What the switch-over is planned with; 0: what was measured. */
    uint64_t switchover_bandwidth_bytes_per_s;
    /* For whoever starts the VM at the destination: rounds of announcements,
     * with pauses that begin with initial and grow by step up to max. */
    uint64_t announce_initial_ms, announce_max_ms, announce_step_ms;
    uint64_t announce_rounds;
    /* auto_converge; all in percent. docs/qmp.md has their meaning. */
    uint64_t throttle_trigger_threshold;
    uint64_t cpu_throttle_initial, cpu_throttle_increment, max_cpu_throttle;
    uint64_t cpu_throttle_tailslow; /* a bool */
    /* With the capability multifd, as the source's job begins. */
    uint64_t multifd_channels;
} MigrationParameters;

/* Their names, limits and defaults, which are QEMU's. */
typedef struct MigrationParameterInfo {
    const char *name;
    size_t offset; /* of an uint64_t in MigrationParameters */
    uint64_t minimum, maximum, initial;
    bool is_bool; /* 0 or 1 */
} MigrationParameterInfo;
extern const MigrationParameterInfo migration_parameter_infos[];
extern const size_t migration_parameter_count;

void migration_get_parameters(const Migration *m, MigrationParameters *ret);
/* Refuses what is out of its limits, by name. */
bool migration_set_parameters(Migration *m, const MigrationParameters *p,
                              GError **errp);

/* Switches for the next job. */
typedef struct MigrationCapabilities {
    /* The destination answers. Without it exec: goes one way, and so may what
     * cannot answer (a pipe, a file); connections always go both ways. */
    bool return_path;
    /* The source stops the VM, then waits in PRE_SWITCHOVER for
     * migration_continue(). */
    bool pause_before_switchover;
    /* The source slows the guest down while it dirties memory faster than
     * that can be sent. */
    bool auto_converge;
    /* The destination does not take the images when the VM arrives paused:
     * MigrationVm.start() does when it lets it run, here or later. */
    bool late_block_activate;
    /* The source sends a checksum with each page. One way (file:, for example)
     * it always does. */
    bool checksum;
    /* RAM goes by connections of its own: the source says, and a destination
     * that listens takes them. */
    bool multifd;
} MigrationCapabilities;
void migration_get_capabilities(const Migration *m,
                                MigrationCapabilities *ret);
/* Refused while a job runs. */
bool migration_set_capabilities(Migration *m, const MigrationCapabilities *c,
                                GError **errp);

/*
 * TLS for the next job: creds (a reference is taken; NULL: none) of a client
 * at the source, of a server at the destination. hostname: whom the
 * destination's certificate must name; NULL: the host of a tcp: URI. Refused
 * while a job runs.
 */
bool migration_set_tls(Migration *m, TlsCreds *creds, const char *hostname,
                       GError **errp);

/*
 * "tcp:HOST:PORT", "unix:PATH", "exec:COMMAND", "file:PATH" or "fd:N", a
 * descriptor that is taken over (also on failure); others refused by name.
 * Both return at once: what fails later (no connection, a refusal) comes by
 * status_changed() and migration_query(). A listener waits until the peer has
 * sent a valid HELLO; what else connects is closed and waited past.
 */
bool migration_start(Migration *m, const char *uri, GError **errp);
bool migration_listen(Migration *m, const char *uri, GError **errp);
/* Calls status_changed() for what has happened so far, which else comes from
 * the main loop. Main thread. */
void migration_deliver_events(Migration *m);
/* Address listened on, with the real port; NULL when not listening. */
const char *migration_listen_address(const Migration *m);
void migration_cancel(Migration *m);
/* Ends the wait in that state, which must be the job's: there is only
 * PRE_SWITCHOVER. */
bool migration_continue(Migration *m, MigrationStatus state, GError **errp);
/* A job has been started and has not ended. */
bool migration_is_active(const Migration *m);

typedef struct MigrationInfo {
    MigrationStatus status;
    bool incoming;
    char error[512];
    int64_t total_ms, setup_ms, downtime_ms, expected_downtime_ms;
    uint64_t ram_total_bytes, ram_remaining_bytes, transferred_bytes;
    uint64_t normal_pages, duplicate_pages; /* duplicate: zero pages */
    uint64_t dirty_sync_count; /* passes begun */
    uint64_t dirty_pages_rate, pages_per_second;
    unsigned cpu_throttle_percent; /* 0: the guest is not slowed down */
    uint64_t precopy_bytes, downtime_bytes; /* source: transferred_bytes while
                                             * the VM ran, and after */
    double mbps;
    /* vmemdirect part: payload by what the plan said, and paging by touch
     * while the job ran, at this side. */
    uint64_t sent_ram_bytes, sent_swap_bytes, zero_bytes;
    uint64_t multifd_bytes;   /* source: of them, by channels */
    uint64_t from_swap_bytes; /* source: read from the swap file */
    uint64_t pages_in, pages_out;
    uint64_t destination_budget_bytes; /* as announced; UINT64_MAX none */
    /* Parts of the downtime, in order; at the source. */
    int64_t stop_us, pause_us, last_pass_us, device_us;
    int64_t ready_us;  /* the destination loads, and says so */
    int64_t images_us; /* given up */
    int64_t resume_us; /* the destination starts, and says so */
    /* At the destination: what it does of ready_us and resume_us. */
    int64_t load_us, start_us;
} MigrationInfo;
void migration_query(Migration *m, MigrationInfo *ret);

/* A reason why the VM cannot migrate now (NULL: none); shown to users and
 * in query-migrate's blocked-reasons. */
void migration_set_blocker(Migration *m, const char *reason);
/* Main thread; valid until the next migration_set_blocker(). */
const char *migration_get_blocker(const Migration *m);

#endif
