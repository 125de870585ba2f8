/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's physical address spaces: memory and ports.
 *
 * A space maps non-overlapping ranges to RAM or to an IoRegion. Reads of
 * what nobody owns give all ones, writes to it vanish. An access that
 * crosses the end of a region or is wider than the region takes is split.
 *
 * Threads: mapping and unmapping by any thread (rank VM_RANK_ADDRESS_MAP is
 * held inside, never across a handler). Dispatch by any thread that holds no
 * lock above VM_RANK_DEVICE. A handler may still run just after its region
 * was unmapped; regions are freed only when no vCPU or device thread is left.
 */
#ifndef VM_MEMORY_ADDRESS_SPACE_H
#define VM_MEMORY_ADDRESS_SPACE_H

#include "memory/ram.h"
#include "util/thread.h"

typedef struct AddressSpace AddressSpace;

typedef struct IoRegionOps {
    /* size is 1, 2, 4 or 8, between min_bytes and max_bytes, and offset is a
     * multiple of it: dispatch splits or widens to make it so (a write that
     * is too narrow becomes a read, then a wider write, under one lock). The
     * value is little-endian in the low bytes. */
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value,
                  unsigned size);
    unsigned min_bytes; /* 0: 1 */
    unsigned max_bytes; /* 0: 8 for memory, 4 for ports */
} IoRegionOps;

typedef struct IoRegion {
    const char *name;
    const IoRegionOps *ops;
    void *opaque;
    uint64_t size_bytes;
    /* Taken around each handler call; NULL: the handler locks for itself. */
    VmMutex *lock;
} IoRegion;

typedef enum AddressSpaceKind { AS_MEMORY, AS_PORTS } AddressSpaceKind;

AddressSpace *address_space_new(AddressSpaceKind kind);
void address_space_free(AddressSpace *as);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AddressSpace, address_space_free)

/* A piece of RAM as mapped, for the accelerator. */
typedef struct RamMapping {
    GuestAddr gpa;
    RamBlock *block;
    RamOffset offset;
    uint64_t size_bytes;
} RamMapping;

/* -EEXIST if the range overlaps one that is mapped; -EINVAL if it is empty
 * or leaves the space; 0 otherwise. */
int address_space_map_ram(AddressSpace *as, GuestAddr gpa, RamBlock *block,
                          RamOffset offset, uint64_t size_bytes);
int address_space_map_io(AddressSpace *as, uint64_t addr, IoRegion *region);
/* Nothing happens if the region is not mapped. */
void address_space_unmap_io(AddressSpace *as, IoRegion *region);
/* Calls fn for each RAM mapping in rising order of gpa. */
void address_space_foreach_ram(AddressSpace *as,
                               void (*fn)(const RamMapping *m, void *opaque),
                               void *opaque);

/* A vCPU's access to MMIO or ports; len 1 to 8. Never fails. */
void address_space_io_read(AddressSpace *as, uint64_t addr, void *buf,
                           unsigned len);
void address_space_io_write(AddressSpace *as, uint64_t addr, const void *buf,
                            unsigned len);

/*
 * Where gpa lies in RAM: the block, the offset, and how many bytes from there
 * are contiguous in the block (at most *len). Returns false if gpa is not
 * RAM.
 */
bool address_space_find_ram(AddressSpace *as, GuestAddr gpa, uint64_t len,
                            RamBlock **ret_block, RamOffset *ret_offset,
                            uint64_t *ret_len);

#endif
