/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine as migration sees it (memory/placement.h): export and import of
 * chunks by messages to the pager thread, which does them in carry.c.
 *
 * Threads: any; run_*(), call_*() and vmd_engine_import_lent() the pager's.
 */
#include "engine-internal.h"

#include <errno.h>
#include <string.h>

#include "backing.h"
#include "util/fd.h"

RamPlacement *vmd_engine_placement(VmdEngine *vmd)
{
    return &vmd->placement;
}

static uint32_t placement_chunk_pages(void *opaque)
{
    return ((VmdEngine *)opaque)->pager.cfg.chunk_pages;
}

static void call_budget_pages(VmdPager *p, void *arg)
{
    *(uint64_t *)arg = vmd_carry_budget_pages(p);
}

static uint64_t placement_budget_pages(void *opaque)
{
    uint64_t pages;

    vmd_engine_call(opaque, call_budget_pages, &pages);
    return pages;
}

static void call_counters(VmdPager *p, void *arg)
{
    RamPagingCounters *ret = arg;

    ret->pages_in = p->stats.page_in_bytes >> RAM_PAGE_BITS;
    ret->pages_out = p->stats.page_out_bytes >> RAM_PAGE_BITS;
}

static void placement_counters(void *opaque, RamPagingCounters *ret)
{
    vmd_engine_call(opaque, call_counters, ret);
}

static void call_infos(VmdPager *p, void *arg)
{
    vmd_carry_chunk_infos(p, arg);
}

static void placement_infos(void *opaque, RamChunkInfo *ret_infos)
{
    vmd_engine_call(opaque, call_infos, ret_infos);
}

static void placement_history(void *opaque, ChunkNo chunk, uint8_t *ret_history)
{
    VmdPager *p = &((VmdEngine *)opaque)->pager;

    vm_mutex_lock(&p->history_lock);
    memcpy(ret_history, p->history + vmd_first_page(p, chunk),
           vmd_chunk_len(p, chunk));
    vm_mutex_unlock(&p->history_lock);
}

static void call_tracking_on(VmdPager *p, void *arg)
{
    p->tracking = true;
}

static void call_tracking_off(VmdPager *p, void *arg)
{
    p->tracking = false;
}

static void placement_tracking_start(void *opaque)
{
    vmd_engine_call(opaque, call_tracking_on, NULL);
}

static void placement_tracking_stop(void *opaque)
{
    vmd_engine_call(opaque, call_tracking_off, NULL);
}

/* A request of migration that nobody waits for here. */
typedef struct Posted {
    VmdMessage message;
    union {
        RamExport *export_;
        RamImport *import_;
    };
} Posted;

static void post_carry(VmdEngine *vmd, void (*run)(VmdEngine *, VmdMessage *),
                       void *what)
{
    Posted *posted = g_new0(Posted, 1);

    posted->message.run = run;
    posted->export_ = what;
    vmd_engine_post(vmd, &posted->message);
}

static void run_export(VmdEngine *vmd, VmdMessage *m)
{
    RamExport *e = ((Posted *)m)->export_;

    g_free(m);
    vmd_carry_export(&vmd->pager, e);
}

static int placement_export_start(void *opaque, RamExport *e)
{
    VmdEngine *vmd = opaque;

    if (e->chunk >= vmd->pager.chunk_count) {
        return -EINVAL;
    }
    post_carry(vmd, run_export, e);
    return 0;
}

static void placement_export_end(void *opaque, RamExport *e)
{
    VmdPager *p = &((VmdEngine *)opaque)->pager;

    if (e->pinned) {
        e->pinned = false;
        atomic_fetch_sub(&p->pins[e->chunk], 1);
    }
}

/* What import_begin() sleeps on; im->waiting points to it meanwhile. */
typedef struct BeginCall {
    VmdMessage message;
    VmdEngine *vmd;
    RamImport *import_;
} BeginCall;

static void run_import_begin(VmdEngine *vmd, VmdMessage *m)
{
    BeginCall *call = (BeginCall *)m;

    call->import_->waiting = call;
    vmd_carry_import_begin(&vmd->pager, call->import_);
}

void vmd_engine_import_lent(RamImport *im)
{
    BeginCall *call = im->waiting;

    im->waiting = NULL;
    vmd_engine_finish(call->vmd, &call->message);
}

static int placement_import_begin(void *opaque, RamImport *im)
{
    VmdEngine *vmd = opaque;
    BeginCall call = {
        .message = {.run = run_import_begin}, .vmd = vmd, .import_ = im};

    if (im->chunk >= vmd->pager.chunk_count) {
        return -EINVAL;
    }
    vmd_engine_post(vmd, &call.message);
    vmd_engine_wait(vmd, &call.message);
    return im->buf ? 0 : -EIO;
}

