/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seal around a file in memory: what was written is read back, what was
 * tampered with is never handed on, nothing of the plain text or the key
 * reaches the file, and errors of the device come through.
 *
 * The file completes requests when it is told to, in any order and with any
 * result; each test runs with checksums, with encryption, and with both.
 */
#include "../../../vmemdirect/seal.h"

#include <errno.h>
#include <string.h>

#define PAGE 4096u
#define PAGES 64u
#define DEPTH 8u
#define WRITES 3u
#define WRITE_PAGES 32u

enum { CHECKSUM = 1, ENCRYPT = 2 };

typedef struct File {
    VmdIo io;
    uint8_t *content;
    GPtrArray *waiting, *ended;
    GArray *results;
    unsigned flushes;
    bool full; /* takes nothing */
} File;

typedef struct Bench {
    unsigned how;
    File *file;
    VmdIo *seal;
    uint8_t key[VMD_CIPHER_KEY_BYTES];
} Bench;

typedef struct Request {
    VmdIoRequest io;
    uint8_t *buf;
    unsigned done;
    int result;
} Request;

/* --- the file ------------------------------------------------------------ */

static int file_submit(VmdIo *io, VmdIoRequest *req)
{
    File *f = (File *)io;

    if (f->full) {
        return -EAGAIN;
    }
    g_ptr_array_add(f->waiting, req);
    return 0;
}

static void file_flush(VmdIo *io)
{
    ((File *)io)->flushes++;
}

static unsigned file_reap(VmdIo *io)
{
    File *f = (File *)io;
    unsigned count = f->ended->len;

    for (unsigned i = 0; i < count; i++) {
        VmdIoRequest *req = g_ptr_array_index(f->ended, i);
        req->done(req, g_array_index(f->results, int, i));
    }
    g_ptr_array_set_size(f->ended, 0);
    g_array_set_size(f->results, 0);
    return count;
}

static void file_free(VmdIo *io)
{
    File *f = (File *)io;

    g_assert_cmpuint(f->waiting->len, ==, 0);
    g_ptr_array_unref(f->waiting);
    g_ptr_array_unref(f->ended);
    g_array_unref(f->results);
    g_free(f->content);
    g_free(f);
}

static const VmdIoOps file_ops = {
    .name = "memory",
    .submit = file_submit,
    .flush = file_flush,
    .reap = file_reap,
    .free = file_free,
};

static void complete(File *f, unsigned index, int result)
{
    VmdIoRequest *req = g_ptr_array_remove_index(f->waiting, index);

    if (result == 0) {
        uint8_t *at = f->content + req->offset;
        switch (req->op) {
        case VMD_IO_WRITE:
            memcpy(at, req->buf, req->len);
            break;
        case VMD_IO_READ:
            memcpy(req->buf, at, req->len);
            break;
        case VMD_IO_PUNCH:
            memset(at, 0, req->len);
            break;
        }
    }
    g_ptr_array_add(f->ended, req);
    g_array_append_val(f->results, result);
}

/* --- the bench ----------------------------------------------------------- */

static void begin(Bench *b, unsigned how)
{
    VmdSealConfig cfg = { .pages = PAGES, .depth = DEPTH, .writes = WRITES,
                          .write_bytes = WRITE_PAGES * PAGE,
                          .checksum = how & CHECKSUM };
    File *f = g_new0(File, 1);

    f->io.ops = &file_ops;
    f->content = g_malloc0(PAGES * PAGE);
    f->waiting = g_ptr_array_new();
    f->ended = g_ptr_array_new();
    f->results = g_array_new(FALSE, FALSE, sizeof(int));
    *b = (Bench){ .how = how, .file = f };
    for (unsigned i = 0; i < sizeof(b->key); i++) {
        b->key[i] = (uint8_t)(i * 37 + 11);
    }
    if (how & ENCRYPT) {
        cfg.cipher = vmd_cipher_new_with_key(b->key, NULL);
        g_assert_nonnull(cfg.cipher);
    }
    b->seal = vmd_seal_new(&f->io, &cfg);
    g_assert_cmpstr(b->seal->ops->name, ==, "memory");
}

static void end(Bench *b)
{
    b->seal->ops->free(b->seal);
}

static void on_done(VmdIoRequest *io, int result)
{
    Request *r = (Request *)io;

    r->done++;
    r->result = result;
}

