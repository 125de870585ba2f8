/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Secrets, see crypto/secret.h.
 *
 * Why encrypted ones: management passes secrets on a command line that every
 * process can read, encrypted with a master key from a file that only this
 * process can.
 *
 * What was a secret in a buffer of ours is overwritten before it is freed;
 * the option's own text is not.
 *
 * Threads: main.
 */
#include "crypto/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

#define SECRET_BYTES_MAX (1u << 20)
#define KEY_BYTES 32u   /* AES-256 */
#define BLOCK_BYTES 16u /* AES */

typedef struct Buffer {
    uint8_t *data; /* one byte more than len, which is NUL */
    size_t len;
} Buffer;

static void buffer_done(Buffer *b)
{
    if (b->data) {
        explicit_bzero(b->data, b->len);
        g_free(b->data);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Buffer, buffer_done)

static void buffer_take(Buffer *b, uint8_t *take_data, size_t len)
{
    buffer_done(b);
    b->data = take_data;
    b->len = len;
}

static void free_wiped(gpointer data)
{
    Buffer *b = data;

    buffer_done(b);
    g_free(b);
}

static GBytes *buffer_to_bytes(Buffer *b)
{
    Buffer *owner = g_new(Buffer, 1);

    *owner = *b;
    b->data = NULL;
    return g_bytes_new_with_free_func(owner->data, owner->len, free_wiped,
                                      owner);
}

/* -- reading ------------------------------------------------------------ */

static bool read_file(const char *path, Buffer *b, GError **errp)
{
    vm_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    g_auto(Buffer) all = { g_malloc0(SECRET_BYTES_MAX + 2), 0 };
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0 && all.len <= SECRET_BYTES_MAX) {
        n = read(fd, all.data + all.len, SECRET_BYTES_MAX + 1 - all.len);
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        all.len += (size_t)MAX(n, 0);
    }
    if (n < 0) {
        return vm_error_set(errp, errno, "cannot read '%s'", path);
    }
    if (all.len > SECRET_BYTES_MAX) {
        return vm_error_set(errp, 0, "'%s' is longer than %u bytes", path,
                            SECRET_BYTES_MAX);
    }
    buffer_take(b, g_malloc0(all.len + 1), all.len);
    memcpy(b->data, all.data, all.len);
    return true;
}

static bool read_source(VmKeyval *kv, Buffer *b, GError **errp)
{
    const char *data = vm_keyval_get(kv, "data");
    const char *file = vm_keyval_get(kv, "file");

    if (!data == !file) {
        return vm_error_set(errp, 0, "needs either 'data' or 'file'");
    }
    if (file) {
        return read_file(file, b, errp);
    }
    buffer_take(b, (uint8_t *)g_strdup(data), strlen(data));
    return true;
}

/* Stricter than g_base64_decode(), which skips what it does not know. */
static bool decode(const char *text, size_t len, Buffer *ret, GError **errp)
{
    gnutls_datum_t in = { (unsigned char *)text, (unsigned)len }, out;

    while (in.size && g_ascii_isspace(text[in.size - 1])) {
        in.size--; /* the end of a line in a file */
    }
    if (in.size == 0 || gnutls_base64_decode2(&in, &out) < 0) {
        return vm_error_set(errp, 0, "is no base64");
    }
    buffer_take(ret, g_malloc0(out.size + 1), out.size);
    memcpy(ret->data, out.data, out.size);
    explicit_bzero(out.data, out.size);
    gnutls_free(out.data);
    return true;
}

static bool decode_format(VmKeyval *kv, Buffer *b, GError **errp)
{
    const char *format = vm_keyval_get(kv, "format");
    g_auto(Buffer) text = { NULL };

    if (!format || strcmp(format, "raw") == 0) {
        return true;
    }
    if (strcmp(format, "base64") != 0) {
        return vm_error_set(errp, 0, "unknown format '%s'", format);
    }
    text = *b;
    *b = (Buffer){ NULL };
    return decode((char *)text.data, text.len, b, errp);
}

/* -- encrypted ones ----------------------------------------------------- */

static bool drop_padding(Buffer *b, GError **errp)
{
    uint8_t pad = b->data[b->len - 1];
    bool ok = pad >= 1 && pad <= BLOCK_BYTES;

    for (unsigned i = 1; ok && i <= pad; i++) {
        ok = b->data[b->len - i] == pad;
    }
    if (!ok) {
        return vm_error_set(errp, 0, "cannot be decrypted: wrong key?");
    }
    b->len -= pad;
    b->data[b->len] = '\0';
    return true;
}

static bool decrypt_with(GBytes *key, const Buffer *iv, Buffer *b,
                         GError **errp)
{
    gnutls_datum_t k = { (void *)g_bytes_get_data(key, NULL), KEY_BYTES };
    gnutls_datum_t v = { iv->data, BLOCK_BYTES };
    gnutls_cipher_hd_t cipher;
    int r;

    if (g_bytes_get_size(key) != KEY_BYTES || iv->len != BLOCK_BYTES ||
        b->len == 0 || b->len % BLOCK_BYTES != 0) {
        return vm_error_set(errp, 0, "cannot be decrypted: key, iv and data "
                            "have to be 32, 16 and a multiple of 16 bytes");
    }
    r = gnutls_cipher_init(&cipher, GNUTLS_CIPHER_AES_256_CBC, &k, &v);
    if (r == 0) {
        r = gnutls_cipher_decrypt(cipher, b->data, b->len);
        gnutls_cipher_deinit(cipher);
    }
    return r == 0 ? drop_padding(b, errp)
                  : vm_error_set(errp, 0, "cannot be decrypted: %s",
                                 gnutls_strerror(r));
}

static bool decrypt(VmKeyval *kv, const SecretSource *others, Buffer *b,
                    GError **errp)
{
    const char *id = vm_keyval_get(kv, "keyid");
    const char *iv_text = vm_keyval_get(kv, "iv");
    g_auto(Buffer) iv = { NULL };
    GBytes *key;

    if (!id && !iv_text) {
        return true;
    }
    if (!id || !iv_text) {
        return vm_error_set(errp, 0, "'keyid' and 'iv' need each other");
    }
    key = others->find(others->opaque, id);
    if (!key) {
        return vm_error_set(errp, 0, "no secret with id '%s'", id);
    }
    if (!decode(iv_text, strlen(iv_text), &iv, errp)) {
        g_prefix_error(errp, "'iv' ");
        return false;
    }
    return decrypt_with(key, &iv, b, errp);
}

/* -- public ------------------------------------------------------------- */

GBytes *secret_new(VmKeyval *kv, const SecretSource *others, GError **errp)
{
    g_auto(Buffer) b = { NULL };

    if (!read_source(kv, &b, errp) || !decode_format(kv, &b, errp) ||
        !decrypt(kv, others, &b, errp)) {
        return NULL;
    }
    return buffer_to_bytes(&b);
}

char *secret_find_text(const SecretSource *source, const char *id,
                       GError **errp)
{
    GBytes *bytes = source->find(source->opaque, id);
    const char *data;
    gsize len;

    if (!bytes) {
        vm_error_set(errp, 0, "no secret with id '%s'", id);
        return NULL;
    }
    data = g_bytes_get_data(bytes, &len);
    if (memchr(data, '\0', len)) {
        vm_error_set(errp, 0, "secret '%s' is no text", id);
        return NULL;
    }
    return g_strndup(data, len);
}

void secret_free_text(char *text)
{
    if (text) {
        explicit_bzero(text, strlen(text));
        g_free(text);
    }
}
