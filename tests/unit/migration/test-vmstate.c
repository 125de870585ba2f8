/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: what vmstate_save() writes, vmstate_load() reads back, by
 * version; and no truncated or mutated input makes it read or write where it
 * should not, or believe a wrong length.
 *
 * How: round trips, golden bytes, every prefix, and every byte changed. Run
 * under the sanitizers to see the stray accesses.
 */
#include "migration/vmstate-io.h"

#include <errno.h>
#include <string.h>

typedef struct Ring {
    uint16_t index;
    bool on;
} Ring;

typedef struct Card {
    bool flag;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    int64_t s64;
    uint16_t table[3];
    uint8_t raw[4];
    Ring rings[2];
    Ring one;
    uint8_t *blob;
    uint32_t blob_len;
    uint32_t newer;
    int saved, loaded;
} Card;

static int ring_post_load(void *opaque, int version)
{
    Ring *r = opaque;

    return r->index <= 999 ? 0 : -EINVAL;
}

static const VMStateField ring_fields[] = {
    VMSTATE_U16(index, Ring),
    VMSTATE_BOOL(on, Ring),
    VMSTATE_END,
};
static const VMStateDescription ring_vmsd = {
    .name = "ring",
    .version = 3,
    .minimum_version = 2,
    .fields = ring_fields,
    .post_load = ring_post_load,
};

static int card_pre_save(void *opaque)
{
    Card *c = opaque;

    c->saved++;
    return c->u8 == 0xee ? -EBUSY : 0;
}

static int card_post_load(void *opaque, int version)
{
    ((Card *)opaque)->loaded = version;
    return 0;
}

static const VMStateField card_fields[] = {
    VMSTATE_BOOL(flag, Card),
    VMSTATE_U8(u8, Card),
    VMSTATE_U16(u16, Card),
    VMSTATE_U32(u32, Card),
    VMSTATE_U64(u64, Card),
    VMSTATE_S64(s64, Card),
    VMSTATE_U16_ARRAY(table, Card, 3),
    VMSTATE_BUFFER(raw, Card),
    VMSTATE_STRUCT_ARRAY(rings, Card, 2, ring_vmsd),
    VMSTATE_STRUCT(one, Card, ring_vmsd),
    VMSTATE_VARBYTES(blob, blob_len, Card, 8),
    { .name = "newer",
      .type = VMSTATE_TYPE_U32,
      .offset = offsetof(Card, newer),
      .count = 1,
      .element_bytes = 4,
      .since_version = 2 },
    VMSTATE_END,
};
static const VMStateDescription card_vmsd = {
    .name = "card",
    .version = 2,
    .minimum_version = 1,
    .fields = card_fields,
    .pre_save = card_pre_save,
    .post_load = card_post_load,
};
/* What an older program saves: the same without "newer". */
static const VMStateDescription card_v1_vmsd = {
    .name = "card",
    .version = 1,
    .minimum_version = 1,
    .fields = card_fields,
};

static Card sample(void)
{
    Card c = {
        .flag = true,
        .u8 = 1,
        .u16 = 0x203,
        .u32 = 0x4050607,
        .u64 = 0x8090a0b0c0d0e0full,
        .s64 = -2,
        .table = { 1, 2, 3 },
        .raw = { 9, 8, 7, 6 },
        .rings = { { 5, true }, { 999, false } },
        .one = { 6, true },
        .blob_len = 3,
        .newer = 77,
    };

    c.blob = g_memdup2("xyz", 3);
    return c;
}

static GByteArray *saved_sample(void)
{
    GByteArray *out = g_byte_array_new();
    Card c = sample();
    GError *err = NULL;

    g_assert_true(vmstate_save(&card_vmsd, &c, 4096, out, &err));
    g_assert_no_error(err);
    g_assert_cmpint(c.saved, ==, 1);
    g_free(c.blob);
    return out;
}

static void test_round_trip(void)
{
    g_autoptr(GByteArray) bytes = saved_sample();
    Card want = sample();
    Card got = { .blob = g_malloc(1), .blob_len = 1 };
    GError *err = NULL;

    g_assert_true(vmstate_load(&card_vmsd, &got, 2, bytes->data, bytes->len,
                               &err));
    g_assert_no_error(err);
    g_assert_cmpint(got.loaded, ==, 2);
    g_assert_true(got.flag);
    g_assert_cmpuint(got.u8, ==, want.u8);
    g_assert_cmpuint(got.u16, ==, want.u16);
    g_assert_cmpuint(got.u32, ==, want.u32);
    g_assert_cmpuint(got.u64, ==, want.u64);
    g_assert_cmpint(got.s64, ==, want.s64);
    g_assert_cmpmem(got.table, 6, want.table, 6);
    g_assert_cmpmem(got.raw, 4, want.raw, 4);
    g_assert_cmpuint(got.rings[1].index, ==, 999);
    g_assert_true(got.rings[0].on && !got.rings[1].on && got.one.on);
    g_assert_cmpmem(got.blob, got.blob_len, "xyz", 3);
    g_assert_cmpuint(got.newer, ==, 77);
    g_free(got.blob);
    g_free(want.blob);
}

