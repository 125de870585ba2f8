/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI bus and what every function on it has, seen by the guest.
 *
 * How: virtio-rng-pci is the function, since it needs no backend.
 */
#include <string.h>

#include "driver.h"

#define DEVFN PCI_DEVFN(3, 0)
#define BAR4 (PCI_BAR_0 + 16)

static void test_identity(void)
{
    Lab lab;

    lab_init(&lab, /* is_q35= */ false, false);
    lab_device(&lab, "virtio-rng-pci", "");
    g_assert_cmphex(lab_config_read(&lab, DEVFN, 0, 4), ==, 0x10441af4);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, PCI_REVISION_ID, 1), ==, 1);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, PCI_INTERRUPT_PIN, 1), ==,
                    1);
    /* Read-only bytes stay, the interrupt line is the guest's. */
    lab_config_write(&lab, DEVFN, 0, 0x12345678, 4);
    lab_config_write(&lab, DEVFN, PCI_INTERRUPT_LINE, 0x0a0b, 2);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, 0, 4), ==, 0x10441af4);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, PCI_INTERRUPT_LINE, 2), ==,
                    0x010b);
    /* Nobody there: all ones. */
    g_assert_cmphex(lab_config_read(&lab, PCI_DEVFN(9, 0), 0, 4), ==,
                    0xffffffff);
    lab_done(&lab);
}

static void test_ecam(void)
{
    const uint64_t at = 0xb0000000;
    Lab lab;

    lab_init(&lab, /* is_q35= */ true, false);
    lab_device(&lab, "virtio-rng-pci", "addr=0x5.0x1,multifunction=on");
    address_space_map_io(lab.machine.memory, at,
                         pci_bus_ecam_region(lab.machine.pci));
    g_assert_cmphex(lab_read(&lab, at + (PCI_DEVFN(5, 1) << 12), 4), ==,
                    0x10441af4);
    lab_write(&lab, at + (PCI_DEVFN(5, 1) << 12) + PCI_COMMAND, 6, 2);
    g_assert_cmphex(lab_config_read(&lab, PCI_DEVFN(5, 1), PCI_COMMAND, 2),
                    ==, 6);
    g_assert_cmphex(lab_read(&lab, at + (PCI_DEVFN(5, 1) << 12) + 0x100, 4),
                    ==, 0xffffffff);
    g_assert_cmphex(lab_read(&lab, at + (1 << 20), 4), ==, 0xffffffff);
    address_space_unmap_io(lab.machine.memory,
                           pci_bus_ecam_region(lab.machine.pci));
    lab_done(&lab);
}

static void test_bars(void)
{
    Lab lab;

    lab_init(&lab, false, false);
    lab_device(&lab, "virtio-rng-pci", "");
    /* Sizing: 16 KiB, 64-bit, prefetchable; BAR 1: 4 KiB. */
    lab_config_write(&lab, DEVFN, BAR4, 0xffffffff, 4);
    lab_config_write(&lab, DEVFN, BAR4 + 4, 0xffffffff, 4);
    lab_config_write(&lab, DEVFN, PCI_BAR_0 + 4, 0xffffffff, 4);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, BAR4, 4), ==, 0xffffc00c);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, BAR4 + 4, 4), ==,
                    0xffffffff);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, PCI_BAR_0 + 4, 4), ==,
                    0xfffff000);
    lab_config_write(&lab, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);

    /* Mapped where it says, above 4 GiB too, and nowhere else. */
    lab_config_write(&lab, DEVFN, BAR4, 0x80000000, 4);
    lab_config_write(&lab, DEVFN, BAR4 + 4, 0x12, 4);
    g_assert_cmpuint(lab_read(&lab, UINT64_C(0x1280000012), 2), ==, 1);
    lab_config_write(&lab, DEVFN, BAR4 + 4, 0, 4);
    g_assert_cmpuint(lab_read(&lab, UINT64_C(0x1280000012), 2), ==, 0xffff);
    g_assert_cmpuint(lab_read(&lab, 0x80000012, 2), ==, 1);
    lab_config_write(&lab, DEVFN, PCI_COMMAND, 0, 2);
    g_assert_cmpuint(lab_read(&lab, 0x80000012, 2), ==, 0xffff);

    /* On top of RAM it does not appear; moved away it does. */
    lab_config_write(&lab, DEVFN, BAR4, 0x4000, 4);
    lab_config_write(&lab, DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    mem_put(&lab, 0x4000, 4, 0x1234);
    lab_config_write(&lab, DEVFN, BAR4, 0x90000000, 4);
    g_assert_cmpuint(lab_read(&lab, 0x90000012, 2), ==, 1);
    g_assert_cmphex(mem_get(&lab, 0x4000, 4), ==, 0x1234);
    lab_done(&lab);
}

