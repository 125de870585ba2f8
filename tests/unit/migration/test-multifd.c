/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: with several connections a migration moves what it moves with one,
 * in every direction, however the connections lag behind each other; who does
 * not know the token is turned away without harm; one connection that is cut,
 * or missing, ends the whole migration, by name, and the source goes on.
 *
 * How: both sides in this process over real sockets, with fake VMs; for harm a
 * relay of many connections between the two, which tells them apart by the
 * order in which they come, as the source makes them one after the other: 0
 * is the first connection, n the n-th channel.
 */
#include "fake-vm.h"
#include "golden.h"

#include <string.h>

#include "../../../migration/migration-internal.h"
#include "../../../migration/wire.h"
#include "util/channel.h"
#include "util/clock.h"

#define PAGES 515u /* the last chunk is a short one */
#define CHUNK 16u

static const FakeVmConfig plain = { PAGES, CHUNK, UINT64_MAX, NULL, 0 };
static const FakeVmConfig plain_other_chunk = { PAGES, 64, UINT64_MAX, NULL,
                                                0 };
static const FakeVmConfig paged = { PAGES, CHUNK, 10 * CHUNK, NULL, 0 };
static const FakeVmConfig paged_large = { PAGES, 4 * CHUNK, 12 * CHUNK, NULL,
                                          0 };

/* -- a relay of many connections ---------------------------------------- */

#define RELAYED_MAX 12u
/* Into a channel: within the payload of its first CHUNK of several pages. */
#define DAMAGE_AT 5000u

typedef struct Relay Relay;

typedef struct Way {
    Relay *relay;
    VmChannel *from, *to;
    VmThread *thread;
    unsigned number; /* of the connection */
    bool there;
    GByteArray *record; /* or NULL */
    uint64_t bytes;
} Way;

struct Relay {
    VmListener *listener;
    char *uri, *to_uri;
    VmThread *thread;
    VmChannel *ends[2 * RELAYED_MAX];
    Way ways[2 * RELAYED_MAX];
    unsigned count;
    /* Before the job; -1: none. */
    int cut;          /* this connection, */
    uint64_t cut_at;  /* after so many bytes to the destination */
    int slow;         /* each read of this one takes a millisecond longer */
    int swallow;      /* this one never arrives */
    int impostor;     /* the token of this one is changed */
    int damage;       /* a bit of the first chunk's payload, by this one */
    GByteArray *records[2 * RELAYED_MAX]; /* by way; or NULL */
};

static void way_run(void *arg)
{
    Way *w = arg;
    Relay *r = w->relay;
    uint8_t buf[8192];
    ssize_t n;

    while ((n = vm_channel_read_some(w->from, buf, sizeof(buf))) > 0) {
        size_t len = (size_t)n;
        bool hit = w->there && (int)w->number == r->cut &&
                   r->cut_at < w->bytes + len;

        if (hit) {
            len = (size_t)(r->cut_at - w->bytes);
        }
        if (w->there && (int)w->number == r->slow) {
            g_usleep(1000);
        }
        if (w->there && (int)w->number == r->impostor && w->bytes == 0) {
            g_assert_cmpuint(len, >, sizeof(MigWireRecord));
            buf[sizeof(MigWireRecord)] ^= 1;
        }
        if (w->there && (int)w->number == r->damage &&
            w->bytes <= DAMAGE_AT && w->bytes + len > DAMAGE_AT) {
            buf[DAMAGE_AT - w->bytes] ^= 1;
        }
        if (w->record) {
            g_byte_array_append(w->record, buf, (guint)len);
        }
        if (len && vm_channel_write_full(w->to, buf, len) < 0) {
            break;
        }
        w->bytes += len;
        if (hit) {
            vm_channel_shutdown(w->from);
            vm_channel_shutdown(w->to);
            return;
        }
    }
    vm_channel_end_writes(w->to); /* the other direction may go on */
}

