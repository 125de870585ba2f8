/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network backends: the other end of a network card.
 *
 * Threads: everything on the I/O thread but set-up and freeing, which are on
 * the main thread while it does not run. receive() is never called from
 * within one of the functions below: the card may hold its lock around them.
 */
#ifndef VM_NET_NET_H
#define VM_NET_NET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/keyval.h"

#define NET_ADDRESS_BYTES 6

typedef struct NetBackend NetBackend;

typedef struct NetReceiver {
    /* Gives a packet to the card; false if it has no buffer now: the
     * backend keeps it and tries again after net_backend_can_send(). */
    bool (*receive)(void *opaque, const void *packet, size_t len);
} NetReceiver;

/* -netdev user,id=,hostfwd=,restrict=,net=... | tap,id=,ifname=,fd=,script=no,
 * downscript=no. Others are refused by name. */
NetBackend *net_backend_new(VmKeyval *options, GError **errp);
void net_backend_free(NetBackend *net);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NetBackend, net_backend_free)

const char *net_backend_id(const NetBackend *net);
/* One card a backend. */
bool net_backend_attach(NetBackend *net, GMainContext *context,
                        const NetReceiver *receiver, void *opaque,
                        GError **errp);
/* The card goes; packets for it are dropped. NULL-safe for one not attached. */
void net_backend_detach(NetBackend *net);
/* The guest sends a packet; dropped if the other end cannot take it. */
void net_backend_send(NetBackend *net, const struct iovec *iov, int iovcnt);
/* The card has receive buffers again. */
void net_backend_can_send(NetBackend *net);
/* The card's hardware address, before packets move. Any thread. */
void net_backend_set_address(NetBackend *net,
                             const uint8_t mac[NET_ADDRESS_BYTES]);
/* Tells the other end that the card is here: a RARP request from its address,
 * which switches learn from and nobody answers. Nothing without a card. */
void net_backend_announce(NetBackend *net);
/* While the VM is paused no packet may reach the card. The card calls this on
 * the I/O thread; from another thread it does nothing while that one runs. */
void net_backend_set_running(NetBackend *net, bool running);

#endif
