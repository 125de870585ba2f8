/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: commands, dispatch, events.
 *
 * One table of QmpCommand describes every command with its arguments and
 * return members; the dispatcher checks the arguments against it, and
 * query-qmp-schema is made of it. docs/qmp.md, and what commands really
 * return, are checked against the same table.
 *
 * Threads: everything on the main thread, except qmp_event(), which any
 * thread may call (it posts to the main thread, in order).
 */
#ifndef VM_MONITOR_QMP_H
#define VM_MONITOR_QMP_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

#include "chardev/chardev.h"

typedef struct Monitor Monitor;         /* one QMP or HMP session */
typedef struct MonitorServer MonitorServer; /* all of them */

typedef enum QmpErrorClass {
    QMP_ERROR_GENERIC,
    QMP_ERROR_COMMAND_NOT_FOUND,
    QMP_ERROR_DEVICE_NOT_FOUND,
    QMP_ERROR_DEVICE_NOT_ACTIVE,
} QmpErrorClass;
/* Domain whose code is a QmpErrorClass; other domains are generic. */
#define QMP_ERROR (qmp_error_quark())
GQuark qmp_error_quark(void);

typedef struct QmpArgument {
    const char *name;
    const char *type; /* "str", "int", "size", "bool", "number", "any",
                       * an enum "a|b|c", "array" or "object" */
    bool optional;
} QmpArgument;

typedef struct QmpCommand {
    const char *name;
    const QmpArgument *arguments; /* ends with name == NULL; NULL: none */
    /* Fills *ret_value (given to the caller; NULL stands for {}). args is
     * checked against the table, and never NULL. */
    bool (*run)(void *opaque, Monitor *mon, json_object *args,
                json_object **ret_value, GError **errp);
    const char *help;
    /* What *ret_value is, for query-qmp-schema: a type of QmpArgument; NULL:
     * {}. members are those of the "object", or of each object of the
     * "array"; NULL: not told. */
    const char *returns;
    const QmpArgument *members;
} QmpCommand;

/* An event; query-events and docs/qmp.md are checked against the table. */
typedef struct QmpEventInfo {
    const char *name;
    const QmpArgument *members; /* of data; NULL: none */
    const char *help;
} QmpEventInfo;

MonitorServer *monitor_server_new(void);
/* Ends all sessions; their chardevs stay the caller's. */
void monitor_server_free(MonitorServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MonitorServer, monitor_server_free)
/* Tables are borrowed for ever and end with name == NULL. A name that is
 * there twice is our own bug. */
void monitor_server_add_commands(MonitorServer *server,
                                 const QmpCommand *table, void *opaque);
void monitor_server_add_events(MonitorServer *server,
                               const QmpEventInfo *table);
/* What monitor/ brings along itself; added by monitor_server_new(). */
extern const QmpCommand monitor_commands[];
/* A session on the chardev (takes its front end). */
bool monitor_server_add_qmp(MonitorServer *server, Chardev *chr, bool pretty,
                            GError **errp);
bool monitor_server_add_hmp(MonitorServer *server, Chardev *chr,
                            GError **errp);
/* Consumes data (may be NULL). The timestamp is taken now. name is in a
 * table given to monitor_server_add_events(). */
void qmp_event(MonitorServer *server, const char *name,
               json_object *take_data);
/* Runs a command from inside (HMP, tests). */
bool qmp_run(MonitorServer *server, Monitor *mon, const char *command,
             json_object *args, json_object **ret_value, GError **errp);
/* getfd: takes the descriptor of that name out of this session, or -1. */
int monitor_take_fd(Monitor *mon, const char *name);

/*
 * Building replies. Strings from outside (paths, names) need not be UTF-8;
 * what is not becomes U+FFFD. All return or fill new references.
 */
void qmp_put_str(json_object *object, const char *key, const char *value);
void qmp_put_int(json_object *object, const char *key, int64_t value);
void qmp_put_u64(json_object *object, const char *key, uint64_t value);
void qmp_put_bool(json_object *object, const char *key, bool value);
/* Arguments that the table has checked; the default when absent. */
const char *qmp_arg_str(json_object *args, const char *name);
bool qmp_arg_bool(json_object *args, const char *name, bool default_value);
bool qmp_arg_u64(json_object *args, const char *name, uint64_t *ret);

#endif
