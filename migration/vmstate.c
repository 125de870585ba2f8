/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device state, saved and loaded by description.
 *
 * Why: a device states once what its state is; both directions of migration
 * are derived from that, so that they cannot disagree. The encoding carries
 * each field's name and length. That costs some bytes a field and buys that
 * a mismatch is told by name, and that the loader needs no trust at all.
 *
 * A description's fields, in order, each as
 *     u8 name length | name | u32 payload length | payload
 * and a nested struct's element as
 *     u32 version | u32 length | fields
 * all integers little-endian (docs/migration-format.md, section 6).
 *
 * Invariants:
 *   (1) Load reads only inside [at, end) of its reader, and each level ends
 *       exactly at its own end.
 *   (2) Load writes only where the description says, after the length that
 *       the stream gives was found equal to the description's.
 *   (3) A failed save leaves the output as long as it was.
 *
 * Threads: any; the callers hold the device's lock. Descriptions are code:
 * what is wrong in one is our own bug and asserted. The stream is hostile:
 * what is wrong in it is refused.
 */
#include "migration/vmstate-io.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/error.h"

typedef struct Reader {
    const uint8_t *at;
    const uint8_t *end;
} Reader;

typedef struct Writer {
    GByteArray *out;
    size_t limit; /* out->len may not grow beyond */
} Writer;

static size_t reader_left(const Reader *r)
{
    return (size_t)(r->end - r->at);
}

static const uint8_t *reader_take(Reader *r, size_t len)
{
    const uint8_t *at = r->at;

    if (reader_left(r) < len) {
        return NULL;
    }
    r->at += len;
    return at;
}

static bool reader_u32(Reader *r, uint32_t *ret)
{
    const uint8_t *p = reader_take(r, sizeof(*ret));
    uint32_t le;

    if (!p) {
        return false;
    }
    memcpy(&le, p, sizeof(le));
    *ret = GUINT32_FROM_LE(le);
    return true;
}

static bool writer_put(Writer *w, const void *data, size_t len)
{
    if (len > w->limit - w->out->len) {
        return false;
    }
    g_byte_array_append(w->out, data, (guint)len);
    return true;
}

static bool writer_u32(Writer *w, uint32_t v)
{
    uint32_t le = GUINT32_TO_LE(v);

    return writer_put(w, &le, sizeof(le));
}

/* Bytes of one scalar on the wire; 0: the type is not a scalar. */
static size_t scalar_bytes(VMStateType type)
{
    switch (type) {
    case VMSTATE_TYPE_BOOL:
    case VMSTATE_TYPE_U8:
        return 1;
    case VMSTATE_TYPE_U16:
        return 2;
    case VMSTATE_TYPE_U32:
        return 4;
    case VMSTATE_TYPE_U64:
    case VMSTATE_TYPE_S64:
        return 8;
    case VMSTATE_TYPE_BUFFER:
    case VMSTATE_TYPE_STRUCT:
    case VMSTATE_TYPE_VARBYTES:
        break;
    }
    return 0;
}

/* The host is little-endian (meson.build refuses others). */
G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN);

static bool save_fields(const VMStateDescription *vmsd, void *opaque,
                        int version, Writer *w, GError **errp);

static bool field_error(const VMStateDescription *vmsd, const char *field,
                        GError **errp, const char *what)
{
    return vm_error_set(errp, 0, "device state '%s', field '%s': %s",
                        vmsd->name, field, what);
}

static bool save_overflow(const VMStateDescription *vmsd,
                          const VMStateField *f, GError **errp)
{
    return field_error(vmsd, f->name, errp, "too much state to send");
}

static bool run_pre_save(const VMStateDescription *vmsd, void *opaque,
                         GError **errp)
{
    int r = vmsd->pre_save ? vmsd->pre_save(opaque) : 0;

    if (r < 0) {
        return vm_error_set(errp, -r, "device state '%s': cannot be saved",
                            vmsd->name);
    }
    return true;
}

/* Writes a length to be known later; returns where it lies, or SIZE_MAX. */
static size_t begin_length(Writer *w)
{
    size_t at = w->out->len;

    return writer_u32(w, 0) ? at : SIZE_MAX;
}

static void end_length(Writer *w, size_t at)
{
    uint32_t le = GUINT32_TO_LE((uint32_t)(w->out->len - at - 4));

    memcpy(w->out->data + at, &le, sizeof(le));
}

static bool save_structs(const VMStateField *f, uint8_t *base, Writer *w,
                         GError **errp)
{
    for (size_t i = 0; i < f->count; i++) {
        void *element = base + i * f->element_bytes;
        size_t length_at;

        if (!run_pre_save(f->sub, element, errp)) {
            return false;
        }
        if (!writer_u32(w, (uint32_t)f->sub->version) ||
            (length_at = begin_length(w)) == SIZE_MAX) {
            return save_overflow(f->sub, f, errp);
        }
        if (!save_fields(f->sub, element, f->sub->version, w, errp)) {
            return false;
        }
        end_length(w, length_at);
    }
    return true;
}

