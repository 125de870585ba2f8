/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: with TLS a VM moves as without; a peer without TLS, or with the
 * wrong credentials, is refused with its reason at both sides, the source
 * goes on, and the destination waits for the right one. Whatever is cut or
 * changed on the way, at most one side runs, with the right content.
 *
 * How: as test-migrate.c and test-cut.c; certificates are made here.
 */
#include "fake-vm.h"
#include "relay.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pki.h"

#define PAGES 515u /* the last chunk is a short one */
#define CHUNK 16u
#define HOST "migrate.example"

static const FakeVmConfig paged = { PAGES, CHUNK, 10 * CHUNK, NULL, 0 };
static const FakeVmConfig plain = { PAGES, CHUNK, UINT64_MAX, NULL, 0 };
static const FakeVmConfig small = { 131, CHUNK, 3 * CHUNK, NULL, 0 };

/* x509, all right; x509 of a client without a certificate; PSK. */
static TlsCreds *server, *client, *nobody, *psk_server, *psk_client;

typedef struct Pair {
    FakeWorld world;
    FakeVm *src, *dst;
    char *dir, *uri;
} Pair;

static Pair *pair_new(const FakeVmConfig *src, const FakeVmConfig *dst)
{
    Pair *p = g_new0(Pair, 1);

    p->src = fake_vm_new(&p->world, src);
    p->dst = fake_vm_new(&p->world, dst);
    p->dir = fake_dir_new();
    p->uri = g_strdup_printf("unix:%s/dst", p->dir);
    fake_vm_boot(p->src);
    fake_vm_fill(p->src, 42);
    fake_vm_set_bandwidth(p->src, 0);
    return p;
}

static void pair_free(Pair *p)
{
    g_assert_false(p->world.violated);
    fake_vm_free(p->src);
    fake_vm_free(p->dst);
    fake_dir_free(p->dir);
    g_free(p->uri);
    g_free(p);
}

static void set_tls(FakeVm *f, TlsCreds *creds, const char *host)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(migration_set_tls(f->mig, creds, host, &err));
    g_assert_no_error(err);
}

static void start(FakeVm *f, const char *uri)
{
    g_autoptr(GError) err = NULL;

    g_array_set_size(f->statuses, 0); /* of an earlier job */
    g_assert_true(migration_start(f->mig, uri, &err));
    g_assert_no_error(err);
}

static void listen_to(FakeVm *f, const char *uri)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(migration_listen(f->mig, uri, &err));
    g_assert_no_error(err);
}

static void expect_word(const char *text, const char *word)
{
    if (!strstr(text, word)) {
        g_test_message("'%s', not '%s'", text, word);
    }
    g_assert_nonnull(strstr(text, word));
}

static void expect_moved(Pair *p)
{
    MigrationStatus status = fake_vm_wait(p->src);

    if (status != MIGRATION_COMPLETED) {
        g_test_message("%s", p->src->error);
    }
    g_assert_cmpint(status, ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_COMPLETED);
    g_assert_false(fake_vm_runs(p->src));
    g_assert_true(fake_vm_runs(p->dst));
    g_assert_cmpint(p->dst->starts, ==, 1);
    g_assert_true(fake_vm_equal(p->src, p->dst));
}

/* The source failed for that reason and goes on. */
static void expect_stayed(FakeVm *f, const char *word)
{
    g_assert_cmpint(fake_vm_wait(f), ==, MIGRATION_FAILED);
    g_assert_true(fake_vm_runs(f));
    g_assert_true(f->owns_images);
    expect_word(f->error, word);
}

/* -- it moves ----------------------------------------------------------- */

static void move(TlsCreds *from, TlsCreds *to, const char *host,
                 const FakeVmConfig *dst)
{
    Pair *p = pair_new(&paged, dst);

    set_tls(p->src, from, host);
    set_tls(p->dst, to, NULL);
    fake_vm_start_guest(p->src, CHUNK, CHUNK);
    listen_to(p->dst, p->uri);
    start(p->src, p->uri);
    expect_moved(p);
    pair_free(p);
}

