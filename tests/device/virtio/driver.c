/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine and the driver of driver.h.
 *
 * Guest memory: queue q's rings at (q + 1) MiB / 4; tests put buffers from
 * 2 MiB on. Threads: one.
 */
#include "driver.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "net/net.h"

#define WAIT_US (5 * G_USEC_PER_SEC)

/* ---- The machine ------------------------------------------------------- */

static void set_line(void *opaque, unsigned gsi, bool level)
{
    Lab *lab = opaque;

    g_assert_cmpuint(gsi, <, G_N_ELEMENTS(lab->line));
    lab->line[gsi] = level;
    lab->line_changes++;
}

static void send_msi(void *opaque, uint64_t address, uint32_t data)
{
    Lab *lab = opaque;

    g_assert_cmphex(address, ==, LAB_MSI_ADDRESS);
    g_assert_cmpuint(data, <, G_N_ELEMENTS(lab->msi_count));
    lab->msi_count[data]++;
    lab->msi_total++;
}

static int ioeventfd_add(void *opaque, uint64_t addr, unsigned len, int fd)
{
    Lab *lab = opaque;

    for (size_t i = 0; lab->ioeventfds && i < G_N_ELEMENTS(lab->kick_fd);
         i++) {
        if (lab->kick_fd[i] < 0) {
            lab->kick_fd[i] = fd;
            lab->kick_at[i] = addr;
            return 0;
        }
    }
    return -ENOTSUP;
}

static void ioeventfd_del(void *opaque, uint64_t addr, unsigned len, int fd)
{
    Lab *lab = opaque;

    for (size_t i = 0; i < G_N_ELEMENTS(lab->kick_fd); i++) {
        if (lab->kick_fd[i] == fd && lab->kick_at[i] == addr) {
            lab->kick_fd[i] = -1;
            return;
        }
    }
    g_assert_not_reached();
}

static void request_reset(void *opaque)
{
    ((Lab *)opaque)->resets++;
}

static void balloon_changed(void *opaque)
{
    ((Lab *)opaque)->balloon_changes++;
}

static const InterruptOps interrupts = {
    set_line, send_msi, ioeventfd_add, ioeventfd_del,
};
static const MachineRequests requests = {
    .reset = request_reset, .balloon_changed = balloon_changed,
};

static struct BlockBackend *find_block(void *opaque, const char *id)
{
    Lab *lab = opaque;

    return g_str_equal(id, "d0") ? lab->drive : NULL;
}

static struct NetBackend *find_net(void *opaque, const char *id)
{
    Lab *lab = opaque;

    return g_str_equal(id, "n0") ? lab->netdev : NULL;
}

static const char *find_rng(void *opaque, const char *id)
{
    Lab *lab = opaque;

    return g_str_equal(id, "r0") ? lab->rng : NULL;
}

static const MachineBackends backends = {
    .find_block = find_block, .find_net = find_net, .find_rng = find_rng,
};

void lab_init(Lab *lab, bool is_q35, bool ioeventfds)
{
    Machine *m = &lab->machine;
    GError *err = NULL;

    memset(lab, 0, sizeof(*lab));
    machine_init(m);
    lab->context = g_main_context_new();
    lab->ram = ram_block_new("lab.ram", LAB_RAM_BYTES, &err);
    g_assert_no_error(err);
    lab->mem = ram_block_hva(lab->ram);
    lab->ioeventfds = ioeventfds;
    for (size_t i = 0; i < G_N_ELEMENTS(lab->kick_fd); i++) {
        lab->kick_fd[i] = -1;
    }
    m->memory = address_space_new(AS_MEMORY);
    m->ports = address_space_new(AS_PORTS);
    m->ram = lab->ram;
    m->interrupts = &interrupts;
    m->requests = &requests;
    m->backends = &backends;
    m->interrupts_opaque = m->requests_opaque = m->backends_opaque = lab;
    m->io_context = lab->context;
    g_assert_cmpint(address_space_map_ram(m->memory, 0, lab->ram, 0,
                                          LAB_RAM_BYTES), ==, 0);
    pci_bus_new(m, is_q35);
}

