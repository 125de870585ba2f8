/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk-pci: a disk (virtio 1.2 section 5.2).
 *
 * Why: requests run asynchronously. A request maps (and pins) its buffers,
 * goes to the block backend, and comes back by request_done() on the I/O
 * thread, which writes the status byte and gives the chain back.
 *
 * Invariants:
 *   (1) A request's buffers are mapped from start to done; no page with I/O
 *       in flight is paged out.
 *   (2) At most IN_FLIGHT_MAX requests and, but for a single one, at most
 *       SEGMENTS_MAX segments are in flight: pins are bounded, and so is the
 *       device's memory, whatever the rings say.
 *   (3) A queue that stopped for (2) is listed in stalled and is kicked when
 *       a request ends.
 *
 * Threads: requests on the I/O thread, dev.lock held; registers on vCPU
 * threads, dev.lock held.
 */
#include <errno.h>
#include <string.h>

#include "block/block.h"
#include "hw/virtio/virtio.h"
#include "util/error.h"
#include "virtio-devices.h"

#define SECTOR_BYTES 512
#define IN_FLIGHT_MAX 64
#define SEGMENTS_MAX 512
/* Chains taken in one go before others have their turn. */
#define BATCH_MAX 64
#define QUEUE_SIZE_DEFAULT 256
#define SERIAL_BYTES 20
#define DISCARD_SECTORS_MAX (INT32_MAX / SECTOR_BYTES)
#define DISCARD_SEGMENTS_MAX 1

#define F_SEG_MAX (UINT64_C(1) << 2)
#define F_RO (UINT64_C(1) << 5)
#define F_BLK_SIZE (UINT64_C(1) << 6)
#define F_FLUSH (UINT64_C(1) << 9)
#define F_TOPOLOGY (UINT64_C(1) << 10)
#define F_CONFIG_WCE (UINT64_C(1) << 11)
#define F_MQ (UINT64_C(1) << 12)
#define F_DISCARD (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

/* struct virtio_blk_config, 5.2.4. */
enum {
    CONFIG_CAPACITY = 0,
    CONFIG_SEG_MAX = 12,
    CONFIG_BLK_SIZE = 20,
    CONFIG_PHYSICAL_EXP = 24,
    CONFIG_WRITEBACK = 32,
    CONFIG_NUM_QUEUES = 34,
    CONFIG_DISCARD_SECTORS = 36,
    CONFIG_DISCARD_SEGMENTS = 40,
    CONFIG_DISCARD_ALIGNMENT = 44,
    CONFIG_ZEROES_SECTORS = 48,
    CONFIG_ZEROES_SEGMENTS = 52,
    CONFIG_ZEROES_MAY_UNMAP = 56,
    CONFIG_BYTES = 60,
};

/* 5.2.6. */
enum {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13,
};
enum { STATUS_OK = 0, STATUS_IOERR = 1, STATUS_UNSUPP = 2 };

typedef struct BlkHeader {
    uint32_t type, reserved;
    uint64_t sector;
} BlkHeader;
G_STATIC_ASSERT(sizeof(BlkHeader) == 16);

typedef struct BlkRange {
    uint64_t sector;
    uint32_t sectors, flags;
} BlkRange;
G_STATIC_ASSERT(sizeof(BlkRange) == 16);
#define RANGE_F_UNMAP 1

typedef struct VirtioBlk VirtioBlk;

typedef struct BlkRequest {
    BlockRequest block;
    VirtioBlk *blk;
    unsigned q;
    uint16_t head;
    GuestAddr status_at;
    uint32_t data_bytes; /* of the readable or writable data */
    bool flush_after;    /* write-through of what has no FUA */
    unsigned maps;
    DmaMapping *map;   /* (1) */
    struct iovec *iov; /* all pieces of all maps */
} BlkRequest;

struct VirtioBlk {
    VirtioPci virtio;

    /* Immutable. */
    BlockBackend *backend;
    char serial[SERIAL_BYTES + 1];
    unsigned block_bytes;
    bool write_cache_default;

