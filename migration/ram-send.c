/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's passes over guest RAM.
 *
 * Why a window of exports: a chunk that lies in the swap file takes the
 * device's latency to read. EXPORT_WINDOW of them are under way while the
 * oldest is being sent, so that device and network both stay busy. Who sends
 * takes the oldest: the source's thread when the window is full, or, if there
 * are channels, the thread of each, which sleeps when none is READY.
 *
 *   FREE --start_export()--> READING --export_done()--> READY --claimed--+
 *    ^                                                                   |
 *    +-------------------------sent, ended------------------ SENDING <---+
 *
 * A wake-up costs as much as many pages, and a dirty pass may have a few pages
 * of each of thousands of chunks. So who wakes a channel's thread wakes one,
 * which takes several small chunks, and wakes the next if it leaves some; and
 * the source's thread, once it has to wait, waits until half of the window is
 * free.
 *
 * Nothing is copied: the payload leaves from the export's own buffer or
 * from the guest's pages, which export_start() pinned. A page of the latter
 * may be written by the guest while it is being sent; then it is in a later
 * sync of the dirty log, and is sent again. Its checksum may be that of what
 * was there just before: the receiver knows (ram-receive.c).
 *
 * Invariants:
 *   (1) A chunk is in at most one slot, and by one connection only, between
 *       two syncs: so no copy of it overtakes another.
 *   (2) A dirty bit is cleared before the export of its page is started: a
 *       later write sets it again by a later sync.
 *   (3) Each export that was started is waited for and ended, also after an
 *       error or a cancel.
 *   (4) What MOVE has made room for goes by the stream that MOVE went by, and
 *       so does not come before it.
 *   (5) While no slot is busy the channels' threads sleep: their streams, and
 *       what they read here, are the source's thread's then.
 *
 * Threads: the source's thread; "mig-send" claim, send and end what goes by
 * channels; export_done() comes on any.
 */
#include "ram-send.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "exchange.h"
#include "page-sum.h"
#include "plan.h"
#include "util/bits.h"
#include "util/error.h"

#define EXPORT_WINDOW 16u
/* Of small chunks, by a channel's thread. */
#define CLAIM_MAX 8u
/* How often a pass is made, or made longer, for chunks to change places: a
 * guest whose hot chunks are always others would never arrive. */
#define EXCHANGES_MAX 3u

typedef enum SlotState {
    SLOT_FREE,
    SLOT_READING, /* its export is under way */
    SLOT_READY,   /* it waits to be sent */
    SLOT_SENDING, /* of the thread that claimed it */
} SlotState;

typedef struct ExportSlot {
    /* Immutable while READY. */
    RamExport e;
    MigRamSender *sender;
    RamPlace place;
    bool by_stream; /* not by a channel: (4), or there is none */
    uint64_t order;
    uint64_t pages; /* wanted */

    /* Protected by lock. */
    SlotState state;
} ExportSlot;

typedef struct Worker {
    MigRamSender *sender;
    MigStream *channel;
    unsigned number; /* from 1 on, as users see it */
    VmThread *thread;
} Worker;

struct MigRamSender {
    /* Immutable. */
    MigRamSenderConfig c;
    uint32_t chunk_pages;
    uint32_t chunks;
    uint64_t total_pages;
    size_t chunk_bytes;
    size_t bitmap_bytes;
    unsigned window;
    uint8_t *buffers; /* one mapping, window chunks */
    Worker *workers;  /* one a channel */

    /* The source's thread only; those that workers read: (5). */
    RamPlace *place; /* by chunk: where it goes */
    uint64_t room_pages; /* of the budget, beyond the plan */
    bool stopped;        /* the VM is: this is the last pass; (5) */
    bool first_pass;     /* (5) */
    bool moved;          /* this pass has MOVEs */
    unsigned exchanges;  /* passes in which chunks could change places */
    uint64_t next_order;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    VmCond room; /* for the source's thread: busy is at most wake_at, one that
                  * goes by the stream is READY, or error */
    VmCond work; /* for one worker: one that goes by a channel is READY; for
                  * all: stop */
    uint64_t payload_pages;
    unsigned busy;  /* slots that are not FREE */
    unsigned wake_at;
    bool called;    /* a worker that was woken has not looked yet */
    bool over;      /* nothing is sent any more */
    bool stop;      /* workers shall end */
    GError *error;  /* of the first worker that failed; or NULL */
    ExportSlot slots[RAM_EXPORTS_MAX]; /* window of them */
};

/* -- set-up ------------------------------------------------------------- */

