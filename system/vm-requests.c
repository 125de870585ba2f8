/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What other threads want of the main thread.
 *
 * Two ways. A request is a bit and a wake-up: vCPUs, devices and the engine
 * ask, and do not wait (they may hold locks, and the main thread may be
 * waiting for them to pause). A call is for migration threads, which need
 * the result: the main thread runs it from its loop.
 *
 * Invariants:
 *   (1) A thread that the main thread may wait for never waits for the main
 *       thread; but for migration threads, which vm_close_calls() lets go
 *       before they are joined.
 *   (2) A VmCall lives on the stack of the waiter and is touched by the main
 *       thread only until done is set, under lock.
 *
 * Threads: as said at each function.
 */
#include "system-internal.h"

#include <errno.h>
#include <string.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

#define RESET_TELL_EVERY_NS (10 * VM_NS_PER_SEC)

struct VmCall {
    int (*fn)(Vm *vm, void *arg);
    void *arg;
    int result;
    bool done;
};

/* --- Asking ------------------------------------------------------------- */

void vm_request(Vm *vm, unsigned bits)
{
    /* Release: pairs with the acquire in vm_take_requests(). */
    atomic_fetch_or_explicit(&vm->requests, bits, memory_order_release);
    g_source_set_ready_time(vm->request_source, 0);
}

static void machine_shutdown(void *opaque)
{
    vm_request(opaque, VM_REQUEST_SHUTDOWN);
}

static void machine_reset_request(void *opaque)
{
    vm_request(opaque, VM_REQUEST_RESET);
}

static void machine_debug_exit(void *opaque, int status)
{
    Vm *vm = opaque;

    atomic_store_explicit(&vm->debug_exit_status, status,
                          memory_order_relaxed);
    vm_request(vm, VM_REQUEST_DEBUG_EXIT);
}

static void machine_balloon_changed(void *opaque)
{
    vm_request(opaque, VM_REQUEST_BALLOON);
}

const MachineRequests vm_machine_requests = {
    .shutdown = machine_shutdown,
    .reset = machine_reset_request,
    .debug_exit = machine_debug_exit,
    .balloon_changed = machine_balloon_changed,
};

static void vcpu_internal_error(void *opaque, unsigned cpu, const char *text)
{
    Vm *vm = opaque;

    vm_mutex_lock(&vm->lock);
    if (!vm->internal_error) {
        vm->internal_error = g_strdup_printf("vCPU %u: %s", cpu, text);
    }
    vm_mutex_unlock(&vm->lock);
    vm_request(vm, VM_REQUEST_INTERNAL_ERROR);
}

/* A guest can do it again and again: that must not fill a log. */
static bool may_tell_reset(Vm *vm)
{
    int64_t now_ns = vm_clock_ns();
    bool may;

    vm_mutex_lock(&vm->lock);
    may = vm->reset_told_ns == 0 ||
          now_ns - vm->reset_told_ns >= RESET_TELL_EVERY_NS;
    if (may) {
        vm->reset_told_ns = now_ns;
    }
    vm_mutex_unlock(&vm->lock);
    return may;
}

/*
 * Some guests reset by a triple fault on purpose. One that did not mean to is
 * gone without a word of its own, so the VMM has one.
 */
static void vcpu_reset_requested(void *opaque, unsigned cpu, const char *text)
{
    Vm *vm = opaque;

    if (may_tell_reset(vm)) {
        vm_report("vCPU %u: %s; the VM is %s", cpu, text,
                  vm->options->no_reboot ? "shut down (-no-reboot)" : "reset");
    }
    vm_request(vm, VM_REQUEST_RESET);
}

const VcpuCallbacks vm_vcpu_callbacks = {
    .reset_requested = vcpu_reset_requested,
    .internal_error = vcpu_internal_error,
};

int vm_call_main(Vm *vm, int (*fn)(Vm *vm, void *arg), void *arg)
{
    VmCall call = { .fn = fn, .arg = arg, .result = -ECANCELED };

    vm_mutex_lock(&vm->lock);
    if (!vm->calls_closed) {
        g_queue_push_tail(&vm->calls, &call);
        g_source_set_ready_time(vm->request_source, 0);
        while (!call.done) {
            vm_cond_wait(&vm->call_done, &vm->lock);
        }
    }
    vm_mutex_unlock(&vm->lock);
    return call.result;
}

void vm_close_calls(Vm *vm)
{
    VmCall *call;

    vm_mutex_lock(&vm->lock);
    vm->calls_closed = true;
    while ((call = g_queue_pop_head(&vm->calls))) {
        call->done = true; /* (1): with -ECANCELED */
    }
    vm_cond_broadcast(&vm->call_done);
    vm_mutex_unlock(&vm->lock);
}

