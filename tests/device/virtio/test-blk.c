/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk-pci and the core that all virtio devices share.
 *
 * How: the driver of driver.h works on an image file; the tests look at the
 * rings, the image, the interrupts and the status byte.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "block/block.h"
#include "driver.h"
#include "migration/vmstate-io.h"
#include "util/fd.h"

#define DISK_BYTES (1u << 20)
#define HEADER UINT64_C(0x200000)
#define STATUS UINT64_C(0x200100)
#define DATA UINT64_C(0x210000)
#define TABLE UINT64_C(0x300000)

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
#define F_BLK_FLUSH (UINT64_C(1) << 9)
#define F_WCE (UINT64_C(1) << 11)
#define F_DISCARD (UINT64_C(1) << 13)
#define F_ZEROES (UINT64_C(1) << 14)

typedef struct Disk {
    Lab lab;
    Driver d;
    PciDevice *pci;
    char *dir, *path;
} Disk;

typedef struct Variant {
    bool msix, ioeventfds, event_idx;
    const char *cache;
} Variant;

static const Variant plain = { true, true, false, "writeback" };

static struct BlockBackend *open_drive(const char *path, const char *cache,
                                       bool active)
{
    g_autofree char *text = g_strdup_printf(
        "id=d0,file=%s,format=raw,discard=unmap,cache=%s", path, cache);
    GError *err = NULL;
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-drive", text, NULL, &err);
    BlockBackend *blk = active ? block_backend_new(kv, &err)
                               : block_backend_new_inactive(kv, &err);

    g_assert_no_error(err);
    return blk;
}

static uint64_t features_of(const Variant *v)
{
    return F_BLK_FLUSH | F_DISCARD | F_ZEROES | VIRTIO_F_INDIRECT_DESC |
           (v->event_idx ? VIRTIO_F_EVENT_IDX : 0);
}

static void disk_open(Disk *disk, const Variant *v, const char *options)
{
    vm_autofd fd = -1;

    memset(disk, 0, sizeof(*disk));
    disk->dir = g_strdup("test-virtio-blk-XXXXXX");
    g_assert_nonnull(g_mkdtemp(disk->dir));
    disk->path = g_build_filename(disk->dir, "image", NULL);
    fd = open(disk->path, O_RDWR | O_CREAT, 0600);
    g_assert_cmpint(ftruncate(fd, DISK_BYTES), ==, 0);
    lab_init(&disk->lab, /* is_q35= */ false, v->ioeventfds);
    disk->lab.drive = open_drive(disk->path, v->cache, /* active= */ true);
    disk->pci = lab_device(&disk->lab, "virtio-blk-pci", options);
    driver_init(&disk->d, &disk->lab, disk->pci, v->msix);
}

static void disk_new(Disk *disk, const Variant *v, const char *options)
{
    disk_open(disk, v, options);
    driver_start(&disk->d, features_of(v), 1);
}

static void disk_free(Disk *disk)
{
    lab_done(&disk->lab);
    g_unlink(disk->path);
    g_rmdir(disk->dir);
    g_free(disk->path);
    g_free(disk->dir);
}

static void put_header(Lab *lab, uint64_t at, uint32_t type, uint64_t sector)
{
    mem_put(lab, at, 4, type);
    mem_put(lab, at + 4, 4, 0);
    mem_put(lab, at + 8, 8, sector);
}

/* Offers header, data and status as usual drivers do. */
static uint16_t offer(Disk *disk, uint32_t type, uint64_t sector,
                      uint32_t bytes, unsigned slot)
{
    uint64_t header = HEADER + slot * 0x200;
    Buf bufs[] = {
        { header, 16, false },
        { DATA + slot * 0x1000, bytes, type == IN || type == GET_ID },
        { header + 0x100, 1, true },
    };

    put_header(&disk->lab, header, type, sector);
    mem_put(&disk->lab, header + 0x100, 1, 0xff);
    if (bytes == 0) {
        bufs[1] = bufs[2];
    }
    return driver_add(&disk->d, 0, bufs, bytes ? 3 : 2);
}

/* The whole of it; returns the status byte. */
static unsigned request(Disk *disk, uint32_t type, uint64_t sector,
                        uint32_t bytes)
{
    uint16_t head = offer(disk, type, sector, bytes, 0);
    uint32_t id, len;

    driver_kick(&disk->d, 0);
    g_assert_true(driver_wait_used(&disk->d, 0, &id, &len));
    g_assert_cmpuint(id, ==, head);
    return mem_get(&disk->lab, STATUS, 1);
}

static void fill_data(Lab *lab, unsigned slot, uint32_t bytes, unsigned seed)
{
    for (uint32_t i = 0; i < bytes; i++) {
        lab->mem[DATA + slot * 0x1000 + i] = i * 13 + seed;
    }
}

