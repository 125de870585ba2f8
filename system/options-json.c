/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON arguments of -device, -blockdev, -netdev and -object as key=value.
 *
 * Why: libvirt writes these options in JSON, people write them as key=value;
 * below the parser there shall be one form only.
 *
 * Threads: main.
 */
#include "options-internal.h"

#include <json-c/json.h>
#include <string.h>

#include "util/error.h"

#define JSON_OPTION_MAX_DEPTH 16

static bool flatten(GString *out, const char *prefix, json_object *value,
                    const char *opt, GError **errp);

static bool flatten_member(GString *out, const char *prefix, const char *key,
                           json_object *value, const char *opt, GError **errp)
{
    g_autofree char *path =
        prefix ? g_strdup_printf("%s.%s", prefix, key) : g_strdup(key);

    if (key[0] == '\0' || key[strcspn(key, "=,")] != '\0') {
        return vm_error_set(errp, 0, "%s: bad name '%s' in JSON", opt, key);
    }
    return flatten(out, path, value, opt, errp);
}

static bool flatten_array(GString *out, const char *prefix,
                          json_object *array, const char *opt, GError **errp)
{
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        g_autofree char *key = g_strdup_printf("%zu", i);

        if (!flatten_member(out, prefix, key,
                            json_object_array_get_idx(array, i), opt, errp)) {
            return false;
        }
    }
    return true;
}

static void append_scalar(GString *out, const char *path, const char *value)
{
    g_string_append_printf(out, "%s%s=", out->len ? "," : "", path);
    for (; *value; value++) {
        g_string_append_c(out, *value);
        if (*value == ',') {
            g_string_append_c(out, ',');
        }
    }
}

static bool flatten(GString *out, const char *prefix, json_object *value,
                    const char *opt, GError **errp)
{
    switch (json_object_get_type(value)) {
    case json_type_object: {
        json_object_object_foreach(value, key, child) {
            if (!flatten_member(out, prefix, key, child, opt, errp)) {
                return false;
            }
        }
        return true;
    }
    case json_type_array:
        return flatten_array(out, prefix, value, opt, errp);
    case json_type_boolean:
        append_scalar(out, prefix, json_object_get_boolean(value) ? "on"
                                                                  : "off");
        return true;
    case json_type_null:
        return vm_error_set(errp, 0, "%s: '%s' is null", opt, prefix);
    default:
        append_scalar(out, prefix, json_object_get_string(value));
        return true;
    }
}

char *vm_options_flatten_json(const char *option, const char *json,
                              GError **errp)
{
    json_tokener *tokener = json_tokener_new_ex(JSON_OPTION_MAX_DEPTH);
    g_autoptr(GString) out = g_string_new(NULL);
    json_object *object;
    bool ok;

    json_tokener_set_flags(tokener,
                           JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    /* With its NUL: that ends the text. */
    object = json_tokener_parse_ex(tokener, json,
                                   (int)MIN(strlen(json), G_MAXINT - 1) + 1);
    if (!object || !json_object_is_type(object, json_type_object)) {
        enum json_tokener_error error = json_tokener_get_error(tokener);

        vm_error_set(errp, 0, "%s: JSON parse error, %s", option,
                     error == json_tokener_success
                         ? "expecting an object"
                         : json_tokener_error_desc(error));
        ok = false;
    } else {
        ok = flatten(out, NULL, object, option, errp);
    }
    json_object_put(object);
    json_tokener_free(tokener);
    return ok ? g_strdup(out->str) : NULL;
}
