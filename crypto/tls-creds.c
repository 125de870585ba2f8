/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS credentials, see crypto/tls-creds.h.
 *
 * Why a check of our own certificates: what is wrong with them would else be
 * told to the peer only, in the middle of a migration.
 *
 * Threads: main makes them.
 */
#include "tls-creds-internal.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"

/* What priority= replaces, and what each kind needs on top of it: TLS 1.2
 * and later, key exchanges for the credentials at hand. */
#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
static const char *const extra_priority[] = {
    [TLS_X509] = "",
    [TLS_PSK] = ":+ECDHE-PSK:+DHE-PSK:+PSK",
    [TLS_ANON] = ":+ANON-ECDH:+ANON-DH",
};

static const char *const types[] = {
    [TLS_X509] = "tls-creds-x509",
    [TLS_PSK] = "tls-creds-psk",
    [TLS_ANON] = "tls-creds-anon",
};

/* A file in dir; NULL without an error if it may be missing and is. */
static char *find_file(const char *dir, const char *name, bool needed,
                       GError **errp)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    if (access(path, R_OK) == 0) {
        return g_steal_pointer(&path);
    }
    if (needed || errno != ENOENT) {
        vm_error_set(errp, errno, "cannot read '%s'", path);
    }
    return NULL;
}

/* -- x509 --------------------------------------------------------------- */

static bool load_authorities(TlsCreds *c, const char *dir, GError **errp)
{
    GError *local = NULL;
    g_autofree char *ca = find_file(dir, "ca-cert.pem", true, errp);
    g_autofree char *crl = NULL;
    int n;

    if (!ca) {
        return false;
    }
    n = gnutls_certificate_set_x509_trust_file(c->u.x509, ca,
                                               GNUTLS_X509_FMT_PEM);
    if (n <= 0) {
        return vm_error_set(errp, 0, "'%s': %s", ca,
                            n < 0 ? gnutls_strerror(n) : "no certificate");
    }
    crl = find_file(dir, "ca-crl.pem", false, &local);
    if (local) {
        g_propagate_error(errp, local);
        return false;
    }
    n = crl ? gnutls_certificate_set_x509_crl_file(c->u.x509, crl,
                                                   GNUTLS_X509_FMT_PEM)
            : 0;
    return n >= 0 ||
           vm_error_set(errp, 0, "'%s': %s", crl, gnutls_strerror(n));
}

static bool load_pair(TlsCreds *c, const char *cert, const char *key,
                      const char *password, GError **errp)
{
    int r = gnutls_certificate_set_x509_key_file2(
        c->u.x509, cert, key, GNUTLS_X509_FMT_PEM, password, 0);

    return r >= 0 || vm_error_set(errp, 0, "'%s' and '%s': %s", cert, key,
                                  gnutls_strerror(r));
}

/* *ret_loaded: there is one. */
static bool load_identity(TlsCreds *c, const char *dir, const char *password,
                          bool *ret_loaded, GError **errp)
{
    bool server = c->endpoint == TLS_SERVER;
    GError *local = NULL;
    g_autofree char *cert = find_file(
        dir, server ? "server-cert.pem" : "client-cert.pem", server, &local);
    g_autofree char *key = NULL;

    if (!local) { /* both or neither */
        key = find_file(dir, server ? "server-key.pem" : "client-key.pem",
                        cert != NULL, &local);
    }
    if (local) {
        g_propagate_error(errp, local);
        return false;
    }
    if (key && !cert) {
        return vm_error_set(errp, 0, "'%s' has no certificate beside it",
                            key);
    }
    *ret_loaded = cert != NULL;
    return !cert || load_pair(c, cert, key, password, errp);
}

static bool check_chain(TlsCreds *c, gnutls_x509_crt_t *chain, unsigned n,
                        GError **errp)
{
    gnutls_typed_vdata_st purpose = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)(c->endpoint == TLS_SERVER
                                      ? GNUTLS_KP_TLS_WWW_SERVER
                                      : GNUTLS_KP_TLS_WWW_CLIENT),
    };
    gnutls_x509_trust_list_t trusted;
    gnutls_datum_t text = { NULL, 0 };
    unsigned status = 0;
    int r;

    gnutls_certificate_get_trust_list(c->u.x509, &trusted);
    r = gnutls_x509_trust_list_verify_crt2(trusted, chain, n, &purpose, 1, 0,
                                           &status, NULL);
    if (r == 0 && status == 0) {
        return true;
    }
    if (r < 0 || gnutls_certificate_verification_status_print(
                     status, GNUTLS_CRT_X509, &text, 0) < 0) {
        return vm_error_set(errp, 0, "cannot check the own certificate: %s",
                            gnutls_strerror(r));
    }
    vm_error_set(errp, 0, "no peer would accept the own certificate: %s",
                 g_strchomp((char *)text.data));
    gnutls_free(text.data);
    return false;
}

