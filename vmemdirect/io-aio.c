/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Engine I/O by Linux native AIO: the fallback where io_uring is forbidden.
 * Contract in io.h.
 *
 * Holes are punched by a plain call: AIO has none. They are rare and made in
 * batches; the cost is a few microseconds on the pager thread.
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/falloc.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/error.h"

typedef struct IoAio {
    VmdIo io;
    io_context_t context;
    VmdIoFile file;
    int event_fd;
    unsigned depth, in_flight;
    struct iocb *slots;     /* depth of them */
    struct iocb **free_slots;
    unsigned free_count;
    struct iocb **queued;   /* submitted, not yet handed over */
    unsigned queued_count;
    GPtrArray *finished;    /* punches and refusals, for reap() to deliver */
} IoAio;

/* A request that the kernel does not take is delivered by reap(). */
static void finish_later(IoAio *a, VmdIoRequest *req, int error)
{
    uint64_t one = 1;

    req->progress = (uint32_t)error;
    g_ptr_array_add(a->finished, req);
    (void)!write(a->event_fd, &one, sizeof(one));
}

static int aio_submit(VmdIo *io, VmdIoRequest *req)
{
    IoAio *a = (IoAio *)io;

    if (req->op == VMD_IO_PUNCH) {
        int r = fallocate(a->file.fd,
                          FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          (off_t)req->offset, req->len);
        finish_later(a, req, r < 0 ? errno : 0);
        return 0;
    }
    if (vmd_io_file_check(&a->file, req) < 0) {
        finish_later(a, req, ENODATA);
        return 0;
    }
    if (a->free_count == 0) {
        return -EAGAIN;
    }
    struct iocb *cb = a->free_slots[--a->free_count];
    void *buf = req->buf + req->progress;
    size_t len = req->len - req->progress;
    long long offset = (long long)(req->offset + req->progress);
    if (req->op == VMD_IO_READ) {
        io_prep_pread(cb, a->file.fd, buf, len, offset);
    } else {
        io_prep_pwrite(cb, a->file.fd, buf, len, offset);
    }
    io_set_eventfd(cb, a->event_fd);
    cb->data = req;
    a->queued[a->queued_count++] = cb;
    a->in_flight++;
    return 0;
}

static void fail_queued(IoAio *a, struct iocb *cb, int r)
{
    finish_later(a, cb->data, -r);
    a->free_slots[a->free_count++] = cb;
    a->in_flight--;
}

static void aio_flush(VmdIo *io)
{
    IoAio *a = (IoAio *)io;
    unsigned sent = 0;

    while (sent < a->queued_count) {
        int n = io_submit(a->context, a->queued_count - sent,
                          a->queued + sent);
        if (n == -EAGAIN || n == -EINTR || n == 0) {
            break; /* tried again at the next flush */
        }
        if (n < 0) { /* the first one is refused for good */
            fail_queued(a, a->queued[sent], n);
            n = 1;
        }
        sent += (unsigned)n;
    }
    a->queued_count -= sent;
    for (unsigned i = 0; i < a->queued_count; i++) {
        a->queued[i] = a->queued[i + sent];
    }
}

static unsigned deliver_finished(IoAio *a)
{
    unsigned count = a->finished->len;

    for (unsigned i = 0; i < count; i++) {
        VmdIoRequest *req = g_ptr_array_index(a->finished, i);
        req->done(req, -(int)req->progress);
    }
    if (count > 0) {
        g_ptr_array_remove_range(a->finished, 0, count);
    }
    return count;
}

static unsigned aio_reap(VmdIo *io)
{
    IoAio *a = (IoAio *)io;
    struct io_event events[64];
    struct timespec now = { 0, 0 };
    uint64_t counter;
    unsigned count;
    int n;

    (void)!read(a->event_fd, &counter, sizeof(counter));
    count = deliver_finished(a);
    while ((n = io_getevents(a->context, 0, 64, events, &now)) > 0) {
        for (int i = 0; i < n; i++) {
            struct iocb *cb = events[i].obj;
            VmdIoRequest *req = cb->data;
            int result = 0;

            a->free_slots[a->free_count++] = cb;
            a->in_flight--;
            bool again = vmd_io_advance(&a->file, req,
                                        (int64_t)(long)events[i].res,
                                        &result);
            if (again && aio_submit(io, req) == 0) {
                continue;
            }
            req->done(req, again ? -EIO : result);
            count++;
        }
    }
    return count;
}

static int aio_fd(const VmdIo *io)
{
    return ((const IoAio *)io)->event_fd;
}

static void aio_free(VmdIo *io)
{
    IoAio *a = (IoAio *)io;

    (void)io_destroy(a->context); /* waits for what is in flight */
    (void)close(a->event_fd);
    g_ptr_array_unref(a->finished);
    g_free(a->slots);
    g_free(a->free_slots);
    g_free(a->queued);
    g_free(a);
}

static const VmdIoOps aio_ops = {
    .name = "libaio",
    .submit = aio_submit,
    .flush = aio_flush,
    .reap = aio_reap,
    .fd = aio_fd,
    .free = aio_free,
};

VmdIo *vmd_io_aio_new(int fd, uint64_t bytes, unsigned depth, GError **errp)
{
    g_autofree IoAio *a = g_new0(IoAio, 1);

    int r = io_setup((int)depth, &a->context);
    if (r < 0) {
        vm_error_set(errp, -r, "libaio: cannot make a context");
        return NULL;
    }
    a->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->event_fd < 0) {
        vm_error_set(errp, errno, "libaio: cannot make an eventfd");
        (void)io_destroy(a->context);
        return NULL;
    }
    a->io.ops = &aio_ops;
    vmd_io_file_init(&a->file, fd, bytes);
    a->depth = depth;
    a->slots = g_new0(struct iocb, depth);
    a->free_slots = g_new0(struct iocb *, depth);
    a->queued = g_new0(struct iocb *, depth);
    for (unsigned i = 0; i < depth; i++) {
        a->free_slots[a->free_count++] = &a->slots[i];
    }
    a->finished = g_ptr_array_new();
    return &g_steal_pointer(&a)->io;
}
