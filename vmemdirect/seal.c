/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Contract in seal.h. The life of a request:
 *
 *   write:  closing, a slice a flush() -> with the I/O inside -> done
 *                   (a cipher that fails: -> opening, as an error)
 *   read:   with the I/O inside -> opened at once, if it is small -> done
 *                               -> opening, a slice a reap() -> done
 *   hole:   passed on; its pages have no checksum from then on
 *
 * A write whose buffers are all in use is refused with -EAGAIN, as by a queue
 * that is full: it is tried again when another one has ended.
 *
 * Invariants:
 *   (1) The checksum of a page is that of the last write of it that was
 *       closed, or NO_SUM if a hole was punched since.
 *   (2) The pager reads a page only if its last write has succeeded and no
 *       hole was punched; but an export for migration may meet a later write
 *       of the page in the file, and then gets -EBADMSG for no fault of the
 *       file. It asks again where the page is (carry.c).
 *   (3) Plain text is never handed to the I/O inside if there is a cipher.
 *
 * Threads: see seal.h.
 */
#include "seal.h"

#include <errno.h>

#include "memory/ram.h"
#include "page-hash.h"

/* A slice: 64 pages are 26 us with both (0.08 us a page for the checksum, 0.32
 * for AES with VAES). */
#define SLICE_PAGES 64u
/* Reads of up to so many pages have somebody who waits. */
#define SMALL_PAGES 16u
#define NO_SUM 0u

typedef struct VmdSeal VmdSeal;

typedef struct Sealed {
    VmdIoRequest inner; /* first: what done() of the I/O inside gets */
    VmdSeal *seal;
    VmdIoRequest *outer;
    uint8_t *bounce; /* of a write; NULL: none is needed */
    uint32_t pages_done;
    int result; /* of a write that could not be closed */
    struct Sealed *next;
} Sealed;

typedef struct SealedList {
    Sealed *first, *last;
} SealedList;

struct VmdSeal {
    VmdIo io;

    /* Immutable. */
    VmdIo *inner;
    VmdIoOps ops; /* with the name of the I/O inside */
    VmdCipher *cipher;
    uint64_t pages;
    unsigned depth;
    uint32_t write_bytes;
    uint64_t bytes;

    /* Pager thread. */
    uint32_t *sums; /* by page; NULL: no checksums */
    Sealed *all, *free;
    uint8_t *bounces;
    uint8_t **free_bounces;
    unsigned free_bounce_count;
    SealedList closing, opening;
};

static void append(SealedList *list, Sealed *s)
{
    s->next = NULL;
    if (list->last) {
        list->last->next = s;
    } else {
        list->first = s;
    }
    list->last = s;
}

static void remove_first(SealedList *list)
{
    list->first = list->first->next;
    if (!list->first) {
        list->last = NULL;
    }
}

/* The request is the caller's again before it is told. */
static void finish(Sealed *s, int result)
{
    VmdSeal *seal = s->seal;
    VmdIoRequest *outer = s->outer;

    if (s->bounce) {
        seal->free_bounces[seal->free_bounce_count++] = s->bounce;
    }
    s->next = seal->free;
    seal->free = s;
    outer->done(outer, result);
}

/* --- one page ---------------------------------------------------------- */

static uint32_t sum_of(const void *page)
{
    uint32_t sum = (uint32_t)vmd_page_hash(page, RAM_PAGE_BYTES).low;

    return sum == NO_SUM ? 1 : sum;
}

static int close_page(VmdSeal *seal, uint64_t page, const uint8_t *from,
                      uint8_t *to)
{
    if (seal->sums) {
        seal->sums[page] = sum_of(from); /* (1) */
    }
    return seal->cipher ? vmd_cipher_encrypt(seal->cipher, page, to, from,
                                             RAM_PAGE_BYTES)
                        : 0;
}

static int open_page(VmdSeal *seal, uint64_t page, uint8_t *at)
{
    int r = seal->cipher ? vmd_cipher_decrypt(seal->cipher, page, at, at,
                                              RAM_PAGE_BYTES)
                         : 0;

    if (r == 0 && seal->sums && seal->sums[page] != NO_SUM &&
        seal->sums[page] != sum_of(at)) {
        return -EBADMSG;
    }
    return r;
}