static void start_way(Relay *r, unsigned i, VmChannel *from, VmChannel *to)
{
    Way *w = &r->ways[i];

    w->relay = r;
    w->from = from;
    w->to = to;
    w->number = i / 2;
    w->there = i % 2 == 0;
    w->record = r->records[i];
    w->thread = vm_thread_new("relay", way_run, w);
}

static void relay_run(void *arg)
{
    Relay *r = arg;
    VmChannel *a;

    while ((a = vm_listener_accept(r->listener, NULL))) {
        unsigned i = 2 * r->count++;

        g_assert_cmpuint(r->count, <=, RELAYED_MAX);
        r->ends[i] = a;
        if ((int)i / 2 != r->swallow) {
            r->ends[i + 1] = vm_channel_connect(r->to_uri, -1, NULL);
            if (!r->ends[i + 1]) { /* it has failed already */
                vm_channel_shutdown(a);
                continue;
            }
            start_way(r, i, a, r->ends[i + 1]);
            start_way(r, i + 1, r->ends[i + 1], a);
        }
    }
}

/* What goes there by a connection, or comes back: once relay_free() has
 * returned it is all there. Before the job. */
static GByteArray *relay_record(Relay *r, unsigned number, bool there)
{
    r->records[2 * number + !there] = g_byte_array_new();
    return g_byte_array_ref(r->records[2 * number + !there]);
}

static Relay *relay_new(FakePair *p)
{
    Relay *r = g_new0(Relay, 1);

    r->cut = r->slow = r->swallow = r->impostor = r->damage = -1;
    r->uri = g_strdup_printf("unix:%s/many", p->dir);
    r->to_uri = g_strdup(p->uri);
    r->listener = vm_listener_new(r->uri, NULL);
    g_assert_nonnull(r->listener);
    r->thread = vm_thread_new("relay", relay_run, r);
    return r;
}

static void relay_free(Relay *r)
{
    vm_listener_shutdown(r->listener);
    vm_thread_join(r->thread);
    for (unsigned i = 0; i < 2 * r->count; i++) {
        if (r->ends[i]) {
            vm_channel_shutdown(r->ends[i]);
        }
    }
    for (unsigned i = 0; i < 2 * r->count; i++) {
        if (r->ways[i].thread) {
            vm_thread_join(r->ways[i].thread);
        }
    }
    for (unsigned i = 0; i < 2 * r->count; i++) {
        vm_channel_free(r->ends[i]);
    }
    vm_listener_free(r->listener);
    for (unsigned i = 0; i < 2 * RELAYED_MAX; i++) {
        g_clear_pointer(&r->records[i], g_byte_array_unref);
    }
    g_free(r->uri);
    g_free(r->to_uri);
    g_free(r);
}

/* -- a pair with channels ----------------------------------------------- */

static void use_channels_and(FakeVm *f, unsigned count, bool checksum)
{
    MigrationCapabilities c = { .multifd = true, .checksum = checksum };
    MigrationParameters par;

    migration_get_parameters(f->mig, &par);
    par.multifd_channels = count;
    par.max_bandwidth_bytes_per_s = 0;
    g_assert_true(migration_set_parameters(f->mig, &par, NULL));
    g_assert_true(migration_set_capabilities(f->mig, &c, NULL));
}

static void use_channels(FakeVm *f, unsigned count)
{
    use_channels_and(f, count, /* checksum= */ false);
}

static FakePair *pair_new(const FakeVmConfig *src, const FakeVmConfig *dst,
                          unsigned channels)
{
    FakePair *p = fake_pair_new(src, dst);
    g_autoptr(GError) err = NULL;

    use_channels(p->src, channels);
    g_assert_true(migration_listen(p->dst->mig, p->uri, &err));
    g_assert_no_error(err);
    return p;
}

/* It writes to four chunks, which must be in RAM with the fake pager. */
static void start_guest(FakeVm *f, const FakeVmConfig *config)
{
    for (ChunkNo c = 4; config->budget_pages != UINT64_MAX && c < 8; c++) {
        fake_vm_set_chunk(f, c, RAM_PLACE_RAM, 200);
    }
    fake_vm_start_guest(f, 4 * CHUNK, 4 * CHUNK);
}

