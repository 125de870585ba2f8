/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of one vCPU: out of the kernel, over the wire, into the kernel.
 *
 * Order of reading. KVM_GET_MP_STATE first: it acts on a pending INIT or
 * SIPI and so changes registers. The events next, for the same reason on
 * kernels that cannot report an exception's payload. Then the rest.
 *
 * Order of writing. XCR0 and the extended state, general registers, then
 * segments and control registers (which switch the APIC on or off), debug
 * registers, the LAPIC (so the timer's mode is there), MSRs (the TSC deadline
 * last: it counts against the TSC and needs the timer's mode), mp_state, and
 * the events at the end, since setting registers drops pending ones.
 *
 * Wire format. Fields one by one, sized as in the uapi structs, which are
 * stable ABI; reserved bytes do not travel. The LAPIC is its register page.
 * xsave is the standard-format XSAVE area as KVM_GET_XSAVE2 gives it. msrs
 * is a sequence of (index u32, zero u32, value u64), cpuid one of (function,
 * index, eax, ebx, ecx, edx) as u32, both little-endian. Version 1.
 *
 * Across kernels. An MSR that this kernel does not list is refused unless it
 * is zero: a zero is what a vCPU has that never heard of it. MSRs that tell
 * about the host and that no guest can write do not travel.
 *
 * Hostile input: lengths, flags and MSR indexes are checked here; register
 * values by KVM, which trusts its user no more than we trust the wire. A
 * refusal is -EINVAL, and vm_debug() tells of what.
 *
 * Threads: main or migration thread, vCPUs paused.
 */
#include "vcpu-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "util/log.h"

/* Bits that no instruction can set: AMD APM vol. 2, 3.1.6 (bit 1 is one in
 * fact, but a zero there harms nobody). */
#define RFLAGS_NEVER (~UINT64_C(0x3f7fd7))
#define MSR_TSC 0x10u
#define MSR_TSC_DEADLINE 0x6e0u
#define XSAVE_MIN_BYTES 576u
#define CPUID_WIRE_BYTES 24u
/* A quarter of a per mille: below what clocks notice, above what two
 * calibrations of one clock differ. */
#define TSC_TOLERANCE_PPM 250u

#define EVENT_FLAGS_KNOWN                                            \
    (KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |  \
     KVM_VCPUEVENT_VALID_SMM | KVM_VCPUEVENT_VALID_PAYLOAD |         \
     KVM_VCPUEVENT_VALID_TRIPLE_FAULT | KVM_VCPUEVENT_VALID_SIPI_VECTOR)

/* MSRs that KVM_GET_MSR_INDEX_LIST leaves out and that are state all the
 * same: memory types, and the banks of machine checks. */
typedef struct MsrRange {
    uint32_t first, count;
} MsrRange;

static const MsrRange extra_msrs[] = {
    { 0x200, 16 }, /* MTRR variable ranges, base and mask */
    { 0x250, 1 },  /* MTRR fixed 64K */
    { 0x258, 2 },  /* MTRR fixed 16K */
    { 0x268, 8 },  /* MTRR fixed 4K */
    { 0x2ff, 1 },  /* MTRR default type */
    { 0x400, 40 }, /* ten machine-check banks */
};

static const MsrRange skipped_msrs[] = {
    { 0x8b, 1 },         /* microcode revision: the host's */
    { 0xce, 1 },         /* platform info: the host's */
    { 0x10a, 1 },        /* architectural capabilities: the host's */
    { 0x345, 1 },        /* performance capabilities: no PMU is shown */
    { 0x480, 0x12 },     /* VMX capabilities: not shown */
    { 0x40000000, 0x1000 }, /* Hyper-V: not shown */
};

static bool msr_in(const MsrRange *ranges, size_t n, uint32_t index)
{
    for (size_t i = 0; i < n; i++) {
        if (index >= ranges[i].first &&
            index - ranges[i].first < ranges[i].count) {
            return true;
        }
    }
    return false;
}

static bool msr_list_has(const VcpuMsrList *list, uint32_t index)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->index[i] == index) {
            return true;
        }
    }
    return false;
}

