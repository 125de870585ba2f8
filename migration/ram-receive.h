/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM, from the stream into the destination's placement.
 *
 * Threads: the destination's thread; chunks come by those of the channels, too.
 * Errors: GError; the first is sticky.
 */
#ifndef VM_MIGRATION_RAM_RECEIVE_H
#define VM_MIGRATION_RAM_RECEIVE_H

#include "migration-internal.h"
#include "stream.h"

typedef struct MigRamReceiver MigRamReceiver;

/* All are borrowed. budget_pages: what was announced to the source; one_way:
 * nothing was, and what does not fit goes to the swap file. channels: from
 * how many connections chunks come beside the first. */
MigRamReceiver *mig_ram_receiver_new(Migration *m,
                                     const RamPlacement *placement,
                                     uint64_t budget_pages, bool one_way,
                                     unsigned channels);
/* Waits for what is under way. */
void mig_ram_receiver_free(MigRamReceiver *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigRamReceiver, mig_ram_receiver_free)

/* Each reads the body of its record from s. */
bool mig_ram_receive_plan(MigRamReceiver *r, MigStream *s,
                          const MigWireRecord *rec, GError **errp);
/* Any thread, with a stream of its own. */
bool mig_ram_receive_chunk(MigRamReceiver *r, MigStream *s,
                           const MigWireRecord *rec, GError **errp);
bool mig_ram_receive_zero_range(MigRamReceiver *r, MigStream *s,
                                const MigWireRecord *rec, GError **errp);
bool mig_ram_receive_move(MigRamReceiver *r, MigStream *s,
                          const MigWireRecord *rec, GError **errp);
/* No channel is receiving, here and below.
 * Barrier: all that was received is in its place, or the error is told. */
bool mig_ram_receive_settle(MigRamReceiver *r, GError **errp);
/* Whether each chunk has come at least once; else *ret is one that has not. */
bool mig_ram_receive_is_whole(MigRamReceiver *r, ChunkNo *ret_missing);
/* Whether the last copy of each page had the checksum that came with it; else
 * *ret is one of those that had not. */
bool mig_ram_receive_is_right(MigRamReceiver *r, PageNo *ret_damaged);
uint64_t mig_ram_received_pages(MigRamReceiver *r);

#endif