static void assert_image(Disk *disk, uint64_t offset, const void *want,
                         size_t len)
{
    g_autofree uint8_t *got = g_malloc(len);
    vm_autofd fd = open(disk->path, O_RDONLY);

    g_assert_cmpint(vm_pread_full(fd, got, len, offset), ==, 0);
    g_assert_cmpmem(got, len, want, len);
}

/* ---- Requests ---------------------------------------------------------- */

static void test_requests(gconstpointer variant)
{
    const Variant *v = variant;
    static const uint8_t zeroes[4096];
    uint8_t saved[4096];
    unsigned before;
    Disk disk;

    disk_new(&disk, v, "drive=d0,serial=disk-0");
    g_assert_cmpuint(lab_read(&disk.lab, disk.d.bar + 0x2000, 4), ==,
                     DISK_BYTES / 512);
    fill_data(&disk.lab, 0, 4096, 1);
    memcpy(saved, disk.lab.mem + DATA, 4096);
    g_assert_cmpuint(request(&disk, OUT, 8, 4096), ==, 0);
    g_assert_cmpuint(request(&disk, FLUSH, 0, 0), ==, 0);
    assert_image(&disk, 4096, saved, 4096);
    memset(disk.lab.mem + DATA, 0, 4096);
    before = v->msix ? disk.lab.msi_count[1] : disk.lab.line_changes;
    g_assert_cmpuint(request(&disk, IN, 8, 4096), ==, 0);
    g_assert_cmpmem(disk.lab.mem + DATA, 4096, saved, 4096);

    /* The driver hears of it: by its vector, or by line and ISR. */
    if (v->msix) {
        if (!v->event_idx) {
            g_assert_cmpuint(disk.lab.msi_count[1], ==, before + 1);
        }
        g_assert_cmpuint(disk.lab.msi_count[1], ==, disk.lab.msi_total);
    } else {
        g_assert_true(disk.lab.line[19]);
        g_assert_cmpuint(lab_read(&disk.lab, disk.d.bar + 0x1000, 1), ==, 1);
        g_assert_false(disk.lab.line[19]);
        g_assert_cmpuint(lab_read(&disk.lab, disk.d.bar + 0x1000, 1), ==, 0);
    }

    g_assert_cmpuint(request(&disk, GET_ID, 0, 20), ==, 0);
    g_assert_cmpstr((char *)disk.lab.mem + DATA, ==, "disk-0");

    mem_put(&disk.lab, DATA, 8, 8);
    mem_put(&disk.lab, DATA + 8, 8, 4);
    g_assert_cmpuint(request(&disk, ZEROES, 0, 16), ==, 0);
    assert_image(&disk, 4096, zeroes, 2048);
    assert_image(&disk, 6144, saved + 2048, 2048);
    g_assert_cmpuint(request(&disk, DISCARD, 0, 16), ==, 0);

    /* Refused by status, the device lives on. */
    g_assert_cmpuint(request(&disk, 77, 0, 0), ==, 2);
    g_assert_cmpuint(request(&disk, IN, DISK_BYTES / 512, 512), ==, 1);
    g_assert_cmpuint(request(&disk, OUT, UINT64_MAX, 512), ==, 1);
    g_assert_cmpuint(request(&disk, IN, 0, 100), ==, 1);
    mem_put(&disk.lab, DATA + 8, 8, UINT64_C(0x200000004)); /* flags */
    g_assert_cmpuint(request(&disk, DISCARD, 0, 16), ==, 2);
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    disk_free(&disk);
}

/* Framing is the driver's choice: odd cuts, indirect tables. */
static void test_framing(void)
{
    Disk disk;
    Buf bufs[] = {
        { HEADER, 5, false },        { HEADER + 5, 11 + 100, false },
        { DATA, 412, false },        { STATUS + 7, 1, true },
    };
    uint32_t id, len;
    uint8_t want[512];

    disk_new(&disk, &plain, "drive=d0");
    fill_data(&disk.lab, 0, 4096, 9);
    put_header(&disk.lab, HEADER, OUT, 2);
    memset(disk.lab.mem + HEADER + 16, 0xab, 100);
    memset(want, 0xab, 100);
    memcpy(want + 100, disk.lab.mem + DATA, 412);
    driver_add(&disk.d, 0, bufs, 4);
    driver_kick(&disk.d, 0);
    g_assert_true(driver_wait_used(&disk.d, 0, &id, &len));
    g_assert_cmpuint(mem_get(&disk.lab, STATUS + 7, 1), ==, 0);
    assert_image(&disk, 1024, want, 512);

    /* Indirect: data and status in one writable buffer. */
    put_header(&disk.lab, HEADER, IN, 2);
    ring_set_desc(&disk.d, TABLE, 0, HEADER, 16, DESC_NEXT, 1);
    ring_set_desc(&disk.d, TABLE, 1, DATA, 513, DESC_WRITE, 0);
    ring_set_desc(&disk.d, disk.d.ring[0].desc, 20, TABLE, 32, DESC_INDIRECT,
                  0);
    mem_put(&disk.lab, DATA + 512, 1, 0xff);
    ring_offer(&disk.d, 0, 20);
    driver_kick(&disk.d, 0);
    g_assert_true(driver_wait_used(&disk.d, 0, &id, &len));
    g_assert_cmpuint(id, ==, 20);
    g_assert_cmpuint(len, ==, 513);
    g_assert_cmpmem(disk.lab.mem + DATA, 512, want, 512);
    g_assert_cmpuint(mem_get(&disk.lab, DATA + 512, 1), ==, 0);
    disk_free(&disk);
}