/* Can this kernel give the MSR back what it read from it? */
static bool msr_works(int fd, uint32_t index)
{
    MsrBatch b = { .nmsrs = 1, .entries[0].index = index };

    return ioctl(fd, KVM_GET_MSRS, &b) == 1 && ioctl(fd, KVM_SET_MSRS, &b) == 1;
}

static void msr_list_try(VcpuMsrList *list, int fd, uint32_t index)
{
    if (list->count == VCPU_MSRS_MAX || msr_list_has(list, index) ||
        msr_in(skipped_msrs, G_N_ELEMENTS(skipped_msrs), index)) {
        return;
    }
    /* Writing the TSC, even with what it shows, would move it. */
    if (index == MSR_TSC || msr_works(fd, index)) {
        list->index[list->count++] = index;
    }
}

int vcpu_msr_list_probe(KvmVm *kvm, int vcpu_fd, VcpuMsrList *ret)
{
    struct kvm_msr_list probe = { .nmsrs = 0 };
    g_autofree struct kvm_msr_list *list = NULL;
    int r;

    /* With no room it fails, and tells how much it wants. */
    r = ioctl(kvm->dev_fd, KVM_GET_MSR_INDEX_LIST, &probe);
    if (r < 0 && errno != E2BIG) {
        return -errno;
    }
    if (probe.nmsrs > VCPU_MSRS_MAX) {
        return -E2BIG;
    }
    list = g_malloc0(sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
    list->nmsrs = probe.nmsrs;
    r = KVM_CALL(kvm->dev_fd, KVM_GET_MSR_INDEX_LIST, list);
    if (r < 0) {
        return r;
    }
    ret->count = 0;
    for (uint32_t i = 0; i < list->nmsrs; i++) {
        msr_list_try(ret, vcpu_fd, list->indices[i]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(extra_msrs); i++) {
        for (uint32_t j = 0; j < extra_msrs[i].count; j++) {
            msr_list_try(ret, vcpu_fd, extra_msrs[i].first + j);
        }
    }
    return 0;
}

static void put_u32(uint8_t *p, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    memcpy(p, &value, sizeof(value));
}

static uint32_t get_u32(const uint8_t *p)
{
    uint32_t value;

    memcpy(&value, p, sizeof(value));
    return GUINT32_FROM_LE(value);
}

static uint64_t get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static void msr_put_wire(uint8_t *p, const struct kvm_msr_entry *e)
{
    put_u32(p, e->index);
    put_u32(p + 4, 0);
    put_u32(p + 8, (uint32_t)e->data);
    put_u32(p + 12, (uint32_t)(e->data >> 32));
}

static struct kvm_msr_entry msr_get_wire(const uint8_t *p)
{
    return (struct kvm_msr_entry){ .index = get_u32(p),
                                   .data = get_u64(p + 8) };
}

/* What this VM's CPUID says, in the form of the wire. */
static void cpuid_to_wire(VcpuState *s)
{
    s->cpuid_bytes = s->cpuid->nent * CPUID_WIRE_BYTES;
    s->cpuid_wire = g_realloc(s->cpuid_wire, s->cpuid_bytes);
    for (uint32_t i = 0; i < s->cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &s->cpuid->entries[i];
        uint8_t *p = s->cpuid_wire + i * CPUID_WIRE_BYTES;

        put_u32(p, e->function);
        put_u32(p + 4, e->index);
        put_u32(p + 8, e->eax);
        put_u32(p + 12, e->ebx);
        put_u32(p + 16, e->ecx);
        put_u32(p + 20, e->edx);
    }
}

void vcpu_state_init(VcpuState *s, unsigned cpu, int fd, const KvmCaps *caps,
                     const VcpuMsrList *msr_list,
                     const struct kvm_cpuid2 *cpuid)
{
    *s = (VcpuState){ .fd = fd,
                      .cpu = cpu,
                      .caps = caps,
                      .msr_list = msr_list,
                      .cpuid = cpuid };
    cpuid_to_wire(s);
}

void vcpu_state_done(VcpuState *s)
{
    g_clear_pointer(&s->xsave, g_free);
    g_clear_pointer(&s->msrs, g_free);
    g_clear_pointer(&s->cpuid_wire, g_free);
}

static int pull_msrs(VcpuState *s)
{
    const VcpuMsrList *list = s->msr_list;

    s->msrs_bytes = list->count * VCPU_MSR_WIRE_BYTES;
    s->msrs = g_realloc(s->msrs, s->msrs_bytes);
    for (uint32_t first = 0; first < list->count; first += MSR_BATCH) {
        MsrBatch b = { .nmsrs = MIN(list->count - first, MSR_BATCH) };
        int r;

        for (uint32_t i = 0; i < b.nmsrs; i++) {
            b.entries[i].index = list->index[first + i];
        }
        r = KVM_CALL(s->fd, KVM_GET_MSRS, &b);
        if (r >= 0 && (uint32_t)r < b.nmsrs) {
            vm_debug("kvm", "CPU %u: MSR 0x%x cannot be read", s->cpu,
                     b.entries[r].index);
            r = -EIO;
        }
        if (r < 0) {
            return r;
        }
        for (uint32_t i = 0; i < b.nmsrs; i++) {
            msr_put_wire(s->msrs + (first + i) * VCPU_MSR_WIRE_BYTES,
                         &b.entries[i]);
        }
    }
    return 0;
}

static int pull_xsave(VcpuState *s)
{
    s->xsave_bytes = s->caps->xsave_bytes;
    s->xsave = g_realloc(s->xsave, s->xsave_bytes);
    memset(s->xsave, 0, s->xsave_bytes);
    return s->caps->xsave2 ? KVM_CALL(s->fd, KVM_GET_XSAVE2, s->xsave)
                           : KVM_CALL(s->fd, KVM_GET_XSAVE, s->xsave);
}

static int pull_xcr0(VcpuState *s)
{
    struct kvm_xcrs xcrs = { 0 };
    int r = KVM_CALL(s->fd, KVM_GET_XCRS, &xcrs);

    s->xcr0 = 0;
    for (uint32_t i = 0; r == 0 && i < MIN(xcrs.nr_xcrs, KVM_MAX_XCRS); i++) {
        if (xcrs.xcrs[i].xcr == 0) {
            s->xcr0 = xcrs.xcrs[i].value;
        }
    }
    return r;
}

int vcpu_state_pull(VcpuState *s)
{
    struct kvm_mp_state mp = { 0 };
    int r;

    if ((r = KVM_CALL(s->fd, KVM_GET_MP_STATE, &mp)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_GET_VCPU_EVENTS, &s->events)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_GET_REGS, &s->regs)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_GET_SREGS2, &s->sregs)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_GET_DEBUGREGS, &s->debugregs)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_GET_LAPIC, &s->lapic)) < 0 ||
        (r = pull_xsave(s)) < 0 || (r = pull_xcr0(s)) < 0 ||
        (r = pull_msrs(s)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_GET_TSC_KHZ, 0)) < 0) {
        return r;
    }
    s->mp_state = mp.mp_state;
    s->tsc_khz = (uint32_t)r;
    return 0;
}

