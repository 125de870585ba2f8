/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util/error.c: first error wins, errno text, the always-false result.
 */
#include "util/error.h"
#include "util/thread.h"

#include <errno.h>

static void test_plain(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(vm_error_set(&err, 0, "open '%s'", "x"));
    g_assert_error(err, VM_ERROR, 0);
    g_assert_cmpstr(err->message, ==, "open 'x'");
}

static void test_errno(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_false(vm_error_set(&err, ENOENT, "open '%s'", "x"));
    g_assert_error(err, VM_ERROR, ENOENT);
    g_assert_cmpstr(err->message, ==, "open 'x': No such file or directory");
}

static void test_first_wins(void)
{
    g_autoptr(GError) err = NULL;

    vm_error_set(&err, EIO, "first");
    g_assert_false(vm_error_set(&err, ENOSPC, "second"));
    g_assert_error(err, VM_ERROR, EIO);
}

static void test_null(void)
{
    g_assert_false(vm_error_set(NULL, EIO, "nobody listens"));
}

/* A message with a percent sign from outside is not a format. */
static void test_percent(void)
{
    g_autoptr(GError) err = NULL;

    vm_error_set(&err, 0, "%s", "100%n%s");
    g_assert_cmpstr(err->message, ==, "100%n%s");
}

static void ask_quark(void *opaque)
{
    *(GQuark *)opaque = vm_error_quark();
}

/* The very first calls, from two threads: for ThreadSanitizer. Runs in a
 * subprocess, where nobody has asked yet. */
static void test_quark_race(void)
{
    GQuark seen[2] = { 0, 0 };
    VmThread *threads[2];

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
        g_test_trap_assert_passed();
        return;
    }
    for (int i = 0; i < 2; i++) {
        threads[i] = vm_thread_new("asker", ask_quark, &seen[i]);
    }
    for (int i = 0; i < 2; i++) {
        vm_thread_join(threads[i]);
    }
    g_assert_cmpuint(seen[0], !=, 0);
    g_assert_cmpuint(seen[0], ==, seen[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/util/error/plain", test_plain);
    g_test_add_func("/util/error/errno", test_errno);
    g_test_add_func("/util/error/first-wins", test_first_wins);
    g_test_add_func("/util/error/null", test_null);
    g_test_add_func("/util/error/percent", test_percent);
    g_test_add_func("/util/error/quark-race", test_quark_race);
    return g_test_run();
}
