/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-rng-pci: random bytes for the guest (virtio 1.2 section 5.4).
 *
 * Why: each chain the driver offers is filled with bytes from the kernel's
 * generator or from a file (-object rng-random), at a rate that the
 * administrator may limit by max-bytes= and period=.
 *
 * Invariants:
 *   (1) quota_bytes is what may still be given in the current period; when it
 *       is 0 (or the file has nothing) the timer is armed, and its end kicks
 *       the queue.
 *   (2) Nothing is in flight: a chain is filled and given back in one go.
 *
 * Threads: I/O thread, dev.lock held.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "hw/virtio/virtio.h"
#include "util/error.h"
#include "util/fd.h"
#include "virtio-devices.h"

#define QUEUE_SIZE 8 /* as QEMU's */
#define VECTORS 2
#define PERIOD_MS_DEFAULT 65536
#define FILE_RETRY_MS 100
/* A longer chain is given back partly filled (5.4.6.1 allows it). */
#define CHAIN_BYTES_MAX 65536
#define PIECE_BYTES 4096
#define BATCH_MAX 8

typedef struct VirtioRng {
    VirtioPci virtio;

    /* Immutable. */
    int fd; /* -1: getrandom() */
    uint64_t max_bytes;
    unsigned period_ms;

    /* Protected by the device's lock. */
    uint64_t quota_bytes;
    GSource *timer;
    bool period_running; /* the timer ends a period, not only a retry */
} VirtioRng;

static VirtioRng *from_virtio(VirtioPci *v)
{
    return (VirtioRng *)v;
}

static gboolean timer_over(gpointer opaque)
{
    VirtioRng *rng = opaque;

    vm_mutex_lock(&rng->virtio.pci.dev.lock);
    if (rng->period_running) {
        rng->quota_bytes = rng->max_bytes;
        rng->period_running = false;
    }
    g_clear_pointer(&rng->timer, g_source_unref);
    virtio_kick(&rng->virtio, 0);
    vm_mutex_unlock(&rng->virtio.pci.dev.lock);
    return G_SOURCE_REMOVE;
}

static void arm_timer(VirtioRng *rng, unsigned ms)
{
    if (rng->timer) {
        return;
    }
    rng->timer = g_timeout_source_new(ms);
    g_source_set_callback(rng->timer, timer_over, rng, NULL);
    g_source_attach(rng->timer, rng->virtio.pci.machine->io_context);
}

/* Bytes got (0: none for now) or -errno. */
static int64_t get_bytes(const VirtioRng *rng, uint8_t *buf, size_t len)
{
    ssize_t n;

    do {
        n = rng->fd < 0 ? getrandom(buf, len, GRND_NONBLOCK)
                        : read(rng->fd, buf, len);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return n;
    }
    return errno == EAGAIN ? 0 : -errno;
}

/* Bytes written into the chain; 0 if there are none for now; -errno. */
static int64_t fill_chain(VirtioRng *rng, const VirtChain *chain)
{
    VirtQueue *vq = &rng->virtio.queue[0];
    uint64_t want = MIN(MIN(chain->in_bytes, CHAIN_BYTES_MAX),
                        rng->quota_bytes);
    uint64_t done = 0;

    while (done < want) {
        uint8_t piece[PIECE_BYTES];
        int64_t n = get_bytes(rng, piece, MIN(want - done, sizeof(piece)));
        int64_t r;

        if (n <= 0) {
            break; /* a source that fails is a source that has nothing */
        }
        r = virtqueue_write(vq, chain->segment, chain->in_count, done, piece,
                            n);
        if (r < 0) {
            return r;
        }
        done += n;
    }
    return done;
}

static void use_quota(VirtioRng *rng, uint64_t bytes)
{
    rng->quota_bytes -= bytes;
    if (rng->max_bytes != UINT64_MAX && !rng->period_running) {
        rng->period_running = true;
        arm_timer(rng, rng->period_ms);
    }
}

/* 1: a chain was given back; 0: wait for the timer; -errno. */
static int serve_chain(VirtioRng *rng, const VirtChain *chain)
{
    VirtQueue *vq = &rng->virtio.queue[0];
    int64_t n;
    int r;

    if (chain->out_count > 0 || chain->in_bytes == 0) {
        return -EINVAL; /* 5.4.6.1 */
    }
    n = fill_chain(rng, chain);
    if (n < 0) {
        return n;
    }
    if (n == 0) {
        virtqueue_unpop(vq);
        arm_timer(rng, FILE_RETRY_MS); /* (1) */
        return 0;
    }
    use_quota(rng, n);
    r = virtqueue_push(vq, chain->head, n);
    return r < 0 ? r : 1;
}

