/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream of bytes to JSON objects.
 *
 * Why: QMP has no framing: messages follow each other with any white space
 * in between, and arrive in pieces. json-c's tokener takes pieces, but has
 * to be kept from three things: a message without end, one that costs far
 * more memory than its bytes, and an unterminated string that swallows the
 * next commands. So a scanner runs ahead of it byte by byte.
 *
 * Invariants:
 *   (1) The tokener has seen exactly the bytes that the scanner passed since
 *       the message's opening brace.
 *   (2) After an error nothing is parsed until the next line feed.
 *
 * Threads: one owner. The callback may not free the parser.
 */
#include "monitor-internal.h"

#include <string.h>

struct QmpParser {
    QmpParserMessage *message;
    void *opaque;
    json_tokener *tokener;

    /* The scanner. */
    bool idle;      /* between messages */
    bool skipping;  /* (2) */
    bool in_string;
    bool escaped;
    unsigned depth;
    size_t bytes, tokens;
};

typedef enum ScanEnd {
    SCAN_MORE,  /* ran out of bytes */
    SCAN_END,   /* the closing brace is the last byte passed */
    SCAN_BAD,   /* a byte that json-c would let through */
    SCAN_LIMIT, /* too large, deep or rich */
} ScanEnd;

QmpParser *qmp_parser_new(QmpParserMessage *message, void *opaque)
{
    QmpParser *p = g_new0(QmpParser, 1);

    p->message = message;
    p->opaque = opaque;
    p->tokener = json_tokener_new_ex(QMP_MESSAGE_MAX_DEPTH + 1);
    g_assert(p->tokener != NULL);
    json_tokener_set_flags(p->tokener, JSON_TOKENER_STRICT |
                                           JSON_TOKENER_ALLOW_TRAILING_CHARS);
    p->idle = true;
    return p;
}

void qmp_parser_free(QmpParser *p)
{
    if (p) {
        json_tokener_free(p->tokener);
        g_free(p);
    }
}

void qmp_parser_reset(QmpParser *p)
{
    json_tokener_reset(p->tokener);
    p->idle = true;
    p->skipping = false;
    p->in_string = p->escaped = false;
    p->depth = 0;
    p->bytes = p->tokens = 0;
}

static void parser_fail(QmpParser *p, const char *error)
{
    qmp_parser_reset(p);
    p->skipping = true;
    p->message(p->opaque, NULL, error);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* One byte outside of strings. */
static ScanEnd scan_plain(QmpParser *p, char c)
{
    switch (c) {
    case '\'': /* json-c takes it for a quote around names */
    case 'N':  /* NaN, Infinity: not JSON, but json-c's */
    case 'I':
        return SCAN_BAD;
    case '"':
        p->in_string = true;
        return SCAN_MORE;
    case '{':
    case '[':
        p->depth++;
        p->tokens++;
        return p->depth > QMP_MESSAGE_MAX_DEPTH ? SCAN_LIMIT : SCAN_MORE;
    case '}':
    case ']':
        p->depth--; /* a mismatch is the tokener's to find */
        return p->depth == 0 ? SCAN_END : SCAN_MORE;
    case ',':
        p->tokens++;
        return p->tokens > QMP_MESSAGE_MAX_TOKENS ? SCAN_LIMIT : SCAN_MORE;
    default:
        return SCAN_MORE;
    }
}

static ScanEnd scan_string(QmpParser *p, char c)
{
    if ((unsigned char)c < 0x20) {
        return SCAN_BAD;
    }
    if (p->escaped) {
        p->escaped = false;
    } else if (c == '\\') {
        p->escaped = true;
    } else if (c == '"') {
        p->in_string = false;
    }
    return SCAN_MORE;
}

static ScanEnd scan(QmpParser *p, const char *buf, size_t len,
                    size_t *ret_passed)
{
    ScanEnd end = SCAN_MORE;
    size_t i = 0;

    while (i < len && end == SCAN_MORE) {
        end = p->in_string ? scan_string(p, buf[i]) : scan_plain(p, buf[i]);
        p->bytes++;
        if (p->bytes > QMP_MESSAGE_MAX_BYTES) {
            end = SCAN_LIMIT;
        }
        if (end == SCAN_BAD || end == SCAN_LIMIT) {
            break;
        }
        i++;
    }
    *ret_passed = i;
    return end;
}

/* json-c's own check stumbles over a character cut in two by a read, so the
 * strings are looked at once they are whole. Depth is bounded already. */
static bool is_utf8(json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_string:
        return g_utf8_validate(json_object_get_string(value),
                               json_object_get_string_len(value), NULL);
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            if (!is_utf8(json_object_array_get_idx(value, i))) {
                return false;
            }
        }
        return true;
    case json_type_object: {
        json_object_object_foreach(value, key, child) {
            if (!g_utf8_validate(key, -1, NULL) || !is_utf8(child)) {
                return false;
            }
        }
        return true;
    }
    default:
        return true;
    }
}

