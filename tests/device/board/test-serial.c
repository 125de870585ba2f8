/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The UART through its ports, as a driver probes and uses it; debugcon and
 * debug-exit besides.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

#define COM1 0x3f8
#define COM1_IRQ 4

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static void com1_init(Fixture *f)
{
    GError *err = NULL;

    fixture_init(f, 0);
    fixture_create(f, "isa-serial,chardev=chr0", &err);
    g_assert_no_error(err);
}

static uint8_t in(Fixture *f, unsigned reg)
{
    return in8(f, COM1 + reg);
}

static void out(Fixture *f, unsigned reg, uint8_t value)
{
    out8(f, COM1 + reg, value);
}

static bool data_ready(Fixture *f)
{
    return in(f, LSR) & 1;
}

static void peer_sends(Fixture *f, const char *text)
{
    g_assert_cmpint(write(f->peer, text, strlen(text)), ==, strlen(text));
}

/* What an 8250 driver does to find out that this is a 16550A. */
static void test_probe(void)
{
    Fixture f;

    com1_init(&f);
    out(&f, IER, 0);
    g_assert_cmphex(in(&f, IER), ==, 0);
    out(&f, IER, 0xff);
    g_assert_cmphex(in(&f, IER), ==, 0x0f);
    out(&f, IER, 0);

    out(&f, MCR, 0x1a); /* loop, OUT2, RTS */
    g_assert_cmphex(in(&f, MSR) & 0xf0, ==, 0x90);
    out(&f, MCR, 0);
    g_assert_cmphex(in(&f, MSR) & 0xf0, ==, 0xb0);

    out(&f, IIR, 0x01);
    g_assert_cmphex(in(&f, IIR) >> 6, ==, 3);
    out(&f, IIR, 0x21); /* no 64-byte FIFO */
    g_assert_cmphex(in(&f, IIR) >> 5, ==, 6);
    out(&f, IIR, 0);
    g_assert_cmphex(in(&f, IIR), ==, 0x01);

    out(&f, SCR, 0xa5);
    g_assert_cmphex(in(&f, SCR), ==, 0xa5);
    out(&f, LCR, 0x83);
    out(&f, DATA, 0x34);
    out(&f, IER, 0x12);
    g_assert_cmphex(in(&f, DATA), ==, 0x34);
    g_assert_cmphex(in(&f, IER), ==, 0x12);
    out(&f, LCR, 0x03);
    g_assert_cmphex(in(&f, IER), ==, 0);
    g_assert_cmphex(in(&f, LSR), ==, 0x60);
    fixture_done(&f);
}

static void test_transmit(void)
{
    char buf[8] = { 0 };
    Fixture f;

    com1_init(&f);
    g_assert_false(f.level[COM1_IRQ]);
    out(&f, IER, 0x02); /* empty already: interrupts at once */
    g_assert_true(f.level[COM1_IRQ]);
    g_assert_cmphex(in(&f, IIR), ==, 0x02);
    g_assert_false(f.level[COM1_IRQ]); /* reading it acknowledged it */
    g_assert_cmphex(in(&f, IIR), ==, 0x01);
    out(&f, DATA, 'H');
    g_assert_true(f.level[COM1_IRQ]);
    out(&f, IER, 0);
    g_assert_false(f.level[COM1_IRQ]);
    out(&f, IER, 0x02); /* as drivers test for lost interrupts */
    g_assert_true(f.level[COM1_IRQ]);
    out(&f, DATA, 'i');
    g_assert_cmpint(read(f.peer, buf, sizeof(buf)), ==, 2);
    g_assert_cmpstr(buf, ==, "Hi");
    fixture_done(&f);
}

static void test_receive_fifo(void)
{
    char got[32] = { 0 };
    Fixture f;

    com1_init(&f);
    out(&f, IIR, 0x81); /* FIFO, trigger at 8 */
    out(&f, IER, 0x01);
    peer_sends(&f, "0123456789abcdefGHIJ");
    fixture_run_until(&f, data_ready);
    fixture_run_pending();
    g_assert_true(f.level[COM1_IRQ]);
    g_assert_cmphex(in(&f, IIR), ==, 0xc4);
    for (unsigned i = 0; i < 10; i++) {
        got[i] = in(&f, DATA);
    }
    g_assert_cmphex(in(&f, IIR), ==, 0xcc); /* below the trigger: time-out */
    for (unsigned i = 10; i < 20; i++) {
        fixture_run_pending();
        g_assert_true(data_ready(&f));
        got[i] = in(&f, DATA);
    }
    g_assert_cmpstr(got, ==, "0123456789abcdefGHIJ");
    g_assert_false(f.level[COM1_IRQ]);
    g_assert_cmphex(in(&f, LSR), ==, 0x60); /* nothing overran */
    fixture_done(&f);
}

