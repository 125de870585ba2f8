/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Export and import of chunks, for migration (memory/placement.h).
 *
 * Export does not change where a page lives. Pages in the guest mapping are
 * pinned and read there by the sender; pages in a frame are copied into the
 * caller's buffer, pages in the file read into it. A page may change or move
 * while it is exported: then it was written after the dirty log was started,
 * and goes again in a later pass.
 *
 * Import writes each chunk where it is to live: RAM by moving the frame's
 * pages into the guest, swap by one write. A chunk on which the pager works
 * (WRITING, FILLING) holds its import back until that is done. Imports to
 * RAM stop at the low watermark and go to the file from there on, so that
 * import never makes reclaim start; but they wait for what is being written,
 * as chunks that change places for them are.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

#include <errno.h>
#include <string.h>

#include "backing.h"

/* --- export -------------------------------------------------------------- */

static bool wants(const RamExport *e, uint32_t i)
{
    return vm_bit_test(e->want, i);
}

/* Sorts the wanted pages; the ones in the file go to file. */
static bool classify(VmdPager *p, RamExport *e, unsigned long *file)
{
    PageNo base = vmd_first_page(p, e->chunk);
    FrameNo f = p->chunks[e->chunk].frame;
    bool in_guest = false;

    for (uint32_t i = 0; i < vmd_chunk_len(p, e->chunk); i++) {
        if (!wants(e, i)) {
            continue;
        }
        if (vmd_page_present(p, base + i)) {
            in_guest = true;
        } else if (vmd_page_in_frame(p, e->chunk, i)) {
            memcpy((uint8_t *)e->buf + i * RAM_PAGE_BYTES,
                   vmd_frame_addr(p, f) + i * RAM_PAGE_BYTES, RAM_PAGE_BYTES);
            vm_bit_set(e->in_buf, i);
        } else if (vmd_page_stored(p, base + i)) {
            vm_bit_set(file, i);
            vm_bit_set(e->in_buf, i);
        } else {
            vm_bit_set(e->zero, i);
        }
    }
    return in_guest;
}

static void start_export(VmdPager *p, RamExport *e)
{
    VmdTransfer *t = NULL;

    memset(e->zero, 0, sizeof(e->zero));
    memset(e->in_buf, 0, sizeof(e->in_buf));
    e->result = 0;
    e->pinned = false;
    t = vmd_transfer_new(p, VMD_EXPORT, e->chunk, VMD_NONE, e->buf);
    if (!t) {
        /* RAM_EXPORTS_MAX is below what is reserved for them. */
        e->result = -EAGAIN;
        e->done(e);
        return;
    }
    t->export_ = e;
    if (classify(p, e, t->todo)) {
        atomic_fetch_add(&p->pins[e->chunk], 1);
        e->pinned = true;
    }
    vmd_transfer_start(p, t);
}

void vmd_carry_export(VmdPager *p, RamExport *e)
{
    e->tries = 0;
    start_export(p, e);
}

static void unpin_export(VmdPager *p, RamExport *e)
{
    if (e->pinned) {
        atomic_fetch_sub(&p->pins[e->chunk], 1);
        e->pinned = false;
    }
}

/*
 * A checksum that does not fit may mean that the page was written again while
 * its old content was being read. Then it is elsewhere now, or the file has
 * the new content, so all of the export begins anew.
 */
void vmd_carry_export_finished(VmdPager *p, VmdTransfer *t)
{
    RamExport *e = t->export_;

    if (t->error == -EBADMSG && ++e->tries < VMD_READ_TRIES) {
        unpin_export(p, e);
        start_export(p, e);
        return;
    }
    if (t->error == -EBADMSG) {
        vmd_note_read_error(p, t->error);
    }
    e->result = t->error ? -EIO : 0;
    if (e->result < 0) {
        unpin_export(p, e);
    }
    e->done(e);
}

void vmd_carry_chunk_infos(VmdPager *p, RamChunkInfo *ret)
{
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        const VmdChunk *chunk = &p->chunks[c];
        ret[c].key = chunk->key;
        switch ((VmdChunkState)chunk->state) {
        case VMD_ZERO:
            ret[c].place = RAM_PLACE_ZERO;
            break;
        case VMD_SWAPPED:
        case VMD_FAILED:
            ret[c].place = RAM_PLACE_SWAP;
            break;
        default:
            ret[c].place = RAM_PLACE_RAM;
            break;
        }
    }
}

/* --- import -------------------------------------------------------------- */

