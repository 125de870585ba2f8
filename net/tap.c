/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -netdev tap: packets through a Linux tap device.
 *
 * Why: ifname= opens (or makes) the interface by /dev/net/tun; fd= takes a
 * descriptor that a manager has opened with rights we lack. Scripts are not
 * run: they would need rights that a VMM should not have.
 *
 * Invariants:
 *   (1) At most one packet is held back (held_bytes > 0), and then the
 *       descriptor is not watched: the kernel's queue is the buffer.
 *
 * Threads: I/O thread after attach.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net-internal.h"
#include "util/error.h"
#include "util/fd.h"

#define PACKET_BYTES_MAX 65550
#define VNET_HEADER_BYTES_MAX 64
/* Packets read in one go before others have their turn. */
#define BATCH_MAX 64

typedef struct NetTap {
    NetBackend net;

    /* Immutable. */
    int fd;
    int header_bytes; /* virtio header before each packet, or 0 */

    /* I/O thread only. */
    GSource *source; /* NULL: not watched */
    size_t held_bytes;
    uint8_t packet[VNET_HEADER_BYTES_MAX + PACKET_BYTES_MAX];
} NetTap;

static void tap_watch(NetTap *tap, bool on);

/* Gives the card what is held. */
static bool give_held(NetTap *tap)
{
    if (tap->held_bytes > 0 &&
        !net_give_card(&tap->net, tap->packet + tap->header_bytes,
                       tap->held_bytes)) {
        return false;
    }
    tap->held_bytes = 0;
    return true;
}

static gboolean tap_readable(gint fd, GIOCondition condition, gpointer opaque)
{
    NetTap *tap = opaque;

    g_source_set_ready_time(tap->source, -1); /* see tap_ready() */
    for (int i = 0; i < BATCH_MAX && give_held(tap); i++) {
        ssize_t n = read(fd, tap->packet, sizeof(tap->packet));

        if (n <= tap->header_bytes) {
            if (n < 0 && errno != EAGAIN && errno != EINTR) {
                tap_watch(tap, false); /* interface gone: EBADFD, EIO */
            }
            return G_SOURCE_CONTINUE;
        }
        tap->held_bytes = n - tap->header_bytes;
    }
    if (!give_held(tap)) {
        tap_watch(tap, false); /* (1), until ready() */
    }
    return G_SOURCE_CONTINUE;
}

static void tap_watch(NetTap *tap, bool on)
{
    if (on && !tap->source) {
        tap->source = g_unix_fd_source_new(tap->fd, G_IO_IN);
        g_source_set_callback(tap->source, G_SOURCE_FUNC(tap_readable), tap,
                              NULL);
        g_source_attach(tap->source, tap->net.context);
    } else if (!on && tap->source) {
        g_source_destroy(tap->source);
        g_clear_pointer(&tap->source, g_source_unref);
    }
}

static bool tap_attach(NetBackend *net, GMainContext *context, GError **errp)
{
    tap_watch((NetTap *)net, true);
    return true;
}

static void tap_ready(NetBackend *net, bool ready)
{
    NetTap *tap = (NetTap *)net;

    tap_watch(tap, ready);
    if (ready && tap->held_bytes > 0) {
        /* Level-triggered on the descriptor only; the packet in hand has to
         * be told of. Not from here: the card may hold its lock. */
        g_source_set_ready_time(tap->source, 0);
    }
}

static void tap_send(NetBackend *net, const struct iovec *iov, int iovcnt)
{
    NetTap *tap = (NetTap *)net;
    static const uint8_t header[VNET_HEADER_BYTES_MAX];
    struct iovec out[1 + 8];
    int n = 0;

    if (tap->header_bytes > 0) {
        out[n].iov_base = (void *)header;
        out[n++].iov_len = tap->header_bytes;
    }
    if (iovcnt > 8) {
        return; /* no card does that */
    }
    memcpy(&out[n], iov, sizeof(*iov) * iovcnt);
    /* A full queue drops the packet, as Ethernet may. */
    (void) !writev(tap->fd, out, n + iovcnt);
}

static void tap_free(NetBackend *net)
{
    NetTap *tap = (NetTap *)net;

    tap_watch(tap, false);
    vm_close_fd(&tap->fd);
    g_free(tap);
}

static const NetOps tap_ops = {
    .attach = tap_attach,
    .send = tap_send,
    .ready = tap_ready,
    .free = tap_free,
};

/* ---- Set-up ------------------------------------------------------------ */

