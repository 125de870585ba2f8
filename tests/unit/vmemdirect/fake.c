/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fake world of fake.h. */
#include "fake.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "util/clock.h"

int64_t fake_now = 1000000000;

static int64_t now(void)
{
    return fake_now;
}

/* --- memory -------------------------------------------------------------- */

static Fake *the_fake; /* mem ops get it as opaque; addresses tell the rest */

static size_t guest_page(Fake *f, const void *addr)
{
    size_t page = (size_t)((const uint8_t *)addr - f->guest) / RAM_PAGE_BYTES;
    g_assert_cmpuint(page, <, FAKE_PAGES);
    return page;
}

static size_t frame_slot(Fake *f, const void *addr)
{
    size_t slot = (size_t)((const uint8_t *)addr - f->frames) /
                  RAM_PAGE_BYTES;
    g_assert_cmpuint(slot, <, (size_t)f->pager.frames.count *
                              FAKE_CHUNK_PAGES);
    return slot;
}

/* --- huge pages ---------------------------------------------------------- */

#define CHUNK_BYTES (FAKE_CHUNK_PAGES * RAM_PAGE_BYTES)

static FakePiece *piece_of(Fake *f, const uint8_t *addr)
{
    if (addr >= f->guest && addr < f->guest + FAKE_PAGES * RAM_PAGE_BYTES) {
        return &f->guest_pieces[guest_page(f, addr) / FAKE_CHUNK_PAGES];
    }
    return &f->frame_pieces[frame_slot(f, addr) / FAKE_CHUNK_PAGES];
}

/* Small pages come to this piece, or a part of it goes. */
static void split(Fake *f, const uint8_t *addr)
{
    *piece_of(f, addr) = (FakePiece){ .huge = false, .table = true };
}

static void move_piece(Fake *f, const uint8_t *to, const uint8_t *from,
                       size_t len)
{
    FakePiece *source = piece_of(f, from), *target = piece_of(f, to);

    if (source->huge && len == CHUNK_BYTES && !target->table) {
        *target = (FakePiece){ .huge = true, .table = false };
        source->huge = false;
    } else {
        split(f, to);
        split(f, from);
    }
}

static void mem_clear_way(void *opaque, void *addr, size_t len)
{
    Fake *f = opaque;
    uint8_t *at = addr;
    bool guest = at >= f->guest &&
                 at < f->guest + FAKE_PAGES * RAM_PAGE_BYTES;

    g_assert_cmpuint(len, ==, CHUNK_BYTES);
    for (size_t i = 0; i < FAKE_CHUNK_PAGES; i++) {
        g_assert_false(guest ? f->guest_present[guest_page(f, at) + i]
                             : f->frame_present[frame_slot(f, at) + i]);
    }
    piece_of(f, at)->table = false;
}

static int mem_huge(void *opaque, void *to, void *stage, size_t len,
                    size_t *ret_done)
{
    Fake *f = opaque;
    uint8_t *at = to;
    bool guest = at >= f->guest &&
                 at < f->guest + FAKE_PAGES * RAM_PAGE_BYTES;

    g_assert_true(stage == f->stage);
    f->huge_made++;
    *ret_done = 0;
    if (f->no_huge) {
        return -ENOMEM;
    }
    mem_clear_way(opaque, to, len);
    for (size_t i = 0; i < f->huge_pages; i++) {
        if (guest) {
            f->guest_present[guest_page(f, at) + i] = true;
            f->guest_protected[guest_page(f, at) + i] = false;
        } else {
            f->frame_present[frame_slot(f, at) + i] = true;
        }
    }
    *ret_done = f->huge_pages * RAM_PAGE_BYTES;
    memset(to, 0, *ret_done);
    f->wakes++;
    if (*ret_done < len) {
        split(f, to);
        return -EBUSY;
    }
    piece_of(f, to)->huge = true;
    return 0;
}

/* --- moves --------------------------------------------------------------- */

