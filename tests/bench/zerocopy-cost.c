/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What MSG_ZEROCOPY brings a migration's connection: MiB a second, CPU time by
 * GiB, and how much the kernel has copied all the same.
 *
 *     zerocopy-cost [veth]
 *
 * How: a sender and a receiver, each a thread, over loopback, or over a pair
 * of veth devices in network namespaces of this process, which end with it
 * (needs root and ip). Chunks as ram-send.c has them: a header, then pages
 * that lie in memory anywhere, more than fits the CPU's caches. The two kinds
 * take turns, and each figure is the median of the rounds. Prints JSON.
 */
#include <errno.h>
#include <time.h>

#include <linux/errqueue.h> /* wants timespec */
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/channel.h"
#include "util/clock.h"
#include "util/thread.h"

#define PAGE_BYTES 4096u
#define CHUNK_PAGES 64u
#define CHUNK_BYTES (CHUNK_PAGES * PAGE_BYTES)
#define HEADER_BYTES 64u
#define CHUNKS 2048u /* 512 MiB */
#define ROUNDS 7u

typedef struct Result {
    double mib_s, cpu_s_gib;
    double copied; /* of what was to be sent without: 0 to 1 */
} Result;

typedef struct Sender {
    int fd;
    bool zero_copy;
    uint32_t asked, told, copied; /* calls with MSG_ZEROCOPY */
} Sender;

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "zerocopy-cost: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void run(const char *command)
{
    int status = -1;

    must(g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) &&
             status == 0,
         command);
}

/* A thread of its own, since it leaves the namespace. The socket keeps the
 * new one. */
static void listen_at_veth(void *arg)
{
    g_autofree char *add = g_strdup_printf(
        "ip link add m1 type veth peer name m0 netns %d", getpid());

    must(unshare(CLONE_NEWNET) == 0, "unshare");
    run(add);
    run("ip address add 192.0.2.2/30 dev m1"); /* RFC 5737 */
    run("ip link set m1 up");
    *(VmListener **)arg = vm_listener_new("tcp:192.0.2.2:0", NULL);
}

static VmListener *listen_there(bool veth)
{
    VmListener *l = NULL;

    if (!veth) {
        return vm_listener_new("tcp:127.0.0.1:0", NULL);
    }
    must(unshare(CLONE_NEWNET) == 0, "unshare");
    vm_thread_join(vm_thread_new("listen", listen_at_veth, &l));
    run("ip address add 192.0.2.1/30 dev m0");
    run("ip link set m0 up");
    return l;
}

static void receive(void *arg)
{
    VmChannel *ch = arg;
    g_autofree char *buf = g_malloc(CHUNK_BYTES);

    for (unsigned i = 0; i < CHUNKS; i++) {
        must(vm_channel_read_full(ch, buf, HEADER_BYTES) == 0 &&
                 vm_channel_read_full(ch, buf, CHUNK_BYTES) == 0,
             "receive");
    }
    must(vm_channel_write_full(ch, "", 1) == 0, "answer");
}

/* Takes one of the kernel's answers, if there is one: which calls are over. */
static bool take_answer(Sender *s)
{
    char control[128];
    struct msghdr msg = { .msg_control = control,
                          .msg_controllen = sizeof(control) };
    struct sock_extended_err e;

    if (recvmsg(s->fd, &msg, MSG_ERRQUEUE) < 0) {
        must(errno == EAGAIN, "error queue");
        return false;
    }
    memcpy(&e, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(e));
    must(e.ee_origin == SO_EE_ORIGIN_ZEROCOPY, "answer");
    s->told += e.ee_data - e.ee_info + 1;
    if (e.ee_code & SO_EE_CODE_ZEROCOPY_COPIED) {
        s->copied += e.ee_data - e.ee_info + 1;
    }
    return true;
}

static void send_all(Sender *s, struct iovec *iov, int n, int flags)
{
    while (n > 0) {
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)n };
        ssize_t sent = sendmsg(s->fd, &msg, flags | MSG_NOSIGNAL);

        if (sent < 0 && errno == ENOBUFS) { /* too many answers wait */
            (void)take_answer(s);
            continue;
        }
        must(sent > 0, "send");
        s->asked += flags & MSG_ZEROCOPY ? 1 : 0;
        while (n > 0 && (size_t)sent >= iov->iov_len) {
            sent -= (ssize_t)iov->iov_len;
            iov++;
            n--;
        }
        if (n > 0) {
            iov->iov_base = (char *)iov->iov_base + sent;
            iov->iov_len -= (size_t)sent;
        }
    }
}

