/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of run states: what may follow what, and that a VM which is not
 * ours any more, or is broken, does not start by itself.
 */
#include "system/runstate.h"

#include <string.h>

static void test_names(void)
{
    for (unsigned i = 0; i < VM_RUN__COUNT; i++) {
        for (unsigned j = 0; j < i; j++) {
            g_assert_cmpstr(vm_run_state_to_string(i), !=,
                            vm_run_state_to_string(j));
        }
    }
    for (unsigned i = 0; i < VM_CAUSE__COUNT; i++) {
        g_assert_cmpint(vm_cause_is_guest(i), ==,
                        g_str_has_prefix(vm_cause_to_string(i), "guest-"));
    }
}

/* Only a reset leads out of a state that needs one. */
static void test_needs_reset(void)
{
    for (unsigned i = 0; i < VM_RUN__COUNT; i++) {
        for (unsigned j = 0; j < VM_RUN__COUNT; j++) {
            if (vm_run_state_needs_reset(i)) {
                g_assert_cmpint(vm_run_state_allowed(i, j), ==,
                                j == VM_RUN_PRELAUNCH);
            }
        }
    }
    g_assert_true(vm_run_state_needs_reset(VM_RUN_SHUTDOWN));
    g_assert_true(vm_run_state_needs_reset(VM_RUN_INTERNAL_ERROR));
}

static void test_handed_over(void)
{
    /* Only the end of a switch-over leads there, and only from our side. */
    for (unsigned i = 0; i < VM_RUN__COUNT; i++) {
        g_assert_cmpint(vm_run_state_allowed(i, VM_RUN_POSTMIGRATE), ==,
                        i == VM_RUN_FINISH_MIGRATE);
        g_assert_cmpint(vm_run_state_allowed(i, VM_RUN_INMIGRATE), ==,
                        i == VM_RUN_PRELAUNCH);
    }
    g_assert_false(
        vm_run_state_allowed(VM_RUN_INMIGRATE, VM_RUN_FINISH_MIGRATE));
}

/* What cont accepts, the table accepts too. */
static void test_cont(void)
{
    for (unsigned i = 0; i < VM_RUN__COUNT; i++) {
        g_autoptr(GError) err = NULL;
        bool ok = vm_run_state_check_cont(i, &err);

        g_assert_true(ok == (err == NULL));
        if (ok && i != VM_RUN_RUNNING) {
            g_assert_true(vm_run_state_allowed(i, VM_RUN_RUNNING));
        }
    }
    g_assert_false(vm_run_state_check_cont(VM_RUN_FINISH_MIGRATE, NULL));
    g_assert_false(vm_run_state_check_cont(VM_RUN_SHUTDOWN, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/runstate/names", test_names);
    g_test_add_func("/runstate/needs-reset", test_needs_reset);
    g_test_add_func("/runstate/handed-over", test_handed_over);
    g_test_add_func("/runstate/cont", test_cont);
    return g_test_run();
}
