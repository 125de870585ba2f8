/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MC146818 real-time clock and its CMOS RAM.
 *
 * Registers as in the MC146818A data sheet (Motorola, 1984). The time is
 * not counted: it is the host's real-time clock plus an offset, turned into
 * registers when the guest reads them, so nothing ticks for an idle guest.
 *
 * Invariants:
 *   (1) While the clock runs (SET clear, divider 010b), offset says what time
 *       it is; while it stands, cmos[] does.
 *   (2) Flags in register C are up to date as of checked; rtc_catch_up()
 *       moves checked on.
 *   (3) IRQ 8 is high iff register C has IRQF, iff an enabled flag is set.
 *   (4) The timer is armed for the next event whose interrupt is enabled and
 *       whose flag is clear; never while quiesced.
 *
 * Threads: registers by vCPUs, timer by the I/O thread, under dev.lock.
 */
#include "hw/rtc/mc146818.h"

#include <errno.h>
#include <string.h>

#include "hw/core/device-timer.h"
#include "util/clock.h"

#define RTC_PORT 0x70
#define RTC_CMOS_BYTES 128
#define RTC_DAY_S 86400
/* Years 0 to 9999 and host clocks fit many times. */
#define RTC_OFFSET_MAX_S INT64_C(1000000000000)
/* Register A's UIP rises this long before the update. */
#define RTC_UIP_NS 244140

enum {
    REG_SECONDS = 0x00,
    REG_SECONDS_ALARM = 0x01,
    REG_MINUTES = 0x02,
    REG_MINUTES_ALARM = 0x03,
    REG_HOURS = 0x04,
    REG_HOURS_ALARM = 0x05,
    REG_WEEKDAY = 0x06,
    REG_DAY = 0x07,
    REG_MONTH = 0x08,
    REG_YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    REG_CMOS_FIRST = 0x0e,
};
enum {
    A_UIP = 0x80,
    A_DIVIDER = 0x70,
    A_DIVIDER_32K = 0x20,
    A_RATE = 0x0f,
    B_SET = 0x80,
    B_UPDATE = 0x10,
    B_ENABLES = 0x70, /* PIE, AIE, UIE; C's flags sit at the same bits */
    B_BINARY = 0x04,
    B_24H = 0x02,
    C_IRQF = 0x80,
    C_PERIODIC = 0x40,
    C_ALARM = 0x20,
    C_UPDATE = 0x10,
    D_VALID = 0x80,
    ALARM_ANY = 0xc0,
    HOUR_PM = 0x80,
};

/* ns is below 10^9 and not negative. */
typedef struct RtcTime {
    int64_t s;
    int64_t ns;
} RtcTime;

struct Rtc {
    Device dev;

    /* Immutable. */
    IoRegion region;
    IrqLine *line;
    unsigned line_source;
    DeviceTimer *timer;

    /* Protected by dev.lock. */
    uint8_t index;
    uint8_t cmos[RTC_CMOS_BYTES];
    int64_t offset_s, offset_ns; /* (1); an RtcTime */
    int64_t checked_s, checked_ns; /* (2); an RtcTime */
    bool quiesced;
};

/* ---- Time --------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    return a - floor_div(a, b) * b;
}

static RtcTime rtc_host_time(void)
{
    int64_t ns = vm_clock_real_ns();

    return (RtcTime){ floor_div(ns, VM_NS_PER_SEC),
                      floor_mod(ns, VM_NS_PER_SEC) };
}

static RtcTime rtc_now(const Rtc *r)
{
    RtcTime t = rtc_host_time();

    t.s += r->offset_s;
    t.ns += r->offset_ns;
    if (t.ns >= VM_NS_PER_SEC) {
        t.ns -= VM_NS_PER_SEC;
        t.s++;
    }
    return t;
}

static void rtc_set_now(Rtc *r, RtcTime t)
{
    RtcTime host = rtc_host_time();

    r->offset_s = t.s - host.s;
    r->offset_ns = t.ns - host.ns;
    if (r->offset_ns < 0) {
        r->offset_ns += VM_NS_PER_SEC;
        r->offset_s--;
    }
    r->checked_s = t.s;
    r->checked_ns = t.ns;
}

static bool rtc_divider_runs(const Rtc *r)
{
    return (r->cmos[REG_A] & A_DIVIDER) == A_DIVIDER_32K;
}

static bool rtc_runs(const Rtc *r)
{
    return rtc_divider_runs(r) && !(r->cmos[REG_B] & B_SET);
}

/* ---- Registers and calendar --------------------------------------------- */

