/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to accel/: what the files about vCPUs share. */
#ifndef VM_ACCEL_VCPU_INTERNAL_H
#define VM_ACCEL_VCPU_INTERNAL_H

#include "accel/vcpu.h"
#include "kvm-internal.h"

/* More than any kernel lists (about 150). */
#define VCPU_MSRS_MAX 512u
/* An MSR on the wire: index u32, zero u32, value u64, little-endian. */
#define VCPU_MSR_WIRE_BYTES 16u
/* Bounds of what the wire may hold. */
#define VCPU_XSAVE_MAX_BYTES (64u * 1024u)
#define VCPU_CPUID_MAX_BYTES (256u * 24u)

/* struct kvm_msrs with room for some entries. */
#define MSR_BATCH 64u
typedef struct MsrBatch {
    uint32_t nmsrs, pad;
    struct kvm_msr_entry entries[MSR_BATCH];
} MsrBatch;
G_STATIC_ASSERT(offsetof(MsrBatch, entries) ==
                offsetof(struct kvm_msrs, entries));

/* MSRs that this kernel can both read and write; the same for each vCPU. */
typedef struct VcpuMsrList {
    uint32_t count;
    uint32_t index[VCPU_MSRS_MAX];
} VcpuMsrList;

/* Fills the list by trying each one on a vCPU that has never run. */
int vcpu_msr_list_probe(KvmVm *kvm, int vcpu_fd, VcpuMsrList *ret);

typedef struct VcpuState {
    /* Immutable after vcpu_state_init(). */
    int fd;
    unsigned cpu;
    const KvmCaps *caps;
    const VcpuMsrList *msr_list;
    const struct kvm_cpuid2 *cpuid; /* as given to KVM_SET_CPUID2 */

    uint32_t mp_state;
    uint32_t tsc_khz;
    uint64_t xcr0; /* 0: the host has no XSAVE */
    struct kvm_regs regs;
    struct kvm_sregs2 sregs;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    struct kvm_lapic_state lapic;
    uint8_t *xsave;
    uint32_t xsave_bytes;
    uint8_t *msrs; /* VCPU_MSR_WIRE_BYTES each */
    uint32_t msrs_bytes;
    uint8_t *cpuid_wire; /* see vcpu-state.c */
    uint32_t cpuid_bytes;
} VcpuState;

void vcpu_state_init(VcpuState *s, unsigned cpu, int fd, const KvmCaps *caps,
                     const VcpuMsrList *msr_list,
                     const struct kvm_cpuid2 *cpuid);
void vcpu_state_done(VcpuState *s);
/* Reads everything from the kernel. 0 or -errno. */
int vcpu_state_pull(VcpuState *s);
/* What a loaded state must satisfy before the kernel sees it. */
int vcpu_state_check(const VcpuState *s);
typedef enum VcpuPush {
    VCPU_PUSH_LOAD,  /* everything */
    VCPU_PUSH_RESET, /* all but the TSC, which no reset of ours stops */
} VcpuPush;
int vcpu_state_push(const VcpuState *s, VcpuPush what);

/* Overwrites the registers of a power-on state; see VcpuBootState. */
void vcpu_boot_apply(const VcpuBootState *boot, struct kvm_regs *regs,
                     struct kvm_sregs2 *sregs);

#endif
