/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Byte channels over tcp: and unix: stream sockets, pipes and files.
 *
 * Why: migration threads block in reads and writes, and a cancel must get
 * them out at once. shutdown(2) does that for every thread and never races
 * with the reuse of a descriptor's number, as close(2) would; what it leaves
 * open is which error the woken thread sees, so the shut flag decides. Pipes
 * have no shutdown(2): they do not block, and poll() waits for them and for
 * an eventfd.
 *
 * Invariants:
 *   (1) The descriptor stays open from _new to _free.
 *   (2) shut is set before shutdown(2), so that a call which that woke, or
 *       which starts later, finds it set.
 *
 * Connected sockets are blocking; listeners are not, since a peer that goes
 * away between poll() and accept() must not hang the accepting thread.
 */
#include "util/channel.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Migration opens up to 256 connections at once, and a unix: socket whose
 * backlog is full refuses. */
#define LISTEN_BACKLOG 256

/* A peer whose host died is noticed after about a minute of silence. */
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_PROBES 3

struct VmChannel {
    /* Immutable. */
    int fd;
    int wake_fd; /* not a socket: eventfd, readable for ever once shut; else
                  * -1 */

    /* Immutable once more than one thread uses it. */
    const VmChannelFilter *filter; /* or NULL */
    void *filter_opaque;

    /* Reading thread only. */
    int64_t read_deadline_ns; /* 0: none */

    /* Atomic. Set with release in vm_channel_shutdown(), read with acquire
     * by data_error(). */
    atomic_bool shut;
};

struct VmListener {
    /* Immutable. */
    int fd;
    int wake_fd; /* eventfd; readable for ever after a shutdown */
    char *address;
    char *unix_path; /* NULL for tcp */
    dev_t unix_dev;  /* which file was made, lest another's be removed */
    ino_t unix_ino;
};

/* A parsed address. */
typedef struct Address {
    char *host; /* tcp; NULL: any */
    char *port;
    char *path; /* unix */
} Address;

static void address_done(Address *a)
{
    g_free(a->host);
    g_free(a->port);
    g_free(a->path);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Address, address_done)

/* -- addresses ---------------------------------------------------------- */

static bool parse_unix(const char *text, const char *path, Address *ret,
                       GError **errp)
{
    if (path[0] == '\0') {
        return vm_error_set(errp, 0, "address '%s' has no path", text);
    }
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        return vm_error_set(errp, 0, "address '%s': a socket's path has less "
                            "than %zu bytes", text,
                            sizeof(((struct sockaddr_un *)NULL)->sun_path));
    }
    ret->path = g_strdup(path);
    return true;
}

static bool port_is_valid(const char *port)
{
    uint64_t value;

    return port[0] != '\0' && strspn(port, "0123456789") == strlen(port) &&
           strlen(port) <= 5 &&
           g_ascii_string_to_unsigned(port, 10, 0, 65535, &value, NULL);
}

static bool parse_tcp(const char *text, const char *rest, Address *ret,
                      GError **errp)
{
    const char *colon = strrchr(rest, ':');
    g_autofree char *host = NULL;
    size_t len;

    if (!colon || !port_is_valid(colon + 1)) {
        return vm_error_set(errp, 0, "address '%s' does not end in ':' and a "
                            "port from 0 to 65535", text);
    }
    host = g_strndup(rest, (size_t)(colon - rest));
    len = strlen(host);
    if (host[0] == '[') {
        if (len < 3 || host[len - 1] != ']') {
            return vm_error_set(errp, 0, "address '%s': '[' without an IPv6 "
                                "address and ']'", text);
        }
        ret->host = g_strndup(host + 1, len - 2);
    } else if (strchr(host, ':')) {
        return vm_error_set(errp, 0, "address '%s': an IPv6 address stands in "
                            "'[' and ']'", text);
    } else if (len > 0) {
        ret->host = g_steal_pointer(&host);
    }
    ret->port = g_strdup(colon + 1);
    return true;
}

static bool address_parse(const char *text, Address *ret, GError **errp)
{
    if (g_str_has_prefix(text, "tcp:")) {
        return parse_tcp(text, text + strlen("tcp:"), ret, errp);
    }
    if (g_str_has_prefix(text, "unix:")) {
        return parse_unix(text, text + strlen("unix:"), ret, errp);
    }
    return vm_error_set(errp, 0, "address '%s' begins neither with 'tcp:' nor "
                        "with 'unix:'", text);
}

bool vm_channel_address_check(const char *address, GError **errp)
{
    g_auto(Address) parsed = { NULL };

    return address_parse(address, &parsed, errp);
}

