/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the chunks of guest RAM live: how migration asks and tells.
 *
 * A chunk is chunk_pages consecutive pages of the block (the last one may be
 * shorter). At the source, migration asks where each chunk is and how hot,
 * and exports its content without changing where it lives. At the
 * destination it imports each chunk straight to its place.
 *
 * Filled by vmemdirect/ for a paged VM and by ram_plain_placement_new() for one
 * that keeps all of its RAM resident; migration knows neither.
 *
 * Threads: each function says. Errors: -errno. Lifetime: the ops outlive the
 * migration.
 */
#ifndef VM_MEMORY_PLACEMENT_H
#define VM_MEMORY_PLACEMENT_H

#include "memory/ram.h"

#define RAM_CHUNK_PAGES_MAX 512u
#define RAM_CHUNK_LONGS (RAM_CHUNK_PAGES_MAX / 64u)

typedef uint32_t ChunkNo;

typedef enum RamPlace {
    RAM_PLACE_ZERO, /* never written, or all zero */
    RAM_PLACE_RAM,
    RAM_PLACE_SWAP,
    RAM_PLACE__COUNT
} RamPlace;
const char *ram_place_to_string(RamPlace place);

typedef struct RamChunkInfo {
    RamPlace place; /* a hint: it may have changed when it is returned */
    uint8_t key;    /* 255 hottest .. 0 never touched */
} RamChunkInfo;

/*
 * One export. The caller fills the first group and owns the struct and buf
 * until done() has been called; after done() the second group is valid, and
 * the caller calls export_end() when it has sent the pages.
 */
typedef struct RamExport RamExport;
struct RamExport {
    ChunkNo chunk;
    /* Pages wanted, bit i = page i of the chunk; all pages of the chunk for
     * a first pass. */
    unsigned long want[RAM_CHUNK_LONGS];
    void *buf; /* chunk_pages * RAM_PAGE_BYTES, page aligned */
    /* Called once, by any thread, possibly before export_start() returns;
     * may not block, nor touch guest RAM. */
    void (*done)(RamExport *e);
    void *opaque;

    int result; /* 0; -EIO: unreadable */
    /* Of the wanted pages: those known to be zero (no bytes anywhere), and
     * those to be read at buf + i * RAM_PAGE_BYTES. The others are read at
     * the guest's own address, where they stay pinned until export_end(). */
    unsigned long zero[RAM_CHUNK_LONGS];
    unsigned long in_buf[RAM_CHUNK_LONGS];
    bool pinned;    /* private, as are the next */
    unsigned tries;
    void *below;
};

/*
 * One import. begin lends buf (may sleep for a free frame); the caller puts
 * page i at buf + i * RAM_PAGE_BYTES for each bit of pages, and commits.
 */
typedef struct RamImport RamImport;
struct RamImport {
    ChunkNo chunk;
    RamPlace place; /* RAM or SWAP, a wish: RAM may become SWAP when the
                     * budget is full. Ignored where the chunk already is. */
    /* Pages with content in buf. */
    unsigned long pages[RAM_CHUNK_LONGS];
    /* Pages that become zero. Pages in neither map keep what they are. */
    unsigned long zero[RAM_CHUNK_LONGS];
    /* A history byte of each page; or of history_count pages only, if that is
     * not 0, from page history_first on. NULL: none. */
    const uint8_t *history;
    uint32_t history_first, history_count;
    /* Called once after import_commit(), by any thread; may not block. The
     * struct is the caller's again. result is 0 or -errno (-ENOSPC, -EIO). */
    void (*done)(RamImport *im);
    void *opaque;

    void *buf; /* lent by import_begin() */
    int result;
    void *frame;   /* private, as are the next */
    void *waiting;
    void *below;
};

/*
 * All of the block lies in a file, which is read for as long as something of
 * it is not anywhere else. It is never written.
 */
