/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: whatever a peer sends that is not in the protocol, the
 * destination refuses with the cause and never runs, and the source goes on.
 *
 * How: the test plays the peer, one wrong record at a time. Run under ASan.
 */
#include "fake-vm.h"

#include <string.h>

#include "../../../migration/hello.h"
#include "../../../migration/page-sum.h"
#include "../../../migration/wire.h"
#include "util/channel.h"

#define CHUNK 4u
static const FakeVmConfig config = { 14, CHUNK, 8, NULL, 1 };

typedef struct Peer {
    FakeWorld world;
    FakeVm *vm;
    char *dir, *uri;
    VmChannel *ch;
    uint64_t digest;
    uint64_t records;
} Peer;

static void put(Peer *p, uint16_t type, uint16_t flags, uint64_t length,
                const void *body, size_t len)
{
    MigWireRecord rec = { MIG_WIRE_MAGIC, type, flags, length };

    /* A peer that has given up on us already is no failure here. */
    (void)vm_channel_write_full(p->ch, &rec, sizeof(rec));
    (void)vm_channel_write_full(p->ch, body, len);
    p->digest = mig_digest(mig_digest(p->digest, &rec, sizeof(rec)), body,
                           len);
    p->records++;
}

static void put_body(Peer *p, uint16_t type, uint16_t flags, const void *body,
                     size_t len)
{
    put(p, type, flags, len, body, len);
}

static void get(Peer *p, uint16_t want, void *body, size_t max)
{
    MigWireRecord rec;

    g_assert_cmpint(vm_channel_read_full(p->ch, &rec, sizeof(rec)), ==, 0);
    g_assert_cmpuint(rec.type, ==, want);
    g_assert_cmpuint(rec.length, <=, max);
    g_assert_cmpint(vm_channel_read_full(p->ch, body, rec.length), ==, 0);
    ((char *)body)[rec.length < max ? rec.length : max - 1] = '\0';
}

static Peer *peer_new(void)
{
    Peer *p = g_new0(Peer, 1);

    p->vm = fake_vm_new(&p->world, &config);
    p->dir = fake_dir_new();
    p->uri = g_strdup_printf("unix:%s/m", p->dir);
    p->digest = MIG_DIGEST_INIT;
    return p;
}

static void peer_free(Peer *p)
{
    vm_channel_free(p->ch);
    fake_vm_free(p->vm);
    g_assert_false(p->world.violated);
    fake_dir_free(p->dir);
    g_free(p->uri);
    g_free(p);
}

/* -- a hostile source -------------------------------------------------- */

/* Past the handshake. */
static Peer *source_new(void)
{
    Peer *p = peer_new();
    MigHello hello;
    g_autoptr(GByteArray) body = NULL;
    char answer[64];

    mig_hello_of_vm(&p->vm->vm, &hello);
    body = mig_hello_encode(&hello);
    g_assert_true(migration_listen(p->vm->mig, p->uri, NULL));
    p->ch = vm_channel_connect(p->uri, -1, NULL);
    g_assert_nonnull(p->ch);
    put_body(p, MIG_REC_HELLO, 0, body->data, body->len);
    get(p, MIG_REC_WELCOME, answer, sizeof(answer));
    return p;
}

static void expect_failed(Peer *p, const char *word)
{
    char reason[MIG_REASON_BYTES_MAX + 1];

    get(p, MIG_REC_FAILED, reason, sizeof(reason));
    if (!strstr(reason, word)) {
        g_test_message("'%s' is not in: %s", word, reason);
        g_test_fail();
    }
    vm_channel_shutdown(p->ch);
    g_assert_cmpint(fake_vm_wait(p->vm), ==, MIGRATION_FAILED);
    g_assert_nonnull(strstr(p->vm->error, word));
    g_assert_false(fake_vm_runs(p->vm));
    g_assert_false(p->vm->owns_images);
    g_assert_cmpint(p->vm->starts, ==, 0);
    peer_free(p);
}

typedef struct Wrong {
    const char *name, *word;
    uint16_t type, flags;
    uint64_t length; /* as said; UINT64_MAX: as it is */
    const uint8_t *body;
    size_t len;
} Wrong;

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, \
        sizeof((const uint8_t[]){ __VA_ARGS__ })
