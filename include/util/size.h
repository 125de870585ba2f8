/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers and sizes as QEMU's options spell them. Threads: any. */
#ifndef VM_UTIL_SIZE_H
#define VM_UTIL_SIZE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Parses a decimal, 0x hexadecimal or 0 octal number. what names the option
 * in the message. Signs, blanks, trailing characters and overflow are
 * refused.
 */
bool vm_u64_parse(const char *text, const char *what, uint64_t *ret,
                  GError **errp);

/*
 * Parses "4G", "512M", "64k", "1.5G": a decimal number with an optional
 * fraction and an optional suffix B K M G T P E (any case). Without a suffix
 * the number is taken in units of default_unit bytes (1 for bytes, 1 MiB for
 * "-m"). Hexadecimal numbers have neither. A fraction of a byte is rounded
 * down, but refused where the unit is one byte. Overflow, signs, and
 * trailing characters are refused.
 */
bool vm_size_parse(const char *text, uint64_t default_unit, const char *what,
                   uint64_t *ret_bytes, GError **errp);
/* "1.5 GiB"; g_free(). */
char *vm_size_to_string(uint64_t bytes);

#endif
