/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util/size.c: what is a number or a size, and what is refused.
 */
#include "util/size.h"
#include "util/error.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)

static void test_good_sizes(void)
{
    static const struct {
        const char *text;
        uint64_t unit, bytes;
    } cases[] = {
        { "0", 1, 0 },
        { "512", 1, 512 },
        { "512", MIB, 512 * MIB },
        { "512B", MIB, 512 },
        { "64k", 1, 64 * KIB },
        { "64K", MIB, 64 * KIB },
        { "512M", MIB, 512 * MIB },
        { "4G", MIB, 4 * GIB },
        { "4g", MIB, 4 * GIB },
        { "1.5G", 1, 3 * GIB / 2 },
        { "1.5", MIB, 3 * MIB / 2 },
        { "2.0", 1, 2 },
        { "0.3333333333333333333333333k", 1, 341 },
        { "2T", 1, 2048 * GIB },
        { "1P", 1, 1024 * 1024 * GIB },
        { "15E", 1, 15ull << 60 },
        { "0x1000", 1, 4096 },
        { "0xB", 1, 11 },
        { "010", 1, 10 },
        { "18446744073709551615", 1, UINT64_MAX },
        { "15.999999999999999999E", 1, UINT64_MAX - 1 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;
        uint64_t bytes = 0;

        g_assert_true(vm_size_parse(cases[i].text, cases[i].unit, "-m", &bytes,
                                    &err));
        g_assert_no_error(err);
        g_assert_cmpuint(bytes, ==, cases[i].bytes);
    }
}

static void test_bad_sizes(void)
{
    static const char *const cases[] = {
        "",     " 1",   "1 ",    "-1",  "+1",  "G",   "1GG",  "1Gi",
        "1GB",  ".5G",  "1.",    "1.G", "1.5", "0x",  "0x1G", "0x1.8",
        "1e3",  "16E",  "1,5G",  "1.5B", "abc", "\n1", "1\n",
        "18446744073709551616",  "99999999999999999999999999G",
        "17179869184G",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;
        uint64_t bytes = 77;

        g_assert_false(vm_size_parse(cases[i], 1, "-m", &bytes, &err));
        g_assert_error(err, VM_ERROR, 0);
        g_assert_nonnull(g_strstr_len(err->message, -1, "-m"));
        g_assert_cmpuint(bytes, ==, 77);
    }
}

static void test_numbers(void)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {
        { "0", true, 0 },
        { "00", true, 0 },
        { "42", true, 42 },
        { "010", true, 8 },
        { "0x1f", true, 31 },
        { "0XFF", true, 255 },
        { "18446744073709551615", true, UINT64_MAX },
        { "0xffffffffffffffff", true, UINT64_MAX },
        { "18446744073709551616", false, 0 },
        { "0x10000000000000000", false, 0 },
        { "08", false, 0 },
        { "", false, 0 },
        { "0x", false, 0 },
        { "-1", false, 0 },
        { "+1", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "1k", false, 0 },
        { "ff", false, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;
        uint64_t value = 77;
        bool good = vm_u64_parse(cases[i].text, "addr", &value, &err);

        g_test_message("'%s'", cases[i].text);
        g_assert_cmpint(good, ==, cases[i].good);
        g_assert_cmpint(good, ==, err == NULL);
        g_assert_cmpuint(value, ==, good ? cases[i].value : 77);
    }
}

static void test_to_string(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        { 0, "0 B" },
        { 1023, "1023 B" },
        { 1024, "1 KiB" },
        { 1536 * MIB, "1.5 GiB" },
        { 1000 * MIB, "1000 MiB" },
        { 576 * MIB, "576 MiB" },
        { UINT64_MAX, "16 EiB" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = vm_size_to_string(cases[i].bytes);

        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/util/size/good", test_good_sizes);
    g_test_add_func("/util/size/bad", test_bad_sizes);
    g_test_add_func("/util/size/numbers", test_numbers);
    g_test_add_func("/util/size/to-string", test_to_string);
    return g_test_run();
}
