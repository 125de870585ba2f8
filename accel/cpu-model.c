/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of CPU features, CPU models, and the -cpu option.
 *
 * Why tables: the names are QEMU's, people and libvirt spell them, and a
 * feature that has no name here is never shown to a guest. That last rule is
 * on purpose: a feature with state that vcpu-state.c does not move (nested
 * virtualisation, AMX, CET, SGX, PMU) would break a guest at its first
 * migration, so it stays hidden until it has both.
 *
 * Sources: AMD64 APM volume 3 appendix E, Intel SDM volume 2 CPUID, Linux
 * Documentation/virt/kvm/x86/cpuid.rst; names as in QEMU 7.2.
 *
 * Threads: any.
 */
#include "cpu-model-internal.h"

#include <string.h>

#include "util/error.h"

typedef struct CpuWordInfo {
    const char *where; /* as QEMU prints it */
    /* Names of the bits; alternatives are separated by '|'. NULL: never
     * shown to a guest. */
    const char *names[32];
} CpuWordInfo;

static const CpuWordInfo word_infos[CPU_WORD__COUNT] = {
    [CPU_WORD_1_EDX] = {
        .where = "CPUID.01H:EDX",
        .names = {
            "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce",
            "cx8", "apic", NULL, "sep", "mtrr", "pge", "mca", "cmov",
            "pat", "pse36", "pn", "clflush|clfsh", NULL, NULL, "acpi", "mmx",
            "fxsr", "sse", "sse2", "ss", NULL, NULL, NULL, NULL,
        },
    },
    [CPU_WORD_1_ECX] = {
        .where = "CPUID.01H:ECX",
        .names = {
            "pni|sse3", "pclmulqdq|pclmuldq", NULL, NULL,
            NULL, NULL, NULL, NULL,
            NULL, "ssse3", NULL, NULL, "fma", "cx16", NULL, NULL,
            NULL, "pcid", NULL, "sse4.1|sse4-1", "sse4.2|sse4-2", "x2apic",
            "movbe", "popcnt",
            "tsc-deadline", "aes", "xsave", NULL, "avx", "f16c", "rdrand",
            "hypervisor",
        },
    },
    [CPU_WORD_6_EAX] = {
        .where = "CPUID.06H:EAX",
        .names = { [2] = "arat" },
    },
    [CPU_WORD_7_EBX] = {
        .where = "CPUID.07H:EBX",
        .names = {
            "fsgsbase", "tsc-adjust", NULL, "bmi1",
            "hle", "avx2", NULL, "smep",
            "bmi2", "erms", "invpcid", "rtm", NULL, NULL, NULL, NULL,
            "avx512f", "avx512dq", "rdseed", "adx",
            "smap", "avx512ifma", NULL, "clflushopt",
            "clwb", NULL, NULL, NULL, "avx512cd", "sha-ni", "avx512bw",
            "avx512vl",
        },
    },
    [CPU_WORD_7_ECX] = {
        .where = "CPUID.07H:ECX",
        .names = {
            [1] = "avx512vbmi", [2] = "umip", [3] = "pku",
            [6] = "avx512vbmi2", [8] = "gfni", [9] = "vaes",
            [10] = "vpclmulqdq", [11] = "avx512vnni", [12] = "avx512bitalg",
            [14] = "avx512-vpopcntdq", [16] = "la57", [22] = "rdpid",
            [25] = "cldemote", [27] = "movdiri", [28] = "movdir64b",
        },
    },
    [CPU_WORD_7_EDX] = {
        .where = "CPUID.07H:EDX",
        .names = {
            [2] = "avx512-4vnniw", [3] = "avx512-4fmaps", [4] = "fsrm",
            [8] = "avx512-vp2intersect", [10] = "md-clear",
            [14] = "serialize", [16] = "tsx-ldtrk", [23] = "avx512-fp16",
            [26] = "spec-ctrl", [27] = "stibp", [29] = "arch-capabilities",
            [30] = "core-capability", [31] = "ssbd",
        },
    },
    [CPU_WORD_7_1_EAX] = {
        .where = "CPUID.07H:EAX",
        .names = { [4] = "avx-vnni", [5] = "avx512-bf16" },
    },
    [CPU_WORD_D_1_EAX] = {
        .where = "CPUID.0DH:EAX",
        .names = { "xsaveopt", "xsavec", "xgetbv1", "xsaves" },
    },
    [CPU_WORD_80000001_EDX] = {
        .where = "CPUID.80000001H:EDX",
        .names = {
            [11] = "syscall", [19] = "mp", [20] = "nx|xd", [22] = "mmxext",
            [25] = "fxsr-opt|ffxsr", [26] = "pdpe1gb", [27] = "rdtscp",
            [29] = "lm|i64", [30] = "3dnowext", [31] = "3dnow",
        },
    },
    [CPU_WORD_80000001_ECX] = {
        .where = "CPUID.80000001H:ECX",
        .names = {
            [0] = "lahf-lm", [1] = "cmp-legacy", [4] = "cr8legacy",
            [5] = "abm|lzcnt", [6] = "sse4a", [7] = "misalignsse",
            [8] = "3dnowprefetch", [9] = "osvw", [11] = "xop", [16] = "fma4",
            [21] = "tbm", [22] = "topoext",
        },
    },
    [CPU_WORD_80000007_EDX] = {
        .where = "CPUID.80000007H:EDX",
        .names = { [8] = "invtsc" },
    },
    [CPU_WORD_80000008_EBX] = {
        .where = "CPUID.80000008H:EBX",
        .names = {
            [0] = "clzero", [2] = "xsaveerptr", [9] = "wbnoinvd",
            [12] = "ibpb", [14] = "ibrs", [15] = "amd-stibp",
            [24] = "amd-ssbd", [25] = "virt-ssbd", [26] = "amd-no-ssb",
            [28] = "amd-psfd",
        },
    },
    [CPU_WORD_80000021_EAX] = {
        .where = "CPUID.80000021H:EAX",
        .names = {
            [0] = "no-nested-data-bp", [2] = "lfence-always-serializing",
            [6] = "null-sel-clr-base",
        },
    },
    [CPU_WORD_KVM] = {
        .where = "CPUID.40000001H:EAX",
        .names = {
            [0] = "kvmclock", [1] = "kvm-nopiodelay", [3] = "kvmclock",
            [4] = "kvm-asyncpf", [5] = "kvm-steal-time", [6] = "kvm-pv-eoi",
            [7] = "kvm-pv-unhalt", [9] = "kvm-pv-tlb-flush",
            [11] = "kvm-pv-ipi", [12] = "kvm-poll-control",
            [13] = "kvm-pv-sched-yield", [14] = "kvm-asyncpf-int",
            [15] = "kvm-msi-ext-dest-id", [24] = "kvmclock-stable-bit",
        },
    },
};

