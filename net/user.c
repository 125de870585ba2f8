/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -netdev user: a network without rights, by libslirp.
 *
 * Why: libslirp is a TCP/IP stack that ends the guest's connections in
 * sockets of ours. It wants to be asked before each poll which sockets it
 * waits for, and to be told afterwards; that is a GSource whose prepare and
 * check do just that.
 *
 * Invariants:
 *   (1) slots[] mirrors what libslirp asked for in the last prepare; a
 *       descriptor that it dropped leaves the poll set before it can be
 *       reused. Indexes are libslirp's handles, so slots go only at prepare.
 *   (2) Packets for the card wait in queue (at most QUEUE_MAX of them; more
 *       are dropped, TCP resends) and are handed over by deliver() only: never
 *       from within libslirp, which calls us while the card sends.
 *
 * Threads: I/O thread after attach.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>

#include "net-internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

#define QUEUE_MAX 512
#define PACKET_BYTES_MAX 65550

typedef struct PollSlot {
    int fd;     /* -1: closed meanwhile */
    int events; /* SLIRP_POLL_* asked for in this round */
    bool wanted;
    gpointer tag;
    GIOCondition condition; /* as registered */
} PollSlot;

typedef struct NetUser NetUser;

typedef struct UserSource {
    GSource source;
    NetUser *user;
} UserSource;

typedef struct UserTimer {
    NetUser *user;
    GSource *source; /* NULL: not armed */
    int64_t expire_ms;
    bool early; /* set before there was a context; armed at attach */
    SlirpTimerCb callback;
    void *opaque;
} UserTimer;

struct NetUser {
    NetBackend net;

    /* I/O thread only. */
    Slirp *slirp;
    GSource *poll_source, *deliver_source;
    GArray *slots;  /* of PollSlot, (1) */
    GPtrArray *timers; /* of UserTimer *; libslirp owns them */
    GQueue queue;   /* of GBytes *, (2) */
    bool input;         /* the guest sent since libslirp was last polled */
    int64_t deadline_us; /* when libslirp wants to be polled anyway */
    bool card_full; /* receive() said false; wait for ready() */
};

/* ---- Packets to the card ----------------------------------------------- */

static gboolean deliver(gpointer opaque)
{
    NetUser *user = opaque;
    GBytes *packet;

    g_source_set_ready_time(user->deliver_source, -1);
    while ((packet = g_queue_peek_head(&user->queue))) {
        gsize len;
        const void *data = g_bytes_get_data(packet, &len);

        if (!net_give_card(&user->net, data, len)) {
            user->card_full = true;
            break;
        }
        g_queue_pop_head(&user->queue);
        g_bytes_unref(packet);
    }
    return G_SOURCE_CONTINUE;
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
    NetUser *user = opaque;

    if (g_queue_get_length(&user->queue) < QUEUE_MAX) {
        g_queue_push_tail(&user->queue, g_bytes_new(buf, len));
        if (!user->card_full) {
            g_source_set_ready_time(user->deliver_source, 0);
        }
    }
    return len;
}

static gboolean dispatch_ready_time(GSource *source, GSourceFunc callback,
                                    gpointer opaque)
{
    return callback(opaque);
}

static GSourceFuncs deliver_funcs = { .dispatch = dispatch_ready_time };

/* ---- libslirp's callbacks ---------------------------------------------- */

static void guest_error(const char *message, void *opaque)
{
    vm_debug("net", "slirp: %s", message);
}

static int64_t clock_ns(void *opaque)
{
    return vm_clock_ns();
}

static gboolean timer_over(gpointer opaque)
{
    UserTimer *timer = opaque;

    g_clear_pointer(&timer->source, g_source_unref);
    timer->callback(timer->opaque); /* may arm it again */
    return G_SOURCE_REMOVE;
}

static void timer_disarm(UserTimer *timer)
{
    if (timer->source) {
        g_source_destroy(timer->source);
        g_clear_pointer(&timer->source, g_source_unref);
    }
}

static void *timer_new(SlirpTimerCb callback, void *cb_opaque, void *opaque)
{
    UserTimer *timer = g_new0(UserTimer, 1);

    timer->user = opaque;
    timer->callback = callback;
    timer->opaque = cb_opaque;
    g_ptr_array_add(timer->user->timers, timer);
    return timer;
}

static void timer_free(void *opaque_timer, void *opaque)
{
    NetUser *user = opaque;

    timer_disarm(opaque_timer);
    g_ptr_array_remove_fast(user->timers, opaque_timer);
    g_free(opaque_timer);
}

