/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 16550A UART between the ISA bus and a chardev.
 *
 * Registers as in the PC16550D data sheet (National Semiconductor, June
 * 1995), section 8. The line has no speed: the divisor is kept and ignored,
 * the transmitter is always empty, the character timeout is immediate.
 *
 * Invariants:
 *   (1) irq is raised iff serial_iir() names a pending interrupt; every
 *       change of state ends with serial_update_irq().
 *   (2) rx_count <= SERIAL_FIFO_BYTES, and <= 1 while the FIFOs are off.
 *   (3) While quiesced no input is taken: a paused VM's state stands still.
 *
 * Threads: registers by vCPUs, input by the main thread, all under dev.lock.
 * chardev calls rank below it and may be made while holding it.
 */
#include "hw/char/serial.h"

#include <errno.h>

#include "hw/char/isa-props.h"
#include "util/error.h"

#define SERIAL_FIFO_BYTES 16
#define SERIAL_PORTS 8

enum { /* offsets; [0] and [1] are the divisor while LCR_DLAB is set */
    REG_DATA,
    REG_IER,
    REG_IIR_FCR,
    REG_LCR,
    REG_MCR,
    REG_LSR,
    REG_MSR,
    REG_SCR,
};
enum {
    IER_RX = 0x01,
    IER_THR_EMPTY = 0x02,
    IER_LINE = 0x04,
    IER_MODEM = 0x08,
    IER_MASK = 0x0f,
};
enum { /* highest priority first, section 8.6.1 */
    IIR_LINE = 0x06,
    IIR_RX = 0x04,
    IIR_RX_TIMEOUT = 0x0c,
    IIR_THR_EMPTY = 0x02,
    IIR_MODEM = 0x00,
    IIR_NONE = 0x01,
    IIR_FIFO_ON = 0xc0,
};
enum {
    FCR_ENABLE = 0x01,
    FCR_CLEAR_RX = 0x02,
    FCR_CLEAR_TX = 0x04,
    FCR_KEPT = 0xc9, /* enable, DMA mode, trigger level */
};
enum { LCR_DLAB = 0x80 };
enum {
    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_MASK = 0x1f,
};
enum {
    LSR_DATA = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_ERRORS = 0x1e, /* overrun, parity, framing, break */
    LSR_THR_EMPTY = 0x20,
    LSR_IDLE = 0x40,
};
enum {
    MSR_DELTAS = 0x0f,
    MSR_RI_DELTA = 0x04,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
};

typedef struct Serial {
    Device dev;

    /* Immutable. */
    SerialPlace place;
    IoRegion region;
    Chardev *chr;
    IrqLine *line;
    unsigned line_source;

    /* Protected by dev.lock. */
    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint8_t lsr_errors;
    uint8_t divisor_low, divisor_high;
    bool thr_pending; /* transmitter-empty interrupt not yet acknowledged */
    uint8_t rx_fifo[SERIAL_FIFO_BYTES];
    uint8_t rx_head, rx_count;
    bool quiesced;
} Serial;

const SerialPlace serial_isa_places[SERIAL_ISA_MAX] = {
    { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 },
};

/* ---- Interrupt ---------------------------------------------------------- */

static unsigned serial_rx_trigger(const Serial *s)
{
    static const uint8_t levels[4] = { 1, 4, 8, 14 };

    return (s->fcr & FCR_ENABLE) ? levels[s->fcr >> 6] : 1;
}

static uint8_t serial_iir(const Serial *s)
{
    if ((s->ier & IER_LINE) && s->lsr_errors) {
        return IIR_LINE;
    }
    if ((s->ier & IER_RX) && s->rx_count > 0) {
        return s->rx_count >= serial_rx_trigger(s) ? IIR_RX : IIR_RX_TIMEOUT;
    }
    if ((s->ier & IER_THR_EMPTY) && s->thr_pending) {
        return IIR_THR_EMPTY;
    }
    if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS)) {
        return IIR_MODEM;
    }
    return IIR_NONE;
}

static void serial_update_irq(Serial *s)
{
    irq_line_set(s->line, s->line_source, serial_iir(s) != IIR_NONE);
}

/* ---- Receiver ----------------------------------------------------------- */

