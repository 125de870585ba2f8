/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "value,key=val,key=val" as options spell it.
 *
 * Why: every option of the command line has this form, and an option that is
 * not understood must be refused, so each pair remembers whether anybody
 * asked for it. Pairs are kept in order of appearance with repetitions:
 * options such as hostfwd= may be given several times.
 * Threads: one owner.
 */
#include "util/keyval.h"
#include "util/error.h"
#include "util/size.h"

#include <string.h>

typedef struct Pair {
    char *key;
    char *value;
    bool used;
} Pair;

struct VmKeyval {
    char *option;
    GPtrArray *pairs; /* of Pair */
};

static void pair_free(gpointer opaque)
{
    Pair *pair = opaque;

    g_free(pair->key);
    g_free(pair->value);
    g_free(pair);
}

static void keyval_add(VmKeyval *kv, char *take_key, char *take_value)
{
    Pair *pair = g_new0(Pair, 1);

    pair->key = take_key;
    pair->value = take_value;
    g_ptr_array_add(kv->pairs, pair);
}

/*
 * Copies the value at *at up to a single comma or the end, ",," becoming
 * ",", and moves *at behind the comma.
 */
static char *scan_value(const char **at)
{
    GString *value = g_string_new(NULL);
    const char *p = *at;

    for (; *p; p++) {
        if (*p == ',') {
            p++;
            if (*p != ',') {
                break;
            }
        }
        g_string_append_c(value, *p);
    }
    *at = p;
    return g_string_free(value, /* free_segment= */ FALSE);
}

static bool parse_pair(VmKeyval *kv, const char **at, const char *implied_key,
                       GError **errp)
{
    size_t len = strcspn(*at, "=,");
    bool has_value = (*at)[len] == '=';
    g_autofree char *key = NULL;

    if (!has_value && implied_key) {
        keyval_add(kv, g_strdup(implied_key), scan_value(at));
        return true;
    }
    if (len == 0) {
        return vm_error_set(errp, 0, "%s: parameter without a name at '%s'",
                            kv->option, *at);
    }
    key = g_strndup(*at, len);
    *at += len;
    if (has_value) {
        (*at)++;
        keyval_add(kv, g_steal_pointer(&key), scan_value(at));
        return true;
    }
    if (**at == ',') {
        (*at)++;
    }
    keyval_add(kv, g_steal_pointer(&key), g_strdup("on"));
    return true;
}

VmKeyval *vm_keyval_parse(const char *option, const char *text,
                          const char *implied_key, GError **errp)
{
    g_autoptr(VmKeyval) kv = g_new0(VmKeyval, 1);
    const char *at = text;

    kv->option = g_strdup(option);
    kv->pairs = g_ptr_array_new_with_free_func(pair_free);
    while (*at) {
        if (!parse_pair(kv, &at, at == text ? implied_key : NULL, errp)) {
            return NULL;
        }
    }
    return g_steal_pointer(&kv);
}

void vm_keyval_free(VmKeyval *kv)
{
    if (!kv) {
        return;
    }
    g_ptr_array_unref(kv->pairs);
    g_free(kv->option);
    g_free(kv);
}

const char *vm_keyval_get(VmKeyval *kv, const char *key)
{
    const char *value = NULL;

    for (guint i = 0; i < kv->pairs->len; i++) {
        Pair *pair = g_ptr_array_index(kv->pairs, i);

        if (strcmp(pair->key, key) == 0) {
            pair->used = true;
            value = pair->value;
        }
    }
    return value;
}

static bool text_is_one_of(const char *text, const char *const *words)
{
    return g_strv_contains(words, text);
}

bool vm_keyval_get_bool(VmKeyval *kv, const char *key, bool default_value,
                        bool *ret, GError **errp)
{
    static const char *const yes[] = { "on", "yes", "true", "y", NULL };
    static const char *const no[] = { "off", "no", "false", "n", NULL };
    const char *value = vm_keyval_get(kv, key);

    if (!value) {
        *ret = default_value;
    } else if (text_is_one_of(value, yes)) {
        *ret = true;
    } else if (text_is_one_of(value, no)) {
        *ret = false;
    } else {
        return vm_error_set(errp, 0, "%s: Parameter '%s' expects 'on' or "
                            "'off', not '%s'", kv->option, key, value);
    }
    return true;
}

bool vm_keyval_get_u64(VmKeyval *kv, const char *key, uint64_t default_value,
                       uint64_t *ret, GError **errp)
{
    const char *value = vm_keyval_get(kv, key);
    g_autofree char *what = NULL;

    if (!value) {
        *ret = default_value;
        return true;
    }
    what = g_strdup_printf("%s: Parameter '%s'", kv->option, key);
    return vm_u64_parse(value, what, ret, errp);
}

bool vm_keyval_get_size(VmKeyval *kv, const char *key, uint64_t default_value,
                        uint64_t *ret, GError **errp)
{
    const char *value = vm_keyval_get(kv, key);
    g_autofree char *what = NULL;

    if (!value) {
        *ret = default_value;
        return true;
    }
    what = g_strdup_printf("%s: Parameter '%s'", kv->option, key);
    return vm_size_parse(value, /* default_unit= */ 1, what, ret, errp);
}

void vm_keyval_set(VmKeyval *kv, const char *key, const char *value)
{
    keyval_add(kv, g_strdup(key), g_strdup(value));
}

void vm_keyval_foreach(VmKeyval *kv,
                       void (*fn)(const char *key, const char *value,
                                  void *opaque),
                       void *opaque)
{
    for (guint i = 0; i < kv->pairs->len; i++) {
        Pair *pair = g_ptr_array_index(kv->pairs, i);

        pair->used = true;
        fn(pair->key, pair->value, opaque);
    }
}

bool vm_keyval_check_all_used(VmKeyval *kv, GError **errp)
{
    for (guint i = 0; i < kv->pairs->len; i++) {
        const Pair *pair = g_ptr_array_index(kv->pairs, i);

        if (!pair->used) {
            return vm_error_set(errp, 0, "%s: unknown parameter '%s'",
                                kv->option, pair->key);
        }
    }
    return true;
}
