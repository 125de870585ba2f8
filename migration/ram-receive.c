/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM as it arrives.
 *
 * Why the payload is read straight into the frame that import_begin() lends:
 * it then moves to its place, in RAM or in the swap file, without a copy and
 * without passing through the guest. Commits are asynchronous: IMPORT_WINDOW
 * of them may be under way while the next payload is being received, by each
 * channel that there is.
 *
 * Invariants:
 *   (1) A chunk is in at most one slot: a newer copy waits for the older.
 *   (2) All that the stream says is checked before import_begin().
 *   (3) A slot that is busy belongs to the thread that took it, then to the
 *       placement; each import that was begun is committed or aborted, also
 *       after an error.
 *   (4) Chunks that are placed in RAM are together at most the budget: a
 *       source that knows it must not ask for more, one that does not (one
 *       way) gets swap for what is beyond it.
 *   (5) A page is damaged whose last copy has not the checksum that came with
 *       it. That is nothing yet: the guest may have written to it between
 *       its being summed and its being sent, and then it comes again.
 *
 * Threads: the destination's thread, and those of the channels for CHUNK;
 * import_done() comes on any.
 */
#include "ram-receive.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "page-sum.h"
#include "util/bits.h"
#include "util/error.h"

#define IMPORT_WINDOW 16u

typedef struct ImportSlot {
    RamImport im;
    MigRamReceiver *receiver;
    uint8_t history[RAM_CHUNK_PAGES_MAX];
    bool busy; /* protected by lock; (3) */
} ImportSlot;

struct MigRamReceiver {
    /* Immutable. */
    Migration *m;
    const RamPlacement *p;
    uint64_t budget_pages;
    bool one_way; /* the source does not know budget_pages */
    uint32_t chunk_pages;
    uint32_t chunks;
    uint64_t total_pages;
    size_t bitmap_bytes;
    unsigned nslots;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    VmCond cond;
    unsigned long *seen;   /* chunks that came at least once */
    unsigned long *in_ram; /* chunks counted in ram_pages */
    unsigned long *damaged; /* pages, (5) */
    uint64_t ram_pages;
    uint64_t received_pages;
    int error; /* of the first import that failed */
    ChunkNo error_chunk;
    ImportSlot slots[RAM_IMPORTS_MAX]; /* nslots of them */
};

static void import_done(RamImport *im)
{
    ImportSlot *slot = im->opaque;
    MigRamReceiver *r = slot->receiver;

    vm_mutex_lock(&r->lock);
    slot->busy = false;
    if (im->result < 0 && !r->error) {
        r->error = im->result;
        r->error_chunk = im->chunk;
    }
    vm_cond_broadcast(&r->cond);
    vm_mutex_unlock(&r->lock);
}

MigRamReceiver *mig_ram_receiver_new(Migration *m,
                                     const RamPlacement *placement,
                                     uint64_t budget_pages, bool one_way,
                                     unsigned channels)
{
    MigRamReceiver *r = g_new0(MigRamReceiver, 1);

    r->m = m;
    r->nslots = MIN(IMPORT_WINDOW + channels, RAM_IMPORTS_MAX);
    r->p = placement;
    r->budget_pages = budget_pages;
    r->one_way = one_way;
    r->chunk_pages = placement->ops->chunk_pages(placement->opaque);
    r->total_pages = ram_block_pages(m->vm->ram);
    r->chunks = (uint32_t)((r->total_pages + r->chunk_pages - 1) /
                           r->chunk_pages);
    r->bitmap_bytes = mig_bitmap_bytes(r->chunk_pages);
    r->seen = vm_bitmap_new(r->chunks);
    r->in_ram = vm_bitmap_new(r->chunks);
    r->damaged = vm_bitmap_new(r->total_pages);
    vm_mutex_init(&r->lock, VM_RANK_LEAF);
    vm_cond_init(&r->cond);
    for (unsigned i = 0; i < r->nslots; i++) {
        r->slots[i].receiver = r;
        r->slots[i].im.opaque = &r->slots[i];
        r->slots[i].im.done = import_done;
    }
    return r;
}

