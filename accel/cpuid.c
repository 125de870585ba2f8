/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID tables for KVM_SET_CPUID2.
 *
 * Why built leaf by leaf, for "host" too: what a guest sees must not change
 * when the kernel below starts to report more, and topology and caches are
 * those of the virtual machine. The topology is one socket with one core for
 * each vCPU and one thread a core; APIC IDs count from 0.
 *
 * Caches are the same for each model: 32 KiB L1, 512 KiB L2, 16 MiB L3
 * shared by all, told in both vendors' ways.
 *
 * Sources: AMD64 APM volume 3 appendix E; Intel SDM volume 2, CPUID; Linux
 * Documentation/virt/kvm/x86/cpuid.rst. Threads: any.
 */
#include "cpu-model-internal.h"

#include <string.h>

#define CPUID_MAX_ENTRIES 64u
#define LEVEL_BASIC 0xdu
#define LEVEL_EXTENDED 0x80000008u
#define LEVEL_EXTENDED_TOPOEXT 0x8000001eu
#define LEVEL_EXTENDED_AMD 0x80000021u
#define KVM_SIGNATURE_LEAF 0x40000000u
#define KVM_FEATURES_LEAF 0x40000001u
#define XSAVE_LEGACY_BYTES 576u /* FXSAVE area and header */

#define BIT(n) (UINT32_C(1) << (n))
#define CLFLUSH_LINES (64u / 8u)
#define LINEAR_BITS 48u
#define LINEAR_BITS_LA57 57u
#define PHYS_BITS_DEFAULT 40u

typedef struct Builder {
    const CpuSpec *spec;
    const CpuHost *host;
    const CpuWords *words;
    unsigned cpu, count;
    bool intel;
    struct kvm_cpuid2 *table;
} Builder;

const struct kvm_cpuid_entry2 *cpuid_find(const struct kvm_cpuid2 *table,
                                          uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < table->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &table->entries[i];
        bool indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

        if (e->function == function && (!indexed || e->index == index)) {
            return e;
        }
    }
    return NULL;
}

static struct kvm_cpuid_entry2 *add(Builder *b, uint32_t function)
{
    struct kvm_cpuid_entry2 *e;

    g_assert(b->table->nent < CPUID_MAX_ENTRIES);
    e = &b->table->entries[b->table->nent++];
    e->function = function;
    return e;
}

static struct kvm_cpuid_entry2 *add_indexed(Builder *b, uint32_t function,
                                            uint32_t index)
{
    struct kvm_cpuid_entry2 *e = add(b, function);

    e->index = index;
    e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    return e;
}

static uint32_t word(const Builder *b, CpuWord w)
{
    return b->words->w[w];
}

/* Bits that number the cores of the package. */
static unsigned core_id_bits(const Builder *b)
{
    unsigned bits = 0;

    while ((1u << bits) < b->count) {
        bits++;
    }
    return bits;
}

/* CPUID family and model as leaf 1 encodes them (APM volume 3, E.3.2). */
static uint32_t encode_signature(const CpuModel *m)
{
    uint32_t base = MIN(m->family, 15u);

    return (m->family - base) << 20 | (m->model >> 4) << 16 | base << 8 |
           (m->model & 15) << 4 | m->stepping;
}

static void add_vendor_leaf(Builder *b, uint32_t function, uint32_t level)
{
    const struct kvm_cpuid_entry2 *host = cpuid_find(b->host->supported, 0, 0);
    struct kvm_cpuid_entry2 *e = add(b, function);

    /* Under KVM the vendor is the host's, whatever the model says: system
     * call instructions differ between vendors. */
    e->eax = level;
    e->ebx = host ? host->ebx : 0;
    e->ecx = host ? host->ecx : 0;
    e->edx = host ? host->edx : 0;
}

static uint32_t signature(const Builder *b)
{
    const struct kvm_cpuid_entry2 *host = cpuid_find(b->host->supported, 1, 0);

    if (!b->spec->model->host) {
        return encode_signature(b->spec->model);
    }
    return host ? host->eax : 0;
}

static void add_leaf_1(Builder *b)
{
    struct kvm_cpuid_entry2 *e = add(b, 1);

    e->eax = signature(b);
    e->ebx = b->cpu << 24 | b->count << 16 | CLFLUSH_LINES << 8;
    e->ecx = word(b, CPU_WORD_1_ECX);
    e->edx = word(b, CPU_WORD_1_EDX);
    if (b->count > 1) {
        e->edx |= BIT(28); /* htt: several logical processors */
    }
}

