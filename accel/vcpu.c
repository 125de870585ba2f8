/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPU threads: the run loop, pausing, reset.
 *
 * Why a protocol: a vCPU must leave the guest soon, must not lose the result
 * of an exit that it is handling, and must not slip back in.
 *
 *              vcpus_resume()                 KVM_RUN
 *     PARKED ------------------> RUNNING <--------------> IN GUEST
 *       ^                         ^ |                        |
 *       |      EINTR while stop   | |       immediate_exit   |
 *       +-------------------------|-+<------ and a signal ---+
 *       |      SHUTDOWN or error, | |
 *       +-------------------------|-+
 *       |                         | | EINTR while throttled
 *       |      woken while stop   | v
 *       +---------------------- RESTING
 *
 * Pausing: the controller sets stop, then each immediate_exit, then sends
 * each thread the kick signal. Wherever a thread is, its next (or present)
 * KVM_RUN returns EINTR: in the guest the signal ends it, before the entry
 * immediate_exit does. KVM first completes the port or MMIO access of the
 * exit before, so a thread that sees EINTR owes the guest nothing; hence the
 * only way from RUNNING to PARKED by a pause is EINTR, never straight after
 * an exit was handled. A repeated string instruction may exit again on that
 * way; it is handled like any other.
 *
 * Resting: vcpu-throttle.c says when, and kicks. It is reached by EINTR only,
 * too, so that who rests counts as parked: a pause does not wait for the
 * scheduler to wake him. A vCPU that finds after an exit that it should rest
 * sets its own immediate_exit to get there.
 *
 * Invariants:
 *   (1) While parked, a vCPU's registers belong to the controller.
 *   (2) immediate_exit is set by the controller, before a kick, and by the
 *       vCPU's own thread. It is cleared under lock: by the controller while
 *       stop ends, by the thread unless stop is set. A pause sets it under
 *       lock after stop, so that no thread undoes that.
 *   (3) parked changes under lock, in the vCPU's own thread, but for the
 *       clearing in vcpus_resume(). A vCPU parks only while stop is set, it
 *       is stuck, or it rests: a pause that was given up may be over before
 *       it came. It leaves a rest under lock, and only if stop is not set.
 *   (4) The guest's clock runs only while stop is false.
 *
 * A thread asleep in a fault on guest memory inside KVM_RUN leaves it by the
 * signal where the kernel allows that: since 6.2, and not while KVM emulates
 * the access. Else it leaves when the page is there, so whoever resolves
 * faults must be alive during a pause. A handler of an exit is never
 * interrupted.
 *
 * Threads: see vcpu.h. Locks: vcpus->lock, rank VM_RANK_VCPU, held across
 * nothing but the flags and quick calls for parked vCPUs.
 */
#include "vcpu-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "cpu-model-internal.h"
#include "vcpu-throttle.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/thread.h"

/* How often a controller that waits is asked whether to give up. */
#define PATIENCE_NS (20 * VM_NS_PER_MS)
/* xAPIC IDs are 8 bits, and 255 means all. */
#define VCPUS_MAX 255u
#define MCE_BANKS 10u
#define MCG_CTL_P (UINT64_C(1) << 8)
#define MSR_MTRR_DEFAULT_TYPE 0x2ffu
#define MTRR_ENABLED_WRITE_BACK UINT64_C(0x806)

typedef struct Vcpu {
    /* Immutable after vcpus_new(). */
    Vcpus *vcpus;
    unsigned index;
    int fd;
    struct kvm_run *run;
    struct kvm_cpuid2 *cpuid;
    VmThread *thread;

    /* Controller, while parked (1). */
    VcpuState state;
    VcpuState power_on; /* as KVM made it */

    /* Protected by vcpus->lock. */
    bool parked;
    bool stuck; /* told reset_requested() or internal_error() */
} Vcpu;

struct Vcpus {
    /* Immutable after vcpus_new(). */
    KvmVm *kvm;
    AddressSpace *memory, *ports;
    VcpuCallbacks callbacks;
    void *opaque;
    VcpuMsrList msr_list;
    unsigned count;
    Vcpu *vcpu;
    VcpuThrottle *throttle;

    /* Atomic. Set with release by the controller before the kick, read with
     * acquire by a vCPU after EINTR. */
    atomic_bool stop;

