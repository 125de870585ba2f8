/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: with auto-converge a guest that dirties more than can be sent is
 * slowed down, step by step, until it can be moved; without, it is not. It is
 * slowed down no longer than that, however the migration ends.
 *
 * How: fake VMs, over a real socket. The guest dirties all that is sent, so
 * that what is dirty never fits, until it is throttled enough.
 */
#include "fake-vm.h"
#include "util/clock.h"

#define PAGES 515u
#define CHUNK 16u

static const FakeVmConfig paged = { PAGES, CHUNK, 10 * CHUNK, NULL, 0 };

/* Steps: 50, 80, 95, up to max_percent. calm_percent: see FakeVm. */
static FakePair *pair_new(bool auto_converge, unsigned max_percent,
                          unsigned calm_percent)
{
    FakePair *p = fake_pair_new(&paged, &paged);
    MigrationCapabilities c = { .auto_converge = auto_converge,
                                .pause_before_switchover = true };
    MigrationParameters parameters;

    migration_get_parameters(p->src->mig, &parameters);
    parameters.max_bandwidth_bytes_per_s = 0;
    parameters.switchover_bandwidth_bytes_per_s = 1;
    parameters.cpu_throttle_initial = 50;
    parameters.cpu_throttle_increment = 30;
    parameters.max_cpu_throttle = max_percent;
    g_assert_true(migration_set_parameters(p->src->mig, &parameters, NULL));
    g_assert_true(migration_set_capabilities(p->src->mig, &c, NULL));
    p->src->calm_percent = calm_percent;
    fake_pager_redirty(p->src);
    g_assert_true(migration_listen(p->dst->mig, p->uri, NULL));
    return p;
}

static void pair_start(FakePair *p)
{
    g_assert_true(migration_start(p->src->mig, p->uri, NULL));
}

static void expect_throttles(FakeVm *f, const int *want, guint n)
{
    g_assert_cmpmem(f->throttles->data, f->throttles->len * sizeof(int), want,
                    n * sizeof(int));
}
#define EXPECT_THROTTLES(f, ...)                        \
    expect_throttles((f), (const int[]){ __VA_ARGS__ }, \
                     G_N_ELEMENTS(((const int[]){ __VA_ARGS__ })))

static unsigned throttle_of(FakePair *p)
{
    MigrationInfo info;

    migration_query(p->src->mig, &info);
    return info.cpu_throttle_percent;
}

static void wait_throttle(FakePair *p, unsigned percent)
{
    while (throttle_of(p) != percent) {
        g_assert_cmpint(fake_vm_status(p->src), <, MIGRATION_COMPLETED);
        g_main_context_iteration(NULL, /* may_block= */ TRUE);
    }
}

static void expect_stayed(FakePair *p, MigrationStatus status)
{
    g_assert_cmpint(fake_vm_wait(p->src), ==, status);
    g_assert_true(fake_vm_runs(p->src));
    g_assert_cmpuint(throttle_of(p), ==, 0);
}

/* Unthrottled when it stands still, not before: until then it could write. */
static void test_on(void)
{
    FakePair *p = pair_new(/* auto_converge= */ true, 95, 95);

    pair_start(p);
    fake_vm_wait_status(p->src, MIGRATION_PRE_SWITCHOVER);
    g_assert_cmpuint(throttle_of(p), ==, 0);
    g_assert_true(migration_continue(p->src->mig, MIGRATION_PRE_SWITCHOVER,
                                     NULL));
    g_assert_cmpint(fake_vm_wait(p->src), ==, MIGRATION_COMPLETED);
    g_assert_cmpint(fake_vm_wait(p->dst), ==, MIGRATION_COMPLETED);
    g_assert_true(fake_vm_runs(p->dst));
    g_assert_true(fake_vm_equal(p->src, p->dst));
    EXPECT_THROTTLES(p->src, 50, 80, 95, FAKE_STOP, 0);
    g_assert_cmpuint(throttle_of(p), ==, 0);
    g_assert_cmpuint(p->dst->throttles->len, ==, 0);
    fake_pair_free(p);
}

/* For as long as it takes to step twice with it. */
static void test_off(void)
{
    FakePair *p = pair_new(/* auto_converge= */ false, 95, 50);
    int64_t end_ns = vm_clock_ns() + VM_NS_PER_SEC / 2;

    pair_start(p);
    while (p->src->passes < 50 || vm_clock_ns() < end_ns) {
        g_assert_cmpint(fake_vm_status(p->src), <, MIGRATION_COMPLETED);
        g_main_context_iteration(NULL, /* may_block= */ TRUE);
    }
    migration_cancel(p->src->mig);
    expect_stayed(p, MIGRATION_CANCELLED);
    g_assert_cmpuint(p->src->throttles->len, ==, 0);
    fake_pair_free(p);
}

