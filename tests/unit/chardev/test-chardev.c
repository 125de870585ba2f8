/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * chardev/: bytes, events and descriptors through each back end, and what is
 * refused. The main loop is turned by hand; peers are plain descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "chardev/chardev.h"
#include "util/fd.h"

#define LIMIT_US (5 * G_USEC_PER_SEC)

/* ---- A front end that records ------------------------------------------- */

typedef struct FrontEnd {
    Chardev *chr;
    GString *input;
    size_t room; /* what can_receive() says */
    unsigned opened, closed;
    bool takes_fds;
    int fd;
} FrontEnd;

static size_t fe_can_receive(void *opaque)
{
    return ((FrontEnd *)opaque)->room;
}

static void fe_receive(void *opaque, const uint8_t *buf, size_t len)
{
    FrontEnd *fe = opaque;

    g_assert_cmpuint(len, <=, fe->room);
    g_string_append_len(fe->input, (const char *)buf, len);
    if (fe->takes_fds && fe->fd < 0) {
        fe->fd = chardev_take_fd(fe->chr);
    }
}

static void fe_event(void *opaque, ChardevEvent event)
{
    FrontEnd *fe = opaque;

    if (event == CHARDEV_OPENED) {
        fe->opened++;
    } else {
        fe->closed++;
    }
}

static const ChardevHandler fe_handler = { fe_can_receive, fe_receive,
                                           fe_event };

static void fe_init(FrontEnd *fe, Chardev *chr)
{
    *fe = (FrontEnd){ .chr = chr, .room = 4096, .fd = -1 };
    fe->input = g_string_new(NULL);
    g_assert_true(chardev_attach(chr, &fe_handler, fe, NULL));
}

static void fe_done(FrontEnd *fe)
{
    chardev_detach(fe->chr);
    chardev_free(fe->chr);
    vm_close_fd(&fe->fd);
    g_string_free(fe->input, TRUE);
}

/* ---- Turning the loop --------------------------------------------------- */

static gboolean tick(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

#define run_until(condition)                                               \
    do {                                                                   \
        gint64 limit_ = g_get_monotonic_time() + LIMIT_US;                 \
        guint tick_ = g_timeout_add(10, tick, NULL);                       \
        while (!(condition)) {                                             \
            g_assert_cmpint(g_get_monotonic_time(), <, limit_);            \
            g_main_context_iteration(NULL, TRUE);                          \
        }                                                                  \
        g_source_remove(tick_);                                            \
    } while (0)

static void run_pending(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

static char *read_some(int fd, size_t want)
{
    GString *s = g_string_new(NULL);
    char buf[4096];

    while (s->len < want) {
        struct pollfd p = { fd, POLLIN, 0 };
        ssize_t n;

        run_pending();
        g_assert_cmpint(poll(&p, 1, 5000), ==, 1);
        n = read(fd, buf, MIN(sizeof(buf), want - s->len));
        g_assert_cmpint(n, >, 0);
        g_string_append_len(s, buf, n);
    }
    return g_string_free(s, FALSE);
}

/* ---- Peers -------------------------------------------------------------- */

static char *temp_dir;

static char *temp_path(const char *name)
{
    return g_build_filename(temp_dir, name, NULL);
}

static int connect_unix(const char *path)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), ==, 0);
    return fd;
}

static Chardev *new_short(const char *text)
{
    Chardev *chr = NULL;
    GError *err = NULL;

    chardev_new_from_short(text, "t", &chr, &err);
    g_assert_no_error(err);
    return chr;
}

/* A connected client chardev and its peer. */
static Chardev *new_pair(int *ret_peer)
{
    g_autofree char *text = NULL;
    GError *err = NULL;
    Chardev *chr;
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    text = g_strdup_printf("socket,id=c,fd=%d", sv[0]);
    chr = chardev_new_from_option(text, &err);
    g_assert_no_error(err);
    *ret_peer = sv[1];
    return chr;
}

/* ---- Tests -------------------------------------------------------------- */

static void test_pair_echo(void)
{
    vm_autofd peer = -1;
    g_autofree char *got = NULL;
    FrontEnd fe;

    fe_init(&fe, new_pair(&peer));
    g_assert_cmpuint(fe.opened, ==, 1);
    chardev_write(fe.chr, "hello", 5);
    got = read_some(peer, 5);
    g_assert_cmpstr(got, ==, "hello");
    g_assert_cmpint(write(peer, "world", 5), ==, 5);
    run_until(fe.input->len == 5);
    g_assert_cmpstr(fe.input->str, ==, "world");
    fe_done(&fe);
}

