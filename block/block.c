/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block backends: options, the file, locks, hand-over.
 *
 * Why: -drive and -blockdev say the same in two languages; both become one
 * BlockOptions here, and what is not supported is refused by name.
 *
 * Invariants:
 *   (1) The locks of lock.c are held iff the backend is active and locking.
 *   (2) An inactive backend writes nothing: the file belongs to the other
 *       side of a migration.
 *
 * Threads: main thread (hand-over: migration thread too), drained.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block-internal.h"
#include "util/error.h"
#include "util/fd.h"

#define BLOCK_SECTOR_BYTES 512
#define BLOCK_ALIGNMENT_MAX 4096

/* ---- Options ----------------------------------------------------------- */

typedef struct BlockOptions {
    const char *id, *filename;
    bool probe_format; /* none was given */
    bool read_only, auto_read_only;
    bool direct, no_flush, write_cache;
    bool discard, locking;
} BlockOptions;

typedef struct CacheMode {
    const char *name;
    bool direct, no_flush, write_cache;
} CacheMode;

static const CacheMode cache_modes[] = {
    { "writeback", false, false, true },
    { "none", true, false, true },
    { "off", true, false, true },
    { "writethrough", false, false, false },
    { "directsync", true, false, false },
    { "unsafe", false, true, true },
};

/* The option must be absent or one of the names. */
static bool check_one_of(VmKeyval *kv, const char *key,
                         const char *const *names, GError **errp)
{
    const char *value = vm_keyval_get(kv, key);

    if (!value || g_strv_contains(names, value)) {
        return true;
    }
    return vm_error_set(errp, 0, "%s=%s is not supported", key, value);
}

static bool parse_cache(VmKeyval *kv, BlockOptions *o, GError **errp)
{
    const char *cache = vm_keyval_get(kv, "cache");

    o->write_cache = true;
    if (cache) {
        size_t i = 0;

        while (i < G_N_ELEMENTS(cache_modes) &&
               !g_str_equal(cache, cache_modes[i].name)) {
            i++;
        }
        if (i == G_N_ELEMENTS(cache_modes)) {
            return vm_error_set(errp, 0, "invalid cache option '%s'", cache);
        }
        o->direct = cache_modes[i].direct;
        o->no_flush = cache_modes[i].no_flush;
        o->write_cache = cache_modes[i].write_cache;
    }
    return vm_keyval_get_bool(kv, "cache.direct", o->direct, &o->direct,
                              errp) &&
           vm_keyval_get_bool(kv, "cache.no-flush", o->no_flush,
                              &o->no_flush, errp);
}

static bool parse_discard(VmKeyval *kv, BlockOptions *o, GError **errp)
{
    static const char *const names[] = { "ignore", "off", "unmap", "on",
                                         NULL };
    const char *value = vm_keyval_get(kv, "discard");

    if (!check_one_of(kv, "discard", names, errp)) {
        return false;
    }
    o->discard = value &&
                 (g_str_equal(value, "unmap") || g_str_equal(value, "on"));
    return true;
}

static bool parse_locking(VmKeyval *kv, const char *key, BlockOptions *o,
                          GError **errp)
{
    static const char *const names[] = { "auto", "on", "off", NULL };

    o->locking = g_strcmp0(vm_keyval_get(kv, key), "off") != 0;
    return check_one_of(kv, key, names, errp);
}

static const char *const aio_names[] = { "io_uring", "native", "threads",
                                         NULL };

/* -drive file=...,format=raw,... */
static bool parse_drive(VmKeyval *kv, BlockOptions *o, GError **errp)
{
    static const char *const interfaces[] = { "none", "virtio", NULL };
    static const char *const formats[] = { "raw", NULL };
    static const char *const media[] = { "disk", NULL };

    o->id = vm_keyval_get(kv, "id");
    o->filename = vm_keyval_get(kv, "file");
    o->probe_format = vm_keyval_get(kv, "format") == NULL;
    if (!o->filename) {
        return vm_error_set(errp, 0, "-drive: file= is missing (removable "
                            "drives are not supported)");
    }
    return check_one_of(kv, "if", interfaces, errp) &&
           check_one_of(kv, "format", formats, errp) &&
           check_one_of(kv, "media", media, errp) &&
           check_one_of(kv, "aio", aio_names, errp) &&
           parse_locking(kv, "file.locking", o, errp) &&
           vm_keyval_get_bool(kv, "readonly", false, &o->read_only, errp) &&
           vm_keyval_get_bool(kv, "read-only", o->read_only, &o->read_only,
                              errp);
}

