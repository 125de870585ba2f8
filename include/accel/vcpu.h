/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs: one thread each, the run loop, pause and state.
 *
 * Threads: vcpus_* by the main thread or a migration thread, one at a time
 * (VM_RANK_RUN_STATE is held); the exit handlers run on the vCPU's thread.
 */
#ifndef VM_ACCEL_VCPU_H
#define VM_ACCEL_VCPU_H

#include "accel/kvm.h"

typedef struct Vcpus Vcpus;

/*
 * What a vCPU does with an exit that it cannot handle by itself. After either
 * call that vCPU stays out of the guest until the next vcpus_resume(), and
 * counts as paused meanwhile.
 */
typedef struct VcpuCallbacks {
    /* The guest can go on by a reset only; text says why. As QEMU does, the
     * VM is reset. Any vCPU thread; asks only, does not wait. */
    void (*reset_requested)(void *opaque, unsigned cpu, const char *text);
    /* KVM_RUN failed or an exit makes no sense: the VM must stop. */
    void (*internal_error)(void *opaque, unsigned cpu, const char *text);
} VcpuCallbacks;

/*
 * Makes count vCPUs, stopped. model is QEMU's -cpu text: "host", "max",
 * "qemu64", "EPYC"..., with ",+flag,-flag" and ",flag=on|off"; an unknown
 * model or flag is refused by name.
 */
Vcpus *vcpus_new(KvmVm *kvm, AddressSpace *memory, AddressSpace *ports,
                 unsigned count, const char *model, const VcpuCallbacks *cb,
                 void *opaque, GError **errp);
/* Stops and joins, as vcpus_pause() does: before the pager goes away. */
void vcpus_free(Vcpus *vcpus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vcpus, vcpus_free)

/*
 * Initial registers of the boot CPU, set by the board's loader. All others
 * wait for SIPI. Segments are flat: base 0, limit 4 GiB, the selectors given
 * here with descriptor caches that fit them; the table at gdt_base is not
 * read. Interrupts are off, everything else is as at power-on.
 */
typedef struct VcpuBootState {
    bool long_mode;     /* bzImage: 64-bit entry with the page tables at
                         * cr3; PVH: 32-bit flat protected mode */
    uint64_t rip, rsp, rbx, rsi;
    uint64_t cr3;       /* long mode only */
    uint64_t gdt_base;
    uint16_t gdt_limit;
    uint16_t code_selector, data_selector;
} VcpuBootState;

/*
 * Power-on state for all, then boot for CPU 0; boot NULL leaves it at the
 * architectural reset vector. vCPUs must be paused.
 */
bool vcpus_reset(Vcpus *vcpus, const VcpuBootState *boot, GError **errp);

/*
 * Returns when every vCPU has left the guest and the I/O of its last exit is
 * complete. Idempotent. Stops the guest's clock. A vCPU that sleeps in a page
 * fault is interrupted (it faults again when it goes on) where the kernel can
 * do that (since 6.2, not for emulated accesses); else this waits until the
 * fault is resolved. So the pager must be alive, and the caller may hold no
 * lock that a page fault or an exit handler needs.
 */
void vcpus_pause(Vcpus *vcpus);
/*
 * The same, for a caller who cannot wait for ever: false if give_up() said
 * so, which is asked now and then. No vCPU enters the guest any more, but one
 * is in the middle of an exit or of a fault; it pauses when that is done, and
 * until vcpus_pause() returns its registers are its own. vcpus_resume() may
 * be called all the same.
 */
bool vcpus_pause_unless(Vcpus *vcpus, bool (*give_up)(void *opaque),
                        void *opaque);
void vcpus_resume(Vcpus *vcpus);
bool vcpus_are_paused(const Vcpus *vcpus);

unsigned vcpus_count(const Vcpus *vcpus);
int vcpus_thread_id(const Vcpus *vcpus, unsigned cpu);

/*
 * State of one vCPU for migration; it reads from and writes to the kernel in
 * pre_save and post_load. vCPUs must be paused. All vCPUs are loaded before
 * kvm_vm_vmstate. The CPUID table travels too: a destination whose -cpu
 * gives another table refuses the load.
 */
extern const VMStateDescription vcpu_vmstate;
void *vcpus_state(Vcpus *vcpus, unsigned cpu); /* opaque of vcpu_vmstate */

/*
 * The share of their time that vCPUs stay out of the guest, in percent, up to
 * 99; 0, as at first: none. A vCPU that sleeps is not disturbed, a handler of
 * an exit not interrupted, and a pause is as quick as ever: it ends a rest.
 * Any thread, one at a time; does not wait, and holds across a pause.
 */
void vcpus_set_throttle(Vcpus *vcpus, unsigned percent);

#endif
