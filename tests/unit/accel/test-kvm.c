/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The accelerator against the kernel's real KVM, with guests of a few
 * instructions that check what they see.
 *
 * The sequence guest keeps a count in a register. Each round it writes the
 * count to a port and to MMIO, and reads both back from devices that answer
 * with counts of their own, and count the reads; any exit that is lost,
 * repeated or answered twice breaks one of the sequences, and the guest says
 * so on the error port, or the devices see it. It is paused, resumed and moved
 * to other VMs in mid-flight.
 *
 * Skipped, with the reason, where /dev/kvm cannot be used.
 */
#include <errno.h>
#include <glib.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "accel/vcpu.h"
#include "kvm-internal.h"
#include "memory/dma.h"
#include "memory/fault-service.h"
#include "util/bits.h"
#include "util/clock.h"
#include "util/thread.h"
#include "vcpu-internal.h"
#include "wire.h"

#define RAM_BYTES (4u << 20)
#define CODE_GPA 0x10000u
#define AP_CODE_GPA 0x8000u
#define BSP_COUNTER_GPA 0x3000u
#define AP_COUNTER_GPA 0x5000u
#define STRING_GPA 0x6000u
#define DIRTY_GPA 0x100000u
#define DIRTY_PAGES 64u
#define TABLES_GPA 0x20000u
#define MMIO_GPA 0xd0000000u
#define SEQUENCE_PORT 0x510u
#define DONE_PORT 0x518u
#define ERROR_PORT 0x51cu
#define TIMEOUT_NS (60 * VM_NS_PER_SEC)

/* clang-format off */
__asm__(
    ".pushsection .rodata\n"
    ".globl guest_sequence, guest_sequence_end\n"
    ".code32\n"
    "guest_sequence:\n"
    "    movw $0x510, %dx\n"
    "    xorl %ebx, %ebx\n"         /* rounds done */
    "1:  incl %ebx\n"
    "    movl %ebx, %eax\n"
    "    outl %eax, %dx\n"
    "    movl %ebx, 0xd0000000\n"
    "    inl %dx, %eax\n"
    "    cmpl %ebx, %eax\n"
    "    jne 2f\n"
    "    cmpl 0xd0000000, %ebx\n"
    "    jne 2f\n"
    "    movl %ebx, 0x3000\n"
    "    jmp 1b\n"
    "2:  movw $0x51c, %dx\n"
    "    outl %eax, %dx\n"
    "3:  jmp 3b\n"
    "guest_sequence_end:\n"

    /* The same in 64-bit mode, with the count in %r15. No SSE: KVM may have
     * to emulate what runs in ring 0, and emulates little of that. */
    ".globl guest_sequence64, guest_sequence64_end\n"
    ".code64\n"
    "guest_sequence64:\n"
    "    movl $0xd0000000, %edi\n"
    "    movw $0x510, %dx\n"
    "    xorl %r15d, %r15d\n"
    "1:  incl %r15d\n"
    "    movl %r15d, %eax\n"
    "    outl %eax, %dx\n"
    "    movl %r15d, (%rdi)\n"
    "    inl %dx, %eax\n"
    "    cmpl %r15d, %eax\n"
    "    jne 2f\n"
    "    cmpl (%rdi), %r15d\n"
    "    jne 2f\n"
    "    movl %r15d, 0x3000\n"
    "    jmp 1b\n"
    "2:  movw $0x51c, %dx\n"
    "    outl %eax, %dx\n"
    "3:  jmp 3b\n"
    "guest_sequence64_end:\n"

    /* String output of 5 bytes, odd widths, unowned places. */
    ".globl guest_io, guest_io_end\n"
    ".code32\n"
    "guest_io:\n"
    "    cld\n"
    "    movl $0x6000, %esi\n"
    "    movl $5, %ecx\n"
    "    movw $0x510, %dx\n"
    "    rep outsb\n"
    "    movl $0x6100, %edi\n"
    "    movl $3, %ecx\n"
    "    rep insb\n"
    "    movw $0x700, %dx\n"        /* nobody's port */
    "    movl $0, %eax\n"
    "    inl %dx, %eax\n"
    "    movl %eax, 0x6200\n"
    "    movl 0xe0000000, %eax\n"   /* nobody's memory */
    "    movl %eax, 0x6204\n"
    "    movb $0x5a, 0xd0000003\n"
    "    movzwl 0xd0000002, %eax\n"
    "    movl %eax, 0x6208\n"
    "    movw $0x518, %dx\n"
    "    outb %al, %dx\n"
    "1:  jmp 1b\n"
    "guest_io_end:\n"

    /* Starts CPU 1 by INIT and SIPI (vector 8), then counts. */
    ".globl guest_smp, guest_smp_end\n"
    "guest_smp:\n"
    "    movl $0xfee00300, %edi\n"
    "    movl $0x01000000, 0xfee00310\n"
    "    movl $0x00004500, (%edi)\n"
    "    movl $0x01000000, 0xfee00310\n"
    "    movl $0x00004608, (%edi)\n"
    "1:  incl 0x3000\n"
    "    jmp 1b\n"
    "guest_smp_end:\n"

    ".globl guest_ap, guest_ap_end\n"
    ".code16\n"
    "guest_ap:\n"
    "    xorw %ax, %ax\n"
    "    movw %ax, %ds\n"
    "1:  incl 0x5000\n"
    "    jmp 1b\n"
    "guest_ap_end:\n"

    /* Stays in the device's handler until it is let go; counts how often. */
    ".globl guest_hold, guest_hold_end\n"
    ".code32\n"
    "guest_hold:\n"
    "    movw $0x518, %dx\n"
    "1:  outl %eax, %dx\n"
    "    incl 0x3000\n"
    "    jmp 1b\n"
    "guest_hold_end:\n"

    /* Writes to each second of 64 pages, says so, waits, does it again. */
    ".globl guest_dirty, guest_dirty_end\n"
    ".code32\n"
    "guest_dirty:\n"
    "1:  movl $0x100000, %edi\n"
    "    movl $32, %ecx\n"
    "2:  incl (%edi)\n"
    "    addl $0x2000, %edi\n"
    "    decl %ecx\n"
    "    jnz 2b\n"
    "    movw $0x518, %dx\n"
    "    outl %eax, %dx\n"
    "    jmp 1b\n"
    "guest_dirty_end:\n"

    /* The same once more, in 64-bit mode and without ports: for ring 3. */
    ".globl guest_dirty64, guest_dirty64_end\n"
    ".code64\n"
    "guest_dirty64:\n"
    "    movl $0xd0001000, %esi\n"
    "1:  movl $0x100000, %edi\n"
    "    movl $32, %ecx\n"
    "2:  incl (%rdi)\n"
    "    addl $0x2000, %edi\n"
    "    decl %ecx\n"
    "    jnz 2b\n"
    "    movl %eax, (%rsi)\n"
    "    jmp 1b\n"
    "guest_dirty64_end:\n"

    /* No IDT, and then an exception. */
    ".globl guest_crash, guest_crash_end\n"
    ".code32\n"
    "guest_crash:\n"
    "    ud2\n"
    "guest_crash_end:\n"
    ".code64\n"
    ".popsection\n");
