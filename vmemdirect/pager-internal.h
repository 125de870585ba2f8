/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pager's data, shared by the files of this folder only.
 *
 *   pager.c     chunk states and transitions
 *   fault.c     those that a fault makes
 *   discard.c   those of pages that are given up; chunk.h is between these
 *   pager-step.c, pager-check.c  the whole: life, invariants, statistics
 *   frame.c     frames, and what they leave of the budget
 *   budget.c    a budget that changes
 *   history.c   aging, keys, lists by key
 *   tracker*.c  where access information comes from (tracker.h)
 *   transfer.c  I/O on behalf of chunks
 *   landing.c   small reads around a fault
 *   huge.c      chunks that are one huge page
 *   window.c    how much a fault brings in
 *   ahead.c     sequences: reading ahead, dropping behind
 *   stride.c    faults at equal distances
 *   warm.c      RAM that fills after a start from a saved file
 *   read-first.c  pages that are read first and written next
 *   reclaim.c   who goes, and when
 *   carry.c     export and import for migration
 *   health.c    what is wrong, and who has been told
 *   engine.c    the thread, the mailbox, the public interface; beside it
 *               engine-placement.c, what migration asks of it
 *
 * Everything here belongs to the pager thread, but for what is marked.
 * Units: pages of RAM_PAGE_BYTES. Bitmaps have one bit a page of guest RAM
 * or a page of the frame region; chunk c has pages c * chunk_pages onwards.
 */
#ifndef VMD_PAGER_INTERNAL_H
#define VMD_PAGER_INTERNAL_H

#include <errno.h>
#include <glib.h>
#include <stdatomic.h>

#include "health.h"
#include "io.h"
#include "mem.h"
#include "tracker.h"
#include "util/bits.h"
#include "util/thread.h"
#include "vmemdirect/vmemdirect.h"

#define VMD_NONE UINT32_MAX
typedef uint32_t FrameNo;

/* Bounds. */
#define VMD_IO_DEPTH 128u      /* requests in flight */
#define VMD_IO_SPARE 8u        /* of these, kept for critical reads */
#define VMD_FILLS_MAX 4u       /* background read requests in flight */
#define VMD_AHEAD_IO_MAX 4u    /* read-ahead requests in flight */
#define VMD_EXPORT_IO_MAX 8u   /* export read requests in flight */
#define VMD_WRITES_MAX 16u     /* write requests in flight */
#define VMD_PUNCHES_MAX 4u
#define VMD_TRANSFERS_MAX 512u /* chunks with I/O planned */
#define VMD_PENDING_MAX 4096u  /* faults that wait for memory or a write */
#define VMD_EXTRA_FRAMES 160u  /* beyond one a chunk: lent to imports */
#define VMD_READ_TRIES 3u
#define VMD_GHOST_FAULTS 10000u /* on a page that should be there, in a row */
#define VMD_RETRY_NS (1000 * 1000 * 1000LL)
#define VMD_BEAT_NS (1000 * 1000 * 1000LL) /* it looks after itself */
#define VMD_AGING_SLICES 16u
#define VMD_LANDINGS 64u       /* small reads planned or in flight */
#define VMD_LANDING_PAGES 16u  /* the largest of them */
#define VMD_HEAT_MAX 5u        /* a window of 4^5 pages, so all */
#define VMD_STREAMS 8u         /* sequences that are followed */
#define VMD_STRIDES 8u
#define VMD_READ_SAMPLES 64u

typedef enum VmdChunkState {
    VMD_ZERO,
    VMD_RESIDENT,
    VMD_STANDBY,
    VMD_WRITING,
    VMD_SWAPPED,
    VMD_FILLING,
    VMD_FAILED,
    VMD_STATE__COUNT
} VmdChunkState;
const char *vmd_chunk_state_to_string(VmdChunkState state);

