/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control of migration: one job at a time, its state, its events.
 *
 *   NONE, COMPLETED, FAILED, CANCELLED
 *      |  ^
 *      |  +------------------------------------------------------+
 *      |                                                         |
 *      +-migration_start()--> SETUP -> ACTIVE -> DEVICE ---------+
 *      |                        |        |  |      ^ |           |
 *      |                        |        |  v      | |           |
 *      |                        |     PRE_SWITCHOVER |           |
 *      |                        +--------+---------+-+cancel> CANCELLING
 *      +-migration_listen()-> SETUP -> ACTIVE -------------------+
 *
 * Invariants:
 *   (1) active is true from start/listen until mig_finish(); a job's thread
 *       touches nothing of the Migration after mig_finish().
 *   (2) Once committed, nobody but the source's thread decides: RUN may be
 *       on its way, and only the destination's answer tells which side runs.
 *   (3) Statuses are delivered in order, on the main thread.
 *
 * Threads: the main thread calls the public functions; the job's thread and
 * its helpers call those of migration-internal.h.
 */
#include "migration-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "link.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"

/* What may leave at once after a pause, in time at the limit's rate. */
#define PACE_BURST_NS (50 * VM_NS_PER_MS)

const char *migration_status_to_string(MigrationStatus status)
{
    static const char *const names[MIGRATION__COUNT] = {
        [MIGRATION_NONE] = "none",
        [MIGRATION_SETUP] = "setup",
        [MIGRATION_ACTIVE] = "active",
        [MIGRATION_PRE_SWITCHOVER] = "pre-switchover",
        [MIGRATION_DEVICE] = "device",
        [MIGRATION_COMPLETED] = "completed",
        [MIGRATION_FAILED] = "failed",
        [MIGRATION_CANCELLING] = "cancelling",
        [MIGRATION_CANCELLED] = "cancelled",
    };

    g_assert(status < MIGRATION__COUNT);
    return names[status];
}

/* -- events ------------------------------------------------------------- */

typedef struct EventSource {
    GSource source;
    Migration *m;
} EventSource;

static void event_free(gpointer data)
{
    MigEvent *e = data;

    g_free(e->error);
    g_free(e);
}

static MigEvent *event_pop(Migration *m)
{
    MigEvent *e;

    vm_mutex_lock(&m->lock);
    e = g_queue_pop_head(&m->queue);
    vm_mutex_unlock(&m->lock);
    return e;
}

static void deliver(const MigrationVm *vm, const MigEvent *e)
{
    if (!e->pass) {
        vm->status_changed(vm->opaque, e->status, e->error);
    } else if (vm->pass_begun) {
        vm->pass_begun(vm->opaque, e->pass);
    }
}

void migration_deliver_events(Migration *m)
{
    MigEvent *e;

    while ((e = event_pop(m))) {
        deliver(m->vm, e);
        event_free(e);
    }
}

