/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums and encryption between the pager and its I/O.
 *
 * A VmdIo around another one: the pager does not know that it is there. What
 * is written is encrypted into a buffer of the seal's own, since the frame
 * that is being written must stay readable (a touch copies pages back out of
 * it); what was read is decrypted where it lies and checked against the
 * checksum before done() is called, so that nobody ever sees what is not
 * right. A page that is not what was written is -EBADMSG.
 *
 * Checksums are of the plain text, 32 bits a page, and live in memory only.
 * They are made with a secret (page-hash.h): who can write to the file cannot
 * make one that fits, nor bring an older content of the page back.
 *
 * A page is the unit for both, and its number is the tweak: the same content
 * in two pages does not look the same. What XTS does not hide is whether a
 * page that is written again has the content that it had before.
 *
 * Work is done in slices, so that a page that somebody waits for is not kept
 * by many that nobody waits for: small reads are opened at once, the rest a
 * slice a step; busy() says that there is more.
 *
 * Threads: the pager thread; vmd_seal_bytes() any.
 */
#ifndef VMD_SEAL_H
#define VMD_SEAL_H

#include "cipher.h"
#include "io.h"

typedef struct VmdSealConfig {
    uint64_t pages;        /* of the file */
    unsigned depth;        /* requests in flight, as for the I/O inside */
    unsigned writes;       /* of these, writes that may be in flight */
    uint32_t write_bytes;  /* the largest write */
    bool checksum;
    VmdCipher *cipher;     /* taken; NULL: none */
} VmdSealConfig;

/* Takes inner, which is freed with it. */
VmdIo *vmd_seal_new(VmdIo *take_inner, const VmdSealConfig *cfg);
/* Memory that it holds for checksums and buffers. */
uint64_t vmd_seal_bytes(const VmdIo *seal);

#endif
