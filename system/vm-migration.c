/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM as migration sees it.
 *
 * Migration runs on its own threads; what it asks of the VM is done on the
 * main thread (vm_call_main()), where the run state lives.
 *
 * Invariants:
 *   (1) Between stop() and the end of the migration the state is
 *       finish-migrate, and nothing but this file leaves it.
 *   (2) What the guest asked for before it stopped is not lost: a reset or
 *       power-off makes the hand-over fail and is then done at this side.
 *   (3) After a failure the VM runs on only through op_resume(): migration
 *       calls it iff the other side cannot run.
 *
 * Threads: the ops on migration threads; the *_main functions on the main
 * thread.
 */
#include "system-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/log.h"

/* --- Source ------------------------------------------------------------- */

static void restore_state(Vm *vm)
{
    g_autoptr(GError) err = NULL;

    if (vm->state != VM_RUN_FINISH_MIGRATE) {
        return;
    }
    if (vm->state_before_migration != VM_RUN_RUNNING) {
        vm_set_state(vm, vm->state_before_migration);
        return;
    }
    vm_set_state(vm, VM_RUN_PAUSED);
    if (!vm_start(vm, &err)) {
        vm_report("migrate: the VM stays paused: %s", err->message);
    }
}

static int stop_main(Vm *vm, void *arg)
{
    bool *ret_was_running = arg;
    bool was_running = vm_is_running(vm);
    unsigned asked;

    if (!vm_run_state_allowed(vm->state, VM_RUN_FINISH_MIGRATE)) {
        return -EBUSY; /* powered off or broken: nothing to move */
    }
    vm->state_before_migration = vm->state;
    vm_stop(vm, VM_RUN_FINISH_MIGRATE);
    if (!vm_rest(vm, NULL)) {
        restore_state(vm); /* what still moves cannot be handed over */
        return -EBUSY;
    }
    asked = vm_take_requests(vm, VM_REQUEST_SHUTDOWN | VM_REQUEST_RESET);
    if (asked & VM_REQUEST_SHUTDOWN) { /* (2) */
        vm_set_state(vm, vm->state_before_migration);
        vm_shutdown(vm, VM_CAUSE_GUEST_SHUTDOWN);
        return -ECANCELED;
    }
    if (asked & VM_REQUEST_RESET) {
        /* Where it cannot be done now it is done after a failed migration. */
        vm_request(vm, VM_REQUEST_RESET);
        vm_set_state(vm, vm->state_before_migration);
        return -ECANCELED;
    }
    *ret_was_running = was_running;
    return 0;
}

static int op_stop(void *opaque, bool *ret_was_running)
{
    return vm_call_main(opaque, stop_main, ret_was_running);
}

static int resume_main(Vm *vm, void *arg)
{
    restore_state(vm);
    return 0;
}

static void op_throttle(void *opaque, unsigned percent)
{
    vcpus_set_throttle(((Vm *)opaque)->vcpus, percent);
}

static void op_resume(void *opaque)
{
    (void)vm_call_main(opaque, resume_main, NULL); /* at exit: no need */
}

/* --- Images ------------------------------------------------------------- */

static bool images_inactivate(Vm *vm, GError **errp)
{
    for (guint i = 0; i < vm->blocks->len; i++) {
        if (!block_backend_inactivate(vm->blocks->pdata[i], errp)) {
            return false; /* the caller activates them all again */
        }
        vm->images_active = false;
    }
    vm->images_active = vm->blocks->len == 0;
    return true;
}

bool vm_images_activate(Vm *vm, GError **errp)
{
    if (vm->images_active) {
        return true;
    }
    for (guint i = 0; i < vm->blocks->len; i++) {
        if (!block_backend_activate(vm->blocks->pdata[i], errp)) {
            return false;
        }
    }
    vm->images_active = true;
    return true;
}

static int inactivate_main(Vm *vm, void *errp)
{
    return images_inactivate(vm, errp) ? 0 : -EIO;
}

static int activate_main(Vm *vm, void *errp)
{
    return vm_images_activate(vm, errp) ? 0 : -EIO;
}

static bool call_filled(int r, GError **errp)
{
    if (r == -ECANCELED) { /* not run: nothing was filled */
        return vm_error_set(errp, ECANCELED, "the VM is ending");
    }
    return r == 0;
}

static bool op_inactivate(void *opaque, GError **errp)
{
    return call_filled(vm_call_main(opaque, inactivate_main, errp), errp);
}

static bool op_activate(void *opaque, GError **errp)
{
    return call_filled(vm_call_main(opaque, activate_main, errp), errp);
}

/* --- Destination -------------------------------------------------------- */

typedef struct StartCall {
    bool run;
    GError **errp;
} StartCall;

static int start_main(Vm *vm, void *arg)
{
    StartCall *call = arg;

    vm->arrived = true;
    if (!call->run || !vm->autostart) {
        vm_set_state(vm, VM_RUN_PAUSED);
    } else if (!vm_start(vm, call->errp)) {
        return -EIO; /* not loaded: this side ends, the source goes on */
    }
    vm->loaded = true;
    return 0;
}

static int op_start(void *opaque, bool run, GError **errp)
{
    StartCall call = { .run = run, .errp = errp };
    int r = vm_call_main(opaque, start_main, &call);

    (void)call_filled(r, errp);
    return r;
}

/* --- Devices ------------------------------------------------------------ */

static void add_device(GArray *list, const VMStateDescription *vmsd,
                       uint32_t instance, void *opaque, VmMutex *lock)
{
    MigrationDevice entry = { vmsd, instance, opaque, lock };

    g_array_append_val(list, entry);
}