static void timer_arm(UserTimer *timer)
{
    int64_t wait_ms = timer->expire_ms - vm_clock_ns() / VM_NS_PER_MS;

    timer_disarm(timer);
    timer->early = false;
    timer->source = g_timeout_source_new(CLAMP(wait_ms, 0, G_MAXINT));
    g_source_set_callback(timer->source, timer_over, timer, NULL);
    g_source_attach(timer->source, timer->user->net.context);
}

static void timer_mod(void *opaque_timer, int64_t expire_ms, void *opaque)
{
    UserTimer *timer = opaque_timer;

    timer->expire_ms = expire_ms;
    if (timer->user->net.context) {
        timer_arm(timer);
    } else {
        timer->early = true;
    }
}

static void slot_unwatch(NetUser *user, PollSlot *slot)
{
    if (slot->tag) {
        g_source_remove_unix_fd(user->poll_source, slot->tag);
        slot->tag = NULL;
    }
}

/* A descriptor about to be closed must leave the poll set (1); new ones come
 * by the next prepare. */
static void unregister_fd(int fd, void *opaque)
{
    NetUser *user = opaque;

    for (guint i = 0; i < user->slots->len; i++) {
        PollSlot *slot = &g_array_index(user->slots, PollSlot, i);

        if (slot->fd == fd) {
            slot_unwatch(user, slot);
            slot->fd = -1;
        }
    }
}

static void register_fd(int fd, void *opaque)
{
}

static void notify(void *opaque)
{
    NetUser *user = opaque;

    if (user->net.context) {
        g_main_context_wakeup(user->net.context);
    }
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = register_fd,
    .unregister_poll_fd = unregister_fd,
    .notify = notify,
};

/* ---- Polling ----------------------------------------------------------- */

static const struct {
    int slirp;
    GIOCondition glib;
} poll_bits[] = {
    { SLIRP_POLL_IN, G_IO_IN },   { SLIRP_POLL_OUT, G_IO_OUT },
    { SLIRP_POLL_PRI, G_IO_PRI }, { SLIRP_POLL_ERR, G_IO_ERR },
    { SLIRP_POLL_HUP, G_IO_HUP },
};

static GIOCondition to_condition(int events)
{
    GIOCondition condition = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(poll_bits); i++) {
        condition |= events & poll_bits[i].slirp ? poll_bits[i].glib : 0;
    }
    return condition;
}

static int to_events(GIOCondition condition)
{
    int events = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(poll_bits); i++) {
        events |= condition & poll_bits[i].glib ? poll_bits[i].slirp : 0;
    }
    return events;
}

/* libslirp asks for fd; the index is its handle for asking back. */
static int add_poll(int fd, int events, void *opaque)
{
    NetUser *user = opaque;
    PollSlot fresh = { .fd = fd, .events = events, .wanted = true };

    for (guint i = 0; i < user->slots->len; i++) {
        PollSlot *slot = &g_array_index(user->slots, PollSlot, i);

        if (slot->fd == fd) {
            slot->events = slot->wanted ? slot->events | events : events;
            slot->wanted = true;
            return i;
        }
    }
    g_array_append_val(user->slots, fresh);
    return user->slots->len - 1;
}

static int get_revents(int index, void *opaque)
{
    NetUser *user = opaque;
    const PollSlot *slot;

    if (index < 0 || (guint)index >= user->slots->len) {
        return 0;
    }
    slot = &g_array_index(user->slots, PollSlot, index);
    return slot->tag ? to_events(g_source_query_unix_fd(user->poll_source,
                                                        slot->tag))
                     : 0;
}

/* Brings the source's poll set to what slots say. Only changes are told:
 * each one wakes the loop up. What is not wanted leaves the set: the kernel
 * would report a hung-up descriptor whether asked or not. */
static void sync_slots(NetUser *user)
{
    for (guint i = 0; i < user->slots->len; i++) {
        PollSlot *slot = &g_array_index(user->slots, PollSlot, i);
        GIOCondition condition = to_condition(slot->events);

        if (!slot->wanted) {
            slot_unwatch(user, slot);
        } else if (!slot->tag) {
            slot->tag = g_source_add_unix_fd(user->poll_source, slot->fd,
                                             condition);
        } else if (condition != slot->condition) {
            g_source_modify_unix_fd(user->poll_source, slot->tag, condition);
        }
        slot->condition = condition;
    }
}

