/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench=kv: a key-value table like memcached's, gets and sets with Zipf keys.
 *
 * The processor's memory is an array of buckets, one 4-byte link each, and
 * behind it the items in the order of their keys: a head and a value of 100
 * to 1000 bytes, by key. A get reads and verifies the whole value, a set
 * writes it anew. read= is the share of gets in percent. The popularity rank
 * is multiplied by a prime, modulo the number of keys, so that popular items
 * are not neighbours.
 *
 * The value is a function of key and version. Stale items show by the sum of
 * all versions, which has to be the number of sets.
 */
#include "bench.h"
#include "zipf.h"

#define VALUE_MIN 100
#define VALUE_MAX 1000
#define ITEM_ALIGN 16u
#define KEY_SPREAD 2654435761ull /* prime */

struct Item {
    uint32_t next; /* of the same bucket: offset / ITEM_ALIGN, 0 none */
    uint32_t words;
    uint64_t key;
    uint64_t version;
    uint64_t value[];
};

struct Table {
    uint8_t *memory; /* items are at offsets from here */
    uint64_t bytes;
    uint64_t first; /* item's offset */
    uint64_t mask;  /* buckets - 1 */
    struct Zipf zipf;
};

static struct Table tables[MAX_CPUS];

static uint32_t *bucket_of(const struct Table *t, uint64_t key)
{
    return &((uint32_t *)t->memory)[mix64(key) & t->mask];
}

static struct Item *item_at(const struct Table *t, uint64_t offset)
{
    return (struct Item *)(t->memory + offset);
}

static uint32_t value_words(uint64_t key)
{
    uint64_t bytes = VALUE_MIN + mix64(~key) % (VALUE_MAX - VALUE_MIN + 1);

    return (uint32_t)((bytes + 7) / 8);
}

static uint64_t item_bytes(uint32_t words)
{
    uint64_t bytes = sizeof(struct Item) + words * 8ull;

    return (bytes + ITEM_ALIGN - 1) & ~(uint64_t)(ITEM_ALIGN - 1);
}

static uint64_t value_word(uint64_t base, uint32_t i)
{
    return (base + i) * 0x9e3779b97f4a7c15ull;
}

static void put_value(struct Item *item)
{
    uint64_t base = mix64(item->key ^ item->version << 40);

    for (uint32_t i = 0; i < item->words; i++) {
        item->value[i] = value_word(base, i);
    }
}

static void check_value(struct BenchCpu *b, const struct Item *item)
{
    uint64_t base = mix64(item->key ^ item->version << 40);
    uint32_t words = value_words(item->key);
    uint64_t wrong = item->words ^ words;

    for (uint32_t i = 0; i < words; i++) {
        wrong |= ((const volatile uint64_t *)item->value)[i] ^
                 value_word(base, i);
    }
    if (wrong != 0) {
        page_note_bad(b->cpu, &(struct BadPage){ .page = item->key,
                                                 .got = wrong });
    }
}

static struct Item *find(const struct Table *t, uint64_t key)
{
    uint32_t link = *bucket_of(t, key);

    while (link != 0) {
        struct Item *item = item_at(t, (uint64_t)link * ITEM_ALIGN);

        if (item->key == key) {
            return item;
        }
        link = item->next;
    }
    return NULL;
}

static void insert(const struct Table *t, uint64_t offset, uint64_t key)
{
    struct Item *item = item_at(t, offset);
    uint32_t *bucket = bucket_of(t, key);

    item->next = *bucket;
    item->words = value_words(key);
    item->key = key;
    item->version = 0;
    put_value(item);
    *bucket = (uint32_t)(offset / ITEM_ALIGN);
}

/* One bucket for about each item. */
static uint64_t bucket_count(uint64_t bytes)
{
    uint64_t count = 1;

    while (count * 2 * item_bytes((VALUE_MIN + VALUE_MAX) / 16) <= bytes) {
        count *= 2;
    }
    return count;
}

static void setup(struct BenchCpu *b)
{
    struct Table *t = &tables[b->cpu->index];
    uint64_t buckets, keys = 0, offset;

    t->bytes = b->pages * PAGE_BYTES;
    t->memory = memory_range(b->cpu->index * b->pages, b->pages);
    buckets = bucket_count(t->bytes);
    t->mask = buckets - 1;
    t->first = (buckets * 4 + ITEM_ALIGN - 1) & ~(uint64_t)(ITEM_ALIGN - 1);
    memset(t->memory, 0, t->first);
    offset = t->first;
    while (offset + item_bytes(value_words(keys)) <= t->bytes) {
        insert(t, offset, keys);
        offset += item_bytes(value_words(keys));
        keys++;
    }
    if (keys == 0) {
        fatal("mib is too small");
    }
    zipf_init(&t->zipf, keys);
}

static uint64_t next_random(void *cpu)
{
    return random_next(cpu);
}

static uint64_t pick_key(const struct BenchCpu *b, const struct Table *t)
{
    uint64_t rank = zipf_rank(&t->zipf, next_random, b->cpu);

    return rank * KEY_SPREAD % t->zipf.ranks;
}

static void step(struct BenchCpu *b)
{
    const struct Table *t = &tables[b->cpu->index];
    uint64_t key = pick_key(b, t);
    bool set = bench_random(b, 100) >= params.read;
    uint64_t begin = bench_begin();
    struct Item *item = find(t, key);

    if (item == NULL) {
        page_note_bad(b->cpu, &(struct BadPage){ .page = key });
        return;
    }
    if (set) {
        item->version++;
        put_value(item);
        b->cpu->writes++;
    } else {
        check_value(b, item);
    }
    bench_end(b, set, begin);
    b->ops++;
}

/* In the order of the memory, past the buckets: a walk by them would be one
 * random access an item. */
static void check(struct BenchCpu *b)
{
    const struct Table *t = &tables[b->cpu->index];
    uint64_t sum = 0, offset = t->first;

    for (uint64_t key = 0; key < t->zipf.ranks; key++) {
        const struct Item *item = item_at(t, offset);

        if (item->key != key) {
            page_note_bad(b->cpu, &(struct BadPage){ .want = key,
                                                     .got = item->key });
        }
        check_value(b, item);
        sum += item->version;
        offset += item_bytes(value_words(key));
    }
    if (sum != b->cpu->writes) {
        page_note_bad(b->cpu, &(struct BadPage){ .page = ~0ull,
                                                 .want = b->cpu->writes,
                                                 .got = sum });
    }
}

const struct Bench bench_kv[] = {
    { "kv", { "get", "set" }, false, setup, NULL, step, check },
    { NULL },
};
