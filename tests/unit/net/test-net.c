/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network backends: options, packets both ways, back-pressure.
 *
 * How: the test is the card. user: ARP and a forwarded port on loopback. tap:
 * a packet socket on the interface's other side, in a network namespace of
 * the test's own (skipped without the right to make one).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"
#include "util/fd.h"

#define WAIT_US (5 * G_USEC_PER_SEC)

typedef struct Card {
    GMainContext *context;
    NetBackend *net;
    bool full, sending;
    unsigned packets, refused;
    uint8_t last[2048];
    size_t last_len;
} Card;

static bool on_receive(void *opaque, const void *packet, size_t len)
{
    Card *card = opaque;

    g_assert_false(card->sending); /* never from within a call of ours */
    if (card->full) {
        card->refused++;
        return false;
    }
    card->packets++;
    card->last_len = MIN(len, sizeof(card->last));
    memcpy(card->last, packet, card->last_len);
    return true;
}

static const NetReceiver receiver = { .receive = on_receive };

static NetBackend *try_new(const char *options, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-netdev", options, "type",
                                             errp);

    g_assert_nonnull(kv);
    return net_backend_new(kv, errp);
}

static void card_init(Card *card, const char *options)
{
    GError *err = NULL;

    memset(card, 0, sizeof(*card));
    card->context = g_main_context_new();
    card->net = try_new(options, &err);
    g_assert_no_error(err);
    g_assert_true(net_backend_attach(card->net, card->context, &receiver,
                                     card, &err));
    g_assert_no_error(err);
}

static void card_done(Card *card)
{
    net_backend_detach(card->net);
    net_backend_free(card->net);
    g_main_context_unref(card->context);
}

static void spin(Card *card, int turns)
{
    for (int i = 0; i < turns; i++) {
        g_main_context_iteration(card->context, FALSE);
    }
}

static void wait_packets(Card *card, unsigned packets)
{
    gint64 end = g_get_monotonic_time() + WAIT_US;

    while (card->packets < packets) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_main_context_iteration(card->context, FALSE);
    }
}

static void send_bytes(Card *card, const void *bytes, size_t len)
{
    /* In two pieces, as rings may have it. */
    struct iovec iov[2] = { { (void *)bytes, 10 },
                            { (uint8_t *)bytes + 10, len - 10 } };

    card->sending = true;
    net_backend_send(card->net, iov, 2);
    card->sending = false;
}

static const uint8_t arp[42] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56,
    0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1,
    0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15,
    0, 0, 0, 0, 0, 0, 10, 0, 2, 2,
};

static void test_user_arp(void)
{
    Card card;

    card_init(&card, "user,id=n0,restrict=on");
    send_bytes(&card, arp, sizeof(arp));
    g_assert_cmpuint(card.packets, ==, 0);
    wait_packets(&card, 1);
    g_assert_cmpuint(card.last[21], ==, 2);
    g_assert_cmpmem(card.last, 6, arp + 6, 6);
    card_done(&card);
}

/* A card without room gets the packet later; a paused one, too. */
static void test_user_back_pressure(void)
{
    Card card;

    card_init(&card, "user,id=n0");
    card.full = true;
    send_bytes(&card, arp, sizeof(arp));
    spin(&card, 20);
    g_assert_cmpuint(card.packets, ==, 0);
    g_assert_cmpuint(card.refused, ==, 1); /* it waits to be told */
    card.full = false;
    spin(&card, 20);
    g_assert_cmpuint(card.packets, ==, 0);
    card.sending = true;
    net_backend_can_send(card.net);
    card.sending = false;
    wait_packets(&card, 1);

    net_backend_set_running(card.net, false);
    send_bytes(&card, arp, sizeof(arp));
    spin(&card, 20);
    net_backend_can_send(card.net);
    spin(&card, 20);
    g_assert_cmpuint(card.packets, ==, 1);
    net_backend_set_running(card.net, true);
    wait_packets(&card, 2);
    card_done(&card);
}

static gboolean count_turn(gpointer opaque)
{
    ++*(unsigned *)opaque;
    return G_SOURCE_REMOVE;
}

/* An idle backend is idle: it neither spins nor keeps sources of lower
 * priority from their turn (the one that ends the I/O thread is such). */
