/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One migration through the relay, and what must hold after any harm that
 * the relay did; where the records of such a migration begin.
 */
#ifndef VM_TESTS_RUN_H
#define VM_TESTS_RUN_H

#include "../../../migration/wire.h"
#include "fake-vm.h"
#include "relay.h"

typedef struct Run {
    FakeWorld world;
    FakeVm *src, *dst;
    char *dir, *src_uri, *dst_uri;
    Relay *relay;
    unsigned fds; /* open before */
} Run;

Run *run_new(const FakeVmConfig *src, const FakeVmConfig *dst);
/* Before it begins. */
void run_with_checksums(Run *run);
/* Begins; until the source is done; both. */
void run_start(Run *run);
void run_finish_source(Run *run);
void run_go(Run *run);
/* Nobody ran twice; no file, socket or descriptor is left. */
void run_free(Run *run);
/* At most one side has the VM, the source unless RUN may have got through;
 * each side that failed says why, query-migrate too. Both are done. */
void run_check(Run *run);

typedef struct Record {
    size_t at;
    MigWireRecord head;
} Record;

/* What an undisturbed migration sends in each direction. */
typedef struct Map {
    GByteArray *there, *back;
    GArray *there_records, *back_records; /* of Record */
} Map;

Map map_new(const FakeVmConfig *src, const FakeVmConfig *dst, bool checksum);
void map_done(Map *map);
const GArray *map_records(const Map *map, bool there);
const GByteArray *map_bytes(const Map *map, bool there);
uint64_t map_hello_bytes(const Map *map);
/*
 * Where the last record of a direction begins: RUN there, RUNNING back.
 * Before it the source knows that the VM is its own. The sizes of passes
 * vary from run to run only with a guest, and there is none here.
 */
uint64_t map_last_record(const Map *map, bool there);
bool map_is_payload(const Map *map, uint64_t at);

#endif