static void run_import_commit(VmdEngine *vmd, VmdMessage *m)
{
    RamImport *im = ((Posted *)m)->import_;

    g_free(m);
    vmd_carry_import_commit(&vmd->pager, im);
}

static void placement_import_commit(void *opaque, RamImport *im)
{
    post_carry(opaque, run_import_commit, im);
}

static void call_import_abort(VmdPager *p, void *arg)
{
    vmd_carry_import_abort(p, arg);
}

static void placement_import_abort(void *opaque, RamImport *im)
{
    vmd_engine_call(opaque, call_import_abort, im);
}

typedef struct ZeroCall {
    ChunkNo chunk;
    const uint8_t *history;
    int result;
} ZeroCall;

static void call_import_zero(VmdPager *p, void *arg)
{
    ZeroCall *zero = arg;

    zero->result = vmd_carry_import_zero(p, zero->chunk, zero->history);
}

static int placement_import_zero(void *opaque, ChunkNo chunk,
                                 const uint8_t *history)
{
    VmdEngine *vmd = opaque;
    ZeroCall zero = {chunk, history, 0};

    if (chunk >= vmd->pager.chunk_count) {
        return -EINVAL;
    }
    do {
        vmd_engine_call(vmd, call_import_zero, &zero);
        if (zero.result == -EAGAIN) {
            g_usleep(1000); /* a write of this chunk is under way */
        }
    } while (zero.result == -EAGAIN);
    return zero.result;
}

static void call_to_swap(VmdPager *p, void *arg)
{
    vmd_carry_to_swap(p, *(const ChunkNo *)arg);
}

static void placement_to_swap(void *opaque, ChunkNo chunk)
{
    VmdEngine *vmd = opaque;

    if (chunk < vmd->pager.chunk_count) {
        vmd_engine_call(vmd, call_to_swap, &chunk);
    }
}

/* --- a saved file --------------------------------------------------------- */

static VmdIo *open_backing(VmdEngine *vmd, const RamBacking *from,
                           GError **errp)
{
    VmdBackingConfig cfg = {
        .pages = vmd->bytes >> RAM_PAGE_BITS,
        .depth = VMD_IO_DEPTH,
        .swap = vmd->io,
        .from = *from,
    };
    VmdIo *backing;

    cfg.file = strcmp(vmd->io->ops->name, "io_uring") == 0
                   ? vmd_io_uring_new(from->fd, from->bytes, VMD_IO_DEPTH,
                                      errp)
                   : vmd_io_aio_new(from->fd, from->bytes, VMD_IO_DEPTH, errp);
    if (!cfg.file) {
        return NULL;
    }
    backing = vmd_backing_new(&cfg, errp);
    if (!backing) {
        cfg.file->ops->free(cfg.file);
    }
    return backing;
}

typedef struct BackCall {
    VmdEngine *vmd;
    VmdIo *backing;
    const uint8_t *history;
    int result;
} BackCall;

static void call_back(VmdPager *p, void *arg)
{
    BackCall *call = arg;

    call->result = vmd_carry_back(p, call->backing, call->history);
    if (call->result == 0) {
        call->vmd->backing = call->backing;
    }
}

static int placement_back(void *opaque, RamBacking *take)
{
    VmdEngine *vmd = opaque;
    g_autoptr(GError) error = NULL;
    BackCall call = { .vmd = vmd, .history = take->history };

    call.backing = open_backing(vmd, take, &error);
    if (!call.backing) {
        vm_close_fd(&take->fd);
        g_free(take->at);
        g_free(take->sums);
        return error->code > 0 ? -error->code : -EIO;
    }
    vmd_engine_call(vmd, call_back, &call);
    if (call.result < 0) {
        call.backing->ops->free(call.backing);
    }
    return call.result;
}

const RamPlacementOps vmd_engine_placement_ops = {
    .chunk_pages = placement_chunk_pages,
    .budget_pages = placement_budget_pages,
    .counters = placement_counters,
    .chunk_infos = placement_infos,
    .history = placement_history,
    .export_start = placement_export_start,
    .export_end = placement_export_end,
    .tracking_start = placement_tracking_start,
    .tracking_stop = placement_tracking_stop,
    .import_begin = placement_import_begin,
    .import_commit = placement_import_commit,
    .import_abort = placement_import_abort,
    .import_zero = placement_import_zero,
    .to_swap = placement_to_swap,
    .back = placement_back,
};
