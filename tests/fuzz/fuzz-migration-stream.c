/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: no stream makes the destination touch memory that is not the
 * guest's, hang, or run the VM without a whole hand-over.
 *
 * How: the input is sent to a listening destination behind a valid HELLO, and
 * the connection is closed. An odd first byte: without HELLO; its bit 1: HELLO
 * is that of a source that wants no answers; its bit 2: the input is what a
 * channel carries, while the first connection is at the end of a pass. Heads
 * are mended: 16 bytes with the type of the first, so that the fuzzer need not
 * find the magic; and payload is not the input's.
 */
#include "../unit/migration/fake-vm.h"

#include <string.h>

#include "../../migration/hello.h"
#include "../../migration/migration-internal.h"
#include "../../migration/wire.h"
#include "util/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const FakeVmConfig config = { 14, 4, 8, NULL, 1 };

static void put(VmChannel *ch, const void *bytes, size_t len)
{
    (void)vm_channel_write_full(ch, bytes, len); /* it may have hung up */
}

static void put_record(VmChannel *ch, MigRecordType type, const void *body,
                       size_t len)
{
    MigWireRecord rec = { MIG_WIRE_MAGIC, (uint16_t)type, 0, len };

    put(ch, &rec, sizeof(rec));
    put(ch, body, len);
}

static void put_hello(VmChannel *ch, FakeVm *vm, bool one_way,
                      unsigned channels)
{
    MigHello hello;
    g_autoptr(GByteArray) body = NULL;

    mig_hello_of_vm(&vm->vm, &hello);
    mig_hello_set_one_way(&hello, one_way);
    mig_hello_set_channels(&hello, channels);
    body = mig_hello_encode(&hello);
    put_record(ch, MIG_REC_HELLO, body->data, body->len);
}

/* A CHUNK as far as the input has it asks for so many pages of payload. */
static unsigned payload_pages(const uint8_t *data, size_t body)
{
    MigWireChunk chunk;

    if (data[0] != MIG_REC_CHUNK || body < sizeof(chunk)) {
        return 0;
    }
    memcpy(&chunk, data + 4, sizeof(chunk));
    return MIN(chunk.payload_pages, config.chunk_pages);
}

/* Input: type, flags, length (2 bytes), body but for payload; again and again.
 * Returns whether a whole RUN was among them, without which no VM may run. */
static bool put_records(VmChannel *ch, const uint8_t *data, size_t size)
{
    static const uint8_t page[RAM_PAGE_BYTES] = { 1, 2, 3 };
    bool run = false;

    while (size >= 4) {
        uint64_t length = data[2] | (uint64_t)data[3] << 8;
        MigWireRecord rec = { MIG_WIRE_MAGIC, data[0], data[1], length };
        size_t body = MIN(length, size - 4);
        unsigned pages = payload_pages(data, body);

        rec.length += pages * sizeof(page);
        put(ch, &rec, sizeof(rec));
        put(ch, data + 4, body);
        for (unsigned i = 0; i < pages; i++) {
            put(ch, page, sizeof(page));
        }
        run |= data[0] == MIG_REC_RUN && body == length;
        data += 4 + body;
        size -= 4 + body;
    }
    return run;
}

/* The first connection waits for the channel at its barrier, until that has
 * come there too, or has failed. No record of a channel makes the VM run. */
static void put_by_channel(VmChannel *first, FakeVm *vm, const char *uri,
                           const uint8_t *data, size_t size)
{
    static const MigWireChannel who = { "a token", 0, 0 };
    static const MigWirePass pass = { .pass = 1 };
    uint8_t answers[2 * sizeof(MigWireRecord) + sizeof(MigWireWelcome) +
                    MIG_TOKEN_BYTES]; /* WELCOME; PASS_DONE or FAILED */
    VmChannel *ch;

    vm->mig->token = who.token;
    put_hello(first, vm, /* one_way= */ false, 1);
    put_record(first, MIG_REC_PASS, &pass, sizeof(pass));
    ch = vm_channel_connect(uri, -1, NULL);
    if (ch) { /* else it has hung up */
        put_record(ch, MIG_REC_CHANNEL, &who, sizeof(who));
        (void)put_records(ch, data, size);
        vm_channel_end_writes(ch);
        (void)vm_channel_read_full(first, answers, sizeof(answers));
        vm_channel_free(ch);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FakeWorld world = { 0 };
    FakeVm *vm = fake_vm_new(&world, &config);
    char *dir = fake_dir_new();
    g_autofree char *uri = g_strdup_printf("unix:%s/m", dir);
    VmChannel *ch;
    bool hello = size == 0 || !(data[0] & 1), run = false;
    MigrationStatus status = MIGRATION_NONE;

    g_assert_true(migration_listen(vm->mig, uri, NULL));
    ch = vm_channel_connect(uri, -1, NULL);
    g_assert_nonnull(ch);
    if (hello && size && (data[0] & 4)) {
        put_by_channel(ch, vm, uri, data + 1, size - 1);
    } else if (hello) {
        put_hello(ch, vm, size && (data[0] & 2), 0);
        if (size) {
            run = put_records(ch, data + 1, size - 1);
        }
    } else {
        put(ch, data + 1, size - 1);
    }
    vm_channel_shutdown(ch);
    if (hello) {
        status = fake_vm_wait(vm);
    }
    g_assert_true(run || status != MIGRATION_COMPLETED);
    g_assert_true(status == MIGRATION_COMPLETED || !fake_vm_runs(vm));
    vm_channel_free(ch);
    fake_vm_free(vm);
    g_assert_false(world.violated);
    fake_dir_free(dir);
    return 0;
}
