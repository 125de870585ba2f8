/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine without vCPUs: real address spaces and RAM, a recorder for
 * interrupts, counters for requests, one chardev over a socket pair.
 *
 * Threads: the test's only. Timers run when the test turns the loop.
 */
#ifndef TEST_DEVICE_BOARD_FIXTURE_H
#define TEST_DEVICE_BOARD_FIXTURE_H

#include "chardev/chardev.h"
#include "hw/core/machine.h"

typedef struct Fixture {
    Machine machine;
    bool level[MACHINE_GSIS];
    unsigned edges[MACHINE_GSIS]; /* times that the line went high */
    unsigned shutdowns, resets, debug_exits;
    int debug_exit_status;
    Chardev *chr; /* "chr0" for find_chardev */
    int peer;     /* the other end of chr */
} Fixture;

void fixture_init(Fixture *f, uint64_t ram_bytes);
void fixture_done(Fixture *f);

uint32_t port_read(Fixture *f, uint16_t port, unsigned len);
void port_write(Fixture *f, uint16_t port, uint32_t value, unsigned len);
static inline uint8_t in8(Fixture *f, uint16_t port)
{
    return port_read(f, port, 1);
}
static inline void out8(Fixture *f, uint16_t port, uint8_t value)
{
    port_write(f, port, value, 1);
}

/* Handles what is ready. */
void fixture_run_pending(void);
/* Turns the loop until cond(f) or five seconds have passed; then fails. */
void fixture_run_until(Fixture *f, bool (*cond)(Fixture *f));

/* The machine's only device of that type. */
Device *fixture_device(Fixture *f, const char *type);
/* -device by its text, "isa-serial,chardev=chr0"; false with *errp set. */
bool fixture_create(Fixture *f, const char *text, GError **errp);
/* State of a device, and back. */
GByteArray *fixture_save(Device *dev);
bool fixture_load(Device *dev, const GByteArray *state);

#endif
