/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket back end: a stream over a unix or TCP socket, as the listening
 * or the connecting side, made here or inherited (fd=).
 *
 *   LISTENING --accept--> CONNECTED --end of input--> DRAINING --> LISTENING
 *                             |                          |   (server)
 *                             +--------------------------+--> CLOSED (client)
 *
 * A server serves one client at a time: the listener is not watched while one
 * is there, so the next waits in the backlog. When the client has finished
 * sending, what is queued for it is still written (it may have closed one
 * direction only), within SOCKET_DRAIN_MS.
 *
 * Threads: main thread; the channel's send and read see the connection's
 * descriptor, which changes only on the main thread while the channel is
 * closed.
 */
#include "chardev-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

#define SOCKET_DRAIN_MS 5000
#define SOCKET_BACKLOG 1
/* Descriptors that may wait for chardev_take_fd(); more are closed. */
#define SOCKET_FDS_MAX 16

typedef struct SocketChardev {
    Chardev chr;
    char *name;        /* "unix:/path", "tcp:host:port", "fd:5" */
    char *unlink_path; /* of a listener that we made, or NULL */
    int listener;      /* -1: client */
    GSource *accept_source;
    int conn; /* -1: none */
    guint drain_timer;
    bool nodelay;
    int fds[SOCKET_FDS_MAX];
    unsigned fd_count;
} SocketChardev;

typedef struct SocketOptions {
    const char *path, *host, *port, *fd;
    bool server, wait, nodelay, ipv4, ipv6;
} SocketOptions;

/* ---- Bytes and descriptors ---------------------------------------------- */

