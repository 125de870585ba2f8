/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: negotiation, dispatch, replies, and the monitor's own commands.
 *
 * A session starts in negotiation mode, where qmp_capabilities is the only
 * command; then every command but that one is there. Each request gets one
 * reply, in order, with its id.
 *
 * Threads: main thread.
 */
#include "monitor-internal.h"

#include <string.h>
#include <unistd.h>

#include "util/fd.h"

/* What we answer to; the package names the program. */
#define QMP_MAJOR 7
#define QMP_MINOR 2
#define QMP_MICRO 0
#define QMP_PACKAGE "vmemdirect-0.1.0"
#define SESSION_FDS_MAX 64u

static const char *const class_names[] = {
    [QMP_ERROR_GENERIC] = "GenericError",
    [QMP_ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
    [QMP_ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
    [QMP_ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
};

/* --- Replies ------------------------------------------------------------ */

void qmp_session_send(Monitor *mon, json_object *object)
{
    int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
    size_t len;
    const char *text;

    flags |= mon->pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED
                         : JSON_C_TO_STRING_PLAIN;
    text = json_object_to_json_string_length(object, flags, &len);
    chardev_write(mon->chr, text, len);
    chardev_write(mon->chr, "\r\n", 2);
}

static void send_reply(Monitor *mon, json_object *take_reply, json_object *id)
{
    monitor_flush_events(mon->server);
    if (id) {
        json_object_object_add(take_reply, "id", json_object_get(id));
    }
    if (mon->open && !mon->reset_pending) {
        qmp_session_send(mon, take_reply);
    }
    json_object_put(take_reply);
}

static json_object *error_reply(const GError *err)
{
    json_object *reply = json_object_new_object();
    json_object *body = json_object_new_object();
    unsigned code = QMP_ERROR_GENERIC;

    if (err->domain == QMP_ERROR &&
        (unsigned)err->code < G_N_ELEMENTS(class_names)) {
        code = (unsigned)err->code;
    }
    qmp_put_str(body, "class", class_names[code]);
    qmp_put_str(body, "desc", err->message);
    json_object_object_add(reply, "error", body);
    return reply;
}

json_object *qmp_version(void)
{
    json_object *version = json_object_new_object();
    json_object *qemu = json_object_new_object();

    qmp_put_int(qemu, "micro", QMP_MICRO);
    qmp_put_int(qemu, "minor", QMP_MINOR);
    qmp_put_int(qemu, "major", QMP_MAJOR);
    json_object_object_add(version, "qemu", qemu);
    qmp_put_str(version, "package", QMP_PACKAGE);
    return version;
}

void qmp_greet(Monitor *mon)
{
    json_object *greeting = json_object_new_object();
    json_object *body = json_object_new_object();

    json_object_object_add(body, "version", qmp_version());
    json_object_object_add(body, "capabilities", json_object_new_array());
    json_object_object_add(greeting, "QMP", body);
    qmp_session_send(mon, greeting);
    json_object_put(greeting);
}

/* --- Dispatch ----------------------------------------------------------- */

bool qmp_run(MonitorServer *server, Monitor *mon, const char *command,
             json_object *args, json_object **ret_value, GError **errp)
{
    QmpSlot *slot = g_hash_table_lookup(server->commands, command);
    json_object *value = NULL;
    json_object *empty = NULL;
    bool ok;

    if (!slot) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                    "The command %s has not been found", command);
        return false;
    }
    if (!args) {
        args = empty = json_object_new_object();
    }
    ok = qmp_check_arguments(slot->command->arguments, args, errp) &&
         slot->command->run(slot->opaque, mon, args, &value, errp);
    json_object_put(empty);
    if (!ok) {
        return false;
    }
    *ret_value = value ? value : json_object_new_object();
    return true;
}

static bool bad_request(GError **errp, const char *format, const char *what)
{
    g_autofree char *text = g_strdup_printf("QMP input member '%s' %s", what,
                                            format);

    g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_GENERIC, text);
    return false;
}

