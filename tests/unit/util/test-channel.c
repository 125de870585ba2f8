/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util/channel.c: addresses, whole records over short buffers, shutdown from
 * another thread, and what listeners do with files that are in the way.
 *
 * A test that would hang if its promise broke is ended by meson's time-out.
 */
#include "util/channel.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char *dir; /* for socket files */

static char *unix_address(const char *name)
{
    return g_strdup_printf("unix:%s/%s", dir, name);
}

static void make_pair(VmChannel **a, VmChannel **b)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                    ==, 0);
    *a = vm_channel_new_fd(fds[0]);
    *b = vm_channel_new_fd(fds[1]);
}

static void test_addresses(void)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        { "tcp:localhost:4444", true },
        { "tcp:127.0.0.1:0", true },
        { "tcp:[::1]:65535", true },
        { "tcp::4444", true },
        { "tcp:0:4444", true },
        { "unix:/tmp/x", true },
        { "unix:rel:with:colons", true },
        { "", false },
        { "tcp", false },
        { "tcp:", false },
        { "tcp:host", false },
        { "tcp:host:", false },
        { "tcp:host:65536", false },
        { "tcp:host:-1", false },
        { "tcp:host:+1", false },
        { "tcp:host: 1", false },
        { "tcp:host:http", false },
        { "tcp:host:1,to=2", false },
        { "tcp:host:000000001", false },
        { "tcp:::1:4444", false },
        { "tcp:[]:4444", false },
        { "tcp:[::1:4444", false },
        { "unix:", false },
        { "exec:cat", false },
        { "TCP:host:1", false },
    };
    g_autofree char *long_path = g_strnfill(108, 'x');
    g_autofree char *long_address = g_strdup_printf("unix:%s", long_path);

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;

        g_test_message("'%s'", cases[i].text);
        g_assert_cmpint(vm_channel_address_check(cases[i].text, &err), ==,
                        cases[i].good);
        g_assert_cmpint(err == NULL, ==, cases[i].good);
    }
    g_assert_false(vm_channel_address_check(long_address, NULL));
    long_address[strlen(long_address) - 1] = '\0';
    g_assert_true(vm_channel_address_check(long_address, NULL));
}

/* Listens, connects to the address reported, and sends a byte each way. */
static void test_host(void)
{
    static const struct {
        const char *address, *host;
    } cases[] = {
        { "tcp:example.org:1", "example.org" }, { "tcp:[::1]:1", "::1" },
        { "tcp:192.0.2.1:1", "192.0.2.1" },     { "tcp::1", NULL },
        { "unix:/x", NULL },                    { "fd:3", NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *host = vm_channel_address_host(cases[i].address);

        g_assert_cmpstr(host, ==, cases[i].host);
    }
}

/* A deadline ends a read, and no longer; the end of writes is an end of file
 * to the other side, which may go on writing. */
static void test_deadline_and_end(void)
{
    VmChannel *a, *b;
    char byte;

    make_pair(&a, &b);
    vm_channel_set_read_deadline(a, vm_clock_ns() + 20 * VM_NS_PER_MS);
    g_assert_cmpint(vm_channel_read_full(a, &byte, 1), ==, -ETIMEDOUT);
    g_assert_cmpint(vm_channel_write_full(b, "x", 1), ==, 0);
    g_assert_cmpint(vm_channel_read_full(a, &byte, 1), ==, -ETIMEDOUT);
    vm_channel_set_read_deadline(a, 0);
    g_assert_cmpint(vm_channel_read_full(a, &byte, 1), ==, 0);
    vm_channel_end_writes(b);
    g_assert_cmpint(vm_channel_read_some(a, &byte, 1), ==, 0);
    g_assert_cmpint(vm_channel_write_full(a, "y", 1), ==, 0);
    g_assert_cmpint(vm_channel_read_full(b, &byte, 1), ==, 0);
    g_assert_null(vm_channel_explain(a));
    vm_channel_free(a);
    vm_channel_free(b);
}

static void check_round_trip(const char *address, const char *prefix)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(VmListener) listener = vm_listener_new(address, &err);
    g_autoptr(VmChannel) client = NULL, server = NULL;
    char byte = 0;

    g_assert_no_error(err);
    g_assert_true(g_str_has_prefix(vm_listener_address(listener), prefix));
    g_assert_false(g_str_has_suffix(vm_listener_address(listener), ":0"));
    client = vm_channel_connect(vm_listener_address(listener),
                                /* cancel_fd= */ -1, &err);
    g_assert_no_error(err);
    server = vm_listener_accept(listener, &err);
    g_assert_no_error(err);
    g_assert_cmpint(vm_channel_write_full(client, "c", 1), ==, 0);
    g_assert_cmpint(vm_channel_read_full(server, &byte, 1), ==, 0);
    g_assert_cmpint(byte, ==, 'c');
    g_assert_cmpint(vm_channel_write_full(server, "s", 1), ==, 0);
    g_assert_cmpint(vm_channel_read_full(client, &byte, 1), ==, 0);
    g_assert_cmpint(byte, ==, 's');
    g_assert_cmpint(fcntl(vm_channel_fd(client), F_GETFL) & O_NONBLOCK, ==, 0);
    g_assert_cmpint(fcntl(vm_channel_fd(server), F_GETFL) & O_NONBLOCK, ==, 0);
    g_assert_cmpint(fcntl(vm_channel_fd(server), F_GETFD), ==, FD_CLOEXEC);
}

