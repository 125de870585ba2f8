/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models against made-up hosts: names, masks, and the leaves that guests
 * find their processors by. No KVM.
 */
#include <glib.h>
#include <string.h>

#include "cpu-model-internal.h"

#define BIT(n) (UINT32_C(1) << (n))

/* KVM_GET_SUPPORTED_CPUID of a host that has everything. */
static struct kvm_cpuid2 *host_table(bool intel)
{
    static const char amd[13] = "AuthcAMDenti", genuine[13] = "GenuntelineI";
    static const struct {
        uint32_t function, index, flags;
    } leaves[] = {
        { 0, 0, 0 },          { 1, 0, 0 },
        { 6, 0, 0 },          { 7, 0, 1 },
        { 7, 1, 1 },          { 0xd, 0, 1 },
        { 0xd, 1, 1 },        { 0xd, 2, 1 },
        { 0xd, 9, 1 },        { 0x80000001, 0, 0 },
        { 0x80000007, 0, 0 }, { 0x80000008, 0, 0 },
        { 0x80000021, 0, 0 }, { 0x40000001, 0, 0 },
    };
    struct kvm_cpuid2 *t =
        g_malloc0(sizeof(*t) + G_N_ELEMENTS(leaves) * sizeof(t->entries[0]));

    t->nent = G_N_ELEMENTS(leaves);
    for (uint32_t i = 0; i < t->nent; i++) {
        struct kvm_cpuid_entry2 *e = &t->entries[i];

        e->function = leaves[i].function;
        e->index = leaves[i].index;
        e->flags = leaves[i].flags;
        e->eax = e->ebx = e->ecx = e->edx = UINT32_MAX;
        if (e->function == 0) {
            const char *v = intel ? genuine : amd;

            memcpy(&e->ebx, v, 4);
            memcpy(&e->ecx, v + 4, 4);
            memcpy(&e->edx, v + 8, 4);
        } else if (e->function == 1) {
            e->eax = 0x00a20f10;
        } else if (e->function == 0xd && e->index == 0) {
            e->eax = 0x2e7;
        } else if (e->function == 0xd && e->index == 2) {
            e->eax = 256;
            e->ebx = 576;
            e->ecx = 0;
        } else if (e->function == 0xd && e->index == 9) {
            e->eax = 8;
            e->ebx = 2432;
            e->ecx = 0;
        } else if (e->function == 0x80000008) {
            e->eax = 0x3030;
        }
    }
    return t;
}

static CpuHost host_full(const struct kvm_cpuid2 *table)
{
    return (CpuHost){ .supported = table,
                      .tsc_deadline_timer = true,
                      .brand = "Made-up CPU" };
}

static CpuSpec parse(const char *text)
{
    GError *error = NULL;
    CpuSpec spec;

    cpu_spec_parse(text, &spec, &error);
    g_assert_no_error(error);
    return spec;
}

static CpuWords resolve(const char *text, const CpuHost *host)
{
    CpuSpec spec = parse(text);
    CpuWords words, missing;

    cpu_spec_resolve(&spec, host, &words, &missing);
    return words;
}

static void test_bad_names(void)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        { "", "unable to find CPU model ''" },
        { "Z80", "unable to find CPU model 'Z80'" },
        { ",+sse3", "unable to find CPU model ''" },
        { "qemu64,+warp", "Property 'qemu64-x86_64-cpu.warp' not found" },
        { "host,warp=on", "Property 'host-x86_64-cpu.warp' not found" },
        { "host,", "Property 'host-x86_64-cpu.' not found" },
        { "host,+", "Property 'host-x86_64-cpu.' not found" },
        { "host,sse4.1|x=on", NULL },
        { "host,avx=maybe", "-cpu: Parameter 'avx' expects 'on' or 'off'" },
        { "host,+svm",
          "CPU feature 'svm' is not supported by this program" },
        { "EPYC,vmx=on",
          "CPU feature 'vmx' is not supported by this program" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        CpuSpec spec;

        g_assert_false(cpu_spec_parse(bad[i].text, &spec, &error));
        g_assert_nonnull(error);
        if (bad[i].message) {
            g_assert_cmpstr(error->message, ==, bad[i].message);
        }
    }
}

static void test_flags(void)
{
    g_autofree struct kvm_cpuid2 *table = host_table(false);
    CpuHost host = host_full(table);
    CpuWords w;

    w = resolve("qemu64", &host);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(0), !=, 0);  /* pni */
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(20), ==, 0); /* sse4.2 */
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(31), !=, 0); /* hypervisor */
    w = resolve("qemu64,+sse4.2,sse4_1=on,-pni,-x2apic", &host);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(20), !=, 0);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(19), !=, 0);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(0), ==, 0);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(21), ==, 0);
    /* The last one counts; two spellings are one feature. */
    w = resolve("qemu64,-sse3,+pni", &host);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(0), !=, 0);
    w = resolve("qemu64,+pni,sse3=off", &host);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(0), ==, 0);
    w = resolve("host,-kvmclock", &host);
    g_assert_cmphex(w.w[CPU_WORD_KVM] & (BIT(0) | BIT(3)), ==, 0);
    g_assert_true(parse("host,migratable=off").host_phys_bits);
    g_assert_false(parse("host,migratable=off").migratable);
    g_assert_true(parse("qemu64,enforce,pmu=off,-svm").enforce);
}