#define AS_IS UINT64_MAX
#define BITMAP(b) (b), 0, 0, 0, 0, 0, 0, 0
#define U32(x) (x), 0, 0, 0
#define U64(x) (x), 0, 0, 0, 0, 0, 0, 0

static const Wrong wrongs[] = {
    { "type", "unknown record type", 0x77, 0, AS_IS, BYTES(0) },
    { "skip-too-long", "too long", 0x8077, 0, 1ull << 40, BYTES(0) },
    { "hello-again", "unknown record type", MIG_REC_HELLO, 0, AS_IS,
      BYTES(0) },
    { "flags", "unknown flags", MIG_REC_PASS, 0x80, AS_IS, BYTES(0) },
    { "pass-length", "bad length", MIG_REC_PASS, 0, AS_IS, BYTES(1) },
    { "pass-number", "out of order", MIG_REC_PASS, 0, AS_IS,
      BYTES(U32(2), U32(0)) },
    { "plan-sum", "do not add up", MIG_REC_PLAN, 0, AS_IS,
      BYTES(U64(1), U64(1), U64(1)) },
    { "plan-overflow", "do not add up", MIG_REC_PLAN, 0, AS_IS,
      BYTES(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, U64(15),
            U64(0)) },
    { "plan-budget", "more RAM", MIG_REC_PLAN, 0, AS_IS,
      BYTES(U64(9), U64(0), U64(5)) },
    { "chunk-short", "too short", MIG_REC_CHUNK, 0, AS_IS, BYTES(1) },
    { "chunk-number", "no such chunk", MIG_REC_CHUNK, 0, AS_IS,
      BYTES(U32(4), 0, 0, 1, 0, BITMAP(0), BITMAP(1)) },
    { "chunk-huge-number", "no such chunk", MIG_REC_CHUNK, 0, AS_IS,
      BYTES(0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, BITMAP(0), BITMAP(1)) },
    { "chunk-both", "both payload and zero", MIG_REC_CHUNK, 0, AS_IS,
      BYTES(U32(0), 1, 0, 1, 0, BITMAP(1), BITMAP(1)) },
    { "chunk-beyond", "beyond the end", MIG_REC_CHUNK, 0, AS_IS,
      BYTES(U32(0), 0, 0, 1, 0, BITMAP(0), BITMAP(0x10)) },
    { "chunk-beyond-short", "beyond the end", MIG_REC_CHUNK, 0, AS_IS,
      BYTES(U32(3), 0, 0, 1, 0, BITMAP(0), BITMAP(0x4)) },
    { "chunk-count", "not the bitmap's", MIG_REC_CHUNK, 0, AS_IS,
      BYTES(U32(0), 2, 0, 1, 0, BITMAP(1), BITMAP(0)) },
    { "chunk-length", "bad length", MIG_REC_CHUNK, 0, AS_IS,
      BYTES(U32(0), 1, 0, 1, 0, BITMAP(1), BITMAP(0)) },
    { "chunk-history", "bad length", MIG_REC_CHUNK, 1, AS_IS,
      BYTES(U32(0), 0, 0, 1, 0, BITMAP(0), BITMAP(1)) },
    { "chunk-sums", "bad length", MIG_REC_CHUNK, 4, AS_IS,
      BYTES(U32(0), 1, 0, 1, 0, BITMAP(1), BITMAP(0), U64(0)) },
    { "chunk-place", "unknown placement", MIG_REC_CHUNK, 0, AS_IS,
      BYTES(U32(0), 0, 0, 3, 0, BITMAP(0), BITMAP(1)) },
    { "range-none", "no such chunks", MIG_REC_ZERO_RANGE, 0, AS_IS,
      BYTES(U32(0), U32(0)) },
    { "range-beyond", "no such chunks", MIG_REC_ZERO_RANGE, 0, AS_IS,
      BYTES(U32(1), U32(4)) },
    { "range-wrap", "no such chunks", MIG_REC_ZERO_RANGE, 0, AS_IS,
      BYTES(U32(2), 0xff, 0xff, 0xff, 0xff) },
    { "range-length", "bad length", MIG_REC_ZERO_RANGE, 1, AS_IS,
      BYTES(U32(0), U32(1), 1) },
    { "move-length", "bad length", MIG_REC_MOVE, 0, AS_IS,
      BYTES(U32(0), 2) },
    { "move-beyond", "no such chunk", MIG_REC_MOVE, 0, AS_IS,
      BYTES(U32(4), U32(2)) },
    { "move-to-ram", "no such chunk or place", MIG_REC_MOVE, 0, AS_IS,
      BYTES(U32(0), U32(1)) },
    { "move-reserved", "no such chunk or place", MIG_REC_MOVE, 0, AS_IS,
      BYTES(U32(0), 2, 0, 0, 1) },
    { "move-absent", "not in RAM", MIG_REC_MOVE, 0, AS_IS,
      BYTES(U32(0), U32(2)) },
    { "device-early", "out of place", MIG_REC_DEVICE, 0, AS_IS, BYTES(0) },
    { "complete-early", "out of place", MIG_REC_COMPLETE, 0, AS_IS,
      BYTES(0) },
    { "run-early", "out of place", MIG_REC_RUN, 0, AS_IS,
      BYTES(U32(1), U32(0)) },
};

