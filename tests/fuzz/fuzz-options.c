/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: no command line crashes the parser of options or leaks; what it
 * refuses it refuses with a message; what it takes is within the bounds that
 * the rest of the program relies on.
 *
 * How: the input's first byte says what the rest is: the words of a command
 * line, separated by line feeds; the value of -vmemdirect; or any value of
 * the form key=value, which is written out again and must then mean the same.
 */
#include "../../vmemdirect/config.h"

#include <string.h>

#include "system/options.h"
#include "util/channel.h"
#include "util/keyval.h"
#include "util/size.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WORDS_MAX 64

/* A function that returns ok has left a message, or has not. */
static void check_verdict(bool ok, GError **error)
{
    g_assert_true(ok == (*error == NULL));
    g_assert_true(ok || (*error)->message[0] != '\0');
    g_clear_error(error);
}

/* ---- -vmemdirect ------------------------------------------------------- */

typedef struct Walk {
    VmdConfig *config;
    bool ok;
    GError *error;
} Walk;

static void set_key(const char *key, const char *value, void *opaque)
{
    Walk *w = opaque;

    w->ok = w->ok && vmd_config_set(w->config, key, value, &w->error);
}

static void check_config(const VmdConfig *c)
{
    g_assert_cmpuint(c->chunk_pages, <=, RAM_CHUNK_PAGES_MAX); /* 0: auto */
    g_assert_cmpuint(c->chunk_pages & (c->chunk_pages - 1), ==, 0);
    g_assert_true(c->memory_bytes == 0 || c->memory_bytes >= RAM_PAGE_BYTES);
    g_assert_cmpuint(c->memory_bytes, <=, UINT64_C(1) << 52);
    g_assert_cmpuint(c->aging_interval_ms, >=, 10);
    g_assert_cmpuint(c->aging_interval_ms, <=, 3600000);
    g_assert_cmpuint(c->poll_us, <=, 1000);
    g_assert_cmpuint(c->io_timeout_s, <=, 3600);
    g_assert_true(!c->swap || c->swap[0] != '\0');
}

static void try_config(VmKeyval *kv)
{
    Walk w = { vmd_config_new(), true, NULL };

    vm_keyval_foreach(kv, set_key, &w);
    check_config(w.config);
    check_verdict(w.ok, &w.error);
    vmd_config_free(w.config);
}

/* ---- key=value --------------------------------------------------------- */

static void write_pair(const char *key, const char *value, void *opaque)
{
    GString *out = opaque;

    g_string_append_printf(out, "%s%s=", out->len ? "," : "", key);
    for (const char *p = value; *p; p++) {
        g_string_append(out, *p == ',' ? ",," : (char[]){ *p, '\0' });
    }
}

static char *write_keyval(VmKeyval *kv)
{
    GString *out = g_string_new(NULL);

    vm_keyval_foreach(kv, write_pair, out);
    return g_string_free(out, /* free_segment= */ FALSE);
}

static void read_values(const char *key, const char *value, void *opaque)
{
    VmKeyval *kv = opaque;
    GError *error = NULL;
    uint64_t number;
    bool yes;

    check_verdict(vm_keyval_get_bool(kv, key, false, &yes, &error), &error);
    check_verdict(vm_keyval_get_u64(kv, key, 0, &number, &error), &error);
    check_verdict(vm_keyval_get_size(kv, key, 0, &number, &error), &error);
    check_verdict(vm_channel_address_check(value, &error), &error);
}

static void try_keyval(const char *text)
{
    GError *error = NULL;
    g_autoptr(VmKeyval) kv = vm_keyval_parse("-x", text, "first", &error);
    g_autoptr(VmKeyval) again = NULL;
    g_autofree char *written = NULL, *twice = NULL;

    check_verdict(kv != NULL, &error);
    if (!kv) {
        return;
    }
    written = write_keyval(kv);
    again = vm_keyval_parse("-x", written, NULL, NULL);
    g_assert_nonnull(again);
    twice = write_keyval(again);
    g_assert_cmpstr(written, ==, twice);
    vm_keyval_foreach(kv, read_values, again);
}

/* ---- The command line -------------------------------------------------- */

static void try_command_line(const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, "\n", WORDS_MAX);
    char *argv[1 + WORDS_MAX + 1] = { (char[]){ "vm" } };
    int argc = 1;
    GError *error = NULL;
    g_autoptr(VmOptions) o = NULL;

    for (char **word = words; *word; word++) {
        argv[argc++] = *word;
    }
    o = vm_options_parse(argc, argv, &error);
    check_verdict(o != NULL, &error);
    if (o && o->vmemdirect) {
        try_config(o->vmemdirect);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = NULL;
    g_autoptr(VmKeyval) kv = NULL;

    if (size == 0) {
        return 0;
    }
    text = g_strndup((const char *)data + 1, size - 1); /* up to a NUL */
    switch (data[0] % 3) {
    case 0:
        try_command_line(text);
        break;
    case 1:
        kv = vm_keyval_parse("-vmemdirect", text, NULL, NULL);
        if (kv) {
            try_config(kv);
        }
        break;
    default:
        try_keyval(text);
        break;
    }
    return 0;
}
