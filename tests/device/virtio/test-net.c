/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net-pci and virtio-rng-pci.
 *
 * How: the card's other end is -netdev user; the guest asks for the host's
 * hardware address by ARP and libslirp answers, so each packet sent comes
 * back as one received.
 */
#include <string.h>

#include "driver.h"
#include "migration/vmstate-io.h"
#include "net/net.h"

#define RX_AT UINT64_C(0x400000)
#define TX_AT UINT64_C(0x600000)
#define HEADER_BYTES 12
#define ARP_BYTES 42
#define F_MRG_RXBUF (UINT64_C(1) << 15)
enum { RX = 0, TX = 1 };

static void net_new(Lab *lab, Driver *d, const char *options,
                    uint64_t features)
{
    GError *err = NULL;
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-netdev", "user,id=n0", "type",
                                             &err);

    lab_init(lab, false, true);
    lab->netdev = net_backend_new(kv, &err);
    g_assert_no_error(err);
    driver_init(d, lab, lab_device(lab, "virtio-net-pci", options), true);
    driver_start(d, features, 2);
}

/* "Who has 10.0.2.2? Tell 10.0.2.15." */
static void put_arp(Lab *lab, uint64_t at)
{
    static const uint8_t arp[ARP_BYTES] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56,
        0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1,
        0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15,
        0, 0, 0, 0, 0, 0, 10, 0, 2, 2,
    };

    memset(lab->mem + at, 0, HEADER_BYTES);
    memcpy(lab->mem + at + HEADER_BYTES, arp, sizeof(arp));
}

static void send_arp(Driver *d)
{
    const Buf buf = { TX_AT, HEADER_BYTES + ARP_BYTES, false };
    uint32_t id, len;

    put_arp(d->lab, TX_AT);
    driver_add(d, TX, &buf, 1);
    driver_kick(d, TX);
    g_assert_true(driver_wait_used(d, TX, &id, &len));
    g_assert_cmpuint(len, ==, 0);
}

static void offer_rx(Driver *d, unsigned n, uint32_t bytes)
{
    const Buf buf = { RX_AT + n * 0x1000, bytes, true };

    driver_add(d, RX, &buf, 1);
    driver_kick(d, RX);
}

static void assert_reply(const uint8_t *frame)
{
    static const uint8_t start[] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

    g_assert_cmpmem(frame, 6, start, 6);
    g_assert_cmpmem(frame + 12, 2, "\x08\x06", 2);
    g_assert_cmpuint(frame[21], ==, 2); /* a reply */
    g_assert_cmpmem(frame + 28, 4, "\x0a\x00\x02\x02", 4);
}

static void test_mac(void)
{
    uint8_t mac[6];
    Driver d;
    Lab lab;

    net_new(&lab, &d, "netdev=n0", 0);
    for (int i = 0; i < 6; i++) {
        mac[i] = lab_read(&lab, d.bar + 0x2000 + i, 1);
    }
    g_assert_cmpmem(mac, 6, "\x52\x54\x00\x12\x34\x56", 6);
    g_assert_cmpuint(lab_read(&lab, d.bar + 0x2006, 2), ==, 1); /* link */
    lab_done(&lab);
    net_new(&lab, &d, "netdev=n0,mac=02:00:00:00:be:ef,csum=off", 0);
    g_assert_cmphex(lab_read(&lab, d.bar + 0x2004, 2), ==, 0xefbe);
    lab_done(&lab);
}

static void test_exchange(gconstpointer features)
{
    uint32_t id, len;
    Driver d;
    Lab lab;

    net_new(&lab, &d, "netdev=n0", GPOINTER_TO_SIZE(features));
    offer_rx(&d, 0, 2048);
    send_arp(&d);
    g_assert_true(driver_wait_used(&d, RX, &id, &len));
    g_assert_cmpuint(len, >=, HEADER_BYTES + ARP_BYTES);
    g_assert_cmpuint(mem_get(&lab, RX_AT + 10, 2), ==, 1);
    assert_reply(lab.mem + RX_AT + HEADER_BYTES);
    g_assert_cmpuint(lab.msi_count[1], ==, 1);
    lab_done(&lab);
}

/* A packet that comes while there are no buffers waits for the next kick. */
static void test_no_buffers(void)
{
    uint32_t id, len;
    Driver d;
    Lab lab;

    net_new(&lab, &d, "netdev=n0", 0);
    send_arp(&d);
    lab_run_io(&lab);
    g_assert_cmpuint(ring_used_index(&d, RX), ==, 0);
    offer_rx(&d, 0, 2048);
    g_assert_true(driver_wait_used(&d, RX, &id, &len));
    assert_reply(lab.mem + RX_AT + HEADER_BYTES);
    lab_done(&lab);
}

