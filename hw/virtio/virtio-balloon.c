/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-balloon-pci: memory that the guest gives back (virtio 1.2 section
 * 5.5).
 *
 * Why: what the guest does not need should cost nothing, neither RAM nor a
 * place in the swap file, nor the time to read and write it. Two ways:
 *  - the balloon: the host says how many pages it wants (num_pages), the
 *    guest takes pages out of use and names them in the inflate queue; it
 *    uses them again when it likes, and says so in the deflate queue;
 *  - free page reporting: the guest names blocks that are free at the moment,
 *    and uses them again without a word.
 * Both end in ram_discard(). A third queue brings the guest's statistics.
 *
 * Invariants:
 *   (1) When a request is given back, its pages have been discarded, or never
 *       will be: no discard outlives its request, since the guest may then
 *       use the pages. (Until then it may not, 5.5.6.1 and 5.5.6.7.)
 *   (2) Only pages of guest RAM are discarded. Page numbers and blocks
 *       elsewhere are skipped; naming pages twice, or pages that the device
 *       or the guest itself uses, harms nobody but the guest.
 *   (3) The buffer of the statistics queue is not taken but looked at; when
 *       new values are wanted it is given back. So nothing is in flight when
 *       the device is saved.
 *   (4) What one chain makes us do is bounded; what lies beyond the bounds is
 *       not discarded, which a device is free to do.
 *
 * Queues: 5.5.2 numbers them 0 to 4 with free_page_vq as 3 and reporting_vq
 * as 4. Linux leaves out those it did not negotiate, and QEMU those that are
 * not offered, so reporting is 3 with both. Without a free_page_vq here both
 * 3 and 4 are reporting queues, and every driver finds what it expects.
 *
 * Threads: queues and timer on the I/O thread, registers on vCPU threads, the
 * functions of virtio-balloon.h on the main thread; dev.lock is held in all.
 */
#include "hw/virtio/virtio-balloon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hw/core/device-timer.h"
#include "hw/virtio/virtio.h"
#include "util/clock.h"
#include "util/error.h"
#include "virtio-devices.h"

#define F_STATS_VQ (UINT64_C(1) << 1)
#define F_DEFLATE_ON_OOM (UINT64_C(1) << 2)
#define F_PAGE_POISON (UINT64_C(1) << 4)
#define F_REPORTING (UINT64_C(1) << 5)

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_REPORTING, QUEUES = 5 };
#define QUEUE_SIZE 128 /* as QEMU's */
#define VECTORS 0      /* as QEMU's */

/* struct virtio_balloon_config, 5.5.4. */
enum {
    CONFIG_NUM_PAGES = 0,
    CONFIG_ACTUAL = 4,
    CONFIG_POISON_VAL = 12,
    CONFIG_BYTES_SHORT = 8,
    CONFIG_BYTES = 16,
};

/* Bounds (4). Linux sends 256 numbers, or 32 blocks of 2 or 4 MiB. */
#define CHAINS_MAX 8u
#define PFNS_MAX 16384u
#define PFNS_AT_ONCE 256u
#define REPORT_BYTES_MAX (UINT64_C(512) << 20)
#define RANGES_MAX 256u

/* One value: le16 tag, le64 value, packed (5.5.6.4). */
#define STAT_BYTES 10u
#define STATS_BYTES_MAX (64 * STAT_BYTES)

struct VirtioBalloon {
    VirtioPci virtio;

    /* Immutable. */
    RamBlock *ram;
    DeviceTimer *timer;

    /* Protected by the device's lock. */
    uint32_t num_pages, actual, poison_val; /* the configuration's */
    uint32_t interval_s;
    VirtioBalloonStats stats;
    RamRange ranges[RANGES_MAX]; /* scratch: to be discarded */
    unsigned range_count;
};

static VirtioBalloon *from_virtio(VirtioPci *v)
{
    return (VirtioBalloon *)v;
}

/* ---- Discarding -------------------------------------------------------- */

static void flush_ranges(VirtioBalloon *b)
{
    ram_discard(b->ram, b->ranges, b->range_count);
    b->range_count = 0;
}

static void add_range(VirtioBalloon *b, RamOffset offset, uint64_t len)
{
    if (b->range_count == RANGES_MAX) {
        flush_ranges(b);
    }
    b->ranges[b->range_count++] = (RamRange){ offset, len };
}