static void start(FakePair *p, const char *uri)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(migration_start(p->src->mig, uri, &err));
    g_assert_no_error(err);
}

static void expect_moved(FakePair *p)
{
    MigrationInfo src, dst;

    if (fake_vm_wait(p->src) != MIGRATION_COMPLETED) {
        g_test_message("source: %s", p->src->error);
    }
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_COMPLETED);
    g_assert_false(fake_vm_runs(p->src));
    g_assert_true(fake_vm_runs(p->dst));
    g_assert_true(fake_vm_equal(p->src, p->dst));
    migration_query(p->src->mig, &src);
    migration_query(p->dst->mig, &dst);
    g_assert_cmpuint(src.multifd_bytes, >, 0);
    g_assert_cmpuint(src.normal_pages, ==, dst.normal_pages);
    g_assert_cmpuint(src.transferred_bytes, >=,
                     src.normal_pages * RAM_PAGE_BYTES);
    g_assert_cmpuint(dst.transferred_bytes, >=,
                     dst.normal_pages * RAM_PAGE_BYTES);
    g_assert_null(migration_listen_address(p->dst->mig));
}

static void expect_stayed(FakePair *p)
{
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_FAILED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    g_test_message("source: %s", p->src->error);
    g_test_message("destination: %s", p->dst->error);
    g_assert_true(fake_vm_runs(p->src));
    g_assert_false(fake_vm_runs(p->dst));
    g_assert_true(p->src->owns_images);
    g_assert_cmpint(p->dst->starts, ==, 0);
    g_assert_cmpint(p->src->resumes, ==, p->src->stops);
}

static void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        g_test_message("'%s' is not in: %s", part, text);
    }
    g_assert_nonnull(strstr(text, part));
}

/* -- tests -------------------------------------------------------------- */

typedef struct Case {
    const char *name;
    const FakeVmConfig *src, *dst;
} Case;

static const Case cases[] = {
    { "plain-plain", &plain, &plain },
    { "plain-paged", &plain_other_chunk, &paged },
    { "paged-plain", &paged, &plain },
    { "paged-paged", &paged, &paged },
    { "small-large", &paged, &paged_large },
    { "large-small", &paged_large, &paged },
};

/* With a guest that writes, so that there are dirty passes. */
static void test_moves(const void *data)
{
    const Case *c = data;
    static const unsigned counts[] = { 1, 2, 4, 8, 255 };

    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
        FakePair *p = pair_new(c->src, c->dst, counts[i]);

        start_guest(p->src, c->src);
        start(p, p->uri);
        expect_moved(p);
        fake_pair_free(p);
    }
}

/* A chunk goes by now this channel, now that one: whichever lags behind, no
 * old copy comes after a new one. */
static void test_lag(const void *data)
{
    const Case *c = data;

    for (int slow = 0; slow <= 3; slow++) {
        FakePair *p = pair_new(c->src, c->dst, 3);
        Relay *r = relay_new(p);

        r->slow = slow;
        start_guest(p->src, c->src);
        start(p, r->uri);
        expect_moved(p);
        relay_free(r);
        fake_pair_free(p);
    }
}

/* Chunks that change places need the room that MOVE has made before. */
static void test_exchange(void)
{
    for (int slow = 0; slow <= 2; slow++) {
        FakePair *p = pair_new(&paged, &paged, 2);
        Relay *r = relay_new(p);

        r->slow = slow;
        fake_pager_redirty_chunk(p->src, 1, 1);
        start(p, r->uri);
        expect_moved(p);
        g_assert_cmpint(fake_pager_place(p->dst, 1), ==, RAM_PLACE_RAM);
        relay_free(r);
        fake_pair_free(p);
    }
}

/* With a guest that writes, so that sums are wrong now and then, on all
 * channels at once. */
