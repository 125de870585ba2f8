/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the destination says, at the source: a thread that reads it, and
 * waits for it.
 *
 * Threads: one thread of its own reads; the source's thread calls the rest.
 */
#ifndef VM_MIGRATION_RETURN_PATH_H
#define VM_MIGRATION_RETURN_PATH_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "stream.h"

typedef struct MigReturn MigReturn;

/* s is borrowed. The thread cuts s when the destination has failed or has
 * closed, so that a blocked writer returns; but never once RUNNING is
 * expected. last_words_ns bounds mig_return_error(). */
MigReturn *mig_return_new(MigStream *s, int64_t last_words_ns);
/* Cuts the stream and joins. */
void mig_return_free(MigReturn *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigReturn, mig_return_free)

typedef enum MigAnswer {
    MIG_ANSWER_NONE, /* before the hand-over */
    MIG_ANSWER_PASS_DONE,
    MIG_ANSWER_READY,
    MIG_ANSWER_RUNNING,
} MigAnswer;

/* Before the request is written: this answer is in order from now on. -EPIPE
 * when the destination has ended; then the request must not be written. */
int mig_return_expect(MigReturn *r, MigAnswer answer, uint32_t pass);
/* Waits for it: 0, -ETIMEDOUT, or -EPIPE when nothing more will come. */
int mig_return_wait(MigReturn *r, int64_t timeout_ns);
/* Nothing more will come from the destination. */
bool mig_return_has_ended(MigReturn *r);
/* The destination said FAILED: it never runs. */
bool mig_return_has_failed(MigReturn *r);
/* Waits (bounded) for the destination's last words, then fills errp with
 * why the connection ended; always returns false. */
bool mig_return_error(MigReturn *r, GError **errp);

#endif
