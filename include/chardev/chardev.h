/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: where a serial port's or a monitor's bytes go.
 *
 * Threads: input and events are delivered on the main thread (default
 * GMainContext); chardev_write() by any thread. Output never blocks a vCPU
 * for long: what a slow reader does not take is queued up to a bound, then
 * dropped (as QEMU does for files and disconnected sockets).
 */
#ifndef VM_CHARDEV_CHARDEV_H
#define VM_CHARDEV_CHARDEV_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#include "util/keyval.h"

typedef struct Chardev Chardev;

typedef enum ChardevEvent { CHARDEV_OPENED, CHARDEV_CLOSED } ChardevEvent;

typedef struct ChardevHandler {
    /* How many bytes the front end can take now; 0 pauses input until
     * chardev_accept_input(). */
    size_t (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *buf, size_t len);
    void (*event)(void *opaque, ChardevEvent event); /* may be NULL */
} ChardevHandler;

/*
 * "-chardev BACKEND,id=ID,..." : null, stdio (signal=), file (path=, append=),
 * pipe is refused by name, pty, socket (path= | host=,port= | fd=, server=,
 * wait=, telnet refused), with QEMU's property names.
 */
Chardev *chardev_new_from_option(const char *text, GError **errp);
/*
 * The short form of -serial, -monitor, -debugcon: none|null|stdio|pty|
 * file:PATH|unix:PATH[,server=on][,wait=off]|tcp:HOST:PORT[,...]|
 * mon:BACKEND. "none" returns NULL without an error; "chardev:ID" is for the
 * caller, who knows what exists, and is refused here.
 */
bool chardev_new_from_short(const char *text, const char *id,
                            Chardev **ret_chardev, GError **errp);
void chardev_free(Chardev *chr);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Chardev, chardev_free)

const char *chardev_id(const Chardev *chr);
/* "pty:/dev/pts/3", "file:...", for query-chardev. */
const char *chardev_label(const Chardev *chr);
/*
 * One front end a chardev; false if it is taken. If the back end is open
 * already, event(CHARDEV_OPENED) comes from inside this call. The handlers
 * may detach, but not free the chardev. Attach and detach: main thread.
 */
bool chardev_attach(Chardev *chr, const ChardevHandler *handler, void *opaque,
                    GError **errp);
void chardev_detach(Chardev *chr);
/* Input may go on: the front end has room again. Any thread. */
void chardev_accept_input(Chardev *chr);
/* Takes all bytes (queues or drops them). */
void chardev_write(Chardev *chr, const void *buf, size_t len);
/* Descriptors that came with the bytes being received (SCM_RIGHTS): takes
 * the first, or -1. Main thread. What is not taken stays until the next
 * descriptors arrive or the peer leaves. */
int chardev_take_fd(Chardev *chr);
/* Sends what is queued as far as it goes without blocking: before exit. */
void chardev_flush(Chardev *chr);

/*
 * "mon:BACKEND" makes a multiplexer: the chardev itself is the serial port's
 * side and this is the monitor's, which has the keyboard after Ctrl-a c.
 * Owned by chr; NULL if chr is no multiplexer.
 */
Chardev *chardev_monitor_port(Chardev *chr);
/* What Ctrl-a x does; raises SIGTERM unless set. Main thread. */
void chardev_set_quit_handler(void (*quit)(void *opaque), void *opaque);

#endif