    /* Protected by the device's lock. */
    bool write_cache; /* what the driver chose by CONFIG_WCE */
    uint64_t capacity_bytes;
    unsigned in_flight, segments;
    uint32_t stalled; /* (3); a bit a queue */
};

G_STATIC_ASSERT(VIRTIO_QUEUES_MAX <= 32);

static VirtioBlk *from_virtio(VirtioPci *v)
{
    return (VirtioBlk *)v;
}

/* ---- Ending a request -------------------------------------------------- */

static void request_free(BlkRequest *req)
{
    g_free(req->map);
    g_free(req->iov);
    g_free(req);
}

static uint8_t status_of(int result)
{
    return result == 0 ? STATUS_OK
                       : result == -EOPNOTSUPP ? STATUS_UNSUPP : STATUS_IOERR;
}

/* Writes the status byte and gives the chain back. */
static int answer(VirtioBlk *blk, unsigned q, uint16_t head,
                  GuestAddr status_at, uint8_t status, uint32_t written)
{
    VirtioPci *v = &blk->virtio;
    int r = dma_write(v->queue[q].memory, status_at, &status, 1);

    if (r == 0) {
        r = virtqueue_push(&v->queue[q], head, written + 1);
    }
    if (r == 0) {
        virtio_notify_queue(v, q);
    }
    return r;
}

static void kick_stalled(VirtioBlk *blk)
{
    for (unsigned q = 0; blk->stalled >> q; q++) {
        if (blk->stalled & (1u << q)) {
            virtio_kick(&blk->virtio, q);
        }
    }
    blk->stalled = 0;
}

static void unmap_all(BlkRequest *req)
{
    bool read = req->block.op == BLOCK_READ;

    for (unsigned i = 0; i < req->maps; i++) {
        DmaMapping *m = &req->map[i];
        size_t bytes = 0;

        /* A failed read may have written any part of it. */
        for (int p = 0; read && p < m->iovcnt; p++) {
            bytes += m->iov[p].iov_len;
        }
        dma_unmap(m, bytes);
    }
}

static void request_done(BlockRequest *block, int result)
{
    BlkRequest *req = block->opaque;
    VirtioBlk *blk = req->blk;
    VirtioPci *v = &blk->virtio;
    bool ok = result == 0;

    if (ok && req->flush_after) {
        req->flush_after = false;
        block->op = BLOCK_FLUSH;
        block_backend_submit(blk->backend, block);
        return;
    }
    unmap_all(req);
    vm_mutex_lock(&v->pci.dev.lock);
    blk->in_flight--;
    blk->segments -= req->maps;
    if (!v->broken && !v->reset_pending &&
        answer(blk, req->q, req->head, req->status_at, status_of(result),
               ok && block->op == BLOCK_READ ? req->data_bytes : 0) < 0) {
        virtio_break(v, "used ring or status byte out of RAM");
    }
    kick_stalled(blk);
    virtio_request_done(v);
    vm_mutex_unlock(&v->pci.dev.lock);
    request_free(req);
}

/* ---- Starting a request ------------------------------------------------ */

/* The chain, cut into header, data and status byte: framing is free
 * (2.7.4), so any of them may share a segment with another. */
typedef struct BlkParts {
    BlkHeader header;
    const VirtSegment *data;
    unsigned data_count;
    uint32_t skip;       /* bytes of data[0] that belong to the header */
    uint32_t data_bytes;
    GuestAddr status_at;
} BlkParts;

static int read_header(VirtQueue *vq, const VirtChain *chain, BlkHeader *h)
{
    int64_t n = virtqueue_read(vq, chain->segment, chain->out_count, 0, h,
                               sizeof(*h));

    if (n < 0) {
        return n;
    }
    if (n < (int64_t)sizeof(*h)) {
        return -EINVAL;
    }
    h->type = GUINT32_FROM_LE(h->type);
    h->sector = GUINT64_FROM_LE(h->sector);
    return 0;
}