static int mem_out(void *opaque, void *guest, void *frame, size_t len,
                   size_t *ret_done)
{
    Fake *f = opaque;

    for (size_t done = 0; done < len; done += RAM_PAGE_BYTES) {
        size_t page = guest_page(f, (uint8_t *)guest + done);
        size_t slot = frame_slot(f, (uint8_t *)frame + done);
        g_assert_false(f->frame_present[slot]);
        *ret_done = done;
        if (!f->guest_present[page]) {
            g_assert_true(f->pager.cfg.mem->skips_holes);
            continue;
        }
        if (page == f->busy_page) {
            if (done > 0) {
                split(f, guest);
                split(f, frame);
            }
            return -EBUSY;
        }
        memcpy((uint8_t *)frame + done, (uint8_t *)guest + done,
               RAM_PAGE_BYTES);
        memset((uint8_t *)guest + done, 0xEE, RAM_PAGE_BYTES);
        f->guest_present[page] = false;
        f->guest_protected[page] = false;
        f->frame_present[slot] = true;
    }
    move_piece(f, frame, guest, len);
    *ret_done = len;
    return 0;
}

static int mem_in(void *opaque, void *guest, void *frame, size_t len,
                  bool protect, size_t *ret_done, bool *ret_changed)
{
    Fake *f = opaque;

    for (size_t done = 0; done < len; done += RAM_PAGE_BYTES) {
        size_t page = guest_page(f, (uint8_t *)guest + done);
        size_t slot = frame_slot(f, (uint8_t *)frame + done);
        g_assert_false(f->guest_present[page]);
        g_assert_true(f->frame_present[slot]);
        memcpy((uint8_t *)guest + done, (uint8_t *)frame + done,
               RAM_PAGE_BYTES);
        memset((uint8_t *)frame + done, 0xDD, RAM_PAGE_BYTES);
        f->guest_present[page] = true;
        f->guest_protected[page] = protect;
        f->frame_present[slot] = false;
    }
    move_piece(f, guest, frame, len);
    *ret_done = len;
    *ret_changed = protect && f->change_on_in;
    f->change_on_in = false;
    f->wakes++;
    return 0;
}

static int mem_copy_in(void *opaque, void *guest, const void *from,
                       size_t len, bool protect, size_t *ret_done)
{
    Fake *f = opaque;
    for (size_t i = 0; i < len / RAM_PAGE_BYTES; i++) {
        size_t page = guest_page(f, guest) + i;
        g_assert_false(f->guest_present[page]);
        f->guest_present[page] = true;
        f->guest_protected[page] = protect;
    }
    memcpy(guest, from, len);
    split(f, guest);
    f->wakes++;
    *ret_done = len;
    return 0;
}

static int mem_zero(void *opaque, void *guest, size_t len, bool own,
                    size_t *ret_done)
{
    Fake *f = opaque;

    for (size_t done = 0; done < len; done += RAM_PAGE_BYTES) {
        size_t page = guest_page(f, (uint8_t *)guest + done);
        g_assert_false(f->guest_present[page]);
        f->guest_present[page] = true;
        f->guest_protected[page] = false;
    }
    memset(guest, 0, len);
    split(f, guest);
    f->wakes++;
    *ret_done = len;
    return 0;
}

static int mem_unprotect(void *opaque, void *guest, size_t len)
{
    Fake *f = opaque;
    size_t page = guest_page(f, guest);

    for (size_t i = 0; i < len / RAM_PAGE_BYTES; i++) {
        f->guest_protected[page + i] = false;
    }
    f->wakes++;
    return 0;
}

static int mem_wake(void *opaque, void *guest, size_t len)
{
    ((Fake *)opaque)->wakes++;
    ((Fake *)opaque)->woken_bytes = len;
    return 0;
}

static int mem_discard(void *opaque, void *addr, size_t len)
{
    Fake *f = opaque;
    uint8_t *at = addr;

    if (f->discard_error < 0) {
        return f->discard_error;
    }
    split(f, at);
    piece_of(f, at)->table = len < CHUNK_BYTES;
    for (size_t done = 0; done < len; done += RAM_PAGE_BYTES) {
        if (at >= f->guest && at < f->guest + FAKE_PAGES * RAM_PAGE_BYTES) {
            f->guest_present[guest_page(f, at + done)] = false;
            f->guest_protected[guest_page(f, at + done)] = false;
        } else {
            f->frame_present[frame_slot(f, at + done)] = false;
        }
    }
    return 0;
}

