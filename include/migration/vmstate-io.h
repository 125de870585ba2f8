/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saving and loading device state by its description.
 *
 * The encoding is in docs/migration-format.md, section 6: each field carries
 * its name and its length, so that a load which meets another layout fails
 * by the name of the field and never reads beyond the buffer.
 *
 * Threads: as vmstate.h says; these functions take no lock themselves.
 * Errors: GError, one line that names the description and the field.
 */
#ifndef VM_MIGRATION_VMSTATE_IO_H
#define VM_MIGRATION_VMSTATE_IO_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#include "migration/vmstate.h"

#define VMSTATE_NAME_MAX 63u

/*
 * Appends the state of opaque to out. Fails, leaving out as it was, when
 * pre_save() fails or more than limit_bytes would be appended.
 */
bool vmstate_save(const VMStateDescription *vmsd, void *opaque,
                  size_t limit_bytes, GByteArray *out, GError **errp);

/*
 * Loads exactly len bytes that were saved as the given version. On failure
 * the device may be half loaded: the caller must never run it.
 */
bool vmstate_load(const VMStateDescription *vmsd, void *opaque, int version,
                  const void *data, size_t len, GError **errp);

#endif
