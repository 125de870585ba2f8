/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema: what commands and events there are, and of what types.
 *
 * Why from the dispatcher's own tables: management decides by the schema what
 * it may ask for, so that it must not be able to say anything else than the
 * check of arguments does.
 *
 * An entry is an object with "name" and "meta-type"; commands and events keep
 * their names, types get one made of where they are used ("migrate-arg",
 * "migrate-continue-arg-state"). A type of QmpArgument becomes:
 *
 *   str, bool, number      the built-in type of that name
 *   int, size              int
 *   any, object            any
 *   array                  [any]
 *   a|b                    an enum of its own
 *
 * Threads: main.
 */
#include "monitor-internal.h"

#include <string.h>

/* The type of no arguments and of no result. */
#define EMPTY_OBJECT "0"

static json_object *entry_new(json_object *schema, const char *name,
                              const char *meta_type)
{
    json_object *entry = json_object_new_object();

    qmp_put_str(entry, "name", name);
    qmp_put_str(entry, "meta-type", meta_type);
    json_object_array_add(schema, entry);
    return entry;
}

static void add_array(json_object *schema, const char *element)
{
    g_autofree char *name = g_strdup_printf("[%s]", element);
    json_object *entry = entry_new(schema, name, "array");

    qmp_put_str(entry, "element-type", element);
}

static void add_builtins(json_object *schema)
{
    static const struct {
        const char *name, *json_type;
    } builtins[] = {
        { "str", "string" },    { "int", "int" }, { "bool", "boolean" },
        { "number", "number" }, { "any", "value" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(builtins); i++) {
        json_object *entry = entry_new(schema, builtins[i].name, "builtin");

        qmp_put_str(entry, "json-type", builtins[i].json_type);
    }
    add_array(schema, "any");
}

static void add_enum(json_object *schema, const char *name, const char *type)
{
    g_auto(GStrv) words = g_strsplit(type, "|", -1);
    json_object *values = json_object_new_array();

    for (char **word = words; *word; word++) {
        json_object_array_add(values, json_object_new_string(*word));
    }
    json_object_object_add(entry_new(schema, name, "enum"), "values", values);
}

static const char *builtin_of(const char *type)
{
    static const struct {
        const char *type, *name;
    } map[] = {
        { "str", "str" },       { "int", "int" }, { "size", "int" },
        { "bool", "bool" },     { "any", "any" }, { "object", "any" },
        { "number", "number" }, { "array", "[any]" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(map); i++) {
        if (strcmp(map[i].type, type) == 0) {
            return map[i].name;
        }
    }
    return NULL;
}

/* The schema's name of a type; an enum gets an entry, called name. */
static const char *type_of(json_object *schema, const char *type,
                           const char *name)
{
    if (strchr(type, '|')) {
        add_enum(schema, name, type);
        return name;
    }
    g_assert(builtin_of(type));
    return builtin_of(type);
}

static void add_member(json_object *schema, json_object *members,
                       const char *owner, const QmpArgument *a)
{
    g_autofree char *name = g_strdup_printf("%s-%s", owner, a->name);
    json_object *member = json_object_new_object();

    qmp_put_str(member, "name", a->name);
    qmp_put_str(member, "type", type_of(schema, a->type, name));
    if (a->optional) {
        json_object_object_add(member, "default", NULL); /* JSON's null */
    }
    json_object_array_add(members, member);
}

/* name, or EMPTY_OBJECT. */
static const char *add_object(json_object *schema, const char *name,
                              const QmpArgument *table)
{
    json_object *members;

    if (!table || !table->name) {
        return EMPTY_OBJECT;
    }
    members = json_object_new_array();
    for (const QmpArgument *a = table; a->name; a++) {
        add_member(schema, members, name, a);
    }
    json_object_object_add(entry_new(schema, name, "object"), "members",
                           members);
    return name;
}

static char *add_result(json_object *schema, const QmpCommand *c)
{
    g_autofree char *name = g_strdup_printf("%s-ret", c->name);

    if (!c->returns) {
        return g_strdup(EMPTY_OBJECT);
    }
    if (!c->members) {
        return g_strdup(type_of(schema, c->returns, name));
    }
    add_object(schema, name, c->members);
    if (strcmp(c->returns, "array") != 0) {
        return g_steal_pointer(&name);
    }
    add_array(schema, name);
    return g_strdup_printf("[%s]", name);
}

static void add_command(json_object *schema, const QmpCommand *c)
{
    g_autofree char *name = g_strdup_printf("%s-arg", c->name);
    const char *arg = add_object(schema, name, c->arguments);
    g_autofree char *ret = add_result(schema, c);
    json_object *entry = entry_new(schema, c->name, "command");

    qmp_put_str(entry, "arg-type", arg);
    qmp_put_str(entry, "ret-type", ret);
}

static void add_event(json_object *schema, const QmpEventInfo *e)
{
    g_autofree char *name = g_strdup_printf("%s-arg", e->name);
    const char *arg = add_object(schema, name, e->members);

    qmp_put_str(entry_new(schema, e->name, "event"), "arg-type", arg);
}

static int compare_events(gconstpointer a, gconstpointer b)
{
    return strcmp(((const QmpEventInfo *)a)->name,
                  ((const QmpEventInfo *)b)->name);
}

json_object *qmp_schema(const MonitorServer *server)
{
    json_object *schema = json_object_new_array();
    g_autoptr(GList) events = g_hash_table_get_values(server->events);
    json_object *empty;

    add_builtins(schema);
    empty = entry_new(schema, EMPTY_OBJECT, "object");
    json_object_object_add(empty, "members", json_object_new_array());
    for (guint i = 0; i < server->order->len; i++) {
        const QmpSlot *slot = server->order->pdata[i];

        add_command(schema, slot->command);
    }
    events = g_list_sort(events, compare_events);
    for (GList *l = events; l; l = l->next) {
        add_event(schema, l->data);
    }
    return schema;
}
