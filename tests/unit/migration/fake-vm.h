/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM for the migration tests: RAM, a guest thread that writes to it, two
 * devices, images, and a placement that is either the plain one or a fake
 * pager that records where each chunk went.
 *
 * All fake VMs of a FakeWorld stand for one guest: the world counts how many
 * of them run and how many hold the images, and the tests fail as soon as
 * that is two.
 */
#ifndef VM_TESTS_FAKE_VM_H
#define VM_TESTS_FAKE_VM_H

#include <glib.h>
#include <stdatomic.h>

#include "migration/migration.h"
#include "util/thread.h"

typedef struct FakeWorld {
    atomic_int running;      /* VMs that run */
    atomic_int image_owners; /* VMs that may write to the images */
    atomic_bool violated;    /* either was ever 2 */
} FakeWorld;

typedef struct FakeDevice {
    uint32_t reg;
    uint8_t fifo[16];
    uint64_t counters[3];
    uint8_t *blob;
    uint32_t blob_len;
} FakeDevice;

typedef struct FakePager FakePager;

#define FAKE_STOP (-1)
#define FAKE_RESUME (-2)

typedef struct FakeVmConfig {
    uint64_t pages;
    uint32_t chunk_pages;
    uint64_t budget_pages; /* UINT64_MAX: plain placement */
    const char *machine;
    unsigned vcpus;
} FakeVmConfig;

typedef struct FakeVm {
    MigrationVm vm;
    FakeWorld *world;
    RamBlock *ram;
    RamPlacement *plain; /* one of the two */
    FakePager *pager;
    Migration *mig;
    FakeDevice device[2];
    VmMutex device_lock;

    /* Main thread: what status_changed() told. */
    GArray *statuses; /* of MigrationStatus */
    char *error;
    uint64_t passes; /* the last one that has begun */

    /* What happened to the vCPUs, in order: shares of throttle(), and
     * FAKE_STOP, FAKE_RESUME. Written by the job's thread; read it when the
     * job is over. */
    GArray *throttles; /* of int */
    /* Set by tests before a job: the guest dirties nothing while throttled
     * so much; 0: however much. */
    unsigned calm_percent;

    /* Set by tests before a job: failures on demand. */
    atomic_bool fail_stop, fail_start, fail_inactivate, fail_activate;
    atomic_int stops, resumes, starts;
    atomic_bool owns_images;

    /* The guest. */
    VmThread *guest;
    VmMutex guest_lock;
    VmCond guest_cond;
    bool guest_running; /* protected by guest_lock */
    bool guest_quit;
    bool guest_idle;    /* paused and known to be */
    uint64_t guest_first, guest_count; /* pages it writes */
    atomic_ullong guest_writes;
} FakeVm;

/* Bytes per second; 0: no limit. */
void fake_vm_set_bandwidth(FakeVm *f, uint64_t bytes_per_s);
FakeVm *fake_vm_new(FakeWorld *world, const FakeVmConfig *config);
void fake_vm_free(FakeVm *f);

/* Two VMs in a world of their own; the first runs, and its memory is full. */
typedef struct FakePair {
    FakeWorld world;
    FakeVm *src, *dst;
    char *dir; /* for sockets and files */
    char *uri; /* a socket in it */
} FakePair;
FakePair *fake_pair_new(const FakeVmConfig *src, const FakeVmConfig *dst);
void fake_pair_free(FakePair *p); /* nobody may have run twice */

/* The VM that has the guest at the beginning: runs, holds the images. */
void fake_vm_boot(FakeVm *f);
/* A guest thread that writes to pages [first, first + count); if the VM runs,
 * it has begun. */
void fake_vm_start_guest(FakeVm *f, uint64_t first, uint64_t count);
bool fake_vm_runs(FakeVm *f);

/* Content of a page, wherever it lies. VM stopped. */
void fake_vm_read_page(FakeVm *f, PageNo page, uint8_t *ret);
/* Fills pages: by chunk number modulo 4: zero, RAM, swap (if paged), RAM
 * with zero pages between. seed makes the content. */
void fake_vm_fill(FakeVm *f, uint64_t seed);
/* By hand (fake pager): a chunk's place, and its key, which is also the
 * history of its pages; all bytes of a page. */
void fake_vm_set_chunk(FakeVm *f, ChunkNo chunk, RamPlace place, uint8_t key);
void fake_vm_set_page(FakeVm *f, PageNo page, uint8_t byte);
bool fake_vm_equal(FakeVm *a, FakeVm *b);

/* Fake pager only. */
RamPlace fake_pager_place(FakeVm *f, ChunkNo chunk);
uint8_t fake_pager_history(FakeVm *f, ChunkNo chunk, uint32_t page);
/* Takes all of RAM from a file where it can; whether it has. The fake one reads
 * it at once, into its swap. */
void fake_pager_allow_back(FakeVm *f);
bool fake_pager_is_backed(FakeVm *f);
/* Pages that the file did not have, or not as they were saved. */
unsigned fake_pager_bad_pages(FakeVm *f);
/* The n-th import from now on (1: the next) fails with -ENOSPC. */
void fake_pager_fail_import(FakeVm *f, int n);
void fake_pager_fail_export(FakeVm *f, int n);
/* Each page that is exported is dirty again at once: passes go on for ever,
 * however fast they are. */
void fake_pager_redirty(FakeVm *f);
/* Only this chunk, and so often. */
void fake_pager_redirty_chunk(FakeVm *f, ChunkNo chunk, unsigned times);

/* Runs the main loop until the job is over, or aborts after 60 s. */
MigrationStatus fake_vm_wait(FakeVm *f);
/* Runs the main loop until the status is reached, or the job is over. */
void fake_vm_wait_status(FakeVm *f, MigrationStatus status);
MigrationStatus fake_vm_status(FakeVm *f);

/* A directory for sockets, removed by fake_dir_free(). */
char *fake_dir_new(void);
void fake_dir_free(char *dir);

#endif
