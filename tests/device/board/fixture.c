/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fixture.h. */
#include "fixture.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hw/i386/pc.h"
#include "migration/vmstate-io.h"

#define LIMIT_US (5 * G_USEC_PER_SEC)

static void record_line(void *opaque, unsigned gsi, bool level)
{
    Fixture *f = opaque;

    g_assert_cmpuint(gsi, <, MACHINE_GSIS);
    g_assert_true(level != f->level[gsi]); /* changes only */
    f->level[gsi] = level;
    f->edges[gsi] += level;
}

static void no_msi(void *opaque, uint64_t address, uint32_t data)
{
    g_assert_not_reached();
}

static const InterruptOps interrupt_ops = {
    .set_line = record_line,
    .send_msi = no_msi,
};

static void record_shutdown(void *opaque)
{
    ((Fixture *)opaque)->shutdowns++;
}

static void record_reset(void *opaque)
{
    ((Fixture *)opaque)->resets++;
}

static void record_debug_exit(void *opaque, int status)
{
    Fixture *f = opaque;

    f->debug_exits++;
    f->debug_exit_status = status;
}

static const MachineRequests requests = {
    record_shutdown,
    record_reset,
    record_debug_exit,
};

static Chardev *find_chardev(void *opaque, const char *id)
{
    Fixture *f = opaque;

    return g_str_equal(id, "chr0") ? f->chr : NULL;
}

static const MachineBackends backends = {
    .find_chardev = find_chardev,
};

void fixture_init(Fixture *f, uint64_t ram_bytes)
{
    g_autofree char *text = NULL;
    GError *err = NULL;
    int sv[2];

    memset(f, 0, sizeof(*f));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    f->peer = sv[1];
    text = g_strdup_printf("socket,id=chr0,fd=%d", sv[0]);
    f->chr = chardev_new_from_option(text, &err);
    g_assert_no_error(err);

    machine_init(&f->machine);
    f->machine.memory = address_space_new(AS_MEMORY);
    f->machine.ports = address_space_new(AS_PORTS);
    if (ram_bytes) {
        f->machine.ram = ram_block_new("pc.ram", ram_bytes, &err);
        g_assert_no_error(err);
    }
    f->machine.interrupts = &interrupt_ops;
    f->machine.interrupts_opaque = f;
    f->machine.requests = &requests;
    f->machine.requests_opaque = f;
    f->machine.backends = &backends;
    f->machine.backends_opaque = f;
}

void fixture_done(Fixture *f)
{
    machine_done(&f->machine);
    address_space_free(f->machine.memory);
    address_space_free(f->machine.ports);
    if (f->machine.ram) {
        ram_block_free(f->machine.ram);
    }
    chardev_free(f->chr);
    close(f->peer);
}

uint32_t port_read(Fixture *f, uint16_t port, unsigned len)
{
    uint32_t value = 0;

    address_space_io_read(f->machine.ports, port, &value, len);
    return value;
}

void port_write(Fixture *f, uint16_t port, uint32_t value, unsigned len)
{
    address_space_io_write(f->machine.ports, port, &value, len);
}

void fixture_run_pending(void)
{
    while (g_main_context_iteration(NULL, FALSE)) {
    }
}

static gboolean tick(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

void fixture_run_until(Fixture *f, bool (*cond)(Fixture *f))
{
    gint64 limit = g_get_monotonic_time() + LIMIT_US;
    guint id = g_timeout_add(10, tick, NULL);

    while (!cond(f)) {
        g_assert_cmpint(g_get_monotonic_time(), <, limit);
        g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(id);
}

Device *fixture_device(Fixture *f, const char *type)
{
    Device *found = NULL;

    for (guint i = 0; i < f->machine.devices->len; i++) {
        Device *dev = g_ptr_array_index(f->machine.devices, i);

        if (g_str_equal(dev->type, type)) {
            g_assert_null(found);
            found = dev;
        }
    }
    g_assert_nonnull(found);
    return found;
}

bool fixture_create(Fixture *f, const char *text, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-device", text, "driver", errp);
    const char *driver, *id;

    g_assert_nonnull(kv);
    driver = vm_keyval_get(kv, "driver");
    id = vm_keyval_get(kv, "id");
    for (const DeviceType *t = pc_device_types; t->name; t++) {
        if (g_str_equal(t->name, driver)) {
            return t->create(&f->machine, id, kv, errp) &&
                   vm_keyval_check_all_used(kv, errp);
        }
    }
    g_assert_not_reached();
}

GByteArray *fixture_save(Device *dev)
{
    GByteArray *state = g_byte_array_new();
    GError *err = NULL;

    vm_mutex_lock(&dev->lock);
    vmstate_save(dev->vmsd, dev, 1 << 20, state, &err);
    vm_mutex_unlock(&dev->lock);
    g_assert_no_error(err);
    return state;
}

bool fixture_load(Device *dev, const GByteArray *state)
{
    bool ok;

    vm_mutex_lock(&dev->lock);
    ok = vmstate_load(dev->vmsd, dev, dev->vmsd->version, state->data,
                      state->len, NULL);
    vm_mutex_unlock(&dev->lock);
    return ok;
}
