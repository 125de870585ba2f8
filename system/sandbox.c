/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -sandbox: system calls that the process does without (seccomp).
 *
 * Why: who gets hold of the VMM by way of a hostile guest must not get hold of
 * the host as well. What a VMM never needs always fails; groups of calls that
 * some set-ups need fail if the option says so. A call that is denied fails
 * with EPERM rather than kill the VM, since a feature that needs it (exec: of
 * a migration, for example) is better refused than deadly.
 *
 * Invariants:
 *   (1) The filter is in force before the first other thread, the first byte
 *       of a guest, a peer or a client; all threads and children inherit it.
 *   (2) A thread can always be made: clone() with CLONE_THREAD passes. Since
 *       a filter cannot look into the structure of clone3(), that is ENOSYS,
 *       and the C library then takes clone().
 *
 * Sources: seccomp(2), Linux Documentation/userspace-api/seccomp_filter.rst.
 *
 * Threads: main, before any other exists.
 */
#include "system-internal.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/error.h"

/* Set in the number of every call of the x32 ABI. */
#define X32_BIT 0x40000000u

/* Nothing that a virtual machine does. */
static const int never[] = {
    SYS_reboot,        SYS_swapon,         SYS_swapoff,
    SYS_mount,         SYS_umount2,        SYS_pivot_root,
    SYS_chroot,        SYS_syslog,         SYS_acct,
    SYS_kexec_load,    SYS_kexec_file_load, SYS_init_module,
    SYS_finit_module,  SYS_delete_module,  SYS_settimeofday,
    SYS_clock_settime, SYS_adjtimex,       SYS_clock_adjtime,
    SYS_sethostname,   SYS_setdomainname,  SYS_iopl,
    SYS_ioperm,        SYS_quotactl,       SYS_nfsservctl,
    SYS_add_key,       SYS_request_key,    SYS_keyctl,
    SYS_bpf,           SYS_ptrace,         SYS_process_vm_writev,
    SYS_open_by_handle_at, SYS_setns,      SYS_unshare,
    SYS_mount_setattr, SYS_move_mount,     SYS_open_tree,
    SYS_fsopen,        SYS_fsconfig,       SYS_fsmount,
    SYS_vhangup,       SYS_personality,    SYS_perf_event_open,
};

static const int obsolete[] = {
    SYS__sysctl,    SYS_create_module, SYS_get_kernel_syms,
    SYS_query_module, SYS_sysfs,       SYS_uselib,
    SYS_ustat,      SYS_modify_ldt,    SYS_remap_file_pages,
    SYS_lookup_dcookie,
};

static const int elevate[] = {
    SYS_setuid,   SYS_setgid,   SYS_setreuid,  SYS_setregid, SYS_setresuid,
    SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups, SYS_capset,
    SYS_setpgid,  SYS_setsid,
};

/* clone() has a rule of its own. */
static const int spawn[] = {
    SYS_fork, SYS_vfork, SYS_execve, SYS_execveat,
};

static const int resources[] = {
    SYS_setpriority,      SYS_sched_setparam, SYS_sched_setscheduler,
    SYS_sched_setattr,    SYS_sched_setaffinity, SYS_ioprio_set,
    SYS_migrate_pages,    SYS_move_pages,     SYS_set_mempolicy,
    SYS_mbind,
};

#define FILTER_MAX 256u

typedef struct Filter {
    struct sock_filter code[FILTER_MAX];
    unsigned short len;
} Filter;

static void emit(Filter *f, uint16_t code, uint8_t if_true, uint8_t if_false,
                 uint32_t k)
{
    g_assert(f->len < FILTER_MAX);
    f->code[f->len++] = (struct sock_filter){ code, if_true, if_false, k };
}

static void load(Filter *f, size_t offset)
{
    emit(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void finish(Filter *f, uint32_t action)
{
    emit(f, BPF_RET | BPF_K, 0, 0, action);
}

static const uint32_t fails = SECCOMP_RET_ERRNO | EPERM;

/* The number is in the accumulator. */
static void deny(Filter *f, const int *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        emit(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)calls[i]);
        finish(f, fails);
    }
}
#define DENY(f, calls) deny(f, calls, G_N_ELEMENTS(calls))

/* (2). Flags are the first argument; the host is little endian. */
static void deny_processes(Filter *f)
{
    DENY(f, spawn);
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_clone3);
    finish(f, SECCOMP_RET_ERRNO | ENOSYS);
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, SYS_clone);
    load(f, offsetof(struct seccomp_data, args[0]));
    emit(f, BPF_JMP | BPF_JSET | BPF_K, 1, 0, CLONE_THREAD);
    finish(f, fails);
    finish(f, SECCOMP_RET_ALLOW);
}

static void build(Filter *f, const VmSandbox *s)
{
    load(f, offsetof(struct seccomp_data, arch));
    emit(f, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    finish(f, SECCOMP_RET_KILL_PROCESS); /* numbers mean something else */
    load(f, offsetof(struct seccomp_data, nr));
    emit(f, BPF_JMP | BPF_JGE | BPF_K, 0, 1, X32_BIT);
    finish(f, fails);
    DENY(f, never);
    if (s->deny_obsolete) {
        DENY(f, obsolete);
    }
    if (s->deny_elevate) {
        DENY(f, elevate);
    }
    if (s->deny_resources) {
        DENY(f, resources);
    }
    if (s->deny_spawn) {
        deny_processes(f);
    }
    finish(f, SECCOMP_RET_ALLOW);
}

bool vm_sandbox_enter(const VmSandbox *s, GError **errp)
{
    Filter f = { .len = 0 };
    struct sock_fprog program = { .filter = f.code };

    if (!s->on) {
        return true;
    }
    build(&f, s);
    program.len = f.len;
    /* A program that is run would otherwise gain rights under our filter. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return vm_error_set(errp, errno, "-sandbox: no_new_privs");
    }
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
        return vm_error_set(errp, errno, "-sandbox: seccomp");
    }
    return true;
}