static int split_chain(VirtQueue *vq, const VirtChain *chain, BlkParts *p)
{
    const VirtSegment *last;
    int r;

    if (chain->in_bytes < 1) {
        return -EINVAL; /* no room for the status: nothing can be said */
    }
    r = read_header(vq, chain, &p->header);
    if (r < 0) {
        return r;
    }
    last = &chain->segment[chain->out_count + chain->in_count - 1];
    p->status_at = last->addr + last->len - 1;
    if (chain->out_bytes > sizeof(BlkHeader)) {
        p->data = chain->segment;
        p->data_count = chain->out_count;
        p->skip = sizeof(BlkHeader);
        while (p->skip >= p->data->len) {
            p->skip -= p->data->len;
            p->data++;
            p->data_count--;
        }
        p->data_bytes = chain->out_bytes - sizeof(BlkHeader);
    } else {
        p->data = chain->segment + chain->out_count;
        p->data_count = chain->in_count;
        p->skip = 0;
        p->data_bytes = chain->in_bytes - 1;
    }
    return 0;
}

static BlkRequest *request_new(VirtioBlk *blk, unsigned q,
                               const VirtChain *chain, const BlkParts *p)
{
    BlkRequest *req = g_try_new0(BlkRequest, 1);

    if (!req) {
        return NULL;
    }
    req->block.done = request_done;
    req->block.opaque = req;
    req->blk = blk;
    req->q = q;
    req->head = chain->head;
    req->status_at = p->status_at;
    req->data_bytes = p->data_bytes;
    return req;
}

/* Maps the data for the backend. -ENOMEM is ours, others are the ring's. */
static int map_data(BlkRequest *req, const BlkParts *p, DmaDirection direction)
{
    AddressSpace *memory = req->blk->virtio.queue[req->q].memory;
    uint32_t skip = p->skip, left = p->data_bytes;

    req->map = g_try_new0(DmaMapping, p->data_count);
    req->iov = g_try_new0(struct iovec,
                          (gsize)p->data_count * DMA_MAX_PIECES);
    if (!req->map || !req->iov) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < p->data_count && left > 0; i++) {
        uint32_t len = MIN(p->data[i].len - skip, left);
        DmaMapping *m = &req->map[req->maps];
        int r = dma_map(memory, p->data[i].addr + skip, len, direction, m);

        if (r < 0) {
            return r;
        }
        req->maps++;
        memcpy(&req->iov[req->block.iovcnt], m->iov,
               sizeof(*m->iov) * m->iovcnt);
        req->block.iovcnt += m->iovcnt;
        left -= len;
        skip = 0;
    }
    req->block.iov = req->iov;
    return 0;
}

static void submit(VirtioBlk *blk, BlkRequest *req)
{
    blk->in_flight++;
    blk->segments += req->maps;
    block_backend_submit(blk->backend, &req->block);
}

/* Is [sector, sector+sectors) on the disk, in whole blocks? */
static bool range_ok(const VirtioBlk *blk, uint64_t sector, uint64_t bytes)
{
    uint64_t capacity = blk->capacity_bytes / SECTOR_BYTES;
    unsigned block_sectors = blk->block_bytes / SECTOR_BYTES;

    return bytes % blk->block_bytes == 0 && sector % block_sectors == 0 &&
           sector <= capacity && bytes / SECTOR_BYTES <= capacity - sector;
}

/* Write-through unless the driver can flush and was not told otherwise. */
static bool write_through(const VirtioBlk *blk)
{
    const VirtioPci *v = &blk->virtio;

    if (virtio_has_feature(v, F_CONFIG_WCE)) {
        return !blk->write_cache;
    }
    return !virtio_has_feature(v, F_FLUSH) || !blk->write_cache_default;
}

/* Each start_ function returns 0 (submitted or answered), a positive status
 * to answer with, or -errno for a bad ring. */
