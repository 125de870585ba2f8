/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP parser: messages come out whole whatever the pieces they came in,
 * and after garbage the next line is understood.
 */
#include "monitor-internal.h"

#include <string.h>

/* What came out: one line a message, "!" for an error. */
static void collect(void *opaque, json_object *object, const char *error)
{
    GString *out = opaque;

    if (error) {
        g_assert_true(g_str_has_prefix(error, "JSON parse error"));
        g_string_append(out, "!\n");
        return;
    }
    g_string_append_printf(out, "%s\n",
                           json_object_to_json_string_ext(
                               object, JSON_C_TO_STRING_PLAIN));
    json_object_put(object);
}

static char *parse(const char *text, size_t len, size_t piece)
{
    GString *out = g_string_new(NULL);
    QmpParser *p = qmp_parser_new(collect, out);

    for (size_t i = 0; i < len; i += piece) {
        qmp_parser_feed(p, text + i, MIN(piece, len - i));
    }
    qmp_parser_free(p);
    return g_string_free(out, FALSE);
}

static void check(const char *text, const char *expected)
{
    static const size_t pieces[] = { 1, 2, 3, 7, 4096 };

    for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
        g_autofree char *out = parse(text, strlen(text), pieces[i]);

        g_assert_cmpstr(out, ==, expected);
    }
}

static void test_messages(void)
{
    check("{\"a\":1}\r\n{\"b\":[1,2,{\"c\":\"}{\"}]}\n",
          "{\"a\":1}\n{\"b\":[1,2,{\"c\":\"}{\"}]}\n");
    check("{\"a\":1}{\"b\":2} \n\t {\n\"c\"\n:\n3\n}",
          "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
    check("{\"s\":\"a\\\"b\\\\\"}", "{\"s\":\"a\\\"b\\\\\"}\n");
    check("{\"\xc3\xa4\":\"\xe2\x82\xac\"}",
          "{\"\xc3\xa4\":\"\xe2\x82\xac\"}\n");
    check("   \r\n\r\n", "");
    check("{\"half\":", "");
}

static void test_resync(void)
{
    check("{bad\n{\"a\":1}\n", "!\n{\"a\":1}\n");
    check("garbage {\"x\":1}\n{\"a\":1}\n", "!\n{\"a\":1}\n");
    check("{\"a\":\"unterminated\n{\"b\":2}\n", "!\n{\"b\":2}\n");
    check("{\"a\":1]}\n{\"b\":2}\n", "!\n{\"b\":2}\n");
    check("[1,2]\n\"x\"\n3\n{\"b\":2}\n", "!\n!\n!\n{\"b\":2}\n");
    check("{'a':1}\n{\"b\":2}\n", "!\n{\"b\":2}\n");
    check("{\"a\":1,}\n{\"b\":2}\n", "!\n{\"b\":2}\n");
    check("{\"a\":\"\xff\xfe\"}\n{\"b\":2}\n", "!\n{\"b\":2}\n");
    check("{\"a\":NaN}\n{\"b\":2}\n", "!\n{\"b\":2}\n");
}

static void test_nul(void)
{
    static const char text[] = "{\"a\":1}\0{\"x\":2}\n{\"b\":3}\n";
    g_autofree char *out = parse(text, sizeof(text) - 1, 5);

    g_assert_cmpstr(out, ==, "{\"a\":1}\n!\n{\"b\":3}\n");
}

static void test_depth(void)
{
    g_autoptr(GString) deep = g_string_new("{\"a\":");
    g_autofree char *out = NULL;

    for (int i = 0; i < 10 * QMP_MESSAGE_MAX_DEPTH; i++) {
        g_string_append_c(deep, '[');
    }
    g_string_append(deep, "\n{\"b\":2}\n");
    out = parse(deep->str, deep->len, 64);
    g_assert_cmpstr(out, ==, "!\n{\"b\":2}\n");
}

/* One string longer than a message may be: refused before its end. */
static void test_size(void)
{
    g_autofree char *blank = g_malloc(1 << 20);
    g_autoptr(GString) out = g_string_new(NULL);
    QmpParser *p = qmp_parser_new(collect, out);

    memset(blank, ' ', 1 << 20);
    qmp_parser_feed(p, "{", 1);
    for (unsigned i = 0; i <= QMP_MESSAGE_MAX_BYTES >> 20; i++) {
        qmp_parser_feed(p, blank, 1 << 20);
    }
    g_assert_cmpstr(out->str, ==, "!\n");
    qmp_parser_feed(p, "\n{\"b\":2}", 8);
    g_assert_cmpstr(out->str, ==, "!\n{\"b\":2}\n");
    qmp_parser_free(p);
}

static void test_tokens(void)
{
    static const char part[] = "0,0,0,0,0,0,0,0,";
    g_autoptr(GString) out = g_string_new(NULL);
    QmpParser *p = qmp_parser_new(collect, out);

    qmp_parser_feed(p, "{\"a\":[", 6);
    for (unsigned i = 0; i <= QMP_MESSAGE_MAX_TOKENS / 8; i++) {
        qmp_parser_feed(p, part, sizeof(part) - 1);
    }
    g_assert_cmpstr(out->str, ==, "!\n");
    qmp_parser_free(p);
}

static void test_reset(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    QmpParser *p = qmp_parser_new(collect, out);

    qmp_parser_feed(p, "{\"a\":\"", 6);
    qmp_parser_reset(p);
    qmp_parser_feed(p, "{\"b\":2}", 7);
    g_assert_cmpstr(out->str, ==, "{\"b\":2}\n");
    qmp_parser_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp-parser/messages", test_messages);
    g_test_add_func("/qmp-parser/resync", test_resync);
    g_test_add_func("/qmp-parser/nul", test_nul);
    g_test_add_func("/qmp-parser/depth", test_depth);
    g_test_add_func("/qmp-parser/size", test_size);
    g_test_add_func("/qmp-parser/tokens", test_tokens);
    g_test_add_func("/qmp-parser/reset", test_reset);
    return g_test_run();
}