static unsigned serial_rx_room(const Serial *s)
{
    return ((s->fcr & FCR_ENABLE) ? SERIAL_FIFO_BYTES : 1) - s->rx_count;
}

static void serial_rx_push(Serial *s, uint8_t byte)
{
    if (serial_rx_room(s) == 0) {
        s->lsr_errors |= LSR_OVERRUN;
        return;
    }
    s->rx_fifo[(s->rx_head + s->rx_count) % SERIAL_FIFO_BYTES] = byte;
    s->rx_count++;
}

static uint8_t serial_rx_pop(Serial *s)
{
    uint8_t byte = s->rx_fifo[s->rx_head];

    if (s->rx_count > 0) {
        s->rx_head = (s->rx_head + 1) % SERIAL_FIFO_BYTES;
        s->rx_count--;
        chardev_accept_input(s->chr);
    }
    return byte; /* an empty receiver repeats the last one */
}

static void serial_rx_clear(Serial *s)
{
    s->rx_head = 0;
    s->rx_count = 0;
    chardev_accept_input(s->chr);
}

static size_t serial_can_receive(void *opaque)
{
    Serial *s = opaque;
    size_t room;

    vm_mutex_lock(&s->dev.lock);
    room = serial_rx_room(s);
    if (s->quiesced || (s->mcr & MCR_LOOP)) { /* (3) */
        room = 0;
    }
    vm_mutex_unlock(&s->dev.lock);
    return room;
}

static void serial_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Serial *s = opaque;

    vm_mutex_lock(&s->dev.lock);
    for (size_t i = 0; i < len; i++) {
        serial_rx_push(s, buf[i]);
    }
    serial_update_irq(s);
    vm_mutex_unlock(&s->dev.lock);
}

static const ChardevHandler serial_chardev_handler = {
    .can_receive = serial_can_receive,
    .receive = serial_receive,
};

/* ---- Registers ---------------------------------------------------------- */

/* The modem's inputs: somebody is always there, or in loopback our own
 * outputs (section 8.7, bit 4). */
static uint8_t serial_modem_inputs(const Serial *s)
{
    if (!(s->mcr & MCR_LOOP)) {
        return MSR_DCD | MSR_DSR | MSR_CTS;
    }
    return ((s->mcr & MCR_RTS) ? MSR_CTS : 0) |
           ((s->mcr & MCR_DTR) ? MSR_DSR : 0) |
           ((s->mcr & MCR_OUT1) ? MSR_RI : 0) |
           ((s->mcr & MCR_OUT2) ? MSR_DCD : 0);
}

static void serial_update_modem(Serial *s)
{
    uint8_t inputs = serial_modem_inputs(s);
    uint8_t deltas = ((inputs ^ s->msr) >> 4) & MSR_DELTAS;

    /* Section 8.8: the ring indicator counts its trailing edge only. */
    if (inputs & MSR_RI) {
        deltas &= ~MSR_RI_DELTA;
    }
    s->msr = inputs | (s->msr & MSR_DELTAS) | deltas;
}

static void serial_write_thr(Serial *s, uint8_t byte)
{
    if (s->mcr & MCR_LOOP) {
        serial_rx_push(s, byte);
    } else {
        chardev_write(s->chr, &byte, 1);
    }
    s->thr_pending = true; /* sent at once, so empty again */
}

static void serial_write_ier(Serial *s, uint8_t value)
{
    /* Enabling it while the transmitter is empty raises it again. */
    if ((value & IER_THR_EMPTY) && !(s->ier & IER_THR_EMPTY)) {
        s->thr_pending = true;
    }
    s->ier = value & IER_MASK;
}

static void serial_write_fcr(Serial *s, uint8_t value)
{
    bool toggled = (value ^ s->fcr) & FCR_ENABLE;

    s->fcr = (value & FCR_ENABLE) ? value & FCR_KEPT : 0;
    if (toggled || (value & FCR_CLEAR_RX)) { /* (2) */
        serial_rx_clear(s);
    }
}

static void serial_write_mcr(Serial *s, uint8_t value)
{
    s->mcr = value & MCR_MASK;
    serial_update_modem(s);
    if (!(s->mcr & MCR_LOOP)) {
        chardev_accept_input(s->chr);
    }
}