static bool check_identity(TlsCreds *c, GError **errp)
{
    gnutls_x509_crt_t *chain = NULL;
    unsigned n = 0;
    bool ok;
    int r = gnutls_certificate_get_x509_crt(c->u.x509, 0, &chain, &n);

    ok = r < 0 ? vm_error_set(errp, 0, "own certificate: %s",
                              gnutls_strerror(r))
               : check_chain(c, chain, n, errp);
    for (unsigned i = 0; i < n; i++) {
        gnutls_x509_crt_deinit(chain[i]);
    }
    gnutls_free(chain);
    return ok;
}

static bool load_x509(TlsCreds *c, VmKeyval *kv, const char *dir,
                      const SecretSource *secrets, GError **errp)
{
    const char *id = vm_keyval_get(kv, "passwordid");
    char *password = NULL;
    bool check, loaded = false, ok;

    if (!dir) {
        return vm_error_set(errp, 0, "'dir' is missing");
    }
    if (!vm_keyval_get_bool(kv, "sanity-check", true, &check, errp)) {
        return false;
    }
    if (id) {
        password = secret_find_text(secrets, id, errp);
        if (!password) {
            return false;
        }
    }
    gnutls_certificate_allocate_credentials(&c->u.x509);
    ok = load_authorities(c, dir, errp) &&
         load_identity(c, dir, password, &loaded, errp) &&
         (!check || !loaded || check_identity(c, errp));
    secret_free_text(password);
    return ok;
}

/* -- psk ---------------------------------------------------------------- */

static bool load_psk_server(TlsCreds *c, const char *path, GError **errp)
{
    int r;

    gnutls_psk_allocate_server_credentials(&c->u.psk_server);
    r = gnutls_psk_set_server_credentials_file(c->u.psk_server, path);
    return r >= 0 ||
           vm_error_set(errp, 0, "'%s': %s", path, gnutls_strerror(r));
}

/* The hex digits behind "user:" in a text of lines. */
static char *find_psk(const char *text, const char *user)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    char *key = NULL;

    for (char **line = lines; *line; line++) {
        char *colon = strchr(*line, ':');

        if (!key && colon && (size_t)(colon - *line) == strlen(user) &&
            g_str_has_prefix(*line, user)) {
            key = g_strchomp(g_strdup(colon + 1));
        }
        explicit_bzero(*line, strlen(*line));
    }
    return key;
}

static bool load_psk_client(TlsCreds *c, const char *path, const char *user,
                            GError **errp)
{
    g_autofree char *text = NULL;
    gsize len;
    gnutls_datum_t datum;
    char *key;
    int r = GNUTLS_E_PARSING_ERROR;

    if (!g_file_get_contents(path, &text, &len, errp)) {
        return false;
    }
    key = find_psk(text, user);
    explicit_bzero(text, len);
    if (!key) {
        return vm_error_set(errp, 0, "'%s' has no key of the user '%s'", path,
                            user);
    }
    gnutls_psk_allocate_client_credentials(&c->u.psk_client);
    datum = (gnutls_datum_t){ (unsigned char *)key, (unsigned)strlen(key) };
    if (datum.size) {
        r = gnutls_psk_set_client_credentials(c->u.psk_client, user, &datum,
                                              GNUTLS_PSK_KEY_HEX);
    }
    secret_free_text(key);
    return r >= 0 || vm_error_set(errp, 0, "'%s', key of '%s': %s", path,
                                  user, gnutls_strerror(r));
}

static bool load_psk(TlsCreds *c, VmKeyval *kv, const char *dir,
                     GError **errp)
{
    const char *user = vm_keyval_get(kv, "username");
    g_autofree char *path = NULL;

    if (!dir) {
        return vm_error_set(errp, 0, "'dir' is missing");
    }
    if (user && c->endpoint == TLS_SERVER) {
        return vm_error_set(errp, 0, "'username' is for clients");
    }
    path = find_file(dir, "keys.psk", true, errp);
    return path && (c->endpoint == TLS_SERVER
                        ? load_psk_server(c, path, errp)
                        : load_psk_client(c, path, user ? user : "qemu",
                                          errp));
}

