/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net-pci: a network card (virtio 1.2 section 5.1).
 *
 * Why: the plainest card that is useful: one pair of queues, mergeable
 * receive buffers, no offloads, so that the packets of every backend fit as
 * they are. Nothing is ever in flight: packets are copied between ring and
 * backend in one go.
 *
 * Invariants:
 *   (1) A received packet is published whole or not at all: chains that were
 *       taken for one that did not fit are put back.
 *   (2) When receive() has said false, kicks of the receive queue are on, and
 *       the next kick tells the backend.
 *
 * Threads: packets on the I/O thread, dev.lock held; registers on vCPU
 * threads, dev.lock held.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hw/virtio/virtio.h"
#include "net/net.h"
#include "util/error.h"
#include "virtio-devices.h"

#define F_MAC (UINT64_C(1) << 5)
#define F_MRG_RXBUF (UINT64_C(1) << 15)
#define F_STATUS (UINT64_C(1) << 16)
#define STATUS_LINK_UP 1

enum { QUEUE_RX = 0, QUEUE_TX = 1, QUEUES = 2 };
enum { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_BYTES = 12 };
#define MAC_BYTES 6

/* struct virtio_net_hdr, 5.1.6: zero but for num_buffers. */
#define HEADER_BYTES 12
#define HEADER_NUM_BUFFERS 10

#define QUEUE_SIZE_DEFAULT 256
#define PACKET_BYTES_MAX 65550 /* 64 KiB of IP in an Ethernet frame */
#define BATCH_MAX 64

typedef struct VirtioNet {
    VirtioPci virtio;

    /* Immutable. */
    NetBackend *backend;

    /* Protected by the device's lock. */
    uint8_t mac[MAC_BYTES];
    uint8_t packet[HEADER_BYTES + PACKET_BYTES_MAX]; /* scratch */
} VirtioNet;

static VirtioNet *from_virtio(VirtioPci *v)
{
    return (VirtioNet *)v;
}

/* ---- Receiving --------------------------------------------------------- */

/* Guest address of byte n of the writable part. */
static GuestAddr byte_address(const VirtChain *chain, uint32_t n)
{
    const VirtSegment *s = &chain->segment[chain->out_count];

    while (n >= s->len) {
        n -= s->len;
        s++;
    }
    return s->addr + n;
}

/* Takes chains until len bytes fit and writes them. Returns how many chains,
 * 0 if there are too few, -E2BIG if one is too small for a card without
 * mergeable buffers, or another -errno for a bad ring. */
static int place_packet(VirtioNet *net, size_t len, GuestAddr at[2])
{
    VirtioPci *v = &net->virtio;
    VirtQueue *vq = &v->queue[QUEUE_RX];
    bool mergeable = virtio_has_feature(v, F_MRG_RXBUF);
    size_t done = 0;
    int chains = 0;

    while (done < len) {
        int r = virtqueue_pop(vq, &v->chain);
        size_t n;

        if (r <= 0) {
            return r < 0 ? r : 0;
        }
        chains++;
        n = MIN(len - done, v->chain.in_bytes);
        if (n == 0 || (chains == 1 && n < HEADER_BYTES)) {
            return -EINVAL; /* 5.1.6.3.1: room for the header at least */
        }
        if (!mergeable && n < len) {
            return -E2BIG;
        }
        if (chains == 1) {
            at[0] = byte_address(&v->chain, HEADER_NUM_BUFFERS);
            at[1] = byte_address(&v->chain, HEADER_NUM_BUFFERS + 1);
        }
        r = virtqueue_write(vq, v->chain.segment + v->chain.out_count,
                            v->chain.in_count, 0, net->packet + done, n);
        r = r < 0 ? r : virtqueue_fill(vq, chains - 1, v->chain.head, n);
        if (r < 0) {
            return r;
        }
        done += n;
    }
    return chains;
}

static int write_num_buffers(const VirtQueue *vq, int chains,
                             const GuestAddr at[2])
{
    uint8_t low = chains, high = chains >> 8;
    int r = dma_write(vq->memory, at[0], &low, 1);

    return r < 0 ? r : dma_write(vq->memory, at[1], &high, 1);
}

