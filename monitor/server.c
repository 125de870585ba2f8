/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor server: its tables, its sessions, its events.
 *
 * Why: several clients may talk to one VM at once, each with its own
 * negotiation and descriptors, and events go to all of them in one order.
 *
 * Invariants:
 *   (1) Events reach every negotiated QMP session in the order in which
 *       qmp_event() was called.
 *   (2) An event raised while a command runs is sent before its reply.
 *   (3) A session is never torn down below its own receive(): a reset waits
 *       in reset_pending until busy is 0.
 *
 * Threads: main thread, but for qmp_event(). Lock: server->lock (leaf),
 * around the queue of pending events only.
 */
#include "monitor-internal.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

/* Events that wait for the main thread; older ones go first to the bin. */
#define EVENTS_PENDING_MAX 1024u

GQuark qmp_error_quark(void)
{
    return g_quark_from_static_string("qmp-error");
}

/* --- Server ------------------------------------------------------------- */

static gboolean events_dispatch(gpointer opaque)
{
    monitor_flush_events(opaque);
    return G_SOURCE_CONTINUE;
}

static gboolean wake_dispatch(GSource *source, GSourceFunc fn, gpointer data)
{
    g_source_set_ready_time(source, -1);
    return fn(data);
}

MonitorServer *monitor_server_new(void)
{
    static GSourceFuncs funcs = { .dispatch = wake_dispatch };
    MonitorServer *s = g_new0(MonitorServer, 1);

    s->main_thread = pthread_self();
    s->commands = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, NULL);
    s->order = g_ptr_array_new_with_free_func(g_free);
    s->events = g_hash_table_new(g_str_hash, g_str_equal);
    s->sessions = g_ptr_array_new();
    vm_mutex_init(&s->lock, VM_RANK_LEAF);
    g_queue_init(&s->pending);
    s->wake = g_source_new(&funcs, sizeof(GSource));
    g_source_set_callback(s->wake, events_dispatch, s, NULL);
    g_source_attach(s->wake, NULL);
    monitor_server_add_commands(s, monitor_commands, s);
    return s;
}

void monitor_server_add_commands(MonitorServer *server,
                                 const QmpCommand *table, void *opaque)
{
    for (const QmpCommand *c = table; c->name; c++) {
        QmpSlot *slot = g_new0(QmpSlot, 1);

        slot->command = c;
        slot->opaque = opaque;
        g_ptr_array_add(server->order, slot);
        g_assert(g_hash_table_insert(server->commands, (char *)c->name,
                                     slot));
    }
}

void monitor_server_add_events(MonitorServer *server,
                               const QmpEventInfo *table)
{
    for (const QmpEventInfo *e = table; e->name; e++) {
        g_assert(g_hash_table_insert(server->events, (char *)e->name,
                                     (void *)e));
    }
}

/* --- Sessions ----------------------------------------------------------- */

static void close_fd_entry(gpointer value)
{
    (void)close(GPOINTER_TO_INT(value) - 1); /* the session's own copy */
}

static void session_reset(Monitor *mon)
{
    mon->reset_pending = false;
    mon->negotiated = false;
    g_hash_table_remove_all(mon->fds);
    if (mon->resume_source) {
        g_source_remove(mon->resume_source);
        mon->resume_source = 0;
    }
    if (mon->parser) {
        qmp_parser_reset(mon->parser);
    }
    if (mon->line) {
        hmp_line_reset(mon->line);
    }
}

static size_t session_can_receive(void *opaque)
{
    Monitor *mon = opaque;

    return mon->resume_source ? 0 : 65536;
}

static void session_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Monitor *mon = opaque;

    mon->busy++;
    if (mon->is_hmp) {
        hmp_line_feed(mon->line, buf, len);
    } else {
        qmp_parser_feed(mon->parser, buf, len);
    }
    mon->busy--;
    if (mon->reset_pending && mon->busy == 0) {
        session_reset(mon); /* (3) */
    }
}

static void session_event(void *opaque, ChardevEvent event)
{
    Monitor *mon = opaque;

    mon->open = event == CHARDEV_OPENED;
    if (mon->busy) {
        mon->reset_pending = true;
    } else {
        session_reset(mon);
    }
    if (!mon->open) {
        return;
    }
    if (mon->is_hmp) {
        hmp_banner(mon);
    } else {
        qmp_greet(mon);
    }
}

static void session_free(Monitor *mon)
{
    if (mon->chr) {
        chardev_detach(mon->chr);
    }
    session_reset(mon);
    qmp_parser_free(mon->parser);
    hmp_line_free(mon->line);
    g_hash_table_unref(mon->fds);
    g_free(mon);
}

static void hmp_line_write(void *opaque, const char *text, size_t len)
{
    Monitor *mon = opaque;

    chardev_write(mon->chr, text, len);
}

static void hmp_line_entered(void *opaque, const char *line)
{
    Monitor *mon = opaque;

    hmp_run_line(mon, line);
    if (!mon->resume_source) {
        hmp_prompt(mon);
    }
}

