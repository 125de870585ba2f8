/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of a block backend, through io_uring.
 *
 * Why: a request may need several operations of the kernel: short transfers
 * go on where they stopped, buffers that direct I/O would refuse go through a
 * bounce buffer in slices, a write that covers part of an aligned unit reads
 * the unit first, zeroes are written where the file system cannot make them.
 * A BlockJob walks a request through these steps, one in the kernel at a
 * time:
 *
 *   waiting --pump--> STEP_IO ----------------+--> finished: done(result)
 *                 \-> STEP_FILL -> STEP_IO ---/      (STEP_REPORT: nothing
 *                     (read what is kept)             was left to do)
 *
 * Invariants:
 *   (1) in_flight <= BLOCK_DEPTH, the size of the submission ring, and each
 *       job in flight has at most one entry in it.
 *   (2) A job that fills (reads, changes and writes back a unit) runs alone:
 *       another write into the unit would be lost.
 *   (3) done() is called from completions only, the refusals' too: they take
 *       a no-op through the ring.
 *
 * Threads: I/O thread only. No lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <limits.h>
#include <string.h>

#include "block-internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"

#define BLOCK_RETRY_MS 10
#define BLOCK_BOUNCE_ALIGN 4096

typedef enum JobStep { STEP_REPORT, STEP_FILL, STEP_IO } JobStep;

typedef struct BlockJob {
    BlockBackend *blk;
    BlockRequest *req;
    int64_t submitted_ns;
    JobStep step;
    int result;       /* STEP_REPORT: what to say */
    uint64_t done;    /* bytes of the request that are finished */
    bool exclusive;   /* (2) */
    bool write_zeroes_by_hand;

    /* The operation in the kernel. */
    uint64_t offset, len; /* of the slice, aligned if bounced */
    uint64_t filled;      /* STEP_FILL and bounced reads and writes: so far */
    uint8_t *bounce;      /* NULL: straight from the request's vector */
    struct iovec *iov;    /* what is left of the request's vector */
    struct iovec *iov_next;
    int iovcnt_left;
} BlockJob;

static void job_start(BlockJob *job);

/* ---- The vector -------------------------------------------------------- */

static bool iov_is_aligned(const BlockJob *job, size_t unit)
{
    for (int i = 0; i < job->iovcnt_left; i++) {
        if ((uintptr_t)job->iov_next[i].iov_base % unit ||
            job->iov_next[i].iov_len % unit) {
            return false;
        }
    }
    return true;
}

/* Copies len bytes between the front of what is left and buf, and drops them
 * from the front. */
static void iov_copy(BlockJob *job, uint8_t *buf, uint64_t len, bool to_iov)
{
    while (len > 0 && job->iovcnt_left > 0) {
        size_t n = MIN(len, job->iov_next->iov_len);

        if (to_iov) {
            memcpy(job->iov_next->iov_base, buf, n);
        } else {
            memcpy(buf, job->iov_next->iov_base, n);
        }
        vm_iov_advance(&job->iov_next, &job->iovcnt_left, n);
        buf += n;
        len -= n;
    }
}

/* ---- Submitting -------------------------------------------------------- */

static void submit_ring(BlockBackend *blk);

static gboolean submit_again(gpointer opaque)
{
    BlockBackend *blk = opaque;

    g_clear_pointer(&blk->retry, g_source_unref);
    submit_ring(blk);
    return G_SOURCE_REMOVE;
}

static void submit_ring(BlockBackend *blk)
{
    int r;

    do {
        r = io_uring_submit(&blk->ring);
    } while (r == -EINTR);
    if (r >= 0 || blk->retry) {
        return;
    }
    /* Out of kernel memory for the moment; the entries stay in the ring. */
    blk->retry = g_timeout_source_new(BLOCK_RETRY_MS);
    g_source_set_callback(blk->retry, submit_again, blk, NULL);
    g_source_attach(blk->retry, blk->context);
}

static void prepare_report(struct io_uring_sqe *sqe)
{
    io_uring_prep_nop(sqe);
}

