/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 8042 keyboard controller with nothing plugged in, and port 0x92.
 *
 * Why: guests reset by it (command 0xfe), open the A20 gate by it, and probe
 * it. The controller passes its own tests, so that probing ends at once; a
 * byte for a device is answered as hardware answers for an absent one: 0xfe
 * with the time-out bit (IBM PS/2 Technical Reference, Keyboard and
 * Auxiliary Device Controller).
 *
 * A20 is a bit that reads back; KVM does not wrap addresses.
 *
 * Invariant: (1) an interrupt line is high iff the output buffer is full for
 * its device and the command byte enables that interrupt.
 *
 * Threads: vCPUs, under dev.lock.
 */
#include "hw/i386/i8042.h"

#include <errno.h>

#define I8042_DATA_PORT 0x60
#define I8042_COMMAND_PORT 0x64
#define I8042_PORT_A 0x92
#define I8042_IRQ_KEYBOARD 1
#define I8042_IRQ_MOUSE 12
#define I8042_RAM_BYTES 32

enum {
    STATUS_OUTPUT_FULL = 0x01,
    STATUS_SYSTEM = 0x04,
    STATUS_COMMAND = 0x08,
    STATUS_UNLOCKED = 0x10,
    STATUS_MOUSE = 0x20,
    STATUS_TIMEOUT = 0x40,
};
enum { /* command byte: controller RAM at 0 */
    CB_KEYBOARD_IRQ = 0x01,
    CB_MOUSE_IRQ = 0x02,
    CB_SYSTEM = 0x04,
    CB_KEYBOARD_OFF = 0x10,
    CB_MOUSE_OFF = 0x20,
    CB_TRANSLATE = 0x40,
};
enum {
    CMD_READ_RAM = 0x20, /* to 0x3f */
    CMD_WRITE_RAM = 0x60, /* to 0x7f */
    CMD_MOUSE_OFF = 0xa7,
    CMD_MOUSE_ON = 0xa8,
    CMD_TEST_MOUSE = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_TEST_KEYBOARD = 0xab,
    CMD_KEYBOARD_OFF = 0xad,
    CMD_KEYBOARD_ON = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_ECHO_KEYBOARD = 0xd2,
    CMD_ECHO_MOUSE = 0xd3,
    CMD_TO_MOUSE = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_PULSE = 0xf0, /* to 0xff; a clear bit pulses that output */
};
enum {
    OUTPUT_NOT_RESET = 0x01,
    OUTPUT_A20 = 0x02,
    OUTPUT_FIXED = 0xcc, /* keyboard clock and data, unused bits */
    PORT_A_RESET = 0x01,
    PORT_A_A20 = 0x02,
};

#define SELF_TEST_OK 0x55
#define INTERFACE_OK 0x00
#define DEVICE_RESEND 0xfe
#define INPUT_UNLOCKED 0x80

typedef struct I8042 {
    Device dev;

    /* Immutable. */
    IoRegion data_region, command_region, port_a_region;
    IrqLine *line[2]; /* keyboard, mouse */
    unsigned line_source[2];

    /* Protected by dev.lock. */
    uint8_t status;
    uint8_t output;
    uint8_t expects; /* command whose data byte comes next; 0: none */
    uint8_t ram[I8042_RAM_BYTES];
    bool a20;
} I8042;

static void i8042_request_reset(I8042 *k)
{
    Machine *m = k->dev.machine;

    m->requests->reset(m->requests_opaque);
}

static void i8042_update_irq(I8042 *k)
{
    bool full = k->status & STATUS_OUTPUT_FULL;
    bool mouse = k->status & STATUS_MOUSE;

    irq_line_set(k->line[0], k->line_source[0],
                 full && !mouse && (k->ram[0] & CB_KEYBOARD_IRQ));
    irq_line_set(k->line[1], k->line_source[1],
                 full && mouse && (k->ram[0] & CB_MOUSE_IRQ));
}

/* flags: STATUS_MOUSE, STATUS_TIMEOUT. */
static void i8042_put(I8042 *k, uint8_t value, uint8_t flags)
{
    k->output = value;
    k->status &= ~(STATUS_MOUSE | STATUS_TIMEOUT);
    k->status |= STATUS_OUTPUT_FULL | flags;
}