static bool map_buffers(MigRamSender *s, GError **errp)
{
    size_t bytes = s->chunk_bytes * s->window;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return vm_error_set(errp, errno, "migration: %zu bytes of buffers",
                            bytes);
    }
    s->buffers = p;
    return true;
}

static void call_worker_locked(MigRamSender *s)
{
    if (!s->called) {
        s->called = true;
        vm_cond_signal(&s->work);
    }
}

static void export_done(RamExport *e)
{
    ExportSlot *slot = e->opaque;
    MigRamSender *s = slot->sender;

    vm_mutex_lock(&s->lock);
    slot->state = SLOT_READY;
    if (slot->by_stream) {
        vm_cond_signal(&s->room);
    } else {
        call_worker_locked(s);
    }
    vm_mutex_unlock(&s->lock);
}

static void worker_run(void *arg);
static void set_over(MigRamSender *s);
static bool drain_window(MigRamSender *s, GError **errp);

static void start_workers(MigRamSender *s)
{
    s->workers = g_new0(Worker, s->c.channels->len);
    for (guint i = 0; i < s->c.channels->len; i++) {
        Worker *w = &s->workers[i];

        w->sender = s;
        w->channel = s->c.channels->pdata[i];
        w->number = i + 1;
        w->thread = vm_thread_new("mig-send", worker_run, w);
    }
}

static void stop_workers(MigRamSender *s)
{
    vm_mutex_lock(&s->lock);
    s->stop = true;
    vm_cond_broadcast(&s->work);
    vm_mutex_unlock(&s->lock);
    for (guint i = 0; s->workers && i < s->c.channels->len; i++) {
        vm_thread_join(s->workers[i].thread);
    }
    g_free(s->workers);
}

MigRamSender *mig_ram_sender_new(const MigRamSenderConfig *config,
                                 GError **errp)
{
    g_autoptr(MigRamSender) s = g_new0(MigRamSender, 1);
    const RamPlacement *p = config->placement;

    s->c = *config;
    vm_mutex_init(&s->lock, VM_RANK_LEAF);
    vm_cond_init(&s->room);
    vm_cond_init(&s->work);
    s->chunk_pages = p->ops->chunk_pages(p->opaque);
    s->total_pages = ram_block_pages(config->ram);
    s->chunks = (uint32_t)((s->total_pages + s->chunk_pages - 1) /
                           s->chunk_pages);
    s->chunk_bytes = s->chunk_pages * RAM_PAGE_BYTES;
    s->bitmap_bytes = mig_bitmap_bytes(s->chunk_pages);
    s->window = MIN(EXPORT_WINDOW + config->channels->len, RAM_EXPORTS_MAX);
    s->place = g_new0(RamPlace, s->chunks);
    if (!map_buffers(s, errp)) {
        return NULL;
    }
    for (unsigned i = 0; i < s->window; i++) {
        s->slots[i].sender = s;
        s->slots[i].e.buf = s->buffers + i * s->chunk_bytes;
        s->slots[i].e.done = export_done;
        s->slots[i].e.opaque = &s->slots[i];
    }
    start_workers(s);
    return g_steal_pointer(&s);
}

void mig_ram_sender_free(MigRamSender *s)
{
    if (!s) {
        return;
    }
    set_over(s);
    (void)drain_window(s, NULL); /* (3) */
    stop_workers(s);
    g_assert(s->busy == 0); /* (3) */
    if (s->buffers) {
        (void)munmap(s->buffers, s->chunk_bytes * s->window);
    }
    g_clear_error(&s->error);
    vm_cond_done(&s->work);
    vm_cond_done(&s->room);
    vm_mutex_done(&s->lock);
    g_free(s->place);
    g_free(s);
}

uint64_t mig_ram_payload_pages(MigRamSender *s)
{
    uint64_t pages;

    vm_mutex_lock(&s->lock);
    pages = s->payload_pages;
    vm_mutex_unlock(&s->lock);
    return pages;
}

uint64_t mig_ram_chunks_sent(const MigRamSender *s)
{
    return s->next_order;
}

bool mig_ram_channel_broke(MigRamSender *s)
{
    bool broke;

    vm_mutex_lock(&s->lock);
    broke = s->error != NULL;
    vm_mutex_unlock(&s->lock);
    return broke;
}

static uint32_t pages_of(const MigRamSender *s, ChunkNo chunk)
{
    return (uint32_t)MIN((uint64_t)s->chunk_pages,
                         s->total_pages - (uint64_t)chunk * s->chunk_pages);
}

/* -- one chunk ---------------------------------------------------------- */

