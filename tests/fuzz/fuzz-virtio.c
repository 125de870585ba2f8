/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: no guest makes a virtio device touch memory that is not the
 * guest's, hang or crash, whatever it writes into rings, registers and PCI
 * configuration; nor does device state of whatever content.
 *
 * How: the machine and driver of the device tests. The input's first byte
 * chooses the device (bits 0, 1), MSI-X (2), event indexes (3) and indirect
 * descriptors (4); then come operations, a byte each with operands behind it,
 * until they are used up. An operand that is not there is 0. The card's other
 * end gives back the packet that the guest sent last.
 */
#include "../../net/net-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../device/virtio/driver.h"
#include "block/block.h"
#include "migration/vmstate-io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DISK_BYTES (64u << 10)
#define PACKET_MAX 2048u
#define OPERATIONS_MAX 256
/* Packets are gathered, and disk requests mapped, in pieces of this area. */
#define BUFFERS_AT UINT64_C(0x200000)
#define STATE_BYTES_MAX (1u << 20)

typedef struct Echo {
    NetBackend net;
    uint8_t packet[PACKET_MAX];
    size_t len;
} Echo;

typedef struct Fuzz {
    const uint8_t *at, *end; /* of the input */
    Lab lab;
    Driver d;
    PciDevice *pci;
    Echo *echo;    /* of a card; the lab's */
    bool quiesced;
    bool spoilt;   /* state was refused: it never runs again */
} Fuzz;

/* ---- Input ------------------------------------------------------------- */

static uint64_t take(Fuzz *f, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && f->at < f->end; i++) {
        value |= (uint64_t)*f->at++ << (8 * i);
    }
    return value;
}

/* ---- Back ends --------------------------------------------------------- */

static bool echo_attach(NetBackend *net, GMainContext *context, GError **errp)
{
    return true;
}

static void echo_send(NetBackend *net, const struct iovec *iov, int iovcnt)
{
    Echo *e = (Echo *)net;

    e->len = 0;
    for (int i = 0; i < iovcnt; i++) {
        size_t n = MIN(iov[i].iov_len, PACKET_MAX - e->len);

        memcpy(e->packet + e->len, iov[i].iov_base, n);
        e->len += n;
    }
}

static void echo_ready(NetBackend *net, bool ready)
{
}

static void echo_free(NetBackend *net)
{
    g_free(net);
}

static const NetOps echo_ops = {
    echo_attach, echo_send, echo_ready, echo_free,
};

static BlockBackend *open_drive(void)
{
    static int fd = -1;
    g_autofree char *text = NULL;
    g_autoptr(VmKeyval) kv = NULL;
    BlockBackend *blk;
    GError *error = NULL;

    if (fd < 0) {
        fd = memfd_create("disk", MFD_CLOEXEC);
        g_assert_cmpint(ftruncate(fd, DISK_BYTES), ==, 0);
    }
    text = g_strdup_printf("id=d0,file=/proc/self/fd/%d,format=raw,"
                           "discard=unmap,cache=writeback", fd);
    kv = vm_keyval_parse("-drive", text, NULL, NULL);
    blk = block_backend_new(kv, &error);
    g_assert_no_error(error);
    return blk;
}

/* ---- The machine ------------------------------------------------------- */

/* The guest may have a message sent wherever it likes. */
static void any_msi(void *opaque, uint64_t address, uint32_t data)
{
}

static void any_line(void *opaque, unsigned gsi, bool level)
{
    g_assert_cmpuint(gsi, <, 24);
}

static int no_eventfd(void *opaque, uint64_t addr, unsigned len, int fd)
{
    return -ENOTSUP; /* kicks are exits */
}

static void no_eventfd_del(void *opaque, uint64_t addr, unsigned len, int fd)
{
}

static const InterruptOps interrupts = {
    any_line, any_msi, no_eventfd, no_eventfd_del,
};

typedef struct Kind {
    const char *type, *options;
    unsigned queues;
    bool has_msix;
    uint64_t features;
} Kind;

static const Kind kinds[4] = {
    /* FLUSH, CONFIG_WCE, DISCARD, WRITE_ZEROES */
    { "virtio-blk-pci", "drive=d0", 1, true, 0x6a00 },
    { "virtio-net-pci", "netdev=n0", 2, true, 0x8000 }, /* MRG_RXBUF */
    /* STATS_VQ, DEFLATE_ON_OOM, PAGE_POISON, REPORTING */
    { "virtio-balloon-pci", "free-page-reporting=on", 5, false, 0x36 },
    { "virtio-rng-pci", "", 1, true, 0 },
};

static void set_up(Fuzz *f)
{
    uint8_t choice = (uint8_t)take(f, 1);
    const Kind *kind = &kinds[choice & 3];
    uint64_t features = kind->features;

    lab_init(&f->lab, /* is_q35= */ choice & 0x20, /* ioeventfds= */ false);
    f->lab.machine.interrupts = &interrupts;
    if ((choice & 3) == 0) {
        f->lab.drive = open_drive();
    } else if ((choice & 3) == 1) {
        f->echo = g_new0(Echo, 1);
        f->echo->net.ops = &echo_ops;
        f->lab.netdev = &f->echo->net;
    }
    f->pci = lab_device(&f->lab, kind->type, kind->options);
    driver_init(&f->d, &f->lab, f->pci,
                /* msix= */ kind->has_msix && choice & 4);
    features |= choice & 8 ? VIRTIO_F_EVENT_IDX : 0;
    features |= choice & 16 ? VIRTIO_F_INDIRECT_DESC : 0;
    features &= driver_offered(&f->d);
    driver_start(&f->d, features,
                 MIN(kind->queues, driver_common(&f->d, 0x12, 2)));
}

