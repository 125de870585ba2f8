/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: whatever bytes a QMP client sends, in whatever pieces, each message
 * gets one reply, which is a result or an error; a command sees no argument
 * that is not as its table says; and where the pieces are cut does not matter.
 *
 * How: a session on a chardev of the test's, with the names and tables of all
 * commands that the program has. Behind them stands one function that reads
 * its arguments and returns them. Each input goes in twice, at once and in
 * pieces, and what came out must be the same. The input's first byte: bit 0:
 * without the negotiation; the rest: how it is cut.
 */
#include "../../chardev/chardev-internal.h"
#include "../../monitor/monitor-internal.h"
#include "../../system/system-internal.h"

#include <string.h>

#include "util/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NEGOTIATE "{\"execute\":\"qmp_capabilities\"}"
/* What session_can_receive() says. */
#define RECEIVE_MAX ((size_t)65536)
#define STUBS_MAX 256u

/* ---- Commands ---------------------------------------------------------- */

/* What a command does with an argument whose type the table has promised. */
static void read_argument(const QmpArgument *a, json_object *args)
{
    json_object *v;
    uint64_t number;

    if (!json_object_object_get_ex(args, a->name, &v)) {
        g_assert_true(a->optional);
    } else if (strcmp(a->type, "str") == 0 || strchr(a->type, '|')) {
        g_assert_nonnull(qmp_arg_str(args, a->name));
    } else if (strcmp(a->type, "size") == 0) {
        g_assert_true(qmp_arg_u64(args, a->name, &number));
        g_assert_cmpint(json_object_get_int64(v), >=, 0);
    } else if (strcmp(a->type, "bool") == 0) {
        g_assert_true(json_object_is_type(v, json_type_boolean));
    } else if (strcmp(a->type, "array") == 0) {
        g_assert_true(json_object_is_type(v, json_type_array));
    } else if (strcmp(a->type, "object") == 0) {
        g_assert_true(json_object_is_type(v, json_type_object));
    }
}

static bool run_stub(void *opaque, Monitor *mon, json_object *args,
                     json_object **ret_value, GError **errp)
{
    const QmpCommand *command = opaque;

    for (const QmpArgument *a = command->arguments; a && a->name; a++) {
        read_argument(a, args);
    }
    if (json_object_object_length(args) == 0) {
        return vm_error_set(errp, 0, "%s: not here", command->name);
    }
    *ret_value = json_object_get(args);
    return true;
}

static QmpCommand stubs[STUBS_MAX][2]; /* tables of one */
static unsigned stub_count;

static void make_stubs(void)
{
    static const QmpCommand *const tables[] = {
        vm_qmp_run_commands,        vm_qmp_query_commands,
        vm_qmp_migration_commands,  vm_qmp_vmemdirect_commands,
        vm_qmp_balloon_commands,    vm_qmp_qom_commands,
        vm_qmp_object_commands,
    };

    if (stub_count > 0) {
        return; /* of an earlier input */
    }
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const QmpCommand *c = tables[i]; c->name; c++) {
            g_assert_cmpuint(stub_count, <, STUBS_MAX);
            stubs[stub_count][0] = *c;
            stubs[stub_count++][0].run = run_stub;
        }
    }
}

/* ---- A session --------------------------------------------------------- */

typedef struct Wire {
    Chardev chr;
    GString *out;
} Wire;

static void wire_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    g_string_append_len(((Wire *)chr)->out, (const char *)buf, (gssize)len);
}

static void wire_accept_input(Chardev *chr)
{
}

static const ChardevOps wire_ops = {
    .write = wire_write,
    .accept_input = wire_accept_input,
};

static void wire_feed(Wire *w, const void *data, size_t len)
{
    w->chr.handler->receive(w->chr.opaque, data, len);
}

static MonitorServer *server_new(void)
{
    MonitorServer *server = monitor_server_new();

    for (unsigned i = 0; i < stub_count; i++) {
        monitor_server_add_commands(server, stubs[i], &stubs[i][0]);
    }
    return server;
}

