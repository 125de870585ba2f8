/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's further connections (docs/migration-format.md, 4.7).
 *
 *   GREETING --TLS, CHANNEL with the token--> JOINED --SYNC with LAST--> OVER
 *      | anything else, or not in time           | anything else
 *      v                                         v
 *   OVER: closed, nobody else is harmed       OVER: the migration fails
 *
 * Why a thread for each from the beginning: who connects and says nothing
 * must not keep the source's own connections waiting.
 *
 * Invariants:
 *   (1) What comes before a valid CHANNEL changes nothing.
 *   (2) A number joins once, and no more than count do. Then nobody listens.
 *   (3) A channel's thread touches guest RAM's imports only between JOINED and
 *       OVER; so once all are OVER by LAST, no copy is on its way.
 *
 * Threads: multifd-accept.h says. The listener is the acceptor's, which frees
 * it.
 */
#include "multifd-accept.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "crypto/tls-channel.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

/* TLS and CHANNEL together, of one connection. */
#define GREETING_TIMEOUT_NS (10 * VM_NS_PER_SEC)
/* Connections beyond those that are missing, which may greet at a time. */
#define STRANGERS_MAX 8u

typedef enum ChannelState { GREETING, JOINED, OVER } ChannelState;

typedef struct Channel {
    /* Immutable. */
    MigMultifd *x;
    MigStream *s;
    VmThread *thread;

    /* Its thread only. */
    uint64_t records;
    uint64_t digest_before; /* of all before the record at hand */

    /* Protected by x->lock; index: immutable from JOINED on. */
    ChannelState state;
    bool refused; /* OVER, and never JOINED */
    uint32_t index;
    uint32_t pass; /* whose end it has come to */
    bool last;     /* and it was the last */
} Channel;

struct MigMultifd {
    /* Immutable. */
    Migration *m;
    MigStream *trunk;
    MigRamReceiver *ram;
    unsigned count;
    uint8_t token[MIG_TOKEN_BYTES];
    int64_t end_ns; /* for all to join */
    VmListener *listener;
    VmThread *acceptor;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    VmCond cond;
    GPtrArray *channels; /* of Channel; owned */
    unsigned joined;     /* (2) */
    bool stop;
    GError *error; /* the first; or NULL */
};

/* -- failure ------------------------------------------------------------ */

static void fail(MigMultifd *x, GError *take_error)
{
    bool first;

    vm_mutex_lock(&x->lock);
    first = !x->error;
    if (first) {
        x->error = g_steal_pointer(&take_error);
    }
    vm_cond_broadcast(&x->cond);
    vm_mutex_unlock(&x->lock);
    g_clear_error(&take_error);
    if (first) {
        mig_stream_cut_branches(x->trunk);
        mig_stream_end_reads(x->trunk);
    }
}

/* "connection 2 of 4: ", and TLS's words. */
static void channel_failed(Channel *c, GError *take_error)
{
    g_autofree char *tls = vm_channel_explain(mig_stream_channel(c->s));

    g_prefix_error(&take_error, "connection %" PRIu32 " of %u: %s%s",
                   c->index + 1, c->x->count, tls ? tls : "",
                   tls ? ": " : "");
    fail(c->x, take_error);
}

bool mig_multifd_check(MigMultifd *x, int64_t soon_ns, GError **errp)
{
    int64_t end_ns = vm_clock_ns() + soon_ns;
    bool ok;

    vm_mutex_lock(&x->lock);
    while (!x->error && vm_clock_ns() < end_ns) {
        (void)vm_cond_wait_ns(&x->cond, &x->lock, end_ns - vm_clock_ns());
    }
    ok = !x->error;
    if (!ok) {
        g_propagate_error(errp, g_error_copy(x->error));
    }
    vm_mutex_unlock(&x->lock);
    return ok;
}

/* -- one connection: who is it? ----------------------------------------- */

static bool tokens_equal(const uint8_t *a, const uint8_t *b)
{
    uint8_t differ = 0;

    for (size_t i = 0; i < MIG_TOKEN_BYTES; i++) {
        differ |= a[i] ^ b[i]; /* in the same time, whatever they are */
    }
    return differ == 0;
}

