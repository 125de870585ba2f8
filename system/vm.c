/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Assembly of the VM from its options, and its end.
 *
 * The steps are a table: each start() may use what the ones above made; a
 * failure, and the end, run the stop()s of the started ones in reverse.
 *
 * Why this order: guest RAM belongs to the engine before anything touches
 * it; KVM gets its memory slots when the board has mapped RAM; the I/O thread
 * runs only while all devices exist; monitors come last, so that the first
 * command finds a whole VM.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"

/* --- RAM and its pager -------------------------------------------------- */

static bool ram_start(Vm *vm, GError **errp)
{
    const char *id = vm->options->memory_backend;

    vm->ram = ram_block_new(id ? id : "pc.ram", vm->options->ram_bytes, errp);
    return vm->ram != NULL;
}

static void ram_stop(Vm *vm)
{
    ram_block_free(g_steal_pointer(&vm->ram));
}

typedef struct ConfigWalk {
    VmdConfig *config;
    bool ok;
    GError **errp;
} ConfigWalk;

static void config_key(const char *key, const char *value, void *opaque)
{
    ConfigWalk *w = opaque;

    if (strcmp(key, VM_SWAP_DIR_KEY) != 0) { /* it has become swap= */
        w->ok = w->ok && vmd_config_set(w->config, key, value, w->errp);
    }
}

static bool engine_start(Vm *vm, GError **errp)
{
    g_autoptr(VmdConfig) config = vmd_config_new();
    ConfigWalk walk = { config, true, errp };

    if (!vm->options->vmemdirect) {
        vm->plain_placement = ram_plain_placement_new(vm->ram, 256);
        vm->placement = vm->plain_placement;
        return true;
    }
    vm_keyval_foreach(vm->options->vmemdirect, config_key, &walk);
    if (!walk.ok) {
        return vm_prefix_option(errp, "-vmemdirect");
    }
    vm->engine = vmd_engine_new(config, ram_block_hva(vm->ram),
                                ram_block_bytes(vm->ram), &vm_engine_events,
                                vm, errp);
    if (!vm->engine) {
        return vm_prefix_option(errp, "-vmemdirect");
    }
    /* Until vm_start(): what an incoming migration brings is not to age. */
    vmd_engine_set_running(vm->engine, false);
    ram_block_set_pager(vm->ram, &vmd_pager_ops, vm->engine);
    vm->placement = vmd_engine_placement(vm->engine);
    return true;
}

static void engine_stop(Vm *vm)
{
    ram_plain_placement_free(g_steal_pointer(&vm->plain_placement));
    if (vm->engine) {
        ram_block_set_pager(vm->ram, NULL, NULL);
        vmd_engine_free(g_steal_pointer(&vm->engine));
    }
}

/* --- KVM, board, vCPUs -------------------------------------------------- */

static void irq_set_line(void *opaque, unsigned gsi, bool level)
{
    (void)kvm_set_line(opaque, gsi, level); /* a line has no answer */
}

static void irq_send_msi(void *opaque, uint64_t address, uint32_t data)
{
    (void)kvm_send_msi(opaque, address, data); /* nor has a message */
}

static int irq_ioeventfd_add(void *opaque, uint64_t addr, unsigned len,
                             int fd)
{
    return kvm_ioeventfd(opaque, addr, len, fd, /* add= */ true);
}

static void irq_ioeventfd_del(void *opaque, uint64_t addr, unsigned len,
                              int fd)
{
    (void)kvm_ioeventfd(opaque, addr, len, fd, /* add= */ false);
}

static const InterruptOps interrupt_ops = {
    .set_line = irq_set_line,
    .send_msi = irq_send_msi,
    .ioeventfd_add = irq_ioeventfd_add,
    .ioeventfd_del = irq_ioeventfd_del,
};

static bool kvm_start(Vm *vm, GError **errp)
{
    vm->kvm = kvm_vm_new(errp);
    return vm->kvm != NULL;
}

static void kvm_stop(Vm *vm)
{
    kvm_vm_free(g_steal_pointer(&vm->kvm));
}

static bool spaces_start(Vm *vm, GError **errp)
{
    vm->memory = address_space_new(AS_MEMORY);
    vm->ports = address_space_new(AS_PORTS);
    return true;
}

static void spaces_stop(Vm *vm)
{
    address_space_free(g_steal_pointer(&vm->memory));
    address_space_free(g_steal_pointer(&vm->ports));
}