/* clang-format on */

#define GUEST(name) extern const uint8_t name[], name##_end[]
GUEST(guest_sequence);
GUEST(guest_sequence64);
GUEST(guest_io);
GUEST(guest_smp);
GUEST(guest_hold);
GUEST(guest_ap);
GUEST(guest_dirty);
GUEST(guest_dirty64);
GUEST(guest_crash);
#define LOAD(vm, gpa, name) \
    vm_write((vm), (gpa), name, (size_t)(name##_end - name))

/* What the devices share; survives a move from VM to VM. */
typedef struct Devices {
    _Atomic uint32_t port_written, mmio_written;
    _Atomic uint32_t port_reads, mmio_reads; /* as many */
    _Atomic uint32_t bad;  /* sequence errors seen by the devices */
    _Atomic uint32_t errors; /* writes to the error port */
    _Atomic uint32_t done; /* writes to the done port */
    _Atomic uint32_t resets, failures;
    _Atomic uint32_t hold; /* done port waits until it is cleared */
    _Atomic uint32_t let_go; /* and waits no more from then on */
    uint8_t bytes[16];
    unsigned n_bytes;
    uint8_t mmio[16];
    bool sequence; /* ports and MMIO expect the sequence guest */
} Devices;

typedef struct Vm {
    KvmVm *kvm;
    AddressSpace *memory, *ports;
    RamBlock *ram;
    Vcpus *vcpus;
    Devices *devices;
    IoRegion sequence_port, done_port, error_port, mmio, done_mmio;
} Vm;

static uint64_t sequence_read(void *opaque, uint64_t offset, unsigned size)
{
    Devices *d = opaque;

    if (d->sequence) {
        d->bad += ++d->port_reads != d->port_written;
        return d->port_written;
    }
    return 0xa0 + d->n_bytes++;
}

static void sequence_write(void *opaque, uint64_t offset, uint64_t value,
                           unsigned size)
{
    Devices *d = opaque;

    if (d->sequence) {
        d->bad += value != d->port_written + 1;
        d->port_written = (uint32_t)value;
    } else if (d->n_bytes < sizeof(d->bytes)) {
        d->bytes[d->n_bytes++] = (uint8_t)value;
    }
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    Devices *d = opaque;
    uint64_t value = 0;

    if (d->sequence) {
        d->bad += ++d->mmio_reads != d->mmio_written;
        return d->mmio_written;
    }
    memcpy(&value, d->mmio + offset, size);
    return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value,
                       unsigned size)
{
    Devices *d = opaque;

    if (d->sequence) {
        d->bad += value != d->mmio_written + 1;
        d->mmio_written = (uint32_t)value;
    } else {
        memcpy(d->mmio + offset, &value, size);
    }
}

static uint64_t no_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void done_write(void *opaque, uint64_t offset, uint64_t value,
                       unsigned size)
{
    Devices *d = opaque;

    d->hold = 1;
    d->done++;
    while (d->hold && !d->let_go) {
        g_thread_yield();
    }
}

static void error_write(void *opaque, uint64_t offset, uint64_t value,
                        unsigned size)
{
    Devices *d = opaque;

    d->errors++;
}

static const IoRegionOps sequence_ops = { sequence_read, sequence_write };
static const IoRegionOps done_ops = { no_read, done_write };
static const IoRegionOps error_ops = { no_read, error_write };
static const IoRegionOps mmio_ops = { mmio_read, mmio_write };

static void on_reset(void *opaque, unsigned cpu, const char *text)
{
    ((Devices *)opaque)->resets++;
}

static void on_error(void *opaque, unsigned cpu, const char *text)
{
    g_test_message("CPU %u: %s", cpu, text);
    ((Devices *)opaque)->failures++;
}

static Vm *vm_new(Devices *devices, unsigned cpus, const char *model)
{
    static const VcpuCallbacks callbacks = { on_reset, on_error };
    GError *error = NULL;
    Vm *vm = g_new0(Vm, 1);

    vm->devices = devices;
    vm->kvm = kvm_vm_new(&error);
    g_assert_no_error(error);
    vm->memory = address_space_new(AS_MEMORY);
    vm->ports = address_space_new(AS_PORTS);
    vm->ram = ram_block_new("ram", RAM_BYTES, &error);
    g_assert_no_error(error);
    vm->sequence_port =
        (IoRegion){ "sequence", &sequence_ops, devices, 4, NULL };
    vm->done_port = (IoRegion){ "done", &done_ops, devices, 4, NULL };
    vm->error_port = (IoRegion){ "error", &error_ops, devices, 4, NULL };
    vm->mmio = (IoRegion){ "mmio", &mmio_ops, devices, 16, NULL };
    vm->done_mmio = (IoRegion){ "done", &done_ops, devices, 4, NULL };
    /* Two mappings, so that there are two slots of one block. */
    g_assert_cmpint(address_space_map_ram(vm->memory, 0, vm->ram, 0, 1 << 20),
                    ==, 0);
    g_assert_cmpint(address_space_map_ram(vm->memory, 1 << 20, vm->ram,
                                          1 << 20, RAM_BYTES - (1 << 20)),
                    ==, 0);
    g_assert_cmpint(
        address_space_map_io(vm->memory, MMIO_GPA, &vm->mmio), ==, 0);
    g_assert_cmpint(address_space_map_io(vm->memory, MMIO_GPA + 0x1000,
                                         &vm->done_mmio),
                    ==, 0);
    g_assert_cmpint(address_space_map_io(vm->ports, SEQUENCE_PORT,
                                         &vm->sequence_port),
                    ==, 0);
    g_assert_cmpint(
        address_space_map_io(vm->ports, DONE_PORT, &vm->done_port), ==, 0);
    g_assert_cmpint(
        address_space_map_io(vm->ports, ERROR_PORT, &vm->error_port), ==, 0);
    kvm_vm_set_memory(vm->kvm, vm->memory, &error);
    g_assert_no_error(error);
    vm->vcpus = vcpus_new(vm->kvm, vm->memory, vm->ports, cpus, model,
                          &callbacks, devices, &error);
    g_assert_no_error(error);
    return vm;
}

static void vm_free(Vm *vm)
{
    vm->devices->let_go = 1; /* also in a round that begins meanwhile */
    vcpus_free(vm->vcpus);
    kvm_vm_free(vm->kvm);
    address_space_free(vm->memory);
    address_space_free(vm->ports);
    ram_block_free(vm->ram);
    g_free(vm);
}

static void vm_write(Vm *vm, GuestAddr gpa, const void *bytes, size_t len)
{
    g_assert_cmpint(dma_write(vm->memory, gpa, bytes, len), ==, 0);
}

static uint32_t vm_u32(Vm *vm, GuestAddr gpa)
{
    uint32_t value = 0;

    g_assert_cmpint(dma_load_u32(vm->memory, gpa, &value), ==, 0);
    return value;
}

static void vm_boot(Vm *vm)
{
    const VcpuBootState boot = { .rip = CODE_GPA,
                                 .code_selector = 0x10,
                                 .data_selector = 0x18 };
    GError *error = NULL;

    kvm_vm_reset_chips(vm->kvm);
    vcpus_reset(vm->vcpus, &boot, &error);
    g_assert_no_error(error);
}

/* 64-bit mode with the first 4 GiB mapped to themselves, for ring 3 too, by
 * 2 MiB pages. */
static void vm_boot64(Vm *vm)
{
    const VcpuBootState boot = { .long_mode = true,
                                 .rip = CODE_GPA,
                                 .cr3 = TABLES_GPA,
                                 .code_selector = 0x10,
                                 .data_selector = 0x18 };
    GError *error = NULL;
    uint64_t entry = (TABLES_GPA + 0x1000) | 7;

    vm_write(vm, TABLES_GPA, &entry, sizeof(entry));
    for (uint64_t g = 0; g < 4; g++) {
        entry = (TABLES_GPA + 0x2000 + g * 0x1000) | 7;
        vm_write(vm, TABLES_GPA + 0x1000 + g * 8, &entry, sizeof(entry));
        for (uint64_t m = 0; m < 512; m++) {
            entry = (g << 30 | m << 21) | 0x87;
            vm_write(vm, TABLES_GPA + 0x2000 + g * 0x1000 + m * 8, &entry,
                     sizeof(entry));
        }
    }
    vcpus_reset(vm->vcpus, &boot, &error);
    g_assert_no_error(error);
}

static void wait_above(_Atomic uint32_t *value, uint32_t than)
{
    int64_t until = vm_clock_ns() + TIMEOUT_NS;

    while (*value <= than) {
        g_assert_cmpint(vm_clock_ns(), <, until);
        g_usleep(100);
    }
}

static void wait_guest_above(Vm *vm, GuestAddr gpa, uint32_t than)
{
    int64_t until = vm_clock_ns() + TIMEOUT_NS;

    while (vm_u32(vm, gpa) <= than) {
        g_assert_cmpint(vm_clock_ns(), <, until);
        g_usleep(100);
    }
}

static void restart_sequence(Devices *d)
{
    d->port_written = d->mmio_written = 0;
    d->port_reads = d->mmio_reads = 0;
}

static void check_sequence(const Devices *d)
{
    g_assert_cmpuint(d->bad, ==, 0);
    g_assert_cmpuint(d->errors, ==, 0);
    g_assert_cmpuint(d->failures, ==, 0);
    g_assert_cmpuint(d->resets, ==, 0);
}

/* Strings, widths and holes reach the devices as the guest meant them. */
static void test_io(void)
{
    Devices d = { 0 };
    Vm *vm = vm_new(&d, 1, "qemu64");

    LOAD(vm, CODE_GPA, guest_io);
    vm_write(vm, STRING_GPA, "hello", 5);
    vm_boot(vm);
    vcpus_resume(vm->vcpus);
    wait_above(&d.done, 0);
    g_assert_cmpmem(d.bytes, 5, "hello", 5);
    g_assert_cmpuint(vm_u32(vm, 0x6100), ==, 0xa7a6a5);
    g_assert_cmphex(vm_u32(vm, 0x6200), ==, 0xffffffff);
    g_assert_cmphex(vm_u32(vm, 0x6204), ==, 0xffffffff);
    g_assert_cmphex(vm_u32(vm, 0x6208), ==, 0x5a00);
    g_assert_cmpuint(d.failures, ==, 0);
    vm_free(vm);
}

/* The second CPU starts by INIT and SIPI only, and both run. */
static void test_smp(void)
{
    Devices d = { 0 };
    Vm *vm = vm_new(&d, 2, "qemu64");

    g_assert_cmpuint(vcpus_count(vm->vcpus), ==, 2);
    g_assert_cmpint(vcpus_thread_id(vm->vcpus, 0), !=,
                    vcpus_thread_id(vm->vcpus, 1));
    LOAD(vm, CODE_GPA, guest_smp);
    LOAD(vm, AP_CODE_GPA, guest_ap);
    vm_boot(vm);
    g_assert_true(vcpus_are_paused(vm->vcpus));
    vcpus_resume(vm->vcpus);
    wait_guest_above(vm, BSP_COUNTER_GPA, 100);
    wait_guest_above(vm, AP_COUNTER_GPA, 100);
    g_assert_cmpuint(d.failures, ==, 0);
    vm_free(vm);
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* Returns the median duration of a pause. */
static int64_t pause_resume(const char *model, bool long_mode, unsigned times,
                            unsigned throttle)
{
    g_autofree int64_t *took_ns = g_new0(int64_t, times);
    Devices d = { .sequence = true };
    Vm *vm = vm_new(&d, 1, model);
    int64_t start;

    if (long_mode) {
        LOAD(vm, CODE_GPA, guest_sequence64);
        vm_boot64(vm);
    } else {
        LOAD(vm, CODE_GPA, guest_sequence);
        vm_boot(vm);
    }
    vcpus_set_throttle(vm->vcpus, throttle);
    start = vm_clock_ns();
    for (unsigned i = 0; i < times; i++) {
        uint32_t seen;

        vcpus_resume(vm->vcpus);
        if (i % 16 == 0) {
            wait_above(&d.port_written, d.port_written);
        }
        if (throttle) {
            g_usleep(200 * (i % 8)); /* most are at rest then */
        }
        took_ns[i] = vm_clock_ns();
        vcpus_pause(vm->vcpus);
        took_ns[i] = vm_clock_ns() - took_ns[i];
        seen = d.port_written;
        vcpus_pause(vm->vcpus); /* idempotent */
        g_assert_true(vcpus_are_paused(vm->vcpus));
        g_assert_cmpuint(d.port_written, ==, seen);
        check_sequence(&d);
    }
    qsort(took_ns, times, sizeof(*took_ns), compare_ns);
    g_test_message("%u pauses in %" G_GINT64_FORMAT " ms, %u rounds; median "
                   "%" G_GINT64_FORMAT " us, longest %" G_GINT64_FORMAT " us",
                   times, (int64_t)((vm_clock_ns() - start) / VM_NS_PER_MS),
                   d.port_written, took_ns[times / 2] / 1000,
                   took_ns[times - 1] / 1000);
    g_assert_cmpuint(d.port_written, >, times / 16);
    vm_free(vm);
    return took_ns[times / 2];
}

static bool give_up(void *opaque)
{
    return true;
}

/*
 * A vCPU that cannot be paused, since its exit does not end: the controller
 * gives up, and may let the VM go on before the vCPU has noticed. Whichever
 * way the two race, the vCPU runs afterwards, and pauses when told to.
 */
static void pause_given_up(unsigned throttle)
{
    Devices d = { 0 };
    Vm *vm = vm_new(&d, 1, "qemu64");

    LOAD(vm, CODE_GPA, guest_hold);
    vm_boot(vm);
    vcpus_set_throttle(vm->vcpus, throttle);
    vcpus_resume(vm->vcpus);
    for (unsigned i = 0; i < 40; i++) {
        wait_above(&d.done, i);
        g_assert_false(vcpus_pause_unless(vm->vcpus, give_up, NULL));
        g_assert_true(vcpus_are_paused(vm->vcpus));
        if (i % 2 == 0) {
            vcpus_resume(vm->vcpus);
            d.hold = 0;
        } else {
            d.hold = 0;
            if (i % 4 == 1) {
                g_usleep(i * 10);
            } else {
                vcpus_pause(vm->vcpus);
                g_assert_cmpuint(d.done, ==, i + 1);
            }
            vcpus_resume(vm->vcpus);
        }
    }
    d.let_go = 1;
    wait_guest_above(vm, BSP_COUNTER_GPA, 100);
    g_assert_cmpuint(d.failures, ==, 0);
    vm_free(vm);
}

static void test_pause_given_up(void)
{
    pause_given_up(0);
}

static void test_throttle_pause_given_up(void)
{
    pause_given_up(50);
}

static void test_pause(void)
{
    pause_resume("qemu64", /* long_mode= */ false, 1000, 0);
}

static void test_pause_host(void)
{
    pause_resume("host", /* long_mode= */ true, 200, 0);
}

/* A pause ends a rest, which else lasts 50 ms, and loses nothing. */
static void test_throttle_pause(void)
{
    g_assert_cmpint(pause_resume("qemu64", /* long_mode= */ false, 400, 99),
                    <, 10 * VM_NS_PER_MS);
}

/* Of a thread of this process; the clock's number is the kernel's ABI. */
static int64_t thread_cpu_ns(int tid)
{
    struct timespec t;

    g_assert_cmpint(clock_gettime((clockid_t)((~(unsigned)tid << 3) | 6), &t),
                    ==, 0);
    return t.tv_sec * VM_NS_PER_SEC + t.tv_nsec;
}

/* How often a thread has gone to sleep. */
static guint64 thread_sleeps(int tid)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/status", tid);
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "\nvoluntary_ctxt_switches:");
    g_assert_nonnull(line);
    return g_ascii_strtoull(strchr(line, ':') + 1, NULL, 10);
}

/* The share of a CPU, in percent, that a vCPU uses during some time. */
static double used_percent(Vm *vm, unsigned cpu, int64_t ns)
{
    int tid = vcpus_thread_id(vm->vcpus, cpu);
    int64_t start_ns = vm_clock_ns();
    int64_t cpu_ns = thread_cpu_ns(tid);

    g_usleep((gulong)(ns / 1000));
    cpu_ns = thread_cpu_ns(tid) - cpu_ns;
    return (double)cpu_ns * 100 / (double)(vm_clock_ns() - start_ns);
}

/* A busy host may give a vCPU much less, or let it run on for a while. */
static void expect_share(Vm *vm, double low, double high)
{
    double used = 0;

    for (unsigned i = 0; i < 10; i++) {
        used = used_percent(vm, 0, VM_NS_PER_SEC / 2);
        if (used >= low && used <= high) {
            g_test_message("%.1f %%", used);
            return;
        }
    }
    g_test_message("%.1f %% is not in %.1f to %.1f", used, low, high);
    g_test_fail();
}

/* A vCPU runs for the rest of its time, one that sleeps is not woken for it,
 * and a guest that counts its exits finds none missing. */
static void test_throttle_share(void)
{
    Devices d = { .sequence = true };
    Vm *vm = vm_new(&d, 2, "qemu64"); /* CPU 1 waits for a SIPI */
    int sleeper = vcpus_thread_id(vm->vcpus, 1);
    guint64 sleeps;

    LOAD(vm, CODE_GPA, guest_sequence);
    vm_boot(vm);
    vcpus_set_throttle(vm->vcpus, 50);
    vcpus_resume(vm->vcpus);
    wait_above(&d.port_written, 100);
    sleeps = thread_sleeps(sleeper);
    expect_share(vm, 2, 65);
    vcpus_set_throttle(vm->vcpus, 90);
    expect_share(vm, 0.5, 25);
    vcpus_set_throttle(vm->vcpus, 99);
    expect_share(vm, 0.1, 10);
    /* There were more than a hundred rests. */
    g_assert_cmpuint(thread_sleeps(sleeper), <, sleeps + 20);
    vcpus_set_throttle(vm->vcpus, 0);
    expect_share(vm, 5, 101);
    vcpus_pause(vm->vcpus);
    check_sequence(&d);
    vm_free(vm);
}

/* Two CPUs; one of them waits for a SIPI that never comes. */
static void test_pause_waiting_ap(void)
{
    Devices d = { .sequence = true };
    Vm *vm = vm_new(&d, 2, "max");

    LOAD(vm, CODE_GPA, guest_sequence);
    vm_boot(vm);
    for (unsigned i = 0; i < 50; i++) {
        vcpus_resume(vm->vcpus);
        wait_above(&d.port_written, d.port_written);
        vcpus_pause(vm->vcpus);
    }
    check_sequence(&d);
    vm_free(vm);
}

static GByteArray *vm_save(Vm *vm)
{
    GByteArray *wire = g_byte_array_new();

    for (unsigned i = 0; i < vcpus_count(vm->vcpus); i++) {
        g_assert_cmpint(
            wire_save(&vcpu_vmstate, vcpus_state(vm->vcpus, i), wire), ==, 0);
    }
    g_assert_cmpint(wire_save(&kvm_vm_vmstate, kvm_vm_state(vm->kvm), wire),
                    ==, 0);
    return wire;
}

static void vm_load(Vm *vm, const GByteArray *wire)
{
    size_t at = 0;

    for (unsigned i = 0; i < vcpus_count(vm->vcpus); i++) {
        g_assert_cmpint(wire_load(&vcpu_vmstate, vcpus_state(vm->vcpus, i),
                                  wire, &at),
                        ==, 0);
    }
    g_assert_cmpint(
        wire_load(&kvm_vm_vmstate, kvm_vm_state(vm->kvm), wire, &at), ==, 0);
    g_assert_cmpuint(at, ==, wire->len);
}

static Vm *vm_hop(Vm *from, const char *model)
{
    Vm *to = vm_new(from->devices, vcpus_count(from->vcpus), model);
    g_autoptr(GByteArray) wire = NULL;

    vcpus_pause(from->vcpus);
    wire = vm_save(from);
    memcpy(ram_block_hva(to->ram), ram_block_hva(from->ram), RAM_BYTES);
    vm_free(from);
    vm_load(to, wire);
    vcpus_resume(to->vcpus);
    return to;
}

static void hop(const char *model, bool long_mode, unsigned times,
                unsigned throttle)
{
    Devices d = { .sequence = true };
    Vm *vm = vm_new(&d, 2, model);

    if (long_mode) {
        LOAD(vm, CODE_GPA, guest_sequence64);
        vm_boot64(vm);
    } else {
        LOAD(vm, CODE_GPA, guest_sequence);
        vm_boot(vm);
    }
    vcpus_resume(vm->vcpus);
    for (unsigned i = 0; i < times; i++) {
        vcpus_set_throttle(vm->vcpus, throttle);
        wait_above(&d.port_written, d.port_written + i % 4);
        vm = vm_hop(vm, model);
    }
    wait_above(&d.port_written, d.port_written + 10);
    vcpus_pause(vm->vcpus);
    check_sequence(&d);
    vm_free(vm);
}

/* A guest that moves from VM to VM in mid-flight never notices. */
static void test_hop(void)
{
    hop("qemu64", /* long_mode= */ false, 20, 0);
}

/* Nor does one that rests, and is saved out of its rest. */
static void test_throttle_hop(void)
{
    hop("qemu64", /* long_mode= */ false, 20, 95);
}

static void test_hop64(void)
{
    hop("host", /* long_mode= */ true, 20, 0);
}

/* Gives the XMM registers a content (APM volume 2, 11.5: XMM0 at byte 160 of
 * the area, the bit vector of what is in use at byte 512). */
static void fill_xmm(VcpuState *s)
{
    g_assert_cmpint(vcpu_vmstate.pre_save(s), ==, 0);
    for (unsigned i = 0; i < 256; i++) {
        s->xsave[160 + i] = (uint8_t)(i * 7 + 1);
    }
    s->xsave[512] |= 2;
    g_assert_cmpint(vcpu_vmstate.post_load(s, 1), ==, 0);
}

/* What is saved, loaded and saved again is the same, but for running
 * counters. */
static void test_round_trip(void)
{
    Devices d = { .sequence = true };
    Vm *from = vm_new(&d, 1, "host");
    Vm *to = vm_new(&d, 1, "host");
    VcpuState *a = vcpus_state(from->vcpus, 0);
    VcpuState *b = vcpus_state(to->vcpus, 0);
    g_autoptr(GByteArray) wire = NULL;
    g_autoptr(GByteArray) again = NULL;

    LOAD(from, CODE_GPA, guest_sequence64);
    vm_boot64(from);
    fill_xmm(a);
    vcpus_resume(from->vcpus);
    wait_above(&d.port_written, 5);
    vcpus_pause(from->vcpus);
    wire = vm_save(from);
    g_assert_cmpuint(a->xsave[160 + 255], ==, (uint8_t)(255 * 7 + 1));
    vm_load(to, wire);
    again = vm_save(to);
    g_assert_cmpuint(wire->len, ==, again->len);
    g_assert_cmpmem(&a->regs, sizeof(a->regs), &b->regs, sizeof(b->regs));
    g_assert_cmpmem(&a->sregs, sizeof(a->sregs), &b->sregs, sizeof(b->sregs));
    g_assert_cmpmem(&a->events, sizeof(a->events), &b->events,
                    sizeof(b->events));
    g_assert_cmpmem(a->xsave, a->xsave_bytes, b->xsave, b->xsave_bytes);
    g_assert_cmpmem(&a->lapic, sizeof(a->lapic), &b->lapic, sizeof(b->lapic));
    g_assert_cmphex(a->xcr0, ==, b->xcr0);
    for (uint32_t i = 0; i < a->msrs_bytes; i += VCPU_MSR_WIRE_BYTES) {
        if (a->msrs[i] == 0x10 && a->msrs[i + 1] == 0) {
            continue; /* the TSC goes on */
        }
        g_assert_cmpmem(a->msrs + i, VCPU_MSR_WIRE_BYTES, b->msrs + i,
                        VCPU_MSR_WIRE_BYTES);
    }
    vm_free(from);
    vm_free(to);
}

/* Hostile states: each is refused, and the VM still works afterwards. */
static void test_hostile_state(void)
{
    Devices d = { .sequence = true };
    Vm *vm = vm_new(&d, 1, "qemu64");
    VcpuState *s = vcpus_state(vm->vcpus, 0);

    g_assert_cmpint(vcpu_vmstate.pre_save(s), ==, 0);
    g_assert_cmpint(vcpu_vmstate.post_load(s, 1), ==, 0);
    s->sregs.cr0 = UINT64_MAX;
    g_assert_cmpint(vcpu_vmstate.post_load(s, 1), ==, -EINVAL);
    g_assert_cmpint(vcpu_vmstate.pre_save(s), ==, 0);
    s->xcr0 = UINT64_MAX;
    g_assert_cmpint(vcpu_vmstate.post_load(s, 1), ==, -EINVAL);
    g_assert_cmpint(vcpu_vmstate.pre_save(s), ==, 0);
    memset(s->xsave, 0xff, s->xsave_bytes);
    g_assert_cmpint(vcpu_vmstate.post_load(s, 1), ==, -EINVAL);
    g_assert_cmpint(vcpu_vmstate.pre_save(s), ==, 0);
    s->mp_state = 77;
    g_assert_cmpint(vcpu_vmstate.post_load(s, 1), ==, -EINVAL);

    LOAD(vm, CODE_GPA, guest_sequence);
    vm_boot(vm);
    vcpus_resume(vm->vcpus);
    wait_above(&d.port_written, 10);
    vcpus_pause(vm->vcpus);
    check_sequence(&d);
    vm_free(vm);
}

/* Lets the dirtying guest do one more round and stop in the done port. */
static void dirty_round(Devices *d)
{
    uint32_t before = d->done;

    d->hold = 0;
    wait_above(&d->done, before);
}

static void expect_dirty(const unsigned long *map, unsigned shift)
{
    for (PageNo p = 0; p < DIRTY_PAGES; p++) {
        g_assert_cmpint(vm_bit_test(map, (DIRTY_GPA >> 12) + p), ==,
                        p % 2 == shift);
    }
}

/* Guest writes are logged page by page, once, and so are the VMM's own. */
static void test_dirty_log(void)
{
    Devices d = { 0 };
    Vm *vm = vm_new(&d, 1, "qemu64");
    g_autofree unsigned long *map = vm_bitmap_new(RAM_BYTES >> 12);

    LOAD(vm, CODE_GPA, guest_dirty);
    vm_boot(vm);
    vcpus_resume(vm->vcpus);
    wait_above(&d.done, 0);
    g_assert_cmpint(ram_dirty_start(vm->ram), ==, 0);
    g_assert_cmpint(ram_dirty_start(vm->ram), ==, -EBUSY);
    for (unsigned i = 0; i < 5; i++) {
        memset(map, 0, RAM_BYTES >> 15);
        dirty_round(&d);
        g_assert_cmpint(ram_dirty_sync(vm->ram, map), ==, 0);
        expect_dirty(map, 0);
        memset(map, 0, RAM_BYTES >> 15);
        g_assert_cmpint(ram_dirty_sync(vm->ram, map), ==, 0);
        g_assert_cmpuint(vm_bitmap_count(map, DIRTY_GPA >> 12, DIRTY_PAGES),
                         ==, 0);
        vm_write(vm, DIRTY_GPA + 0x1ffe, "xyz", 3);
        g_assert_cmpint(ram_dirty_sync(vm->ram, map), ==, 0);
        g_assert_cmpuint(vm_bitmap_count(map, DIRTY_GPA >> 12, DIRTY_PAGES),
                         ==, 2);
        g_assert_true(vm_bit_test(map, (DIRTY_GPA >> 12) + 1));
        g_assert_true(vm_bit_test(map, (DIRTY_GPA >> 12) + 2));
    }
    ram_dirty_stop(vm->ram);
    ram_dirty_stop(vm->ram);
    g_assert_cmpint(ram_dirty_start(vm->ram), ==, 0);
    ram_dirty_stop(vm->ram);
    vm_free(vm);
}

/* Resolves each fault with a zero page, after a while. */
#define FAULT_DELAY_US 20000

typedef struct ZeroPager {
    VmFaultService *faults;
    _Atomic bool stop;
    _Atomic uint32_t seen;
} ZeroPager;

static void zero_pager(void *arg)
{
    ZeroPager *p = arg;
    struct pollfd fd = { .fd = vm_fault_service_fd(p->faults),
                         .events = POLLIN };

    while (!p->stop) {
        VmFaultEvent e;

        if (poll(&fd, 1, /* timeout_ms= */ 10) > 0 &&
            vm_fault_service_read(p->faults, &e, 1) == 1) {
            size_t done;

            p->seen++;
            g_usleep(FAULT_DELAY_US);
            (void)vm_fault_zero(p->faults, (void *)(uintptr_t)e.address,
                                RAM_PAGE_BYTES, /* wake= */ true, &done);
        }
    }
}

/* Moves CPU 0 from the boot state to ring 3. */
static void enter_ring_3(Vm *vm)
{
    VcpuState *s = vcpus_state(vm->vcpus, 0);

    g_assert_cmpint(vcpu_vmstate.pre_save(s), ==, 0);
    s->sregs.cs.dpl = 3;
    s->sregs.cs.selector |= 3;
    s->sregs.ss.dpl = s->sregs.ds.dpl = s->sregs.es.dpl = 3;
    s->sregs.ss.selector = s->sregs.ds.selector = s->sregs.es.selector |= 3;
    g_assert_cmpint(vcpu_vmstate.post_load(s, 1), ==, 0);
}

/*
 * A vCPU that sleeps in a page fault inside KVM_RUN is pulled out by a pause
 * where the kernel can do that; else the pause ends when the page comes. It
 * goes on as if nothing had been, either way.
 */
static void pause_in_fault(bool ring_3)
{
    Devices d = { 0 };
    Vm *vm = vm_new(&d, 1, "qemu64");
    g_autoptr(GError) error = NULL;
    ZeroPager p = { .faults = vm_fault_service_new(&error) };
    VmThread *thread;
    int64_t shortest = INT64_MAX, longest = 0;

    if (!p.faults) {
        g_test_skip(error->message);
        vm_free(vm);
        return;
    }
    if (ring_3) {
        LOAD(vm, CODE_GPA, guest_dirty64);
        vm_boot64(vm);
        enter_ring_3(vm);
    } else {
        LOAD(vm, CODE_GPA, guest_dirty);
        vm_boot(vm);
    }
    /* Loading the code may have brought a huge page, and with it these. */
    g_assert_cmpint(madvise(ram_block_hva(vm->ram) + DIRTY_GPA, 512 * 1024,
                            MADV_DONTNEED), ==, 0);
    g_assert_true(vm_fault_service_register(
        p.faults, ram_block_hva(vm->ram) + DIRTY_GPA, 512 * 1024,
        VM_FAULT_REGISTER_GUEST, NULL));
    thread = vm_thread_new("pager", zero_pager, &p);
    for (unsigned i = 0; i < DIRTY_PAGES / 2 - 2; i++) {
        int64_t start;

        vcpus_resume(vm->vcpus);
        wait_above(&p.seen, i);
        start = vm_clock_ns();
        vcpus_pause(vm->vcpus);
        start = vm_clock_ns() - start;
        shortest = MIN(shortest, start);
        longest = MAX(longest, start);
    }
    g_test_message("pauses out of a fault: %" G_GINT64_FORMAT
                   " to %" G_GINT64_FORMAT " us",
                   shortest / 1000, longest / 1000);
    g_assert_cmpuint(d.done, ==, 0);
    vcpus_resume(vm->vcpus);
    wait_above(&d.done, 0);
    for (unsigned i = 0; i < DIRTY_PAGES; i += 2) {
        g_assert_cmpuint(vm_u32(vm, DIRTY_GPA + i * 4096), ==, 1);
    }
    g_assert_cmpuint(d.failures, ==, 0);
    vm_free(vm);
    p.stop = true;
    vm_thread_join(thread);
    vm_fault_service_free(p.faults);
}

static void test_pause_in_fault(void)
{
    pause_in_fault(/* ring_3= */ false);
}

static void test_pause_in_fault_ring_3(void)
{
    pause_in_fault(/* ring_3= */ true);
}

/* A triple fault asks for a reset, once; the reset machine runs. */
static void test_reset(void)
{
    Devices d = { .sequence = true };
    Vm *vm = vm_new(&d, 2, "qemu64");

    for (unsigned i = 0; i < 3; i++) {
        LOAD(vm, CODE_GPA, guest_crash);
        vm_boot(vm);
        vcpus_resume(vm->vcpus);
        wait_above(&d.resets, i);
        vcpus_pause(vm->vcpus);
        g_assert_cmpuint(d.resets, ==, i + 1);
        g_assert_cmpuint(d.failures, ==, 0);
        LOAD(vm, CODE_GPA, guest_sequence);
        vm_boot(vm);
        restart_sequence(&d);
        vcpus_resume(vm->vcpus);
        wait_above(&d.port_written, 10);
        vcpus_pause(vm->vcpus);
        g_assert_cmpuint(d.bad + d.errors, ==, 0);
    }
    vm_free(vm);
}

/* The guest's clock does not count the time of a pause. */
static void test_clock(void)
{
    Devices d = { .sequence = true };
    Vm *vm = vm_new(&d, 1, "qemu64");
    KvmVmState *s = kvm_vm_state(vm->kvm);
    uint64_t before;
    int64_t ran_ns;

    LOAD(vm, CODE_GPA, guest_sequence);
    vm_boot(vm);
    vcpus_resume(vm->vcpus);
    wait_above(&d.port_written, 10);
    vcpus_pause(vm->vcpus);
    g_assert_cmpint(kvm_vm_vmstate.pre_save(s), ==, 0);
    before = s->clock_ns;
    g_usleep(300 * 1000);
    ran_ns = vm_clock_ns();
    vcpus_resume(vm->vcpus);
    vcpus_pause(vm->vcpus);
    ran_ns = vm_clock_ns() - ran_ns;
    g_assert_cmpint(kvm_vm_vmstate.pre_save(s), ==, 0);
    g_assert_cmpuint(s->clock_ns, >=, before);
    g_assert_cmpuint(s->clock_ns - before, <=, (uint64_t)ran_ns);
    vm_free(vm);
}

static void test_models(void)
{
    static const char *const good[] = { "host", "max", "qemu64", "kvm64",
                                        "EPYC", "qemu64,+sse4.2,-x2apic",
                                        "host,migratable=off,kvm=off" };
    static const VcpuCallbacks callbacks = { on_reset, on_error };
    Devices d = { .sequence = true };

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        Vm *vm = vm_new(&d, 1, good[i]);

        restart_sequence(&d);
        LOAD(vm, CODE_GPA, guest_sequence);
        vm_boot(vm);
        vcpus_resume(vm->vcpus);
        wait_above(&d.port_written, 3);
        vcpus_pause(vm->vcpus);
        check_sequence(&d);
        vm_free(vm);
    }
    {
        Vm *vm = vm_new(&d, 1, "host");
        GError *error = NULL;

        g_assert_null(vcpus_new(vm->kvm, vm->memory, vm->ports, 1, "nosuch",
                                &callbacks, &d, &error));
        g_assert_cmpstr(error->message, ==,
                        "unable to find CPU model 'nosuch'");
        g_clear_error(&error);
        g_assert_null(vcpus_new(vm->kvm, vm->memory, vm->ports, 100000,
                                "host", &callbacks, &d, &error));
        g_assert_nonnull(error);
        g_clear_error(&error);
        vm_free(vm);
    }
}

