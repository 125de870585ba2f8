/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small machine without vCPUs, and a virtio driver that runs in the test.
 *
 * The test thread is guest and I/O thread in one: registers are reached
 * through the machine's address spaces, rings are laid out in a RamBlock, and
 * run_io() lets the I/O side work. Interrupts are recorded.
 */
#ifndef VM_TESTS_VIRTIO_DRIVER_H
#define VM_TESTS_VIRTIO_DRIVER_H

#include "hw/pci/pci.h"
#include "hw/virtio/virtio-types.h"
#include "hw/virtio/virtio.h"

#define LAB_RAM_BYTES (16u << 20)
#define LAB_BAR_AT UINT64_C(0xe0000000)
#define LAB_MSIX_AT UINT64_C(0xe1000000)
#define LAB_MSI_ADDRESS UINT64_C(0xfee00000)
#define LAB_QUEUE_SIZE 64

struct BlockBackend;
struct NetBackend;

typedef struct Lab {
    Machine machine;
    GMainContext *context;
    RamBlock *ram;
    uint8_t *mem; /* the guest's RAM */
    struct BlockBackend *drive;
    struct NetBackend *netdev;
    const char *rng;

    /* What the machine was asked for. */
    unsigned msi_count[32]; /* by data */
    unsigned msi_total;
    bool line[24];
    unsigned line_changes, resets, balloon_changes;
    bool ioeventfds; /* offer them */
    int kick_fd[8];  /* by queue; -1 */
    uint64_t kick_at[8];
} Lab;

/* ioeventfds: the kernel takes kicks; otherwise they are exits. */
void lab_init(Lab *lab, bool is_q35, bool ioeventfds);
void lab_done(Lab *lab);
/* -device type,options; returns it. */
PciDevice *lab_device(Lab *lab, const char *type, const char *options);
bool lab_try_device(Lab *lab, const char *type, const char *options,
                    GError **errp);
void lab_run_io(Lab *lab);

uint32_t lab_config_read(Lab *lab, unsigned devfn, unsigned reg, unsigned len);
void lab_config_write(Lab *lab, unsigned devfn, unsigned reg, uint32_t value,
                      unsigned len);
uint32_t lab_read(Lab *lab, uint64_t addr, unsigned len);
void lab_write(Lab *lab, uint64_t addr, uint64_t value, unsigned len);

/* ---- The driver -------------------------------------------------------- */

typedef struct Ring {
    uint16_t size, avail_index, used_seen, next_desc;
    uint64_t desc, avail, used; /* guest addresses */
} Ring;

typedef struct Driver {
    Lab *lab;
    unsigned devfn;
    uint64_t bar;
    bool msix;
    uint64_t features;
    Ring ring[5];
} Driver;

typedef struct Buf {
    uint64_t addr;
    uint32_t len;
    bool in;
} Buf;

/* Finds the capabilities, maps the BARs; MSI-X: vector n sends data n. */
void driver_init(Driver *d, Lab *lab, PciDevice *pci, bool msix);
/* The whole initialisation of 3.1.1 with queue_count queues. */
void driver_start(Driver *d, uint64_t features, unsigned queue_count);
void driver_reset(Driver *d);
uint8_t driver_status(Driver *d);
uint32_t driver_common(Driver *d, unsigned offset, unsigned len);
void driver_common_write(Driver *d, unsigned offset, uint64_t value,
                         unsigned len);
uint64_t driver_offered(Driver *d);
/* Adds a chain; returns its head. The rings are not kicked. */
uint16_t driver_add(Driver *d, unsigned q, const Buf *bufs, unsigned count);
/* Raw access, for hostile rings. */
void ring_set_desc(Driver *d, uint64_t table, unsigned index, uint64_t addr,
                   uint32_t len, uint16_t flags, uint16_t next);
void ring_offer(Driver *d, unsigned q, uint16_t head);
void driver_kick(Driver *d, unsigned q);
/* The next used entry, after letting I/O run; false: none came in time. */
bool driver_wait_used(Driver *d, unsigned q, uint32_t *ret_id,
                      uint32_t *ret_len);
bool driver_poll_used(Driver *d, unsigned q, uint32_t *ret_id,
                      uint32_t *ret_len);
uint16_t ring_used_index(Driver *d, unsigned q);

#define DESC_NEXT 1
#define DESC_WRITE 2
#define DESC_INDIRECT 4

void mem_put(Lab *lab, uint64_t addr, unsigned len, uint64_t value);
uint64_t mem_get(Lab *lab, uint64_t addr, unsigned len);

#endif