static int refuse(const VcpuState *s, const char *what, uint64_t value)
{
    vm_debug("kvm", "CPU %u: loaded %s 0x%" PRIx64 " is refused", s->cpu,
             what, value);
    return -EINVAL;
}

static int check_msrs(const VcpuState *s)
{
    if (s->msrs_bytes % VCPU_MSR_WIRE_BYTES != 0) {
        return refuse(s, "length of MSRs", s->msrs_bytes);
    }
    for (uint32_t at = 0; at < s->msrs_bytes; at += VCPU_MSR_WIRE_BYTES) {
        struct kvm_msr_entry e = msr_get_wire(s->msrs + at);

        if (e.data != 0 && !msr_list_has(s->msr_list, e.index)) {
            return refuse(s, "MSR, unknown to this kernel,", e.index);
        }
    }
    return 0;
}

/* The guest has read its CPUID already: it must find the same here. */
static int check_cpuid(const VcpuState *s)
{
    VcpuState own = { .cpuid = s->cpuid };
    int r = 0;

    cpuid_to_wire(&own);
    if (s->cpuid_bytes != own.cpuid_bytes) {
        r = refuse(s, "length of CPUID", s->cpuid_bytes);
    }
    for (uint32_t at = 0; r == 0 && at < own.cpuid_bytes;
         at += CPUID_WIRE_BYTES) {
        if (memcmp(s->cpuid_wire + at, own.cpuid_wire + at,
                   CPUID_WIRE_BYTES) != 0) {
            r = refuse(s, "CPUID, different here in leaf",
                       get_u32(own.cpuid_wire + at));
        }
    }
    vcpu_state_done(&own);
    return r;
}

