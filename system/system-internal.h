/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM as its own process sees it: every part, and how it runs.
 *
 * Threads: struct Vm is the main thread's, but for requests (atomic) and what
 * is said at a member. Migration threads get in by vm_call_main().
 */
#ifndef VM_SYSTEM_SYSTEM_INTERNAL_H
#define VM_SYSTEM_SYSTEM_INTERNAL_H

#include <stdatomic.h>

#include "accel/kvm.h"
#include "accel/vcpu.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "crypto/tls-creds.h"
#include "hw/core/machine.h"
#include "hw/i386/pc.h"
#include "io-thread.h"
#include "migration/migration.h"
#include "monitor/qmp.h"
#include "net/net.h"
#include "system/options.h"
#include "system/runstate.h"
#include "util/thread.h"
#include "vmemdirect/vmemdirect.h"

typedef struct Vm Vm;

/* What other threads ask of the main thread; bits of Vm.requests. */
enum {
    VM_REQUEST_SHUTDOWN = 1u << 0,       /* the guest powered off */
    VM_REQUEST_RESET = 1u << 1,          /* the guest asked for a reset */
    VM_REQUEST_DEBUG_EXIT = 1u << 2,     /* isa-debug-exit */
    VM_REQUEST_INTERNAL_ERROR = 1u << 3, /* a vCPU cannot go on */
    VM_REQUEST_ENGINE = 1u << 4,         /* engine_events has news */
    /* Of the monitor, so that the reply comes before the event. */
    VM_REQUEST_QUIT = 1u << 5,
    VM_REQUEST_HOST_RESET = 1u << 6,
    VM_REQUEST_POWERDOWN = 1u << 7,
    VM_REQUEST_BALLOON = 1u << 8, /* the guest has changed its balloon */
};

/* A call that another thread waits for. */
typedef struct VmCall VmCall;

typedef enum VmLocked {
    VM_LOCKED_NOTHING,
    VM_LOCKED_PROGRAM, /* without guest RAM and what came after it */
    VM_LOCKED_ALL,     /* as far as it is in use */
    VM_LOCKED__COUNT
} VmLocked;

struct Vm {
    /* Immutable after vm_assemble(). */
    VmOptions *options;
    bool has_machine; /* not -M none */
    GMainLoop *loop;
    MonitorServer *monitor;
    GPtrArray *chardevs; /* Chardev, all of them */
    GPtrArray *blocks;   /* BlockBackend */
    GPtrArray *nets;     /* NetBackend */
    GPtrArray *objects;  /* UserObject of vm-objects.c */
    IoThread *io;
    RamBlock *ram;
    VmdEngine *engine;       /* or NULL */
    VmLocked locked;         /* against the host's swap */
    RamPlacement *placement; /* the engine's, or plain_placement */
    RamPlacement *plain_placement;
    KvmVm *kvm;
    AddressSpace *memory, *ports;
    Vcpus *vcpus;
    Machine machine;
    bool machine_ready;
    PcMachine *pc;
    MigrationVm migration_vm;
    Migration *migration;
    unsigned steps_done;

    /* Main thread only. */
    VmRunState state;
    VmRunState state_before_migration;
    bool autostart;
    bool loaded;        /* RAM has a kernel or an incoming VM */
    bool images_active; /* block backends hold their locks */
    bool events_capability;
    /* Of migrate-set-parameters; "": not set. */
    char *tls_creds, *tls_hostname;
    bool arrived;          /* by migration, and has not run here yet */
    GSource *announcement; /* rounds on the I/O context; or NULL */
    guint balloon_timer;      /* a BALLOON_CHANGE is due; or 0 */
    int64_t balloon_event_us; /* when the last one was sent */
    bool at_rest;       /* since it last stopped; see vm_rest() */
    bool reset_waits;   /* the guest's; until the pager is well again */
    unsigned stopped_by; /* bits: see vm-engine.c */
    int64_t patient_since_ns; /* the main thread waits for the VM to rest */
    int exit_status;
    int signal_fd;
    guint signal_source;