/* 1: delivered or dropped; 0: no buffers; -errno: bad ring. */
static int deliver(VirtioNet *net, size_t len)
{
    VirtQueue *vq = &net->virtio.queue[QUEUE_RX];
    GuestAddr at[2] = { 0, 0 };
    int r = place_packet(net, len, at);

    if (r > 0) {
        int chains = r;

        r = write_num_buffers(vq, chains, at);
        r = r < 0 ? r : virtqueue_publish(vq, chains);
        return r < 0 ? r : 1;
    }
    while (virtqueue_in_flight(vq) > 0) {
        virtqueue_unpop(vq); /* (1) */
    }
    return r == -E2BIG ? 1 : r;
}

static bool receive_locked(VirtioNet *net, const void *packet, size_t len)
{
    VirtioPci *v = &net->virtio;
    VirtQueue *vq = &v->queue[QUEUE_RX];
    int r;

    if (!virtio_is_live(v) || !vq->enabled) {
        return false; /* started() or resume tells the backend */
    }
    if (len > PACKET_BYTES_MAX) {
        return true; /* nothing to put it in: dropped */
    }
    memset(net->packet, 0, HEADER_BYTES);
    memcpy(net->packet + HEADER_BYTES, packet, len);
    r = deliver(net, HEADER_BYTES + len);
    if (r == 0) {
        r = virtqueue_kicks_enable(vq); /* (2), then look once more */
        r = r > 0 ? deliver(net, HEADER_BYTES + len) : r;
    }
    if (r < 0) {
        virtio_break(v, "bad receive ring or buffer");
    }
    return r != 0;
}

static bool net_receive(void *opaque, const void *packet, size_t len)
{
    VirtioNet *net = opaque;
    bool taken;

    vm_mutex_lock(&net->virtio.pci.dev.lock);
    taken = receive_locked(net, packet, len);
    if (taken && virtio_is_live(&net->virtio)) {
        virtio_notify_queue(&net->virtio, QUEUE_RX);
    }
    vm_mutex_unlock(&net->virtio.pci.dev.lock);
    return taken;
}

static const NetReceiver receiver = { .receive = net_receive };

/* ---- Sending ----------------------------------------------------------- */

static int send_chain(VirtioNet *net, const VirtChain *chain)
{
    VirtQueue *vq = &net->virtio.queue[QUEUE_TX];
    int64_t n;

    if (chain->out_bytes < HEADER_BYTES) {
        return -EINVAL;
    }
    n = virtqueue_read(vq, chain->segment, chain->out_count, HEADER_BYTES,
                       net->packet,
                       MIN(chain->out_bytes - HEADER_BYTES,
                           sizeof(net->packet)));
    if (n < 0) {
        return n;
    }
    if (n > 0 && n <= PACKET_BYTES_MAX) {
        const struct iovec iov = { net->packet, n };

        net_backend_send(net->backend, &iov, 1);
    }
    return virtqueue_push(vq, chain->head, 0);
}

static int run_tx(VirtioNet *net)
{
    VirtioPci *v = &net->virtio;
    VirtQueue *vq = &v->queue[QUEUE_TX];
    int r = virtqueue_kicks_disable(vq), sent = 0;

    while (r >= 0 && sent < BATCH_MAX) {
        r = virtqueue_pop(vq, &v->chain);
        if (r == 0) {
            r = virtqueue_kicks_enable(vq);
            break;
        }
        if (r > 0) {
            r = send_chain(net, &v->chain);
            sent++;
        }
    }
    if (r < 0) {
        return r;
    }
    if (sent > 0) {
        virtio_notify_queue(v, QUEUE_TX);
    }
    return sent == BATCH_MAX ? 1 : r;
}

static int net_run_queue(VirtioPci *v, unsigned q)
{
    VirtioNet *net = from_virtio(v);
    int r;

    if (q == QUEUE_TX) {
        return run_tx(net);
    }
    r = virtqueue_kicks_disable(&v->queue[QUEUE_RX]);
    if (r == 0) {
        net_backend_can_send(net->backend);
    }
    return r;
}

/* ---- The device -------------------------------------------------------- */