/* A new round: slots that nobody watches go, the others are unwanted until
 * they are asked for. */
static void begin_round(NetUser *user)
{
    guint i = 0;

    while (i < user->slots->len) {
        PollSlot *slot = &g_array_index(user->slots, PollSlot, i);

        if (!slot->tag) {
            g_array_remove_index_fast(user->slots, i);
            continue;
        }
        slot->wanted = false;
        i++;
    }
}

static gboolean user_prepare(GSource *source, gint *timeout)
{
    NetUser *user = ((UserSource *)source)->user;
    uint32_t wait_ms = UINT32_MAX;

    begin_round(user);
    slirp_pollfds_fill(user->slirp, &wait_ms, add_poll, user);
    sync_slots(user);
    *timeout = wait_ms > G_MAXINT ? -1 : (gint)wait_ms;
    user->deadline_us =
        wait_ms > G_MAXINT ? G_MAXINT64
                           : g_get_monotonic_time() + wait_ms * INT64_C(1000);
    /* What the guest sent may let waiting packets go (an ARP reply). */
    return user->input;
}

/* Only when there is something to do: a source that is always ready would
 * starve those of lower priority, and spin. */
static gboolean user_check(GSource *source)
{
    NetUser *user = ((UserSource *)source)->user;

    for (guint i = 0; i < user->slots->len; i++) {
        if (get_revents(i, user)) {
            return TRUE;
        }
    }
    return user->input || g_get_monotonic_time() >= user->deadline_us;
}

