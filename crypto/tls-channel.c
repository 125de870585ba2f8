/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS on a byte channel, see crypto/tls-channel.h.
 *
 * Why GnuTLS works on memory only here: its manual ("Thread safety") lets one
 * thread send and another receive on a session, but not while keys are
 * updated, which with TLS 1.3 it does by itself each 2^24 records. So the
 * session has a lock, and whoever holds it never waits: GnuTLS reads from "in"
 * and writes to "out", which are filled and emptied without the lock. One
 * system call then carries many TLS records, too.
 *
 *   writer: plain --lock: encrypt--> out --no lock--> socket
 *   reader: socket --no lock--> in --lock: decrypt--> packet --no lock--> buf
 *
 * Invariants:
 *   (1) The caller's buffers are touched without the lock: they may be guest
 *       RAM, and the lock is a leaf.
 *   (2) After a failed write nothing is sent any more, not even the end of a
 *       record that has begun: who reads never gets more of a stream than
 *       the writer was told.
 *   (3) What is in "out" goes to the socket in the order of its making: only
 *       the writing thread takes it.
 *
 * Threads: as those of the channel.
 */
#include "crypto/tls-channel.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>

#include "tls-creds-internal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/thread.h"

#define PLAIN_BYTES 16384u /* what a TLS record holds: RFC 8446, 5.1 */
/* What one system call sends, and takes, at most. */
#define OUT_BYTES (256u << 10)
#define IN_BYTES (256u << 10)
/* The first byte of what comes first: RFC 8446, 5.1, ContentType. */
#define TLS_ALERT 21u
#define TLS_HANDSHAKE 22u

typedef struct Tls {
    /* Immutable. */
    VmChannel *ch; /* which this is the filter of */
    TlsCreds *creds;
    gnutls_typed_vdata_st wanted[2]; /* of the peer's certificate */

    /* Reading thread only, but that "in" is read with the lock held. */
    uint8_t *in;
    size_t in_at, in_filled;
    bool in_ended;
    int first_byte; /* that ever came, or -1 */
    gnutls_packet_t packet; /* decrypted, not yet all given out */
    size_t packet_at;

    /* Writing thread only. */
    uint8_t *plain;
    bool write_failed;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    gnutls_session_t session;
    GByteArray *out, *spare; /* spare: what the writer has just sent */
    char *fault; /* what went wrong first; or NULL */
} Tls;

/* -- GnuTLS's side: memory ---------------------------------------------- */

static ssize_t pull(gnutls_transport_ptr_t opaque, void *buf, size_t len)
{
    Tls *t = opaque;
    size_t n = MIN(len, t->in_filled - t->in_at);

    if (n == 0 && !t->in_ended) {
        gnutls_transport_set_errno(t->session, EAGAIN);
        return -1;
    }
    memcpy(buf, t->in + t->in_at, n);
    t->in_at += n;
    return (ssize_t)n;
}

/* Nobody waits in GnuTLS. */
static int pull_timeout(gnutls_transport_ptr_t opaque, unsigned ms)
{
    Tls *t = opaque;

    return t->in_at < t->in_filled || t->in_ended;
}

static ssize_t push(gnutls_transport_ptr_t opaque, const giovec_t *iov,
                    int iovcnt)
{
    Tls *t = opaque;
    size_t n = 0;

    for (int i = 0; i < iovcnt; i++) {
        g_byte_array_append(t->out, iov[i].iov_base, (guint)iov[i].iov_len);
        n += iov[i].iov_len;
    }
    return (ssize_t)n;
}

/* -- the socket's side -------------------------------------------------- */

/*
 * After GNUTLS_E_AGAIN: more of "in", unless there is some; GnuTLS says it
 * after a message of its own, too, such as one that updates keys. 0, or
 * -errno. The end of the stream is for GnuTLS to judge.
 */
static int fill_in(Tls *t)
{
    ssize_t n;

    if (t->in_at < t->in_filled) {
        return 0;
    }
    n = vm_channel_raw_read_some(t->ch, t->in, IN_BYTES);
    if (n < 0) {
        return (int)n;
    }
    if (t->first_byte < 0 && n > 0) {
        t->first_byte = t->in[0];
    }
    t->in_at = 0;
    t->in_filled = (size_t)n;
    t->in_ended = n == 0;
    return 0;
}