char *vm_channel_address_host(const char *address)
{
    g_auto(Address) parsed = { NULL };

    return address_parse(address, &parsed, NULL)
               ? g_steal_pointer(&parsed.host)
               : NULL;
}

static void fill_unix(struct sockaddr_un *sun, const char *path)
{
    memset(sun, 0, sizeof(*sun));
    sun->sun_family = AF_UNIX;
    g_strlcpy(sun->sun_path, path, sizeof(sun->sun_path)); /* checked */
}

/* NULL host: the loopback to connect to, every address to listen on. */
static struct addrinfo *resolve(const char *text, const Address *address,
                                bool passive, GError **errp)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0),
    };
    const char *host = address->host;
    struct addrinfo *list = NULL;
    int r;

    if (!host && passive) {
        host = "::"; /* takes IPv4 too, see listen_one() */
    }
    r = getaddrinfo(host, address->port, &hints, &list);
    if (r != 0) {
        vm_error_set(errp, r == EAI_SYSTEM ? errno : 0, "address '%s': %s",
                     text, gai_strerror(r));
        return NULL;
    }
    return list;
}

/* -- channels ----------------------------------------------------------- */

/*
 * Options that help and may be missing (a socketpair() has no TCP): whether
 * they took does not matter to correctness.
 */
static void tune_socket(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
        { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S },
        { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        (void)setsockopt(fd, options[i].level, options[i].name,
                         &options[i].value, sizeof(options[i].value));
    }
}

VmChannel *vm_channel_new_fd(int take_fd)
{
    VmChannel *ch = g_new0(VmChannel, 1);

    ch->fd = take_fd;
    ch->wake_fd = -1;
    atomic_init(&ch->shut, false);
    tune_socket(take_fd);
    return ch;
}

VmChannel *vm_channel_new_pipe(int take_fd, GError **errp)
{
    vm_autofd fd = take_fd;
    vm_autofd wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int on = 1;
    VmChannel *ch;

    if (wake_fd < 0 || ioctl(fd, FIONBIO, &on) != 0) {
        vm_error_set(errp, errno, "cannot use descriptor %d", fd);
        return NULL;
    }
    ch = g_new0(VmChannel, 1);
    ch->fd = vm_steal_fd(&fd);
    ch->wake_fd = vm_steal_fd(&wake_fd);
    atomic_init(&ch->shut, false);
    return ch;
}

void vm_channel_free(VmChannel *ch)
{
    if (!ch) {
        return;
    }
    if (ch->filter) {
        ch->filter->free(ch->filter_opaque);
    }
    vm_close_fd(&ch->fd);
    vm_close_fd(&ch->wake_fd);
    g_free(ch);
}

void vm_channel_set_filter(VmChannel *ch, const VmChannelFilter *filter,
                           void *take_opaque)
{
    g_assert(!ch->filter);
    ch->filter = filter;
    ch->filter_opaque = take_opaque;
}

char *vm_channel_explain(VmChannel *ch)
{
    return ch->filter ? ch->filter->explain(ch->filter_opaque) : NULL;
}

/* Blocks until fd has events or cancel_fd (if not -1) is readable. */
static int wait_for(int fd, short events, int cancel_fd)
{
    struct pollfd fds[2] = {
        { .fd = fd, .events = events },
        { .fd = cancel_fd, .events = POLLIN },
    };

    for (;;) {
        /* poll() passes over a negative descriptor. */
        int n = poll(fds, G_N_ELEMENTS(fds), /* timeout= */ -1);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            return fds[1].revents ? -ECANCELED : 0;
        }
    }
}

static bool set_blocking(int fd)
{
    int off = 0;

    return ioctl(fd, FIONBIO, &off) == 0;
}

/* Connects one socket. Returns it, or -errno. */
static int connect_one(int family, const struct sockaddr *addr, socklen_t len,
                       int cancel_fd)
{
    vm_autofd fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          0);
    socklen_t error_len = sizeof(int);
    int error = 0;
    int r;

    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, addr, len) != 0) {
        if (errno != EINPROGRESS && errno != EINTR) {
            return -errno;
        }
        r = wait_for(fd, POLLOUT, cancel_fd);
        if (r < 0) {
            return r;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) != 0) {
            return -errno;
        }
        if (error != 0) {
            return -error;
        }
    }
    if (!set_blocking(fd)) {
        return -errno;
    }
    return vm_steal_fd(&fd);
}

static int connect_tcp(const struct addrinfo *list, int cancel_fd)
{
    int r = -EADDRNOTAVAIL;

    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        r = connect_one(ai->ai_family, ai->ai_addr, ai->ai_addrlen, cancel_fd);
        if (r >= 0 || r == -ECANCELED) {
            break;
        }
    }
    return r;
}