/* Mergeable: small buffers are joined, but only when there are enough. */
static void test_mergeable(void)
{
    uint8_t frame[HEADER_BYTES + 64];
    uint32_t id, len, done = 0;
    unsigned buffers;
    Driver d;
    Lab lab;

    net_new(&lab, &d, "netdev=n0", F_MRG_RXBUF);
    offer_rx(&d, 0, 20);
    send_arp(&d);
    lab_run_io(&lab);
    g_assert_cmpuint(ring_used_index(&d, RX), ==, 0);
    for (unsigned i = 1; i < 8; i++) {
        offer_rx(&d, i, 20);
    }
    g_assert_true(driver_wait_used(&d, RX, &id, &len));
    buffers = mem_get(&lab, RX_AT + 10, 2);
    g_assert_cmpuint(buffers, >, 1);
    for (unsigned i = 0; i < buffers && done < sizeof(frame); i++) {
        uint32_t n = MIN(len, sizeof(frame) - done);

        g_assert_cmpuint(id, ==, i);
        memcpy(frame + done, lab.mem + RX_AT + i * 0x1000, n);
        done += n;
        if (i + 1 < buffers) {
            g_assert_true(driver_wait_used(&d, RX, &id, &len));
        }
    }
    assert_reply(frame + HEADER_BYTES);
    g_assert_cmpuint(ring_used_index(&d, RX), ==, buffers);
    lab_done(&lab);
}

/* Without mergeable buffers a packet that does not fit is dropped. */
static void test_too_small(void)
{
    uint32_t id, len;
    Driver d;
    Lab lab;

    net_new(&lab, &d, "netdev=n0", 0);
    offer_rx(&d, 0, 20);
    send_arp(&d);
    lab_run_io(&lab);
    g_assert_cmpuint(ring_used_index(&d, RX), ==, 0);
    g_assert_cmphex(driver_status(&d), ==, 0xf);
    send_arp(&d);
    g_assert_false(driver_poll_used(&d, RX, &id, &len));
    lab_done(&lab);
}

static void test_hostile(void)
{
    static const Buf cases[][2] = {
        { { TX_AT, 11, false } },                   /* no header */
        { { UINT64_C(1) << 40, 100, false } },      /* not RAM */
    };
    static const Buf receive[] = {
        { RX_AT, 5, true },                  /* no room for the header */
        { LAB_RAM_BYTES - 16, 2048, true },  /* runs out of RAM */
        { RX_AT, 100, false },               /* not writable */
    };
    Driver d;
    Lab lab;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        net_new(&lab, &d, "netdev=n0", F_MRG_RXBUF);
        driver_add(&d, TX, cases[i], 1);
        driver_kick(&d, TX);
        lab_run_io(&lab);
        g_assert_cmphex(driver_status(&d), ==, 0x4f);
        lab_done(&lab);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(receive); i++) {
        net_new(&lab, &d, "netdev=n0", F_MRG_RXBUF);
        driver_add(&d, RX, &receive[i], 1);
        send_arp(&d);
        lab_run_io(&lab);
        g_assert_cmphex(driver_status(&d), ==, 0x4f);
        g_assert_cmpuint(ring_used_index(&d, RX), ==, 0);
        driver_reset(&d);
        driver_start(&d, 0, 2);
        offer_rx(&d, 0, 2048);
        send_arp(&d);
        lab_run_io(&lab);
        g_assert_cmpuint(ring_used_index(&d, RX), >, 0);
        lab_done(&lab);
    }
}

/* No packet reaches a paused card, nor a loaded one before it resumes. */
static void test_pause_and_migrate(void)
{
    g_autoptr(GByteArray) state = g_byte_array_new();
    GError *err = NULL;
    uint32_t id, len;
    Lab lab, to;
    Driver d, d2;
    PciDevice *pci;

    net_new(&lab, &d, "netdev=n0,mac=52:54:00:12:34:56", 0);
    pci = pci_bus_get_device(lab.machine.pci, d.devfn);
    offer_rx(&d, 0, 2048);
    offer_rx(&d, 1, 2048);
    send_arp(&d);
    machine_quiesce(&lab.machine);
    len = ring_used_index(&d, RX);
    lab_run_io(&lab);
    g_assert_cmpuint(ring_used_index(&d, RX), ==, len);
    g_assert_true(vmstate_save(pci->dev.vmsd, pci, 1 << 20, state, &err));
    machine_resume(&lab.machine);
    g_assert_true(driver_wait_used(&d, RX, &id, &len));

    net_new(&to, &d2, "netdev=n0,mac=52:54:00:99:99:99", 0);
    driver_reset(&d2);
    pci = pci_bus_get_device(to.machine.pci, d2.devfn);
    machine_quiesce(&to.machine);
    g_assert_true(vmstate_load(pci->dev.vmsd, pci, 1, state->data, state->len,
                               &err));
    memcpy(to.mem, lab.mem, LAB_RAM_BYTES);
    /* The rings as they were when the state was saved: nothing received. */
    memset(to.mem + d.ring[RX].used, 0, 4);
    machine_resume(&to.machine);
    g_assert_cmphex(lab_read(&to, d.bar + 0x2004, 2), ==, 0x5634);
    d.lab = &to;
    d.ring[RX].used_seen = 0;
    send_arp(&d);
    g_assert_true(driver_wait_used(&d, RX, &id, &len));
    assert_reply(to.mem + RX_AT + HEADER_BYTES);
    lab_done(&to);
    lab_done(&lab);
}