    VmMutex lock; /* rank VM_RANK_VCPU */
    VmCond changed;
    /* Protected by lock. */
    bool quit;
};

static void on_kick(int signum)
{
    /* Being delivered is all that it is for. */
}

static void install_kick_handler(void)
{
    struct sigaction action = { .sa_handler = on_kick,
                                .sa_flags = SA_RESTART };

    sigemptyset(&action.sa_mask);
    g_assert(sigaction(VM_SIG_KICK, &action, NULL) == 0);
}

static void set_immediate_exit(Vcpu *v, uint8_t value)
{
    __atomic_store_n(&v->run->immediate_exit, value, __ATOMIC_RELEASE);
}

static void vcpu_kick(Vcpu *v)
{
    (void)pthread_kill(vm_thread_pthread(v->thread), VM_SIG_KICK);
}

/* Guest registers in a message; may be called by the vCPU's thread only. */
static uint64_t guest_rip(Vcpu *v)
{
    struct kvm_regs regs = { 0 };

    (void)KVM_CALL(v->fd, KVM_GET_REGS, &regs);
    return regs.rip;
}

static void vcpu_set_stuck(Vcpu *v)
{
    vm_mutex_lock(&v->vcpus->lock);
    v->stuck = true;
    vm_mutex_unlock(&v->vcpus->lock);
}

static void G_GNUC_PRINTF(2, 3)
    vcpu_fail(Vcpu *v, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    vcpu_set_stuck(v);
    v->vcpus->callbacks.internal_error(v->vcpus->opaque, v->index, text);
}

static void vcpu_ask_reset(Vcpu *v, const char *why)
{
    vcpu_set_stuck(v);
    v->vcpus->callbacks.reset_requested(v->vcpus->opaque, v->index, why);
}

static void exit_io(Vcpu *v)
{
    struct kvm_run *run = v->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            address_space_io_write(v->vcpus->ports, run->io.port, data,
                                   run->io.size);
        } else {
            address_space_io_read(v->vcpus->ports, run->io.port, data,
                                  run->io.size);
        }
        data += run->io.size;
    }
}

static void exit_mmio(Vcpu *v)
{
    struct kvm_run *run = v->run;

    if (run->mmio.is_write) {
        address_space_io_write(v->vcpus->memory, run->mmio.phys_addr,
                               run->mmio.data, run->mmio.len);
    } else {
        address_space_io_read(v->vcpus->memory, run->mmio.phys_addr,
                              run->mmio.data, run->mmio.len);
    }
}

static void exit_internal_error(Vcpu *v)
{
    struct kvm_run *run = v->run;
    g_autoptr(GString) bytes = g_string_new(NULL);

    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
        run->internal.ndata >= 3 &&
        (run->emulation_failure.flags &
         KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
        unsigned n = MIN(run->emulation_failure.insn_size,
                         sizeof(run->emulation_failure.insn_bytes));

        for (unsigned i = 0; i < n; i++) {
            g_string_append_printf(bytes, " %02x",
                                   run->emulation_failure.insn_bytes[i]);
        }
    }
    vcpu_fail(v, "KVM internal error, suberror %u, at RIP 0x%" PRIx64 "%s%s",
              run->internal.suberror, guest_rip(v),
              bytes->len ? ", code" : "", bytes->str);
}

static void exit_system_event(Vcpu *v)
{
    uint32_t type = v->run->system_event.type;

    if (type == KVM_SYSTEM_EVENT_RESET || type == KVM_SYSTEM_EVENT_SHUTDOWN) {
        vcpu_ask_reset(v, "reset asked for through KVM");
    } else {
        vcpu_fail(v, "KVM system event %u", type);
    }
}

static void vcpu_handle_exit(Vcpu *v)
{
    switch (v->run->exit_reason) {
    case KVM_EXIT_IO:
        exit_io(v);
        break;
    case KVM_EXIT_MMIO:
        exit_mmio(v);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        break;
    case KVM_EXIT_SHUTDOWN:
        /* Registers tell nothing: on AMD, KVM has reset them already. */
        vcpu_ask_reset(v, "triple fault");
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        exit_system_event(v);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        exit_internal_error(v);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        vcpu_fail(v, "KVM cannot enter the guest: hardware reason 0x%" PRIx64,
                  (uint64_t)v->run->fail_entry.hardware_entry_failure_reason);
        break;
    default:
        vcpu_fail(v, "unexpected KVM exit %u at RIP 0x%" PRIx64,
                  v->run->exit_reason, guest_rip(v));
        break;
    }
}