/* Asked for, not there: named, and left out. */
static void test_missing(void)
{
    g_autofree struct kvm_cpuid2 *table = host_table(false);
    CpuHost host = host_full(table);
    CpuSpec spec = parse("qemu64,+avx2");
    g_autofree char *name = cpu_feature_describe(CPU_WORD_1_ECX, 0);
    CpuWords words, missing;

    table->entries[1].ecx &= ~BIT(0);
    table->entries[3].ebx &= ~BIT(5);
    cpu_spec_resolve(&spec, &host, &words, &missing);
    g_assert_cmphex(missing.w[CPU_WORD_1_ECX], ==, BIT(0));
    g_assert_cmphex(missing.w[CPU_WORD_7_EBX], ==, BIT(5));
    g_assert_cmphex(words.w[CPU_WORD_1_ECX] & BIT(0), ==, 0);
    g_assert_cmpstr(name, ==, "CPUID.01H:ECX.pni [bit 0]");
}

/* The host model never shows what has state that is not moved. */
static void test_host_hides(void)
{
    g_autofree struct kvm_cpuid2 *table = host_table(true);
    CpuHost host = host_full(table);
    CpuWords w = resolve("host", &host);

    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(5), ==, 0);  /* vmx */
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(15), ==, 0); /* pdcm */
    g_assert_cmphex(w.w[CPU_WORD_7_EBX] & BIT(2), ==, 0);  /* sgx */
    g_assert_cmphex(w.w[CPU_WORD_7_ECX] & BIT(7), ==, 0);  /* shstk */
    g_assert_cmphex(w.w[CPU_WORD_7_EDX] & BIT(24), ==, 0); /* amx-tile */
    g_assert_cmphex(w.w[CPU_WORD_80000001_ECX] & BIT(2), ==, 0); /* svm */
    g_assert_cmphex(w.w[CPU_WORD_80000007_EDX], ==, 0); /* invtsc */
    w = resolve("host,migratable=off", &host);
    g_assert_cmphex(w.w[CPU_WORD_80000007_EDX], ==, BIT(8));
    g_assert_cmphex(w.w[CPU_WORD_7_EBX] & BIT(5), !=, 0);
    w = resolve("host,-xsave", &host);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(28), ==, 0); /* avx goes too */
    g_assert_cmphex(w.w[CPU_WORD_7_EBX] & (BIT(5) | BIT(16) | BIT(31)), ==,
                    0);
    g_assert_cmphex(w.w[CPU_WORD_D_1_EAX], ==, 0);
    host.tsc_deadline_timer = false;
    w = resolve("host", &host);
    g_assert_cmphex(w.w[CPU_WORD_1_ECX] & BIT(24), ==, 0);
}

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *t,
                                           uint32_t function, uint32_t index)
{
    const struct kvm_cpuid_entry2 *e = cpuid_find(t, function, index);

    g_assert_nonnull(e);
    return e;
}

static struct kvm_cpuid2 *build(const char *text, const CpuHost *host,
                                unsigned cpu, unsigned count)
{
    CpuSpec spec = parse(text);
    CpuWords words, missing;

    cpu_spec_resolve(&spec, host, &words, &missing);
    return cpu_cpuid_new(&spec, host, &words, cpu, count);
}

