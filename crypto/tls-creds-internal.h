/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a session needs of its credentials.
 *
 * Threads: any; immutable.
 */
#ifndef VM_CRYPTO_TLS_CREDS_INTERNAL_H
#define VM_CRYPTO_TLS_CREDS_INTERNAL_H

#include <gnutls/gnutls.h>
#include <stdatomic.h>

#include "crypto/tls-creds.h"

typedef enum TlsKind { TLS_X509, TLS_PSK, TLS_ANON } TlsKind;

struct TlsCreds {
    atomic_uint refs;

    /* Immutable. */
    TlsKind kind;
    TlsEndpoint endpoint;
    bool verify_peer;
    gnutls_priority_t priority;
    union { /* by kind and endpoint; NULL: not there yet */
        void *any;
        gnutls_certificate_credentials_t x509;
        gnutls_psk_client_credentials_t psk_client;
        gnutls_psk_server_credentials_t psk_server;
        gnutls_anon_client_credentials_t anon_client;
        gnutls_anon_server_credentials_t anon_server;
    } u;
};

#endif