/*
 * Device.instance counts devices of one type, but several types may share a
 * description (bridges do); on the wire the description's name is what counts.
 */
static uint32_t instance_of(const GArray *list, const char *name)
{
    uint32_t n = 0;

    for (guint i = 0; i < list->len; i++) {
        n += strcmp(g_array_index(list, MigrationDevice, i).vmsd->name,
                    name) == 0;
    }
    return n;
}

/* vCPUs before the chips: see kvm_vm_vmstate. */
static GArray *op_devices(void *opaque)
{
    Vm *vm = opaque;
    GArray *list = g_array_new(FALSE, FALSE, sizeof(MigrationDevice));

    for (unsigned i = 0; i < vcpus_count(vm->vcpus); i++) {
        add_device(list, &vcpu_vmstate, i, vcpus_state(vm->vcpus, i), NULL);
    }
    add_device(list, &kvm_vm_vmstate, 0, kvm_vm_state(vm->kvm), NULL);
    for (guint i = 0; i < vm->machine.devices->len; i++) {
        Device *dev = vm->machine.devices->pdata[i];

        if (dev->vmsd) {
            add_device(list, dev->vmsd, instance_of(list, dev->vmsd->name),
                       dev, &dev->lock);
        }
    }
    return list;
}

/* --- Status ------------------------------------------------------------- */

static void incoming_ended(Vm *vm, MigrationStatus status, const char *error)
{
    if (status != MIGRATION_FAILED && status != MIGRATION_CANCELLED) {
        return;
    }
    vm_report("load of migration failed: %s",
              error ? error : migration_status_to_string(status));
    vm->exit_status = 1;
    g_main_loop_quit(vm->loop);
}

static void outgoing_ended(Vm *vm, MigrationStatus status)
{
    if (vm->state != VM_RUN_FINISH_MIGRATE) {
        return;
    }
    if (status == MIGRATION_COMPLETED) {
        vm_set_state(vm, VM_RUN_POSTMIGRATE);
    } else if (status == MIGRATION_FAILED || status == MIGRATION_CANCELLED) {
        /* (3): a VM that ran and was not resumed may run at the other side. */
        vm_set_state(vm, vm->state_before_migration == VM_RUN_RUNNING
                             ? VM_RUN_PAUSED
                             : vm->state_before_migration);
    }
}

static void op_status_changed(void *opaque, MigrationStatus status,
                              const char *error)
{
    Vm *vm = opaque;

    if (vm->events_capability) {
        json_object *data = json_object_new_object();

        qmp_put_str(data, "status", migration_status_to_string(status));
        qmp_event(vm->monitor, "MIGRATION", data);
    }
    if (vm->options->incoming && !vm->loaded) {
        incoming_ended(vm, status, error);
    } else {
        outgoing_ended(vm, status);
    }
}

static void op_pass_begun(void *opaque, uint64_t pass)
{
    Vm *vm = opaque;

    if (vm->events_capability) {
        json_object *data = json_object_new_object();

        qmp_put_u64(data, "pass", pass);
        qmp_event(vm->monitor, "MIGRATION_PASS", data);
    }
}

/* --- Addresses ---------------------------------------------------------- */

/* All that this process opens is close-on-exec; what it was started with is
 * not, or it would not be there. So no descriptor of ours can be named. The
 * standard ones stay open: what is printed must not end up in another file. */
static bool was_inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    return fd > STDERR_FILENO && flags >= 0 && !(flags & FD_CLOEXEC);
}

static int find_fd(Monitor *mon, const char *name, GError **errp)
{
    guint64 number;
    int fd;

    if (!g_ascii_isdigit(name[0])) {
        fd = mon ? monitor_take_fd(mon, name) : -1;
        if (fd < 0) {
            (void)vm_error_set(errp, 0, "File descriptor named '%s' has not "
                               "been found", name);
        }
        return fd;
    }
    if (!g_ascii_string_to_unsigned(name, 10, 0, INT_MAX, &number, NULL) ||
        !was_inherited((int)number)) {
        (void)vm_error_set(errp, 0, "'%s' is no descriptor that this process "
                           "was started with", name);
        return -1;
    }
    (void)fcntl((int)number, F_SETFD, FD_CLOEXEC); /* ours from now on */
    return (int)number;
}

char *vm_migration_uri(Monitor *mon, const char *uri, GError **errp)
{
    int fd;

    if (!g_str_has_prefix(uri, "fd:")) {
        return g_strdup(uri);
    }
    fd = find_fd(mon, uri + strlen("fd:"), errp);
    return fd < 0 ? NULL : g_strdup_printf("fd:%d", fd);
}

/* --- Set-up ------------------------------------------------------------- */

bool vm_migration_start(Vm *vm, GError **errp)
{
    vm->migration_vm = (MigrationVm){
        .machine = vm->options->machine,
        .vcpus = vm->options->cpus,
        .ram = vm->ram,
        .placement = vm->placement,
        .stop = op_stop,
        .resume = op_resume,
        .throttle = op_throttle,
        .start = op_start,
        .inactivate = op_inactivate,
        .activate = op_activate,
        .devices = op_devices,
        .status_changed = op_status_changed,
        .pass_begun = op_pass_begun,
        .opaque = vm,
    };
    vm->migration = migration_new(&vm->migration_vm);
    return true;
}

void vm_migration_stop(Vm *vm)
{
    vm_close_calls(vm);
    migration_free(g_steal_pointer(&vm->migration));
}