/* Sends "out". */
static int flush(Tls *t)
{
    GByteArray *full;
    struct iovec iov;
    int r = -EPIPE;

    vm_mutex_lock(&t->lock);
    full = t->out;
    t->out = t->spare;
    t->spare = NULL;
    vm_mutex_unlock(&t->lock);
    if (!t->write_failed) { /* (2) */
        iov = (struct iovec){ full->data, full->len };
        r = vm_channel_raw_writev_full(t->ch, &iov, 1);
        t->write_failed = r < 0;
    }
    g_byte_array_set_size(full, 0);
    vm_mutex_lock(&t->lock);
    t->spare = full;
    vm_mutex_unlock(&t->lock);
    return r;
}

/* -- what went wrong ---------------------------------------------------- */

static char *describe_locked(Tls *t, int code) VM_REQUIRES(t->lock)
{
    switch (code) {
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
        return g_strdup_printf(
            "the peer has ended TLS: %s",
            gnutls_alert_get_name(gnutls_alert_get(t->session)));
    case GNUTLS_E_PREMATURE_TERMINATION:
        return g_strdup("the connection ended without the end of TLS");
    default:
        return g_strdup(gnutls_strerror(code));
    }
}

/* The -errno of the data plane; keeps the words for the first. */
static int fail_locked(Tls *t, int code) VM_REQUIRES(t->lock)
{
    if (!t->fault) {
        t->fault = describe_locked(t, code);
    }
    switch (code) {
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
        return -ECONNABORTED;
    case GNUTLS_E_PREMATURE_TERMINATION:
        return -ECONNRESET;
    default:
        return -EBADMSG;
    }
}

static bool may_go_on(int code)
{
    return code == GNUTLS_E_INTERRUPTED ||
           code == GNUTLS_E_WARNING_ALERT_RECEIVED;
}

/* -- the filter --------------------------------------------------------- */

/* The next record: 1, end: 0, -EAGAIN: needs more of "in", or -errno. */
static int receive_packet(Tls *t)
{
    ssize_t n;
    int r;

    vm_mutex_lock(&t->lock);
    do {
        n = gnutls_record_recv_packet(t->session, &t->packet);
    } while (may_go_on((int)n));
    if (n < 0 && t->in_ended) {
        n = GNUTLS_E_PREMATURE_TERMINATION; /* also of half a record */
    }
    r = n > 0                 ? 1
        : n == 0              ? 0
        : n == GNUTLS_E_AGAIN ? -EAGAIN
                              : fail_locked(t, (int)n);
    vm_mutex_unlock(&t->lock);
    t->packet_at = 0;
    return r;
}

/* Gives out what is left of the packet: (1). */
static size_t take_packet(Tls *t, void *buf, size_t len)
{
    gnutls_datum_t d;
    size_t n;

    gnutls_packet_get(t->packet, &d, NULL);
    n = MIN(len, d.size - t->packet_at);
    memcpy(buf, d.data + t->packet_at, n);
    t->packet_at += n;
    if (t->packet_at == d.size) {
        gnutls_packet_deinit(t->packet);
        t->packet = NULL;
    }
    return n;
}

static ssize_t tls_read_some(void *opaque, void *buf, size_t len)
{
    Tls *t = opaque;
    int r = 1;

    while (!t->packet && r != 0) {
        r = receive_packet(t);
        if (r == -EAGAIN) {
            r = fill_in(t);
            r = r == 0 ? 1 : r;
        }
        if (r < 0) {
            return r;
        }
    }
    return t->packet ? (ssize_t)take_packet(t, buf, len) : 0;
}

/* Encrypts bytes of "plain" into "out", which takes whatever comes. */
static int encrypt(Tls *t, size_t len, size_t *ret_out_bytes)
{
    size_t at = 0;
    int r = 0;

    vm_mutex_lock(&t->lock);
    while (at < len && r == 0) {
        ssize_t n = gnutls_record_send(t->session, t->plain + at, len - at);

        if (n > 0) {
            at += (size_t)n;
        } else if (n != GNUTLS_E_INTERRUPTED) {
            r = fail_locked(t, (int)n);
        }
    }
    *ret_out_bytes = t->out->len;
    vm_mutex_unlock(&t->lock);
    return r;
}

/* Fills "plain": (1). */
static size_t gather(Tls *t, struct iovec **iov, int *iovcnt)
{
    size_t len = 0;

    while (*iovcnt > 0 && len < PLAIN_BYTES) {
        size_t n = MIN((*iov)->iov_len, PLAIN_BYTES - len);

        memcpy(t->plain + len, (*iov)->iov_base, n);
        len += n;
        vm_iov_advance(iov, iovcnt, n);
    }
    return len;
}

