/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Contract in backing.h.
 *
 * A read is cut where its pages change between the two files, or do not follow
 * each other in the saved one; its parts are read one after the other. Where
 * the VM stood when it was saved, a chunk is one part. Writes and holes are
 * passed on as they are.
 *
 * Invariants:
 *   (1) A page is there (in the saved file) until a write or a hole of it is
 *       given to the swap file: the pager reads a page only if its last write
 *       has succeeded, or none was ever made.
 *   (2) done() of a request is called from reap() only.
 *
 * Threads: the pager thread.
 */
#include "backing.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "util/bits.h"
#include "util/error.h"
#include "util/fd.h"

typedef struct VmdBacking VmdBacking;

/* A read that is in parts. */
typedef struct Parts {
    VmdIoRequest inner; /* first: what done() of the I/O inside gets */
    VmdBacking *backing;
    VmdIoRequest *outer;
    uint32_t pages_done;
    uint32_t pages_now; /* in inner */
    bool from_file;     /* inner is */
    struct Parts *next;
} Parts;

struct VmdBacking {
    VmdIo io;

    /* Immutable. */
    VmdBackingConfig cfg;
    VmdIoOps ops; /* with the name of the swap file's */
    int epoll_fd; /* readable when either file's is */

    /* Pager thread. */
    unsigned long *there; /* (1) */
    Parts *all, *free;
};

/* -- reads -------------------------------------------------------------- */

static bool is_there(const VmdBacking *b, uint64_t page)
{
    return vm_bit_test(b->there, page);
}

/* How many of the pages from first on, at most limit, are one part. */
static uint32_t part_pages(const VmdBacking *b, uint64_t first, uint32_t limit)
{
    bool there = is_there(b, first);
    uint32_t n = 1;

    while (n < limit && is_there(b, first + n) == there &&
           (!there ||
            b->cfg.from.at[first + n] == b->cfg.from.at[first] + n)) {
        n++;
    }
    return n;
}

static uint64_t next_page(const Parts *p)
{
    return p->outer->offset / RAM_PAGE_BYTES + p->pages_done;
}

static uint32_t pages_left(const Parts *p)
{
    return p->outer->len / (uint32_t)RAM_PAGE_BYTES - p->pages_done;
}

static int read_part(Parts *p)
{
    VmdBacking *b = p->backing;
    uint64_t page = next_page(p);
    VmdIo *io;

    p->pages_now = part_pages(b, page, pages_left(p));
    p->from_file = is_there(b, page);
    io = p->from_file ? b->cfg.file : b->cfg.swap;
    p->inner = (VmdIoRequest){
        .op = VMD_IO_READ,
        .offset = (p->from_file ? b->cfg.from.at[page] : page) *
                  RAM_PAGE_BYTES,
        .buf = p->outer->buf + (size_t)p->pages_done * RAM_PAGE_BYTES,
        .len = p->pages_now * (uint32_t)RAM_PAGE_BYTES,
        .done = p->inner.done,
    };
    return io->ops->submit(io, &p->inner);
}

static int check_part(const Parts *p)
{
    const RamBacking *from = &p->backing->cfg.from;

    for (uint32_t i = 0; p->from_file && i < p->pages_now; i++) {
        if (from->sum(p->inner.buf + (size_t)i * RAM_PAGE_BYTES) !=
            from->sums[next_page(p) + i]) {
            return -EBADMSG;
        }
    }
    return 0;
}

static void part_read(VmdIoRequest *inner, int result)
{
    Parts *p = (Parts *)inner;
    VmdBacking *b = p->backing;
    VmdIoRequest *outer = p->outer;

    if (result == 0) {
        result = check_part(p);
    } else if (p->from_file && result == -ENODATA) {
        result = -ESTALE; /* which file it is, that was cut */
    }
    if (result == 0) {
        p->pages_done += p->pages_now;
        if (pages_left(p) > 0) {
            result = read_part(p);
            if (result == 0) {
                return;
            }
        }
    }
    p->next = b->free;
    b->free = p;
    outer->done(outer, result); /* (2) */
}

static int submit_read(VmdBacking *b, VmdIoRequest *req)
{
    Parts *p = b->free;
    int r;

    if (!p) {
        return -EAGAIN;
    }
    p->outer = req;
    p->pages_done = 0;
    p->inner.done = part_read;
    r = read_part(p);
    if (r == 0) {
        b->free = p->next;
    }
    return r;
}