typedef struct VmdChunk {
    uint32_t next, prev; /* on the list that state and key say */
    FrameNo frame;       /* STANDBY, WRITING, FILLING */
    uint8_t state;       /* VmdChunkState */
    uint8_t key;
    bool recalled : 1;   /* WRITING: touched; comes back when written.
                          * FILLING a huge page: comes in when all is read */
    bool failed : 1;     /* FILLING: unreadable; FAILED when I/O is quiet */
    bool accessed : 1;   /* some page of it has its accessed bit */
    bool observed : 1;   /* by the tracker, since its pages last aged */
    bool punching : 1;   /* a hole is being punched: no write may start */
    bool sampled : 1;    /* STANDBY: by the soft tracker, not by reclaim */
    bool fresh : 1;      /* became resident since the tracker looked */
    bool ahead : 1;      /* FILLING, STANDBY: read ahead, not touched yet */
    bool behind : 1;     /* a sequence has passed it: first to go */
    bool huge : 1;       /* all of it is one huge page in the guest */
    bool suspect : 1;    /* a read failed: one page at a time */
    uint8_t wp_faults;   /* since it came in: how much to unprotect next */
    uint8_t landings;    /* small reads planned or in flight */
    uint8_t heat;        /* how dense its faults are, see window.c */
    uint16_t last_fault; /* low bits of fault_number at its last fault */
    uint16_t aged_to;    /* the interval up to which its pages have aged */
} VmdChunk;

typedef struct VmdList {
    uint32_t first, last;
    uint64_t count;
} VmdList;

typedef struct VmdFrames {
    uint8_t *base;
    uint32_t count;
    /* Slots with memory behind them (charged to the budget). */
    unsigned long *populated;
    /* STANDBY, WRITING, and FILLING while ahead: slots that hold a page. */
    unsigned long *valid;
    unsigned long *huge; /* by frame: its memory is one huge page */
    uint32_t *next;             /* links of the free lists */
    struct VmdTransfer **owner; /* the transfer that uses the frame, if any */
    uint32_t stale;      /* free, with memory of small pages */
    uint32_t stale_huge; /* free, with a huge page */
    uint32_t empty;      /* free, without */
    uint64_t populated_pages; /* all */
    uint64_t stale_pages;     /* of free frames: reusable at once */
} VmdFrames;

typedef enum VmdTransferKind {
    VMD_CRITICAL, /* a page that somebody waits for */
    VMD_EXPORT,
    VMD_FILL,  /* the rest of a chunk that is touched */
    VMD_AHEAD, /* a chunk that is not: its pages stay in the frame */
    VMD_WRITE,
    VMD_TRANSFER__COUNT
} VmdTransferKind;

typedef struct VmdTransfer VmdTransfer;
struct VmdTransfer {
    VmdTransfer *next;
    VmdTransferKind kind;
    ChunkNo chunk;
    FrameNo frame;  /* VMD_NONE for EXPORT */
    uint8_t *base;  /* where page 0 of the chunk is read to or written from */
    unsigned long todo[RAM_CHUNK_LONGS]; /* not yet submitted */
    unsigned long flying[RAM_CHUNK_LONGS]; /* submitted, not done */
    bool queued;
    unsigned in_flight;
    unsigned tries;
    int error;
    struct VmdLanding *landing; /* CRITICAL */
    RamExport *export_;
    RamImport *import_;
    bool exchanged; /* WRITE: migration asked for it (vmd_carry_to_swap()) */
};

/* A small read around a fault: contract at the head of landing.c. */
typedef struct VmdLanding {
    ChunkNo chunk;
    uint32_t first, count; /* pages of the chunk; count 0: not in use */
    uint32_t written;      /* bit k: page first + k will be written, by who
                            * waits for it or soon after (read-first.c) */
    int64_t since_ns;      /* when the fault was read; 0: nobody waits yet */
    uint8_t *buf;          /* VMD_LANDING_PAGES */
} VmdLanding;

typedef struct VmdSlot {
    VmdIoRequest request; /* first: done() gets this back */
    struct VmdPager *pager;
    VmdTransfer *transfer; /* NULL: a punch */
    ChunkNo chunk;
    uint32_t first, count; /* pages of the chunk */
    int64_t since_ns; /* in the device since; 0: not */
    struct VmdSlot *next_free;
} VmdSlot;

typedef struct VmdPendingFault {
    PageNo page;
    VmFaultKind kind;
    int64_t since_ns;
} VmdPendingFault;

/* A sequence of chunks: contract at the head of ahead.c. */
typedef struct VmdStream {
    ChunkNo at;         /* touched last */
    int dir;            /* 1 or -1; 0: not in use */
    uint32_t depth;     /* chunks to be read ahead of it */
    uint32_t last_used; /* fault_number */
} VmdStream;