/* Checks the envelope: {"execute": name, "arguments": {}, "id": any}. */
static bool parse_request(json_object *request, const char **ret_command,
                          json_object **ret_args, GError **errp)
{
    const char *command = NULL;
    json_object *args = NULL;

    json_object_object_foreach(request, key, value) {
        if (strcmp(key, "execute") == 0) {
            if (!json_object_is_type(value, json_type_string)) {
                return bad_request(errp, "must be a string", key);
            }
            command = json_object_get_string(value);
        } else if (strcmp(key, "arguments") == 0) {
            if (!json_object_is_type(value, json_type_object)) {
                return bad_request(errp, "must be an object", key);
            }
            args = value;
        } else if (strcmp(key, "exec-oob") == 0) {
            return bad_request(errp, "needs the capability 'oob', which this "
                               "monitor does not offer", key);
        } else if (strcmp(key, "id") != 0) {
            return bad_request(errp, "is unexpected", key);
        }
    }
    if (!command) {
        g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                            "QMP input lacks member 'execute'");
        return false;
    }
    *ret_command = command;
    *ret_args = args;
    return true;
}

static bool check_mode(const Monitor *mon, const char *command,
                       GError **errp)
{
    bool negotiating = strcmp(command, "qmp_capabilities") == 0;

    if (negotiating == !mon->negotiated) {
        return true;
    }
    g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                        mon->negotiated
                            ? "Capabilities are negotiated already"
                            : "Expecting capabilities negotiation with "
                              "'qmp_capabilities'");
    return false;
}

void qmp_session_message(void *opaque, json_object *object,
                         const char *error)
{
    Monitor *mon = opaque;
    g_autoptr(GError) err = NULL;
    const char *command;
    json_object *args, *value = NULL, *reply, *id = NULL;

    if (mon->reset_pending) {
        json_object_put(object); /* from a client that has gone */
        return;
    }
    if (error) {
        err = g_error_new_literal(QMP_ERROR, QMP_ERROR_GENERIC, error);
        send_reply(mon, error_reply(err), NULL);
        return;
    }
    json_object_object_get_ex(object, "id", &id);
    if (parse_request(object, &command, &args, &err) &&
        check_mode(mon, command, &err) &&
        qmp_run(mon->server, mon, command, args, &value, &err)) {
        reply = json_object_new_object();
        json_object_object_add(reply, "return", value);
    } else {
        reply = error_reply(err);
    }
    send_reply(mon, reply, id);
    json_object_put(object);
}

/* --- The monitor's own commands ----------------------------------------- */

static bool run_capabilities(void *opaque, Monitor *mon, json_object *args,
                             json_object **ret_value, GError **errp)
{
    json_object *enable;

    if (!mon) {
        g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                            "qmp_capabilities is for QMP sessions");
        return false;
    }
    if (json_object_object_get_ex(args, "enable", &enable) &&
        json_object_array_length(enable) != 0) {
        json_object *first = json_object_array_get_idx(enable, 0);
        const char *name = json_object_get_string(first);

        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Capability '%s' is not available", name ? name : "null");
        return false;
    }
    mon->negotiated = true;
    return true;
}

static bool run_query_version(void *opaque, Monitor *mon, json_object *args,
                              json_object **ret_value, GError **errp)
{
    *ret_value = qmp_version();
    return true;
}

static json_object *named(const char *name)
{
    json_object *entry = json_object_new_object();

    qmp_put_str(entry, "name", name);
    return entry;
}

static bool run_query_commands(void *opaque, Monitor *mon, json_object *args,
                               json_object **ret_value, GError **errp)
{
    MonitorServer *server = opaque;

    *ret_value = json_object_new_array();
    for (guint i = 0; i < server->order->len; i++) {
        QmpSlot *slot = server->order->pdata[i];

        json_object_array_add(*ret_value, named(slot->command->name));
    }
    return true;
}