static bool save_scalars(const VMStateField *f, const uint8_t *base,
                         size_t bytes, Writer *w)
{
    for (size_t i = 0; i < f->count; i++) {
        const uint8_t *element = base + i * f->element_bytes;
        uint8_t b;

        if (f->type == VMSTATE_TYPE_BOOL) {
            b = *element != 0;
            element = &b;
        }
        if (!writer_put(w, element, bytes)) {
            return false;
        }
    }
    return true;
}

static bool save_varbytes(const VMStateDescription *vmsd,
                          const VMStateField *f, const uint8_t *opaque,
                          Writer *w, GError **errp)
{
    uint8_t *const *bytes = (uint8_t *const *)(opaque + f->offset);
    uint32_t len;

    memcpy(&len, opaque + f->aux_offset, sizeof(len));
    if (len > f->count) {
        return field_error(vmsd, f->name, errp, "longer than its limit");
    }
    return (len == 0 || writer_put(w, *bytes, len)) ||
           save_overflow(vmsd, f, errp);
}

static bool save_payload(const VMStateDescription *vmsd,
                         const VMStateField *f, uint8_t *opaque, Writer *w,
                         GError **errp)
{
    uint8_t *base = opaque + f->offset;

    switch (f->type) {
    case VMSTATE_TYPE_STRUCT:
        return save_structs(f, base, w, errp);
    case VMSTATE_TYPE_VARBYTES:
        return save_varbytes(vmsd, f, opaque, w, errp);
    case VMSTATE_TYPE_BUFFER:
        return writer_put(w, base, f->count) || save_overflow(vmsd, f, errp);
    default:
        return save_scalars(f, base, scalar_bytes(f->type), w) ||
               save_overflow(vmsd, f, errp);
    }
}

static bool save_field(const VMStateDescription *vmsd, const VMStateField *f,
                       void *opaque, Writer *w, GError **errp)
{
    size_t name_len = strlen(f->name);
    uint8_t name_len8 = (uint8_t)name_len;
    size_t length_at;

    g_assert(name_len > 0 && name_len <= UINT8_MAX);
    if (!writer_put(w, &name_len8, 1) || !writer_put(w, f->name, name_len) ||
        (length_at = begin_length(w)) == SIZE_MAX) {
        return save_overflow(vmsd, f, errp);
    }
    if (!save_payload(vmsd, f, opaque, w, errp)) {
        return false;
    }
    end_length(w, length_at);
    return true;
}

static bool field_in_version(const VMStateField *f, int version)
{
    return f->since_version <= version;
}

static bool save_fields(const VMStateDescription *vmsd, void *opaque,
                        int version, Writer *w, GError **errp)
{
    for (const VMStateField *f = vmsd->fields; f->name; f++) {
        if (field_in_version(f, version) &&
            !save_field(vmsd, f, opaque, w, errp)) {
            return false;
        }
    }
    return true;
}

bool vmstate_save(const VMStateDescription *vmsd, void *opaque,
                  size_t limit_bytes, GByteArray *out, GError **errp)
{
    guint old_len = out->len;
    Writer w = {
        .out = out,
        .limit = MIN((size_t)old_len + limit_bytes, (size_t)G_MAXUINT / 2),
    };

    g_assert(strlen(vmsd->name) <= VMSTATE_NAME_MAX);
    if (!run_pre_save(vmsd, opaque, errp) ||
        !save_fields(vmsd, opaque, vmsd->version, &w, errp)) {
        g_byte_array_set_size(out, old_len); /* (3) */
        return false;
    }
    return true;
}

static bool load_body(const VMStateDescription *vmsd, void *opaque,
                      int64_t version, Reader *r, GError **errp);

static bool load_structs(const VMStateDescription *vmsd,
                         const VMStateField *f, uint8_t *base, Reader *r,
                         GError **errp)
{
    for (size_t i = 0; i < f->count; i++) {
        uint32_t version, len;
        Reader element;

        if (!reader_u32(r, &version) || !reader_u32(r, &len) ||
            len > reader_left(r)) {
            return field_error(vmsd, f->name, errp, "too short");
        }
        element.at = reader_take(r, len);
        element.end = element.at + len;
        if (!load_body(f->sub, base + i * f->element_bytes, version, &element,
                       errp)) {
            g_prefix_error(errp, "%s[%zu]: ", f->name, i);
            return false;
        }
    }
    return reader_left(r) == 0 ||
           field_error(vmsd, f->name, errp, "more elements than expected");
}