static void i8042_write_output_port(I8042 *k, uint8_t value)
{
    k->a20 = value & OUTPUT_A20;
    if (!(value & OUTPUT_NOT_RESET)) {
        i8042_request_reset(k);
    }
}

static void i8042_command(I8042 *k, uint8_t cmd)
{
    k->status |= STATUS_COMMAND;
    k->expects = 0;
    switch (cmd) {
    case CMD_READ_RAM ... CMD_READ_RAM + I8042_RAM_BYTES - 1:
        i8042_put(k, k->ram[cmd - CMD_READ_RAM], 0);
        break;
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + I8042_RAM_BYTES - 1:
    case CMD_WRITE_OUTPUT:
    case CMD_ECHO_KEYBOARD:
    case CMD_ECHO_MOUSE:
    case CMD_TO_MOUSE:
        k->expects = cmd;
        break;
    case CMD_MOUSE_OFF:
        k->ram[0] |= CB_MOUSE_OFF;
        break;
    case CMD_MOUSE_ON:
        k->ram[0] &= ~CB_MOUSE_OFF;
        break;
    case CMD_KEYBOARD_OFF:
        k->ram[0] |= CB_KEYBOARD_OFF;
        break;
    case CMD_KEYBOARD_ON:
        k->ram[0] &= ~CB_KEYBOARD_OFF;
        break;
    case CMD_SELF_TEST:
        k->status |= STATUS_SYSTEM;
        i8042_put(k, SELF_TEST_OK, 0);
        break;
    case CMD_TEST_KEYBOARD:
    case CMD_TEST_MOUSE:
        i8042_put(k, INTERFACE_OK, 0);
        break;
    case CMD_READ_INPUT:
        i8042_put(k, INPUT_UNLOCKED, 0);
        break;
    case CMD_READ_OUTPUT:
        i8042_put(k, OUTPUT_FIXED | OUTPUT_NOT_RESET |
                         (k->a20 ? OUTPUT_A20 : 0), 0);
        break;
    case CMD_A20_OFF:
    case CMD_A20_ON:
        k->a20 = cmd == CMD_A20_ON;
        break;
    case CMD_PULSE ... 0xff:
        if (!(cmd & OUTPUT_NOT_RESET)) {
            i8042_request_reset(k);
        }
        break;
    default:
        break;
    }
}

static void i8042_data(I8042 *k, uint8_t value)
{
    uint8_t cmd = k->expects;

    k->status &= ~STATUS_COMMAND;
    k->expects = 0;
    switch (cmd) {
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + I8042_RAM_BYTES - 1:
        k->ram[cmd - CMD_WRITE_RAM] = value;
        break;
    case CMD_WRITE_OUTPUT:
        i8042_write_output_port(k, value);
        break;
    case CMD_ECHO_KEYBOARD:
        i8042_put(k, value, 0);
        break;
    case CMD_ECHO_MOUSE:
        i8042_put(k, value, STATUS_MOUSE);
        break;
    case CMD_TO_MOUSE:
        i8042_put(k, DEVICE_RESEND, STATUS_MOUSE | STATUS_TIMEOUT);
        break;
    default: /* for the keyboard */
        k->ram[0] &= ~CB_KEYBOARD_OFF;
        i8042_put(k, DEVICE_RESEND, STATUS_TIMEOUT);
        break;
    }
}

/* ---- Ports -------------------------------------------------------------- */

static uint64_t i8042_read_data(void *opaque, uint64_t offset, unsigned size)
{
    I8042 *k = opaque;

    k->status &= ~(STATUS_OUTPUT_FULL | STATUS_MOUSE | STATUS_TIMEOUT);
    i8042_update_irq(k);
    return k->output; /* an empty buffer repeats the last byte */
}

static void i8042_write_data(void *opaque, uint64_t offset, uint64_t value,
                             unsigned size)
{
    i8042_data(opaque, value);
    i8042_update_irq(opaque);
}

static uint64_t i8042_read_status(void *opaque, uint64_t offset,
                                  unsigned size)
{
    return ((I8042 *)opaque)->status;
}

static void i8042_write_command(void *opaque, uint64_t offset, uint64_t value,
                                unsigned size)
{
    i8042_command(opaque, value);
    i8042_update_irq(opaque);
}

static uint64_t port_a_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((I8042 *)opaque)->a20 ? PORT_A_A20 : 0;
}