static void test_wrong(const void *data)
{
    const Wrong *w = data;
    Peer *p = source_new();

    put(p, w->type, w->flags, w->length == AS_IS ? w->len : w->length,
        w->body, w->len);
    expect_failed(p, w->word);
}

static void test_no_magic(void)
{
    Peer *p = source_new();

    (void)vm_channel_write_full(p->ch, "0123456789abcdef", 16);
    expect_failed(p, "no record");
}

/* More chunks asked into RAM than fit the budget of two. */
static void test_over_budget(void)
{
    Peer *p = source_new();

    for (uint32_t c = 0; c < 3; c++) {
        uint8_t body[24] = { (uint8_t)c, 0, 0, 0, 0, 0, 1, 0 };

        body[16] = 0x3; /* two pages of zeros */
        put_body(p, MIG_REC_CHUNK, 0, body, sizeof(body));
    }
    expect_failed(p, "more RAM");
}

/* Up to the devices, with nothing but zero chunks. */
static Peer *source_at_devices(uint32_t chunks)
{
    Peer *p = source_new();
    MigWireZeroRange range = { 0, chunks };
    MigWirePass pass = { 1, 0 };

    put_body(p, MIG_REC_ZERO_RANGE, 0, &range, sizeof(range));
    put_body(p, MIG_REC_PASS, MIG_FLAG_LAST, &pass, sizeof(pass));
    return p;
}

static void put_complete(Peer *p, uint64_t devices, uint64_t records_off,
                         uint64_t digest_off)
{
    MigWireComplete c = { .records = p->records + records_off,
                          .devices = devices,
                          .digest = p->digest + digest_off };

    put_body(p, MIG_REC_COMPLETE, 0, &c, sizeof(c));
}

static void test_complete(void)
{
    Peer *p;
    uint8_t skipped[5] = { 1, 2, 3, 4, 5 };

    p = source_at_devices(4);
    put_complete(p, 0, 1, 0);
    expect_failed(p, "counts");
    p = source_at_devices(4);
    put_complete(p, 0, 0, 1);
    expect_failed(p, "digest");
    p = source_at_devices(3);
    put_complete(p, 0, 0, 0);
    expect_failed(p, "chunk 3 of guest RAM never came");
    p = source_at_devices(4);
    /* A record that may be ignored is; the device is what is missing. */
    put_body(p, 0x8123, 0xff00, skipped, sizeof(skipped));
    put_complete(p, 0, 0, 0);
    expect_failed(p, "no device 'fake-device' (0)");
}

/* Page 0, and what there is of a chunk beside it. */
typedef enum Page0 { WRONG, RIGHT, ZERO } Page0;

