/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The modern virtio-pci transport: capabilities, registers, interrupts.
 *
 * Why: virtio 1.2 section 4.1.4 puts four structures into a BAR (common
 * configuration, ISR, device configuration, notifications), each announced
 * by a vendor capability, and a fifth capability is a window for firmware
 * that cannot map BARs. The legacy interface is not offered.
 *
 * Invariants:
 *   (1) ioeventfds iff the device has DRIVER_OK and BAR 4 is mapped; they
 *       are at ioeventfd_base + 4 * queue.
 *   (2) isr is non-zero iff INTx is asserted, while MSI-X is off.
 *
 * Threads: the device's lock is held in all of it.
 */
#include <errno.h>
#include <string.h>

#include "virtio-internal.h"

/* struct virtio_pci_cap, 4.1.4. */
enum {
    CAP_COMMON = 1,
    CAP_NOTIFY = 2,
    CAP_ISR = 3,
    CAP_DEVICE = 4,
    CAP_WINDOW = 5,
};
enum {
    CAP_LEN = 2,
    CAP_TYPE = 3,
    CAP_BAR = 4,
    CAP_OFFSET = 8,
    CAP_LENGTH = 12,
    CAP_BYTES = 16,
    CAP_EXTRA = 16, /* notify multiplier, or the window's data */
};

/* struct virtio_pci_common_cfg, 4.1.4.3. */
enum {
    COMMON_DEVICE_FEATURE_SELECT = 0x00,
    COMMON_DEVICE_FEATURE = 0x04,
    COMMON_DRIVER_FEATURE_SELECT = 0x08,
    COMMON_DRIVER_FEATURE = 0x0c,
    COMMON_CONFIG_VECTOR = 0x10,
    COMMON_NUM_QUEUES = 0x12,
    COMMON_STATUS = 0x14,
    COMMON_GENERATION = 0x15,
    COMMON_QUEUE_SELECT = 0x16,
    COMMON_QUEUE_SIZE = 0x18,
    COMMON_QUEUE_VECTOR = 0x1a,
    COMMON_QUEUE_ENABLE = 0x1c,
    COMMON_QUEUE_NOTIFY_OFF = 0x1e,
    COMMON_QUEUE_DESC = 0x20,
    COMMON_QUEUE_DRIVER = 0x28,
    COMMON_QUEUE_DEVICE = 0x30,
    COMMON_BYTES = 0x38,
};

/* ---- Interrupts and ioeventfds ----------------------------------------- */

void virtio_pci_interrupt(VirtioPci *v, unsigned cause, uint16_t vector)
{
    if (pci_msix_enabled(&v->pci)) {
        pci_msix_notify(&v->pci, vector); /* NO_VECTOR is out of range */
        return;
    }
    v->isr |= cause;
    pci_set_intx(&v->pci, true);
}

static void remove_ioeventfds(VirtioPci *v, unsigned count)
{
    const Machine *m = v->pci.machine;

    for (unsigned q = 0; q < count; q++) {
        m->interrupts->ioeventfd_del(
            m->interrupts_opaque,
            v->ioeventfd_base + q * VIRTIO_PCI_NOTIFY_MULTIPLIER,
            /* any length */ 0, virtio_kick_fd(v, q));
    }
    v->ioeventfds = false;
}

static void add_ioeventfds(VirtioPci *v, uint64_t base)
{
    const Machine *m = v->pci.machine;

    v->ioeventfd_base = base;
    for (unsigned q = 0; q < v->queue_count; q++) {
        if (m->interrupts->ioeventfd_add(
                m->interrupts_opaque,
                base + q * VIRTIO_PCI_NOTIFY_MULTIPLIER,
                /* any length */ 0, virtio_kick_fd(v, q)) < 0) {
            remove_ioeventfds(v, q); /* the exits do it, all of them */
            return;
        }
    }
    v->ioeventfds = true;
}

void virtio_pci_update_ioeventfds(VirtioPci *v)
{
    const PciBar *bar = &v->pci.bar[VIRTIO_PCI_BAR];
    bool wanted = v->use_ioeventfd && bar->mapped &&
                  (v->status & VIRTIO_STATUS_DRIVER_OK) &&
                  v->pci.machine->interrupts->ioeventfd_add;
    uint64_t base = bar->mapped_at + VIRTIO_PCI_NOTIFY;

    if (v->ioeventfds && (!wanted || v->ioeventfd_base != base)) {
        remove_ioeventfds(v, v->queue_count);
    }
    if (wanted && !v->ioeventfds) {
        add_ioeventfds(v, base);
    }
}

