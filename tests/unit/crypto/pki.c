/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Certificates for tests, see pki.h. Keys are of the curve P-256: fast. */
#include "pki.h"

#include <arpa/inet.h>
#include <glib/gstdio.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

#define DAY_S (24 * 60 * 60)
#define CHECK(call) g_assert_cmpint((call), >=, 0)

struct Pki {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
};

static gnutls_x509_privkey_t new_key(void)
{
    gnutls_x509_privkey_t key;

    CHECK(gnutls_x509_privkey_init(&key));
    CHECK(gnutls_x509_privkey_generate(
        key, GNUTLS_PK_EC, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
        0));
    return key;
}

static gnutls_x509_crt_t new_crt(gnutls_x509_privkey_t key, const char *name,
                                 int from_days, int to_days)
{
    static uint32_t count;
    uint32_t serial = GUINT32_TO_BE(++count);
    gnutls_x509_crt_t crt;

    CHECK(gnutls_x509_crt_init(&crt));
    CHECK(gnutls_x509_crt_set_version(crt, 3));
    CHECK(gnutls_x509_crt_set_key(crt, key));
    CHECK(gnutls_x509_crt_set_serial(crt, &serial, sizeof(serial)));
    CHECK(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0,
                                        name, (unsigned)strlen(name)));
    CHECK(gnutls_x509_crt_set_activation_time(crt, time(NULL) +
                                                       from_days * DAY_S));
    CHECK(gnutls_x509_crt_set_expiration_time(crt, time(NULL) +
                                                       to_days * DAY_S));
    return crt;
}

Pki *pki_new(const char *name)
{
    Pki *pki = g_new0(Pki, 1);

    pki->key = new_key();
    pki->crt = new_crt(pki->key, name, -100, 100);
    CHECK(gnutls_x509_crt_set_basic_constraints(pki->crt, 1, -1));
    CHECK(gnutls_x509_crt_set_key_usage(
        pki->crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
    CHECK(gnutls_x509_crt_sign2(pki->crt, pki->crt, pki->key,
                                GNUTLS_DIG_SHA256, 0));
    return pki;
}

void pki_free(Pki *pki)
{
    gnutls_x509_crt_deinit(pki->crt);
    gnutls_x509_privkey_deinit(pki->key);
    g_free(pki);
}

/* Takes datum. */
static void write_file(const char *dir, const char *file,
                       gnutls_datum_t datum)
{
    g_autofree char *path = g_build_filename(dir, file, NULL);

    g_assert_true(g_file_set_contents(path, (char *)datum.data, datum.size,
                                      NULL));
    gnutls_free(datum.data);
}

static void write_crt(gnutls_x509_crt_t crt, const char *dir,
                      const char *file)
{
    gnutls_datum_t datum;

    CHECK(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &datum));
    write_file(dir, file, datum);
}

void pki_write_authority(Pki *pki, const char *dir)
{
    write_crt(pki->crt, dir, "ca-cert.pem");
}

void pki_write_revocation(Pki *pki, const char *dir, const char *file)
{
    g_autofree char *path = g_build_filename(dir, file, NULL);
    g_autofree char *pem = NULL;
    gsize len;
    gnutls_datum_t datum;
    gnutls_x509_crt_t crt;
    gnutls_x509_crl_t crl;

    g_assert_true(g_file_get_contents(path, &pem, &len, NULL));
    datum = (gnutls_datum_t){ (unsigned char *)pem, (unsigned)len };
    CHECK(gnutls_x509_crt_init(&crt));
    CHECK(gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_PEM));
    CHECK(gnutls_x509_crl_init(&crl));
    CHECK(gnutls_x509_crl_set_version(crl, 2));
    CHECK(gnutls_x509_crl_set_crt(crl, crt, time(NULL)));
    CHECK(gnutls_x509_crl_set_this_update(crl, time(NULL) - DAY_S));
    CHECK(gnutls_x509_crl_set_next_update(crl, time(NULL) + DAY_S));
    CHECK(gnutls_x509_crl_sign2(crl, pki->crt, pki->key, GNUTLS_DIG_SHA256,
                                0));
    CHECK(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &datum));
    write_file(dir, "ca-crl.pem", datum);
    gnutls_x509_crl_deinit(crl);
    gnutls_x509_crt_deinit(crt);
}

