/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of hw/pci share.
 *
 * Threads: as in hw/pci/pci.h.
 */
#ifndef VM_HW_PCI_PCI_INTERNAL_H
#define VM_HW_PCI_PCI_INTERNAL_H

#include "hw/pci/pci.h"

/* Set-up and freeing: puts pci (or NULL) at devfn. */
void pci_bus_set_device(PciBus *bus, uint8_t devfn, PciDevice *pci);
Machine *pci_bus_machine(PciBus *bus);

/* Sets the line to what intx_level, the command register and MSI-X say. */
void pci_update_intx(PciDevice *pci);

void pci_msix_reset(PciDevice *pci);
/* After the guest wrote the message control register. */
void pci_msix_control_written(PciDevice *pci);
/* 0 or -EINVAL: is the loaded table one that the guest could have made? */
int pci_msix_check_loaded(PciDevice *pci);

#endif
