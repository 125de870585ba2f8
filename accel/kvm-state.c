/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State of the in-kernel chips and of the guest's clock.
 *
 * Why: while the VM is paused the guest's time must stand still. KVM's own
 * clock and the PIT's timer know nothing of a pause, so both are read when
 * the vCPUs stop and set again when they go on; migration takes the values
 * read at the stop.
 *
 *            kvm_clock_stop()  [all vCPUs are out of the guest]
 *   RUNNING ------------------------------------------------> STOPPED
 *           <------------------------------------------------
 *            kvm_clock_start() [before the first one goes in]
 *
 * A VM is born STOPPED. Invariants:
 *   (1) In STOPPED, kvm->clock_ns and kvm->pit are the truth; the kernel's
 *       own values drift and are overwritten by kvm_clock_start().
 *   (2) In RUNNING the kernel's values are the truth.
 *
 * Wire format: fields one by one, sized as in the uapi structs (which are
 * stable ABI); reserved and padding bytes do not travel. Version 1.
 *
 * Threads: main or migration thread, one at a time (run-state lock).
 */
#include "kvm-internal.h"

#include <errno.h>
#include <string.h>

#include "util/clock.h"
#include "util/log.h"

#define PIT_COUNT_MAX 0x10000u
#define PIT_FLAGS_KNOWN \
    (KVM_PIT_FLAGS_HPET_LEGACY | KVM_PIT_FLAGS_SPEAKER_DATA_ON)
/* 146 years; keeps sums of times far from overflow. */
#define AGE_MAX_NS (UINT64_C(1) << 62)

static int chip_get(KvmVm *kvm, uint32_t id, struct kvm_irqchip *ret)
{
    *ret = (struct kvm_irqchip){ .chip_id = id };
    return KVM_CALL(kvm->vm_fd, KVM_GET_IRQCHIP, ret);
}

static int chip_set(KvmVm *kvm, struct kvm_irqchip *chip)
{
    return KVM_CALL(kvm->vm_fd, KVM_SET_IRQCHIP, chip);
}

int kvm_state_init(KvmVm *kvm)
{
    int r = 0;

    for (uint32_t id = 0; id < G_N_ELEMENTS(kvm->reset_chips) && r == 0;
         id++) {
        r = chip_get(kvm, id, &kvm->reset_chips[id]);
    }
    if (r == 0) {
        r = KVM_CALL(kvm->vm_fd, KVM_GET_PIT2, &kvm->reset_pit);
    }
    kvm->state.kvm = kvm;
    kvm_clock_stop(kvm);
    return r;
}

void kvm_clock_stop(KvmVm *kvm)
{
    struct kvm_clock_data clock = { 0 };

    if (kvm->clock_stopped) {
        return;
    }
    if (KVM_CALL(kvm->vm_fd, KVM_GET_CLOCK, &clock) < 0 ||
        KVM_CALL(kvm->vm_fd, KVM_GET_PIT2, &kvm->pit) < 0) {
        vm_warn("cannot read the guest's clock: its time will jump");
    }
    kvm->clock_ns = clock.clock;
    kvm->stopped_at_ns = vm_clock_ns();
    kvm->clock_stopped = true; /* (1) */
}

void kvm_clock_start(KvmVm *kvm)
{
    struct kvm_clock_data clock = { .clock = kvm->clock_ns };
    int64_t stopped_ns = vm_clock_ns() - kvm->stopped_at_ns;

    if (!kvm->clock_stopped) {
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(kvm->pit.channels); i++) {
        kvm->pit.channels[i].count_load_time += stopped_ns;
    }
    if (KVM_CALL(kvm->vm_fd, KVM_SET_CLOCK, &clock) < 0 ||
        KVM_CALL(kvm->vm_fd, KVM_SET_PIT2, &kvm->pit) < 0) {
        vm_warn("cannot set the guest's clock: its time jumps");
    }
    kvm->clock_stopped = false; /* (2) */
}

