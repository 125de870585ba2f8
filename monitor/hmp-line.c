/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Line editing for the human monitor.
 *
 * Why: the terminal is in raw mode (the chardev's), so that somebody has to
 * echo, erase and recall. What a person needs in the first minute: erase
 * (DEL, ^H, ^U, ^W), recall with the arrows, ^C to drop a line.
 *
 * Threads: one owner (main). The callbacks may not free the editor.
 */
#include "monitor-internal.h"

#include <string.h>

#define LINE_MAX_BYTES 4096u
#define HISTORY_MAX 64u

struct HmpLine {
    void (*write)(void *opaque, const char *text, size_t len);
    void (*entered)(void *opaque, const char *line);
    void *opaque;
    GString *text;
    GPtrArray *history;
    guint recall;      /* index into history; its length: a new line */
    unsigned escape;   /* 0 none, 1 after ESC, 2 after ESC [ */
    bool after_return; /* a line feed after it belongs to it */
};

HmpLine *hmp_line_new(void (*write)(void *opaque, const char *text,
                                    size_t len),
                      void (*entered)(void *opaque, const char *line),
                      void *opaque)
{
    HmpLine *l = g_new0(HmpLine, 1);

    l->write = write;
    l->entered = entered;
    l->opaque = opaque;
    l->text = g_string_new(NULL);
    l->history = g_ptr_array_new_with_free_func(g_free);
    return l;
}

void hmp_line_free(HmpLine *l)
{
    if (l) {
        g_string_free(l->text, TRUE);
        g_ptr_array_unref(l->history);
        g_free(l);
    }
}

void hmp_line_reset(HmpLine *l)
{
    g_string_truncate(l->text, 0);
    l->escape = 0;
    l->after_return = false;
    l->recall = l->history->len;
}

static void erase(HmpLine *l, size_t count)
{
    for (; count > 0 && l->text->len > 0; count--) {
        /* A UTF-8 character goes as a whole. */
        gsize len = l->text->len - 1;

        while (len > 0 && ((unsigned char)l->text->str[len] & 0xc0) == 0x80) {
            len--;
        }
        g_string_truncate(l->text, len);
        l->write(l->opaque, "\b \b", 3);
    }
}

static void erase_word(HmpLine *l)
{
    while (l->text->len && l->text->str[l->text->len - 1] == ' ') {
        erase(l, 1);
    }
    while (l->text->len && l->text->str[l->text->len - 1] != ' ') {
        erase(l, 1);
    }
}

static void recall(HmpLine *l, int step)
{
    const char *line;

    if ((step < 0 && l->recall == 0) ||
        (step > 0 && l->recall >= l->history->len)) {
        return;
    }
    l->recall = (guint)((int)l->recall + step);
    erase(l, l->text->len);
    line = l->recall < l->history->len ? l->history->pdata[l->recall] : "";
    g_string_assign(l->text, line);
    l->write(l->opaque, line, strlen(line));
}

static void enter(HmpLine *l)
{
    g_autofree char *line = g_strdup(l->text->str);

    l->write(l->opaque, "\r\n", 2);
    if (line[0] != '\0') {
        g_ptr_array_add(l->history, g_strdup(line));
        if (l->history->len > HISTORY_MAX) {
            g_ptr_array_remove_index(l->history, 0);
        }
    }
    hmp_line_reset(l);
    l->entered(l->opaque, line);
}

/* Returns true if the byte was part of an escape sequence. */
static bool escape_byte(HmpLine *l, uint8_t c)
{
    if (l->escape == 0) {
        l->escape = c == 0x1b;
        return c == 0x1b;
    }
    if (l->escape == 1) {
        l->escape = c == '[' ? 2 : 0;
        return true;
    }
    if (c >= '@' && c <= '~') {
        l->escape = 0;
        if (c == 'A' || c == 'B') {
            recall(l, c == 'A' ? -1 : 1);
        }
    }
    return true;
}

static void control_byte(HmpLine *l, uint8_t c)
{
    switch (c) {
    case 'U' - '@':
        erase(l, l->text->len);
        break;
    case 'W' - '@':
        erase_word(l);
        break;
    case 'C' - '@':
        erase(l, l->text->len);
        l->recall = l->history->len;
        break;
    case '\b':
    case 0x7f:
        erase(l, 1);
        break;
    default:
        break;
    }
}

void hmp_line_feed(HmpLine *l, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];
        bool second = c == '\n' && l->after_return;

        l->after_return = c == '\r';
        if (second || escape_byte(l, c)) {
            continue;
        }
        if (c == '\r' || c == '\n') {
            enter(l);
            l->after_return = c == '\r';
        } else if (c < 0x20 || c == 0x7f) {
            control_byte(l, c);
        } else if (l->text->len < LINE_MAX_BYTES) {
            g_string_append_c(l->text, (char)c);
            l->write(l->opaque, (const char *)&c, 1);
        }
    }
}