#define BIT(n) (UINT32_C(1) << (n))

/* Bits of CPUID.01H:EDX that every 64-bit x86 has: fpu to fxsr, sse, sse2;
 * without vme, pn, acpi and the four that are not features. */
#define BASE_1_EDX                                                       \
    (BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) |      \
     BIT(8) | BIT(9) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(15) | \
     BIT(16) | BIT(17) | BIT(19) | BIT(23) | BIT(24) | BIT(25) | BIT(26))
#define VME BIT(1)
/* pni, cx16 */
#define K8_1_ECX (BIT(0) | BIT(13))
/* syscall, nx, lm */
#define K8_80000001_EDX (BIT(11) | BIT(20) | BIT(29))

/* What QEMU adds to a named model under KVM: x2apic, hypervisor, and of the
 * paravirtual features kvmclock (both), nopiodelay, asyncpf, steal-time,
 * pv-eoi, and the promise that the clock is stable. */
#define KVM_DEFAULT_1_ECX (BIT(21) | BIT(31))
#define KVM_DEFAULT_WORD \
    (BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(24))

const CpuModel cpu_models[] = {
    { .name = "host", .host = true },
    { .name = "max", .host = true },
    {
        .name = "qemu64",
        .brand = "QEMU Virtual CPU version 2.5+",
        .family = 15,
        .model = 107,
        .stepping = 1,
        .words.w = {
            [CPU_WORD_1_EDX] = BASE_1_EDX,
            [CPU_WORD_1_ECX] = K8_1_ECX,
            [CPU_WORD_80000001_EDX] = K8_80000001_EDX,
            [CPU_WORD_80000001_ECX] = BIT(0), /* lahf-lm */
        },
    },
    {
        .name = "kvm64",
        .brand = "Common KVM processor",
        .family = 15,
        .model = 6,
        .stepping = 1,
        .words.w = {
            [CPU_WORD_1_EDX] = BASE_1_EDX | VME,
            [CPU_WORD_1_ECX] = K8_1_ECX,
            [CPU_WORD_80000001_EDX] = K8_80000001_EDX,
        },
    },
    {
        .name = "EPYC",
        .brand = "AMD EPYC Processor",
        .family = 23,
        .model = 1,
        .stepping = 2,
        .words.w = {
            [CPU_WORD_1_EDX] = BASE_1_EDX | VME,
            /* pclmulqdq ssse3 fma sse4.1 sse4.2 movbe popcnt aes xsave avx
             * f16c rdrand */
            [CPU_WORD_1_ECX] = K8_1_ECX | BIT(1) | BIT(9) | BIT(12) |
                               BIT(19) | BIT(20) | BIT(22) | BIT(23) |
                               BIT(25) | BIT(26) | BIT(28) | BIT(29) |
                               BIT(30),
            [CPU_WORD_6_EAX] = BIT(2), /* arat */
            /* fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt
             * sha-ni */
            [CPU_WORD_7_EBX] = BIT(0) | BIT(3) | BIT(5) | BIT(7) | BIT(8) |
                               BIT(18) | BIT(19) | BIT(20) | BIT(23) |
                               BIT(29),
            [CPU_WORD_D_1_EAX] = BIT(0) | BIT(1) | BIT(2),
            /* mmxext fxsr-opt pdpe1gb rdtscp */
            [CPU_WORD_80000001_EDX] = K8_80000001_EDX | BIT(22) | BIT(25) |
                                      BIT(26) | BIT(27),
            /* lahf-lm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw
             * topoext */
            [CPU_WORD_80000001_ECX] = BIT(0) | BIT(4) | BIT(5) | BIT(6) |
                                      BIT(7) | BIT(8) | BIT(9) | BIT(22),
        },
    },
    { .name = NULL },
};

