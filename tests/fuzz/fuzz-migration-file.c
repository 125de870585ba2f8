/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: no saved file makes a destination that uses it in place read beyond
 * its end, touch memory that is not the guest's, or hang.
 *
 * How: a file with a right HELLO, pages for the map to point at, the input's
 * records, and a right end: FOOT, COMPLETE and RUN, whose counts and digest
 * fit. Input: type (its highest bit is that of types that may be ignored),
 * flags, length (2 bytes), body; again and again.
 */
#include "../unit/migration/fake-vm.h"

#include <glib/gstdio.h>
#include <string.h>

#include "../../migration/hello.h"
#include "../../migration/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CONTENT_PAGES 4u

static const FakeVmConfig config = { 14, 4, 8, NULL, 1 };

static void put(GByteArray *file, unsigned type, unsigned flags,
                const void *body, size_t len)
{
    MigWireRecord rec = { MIG_WIRE_MAGIC, (uint16_t)type, (uint16_t)flags,
                          len };

    g_byte_array_append(file, (const uint8_t *)&rec, sizeof(rec));
    g_byte_array_append(file, body, (guint)len);
}

static uint64_t digest_from(const GByteArray *file, uint64_t digest,
                            size_t from)
{
    return mig_digest(digest, file->data + from, file->len - from);
}

static void put_hello(GByteArray *file, FakeVm *vm)
{
    g_autoptr(GByteArray) body = NULL;
    MigHello hello;

    mig_hello_of_vm(&vm->vm, &hello);
    mig_hello_set_one_way(&hello, true);
    body = mig_hello_encode(&hello);
    put(file, MIG_REC_HELLO, 0, body->data, body->len);
}

/* Counts what it puts, as COMPLETE does. */
static void put_records(GByteArray *file, const uint8_t *data, size_t size,
                        MigWireComplete *counts)
{
    while (size >= 4) {
        size_t body = MIN((size_t)(data[2] | data[3] << 8), size - 4);
        unsigned type = (data[0] & 0x7f) | (data[0] & 0x80 ? 0x8000 : 0);

        put(file, type, data[1], data + 4, body);
        counts->records++;
        counts->devices += type == MIG_REC_DEVICE;
        data += 4 + body;
        size -= 4 + body;
    }
}

static GByteArray *make_file(FakeVm *vm, const uint8_t *data, size_t size)
{
    static const uint8_t content[CONTENT_PAGES * RAM_PAGE_BYTES];
    GByteArray *file = g_byte_array_new();
    MigWireFoot foot = { .records = 1 };
    MigWireComplete complete = { .records = 2 };
    MigWireRun run = { .state = MIG_WIRE_RUN_RUNNING };

    put_hello(file, vm);
    foot.digest = foot.hello_digest = digest_from(file, MIG_DIGEST_INIT, 0);
    g_byte_array_append(file, content, sizeof(content));
    foot.offset = file->len;
    put_records(file, data, size, &complete);
    put(file, MIG_REC_FOOT, 0, &foot, sizeof(foot));
    complete.digest = digest_from(file, foot.digest, foot.offset);
    put(file, MIG_REC_COMPLETE, 0, &complete, sizeof(complete));
    put(file, MIG_REC_RUN, 0, &run, sizeof(run));
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FakeWorld world = { 0 };
    FakeVm *vm = fake_vm_new(&world, &config);
    char *dir = fake_dir_new();
    g_autofree char *path = g_build_filename(dir, "vm", NULL);
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    GByteArray *file = make_file(vm, data, size);

    g_assert_true(g_file_set_contents_full(path, (const char *)file->data,
                                           file->len,
                                           G_FILE_SET_CONTENTS_NONE, 0600,
                                           NULL));
    fake_pager_allow_back(vm);
    g_assert_true(migration_listen(vm->mig, uri, NULL));
    g_assert_true((fake_vm_wait(vm) == MIGRATION_COMPLETED) ==
                  fake_vm_runs(vm));
    g_assert_false(world.violated);
    (void)g_unlink(path);
    g_byte_array_unref(file);
    fake_vm_free(vm);
    fake_dir_free(dir);
    return 0;
}
