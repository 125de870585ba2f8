/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a virtio device: status, queues, pauses, resets.
 *
 * Why: what may happen when is the same for all virtio devices, and subtle:
 * vCPUs write registers while the I/O thread works on the rings and requests
 * are in flight in a backend.
 *
 *   reset -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK: live
 *     ^                                                 |   |
 *     |  (status reads non-zero until none in flight)   |   +-> broken
 *     +---- reset_pending <--- driver writes 0 ---------+---------+
 *
 * Invariants:
 *   (1) Rings are touched only while virtio_is_live(), and by completions of
 *       requests that were in flight when that ended, unless broken or
 *       reset_pending.
 *   (2) After quiesce nothing is in flight, and nothing starts until resume
 *       (unless quiesce gave up waiting: then from some moment later on).
 *   (3) A reset is complete (status reads 0) only when no request is in
 *       flight: the driver may then free its buffers (4.1.4.3.2).
 *
 * Threads: see virtio.h. Kicks reach the I/O thread by one eventfd a queue,
 * written by KVM (ioeventfd), by a vCPU's exit, or by virtio_kick().
 */
#include <errno.h>
#include <glib-unix.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virtio-internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

struct VirtioKick {
    VirtioPci *v;
    unsigned q;
    int fd;
    GSource *source;
};

bool virtio_is_live(const VirtioPci *v)
{
    return (v->status & VIRTIO_STATUS_DRIVER_OK) && !v->broken &&
           !v->reset_pending && !v->paused && pci_bus_master_enabled(&v->pci);
}

void virtio_break(VirtioPci *v, const char *why)
{
    if (v->broken) {
        return;
    }
    vm_debug("virtio", "%s: needs reset: %s", v->pci.dev.type, why);
    v->broken = true;
    v->status |= VIRTIO_STATUS_NEEDS_RESET;
    virtio_notify_config(v);
}

/* ---- Notifications ----------------------------------------------------- */

void virtio_notify_queue(VirtioPci *v, unsigned q)
{
    VirtQueue *vq = &v->queue[q];
    int r = virtqueue_should_notify(vq);

    if (r < 0) {
        virtio_break(v, "the available ring cannot be read");
    } else if (r > 0) {
        virtio_pci_interrupt(v, VIRTIO_ISR_QUEUE, vq->vector);
    }
}

void virtio_notify_config(VirtioPci *v)
{
    v->config_generation++;
    if (v->status & VIRTIO_STATUS_DRIVER_OK) {
        virtio_pci_interrupt(v, VIRTIO_ISR_CONFIG, v->config_vector);
    }
}

/* ---- Kicks ------------------------------------------------------------- */

void virtio_kick(VirtioPci *v, unsigned q)
{
    const uint64_t one = 1;
    ssize_t r;

    do {
        r = write(v->kicks[q].fd, &one, sizeof(one));
    } while (r < 0 && errno == EINTR);
    /* EAGAIN: the counter is full, so the reader is on its way. */
}

void virtio_kick_all(VirtioPci *v)
{
    for (unsigned q = 0; q < v->queue_count; q++) {
        if (v->queue[q].enabled) {
            virtio_kick(v, q);
        }
    }
}

int virtio_kick_fd(const VirtioPci *v, unsigned q)
{
    return v->kicks[q].fd;
}

static gboolean kicked(gint fd, GIOCondition condition, gpointer opaque)
{
    VirtioKick *kick = opaque;
    VirtioPci *v = kick->v;
    uint64_t count;
    int r = 0;

    if (read(fd, &count, sizeof(count)) < 0) {
        return G_SOURCE_CONTINUE; /* somebody else took it */
    }
    vm_mutex_lock(&v->pci.dev.lock);
    if (virtio_is_live(v) && v->queue[kick->q].enabled) {
        r = v->ops->run_queue(v, kick->q);
        if (r < 0) {
            virtio_break(v, "bad ring or buffer");
        }
    }
    vm_mutex_unlock(&v->pci.dev.lock);
    if (r > 0) {
        virtio_kick(v, kick->q); /* let others have a turn first */
    }
    return G_SOURCE_CONTINUE;
}

