/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM, from the source's placement into the stream.
 *
 * Threads: the source's thread. Each channel has one of its own that sends.
 */
#ifndef VM_MIGRATION_RAM_SEND_H
#define VM_MIGRATION_RAM_SEND_H

#include "file-map.h"
#include "migration-internal.h"
#include "return-path.h"

typedef struct MigRamSender MigRamSender;

typedef struct MigRamSenderConfig {
    Migration *m;
    MigStream *stream;
    GPtrArray *channels; /* of MigStream, branches of stream: chunks go by
                          * these; empty: by stream */
    RamBlock *ram;
    const RamPlacement *placement;
    uint64_t budget_pages; /* the destination's */
    bool one_way;          /* unknown, budget_pages is UINT64_MAX */
    bool has_history;      /* the placement keeps one */
    bool can_move;         /* the destination knows MOVE */
    bool with_sums;        /* pages have checksums */
    MigFileMap *map;       /* of the file that stream is; or NULL */
} MigRamSenderConfig;

/* All are borrowed. */
MigRamSender *mig_ram_sender_new(const MigRamSenderConfig *config,
                                 GError **errp);
/* After a failure: the channels have been cut. */
void mig_ram_sender_free(MigRamSender *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigRamSender, mig_ram_sender_free)

/* The first pass: plans, and sends every chunk once. */
bool mig_ram_send_all(MigRamSender *s, GError **errp);
/* A dirty pass: sends and clears what is set in dirty, after chunks have
 * changed places (exchange.h). stopped: the VM is; then none do, and the
 * bandwidth limit does not apply. */
bool mig_ram_send_dirty(MigRamSender *s, unsigned long *dirty, bool stopped,
                        GError **errp);
/* Chunks in the destination's swap are dirty, and another dirty pass can
 * bring some of them to its RAM. */
bool mig_ram_wants_exchange(const MigRamSender *s, const unsigned long *dirty);
/* After a pass: the end of it, into each channel. */
bool mig_ram_sync_channels(MigRamSender *s, uint32_t pass, bool last,
                           GError **errp);
/* A channel broke, and that is why sending failed. */
bool mig_ram_channel_broke(MigRamSender *s);
uint64_t mig_ram_payload_pages(MigRamSender *s);
/* Chunks sent so far, those of ZERO_RANGE not counted. */
uint64_t mig_ram_chunks_sent(const MigRamSender *s);
/* In how many chunks the pages are. */
uint64_t mig_ram_dirty_chunks(const MigRamSender *s,
                              const unsigned long *dirty);

#endif