static void test_tcp_v4(void)
{
    check_round_trip("tcp:127.0.0.1:0", "tcp:127.0.0.1:");
}

static bool have_ipv6(void)
{
    g_autoptr(VmListener) probe = vm_listener_new("tcp:[::1]:0", NULL);

    return probe != NULL;
}

static void test_tcp_v6(void)
{
    if (!have_ipv6()) {
        g_test_skip("no IPv6 on this machine");
        return;
    }
    check_round_trip("tcp:[::1]:0", "tcp:[::1]:");
    check_round_trip("tcp:[::]:0", "tcp:[::]:");
}

/* "tcp::0" takes IPv4 connections whether there is IPv6 or not. */
static void test_tcp_any(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(VmListener) listener = vm_listener_new("tcp::0", &err);
    g_autoptr(VmChannel) client = NULL, server = NULL;
    g_autofree char *address = NULL;

    g_assert_no_error(err);
    address = g_strdup_printf(
        "tcp:127.0.0.1%s", strrchr(vm_listener_address(listener), ':'));
    client = vm_channel_connect(address, -1, &err);
    g_assert_no_error(err);
    server = vm_listener_accept(listener, &err);
    g_assert_no_error(err);
}

static void test_tcp_refused(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(VmListener) listener = vm_listener_new("tcp:127.0.0.1:0", &err);
    g_autofree char *address = g_strdup(vm_listener_address(listener));

    g_assert_null(vm_listener_new(address, &err));
    g_assert_error(err, VM_ERROR, EADDRINUSE);
    g_clear_error(&err);
    g_clear_pointer(&listener, vm_listener_free);
    g_assert_null(vm_channel_connect(address, -1, &err));
    g_assert_error(err, VM_ERROR, ECONNREFUSED);
    g_assert_nonnull(g_strstr_len(err->message, -1, address));
}