static bool any_busy_locked(const MigRamReceiver *r)
{
    for (unsigned i = 0; i < r->nslots; i++) {
        if (r->slots[i].busy) {
            return true;
        }
    }
    return false;
}

static void wait_all(MigRamReceiver *r)
{
    vm_mutex_lock(&r->lock);
    while (any_busy_locked(r)) {
        vm_cond_wait(&r->cond, &r->lock);
    }
    vm_mutex_unlock(&r->lock);
}

void mig_ram_receiver_free(MigRamReceiver *r)
{
    if (!r) {
        return;
    }
    wait_all(r); /* (3) */
    vm_cond_done(&r->cond);
    vm_mutex_done(&r->lock);
    g_free(r->seen);
    g_free(r->in_ram);
    g_free(r->damaged);
    g_free(r);
}

uint64_t mig_ram_received_pages(MigRamReceiver *r)
{
    uint64_t pages;

    vm_mutex_lock(&r->lock);
    pages = r->received_pages;
    vm_mutex_unlock(&r->lock);
    return pages;
}

bool mig_ram_receive_is_whole(MigRamReceiver *r, ChunkNo *ret_missing)
{
    size_t c;

    vm_mutex_lock(&r->lock);
    c = vm_bitmap_next_clear(r->seen, 0, r->chunks);
    vm_mutex_unlock(&r->lock);
    if (c < r->chunks) {
        *ret_missing = (ChunkNo)c;
        return false;
    }
    return true;
}

bool mig_ram_receive_is_right(MigRamReceiver *r, PageNo *ret_damaged)
{
    size_t page;

    vm_mutex_lock(&r->lock);
    page = vm_bitmap_next_set(r->damaged, 0, r->total_pages);
    vm_mutex_unlock(&r->lock);
    if (page < r->total_pages) {
        *ret_damaged = page;
        return false;
    }
    return true;
}

static bool import_error(int err, ChunkNo chunk, GError **errp)
{
    return vm_error_set(errp, -err, "cannot put chunk %" PRIu32
                                    " of guest RAM in its place", chunk);
}

/* Tells the error of an import that finished on its own, if there is one. */
static bool check_imports(MigRamReceiver *r, GError **errp)
{
    ChunkNo chunk;
    int err;

    vm_mutex_lock(&r->lock);
    err = r->error;
    chunk = r->error_chunk;
    vm_mutex_unlock(&r->lock);
    return err == 0 || import_error(err, chunk, errp);
}

bool mig_ram_receive_settle(MigRamReceiver *r, GError **errp)
{
    wait_all(r);
    return check_imports(r, errp);
}

static uint32_t pages_of(const MigRamReceiver *r, ChunkNo chunk)
{
    return (uint32_t)MIN((uint64_t)r->chunk_pages,
                         r->total_pages - (uint64_t)chunk * r->chunk_pages);
}

static bool refuse(GError **errp, const MigWireRecord *rec, const char *what)
{
    return vm_error_set(errp, 0, "migration stream: %s record: %s",
                        mig_record_to_string(rec->type), what);
}

static bool read_control(MigStream *s, void *buf, size_t len, GError **errp)
{
    int err = mig_stream_read_control(s, buf, len);

    return err == 0 || mig_stream_receive_error(err, errp);
}

/* -- PLAN --------------------------------------------------------------- */

bool mig_ram_receive_plan(MigRamReceiver *r, MigStream *s,
                          const MigWireRecord *rec, GError **errp)
{
    MigWirePlan plan;

    if (rec->length != sizeof(plan)) {
        return refuse(errp, rec, "bad length");
    }
    if (!read_control(s, &plan, sizeof(plan), errp)) {
        return false;
    }
    if (plan.ram_pages > r->total_pages || plan.swap_pages > r->total_pages ||
        plan.zero_pages > r->total_pages ||
        plan.ram_pages + plan.swap_pages + plan.zero_pages !=
            r->total_pages) {
        return refuse(errp, rec, "its pages do not add up to the RAM");
    }
    if (plan.ram_pages > r->budget_pages) {
        return refuse(errp, rec, "more RAM than this side has announced");
    }
    MIG_INFO(r->m, info->ram_remaining_bytes =
                       (plan.ram_pages + plan.swap_pages) * RAM_PAGE_BYTES);
    return true;
}