static void test_receive_without_fifo(void)
{
    Fixture f;

    com1_init(&f);
    peer_sends(&f, "ab");
    fixture_run_until(&f, data_ready);
    fixture_run_pending();
    g_assert_cmphex(in(&f, DATA), ==, 'a');
    fixture_run_until(&f, data_ready);
    g_assert_cmphex(in(&f, DATA), ==, 'b');
    g_assert_false(data_ready(&f));
    fixture_done(&f);
}

static void test_loopback(void)
{
    struct pollfd p;
    Fixture f;

    com1_init(&f);
    out(&f, MCR, 0x10);
    out(&f, IER, 0x05);
    out(&f, DATA, 'x');
    g_assert_true(f.level[COM1_IRQ]);
    out(&f, DATA, 'y'); /* no FIFO: overruns */
    g_assert_cmphex(in(&f, IIR), ==, 0x06);
    g_assert_cmphex(in(&f, LSR), ==, 0x63);
    g_assert_cmphex(in(&f, LSR), ==, 0x61); /* reading cleared it */
    g_assert_cmphex(in(&f, DATA), ==, 'x');
    p = (struct pollfd){ f.peer, POLLIN, 0 };
    g_assert_cmpint(poll(&p, 1, 0), ==, 0); /* nothing left the chip */

    in(&f, MSR);
    out(&f, MCR, 0x14); /* OUT1 drives RI */
    g_assert_cmphex(in(&f, MSR), ==, 0x40);
    out(&f, IER, 0x08);
    out(&f, MCR, 0x10);
    g_assert_true(f.level[COM1_IRQ]);
    g_assert_cmphex(in(&f, IIR), ==, 0x00);
    g_assert_cmphex(in(&f, MSR), ==, 0x04); /* its trailing edge */
    g_assert_false(f.level[COM1_IRQ]);
    fixture_done(&f);
}

static void test_quiesced_takes_no_input(void)
{
    Fixture f;

    com1_init(&f);
    machine_quiesce(&f.machine);
    peer_sends(&f, "z");
    fixture_run_pending();
    g_assert_false(data_ready(&f));
    machine_resume(&f.machine);
    fixture_run_until(&f, data_ready);
    fixture_done(&f);
}

static void test_migrate(void)
{
    g_autoptr(GByteArray) state = NULL;
    Fixture a, b;

    com1_init(&a);
    com1_init(&b);
    out(&a, IIR, 0x01);
    out(&a, IER, 0x01);
    out(&a, SCR, 0x77);
    peer_sends(&a, "migrate");
    fixture_run_until(&a, data_ready);
    fixture_run_pending();
    state = fixture_save(fixture_device(&a, "isa-serial"));
    g_assert_true(fixture_load(fixture_device(&b, "isa-serial"), state));
    g_assert_true(b.level[COM1_IRQ]);
    g_assert_cmphex(in(&b, SCR), ==, 0x77);
    for (const char *c = "migrate"; *c; c++) {
        g_assert_cmphex(in(&b, DATA), ==, *c);
    }
    g_assert_false(data_ready(&b));
    g_assert_false(b.level[COM1_IRQ]);

    /* A byte beyond the FIFO would be read: refused. rx_count is the last
     * byte of the last field. */
    state->data[state->len - 1] = 17;
    g_assert_false(fixture_load(fixture_device(&b, "isa-serial"), state));
    fixture_done(&a);
    fixture_done(&b);
}

static void test_reset(void)
{
    Fixture f;

    com1_init(&f);
    out(&f, IER, 0x02);
    g_assert_true(f.level[COM1_IRQ]);
    out(&f, SCR, 1);
    machine_reset(&f.machine);
    g_assert_false(f.level[COM1_IRQ]);
    g_assert_cmphex(in(&f, SCR), ==, 0);
    g_assert_cmphex(in(&f, IER), ==, 0);
    fixture_done(&f);
}

