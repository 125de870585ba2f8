/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: over TLS a channel carries what was written, in both directions
 * at once; a peer without the right credentials, a silent one, one that sends
 * something else, a cut, a damaged byte and an end without TLS's own are
 * each an error with its reason, at both sides where both can know it.
 *
 * How: a socketpair, the client on a thread of its own, certificates made
 * here. For damage a relay passes bytes on and harms one.
 */
#include <errno.h>
#include <glib.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/tls-channel.h"
#include "pki.h"
#include "util/clock.h"
#include "util/thread.h"

#define HOST "migrate.example"
#define SOON_NS (100 * VM_NS_PER_MS)
#define HANG_NS (1 * VM_NS_PER_SEC)
#define LATE_NS (20 * VM_NS_PER_SEC)

static Pki *pki, *other_pki;

/* -- two sides ---------------------------------------------------------- */

typedef struct Side {
    VmChannel *ch;
    TlsCreds *creds; /* borrowed */
    const char *host;
    int64_t timeout_ns;
    bool ok; /* the handshake */
    GError *error;
    int byte_error; /* of one byte each way after it */
    char *words;
} Side;

static void pair(VmChannel **a, VmChannel **b)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    *a = vm_channel_new_fd(fds[0]);
    *b = vm_channel_new_fd(fds[1]);
}

/* As a side of a migration does: on failure it lets the peer read why. */
static void let_read(VmChannel *ch)
{
    char scratch[256];

    vm_channel_end_writes(ch);
    vm_channel_set_read_deadline(ch, vm_clock_ns() + LATE_NS);
    while (vm_channel_read_some(ch, scratch, sizeof(scratch)) > 0) {
    }
}

static void side_run(void *arg)
{
    Side *s = arg;
    char byte = 'x';

    vm_channel_set_read_deadline(s->ch, vm_clock_ns() + s->timeout_ns);
    s->ok = tls_channel_secure(s->ch, s->creds, s->host, &s->error);
    if (s->ok) {
        s->byte_error = vm_channel_write_full(s->ch, &byte, 1);
        if (s->byte_error == 0) {
            s->byte_error = vm_channel_read_full(s->ch, &byte, 1);
        }
        s->words = vm_channel_explain(s->ch);
        vm_channel_end_writes(s->ch);
    } else {
        let_read(s->ch);
    }
    /* Nobody waits for who has gone. */
    vm_channel_shutdown(s->ch);
}

static void side_done(Side *s)
{
    vm_channel_free(s->ch);
    g_clear_error(&s->error);
    g_free(s->words);
}

static void meet(Side *client, Side *server)
{
    VmThread *thread;

    pair(&client->ch, &server->ch);
    client->timeout_ns = server->timeout_ns = LATE_NS;
    thread = vm_thread_new("client", side_run, client);
    side_run(server);
    vm_thread_join(thread);
}

static void expect_word(const char *text, const char *word)
{
    if (!text || !strstr(text, word)) {
        g_test_message("'%s', not '%s'", text, word);
    }
    g_assert_nonnull(text);
    g_assert_nonnull(strstr(text, word));
}

/* NULL: all is well there; else a word of what it says. With TLS 1.3 a client
 * hears only after its handshake that it was refused. */
static void expect_side(const Side *s, const char *word)
{
    if (!word) {
        g_assert_no_error(s->error);
        g_assert_cmpint(s->byte_error, ==, 0);
        g_assert_null(s->words);
    } else if (s->ok) {
        g_assert_cmpint(s->byte_error, ==, -ECONNABORTED);
        expect_word(s->words, word);
    } else {
        expect_word(s->error->message, word);
        g_assert_true(g_str_has_prefix(s->error->message, "TLS handshake: "));
    }
}