static int submit(Bench *b, Request *r, VmdIoOp op, uint32_t page,
                  uint32_t count)
{
    r->io = (VmdIoRequest){ .op = op, .offset = (uint64_t)page * PAGE,
                            .buf = r->buf, .len = count * PAGE,
                            .done = on_done };
    r->done = 0;
    return b->seal->ops->submit(b->seal, &r->io);
}

/* As the pager's loop does. */
static void turn(Bench *b)
{
    (void)b->seal->ops->reap(b->seal);
    b->seal->ops->flush(b->seal);
}

static int run(Bench *b, Request *r, VmdIoOp op, uint32_t page, uint32_t count)
{
    g_assert_cmpint(submit(b, r, op, page, count), ==, 0);
    for (unsigned turns = 0; !r->done; turns++) {
        g_assert_cmpuint(turns, <, 10);
        turn(b);
        while (b->file->waiting->len > 0) {
            complete(b->file, 0, 0);
        }
    }
    g_assert_cmpuint(r->done, ==, 1);
    return r->result;
}

static Request *request_new(void)
{
    Request *r = g_new0(Request, 1);

    r->buf = g_malloc0(PAGES * PAGE);
    return r;
}

static void request_free(Request *r)
{
    g_free(r->buf);
    g_free(r);
}

static void fill(uint8_t *buf, uint32_t pages, uint8_t seed)
{
    for (uint32_t i = 0; i < pages * PAGE; i++) {
        buf[i] = (uint8_t)(seed + i / PAGE * 3 + i % 251);
    }
}

static void assert_filled(const uint8_t *buf, uint32_t pages, uint8_t seed)
{
    g_autofree uint8_t *want = g_malloc(pages * PAGE);

    fill(want, pages, seed);
    g_assert_cmpmem(buf, pages * PAGE, want, pages * PAGE);
}

/* --- tests --------------------------------------------------------------- */

static void test_round_trip(gconstpointer how)
{
    static const uint32_t counts[] = { 1, 2, 15, 16, 17, 31, 32 };
    g_autofree uint8_t *want = g_malloc(WRITE_PAGES * PAGE);
    Request *r = request_new();
    Bench b;

    begin(&b, GPOINTER_TO_UINT(how));
    for (unsigned i = 0; i < G_N_ELEMENTS(counts); i++) {
        uint32_t n = counts[i], page = i * 3;
        fill(want, n, (uint8_t)i);
        fill(r->buf, n, (uint8_t)i);
        g_assert_cmpint(run(&b, r, VMD_IO_WRITE, page, n), ==, 0);
        assert_filled(r->buf, n, (uint8_t)i); /* the frame is untouched */
        memset(r->buf, 0xEE, n * PAGE);
        g_assert_cmpint(run(&b, r, VMD_IO_READ, page, n), ==, 0);
        assert_filled(r->buf, n, (uint8_t)i);
        memset(r->buf, 0xEE, n * PAGE); /* one by one, too */
        for (uint32_t k = 0; k < n; k++) {
            g_assert_cmpint(run(&b, r, VMD_IO_READ, page + k, 1), ==, 0);
            g_assert_cmpmem(r->buf, PAGE, want + k * PAGE, PAGE);
        }
    }
    request_free(r);
    end(&b);
}

static bool contains(const uint8_t *hay, size_t len, const void *needle,
                     size_t n)
{
    return memmem(hay, len, needle, n) != NULL;
}

/* Nothing of it can be found in the file; nor anything of the key. */
static void test_nothing_leaks(void)
{
    static const char secret[] = "the secret of the guest, 32 bytes";
    Request *r = request_new();
    Bench b;

    begin(&b, ENCRYPT);
    for (uint32_t i = 0; i + 40 < 32 * PAGE; i += 40) {
        memcpy(r->buf + i, secret, sizeof(secret));
    }
    memcpy(r->buf + 5 * PAGE, b.key, sizeof(b.key));
    g_assert_cmpint(run(&b, r, VMD_IO_WRITE, 0, 32), ==, 0);
    g_assert_cmpint(run(&b, r, VMD_IO_WRITE, 32, 32), ==, 0);
    const uint8_t *content = b.file->content;
    for (unsigned at = 0; at + 8 < sizeof(secret); at += 8) {
        g_assert_false(contains(content, PAGES * PAGE, secret + at, 8));
    }
    for (unsigned at = 0; at < sizeof(b.key); at += 8) {
        g_assert_false(contains(content, PAGES * PAGE, b.key + at, 8));
    }
    /* Equal pages do not look equal, in whatever place. */
    g_assert_cmpint(memcmp(content, content + 32 * PAGE, PAGE), !=, 0);
    request_free(r);
    end(&b);
}

