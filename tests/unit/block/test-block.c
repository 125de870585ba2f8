/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block backends: what is written is what is read, refusals, locks, errors.
 *
 * How: images are files in a temporary directory; the test thread owns the
 * GMainContext, so requests complete in wait_for().
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block-internal.h"
#include "block/block.h"
#include "util/fd.h"

#define IMAGE_BYTES (4u << 20)

typedef struct Fixture {
    char *dir, *path;
    GMainContext *context;
} Fixture;

static void write_image(const char *path, size_t bytes)
{
    vm_autofd fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, bytes), ==, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    /* Not /tmp: that may be a tmpfs without direct I/O. */
    f->dir = g_strdup("test-block-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->path = g_build_filename(f->dir, "image", NULL);
    write_image(f->path, IMAGE_BYTES);
    f->context = g_main_context_new();
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_unlink(f->path);
    g_rmdir(f->dir);
    g_free(f->path);
    g_free(f->dir);
    g_main_context_unref(f->context);
}

/* options: "%s" becomes the image's path. */
static BlockBackend *try_open(Fixture *f, const char *options, bool active,
                              GError **errp)
{
    g_auto(GStrv) parts = g_strsplit(options, "%s", 2);
    g_autofree char *text = g_strjoinv(f->path, parts);
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-drive", text, NULL, errp);

    g_assert_nonnull(kv);
    return active ? block_backend_new(kv, errp)
                  : block_backend_new_inactive(kv, errp);
}

static BlockBackend *open_started(Fixture *f, const char *options)
{
    GError *err = NULL;
    BlockBackend *blk = try_open(f, options, /* active= */ true, &err);

    g_assert_no_error(err);
    g_assert_true(block_backend_start(blk, f->context, &err));
    g_assert_no_error(err);
    return blk;
}

static void assert_refused(Fixture *f, const char *options, const char *why)
{
    GError *err = NULL;

    g_assert_null(try_open(f, options, /* active= */ true, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, why)) {
        g_error("'%s' does not say '%s'", err->message, why);
    }
    g_error_free(err);
}

#define DRIVE "id=d,file=%s,format=raw"

/* ---- Requests ---------------------------------------------------------- */

typedef struct Pending {
    BlockRequest req;
    bool ended;
    int result;
} Pending;

static void on_done(BlockRequest *req, int result)
{
    Pending *p = req->opaque;

    g_assert_false(p->ended);
    p->ended = true;
    p->result = result;
}

static void start(BlockBackend *blk, Pending *p, BlockOp op, uint64_t offset,
                  uint64_t len, const struct iovec *iov, int iovcnt)
{
    bool may_unmap = p->req.may_unmap, fua = p->req.fua;

    memset(p, 0, sizeof(*p));
    p->req = (BlockRequest){
        .op = op, .offset = offset, .len = len, .iov = iov, .iovcnt = iovcnt,
        .done = on_done, .opaque = p, .may_unmap = may_unmap, .fua = fua,
    };
    block_backend_submit(blk, &p->req);
    g_assert_false(p->ended); /* never from within submit */
}

static int wait_for(Fixture *f, Pending *p)
{
    while (!p->ended) {
        g_main_context_iteration(f->context, TRUE);
    }
    return p->result;
}

static int run(Fixture *f, BlockBackend *blk, BlockOp op, uint64_t offset,
               void *buf, size_t len)
{
    struct iovec iov = { buf, len };
    Pending p = { .ended = false };

    start(blk, &p, op, offset, len, buf ? &iov : NULL, buf ? 1 : 0);
    return wait_for(f, &p);
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        buf[i] = (i * 31 + seed * 7 + i / 256) & 0xff;
    }
}

static void assert_file(Fixture *f, uint64_t offset, const uint8_t *want,
                        size_t len)
{
    g_autofree uint8_t *got = g_malloc(len);
    vm_autofd fd = open(f->path, O_RDONLY);

    g_assert_cmpint(vm_pread_full(fd, got, len, offset), ==, 0);
    g_assert_cmpmem(got, len, want, len);
}

