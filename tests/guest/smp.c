/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Start of the application processors by INIT and SIPI (Intel SDM 3, 9.4.4;
 * APM 2, 16.5), from CPL3: the local APIC is memory like any other here.
 */
#include "guest.h"

#define LAPIC_BASE 0xfee00000ull
#define LAPIC_SVR 0xf0
#define LAPIC_ICR_LOW 0x300
#define LAPIC_ICR_HIGH 0x310
#define ICR_PENDING (1u << 12)
#define ICR_INIT 0x4500u /* assert, physical destination */
#define ICR_SIPI 0x4600u
#define START_TIMEOUT_US 5000000u

extern const char trampoline[], trampoline_end[];
extern uint32_t cpus_started;

static void lapic_write(unsigned reg, uint32_t value)
{
    *(volatile uint32_t *)(LAPIC_BASE + reg) = value;
}

static uint32_t lapic_read(unsigned reg)
{
    return *(volatile uint32_t *)(LAPIC_BASE + reg);
}

static void wait_us(uint64_t us)
{
    uint64_t start = rdtsc();

    while (rdtsc() - start < us * params.mhz) {
        cpu_relax();
    }
}

static void send(unsigned apic_id, uint32_t command)
{
    lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
    lapic_write(LAPIC_ICR_LOW, command);
    while (lapic_read(LAPIC_ICR_LOW) & ICR_PENDING) {
        cpu_relax();
    }
}

/*
 * Starts APIC IDs 1 to wanted - 1, one after the other, so that a processor's
 * number here is its APIC ID. Returns how many run, this one included.
 */
unsigned smp_start(unsigned wanted)
{
    memcpy((void *)TRAMPOLINE_BASE, trampoline,
           (size_t)(trampoline_end - trampoline));
    lapic_write(LAPIC_SVR, lapic_read(LAPIC_SVR) | 0x100);
    for (unsigned id = 1; id < wanted; id++) {
        uint64_t start = rdtsc();

        send(id, ICR_INIT);
        wait_us(10000);
        send(id, ICR_SIPI | (TRAMPOLINE_BASE >> 12));
        while (load_acquire(&cpus_started) <= id) {
            if (rdtsc() - start > START_TIMEOUT_US * params.mhz) {
                return id;
            }
            cpu_relax();
        }
    }
    return wanted;
}

void smp_barrier(struct Cpu *cpu)
{
    static uint32_t arrived, generation;
    uint32_t mine = load_acquire(&generation);

    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == cpu_count) {
        __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
        store_release(&generation, mine + 1);
        return;
    }
    while (load_acquire(&generation) == mine) {
        cpu_relax();
        workload_tick(cpu);
    }
}