/* 1 to 8, by the seed; seed 0: as much as a monitor takes. */
static size_t next_piece(uint32_t *seed)
{
    if (*seed == 0) {
        return RECEIVE_MAX;
    }
    *seed = *seed * 1664525u + 1013904223u;
    return 1 + (*seed >> 29);
}

/* What the session says. */
static char *converse(const uint8_t *data, size_t size, bool negotiate,
                      uint32_t seed)
{
    MonitorServer *server = server_new();
    Wire *w = g_new0(Wire, 1);
    GString *out = w->out = g_string_new(NULL);

    chardev_init(&w->chr, &wire_ops, "qmp", g_strdup("fuzz"));
    w->chr.opened = true;
    g_assert_true(
        monitor_server_add_qmp(server, &w->chr, /* pretty= */ false, NULL));
    if (negotiate) {
        wire_feed(w, NEGOTIATE, strlen(NEGOTIATE));
    }
    for (size_t at = 0; at < size;) {
        size_t piece = next_piece(&seed), n = MIN(piece, size - at);

        wire_feed(w, data + at, n);
        at += n;
    }
    monitor_server_free(server);
    chardev_free(&w->chr);
    g_assert_cmpuint(strlen(out->str), ==, out->len); /* JSON has no NUL */
    return g_string_free(out, /* free_segment= */ FALSE);
}

/* ---- What must come out ------------------------------------------------ */

static void count_message(void *opaque, json_object *object,
                          const char *error)
{
    json_object_put(object);
    ++*(unsigned *)opaque;
}

static unsigned count_messages(const uint8_t *data, size_t size)
{
    unsigned count = 0;
    QmpParser *p = qmp_parser_new(count_message, &count);

    qmp_parser_feed(p, data, size);
    qmp_parser_free(p);
    return count;
}

static void check_reply(json_object *reply)
{
    json_object *value, *text;

    g_assert_true(json_object_is_type(reply, json_type_object));
    if (json_object_object_get_ex(reply, "return", &value)) {
        g_assert_false(json_object_object_get_ex(reply, "error", NULL));
        return;
    }
    g_assert_true(json_object_object_get_ex(reply, "error", &value));
    g_assert_true(json_object_object_get_ex(value, "class", &text));
    g_assert_true(json_object_object_get_ex(value, "desc", &text));
    g_assert_cmpint(json_object_get_string_len(text), >, 0);
}

static json_object *parse(const char *line)
{
    /* An id or a result as deep as a message is. */
    json_tokener *tokener = json_tokener_new_ex(QMP_MESSAGE_MAX_DEPTH + 4);
    json_object *object =
        json_tokener_parse_ex(tokener, line, (int)strlen(line) + 1);

    json_tokener_free(tokener);
    return object;
}

/* A line each: the greeting, and count replies. */
static void check_output(const char *text, unsigned count)
{
    g_auto(GStrv) lines = g_strsplit(text, "\r\n", -1);

    g_assert_cmpuint(g_strv_length(lines), ==, 1 + count + 1);
    g_assert_cmpstr(lines[1 + count], ==, "");
    for (unsigned i = 0; i <= count; i++) {
        json_object *object = parse(lines[i]);

        if (i == 0) {
            g_assert_true(json_object_object_get_ex(object, "QMP", NULL));
        } else {
            check_reply(object);
        }
        json_object_put(object);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *whole = NULL, *cut = NULL;
    bool negotiate;

    if (size == 0) {
        return 0;
    }
    make_stubs();
    negotiate = !(data[0] & 1);
    whole = converse(data + 1, size - 1, negotiate, 0);
    cut = converse(data + 1, size - 1, negotiate, 1 + (data[0] >> 1));
    g_assert_cmpstr(whole, ==, cut);
    check_output(whole, negotiate + count_messages(data + 1, size - 1));
    return 0;
}
