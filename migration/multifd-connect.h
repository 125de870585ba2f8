/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's further connections, which chunks go by: how they are made.
 *
 * Threads: the source's thread.
 */
#ifndef VM_MIGRATION_MULTIFD_CONNECT_H
#define VM_MIGRATION_MULTIFD_CONNECT_H

#include "link.h"
#include "migration-internal.h"
#include "util/clock.h"
#include "wire.h"

/* TLS, if the job has it, on the first connection or another. */
bool mig_multifd_secure(Migration *m, MigLink *l, GError **errp);

/*
 * Connects count times to where the job's address says, with TLS if the job
 * has it, and says on each which migration it belongs to. channels (owner of
 * MigStreams) gets branches of trunk, those before a failure as well.
 */
bool mig_multifd_connect(Migration *m, MigStream *trunk,
                         const uint8_t token[MIG_TOKEN_BYTES], unsigned count,
                         GPtrArray *channels, GError **errp);

#endif