/* With event indexes an interrupt comes when the driver's mark is passed. */
static void test_event_index(void)
{
    static const Variant v = { true, true, true, "writeback" };
    Disk disk;

    disk_new(&disk, &v, "drive=d0");
    /* used_event, behind the available ring. */
    mem_put(&disk.lab, disk.d.ring[0].avail + 4 + 2 * LAB_QUEUE_SIZE, 2, 2);
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    lab_run_io(&disk.lab);
    disk.lab.msi_total = 0; /* the first one may always be told */
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    g_assert_cmpuint(disk.lab.msi_total, ==, 0);
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    g_assert_cmpuint(disk.lab.msi_total, ==, 1);
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    g_assert_cmpuint(disk.lab.msi_total, ==, 1);
    /* avail_event: kicks are wanted from the next entry on. */
    lab_run_io(&disk.lab);
    g_assert_cmpuint(mem_get(&disk.lab,
                             disk.d.ring[0].used + 4 + 8 * LAB_QUEUE_SIZE, 2),
                     ==, 4);
    disk_free(&disk);
}

static void test_read_only(void)
{
    g_autofree char *text = NULL;
    g_autoptr(VmKeyval) kv = NULL;
    GError *err = NULL;
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    lab_done(&disk.lab);
    lab_init(&disk.lab, false, true);
    text = g_strdup_printf("id=d0,file=%s,format=raw,readonly=on", disk.path);
    kv = vm_keyval_parse("-drive", text, NULL, &err);
    disk.lab.drive = block_backend_new(kv, &err);
    g_assert_no_error(err);
    disk.pci = lab_device(&disk.lab, "virtio-blk-pci", "drive=d0");
    driver_init(&disk.d, &disk.lab, disk.pci, true);
    g_assert_cmphex(driver_offered(&disk.d) & 32, ==, 32); /* F_RO */
    driver_start(&disk.d, features_of(&plain), 1);
    g_assert_cmpuint(request(&disk, OUT, 0, 512), ==, 1);
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    disk_free(&disk);
}

/* ---- Hostile rings ----------------------------------------------------- */

typedef void (*Attack)(Disk *disk);

static void head_out_of_range(Disk *disk)
{
    ring_offer(&disk->d, 0, LAB_QUEUE_SIZE);
}

static void index_too_far(Disk *disk)
{
    mem_put(&disk->lab, disk->d.ring[0].avail + 2, 2,
            disk->d.ring[0].avail_index + LAB_QUEUE_SIZE + 1);
}

static void loop(Disk *disk)
{
    ring_set_desc(&disk->d, disk->d.ring[0].desc, 0, HEADER, 16, DESC_NEXT,
                  1);
    ring_set_desc(&disk->d, disk->d.ring[0].desc, 1, HEADER, 16, DESC_NEXT,
                  0);
    ring_offer(&disk->d, 0, 0);
}

static void next_out_of_range(Disk *disk)
{
    ring_set_desc(&disk->d, disk->d.ring[0].desc, 0, HEADER, 16, DESC_NEXT,
                  LAB_QUEUE_SIZE);
    ring_offer(&disk->d, 0, 0);
}

static void readable_after_writable(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 16, false }, { STATUS, 1, true },
                         { DATA, 512, false } };

    driver_add(&disk->d, 0, bufs, 3);
}

static void no_status(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 16, false } };

    driver_add(&disk->d, 0, bufs, 1);
}

static void short_header(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 15, false }, { STATUS, 1, true } };

    driver_add(&disk->d, 0, bufs, 2);
}

static void header_not_ram(Disk *disk)
{
    const Buf bufs[] = { { LAB_BAR_AT, 16, false }, { STATUS, 1, true } };

    driver_add(&disk->d, 0, bufs, 2);
}

static void data_not_ram(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 16, false },
                         { LAB_RAM_BYTES - 256, 512, true },
                         { STATUS, 1, true } };

    put_header(&disk->lab, HEADER, IN, 0);
    driver_add(&disk->d, 0, bufs, 3);
}

