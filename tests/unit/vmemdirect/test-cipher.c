/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AES-256-XTS against the vectors of its standard, and what is promised
 * beyond it: equal content looks different in two units, a key is new each
 * time, and equal halves of a key are refused.
 */
#include "../../../vmemdirect/cipher.h"

#include <string.h>

#define PAGE 4096

/* IEEE 1619-2007, annex B, vector 10 (XTS-AES-256, data unit number 0xff,
 * 512 bytes 00 01 02 ... ff 00 01 ...). */
static const char key_10[] =
    "2718281828459045235360287471352662497757247093699959574966967627"
    "3141592653589793238462643383279502884197169399375105820974944592";
static const char text_10[] =
    "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b"
    "5d31e276f8fe4a8d66b317f9ac683f44680a86ac35adfc3345befecb4bb188fd"
    "5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0"
    "c5cd4d5fff9dac89aeba122961d03a757123e9870f8acf1000020887891429ca"
    "2a3e7a7d7df7b10355165c8b9a6d0a7de8b062c4500dc4cd120c0f7418dae3d0"
    "b5781c34803fa75421c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f"
    "93ec05c52e0493ef31a12d3d9260f79a289d6a379bc70c50841473d1a8cc81ec"
    "583e9645e07b8d9670655ba5bbcfecc6dc3966380ad8fecb17b6ba02469a020a"
    "84e18e8f84252070c13e9f1f289be54fbc481457778f616015e1327a02b140f1"
    "505eb309326d68378f8374595c849d84f4c333ec4423885143cb47bd71c5edae"
    "9be69a2ffeceb1bec9de244fbe15992b11b77c040f12bd8f6a975a44a0f90c29"
    "a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac"
    "6e333b93eb4aff0479da9a410e4450e0dd7ae4c6e2910900575da401fc07059f"
    "645e8b7e9bfdef33943054ff84011493c27b3429eaedb4ed5376441a77ed4385"
    "1ad77f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa"
    "773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151";

static void from_hex(const char *hex, uint8_t *ret, size_t len)
{
    g_assert_cmpuint(strlen(hex), ==, 2 * len);
    for (size_t i = 0; i < len; i++) {
        ret[i] = (uint8_t)(g_ascii_xdigit_value(hex[2 * i]) << 4 |
                           g_ascii_xdigit_value(hex[2 * i + 1]));
    }
}

static void test_standard(void)
{
    uint8_t key[VMD_CIPHER_KEY_BYTES], plain[512], want[512], got[512];
    g_autoptr(GError) err = NULL;

    from_hex(key_10, key, sizeof(key));
    from_hex(text_10, want, sizeof(want));
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)i;
    }
    g_autoptr(VmdCipher) c = vmd_cipher_new_with_key(key, &err);
    g_assert_no_error(err);
    g_assert_cmpint(vmd_cipher_encrypt(c, 0xff, got, plain, 512), ==, 0);
    g_assert_cmpmem(got, 512, want, 512);
    g_assert_cmpint(vmd_cipher_decrypt(c, 0xff, got, got, 512), ==, 0);
    g_assert_cmpmem(got, 512, plain, 512);
}

static void test_units_differ(void)
{
    g_autoptr(VmdCipher) c = vmd_cipher_new(NULL);
    uint8_t plain[PAGE], a[PAGE], b[PAGE];
    const uint64_t units[] = { 0, 1, 255, 256, 65536, 1ull << 32, 1ull << 52 };

    g_assert_nonnull(c);
    memset(plain, 0x5a, sizeof(plain));
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        g_assert_cmpint(vmd_cipher_encrypt(c, units[i], a, plain, PAGE), ==,
                        0);
        for (size_t j = 0; j < i; j++) {
            unsigned equal = 0;
            (void)vmd_cipher_encrypt(c, units[j], b, plain, PAGE);
            for (size_t k = 0; k < PAGE; k += 16) {
                equal += memcmp(a + k, b + k, 16) == 0;
            }
            g_assert_cmpuint(equal, ==, 0);
        }
        for (size_t k = 16; k < PAGE; k += 16) { /* nor do blocks of one */
            g_assert_cmpint(memcmp(a, a + k, 16), !=, 0);
        }
        (void)vmd_cipher_decrypt(c, units[i], a, a, PAGE);
        g_assert_cmpmem(a, PAGE, plain, PAGE);
    }
}

static void test_keys_differ(void)
{
    g_autoptr(VmdCipher) c = vmd_cipher_new(NULL);
    g_autoptr(VmdCipher) d = vmd_cipher_new(NULL);
    uint8_t plain[PAGE] = { 0 }, a[PAGE], b[PAGE];

    g_assert_true(c && d);
    (void)vmd_cipher_encrypt(c, 7, a, plain, PAGE);
    (void)vmd_cipher_encrypt(d, 7, b, plain, PAGE);
    g_assert_cmpint(memcmp(a, b, PAGE), !=, 0);
    (void)vmd_cipher_decrypt(d, 7, a, a, PAGE);
    g_assert_cmpint(memcmp(a, plain, PAGE), !=, 0);
}

static void test_bad_key(void)
{
    uint8_t key[VMD_CIPHER_KEY_BYTES] = { 0 };
    g_autoptr(GError) err = NULL;

    g_assert_null(vmd_cipher_new_with_key(key, &err));
    g_assert_nonnull(strstr(err->message, "encrypt=on"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cipher/standard", test_standard);
    g_test_add_func("/cipher/units-differ", test_units_differ);
    g_test_add_func("/cipher/keys-differ", test_keys_differ);
    g_test_add_func("/cipher/bad-key", test_bad_key);
    return g_test_run();
}
