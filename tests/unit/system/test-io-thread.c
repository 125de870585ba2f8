/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O thread runs its context, whoever else had it before.
 *
 * How: a real thread; GLib's criticals are fatal in a test.
 *
 * Not under ThreadSanitizer: a GMainContext is all that the two threads have in
 * common, and its lock is in GLib, which is not instrumented.
 */
#include <glib.h>
#include <stdatomic.h>
#include <stdio.h>

#include "../../../system/io-thread.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

static atomic_int calls;

static gboolean count(gpointer opaque)
{
    atomic_fetch_add(&calls, 1);
    return G_SOURCE_REMOVE;
}

static void call(IoThread *t)
{
    int before = atomic_load(&calls);
    GSource *source = g_idle_source_new();

    g_source_set_callback(source, count, NULL, NULL);
    g_source_attach(source, io_thread_context(t));
    g_source_unref(source);
    while (atomic_load(&calls) == before) {
        g_thread_yield();
    }
}

/* Devices that are set up, or reset, use the context on the main thread while
 * nobody runs it: also at the moment when the thread begins to. */
static void test_starts_while_the_context_is_used(void)
{
    IoThread *t = io_thread_new();

    g_assert_true(g_main_context_acquire(io_thread_context(t)));
    io_thread_start(t);
    g_usleep(20000); /* it gets to where it has to wait */
    g_main_context_release(io_thread_context(t));
    call(t);
    io_thread_free(t);
}

static void test_stops_and_starts(void)
{
    IoThread *t = io_thread_new();

    for (int k = 0; k < 100; k++) {
        io_thread_start(t);
        call(t);
        io_thread_stop(t);
    }
    io_thread_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (UNDER_TSAN) {
        printf("1..0 # SKIP GLib's locks are not seen by ThreadSanitizer\n");
        return 0;
    }
    g_test_add_func("/io-thread/starts-while-the-context-is-used",
                    test_starts_while_the_context_is_used);
    g_test_add_func("/io-thread/stops-and-starts", test_stops_and_starts);
    return g_test_run();
}