/*
 * After EINTR, rests if it is time to. The guest is owed nothing then, so
 * that the vCPU counts as parked, and a pause need not wait until its thread
 * has woken. Returns false if one has come.
 */
static bool vcpu_rest(Vcpu *v)
{
    Vcpus *vcpus = v->vcpus;
    bool paused;

    vm_mutex_lock(&vcpus->lock);
    if (!vcpus_are_paused(vcpus)) {
        set_immediate_exit(v, 0); /* (2) */
    }
    v->parked = true; /* (3) */
    vm_cond_broadcast(&vcpus->changed);
    vm_mutex_unlock(&vcpus->lock);
    vcpu_throttle_rest(vcpus->throttle, v->index);
    vm_mutex_lock(&vcpus->lock);
    paused = v->parked = vcpus_are_paused(vcpus);
    vm_mutex_unlock(&vcpus->lock);
    return !paused;
}

/* Runs the guest until a pause or an error ends it. */
static void vcpu_run(Vcpu *v)
{
    while (!v->stuck) { /* own thread sets it: no lock needed to read */
        int r = ioctl(v->fd, KVM_RUN, 0) < 0 ? -errno : 0;

        if (r == 0) {
            vcpu_handle_exit(v);
            if (vcpu_throttle_is_resting(v->vcpus->throttle)) {
                set_immediate_exit(v, 1); /* (2): once that is complete */
            }
        } else if (r == -EINTR) {
            /* Acquire: pairs with the release in vcpus_pause(). */
            if (atomic_load_explicit(&v->vcpus->stop, memory_order_acquire) ||
                !vcpu_rest(v)) {
                return;
            }
        } else if (r != -EAGAIN) { /* EAGAIN: an AP got its SIPI */
            vcpu_fail(v, "KVM_RUN: %s at RIP 0x%" PRIx64, g_strerror(-r),
                      guest_rip(v));
        }
    }
}

/* Parks until there is something to run; false: the end. */
static bool vcpu_park(Vcpu *v)
{
    Vcpus *vcpus = v->vcpus;
    bool quit;

    vm_mutex_lock(&vcpus->lock);
    v->parked = v->stuck || vcpus_are_paused(vcpus); /* (3) */
    vm_cond_broadcast(&vcpus->changed);
    while (v->parked && !vcpus->quit) {
        vm_cond_wait(&vcpus->changed, &vcpus->lock);
    }
    quit = vcpus->quit;
    vm_mutex_unlock(&vcpus->lock);
    return !quit;
}

static void vcpu_thread(void *arg)
{
    Vcpu *v = arg;

    vm_thread_allow_signal(VM_SIG_KICK);
    while (vcpu_park(v)) {
        vcpu_run(v);
    }
}

static bool vcpus_wait_parked_locked(Vcpus *vcpus,
                                     bool (*give_up)(void *opaque),
                                     void *opaque) VM_REQUIRES(vcpus->lock)
{
    for (unsigned i = 0; i < vcpus->count; i++) {
        while (!vcpus->vcpu[i].parked) {
            if (!vm_cond_wait_ns(&vcpus->changed, &vcpus->lock,
                                 PATIENCE_NS) &&
                give_up && give_up(opaque)) {
                return false;
            }
        }
    }
    return true;
}

void vcpus_pause(Vcpus *vcpus)
{
    (void)vcpus_pause_unless(vcpus, NULL, NULL);
}

bool vcpus_pause_unless(Vcpus *vcpus, bool (*give_up)(void *opaque),
                        void *opaque)
{
    bool parked;

    /* Release: pairs with the acquire in vcpu_run(). */
    atomic_store_explicit(&vcpus->stop, true, memory_order_release);
    vm_mutex_lock(&vcpus->lock);
    for (unsigned i = 0; i < vcpus->count; i++) {
        set_immediate_exit(&vcpus->vcpu[i], 1); /* (2) */
    }
    vm_mutex_unlock(&vcpus->lock);
    for (unsigned i = 0; i < vcpus->count; i++) {
        vcpu_kick(&vcpus->vcpu[i]);
    }
    vcpu_throttle_suspend(vcpus->throttle);
    vm_mutex_lock(&vcpus->lock);
    parked = vcpus_wait_parked_locked(vcpus, give_up, opaque);
    vm_mutex_unlock(&vcpus->lock);
    kvm_clock_stop(vcpus->kvm); /* (4) */
    return parked;
}