/* -blockdev driver=raw,file.driver=file,file.filename=... or driver=file,... */
static bool parse_blockdev(VmKeyval *kv, const char *driver, BlockOptions *o,
                           GError **errp)
{
    static const char *const files[] = { "file", "host_device", NULL };
    bool raw = g_str_equal(driver, "raw");

    if (!raw && !g_strv_contains(files, driver)) {
        return vm_error_set(errp, 0, "-blockdev: driver '%s' is not "
                            "supported", driver);
    }
    o->id = vm_keyval_get(kv, "node-name");
    if (raw && vm_keyval_get(kv, "file")) {
        return vm_error_set(errp, 0, "-blockdev: a reference to another node "
                            "(file=%s) is not supported; give file.driver= "
                            "and file.filename=", vm_keyval_get(kv, "file"));
    }
    o->filename = vm_keyval_get(kv, raw ? "file.filename" : "filename");
    if (!o->filename) {
        return vm_error_set(errp, 0, "-blockdev: %s is missing",
                            raw ? "file.filename=" : "filename=");
    }
    return check_one_of(kv, raw ? "file.driver" : "driver", files, errp) &&
           check_one_of(kv, raw ? "file.aio" : "aio", aio_names, errp) &&
           parse_locking(kv, raw ? "file.locking" : "locking", o, errp) &&
           vm_keyval_get_bool(kv, "read-only", false, &o->read_only, errp) &&
           vm_keyval_get_bool(kv, "auto-read-only", false,
                              &o->auto_read_only, errp);
}

/*
 * What "raw" over "file" says of the file itself, as management does: it
 * decides how the file is opened, and has to agree to discards.
 */
static bool parse_file_node(VmKeyval *kv, BlockOptions *o, GError **errp)
{
    static const char *const names[] = { "ignore", "off", "unmap", "on",
                                         NULL };
    const char *discard = vm_keyval_get(kv, "file.discard");
    bool read_only;

    if (!check_one_of(kv, "file.discard", names, errp) ||
        !vm_keyval_get_bool(kv, "file.cache.direct", o->direct, &o->direct,
                            errp) ||
        !vm_keyval_get_bool(kv, "file.cache.no-flush", o->no_flush,
                            &o->no_flush, errp) ||
        !vm_keyval_get_bool(kv, "file.auto-read-only", o->auto_read_only,
                            &o->auto_read_only, errp) ||
        !vm_keyval_get_bool(kv, "file.read-only", false, &read_only, errp)) {
        return false;
    }
    o->read_only |= read_only;
    o->discard &= !discard || g_str_equal(discard, "unmap") ||
                  g_str_equal(discard, "on");
    return true;
}

static bool parse_options(VmKeyval *kv, BlockOptions *o, GError **errp)
{
    static const char *const off[] = { "off", NULL };
    const char *driver = vm_keyval_get(kv, "driver");

    memset(o, 0, sizeof(*o));
    if (!(driver ? parse_blockdev(kv, driver, o, errp)
                 : parse_drive(kv, o, errp))) {
        return false;
    }
    return parse_cache(kv, o, errp) && parse_discard(kv, o, errp) &&
           (g_strcmp0(driver, "raw") != 0 || parse_file_node(kv, o, errp)) &&
           check_one_of(kv, "detect-zeroes", off, errp) &&
           vm_keyval_check_all_used(kv, errp);
}

/* ---- The file ---------------------------------------------------------- */