static void serial_write(void *opaque, uint64_t offset, uint64_t value,
                         unsigned size)
{
    Serial *s = opaque;
    bool divisor = s->lcr & LCR_DLAB;

    switch (offset) {
    case REG_DATA:
        if (divisor) {
            s->divisor_low = value;
        } else {
            serial_write_thr(s, value);
        }
        break;
    case REG_IER:
        if (divisor) {
            s->divisor_high = value;
        } else {
            serial_write_ier(s, value);
        }
        break;
    case REG_IIR_FCR:
        serial_write_fcr(s, value);
        break;
    case REG_LCR:
        s->lcr = value;
        break;
    case REG_MCR:
        serial_write_mcr(s, value);
        break;
    case REG_SCR:
        s->scr = value;
        break;
    default: /* LSR and MSR are read only */
        break;
    }
    serial_update_irq(s);
}

static uint8_t serial_read_iir(Serial *s)
{
    uint8_t iir = serial_iir(s);

    if (iir == IIR_THR_EMPTY) {
        s->thr_pending = false; /* reading it acknowledges this one */
    }
    return iir | ((s->fcr & FCR_ENABLE) ? IIR_FIFO_ON : 0);
}

static uint8_t serial_read_lsr(Serial *s)
{
    uint8_t lsr = s->lsr_errors | LSR_THR_EMPTY | LSR_IDLE |
                  (s->rx_count > 0 ? LSR_DATA : 0);

    s->lsr_errors = 0;
    return lsr;
}

static uint8_t serial_read_msr(Serial *s)
{
    uint8_t msr = s->msr;

    s->msr &= ~MSR_DELTAS;
    return msr;
}

static uint8_t serial_read_register(Serial *s, uint64_t offset)
{
    bool divisor = s->lcr & LCR_DLAB;

    switch (offset) {
    case REG_DATA:
        return divisor ? s->divisor_low : serial_rx_pop(s);
    case REG_IER:
        return divisor ? s->divisor_high : s->ier;
    case REG_IIR_FCR:
        return serial_read_iir(s);
    case REG_LCR:
        return s->lcr;
    case REG_MCR:
        return s->mcr;
    case REG_LSR:
        return serial_read_lsr(s);
    case REG_MSR:
        return serial_read_msr(s);
    default:
        return s->scr;
    }
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned size)
{
    Serial *s = opaque;
    uint8_t value = serial_read_register(s, offset);

    serial_update_irq(s);
    return value;
}

static const IoRegionOps serial_io_ops = {
    .read = serial_read,
    .write = serial_write,
    .max_bytes = 1,
};

/* ---- Device ------------------------------------------------------------- */

static void serial_reset(Device *dev)
{
    Serial *s = (Serial *)dev;

    s->ier = 0;
    s->fcr = 0;
    s->lcr = 0;
    s->mcr = MCR_OUT2;
    s->scr = 0;
    s->lsr_errors = 0;
    s->divisor_low = 12; /* 9600 baud */
    s->divisor_high = 0;
    s->thr_pending = false;
    s->msr = serial_modem_inputs(s);
    serial_rx_clear(s);
    serial_update_irq(s);
}

static void serial_quiesce(Device *dev)
{
    Serial *s = (Serial *)dev;

    vm_mutex_lock(&dev->lock);
    s->quiesced = true;
    vm_mutex_unlock(&dev->lock);
}

static void serial_resume(Device *dev)
{
    Serial *s = (Serial *)dev;

    vm_mutex_lock(&dev->lock);
    s->quiesced = false;
    vm_mutex_unlock(&dev->lock);
    chardev_accept_input(s->chr);
}

static void serial_free(Device *dev)
{
    Serial *s = (Serial *)dev;

    chardev_detach(s->chr);
    address_space_unmap_io(dev->machine->ports, &s->region);
    device_done(dev);
    g_free(s);
}

static const DeviceOps serial_ops = {
    .reset = serial_reset,
    .quiesce = serial_quiesce,
    .resume = serial_resume,
    .free = serial_free,
};

static int serial_post_load(void *opaque, int version)
{
    Serial *s = opaque;

    if (s->rx_head >= SERIAL_FIFO_BYTES ||
        s->rx_count > SERIAL_FIFO_BYTES ||
        (!(s->fcr & FCR_ENABLE) && s->rx_count > 1) || /* (2) */
        (s->ier & ~IER_MASK) || (s->mcr & ~MCR_MASK) ||
        (s->fcr & ~FCR_KEPT) || (s->lsr_errors & ~LSR_ERRORS)) {
        return -EINVAL;
    }
    serial_update_irq(s);
    chardev_accept_input(s->chr);
    return 0;
}