/* A reader that does not read gets everything in order when it does. */
static void test_slow_reader(void)
{
    const size_t bytes = 1 << 20;
    g_autofree char *data = g_malloc(bytes);
    g_autofree char *got = NULL;
    vm_autofd peer = -1;
    FrontEnd fe;

    for (size_t i = 0; i < bytes; i++) {
        data[i] = i * 31 >> 3;
    }
    fe_init(&fe, new_pair(&peer));
    for (size_t i = 0; i < bytes; i += 4096) {
        chardev_write(fe.chr, data + i, 4096);
    }
    got = read_some(peer, bytes);
    g_assert_cmpmem(got, bytes, data, bytes);
    fe_done(&fe);
}

/* The queue has a bound: writing for ever costs bounded memory, and what was
 * queued first arrives unharmed. */
static void test_reader_that_never_reads(void)
{
    g_autofree char *block = g_malloc0(1 << 20);
    vm_autofd peer = -1;
    size_t got = 0;
    FrontEnd fe;
    ssize_t n;

    fe_init(&fe, new_pair(&peer));
    for (unsigned i = 0; i < 64; i++) {
        chardev_write(fe.chr, block, 1 << 20);
    }
    (void)fcntl(peer, F_SETFL, O_NONBLOCK);
    do {
        run_pending();
        n = read(peer, block, 1 << 20);
        got += n > 0 ? n : 0;
    } while (n > 0);
    g_assert_cmpuint(got, >=, 4 << 20);
    g_assert_cmpuint(got, <, 8 << 20);
    fe_done(&fe);
}