/* What was written is in the file and is read back, flushed. */
static void test_round_trip(Fixture *f, gconstpointer options)
{
    BlockBackend *blk = open_started(f, options);
    g_autofree uint8_t *out = g_malloc(256 * 1024 + 16);
    g_autofree uint8_t *in = g_malloc0(256 * 1024 + 16);
    size_t len = 256 * 1024;

    fill(out, len + 16, 1);
    g_assert_cmpint(run(f, blk, BLOCK_WRITE, 65536, out, len), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_READ, 65536, in, len), ==, 0);
    g_assert_cmpmem(in, len, out, len);
    assert_file(f, 65536, out, len);
    /* Buffers at odd addresses, too. */
    g_assert_cmpint(run(f, blk, BLOCK_WRITE, 512, out + 3, 1536), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_READ, 512, in + 5, 1536), ==, 0);
    g_assert_cmpmem(in + 5, 1536, out + 3, 1536);
    block_backend_free(blk);
}

/* A vector with many small pieces, some not aligned to anything. */
static void test_vector(Fixture *f, gconstpointer options)
{
    BlockBackend *blk = open_started(f, options);
    enum { PIECES = 1500 }; /* more than IOV_MAX */
    g_autofree uint8_t *out = g_malloc(PIECES * 512);
    g_autofree uint8_t *in = g_malloc0(PIECES * 512);
    g_autofree struct iovec *iov = g_new0(struct iovec, PIECES);
    Pending p = { .ended = false };

    fill(out, PIECES * 512, 2);
    for (int i = 0; i < PIECES; i++) {
        size_t cut = i % 2 ? 100 : -100; /* 412, 612, 412, ... */

        iov[i].iov_base = out + i * 512 + (i % 2 ? -100 : 0);
        iov[i].iov_len = 512 + cut;
    }
    g_assert_cmpuint(vm_iov_bytes(iov, PIECES), ==, PIECES * 512);
    start(blk, &p, BLOCK_WRITE, 4096, PIECES * 512, iov, PIECES);
    g_assert_cmpint(wait_for(f, &p), ==, 0);
    assert_file(f, 4096, out, PIECES * 512);
    for (int i = 0; i < PIECES; i++) {
        iov[i].iov_base = in + ((uint8_t *)iov[i].iov_base - out);
    }
    start(blk, &p, BLOCK_READ, 4096, PIECES * 512, iov, PIECES);
    g_assert_cmpint(wait_for(f, &p), ==, 0);
    g_assert_cmpmem(in, PIECES * 512, out, PIECES * 512);
    block_backend_free(blk);
}

/* Neighbouring sectors of one 4 KiB unit, written at once on a file that
 * takes 4 KiB units only, do not undo each other. */
static void test_read_modify_write(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_started(f, DRIVE ",cache=none");
    uint8_t out[64][512], whole[64 * 512];
    struct iovec iov[64];
    Pending p[64];

    block_backend_set_alignment(blk, 4096);
    memset(p, 0, sizeof(p));
    for (int i = 0; i < 64; i++) {
        memset(out[i], i + 1, 512);
        iov[i] = (struct iovec){ out[i], 512 };
        start(blk, &p[i], BLOCK_WRITE, 8192 + i * 512, 512, &iov[i], 1);
    }
    for (int i = 0; i < 64; i++) {
        g_assert_cmpint(wait_for(f, &p[i]), ==, 0);
    }
    assert_file(f, 8192, out[0], sizeof(out));
    g_assert_cmpint(run(f, blk, BLOCK_READ, 8192 + 512, whole, 63 * 512), ==,
                    0);
    g_assert_cmpmem(whole, 63 * 512, out[1], 63 * 512);
    block_backend_free(blk);
}

/* More requests at once than the ring holds: all end, each once. */
static void test_depth(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_started(f, DRIVE);
    enum { COUNT = 1000 };
    g_autofree Pending *p = g_new0(Pending, COUNT);
    g_autofree uint8_t *buf = g_malloc(COUNT * 512);
    g_autofree struct iovec *iov = g_new0(struct iovec, COUNT);

    fill(buf, COUNT * 512, 3);
    for (int i = 0; i < COUNT; i++) {
        iov[i] = (struct iovec){ buf + i * 512, 512 };
        start(blk, &p[i], BLOCK_WRITE, i * 512, 512, &iov[i], 1);
    }
    block_backend_drain(blk);
    for (int i = 0; i < COUNT; i++) {
        g_assert_true(p[i].ended);
        g_assert_cmpint(p[i].result, ==, 0);
    }
    assert_file(f, 0, buf, COUNT * 512);
    block_backend_free(blk);
}