void lab_done(Lab *lab)
{
    machine_done(&lab->machine);
    for (size_t i = 0; i < G_N_ELEMENTS(lab->kick_fd); i++) {
        g_assert_cmpint(lab->kick_fd[i], ==, -1);
    }
    block_backend_free(lab->drive);
    net_backend_free(lab->netdev);
    address_space_free(lab->machine.memory);
    address_space_free(lab->machine.ports);
    ram_block_free(lab->ram);
    g_main_context_unref(lab->context);
}

bool lab_try_device(Lab *lab, const char *type, const char *options,
                    GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-device", options, NULL, errp);
    const DeviceType *t = virtio_device_types;

    g_assert_nonnull(kv);
    while (t->name && !g_str_equal(t->name, type)) {
        t++;
    }
    g_assert_nonnull(t->name);
    return t->create(&lab->machine, NULL, kv, errp) &&
           vm_keyval_check_all_used(kv, errp);
}

PciDevice *lab_device(Lab *lab, const char *type, const char *options)
{
    GPtrArray *devices = lab->machine.devices;
    GError *err = NULL;
    bool ok = lab_try_device(lab, type, options, &err);

    g_assert_no_error(err);
    g_assert_true(ok);
    return g_ptr_array_index(devices, devices->len - 1);
}

void lab_run_io(Lab *lab)
{
    for (int i = 0; i < 50; i++) {
        g_main_context_iteration(lab->context, FALSE);
    }
}

uint32_t lab_config_read(Lab *lab, unsigned devfn, unsigned reg, unsigned len)
{
    uint32_t address = 0x80000000u | devfn << 8 | (reg & ~3u), value = 0;

    address_space_io_write(lab->machine.ports, 0xcf8, &address, 4);
    address_space_io_read(lab->machine.ports, 0xcfc + (reg & 3), &value, len);
    return value;
}

void lab_config_write(Lab *lab, unsigned devfn, unsigned reg, uint32_t value,
                      unsigned len)
{
    uint32_t address = 0x80000000u | devfn << 8 | (reg & ~3u);

    address_space_io_write(lab->machine.ports, 0xcf8, &address, 4);
    address_space_io_write(lab->machine.ports, 0xcfc + (reg & 3), &value,
                           len);
}

uint32_t lab_read(Lab *lab, uint64_t addr, unsigned len)
{
    uint32_t value = 0;

    address_space_io_read(lab->machine.memory, addr, &value, len);
    return value;
}

void lab_write(Lab *lab, uint64_t addr, uint64_t value, unsigned len)
{
    address_space_io_write(lab->machine.memory, addr, &value, len);
}

void mem_put(Lab *lab, uint64_t addr, unsigned len, uint64_t value)
{
    g_assert_cmpuint(addr + len, <=, LAB_RAM_BYTES);
    if (len == 2 && addr % 2 == 0) {
        /* Ring fields: the device's acquire pairs with this. */
        __atomic_store_n((uint16_t *)(lab->mem + addr), value,
                         __ATOMIC_RELEASE);
        return;
    }
    memcpy(lab->mem + addr, &value, len);
}

uint64_t mem_get(Lab *lab, uint64_t addr, unsigned len)
{
    uint64_t value = 0;

    if (len == 2 && addr % 2 == 0) {
        return __atomic_load_n((uint16_t *)(lab->mem + addr),
                               __ATOMIC_ACQUIRE);
    }
    memcpy(&value, lab->mem + addr, len);
    return value;
}

/* ---- The driver -------------------------------------------------------- */

/* 4.1.4: the structure of this type lies in BAR 4 at the returned offset. */
static uint32_t find_structure(Driver *d, unsigned type)
{
    unsigned cap = lab_config_read(d->lab, d->devfn, PCI_CAPABILITY_LIST, 1);

    while (cap) {
        if (lab_config_read(d->lab, d->devfn, cap, 1) == PCI_CAP_ID_VENDOR &&
            lab_config_read(d->lab, d->devfn, cap + 3, 1) == type) {
            g_assert_cmpuint(lab_config_read(d->lab, d->devfn, cap + 4, 1),
                             ==, 4);
            return lab_config_read(d->lab, d->devfn, cap + 8, 4);
        }
        cap = lab_config_read(d->lab, d->devfn, cap + 1, 1);
    }
    g_assert_not_reached();
}