/* -- slots -------------------------------------------------------------- */

static ImportSlot *find_slot_locked(MigRamReceiver *r, ChunkNo chunk)
{
    ImportSlot *free_slot = NULL;

    for (unsigned i = 0; i < r->nslots; i++) {
        ImportSlot *slot = &r->slots[i];

        if (!slot->busy) {
            free_slot = slot;
        } else if (slot->im.chunk == chunk) {
            return NULL; /* (1) */
        }
    }
    return free_slot;
}

/* Makes a slot busy with the chunk, once the chunk is in no other. */
static ImportSlot *take_slot(MigRamReceiver *r, ChunkNo chunk)
{
    ImportSlot *slot;

    vm_mutex_lock(&r->lock);
    while (!(slot = find_slot_locked(r, chunk))) {
        vm_cond_wait(&r->cond, &r->lock);
    }
    slot->busy = true;
    slot->im.chunk = chunk;
    vm_mutex_unlock(&r->lock);
    return slot;
}

/* Which has not been committed. */
static void release_slot(MigRamReceiver *r, ImportSlot *slot)
{
    vm_mutex_lock(&r->lock);
    slot->busy = false;
    vm_cond_broadcast(&r->cond);
    vm_mutex_unlock(&r->lock);
}

/* -- CHUNK -------------------------------------------------------------- */

typedef struct ChunkHead {
    MigWireChunk w;
    unsigned long pages[RAM_CHUNK_LONGS];
    unsigned long zero[RAM_CHUNK_LONGS];
    uint32_t npages; /* of the chunk */
    bool with_sums;
    uint64_t sums[RAM_CHUNK_PAGES_MAX]; /* of the payload's pages */
} ChunkHead;

/* The bitmaps agree with each other, with the counts and the length: (2). */
static bool check_chunk(const MigRamReceiver *r, const MigWireRecord *rec,
                        const ChunkHead *h, GError **errp)
{
    uint64_t history = rec->flags & MIG_FLAG_HISTORY ? h->npages : 0;
    uint64_t length = sizeof(h->w) + 2 * r->bitmap_bytes + history +
                      (uint64_t)h->w.payload_pages *
                          (RAM_PAGE_BYTES +
                           (h->with_sums ? sizeof(h->sums[0]) : 0));

    for (unsigned i = 0; i < RAM_CHUNK_LONGS; i++) {
        if (h->pages[i] & h->zero[i]) {
            return refuse(errp, rec, "a page is both payload and zero");
        }
    }
    if (vm_bitmap_next_set(h->pages, h->npages, RAM_CHUNK_PAGES_MAX) <
            RAM_CHUNK_PAGES_MAX ||
        vm_bitmap_next_set(h->zero, h->npages, RAM_CHUNK_PAGES_MAX) <
            RAM_CHUNK_PAGES_MAX) {
        return refuse(errp, rec, "a page beyond the end of the chunk");
    }
    if (vm_bitmap_count(h->pages, 0, h->npages) != h->w.payload_pages) {
        return refuse(errp, rec, "the payload's size is not the bitmap's");
    }
    if (rec->length != length) {
        return refuse(errp, rec, "bad length");
    }
    return true;
}

/* (4): whether there is room for the chunk in RAM, which is taken. */
static bool take_room(MigRamReceiver *r, const ChunkHead *h)
{
    bool ok;

    vm_mutex_lock(&r->lock);
    ok = vm_bit_test(r->in_ram, h->w.chunk);
    if (!ok && h->npages <= r->budget_pages - r->ram_pages) {
        r->ram_pages += h->npages;
        vm_bit_set(r->in_ram, h->w.chunk);
        ok = true;
    }
    vm_mutex_unlock(&r->lock);
    return ok;
}

