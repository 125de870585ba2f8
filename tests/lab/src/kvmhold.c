/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmhold: keeps KVM's static keys from changing while guests run.
 *
 * Why: the host's kernel patches its own code whenever the first VM comes,
 * the last one goes, or a vCPU's local APIC is enabled or disabled (the static
 * keys preempt_notifier_key, kvm_has_noapic_vcpu, apic_hw_disabled and
 * apic_sw_disabled). The emulator around the lab, QEMU 7.2 with one thread per
 * CPU, sometimes runs the breakpoint of such a patch after it has been taken
 * away: "Oops: int3" in kvm_arch_vcpu_ioctl_run(). Two virtual machines that
 * never run hold each key, so that nothing is patched any more.
 *
 * Prints "kvmhold: ready" and stays until it is killed.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define APIC_BASE_ENABLE (1ull << 11) /* IA32_APIC_BASE, SDM 3A 11.4.4 */

static int checked(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static int make_vm(int kvm)
{
    return checked(ioctl(kvm, KVM_CREATE_VM, 0), "kvmhold: KVM_CREATE_VM");
}

static int make_vcpu(int vm)
{
    return checked(ioctl(vm, KVM_CREATE_VCPU, 0), "kvmhold: KVM_CREATE_VCPU");
}

/* A local APIC that is disabled by hardware, and by software as from reset. */
static void hold_disabled_apic(int kvm)
{
    struct kvm_sregs sregs;
    int vm = make_vm(kvm), vcpu;

    checked(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "kvmhold: KVM_CREATE_IRQCHIP");
    vcpu = make_vcpu(vm);
    checked(ioctl(vcpu, KVM_GET_SREGS, &sregs), "kvmhold: KVM_GET_SREGS");
    sregs.apic_base &= ~APIC_BASE_ENABLE;
    checked(ioctl(vcpu, KVM_SET_SREGS, &sregs), "kvmhold: KVM_SET_SREGS");
}

int main(void)
{
    int kvm = checked(open("/dev/kvm", O_RDWR | O_CLOEXEC),
                      "kvmhold: /dev/kvm");

    hold_disabled_apic(kvm);
    make_vcpu(make_vm(kvm)); /* no local APIC in the kernel */
    puts("kvmhold: ready");
    (void)fflush(stdout);
    for (;;) {
        pause();
    }
}
