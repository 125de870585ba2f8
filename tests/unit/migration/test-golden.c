/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: the stream is what docs/migration-format.md says, byte by byte,
 * and stays so: an older or newer program can read it.
 *
 * How: a small migration with every kind of record is recorded in both
 * directions and compared with the golden files; then the golden source is
 * replayed to a destination, whose answers and memory must be right.
 * VM_TEST_WRITE_GOLDEN=1 writes the files anew: read them before committing.
 */
#include "fake-vm.h"
#include "golden.h"
#include "relay.h"

#include <string.h>

/* Four chunks of two pages, the last one of one page. */
static const FakeVmConfig config = { 7, 2, 2, NULL, 1 };

static void fill(FakeVm *f)
{
    fake_vm_set_chunk(f, 1, RAM_PLACE_RAM, 4);
    fake_vm_set_chunk(f, 2, RAM_PLACE_SWAP, 7);
    fake_vm_set_chunk(f, 3, RAM_PLACE_ZERO, 9);
    fake_vm_set_page(f, 2, 0x11);
    fake_vm_set_page(f, 4, 0x22);
    fake_vm_set_page(f, 5, 0x33);
}

/* exchanged: chunks 1 and 2 have changed places. */
static void check_memory(FakeVm *f, bool exchanged)
{
    static const uint8_t want[] = { 0, 0, 0x11, 0, 0x22, 0x33, 0 };
    uint8_t page[RAM_PAGE_BYTES];

    for (PageNo i = 0; i < G_N_ELEMENTS(want); i++) {
        fake_vm_read_page(f, i, page);
        for (size_t k = 0; k < sizeof(page); k++) {
            g_assert_cmpuint(page[k], ==, want[i]);
        }
    }
    g_assert_cmpint(fake_pager_place(f, 1), ==, exchanged ? RAM_PLACE_RAM
                                                          : RAM_PLACE_SWAP);
    g_assert_cmpint(fake_pager_place(f, 2), ==, exchanged ? RAM_PLACE_SWAP
                                                          : RAM_PLACE_RAM);
    g_assert_cmpint(fake_pager_history(f, 2, 0), ==, 7);
    g_assert_cmpint(fake_pager_history(f, 3, 0), ==, 9);
}

static void record(bool checksum, const char *source,
                   const char *destination)
{
    MigrationCapabilities c = { .checksum = checksum };
    FakeWorld world = { 0 };
    FakeVm *src = fake_vm_new(&world, &config);
    FakeVm *dst = fake_vm_new(&world, &config);
    char *dir = fake_dir_new();
    g_autofree char *a = g_strdup_printf("unix:%s/a", dir);
    g_autofree char *b = g_strdup_printf("unix:%s/b", dir);
    g_autoptr(GByteArray) there = g_byte_array_new();
    g_autoptr(GByteArray) back = g_byte_array_new();
    Relay *relay;

    fake_vm_boot(src);
    fill(src);
    fake_pager_redirty_chunk(src, 1, 1);
    g_assert_true(migration_set_capabilities(src->mig, &c, NULL));
    g_assert_true(migration_listen(dst->mig, b, NULL));
    relay = relay_new(a, b);
    relay->there.record = g_byte_array_ref(there);
    relay->back.record = g_byte_array_ref(back);
    relay_start(relay);
    g_assert_true(migration_start(src->mig, a, NULL));
    g_assert_cmpint(fake_vm_wait(src), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(dst), ==, MIGRATION_COMPLETED);
    relay_join(relay);
    relay_free(relay);
    check_memory(dst, true);
    golden_compare(source, there);
    golden_compare(destination, back);
    fake_vm_free(src);
    fake_vm_free(dst);
    fake_dir_free(dir);
}

static void test_record(void)
{
    record(/* checksum= */ false, "source.hex", "destination.hex");
    record(/* checksum= */ true, "source-with-checksum.hex",
           "destination-with-checksum.hex");
}

typedef struct Golden {
    const char *source, *destination;
    bool exchanged;
} Golden;

static const Golden goldens[] = {
    { "source.hex", "destination.hex", true },
    { "source-with-checksum.hex", "destination-with-checksum.hex", true },
    /* Of a program that does not know MOVE. */
    { "source-without-move.hex", "destination-without-move.hex", false },
};

/* The recorded source, without one: all at once, since it asks nothing. */
static void test_replay(const void *data)
{
    const Golden *g = data;
    g_autoptr(GByteArray) source = golden_read(g->source);
    g_autoptr(GByteArray) answers = golden_read(g->destination);
    g_autofree uint8_t *got = g_malloc(answers->len);
    FakeWorld world = { 0 };
    FakeVm *dst = fake_vm_new(&world, &config);
    char *dir = fake_dir_new();
    g_autofree char *uri = g_strdup_printf("unix:%s/b", dir);
    VmChannel *ch;

    g_assert_true(migration_listen(dst->mig, uri, NULL));
    ch = vm_channel_connect(uri, -1, NULL);
    g_assert_cmpint(vm_channel_write_full(ch, source->data, source->len), ==,
                    0);
    g_assert_cmpint(vm_channel_read_full(ch, got, answers->len), ==, 0);
    g_assert_cmpmem(got, answers->len, answers->data, answers->len);
    g_assert_cmpint(fake_vm_wait(dst), ==, MIGRATION_COMPLETED);
    g_assert_true(fake_vm_runs(dst));
    check_memory(dst, g->exchanged);
    g_assert_cmpuint(dst->device[1].reg, ==, 0x1001);
    vm_channel_free(ch);
    fake_vm_free(dst);
    fake_dir_free(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/golden/record", test_record);
    for (size_t i = 0; i < G_N_ELEMENTS(goldens); i++) {
        g_autofree char *path = g_strdup_printf("/golden/replay/%s",
                                                goldens[i].source);
        g_test_add_data_func(path, &goldens[i], test_replay);
    }
    return g_test_run();
}