static void try_pair(TlsCreds *client, TlsCreds *server, const char *host,
                     const char *client_word, const char *server_word)
{
    Side c = { .creds = client, .host = host };
    Side s = { .creds = server };

    meet(&c, &s);
    expect_side(&c, client_word);
    expect_side(&s, server_word);
    side_done(&c);
    side_done(&s);
}

/* -- who is believed ---------------------------------------------------- */

typedef struct Case {
    const char *name;
    PkiIssue server, client;
    bool server_other, client_other; /* signed by the wrong authority */
    bool client_has_none;
    const char *host; /* default HOST */
    const char *client_word, *server_word;
    const char *more; /* properties for both */
} Case;

static const Case cases[] = {
    { "right" },
    { "right-1.2", .more = "priority=NORMAL:-VERS-ALL:+VERS-TLS1.2" },
    { "right-ip", .server = { .host = "192.0.2.7" }, .host = "192.0.2.7" },
    { "wrong-host", .host = "other.example",
      .client_word = "does not match", .server_word = "has ended TLS" },
    { "wrong-ip", .server = { .host = "192.0.2.7" }, .host = "192.0.2.8",
      .client_word = "does not match", .server_word = "has ended TLS" },
    { "server-expired", .server = { .from_days = -3, .to_days = -1 },
      .client_word = "expired", .server_word = "has ended TLS" },
    { "server-not-yet", .server = { .from_days = 1, .to_days = 3 },
      .client_word = "not yet", .server_word = "has ended TLS" },
    { "server-of-others", .server_other = true,
      .client_word = "issuer is unknown", .server_word = "has ended TLS" },
    { "server-with-client-use", .server = { .wrong_use = true },
      .client_word = "purpose", .server_word = "has ended TLS" },
    { "client-none", .client_has_none = true,
      .client_word = "Certificate is required",
      .server_word = "ertificate is required" },
    { "client-none-1.2", .client_has_none = true,
      .more = "priority=NORMAL:-VERS-ALL:+VERS-TLS1.2",
      .client_word = "has ended TLS", .server_word = "No certificate" },
    { "client-expired", .client = { .from_days = -3, .to_days = -1 },
      .client_word = "has ended TLS", .server_word = "expired" },
    { "client-of-others", .client_other = true,
      .client_word = "has ended TLS", .server_word = "issuer is unknown" },
    { "client-with-server-use", .client = { .wrong_use = true },
      .client_word = "has ended TLS", .server_word = "purpose" },
    { "anyone", .client_has_none = true, .server_other = true,
      .host = "other.example", .more = "verify-peer=off" },
};

static void test_case(const void *data)
{
    const Case *k = data;
    char *sdir = pki_dir_new(pki, k->server_other ? other_pki : pki,
                             TLS_SERVER, &k->server);
    char *cdir = pki_dir_new(pki,
                             k->client_has_none ? NULL
                             : k->client_other  ? other_pki
                                                : pki,
                             TLS_CLIENT, &k->client);
    g_autofree char *more = g_strconcat("sanity-check=off", k->more ? "," : "",
                                        k->more, NULL);
    TlsCreds *server = pki_creds("x509", TLS_SERVER, sdir, more);
    TlsCreds *client = pki_creds("x509", TLS_CLIENT, cdir, more);

    try_pair(client, server, k->host ? k->host : HOST, k->client_word,
             k->server_word);
    tls_creds_unref(server);
    tls_creds_unref(client);
    pki_dir_free(sdir);
    pki_dir_free(cdir);
}

static void test_revoked(void)
{
    char *sdir = pki_dir_new(pki, pki, TLS_SERVER, NULL);
    char *cdir = pki_dir_new(pki, pki, TLS_CLIENT, NULL);
    TlsCreds *server, *client;

    /* The server's list revokes the client. */
    pki_write_revocation(pki, cdir, "client-cert.pem");
    client = pki_creds("x509", TLS_CLIENT, cdir, "sanity-check=off");
    {
        g_autofree char *from = g_build_filename(cdir, "ca-crl.pem", NULL);
        g_autofree char *to = g_build_filename(sdir, "ca-crl.pem", NULL);

        g_assert_cmpint(rename(from, to), ==, 0);
    }
    server = pki_creds("x509", TLS_SERVER, sdir, NULL);
    try_pair(client, server, HOST, "has ended TLS", "revoked");
    tls_creds_unref(server);
    tls_creds_unref(client);
    pki_dir_free(sdir);
    pki_dir_free(cdir);
}