/* Faults at equal distances: contract at the head of stride.c. */
typedef struct VmdStride {
    PageNo last;        /* the last fault, or the last page read ahead */
    int64_t delta;      /* pages */
    uint32_t equal;     /* how often in a row */
    uint64_t last_used; /* stride_clock; 0: never */
} VmdStride;

/* What readers do next: contract at the head of read-first.c. */
typedef struct VmdReadSample {
    PageNo page;
    bool waits; /* for its first write */
} VmdReadSample;

typedef struct VmdReadFirst {
    VmdReadSample samples[VMD_READ_SAMPLES]; /* by page number */
    uint32_t share;   /* of samples that were written, in 1/1024 */
    uint32_t guesses; /* that were acted on; wraps */
} VmdReadFirst;

/* A thread that pins: woken when all its pages are present. */
typedef struct VmdPinWaiter VmdPinWaiter;
struct VmdPinWaiter {
    VmdPinWaiter *next;
    PageNo first, count;
    void (*done)(VmdPinWaiter *w, int result);
};

typedef struct VmdPagerConfig {
    uint8_t *guest;
    uint64_t pages;
    uint32_t chunk_pages;
    uint32_t landing_pages; /* the largest small read, <= VMD_LANDING_PAGES */
    uint64_t budget_pages;
    uint8_t *frame_base; /* room for vmd_pager_frames_needed() chunks */
    uint8_t *huge_stage; /* where a huge page is made; NULL: none are */
    VmdTracker *tracker; /* NULL: none */
    int64_t aging_interval_ns;
    bool stop_on_write_error, stop_on_timeout;
    int64_t io_timeout_ns; /* 0: never */
    const VmdMemOps *mem;
    void *mem_opaque;
    VmdIo *io;
    int64_t (*now_ns)(void);
    const VmdEvents *events;
    void *events_opaque;
    /* A frame was lent to an import that had to wait. */
    void (*import_lent)(RamImport *im);
} VmdPagerConfig;

typedef struct VmdPager {
    VmdPagerConfig cfg; /* immutable but for budget_pages, and for io, which
                         * vmd_carry_back() puts a layer around */
    uint32_t chunk_count;

    /* Shared with pinning threads; the protocol is in pager.c. */
    atomic_uint *pins;         /* by chunk */
    atomic_uchar *leaving;     /* by chunk: being moved out right now */
    unsigned long *present;    /* by page; written by the pager thread */

    /* Protected by history_lock (rank LEAF), written by the pager thread. */
    VmMutex history_lock;
    uint8_t *history; /* by page */

    /* Pager thread. */
    VmdChunk *chunks;
    unsigned long *stored;   /* by page: the file has the content */
    unsigned long *occupied; /* by page: the file may have blocks */
    unsigned long *accessed; /* by page, since the chunk last aged */
    VmdFrames frames;
    uint64_t guest_pages; /* present */
    struct {
        uint64_t limit_pages; /* in force */
        uint64_t freed_pages; /* since the last step */
        int64_t set_ns;       /* when cfg.budget_pages was set ... */
        int64_t moved_ns;     /* ... and when the limit moved last */
        int64_t took_ns;      /* from set to reached; 0: at once, or not yet */
    } budget;
    VmdList resident[256]; /* by key */
    unsigned long resident_keys[4]; /* which lists are not empty */
    VmdList behind;         /* resident chunks that a sequence has passed */
    VmdList standby;        /* first is the oldest */
    uint64_t standby_pages; /* valid slots of STANDBY chunks */
    uint64_t writing_pages; /* valid slots of WRITING chunks */
    bool tracking;          /* migration watches writes */
    bool protects;          /* some page came in write-protected, ever */
    bool reclaiming;

    VmdPendingFault *pending; /* VMD_PENDING_MAX */
    uint32_t pending_count;
    VmdPinWaiter *pin_waiters;
    uint32_t fault_number; /* hard faults so far; wraps */
    PageNo ghost_page;     /* missing, the kernel says; present, say we */
    unsigned ghost_faults; /* in a row, on that page and no other */
    VmdLanding landings[VMD_LANDINGS];
    uint8_t *landing_memory;
    uint64_t landing_pages; /* reserved: they will be the guest's */
    VmdStream streams[VMD_STREAMS];
    VmdStride strides[VMD_STRIDES];
    uint64_t stride_clock; /* faults seen by stride.c */
    VmdReadFirst read_first;
    struct {
        ChunkNo *order; /* to be brought; NULL: it is over */
        uint32_t count, next;
    } warm; /* warm.c */
    VmdIo *backing; /* cfg.io, if that is one (backing.h); or NULL */
    GQueue frame_waiters; /* of RamImport *: want a frame */
    GQueue held_imports;  /* of RamImport *: chunk is busy */

    VmdTransfer *transfers; /* VMD_TRANSFERS_MAX */
    VmdTransfer *free_transfers;
    struct {
        VmdTransfer *first, *last;
    } queue[VMD_TRANSFER__COUNT];
    unsigned requests[VMD_TRANSFER__COUNT]; /* in flight */
    unsigned punches;
    unsigned in_flight; /* all */
    VmdSlot *slots, *free_slots;

    int64_t huge_retry_ns; /* no huge page is asked for before */
    VmdHealth health;
    int64_t next_beat_ns;
    uint64_t failed_chunks; /* FAILED, or failed and I/O in flight */
    int64_t write_retry_ns; /* while VMD_TROUBLE_WRITE lasts */
    bool fatal;

    uint16_t interval;       /* the present one's number */
    int64_t interval_end_ns; /* while the guest stands: as if it had not */
    bool stands;             /* the guest does, since then */
    int64_t stands_since_ns;
    int64_t next_slice_ns;
    uint32_t slice;          /* counts parts of the interval */
    uint32_t walk_hand;      /* of the aging walk */
    uint32_t walk_due;       /* chunks that it is behind */
    int64_t walk_purse_ns;   /* what it may cost; negative: in debt */
    VmdTracker *tracker;     /* cfg.tracker, or the one that replaced it */
    uint32_t punch_slice;    /* slice at the last walk for holes */
    uint32_t punch_left;     /* chunks that it may still pass in this slice */
    uint32_t punch_hand;     /* of that walk */

    VmdStats stats; /* the counters in it; the rest is filled on demand */
} VmdPager;

