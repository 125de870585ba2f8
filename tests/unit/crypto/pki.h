/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Certificates and keys for the tests of TLS, made on the spot: a directory
 * with files as QEMU names them.
 */
#ifndef VM_TESTS_PKI_H
#define VM_TESTS_PKI_H

#include <glib.h>
#include <stdbool.h>

#include "crypto/tls-creds.h"

typedef struct Pki Pki; /* an authority */

Pki *pki_new(const char *name);
void pki_free(Pki *pki);
/* dir/ca-cert.pem */
void pki_write_authority(Pki *pki, const char *dir);
/* dir/ca-crl.pem, which revokes the certificate in dir/file. */
void pki_write_revocation(Pki *pki, const char *dir, const char *file);

/* What is not set is right. */
typedef struct PkiIssue {
    const char *host;     /* default "migrate.example"; or an IPv4 address */
    int from_days;        /* from today: default -1 */
    int to_days;          /* default 1 */
    bool wrong_use;       /* of a server for a client, and vice versa */
    const char *password; /* that the key is encrypted with */
} PkiIssue;
/* dir/{server,client}-cert.pem and -key.pem */
void pki_issue(Pki *pki, const char *dir, TlsEndpoint endpoint,
               const PkiIssue *how);

/* A directory of its own, with ca-cert.pem of pki, and a certificate by
 * issuer (NULL: none). */
char *pki_dir_new(Pki *pki, Pki *issuer, TlsEndpoint endpoint,
                  const PkiIssue *how);
/* One with keys.psk. */
char *pki_psk_dir_new(const char *content);
void pki_dir_free(char *dir); /* with all its files */

/* Credentials by QEMU's spelling: type "x509", text "dir=...". */
TlsCreds *pki_creds_try(const char *type, const char *text,
                        const SecretSource *secrets, GError **errp);
/* Aborts if they cannot be had. */
TlsCreds *pki_creds(const char *type, TlsEndpoint endpoint, const char *dir,
                    const char *more);

#endif