/* ---- Common configuration ---------------------------------------------- */

static VirtQueue *selected_queue(VirtioPci *v)
{
    return v->queue_select < v->queue_count ? &v->queue[v->queue_select]
                                            : NULL;
}

static void put_le(uint8_t *image, unsigned offset, unsigned len,
                   uint64_t value)
{
    for (unsigned i = 0; i < len; i++) {
        image[offset + i] = value >> (8 * i);
    }
}

static uint64_t get_le(const uint8_t *image, uint64_t offset, unsigned len)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < len; i++) {
        value |= (uint64_t)image[offset + i] << (8 * i);
    }
    return value;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
    return select == 0 ? features : select == 1 ? features >> 32 : 0;
}

static void common_image(VirtioPci *v, uint8_t image[COMMON_BYTES])
{
    const VirtQueue *vq = selected_queue(v);

    memset(image, 0, COMMON_BYTES);
    put_le(image, COMMON_DEVICE_FEATURE_SELECT, 4, v->device_feature_select);
    put_le(image, COMMON_DEVICE_FEATURE, 4,
           feature_word(v->host_features, v->device_feature_select));
    put_le(image, COMMON_DRIVER_FEATURE_SELECT, 4, v->driver_feature_select);
    put_le(image, COMMON_DRIVER_FEATURE, 4,
           feature_word(v->guest_features, v->driver_feature_select));
    put_le(image, COMMON_CONFIG_VECTOR, 2, v->config_vector);
    put_le(image, COMMON_NUM_QUEUES, 2, v->queue_count);
    put_le(image, COMMON_STATUS, 1, v->status);
    put_le(image, COMMON_GENERATION, 1, v->config_generation);
    put_le(image, COMMON_QUEUE_SELECT, 2, v->queue_select);
    if (!vq) {
        put_le(image, COMMON_QUEUE_VECTOR, 2, VIRTIO_NO_VECTOR);
        return; /* size 0: there is no such queue */
    }
    put_le(image, COMMON_QUEUE_SIZE, 2, vq->size);
    put_le(image, COMMON_QUEUE_VECTOR, 2, vq->vector);
    put_le(image, COMMON_QUEUE_ENABLE, 2, vq->enabled);
    put_le(image, COMMON_QUEUE_NOTIFY_OFF, 2, v->queue_select);
    put_le(image, COMMON_QUEUE_DESC, 8, vq->desc);
    put_le(image, COMMON_QUEUE_DRIVER, 8, vq->driver);
    put_le(image, COMMON_QUEUE_DEVICE, 8, vq->device);
}

static uint16_t checked_vector(const VirtioPci *v, uint64_t value)
{
    return value < v->pci.msix.vectors ? value : VIRTIO_NO_VECTOR;
}

static void write_driver_features(VirtioPci *v, uint32_t value)
{
    if (v->driver_feature_select > 1 ||
        (v->status & VIRTIO_STATUS_FEATURES_OK)) {
        return; /* the choice is made (3.1.1) */
    }
    if (v->driver_feature_select == 0) {
        v->guest_features &= ~UINT64_C(0xffffffff);
        v->guest_features |= value;
    } else {
        v->guest_features &= UINT64_C(0xffffffff);
        v->guest_features |= (uint64_t)value << 32;
    }
}

/* One half of a 64-bit address. */
static void put_half(uint64_t *address, unsigned offset, uint64_t value)
{
    unsigned shift = (offset & 4) * 8;

    *address &= ~(UINT64_C(0xffffffff) << shift);
    *address |= (value & UINT64_C(0xffffffff)) << shift;
}

/* Fields of the selected queue; fixed once it is enabled. */
static void write_queue(VirtioPci *v, unsigned offset, uint64_t value)
{
    VirtQueue *vq = selected_queue(v);

    if (!vq) {
        return;
    }
    if (offset == COMMON_QUEUE_VECTOR) {
        vq->vector = checked_vector(v, value);
        return;
    }
    if (vq->enabled) {
        return;
    }
    switch (offset) {
    case COMMON_QUEUE_SIZE:
        vq->size = value; /* checked when it is enabled */
        break;
    case COMMON_QUEUE_ENABLE:
        if (value == 1) {
            virtio_enable_queue(v, vq);
        }
        break;
    case COMMON_QUEUE_DESC:
    case COMMON_QUEUE_DESC + 4:
        put_half(&vq->desc, offset, value);
        break;
    case COMMON_QUEUE_DRIVER:
    case COMMON_QUEUE_DRIVER + 4:
        put_half(&vq->driver, offset, value);
        break;
    case COMMON_QUEUE_DEVICE:
    case COMMON_QUEUE_DEVICE + 4:
        put_half(&vq->device, offset, value);
        break;
    default:
        break;
    }
}