bool vcpus_are_paused(const Vcpus *vcpus)
{
    return atomic_load_explicit(&vcpus->stop, memory_order_acquire);
}

/* Tells the guest's lockup detectors that it was not running. A guest without
 * kvmclock has nowhere to be told: EINVAL. */
static void vcpu_tell_paused(Vcpu *v)
{
    if (v->vcpus->kvm->caps.kvmclock_ctrl) {
        (void)ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
    }
}

void vcpus_resume(Vcpus *vcpus)
{
    if (!vcpus_are_paused(vcpus)) {
        return;
    }
    kvm_clock_start(vcpus->kvm);
    vm_mutex_lock(&vcpus->lock);
    for (unsigned i = 0; i < vcpus->count; i++) {
        Vcpu *v = &vcpus->vcpu[i];

        set_immediate_exit(v, 0); /* (2) */
        if (v->parked) { /* else it is in KVM, where an ioctl would wait */
            vcpu_tell_paused(v);
            v->stuck = false;
        }
    }
    atomic_store_explicit(&vcpus->stop, false, memory_order_release);
    for (unsigned i = 0; i < vcpus->count; i++) {
        vcpus->vcpu[i].parked = false; /* (3) */
    }
    vm_cond_broadcast(&vcpus->changed);
    vm_mutex_unlock(&vcpus->lock);
    vcpu_throttle_resume(vcpus->throttle);
}

static int64_t throttle_cpu_time_ns(void *opaque, unsigned cpu)
{
    Vcpus *vcpus = opaque;

    return vm_thread_cpu_ns(vcpus->vcpu[cpu].thread);
}

static void throttle_kick(void *opaque, unsigned cpu)
{
    Vcpus *vcpus = opaque;

    vcpu_kick(&vcpus->vcpu[cpu]);
}

static const VcpuThrottleOps throttle_ops = { throttle_cpu_time_ns,
                                              throttle_kick };

/*
 * A run of half a millisecond is ten times what it costs to come and go, so
 * that the share is what it is said to be; else the cycle is short, since a
 * guest's network and clocks bear short rests best. At 99 % it is 50 ms.
 */
static const VcpuThrottleTimes throttle_times = {
    .cycle_ns = 10 * VM_NS_PER_MS,
    .run_min_ns = VM_NS_PER_MS / 2,
    .look_ns = 2 * VM_NS_PER_MS,
    .awake_ns = VM_NS_PER_MS / 10,
};

void vcpus_set_throttle(Vcpus *vcpus, unsigned percent)
{
    vcpu_throttle_set(vcpus->throttle, percent);
}

/*
 * Memory is write-back from the start where no firmware runs that would say
 * so; Linux otherwise warns and leaves page attributes off.
 */
static int vcpu_enable_mtrr(Vcpu *v)
{
    MsrBatch msr = { .nmsrs = 1,
                     .entries[0] = { .index = MSR_MTRR_DEFAULT_TYPE,
                                     .data = MTRR_ENABLED_WRITE_BACK } };

    return MIN(KVM_CALL(v->fd, KVM_SET_MSRS, &msr), 0);
}

static int vcpu_boot(Vcpu *v, const VcpuBootState *boot)
{
    struct kvm_regs regs = v->power_on.regs;
    struct kvm_sregs2 sregs = v->power_on.sregs;
    int r;

    vcpu_boot_apply(boot, &regs, &sregs);
    r = KVM_CALL(v->fd, KVM_SET_SREGS2, &sregs);
    return r < 0 ? r : KVM_CALL(v->fd, KVM_SET_REGS, &regs);
}

bool vcpus_reset(Vcpus *vcpus, const VcpuBootState *boot, GError **errp)
{
    g_assert(vcpus_are_paused(vcpus));
    for (unsigned i = 0; i < vcpus->count; i++) {
        Vcpu *v = &vcpus->vcpu[i];
        int r = vcpu_state_push(&v->power_on, VCPU_PUSH_RESET);

        if (r == 0 && boot) {
            r = vcpu_enable_mtrr(v);
        }
        if (r == 0 && boot && i == 0) {
            r = vcpu_boot(v, boot);
        }
        if (r < 0) {
            return vm_error_set(errp, -r, "cannot reset CPU %u", i);
        }
    }
    return true;
}

