/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The map of a saved file. See file-map.h.
 *
 * Why behind the last pass and not at the beginning: a page may be written
 * again in each pass, and only the last copy counts. Why records that may be
 * ignored: the file stays a stream as any other, which can be read from its
 * beginning to its end, by a program that does not know of this, or to a
 * destination that keeps all of its RAM resident.
 *
 * Invariants:
 *   (1) Each page of the map is zero, or lies in the file as a whole: at the
 *       destination, of what the file's length was when it was opened.
 *   (2) The destination has entries for chunks [0, next) and no others.
 *
 * Threads: the job's.
 */
#include "file-map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "page-sum.h"
#include "util/bits.h"
#include "util/error.h"
#include "util/fd.h"

/* Pages of one INDEX, which has 13 bytes for each at most and may have 1 MiB
 * (section 2.2). */
#define INDEX_PAGES_MAX 65536u

struct MigFileMap {
    uint64_t pages;
    uint32_t chunk_pages, chunks;
    uint32_t *at;   /* by page: page of the file; 0: it is zero */
    uint64_t *sums; /* by page; of zero pages: 0 */

    /* Destination. */
    uint64_t file_pages; /* 0: not known yet */
    uint8_t *history;    /* by page; NULL: none came */
    ChunkNo next;        /* (2) */
};

MigFileMap *mig_file_map_new(uint64_t pages, uint32_t chunk_pages)
{
    MigFileMap *map = g_new0(MigFileMap, 1);

    map->pages = pages;
    map->chunk_pages = chunk_pages;
    map->chunks = (uint32_t)((pages + chunk_pages - 1) / chunk_pages);
    map->at = g_new0(uint32_t, pages);
    map->sums = g_new0(uint64_t, pages);
    return map;
}

void mig_file_map_free(MigFileMap *map)
{
    if (map) {
        g_free(map->at);
        g_free(map->sums);
        g_free(map->history);
        g_free(map);
    }
}

static uint64_t first_page(const MigFileMap *map, ChunkNo chunk)
{
    return (uint64_t)chunk * map->chunk_pages;
}

/* Of count chunks, the last of which may be shorter. */
static uint64_t pages_of(const MigFileMap *map, ChunkNo first, uint32_t count)
{
    return MIN((uint64_t)count * map->chunk_pages,
               map->pages - first_page(map, first));
}

/* -- source ------------------------------------------------------------- */

int mig_file_map_align(MigStream *s, size_t control_bytes, uint64_t *ret_at)
{
    static const uint8_t zeros[RAM_PAGE_BYTES];
    uint64_t begins = mig_stream_bytes_written(s) + sizeof(MigWireRecord) +
                      control_bytes;
    int err = 0;

    if (begins % RAM_PAGE_BYTES != 0) {
        size_t pad;

        begins += sizeof(MigWireRecord);
        pad = (RAM_PAGE_BYTES - begins % RAM_PAGE_BYTES) % RAM_PAGE_BYTES;
        begins += pad;
        err = mig_stream_write_body(s, MIG_REC_PAD, 0, zeros, pad);
    }
    *ret_at = begins / RAM_PAGE_BYTES;
    return err < 0                ? err
           : *ret_at > UINT32_MAX ? -EFBIG /* 16 TiB */
                                  : 0;
}

void mig_file_map_note(MigFileMap *map, ChunkNo chunk,
                       const unsigned long *pages, const unsigned long *zero,
                       const uint64_t *sums, uint64_t at)
{
    uint64_t first = first_page(map, chunk);

    for (uint32_t i = 0; i < pages_of(map, chunk, 1); i++) {
        if (vm_bit_test(pages, i)) {
            map->at[first + i] = (uint32_t)at++;
            map->sums[first + i] = *sums++;
        } else if (vm_bit_test(zero, i)) {
            map->at[first + i] = 0;
            map->sums[first + i] = 0;
        }
    }
}

static int write_index(const MigFileMap *map, MigStream *s,
                       const RamPlacement *history, ChunkNo first,
                       uint32_t count)
{
    MigWireIndex body = { .first = first, .count = count };
    uint64_t page = first_page(map, first), n = pages_of(map, first, count);
    g_autofree uint8_t *bytes = history ? g_malloc(n) : NULL;
    struct iovec control[4] = {
        { &body, sizeof(body) },
        { map->at + page, n * sizeof(*map->at) },
        { map->sums + page, n * sizeof(*map->sums) },
        { bytes, n },
    };

    for (uint32_t i = 0; history && i < count; i++) {
        history->ops->history(history->opaque, first + i,
                              bytes + (uint64_t)i * map->chunk_pages);
    }
    return mig_stream_write(s, MIG_REC_INDEX, history ? MIG_FLAG_HISTORY : 0,
                            control, history ? 4 : 3, NULL, 0);
}

int mig_file_map_write(const MigFileMap *map, MigStream *s,
                       const RamPlacement *history)
{
    uint32_t step = INDEX_PAGES_MAX / map->chunk_pages;
    int err = 0;

    for (ChunkNo c = 0; c < map->chunks && err == 0; c += step) {
        err = write_index(map, s, history, c, MIN(step, map->chunks - c));
    }
    return err;
}