static void test_checksums(void)
{
    static const FakeVmConfig *const configs[] = { &plain, &paged };

    for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
        FakePair *p = pair_new(configs[i], &paged, 4);

        use_channels_and(p->src, 4, /* checksum= */ true);
        start_guest(p->src, configs[i]);
        start(p, p->uri);
        expect_moved(p);
        fake_pair_free(p);
    }
}

/* A page that a channel has changed is found, if it does not come again. */
static void test_damage(void)
{
    FakePair *p = pair_new(&plain, &paged, 1);
    Relay *r = relay_new(p);

    use_channels_and(p->src, 1, /* checksum= */ true);
    r->damage = 1;
    start(p, r->uri);
    expect_stayed(p);
    expect_text(p->dst->error, "was damaged on its way");
    expect_text(p->src->error, "was damaged on its way");
    relay_free(r);
    fake_pair_free(p);
}

static void test_unix_and_tcp(void)
{
    FakePair *p = fake_pair_new(&paged, &paged);

    use_channels(p->src, 4);
    g_assert_true(migration_listen(p->dst->mig, "tcp:127.0.0.1:0", NULL));
    start(p, migration_listen_address(p->dst->mig));
    expect_moved(p);
    fake_pair_free(p);
}

static void test_cut(void)
{
    static const uint64_t places[] = { 0, 7, 39, 40, 41, 60, 5000, 100000 };

    for (int cut = 1; cut <= 3; cut++) {
        for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
            FakePair *p = pair_new(&paged, &paged, 3);
            Relay *r = relay_new(p);
            /* Before CHANNEL has come the channel is nobody's. */
            bool joined = places[i] >= 40;
            MigrationInfo info;

            r->cut = cut;
            r->cut_at = places[i];
            fake_pager_redirty(p->src); /* it goes on until it is cut */
            start(p, r->uri);
            if (joined) {
                g_autofree char *name = g_strdup_printf("connection %d of 3",
                                                        cut);

                expect_stayed(p);
                expect_text(p->src->error, name);
                expect_text(p->dst->error, name);
            } else {
                expect_stayed(p);
            }
            migration_query(p->src->mig, &info);
            g_assert_cmpint(info.status, ==, MIGRATION_FAILED);
            relay_free(r);
            fake_pair_free(p);
        }
    }
}

static void test_cut_first(void)
{
    FakePair *p = pair_new(&paged, &paged, 2);
    Relay *r = relay_new(p);

    r->cut = 0;
    r->cut_at = 500;
    fake_pager_redirty(p->src);
    start(p, r->uri);
    expect_stayed(p);
    relay_free(r);
    fake_pair_free(p);
}

/* Wherever its threads wait. */
static void test_cancel(void)
{
    FakePair *p = pair_new(&paged, &paged, 4);

    fake_pager_redirty(p->src);
    start(p, p->uri);
    fake_vm_wait_status(p->src, MIGRATION_ACTIVE);
    migration_cancel(p->src->mig);
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_CANCELLED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    g_assert_true(fake_vm_runs(p->src));
    fake_pair_free(p);
}

/* The relay changes its token: it is turned away, and so never comes. Either
 * the source's next write into it fails, or nobody waits any longer. */
static void test_wrong_token(void)
{
    FakePair *p = pair_new(&paged, &paged, 2);
    Relay *r = relay_new(p);

    p->dst->mig->waits.join_ns = 500 * VM_NS_PER_MS;
    r->impostor = 2;
    fake_pager_redirty(p->src);
    start(p, r->uri);
    expect_stayed(p);
    expect_text(p->src->error, "of 2"); /* which one, or how many */
    relay_free(r);
    fake_pair_free(p);
}

/* Who says nothing, nonsense, or has a token of their own, between the
 * source's own connections. */
