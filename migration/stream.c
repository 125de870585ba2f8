/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The migration stream: whole records out, bytes in, and their digests.
 *
 * Why a buffer on the reading side: a record is a few small headers and a
 * large payload. The headers come through a small buffer, so that they do
 * not cost a system call each; the payload goes straight to where it
 * belongs, but for the little that came along with its header.
 *
 * Invariants:
 *   (1) buf[at, filled) holds bytes received and not yet asked for.
 *   (2) After a failed write nothing more is written: the hand-over counts on
 *       a record that was not written in full never becoming complete.
 *
 * Threads: stream.h says.
 */
#include "stream.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/thread.h"

#define BUFFER_BYTES 4096u
#define DRAIN_BYTES (64u << 10)

struct MigStream {
    /* Immutable. */
    VmChannel *ch;
    MigStream *trunk; /* or NULL */

    /* Reading thread only. */
    uint64_t read_digest;
    size_t at, filled;
    uint8_t buf[BUFFER_BYTES];

    /* Writing thread only. */
    bool broken;
    uint64_t write_digest;
    uint64_t records_written;

    /* Atomic, relaxed: counters that others display. Those of a branch are
     * the trunk's. */
    _Atomic uint64_t bytes_read, bytes_written;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    bool is_cut;
    GPtrArray *branches; /* of MigStream, borrowed */
};

MigStream *mig_stream_new(VmChannel *take_ch)
{
    MigStream *s = g_new0(MigStream, 1);

    s->ch = take_ch;
    s->read_digest = s->write_digest = MIG_DIGEST_INIT;
    s->branches = g_ptr_array_new();
    vm_mutex_init(&s->lock, VM_RANK_LEAF);
    return s;
}

static void detach(MigStream *s)
{
    vm_mutex_lock(&s->trunk->lock);
    (void)g_ptr_array_remove_fast(s->trunk->branches, s);
    vm_mutex_unlock(&s->trunk->lock);
}

void mig_stream_free(MigStream *s)
{
    if (!s) {
        return;
    }
    if (s->trunk) {
        detach(s);
    }
    g_assert(s->branches->len == 0);
    g_ptr_array_unref(s->branches);
    vm_mutex_done(&s->lock);
    vm_channel_free(s->ch);
    g_free(s);
}

void mig_stream_attach(MigStream *trunk, MigStream *branch)
{
    branch->trunk = trunk;
    vm_mutex_lock(&trunk->lock);
    g_ptr_array_add(trunk->branches, branch);
    if (trunk->is_cut) {
        vm_channel_shutdown(branch->ch);
    }
    vm_mutex_unlock(&trunk->lock);
}

VmChannel *mig_stream_channel(const MigStream *s)
{
    return s->ch;
}

void mig_stream_cut(MigStream *s)
{
    vm_channel_shutdown(s->ch);
    vm_mutex_lock(&s->lock);
    s->is_cut = true;
    vm_mutex_unlock(&s->lock);
    mig_stream_cut_branches(s);
}

void mig_stream_cut_branches(MigStream *s)
{
    vm_mutex_lock(&s->lock);
    for (guint i = 0; i < s->branches->len; i++) {
        vm_channel_shutdown(((MigStream *)s->branches->pdata[i])->ch);
    }
    vm_mutex_unlock(&s->lock);
}

void mig_stream_end_reads(MigStream *s)
{
    vm_channel_end_reads(s->ch);
}

void mig_stream_end_writes(MigStream *s)
{
    s->broken = true;
    vm_channel_end_writes(s->ch);
}

void mig_stream_set_deadline(MigStream *s, int64_t deadline_ns)
{
    vm_channel_set_read_deadline(s->ch, deadline_ns);
}

uint64_t mig_stream_bytes_read(const MigStream *s)
{
    return atomic_load_explicit(&(s->trunk ? s->trunk : s)->bytes_read,
                                memory_order_relaxed);
}