/* A second function at the same place stays out until there is room. */
static void test_bar_overlap(void)
{
    Lab lab;

    lab_init(&lab, false, false);
    lab_device(&lab, "virtio-rng-pci", "");
    lab_device(&lab, "virtio-rng-pci", "");
    for (unsigned slot = 3; slot <= 4; slot++) {
        lab_config_write(&lab, PCI_DEVFN(slot, 0), BAR4, 0x80000000, 4);
        lab_config_write(&lab, PCI_DEVFN(slot, 0), PCI_COMMAND, 2, 2);
    }
    lab_write(&lab, 0x80000000, 7, 4);
    lab_config_write(&lab, PCI_DEVFN(3, 0), PCI_COMMAND, 0, 2);
    g_assert_cmphex(lab_read(&lab, 0x80000000, 4), ==, 0xffffffff);
    lab_config_write(&lab, PCI_DEVFN(4, 0), PCI_INTERRUPT_LINE, 1, 1);
    g_assert_cmphex(lab_read(&lab, 0x80000000, 4), ==, 0); /* its own */
    lab_done(&lab);
}

static void test_reset_control(void)
{
    uint8_t value = 0x02;
    Lab lab;

    lab_init(&lab, false, false);
    address_space_io_write(lab.machine.ports, 0xcf9, &value, 1);
    g_assert_cmpuint(lab.resets, ==, 0);
    value = 0x06;
    address_space_io_write(lab.machine.ports, 0xcf9, &value, 1);
    g_assert_cmpuint(lab.resets, ==, 1);
    address_space_io_read(lab.machine.ports, 0xcf9, &value, 1);
    g_assert_cmphex(value, ==, 0x02);
    lab_done(&lab);
}

/* Masked vectors wait as pending bits; masks off, they are sent, once. */
static void test_msix(void)
{
    Driver d;
    Lab lab;
    PciDevice *pci;
    unsigned control;

    lab_init(&lab, false, false);
    pci = lab_device(&lab, "virtio-rng-pci", "");
    driver_init(&d, &lab, pci, /* msix= */ true);
    control = pci->msix.capability + 2;

    vm_mutex_lock(&pci->dev.lock);
    pci_msix_notify(pci, 1);
    pci_msix_notify(pci, 2); /* there is none */
    pci_msix_notify(pci, 0xffff);
    vm_mutex_unlock(&pci->dev.lock);
    g_assert_cmpuint(lab.msi_count[1], ==, 1);
    g_assert_cmpuint(lab.msi_total, ==, 1);

    lab_write(&lab, LAB_MSIX_AT + 16 + 12, 1, 4); /* vector 1's mask */
    vm_mutex_lock(&pci->dev.lock);
    pci_msix_notify(pci, 1);
    pci_msix_notify(pci, 1);
    vm_mutex_unlock(&pci->dev.lock);
    g_assert_cmpuint(lab.msi_total, ==, 1);
    g_assert_cmphex(lab_read(&lab, LAB_MSIX_AT + 0x800, 4), ==, 2);
    lab_write(&lab, LAB_MSIX_AT + 16 + 12, 0, 4);
    g_assert_cmpuint(lab.msi_count[1], ==, 2);
    g_assert_cmphex(lab_read(&lab, LAB_MSIX_AT + 0x800, 4), ==, 0);

    lab_config_write(&lab, d.devfn, control, 0xc000, 2); /* mask all */
    vm_mutex_lock(&pci->dev.lock);
    pci_msix_notify(pci, 0);
    vm_mutex_unlock(&pci->dev.lock);
    g_assert_cmpuint(lab.msi_total, ==, 2);
    lab_config_write(&lab, d.devfn, control, 0x8000, 2);
    g_assert_cmpuint(lab.msi_count[0], ==, 1);

    /* Elsewhere than at the LAPICs no message is written. */
    lab_write(&lab, LAB_MSIX_AT, 0x1000, 8);
    vm_mutex_lock(&pci->dev.lock);
    pci_msix_notify(pci, 0);
    vm_mutex_unlock(&pci->dev.lock);
    g_assert_cmpuint(lab.msi_total, ==, 3);
    lab_done(&lab);
}

/* Lines: slot 3's INTA is GSI 19; shared with slot 7, wired OR. */
static void test_intx(void)
{
    PciDevice *a, *b;
    Lab lab;

    lab_init(&lab, false, false);
    a = lab_device(&lab, "virtio-rng-pci", "addr=3");
    b = lab_device(&lab, "virtio-rng-pci", "addr=7");
    pci_set_intx(a, true);
    pci_set_intx(b, true);
    g_assert_true(lab.line[19]);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, PCI_STATUS, 2) & 8, ==, 8);
    pci_set_intx(a, false);
    g_assert_true(lab.line[19]);
    lab_config_write(&lab, b->devfn, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE,
                     2);
    g_assert_false(lab.line[19]);
    lab_config_write(&lab, b->devfn, PCI_COMMAND, 0, 2);
    g_assert_true(lab.line[19]);
    lab_config_write(&lab, b->devfn, b->msix.capability + 2, 0x8000, 2);
    g_assert_false(lab.line[19]);
    machine_reset(&lab.machine);
    g_assert_false(lab.line[19]);
    g_assert_cmphex(lab_config_read(&lab, b->devfn, PCI_STATUS, 2) & 8, ==,
                    0);
    lab_done(&lab);
}

