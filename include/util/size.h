/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes as QEMU's options spell them: "4G", "512M", "64k", "1.5G", bytes. */
#ifndef VM_UTIL_SIZE_H
#define VM_UTIL_SIZE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Parses text with an optional suffix B K M G T P (any case); without one
 * the number is taken in units of default_unit bytes (1 for bytes, 1 MiB for
 * "-m"). what names the option in the message. Overflow, signs, and trailing
 * characters are refused.
 */
bool vm_size_parse(const char *text, uint64_t default_unit, const char *what,
                   uint64_t *ret_bytes, GError **errp);
/* "1.5 GiB"; g_free(). */
char *vm_size_to_string(uint64_t bytes);

#endif
