/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AES-256-XTS (IEEE 1619) for pages in the swap file.
 *
 * The key is made at start-up, lives in memory that is locked and left out of
 * core dumps, is wiped in the end, and never leaves the process: what an
 * earlier VM left in the file is worthless, and so is what this one leaves.
 * XTS hides content; it does not show what was changed (see seal.h).
 *
 * Threads: one at a time. Errors: GError to make one, -errno to use it.
 */
#ifndef VMD_CIPHER_H
#define VMD_CIPHER_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#define VMD_CIPHER_KEY_BYTES 64 /* two AES-256 keys: data and tweak */

typedef struct VmdCipher VmdCipher;

/* With a new random key; refuses if it cannot be kept in locked memory. */
VmdCipher *vmd_cipher_new(GError **errp);
/* With this key, for tests against published vectors. */
VmdCipher *vmd_cipher_new_with_key(const uint8_t key[VMD_CIPHER_KEY_BYTES],
                                   GError **errp);
void vmd_cipher_free(VmdCipher *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmdCipher, vmd_cipher_free)

/* unit is the number of the data unit: equal content in two units has nothing
 * in common. len is at least 16, and from may be to. */
int vmd_cipher_encrypt(VmdCipher *c, uint64_t unit, void *to,
                       const void *from, size_t len);
int vmd_cipher_decrypt(VmdCipher *c, uint64_t unit, void *to,
                       const void *from, size_t len);

#endif
