/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where each page of guest RAM lies in a saved file, so that the VM can start
 * at once and its memory be used where it is: docs/migration-format.md, 4.8.
 *
 * The source notes what it writes, and puts the map behind its last pass; the
 * destination finds it from the end of the file, and gives it to the
 * placement. Both keep 12 bytes a page meanwhile.
 *
 * Threads: the job's. Errors: -errno of the stream, or GError.
 */
#ifndef VM_MIGRATION_FILE_MAP_H
#define VM_MIGRATION_FILE_MAP_H

#include "memory/placement.h"
#include "stream.h"

typedef struct MigFileMap MigFileMap;

MigFileMap *mig_file_map_new(uint64_t pages, uint32_t chunk_pages);
void mig_file_map_free(MigFileMap *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigFileMap, mig_file_map_free)

/* --- source ------------------------------------------------------------- */

/* s begins at offset 0 of its file. Writes what is needed for the payload of
 * the next record to lie at a multiple of a page, if control_bytes of its body
 * come before it. *ret_at: where that will be, in pages. */
int mig_file_map_align(MigStream *s, size_t control_bytes, uint64_t *ret_at);
/* What a CHUNK has said: pages of the payload, which begins at page at of the
 * file, with their checksums; and those that are zero. */
void mig_file_map_note(MigFileMap *map, ChunkNo chunk,
                       const unsigned long *pages, const unsigned long *zero,
                       const uint64_t *sums, uint64_t at);
/* The INDEX records. history: where the histories come from, or NULL. */
int mig_file_map_write(const MigFileMap *map, MigStream *s,
                       const RamPlacement *history);

/* --- destination -------------------------------------------------------- */

/* False: the file cannot be used in place, but perhaps be read. */
bool mig_file_foot_read(int fd, MigWireFoot *ret);
/* One INDEX record; they come in order. */
bool mig_file_map_receive(MigFileMap *map, MigStream *s,
                          const MigWireRecord *rec, GError **errp);
/* All of them have come. */
bool mig_file_map_is_whole(const MigFileMap *map);
/*
 * The placement takes RAM from the file, whose descriptor is borrowed. Returns
 * 0, or -errno: -EOPNOTSUPP if this file system, or the placement, cannot.
 */
int mig_file_map_place(MigFileMap *map, const RamPlacement *p, int fd);
/* Whether it could. */
bool mig_file_can_place(const RamPlacement *p, int fd);

#endif