/* The guest may be writing: the answer is about some moment, and a write
 * after it is in the dirty log. Hence no sanitizer either. */
__attribute__((no_sanitize("thread"))) static bool
page_is_zero(const uint8_t *page)
{
    const uint64_t *words = (const uint64_t *)page;

    for (size_t i = 0; i < RAM_PAGE_BYTES / 8; i += 8) {
        if (words[i] | words[i + 1] | words[i + 2] | words[i + 3] |
            words[i + 4] | words[i + 5] | words[i + 6] | words[i + 7]) {
            return false;
        }
    }
    return true;
}

typedef struct ChunkPayload {
    unsigned long pages[RAM_CHUNK_LONGS];
    unsigned long zero[RAM_CHUNK_LONGS];
    unsigned npages, nzero;
    uint64_t sums[RAM_CHUNK_PAGES_MAX]; /* of pages */
    struct iovec iov[MIG_PAYLOAD_IOV_MAX];
    int niov;
} ChunkPayload;
G_STATIC_ASSERT(MIG_PAYLOAD_IOV_MAX >= RAM_CHUNK_PAGES_MAX);

static void payload_add(ChunkPayload *p, uint8_t *at)
{
    struct iovec *last = p->niov ? &p->iov[p->niov - 1] : NULL;

    if (last && (uint8_t *)last->iov_base + last->iov_len == at) {
        last->iov_len += RAM_PAGE_BYTES;
    } else {
        p->iov[p->niov++] = (struct iovec){ at, RAM_PAGE_BYTES };
    }
}

static void collect_payload(MigRamSender *s, const RamExport *e,
                            ChunkPayload *p)
{
    uint32_t n = pages_of(s, e->chunk);
    uint8_t *guest = ram_block_hva(s->c.ram) + e->chunk * s->chunk_bytes;

    memset(p, 0, offsetof(ChunkPayload, sums));
    p->niov = 0;
    for (size_t i = vm_bitmap_next_set(e->want, 0, n); i < n;
         i = vm_bitmap_next_set(e->want, i + 1, n)) {
        uint8_t *from = vm_bit_test(e->in_buf, i) ? e->buf : guest;
        uint8_t *at = from + i * RAM_PAGE_BYTES;

        if (vm_bit_test(e->zero, i) || page_is_zero(at)) {
            vm_bit_set(p->zero, i);
            p->nzero++;
        } else {
            vm_bit_set(p->pages, i);
            if (s->c.with_sums) {
                p->sums[p->npages] = mig_page_sum(at);
            }
            p->npages++;
            payload_add(p, at);
        }
    }
}

/* A chunk that was ZERO in the plan and is not any more gets a place. */
static RamPlace place_of(MigRamSender *s, ChunkNo chunk)
{
    uint32_t n = pages_of(s, chunk);

    if (s->place[chunk] == RAM_PLACE_ZERO) {
        if (n <= s->room_pages) {
            s->place[chunk] = RAM_PLACE_RAM;
            s->room_pages -= n;
        } else {
            s->place[chunk] = RAM_PLACE_SWAP;
        }
    }
    return s->place[chunk];
}

static void account(MigRamSender *s, const ExportSlot *slot,
                    const ChunkPayload *p)
{
    const RamExport *e = &slot->e;
    RamPlace place = slot->place;
    uint64_t bytes = p->npages * RAM_PAGE_BYTES;
    uint64_t from_swap = RAM_PAGE_BYTES *
                         vm_bitmap_count(e->in_buf, 0, s->chunk_pages);
    uint64_t left = (uint64_t)(p->npages + p->nzero) * RAM_PAGE_BYTES;

    vm_mutex_lock(&s->lock);
    s->payload_pages += p->npages;
    vm_mutex_unlock(&s->lock);
    MIG_INFO(s->c.m, {
        info->normal_pages += p->npages;
        info->duplicate_pages += p->nzero;
        info->zero_bytes += p->nzero * RAM_PAGE_BYTES;
        info->sent_ram_bytes += place == RAM_PLACE_RAM ? bytes : 0;
        info->sent_swap_bytes += place == RAM_PLACE_SWAP ? bytes : 0;
        info->multifd_bytes += slot->by_stream ? 0 : bytes;
        info->from_swap_bytes += from_swap;
        info->ram_remaining_bytes -= MIN(left, info->ram_remaining_bytes);
        info->transferred_bytes = mig_stream_bytes_written(s->c.stream);
    });
}

