/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between virtio.c (the device's life) and virtio-pci.c (its registers).
 *
 * Threads: lock held, but for set-up.
 */
#ifndef VM_HW_VIRTIO_VIRTIO_INTERNAL_H
#define VM_HW_VIRTIO_VIRTIO_INTERNAL_H

#include "hw/virtio/virtio.h"

/* BAR 4, as the capabilities describe it. */
#define VIRTIO_PCI_BAR 4
#define VIRTIO_PCI_MSIX_BAR 1
#define VIRTIO_PCI_COMMON 0x0000
#define VIRTIO_PCI_ISR 0x1000
#define VIRTIO_PCI_DEVICE 0x2000
#define VIRTIO_PCI_NOTIFY 0x3000
#define VIRTIO_PCI_PART_BYTES 0x1000
#define VIRTIO_PCI_NOTIFY_MULTIPLIER 4

/* Interrupt causes, as in the ISR byte (4.1.4.5). */
enum { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };

/* virtio.c */
void virtio_write_status(VirtioPci *v, uint8_t value);
void virtio_enable_queue(VirtioPci *v, VirtQueue *vq);
void virtio_kick_all(VirtioPci *v);
void virtio_reset_now(VirtioPci *v);
bool virtio_kicks_new(VirtioPci *v, GError **errp);
void virtio_kicks_free(VirtioPci *v);
int virtio_kick_fd(const VirtioPci *v, unsigned q);
int virtio_check_loaded(VirtioPci *v);

/* virtio-pci.c */
extern const PciDeviceOps virtio_pci_ops;
void virtio_pci_registers_init(VirtioPci *v);
/* Sends cause by vector, or by ISR and INTx while MSI-X is off. */
void virtio_pci_interrupt(VirtioPci *v, unsigned cause, uint16_t vector);
/* Adds or takes away the ioeventfds as status and BAR now demand. */
void virtio_pci_update_ioeventfds(VirtioPci *v);

#endif
