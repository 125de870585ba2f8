/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Start, stop, reset and end of the VM.
 *
 * The order of each is fixed, since clients follow the events:
 *
 *   stop    vCPUs paused, devices quiet, state, STOP
 *   start   images ours, state, RESUME, devices, vCPUs
 *   reset   (stopped), chips, devices, kernel, vCPU 0, RESET, (started)
 *   end     SHUTDOWN, then STOP (-no-shutdown) or the loop ends
 *
 * Invariants:
 *   (1) vCPUs run iff the state is VM_RUN_RUNNING; then devices are awake.
 *   (2) RESUME is queued before any vCPU enters the guest, and STOP after
 *       the last one has left it.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include "util/clock.h"
#include "util/error.h"

bool vm_is_running(const Vm *vm)
{
    return vm->state == VM_RUN_RUNNING;
}

void vm_set_state(Vm *vm, VmRunState state)
{
    if (state == vm->state) {
        return;
    }
    g_assert(vm_run_state_allowed(vm->state, state));
    vm->state = state;
}

/* Both are tried, so that what can rest does. */
static void stop_everything(Vm *vm)
{
    if (vm->has_machine) {
        vm->patient_since_ns = vm_clock_ns();
        vm->at_rest = vcpus_pause_unless(vm->vcpus, vm_out_of_patience, vm);
        vm->at_rest = machine_quiesce(&vm->machine) && vm->at_rest;
    }
    if (vm->engine) {
        vmd_engine_set_running(vm->engine, false);
    }
}

bool vm_rest(Vm *vm, GError **errp)
{
    if (vm->has_machine && !vm->at_rest) {
        stop_everything(vm);
    }
    return !vm->has_machine || vm->at_rest ||
           vm_error_set(errp, 0, "The VM is not at rest: it waits for its "
                        "swap file");
}

static void start_everything(Vm *vm)
{
    if (vm->engine) {
        vmd_engine_set_running(vm->engine, true);
    }
    if (vm->has_machine) {
        vm->at_rest = false;
        vm->patient_since_ns = vm_clock_ns();
        machine_resume(&vm->machine);
        vcpus_resume(vm->vcpus);
    }
}

void vm_stop(Vm *vm, VmRunState state)
{
    if (vm_is_running(vm)) {
        stop_everything(vm);
        vm_set_state(vm, state);
        qmp_event(vm->monitor, "STOP", NULL);
    } else if (vm_run_state_allowed(vm->state, state) &&
               state != VM_RUN_PAUSED) {
        vm_set_state(vm, state); /* a worse reason to stand still */
    }
}

bool vm_start(Vm *vm, GError **errp)
{
    if (vm_is_running(vm)) {
        return true;
    }
    if (!vm_run_state_check_cont(vm->state, errp) ||
        !vm_images_activate(vm, errp)) {
        return false;
    }
    vm_set_state(vm, VM_RUN_RUNNING);
    vm_engine_started(vm);
    qmp_event(vm->monitor, "RESUME", NULL); /* (2) */
    start_everything(vm);
    vm_announce_arrival(vm);
    return true;
}

/* --- Reset -------------------------------------------------------------- */

bool vm_power_on(Vm *vm, GError **errp)
{
    VcpuBootState boot = { 0 };

    if (!vm->has_machine) {
        return true;
    }
    kvm_vm_reset_chips(vm->kvm);
    machine_reset(&vm->machine);
    if (!vm->options->kernel) {
        return vcpus_reset(vm->vcpus, NULL, errp);
    }
    if (!pc_machine_load(vm->pc, &boot, errp) ||
        !vcpus_reset(vm->vcpus, &boot, errp)) {
        return false;
    }
    vm->loaded = true;
    return true;
}

static json_object *cause_data(VmCause cause)
{
    json_object *data = json_object_new_object();

    qmp_put_bool(data, "guest", vm_cause_is_guest(cause));
    qmp_put_str(data, "reason", vm_cause_to_string(cause));
    return data;
}

bool vm_reset(Vm *vm, VmCause cause, GError **errp)
{
    bool was_running = vm_is_running(vm);

    if (vm->state == VM_RUN_INMIGRATE || vm->state == VM_RUN_FINISH_MIGRATE) {
        return vm_error_set(errp, 0, "The VM cannot be reset in the state "
                            "'%s'", vm_run_state_to_string(vm->state));
    }
    if (vm->options->no_reboot) {
        vm_shutdown(vm, cause);
        return true;
    }
    if (was_running) {
        stop_everything(vm);
    }
    if (!vm_rest(vm, errp) || !vm_power_on(vm, errp)) {
        vm->state = VM_RUN_INTERNAL_ERROR; /* from anywhere: nothing to run */
        return false;
    }
    qmp_event(vm->monitor, "RESET", cause_data(cause));
    if (was_running) {
        start_everything(vm);
    } else {
        vm_set_state(vm, VM_RUN_PRELAUNCH);
    }
    return true;
}

/* --- End ---------------------------------------------------------------- */

static void leave(Vm *vm)
{
    if (vm_is_running(vm)) {
        stop_everything(vm);
        vm_set_state(vm, VM_RUN_SHUTDOWN);
    }
    g_main_loop_quit(vm->loop);
}

void vm_shutdown(Vm *vm, VmCause cause)
{
    if (vm->state == VM_RUN_SHUTDOWN) {
        return; /* the guest said it twice */
    }
    qmp_event(vm->monitor, "SHUTDOWN", cause_data(cause));
    if (vm->options->no_shutdown) {
        vm_stop(vm, VM_RUN_SHUTDOWN);
    } else {
        leave(vm);
    }
}

void vm_quit(Vm *vm, VmCause cause)
{
    if (g_main_loop_is_running(vm->loop)) {
        qmp_event(vm->monitor, "SHUTDOWN", cause_data(cause));
    }
    leave(vm);
}
