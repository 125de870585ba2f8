/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shell commands, see util/command.h.
 *
 * Why posix_spawn(): it does not copy the page tables of a process that has
 * all of a guest's memory mapped, as fork() would.
 *
 * Invariant: the process is waited for exactly once; until then pid is its
 * own and nobody else's.
 */
#include "util/command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"

struct VmCommand {
    pid_t pid;
    int pidfd; /* readable when it has exited */
    bool waited;
    int status; /* of waitpid(), once waited */
};

/* Nothing of this process's signals, and a process group of its own. */
static void set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    (void)posix_spawnattr_setsigmask(attr, &none);
    (void)posix_spawnattr_setsigdefault(attr, &all);
    (void)posix_spawnattr_setpgroup(attr, 0);
    (void)posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK |
                                             POSIX_SPAWN_SETSIGDEF |
                                             POSIX_SPAWN_SETPGROUP);
}

/* 0 or an errno. */
static int spawn_shell(const char *text, int socket, pid_t *ret_pid)
{
    char *argv[] = { (char *)"sh", (char *)"-c", (char *)text, NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    int err = posix_spawnattr_init(&attr);

    if (err) {
        return err;
    }
    err = posix_spawn_file_actions_init(&files);
    if (err) {
        (void)posix_spawnattr_destroy(&attr);
        return err;
    }
    set_attributes(&attr);
    err = posix_spawn_file_actions_adddup2(&files, socket, 0);
    err = err ? err : posix_spawn_file_actions_adddup2(&files, socket, 1);
    err = err ? err : posix_spawn_file_actions_addclosefrom_np(&files, 3);
    err = err ? err : posix_spawn(ret_pid, "/bin/sh", &files, &attr, argv,
                                  environ);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&attr);
    return err;
}

VmCommand *vm_command_new(const char *text, int *ret_fd, GError **errp)
{
    g_autoptr(VmCommand) c = NULL;
    vm_autofd ours = -1;
    vm_autofd its = -1;
    pid_t pid;
    int fds[2], err;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        vm_error_set(errp, errno, "socketpair");
        return NULL;
    }
    ours = fds[0];
    its = fds[1];
    err = spawn_shell(text, its, &pid);
    if (err) {
        vm_error_set(errp, err, "cannot start '%s'", text);
        return NULL;
    }
    c = g_new0(VmCommand, 1);
    c->pid = pid;
    c->pidfd = pidfd_open(pid, 0);
    if (c->pidfd < 0) {
        vm_error_set(errp, errno, "pidfd_open");
        return NULL;
    }
    *ret_fd = vm_steal_fd(&ours);
    return g_steal_pointer(&c);
}

static void reap(VmCommand *c)
{
    while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR) {
    }
    c->waited = true;
}

void vm_command_free(VmCommand *c)
{
    if (!c) {
        return;
    }
    if (!c->waited) {
        (void)kill(-c->pid, SIGKILL); /* even if it has just exited */
        reap(c);
    }
    vm_close_fd(&c->pidfd);
    g_free(c);
}

/* Has it exited by then? */
static bool wait_exit(const VmCommand *c, int64_t timeout_ns)
{
    int64_t end_ns = vm_clock_ns() + timeout_ns;
    struct pollfd p = { .fd = c->pidfd, .events = POLLIN };
    int r;

    do {
        int64_t left_ns = MAX(end_ns - vm_clock_ns(), 0);

        r = poll(&p, 1, (int)MIN(left_ns / VM_NS_PER_MS + 1, 1000000));
    } while (r <= 0 && vm_clock_ns() < end_ns);
    return r > 0;
}

bool vm_command_wait(VmCommand *c, int64_t timeout_ns, GError **errp)
{
    if (!c->waited) {
        if (!wait_exit(c, timeout_ns)) {
            return vm_error_set(errp, ETIMEDOUT, "the command goes on");
        }
        reap(c);
    }
    if (WIFSIGNALED(c->status)) {
        return vm_error_set(errp, 0, "the command was ended by signal %d",
                            WTERMSIG(c->status));
    }
    return WEXITSTATUS(c->status) == 0 ||
           vm_error_set(errp, 0, "the command failed with status %d",
                        WEXITSTATUS(c->status));
}