static void test_no_host(void)
{
    char *dir = pki_dir_new(pki, pki, TLS_CLIENT, NULL);
    TlsCreds *client = pki_creds("x509", TLS_CLIENT, dir, NULL);
    VmChannel *a, *b;
    GError *err = NULL;

    pair(&a, &b);
    g_assert_false(tls_channel_secure(a, client, NULL, &err));
    expect_word(err->message, "host name");
    g_clear_error(&err);
    vm_channel_free(a);
    vm_channel_free(b);
    tls_creds_unref(client);
    pki_dir_free(dir);
}

static void test_psk(void)
{
    char *sdir = pki_psk_dir_new("qemu:00112233445566778899aabbccddeeff\n");
    char *cdir = pki_psk_dir_new("qemu:00112233445566778899aabbccddeeff\n"
                                 "eve:00112233445566778899aabbccddeeff\n");
    char *wdir = pki_psk_dir_new("qemu:ff112233445566778899aabbccddeeff\n");
    static const char *const versions[] = {
        NULL, "priority=NORMAL:-VERS-ALL:+VERS-TLS1.2"
    };

    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        g_autofree char *eve = g_strconcat(
            "username=eve", versions[i] ? "," : "", versions[i], NULL);
        TlsCreds *server = pki_creds("psk", TLS_SERVER, sdir, versions[i]);
        TlsCreds *right = pki_creds("psk", TLS_CLIENT, cdir, versions[i]);
        TlsCreds *wrong = pki_creds("psk", TLS_CLIENT, wdir, versions[i]);
        TlsCreds *user = pki_creds("psk", TLS_CLIENT, cdir, eve);

        try_pair(right, server, NULL, NULL, NULL);
        try_pair(wrong, server, NULL, "has ended TLS", "TLS");
        try_pair(user, server, NULL, "has ended TLS", "TLS");
        tls_creds_unref(server);
        tls_creds_unref(right);
        tls_creds_unref(wrong);
        tls_creds_unref(user);
    }
    pki_dir_free(sdir);
    pki_dir_free(cdir);
    pki_dir_free(wdir);
}

static void test_anon(void)
{
    TlsCreds *server = pki_creds("anon", TLS_SERVER, NULL, NULL);
    TlsCreds *client = pki_creds("anon", TLS_CLIENT, NULL, NULL);
    char *dir = pki_psk_dir_new("qemu:00112233\n");
    TlsCreds *psk = pki_creds("psk", TLS_CLIENT, dir, NULL);

    try_pair(client, server, NULL, NULL, NULL);
    try_pair(psk, server, NULL, "has ended TLS", "TLS"); /* nothing common */
    tls_creds_unref(server);
    tls_creds_unref(client);
    tls_creds_unref(psk);
    pki_dir_free(dir);
}

/* -- peers that do not play --------------------------------------------- */

static TlsCreds *server_creds, *client_creds;
static char *server_dir, *client_dir;

static void test_silent(void)
{
    for (int i = 0; i < 2; i++) {
        VmChannel *a, *b;
        GError *err = NULL;
        int64_t start_ns = vm_clock_ns();

        pair(&a, &b);
        vm_channel_set_read_deadline(a, start_ns + SOON_NS);
        g_assert_false(tls_channel_secure(a, i ? server_creds : client_creds,
                                          HOST, &err));
        expect_word(err->message, "in time");
        g_assert_cmpint(vm_clock_ns() - start_ns, >=, SOON_NS);
        g_assert_cmpint(vm_clock_ns() - start_ns, <, LATE_NS);
        g_clear_error(&err);
        vm_channel_free(a);
        vm_channel_free(b);
    }
}