static uint64_t allocated(Fixture *f)
{
    struct stat st;

    g_assert_cmpint(stat(f->path, &st), ==, 0);
    return st.st_blocks * UINT64_C(512);
}

/* Discard gives blocks back if asked to, and is ignored otherwise. */
static void test_discard(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_started(f, DRIVE);
    g_autofree uint8_t *buf = g_malloc(1 << 20);
    g_autofree uint8_t *zero = g_malloc0(1 << 20);
    uint64_t before;

    fill(buf, 1 << 20, 4);
    g_assert_cmpint(run(f, blk, BLOCK_WRITE, 0, buf, 1 << 20), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
    before = allocated(f);
    g_assert_cmpint(run(f, blk, BLOCK_DISCARD, 0, NULL, 1 << 20), ==, 0);
    assert_file(f, 0, buf, 1 << 20);
    block_backend_free(blk);

    blk = open_started(f, DRIVE ",discard=unmap");
    g_assert_cmpint(run(f, blk, BLOCK_DISCARD, 0, NULL, 1 << 20), ==, 0);
    assert_file(f, 0, zero, 1 << 20);
    g_assert_cmpuint(allocated(f), <, before);
    block_backend_free(blk);
}

static void test_write_zeroes(Fixture *f, gconstpointer options)
{
    BlockBackend *blk = open_started(f, options);
    g_autofree uint8_t *buf = g_malloc(3 << 20);
    g_autofree uint8_t *zero = g_malloc0(2 << 20);

    fill(buf, 3 << 20, 5);
    g_assert_cmpint(run(f, blk, BLOCK_WRITE, 0, buf, 3 << 20), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_WRITE_ZEROES, 512, NULL,
                        (2 << 20) - 1024), ==, 0);
    assert_file(f, 512, zero, (2 << 20) - 1024);
    assert_file(f, 0, buf, 512);
    assert_file(f, (2 << 20) - 512, buf + (2 << 20) - 512, 1 << 20);
    block_backend_free(blk);
}

/* What is out of range or inconsistent is refused, nothing is written. */
/* What was asked for is counted as the guest asked, failures apart. */
static void test_stats(Fixture *f, gconstpointer data)
{
    g_autoptr(BlockBackend) blk = open_started(f, DRIVE);
    char buf[1024] = { 0 };
    BlockStats s;

    g_assert_cmpint(run(f, blk, BLOCK_WRITE, 512, buf, 1024), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_READ, 512, buf, 1024), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_READ, IMAGE_BYTES, buf, 512), <, 0);
    block_backend_stats(blk, &s);
    g_assert_cmpuint(s.operations[BLOCK_READ], ==, 2);
    g_assert_cmpuint(s.bytes[BLOCK_READ], ==, 1536);
    g_assert_cmpuint(s.failed[BLOCK_READ], ==, 1);
    g_assert_cmpuint(s.operations[BLOCK_WRITE], ==, 1);
    g_assert_cmpuint(s.bytes[BLOCK_WRITE], ==, 1024);
    g_assert_cmpuint(s.failed[BLOCK_WRITE], ==, 0);
    g_assert_cmpuint(s.total_ns[BLOCK_WRITE], >, 0);
    g_assert_cmpuint(s.operations[BLOCK_FLUSH], ==, 1);
    g_assert_cmpuint(s.operations[BLOCK_DISCARD], ==, 0);
}

static void test_bad_requests(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_started(f, DRIVE);
    uint8_t buf[1024] = { 1 };
    struct iovec iov = { buf, 512 };
    Pending p = { .ended = false };

    g_assert_cmpint(run(f, blk, BLOCK_WRITE, IMAGE_BYTES, buf, 512), ==,
                    -EINVAL);
    g_assert_cmpint(run(f, blk, BLOCK_READ, IMAGE_BYTES - 512, buf, 1024), ==,
                    -EINVAL);
    g_assert_cmpint(run(f, blk, BLOCK_READ, UINT64_MAX - 511, buf, 1024), ==,
                    -EINVAL);
    g_assert_cmpint(run(f, blk, BLOCK_WRITE, 100, buf, 512), ==, -EINVAL);
    start(blk, &p, BLOCK_WRITE, 0, 1024, &iov, 1);
    g_assert_cmpint(wait_for(f, &p), ==, -EINVAL);
    g_assert_cmpuint(allocated(f), ==, 0);
    block_backend_free(blk);
}