/* --- pager-step.c ------------------------------------------------------- */
uint32_t vmd_pager_frames_needed(uint64_t pages, uint32_t chunk_pages);
void vmd_pager_init(VmdPager *p, const VmdPagerConfig *cfg);
/* Nothing may be in flight; frees tables, not the frame region. */
void vmd_pager_done(VmdPager *p);
/* Everything that is due: completions, waiters, timers, reclaim, I/O. */
void vmd_pager_step(VmdPager *p);
/* When step() has to be called again even if nothing happens. */
int64_t vmd_pager_deadline_ns(const VmdPager *p);

/* --- pager-check.c ------------------------------------------------------ */
/* Asserts the invariants; O(pages). */
void vmd_pager_check(VmdPager *p);
void vmd_pager_fill_stats(VmdPager *p, VmdStats *ret);

/* --- fault.c ------------------------------------------------------------ */
/* One fault as read from the kernel. */
void vmd_pager_fault(VmdPager *p, PageNo page, VmFaultKind kind);
/* Faults and pins that could not be served at once: tries again. */
void vmd_pager_serve_pending(VmdPager *p);
void vmd_pager_serve_pin_waiters(VmdPager *p);
void vmd_pager_add_pin_waiter(VmdPager *p, VmdPinWaiter *w);
/* SWAPPED -> FILLING, then STANDBY unless it is touched; false: no room. */
bool vmd_chunk_read_ahead(VmdPager *p, ChunkNo c);
/* SWAPPED -> FILLING, as if all of it were touched; false: not now. */
bool vmd_chunk_bring(VmdPager *p, ChunkNo c);

/* --- pager.c: transitions, for reclaim.c, transfer.c and carry.c -------- */
int vmd_chunk_move_out(VmdPager *p, ChunkNo c);  /* RESIDENT -> STANDBY */
void vmd_chunk_recall(VmdPager *p, ChunkNo c);   /* STANDBY -> RESIDENT */
void vmd_chunk_set_behind(VmdPager *p, ChunkNo c, bool behind);
/* STANDBY -> SWAPPED or ZERO at once (true), or -> WRITING; false if it
 * could not start. */
bool vmd_chunk_write_back(VmdPager *p, ChunkNo c);
bool vmd_chunk_can_drop(VmdPager *p, ChunkNo c); /* without a write */
void vmd_chunk_read_done(VmdPager *p, VmdTransfer *t, uint32_t first,
                         uint32_t count, int result);
