/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util/log.c: the shape of a line, and which areas VM_DEBUG turns on.
 *
 * The lines are made in subprocesses, since stderr and the environment are
 * the interface.
 */
#include "util/log.h"

#include <stdlib.h>

static void trap(const char *path)
{
    g_test_trap_subprocess(path, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
}

static void test_report(void)
{
    if (g_test_subprocess()) {
        vm_report("no %s", "luck");
        return;
    }
    trap("/util/log/report");
    g_test_trap_assert_stderr("qemu-system-x86_64: no luck\n");
}

static void test_warn(void)
{
    if (g_test_subprocess()) {
        vm_warn("%d of %d", 1, 2);
        return;
    }
    trap("/util/log/warn");
    g_test_trap_assert_stderr("qemu-system-x86_64: warning: 1 of 2\n");
}

static void test_timestamp(void)
{
    if (g_test_subprocess()) {
        vm_log_init(/* timestamps= */ true);
        vm_report("now");
        return;
    }
    trap("/util/log/timestamp");
    g_test_trap_assert_stderr("2*-*-*T*:*:*.*Z qemu-system-x86_64: now\n");
}

static unsigned evaluated;

static unsigned count_evaluation(void)
{
    return ++evaluated;
}

static void test_debug_area(void)
{
    if (g_test_subprocess()) {
        g_setenv("VM_DEBUG", "pager,net", TRUE);
        vm_debug("pager", "seen %u", count_evaluation());
        vm_debug("net", "seen %u", count_evaluation());
        vm_debug("page", "hidden %u", count_evaluation());
        g_assert_cmpuint(evaluated, ==, 2);
        return;
    }
    trap("/util/log/debug-area");
    g_test_trap_assert_stderr("qemu-system-x86_64: debug: pager: seen 1\n"
                              "qemu-system-x86_64: debug: net: seen 2\n");
}

static void test_debug_all(void)
{
    if (g_test_subprocess()) {
        g_setenv("VM_DEBUG", "all", TRUE);
        g_assert_true(vm_debug_on("anything"));
        return;
    }
    trap("/util/log/debug-all");
}

static void test_debug_off(void)
{
    if (g_test_subprocess()) {
        g_unsetenv("VM_DEBUG");
        vm_debug("pager", "hidden %u", count_evaluation());
        g_assert_cmpuint(evaluated, ==, 0);
        return;
    }
    trap("/util/log/debug-off");
    g_test_trap_assert_stderr("");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/util/log/report", test_report);
    g_test_add_func("/util/log/warn", test_warn);
    g_test_add_func("/util/log/timestamp", test_timestamp);
    g_test_add_func("/util/log/debug-area", test_debug_area);
    g_test_add_func("/util/log/debug-all", test_debug_all);
    g_test_add_func("/util/log/debug-off", test_debug_off);
    return g_test_run();
}