typedef enum CacheType { CACHE_DATA = 1, CACHE_CODE = 2, CACHE_BOTH = 3 }
    CacheType;

typedef struct Cache {
    CacheType type;
    unsigned level, ways, sets;
    bool shared; /* by all cores */
} Cache;

#define CACHE_LINE_BYTES 64u
#define CACHE_SELF_INITIALIZING BIT(8)

static const Cache caches[] = {
    { CACHE_DATA, 1, 8, 64, false },   /* 32 KiB  */
    { CACHE_CODE, 1, 8, 64, false },   /* 32 KiB  */
    { CACHE_BOTH, 2, 8, 1024, false }, /* 512 KiB */
    { CACHE_BOTH, 3, 16, 16384, true } /* 16 MiB  */
};

/* The encoding that Intel's leaf 4 and AMD's leaf 8000001D share. */
static void fill_cache(const Builder *b, struct kvm_cpuid_entry2 *e,
                       const Cache *c)
{
    uint32_t sharing = c->shared ? b->count - 1 : 0;

    e->eax = (uint32_t)c->type | c->level << 5 | CACHE_SELF_INITIALIZING |
             sharing << 14;
    e->ebx = (CACHE_LINE_BYTES - 1) | (c->ways - 1) << 22;
    e->ecx = c->sets - 1;
}

static void add_intel_caches(Builder *b)
{
    /* Leaf 2: one round; descriptor FFH: look into leaf 4. */
    struct kvm_cpuid_entry2 *e = add(b, 2);

    e->eax = 0x0000ff01;
    for (size_t i = 0; i < G_N_ELEMENTS(caches); i++) {
        e = add_indexed(b, 4, (uint32_t)i);
        fill_cache(b, e, &caches[i]);
        e->eax |= ((1u << core_id_bits(b)) - 1) << 26; /* core IDs - 1 */
    }
    add_indexed(b, 4, G_N_ELEMENTS(caches)); /* type 0: no more */
}

static void add_leaf_6(Builder *b)
{
    add(b, 6)->eax = word(b, CPU_WORD_6_EAX);
}

static void add_leaf_7(Builder *b)
{
    struct kvm_cpuid_entry2 *e = add_indexed(b, 7, 0);

    e->eax = word(b, CPU_WORD_7_1_EAX) ? 1 : 0; /* highest subleaf */
    e->ebx = word(b, CPU_WORD_7_EBX);
    e->ecx = word(b, CPU_WORD_7_ECX);
    e->edx = word(b, CPU_WORD_7_EDX);
    add_indexed(b, 7, 1)->eax = word(b, CPU_WORD_7_1_EAX);
}

/* Extended topology: threads, then cores, then the end. */
static void add_leaf_b(Builder *b)
{
    struct kvm_cpuid_entry2 *e = add_indexed(b, 0xb, 0);

    e->eax = 0; /* shift of the APIC ID to the core number */
    e->ebx = 1;
    e->ecx = 0 | 1 << 8; /* level 0 is of type "thread" */
    e->edx = b->cpu;
    e = add_indexed(b, 0xb, 1);
    e->eax = core_id_bits(b);
    e->ebx = b->count;
    e->ecx = 1 | 2 << 8; /* level 1 is of type "core" */
    e->edx = b->cpu;
    e = add_indexed(b, 0xb, 2);
    e->ecx = 2; /* type 0: end */
    e->edx = b->cpu;
}

/* Components of XCR0 for the features shown (APM volume 2, 11.5.2). */
static uint32_t xcr0_components(const Builder *b)
{
    const struct kvm_cpuid_entry2 *host =
        cpuid_find(b->host->supported, 0xd, 0);
    uint32_t xcr0 = 0;

    if (word(b, CPU_WORD_1_ECX) & BIT(26)) {
        xcr0 |= BIT(0) | BIT(1); /* x87, SSE */
        if (word(b, CPU_WORD_1_ECX) & BIT(28)) {
            xcr0 |= BIT(2); /* AVX */
        }
        if (word(b, CPU_WORD_7_EBX) & BIT(16)) {
            xcr0 |= BIT(5) | BIT(6) | BIT(7); /* AVX-512 */
        }
        if (word(b, CPU_WORD_7_ECX) & BIT(3)) {
            xcr0 |= BIT(9); /* protection keys */
        }
    }
    return host ? xcr0 & host->eax : 0;
}