static void data_wraps(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 16, false },
                         { UINT64_MAX - 255, 512, true },
                         { STATUS, 1, true } };

    put_header(&disk->lab, HEADER, IN, 0);
    driver_add(&disk->d, 0, bufs, 3);
}

static void status_not_ram(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 16, false }, { DATA, 512, true },
                         { UINT64_C(1) << 40, 1, true } };

    put_header(&disk->lab, HEADER, IN, 0);
    driver_add(&disk->d, 0, bufs, 3);
}

static void too_long(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 16, false }, { 0, UINT32_MAX, true },
                         { 0, UINT32_MAX, true }, { STATUS, 1, true } };

    put_header(&disk->lab, HEADER, IN, 0);
    driver_add(&disk->d, 0, bufs, 4);
}

static void indirect(Disk *disk, uint64_t table, uint32_t len,
                     uint16_t flags)
{
    ring_set_desc(&disk->d, disk->d.ring[0].desc, 0, table, len,
                  DESC_INDIRECT | flags, 1);
    ring_offer(&disk->d, 0, 0);
}

static void indirect_odd(Disk *disk)
{
    indirect(disk, TABLE, 24, 0);
}

static void indirect_empty(Disk *disk)
{
    indirect(disk, TABLE, 0, 0);
}

static void indirect_and_next(Disk *disk)
{
    indirect(disk, TABLE, 32, DESC_NEXT);
}

static void indirect_nested(Disk *disk)
{
    ring_set_desc(&disk->d, TABLE, 0, TABLE, 32, DESC_INDIRECT, 0);
    indirect(disk, TABLE, 32, 0);
}

static void indirect_loop(Disk *disk)
{
    ring_set_desc(&disk->d, TABLE, 0, HEADER, 1, DESC_NEXT, 0);
    indirect(disk, TABLE, 32, 0);
}

static void indirect_not_ram(Disk *disk)
{
    indirect(disk, UINT64_MAX - 15, 16 * 65536, 0);
}

static void out_without_data(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 16, false }, { DATA, 513, true } };

    put_header(&disk->lab, HEADER, OUT, 0);
    driver_add(&disk->d, 0, bufs, 2);
}

static void range_cut_short(Disk *disk)
{
    const Buf bufs[] = { { HEADER, 16, false }, { STATUS, 1, true } };

    put_header(&disk->lab, HEADER, DISCARD, 0);
    driver_add(&disk->d, 0, bufs, 2);
}

/* Needs reset, told by a configuration interrupt; nothing given back; after
 * a reset everything works again. */
static void test_attack(gconstpointer attack)
{
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    ((Attack)attack)(&disk);
    driver_kick(&disk.d, 0);
    for (int i = 0; i < 200 && !(driver_status(&disk.d) & 64); i++) {
        lab_run_io(&disk.lab);
        g_usleep(100);
    }
    g_assert_cmphex(driver_status(&disk.d), ==, 0x4f);
    g_assert_cmpuint(disk.lab.msi_count[0], ==, 1);
    g_assert_cmpuint(ring_used_index(&disk.d, 0), ==, 0);
    driver_kick(&disk.d, 0);
    lab_run_io(&disk.lab);
    g_assert_cmpuint(disk.lab.msi_total, ==, 1);
    driver_reset(&disk.d);
    driver_start(&disk.d, features_of(&plain), 1);
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    disk_free(&disk);
}