static void common_write(VirtioPci *v, unsigned offset, uint64_t value)
{
    if (v->reset_pending) {
        return; /* the driver has to wait for status 0 */
    }
    switch (offset) {
    case COMMON_DEVICE_FEATURE_SELECT:
        v->device_feature_select = value;
        break;
    case COMMON_DRIVER_FEATURE_SELECT:
        v->driver_feature_select = value;
        break;
    case COMMON_DRIVER_FEATURE:
        write_driver_features(v, value);
        break;
    case COMMON_CONFIG_VECTOR:
        v->config_vector = checked_vector(v, value);
        break;
    case COMMON_STATUS:
        virtio_write_status(v, value);
        break;
    case COMMON_QUEUE_SELECT:
        v->queue_select = value;
        break;
    default:
        write_queue(v, offset, value);
        break;
    }
}

/* Each field wants an access of its own width (4.1.3.1). */
static unsigned common_field_bytes(unsigned offset)
{
    if (offset < COMMON_CONFIG_VECTOR || offset >= COMMON_QUEUE_DESC) {
        return 4;
    }
    return offset == COMMON_STATUS || offset == COMMON_GENERATION ? 1 : 2;
}

/* ---- BAR 4 ------------------------------------------------------------- */

static uint64_t isr_read(VirtioPci *v)
{
    uint64_t isr = v->isr;

    v->isr = 0; /* reading acknowledges (4.1.4.5.1) */
    pci_set_intx(&v->pci, false);
    return isr;
}

static uint64_t config_read(VirtioPci *v, uint64_t offset, unsigned size)
{
    uint8_t bytes[8] = { 0 };

    if (v->ops->config_reading) {
        v->ops->config_reading(v);
    }
    for (unsigned i = 0; i < size && offset + i < v->config_bytes; i++) {
        bytes[i] = v->config[offset + i];
    }
    return get_le(bytes, 0, size);
}

static void config_write(VirtioPci *v, uint64_t offset, uint64_t value,
                         unsigned size)
{
    uint8_t bytes[8];

    if (v->ops->config_written && offset + size <= v->config_bytes) {
        put_le(bytes, 0, size, value);
        v->ops->config_written(v, offset, bytes, size);
    }
}

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *v = opaque;
    uint64_t at = offset % VIRTIO_PCI_PART_BYTES;
    uint8_t image[COMMON_BYTES];

    switch (offset - at) {
    case VIRTIO_PCI_COMMON:
        if (at + size > COMMON_BYTES) {
            return 0;
        }
        common_image(v, image);
        return get_le(image, at, size);
    case VIRTIO_PCI_ISR:
        return at == 0 ? isr_read(v) : 0;
    case VIRTIO_PCI_DEVICE:
        return config_read(v, at, size);
    default:
        return 0;
    }
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value,
                      unsigned size)
{
    VirtioPci *v = opaque;
    uint64_t at = offset % VIRTIO_PCI_PART_BYTES;

    switch (offset - at) {
    case VIRTIO_PCI_COMMON:
        if (at + size <= COMMON_BYTES && size == common_field_bytes(at)) {
            common_write(v, at, value);
        }
        break;
    case VIRTIO_PCI_DEVICE:
        config_write(v, at, value, size);
        break;
    case VIRTIO_PCI_NOTIFY:
        if (at / VIRTIO_PCI_NOTIFY_MULTIPLIER < v->queue_count) {
            virtio_kick(v, at / VIRTIO_PCI_NOTIFY_MULTIPLIER);
        }
        break;
    default:
        break;
    }
}

static const IoRegionOps bar_ops = {
    .read = bar_read, .write = bar_write, .max_bytes = 4,
};

/* ---- The window in configuration space (4.1.4.9) ----------------------- */

