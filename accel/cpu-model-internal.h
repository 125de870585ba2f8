/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models: from "-cpu TEXT" to feature words to CPUID tables.
 *
 * Pure functions over tables, no ioctl: KVM's answer to
 * KVM_GET_SUPPORTED_CPUID is an argument. Threads: any.
 */
#ifndef VM_ACCEL_CPU_MODEL_INTERNAL_H
#define VM_ACCEL_CPU_MODEL_INTERNAL_H

#include <glib.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* One 32-bit register of CPUID whose bits are features with names. */
typedef enum CpuWord {
    CPU_WORD_1_EDX,
    CPU_WORD_1_ECX,
    CPU_WORD_6_EAX,
    CPU_WORD_7_EBX,
    CPU_WORD_7_ECX,
    CPU_WORD_7_EDX,
    CPU_WORD_7_1_EAX,
    CPU_WORD_D_1_EAX,
    CPU_WORD_80000001_EDX,
    CPU_WORD_80000001_ECX,
    CPU_WORD_80000007_EDX,
    CPU_WORD_80000008_EBX,
    CPU_WORD_80000021_EAX,
    CPU_WORD_KVM,
    CPU_WORD__COUNT
} CpuWord;

typedef struct CpuWords {
    uint32_t w[CPU_WORD__COUNT];
} CpuWords;

typedef struct CpuModel {
    const char *name;
    const char *brand; /* NULL: the host's */
    bool host;         /* everything that the host supports */
    uint32_t family, model, stepping; /* not for host */
    CpuWords words;                   /* not for host */
} CpuModel;

/* Ends with name == NULL. */
extern const CpuModel cpu_models[];

/* "-cpu" as parsed. */
typedef struct CpuSpec {
    const CpuModel *model;
    CpuWords plus, minus;
    bool migratable;     /* on: features that cannot move are left out */
    bool show_kvm;       /* the leaves at 0x40000000 */
    bool enforce;        /* missing features are an error */
    bool host_phys_bits;
} CpuSpec;

bool cpu_spec_parse(const char *text, CpuSpec *ret, GError **errp);

/* "pni"; NULL: it has no name, and no guest sees it. g_free(). */
char *cpu_feature_name(CpuWord word, unsigned bit);
/* "CPUID.01H:ECX.pni [bit 0]", as QEMU names a feature; g_free(). */
char *cpu_feature_describe(CpuWord word, unsigned bit);

/* What KVM can show a guest, cut to the features that have a name here. */
typedef struct CpuHost {
    const struct kvm_cpuid2 *supported;
    bool tsc_deadline_timer; /* KVM_CAP_TSC_DEADLINE_TIMER */
    char brand[48];          /* of the host's own CPUID; may be all zero */
} CpuHost;
void cpu_host_words(const CpuHost *host, CpuWords *ret);

/* Features of the guest; *ret_missing is what was asked for in vain. */
void cpu_spec_resolve(const CpuSpec *spec, const CpuHost *host,
                      CpuWords *ret_words, CpuWords *ret_missing);

/* The table of one vCPU; g_free(). cpu < count <= 255. */
struct kvm_cpuid2 *cpu_cpuid_new(const CpuSpec *spec, const CpuHost *host,
                                 const CpuWords *words, unsigned cpu,
                                 unsigned count);

/* NULL: no such leaf. */
const struct kvm_cpuid_entry2 *cpuid_find(const struct kvm_cpuid2 *table,
                                          uint32_t function, uint32_t index);

#endif