static void test_bad_host(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(vm_channel_connect("tcp:[nonsense]:1", -1, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    g_assert_null(vm_listener_new("ftp:x", &err));
    g_assert_nonnull(err);
}

static void test_unix(void)
{
    g_autofree char *address = unix_address("plain");

    check_round_trip(address, address);
    g_assert_cmpint(access(address + strlen("unix:"), F_OK), ==, -1);
    g_assert_null(vm_channel_connect(address, -1, NULL));
}

static void test_unix_in_use(void)
{
    g_autofree char *address = unix_address("busy");
    g_autoptr(VmListener) first = vm_listener_new(address, NULL);
    g_autoptr(GError) err = NULL;

    g_assert_nonnull(first);
    g_assert_null(vm_listener_new(address, &err));
    g_assert_error(err, VM_ERROR, EADDRINUSE);
    g_assert_cmpint(access(address + strlen("unix:"), F_OK), ==, 0);
}

static void test_unix_stale(void)
{
    g_autofree char *address = unix_address("stale");
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* What a listener that was killed leaves behind. */
    g_strlcpy(sun.sun_path, address + strlen("unix:"), sizeof(sun.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), ==, 0);
    vm_close_fd(&fd);
    check_round_trip(address, address);
}

static void test_unix_not_a_socket(void)
{
    g_autofree char *address = unix_address("file");
    const char *path = address + strlen("unix:");
    g_autofree char *contents = NULL;
    g_autoptr(GError) err = NULL;

    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    g_assert_null(vm_listener_new(address, &err));
    g_assert_error(err, VM_ERROR, EADDRINUSE);
    g_assert_true(g_file_get_contents(path, &contents, NULL, NULL));
    g_assert_cmpstr(contents, ==, "precious");
    g_unlink(path);
}

/* The file of somebody who took the path over is left alone. */
static void test_unix_replaced(void)
{
    g_autofree char *address = unix_address("replaced");
    const char *path = address + strlen("unix:");
    VmListener *listener = vm_listener_new(address, NULL);
    g_autofree char *other = g_strdup_printf("%s.other", path);

    g_assert_true(g_file_set_contents(other, "x", -1, NULL));
    g_assert_cmpint(rename(other, path), ==, 0);
    vm_listener_free(listener);
    g_assert_cmpint(access(path, F_OK), ==, 0);
    g_unlink(path);
}

#define RECORDS 3000 /* more elements than IOV_MAX */
#define RECORD_BYTES 257

typedef struct Writer {
    VmChannel *ch;
    char *bytes;
    int result;
} Writer;

static void write_records(void *opaque)
{
    Writer *w = opaque;
    g_autofree struct iovec *iov = g_new0(struct iovec, RECORDS * 2);

    for (size_t i = 0; i < RECORDS; i++) {
        iov[i * 2].iov_base = NULL; /* an empty element now and then */
        iov[i * 2 + 1].iov_base = w->bytes + i * RECORD_BYTES;
        iov[i * 2 + 1].iov_len = RECORD_BYTES;
    }
    w->result = vm_channel_writev_full(w->ch, iov, RECORDS * 2);
    vm_channel_shutdown(w->ch);
}

/* A vector larger than the socket's buffer arrives whole and in order. */
static void test_records(void)
{
    g_autofree char *sent = g_malloc(RECORDS * RECORD_BYTES);
    g_autofree char *got = g_malloc0(RECORDS * RECORD_BYTES);
    g_autoptr(VmChannel) a = NULL, b = NULL;
    Writer writer = { .bytes = sent };
    VmThread *thread;
    char byte;

    for (size_t i = 0; i < RECORDS * RECORD_BYTES; i++) {
        sent[i] = (char)(i * 7 >> 4);
    }
    make_pair(&a, &b);
    writer.ch = a;
    thread = vm_thread_new("writer", write_records, &writer);
    g_assert_cmpint(vm_channel_read_full(b, got, RECORDS * RECORD_BYTES), ==,
                    0);
    g_assert_cmpint(vm_channel_read_some(b, &byte, 1), ==, 0);
    g_assert_cmpint(vm_channel_read_full(b, &byte, 1), ==, -ENODATA);
    vm_thread_join(thread);
    g_assert_cmpint(writer.result, ==, 0);
    g_assert_cmpmem(sent, RECORDS * RECORD_BYTES, got, RECORDS * RECORD_BYTES);
}

static void test_peer_closed(void)
{
    g_autofree char *big = g_malloc0(1 << 20);
    g_autoptr(VmChannel) a = NULL;
    VmChannel *b;

    make_pair(&a, &b);
    vm_channel_free(b);
    /* No SIGPIPE: it would end this process. */
    g_assert_cmpint(vm_channel_write_full(a, big, 1 << 20), ==, -EPIPE);
    g_assert_cmpint(vm_channel_write_full(a, big, 0), ==, 0);
}

static void make_pipe(VmChannel **reader, VmChannel **writer)
{
    g_autoptr(GError) err = NULL;
    int fds[2];

    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    *reader = vm_channel_new_pipe(fds[0], &err);
    g_assert_no_error(err);
    *writer = vm_channel_new_pipe(fds[1], &err);
    g_assert_no_error(err);
}

/* Whole records through a pipe that holds less, its end, and its death. */
static void test_pipe(void)
{
    VmChannel *a, *b;
    g_autofree char *sent = g_malloc(RECORDS * RECORD_BYTES);
    g_autofree char *got = g_malloc0(RECORDS * RECORD_BYTES);
    Writer writer = { .bytes = sent, .result = 1 };
    VmThread *thread;
    char byte = 1;

    for (size_t i = 0; i < RECORDS * RECORD_BYTES; i++) {
        sent[i] = (char)(i * 5 >> 3);
    }
    make_pipe(&a, &b);
    writer.ch = b;
    thread = vm_thread_new("writer", write_records, &writer);
    g_assert_cmpint(vm_channel_read_full(a, got, RECORDS * RECORD_BYTES), ==,
                    0);
    vm_thread_join(thread);
    g_assert_cmpint(writer.result, ==, 0);
    g_assert_cmpmem(sent, RECORDS * RECORD_BYTES, got, RECORDS * RECORD_BYTES);
    vm_channel_free(b);
    g_assert_cmpint(vm_channel_read_full(a, &byte, 1), ==, -ENODATA);
    vm_channel_free(a);

    make_pipe(&a, &b);
    vm_channel_free(a);
    (void)signal(SIGPIPE, SIG_IGN);
    g_assert_cmpint(vm_channel_write_full(b, &byte, 1), ==, -EPIPE);
    (void)signal(SIGPIPE, SIG_DFL);
    vm_channel_free(b);
}

/* Sleepers that another thread's shutdown has to wake. */
typedef struct Sleeper {
    VmChannel *ch;
    int started; /* eventfd */
    int result;
} Sleeper;

static void sleep_in_read(void *opaque)
{
    Sleeper *s = opaque;
    uint64_t one = 1;
    char byte;

    vm_write_full(s->started, &one, sizeof(one));
    s->result = vm_channel_read_full(s->ch, &byte, 1);
}

static void sleep_in_write(void *opaque)
{
    Sleeper *s = opaque;
    g_autofree char *big = g_malloc0(8 << 20);
    uint64_t one = 1;

    vm_write_full(s->started, &one, sizeof(one));
    s->result = vm_channel_write_full(s->ch, big, 8 << 20);
}

static void check_wakes(VmChannel *ch, void (*run)(void *))
{
    Sleeper sleeper = { .ch = ch, .started = eventfd(0, EFD_CLOEXEC) };
    VmThread *thread = vm_thread_new("sleeper", run, &sleeper);
    uint64_t count;
    char byte;

    g_assert_cmpint(vm_read_full(sleeper.started, &count, sizeof(count)), ==,
                    0);
    g_usleep(5000); /* mostly asleep by now; correct either way */
    g_assert_false(vm_channel_is_shut(ch));
    vm_channel_shutdown(ch);
    vm_channel_shutdown(ch);
    vm_thread_join(thread);
    g_assert_cmpint(sleeper.result, ==, -ECANCELED);
    g_assert_true(vm_channel_is_shut(ch));
    g_assert_cmpint(vm_channel_read_full(ch, &byte, 1), ==, -ECANCELED);
    g_assert_cmpint(vm_channel_write_full(ch, "x", 1), ==, -ECANCELED);
    vm_close_fd(&sleeper.started);
}

static void test_shutdown_unix(void)
{
    void (*const runs[])(void *) = { sleep_in_read, sleep_in_write };

    for (size_t i = 0; i < G_N_ELEMENTS(runs); i++) {
        g_autoptr(VmChannel) a = NULL, b = NULL;

        make_pair(&a, &b);
        check_wakes(a, runs[i]);
    }
}

static void test_shutdown_pipe(void)
{
    g_autoptr(VmChannel) a = NULL, b = NULL;

    make_pipe(&a, &b);
    check_wakes(a, sleep_in_read);
    check_wakes(b, sleep_in_write);
}

static void test_shutdown_tcp(void)
{
    void (*const runs[])(void *) = { sleep_in_read, sleep_in_write };
    g_autoptr(VmListener) listener = vm_listener_new("tcp:127.0.0.1:0", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(runs); i++) {
        g_autoptr(VmChannel) a =
            vm_channel_connect(vm_listener_address(listener), -1, NULL);
        g_autoptr(VmChannel) b = vm_listener_accept(listener, NULL);

        g_assert_nonnull(a);
        check_wakes(b, runs[i]);
    }
}

static void shut_listener(void *opaque)
{
    g_usleep(5000);
    vm_listener_shutdown(opaque);
}

static void test_accept_wakes(void)
{
    g_autoptr(VmListener) listener = vm_listener_new("tcp:127.0.0.1:0", NULL);
    VmThread *thread = vm_thread_new("canceller", shut_listener, listener);
    g_autoptr(GError) err = NULL;

    g_assert_null(vm_listener_accept(listener, &err));
    g_assert_error(err, VM_ERROR, ECANCELED);
    g_clear_error(&err);
    vm_thread_join(thread);
    g_assert_null(vm_listener_accept(listener, &err));
    g_assert_error(err, VM_ERROR, ECANCELED);
}

/*
 * A listener whose backlog is full does not answer, so that the connect
 * hangs until cancel_fd ends it.
 */
static void test_connect_cancelled(void)
{
    vm_autofd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    vm_autofd cancel = eventfd(1, EFD_CLOEXEC);
    struct sockaddr_in sin = { .sin_family = AF_INET };
    socklen_t len = sizeof(sin);
    g_autofree char *address = NULL;
    VmChannel *channels[8] = { NULL };
    g_autoptr(GError) err = NULL;

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sin, len), ==, 0);
    g_assert_cmpint(listen(fd, 0), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&sin, &len), ==, 0);
    address = g_strdup_printf("tcp:127.0.0.1:%u", ntohs(sin.sin_port));
    for (size_t i = 0; i < G_N_ELEMENTS(channels) && !err; i++) {
        channels[i] = vm_channel_connect(address, cancel, &err);
    }
    g_assert_error(err, VM_ERROR, ECANCELED);
    for (size_t i = 0; i < G_N_ELEMENTS(channels); i++) {
        vm_channel_free(channels[i]);
    }
}