/* Is one of the '|'-separated alternatives name? '_' counts as '-'. */
static bool name_matches(const char *alternatives, const char *name)
{
    g_auto(GStrv) each =
        g_strsplit(alternatives, "|", /* max_tokens= */ -1);
    g_autofree char *dashed = g_strdelimit(g_strdup(name), "_", '-');

    return g_strv_contains((const char *const *)each, dashed);
}

/* Sets the bits of a feature in words ("kvmclock" has two); false: there is
 * no such name. */
static bool feature_add(CpuWords *words, const char *name)
{
    bool found = false;

    for (CpuWord w = 0; w < CPU_WORD__COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            const char *names = word_infos[w].names[bit];

            if (names && name_matches(names, name)) {
                words->w[w] |= BIT(bit);
                found = true;
            }
        }
    }
    return found;
}

static uint32_t word_named(CpuWord w)
{
    uint32_t mask = 0;

    for (unsigned bit = 0; bit < 32; bit++) {
        if (word_infos[w].names[bit]) {
            mask |= BIT(bit);
        }
    }
    return mask;
}

char *cpu_feature_name(CpuWord word, unsigned bit)
{
    const char *names = word_infos[word].names[bit];

    return names ? g_strndup(names, strcspn(names, "|")) : NULL;
}

char *cpu_feature_describe(CpuWord word, unsigned bit)
{
    g_autofree char *name = cpu_feature_name(word, bit);

    return g_strdup_printf("%s%s%s [bit %u]", word_infos[word].where,
                           name ? "." : "", name ? name : "", bit);
}

/* Features that QEMU knows and this VMM does not move; asking for one is an
 * error, asking to do without is not. */
static const char *const unsupported_features[] = {
    "svm", "vmx", "pmu", "monitor", "npt", "nrip-save", "amx-tile",
    "amx-int8", "amx-bf16", "pks", "sgx", "perfctr-core", NULL,
};

/* A property that is not a CPUID bit. NULL: no such one. */
static bool *spec_switch(CpuSpec *spec, const char *name)
{
    if (strcmp(name, "migratable") == 0) {
        return &spec->migratable;
    }
    if (strcmp(name, "kvm") == 0) {
        return &spec->show_kvm;
    }
    if (strcmp(name, "enforce") == 0) {
        return &spec->enforce;
    }
    if (strcmp(name, "host-phys-bits") == 0) {
        return &spec->host_phys_bits;
    }
    return NULL;
}