/* ---- Refusals, locks, hand-over ---------------------------------------- */

static void test_read_only(Fixture *f, gconstpointer data)
{
    BlockBackend *a = open_started(f, DRIVE ",readonly=on");
    BlockBackend *b = open_started(f, DRIVE ",readonly=on");
    uint8_t buf[512] = { 0 };

    g_assert_true(block_backend_read_only(a));
    g_assert_cmpint(run(f, a, BLOCK_WRITE, 0, buf, 512), ==, -EACCES);
    g_assert_cmpint(run(f, a, BLOCK_DISCARD, 0, NULL, 512), ==, -EACCES);
    g_assert_cmpint(run(f, a, BLOCK_READ, 0, buf, 512), ==, 0);
    /* Readers share; a writer is one too many. */
    assert_refused(f, DRIVE, "in use");
    block_backend_free(a);
    block_backend_free(b);
}

static void test_lock(Fixture *f, gconstpointer data)
{
    BlockBackend *a = open_started(f, DRIVE);

    assert_refused(f, DRIVE, "in use");
    assert_refused(f, DRIVE ",readonly=on", "in use");
    block_backend_free(a);
    a = open_started(f, DRIVE);
    block_backend_free(a);
}

/* A migration: the destination opens, the source lets go, then it takes. */
static void test_hand_over(Fixture *f, gconstpointer data)
{
    BlockBackend *src = open_started(f, DRIVE);
    GError *err = NULL;
    BlockBackend *dst = try_open(f, DRIVE, /* active= */ false, &err);
    uint8_t buf[512] = { 7 };

    g_assert_no_error(err);
    g_assert_true(block_backend_start(dst, f->context, &err));
    g_assert_cmpint(run(f, dst, BLOCK_WRITE, 0, buf, 512), ==, -EPERM);
    g_assert_false(block_backend_activate(dst, &err));
    g_assert_nonnull(strstr(err->message, "in use"));
    g_clear_error(&err);
    g_assert_cmpint(run(f, src, BLOCK_WRITE, 0, buf, 512), ==, 0);
    g_assert_true(block_backend_inactivate(src, &err));
    g_assert_cmpint(run(f, src, BLOCK_WRITE, 0, buf, 512), ==, -EPERM);
    g_assert_true(block_backend_activate(dst, &err));
    g_assert_no_error(err);
    g_assert_cmpint(run(f, dst, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_cmpint(buf[0], ==, 7);
    /* It failed after all: back to the source. */
    g_assert_true(block_backend_inactivate(dst, &err));
    g_assert_true(block_backend_activate(src, &err));
    g_assert_cmpint(run(f, src, BLOCK_WRITE, 0, buf, 512), ==, 0);
    block_backend_free(src);
    block_backend_free(dst);
}

static void test_refusals(Fixture *f, gconstpointer data)
{
    assert_refused(f, "id=d,file=%s,format=qcow2", "qcow2");
    assert_refused(f, DRIVE ",cache=fast", "fast");
    assert_refused(f, DRIVE ",aio=magic", "magic");
    assert_refused(f, DRIVE ",if=ide", "ide");
    assert_refused(f, DRIVE ",werror=stop", "werror");
    assert_refused(f, DRIVE ",readonly=maybe", "maybe");
    assert_refused(f, "id=d,format=raw,x=%s", "file=");
    assert_refused(f, "id=d,format=raw,file=%s.none", "No such file");
    assert_refused(f, "id=d,format=raw,file=/dev/null,serial=%s", "serial");
    assert_refused(f, "driver=qcow2,file=%s", "qcow2");
    assert_refused(f, "driver=raw,file=%s", "reference");
    assert_refused(f, "driver=raw,node-name=n%s", "file.filename");
    g_assert_cmpint(truncate(f->path, 1000), ==, 0);
    assert_refused(f, DRIVE, "multiple");
}

static void test_directory(Fixture *f, gconstpointer data)
{
    g_autofree char *saved = g_steal_pointer(&f->path);

    f->path = g_strdup(f->dir);
    assert_refused(f, DRIVE, "directory");
    assert_refused(f, DRIVE ",readonly=on", "neither");
    g_free(f->path);
    f->path = g_steal_pointer(&saved);
}

/* Without format=, an image with a known magic is not taken for raw. */
static void test_probe(Fixture *f, gconstpointer data)
{
    vm_autofd fd = open(f->path, O_WRONLY);
    BlockBackend *blk;

    g_assert_cmpint(vm_pwrite_full(fd, "QFI\xfb", 4, 0), ==, 0);
    assert_refused(f, "id=d,file=%s", "qcow2");
    blk = open_started(f, DRIVE);
    block_backend_free(blk);
}

static void test_blockdev(Fixture *f, gconstpointer options)
{
    BlockBackend *blk = open_started(f, options);

    g_assert_cmpstr(block_backend_id(blk), ==, "n0");
    g_assert_cmpuint(block_backend_bytes(blk), ==, IMAGE_BYTES);
    g_assert_true(block_backend_claim(blk));
    g_assert_false(block_backend_claim(blk));
    block_backend_free(blk);
}

/* ---- Errors ------------------------------------------------------------ */

/* The file shrinks behind our back. */
static void test_truncated(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = open_started(f, DRIVE);
    uint8_t buf[1024];

    g_assert_cmpint(truncate(f->path, 512), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_READ, 0, buf, 1024), ==, -EIO);
    g_assert_cmpint(run(f, blk, BLOCK_READ, 0, buf, 512), ==, 0);
    block_backend_free(blk);
}

/* No space: that request fails, the others go on. */
static void test_no_space(Fixture *f, gconstpointer data)
{
    g_autofree uint8_t *buf = g_malloc0(2 << 20);
    BlockBackend *blk;

    if (mount("none", f->dir, "tmpfs", 0, "size=1m") < 0) {
        g_test_skip("needs the right to mount a tmpfs");
        return;
    }
    write_image(f->path, IMAGE_BYTES);
    blk = open_started(f, DRIVE);
    g_assert_cmpint(run(f, blk, BLOCK_WRITE, 0, buf, 2 << 20), ==, -ENOSPC);
    g_assert_cmpint(run(f, blk, BLOCK_READ, 0, buf, 512), ==, 0);
    g_assert_cmpint(run(f, blk, BLOCK_WRITE, 0, buf, 512), ==, 0);
    block_backend_free(blk);
    g_assert_cmpint(umount(f->dir), ==, 0);
}

#define ADD(path, data, fn)                                                 \
    g_test_add("/block/" path, Fixture, data, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("round-trip/writeback", DRIVE, test_round_trip);
    ADD("round-trip/none", DRIVE ",cache=none", test_round_trip);
    ADD("round-trip/directsync", DRIVE ",cache=directsync", test_round_trip);
    ADD("round-trip/unsafe", DRIVE ",cache=unsafe", test_round_trip);
    ADD("vector/writeback", DRIVE, test_vector);
    ADD("vector/none", DRIVE ",cache=none", test_vector);
    ADD("read-modify-write", NULL, test_read_modify_write);
    ADD("depth", NULL, test_depth);
    ADD("discard", NULL, test_discard);
    ADD("write-zeroes/writeback", DRIVE, test_write_zeroes);
    ADD("write-zeroes/none", DRIVE ",cache=none", test_write_zeroes);
    ADD("stats", NULL, test_stats);
    ADD("bad-requests", NULL, test_bad_requests);
    ADD("read-only", NULL, test_read_only);
    ADD("lock", NULL, test_lock);
    ADD("hand-over", NULL, test_hand_over);
    ADD("refusals", NULL, test_refusals);
    ADD("directory", NULL, test_directory);
    ADD("probe", NULL, test_probe);
    ADD("blockdev/raw",
        "driver=raw,node-name=n0,file.driver=file,file.filename=%s,"
        "cache.direct=on,discard=unmap", test_blockdev);
    ADD("blockdev/libvirt",
        "driver=raw,node-name=n0,read-only=off,discard=unmap,"
        "cache.direct=on,cache.no-flush=off,file.driver=file,"
        "file.filename=%s,file.cache.direct=on,file.cache.no-flush=off,"
        "file.auto-read-only=on,file.discard=unmap", test_blockdev);
    ADD("blockdev/file", "driver=file,node-name=n0,filename=%s,aio=native",
        test_blockdev);
    ADD("truncated", NULL, test_truncated);
    ADD("no-space", NULL, test_no_space);
    return g_test_run();
}
