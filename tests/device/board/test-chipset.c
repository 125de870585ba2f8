/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RTC, keyboard controller and ACPI fixed hardware through their ports. */
#include <time.h>

#include "fixture.h"
#include "hw/acpi/pm.h"
#include "hw/i386/i8042.h"
#include "hw/rtc/mc146818.h"

/* ---- RTC ---------------------------------------------------------------- */

static uint8_t cmos(Fixture *f, uint8_t index)
{
    out8(f, 0x70, index);
    return in8(f, 0x71);
}

static void set_cmos(Fixture *f, uint8_t index, uint8_t value)
{
    out8(f, 0x70, index);
    out8(f, 0x71, value);
}

static unsigned bcd(uint8_t value)
{
    g_assert_cmpuint(value & 0xf, <, 10);
    return (value >> 4) * 10 + (value & 0xf);
}

/* Seconds since 1970 as the guest computes them; retried across an update
 * as guests do. */
static int64_t rtc_seconds(Fixture *f)
{
    struct tm tm = { 0 };
    uint8_t second;

    do {
        second = cmos(f, 0);
        tm.tm_sec = bcd(second);
        tm.tm_min = bcd(cmos(f, 2));
        tm.tm_hour = bcd(cmos(f, 4));
        tm.tm_mday = bcd(cmos(f, 7));
        tm.tm_mon = bcd(cmos(f, 8)) - 1;
        tm.tm_year = bcd(cmos(f, 0x32)) * 100 + bcd(cmos(f, 9)) - 1900;
    } while (cmos(f, 0) != second);
    return timegm(&tm);
}

/* Sets the clock as Linux does. */
static void rtc_set(Fixture *f, int64_t seconds)
{
    time_t t = seconds;
    unsigned year;
    struct tm tm;

    gmtime_r(&t, &tm);
    year = tm.tm_year + 1900;
    set_cmos(f, 0x0b, 0x82);
    set_cmos(f, 0x0a, 0x70);
#define TO_BCD(v) ((v) / 10 << 4 | (v) % 10)
    set_cmos(f, 9, TO_BCD(year % 100));
    set_cmos(f, 0x32, TO_BCD(year / 100));
    set_cmos(f, 8, TO_BCD(tm.tm_mon + 1));
    set_cmos(f, 7, TO_BCD(tm.tm_mday));
    set_cmos(f, 4, TO_BCD(tm.tm_hour));
    set_cmos(f, 2, TO_BCD(tm.tm_min));
    set_cmos(f, 0, TO_BCD(tm.tm_sec));
    set_cmos(f, 0x0b, 0x02);
    set_cmos(f, 0x0a, 0x26);
}

static void test_rtc_time(void)
{
    static const int64_t offsets[] = { 0, 3600, -86400 * 365, 1 << 30 };
    Fixture f;

    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        int64_t before, got;

        fixture_init(&f, 0);
        rtc_new(&f.machine, offsets[i]);
        before = time(NULL);
        got = rtc_seconds(&f) - offsets[i];
        g_assert_cmpint(got, >=, before);
        g_assert_cmpint(got, <=, time(NULL) + 1);
        g_assert_cmphex(cmos(&f, 0x0d), ==, 0x80);
        fixture_done(&f);
    }
}

/* Every month of a leap and a common year, and the ends of centuries. */
static void test_rtc_calendar(void)
{
    static const int64_t days[] = { 0,     58,    59,    364,   789,   790,
                                    10956, 11015, 11016, 24836, 47540, 47541 };
    Fixture f;

    fixture_init(&f, 0);
    rtc_new(&f.machine, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(days); i++) {
        int64_t want = days[i] * 86400 + 45296, got;
        time_t t = want;
        struct tm tm;

        rtc_set(&f, want);
        got = rtc_seconds(&f);
        g_assert_cmpint(got - want, >=, 0);
        g_assert_cmpint(got - want, <=, 1);
        gmtime_r(&t, &tm);
        g_assert_cmpint(cmos(&f, 6), ==, tm.tm_wday + 1);
    }
    fixture_done(&f);
}

static void test_rtc_formats(void)
{
    Fixture f;

    fixture_init(&f, 0);
    rtc_new(&f.machine, 0);
    rtc_set(&f, 15 * 3600 + 7 * 60); /* 15:07:00 */
    set_cmos(&f, 0x0b, 0x06);        /* binary */
    g_assert_cmpuint(cmos(&f, 4), ==, 15);
    set_cmos(&f, 0x0b, 0x04); /* binary, 12 hours */
    g_assert_cmphex(cmos(&f, 4), ==, 0x83);
    set_cmos(&f, 0x0b, 0x00);
    g_assert_cmphex(cmos(&f, 4), ==, 0x83);
    g_assert_cmphex(cmos(&f, 2), ==, 0x07);
    set_cmos(&f, 0x0b, 0x02);
    g_assert_cmphex(cmos(&f, 4), ==, 0x15);
    fixture_done(&f);
}