static bool session_add(MonitorServer *server, Chardev *chr, bool is_hmp,
                        bool pretty, GError **errp)
{
    static const ChardevHandler handler = {
        .can_receive = session_can_receive,
        .receive = session_receive,
        .event = session_event,
    };
    Monitor *mon = g_new0(Monitor, 1);

    mon->server = server;
    mon->is_hmp = is_hmp;
    mon->pretty = pretty;
    mon->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                     close_fd_entry);
    if (is_hmp) {
        mon->line = hmp_line_new(hmp_line_write, hmp_line_entered, mon);
    } else {
        mon->parser = qmp_parser_new(qmp_session_message, mon);
    }
    /* Before attaching: OPENED may come from inside of it. */
    mon->chr = chr;
    if (!chardev_attach(chr, &handler, mon, errp)) {
        mon->chr = NULL;
        session_free(mon);
        return false;
    }
    g_ptr_array_add(server->sessions, mon);
    return true;
}

bool monitor_server_add_qmp(MonitorServer *server, Chardev *chr, bool pretty,
                            GError **errp)
{
    return session_add(server, chr, /* is_hmp= */ false, pretty, errp);
}

bool monitor_server_add_hmp(MonitorServer *server, Chardev *chr,
                            GError **errp)
{
    return session_add(server, chr, /* is_hmp= */ true, false, errp);
}

static void event_put(gpointer event)
{
    json_object_put(event);
}

void monitor_server_free(MonitorServer *server)
{
    if (!server) {
        return;
    }
    for (guint i = 0; i < server->sessions->len; i++) {
        session_free(server->sessions->pdata[i]);
    }
    g_ptr_array_unref(server->sessions);
    g_source_destroy(server->wake);
    g_source_unref(server->wake);
    g_queue_clear_full(&server->pending, event_put);
    vm_mutex_done(&server->lock);
    g_hash_table_unref(server->commands);
    g_ptr_array_unref(server->order);
    g_hash_table_unref(server->events);
    g_free(server);
}

int monitor_take_fd(Monitor *mon, const char *name)
{
    gpointer value = mon ? g_hash_table_lookup(mon->fds, name) : NULL;
    g_autofree char *key = NULL;

    if (!value) {
        return -1;
    }
    g_hash_table_steal_extended(mon->fds, name, (gpointer *)&key, NULL);
    return GPOINTER_TO_INT(value) - 1;
}

void monitor_printf(Monitor *mon, const char *format, ...)
{
    g_autofree char *text = NULL;
    g_autoptr(GString) wire = g_string_new(NULL);
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    for (const char *p = text; *p; p++) {
        if (*p == '\n') {
            g_string_append_c(wire, '\r');
        }
        g_string_append_c(wire, *p);
    }
    if (mon->capture) {
        g_string_append_len(mon->capture, wire->str, (gssize)wire->len);
    } else {
        chardev_write(mon->chr, wire->str, wire->len);
    }
}

/* --- Events ------------------------------------------------------------- */

static json_object *event_new(const char *name, json_object *take_data)
{
    json_object *event = json_object_new_object();
    json_object *stamp = json_object_new_object();
    int64_t now_us = vm_clock_real_ns() / VM_NS_PER_US;

    qmp_put_int(stamp, "seconds", now_us / 1000000);
    qmp_put_int(stamp, "microseconds", now_us % 1000000);
    json_object_object_add(event, "timestamp", stamp);
    qmp_put_str(event, "event", name);
    if (take_data) {
        json_object_object_add(event, "data", take_data);
    }
    return event;
}

void qmp_event(MonitorServer *server, const char *name,
               json_object *take_data)
{
    json_object *event = event_new(name, take_data);
    json_object *dropped = NULL;

    g_assert(g_hash_table_contains(server->events, name));
    vm_mutex_lock(&server->lock);
    g_queue_push_tail(&server->pending, event);
    if (server->pending.length > EVENTS_PENDING_MAX) {
        dropped = g_queue_pop_head(&server->pending);
    }
    vm_mutex_unlock(&server->lock);
    json_object_put(dropped);
    if (pthread_equal(server->main_thread, pthread_self())) {
        monitor_flush_events(server);
    } else {
        g_source_set_ready_time(server->wake, 0);
    }
}

static json_object *events_pop(MonitorServer *server)
{
    json_object *event;

    vm_mutex_lock(&server->lock);
    event = g_queue_pop_head(&server->pending);
    vm_mutex_unlock(&server->lock);
    return event;
}

void monitor_flush_events(MonitorServer *server)
{
    json_object *event;

    while ((event = events_pop(server))) {
        for (guint i = 0; i < server->sessions->len; i++) {
            Monitor *mon = server->sessions->pdata[i];

            if (mon->open && mon->negotiated && !mon->reset_pending) {
                qmp_session_send(mon, event);
            }
        }
        json_object_put(event);
    }
}