/* What somebody else does to the file: one byte of each class of place, a page
 * of zeros, two pages exchanged, an older content of the page. */
static void test_tamper(gconstpointer how)
{
    static const uint32_t places[] = { 0, 15, 16, 17, 2047, 2048, 4080, 4095 };
    Request *r = request_new();
    Bench b;

    begin(&b, GPOINTER_TO_UINT(how));
    uint8_t *content = b.file->content;
    g_autofree uint8_t *older = g_malloc(PAGE);
    fill(r->buf, 32, 1);
    g_assert_cmpint(run(&b, r, VMD_IO_WRITE, 0, 32), ==, 0);
    memcpy(older, content + 7 * PAGE, PAGE);
    fill(r->buf, 32, 9);
    g_assert_cmpint(run(&b, r, VMD_IO_WRITE, 0, 32), ==, 0);
    g_autofree uint8_t *good = g_memdup2(content, 32 * PAGE);
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            content[7 * PAGE + places[i]] ^= (uint8_t)(1u << bit);
            g_assert_cmpint(run(&b, r, VMD_IO_READ, 7, 1), ==, -EBADMSG);
            g_assert_cmpint(run(&b, r, VMD_IO_READ, 0, 32), ==, -EBADMSG);
            content[7 * PAGE + places[i]] ^= (uint8_t)(1u << bit);
        }
    }
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 7, 1), ==, 0);
    memset(content + 7 * PAGE, 0, PAGE);
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 7, 1), ==, -EBADMSG);
    memcpy(content + 7 * PAGE, content + 8 * PAGE, PAGE);
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 7, 1), ==, -EBADMSG);
    memcpy(content + 7 * PAGE, older, PAGE);
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 7, 1), ==, -EBADMSG);
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 6, 1), ==, 0);
    memcpy(content, good, 32 * PAGE); /* repaired */
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 0, 32), ==, 0);
    assert_filled(r->buf, 32, 9);
    request_free(r);
    end(&b);
}

/* Without a checksum, too, content of the file is not the guest's. */
static void test_tamper_encrypted_only(void)
{
    Request *r = request_new();
    Bench b;

    begin(&b, ENCRYPT);
    fill(r->buf, 1, 1);
    g_assert_cmpint(run(&b, r, VMD_IO_WRITE, 3, 1), ==, 0);
    memset(b.file->content + 3 * PAGE, 0x41, PAGE); /* chosen by somebody */
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 3, 1), ==, 0);
    for (unsigned i = 0; i < PAGE; i += 16) {
        g_assert_cmpint(memcmp(r->buf + i, "AAAAAAAAAAAAAAAA", 16), !=, 0);
    }
    request_free(r);
    end(&b);
}

/* A hole has no checksum: nobody wants what is there. */
static void test_hole(gconstpointer how)
{
    Request *r = request_new();
    Bench b;

    begin(&b, GPOINTER_TO_UINT(how));
    fill(r->buf, 8, 1);
    g_assert_cmpint(run(&b, r, VMD_IO_WRITE, 0, 8), ==, 0);
    g_assert_cmpint(run(&b, r, VMD_IO_PUNCH, 2, 4), ==, 0);
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 0, 8), ==, 0);
    fill(r->buf, 4, 77);
    g_assert_cmpint(run(&b, r, VMD_IO_WRITE, 2, 4), ==, 0);
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 2, 4), ==, 0);
    assert_filled(r->buf, 4, 77);
    request_free(r);
    end(&b);
}

/* The plain text may change nowhere while it is being written: the file gets
 * what was there when the write was closed, and never plain text. */
static void test_frame_stays_readable(void)
{
    Request *r = request_new();
    Bench b;

    begin(&b, CHECKSUM | ENCRYPT);
    fill(r->buf, 4, 1);
    g_assert_cmpint(submit(&b, r, VMD_IO_WRITE, 0, 4), ==, 0);
    turn(&b);
    g_assert_cmpuint(b.file->waiting->len, ==, 1);
    const VmdIoRequest *inner = g_ptr_array_index(b.file->waiting, 0);
    g_assert_true(inner->buf < r->buf || inner->buf >= r->buf + PAGES * PAGE);
    assert_filled(r->buf, 4, 1); /* a recall reads it now */
    complete(b.file, 0, 0);
    turn(&b);
    g_assert_cmpuint(r->done, ==, 1);
    request_free(r);
    end(&b);
}

