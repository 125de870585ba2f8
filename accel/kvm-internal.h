/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to accel/: what the files about the VM and its vCPUs share. */
#ifndef VM_ACCEL_KVM_INTERNAL_H
#define VM_ACCEL_KVM_INTERNAL_H

#include <linux/kvm.h>

#include "accel/kvm.h"

/* What this kernel offers beyond what is required; immutable. */
typedef struct KvmCaps {
    unsigned max_vcpus;
    unsigned max_slots;
    unsigned xsave_bytes; /* size of KVM_GET_XSAVE2's buffer */
    bool xsave2;
    bool dirty_log_manual; /* GET, then CLEAR re-protects */
    bool ioeventfd_any_length;
    bool tsc_deadline_timer;
    bool tsc_control;
    bool exception_payload;
    bool triple_fault_event;
    bool kvmclock_ctrl;
} KvmCaps;

typedef struct KvmMemory KvmMemory;

typedef struct KvmVmState {
    KvmVm *kvm;
    struct kvm_pic_state pic[2]; /* master, slave */
    struct kvm_ioapic_state ioapic;
    struct kvm_pit_state2 pit;
    /* How long ago each counter of the PIT was loaded: KVM tells it as a
     * moment of this host's monotonic clock, which no other host shares. */
    uint64_t pit_age_ns[3];
    uint64_t clock_ns; /* kvmclock */
} KvmVmState;

struct KvmVm {
    /* Immutable after kvm_vm_new(). */
    int dev_fd;
    int vm_fd;
    int run_bytes; /* size of a vCPU's struct kvm_run mapping */
    KvmCaps caps;
    struct kvm_irqchip reset_chips[3]; /* as KVM made them */
    struct kvm_pit_state2 reset_pit;

    /* Set by kvm_vm_set_memory(); then the dirty log's one user. */
    KvmMemory *memory;

    /* Main or migration thread, vCPUs paused: see kvm-state.c. */
    bool clock_stopped;
    int64_t stopped_at_ns;
    uint64_t clock_ns;
    struct kvm_pit_state2 pit;
    KvmVmState state;
};

/*
 * An ioctl that goes on after EINTR; its result or -errno, which vm_debug()
 * tells with the name of the call.
 */
int kvm_call(int fd, unsigned long request, const char *name, uintptr_t arg);
#define KVM_CALL(fd, request, arg) \
    kvm_call(fd, request, #request, (uintptr_t)(arg))
/* 0 or less: not there. */
int kvm_check_cap(int fd, unsigned cap);
/* /dev/kvm, of the right version. */
bool kvm_open(int *ret_fd, GError **errp);

/* cpu-models.c: what a CpuHost is made of; the first is for g_free(). */
struct kvm_cpuid2 *kvm_read_supported_cpuid(int dev_fd, GError **errp);
void cpu_read_host_brand(char brand[48]);

void kvm_memory_free(KvmMemory *m);

/* Reads the power-on state of the chips that were just made. */
int kvm_state_init(KvmVm *kvm);
/* The guest's time stands still between the two; idempotent. */
void kvm_clock_stop(KvmVm *kvm);
void kvm_clock_start(KvmVm *kvm);

#endif