/* Queues in places where no queue can be. */
static void test_bad_layout(void)
{
    static const struct {
        unsigned offset, len;
        uint64_t value;
        bool at_enable; /* found when enabled, or at the first kick */
    } cases[] = {
        { 0x18, 2, 0, true },          { 0x18, 2, 3, true },
        { 0x18, 2, 512, true },        { 0x20, 8, 8, true },
        { 0x28, 8, 1, true },          { 0x30, 8, 2, true },
        { 0x20, 8, UINT64_MAX - 15, true },
        { 0x20, 8, UINT64_C(1) << 40, false },
        { 0x28, 8, LAB_BAR_AT, false },
        { 0x30, 8, LAB_RAM_BYTES, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Disk disk;
        Driver *d = &disk.d;

        disk_new(&disk, &plain, "drive=d0");
        driver_reset(d);
        driver_start(d, features_of(&plain), 0);
        d->ring[0] = (Ring){ .size = 64, .desc = 0x40000, .avail = 0x41000,
                             .used = 0x42000 };
        memset(disk.lab.mem + 0x40000, 0, 0x3000);
        driver_common_write(d, 0x16, 0, 2);
        driver_common_write(d, 0x18, 64, 2);
        driver_common_write(d, 0x20, 0x40000, 8);
        driver_common_write(d, 0x28, 0x41000, 8);
        driver_common_write(d, 0x30, 0x42000, 8);
        driver_common_write(d, cases[i].offset, cases[i].value,
                            cases[i].len);
        driver_common_write(d, 0x1c, 1, 2);
        g_assert_cmpuint(!!(driver_status(d) & 64), ==, cases[i].at_enable);
        if (!cases[i].at_enable) {
            offer(&disk, IN, 0, 512, 0);
            driver_kick(d, 0);
            for (int n = 0; n < 200 && !(driver_status(d) & 64); n++) {
                lab_run_io(&disk.lab);
                g_usleep(100);
            }
            g_assert_cmphex(driver_status(d) & 64, ==, 64);
        }
        disk_free(&disk);
    }
}

/* Features: what was not offered, or not modern, is not accepted. */
static void test_negotiation(void)
{
    Disk disk;
    Driver *d = &disk.d;

    disk_open(&disk, &plain, "drive=d0,event_idx=off,indirect_desc=off");
    g_assert_cmphex(driver_offered(d) & (VIRTIO_F_EVENT_IDX |
                                         VIRTIO_F_INDIRECT_DESC), ==, 0);
    g_assert_cmphex(driver_offered(d) & VIRTIO_F_VERSION_1, !=, 0);
    driver_common_write(d, 0x14, 3, 1);
    driver_common_write(d, 0x14, 0xb, 1); /* without VERSION_1 */
    g_assert_cmphex(driver_status(d), ==, 3);
    driver_common_write(d, 0x08, 1, 4);
    driver_common_write(d, 0x0c, 1, 4);
    driver_common_write(d, 0x08, 0, 4);
    driver_common_write(d, 0x0c, 1u << 29, 4); /* not offered */
    driver_common_write(d, 0x14, 0xb, 1);
    g_assert_cmphex(driver_status(d), ==, 3);
    driver_common_write(d, 0x0c, 0, 4);
    driver_common_write(d, 0x14, 0xb, 1);
    g_assert_cmphex(driver_status(d), ==, 0xb);
    /* Vectors that are not there read back as none. */
    driver_common_write(d, 0x10, 9, 2);
    g_assert_cmphex(driver_common(d, 0x10, 2), ==, 0xffff);
    /* A queue that is not there has size 0. */
    driver_common_write(d, 0x16, 5, 2);
    g_assert_cmphex(driver_common(d, 0x18, 2), ==, 0);
    driver_common_write(d, 0x1c, 1, 2);
    g_assert_cmphex(driver_status(d), ==, 0xb);
    disk_free(&disk);
}

/* ---- Pauses and resets ------------------------------------------------- */

#define MANY 20 /* three descriptors each */

static void offer_many(Disk *disk)
{
    for (unsigned i = 0; i < MANY; i++) {
        offer(disk, IN, i, 512, i);
    }
    driver_kick(&disk->d, 0);
}

/* Takes the kick, so that requests are in flight, but no completion. */
static void start_many(Disk *disk)
{
    VirtioPci *v = (VirtioPci *)disk->pci;

    offer_many(disk);
    vm_mutex_lock(&disk->pci->dev.lock);
    g_assert_cmpint(v->ops->run_queue(v, 0), >=, 0);
    g_assert_cmpuint(v->ops->in_flight(v), ==, MANY);
    vm_mutex_unlock(&disk->pci->dev.lock);
}

/* Reset with requests in flight: the status reads 0 only when they are back,
 * and the rings are left alone. */
static void test_reset_in_flight(void)
{
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    start_many(&disk);
    driver_common_write(&disk.d, 0x14, 0, 1);
    g_assert_cmphex(driver_status(&disk.d), !=, 0);
    driver_reset(&disk.d);
    g_assert_cmpuint(((VirtioPci *)disk.pci)->ops->in_flight(
                         (VirtioPci *)disk.pci), ==, 0);
    g_assert_cmpuint(ring_used_index(&disk.d, 0), ==, 0);
    g_assert_cmpuint(disk.lab.msi_total, ==, 0);
    driver_start(&disk.d, features_of(&plain), 1);
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    disk_free(&disk);
}

/* The machine's reset button, pressed without a pause before it. */
static void test_machine_reset(void)
{
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    start_many(&disk);
    machine_reset(&disk.lab.machine);
    g_assert_cmphex(lab_config_read(&disk.lab, disk.d.devfn, PCI_COMMAND, 2),
                    ==, 0);
    driver_init(&disk.d, &disk.lab, disk.pci, true);
    g_assert_cmphex(driver_status(&disk.d), ==, 0);
    driver_start(&disk.d, features_of(&plain), 1);
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    disk_free(&disk);
}

/* After quiesce every request is answered and nothing more happens. */
static void test_quiesce(void)
{
    uint32_t id, len;
    unsigned interrupts;
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    start_many(&disk);
    machine_quiesce(&disk.lab.machine);
    g_assert_cmpuint(ring_used_index(&disk.d, 0), ==, MANY);
    g_assert_cmpuint(disk.lab.msi_count[1], >, 0);
    interrupts = disk.lab.msi_total;
    offer(&disk, IN, 0, 512, 0);
    driver_kick(&disk.d, 0);
    lab_run_io(&disk.lab);
    g_assert_cmpuint(ring_used_index(&disk.d, 0), ==, MANY);
    g_assert_cmpuint(disk.lab.msi_total, ==, interrupts);
    machine_resume(&disk.lab.machine);
    for (unsigned i = 0; i <= MANY; i++) {
        g_assert_true(driver_wait_used(&disk.d, 0, &id, &len));
    }
    disk_free(&disk);
}

static gpointer io_thread(gpointer loop)
{
    g_main_loop_run(loop);
    return NULL;
}

/* The same with a real I/O thread: pauses at any moment lose nothing. */
static void test_quiesce_threads(void)
{
    GMainLoop *main_loop;
    GThread *thread;
    uint32_t id, len;
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    main_loop = g_main_loop_new(disk.lab.context, FALSE);
    thread = g_thread_new("io", io_thread, main_loop);
    for (unsigned round = 0; round < 50; round++) {
        gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
        unsigned got = 0;
        uint16_t used;

        offer_many(&disk);
        if (round % 3) {
            g_usleep(round * 10);
        }
        machine_quiesce(&disk.lab.machine);
        used = ring_used_index(&disk.d, 0);
        g_usleep(200);
        g_assert_cmpuint(ring_used_index(&disk.d, 0), ==, used);
        machine_resume(&disk.lab.machine);
        while (got < MANY) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            got += driver_poll_used(&disk.d, 0, &id, &len);
        }
    }
    g_main_loop_quit(main_loop);
    g_thread_join(thread);
    g_main_loop_unref(main_loop);
    disk_free(&disk);
}