static gboolean user_dispatch(GSource *source, GSourceFunc callback,
                              gpointer opaque)
{
    NetUser *user = ((UserSource *)source)->user;

    user->input = false;
    slirp_pollfds_poll(user->slirp, /* select_error= */ 0, get_revents, user);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs user_funcs = {
    .prepare = user_prepare,
    .check = user_check,
    .dispatch = user_dispatch,
};

/* ---- NetOps ------------------------------------------------------------ */

static bool user_attach(NetBackend *net, GMainContext *context, GError **errp)
{
    NetUser *user = (NetUser *)net;

    g_source_attach(user->deliver_source, context);
    g_source_attach(user->poll_source, context);
    for (guint i = 0; i < user->timers->len; i++) {
        UserTimer *timer = g_ptr_array_index(user->timers, i);

        if (timer->early) {
            timer_arm(timer);
        }
    }
    return true;
}

static void user_send(NetBackend *net, const struct iovec *iov, int iovcnt)
{
    NetUser *user = (NetUser *)net;
    uint8_t flat[PACKET_BYTES_MAX];
    size_t len = 0;

    for (int i = 0; i < iovcnt; i++) {
        if (iov[i].iov_len > sizeof(flat) - len) {
            return; /* longer than any packet */
        }
        memcpy(flat + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    slirp_input(user->slirp, flat, len);
    user->input = true;
}

static void user_ready(NetBackend *net, bool ready)
{
    NetUser *user = (NetUser *)net;

    user->card_full = !ready;
    g_source_set_ready_time(user->deliver_source,
                            ready && !g_queue_is_empty(&user->queue) ? 0
                                                                     : -1);
}

static void source_free(GSource *source)
{
    if (source) {
        g_source_destroy(source);
        g_source_unref(source);
    }
}

static void user_free(NetBackend *net)
{
    NetUser *user = (NetUser *)net;

    if (user->slirp) {
        slirp_cleanup(user->slirp);
    }
    source_free(user->poll_source);
    source_free(user->deliver_source);
    g_array_unref(user->slots);
    g_ptr_array_unref(user->timers);
    g_queue_clear_full(&user->queue, (GDestroyNotify)g_bytes_unref);
    g_free(user);
}

static const NetOps user_ops = {
    .attach = user_attach,
    .send = user_send,
    .ready = user_ready,
    .free = user_free,
};

/* ---- Options ----------------------------------------------------------- */

/* QEMU's defaults: 10.0.2.0/24, host .2, name server .3, DHCP from .15. */
#define DEFAULT_NET 0x0a000200u
#define DEFAULT_MASK 0xffffff00u
enum { HOST_OFFSET = 2, DNS_OFFSET = 3, DHCP_OFFSET = 15 };

typedef struct UserOptions {
    SlirpConfig config;
    uint32_t net, mask; /* host byte order */
    GPtrArray *hostfwd; /* of char * */
    GPtrArray *search;  /* of char *, NULL-terminated when used */
} UserOptions;

static bool parse_ipv4(const char *key, const char *text, uint32_t *ret,
                       GError **errp)
{
    struct in_addr addr;

    if (inet_pton(AF_INET, text, &addr) != 1) {
        return vm_error_set(errp, 0, "-netdev user: bad %s '%s'", key, text);
    }
    *ret = ntohl(addr.s_addr);
    return true;
}

/* "10.0.2.0/24", "10.0.2.0/255.255.255.0" or "10.0.2.0". */
static bool parse_net(const char *text, UserOptions *o, GError **errp)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 2);

    if (!parse_ipv4("net", parts[0], &o->net, errp)) {
        return false;
    }
    if (parts[1] && strchr(parts[1], '.')) {
        if (!parse_ipv4("net", parts[1], &o->mask, errp)) {
            return false;
        }
    } else if (parts[1]) {
        char *end;
        guint64 bits = g_ascii_strtoull(parts[1], &end, 10);

        if (!g_ascii_isdigit(*parts[1]) || *end || bits < 4 || bits > 30) {
            return vm_error_set(errp, 0, "-netdev user: bad net '%s'", text);
        }
        o->mask = ~UINT32_C(0) << (32 - bits);
    }
    if (~o->mask & (~o->mask + 1)) {
        return vm_error_set(errp, 0, "-netdev user: bad net '%s'", text);
    }
    o->net &= o->mask;
    return true;
}

/* An address of our network; without option, the network plus offset. */
static bool get_address(VmKeyval *kv, const char *key, const UserOptions *o,
                        unsigned offset, struct in_addr *ret, GError **errp)
{
    const char *text = vm_keyval_get(kv, key);
    uint32_t addr = o->net | (offset & ~o->mask);

    if (text && !parse_ipv4(key, text, &addr, errp)) {
        return false;
    }
    if ((addr & o->mask) != o->net) {
        return vm_error_set(errp, 0, "-netdev user: %s is not in net=", key);
    }
    ret->s_addr = htonl(addr);
    return true;
}

static void collect(const char *key, const char *value, void *opaque)
{
    UserOptions *o = opaque;

    if (g_str_equal(key, "hostfwd")) {
        g_ptr_array_add(o->hostfwd, g_strdup(value));
    } else if (g_str_equal(key, "dnssearch")) {
        g_ptr_array_add(o->search, g_strdup(value));
    }
}

/* vm_keyval_foreach() counts every key as used, so unknown ones are looked
 * for here. */
static void find_unknown(const char *key, const char *value, void *opaque)
{
    static const char *const known[] = {
        "type", "id", "net", "host", "dns", "dhcpstart", "hostname",
        "domainname", "restrict", "ipv4", "ipv6", "hostfwd", "dnssearch",
        "tftp", "bootfile", "tftp-server-name", NULL,
    };
    const char **unknown = opaque;

    if (!*unknown && !g_strv_contains(known, key)) {
        *unknown = key;
    }
}

static bool check_keys(VmKeyval *kv, GError **errp)
{
    const char *unknown = NULL;

    vm_keyval_foreach(kv, find_unknown, &unknown);
    return !unknown || vm_error_set(errp, 0, "-netdev user: unknown "
                                    "parameter '%s'", unknown);
}

static bool parse_options(VmKeyval *kv, UserOptions *o, GError **errp)
{
    SlirpConfig *c = &o->config;
    const char *net = vm_keyval_get(kv, "net");
    bool restricted, ipv6;

    o->net = DEFAULT_NET;
    o->mask = DEFAULT_MASK;
    c->version = 1;
    if (!check_keys(kv, errp) || (net && !parse_net(net, o, errp)) ||
        !get_address(kv, "host", o, HOST_OFFSET, &c->vhost, errp) ||
        !get_address(kv, "dns", o, DNS_OFFSET, &c->vnameserver, errp) ||
        !get_address(kv, "dhcpstart", o, DHCP_OFFSET, &c->vdhcp_start,
                     errp) ||
        !vm_keyval_get_bool(kv, "restrict", false, &restricted, errp) ||
        !vm_keyval_get_bool(kv, "ipv4", true, &c->in_enabled, errp) ||
        !vm_keyval_get_bool(kv, "ipv6", true, &ipv6, errp)) {
        return false;
    }
    if (c->vnameserver.s_addr == c->vhost.s_addr) {
        return vm_error_set(errp, 0, "-netdev user: dns must differ from "
                            "host");
    }
    c->restricted = restricted;
    c->vnetwork.s_addr = htonl(o->net);
    c->vnetmask.s_addr = htonl(o->mask);
    c->in6_enabled = ipv6;
    /* QEMU's defaults: fec0::/64, host ::2, name server ::3. */
    inet_pton(AF_INET6, "fec0::", &c->vprefix_addr6);
    c->vprefix_len = 64;
    inet_pton(AF_INET6, "fec0::2", &c->vhost6);
    inet_pton(AF_INET6, "fec0::3", &c->vnameserver6);
    c->vhostname = vm_keyval_get(kv, "hostname");
    c->vdomainname = vm_keyval_get(kv, "domainname");
    c->tftp_path = vm_keyval_get(kv, "tftp");
    c->bootfile = vm_keyval_get(kv, "bootfile");
    c->tftp_server_name = vm_keyval_get(kv, "tftp-server-name");
    vm_keyval_foreach(kv, collect, o);
    return true;
}

static bool parse_port(const char *text, int *ret)
{
    char *end;
    guint64 port = g_ascii_strtoull(text, &end, 10);

    if (!g_ascii_isdigit(*text) || *end || port > 65535) {
        return false;
    }
    *ret = port;
    return true;
}

/* "[addr]:port" */
static bool parse_endpoint(const char *text, struct in_addr *addr, int *port)
{
    const char *colon = strrchr(text, ':');
    g_autofree char *host = colon ? g_strndup(text, colon - text) : NULL;

    return colon && parse_port(colon + 1, port) &&
           (*host == '\0' || inet_pton(AF_INET, host, addr) == 1);
}

/* [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport */
static bool add_hostfwd(NetUser *user, const char *text, GError **errp)
{
    struct in_addr host = { 0 }, guest = { 0 };
    int host_port = 0, guest_port = 0;
    const char *colon = strchr(text, ':');
    g_autofree char *proto = colon ? g_strndup(text, colon - text) : NULL;
    g_auto(GStrv) ends = colon ? g_strsplit(colon + 1, "-", 2) : NULL;
    bool udp = proto && g_str_equal(proto, "udp");

    if (!proto || (!udp && *proto && !g_str_equal(proto, "tcp")) ||
        !ends[0] || !ends[1] || !parse_endpoint(ends[0], &host, &host_port) ||
        !parse_endpoint(ends[1], &guest, &guest_port) || guest_port == 0) {
        return vm_error_set(errp, 0, "-netdev user: bad hostfwd '%s'", text);
    }
    if (slirp_add_hostfwd(user->slirp, udp, host, host_port, guest,
                          guest_port) < 0) {
        return vm_error_set(errp, errno, "-netdev user: hostfwd '%s'", text);
    }
    return true;
}

static bool user_start(NetUser *user, UserOptions *o, GError **errp)
{
    if (o->search->len > 0) {
        g_ptr_array_add(o->search, NULL);
        o->config.vdnssearch = (const char **)o->search->pdata;
    }
    user->slirp = slirp_new(&o->config, &callbacks, user);
    if (!user->slirp) {
        return vm_error_set(errp, 0, "-netdev user: slirp does not start");
    }
    for (guint i = 0; i < o->hostfwd->len; i++) {
        if (!add_hostfwd(user, g_ptr_array_index(o->hostfwd, i), errp)) {
            return false;
        }
    }
    return true;
}

static GSource *make_source(GSourceFuncs *funcs, NetUser *user)
{
    GSource *source = g_source_new(funcs, sizeof(UserSource));

    ((UserSource *)source)->user = user;
    return source;
}

NetBackend *net_user_new(VmKeyval *options, GError **errp)
{
    UserOptions o = {
        .hostfwd = g_ptr_array_new_with_free_func(g_free),
        .search = g_ptr_array_new_with_free_func(g_free),
    };
    NetUser *user = g_new0(NetUser, 1);
    g_autoptr(NetBackend) net = &user->net;
    bool ok;

    net->ops = &user_ops;
    g_queue_init(&user->queue);
    user->slots = g_array_new(FALSE, TRUE, sizeof(PollSlot));
    user->timers = g_ptr_array_new();
    user->poll_source = make_source(&user_funcs, user);
    user->deliver_source = make_source(&deliver_funcs, user);
    g_source_set_callback(user->deliver_source, deliver, user, NULL);
    ok = parse_options(options, &o, errp) && user_start(user, &o, errp);
    g_ptr_array_unref(o.hostfwd);
    g_ptr_array_unref(o.search);
    return ok ? g_steal_pointer(&net) : NULL;
}