static void add_leaf_d(Builder *b)
{
    uint32_t xcr0 = xcr0_components(b);
    uint32_t bytes = xcr0 ? XSAVE_LEGACY_BYTES : 0;
    struct kvm_cpuid_entry2 *e0 = add_indexed(b, 0xd, 0);
    struct kvm_cpuid_entry2 *e1 = add_indexed(b, 0xd, 1);

    for (uint32_t i = 2; i < 32; i++) {
        const struct kvm_cpuid_entry2 *host =
            cpuid_find(b->host->supported, 0xd, i);

        if ((xcr0 & BIT(i)) && host) {
            struct kvm_cpuid_entry2 *e = add_indexed(b, 0xd, i);

            e->eax = host->eax; /* bytes, offset, flags: the hardware's */
            e->ebx = host->ebx;
            e->ecx = host->ecx;
            bytes = MAX(bytes, host->eax + host->ebx);
        }
    }
    e0->eax = xcr0;
    e0->ebx = bytes; /* KVM follows the guest's XCR0 */
    e0->ecx = bytes;
    e1->eax = xcr0 ? word(b, CPU_WORD_D_1_EAX) : 0;
}

static void add_brand(Builder *b)
{
    const CpuModel *m = b->spec->model;
    char brand[48] = { 0 };

    if (m->brand) {
        g_strlcpy(brand, m->brand, sizeof(brand));
    } else {
        memcpy(brand, b->host->brand, sizeof(brand));
    }
    for (uint32_t i = 0; i < 3; i++) {
        struct kvm_cpuid_entry2 *e = add(b, 0x80000002 + i);

        memcpy(&e->eax, brand + i * 16, 4);
        memcpy(&e->ebx, brand + i * 16 + 4, 4);
        memcpy(&e->ecx, brand + i * 16 + 8, 4);
        memcpy(&e->edx, brand + i * 16 + 12, 4);
    }
}

static void add_leaf_80000001(Builder *b)
{
    struct kvm_cpuid_entry2 *e = add(b, 0x80000001);

    e->eax = signature(b);
    e->ecx = word(b, CPU_WORD_80000001_ECX);
    e->edx = word(b, CPU_WORD_80000001_EDX);
    if (b->intel) {
        e->ecx &= ~(BIT(1) | BIT(4) | BIT(22));
        return;
    }
    /* AMD repeats most of leaf 1 here (APM volume 3, E.4.2). */
    e->edx |= word(b, CPU_WORD_1_EDX) & UINT32_C(0x0183f3ff);
    e->ecx &= ~BIT(1);
    if (b->count > 1) {
        e->ecx |= BIT(1); /* cmp-legacy: several cores */
    }
}

/* AMD's way to tell ways of associativity (APM volume 3, E.4.5). */
static uint32_t amd_ways(unsigned ways)
{
    switch (ways) {
    case 8:
        return 6;
    case 16:
        return 8;
    default:
        return ways;
    }
}

static unsigned cache_bytes(const Cache *c)
{
    return c->ways * c->sets * CACHE_LINE_BYTES;
}

static void add_amd_caches(Builder *b)
{
    const uint32_t line = CACHE_LINE_BYTES | 1 << 8;
    struct kvm_cpuid_entry2 *e = add(b, 0x80000005);

    /* L1 TLBs: 64 fully associative entries each, 2M and 4K pages. */
    e->eax = 0xff40ff40;
    e->ebx = 0xff40ff40;
    e->ecx = cache_bytes(&caches[0]) / 1024 << 24 | caches[0].ways << 16 |
             line;
    e->edx = cache_bytes(&caches[1]) / 1024 << 24 | caches[1].ways << 16 |
             line;
    e = add(b, 0x80000006);
    e->ecx = cache_bytes(&caches[2]) / 1024 << 16 |
             amd_ways(caches[2].ways) << 12 | line;
    e->edx = cache_bytes(&caches[3]) / (512 * 1024) << 18 |
             amd_ways(caches[3].ways) << 12 | line;
}