/* A large write does not keep a page that somebody waits for. */
static void test_slices(void)
{
    Request *write[WRITES], *big = request_new(), *small = request_new();
    Bench b;

    begin(&b, CHECKSUM | ENCRYPT);
    for (unsigned i = 0; i < WRITES; i++) {
        write[i] = request_new();
        g_assert_cmpint(submit(&b, write[i], VMD_IO_WRITE, 0, 32), ==, 0);
    }
    b.seal->ops->flush(b.seal); /* 64 pages a turn: two of the three */
    g_assert_cmpuint(b.file->waiting->len, ==, 2);
    g_assert_true(b.seal->ops->busy(b.seal));
    b.seal->ops->flush(b.seal);
    g_assert_cmpuint(b.file->waiting->len, ==, 3);
    g_assert_false(b.seal->ops->busy(b.seal));
    while (b.file->waiting->len > 0) {
        complete(b.file, 0, 0);
    }
    turn(&b);

    Request *reads[3] = { big, write[0], write[1] };
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(submit(&b, reads[i], VMD_IO_READ, 0, 32), ==, 0);
    }
    g_assert_cmpint(submit(&b, small, VMD_IO_READ, 5, 1), ==, 0);
    while (b.file->waiting->len > 0) {
        complete(b.file, 0, 0);
    }
    (void)b.seal->ops->reap(b.seal);
    g_assert_cmpuint(small->done, ==, 1); /* it came last, and is out */
    g_assert_cmpuint(reads[0]->done + reads[1]->done + reads[2]->done, ==, 2);
    g_assert_true(b.seal->ops->busy(b.seal));
    (void)b.seal->ops->reap(b.seal);
    g_assert_cmpuint(reads[2]->done, ==, 1);
    g_assert_false(b.seal->ops->busy(b.seal));
    for (unsigned i = 0; i < WRITES; i++) {
        request_free(write[i]);
    }
    request_free(big);
    request_free(small);
    end(&b);
}

/* Buffers are bounded: one write more is refused, and taken later. */
static void test_buffers_run_out(void)
{
    Request *r[WRITES + 1];
    Bench b;

    begin(&b, ENCRYPT);
    for (unsigned i = 0; i <= WRITES; i++) {
        r[i] = request_new();
        g_assert_cmpint(submit(&b, r[i], VMD_IO_WRITE, i, 1), ==,
                        i < WRITES ? 0 : -EAGAIN);
    }
    turn(&b);
    complete(b.file, 1, -EIO);
    turn(&b);
    g_assert_cmpint(r[1]->result, ==, -EIO);
    g_assert_cmpint(run(&b, r[WRITES], VMD_IO_WRITE, 9, 1), ==, 0);
    turn(&b);
    for (unsigned i = 0; i <= WRITES; i++) {
        g_assert_cmpuint(r[i]->done, ==, 1);
        request_free(r[i]);
    }
    end(&b);
}

/* The device takes nothing for a while: no write is lost or done twice. */
static void test_device_is_full(void)
{
    Request *r = request_new();
    Bench b;

    begin(&b, CHECKSUM | ENCRYPT);
    fill(r->buf, 20, 5);
    b.file->full = true;
    g_assert_cmpint(submit(&b, r, VMD_IO_READ, 0, 1), ==, -EAGAIN);
    g_assert_cmpint(submit(&b, r, VMD_IO_WRITE, 0, 20), ==, 0);
    for (unsigned i = 0; i < 5; i++) {
        turn(&b);
        g_assert_cmpuint(b.file->waiting->len, ==, 0);
        g_assert_true(b.seal->ops->busy(b.seal));
    }
    b.file->full = false;
    turn(&b);
    g_assert_cmpuint(b.file->waiting->len, ==, 1);
    complete(b.file, 0, 0);
    turn(&b);
    g_assert_cmpuint(r->done, ==, 1);
    memset(r->buf, 0, 20 * PAGE);
    g_assert_cmpint(run(&b, r, VMD_IO_READ, 0, 20), ==, 0);
    assert_filled(r->buf, 20, 5);
    request_free(r);
    end(&b);
}