static const VmdMemOps fake_mem = {
    .name = "fake",
    .skips_holes = true,
    .out = mem_out,
    .in = mem_in,
    .copy_in = mem_copy_in,
    .zero = mem_zero,
    .unprotect = mem_unprotect,
    .wake = mem_wake,
    .discard = mem_discard,
    .clear_way = mem_clear_way,
    .huge = mem_huge,
};

/* --- I/O ----------------------------------------------------------------- */

static int io_submit(VmdIo *io, VmdIoRequest *req)
{
    g_ptr_array_add(((FakeIo *)io)->waiting, req);
    return 0;
}

static void io_flush(VmdIo *io)
{
}

static unsigned io_reap(VmdIo *io)
{
    FakeIo *fio = (FakeIo *)io;
    unsigned count = fio->finished->len;

    for (unsigned i = 0; i < count; i++) {
        VmdIoRequest *req = g_ptr_array_index(fio->finished, i);
        req->done(req, g_array_index(fio->results, int, i));
    }
    g_ptr_array_set_size(fio->finished, 0);
    g_array_set_size(fio->results, 0);
    return count;
}

/* Nobody sleeps on it. */
static int io_fd(const VmdIo *io)
{
    static int fd = -1;

    if (fd < 0) {
        fd = eventfd(0, EFD_CLOEXEC);
    }
    return fd;
}

static void io_free(VmdIo *io)
{
    /* part of the Fake */
}

static const VmdIoOps fake_io_ops = {
    .name = "fake",
    .submit = io_submit,
    .flush = io_flush,
    .reap = io_reap,
    .fd = io_fd,
    .free = io_free,
};

static bool is_framed(Fake *f, const uint8_t *at)
{
    return at >= f->frames &&
           at < f->frames + (size_t)f->pager.frames.count *
                            FAKE_CHUNK_PAGES * RAM_PAGE_BYTES;
}

/* What the device does: memory to file or file to memory. */
static void perform(Fake *f, VmdIoRequest *req)
{
    for (uint32_t done = 0; done < req->len; done += RAM_PAGE_BYTES) {
        size_t page = (req->offset + done) / RAM_PAGE_BYTES;
        uint8_t *in_file = f->file + page * RAM_PAGE_BYTES;
        bool hole = req->op == VMD_IO_PUNCH; /* has no buffer */
        uint8_t *in_memory = hole ? NULL : req->buf + done;
        bool framed = !hole && is_framed(f, in_memory);
        switch (req->op) {
        case VMD_IO_WRITE:
            g_assert_true(f->frame_present[frame_slot(f, in_memory)]);
            memcpy(in_file, in_memory, RAM_PAGE_BYTES);
            f->file_written[page] = true;
            break;
        case VMD_IO_READ:
            g_assert_true(f->file_written[page]);
            memcpy(in_memory, in_file, RAM_PAGE_BYTES);
            if (framed && !piece_of(f, in_memory)->huge) {
                split(f, in_memory);
            }
            if (framed) {
                f->frame_present[frame_slot(f, in_memory)] = true;
            }
            break;
        case VMD_IO_PUNCH:
            memset(in_file, 0, RAM_PAGE_BYTES);
            f->file_written[page] = false;
            break;
        }
    }
}

void fake_complete(Fake *f, unsigned index, int result)
{
    VmdIoRequest *req = g_ptr_array_remove_index(f->io.waiting, index);

    if (result == 0) {
        perform(f, req);
    } else if (req->op == VMD_IO_READ && is_framed(f, req->buf)) {
        /* The kernel populated the pages before it failed. */
        for (uint32_t done = 0; done < req->len; done += RAM_PAGE_BYTES) {
            f->frame_present[frame_slot(f, req->buf + done)] = true;
        }
    }
    g_ptr_array_add(f->io.finished, req);
    g_array_append_val(f->io.results, result);
    fake_step(f);
}

