/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models and features by name: see accel/cpu-models.h.
 *
 * Threads: any.
 */
#include "accel/cpu-models.h"

#include <cpuid.h>
#include <string.h>
#include <unistd.h>

#include "cpu-model-internal.h"
#include "kvm-internal.h"
#include "util/error.h"
#include "util/fd.h"

#define SUPPORTED_CPUID_MAX 256u

struct KvmCpus {
    struct kvm_cpuid2 *supported;
    CpuHost host;
};

const char *cpu_model_name(size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (!cpu_models[i].name) {
            return NULL;
        }
    }
    return cpu_models[index].name;
}

bool cpu_model_is_fixed(const char *name)
{
    for (const CpuModel *m = cpu_models; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            return !m->host;
        }
    }
    return false;
}

/* ---- The host ---------------------------------------------------------- */

struct kvm_cpuid2 *kvm_read_supported_cpuid(int dev_fd, GError **errp)
{
    g_autofree struct kvm_cpuid2 *table =
        g_malloc0(sizeof(*table) +
                  SUPPORTED_CPUID_MAX * sizeof(table->entries[0]));
    int r;

    table->nent = SUPPORTED_CPUID_MAX;
    r = KVM_CALL(dev_fd, KVM_GET_SUPPORTED_CPUID, table);
    if (r < 0) {
        vm_error_set(errp, -r, "KVM_GET_SUPPORTED_CPUID");
        return NULL;
    }
    return g_steal_pointer(&table);
}

void cpu_read_host_brand(char brand[48])
{
    unsigned regs[12] = { 0 };

    if ((unsigned)__get_cpuid_max(0x80000000, NULL) >= 0x80000004) {
        for (unsigned i = 0; i < 3; i++) {
            __cpuid(0x80000002 + i, regs[i * 4], regs[i * 4 + 1],
                    regs[i * 4 + 2], regs[i * 4 + 3]);
        }
    }
    memcpy(brand, regs, sizeof(regs));
}

KvmCpus *kvm_cpus_new(GError **errp)
{
    g_autoptr(KvmCpus) cpus = NULL;
    vm_autofd fd = -1;

    if (!kvm_open(&fd, errp)) {
        return NULL;
    }
    cpus = g_new0(KvmCpus, 1);
    cpus->supported = kvm_read_supported_cpuid(fd, errp);
    if (!cpus->supported) {
        return NULL;
    }
    cpus->host.supported = cpus->supported;
    cpus->host.tsc_deadline_timer =
        kvm_check_cap(fd, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    cpu_read_host_brand(cpus->host.brand);
    return g_steal_pointer(&cpus);
}

void kvm_cpus_free(KvmCpus *cpus)
{
    if (cpus) {
        g_free(cpus->supported);
        g_free(cpus);
    }
}

/* ---- One model --------------------------------------------------------- */

/* APM volume 3, E.3.1 and E.3.2: vendor, and the signature's fields. */
static void read_identity(const struct kvm_cpuid2 *table, CpuIdentity *ret)
{
    const struct kvm_cpuid_entry2 *vendor = cpuid_find(table, 0, 0);
    const struct kvm_cpuid_entry2 *leaf = cpuid_find(table, 1, 0);
    uint32_t base = leaf->eax >> 8 & 15;

    memset(ret, 0, sizeof(*ret));
    memcpy(ret->vendor, &vendor->ebx, 4);
    memcpy(ret->vendor + 4, &vendor->edx, 4);
    memcpy(ret->vendor + 8, &vendor->ecx, 4);
    ret->family = base + (base == 15 ? leaf->eax >> 20 & 255 : 0);
    ret->model = leaf->eax >> 4 & 15;
    if (base == 6 || base == 15) {
        ret->model |= (leaf->eax >> 16 & 15) << 4;
    }
    ret->stepping = leaf->eax & 15;
}

bool kvm_cpus_expand(const KvmCpus *cpus, const char *text,
                     void (*fn)(const char *name, CpuFeatureState state,
                                void *opaque),
                     void *opaque, CpuIdentity *ret_identity, GError **errp)
{
    CpuWords words, missing;
    CpuSpec spec;

    if (!cpu_spec_parse(text, &spec, errp)) {
        return false;
    }
    cpu_spec_resolve(&spec, &cpus->host, &words, &missing);
    for (CpuWord w = 0; w < CPU_WORD__COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            g_autofree char *name = cpu_feature_name(w, bit);
            uint32_t mask = UINT32_C(1) << bit;

            if (name) {
                fn(name, words.w[w] & mask     ? CPU_FEATURE_ON
                         : missing.w[w] & mask ? CPU_FEATURE_MISSING
                                               : CPU_FEATURE_OFF, opaque);
            }
        }
    }
    if (ret_identity) {
        g_autofree struct kvm_cpuid2 *table =
            cpu_cpuid_new(&spec, &cpus->host, &words, 0, 1);

        read_identity(table, ret_identity);
    }
    return true;
}