/* A write of which the peer takes nothing ends; others do not. */
static void test_write_limit(void)
{
    g_autofree uint8_t *buf = g_malloc0(4u << 20);
    VmChannel *a, *b;

    make_pair(&a, &b);
    vm_channel_set_write_limit(a, 20 * VM_NS_PER_MS);
    g_assert_cmpint(vm_channel_write_full(a, buf, 100), ==, 0);
    g_assert_cmpint(vm_channel_write_full(a, buf, 4u << 20), ==, -ETIMEDOUT);
    /* Reads have no such limit. */
    g_assert_cmpint(vm_channel_write_full(b, buf, 1), ==, 0);
    g_assert_cmpint(vm_channel_read_full(a, buf, 1), ==, 0);
    vm_channel_free(a);
    vm_channel_free(b);
}

int main(int argc, char **argv)
{
    int r;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vm-channel-XXXXXX", NULL);
    g_assert_nonnull(dir);
    g_test_add_func("/util/channel/addresses", test_addresses);
    g_test_add_func("/util/channel/tcp-v4", test_tcp_v4);
    g_test_add_func("/util/channel/tcp-v6", test_tcp_v6);
    g_test_add_func("/util/channel/tcp-any", test_tcp_any);
    g_test_add_func("/util/channel/tcp-refused", test_tcp_refused);
    g_test_add_func("/util/channel/bad-host", test_bad_host);
    g_test_add_func("/util/channel/unix", test_unix);
    g_test_add_func("/util/channel/unix-in-use", test_unix_in_use);
    g_test_add_func("/util/channel/unix-stale", test_unix_stale);
    g_test_add_func("/util/channel/unix-not-a-socket", test_unix_not_a_socket);
    g_test_add_func("/util/channel/unix-replaced", test_unix_replaced);
    g_test_add_func("/util/channel/records", test_records);
    g_test_add_func("/util/channel/peer-closed", test_peer_closed);
    g_test_add_func("/util/channel/pipe", test_pipe);
    g_test_add_func("/util/channel/host", test_host);
    g_test_add_func("/util/channel/deadline-and-end", test_deadline_and_end);
    g_test_add_func("/util/channel/write-limit", test_write_limit);
    g_test_add_func("/util/channel/shutdown-pipe", test_shutdown_pipe);
    g_test_add_func("/util/channel/shutdown-unix", test_shutdown_unix);
    g_test_add_func("/util/channel/shutdown-tcp", test_shutdown_tcp);
    g_test_add_func("/util/channel/accept-wakes", test_accept_wakes);
    g_test_add_func("/util/channel/connect-cancelled", test_connect_cancelled);
    r = g_test_run();
    g_assert_cmpint(g_rmdir(dir), ==, 0); /* every socket file was removed */
    g_free(dir);
    return r;
}