/* One byte each 10 ms of what would be a handshake: bounded all the same. */
static void trickle(void *arg)
{
    static const uint8_t begin[] = { 22, 3, 1, 64, 0, 1, 0, 63, 252 };

    for (int i = 0; vm_channel_write_full(
                        arg, i < (int)sizeof(begin) ? &begin[i] : begin,
                        1) == 0;
         i++) {
        g_usleep(10000);
    }
}

static void test_trickle(void)
{
    VmChannel *a, *b;
    GError *err = NULL;
    int64_t start_ns = vm_clock_ns();
    VmThread *thread;

    pair(&a, &b);
    thread = vm_thread_new("trickle", trickle, b);
    vm_channel_set_read_deadline(a, start_ns + SOON_NS);
    g_assert_false(tls_channel_secure(a, server_creds, NULL, &err));
    expect_word(err->message, "in time");
    g_assert_cmpint(vm_clock_ns() - start_ns, <, LATE_NS);
    g_clear_error(&err);
    vm_channel_shutdown(a);
    vm_thread_join(thread);
    vm_channel_free(a);
    vm_channel_free(b);
}

static void cancel_soon(void *arg)
{
    g_usleep(20000);
    vm_channel_shutdown(arg);
}

static void test_cancel(void)
{
    VmChannel *a, *b;
    GError *err = NULL;
    VmThread *thread;

    pair(&a, &b);
    thread = vm_thread_new("cancel", cancel_soon, a);
    g_assert_false(tls_channel_secure(a, client_creds, HOST, &err));
    expect_word(err->message, "cut off");
    g_clear_error(&err);
    vm_thread_join(thread);
    vm_channel_free(a);
    vm_channel_free(b);
}