static int connect_unix(const char *path, int cancel_fd)
{
    struct sockaddr_un sun;

    fill_unix(&sun, path);
    return connect_one(AF_UNIX, (const struct sockaddr *)&sun, sizeof(sun),
                       cancel_fd);
}

VmChannel *vm_channel_connect(const char *address, int cancel_fd,
                              GError **errp)
{
    g_auto(Address) parsed = { NULL };
    int fd;

    if (!address_parse(address, &parsed, errp)) {
        return NULL;
    }
    if (parsed.path) {
        fd = connect_unix(parsed.path, cancel_fd);
    } else {
        struct addrinfo *list = resolve(address, &parsed, /* passive= */ false,
                                        errp);

        if (!list) {
            return NULL;
        }
        fd = connect_tcp(list, cancel_fd);
        freeaddrinfo(list);
    }
    if (fd < 0) {
        vm_error_set(errp, -fd, "cannot connect to '%s'", address);
        return NULL;
    }
    return vm_channel_new_fd(fd);
}

bool vm_channel_is_shut(const VmChannel *ch)
{
    /* Acquire: pairs with the release in vm_channel_shutdown(), so that what
     * the canceller wrote before it (why it cancels) is seen after this. */
    return atomic_load_explicit(&ch->shut, memory_order_acquire);
}

/* The result of a call that failed with r (0: the peer has closed). */
static int data_error(const VmChannel *ch, int r)
{
    return vm_channel_is_shut(ch) ? -ECANCELED : r;
}

/* A pipe does not block: waits until it is worth a (next) try. A socket says
 * EAGAIN when its write limit is over. */
static bool try_again(VmChannel *ch, short events)
{
    return (errno == EAGAIN && ch->wake_fd >= 0 &&
            wait_for(ch->fd, events, ch->wake_fd) == 0) ||
           errno == EINTR;
}

static ssize_t receive(VmChannel *ch, void *buf, size_t len)
{
    return ch->wake_fd < 0 ? recv(ch->fd, buf, len, 0)
                           : read(ch->fd, buf, len);
}

void vm_channel_set_read_deadline(VmChannel *ch, int64_t deadline_ns)
{
    ch->read_deadline_ns = deadline_ns;
}

/* 0 when there is something to read, or nobody set a deadline. */
static int wait_deadline(VmChannel *ch)
{
    struct pollfd fds[2] = {
        { .fd = ch->fd, .events = POLLIN },
        { .fd = ch->wake_fd, .events = POLLIN },
    };
    int n = 0;

    while (ch->read_deadline_ns && n == 0) {
        int64_t left_ns = ch->read_deadline_ns - vm_clock_ns();

        if (left_ns <= 0) {
            return -ETIMEDOUT;
        }
        n = poll(fds, G_N_ELEMENTS(fds),
                 (int)MIN(left_ns / VM_NS_PER_MS + 1, 1000000));
        if (n < 0) {
            n = errno == EINTR ? 0 : -errno;
        }
    }
    return MIN(n, 0);
}

ssize_t vm_channel_raw_read_some(VmChannel *ch, void *buf, size_t len)
{
    ssize_t n = wait_deadline(ch);

    if (n < 0) {
        return data_error(ch, (int)n);
    }
    do {
        n = receive(ch, buf, len);
    } while (n < 0 && try_again(ch, POLLIN));
    if (n < 0) {
        return data_error(ch, -errno);
    }
    /* Bytes that came before a shutdown are not given out after it. */
    return n == 0 || vm_channel_is_shut(ch) ? data_error(ch, 0) : n;
}

ssize_t vm_channel_read_some(VmChannel *ch, void *buf, size_t len)
{
    ssize_t n;

    if (!ch->filter) {
        return vm_channel_raw_read_some(ch, buf, len);
    }
    n = ch->filter->read_some(ch->filter_opaque, buf, len);
    return n <= 0 || vm_channel_is_shut(ch) ? data_error(ch, (int)MIN(n, 0))
                                            : n;
}