static int start_transfer(VirtioBlk *blk, BlkRequest *req, const BlkParts *p,
                          bool write)
{
    int r;

    if (!range_ok(blk, p->header.sector, p->data_bytes) ||
        (write && block_backend_read_only(blk->backend))) {
        return STATUS_IOERR;
    }
    r = map_data(req, p, write ? DMA_TO_DEVICE : DMA_FROM_DEVICE);
    if (r < 0) {
        return r == -EFAULT ? r : STATUS_IOERR;
    }
    req->block.op = write ? BLOCK_WRITE : BLOCK_READ;
    req->block.offset = p->header.sector * SECTOR_BYTES;
    req->block.len = p->data_bytes;
    req->block.fua = write && write_through(blk);
    submit(blk, req);
    return 0;
}

static int start_flush(VirtioBlk *blk, BlkRequest *req)
{
    req->block.op = BLOCK_FLUSH;
    submit(blk, req);
    return 0;
}

/* Discard and write zeroes, 5.2.6.1: an array of ranges; we take one. */
static int start_range(VirtioBlk *blk, BlkRequest *req, const BlkParts *p,
                       bool zeroes)
{
    VirtQueue *vq = &blk->virtio.queue[req->q];
    BlkRange range;
    int64_t n;

    if (!virtio_has_feature(&blk->virtio,
                            zeroes ? F_WRITE_ZEROES : F_DISCARD)) {
        return STATUS_UNSUPP;
    }
    if (p->data_bytes != sizeof(range)) {
        return STATUS_IOERR;
    }
    n = virtqueue_read(vq, p->data, p->data_count, p->skip, &range,
                       sizeof(range));
    if (n < (int64_t)sizeof(range)) {
        return n < 0 ? n : -EINVAL;
    }
    range.sector = GUINT64_FROM_LE(range.sector);
    range.sectors = GUINT32_FROM_LE(range.sectors);
    range.flags = GUINT32_FROM_LE(range.flags);
    if ((range.flags & ~RANGE_F_UNMAP) || (!zeroes && range.flags)) {
        return STATUS_UNSUPP; /* 5.2.6.2 */
    }
    if (range.sectors > DISCARD_SECTORS_MAX ||
        !range_ok(blk, range.sector,
                  (uint64_t)range.sectors * SECTOR_BYTES) ||
        block_backend_read_only(blk->backend)) {
        return STATUS_IOERR;
    }
    req->block.op = zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD;
    req->block.offset = range.sector * SECTOR_BYTES;
    req->block.len = (uint64_t)range.sectors * SECTOR_BYTES;
    req->block.may_unmap = range.flags & RANGE_F_UNMAP;
    req->flush_after = zeroes && write_through(blk);
    submit(blk, req);
    return 0;
}

static int start_get_id(VirtioBlk *blk, BlkRequest *req, const BlkParts *p)
{
    VirtQueue *vq = &blk->virtio.queue[req->q];
    char id[SERIAL_BYTES] = { 0 };
    uint32_t n = MIN(p->data_bytes, SERIAL_BYTES);
    int64_t r;

    memcpy(id, blk->serial, strlen(blk->serial));
    r = virtqueue_write(vq, p->data, p->data_count, p->skip, id, n);
    if (r < 0) {
        return r;
    }
    r = answer(blk, req->q, req->head, req->status_at, STATUS_OK, n);
    if (r == 0) {
        request_free(req);
    }
    return r;
}

static int start_by_type(VirtioBlk *blk, BlkRequest *req,
                         const VirtChain *chain, const BlkParts *p)
{
    bool has_out = chain->out_bytes > sizeof(BlkHeader);

    switch (p->header.type) {
    case TYPE_IN:
        return has_out ? -EINVAL
                       : start_transfer(blk, req, p, /* write= */ false);
    case TYPE_OUT:
        return !has_out && p->data_bytes
                   ? -EINVAL
                   : start_transfer(blk, req, p, /* write= */ true);
    case TYPE_FLUSH:
        return start_flush(blk, req);
    case TYPE_GET_ID:
        return has_out ? -EINVAL : start_get_id(blk, req, p);
    case TYPE_DISCARD:
    case TYPE_WRITE_ZEROES:
        return has_out ? start_range(blk, req, p,
                                     p->header.type == TYPE_WRITE_ZEROES)
                       : -EINVAL;
    default:
        return STATUS_UNSUPP;
    }
}