static uint8_t rtc_encode(const Rtc *r, unsigned value)
{
    return (r->cmos[REG_B] & B_BINARY) ? value
                                       : (value / 10) << 4 | value % 10;
}

static unsigned rtc_decode(const Rtc *r, uint8_t value)
{
    return (r->cmos[REG_B] & B_BINARY) ? value
                                       : (value >> 4) * 10u + (value & 0xf);
}

static uint8_t rtc_encode_hour(const Rtc *r, unsigned hour)
{
    if (r->cmos[REG_B] & B_24H) {
        return rtc_encode(r, hour);
    }
    return rtc_encode(r, hour % 12 == 0 ? 12 : hour % 12) |
           (hour >= 12 ? HOUR_PM : 0);
}

static unsigned rtc_decode_hour(const Rtc *r, uint8_t value)
{
    if (r->cmos[REG_B] & B_24H) {
        return rtc_decode(r, value);
    }
    return rtc_decode(r, value & ~HOUR_PM) % 12 +
           ((value & HOUR_PM) ? 12 : 0);
}

/*
 * Days since 1970-01-01 of a Gregorian date. Years begin in March here, so
 * that the leap day is the last one; 400 years have 146097 days.
 */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    int64_t y = year - (month <= 2);
    int64_t m = (month + 9) % 12;

    return y * 365 + floor_div(y, 4) - floor_div(y, 100) +
           floor_div(y, 400) + (m * 153 + 2) / 5 + day - 1 - 719468;
}

static void date_from_days(int64_t days, int64_t *ret_year,
                           unsigned *ret_month, unsigned *ret_day)
{
    int64_t d = days + 719468;
    int64_t year = floor_div(d * 400, 146097) - 1;
    unsigned month;

    /* The estimate is at most a year or two low. */
    while (days_from_date(year + 1, 3, 1) <= days) {
        year++;
    }
    d = days - days_from_date(year, 3, 1);
    month = (d * 5 + 2) / 153;
    *ret_day = d - (month * 153 + 2) / 5 + 1;
    *ret_month = month < 10 ? month + 3 : month - 9;
    *ret_year = year + (month >= 10);
}

/* Registers 0 to 9 and the century, from the running clock. */
static void rtc_refresh(Rtc *r)
{
    int64_t now = rtc_now(r).s;
    int64_t days = floor_div(now, RTC_DAY_S);
    unsigned second = floor_mod(now, RTC_DAY_S);
    unsigned month, day;
    int64_t year;

    date_from_days(days, &year, &month, &day);
    r->cmos[REG_SECONDS] = rtc_encode(r, second % 60);
    r->cmos[REG_MINUTES] = rtc_encode(r, second / 60 % 60);
    r->cmos[REG_HOURS] = rtc_encode_hour(r, second / 3600);
    /* 1970-01-01 was a Thursday; Sunday is 1. */
    r->cmos[REG_WEEKDAY] = rtc_encode(r, floor_mod(days + 4, 7) + 1);
    r->cmos[REG_DAY] = rtc_encode(r, day);
    r->cmos[REG_MONTH] = rtc_encode(r, month);
    r->cmos[REG_YEAR] = rtc_encode(r, floor_mod(year, 100));
    r->cmos[RTC_CMOS_CENTURY] =
        rtc_encode(r, floor_mod(floor_div(year, 100), 100));
}