static int rng_run_queue(VirtioPci *v, unsigned q)
{
    VirtioRng *rng = from_virtio(v);
    VirtQueue *vq = &v->queue[0];
    int r = 1, served = 0;

    while (r > 0 && served < BATCH_MAX && rng->quota_bytes > 0) {
        r = virtqueue_pop(vq, &v->chain);
        if (r == 0) {
            r = virtqueue_kicks_enable(vq);
            break;
        }
        r = r < 0 ? r : serve_chain(rng, &v->chain);
        served += r > 0;
    }
    if (r >= 0 && served > 0) {
        virtio_notify_queue(v, 0);
    }
    return rng->quota_bytes == 0 ? MIN(r, 0) : r;
}

static const VirtioOps rng_ops = { .run_queue = rng_run_queue };

static const VMStateDescription rng_vmstate = {
    .name = "virtio-rng",
    .version = 1,
    .minimum_version = 1,
    .fields = (const VMStateField[]){
        VMSTATE_STRUCT(virtio, VirtioRng, virtio_pci_vmstate),
        VMSTATE_END,
    },
};

static void rng_free(Device *dev)
{
    VirtioRng *rng = (VirtioRng *)dev;

    virtio_pci_done(&rng->virtio);
    if (rng->timer) {
        g_source_destroy(rng->timer);
        g_source_unref(rng->timer);
    }
    vm_close_fd(&rng->fd);
    g_free(rng);
}

static const DeviceOps rng_device_ops = {
    .reset = virtio_pci_reset,
    .quiesce = virtio_pci_quiesce,
    .resume = virtio_pci_resume,
    .free = rng_free,
};

/* ---- Set-up ------------------------------------------------------------ */

typedef struct RngProps {
    const char *filename; /* NULL: getrandom() */
    uint64_t max_bytes, period_ms;
    VirtioPciProps pci;
} RngProps;

static bool find_source(Machine *machine, const char *type, VmKeyval *props,
                        const char **ret, GError **errp)
{
    const char *rng = vm_keyval_get(props, "rng");
    const MachineBackends *b = machine->backends;

    *ret = NULL;
    if (!rng) {
        return true;
    }
    *ret = b && b->find_rng ? b->find_rng(machine->backends_opaque, rng)
                            : NULL;
    if (!*ret) {
        return vm_error_set(errp, 0, "%s: there is no rng object '%s'", type,
                            rng);
    }
    /* The kernel's generator is asked directly, wherever it is mounted. */
    if (**ret == '\0' || g_str_equal(*ret, "/dev/urandom")) {
        *ret = NULL;
    }
    return true;
}

static bool read_rng_props(Machine *machine, const char *type,
                           VmKeyval *props, RngProps *p, GError **errp)
{
    if (!find_source(machine, type, props, &p->filename, errp) ||
        !vm_keyval_get_u64(props, "max-bytes", UINT64_MAX, &p->max_bytes,
                           errp) ||
        !vm_keyval_get_u64(props, "period", PERIOD_MS_DEFAULT, &p->period_ms,
                           errp)) {
        return false;
    }
    if (p->max_bytes == 0) {
        return vm_error_set(errp, 0, "%s: max-bytes is at least 1", type);
    }
    if (p->period_ms == 0 || p->period_ms > UINT32_MAX) {
        return vm_error_set(errp, 0, "%s: period is 1 to %u ms", type,
                            UINT32_MAX);
    }
    return virtio_pci_props(machine, type, VECTORS, props, &p->pci, errp);
}

static bool rng_create(Machine *machine, const char *type, const char *id,
                       VmKeyval *props, GError **errp)
{
    RngProps p = { 0 };
    const VirtioPciConfig config = {
        .type = type,
        .device_id = VIRTIO_ID_RNG,
        .class_code = 0x00ff00, /* other */
        .queue_count = 1,
        .queue_size = QUEUE_SIZE,
        .ops = &rng_ops,
        .device_ops = &rng_device_ops,
        .vmsd = &rng_vmstate,
    };
    g_autofree VirtioRng *rng = NULL;
    vm_autofd fd = -1;

    if (!read_rng_props(machine, type, props, &p, errp)) {
        return false;
    }
    if (p.filename) {
        fd = open(p.filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) {
            return vm_error_set(errp, errno, "Could not open '%s'",
                                p.filename);
        }
    }
    rng = g_new0(VirtioRng, 1);
    rng->max_bytes = rng->quota_bytes = p.max_bytes;
    rng->period_ms = p.period_ms;
    if (!virtio_pci_init(&rng->virtio, machine, id, &config, &p.pci, errp)) {
        return false;
    }
    rng->fd = vm_steal_fd(&fd);
    g_steal_pointer(&rng); /* the machine owns it */
    return true;
}

bool virtio_rng_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp)
{
    return rng_create(machine, "virtio-rng-pci", id, props, errp);
}

bool virtio_rng_create_nt(Machine *machine, const char *id, VmKeyval *props,
                          GError **errp)
{
    return rng_create(machine, "virtio-rng-pci-non-transitional", id, props,
                      errp);
}
