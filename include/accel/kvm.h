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
 * Guest physical pages that KVM uses for itself on Intel hosts (the identity
 * page table and the TSS of real-mode emulation). The board keeps RAM and
 * devices away and reserves the range in its memory map.
 */
#define KVM_RESERVED_GPA 0xfeffc000u
#define KVM_RESERVED_BYTES 0x4000u

/*
 * Opens /dev/kvm, makes the VM with in-kernel PIC, I/O APIC, LAPICs and PIT.
 * The message says what is missing (no node, no rights, capability).
 */
KvmVm *kvm_vm_new(GError **errp);
/* All vCPUs must be gone; the RAM blocks and the pager must still be there
 * (KVM may have faults of its own under way). */
void kvm_vm_free(KvmVm *kvm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvmVm, kvm_vm_free)
/* Is /dev/kvm usable? Fills errp with the reason if not. */
bool kvm_available(GError **errp);

/* Installs every RAM mapping of the space as a slot, and the dirty log as
 * each block's RamDirtyLogOps. Once, before vCPUs run. */
bool kvm_vm_set_memory(KvmVm *kvm, AddressSpace *memory, GError **errp);

/*
 * Lines are wired as in QEMU's pc: gsi 0-15 reach the 8259 pins of the same
 * number, gsi 1-23 the I/O APIC pins of the same number, and gsi 0 (the PIT)
 * I/O APIC pin 2, which the MADT tells as the override "IRQ 0 is GSI 2".
 * Line 2 is the 8259 cascade and goes nowhere.
 */
int kvm_set_line(KvmVm *kvm, unsigned gsi, bool level);
/* 0 also when no LAPIC took the message, as on a real bus. */
int kvm_send_msi(KvmVm *kvm, uint64_t address, uint32_t data);
/* len 0: a write of any length; -ENOTSUP where KVM lacks that. */
int kvm_ioeventfd(KvmVm *kvm, uint64_t addr, unsigned len, int fd, bool add);

/*
 * State of the chips and the clock for migration: the opaque of
 * kvm_vm_vmstate, which reads from the kernel in pre_save and writes to it in
 * post_load. vCPUs must be paused. It is loaded after all vCPUs: the I/O APIC
 * delivers pending level interrupts into LAPICs that must be there by then.
 */
typedef struct KvmVmState KvmVmState;
KvmVmState *kvm_vm_state(KvmVm *kvm);
extern const VMStateDescription kvm_vm_vmstate;
/* Power-on state of the PICs, the I/O APIC and the PIT. vCPUs paused. */
void kvm_vm_reset_chips(KvmVm *kvm);

#endif