static void add_address_sizes(Builder *b)
{
    const struct kvm_cpuid_entry2 *host =
        cpuid_find(b->host->supported, 0x80000008, 0);
    uint32_t host_bits = host && (host->eax & 0xff) ? host->eax & 0xff : 36;
    uint32_t bits = b->spec->host_phys_bits
                        ? host_bits
                        : MIN(host_bits, PHYS_BITS_DEFAULT);
    bool la57 = word(b, CPU_WORD_7_ECX) & BIT(16);
    struct kvm_cpuid_entry2 *e = add(b, 0x80000008);

    e->eax = bits | (la57 ? LINEAR_BITS_LA57 : LINEAR_BITS) << 8;
    e->ebx = word(b, CPU_WORD_80000008_EBX);
    if (!b->intel && b->count > 1) {
        e->ecx = core_id_bits(b) << 12 | (b->count - 1);
    }
}

/* AMD's cache and core topology (APM volume 3, E.4.16 and E.4.17). */
static void add_topoext(Builder *b)
{
    struct kvm_cpuid_entry2 *e;

    for (size_t i = 0; i < G_N_ELEMENTS(caches); i++) {
        fill_cache(b, add_indexed(b, 0x8000001d, (uint32_t)i), &caches[i]);
    }
    add_indexed(b, 0x8000001d, G_N_ELEMENTS(caches));
    e = add(b, 0x8000001e);
    e->eax = b->cpu; /* extended APIC ID */
    e->ebx = b->cpu; /* core number; one thread in each */
    e->ecx = 0;      /* node 0 of one */
}

static bool has_topoext(const Builder *b)
{
    return !b->intel && (word(b, CPU_WORD_80000001_ECX) & BIT(22));
}

static uint32_t extended_level(const Builder *b)
{
    if (!b->intel && word(b, CPU_WORD_80000021_EAX)) {
        return LEVEL_EXTENDED_AMD;
    }
    return has_topoext(b) ? LEVEL_EXTENDED_TOPOEXT : LEVEL_EXTENDED;
}

static void add_extended(Builder *b)
{
    add_vendor_leaf(b, 0x80000000, extended_level(b));
    add_leaf_80000001(b);
    add_brand(b);
    if (!b->intel) {
        add_amd_caches(b);
    } else {
        /* Only L2 is told here. */
        add(b, 0x80000006)->ecx = cache_bytes(&caches[2]) / 1024 << 16 |
                                  amd_ways(caches[2].ways) << 12 |
                                  CACHE_LINE_BYTES;
    }
    add(b, 0x80000007)->edx = word(b, CPU_WORD_80000007_EDX);
    add_address_sizes(b);
    if (has_topoext(b)) {
        add_topoext(b);
    }
    if (extended_level(b) == LEVEL_EXTENDED_AMD) {
        add(b, 0x80000021)->eax = word(b, CPU_WORD_80000021_EAX);
    }
}

static void add_kvm(Builder *b)
{
    static const char kvm_signature[12] = "KVMKVMKVM\0\0";
    struct kvm_cpuid_entry2 *e = add(b, KVM_SIGNATURE_LEAF);

    e->eax = KVM_FEATURES_LEAF;
    memcpy(&e->ebx, kvm_signature, 4);
    memcpy(&e->ecx, kvm_signature + 4, 4);
    memcpy(&e->edx, kvm_signature + 8, 4);
    add(b, KVM_FEATURES_LEAF)->eax = word(b, CPU_WORD_KVM);
}

static bool host_is_intel(const CpuHost *host)
{
    const struct kvm_cpuid_entry2 *e = cpuid_find(host->supported, 0, 0);

    return e && e->ebx == 0x756e6547; /* "Genu" */
}

struct kvm_cpuid2 *cpu_cpuid_new(const CpuSpec *spec, const CpuHost *host,
                                 const CpuWords *words, unsigned cpu,
                                 unsigned count)
{
    Builder b = { .spec = spec,
                  .host = host,
                  .words = words,
                  .cpu = cpu,
                  .count = count,
                  .intel = host_is_intel(host) };

    g_assert(cpu < count && count <= 255);
    b.table = g_malloc0(sizeof(*b.table) +
                        CPUID_MAX_ENTRIES * sizeof(b.table->entries[0]));
    add_vendor_leaf(&b, 0, LEVEL_BASIC);
    add_leaf_1(&b);
    if (b.intel) {
        add_intel_caches(&b);
    }
    add_leaf_6(&b);
    add_leaf_7(&b);
    add_leaf_b(&b);
    add_leaf_d(&b);
    add_extended(&b);
    if (spec->show_kvm) {
        add_kvm(&b);
    }
    return b.table;
}
