/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Golden files: text that can be read and compared by eye. See golden.h.
 */
#include "golden.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static char *golden_path(const char *name)
{
    return g_test_build_filename(G_TEST_DIST, "golden", name, NULL);
}

/* Text: bytes in hex, "xx*n" for a run of n, "#" to the end of a line. */
GByteArray *golden_read(const char *name)
{
    g_autofree char *path = golden_path(name);
    g_autofree char *text = NULL;
    GByteArray *out = g_byte_array_new();
    g_auto(GStrv) lines = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) words = NULL;

        if (strchr(*line, '#')) {
            *strchr(*line, '#') = '\0';
        }
        words = g_strsplit(*line, " ", -1);
        for (char **w = words; *w; w++) {
            char *end;
            uint8_t byte;
            guint64 times = 1;

            if (!**w) {
                continue;
            }
            byte = (uint8_t)g_ascii_strtoull(*w, &end, 16);
            if (*end == '*') {
                times = g_ascii_strtoull(end + 1, &end, 10);
            }
            g_assert_cmpint(*end, ==, '\0');
            for (guint64 i = 0; i < times; i++) {
                g_byte_array_append(out, &byte, 1);
            }
        }
    }
    return out;
}

static size_t run_length(const GByteArray *bytes, size_t at)
{
    size_t end = at;

    while (end < bytes->len && bytes->data[end] == bytes->data[at]) {
        end++;
    }
    return end - at;
}

static void golden_write(const char *name, const GByteArray *bytes)
{
    g_autofree char *path = golden_path(name);
    g_autoptr(GString) text = g_string_new("# See golden.h.");
    unsigned column = 16;

    for (size_t at = 0; at < bytes->len;) {
        size_t run = run_length(bytes, at);
        bool head = bytes->len - at >= 4 &&
                    memcmp(bytes->data + at, "VDMR", 4) == 0;

        run = run >= 64 ? run : 1;
        if (head) {
            g_string_append_c(text, '\n');
        }
        if (head || run > 1 || column >= 16) {
            g_string_append_c(text, '\n');
            column = 0;
        }
        g_string_append_printf(text, "%s%02x", column ? " " : "",
                               bytes->data[at]);
        if (run > 1) {
            g_string_append_printf(text, "*%zu", run);
            column = 15;
        }
        column++;
        at += run;
    }
    g_string_append_c(text, '\n');
    g_assert_true(g_file_set_contents(path, text->str, -1, NULL));
}

void golden_compare(const char *name, const GByteArray *bytes)
{
    g_autoptr(GByteArray) want = NULL;

    if (g_getenv("VM_TEST_WRITE_GOLDEN")) {
        golden_write(name, bytes);
    }
    want = golden_read(name);
    for (size_t i = 0; i < MIN(want->len, bytes->len); i++) {
        if (want->data[i] != bytes->data[i]) {
            g_test_message("%s: byte %zu: %02x, want %02x", name, i,
                           bytes->data[i], want->data[i]);
            g_test_fail();
            return;
        }
    }
    g_assert_cmpuint(bytes->len, ==, want->len);
}