/* The guest may have written anything: the sum is taken, not checked. */
static int64_t rtc_registers_to_seconds(const Rtc *r)
{
    int64_t year = rtc_decode(r, r->cmos[RTC_CMOS_CENTURY]) * 100 +
                   rtc_decode(r, r->cmos[REG_YEAR]);
    int64_t days = days_from_date(year, rtc_decode(r, r->cmos[REG_MONTH]),
                                  rtc_decode(r, r->cmos[REG_DAY]));

    return days * RTC_DAY_S + rtc_decode_hour(r, r->cmos[REG_HOURS]) * 3600 +
           rtc_decode(r, r->cmos[REG_MINUTES]) * 60 +
           rtc_decode(r, r->cmos[REG_SECONDS]);
}

/* ---- Events ------------------------------------------------------------- */

static void rtc_update_irq(Rtc *r)
{
    bool level = r->cmos[REG_C] & r->cmos[REG_B] & B_ENABLES;

    r->cmos[REG_C] = (r->cmos[REG_C] & ~C_IRQF) | (level ? C_IRQF : 0);
    irq_line_set(r->line, r->line_source, level); /* (3) */
}

/* Periodic interrupts a second (data sheet, table 5); 0: none. */
static unsigned rtc_periodic_hz(const Rtc *r)
{
    unsigned rate = r->cmos[REG_A] & A_RATE;

    if (rate == 0 || !rtc_divider_runs(r)) {
        return 0;
    }
    return rate <= 2 ? 512u >> rate : 32768u >> (rate - 1);
}

static int64_t rtc_periodic_tick(RtcTime t, unsigned hz)
{
    return t.s * hz + t.ns * hz / VM_NS_PER_SEC;
}

static bool rtc_alarm_field(uint8_t alarm, uint8_t now)
{
    return (alarm & ALARM_ANY) == ALARM_ANY || alarm == now;
}

static bool rtc_alarm_matches(const Rtc *r, int64_t second)
{
    unsigned s = floor_mod(second, RTC_DAY_S);

    return rtc_alarm_field(r->cmos[REG_SECONDS_ALARM],
                           rtc_encode(r, s % 60)) &&
           rtc_alarm_field(r->cmos[REG_MINUTES_ALARM],
                           rtc_encode(r, s / 60 % 60)) &&
           rtc_alarm_field(r->cmos[REG_HOURS_ALARM],
                           rtc_encode_hour(r, s / 3600));
}

/* First second in [first, last] with an alarm, or last + 1. The alarm has no
 * date: a day tells all. */
static int64_t rtc_find_alarm(const Rtc *r, int64_t first, int64_t last)
{
    int64_t end = MIN(last, first + RTC_DAY_S - 1);

    for (int64_t s = first; s <= end; s++) {
        if (rtc_alarm_matches(r, s)) {
            return s;
        }
    }
    return last + 1;
}

static void rtc_catch_up(Rtc *r)
{
    RtcTime now = rtc_now(r);
    RtcTime then = { r->checked_s, r->checked_ns };
    unsigned hz = rtc_periodic_hz(r);

    r->checked_s = now.s;
    r->checked_ns = now.ns;
    /* The host's clock may be set back; nothing has happened then. */
    if (hz && rtc_periodic_tick(now, hz) > rtc_periodic_tick(then, hz)) {
        r->cmos[REG_C] |= C_PERIODIC;
    }
    if (rtc_runs(r) && now.s > then.s) {
        r->cmos[REG_C] |= C_UPDATE;
        if (rtc_find_alarm(r, then.s + 1, now.s) <= now.s) {
            r->cmos[REG_C] |= C_ALARM;
        }
    }
    rtc_update_irq(r);
}

/* Nanoseconds from now to the next enabled event, or -1. */
static int64_t rtc_next_event(const Rtc *r, RtcTime now)
{
    uint8_t wanted = r->cmos[REG_B] & ~r->cmos[REG_C] & B_ENABLES;
    unsigned hz = rtc_periodic_hz(r);
    int64_t next = -1;

    if (rtc_runs(r) && (wanted & C_ALARM)) {
        int64_t s = rtc_find_alarm(r, now.s + 1, now.s + RTC_DAY_S);

        if (s <= now.s + RTC_DAY_S) {
            next = (s - now.s) * VM_NS_PER_SEC - now.ns;
        }
    }
    if (rtc_runs(r) && (wanted & C_UPDATE)) {
        next = VM_NS_PER_SEC - now.ns;
    }
    if (hz && (wanted & C_PERIODIC)) {
        int64_t period = VM_NS_PER_SEC / hz;
        int64_t to_tick = period - now.ns % period;

        next = next < 0 ? to_tick : MIN(next, to_tick);
    }
    return next;
}