/* Whole pages from gpa on; those that are not guest RAM are skipped (2). */
static void add_pages(VirtioBalloon *b, GuestAddr gpa, uint64_t len)
{
    AddressSpace *memory = b->virtio.pci.machine->memory;

    while (len > 0) {
        RamBlock *block;
        RamOffset offset;
        uint64_t have;

        if (!address_space_find_ram(memory, gpa, len, &block, &offset,
                                    &have)) {
            return;
        }
        have &= ~(uint64_t)(RAM_PAGE_BYTES - 1);
        if (have == 0 || offset % RAM_PAGE_BYTES != 0) {
            return; /* RAM is not mapped in such pieces */
        }
        if (block == b->ram) {
            add_range(b, offset, have);
        }
        gpa += have;
        len -= have;
    }
}

static int compare_pfns(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Sorted, so that neighbours make one range. */
static void add_pfns(VirtioBalloon *b, uint32_t *pfns, unsigned count)
{
    unsigned n;

    for (unsigned i = 0; i < count; i++) {
        pfns[i] = GUINT32_FROM_LE(pfns[i]);
    }
    qsort(pfns, count, sizeof(pfns[0]), compare_pfns);
    for (unsigned i = 0; i < count; i += n) {
        /* Not "== pfns[i] + n": a number may be there twice. */
        for (n = 1; i + n < count && pfns[i + n] - pfns[i + n - 1] <= 1;
             n++) {
        }
        add_pages(b, (GuestAddr)pfns[i] << RAM_PAGE_BITS,
                  ((uint64_t)pfns[i + n - 1] - pfns[i] + 1) << RAM_PAGE_BITS);
    }
}

/* 0 or -errno, as for all that serve one chain. */
static int inflate(VirtioBalloon *b, const VirtChain *chain)
{
    VirtQueue *vq = &b->virtio.queue[QUEUE_INFLATE];
    uint64_t bytes = MIN(chain->out_bytes, PFNS_MAX * sizeof(uint32_t));

    for (uint64_t at = 0; at < bytes;) {
        uint32_t pfns[PFNS_AT_ONCE];
        int64_t n = virtqueue_read(vq, chain->segment, chain->out_count, at,
                                   pfns, MIN(bytes - at, sizeof(pfns)));

        if (n < 0) {
            return (int)n;
        }
        add_pfns(b, pfns, (unsigned)n / sizeof(pfns[0]));
        at += (uint64_t)n;
    }
    flush_ranges(b); /* (1) */
    return 0;
}

/* The pages fault in as zero when they are touched: nothing to do. */
static int deflate(VirtioBalloon *b, const VirtChain *chain)
{
    return 0;
}

static int report(VirtioBalloon *b, const VirtChain *chain)
{
    uint64_t left = REPORT_BYTES_MAX;

    /* 5.5.6.7.2: free pages keep the pattern that the guest relies on. */
    if (virtio_has_feature(&b->virtio, F_PAGE_POISON) && b->poison_val != 0) {
        return 0;
    }
    for (unsigned i = 0; i < chain->in_count && left > 0; i++) {
        const VirtSegment *s = &chain->segment[chain->out_count + i];
        uint64_t slack = -s->addr & (RAM_PAGE_BYTES - 1);
        uint64_t len = s->len > slack ? s->len - slack : 0;

        len = MIN(len & ~(uint64_t)(RAM_PAGE_BYTES - 1), left);
        if (s->addr <= UINT64_MAX - s->len) {
            add_pages(b, s->addr + slack, len);
        }
        left -= len;
    }
    flush_ranges(b); /* (1) */
    return 0;
}

/* Gives back what the driver put into queue q, served. */
static int run_plain_queue(VirtioPci *v, unsigned q,
                           int (*serve)(VirtioBalloon *b,
                                        const VirtChain *chain))
{
    VirtQueue *vq = &v->queue[q];
    unsigned served = 0;
    int r = 1;

    while (r > 0 && served < CHAINS_MAX) {
        r = virtqueue_pop(vq, &v->chain);
        if (r == 0) {
            r = virtqueue_kicks_enable(vq);
            break;
        }
        if (r > 0) {
            r = serve(from_virtio(v), &v->chain);
        }
        if (r == 0) {
            r = virtqueue_push(vq, v->chain.head, 0);
            served++;
            r = r < 0 ? r : 1;
        }
    }
    if (r >= 0 && served > 0) {
        virtio_notify_queue(v, q);
    }
    return r;
}

/* ---- Statistics -------------------------------------------------------- */

static const char *const stat_names[VIRTIO_BALLOON_STATS] = {
    "stat-swap-in",          "stat-swap-out",     "stat-major-faults",
    "stat-minor-faults",     "stat-free-memory",  "stat-total-memory",
    "stat-available-memory", "stat-disk-caches",  "stat-htlb-pgalloc",
    "stat-htlb-pgfail",
};

const char *virtio_balloon_stat_name(unsigned tag)
{
    return stat_names[tag];
}

static void clear_stats(VirtioBalloon *b)
{
    b->stats.last_update_s = 0;
    memset(b->stats.value, 0xff, sizeof(b->stats.value));
}

static int read_stats(VirtioBalloon *b, const VirtChain *chain)
{
    uint8_t bytes[STATS_BYTES_MAX];
    int64_t n = virtqueue_read(&b->virtio.queue[QUEUE_STATS], chain->segment,
                               chain->out_count, 0, bytes, sizeof(bytes));

    if (n < 0) {
        return (int)n;
    }
    for (unsigned at = 0; at + STAT_BYTES <= n; at += STAT_BYTES) {
        uint16_t tag;
        uint64_t value;

        memcpy(&tag, bytes + at, sizeof(tag));
        memcpy(&value, bytes + at + sizeof(tag), sizeof(value));
        tag = GUINT16_FROM_LE(tag);
        if (tag < VIRTIO_BALLOON_STATS) {
            b->stats.value[tag] = GUINT64_FROM_LE(value);
        }
    }
    b->stats.last_update_s = g_get_real_time() / G_USEC_PER_SEC;
    return 0;
}

/* New values, or the buffer that a driver offers at its start. */
static int run_stats_queue(VirtioPci *v)
{
    VirtQueue *vq = &v->queue[QUEUE_STATS];
    int r = virtqueue_pop(vq, &v->chain);

    if (r > 0) {
        virtqueue_unpop(vq); /* (3) */
        r = read_stats(from_virtio(v), &v->chain);
    }
    if (r == 0) {
        r = virtqueue_kicks_enable(vq);
    }
    return MIN(r, 0); /* what is there has been looked at */
}

/* The driver takes its buffer back, fills it and offers it again. */
static void ask_for_stats(VirtioPci *v)
{
    VirtQueue *vq = &v->queue[QUEUE_STATS];
    int r = virtqueue_pop(vq, &v->chain);

    if (r > 0) {
        r = virtqueue_push(vq, v->chain.head, 0);
        if (r == 0) {
            virtio_notify_queue(v, QUEUE_STATS);
        }
    }
    if (r < 0) {
        virtio_break(v, "bad statistics queue");
    }
}

static void arm_timer(VirtioBalloon *b, uint32_t seconds)
{
    device_timer_arm(b->timer, vm_clock_ns() + seconds * VM_NS_PER_SEC);
}

static void timer_over(Device *dev)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;
    VirtioPci *v = &b->virtio;

    if (virtio_is_live(v) && virtio_has_feature(v, F_STATS_VQ) &&
        v->queue[QUEUE_STATS].enabled) {
        ask_for_stats(v);
    }
    if (b->interval_s > 0) {
        arm_timer(b, b->interval_s);
    }
}

