/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM: the virtual machine, its memory slots, its interrupt chips.
 *
 * Threads: set-up by the main thread; kvm_set_line(), kvm_send_msi() and
 * the ioeventfd calls by any thread. Errors: set-up fills GError, the rest
 * returns -errno. Source: Linux Documentation/virt/kvm/api.rst.
 */
#ifndef VM_ACCEL_KVM_H
#define VM_ACCEL_KVM_H

#include <glib.h>
#include <stdbool.h>

#include "memory/address-space.h"
#include "migration/vmstate.h"

typedef struct KvmVm KvmVm;

/*
 * Opens /dev/kvm, makes the VM with in-kernel PIC, I/O APIC, LAPICs and PIT.
 * The message says what is missing (no node, no rights, capability).
 */
KvmVm *kvm_vm_new(GError **errp);
/* All vCPUs must be gone. */
void kvm_vm_free(KvmVm *kvm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvmVm, kvm_vm_free)
/* Is /dev/kvm usable? Fills errp with the reason if not. */
bool kvm_available(GError **errp);

/* Installs every RAM mapping of the space as a slot, and the dirty log as
 * each block's RamDirtyLogOps. Once, before vCPUs run. */
bool kvm_vm_set_memory(KvmVm *kvm, AddressSpace *memory, GError **errp);

int kvm_set_line(KvmVm *kvm, unsigned gsi, bool level);
int kvm_send_msi(KvmVm *kvm, uint64_t address, uint32_t data);
int kvm_ioeventfd(KvmVm *kvm, uint64_t addr, unsigned len, int fd, bool add);

/*
 * State of the chips and the clock, as a description over an opaque struct:
 * kvm_vm_state_pull() reads it from the kernel (vCPUs paused), push() writes
 * it back; migration saves and loads in between.
 */
typedef struct KvmVmState KvmVmState;
KvmVmState *kvm_vm_state(KvmVm *kvm);
extern const VMStateDescription kvm_vm_vmstate; /* pulls and pushes itself */
void kvm_vm_reset_chips(KvmVm *kvm);

#endif
