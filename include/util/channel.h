/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A byte channel: a connected stream socket, a pipe or a file that whole
 * records go through, and the listener that makes a connection.
 *
 * Addresses are spelt as QEMU's migration URIs:
 *   tcp:HOST:PORT   HOST is a name, an IPv4 address, an IPv6 address in
 *                   brackets, or nothing (listen: every address, both
 *                   families; connect: this host). PORT is decimal; 0 lets
 *                   the system choose (listen only).
 *   unix:PATH       a stream socket in the file system.
 *
 * Threads: a channel may have one reader and one writer at a time, each any
 * thread; vm_channel_shutdown() and vm_listener_shutdown() may be called by
 * any thread at any time before the _free. _free by the owner, when no other
 * thread is inside a call.
 *
 * Errors: making channels is control plane (GError); bytes are data plane
 * (0 or -errno). No call on a socket raises SIGPIPE. After a shutdown every
 * call on that channel fails with -ECANCELED, whatever the peer did.
 */
#ifndef VM_UTIL_CHANNEL_H
#define VM_UTIL_CHANNEL_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef struct VmChannel VmChannel;
typedef struct VmListener VmListener;

/* Checks the spelling only, for a command that connects later. */
bool vm_channel_address_check(const char *address, GError **errp);
/* The HOST of a tcp: address without brackets; else NULL. g_free(). */
char *vm_channel_address_host(const char *address);

/*
 * Connects and blocks until that is done. cancel_fd (or -1) is an eventfd of
 * the caller: as soon as it is readable the call fails with ECANCELED. Names
 * are looked up first, which cancel_fd does not interrupt.
 */
VmChannel *vm_channel_connect(const char *address, int cancel_fd,
                              GError **errp);

/* Wraps a connected stream socket, for example one of a socketpair(). */
VmChannel *vm_channel_new_fd(int take_fd);

/*
 * Wraps what is no socket: an end of a pipe, or a file. It goes in one
 * direction, and shutting it down ends nothing but the calls of this side;
 * the other side sees the end when the channel is freed. A write into a pipe
 * that nobody reads raises SIGPIPE unless the process ignores it.
 */
VmChannel *vm_channel_new_pipe(int take_fd, GError **errp);

/* Closes without waiting for what is still in the socket's buffer to leave:
 * the kernel goes on sending it. */
void vm_channel_free(VmChannel *ch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmChannel, vm_channel_free)

/*
 * Reads exactly len bytes. -ENODATA: the peer closed before them; with
 * -ENODATA some bytes of buf may have been written.
 */
int vm_channel_read_full(VmChannel *ch, void *buf, size_t len);

/* Reads 1 to len bytes, as many as are there; 0: the peer has closed. */
ssize_t vm_channel_read_some(VmChannel *ch, void *buf, size_t len);

int vm_channel_write_full(VmChannel *ch, const void *buf, size_t len);

/* Writes all of iov. The elements are used up: their bases and lengths are
 * undefined afterwards. iovcnt has no limit. */
int vm_channel_writev_full(VmChannel *ch, struct iovec *iov, int iovcnt);

/* Reading thread: reads fail with -ETIMEDOUT from then on, on vm_clock_ns();
 * 0: never. */
void vm_channel_set_read_deadline(VmChannel *ch, int64_t deadline_ns);

/*
 * Before the writes: one of which the peer takes no byte for so long fails
 * with -ETIMEDOUT. Sockets only; a pipe or a file is waited for.
 */
void vm_channel_set_write_limit(VmChannel *ch, int64_t limit_ns);

/* Writing thread, nothing is written after it: the peer reads what was
 * written, then end of file. */
void vm_channel_end_writes(VmChannel *ch);

/* Any thread, a socket: what has come is still read, then end of file. */
void vm_channel_end_reads(VmChannel *ch);

/*
 * Makes the reads and writes of all threads fail with -ECANCELED, those
 * that are asleep at once. The peer sees the end of the stream. Idempotent.
 */
void vm_channel_shutdown(VmChannel *ch);
bool vm_channel_is_shut(const VmChannel *ch);

/* For poll() and socket options; do not read, write or close it. */
int vm_channel_fd(const VmChannel *ch);

/*
 * What changes the bytes on their way, such as TLS. The functions get what
 * the calls of the same name are given, by the same threads, and use the raw
 * functions below; the channel sees to -ECANCELED.
 */
typedef struct VmChannelFilter {
    ssize_t (*read_some)(void *opaque, void *buf, size_t len);
    int (*writev_full)(void *opaque, struct iovec *iov, int iovcnt);
    void (*end_writes)(void *opaque);
    char *(*explain)(void *opaque); /* any thread */
    void (*free)(void *opaque);
} VmChannelFilter;
/* Once, while no other thread reads or writes. */
void vm_channel_set_filter(VmChannel *ch, const VmChannelFilter *filter,
                           void *take_opaque);
/* Why the filter made a call fail, where -errno is not enough: g_free();
 * NULL: nothing to add. Any thread. */
char *vm_channel_explain(VmChannel *ch);
/* Below the filter. */
ssize_t vm_channel_raw_read_some(VmChannel *ch, void *buf, size_t len);
int vm_channel_raw_writev_full(VmChannel *ch, struct iovec *iov, int iovcnt);

/*
 * Binds and listens. A socket file whose listener is dead is replaced; one
 * whose listener answers, or a file that is no socket, is refused.
 */
VmListener *vm_listener_new(const char *address, GError **errp);

/* Removes the socket file, if it is still the one that was made. */
void vm_listener_free(VmListener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmListener, vm_listener_free)

/* Where it really listens: "tcp:[::]:49152". Lives as long as listener. */
const char *vm_listener_address(const VmListener *listener);

/* Blocks until vm_listener_accept() would not, or for so long: false. */
bool vm_listener_wait_ns(VmListener *listener, int64_t timeout_ns);

/* Blocks for the next peer. After vm_listener_shutdown(): ECANCELED. */
VmChannel *vm_listener_accept(VmListener *listener, GError **errp);

/* Wakes the accepting thread and makes all later accepts fail. */
void vm_listener_shutdown(VmListener *listener);

/* Readable when vm_listener_accept() would not block. */
int vm_listener_fd(const VmListener *listener);

#endif
