/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of monitor/ share: the session and the server.
 *
 * Threads: main thread, but for the event queue (its own lock).
 */
#ifndef VM_MONITOR_MONITOR_INTERNAL_H
#define VM_MONITOR_MONITOR_INTERNAL_H

#include "monitor/qmp.h"
#include "util/thread.h"

/* --- qmp-parser.c: bytes to JSON objects ------------------------------ */

#define QMP_MESSAGE_MAX_BYTES (64u << 20)
#define QMP_MESSAGE_MAX_DEPTH 128
/* Commas and brackets of one message: bounds what it costs in memory. */
#define QMP_MESSAGE_MAX_TOKENS (2u << 20)

typedef struct QmpParser QmpParser;

/* object is given to the callee, or NULL and error says why. */
typedef void QmpParserMessage(void *opaque, json_object *object,
                              const char *error);

QmpParser *qmp_parser_new(QmpParserMessage *message, void *opaque);
void qmp_parser_free(QmpParser *p);
/* message() is called for each message that ends within buf. */
void qmp_parser_feed(QmpParser *p, const void *buf, size_t len);
/* Forgets a half-received message. */
void qmp_parser_reset(QmpParser *p);

/* --- qmp-check.c ------------------------------------------------------- */

bool qmp_check_arguments(const QmpArgument *table, json_object *args,
                         GError **errp);

/* --- qmp-schema.c ------------------------------------------------------ */

/* What query-qmp-schema returns; a new reference. */
json_object *qmp_schema(const MonitorServer *server);

/* --- hmp-line.c: line editing ------------------------------------------ */

typedef struct HmpLine HmpLine;
HmpLine *hmp_line_new(void (*write)(void *opaque, const char *text,
                                    size_t len),
                      void (*entered)(void *opaque, const char *line),
                      void *opaque);
void hmp_line_free(HmpLine *l);
void hmp_line_reset(HmpLine *l);
void hmp_line_feed(HmpLine *l, const uint8_t *buf, size_t len);

/* --- sessions and server ----------------------------------------------- */

struct Monitor {
    /* Immutable. */
    MonitorServer *server;
    Chardev *chr; /* NULL: human-monitor-command's, output goes to capture */
    bool is_hmp;
    bool pretty;

    /* Main thread only. */
    bool open;
    bool negotiated;     /* QMP: qmp_capabilities was accepted */
    unsigned busy;       /* inside receive(): a reset has to wait */
    bool reset_pending;
    QmpParser *parser;   /* QMP */
    GHashTable *fds;     /* name -> fd + 1, of getfd */
    HmpLine *line;       /* HMP */
    guint resume_source; /* HMP: a command goes on in the background */
    GString *capture;
};

struct MonitorServer {
    /* Immutable after the tables are added. */
    pthread_t main_thread;
    GHashTable *commands; /* name -> QmpSlot */
    GPtrArray *order;     /* QmpSlot in order of the tables */
    GHashTable *events;   /* name -> const QmpEventInfo * */

    /* Main thread only. */
    GPtrArray *sessions;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    GQueue pending; /* json_object *, events not yet delivered */
    GSource *wake;  /* attached while pending may be filled by others */
};

typedef struct QmpSlot {
    const QmpCommand *command;
    void *opaque;
} QmpSlot;

void monitor_printf(Monitor *mon, const char *format, ...)
    G_GNUC_PRINTF(2, 3);
/* Runs one HMP line; output by monitor_printf(). */
void hmp_run_line(Monitor *mon, const char *line);
char *hmp_capture(MonitorServer *server, const char *line); /* g_free() */
void hmp_banner(Monitor *mon);
void hmp_prompt(Monitor *mon);
void qmp_greet(Monitor *mon);
json_object *qmp_version(void);
/* Delivers what qmp_event() queued. */
void monitor_flush_events(MonitorServer *server);
void qmp_session_message(void *opaque, json_object *object,
                         const char *error);
void qmp_session_send(Monitor *mon, json_object *object);

#endif