static void test_x509(void)
{
    move(client, server, HOST, &paged);
    move(client, server, HOST, &plain);
}

static void test_psk(void)
{
    move(psk_client, psk_server, NULL, &paged);
}

/* The name is the address's when no other is given; which the certificate
 * does not have here, and then does. */
static void test_tcp_host(void)
{
    Pair *p = pair_new(&paged, &paged);

    set_tls(p->src, client, NULL);
    set_tls(p->dst, server, NULL);
    listen_to(p->dst, "tcp:127.0.0.1:0");
    start(p->src, migration_listen_address(p->dst->mig));
    expect_stayed(p->src, "the host '127.0.0.1'");
    set_tls(p->src, client, HOST);
    start(p->src, migration_listen_address(p->dst->mig));
    expect_moved(p);
    pair_free(p);
}

static void test_descriptors(void)
{
    Pair *p = pair_new(&paged, &paged);
    g_autofree char *from = NULL, *to = NULL;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    from = g_strdup_printf("fd:%d", fds[0]);
    to = g_strdup_printf("fd:%d", fds[1]);
    set_tls(p->src, client, HOST);
    set_tls(p->dst, server, NULL);
    listen_to(p->dst, to);
    start(p->src, from);
    expect_moved(p);
    pair_free(p);
}

/* -- it is refused ------------------------------------------------------ */

typedef struct Refusal {
    const char *name;
    TlsCreds **from, **to;
    const char *host;
    const char *source_word, *destination_word;
} Refusal;

static TlsCreds *none;
static const Refusal refusals[] = {
    { "plain-to-tls", &none, &server, NULL,
      "the destination refused: this side wants TLS", "is not TLS" },
    { "tls-to-plain", &client, &none, HOST, "does not use TLS",
      "has no tls-creds" },
    { "wrong-host", &client, &server, "other.example", "does not match",
      "has ended TLS" },
    { "no-host", &client, &server, NULL, "no host name", "" },
    { "no-certificate", &nobody, &server, HOST, "Certificate is required",
      "ertificate is required" },
    { "psk-to-x509", &psk_client, &server, NULL, "Insufficient credentials",
      "TLS" },
};

/* It says so while it waits on. */
static void expect_waiting(FakeVm *f, const char *word)
{
    MigrationInfo info;

    for (int i = 0; i < 2000; i++) {
        migration_query(f->mig, &info);
        if (!word[0] || info.error[0]) {
            break;
        }
        g_usleep(1000);
    }
    g_assert_cmpint(info.status, ==, MIGRATION_SETUP);
    expect_word(info.error, word);
}

static void test_refusal(const void *data)
{
    const Refusal *r = data;
    Pair *p = pair_new(&paged, &paged);

    set_tls(p->src, *r->from, r->host);
    set_tls(p->dst, *r->to, NULL);
    listen_to(p->dst, p->uri);
    start(p->src, p->uri);
    expect_stayed(p->src, r->source_word);
    expect_waiting(p->dst, r->destination_word);
    g_assert_cmpint(p->dst->starts, ==, 0);
    /* The right one is taken after it. */
    set_tls(p->src, *r->to == none ? NULL : client, HOST);
    start(p->src, p->uri);
    expect_moved(p);
    pair_free(p);
}

static void refuse_start(FakeVm *f, const char *uri, const char *word)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(migration_start(f->mig, uri, &err));
    expect_word(err->message, word);
}

static void test_refused_at_once(void)
{
    Pair *p = pair_new(&paged, &paged);
    g_autoptr(GError) err = NULL;

    set_tls(p->src, client, HOST);
    refuse_start(p->src, "exec:cat", "is for connections");
    refuse_start(p->src, "file:/dev/null", "is for connections");
    set_tls(p->src, server, NULL);
    refuse_start(p->src, p->uri, "endpoint 'client'");
    set_tls(p->dst, client, NULL);
    g_assert_false(migration_listen(p->dst->mig, p->uri, &err));
    expect_word(err->message, "endpoint 'server'");
    g_assert_true(fake_vm_runs(p->src));
    pair_free(p);
}