void kvm_vm_reset_chips(KvmVm *kvm)
{
    g_assert(kvm->clock_stopped);
    kvm->pit = kvm->reset_pit;
    for (size_t i = 0; i < G_N_ELEMENTS(kvm->pit.channels); i++) {
        kvm->pit.channels[i].count_load_time = kvm->stopped_at_ns;
    }
    if (KVM_CALL(kvm->vm_fd, KVM_SET_PIT2, &kvm->pit) < 0) {
        vm_warn("cannot reset the PIT");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(kvm->reset_chips); i++) {
        if (chip_set(kvm, &kvm->reset_chips[i]) < 0) {
            vm_warn("cannot reset interrupt chip %zu", i);
        }
    }
}

KvmVmState *kvm_vm_state(KvmVm *kvm)
{
    return &kvm->state;
}

static int vm_state_pre_save(void *opaque)
{
    KvmVmState *s = opaque;
    KvmVm *kvm = s->kvm;
    struct kvm_irqchip chip;
    int r = 0;

    g_assert(kvm->clock_stopped);
    for (uint32_t i = 0; i < 2 && r == 0; i++) {
        r = chip_get(kvm, KVM_IRQCHIP_PIC_MASTER + i, &chip);
        s->pic[i] = chip.chip.pic;
    }
    if (r == 0) {
        r = chip_get(kvm, KVM_IRQCHIP_IOAPIC, &chip);
        s->ioapic = chip.chip.ioapic;
    }
    s->pit = kvm->pit; /* (1) */
    s->clock_ns = kvm->clock_ns;
    for (size_t i = 0; i < G_N_ELEMENTS(s->pit_age_ns); i++) {
        s->pit_age_ns[i] = (uint64_t)MAX(
            kvm->stopped_at_ns - s->pit.channels[i].count_load_time, 0);
    }
    return r;
}

static int vm_state_check(const KvmVmState *s)
{
    if (s->clock_ns >= AGE_MAX_NS || (s->pit.flags & ~PIT_FLAGS_KNOWN)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(s->pit_age_ns); i++) {
        if (s->pit_age_ns[i] >= AGE_MAX_NS ||
            s->pit.channels[i].count > PIT_COUNT_MAX) {
            return -EINVAL;
        }
    }
    return 0;
}

/* The PIT and the clock are set by kvm_clock_start(): see (1). */
static int vm_state_post_load(void *opaque, int version)
{
    KvmVmState *s = opaque;
    KvmVm *kvm = s->kvm;
    struct kvm_irqchip chip;
    int r = vm_state_check(s);

    g_assert(kvm->clock_stopped);
    for (uint32_t i = 0; i < 2 && r == 0; i++) {
        chip = (struct kvm_irqchip){ .chip_id = KVM_IRQCHIP_PIC_MASTER + i };
        chip.chip.pic = s->pic[i];
        r = chip_set(kvm, &chip);
    }
    if (r == 0) {
        chip = (struct kvm_irqchip){ .chip_id = KVM_IRQCHIP_IOAPIC };
        chip.chip.ioapic = s->ioapic;
        r = chip_set(kvm, &chip);
    }
    if (r < 0) {
        return r;
    }
    memset(s->pit.reserved, 0, sizeof(s->pit.reserved));
    kvm->pit = s->pit;
    kvm->clock_ns = s->clock_ns;
    kvm->stopped_at_ns = vm_clock_ns();
    for (size_t i = 0; i < G_N_ELEMENTS(s->pit_age_ns); i++) {
        kvm->pit.channels[i].count_load_time =
            kvm->stopped_at_ns - (int64_t)s->pit_age_ns[i];
    }
    return 0;
}