typedef struct RamBacking {
    int fd;         /* taken; opened with O_DIRECT */
    uint64_t bytes; /* its length, for what is used of it */
    /* By page of the block: which page of the file it is, which is within
     * bytes; 0: it is zero. And its checksum, by sum(). g_free(); taken. */
    uint32_t *at;
    uint64_t *sums;
    uint64_t (*sum)(const uint8_t *page);
    const uint8_t *history; /* by page; or NULL. Borrowed. */
} RamBacking;

/* Counters of pages that moved between RAM and swap because somebody touched
 * them or room was needed; what export and import carry is not in here. */
typedef struct RamPagingCounters {
    uint64_t pages_in;
    uint64_t pages_out;
} RamPagingCounters;

typedef struct RamPlacementOps {
    uint32_t (*chunk_pages)(void *opaque);
    /* Pages that RAM may hold for chunks; UINT64_MAX: no limit. */
    uint64_t (*budget_pages)(void *opaque);
    void (*counters)(void *opaque, RamPagingCounters *ret);

    /* Source. Any thread. info: one entry a chunk of the block. */
    void (*chunk_infos)(void *opaque, RamChunkInfo *ret_infos);
    void (*history)(void *opaque, ChunkNo chunk, uint8_t *ret_history);
    /* Migration threads. At most RAM_EXPORTS_MAX may be under way. */
    int (*export_start)(void *opaque, RamExport *e);
    void (*export_end)(void *opaque, RamExport *e);
    /* Between these two, pages that come back into the guest mapping do not
     * show as dirty unless they are written. */
    void (*tracking_start)(void *opaque);
    void (*tracking_stop)(void *opaque);

    /* Destination, vCPUs stopped. Migration threads. */
    int (*import_begin)(void *opaque, RamImport *im);
    void (*import_commit)(void *opaque, RamImport *im);
    /* Gives a lent frame back without a commit (the stream broke). */
    void (*import_abort)(void *opaque, RamImport *im);
    /* A whole chunk that is zero; history may be NULL. Sleeps. */
    int (*import_zero)(void *opaque, ChunkNo chunk, const uint8_t *history);
    /* The chunk is to leave RAM for swap, as another needs its room; no import
     * of it is under way. Does not sleep; a wish, as RAM is for an import.
     * NULL: all stays in RAM. */
    void (*to_swap)(void *opaque, ChunkNo chunk);
    /* Instead of imports, of which there was none and will be none. Takes what
     * RamBacking says, also on failure. NULL: it cannot. */
    int (*back)(void *opaque, RamBacking *take);
} RamPlacementOps;

#define RAM_EXPORTS_MAX 64u
#define RAM_IMPORTS_MAX 64u

typedef struct RamPlacement {
    const RamPlacementOps *ops;
    void *opaque;
} RamPlacement;

/*
 * Placement of a block that is never paged: everything is RAM (or zero, if
 * never touched), no history; exports point at the guest's pages, and the buf
 * of an import is the guest's pages themselves: fill no page of it that is
 * not in pages. chunk_pages as given. Free with ram_plain_placement_free().
 */
RamPlacement *ram_plain_placement_new(RamBlock *rb, uint32_t chunk_pages);
void ram_plain_placement_free(RamPlacement *p);

/*
 * A view of coarse, a placement of a block of so many pages, in chunks of
 * chunk_pages, which divides coarse's. coarse outlives it. Free with
 * ram_finer_placement_free().
 */
RamPlacement *ram_finer_placement_new(const RamPlacement *coarse,
                                      uint64_t pages, uint32_t chunk_pages);
void ram_finer_placement_free(RamPlacement *p);
/* The other way round, fine's dividing chunk_pages: for import only. It takes
 * 4 KiB * chunk_pages of memory for each import between begin and commit. */
RamPlacement *ram_coarser_placement_new(const RamPlacement *fine,
                                        uint64_t pages, uint32_t chunk_pages);
void ram_coarser_placement_free(RamPlacement *p);

#endif
