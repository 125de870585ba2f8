/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What TLS costs a migration's channel: MiB a second over loopback, and CPU
 * time by GiB, of chunks of 1 MiB with a header, with TLS and without.
 *
 *     tls-cost [PRIORITY]
 *
 * How: a sender and a receiver, each a thread, as a migration has them. The
 * two kinds take turns, and each figure is the median of the rounds. PRIORITY
 * is GnuTLS's, for another cipher. Prints JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/tls-channel.h"
#include "pki.h"
#include "util/clock.h"
#include "util/thread.h"

#define CHUNK_BYTES (1u << 20)
#define PAGE_BYTES 4096u
#define HEADER_BYTES 64u
#define CHUNKS 512u
#define ROUNDS 7u

typedef struct Side {
    VmChannel *ch;
    TlsCreds *creds; /* NULL: without TLS */
} Side;

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "tls-cost: %s\n", what);
        exit(1);
    }
}

static void receive(void *arg)
{
    Side *s = arg;
    g_autofree char *buf = g_malloc(CHUNK_BYTES + HEADER_BYTES);

    must(!s->creds || tls_channel_secure(s->ch, s->creds, NULL, NULL),
         "handshake");
    for (unsigned i = 0; i < CHUNKS; i++) {
        must(vm_channel_read_full(s->ch, buf, HEADER_BYTES) == 0 &&
                 vm_channel_read_full(s->ch, buf, CHUNK_BYTES) == 0,
             "receive");
    }
    must(vm_channel_write_full(s->ch, "", 1) == 0, "answer");
}

/* As ram-send.c does: a header, and each page for itself. */
static void send_chunk(VmChannel *ch, char *chunk)
{
    struct iovec iov[1 + CHUNK_BYTES / PAGE_BYTES];

    iov[0] = (struct iovec){ chunk, HEADER_BYTES };
    for (size_t i = 1; i < G_N_ELEMENTS(iov); i++) {
        iov[i] = (struct iovec){ chunk + (i - 1) * PAGE_BYTES, PAGE_BYTES };
    }
    must(vm_channel_writev_full(ch, iov, G_N_ELEMENTS(iov)) == 0, "send");
}

static double cpu_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

typedef struct Result {
    double mib_s, cpu_s_gib;
} Result;

static Result measure(TlsCreds *client, TlsCreds *server, char *chunk)
{
    g_autoptr(VmListener) l = vm_listener_new("tcp:127.0.0.1:0", NULL);
    g_autoptr(VmChannel) ch =
        vm_channel_connect(vm_listener_address(l), -1, NULL);
    Side s = { vm_listener_accept(l, NULL), server };
    VmThread *thread = vm_thread_new("receive", receive, &s);
    double cpu, mib = (double)CHUNKS * CHUNK_BYTES / (1 << 20);
    int64_t start_ns;
    char answer;

    must(!client || tls_channel_secure(ch, client, "migrate.example", NULL),
         "handshake");
    start_ns = vm_clock_ns();
    cpu = cpu_s();
    for (unsigned i = 0; i < CHUNKS; i++) {
        send_chunk(ch, chunk);
    }
    must(vm_channel_read_full(ch, &answer, 1) == 0, "answer");
    cpu = cpu_s() - cpu;
    vm_thread_join(thread);
    vm_channel_free(s.ch);
    return (Result){ mib * 1e9 / (double)(vm_clock_ns() - start_ns),
                     cpu * 1024 / mib };
}

static int by_speed(const void *a, const void *b)
{
    const Result *x = a, *y = b;

    return x->mib_s < y->mib_s ? -1 : x->mib_s > y->mib_s;
}

int main(int argc, char **argv)
{
    Pki *pki = pki_new("authority");
    char *dirs[] = { pki_dir_new(pki, pki, TLS_CLIENT, NULL),
                     pki_dir_new(pki, pki, TLS_SERVER, NULL) };
    g_autofree char *more =
        argc > 1 ? g_strconcat("priority=", argv[1], NULL) : NULL;
    TlsCreds *client = pki_creds("x509", TLS_CLIENT, dirs[0], more);
    TlsCreds *server = pki_creds("x509", TLS_SERVER, dirs[1], more);
    g_autofree char *chunk = g_malloc(CHUNK_BYTES);
    Result results[2][ROUNDS];

    memset(chunk, 0xa5, CHUNK_BYTES);
    for (unsigned i = 0; i < ROUNDS; i++) {
        results[0][i] = measure(NULL, NULL, chunk);
        results[1][i] = measure(client, server, chunk);
    }
    for (unsigned kind = 0; kind < 2; kind++) {
        const Result *r = results[kind];

        qsort(results[kind], ROUNDS, sizeof(*r), by_speed);
        printf("%s\"%s-mib-s\": %.0f, \"%s-min\": %.0f, \"%s-max\": %.0f, "
               "\"%s-cpu-s-gib\": %.3f",
               kind ? ", " : "{", kind ? "tls" : "plain", r[ROUNDS / 2].mib_s,
               kind ? "tls" : "plain", r[0].mib_s, kind ? "tls" : "plain",
               r[ROUNDS - 1].mib_s, kind ? "tls" : "plain",
               r[ROUNDS / 2].cpu_s_gib);
    }
    printf("}\n");
    tls_creds_unref(client);
    tls_creds_unref(server);
    pki_dir_free(dirs[0]);
    pki_dir_free(dirs[1]);
    pki_free(pki);
    return 0;
}