static gboolean events_dispatch(GSource *source, GSourceFunc callback,
                                gpointer data)
{
    g_source_set_ready_time(source, -1);
    migration_deliver_events(((EventSource *)source)->m);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs event_funcs = { .dispatch = events_dispatch };

static void push_event_locked(Migration *m, MigEvent *take_e)
{
    g_queue_push_tail(&m->queue, take_e);
    g_source_set_ready_time(m->events, 0);
}

static void set_status_locked(Migration *m, MigrationStatus status,
                              const char *error)
{
    MigEvent *e = g_new0(MigEvent, 1);

    m->info.status = status;
    g_strlcpy(m->info.error, error ? error : "", sizeof(m->info.error));
    e->status = status;
    e->error = g_strdup(error);
    push_event_locked(m, e);
}

void mig_begin_pass(Migration *m)
{
    MigEvent *e = g_new0(MigEvent, 1);

    vm_mutex_lock(&m->lock);
    e->pass = ++m->info.dirty_sync_count;
    push_event_locked(m, e);
    vm_mutex_unlock(&m->lock);
}

void mig_set_status(Migration *m, MigrationStatus status)
{
    vm_mutex_lock(&m->lock);
    /* A cancel in the meantime has said CANCELLING: that stays. */
    if (!m->cancelled || m->info.incoming) {
        set_status_locked(m, status, NULL);
    }
    vm_mutex_unlock(&m->lock);
}

static void update_counters_locked(Migration *m)
{
    const RamPlacement *p = m->vm->placement;
    RamPagingCounters now = { 0 };

    if (m->counters_final) {
        return;
    }
    p->ops->counters(p->opaque, &now);
    m->info.pages_in = now.pages_in - m->counters_base.pages_in;
    m->info.pages_out = now.pages_out - m->counters_base.pages_out;
}

void mig_finalize_counters(Migration *m)
{
    vm_mutex_lock(&m->lock);
    update_counters_locked(m);
    m->counters_final = true;
    vm_mutex_unlock(&m->lock);
}

static void update_times_locked(Migration *m)
{
    m->info.total_ms = (vm_clock_ns() - m->start_ns) / VM_NS_PER_MS;
}

void mig_finish(Migration *m, MigrationStatus status, const char *error)
{
    vm_mutex_lock(&m->lock);
    update_counters_locked(m);
    update_times_locked(m);
    m->active = false; /* (1) */
    m->committed = false;
    set_status_locked(m, status, error);
    vm_mutex_unlock(&m->lock);
}

/* -- what the job's threads ask ----------------------------------------- */

bool mig_is_cancelled(Migration *m)
{
    bool cancelled;

    vm_mutex_lock(&m->lock);
    cancelled = m->cancelled;
    vm_mutex_unlock(&m->lock);
    return cancelled;
}

void mig_publish_stream(Migration *m, MigStream *s)
{
    vm_mutex_lock(&m->lock);
    m->stream = s;
    if (s && m->cancelled) {
        mig_stream_cut(s);
    }
    vm_mutex_unlock(&m->lock);
}

VmListener *mig_take_listener(Migration *m)
{
    VmListener *listener;

    vm_mutex_lock(&m->lock);
    listener = g_steal_pointer(&m->listener);
    vm_mutex_unlock(&m->lock);
    return listener;
}

bool mig_commit(Migration *m)
{
    bool ok;

    vm_mutex_lock(&m->lock);
    ok = !m->cancelled;
    m->committed = ok;
    vm_mutex_unlock(&m->lock);
    return ok;
}

void mig_uncommit(Migration *m)
{
    vm_mutex_lock(&m->lock);
    m->committed = false;
    vm_mutex_unlock(&m->lock);
}

bool mig_wait_continue(Migration *m, int64_t timeout_ns)
{
    bool over;

    vm_mutex_lock(&m->lock);
    if (!m->continued && !m->cancelled) {
        (void)vm_cond_wait_ns(&m->wake, &m->lock, timeout_ns);
    }
    over = m->continued || m->cancelled;
    vm_mutex_unlock(&m->lock);
    return over;
}

void mig_pace(Migration *m, uint64_t bytes)
{
    uint64_t rate;

    vm_mutex_lock(&m->lock);
    for (;;) {
        int64_t wait_ns = m->pace_ns - vm_clock_ns();

        rate = m->parameters.max_bandwidth_bytes_per_s;
        if (m->cancelled || rate == 0 || wait_ns <= 0) {
            break;
        }
        (void)vm_cond_wait_ns(&m->wake, &m->lock, wait_ns);
    }
    if (rate) {
        int64_t now = vm_clock_ns();

        m->pace_ns = MAX(m->pace_ns, now - PACE_BURST_NS) +
                     (int64_t)((double)bytes * 1e9 / (double)rate);
    }
    vm_mutex_unlock(&m->lock);
}

/* -- control ------------------------------------------------------------ */

static const MigWaits default_waits = {
    /* The destination answers HELLO from memory, but may be busy starting. */
    .welcome_ns = 30 * VM_NS_PER_SEC,
    /* Applying what is in flight: swap writes of a slow disk. */
    .pass_ns = 120 * VM_NS_PER_SEC,
    .ready_ns = 60 * VM_NS_PER_SEC,
    .running_ns = 30 * VM_NS_PER_SEC,
    .write_ns = 60 * VM_NS_PER_SEC,
    .last_words_ns = 3 * VM_NS_PER_SEC,
    .join_ns = 30 * VM_NS_PER_SEC,
};

Migration *migration_new(const MigrationVm *vm)
{
    Migration *m = g_new0(Migration, 1);

    m->vm = vm;
    m->cancel_fd = -1;
    m->waits = default_waits;
    mig_parameters_init(&m->parameters);
    vm_mutex_init(&m->lock, VM_RANK_MIGRATION);
    vm_cond_init(&m->wake);
    g_queue_init(&m->queue);
    m->events = g_source_new(&event_funcs, sizeof(EventSource));
    ((EventSource *)m->events)->m = m;
    g_source_set_static_name(m->events, "migration");
    g_source_attach(m->events, NULL);
    return m;
}

/* Ends the job whichever side it is, unless it is committed. */
static void cancel_job(Migration *m, bool incoming_too)
{
    vm_mutex_lock(&m->lock);
    if (m->active && !m->cancelled && !m->committed && /* (2) */
        (incoming_too || !m->info.incoming)) {
        m->cancelled = true;
        if (!m->info.incoming) {
            set_status_locked(m, MIGRATION_CANCELLING, NULL);
        }
        if (m->stream) {
            mig_stream_cut(m->stream);
        }
        if (m->listener) {
            vm_listener_shutdown(m->listener);
        }
        (void)eventfd_write(m->cancel_fd, 1); /* cannot overflow */
        vm_cond_broadcast(&m->wake);
    }
    vm_mutex_unlock(&m->lock);
}

void migration_cancel(Migration *m)
{
    cancel_job(m, /* incoming_too= */ false);
}

bool migration_continue(Migration *m, MigrationStatus state, GError **errp)
{
    MigrationStatus is;
    bool ok;

    vm_mutex_lock(&m->lock);
    is = m->info.status;
    ok = state == is && is == MIGRATION_PRE_SWITCHOVER;
    if (ok) {
        m->continued = true;
        vm_cond_broadcast(&m->wake);
    }
    vm_mutex_unlock(&m->lock);
    return ok || vm_error_set(errp, 0, "Migration not in expected state: %s",
                              migration_status_to_string(is));
}

static void join_last_job(Migration *m)
{
    if (m->thread) {
        vm_thread_join(m->thread);
        m->thread = NULL;
    }
    vm_close_fd(&m->cancel_fd);
    g_clear_pointer(&m->address, g_free);
    g_clear_pointer(&m->listen_address, g_free);
    vm_listener_free(mig_take_listener(m));
}

void migration_free(Migration *m)
{
    if (!m) {
        return;
    }
    cancel_job(m, /* incoming_too= */ true);
    join_last_job(m);
    g_source_destroy(m->events);
    g_source_unref(m->events);
    g_queue_clear_full(&m->queue, event_free);
    vm_cond_done(&m->wake);
    vm_mutex_done(&m->lock);
    tls_creds_unref(m->tls_creds);
    g_free(m->tls_hostname);
    g_free(m->blocker);
    g_free(m);
}

void migration_get_parameters(const Migration *m, MigrationParameters *ret)
{
    /* Only the main thread, the caller's, writes them: no lock needed. */
    *ret = m->parameters;
}

bool migration_set_parameters(Migration *m, const MigrationParameters *p,
                              GError **errp)
{
    if (!mig_parameters_check(p, errp)) {
        return false;
    }
    vm_mutex_lock(&m->lock);
    m->parameters = *p;
    m->pace_ns = 0; /* a debt at the old rate is forgiven */
    vm_cond_broadcast(&m->wake);
    vm_mutex_unlock(&m->lock);
    return true;
}

bool migration_is_active(const Migration *m)
{
    Migration *mutable = (Migration *)m; /* the lock is no part of its value */
    bool active;

    vm_mutex_lock(&mutable->lock);
    active = m->active;
    vm_mutex_unlock(&mutable->lock);
    return active;
}

void migration_get_capabilities(const Migration *m,
                                MigrationCapabilities *ret)
{
    *ret = m->capabilities; /* written by the main thread, the caller's */
}

bool migration_set_capabilities(Migration *m, const MigrationCapabilities *c,
                                GError **errp)
{
    if (migration_is_active(m)) {
        return vm_error_set(errp, 0,
                            "There's a migration process in progress");
    }
    m->capabilities = *c;
    return true;
}

bool migration_set_tls(Migration *m, TlsCreds *creds, const char *hostname,
                       GError **errp)
{
    if (migration_is_active(m)) {
        return vm_error_set(errp, 0,
                            "There's a migration process in progress");
    }
    (void)tls_creds_ref(creds); /* before the last one is let go */
    tls_creds_unref(m->tls_creds);
    m->tls_creds = creds;
    g_free(m->tls_hostname);
    m->tls_hostname = g_strdup(hostname);
    return true;
}

static bool check_idle(Migration *m, GError **errp)
{
    if (migration_is_active(m)) {
        return vm_error_set(errp, 0,
                            "There's a migration process in progress");
    }
    join_last_job(m);
    return true;
}

static void start_job(Migration *m, bool incoming, VmListener *take_listener)
{
    const RamPlacement *p = m->vm->placement;

    vm_mutex_lock(&m->lock);
    memset(&m->info, 0, sizeof(m->info));
    m->info.incoming = incoming;
    m->info.ram_total_bytes = ram_block_bytes(m->vm->ram);
    m->info.destination_budget_bytes = UINT64_MAX;
    m->active = true;
    m->cancelled = m->committed = m->continued = false;
    m->listener = take_listener;
    m->start_ns = vm_clock_ns();
    m->pace_ns = 0;
    p->ops->counters(p->opaque, &m->counters_base);
    m->counters_final = false;
    set_status_locked(m, MIGRATION_SETUP, NULL);
    vm_mutex_unlock(&m->lock);
    m->thread = vm_thread_new(incoming ? "mig-dest" : "mig-source",
                              incoming ? mig_destination_run
                                       : mig_source_run, m);
}

static bool make_cancel_fd(Migration *m, GError **errp)
{
    m->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return m->cancel_fd >= 0 || vm_error_set(errp, errno, "migration: eventfd");
}

static bool check_tls(Migration *m, const char *uri, TlsEndpoint endpoint,
                      GError **errp)
{
    if (!m->tls_creds) {
        return true;
    }
    if (!mig_uri_can_tls(uri)) {
        return vm_error_set(errp, 0, "TLS is for connections, which '%s' is "
                                     "not", uri);
    }
    return tls_creds_endpoint(m->tls_creds) == endpoint ||
           vm_error_set(errp, 0, "the TLS credentials are not of the endpoint "
                                 "'%s'",
                        endpoint == TLS_CLIENT ? "client" : "server");
}

static bool check_multifd(Migration *m, const char *uri, GError **errp)
{
    return !m->capabilities.multifd || mig_uri_is_connection(uri) ||
           vm_error_set(errp, 0, "the capability 'multifd' is on, and '%s' is "
                                 "neither tcp: nor unix:", uri);
}

static bool prepare_job(Migration *m, const char *uri, TlsEndpoint endpoint,
                        GError **errp)
{
    if (!check_idle(m, errp) || !mig_uri_check(uri, errp) ||
        !check_tls(m, uri, endpoint, errp) || !check_multifd(m, uri, errp) ||
        !make_cancel_fd(m, errp)) {
        return false;
    }
    m->address = g_strdup(uri);
    return true;
}

/* fd:N is taken over whatever comes of it. */
static void close_uri_fd(const char *uri)
{
    int fd = mig_uri_fd(uri);

    vm_close_fd(&fd);
}

bool migration_start(Migration *m, const char *uri, GError **errp)
{
    bool ok = m->blocker ? vm_error_set(errp, 0, "%s", m->blocker)
                         : prepare_job(m, uri, TLS_CLIENT, errp);

    if (ok) {
        start_job(m, /* incoming= */ false, NULL);
    } else {
        close_uri_fd(uri);
    }
    return ok;
}

static bool listen_if_connection(Migration *m, VmListener **ret,
                                 GError **errp)
{
    if (mig_uri_is_connection(m->address)) {
        *ret = vm_listener_new(m->address, errp);
        if (!*ret) {
            return false;
        }
        m->listen_address = g_strdup(vm_listener_address(*ret));
    }
    return true;
}

bool migration_listen(Migration *m, const char *uri, GError **errp)
{
    VmListener *listener = NULL;

    if (!prepare_job(m, uri, TLS_SERVER, errp) ||
        !listen_if_connection(m, &listener, errp)) {
        close_uri_fd(uri);
        return false;
    }
    start_job(m, /* incoming= */ true, listener);
    return true;
}

const char *migration_listen_address(const Migration *m)
{
    Migration *mutable = (Migration *)m; /* the lock is no part of its value */
    bool listening;

    vm_mutex_lock(&mutable->lock);
    listening = m->listener != NULL;
    vm_mutex_unlock(&mutable->lock);
    return listening ? m->listen_address : NULL;
}

void migration_query(Migration *m, MigrationInfo *ret)
{
    vm_mutex_lock(&m->lock);
    if (m->active) {
        update_counters_locked(m);
        update_times_locked(m);
    }
    *ret = m->info;
    vm_mutex_unlock(&m->lock);
}

void migration_set_blocker(Migration *m, const char *reason)
{
    g_free(m->blocker);
    m->blocker = g_strdup(reason);
}

const char *migration_get_blocker(const Migration *m)
{
    return m->blocker;
}
