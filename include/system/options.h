/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line, understood but not yet acted on.
 *
 * Why apart from the assembly: parsing has no side effects, so that tests can
 * throw anything at it, and every bad option is refused before a file is
 * made or a thread started.
 *
 * Threads: main. Errors: GError, one line that names the option.
 */
#ifndef VM_SYSTEM_OPTIONS_H
#define VM_SYSTEM_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/keyval.h"

#define VM_CPUS_MAX 255u
#define VM_RAM_MAX_BYTES (UINT64_C(4) << 40)
#define VM_SERIALS_MAX 4u
#define VM_FDSETS_MAX 64u
/* Of -vmemdirect; not the engine's, which knows no VM's name. */
#define VM_SWAP_DIR_KEY "swap-dir"

typedef enum VmMonitorMode { VM_MONITOR_HMP, VM_MONITOR_QMP } VmMonitorMode;

typedef struct VmMonitorOption {
    VmMonitorMode mode;
    bool pretty;
    char *chardev; /* -mon: id of a chardev; else NULL */
    char *text;    /* -monitor, -qmp: the short form */
} VmMonitorOption;

typedef struct VmObjectOption {
    char *type; /* "rng-random", "rng-builtin", "memory-backend-ram", or of
                 * vm_options_is_user_object() */
    char *id;
    VmKeyval *props;     /* of those; NULL for the others */
    char *filename;      /* rng */
    uint64_t size_bytes; /* memory-backend-ram */
} VmObjectOption;

typedef struct VmFdOption {
    uint64_t set;
    int fd;
    char *opaque;
} VmFdOption;

/* -sandbox; see sandbox.c. */
typedef struct VmSandbox {
    bool on;
    bool deny_obsolete, deny_elevate, deny_spawn, deny_resources;
} VmSandbox;

/* What to do with -help and friends instead of a VM. */
typedef enum VmOptionsAction {
    VM_OPTIONS_RUN,
    VM_OPTIONS_HELP,
    VM_OPTIONS_VERSION,
    VM_OPTIONS_MACHINES,
    VM_OPTIONS_DEVICES,
} VmOptionsAction;

typedef struct VmOptions {
    VmOptionsAction action;

    /* Machine. */
    char *machine; /* canonical; "none": QMP only */
    bool kvm;      /* false only with "none" on a host without KVM */
    char *memory_backend;
    char *cpu;
    uint64_t ram_bytes;
    bool ram_given;
    unsigned cpus;
    char *kernel, *initrd, *append;
    int64_t rtc_offset_s;
    bool mem_lock;
    VmKeyval *vmemdirect; /* or NULL; has swap, also if swap-dir was given */

    /* In order of appearance. */
    GPtrArray *chardevs;  /* char *, -chardev's text */
    GPtrArray *monitors;  /* VmMonitorOption */
    GPtrArray *serials;   /* char *, the short form */
    char *debugcon;       /* the short form, or NULL */
    GPtrArray *objects;   /* VmObjectOption */
    GPtrArray *drives;    /* VmKeyval */
    GPtrArray *blockdevs; /* VmKeyval */
    GPtrArray *netdevs;   /* VmKeyval */
    GPtrArray *devices;   /* VmKeyval with driver= */
    GPtrArray *fds;       /* VmFdOption */

    /* Running. */
    char *name;
    bool debug_threads;
    char *uuid;
    bool paused; /* -S */
    bool no_reboot, no_shutdown;
    bool daemonize;
    char *pidfile;
    char *incoming; /* URI, "defer", or NULL */
    bool nographic, nodefaults;
    bool timestamps;
    VmSandbox sandbox;

    unsigned drive_counts[2]; /* private: names of unnamed drives */
    unsigned nic_count;       /* private */
} VmOptions;

/* argv[0] is the program's name. */
VmOptions *vm_options_parse(int argc, char *const *argv, GError **errp);
void vm_options_free(VmOptions *o);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmOptions, vm_options_free)

/* Secrets and TLS credentials: they can be made at run time, too. */
bool vm_options_is_user_object(const char *type);
/* The types that -object takes, in order; NULL: no more. */
const char *vm_options_object_type(size_t index);

typedef struct VmOptionParameter {
    const char *name;
    const char *type; /* "boolean", "string" */
} VmOptionParameter;

/* Options by whose parameters management decides what to give. Ends with
 * option == NULL. */
typedef struct VmOptionParameters {
    const char *option; /* without its dash */
    const VmOptionParameter *parameters; /* ends with name == NULL */
} VmOptionParameters;
extern const VmOptionParameters vm_options_with_parameters[];

/* The text of -help, from the table. g_free(). */
char *vm_options_help(void);

/*
 * A JSON object as "key=value,key.sub=value" (commas doubled), the form that
 * the rest of the program reads. option is for messages.
 */
char *vm_options_flatten_json(const char *option, const char *json,
                              GError **errp);

#endif