/* What the window points at, if that is an access we can make. */
static bool window_target(const VirtioPci *v, uint32_t *ret_offset,
                          unsigned *ret_size)
{
    uint32_t bar = pci_get_config(&v->pci, v->window + CAP_BAR, 1);
    uint32_t offset = pci_get_config(&v->pci, v->window + CAP_OFFSET, 4);
    uint32_t size = pci_get_config(&v->pci, v->window + CAP_LENGTH, 4);

    if (bar != VIRTIO_PCI_BAR || (size != 1 && size != 2 && size != 4) ||
        offset % size || offset >= v->region.size_bytes) {
        return false;
    }
    *ret_offset = offset;
    *ret_size = size;
    return true;
}

static bool in_window_data(const VirtioPci *v, unsigned offset, unsigned len)
{
    unsigned data = v->window + CAP_EXTRA;

    return offset < data + 4 && offset + len > data;
}

static void config_reading(PciDevice *pci, unsigned offset, unsigned len)
{
    VirtioPci *v = (VirtioPci *)pci;
    uint32_t at;
    unsigned size;

    if (in_window_data(v, offset, len) && window_target(v, &at, &size)) {
        pci_put_config(pci, v->window + CAP_EXTRA, size,
                       bar_read(v, at, size));
    }
}

static void config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    VirtioPci *v = (VirtioPci *)pci;
    uint32_t at;
    unsigned size;

    virtio_pci_update_ioeventfds(v);
    if (offset < PCI_STATUS && offset + len > PCI_COMMAND &&
        virtio_is_live(v)) {
        virtio_kick_all(v); /* bus mastering may just have come on */
    }
    if (in_window_data(v, offset, len) && window_target(v, &at, &size)) {
        bar_write(v, at, pci_get_config(pci, v->window + CAP_EXTRA, size),
                  size);
    }
}

const PciDeviceOps virtio_pci_ops = {
    .config_reading = config_reading,
    .config_written = config_written,
};

/* ---- Set-up ------------------------------------------------------------ */

static uint8_t add_cap(VirtioPci *v, unsigned type, uint32_t offset,
                       uint32_t length, unsigned extra)
{
    uint8_t cap = pci_device_add_capability(&v->pci, PCI_CAP_ID_VENDOR,
                                            CAP_BYTES + extra);

    pci_device_set_config(&v->pci, cap + CAP_LEN, 1, CAP_BYTES + extra, 0);
    pci_device_set_config(&v->pci, cap + CAP_TYPE, 1, type, 0);
    pci_device_set_config(&v->pci, cap + CAP_BAR, 1, VIRTIO_PCI_BAR, 0);
    pci_device_set_config(&v->pci, cap + CAP_OFFSET, 4, offset, 0);
    pci_device_set_config(&v->pci, cap + CAP_LENGTH, 4, length, 0);
    return cap;
}

static void add_window_cap(VirtioPci *v)
{
    v->window = add_cap(v, CAP_WINDOW, 0, 0, 4);
    /* The driver steers it by these fields. */
    pci_device_set_config(&v->pci, v->window + CAP_BAR, 1, 0, 0xff);
    pci_device_set_config(&v->pci, v->window + CAP_OFFSET, 4, 0, UINT32_MAX);
    pci_device_set_config(&v->pci, v->window + CAP_LENGTH, 4, 0, UINT32_MAX);
    pci_device_set_config(&v->pci, v->window + CAP_EXTRA, 4, 0, UINT32_MAX);
}

void virtio_pci_registers_init(VirtioPci *v)
{
    uint8_t notify;

    v->region.name = v->pci.dev.type;
    v->region.ops = &bar_ops;
    v->region.opaque = v;
    v->region.size_bytes = 4 * VIRTIO_PCI_PART_BYTES;
    pci_device_add_bar(&v->pci, VIRTIO_PCI_BAR, PCI_BAR_MEMORY_64,
                       /* prefetchable= */ true, &v->region);
    add_cap(v, CAP_COMMON, VIRTIO_PCI_COMMON, VIRTIO_PCI_PART_BYTES, 0);
    add_cap(v, CAP_ISR, VIRTIO_PCI_ISR, VIRTIO_PCI_PART_BYTES, 0);
    add_cap(v, CAP_DEVICE, VIRTIO_PCI_DEVICE, VIRTIO_PCI_PART_BYTES, 0);
    notify = add_cap(v, CAP_NOTIFY, VIRTIO_PCI_NOTIFY, VIRTIO_PCI_PART_BYTES,
                     4);
    pci_device_set_config(&v->pci, notify + CAP_EXTRA, 4,
                          VIRTIO_PCI_NOTIFY_MULTIPLIER, 0);
    add_window_cap(v);
}