/* The encoding of docs/migration-format.md, section 6, byte by byte. */
static void test_golden(void)
{
    static const uint8_t golden[] = {
        5, 'i', 'n', 'd', 'e', 'x', 2, 0, 0, 0, 0x34, 0x02, /* u16 */
        2, 'o', 'n', 1, 0, 0, 0, 1,                         /* bool */
    };
    g_autoptr(GByteArray) out = g_byte_array_new();
    Ring r = { 0x234, true };

    g_assert_true(vmstate_save(&ring_vmsd, &r, 100, out, NULL));
    g_assert_cmpmem(out->data, out->len, golden, sizeof(golden));
}

static void test_older_version(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    Card c = sample();
    Card got = { .newer = 5 };
    GError *err = NULL;

    g_assert_true(vmstate_save(&card_v1_vmsd, &c, 4096, out, NULL));
    g_assert_true(vmstate_load(&card_vmsd, &got, 1, out->data, out->len,
                               &err));
    g_assert_cmpint(got.loaded, ==, 1);
    g_assert_cmpuint(got.newer, ==, 5); /* not in the stream: as it was */
    /* The same bytes as version 2 lack a field, and are refused by name. */
    g_assert_false(vmstate_load(&card_vmsd, &got, 2, out->data, out->len,
                                &err));
    g_assert_nonnull(strstr(err->message, "newer"));
    g_clear_error(&err);
    g_assert_false(vmstate_load(&card_vmsd, &got, 3, out->data, out->len,
                                &err));
    g_assert_nonnull(strstr(err->message, "version 3"));
    g_clear_error(&err);
    g_free(c.blob);
    g_free(got.blob);
}

static void test_refusals(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    Card c = sample();
    Card got = { 0 };
    GError *err = NULL;

    g_byte_array_append(out, (const guint8 *)"before", 6);
    g_assert_false(vmstate_save(&card_vmsd, &c, 20, out, &err));
    g_assert_cmpuint(out->len, ==, 6);
    g_clear_error(&err);
    c.u8 = 0xee;
    g_assert_false(vmstate_save(&card_vmsd, &c, 4096, out, &err));
    g_assert_cmpuint(out->len, ==, 6);
    g_assert_cmpint(err->code, ==, EBUSY);
    g_clear_error(&err);
    c.u8 = 0;
    c.blob_len = 9;
    g_assert_false(vmstate_save(&card_vmsd, &c, 4096, out, &err));
    g_assert_nonnull(strstr(err->message, "blob"));
    g_clear_error(&err);
    c.blob_len = 3;
    c.rings[1].index = 1000; /* refused by the nested post_load */
    g_byte_array_set_size(out, 0);
    g_assert_true(vmstate_save(&card_vmsd, &c, 4096, out, NULL));
    g_assert_false(vmstate_load(&card_vmsd, &got, 2, out->data, out->len,
                                &err));
    g_assert_nonnull(strstr(err->message, "rings[1]"));
    g_assert_nonnull(strstr(err->message, "ring"));
    g_clear_error(&err);
    g_free(c.blob);
    g_free(got.blob);
}

static void try_load(const uint8_t *bytes, size_t len, bool must_fail)
{
    /* A copy of the exact size, so that ASan sees a byte too many. */
    g_autofree uint8_t *copy = g_memdup2(bytes, len);
    Card got = { 0 };
    GError *err = NULL;
    bool ok = vmstate_load(&card_vmsd, &got, 2, copy, len, &err);

    g_assert_true(ok == (err == NULL));
    g_assert_true(!ok || !must_fail);
    g_clear_error(&err);
    g_free(got.blob);
}

static void test_truncated(void)
{
    g_autoptr(GByteArray) bytes = saved_sample();

    for (size_t len = 0; len < bytes->len; len++) {
        try_load(bytes->data, len, /* must_fail= */ true);
    }
    g_byte_array_append(bytes, (const guint8 *)"", 1);
    try_load(bytes->data, bytes->len, /* must_fail= */ true);
}

static void test_mutated(void)
{
    g_autoptr(GByteArray) bytes = saved_sample();

    for (size_t i = 0; i < bytes->len; i++) {
        uint8_t old = bytes->data[i];

        for (int v = 0; v < 256; v++) {
            bytes->data[i] = (uint8_t)v;
            try_load(bytes->data, bytes->len, /* must_fail= */ false);
        }
        bytes->data[i] = old;
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmstate/round-trip", test_round_trip);
    g_test_add_func("/vmstate/golden", test_golden);
    g_test_add_func("/vmstate/older-version", test_older_version);
    g_test_add_func("/vmstate/refusals", test_refusals);
    g_test_add_func("/vmstate/truncated", test_truncated);
    g_test_add_func("/vmstate/mutated", test_mutated);
    return g_test_run();
}