static int start_request(VirtioBlk *blk, unsigned q, const VirtChain *chain)
{
    VirtQueue *vq = &blk->virtio.queue[q];
    BlkRequest *req;
    BlkParts p;
    int r = split_chain(vq, chain, &p);

    if (r < 0) {
        return r;
    }
    req = request_new(blk, q, chain, &p);
    r = req ? start_by_type(blk, req, chain, &p) : STATUS_IOERR;
    if (r == 0) {
        return 0; /* request_done() has it, or it is answered */
    }
    if (req) {
        for (unsigned i = 0; i < req->maps; i++) {
            dma_unmap(&req->map[i], 0);
        }
        request_free(req);
    }
    return r < 0 ? r : answer(blk, q, chain->head, p.status_at, r, 0);
}

/* (2) */
static bool has_room(const VirtioBlk *blk)
{
    return blk->in_flight < IN_FLIGHT_MAX &&
           (blk->in_flight == 0 || blk->segments < SEGMENTS_MAX);
}

static int blk_run_queue(VirtioPci *v, unsigned q)
{
    VirtioBlk *blk = from_virtio(v);
    VirtQueue *vq = &v->queue[q];
    int r = virtqueue_kicks_disable(vq);

    for (int n = 0; r >= 0 && n < BATCH_MAX; n++) {
        if (!has_room(blk)) {
            blk->stalled |= 1u << q; /* (3) */
            return 0;
        }
        r = virtqueue_pop(vq, &v->chain);
        if (r == 0) {
            return virtqueue_kicks_enable(vq);
        }
        if (r > 0) {
            r = start_request(blk, q, &v->chain);
        }
        if (v->broken) {
            return 0;
        }
    }
    return r < 0 ? r : 1;
}

/* ---- Configuration ----------------------------------------------------- */

static void put_config(VirtioPci *v, unsigned offset, unsigned len,
                       uint64_t value)
{
    for (unsigned i = 0; i < len; i++) {
        v->config[offset + i] = value >> (8 * i);
    }
}

static void blk_config_reading(VirtioPci *v)
{
    v->config[CONFIG_WRITEBACK] = !write_through(from_virtio(v));
}

static void blk_config_written(VirtioPci *v, unsigned offset,
                               const uint8_t *bytes, unsigned len)
{
    /* The one field that a driver may write (5.2.5.2). */
    if (offset == CONFIG_WRITEBACK && len == 1 &&
        virtio_has_feature(v, F_CONFIG_WCE)) {
        from_virtio(v)->write_cache = bytes[0] & 1;
    }
}

static void blk_reset(VirtioPci *v)
{
    VirtioBlk *blk = from_virtio(v);

    blk->write_cache = blk->write_cache_default;
    blk->stalled = 0;
}

static unsigned blk_in_flight(VirtioPci *v)
{
    return from_virtio(v)->in_flight;
}

static void blk_drain(VirtioPci *v)
{
    block_backend_drain(from_virtio(v)->backend);
}

static const VirtioOps blk_ops = {
    .run_queue = blk_run_queue,
    .config_reading = blk_config_reading,
    .config_written = blk_config_written,
    .reset = blk_reset,
    .in_flight = blk_in_flight,
    .drain = blk_drain,
};

/* ---- Migration --------------------------------------------------------- */

static int blk_post_load(void *opaque, int version)
{
    VirtioBlk *blk = opaque;
    uint64_t ours = block_backend_bytes(blk->backend);

    /* The guest knows the size of its disk. */
    if (blk->capacity_bytes != ours) {
        blk->capacity_bytes = ours;
        return -EINVAL;
    }
    return 0;
}

static const VMStateDescription blk_vmstate = {
    .name = "virtio-blk",
    .version = 1,
    .minimum_version = 1,
    .post_load = blk_post_load,
    .fields = (const VMStateField[]){
        VMSTATE_STRUCT(virtio, VirtioBlk, virtio_pci_vmstate),
        VMSTATE_BOOL(write_cache, VirtioBlk),
        VMSTATE_U64(capacity_bytes, VirtioBlk),
        VMSTATE_END,
    },
};