static const VMStateDescription pic_vmstate = {
    .name = "kvm-vm/pic",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            VMSTATE_U8(last_irr, struct kvm_pic_state),
            VMSTATE_U8(irr, struct kvm_pic_state),
            VMSTATE_U8(imr, struct kvm_pic_state),
            VMSTATE_U8(isr, struct kvm_pic_state),
            VMSTATE_U8(priority_add, struct kvm_pic_state),
            VMSTATE_U8(irq_base, struct kvm_pic_state),
            VMSTATE_U8(read_reg_select, struct kvm_pic_state),
            VMSTATE_U8(poll, struct kvm_pic_state),
            VMSTATE_U8(special_mask, struct kvm_pic_state),
            VMSTATE_U8(init_state, struct kvm_pic_state),
            VMSTATE_U8(auto_eoi, struct kvm_pic_state),
            VMSTATE_U8(rotate_on_auto_eoi, struct kvm_pic_state),
            VMSTATE_U8(special_fully_nested_mode, struct kvm_pic_state),
            VMSTATE_U8(init4, struct kvm_pic_state),
            VMSTATE_U8(elcr, struct kvm_pic_state),
            VMSTATE_U8(elcr_mask, struct kvm_pic_state),
            VMSTATE_END,
        },
};

/* __u64 is another type than uint64_t, of the same size. */
#define KVM_U64(f, s) VMSTATE_SCALAR_(f, s, VMSTATE_TYPE_U64, __u64)

static const VMStateDescription ioapic_vmstate = {
    .name = "kvm-vm/ioapic",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            KVM_U64(base_address, struct kvm_ioapic_state),
            VMSTATE_U32(ioregsel, struct kvm_ioapic_state),
            VMSTATE_U32(id, struct kvm_ioapic_state),
            VMSTATE_U32(irr, struct kvm_ioapic_state),
            { .name = "redirtbl",
              .type = VMSTATE_TYPE_U64,
              .offset = offsetof(struct kvm_ioapic_state, redirtbl),
              .count = KVM_IOAPIC_NUM_PINS,
              .element_bytes = sizeof(uint64_t) },
            VMSTATE_END,
        },
};

static const VMStateDescription pit_channel_vmstate = {
    .name = "kvm-vm/pit-channel",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            VMSTATE_U32(count, struct kvm_pit_channel_state),
            VMSTATE_U16(latched_count, struct kvm_pit_channel_state),
            VMSTATE_U8(count_latched, struct kvm_pit_channel_state),
            VMSTATE_U8(status_latched, struct kvm_pit_channel_state),
            VMSTATE_U8(status, struct kvm_pit_channel_state),
            VMSTATE_U8(read_state, struct kvm_pit_channel_state),
            VMSTATE_U8(write_state, struct kvm_pit_channel_state),
            VMSTATE_U8(write_latch, struct kvm_pit_channel_state),
            VMSTATE_U8(rw_mode, struct kvm_pit_channel_state),
            VMSTATE_U8(mode, struct kvm_pit_channel_state),
            VMSTATE_U8(bcd, struct kvm_pit_channel_state),
            VMSTATE_U8(gate, struct kvm_pit_channel_state),
            VMSTATE_END,
        },
};

static const VMStateDescription pit_vmstate = {
    .name = "kvm-vm/pit",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            VMSTATE_STRUCT_ARRAY(channels, struct kvm_pit_state2, 3,
                                 pit_channel_vmstate),
            VMSTATE_U32(flags, struct kvm_pit_state2),
            VMSTATE_END,
        },
};

const VMStateDescription kvm_vm_vmstate = {
    .name = "kvm-vm",
    .version = 1,
    .minimum_version = 1,
    .pre_save = vm_state_pre_save,
    .post_load = vm_state_post_load,
    .fields =
        (const VMStateField[]){
            VMSTATE_STRUCT_ARRAY(pic, KvmVmState, 2, pic_vmstate),
            VMSTATE_STRUCT(ioapic, KvmVmState, ioapic_vmstate),
            VMSTATE_STRUCT(pit, KvmVmState, pit_vmstate),
            VMSTATE_U64_ARRAY(pit_age_ns, KvmVmState, 3),
            VMSTATE_U64(clock_ns, KvmVmState),
            VMSTATE_END,
        },
};