uint64_t vmd_carry_budget_pages(const VmdPager *p)
{
    uint64_t kept = vmd_high_watermark(p) + 8ull * p->cfg.chunk_pages;

    return p->cfg.budget_pages > kept ? p->cfg.budget_pages - kept : 0;
}

static bool lend(VmdPager *p, RamImport *im)
{
    FrameNo f = vmd_huge_import_frame(p, im);

    if (f == VMD_NONE) {
        f = vmd_frame_get(p, im->pages);
    }
    if (f == VMD_NONE) {
        return false;
    }
    im->frame = GUINT_TO_POINTER(f + 1);
    im->buf = vmd_frame_addr(p, f);
    p->cfg.import_lent(im);
    return true;
}

static void lend_nothing(VmdPager *p, RamImport *im)
{
    im->frame = NULL;
    im->buf = NULL;
    p->cfg.import_lent(im);
}

static FrameNo take_frame(RamImport *im)
{
    FrameNo f = GPOINTER_TO_UINT(im->frame) - 1;

    im->frame = NULL;
    return f;
}

void vmd_carry_import_begin(VmdPager *p, RamImport *im)
{
    if (p->fatal) {
        lend_nothing(p, im);
    } else if (!g_queue_is_empty(&p->frame_waiters) || !lend(p, im)) {
        g_queue_push_tail(&p->frame_waiters, im);
    }
}

void vmd_carry_import_abort(VmdPager *p, RamImport *im)
{
    vmd_frame_put(p, take_frame(im));
}

static bool is_busy(const VmdPager *p, ChunkNo c)
{
    return p->chunks[c].state == VMD_WRITING ||
           p->chunks[c].state == VMD_FILLING || p->chunks[c].punching ||
           p->chunks[c].landings > 0;
}

/* The chunk's RAM pages join it there; an absent one goes where it should,
 * as long as there is room. */
static bool goes_to_ram(const VmdPager *p, const RamImport *im)
{
    VmdChunkState state = (VmdChunkState)p->chunks[im->chunk].state;

    if (state == VMD_RESIDENT || state == VMD_STANDBY) {
        return true;
    }
    return im->place == RAM_PLACE_RAM &&
           vmd_available_pages(p) > (int64_t)vmd_low_watermark(p);
}

/* There will be room when what is being written has been. */
static bool room_is_coming(const VmdPager *p, const RamImport *im)
{
    return im->place == RAM_PLACE_RAM && p->writing_pages > 0 &&
           vmd_available_pages(p) + (int64_t)p->writing_pages >
               (int64_t)vmd_low_watermark(p);
}

static uint64_t count_pages(const unsigned long *map)
{
    uint64_t pages = 0;

    for (unsigned w = 0; w < RAM_CHUNK_LONGS; w++) {
        pages += (uint64_t)__builtin_popcountl(map[w]);
    }
    return pages;
}

static void set_history(VmdPager *p, const RamImport *im)
{
    if (im->history && im->history_count > 0) {
        vmd_history_set_part(p, im->chunk, im->history_first,
                             im->history_count, im->history);
    } else if (im->history) {
        vmd_history_set(p, im->chunk, im->history);
    }
}

/* Zero pages that were added to make a huge page; they count as such only if
 * that is what becomes of it. */
static void take_zeroed(VmdPager *p, FrameNo f, unsigned long *ret)
{
    vmd_bits_take(ret, p->frames.valid, vmd_frame_first(p, f),
                  p->cfg.chunk_pages);
    vm_bitmap_clear(p->frames.valid, vmd_frame_first(p, f), p->cfg.chunk_pages);
}

/* The end of the write calls done(). */
static bool commit_to_swap(VmdPager *p, RamImport *im)
{
    unsigned long zeroed[RAM_CHUNK_LONGS];
    FrameNo f = GPOINTER_TO_UINT(im->frame) - 1;

    take_zeroed(p, f, zeroed);
    if (!vmd_chunk_import_swap(p, im->chunk, f, im)) {
        return false;
    }
    im->frame = NULL;
    p->stats.import_swap_bytes += count_pages(im->pages) * RAM_PAGE_BYTES;
    set_history(p, im);
    return true;
}

static void commit_to_ram(VmdPager *p, RamImport *im)
{
    unsigned long pages[RAM_CHUNK_LONGS];
    FrameNo f = take_frame(im);

    take_zeroed(p, f, pages);
    for (unsigned w = 0; w < RAM_CHUNK_LONGS; w++) {
        /* Elsewhere other pages keep what they are. */
        pages[w] = im->pages[w] |
                   (p->chunks[im->chunk].state == VMD_ZERO ? pages[w] : 0);
    }
    vmd_chunk_import_ram(p, im->chunk, f, pages);
    vmd_frame_put(p, f);
    p->stats.import_ram_bytes += count_pages(im->pages) * RAM_PAGE_BYTES;
    set_history(p, im);
    im->result = p->fatal ? -EIO : 0;
    im->done(im);
}