static int tls_writev_full(void *opaque, struct iovec *iov, int iovcnt)
{
    Tls *t = opaque;
    size_t len, out_bytes = 0;
    int r = 0;

    vm_iov_advance(&iov, &iovcnt, 0); /* empty elements in front */
    while (r == 0 && (len = gather(t, &iov, &iovcnt)) > 0) {
        r = encrypt(t, len, &out_bytes);
        if (r == 0 && out_bytes + PLAIN_BYTES > OUT_BYTES) {
            r = flush(t);
            out_bytes = 0;
        }
    }
    if (r == 0 && out_bytes) {
        r = flush(t);
    }
    t->write_failed |= r < 0; /* (2) */
    return r;
}

static void tls_end_writes(void *opaque)
{
    Tls *t = opaque;

    if (t->write_failed) {
        return; /* (2) */
    }
    vm_mutex_lock(&t->lock);
    (void)gnutls_bye(t->session, GNUTLS_SHUT_WR); /* into memory */
    vm_mutex_unlock(&t->lock);
    (void)flush(t); /* or the peer sees that it was cut */
}

static char *tls_explain(void *opaque)
{
    Tls *t = opaque;
    char *text;

    vm_mutex_lock(&t->lock);
    text = g_strdup(t->fault);
    vm_mutex_unlock(&t->lock);
    return text;
}

static void tls_free(void *opaque)
{
    Tls *t = opaque;

    if (t->packet) {
        gnutls_packet_deinit(t->packet);
    }
    if (t->session) {
        gnutls_deinit(t->session);
    }
    vm_mutex_done(&t->lock);
    tls_creds_unref(t->creds);
    g_clear_pointer(&t->out, g_byte_array_unref);
    g_clear_pointer(&t->spare, g_byte_array_unref);
    g_free(t->in);
    g_free(t->plain);
    g_free(t->fault);
    g_free(t);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tls, tls_free)

static const VmChannelFilter tls_filter = {
    .read_some = tls_read_some,
    .writev_full = tls_writev_full,
    .end_writes = tls_end_writes,
    .explain = tls_explain,
    .free = tls_free,
};

/* -- handshake ---------------------------------------------------------- */

static gnutls_credentials_type_t credentials_type(const TlsCreds *creds)
{
    switch (creds->kind) {
    case TLS_X509:
        return GNUTLS_CRD_CERTIFICATE;
    case TLS_PSK:
        return GNUTLS_CRD_PSK;
    default:
        return GNUTLS_CRD_ANON;
    }
}

/* The peer's certificate is checked within the handshake, so that the peer is
 * told by an alert. */
static void want_certificate(Tls *t, const char *hostname)
{
    static char server_use[] = GNUTLS_KP_TLS_WWW_SERVER;
    static char client_use[] = GNUTLS_KP_TLS_WWW_CLIENT;
    bool server = t->creds->endpoint == TLS_SERVER;
    char *use = server ? client_use : server_use;

    if (t->creds->kind != TLS_X509 || !t->creds->verify_peer) {
        return;
    }
    if (server) {
        gnutls_certificate_server_set_request(t->session, GNUTLS_CERT_REQUIRE);
    }
    t->wanted[0] = (gnutls_typed_vdata_st){ GNUTLS_DT_KEY_PURPOSE_OID,
                                            (unsigned char *)use, 0 };
    if (!server) {
        t->wanted[1] = (gnutls_typed_vdata_st){ GNUTLS_DT_DNS_HOSTNAME,
                                                (unsigned char *)hostname, 0 };
    }
    gnutls_session_set_verify_cert2(t->session, t->wanted, server ? 1 : 2, 0);
}

static int make_session(Tls *t, const char *hostname)
{
    /* A certificate that the server will not like is sent all the same: then
     * it says what it does not like. */
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS |
                     GNUTLS_FORCE_CLIENT_CERT;
    int r;

    r = gnutls_init(&t->session,
                    flags | (t->creds->endpoint == TLS_SERVER
                                 ? GNUTLS_SERVER
                                 : GNUTLS_CLIENT));
    if (r == 0) {
        r = gnutls_priority_set(t->session, t->creds->priority);
    }
    if (r == 0) {
        r = gnutls_credentials_set(t->session, credentials_type(t->creds),
                                   t->creds->u.any);
    }
    if (r == 0) {
        want_certificate(t, hostname);
        gnutls_transport_set_ptr(t->session, t);
        gnutls_transport_set_pull_function(t->session, pull);
        gnutls_transport_set_pull_timeout_function(t->session, pull_timeout);
        gnutls_transport_set_vec_push_function(t->session, push);
    }
    return r;
}

