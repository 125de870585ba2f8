/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptions of device state, for migration.
 *
 * A device describes its state once, as a table; save and load are derived
 * from it (migration/vmstate.c). This header holds types and macros only, so
 * that every layer may include it (the one exception to the layer rule).
 *
 * Everything that the guest can observe must be in a description, or be
 * derivable in post_load(). Loaded values come from the wire and are
 * hostile: post_load() checks ranges and returns -EINVAL, it never asserts.
 *
 * Threads: save and load run on a migration thread while the vCPUs and the
 * device threads are quiescent; the device's lock is held around each.
 */
#ifndef VM_MIGRATION_VMSTATE_H
#define VM_MIGRATION_VMSTATE_H

#include <stddef.h>
#include <stdint.h>

typedef struct VMStateDescription VMStateDescription;

typedef enum VMStateType {
    VMSTATE_TYPE_BOOL,
    VMSTATE_TYPE_U8,
    VMSTATE_TYPE_U16,
    VMSTATE_TYPE_U32,
    VMSTATE_TYPE_U64,
    VMSTATE_TYPE_S64,
    VMSTATE_TYPE_BUFFER,   /* count bytes, as they are */
    VMSTATE_TYPE_STRUCT,   /* count structs described by sub */
    VMSTATE_TYPE_VARBYTES, /* uint8_t *, length in the u32 at aux_offset;
                            * at most count bytes; g_malloc on load, the
                            * old one is g_free'd */
} VMStateType;

typedef struct VMStateField {
    const char *name;
    VMStateType type;
    size_t offset;
    size_t count;        /* elements of an array; 1 for a scalar */
    size_t element_bytes; /* stride */
    size_t aux_offset;
    const VMStateDescription *sub;
    int since_version;   /* field present from this version on; 0: always */
} VMStateField;

struct VMStateDescription {
    const char *name; /* at most 63 bytes */
    int version;
    int minimum_version; /* the oldest that load accepts */
    const VMStateField *fields; /* ends with name == NULL */
    /* Optional. 0 or -errno; a failure fails the migration by name. */
    int (*pre_save)(void *opaque);
    int (*post_load)(void *opaque, int version);
};

#define VMSTATE_SCALAR_(f, s, t, T)                                         \
    {                                                                       \
        .name = #f, .type = (t),                                            \
        .offset = offsetof(s, f) + 0 * sizeof((T *)0 == &((s *)0)->f),      \
        .count = 1, .element_bytes = sizeof(T)                              \
    }
#define VMSTATE_BOOL(f, s) VMSTATE_SCALAR_(f, s, VMSTATE_TYPE_BOOL, bool)
#define VMSTATE_U8(f, s) VMSTATE_SCALAR_(f, s, VMSTATE_TYPE_U8, uint8_t)
#define VMSTATE_U16(f, s) VMSTATE_SCALAR_(f, s, VMSTATE_TYPE_U16, uint16_t)
#define VMSTATE_U32(f, s) VMSTATE_SCALAR_(f, s, VMSTATE_TYPE_U32, uint32_t)
#define VMSTATE_U64(f, s) VMSTATE_SCALAR_(f, s, VMSTATE_TYPE_U64, uint64_t)
#define VMSTATE_S64(f, s) VMSTATE_SCALAR_(f, s, VMSTATE_TYPE_S64, int64_t)
#define VMSTATE_ARRAY_(f, s, t, T, n)                                       \
    {                                                                       \
        .name = #f, .type = (t),                                            \
        .offset = offsetof(s, f) +                                          \
                  0 * sizeof((T(*)[n])0 == &((s *)0)->f),                   \
        .count = (n), .element_bytes = sizeof(T)                            \
    }
#define VMSTATE_U8_ARRAY(f, s, n)                                           \
    VMSTATE_ARRAY_(f, s, VMSTATE_TYPE_U8, uint8_t, n)
#define VMSTATE_U16_ARRAY(f, s, n)                                          \
    VMSTATE_ARRAY_(f, s, VMSTATE_TYPE_U16, uint16_t, n)
#define VMSTATE_U32_ARRAY(f, s, n)                                          \
    VMSTATE_ARRAY_(f, s, VMSTATE_TYPE_U32, uint32_t, n)
#define VMSTATE_U64_ARRAY(f, s, n)                                          \
    VMSTATE_ARRAY_(f, s, VMSTATE_TYPE_U64, uint64_t, n)
/* A fixed uint8_t array or struct, byte for byte. */
#define VMSTATE_BUFFER(f, s)                                                \
    {                                                                       \
        .name = #f, .type = VMSTATE_TYPE_BUFFER, .offset = offsetof(s, f),  \
        .count = sizeof(((s *)0)->f), .element_bytes = 1                    \
    }
#define VMSTATE_STRUCT(f, s, vmsd)                                          \
    {                                                                       \
        .name = #f, .type = VMSTATE_TYPE_STRUCT, .offset = offsetof(s, f),  \
        .count = 1, .element_bytes = sizeof(((s *)0)->f), .sub = &(vmsd)    \
    }
#define VMSTATE_STRUCT_ARRAY(f, s, n, vmsd)                                 \
    {                                                                       \
        .name = #f, .type = VMSTATE_TYPE_STRUCT, .offset = offsetof(s, f),  \
        .count = (n), .element_bytes = sizeof(((s *)0)->f[0]),              \
        .sub = &(vmsd)                                                      \
    }
#define VMSTATE_VARBYTES(f, len_f, s, max)                                  \
    {                                                                       \
        .name = #f, .type = VMSTATE_TYPE_VARBYTES,                          \
        .offset = offsetof(s, f), .count = (max), .element_bytes = 1,       \
        .aux_offset = offsetof(s, len_f)                                    \
    }
#define VMSTATE_END                                                         \
    {                                                                       \
        .name = NULL                                                        \
    }

#endif
