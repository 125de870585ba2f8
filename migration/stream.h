/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A migration stream on a byte channel: records out, records in.
 *
 * One thread writes and one reads, which may be two; any thread may cut.
 * The digest of docs/migration-format.md 5.3 is kept for both directions
 * over the bytes that go through the _control functions.
 *
 * Errors: -errno. -ENODATA: the peer closed; -ECANCELED: cut from this side;
 * -ETIMEDOUT: the deadline passed.
 */
#ifndef VM_MIGRATION_STREAM_H
#define VM_MIGRATION_STREAM_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/channel.h"
#include "wire.h"

typedef struct MigStream MigStream;

MigStream *mig_stream_new(VmChannel *take_ch);
void mig_stream_free(MigStream *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigStream, mig_stream_free)

/* Borrowed. */
VmChannel *mig_stream_channel(const MigStream *s);

/*
 * branch is another connection of the same migration: both count their bytes
 * together, and it is cut with trunk (at once, if trunk was). Before branch
 * has a second thread; it is freed before trunk.
 */
void mig_stream_attach(MigStream *trunk, MigStream *branch);

/* Any thread, any time: both directions end, now, of its branches too. */
void mig_stream_cut(MigStream *s);
/* Likewise, of its branches only. */
void mig_stream_cut_branches(MigStream *s);
/* Any thread, any time: reads come to the end of the stream, writes go on. */
void mig_stream_end_reads(MigStream *s);
/* Writing thread: the peer reads what was written, then end of file. */
void mig_stream_end_writes(MigStream *s);

/* Reading thread. The deadline is on vm_clock_ns(); 0: none. */
void mig_stream_set_deadline(MigStream *s, int64_t deadline_ns);
int mig_stream_read_control(MigStream *s, void *buf, size_t len);
int mig_stream_read_payload(MigStream *s, void *buf, size_t len);
int mig_stream_skip_control(MigStream *s, uint64_t len);
/* Until the peer closes, the stream is cut, or the deadline. */
void mig_stream_drain(MigStream *s);
uint64_t mig_stream_bytes_read(const MigStream *s);
uint64_t mig_stream_read_digest(const MigStream *s);
/* A regular file: goes on at the offset, as if all before had been read and had
 * this digest. */
int mig_stream_go_to(MigStream *s, uint64_t offset, uint64_t digest);

/*
 * Writing thread: one record. control[0..ncontrol) is its body up to the
 * payload, which follows; either may be empty. The vectors are used up.
 * On failure the peer has at most a part of the record and never gets more.
 */
int mig_stream_write(MigStream *s, MigRecordType type, uint16_t flags,
                     const struct iovec *control, int ncontrol,
                     const struct iovec *payload, int npayload);
/* A record whose body is one struct. */
int mig_stream_write_body(MigStream *s, MigRecordType type, uint16_t flags,
                          const void *body, size_t len);
/* Whether a write has failed, or writes were ended. */
bool mig_stream_is_broken(const MigStream *s);
uint64_t mig_stream_bytes_written(const MigStream *s);
uint64_t mig_stream_write_digest(const MigStream *s);
uint64_t mig_stream_records_written(const MigStream *s);

const char *mig_record_to_string(unsigned type);
/* A reason as it came from the peer: printable, NUL-terminated; g_free(). */
char *mig_reason_clean(const void *bytes, size_t len);
/* "the peer closed the connection", or strerror; static. */
const char *mig_stream_strerror(int err);
/* "cannot send to the destination: ...", at the source; returns false. */
bool mig_stream_send_error(int err, GError **errp);
/* "cannot receive from the source: ...", at the destination. */
bool mig_stream_receive_error(int err, GError **errp);

#define MIG_CONTROL_IOV_MAX 8
#define MIG_PAYLOAD_IOV_MAX 512

#endif