/* A guest may write anything; the device goes on. */
static void test_rtc_nonsense(void)
{
    Fixture f;

    fixture_init(&f, 0);
    rtc_new(&f.machine, 0);
    for (unsigned v = 0; v < 256; v += 5) {
        for (unsigned i = 0; i < 128; i++) {
            set_cmos(&f, i, v ^ i);
        }
        for (unsigned i = 0; i < 256; i++) {
            cmos(&f, i);
        }
    }
    machine_reset(&f.machine);
    fixture_done(&f);
}

static bool irq8(Fixture *f)
{
    return f->level[RTC_IRQ];
}

static void test_rtc_interrupts(void)
{
    Fixture f;

    fixture_init(&f, 0);
    rtc_new(&f.machine, 0);
    set_cmos(&f, 0x0a, 0x2a); /* 64 Hz */
    set_cmos(&f, 0x0b, 0x42);
    cmos(&f, 0x0c);
    fixture_run_until(&f, irq8);
    g_assert_cmphex(cmos(&f, 0x0c) & 0xc0, ==, 0xc0);
    g_assert_false(irq8(&f));
    g_assert_cmphex(cmos(&f, 0x0c) & 0x80, ==, 0);
    fixture_run_until(&f, irq8);
    set_cmos(&f, 0x0b, 0x02);
    g_assert_false(irq8(&f));

    /* The end of the next update, and an alarm at any second. */
    cmos(&f, 0x0c);
    set_cmos(&f, 1, 0xff);
    set_cmos(&f, 3, 0xff);
    set_cmos(&f, 5, 0xff);
    set_cmos(&f, 0x0b, 0x32);
    fixture_run_until(&f, irq8);
    g_assert_cmphex(cmos(&f, 0x0c) & 0xb0, ==, 0xb0);
    fixture_done(&f);
}

static void test_rtc_migrate(void)
{
    g_autoptr(GByteArray) state = NULL;
    Fixture a, b;

    fixture_init(&a, 0);
    fixture_init(&b, 0);
    rtc_new(&a.machine, 0);
    rtc_new(&b.machine, 0);
    rtc_set(&a, 1000000000);
    set_cmos(&a, 0x60, 0x5a);
    state = fixture_save(fixture_device(&a, "mc146818rtc"));
    g_assert_true(fixture_load(fixture_device(&b, "mc146818rtc"), state));
    g_assert_cmpint(rtc_seconds(&b) - 1000000000, <=, 2);
    g_assert_cmpint(rtc_seconds(&b), >=, 1000000000);
    g_assert_cmphex(cmos(&b, 0x60), ==, 0x5a);
    /* The last field is 8 bytes of nanoseconds. */
    for (unsigned i = 1; i <= 8; i++) {
        state->data[state->len - i] = 0x7f;
    }
    g_assert_false(fixture_load(fixture_device(&b, "mc146818rtc"), state));
    fixture_done(&a);
    fixture_done(&b);
}

/* ---- i8042 -------------------------------------------------------------- */

static uint8_t kbd_answer(Fixture *f)
{
    g_assert_true(in8(f, 0x64) & 0x01);
    return in8(f, 0x60);
}

static void test_i8042_probe(void)
{
    Fixture f;

    fixture_init(&f, 0);
    i8042_new(&f.machine);
    g_assert_false(in8(&f, 0x64) & 0x01);
    out8(&f, 0x64, 0xaa);
    g_assert_cmphex(kbd_answer(&f), ==, 0x55);
    g_assert_false(in8(&f, 0x64) & 0x01);
    out8(&f, 0x64, 0xab);
    g_assert_cmphex(kbd_answer(&f), ==, 0x00);

    out8(&f, 0x64, 0x60); /* command byte: both interrupts */
    out8(&f, 0x60, 0x47);
    out8(&f, 0x64, 0x20);
    g_assert_true(f.level[1]);
    g_assert_cmphex(kbd_answer(&f), ==, 0x47);
    g_assert_false(f.level[1]);

    out8(&f, 0x60, 0xf2); /* identify: nobody there */
    g_assert_true(in8(&f, 0x64) & 0x40);
    g_assert_cmphex(kbd_answer(&f), ==, 0xfe);
    out8(&f, 0x64, 0xd4);
    out8(&f, 0x60, 0xf2);
    g_assert_cmphex(in8(&f, 0x64) & 0x61, ==, 0x61);
    g_assert_true(f.level[12]);
    g_assert_false(f.level[1]);
    g_assert_cmphex(kbd_answer(&f), ==, 0xfe);
    g_assert_false(f.level[12]);
    out8(&f, 0x64, 0xd3);
    out8(&f, 0x60, 0xa5);
    g_assert_cmphex(kbd_answer(&f), ==, 0xa5);
    g_assert_cmpuint(f.resets, ==, 0);
    fixture_done(&f);
}