/* --- requests ----------------------------------------------------------- */

static uint32_t request_pages(const Sealed *s)
{
    return s->outer->len / RAM_PAGE_BYTES;
}

/* Up to *budget pages of the request; true: all are done, or one failed. */
static bool work(Sealed *s, uint32_t *budget, int *ret_result)
{
    VmdSeal *seal = s->seal;
    const VmdIoRequest *outer = s->outer;
    int r = s->result;

    while (r == 0 && s->pages_done < request_pages(s) && *budget > 0) {
        uint64_t page = outer->offset / RAM_PAGE_BYTES + s->pages_done;
        size_t at = (size_t)s->pages_done * RAM_PAGE_BYTES;
        r = outer->op == VMD_IO_WRITE
                ? close_page(seal, page, outer->buf + at,
                             s->bounce ? s->bounce + at : NULL)
                : open_page(seal, page, outer->buf + at);
        s->pages_done++;
        (*budget)--;
    }
    *ret_result = r;
    return r < 0 || s->pages_done == request_pages(s);
}

static void write_ended(VmdIoRequest *inner, int result)
{
    finish((Sealed *)inner, result);
}

static void read_ended(VmdIoRequest *inner, int result)
{
    Sealed *s = (Sealed *)inner;
    uint32_t budget = SMALL_PAGES;

    if (result == 0 && request_pages(s) > SMALL_PAGES) {
        append(&s->seal->opening, s);
        return;
    }
    if (result == 0) {
        (void)work(s, &budget, &result);
    }
    finish(s, result);
}

/* Hands the write to the I/O inside; false: it takes no more now. */
static bool pass_on(VmdSeal *seal, Sealed *s)
{
    s->inner.buf = s->bounce ? s->bounce : s->outer->buf; /* (3) */
    return seal->inner->ops->submit(seal->inner, &s->inner) == 0;
}

static void close_some(VmdSeal *seal)
{
    uint32_t budget = SLICE_PAGES;
    Sealed *s;
    int r;

    while ((s = seal->closing.first) && work(s, &budget, &r)) {
        if (r == 0 && !pass_on(seal, s)) {
            return; /* pages_done says that it is closed */
        }
        remove_first(&seal->closing);
        if (r < 0) {
            s->result = r;
            append(&seal->opening, s); /* done() is for reap() */
        }
    }
}

static unsigned open_some(VmdSeal *seal)
{
    uint32_t budget = SLICE_PAGES;
    unsigned count = 0;
    Sealed *s;
    int r;

    while ((s = seal->opening.first) && work(s, &budget, &r)) {
        remove_first(&seal->opening);
        finish(s, r);
        count++;
    }
    return count;
}

/* --- VmdIo -------------------------------------------------------------- */

static int submit_hole(VmdSeal *seal, VmdIoRequest *req)
{
    uint64_t first = req->offset / RAM_PAGE_BYTES;
    int r = seal->inner->ops->submit(seal->inner, req);

    for (uint64_t i = 0; r == 0 && seal->sums && i < req->len / RAM_PAGE_BYTES;
         i++) {
        seal->sums[first + i] = NO_SUM; /* (1) */
    }
    return r;
}

static int submit_read(VmdSeal *seal, Sealed *s)
{
    s->inner.done = read_ended;
    s->inner.buf = s->outer->buf;
    int r = seal->inner->ops->submit(seal->inner, &s->inner);
    if (r == 0) {
        seal->free = s->next;
    }
    return r;
}

static int submit_write(VmdSeal *seal, Sealed *s)
{
    g_assert(s->outer->len <= seal->write_bytes);
    s->inner.done = write_ended;
    if (seal->cipher) {
        if (seal->free_bounce_count == 0) {
            return -EAGAIN;
        }
        s->bounce = seal->free_bounces[--seal->free_bounce_count];
    }
    seal->free = s->next;
    append(&seal->closing, s);
    return 0;
}

