/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Run state of the VM: which states there are, and which follow which.
 *
 * Why: many parties want the VM to run or to stop (a person, the guest, the
 * pager, a migration); one table says what may follow what, so that a VM
 * that was handed over, or that must be reset first, is not started by
 * accident.
 *
 *   prelaunch --cont--> running <--cont/stop--> paused
 *   inmigrate --state loaded--> running | paused
 *   running, paused, prelaunch --switch-over--> finish-migrate
 *   finish-migrate --handed over--> postmigrate
 *   finish-migrate --failed, cancelled--> what it was before
 *   running --guest powers off--> shutdown --reset--> prelaunch
 *   running --cannot go on--> internal-error --reset--> prelaunch
 *   running --page cannot be written--> io-error --cont--> running
 *
 * Threads: main thread only; others ask by vm_call_main() or a request.
 */
#ifndef VM_SYSTEM_RUNSTATE_H
#define VM_SYSTEM_RUNSTATE_H

#include <glib.h>
#include <stdbool.h>

typedef enum VmRunState {
    VM_RUN_PRELAUNCH,
    VM_RUN_INMIGRATE,
    VM_RUN_RUNNING,
    VM_RUN_PAUSED,
    VM_RUN_FINISH_MIGRATE,
    VM_RUN_POSTMIGRATE,
    VM_RUN_SHUTDOWN,
    VM_RUN_INTERNAL_ERROR,
    VM_RUN_IO_ERROR,
    VM_RUN__COUNT
} VmRunState;

/* QEMU's word: "finish-migrate". */
const char *vm_run_state_to_string(VmRunState state);
bool vm_run_state_allowed(VmRunState from, VmRunState to);
/* shutdown and internal-error: only a reset leads out. */
bool vm_run_state_needs_reset(VmRunState state);
/* May "cont" start it? Fills errp with the reason if not. */
bool vm_run_state_check_cont(VmRunState state, GError **errp);

/* Why the VM was reset or ended; the words of QMP's events. */
typedef enum VmCause {
    VM_CAUSE_HOST_ERROR,
    VM_CAUSE_HOST_QMP_QUIT,
    VM_CAUSE_HOST_QMP_SYSTEM_RESET,
    VM_CAUSE_HOST_SIGNAL,
    VM_CAUSE_HOST_UI,
    VM_CAUSE_GUEST_SHUTDOWN,
    VM_CAUSE_GUEST_RESET,
    VM_CAUSE__COUNT
} VmCause;
const char *vm_cause_to_string(VmCause cause);
bool vm_cause_is_guest(VmCause cause);

#endif