int vm_channel_read_full(VmChannel *ch, void *buf, size_t len)
{
    char *at = buf;

    while (len > 0) {
        ssize_t n = vm_channel_read_some(ch, at, len);

        if (n <= 0) {
            return n < 0 ? (int)n : -ENODATA;
        }
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

void vm_channel_set_write_limit(VmChannel *ch, int64_t limit_ns)
{
    struct timeval limit = {
        .tv_sec = limit_ns / VM_NS_PER_SEC,
        .tv_usec = limit_ns % VM_NS_PER_SEC / VM_NS_PER_US,
    };

    /* Or it is no socket. The kernel begins anew with each call, and a call
     * ends when it has handed over a part. */
    (void)setsockopt(ch->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static ssize_t transmit(VmChannel *ch, struct iovec *iov, int iovcnt)
{
    struct msghdr msg = {
        .msg_iov = iov,
        .msg_iovlen = (size_t)MIN(iovcnt, IOV_MAX),
    };

    return ch->wake_fd < 0 ? sendmsg(ch->fd, &msg, MSG_NOSIGNAL)
                           : writev(ch->fd, iov, (int)msg.msg_iovlen);
}

int vm_channel_raw_writev_full(VmChannel *ch, struct iovec *iov, int iovcnt)
{
    vm_iov_advance(&iov, &iovcnt, 0); /* empty elements in front */
    while (iovcnt > 0) {
        ssize_t n = transmit(ch, iov, iovcnt);

        if (vm_channel_is_shut(ch)) {
            return -ECANCELED; /* a file goes on taking bytes */
        }
        if (n < 0 && !try_again(ch, POLLOUT)) {
            return data_error(ch, errno == EAGAIN ? -ETIMEDOUT : -errno);
        }
        if (n > 0) {
            vm_iov_advance(&iov, &iovcnt, (size_t)n);
        }
    }
    return data_error(ch, 0);
}

int vm_channel_writev_full(VmChannel *ch, struct iovec *iov, int iovcnt)
{
    return ch->filter
               ? data_error(ch, ch->filter->writev_full(ch->filter_opaque,
                                                        iov, iovcnt))
               : vm_channel_raw_writev_full(ch, iov, iovcnt);
}

int vm_channel_write_full(VmChannel *ch, const void *buf, size_t len)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };

    return vm_channel_writev_full(ch, &iov, 1);
}

void vm_channel_end_writes(VmChannel *ch)
{
    if (ch->filter) {
        ch->filter->end_writes(ch->filter_opaque);
    }
    (void)shutdown(ch->fd, SHUT_WR); /* or it is cut already */
}

void vm_channel_end_reads(VmChannel *ch)
{
    (void)shutdown(ch->fd, SHUT_RD); /* or it is cut already */
}

void vm_channel_shutdown(VmChannel *ch)
{
    uint64_t one = 1;

    atomic_store_explicit(&ch->shut, true, memory_order_release); /* (2) */
    if (ch->wake_fd >= 0) {
        /* Never read back, so it can fail only when it is readable. */
        (void)vm_write_full(ch->wake_fd, &one, sizeof(one));
        return;
    }
    /* ENOTCONN: the peer was first; there is nobody to wake then. */
    (void)shutdown(ch->fd, SHUT_RDWR);
}

int vm_channel_fd(const VmChannel *ch)
{
    return ch->fd;
}

/* -- listeners ---------------------------------------------------------- */

/* Binds and listens on one address. Returns the socket, or -errno. */
static int listen_one(int family, const struct sockaddr *addr, socklen_t len)
{
    vm_autofd fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          0);
    int on = 1, off = 0;

    if (fd < 0) {
        return -errno;
    }
    if (family != AF_UNIX) {
        /* A port in TIME_WAIT from the last migration may be taken again. */
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    }
    if (family == AF_INET6) {
        /* "::" means both families, whatever bindv6only says. */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (bind(fd, addr, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        return -errno;
    }
    return vm_steal_fd(&fd);
}

static int listen_tcp(const char *text, const Address *address, GError **errp)
{
    struct addrinfo *list = resolve(text, address, /* passive= */ true, errp);
    int fd = -EADDRNOTAVAIL;

    if (!list) {
        return -1;
    }
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        fd = listen_one(ai->ai_family, ai->ai_addr, ai->ai_addrlen);
    }
    freeaddrinfo(list);
    if (fd == -EAFNOSUPPORT && !address->host) {
        /* A kernel without IPv6. */
        Address any = { .host = (char *)"0.0.0.0", .port = address->port };

        return listen_tcp(text, &any, errp);
    }
    if (fd < 0) {
        vm_error_set(errp, -fd, "cannot listen on '%s'", text);
        return -1;
    }
    return fd;
}

/* True if path is a socket that nobody listens on. */
static bool unix_path_is_stale(const char *path)
{
    vm_autofd fd = -1;
    struct stat st;
    int r;

    if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return false;
    }
    r = connect_unix(path, /* cancel_fd= */ -1);
    fd = MAX(r, -1);
    return r == -ECONNREFUSED;
}

static int listen_unix(const char *text, const char *path, GError **errp)
{
    struct sockaddr_un sun;
    int fd;

    fill_unix(&sun, path);
    fd = listen_one(AF_UNIX, (const struct sockaddr *)&sun, sizeof(sun));
    if (fd == -EADDRINUSE && unix_path_is_stale(path) && unlink(path) == 0) {
        fd = listen_one(AF_UNIX, (const struct sockaddr *)&sun, sizeof(sun));
    }
    if (fd < 0) {
        vm_error_set(errp, -fd, "cannot listen on '%s'", text);
        return -1;
    }
    return fd;
}

/* The address that the socket is bound to, port 0 having been replaced. */
static char *bound_tcp_address(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0 ||
        getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return NULL;
    }
    return g_strdup_printf(addr.ss_family == AF_INET6 ? "tcp:[%s]:%s"
                                                      : "tcp:%s:%s",
                           host, port);
}