static bool read_greeting(Channel *c, MigWireChannel *ret, GError **errp)
{
    MigWireRecord rec;
    int err = mig_stream_read_control(c->s, &rec, sizeof(rec));

    if (err == 0 &&
        (rec.magic != MIG_WIRE_MAGIC || rec.type != MIG_REC_CHANNEL ||
         (rec.flags & (uint16_t)~MIG_FLAGS_ADVISORY) ||
         rec.length != sizeof(*ret))) {
        return vm_error_set(errp, 0, "it is none of the migration's");
    }
    if (err == 0) {
        err = mig_stream_read_control(c->s, ret, sizeof(*ret));
    }
    return err == 0 || vm_error_set(errp, 0, "%s", mig_stream_strerror(err));
}

static bool index_is_taken_locked(const MigMultifd *x, uint32_t index)
{
    for (guint i = 0; i < x->channels->len; i++) {
        const Channel *c = x->channels->pdata[i];

        if (c->state != GREETING && !c->refused && c->index == index) {
            return true;
        }
    }
    return false;
}

/* (2) */
static bool join(Channel *c, uint32_t index, bool *ret_all)
{
    MigMultifd *x = c->x;
    bool ok;

    vm_mutex_lock(&x->lock);
    ok = index < x->count && !index_is_taken_locked(x, index);
    if (ok) {
        c->state = JOINED;
        c->index = index;
        x->joined++;
        vm_cond_broadcast(&x->cond);
    }
    *ret_all = x->joined == x->count;
    vm_mutex_unlock(&x->lock);
    return ok;
}

static void wake_acceptor(MigMultifd *x)
{
    vm_mutex_lock(&x->m->lock);
    if (x->m->listener) {
        vm_listener_shutdown(x->m->listener);
    }
    vm_mutex_unlock(&x->m->lock);
}

static bool greet(Channel *c, GError **errp)
{
    MigMultifd *x = c->x;
    MigWireChannel w;
    bool all;

    mig_stream_set_deadline(c->s, vm_clock_ns() + GREETING_TIMEOUT_NS);
    if (x->m->tls_creds &&
        !tls_channel_secure(mig_stream_channel(c->s), x->m->tls_creds, NULL,
                            errp)) {
        return false;
    }
    if (!read_greeting(c, &w, errp)) {
        return false;
    }
    mig_stream_set_deadline(c->s, 0);
    c->records = 1;
    if (!tokens_equal(w.token, x->token) || w.reserved) {
        return vm_error_set(errp, 0, "it does not know the migration's token");
    }
    if (!join(c, w.index, &all)) {
        return vm_error_set(errp, 0, "there is no place for number %" PRIu32,
                            w.index);
    }
    if (all) {
        wake_acceptor(x);
    }
    return true;
}

/* -- one connection: what it brings ------------------------------------- */

static bool refuse(GError **errp, const MigWireRecord *rec, const char *what)
{
    return vm_error_set(errp, 0, "migration stream: %s record: %s",
                        mig_record_to_string(rec->type), what);
}

static bool on_sync(Channel *c, const MigWireRecord *rec, GError **errp)
{
    MigWireSync w;
    int err;

    if (rec->length != sizeof(w)) {
        return refuse(errp, rec, "bad length");
    }
    err = mig_stream_read_control(c->s, &w, sizeof(w));
    if (err < 0) {
        return mig_stream_receive_error(err, errp);
    }
    if (w.pass != c->pass + 1 || w.reserved) {
        return refuse(errp, rec, "out of order");
    }
    if (w.records != c->records - 1 || w.digest != c->digest_before) {
        return refuse(errp, rec, "its count or digest is not that of what "
                                 "came");
    }
    vm_mutex_lock(&c->x->lock);
    c->pass = w.pass;
    c->last = rec->flags & MIG_FLAG_LAST;
    c->state = c->last ? OVER : JOINED;
    vm_cond_broadcast(&c->x->cond);
    vm_mutex_unlock(&c->x->lock);
    return true;
}

