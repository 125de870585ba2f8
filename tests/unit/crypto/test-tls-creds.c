/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: credentials that could not work are refused when they are made,
 * with the file or property that is wrong.
 *
 * How: directories with certificates made for the purpose.
 */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "pki.h"

static GBytes *find_secret(void *opaque, const char *id)
{
    return strcmp(id, "pw") == 0 ? opaque : NULL;
}

static void refuse(const char *type, const char *dir, const char *more,
                   const SecretSource *secrets, const char *word)
{
    g_autofree char *text = g_strdup_printf(
        "%s%s%s%s", dir ? "dir=" : "", dir ? dir : "", dir ? "," : "", more);
    g_autoptr(GError) err = NULL;

    g_assert_null(pki_creds_try(type, text, secrets, &err));
    if (!strstr(err->message, word)) {
        g_test_message("'%s', not '%s'", err->message, word);
    }
    g_assert_nonnull(strstr(err->message, word));
}

static void test_properties(void)
{
    Pki *pki = pki_new("authority");
    char *dir = pki_dir_new(pki, NULL, TLS_CLIENT, NULL);
    TlsCreds *c = pki_creds("x509", TLS_CLIENT, dir, NULL);

    g_assert_cmpint(tls_creds_endpoint(c), ==, TLS_CLIENT);
    g_assert_true(tls_creds_wants_hostname(c));
    g_assert_true(tls_creds_ref(c) == c);
    tls_creds_unref(c);
    tls_creds_unref(c);
    c = pki_creds("x509", TLS_CLIENT, dir, "verify-peer=off");
    g_assert_false(tls_creds_wants_hostname(c));
    tls_creds_unref(c);
    c = pki_creds("anon", TLS_SERVER, NULL, "verify-peer=off");
    g_assert_cmpint(tls_creds_endpoint(c), ==, TLS_SERVER);
    tls_creds_unref(c);

    g_assert_false(tls_creds_is_type("tls-creds"));
    refuse("x509", dir, "endpoint=both", NULL, "'both'");
    refuse("x509", dir, "verify-peer=maybe", NULL, "verify-peer");
    refuse("x509", dir, "priority=NORMAL:+NONSENSE", NULL, "+NONSENSE");
    refuse("x509", NULL, "endpoint=client", NULL, "'dir' is missing");
    refuse("psk", NULL, "endpoint=client", NULL, "'dir' is missing");
    refuse("x509", dir, "passwordid=pw", NULL, "no secret with id 'pw'");
    refuse("x509", dir, "username=x", NULL, "unknown parameter 'username'");
    pki_dir_free(dir);
    pki_free(pki);
}

static void test_x509_files(void)
{
    Pki *pki = pki_new("authority");
    char *dir = pki_dir_new(pki, NULL, TLS_CLIENT, NULL);
    g_autofree char *ca = g_build_filename(dir, "ca-cert.pem", NULL);
    g_autofree char *crl = g_build_filename(dir, "ca-crl.pem", NULL);

    refuse("x509", dir, "endpoint=server", NULL, "server-cert.pem");
    pki_issue(pki, dir, TLS_SERVER, NULL);
    tls_creds_unref(pki_creds("x509", TLS_SERVER, dir, NULL));
    pki_issue(pki, dir, TLS_CLIENT, NULL);
    tls_creds_unref(pki_creds("x509", TLS_CLIENT, dir, NULL));
    pki_write_revocation(pki, dir, "server-cert.pem");
    refuse("x509", dir, "endpoint=server", NULL, "revoked");
    g_assert_true(g_file_set_contents(crl, "nonsense", -1, NULL));
    refuse("x509", dir, "endpoint=server", NULL, "ca-crl.pem");
    g_assert_true(g_file_set_contents(ca, "nonsense", -1, NULL));
    refuse("x509", dir, "endpoint=server", NULL, "ca-cert.pem");
    g_assert_cmpint(g_unlink(ca), ==, 0);
    refuse("x509", dir, "endpoint=server", NULL, "ca-cert.pem");
    refuse("x509", "/nonexistent", "endpoint=client", NULL, "ca-cert.pem");
    pki_dir_free(dir);
    pki_free(pki);
}