/* --- A pager that does not bring a page --------------------------------- */

typedef struct StuckPager {
    GMutex mutex;
    GCond cond;
    RamOffset stuck_at; /* a pin of it waits until it is 0 */
    bool waits;
} StuckPager;

static int stuck_pin(void *opaque, RamOffset offset, size_t len)
{
    StuckPager *p = opaque;

    g_mutex_lock(&p->mutex);
    while (p->stuck_at != 0 && offset == p->stuck_at) {
        p->waits = true;
        g_cond_broadcast(&p->cond);
        g_cond_wait(&p->cond, &p->mutex);
    }
    g_mutex_unlock(&p->mutex);
    return 0;
}

static void stuck_unpin(void *opaque, RamOffset offset, size_t len)
{
}

static void stuck_wait(StuckPager *p)
{
    g_mutex_lock(&p->mutex);
    while (!p->waits) {
        g_cond_wait(&p->cond, &p->mutex);
    }
    g_mutex_unlock(&p->mutex);
}

static void stuck_release(StuckPager *p)
{
    g_mutex_lock(&p->mutex);
    p->stuck_at = 0;
    g_cond_broadcast(&p->cond);
    g_mutex_unlock(&p->mutex);
}

static bool out_of_patience(void *opaque)
{
    return true;
}

/*
 * The I/O thread waits for a page, with the device's lock held. Whoever
 * pauses the VM gives up, whoever lets it go on does not wait either; when
 * the page comes every request is answered, and a pause is one again.
 */
static void test_quiesce_stuck(void)
{
    static const RamPagerOps ops = { .pin = stuck_pin, .unpin = stuck_unpin };
    StuckPager pager = { .stuck_at = DATA };
    GMainLoop *main_loop;
    GThread *thread;
    uint32_t id, len;
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    ram_block_set_pager(disk.lab.ram, &ops, &pager);
    main_loop = g_main_loop_new(disk.lab.context, FALSE);
    thread = g_thread_new("io", io_thread, main_loop);
    offer(&disk, IN, 0, 512, 0);
    driver_kick(&disk.d, 0);
    stuck_wait(&pager);
    disk.lab.machine.out_of_patience = out_of_patience;
    g_assert_false(machine_quiesce(&disk.lab.machine));
    machine_resume(&disk.lab.machine);
    g_assert_false(machine_quiesce(&disk.lab.machine));
    g_assert_cmpuint(ring_used_index(&disk.d, 0), ==, 0);

    stuck_release(&pager);
    disk.lab.machine.out_of_patience = NULL;
    g_assert_true(machine_quiesce(&disk.lab.machine));
    uint16_t used = ring_used_index(&disk.d, 0);
    offer(&disk, IN, 0, 512, 1);
    driver_kick(&disk.d, 0);
    g_usleep(1000);
    g_assert_cmpuint(ring_used_index(&disk.d, 0), ==, used);
    machine_resume(&disk.lab.machine);
    for (unsigned got = 0; got < 2;) {
        got += driver_poll_used(&disk.d, 0, &id, &len);
    }
    g_main_loop_quit(main_loop);
    g_thread_join(thread);
    g_main_loop_unref(main_loop);
    ram_block_set_pager(disk.lab.ram, NULL, NULL);
    disk_free(&disk);
}

