/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS credentials: who this side is, and whom it believes; QEMU's objects
 * tls-creds-x509, tls-creds-psk and tls-creds-anon with QEMU's properties and
 * file names:
 *
 *   all    endpoint=client|server (client), dir=PATH, priority=TEXT (of
 *          GnuTLS), verify-peer=on|off (on)
 *   x509   ca-cert.pem, ca-crl.pem if it is there; {server,client}-cert.pem
 *          and {server,client}-key.pem, which a client may lack;
 *          passwordid=ID of a secret that the key is encrypted with;
 *          sanity-check=on|off (on): own certificates that no peer would
 *          accept are refused here
 *   psk    keys.psk, lines of USER:HEX; a client is username=TEXT (qemu)
 *   anon   no files: encryption against who only listens
 *
 * verify-peer=off: a server asks for no certificate, a client believes any.
 *
 * Files are read when the object is made, but for a server's keys.psk, which
 * is read at each handshake.
 *
 * Threads: made on the main thread; immutable then, so that sessions of
 * several threads may share one. Reference counted.
 */
#ifndef VM_CRYPTO_TLS_CREDS_H
#define VM_CRYPTO_TLS_CREDS_H

#include <glib.h>
#include <stdbool.h>

#include "crypto/secret.h"
#include "util/keyval.h"

typedef struct TlsCreds TlsCreds;

typedef enum TlsEndpoint { TLS_CLIENT, TLS_SERVER } TlsEndpoint;

/* "tls-creds-x509", "tls-creds-psk", "tls-creds-anon". */
bool tls_creds_is_type(const char *type);
TlsCreds *tls_creds_new(const char *type, VmKeyval *kv,
                        const SecretSource *secrets, GError **errp);
TlsCreds *tls_creds_ref(TlsCreds *creds);
void tls_creds_unref(TlsCreds *creds); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TlsCreds, tls_creds_unref)

TlsEndpoint tls_creds_endpoint(const TlsCreds *creds);
/* Checks the certificate of a server against a name, which it needs. */
bool tls_creds_wants_hostname(const TlsCreds *creds);

#endif
