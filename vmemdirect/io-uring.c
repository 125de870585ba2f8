/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Engine I/O by io_uring. Contract in io.h.
 *
 * The ring is used by one thread, which also polls its descriptor together
 * with the userfaultfd; no buffers are registered, since registered (pinned)
 * pages cannot be moved.
 */
#include "io.h"

#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>

#include "util/error.h"

typedef struct IoUring {
    VmdIo io;
    struct io_uring ring;
    VmdIoFile file;
    unsigned in_flight, depth;
} IoUring;

static void prepare(IoUring *u, struct io_uring_sqe *sqe, VmdIoRequest *req)
{
    uint64_t offset = req->offset + req->progress;
    uint32_t len = req->len - req->progress;

    if (vmd_io_file_check(&u->file, req) < 0) {
        io_uring_prep_nop(sqe); /* ends with nothing done */
        return;
    }
    switch (req->op) {
    case VMD_IO_READ:
        io_uring_prep_read(sqe, u->file.fd, req->buf + req->progress, len,
                           offset);
        break;
    case VMD_IO_WRITE:
        io_uring_prep_write(sqe, u->file.fd, req->buf + req->progress, len,
                            offset);
        break;
    case VMD_IO_PUNCH:
        io_uring_prep_fallocate(sqe, u->file.fd,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (off_t)offset, len);
        break;
    }
}

static int uring_submit(VmdIo *io, VmdIoRequest *req)
{
    IoUring *u = (IoUring *)io;
    struct io_uring_sqe *sqe;

    /* Never more in flight than the completion ring holds. */
    if (u->in_flight == u->depth || !(sqe = io_uring_get_sqe(&u->ring))) {
        return -EAGAIN;
    }
    prepare(u, sqe, req);
    io_uring_sqe_set_data(sqe, req);
    u->in_flight++;
    return 0;
}

static void uring_flush(VmdIo *io)
{
    IoUring *u = (IoUring *)io;

    /* -EAGAIN and -EBUSY: the kernel takes the rest at the next call. */
    if (io_uring_sq_ready(&u->ring) > 0) {
        (void)io_uring_submit(&u->ring);
    }
}

static unsigned uring_reap(VmdIo *io)
{
    IoUring *u = (IoUring *)io;
    struct io_uring_cqe *cqe;
    unsigned count = 0;

    while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
        VmdIoRequest *req = io_uring_cqe_get_data(cqe);
        int64_t raw = cqe->res;
        int result = 0;

        io_uring_cqe_seen(&u->ring, cqe);
        u->in_flight--;
        bool again = raw == -EAGAIN || raw == -EINTR ||
                     vmd_io_advance(&u->file, req, raw, &result);
        if (again && uring_submit(io, req) == 0) {
            continue;
        }
        req->done(req, again ? -EIO : result);
        count++;
    }
    return count;
}

static int uring_fd(const VmdIo *io)
{
    return ((const IoUring *)io)->ring.ring_fd;
}

static void uring_free(VmdIo *io)
{
    IoUring *u = (IoUring *)io;

    io_uring_queue_exit(&u->ring);
    g_free(u);
}

static const VmdIoOps uring_ops = {
    .name = "io_uring",
    .submit = uring_submit,
    .flush = uring_flush,
    .reap = uring_reap,
    .fd = uring_fd,
    .free = uring_free,
};

VmdIo *vmd_io_uring_new(int fd, uint64_t bytes, unsigned depth,
                        GError **errp)
{
    IoUring *u = g_new0(IoUring, 1);

    /* Without it a completion interrupts the thread, wherever that runs, only
     * to have it look at what it looks at anyway (Linux 5.19). */
    int r = io_uring_queue_init(depth, &u->ring, IORING_SETUP_COOP_TASKRUN);
    if (r == -EINVAL) {
        r = io_uring_queue_init(depth, &u->ring, 0);
    }
    if (r < 0) {
        g_free(u);
        vm_error_set(errp, -r, "io_uring: cannot make a ring");
        return NULL;
    }
    u->io.ops = &uring_ops;
    vmd_io_file_init(&u->file, fd, bytes);
    u->depth = depth;
    return &u->io;
}
