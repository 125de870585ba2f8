/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI and virtio, as much as one device needs: see virtio.h.
 *
 * BAR 4 is put below 4 GiB, where everything is mapped. MMIO from CPL3 is a
 * plain access here.
 */
#include "virtio.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_BUSES 9u
#define PCI_VENDOR_VIRTIO 0x1af4
#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY 2u
#define PCI_COMMAND_MASTER 4u
#define PCI_CAPABILITIES 0x34
#define PCI_CAP_VENDOR 9
#define PCI_BAR_4 0x20
#define BAR_AT 0xe8000000u /* in the PCI hole of pc and q35 */

/* virtio_pci_cap.cfg_type, 4.1.4. */
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_DEVICE = 4, CAP_TYPES };
/* virtio_pci_common_cfg, 4.1.4.3. */
enum {
    FEATURE_SELECT = 0x00,
    FEATURE = 0x04,
    DRIVER_FEATURE_SELECT = 0x08,
    DRIVER_FEATURE = 0x0c,
    STATUS = 0x14,
    QUEUE_SELECT = 0x16,
    QUEUE_SIZE = 0x18,
    QUEUE_ENABLE = 0x1c,
    QUEUE_NOTIFY_OFF = 0x1e,
    QUEUE_DESC = 0x20,
    QUEUE_DRIVER = 0x28,
    QUEUE_DEVICE = 0x30,
};
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
#define F_VERSION_1 (1ull << 32)
#define DESC_F_NEXT 1
#define DESC_F_WRITE 2
#define AVAIL_F_NO_INTERRUPT 1
#define ANSWER_US 30000000u

struct Desc {
    uint64_t addr;
    uint32_t bytes;
    uint16_t flags, next;
};

struct Ring {
    struct Desc desc[VIRTIO_QUEUE_SIZE];
    struct {
        uint16_t flags, index, ring[VIRTIO_QUEUE_SIZE], used_event;
    } avail;
    struct {
        uint16_t flags, index;
        struct {
            uint32_t id, bytes;
        } ring[VIRTIO_QUEUE_SIZE];
        uint16_t avail_event;
    } used __attribute__((aligned(4)));
} __attribute__((aligned(4096)));

static struct Ring rings[VIRTIO_QUEUES];
static volatile uint8_t *parts[CAP_TYPES]; /* the structures in BAR 4 */
static volatile uint16_t *notify_at[VIRTIO_QUEUES];
static uint32_t notify_multiplier;
static uint64_t features;

/* ---- PCI ----------------------------------------------------------------- */

/* where: bus << 5 | slot; function 0 is enough here. Behind root ports there
 * is slot 0 of buses that have been numbered from 1 on. */
static void select_config(unsigned where, unsigned at)
{
    port_out32(PCI_ADDRESS, 0x80000000u | where << 11 | (at & ~3u));
}

static uint32_t config_read(unsigned where, unsigned at, unsigned bytes)
{
    uint32_t value;

    select_config(where, at);
    value = port_in32(PCI_DATA) >> at % 4 * 8;
    return bytes == 4 ? value : value & ((1u << bytes * 8) - 1);
}

/* at is a multiple of 4. */
static void config_write(unsigned where, unsigned at, uint32_t value)
{
    select_config(where, at);
    port_out32(PCI_DATA, value);
}

static int find_device(uint16_t id, uint16_t transitional_id)
{
    for (unsigned where = 0; where < PCI_BUSES * 32; where++) {
        uint32_t ids = config_read(where, 0, 4);

        if ((ids & 0xffff) == PCI_VENDOR_VIRTIO &&
            (ids >> 16 == id || ids >> 16 == transitional_id)) {
            return (int)where;
        }
    }
    return -1;
}