    /* Atomic. Set with release by any thread, taken with acquire by
     * vm_take_requests(): the partner fields are written before. */
    atomic_uint requests;
    atomic_uint troubles; /* a bit for each VmdTrouble; set by the engine */
    atomic_int debug_exit_status;
    GSource *request_source;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    VmCond call_done;
    GQueue calls;         /* VmCall, waiting for the main thread */
    bool calls_closed;    /* the main thread will not come any more */
    GQueue engine_events; /* VmdEvent */
    char *internal_error; /* text of the first */
    int64_t reset_told_ns; /* when a vCPU's reset was last reported, or 0 */
};

/* vm.c */
Vm *vm_new(VmOptions *take_options);
/* Makes all parts. After a failure the VM can only be freed; the message is
 * printed before that, since management looks for it when the monitor ends. */
bool vm_assemble(Vm *vm, GError **errp);
void vm_free(Vm *vm);
/* Power-on or incoming; after the monitors are there. */
bool vm_launch(Vm *vm, GError **errp);

/* vm-backends.c: back ends and monitors of the command line */
bool vm_chardevs_start(Vm *vm, GError **errp);
void vm_chardevs_stop(Vm *vm);
bool vm_blocks_start(Vm *vm, GError **errp);
void vm_blocks_stop(Vm *vm);
bool vm_nets_start(Vm *vm, GError **errp);
void vm_nets_stop(Vm *vm);
bool vm_monitors_start(Vm *vm, GError **errp);
Chardev *vm_find_chardev(Vm *vm, const char *id);
/* The serial ports of the command line, in order; NULL: absent. */
bool vm_serials(Vm *vm, Chardev *ret[VM_SERIALS_MAX], GError **errp);
extern const MachineBackends vm_machine_backends;
/* Puts "-option: " before the message, if nothing like it is there. Returns
 * false. */
bool vm_prefix_option(GError **errp, const char *opt);

/* vm-objects.c: secrets and TLS credentials */
bool vm_objects_start(Vm *vm, GError **errp);
void vm_objects_stop(Vm *vm);
/* type: one of vm_options_is_user_object(). */
bool vm_object_add(Vm *vm, const char *type, const char *id, VmKeyval *kv,
                   GError **errp);
/* Borrowed. */
TlsCreds *vm_find_tls_creds(Vm *vm, const char *id, GError **errp);

/* vm-devices.c: -device */
bool vm_devices_start(Vm *vm, GError **errp);
char *vm_devices_help(void);
const DeviceType *vm_device_type_find(const char *name); /* or NULL */
void vm_device_types_foreach(void (*fn)(const DeviceType *type, void *opaque),
                             void *opaque);

/* vm-run.c: start, stop, reset, end. Main thread. */
bool vm_is_running(const Vm *vm);
void vm_set_state(Vm *vm, VmRunState state);
void vm_stop(Vm *vm, VmRunState state);
/* Of a VM that is stopped: nothing of it moves any more, neither RAM nor the
 * state of vCPUs and devices. Waits for that; false, with the reason, if it
 * takes too long. */
bool vm_rest(Vm *vm, GError **errp);
bool vm_start(Vm *vm, GError **errp);
bool vm_power_on(Vm *vm, GError **errp);
bool vm_reset(Vm *vm, VmCause cause, GError **errp);
/* The end: SHUTDOWN event; then pause (-no-shutdown) or leave the loop. */
void vm_shutdown(Vm *vm, VmCause cause);
void vm_quit(Vm *vm, VmCause cause);

/* vm-requests.c: what other threads want. */
void vm_requests_init(Vm *vm);
void vm_requests_done(Vm *vm);
void vm_request(Vm *vm, unsigned bits); /* any thread */
extern const MachineRequests vm_machine_requests;
extern const VcpuCallbacks vm_vcpu_callbacks;
/*
 * Runs fn on the main thread and waits for it. -ECANCELED if the main thread
 * is on its way out. Not with a lock held.
 */
int vm_call_main(Vm *vm, int (*fn)(Vm *vm, void *arg), void *arg);
/* From now on waiting and later calls fail: before joining their threads. */
void vm_close_calls(Vm *vm);
/* Takes those of the guest's requests that are in bits. Main thread. */
unsigned vm_take_requests(Vm *vm, unsigned bits);