static bool io_context_start(Vm *vm, GError **errp)
{
    vm->io = io_thread_new();
    return true;
}

static void io_context_stop(Vm *vm)
{
    io_thread_free(g_steal_pointer(&vm->io));
}

static bool board_start(Vm *vm, GError **errp)
{
    PcConfig cfg = {
        .machine = vm->options->machine,
        .cpus = vm->options->cpus,
        .kernel = vm->options->kernel,
        .initrd = vm->options->initrd,
        .append = vm->options->append,
        .rtc_offset_s = vm->options->rtc_offset_s,
    };

    if (!vm_serials(vm, cfg.serial, errp)) {
        return false;
    }
    machine_init(&vm->machine);
    vm->machine_ready = true;
    vm->machine.memory = vm->memory;
    vm->machine.ports = vm->ports;
    vm->machine.ram = vm->ram;
    vm->machine.interrupts = &interrupt_ops;
    vm->machine.interrupts_opaque = vm->kvm;
    vm->machine.requests = &vm_machine_requests;
    vm->machine.requests_opaque = vm;
    vm->machine.backends = &vm_machine_backends;
    vm->machine.backends_opaque = vm;
    vm->machine.io_context = io_thread_context(vm->io);
    vm->machine.out_of_patience = vm_out_of_patience;
    vm->machine.patience_opaque = vm;
    vm->pc = pc_machine_new(&cfg, &vm->machine, errp);
    return vm->pc != NULL;
}

static void board_stop(Vm *vm)
{
    if (vm->machine_ready) {
        machine_done(&vm->machine);
        vm->machine_ready = false;
    }
    pc_machine_free(g_steal_pointer(&vm->pc));
}

static bool vcpus_start(Vm *vm, GError **errp)
{
    if (!kvm_vm_set_memory(vm->kvm, vm->memory, errp)) {
        return false;
    }
    vm->vcpus = vcpus_new(vm->kvm, vm->memory, vm->ports, vm->options->cpus,
                          vm->options->cpu, &vm_vcpu_callbacks, vm, errp);
    return vm->vcpus != NULL;
}

/*
 * A vCPU sleeps in the kernel for a page that cannot be read. Where it is KVM
 * itself that reads guest memory, no signal but the last one ends that: the end
 * of the process does. Devices and monitors have been stopped by now.
 */
static void end_without_vcpu(const Vm *vm)
{
    vm_report("a CPU waits for memory that cannot be read; ending without it");
    vm_pidfile_remove(vm->options->pidfile);
    _exit(vm->exit_status);
}

static void vcpus_stop(Vm *vm)
{
    vm->patient_since_ns = vm_clock_ns();
    if (vm->vcpus &&
        !vcpus_pause_unless(vm->vcpus, vm_out_of_patience, vm)) {
        end_without_vcpu(vm);
    }
    vcpus_free(g_steal_pointer(&vm->vcpus));
}

/* From here on devices may be kicked; they are quiet until vm_start(). */
static bool io_run_start(Vm *vm, GError **errp)
{
    io_thread_start(vm->io);
    (void)machine_quiesce(&vm->machine);
    return true;
}

static void io_run_stop(Vm *vm)
{
    io_thread_stop(vm->io);
    vm_announce_stop(vm);
}

/* --- The table ---------------------------------------------------------- */

static bool lock_start(Vm *vm, GError **errp)
{
    return vm_lock_memory(vm->options, &vm->locked, errp);
}

static bool lock_all_start(Vm *vm, GError **errp)
{
    if (vm->engine) {
        vm_lock_all_memory(&vm->locked);
    }
    return true;
}

static void monitors_stop(Vm *vm)
{
    monitor_server_free(g_steal_pointer(&vm->monitor));
}

typedef struct VmStep {
    const char *name;
    bool needs_machine;
    bool (*start)(Vm *vm, GError **errp);
    void (*stop)(Vm *vm); /* also after a failed start; or NULL */
} VmStep;

