/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -sandbox: what is denied fails with EPERM, and the rest goes on.
 *
 * How: a child process enters the sandbox and tries; its exit status says
 * what came out, since nothing leads out of a sandbox.
 */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../system/system-internal.h"

/* Which groups of calls work. */
enum {
    WORKS_THREAD = 1 << 0,
    WORKS_MOUNT = 1 << 1,
    WORKS_OBSOLETE = 1 << 2,
    WORKS_ELEVATE = 1 << 3,
    WORKS_FORK = 1 << 4,
    WORKS_EXEC = 1 << 5,
    WORKS_RESOURCES = 1 << 6,
    FAILED = 1 << 7,
};

static gpointer thread_main(gpointer data)
{
    return data;
}

/* Any failure but EPERM means that the kernel looked at the call. */
static bool gets_through(long result)
{
    return result >= 0 || errno != EPERM;
}

static int try_all(void)
{
    g_autoptr(GThread) thread = g_thread_try_new("t", thread_main, NULL, NULL);
    char *const argv[] = { NULL };
    int works = 0;
    pid_t pid;

    if (thread) {
        g_thread_join(g_steal_pointer(&thread));
        works |= WORKS_THREAD;
    }
    works |= gets_through(syscall(SYS_mount, 0, 0, 0, 0, 0)) ? WORKS_MOUNT : 0;
    works |= gets_through(syscall(SYS_ustat, 0, 0)) ? WORKS_OBSOLETE : 0;
    works |= gets_through(syscall(SYS_setuid, getuid())) ? WORKS_ELEVATE : 0;
    works |= gets_through(syscall(SYS_execve, "/nonexistent", argv, argv))
                 ? WORKS_EXEC : 0;
    works |= gets_through(setpriority(PRIO_PROCESS, 0, 0)) ? WORKS_RESOURCES
                                                           : 0;
    pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    if (pid > 0) {
        (void)waitpid(pid, NULL, 0);
        works |= WORKS_FORK;
    }
    return works;
}

static int works_in(VmSandbox sandbox)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        _exit(vm_sandbox_enter(&sandbox, NULL) ? try_all() : FAILED);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define ALL                                                             \
    (WORKS_THREAD | WORKS_OBSOLETE | WORKS_ELEVATE | WORKS_FORK |       \
     WORKS_EXEC | WORKS_RESOURCES)

static void test_groups(void)
{
    const int off = works_in((VmSandbox){ .on = false });

    /* Who is not root cannot mount anyway. */
    g_assert_cmphex(off & ~WORKS_MOUNT, ==, ALL);
    g_assert_cmphex(works_in((VmSandbox){ .on = true }), ==, ALL);
    g_assert_cmphex(works_in((VmSandbox){ .on = true,
                                          .deny_obsolete = true }), ==,
                    ALL & ~WORKS_OBSOLETE);
    g_assert_cmphex(works_in((VmSandbox){ .on = true,
                                          .deny_elevate = true }), ==,
                    ALL & ~WORKS_ELEVATE);
    g_assert_cmphex(works_in((VmSandbox){ .on = true, .deny_spawn = true }),
                    ==, ALL & ~(WORKS_FORK | WORKS_EXEC));
    g_assert_cmphex(works_in((VmSandbox){ .on = true,
                                          .deny_resources = true }), ==,
                    ALL & ~WORKS_RESOURCES);
}

static void test_libvirt(void)
{
    g_assert_cmphex(works_in((VmSandbox){ .on = true,
                                          .deny_obsolete = true,
                                          .deny_elevate = true,
                                          .deny_spawn = true,
                                          .deny_resources = true }), ==,
                    WORKS_THREAD);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sandbox/groups", test_groups);
    g_test_add_func("/sandbox/libvirt", test_libvirt);
    return g_test_run();
}