static void test_i8042_reset_and_a20(void)
{
    Fixture f;

    fixture_init(&f, 0);
    i8042_new(&f.machine);
    out8(&f, 0x64, 0xfe);
    g_assert_cmpuint(f.resets, ==, 1);
    out8(&f, 0x64, 0xff); /* pulses nothing */
    g_assert_cmpuint(f.resets, ==, 1);
    out8(&f, 0x92, 0x02);
    g_assert_cmpuint(f.resets, ==, 1);
    g_assert_cmphex(in8(&f, 0x92), ==, 0x02);
    out8(&f, 0x92, 0x03);
    g_assert_cmpuint(f.resets, ==, 2);
    out8(&f, 0x64, 0xdd);
    g_assert_cmphex(in8(&f, 0x92), ==, 0x00);
    out8(&f, 0x64, 0xd1);
    out8(&f, 0x60, 0xdf);
    g_assert_cmphex(in8(&f, 0x92), ==, 0x02);
    out8(&f, 0x64, 0xd1);
    out8(&f, 0x60, 0xde);
    g_assert_cmpuint(f.resets, ==, 3);
    fixture_done(&f);
}

static void test_i8042_migrate(void)
{
    g_autoptr(GByteArray) state = NULL;
    Fixture a, b;

    fixture_init(&a, 0);
    fixture_init(&b, 0);
    i8042_new(&a.machine);
    i8042_new(&b.machine);
    out8(&a, 0x64, 0x60);
    out8(&a, 0x60, 0x45);
    out8(&a, 0x64, 0xaa); /* answer pending, interrupt high */
    state = fixture_save(fixture_device(&a, "i8042"));
    g_assert_true(fixture_load(fixture_device(&b, "i8042"), state));
    g_assert_true(b.level[1]);
    g_assert_cmphex(kbd_answer(&b), ==, 0x55);
    fixture_done(&a);
    fixture_done(&b);
}

/* ---- ACPI PM ------------------------------------------------------------ */

#define PM1_STS (ACPI_PM_BASE + 0)
#define PM1_EN (ACPI_PM_BASE + 2)
#define PM1_CNT (ACPI_PM_BASE + 4)
#define PM_TMR (ACPI_PM_BASE + 8)

static void test_pm_power_button(void)
{
    AcpiPm *pm;
    Fixture f;

    fixture_init(&f, 0);
    pm = acpi_pm_new(&f.machine);
    g_assert_cmphex(port_read(&f, PM1_CNT, 2), ==, 0x0001);
    acpi_pm_power_button(pm);
    g_assert_false(f.level[ACPI_SCI_GSI]); /* not enabled */
    port_write(&f, PM1_EN, 0x0120, 2);
    g_assert_true(f.level[ACPI_SCI_GSI]);
    g_assert_cmphex(port_read(&f, PM1_STS, 4), ==, 0x01200100);
    out8(&f, PM1_STS, 0xff); /* the other byte stays */
    g_assert_true(f.level[ACPI_SCI_GSI]);
    port_write(&f, PM1_STS, 0x0100, 2);
    g_assert_false(f.level[ACPI_SCI_GSI]);
    g_assert_cmphex(port_read(&f, PM1_STS, 2), ==, 0);
    fixture_done(&f);
}

static void test_pm_soft_off(void)
{
    Fixture f;

    fixture_init(&f, 0);
    acpi_pm_new(&f.machine);
    port_write(&f, PM1_CNT, 0x0000, 2); /* no SLP_EN */
    port_write(&f, PM1_CNT, 0x3401, 2); /* another type */
    g_assert_cmpuint(f.shutdowns, ==, 0);
    g_assert_cmphex(port_read(&f, PM1_CNT, 2), ==, 0x1401);
    port_write(&f, PM1_CNT, 0x2001, 2);
    g_assert_cmpuint(f.shutdowns, ==, 1);
    fixture_done(&f);
}

