/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's further connections, which chunks come by.
 *
 * Threads: the destination's thread calls; "mig-accept" takes connections,
 * "mig-receive", one for each, reads.
 */
#ifndef VM_MIGRATION_MULTIFD_ACCEPT_H
#define VM_MIGRATION_MULTIFD_ACCEPT_H

#include "migration-internal.h"
#include "ram-receive.h"
#include "wire.h"

typedef struct MigMultifd MigMultifd;

/*
 * Takes count connections from the job's listener, which ends with the last of
 * them, while the caller goes on. trunk, ram: borrowed. What goes wrong with a
 * connection that is one of them cuts the others, and ends trunk's reads.
 */
MigMultifd *mig_multifd_new(Migration *m, MigStream *trunk,
                            MigRamReceiver *ram, unsigned count,
                            const uint8_t token[MIG_TOKEN_BYTES]);
/* Cuts them, and joins. */
void mig_multifd_free(MigMultifd *x);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigMultifd, mig_multifd_free)

/* Until all have come to the end of this pass. last: to their own as well. */
bool mig_multifd_barrier(MigMultifd *x, uint32_t pass, bool last,
                         GError **errp);
/* False, and what it was, if one of them has failed, or does so soon. */
bool mig_multifd_check(MigMultifd *x, int64_t soon_ns, GError **errp);

#endif