/* --- Serving ------------------------------------------------------------ */

static VmCall *pop_call(Vm *vm)
{
    VmCall *call;

    vm_mutex_lock(&vm->lock);
    call = g_queue_pop_head(&vm->calls);
    vm_mutex_unlock(&vm->lock);
    return call;
}

static void serve_calls(Vm *vm)
{
    VmCall *call;

    while ((call = pop_call(vm))) {
        int result = call->fn(vm, call->arg);

        vm_mutex_lock(&vm->lock);
        call->result = result;
        call->done = true; /* (2) */
        vm_cond_broadcast(&vm->call_done);
        vm_mutex_unlock(&vm->lock);
    }
}

static void serve_internal_error(Vm *vm)
{
    g_autofree char *text = NULL;

    vm_mutex_lock(&vm->lock);
    text = g_steal_pointer(&vm->internal_error);
    vm_mutex_unlock(&vm->lock);
    vm_report("%s; the VM is stopped", text ? text : "a vCPU cannot go on");
    vm_stop(vm, VM_RUN_INTERNAL_ERROR);
}

static void serve_reset(Vm *vm, VmCause cause)
{
    g_autoptr(GError) err = NULL;

    /* A request that was overtaken by a stop still holds: the guest waits
     * for it. */
    if (vm_pages_wait(vm, NULL)) {
        vm->reset_waits = true;
    } else if (!vm_reset(vm, cause, &err)) {
        vm_report("reset: %s", err->message);
    }
}

static void serve_monitor(Vm *vm, unsigned bits)
{
    if (bits & VM_REQUEST_POWERDOWN) {
        qmp_event(vm->monitor, "POWERDOWN", NULL);
        if (vm->has_machine) {
            pc_machine_power_button(vm->pc);
        }
    }
    if (bits & VM_REQUEST_HOST_RESET) {
        serve_reset(vm, VM_CAUSE_HOST_QMP_SYSTEM_RESET);
    }
    if (bits & VM_REQUEST_QUIT) {
        vm_quit(vm, VM_CAUSE_HOST_QMP_QUIT);
    }
}

unsigned vm_take_requests(Vm *vm, unsigned bits)
{
    /* Acquire: pairs with the release in vm_request(). */
    return bits & atomic_fetch_and_explicit(&vm->requests, ~bits,
                                            memory_order_acquire);
}

static gboolean requests_dispatch(GSource *source, GSourceFunc fn,
                                  gpointer opaque)
{
    Vm *vm = opaque;
    unsigned bits;

    g_source_set_ready_time(source, -1);
    bits = vm_take_requests(vm, ~0u);
    if (bits & VM_REQUEST_DEBUG_EXIT) {
        vm->exit_status = atomic_load_explicit(&vm->debug_exit_status,
                                               memory_order_relaxed);
        g_main_loop_quit(vm->loop);
        return G_SOURCE_CONTINUE;
    }
    if (bits & VM_REQUEST_INTERNAL_ERROR) {
        serve_internal_error(vm);
    }
    if (bits & VM_REQUEST_ENGINE) {
        vm_engine_serve(vm);
    }
    if (bits & VM_REQUEST_SHUTDOWN) {
        vm_shutdown(vm, VM_CAUSE_GUEST_SHUTDOWN);
    } else if (bits & VM_REQUEST_RESET) {
        serve_reset(vm, VM_CAUSE_GUEST_RESET);
    }
    if (bits & VM_REQUEST_BALLOON) {
        vm_balloon_changed(vm);
    }
    serve_monitor(vm, bits);
    serve_calls(vm);
    return G_SOURCE_CONTINUE;
}

/* GLib wants a callback on a source whose dispatch gets its data. */
static gboolean unused_callback(gpointer opaque)
{
    return G_SOURCE_CONTINUE;
}

void vm_requests_init(Vm *vm)
{
    static GSourceFuncs funcs = { .dispatch = requests_dispatch };

    vm_mutex_init(&vm->lock, VM_RANK_LEAF);
    vm_cond_init(&vm->call_done);
    g_queue_init(&vm->calls);
    g_queue_init(&vm->engine_events);
    vm->request_source = g_source_new(&funcs, sizeof(GSource));
    g_source_set_priority(vm->request_source, G_PRIORITY_HIGH);
    g_source_set_callback(vm->request_source, unused_callback, vm, NULL);
    g_source_attach(vm->request_source, NULL);
}

void vm_requests_done(Vm *vm)
{
    g_source_destroy(vm->request_source);
    g_source_unref(vm->request_source);
    g_queue_clear_full(&vm->engine_events, g_free);
    g_free(vm->internal_error);
    vm_cond_done(&vm->call_done);
    vm_mutex_done(&vm->lock);
}