uint64_t mig_stream_read_digest(const MigStream *s)
{
    return s->read_digest;
}

uint64_t mig_stream_write_digest(const MigStream *s)
{
    return s->write_digest;
}

uint64_t mig_stream_records_written(const MigStream *s)
{
    return s->records_written;
}

bool mig_stream_is_broken(const MigStream *s)
{
    return s->broken;
}

uint64_t mig_stream_bytes_written(const MigStream *s)
{
    return atomic_load_explicit(&(s->trunk ? s->trunk : s)->bytes_written,
                                memory_order_relaxed);
}

static void count_read(MigStream *s, uint64_t bytes)
{
    atomic_fetch_add_explicit(&(s->trunk ? s->trunk : s)->bytes_read, bytes,
                              memory_order_relaxed);
}

static void count_written(MigStream *s, uint64_t bytes)
{
    atomic_fetch_add_explicit(&(s->trunk ? s->trunk : s)->bytes_written, bytes,
                              memory_order_relaxed);
}

static int fill_buffer(MigStream *s)
{
    ssize_t n;

    s->at = s->filled = 0; /* (1): the caller found it empty */
    n = vm_channel_read_some(s->ch, s->buf, sizeof(s->buf));
    if (n <= 0) {
        return n == 0 ? -ENODATA : (int)n;
    }
    s->filled = (size_t)n;
    return 0;
}

static size_t take_buffered(MigStream *s, void *to, size_t len)
{
    size_t n = MIN(len, s->filled - s->at);

    memcpy(to, s->buf + s->at, n);
    s->at += n;
    return n;
}

int mig_stream_read_control(MigStream *s, void *buf, size_t len)
{
    size_t got = 0;

    while (got < len) {
        if (s->at == s->filled) {
            int r = fill_buffer(s);

            if (r < 0) {
                return r;
            }
        }
        got += take_buffered(s, (uint8_t *)buf + got, len - got);
    }
    count_read(s, len);
    s->read_digest = mig_digest(s->read_digest, buf, len);
    return 0;
}

int mig_stream_read_payload(MigStream *s, void *buf, size_t len)
{
    size_t got = take_buffered(s, buf, len);
    int r = 0;

    if (got < len) {
        r = vm_channel_read_full(s->ch, (uint8_t *)buf + got, len - got);
    }
    if (r == 0) {
        count_read(s, len);
    }
    return r;
}

int mig_stream_skip_control(MigStream *s, uint64_t len)
{
    uint8_t scratch[512];

    while (len) {
        size_t n = (size_t)MIN(len, sizeof(scratch));
        int r = mig_stream_read_control(s, scratch, n);

        if (r < 0) {
            return r;
        }
        len -= n;
    }
    return 0;
}

int mig_stream_go_to(MigStream *s, uint64_t offset, uint64_t digest)
{
    if (offset > INT64_MAX ||
        lseek(vm_channel_fd(s->ch), (off_t)offset, SEEK_SET) < 0) {
        return -EINVAL;
    }
    s->at = s->filled = 0; /* (1) */
    s->read_digest = digest;
    return 0;
}

void mig_stream_drain(MigStream *s)
{
    g_autofree uint8_t *scratch = g_malloc(DRAIN_BYTES);

    while (vm_channel_read_some(s->ch, scratch, DRAIN_BYTES) > 0) {
    }
}

static int write_all(MigStream *s, struct iovec *iov, int iovcnt,
                     uint64_t bytes)
{
    int r;

    if (s->broken) {
        return -EPIPE;
    }
    r = vm_channel_writev_full(s->ch, iov, iovcnt);
    if (r < 0) {
        s->broken = true; /* (2) */
        return r;
    }
    count_written(s, bytes);
    s->records_written++;
    return 0;
}