unsigned vcpus_count(const Vcpus *vcpus)
{
    return vcpus->count;
}

int vcpus_thread_id(const Vcpus *vcpus, unsigned cpu)
{
    g_assert(cpu < vcpus->count);
    return vm_thread_tid(vcpus->vcpu[cpu].thread);
}

void *vcpus_state(Vcpus *vcpus, unsigned cpu)
{
    g_assert(cpu < vcpus->count);
    return &vcpus->vcpu[cpu].state;
}

/* QEMU's words, a line for each feature. */
static bool report_missing(const CpuSpec *spec, const CpuWords *missing,
                           GError **errp)
{
    bool any = false;

    for (CpuWord w = 0; w < CPU_WORD__COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            if (missing->w[w] & (UINT32_C(1) << bit)) {
                g_autofree char *name = cpu_feature_describe(w, bit);

                vm_warn("host doesn't support requested feature: %s", name);
                any = true;
            }
        }
    }
    return any && spec->enforce
               ? vm_error_set(errp, 0,
                              "Host doesn't support requested features")
               : true;
}

static bool vcpu_create(Vcpu *v, GError **errp)
{
    KvmVm *kvm = v->vcpus->kvm;

    v->fd = KVM_CALL(kvm->vm_fd, KVM_CREATE_VCPU, v->index);
    if (v->fd < 0) {
        return vm_error_set(errp, -v->fd, "cannot make CPU %u", v->index);
    }
    v->run = mmap(NULL, (size_t)kvm->run_bytes, PROT_READ | PROT_WRITE,
                  MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        return vm_error_set(errp, errno, "cannot map the state of CPU %u",
                            v->index);
    }
    return true;
}

/* Machine checks as on QEMU's CPUs: ten banks, one control register. */
static void vcpu_setup_mce(Vcpu *v, const CpuWords *words)
{
    const uint32_t needs = UINT32_C(1) << 7 | UINT32_C(1) << 14;
    uint64_t mcg_cap = MCE_BANKS | MCG_CTL_P;

    if ((words->w[CPU_WORD_1_EDX] & needs) == needs) {
        /* A kernel that refuses keeps its own number of banks. */
        (void)KVM_CALL(v->fd, KVM_X86_SETUP_MCE, &mcg_cap);
    }
}

static bool vcpu_setup(Vcpu *v, const CpuSpec *spec, const CpuHost *host,
                       const CpuWords *words, GError **errp)
{
    Vcpus *vcpus = v->vcpus;
    int r;

    v->cpuid = cpu_cpuid_new(spec, host, words, v->index, vcpus->count);
    r = KVM_CALL(v->fd, KVM_SET_CPUID2, v->cpuid);
    if (r < 0) {
        return vm_error_set(errp, -r, "CPU %u: KVM_SET_CPUID2", v->index);
    }
    vcpu_setup_mce(v, words);
    if (v->index == 0) {
        r = vcpu_msr_list_probe(vcpus->kvm, v->fd, &vcpus->msr_list);
        if (r < 0) {
            return vm_error_set(errp, -r, "KVM_GET_MSR_INDEX_LIST");
        }
    }
    vcpu_state_init(&v->state, v->index, v->fd, &vcpus->kvm->caps,
                    &vcpus->msr_list, v->cpuid);
    vcpu_state_init(&v->power_on, v->index, v->fd, &vcpus->kvm->caps,
                    &vcpus->msr_list, v->cpuid);
    r = vcpu_state_pull(&v->power_on);
    if (r < 0) {
        return vm_error_set(errp, -r, "cannot read the state of CPU %u",
                            v->index);
    }
    return true;
}