/* -- anon --------------------------------------------------------------- */

static bool load_anon(TlsCreds *c, GError **errp)
{
    if (c->endpoint == TLS_CLIENT) {
        gnutls_anon_allocate_client_credentials(&c->u.anon_client);
        return true;
    }
    gnutls_anon_allocate_server_credentials(&c->u.anon_server);
    gnutls_anon_set_server_known_dh_params(c->u.anon_server,
                                           GNUTLS_SEC_PARAM_MEDIUM);
    return true;
}

/* -- all ---------------------------------------------------------------- */

static bool read_endpoint(TlsCreds *c, VmKeyval *kv, GError **errp)
{
    const char *text = vm_keyval_get(kv, "endpoint");

    c->endpoint = g_strcmp0(text, "server") == 0 ? TLS_SERVER : TLS_CLIENT;
    return !text || c->endpoint == TLS_SERVER || strcmp(text, "client") == 0 ||
           vm_error_set(errp, 0, "endpoint '%s' is neither 'client' nor "
                                 "'server'", text);
}

static bool read_priority(TlsCreds *c, VmKeyval *kv, GError **errp)
{
    const char *given = vm_keyval_get(kv, "priority");
    g_autofree char *text = g_strconcat(given ? given : PRIORITY,
                                        extra_priority[c->kind], NULL);
    const char *at = text;
    int r = gnutls_priority_init(&c->priority, text, &at);

    return r >= 0 || vm_error_set(errp, 0, "priority '%s': %s at '%s'", text,
                                  gnutls_strerror(r), at);
}

static bool load(TlsCreds *c, VmKeyval *kv, const SecretSource *secrets,
                 GError **errp)
{
    const char *dir = vm_keyval_get(kv, "dir");

    if (!read_endpoint(c, kv, errp) ||
        !vm_keyval_get_bool(kv, "verify-peer", true, &c->verify_peer, errp) ||
        !read_priority(c, kv, errp)) {
        return false;
    }
    switch (c->kind) {
    case TLS_X509:
        return load_x509(c, kv, dir, secrets, errp);
    case TLS_PSK:
        return load_psk(c, kv, dir, errp);
    default:
        return load_anon(c, errp);
    }
}

bool tls_creds_is_type(const char *type)
{
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (strcmp(type, types[i]) == 0) {
            return true;
        }
    }
    return false;
}

TlsCreds *tls_creds_new(const char *type, VmKeyval *kv,
                        const SecretSource *secrets, GError **errp)
{
    g_autoptr(TlsCreds) c = g_new0(TlsCreds, 1);

    atomic_init(&c->refs, 1);
    while (strcmp(type, types[c->kind]) != 0) {
        c->kind++; /* the caller has checked that it is there */
    }
    return load(c, kv, secrets, errp) ? g_steal_pointer(&c) : NULL;
}

static void free_credentials(TlsCreds *c)
{
    bool server = c->endpoint == TLS_SERVER;

    if (!c->u.any) {
        return;
    }
    switch (c->kind) {
    case TLS_X509:
        gnutls_certificate_free_credentials(c->u.x509);
        break;
    case TLS_PSK:
        if (server) {
            gnutls_psk_free_server_credentials(c->u.psk_server);
        } else {
            gnutls_psk_free_client_credentials(c->u.psk_client);
        }
        break;
    case TLS_ANON:
        if (server) {
            gnutls_anon_free_server_credentials(c->u.anon_server);
        } else {
            gnutls_anon_free_client_credentials(c->u.anon_client);
        }
        break;
    }
}

TlsCreds *tls_creds_ref(TlsCreds *creds)
{
    if (creds) {
        /* Relaxed: the caller's own reference keeps it. */
        atomic_fetch_add_explicit(&creds->refs, 1, memory_order_relaxed);
    }
    return creds;
}

void tls_creds_unref(TlsCreds *creds)
{
    /* Release and acquire: who frees sees what the others did before they
     * let go. */
    if (!creds || atomic_fetch_sub_explicit(&creds->refs, 1,
                                            memory_order_acq_rel) > 1) {
        return;
    }
    free_credentials(creds);
    if (creds->priority) {
        gnutls_priority_deinit(creds->priority);
    }
    g_free(creds);
}

TlsEndpoint tls_creds_endpoint(const TlsCreds *creds)
{
    return creds->endpoint;
}

bool tls_creds_wants_hostname(const TlsCreds *creds)
{
    return creds->kind == TLS_X509 && creds->endpoint == TLS_CLIENT &&
           creds->verify_peer;
}