/* Pages of the chunk are lost, and not all of them are replaced by these. */
static bool stays_failed(VmdPager *p, const RamImport *im)
{
    if (p->chunks[im->chunk].state == VMD_FAILED) {
        vmd_chunk_discard(p, im->chunk, im->pages);
    }
    return p->chunks[im->chunk].state == VMD_FAILED;
}

static void reject(VmdPager *p, RamImport *im, int error)
{
    vmd_frame_put(p, take_frame(im));
    im->result = error;
    im->done(im);
}

/* False: hold it and try again. */
static bool commit(VmdPager *p, RamImport *im)
{
    if (is_busy(p, im->chunk)) {
        return false;
    }
    /* Zero pages first: afterwards the chunk may be WRITING. */
    if (count_pages(im->zero) > 0) {
        vmd_chunk_discard(p, im->chunk, im->zero);
        memset(im->zero, 0, sizeof(im->zero));
    }
    if (stays_failed(p, im)) {
        reject(p, im, -EIO);
        return true;
    }
    if (count_pages(im->pages) > 0 && !goes_to_ram(p, im)) {
        return !room_is_coming(p, im) && commit_to_swap(p, im);
    }
    commit_to_ram(p, im);
    return true;
}

void vmd_carry_import_commit(VmdPager *p, RamImport *im)
{
    if (!commit(p, im)) {
        g_queue_push_tail(&p->held_imports, im);
    }
}

int vmd_carry_import_zero(VmdPager *p, ChunkNo c, const uint8_t *history)
{
    unsigned long all[RAM_CHUNK_LONGS];

    if (p->fatal) {
        return -EIO;
    }
    if (is_busy(p, c)) {
        return -EAGAIN;
    }
    memset(all, 0xff, sizeof(all));
    vmd_chunk_discard(p, c, all);
    if (history) {
        vmd_history_set(p, c, history);
    }
    return 0;
}

/* What stays in STANDBY, because it cannot be written now, is the first that
 * reclaim takes. */
void vmd_carry_to_swap(VmdPager *p, ChunkNo c)
{
    if (p->fatal || is_busy(p, c)) {
        return;
    }
    if (p->chunks[c].state == VMD_RESIDENT && vmd_chunk_move_out(p, c) < 0) {
        return;
    }
    if (p->chunks[c].state == VMD_STANDBY) {
        (void)vmd_chunk_write_back(p, c);
    }
    if (p->chunks[c].state == VMD_WRITING) {
        p->frames.owner[p->chunks[c].frame]->exchanged = true;
    }
}

/* --- a saved file --------------------------------------------------------- */

static bool is_untouched(const VmdPager *p)
{
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        if (p->chunks[c].state != VMD_ZERO) {
            return false;
        }
    }
    return !p->backing;
}

int vmd_carry_back(VmdPager *p, VmdIo *backing, const uint8_t *history)
{
    const unsigned long *there = vmd_backing_pages(backing);
    unsigned long pages[RAM_CHUNK_LONGS];

    if (!is_untouched(p)) {
        return -EBUSY;
    }
    p->backing = p->cfg.io = backing;
    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        vmd_bits_take(pages, there, vmd_first_page(p, c),
                      vmd_chunk_len(p, c));
        vmd_chunk_adopt(p, c, pages);
        if (history) {
            vmd_history_set(p, c, history + vmd_first_page(p, c));
        }
    }
    vmd_warm_start(p);
    return 0;
}

/* --- the end of it -------------------------------------------------------- */

void vmd_carry_abandon(VmdPager *p)
{
    RamImport *im;

    while ((im = g_queue_pop_head(&p->frame_waiters))) {
        lend_nothing(p, im);
    }
    while ((im = g_queue_pop_head(&p->held_imports))) {
        vmd_carry_import_abort(p, im);
        im->result = -EIO;
        im->done(im);
    }
}

void vmd_carry_step(VmdPager *p)
{
    RamImport *im;

    while ((im = g_queue_peek_head(&p->frame_waiters)) && lend(p, im)) {
        (void)g_queue_pop_head(&p->frame_waiters);
    }
    for (guint n = g_queue_get_length(&p->held_imports); n > 0; n--) {
        im = g_queue_pop_head(&p->held_imports);
        vmd_carry_import_commit(p, im);
    }
}