static bool load_bools(const VMStateDescription *vmsd, const VMStateField *f,
                       uint8_t *base, Reader *r, GError **errp)
{
    for (size_t i = 0; i < f->count; i++) {
        if (r->at[i] > 1) {
            return field_error(vmsd, f->name, errp, "not a truth value");
        }
        base[i * f->element_bytes] = r->at[i];
    }
    return true;
}

/* f->count values of the given size; the length was checked. */
static bool load_scalars(const VMStateField *f, size_t bytes, uint8_t *base,
                         Reader *r)
{
    for (size_t i = 0; i < f->count; i++) {
        memcpy(base + i * f->element_bytes, r->at + i * bytes, bytes);
    }
    return true;
}

static bool load_varbytes(const VMStateDescription *vmsd,
                          const VMStateField *f, uint8_t *opaque, Reader *r,
                          GError **errp)
{
    uint8_t **bytes = (uint8_t **)(opaque + f->offset);
    uint32_t len = (uint32_t)reader_left(r);
    uint8_t *copy = NULL;

    if (reader_left(r) > f->count) {
        return field_error(vmsd, f->name, errp, "longer than its limit");
    }
    if (len) {
        copy = g_try_malloc(len);
        if (!copy) {
            return field_error(vmsd, f->name, errp, "out of memory");
        }
        memcpy(copy, r->at, len);
    }
    g_free(*bytes);
    *bytes = copy;
    memcpy(opaque + f->aux_offset, &len, sizeof(len));
    return true;
}

/* r holds just this field's payload. */
static bool load_payload(const VMStateDescription *vmsd,
                         const VMStateField *f, uint8_t *opaque, Reader *r,
                         GError **errp)
{
    uint8_t *base = opaque + f->offset;
    size_t bytes = scalar_bytes(f->type);

    if (f->type == VMSTATE_TYPE_STRUCT) {
        return load_structs(vmsd, f, base, r, errp);
    }
    if (f->type == VMSTATE_TYPE_VARBYTES) {
        return load_varbytes(vmsd, f, opaque, r, errp);
    }
    if (f->type == VMSTATE_TYPE_BUFFER) {
        bytes = 1;
    }
    if (reader_left(r) != f->count * bytes) { /* (2) */
        return vm_error_set(errp, 0,
                            "device state '%s', field '%s': %zu bytes "
                            "expected, %zu received",
                            vmsd->name, f->name, f->count * bytes,
                            reader_left(r));
    }
    if (f->type == VMSTATE_TYPE_BOOL) {
        return load_bools(vmsd, f, base, r, errp);
    }
    if (f->type == VMSTATE_TYPE_BUFFER) {
        memcpy(base, r->at, f->count);
        return true;
    }
    return load_scalars(f, bytes, base, r);
}

static bool load_field(const VMStateDescription *vmsd, const VMStateField *f,
                       void *opaque, Reader *r, GError **errp)
{
    size_t name_len = strlen(f->name);
    const uint8_t *p = reader_take(r, 1);
    Reader payload;
    uint32_t len;

    if (!p) {
        return field_error(vmsd, f->name, errp, "missing");
    }
    if (*p != name_len || !(p = reader_take(r, name_len)) ||
        memcmp(p, f->name, name_len) != 0) {
        return field_error(vmsd, f->name, errp, "another field in its place");
    }
    if (!reader_u32(r, &len) || !(payload.at = reader_take(r, len))) {
        return field_error(vmsd, f->name, errp, "too short");
    }
    payload.end = payload.at + len;
    return load_payload(vmsd, f, opaque, &payload, errp);
}

static bool load_body(const VMStateDescription *vmsd, void *opaque,
                      int64_t version, Reader *r, GError **errp)
{
    int err;

    if (version > vmsd->version || version < vmsd->minimum_version) {
        return vm_error_set(errp, 0,
                            "device state '%s': version %" PRId64
                            " is not supported, only %d to %d",
                            vmsd->name, version, vmsd->minimum_version,
                            vmsd->version);
    }
    for (const VMStateField *f = vmsd->fields; f->name; f++) {
        if (field_in_version(f, (int)version) &&
            !load_field(vmsd, f, opaque, r, errp)) {
            return false;
        }
    }
    if (reader_left(r) != 0) { /* (1) */
        return vm_error_set(errp, 0,
                            "device state '%s': %zu bytes too many",
                            vmsd->name, reader_left(r));
    }
    err = vmsd->post_load ? vmsd->post_load(opaque, (int)version) : 0;
    if (err < 0) {
        return vm_error_set(errp, -err, "device state '%s': refused",
                            vmsd->name);
    }
    return true;
}

bool vmstate_load(const VMStateDescription *vmsd, void *opaque, int version,
                  const void *data, size_t len, GError **errp)
{
    static const uint8_t nothing[1];
    /* An empty body may come without an address. */
    const uint8_t *at = len > 0 ? data : nothing;
    Reader r = { .at = at, .end = at + len };

    return load_body(vmsd, opaque, version, &r, errp);
}