static void refuse(Fixture *f, const char *text, const char *why)
{
    GError *err = NULL;

    g_assert_false(fixture_create(f, text, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, why)) {
        g_test_message("'%s' gave '%s'", text, err->message);
        g_test_fail();
    }
    g_clear_error(&err);
}

static void test_device_options(void)
{
    GError *err = NULL;
    Fixture f;

    fixture_init(&f, 0);
    refuse(&f, "isa-serial", "empty char device");
    refuse(&f, "isa-serial,chardev=nope", "nope");
    refuse(&f, "isa-serial,chardev=chr0,index=4", "4");
    refuse(&f, "isa-serial,chardev=chr0,iobase=0x10000", "iobase");
    refuse(&f, "isa-serial,chardev=chr0,iobase=0xfff9", "0xfff9");
    refuse(&f, "isa-serial,chardev=chr0,irq=16", "irq");
    refuse(&f, "isa-debugcon", "empty char device");
    refuse(&f, "isa-debug-exit,iosize=0", "iosize");
    refuse(&f, "isa-debug-exit,iosize=5", "iosize");
    g_assert_cmpuint(f.machine.devices->len, ==, 0);
    fixture_create(&f, "isa-serial,chardev=chr0,index=1,id=com", &err);
    g_assert_no_error(err);
    g_assert_cmphex(in8(&f, 0x2f8 + LSR), ==, 0x60);
    g_assert_cmphex(in8(&f, COM1 + LSR), ==, 0xff);
    refuse(&f, "isa-serial,chardev=chr0,index=2", "in use"); /* chardev */
    refuse(&f, "isa-debugcon,chardev=chr0,iobase=0x2fa", "0x2fa");
    g_assert_cmpuint(f.machine.devices->len, ==, 1);
    fixture_done(&f);
}

static void test_debugcon(void)
{
    char buf[8] = { 0 };
    GError *err = NULL;
    Fixture f;

    fixture_init(&f, 0);
    fixture_create(&f, "isa-debugcon,chardev=chr0", &err);
    g_assert_no_error(err);
    g_assert_cmphex(in8(&f, 0xe9), ==, 0xe9);
    out8(&f, 0xe9, 'o');
    out8(&f, 0xe9, 'k');
    g_assert_cmpint(read(f.peer, buf, sizeof(buf)), ==, 2);
    g_assert_cmpstr(buf, ==, "ok");
    fixture_done(&f);

    fixture_init(&f, 0);
    fixture_create(&f, "isa-debugcon,chardev=chr0,iobase=0x402,readback=0x5a",
                   &err);
    g_assert_no_error(err);
    g_assert_cmphex(in8(&f, 0x402), ==, 0x5a);
    g_assert_cmphex(in8(&f, 0xe9), ==, 0xff);
    fixture_done(&f);
}

static void test_debug_exit(void)
{
    GError *err = NULL;
    Fixture f;

    fixture_init(&f, 0);
    fixture_create(&f, "isa-debug-exit", &err);
    g_assert_no_error(err);
    port_write(&f, 0x501, 0x21, 1);
    g_assert_cmpuint(f.debug_exits, ==, 1);
    g_assert_cmpint(f.debug_exit_status, ==, 0x43);
    fixture_done(&f);

    fixture_init(&f, 0);
    fixture_create(&f, "isa-debug-exit,iobase=0xf4,iosize=0x04", &err);
    g_assert_no_error(err);
    port_write(&f, 0xf4, 0, 4);
    g_assert_cmpint(f.debug_exit_status, ==, 1);
    fixture_done(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/serial/probe", test_probe);
    g_test_add_func("/serial/transmit", test_transmit);
    g_test_add_func("/serial/receive-fifo", test_receive_fifo);
    g_test_add_func("/serial/receive", test_receive_without_fifo);
    g_test_add_func("/serial/loopback", test_loopback);
    g_test_add_func("/serial/quiesced", test_quiesced_takes_no_input);
    g_test_add_func("/serial/migrate", test_migrate);
    g_test_add_func("/serial/reset", test_reset);
    g_test_add_func("/serial/options", test_device_options);
    g_test_add_func("/debugcon", test_debugcon);
    g_test_add_func("/debug-exit", test_debug_exit);
    return g_test_run();
}
