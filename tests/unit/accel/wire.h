/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small saver and loader of VMStateDescriptions, for tests of this layer
 * alone: no names, no versions, no limits. Threads: one.
 */
#ifndef VM_TESTS_ACCEL_WIRE_H
#define VM_TESTS_ACCEL_WIRE_H

#include <glib.h>

#include "migration/vmstate.h"

/* pre_save, then all fields appended to out. */
int wire_save(const VMStateDescription *d, void *opaque, GByteArray *out);
/* All fields from in at *at, then post_load. */
int wire_load(const VMStateDescription *d, void *opaque,
              const GByteArray *in, size_t *at);

#endif
