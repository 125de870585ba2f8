/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What lies where in guest physical memory.
 *
 * RAM from 0 up to a limit below 4 GiB, the rest from 4 GiB on; between them
 * the ECAM window (q35), the 32-bit PCI window, and the chips. The limits
 * follow QEMU's boards, since guests and migrations see them.
 *
 * Threads: any; pure.
 */
#include "pc-internal.h"

#include "accel/kvm.h"

#define GIB (UINT64_C(1) << 30)

static void add_range(PcMemoryMap *map, uint64_t base, uint64_t end,
                      PcRangeKind kind)
{
    g_assert(map->ranges < PC_RANGES_MAX);
    if (end > base) {
        map->range[map->ranges++] = (PcRange){ base, end - base, kind };
    }
}

static uint64_t low_ram_bytes(bool q35, uint64_t ram_bytes)
{
    uint64_t ceiling = q35 ? PC_ECAM_BASE : 3 * GIB; /* the most that fits */
    uint64_t split = q35 ? 2 * GIB : 3 * GIB;

    if (q35) {
        return ram_bytes >= ceiling ? split : ram_bytes;
    }
    return MIN(ram_bytes, ceiling);
}

void pc_memory_map_init(PcMemoryMap *map, bool q35, uint64_t ram_bytes)
{
    uint64_t low = low_ram_bytes(q35, ram_bytes);
    uint64_t high = ram_bytes - low;

    *map = (PcMemoryMap){
        .low_ram_bytes = low,
        .high_ram_bytes = high,
        .pci64_base = (PC_4G + high + GIB - 1) / GIB * GIB,
    };
    add_range(map, 0, MIN(low, PC_EBDA), PC_RANGE_RAM);
    add_range(map, PC_EBDA, 0xa0000, PC_RANGE_RESERVED);
    add_range(map, PC_TABLES, PC_TABLES_END, PC_RANGE_RESERVED);
    add_range(map, PC_HIGH_RAM, low, PC_RANGE_RAM);
    if (q35) {
        add_range(map, PC_ECAM_BASE, PC_ECAM_BASE + PC_ECAM_BYTES,
                  PC_RANGE_RESERVED);
    }
    add_range(map, KVM_RESERVED_GPA, KVM_RESERVED_GPA + KVM_RESERVED_BYTES,
              PC_RANGE_RESERVED);
    add_range(map, PC_4G, PC_4G + high, PC_RANGE_RAM);
}