/* ---- Set-up ------------------------------------------------------------ */

static void blk_free(Device *dev)
{
    VirtioBlk *blk = (VirtioBlk *)dev;

    virtio_pci_done(&blk->virtio);
    g_free(blk);
}

static const DeviceOps blk_device_ops = {
    .reset = virtio_pci_reset,
    .quiesce = virtio_pci_quiesce,
    .resume = virtio_pci_resume,
    .free = blk_free,
};

typedef struct BlkProps {
    BlockBackend *backend;
    const char *serial;
    uint64_t queues, queue_size, logical, physical;
    bool write_cache, discard, write_zeroes, config_wce;
    VirtioPciProps pci;
} BlkProps;

static bool find_drive(Machine *machine, const char *type, VmKeyval *props,
                       BlockBackend **ret, GError **errp)
{
    const char *drive = vm_keyval_get(props, "drive");
    const MachineBackends *b = machine->backends;

    if (!drive) {
        return vm_error_set(errp, 0, "%s: drive property not set", type);
    }
    *ret = b && b->find_block ? b->find_block(machine->backends_opaque, drive)
                              : NULL;
    if (!*ret) {
        return vm_error_set(errp, 0, "%s: there is no drive '%s'", type,
                            drive);
    }
    return true;
}

static bool is_power_of_two(uint64_t n)
{
    return n && (n & (n - 1)) == 0;
}

static bool check_blk_props(const char *type, const BlkProps *p,
                            GError **errp)
{
    if (p->queues < 1 || p->queues > VIRTIO_QUEUES_MAX) {
        return vm_error_set(errp, 0, "%s: num-queues is 1 to %d", type,
                            VIRTIO_QUEUES_MAX);
    }
    if (p->queue_size < 4 || p->queue_size > VIRTQUEUE_SIZE_MAX ||
        !is_power_of_two(p->queue_size)) {
        return vm_error_set(errp, 0, "%s: queue-size is a power of two from 4 "
                            "to %d", type, VIRTQUEUE_SIZE_MAX);
    }
    if (p->logical < 512 || p->logical > 4096 ||
        !is_power_of_two(p->logical) || p->physical < p->logical ||
        p->physical > 65536 || !is_power_of_two(p->physical)) {
        return vm_error_set(errp, 0, "%s: logical_block_size is a power of "
                            "two from 512 to 4096, physical_block_size one "
                            "from that to 65536", type);
    }
    if (block_backend_bytes(p->backend) % p->logical) {
        return vm_error_set(errp, 0, "%s: the image is not a multiple of "
                            "logical_block_size", type);
    }
    if (p->serial && strlen(p->serial) > SERIAL_BYTES) {
        return vm_error_set(errp, 0, "%s: serial is longer than %d bytes",
                            type, SERIAL_BYTES);
    }
    return true;
}

static bool read_blk_props(Machine *machine, const char *type,
                           VmKeyval *props, BlkProps *p, GError **errp)
{
    uint64_t boot_index;

    p->serial = vm_keyval_get(props, "serial");
    return find_drive(machine, type, props, &p->backend, errp) &&
           vm_keyval_get_u64(props, "bootindex", 0, &boot_index, errp) &&
           vm_keyval_get_u64(props, "num-queues", 1, &p->queues, errp) &&
           vm_keyval_get_u64(props, "queue-size", QUEUE_SIZE_DEFAULT,
                             &p->queue_size, errp) &&
           vm_keyval_get_size(props, "logical_block_size", SECTOR_BYTES,
                              &p->logical, errp) &&
           vm_keyval_get_size(props, "physical_block_size", p->logical,
                              &p->physical, errp) &&
           vm_keyval_get_bool(props, "write-cache",
                              block_backend_write_cache(p->backend),
                              &p->write_cache, errp) &&
           vm_keyval_get_bool(props, "config-wce", true, &p->config_wce,
                              errp) &&
           vm_keyval_get_bool(props, "discard", true, &p->discard, errp) &&
           vm_keyval_get_bool(props, "write-zeroes", true, &p->write_zeroes,
                              errp) &&
           check_blk_props(type, p, errp) &&
           virtio_pci_props(machine, type, p->queues + 1, props, &p->pci,
                            errp);
}