static bool spec_set(CpuSpec *spec, const char *name, bool on, GError **errp)
{
    bool *flag = spec_switch(spec, name);
    CpuWords bits = { 0 };

    if (flag) {
        *flag = on;
        return true;
    }
    if (strcmp(name, "check") == 0) {
        /* Missing features are always told. */
        return true;
    }
    if (g_strv_contains(unsupported_features, name)) {
        return on ? vm_error_set(errp, 0,
                                 "CPU feature '%s' is not supported by this "
                                 "program",
                                 name)
                  : true;
    }
    if (!feature_add(&bits, name)) {
        return vm_error_set(errp, 0, "Property '%s-x86_64-cpu.%s' not found",
                            spec->model->name, name);
    }
    for (CpuWord w = 0; w < CPU_WORD__COUNT; w++) {
        spec->plus.w[w] = on ? spec->plus.w[w] | bits.w[w]
                             : spec->plus.w[w] & ~bits.w[w];
        spec->minus.w[w] = on ? spec->minus.w[w] & ~bits.w[w]
                              : spec->minus.w[w] | bits.w[w];
    }
    return true;
}

static bool parse_switch(const char *name, const char *value, bool *ret,
                         GError **errp)
{
    if (strcmp(value, "on") == 0 || strcmp(value, "yes") == 0 ||
        strcmp(value, "true") == 0) {
        *ret = true;
    } else if (strcmp(value, "off") == 0 || strcmp(value, "no") == 0 ||
               strcmp(value, "false") == 0) {
        *ret = false;
    } else {
        return vm_error_set(errp, 0, "-cpu: Parameter '%s' expects 'on' or "
                                     "'off'",
                            name);
    }
    return true;
}

/* "+name", "-name", "name", "name=on|off". */
static bool spec_parse_item(CpuSpec *spec, const char *item, GError **errp)
{
    const char *equals = strchr(item, '=');
    g_autofree char *name = NULL;
    bool on = true;

    if (item[0] == '+' || item[0] == '-') {
        return spec_set(spec, item + 1, item[0] == '+', errp);
    }
    name = equals ? g_strndup(item, (gsize)(equals - item)) : g_strdup(item);
    if (equals && !parse_switch(name, equals + 1, &on, errp)) {
        return false;
    }
    return spec_set(spec, name, on, errp);
}

static const CpuModel *model_find(const char *name)
{
    for (const CpuModel *m = cpu_models; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            return m;
        }
    }
    return NULL;
}

bool cpu_spec_parse(const char *text, CpuSpec *ret, GError **errp)
{
    g_auto(GStrv) items = g_strsplit(text, ",", /* max_tokens= */ -1);
    CpuSpec spec = { .migratable = true, .show_kvm = true };
    const char *name = items[0] ? items[0] : "";

    spec.model = model_find(name);
    if (!spec.model) {
        return vm_error_set(errp, 0, "unable to find CPU model '%s'", name);
    }
    spec.host_phys_bits = spec.model->host;
    for (char **item = items + 1; *item; item++) {
        if (!spec_parse_item(&spec, *item, errp)) {
            return false;
        }
    }
    *ret = spec;
    return true;
}

/* Where KVM reports each word. */
static uint32_t supported_word(const struct kvm_cpuid2 *t, CpuWord word)
{
    static const struct {
        uint32_t function, index;
        size_t reg;
    } at[CPU_WORD__COUNT] = {
#define AT(f, i, r) { f, i, offsetof(struct kvm_cpuid_entry2, r) }
        [CPU_WORD_1_EDX] = AT(1, 0, edx),
        [CPU_WORD_1_ECX] = AT(1, 0, ecx),
        [CPU_WORD_6_EAX] = AT(6, 0, eax),
        [CPU_WORD_7_EBX] = AT(7, 0, ebx),
        [CPU_WORD_7_ECX] = AT(7, 0, ecx),
        [CPU_WORD_7_EDX] = AT(7, 0, edx),
        [CPU_WORD_7_1_EAX] = AT(7, 1, eax),
        [CPU_WORD_D_1_EAX] = AT(0xd, 1, eax),
        [CPU_WORD_80000001_EDX] = AT(0x80000001, 0, edx),
        [CPU_WORD_80000001_ECX] = AT(0x80000001, 0, ecx),
        [CPU_WORD_80000007_EDX] = AT(0x80000007, 0, edx),
        [CPU_WORD_80000008_EBX] = AT(0x80000008, 0, ebx),
        [CPU_WORD_80000021_EAX] = AT(0x80000021, 0, eax),
        [CPU_WORD_KVM] = AT(0x40000001, 0, eax),
#undef AT
    };
    const struct kvm_cpuid_entry2 *e =
        cpuid_find(t, at[word].function, at[word].index);
    uint32_t value = 0;

    if (e) {
        memcpy(&value, (const char *)e + at[word].reg, sizeof(value));
    }
    return value;
}