bool virtio_kicks_new(VirtioPci *v, GError **errp)
{
    v->kicks = g_new0(VirtioKick, v->queue_count);
    for (unsigned q = 0; q < v->queue_count; q++) {
        v->kicks[q].fd = -1;
    }
    for (unsigned q = 0; q < v->queue_count; q++) {
        VirtioKick *kick = &v->kicks[q];

        kick->v = v;
        kick->q = q;
        kick->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (kick->fd < 0) {
            int error = errno;

            virtio_kicks_free(v);
            return vm_error_set(errp, error, "virtio: no eventfd");
        }
    }
    return true;
}

static void kicks_attach(VirtioPci *v)
{
    for (unsigned q = 0; q < v->queue_count; q++) {
        VirtioKick *kick = &v->kicks[q];

        kick->source = g_unix_fd_source_new(kick->fd, G_IO_IN);
        g_source_set_callback(kick->source, G_SOURCE_FUNC(kicked), kick,
                              NULL);
        g_source_attach(kick->source, v->pci.machine->io_context);
    }
}

void virtio_kicks_free(VirtioPci *v)
{
    if (!v->kicks) {
        return;
    }
    for (unsigned q = 0; q < v->queue_count; q++) {
        VirtioKick *kick = &v->kicks[q];

        if (kick->source) {
            g_source_destroy(kick->source);
            g_source_unref(kick->source);
        }
        vm_close_fd(&kick->fd);
    }
    g_clear_pointer(&v->kicks, g_free);
}

/* ---- Status ------------------------------------------------------------ */

void virtio_reset_now(VirtioPci *v)
{
    v->guest_features = 0;
    v->device_feature_select = v->driver_feature_select = 0;
    v->queue_select = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    v->status = 0;
    v->isr = 0;
    v->config_generation = 0;
    v->broken = v->reset_pending = false;
    for (unsigned q = 0; q < v->queue_count; q++) {
        virtqueue_reset(&v->queue[q]);
        v->queue[q].event_idx = v->queue[q].indirect = false;
    }
    pci_set_intx(&v->pci, false);
    virtio_pci_update_ioeventfds(v);
    if (v->ops->reset) {
        v->ops->reset(v);
    }
}

static unsigned in_flight(VirtioPci *v)
{
    return v->ops->in_flight ? v->ops->in_flight(v) : 0;
}

void virtio_request_done(VirtioPci *v)
{
    if (v->reset_pending && in_flight(v) == 0) {
        virtio_reset_now(v); /* (3) */
    }
}

/* 3.1.1: may the driver's choice of features stand? */
static bool features_ok(const VirtioPci *v)
{
    return (v->guest_features & ~v->host_features) == 0 &&
           (v->guest_features & VIRTIO_F_VERSION_1);
}

/* The features that shape the rings reach the queues. */
static void apply_features(VirtioPci *v)
{
    for (unsigned q = 0; q < v->queue_count; q++) {
        v->queue[q].event_idx = virtio_has_feature(v, VIRTIO_F_EVENT_IDX);
        v->queue[q].indirect = virtio_has_feature(v, VIRTIO_F_INDIRECT_DESC);
    }
}

void virtio_write_status(VirtioPci *v, uint8_t value)
{
    uint8_t fresh = value & ~v->status;

    if (v->reset_pending) {
        return;
    }
    if (value == 0) {
        v->reset_pending = true;
        virtio_request_done(v);
        return;
    }
    if ((fresh & VIRTIO_STATUS_FEATURES_OK) && !features_ok(v)) {
        value &= ~VIRTIO_STATUS_FEATURES_OK; /* the driver looks again */
        fresh &= ~VIRTIO_STATUS_FEATURES_OK;
    }
    /* The driver may not clear bits one by one (2.1.1). */
    v->status |= value & ~VIRTIO_STATUS_NEEDS_RESET;
    if (!(fresh & VIRTIO_STATUS_DRIVER_OK)) {
        return;
    }
    if (!(v->status & VIRTIO_STATUS_FEATURES_OK)) {
        virtio_break(v, "DRIVER_OK without FEATURES_OK");
        return;
    }
    apply_features(v);
    virtio_pci_update_ioeventfds(v);
    if (v->ops->started) {
        v->ops->started(v);
    }
    virtio_kick_all(v);
}