static void fill_config(VirtioBlk *blk, const BlkProps *p)
{
    VirtioPci *v = &blk->virtio;

    put_config(v, CONFIG_CAPACITY, 8, blk->capacity_bytes / SECTOR_BYTES);
    put_config(v, CONFIG_SEG_MAX, 4, p->queue_size - 2);
    put_config(v, CONFIG_BLK_SIZE, 4, blk->block_bytes);
    put_config(v, CONFIG_PHYSICAL_EXP, 1,
               __builtin_ctzll(p->physical / p->logical));
    put_config(v, CONFIG_NUM_QUEUES, 2, p->queues);
    put_config(v, CONFIG_DISCARD_SECTORS, 4, DISCARD_SECTORS_MAX);
    put_config(v, CONFIG_DISCARD_SEGMENTS, 4, DISCARD_SEGMENTS_MAX);
    put_config(v, CONFIG_DISCARD_ALIGNMENT, 4, p->logical / SECTOR_BYTES);
    put_config(v, CONFIG_ZEROES_SECTORS, 4, DISCARD_SECTORS_MAX);
    put_config(v, CONFIG_ZEROES_SEGMENTS, 4, DISCARD_SEGMENTS_MAX);
    put_config(v, CONFIG_ZEROES_MAY_UNMAP, 1, 1);
}

static uint64_t blk_features(const BlkProps *p)
{
    return F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY |
           (p->config_wce ? F_CONFIG_WCE : 0) |
           (block_backend_read_only(p->backend) ? F_RO : 0) |
           (p->queues > 1 ? F_MQ : 0) | (p->discard ? F_DISCARD : 0) |
           (p->write_zeroes ? F_WRITE_ZEROES : 0);
}

static bool blk_create(Machine *machine, const char *type, const char *id,
                       VmKeyval *props, GError **errp)
{
    BlkProps p = { 0 };
    g_autofree VirtioBlk *blk = NULL;
    VirtioPciConfig config = {
        .type = type,
        .device_id = VIRTIO_ID_BLOCK,
        .class_code = 0x010000, /* mass storage, SCSI: as QEMU's */
        .config_bytes = CONFIG_BYTES,
        .ops = &blk_ops,
        .device_ops = &blk_device_ops,
        .vmsd = &blk_vmstate,
    };

    if (!read_blk_props(machine, type, props, &p, errp)) {
        return false;
    }
    if (!block_backend_claim(p.backend)) {
        return vm_error_set(errp, 0, "%s: drive '%s' is already in use", type,
                            block_backend_id(p.backend));
    }
    if (!block_backend_start(p.backend, machine->io_context, errp)) {
        return false;
    }
    config.features = blk_features(&p);
    config.queue_count = p.queues;
    config.queue_size = p.queue_size;
    blk = g_new0(VirtioBlk, 1);
    blk->backend = p.backend;
    blk->block_bytes = p.logical;
    blk->capacity_bytes = block_backend_bytes(p.backend);
    blk->write_cache = blk->write_cache_default = p.write_cache;
    if (p.serial) {
        memcpy(blk->serial, p.serial, strlen(p.serial) + 1);
    }
    fill_config(blk, &p);
    if (!virtio_pci_init(&blk->virtio, machine, id, &config, &p.pci, errp)) {
        return false;
    }
    g_steal_pointer(&blk); /* the machine owns it */
    return true;
}

bool virtio_blk_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp)
{
    return blk_create(machine, "virtio-blk-pci", id, props, errp);
}

bool virtio_blk_create_nt(Machine *machine, const char *id, VmKeyval *props,
                          GError **errp)
{
    return blk_create(machine, "virtio-blk-pci-non-transitional", id, props,
                      errp);
}