static void put_page0(Peer *p, Page0 what)
{
    static uint8_t page[RAM_PAGE_BYTES] = { 1, 2, 3 };
    struct __attribute__((packed)) {
        MigWireRecord rec;
        MigWireChunk chunk;
        uint64_t pages, zero, sum;
    } w = {
        .rec = { MIG_WIRE_MAGIC, MIG_REC_CHUNK, MIG_FLAG_CHECKSUM,
                 sizeof(w) - sizeof(w.rec) + sizeof(page) },
        .chunk = { .payload_pages = 1, .place = MIG_WIRE_PLACE_RAM },
        .pages = what == ZERO ? 2 : 1,
        .zero = what == ZERO ? 1 : 0,
        .sum = mig_page_sum(page) ^ (what == WRONG),
    };

    (void)vm_channel_write_full(p->ch, &w, sizeof(w));
    (void)vm_channel_write_full(p->ch, page, sizeof(page));
    p->digest = mig_digest(p->digest, &w, sizeof(w));
    p->records++;
}

/* Page 0 of a chunk comes so often; what is said to it at the end. */
static void try_pages(const Page0 *pages, size_t n, bool zero_range,
                      const char *word)
{
    Peer *p = source_new();
    MigWireZeroRange range = { 0, 4 }, first = { 0, 1 };
    MigWirePass pass = { 1, 0 };
    MigWireComplete c = { .payload_pages = n };

    put_body(p, MIG_REC_ZERO_RANGE, 0, &range, sizeof(range));
    for (size_t i = 0; i < n; i++) {
        put_page0(p, pages[i]);
    }
    if (zero_range) {
        put_body(p, MIG_REC_ZERO_RANGE, 0, &first, sizeof(first));
    }
    put_body(p, MIG_REC_PASS, MIG_FLAG_LAST, &pass, sizeof(pass));
    c.records = p->records;
    c.digest = p->digest;
    put_body(p, MIG_REC_COMPLETE, 0, &c, sizeof(c));
    expect_failed(p, word);
}

/* Only the last copy counts: the guest writes to pages that are being sent. */
static void test_damaged(void)
{
    static const char bad[] = "page 0 of guest RAM was damaged";
    static const char good[] = "no device 'fake-device'"; /* the next check */

    try_pages((Page0[]){ WRONG }, 1, false, bad);
    try_pages((Page0[]){ RIGHT, WRONG }, 2, false, bad);
    try_pages((Page0[]){ WRONG, RIGHT }, 2, false, good);
    try_pages((Page0[]){ WRONG, ZERO }, 2, false, good);
    try_pages((Page0[]){ WRONG }, 1, true, good);
}

static void put_device(Peer *p, const char *name, uint32_t instance,
                       uint32_t version, uint32_t state_bytes,
                       const char *state)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    MigWireDevice w = { .instance = instance,
                        .version = version,
                        .state_bytes = state_bytes,
                        .name_bytes = (uint16_t)strlen(name) };

    g_byte_array_append(out, (const guint8 *)&w, sizeof(w));
    g_byte_array_append(out, (const guint8 *)name, w.name_bytes);
    g_byte_array_append(out, (const guint8 *)state, (guint)strlen(state));
    put_body(p, MIG_REC_DEVICE, 0, out->data, out->len);
}

static void test_devices(void)
{
    Peer *p;

    p = source_at_devices(4);
    put_device(p, "", 0, 1, 0, "");
    expect_failed(p, "length of a name");
    p = source_at_devices(4);
    put_device(p, "x\ny", 0, 1, 0, "");
    expect_failed(p, "character");
    p = source_at_devices(4);
    put_device(p, "x", 0, 1, 2, "a");
    expect_failed(p, "does not fit");
    p = source_at_devices(4);
    put_device(p, "x", 0, 1, MIG_DEVICE_BYTES_MAX + 1, "a");
    expect_failed(p, "more than is accepted");
    p = source_at_devices(4);
    put_device(p, "x", 0, 0x80000000u, 1, "a");
    expect_failed(p, "version");
    p = source_at_devices(4);
    put_device(p, "x", 0, 1, 1, "a");
    put_device(p, "x", 0, 1, 1, "a");
    expect_failed(p, "twice");
    p = source_at_devices(4);
    put_device(p, "x", 0, 1, 1, "a");
    put_complete(p, 1, 0, 0);
    expect_failed(p, "device 'x' (0) that the destination does not have");
    p = source_at_devices(4);
    put_device(p, "fake-device", 0, 1, 1, "a");
    put_device(p, "fake-device", 1, 1, 1, "a");
    put_complete(p, 2, 0, 0);
    expect_failed(p, "field 'reg'");
    p = source_at_devices(4);
    put_device(p, "fake-device", 0, 2, 1, "a");
    put_device(p, "fake-device", 1, 1, 1, "a");
    put_complete(p, 2, 0, 0);
    expect_failed(p, "version 2");
}

