/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way to a job's peer: what the URI of migrate or migrate-incoming names.
 *
 *   tcp:HOST:PORT   a connection
 *   unix:PATH       a connection
 *   fd:N            a descriptor: a stream socket, an end of a pipe, a file
 *   exec:TEXT       the input and output of a shell command
 *   file:PATH       a regular file
 *
 * A pipe and a file go one way: nothing can answer. A command might, and does
 * if the capability return-path says so. docs/migration-format.md, section
 * 5.4, has what that means for the stream.
 *
 * Connections, and stream sockets given as descriptors, can have TLS.
 *
 * Threads: mig_uri_*() any; the rest by the job's thread.
 */
#ifndef VM_MIGRATION_LINK_H
#define VM_MIGRATION_LINK_H

#include <glib.h>
#include <stdbool.h>

#include "crypto/tls-creds.h"
#include "stream.h"
#include "util/command.h"

typedef struct MigLink {
    MigStream *s;
    bool can_answer; /* bytes may come back */
    bool is_command; /* but whether it ever answers, only its author knows */
    /* private below */
    VmCommand *command; /* exec:, or NULL */
    bool is_file;       /* s is one: this job writes it, alone, or reads it */
} MigLink;

/* The spelling. */
bool mig_uri_check(const char *uri, GError **errp);
/* tcp: and unix:, whose incoming side listens. */
bool mig_uri_is_connection(const char *uri);
/* tcp:, unix: and fd:, unless that turns out to be no socket. */
bool mig_uri_can_tls(const char *uri);
/* The N of fd:N, else -1. */
int mig_uri_fd(const char *uri);

/*
 * Opens it; fd:N is taken over, also on failure. cancel_fd: as with
 * vm_channel_connect(). incoming: not for connections, which are accepted.
 */
bool mig_link_open(MigLink *l, const char *uri, bool incoming, int cancel_fd,
                   GError **errp);

/* Of file:, its descriptor, which is at the beginning of the file before
 * anything is read or written; else -1. */
int mig_link_file(const MigLink *l);

/* What was opened, or accepted. */
void mig_link_use(MigLink *l, MigStream *take_s);
/* TLS, before anything is read or written: see tls_channel_secure(), whose
 * deadline is the stream's. */
bool mig_link_secure(MigLink *l, TlsCreds *creds, const char *hostname,
                     GError **errp);

/*
 * A source that has written everything into a link that does not answer: it
 * is where it was to go, or *errp says why not. Then *ret_void says that
 * nobody will ever read all of it.
 */
bool mig_link_finish_sending(MigLink *l, bool *ret_void, GError **errp);
/* A destination that has read everything from a link that does not answer:
 * what wrote it says that this was all, and right. */
bool mig_link_finish_receiving(MigLink *l, GError **errp);
/* A source that fails: nobody shall read what a file has of it. */
void mig_link_discard(MigLink *l);
/* When the stream broke: adds how TLS or the command ended, if that was it. */
void mig_link_explain(MigLink *l, GError **error);
/* A destination that has given its last answer: lets a command deliver it. */
void mig_link_flush(MigLink *l);
/* Closes it, ends the command; fine for one that was never opened. */
void mig_link_done(MigLink *l);

#endif