/* (2), (3), (4) */
static void rtc_update(Rtc *r)
{
    int64_t next;

    rtc_catch_up(r);
    next = rtc_next_event(r, (RtcTime){ r->checked_s, r->checked_ns });
    if (next < 0 || r->quiesced) {
        device_timer_disarm(r->timer);
    } else {
        device_timer_arm(r->timer, vm_clock_ns() + next);
    }
}

static void rtc_timer(Device *dev)
{
    Rtc *r = (Rtc *)dev;

    if (!r->quiesced) {
        rtc_update(r);
    }
}

/* ---- Ports -------------------------------------------------------------- */

static bool rtc_is_time(unsigned index)
{
    return index == REG_SECONDS || index == REG_MINUTES ||
           index == REG_HOURS || (index >= REG_WEEKDAY && index <= REG_YEAR) ||
           index == RTC_CMOS_CENTURY;
}

static uint8_t rtc_read_a(const Rtc *r)
{
    bool soon = rtc_runs(r) && rtc_now(r).ns >= VM_NS_PER_SEC - RTC_UIP_NS;

    return r->cmos[REG_A] | (soon ? A_UIP : 0);
}

static uint8_t rtc_read_register(Rtc *r)
{
    uint8_t value;

    if (rtc_is_time(r->index) && rtc_runs(r)) {
        rtc_refresh(r);
    }
    switch (r->index) {
    case REG_A:
        return rtc_read_a(r);
    case REG_C:
        rtc_catch_up(r);
        value = r->cmos[REG_C];
        r->cmos[REG_C] = 0;
        rtc_update(r);
        return value;
    default:
        return r->cmos[r->index];
    }
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    return offset == 0 ? 0xff : rtc_read_register(opaque);
}

/* A or B: the clock may stop or go on. */
static void rtc_write_control(Rtc *r, uint8_t value)
{
    bool ran = rtc_runs(r);

    rtc_catch_up(r);
    if (ran) {
        rtc_refresh(r);
    }
    if (r->index == REG_A) {
        r->cmos[REG_A] = value & ~A_UIP;
    } else {
        /* Stopping the updates disables their interrupt. */
        r->cmos[REG_B] = (value & B_SET) ? value & ~B_UPDATE : value;
    }
    if (!ran && rtc_runs(r)) {
        rtc_set_now(r, (RtcTime){ rtc_registers_to_seconds(r), 0 });
    }
    rtc_update(r);
}

static void rtc_write_time(Rtc *r, uint8_t value)
{
    bool runs = rtc_runs(r);

    if (runs) {
        rtc_catch_up(r);
        rtc_refresh(r);
    }
    r->cmos[r->index] = value;
    if (runs) {
        RtcTime t = rtc_now(r);

        rtc_set_now(r, (RtcTime){ rtc_registers_to_seconds(r), t.ns });
        rtc_update(r);
    }
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value,
                      unsigned size)
{
    Rtc *r = opaque;

    if (offset == 0) {
        r->index = value & 0x7f; /* bit 7 masks NMIs */
    } else if (r->index == REG_A || r->index == REG_B) {
        rtc_write_control(r, value);
    } else if (rtc_is_time(r->index)) {
        rtc_write_time(r, value);
    } else if (r->index < REG_A) { /* an alarm */
        rtc_catch_up(r);
        r->cmos[r->index] = value;
        rtc_update(r);
    } else if (r->index >= REG_CMOS_FIRST) {
        r->cmos[r->index] = value;
    }
}

static const IoRegionOps rtc_io_ops = {
    .read = rtc_read,
    .write = rtc_write,
    .max_bytes = 1,
};

/* ---- Device ------------------------------------------------------------- */

