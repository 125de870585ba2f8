/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * main(): options, background, VM, main loop, exit status.
 *
 * Exit status: 0 after an orderly end, whoever asked for it; 1 with one line
 * on stderr when the VM could not be made or an incoming migration failed;
 * isa-debug-exit's own.
 */
#include "system-internal.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "util/error.h"
#include "util/log.h"

#define VM_VERSION_TEXT                                                     \
    "QEMU emulator version 7.2.0 (vmemdirect-0.1.0)\n"                      \
    "The interface is QEMU 7.2's; the program is VMemDirect.\n"

static char *machines_help(void)
{
    GString *text = g_string_new("Supported machines are:\n");

    for (const PcMachineInfo *m = pc_machine_infos; m->name; m++) {
        if (m->alias) {
            g_string_append_printf(text, "%-20s %s (alias of %s)%s\n",
                                   m->alias, m->description, m->name,
                                   m->is_default ? " (default)" : "");
        }
        g_string_append_printf(text, "%-20s %s\n", m->name, m->description);
    }
    return g_string_free(text, /* free_segment= */ FALSE);
}

/* --- Signals ------------------------------------------------------------ */

static gboolean signal_arrived(gint fd, GIOCondition condition,
                               gpointer opaque)
{
    struct signalfd_siginfo info;
    Vm *vm = opaque;

    if (read(fd, &info, sizeof(info)) != sizeof(info)) {
        return G_SOURCE_CONTINUE;
    }
    if (info.ssi_signo != SIGINT) {
        vm_report("terminating on signal %u from pid %u", info.ssi_signo,
                  info.ssi_pid);
    }
    vm_quit(vm, VM_CAUSE_HOST_SIGNAL);
    return G_SOURCE_CONTINUE;
}

static void ending_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGHUP);
}

static bool signals_start(Vm *vm, GError **errp)
{
    sigset_t set;

    ending_signals(&set);
    vm->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (vm->signal_fd < 0) {
        return vm_error_set(errp, errno, "signalfd");
    }
    vm->signal_source =
        g_unix_fd_add_full(G_PRIORITY_HIGH, vm->signal_fd, G_IO_IN,
                           signal_arrived, vm, NULL);
    return true;
}

static void signals_stop(Vm *vm)
{
    g_source_remove(vm->signal_source);
    (void)close(vm->signal_fd); /* nothing to lose */
}

/* Before any thread: they inherit the mask. */
static void signals_block(void)
{
    sigset_t set;

    ending_signals(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* --- The course --------------------------------------------------------- */

static bool print_and_leave(const VmOptions *o)
{
    g_autofree char *text = NULL;

    switch (o->action) {
    case VM_OPTIONS_RUN:
        return false;
    case VM_OPTIONS_HELP:
        text = vm_options_help();
        break;
    case VM_OPTIONS_VERSION:
        text = g_strdup(VM_VERSION_TEXT);
        break;
    case VM_OPTIONS_MACHINES:
        text = machines_help();
        break;
    case VM_OPTIONS_DEVICES:
        text = vm_devices_help();
        break;
    }
    fputs(text, stdout);
    return true;
}

static bool prepare_process(const VmOptions *o, GError **errp)
{
    vm_log_init(o->timestamps);
    if (o->daemonize && !vm_daemonize(errp)) {
        return false;
    }
    return (!o->pidfile || vm_pidfile_write(o->pidfile, errp)) &&
           vm_sandbox_enter(&o->sandbox, errp);
}

static void quit_by_keyboard(void *opaque)
{
    vm_quit(opaque, VM_CAUSE_HOST_UI);
}

static bool run(Vm *vm, GError **errp)
{
    if (!signals_start(vm, errp)) {
        return false;
    }
    chardev_set_quit_handler(quit_by_keyboard, vm);
    if (!vm_launch(vm, errp)) {
        signals_stop(vm);
        return false;
    }
    vm_daemonize_ready();
    g_main_loop_run(vm->loop);
    signals_stop(vm);
    return true;
}

static int fail(const GError *err)
{
    vm_report("%s", err->message);
    vm_wait_for_manager();
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    g_autoptr(VmOptions) options = NULL;
    g_autoptr(GError) err = NULL;
    g_autofree char *pidfile = NULL;
    int status = EXIT_FAILURE;
    Vm *vm;

    vm_note_passed_listeners();
    signals_block();
    options = vm_options_parse(argc, argv, &err);
    if (!options) {
        return fail(err);
    }
    if (print_and_leave(options)) {
        return EXIT_SUCCESS;
    }
    if (!prepare_process(options, &err)) {
        return fail(err);
    }
    pidfile = g_strdup(options->pidfile);
    vm = vm_new(g_steal_pointer(&options));
    if (vm_assemble(vm, &err) && run(vm, &err)) {
        status = vm->exit_status;
    } else {
        (void)fail(err);
    }
    vm_free(vm);
    vm_pidfile_remove(pidfile);
    return status;
}