/* -- VmdIo -------------------------------------------------------------- */

static bool any_there(const VmdBacking *b, const VmdIoRequest *req)
{
    uint64_t first = req->offset / RAM_PAGE_BYTES;
    uint64_t end = first + req->len / RAM_PAGE_BYTES;

    return vm_bitmap_next_set(b->there, first, end) < end;
}

static int backing_submit(VmdIo *io, VmdIoRequest *req)
{
    VmdBacking *b = (VmdBacking *)io;
    int r;

    g_assert(req->offset / RAM_PAGE_BYTES + req->len / RAM_PAGE_BYTES <=
             b->cfg.pages);
    if (!any_there(b, req)) {
        return b->cfg.swap->ops->submit(b->cfg.swap, req);
    }
    if (req->op == VMD_IO_READ) {
        return submit_read(b, req);
    }
    r = b->cfg.swap->ops->submit(b->cfg.swap, req);
    if (r == 0) {
        vm_bitmap_clear(b->there, req->offset / RAM_PAGE_BYTES,
                        req->len / RAM_PAGE_BYTES); /* (1) */
    }
    return r;
}

static void backing_flush(VmdIo *io)
{
    VmdBacking *b = (VmdBacking *)io;

    b->cfg.swap->ops->flush(b->cfg.swap);
    b->cfg.file->ops->flush(b->cfg.file);
}

static unsigned backing_reap(VmdIo *io)
{
    VmdBacking *b = (VmdBacking *)io;

    return b->cfg.swap->ops->reap(b->cfg.swap) +
           b->cfg.file->ops->reap(b->cfg.file);
}

static bool io_busy(const VmdIo *io)
{
    return io->ops->busy && io->ops->busy(io);
}

static bool backing_busy(const VmdIo *io)
{
    const VmdBacking *b = (const VmdBacking *)io;

    return io_busy(b->cfg.swap) || io_busy(b->cfg.file);
}

static int backing_fd(const VmdIo *io)
{
    return ((const VmdBacking *)io)->epoll_fd;
}

static void backing_free(VmdIo *io)
{
    VmdBacking *b = (VmdBacking *)io;

    b->cfg.file->ops->free(b->cfg.file);
    vm_close_fd(&b->epoll_fd);
    vm_close_fd(&b->cfg.from.fd);
    g_free(b->cfg.from.at);
    g_free(b->cfg.from.sums);
    g_free(b->there);
    g_free(b->all);
    g_free(b);
}

/* -- set-up ------------------------------------------------------------- */

static bool watch(int epoll_fd, const VmdIo *io)
{
    struct epoll_event event = { .events = EPOLLIN };

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, io->ops->fd(io), &event) == 0;
}

static void make_parts(VmdBacking *b)
{
    b->all = g_new0(Parts, b->cfg.depth);
    for (unsigned i = 0; i < b->cfg.depth; i++) {
        b->all[i].backing = b;
        b->all[i].next = b->free;
        b->free = &b->all[i];
    }
}

VmdIo *vmd_backing_new(const VmdBackingConfig *cfg, GError **errp)
{
    vm_autofd epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    VmdBacking *b;

    if (epoll_fd < 0 || !watch(epoll_fd, cfg->swap) ||
        !watch(epoll_fd, cfg->file)) {
        vm_error_set(errp, errno, "vmemdirect: epoll");
        return NULL;
    }
    b = g_new0(VmdBacking, 1);
    b->cfg = *cfg;
    b->epoll_fd = vm_steal_fd(&epoll_fd);
    b->there = vm_bitmap_new(cfg->pages);
    for (uint64_t page = 0; page < cfg->pages; page++) {
        if (cfg->from.at[page] != 0) {
            vm_bit_set(b->there, page);
        }
    }
    make_parts(b);
    b->ops = (VmdIoOps){
        .name = cfg->swap->ops->name,
        .submit = backing_submit,
        .flush = backing_flush,
        .reap = backing_reap,
        .busy = backing_busy,
        .fd = backing_fd,
        .free = backing_free,
    };
    b->io.ops = &b->ops;
    return &b->io;
}

const unsigned long *vmd_backing_pages(const VmdIo *backing)
{
    return ((const VmdBacking *)backing)->there;
}