static void parser_finish(QmpParser *p, json_object *object)
{
    qmp_parser_reset(p);
    if (!is_utf8(object)) {
        json_object_put(object);
        p->message(p->opaque, NULL, "JSON parse error, invalid UTF-8");
        return;
    }
    p->message(p->opaque, object, NULL);
}

static void parse_error(QmpParser *p, enum json_tokener_error error)
{
    bool unbalanced =
        error == json_tokener_success || error == json_tokener_continue;
    g_autofree char *text =
        g_strdup_printf("JSON parse error, %s",
                        unbalanced ? "unbalanced brackets"
                                   : json_tokener_error_desc(error));

    parser_fail(p, text);
}

/*
 * Passes on what the scanner has let through. False after an error, then
 * *len is where the offending byte is: it may be the line feed that (2)
 * waits for, or stand before it.
 */
static bool parser_pass(QmpParser *p, const char *buf, size_t *len,
                        ScanEnd end)
{
    json_object *object;
    enum json_tokener_error error;

    if (*len == 0) {
        return true;
    }
    object = json_tokener_parse_ex(p->tokener, buf, (int)*len);
    error = json_tokener_get_error(p->tokener);
    if (error == json_tokener_success && object && end == SCAN_END) {
        parser_finish(p, object);
        return true;
    }
    if (error == json_tokener_continue && end != SCAN_END) {
        return true;
    }
    *len = MIN(json_tokener_get_parse_end(p->tokener), *len);
    json_object_put(object);
    parse_error(p, error);
    return false;
}

/* Returns how many bytes are done with; 0 only when it starts to skip. */
static size_t parser_step(QmpParser *p, const char *buf, size_t len)
{
    size_t passed;
    ScanEnd end = scan(p, buf, len, &passed);

    if (!parser_pass(p, buf, &passed, end)) {
        return passed;
    }
    if (end == SCAN_BAD) {
        parser_fail(p, "JSON parse error, character out of place");
    } else if (end == SCAN_LIMIT) {
        parser_fail(p, "JSON parse error, message too large or too deep");
    }
    return passed; /* the offending byte may be the line feed: not passed */
}

void qmp_parser_feed(QmpParser *p, const void *data, size_t len)
{
    const char *buf = data, *end = buf + len;

    while (buf < end) {
        if (p->skipping) {
            buf = memchr(buf, '\n', (size_t)(end - buf));
            if (!buf) {
                return;
            }
            p->skipping = false;
            buf++;
        } else if (p->idle && is_space(*buf)) {
            buf++;
        } else if (p->idle && *buf != '{') {
            parser_fail(p, "JSON parse error, expecting a JSON object");
        } else {
            p->idle = false;
            /* An int for json-c, and a short way to a bad byte. */
            buf += parser_step(p, buf, MIN((size_t)(end - buf), 65536));
        }
    }
}
