/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: what does not fit is refused by name, on both sides of the
 * handshake, and what fits is agreed upon as section 3 of
 * docs/migration-format.md says. How: the pure functions of hello.c.
 */
#include "../../../migration/hello.h"

#include <string.h>

static const MigHello base = {
    .version_min = 1,
    .version_max = 1,
    .features = 0x5,
    .page_bytes = 4096,
    .chunk_pages = 256,
    .vcpus = 2,
    .ram_blocks = 1,
    .ram_bytes = 1 << 30,
    .machine = "pc-test",
    .ram_id = "ram",
};

static void expect_refused(MigHello source, MigHello own, const char *word)
{
    MigWireWelcome w;
    GError *err = NULL;

    g_assert_false(mig_hello_answer(&source, &own, 100, &w, &err));
    g_assert_nonnull(strstr(err->message, word));
    g_clear_error(&err);
}

static void test_refusals(void)
{
    MigHello h;

    h = base, h.version_min = h.version_max = 2;
    expect_refused(h, base, "version");
    expect_refused(base, h, "version");
    h = base, h.features_required = 0x8;
    expect_refused(h, base, "features 0x8");
    h = base, g_strlcpy(h.machine, "q35", sizeof(h.machine));
    expect_refused(h, base, "'q35'");
    h = base, h.vcpus = 3;
    expect_refused(h, base, "CPUs");
    h = base, h.page_bytes = 16384;
    expect_refused(h, base, "page size");
    h = base, h.ram_blocks = 2;
    expect_refused(h, base, "RAM layout");
    h = base, g_strlcpy(h.ram_id, "other", sizeof(h.ram_id));
    expect_refused(h, base, "'other'");
    h = base, h.ram_bytes++;
    expect_refused(h, base, "RAM size");
    h = base, h.chunk_pages = 96;
    expect_refused(h, base, "chunk size");
    h = base, h.chunk_pages = 0, h.adapts_chunk = true;
    expect_refused(h, base, "chunk size");
    h.chunk_pages = 513;
    expect_refused(h, base, "chunk size");
}

/* Nobody answers: the destination takes what the source has decided. */
static void test_one_way(void)
{
    MigHello source = base, own = base;
    MigWireWelcome w;

    source.adapts_chunk = true;
    mig_hello_set_one_way(&source, true);
    g_assert_true(mig_hello_is_one_way(&source));
    own.features &= ~MIG_FEATURE_ONE_WAY;
    expect_refused(source, own, "features 0x1 "); /* an older program's */
    own.features |= MIG_FEATURE_ONE_WAY;
    g_assert_true(mig_hello_answer(&source, &own, 7, &w, NULL));
    g_assert_cmpuint(w.chunk_pages, ==, source.chunk_pages);
    own.chunk_pages = 512;
    g_assert_true(mig_hello_answer(&source, &own, 7, &w, NULL));
    g_assert_cmpuint(w.chunk_pages, ==, source.chunk_pages);
    own.chunk_pages = 64; /* what arrives is cut there */
    g_assert_true(mig_hello_answer(&source, &own, 7, &w, NULL));
    g_assert_cmpuint(w.chunk_pages, ==, source.chunk_pages);
    own.chunk_pages = 96;
    expect_refused(source, own, "chunk size");
    own.adapts_chunk = true;
    g_assert_true(mig_hello_answer(&source, &own, 7, &w, NULL));
    g_assert_cmpuint(w.chunk_pages, ==, source.chunk_pages);
    mig_hello_set_one_way(&source, false);
    g_assert_false(mig_hello_is_one_way(&source));
}

static void expect_chunk(uint32_t src, bool src_adapts, uint32_t dst,
                         bool dst_adapts, uint32_t want)
{
    MigHello s = base, d = base;
    MigWireWelcome w;
    GError *err = NULL;

    s.chunk_pages = src, s.adapts_chunk = src_adapts;
    d.chunk_pages = dst, d.adapts_chunk = dst_adapts;
    g_assert_true(mig_hello_answer(&s, &d, 7, &w, &err));
    g_assert_no_error(err);
    g_assert_cmpuint(w.chunk_pages, ==, want);
    g_assert_cmpuint(w.budget_pages, ==, 7);
    g_assert_true(mig_hello_accept(&s, &w, &err));
}

static void test_chunk_size(void)
{
    expect_chunk(256, false, 256, false, 256);
    expect_chunk(256, false, 64, true, 256);
    expect_chunk(256, true, 64, false, 64);
    expect_chunk(256, true, 64, true, 256);
    expect_chunk(512, false, 64, false, 64);
    expect_chunk(64, false, 512, false, 64);
}

static void test_negotiation(void)
{
    MigHello s = base, d = base;
    MigWireWelcome w;

    s.version_max = 9, s.features = 0xf5;
    d.version_max = 3, d.features = 0x17;
    g_assert_true(mig_hello_answer(&s, &d, 1, &w, NULL));
    g_assert_cmpuint(w.version, ==, 3);
    g_assert_cmpuint(w.features, ==, 0x15);
}

static void expect_unacceptable(MigWireWelcome w, const char *word)
{
    GError *err = NULL;

    g_assert_false(mig_hello_accept(&base, &w, &err));
    g_assert_nonnull(strstr(err->message, word));
    g_clear_error(&err);
}

static void test_accept(void)
{
    MigWireWelcome good = { .version = 1, .chunk_pages = 256,
                            .features = 0x4 };
    MigWireWelcome w;

    g_assert_true(mig_hello_accept(&base, &good, NULL));
    w = good, w.version = 2;
    expect_unacceptable(w, "version 2");
    w = good, w.features = 0x8;
    expect_unacceptable(w, "0x8");
    w = good, w.chunk_pages = 128;
    g_assert_true(mig_hello_accept(&base, &w, NULL));
    w = good, w.chunk_pages = 512;
    expect_unacceptable(w, "512");
    w = good, w.chunk_pages = 0;
    expect_unacceptable(w, "chunk size of 0");
}

/* Every prefix, and every byte changed: never beyond the end, never names
 * with odd bytes in them. */
static void test_decode_hostile(void)
{
    g_autoptr(GByteArray) good = mig_hello_encode(&base);
    MigHello h;

    g_assert_true(mig_hello_decode(good->data, good->len, &h));
    g_assert_cmpmem(&h, sizeof(h), &base, sizeof(base));
    for (size_t len = 0; len < good->len; len++) {
        g_autofree uint8_t *copy = g_memdup2(good->data, len);

        g_assert_false(mig_hello_decode(copy, len, &h));
    }
    for (size_t i = 0; i < good->len; i++) {
        g_autofree uint8_t *copy = g_memdup2(good->data, good->len);

        for (int v = 0; v < 256; v++) {
            copy[i] = (uint8_t)v;
            if (mig_hello_decode(copy, good->len, &h)) {
                g_assert_cmpuint(strlen(h.machine), <=, MIG_NAME_BYTES_MAX);
                g_assert_true(g_str_is_ascii(h.machine));
                g_assert_true(g_str_is_ascii(h.ram_id));
            }
        }
    }
    /* A later version may say more. */
    g_byte_array_append(good, (const guint8 *)"more", 4);
    g_assert_true(mig_hello_decode(good->data, good->len, &h));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hello/refusals", test_refusals);
    g_test_add_func("/hello/chunk-size", test_chunk_size);
    g_test_add_func("/hello/one-way", test_one_way);
    g_test_add_func("/hello/negotiation", test_negotiation);
    g_test_add_func("/hello/accept", test_accept);
    g_test_add_func("/hello/decode-hostile", test_decode_hostile);
    return g_test_run();
}