static bool handle_record(Channel *c, const MigWireRecord *rec, GError **errp)
{
    uint16_t flags = rec->flags & (uint16_t)~MIG_FLAGS_ADVISORY;

    if (rec->magic != MIG_WIRE_MAGIC) {
        return vm_error_set(errp, 0, "migration stream: no record where one "
                                     "should begin");
    }
    switch (rec->type) {
    case MIG_REC_CHUNK:
        return flags & ~(MIG_FLAG_HISTORY | MIG_FLAG_LAST |
                         MIG_FLAG_CHECKSUM)
                   ? refuse(errp, rec, "unknown flags")
                   : mig_ram_receive_chunk(c->x->ram, c->s, rec, errp);
    case MIG_REC_SYNC:
        return flags & ~MIG_FLAG_LAST ? refuse(errp, rec, "unknown flags")
                                      : on_sync(c, rec, errp);
    default:
        return refuse(errp, rec, "out of place");
    }
}

static bool receive_record(Channel *c, GError **errp)
{
    MigWireRecord rec;
    int err;

    c->digest_before = mig_stream_read_digest(c->s);
    err = mig_stream_read_control(c->s, &rec, sizeof(rec));
    if (err < 0) {
        return mig_stream_receive_error(err, errp);
    }
    c->records++;
    return handle_record(c, &rec, errp);
}

static void receive(Channel *c)
{
    GError *error = NULL;

    while (!c->last) { /* written by this thread only */
        if (!receive_record(c, &error)) {
            channel_failed(c, error);
            return;
        }
    }
}

static void say_ignored(Channel *c, const GError *error)
{
    bool stop;

    vm_mutex_lock(&c->x->lock);
    stop = c->x->stop;
    vm_mutex_unlock(&c->x->lock);
    if (!stop && !mig_is_cancelled(c->x->m)) {
        vm_warn("migration: ignored a further connection: %s",
                error->message);
    }
}

static void channel_run(void *arg)
{
    Channel *c = arg;
    g_autoptr(GError) error = NULL;
    bool joined = greet(c, &error);

    if (joined) {
        receive(c);
    } else {
        say_ignored(c, error);
        mig_stream_cut(c->s);
    }
    vm_mutex_lock(&c->x->lock);
    c->state = OVER;
    c->refused = !joined;
    vm_cond_broadcast(&c->x->cond);
    vm_mutex_unlock(&c->x->lock);
}

/* -- all of them -------------------------------------------------------- */

static void channel_free(void *arg)
{
    Channel *c = arg;

    vm_thread_join(c->thread);
    mig_stream_free(c->s);
    g_free(c);
}

static unsigned strangers_locked(const MigMultifd *x)
{
    unsigned n = 0;

    for (guint i = 0; i < x->channels->len; i++) {
        n += ((Channel *)x->channels->pdata[i])->state == GREETING;
    }
    return n;
}

/* One that was refused, for freeing; or NULL. */
static Channel *take_refused_locked(MigMultifd *x)
{
    for (guint i = 0; i < x->channels->len; i++) {
        if (((Channel *)x->channels->pdata[i])->refused) {
            return g_ptr_array_steal_index_fast(x->channels, i);
        }
    }
    return NULL;
}

/* Sleeps while too many greet. False: no more are wanted. */
static bool wait_for_room(MigMultifd *x)
{
    Channel *refused;
    bool wanted;

    do {
        vm_mutex_lock(&x->lock);
        while (!(refused = take_refused_locked(x)) && !x->stop && !x->error &&
               x->joined < x->count &&
               strangers_locked(x) >= x->count - x->joined + STRANGERS_MAX) {
            vm_cond_wait(&x->cond, &x->lock);
        }
        wanted = !x->stop && !x->error && x->joined < x->count;
        vm_mutex_unlock(&x->lock);
        if (refused) {
            channel_free(refused);
        }
    } while (refused);
    return wanted;
}