static const VMStateField serial_fields[] = {
    VMSTATE_U8(ier, Serial),
    VMSTATE_U8(fcr, Serial),
    VMSTATE_U8(lcr, Serial),
    VMSTATE_U8(mcr, Serial),
    VMSTATE_U8(msr, Serial),
    VMSTATE_U8(scr, Serial),
    VMSTATE_U8(lsr_errors, Serial),
    VMSTATE_U8(divisor_low, Serial),
    VMSTATE_U8(divisor_high, Serial),
    VMSTATE_BOOL(thr_pending, Serial),
    VMSTATE_BUFFER(rx_fifo, Serial),
    VMSTATE_U8(rx_head, Serial),
    VMSTATE_U8(rx_count, Serial),
    VMSTATE_END,
};

static const VMStateDescription serial_vmstate = {
    .name = "isa-serial",
    .version = 1,
    .minimum_version = 1,
    .fields = serial_fields,
    .post_load = serial_post_load,
};

bool serial_isa_new(Machine *machine, const char *id, SerialPlace place,
                    Chardev *chr, GError **errp)
{
    Serial *s = g_new0(Serial, 1);

    s->chr = chr;
    s->place = place;
    s->region = (IoRegion){
        .name = "isa-serial",
        .ops = &serial_io_ops,
        .opaque = s,
        .size_bytes = SERIAL_PORTS,
        .lock = &s->dev.lock,
    };
    if (!isa_map_ports(machine, place.iobase, &s->region, errp)) {
        g_free(s);
        return false;
    }
    s->line = irq_line_get(machine, place.irq);
    s->line_source = irq_line_add_source(s->line);
    device_init(&s->dev, machine, "isa-serial", id, &serial_ops,
                &serial_vmstate);
    vm_mutex_lock(&s->dev.lock);
    serial_reset(&s->dev);
    vm_mutex_unlock(&s->dev.lock);
    if (!chardev_attach(chr, &serial_chardev_handler, s, errp)) {
        address_space_unmap_io(machine->ports, &s->region);
        device_done(&s->dev);
        g_free(s);
        return false;
    }
    return true;
}

unsigned serial_isa_mask(const Machine *machine)
{
    unsigned mask = 0;

    for (guint i = 0; i < machine->devices->len; i++) {
        const Device *d = g_ptr_array_index(machine->devices, i);

        for (unsigned n = 0; n < SERIAL_ISA_MAX; n++) {
            if (d->ops == &serial_ops &&
                ((const Serial *)d)->place.iobase ==
                    serial_isa_places[n].iobase) {
                mask |= 1u << n;
            }
        }
    }
    return mask;
}

/* The n-th port by default, n being how many there are already. */
static unsigned serial_next_index(const Machine *machine)
{
    unsigned n = 0;

    for (guint i = 0; i < machine->devices->len; i++) {
        const Device *d = g_ptr_array_index(machine->devices, i);

        n += d->ops == &serial_ops;
    }
    return n;
}

bool serial_isa_create(Machine *machine, const char *id, VmKeyval *props,
                       GError **errp)
{
    uint64_t index, iobase, irq;
    Chardev *chr;

    if (!isa_take_chardev(machine, "isa-serial", props, &chr, errp) ||
        !isa_take_number(props, "index", serial_next_index(machine),
                         UINT32_MAX, &index, errp)) {
        return false;
    }
    if (index >= SERIAL_ISA_MAX) {
        return vm_error_set(errp, 0, "Max. supported number of ISA serial "
                            "ports is %d.", SERIAL_ISA_MAX);
    }
    if (!isa_take_number(props, "iobase", serial_isa_places[index].iobase,
                         0xffff, &iobase, errp) ||
        !isa_take_number(props, "irq", serial_isa_places[index].irq, 15,
                         &irq, errp)) {
        return false;
    }
    return serial_isa_new(machine, id,
                          (SerialPlace){ .iobase = iobase, .irq = irq }, chr,
                          errp);
}
