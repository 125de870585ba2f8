/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: a secret is what its options say, in each format; what is not
 * right is refused with a reason, and without the secret.
 */
#include <glib.h>
#include <glib/gstdio.h>
#include <gnutls/crypto.h>
#include <string.h>

#include "crypto/secret.h"

static GBytes *master; /* "master" in every test */

static GBytes *find(void *opaque, const char *id)
{
    return strcmp(id, "master") == 0 ? master : NULL;
}
static const SecretSource source = { find, NULL };

static GBytes *make(const char *text, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-object", text, NULL, errp);

    g_assert_nonnull(kv);
    return secret_new(kv, &source, errp);
}

static void expect(const char *text, const char *content)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(GBytes) b = make(text, &err);
    gsize len;
    const char *data;

    g_assert_no_error(err);
    data = g_bytes_get_data(b, &len);
    g_assert_cmpmem(data, len, content, strlen(content));
}

static void refuse(const char *text, const char *word)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(make(text, &err));
    if (!strstr(err->message, word)) {
        g_test_message("'%s', not '%s'", err->message, word);
    }
    g_assert_nonnull(strstr(err->message, word));
}

static void test_formats(void)
{
    expect("data=abc", "abc");
    expect("data=,format=raw", "");
    expect("data=YWJjZA==,format=base64", "abcd");
    refuse("data=YWJ*,format=base64", "base64");
    refuse("data=,format=base64", "base64");
    refuse("data=x,format=hex", "format 'hex'");
    refuse("format=raw", "either");
    refuse("data=x,file=y", "either");
}

static void test_files(void)
{
    g_autofree char *dir = g_dir_make_tmp("vmt-secret-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "f", NULL);
    g_autofree char *raw = g_strdup_printf("file=%s", path);
    g_autofree char *base64 = g_strdup_printf("file=%s,format=base64", path);
    g_autofree char *big = g_strnfill((1 << 20) + 1, 'x');

    refuse(raw, "cannot read");
    g_assert_true(g_file_set_contents(path, "YWJjZA==\n", -1, NULL));
    expect(raw, "YWJjZA==\n");
    expect(base64, "abcd");
    g_assert_true(g_file_set_contents(path, big, -1, NULL));
    refuse(raw, "longer");
    refuse("file=/", "cannot read");
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* Base64 of "padded" under the master key. */
static char *encrypt(const char *padded, const uint8_t *iv)
{
    gnutls_datum_t key = { (void *)g_bytes_get_data(master, NULL), 32 };
    gnutls_datum_t v = { (void *)iv, 16 };
    size_t len = strlen(padded);
    g_autofree uint8_t *text = (uint8_t *)g_strdup(padded);
    gnutls_cipher_hd_t c;

    g_assert_cmpint(gnutls_cipher_init(&c, GNUTLS_CIPHER_AES_256_CBC, &key,
                                       &v), ==, 0);
    g_assert_cmpint(gnutls_cipher_encrypt(c, text, len), ==, 0);
    gnutls_cipher_deinit(c);
    return g_base64_encode(text, len);
}

static void test_encrypted(void)
{
    static const uint8_t iv[16] = "0123456789abcdef";
    g_autofree char *iv_text = g_base64_encode(iv, sizeof(iv));
    g_autofree char *tail = g_strdup_printf("format=base64,keyid=master,iv=%s",
                                            iv_text);
    const struct {
        const char *padded, *content; /* NULL: refused */
    } cases[] = {
        { "hello\v\v\v\v\v\v\v\v\v\v\v", "hello" },
        { "0123456789abcdef"
          "\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10",
          "0123456789abcdef" },
        { "0123456789abcdef", NULL },
        { "0123456789abc\x03\x02\x03", NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *data = encrypt(cases[i].padded, iv);
        g_autofree char *text = g_strdup_printf("data=%s,%s", data, tail);

        if (cases[i].content) {
            expect(text, cases[i].content);
        } else {
            refuse(text, "wrong key");
        }
    }
    refuse("data=x,keyid=master", "need each other");
    refuse("data=x,iv=MDEy", "need each other");
    refuse("data=x,keyid=none,iv=MDEy", "no secret with id 'none'");
    refuse("data=x,keyid=master,iv=*", "'iv' is no base64");
    refuse("data=0123456789abcdef,keyid=master,iv=MDEy", "16 bytes");
}

static void test_text(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(GBytes) keep = g_steal_pointer(&master);
    char *text;

    master = make("data=pass,format=raw", NULL);
    text = secret_find_text(&source, "master", NULL);
    g_assert_cmpstr(text, ==, "pass");
    secret_free_text(text);
    g_bytes_unref(master);
    master = make("data=YQBi,format=base64", NULL);
    g_assert_null(secret_find_text(&source, "master", &err));
    g_assert_nonnull(strstr(err->message, "no text"));
    g_clear_error(&err);
    g_assert_null(secret_find_text(&source, "other", &err));
    g_assert_nonnull(strstr(err->message, "no secret"));
    g_bytes_unref(master);
    master = g_steal_pointer(&keep);
}

int main(int argc, char **argv)
{
    int r;

    g_test_init(&argc, &argv, NULL);
    master = g_bytes_new_static("0123456789abcdef0123456789ABCDEF", 32);
    g_test_add_func("/secret/formats", test_formats);
    g_test_add_func("/secret/files", test_files);
    g_test_add_func("/secret/encrypted", test_encrypted);
    g_test_add_func("/secret/text", test_text);
    r = g_test_run();
    g_bytes_unref(master);
    return r;
}