/* The record; into a file, so that its pages can be used where they are. */
static int write_chunk(MigRamSender *s, MigStream *stream, uint16_t flags,
                       struct iovec *control, int ncontrol, ChunkNo chunk,
                       ChunkPayload *p)
{
    MigFileMap *map = s->c.map;
    uint64_t at = 0;
    int err = 0;

    if (map && p->npages) {
        size_t bytes = 0;

        for (int i = 0; i < ncontrol; i++) {
            bytes += control[i].iov_len;
        }
        err = mig_file_map_align(stream, bytes, &at);
    }
    if (err == 0) {
        err = mig_stream_write(stream, MIG_REC_CHUNK, flags, control,
                               ncontrol, p->iov, p->niov);
    }
    if (err == 0 && map) {
        mig_file_map_note(map, chunk, p->pages, p->zero, p->sums, at);
    }
    return err;
}

static bool send_chunk(MigRamSender *s, const ExportSlot *slot,
                       MigStream *stream, GError **errp)
{
    const RamPlacement *p = s->c.placement;
    const RamExport *e = &slot->e;
    uint8_t history[RAM_CHUNK_PAGES_MAX];
    ChunkPayload payload;
    MigWireChunk body;
    struct iovec control[5];
    uint16_t flags = s->stopped ? MIG_FLAG_LAST : 0;
    int ncontrol = 0, err;

    collect_payload(s, e, &payload);
    body = (MigWireChunk){
        .chunk = e->chunk,
        .payload_pages = (uint16_t)payload.npages,
        .place = slot->place == RAM_PLACE_RAM ? MIG_WIRE_PLACE_RAM
                                              : MIG_WIRE_PLACE_SWAP,
    };
    control[ncontrol++] = (struct iovec){ &body, sizeof(body) };
    control[ncontrol++] = (struct iovec){ payload.pages, s->bitmap_bytes };
    control[ncontrol++] = (struct iovec){ payload.zero, s->bitmap_bytes };
    if (s->first_pass && s->c.has_history) {
        flags |= MIG_FLAG_HISTORY;
        p->ops->history(p->opaque, e->chunk, history);
        control[ncontrol++] = (struct iovec){ history,
                                              pages_of(s, e->chunk) };
    }
    if (s->c.with_sums && payload.npages) {
        flags |= MIG_FLAG_CHECKSUM;
        control[ncontrol++] = (struct iovec){
            payload.sums, payload.npages * sizeof(payload.sums[0]) };
    }
    if (!s->stopped) {
        mig_pace(s->c.m, payload.npages * RAM_PAGE_BYTES);
    }
    err = write_chunk(s, stream, flags, control, ncontrol, e->chunk,
                      &payload);
    if (err < 0) {
        return mig_stream_send_error(err, errp);
    }
    account(s, slot, &payload);
    return true;
}

/* -- the window --------------------------------------------------------- */

/* By the stream chunks go in the order in which they were started, so the
 * oldest may be READING; by channels in the order in which they are READY. */
static bool may_be_next(const ExportSlot *slot, bool by_stream)
{
    return (slot->state == SLOT_READY ||
            (slot->state == SLOT_READING && by_stream)) &&
           slot->by_stream == by_stream;
}

/* Or NULL. */
static ExportSlot *oldest_locked(MigRamSender *s, bool by_stream)
{
    ExportSlot *oldest = NULL;

    for (unsigned i = 0; i < s->window; i++) {
        ExportSlot *slot = &s->slots[i];

        if (may_be_next(slot, by_stream) &&
            (!oldest || slot->order < oldest->order)) {
            oldest = slot;
        }
    }
    return oldest;
}

static bool is_over(MigRamSender *s)
{
    bool over;

    vm_mutex_lock(&s->lock);
    over = s->over || s->error;
    vm_mutex_unlock(&s->lock);
    return over;
}

/* Ends the export of a slot that was claimed. */
static void end_slot(MigRamSender *s, ExportSlot *slot)
{
    s->c.placement->ops->export_end(s->c.placement->opaque, &slot->e);
    vm_mutex_lock(&s->lock);
    slot->state = SLOT_FREE;
    s->busy--;
    if (s->busy <= s->wake_at) {
        vm_cond_signal(&s->room);
    }
    vm_mutex_unlock(&s->lock);
}

/* Sends what was claimed, unless sending is over. */
static bool send_slot(MigRamSender *s, ExportSlot *slot, MigStream *stream,
                      GError **errp)
{
    if (is_over(s)) {
        return true;
    }
    if (slot->e.result < 0) {
        return vm_error_set(errp, -slot->e.result,
                            "cannot read chunk %" PRIu32 " of guest RAM",
                            slot->e.chunk);
    }
    if (mig_is_cancelled(s->c.m)) {
        return vm_error_set(errp, ECANCELED, "migration");
    }
    return send_chunk(s, slot, stream, errp);
}