/* -- a hostile destination ------------------------------------------------ */

typedef struct Answer {
    const char *name, *word;
    uint16_t type;
    uint64_t length; /* as said */
    const char *text;
    bool welcome_first;
} Answer;

static const Answer answers[] = {
    { "refuse", "refused: no, thank you", MIG_REC_REFUSE, 13,
      "no, thank you", false },
    { "refuse-odd", "refused: a?b", MIG_REC_REFUSE, 3, "a\nb", false },
    { "refuse-long", "refused", MIG_REC_REFUSE, 1 << 20, "x", false },
    { "wrong-first", "does not speak", MIG_REC_READY, 0, "", false },
    { "welcome-short", "does not speak", MIG_REC_WELCOME, 3, "abc", false },
    { "ready-early", "not in the protocol", MIG_REC_READY, 0, "", true },
    { "running-early", "not in the protocol", MIG_REC_RUNNING, 0, "", true },
    { "pass-number", "not in the protocol", MIG_REC_PASS_DONE, 8,
      "\7\0\0\0\0\0\0", true },
    { "unknown", "not in the protocol", 0x199, 0, "", true },
    { "failed", "the destination failed: oh", MIG_REC_FAILED, 2, "oh", true },
};

static void test_answer(const void *data)
{
    const Answer *a = data;
    Peer *p = peer_new();
    g_autoptr(VmListener) listener = vm_listener_new(p->uri, NULL);
    MigWireWelcome w = { .version = 1, .chunk_pages = CHUNK,
                         .budget_pages = 8 };
    char hello[MIG_HELLO_BYTES_MAX];

    fake_vm_boot(p->vm);
    fake_vm_fill(p->vm, 3);
    g_assert_true(migration_start(p->vm->mig, p->uri, NULL));
    p->ch = vm_listener_accept(listener, NULL);
    get(p, MIG_REC_HELLO, hello, sizeof(hello));
    if (a->welcome_first) {
        put_body(p, MIG_REC_WELCOME, 0, &w, sizeof(w));
    }
    /* text has length bytes with its NUL, unless the length is a lie. */
    put(p, a->type, 0, a->length, a->text, a->length > 1000 ? 1 : a->length);
    if (a->length > 1000) {
        vm_channel_shutdown(p->ch);
    }
    g_assert_cmpint(fake_vm_wait(p->vm), ==, MIGRATION_FAILED);
    if (!strstr(p->vm->error, a->word)) {
        g_test_message("'%s' is not in: %s", a->word, p->vm->error);
        g_test_fail();
    }
    g_assert_true(fake_vm_runs(p->vm));
    peer_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(wrongs); i++) {
        g_autofree char *name = g_strdup_printf("/hostile/source/%s",
                                                wrongs[i].name);

        g_test_add_data_func(name, &wrongs[i], test_wrong);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(answers); i++) {
        g_autofree char *name = g_strdup_printf("/hostile/destination/%s",
                                                answers[i].name);

        g_test_add_data_func(name, &answers[i], test_answer);
    }
    g_test_add_func("/hostile/source/no-magic", test_no_magic);
    g_test_add_func("/hostile/source/over-budget", test_over_budget);
    g_test_add_func("/hostile/source/complete", test_complete);
    g_test_add_func("/hostile/source/damaged", test_damaged);
    g_test_add_func("/hostile/source/devices", test_devices);
    return g_test_run();
}
