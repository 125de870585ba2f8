/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers and sizes as options spell them.
 *
 * Why: strtoull() takes signs, leading blanks and trailing characters, and
 * saturates; a size that was mistyped must be refused, not guessed.
 * Arithmetic is done in 128 bits, so that overflow is seen and not wrapped.
 * Threads: any.
 */
#include "util/size.h"
#include "util/error.h"

#include <string.h>

typedef unsigned __int128 Wide;

/* More digits of a fraction than this cannot change a 64-bit size. */
#define FRACTION_DIGITS_MAX 18

/*
 * Reads digits of base at *at and moves it behind them. False if there are
 * none or the value does not fit in 64 bits.
 */
static bool scan_digits(const char **at, unsigned base, uint64_t *ret)
{
    const char *start = *at;
    uint64_t value = 0;

    for (;; (*at)++) {
        int digit = g_ascii_xdigit_value(**at);

        if (digit < 0 || (unsigned)digit >= base) {
            break;
        }
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, (unsigned)digit, &value)) {
            return false;
        }
    }
    *ret = value;
    return *at != start;
}

static bool has_hex_prefix(const char *text)
{
    return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

/* Unsigned integer in C's notation, up to the first character that is none. */
static bool scan_integer(const char **at, uint64_t *ret)
{
    if (has_hex_prefix(*at)) {
        *at += 2;
        return scan_digits(at, 16, ret);
    }
    return scan_digits(at, **at == '0' ? 8 : 10, ret);
}

bool vm_u64_parse(const char *text, const char *what, uint64_t *ret,
                  GError **errp)
{
    const char *at = text;
    uint64_t value;

    if (!scan_integer(&at, &value) || *at != '\0') {
        return vm_error_set(errp, 0, "%s: '%s' is not a number between 0 and "
                            "2^64-1", what, text);
    }
    *ret = value;
    return true;
}

/* The fraction after the point, times unit, rounded down. */
static bool scan_fraction(const char **at, uint64_t *ret_digits,
                          uint64_t *ret_scale)
{
    uint64_t digits = 0, scale = 1;
    const char *start = *at;

    for (int n = 0; g_ascii_isdigit(**at); n++, (*at)++) {
        if (n < FRACTION_DIGITS_MAX) {
            digits = digits * 10 + (uint64_t)g_ascii_digit_value(**at);
            scale *= 10;
        }
    }
    *ret_digits = digits;
    *ret_scale = scale;
    return *at != start;
}

/* Reads an optional suffix; without one *unit stays as it is. */
static bool scan_suffix(const char **at, uint64_t *unit)
{
    static const char letters[] = "BKMGTPE";
    const char *found;

    if (**at == '\0') {
        return true;
    }
    found = strchr(letters, g_ascii_toupper(**at));
    if (!found) {
        return false;
    }
    *unit = 1ull << (10 * (found - letters));
    (*at)++;
    return **at == '\0';
}

static bool parse_size(const char *text, uint64_t unit, uint64_t *ret)
{
    uint64_t whole, digits = 0, scale = 1;
    const char *at = text;
    Wide bytes;

    if (has_hex_prefix(text)) {
        /* No suffix behind hex digits: 'B' and 'E' would be ambiguous. */
        at += 2;
        if (!scan_digits(&at, 16, &whole) || *at != '\0') {
            return false;
        }
    } else {
        if (!scan_digits(&at, 10, &whole)) {
            return false;
        }
        if (*at == '.') {
            at++;
            if (!scan_fraction(&at, &digits, &scale)) {
                return false;
            }
        }
        if (!scan_suffix(&at, &unit)) {
            return false;
        }
    }
    if (digits != 0 && unit == 1) {
        return false; /* half a byte */
    }
    bytes = (Wide)whole * unit + (Wide)digits * unit / scale;
    if (bytes > UINT64_MAX) {
        return false;
    }
    *ret = (uint64_t)bytes;
    return true;
}

bool vm_size_parse(const char *text, uint64_t default_unit, const char *what,
                   uint64_t *ret_bytes, GError **errp)
{
    if (!parse_size(text, default_unit, ret_bytes)) {
        return vm_error_set(errp, 0, "%s: '%s' is not a size; sizes are like "
                            "4G, 512M, 64k or 1.5G and below 16E", what, text);
    }
    return true;
}

char *vm_size_to_string(uint64_t bytes)
{
    static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
                                         "TiB", "PiB", "EiB" };
    unsigned n = 0;
    double value;

    for (uint64_t left = bytes; left >= 1024; left /= 1024) {
        n++;
    }
    value = (double)bytes / (double)(1ull << (10 * n));
    if (n == 0 || bytes % (1ull << (10 * n)) == 0) {
        return g_strdup_printf("%.0f %s", value, units[n]);
    }
    return g_strdup_printf("%.3g %s", value, units[n]);
}
