/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all virtio devices share: status, features, queues, notifications
 * (virtio 1.2 chapter 2), and the modern PCI transport (section 4.1).
 *
 * A device embeds VirtioPci as its first member and fills VirtioOps. The
 * transport calls it; it calls virtio_notify_queue() and friends.
 *
 * Threads: vCPU threads reach the registers, the I/O thread runs the queues;
 * the device's lock is held in every VirtioOps function.
 *
 * Work on the rings happens on the I/O thread only. Whatever wants it done
 * calls virtio_kick(), which works from any thread.
 */
#ifndef VM_HW_VIRTIO_VIRTIO_H
#define VM_HW_VIRTIO_VIRTIO_H

#include "hw/pci/pci.h"
#include "hw/virtio/virtqueue.h"

#define VIRTIO_QUEUES_MAX 16
#define VIRTIO_CONFIG_BYTES_MAX 64

/* Device types, section 5. */
enum {
    VIRTIO_ID_NET = 1,
    VIRTIO_ID_BLOCK = 2,
    VIRTIO_ID_RNG = 4,
    VIRTIO_ID_BALLOON = 5,
};

/* Section 2.1. */
enum {
    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_NEEDS_RESET = 64,
    VIRTIO_STATUS_FAILED = 128,
};

/* Section 6. */
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)

typedef struct VirtioPci VirtioPci;

typedef struct VirtioOps {
    /*
     * Work on queue q, on the I/O thread, the device running and the queue
     * enabled. Takes what it can in one bounded go; returns 1 to be called
     * again, 0 when there is no more to do until the next kick, or -errno if
     * the ring is bad (the device then needs a reset).
     */
    int (*run_queue)(VirtioPci *v, unsigned q);
    /* Refreshes v->config before the driver reads it. Optional. */
    void (*config_reading)(VirtioPci *v);
    /* The driver wrote [offset, offset+len) with these bytes. Optional. */
    void (*config_written)(VirtioPci *v, unsigned offset, const uint8_t *bytes,
                           unsigned len);
    /* DRIVER_OK was set, or the device resumes with it set. Optional. */
    void (*started)(VirtioPci *v);
    /* The device's own state as at power-on. Optional. */
    void (*reset)(VirtioPci *v);
    /* Requests whose buffers are mapped; see virtio_request_done(). NULL:
     * none ever. */
    unsigned (*in_flight)(VirtioPci *v);
    /* On the I/O thread, lock NOT held: wait until in_flight() is 0. */
    void (*drain)(VirtioPci *v);
    /* The VM pauses or goes on. Lock NOT held, on the I/O thread. Optional. */
    void (*set_running)(VirtioPci *v, bool running);
} VirtioOps;

typedef struct VirtioKick VirtioKick; /* one a queue */

struct VirtioPci {
    PciDevice pci;

    /* Immutable after set-up. */
    const VirtioOps *ops;
    uint64_t host_features;
    unsigned queue_count;
    unsigned config_bytes;
    IoRegion region; /* the four structures, in BAR 4 */
    uint8_t window;  /* capability VIRTIO_PCI_CAP_PCI_CFG */
    VirtioKick *kicks;
    bool use_ioeventfd;

    /* Protected by pci.dev.lock. */
    uint64_t guest_features;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select;
    uint16_t config_vector;
    uint8_t status;
    uint8_t isr;
    uint8_t config_generation;
    bool broken;          /* needs reset: rings are not touched */
    bool reset_pending;   /* reset asked for, requests still in flight;
                           * what they end with is not told the driver */
    bool paused;          /* between quiesce (or load) and resume */
    uint8_t config[VIRTIO_CONFIG_BYTES_MAX];
    VirtQueue queue[VIRTIO_QUEUES_MAX];
    bool ioeventfds; /* registered for the address below */
    uint64_t ioeventfd_base;
    VirtChain chain; /* scratch of run_queue() */
};

typedef struct VirtioPciConfig {
    const char *type; /* QEMU's name */
    unsigned device_id; /* VIRTIO_ID_... */
    uint32_t class_code;
    uint64_t features; /* beside those of the core */
    unsigned queue_count, queue_size;
    unsigned config_bytes;
    const VirtioOps *ops;
    const DeviceOps *device_ops; /* virtio_pci_reset and so on, own free */
    const VMStateDescription *vmsd;
} VirtioPciConfig;

/* What every virtio-*-pci takes from the command line. */
typedef struct VirtioPciProps {
    PciPlace place;
    bool event_idx, indirect_desc, ioeventfd;
    unsigned vectors; /* 0: INTx only */
} VirtioPciProps;

/* default_vectors: QEMU's for the type. */
bool virtio_pci_props(Machine *machine, const char *type,
                      unsigned default_vectors, VmKeyval *props,
                      VirtioPciProps *ret, GError **errp);
/* Cannot fail but for want of file descriptors. On failure v is as before. */
bool virtio_pci_init(VirtioPci *v, Machine *machine, const char *id,
                     const VirtioPciConfig *config,
                     const VirtioPciProps *props, GError **errp);
void virtio_pci_done(VirtioPci *v);

/* For DeviceOps. */
void virtio_pci_reset(Device *dev);
void virtio_pci_quiesce(Device *dev);
void virtio_pci_resume(Device *dev);

/* ---- For the devices; lock held ---------------------------------------- */

static inline bool virtio_has_feature(const VirtioPci *v, uint64_t feature)
{
    return v->guest_features & feature;
}
/* May rings be touched now? */
bool virtio_is_live(const VirtioPci *v);
/* Asks the I/O thread to run queue q. Any thread, lock held or not. */
void virtio_kick(VirtioPci *v, unsigned q);
/* Interrupt for queue q if the driver wants it; a bad ring breaks v. */
void virtio_notify_queue(VirtioPci *v, unsigned q);
void virtio_notify_config(VirtioPci *v);
/* The driver broke a rule: DEVICE_NEEDS_RESET (2.1.2). */
void virtio_break(VirtioPci *v, const char *why);
/* After a request in flight ended: finishes a reset that waited for it. */
void virtio_request_done(VirtioPci *v);

/* State of transport and core: VMSTATE_STRUCT(virtio, T, virtio_pci_vmstate).
 * A device with loaded state is paused until resumed. */
extern const VMStateDescription virtio_pci_vmstate;

#endif