static void test_garbage(void)
{
    static const struct {
        const char *bytes;
        size_t len;
        bool is_tls;
    } garbage[] = {
        { "VDMR\1\0\0\0", 8, false },
        { "GET / HTTP/1.1\r\n\r\n", 18, false },
        { "\x16\x03\x01\xff\xff", 5, true },        /* too long a record */
        { "\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9, true }, /* empty hello */
        { "\x15\x03\x03\x00\x02\x02\x28", 7, true }, /* an alert */
        { "", 0, true },                             /* hung up */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(garbage) * 2; i++) {
        size_t k = i / 2;
        VmChannel *a, *b;
        GError *err = NULL;

        pair(&a, &b);
        g_assert_cmpint(vm_channel_write_full(b, garbage[k].bytes,
                                              garbage[k].len), ==, 0);
        vm_channel_end_writes(b);
        vm_channel_set_read_deadline(a, vm_clock_ns() + LATE_NS);
        g_assert_false(tls_channel_secure(
            a, i % 2 ? server_creds : client_creds, HOST, &err));
        g_assert_cmpint(err->code, ==, garbage[k].is_tls ? 0
                                                         : EPROTONOSUPPORT);
        g_clear_error(&err);
        /* What follows goes past TLS, as if it had not been tried. */
        g_assert_cmpint(vm_channel_write_full(a, "?", 1), ==, 0);
        vm_channel_free(a);
        vm_channel_free(b);
    }
}

/* -- bytes -------------------------------------------------------------- */

/* Two channels with TLS between them. */
typedef struct Line {
    VmChannel *client, *server;
} Line;

static void secure_client(void *arg)
{
    g_assert_true(tls_channel_secure(arg, client_creds, HOST, NULL));
}

static Line line_new(void)
{
    Line l;
    VmThread *thread;

    pair(&l.client, &l.server);
    thread = vm_thread_new("client", secure_client, l.client);
    g_assert_true(tls_channel_secure(l.server, server_creds, NULL, NULL));
    vm_thread_join(thread);
    return l;
}

static void line_free(Line *l)
{
    vm_channel_free(l->client);
    vm_channel_free(l->server);
}

#define STREAM_BYTES (3u << 20)

static uint8_t byte_at(uint32_t seed, size_t at)
{
    return (uint8_t)(seed + at * 31 + at / 4096);
}

typedef struct Transfer {
    VmChannel *ch;
    uint32_t seed;
} Transfer;

/* Vectors of all sizes, with empty elements between. */
static void send_all(void *arg)
{
    Transfer *x = arg;
    g_autofree uint8_t *buf = g_malloc(STREAM_BYTES);
    g_autoptr(GRand) rand = g_rand_new_with_seed(x->seed);
    size_t at = 0;

    for (size_t i = 0; i < STREAM_BYTES; i++) {
        buf[i] = byte_at(x->seed, i);
    }
    while (at < STREAM_BYTES) {
        struct iovec iov[6];

        for (size_t i = 0; i < G_N_ELEMENTS(iov); i++) {
            int scale = 1 << g_rand_int_range(rand, 0, 17);
            size_t n = (size_t)g_rand_int_range(rand, 0, scale);

            n = MIN(n, STREAM_BYTES - at);
            iov[i] = (struct iovec){ buf + at, n };
            at += n;
        }
        g_assert_cmpint(vm_channel_writev_full(x->ch, iov,
                                               G_N_ELEMENTS(iov)), ==, 0);
    }
    vm_channel_end_writes(x->ch);
}

static void receive_all(void *arg)
{
    Transfer *x = arg;
    g_autoptr(GRand) rand = g_rand_new_with_seed(x->seed);
    uint8_t buf[40000];
    size_t at = 0;
    ssize_t n;

    while ((n = vm_channel_read_some(
                x->ch, buf,
                (size_t)g_rand_int_range(rand, 1, sizeof(buf)))) > 0) {
        for (ssize_t i = 0; i < n; i++, at++) {
            g_assert_cmpint(buf[i], ==, byte_at(x->seed, at));
        }
    }
    g_assert_cmpint(n, ==, 0);
    g_assert_cmpuint(at, ==, STREAM_BYTES);
}

static void test_duplex(void)
{
    Line l = line_new();
    Transfer there = { l.client, 1 }, there_end = { l.server, 1 };
    Transfer back = { l.server, 77 }, back_end = { l.client, 77 };
    VmThread *threads[] = {
        vm_thread_new("to-server", send_all, &there),
        vm_thread_new("to-client", send_all, &back),
        vm_thread_new("at-server", receive_all, &there_end),
        vm_thread_new("at-client", receive_all, &back_end),
    };

    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        vm_thread_join(threads[i]);
    }
    line_free(&l);
}

static void test_deadline(void)
{
    Line l = line_new();
    char buf[4];
    int64_t start_ns = vm_clock_ns();

    vm_channel_set_read_deadline(l.server, start_ns + SOON_NS);
    g_assert_cmpint(vm_channel_read_full(l.server, buf, 1), ==, -ETIMEDOUT);
    vm_channel_set_read_deadline(l.server, 0);
    g_assert_cmpint(vm_channel_write_full(l.client, "abcd", 4), ==, 0);
    g_assert_cmpint(vm_channel_read_full(l.server, buf, 4), ==, 0);
    g_assert_cmpmem(buf, 4, "abcd", 4);
    line_free(&l);
}

/* Sleeping readers and writers get out, and nothing works after it. */
static void test_shutdown(void)
{
    Line l = line_new();
    g_autofree uint8_t *buf = g_malloc0(8u << 20);
    VmThread *thread = vm_thread_new("cancel", cancel_soon, l.client);

    /* Nobody reads: this fills the socket. */
    g_assert_cmpint(vm_channel_write_full(l.client, buf, 8u << 20), ==,
                    -ECANCELED);
    vm_thread_join(thread);
    g_assert_cmpint(vm_channel_write_full(l.client, buf, 1), ==, -ECANCELED);
    g_assert_cmpint(vm_channel_read_full(l.client, buf, 1), ==, -ECANCELED);
    vm_channel_end_writes(l.client);
    line_free(&l);
}