static int seal_submit(VmdIo *io, VmdIoRequest *req)
{
    VmdSeal *seal = (VmdSeal *)io;
    Sealed *s = seal->free;

    g_assert(req->offset / RAM_PAGE_BYTES + req->len / RAM_PAGE_BYTES <=
             seal->pages);
    if (req->op == VMD_IO_PUNCH) {
        return submit_hole(seal, req);
    }
    if (!s) {
        return -EAGAIN;
    }
    s->inner = (VmdIoRequest){ .op = req->op, .offset = req->offset,
                               .len = req->len };
    s->outer = req;
    s->bounce = NULL;
    s->pages_done = 0;
    s->result = 0;
    return req->op == VMD_IO_READ ? submit_read(seal, s)
                                  : submit_write(seal, s);
}

static void seal_flush(VmdIo *io)
{
    VmdSeal *seal = (VmdSeal *)io;

    close_some(seal);
    seal->inner->ops->flush(seal->inner);
}

static unsigned seal_reap(VmdIo *io)
{
    VmdSeal *seal = (VmdSeal *)io;
    unsigned count = seal->inner->ops->reap(seal->inner);

    return count + open_some(seal);
}

static bool seal_busy(const VmdIo *io)
{
    const VmdSeal *seal = (const VmdSeal *)io;

    return seal->closing.first || seal->opening.first;
}

static int seal_fd(const VmdIo *io)
{
    const VmdIo *inner = ((const VmdSeal *)io)->inner;

    return inner->ops->fd(inner);
}

static void seal_free(VmdIo *io)
{
    VmdSeal *seal = (VmdSeal *)io;

    seal->inner->ops->free(seal->inner);
    vmd_cipher_free(seal->cipher);
    g_free(seal->sums);
    g_free(seal->all);
    g_free(seal->free_bounces);
    g_aligned_free(seal->bounces);
    g_free(seal);
}

/* --- set-up ------------------------------------------------------------- */

static void make_requests(VmdSeal *seal)
{
    seal->all = g_new0(Sealed, seal->depth);
    for (unsigned i = 0; i < seal->depth; i++) {
        seal->all[i].seal = seal;
        seal->all[i].next = seal->free;
        seal->free = &seal->all[i];
    }
}

static void make_bounces(VmdSeal *seal, unsigned count)
{
    seal->bounces = g_aligned_alloc0(count, seal->write_bytes,
                                     RAM_PAGE_BYTES);
    seal->free_bounces = g_new(uint8_t *, count);
    for (unsigned i = 0; i < count; i++) {
        seal->free_bounces[i] = seal->bounces + (size_t)i * seal->write_bytes;
    }
    seal->free_bounce_count = count;
    seal->bytes += (uint64_t)count * seal->write_bytes;
}

VmdIo *vmd_seal_new(VmdIo *take_inner, const VmdSealConfig *cfg)
{
    VmdSeal *seal = g_new0(VmdSeal, 1);

    g_assert(cfg->write_bytes % RAM_PAGE_BYTES == 0 && cfg->writes > 0);
    seal->inner = take_inner;
    seal->cipher = cfg->cipher;
    seal->pages = cfg->pages;
    seal->depth = cfg->depth;
    seal->write_bytes = cfg->write_bytes;
    make_requests(seal);
    if (cfg->cipher) {
        make_bounces(seal, cfg->writes);
    }
    if (cfg->checksum) {
        seal->sums = g_new0(uint32_t, cfg->pages);
        seal->bytes += cfg->pages * sizeof(*seal->sums);
    }
    seal->ops = (VmdIoOps){
        .name = take_inner->ops->name,
        .submit = seal_submit,
        .flush = seal_flush,
        .reap = seal_reap,
        .busy = seal_busy,
        .fd = seal_fd,
        .free = seal_free,
    };
    seal->io.ops = &seal->ops;
    return &seal->io;
}

uint64_t vmd_seal_bytes(const VmdIo *seal)
{
    return ((const VmdSeal *)seal)->bytes;
}
