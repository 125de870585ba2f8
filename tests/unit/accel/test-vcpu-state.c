/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a loaded vCPU state must satisfy before the kernel sees it, and the
 * registers of the two direct boots. No KVM.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "vcpu-internal.h"

typedef struct Fixture {
    KvmCaps caps;
    VcpuMsrList msrs;
    struct kvm_cpuid2 *cpuid;
    VcpuState s;
} Fixture;

static void set_bytes(uint8_t **bytes, uint32_t *len, uint32_t new_len)
{
    g_free(*bytes);
    *bytes = g_malloc0(new_len);
    *len = new_len;
}

/* A state that passes: what one would load from a well-meaning source. */
static void setup(Fixture *f, gconstpointer data)
{
    f->caps = (KvmCaps){ .xsave_bytes = 4096,
                         .exception_payload = true,
                         .triple_fault_event = true };
    f->msrs = (VcpuMsrList){ .count = 2, .index = { 0x10, 0x277 } };
    f->cpuid = g_malloc0(sizeof(*f->cpuid) + 2 * sizeof(f->cpuid->entries[0]));
    f->cpuid->nent = 2;
    f->cpuid->entries[1].function = 1;
    f->cpuid->entries[1].ebx = 0x12345678;
    vcpu_state_init(&f->s, 0, -1, &f->caps, &f->msrs, f->cpuid);
    set_bytes(&f->s.xsave, &f->s.xsave_bytes, 4096);
    set_bytes(&f->s.msrs, &f->s.msrs_bytes, 2 * VCPU_MSR_WIRE_BYTES);
    f->s.msrs[0] = 0x10;
    f->s.msrs[8] = 1;
    f->s.msrs[16] = 0x77;
    f->s.msrs[17] = 2;
    f->s.msrs[24] = 6;
    g_assert_cmpint(vcpu_state_check(&f->s), ==, 0);
}

static void teardown(Fixture *f, gconstpointer data)
{
    vcpu_state_done(&f->s);
    g_free(f->cpuid);
}

static void refused(Fixture *f)
{
    g_assert_cmpint(vcpu_state_check(&f->s), ==, -EINVAL);
}

static void test_lengths(Fixture *f, gconstpointer data)
{
    set_bytes(&f->s.xsave, &f->s.xsave_bytes, 575);
    refused(f);
    set_bytes(&f->s.xsave, &f->s.xsave_bytes, 0);
    refused(f);
    set_bytes(&f->s.xsave, &f->s.xsave_bytes, 4097);
    refused(f);
    set_bytes(&f->s.xsave, &f->s.xsave_bytes, 576);
    g_assert_cmpint(vcpu_state_check(&f->s), ==, 0);
    set_bytes(&f->s.msrs, &f->s.msrs_bytes, 15);
    refused(f);
    set_bytes(&f->s.msrs, &f->s.msrs_bytes, 0);
    g_assert_cmpint(vcpu_state_check(&f->s), ==, 0);
}

/* Unknown MSRs are let through only as long as they say nothing. */
static void test_unknown_msr(Fixture *f, gconstpointer data)
{
    f->s.msrs[17] = 3;
    refused(f);
    f->s.msrs[24] = 0;
    g_assert_cmpint(vcpu_state_check(&f->s), ==, 0);
    f->s.msrs[31] = 0x80;
    refused(f);
}

static void test_cpuid(Fixture *f, gconstpointer data)
{
    f->s.cpuid_wire[24 + 12] ^= 1;
    refused(f);
    f->s.cpuid_wire[24 + 12] ^= 1;
    g_assert_cmpint(vcpu_state_check(&f->s), ==, 0);
    set_bytes(&f->s.cpuid_wire, &f->s.cpuid_bytes, 24);
    refused(f);
    set_bytes(&f->s.cpuid_wire, &f->s.cpuid_bytes, 0);
    refused(f);
    set_bytes(&f->s.cpuid_wire, &f->s.cpuid_bytes, 72);
    refused(f);
}