static int balloon_run_queue(VirtioPci *v, unsigned q)
{
    switch (q) {
    case QUEUE_INFLATE:
        return run_plain_queue(v, q, inflate);
    case QUEUE_DEFLATE:
        return run_plain_queue(v, q, deflate);
    case QUEUE_STATS:
        return run_stats_queue(v);
    default:
        return run_plain_queue(v, q, report);
    }
}

/* ---- Configuration ----------------------------------------------------- */

static void put_le32(uint8_t *at, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    memcpy(at, &value, sizeof(value));
}

static void fill_config(VirtioBalloon *b)
{
    uint8_t *config = b->virtio.config;

    put_le32(config + CONFIG_NUM_PAGES, b->num_pages);
    put_le32(config + CONFIG_ACTUAL, b->actual);
    put_le32(config + CONFIG_POISON_VAL, b->poison_val);
}

static void balloon_config_reading(VirtioPci *v)
{
    fill_config(from_virtio(v));
}

/* The bytes of [offset, offset+len) that belong to the field at "at". */
static void write_field(uint32_t *field, unsigned at, unsigned offset,
                        const uint8_t *bytes, unsigned len)
{
    uint8_t image[sizeof(*field)];

    put_le32(image, *field);
    for (unsigned i = 0; i < len; i++) {
        if (offset + i >= at && offset + i < at + sizeof(image)) {
            image[offset + i - at] = bytes[i];
        }
    }
    memcpy(field, image, sizeof(image));
    *field = GUINT32_FROM_LE(*field);
}