static void test_leaves_amd(void)
{
    g_autofree struct kvm_cpuid2 *table = host_table(false);
    CpuHost host = host_full(table);
    g_autofree struct kvm_cpuid2 *t = build("EPYC", &host, 3, 5);
    const struct kvm_cpuid_entry2 *e;

    e = leaf(t, 0, 0);
    g_assert_cmphex(e->eax, ==, 0xd);
    g_assert_cmpmem(&e->ebx, 4, "Auth", 4);
    e = leaf(t, 1, 0);
    g_assert_cmphex(e->eax, ==, 0x00800f12); /* family 23, model 1, step 2 */
    g_assert_cmphex(e->ebx, ==, 3u << 24 | 5u << 16 | 8u << 8);
    g_assert_cmphex(e->edx & BIT(28), !=, 0);
    e = leaf(t, 0xb, 0);
    g_assert_cmphex(e->ecx, ==, 0x100);
    g_assert_cmphex(e->edx, ==, 3);
    e = leaf(t, 0xb, 1);
    g_assert_cmphex(e->eax, ==, 3); /* 5 cores: 3 bits */
    g_assert_cmphex(e->ebx, ==, 5);
    g_assert_cmphex(e->ecx, ==, 0x201);
    g_assert_cmphex(leaf(t, 0xb, 2)->ecx & 0xff00, ==, 0);
    /* AVX is in XCR0, AVX-512 and protection keys are not EPYC's. */
    e = leaf(t, 0xd, 0);
    g_assert_cmphex(e->eax, ==, 7);
    g_assert_cmpuint(e->ecx, ==, 832);
    g_assert_cmphex(leaf(t, 0xd, 1)->eax, ==, 7);
    g_assert_null(cpuid_find(t, 0xd, 9));
    g_assert_cmphex(leaf(t, 0x80000000, 0)->eax, ==, 0x8000001e);
    e = leaf(t, 0x80000001, 0);
    g_assert_cmphex(e->edx & 0x3ff, ==, 0x3ff); /* fpu to apic, again */
    g_assert_cmphex(e->ecx & BIT(1), !=, 0);    /* cmp-legacy */
    g_assert_cmpmem(&leaf(t, 0x80000002, 0)->eax, 4, "AMD ", 4);
    g_assert_cmphex(leaf(t, 0x80000008, 0)->eax, ==, 0x3028);
    g_assert_cmphex(leaf(t, 0x80000008, 0)->ecx, ==, 3u << 12 | 4);
    g_assert_cmphex(leaf(t, 0x8000001e, 0)->eax, ==, 3);
    g_assert_cmphex(leaf(t, 0x8000001d, 3)->eax >> 14 & 0xfff, ==, 4);
    g_assert_cmphex(leaf(t, 0x8000001d, 4)->eax, ==, 0);
    g_assert_null(cpuid_find(t, 4, 0));
    e = leaf(t, 0x40000000, 0);
    g_assert_cmpmem(&e->ebx, 12, "KVMKVMKVM\0\0\0", 12);
    g_assert_cmphex(leaf(t, 0x40000001, 0)->eax, ==,
                    BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) |
                        BIT(24));
}

static void test_leaves_host(void)
{
    g_autofree struct kvm_cpuid2 *table = host_table(true);
    CpuHost host = host_full(table);
    g_autofree struct kvm_cpuid2 *t = build("host,kvm=off", &host, 0, 1);
    const struct kvm_cpuid_entry2 *e;

    g_assert_cmpmem(&leaf(t, 0, 0)->ebx, 4, "Genu", 4);
    e = leaf(t, 1, 0);
    g_assert_cmphex(e->eax, ==, 0x00a20f10);
    g_assert_cmphex(e->edx & BIT(28), ==, 0); /* one CPU: no htt */
    e = leaf(t, 0xd, 0);
    g_assert_cmphex(e->eax, ==, 0x2e7);
    g_assert_cmpuint(e->ebx, ==, 2440);
    g_assert_cmphex(leaf(t, 4, 0)->eax & 0x1f, ==, 1);
    g_assert_cmphex(leaf(t, 4, 3)->eax >> 5 & 7, ==, 3);
    g_assert_cmphex(leaf(t, 4, 4)->eax, ==, 0);
    g_assert_cmphex(leaf(t, 0x80000008, 0)->eax & 0xff, ==, 48);
    g_assert_cmphex(leaf(t, 0x80000008, 0)->eax >> 8 & 0xff, ==, 57);
    g_assert_null(cpuid_find(t, 0x8000001e, 0));
    g_assert_null(cpuid_find(t, 0x40000000, 0));
    g_assert_cmpmem(&leaf(t, 0x80000002, 0)->eax, 8, "Made-up ", 8);
}

/* A host that reports next to nothing still gives a table. */
static void test_poor_host(void)
{
    struct kvm_cpuid2 empty = { 0 };
    CpuHost host = { .supported = &empty };
    g_autofree struct kvm_cpuid2 *t = build("max", &host, 254, 255);

    g_assert_cmphex(leaf(t, 1, 0)->ebx >> 24, ==, 254);
    g_assert_cmphex(leaf(t, 0xd, 0)->eax, ==, 0);
    g_assert_cmphex(leaf(t, 0x80000008, 0)->eax & 0xff, ==, 36);
    g_assert_cmphex(leaf(t, 0xb, 1)->eax, ==, 8);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-model/bad-names", test_bad_names);
    g_test_add_func("/cpu-model/flags", test_flags);
    g_test_add_func("/cpu-model/missing", test_missing);
    g_test_add_func("/cpu-model/host-hides", test_host_hides);
    g_test_add_func("/cpu-model/leaves-amd", test_leaves_amd);
    g_test_add_func("/cpu-model/leaves-host", test_leaves_host);
    g_test_add_func("/cpu-model/poor-host", test_poor_host);
    return g_test_run();
}