/* vm-engine.c: the pager's troubles. */
extern const VmdEvents vm_engine_events;
void vm_engine_serve(Vm *vm); /* engine_events has news */
/* For who waits for vCPUs or devices to come to rest; opaque is the Vm. Reads
 * patient_since_ns, which is set before the wait. */
bool vm_out_of_patience(void *opaque);
/* True, with the reason: now is not the time for what touches guest RAM. */
bool vm_pages_wait(Vm *vm, GError **errp);
void vm_engine_stopped_by_hand(Vm *vm);
void vm_engine_started(Vm *vm);

/* vm-migration.c */
/*
 * uri as migration_start() wants it; g_free(). fd:NAME becomes the descriptor
 * that getfd has given that name (mon may be NULL: none has a name); fd:N must
 * be one that this process was started with.
 */
char *vm_migration_uri(Monitor *mon, const char *uri, GError **errp);
bool vm_migration_start(Vm *vm, GError **errp);
void vm_migration_stop(Vm *vm);
/* Locks the images again after a hand-over that was given up. Main thread. */
bool vm_images_activate(Vm *vm, GError **errp);

/* announce.c */
typedef struct VmAnnounceRounds {
    uint64_t initial_ms, max_ms, step_ms; /* between rounds: grows by step */
    uint64_t rounds;
} VmAnnounceRounds;
/* The first round at once; ends the rounds of an earlier call. */
void vm_announce_start(Vm *vm, const VmAnnounceRounds *a);
/* Once the I/O thread has ended, no round runs any more. */
void vm_announce_stop(Vm *vm);
/* The VM runs: for the first time since it has arrived, this is told. */
void vm_announce_arrival(Vm *vm);

/* memory-lock.c */
const char *vm_locked_to_string(VmLocked locked);
/* Before guest RAM is mapped. */
bool vm_lock_memory(const VmOptions *o, VmLocked *ret_locked, GError **errp);
/* With -vmemdirect, when all is mapped; a refusal is a warning. */
void vm_lock_all_memory(VmLocked *locked);

/* daemonize.c */
bool vm_daemonize(GError **errp); /* forks; the child returns */
void vm_daemonize_ready(void);    /* the parent may exit 0 */
bool vm_pidfile_write(const char *path, GError **errp);
void vm_pidfile_remove(const char *path);

/* last-words.c */
void vm_note_passed_listeners(void); /* before anything is opened */
/* After the message of a failed start, before descriptors are closed. */
void vm_wait_for_manager(void);

/* sandbox.c: from now on, and for good */
bool vm_sandbox_enter(const VmSandbox *s, GError **errp);

/* fdset.c: /dev/fdset/N in option texts */
char *vm_fdset_replace(const VmOptions *o, const char *text, GError **errp);

/* qmp-qom.c: {"name":...,"type":...} at the end of list */
void vm_qom_add_property(json_object *list, const char *name,
                         const char *type);

/* qmp-cpu.c: vCPUs as objects */
bool vm_cpu_is_path(const Vm *vm, const char *path);
json_object *vm_cpu_list(const Vm *vm);
bool vm_cpu_get(const Vm *vm, const char *property, json_object **ret,
                GError **errp);
/* Those of a model; none if there is no such model, or no KVM. */
void vm_cpu_add_properties(json_object *list, const char *model);

/* qmp-balloon.c */
void vm_balloon_changed(Vm *vm); /* tells the monitors */
void vm_balloon_stop(Vm *vm);

/* qmp-*.c: the tables; opaque is the Vm */
extern const QmpCommand vm_qmp_run_commands[];
extern const QmpCommand vm_qmp_query_commands[];
extern const QmpCommand vm_qmp_block_commands[];
extern const QmpCommand vm_qmp_cpu_commands[];
extern const QmpCommand vm_qmp_probe_commands[];
extern const QmpCommand vm_qmp_migration_commands[];
extern const QmpCommand vm_qmp_vmemdirect_commands[];
extern const QmpCommand vm_qmp_balloon_commands[];
extern const QmpCommand vm_qmp_qom_commands[];
extern const QmpCommand vm_qmp_object_commands[];
extern const QmpEventInfo vm_qmp_events[];

#endif
