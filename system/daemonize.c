/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -daemonize and -pidfile.
 *
 * The parent waits until the child is ready (sockets bound, pid file
 * written, VM made) or has failed with a message, and exits with 0 or 1. The
 * child then gives up the terminal: who reads the parent's output to its end
 * must not wait for the VM's end.
 *
 * Threads: main; vm_daemonize() before any other thread exists.
 */
#include "system-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

static int ready_fd = -1; /* the child's end; main thread */
static int pidfile_fd = -1;

static G_GNUC_NORETURN void parent_wait(int fd)
{
    char byte;

    _exit(vm_read_full(fd, &byte, 1) == 0 ? 0 : 1);
}

bool vm_daemonize(GError **errp)
{
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return vm_error_set(errp, errno, "-daemonize: pipe");
    }
    pid = fork();
    if (pid < 0) {
        return vm_error_set(errp, errno, "-daemonize: fork");
    }
    if (pid > 0) {
        (void)close(fds[1]); /* else the end of file never comes */
        parent_wait(fds[0]);
    }
    (void)close(fds[0]); /* the parent's */
    ready_fd = fds[1];
    (void)setsid(); /* a fresh child cannot be a group leader */
    return true;
}

void vm_daemonize_ready(void)
{
    int null;

    if (ready_fd < 0) {
        return;
    }
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        for (int fd = 0; fd < 3; fd++) {
            (void)dup2(null, fd); /* onto open descriptors: cannot fail */
        }
        if (null > 2) {
            (void)close(null); /* the copies stay */
        }
    }
    if (chdir("/") < 0 || vm_write_full(ready_fd, "", 1) < 0) {
        (void)0; /* a lost parent changes nothing for the VM */
    }
    vm_close_fd(&ready_fd);
}

bool vm_pidfile_write(const char *path, GError **errp)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
    vm_autofd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    int r;

    if (fd < 0) {
        return vm_error_set(errp, errno, "-pidfile: cannot open '%s'", path);
    }
    /* Locked for as long as we live: a second VM does not take the file. */
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        return vm_error_set(errp, errno, "-pidfile: '%s' is in use", path);
    }
    if (ftruncate(fd, 0) < 0) {
        return vm_error_set(errp, errno, "-pidfile: cannot write '%s'", path);
    }
    r = vm_write_full(fd, text, strlen(text));
    if (r < 0) {
        return vm_error_set(errp, -r, "-pidfile: cannot write '%s'", path);
    }
    pidfile_fd = vm_steal_fd(&fd);
    return true;
}

void vm_pidfile_remove(const char *path)
{
    if (pidfile_fd >= 0) {
        (void)unlink(path); /* gone already is as good */
        vm_close_fd(&pidfile_fd);
    }
}