/* -- destination -------------------------------------------------------- */

typedef struct __attribute__((packed)) FileEnd {
    MigWireRecord foot_head;
    MigWireFoot foot;
    MigWireRecord complete_head;
    MigWireComplete complete;
    MigWireRecord run_head;
    MigWireRun run;
} FileEnd;

static bool is_head(const MigWireRecord *rec, MigRecordType type, size_t len)
{
    return rec->magic == MIG_WIRE_MAGIC && rec->type == type &&
           rec->length == len;
}

bool mig_file_foot_read(int fd, MigWireFoot *ret)
{
    FileEnd end;
    struct stat st;

    if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(end) ||
        pread(fd, &end, sizeof(end), st.st_size - (off_t)sizeof(end)) !=
            (ssize_t)sizeof(end) ||
        !is_head(&end.foot_head, MIG_REC_FOOT, sizeof(end.foot)) ||
        !is_head(&end.complete_head, MIG_REC_COMPLETE,
                 sizeof(end.complete)) ||
        !is_head(&end.run_head, MIG_REC_RUN, sizeof(end.run))) {
        return false;
    }
    *ret = end.foot;
    return true;
}

static bool refuse(GError **errp, const char *what)
{
    return vm_error_set(errp, 0, "migration stream: INDEX record: %s", what);
}

static bool check_index(const MigFileMap *map, const MigWireRecord *rec,
                        const MigWireIndex *w, GError **errp)
{
    unsigned each = sizeof(*map->at) + sizeof(*map->sums) +
                    (rec->flags & MIG_FLAG_HISTORY ? 1 : 0);

    if (w->first != map->next || w->count == 0 ||
        w->count > map->chunks - map->next) {
        return refuse(errp, "out of order");
    }
    if (rec->length !=
        sizeof(*w) + each * pages_of(map, w->first, w->count)) {
        return refuse(errp, "bad length");
    }
    return true;
}

/* (1) */
static bool check_places(const MigFileMap *map, uint64_t page, uint64_t n,
                         GError **errp)
{
    for (uint64_t i = page; i < page + n; i++) {
        if (map->at[i] >= map->file_pages) {
            return refuse(errp, "a page beyond the end of the file");
        }
    }
    return true;
}

static bool measure(MigFileMap *map, MigStream *s, GError **errp)
{
    struct stat st;

    if (fstat(vm_channel_fd(mig_stream_channel(s)), &st) < 0) {
        return vm_error_set(errp, errno, "the file");
    }
    map->file_pages = (uint64_t)st.st_size / RAM_PAGE_BYTES;
    return true;
}

bool mig_file_map_receive(MigFileMap *map, MigStream *s,
                          const MigWireRecord *rec, GError **errp)
{
    MigWireIndex w;
    uint64_t page, n;
    int err;

    if (rec->length < sizeof(w)) {
        return refuse(errp, "too short");
    }
    err = mig_stream_read_control(s, &w, sizeof(w));
    if (err < 0) {
        return mig_stream_receive_error(err, errp);
    }
    if (!check_index(map, rec, &w, errp) || !measure(map, s, errp)) {
        return false;
    }
    page = first_page(map, w.first);
    n = pages_of(map, w.first, w.count);
    err = mig_stream_read_control(s, map->at + page, n * sizeof(*map->at));
    if (err == 0) {
        err = mig_stream_read_control(s, map->sums + page,
                                      n * sizeof(*map->sums));
    }
    if (err == 0 && rec->flags & MIG_FLAG_HISTORY) {
        if (!map->history) {
            map->history = g_malloc0(map->pages);
        }
        err = mig_stream_read_control(s, map->history + page, n);
    }
    if (err < 0) {
        return mig_stream_receive_error(err, errp);
    }
    map->next += w.count; /* (2) */
    return check_places(map, page, n, errp);
}

bool mig_file_map_is_whole(const MigFileMap *map)
{
    return map->next == map->chunks;
}

/* Once more, for reads that do not go through the page cache; its own file
 * position and lock. -1: it cannot be. */
static int reopen_direct(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    _Alignas(4096) uint8_t page[RAM_PAGE_BYTES];
    vm_autofd direct = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);

    if (direct < 0 || pread(direct, page, sizeof(page), 0) < 0) {
        return -1;
    }
    (void)flock(direct, LOCK_SH | LOCK_NB); /* fd has it, or nobody can */
    return vm_steal_fd(&direct);
}

bool mig_file_can_place(const RamPlacement *p, int fd)
{
    vm_autofd direct = p->ops->back ? reopen_direct(fd) : -1;

    return direct >= 0;
}

int mig_file_map_place(MigFileMap *map, const RamPlacement *p, int fd)
{
    RamBacking backing = {
        .fd = reopen_direct(fd),
        .bytes = map->file_pages * RAM_PAGE_BYTES,
        .sum = mig_page_sum,
        .history = map->history,
    };

    if (backing.fd < 0) {
        return -EOPNOTSUPP;
    }
    backing.at = g_steal_pointer(&map->at);
    backing.sums = g_steal_pointer(&map->sums);
    return p->ops->back(p->opaque, &backing);
}