static void prepare_transfer(BlockJob *job, struct io_uring_sqe *sqe)
{
    BlockBackend *blk = job->blk;
    bool write = job->req->op != BLOCK_READ && job->step == STEP_IO;
    int flags = write && job->req->fua && !blk->no_flush ? RWF_DSYNC : 0;

    if (!job->bounce) {
        int n = MIN(job->iovcnt_left, IOV_MAX);

        if (write) {
            io_uring_prep_writev2(sqe, blk->fd, job->iov_next, n, job->offset,
                                  flags);
        } else {
            io_uring_prep_readv2(sqe, blk->fd, job->iov_next, n, job->offset,
                                 flags);
        }
    } else if (write) {
        io_uring_prep_write(sqe, blk->fd, job->bounce + job->filled,
                            job->len - job->filled,
                            job->offset + job->filled);
        sqe->rw_flags = flags;
    } else {
        io_uring_prep_read(sqe, blk->fd, job->bounce + job->filled,
                           job->len - job->filled,
                           job->offset + job->filled);
    }
}

static int fallocate_mode(const BlockRequest *req)
{
    bool punch = req->op == BLOCK_DISCARD || req->may_unmap;

    return FALLOC_FL_KEEP_SIZE |
           (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

static void job_submit(BlockJob *job)
{
    BlockBackend *blk = job->blk;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&blk->ring);

    g_assert(sqe); /* (1) */
    if (job->step == STEP_REPORT) {
        prepare_report(sqe);
    } else {
        switch (job->req->op) {
        case BLOCK_FLUSH:
            io_uring_prep_fsync(sqe, blk->fd, IORING_FSYNC_DATASYNC);
            break;
        case BLOCK_DISCARD:
            io_uring_prep_fallocate(sqe, blk->fd, fallocate_mode(job->req),
                                    job->req->offset, job->req->len);
            break;
        case BLOCK_WRITE_ZEROES:
            if (!job->write_zeroes_by_hand) {
                io_uring_prep_fallocate(sqe, blk->fd,
                                        fallocate_mode(job->req),
                                        job->req->offset, job->req->len);
                break;
            }
            G_GNUC_FALLTHROUGH;
        case BLOCK_READ:
        case BLOCK_WRITE:
            prepare_transfer(job, sqe);
            break;
        }
    }
    io_uring_sqe_set_data(sqe, job);
    submit_ring(blk);
}

/* ---- Steps ------------------------------------------------------------- */

static void job_report(BlockJob *job, int result)
{
    job->step = STEP_REPORT;
    job->result = result;
    job_submit(job);
}

/* The next slice that goes through a bounce buffer. */
static bool slice_bounced(BlockJob *job)
{
    uint64_t unit = MAX(job->blk->alignment, 1);
    uint64_t start = job->req->offset + job->done;
    uint64_t end = job->req->offset + job->req->len;

    job->offset = start - start % unit;
    end = MIN(end, job->offset + BLOCK_BOUNCE_BYTES);
    job->len = (end - job->offset + unit - 1) / unit * unit;
    job->filled = 0;
    if (!job->bounce) {
        uint64_t most = MIN(job->req->len + 2 * unit, BLOCK_BOUNCE_BYTES);
        void *p = NULL;

        if (posix_memalign(&p, BLOCK_BOUNCE_ALIGN,
                           MAX(most, job->len)) != 0) {
            return false;
        }
        job->bounce = p;
    }
    return true;
}

/* Bytes of the slice that belong to the request, and where they begin. */
static uint64_t slice_payload(const BlockJob *job, uint64_t *ret_skip)
{
    uint64_t start = job->req->offset + job->done;
    uint64_t end = MIN(job->req->offset + job->req->len,
                       job->offset + job->len);

    *ret_skip = start - job->offset;
    return end - start;
}

static void slice_put_payload(BlockJob *job)
{
    uint64_t skip, n = slice_payload(job, &skip);

    if (job->req->op == BLOCK_WRITE_ZEROES) {
        memset(job->bounce + skip, 0, n);
    } else {
        iov_copy(job, job->bounce + skip, n, /* to_iov= */ false);
    }
    job->filled = 0;
    job->step = STEP_IO;
}

static bool covers_units(const BlockJob *job)
{
    unsigned unit = MAX(job->blk->alignment, 1);

    return job->req->offset % unit == 0 && job->req->len % unit == 0;
}

/* Starts the next transfer of a read, a write or zeroes written by hand. */
static void transfer_next(BlockJob *job)
{
    bool zeroes = job->req->op == BLOCK_WRITE_ZEROES;
    unsigned unit = MAX(job->blk->alignment, 1);
    uint64_t at = job->req->offset + job->done;

    job->step = STEP_IO;
    if (!zeroes && !job->bounce && at % unit == 0 && covers_units(job) &&
        iov_is_aligned(job, unit)) {
        job->offset = at;
        job_submit(job);
        return;
    }
    if (!slice_bounced(job)) {
        job_report(job, -ENOMEM);
        return;
    }
    if (job->req->op != BLOCK_READ) {
        uint64_t skip, n = slice_payload(job, &skip);

        if (n == job->len) {
            slice_put_payload(job);
        } else {
            job->step = STEP_FILL;
        }
    }
    job_submit(job);
}

static void add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void count(const BlockJob *job, int result)
{
    BlockOp op = job->req->op;

    if (result < 0) {
        add(&job->blk->counters[op].failed, 1);
        return;
    }
    add(&job->blk->counters[op].operations, 1);
    add(&job->blk->counters[op].total_ns,
        (uint64_t)(vm_clock_ns() - job->submitted_ns));
    if (op != BLOCK_FLUSH) {
        add(&job->blk->counters[op].bytes, job->req->len);
    }
}

static void job_finish(BlockJob *job, int result)
{
    BlockBackend *blk = job->blk;
    BlockRequest *req = job->req;

    count(job, result);
    blk->in_flight--;
    if (job->exclusive) {
        blk->exclusive = false;
    }
    free(job->bounce); /* from posix_memalign() */
    g_free(job->iov);
    g_free(job);
    req->backend_private = NULL;
    req->done(req, result); /* the requester owns req again */
}

/* A transfer moved n bytes (0: end of file). */
static void transferred(BlockJob *job, uint64_t n)
{
    uint64_t skip, payload;

    if (!job->bounce) {
        vm_iov_advance(&job->iov_next, &job->iovcnt_left, n);
        job->done += n;
    } else {
        job->filled += n;
        if (job->filled < job->len) {
            job_submit(job); /* short: go on */
            return;
        }
        if (job->step == STEP_FILL) {
            slice_put_payload(job);
            job_submit(job);
            return;
        }
        payload = slice_payload(job, &skip);
        if (job->req->op == BLOCK_READ) {
            iov_copy(job, job->bounce + skip, payload, /* to_iov= */ true);
        }
        job->done += payload;
    }
    if (job->done < job->req->len) {
        transfer_next(job);
    } else {
        job_finish(job, 0);
    }
}

/* Neither discard nor zeroing is something every file can do. */
static void unsupported(BlockJob *job)
{
    if (job->req->op == BLOCK_DISCARD) {
        job_finish(job, 0); /* a hint only */
        return;
    }
    job->write_zeroes_by_hand = true;
    transfer_next(job);
}

static void job_completed(BlockJob *job, int r)
{
    bool transfer = job->req->op == BLOCK_READ ||
                    job->req->op == BLOCK_WRITE || job->write_zeroes_by_hand;

    if (job->step == STEP_REPORT) {
        job_finish(job, job->result);
    } else if (r == -EINTR || r == -EAGAIN) {
        job_submit(job);
    } else if (r == -EOPNOTSUPP && !transfer &&
               job->req->op != BLOCK_FLUSH) {
        unsupported(job);
    } else if (r < 0) {
        job_finish(job, r);
    } else if (!transfer) {
        job_finish(job, 0);
    } else if (r == 0) {
        job_finish(job, -EIO); /* somebody cut the file short */
    } else {
        transferred(job, r);
    }
}

/* ---- The queue --------------------------------------------------------- */

/* What is wrong with it, before anything is done: 0 or -errno. */
static int request_check(const BlockBackend *blk, const BlockRequest *req)
{
    bool writes = req->op != BLOCK_READ && req->op != BLOCK_FLUSH;

    if (writes && blk->read_only) {
        return -EACCES;
    }
    if (!blk->active && req->op != BLOCK_FLUSH) {
        return -EPERM;
    }
    if (req->op == BLOCK_FLUSH) {
        return 0;
    }
    if (req->offset > blk->bytes || req->len > blk->bytes - req->offset ||
        (req->offset | req->len) % 512) {
        return -EINVAL;
    }
    if ((req->op == BLOCK_READ || req->op == BLOCK_WRITE) &&
        vm_iov_bytes(req->iov, req->iovcnt) != req->len) {
        return -EINVAL;
    }
    return 0;
}

static bool nothing_to_do(const BlockBackend *blk, const BlockRequest *req)
{
    switch (req->op) {
    case BLOCK_FLUSH:
        return blk->no_flush || blk->read_only || !blk->active;
    case BLOCK_DISCARD:
        return !blk->discard || req->len == 0;
    default:
        return req->len == 0;
    }
}

static void job_start(BlockJob *job)
{
    BlockBackend *blk = job->blk;
    BlockRequest *req = job->req;
    int r = request_check(blk, req);

    blk->in_flight++;
    blk->exclusive = job->exclusive;
    if (r < 0 || nothing_to_do(blk, req)) {
        job_report(job, r);
        return;
    }
    if (req->op == BLOCK_READ || req->op == BLOCK_WRITE) {
        transfer_next(job);
    } else {
        job->step = STEP_IO;
        job_submit(job);
    }
}

/* Starts what may start, in order of arrival. */
static void pump(BlockBackend *blk)
{
    while (!blk->exclusive && blk->in_flight < BLOCK_DEPTH) {
        BlockJob *job = g_queue_peek_head(&blk->waiting);

        if (!job || (job->exclusive && blk->in_flight > 0)) {
            return;
        }
        g_queue_pop_head(&blk->waiting);
        job_start(job);
    }
}

void block_backend_submit(BlockBackend *blk, BlockRequest *req)
{
    BlockJob *job = g_new0(BlockJob, 1);

    g_assert(blk->started);
    job->blk = blk;
    job->req = req;
    job->submitted_ns = vm_clock_ns();
    req->backend_private = job;
    if (req->op == BLOCK_READ || req->op == BLOCK_WRITE) {
        job->iov = g_memdup2(req->iov, sizeof(*req->iov) * req->iovcnt);
        job->iov_next = job->iov;
        job->iovcnt_left = req->iovcnt;
    }
    /* Zeroes count as well: they may have to be written by hand. */
    job->exclusive = (req->op == BLOCK_WRITE ||
                      req->op == BLOCK_WRITE_ZEROES) && !covers_units(job);
    g_queue_push_tail(&blk->waiting, job);
    pump(blk);
}

static void reap(BlockBackend *blk)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&blk->ring, &cqe) == 0 && cqe) {
        BlockJob *job = io_uring_cqe_get_data(cqe);
        int r = cqe->res;

        io_uring_cqe_seen(&blk->ring, cqe);
        job_completed(job, r);
        pump(blk);
    }
}