static void test_room_pauses_input(void)
{
    vm_autofd peer = -1;
    FrontEnd fe;

    fe_init(&fe, new_pair(&peer));
    fe.room = 3;
    g_assert_cmpint(write(peer, "abcdef", 6), ==, 6);
    run_until(fe.input->len >= 3);
    fe.room = 0;
    for (unsigned i = 0; i < 5; i++) {
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmpuint(fe.input->len, <=, 6);
    g_string_truncate(fe.input, 0);
    g_assert_cmpint(write(peer, "ghi", 3), ==, 3);
    for (unsigned i = 0; i < 5; i++) {
        g_main_context_iteration(NULL, FALSE);
    }
    g_assert_cmpuint(fe.input->len, ==, 0);
    fe.room = 4096;
    chardev_accept_input(fe.chr);
    run_until(g_str_has_suffix(fe.input->str, "ghi"));
    fe_done(&fe);
}

static void test_one_front_end(void)
{
    vm_autofd peer = -1;
    GError *err = NULL;
    FrontEnd fe;

    fe_init(&fe, new_pair(&peer));
    g_assert_false(chardev_attach(fe.chr, &fe_handler, &fe, &err));
    g_assert_nonnull(strstr(err->message, "in use"));
    g_clear_error(&err);
    fe_done(&fe);
}

static void test_client_closes(void)
{
    FrontEnd fe;
    int peer;

    fe_init(&fe, new_pair(&peer));
    close(peer);
    run_until(fe.closed == 1);
    chardev_write(fe.chr, "lost", 4); /* no signal, no crash */
    g_assert_true(g_str_has_prefix(chardev_label(fe.chr), "disconnected:"));
    fe_done(&fe);
}

/* The peer closes its sending side with our answer still queued: it gets
 * all of it. */
static void test_half_close(void)
{
    const size_t bytes = 1 << 20;
    g_autofree char *data = g_malloc0(bytes);
    g_autofree char *got = NULL;
    vm_autofd peer = -1;
    char byte;
    FrontEnd fe;

    fe_init(&fe, new_pair(&peer));
    chardev_write(fe.chr, data, bytes);
    g_assert_cmpint(shutdown(peer, SHUT_WR), ==, 0);
    run_until(fe.closed == 1);
    got = read_some(peer, bytes);
    run_pending();
    g_assert_cmpint(read(peer, &byte, 1), ==, 0);
    fe_done(&fe);
}

static void test_server_takes_the_next(void)
{
    g_autofree char *path = temp_path("server.sock");
    g_autofree char *text = g_strdup_printf("unix:%s,server=on,wait=off",
                                            path);
    g_autofree char *got = NULL;
    FrontEnd fe;
    int first, second;

    fe_init(&fe, new_short(text));
    g_assert_cmpuint(fe.opened, ==, 0);
    chardev_write(fe.chr, "nobody", 6);
    first = connect_unix(path);
    run_until(fe.opened == 1);
    second = connect_unix(path); /* waits in the backlog */
    run_pending();
    g_assert_cmpuint(fe.opened, ==, 1);
    close(first);
    run_until(fe.closed == 1 && fe.opened == 2);
    chardev_write(fe.chr, "second", 6);
    got = read_some(second, 6);
    g_assert_cmpstr(got, ==, "second");
    close(second);
    fe_done(&fe);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* A client that leaves while the front end has no room must not lock out the
 * next one. */
static void test_server_hang_up_while_paused(void)
{
    g_autofree char *path = temp_path("paused.sock");
    g_autofree char *text = g_strdup_printf("unix:%s,server=on,wait=off",
                                            path);
    FrontEnd fe;
    int peer;

    fe_init(&fe, new_short(text));
    fe.room = 0;
    peer = connect_unix(path);
    run_until(fe.opened == 1);
    g_assert_cmpint(write(peer, "x", 1), ==, 1);
    run_pending();
    close(peer);
    run_until(fe.closed == 1);
    peer = connect_unix(path);
    run_until(fe.opened == 2);
    close(peer);
    fe_done(&fe);
}

static void test_inherited_listener(void)
{
    g_autofree char *path = temp_path("inherited.sock");
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    g_autofree char *text = NULL;
    GError *err = NULL;
    FrontEnd fe;
    int fd, peer;

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);

    text = g_strdup_printf("socket,id=c,fd=%d", fd);
    g_assert_null(chardev_new_from_option(text, &err));
    g_assert_nonnull(strstr(err->message, "listening"));
    g_clear_error(&err);

    g_free(text);
    text = g_strdup_printf("socket,id=c,fd=%d,server=on,wait=off", fd);
    fe_init(&fe, chardev_new_from_option(text, &err));
    g_assert_no_error(err);
    peer = connect_unix(path);
    run_until(fe.opened == 1);
    close(peer);
    fe_done(&fe);
    unlink(path);
}

static void send_fd(int sock, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec iov = { (void *)(uintptr_t) "f", 1 };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    g_assert_cmpint(sendmsg(sock, &msg, 0), ==, 1);
}

static void test_descriptors(void)
{
    vm_autofd peer = -1;
    struct stat want, got;
    FrontEnd fe;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    fe_init(&fe, new_pair(&peer));
    fe.takes_fds = true;
    send_fd(peer, null);
    run_until(fe.input->len == 1);
    g_assert_cmpint(fe.fd, >=, 0);
    g_assert_cmpint(fstat(fe.fd, &got), ==, 0);
    g_assert_cmpint(fstat(null, &want), ==, 0);
    g_assert_cmpuint(got.st_rdev, ==, want.st_rdev);
    g_assert_cmpint(chardev_take_fd(fe.chr), ==, -1);
    g_assert_true(fcntl(fe.fd, F_GETFD) & FD_CLOEXEC);
    close(null);
    fe_done(&fe);
}

static void test_tcp(void)
{
    g_autofree char *text = NULL;
    GError *err = NULL;
    FrontEnd server, client;
    unsigned port;

    /* A free port, by luck; try a few. */
    server.chr = NULL;
    for (port = 20000 + getpid() % 20000; !server.chr; port++) {
        g_free(text);
        text = g_strdup_printf("tcp:127.0.0.1:%u,server=on,wait=off", port);
        if (!chardev_new_from_short(text, "s", &server.chr, &err)) {
            g_clear_error(&err);
            g_assert_cmpuint(port, <, 60000);
        }
    }
    fe_init(&server, server.chr);
    g_free(text);
    text = g_strdup_printf("tcp:127.0.0.1:%u", port - 1);
    fe_init(&client, new_short(text));
    run_until(server.opened == 1);
    chardev_write(client.chr, "over tcp", 8);
    run_until(server.input->len == 8);
    g_assert_cmpstr(server.input->str, ==, "over tcp");
    fe_done(&client);
    run_until(server.closed == 1);
    fe_done(&server);
}

static void test_file(void)
{
    g_autofree char *path = temp_path("out,put");
    g_autofree char *option = NULL, *text = g_strdup_printf("file:%s", path);
    g_autofree char *got = NULL, *quoted = NULL;
    GError *err = NULL;
    Chardev *chr = new_short(text);
    char **parts;

    chardev_write(chr, "one", 3);
    chardev_free(chr);
    parts = g_strsplit(path, ",", -1);
    quoted = g_strjoinv(",,", parts);
    g_strfreev(parts);
    option = g_strdup_printf("file,id=f,path=%s,append=on", quoted);
    chr = chardev_new_from_option(option, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(chardev_id(chr), ==, "f");
    chardev_write(chr, "two", 3);
    chardev_free(chr);
    g_assert_true(g_file_get_contents(path, &got, NULL, NULL));
    g_assert_cmpstr(got, ==, "onetwo");
    chr = new_short(text); /* truncates */
    chardev_free(chr);
    g_free(g_steal_pointer(&got));
    g_assert_true(g_file_get_contents(path, &got, NULL, NULL));
    g_assert_cmpstr(got, ==, "");
    unlink(path);
}

static void test_pty(void)
{
    g_autofree char *got = NULL;
    FrontEnd fe;
    int slave;

    fe_init(&fe, new_short("pty"));
    g_assert_true(g_str_has_prefix(chardev_label(fe.chr), "pty:/dev/pts/"));
    slave = open(chardev_label(fe.chr) + 4, O_RDWR | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(slave, >=, 0);
    run_until(fe.opened == 1);
    chardev_write(fe.chr, "a\nb", 3); /* raw: no carriage return added */
    got = read_some(slave, 3);
    g_assert_cmpstr(got, ==, "a\nb");
    g_assert_cmpint(write(slave, "key", 3), ==, 3);
    run_until(fe.input->len == 3);
    close(slave);
    run_until(fe.closed == 1);
    fe_done(&fe);
}

static void test_null_and_none(void)
{
    Chardev *chr = NULL;
    FrontEnd fe;

    g_assert_true(chardev_new_from_short("none", "n", &chr, NULL));
    g_assert_null(chr);
    fe_init(&fe, new_short("null"));
    chardev_write(fe.chr, "x", 1);
    g_assert_cmpuint(fe.opened, ==, 1);
    fe_done(&fe);
}

/* ---- Multiplexer -------------------------------------------------------- */

static unsigned quits;

static void count_quit(void *opaque)
{
    quits++;
}

static void test_mux(void)
{
    g_autofree char *path = temp_path("mux.sock");
    g_autofree char *text = g_strdup_printf("mon:unix:%s,server=on,wait=off",
                                            path);
    FrontEnd serial, monitor;
    int peer;

    fe_init(&serial, new_short(text));
    fe_init(&monitor, chardev_monitor_port(serial.chr));
    peer = connect_unix(path);
    run_until(serial.opened == 1 && monitor.opened == 1);
    g_assert_cmpint(write(peer, "s\001\001\001cm\001cs", 9), ==, 9);
    run_until(serial.input->len == 3 && monitor.input->len == 1);
    g_assert_cmpstr(serial.input->str, ==, "s\001s");
    g_assert_cmpstr(monitor.input->str, ==, "m");

    /* Held while the front end has no room, then delivered in order. */
    serial.room = 0;
    g_assert_cmpint(write(peer, "1234", 4), ==, 4);
    run_pending();
    g_assert_cmpint(write(peer, "56", 2), ==, 2);
    run_pending();
    g_assert_cmpuint(serial.input->len, ==, 3);
    serial.room = 2;
    chardev_accept_input(serial.chr);
    run_until(serial.input->len == 9);
    g_assert_cmpstr(serial.input->str, ==, "s\001s123456");

    chardev_set_quit_handler(count_quit, NULL);
    g_assert_cmpint(write(peer, "\001x", 2), ==, 2);
    run_until(quits == 1);
    chardev_set_quit_handler(NULL, NULL);

    close(peer);
    run_until(serial.closed == 1);
    chardev_detach(monitor.chr);
    g_string_free(monitor.input, TRUE);
    fe_done(&serial);
}

/* ---- Refusals ----------------------------------------------------------- */

static void refuse_option(const char *text, const char *why)
{
    GError *err = NULL;

    g_assert_null(chardev_new_from_option(text, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, why)) {
        g_test_message("'%s' gave '%s'", text, err->message);
        g_test_fail();
    }
    g_clear_error(&err);
}

static void refuse_short(const char *text, const char *why)
{
    Chardev *chr = NULL;
    GError *err = NULL;

    g_assert_false(chardev_new_from_short(text, "x", &chr, &err));
    g_assert_null(chr);
    if (!strstr(err->message, why)) {
        g_test_message("'%s' gave '%s'", text, err->message);
        g_test_fail();
    }
    g_clear_error(&err);
}

/* A passed descriptor is used as it is: its file is not opened anew, which
 * would cut it short. */
static void test_passed_file(void)
{
    g_autofree char *path = temp_path("passed"), *got = NULL, *text = NULL;
    vm_autofd fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    vm_autofd reader = open(path, O_RDONLY | O_CLOEXEC);
    Chardev *chr;

    g_assert_cmpint(write(fd, "one", 3), ==, 3);
    text = g_strdup_printf("file:/proc/self/fd/%d", fd);
    chr = new_short(text);
    chardev_write(chr, "two", 3);
    chardev_free(chr);
    g_assert_true(g_file_get_contents(path, &got, NULL, NULL));
    g_assert_cmpstr(got, ==, "onetwo");
    g_free(text);
    text = g_strdup_printf("file:/proc/self/fd/%d", reader);
    refuse_short(text, "descriptor");
    unlink(path);
}

static void test_refusals(void)
{
    g_autofree char *long_path = g_strnfill(200, 'p');
    g_autofree char *long_unix = g_strdup_printf("unix:%s,server=on",
                                                 long_path);

    refuse_option("null", "id");
    refuse_option("nonsense,id=a", "nonsense");
    refuse_option("pipe,id=a,path=/x", "pipe");
    refuse_option("null,id=a,colour=red", "colour");
    refuse_option("null,id=a,mux=on", "mux");
    refuse_option("null,id=a,logfile=/x", "logfile");
    refuse_option("file,id=a", "filename");
    refuse_option("file,id=a,path=/nonexistent/x", "/nonexistent/x");
    refuse_option("socket,id=a", "path=");
    refuse_option("socket,id=a,path=/x,host=h,port=1", "exactly one");
    refuse_option("socket,id=a,path=/x,reconnect=3", "reconnect");
    refuse_option("socket,id=a,path=/x,telnet=on", "telnet");
    refuse_option("socket,id=a,path=/x,wait=off", "wait");
    refuse_option("socket,id=a,path=/nonexistent/s", "/nonexistent/s");
    refuse_option("socket,id=a,fd=9999", "9999");
    refuse_option("socket,id=a,fd=-1", "-1");
    refuse_option("socket,id=a,fd=abc", "abc");
    refuse_option("socket,id=a,fd=0x5", "0x5");
    refuse_short("file:", "filename");
    refuse_short("chardev:zz", "zz");
    refuse_short("/dev/ttyS0", "/dev/ttyS0");
    refuse_short("vc", "vc");
    refuse_short("telnet:1:2", "telnet");
    refuse_short("tcp:nowhere", "HOST:PORT");
    refuse_short("mon:none", "nothing");
    refuse_short("mon:mon:null", "nothing");
    refuse_short("bogus", "bogus");
    refuse_short(long_unix, "too long");
}

int main(int argc, char **argv)
{
    int result;

    g_test_init(&argc, &argv, NULL);
    temp_dir = g_dir_make_tmp("vmd-chardev-XXXXXX", NULL);
    g_assert_nonnull(temp_dir);
    g_test_add_func("/chardev/pair-echo", test_pair_echo);
    g_test_add_func("/chardev/slow-reader", test_slow_reader);
    g_test_add_func("/chardev/bounded-queue", test_reader_that_never_reads);
    g_test_add_func("/chardev/room-pauses-input", test_room_pauses_input);
    g_test_add_func("/chardev/one-front-end", test_one_front_end);
    g_test_add_func("/chardev/client-closes", test_client_closes);
    g_test_add_func("/chardev/half-close", test_half_close);
    g_test_add_func("/chardev/server-next", test_server_takes_the_next);
    g_test_add_func("/chardev/server-paused",
                    test_server_hang_up_while_paused);
    g_test_add_func("/chardev/inherited", test_inherited_listener);
    g_test_add_func("/chardev/descriptors", test_descriptors);
    g_test_add_func("/chardev/tcp", test_tcp);
    g_test_add_func("/chardev/file", test_file);
    g_test_add_func("/chardev/passed-file", test_passed_file);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/null", test_null_and_none);
    g_test_add_func("/chardev/mux", test_mux);
    g_test_add_func("/chardev/refusals", test_refusals);
    result = g_test_run();
    (void)rmdir(temp_dir);
    g_free(temp_dir);
    return result;
}
