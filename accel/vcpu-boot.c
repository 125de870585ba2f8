/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of the boot CPU where a loader, not firmware, has put the kernel
 * into memory.
 *
 * Two entries: 64-bit (Linux Documentation/arch/x86/boot.rst, "64-bit boot
 * protocol": paging on, flat segments, interrupts off, RSI the zero page) and
 * 32-bit flat protected mode (Xen docs/misc/pvh.pandoc, "direct boot": paging
 * off, flat segments, EBX the start info, TR a busy TSS of limit 67H).
 *
 * Threads: any; pure.
 */
#include "vcpu-internal.h"

#define CR0_PE UINT64_C(0x1)
#define CR0_ET UINT64_C(0x10)
#define CR0_PG UINT64_C(0x80000000)
#define CR4_PAE UINT64_C(0x20)
#define EFER_LME UINT64_C(0x100)
#define EFER_LMA UINT64_C(0x400)
#define RFLAGS_FIXED UINT64_C(0x2)

#define SEGMENT_CODE 0xb /* execute, read, accessed */
#define SEGMENT_DATA 0x3 /* read, write, accessed */
#define SEGMENT_TSS_BUSY 0xb

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){
        .limit = UINT32_MAX,
        .selector = selector,
        .type = type,
        .present = 1,
        .s = 1,
        .db = 1,
        .g = 1,
    };
}

void vcpu_boot_apply(const VcpuBootState *boot, struct kvm_regs *regs,
                     struct kvm_sregs2 *sregs)
{
    struct kvm_segment code = flat_segment(boot->code_selector, SEGMENT_CODE);
    struct kvm_segment data = flat_segment(boot->data_selector, SEGMENT_DATA);

    if (boot->long_mode) {
        code.l = 1;
        code.db = 0;
    }
    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = (struct kvm_segment){
        .limit = 0x67, .type = SEGMENT_TSS_BUSY, .present = 1
    };
    sregs->ldt = (struct kvm_segment){ .unusable = 1 };
    sregs->gdt.base = boot->gdt_base;
    sregs->gdt.limit = boot->gdt_limit;
    sregs->idt.base = 0;
    sregs->idt.limit = 0;
    sregs->cr0 = CR0_PE | CR0_ET;
    sregs->cr3 = 0;
    sregs->cr4 = 0;
    sregs->efer = 0;
    sregs->flags = 0;
    if (boot->long_mode) {
        sregs->cr0 |= CR0_PG;
        sregs->cr3 = boot->cr3;
        sregs->cr4 = CR4_PAE;
        sregs->efer = EFER_LME | EFER_LMA;
    }
    *regs = (struct kvm_regs){
        .rip = boot->rip,
        .rsp = boot->rsp,
        .rbx = boot->rbx,
        .rsi = boot->rsi,
        .rflags = RFLAGS_FIXED,
    };
}