void fake_complete_all(Fake *f)
{
    while (fake_requests(f) > 0) {
        fake_complete(f, 0, 0);
    }
}

VmdIoRequest *fake_request(Fake *f, unsigned index)
{
    g_assert_cmpuint(index, <, f->io.waiting->len);
    return g_ptr_array_index(f->io.waiting, index);
}

unsigned fake_requests(Fake *f)
{
    return f->io.waiting->len;
}

/* --- the guest ----------------------------------------------------------- */

uint8_t *fake_touch(Fake *f, PageNo page, bool write)
{
    for (int tries = 0; tries < 8; tries++) {
        if (!f->guest_present[page]) {
            vmd_pager_fault(&f->pager, page,
                            write ? VM_FAULT_WRITE : VM_FAULT_READ);
        } else if (write && f->guest_protected[page]) {
            vmd_pager_fault(&f->pager, page, VM_FAULT_WRITE_PROTECT);
        } else {
            return f->guest + page * RAM_PAGE_BYTES;
        }
        fake_step(f);
    }
    return NULL;
}

static uint8_t *touch_with_io(Fake *f, PageNo page, bool write)
{
    uint8_t *at;

    for (int tries = 0; tries < 1000; tries++) {
        at = fake_touch(f, page, write);
        if (at) {
            return at;
        }
        if (fake_requests(f) > 0) {
            fake_complete(f, 0, 0);
        } else {
            fake_now += 1000000;
            fake_step(f);
        }
    }
    g_assert_not_reached();
}

void fake_write(Fake *f, PageNo page, uint8_t value)
{
    memset(touch_with_io(f, page, true), value, RAM_PAGE_BYTES);
}

uint8_t fake_read(Fake *f, PageNo page)
{
    const uint8_t *at = touch_with_io(f, page, false);

    for (size_t i = 1; i < RAM_PAGE_BYTES; i++) {
        g_assert_cmpuint(at[i], ==, at[0]);
    }
    return at[0];
}

/* --- the rest ------------------------------------------------------------ */

static void on_event(void *opaque, const VmdEvent *event)
{
    Fake *f = opaque;

    (event->over ? f->over : f->began)[event->what]++;
    f->last_event = *event;
}

static const VmdEvents fake_events = { on_event };

static void on_lent(RamImport *im)
{
    the_fake->lent++;
}

Fake *fake_new(uint64_t budget_pages, bool soft_tracker)
{
    Fake *f = g_new0(Fake, 1);
    size_t slots = (size_t)vmd_pager_frames_needed(FAKE_PAGES,
                                                   FAKE_CHUNK_PAGES) *
                   FAKE_CHUNK_PAGES;

    f->guest = g_malloc(FAKE_PAGES * RAM_PAGE_BYTES);
    f->file = g_malloc0(FAKE_PAGES * RAM_PAGE_BYTES);
    f->frames = g_malloc(slots * RAM_PAGE_BYTES);
    f->guest_present = g_new0(bool, FAKE_PAGES);
    f->guest_protected = g_new0(bool, FAKE_PAGES);
    f->file_written = g_new0(bool, FAKE_PAGES);
    f->frame_present = g_new0(bool, slots);
    f->guest_pieces = g_new0(FakePiece, FAKE_CHUNKS);
    f->frame_pieces = g_new0(FakePiece, slots / FAKE_CHUNK_PAGES);
    f->huge_pages = FAKE_CHUNK_PAGES;
    f->busy_page = UINT64_MAX;
    f->io.io.ops = &fake_io_ops;
    f->io.waiting = g_ptr_array_new();
    f->io.finished = g_ptr_array_new();
    f->io.results = g_array_new(FALSE, FALSE, sizeof(int));
    the_fake = f;
    VmdTrackerEnv env = { .pages = FAKE_PAGES, .now_ns = now };
    VmdPagerConfig cfg = {
        .guest = f->guest,
        .pages = FAKE_PAGES,
        .chunk_pages = FAKE_CHUNK_PAGES,
        .landing_pages = FAKE_LANDING_PAGES,
        .budget_pages = budget_pages,
        .frame_base = f->frames,
        .tracker = soft_tracker ? vmd_tracker_soft.start(&env, NULL) : NULL,
        .aging_interval_ns = 1000000000,
        .stop_on_write_error = true,
        .stop_on_timeout = true,
        .io_timeout_ns = 30 * VM_NS_PER_SEC,
        .mem = &fake_mem,
        .mem_opaque = f,
        .io = &f->io.io,
        .now_ns = now,
        .events = &fake_events,
        .events_opaque = f,
        .import_lent = on_lent,
    };
    vmd_pager_init(&f->pager, &cfg);
    return f;
}

