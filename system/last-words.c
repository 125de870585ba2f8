/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Staying until a manager can see why the VM did not start.
 *
 * Why: libvirt passes a listening socket for the monitor, starts us, connects,
 * and when the connection ends shows the operator what we said on stderr. If
 * we are gone before it has connected, all that it shows is that its
 * connection was refused. A mistake in the options is found in milliseconds,
 * so that this happens.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <poll.h>
#include <sys/socket.h>

/* Passed descriptors are low. */
#define PASSED_FIRST 3
#define PASSED_END 256
#define LISTENERS_MAX 16
#define WAIT_MS 1000

static struct pollfd listeners[LISTENERS_MAX];
static nfds_t listener_count;

static bool is_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof(listening);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 &&
           listening;
}

void vm_note_passed_listeners(void)
{
    for (int fd = PASSED_FIRST;
         fd < PASSED_END && listener_count < LISTENERS_MAX; fd++) {
        if (is_listening(fd)) {
            listeners[listener_count++] =
                (struct pollfd){ .fd = fd, .events = POLLIN };
        }
    }
}

void vm_wait_for_manager(void)
{
    if (listener_count > 0) {
        /* Whatever comes out of it, that was all. */
        (void)poll(listeners, listener_count, WAIT_MS);
    }
}
