/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O thread: a GMainContext of its own for ring kicks, block
 * completions and packets, so that neither vCPUs nor the main thread wait
 * for them.
 *
 * The context lives longer than the thread: devices detach from it after the
 * thread has ended.
 *
 * Threads: new, start, stop and free on the main thread.
 */
#include "io-thread.h"

#include "util/thread.h"

struct IoThread {
    GMainContext *context;
    GMainLoop *loop;
    VmThread *thread;
};

IoThread *io_thread_new(void)
{
    IoThread *t = g_new0(IoThread, 1);

    t->context = g_main_context_new();
    t->loop = g_main_loop_new(t->context, FALSE);
    return t;
}

static void io_thread_run(void *opaque)
{
    IoThread *t = opaque;

    g_main_loop_run(t->loop);
}

void io_thread_start(IoThread *t)
{
    g_assert(!t->thread);
    t->thread = vm_thread_new("io", io_thread_run, t);
}

/* On the thread itself, so that it cannot come before g_main_loop_run(). */
static gboolean quit_loop(gpointer opaque)
{
    IoThread *t = opaque;

    g_main_loop_quit(t->loop);
    return G_SOURCE_REMOVE;
}

void io_thread_stop(IoThread *t)
{
    GSource *source;

    if (!t || !t->thread) {
        return;
    }
    source = g_idle_source_new();
    /* No device may keep the thread from ending. */
    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_source_set_callback(source, quit_loop, t, NULL);
    g_source_attach(source, t->context);
    g_source_unref(source);
    vm_thread_join(g_steal_pointer(&t->thread));
}

void io_thread_free(IoThread *t)
{
    if (!t) {
        return;
    }
    io_thread_stop(t);
    g_main_loop_unref(t->loop);
    g_main_context_unref(t->context);
    g_free(t);
}

GMainContext *io_thread_context(IoThread *t)
{
    return t->context;
}
