/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A relay between the two sides of a migration, which records what passes,
 * cuts after so many bytes of a direction, or flips a bit of one.
 */
#ifndef VM_TESTS_RELAY_H
#define VM_TESTS_RELAY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/channel.h"
#include "util/thread.h"

typedef enum Harm { HARM_NONE, HARM_CUT, HARM_FLIP } Harm;

typedef struct Relay Relay;

typedef struct Direction {
    Relay *relay;
    VmChannel *from, *to;
    VmThread *thread;
    Harm harm;
    uint64_t harm_at;
    uint64_t bytes;
    GByteArray *record; /* what passed, when recording; or NULL */
} Direction;

struct Relay {
    VmListener *listener;
    char *to_uri;
    VmThread *thread;
    VmChannel *a, *b;
    Direction there, back;
};

/* Listens at once; relay_start() then takes one connection. */
Relay *relay_new(const char *listen_uri, const char *to_uri);
void relay_start(Relay *r);
/* Once both sides are done. */
void relay_join(Relay *r);
void relay_free(Relay *r);

#endif