static Tls *tls_new(VmChannel *ch, TlsCreds *creds)
{
    Tls *t = g_new0(Tls, 1);

    t->ch = ch;
    t->creds = tls_creds_ref(creds);
    t->first_byte = -1;
    t->in = g_malloc(IN_BYTES);
    t->plain = g_malloc(PLAIN_BYTES);
    t->out = g_byte_array_sized_new(OUT_BYTES);
    t->spare = g_byte_array_sized_new(OUT_BYTES);
    vm_mutex_init(&t->lock, VM_RANK_LEAF);
    return t;
}

static bool peer_has_tls(const Tls *t)
{
    return t->first_byte == TLS_HANDSHAKE || t->first_byte == TLS_ALERT;
}

/* 0; -errno in *ret_errno of the socket, or GnuTLS's code as result. */
static int shake_hands(Tls *t, int *ret_errno)
{
    int r;

    do {
        vm_mutex_lock(&t->lock);
        r = gnutls_handshake(t->session);
        if (r < 0 && gnutls_error_is_fatal(r) && peer_has_tls(t)) {
            (void)gnutls_alert_send_appropriate(t->session, r);
        }
        vm_mutex_unlock(&t->lock);
        *ret_errno = flush(t);
        if (*ret_errno == 0 && r == GNUTLS_E_AGAIN) {
            *ret_errno = fill_in(t);
        }
    } while (*ret_errno == 0 && (r == GNUTLS_E_AGAIN || may_go_on(r)));
    return r;
}

static bool set_certificate_error(Tls *t, const char *hostname, GError **errp)
{
    gnutls_datum_t text = { NULL, 0 };
    unsigned status = gnutls_session_get_verify_cert_status(t->session);
    int r = gnutls_certificate_verification_status_print(
        status, GNUTLS_CRT_X509, &text, 0);

    vm_error_set(errp, 0, "%s%s%s: %s",
                 hostname ? "the certificate of the host '"
                          : "the certificate of the peer",
                 hostname ? hostname : "", hostname ? "'" : "",
                 r < 0 ? gnutls_strerror(r) : g_strchomp((char *)text.data));
    gnutls_free(text.data);
    return false;
}

static bool set_socket_error(int err, GError **errp)
{
    switch (err) {
    case -ETIMEDOUT:
        g_set_error_literal(errp, VM_ERROR, ETIMEDOUT,
                            "the peer did not answer in time");
        return false;
    case -ECANCELED:
        return vm_error_set(errp, 0, "cut off");
    default:
        return vm_error_set(errp, -err, "the connection broke");
    }
}

static bool set_handshake_error(Tls *t, int code, int err,
                                const char *hostname, GError **errp)
{
    g_autofree char *text = NULL;

    if (t->first_byte >= 0 && !peer_has_tls(t)) {
        g_set_error_literal(errp, VM_ERROR, EPROTONOSUPPORT,
                            "what the peer sends is not TLS");
        return false;
    }
    if (t->first_byte < 0 && (t->in_ended || err == -ECONNRESET)) {
        return vm_error_set(errp, 0, "the peer hung up without an answer: "
                                     "maybe it does not use TLS");
    }
    if (err < 0) {
        return set_socket_error(err, errp);
    }
    if (code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
        return set_certificate_error(t, hostname, errp);
    }
    vm_mutex_lock(&t->lock);
    text = describe_locked(t, code);
    vm_mutex_unlock(&t->lock);
    return vm_error_set(errp, 0, "%s", text);
}

bool tls_channel_secure(VmChannel *ch, TlsCreds *creds, const char *hostname,
                        GError **errp)
{
    g_autoptr(Tls) t = tls_new(ch, creds);
    int err = 0;
    int r;

    if (tls_creds_wants_hostname(creds) && !hostname) {
        return vm_error_set(errp, 0, "TLS: no host name to compare the "
                                     "certificate of the peer with");
    }
    r = make_session(t, hostname);
    if (r < 0) {
        return vm_error_set(errp, 0, "TLS: %s", gnutls_strerror(r));
    }
    r = shake_hands(t, &err);
    if (r < 0 || err < 0) {
        (void)set_handshake_error(t, r, err, hostname, errp);
        g_prefix_error(errp, "TLS handshake: ");
        return false;
    }
    vm_channel_set_filter(ch, &tls_filter, g_steal_pointer(&t));
    return true;
}