void virtio_enable_queue(VirtioPci *v, VirtQueue *vq)
{
    if (virtqueue_check_layout(vq) < 0) {
        virtio_break(v, "queue enabled with a bad layout");
        return;
    }
    vq->next_avail = vq->next_used = vq->told_used = 0;
    vq->told_valid = false;
    vq->enabled = true;
}

/* ---- The I/O thread, synchronously ------------------------------------- */

/* How often a waiter asks whether to give up. */
#define PATIENCE_NS (20 * VM_NS_PER_MS)

typedef void IoFunction(VirtioPci *v);

/* Shared by the waiter, who may give up, and the I/O thread: the last of the
 * two frees it. */
typedef struct IoCall {
    atomic_uint refs;
    VirtioPci *v;
    /* Stored last, with release; loaded first, with acquire. GLib's own locks
     * order the two already, but a race detector does not see them. */
    _Atomic(IoFunction *) fn;
    VmMutex lock;
    VmCond cond;
    bool done;
} IoCall;

static void io_call_unref(gpointer opaque)
{
    IoCall *call = opaque;

    /* Release: what this thread did with it; acquire: what the other did. */
    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) == 1) {
        vm_cond_done(&call->cond);
        vm_mutex_done(&call->lock);
        g_free(call);
    }
}

static gboolean io_call_run(gpointer opaque)
{
    IoCall *call = opaque;
    IoFunction *fn = atomic_load_explicit(&call->fn, memory_order_acquire);

    fn(call->v);
    vm_mutex_lock(&call->lock);
    call->done = true;
    vm_cond_signal(&call->cond);
    vm_mutex_unlock(&call->lock);
    return G_SOURCE_REMOVE;
}

static bool out_of_patience(const VirtioPci *v)
{
    const Machine *machine = v->pci.machine;

    return machine->out_of_patience &&
           machine->out_of_patience(machine->patience_opaque);
}

static bool wait_for_call(IoCall *call)
{
    bool done;

    vm_mutex_lock(&call->lock);
    while (!call->done) {
        if (!vm_cond_wait_ns(&call->cond, &call->lock, PATIENCE_NS) &&
            !call->done && out_of_patience(call->v)) {
            break;
        }
    }
    done = call->done;
    vm_mutex_unlock(&call->lock);
    return done;
}

/*
 * Runs fn on the I/O thread and waits; here, if nobody runs its context. The
 * caller holds no lock. False: the I/O thread is busy with something that
 * may never end, and the caller's patience has; fn runs when that ends,
 * before what is called later.
 */
static bool call_on_io_thread(VirtioPci *v, IoFunction *fn)
{
    GMainContext *context = v->pci.machine->io_context;
    IoCall *call;
    GSource *source;
    bool done;

    if (g_main_context_acquire(context)) {
        fn(v);
        g_main_context_release(context);
        return true;
    }
    call = g_new0(IoCall, 1);
    atomic_init(&call->refs, 2);
    call->v = v;
    vm_mutex_init(&call->lock, VM_RANK_LEAF);
    vm_cond_init(&call->cond);
    atomic_store_explicit(&call->fn, fn, memory_order_release);
    source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_source_set_callback(source, io_call_run, call, io_call_unref);
    g_source_attach(source, context);
    g_source_unref(source);
    done = wait_for_call(call);
    io_call_unref(call);
    return done;
}

static void drain(VirtioPci *v)
{
    if (v->ops->drain) {
        v->ops->drain(v);
    }
}

/* The device's lock is taken on the I/O thread only: that thread may hold it
 * while it waits for guest memory, and the main thread must not. */
static void stop_and_drain(VirtioPci *v)
{
    vm_mutex_lock(&v->pci.dev.lock);
    v->paused = true;
    vm_mutex_unlock(&v->pci.dev.lock);
    if (v->ops->set_running) {
        v->ops->set_running(v, false);
    }
    drain(v);
}

static void run_again(VirtioPci *v)
{
    vm_mutex_lock(&v->pci.dev.lock);
    v->paused = false;
    virtio_pci_update_ioeventfds(v);
    if (virtio_is_live(v) && v->ops->started) {
        v->ops->started(v);
    }
    vm_mutex_unlock(&v->pci.dev.lock);
    if (v->ops->set_running) {
        v->ops->set_running(v, true);
    }
    virtio_kick_all(v); /* kicks may have come and gone meanwhile */
}

