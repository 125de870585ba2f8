/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A relay between the two sides of a migration, which records what passes,
 * and does one harm to a direction, at one of its bytes.
 */
#ifndef VM_TESTS_RELAY_H
#define VM_TESTS_RELAY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/channel.h"
#include "util/thread.h"

typedef enum Harm {
    HARM_NONE,
    HARM_CUT,   /* both directions end */
    HARM_END,   /* this direction ends, the other goes on */
    HARM_STALL, /* nothing more passes, until relay_release() */
    HARM_DELAY, /* for some ms nothing passes */
    HARM_FLIP,  /* a bit of this byte */
} Harm;

typedef struct Relay Relay;

typedef struct Direction {
    Relay *relay;
    VmChannel *from, *to;
    VmThread *thread;
    Harm harm;
    uint64_t harm_at;
    uint8_t flip; /* these bits, for HARM_FLIP */
    uint64_t bytes;
    GByteArray *record; /* what passed, when recording; or NULL */
} Direction;

struct Relay {
    VmListener *listener;
    char *to_uri;
    VmThread *thread;
    VmChannel *a, *b;
    Direction there, back;

    /* Protected by lock (rank VM_RANK_LEAF). */
    VmMutex lock;
    VmCond cond;
    bool stalled;
    bool released;
};

/* Listens at once; relay_start() then takes one connection. */
Relay *relay_new(const char *listen_uri, const char *to_uri);
void relay_start(Relay *r);
/* Until a direction stalls. */
void relay_wait_stall(Relay *r);
/* A direction that stalls ends, and with it the other. */
void relay_release(Relay *r);
/* Once both sides are done, or the source is and the relay was released. */
void relay_join(Relay *r);
void relay_free(Relay *r);

#endif
