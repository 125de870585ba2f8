/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A shell command at the other end of a stream socket.
 *
 * The socket is the command's standard input and output at once; its standard
 * error is this process's. It inherits no other descriptor, has the default
 * signal handlers, and is a process group of its own, so that it ends with
 * all that it has started.
 *
 * Threads: any, one at a time for one command.
 */
#ifndef VM_UTIL_COMMAND_H
#define VM_UTIL_COMMAND_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmCommand VmCommand;

/* Starts "/bin/sh -c text". *ret_fd is our end of the socket. */
VmCommand *vm_command_new(const char *text, int *ret_fd, GError **errp);
/* Ends it with SIGKILL, if it has not been seen to exit. */
void vm_command_free(VmCommand *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmCommand, vm_command_free)

/*
 * Waits until it has exited: true if with status 0, else *errp says how.
 * -ETIMEDOUT as the error's code: it has not exited in time.
 */
bool vm_command_wait(VmCommand *c, int64_t timeout_ns, GError **errp);

#endif
