/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware: power button, sleep control, PM timer.
 *
 * Registers as in ACPI 6.3, sections 4.8.3 (PM1, PM timer) and 4.8.2.
 *
 * Invariants:
 *   (1) SCI is high iff a PM1 status bit is set whose enable bit is.
 *   (2) The timer's count is what 3.579545 MHz make of the time since epoch
 *       on the monotonic clock; pauses move epoch, so that a paused VM's
 *       timer stands still.
 *   (3) TMR_STS is set as of seen: bit 23 has changed since then iff the
 *       counts differ in their upper bits.
 *
 * Threads: vCPUs, main thread (button), I/O thread (timer), under dev.lock.
 */
#include "hw/acpi/pm.h"

#include <errno.h>

#include "hw/core/device-timer.h"
#include "util/clock.h"

#define PM_TIMER_HZ 3579545
#define PM_TIMER_MASK 0xffffff
#define PM_TIMER_HALF 0x800000 /* bit 23 changes this often */
/* 146 years; keeps sums of times far from overflow. */
#define PM_COUNT_MAX (INT64_MAX / 2 / VM_NS_PER_SEC * PM_TIMER_HZ)

enum {
    PM1_TIMER = 1 << 0,
    PM1_GLOBAL = 1 << 5,
    PM1_POWER_BUTTON = 1 << 8,
    PM1_SLEEP_BUTTON = 1 << 9,
    PM1_RTC = 1 << 10,
    PM1_STATUS_MASK = 0x8731, /* and bus master, wake */
    PM1_ENABLE_MASK = 0x0721,
};
enum {
    PM1C_SCI_ENABLE = 1 << 0,
    PM1C_SLEEP_TYPE_SHIFT = 10,
    PM1C_SLEEP_ENABLE = 1 << 13, /* write only */
    PM1C_KEPT = 0x1c06, /* BM_RLD, GBL_RLS and SLP_TYP */
};

struct AcpiPm {
    Device dev;

    /* Immutable. */
    IoRegion event_region, control_region, timer_region;
    IrqLine *line;
    unsigned line_source;
    DeviceTimer *timer;

    /* Protected by dev.lock. */
    uint16_t status, enable, control;
    bool quiesced;
    int64_t epoch_ns;   /* (2); while quiesced, count says it */
    uint64_t seen;      /* (3) */
    uint64_t count;     /* at the last quiesce; migrated */
};

/* ---- Timer -------------------------------------------------------------- */

static uint64_t pm_count(const AcpiPm *pm)
{
    uint64_t ns;

    if (pm->quiesced) {
        return pm->count;
    }
    ns = vm_clock_ns() - pm->epoch_ns;
    return ns / VM_NS_PER_SEC * PM_TIMER_HZ +
           ns % VM_NS_PER_SEC * PM_TIMER_HZ / VM_NS_PER_SEC;
}

static int64_t pm_count_to_ns(uint64_t count)
{
    return count / PM_TIMER_HZ * VM_NS_PER_SEC +
           (count % PM_TIMER_HZ * VM_NS_PER_SEC + PM_TIMER_HZ - 1) /
               PM_TIMER_HZ;
}

static void pm_set_count(AcpiPm *pm, uint64_t count)
{
    pm->epoch_ns = vm_clock_ns() - pm_count_to_ns(count);
}

static void pm_update(AcpiPm *pm)
{
    uint64_t count = pm_count(pm);

    if (count / PM_TIMER_HALF != pm->seen / PM_TIMER_HALF) {
        pm->status |= PM1_TIMER;
    }
    pm->seen = count;
    irq_line_set(pm->line, pm->line_source, pm->status & pm->enable); /* (1) */
    if ((pm->enable & ~pm->status & PM1_TIMER) && !pm->quiesced) {
        uint64_t next = (count / PM_TIMER_HALF + 1) * PM_TIMER_HALF;

        device_timer_arm(pm->timer, pm->epoch_ns + pm_count_to_ns(next));
    } else {
        device_timer_disarm(pm->timer);
    }
}

static void pm_timer(Device *dev)
{
    AcpiPm *pm = (AcpiPm *)dev;

    if (!pm->quiesced) {
        pm_update(pm);
    }
}

/* ---- Registers ---------------------------------------------------------- */

/*
 * PM1 is accessed by bytes here: status bits are cleared by writing 1, so a
 * narrow write must not be widened by what the rest of the word reads as.
 */
static uint64_t event_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiPm *pm = opaque;

    pm_update(pm);
    return ((uint32_t)pm->enable << 16 | pm->status) >> (offset * 8) & 0xff;
}

static void event_write(void *opaque, uint64_t offset, uint64_t value,
                        unsigned size)
{
    AcpiPm *pm = opaque;
    unsigned shift = offset % 2 * 8;

    pm_update(pm);
    if (offset < 2) {
        pm->status &= ~(value << shift);
    } else {
        pm->enable = (pm->enable & ~(0xff << shift)) |
                     (value << shift & PM1_ENABLE_MASK);
    }
    pm_update(pm);
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
    uint16_t value = ((AcpiPm *)opaque)->control | PM1C_SCI_ENABLE;

    return value >> (offset * 8) & 0xff;
}

/* SLP_TYP and SLP_EN share the upper byte. */
static void control_write(void *opaque, uint64_t offset, uint64_t value,
                          unsigned size)
{
    AcpiPm *pm = opaque;
    Machine *m = pm->dev.machine;
    unsigned shift = offset * 8;

    value <<= shift;
    pm->control = (pm->control & ~(0xff << shift)) | (value & PM1C_KEPT);
    /* No other sleep state is announced, so other types do nothing. */
    if ((value & PM1C_SLEEP_ENABLE) &&
        (value >> PM1C_SLEEP_TYPE_SHIFT & 7) == ACPI_SLEEP_TYPE_S5) {
        m->requests->shutdown(m->requests_opaque);
    }
}

