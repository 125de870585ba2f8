/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtual machine: opening KVM, its chips and its wiring.
 *
 * Why in-kernel chips: an interrupt then costs no exit, and KVM_SIGNAL_MSI
 * and ioeventfds need them. The wiring of lines is set explicitly, since
 * KVM's own default leads the PIT to I/O APIC pin 0, and every PC firmware
 * table says pin 2.
 *
 * Threads: see kvm.h. Locks: none; the ioctls serialise in the kernel.
 * Sources: Linux Documentation/virt/kvm/api.rst.
 */
#include "kvm-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

#define KVM_NODE "/dev/kvm"
#define KVM_API 12
#define PIC_PINS 8u
#define ISA_LINES 16u
#define IOAPIC_PINS 24u
#define CASCADE_LINE 2u
#define PIT_LINE 0u
#define PIT_IOAPIC_PIN 2u

int kvm_call(int fd, unsigned long request, const char *name, uintptr_t arg)
{
    int r;

    do {
        r = ioctl(fd, request, arg);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        r = -errno;
        vm_debug("kvm", "%s: %s", name, g_strerror(-r));
    }
    return r;
}

int kvm_check_cap(int fd, unsigned cap)
{
    return ioctl(fd, KVM_CHECK_EXTENSION, (unsigned long)cap);
}

bool kvm_open(int *ret_fd, GError **errp)
{
    vm_autofd fd = open(KVM_NODE, O_RDWR | O_CLOEXEC);
    int version;

    if (fd < 0 && errno == EACCES) {
        return vm_error_set(errp, errno,
                            "cannot open " KVM_NODE
                            " (is this user in its group?)");
    }
    if (fd < 0) {
        return vm_error_set(errp, errno, "cannot open " KVM_NODE);
    }
    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API) {
        return vm_error_set(errp, version < 0 ? errno : 0,
                            KVM_NODE ": API version %d, not %d", version,
                            KVM_API);
    }
    *ret_fd = vm_steal_fd(&fd);
    return true;
}

bool kvm_available(GError **errp)
{
    vm_autofd fd = -1;

    return kvm_open(&fd, errp);
}

typedef struct RequiredCap {
    unsigned cap;
    const char *name;
} RequiredCap;

