/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lookup and dispatch in the guest's physical address spaces.
 *
 * Why: every exit of every vCPU and every access of a device looks an address
 * up here, while a guest may move PCI windows at any time; so lookups take no
 * lock, and the table is small, sorted and searched by halves.
 *
 * Ordering guarantees. The table is one array of atomic entries, changed in
 * place under the lock between two increments of seq; seq is odd meanwhile.
 *   Writer: seq odd; entries stored with release; seq even with release.
 *   Reader: seq with acquire, again if it is odd; entries with acquire; seq
 *   again, relaxed: if it differs, all that was read is thrown away.
 * The release of each entry keeps the odd seq before it, so a reader that
 * sees one new entry also sees that seq has changed. The acquire of each
 * entry keeps the second read of seq behind it. The even seq publishes the
 * entries to readers that start later. An array that has become too small is
 * kept until the space is freed, since a reader may still look at it: sizes
 * double, so all old ones together are smaller than the new one.
 *
 * Invariants:
 *   (1) Entries are sorted by start and do not overlap.
 *   (2) start <= last; both lie in the space.
 *   (3) A RAM entry stays for ever (so a RamBlock outlives the space).
 *
 * Threads and locks: see address-space.h; lock has rank VM_RANK_ADDRESS_MAP
 * and is a leaf here.
 */
#include "memory/address-space.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "util/thread.h"

#define AS_FIRST_CAPACITY 64u
/* A guest can map no more than its devices' windows: far below this. */
#define AS_MAX_ENTRIES 4096u
/* x86 has at most 52 physical address bits (AMD64 APM volume 2, 5.1). */
#define AS_MEMORY_LAST ((UINT64_C(1) << 52) - 1)
#define AS_PORTS_LAST 0xffffu
#define AS_ACCESS_MAX_BYTES 8u

/* One range, as a plain value. region NULL: RAM. */
typedef struct Range {
    uint64_t start, last;
    IoRegion *region;
    RamBlock *block;
    RamOffset offset;
} Range;

/* The same in the shared table; see "Ordering guarantees". */
typedef struct SharedRange {
    _Atomic uint64_t start, last;
    _Atomic(IoRegion *) region;
    _Atomic(RamBlock *) block;
    _Atomic RamOffset offset;
} SharedRange;

typedef struct Table Table;
struct Table {
    Table *older; /* kept for readers; immutable */
    unsigned capacity;
    SharedRange ranges[];
};

struct AddressSpace {
    /* Immutable after address_space_new(). */
    AddressSpaceKind kind;
    uint64_t last; /* highest address of the space */

    /* Written under lock, read by all: see "Ordering guarantees". */
    _Atomic uint64_t seq;
    _Atomic(Table *) table;
    _Atomic unsigned count;

    VmMutex lock; /* rank VM_RANK_ADDRESS_MAP */
};

static Table *table_new(unsigned capacity, Table *older)
{
    Table *t = g_malloc0(sizeof(*t) + capacity * sizeof(t->ranges[0]));

    t->older = older;
    t->capacity = capacity;
    return t;
}

AddressSpace *address_space_new(AddressSpaceKind kind)
{
    AddressSpace *as = g_new0(AddressSpace, 1);

    as->kind = kind;
    as->last = kind == AS_PORTS ? AS_PORTS_LAST : AS_MEMORY_LAST;
    as->table = table_new(AS_FIRST_CAPACITY, /* older= */ NULL);
    vm_mutex_init(&as->lock, VM_RANK_ADDRESS_MAP);
    return as;
}

void address_space_free(AddressSpace *as)
{
    Table *t;

    if (!as) {
        return;
    }
    t = as->table;
    while (t) {
        Table *older = t->older;

        g_free(t);
        t = older;
    }
    vm_mutex_done(&as->lock);
    g_free(as);
}

static Range range_load(const SharedRange *s)
{
    return (Range){
        .start = atomic_load_explicit(&s->start, memory_order_acquire),
        .last = atomic_load_explicit(&s->last, memory_order_acquire),
        .region = atomic_load_explicit(&s->region, memory_order_acquire),
        .block = atomic_load_explicit(&s->block, memory_order_acquire),
        .offset = atomic_load_explicit(&s->offset, memory_order_acquire),
    };
}