/* A half of an identity is probably a mistake. */
static void test_half(void)
{
    Pki *pki = pki_new("authority");
    char *dir = pki_dir_new(pki, pki, TLS_CLIENT, NULL);
    g_autofree char *cert = g_build_filename(dir, "client-cert.pem", NULL);
    g_autofree char *key = g_build_filename(dir, "client-key.pem", NULL);
    g_autofree char *other = g_build_filename(dir, "server-key.pem", NULL);

    pki_issue(pki, dir, TLS_SERVER, NULL);
    g_assert_cmpint(g_rename(other, key), ==, 0);
    refuse("x509", dir, "endpoint=client", NULL, "client-key.pem");
    g_assert_cmpint(g_unlink(key), ==, 0);
    refuse("x509", dir, "endpoint=client", NULL, "client-key.pem");
    g_assert_cmpint(g_rename(cert, key), ==, 0);
    refuse("x509", dir, "endpoint=client", NULL, "no certificate beside");
    pki_dir_free(dir);
    pki_free(pki);
}

/* What the sanity check finds, and that it can be switched off. */
static void test_sanity(void)
{
    static const struct {
        PkiIssue issue;
        const char *word;
    } cases[] = {
        { { .from_days = -3, .to_days = -1 }, "expired" },
        { { .from_days = 1, .to_days = 3 }, "not yet" },
        { { .wrong_use = true }, "purpose" },
    };
    Pki *pki = pki_new("authority"), *other = pki_new("another");

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *dir = pki_dir_new(pki, pki, TLS_SERVER, &cases[i].issue);

        refuse("x509", dir, "endpoint=server", NULL, cases[i].word);
        tls_creds_unref(pki_creds("x509", TLS_SERVER, dir,
                                  "sanity-check=off"));
        pki_dir_free(dir);
    }
    for (TlsEndpoint e = TLS_CLIENT; e <= TLS_SERVER; e++) {
        char *dir = pki_dir_new(pki, other, e, NULL);

        refuse("x509", dir, e == TLS_SERVER ? "endpoint=server"
                                            : "endpoint=client",
               NULL, "issuer is unknown");
        pki_dir_free(dir);
    }
    pki_free(pki);
    pki_free(other);
}

static void test_password(void)
{
    static const PkiIssue issue = { .password = "open" };
    Pki *pki = pki_new("authority");
    char *dir = pki_dir_new(pki, pki, TLS_SERVER, &issue);
    g_autoptr(GBytes) right = g_bytes_new_static("open", 4);
    g_autoptr(GBytes) wrong = g_bytes_new_static("shut", 4);
    SecretSource source = { find_secret, right };
    g_autofree char *text =
        g_strdup_printf("endpoint=server,passwordid=pw,dir=%s", dir);
    TlsCreds *c = pki_creds_try("x509", text, &source, NULL);

    g_assert_nonnull(c);
    tls_creds_unref(c);
    source.opaque = wrong;
    refuse("x509", dir, "endpoint=server,passwordid=pw", &source,
           "server-key.pem");
    refuse("x509", dir, "endpoint=server", NULL, "server-key.pem");
    pki_dir_free(dir);
    pki_free(pki);
}

static void test_psk(void)
{
    char *dir = pki_psk_dir_new("other:00aabbcc\nqemu:0011223344\n"
                                "bad:xyz\nno:\nqem:ff\n");

    tls_creds_unref(pki_creds("psk", TLS_SERVER, dir, NULL));
    tls_creds_unref(pki_creds("psk", TLS_CLIENT, dir, NULL));
    tls_creds_unref(pki_creds("psk", TLS_CLIENT, dir, "username=other"));
    refuse("psk", dir, "endpoint=client,username=nobody", NULL, "'nobody'");
    refuse("psk", dir, "endpoint=client,username=bad", NULL, "'bad'");
    refuse("psk", dir, "endpoint=client,username=no", NULL, "'no'");
    refuse("psk", dir, "endpoint=server,username=qemu", NULL, "for clients");
    refuse("psk", "/nonexistent", "endpoint=server", NULL, "keys.psk");
    pki_dir_free(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tls-creds/properties", test_properties);
    g_test_add_func("/tls-creds/x509-files", test_x509_files);
    g_test_add_func("/tls-creds/half-identity", test_half);
    g_test_add_func("/tls-creds/sanity", test_sanity);
    g_test_add_func("/tls-creds/password", test_password);
    g_test_add_func("/tls-creds/psk", test_psk);
    return g_test_run();
}
