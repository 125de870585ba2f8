/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multiplexer: a serial port and a monitor share one back end.
 *
 * Why: "-nographic" gives a person one terminal for both. The keyboard
 * belongs to one side at a time; Ctrl-a c passes it on. Output of both goes
 * out as it comes.
 *
 * The multiplexer is the front end of the base chardev and offers two ports.
 * The serial port's Chardev is the one that is returned and owns the rest.
 *
 * Invariants:
 *   (1) Bytes reach a port in order: while some are held, new ones queue
 *       behind them. The base is read as long as the hold has room, so that
 *       Ctrl-a gets through although the guest does not read.
 *   (2) deliver exists iff a delivery of held bytes is due.
 *
 * Threads: input on the main thread; write and accept_input by any.
 */
#include "chardev-internal.h"

#include <signal.h>
#include <string.h>

#define MUX_ESCAPE 0x01 /* Ctrl-a */

#define MUX_HOLD_MAX_BYTES 4096u

enum { MUX_SERIAL, MUX_MONITOR, MUX_PORTS };

typedef struct MuxPort {
    Chardev chr;
    struct Mux *mux;
    GByteArray *held; /* main thread: input that the front end had no room
                       * for */
} MuxPort;

typedef struct Mux {
    MuxPort serial; /* first: what the outside frees */
    MuxPort *monitor;
    Chardev *base;

    /* Main thread only. */
    unsigned focus;
    bool escaped; /* the last byte was Ctrl-a */

    /* Protected by serial.chr.lock. */
    GSource *deliver;
} Mux;

static struct {
    void (*fn)(void *opaque);
    void *opaque;
} quit_handler;

void chardev_set_quit_handler(void (*quit)(void *opaque), void *opaque)
{
    quit_handler.fn = quit;
    quit_handler.opaque = opaque;
}

static void mux_quit(void)
{
    if (quit_handler.fn) {
        quit_handler.fn(quit_handler.opaque);
    } else {
        (void)raise(SIGTERM);
    }
}

static MuxPort *mux_port(Mux *mux, unsigned n)
{
    return n == MUX_SERIAL ? &mux->serial : mux->monitor;
}

static void mux_print(Mux *mux, const char *text)
{
    chardev_write(mux->base, text, strlen(text));
}

static void mux_help(Mux *mux)
{
    mux_print(mux, "\r\nCtrl-a h  this help\r\n"
                   "Ctrl-a x  end the virtual machine\r\n"
                   "Ctrl-a c  switch between serial port and monitor\r\n"
                   "Ctrl-a Ctrl-a  send Ctrl-a\r\n");
}

static void mux_switch(Mux *mux)
{
    Chardev *monitor = &mux->monitor->chr;

    mux->focus = (mux->focus + 1) % MUX_PORTS;
    /* The monitor greets and prompts when it is opened: again each time. */
    if (mux->focus == MUX_MONITOR && monitor->opened) {
        chardev_set_opened(monitor, false);
        chardev_set_opened(monitor, true);
    }
}

/* Returns true if the byte is for the focused port. */
static bool mux_filter(Mux *mux, uint8_t byte)
{
    if (!mux->escaped) {
        mux->escaped = byte == MUX_ESCAPE;
        return !mux->escaped;
    }
    mux->escaped = false;
    switch (byte) {
    case MUX_ESCAPE:
        return true;
    case 'h':
    case '?':
        mux_help(mux);
        return false;
    case 'x':
        mux_print(mux, "\r\nQEMU: Terminated\r\n");
        mux_quit();
        return false;
    case 'c':
        mux_switch(mux);
        return false;
    default:
        return false;
    }
}

static void mux_deliver_held(MuxPort *port)
{
    const ChardevHandler *h = port->chr.handler;

    while (h && port->held->len > 0) {
        size_t n = MIN(h->can_receive(port->chr.opaque), port->held->len);

        if (n == 0) {
            return;
        }
        h->receive(port->chr.opaque, port->held->data, n);
        g_byte_array_remove_range(port->held, 0, n);
        h = port->chr.handler; /* it may have detached */
    }
}

static size_t mux_can_receive(void *opaque)
{
    Mux *mux = opaque;

    return MUX_HOLD_MAX_BYTES - mux_port(mux, mux->focus)->held->len;
}