void virtio_pci_quiesce(Device *dev)
{
    if (!call_on_io_thread((VirtioPci *)dev, stop_and_drain)) { /* (2) */
        dev->machine->at_rest = false;
    }
}

void virtio_pci_resume(Device *dev)
{
    (void)call_on_io_thread((VirtioPci *)dev, run_again);
}

/* With the lock held, as DeviceOps.reset is called; it is let go while
 * requests of a machine that was not quiesced first come back. */
VM_NO_ANALYSIS void virtio_pci_reset(Device *dev)
{
    VirtioPci *v = (VirtioPci *)dev;

    if (in_flight(v) > 0) {
        v->reset_pending = true;
        vm_mutex_unlock(&dev->lock);
        (void)call_on_io_thread(v, drain);
        vm_mutex_lock(&dev->lock);
    }
    pci_device_reset(&v->pci);
    virtio_reset_now(v);
}

/* ---- Set-up ------------------------------------------------------------ */

static bool check_legacy(VmKeyval *props, const char *type, GError **errp)
{
    const char *legacy = vm_keyval_get(props, "disable-legacy");
    bool disable_modern;

    if (legacy && !g_str_equal(legacy, "on") &&
        !g_str_equal(legacy, "auto")) {
        return vm_error_set(errp, 0,
                            "%s: disable-legacy=%s is not supported (only "
                            "the modern interface is there)", type, legacy);
    }
    if (!vm_keyval_get_bool(props, "disable-modern", false, &disable_modern,
                            errp)) {
        return false;
    }
    if (disable_modern) {
        return vm_error_set(errp, 0,
                            "%s: disable-modern=on is not supported (only "
                            "the modern interface is there)", type);
    }
    return true;
}

bool virtio_pci_props(Machine *machine, const char *type,
                      unsigned default_vectors, VmKeyval *props,
                      VirtioPciProps *ret, GError **errp)
{
    uint64_t vectors;

    if (!machine->pci) {
        return vm_error_set(errp, 0, "%s: this machine has no PCI bus",
                            type);
    }
    if (!check_legacy(props, type, errp) ||
        !vm_keyval_get_bool(props, "event_idx", true, &ret->event_idx,
                            errp) ||
        !vm_keyval_get_bool(props, "indirect_desc", true,
                            &ret->indirect_desc, errp) ||
        !vm_keyval_get_bool(props, "ioeventfd", true, &ret->ioeventfd,
                            errp) ||
        !vm_keyval_get_u64(props, "vectors", default_vectors, &vectors,
                           errp)) {
        return false;
    }
    if (vectors > PCI_MSIX_VECTORS_MAX) {
        return vm_error_set(errp, 0, "%s: vectors=%" PRIu64 " is more than %d",
                            type, vectors, PCI_MSIX_VECTORS_MAX);
    }
    ret->vectors = vectors;
    return pci_bus_choose_slot(machine->pci, type, props, &ret->place, errp);
}

/* 4.1.2: modern device ids, revision 1 or more, own subsystem id. */
#define VIRTIO_PCI_VENDOR 0x1af4
#define VIRTIO_PCI_DEVICE_BASE 0x1040
#define VIRTIO_PCI_SUBSYSTEM 0x1100