static void enable_msix(Driver *d)
{
    Lab *lab = d->lab;
    unsigned cap = lab_config_read(lab, d->devfn, PCI_CAPABILITY_LIST, 1);
    unsigned vectors;

    while (lab_config_read(lab, d->devfn, cap, 1) != PCI_CAP_ID_MSIX) {
        cap = lab_config_read(lab, d->devfn, cap + 1, 1);
        g_assert_cmpuint(cap, !=, 0);
    }
    vectors = (lab_config_read(lab, d->devfn, cap + 2, 2) & 0x7ff) + 1;
    for (unsigned v = 0; v < vectors; v++) {
        lab_write(lab, LAB_MSIX_AT + v * 16, LAB_MSI_ADDRESS, 8);
        lab_write(lab, LAB_MSIX_AT + v * 16 + 8, v, 4);
        lab_write(lab, LAB_MSIX_AT + v * 16 + 12, 0, 4);
    }
    lab_config_write(lab, d->devfn, cap + 2, 0x8000, 2);
}

void driver_init(Driver *d, Lab *lab, PciDevice *pci, bool msix)
{
    memset(d, 0, sizeof(*d));
    d->lab = lab;
    d->devfn = pci->devfn;
    d->bar = LAB_BAR_AT;
    d->msix = msix;
    lab_config_write(lab, d->devfn, PCI_BAR_0 + 4, LAB_MSIX_AT, 4);
    lab_config_write(lab, d->devfn, PCI_BAR_0 + 16, LAB_BAR_AT, 4);
    lab_config_write(lab, d->devfn, PCI_BAR_0 + 20, LAB_BAR_AT >> 32, 4);
    lab_config_write(lab, d->devfn, PCI_COMMAND,
                     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    /* The layout that the tests take for granted. */
    g_assert_cmphex(find_structure(d, 1), ==, 0);
    g_assert_cmphex(find_structure(d, 3), ==, 0x1000);
    g_assert_cmphex(find_structure(d, 4), ==, 0x2000);
    g_assert_cmphex(find_structure(d, 2), ==, 0x3000);
    if (msix) {
        enable_msix(d);
    }
}

uint32_t driver_common(Driver *d, unsigned offset, unsigned len)
{
    return lab_read(d->lab, d->bar + offset, len);
}

void driver_common_write(Driver *d, unsigned offset, uint64_t value,
                         unsigned len)
{
    lab_write(d->lab, d->bar + offset, value, len);
}

uint8_t driver_status(Driver *d)
{
    return driver_common(d, 0x14, 1);
}

uint64_t driver_offered(Driver *d)
{
    uint64_t features;

    driver_common_write(d, 0x00, 0, 4);
    features = driver_common(d, 0x04, 4);
    driver_common_write(d, 0x00, 1, 4);
    return features | (uint64_t)driver_common(d, 0x04, 4) << 32;
}

static void set_up_queue(Driver *d, unsigned q)
{
    Ring *r = &d->ring[q];
    uint64_t base = (q + 1) * 0x40000;

    memset(r, 0, sizeof(*r));
    memset(d->lab->mem + base, 0, 0x3000);
    r->desc = base;
    r->avail = base + 0x1000;
    r->used = base + 0x2000;
    driver_common_write(d, 0x16, q, 2);
    r->size = MIN(driver_common(d, 0x18, 2), LAB_QUEUE_SIZE);
    driver_common_write(d, 0x18, r->size, 2);
    driver_common_write(d, 0x20, r->desc, 8);
    driver_common_write(d, 0x28, r->avail, 8);
    driver_common_write(d, 0x30, r->used, 8);
    if (d->msix) {
        driver_common_write(d, 0x1a, q + 1, 2);
        g_assert_cmpuint(driver_common(d, 0x1a, 2), ==, q + 1);
    }
    driver_common_write(d, 0x1c, 1, 2);
    g_assert_cmpuint(driver_common(d, 0x1c, 2), ==, 1);
}

void driver_start(Driver *d, uint64_t features, unsigned queue_count)
{
    d->features = features | VIRTIO_F_VERSION_1;
    g_assert_cmpuint(driver_status(d), ==, 0);
    driver_common_write(d, 0x14, 1, 1);
    driver_common_write(d, 0x14, 3, 1);
    driver_common_write(d, 0x08, 0, 4);
    driver_common_write(d, 0x0c, d->features, 4);
    driver_common_write(d, 0x08, 1, 4);
    driver_common_write(d, 0x0c, d->features >> 32, 4);
    driver_common_write(d, 0x14, 0xb, 1);
    g_assert_cmphex(driver_status(d), ==, 0xb);
    g_assert_cmpuint(driver_common(d, 0x12, 2), >=, queue_count);
    if (d->msix) {
        driver_common_write(d, 0x10, 0, 2);
        g_assert_cmpuint(driver_common(d, 0x10, 2), ==, 0);
    }
    for (unsigned q = 0; q < queue_count; q++) {
        set_up_queue(d, q);
    }
    driver_common_write(d, 0x14, 0xf, 1);
    g_assert_cmphex(driver_status(d), ==, 0xf);
}

void driver_reset(Driver *d)
{
    gint64 end = g_get_monotonic_time() + WAIT_US;

    driver_common_write(d, 0x14, 0, 1);
    while (driver_status(d) != 0) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        lab_run_io(d->lab);
    }
}

