/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each page must hold.
 *
 * Every word of a page is a function of seed, page, word and the page's
 * version, so that a page which was lost, is stale, swapped with another or
 * zero shows at once. Versions are kept in guest memory as well; each entry
 * has a check of its own, and each processor knows the sum of its versions,
 * so that a stale entry together with a stale page shows too.
 *
 * With fill=zero-part, blocks of 1 MiB outside the hot set are of four
 * kinds: never touched, written with zeros, zero and random pages mixed,
 * random; and every eighth version of a page is all zero.
 */
#include "guest.h"

#define BLOCK_PAGES 256u

enum BlockKind { BLOCK_RANDOM, BLOCK_MIXED, BLOCK_ZERO, BLOCK_UNTOUCHED };

struct BadPage bad_pages[MAX_CPUS][BAD_PAGES_KEPT];
static uint64_t hot_pages;
static struct Version *versions;

/* Finaliser of splitmix64 (Steele, Lea, Flood 2014). */
uint64_t mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint64_t page_base(uint64_t page, uint32_t version)
{
    return mix64(params.seed * 0x9e3779b97f4a7c15ull + mix64(page) + version);
}

static uint64_t page_word(uint64_t base, unsigned word)
{
    uint64_t x = base + word * 0x9e3779b97f4a7c15ull;

    x ^= x >> 32;
    return x * 0xd6e8feb86659fd93ull;
}

static uint32_t version_check(uint64_t page, uint32_t version)
{
    return (uint32_t)(page_base(page, version) >> 32) ^ 0x5a5a5a5au;
}

static enum BlockKind block_kind(uint64_t page)
{
    if (!params.zero_part || page < hot_pages) {
        return BLOCK_RANDOM;
    }
    switch (mix64(params.seed + page / BLOCK_PAGES) & 7) {
    case 0:
    case 1:
        return BLOCK_UNTOUCHED;
    case 2:
        return BLOCK_ZERO;
    case 3:
        return BLOCK_MIXED;
    default:
        return BLOCK_RANDOM;
    }
}

static bool version_is_zero(uint32_t version)
{
    return version == 0 || (params.zero_part && version % 8 == 7);
}

static void set_version(uint64_t page, uint32_t version)
{
    versions[page].version = version;
    versions[page].check = version_check(page, version);
}

static void put_content(uint64_t page, uint32_t version)
{
    uint64_t *words = memory_page(page);
    uint64_t base = page_base(page, version);

    if (version_is_zero(version)) {
        memset(words, 0, PAGE_BYTES);
        return;
    }
    for (unsigned w = 0; w < PAGE_WORDS; w++) {
        words[w] = page_word(base, w);
    }
}

void page_note_bad(struct Cpu *cpu, const struct BadPage *bad)
{
    if (cpu->bad < BAD_PAGES_KEPT) {
        bad_pages[cpu->index][cpu->bad] = *bad;
    }
    store_release(&cpu->bad, cpu->bad + 1);
}

/* word PAGE_WORDS stands for the entry of the version table. */
static bool get_version(struct Cpu *cpu, uint64_t page, uint32_t *ret)
{
    const volatile struct Version *v = &versions[page];
    uint32_t version = v->version, check = v->check;

    if (check != version_check(page, version)) {
        page_note_bad(cpu, &(struct BadPage){
                               .page = page,
                               .word = PAGE_WORDS,
                               .want = version_check(page, version),
                               .got = check,
                               .version = version,
                           });
        return false;
    }
    *ret = version;
    return true;
}

void pages_init(uint64_t hot)
{
    hot_pages = hot;
    versions = memory_versions();
}

void page_fill(struct Cpu *cpu, uint64_t page)
{
    enum BlockKind kind = block_kind(page);
    bool zero = kind == BLOCK_ZERO || (kind == BLOCK_MIXED && (page & 1));

    if (kind == BLOCK_UNTOUCHED) {
        set_version(page, 0);
        return;
    }
    set_version(page, zero ? 0 : 1);
    put_content(page, zero ? 0 : 1);
    cpu->version_sum += zero ? 0 : 1;
}

uint32_t page_version(struct Cpu *cpu, uint64_t page)
{
    uint32_t version = 0;

    get_version(cpu, page, &version);
    return version;
}

void page_discard(struct Cpu *cpu, uint64_t page)
{
    uint32_t version, zero;

    if (!get_version(cpu, page, &version)) {
        return;
    }
    zero = (version | 7) + (version % 8 == 7 ? 8 : 0);
    set_version(page, zero);
    cpu->version_sum += zero - version;
}

void page_write(struct Cpu *cpu, uint64_t page)
{
    uint32_t version;

    if (!get_version(cpu, page, &version)) {
        return;
    }
    set_version(page, version + 1);
    put_content(page, version + 1);
    cpu->version_sum++;
}

static bool word_check(struct Cpu *cpu, uint64_t page, uint32_t version,
                       unsigned word, uint64_t want, uint64_t got)
{
    if (want == got) {
        return true;
    }
    page_note_bad(cpu, &(struct BadPage){
                           .page = page,
                           .word = word,
                           .want = want,
                           .got = got,
                           .version = version,
                       });
    return false;
}

void page_peek(struct Cpu *cpu, uint64_t page, unsigned word)
{
    uint32_t version;

    if (get_version(cpu, page, &version)) {
        const volatile uint64_t *words = memory_page(page);
        uint64_t want = version_is_zero(version)
                            ? 0
                            : page_word(page_base(page, version), word);

        word_check(cpu, page, version, word, want, words[word]);
    }
}

uint32_t page_check(struct Cpu *cpu, uint64_t page, bool untouched_too)
{
    const volatile uint64_t *words = memory_page(page);
    uint32_t version;
    uint64_t base;
    bool zero;

    if (!get_version(cpu, page, &version)) {
        return 0;
    }
    if (block_kind(page) == BLOCK_UNTOUCHED && !untouched_too) {
        return version;
    }
    base = page_base(page, version);
    zero = version_is_zero(version);
    for (unsigned w = 0; w < PAGE_WORDS; w++) {
        uint64_t want = zero ? 0 : page_word(base, w);

        if (!word_check(cpu, page, version, w, want, words[w])) {
            break;
        }
    }
    return version;
}

void page_put(uint64_t page, uint32_t version)
{
    put_content(page, version);
}

uint64_t page_word_want(uint64_t page, uint32_t version, unsigned word)
{
    return page_word(page_base(page, version), word);
}

void page_word_check(struct Cpu *cpu, uint64_t page, uint32_t version,
                     unsigned word, uint64_t got)
{
    word_check(cpu, page, version, word, page_word_want(page, version, word),
               got);
}

void page_words_check(struct Cpu *cpu, uint64_t page, uint32_t version,
                      unsigned first_word)
{
    const volatile uint64_t *words = memory_page(page);
    uint64_t base = page_base(page, version);

    for (unsigned w = first_word; w < PAGE_WORDS; w++) {
        if (!word_check(cpu, page, version, w, page_word(base, w),
                        words[w])) {
            return;
        }
    }
}