static void set_actual(VirtioBalloon *b, uint32_t pages)
{
    const Machine *m = b->virtio.pci.machine;

    if (b->actual == pages) {
        return;
    }
    b->actual = pages;
    if (m->requests && m->requests->balloon_changed) {
        m->requests->balloon_changed(m->requests_opaque);
    }
}

static void balloon_config_written(VirtioPci *v, unsigned offset,
                                   const uint8_t *bytes, unsigned len)
{
    VirtioBalloon *b = from_virtio(v);
    uint32_t actual = b->actual;

    write_field(&actual, CONFIG_ACTUAL, offset, bytes, len);
    write_field(&b->poison_val, CONFIG_POISON_VAL, offset, bytes, len);
    set_actual(b, actual);
}

/* The guest starts anew, with all of its memory; what the host wants of it
 * stays. */
static void balloon_reset(VirtioPci *v)
{
    VirtioBalloon *b = from_virtio(v);

    b->poison_val = 0;
    clear_stats(b);
    set_actual(b, 0);
}

/* ---- The monitor ------------------------------------------------------- */

static void balloon_free(Device *dev);

VirtioBalloon *virtio_balloon_from_device(Device *dev)
{
    return dev->ops && dev->ops->free == balloon_free ? (VirtioBalloon *)dev
                                                      : NULL;
}

VirtioBalloon *virtio_balloon_find(const Machine *machine)
{
    for (guint i = 0; i < machine->devices->len; i++) {
        VirtioBalloon *b =
            virtio_balloon_from_device(machine->devices->pdata[i]);

        if (b) {
            return b;
        }
    }
    return NULL;
}

static VmMutex *lock_of(VirtioBalloon *b)
{
    return &b->virtio.pci.dev.lock;
}

void virtio_balloon_set_target(VirtioBalloon *b, uint64_t bytes)
{
    uint64_t ram = ram_block_bytes(b->ram);
    uint64_t pages = (ram - MIN(bytes, ram)) >> RAM_PAGE_BITS;

    vm_mutex_lock(lock_of(b));
    b->num_pages = (uint32_t)MIN(pages, UINT32_MAX);
    virtio_notify_config(&b->virtio);
    vm_mutex_unlock(lock_of(b));
}

uint64_t virtio_balloon_actual_bytes(VirtioBalloon *b)
{
    uint64_t ram = ram_block_bytes(b->ram), inside;

    vm_mutex_lock(lock_of(b));
    inside = (uint64_t)b->actual << RAM_PAGE_BITS; /* the guest's word */
    vm_mutex_unlock(lock_of(b));
    return ram - MIN(inside, ram);
}

void virtio_balloon_get_stats(VirtioBalloon *b, VirtioBalloonStats *ret)
{
    vm_mutex_lock(lock_of(b));
    *ret = b->stats;
    vm_mutex_unlock(lock_of(b));
}

uint32_t virtio_balloon_get_interval_s(VirtioBalloon *b)
{
    uint32_t interval_s;

    vm_mutex_lock(lock_of(b));
    interval_s = b->interval_s;
    vm_mutex_unlock(lock_of(b));
    return interval_s;
}

static void set_interval(VirtioBalloon *b, uint32_t interval_s)
{
    bool was_off = b->interval_s == 0;

    b->interval_s = interval_s;
    if (interval_s == 0) {
        device_timer_disarm(b->timer);
    } else {
        arm_timer(b, was_off ? 0 : interval_s);
    }
}

void virtio_balloon_set_interval_s(VirtioBalloon *b, uint32_t interval_s)
{
    vm_mutex_lock(lock_of(b));
    if (interval_s != b->interval_s) {
        set_interval(b, interval_s);
    }
    vm_mutex_unlock(lock_of(b));
}

/* ---- Life -------------------------------------------------------------- */

