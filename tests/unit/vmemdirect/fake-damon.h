/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tree of plain files that stands in for DAMON's in sysfs.
 *
 * What is written into a file stays there, and nothing happens. The tried
 * regions are those that the test has put.
 */
#ifndef TEST_FAKE_DAMON_H
#define TEST_FAKE_DAMON_H

#include <glib.h>
#include <stdint.h>

#define FAKE_KDAMONDS "sys/kernel/mm/damon/admin/kdamonds"
#define FAKE_CONTEXT FAKE_KDAMONDS "/0/contexts/0"
#define FAKE_TRIED FAKE_CONTEXT "/schemes/0/tried_regions"

typedef struct FakeDamon {
    char *root; /* VmdTrackerEnv.root */
} FakeDamon;

FakeDamon *fake_damon_new(void);
void fake_damon_free(FakeDamon *tree); /* removes the files */
void fake_damon_put(const FakeDamon *tree, const char *name,
                    const char *text);
void fake_damon_put_number(const FakeDamon *tree, const char *name,
                           uint64_t n);
void fake_damon_put_region(const FakeDamon *tree, unsigned number,
                           uint64_t start, uint64_t end);
/* From here on no snapshot can be read. */
void fake_damon_break(const FakeDamon *tree);

#endif
