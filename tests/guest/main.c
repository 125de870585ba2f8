/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry of the test guest's C code, and its report of exceptions. */
#include "guest.h"

void guest_main(unsigned index) __attribute__((noreturn));
void guest_fault(const uint64_t *frame, uint64_t cr2)
    __attribute__((noreturn));

extern uint64_t start_info;
extern char bss_start[], bss_end[];

static bool go; /* processor 0 has set everything up */

static void boot_processor(void)
{
    /* A reset may leave the last run's content. */
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    memory_init(start_info);
    params_parse(command_line);
    console_init(params.com1);
    if (params.mhz == 0) {
        params.mhz = tsc_mhz_measure();
    }
    if (params.mhz == 0) {
        fatal("no way to measure the TSC; give mhz=");
    }
    cpu_count = smp_start((unsigned)params.cpus);
    if (cpu_count != params.cpus) {
        fatal("not all processors have started");
    }
    workload_init();
    balloon_init();
    store_release(&go, true);
}

void guest_main(unsigned index)
{
    if (index == 0) {
        boot_processor();
    }
    while (!load_acquire(&go)) {
        cpu_relax();
    }
    workload_run(&cpus[index]);
}

/* frame: vector, error code, rip, cs, rflags, rsp. */
void guest_fault(const uint64_t *frame, uint64_t cr2)
{
    put_text("X exception");
    put_field("vector", frame[0]);
    put_field_hex("error", frame[1]);
    put_field_hex("rip", frame[2]);
    put_field_hex("cr2", cr2);
    put_end();
    power_off(2);
}
