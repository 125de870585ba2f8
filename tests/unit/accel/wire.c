/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See wire.h. Bytes are taken as they lie in memory: both ends are here. */
#include "wire.h"

#include <errno.h>
#include <string.h>

static size_t scalar_bytes(const VMStateField *f)
{
    switch (f->type) {
    case VMSTATE_TYPE_BOOL:
    case VMSTATE_TYPE_U8:
    case VMSTATE_TYPE_BUFFER:
        return 1;
    case VMSTATE_TYPE_U16:
        return 2;
    case VMSTATE_TYPE_U32:
        return 4;
    case VMSTATE_TYPE_U64:
    case VMSTATE_TYPE_S64:
        return 8;
    default:
        g_assert_not_reached();
    }
}

static int save_field(const VMStateField *f, char *base, GByteArray *out)
{
    if (f->type == VMSTATE_TYPE_VARBYTES) {
        uint32_t len = *(uint32_t *)(void *)(base + f->aux_offset);

        g_assert_cmpuint(len, <=, f->count);
        g_byte_array_append(out, (const guint8 *)&len, sizeof(len));
        g_byte_array_append(out, *(guint8 **)(void *)(base + f->offset), len);
        return 0;
    }
    for (size_t i = 0; i < f->count; i++) {
        char *p = base + f->offset + i * f->element_bytes;
        int r = 0;

        if (f->type == VMSTATE_TYPE_STRUCT) {
            r = wire_save(f->sub, p, out);
        } else {
            g_byte_array_append(out, (const guint8 *)p,
                                (guint)scalar_bytes(f));
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int wire_save(const VMStateDescription *d, void *opaque, GByteArray *out)
{
    int r = d->pre_save ? d->pre_save(opaque) : 0;

    for (const VMStateField *f = d->fields; r == 0 && f->name; f++) {
        r = save_field(f, opaque, out);
    }
    return r;
}

static void take(const GByteArray *in, size_t *at, void *to, size_t len)
{
    g_assert_cmpuint(*at + len, <=, in->len);
    memcpy(to, in->data + *at, len);
    *at += len;
}

static int load_field(const VMStateField *f, char *base,
                      const GByteArray *in, size_t *at)
{
    if (f->type == VMSTATE_TYPE_VARBYTES) {
        guint8 **bytes = (guint8 **)(void *)(base + f->offset);
        uint32_t len;

        take(in, at, &len, sizeof(len));
        *(uint32_t *)(void *)(base + f->aux_offset) = len;
        g_free(*bytes);
        *bytes = g_malloc(len);
        take(in, at, *bytes, len);
        return 0;
    }
    for (size_t i = 0; i < f->count; i++) {
        char *p = base + f->offset + i * f->element_bytes;
        int r = 0;

        if (f->type == VMSTATE_TYPE_STRUCT) {
            r = wire_load(f->sub, p, in, at);
        } else {
            take(in, at, p, scalar_bytes(f));
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int wire_load(const VMStateDescription *d, void *opaque,
              const GByteArray *in, size_t *at)
{
    int r = 0;

    for (const VMStateField *f = d->fields; r == 0 && f->name; f++) {
        r = load_field(f, opaque, in, at);
    }
    return r == 0 && d->post_load ? d->post_load(opaque, d->version) : r;
}