bool virtio_pci_init(VirtioPci *v, Machine *machine, const char *id,
                     const VirtioPciConfig *config,
                     const VirtioPciProps *props, GError **errp)
{
    const PciIdentity identity = {
        .vendor = VIRTIO_PCI_VENDOR,
        .device = VIRTIO_PCI_DEVICE_BASE + config->device_id,
        .revision = 1,
        .class_code = config->class_code,
        .subsystem_vendor = VIRTIO_PCI_VENDOR,
        .subsystem = VIRTIO_PCI_SUBSYSTEM,
        .interrupt_pin = 1,
        .multifunction = props->place.multifunction,
    };

    g_assert(config->queue_count <= VIRTIO_QUEUES_MAX &&
             config->queue_size <= VIRTQUEUE_SIZE_MAX &&
             config->config_bytes <= VIRTIO_CONFIG_BYTES_MAX);
    v->ops = config->ops;
    v->queue_count = config->queue_count;
    v->config_bytes = config->config_bytes;
    v->use_ioeventfd = props->ioeventfd;
    v->host_features =
        config->features | VIRTIO_F_VERSION_1 |
        (props->event_idx ? VIRTIO_F_EVENT_IDX : 0) |
        (props->indirect_desc ? VIRTIO_F_INDIRECT_DESC : 0);
    if (!virtio_kicks_new(v, errp)) {
        return false;
    }
    for (unsigned q = 0; q < v->queue_count; q++) {
        v->queue[q].memory = machine->memory;
        v->queue[q].size_max = config->queue_size;
        virtqueue_reset(&v->queue[q]);
    }
    v->config_vector = VIRTIO_NO_VECTOR;
    pci_device_init(&v->pci, props->place.bus, props->place.devfn, &identity,
                    config->type, id, config->device_ops, &virtio_pci_ops,
                    config->vmsd);
    if (props->vectors) {
        pci_msix_init(&v->pci, VIRTIO_PCI_MSIX_BAR, props->vectors);
    }
    virtio_pci_registers_init(v);
    if (!pci_bus_is_root(props->place.bus)) {
        pci_express_add_endpoint(&v->pci);
    }
    kicks_attach(v);
    return true;
}

void virtio_pci_done(VirtioPci *v)
{
    call_on_io_thread(v, drain);
    v->status = 0; /* the ioeventfds go with it */
    virtio_pci_update_ioeventfds(v);
    virtio_kicks_free(v);
    pci_device_done(&v->pci);
}

/* ---- Migration --------------------------------------------------------- */

static bool vector_loaded_ok(const VirtioPci *v, uint16_t vector)
{
    return vector == VIRTIO_NO_VECTOR || vector < v->pci.msix.vectors;
}

/* What the guest could not have brought about by its writes is refused. */
static bool loaded_state_ok(const VirtioPci *v)
{
    bool started = v->status & VIRTIO_STATUS_DRIVER_OK;

    if ((v->guest_features & ~v->host_features) ||
        !vector_loaded_ok(v, v->config_vector) ||
        (v->broken && !(v->status & VIRTIO_STATUS_NEEDS_RESET)) ||
        (v->isr & ~(VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG)) ||
        (started && !v->broken && !features_ok(v))) {
        return false;
    }
    for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
        const VirtQueue *vq = &v->queue[q];

        if (q >= v->queue_count) {
            if (vq->enabled) {
                return false;
            }
            continue;
        }
        if (!vector_loaded_ok(v, vq->vector) ||
            (!v->broken && virtqueue_check_loaded(vq) < 0)) {
            return false;
        }
    }
    return true;
}

int virtio_check_loaded(VirtioPci *v)
{
    v->reset_pending = false;
    if (!loaded_state_ok(v)) {
        pci_device_reset(&v->pci); /* leave nothing of it behind */
        virtio_reset_now(v);
        return -EINVAL;
    }
    v->paused = true; /* the source may still be the one that runs */
    apply_features(v);
    virtio_pci_update_ioeventfds(v);
    return 0;
}

static int virtio_pci_post_load(void *opaque, int version)
{
    return virtio_check_loaded(opaque);
}

const VMStateDescription virtio_pci_vmstate = {
    .name = "virtio-pci",
    .version = 1,
    .minimum_version = 1,
    .post_load = virtio_pci_post_load,
    .fields = (const VMStateField[]){
        VMSTATE_STRUCT(pci, VirtioPci, pci_device_vmstate),
        VMSTATE_U64(guest_features, VirtioPci),
        VMSTATE_U32(device_feature_select, VirtioPci),
        VMSTATE_U32(driver_feature_select, VirtioPci),
        VMSTATE_U16(queue_select, VirtioPci),
        VMSTATE_U16(config_vector, VirtioPci),
        VMSTATE_U8(status, VirtioPci),
        VMSTATE_U8(isr, VirtioPci),
        VMSTATE_U8(config_generation, VirtioPci),
        VMSTATE_BOOL(broken, VirtioPci),
        VMSTATE_STRUCT_ARRAY(queue, VirtioPci, VIRTIO_QUEUES_MAX,
                             virtqueue_vmstate),
        VMSTATE_END,
    },
};
