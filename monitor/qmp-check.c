/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arguments of a command against its table; and small JSON helpers.
 *
 * Why: a command's run() may rely on what the table says (presence and type
 * of each argument), so that no command parses types by itself.
 *
 * Threads: any; json objects have one owner.
 */
#include "monitor-internal.h"

#include <string.h>

static bool enum_has(const char *type, const char *value)
{
    g_auto(GStrv) words = g_strsplit(type, "|", -1);

    return g_strv_contains((const char *const *)words, value);
}

static bool wrong_type(const QmpArgument *a, const char *expected,
                       GError **errp)
{
    g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                "Invalid parameter type for '%s', expected: %s", a->name,
                expected);
    return false;
}

static bool check_size(const QmpArgument *a, json_object *v, GError **errp)
{
    if (!json_object_is_type(v, json_type_int)) {
        return wrong_type(a, "integer", errp);
    }
    if (json_object_get_int64(v) < 0) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter '%s' expects a value that is not negative",
                    a->name);
        return false;
    }
    return true;
}

static bool check_enum(const QmpArgument *a, json_object *v, GError **errp)
{
    if (!json_object_is_type(v, json_type_string)) {
        return wrong_type(a, "string", errp);
    }
    if (!enum_has(a->type, json_object_get_string(v))) {
        g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter '%s' does not accept value '%s'", a->name,
                    json_object_get_string(v));
        return false;
    }
    return true;
}

static bool check_value(const QmpArgument *a, json_object *v, GError **errp)
{
    static const struct {
        const char *type;
        enum json_type json;
        const char *expected;
    } plain[] = {
        { "str", json_type_string, "string" },
        { "int", json_type_int, "integer" },
        { "bool", json_type_boolean, "boolean" },
        { "object", json_type_object, "object" },
        { "array", json_type_array, "array" },
    };

    if (strchr(a->type, '|')) {
        return check_enum(a, v, errp);
    }
    if (strcmp(a->type, "size") == 0) {
        return check_size(a, v, errp);
    }
    if (strcmp(a->type, "number") == 0) {
        return json_object_is_type(v, json_type_int) ||
               json_object_is_type(v, json_type_double) ||
               wrong_type(a, "number", errp);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (strcmp(a->type, plain[i].type) == 0) {
            return json_object_is_type(v, plain[i].json) ||
                   wrong_type(a, plain[i].expected, errp);
        }
    }
    g_assert_cmpstr(a->type, ==, "any");
    return true;
}

static const QmpArgument *find_argument(const QmpArgument *table,
                                        const char *name)
{
    for (const QmpArgument *a = table; a && a->name; a++) {
        if (strcmp(a->name, name) == 0) {
            return a;
        }
    }
    return NULL;
}

bool qmp_check_arguments(const QmpArgument *table, json_object *args,
                         GError **errp)
{
    for (const QmpArgument *a = table; a && a->name; a++) {
        json_object *v;

        if (!json_object_object_get_ex(args, a->name, &v)) {
            if (a->optional) {
                continue;
            }
            g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                        "Parameter '%s' is missing", a->name);
            return false;
        }
        if (!check_value(a, v, errp)) {
            return false;
        }
    }
    json_object_object_foreach(args, key, unused) {
        (void)unused;
        if (!find_argument(table, key)) {
            g_set_error(errp, QMP_ERROR, QMP_ERROR_GENERIC,
                        "Parameter '%s' is unexpected", key);
            return false;
        }
    }
    return true;
}

void qmp_put_str(json_object *object, const char *key, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);

    json_object_object_add(object, key, json_object_new_string(valid));
}

void qmp_put_int(json_object *object, const char *key, int64_t value)
{
    json_object_object_add(object, key, json_object_new_int64(value));
}

void qmp_put_u64(json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

void qmp_put_bool(json_object *object, const char *key, bool value)
{
    json_object_object_add(object, key, json_object_new_boolean(value));
}

const char *qmp_arg_str(json_object *args, const char *name)
{
    json_object *v;

    return json_object_object_get_ex(args, name, &v)
               ? json_object_get_string(v)
               : NULL;
}

bool qmp_arg_bool(json_object *args, const char *name, bool default_value)
{
    json_object *v;

    return json_object_object_get_ex(args, name, &v)
               ? json_object_get_boolean(v)
               : default_value;
}

bool qmp_arg_u64(json_object *args, const char *name, uint64_t *ret)
{
    json_object *v;

    if (!json_object_object_get_ex(args, name, &v)) {
        return false;
    }
    *ret = json_object_get_uint64(v);
    return true;
}