/* Fills in what is known once the socket is bound. */
static bool listener_describe(VmListener *listener, const char *address,
                              const char *path, GError **errp)
{
    struct stat st;

    if (!path) {
        listener->address = bound_tcp_address(listener->fd);
        return listener->address ||
               vm_error_set(errp, 0, "cannot tell the port of '%s'", address);
    }
    if (lstat(path, &st) != 0) {
        return vm_error_set(errp, errno, "cannot find '%s' again", path);
    }
    listener->address = g_strdup(address);
    listener->unix_path = g_strdup(path);
    listener->unix_dev = st.st_dev;
    listener->unix_ino = st.st_ino;
    return true;
}

VmListener *vm_listener_new(const char *address, GError **errp)
{
    g_autoptr(VmListener) listener = g_new0(VmListener, 1);
    g_auto(Address) parsed = { NULL };

    listener->fd = -1;
    listener->wake_fd = -1;
    if (!address_parse(address, &parsed, errp)) {
        return NULL;
    }
    listener->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (listener->wake_fd < 0) {
        vm_error_set(errp, errno, "cannot make an eventfd");
        return NULL;
    }
    listener->fd = parsed.path ? listen_unix(address, parsed.path, errp)
                               : listen_tcp(address, &parsed, errp);
    if (listener->fd < 0 ||
        !listener_describe(listener, address, parsed.path, errp)) {
        return NULL;
    }
    return g_steal_pointer(&listener);
}

void vm_listener_free(VmListener *listener)
{
    struct stat st;

    if (!listener) {
        return;
    }
    if (listener->unix_path && lstat(listener->unix_path, &st) == 0 &&
        st.st_dev == listener->unix_dev && st.st_ino == listener->unix_ino) {
        (void)unlink(listener->unix_path);
    }
    vm_close_fd(&listener->fd);
    vm_close_fd(&listener->wake_fd);
    g_free(listener->address);
    g_free(listener->unix_path);
    g_free(listener);
}

const char *vm_listener_address(const VmListener *listener)
{
    return listener->address;
}

/* A peer that is gone already, or nobody: wait for the next one. */
static bool accept_may_go_on(int errnum)
{
    return errnum == EAGAIN || errnum == EINTR || errnum == ECONNABORTED ||
           errnum == EPROTO || errnum == ENETDOWN || errnum == EHOSTDOWN ||
           errnum == EHOSTUNREACH || errnum == ENETUNREACH;
}

VmChannel *vm_listener_accept(VmListener *listener, GError **errp)
{
    for (;;) {
        int r = wait_for(listener->fd, POLLIN, listener->wake_fd);
        int fd;

        if (r == 0) {
            fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0) {
                return vm_channel_new_fd(fd);
            }
            r = -errno;
        }
        if (!accept_may_go_on(-r)) {
            vm_error_set(errp, -r, "cannot accept on '%s'", listener->address);
            return NULL;
        }
    }
}

bool vm_listener_wait_ns(VmListener *listener, int64_t timeout_ns)
{
    struct pollfd fds[2] = {
        { .fd = listener->fd, .events = POLLIN },
        { .fd = listener->wake_fd, .events = POLLIN },
    };
    int64_t ms = timeout_ns / VM_NS_PER_MS + 1;

    return timeout_ns > 0 &&
           poll(fds, G_N_ELEMENTS(fds), (int)MIN(ms, 1000000)) != 0;
}

void vm_listener_shutdown(VmListener *listener)
{
    uint64_t one = 1;

    /* Never read back: later accepts find it readable too. It can only fail
     * when the counter is full, and then it is readable. */
    (void)vm_write_full(listener->wake_fd, &one, sizeof(one));
}

int vm_listener_fd(const VmListener *listener)
{
    return listener->fd;
}
