/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports, console and time of the test guest.
 *
 * Every byte of output costs an exit (tens of microseconds), so lines are
 * short. Lines come from processor 0 only, but for fatal errors.
 */
#include "guest.h"

#define PORT_DEBUGCON 0xe9
#define PORT_COM1 0x3f8
#define PORT_DEBUG_EXIT 0x501
#define PORT_PM1_STATUS 0x600
#define PORT_PM1_CONTROL 0x604
#define COM1_LSR (PORT_COM1 + 5)
#define LSR_THR_EMPTY 0x20

static bool use_com1;
void (*console_byte_hook)(void);

uint8_t port_in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

void port_out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

uint32_t port_in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

void port_out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

void cpu_relax(void)
{
    __asm__ volatile("pause" : : : "memory");
}

void park(void)
{
    for (;;) {
        __asm__ volatile("int3"); /* see VECTOR_PARK */
    }
}

void console_init(bool com1)
{
    use_com1 = com1;
    if (com1) {
        port_out8(PORT_COM1 + 3, 0x80); /* DLAB */
        port_out8(PORT_COM1 + 0, 1);    /* 115200 baud */
        port_out8(PORT_COM1 + 1, 0);
        port_out8(PORT_COM1 + 3, 0x03); /* 8n1 */
        port_out8(PORT_COM1 + 2, 0x07); /* FIFO on and empty */
        port_out8(PORT_COM1 + 4, 0x03);
    }
}

static void put_byte(char c)
{
    if (use_com1) {
        while (!(port_in8(COM1_LSR) & LSR_THR_EMPTY)) {
            cpu_relax();
        }
    }
    port_out8(use_com1 ? PORT_COM1 : PORT_DEBUGCON, (uint8_t)c);
    if (console_byte_hook != NULL) {
        console_byte_hook();
    }
}

void put_text(const char *text)
{
    while (*text != '\0') {
        put_byte(*text++);
    }
}

void put_u64(uint64_t value)
{
    char digits[21];
    unsigned at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    put_text(&digits[at]);
}

void put_hex(uint64_t value)
{
    char digits[17];
    unsigned at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value != 0);
    put_text(&digits[at]);
}

void put_field(const char *name, uint64_t value)
{
    put_text(" ");
    put_text(name);
    put_text("=");
    put_u64(value);
}

void put_field_hex(const char *name, uint64_t value)
{
    put_text(" ");
    put_text(name);
    put_text("=0x");
    put_hex(value);
}

void put_end(void)
{
    put_text("\n");
}

void put_numbers(const char *head, const uint64_t *numbers, unsigned count)
{
    put_text(head);
    for (unsigned i = 0; i < count; i++) {
        put_text(" ");
        put_u64(numbers[i]);
    }
    put_end();
}

/* isa-debug-exit: the monitor exits with (status << 1) | 1. */
void power_off(unsigned status)
{
    port_out8(PORT_DEBUG_EXIT, (uint8_t)status);
    park(); /* no such device: stay, without using the processor */
}

/* ACPI 6.3, 4.8.3: PM1 status, whose bit 8 is the button, and PM1 control:
 * SLP_EN with SLP_TYP 0, which both boards call S5. */
void power_button_obey(void)
{
    if (port_in8(PORT_PM1_STATUS + 1) & 1) {
        port_out8(PORT_PM1_CONTROL + 1, 0x20);
        park();
    }
}

void fatal(const char *text)
{
    put_text("X ");
    put_text(text);
    put_end();
    power_off(2);
}

/*
 * Counts TSC ticks against channel 2 of the 8254 (1193182 Hz), gated by port
 * 0x61; 0 when there is none. Used when mhz= is not given.
 */
uint64_t tsc_mhz_measure(void)
{
    const uint32_t pit_ticks = 59659; /* 50 ms */
    uint64_t start, deadline_polls = 1000000;
    uint8_t gate = port_in8(0x61);

    port_out8(0x61, (uint8_t)((gate & ~2u) | 1u));
    port_out8(0x43, 0xb0); /* channel 2, two bytes, mode 0 */
    port_out8(0x42, pit_ticks & 0xff);
    port_out8(0x42, pit_ticks >> 8);
    start = rdtsc();
    while (!(port_in8(0x61) & 0x20)) {
        if (--deadline_polls == 0) {
            return 0;
        }
    }
    return (rdtsc() - start) / 50000;
}

void *memset(void *to, int byte, size_t bytes)
{
    void *start = to;

    __asm__ volatile("rep stosb"
                     : "+D"(to), "+c"(bytes)
                     : "a"(byte)
                     : "memory");
    return start;
}

void *memcpy(void *to, const void *from, size_t bytes)
{
    void *start = to;

    __asm__ volatile("rep movsb"
                     : "+D"(to), "+S"(from), "+c"(bytes)
                     :
                     : "memory");
    return start;
}