/* Every other page, so that none joins the next. */
static void send_chunk(Sender *s, char *ram, unsigned chunk)
{
    static char header[HEADER_BYTES];
    struct iovec head = { header, sizeof(header) };
    struct iovec pages[CHUNK_PAGES];

    for (unsigned i = 0; i < CHUNK_PAGES; i++) {
        size_t page = (size_t)chunk * CHUNK_PAGES + i;

        page = page * 2 % ((size_t)CHUNKS * CHUNK_PAGES) +
               page * 2 / ((size_t)CHUNKS * CHUNK_PAGES);
        pages[i] = (struct iovec){ ram + page * PAGE_BYTES, PAGE_BYTES };
    }
    send_all(s, &head, 1, MSG_MORE);
    send_all(s, pages, CHUNK_PAGES, s->zero_copy ? MSG_ZEROCOPY : 0);
    while (s->zero_copy && take_answer(s)) {
    }
}

static double cpu_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static Result measure(VmListener *l, char *ram, bool zero_copy)
{
    g_autoptr(VmChannel) ch =
        vm_channel_connect(vm_listener_address(l), -1, NULL);
    VmChannel *there = vm_listener_accept(l, NULL);
    Sender s = { .fd = vm_channel_fd(ch), .zero_copy = zero_copy };
    VmThread *thread = vm_thread_new("receive", receive, there);
    double cpu = cpu_s(), mib = (double)CHUNKS * CHUNK_BYTES / (1 << 20);
    int64_t start_ns = vm_clock_ns(), took_ns;
    char answer;
    int on = 1;

    must(!zero_copy || setsockopt(s.fd, SOL_SOCKET, SO_ZEROCOPY, &on,
                                  sizeof(on)) == 0, "SO_ZEROCOPY");
    for (unsigned i = 0; i < CHUNKS; i++) {
        send_chunk(&s, ram, i);
    }
    must(vm_channel_read_full(ch, &answer, 1) == 0, "answer");
    while (s.told < s.asked) {
        (void)take_answer(&s);
    }
    took_ns = vm_clock_ns() - start_ns;
    cpu = cpu_s() - cpu;
    vm_thread_join(thread);
    vm_channel_free(there);
    return (Result){ mib * 1e9 / (double)took_ns, cpu * 1024 / mib,
                     s.asked ? (double)s.copied / s.asked : 0 };
}

static int by_speed(const void *a, const void *b)
{
    const Result *x = a, *y = b;

    return x->mib_s < y->mib_s ? -1 : x->mib_s > y->mib_s;
}

int main(int argc, char **argv)
{
    bool veth = argc > 1 && strcmp(argv[1], "veth") == 0;
    g_autoptr(VmListener) l = listen_there(veth);
    size_t bytes = (size_t)CHUNKS * CHUNK_BYTES;
    char *ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Result results[2][ROUNDS];

    must(l && ram != MAP_FAILED, "set-up");
    memset(ram, 0xa5, bytes);
    for (unsigned i = 0; i < ROUNDS; i++) {
        results[0][i] = measure(l, ram, false);
        results[1][i] = measure(l, ram, true);
    }
    for (unsigned kind = 0; kind < 2; kind++) {
        const char *name = kind ? "zero-copy" : "copy";
        const Result *r = results[kind];

        qsort(results[kind], ROUNDS, sizeof(*r), by_speed);
        printf("%s\"%s-mib-s\": %.0f, \"%s-min\": %.0f, \"%s-max\": %.0f, "
               "\"%s-cpu-s-gib\": %.3f, \"%s-copied\": %.3f",
               kind ? ", " : "{", name, r[ROUNDS / 2].mib_s, name, r[0].mib_s,
               name, r[ROUNDS - 1].mib_s, name, r[ROUNDS / 2].cpu_s_gib, name,
               r[ROUNDS / 2].copied);
    }
    printf("}\n");
    return 0;
}