static void test_cancelled(void)
{
    FakePair *p = pair_new(/* auto_converge= */ true, 50, 0);

    pair_start(p);
    wait_throttle(p, 50);
    migration_cancel(p->src->mig);
    expect_stayed(p, MIGRATION_CANCELLED);
    EXPECT_THROTTLES(p->src, 50, 0);
    fake_pair_free(p);
}

/* The destination goes away in a pass. */
static void test_cut(void)
{
    FakePair *p = pair_new(/* auto_converge= */ true, 80, 0);

    pair_start(p);
    wait_throttle(p, 80);
    g_clear_pointer(&p->dst->mig, migration_free);
    expect_stayed(p, MIGRATION_FAILED);
    EXPECT_THROTTLES(p->src, 50, 80, 0);
    fake_pair_free(p);
}

static void test_stop_fails(void)
{
    FakePair *p = pair_new(/* auto_converge= */ true, 95, 50);

    p->src->fail_stop = true;
    pair_start(p);
    expect_stayed(p, MIGRATION_FAILED);
    EXPECT_THROTTLES(p->src, 50, 0);
    fake_pair_free(p);
}

static void test_switchover_fails(void)
{
    FakePair *p = pair_new(/* auto_converge= */ true, 95, 50);

    p->src->fail_inactivate = true;
    pair_start(p);
    fake_vm_wait_status(p->src, MIGRATION_PRE_SWITCHOVER);
    g_assert_true(migration_continue(p->src->mig, MIGRATION_PRE_SWITCHOVER,
                                     NULL));
    expect_stayed(p, MIGRATION_FAILED);
    EXPECT_THROTTLES(p->src, 50, FAKE_STOP, 0, FAKE_RESUME);
    fake_pair_free(p);
}

/* -- parameters --------------------------------------------------------- */

static void expect_refused(FakePair *p, const MigrationParameters *bad,
                           const char *name, const char *range)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = g_strdup_printf(
        "Parameter '%s' expects an integer in the range of %s", name, range);

    g_assert_false(migration_set_parameters(p->src->mig, bad, &err));
    g_assert_cmpstr(err->message, ==, text);
}

static void test_parameters(void)
{
    FakePair *p = fake_pair_new(&paged, &paged);
    MigrationParameters d, now;

    migration_get_parameters(p->src->mig, &d);
    g_assert_cmpuint(d.throttle_trigger_threshold, ==, 50);
    g_assert_cmpuint(d.cpu_throttle_initial, ==, 20);
    g_assert_cmpuint(d.cpu_throttle_increment, ==, 10);
    g_assert_cmpuint(d.cpu_throttle_tailslow, ==, 0);
    g_assert_cmpuint(d.max_cpu_throttle, ==, 99);
#define REFUSE(member, value, name, range)    \
    do {                                      \
        now = d;                              \
        now.member = (value);                 \
        expect_refused(p, &now, name, range); \
    } while (0)
    REFUSE(throttle_trigger_threshold, 0, "throttle-trigger-threshold",
           "1 to 100");
    REFUSE(throttle_trigger_threshold, 101, "throttle-trigger-threshold",
           "1 to 100");
    REFUSE(cpu_throttle_initial, 0, "cpu-throttle-initial", "1 to 99");
    REFUSE(cpu_throttle_initial, 100, "cpu-throttle-initial", "1 to 99");
    REFUSE(cpu_throttle_increment, 0, "cpu-throttle-increment", "1 to 99");
    REFUSE(cpu_throttle_increment, 100, "cpu-throttle-increment", "1 to 99");
    REFUSE(max_cpu_throttle, 100, "max-cpu-throttle", "1 to 99");
    REFUSE(max_cpu_throttle, 19, "max-cpu-throttle",
           "cpu-throttle-initial to 99");
#undef REFUSE
    now = d;
    now.max_cpu_throttle = now.cpu_throttle_initial = 99;
    g_assert_true(migration_set_parameters(p->src->mig, &now, NULL));
    fake_pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/converge/on", test_on);
    g_test_add_func("/converge/off", test_off);
    g_test_add_func("/converge/cancelled", test_cancelled);
    g_test_add_func("/converge/cut", test_cut);
    g_test_add_func("/converge/stop-fails", test_stop_fails);
    g_test_add_func("/converge/switch-over-fails", test_switchover_fails);
    g_test_add_func("/converge/parameters", test_parameters);
    return g_test_run();
}