Fake *fake_new_huge(uint64_t budget_pages, bool soft_tracker)
{
    Fake *f = fake_new(budget_pages, soft_tracker);

    f->pager.cfg.huge_stage = f->stage;
    return f;
}

void fake_free(Fake *f)
{
    g_assert_cmpuint(f->pager.in_flight, ==, 0);
    vmd_pager_done(&f->pager);
    if (f->pager.cfg.tracker) {
        f->pager.cfg.tracker->ops->stop(f->pager.cfg.tracker);
    }
    g_ptr_array_unref(f->io.waiting);
    g_ptr_array_unref(f->io.finished);
    g_array_unref(f->io.results);
    g_free(f->guest);
    g_free(f->file);
    g_free(f->frames);
    g_free(f->guest_present);
    g_free(f->guest_protected);
    g_free(f->file_written);
    g_free(f->frame_present);
    g_free(f->guest_pieces);
    g_free(f->frame_pieces);
    g_free(f);
}

/* Bits of the pager against the fake world's truth, and the budget. */
static void check_world(Fake *f)
{
    VmdPager *p = &f->pager;
    uint64_t memory = 0;

    for (PageNo page = 0; page < FAKE_PAGES; page++) {
        g_assert_cmpint(vmd_page_present(p, page), ==,
                        f->guest_present[page]);
        memory += f->guest_present[page];
        if (vmd_page_present(p, page) && vmd_page_stored(p, page)) {
            g_assert_true(f->guest_protected[page]); /* (3) */
            g_assert_cmpmem(f->guest + page * RAM_PAGE_BYTES, RAM_PAGE_BYTES,
                            f->file + page * RAM_PAGE_BYTES, RAM_PAGE_BYTES);
        }
        if (vmd_page_stored(p, page)) {
            g_assert_true(f->file_written[page]);
        }
    }
    for (size_t s = 0; s < (size_t)p->frames.count * FAKE_CHUNK_PAGES; s++) {
        /* Charged from the plan on, so charged may run ahead. */
        g_assert_true(!f->frame_present[s] ||
                      vm_bit_test(p->frames.populated, s));
        memory += f->frame_present[s];
    }
    g_assert_cmpuint(memory, <=,
                     p->guest_pages + p->frames.populated_pages);
}

void fake_step(Fake *f)
{
    vmd_pager_step(&f->pager);
    vmd_pager_check(&f->pager);
    check_world(f);
}

VmdChunkState fake_state(Fake *f, ChunkNo c)
{
    return (VmdChunkState)f->pager.chunks[c].state;
}

void fake_make_dense(Fake *f, ChunkNo c)
{
    f->pager.chunks[c].heat = 5;
    f->pager.chunks[c].last_fault = (uint16_t)f->pager.fault_number;
}

void fake_standby(Fake *f, ChunkNo c)
{
    g_assert_cmpint(vmd_chunk_move_out(&f->pager, c), ==, 0);
    g_assert_cmpint(fake_state(f, c), ==, VMD_STANDBY);
    vmd_pager_check(&f->pager);
}

void fake_swap_out(Fake *f, ChunkNo c)
{
    fake_standby(f, c);
    g_assert_true(vmd_chunk_write_back(&f->pager, c));
    fake_step(f);
    fake_complete_all(f);
}