void cpu_host_words(const CpuHost *host, CpuWords *ret)
{
    for (CpuWord w = 0; w < CPU_WORD__COUNT; w++) {
        ret->w[w] = supported_word(host->supported, w) & word_named(w);
    }
    /* These KVM and the in-kernel LAPIC provide whatever the host has; not
     * every kernel lists them (Documentation/virt/kvm/api.rst, 4.46). */
    ret->w[CPU_WORD_1_ECX] |= BIT(31) | BIT(21);
    if (host->tsc_deadline_timer) {
        ret->w[CPU_WORD_1_ECX] |= BIT(24);
    } else {
        ret->w[CPU_WORD_1_ECX] &= ~BIT(24);
    }
}

/* Without the first feature the others make no sense: (word, bit) needs
 * (word, bit). QEMU's rule too. */
typedef struct CpuDependency {
    CpuWord needs_word;
    uint32_t needs_bits;
    CpuWord word;
    uint32_t bits;
} CpuDependency;

static const CpuDependency dependencies[] = {
    /* xsave: avx f16c fma, the xsave* family, avx2, avx512*, pku, vaes,
     * vpclmulqdq. */
    { CPU_WORD_1_ECX, BIT(26), CPU_WORD_1_ECX, BIT(28) | BIT(29) | BIT(12) },
    { CPU_WORD_1_ECX, BIT(26), CPU_WORD_D_1_EAX, UINT32_MAX },
    { CPU_WORD_1_ECX, BIT(26), CPU_WORD_7_ECX, BIT(3) },
    { CPU_WORD_1_ECX, BIT(28), CPU_WORD_7_EBX, BIT(5) },
    { CPU_WORD_1_ECX, BIT(28), CPU_WORD_7_ECX, BIT(9) | BIT(10) },
    { CPU_WORD_1_ECX, BIT(28), CPU_WORD_7_1_EAX, BIT(4) },
    { CPU_WORD_1_ECX, BIT(28), CPU_WORD_80000001_ECX, BIT(11) | BIT(16) },
    { CPU_WORD_1_ECX, BIT(28), CPU_WORD_7_EBX, BIT(16) },
    { CPU_WORD_7_EBX, BIT(16), CPU_WORD_7_EBX,
      BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31) },
    { CPU_WORD_7_EBX, BIT(16), CPU_WORD_7_ECX,
      BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14) },
    { CPU_WORD_7_EBX, BIT(16), CPU_WORD_7_EDX,
      BIT(2) | BIT(3) | BIT(8) | BIT(23) },
    { CPU_WORD_7_EBX, BIT(16), CPU_WORD_7_1_EAX, BIT(5) },
};

static void words_drop_orphans(CpuWords *words)
{
    /* Ordered so that one pass follows each chain to its end. */
    for (size_t i = 0; i < G_N_ELEMENTS(dependencies); i++) {
        const CpuDependency *d = &dependencies[i];

        if ((words->w[d->needs_word] & d->needs_bits) != d->needs_bits) {
            words->w[d->word] &= ~d->bits;
        }
    }
}

void cpu_spec_resolve(const CpuSpec *spec, const CpuHost *host,
                      CpuWords *ret_words, CpuWords *ret_missing)
{
    const CpuModel *m = spec->model;
    CpuWords have;

    cpu_host_words(host, &have);
    for (CpuWord w = 0; w < CPU_WORD__COUNT; w++) {
        uint32_t want = m->host ? have.w[w] : m->words.w[w];

        if (m->host && spec->migratable && w == CPU_WORD_80000007_EDX) {
            want = 0; /* invtsc: another host's TSC has another rate */
        }
        if (!m->host && w == CPU_WORD_1_ECX) {
            want |= KVM_DEFAULT_1_ECX;
        }
        if (!m->host && w == CPU_WORD_KVM) {
            want |= KVM_DEFAULT_WORD & have.w[w];
        }
        want = (want | spec->plus.w[w]) & ~spec->minus.w[w];
        ret_missing->w[w] = want & ~have.w[w];
        ret_words->w[w] = want & have.w[w];
    }
    words_drop_orphans(ret_words);
}