/* Bus mastering off: the device keeps off RAM until it is on again. */
static void test_bus_master(void)
{
    uint32_t id, len;
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    lab_config_write(&disk.lab, disk.d.devfn, PCI_COMMAND,
                     PCI_COMMAND_MEMORY, 2);
    offer(&disk, IN, 0, 512, 0);
    driver_kick(&disk.d, 0);
    lab_run_io(&disk.lab);
    g_assert_cmpuint(ring_used_index(&disk.d, 0), ==, 0);
    lab_config_write(&disk.lab, disk.d.devfn, PCI_COMMAND,
                     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    g_assert_true(driver_wait_used(&disk.d, 0, &id, &len));
    disk_free(&disk);
}

/* ---- Migration --------------------------------------------------------- */

static GByteArray *save(PciDevice *pci)
{
    GByteArray *out = g_byte_array_new();
    GError *err = NULL;

    vm_mutex_lock(&pci->dev.lock);
    g_assert_true(vmstate_save(pci->dev.vmsd, pci, 1 << 20, out, &err));
    vm_mutex_unlock(&pci->dev.lock);
    g_assert_no_error(err);
    return out;
}

static bool load(PciDevice *pci, const GByteArray *state)
{
    g_autoptr(GError) err = NULL;
    bool ok;

    vm_mutex_lock(&pci->dev.lock);
    ok = vmstate_load(pci->dev.vmsd, pci, pci->dev.vmsd->version, state->data,
                      state->len, &err);
    vm_mutex_unlock(&pci->dev.lock);
    g_assert_true(ok == !err);
    return ok;
}

/* A second machine with the same memory goes on where the first stopped. */
static void test_migrate(gconstpointer variant)
{
    const Variant *v = variant;
    g_autoptr(GByteArray) state = NULL, again = NULL;
    Disk src, dst;
    GError *err = NULL;
    uint32_t id, len;

    disk_new(&src, v, "drive=d0");
    fill_data(&src.lab, 0, 512, 3);
    g_assert_cmpuint(request(&src, OUT, 1, 512), ==, 0);
    machine_quiesce(&src.lab.machine);
    offer(&src, IN, 1, 512, 1); /* a kick that the source did not serve */
    state = save(src.pci);

    memset(&dst, 0, sizeof(dst));
    lab_init(&dst.lab, false, v->ioeventfds);
    dst.lab.drive = open_drive(src.path, v->cache, /* active= */ false);
    dst.pci = lab_device(&dst.lab, "virtio-blk-pci", "drive=d0");
    g_assert_true(load(dst.pci, state));
    memcpy(dst.lab.mem, src.lab.mem, LAB_RAM_BYTES);
    lab_run_io(&dst.lab);
    g_assert_cmpuint(mem_get(&dst.lab, src.d.ring[0].used + 2, 2), ==, 1);
    again = save(dst.pci);
    g_assert_cmpmem(again->data, again->len, state->data, state->len);

    g_assert_true(block_backend_inactivate(src.lab.drive, &err));
    g_assert_true(block_backend_activate(dst.lab.drive, &err));
    g_assert_no_error(err);
    dst.d = src.d;
    dst.d.lab = &dst.lab;
    machine_resume(&dst.lab.machine);
    g_assert_true(driver_wait_used(&dst.d, 0, &id, &len));
    g_assert_cmpmem(dst.lab.mem + DATA + 0x1000, 512, src.lab.mem + DATA,
                    512);
    g_assert_cmpuint(request(&dst, IN, 0, 512), ==, 0);
    lab_done(&dst.lab);
    disk_free(&src);
}

/* Whatever byte of the state is spoilt: refused, or harmless. */
static void test_hostile_state(void)
{
    g_autoptr(GByteArray) state = NULL;
    unsigned refused = 0;
    Disk disk;

    disk_new(&disk, &plain, "drive=d0");
    g_assert_cmpuint(request(&disk, IN, 0, 512), ==, 0);
    machine_quiesce(&disk.lab.machine);
    state = save(disk.pci);
    for (guint i = 0; i < state->len; i++) {
        for (unsigned flip = 1; flip < 256; flip = flip * 4 + 3) {
            state->data[i] ^= flip;
            if (load(disk.pci, state)) {
                machine_resume(&disk.lab.machine);
                driver_kick(&disk.d, 0);
                for (int n = 0; n < 3; n++) {
                    g_main_context_iteration(disk.lab.context, FALSE);
                }
                machine_quiesce(&disk.lab.machine);
            } else {
                refused++;
            }
            /* A spoilt message address would not be ours to assert on. */
            disk.lab.msi_total = 0;
            state->data[i] ^= flip;
        }
    }
    g_assert_cmpuint(refused, >, state->len);
    g_assert_true(load(disk.pci, state));
    disk_free(&disk);
}

/* The destination's disk is another one. */
static void test_other_size(void)
{
    g_autoptr(GByteArray) state = NULL;
    Disk a, b;

    disk_new(&a, &plain, "drive=d0");
    machine_quiesce(&a.lab.machine);
    state = save(a.pci);
    disk_new(&b, &plain, "drive=d0");
    lab_done(&b.lab);
    g_assert_cmpint(truncate(b.path, 2 * DISK_BYTES), ==, 0);
    lab_init(&b.lab, false, true);
    b.lab.drive = open_drive(b.path, "writeback", true);
    b.pci = lab_device(&b.lab, "virtio-blk-pci", "drive=d0");
    g_assert_false(load(b.pci, state));
    disk_free(&b);
    disk_free(&a);
}

/* ---- Properties -------------------------------------------------------- */

static void test_properties(void)
{
    static const struct {
        const char *options, *why;
    } bad[] = {
        { "serial=x", "drive property not set" },
        { "drive=d9", "no drive 'd9'" },
        { "drive=d0,num-queues=0", "num-queues" },
        { "drive=d0,queue-size=100", "queue-size" },
        { "drive=d0,logical_block_size=100", "logical_block_size" },
        { "drive=d0,serial=123456789012345678901", "serial" },
        { "drive=d0", "already in use" },
    };
    Disk disk;

    disk_new(&disk, &plain, "drive=d0,bootindex=1,write-cache=on");
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;

        g_assert_false(lab_try_device(&disk.lab, "virtio-blk-pci",
                                      bad[i].options, &err));
        if (!strstr(err->message, bad[i].why)) {
            g_error("%s: '%s'", bad[i].options, err->message);
        }
        g_error_free(err);
    }
    disk_free(&disk);
}