static ssize_t socket_send(Chardev *chr, const uint8_t *buf, size_t len)
{
    return send(chr->out_fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void close_fds(SocketChardev *s)
{
    while (s->fd_count > 0) {
        vm_close_fd(&s->fds[--s->fd_count]);
    }
}

/* The newest message's descriptors replace what nobody took. */
static void keep_fds(SocketChardev *s, const struct cmsghdr *c)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

    close_fds(s);
    for (size_t i = 0; i < n; i++) {
        int fd;

        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
        if (s->fd_count < SOCKET_FDS_MAX) {
            s->fds[s->fd_count++] = fd;
        } else {
            vm_close_fd(&fd);
        }
    }
}

static ssize_t socket_read(Chardev *chr, uint8_t *buf, size_t len)
{
    SocketChardev *s = (SocketChardev *)chr;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(SOCKET_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = { buf, len };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n = recvmsg(s->conn, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (n < 0) {
        return n;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c;
         c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            keep_fds(s, c);
        }
    }
    return n;
}

/* ---- Connection --------------------------------------------------------- */

static gboolean socket_acceptable(int fd, GIOCondition cond, gpointer data);

static void socket_watch_listener(SocketChardev *s)
{
    if (s->listener < 0 || s->accept_source) {
        return;
    }
    s->accept_source = g_unix_fd_source_new(s->listener, G_IO_IN);
    g_source_set_callback(s->accept_source,
                          G_SOURCE_FUNC(socket_acceptable), s, NULL);
    g_source_attach(s->accept_source, NULL);
}

static void socket_unwatch_listener(SocketChardev *s)
{
    if (s->accept_source) {
        g_source_destroy(s->accept_source);
        g_clear_pointer(&s->accept_source, g_source_unref);
    }
}

static void socket_set_connection_label(SocketChardev *s, bool connected)
{
    chardev_set_label(&s->chr,
                      g_strdup_printf("%s%s%s",
                                      connected ? "" : "disconnected:",
                                      s->name,
                                      s->listener >= 0 ? ",server=on" : ""));
}

static void socket_connected(SocketChardev *s, int take_fd)
{
    int on = 1;

    s->conn = take_fd;
    (void)fcntl(s->conn, F_SETFL, O_NONBLOCK);
    if (s->nodelay) {
        (void)setsockopt(s->conn, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    socket_unwatch_listener(s);
    socket_set_connection_label(s, true);
    chardev_channel_open(&s->chr, s->conn, s->conn);
    chardev_set_opened(&s->chr, true);
}

static gboolean socket_acceptable(int fd, GIOCondition cond, gpointer data)
{
    SocketChardev *s = data;
    int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (conn < 0) {
        return G_SOURCE_CONTINUE; /* gone again; or no descriptors: later */
    }
    socket_connected(s, conn); /* takes this source away */
    return G_SOURCE_CONTINUE;
}

static void socket_hang_up(SocketChardev *s)
{
    if (s->drain_timer) {
        g_source_remove(s->drain_timer);
        s->drain_timer = 0;
    }
    chardev_channel_close(&s->chr);
    vm_close_fd(&s->conn);
    s->conn = -1;
    close_fds(s);
    socket_set_connection_label(s, false);
    socket_watch_listener(s);
}

static gboolean socket_drain_timeout(gpointer data)
{
    SocketChardev *s = data;

    s->drain_timer = 0;
    socket_hang_up(s);
    return G_SOURCE_REMOVE;
}

static void socket_drained(Chardev *chr)
{
    socket_hang_up((SocketChardev *)chr);
}

static void socket_input_ended(Chardev *chr)
{
    SocketChardev *s = (SocketChardev *)chr;

    chardev_set_opened(chr, false);
    if (chardev_channel_drain(chr)) {
        socket_hang_up(s);
        return;
    }
    s->drain_timer = g_timeout_add(SOCKET_DRAIN_MS, socket_drain_timeout, s);
}

static void socket_done(Chardev *chr)
{
    SocketChardev *s = (SocketChardev *)chr;

    socket_unwatch_listener(s);
    if (s->drain_timer) {
        g_source_remove(s->drain_timer);
    }
    vm_close_fd(&s->conn);
    vm_close_fd(&s->listener);
    close_fds(s);
    if (s->unlink_path) {
        (void)unlink(s->unlink_path);
    }
    g_free(s->unlink_path);
    g_free(s->name);
}

static const ChardevOps socket_ops = {
    .read = socket_read,
    .send = socket_send,
    .input_ended = socket_input_ended,
    .drained = socket_drained,
    .done = socket_done,
};

int chardev_take_fd(Chardev *chr)
{
    SocketChardev *s = (SocketChardev *)chr;
    int fd;

    if (chr->ops != &socket_ops || s->fd_count == 0) {
        return -1;
    }
    fd = s->fds[0];
    s->fd_count--;
    memmove(s->fds, s->fds + 1, s->fd_count * sizeof(s->fds[0]));
    return fd;
}

/* ---- Addresses ---------------------------------------------------------- */

static bool unix_address(const char *path, struct sockaddr_un *ret,
                         GError **errp)
{
    if (strlen(path) >= sizeof(ret->sun_path)) {
        return vm_error_set(errp, 0, "UNIX socket path '%s' is too long (at "
                            "most %zu bytes)", path,
                            sizeof(ret->sun_path) - 1);
    }
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    memcpy(ret->sun_path, path, strlen(path));
    return true;
}

static int open_unix(const SocketOptions *o, GError **errp)
{
    vm_autofd fd = -1;
    struct sockaddr_un sun;
    int r;

    if (!unix_address(o->path, &sun, errp)) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        vm_error_set(errp, errno, "cannot make a UNIX socket");
        return -1;
    }
    if (o->server) {
        (void)unlink(o->path); /* of a run that was killed */
        r = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
        r = r < 0 ? r : listen(fd, SOCKET_BACKLOG);
    } else {
        r = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
    }
    if (r < 0) {
        vm_error_set(errp, errno, "Failed to %s socket '%s'",
                     o->server ? "bind" : "connect to", o->path);
        return -1;
    }
    return vm_steal_fd(&fd);
}

/* One address of a host: a listening or connected socket, or -errno. */
static int open_tcp_address(const struct addrinfo *a, bool server)
{
    vm_autofd fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC,
                          a->ai_protocol);
    int on = 1;

    if (fd < 0) {
        return -errno;
    }
    if (!server) {
        return connect(fd, a->ai_addr, a->ai_addrlen) < 0 ? -errno
                                                          : vm_steal_fd(&fd);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 ||
        listen(fd, SOCKET_BACKLOG) < 0) {
        return -errno;
    }
    return vm_steal_fd(&fd);
}

static int open_tcp(const SocketOptions *o, GError **errp)
{
    struct addrinfo hints = {
        .ai_family = o->ipv4 == o->ipv6 ? AF_UNSPEC
                                        : (o->ipv4 ? AF_INET : AF_INET6),
        .ai_socktype = SOCK_STREAM,
        .ai_flags = o->server ? AI_PASSIVE : 0,
    };
    struct addrinfo *list = NULL;
    int fd = -EADDRNOTAVAIL;
    int r = getaddrinfo(o->host[0] ? o->host : NULL, o->port, &hints, &list);

    if (r) {
        vm_error_set(errp, 0, "address resolution failed for %s:%s: %s",
                     o->host, o->port, gai_strerror(r));
        return -1;
    }
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = open_tcp_address(a, o->server);
    }
    freeaddrinfo(list);
    if (fd < 0) {
        vm_error_set(errp, -fd, "Failed to %s socket '%s:%s'",
                     o->server ? "bind" : "connect", o->host, o->port);
        return -1;
    }
    return fd;
}

/* An inherited socket must be what server= says, or we would wait for ever. */
static int open_inherited(const SocketOptions *o, GError **errp)
{
    int fd, listening = 0;
    socklen_t len = sizeof(listening);
    guint64 number;

    if (!g_ascii_string_to_unsigned(o->fd, 10, 3, G_MAXINT, &number, NULL)) {
        vm_error_set(errp, 0, "fd=%s is not the number of an inherited "
                     "descriptor", o->fd);
        return -1;
    }
    fd = (int)number;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0) {
        vm_error_set(errp, errno, "fd=%d is not a socket", fd);
        return -1;
    }
    if (o->server != (listening != 0)) {
        vm_error_set(errp, 0, "fd=%d is %sa listening socket, but server=%s",
                     fd, listening ? "" : "not ", o->server ? "on" : "off");
        return -1;
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static int open_socket(const SocketOptions *o, GError **errp)
{
    if (o->fd) {
        return open_inherited(o, errp);
    }
    return o->path ? open_unix(o, errp) : open_tcp(o, errp);
}

static char *socket_name(const SocketOptions *o)
{
    if (o->fd) {
        return g_strdup_printf("fd:%s", o->fd);
    }
    if (o->path) {
        return g_strdup_printf("unix:%s", o->path);
    }
    return g_strdup_printf("tcp:%s:%s", o->host, o->port);
}

/* ---- Options ------------------------------------------------------------ */

static bool refuse_if_on(VmKeyval *kv, const char *key, GError **errp)
{
    bool on;

    return vm_keyval_get_bool(kv, key, false, &on, errp) &&
           (!on || vm_error_set(errp, 0, "chardev socket: '%s' is not "
                                "supported", key));
}

/* QEMU's older spelling: "server,nowait". */
static bool take_wait(VmKeyval *kv, bool *ret, GError **errp)
{
    bool nowait;

    if (!vm_keyval_get_bool(kv, "nowait", false, &nowait, errp)) {
        return false;
    }
    return vm_keyval_get_bool(kv, "wait", !nowait, ret, errp);
}

static bool check_options(SocketOptions *o, bool has_wait, GError **errp)
{
    if (!!o->path + !!o->host + !!o->fd > 1 ||
        (!o->path && !o->fd && !o->port)) {
        return vm_error_set(errp, 0, "chardev socket: exactly one of path=, "
                            "fd= and host=,port= is needed");
    }
    if ((o->path || o->fd) && o->port) {
        return vm_error_set(errp, 0, "chardev socket: port= goes with host= "
                            "only");
    }
    if (has_wait && !o->server) {
        return vm_error_set(errp, 0, "'wait' option is incompatible with "
                            "socket in client connect mode");
    }
    if (!o->path && !o->fd && !o->host) {
        if (!o->server) {
            return vm_error_set(errp, 0, "chardev socket: host= is missing");
        }
        o->host = "";
    }
    return true;
}

static bool take_options(VmKeyval *kv, SocketOptions *o, GError **errp)
{
    static const char *const refused[] = {
        "telnet", "tn3270", "websocket", "reconnect", "reconnect-ms",
        "tls-creds", "tls-authz", "abstract", "to",
    };
    bool delay;

    o->path = vm_keyval_get(kv, "path");
    o->host = vm_keyval_get(kv, "host");
    o->port = vm_keyval_get(kv, "port");
    o->fd = vm_keyval_get(kv, "fd");
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        const char *value = vm_keyval_get(kv, refused[i]);

        if (value && !g_str_equal(value, "off") && !g_str_equal(value, "0")) {
            return vm_error_set(errp, 0, "chardev socket: '%s' is not "
                                "supported", refused[i]);
        }
    }
    return refuse_if_on(kv, "mux", errp) &&
           vm_keyval_get_bool(kv, "server", false, &o->server, errp) &&
           take_wait(kv, &o->wait, errp) &&
           vm_keyval_get_bool(kv, "delay", true, &delay, errp) &&
           vm_keyval_get_bool(kv, "nodelay", !delay, &o->nodelay, errp) &&
           vm_keyval_get_bool(kv, "ipv4", false, &o->ipv4, errp) &&
           vm_keyval_get_bool(kv, "ipv6", false, &o->ipv6, errp) &&
           check_options(o, vm_keyval_get(kv, "wait") != NULL, errp);
}

/* wait=on: the VM does not start before somebody is there. */
static bool wait_for_client(SocketChardev *s, GError **errp)
{
    int conn;

    vm_report("info: QEMU waiting for connection on: %s", s->chr.label);
    do {
        conn = accept4(s->listener, NULL, NULL,
                       SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (conn < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (conn < 0) {
        return vm_error_set(errp, errno, "accept on '%s'", s->name);
    }
    socket_connected(s, conn);
    return true;
}

static bool socket_start(SocketChardev *s, const SocketOptions *o, int fd,
                         GError **errp)
{
    if (!o->server) {
        socket_connected(s, fd);
        return true;
    }
    s->listener = fd;
    s->unlink_path = o->fd ? NULL : g_strdup(o->path);
    socket_set_connection_label(s, false);
    if (o->wait && !wait_for_client(s, errp)) {
        return false;
    }
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    if (s->conn < 0) {
        socket_watch_listener(s);
    }
    return true;
}

Chardev *chardev_socket_new(const char *id, VmKeyval *kv, GError **errp)
{
    SocketOptions o = { 0 };
    SocketChardev *s;
    int fd;

    if (!take_options(kv, &o, errp) || !vm_keyval_check_all_used(kv, errp)) {
        return NULL;
    }
    fd = open_socket(&o, errp);
    if (fd < 0) {
        return NULL;
    }
    s = g_new0(SocketChardev, 1);
    s->listener = -1;
    s->conn = -1;
    s->nodelay = o.nodelay && o.host;
    s->name = socket_name(&o);
    chardev_init(&s->chr, &socket_ops, id, g_strdup(s->name));
    if (!socket_start(s, &o, fd, errp)) {
        chardev_free(&s->chr);
        return NULL;
    }
    return &s->chr;
}
