/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The migration stream's bytes: records and their bodies.
 *
 * What is here is docs/migration-format.md in C; the sections are cited and
 * the offsets asserted. All integers are little-endian, as the only hosts
 * that meson.build admits are; no body needs more than byte alignment.
 * Changing anything here needs a feature bit or a version (section 3).
 */
#ifndef VM_MIGRATION_WIRE_H
#define VM_MIGRATION_WIRE_H

#include <assert.h>
#include <glib.h>
#include <stddef.h>
#include <stdint.h>

G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN);

#define MIG_WIRE_MAGIC 0x524d4456u /* "VDMR" */
#define MIG_WIRE_SIGNATURE "\211VMDMIG\n"
#define MIG_WIRE_VERSION_MIN 1u
#define MIG_WIRE_VERSION_MAX 1u
/* Feature bits (section 3.3), and those that this program knows. */
#define MIG_FEATURE_ONE_WAY 0x1ull /* section 5.4 */
#define MIG_FEATURE_MOVE 0x2ull    /* section 4.6 */
#define MIG_FEATURE_CHANNELS 0x4ull /* section 4.7 */
#define MIG_FEATURE_CHECKSUM 0x8ull /* section 4.2 */
#define MIG_WIRE_FEATURES                                          \
    (MIG_FEATURE_ONE_WAY | MIG_FEATURE_MOVE | MIG_FEATURE_CHANNELS | \
     MIG_FEATURE_CHECKSUM)

/* Limits (section 7). */
#define MIG_HELLO_BYTES_MAX 4096u
#define MIG_REASON_BYTES_MAX 1024u
#define MIG_NAME_BYTES_MAX 255u
#define MIG_ZERO_HISTORIES_MAX 1024u
#define MIG_DEVICE_BYTES_MAX (16u << 20)
#define MIG_DEVICES_BYTES_MAX (64u << 20)
#define MIG_DEVICES_MAX 4096u
#define MIG_IGNORED_BYTES_MAX (1u << 20)

/* Section 2.1. */
typedef enum MigRecordType {
    MIG_REC_HELLO = 1,
    MIG_REC_PLAN = 2,
    MIG_REC_CHUNK = 3,
    MIG_REC_ZERO_RANGE = 4,
    MIG_REC_PASS = 5,
    MIG_REC_DEVICE = 6,
    MIG_REC_COMPLETE = 7,
    MIG_REC_RUN = 8,
    MIG_REC_MOVE = 9,
    MIG_REC_CHANNEL = 10,
    MIG_REC_SYNC = 11,
    /* Destination to source. */
    MIG_REC_WELCOME = 0x101,
    MIG_REC_REFUSE = 0x102,
    MIG_REC_PASS_DONE = 0x103,
    MIG_REC_READY = 0x104,
    MIG_REC_RUNNING = 0x105,
    MIG_REC_FAILED = 0x106,
    /* Set in types that a receiver who does not know them skips. */
    MIG_REC_IGNORABLE = 0x8000,
    /* Of a file that can be used in place, section 4.8. */
    MIG_REC_PAD = 0x8001,
    MIG_REC_INDEX = 0x8002,
    MIG_REC_FOOT = 0x8003,
} MigRecordType;

/* Flags of a record: the low byte is for each type to define, and a bit that
 * the receiver does not know there is refused; the high byte is advisory. */
#define MIG_FLAG_HISTORY 0x0001u /* CHUNK, ZERO_RANGE, INDEX: with history */
/* CHUNK, PASS, SYNC: sent while the VM is stopped. */
#define MIG_FLAG_LAST 0x0002u
#define MIG_FLAG_CHECKSUM 0x0004u /* CHUNK: checksums follow */
#define MIG_FLAGS_ADVISORY 0xff00u

typedef struct __attribute__((packed)) MigWireRecord {
    uint32_t magic;
    uint16_t type;
    uint16_t flags;
    uint64_t length; /* bytes that follow */
} MigWireRecord;
static_assert(sizeof(MigWireRecord) == 16, "migration-format.md 2.1");
static_assert(offsetof(MigWireRecord, length) == 8, "migration-format.md 2.1");

#define MIG_HELLO_ADAPTS_CHUNK 0x0001u
/* How many channels: a byte of the flags. */
#define MIG_HELLO_CHANNELS_SHIFT 8u
#define MIG_CHANNELS_MAX 255u

/* Followed by machine_bytes of name and ram_blocks MigWireRamBlocks. */
typedef struct __attribute__((packed)) MigWireHello {
    uint8_t signature[8];
    uint16_t version_min;
    uint16_t version_max;
    uint32_t flags; /* MIG_HELLO_... */
    uint64_t features;
    uint64_t features_required;
    uint32_t page_bytes;
    uint32_t chunk_pages;
    uint32_t vcpus;
    uint16_t machine_bytes;
    uint16_t ram_blocks;
    uint8_t uuid[16];
} MigWireHello;
static_assert(sizeof(MigWireHello) == 64, "migration-format.md 3.1");
static_assert(offsetof(MigWireHello, features) == 16, "3.1");
static_assert(offsetof(MigWireHello, page_bytes) == 32, "3.1");
static_assert(offsetof(MigWireHello, vcpus) == 40, "3.1");
static_assert(offsetof(MigWireHello, uuid) == 48, "3.1");

/* Followed by id_bytes of name. */
typedef struct __attribute__((packed)) MigWireRamBlock {
    uint64_t bytes;
    uint16_t id_bytes;
} MigWireRamBlock;
static_assert(sizeof(MigWireRamBlock) == 10, "migration-format.md 3.1");