static void test_strangers(void)
{
    FakePair *p = pair_new(&paged, &paged, 2);
    Relay *r = relay_new(p);
    VmChannel *strangers[6];
    struct {
        MigWireRecord rec;
        MigWireChannel body;
    } wrong = { { MIG_WIRE_MAGIC, MIG_REC_CHANNEL, 0,
                  sizeof(MigWireChannel) },
                { { 1, 2, 3 }, 1, 0 } };
    MigrationInfo info;

    r->swallow = 2; /* so it goes on until they have come */
    start(p, r->uri);
    fake_vm_wait_status(p->src, MIGRATION_ACTIVE);
    for (unsigned i = 0; i < G_N_ELEMENTS(strangers); i++) {
        uint8_t byte;

        strangers[i] = vm_channel_connect(p->uri, -1, NULL);
        g_assert_nonnull(strangers[i]);
        if (i % 3 == 0) {
            continue; /* says nothing */
        }
        g_assert_cmpint(vm_channel_write_full(strangers[i],
                                              i % 3 == 1 ? (void *)&wrong
                                                         : (void *)"nonsense"
                                                                   "nonsense",
                                              i % 3 == 1 ? sizeof(wrong) : 16),
                        ==, 0);
        g_assert_cmpint(vm_channel_read_some(strangers[i], &byte, 1), <=, 0);
    }
    migration_query(p->dst->mig, &info);
    g_assert_cmpint(info.status, ==, MIGRATION_ACTIVE);
    migration_cancel(p->src->mig);
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_CANCELLED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_FAILED);
    for (unsigned i = 0; i < G_N_ELEMENTS(strangers); i++) {
        vm_channel_free(strangers[i]);
    }
    relay_free(r);
    fake_pair_free(p);
}

/* The bytes of a channel: heads, numbers, digests. With one channel the order
 * is fixed; the token is not. The digest in SYNC is computed anew from what
 * docs/migration-format.md says. */
static void test_bytes(void)
{
    static const FakeVmConfig small = { 7, 2, UINT64_MAX, NULL, 1 };
    FakePair *p = pair_new(&small, &small, 1);
    Relay *r = relay_new(p);
    g_autoptr(GByteArray) b = relay_record(r, 1, /* there= */ true);
    uint64_t digest = MIG_DIGEST_INIT, records = 0, payload = 0;
    uint32_t pass = 0;
    bool last = false;

    start(p, r->uri);
    expect_moved(p);
    relay_free(r);
    for (size_t at = 0; at < b->len;) {
        MigWireRecord head;
        size_t control;

        g_assert_false(last);
        memcpy(&head, b->data + at, sizeof(head));
        g_assert_cmpmem(b->data + at, 4, "VDMR", 4);
        g_assert_cmpuint(at + sizeof(head) + head.length, <=, b->len);
        control = sizeof(head) + head.length;
        if (head.type == 0x000a) {
            g_assert_cmpuint(at, ==, 0);
            g_assert_cmpuint(head.length, ==, 24);
            g_assert_cmpmem(b->data + 32, 8, "\0\0\0\0\0\0\0\0", 8);
        } else if (head.type == 0x0003) {
            uint16_t pages;

            memcpy(&pages, b->data + at + 16 + 4, sizeof(pages));
            payload += pages;
            control -= pages * (size_t)RAM_PAGE_BYTES;
        } else {
            struct {
                uint32_t pass, reserved;
                uint64_t records, digest;
            } sync;

            g_assert_cmpuint(head.type, ==, 0x000b);
            g_assert_cmpuint(head.length, ==, sizeof(sync));
            memcpy(&sync, b->data + at + 16, sizeof(sync));
            g_assert_cmpuint(sync.pass, ==, ++pass);
            g_assert_cmpuint(sync.reserved, ==, 0);
            g_assert_cmpuint(sync.records, ==, records);
            g_assert_cmphex(sync.digest, ==, digest);
            last = head.flags & 2;
        }
        digest = mig_digest(digest, b->data + at, control);
        records++;
        at += sizeof(head) + head.length;
    }
    g_assert_true(last);
    g_assert_cmpuint(payload, >, 0);
    fake_pair_free(p);
}