static void set_host(gnutls_x509_crt_t crt, const char *host)
{
    struct in_addr ip;

    if (inet_pton(AF_INET, host, &ip) == 1) {
        CHECK(gnutls_x509_crt_set_subject_alt_name(
            crt, GNUTLS_SAN_IPADDRESS, &ip, sizeof(ip), GNUTLS_FSAN_SET));
    } else {
        CHECK(gnutls_x509_crt_set_subject_alt_name(
            crt, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host),
            GNUTLS_FSAN_SET));
    }
}

static void write_key(gnutls_x509_privkey_t key, const char *dir,
                      const char *file, const char *password)
{
    gnutls_datum_t datum;

    CHECK(gnutls_x509_privkey_export2_pkcs8(
        key, GNUTLS_X509_FMT_PEM, password,
        password ? GNUTLS_PKCS_PBES2_AES_256 : GNUTLS_PKCS_PLAIN, &datum));
    write_file(dir, file, datum);
}

void pki_issue(Pki *pki, const char *dir, TlsEndpoint endpoint,
               const PkiIssue *how)
{
    static const PkiIssue right = { NULL };
    bool server = endpoint == TLS_SERVER;
    gnutls_x509_privkey_t key = new_key();
    gnutls_x509_crt_t crt;

    how = how ? how : &right;
    crt = new_crt(key, server ? "a server" : "a client",
                  how->from_days ? how->from_days : -1,
                  how->to_days ? how->to_days : 1);
    if (server) {
        set_host(crt, how->host ? how->host : "migrate.example");
    }
    CHECK(gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE));
    CHECK(gnutls_x509_crt_set_key_purpose_oid(
        crt, server != how->wrong_use ? GNUTLS_KP_TLS_WWW_SERVER
                                      : GNUTLS_KP_TLS_WWW_CLIENT, 1));
    CHECK(gnutls_x509_crt_sign2(crt, pki->crt, pki->key, GNUTLS_DIG_SHA256,
                                0));
    write_crt(crt, dir, server ? "server-cert.pem" : "client-cert.pem");
    write_key(key, dir, server ? "server-key.pem" : "client-key.pem",
              how->password);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

char *pki_dir_new(Pki *pki, Pki *issuer, TlsEndpoint endpoint,
                  const PkiIssue *how)
{
    char *dir = g_dir_make_tmp("vmt-pki-XXXXXX", NULL);

    g_assert_nonnull(dir);
    pki_write_authority(pki, dir);
    if (issuer) {
        pki_issue(issuer, dir, endpoint, how);
    }
    return dir;
}

char *pki_psk_dir_new(const char *content)
{
    char *dir = g_dir_make_tmp("vmt-pki-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "keys.psk", NULL);

    g_assert_true(g_file_set_contents(path, content, -1, NULL));
    return dir;
}

void pki_dir_free(char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;

    g_assert_nonnull(d);
    while ((name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);

        g_assert_cmpint(g_unlink(path), ==, 0);
    }
    g_dir_close(d);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
    g_free(dir);
}

static GBytes *find_nothing(void *opaque, const char *id)
{
    return NULL;
}

TlsCreds *pki_creds_try(const char *type, const char *text,
                        const SecretSource *secrets, GError **errp)
{
    static const SecretSource none = { find_nothing, NULL };
    g_autofree char *full = g_strdup_printf("tls-creds-%s", type);
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-object", text, NULL, errp);
    g_autoptr(TlsCreds) c = NULL;

    g_assert_nonnull(kv);
    g_assert_true(tls_creds_is_type(full));
    c = tls_creds_new(full, kv, secrets ? secrets : &none, errp);
    return c && vm_keyval_check_all_used(kv, errp) ? g_steal_pointer(&c)
                                                   : NULL;
}

TlsCreds *pki_creds(const char *type, TlsEndpoint endpoint, const char *dir,
                    const char *more)
{
    g_autofree char *text = g_strdup_printf(
        "endpoint=%s%s%s%s%s", endpoint == TLS_SERVER ? "server" : "client",
        dir ? ",dir=" : "", dir ? dir : "", more ? "," : "",
        more ? more : "");
    g_autoptr(GError) err = NULL;
    TlsCreds *c = pki_creds_try(type, text, NULL, &err);

    g_assert_no_error(err);
    g_assert_nonnull(c);
    return c;
}