static void test_properties(void)
{
    static const struct {
        const char *options, *why;
    } bad[] = {
        { "mac=52:54:00:12:34:56", "netdev property not set" },
        { "netdev=n9", "no netdev 'n9'" },
        { "netdev=n0,mac=52:54:00:12:34", "bad mac" },
        { "netdev=n0,mac=52:54:00:12:34:5g", "bad mac" },
        { "netdev=n0,mac=52:54:00:12:34:567", "bad mac" },
        { "netdev=n0,mac=01:00:00:00:00:01", "multicast" },
        { "netdev=n0,csum=on", "csum=on is not supported" },
        { "netdev=n0,rx_queue_size=100", "rx_queue_size" },
        { "netdev=n0", "in use" },
    };
    Driver d;
    Lab lab;

    net_new(&lab, &d, "netdev=n0", 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;

        g_assert_false(lab_try_device(&lab, "virtio-net-pci", bad[i].options,
                                      &err));
        if (!strstr(err->message, bad[i].why)) {
            g_error("%s: '%s'", bad[i].options, err->message);
        }
        g_error_free(err);
    }
    lab_done(&lab);
}

/* ---- virtio-rng -------------------------------------------------------- */

static void rng_new(Lab *lab, Driver *d, const char *options)
{
    lab_init(lab, false, true);
    lab->rng = "/dev/zero";
    driver_init(d, lab, lab_device(lab, "virtio-rng-pci", options), true);
    driver_start(d, 0, 1);
}

static void test_rng(void)
{
    const Buf bufs[] = { { RX_AT, 100, true }, { RX_AT + 4096, 5000, true } };
    uint32_t id, len;
    unsigned zeroes = 0;
    Driver d;
    Lab lab;

    rng_new(&lab, &d, "");
    driver_add(&d, 0, bufs, 2);
    driver_kick(&d, 0);
    g_assert_true(driver_wait_used(&d, 0, &id, &len));
    g_assert_cmpuint(len, ==, 5100);
    for (unsigned i = 0; i < 5000; i++) {
        zeroes += lab.mem[RX_AT + 4096 + i] == 0;
    }
    g_assert_cmpuint(zeroes, <, 200); /* 20 are expected */
    g_assert_cmpuint(lab.msi_count[1], ==, 1);
    lab_done(&lab);

    rng_new(&lab, &d, "rng=r0");
    memset(lab.mem + RX_AT, 0xff, 100);
    driver_add(&d, 0, bufs, 1);
    driver_kick(&d, 0);
    g_assert_true(driver_wait_used(&d, 0, &id, &len));
    g_assert_cmpuint(mem_get(&lab, RX_AT + 92, 8), ==, 0); /* /dev/zero's */
    lab_done(&lab);
}

/* 64 bytes in each 50 ms, not more. */
static void test_rng_limit(void)
{
    const Buf buf = { RX_AT, 100, true };
    gint64 start, ms;
    uint32_t id, len, sum = 0;
    Driver d;
    Lab lab;

    rng_new(&lab, &d, "max-bytes=64,period=50");
    start = g_get_monotonic_time();
    for (int i = 0; i < 3; i++) {
        driver_add(&d, 0, &buf, 1);
        driver_kick(&d, 0);
        g_assert_true(driver_wait_used(&d, 0, &id, &len));
        sum += len;
    }
    ms = (g_get_monotonic_time() - start) / 1000;
    g_assert_cmpuint(sum, ==, 192);
    g_assert_cmpint(ms, >=, 99);
    lab_done(&lab);
}

static void test_rng_hostile(void)
{
    static const Buf cases[] = {
        { RX_AT, 100, false }, { UINT64_C(1) << 50, 100, true },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Driver d;
        Lab lab;

        rng_new(&lab, &d, "");
        driver_add(&d, 0, &cases[i], 1);
        driver_kick(&d, 0);
        lab_run_io(&lab);
        g_assert_cmphex(driver_status(&d), ==, 0x4f);
        lab_done(&lab);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-net/mac", test_mac);
    g_test_add_data_func("/virtio-net/exchange", NULL, test_exchange);
    g_test_add_data_func("/virtio-net/exchange-mergeable",
                         GSIZE_TO_POINTER(F_MRG_RXBUF), test_exchange);
    g_test_add_data_func("/virtio-net/exchange-event-index",
                         GSIZE_TO_POINTER(VIRTIO_F_EVENT_IDX |
                                          F_MRG_RXBUF), test_exchange);
    g_test_add_func("/virtio-net/no-buffers", test_no_buffers);
    g_test_add_func("/virtio-net/mergeable", test_mergeable);
    g_test_add_func("/virtio-net/too-small", test_too_small);
    g_test_add_func("/virtio-net/hostile", test_hostile);
    g_test_add_func("/virtio-net/pause-and-migrate", test_pause_and_migrate);
    g_test_add_func("/virtio-net/properties", test_properties);
    g_test_add_func("/virtio-rng/bytes", test_rng);
    g_test_add_func("/virtio-rng/limit", test_rng_limit);
    g_test_add_func("/virtio-rng/hostile", test_rng_hostile);
    return g_test_run();
}
