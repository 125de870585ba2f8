/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: whatever a destination answers, the source does not crash or hang;
 * it goes on as long as nobody else can run the VM, and does not once
 * somebody can.
 *
 * How: a source migrates to this program, which reads what it sends, and
 * gives it the next answer of the input wherever one is due: after HELLO, each
 * PASS, COMPLETE and RUN. When the input is used up the connection is closed.
 */
#include "../unit/migration/fake-vm.h"

#include <string.h>

#include "../../migration/migration-internal.h"
#include "util/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Who has promised more bytes than he sends is waited for so long. */
#define WAIT_NS (50 * VM_NS_PER_MS)

static const FakeVmConfig config = { 14, 4, 8, NULL, 1 };

typedef struct Peer {
    const uint8_t *at, *end; /* of the input */
    VmChannel *ch;
    bool asked_ready, asked_running;
    bool failed; /* this side has said so after RUN */
} Peer;

/* Input: low byte of the type, flags, length, body. False: no more. */
static bool answer(Peer *p)
{
    MigWireRecord rec = { .magic = MIG_WIRE_MAGIC };
    size_t body;

    if (p->end - p->at < 3) {
        return false;
    }
    rec.type = (uint16_t)(0x100 | p->at[0]);
    rec.flags = p->at[1];
    rec.length = p->at[2];
    p->at += 3;
    body = MIN(rec.length, (size_t)(p->end - p->at));
    p->failed |= p->asked_running && rec.type == MIG_REC_FAILED;
    (void)vm_channel_write_full(p->ch, &rec, sizeof(rec)); /* or it left */
    (void)vm_channel_write_full(p->ch, p->at, body);
    p->at += body;
    return true;
}

/* Reads a record; false at the end of the stream. */
static bool read_record(Peer *p, MigWireRecord *ret)
{
    uint8_t body[4096];
    int err = vm_channel_read_full(p->ch, ret, sizeof(*ret));

    if (err < 0) {
        return false;
    }
    g_assert_cmphex(ret->magic, ==, MIG_WIRE_MAGIC);
    for (uint64_t left = ret->length; left > 0 && err == 0;) {
        size_t n = MIN(left, sizeof(body));

        err = vm_channel_read_full(p->ch, body, n);
        left -= n;
    }
    return err == 0;
}

static bool is_due(Peer *p, const MigWireRecord *rec)
{
    p->asked_ready |= rec->type == MIG_REC_COMPLETE;
    p->asked_running |= rec->type == MIG_REC_RUN;
    return rec->type == MIG_REC_HELLO || rec->type == MIG_REC_COMPLETE ||
           rec->type == MIG_REC_RUN ||
           (rec->type == MIG_REC_PASS && !(rec->flags & MIG_FLAG_LAST));
}

static void converse(Peer *p)
{
    MigWireRecord rec;

    while (read_record(p, &rec)) {
        if (is_due(p, &rec) && !answer(p)) {
            break;
        }
    }
    vm_channel_shutdown(p->ch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FakeWorld world = { 0 };
    FakeVm *vm = fake_vm_new(&world, &config);
    char *dir = fake_dir_new();
    g_autofree char *uri = g_strdup_printf("unix:%s/m", dir);
    VmListener *listener = vm_listener_new(uri, NULL);
    Peer p = { .at = data, .end = data + size };
    MigrationStatus status;

    g_assert_nonnull(listener);
    fake_vm_boot(vm);
    fake_vm_fill(vm, 1);
    fake_vm_set_bandwidth(vm, 0);
    vm->mig->waits = (MigWaits){ WAIT_NS, WAIT_NS, WAIT_NS,
                                 WAIT_NS, WAIT_NS, WAIT_NS };
    g_assert_true(migration_start(vm->mig, uri, NULL));
    p.ch = vm_listener_accept(listener, NULL);
    g_assert_nonnull(p.ch);
    converse(&p);
    status = fake_vm_wait(vm);
    g_assert_true(p.asked_running || status == MIGRATION_FAILED);
    if (!p.asked_ready) {
        g_assert_true(fake_vm_runs(vm));
    } else if (p.asked_running && !p.failed) {
        g_assert_false(fake_vm_runs(vm));
    }
    g_assert_false(world.violated);
    vm_channel_free(p.ch);
    vm_listener_free(listener);
    fake_vm_free(vm);
    fake_dir_free(dir);
    return 0;
}
