/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recorded streams, in golden/ beside the tests: what has been sent by some
 * program once, and must be sent and understood by later ones.
 *
 * VM_TEST_WRITE_GOLDEN=1 writes the files anew: read them before committing.
 */
#ifndef VM_TESTS_GOLDEN_H
#define VM_TESTS_GOLDEN_H

#include <glib.h>

GByteArray *golden_read(const char *name);
/* The test fails if they differ. */
void golden_compare(const char *name, const GByteArray *bytes);

#endif
