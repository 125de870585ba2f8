/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fixed physical addresses of the test guest, for start.S, guest.ld and C.
 *
 * Why fixed: instructions at CPL0 are slow under a KVM that has to emulate
 * them, so the tables of the processor are not computed at start but laid
 * down by the assembler, which needs their addresses as plain numbers.
 */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define MAX_CPUS 8

#define IMAGE_BASE 0x100000
#define STUBS_BASE 0x101000   /* exception entries, 16 bytes each          */
#define STUB_BYTES 16
#define PML4_BASE 0x102000    /* identity map: PML4, PDPT, then 4 PDs      */
#define PDPT_BASE 0x103000    /* of 2 MiB pages for the first 4 GiB        */
#define PD_BASE 0x104000
#define IDT_BASE 0x108000
#define GDT_BASE 0x109000
#define TSS_BASE 0x10a000     /* one every TSS_BYTES, all sharing one      */
#define TSS_BYTES 0x80        /* all-zero I/O bitmap                       */
#define IOMAP_BASE 0x10b000
#define IOMAP_BYTES 0x2000    /* and one byte of ones after it             */
#define KSTACK_BASE 0x10e000
#define KSTACK_BYTES 0x400
#define TEXT_BASE 0x110000

#define TRAMPOLINE_BASE 0x8000 /* where application processors begin */

#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS 0x30          /* 16 bytes each */

#define USER_STACK_BYTES 0x4000

/* Vector on which a CPL3 processor asks to be parked for ever: int3. */
#define VECTOR_PARK 3

#endif