/* Four chunks of two pages, the last one of one page. */
static const FakeVmConfig golden_src = { 7, 2, UINT64_MAX, NULL, 1 };
static const FakeVmConfig golden_dst = { 7, 2, 2, NULL, 1 };
static const uint8_t golden_token[MIG_TOKEN_BYTES] = "golden token 16";

static void check_golden_memory(FakeVm *f)
{
    static const uint8_t want[] = { 0, 0, 0x11, 0, 0x22, 0x33, 0x44 };
    uint8_t page[RAM_PAGE_BYTES];

    for (PageNo i = 0; i < G_N_ELEMENTS(want); i++) {
        fake_vm_read_page(f, i, page);
        for (size_t k = 0; k < sizeof(page); k++) {
            g_assert_cmpuint(page[k], ==, want[i]);
        }
    }
}

/* One channel, whose chunks go in the order of the plan. */
static void test_golden_record(void)
{
    FakePair p = { .uri = NULL };
    g_autoptr(GByteArray) first = NULL, back = NULL, channel = NULL;
    Relay *r;

    p.src = fake_vm_new(&p.world, &golden_src);
    p.dst = fake_vm_new(&p.world, &golden_dst);
    p.dir = fake_dir_new();
    p.uri = g_strdup_printf("unix:%s/mig", p.dir);
    fake_vm_boot(p.src);
    fake_vm_set_page(p.src, 2, 0x11);
    fake_vm_set_page(p.src, 4, 0x22);
    fake_vm_set_page(p.src, 5, 0x33);
    fake_vm_set_page(p.src, 6, 0x44);
    use_channels(p.src, 1);
    p.dst->mig->token = golden_token;
    g_assert_true(migration_listen(p.dst->mig, p.uri, NULL));
    r = relay_new(&p);
    first = relay_record(r, 0, /* there= */ true);
    back = relay_record(r, 0, /* there= */ false);
    channel = relay_record(r, 1, /* there= */ true);
    start(&p, r->uri);
    expect_moved(&p);
    check_golden_memory(p.dst);
    relay_free(r);
    golden_compare("source-with-channel.hex", first);
    golden_compare("destination-with-channel.hex", back);
    golden_compare("channel.hex", channel);
    fake_vm_free(p.src);
    fake_vm_free(p.dst);
    fake_dir_free(p.dir);
    g_free(p.uri);
}

static void replay(VmChannel *ch, const GByteArray *bytes, size_t from,
                   size_t to)
{
    g_assert_nonnull(ch);
    g_assert_cmpint(vm_channel_write_full(ch, bytes->data + from, to - from),
                    ==, 0);
}

static void expect_answers(VmChannel *ch, const GByteArray *bytes, size_t from,
                           size_t to)
{
    g_autofree uint8_t *got = g_malloc(to - from);

    g_assert_cmpint(vm_channel_read_full(ch, got, to - from), ==, 0);
    g_assert_cmpmem(got, to - from, bytes->data + from, to - from);
}

/* The recorded source, without one. Its channel may not run ahead: the last
 * pass is not begun before PASS_DONE. */
static void test_golden_replay(void)
{
    g_autoptr(GByteArray) first = golden_read("source-with-channel.hex");
    g_autoptr(GByteArray) channel = golden_read("channel.hex");
    g_autoptr(GByteArray) back = golden_read("destination-with-channel.hex");
    size_t last = channel->len - sizeof(MigWireRecord) - sizeof(MigWireSync);
    size_t pass_done = 2 * sizeof(MigWireRecord) + sizeof(MigWireWelcome) +
                       MIG_TOKEN_BYTES + sizeof(MigWirePass);
    FakeWorld world = { 0 };
    FakeVm *dst = fake_vm_new(&world, &golden_dst);
    char *dir = fake_dir_new();
    g_autofree char *uri = g_strdup_printf("unix:%s/b", dir);
    VmChannel *ends[2];

    dst->mig->token = golden_token;
    g_assert_true(migration_listen(dst->mig, uri, NULL));
    ends[0] = vm_channel_connect(uri, -1, NULL);
    replay(ends[0], first, 0, first->len);
    ends[1] = vm_channel_connect(uri, -1, NULL);
    replay(ends[1], channel, 0, last);
    expect_answers(ends[0], back, 0, pass_done);
    replay(ends[1], channel, last, channel->len);
    expect_answers(ends[0], back, pass_done, back->len);
    g_assert_cmpint(fake_vm_wait(dst), ==, MIGRATION_COMPLETED);
    g_assert_true(fake_vm_runs(dst));
    check_golden_memory(dst);
    vm_channel_free(ends[0]);
    vm_channel_free(ends[1]);
    fake_vm_free(dst);
    fake_dir_free(dir);
}

