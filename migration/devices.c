/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device state on its way.
 *
 * Why the destination keeps it until the end: loading a device may read
 * guest RAM (a ring's indices), so all of RAM has to be in its place first;
 * and the VM decides the order, not the stream.
 *
 * Invariants:
 *   (1) The store holds at most MIG_DEVICES_MAX states of together
 *       MIG_DEVICES_BYTES_MAX bytes, whatever the peer says.
 *   (2) load() loads each device of the VM exactly once, or fails.
 *
 * Threads: the job's thread. Devices' locks are taken one at a time.
 */
#include "devices.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "migration/vmstate-io.h"
#include "util/error.h"
#include "util/thread.h"

static void device_lock(const MigrationDevice *d) VM_NO_ANALYSIS
{
    if (d->lock) {
        vm_mutex_lock(d->lock);
    }
}

static void device_unlock(const MigrationDevice *d) VM_NO_ANALYSIS
{
    if (d->lock) {
        vm_mutex_unlock(d->lock);
    }
}

/* -- source ------------------------------------------------------------- */

static bool save_device(const MigrationDevice *d, GByteArray *out,
                        GError **errp)
{
    bool ok;

    device_lock(d);
    ok = vmstate_save(d->vmsd, d->opaque, MIG_DEVICE_BYTES_MAX, out, errp);
    device_unlock(d);
    return ok;
}

static int write_device(const MigrationDevice *d, GByteArray *state,
                        MigStream *s)
{
    g_autofree char *name = g_strdup(d->vmsd->name);
    MigWireDevice body = {
        .instance = d->instance,
        .version = (uint32_t)d->vmsd->version,
        .state_bytes = state->len,
        .name_bytes = (uint16_t)strlen(name),
    };
    struct iovec control[3] = { { &body, sizeof(body) },
                                { name, body.name_bytes } };

    control[2] = (struct iovec){ state->data, state->len };
    return mig_stream_write(s, MIG_REC_DEVICE, 0, control,
                            state->len ? 3 : 2, NULL, 0);
}

bool mig_devices_send(const MigrationVm *vm, MigStream *s,
                      uint64_t *ret_count, GError **errp)
{
    g_autoptr(GArray) devices = vm->devices(vm->opaque);
    g_autoptr(GByteArray) state = g_byte_array_new();

    for (guint i = 0; i < devices->len; i++) {
        const MigrationDevice *d = &g_array_index(devices, MigrationDevice,
                                                  i);
        int err;

        g_byte_array_set_size(state, 0);
        if (!save_device(d, state, errp)) {
            return false;
        }
        err = write_device(d, state, s);
        if (err < 0) {
            return mig_stream_send_error(err, errp);
        }
    }
    *ret_count = devices->len;
    return true;
}

/* -- destination -------------------------------------------------------- */

typedef struct StoredDevice {
    char name[VMSTATE_NAME_MAX + 1];
    uint32_t instance;
    uint32_t version;
    uint32_t bytes;
    uint8_t *state;
} StoredDevice;

struct MigDeviceStore {
    GArray *devices; /* of StoredDevice */
    uint64_t bytes;
};

static void stored_clear(gpointer data)
{
    g_free(((StoredDevice *)data)->state);
}

MigDeviceStore *mig_device_store_new(void)
{
    MigDeviceStore *store = g_new0(MigDeviceStore, 1);

    store->devices = g_array_new(FALSE, TRUE, sizeof(StoredDevice));
    g_array_set_clear_func(store->devices, stored_clear);
    return store;
}

void mig_device_store_free(MigDeviceStore *store)
{
    if (store) {
        g_array_unref(store->devices);
        g_free(store);
    }
}

uint64_t mig_device_store_count(const MigDeviceStore *store)
{
    return store->devices->len;
}

static const StoredDevice *find_stored(const MigDeviceStore *store,
                                       const char *name, uint32_t instance)
{
    for (guint i = 0; i < store->devices->len; i++) {
        const StoredDevice *d = &g_array_index(store->devices, StoredDevice,
                                               i);

        if (d->instance == instance && strcmp(d->name, name) == 0) {
            return d;
        }
    }
    return NULL;
}

static int refuse(GError **errp, const char *what)
{
    (void)vm_error_set(errp, 0, "device state: %s", what);
    return -EPROTO;
}

/* (1) */
static int check_header(const MigDeviceStore *store, const MigWireDevice *w,
                        uint64_t len, GError **errp)
{
    if (w->name_bytes == 0 || w->name_bytes > VMSTATE_NAME_MAX) {
        return refuse(errp, "bad length of a name");
    }
    if (w->state_bytes > MIG_DEVICE_BYTES_MAX ||
        store->bytes + w->state_bytes > MIG_DEVICES_BYTES_MAX ||
        store->devices->len >= MIG_DEVICES_MAX) {
        return refuse(errp, "more than is accepted");
    }
    if (w->version > INT32_MAX) {
        return refuse(errp, "bad version");
    }
    if (len != sizeof(*w) + w->name_bytes + w->state_bytes) {
        return refuse(errp, "the record's length does not fit its contents");
    }
    return 0;
}

static int receive_name(StoredDevice *d, MigStream *s, size_t len,
                        GError **errp)
{
    int err = mig_stream_read_control(s, d->name, len);

    for (size_t i = 0; err == 0 && i < len; i++) {
        if (!g_ascii_isprint(d->name[i])) {
            err = refuse(errp, "bad character in a name");
        }
    }
    return err;
}

static int receive_state(StoredDevice *d, MigStream *s, GError **errp)
{
    d->state = g_try_malloc(MAX(d->bytes, 1));
    if (!d->state) {
        return refuse(errp, "out of memory");
    }
    return mig_stream_read_control(s, d->state, d->bytes);
}

/* 0, -errno of the stream, or -EPROTO with *errp filled. */
static int receive_device(MigDeviceStore *store, MigStream *s, uint64_t len,
                          GError **errp)
{
    MigWireDevice w;
    StoredDevice d = { .state = NULL };
    int err;

    if (len < sizeof(w)) {
        return refuse(errp, "the record is too short");
    }
    err = mig_stream_read_control(s, &w, sizeof(w));
    if (err == 0) {
        err = check_header(store, &w, len, errp);
    }
    if (err < 0) {
        return err;
    }
    d.instance = w.instance;
    d.version = w.version;
    d.bytes = w.state_bytes;
    err = receive_name(&d, s, w.name_bytes, errp);
    if (err == 0 && find_stored(store, d.name, d.instance)) {
        (void)vm_error_set(errp, 0, "device state '%s' (%" PRIu32
                                    ") came twice", d.name, d.instance);
        err = -EPROTO;
    }
    if (err == 0) {
        err = receive_state(&d, s, errp);
    }
    if (err < 0) {
        g_free(d.state);
        return err;
    }
    store->bytes += d.bytes;
    g_array_append_val(store->devices, d);
    return 0;
}

bool mig_device_store_receive(MigDeviceStore *store, MigStream *s,
                              uint64_t len, GError **errp)
{
    int err = receive_device(store, s, len, errp);

    if (err == -EPROTO) {
        return false;
    }
    return err == 0 || mig_stream_receive_error(err, errp);
}

static bool load_device(const StoredDevice *stored, const MigrationDevice *d,
                        GError **errp)
{
    bool ok;

    device_lock(d);
    ok = vmstate_load(d->vmsd, d->opaque, (int)stored->version,
                      stored->state, stored->bytes, errp);
    device_unlock(d);
    return ok;
}

/* What was received and the VM does not have, by name. */
static bool refuse_surplus(const MigDeviceStore *store, GArray *devices,
                           GError **errp)
{
    for (guint i = 0; i < store->devices->len; i++) {
        const StoredDevice *s = &g_array_index(store->devices, StoredDevice,
                                               i);
        bool found = false;

        for (guint j = 0; j < devices->len && !found; j++) {
            const MigrationDevice *d = &g_array_index(devices,
                                                      MigrationDevice, j);

            found = d->instance == s->instance &&
                    strcmp(d->vmsd->name, s->name) == 0;
        }
        if (!found) {
            return vm_error_set(errp, 0,
                                "the source has a device '%s' (%" PRIu32
                                ") that the destination does not have",
                                s->name, s->instance);
        }
    }
    return true;
}

bool mig_device_store_load(const MigDeviceStore *store, const MigrationVm *vm,
                           GError **errp)
{
    g_autoptr(GArray) devices = vm->devices(vm->opaque);

    if (!refuse_surplus(store, devices, errp)) {
        return false;
    }
    for (guint i = 0; i < devices->len; i++) {
        const MigrationDevice *d = &g_array_index(devices, MigrationDevice,
                                                  i);
        const StoredDevice *s = find_stored(store, d->vmsd->name,
                                            d->instance);

        if (!s) {
            return vm_error_set(errp, 0,
                                "the source has no device '%s' (%" PRIu32
                                "), the destination does",
                                d->vmsd->name, d->instance);
        }
        if (!load_device(s, d, errp)) {
            return false;
        }
    }
    return true;
}