/* A peer that updates its keys in the middle, and asks for new ones; what it
 * sends is all there before any of it is read. */
static void update_keys(void *arg)
{
    static unsigned char bytes[16] = "0123456789abcde";
    gnutls_datum_t key = { bytes, sizeof(bytes) };
    gnutls_psk_client_credentials_t creds;
    gnutls_session_t s;
    char text[4] = "";
    ssize_t n;

    gnutls_psk_allocate_client_credentials(&creds);
    gnutls_psk_set_client_credentials(creds, "qemu", &key,
                                      GNUTLS_PSK_KEY_RAW);
    gnutls_init(&s, GNUTLS_CLIENT);
    gnutls_priority_set_direct(
        s, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK:+DHE-PSK", NULL);
    gnutls_credentials_set(s, GNUTLS_CRD_PSK, creds);
    gnutls_transport_set_int(s, vm_channel_fd(arg));
    g_assert_cmpint(gnutls_handshake(s), ==, 0);
    g_assert_cmpint(gnutls_record_send(s, "abc", 3), ==, 3);
    g_assert_cmpint(gnutls_session_key_update(s, GNUTLS_KU_PEER), ==, 0);
    g_assert_cmpint(gnutls_record_send(s, "def", 3), ==, 3);
    do {
        n = gnutls_record_recv(s, text, 3);
    } while (n == GNUTLS_E_AGAIN);
    g_assert_cmpint(n, ==, 3);
    g_assert_cmpstr(text, ==, "xyz");
    gnutls_deinit(s);
    gnutls_psk_free_client_credentials(creds);
}

static void test_key_update(void)
{
    char *dir = pki_psk_dir_new("qemu:30313233343536373839616263646500\n");
    TlsCreds *creds = pki_creds("psk", TLS_SERVER, dir, NULL);
    VmChannel *client, *ch;
    VmThread *thread;
    char buf[6];

    pair(&client, &ch);
    thread = vm_thread_new("update", update_keys, client);
    vm_channel_set_read_deadline(ch, vm_clock_ns() + LATE_NS);
    g_assert_true(tls_channel_secure(ch, creds, NULL, NULL));
    g_usleep(50000);
    g_assert_cmpint(vm_channel_read_full(ch, buf, 6), ==, 0);
    g_assert_cmpmem(buf, 6, "abcdef", 6);
    g_assert_cmpint(vm_channel_write_full(ch, "xyz", 3), ==, 0);
    vm_thread_join(thread);
    vm_channel_free(client);
    vm_channel_free(ch);
    tls_creds_unref(creds);
    pki_dir_free(dir);
}

/* Once a write has failed nothing is sent any more, by nothing that is called
 * after it, though the socket would take it. */
static void test_failed_write(void)
{
    Line l = line_new();
    VmChannel *dead, *peer;
    int fd = vm_channel_fd(l.client);
    int kept = dup(fd);
    char byte;

    pair(&dead, &peer);
    vm_channel_free(peer);
    g_assert_cmpint(dup2(vm_channel_fd(dead), fd), ==, fd);
    g_assert_cmpint(vm_channel_write_full(l.client, "x", 1), ==, -EPIPE);
    g_assert_cmpint(dup2(kept, fd), ==, fd);
    close(kept);
    g_assert_cmpint(vm_channel_write_full(l.client, "y", 1), ==, -EPIPE);
    vm_channel_end_writes(l.client);
    g_assert_cmpint(vm_channel_read_some(l.server, &byte, 1), ==,
                    -ECONNRESET);
    vm_channel_free(dead);
    line_free(&l);
}

/* An end of the socket that is not an end of TLS. */
static void test_truncation(void)
{
    Line l = line_new();
    g_autofree char *words = NULL;
    char buf[8];

    g_assert_cmpint(vm_channel_write_full(l.client, "abc", 3), ==, 0);
    vm_channel_shutdown(l.client);
    g_assert_cmpint(vm_channel_read_full(l.server, buf, 3), ==, 0);
    g_assert_cmpint(vm_channel_read_full(l.server, buf, 1), ==, -ECONNRESET);
    words = vm_channel_explain(l.server);
    expect_word(words, "without the end of TLS");
    /* Sticky. */
    g_assert_cmpint(vm_channel_read_full(l.server, buf, 1), <, 0);
    line_free(&l);
}

static void test_proper_end(void)
{
    Line l = line_new();
    char buf[8];

    vm_channel_end_writes(l.client);
    g_assert_cmpint(vm_channel_read_some(l.server, buf, 1), ==, 0);
    g_assert_null(vm_channel_explain(l.server));
    /* The other direction goes on. */
    g_assert_cmpint(vm_channel_write_full(l.server, "abc", 3), ==, 0);
    g_assert_cmpint(vm_channel_read_full(l.client, buf, 3), ==, 0);
    line_free(&l);
}

/* -- harm --------------------------------------------------------------- */

/* Passes on what the client sends; byte harm_at of it is cut or flipped. */
typedef struct Harm {
    VmChannel *from, *to;
    uint64_t harm_at;
    bool flip;
    uint64_t bytes;
    bool harmed;
} Harm;

static void harm_run(void *arg)
{
    Harm *h = arg;
    uint8_t buf[4096];
    ssize_t n;

    while ((n = vm_channel_read_some(h->from, buf, sizeof(buf))) > 0) {
        bool here = h->harm_at >= h->bytes &&
                    h->harm_at < h->bytes + (uint64_t)n;

        h->harmed |= here;
        if (here && h->flip) {
            buf[h->harm_at - h->bytes] ^= 0x10;
        } else if (here) {
            n = (ssize_t)(h->harm_at - h->bytes);
        }
        if (vm_channel_write_full(h->to, buf, (size_t)n) < 0 ||
            (here && !h->flip)) {
            break;
        }
        h->bytes += (uint64_t)n;
    }
    vm_channel_shutdown(h->from);
    vm_channel_shutdown(h->to);
}

static void pass_back(void *arg)
{
    Harm *h = arg;
    uint8_t buf[4096];
    ssize_t n;

    while ((n = vm_channel_read_some(h->to, buf, sizeof(buf))) > 0 &&
           vm_channel_write_full(h->from, buf, (size_t)n) == 0) {
    }
    (void)shutdown(vm_channel_fd(h->from), SHUT_WR);
}

#define TEXT_BYTES 40000u

static void send_text(void *arg)
{
    VmChannel *ch = arg;
    uint8_t text[TEXT_BYTES];

    for (size_t i = 0; i < TEXT_BYTES; i++) {
        text[i] = byte_at(5, i);
    }
    if (tls_channel_secure(ch, client_creds, HOST, NULL) &&
        vm_channel_write_full(ch, text, sizeof(text)) == 0) {
        vm_channel_end_writes(ch);
    }
    (void)vm_channel_read_some(ch, text, 1); /* until the other has ended */
    vm_channel_shutdown(ch);
}

static unsigned whole, broken; /* ends seen by the server */

/* What the server makes of it: every byte that it got is right, and a proper
 * end comes behind all of them only. Returns how many bytes passed. */
static uint64_t run_harmed(uint64_t harm_at, bool flip)
{
    VmChannel *client, *server;
    Harm h = { .harm_at = harm_at, .flip = flip };
    VmThread *threads[3];
    uint8_t buf[3000];
    size_t at = 0;
    ssize_t n = -1;

    pair(&client, &h.from);
    pair(&server, &h.to);
    threads[0] = vm_thread_new("client", send_text, client);
    threads[1] = vm_thread_new("there", harm_run, &h);
    threads[2] = vm_thread_new("back", pass_back, &h);
    /* A length that was made longer leaves both waiting. */
    vm_channel_set_read_deadline(server, vm_clock_ns() +
                                             (flip ? HANG_NS : LATE_NS));
    if (tls_channel_secure(server, server_creds, NULL, NULL)) {
        while ((n = vm_channel_read_some(server, buf, sizeof(buf))) > 0) {
            for (ssize_t i = 0; i < n; i++, at++) {
                g_assert_cmpint(buf[i], ==, byte_at(5, at));
            }
        }
    }
    vm_channel_shutdown(server);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        vm_thread_join(threads[i]);
    }
    if (n == 0) {
        g_assert_cmpuint(at, ==, TEXT_BYTES);
        whole++;
    } else {
        broken++;
    }
    /* A few bits of a handshake mean nothing; a cut always does. */
    g_assert_true(h.harmed ? flip || n != 0 : n == 0);
    vm_channel_free(client);
    vm_channel_free(server);
    vm_channel_free(h.from);
    vm_channel_free(h.to);
    return h.bytes;
}