static void test_flags(Fixture *f, gconstpointer data)
{
    f->s.mp_state = KVM_MP_STATE_STOPPED;
    refused(f);
    f->s.mp_state = UINT32_MAX;
    refused(f);
    f->s.mp_state = KVM_MP_STATE_HALTED;
    f->s.sregs.flags = 2;
    refused(f);
    f->s.sregs.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
    f->s.debugregs.flags = 1;
    refused(f);
    f->s.debugregs.flags = 0;
    f->s.events.flags = 0x40;
    refused(f);
    f->s.events.flags = 0x3f;
    g_assert_cmpint(vcpu_state_check(&f->s), ==, 0);
}

/* An event that this kernel cannot be told of may travel if it is idle. */
static void test_events(Fixture *f, gconstpointer data)
{
    f->caps.exception_payload = false;
    f->caps.triple_fault_event = false;
    f->s.events.flags = KVM_VCPUEVENT_VALID_PAYLOAD |
                        KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
    g_assert_cmpint(vcpu_state_check(&f->s), ==, 0);
    f->s.events.exception.pending = 1;
    refused(f);
    f->s.events.exception.pending = 0;
    f->s.events.triple_fault.pending = 1;
    refused(f);
}

static void test_boot_32(void)
{
    const VcpuBootState boot = { .rip = 0x100000, .rbx = 0x5000,
                                 .gdt_base = 0x500, .gdt_limit = 31,
                                 .code_selector = 8, .data_selector = 16 };
    struct kvm_regs regs = { .rax = 1, .rflags = 0x246 };
    struct kvm_sregs2 s = { .apic_base = 0xfee00900, .cr3 = 5, .cr4 = 7,
                            .efer = 0xd01 };

    vcpu_boot_apply(&boot, &regs, &s);
    g_assert_cmphex(regs.rip, ==, 0x100000);
    g_assert_cmphex(regs.rbx, ==, 0x5000);
    g_assert_cmphex(regs.rax, ==, 0);
    g_assert_cmphex(regs.rflags, ==, 2);
    g_assert_cmphex(s.cr0, ==, 0x11);
    g_assert_cmphex(s.cr3 | s.cr4 | s.efer, ==, 0);
    g_assert_cmphex(s.apic_base, ==, 0xfee00900);
    g_assert_cmphex(s.cs.selector, ==, 8);
    g_assert_cmphex(s.cs.limit, ==, UINT32_MAX);
    g_assert_true(s.cs.db && !s.cs.l && s.cs.s && s.cs.present);
    g_assert_cmphex(s.ss.selector, ==, 16);
    g_assert_cmphex(s.ss.type, ==, 3);
    g_assert_cmphex(s.tr.type, ==, 11);
    g_assert_cmphex(s.tr.limit, ==, 0x67);
    g_assert_cmphex(s.gdt.limit, ==, 31);
}

static void test_boot_64(void)
{
    const VcpuBootState boot = { .long_mode = true, .rip = 0x1000200,
                                 .rsi = 0x7000, .rsp = 0x8000,
                                 .cr3 = 0x9000, .code_selector = 0x10,
                                 .data_selector = 0x18 };
    struct kvm_regs regs = { 0 };
    struct kvm_sregs2 s = { 0 };

    vcpu_boot_apply(&boot, &regs, &s);
    g_assert_cmphex(regs.rsi, ==, 0x7000);
    g_assert_cmphex(regs.rsp, ==, 0x8000);
    g_assert_cmphex(s.cr0, ==, 0x80000011);
    g_assert_cmphex(s.cr3, ==, 0x9000);
    g_assert_cmphex(s.cr4, ==, 0x20);
    g_assert_cmphex(s.efer, ==, 0x500);
    g_assert_true(s.cs.l && !s.cs.db);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add(name, Fixture, NULL, setup, fn, teardown)
    ADD("/vcpu-state/lengths", test_lengths);
    ADD("/vcpu-state/unknown-msr", test_unknown_msr);
    ADD("/vcpu-state/cpuid", test_cpuid);
    ADD("/vcpu-state/flags", test_flags);
    ADD("/vcpu-state/events", test_events);
    g_test_add_func("/vcpu-boot/32", test_boot_32);
    g_test_add_func("/vcpu-boot/64", test_boot_64);
    return g_test_run();
}
