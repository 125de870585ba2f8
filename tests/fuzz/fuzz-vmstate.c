/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: no device state makes vmstate_load() read or write where it
 * should not. What loads is saved again, and must then be what was loaded.
 */
#include "migration/vmstate-io.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Ring {
    uint16_t index;
    bool on;
} Ring;

typedef struct Card {
    uint32_t reg;
    int64_t when;
    uint8_t raw[5];
    uint16_t table[3];
    Ring rings[2];
    uint8_t *blob;
    uint32_t blob_len;
} Card;

static const VMStateField ring_fields[] = {
    VMSTATE_U16(index, Ring),
    VMSTATE_BOOL(on, Ring),
    VMSTATE_END,
};
static const VMStateDescription ring_vmsd = {
    .name = "ring",
    .version = 1,
    .fields = ring_fields,
};
static const VMStateField card_fields[] = {
    VMSTATE_U32(reg, Card),
    VMSTATE_S64(when, Card),
    VMSTATE_BUFFER(raw, Card),
    VMSTATE_U16_ARRAY(table, Card, 3),
    VMSTATE_STRUCT_ARRAY(rings, Card, 2, ring_vmsd),
    VMSTATE_VARBYTES(blob, blob_len, Card, 16),
    VMSTATE_END,
};
static const VMStateDescription card_vmsd = {
    .name = "card",
    .version = 1,
    .fields = card_fields,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Card first = { 0 }, second = { 0 };

    if (vmstate_load(&card_vmsd, &first, 1, data, size, NULL)) {
        g_autoptr(GByteArray) out = g_byte_array_new();

        g_assert_true(vmstate_save(&card_vmsd, &first, 4096, out, NULL));
        g_assert_true(vmstate_load(&card_vmsd, &second, 1, out->data,
                                   out->len, NULL));
        g_assert_cmpuint(first.reg, ==, second.reg);
        g_assert_cmpmem(first.blob, first.blob_len, second.blob,
                        second.blob_len);
    }
    g_free(first.blob);
    g_free(second.blob);
    return 0;
}