static bool vcpus_setup(Vcpus *vcpus, const char *model, GError **errp)
{
    g_autofree struct kvm_cpuid2 *supported = NULL;
    CpuHost host = {
        .tsc_deadline_timer = vcpus->kvm->caps.tsc_deadline_timer
    };
    CpuSpec spec;
    CpuWords words, missing;

    if (!cpu_spec_parse(model, &spec, errp)) {
        return false;
    }
    supported = kvm_read_supported_cpuid(vcpus->kvm->dev_fd, errp);
    if (!supported) {
        return false;
    }
    host.supported = supported;
    cpu_read_host_brand(host.brand);
    cpu_spec_resolve(&spec, &host, &words, &missing);
    if (!report_missing(&spec, &missing, errp)) {
        return false;
    }
    for (unsigned i = 0; i < vcpus->count; i++) {
        Vcpu *v = &vcpus->vcpu[i];

        if (!vcpu_create(v, errp) ||
            !vcpu_setup(v, &spec, &host, &words, errp)) {
            return false;
        }
    }
    return true;
}

static void vcpus_start_threads(Vcpus *vcpus)
{
    install_kick_handler();
    for (unsigned i = 0; i < vcpus->count; i++) {
        g_autofree char *name = g_strdup_printf("CPU %u/KVM", i);

        vcpus->vcpu[i].thread =
            vm_thread_new(name, vcpu_thread, &vcpus->vcpu[i]);
    }
    vm_mutex_lock(&vcpus->lock);
    (void)vcpus_wait_parked_locked(vcpus, NULL, NULL);
    vm_mutex_unlock(&vcpus->lock);
}

Vcpus *vcpus_new(KvmVm *kvm, AddressSpace *memory, AddressSpace *ports,
                 unsigned count, const char *model, const VcpuCallbacks *cb,
                 void *opaque, GError **errp)
{
    g_autoptr(Vcpus) vcpus = g_new0(Vcpus, 1);
    unsigned max = MIN(kvm->caps.max_vcpus, VCPUS_MAX);

    vcpus->kvm = kvm;
    vcpus->memory = memory;
    vcpus->ports = ports;
    vcpus->callbacks = *cb;
    vcpus->opaque = opaque;
    vm_mutex_init(&vcpus->lock, VM_RANK_VCPU);
    vm_cond_init(&vcpus->changed);
    atomic_init(&vcpus->stop, true);
    if (count == 0 || count > max) {
        vm_error_set(errp, 0, "%u CPUs: must be 1 to %u", count, max);
        return NULL;
    }
    vcpus->count = count;
    vcpus->vcpu = g_new0(Vcpu, count);
    for (unsigned i = 0; i < count; i++) {
        vcpus->vcpu[i].vcpus = vcpus;
        vcpus->vcpu[i].index = i;
        vcpus->vcpu[i].fd = -1;
    }
    vcpus->throttle = vcpu_throttle_new(count, &throttle_times, &throttle_ops,
                                        vcpus);
    vcpu_throttle_suspend(vcpus->throttle); /* as stop is set */
    if (!vcpus_setup(vcpus, model, errp)) {
        return NULL;
    }
    vcpus_start_threads(vcpus);
    return g_steal_pointer(&vcpus);
}

static void vcpu_done(Vcpu *v)
{
    if (v->run) {
        (void)munmap(v->run, (size_t)v->vcpus->kvm->run_bytes);
    }
    vm_close_fd(&v->fd);
    vcpu_state_done(&v->state);
    vcpu_state_done(&v->power_on);
    g_free(v->cpuid);
}

static void vcpus_join(Vcpus *vcpus)
{
    vcpus_pause(vcpus);
    vm_mutex_lock(&vcpus->lock);
    vcpus->quit = true;
    vm_cond_broadcast(&vcpus->changed);
    vm_mutex_unlock(&vcpus->lock);
    for (unsigned i = 0; i < vcpus->count; i++) {
        vm_thread_join(vcpus->vcpu[i].thread);
    }
}

void vcpus_free(Vcpus *vcpus)
{
    if (!vcpus) {
        return;
    }
    /* All threads exist or none does: making one cannot fail. */
    if (vcpus->vcpu && vcpus->vcpu[0].thread) {
        vcpus_join(vcpus);
    }
    vcpu_throttle_free(vcpus->throttle);
    for (unsigned i = 0; i < vcpus->count; i++) {
        vcpu_done(&vcpus->vcpu[i]);
    }
    g_free(vcpus->vcpu);
    vm_cond_done(&vcpus->changed);
    vm_mutex_done(&vcpus->lock);
    g_free(vcpus);
}