static bool finish_slot(MigRamSender *s, ExportSlot *slot, MigStream *stream,
                        GError **errp)
{
    bool ok = send_slot(s, slot, stream, errp);

    end_slot(s, slot);
    return ok;
}

static void set_busy(MigRamSender *s, ExportSlot *slot, bool busy)
{
    vm_mutex_lock(&s->lock);
    slot->state = busy ? SLOT_READING : SLOT_FREE;
    s->busy += busy ? 1 : -1;
    vm_mutex_unlock(&s->lock);
}

static bool start_export(MigRamSender *s, ExportSlot *slot, ChunkNo chunk,
                         const unsigned long *want, GError **errp)
{
    const RamPlacement *p = s->c.placement;
    int err;

    slot->order = s->next_order++;
    slot->pages = vm_bitmap_count(want, 0, RAM_CHUNK_PAGES_MAX);
    slot->e.chunk = chunk;
    memcpy(slot->e.want, want, sizeof(slot->e.want));
    memset(slot->e.zero, 0, sizeof(slot->e.zero));
    memset(slot->e.in_buf, 0, sizeof(slot->e.in_buf));
    slot->e.result = 0;
    set_busy(s, slot, true);
    err = p->ops->export_start(p->opaque, &slot->e);
    if (err < 0) {
        set_busy(s, slot, false);
        return vm_error_set(errp, -err, "cannot read chunk %" PRIu32
                                        " of guest RAM", chunk);
    }
    return true;
}

/*
 * NULL: at most limit slots are busy, or workers have failed. Else there is
 * one for the source's thread to finish. Once it has to wait for workers, it
 * does until at most low slots are busy.
 */
static ExportSlot *claim_above(MigRamSender *s, unsigned limit, unsigned low)
{
    ExportSlot *slot = NULL;

    vm_mutex_lock(&s->lock);
    while (s->busy > limit && (s->over || !s->error) &&
           !(slot = oldest_locked(s, /* by_stream= */ true))) {
        s->wake_at = limit = low;
        vm_cond_wait(&s->room, &s->lock);
    }
    while (slot && slot->state != SLOT_READY) {
        vm_cond_wait(&s->room, &s->lock);
    }
    if (slot) {
        slot->state = SLOT_SENDING;
    }
    vm_mutex_unlock(&s->lock);
    return slot;
}

static bool check_workers(MigRamSender *s, GError **errp)
{
    bool ok;

    vm_mutex_lock(&s->lock);
    ok = !s->error;
    if (!ok) {
        g_propagate_error(errp, g_error_copy(s->error));
    }
    vm_mutex_unlock(&s->lock);
    return ok;
}

/* Until at most limit chunks are under way; claim_above() says what low is. */
static bool drain_to(MigRamSender *s, unsigned limit, unsigned low,
                     GError **errp)
{
    ExportSlot *slot;

    while ((slot = claim_above(s, limit, low))) {
        if (!finish_slot(s, slot, s->c.stream, errp)) {
            return false;
        }
    }
    return check_workers(s, errp);
}

static bool drain_window(MigRamSender *s, GError **errp)
{
    return drain_to(s, 0, 0, errp);
}

static ExportSlot *free_slot(MigRamSender *s)
{
    ExportSlot *slot = s->slots;

    vm_mutex_lock(&s->lock);
    while (slot->state != SLOT_FREE) {
        slot++;
    }
    vm_mutex_unlock(&s->lock);
    return slot;
}

/* Puts one more chunk under way, once the window has room. */
static bool push_chunk(MigRamSender *s, ChunkNo chunk,
                       const unsigned long *want, bool by_stream,
                       GError **errp)
{
    ExportSlot *slot;
    bool is_new;

    if (!drain_to(s, s->window - 1, s->window / 2, errp)) {
        return false;
    }
    slot = free_slot(s);
    is_new = s->place[chunk] == RAM_PLACE_ZERO;
    slot->place = place_of(s, chunk);
    slot->by_stream = by_stream || s->c.channels->len == 0 ||
                      (s->moved && is_new); /* (4) */
    return start_export(s, slot, chunk, want, errp);
}

/* After a pass that failed: what is under way is not sent any more. */
static void set_over(MigRamSender *s)
{
    vm_mutex_lock(&s->lock);
    s->over = true;
    vm_mutex_unlock(&s->lock);
}