static bool open_file(BlockBackend *blk, const BlockOptions *o, GError **errp)
{
    int flags = O_CLOEXEC | (o->direct ? O_DIRECT : 0);

    blk->fd = -1;
    if (!o->read_only) {
        blk->fd = open(o->filename, flags | O_RDWR);
        if (blk->fd < 0 && o->auto_read_only &&
            (errno == EACCES || errno == EROFS)) {
            blk->read_only = true;
        }
    }
    if (blk->fd < 0 && blk->read_only) {
        blk->fd = open(o->filename, flags | O_RDONLY);
    }
    if (blk->fd < 0) {
        if (errno == EINVAL && o->direct) {
            return vm_error_set(errp, 0, "Could not open '%s': its file "
                                "system does not do direct I/O (O_DIRECT), "
                                "which cache=none needs", o->filename);
        }
        return vm_error_set(errp, errno, "Could not open '%s'", o->filename);
    }
    return true;
}

static bool get_size(BlockBackend *blk, GError **errp)
{
    struct stat st;

    if (fstat(blk->fd, &st) < 0) {
        return vm_error_set(errp, errno, "'%s': fstat", blk->filename);
    }
    if (S_ISREG(st.st_mode)) {
        blk->bytes = st.st_size;
    } else if (S_ISBLK(st.st_mode)) {
        if (ioctl(blk->fd, BLKGETSIZE64, &blk->bytes) < 0) {
            return vm_error_set(errp, errno, "'%s': size of the device",
                                blk->filename);
        }
    } else {
        return vm_error_set(errp, 0, "'%s' is neither a regular file nor a "
                            "block device", blk->filename);
    }
    return true;
}

/* Does the file take direct I/O in units of this many bytes? */
static bool direct_read_works(BlockBackend *blk, unsigned unit)
{
    g_autofree char *raw = g_malloc(3 * BLOCK_ALIGNMENT_MAX);
    char *aligned = (char *)(((uintptr_t)raw + BLOCK_ALIGNMENT_MAX) &
                             ~(uintptr_t)(BLOCK_ALIGNMENT_MAX - 1));

    /* Unit is also the alignment in memory that is tried. */
    return pread(blk->fd, aligned + unit % BLOCK_ALIGNMENT_MAX, unit, 0) >= 0;
}

static bool get_alignment(BlockBackend *blk, GError **errp)
{
    blk->alignment = 1;
    if (blk->direct) {
        if (direct_read_works(blk, BLOCK_SECTOR_BYTES)) {
            blk->alignment = BLOCK_SECTOR_BYTES;
        } else if (direct_read_works(blk, BLOCK_ALIGNMENT_MAX)) {
            blk->alignment = BLOCK_ALIGNMENT_MAX;
        } else {
            return vm_error_set(errp, errno, "'%s': direct read",
                                blk->filename);
        }
    }
    if (blk->bytes % MAX(blk->alignment, BLOCK_SECTOR_BYTES)) {
        return vm_error_set(errp, 0, "'%s': its size, %" G_GUINT64_FORMAT
                            " bytes, is not a multiple of %u", blk->filename,
                            blk->bytes,
                            MAX(blk->alignment, BLOCK_SECTOR_BYTES));
    }
    return true;
}

/* Without format=, an image of another format must not be taken for raw. */
static bool check_probed_format(BlockBackend *blk, GError **errp)
{
    static const struct {
        const char *magic, *name;
    } known[] = {
        { "QFI\xfb", "qcow2" }, { "KDMV", "vmdk" }, { "conectix", "vpc" },
        { "vhdxfile", "vhdx" }, { "QED", "qed" },
    };
    g_autofree char *raw = g_malloc0(2 * BLOCK_ALIGNMENT_MAX);
    char *head = (char *)(((uintptr_t)raw + BLOCK_ALIGNMENT_MAX - 1) &
                          ~(uintptr_t)(BLOCK_ALIGNMENT_MAX - 1));

    if (pread(blk->fd, head, BLOCK_ALIGNMENT_MAX, 0) < 0) {
        return vm_error_set(errp, errno, "'%s': read", blk->filename);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (memcmp(head, known[i].magic, strlen(known[i].magic)) == 0) {
            return vm_error_set(errp, 0, "'%s' looks like format=%s, which "
                                "is not supported (format=raw if it is raw "
                                "after all)", blk->filename, known[i].name);
        }
    }
    return true;
}

/* ---- Life -------------------------------------------------------------- */

