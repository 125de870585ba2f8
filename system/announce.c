/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Announcements: after a migration the network learns where the cards are.
 *
 * Why several rounds: a switch may not forward yet, or drop a packet. The
 * pause between them grows, to a limit.
 *
 * Threads: started and stopped on the main thread; rounds on the I/O thread,
 * where packets move. vm->nets does not change while that one runs.
 */
#include "system-internal.h"

typedef struct AnnounceSource {
    GSource source;
    Vm *vm;
    VmAnnounceRounds a;
    uint64_t done;
} AnnounceSource;

static gint64 next_pause_us(const AnnounceSource *s)
{
    uint64_t ms = s->a.initial_ms + (s->done - 1) * s->a.step_ms;

    return (gint64)MIN(ms, s->a.max_ms) * 1000;
}

static gboolean announce_dispatch(GSource *source, GSourceFunc callback,
                                  gpointer data)
{
    AnnounceSource *s = (AnnounceSource *)source;

    for (guint i = 0; i < s->vm->nets->len; i++) {
        net_backend_announce(s->vm->nets->pdata[i]);
    }
    if (++s->done >= s->a.rounds) {
        return G_SOURCE_REMOVE;
    }
    g_source_set_ready_time(source,
                            g_source_get_time(source) + next_pause_us(s));
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs announce_funcs = { .dispatch = announce_dispatch };

void vm_announce_start(Vm *vm, const VmAnnounceRounds *a)
{
    AnnounceSource *s;

    vm_announce_stop(vm);
    if (!vm->io || a->rounds == 0) {
        return;
    }
    vm->announcement = g_source_new(&announce_funcs, sizeof(*s));
    s = (AnnounceSource *)vm->announcement;
    s->vm = vm;
    s->a = *a;
    g_source_set_static_name(vm->announcement, "announce");
    g_source_set_ready_time(vm->announcement, 0);
    g_source_attach(vm->announcement, io_thread_context(vm->io));
}

void vm_announce_stop(Vm *vm)
{
    if (vm->announcement) {
        g_source_destroy(vm->announcement);
        g_clear_pointer(&vm->announcement, g_source_unref);
    }
}

void vm_announce_arrival(Vm *vm)
{
    MigrationParameters p;

    if (!vm->arrived) {
        return;
    }
    vm->arrived = false;
    migration_get_parameters(vm->migration, &p);
    vm_announce_start(vm, &(VmAnnounceRounds){
                              .initial_ms = p.announce_initial_ms,
                              .max_ms = p.announce_max_ms,
                              .rounds = p.announce_rounds,
                              .step_ms = p.announce_step_ms,
                          });
}