/* The battery keeps time and CMOS; RESET# clears what interrupts. */
static void rtc_reset(Device *dev)
{
    Rtc *r = (Rtc *)dev;

    r->cmos[REG_B] &= ~(B_ENABLES | 0x08 /* square wave */);
    r->cmos[REG_C] = 0;
    r->index = 0;
    rtc_update(r);
}

static void rtc_quiesce(Device *dev)
{
    Rtc *r = (Rtc *)dev;

    vm_mutex_lock(&dev->lock);
    r->quiesced = true;
    device_timer_disarm(r->timer);
    vm_mutex_unlock(&dev->lock);
}

static void rtc_resume(Device *dev)
{
    Rtc *r = (Rtc *)dev;

    vm_mutex_lock(&dev->lock);
    r->quiesced = false;
    rtc_update(r);
    vm_mutex_unlock(&dev->lock);
}

static void rtc_free(Device *dev)
{
    Rtc *r = (Rtc *)dev;

    device_timer_free(r->timer);
    address_space_unmap_io(dev->machine->ports, &r->region);
    device_done(dev);
    g_free(r);
}

static const DeviceOps rtc_ops = {
    .reset = rtc_reset,
    .quiesce = rtc_quiesce,
    .resume = rtc_resume,
    .free = rtc_free,
};

static bool rtc_time_is_sane(int64_t s, int64_t ns)
{
    return s >= -RTC_OFFSET_MAX_S && s <= RTC_OFFSET_MAX_S && ns >= 0 &&
           ns < VM_NS_PER_SEC;
}

static int rtc_post_load(void *opaque, int version)
{
    Rtc *r = opaque;

    if (r->index >= RTC_CMOS_BYTES ||
        !rtc_time_is_sane(r->offset_s, r->offset_ns) ||
        !rtc_time_is_sane(r->checked_s, r->checked_ns)) {
        return -EINVAL;
    }
    rtc_update(r);
    return 0;
}

static const VMStateField rtc_fields[] = {
    VMSTATE_U8(index, Rtc),
    VMSTATE_BUFFER(cmos, Rtc),
    VMSTATE_S64(offset_s, Rtc),
    VMSTATE_S64(offset_ns, Rtc),
    VMSTATE_S64(checked_s, Rtc),
    VMSTATE_S64(checked_ns, Rtc),
    VMSTATE_END,
};

static const VMStateDescription rtc_vmstate = {
    .name = "mc146818rtc",
    .version = 1,
    .minimum_version = 1,
    .fields = rtc_fields,
    .post_load = rtc_post_load,
};

Rtc *rtc_new(Machine *machine, int64_t offset_s)
{
    Rtc *r = g_new0(Rtc, 1);
    int mapped;

    r->region = (IoRegion){
        .name = "rtc",
        .ops = &rtc_io_ops,
        .opaque = r,
        .size_bytes = 2,
        .lock = &r->dev.lock,
    };
    r->line = irq_line_get(machine, RTC_IRQ);
    r->line_source = irq_line_add_source(r->line);
    r->cmos[REG_A] = A_DIVIDER_32K | 6; /* 1024 Hz, as every BIOS leaves it */
    r->cmos[REG_B] = B_24H;
    r->cmos[REG_D] = D_VALID;
    r->offset_s = CLAMP(offset_s, -RTC_OFFSET_MAX_S / 2,
                        RTC_OFFSET_MAX_S / 2);
    device_init(&r->dev, machine, "mc146818rtc", NULL, &rtc_ops,
                &rtc_vmstate);
    r->timer = device_timer_new(&r->dev, rtc_timer);
    vm_mutex_lock(&r->dev.lock);
    r->checked_s = rtc_now(r).s;
    rtc_refresh(r);
    vm_mutex_unlock(&r->dev.lock);
    mapped = address_space_map_io(machine->ports, RTC_PORT, &r->region);
    g_assert(mapped == 0); /* the board maps it first */
    return r;
}

void rtc_set_cmos(Rtc *r, unsigned index, uint8_t value)
{
    g_assert(index >= REG_CMOS_FIRST && index < RTC_CMOS_BYTES);
    vm_mutex_lock(&r->dev.lock);
    r->cmos[index] = value;
    vm_mutex_unlock(&r->dev.lock);
}
