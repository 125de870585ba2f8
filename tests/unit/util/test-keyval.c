/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util/keyval.c: the option syntax, types, and the refusal of unknown keys.
 */
#include "util/keyval.h"
#include "util/error.h"

static VmKeyval *parse(const char *text, const char *implied)
{
    g_autoptr(GError) err = NULL;
    VmKeyval *kv = vm_keyval_parse("-device", text, implied, &err);

    g_assert_no_error(err);
    g_assert_nonnull(kv);
    return kv;
}

static void test_pairs(void)
{
    g_autoptr(VmKeyval) kv = parse("virtio-blk-pci,drive=d0,bus=pcie.0",
                                   "driver");

    g_assert_cmpstr(vm_keyval_get(kv, "driver"), ==, "virtio-blk-pci");
    g_assert_cmpstr(vm_keyval_get(kv, "drive"), ==, "d0");
    g_assert_cmpstr(vm_keyval_get(kv, "bus"), ==, "pcie.0");
    g_assert_null(vm_keyval_get(kv, "addr"));
}

static void test_implied_key_spelt(void)
{
    g_autoptr(VmKeyval) kv = parse("driver=x,y", "driver");

    g_assert_cmpstr(vm_keyval_get(kv, "driver"), ==, "x");
    g_assert_cmpstr(vm_keyval_get(kv, "y"), ==, "on");
}

static void test_commas(void)
{
    g_autoptr(VmKeyval) kv = parse("/a,,b,file=c,,,,d,,,ro", "path");

    g_assert_cmpstr(vm_keyval_get(kv, "path"), ==, "/a,b");
    g_assert_cmpstr(vm_keyval_get(kv, "file"), ==, "c,,d,");
    g_assert_cmpstr(vm_keyval_get(kv, "ro"), ==, "on");
}

static void test_equals_in_value(void)
{
    g_autoptr(VmKeyval) kv = parse("append=a=b,empty=,last=1,", NULL);

    g_assert_cmpstr(vm_keyval_get(kv, "append"), ==, "a=b");
    g_assert_cmpstr(vm_keyval_get(kv, "empty"), ==, "");
    g_assert_cmpstr(vm_keyval_get(kv, "last"), ==, "1");
    g_assert_true(vm_keyval_check_all_used(kv, NULL));
}

static void test_flag_without_implied(void)
{
    g_autoptr(VmKeyval) kv = parse("server,wait=off", NULL);
    bool value = false;

    g_assert_true(vm_keyval_get_bool(kv, "server", false, &value, NULL));
    g_assert_true(value);
    g_assert_true(vm_keyval_get_bool(kv, "wait", true, &value, NULL));
    g_assert_false(value);
}

static void test_empty(void)
{
    g_autoptr(VmKeyval) kv = parse("", "driver");

    g_assert_null(vm_keyval_get(kv, "driver"));
    g_assert_true(vm_keyval_check_all_used(kv, NULL));
}

static void test_nameless(void)
{
    static const char *const cases[] = { ",a=b", "=x", "a=b,=c" };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_null(vm_keyval_parse("-device", cases[i], NULL, &err));
        g_assert_error(err, VM_ERROR, 0);
        g_assert_true(g_str_has_prefix(err->message, "-device: "));
    }
}

static void collect(const char *key, const char *value, void *opaque)
{
    g_string_append_printf(opaque, "%s=%s;", key, value);
}

static void test_repeated(void)
{
    g_autoptr(VmKeyval) kv = parse("user,fwd=1,id=n,fwd=2", "type");
    GString *seen = g_string_new(NULL);

    vm_keyval_set(kv, "id", "m");
    g_assert_cmpstr(vm_keyval_get(kv, "fwd"), ==, "2");
    g_assert_cmpstr(vm_keyval_get(kv, "id"), ==, "m");
    vm_keyval_foreach(kv, collect, seen);
    g_assert_cmpstr(seen->str, ==, "type=user;fwd=1;id=n;fwd=2;id=m;");
    g_string_free(seen, TRUE);
}