static bool mp_state_known(uint32_t mp_state)
{
    switch (mp_state) {
    case KVM_MP_STATE_RUNNABLE:
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED:
    case KVM_MP_STATE_HALTED:
    case KVM_MP_STATE_SIPI_RECEIVED:
        return true;
    default:
        return false;
    }
}

/* An event that this kernel cannot be told of must not be pending. */
static int check_events(const VcpuState *s)
{
    const struct kvm_vcpu_events *e = &s->events;

    if (e->flags & ~EVENT_FLAGS_KNOWN) {
        return refuse(s, "event flags", e->flags);
    }
    if ((e->flags & KVM_VCPUEVENT_VALID_PAYLOAD) &&
        !s->caps->exception_payload &&
        (e->exception.pending || e->exception_has_payload)) {
        return refuse(s, "exception payload", e->exception_payload);
    }
    if ((e->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) &&
        !s->caps->triple_fault_event && e->triple_fault.pending) {
        return refuse(s, "triple fault", 1);
    }
    return 0;
}

int vcpu_state_check(const VcpuState *s)
{
    int r;

    if (!mp_state_known(s->mp_state)) {
        return refuse(s, "mp_state", s->mp_state);
    }
    if (s->xsave_bytes < XSAVE_MIN_BYTES ||
        s->xsave_bytes > s->caps->xsave_bytes) {
        return refuse(s, "length of XSAVE", s->xsave_bytes);
    }
    if (s->regs.rflags & RFLAGS_NEVER) {
        return refuse(s, "RFLAGS", s->regs.rflags);
    }
    if (s->sregs.flags & ~(uint64_t)KVM_SREGS2_FLAGS_PDPTRS_VALID) {
        return refuse(s, "sregs2 flags", s->sregs.flags);
    }
    if (s->debugregs.flags != 0) {
        return refuse(s, "debugregs flags", s->debugregs.flags);
    }
    if ((r = check_events(s)) < 0 || (r = check_msrs(s)) < 0) {
        return r;
    }
    return check_cpuid(s);
}

static int push_xcr0(const VcpuState *s)
{
    struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0].value = s->xcr0 };

    return s->xcr0 ? KVM_CALL(s->fd, KVM_SET_XCRS, &xcrs) : 0;
}

/* KVM reads as many bytes as it would write, whatever the source had. */
static int push_xsave(const VcpuState *s)
{
    g_autofree uint8_t *area = g_malloc0(s->caps->xsave_bytes);

    memcpy(area, s->xsave, MIN(s->xsave_bytes, s->caps->xsave_bytes));
    return KVM_CALL(s->fd, KVM_SET_XSAVE, area);
}

