/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads with names, mutexes with ranks, and the guest-memory rule.
 *
 * A thread that holds a mutex may take only mutexes of a higher rank; debug
 * builds (VM_DEBUG_LOCKS, on unless b_ndebug) check this at each lock.
 * docs/locking.md has the same order in sentences; scripts/check-docs
 * compares the two.
 *
 * The guest-memory rule: a touch of guest RAM may sleep until the pager or a
 * migration peer answers. A thread may therefore not touch guest RAM while it
 * holds a mutex of rank VM_RANK_NO_FAULT or above, nor ever if it is marked
 * by vm_thread_set_never_faults(). vm_assert_may_fault() checks it.
 */
#ifndef VM_UTIL_THREAD_H
#define VM_UTIL_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Clang's thread-safety analysis; no-ops elsewhere. */
#if defined(__clang__)
#define VM_CAPABILITY(x) __attribute__((capability(x)))
#define VM_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define VM_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define VM_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define VM_NO_ANALYSIS __attribute__((no_thread_safety_analysis))
#else
#define VM_CAPABILITY(x)
#define VM_REQUIRES(...)
#define VM_ACQUIRE(...)
#define VM_RELEASE(...)
#define VM_NO_ANALYSIS
#endif

/* Outermost first. A lock may be taken while holding only lower ranks. */
typedef enum VmLockRank {
    VM_RANK_RUN_STATE,   /* system: run-state changes                    */
    VM_RANK_MIGRATION,   /* migration: job state                         */
    VM_RANK_DEVICE,      /* hw: one per device; held in register handlers */
    VM_RANK_PCI_BUS,     /* hw/pci: config space of a bus                */
    VM_RANK_BACKEND,     /* block, net, chardev backends                 */
    VM_RANK_ADDRESS_MAP, /* memory: the map of guest addresses           */
    VM_RANK_IRQ,         /* hw/core: interrupt line levels               */
    VM_RANK_VCPU,        /* accel: run/pause hand-shake                  */
    VM_RANK_NO_FAULT,    /* from here on guest RAM may not be touched    */
    VM_RANK_PAGER,       /* vmemdirect: the engine's mailbox             */
    VM_RANK_LEAF,        /* takes nothing below it                       */
    VM_RANK__COUNT
} VmLockRank;

const char *vm_lock_rank_to_string(VmLockRank rank);

/*
 * Two mutexes of one rank never nest, not even those of different objects: a
 * rule that allowed it would need a second order (by address, by name) which
 * nobody remembers. Copy what is needed out of the first, unlock it, then
 * lock the second.
 */
typedef struct VM_CAPABILITY("mutex") VmMutex {
    pthread_mutex_t mutex; /* private below */
    VmLockRank rank;
} VmMutex;

typedef struct VmCond {
    pthread_cond_t cond; /* private below */
} VmCond;

void vm_mutex_init(VmMutex *m, VmLockRank rank);
void vm_mutex_done(VmMutex *m);
void vm_mutex_lock(VmMutex *m) VM_ACQUIRE(m);
void vm_mutex_unlock(VmMutex *m) VM_RELEASE(m);
/* For g_assert() at the head of _locked functions; true in release builds. */
bool vm_mutex_is_held(const VmMutex *m);

void vm_cond_init(VmCond *c); /* CLOCK_MONOTONIC */
void vm_cond_done(VmCond *c);
void vm_cond_wait(VmCond *c, VmMutex *m) VM_REQUIRES(m);
/*
 * Returns false on time-out. timeout_ns counts from now; 0 or less is a
 * time-out at once. Both waits may also wake for no reason: loop.
 */
bool vm_cond_wait_ns(VmCond *c, VmMutex *m, int64_t timeout_ns)
    VM_REQUIRES(m);
void vm_cond_signal(VmCond *c);
void vm_cond_broadcast(VmCond *c);

/*
 * Starts a thread; name is cut to 15 bytes. Aborts if the system cannot make
 * one. The caller must call vm_thread_join() exactly once, which frees it.
 *
 * Signals: every thread made here starts with all signals blocked but those
 * that report its own fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
 * SIGABRT), so that SIGINT, SIGTERM and SIGHUP reach the main thread, which
 * keeps its own mask. Only vCPU threads are woken by a signal: they call
 * vm_thread_allow_signal(VM_SIG_KICK) first thing. Any other thread is woken
 * by an eventfd or a condition, and never sees EINTR from a signal.
 */
#define VM_SIG_KICK SIGRTMIN
typedef struct VmThread VmThread;
VmThread *vm_thread_new(const char *name, void (*run)(void *arg), void *arg);
void vm_thread_join(VmThread *thread);
bool vm_thread_is_self(const VmThread *thread);
pthread_t vm_thread_pthread(const VmThread *thread);
int vm_thread_tid(const VmThread *thread); /* kernel thread id */
int64_t vm_thread_cpu_ns(const VmThread *thread); /* CPU time it has used */

/* Unblocks signum for the calling thread; its handler is the caller's. */
void vm_thread_allow_signal(int signum);

/* Marks the calling thread: it may never touch guest RAM by guest address. */
void vm_thread_set_never_faults(void);
void vm_assert_may_fault(void);

#endif