/*
 * Seeded: reads, writes and holes at random, completed in any order, every
 * third one with an error. What was written last without an error, and not
 * been touched since, is read back; the rest is an error or nobody's.
 */
typedef struct Shadow {
    uint8_t seed;
    bool known, busy;
} Shadow;

static void random_step(Bench *b, GRand *rng, Request **r, unsigned count,
                        Shadow *shadow)
{
    unsigned i = (unsigned)g_rand_int_range(rng, 0, (gint32)count);
    uint32_t page = (uint32_t)g_rand_int_range(rng, 0, PAGES);

    if (r[i]->io.len == 0 && !shadow[page].busy) {
        static const VmdIoOp ops[] = { VMD_IO_READ, VMD_IO_READ,
                                       VMD_IO_WRITE, VMD_IO_PUNCH };
        VmdIoOp op = ops[g_rand_int_range(rng, 0, 4)];
        uint8_t seed = (uint8_t)g_rand_int(rng);
        if (op == VMD_IO_READ && !shadow[page].known) {
            return; /* the pager never does */
        }
        fill(r[i]->buf, 1, seed);
        if (submit(b, r[i], op, page, 1) < 0) {
            r[i]->io.len = 0;
            return;
        }
        shadow[page].busy = true;
        if (op != VMD_IO_READ) {
            shadow[page].known = false;
            shadow[page].seed = seed;
        }
    }
    if (b->file->waiting->len > 0 && g_rand_boolean(rng)) {
        unsigned k = (unsigned)g_rand_int_range(
            rng, 0, (gint32)b->file->waiting->len);
        complete(b->file, k, g_rand_int_range(rng, 0, 3) ? 0 : -EIO);
    }
    turn(b);
    for (i = 0; i < count; i++) {
        Shadow *s = &shadow[r[i]->io.offset / PAGE];
        if (r[i]->io.len == 0 || !r[i]->done) {
            continue;
        }
        if (r[i]->io.op == VMD_IO_READ && r[i]->result == 0) {
            assert_filled(r[i]->buf, 1, s->seed);
        }
        g_assert_true(r[i]->result == 0 || r[i]->result == -EIO);
        if (r[i]->io.op == VMD_IO_WRITE) {
            s->known = r[i]->result == 0;
        }
        s->busy = false;
        r[i]->io.len = 0;
    }
}

static void test_random(gconstpointer how)
{
    Request *r[DEPTH + 4];
    Shadow shadow[PAGES] = { { 0 } };
    GRand *rng = g_rand_new_with_seed(42);
    Bench b;

    begin(&b, GPOINTER_TO_UINT(how));
    for (unsigned i = 0; i < G_N_ELEMENTS(r); i++) {
        r[i] = request_new();
    }
    for (unsigned k = 0; k < 20000; k++) {
        random_step(&b, rng, r, G_N_ELEMENTS(r), shadow);
    }
    while (b.file->waiting->len > 0 || b.seal->ops->busy(b.seal)) {
        while (b.file->waiting->len > 0) {
            complete(b.file, 0, 0);
        }
        turn(&b);
    }
    turn(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(r); i++) {
        request_free(r[i]);
    }
    g_rand_free(rng);
    end(&b);
}

static void add(const char *name, GTestDataFunc test, unsigned how)
{
    static const char *const words[] = { "plain", "checksum", "encrypt",
                                         "both" };
    g_autofree char *path = g_strdup_printf("/seal/%s/%s", name, words[how]);

    g_test_add_data_func(path, GUINT_TO_POINTER(how), test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned how = CHECKSUM; how <= (CHECKSUM | ENCRYPT); how++) {
        add("round-trip", test_round_trip, how);
        add("hole", test_hole, how);
        add("random", test_random, how);
        if (how & CHECKSUM) {
            add("tamper", test_tamper, how);
        }
    }
    g_test_add_func("/seal/nothing-leaks", test_nothing_leaks);
    g_test_add_func("/seal/tamper/encrypted-only",
                    test_tamper_encrypted_only);
    g_test_add_func("/seal/frame-stays-readable", test_frame_stays_readable);
    g_test_add_func("/seal/slices", test_slices);
    g_test_add_func("/seal/buffers-run-out", test_buffers_run_out);
    g_test_add_func("/seal/device-is-full", test_device_is_full);
    return g_test_run();
}