static int msr_batch_flush(const VcpuState *s, MsrBatch *b)
{
    int r = b->nmsrs ? KVM_CALL(s->fd, KVM_SET_MSRS, b) : 0;

    if (r >= 0 && (uint32_t)r < b->nmsrs) {
        r = refuse(s, "value of MSR", b->entries[r].index);
    }
    b->nmsrs = 0;
    return MIN(r, 0);
}

/* The MSRs of the wire that are (or are not) the TSC deadline. */
static int push_msrs(const VcpuState *s, VcpuPush what, bool deadline)
{
    MsrBatch b = { .nmsrs = 0 };

    for (uint32_t at = 0; at < s->msrs_bytes; at += VCPU_MSR_WIRE_BYTES) {
        struct kvm_msr_entry e = msr_get_wire(s->msrs + at);
        int r = 0;

        if ((e.index == MSR_TSC_DEADLINE) != deadline ||
            (e.index == MSR_TSC && what == VCPU_PUSH_RESET) ||
            !msr_list_has(s->msr_list, e.index)) {
            continue;
        }
        b.entries[b.nmsrs++] = e;
        if (b.nmsrs == MSR_BATCH) {
            r = msr_batch_flush(s, &b);
        }
        if (r < 0) {
            return r;
        }
    }
    return msr_batch_flush(s, &b);
}

static int push_events(const VcpuState *s)
{
    struct kvm_vcpu_events events = s->events;

    /* vcpu_state_check() has seen that nothing is lost by this. */
    if (!s->caps->exception_payload) {
        events.flags &= ~(uint32_t)KVM_VCPUEVENT_VALID_PAYLOAD;
    }
    if (!s->caps->triple_fault_event) {
        events.flags &= ~(uint32_t)KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
    }
    return KVM_CALL(s->fd, KVM_SET_VCPU_EVENTS, &events);
}

/*
 * A guest that keeps time by kvmclock follows a new rate; one that uses the
 * TSC itself does not, unless KVM can scale it.
 */
static void push_tsc_rate(const VcpuState *s)
{
    int own_khz = KVM_CALL(s->fd, KVM_GET_TSC_KHZ, 0);
    uint64_t tolerance_khz;

    if (own_khz <= 0 || s->tsc_khz == 0) {
        return;
    }
    tolerance_khz = (uint64_t)own_khz * TSC_TOLERANCE_PPM / 1000000;
    if (s->tsc_khz + tolerance_khz >= (uint64_t)own_khz &&
        s->tsc_khz <= (uint64_t)own_khz + tolerance_khz) {
        return;
    }
    if (!s->caps->tsc_control ||
        KVM_CALL(s->fd, KVM_SET_TSC_KHZ, s->tsc_khz) < 0) {
        vm_warn("CPU %u: TSC frequency mismatch: the VM's is %u kHz, the "
                "host's %d kHz, and it cannot be scaled",
                s->cpu, s->tsc_khz, own_khz);
    }
}

int vcpu_state_push(const VcpuState *s, VcpuPush what)
{
    struct kvm_mp_state mp = { .mp_state = s->mp_state };
    int r;

    if (what == VCPU_PUSH_LOAD) {
        push_tsc_rate(s);
    }
    if ((r = push_xcr0(s)) < 0 || (r = push_xsave(s)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_SET_REGS, &s->regs)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_SET_SREGS2, &s->sregs)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_SET_DEBUGREGS, &s->debugregs)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_SET_LAPIC, &s->lapic)) < 0 ||
        (r = push_msrs(s, what, /* deadline= */ false)) < 0 ||
        (r = push_msrs(s, what, /* deadline= */ true)) < 0 ||
        (r = KVM_CALL(s->fd, KVM_SET_MP_STATE, &mp)) < 0 ||
        (r = push_events(s)) < 0) {
        return r;
    }
    return 0;
}

static int vcpu_pre_save(void *opaque)
{
    VcpuState *s = opaque;

    cpuid_to_wire(s);
    return vcpu_state_pull(s);
}

static int vcpu_post_load(void *opaque, int version)
{
    VcpuState *s = opaque;
    int r = vcpu_state_check(s);

    return r < 0 ? r : vcpu_state_push(s, VCPU_PUSH_LOAD);
}

