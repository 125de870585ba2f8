/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models and features by name, as management asks for them: what there
 * is, what of it this host can run, and what -cpu gives a guest.
 *
 * It needs /dev/kvm but no virtual machine. The answers are those of
 * vcpus_new(), which computes them by the same functions.
 *
 * Threads: any; a KvmCpus is immutable.
 */
#ifndef VM_ACCEL_CPU_MODELS_H
#define VM_ACCEL_CPU_MODELS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Names of the models in their order; NULL: no more. */
const char *cpu_model_name(size_t index);
/* Does the model mean the same on every host? */
bool cpu_model_is_fixed(const char *name);

/* What this host's KVM can show a guest. */
typedef struct KvmCpus KvmCpus;
KvmCpus *kvm_cpus_new(GError **errp);
void kvm_cpus_free(KvmCpus *cpus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvmCpus, kvm_cpus_free)

/* What a guest with that -cpu sees. */
typedef struct CpuIdentity {
    char vendor[13]; /* "AuthenticAMD" */
    unsigned family, model, stepping;
} CpuIdentity;

typedef enum CpuFeatureState {
    CPU_FEATURE_OFF,
    CPU_FEATURE_ON,
    CPU_FEATURE_MISSING, /* the model has it, and this host has not */
} CpuFeatureState;

/*
 * text is that of -cpu. Calls fn for every feature that has a name, some more
 * than once: then the last one counts. ret_identity may be NULL. Fails for
 * what -cpu would refuse.
 */
bool kvm_cpus_expand(const KvmCpus *cpus, const char *text,
                     void (*fn)(const char *name, CpuFeatureState state,
                                void *opaque),
                     void *opaque, CpuIdentity *ret_identity, GError **errp);

#endif
