/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the RAM is, and how a page number becomes an address.
 *
 * The PVH start info (Xen public/arch-x86/hvm/start_info.h, version 1) has
 * the memory map. Used are the RAM range that holds the image, from its end
 * on, and RAM above 4 GiB. Page directories for the latter come first, then
 * the version table, then the workload.
 */
#include "guest.h"

#define START_INFO_MAGIC 0x336ec578
#define MEMMAP_RAM 1
#define GIB4 (4ull << 30)
#define GIB (1ull << 30)
#define HIGH_GIB_MAX 4092 /* with the 4 below: 8 entries of the PML4 */
#define GROUP_PAGES 16

struct StartInfo {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, rsdp;
    uint64_t memmap;
    uint32_t memmap_entries, reserved;
};

struct MemmapEntry {
    uint64_t addr, bytes;
    uint32_t type, reserved;
};

char command_line[1024];

extern uint64_t pdpt[512];
extern char image_end[];

/* Two ranges in order of address, page aligned; the second may be empty. */
static struct {
    uint64_t addr, pages;
} ranges[2];
static uint64_t version_pages, workload_pages;
static uint64_t spread_pages; /* between the starts of groups; 0: none */

static void copy_command_line(const char *from)
{
    size_t n = 0;

    while (from != NULL && from[n] != '\0') {
        if (n == sizeof(command_line) - 1) {
            fatal("-append is too long");
        }
        command_line[n] = from[n];
        n++;
    }
    command_line[n] = '\0';
}

static void add_range(uint64_t addr, uint64_t end)
{
    uint64_t low = ((uint64_t)image_end + 0x1fffff) & ~0x1fffffull;
    unsigned i = addr >= GIB4;

    if (i == 0) {
        if (addr > IMAGE_BASE || end <= low) {
            return; /* not the range with the image */
        }
        addr = low;
    }
    if (ranges[i].pages != 0) {
        return;
    }
    addr = (addr + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
    end &= ~(uint64_t)(PAGE_BYTES - 1);
    ranges[i].addr = addr;
    ranges[i].pages = end > addr ? (end - addr) / PAGE_BYTES : 0;
}

/* A page behind the image, for a table. */
static uint64_t *take_table(void)
{
    uint64_t *table = (uint64_t *)ranges[0].addr;

    if (ranges[0].pages == 0) {
        fatal("no RAM for page tables");
    }
    ranges[0].addr += PAGE_BYTES;
    ranges[0].pages--;
    memset(table, 0, PAGE_BYTES);
    return table;
}

/* The table with the entries of 512 GiB from a GiB on. */
static uint64_t *pdpt_of(uint64_t gib)
{
    static uint64_t *tables[HIGH_GIB_MAX / 512 + 1];
    uint64_t *pml4 = (uint64_t *)PML4_BASE;
    uint64_t i = gib / 512;

    if (i == 0) {
        return pdpt;
    }
    if (tables[i] == NULL) {
        tables[i] = take_table();
        store_release(&pml4[i], (uint64_t)tables[i] | 7);
    }
    return tables[i];
}

/* Identity map of RAM above 4 GiB. The entries were not present before, so
 * no translation needs to be flushed. */
static void map_high(void)
{
    uint64_t end = ranges[1].addr + ranges[1].pages * PAGE_BYTES;

    if (ranges[1].pages == 0) {
        return;
    }
    if (end > GIB4 + HIGH_GIB_MAX * GIB) {
        end = GIB4 + HIGH_GIB_MAX * GIB;
        ranges[1].pages = (end - ranges[1].addr) / PAGE_BYTES;
    }
    for (uint64_t g = 4; g * GIB < end; g++) {
        uint64_t *directory = take_table();

        for (uint64_t i = 0; i < 512; i++) {
            directory[i] = (g * GIB + (i << 21)) | 0x87;
        }
        store_release(&pdpt_of(g)[g % 512], (uint64_t)directory | 7);
    }
}

void memory_init(uint64_t start_info_addr)
{
    const struct StartInfo *info = (const void *)start_info_addr;
    const struct MemmapEntry *map;

    if (info->magic != START_INFO_MAGIC || info->version < 1) {
        fatal("no PVH start info with a memory map");
    }
    copy_command_line((const char *)info->command_line);
    map = (const void *)info->memmap;
    for (uint32_t i = 0; i < info->memmap_entries; i++) {
        if (map[i].type == MEMMAP_RAM) {
            add_range(map[i].addr, map[i].addr + map[i].bytes);
        }
    }
    if (ranges[0].pages == 0) {
        fatal("no RAM behind the image");
    }
    map_high();
}

/*
 * pages and their versions (8 bytes each) must fit; rounded so that every
 * processor gets whole groups (see workload.c).
 */
uint64_t memory_workload_pages(void)
{
    uint64_t all = ranges[0].pages + ranges[1].pages;
    uint64_t fit = all - (all / (PAGE_WORDS + 1) + 1);
    uint64_t want = params.mib * MIB_PAGES;

    if (want > fit) {
        fatal("mib is more than the RAM holds");
    }
    workload_pages = want != 0 ? want : fit;
    workload_pages -= workload_pages % (GROUP_PAGES * MAX_CPUS);
    version_pages = (workload_pages + PAGE_WORDS - 1) / PAGE_WORDS;
    if (workload_pages == 0) {
        fatal("mib is too small");
    }
    if (version_pages > ranges[0].pages) {
        fatal("the version table does not fit below 4 GiB");
    }
    if (params.spread != 0) {
        spread_pages = (all - version_pages) / (workload_pages / GROUP_PAGES);
        spread_pages -= spread_pages % GROUP_PAGES;
    }
    return workload_pages;
}

struct Version *memory_versions(void)
{
    return (struct Version *)ranges[0].addr;
}

void *memory_range(uint64_t page, uint64_t pages)
{
    if (spread_pages != 0 ||
        (version_pages + page < ranges[0].pages &&
         version_pages + page + pages > ranges[0].pages)) {
        fatal("the memory is not in one piece");
    }
    return memory_page(page);
}

void *memory_page(uint64_t page)
{
    if (spread_pages != 0) {
        page = page / GROUP_PAGES * spread_pages + page % GROUP_PAGES;
    }
    page += version_pages;
    if (page < ranges[0].pages) {
        return (void *)(ranges[0].addr + page * PAGE_BYTES);
    }
    return (void *)(ranges[1].addr + (page - ranges[0].pages) * PAGE_BYTES);
}
