/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pager on a fake world: memory, swap file and clock that a test steps.
 *
 * Guest and frames are plain arrays with a present and a protected bit per
 * page; fake I/O waits in a list until the test completes it, in any order
 * and with any result; the clock stands still until it is told to move.
 * Every misuse that a kernel would punish (moving onto a present page,
 * reading a missing one) fails the test at once.
 */
#ifndef TEST_FAKE_H
#define TEST_FAKE_H

#include "../../../vmemdirect/pager-internal.h"

#define FAKE_CHUNK_PAGES 8u
#define FAKE_LANDING_PAGES 4u
#define FAKE_CHUNKS 24u
#define FAKE_PAGES (FAKE_CHUNK_PAGES * FAKE_CHUNKS - 3) /* a short last one */

typedef struct FakeIo {
    VmdIo io;
    GPtrArray *waiting;  /* of VmdIoRequest * */
    GPtrArray *finished; /* completed by the test, reaped by the pager */
    GArray *results;
} FakeIo;

/* A chunk-sized piece of guest or frames, as the kernel sees it. table: of
 * small pages, which a huge page cannot take the place of. */
typedef struct FakePiece {
    bool huge, table;
} FakePiece;

typedef struct Fake {
    VmdPager pager;
    FakeIo io;
    uint8_t *guest, *frames, *file;
    uint8_t stage[1];
    bool *guest_present, *guest_protected; /* by page */
    bool *frame_present;                   /* by slot */
    bool *file_written;                    /* by page */
    FakePiece *guest_pieces, *frame_pieces;
    unsigned huge_made;  /* huge pages asked for, with or without success */
    bool no_huge;        /* the system has none */
    unsigned huge_pages; /* of a huge page, as many get to their place */
    unsigned wakes;
    size_t woken_bytes; /* by a wake alone, the last time */
    int began[VMD_TROUBLE__COUNT], over[VMD_TROUBLE__COUNT]; /* told */
    VmdEvent last_event;
    PageNo busy_page; /* moving it out gives -EBUSY; UINT64_MAX: none */
    bool change_on_in; /* the next protected move-in reports a change */
    int discard_error; /* what releasing memory gives */
    unsigned lent;
} Fake;

extern int64_t fake_now;

Fake *fake_new(uint64_t budget_pages, bool soft_tracker);
/* As fake_new(), with chunks that can be huge pages. */
Fake *fake_new_huge(uint64_t budget_pages, bool soft_tracker);
void fake_free(Fake *f);

/* The guest: faults until the access goes through or needs I/O. Returns the
 * page's address, or NULL while it waits. */
uint8_t *fake_touch(Fake *f, PageNo page, bool write);
/* Writes the value all over the page; completes I/O as needed. */
void fake_write(Fake *f, PageNo page, uint8_t value);
/* Reads the page's value; completes I/O as needed. */
uint8_t fake_read(Fake *f, PageNo page);

void fake_step(Fake *f); /* one pager step, then the invariants */
/* Completes the waiting request (index) with result, then steps. */
void fake_complete(Fake *f, unsigned index, int result);
void fake_complete_all(Fake *f);
VmdIoRequest *fake_request(Fake *f, unsigned index);
unsigned fake_requests(Fake *f);

VmdChunkState fake_state(Fake *f, ChunkNo c);
/* The next fault on the chunk brings all of it. */
void fake_make_dense(Fake *f, ChunkNo c);
/* Moves a resident chunk to STANDBY; writes a STANDBY chunk back and
 * completes the I/O. */
void fake_standby(Fake *f, ChunkNo c);
void fake_swap_out(Fake *f, ChunkNo c);

#endif