/* -- channels ----------------------------------------------------------- */

/* As many as are about a chunk together. 0: the worker shall end. */
static unsigned claim_for_channel(MigRamSender *s, ExportSlot **ret)
{
    ExportSlot *slot;
    uint64_t pages = 0;
    unsigned n = 0;

    vm_mutex_lock(&s->lock);
    while (!(slot = oldest_locked(s, /* by_stream= */ false)) && !s->stop) {
        vm_cond_wait(&s->work, &s->lock);
    }
    while (slot && n < CLAIM_MAX && pages < s->chunk_pages) {
        slot->state = SLOT_SENDING;
        pages += slot->pages;
        ret[n++] = slot;
        slot = oldest_locked(s, /* by_stream= */ false);
    }
    s->called = false;
    if (slot) {
        call_worker_locked(s);
    }
    vm_mutex_unlock(&s->lock);
    return n;
}

/* "connection 2 of 4: ", and TLS's words. */
static void prefix_error(const MigRamSender *s, unsigned number,
                         MigStream *channel, GError **error)
{
    g_autofree char *tls = vm_channel_explain(mig_stream_channel(channel));

    g_prefix_error(error, "connection %u of %u: %s%s", number,
                   s->c.channels->len, tls ? tls : "", tls ? ": " : "");
}

static void worker_failed(Worker *w, GError *take_error)
{
    MigRamSender *s = w->sender;

    prefix_error(s, w->number, w->channel, &take_error);
    vm_mutex_lock(&s->lock);
    if (!s->error) {
        s->error = g_steal_pointer(&take_error);
    }
    vm_cond_signal(&s->room);
    vm_mutex_unlock(&s->lock);
    g_clear_error(&take_error);
}

static void worker_send(Worker *w, ExportSlot *slot)
{
    GError *error = NULL;

    if (!send_slot(w->sender, slot, w->channel, &error)) {
        worker_failed(w, error); /* before the slot looks sent */
    }
    end_slot(w->sender, slot);
}

static void worker_run(void *arg)
{
    Worker *w = arg;
    ExportSlot *slots[CLAIM_MAX];
    unsigned n;

    while ((n = claim_for_channel(w->sender, slots)) > 0) {
        for (unsigned i = 0; i < n; i++) {
            worker_send(w, slots[i]);
        }
    }
}

static int sync_channel(MigStream *channel, uint32_t pass, bool last)
{
    MigWireSync body = { .pass = pass,
                         .records = mig_stream_records_written(channel),
                         .digest = mig_stream_write_digest(channel) };

    return mig_stream_write_body(channel, MIG_REC_SYNC,
                                 last ? MIG_FLAG_LAST : 0, &body,
                                 sizeof(body));
}

bool mig_ram_sync_channels(MigRamSender *s, uint32_t pass, bool last,
                           GError **errp)
{
    for (guint i = 0; i < s->c.channels->len; i++) {
        MigStream *channel = s->c.channels->pdata[i]; /* (5) */
        GError *error = NULL;
        int err = sync_channel(channel, pass, last);

        if (err < 0) {
            (void)mig_stream_send_error(err, &error);
            worker_failed(&s->workers[i], error);
            return check_workers(s, errp);
        }
    }
    return true;
}

/* -- the first pass ----------------------------------------------------- */

static bool send_zero_range(MigRamSender *s, ChunkNo first, uint32_t count,
                            bool with_history, GError **errp)
{
    const RamPlacement *p = s->c.placement;
    MigWireZeroRange body = { .first = first, .count = count };
    g_autofree uint8_t *history = NULL;
    uint64_t pages = MIN((uint64_t)count * s->chunk_pages,
                         s->total_pages - (uint64_t)first * s->chunk_pages);
    struct iovec control[2] = { { &body, sizeof(body) } };
    int err;

    if (with_history) {
        history = g_malloc0((size_t)count * s->chunk_pages);
        for (uint32_t i = 0; i < count; i++) {
            p->ops->history(p->opaque, first + i,
                            history + (size_t)i * s->chunk_pages);
        }
        control[1] = (struct iovec){ history, pages };
    }
    err = mig_stream_write(s->c.stream, MIG_REC_ZERO_RANGE,
                           with_history ? MIG_FLAG_HISTORY : 0, control,
                           with_history ? 2 : 1, NULL, 0);
    if (err < 0) {
        return mig_stream_send_error(err, errp);
    }
    MIG_INFO(s->c.m, {
        info->duplicate_pages += pages;
        info->zero_bytes += pages * RAM_PAGE_BYTES;
        info->ram_remaining_bytes -= MIN(pages * RAM_PAGE_BYTES,
                                         info->ram_remaining_bytes);
        info->transferred_bytes = mig_stream_bytes_written(s->c.stream);
    });
    return true;
}