static bool check_place(MigRamReceiver *r, const MigWireRecord *rec,
                        ChunkHead *h, GError **errp)
{
    if (h->w.place != MIG_WIRE_PLACE_RAM &&
        h->w.place != MIG_WIRE_PLACE_SWAP) {
        return refuse(errp, rec, "unknown placement");
    }
    if (h->w.place == MIG_WIRE_PLACE_RAM && !take_room(r, h)) {
        h->w.place = MIG_WIRE_PLACE_SWAP;
        return r->one_way ||
               refuse(errp, rec, "more RAM than this side has announced");
    }
    return true;
}

static bool read_chunk_head(MigRamReceiver *r, MigStream *s,
                            const MigWireRecord *rec, ChunkHead *h,
                            GError **errp)
{
    memset(h, 0, offsetof(ChunkHead, sums));
    h->with_sums = rec->flags & MIG_FLAG_CHECKSUM;
    if (rec->length < sizeof(h->w) + 2 * r->bitmap_bytes) {
        return refuse(errp, rec, "too short");
    }
    if (!read_control(s, &h->w, sizeof(h->w), errp) ||
        !read_control(s, h->pages, r->bitmap_bytes, errp) ||
        !read_control(s, h->zero, r->bitmap_bytes, errp)) {
        return false;
    }
    if (h->w.chunk >= r->chunks || h->w.reserved) {
        return refuse(errp, rec, "no such chunk");
    }
    h->npages = pages_of(r, h->w.chunk);
    return check_chunk(r, rec, h, errp) && check_place(r, rec, h, errp);
}

/* Runs of pages straight into the lent frame. */
static bool read_payload(MigStream *s, const ChunkHead *h, uint8_t *buf,
                         GError **errp)
{
    size_t i = vm_bitmap_next_set(h->pages, 0, h->npages);

    while (i < h->npages) {
        size_t end = vm_bitmap_next_clear(h->pages, i, h->npages);
        int err = mig_stream_read_payload(s, buf + i * RAM_PAGE_BYTES,
                                          (end - i) * RAM_PAGE_BYTES);

        if (err < 0) {
            return mig_stream_receive_error(err, errp);
        }
        i = vm_bitmap_next_set(h->pages, end, h->npages);
    }
    return true;
}

/* (5) */
static void check_sums(MigRamReceiver *r, const ChunkHead *h,
                       const uint8_t *buf)
{
    uint64_t first = (uint64_t)h->w.chunk * r->chunk_pages;
    unsigned long wrong[RAM_CHUNK_LONGS] = { 0 };
    size_t k = 0;

    for (size_t i = 0; h->with_sums && i < h->npages; i++) {
        if (vm_bit_test(h->pages, i) &&
            mig_page_sum(buf + i * RAM_PAGE_BYTES) != h->sums[k++]) {
            vm_bit_set(wrong, i);
        }
    }
    vm_mutex_lock(&r->lock);
    for (size_t i = 0; i < h->npages; i++) {
        if (vm_bit_test(wrong, i)) {
            vm_bit_set(r->damaged, first + i);
        } else if (vm_bit_test(h->pages, i) || vm_bit_test(h->zero, i)) {
            vm_bit_clear(r->damaged, first + i);
        }
    }
    vm_mutex_unlock(&r->lock);
}