static void test_harm(const void *flip)
{
    uint64_t bytes = run_harmed(UINT64_MAX, false);

    whole = broken = 0;
    g_assert_cmpuint(bytes, >, TEXT_BYTES);
    for (int i = 0; i < 60; i++) {
        /* The handshake, the records, the end. Its length varies a little. */
        int end = i < 40 ? (int)bytes - 40 : 2500;
        uint64_t at = (uint64_t)g_test_rand_int_range(0, end);

        (void)run_harmed(at, flip != NULL);
    }
    g_test_message("%u ends were proper, %u not", whole, broken);
    g_assert_cmpuint(broken, >, 40);
}

int main(int argc, char **argv)
{
    int r;

    g_test_init(&argc, &argv, NULL);
    pki = pki_new("authority");
    other_pki = pki_new("another");
    server_dir = pki_dir_new(pki, pki, TLS_SERVER, NULL);
    client_dir = pki_dir_new(pki, pki, TLS_CLIENT, NULL);
    server_creds = pki_creds("x509", TLS_SERVER, server_dir, NULL);
    client_creds = pki_creds("x509", TLS_CLIENT, client_dir, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/tls/x509/%s", cases[i].name);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    g_test_add_func("/tls/x509/revoked", test_revoked);
    g_test_add_func("/tls/x509/no-host", test_no_host);
    g_test_add_func("/tls/psk", test_psk);
    g_test_add_func("/tls/anon", test_anon);
    g_test_add_func("/tls/silent", test_silent);
    g_test_add_func("/tls/trickle", test_trickle);
    g_test_add_func("/tls/cancel", test_cancel);
    g_test_add_func("/tls/garbage", test_garbage);
    g_test_add_func("/tls/duplex", test_duplex);
    g_test_add_func("/tls/deadline", test_deadline);
    g_test_add_func("/tls/shutdown", test_shutdown);
    g_test_add_func("/tls/key-update", test_key_update);
    g_test_add_func("/tls/failed-write", test_failed_write);
    g_test_add_func("/tls/truncation", test_truncation);
    g_test_add_func("/tls/proper-end", test_proper_end);
    g_test_add_data_func("/tls/cuts", NULL, test_harm);
    g_test_add_data_func("/tls/flips", "flip", test_harm);
    r = g_test_run();
    tls_creds_unref(server_creds);
    tls_creds_unref(client_creds);
    pki_dir_free(server_dir);
    pki_dir_free(client_dir);
    pki_free(pki);
    pki_free(other_pki);
    return r;
}