/* Present on every x86 kernel from 5.14 on. */
static const RequiredCap required_caps[] = {
    { KVM_CAP_IRQCHIP, "IRQCHIP" },
    { KVM_CAP_USER_MEMORY, "USER_MEMORY" },
    { KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR" },
    { KVM_CAP_SET_IDENTITY_MAP_ADDR, "SET_IDENTITY_MAP_ADDR" },
    { KVM_CAP_EXT_CPUID, "EXT_CPUID" },
    { KVM_CAP_MP_STATE, "MP_STATE" },
    { KVM_CAP_PIT2, "PIT2" },
    { KVM_CAP_PIT_STATE2, "PIT_STATE2" },
    { KVM_CAP_IRQ_ROUTING, "IRQ_ROUTING" },
    { KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI" },
    { KVM_CAP_IOEVENTFD, "IOEVENTFD" },
    { KVM_CAP_ADJUST_CLOCK, "ADJUST_CLOCK" },
    { KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS" },
    { KVM_CAP_DEBUGREGS, "DEBUGREGS" },
    { KVM_CAP_XSAVE, "XSAVE" },
    { KVM_CAP_XCRS, "XCRS" },
    { KVM_CAP_SREGS2, "SREGS2" },
    { KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT" },
};

static bool kvm_check_required(int fd, GError **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(required_caps); i++) {
        if (kvm_check_cap(fd, required_caps[i].cap) <= 0) {
            return vm_error_set(errp, 0,
                                "this kernel's KVM lacks KVM_CAP_%s",
                                required_caps[i].name);
        }
    }
    return true;
}

/* Asks for a behaviour that is off by default; true if it is on now. */
static bool kvm_enable(KvmVm *kvm, unsigned cap, uint64_t arg)
{
    struct kvm_enable_cap enable = { .cap = cap, .args = { arg } };

    return kvm_check_cap(kvm->vm_fd, cap) > 0 &&
           KVM_CALL(kvm->vm_fd, KVM_ENABLE_CAP, &enable) == 0;
}

static void kvm_read_caps(KvmVm *kvm)
{
    KvmCaps *c = &kvm->caps;
    int fd = kvm->vm_fd;
    int xsave2 = kvm_check_cap(fd, KVM_CAP_XSAVE2);

    c->max_vcpus = (unsigned)MAX(kvm_check_cap(fd, KVM_CAP_MAX_VCPUS), 1);
    c->max_slots = (unsigned)MAX(kvm_check_cap(fd, KVM_CAP_NR_MEMSLOTS), 32);
    c->xsave2 = xsave2 >= (int)sizeof(struct kvm_xsave);
    c->xsave_bytes =
        c->xsave2 ? (unsigned)xsave2 : (unsigned)sizeof(struct kvm_xsave);
    c->ioeventfd_any_length =
        kvm_check_cap(fd, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
    c->tsc_deadline_timer = kvm_check_cap(fd, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    c->tsc_control = kvm_check_cap(fd, KVM_CAP_TSC_CONTROL) > 0;
    c->kvmclock_ctrl = kvm_check_cap(fd, KVM_CAP_KVMCLOCK_CTRL) > 0;

    /* Without KVM_DIRTY_LOG_INITIALLY_SET: the first pass sends every page
     * anyway, and a log that starts full would send all of them again. */
    c->dirty_log_manual = kvm_enable(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                                     KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
    /* Else reading the pending events would deliver half of them. */
    c->exception_payload = kvm_enable(kvm, KVM_CAP_EXCEPTION_PAYLOAD, 1);
    c->triple_fault_event = kvm_enable(kvm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1);
    /* No model shows a PMU; without this AMD guests could use one anyway,
     * and its counters are not moved. */
    (void)kvm_enable(kvm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
}

static void route_add(struct kvm_irq_routing *r, uint32_t gsi,
                      uint32_t chip, uint32_t pin)
{
    r->entries[r->nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_IRQCHIP,
        .u.irqchip = { .irqchip = chip, .pin = pin },
    };
}

/* The wiring that kvm.h tells. */
static int kvm_route_lines(KvmVm *kvm)
{
    g_autofree struct kvm_irq_routing *r =
        g_malloc0(sizeof(*r) + (ISA_LINES + IOAPIC_PINS) *
                                   sizeof(struct kvm_irq_routing_entry));

    for (unsigned i = 0; i < ISA_LINES; i++) {
        if (i != CASCADE_LINE) {
            route_add(r, i,
                      i < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER
                                   : KVM_IRQCHIP_PIC_SLAVE,
                      i % PIC_PINS);
        }
    }
    route_add(r, PIT_LINE, KVM_IRQCHIP_IOAPIC, PIT_IOAPIC_PIN);
    for (unsigned i = PIT_LINE + 1; i < IOAPIC_PINS; i++) {
        if (i != CASCADE_LINE) {
            route_add(r, i, KVM_IRQCHIP_IOAPIC, i);
        }
    }
    return KVM_CALL(kvm->vm_fd, KVM_SET_GSI_ROUTING, r);
}

static bool kvm_create_chips(KvmVm *kvm, GError **errp)
{
    uint64_t identity_map = KVM_RESERVED_GPA;
    struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
    int r;

    r = KVM_CALL(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    if (r < 0) {
        return vm_error_set(errp, -r, "KVM_SET_IDENTITY_MAP_ADDR");
    }
    r = KVM_CALL(kvm->vm_fd, KVM_SET_TSS_ADDR, KVM_RESERVED_GPA + 0x1000);
    if (r < 0) {
        return vm_error_set(errp, -r, "KVM_SET_TSS_ADDR");
    }
    r = KVM_CALL(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0);
    if (r < 0) {
        return vm_error_set(errp, -r, "KVM_CREATE_IRQCHIP");
    }
    r = kvm_route_lines(kvm);
    if (r < 0) {
        return vm_error_set(errp, -r, "KVM_SET_GSI_ROUTING");
    }
    r = KVM_CALL(kvm->vm_fd, KVM_CREATE_PIT2, &pit);
    if (r < 0) {
        return vm_error_set(errp, -r, "KVM_CREATE_PIT2");
    }
    r = kvm_state_init(kvm);
    if (r < 0) {
        return vm_error_set(errp, -r, "cannot read KVM's interrupt chips");
    }
    return true;
}

KvmVm *kvm_vm_new(GError **errp)
{
    g_autoptr(KvmVm) kvm = g_new0(KvmVm, 1);

    kvm->dev_fd = -1;
    kvm->vm_fd = -1;
    if (!kvm_open(&kvm->dev_fd, errp)) {
        return NULL;
    }
    kvm->vm_fd = KVM_CALL(kvm->dev_fd, KVM_CREATE_VM, 0);
    if (kvm->vm_fd < 0) {
        vm_error_set(errp, -kvm->vm_fd, "KVM_CREATE_VM");
        return NULL;
    }
    kvm->run_bytes = KVM_CALL(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (kvm->run_bytes < (int)sizeof(struct kvm_run)) {
        vm_error_set(errp, 0, "KVM_GET_VCPU_MMAP_SIZE gives %d",
                     kvm->run_bytes);
        return NULL;
    }
    if (!kvm_check_required(kvm->vm_fd, errp)) {
        return NULL;
    }
    kvm_read_caps(kvm);
    if (!kvm_create_chips(kvm, errp)) {
        return NULL;
    }
    return g_steal_pointer(&kvm);
}

void kvm_vm_free(KvmVm *kvm)
{
    if (!kvm) {
        return;
    }
    kvm_memory_free(kvm->memory);
    vm_close_fd(&kvm->vm_fd);
    vm_close_fd(&kvm->dev_fd);
    g_free(kvm);
}

int kvm_set_line(KvmVm *kvm, unsigned gsi, bool level)
{
    struct kvm_irq_level line = { .irq = gsi, .level = level };

    return KVM_CALL(kvm->vm_fd, KVM_IRQ_LINE, &line);
}

int kvm_send_msi(KvmVm *kvm, uint64_t address, uint32_t data)
{
    struct kvm_msi msi = { .address_lo = (uint32_t)address,
                           .address_hi = (uint32_t)(address >> 32),
                           .data = data };

    return MIN(KVM_CALL(kvm->vm_fd, KVM_SIGNAL_MSI, &msi), 0);
}

int kvm_ioeventfd(KvmVm *kvm, uint64_t addr, unsigned len, int fd, bool add)
{
    struct kvm_ioeventfd event = {
        .addr = addr,
        .len = len,
        .fd = fd,
        .flags = add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
    };

    if (len == 0 && !kvm->caps.ioeventfd_any_length) {
        return -ENOTSUP;
    }
    return KVM_CALL(kvm->vm_fd, KVM_IOEVENTFD, &event);
}