static void test_pipe(void)
{
    Pair *p = pair_new(&paged, &paged);
    g_autofree char *to = NULL;
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    to = g_strdup_printf("fd:%d", fds[1]);
    set_tls(p->src, client, HOST);
    start(p->src, to);
    expect_stayed(p->src, "the descriptor is none");
    close(fds[0]);
    pair_free(p);
}

/* -- the handshake does not hold anything up ---------------------------- */

static void test_cancel(void)
{
    Pair *p = pair_new(&paged, &paged);
    g_autoptr(VmListener) silent = vm_listener_new(p->uri, NULL);
    g_autoptr(VmChannel) ch = NULL;
    g_autoptr(GError) err = NULL;

    set_tls(p->src, client, HOST);
    start(p->src, p->uri);
    ch = vm_listener_accept(silent, NULL);
    g_assert_nonnull(ch);
    /* Nothing of the job can be changed meanwhile. */
    g_assert_false(migration_set_tls(p->src->mig, NULL, NULL, &err));
    migration_cancel(p->src->mig);
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_CANCELLED);
    g_assert_true(fake_vm_runs(p->src));
    g_assert_cmpint(p->src->stops, ==, 0);
    pair_free(p);
}

/* A destination that ends while somebody shakes hands with it, slowly. */
static void test_end_in_handshake(void)
{
    Pair *p = pair_new(&paged, &paged);
    g_autoptr(VmChannel) ch = NULL;

    set_tls(p->dst, server, NULL);
    listen_to(p->dst, p->uri);
    ch = vm_channel_connect(p->uri, -1, NULL);
    g_assert_cmpint(vm_channel_write_full(ch, "\x16\x03\x01\x01", 4), ==, 0);
    g_usleep(20000);
    pair_free(p);
}

/* -- harm on the way ---------------------------------------------------- */

typedef struct Run {
    Pair *p;
    char *relay_uri;
    Relay *relay;
} Run;

static Run run_new(void)
{
    Run run = { .p = pair_new(&small, &small) };

    run.relay_uri = g_strdup_printf("unix:%s/relay", run.p->dir);
    set_tls(run.p->src, client, HOST);
    set_tls(run.p->dst, server, NULL);
    listen_to(run.p->dst, run.p->uri);
    run.relay = relay_new(run.relay_uri, run.p->uri);
    return run;
}

static void run_done(Run *run)
{
    relay_free(run->relay);
    pair_free(run->p);
    g_free(run->relay_uri);
}

/* Runs the main loop for a while, or until the job is over. */
static void wait_a_while(FakeVm *f)
{
    for (int i = 0; i < 50 && fake_vm_status(f) < MIGRATION_COMPLETED; i++) {
        g_usleep(2000);
        while (g_main_context_iteration(NULL, FALSE)) {
        }
    }
}

static unsigned ended_source, ended_destination, ended_neither;

static void check_end(Pair *p)
{
    bool src = fake_vm_runs(p->src), dst = fake_vm_runs(p->dst);

    g_assert_false(src && dst);
    g_assert_cmpint(p->world.image_owners, <=, 1);
    ended_source += src;
    ended_destination += dst;
    ended_neither += !src && !dst;
    if (dst) {
        g_assert_true(fake_vm_equal(p->src, p->dst));
        g_assert_true(fake_vm_status(p->src) == MIGRATION_COMPLETED ||
                      strstr(p->src->error, "may be running"));
    } else if (!src) {
        expect_word(p->src->error, "may be running");
    }
}

/* Returns the bytes of the direction. */
static uint64_t run_harmed(Harm harm, bool there, uint64_t at)
{
    Run run = run_new();
    Direction *d = there ? &run.relay->there : &run.relay->back;
    g_autoptr(GByteArray) passed = g_byte_array_new();

    d->record = g_byte_array_ref(passed); /* d->bytes may miss the last */
    d->harm = harm;
    d->harm_at = at;
    relay_start(run.relay);
    start(run.p->src, run.relay_uri);
    wait_a_while(run.p->src);
    /* A length that was made longer leaves both waiting: a person cancels. */
    migration_cancel(run.p->src->mig);
    (void)fake_vm_wait(run.p->src);
    relay_join(run.relay);
    wait_a_while(run.p->dst);
    check_end(run.p);
    if (harm == HARM_NONE) {
        g_assert_true(fake_vm_runs(run.p->dst));
    } else if (harm == HARM_FLIP && there) {
        /* Unlike without TLS, not one bit of a page either. */
        g_assert_false(fake_vm_runs(run.p->dst));
    }
    run_done(&run);
    return passed->len;
}