static void port_a_write(void *opaque, uint64_t offset, uint64_t value,
                         unsigned size)
{
    I8042 *k = opaque;

    k->a20 = value & PORT_A_A20;
    if (value & PORT_A_RESET) {
        i8042_request_reset(k);
    }
}

static const IoRegionOps data_ops = {
    .read = i8042_read_data, .write = i8042_write_data, .max_bytes = 1,
};
static const IoRegionOps command_ops = {
    .read = i8042_read_status, .write = i8042_write_command, .max_bytes = 1,
};
static const IoRegionOps port_a_ops = {
    .read = port_a_read, .write = port_a_write, .max_bytes = 1,
};

/* ---- Device ------------------------------------------------------------- */

static void i8042_reset(Device *dev)
{
    I8042 *k = (I8042 *)dev;

    k->status = STATUS_UNLOCKED;
    k->output = 0;
    k->expects = 0;
    for (unsigned i = 0; i < I8042_RAM_BYTES; i++) {
        k->ram[i] = 0;
    }
    k->ram[0] = CB_TRANSLATE | CB_SYSTEM | CB_MOUSE_OFF;
    k->a20 = true; /* the loader enters with it open, as firmware leaves it */
    i8042_update_irq(k);
}

static void i8042_free(Device *dev)
{
    I8042 *k = (I8042 *)dev;
    AddressSpace *ports = dev->machine->ports;

    address_space_unmap_io(ports, &k->data_region);
    address_space_unmap_io(ports, &k->command_region);
    address_space_unmap_io(ports, &k->port_a_region);
    device_done(dev);
    g_free(k);
}

static const DeviceOps i8042_ops = {
    .reset = i8042_reset,
    .free = i8042_free,
};

static bool i8042_takes_data(uint8_t cmd)
{
    switch (cmd) {
    case 0:
    case CMD_WRITE_RAM ... CMD_WRITE_RAM + I8042_RAM_BYTES - 1:
    case CMD_WRITE_OUTPUT ... CMD_TO_MOUSE:
        return true;
    default:
        return false;
    }
}

static int i8042_post_load(void *opaque, int version)
{
    I8042 *k = opaque;

    if (!i8042_takes_data(k->expects)) {
        return -EINVAL;
    }
    i8042_update_irq(k);
    return 0;
}

static const VMStateField i8042_fields[] = {
    VMSTATE_U8(status, I8042),
    VMSTATE_U8(output, I8042),
    VMSTATE_U8(expects, I8042),
    VMSTATE_BUFFER(ram, I8042),
    VMSTATE_BOOL(a20, I8042),
    VMSTATE_END,
};

static const VMStateDescription i8042_vmstate = {
    .name = "i8042",
    .version = 1,
    .minimum_version = 1,
    .fields = i8042_fields,
    .post_load = i8042_post_load,
};

static void i8042_map(I8042 *k, IoRegion *region, const char *name,
                      const IoRegionOps *ops, uint16_t port)
{
    int r;

    *region = (IoRegion){
        .name = name,
        .ops = ops,
        .opaque = k,
        .size_bytes = 1,
        .lock = &k->dev.lock,
    };
    r = address_space_map_io(k->dev.machine->ports, port, region);
    g_assert(r == 0); /* the board maps it first */
}

void i8042_new(Machine *machine)
{
    static const unsigned irqs[2] = { I8042_IRQ_KEYBOARD, I8042_IRQ_MOUSE };
    I8042 *k = g_new0(I8042, 1);

    for (unsigned i = 0; i < 2; i++) {
        k->line[i] = irq_line_get(machine, irqs[i]);
        k->line_source[i] = irq_line_add_source(k->line[i]);
    }
    device_init(&k->dev, machine, "i8042", NULL, &i8042_ops, &i8042_vmstate);
    vm_mutex_lock(&k->dev.lock);
    i8042_reset(&k->dev);
    vm_mutex_unlock(&k->dev.lock);
    i8042_map(k, &k->data_region, "i8042-data", &data_ops, I8042_DATA_PORT);
    i8042_map(k, &k->command_region, "i8042-cmd", &command_ops,
              I8042_COMMAND_PORT);
    i8042_map(k, &k->port_a_region, "port92", &port_a_ops, I8042_PORT_A);
}
