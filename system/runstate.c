/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tables of run states and causes; vm-run.c acts on them.
 *
 * Invariant: nothing leads out of a state that needs a reset but the reset
 * (to prelaunch) and the end of the process; and nothing but a cont by hand
 * leads from postmigrate, where the VM runs elsewhere, back to running.
 *
 * Threads: pure functions.
 */
#include "system/runstate.h"

#include "util/error.h"

static const char *const state_names[VM_RUN__COUNT] = {
    [VM_RUN_PRELAUNCH] = "prelaunch",
    [VM_RUN_INMIGRATE] = "inmigrate",
    [VM_RUN_RUNNING] = "running",
    [VM_RUN_PAUSED] = "paused",
    [VM_RUN_FINISH_MIGRATE] = "finish-migrate",
    [VM_RUN_POSTMIGRATE] = "postmigrate",
    [VM_RUN_SHUTDOWN] = "shutdown",
    [VM_RUN_INTERNAL_ERROR] = "internal-error",
    [VM_RUN_IO_ERROR] = "io-error",
};

#define TO(state) (1u << VM_RUN_##state)

static const unsigned allowed[VM_RUN__COUNT] = {
    [VM_RUN_PRELAUNCH] = TO(RUNNING) | TO(INMIGRATE) | TO(FINISH_MIGRATE) |
                         TO(INTERNAL_ERROR),
    [VM_RUN_INMIGRATE] = TO(RUNNING) | TO(PAUSED) | TO(INTERNAL_ERROR),
    [VM_RUN_RUNNING] = TO(PAUSED) | TO(FINISH_MIGRATE) | TO(SHUTDOWN) |
                       TO(INTERNAL_ERROR) | TO(IO_ERROR),
    [VM_RUN_PAUSED] = TO(RUNNING) | TO(FINISH_MIGRATE) | TO(PRELAUNCH) |
                      TO(INTERNAL_ERROR) | TO(IO_ERROR) | TO(SHUTDOWN),
    [VM_RUN_FINISH_MIGRATE] = TO(RUNNING) | TO(PAUSED) | TO(PRELAUNCH) |
                              TO(POSTMIGRATE) | TO(INTERNAL_ERROR) |
                              TO(IO_ERROR),
    [VM_RUN_POSTMIGRATE] = TO(RUNNING) | TO(PRELAUNCH) | TO(FINISH_MIGRATE),
    [VM_RUN_SHUTDOWN] = TO(PRELAUNCH),
    [VM_RUN_INTERNAL_ERROR] = TO(PRELAUNCH),
    [VM_RUN_IO_ERROR] = TO(RUNNING) | TO(PAUSED) | TO(PRELAUNCH) |
                        TO(FINISH_MIGRATE) | TO(INTERNAL_ERROR),
};

static const char *const cause_names[VM_CAUSE__COUNT] = {
    [VM_CAUSE_HOST_ERROR] = "host-error",
    [VM_CAUSE_HOST_QMP_QUIT] = "host-qmp-quit",
    [VM_CAUSE_HOST_QMP_SYSTEM_RESET] = "host-qmp-system-reset",
    [VM_CAUSE_HOST_SIGNAL] = "host-signal",
    [VM_CAUSE_HOST_UI] = "host-ui",
    [VM_CAUSE_GUEST_SHUTDOWN] = "guest-shutdown",
    [VM_CAUSE_GUEST_RESET] = "guest-reset",
};

const char *vm_run_state_to_string(VmRunState state)
{
    g_assert(state < VM_RUN__COUNT);
    return state_names[state];
}

bool vm_run_state_allowed(VmRunState from, VmRunState to)
{
    return (allowed[from] >> to) & 1;
}

bool vm_run_state_needs_reset(VmRunState state)
{
    return state == VM_RUN_SHUTDOWN || state == VM_RUN_INTERNAL_ERROR;
}

bool vm_run_state_check_cont(VmRunState state, GError **errp)
{
    if (vm_run_state_needs_reset(state)) {
        return vm_error_set(errp, 0, "The VM must be reset (system_reset) "
                            "before it can go on");
    }
    if (state == VM_RUN_FINISH_MIGRATE) {
        return vm_error_set(errp, 0, "The VM is being handed over; wait for "
                            "the migration to end");
    }
    return true;
}

const char *vm_cause_to_string(VmCause cause)
{
    g_assert(cause < VM_CAUSE__COUNT);
    return cause_names[cause];
}

bool vm_cause_is_guest(VmCause cause)
{
    return cause == VM_CAUSE_GUEST_SHUTDOWN || cause == VM_CAUSE_GUEST_RESET;
}