/* Runs of ZERO chunks that all have a history, or all have none. */
static bool send_zero_chunks(MigRamSender *s, const RamChunkInfo *infos,
                             GError **errp)
{
    ChunkNo c = 0;

    while (c < s->chunks) {
        bool with_history = s->c.has_history && infos[c].key != 0;
        uint32_t limit = with_history ? MIG_ZERO_HISTORIES_MAX : UINT32_MAX;
        ChunkNo first = c;

        if (infos[c].place != RAM_PLACE_ZERO) {
            c++;
            continue;
        }
        while (c < s->chunks && infos[c].place == RAM_PLACE_ZERO &&
               (s->c.has_history && infos[c].key != 0) == with_history &&
               c - first < limit) {
            c++;
        }
        if (!send_zero_range(s, first, c - first, with_history, errp)) {
            return false;
        }
    }
    return true;
}

static bool send_plan(MigRamSender *s, const MigPlan *plan, GError **errp)
{
    MigWirePlan body = { .ram_pages = plan->ram_pages,
                         .swap_pages = plan->swap_pages,
                         .zero_pages = plan->zero_pages };
    int err;

    if (s->c.one_way) {
        return true; /* what fits is for the destination to see */
    }
    err = mig_stream_write_body(s->c.stream, MIG_REC_PLAN, 0, &body,
                                sizeof(body));
    return err == 0 || mig_stream_send_error(err, errp);
}

/* A destination whose budget nobody knows gives its RAM to what comes first:
 * falling heat then, although hot chunks are dirty again soonest. */
static ChunkNo planned_chunk(const MigRamSender *s, const MigPlan *plan,
                             uint32_t i)
{
    return plan->order[s->c.one_way ? plan->ordered - 1 - i : i];
}

static bool send_planned(MigRamSender *s, const MigPlan *plan, GError **errp)
{
    unsigned long want[RAM_CHUNK_LONGS];

    for (uint32_t i = 0; i < plan->ordered; i++) {
        ChunkNo chunk = planned_chunk(s, plan, i);

        memset(want, 0, sizeof(want));
        vm_bitmap_set(want, 0, pages_of(s, chunk));
        if (!push_chunk(s, chunk, want, /* by_stream= */ false, errp)) {
            return false;
        }
    }
    return drain_window(s, errp);
}

bool mig_ram_send_all(MigRamSender *s, GError **errp)
{
    const RamPlacement *p = s->c.placement;
    g_autofree RamChunkInfo *infos = g_new0(RamChunkInfo, s->chunks);
    g_autoptr(MigPlan) plan = NULL;
    bool ok;

    p->ops->chunk_infos(p->opaque, infos);
    plan = mig_plan_new(infos, s->chunks, s->chunk_pages, s->total_pages,
                        s->c.budget_pages);
    memcpy(s->place, plan->place, s->chunks * sizeof(*s->place));
    s->room_pages = s->c.budget_pages - plan->ram_pages;
    s->first_pass = true;
    MIG_INFO(s->c.m,
             info->ram_remaining_bytes = s->total_pages * RAM_PAGE_BYTES);
    ok = send_plan(s, plan, errp) && send_zero_chunks(s, infos, errp) &&
         send_planned(s, plan, errp);
    if (!ok) {
        set_over(s);
        return false;
    }
    s->first_pass = false; /* (5) */
    return true;
}

/* -- dirty passes ------------------------------------------------------- */

/* Takes the chunk's dirty bits: (2). */
static void take_dirty(MigRamSender *s, unsigned long *dirty, ChunkNo chunk,
                       unsigned long *want)
{
    uint64_t base = (uint64_t)chunk * s->chunk_pages;
    uint32_t n = pages_of(s, chunk);

    memset(want, 0, RAM_CHUNK_LONGS * sizeof(*want));
    for (size_t i = vm_bitmap_next_set(dirty, base, base + n); i < base + n;
         i = vm_bitmap_next_set(dirty, i + 1, base + n)) {
        vm_bit_set(want, i - base);
    }
    vm_bitmap_clear(dirty, base, n);
}

