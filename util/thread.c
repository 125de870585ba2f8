/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Named threads, ranked mutexes, and the check of the guest-memory rule.
 *
 * Why: a lock taken in the wrong order deadlocks once a month on somebody
 * else's machine; a rank checked at each lock fails at once on ours.
 *
 * Each thread keeps the mutexes that it holds in held[], innermost last.
 * Invariants (in debug builds):
 *   (1) ranks in held[] rise strictly, hence it never overflows;
 *   (2) a mutex is in held[] of exactly the thread that has locked it.
 * A mutex may be unlocked out of order: what is left still rises.
 *
 * Threads: any. held[] and never_faults belong to their thread.
 */
#include "util/thread.h"
#include "util/clock.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#ifndef NDEBUG
#define VM_DEBUG_LOCKS 1
#else
#define VM_DEBUG_LOCKS 0
#endif

/* The kernel's limit for a thread's name, with the terminating zero. */
#define THREAD_NAME_BYTES 16

static _Thread_local const VmMutex *held[VM_RANK__COUNT];
static _Thread_local int held_count;
static _Thread_local bool never_faults;

struct VmThread {
    /* Immutable once vm_thread_new() has returned; pthread and tid are
     * written by the child, so that run() may use them from its start. */
    pthread_t pthread;
    pid_t tid;
    char name[THREAD_NAME_BYTES];
    void (*run)(void *arg);
    void *arg;

    /* Posted by the child when both are set; gone after vm_thread_new(). */
    sem_t started;
};

const char *vm_lock_rank_to_string(VmLockRank rank)
{
    static const char *const names[VM_RANK__COUNT] = {
        [VM_RANK_RUN_STATE] = "RUN_STATE",
        [VM_RANK_MIGRATION] = "MIGRATION",
        [VM_RANK_DEVICE] = "DEVICE",
        [VM_RANK_PCI_BUS] = "PCI_BUS",
        [VM_RANK_BACKEND] = "BACKEND",
        [VM_RANK_ADDRESS_MAP] = "ADDRESS_MAP",
        [VM_RANK_IRQ] = "IRQ",
        [VM_RANK_VCPU] = "VCPU",
        [VM_RANK_NO_FAULT] = "NO_FAULT",
        [VM_RANK_PAGER] = "PAGER",
        [VM_RANK_LEAF] = "LEAF",
    };

    g_assert(rank < VM_RANK__COUNT && names[rank]);
    return names[rank];
}

/* Called before the lock, so that a wrong order aborts and does not hang. */
static void held_check_order(const VmMutex *m)
{
    if (VM_DEBUG_LOCKS && held_count > 0) {
        VmLockRank top = held[held_count - 1]->rank;

        if (m->rank <= top) {
            g_error("lock order: %s taken while holding %s",
                    vm_lock_rank_to_string(m->rank),
                    vm_lock_rank_to_string(top));
        }
    }
}

static void held_push(const VmMutex *m)
{
    if (VM_DEBUG_LOCKS) {
        g_assert(held_count < VM_RANK__COUNT); /* (1) */
        held[held_count++] = m;
    }
}

static void held_remove(const VmMutex *m)
{
    int i;

    if (!VM_DEBUG_LOCKS) {
        return;
    }
    for (i = held_count - 1; i >= 0 && held[i] != m; i--) {
    }
    if (i < 0) {
        g_error("lock order: %s unlocked by a thread that does not hold it",
                vm_lock_rank_to_string(m->rank)); /* (2) */
    }
    held_count--;
    for (; i < held_count; i++) {
        held[i] = held[i + 1];
    }
}

static void check_zero(int r, const char *call)
{
    if (G_UNLIKELY(r != 0)) {
        g_error("%s: %s", call, g_strerror(r));
    }
}

void vm_mutex_init(VmMutex *m, VmLockRank rank)
{
    g_assert(rank < VM_RANK__COUNT);
    check_zero(pthread_mutex_init(&m->mutex, NULL), "pthread_mutex_init");
    m->rank = rank;
}

void vm_mutex_done(VmMutex *m)
{
    check_zero(pthread_mutex_destroy(&m->mutex), "pthread_mutex_destroy");
}

void vm_mutex_lock(VmMutex *m) VM_NO_ANALYSIS
{
    held_check_order(m);
    check_zero(pthread_mutex_lock(&m->mutex), "pthread_mutex_lock");
    held_push(m);
}

void vm_mutex_unlock(VmMutex *m) VM_NO_ANALYSIS
{
    held_remove(m);
    check_zero(pthread_mutex_unlock(&m->mutex), "pthread_mutex_unlock");
}

bool vm_mutex_is_held(const VmMutex *m)
{
    if (!VM_DEBUG_LOCKS) {
        return true;
    }
    for (int i = 0; i < held_count; i++) {
        if (held[i] == m) {
            return true;
        }
    }
    return false;
}

void vm_cond_init(VmCond *c)
{
    pthread_condattr_t attr;

    check_zero(pthread_condattr_init(&attr), "pthread_condattr_init");
    check_zero(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC),
               "pthread_condattr_setclock");
    check_zero(pthread_cond_init(&c->cond, &attr), "pthread_cond_init");
    check_zero(pthread_condattr_destroy(&attr), "pthread_condattr_destroy");
}

void vm_cond_done(VmCond *c)
{
    check_zero(pthread_cond_destroy(&c->cond), "pthread_cond_destroy");
}

