/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * util/thread.c: names and signal masks of threads, waits, and that the
 * checks of lock order and of the guest-memory rule do stop the program.
 *
 * What must abort runs in a subprocess, whose stderr names the reason; such
 * functions break on purpose what clang's analysis would refuse.
 */
#include "util/thread.h"
#include "util/clock.h"

#include <glib.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct Seen {
    VmThread *thread; /* as the child sees it */
    char name[16];
    sigset_t mask;
    int tid;
    bool is_self;
} Seen;

static void look_around(void *opaque)
{
    Seen *seen = opaque;

    pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
    pthread_sigmask(SIG_SETMASK, NULL, &seen->mask);
    seen->tid = (int)syscall(SYS_gettid);
}

static void test_thread(void)
{
    Seen seen = { 0 };
    sigset_t before, after;
    VmThread *thread;

    pthread_sigmask(SIG_SETMASK, NULL, &before);
    thread = vm_thread_new("a-name-that-is-too-long", look_around, &seen);
    g_assert_cmpint(vm_thread_tid(thread), >, 0);
    g_assert_false(vm_thread_is_self(thread));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    {
        int tid = vm_thread_tid(thread);

        vm_thread_join(thread);
        g_assert_cmpint(seen.tid, ==, tid);
    }
    g_assert_cmpstr(seen.name, ==, "a-name-that-is-");
    g_assert_cmpint(sigismember(&seen.mask, SIGINT), ==, 1);
    g_assert_cmpint(sigismember(&seen.mask, SIGTERM), ==, 1);
    g_assert_cmpint(sigismember(&seen.mask, VM_SIG_KICK), ==, 1);
    g_assert_cmpint(sigismember(&seen.mask, SIGSEGV), ==, 0);
    g_assert_cmpint(sigismember(&seen.mask, SIGABRT), ==, 0);
    for (int sig = 1; sig < NSIG; sig++) {
        g_assert_cmpint(sigismember(&before, sig), ==,
                        sigismember(&after, sig));
    }
}

static volatile sig_atomic_t kicks;

static void on_kick(int signum)
{
    kicks++;
}

static void wait_for_kick(void *opaque)
{
    vm_thread_allow_signal(VM_SIG_KICK);
    while (!kicks) {
        /* ThreadSanitizer runs handlers in calls that it knows to block;
         * g_usleep() sleeps in one that it does not know. */
        (void)poll(NULL, 0, /* timeout_ms= */ 1);
    }
}

/* Sent before or after the thread unblocks it: it is never lost. */
static void test_kick(void)
{
    struct sigaction action = { .sa_handler = on_kick };
    VmThread *thread;

    g_assert_cmpint(sigaction(VM_SIG_KICK, &action, NULL), ==, 0);
    thread = vm_thread_new("vcpu", wait_for_kick, NULL);
    g_assert_cmpint(vm_thread_cpu_ns(thread), >, 0); /* it lives */
    g_assert_cmpint(pthread_kill(vm_thread_pthread(thread), VM_SIG_KICK), ==,
                    0);
    vm_thread_join(thread); /* hangs if the signal stays blocked */
    g_assert_cmpint(kicks, ==, 1);
}

typedef struct Gate {
    VmMutex lock;
    VmCond cond;
    VmThread *self;
    bool open, was_self;
} Gate;

static void open_gate(void *opaque)
{
    Gate *gate = opaque;

    vm_mutex_lock(&gate->lock);
    while (!gate->self) {
        vm_cond_wait(&gate->cond, &gate->lock);
    }
    gate->was_self = vm_thread_is_self(gate->self);
    gate->open = true;
    vm_cond_broadcast(&gate->cond);
    vm_mutex_unlock(&gate->lock);
}

static void test_cond(void)
{
    Gate gate = { .open = false };
    VmThread *thread;

    vm_mutex_init(&gate.lock, VM_RANK_LEAF);
    vm_cond_init(&gate.cond);
    thread = vm_thread_new("opener", open_gate, &gate);
    vm_mutex_lock(&gate.lock);
    gate.self = thread;
    vm_cond_signal(&gate.cond);
    while (!gate.open) {
        g_assert_true(vm_cond_wait_ns(&gate.cond, &gate.lock,
                                      60 * VM_NS_PER_SEC));
    }
    g_assert_true(gate.was_self);
    vm_mutex_unlock(&gate.lock);
    vm_thread_join(thread);
    vm_cond_done(&gate.cond);
    vm_mutex_done(&gate.lock);
}

static void test_cond_timeout(void)
{
    int64_t start_ns;
    VmMutex lock;
    VmCond cond;

    vm_mutex_init(&lock, VM_RANK_LEAF);
    vm_cond_init(&cond);
    vm_mutex_lock(&lock);
    start_ns = vm_clock_ns();
    while (vm_cond_wait_ns(&cond, &lock, 2 * VM_NS_PER_MS)) {
    }
    g_assert_cmpint(vm_clock_ns() - start_ns, >=, 2 * VM_NS_PER_MS);
    while (vm_cond_wait_ns(&cond, &lock, 0)) {
    }
    while (vm_cond_wait_ns(&cond, &lock, -5)) {
    }
    g_assert_true(vm_mutex_is_held(&lock));
    vm_mutex_unlock(&lock);
    g_assert_false(vm_mutex_is_held(&lock));
    vm_cond_done(&cond);
    vm_mutex_done(&lock);
}

