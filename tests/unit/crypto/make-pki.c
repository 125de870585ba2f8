/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Certificates for the native tests.
 *
 * usage: make-pki DIR HOST
 *
 * makes directories below DIR, each with ca-cert.pem of one authority:
 *   server, client   right ones; the server is HOST
 *   other            a server of another name
 *   expired          a server, since yesterday
 *   nobody           a client without a certificate
 *   stranger         a client of another authority
 *   locked           a client whose key has the password "open sesame"
 */
#include <glib/gstdio.h>
#include <stdio.h>

#include "pki.h"

static void make(Pki *pki, Pki *issuer, const char *top, const char *name,
                 TlsEndpoint endpoint, const PkiIssue *how)
{
    g_autofree char *dir = g_build_filename(top, name, NULL);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    pki_write_authority(pki, dir);
    if (issuer) {
        pki_issue(issuer, dir, endpoint, how);
    }
}

int main(int argc, char **argv)
{
    Pki *pki, *other;

    if (argc != 3) {
        fprintf(stderr, "usage: make-pki DIR HOST\n");
        return 2;
    }
    pki = pki_new("authority");
    other = pki_new("another");
    make(pki, pki, argv[1], "server", TLS_SERVER,
         &(PkiIssue){ .host = argv[2] });
    make(pki, pki, argv[1], "other", TLS_SERVER,
         &(PkiIssue){ .host = "other.example" });
    make(pki, pki, argv[1], "expired", TLS_SERVER,
         &(PkiIssue){ .host = argv[2], .from_days = -3, .to_days = -1 });
    make(pki, pki, argv[1], "client", TLS_CLIENT, NULL);
    make(pki, NULL, argv[1], "nobody", TLS_CLIENT, NULL);
    make(pki, other, argv[1], "stranger", TLS_CLIENT, NULL);
    make(pki, pki, argv[1], "locked", TLS_CLIENT,
         &(PkiIssue){ .password = "open sesame" });
    pki_free(pki);
    pki_free(other);
    return 0;
}