static void account(MigRamReceiver *r, MigStream *s, const ChunkHead *h)
{
    uint64_t zero = vm_bitmap_count(h->zero, 0, h->npages);
    uint64_t bytes = (uint64_t)h->w.payload_pages * RAM_PAGE_BYTES;
    bool ram = h->w.place == MIG_WIRE_PLACE_RAM;

    vm_mutex_lock(&r->lock);
    vm_bit_set(r->seen, h->w.chunk);
    r->received_pages += h->w.payload_pages;
    vm_mutex_unlock(&r->lock);
    MIG_INFO(r->m, {
        info->normal_pages += h->w.payload_pages;
        info->duplicate_pages += zero;
        info->zero_bytes += zero * RAM_PAGE_BYTES;
        info->sent_ram_bytes += ram ? bytes : 0;
        info->sent_swap_bytes += ram ? 0 : bytes;
        info->ram_remaining_bytes -= MIN(bytes, info->ram_remaining_bytes);
        info->transferred_bytes = mig_stream_bytes_read(s);
    });
}

/* Into a slot that was taken for it, and is not the caller's if true. */
static bool import_chunk(MigRamReceiver *r, MigStream *s, const ChunkHead *h,
                         ImportSlot *slot, GError **errp)
{
    RamImport *im = &slot->im;
    int err;

    im->place = h->w.place == MIG_WIRE_PLACE_RAM ? RAM_PLACE_RAM
                                                 : RAM_PLACE_SWAP;
    memcpy(im->pages, h->pages, sizeof(im->pages));
    memcpy(im->zero, h->zero, sizeof(im->zero));
    im->result = 0;
    err = r->p->ops->import_begin(r->p->opaque, im);
    if (err < 0) {
        return import_error(err, im->chunk, errp);
    }
    if (!read_payload(s, h, im->buf, errp)) {
        r->p->ops->import_abort(r->p->opaque, im); /* (3) */
        return false;
    }
    check_sums(r, h, im->buf);
    r->p->ops->import_commit(r->p->opaque, im);
    return true;
}

/* (1): a slot is taken for the chunk. */
static bool import_zero(MigRamReceiver *r, ChunkNo chunk,
                        const uint8_t *history, GError **errp)
{
    int err = r->p->ops->import_zero(r->p->opaque, chunk, history);

    vm_mutex_lock(&r->lock);
    vm_bitmap_clear(r->damaged, (uint64_t)chunk * r->chunk_pages,
                    pages_of(r, chunk));
    vm_mutex_unlock(&r->lock);
    return err == 0 || import_error(err, chunk, errp);
}

/* What is between the bitmaps and the payload. */
static bool read_extras(MigStream *s, ChunkHead *h, bool with_history,
                        ImportSlot *slot, GError **errp)
{
    slot->im.history = with_history ? slot->history : NULL;
    return (!with_history ||
            read_control(s, slot->history, h->npages, errp)) &&
           (!h->with_sums ||
            read_control(s, h->sums,
                         h->w.payload_pages * sizeof(h->sums[0]), errp));
}

/* The rest of the record. Gives the slot away. */
static bool receive_into(MigRamReceiver *r, MigStream *s, ChunkHead *h,
                         bool with_history, ImportSlot *slot, GError **errp)
{
    bool zero = vm_bitmap_count(h->zero, 0, h->npages) == h->npages;
    bool ok = read_extras(s, h, with_history, slot, errp);

    ok = ok && (zero ? import_zero(r, h->w.chunk, slot->im.history, errp)
                     : import_chunk(r, s, h, slot, errp));
    if (!ok || zero) {
        release_slot(r, slot);
    }
    return ok;
}

bool mig_ram_receive_chunk(MigRamReceiver *r, MigStream *s,
                           const MigWireRecord *rec, GError **errp)
{
    ChunkHead h;

    if (!check_imports(r, errp) || !read_chunk_head(r, s, rec, &h, errp) ||
        !receive_into(r, s, &h, rec->flags & MIG_FLAG_HISTORY,
                      take_slot(r, h.w.chunk), errp)) {
        return false;
    }
    account(r, s, &h);
    return true;
}

/* -- ZERO_RANGE --------------------------------------------------------- */

