/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMemDirect: a private virtual memory for one VM.
 *
 * The engine pages a range of anonymous memory (guest RAM) between a RAM
 * budget and a swap file, in chunks, by userfaultfd. It knows nothing of
 * KVM, devices or migration: it is a library that any VMM may embed.
 *
 *     VmdConfig *cfg = vmd_config_new();
 *     vmd_config_set(cfg, "swap", "/nvme/vm1.swap", &err);
 *     vmd_config_set(cfg, "memory", "4G", &err);
 *     VmdEngine *vmd = vmd_engine_new(cfg, base, bytes, &events, NULL, &err);
 *     ... run the guest; every access to [base, base+bytes) may page ...
 *     vmd_engine_free(vmd);
 *
 * Threads: vmd_engine_new() and _free() by the main thread, with nobody
 * touching the memory at _free() (its content is undefined afterwards). All
 * other functions by any thread but the engine's own.
 * Errors: control plane GError; pin and placement -errno.
 */
#ifndef VM_VMEMDIRECT_VMEMDIRECT_H
#define VM_VMEMDIRECT_VMEMDIRECT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory/placement.h"

typedef struct VmdConfig VmdConfig;
typedef struct VmdEngine VmdEngine;

VmdConfig *vmd_config_new(void);
void vmd_config_free(VmdConfig *cfg);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmdConfig, vmd_config_free)
/*
 * The options of -vmemdirect, one at a time. Keys:
 *   swap=PATH            file to make (or block device); required
 *   memory=SIZE          budget: resident guest pages plus frames; required
 *   chunk-pages=auto|N   power of two, 1 to 512; auto: 512, a huge page, if all
 *                        RAM fits in memory with some to spare, else 256
 *   io=io_uring|libaio|auto
 *   mode=auto|move|copy  move: UFFDIO_MOVE (Linux 6.8); copy: COPY, DONTNEED
 *   tracker=auto|rwp|idle|damon|soft|off
 *   aging-interval=MS    10 to 3600000; default 1000
 *   poll-us=N            0 (off) to 1000; default 50: while faults come less
 *                        than four times this apart, the thread spins
 *   keep-swap=on|off     leave the file's name in place; default off
 *   checksum=on|off      of each page, in memory; default off
 *   encrypt=on|off       AES-256-XTS, a new key at each start; default off
 *   write-error=stop|report
 *   read-error=stop      nothing can stand in for what is lost
 *   io-timeout=SECONDS   0 (never) to 3600; default 30
 *   timeout-error=stop|report
 * Unknown keys and bad values are refused by name.
 */
bool vmd_config_set(VmdConfig *cfg, const char *key, const char *value,
                    GError **errp);

/*
 * What may be wrong. A trouble begins with a failure and ends when the engine
 * has seen that it is over; only these two edges are told, however many
 * failures lie between them. After vmd_engine_retry() a trouble that lasts is
 * told once more.
 */
typedef enum VmdTrouble {
    VMD_TROUBLE_WRITE,   /* page-out fails; the data is safe in RAM; retried */
    VMD_TROUBLE_READ,    /* chunks are unreadable: who touches them sleeps */
    VMD_TROUBLE_TIMEOUT, /* a request is in the device for io-timeout */
    VMD_TROUBLE_STALL,   /* the engine's thread hangs for io-timeout */
    VMD_TROUBLE_ENGINE,  /* the engine cannot go on; never ends */
    VMD_TROUBLE__COUNT
} VmdTrouble;
const char *vmd_trouble_to_string(VmdTrouble what); /* QMP's word */
/* error is positive: an errno, with a meaning of its own where the swap file
 * is not what it should be. */
const char *vmd_error_to_string(int error);

typedef struct VmdEvent {
    VmdTrouble what;
    bool over;  /* the trouble has ended; the rest says nothing then */
    int error;  /* positive, for vmd_error_to_string() */
    bool stop;  /* by policy, the VM must not go on */
} VmdEvent;
/* Told by the engine's thread or its watchdog's; may not block nor touch guest
 * RAM. */
typedef struct VmdEvents {
    void (*event)(void *opaque, const VmdEvent *event);
} VmdEvents;

/*
 * base is RAM_PAGE_BYTES aligned, unregistered anonymous private memory
 * without content. Opens, sizes, locks and (unless kept) unlinks the swap
 * file; starts the engine's thread; from then on faults are served.
 */
VmdEngine *vmd_engine_new(const VmdConfig *cfg, void *base, uint64_t bytes,
                          const VmdEvents *events, void *opaque,
                          GError **errp);
void vmd_engine_free(VmdEngine *vmd);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmdEngine, vmd_engine_free)

/* Ops to plug into a RamBlock; opaque is the engine. */
extern const RamPagerOps vmd_pager_ops;
RamPlacement *vmd_engine_placement(VmdEngine *vmd); /* owned by the engine */