void vmd_chunk_write_done(VmdPager *p, VmdTransfer *t, uint32_t first,
                          uint32_t count, int result);
void vmd_chunk_transfer_finished(VmdPager *p, VmdTransfer *t);
/* The pages of the map (bit 0 is page 0 of the chunk) are zero from now on,
 * in any state of the chunk; see discard.c. */
void vmd_chunk_discard(VmdPager *p, ChunkNo c, const unsigned long *pages);
void vmd_pager_discard(VmdPager *p, PageNo first, uint64_t count);
/* For import; pages is used up. */
void vmd_chunk_import_ram(VmdPager *p, ChunkNo c, FrameNo f,
                          unsigned long *pages);
bool vmd_chunk_import_swap(VmdPager *p, ChunkNo c, FrameNo f, RamImport *im);
/* ZERO -> SWAPPED: cfg.io has these pages, bit 0 is page 0 of c. */
void vmd_chunk_adopt(VmdPager *p, ChunkNo c, const unsigned long *pages);
/* After a repair: what failed is tried again. */
void vmd_pager_retry(VmdPager *p);
void vmd_pager_fatal(VmdPager *p, int error);
/* Nobody needs the memory any more; whoever waits gets -EIO. */
void vmd_pager_abandon(VmdPager *p);

static inline PageNo vmd_first_page(const VmdPager *p, ChunkNo c)
{
    return (PageNo)c * p->cfg.chunk_pages;
}

/* The last chunk may be shorter. */
static inline uint32_t vmd_chunk_len(const VmdPager *p, ChunkNo c)
{
    uint64_t left = p->cfg.pages - vmd_first_page(p, c);
    return left < p->cfg.chunk_pages ? (uint32_t)left : p->cfg.chunk_pages;
}

static inline uint8_t *vmd_guest_addr(const VmdPager *p, PageNo page)
{
    return p->cfg.guest + page * RAM_PAGE_BYTES;
}

static inline uint64_t vmd_frame_first(const VmdPager *p, FrameNo f)
{
    return (uint64_t)f * p->cfg.chunk_pages;
}

static inline uint8_t *vmd_frame_addr(const VmdPager *p, FrameNo f)
{
    return p->frames.base + vmd_frame_first(p, f) * RAM_PAGE_BYTES;
}

static inline bool vmd_page_present(const VmdPager *p, PageNo page)
{
    return vm_bit_test(p->present, page);
}

static inline bool vmd_page_stored(const VmdPager *p, PageNo page)
{
    return vm_bit_test(p->stored, page);
}

/* --- landing.c ---------------------------------------------------------- */
void vmd_landings_init(VmdPager *p);
void vmd_landings_done(VmdPager *p);
/* The one that brings page i of c, if any. */
VmdLanding *vmd_landing_find(VmdPager *p, ChunkNo c, uint32_t i);
/* Reads pages [first, first+count) of c, which must be in the file only, and
 * not be read already. NULL: no room now. */
VmdLanding *vmd_landing_start(VmdPager *p, ChunkNo c, uint32_t first,
                              uint32_t count, int64_t since_ns);
void vmd_landing_free(VmdPager *p, VmdLanding *l);

/* --- window.c ----------------------------------------------------------- */
/* Counts a hard fault on c; how many pages, a power of two up to
 * chunk_pages, the fault should bring in. */
uint32_t vmd_window(VmdPager *p, ChunkNo c);
/* Was it read as a whole a few faults ago? */
bool vmd_was_dense(const VmdPager *p, ChunkNo c);

/* --- stride.c ----------------------------------------------------------- */
/* Counts a hard fault on the page; how many pages at the distance *ret_delta
 * from each other should be read ahead of it, usually 0. */
uint32_t vmd_stride(VmdPager *p, PageNo page, int64_t *ret_delta);

/* --- read-first.c ------------------------------------------------------- */
/* The page is about to be read from the file for a reader: should it come in
 * writable? */
bool vmd_read_first_guess(VmdPager *p, PageNo page);
/* A write-protect fault on the page. */
void vmd_read_first_written(VmdPager *p, PageNo page);