#define ATTACK(fn)                                                          \
    g_test_add_data_func("/virtio-blk/attack/" #fn, (gconstpointer)(fn),    \
                         test_attack)

int main(int argc, char **argv)
{
    static const Variant variants[] = {
        { true, true, false, "writeback" },  { true, false, false, "none" },
        { false, true, false, "directsync" }, { true, true, true, "none" },
        { false, false, true, "writethrough" },
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        g_autofree char *a = g_strdup_printf("/virtio-blk/requests/%zu", i);
        g_autofree char *b = g_strdup_printf("/virtio-blk/migrate/%zu", i);

        g_test_add_data_func(a, &variants[i], test_requests);
        g_test_add_data_func(b, &variants[i], test_migrate);
    }
    g_test_add_func("/virtio-blk/framing", test_framing);
    g_test_add_func("/virtio-blk/event-index", test_event_index);
    g_test_add_func("/virtio-blk/read-only", test_read_only);
    ATTACK(head_out_of_range);
    ATTACK(index_too_far);
    ATTACK(loop);
    ATTACK(next_out_of_range);
    ATTACK(readable_after_writable);
    ATTACK(no_status);
    ATTACK(short_header);
    ATTACK(header_not_ram);
    ATTACK(data_not_ram);
    ATTACK(data_wraps);
    ATTACK(status_not_ram);
    ATTACK(too_long);
    ATTACK(indirect_odd);
    ATTACK(indirect_empty);
    ATTACK(indirect_and_next);
    ATTACK(indirect_nested);
    ATTACK(indirect_loop);
    ATTACK(indirect_not_ram);
    ATTACK(out_without_data);
    ATTACK(range_cut_short);
    g_test_add_func("/virtio-blk/bad-layout", test_bad_layout);
    g_test_add_func("/virtio-blk/negotiation", test_negotiation);
    g_test_add_func("/virtio-blk/reset-in-flight", test_reset_in_flight);
    g_test_add_func("/virtio-blk/machine-reset", test_machine_reset);
    g_test_add_func("/virtio-blk/quiesce", test_quiesce);
    g_test_add_func("/virtio-blk/quiesce-threads", test_quiesce_threads);
    g_test_add_func("/virtio-blk/quiesce-stuck", test_quiesce_stuck);
    g_test_add_func("/virtio-blk/bus-master", test_bus_master);
    g_test_add_func("/virtio-blk/hostile-state", test_hostile_state);
    g_test_add_func("/virtio-blk/other-size", test_other_size);
    g_test_add_func("/virtio-blk/properties", test_properties);
    return g_test_run();
}