int mig_stream_write(MigStream *s, MigRecordType type, uint16_t flags,
                     const struct iovec *control, int ncontrol,
                     const struct iovec *payload, int npayload)
{
    struct iovec iov[1 + MIG_CONTROL_IOV_MAX + MIG_PAYLOAD_IOV_MAX];
    MigWireRecord rec = { .magic = MIG_WIRE_MAGIC,
                          .type = (uint16_t)type,
                          .flags = flags };
    int n = 0;

    g_assert(ncontrol <= MIG_CONTROL_IOV_MAX);
    g_assert(npayload <= MIG_PAYLOAD_IOV_MAX);
    iov[n++] = (struct iovec){ &rec, sizeof(rec) };
    for (int i = 0; i < ncontrol; i++) {
        rec.length += control[i].iov_len;
        iov[n++] = control[i];
    }
    for (int i = 0; i < npayload; i++) {
        rec.length += payload[i].iov_len;
        iov[n++] = payload[i];
    }
    for (int i = 0; i < 1 + ncontrol; i++) {
        s->write_digest = mig_digest(s->write_digest, iov[i].iov_base,
                                     iov[i].iov_len);
    }
    return write_all(s, iov, n, sizeof(rec) + rec.length);
}

int mig_stream_write_body(MigStream *s, MigRecordType type, uint16_t flags,
                          const void *body, size_t len)
{
    union {
        const void *in;
        void *out;
    } base = { .in = body }; /* writev() takes no const */
    struct iovec control = { base.out, len };

    return mig_stream_write(s, type, flags, &control, len ? 1 : 0, NULL, 0);
}

const char *mig_record_to_string(unsigned type)
{
    switch (type) {
    case MIG_REC_HELLO:
        return "HELLO";
    case MIG_REC_PLAN:
        return "PLAN";
    case MIG_REC_CHUNK:
        return "CHUNK";
    case MIG_REC_ZERO_RANGE:
        return "ZERO_RANGE";
    case MIG_REC_PASS:
        return "PASS";
    case MIG_REC_DEVICE:
        return "DEVICE";
    case MIG_REC_COMPLETE:
        return "COMPLETE";
    case MIG_REC_RUN:
        return "RUN";
    case MIG_REC_MOVE:
        return "MOVE";
    case MIG_REC_CHANNEL:
        return "CHANNEL";
    case MIG_REC_SYNC:
        return "SYNC";
    case MIG_REC_PAD:
        return "PAD";
    case MIG_REC_INDEX:
        return "INDEX";
    case MIG_REC_FOOT:
        return "FOOT";
    case MIG_REC_WELCOME:
        return "WELCOME";
    case MIG_REC_REFUSE:
        return "REFUSE";
    case MIG_REC_PASS_DONE:
        return "PASS_DONE";
    case MIG_REC_READY:
        return "READY";
    case MIG_REC_RUNNING:
        return "RUNNING";
    case MIG_REC_FAILED:
        return "FAILED";
    default:
        return "unknown";
    }
}

char *mig_reason_clean(const void *bytes, size_t len)
{
    char *text = g_strndup(bytes, len);

    for (char *p = text; *p; p++) {
        if (!g_ascii_isprint(*p)) {
            *p = '?';
        }
    }
    return text;
}

const char *mig_stream_strerror(int err)
{
    switch (err) {
    case -ENODATA:
        return "the peer closed the connection";
    case -ECANCELED:
        return "the connection was cut";
    case -EPIPE:
        return "the connection is closed";
    case -ETIMEDOUT:
        return "no answer in time";
    default:
        return g_strerror(-err);
    }
}

bool mig_stream_send_error(int err, GError **errp)
{
    return vm_error_set(errp, 0, "cannot send to the destination: %s",
                        mig_stream_strerror(err));
}

bool mig_stream_receive_error(int err, GError **errp)
{
    return vm_error_set(errp, 0, "cannot receive from the source: %s",
                        err == -ENODATA ? "the stream ends too early"
                                        : mig_stream_strerror(err));
}