/* ---- Operations -------------------------------------------------------- */

static unsigned take_queue(Fuzz *f)
{
    unsigned q = (unsigned)take(f, 1) % G_N_ELEMENTS(f->d.ring);

    return f->d.ring[q].size ? q : 0;
}

/* A chain as real drivers make it: the fuzzer need not find the layout. */
static void op_chain(Fuzz *f)
{
    unsigned q = take_queue(f), count = 1 + (unsigned)take(f, 1) % 4;
    Buf bufs[4];

    for (unsigned i = 0; i < count; i++) {
        uint64_t word = take(f, 4);

        bufs[i] = (Buf){ BUFFERS_AT + (word & 0xfff) * 16,
                         (uint32_t)(word >> 12 & 0x7fff), word >> 31 };
    }
    driver_add(&f->d, q, bufs, count);
    driver_kick(&f->d, q);
}

static void op_descriptor(Fuzz *f)
{
    const Ring *r = &f->d.ring[take_queue(f)];
    unsigned index = (unsigned)take(f, 1);
    uint64_t addr = take(f, 5);
    uint32_t len = (uint32_t)take(f, 4);
    uint16_t flags = (uint16_t)take(f, 1), next = (uint16_t)take(f, 1);

    ring_set_desc(&f->d, r->desc, index, addr, len, flags, next);
}

static void op_offer(Fuzz *f)
{
    unsigned q = take_queue(f);

    ring_offer(&f->d, q, (uint16_t)take(f, 2));
    driver_kick(&f->d, q);
}

static void op_kick(Fuzz *f)
{
    driver_kick(&f->d, take_queue(f));
}

static void op_run_io(Fuzz *f)
{
    lab_run_io(&f->lab);
}

static void op_memory(Fuzz *f)
{
    uint64_t at = BUFFERS_AT + take(f, 2);
    size_t len = take(f, 1), there = (size_t)(f->end - f->at);

    memcpy(f->lab.mem + at, f->at, MIN(len, there));
    f->at += MIN(len, there);
}

/* Anywhere, with the rings at its beginning. */
static void op_word(Fuzz *f)
{
    uint64_t at = take(f, 3) % (LAB_RAM_BYTES - 8);

    mem_put(&f->lab, at, 2, take(f, 2));
}

static void op_register(Fuzz *f)
{
    static const uint16_t structures[] = { 0, 0x1000, 0x2000, 0x3000 };
    uint8_t where = (uint8_t)take(f, 1);
    unsigned offset = structures[where & 3] + (unsigned)take(f, 1);
    unsigned len = 1u << (where >> 2 & 3);

    if (where & 0x80) {
        (void)lab_read(&f->lab, f->d.bar + offset, MIN(len, 4));
    } else {
        lab_write(&f->lab, f->d.bar + offset, take(f, len), len);
    }
}

static void op_config(Fuzz *f)
{
    uint8_t where = (uint8_t)take(f, 1), reg = (uint8_t)take(f, 1);
    unsigned len = 1u << (where & 3) % 3;

    reg &= (uint8_t)~(len - 1);
    if (where & 0x80) {
        (void)lab_config_read(&f->lab, f->d.devfn, reg, len);
    } else {
        lab_config_write(&f->lab, f->d.devfn, reg, (uint32_t)take(f, len),
                         len);
    }
}

static void op_pause(Fuzz *f)
{
    f->quiesced = !f->quiesced;
    if (f->quiesced) {
        machine_quiesce(&f->lab.machine);
    } else {
        machine_resume(&f->lab.machine);
    }
}

static void op_packet(Fuzz *f)
{
    if (f->echo && f->echo->len) {
        (void)net_give_card(&f->echo->net, f->echo->packet, f->echo->len);
    }
}

/* Its own state, and a few bytes of it changed. */
static void op_state(Fuzz *f)
{
    Device *dev = &f->pci->dev;
    g_autoptr(GByteArray) state = g_byte_array_new();
    unsigned changes = (unsigned)take(f, 1) % 8;
    bool ok;

    if (!f->quiesced) {
        op_pause(f);
    }
    vm_mutex_lock(&dev->lock);
    ok = vmstate_save(dev->vmsd, dev, STATE_BYTES_MAX, state, NULL);
    g_assert_true(ok);
    for (unsigned i = 0; i < changes; i++) {
        unsigned at = (unsigned)take(f, 2) % state->len;

        state->data[at] ^= (uint8_t)take(f, 1);
    }
    f->spoilt = !vmstate_load(dev->vmsd, dev, dev->vmsd->version, state->data,
                              state->len, NULL);
    vm_mutex_unlock(&dev->lock);
}

static void (*const operations[])(Fuzz *f) = {
    op_chain,  op_descriptor, op_offer,  op_kick,  op_run_io, op_memory,
    op_word,   op_register,   op_config, op_pause, op_packet, op_state,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Fuzz f = { .at = data, .end = data + size };

    set_up(&f);
    for (int i = 0; i < OPERATIONS_MAX && f.at < f.end && !f.spoilt; i++) {
        operations[take(&f, 1) % G_N_ELEMENTS(operations)](&f);
    }
    if (!f.quiesced) {
        machine_quiesce(&f.lab.machine);
    }
    lab_done(&f.lab);
    return 0;
}