/* One connection hangs somewhere in the network. */
static void test_missing(void)
{
    FakePair *p = pair_new(&plain, &plain, 3);
    Relay *r = relay_new(p);

    p->dst->mig->waits.join_ns = 200 * VM_NS_PER_MS;
    r->swallow = 2;
    start(p, r->uri);
    expect_stayed(p);
    expect_text(p->dst->error, "only 2 of 3 connections have come");
    expect_text(p->src->error, "only 2 of 3 connections have come");
    relay_free(r);
    fake_pair_free(p);
}

static void test_refusals(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);
    g_autofree char *file = g_strdup_printf("file:%s/vm", p->dir);
    const char *const uris[] = { file, "exec:cat", "fd:99999" };

    use_channels(p->src, 2);
    use_channels(p->dst, 2);
    for (size_t i = 0; i < G_N_ELEMENTS(uris); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_false(migration_start(p->src->mig, uris[i], &err));
        expect_text(err->message, "'multifd' is on");
        g_clear_error(&err);
        g_assert_false(migration_listen(p->dst->mig, uris[i], &err));
        expect_text(err->message, "'multifd' is on");
    }
    fake_pair_free(p);
}

static void test_channel_limits(void)
{
    FakePair *p = fake_pair_new(&plain, &plain);
    MigrationParameters par;
    g_autoptr(GError) err = NULL;

    migration_get_parameters(p->src->mig, &par);
    g_assert_cmpuint(par.multifd_channels, ==, 2);
    par.multifd_channels = 0;
    g_assert_false(migration_set_parameters(p->src->mig, &par, &err));
    expect_text(err->message, "multifd-channels");
    par.multifd_channels = 256;
    g_assert_false(migration_set_parameters(p->src->mig, &par, NULL));
    fake_pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *moves = g_strdup_printf("/migration/multifd/moves/%s",
                                                 cases[i].name);
        g_autofree char *lag = g_strdup_printf("/migration/multifd/lag/%s",
                                               cases[i].name);

        g_test_add_data_func(moves, &cases[i], test_moves);
        g_test_add_data_func(lag, &cases[i], test_lag);
    }
    g_test_add_func("/migration/multifd/exchange", test_exchange);
    g_test_add_func("/migration/multifd/checksums", test_checksums);
    g_test_add_func("/migration/multifd/damage", test_damage);
    g_test_add_func("/migration/multifd/tcp", test_unix_and_tcp);
    g_test_add_func("/migration/multifd/cut", test_cut);
    g_test_add_func("/migration/multifd/cut-first", test_cut_first);
    g_test_add_func("/migration/multifd/cancel", test_cancel);
    g_test_add_func("/migration/multifd/wrong-token", test_wrong_token);
    g_test_add_func("/migration/multifd/strangers", test_strangers);
    g_test_add_func("/migration/multifd/bytes", test_bytes);
    g_test_add_func("/migration/multifd/golden-record", test_golden_record);
    g_test_add_func("/migration/multifd/golden-replay", test_golden_replay);
    g_test_add_func("/migration/multifd/missing", test_missing);
    g_test_add_func("/migration/multifd/refusals", test_refusals);
    g_test_add_func("/migration/multifd/limits", test_channel_limits);
    return g_test_run();
}