void ring_set_desc(Driver *d, uint64_t table, unsigned index, uint64_t addr,
                   uint32_t len, uint16_t flags, uint16_t next)
{
    uint64_t at = table + index * 16;

    mem_put(d->lab, at, 8, addr);
    mem_put(d->lab, at + 8, 4, len);
    mem_put(d->lab, at + 12, 2, flags);
    mem_put(d->lab, at + 14, 2, next);
}

void ring_offer(Driver *d, unsigned q, uint16_t head)
{
    Ring *r = &d->ring[q];

    mem_put(d->lab, r->avail + 4 + 2 * (r->avail_index % r->size), 2, head);
    r->avail_index++;
    atomic_thread_fence(memory_order_seq_cst);
    mem_put(d->lab, r->avail + 2, 2, r->avail_index);
}

uint16_t driver_add(Driver *d, unsigned q, const Buf *bufs, unsigned count)
{
    Ring *r = &d->ring[q];
    uint16_t head = r->next_desc;

    for (unsigned i = 0; i < count; i++) {
        uint16_t at = r->next_desc;

        r->next_desc = (r->next_desc + 1) % r->size;
        ring_set_desc(d, r->desc, at, bufs[i].addr, bufs[i].len,
                      (bufs[i].in ? DESC_WRITE : 0) |
                          (i + 1 < count ? DESC_NEXT : 0),
                      r->next_desc);
    }
    ring_offer(d, q, head);
    return head;
}

void driver_kick(Driver *d, unsigned q)
{
    uint64_t addr = d->bar + 0x3000 + 4 * q;
    const uint64_t one = 1;

    for (size_t i = 0; i < G_N_ELEMENTS(d->lab->kick_fd); i++) {
        if (d->lab->kick_fd[i] >= 0 && d->lab->kick_at[i] == addr) {
            g_assert_cmpint(write(d->lab->kick_fd[i], &one, 8), ==, 8);
            return;
        }
    }
    lab_write(d->lab, addr, q, 2);
}

uint16_t ring_used_index(Driver *d, unsigned q)
{
    return mem_get(d->lab, d->ring[q].used + 2, 2);
}

bool driver_poll_used(Driver *d, unsigned q, uint32_t *ret_id,
                      uint32_t *ret_len)
{
    Ring *r = &d->ring[q];
    uint64_t at = r->used + 4 + 8 * (r->used_seen % r->size);

    if (ring_used_index(d, q) == r->used_seen) {
        return false;
    }
    *ret_id = mem_get(d->lab, at, 4);
    *ret_len = mem_get(d->lab, at + 4, 4);
    r->used_seen++;
    return true;
}

bool driver_wait_used(Driver *d, unsigned q, uint32_t *ret_id,
                      uint32_t *ret_len)
{
    gint64 end = g_get_monotonic_time() + WAIT_US;

    while (!driver_poll_used(d, q, ret_id, ret_len)) {
        if ((driver_status(d) & VIRTIO_STATUS_NEEDS_RESET) ||
            g_get_monotonic_time() > end) {
            return false;
        }
        lab_run_io(d->lab);
    }
    return true;
}