static void mux_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Mux *mux = opaque;

    for (size_t i = 0; i < len; i++) {
        if (mux_filter(mux, buf[i])) {
            MuxPort *port = mux_port(mux, mux->focus);

            /* The focus may have moved to a fuller hold since the base
             * asked: what goes beyond is lost. */
            if (port->held->len < MUX_HOLD_MAX_BYTES) {
                g_byte_array_append(port->held, &buf[i], 1);
            }
            mux_deliver_held(port);
        }
    }
}

static gboolean mux_deliver(gpointer data)
{
    Mux *mux = data;

    vm_mutex_lock(&mux->serial.chr.lock);
    g_clear_pointer(&mux->deliver, g_source_unref);
    vm_mutex_unlock(&mux->serial.chr.lock);
    for (unsigned n = 0; n < MUX_PORTS; n++) {
        mux_deliver_held(mux_port(mux, n));
    }
    chardev_accept_input(mux->base);
    return G_SOURCE_REMOVE;
}

static void mux_event(void *opaque, ChardevEvent event)
{
    Mux *mux = opaque;

    for (unsigned n = 0; n < MUX_PORTS; n++) {
        chardev_set_opened(&mux_port(mux, n)->chr,
                           event == CHARDEV_OPENED);
    }
}

static const ChardevHandler mux_handler = {
    .can_receive = mux_can_receive,
    .receive = mux_receive,
    .event = mux_event,
};

static void mux_port_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    chardev_write(((MuxPort *)chr)->mux->base, buf, len);
}

static void mux_port_accept_input(Chardev *chr)
{
    Mux *mux = ((MuxPort *)chr)->mux;

    /* The caller may be a vCPU that holds its device's lock. */
    vm_mutex_lock(&mux->serial.chr.lock);
    if (!mux->deliver) {
        mux->deliver = g_idle_source_new();
        g_source_set_callback(mux->deliver, mux_deliver, mux, NULL);
        g_source_attach(mux->deliver, NULL);
    }
    vm_mutex_unlock(&mux->serial.chr.lock);
}

static void mux_port_flush(Chardev *chr)
{
    chardev_flush(((MuxPort *)chr)->mux->base);
}

static void mux_done(Chardev *chr)
{
    Mux *mux = ((MuxPort *)chr)->mux;

    if (mux->deliver) {
        g_source_destroy(mux->deliver);
        g_source_unref(mux->deliver);
    }
    chardev_detach(mux->base);
    g_byte_array_unref(mux->serial.held);
    g_byte_array_unref(mux->monitor->held);
    chardev_free(&mux->monitor->chr); /* flushes the base */
    chardev_free(mux->base);
}

static const ChardevOps mux_serial_ops = {
    .write = mux_port_write,
    .accept_input = mux_port_accept_input,
    .flush = mux_port_flush,
    .done = mux_done,
};

static const ChardevOps mux_monitor_ops = {
    .write = mux_port_write,
    .accept_input = mux_port_accept_input,
    .flush = mux_port_flush,
};

Chardev *chardev_mux_new(const char *id, Chardev *take_base)
{
    Mux *mux = g_new0(Mux, 1);
    g_autofree char *monitor_id = g_strdup_printf("%s-monitor", id);
    bool attached;

    mux->base = take_base;
    mux->serial.mux = mux;
    mux->serial.held = g_byte_array_new();
    chardev_init(&mux->serial.chr, &mux_serial_ops, id,
                 g_strdup_printf("mux:%s", chardev_label(take_base)));
    mux->monitor = g_new0(MuxPort, 1);
    mux->monitor->mux = mux;
    mux->monitor->held = g_byte_array_new();
    chardev_init(&mux->monitor->chr, &mux_monitor_ops, monitor_id,
                 g_strdup_printf("mux:%s", chardev_label(take_base)));
    attached = chardev_attach(take_base, &mux_handler, mux, NULL);
    g_assert(attached); /* take_base is new, nobody else has it */
    return &mux->serial.chr;
}

Chardev *chardev_mux_monitor(Chardev *chr)
{
    return chr->ops == &mux_serial_ops ? &((Mux *)chr)->monitor->chr : NULL;
}
