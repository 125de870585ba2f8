/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The return path: a thread that reads the destination's records.
 *
 * Why a thread: the destination may fail at any moment, and the source's
 * thread is then most likely blocked in a write. It is told by cutting the
 * stream, and finds the reason here.
 *
 * Invariants:
 *   (1) An answer that was not asked for, or that comes a second time, ends
 *       the path with an error: an answer stands for its request only.
 *   (2) Once ended, nothing changes any more.
 *   (3) Once RUNNING is expected the stream is not cut from here: whether RUN
 *       was handed to the socket in full must not be blurred by this side.
 *
 * Threads: "mig-return" reads; the source's thread asks. lock is a leaf.
 */
#include "return-path.h"

#include <errno.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/thread.h"

struct MigReturn {
    /* Immutable. */
    MigStream *s;
    int64_t last_words_ns;
    VmThread *thread;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    VmCond cond;
    MigAnswer expected;
    uint32_t pass;
    bool arrived;  /* what is expected */
    bool ended;
    bool failed;   /* by the destination's own word */
    char *reason;  /* why ended */
};

static void end_path(MigReturn *r, bool failed, char *take_reason)
{
    bool cut;

    vm_mutex_lock(&r->lock);
    cut = r->expected != MIG_ANSWER_RUNNING; /* (3) */
    r->ended = true;
    r->failed = failed;
    g_free(r->reason);
    r->reason = take_reason;
    vm_cond_broadcast(&r->cond);
    vm_mutex_unlock(&r->lock);
    if (cut) {
        mig_stream_cut(r->s);
    }
}

static int read_reason(MigReturn *r, uint64_t len, char **ret)
{
    char text[MIG_REASON_BYTES_MAX];
    int err;

    if (len > sizeof(text)) {
        return -EPROTO;
    }
    err = mig_stream_read_control(r->s, text, (size_t)len);
    if (err == 0) {
        *ret = mig_reason_clean(text, (size_t)len);
    }
    return err;
}

/* (1). Returns false if the answer is out of place. */
static bool take_answer(MigReturn *r, MigAnswer answer, uint32_t pass)
{
    bool ok;

    vm_mutex_lock(&r->lock);
    ok = r->expected == answer && !r->arrived &&
         (answer != MIG_ANSWER_PASS_DONE || pass == r->pass);
    if (ok) {
        r->arrived = true;
        vm_cond_broadcast(&r->cond);
    }
    vm_mutex_unlock(&r->lock);
    return ok;
}

static int read_pass_done(MigReturn *r, const MigWireRecord *rec)
{
    MigWirePass pass;
    int err;

    if (rec->length != sizeof(pass)) {
        return -EPROTO;
    }
    err = mig_stream_read_control(r->s, &pass, sizeof(pass));
    if (err < 0) {
        return err;
    }
    return !pass.reserved && take_answer(r, MIG_ANSWER_PASS_DONE, pass.pass)
               ? 0
               : -EPROTO;
}

static int read_empty(MigReturn *r, const MigWireRecord *rec,
                      MigAnswer answer)
{
    return rec->length == 0 && take_answer(r, answer, 0) ? 0 : -EPROTO;
}

static int read_failed(MigReturn *r, const MigWireRecord *rec)
{
    g_autofree char *text = NULL;
    int err = read_reason(r, rec->length, &text);

    if (err < 0) {
        return err;
    }
    end_path(r, /* failed= */ true,
             g_strdup_printf("the destination failed: %s", text));
    return -ESHUTDOWN;
}

static int read_unknown(MigReturn *r, const MigWireRecord *rec)
{
    if (!(rec->type & MIG_REC_IGNORABLE) ||
        rec->length > MIG_IGNORED_BYTES_MAX) {
        return -EPROTO;
    }
    return mig_stream_skip_control(r->s, rec->length);
}