/* __u64 is another type than uint64_t, of the same size. */
#define KVM_U64(f, s) VMSTATE_SCALAR_(f, s, VMSTATE_TYPE_U64, __u64)
#define KVM_U64_ARRAY(f, s, n) \
    VMSTATE_ARRAY_(f, s, VMSTATE_TYPE_U64, __u64, n)

static const VMStateDescription regs_vmstate = {
    .name = "vcpu/regs",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            KVM_U64(rax, struct kvm_regs),
            KVM_U64(rbx, struct kvm_regs),
            KVM_U64(rcx, struct kvm_regs),
            KVM_U64(rdx, struct kvm_regs),
            KVM_U64(rsi, struct kvm_regs),
            KVM_U64(rdi, struct kvm_regs),
            KVM_U64(rsp, struct kvm_regs),
            KVM_U64(rbp, struct kvm_regs),
            KVM_U64(r8, struct kvm_regs),
            KVM_U64(r9, struct kvm_regs),
            KVM_U64(r10, struct kvm_regs),
            KVM_U64(r11, struct kvm_regs),
            KVM_U64(r12, struct kvm_regs),
            KVM_U64(r13, struct kvm_regs),
            KVM_U64(r14, struct kvm_regs),
            KVM_U64(r15, struct kvm_regs),
            KVM_U64(rip, struct kvm_regs),
            KVM_U64(rflags, struct kvm_regs),
            VMSTATE_END,
        },
};

static const VMStateDescription segment_vmstate = {
    .name = "vcpu/segment",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            KVM_U64(base, struct kvm_segment),
            VMSTATE_U32(limit, struct kvm_segment),
            VMSTATE_U16(selector, struct kvm_segment),
            VMSTATE_U8(type, struct kvm_segment),
            VMSTATE_U8(present, struct kvm_segment),
            VMSTATE_U8(dpl, struct kvm_segment),
            VMSTATE_U8(db, struct kvm_segment),
            VMSTATE_U8(s, struct kvm_segment),
            VMSTATE_U8(l, struct kvm_segment),
            VMSTATE_U8(g, struct kvm_segment),
            VMSTATE_U8(avl, struct kvm_segment),
            VMSTATE_U8(unusable, struct kvm_segment),
            VMSTATE_END,
        },
};

static const VMStateDescription dtable_vmstate = {
    .name = "vcpu/dtable",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            KVM_U64(base, struct kvm_dtable),
            VMSTATE_U16(limit, struct kvm_dtable),
            VMSTATE_END,
        },
};

static const VMStateDescription sregs_vmstate = {
    .name = "vcpu/sregs",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            VMSTATE_STRUCT(cs, struct kvm_sregs2, segment_vmstate),
            VMSTATE_STRUCT(ds, struct kvm_sregs2, segment_vmstate),
            VMSTATE_STRUCT(es, struct kvm_sregs2, segment_vmstate),
            VMSTATE_STRUCT(fs, struct kvm_sregs2, segment_vmstate),
            VMSTATE_STRUCT(gs, struct kvm_sregs2, segment_vmstate),
            VMSTATE_STRUCT(ss, struct kvm_sregs2, segment_vmstate),
            VMSTATE_STRUCT(tr, struct kvm_sregs2, segment_vmstate),
            VMSTATE_STRUCT(ldt, struct kvm_sregs2, segment_vmstate),
            VMSTATE_STRUCT(gdt, struct kvm_sregs2, dtable_vmstate),
            VMSTATE_STRUCT(idt, struct kvm_sregs2, dtable_vmstate),
            KVM_U64(cr0, struct kvm_sregs2),
            KVM_U64(cr2, struct kvm_sregs2),
            KVM_U64(cr3, struct kvm_sregs2),
            KVM_U64(cr4, struct kvm_sregs2),
            KVM_U64(cr8, struct kvm_sregs2),
            KVM_U64(efer, struct kvm_sregs2),
            KVM_U64(apic_base, struct kvm_sregs2),
            KVM_U64(flags, struct kvm_sregs2),
            KVM_U64_ARRAY(pdptrs, struct kvm_sregs2, 4),
            VMSTATE_END,
        },
};