/*
 * m stays in held[] during the wait: the thread sleeps, so that nothing can
 * be taken out of order meanwhile, and it holds m again when it wakes.
 */
void vm_cond_wait(VmCond *c, VmMutex *m) VM_NO_ANALYSIS
{
    g_assert(vm_mutex_is_held(m));
    check_zero(pthread_cond_wait(&c->cond, &m->mutex), "pthread_cond_wait");
}

bool vm_cond_wait_ns(VmCond *c, VmMutex *m, int64_t timeout_ns) VM_NO_ANALYSIS
{
    int64_t until_ns;
    struct timespec until;
    int r;

    g_assert(vm_mutex_is_held(m));
    if (__builtin_add_overflow(vm_clock_ns(), MAX(timeout_ns, 0), &until_ns)) {
        until_ns = INT64_MAX;
    }
    until.tv_sec = until_ns / VM_NS_PER_SEC;
    until.tv_nsec = until_ns % VM_NS_PER_SEC;
    r = pthread_cond_timedwait(&c->cond, &m->mutex, &until);
    if (r != ETIMEDOUT) {
        check_zero(r, "pthread_cond_timedwait");
    }
    return r == 0;
}

void vm_cond_signal(VmCond *c)
{
    check_zero(pthread_cond_signal(&c->cond), "pthread_cond_signal");
}

void vm_cond_broadcast(VmCond *c)
{
    check_zero(pthread_cond_broadcast(&c->cond), "pthread_cond_broadcast");
}

/*
 * Signals that report the thread's own fault stay deliverable: blocked, they
 * would kill without a core handler's or a sanitizer's report.
 */
static void thread_signal_mask(sigset_t *set)
{
    static const int own_faults[] = { SIGSEGV, SIGBUS,  SIGFPE,
                                      SIGILL,  SIGTRAP, SIGABRT };

    sigfillset(set);
    for (size_t i = 0; i < G_N_ELEMENTS(own_faults); i++) {
        sigdelset(set, own_faults[i]);
    }
}

static void *thread_main(void *opaque)
{
    VmThread *thread = opaque;

    thread->pthread = pthread_self();
    thread->tid = gettid();
    (void)pthread_setname_np(pthread_self(), thread->name);
    sem_post(&thread->started);
    thread->run(thread->arg);
    if (VM_DEBUG_LOCKS && held_count > 0) {
        g_error("thread %s ended holding %s", thread->name,
                vm_lock_rank_to_string(held[held_count - 1]->rank));
    }
    return NULL;
}

VmThread *vm_thread_new(const char *name, void (*run)(void *arg), void *arg)
{
    VmThread *thread = g_new0(VmThread, 1);
    sigset_t blocked, saved;
    pthread_t pthread;

    g_strlcpy(thread->name, name, sizeof(thread->name));
    thread->run = run;
    thread->arg = arg;
    if (sem_init(&thread->started, /* pshared= */ 0, 0) != 0) {
        g_error("sem_init: %s", g_strerror(errno));
    }
    /* The child inherits the mask: no window in which it could be hit. */
    thread_signal_mask(&blocked);
    check_zero(pthread_sigmask(SIG_SETMASK, &blocked, &saved),
               "pthread_sigmask");
    check_zero(pthread_create(&pthread, NULL, thread_main, thread),
               "pthread_create");
    check_zero(pthread_sigmask(SIG_SETMASK, &saved, NULL), "pthread_sigmask");
    while (sem_wait(&thread->started) != 0) {
        g_assert(errno == EINTR);
    }
    sem_destroy(&thread->started);
    return thread;
}

void vm_thread_join(VmThread *thread)
{
    check_zero(pthread_join(thread->pthread, NULL), "pthread_join");
    g_free(thread);
}

bool vm_thread_is_self(const VmThread *thread)
{
    return pthread_equal(thread->pthread, pthread_self());
}

pthread_t vm_thread_pthread(const VmThread *thread)
{
    return thread->pthread;
}

int vm_thread_tid(const VmThread *thread)
{
    return thread->tid;
}

int64_t vm_thread_cpu_ns(const VmThread *thread)
{
    struct timespec t = { 0 };
    clockid_t clock;

    /* Neither can fail for a thread that has not been joined. */
    if (pthread_getcpuclockid(thread->pthread, &clock) == 0) {
        (void)clock_gettime(clock, &t);
    }
    return t.tv_sec * VM_NS_PER_SEC + t.tv_nsec;
}

void vm_thread_allow_signal(int signum)
{
    sigset_t set;

    sigemptyset(&set);
    g_assert(sigaddset(&set, signum) == 0);
    /*
     * ThreadSanitizer of LLVM 14 makes its record of pending signals in the
     * first call that blocks, and loses a signal that comes meanwhile: have
     * that behind us.
     */
    (void)poll(NULL, 0, /* timeout_ms= */ 0);
    check_zero(pthread_sigmask(SIG_UNBLOCK, &set, NULL), "pthread_sigmask");
}

void vm_thread_set_never_faults(void)
{
    never_faults = true;
}

void vm_assert_may_fault(void)
{
    if (never_faults) {
        g_error("guest memory touched by a thread that may never fault");
    }
    if (VM_DEBUG_LOCKS && held_count > 0 &&
        held[held_count - 1]->rank >= VM_RANK_NO_FAULT) {
        g_error("guest memory touched while holding %s",
                vm_lock_rank_to_string(held[held_count - 1]->rank));
    }
}