static bool check_range(const MigRamReceiver *r, const MigWireRecord *rec,
                        const MigWireZeroRange *w, GError **errp)
{
    bool with_history = rec->flags & MIG_FLAG_HISTORY;
    uint64_t pages;

    if (w->count == 0 || w->first >= r->chunks ||
        w->count > r->chunks - w->first) {
        return refuse(errp, rec, "no such chunks");
    }
    if (with_history && w->count > MIG_ZERO_HISTORIES_MAX) {
        return refuse(errp, rec, "too many histories");
    }
    pages = MIN((uint64_t)w->count * r->chunk_pages,
                r->total_pages - (uint64_t)w->first * r->chunk_pages);
    if (rec->length != sizeof(*w) + (with_history ? pages : 0)) {
        return refuse(errp, rec, "bad length");
    }
    return true;
}

static void account_zero(MigRamReceiver *r, MigStream *s, ChunkNo chunk)
{
    uint64_t pages = pages_of(r, chunk);

    vm_mutex_lock(&r->lock);
    vm_bit_set(r->seen, chunk);
    vm_mutex_unlock(&r->lock);
    MIG_INFO(r->m, {
        info->duplicate_pages += pages;
        info->zero_bytes += pages * RAM_PAGE_BYTES;
        info->transferred_bytes = mig_stream_bytes_read(s);
    });
}

static bool import_zero_chunk(MigRamReceiver *r, ChunkNo chunk,
                              const uint8_t *history, GError **errp)
{
    ImportSlot *slot = take_slot(r, chunk); /* (1) */
    bool ok = import_zero(r, chunk, history, errp);

    release_slot(r, slot);
    return ok;
}

bool mig_ram_receive_zero_range(MigRamReceiver *r, MigStream *s,
                                const MigWireRecord *rec, GError **errp)
{
    uint8_t history[RAM_CHUNK_PAGES_MAX];
    bool with_history = rec->flags & MIG_FLAG_HISTORY;
    MigWireZeroRange w;

    if (rec->length < sizeof(w)) {
        return refuse(errp, rec, "too short");
    }
    if (!check_imports(r, errp) || !read_control(s, &w, sizeof(w), errp) ||
        !check_range(r, rec, &w, errp)) {
        return false;
    }
    for (ChunkNo c = w.first; c < w.first + w.count; c++) {
        if (with_history &&
            !read_control(s, history, pages_of(r, c), errp)) {
            return false;
        }
        if (!import_zero_chunk(r, c, with_history ? history : NULL, errp)) {
            return false;
        }
        account_zero(r, s, c);
    }
    return true;
}

/* -- MOVE --------------------------------------------------------------- */

/* (4): the chunk's room in RAM is free again, if it had some. */
static bool give_room(MigRamReceiver *r, ChunkNo chunk)
{
    bool had;

    vm_mutex_lock(&r->lock);
    had = vm_bit_test(r->in_ram, chunk);
    if (had) {
        vm_bit_clear(r->in_ram, chunk);
        r->ram_pages -= pages_of(r, chunk);
    }
    vm_mutex_unlock(&r->lock);
    return had;
}

bool mig_ram_receive_move(MigRamReceiver *r, MigStream *s,
                          const MigWireRecord *rec, GError **errp)
{
    static const uint8_t none[sizeof(((MigWireMove *)NULL)->reserved)];
    ImportSlot *slot;
    MigWireMove w;

    if (rec->length != sizeof(w)) {
        return refuse(errp, rec, "bad length");
    }
    if (!check_imports(r, errp) || !read_control(s, &w, sizeof(w), errp)) {
        return false;
    }
    if (w.chunk >= r->chunks || w.place != MIG_WIRE_PLACE_SWAP ||
        memcmp(w.reserved, none, sizeof(none)) != 0) {
        return refuse(errp, rec, "no such chunk or place");
    }
    if (!give_room(r, w.chunk)) {
        return refuse(errp, rec, "the chunk is not in RAM");
    }
    slot = take_slot(r, w.chunk); /* (1): it has come in */
    if (r->p->ops->to_swap) {
        r->p->ops->to_swap(r->p->opaque, w.chunk);
    }
    release_slot(r, slot);
    return true;
}
