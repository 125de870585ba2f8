/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: the balloon (virtio-balloon-pci): how much memory the guest is to
 * keep, and how much it has kept.
 *
 * The guest may change its balloon many thousand times a second; BALLOON_CHANGE
 * comes at most once in EVENT_INTERVAL_US, with what is true then, and the
 * last change is always told.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include "hw/virtio/virtio-balloon.h"

#define EVENT_INTERVAL_US G_USEC_PER_SEC

static VirtioBalloon *need_balloon(Vm *vm, GError **errp)
{
    VirtioBalloon *b = vm->has_machine ? virtio_balloon_find(&vm->machine)
                                       : NULL;

    if (!b) {
        g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_ACTIVE,
                            "No balloon device has been activated");
    }
    return b;
}

static bool run_balloon(void *opaque, Monitor *mon, json_object *args,
                        json_object **ret_value, GError **errp)
{
    VirtioBalloon *b = need_balloon(opaque, errp);
    uint64_t bytes = 0;

    if (!b) {
        return false;
    }
    (void)qmp_arg_u64(args, "value", &bytes);
    if (bytes == 0) {
        g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                            "Parameter 'value' expects a size");
        return false;
    }
    virtio_balloon_set_target(b, bytes);
    return true;
}

static json_object *actual(VirtioBalloon *b)
{
    json_object *o = json_object_new_object();

    qmp_put_u64(o, "actual", virtio_balloon_actual_bytes(b));
    return o;
}

static bool query_balloon(void *opaque, Monitor *mon, json_object *args,
                          json_object **ret_value, GError **errp)
{
    VirtioBalloon *b = need_balloon(opaque, errp);

    if (b) {
        *ret_value = actual(b);
    }
    return b != NULL;
}

/* --- The event ----------------------------------------------------------- */

static gboolean send_event(gpointer opaque)
{
    Vm *vm = opaque;

    vm->balloon_timer = 0;
    vm->balloon_event_us = g_get_monotonic_time();
    qmp_event(vm->monitor, "BALLOON_CHANGE",
              actual(virtio_balloon_find(&vm->machine)));
    return G_SOURCE_REMOVE;
}

void vm_balloon_changed(Vm *vm)
{
    int64_t due = vm->balloon_event_us + EVENT_INTERVAL_US;
    int64_t now = g_get_monotonic_time();

    if (vm->balloon_timer != 0) {
        return; /* it will tell this, too */
    }
    if (vm->balloon_event_us == 0 || now >= due) {
        (void)send_event(vm);
    } else {
        vm->balloon_timer = g_timeout_add((guint)((due - now) / 1000) + 1,
                                          send_event, vm);
    }
}

void vm_balloon_stop(Vm *vm)
{
    if (vm->balloon_timer != 0) {
        g_source_remove(vm->balloon_timer);
        vm->balloon_timer = 0;
    }
}

static const QmpArgument balloon_args[] = {
    { "value", "size" },
    { NULL },
};

static const QmpArgument balloon_members[] = {
    { "actual", "size" },
    { NULL },
};

const QmpCommand vm_qmp_balloon_commands[] = {
    { "balloon", balloon_args, run_balloon,
      "Asks the guest to keep so much memory and give up the rest." },
    { "query-balloon", NULL, query_balloon,
      "How much memory the guest has kept.", "object", balloon_members },
    { NULL },
};
