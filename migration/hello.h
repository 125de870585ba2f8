/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake: what each side says of itself, and whether that fits.
 *
 * Pure functions; no I/O, no locks.
 */
#ifndef VM_MIGRATION_HELLO_H
#define VM_MIGRATION_HELLO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/migration.h"
#include "wire.h"

typedef struct MigHello {
    uint16_t version_min, version_max;
    bool adapts_chunk; /* this side can use any chunk size */
    unsigned channels; /* that the source would open */
    uint64_t features;
    uint64_t features_required;
    uint32_t page_bytes;
    uint32_t chunk_pages;
    uint32_t vcpus;
    uint32_t ram_blocks;
    uint64_t ram_bytes; /* of the first block */
    char machine[MIG_NAME_BYTES_MAX + 1];
    char ram_id[MIG_NAME_BYTES_MAX + 1];
} MigHello;

/* What this side says: of vm, at either end. A destination's has all features
 * that it knows. */
void mig_hello_of_vm(const MigrationVm *vm, MigHello *ret);
/* Source: says whether there will be answers. */
void mig_hello_set_one_way(MigHello *hello, bool one_way);
bool mig_hello_is_one_way(const MigHello *hello);

/* Source: how many channels it wants. Destination: 0: it can take none. After
 * mig_hello_set_one_way(). */
void mig_hello_set_channels(MigHello *hello, unsigned channels);

/* Body of a HELLO record. */
GByteArray *mig_hello_encode(const MigHello *hello);
/* False: this is not a HELLO at all. What it says may still not fit. */
bool mig_hello_decode(const void *body, size_t len, MigHello *ret);

/* Destination: the answer, or a refusal that both sides can show. To a
 * one-way source the answer is what it takes for granted, or a refusal. */
bool mig_hello_answer(const MigHello *source, const MigHello *own,
                      uint64_t budget_pages, MigWireWelcome *ret,
                      GError **errp);
/* Source: whether the answer can be lived with. */
bool mig_hello_accept(const MigHello *own, const MigWireWelcome *welcome,
                      GError **errp);

#endif