/* Every rank in order, released out of order, and again. */
static void test_order_good(void) VM_NO_ANALYSIS
{
    VmMutex locks[VM_RANK__COUNT];

    for (int i = 0; i < VM_RANK__COUNT; i++) {
        vm_mutex_init(&locks[i], (VmLockRank)i);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < VM_RANK__COUNT; i++) {
            vm_mutex_lock(&locks[i]);
        }
        for (int i = 0; i < VM_RANK__COUNT; i += 2) {
            vm_mutex_unlock(&locks[i]);
        }
        for (int i = 1; i < VM_RANK__COUNT; i += 2) {
            vm_mutex_unlock(&locks[i]);
        }
    }
    for (int i = 0; i < VM_RANK__COUNT; i++) {
        vm_mutex_done(&locks[i]);
    }
}

static void expect_abort(const char *pattern)
{
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr(pattern);
}

static void lock_two(VmLockRank first, VmLockRank second)
{
    VmMutex a, b;

    vm_mutex_init(&a, first);
    vm_mutex_init(&b, second);
    vm_mutex_lock(&a);
    vm_mutex_lock(&b);
    vm_mutex_unlock(&b);
    vm_mutex_unlock(&a);
}

static void test_order_bad(void)
{
    if (g_test_subprocess()) {
        lock_two(VM_RANK_IRQ, VM_RANK_DEVICE);
        return;
    }
    expect_abort("*lock order: DEVICE taken while holding IRQ*");
}

static void test_order_equal(void)
{
    if (g_test_subprocess()) {
        lock_two(VM_RANK_DEVICE, VM_RANK_DEVICE);
        return;
    }
    expect_abort("*lock order: DEVICE taken while holding DEVICE*");
}

static void test_unlock_not_held(void) VM_NO_ANALYSIS
{
    if (g_test_subprocess()) {
        VmMutex m;

        vm_mutex_init(&m, VM_RANK_PAGER);
        vm_mutex_unlock(&m);
        return;
    }
    expect_abort("*PAGER unlocked by a thread that does not hold it*");
}

static void test_may_fault(void)
{
    VmMutex m;

    vm_assert_may_fault();
    vm_mutex_init(&m, VM_RANK_VCPU);
    vm_mutex_lock(&m);
    vm_assert_may_fault();
    vm_mutex_unlock(&m);
    vm_mutex_done(&m);
}

static void test_fault_under_lock(void) VM_NO_ANALYSIS
{
    if (g_test_subprocess()) {
        VmMutex m;

        vm_mutex_init(&m, VM_RANK_PAGER);
        vm_mutex_lock(&m);
        vm_assert_may_fault();
        return;
    }
    expect_abort("*guest memory touched while holding PAGER*");
}

static void never_fault(void *opaque)
{
    vm_thread_set_never_faults();
    vm_assert_may_fault();
}

static void test_never_faults(void)
{
    if (g_test_subprocess()) {
        vm_thread_join(vm_thread_new("pager", never_fault, NULL));
        return;
    }
    expect_abort("*thread that may never fault*");
}

static void hold_for_ever(void *opaque) VM_NO_ANALYSIS
{
    vm_mutex_lock(opaque);
}

static void test_ends_holding(void)
{
    if (g_test_subprocess()) {
        VmMutex m;

        vm_mutex_init(&m, VM_RANK_LEAF);
        vm_thread_join(vm_thread_new("careless", hold_for_ever, &m));
        return;
    }
    expect_abort("*thread careless ended holding LEAF*");
}

static void test_rank_names(void)
{
    for (int i = 0; i < VM_RANK__COUNT; i++) {
        g_assert_nonnull(vm_lock_rank_to_string((VmLockRank)i));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/util/thread/thread", test_thread);
    g_test_add_func("/util/thread/kick", test_kick);
    g_test_add_func("/util/thread/cond", test_cond);
    g_test_add_func("/util/thread/cond-timeout", test_cond_timeout);
    g_test_add_func("/util/thread/order-good", test_order_good);
    g_test_add_func("/util/thread/order-bad", test_order_bad);
    g_test_add_func("/util/thread/order-equal", test_order_equal);
    g_test_add_func("/util/thread/unlock-not-held", test_unlock_not_held);
    g_test_add_func("/util/thread/may-fault", test_may_fault);
    g_test_add_func("/util/thread/fault-under-lock", test_fault_under_lock);
    g_test_add_func("/util/thread/never-faults", test_never_faults);
    g_test_add_func("/util/thread/ends-holding", test_ends_holding);
    g_test_add_func("/util/thread/rank-names", test_rank_names);
    return g_test_run();
}