int main(int argc, char **argv)
{
    GError *error = NULL;

    g_test_init(&argc, &argv, NULL);
    if (!kvm_available(&error)) {
        g_print("1..0 # SKIP %s\n", error->message);
        g_error_free(error);
        return 0;
    }
    g_test_add_func("/kvm/io", test_io);
    g_test_add_func("/kvm/smp", test_smp);
    g_test_add_func("/kvm/pause", test_pause);
    g_test_add_func("/kvm/pause-given-up", test_pause_given_up);
    g_test_add_func("/kvm/pause/host-64", test_pause_host);
    g_test_add_func("/kvm/pause/waiting-ap", test_pause_waiting_ap);
    g_test_add_func("/kvm/pause/in-fault", test_pause_in_fault);
    g_test_add_func("/kvm/pause/in-fault-ring-3",
                    test_pause_in_fault_ring_3);
    g_test_add_func("/kvm/throttle/pause", test_throttle_pause);
    g_test_add_func("/kvm/throttle/pause-given-up",
                    test_throttle_pause_given_up);
    g_test_add_func("/kvm/throttle/hop", test_throttle_hop);
    g_test_add_func("/kvm/throttle/share", test_throttle_share);
    g_test_add_func("/kvm/round-trip", test_round_trip);
    g_test_add_func("/kvm/hop", test_hop);
    g_test_add_func("/kvm/hop/host-64", test_hop64);
    g_test_add_func("/kvm/hostile-state", test_hostile_state);
    g_test_add_func("/kvm/dirty-log", test_dirty_log);
    g_test_add_func("/kvm/reset", test_reset);
    g_test_add_func("/kvm/clock", test_clock);
    g_test_add_func("/kvm/models", test_models);
    return g_test_run();
}