static void test_slots(void)
{
    static const struct {
        const char *options, *why;
    } bad[] = {
        { "addr=3", "taken" },      { "addr=20", "bad PCI address" },
        { "addr=5.8", "bad" },      { "addr=", "bad" },
        { "addr=5.0x", "bad" },     { "addr=-1", "bad" },
        { "addr=3.1", "multifunction" },
        { "bus=pci.1", "Bus 'pci.1' not found" },
        { "bogus=1", "bogus" },
        { "disable-legacy=off", "disable-legacy=off" },
        { "disable-modern=on", "disable-modern" },
        { "vectors=65", "vectors" },
        { "rng=none", "no rng object" },
        { "max-bytes=0", "max-bytes" },
        { "period=0", "period" },
    };
    Lab lab;

    lab_init(&lab, false, false);
    g_assert_cmpuint(lab_device(&lab, "virtio-rng-pci", "")->devfn, ==,
                     PCI_DEVFN(3, 0));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        guint before = lab.machine.devices->len;
        GError *err = NULL;

        g_assert_false(lab_try_device(&lab, "virtio-rng-pci", bad[i].options,
                                      &err));
        /* An unknown property is found when the device is there already. */
        g_assert_cmpuint(lab.machine.devices->len, ==,
                         before + g_str_equal(bad[i].why, "bogus"));
        if (!strstr(err->message, bad[i].why)) {
            g_error("%s: '%s'", bad[i].options, err->message);
        }
        g_error_free(err);
    }
    g_assert_cmpuint(lab_device(&lab, "virtio-rng-pci",
                                "addr=05.0,bus=pci.0")->devfn,
                     ==, PCI_DEVFN(5, 0));
    g_assert_cmpuint(lab_device(&lab, "virtio-rng-pci", "addr=1f")->devfn, ==,
                     PCI_DEVFN(31, 0));
    lab_done(&lab);
}

/* The window in configuration space reaches the registers without BARs. */
static void test_window(void)
{
    unsigned cap;
    Lab lab;

    lab_init(&lab, false, false);
    lab_device(&lab, "virtio-rng-pci", "");
    cap = lab_config_read(&lab, DEVFN, PCI_CAPABILITY_LIST, 1);
    while (lab_config_read(&lab, DEVFN, cap + 3, 1) != 5) {
        cap = lab_config_read(&lab, DEVFN, cap + 1, 1);
        g_assert_cmpuint(cap, !=, 0);
    }
    lab_config_write(&lab, DEVFN, cap + 4, 4, 1);
    lab_config_write(&lab, DEVFN, cap + 8, 0x12, 4);
    lab_config_write(&lab, DEVFN, cap + 12, 2, 4);
    g_assert_cmpuint(lab_config_read(&lab, DEVFN, cap + 16, 2), ==, 1);
    lab_config_write(&lab, DEVFN, cap + 8, 0x14, 4);
    lab_config_write(&lab, DEVFN, cap + 12, 1, 4);
    lab_config_write(&lab, DEVFN, cap + 16, 3, 1);
    g_assert_cmphex(lab_config_read(&lab, DEVFN, cap + 16, 1), ==, 3);
    /* Nonsense is harmless. */
    lab_config_write(&lab, DEVFN, cap + 8, 0xfffffffc, 4);
    lab_config_write(&lab, DEVFN, cap + 12, 4, 4);
    lab_config_write(&lab, DEVFN, cap + 16, 1, 4);
    (void) lab_config_read(&lab, DEVFN, cap + 16, 4);
    lab_config_write(&lab, DEVFN, cap + 4, 0, 1);
    (void) lab_config_read(&lab, DEVFN, cap + 16, 4);
    lab_done(&lab);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci/identity", test_identity);
    g_test_add_func("/pci/ecam", test_ecam);
    g_test_add_func("/pci/bars", test_bars);
    g_test_add_func("/pci/bar-overlap", test_bar_overlap);
    g_test_add_func("/pci/reset-control", test_reset_control);
    g_test_add_func("/pci/msix", test_msix);
    g_test_add_func("/pci/intx", test_intx);
    g_test_add_func("/pci/slots", test_slots);
    g_test_add_func("/pci/window", test_window);
    return g_test_run();
}