static const VirtioOps balloon_ops = {
    .run_queue = balloon_run_queue,
    .config_reading = balloon_config_reading,
    .config_written = balloon_config_written,
    .reset = balloon_reset,
};

static const VMStateDescription balloon_vmstate = {
    .name = "virtio-balloon",
    .version = 1,
    .minimum_version = 1,
    .fields = (const VMStateField[]){
        VMSTATE_STRUCT(virtio, VirtioBalloon, virtio_pci_vmstate),
        VMSTATE_U32(num_pages, VirtioBalloon),
        VMSTATE_U32(actual, VirtioBalloon),
        VMSTATE_U32(poison_val, VirtioBalloon),
        VMSTATE_END,
    },
};

static void balloon_free(Device *dev)
{
    VirtioBalloon *b = (VirtioBalloon *)dev;

    device_timer_free(b->timer);
    virtio_pci_done(&b->virtio);
    g_free(b);
}

static const DeviceOps balloon_device_ops = {
    .reset = virtio_pci_reset,
    .quiesce = virtio_pci_quiesce,
    .resume = virtio_pci_resume,
    .free = balloon_free,
};

typedef struct BalloonProps {
    bool deflate_on_oom, reporting, poison;
    uint64_t interval_s;
    VirtioPciProps pci;
} BalloonProps;

static bool read_props(Machine *machine, const char *type, VmKeyval *props,
                       BalloonProps *p, GError **errp)
{
    bool hint;

    if (!vm_keyval_get_bool(props, "deflate-on-oom", false,
                            &p->deflate_on_oom, errp) ||
        !vm_keyval_get_bool(props, "free-page-reporting", false,
                            &p->reporting, errp) ||
        !vm_keyval_get_bool(props, "page-poison", true, &p->poison, errp) ||
        !vm_keyval_get_bool(props, "free-page-hint", false, &hint, errp) ||
        !vm_keyval_get_u64(props, "guest-stats-polling-interval", 0,
                           &p->interval_s, errp)) {
        return false;
    }
    if (hint) {
        return vm_error_set(errp, 0, "%s: free-page-hint=on is not supported",
                            type);
    }
    if (p->interval_s > UINT32_MAX) {
        return vm_error_set(errp, 0, "%s: guest-stats-polling-interval is 0 "
                            "to %u s", type, UINT32_MAX);
    }
    if (virtio_balloon_find(machine)) {
        return vm_error_set(errp, 0, "Only one balloon device is supported");
    }
    return virtio_pci_props(machine, type, VECTORS, props, &p->pci, errp);
}

static bool balloon_create(Machine *machine, const char *type,
                           const char *id, VmKeyval *props, GError **errp)
{
    g_autofree VirtioBalloon *b = NULL;
    BalloonProps p;

    if (!read_props(machine, type, props, &p, errp)) {
        return false;
    }
    const VirtioPciConfig config = {
        .type = type,
        .device_id = VIRTIO_ID_BALLOON,
        .class_code = 0x00ff00, /* other */
        .features = F_STATS_VQ | (p.deflate_on_oom ? F_DEFLATE_ON_OOM : 0) |
                    (p.poison ? F_PAGE_POISON : 0) |
                    (p.reporting ? F_REPORTING : 0),
        .queue_count = p.reporting ? QUEUES : QUEUE_REPORTING,
        .queue_size = QUEUE_SIZE,
        .config_bytes = p.poison ? CONFIG_BYTES : CONFIG_BYTES_SHORT,
        .ops = &balloon_ops,
        .device_ops = &balloon_device_ops,
        .vmsd = &balloon_vmstate,
    };
    b = g_new0(VirtioBalloon, 1);
    b->ram = machine->ram;
    clear_stats(b);
    if (!virtio_pci_init(&b->virtio, machine, id, &config, &p.pci, errp)) {
        return false;
    }
    b->timer = device_timer_new(&b->virtio.pci.dev, timer_over);
    set_interval(b, (uint32_t)p.interval_s);
    g_steal_pointer(&b); /* the machine owns it */
    return true;
}

bool virtio_balloon_create(Machine *machine, const char *id, VmKeyval *props,
                           GError **errp)
{
    return balloon_create(machine, "virtio-balloon-pci", id, props, errp);
}

bool virtio_balloon_create_nt(Machine *machine, const char *id,
                              VmKeyval *props, GError **errp)
{
    return balloon_create(machine, "virtio-balloon-pci-non-transitional", id,
                          props, errp);
}