/* --- warm.c ------------------------------------------------------------- */
/* From now on: brings what is in the file only, hottest first. */
void vmd_warm_start(VmdPager *p);
void vmd_warm_step(VmdPager *p);
void vmd_warm_done(VmdPager *p);

/* --- ahead.c ------------------------------------------------------------ */
/* The chunk is touched: by a hard fault, or having been read ahead. */
void vmd_ahead_touched(VmdPager *p, ChunkNo c);

static inline void vmd_note_read_error(VmdPager *p, int result)
{
    p->stats.read_errors++;
    p->stats.checksum_errors += result == -EBADMSG;
}

/* Does the chunk's frame hold the page? Only STANDBY and WRITING. */
bool vmd_page_in_frame(const VmdPager *p, ChunkNo c, uint32_t i);

/* --- huge.c ------------------------------------------------------------- */
/* Is the map (of chunk c) all of a chunk that can be one huge page? */
bool vmd_huge_is_whole(const VmdPager *p, ChunkNo c, const unsigned long *map);
/* Nothing is mapped at addr, where a huge page shall be moved. */
void vmd_huge_clear_way(VmdPager *p, uint8_t *addr);
/* A new huge page of zeros at addr, charged by the caller. Returns how many
 * of its pages are there: all, or none, or some if the kernel had to split. */
uint32_t vmd_huge_make(VmdPager *p, uint8_t *addr);
/* May a chunk that was never touched become a huge page? Makes room. */
bool vmd_huge_may_zero(VmdPager *p, ChunkNo c);
/* A frame with a huge page to read the pages of map into, which are the ones
 * of c that the file has; its other slots are zeroed, and added to valid.
 * VMD_NONE: read it as small pages. */
FrameNo vmd_huge_frame(VmdPager *p, ChunkNo c, const unsigned long *map);
/* The same for pages that arrive for a chunk which has none yet. */
FrameNo vmd_huge_import_frame(VmdPager *p, const RamImport *im);

/* --- frame.c ------------------------------------------------------------ */
void vmd_frames_init(VmdPager *p);
void vmd_frames_done(VmdPager *p);
/* Budget left, without and with stale frames. */
int64_t vmd_free_pages(const VmdPager *p);
int64_t vmd_available_pages(const VmdPager *p);
uint64_t vmd_low_watermark(const VmdPager *p);
uint64_t vmd_high_watermark(const VmdPager *p);
/* Makes n pages of budget free by emptying stale frames. reclaim: may use
 * the emergency reserve. */
bool vmd_make_room(VmdPager *p, uint64_t n, bool reclaim);
/* An empty frame for move-out: uses no memory by itself. */
FrameNo vmd_frame_get_empty(VmdPager *p);
/* A frame whose slots in need (of the chunk) are charged; VMD_NONE: no
 * memory now. */
FrameNo vmd_frame_get(VmdPager *p, const unsigned long *need);
/* A free frame with a huge page, or an empty one with none yet; all of it is
 * charged. VMD_NONE: no memory now. */
FrameNo vmd_frame_get_huge(VmdPager *p, bool *ret_empty);
void vmd_frame_put(VmdPager *p, FrameNo f);
/* Bookkeeping of slots that gained or lost their memory. */
void vmd_frame_gained(VmdPager *p, FrameNo f, uint32_t first, uint32_t n);
void vmd_frame_lost(VmdPager *p, FrameNo f, uint32_t first, uint32_t n);
/* Gives stale memory back until the budget is kept. */
void vmd_frames_trim(VmdPager *p);

/* --- budget.c ----------------------------------------------------------- */
/* Memory that the budget is about: present, landing, and in frames. */
uint64_t vmd_used_pages(const VmdPager *p);
void vmd_budget_set(VmdPager *p, uint64_t pages);
/* The budget is in force, not only on its way. */
bool vmd_budget_is_reached(const VmdPager *p);
/* Lowers the limit; before memory that was freed is given to faults. */
void vmd_budget_step(VmdPager *p);
void vmd_budget_fill_stats(const VmdPager *p, VmdStats *ret);

