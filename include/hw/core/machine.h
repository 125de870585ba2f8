/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine: what devices find when they are created.
 *
 * Built by hw/i386 (the board) from a MachineConfig; devices get a pointer
 * to it. Threads: built and freed on the main thread; the fields are
 * immutable afterwards.
 */
#ifndef VM_HW_CORE_MACHINE_H
#define VM_HW_CORE_MACHINE_H

#include <glib.h>

#include "hw/core/device.h"
#include "memory/address-space.h"

typedef struct PciBus PciBus;
typedef struct InterruptOps InterruptOps;

/*
 * How interrupts reach the vCPUs; KVM's in-kernel chips in the product, a
 * recorder in device tests. Any thread, any lock held up to VM_RANK_IRQ.
 */
struct InterruptOps {
    /* gsi 0-23: pins of the I/O APIC (and of the two 8259 for 0-15). */
    void (*set_line)(void *opaque, unsigned gsi, bool level);
    void (*send_msi)(void *opaque, uint64_t address, uint32_t data);
    /*
     * Signals fd whenever the guest writes len bytes (1, 2, 4; 0: any length)
     * to addr of the memory space (value matched if match), without an exit.
     * Returns -errno; -ENOTSUP makes the device take the exit instead.
     */
    int (*ioeventfd_add)(void *opaque, uint64_t addr, unsigned len, int fd);
    void (*ioeventfd_del)(void *opaque, uint64_t addr, unsigned len, int fd);
};

/* Things that a device asks of the VM as a whole; any thread, any lock. */
typedef struct MachineRequests {
    void (*shutdown)(void *opaque);         /* guest powered off */
    void (*reset)(void *opaque);            /* guest asked for a reset */
    void (*debug_exit)(void *opaque, int status); /* isa-debug-exit */
    /* The guest has changed the size of its balloon. Optional. */
    void (*balloon_changed)(void *opaque);
} MachineRequests;

/* Back ends that -device properties name (drive=, netdev=, chardev=). Main
 * thread, while devices are created. NULL: no such id. */
struct BlockBackend;
struct NetBackend;
struct Chardev;
typedef struct MachineBackends {
    struct BlockBackend *(*find_block)(void *opaque, const char *id);
    struct NetBackend *(*find_net)(void *opaque, const char *id);
    struct Chardev *(*find_chardev)(void *opaque, const char *id);
    /* -object rng-random,id=,filename= or rng-builtin: the file to read. */
    const char *(*find_rng)(void *opaque, const char *id);
} MachineBackends;

/* Pins of the I/O APIC. */
#define MACHINE_GSIS 24

typedef struct IrqLine IrqLine;

struct Machine {
    AddressSpace *memory;
    AddressSpace *ports;
    RamBlock *ram;
    const InterruptOps *interrupts;
    void *interrupts_opaque;
    const MachineRequests *requests;
    void *requests_opaque;
    const MachineBackends *backends;
    void *backends_opaque;
    PciBus *pci;            /* root bus */
    GMainContext *io_context; /* the I/O thread's: ring kicks, block
                               * completions, net packets */
    /* Asked while the main thread waits for a device: shall it stop waiting?
     * NULL: never. */
    bool (*out_of_patience)(void *opaque);
    void *patience_opaque;
    bool at_rest; /* main thread; said by the last machine_quiesce() */
    GPtrArray *devices;     /* of Device *, in order of creation */
    IrqLine *lines[MACHINE_GSIS]; /* private to hw/core */
};

/*
 * Interrupt line with several sources: the level is the OR of all. The
 * levels are not migrated: a device sets its own again in post_load().
 */
/* Shared; made at the first call, lives as long as the machine. gsi is below
 * MACHINE_GSIS. */
IrqLine *irq_line_get(Machine *machine, unsigned gsi);
/* A number for irq_line_set(), low at first. Main thread. */
unsigned irq_line_add_source(IrqLine *line);
/* Any thread; no lock of rank VM_RANK_IRQ or above held. */
void irq_line_set(IrqLine *line, unsigned source, bool level);

/* Clears *machine; the caller then fills in the fields above devices. */
void machine_init(Machine *machine);
void machine_done(Machine *machine); /* frees devices in reverse order */
/* The device of that id, or NULL. */
Device *machine_find_device(const Machine *machine, const char *id);
/* Power-on state of all devices, in order of creation. */
void machine_reset(Machine *machine);
/* False if patience ran out over a device that waits for guest memory. It
 * does nothing new, and comes to rest by itself when the memory is there;
 * until then its state and what it works on in RAM are not still. */
bool machine_quiesce(Machine *machine);
void machine_resume(Machine *machine);

#endif