static void map_bar(unsigned where)
{
    uint32_t command = config_read(where, PCI_COMMAND, 2);

    config_write(where, PCI_COMMAND, command & ~PCI_COMMAND_MEMORY);
    config_write(where, PCI_BAR_4, BAR_AT);
    config_write(where, PCI_BAR_4 + 4, 0);
    config_write(where, PCI_COMMAND,
                 command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void find_parts(unsigned where)
{
    unsigned cap = config_read(where, PCI_CAPABILITIES, 1);

    for (; cap != 0; cap = config_read(where, cap + 1, 1)) {
        unsigned type = config_read(where, cap + 3, 1);

        if (config_read(where, cap, 1) != PCI_CAP_VENDOR ||
            type >= CAP_TYPES || config_read(where, cap + 4, 1) != 4) {
            continue;
        }
        parts[type] = (volatile uint8_t *)(uint64_t)BAR_AT +
                      config_read(where, cap + 8, 4);
        if (type == CAP_NOTIFY) {
            notify_multiplier = config_read(where, cap + 16, 4);
        }
    }
    if (!parts[CAP_COMMON] || !parts[CAP_NOTIFY] || !parts[CAP_DEVICE]) {
        fatal("virtio: a structure is not in BAR 4");
    }
}

/* ---- The device ---------------------------------------------------------- */

static volatile uint8_t *common(unsigned at)
{
    return parts[CAP_COMMON] + at;
}

static void common_write16(unsigned at, uint16_t value)
{
    *(volatile uint16_t *)common(at) = value;
}

static void common_write32(unsigned at, uint32_t value)
{
    *(volatile uint32_t *)common(at) = value;
}

static uint32_t common_read32(unsigned at)
{
    return *(volatile uint32_t *)common(at);
}

static void put_status(uint8_t bits)
{
    *common(STATUS) = (uint8_t)(*common(STATUS) | bits);
    if ((*common(STATUS) & bits) != bits) {
        fatal("virtio: the device does not take a status");
    }
}

static void negotiate(uint64_t wanted)
{
    common_write32(FEATURE_SELECT, 0);
    features = common_read32(FEATURE);
    common_write32(FEATURE_SELECT, 1);
    features |= (uint64_t)common_read32(FEATURE) << 32;
    features &= wanted | F_VERSION_1;
    common_write32(DRIVER_FEATURE_SELECT, 0);
    common_write32(DRIVER_FEATURE, (uint32_t)features);
    common_write32(DRIVER_FEATURE_SELECT, 1);
    common_write32(DRIVER_FEATURE, (uint32_t)(features >> 32));
    put_status(FEATURES_OK);
}

static void put_address(unsigned at, const volatile void *address)
{
    common_write32(at, (uint32_t)(uint64_t)address);
    common_write32(at + 4, (uint32_t)((uint64_t)address >> 32));
}

static void start_queue(unsigned q)
{
    struct Ring *r = &rings[q];

    common_write16(QUEUE_SELECT, (uint16_t)q);
    if (*(volatile uint16_t *)common(QUEUE_SIZE) < VIRTIO_QUEUE_SIZE) {
        fatal("virtio: a queue is missing or too short");
    }
    common_write16(QUEUE_SIZE, VIRTIO_QUEUE_SIZE);
    r->avail.flags = AVAIL_F_NO_INTERRUPT;
    put_address(QUEUE_DESC, r->desc);
    put_address(QUEUE_DRIVER, &r->avail);
    put_address(QUEUE_DEVICE, &r->used);
    notify_at[q] = (volatile uint16_t *)(parts[CAP_NOTIFY] +
                   *(volatile uint16_t *)common(QUEUE_NOTIFY_OFF) *
                       notify_multiplier);
    common_write16(QUEUE_ENABLE, 1);
}

bool virtio_start(uint16_t id, uint16_t transitional_id, uint64_t wanted,
                  unsigned queues)
{
    int where = find_device(id, transitional_id);

    if (where < 0) {
        return false;
    }
    map_bar((unsigned)where);
    find_parts((unsigned)where);
    *common(STATUS) = 0;
    while (*common(STATUS) != 0) {
        cpu_relax();
    }
    put_status(ACKNOWLEDGE | DRIVER);
    negotiate(wanted);
    for (unsigned q = 0; q < queues; q++) {
        start_queue(q);
    }
    put_status(DRIVER_OK);
    return true;
}

bool virtio_has_feature(uint64_t feature)
{
    return features & feature;
}

uint32_t virtio_config_read(unsigned offset)
{
    return *(volatile uint32_t *)(parts[CAP_DEVICE] + offset);
}

void virtio_config_write(unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)(parts[CAP_DEVICE] + offset) = value;
}

/* ---- Requests ------------------------------------------------------------ */

void virtio_offer(unsigned queue, const struct VirtioBuffer *buffers,
                  unsigned count)
{
    struct Ring *r = &rings[queue];
    uint16_t index = r->avail.index;

    if (count > VIRTIO_QUEUE_SIZE) {
        fatal("virtio: a request of too many buffers");
    }
    for (unsigned i = 0; i < count; i++) {
        r->desc[i].addr = (uint64_t)buffers[i].at;
        r->desc[i].bytes = buffers[i].bytes;
        r->desc[i].flags = (uint16_t)((buffers[i].in ? DESC_F_WRITE : 0) |
                                      (i + 1 < count ? DESC_F_NEXT : 0));
        r->desc[i].next = (uint16_t)(i + 1);
    }
    r->avail.ring[index % VIRTIO_QUEUE_SIZE] = 0;
    store_release(&r->avail.index, (uint16_t)(index + 1));
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    *notify_at[queue] = (uint16_t)queue;
}

bool virtio_is_back(unsigned queue)
{
    const struct Ring *r = &rings[queue];

    return load_acquire(&r->used.index) == r->avail.index;
}

void virtio_request(struct Cpu *cpu, unsigned queue,
                    const struct VirtioBuffer *buffers, unsigned count)
{
    uint64_t start = rdtsc();

    virtio_offer(queue, buffers, count);
    while (!virtio_is_back(queue)) {
        cpu_relax();
        workload_tick(cpu);
        if (rdtsc() - start > ANSWER_US * params.mhz) {
            fatal("virtio: no answer");
        }
    }
}
