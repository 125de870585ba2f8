/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one userfaultfd of a VM.
 *
 * A range of memory can be registered with one userfaultfd only, and both the
 * swap pager and a post-copy receiver need it; so this service owns the
 * descriptor. It opens it, checks features, registers ranges, reads events,
 * and wraps the ioctls as functions that go on after partial progress. The
 * thread that waits on vm_fault_service_fd() is the page source's own.
 *
 * Threads: set-up by one thread; the operations may be called by any.
 * Errors: set-up fills GError; operations return -errno after
 * doing as much as was possible (see each).
 * Sources: userfaultfd(2), ioctl_userfaultfd(2), Linux
 * Documentation/admin-guide/mm/userfaultfd.rst.
 */
#ifndef VM_MEMORY_FAULT_SERVICE_H
#define VM_MEMORY_FAULT_SERVICE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VmFaultService VmFaultService;

typedef enum VmFaultKind {
    VM_FAULT_READ,          /* missing, read  */
    VM_FAULT_WRITE,         /* missing, write */
    VM_FAULT_WRITE_PROTECT, /* present, write-protected, write */
    VM_FAULT__COUNT
} VmFaultKind;

typedef struct VmFaultEvent {
    uint64_t address; /* page aligned */
    VmFaultKind kind;
} VmFaultEvent;

/*
 * Opens /dev/userfaultfd, else the system call. Fails with a message that
 * names both knobs (the node's rights, vm.unprivileged_userfaultfd).
 */
VmFaultService *vm_fault_service_new(GError **errp);
void vm_fault_service_free(VmFaultService *fs);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmFaultService, vm_fault_service_free)

bool vm_fault_service_has_move(const VmFaultService *fs); /* Linux 6.8 */
/* Does a write-protected page that is moved stay protected? */
bool vm_fault_service_move_keeps_protection(const VmFaultService *fs);
int vm_fault_service_fd(const VmFaultService *fs);

typedef enum VmFaultRegister {
    VM_FAULT_REGISTER_GUEST, /* MISSING and WP */
    VM_FAULT_REGISTER_FRAMES /* WP only: plain faults there zero-fill and
                              * never reach the pager */
} VmFaultRegister;
bool vm_fault_service_register(VmFaultService *fs, void *addr, size_t len,
                               VmFaultRegister how, GError **errp);

/* Read-write protection of present pages, which the kernel lifts at the first
 * access (Linux 7.3). Asks with a descriptor and a page of its own. */
typedef enum VmFaultRwp {
    VM_FAULT_RWP_ABSENT,
    VM_FAULT_RWP_EXCLUDES_WP, /* only instead of write protection */
    VM_FAULT_RWP_WITH_WP,
} VmFaultRwp;
VmFaultRwp vm_fault_service_probe_rwp(void);

/* Reads up to max events without blocking; returns how many, or -errno. */
int vm_fault_service_read(VmFaultService *fs, VmFaultEvent *events, int max);

/*
 * The operations. len is a multiple of the page size. *ret_done is the number
 * of bytes done from the start, also on failure; the error is that of the
 * page at *ret_done (never a bare -EAGAIN for partial progress).
 */
int vm_fault_move(VmFaultService *fs, void *to, void *from, size_t len,
                  bool wake, size_t *ret_done);
/* The same, where pages may be missing at the source: they count as done, and
 * are missing at the destination. Wakes nobody. */
int vm_fault_move_sparse(VmFaultService *fs, void *to, void *from, size_t len,
                         size_t *ret_done);
int vm_fault_copy(VmFaultService *fs, void *to, const void *from, size_t len,
                  bool write_protect, bool wake, size_t *ret_done);
int vm_fault_zero(VmFaultService *fs, void *to, size_t len, bool wake,
                  size_t *ret_done);
int vm_fault_protect(VmFaultService *fs, void *addr, size_t len, bool protect,
                     bool wake);
int vm_fault_wake(VmFaultService *fs, void *addr, size_t len);

#endif