static BlockBackend *backend_new(VmKeyval *options, bool active,
                                 GError **errp)
{
    g_autoptr(BlockBackend) blk = NULL;
    BlockOptions o;

    if (!parse_options(options, &o, errp)) {
        return NULL;
    }
    blk = g_new0(BlockBackend, 1);
    blk->fd = -1;
    blk->id = g_strdup(o.id);
    blk->filename = g_strdup(o.filename);
    blk->read_only = o.read_only;
    blk->direct = o.direct;
    blk->no_flush = o.no_flush;
    blk->write_cache = o.write_cache;
    blk->discard = o.discard;
    blk->locking = o.locking;
    g_queue_init(&blk->waiting);
    if (!open_file(blk, &o, errp) || !get_size(blk, errp) ||
        !get_alignment(blk, errp) ||
        (o.probe_format && !check_probed_format(blk, errp)) ||
        (active && !block_backend_activate(blk, errp))) {
        return NULL;
    }
    return g_steal_pointer(&blk);
}

BlockBackend *block_backend_new(VmKeyval *options, GError **errp)
{
    return backend_new(options, /* active= */ true, errp);
}

BlockBackend *block_backend_new_inactive(VmKeyval *options, GError **errp)
{
    return backend_new(options, /* active= */ false, errp);
}

void block_backend_free(BlockBackend *blk)
{
    if (!blk) {
        return;
    }
    block_requests_done(blk);
    vm_close_fd(&blk->fd);
    g_free(blk->id);
    g_free(blk->filename);
    g_free(blk);
}

bool block_backend_activate(BlockBackend *blk, GError **errp)
{
    uint64_t bytes = blk->bytes;

    if (blk->active) {
        return true;
    }
    if (blk->locking &&
        !block_lock_take(blk->fd, blk->filename, blk->read_only, errp)) {
        return false;
    }
    /* The other side may have done to it what we would not survive. */
    if (!get_size(blk, errp) || blk->bytes != bytes) {
        block_lock_drop(blk->fd);
        blk->bytes = bytes;
        return vm_error_set(errp, 0, "'%s' has changed its size",
                            blk->filename);
    }
    blk->active = true;
    return true;
}

bool block_backend_inactivate(BlockBackend *blk, GError **errp)
{
    if (!blk->active) {
        return true;
    }
    if (!blk->read_only && !blk->no_flush && fdatasync(blk->fd) < 0) {
        return vm_error_set(errp, errno, "'%s': flush", blk->filename);
    }
    blk->active = false; /* (2), before (1): nothing is written unlocked */
    if (blk->locking) {
        block_lock_drop(blk->fd);
    }
    return true;
}

/* ---- What it is -------------------------------------------------------- */

const char *block_backend_id(const BlockBackend *blk)
{
    return blk->id;
}

const char *block_backend_filename(const BlockBackend *blk)
{
    return blk->filename;
}

uint64_t block_backend_bytes(const BlockBackend *blk)
{
    return blk->bytes;
}

bool block_backend_read_only(const BlockBackend *blk)
{
    return blk->read_only;
}

unsigned block_backend_sector_bytes(const BlockBackend *blk)
{
    return MAX(blk->alignment, BLOCK_SECTOR_BYTES);
}

bool block_backend_write_cache(const BlockBackend *blk)
{
    return blk->write_cache;
}

bool block_backend_direct(const BlockBackend *blk)
{
    return blk->direct;
}

bool block_backend_no_flush(const BlockBackend *blk)
{
    return blk->no_flush;
}

static uint64_t counter(const atomic_uint_fast64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

void block_backend_stats(const BlockBackend *blk, BlockStats *ret)
{
    for (unsigned op = 0; op < BLOCK_OPS; op++) {
        ret->operations[op] = counter(&blk->counters[op].operations);
        ret->failed[op] = counter(&blk->counters[op].failed);
        ret->bytes[op] = counter(&blk->counters[op].bytes);
        ret->total_ns[op] = counter(&blk->counters[op].total_ns);
    }
}

bool block_backend_claim(BlockBackend *blk)
{
    bool was = blk->claimed;

    blk->claimed = true;
    return !was;
}

void block_backend_set_alignment(BlockBackend *blk, unsigned alignment)
{
    blk->alignment = alignment;
}