static const VMStateDescription debugregs_vmstate = {
    .name = "vcpu/debugregs",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            KVM_U64_ARRAY(db, struct kvm_debugregs, 4),
            KVM_U64(dr6, struct kvm_debugregs),
            KVM_U64(dr7, struct kvm_debugregs),
            KVM_U64(flags, struct kvm_debugregs),
            VMSTATE_END,
        },
};

static const VMStateDescription events_vmstate = {
    .name = "vcpu/events",
    .version = 1,
    .minimum_version = 1,
    .fields =
        (const VMStateField[]){
            VMSTATE_U8(exception.injected, struct kvm_vcpu_events),
            VMSTATE_U8(exception.nr, struct kvm_vcpu_events),
            VMSTATE_U8(exception.has_error_code, struct kvm_vcpu_events),
            VMSTATE_U8(exception.pending, struct kvm_vcpu_events),
            VMSTATE_U32(exception.error_code, struct kvm_vcpu_events),
            VMSTATE_U8(interrupt.injected, struct kvm_vcpu_events),
            VMSTATE_U8(interrupt.nr, struct kvm_vcpu_events),
            VMSTATE_U8(interrupt.soft, struct kvm_vcpu_events),
            VMSTATE_U8(interrupt.shadow, struct kvm_vcpu_events),
            VMSTATE_U8(nmi.injected, struct kvm_vcpu_events),
            VMSTATE_U8(nmi.pending, struct kvm_vcpu_events),
            VMSTATE_U8(nmi.masked, struct kvm_vcpu_events),
            VMSTATE_U32(sipi_vector, struct kvm_vcpu_events),
            VMSTATE_U32(flags, struct kvm_vcpu_events),
            VMSTATE_U8(smi.smm, struct kvm_vcpu_events),
            VMSTATE_U8(smi.pending, struct kvm_vcpu_events),
            VMSTATE_U8(smi.smm_inside_nmi, struct kvm_vcpu_events),
            VMSTATE_U8(smi.latched_init, struct kvm_vcpu_events),
            VMSTATE_U8(triple_fault.pending, struct kvm_vcpu_events),
            VMSTATE_U8(exception_has_payload, struct kvm_vcpu_events),
            KVM_U64(exception_payload, struct kvm_vcpu_events),
            VMSTATE_END,
        },
};

const VMStateDescription vcpu_vmstate = {
    .name = "vcpu",
    .version = 1,
    .minimum_version = 1,
    .pre_save = vcpu_pre_save,
    .post_load = vcpu_post_load,
    .fields =
        (const VMStateField[]){
            VMSTATE_VARBYTES(cpuid_wire, cpuid_bytes, VcpuState,
                             VCPU_CPUID_MAX_BYTES),
            VMSTATE_U32(tsc_khz, VcpuState),
            VMSTATE_U32(mp_state, VcpuState),
            VMSTATE_STRUCT(events, VcpuState, events_vmstate),
            VMSTATE_STRUCT(regs, VcpuState, regs_vmstate),
            VMSTATE_STRUCT(sregs, VcpuState, sregs_vmstate),
            VMSTATE_STRUCT(debugregs, VcpuState, debugregs_vmstate),
            VMSTATE_BUFFER(lapic, VcpuState),
            VMSTATE_U64(xcr0, VcpuState),
            VMSTATE_VARBYTES(xsave, xsave_bytes, VcpuState,
                             VCPU_XSAVE_MAX_BYTES),
            VMSTATE_VARBYTES(msrs, msrs_bytes, VcpuState,
                             VCPU_MSRS_MAX * VCPU_MSR_WIRE_BYTES),
            VMSTATE_END,
        },
};