/* Anywhere, and more often in the handshake and around RUN and RUNNING. */
static uint64_t a_place(uint64_t bytes, int i)
{
    int n = (int)bytes;

    if (i < 8) {
        return (uint64_t)(n - 1 - i * 4); /* the last record */
    }
    switch (i % 4) {
    case 0:
        return (uint64_t)g_test_rand_int_range(0, MIN(n, 2000));
    case 1:
        return (uint64_t)(n - g_test_rand_int_range(1, 200));
    default:
        return (uint64_t)g_test_rand_int_range(0, n);
    }
}

static void test_cuts(void)
{
    for (int there = 0; there < 2; there++) {
        uint64_t bytes = run_harmed(HARM_NONE, there, 0);

        for (int i = 0; i < 40; i++) {
            run_harmed(HARM_CUT, there, a_place(bytes, i));
        }
    }
    g_test_message("the VM ended at the source %u times, at the destination "
                   "%u, paused %u", ended_source, ended_destination,
                   ended_neither);
    g_assert_cmpuint(ended_source, >, 0);
    g_assert_cmpuint(ended_destination, >, 2);
}

static void test_flips(void)
{
    uint64_t bytes = run_harmed(HARM_NONE, /* there= */ true, 0);

    for (int i = 0; i < 30; i++) {
        run_harmed(HARM_FLIP, /* there= */ true,
                   (uint64_t)g_test_rand_int_range(2000, (int)bytes - 30));
    }
}

int main(int argc, char **argv)
{
    Pki *pki = pki_new("authority");
    char *dirs[] = {
        pki_dir_new(pki, pki, TLS_SERVER, NULL),
        pki_dir_new(pki, pki, TLS_CLIENT, NULL),
        pki_dir_new(pki, NULL, TLS_CLIENT, NULL),
        pki_psk_dir_new("qemu:00112233445566778899aabbccddeeff\n"),
    };
    int r;

    g_test_init(&argc, &argv, NULL);
    server = pki_creds("x509", TLS_SERVER, dirs[0], NULL);
    client = pki_creds("x509", TLS_CLIENT, dirs[1], NULL);
    nobody = pki_creds("x509", TLS_CLIENT, dirs[2], NULL);
    psk_server = pki_creds("psk", TLS_SERVER, dirs[3], NULL);
    psk_client = pki_creds("psk", TLS_CLIENT, dirs[3], NULL);
    g_test_add_func("/tls/x509", test_x509);
    g_test_add_func("/tls/psk", test_psk);
    g_test_add_func("/tls/tcp-host", test_tcp_host);
    g_test_add_func("/tls/descriptors", test_descriptors);
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_autofree char *path = g_strdup_printf("/tls/refused/%s",
                                                refusals[i].name);

        g_test_add_data_func(path, &refusals[i], test_refusal);
    }
    g_test_add_func("/tls/refused/at-once", test_refused_at_once);
    g_test_add_func("/tls/refused/pipe", test_pipe);
    g_test_add_func("/tls/cancel", test_cancel);
    g_test_add_func("/tls/end-in-handshake", test_end_in_handshake);
    g_test_add_func("/tls/cuts", test_cuts);
    g_test_add_func("/tls/flips", test_flips);
    r = g_test_run();
    for (size_t i = 0; i < G_N_ELEMENTS(dirs); i++) {
        pki_dir_free(dirs[i]);
    }
    tls_creds_unref(server);
    tls_creds_unref(client);
    tls_creds_unref(nobody);
    tls_creds_unref(psk_server);
    tls_creds_unref(psk_client);
    pki_free(pki);
    return r;
}