static void range_store(SharedRange *s, const Range *r)
{
    atomic_store_explicit(&s->start, r->start, memory_order_release);
    atomic_store_explicit(&s->last, r->last, memory_order_release);
    atomic_store_explicit(&s->region, r->region, memory_order_release);
    atomic_store_explicit(&s->block, r->block, memory_order_release);
    atomic_store_explicit(&s->offset, r->offset, memory_order_release);
}

/* Index of the first of count ranges whose last is not below addr. */
static unsigned table_search(const Table *t, unsigned count, uint64_t addr)
{
    unsigned low = 0, high = count;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;

        if (atomic_load_explicit(&t->ranges[mid].last,
                                 memory_order_acquire) < addr) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/*
 * The range that holds addr, or the next one above it; false: there is none.
 * Never waits for more than one change of the table at a time.
 */
static bool as_lookup(AddressSpace *as, uint64_t addr, Range *ret)
{
    for (;;) {
        uint64_t seq = atomic_load_explicit(&as->seq, memory_order_acquire);
        Table *t;
        unsigned count, i;
        bool found;
        Range r = {};

        if (seq & 1) {
            __builtin_ia32_pause();
            continue;
        }
        t = atomic_load_explicit(&as->table, memory_order_acquire);
        /* A torn pair of an old table and a new count must not lead beyond
         * its end; the check of seq then throws the result away. */
        count = atomic_load_explicit(&as->count, memory_order_acquire);
        count = MIN(count, t->capacity);
        i = table_search(t, count, addr);
        found = i < count;
        if (found) {
            r = range_load(&t->ranges[i]);
        }
        if (atomic_load_explicit(&as->seq, memory_order_relaxed) == seq) {
            if (found) {
                *ret = r;
            }
            return found;
        }
    }
}

static void as_change_begin_locked(AddressSpace *as) VM_REQUIRES(as->lock)
{
    atomic_fetch_add_explicit(&as->seq, 1, memory_order_relaxed);
}

static void as_change_end_locked(AddressSpace *as) VM_REQUIRES(as->lock)
{
    atomic_fetch_add_explicit(&as->seq, 1, memory_order_release);
}

/* A bigger table with the same entries; readers may go on with the old. */
static void as_grow_locked(AddressSpace *as) VM_REQUIRES(as->lock)
{
    Table *old = as->table;
    Table *t = table_new(old->capacity * 2, old);

    for (unsigned i = 0; i < as->count; i++) {
        Range r = range_load(&old->ranges[i]);

        range_store(&t->ranges[i], &r);
    }
    as_change_begin_locked(as);
    atomic_store_explicit(&as->table, t, memory_order_release);
    as_change_end_locked(as);
}

static int as_insert_locked(AddressSpace *as, const Range *range)
    VM_REQUIRES(as->lock)
{
    Table *t = as->table;
    unsigned i = table_search(t, as->count, range->start);

    if (i < as->count && t->ranges[i].start <= range->last) {
        return -EEXIST;
    }
    if (as->count == AS_MAX_ENTRIES) {
        return -ENOSPC;
    }
    if (as->count == t->capacity) {
        as_grow_locked(as);
        t = as->table;
    }
    as_change_begin_locked(as);
    for (unsigned j = as->count; j > i; j--) {
        Range r = range_load(&t->ranges[j - 1]);

        range_store(&t->ranges[j], &r);
    }
    range_store(&t->ranges[i], range);
    atomic_store_explicit(&as->count, as->count + 1, memory_order_release);
    as_change_end_locked(as);
    return 0;
}

static void as_remove_locked(AddressSpace *as, unsigned i)
    VM_REQUIRES(as->lock)
{
    Table *t = as->table;
    unsigned count = as->count - 1;

    as_change_begin_locked(as);
    for (; i < count; i++) {
        Range r = range_load(&t->ranges[i + 1]);

        range_store(&t->ranges[i], &r);
    }
    atomic_store_explicit(&as->count, count, memory_order_release);
    as_change_end_locked(as);
}

/* Fills start and last; -EINVAL if that does not lie in the space. */
static int range_set_bounds(const AddressSpace *as, Range *range,
                            uint64_t start, uint64_t size_bytes)
{
    if (size_bytes == 0 || start > as->last ||
        size_bytes - 1 > as->last - start) {
        return -EINVAL;
    }
    range->start = start;
    range->last = start + (size_bytes - 1);
    return 0;
}

static int as_map(AddressSpace *as, Range *range, uint64_t start,
                  uint64_t size_bytes)
{
    int r = range_set_bounds(as, range, start, size_bytes);

    if (r == 0) {
        vm_mutex_lock(&as->lock);
        r = as_insert_locked(as, range);
        vm_mutex_unlock(&as->lock);
    }
    return r;
}

int address_space_map_ram(AddressSpace *as, GuestAddr gpa, RamBlock *block,
                          RamOffset offset, uint64_t size_bytes)
{
    Range range = { .block = block, .offset = offset };
    uint64_t block_bytes = ram_block_bytes(block);

    if (as->kind != AS_MEMORY || gpa % RAM_PAGE_BYTES != 0 ||
        offset % RAM_PAGE_BYTES != 0 || size_bytes % RAM_PAGE_BYTES != 0 ||
        offset > block_bytes || size_bytes > block_bytes - offset) {
        return -EINVAL;
    }
    return as_map(as, &range, gpa, size_bytes);
}

static unsigned region_min(const IoRegion *region)
{
    return region->ops->min_bytes ? region->ops->min_bytes : 1;
}

static unsigned region_max(const AddressSpace *as, const IoRegion *region)
{
    if (region->ops->max_bytes) {
        return region->ops->max_bytes;
    }
    return as->kind == AS_PORTS ? 4 : AS_ACCESS_MAX_BYTES;
}

static bool is_access_size(unsigned n)
{
    return n == 1 || n == 2 || n == 4 || n == 8;
}

int address_space_map_io(AddressSpace *as, uint64_t addr, IoRegion *region)
{
    Range range = { .region = region };

    /* These are constants of a device's source, not of a guest. */
    g_assert(is_access_size(region_min(region)));
    g_assert(is_access_size(region_max(as, region)));
    g_assert(region_min(region) <= region_max(as, region));
    g_assert(region->size_bytes % region_min(region) == 0);
    return as_map(as, &range, addr, region->size_bytes);
}

void address_space_unmap_io(AddressSpace *as, IoRegion *region)
{
    vm_mutex_lock(&as->lock);
    for (unsigned i = 0; i < as->count; i++) {
        Table *t = as->table;

        if (t->ranges[i].region == region) {
            as_remove_locked(as, i);
            break;
        }
    }
    vm_mutex_unlock(&as->lock);
}

void address_space_foreach_ram(AddressSpace *as,
                               void (*fn)(const RamMapping *m, void *opaque),
                               void *opaque)
{
    uint64_t addr = 0;
    Range r;

    /* One lookup each: fn runs without the lock; RAM never goes away (3). */
    while (as_lookup(as, addr, &r)) {
        if (r.block) {
            RamMapping m = { .gpa = r.start,
                             .block = r.block,
                             .offset = r.offset,
                             .size_bytes = r.last - r.start + 1 };

            fn(&m, opaque);
        }
        addr = r.last + 1; /* cannot wrap: (2) */
    }
}

bool address_space_find_ram(AddressSpace *as, GuestAddr gpa, uint64_t len,
                            RamBlock **ret_block, RamOffset *ret_offset,
                            uint64_t *ret_len)
{
    Range first, next;
    uint64_t have;

    if (!as_lookup(as, gpa, &first) || gpa < first.start || !first.block) {
        return false;
    }
    have = first.last - gpa + 1;
    /* Neighbours that go on in the same block count as one piece. */
    while (have < len && as_lookup(as, gpa + have, &next) &&
           next.start == gpa + have && next.block == first.block &&
           next.offset == first.offset + (next.start - first.start)) {
        have += next.last - next.start + 1;
    }
    *ret_block = first.block;
    *ret_offset = first.offset + (gpa - first.start);
    *ret_len = MIN(have, len);
    return true;
}

/*
 * The next single call of a handler for an access of n bytes at offset: the
 * widest aligned one that stays inside the access, or, if that is narrower
 * than the region takes, the aligned one around it.
 */
typedef struct IoPiece {
    uint64_t offset;  /* of the handler call */
    unsigned size;    /* of the handler call */
    unsigned skip;    /* bytes of the call before the access' own */
    unsigned bytes;   /* of the access that this call serves */
} IoPiece;

static IoPiece io_piece(const AddressSpace *as, const IoRegion *region,
                        uint64_t offset, unsigned n)
{
    unsigned min = region_min(region);
    unsigned size = region_max(as, region);
    IoPiece p;

    while (size > 1 && (size > n || offset % size != 0)) {
        size /= 2;
    }
    size = MAX(size, min);
    p.skip = offset % size;
    p.offset = offset - p.skip;
    p.size = size;
    p.bytes = MIN(n, size - p.skip);
    return p;
}

static uint64_t piece_mask(unsigned bytes)
{
    return bytes == 8 ? UINT64_MAX : (UINT64_C(1) << (bytes * 8)) - 1;
}

static void region_lock(const IoRegion *region) VM_NO_ANALYSIS
{
    if (region->lock) {
        vm_mutex_lock(region->lock);
    }
}

static void region_unlock(const IoRegion *region) VM_NO_ANALYSIS
{
    if (region->lock) {
        vm_mutex_unlock(region->lock);
    }
}

static void region_read(const AddressSpace *as, const IoRegion *region,
                        uint64_t offset, uint8_t *buf, unsigned n)
{
    while (n > 0) {
        IoPiece p = io_piece(as, region, offset, n);
        uint64_t value;

        region_lock(region);
        value = region->ops->read(region->opaque, p.offset, p.size);
        region_unlock(region);
        value >>= p.skip * 8;
        memcpy(buf, &value, p.bytes);
        buf += p.bytes;
        offset += p.bytes;
        n -= p.bytes;
    }
}

static void region_write(const AddressSpace *as, const IoRegion *region,
                         uint64_t offset, const uint8_t *buf, unsigned n)
{
    while (n > 0) {
        IoPiece p = io_piece(as, region, offset, n);
        uint64_t value = 0;

        memcpy(&value, buf, p.bytes);
        region_lock(region);
        if (p.bytes < p.size) {
            uint64_t mask = piece_mask(p.bytes) << (p.skip * 8);
            uint64_t old = region->ops->read(region->opaque, p.offset, p.size);

            value = (old & ~mask) | (value << (p.skip * 8));
            value &= piece_mask(p.size);
        }
        region->ops->write(region->opaque, p.offset, value, p.size);
        region_unlock(region);
        buf += p.bytes;
        offset += p.bytes;
        n -= p.bytes;
    }
}

/*
 * The part in RAM of an access that starts beside it; what starts in RAM
 * never leaves the guest. A page whose content is lost reads as nothing.
 */
static void ram_read(const Range *r, uint64_t addr, uint8_t *buf, unsigned n)
{
    RamOffset offset = r->offset + (addr - r->start);

    if (ram_pin(r->block, offset, n) < 0) {
        memset(buf, 0xff, n);
        return;
    }
    memcpy(buf, ram_block_hva(r->block) + offset, n);
    ram_unpin(r->block, offset, n);
}

static void ram_write(const Range *r, uint64_t addr, const uint8_t *buf,
                      unsigned n)
{
    RamOffset offset = r->offset + (addr - r->start);

    if (ram_pin(r->block, offset, n) < 0) {
        return;
    }
    memcpy(ram_block_hva(r->block) + offset, buf, n);
    ram_mark_dirty(r->block, offset, n);
    ram_unpin(r->block, offset, n);
}

/*
 * How many of the len bytes at addr one range (or one gap) serves; ret is
 * that range, *ret_owned false for a gap.
 */
static unsigned as_next_part(AddressSpace *as, uint64_t addr, unsigned len,
                             Range *ret, bool *ret_owned)
{
    uint64_t bytes;

    if (addr > as->last || !as_lookup(as, addr, ret)) {
        *ret_owned = false;
        return len;
    }
    *ret_owned = ret->start <= addr;
    bytes = *ret_owned ? ret->last - addr + 1 : ret->start - addr;
    return (unsigned)MIN(bytes, len);
}

void address_space_io_read(AddressSpace *as, uint64_t addr, void *buf,
                           unsigned len)
{
    uint8_t *p = buf;

    while (len > 0) {
        Range r;
        bool owned;
        unsigned n = as_next_part(as, addr, len, &r, &owned);

        if (!owned) {
            memset(p, 0xff, n);
        } else if (r.region) {
            region_read(as, r.region, addr - r.start, p, n);
        } else {
            ram_read(&r, addr, p, n);
        }
        p += n;
        addr += n;
        len -= n;
    }
}

void address_space_io_write(AddressSpace *as, uint64_t addr, const void *buf,
                            unsigned len)
{
    const uint8_t *p = buf;

    while (len > 0) {
        Range r;
        bool owned;
        unsigned n = as_next_part(as, addr, len, &r, &owned);

        if (owned && r.region) {
            region_write(as, r.region, addr - r.start, p, n);
        } else if (owned) {
            ram_write(&r, addr, p, n);
        }
        p += n;
        addr += n;
        len -= n;
    }
}
