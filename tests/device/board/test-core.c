/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hw/core: devices in order, shared lines, timers. */
#include "fixture.h"
#include "hw/core/device-timer.h"
#include "util/clock.h"

typedef struct Probe {
    Device dev;
    unsigned *freed;
    unsigned resets, quiesced, resumed, fired;
    DeviceTimer *timer;
} Probe;

static void probe_reset(Device *dev)
{
    ((Probe *)dev)->resets++;
}

static void probe_quiesce(Device *dev)
{
    ((Probe *)dev)->quiesced++;
}

static void probe_resume(Device *dev)
{
    ((Probe *)dev)->resumed++;
}

static void probe_free(Device *dev)
{
    Probe *p = (Probe *)dev;

    /* Reverse order: the last one made goes first. */
    g_assert_cmpuint(*p->freed, ==, 2 - dev->instance);
    (*p->freed)++;
    device_timer_free(p->timer);
    device_done(dev);
    g_free(p);
}

static const DeviceOps probe_ops = {
    probe_reset, probe_quiesce, probe_resume, probe_free,
};

static void test_devices(void)
{
    unsigned freed = 0;
    Probe *p[3];
    Fixture f;

    fixture_init(&f, 0);
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *id = g_strdup_printf("p%u", i);

        p[i] = g_new0(Probe, 1);
        p[i]->freed = &freed;
        device_init(&p[i]->dev, &f.machine, "probe", id, &probe_ops, NULL);
        g_assert_cmpuint(p[i]->dev.instance, ==, i);
    }
    machine_reset(&f.machine);
    machine_quiesce(&f.machine);
    machine_resume(&f.machine);
    g_assert_cmpuint(p[1]->resets, ==, 1);
    g_assert_cmpuint(p[1]->quiesced, ==, 1);
    g_assert_cmpuint(p[1]->resumed, ==, 1);
    g_assert_true(machine_find_device(&f.machine, "p1") == &p[1]->dev);
    g_assert_null(machine_find_device(&f.machine, "p9"));
    fixture_done(&f);
    g_assert_cmpuint(freed, ==, 3);
}

static void test_line_is_an_or(void)
{
    IrqLine *line;
    unsigned a, b;
    Fixture f;

    fixture_init(&f, 0);
    line = irq_line_get(&f.machine, 11);
    g_assert_true(irq_line_get(&f.machine, 11) == line);
    a = irq_line_add_source(line);
    b = irq_line_add_source(line);
    irq_line_set(line, a, true);
    irq_line_set(line, b, true);
    irq_line_set(line, b, true);
    g_assert_cmpuint(f.edges[11], ==, 1);
    irq_line_set(line, a, false);
    g_assert_true(f.level[11]);
    irq_line_set(line, b, false);
    g_assert_false(f.level[11]);
    irq_line_set(line, b, false);
    irq_line_set(line, a, true);
    g_assert_cmpuint(f.edges[11], ==, 2);
    fixture_done(&f);
}

static void probe_fire(Device *dev)
{
    ((Probe *)dev)->fired++;
}

static Probe *timer_probe;

static bool has_fired(Fixture *f)
{
    return timer_probe->fired > 0;
}

static void arm(Probe *p, int64_t in_ns)
{
    vm_mutex_lock(&p->dev.lock);
    device_timer_arm(p->timer, vm_clock_ns() + in_ns);
    vm_mutex_unlock(&p->dev.lock);
}

static void test_timer(void)
{
    unsigned freed = 2;
    Probe *p = g_new0(Probe, 1);
    int64_t start;
    Fixture f;

    fixture_init(&f, 0);
    p->freed = &freed;
    device_init(&p->dev, &f.machine, "probe", NULL, &probe_ops, NULL);
    p->timer = device_timer_new(&p->dev, probe_fire);
    timer_probe = p;
    start = vm_clock_ns();
    arm(p, 20 * VM_NS_PER_MS);
    fixture_run_until(&f, has_fired);
    g_assert_cmpint(vm_clock_ns() - start, >=, 20 * VM_NS_PER_MS);
    fixture_run_pending();
    g_assert_cmpuint(p->fired, ==, 1); /* once */

    arm(p, 0);
    vm_mutex_lock(&p->dev.lock);
    device_timer_disarm(p->timer);
    vm_mutex_unlock(&p->dev.lock);
    fixture_run_pending();
    g_assert_cmpuint(p->fired, ==, 1);
    fixture_done(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/core/devices", test_devices);
    g_test_add_func("/core/line", test_line_is_an_or);
    g_test_add_func("/core/timer", test_timer);
    return g_test_run();
}