static bool check_scripts(VmKeyval *options, GError **errp)
{
    static const char *const keys[] = { "script", "downscript" };
    bool by_fd = vm_keyval_get(options, "fd") != NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *script = vm_keyval_get(options, keys[i]);

        if (script ? g_str_equal(script, "no") || *script == '\0' : by_fd) {
            continue;
        }
        return vm_error_set(errp, 0, "-netdev tap: %s=%s is not supported "
                            "(scripts are not run: give %s=no)", keys[i],
                            script ? script : "(default)", keys[i]);
    }
    return true;
}

/* The descriptor of fd=N, checked to be a tap device. */
static int take_fd(const char *text, GError **errp)
{
    char *end;
    guint64 fd = g_ascii_strtoull(text, &end, 10);
    struct ifreq ifr = { 0 };

    if (!g_ascii_isdigit(*text) || *end || fd > G_MAXINT) {
        vm_error_set(errp, 0, "-netdev tap: bad fd '%s'", text);
        return -1;
    }
    if (ioctl(fd, TUNGETIFF, &ifr) < 0) {
        vm_error_set(errp, errno, "-netdev tap: fd %d is not a tap device",
                     (int)fd);
        return -1;
    }
    return fd;
}

static int open_interface(const char *name, GError **errp)
{
    struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    vm_autofd fd = -1;

    if (strlen(name) >= IFNAMSIZ) {
        vm_error_set(errp, 0, "-netdev tap: ifname '%s' is too long", name);
        return -1;
    }
    memcpy(ifr.ifr_name, name, strlen(name));
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        vm_error_set(errp, errno, "-netdev tap: open '/dev/net/tun'");
        return -1;
    }
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        vm_error_set(errp, errno, "-netdev tap: interface '%s'", name);
        return -1;
    }
    return vm_steal_fd(&fd);
}

/* A manager may have asked the kernel for virtio headers. */
static bool get_header_bytes(NetTap *tap, GError **errp)
{
    struct ifreq ifr = { 0 };

    if (ioctl(tap->fd, TUNGETIFF, &ifr) < 0) {
        return vm_error_set(errp, errno, "-netdev tap: TUNGETIFF");
    }
    if (!(ifr.ifr_flags & IFF_VNET_HDR)) {
        return true;
    }
    if (ioctl(tap->fd, TUNGETVNETHDRSZ, &tap->header_bytes) < 0 ||
        tap->header_bytes > VNET_HEADER_BYTES_MAX) {
        return vm_error_set(errp, 0, "-netdev tap: unknown header size");
    }
    /* No offloads: what comes must be whole packets with checksums. */
    if (ioctl(tap->fd, TUNSETOFFLOAD, 0) < 0) {
        return vm_error_set(errp, errno, "-netdev tap: TUNSETOFFLOAD");
    }
    return true;
}

/*
 * vhost=on is a wish (as in QEMU, where vhostforce=on would make it more than
 * that), which libvirt adds wherever the host has vhost-net. The kernel cannot
 * have it: it would touch guest RAM past the pager. vm_nets_start() tells.
 */
static bool take_vhost(VmKeyval *options, GError **errp)
{
    bool vhost;
    uint64_t fd;

    if (!vm_keyval_get_bool(options, "vhost", false, &vhost, errp) ||
        !vm_keyval_get_u64(options, "vhostfd", UINT64_MAX, &fd, errp)) {
        return false;
    }
    if (fd != UINT64_MAX &&
        (fd <= STDERR_FILENO || fd > G_MAXINT || close((int)fd) < 0)) {
        return vm_error_set(errp, 0, "-netdev tap: vhostfd=%" G_GUINT64_FORMAT
                            " is no descriptor that was passed", fd);
    }
    return true;
}

NetBackend *net_tap_new(VmKeyval *options, GError **errp)
{
    const char *fd_text = vm_keyval_get(options, "fd");
    const char *name = vm_keyval_get(options, "ifname");
    g_autoptr(NetBackend) net = NULL;
    NetTap *tap;

    if (!check_scripts(options, errp) || !take_vhost(options, errp) ||
        !vm_keyval_check_all_used(options, errp)) {
        return NULL;
    }
    if (fd_text && name) {
        vm_error_set(errp, 0, "-netdev tap: fd= and ifname= exclude each "
                     "other");
        return NULL;
    }
    tap = g_new0(NetTap, 1);
    net = &tap->net;
    net->ops = &tap_ops;
    tap->fd = fd_text ? take_fd(fd_text, errp)
                      : open_interface(name ? name : "", errp);
    if (tap->fd < 0 || !get_header_bytes(tap, errp)) {
        return NULL;
    }
    if (fcntl(tap->fd, F_SETFL, fcntl(tap->fd, F_GETFL) | O_NONBLOCK) < 0) {
        vm_error_set(errp, errno, "-netdev tap: O_NONBLOCK");
        return NULL;
    }
    return g_steal_pointer(&net);
}