static gboolean ring_ready(gint fd, GIOCondition condition, gpointer opaque)
{
    reap(opaque);
    return G_SOURCE_CONTINUE;
}

bool block_backend_start(BlockBackend *blk, GMainContext *context,
                         GError **errp)
{
    int r = io_uring_queue_init(BLOCK_DEPTH, &blk->ring, 0);

    if (r < 0) {
        return vm_error_set(errp, -r, "'%s': io_uring is not available",
                            blk->filename);
    }
    blk->started = true;
    blk->context = g_main_context_ref(context);
    blk->source = g_unix_fd_source_new(blk->ring.ring_fd, G_IO_IN);
    g_source_set_callback(blk->source, G_SOURCE_FUNC(ring_ready), blk, NULL);
    g_source_attach(blk->source, context);
    return true;
}

void block_backend_drain(BlockBackend *blk)
{
    struct io_uring_cqe *cqe;

    while (blk->in_flight > 0) {
        /* Submits what a failed submit left in the ring, too. */
        (void) io_uring_submit_and_wait(&blk->ring, 1);
        if (io_uring_peek_cqe(&blk->ring, &cqe) == 0) {
            reap(blk);
        }
    }
}

void block_requests_done(BlockBackend *blk)
{
    if (!blk->started) {
        return;
    }
    block_backend_drain(blk);
    if (blk->retry) {
        g_source_destroy(blk->retry);
        g_source_unref(blk->retry);
    }
    g_source_destroy(blk->source);
    g_source_unref(blk->source);
    g_main_context_unref(blk->context);
    io_uring_queue_exit(&blk->ring);
    blk->started = false;
}