static void test_unknown(void)
{
    g_autoptr(VmKeyval) kv = parse("d,a=1,b=2,c=3", "driver");
    g_autoptr(GError) err = NULL;

    vm_keyval_get(kv, "driver");
    vm_keyval_get(kv, "a");
    g_assert_false(vm_keyval_check_all_used(kv, &err));
    g_assert_cmpstr(err->message, ==, "-device: unknown parameter 'b'");
    vm_keyval_get(kv, "b");
    vm_keyval_get(kv, "c");
    g_assert_true(vm_keyval_check_all_used(kv, NULL));
}

static void test_types(void)
{
    g_autoptr(VmKeyval) kv = parse("n=0x10,s=2M,b=yes,bad=maybe", NULL);
    g_autoptr(GError) err = NULL;
    uint64_t number = 5;
    bool flag = false;

    g_assert_true(vm_keyval_get_u64(kv, "n", 1, &number, &err));
    g_assert_cmpuint(number, ==, 16);
    g_assert_true(vm_keyval_get_size(kv, "s", 1, &number, &err));
    g_assert_cmpuint(number, ==, 2 << 20);
    g_assert_true(vm_keyval_get_u64(kv, "absent", 9, &number, &err));
    g_assert_cmpuint(number, ==, 9);
    g_assert_true(vm_keyval_get_size(kv, "absent", 8, &number, &err));
    g_assert_cmpuint(number, ==, 8);
    g_assert_true(vm_keyval_get_bool(kv, "b", false, &flag, &err));
    g_assert_true(flag);
    g_assert_true(vm_keyval_get_bool(kv, "absent", false, &flag, &err));
    g_assert_false(flag);
    g_assert_no_error(err);

    g_assert_false(vm_keyval_get_bool(kv, "bad", false, &flag, &err));
    g_assert_nonnull(g_strstr_len(err->message, -1, "'bad'"));
    g_clear_error(&err);
    g_assert_false(vm_keyval_get_u64(kv, "bad", 1, &number, &err));
    g_assert_nonnull(g_strstr_len(err->message, -1, "-device"));
    g_clear_error(&err);
    g_assert_false(vm_keyval_get_size(kv, "bad", 1, &number, &err));
    g_assert_nonnull(g_strstr_len(err->message, -1, "maybe"));
    g_assert_cmpuint(number, ==, 8);
}

/* Any bytes parse or are refused; nothing is read outside. */
static void test_noise(void)
{
    static const char alphabet[] = "a=,,b\x80\"";

    for (int round = 0; round < 5000; round++) {
        char text[12] = { 0 };
        g_autoptr(GError) err = NULL;
        g_autoptr(VmKeyval) kv = NULL;
        int len = g_test_rand_int_range(0, sizeof(text));

        for (int i = 0; i < len; i++) {
            text[i] = alphabet[g_test_rand_int_range(0, sizeof(alphabet) - 1)];
        }
        kv = vm_keyval_parse("-x", text, round % 2 ? "key" : NULL, &err);
        g_assert_cmpint(kv == NULL, ==, err != NULL);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/util/keyval/pairs", test_pairs);
    g_test_add_func("/util/keyval/implied-key-spelt", test_implied_key_spelt);
    g_test_add_func("/util/keyval/commas", test_commas);
    g_test_add_func("/util/keyval/equals-in-value", test_equals_in_value);
    g_test_add_func("/util/keyval/flag", test_flag_without_implied);
    g_test_add_func("/util/keyval/empty", test_empty);
    g_test_add_func("/util/keyval/nameless", test_nameless);
    g_test_add_func("/util/keyval/repeated", test_repeated);
    g_test_add_func("/util/keyval/unknown", test_unknown);
    g_test_add_func("/util/keyval/types", test_types);
    g_test_add_func("/util/keyval/noise", test_noise);
    return g_test_run();
}
