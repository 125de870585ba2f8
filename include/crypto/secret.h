/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Secrets: bytes that other objects name by an id, as QEMU's object "secret".
 *
 *   data=TEXT or file=PATH, format=raw (as it is) or base64
 *   keyid=ID,iv=BASE64: what was read (and decoded) is decrypted with the
 *   secret ID of 32 bytes, AES-256 in CBC mode with PKCS #7 padding
 *
 * Threads: main. Errors: GError, without the secret.
 */
#ifndef VM_CRYPTO_SECRET_H
#define VM_CRYPTO_SECRET_H

#include <glib.h>

#include "util/keyval.h"

/* How an object finds the secrets that it names; borrowed, or NULL. */
typedef struct SecretSource {
    GBytes *(*find)(void *opaque, const char *id);
    void *opaque;
} SecretSource;

/* Reads what is listed above from kv; the bytes are overwritten when the
 * last reference goes. */
GBytes *secret_new(VmKeyval *kv, const SecretSource *others, GError **errp);

/* The secret of that id as a text, for a password. */
char *secret_find_text(const SecretSource *source, const char *id,
                       GError **errp);
void secret_free_text(char *text); /* overwrites it; NULL is fine */

#endif
