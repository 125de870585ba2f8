/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Start of the test guest: PVH entry, tables of the processor, descent to
 * CPL3, start of application processors.
 *
 * Why so little runs here: the workload is at CPL3, where every KVM runs it
 * natively; CPL0 code may be emulated one instruction at a time. Everything
 * that can be is static data. CPL3 reaches CPL0 only by an exception. It may
 * do I/O by IOPL 3 and by the TSS's all-zero bitmap: some KVMs drop the first
 * at CPL3, and QEMU's TCG, as a host, finds no bitmap in the busy TSS of a
 * vCPU whose state was loaded.
 *
 * PVH: Xen public/arch-x86/hvm/start_info.h and docs/misc/pvh: 32-bit flat
 * protected mode, paging off, %ebx = physical address of the start info.
 */
#include "layout.h"

#define USER_RFLAGS 0x3002 /* interrupts off, IOPL 3 */

/* The 8-byte descriptor and the alignment of 4 are what loaders look for:
 * XEN_ELFNOTE_PHYS32_ENTRY (18). */
    .section .note.pvh, "a", @note
    .balign 4
    .long 4
    .long 8
    .long 18
    .asciz "Xen"
    .quad pvh_start

    .section .boot, "ax"
    .code32
    .globl pvh_start
pvh_start:
    cli
    cld
    movl %ebx, start_info
    lgdtl gdt_pointer

/* 32-bit flat code at CPL0, GDT loaded; also entered by the trampoline. */
enter_long_mode:
    movl $0x20, %eax                /* CR4.PAE */
    movl %eax, %cr4
    movl $PML4_BASE, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          /* EFER.LME */
    xorl %edx, %edx
    movl $0x100, %eax
    wrmsr
    movl $0x80000033, %eax          /* PG, NE, ET, MP, PE */
    movl %eax, %cr0
    ljmpl $SEL_CODE64, $start64

    .code64
start64:
    movl $1, %ebx
    lock xaddl %ebx, cpus_started   /* %ebx: number of this processor */
    movl $SEL_DATA, %eax
    movl %eax, %ss
    movl %ebx, %esp
    shll $10, %esp
    addl $(KSTACK_BASE + KSTACK_BYTES), %esp
    lidt idt_pointer
    movl %ebx, %eax
    shll $4, %eax
    addl $SEL_TSS, %eax
    ltr %ax
    movl %ebx, %ecx
    shll $14, %ecx
    addq $(user_stacks + USER_STACK_BYTES - 8), %rcx
    movl %ebx, %edi
    pushq $SEL_USER_DATA
    pushq %rcx
    pushq $USER_RFLAGS
    pushq $SEL_USER_CODE
    pushq $guest_main
    iretq

/*
 * Exceptions: error code (or 0) and vector pushed by the stub. %rdi points at
 * vector, error, rip, cs, rflags, rsp; CPL3 code prints it.
 */
fault_common:
    cmpl $VECTOR_PARK, (%rsp)
    je park
    movq %rsp, %rdi
    movq %cr2, %rsi
    pushq $SEL_USER_DATA
    pushq $(fault_stack + USER_STACK_BYTES - 8)
    pushq $USER_RFLAGS
    pushq $SEL_USER_CODE
    pushq $guest_fault
    iretq
park:
    cli
    hlt
    jmp park

/* Real-mode code, copied to TRAMPOLINE_BASE; a SIPI starts it there. */
    .balign 16
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl TRAMPOLINE_BASE + (trampoline_gdt - trampoline)
    movl $0x11, %eax
    movl %eax, %cr0
    ljmpl $SEL_CODE32, $(TRAMPOLINE_BASE + (trampoline32 - trampoline))
    .code32
trampoline32:
    movw $SEL_DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    ljmpl $SEL_CODE32, $enter_long_mode
    .balign 8
trampoline_gdt:
    .word gdt_end - gdt - 1
    .long GDT_BASE
trampoline_end:
    .code64

    .section .stubs, "ax"
    .macro STUB vector, has_error
    .balign STUB_BYTES
    .if \has_error == 0
    pushq $0
    .endif
    pushq $\vector
    jmp fault_common
    .endm
    .altmacro
    .set vector, 0
    .rept 32
    /* 8, 10-14, 17, 21, 29 and 30 push an error code (APM 2, 8.2). */
    STUB %vector, %((0x60227d00 >> vector) & 1)
    .set vector, vector + 1
    .endr

    .section .tables, "aw"
/* At PML4_BASE. Present, writable, user; the PDs with 2 MiB pages. */
    .quad PDPT_BASE + 7
    .fill 511, 8, 0
    .globl pdpt
pdpt:
    .quad PD_BASE + 0x0007, PD_BASE + 0x1007, PD_BASE + 0x2007, PD_BASE + 0x3007
    .fill 508, 8, 0
    .set entry, 0
    .rept 2048
    .quad (entry << 21) + 0x87
    .set entry, entry + 1
    .endr

/* At IDT_BASE: interrupt gates to the stubs, open to CPL3. */
    .set vector, 0
    .rept 32
    .word (STUBS_BASE + vector * STUB_BYTES) & 0xffff
    .word SEL_CODE64
    .byte 0, 0xee
    .word (STUBS_BASE + vector * STUB_BYTES) >> 16
    .quad 0
    .set vector, vector + 1
    .endr
    .org IDT_BASE - PML4_BASE + 0x1000, 0

/* At GDT_BASE. */
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        /* SEL_CODE64 */
    .quad 0x00cf93000000ffff        /* SEL_DATA */
    .quad 0x00cf9b000000ffff        /* SEL_CODE32 */
    .quad 0x00cff3000000ffff        /* SEL_USER_DATA */
    .quad 0x00affb000000ffff        /* SEL_USER_CODE */
    .set cpu, 0
    .rept MAX_CPUS
    .set base, TSS_BASE + cpu * TSS_BYTES
    .word IOMAP_BASE + IOMAP_BYTES - base   /* limit: the byte of ones too */
    .word base & 0xffff
    .byte base >> 16, 0x89, 0, 0
    .quad 0
    .set cpu, cpu + 1
    .endr
gdt_end:
idt_pointer:
    .word 32 * 16 - 1
    .quad IDT_BASE
gdt_pointer:
    .word gdt_end - gdt - 1
    .long GDT_BASE
    .globl start_info, cpus_started
    .balign 8
start_info:
    .quad 0
cpus_started:
    .long 0
    .org TSS_BASE - PML4_BASE, 0

/* At TSS_BASE. */
    .set cpu, 0
    .rept MAX_CPUS
    .long 0
    .quad KSTACK_BASE + (cpu + 1) * KSTACK_BYTES    /* RSP0 */
    .fill 90, 1, 0
    .word IOMAP_BASE - (TSS_BASE + cpu * TSS_BYTES)
    .fill TSS_BYTES - 104, 1, 0
    .set cpu, cpu + 1
    .endr
    .org IOMAP_BASE - PML4_BASE, 0
    .fill IOMAP_BYTES, 1, 0
    .byte 0xff

    .section .stacks, "aw", @nobits
    .balign 16
user_stacks:
    .skip MAX_CPUS * USER_STACK_BYTES
fault_stack:
    .skip USER_STACK_BYTES

    .section .note.GNU-stack, "", @progbits