/* 0: go on; 1: the last record; -ESHUTDOWN: ended by its own record. */
static int read_record(MigReturn *r)
{
    MigWireRecord rec;
    int err = mig_stream_read_control(r->s, &rec, sizeof(rec));

    if (err < 0) {
        return err;
    }
    if (rec.magic != MIG_WIRE_MAGIC ||
        (rec.flags & (uint16_t)~MIG_FLAGS_ADVISORY)) {
        return -EPROTO;
    }
    switch (rec.type) {
    case MIG_REC_PASS_DONE:
        return read_pass_done(r, &rec);
    case MIG_REC_READY:
        return read_empty(r, &rec, MIG_ANSWER_READY);
    case MIG_REC_RUNNING:
        err = read_empty(r, &rec, MIG_ANSWER_RUNNING);
        return err == 0 ? 1 : err;
    case MIG_REC_FAILED:
        return read_failed(r, &rec);
    default:
        return read_unknown(r, &rec);
    }
}

static void return_run(void *arg)
{
    MigReturn *r = arg;
    int err;

    do {
        err = read_record(r);
    } while (err == 0);
    if (err == -EPROTO) {
        end_path(r, /* failed= */ false,
                 g_strdup("the destination sent what is not in the protocol"));
    } else if (err == -ENODATA) {
        end_path(r, /* failed= */ false,
                 g_strdup("the destination closed the connection"));
    } else if (err < 0 && err != -ESHUTDOWN) {
        end_path(r, /* failed= */ false,
                 g_strdup_printf("connection to the destination: %s",
                                 mig_stream_strerror(err)));
    }
}

MigReturn *mig_return_new(MigStream *s, int64_t last_words_ns)
{
    MigReturn *r = g_new0(MigReturn, 1);

    r->s = s;
    r->last_words_ns = last_words_ns;
    vm_mutex_init(&r->lock, VM_RANK_LEAF);
    vm_cond_init(&r->cond);
    r->thread = vm_thread_new("mig-return", return_run, r);
    return r;
}

void mig_return_free(MigReturn *r)
{
    if (!r) {
        return;
    }
    mig_stream_cut(r->s);
    vm_thread_join(r->thread);
    vm_cond_done(&r->cond);
    vm_mutex_done(&r->lock);
    g_free(r->reason);
    g_free(r);
}

int mig_return_expect(MigReturn *r, MigAnswer answer, uint32_t pass)
{
    int err = -EPIPE;

    vm_mutex_lock(&r->lock);
    if (!r->ended) { /* (2) */
        r->expected = answer;
        r->pass = pass;
        r->arrived = false;
        err = 0;
    }
    vm_mutex_unlock(&r->lock);
    return err;
}

int mig_return_wait(MigReturn *r, int64_t timeout_ns)
{
    int64_t end_ns = vm_clock_ns() + timeout_ns;
    int err;

    vm_mutex_lock(&r->lock);
    while (!r->arrived && !r->ended) {
        int64_t left_ns = end_ns - vm_clock_ns();

        if (left_ns <= 0) {
            break;
        }
        (void)vm_cond_wait_ns(&r->cond, &r->lock, left_ns);
    }
    err = r->arrived ? 0 : r->ended ? -EPIPE : -ETIMEDOUT;
    vm_mutex_unlock(&r->lock);
    return err;
}

bool mig_return_has_ended(MigReturn *r)
{
    bool ended;

    vm_mutex_lock(&r->lock);
    ended = r->ended;
    vm_mutex_unlock(&r->lock);
    return ended;
}

bool mig_return_has_failed(MigReturn *r)
{
    bool failed;

    vm_mutex_lock(&r->lock);
    failed = r->failed;
    vm_mutex_unlock(&r->lock);
    return failed;
}

bool mig_return_error(MigReturn *r, GError **errp)
{
    int64_t end_ns = vm_clock_ns() + r->last_words_ns;

    vm_mutex_lock(&r->lock);
    while (!r->ended && vm_clock_ns() < end_ns) {
        (void)vm_cond_wait_ns(&r->cond, &r->lock, end_ns - vm_clock_ns());
    }
    (void)vm_error_set(errp, 0, "%s", r->reason
                                          ? r->reason
                                          : "the destination does not answer");
    vm_mutex_unlock(&r->lock);
    return false;
}