static void test_pm_timer(void)
{
    uint32_t first, second;
    gint64 start, elapsed;
    Fixture f;

    fixture_init(&f, 0);
    acpi_pm_new(&f.machine);
    start = g_get_monotonic_time();
    first = port_read(&f, PM_TMR, 4);
    g_usleep(20000);
    second = port_read(&f, PM_TMR, 4);
    elapsed = g_get_monotonic_time() - start;
    g_assert_cmpuint(second - first, >=, 3579545 / 50);
    g_assert_cmpuint(second - first, <=, elapsed * 3579545 / 1000000 + 4);
    g_assert_cmphex(second >> 24, ==, 0);

    machine_quiesce(&f.machine);
    first = port_read(&f, PM_TMR, 4);
    g_usleep(5000);
    g_assert_cmpuint(port_read(&f, PM_TMR, 4), ==, first); /* stands still */
    machine_resume(&f.machine);
    second = port_read(&f, PM_TMR, 4);
    g_assert_cmpuint(second - first, <, 3579545 / 2);
    fixture_done(&f);
}

/* The count goes on where it was, on another host's clock. */
static void test_pm_migrate(void)
{
    g_autoptr(GByteArray) state = NULL;
    uint32_t count;
    AcpiPm *pm;
    Fixture a, b;

    fixture_init(&a, 0);
    fixture_init(&b, 0);
    pm = acpi_pm_new(&a.machine);
    acpi_pm_new(&b.machine);
    port_write(&a, PM1_EN, 0x0100, 2);
    acpi_pm_power_button(pm);
    g_usleep(20000);
    machine_quiesce(&a.machine);
    machine_quiesce(&b.machine);
    count = port_read(&a, PM_TMR, 4);
    state = fixture_save(fixture_device(&a, "acpi-pm"));
    g_assert_true(fixture_load(fixture_device(&b, "acpi-pm"), state));
    g_assert_cmpuint(port_read(&b, PM_TMR, 4), ==, count);
    g_assert_true(b.level[ACPI_SCI_GSI]);
    g_assert_cmphex(port_read(&b, PM1_STS, 2), ==, 0x0100);
    state->data[state->len - 1] = 0xff; /* seen, its highest byte */
    state->data[state->len - 8] = 0xff; /* whichever end that is */
    g_assert_false(fixture_load(fixture_device(&b, "acpi-pm"), state));
    fixture_done(&a);
    fixture_done(&b);
}

/* The value of a 64-bit field: behind its name, and its size in 4 bytes. */
static void state_set_u64(GByteArray *state, const char *name, uint64_t value)
{
    uint8_t *at = memmem(state->data, state->len, name, strlen(name));

    g_assert_nonnull(at);
    value = GUINT64_TO_LE(value);
    memcpy(at + strlen(name) + 4, &value, sizeof(value));
}

/* A VM that has run for so many seconds: it must be able to move, too. */
static bool loads_after(uint64_t seconds)
{
    uint64_t ticks = seconds * 3579545;
    g_autoptr(GByteArray) state = NULL;
    Fixture a;
    bool ok;

    fixture_init(&a, 0);
    acpi_pm_new(&a.machine);
    machine_quiesce(&a.machine);
    state = fixture_save(fixture_device(&a, "acpi-pm"));
    state_set_u64(state, "count", ticks);
    state_set_u64(state, "seen", ticks);
    ok = fixture_load(fixture_device(&a, "acpi-pm"), state);
    if (ok) {
        machine_resume(&a.machine);
        uint32_t passed = (port_read(&a, PM_TMR, 4) - (uint32_t)ticks) &
                          0xffffff;
        g_assert_cmpuint(passed, <, 3579545 * 2); /* two seconds */
    }
    fixture_done(&a);
    return ok;
}

static void test_pm_age(void)
{
    const uint64_t year = 365 * 24 * 3600;

    g_assert_true(loads_after(43 * 60));
    g_assert_true(loads_after(44 * 60));
    g_assert_true(loads_after(year));
    g_assert_true(loads_after(100 * year));
    g_assert_false(loads_after(150 * year));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtc/time", test_rtc_time);
    g_test_add_func("/rtc/calendar", test_rtc_calendar);
    g_test_add_func("/rtc/formats", test_rtc_formats);
    g_test_add_func("/rtc/nonsense", test_rtc_nonsense);
    g_test_add_func("/rtc/interrupts", test_rtc_interrupts);
    g_test_add_func("/rtc/migrate", test_rtc_migrate);
    g_test_add_func("/i8042/probe", test_i8042_probe);
    g_test_add_func("/i8042/reset", test_i8042_reset_and_a20);
    g_test_add_func("/i8042/migrate", test_i8042_migrate);
    g_test_add_func("/pm/power-button", test_pm_power_button);
    g_test_add_func("/pm/soft-off", test_pm_soft_off);
    g_test_add_func("/pm/timer", test_pm_timer);
    g_test_add_func("/pm/migrate", test_pm_migrate);
    g_test_add_func("/pm/age", test_pm_age);
    return g_test_run();
}
