/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File descriptors: ownership, and reads and writes that finish.
 *
 * Threads: any. Errors: data-plane idiom (-errno).
 */
#ifndef VM_UTIL_FD_H
#define VM_UTIL_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Closes *fd unless it is negative; for vm_autofd. errno is kept. */
void vm_close_fd(int *fd);
#define vm_autofd __attribute__((cleanup(vm_close_fd))) int

/* Takes the descriptor out of *fd, which becomes -1. */
int vm_steal_fd(int *fd);

/*
 * Transfers all len bytes, going on after EINTR and short counts.
 * Returns 0 or -errno; end of file before len bytes is -ENODATA.
 */
int vm_read_full(int fd, void *buf, size_t len);
int vm_write_full(int fd, const void *buf, size_t len);
int vm_pread_full(int fd, void *buf, size_t len, off_t offset);
int vm_pwrite_full(int fd, const void *buf, size_t len, off_t offset);

/*
 * Drops the first "bytes" bytes from the vector *iov of *iovcnt elements by
 * advancing the pointer and trimming the first element left.
 */
void vm_iov_advance(struct iovec **iov, int *iovcnt, size_t bytes);
size_t vm_iov_bytes(const struct iovec *iov, int iovcnt);

#endif
