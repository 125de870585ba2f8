/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the VM does about a troubled pager.
 *
 * The engine tells when a trouble begins and when it is over (VmdTrouble).
 * By policy the VM stops at the beginning. What happens afterwards depends:
 *
 *   write, read   somebody has to repair it and say cont
 *   timeout,      nothing is lost and nothing to be repaired: the VM goes on
 *   stall         when the device has answered, or the pager moves, unless
 *                 somebody said stop or another trouble has stopped it, too
 *   engine        never again: internal-error
 *
 * While the pager is in trouble a vCPU or a device may wait for a page that
 * does not come, so the VM cannot always be brought to rest. The main thread
 * must not wait for that: it would take the monitor with it, and nobody could
 * say cont. So it is patient for a moment, and then the VM counts as stopped
 * while some device still ends its work (vm_out_of_patience()).
 *
 * Invariant: stopped_by is 0 while the VM runs.
 *
 * Threads: main, but for vm_engine_events and vm_out_of_patience().
 */
#include "system-internal.h"

#include <errno.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

/* Trouble or not, what can come to rest does so in this time. */
#define PATIENCE_NS (500 * VM_NS_PER_MS)

/* In Vm.stopped_by beside the bits of the troubles: a person said stop. */
#define STOPPED_BY_HAND (1u << VMD_TROUBLE__COUNT)
/* Troubles that end by themselves. */
#define PASSING (1u << VMD_TROUBLE_TIMEOUT | 1u << VMD_TROUBLE_STALL)
/* Troubles in which pages come late, or when somebody has repaired it. */
#define PAGES_WAIT \
    (1u << VMD_TROUBLE_WRITE | 1u << VMD_TROUBLE_READ | PASSING)

static void engine_event(void *opaque, const VmdEvent *event)
{
    Vm *vm = opaque;

    if (event->over) {
        atomic_fetch_and(&vm->troubles, ~(1u << event->what));
    } else {
        atomic_fetch_or(&vm->troubles, 1u << event->what);
    }
    vm_mutex_lock(&vm->lock);
    g_queue_push_tail(&vm->engine_events, g_memdup2(event, sizeof(*event)));
    vm_mutex_unlock(&vm->lock);
    vm_request(vm, VM_REQUEST_ENGINE);
}

const VmdEvents vm_engine_events = { .event = engine_event };

bool vm_out_of_patience(void *opaque)
{
    Vm *vm = opaque;

    return atomic_load(&vm->troubles) != 0 &&
           vm_clock_ns() - vm->patient_since_ns > PATIENCE_NS;
}

bool vm_pages_wait(Vm *vm, GError **errp)
{
    if (!(atomic_load(&vm->troubles) & PAGES_WAIT)) {
        return false;
    }
    vm_error_set(errp, 0, "The swap file does not work (query-vmemdirect "
                 "says why); this needs guest memory");
    return true;
}

static void trouble_began(Vm *vm, const VmdEvent *event)
{
    const char *what = vmd_trouble_to_string(event->what);
    const char *error = vmd_error_to_string(event->error);
    json_object *data = json_object_new_object();

    qmp_put_str(data, "operation", what);
    qmp_put_str(data, "error", error);
    qmp_put_bool(data, "nospace", event->error == ENOSPC);
    qmp_put_str(data, "action", event->stop ? "stop" : "report");
    qmp_event(vm->monitor, "VMEMDIRECT_ERROR", data);
    vm_report("-vmemdirect: %s error: %s%s", what, error,
              event->stop ? "; the VM is stopped" : "");
    if (event->stop) {
        vm_stop(vm, event->what == VMD_TROUBLE_ENGINE ? VM_RUN_INTERNAL_ERROR
                                                      : VM_RUN_IO_ERROR);
        vm->stopped_by |= 1u << event->what;
    }
}

static void go_on(Vm *vm)
{
    g_autoptr(GError) err = NULL;

    if (!vm_start(vm, &err)) {
        vm_report("-vmemdirect: the VM stays stopped: %s", err->message);
    }
}

static void trouble_over(Vm *vm, VmdTrouble what)
{
    const char *operation = vmd_trouble_to_string(what);
    json_object *data = json_object_new_object();

    qmp_put_str(data, "operation", operation);
    qmp_event(vm->monitor, "VMEMDIRECT_RECOVERED", data);
    vm_report("-vmemdirect: %s error: it is over", operation);
    if ((1u << what) & PASSING) {
        vm->stopped_by &= ~(1u << what);
        if (vm->state == VM_RUN_IO_ERROR && vm->stopped_by == 0) {
            go_on(vm);
        }
    }
    if (vm->reset_waits && !vm_pages_wait(vm, NULL)) {
        vm->reset_waits = false;
        vm_request(vm, VM_REQUEST_RESET);
    }
}

static VmdEvent *pop_event(Vm *vm)
{
    VmdEvent *event;

    vm_mutex_lock(&vm->lock);
    event = g_queue_pop_head(&vm->engine_events);
    vm_mutex_unlock(&vm->lock);
    return event;
}

void vm_engine_serve(Vm *vm)
{
    VmdEvent *event;

    while ((event = pop_event(vm))) {
        if (event->over) {
            trouble_over(vm, event->what);
        } else {
            trouble_began(vm, event);
        }
        g_free(event);
    }
}

void vm_engine_stopped_by_hand(Vm *vm)
{
    vm->stopped_by |= STOPPED_BY_HAND;
}

void vm_engine_started(Vm *vm)
{
    vm->stopped_by = 0;
    if (vm->engine) {
        vmd_engine_retry(vm->engine);
    }
}