/* With channels, followed by a token. */
typedef struct __attribute__((packed)) MigWireWelcome {
    uint16_t version;
    uint16_t reserved;
    uint32_t chunk_pages;
    uint64_t features;
    uint64_t budget_pages; /* UINT64_MAX: no limit */
} MigWireWelcome;
static_assert(sizeof(MigWireWelcome) == 24, "migration-format.md 3.2");

#define MIG_TOKEN_BYTES 16u

/* The first record of a channel. */
typedef struct __attribute__((packed)) MigWireChannel {
    uint8_t token[MIG_TOKEN_BYTES];
    uint32_t index;
    uint32_t reserved;
} MigWireChannel;
static_assert(sizeof(MigWireChannel) == 24, "migration-format.md 4.7");
static_assert(offsetof(MigWireChannel, index) == 16, "4.7");

typedef struct __attribute__((packed)) MigWireSync {
    uint32_t pass;
    uint32_t reserved;
    uint64_t records; /* of this channel before this one, CHANNEL counted */
    uint64_t digest;  /* section 5.3, of this channel, of all before this */
} MigWireSync;
static_assert(sizeof(MigWireSync) == 24, "migration-format.md 4.7");
static_assert(offsetof(MigWireSync, digest) == 16, "4.7");

typedef struct __attribute__((packed)) MigWirePlan {
    uint64_t ram_pages;
    uint64_t swap_pages;
    uint64_t zero_pages;
} MigWirePlan;
static_assert(sizeof(MigWirePlan) == 24, "migration-format.md 4.1");

/* Places on the wire; not RamPlace, whose order may change. */
#define MIG_WIRE_PLACE_RAM 1u
#define MIG_WIRE_PLACE_SWAP 2u

/* Followed by the bitmap of payload pages, the bitmap of zero pages, the
 * history if flagged, the payload pages' checksums (64 bits each) if flagged,
 * and the payload. */
typedef struct __attribute__((packed)) MigWireChunk {
    uint32_t chunk;
    uint16_t payload_pages;
    uint8_t place;
    uint8_t reserved;
} MigWireChunk;
static_assert(sizeof(MigWireChunk) == 8, "migration-format.md 4.2");

/* Followed by count * chunk_pages history bytes if flagged. */
typedef struct __attribute__((packed)) MigWireZeroRange {
    uint32_t first;
    uint32_t count;
} MigWireZeroRange;
static_assert(sizeof(MigWireZeroRange) == 8, "migration-format.md 4.3");

typedef struct __attribute__((packed)) MigWireMove {
    uint32_t chunk;
    uint8_t place; /* MIG_WIRE_PLACE_SWAP */
    uint8_t reserved[3];
} MigWireMove;
static_assert(sizeof(MigWireMove) == 8, "migration-format.md 4.6");

/* PASS and PASS_DONE. */
typedef struct __attribute__((packed)) MigWirePass {
    uint32_t pass;
    uint32_t reserved;
} MigWirePass;
static_assert(sizeof(MigWirePass) == 8, "migration-format.md 4.4");

/* Followed by, for each page of these chunks, where it lies in the file (32
 * bits: in pages; 0: it is zero), its checksum (64 bits), and its history byte
 * if flagged: all of the one, then all of the other. */
typedef struct __attribute__((packed)) MigWireIndex {
    uint32_t first;
    uint32_t count; /* chunks */
} MigWireIndex;
static_assert(sizeof(MigWireIndex) == 8, "migration-format.md 4.8");

/* The last record before COMPLETE; so its place is known from the end. */
typedef struct __attribute__((packed)) MigWireFoot {
    uint64_t offset; /* of the first INDEX, in the file */
    /* Of all before that: */
    uint64_t records;
    uint64_t payload_pages;
    uint64_t digest;
    uint64_t hello_digest; /* of HELLO alone */
    uint32_t passes;
    uint32_t reserved;
} MigWireFoot;
static_assert(sizeof(MigWireFoot) == 48, "migration-format.md 4.8");

/* Followed by the name and the state. */
typedef struct __attribute__((packed)) MigWireDevice {
    uint32_t instance;
    uint32_t version;
    uint32_t state_bytes;
    uint16_t name_bytes;
    uint16_t reserved;
} MigWireDevice;
static_assert(sizeof(MigWireDevice) == 16, "migration-format.md 4.5");

typedef struct __attribute__((packed)) MigWireComplete {
    uint64_t records;       /* before this one, HELLO counted */
    uint64_t payload_pages; /* of all CHUNKs */
    uint64_t devices;
    uint64_t digest; /* section 5.3 */
} MigWireComplete;
static_assert(sizeof(MigWireComplete) == 32, "migration-format.md 5.1");

#define MIG_WIRE_RUN_PAUSED 0u
#define MIG_WIRE_RUN_RUNNING 1u

typedef struct __attribute__((packed)) MigWireRun {
    uint32_t state; /* MIG_WIRE_RUN_... */
    uint32_t reserved;
} MigWireRun;
static_assert(sizeof(MigWireRun) == 8, "migration-format.md 5.1");

/* FNV-1a, 64 bits: the digest of section 5.3. */
#define MIG_DIGEST_INIT 0xcbf29ce484222325ull

static inline uint64_t mig_digest(uint64_t digest, const void *data,
                                  size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++) {
        digest = (digest ^ p[i]) * 0x100000001b3ull;
    }
    return digest;
}

static inline size_t mig_bitmap_bytes(uint32_t chunk_pages)
{
    return (chunk_pages + 63u) / 64u * 8u;
}

#endif
