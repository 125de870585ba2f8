/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timers of devices, as GLib sources with a ready time.
 *
 * Why not g_timeout_add(): its interval is relative, in milliseconds, and a
 * new source a shot; a ready time is absolute, in microseconds, and may be
 * set by any thread.
 *
 * Threads: see device-timer.h. A dispatch that raced with a disarm finds
 * armed false and does nothing.
 */
#include "hw/core/device-timer.h"

#include "util/clock.h"

struct DeviceTimer {
    GSource *source;
    Device *dev;
    void (*fn)(Device *dev);
    bool armed; /* protected by dev->lock */
};

/* GSource with a pointer back. */
typedef struct TimerSource {
    GSource source;
    DeviceTimer *timer;
} TimerSource;

static gboolean timer_dispatch(GSource *source, GSourceFunc callback,
                               gpointer data)
{
    DeviceTimer *t = ((TimerSource *)source)->timer;

    vm_mutex_lock(&t->dev->lock);
    if (t->armed && g_source_get_ready_time(source) <= g_get_monotonic_time()) {
        device_timer_disarm(t);
        t->fn(t->dev);
    }
    vm_mutex_unlock(&t->dev->lock);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs timer_funcs = {
    .dispatch = timer_dispatch,
};

DeviceTimer *device_timer_new(Device *dev, void (*fn)(Device *dev))
{
    DeviceTimer *t = g_new0(DeviceTimer, 1);

    t->dev = dev;
    t->fn = fn;
    t->source = g_source_new(&timer_funcs, sizeof(TimerSource));
    ((TimerSource *)t->source)->timer = t;
    g_source_attach(t->source, dev->machine->io_context);
    return t;
}

void device_timer_free(DeviceTimer *t)
{
    if (!t) {
        return;
    }
    g_source_destroy(t->source);
    g_source_unref(t->source);
    g_free(t);
}

void device_timer_arm(DeviceTimer *t, int64_t deadline_ns)
{
    t->armed = true;
    /* Rounded up: never early, or the owner would arm it again at once. */
    g_source_set_ready_time(t->source, (deadline_ns + VM_NS_PER_US - 1) /
                                           VM_NS_PER_US);
}

void device_timer_disarm(DeviceTimer *t)
{
    t->armed = false;
    g_source_set_ready_time(t->source, -1);
}
