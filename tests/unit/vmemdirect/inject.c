/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contract in inject.h. */
#include "inject.h"

#include <errno.h>
#include <stdatomic.h>

#include "util/clock.h"

#define DEPTH 256u
#define LATE_NS_MAX (3 * VM_NS_PER_MS)

typedef enum Fate { AS_IT_IS, FAILS_BEFORE, FAILS_AFTER, WRONG_BYTES } Fate;

/* A request of the pager's, and the one that the device gets for it. */
typedef struct Case {
    VmdIoRequest request; /* first */
    struct Inject *inject;
    VmdIoRequest *theirs;
    struct Case *next; /* free, or done and not delivered yet */
    Fate fate;
    int result;
    int64_t due_ns;
} Case;

typedef struct Inject {
    VmdIo io;
    VmdIo *inner;
    InjectConfig cfg;
    uint64_t rng;
    bool ill;
    int64_t turn_ns; /* when that changes */
    Case cases[DEPTH];
    Case *free, *done;
} Inject;

static atomic_bool stopped;
static atomic_uint_fast64_t count;

static uint64_t next_random(Inject *in)
{
    uint64_t x = in->rng += 0x9e3779b97f4a7c15ull;

    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static bool one_in(Inject *in, unsigned n)
{
    return next_random(in) % n == 0;
}

static bool is_ill(Inject *in, int64_t now_ns)
{
    if (atomic_load(&stopped)) {
        return false;
    }
    if (now_ns >= in->turn_ns) {
        uint64_t ms = in->ill ? 500 + next_random(in) % 1500
                              : 100 + next_random(in) % 400;
        in->ill = !in->ill;
        in->turn_ns = now_ns + (int64_t)ms * VM_NS_PER_MS;
    }
    return in->ill;
}

static Fate fate_of(Inject *in, const VmdIoRequest *req)
{
    if (in->cfg.wrong_bytes && req->op == VMD_IO_READ && one_in(in, 8)) {
        return WRONG_BYTES;
    }
    if (one_in(in, 4)) {
        return one_in(in, 2) ? FAILS_BEFORE : FAILS_AFTER;
    }
    return AS_IT_IS;
}

/* To be delivered by a later reap(). */
static void keep_done(Case *c, int result)
{
    c->result = result;
    c->next = c->inject->done;
    c->inject->done = c;
}

static int error_for(const VmdIoRequest *req)
{
    return req->op == VMD_IO_WRITE ? -ENOSPC : -EIO;
}

static void case_done(VmdIoRequest *req, int result)
{
    Case *c = (Case *)req;

    if (result == 0 && c->fate == FAILS_AFTER) {
        result = error_for(req);
    } else if (result == 0 && c->fate == WRONG_BYTES) {
        req->buf[next_random(c->inject) % req->len] ^= 0x10;
    }
    keep_done(c, result);
}

static int inject_submit(VmdIo *io, VmdIoRequest *req)
{
    Inject *in = (Inject *)io;
    Case *c = in->free;
    int64_t now = vm_clock_ns();
    bool ill = is_ill(in, now);

    if (!c) {
        return -EAGAIN;
    }
    in->free = c->next;
    *c = (Case){ .request = *req, .inject = in, .theirs = req,
                 .due_ns = now };
    c->request.done = case_done;
    if (ill) {
        c->fate = fate_of(in, req);
        if (one_in(in, 4)) {
            c->due_ns += (int64_t)(next_random(in) % LATE_NS_MAX);
        }
        atomic_fetch_add(&count, c->fate != AS_IT_IS || c->due_ns != now);
    }
    if (c->fate == FAILS_BEFORE) {
        keep_done(c, error_for(req));
        return 0;
    }
    int r = in->inner->ops->submit(in->inner, &c->request);
    if (r < 0) {
        c->next = in->free;
        in->free = c;
    }
    return r;
}

static void inject_flush(VmdIo *io)
{
    Inject *in = (Inject *)io;

    in->inner->ops->flush(in->inner);
}

/* Those that are due, the last that ended first. */
static unsigned inject_reap(VmdIo *io)
{
    Inject *in = (Inject *)io;
    unsigned delivered = 0;

    (void)in->inner->ops->reap(in->inner);
    int64_t now = vm_clock_ns();
    Case *waiting = in->done;
    in->done = NULL;
    while (waiting) {
        Case *c = waiting;
        waiting = c->next;
        if (c->due_ns > now) {
            c->next = in->done;
            in->done = c;
            continue;
        }
        VmdIoRequest *theirs = c->theirs;
        int result = c->result;
        c->next = in->free;
        in->free = c;
        theirs->done(theirs, result); /* may submit */
        delivered++;
    }
    return delivered;
}

static bool inject_busy(const VmdIo *io)
{
    const Inject *in = (const Inject *)io;

    return in->done ||
           (in->inner->ops->busy && in->inner->ops->busy(in->inner));
}

static int inject_fd(const VmdIo *io)
{
    const Inject *in = (const Inject *)io;

    return in->inner->ops->fd(in->inner);
}

static void inject_free(VmdIo *io)
{
    Inject *in = (Inject *)io;

    in->inner->ops->free(in->inner);
    g_free(in);
}

static const VmdIoOps inject_ops = {
    .name = "inject",
    .submit = inject_submit,
    .flush = inject_flush,
    .reap = inject_reap,
    .busy = inject_busy,
    .fd = inject_fd,
    .free = inject_free,
};

VmdIo *inject_new(VmdIo *take_inner, const InjectConfig *cfg)
{
    Inject *in = g_new0(Inject, 1);

    in->io.ops = &inject_ops;
    in->inner = take_inner;
    in->cfg = *cfg;
    in->rng = cfg->seed;
    for (unsigned i = 0; i < DEPTH; i++) {
        in->cases[i].next = in->free;
        in->free = &in->cases[i];
    }
    return &in->io;
}

void inject_stop(void)
{
    atomic_store(&stopped, true);
}

uint64_t inject_count(void)
{
    return atomic_load(&count);
}
