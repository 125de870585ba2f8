/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: commands that run, stop and end the VM; and the table of events.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include "util/error.h"

static bool run_stop(void *opaque, Monitor *mon, json_object *args,
                     json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    if (vm->state == VM_RUN_INMIGRATE) {
        vm->autostart = false; /* stay paused when it has arrived */
    } else {
        vm_stop(vm, VM_RUN_PAUSED);
        vm_engine_stopped_by_hand(vm);
    }
    return true;
}

static bool run_cont(void *opaque, Monitor *mon, json_object *args,
                     json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    if (vm->state == VM_RUN_INMIGRATE) {
        vm->autostart = true;
        return true;
    }
    return vm_start(vm, errp);
}

static bool run_quit(void *opaque, Monitor *mon, json_object *args,
                     json_object **ret_value, GError **errp)
{
    vm_request(opaque, VM_REQUEST_QUIT);
    return true;
}

static bool run_powerdown(void *opaque, Monitor *mon, json_object *args,
                          json_object **ret_value, GError **errp)
{
    vm_request(opaque, VM_REQUEST_POWERDOWN);
    return true;
}

static bool run_reset(void *opaque, Monitor *mon, json_object *args,
                      json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    if (vm->state == VM_RUN_INMIGRATE || vm->state == VM_RUN_FINISH_MIGRATE) {
        return vm_error_set(errp, 0, "The VM cannot be reset in the state "
                            "'%s'", vm_run_state_to_string(vm->state));
    }
    if (vm_pages_wait(vm, errp)) {
        return false;
    }
    vm_request(vm, VM_REQUEST_HOST_RESET);
    return true;
}

static bool run_query_status(void *opaque, Monitor *mon, json_object *args,
                             json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    *ret_value = json_object_new_object();
    qmp_put_bool(*ret_value, "running", vm_is_running(vm));
    qmp_put_bool(*ret_value, "singlestep", false);
    qmp_put_str(*ret_value, "status", vm_run_state_to_string(vm->state));
    return true;
}

static const QmpArgument query_status_members[] = {
    { "running", "bool" },
    { "singlestep", "bool" },
    { "status", "str" },
    { NULL },
};

const QmpCommand vm_qmp_run_commands[] = {
    { "query-status", NULL, run_query_status, "Whether the VM runs.",
      "object", query_status_members },
    { "stop", NULL, run_stop, "Pauses the VM." },
    { "cont", NULL, run_cont, "Lets the VM go on." },
    { "quit", NULL, run_quit, "Ends the VM and the process." },
    { "system_powerdown", NULL, run_powerdown,
      "Presses the ACPI power button." },
    { "system_reset", NULL, run_reset, "Resets the VM." },
    { NULL },
};

static const QmpArgument cause_members[] = {
    { "guest", "bool" },
    { "reason", "str" },
    { NULL },
};
static const QmpArgument status_members[] = {
    { "status", "str" },
    { NULL },
};
static const QmpArgument pass_members[] = {
    { "pass", "size" },
    { NULL },
};
static const QmpArgument balloon_members[] = {
    { "actual", "size" },
    { NULL },
};
static const QmpArgument error_members[] = {
    { "operation", "read|write|timeout|stall|engine" },
    { "error", "str" },
    { "nospace", "bool" },
    { "action", "stop|report" },
    { NULL },
};

static const QmpArgument recovered_members[] = {
    { "operation", "read|write|timeout|stall" },
    { NULL },
};

const QmpEventInfo vm_qmp_events[] = {
    { "STOP", NULL, "The VM has stopped running." },
    { "RESUME", NULL, "The VM runs from now on." },
    { "RESET", cause_members, "The VM was reset." },
    { "SHUTDOWN", cause_members, "The VM has ended or is about to." },
    { "POWERDOWN", NULL, "The power button was pressed." },
    { "MIGRATION", status_members,
      "The migration's status changed; with the capability 'events'." },
    { "MIGRATION_PASS", pass_members,
      "A pass over guest RAM begins; with the capability 'events'." },
    { "BALLOON_CHANGE", balloon_members,
      "The guest has changed how much memory it keeps." },
    { "VMEMDIRECT_ERROR", error_members, "Paging does not work." },
    { "VMEMDIRECT_RECOVERED", recovered_members, "Paging works again." },
    { NULL },
};