static const VmStep steps[] = {
    { "memory lock", false, lock_start, NULL },
    { "objects", false, vm_objects_start, vm_objects_stop },
    { "character devices", false, vm_chardevs_start, vm_chardevs_stop },
    { "images", false, vm_blocks_start, vm_blocks_stop },
    { "networks", false, vm_nets_start, vm_nets_stop },
    { "RAM", true, ram_start, ram_stop },
    { "pager", true, engine_start, engine_stop },
    { "KVM", true, kvm_start, kvm_stop },
    { "address spaces", true, spaces_start, spaces_stop },
    { "I/O context", true, io_context_start, io_context_stop },
    { "board", true, board_start, board_stop },
    { "devices", true, vm_devices_start, NULL },
    { "vCPUs", true, vcpus_start, vcpus_stop },
    { "I/O thread", true, io_run_start, io_run_stop },
    { "migration", true, vm_migration_start, vm_migration_stop },
    { "memory lock, of all", true, lock_all_start, NULL },
    { "monitors", false, vm_monitors_start, monitors_stop },
};

bool vm_assemble(Vm *vm, GError **errp)
{
    for (; vm->steps_done < G_N_ELEMENTS(steps); vm->steps_done++) {
        const VmStep *step = &steps[vm->steps_done];

        if (step->needs_machine && !vm->has_machine) {
            continue;
        }
        vm_debug("start", "%s", step->name);
        if (!step->start(vm, errp)) {
            vm->steps_done++; /* its stop() runs, too */
            return false;
        }
    }
    return true;
}

static void undo_steps(Vm *vm)
{
    while (vm->steps_done > 0) {
        const VmStep *step = &steps[--vm->steps_done];

        if (step->stop && (vm->has_machine || !step->needs_machine)) {
            vm_debug("stop", "%s", step->name);
            step->stop(vm);
        }
    }
}

/* --- Life --------------------------------------------------------------- */

static void add_tables(Vm *vm)
{
    monitor_server_add_commands(vm->monitor, vm_qmp_run_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_query_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_block_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_cpu_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_probe_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_migration_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_vmemdirect_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_balloon_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_qom_commands, vm);
    monitor_server_add_commands(vm->monitor, vm_qmp_object_commands, vm);
    monitor_server_add_events(vm->monitor, vm_qmp_events);
}

Vm *vm_new(VmOptions *take_options)
{
    Vm *vm = g_new0(Vm, 1);

    vm->options = take_options;
    vm->has_machine = strcmp(take_options->machine, "none") != 0;
    vm->loop = g_main_loop_new(NULL, FALSE);
    vm->chardevs = g_ptr_array_new();
    vm->blocks = g_ptr_array_new();
    vm->nets = g_ptr_array_new();
    vm->tls_creds = g_strdup("");
    vm->tls_hostname = g_strdup("");
    vm->autostart = !take_options->paused;
    vm_requests_init(vm);
    vm->monitor = monitor_server_new();
    add_tables(vm);
    return vm;
}

void vm_free(Vm *vm)
{
    if (!vm) {
        return;
    }
    if (vm->engine && atomic_load(&vm->troubles) != 0) {
        vmd_engine_abandon(vm->engine); /* nobody may wait for it for ever */
    }
    vm_balloon_stop(vm);
    undo_steps(vm);
    monitor_server_free(vm->monitor);
    vm_requests_done(vm);
    g_ptr_array_unref(vm->chardevs);
    g_ptr_array_unref(vm->blocks);
    g_ptr_array_unref(vm->nets);
    g_main_loop_unref(vm->loop);
    vm_options_free(vm->options);
    g_free(vm->tls_creds);
    g_free(vm->tls_hostname);
    g_free(vm);
}

static bool launch_incoming(Vm *vm, GError **errp)
{
    g_autofree char *uri = NULL;

    vm_set_state(vm, VM_RUN_INMIGRATE);
    /* Loading starts from power-on state, without a kernel in RAM. */
    kvm_vm_reset_chips(vm->kvm);
    machine_reset(&vm->machine);
    if (!vcpus_reset(vm->vcpus, NULL, errp)) {
        return false;
    }
    if (strcmp(vm->options->incoming, "defer") == 0) {
        return true;
    }
    uri = vm_migration_uri(NULL, vm->options->incoming, errp);
    return (uri && migration_listen(vm->migration, uri, errp)) ||
           vm_prefix_option(errp, "-incoming");
}

bool vm_launch(Vm *vm, GError **errp)
{
    if (vm->options->incoming) {
        return launch_incoming(vm, errp);
    }
    return vm_power_on(vm, errp) && (!vm->autostart || vm_start(vm, errp));
}
