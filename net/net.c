/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network backends: what all kinds share.
 *
 * Why: kinds differ in where packets come from; that a card is attached once,
 * and that nothing reaches it while the VM is paused, is the same for all.
 *
 * Threads: see net/net.h.
 */
#include "net-internal.h"

#include <string.h>

#include "util/error.h"

#define RARP_BYTES 60 /* without the check sequence */

typedef struct NetKind {
    const char *name;
    NetBackend *(*create)(VmKeyval *options, GError **errp);
} NetKind;

static const NetKind kinds[] = {
    { "user", net_user_new },
    { "tap", net_tap_new },
};

NetBackend *net_backend_new(VmKeyval *options, GError **errp)
{
    const char *type = vm_keyval_get(options, "type");
    const char *id = vm_keyval_get(options, "id");

    if (!type || !id) {
        vm_error_set(errp, 0, "-netdev: %s is missing",
                     type ? "id=" : "the type");
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (g_str_equal(type, kinds[i].name)) {
            NetBackend *net = kinds[i].create(options, errp);

            if (net) {
                net->id = g_strdup(id);
            }
            return net;
        }
    }
    vm_error_set(errp, 0, "-netdev: type '%s' is not supported", type);
    return NULL;
}

void net_backend_free(NetBackend *net)
{
    g_autoptr(GMainContext) context = NULL;

    if (!net) {
        return;
    }
    context = net->context; /* outlives what free() still does with it */
    g_free(net->id);
    net->ops->free(net);
}

const char *net_backend_id(const NetBackend *net)
{
    return net->id;
}

bool net_backend_attach(NetBackend *net, GMainContext *context,
                        const NetReceiver *receiver, void *opaque,
                        GError **errp)
{
    if (net->card || net->context) {
        return vm_error_set(errp, 0, "netdev '%s' is already in use",
                            net->id);
    }
    net->context = g_main_context_ref(context);
    net->card = receiver;
    net->card_opaque = opaque;
    if (!net->ops->attach(net, context, errp)) {
        net->card = NULL;
        return false;
    }
    return true;
}

void net_backend_detach(NetBackend *net)
{
    net->ops->ready(net, false);
    net->card = NULL;
}

bool net_give_card(NetBackend *net, const void *packet, size_t len)
{
    if (!net->card) {
        return true; /* nobody to miss it */
    }
    return !net->paused && net->card->receive(net->card_opaque, packet, len);
}

void net_backend_send(NetBackend *net, const struct iovec *iov, int iovcnt)
{
    net->ops->send(net, iov, iovcnt);
}

void net_backend_set_address(NetBackend *net,
                             const uint8_t mac[NET_ADDRESS_BYTES])
{
    uint64_t address = 0;

    for (int i = 0; i < NET_ADDRESS_BYTES; i++) {
        address = address << 8 | mac[i];
    }
    atomic_store_explicit(&net->address, address, memory_order_relaxed);
}

/* RFC 903, in an Ethernet frame of the least length: "who am I?", of the
 * card's own address, to everybody. */
static void fill_rarp(uint8_t frame[RARP_BYTES], uint64_t address)
{
    static const uint8_t fixed[] = {
        0x80, 0x35, /* RARP */
        0, 1, 8, 0, /* Ethernet, IPv4 */
        6, 4,       /* bytes of an address of each */
        0, 3,       /* request */
    };

    memset(frame, 0, RARP_BYTES);
    memset(frame, 0xff, NET_ADDRESS_BYTES);
    memcpy(frame + 12, fixed, sizeof(fixed));
    for (int i = 0; i < NET_ADDRESS_BYTES; i++) {
        uint8_t byte = (uint8_t)(address >> (40 - 8 * i));

        frame[6 + i] = byte;  /* from */
        frame[22 + i] = byte; /* whose hardware address the sender has, */
        frame[32 + i] = byte; /* and which one is asked for */
    }
}

void net_backend_announce(NetBackend *net)
{
    uint8_t frame[RARP_BYTES];
    const struct iovec iov = { frame, sizeof(frame) };
    uint64_t address = atomic_load_explicit(&net->address,
                                            memory_order_relaxed);

    if (net->card && address) {
        fill_rarp(frame, address);
        net->ops->send(net, &iov, 1);
    }
}

void net_backend_can_send(NetBackend *net)
{
    if (!net->paused && net->card) {
        net->ops->ready(net, true);
    }
}

void net_backend_set_running(NetBackend *net, bool running)
{
    if (!net->context) {
        return; /* no card */
    }
    /* Elsewhere than on the I/O thread it would race with packets; the card
     * says the same there. */
    if (g_main_context_acquire(net->context)) {
        net->paused = !running;
        net->ops->ready(net, running && net->card);
        g_main_context_release(net->context);
    }
}