/* A bit a chunk. */
static unsigned long *written_chunks(const MigRamSender *s,
                                     const unsigned long *dirty)
{
    unsigned long *written = vm_bitmap_new(s->chunks);
    uint64_t at = 0;

    while ((at = vm_bitmap_next_set(dirty, at, s->total_pages)) <
           s->total_pages) {
        ChunkNo chunk = (ChunkNo)(at / s->chunk_pages);

        vm_bit_set(written, chunk);
        at = ((uint64_t)chunk + 1) * s->chunk_pages;
    }
    return written;
}

uint64_t mig_ram_dirty_chunks(const MigRamSender *s,
                              const unsigned long *dirty)
{
    g_autofree unsigned long *written = written_chunks(s, dirty);

    return vm_bitmap_count(written, 0, s->chunks);
}

bool mig_ram_wants_exchange(const MigRamSender *s, const unsigned long *dirty)
{
    g_autofree unsigned long *written = NULL;

    if (!s->c.can_move || s->exchanges == EXCHANGES_MAX) {
        return false;
    }
    written = written_chunks(s, dirty);
    for (ChunkNo c = 0; c < s->chunks; c++) {
        if (s->place[c] == RAM_PLACE_SWAP && vm_bit_test(written, c)) {
            return true;
        }
    }
    return false;
}

static MigExchange *plan_exchange(MigRamSender *s, const unsigned long *dirty)
{
    const RamPlacement *p = s->c.placement;
    g_autofree RamChunkInfo *infos = g_new0(RamChunkInfo, s->chunks);
    g_autofree unsigned long *written = written_chunks(s, dirty);

    p->ops->chunk_infos(p->opaque, infos);
    return mig_exchange_new(s->place, infos, written, s->chunks,
                            s->chunk_pages, s->total_pages, s->room_pages);
}

static bool send_move(MigRamSender *s, ChunkNo chunk, GError **errp)
{
    MigWireMove body = { .chunk = chunk, .place = MIG_WIRE_PLACE_SWAP };
    int err = mig_stream_write_body(s->c.stream, MIG_REC_MOVE, 0, &body,
                                    sizeof(body));

    s->place[chunk] = RAM_PLACE_SWAP;
    s->moved = true;
    return err == 0 || mig_stream_send_error(err, errp);
}

/* Makes room first, so that it is there when the others come: after all that
 * keeps its place. Their dirty bits are taken here: (2). */
static bool begin_exchange(MigRamSender *s, unsigned long *dirty,
                           MigExchange **ret, GError **errp)
{
    MigExchange *x;

    *ret = NULL;
    if (s->stopped || !mig_ram_wants_exchange(s, dirty)) {
        return true;
    }
    x = *ret = plan_exchange(s, dirty);
    s->exchanges = x->to_ram_count > 0 ? s->exchanges + 1 : EXCHANGES_MAX;
    s->room_pages = x->room_pages;
    for (uint32_t i = 0; i < x->to_swap_count; i++) {
        if (!send_move(s, x->to_swap[i], errp)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < x->to_ram_count; i++) {
        ChunkNo chunk = x->to_ram[i];

        s->place[chunk] = RAM_PLACE_RAM;
        vm_bitmap_clear(dirty, (uint64_t)chunk * s->chunk_pages,
                        pages_of(s, chunk));
    }
    return true;
}

/* As a whole: the other pages are in the destination's swap. */
static bool end_exchange(MigRamSender *s, const MigExchange *x, GError **errp)
{
    unsigned long want[RAM_CHUNK_LONGS];

    for (uint32_t i = 0; x && i < x->to_ram_count; i++) {
        memset(want, 0, sizeof(want));
        vm_bitmap_set(want, 0, pages_of(s, x->to_ram[i]));
        if (!push_chunk(s, x->to_ram[i], want, /* by_stream= */ true,
                        errp)) { /* (4) */
            return false;
        }
    }
    return true;
}

bool mig_ram_send_dirty(MigRamSender *s, unsigned long *dirty, bool stopped,
                        GError **errp)
{
    g_autoptr(MigExchange) exchange = NULL;
    unsigned long want[RAM_CHUNK_LONGS];
    uint64_t at = 0;
    bool ok;

    s->stopped = stopped;
    s->moved = false;
    ok = begin_exchange(s, dirty, &exchange, errp);
    while (ok && (at = vm_bitmap_next_set(dirty, at, s->total_pages)) <
                     s->total_pages) {
        ChunkNo chunk = (ChunkNo)(at / s->chunk_pages);

        take_dirty(s, dirty, chunk, want);
        ok = push_chunk(s, chunk, want, /* by_stream= */ false, errp);
    }
    ok = ok && end_exchange(s, exchange, errp) && drain_window(s, errp);
    if (!ok) {
        set_over(s);
    }
    return ok;
}