static uint64_t timer_read(void *opaque, uint64_t offset, unsigned size)
{
    return pm_count(opaque) & PM_TIMER_MASK;
}

static void timer_write(void *opaque, uint64_t offset, uint64_t value,
                        unsigned size)
{
    /* read only */
}

static const IoRegionOps event_ops = {
    .read = event_read, .write = event_write, .max_bytes = 1,
};
static const IoRegionOps control_ops = {
    .read = control_read, .write = control_write, .max_bytes = 1,
};
static const IoRegionOps timer_ops = {
    .read = timer_read, .write = timer_write, .min_bytes = 4, .max_bytes = 4,
};

/* ---- Device ------------------------------------------------------------- */

static void pm_reset(Device *dev)
{
    AcpiPm *pm = (AcpiPm *)dev;

    pm->status = 0;
    pm->enable = 0;
    pm->control = 0;
    pm_set_count(pm, 0);
    pm->count = 0;
    pm->seen = 0;
    pm_update(pm);
}

static void pm_quiesce(Device *dev)
{
    AcpiPm *pm = (AcpiPm *)dev;

    vm_mutex_lock(&dev->lock);
    if (!pm->quiesced) {
        pm->count = pm_count(pm);
        pm->quiesced = true;
        pm_update(pm);
    }
    vm_mutex_unlock(&dev->lock);
}

static void pm_resume(Device *dev)
{
    AcpiPm *pm = (AcpiPm *)dev;

    vm_mutex_lock(&dev->lock);
    if (pm->quiesced) {
        pm->quiesced = false;
        pm_set_count(pm, pm->count);
        pm_update(pm);
    }
    vm_mutex_unlock(&dev->lock);
}

static void pm_free(Device *dev)
{
    AcpiPm *pm = (AcpiPm *)dev;
    AddressSpace *ports = dev->machine->ports;

    device_timer_free(pm->timer);
    address_space_unmap_io(ports, &pm->event_region);
    address_space_unmap_io(ports, &pm->control_region);
    address_space_unmap_io(ports, &pm->timer_region);
    device_done(dev);
    g_free(pm);
}

static const DeviceOps pm_ops = {
    .reset = pm_reset,
    .quiesce = pm_quiesce,
    .resume = pm_resume,
    .free = pm_free,
};

static int pm_pre_save(void *opaque)
{
    AcpiPm *pm = opaque;

    pm->count = pm_count(pm);
    return 0;
}

static int pm_post_load(void *opaque, int version)
{
    AcpiPm *pm = opaque;

    if ((pm->status & ~PM1_STATUS_MASK) || (pm->enable & ~PM1_ENABLE_MASK) ||
        (pm->control & ~PM1C_KEPT) ||
        pm->count > PM_COUNT_MAX || pm->seen > pm->count) {
        return -EINVAL;
    }
    pm_set_count(pm, pm->count);
    pm_update(pm);
    return 0;
}

static const VMStateField pm_fields[] = {
    VMSTATE_U16(status, AcpiPm),
    VMSTATE_U16(enable, AcpiPm),
    VMSTATE_U16(control, AcpiPm),
    VMSTATE_U64(count, AcpiPm),
    VMSTATE_U64(seen, AcpiPm),
    VMSTATE_END,
};

static const VMStateDescription pm_vmstate = {
    .name = "acpi-pm",
    .version = 1,
    .minimum_version = 1,
    .fields = pm_fields,
    .pre_save = pm_pre_save,
    .post_load = pm_post_load,
};

static void pm_map(AcpiPm *pm, IoRegion *region, const char *name,
                   const IoRegionOps *ops, unsigned offset, unsigned bytes)
{
    int r;

    *region = (IoRegion){
        .name = name,
        .ops = ops,
        .opaque = pm,
        .size_bytes = bytes,
        .lock = &pm->dev.lock,
    };
    r = address_space_map_io(pm->dev.machine->ports, ACPI_PM_BASE + offset,
                             region);
    g_assert(r == 0); /* the board maps it first */
}

AcpiPm *acpi_pm_new(Machine *machine)
{
    AcpiPm *pm = g_new0(AcpiPm, 1);

    pm->line = irq_line_get(machine, ACPI_SCI_GSI);
    pm->line_source = irq_line_add_source(pm->line);
    device_init(&pm->dev, machine, "acpi-pm", NULL, &pm_ops, &pm_vmstate);
    pm->timer = device_timer_new(&pm->dev, pm_timer);
    vm_mutex_lock(&pm->dev.lock);
    pm_reset(&pm->dev);
    vm_mutex_unlock(&pm->dev.lock);
    pm_map(pm, &pm->event_region, "acpi-pm1-event", &event_ops,
           ACPI_PM1_EVENT, 4);
    pm_map(pm, &pm->control_region, "acpi-pm1-control", &control_ops,
           ACPI_PM1_CONTROL, 2);
    pm_map(pm, &pm->timer_region, "acpi-pm-timer", &timer_ops, ACPI_PM_TIMER,
           4);
    return pm;
}

void acpi_pm_power_button(AcpiPm *pm)
{
    vm_mutex_lock(&pm->dev.lock);
    pm->status |= PM1_POWER_BUTTON;
    pm_update(pm);
    vm_mutex_unlock(&pm->dev.lock);
}