static bool run_query_events(void *opaque, Monitor *mon, json_object *args,
                             json_object **ret_value, GError **errp)
{
    MonitorServer *server = opaque;
    g_autoptr(GList) names = g_hash_table_get_keys(server->events);

    names = g_list_sort(names, (GCompareFunc)strcmp);
    *ret_value = json_object_new_array();
    for (GList *l = names; l; l = l->next) {
        json_object_array_add(*ret_value, named(l->data));
    }
    return true;
}

static bool run_query_schema(void *opaque, Monitor *mon, json_object *args,
                             json_object **ret_value, GError **errp)
{
    *ret_value = qmp_schema(opaque);
    return true;
}

static bool run_hmp(void *opaque, Monitor *mon, json_object *args,
                    json_object **ret_value, GError **errp)
{
    g_autofree char *text =
        hmp_capture(opaque, qmp_arg_str(args, "command-line"));

    *ret_value = json_object_new_string(text);
    return true;
}

static bool run_getfd(void *opaque, Monitor *mon, json_object *args,
                      json_object **ret_value, GError **errp)
{
    const char *name = qmp_arg_str(args, "fdname");
    vm_autofd fd = mon && mon->chr ? chardev_take_fd(mon->chr) : -1;

    if (fd < 0) {
        g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                            "No file descriptor supplied via SCM_RIGHTS");
        return false;
    }
    if (g_ascii_isdigit(name[0]) || name[0] == '\0') {
        g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                            "Parameter 'fdname' expects a name that does "
                            "not start with a digit");
        return false;
    }
    if (g_hash_table_size(mon->fds) >= SESSION_FDS_MAX) {
        g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                            "Too many file descriptors in this session");
        return false;
    }
    g_hash_table_replace(mon->fds, g_strdup(name),
                         GINT_TO_POINTER(vm_steal_fd(&fd) + 1));
    return true;
}

static bool run_closefd(void *opaque, Monitor *mon, json_object *args,
                        json_object **ret_value, GError **errp)
{
    const char *name = qmp_arg_str(args, "fdname");

    if (!mon || !g_hash_table_remove(mon->fds, name)) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "File descriptor named '%s' not found", name);
        return false;
    }
    return true;
}

static const QmpArgument capabilities_args[] = {
    { "enable", "array", .optional = true },
    { NULL },
};
static const QmpArgument hmp_args[] = {
    { "command-line", "str" },
    { "cpu-index", "int", .optional = true },
    { NULL },
};
static const QmpArgument fdname_args[] = {
    { "fdname", "str" },
    { NULL },
};

static const QmpArgument version_members[] = {
    { "qemu", "object" },
    { "package", "str" },
    { NULL },
};
static const QmpArgument name_members[] = {
    { "name", "str" },
    { NULL },
};
static const QmpArgument schema_members[] = {
    { "name", "str" },
    { "meta-type", "builtin|enum|array|object|command|event" },
    { "json-type", "string|number|int|boolean|value", .optional = true },
    { "values", "array", .optional = true },
    { "members", "array", .optional = true },
    { "element-type", "str", .optional = true },
    { "arg-type", "str", .optional = true },
    { "ret-type", "str", .optional = true },
    { NULL },
};

const QmpCommand monitor_commands[] = {
    { "qmp_capabilities", capabilities_args, run_capabilities,
      "Ends the negotiation; no capability can be enabled." },
    { "query-version", NULL, run_query_version,
      "The version of QEMU whose interface this is, and the package.",
      "object", version_members },
    { "query-commands", NULL, run_query_commands,
      "The names of all commands.", "array", name_members },
    { "query-events", NULL, run_query_events, "The names of all events.",
      "array", name_members },
    { "query-qmp-schema", NULL, run_query_schema,
      "All commands and events with their types.", "array",
      schema_members },
    { "human-monitor-command", hmp_args, run_hmp,
      "Runs a line of the human monitor and returns what it prints.",
      "str" },
    { "getfd", fdname_args, run_getfd,
      "Names the descriptor that came with the command by SCM_RIGHTS." },
    { "closefd", fdname_args, run_closefd, "Closes a descriptor of getfd." },
    { NULL },
};