/* --- history.c ---------------------------------------------------------- */
void vmd_history_init(VmdPager *p);
void vmd_history_done(VmdPager *p);
void vmd_history_accessed(VmdPager *p, PageNo page);
/* Ages the chunk for the intervals that are over: before its state changes. */
void vmd_history_catch_up(VmdPager *p, ChunkNo c);
/* The chunk was touched in STANDBY; moving it back took cost_ns. */
void vmd_history_recalled(VmdPager *p, ChunkNo c, int64_t cost_ns);
void vmd_history_set(VmdPager *p, ChunkNo c, const uint8_t *history);
/* Of count pages of the chunk, from its page first on. */
void vmd_history_set_part(VmdPager *p, ChunkNo c, uint32_t first,
                          uint32_t count, const uint8_t *history);
/* An observing tracker's word on the chunks in [first, first + count): bit i
 * is page first + i. */
void vmd_history_observe(VmdPager *p, PageNo first, uint32_t count,
                         const unsigned long *accessed);
/* What is accessed from here on, is accessed at now_ns. */
void vmd_history_advance(VmdPager *p, int64_t now_ns);
/* The guest runs, or stands still: then no interval ends and no tracker
 * looks. It runs at first. */
void vmd_history_set_running(VmdPager *p, bool running, int64_t now_ns);
/* Advances; then lets the tracker look, and goes on with the walk. */
void vmd_history_tick(VmdPager *p, int64_t now_ns);
int64_t vmd_history_deadline_ns(const VmdPager *p);
/* Lists: called by pager.c when the state changes. */
void vmd_resident_add(VmdPager *p, ChunkNo c);
void vmd_resident_remove(VmdPager *p, ChunkNo c);
void vmd_standby_add(VmdPager *p, ChunkNo c);
void vmd_standby_remove(VmdPager *p, ChunkNo c);
/* The coldest resident chunk, longest there first; VMD_NONE: none. */
ChunkNo vmd_resident_coldest(const VmdPager *p);
void vmd_resident_to_tail(VmdPager *p, ChunkNo c);

/* --- transfer.c --------------------------------------------------------- */
void vmd_transfers_init(VmdPager *p);
void vmd_transfers_done(VmdPager *p);
/* NULL: all in use; the caller defers. */
VmdTransfer *vmd_transfer_new(VmdPager *p, VmdTransferKind kind, ChunkNo c,
                              FrameNo f, uint8_t *base);
/* Queues it; finished (even at once) through vmd_chunk_transfer_finished. */
void vmd_transfer_start(VmdPager *p, VmdTransfer *t);
void vmd_transfer_retry(VmdPager *p, VmdTransfer *t, uint32_t first,
                        uint32_t count);
void vmd_transfers_pump(VmdPager *p);
/* When the oldest request in the device was given to it; 0: there is none. */
int64_t vmd_transfers_oldest_ns(const VmdPager *p);
bool vmd_punch(VmdPager *p, ChunkNo c, uint32_t first, uint32_t count);

/* --- reclaim.c ---------------------------------------------------------- */
void vmd_reclaim_step(VmdPager *p);
void vmd_reclaim_punch(VmdPager *p);

/* --- carry.c ------------------------------------------------------------ */
void vmd_carry_export(VmdPager *p, RamExport *e);
void vmd_carry_export_finished(VmdPager *p, VmdTransfer *t);
/* Lends a frame now or later; cfg.import_lent() tells. */
void vmd_carry_import_begin(VmdPager *p, RamImport *im);
void vmd_carry_import_commit(VmdPager *p, RamImport *im);
void vmd_carry_import_abort(VmdPager *p, RamImport *im);
int vmd_carry_import_zero(VmdPager *p, ChunkNo c, const uint8_t *history);
/* A resident chunk leaves for the file at once: it was exchanged. */
void vmd_carry_to_swap(VmdPager *p, ChunkNo c);
/* All of guest RAM is behind backing (backing.h), which is borrowed. -EBUSY:
 * some of it was brought already. */
int vmd_carry_back(VmdPager *p, VmdIo *backing, const uint8_t *history);
void vmd_carry_step(VmdPager *p); /* waiters and held imports */
/* The engine cannot go on: imports that wait are failed. */
void vmd_carry_abandon(VmdPager *p);
void vmd_carry_chunk_infos(VmdPager *p, RamChunkInfo *ret);
uint64_t vmd_carry_budget_pages(const VmdPager *p);

/* --- bits of one chunk -------------------------------------------------- */
/* map bits [first, first+count) of a big map to bits 0.. of a chunk's map. */
void vmd_bits_take(unsigned long *ret, const unsigned long *map,
                   uint64_t first, uint32_t count);

#endif