static void add_channel(MigMultifd *x, VmChannel *take_ch)
{
    Channel *c = g_new0(Channel, 1);

    c->x = x;
    c->s = mig_stream_new(take_ch);
    mig_stream_attach(x->trunk, c->s);
    vm_mutex_lock(&x->lock);
    g_ptr_array_add(x->channels, c);
    vm_mutex_unlock(&x->lock);
    c->thread = vm_thread_new("mig-receive", channel_run, c);
}

static VmChannel *accept_in_time(MigMultifd *x, GError **errp)
{
    unsigned joined;

    if (vm_listener_wait_ns(x->listener, x->end_ns - vm_clock_ns())) {
        return vm_listener_accept(x->listener, errp);
    }
    vm_mutex_lock(&x->lock);
    joined = x->joined;
    vm_mutex_unlock(&x->lock);
    (void)vm_error_set(errp, 0, "only %u of %u connections have come in time",
                       joined, x->count);
    return NULL;
}

static void acceptor_run(void *arg)
{
    MigMultifd *x = arg;
    GError *error = NULL;

    while (wait_for_room(x)) {
        VmChannel *ch = accept_in_time(x, &error);

        if (ch) {
            add_channel(x, ch);
        } else if (wait_for_room(x)) { /* it is not over */
            fail(x, g_steal_pointer(&error));
        }
        g_clear_error(&error);
    }
    vm_listener_free(mig_take_listener(x->m));
}

MigMultifd *mig_multifd_new(Migration *m, MigStream *trunk,
                            MigRamReceiver *ram, unsigned count,
                            const uint8_t token[MIG_TOKEN_BYTES])
{
    MigMultifd *x = g_new0(MigMultifd, 1);

    x->m = m;
    x->trunk = trunk;
    x->ram = ram;
    x->count = count;
    memcpy(x->token, token, sizeof(x->token));
    x->end_ns = vm_clock_ns() + m->waits.join_ns;
    x->channels = g_ptr_array_new_with_free_func(channel_free);
    vm_mutex_init(&x->lock, VM_RANK_LEAF);
    vm_cond_init(&x->cond);
    vm_mutex_lock(&m->lock);
    x->listener = m->listener;
    vm_mutex_unlock(&m->lock);
    x->acceptor = vm_thread_new("mig-accept", acceptor_run, x);
    return x;
}

void mig_multifd_free(MigMultifd *x)
{
    if (!x) {
        return;
    }
    vm_mutex_lock(&x->lock);
    x->stop = true;
    vm_cond_broadcast(&x->cond);
    vm_mutex_unlock(&x->lock);
    wake_acceptor(x);
    vm_thread_join(x->acceptor);
    mig_stream_cut_branches(x->trunk);
    g_ptr_array_unref(x->channels); /* joins */
    g_clear_error(&x->error);
    vm_cond_done(&x->cond);
    vm_mutex_done(&x->lock);
    g_free(x);
}

/* -- the barrier -------------------------------------------------------- */

/* How many have come there. *ret_lost: one never will. */
static unsigned arrived_locked(const MigMultifd *x, uint32_t pass, bool last,
                               bool *ret_lost)
{
    unsigned n = 0;

    *ret_lost = false;
    for (guint i = 0; i < x->channels->len; i++) {
        const Channel *c = x->channels->pdata[i];

        if (c->state == GREETING || c->refused) {
            continue;
        }
        n += c->pass == pass && c->last == last;
        *ret_lost |= c->pass > pass || (c->pass == pass && c->last != last) ||
                     (c->pass < pass && c->last);
    }
    return n;
}

bool mig_multifd_barrier(MigMultifd *x, uint32_t pass, bool last,
                         GError **errp)
{
    bool lost = false;

    vm_mutex_lock(&x->lock);
    while (!x->error &&
           arrived_locked(x, pass, last, &lost) < x->count && !lost) {
        vm_cond_wait(&x->cond, &x->lock);
    }
    vm_mutex_unlock(&x->lock);
    if (!mig_multifd_check(x, 0, errp)) {
        return false;
    }
    return !lost || vm_error_set(errp, 0, "migration stream: a connection is "
                                          "in another pass than pass %" PRIu32,
                                 pass);
}