static void net_set_running(VirtioPci *v, bool running)
{
    net_backend_set_running(from_virtio(v)->backend, running);
}

static const VirtioOps net_ops = {
    .run_queue = net_run_queue,
    .set_running = net_set_running,
};

static void fill_config(VirtioNet *net)
{
    memcpy(net->virtio.config + CONFIG_MAC, net->mac, MAC_BYTES);
    net->virtio.config[CONFIG_STATUS] = STATUS_LINK_UP;
    net_backend_set_address(net->backend, net->mac);
}

static int net_post_load(void *opaque, int version)
{
    fill_config(opaque); /* the card keeps the address it had */
    return 0;
}

static const VMStateDescription net_vmstate = {
    .name = "virtio-net",
    .version = 1,
    .minimum_version = 1,
    .post_load = net_post_load,
    .fields = (const VMStateField[]){
        VMSTATE_STRUCT(virtio, VirtioNet, virtio_pci_vmstate),
        VMSTATE_U8_ARRAY(mac, VirtioNet, MAC_BYTES),
        VMSTATE_END,
    },
};

static void net_free(Device *dev)
{
    VirtioNet *net = (VirtioNet *)dev;

    net_backend_detach(net->backend);
    virtio_pci_done(&net->virtio);
    g_free(net);
}

static const DeviceOps net_device_ops = {
    .reset = virtio_pci_reset,
    .quiesce = virtio_pci_quiesce,
    .resume = virtio_pci_resume,
    .free = net_free,
};

/* ---- Set-up ------------------------------------------------------------ */

typedef struct NetProps {
    NetBackend *backend;
    uint8_t mac[MAC_BYTES];
    uint64_t rx_size, tx_size;
    bool mrg_rxbuf;
    VirtioPciProps pci;
} NetProps;

/* Six bytes in hexadecimal, ":" or "-" between them. */
static bool parse_mac(const char *text, uint8_t mac[MAC_BYTES])
{
    for (int i = 0; i < MAC_BYTES; i++) {
        int high = g_ascii_xdigit_value(text[0]);
        int low = high < 0 ? -1 : g_ascii_xdigit_value(text[1]);
        char end = low < 0 ? 'x' : text[2];

        if (low < 0 || (i < MAC_BYTES - 1 ? end != ':' && end != '-'
                                          : end != '\0')) {
            return false;
        }
        mac[i] = high << 4 | low;
        text += 3;
    }
    return true;
}

/* 52:54:00:12:34:56 for the first card, the next ones count on. */
static void default_mac(const Machine *machine, uint8_t mac[MAC_BYTES])
{
    static const uint8_t base[MAC_BYTES] = { 0x52, 0x54, 0, 0x12, 0x34,
                                             0x56 };
    unsigned cards = 0;

    for (guint i = 0; i < machine->devices->len; i++) {
        const Device *d = g_ptr_array_index(machine->devices, i);

        cards += g_str_has_prefix(d->type, "virtio-net-pci");
    }
    memcpy(mac, base, MAC_BYTES);
    mac[5] += cards;
}

static bool get_mac(Machine *machine, const char *type, VmKeyval *props,
                    uint8_t mac[MAC_BYTES], GError **errp)
{
    const char *text = vm_keyval_get(props, "mac");

    if (!text) {
        default_mac(machine, mac);
        return true;
    }
    if (!parse_mac(text, mac)) {
        return vm_error_set(errp, 0, "%s: bad mac address '%s'", type, text);
    }
    if (mac[0] & 1) {
        return vm_error_set(errp, 0, "%s: '%s' is a multicast address", type,
                            text);
    }
    return true;
}

static bool find_netdev(Machine *machine, const char *type, VmKeyval *props,
                        NetBackend **ret, GError **errp)
{
    const char *netdev = vm_keyval_get(props, "netdev");
    const MachineBackends *b = machine->backends;

    if (!netdev) {
        return vm_error_set(errp, 0, "%s: netdev property not set", type);
    }
    *ret = b && b->find_net ? b->find_net(machine->backends_opaque, netdev)
                            : NULL;
    if (!*ret) {
        return vm_error_set(errp, 0, "%s: there is no netdev '%s'", type,
                            netdev);
    }
    return true;
}