static void test_user_idle(void)
{
    unsigned turns = 0, ready = 0;
    GSource *source = g_idle_source_new();
    Card card;

    card_init(&card, "user,id=n0");
    send_bytes(&card, arp, sizeof(arp));
    g_source_set_callback(source, count_turn, &turns, NULL);
    g_source_attach(source, card.context);
    g_source_unref(source);
    spin(&card, 20);
    g_assert_cmpuint(turns, ==, 1);
    for (int i = 0; i < 100; i++) {
        ready += g_main_context_iteration(card.context, FALSE);
    }
    g_assert_cmpuint(ready, <, 50);
    card_done(&card);
}

/* A port that nobody uses now. */
static unsigned free_port(void)
{
    struct sockaddr_in sin = { .sin_family = AF_INET };
    socklen_t len = sizeof(sin);
    vm_autofd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    g_assert_cmpint(bind(fd, (void *)&sin, len), ==, 0);
    g_assert_cmpint(getsockname(fd, (void *)&sin, &len), ==, 0);
    return ntohs(sin.sin_port);
}

/* A connection to a forwarded port makes libslirp look for the guest. */
static void test_user_hostfwd(void)
{
    struct sockaddr_in sin = { .sin_family = AF_INET };
    unsigned port = free_port();
    g_autofree char *options = g_strdup_printf(
        "user,id=n0,ipv6=off,hostfwd=tcp:127.0.0.1:%u-:22,"
        "hostfwd=udp:127.0.0.1:%u-10.0.2.15:53", port, port);
    vm_autofd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    Card card;

    card_init(&card, options);
    sin.sin_port = htons(port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    g_assert_cmpint(connect(fd, (void *)&sin, sizeof(sin)), ==, 0);
    wait_packets(&card, 1);
    g_assert_cmpmem(card.last + 12, 2, "\x08\x06", 2);
    g_assert_cmpmem(card.last + 38, 4, "\x0a\x00\x02\x0f", 4);
    card_done(&card);
}

static void test_refusals(void)
{
    static const struct {
        const char *options, *why;
    } bad[] = {
        { "bridge,id=n0", "'bridge' is not supported" },
        { "user", "id=" },
        { "user,id=n0,smb=/x", "smb" },
        { "user,id=n0,guestfwd=x", "guestfwd" },
        { "user,id=n0,net=10.0.2.0/33", "net" },
        { "user,id=n0,net=10.0.2.0/255.0.255.0", "net" },
        { "user,id=n0,net=banana", "net" },
        { "user,id=n0,host=192.168.1.1", "host is not in net" },
        { "user,id=n0,dns=10.0.2.2", "dns" },
        { "user,id=n0,restrict=perhaps", "perhaps" },
        { "user,id=n0,hostfwd=tcp::22", "hostfwd" },
        { "user,id=n0,hostfwd=tcp::99999-:22", "hostfwd" },
        { "user,id=n0,hostfwd=tcp::2222-:0", "hostfwd" },
        { "user,id=n0,hostfwd=icmp::1-:1", "hostfwd" },
        { "user,id=n0,hostfwd=tcp:nowhere:1-:1", "hostfwd" },
        { "tap,id=n0", "script=(default)" },
        { "tap,id=n0,script=/etc/up,downscript=no", "script=/etc/up" },
        { "tap,id=n0,script=no", "downscript" },
        { "tap,id=n0,fd=abc", "bad fd" },
        { "tap,id=n0,fd=0,ifname=x", "exclude" },
        { "tap,id=n0,fd=0,vhost=on,vhostforce=on", "vhostforce" },
        { "tap,id=n0,fd=0,vhost=on,vhostfd=987654", "vhostfd" },
        { "tap,id=n0,fd=0,vhost=on,vhostfd=1", "vhostfd" },
        { "tap,id=n0,fd=987654", "not a tap" },
        { "tap,id=n0,script=no,downscript=no,queues=2", "queues" },
        { "tap,id=n0,script=no,downscript=no,ifname=a23456789012345678",
          "too long" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;

        g_assert_null(try_new(bad[i].options, &err));
        if (!strstr(err->message, bad[i].why)) {
            g_error("%s: '%s'", bad[i].options, err->message);
        }
        g_error_free(err);
    }
}

static void test_attach_twice(void)
{
    GError *err = NULL;
    Card card;

    card_init(&card, "user,id=n0");
    g_assert_cmpstr(net_backend_id(card.net), ==, "n0");
    g_assert_false(net_backend_attach(card.net, card.context, &receiver,
                                      &card, &err));
    g_assert_nonnull(strstr(err->message, "in use"));
    g_error_free(err);
    card_done(&card);
}

/* ---- tap --------------------------------------------------------------- */

/* Brings the interface up and opens a packet socket on it. */
static int open_other_side(const char *name)
{
    struct ifreq ifr = { 0 };
    struct sockaddr_ll ll = { .sll_family = AF_PACKET,
                              .sll_protocol = htons(ETH_P_ALL) };
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    htons(ETH_P_ALL));

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(ifr.ifr_name, name, IFNAMSIZ);
    g_assert_cmpint(ioctl(fd, SIOCGIFINDEX, &ifr), ==, 0);
    ll.sll_ifindex = ifr.ifr_ifindex;
    ifr.ifr_flags = IFF_UP | IFF_RUNNING;
    g_assert_cmpint(ioctl(fd, SIOCSIFFLAGS, &ifr), ==, 0);
    g_assert_cmpint(bind(fd, (void *)&ll, sizeof(ll)), ==, 0);
    return fd;
}

/* Is this one of the test's packets (the kernel sends its own, too)? */
static bool ours(const uint8_t *packet, size_t len)
{
    return len == sizeof(arp) && memcmp(packet, arp, len) == 0;
}

/* The network that this thread was in, to go back there; -1: skipped. */
static int enter_own_network(void)
{
    vm_autofd home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    if (access("/dev/net/tun", R_OK | W_OK) < 0 || home < 0 ||
        unshare(CLONE_NEWNET) < 0) {
        g_test_skip("needs /dev/net/tun and a network namespace");
        return -1;
    }
    return vm_steal_fd(&home);
}

static void test_tap(void)
{
    gint64 end = g_get_monotonic_time() + WAIT_US;
    uint8_t buf[2048];
    ssize_t n = 0;
    Card card;
    vm_autofd fd = -1;
    vm_autofd home = enter_own_network();

    if (home < 0) {
        return;
    }
    card_init(&card, "tap,id=n0,ifname=vmtest0,script=no,downscript=no");
    fd = open_other_side("vmtest0");
    send_bytes(&card, arp, sizeof(arp));
    while (!ours(buf, n = recv(fd, buf, sizeof(buf), 0))) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    card.full = true;
    g_assert_cmpint(send(fd, arp, sizeof(arp), 0), ==, sizeof(arp));
    spin(&card, 20);
    g_assert_cmpuint(card.refused, >, 0);
    card.full = false;
    net_backend_can_send(card.net);
    do {
        wait_packets(&card, card.packets + 1);
    } while (!ours(card.last, card.last_len));
    card_done(&card);
    g_assert_cmpint(setns(home, CLONE_NEWNET), ==, 0);
}

/* From the card's address to everybody; nothing before that is known. */
static void test_announce(void)
{
    static const uint8_t mac[] = { 0x52, 0x54, 0, 0xab, 0xcd, 0xef };
    static const uint8_t want[42] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0xab, 0xcd, 0xef,
        0x80, 0x35, 0, 1, 0x08, 0, 6, 4, 0, 3,
        0x52, 0x54, 0, 0xab, 0xcd, 0xef, 0, 0, 0, 0,
        0x52, 0x54, 0, 0xab, 0xcd, 0xef, 0, 0, 0, 0,
    };
    gint64 end = g_get_monotonic_time() + WAIT_US;
    uint8_t buf[2048];
    ssize_t n;
    Card card;
    vm_autofd fd = -1;
    vm_autofd home = enter_own_network();

    if (home < 0) {
        return;
    }
    card_init(&card, "tap,id=n0,ifname=vmtest1,script=no,downscript=no");
    fd = open_other_side("vmtest1");
    net_backend_announce(card.net); /* it has no address yet */
    net_backend_set_address(card.net, mac);
    net_backend_announce(card.net);
    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        n = recv(fd, buf, sizeof(buf), 0);
    } while (n < 14 || buf[12] != 0x80 || buf[13] != 0x35);
    g_assert_cmpint(n, ==, 60);
    g_assert_cmpmem(buf, sizeof(want), want, sizeof(want));
    card_done(&card);
    g_assert_cmpint(setns(home, CLONE_NEWNET), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net/announce", test_announce);
    g_test_add_func("/net/user/arp", test_user_arp);
    g_test_add_func("/net/user/back-pressure", test_user_back_pressure);
    g_test_add_func("/net/user/idle", test_user_idle);
    g_test_add_func("/net/user/hostfwd", test_user_hostfwd);
    g_test_add_func("/net/refusals", test_refusals);
    g_test_add_func("/net/attach-twice", test_attach_twice);
    g_test_add_func("/net/tap", test_tap);
    return g_test_run();
}
