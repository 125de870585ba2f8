/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device that is well and ill by turns: a VmdIo around another one.
 *
 * While ill, of the requests some fail (before they reach the device, or
 * after), some come back late and in another order, and some reads bring
 * wrong bytes. It is well for 0.5 to 2 s and ill for 0.1 to 0.5 s at a time;
 * all choices come from the seed.
 *
 * Threads: the pager thread; inject_stop() and inject_count() any.
 */
#ifndef TEST_INJECT_H
#define TEST_INJECT_H

#include "../../../vmemdirect/io.h"

typedef struct InjectConfig {
    uint64_t seed;
    bool wrong_bytes; /* only if checksums are on: nobody else would notice */
} InjectConfig;

/* Takes inner, which is freed with it. At most one at a time. */
VmdIo *inject_new(VmdIo *take_inner, const InjectConfig *cfg);
/* Well from now on. */
void inject_stop(void);
/* Requests that were meddled with. */
uint64_t inject_count(void);

#endif