/* Offloads may be turned off by name, as people do; never on. */
static bool check_offloads(const char *type, VmKeyval *props, GError **errp)
{
    static const char *const names[] = {
        "csum", "guest_csum", "gso", "guest_tso4", "guest_tso6", "guest_ecn",
        "guest_ufo", "host_tso4", "host_tso6", "host_ecn", "host_ufo", "mq",
        "ctrl_vq", "rss",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        bool on;

        if (!vm_keyval_get_bool(props, names[i], false, &on, errp)) {
            return false;
        }
        if (on) {
            return vm_error_set(errp, 0, "%s: %s=on is not supported", type,
                                names[i]);
        }
    }
    return true;
}

static bool check_size(const char *type, const char *name, uint64_t size,
                       GError **errp)
{
    if (size < 4 || size > VIRTQUEUE_SIZE_MAX || (size & (size - 1))) {
        return vm_error_set(errp, 0, "%s: %s is a power of two from 4 to %d",
                            type, name, VIRTQUEUE_SIZE_MAX);
    }
    return true;
}

static bool read_net_props(Machine *machine, const char *type,
                           VmKeyval *props, NetProps *p, GError **errp)
{
    uint64_t boot_index;

    return find_netdev(machine, type, props, &p->backend, errp) &&
           get_mac(machine, type, props, p->mac, errp) &&
           check_offloads(type, props, errp) &&
           vm_keyval_get_u64(props, "bootindex", 0, &boot_index, errp) &&
           vm_keyval_get_bool(props, "mrg_rxbuf", true, &p->mrg_rxbuf,
                              errp) &&
           vm_keyval_get_u64(props, "rx_queue_size", QUEUE_SIZE_DEFAULT,
                             &p->rx_size, errp) &&
           vm_keyval_get_u64(props, "tx_queue_size", QUEUE_SIZE_DEFAULT,
                             &p->tx_size, errp) &&
           check_size(type, "rx_queue_size", p->rx_size, errp) &&
           check_size(type, "tx_queue_size", p->tx_size, errp) &&
           virtio_pci_props(machine, type, QUEUES + 1, props, &p->pci, errp);
}

static bool net_create(Machine *machine, const char *type, const char *id,
                       VmKeyval *props, GError **errp)
{
    NetProps p = { 0 };
    VirtioPciConfig config = {
        .type = type,
        .device_id = VIRTIO_ID_NET,
        .class_code = 0x020000, /* Ethernet */
        .queue_count = QUEUES,
        .config_bytes = CONFIG_BYTES,
        .ops = &net_ops,
        .device_ops = &net_device_ops,
        .vmsd = &net_vmstate,
    };
    g_autofree VirtioNet *net = NULL;

    if (!read_net_props(machine, type, props, &p, errp)) {
        return false;
    }
    config.features = F_MAC | F_STATUS | (p.mrg_rxbuf ? F_MRG_RXBUF : 0);
    config.queue_size = MAX(p.rx_size, p.tx_size);
    net = g_new0(VirtioNet, 1);
    net->backend = p.backend;
    memcpy(net->mac, p.mac, MAC_BYTES);
    if (!net_backend_attach(p.backend, machine->io_context, &receiver, net,
                            errp)) {
        return false;
    }
    if (!virtio_pci_init(&net->virtio, machine, id, &config, &p.pci, errp)) {
        net_backend_detach(p.backend);
        return false;
    }
    net->virtio.queue[QUEUE_RX].size_max = p.rx_size;
    net->virtio.queue[QUEUE_TX].size_max = p.tx_size;
    virtqueue_reset(&net->virtio.queue[QUEUE_RX]);
    virtqueue_reset(&net->virtio.queue[QUEUE_TX]);
    fill_config(net);
    g_steal_pointer(&net); /* the machine owns it */
    return true;
}

bool virtio_net_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp)
{
    return net_create(machine, "virtio-net-pci", id, props, errp);
}

bool virtio_net_create_nt(Machine *machine, const char *id, VmKeyval *props,
                          GError **errp)
{
    return net_create(machine, "virtio-net-pci-non-transitional", id, props,
                      errp);
}