/*
 * A larger budget counts at once. To a smaller one the limit slides down as
 * memory is freed, never up, and is then as hard as ever; VmdStats tells how
 * far it is. Refused, with nothing changed: what is too small to run on (see
 * vmd_engine_min_budget_bytes()), or would put more into the swap file than
 * its file system could ever hold. Refused, too, while VMD_TROUBLE_STALL
 * lasts; if that began meanwhile, it may change when it is over.
 */
bool vmd_engine_set_budget(VmdEngine *vmd, uint64_t bytes, GError **errp);
uint64_t vmd_engine_min_budget_bytes(const VmdEngine *vmd);
/*
 * The guest runs, or stands still; it runs at first. While it stands the access
 * history does not age: nothing is accessed then, whatever is hot. Faults and
 * paging go on as ever. Does not wait.
 */
void vmd_engine_set_running(VmdEngine *vmd, bool running);
/* The VM goes on, and what was wrong may have been repaired: tries again what
 * failed. Does not wait. */
void vmd_engine_retry(VmdEngine *vmd);
/* The VM has ended: whoever waits in a pin, now or later, gets -EIO, and no
 * page comes back. Only vmd_engine_free() is of use afterwards. */
void vmd_engine_abandon(VmdEngine *vmd);

#define VMD_TRACKERS 4
#define VMD_LATENCY_BUCKETS 32 /* bucket i: [2^i, 2^(i+1)) ns */

typedef enum VmdBudgetState {
    VMD_BUDGET_REACHED,
    VMD_BUDGET_CONVERGING,
    VMD_BUDGET_CANNOT, /* for the time being; it is tried on */
} VmdBudgetState;
const char *vmd_budget_state_to_string(VmdBudgetState state);

typedef struct VmdStats {
    uint64_t budget_bytes;       /* asked for */
    uint64_t budget_limit_bytes; /* in force */
    uint64_t budget_used_bytes;  /* at most budget_limit_bytes */
    VmdBudgetState budget_state;
    /* CANNOT: "write-error"; "pinned", everything that is left; "slow-io",
     * requests to the swap file do not come back; "engine", it has given up;
     * "busy", something else. Otherwise NULL. */
    const char *budget_obstacle;
    int64_t budget_age_ns;  /* since it was asked for */
    int64_t budget_took_ns; /* REACHED: until it was */
    uint64_t ram_bytes;
    uint32_t chunk_pages;
    const char *mode, *io, *tracker; /* as chosen; tracker may change */
    /* The access sources, best first, and why one that is better than the
     * one in use is not (else NULL). Valid as long as the engine. */
    const char *tracker_names[VMD_TRACKERS];
    const char *tracker_why_not[VMD_TRACKERS];
    uint64_t tracker_spent_ns; /* CPU time for tracking, so far */
    uint64_t tracker_round_ns; /* for the last look at all of RAM; 0: none */
    uint64_t aging_spent_ns;   /* CPU time for aging, so far */
    /* Where the guest's pages are; the sum of the last four is ram_bytes. */
    uint64_t frames_bytes;   /* populated frames, standby included */
    uint64_t resident_bytes; /* in the guest mapping */
    uint64_t standby_bytes;  /* moved out, not yet reusable */
    uint64_t swapped_bytes;  /* only in the file */
    uint64_t zero_bytes;
    /* Of resident and standby: equal to the file, and not. */
    uint64_t clean_bytes, dirty_bytes;
    uint64_t stored_bytes; /* occupied in the file */
    uint64_t backing_bytes; /* would be read from the file that the VM was
                             * saved to and started from */
    uint64_t pinned_chunks;
    uint64_t chunks_by_state[8]; /* by VmdChunkState, for tests */
    uint64_t faults_hard, faults_soft, faults_zero, faults_write_protect;
    uint64_t fault_latency[VMD_LATENCY_BUCKETS]; /* hard faults, ns,
                                                  * event read to wake */
    uint64_t page_in_bytes, page_in_ops, page_out_bytes, page_out_ops;
    uint64_t export_bytes, import_ram_bytes, import_swap_bytes;
    uint64_t dropped_clean_bytes, found_zero_bytes, discarded_bytes;
    uint64_t read_errors, write_errors;
    uint64_t checksum_errors; /* of the read errors */
    bool checksum, encrypt;   /* as configured */
    uint64_t seal_bytes;      /* memory that these two hold */
    uint64_t failed_chunks; /* unreadable at this moment */
    uint64_t oldest_request_ns; /* age of the oldest in the device; 0: none */
    struct VmdTroubleStats {
        uint64_t failures; /* since it began, or 0: all is well */
        uint64_t age_ns;   /* since it began */
        int error;         /* of the last failure, positive */
    } trouble[VMD_TROUBLE__COUNT];
    uint64_t key_histogram[256]; /* chunks by history key */
} VmdStats;
/* While VMD_TROUBLE_STALL lasts: the figures of last time. */
void vmd_engine_stats(VmdEngine *vmd, VmdStats *ret);

#endif
