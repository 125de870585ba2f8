/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What kinds of network backend implement.
 *
 * Threads: as in net/net.h.
 */
#ifndef VM_NET_NET_INTERNAL_H
#define VM_NET_NET_INTERNAL_H

#include <stdatomic.h>

#include "net/net.h"

typedef struct NetOps {
    /* Starts to read packets on context; net->card is set. */
    bool (*attach)(NetBackend *net, GMainContext *context, GError **errp);
    void (*send)(NetBackend *net, const struct iovec *iov, int iovcnt);
    /* The card takes packets again, or no longer. */
    void (*ready)(NetBackend *net, bool ready);
    void (*free)(NetBackend *net);
} NetOps;

/* First member of each kind. */
struct NetBackend {
    /* Immutable after net_backend_attach(). */
    const NetOps *ops;
    char *id;
    GMainContext *context;
    const NetReceiver *card; /* NULL: none */
    void *card_opaque;

    /* Atomic, relaxed: the card's address in the low 48 bits; 0: none. */
    _Atomic uint64_t address;

    /* I/O thread only. */
    bool paused; /* set_running(false) */
};

NetBackend *net_user_new(VmKeyval *options, GError **errp);
NetBackend *net_tap_new(VmKeyval *options, GError **errp);

/* Gives the card a packet; false: it has no room. Never from within send. */
bool net_give_card(NetBackend *net, const void *packet, size_t len);

#endif
