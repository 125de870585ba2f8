/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination of a migration.
 *
 *   LISTENING --connection--> no TLS where it is wanted, or no HELLO:
 *      |                      closed, and LISTENING again
 *      | HELLO                  HELLO that does not fit: REFUSE, FAILED
 *      |                        (what is no connection has one try)
 *      v
 *   RAM      --CHUNK, ZERO_RANGE, PASS-->  RAM
 *      | PASS with LAST
 *      v
 *   DEVICES  --DEVICE-->  DEVICES
 *      | COMPLETE: all is in its place and written, devices loaded
 *      v
 *   READY    said so; waits
 *      | RUN
 *      v
 *   STARTING --images, vm->start()--> RUNNING said, VM runs
 *
 *   each of them --error, end of stream, cancel--> FAILED: said so if the
 *   connection still works; the VM never runs
 *
 *   One way (docs/migration-format.md, 5.4): the same, and nothing is said.
 *   From a file with a map (4.8), if the placement can: LISTENING --> DEVICES,
 *   at the file's end; RAM stays in the file.
 *
 * Invariants:
 *   (1) vm->start() is called once at most, after a whole RUN record.
 *   (2) READY is sent only when each chunk has arrived (or has a place in the
 *       file), no page is damaged (or will be looked at when it is read), each
 *       import is done, the counts and the digest agree, and every device is
 *       loaded.
 *   (3) After FAILED was sent vm->start() is not called; if it had been
 *       called and failed, the images are given up again first.
 *   (4) What comes before a valid HELLO changes nothing.
 *
 * Threads: "mig-dest" runs all of this; chunks may come by channels, which
 * have their own (multifd-accept.h).
 */
#include "migration-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "chunk-size.h"
#include "devices.h"
#include "file-map.h"
#include "hello.h"
#include "link.h"
#include "multifd-accept.h"
#include "ram-receive.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

/* Who connects and says nothing would else keep the real source out: TLS and
 * HELLO together. */
#define HELLO_TIMEOUT_NS (10 * VM_NS_PER_SEC)
/* With TLS, on a descriptor, where nobody else is kept out. */
#define DESCRIPTOR_TIMEOUT_NS (60 * VM_NS_PER_SEC)
/* For the source to take FAILED or REFUSE before the connection closes. */
#define LINGER_NS (3 * VM_NS_PER_SEC)
/* How much later than the first connection another may end that is why. */
#define CHANNEL_ERROR_NS (200 * VM_NS_PER_MS)

typedef enum Phase {
    PHASE_RAM = 1,
    PHASE_DEVICES = 2,
    PHASE_READY = 4,
    PHASE_DONE = 8,
} Phase;

typedef struct Destination {
    Migration *m;
    const MigrationVm *vm;
    MigLink link;
    MigStream *s; /* link's */
    bool one_way; /* the source wants no answers */
    const RamPlacement *placement; /* chunks' */
    MigChunks chunks;
    MigRamReceiver *ram;
    MigMultifd *multifd; /* or NULL */
    MigFileMap *map;     /* RAM stays in the file; or NULL */
    MigWireFoot foot;    /* of that */
    MigDeviceStore *devices;
    Phase phase;
    uint64_t records;       /* read so far, HELLO counted */
    uint64_t digest_before; /* of all before the record at hand */
    bool planned;
    uint32_t pass;
} Destination;

static bool refuse(GError **errp, const MigWireRecord *rec, const char *what)
{
    return vm_error_set(errp, 0, "migration stream: %s record: %s",
                        mig_record_to_string(rec->type), what);
}

static bool read_body(Destination *d, const MigWireRecord *rec, void *body,
                      size_t len, GError **errp)
{
    int err;

    if (rec->length != len) {
        return refuse(errp, rec, "bad length");
    }
    err = mig_stream_read_control(d->s, body, len);
    return err == 0 || mig_stream_receive_error(err, errp);
}

static bool reply(Destination *d, MigRecordType type, const void *body,
                  size_t len, GError **errp)
{
    int err = d->one_way ? 0
                         : mig_stream_write_body(d->s, type, 0, body, len);

    return err == 0 || vm_error_set(errp, 0, "cannot answer the source: %s",
                                    mig_stream_strerror(err));
}

/* Lets the source read the last words before the socket closes, since closing
 * with unread data would reset the connection. */
static void linger(MigStream *s)
{
    mig_stream_end_writes(s);
    mig_stream_set_deadline(s, vm_clock_ns() + LINGER_NS);
    mig_stream_drain(s);
}

static void say_and_linger(Destination *d, MigRecordType type,
                           const char *reason)
{
    size_t len = MIN(strlen(reason), MIG_REASON_BYTES_MAX);

    if (!d->one_way) {
        /* Or it is gone. */
        (void)mig_stream_write_body(d->s, type, 0, reason, len);
        linger(d->s);
    }
}

/* -- handshake ---------------------------------------------------------- */

/* NULL: a HELLO was read. Else what was there instead. */
static const char *read_hello(MigStream *s, MigHello *ret)
{
    MigWireRecord rec;
    uint8_t body[MIG_HELLO_BYTES_MAX];
    int err;

    err = mig_stream_read_control(s, &rec, sizeof(rec));
    if (err < 0) {
        return mig_stream_strerror(err);
    }
    if (memcmp(&rec, "QEVM", 4) == 0) {
        return "the peer sends QEMU's own format";
    }
    if (memcmp(&rec, "\x16\x03", 2) == 0) { /* RFC 8446, 5.1 */
        return "the peer wants TLS, and this side has no tls-creds";
    }
    if (rec.magic != MIG_WIRE_MAGIC || rec.type != MIG_REC_HELLO ||
        (rec.flags & (uint16_t)~MIG_FLAGS_ADVISORY) ||
        rec.length > sizeof(body)) {
        return "not a migration stream";
    }
    err = mig_stream_read_control(s, body, (size_t)rec.length);
    if (err < 0) {
        return mig_stream_strerror(err);
    }
    return mig_hello_decode(body, (size_t)rec.length, ret)
               ? NULL
               : "not a migration stream";
}

/* Says to the source why not: by TLS, or in clear to one that has none. */
static bool secure_link(Destination *d, GError **errp)
{
    GError *local = NULL;

    if (mig_link_secure(&d->link, d->m->tls_creds, NULL, &local)) {
        return true;
    }
    if (local->code == EPROTONOSUPPORT) {
        say_and_linger(d, MIG_REC_REFUSE, "this side wants TLS (tls-creds)");
    } else if (local->code != ETIMEDOUT) {
        linger(d->s);
    }
    g_propagate_error(errp, local);
    return false;
}

/* By the stream's deadline. */
static bool greet(Destination *d, MigHello *ret, GError **errp)
{
    const char *what;

    if (d->m->tls_creds && !secure_link(d, errp)) {
        return false;
    }
    what = read_hello(d->s, ret);
    mig_stream_set_deadline(d->s, 0);
    return !what || vm_error_set(errp, 0, "%s", what);
}

/* The job goes on, so there is no error to return this by. */
static void tell_ignored(Destination *d, const char *what)
{
    if (!mig_is_cancelled(d->m)) {
        vm_warn("migration: ignored a connection: %s", what);
        MIG_INFO(d->m, g_strlcpy(info->error, what, sizeof(info->error)));
    }
}

/* One connection: true if it began with a HELLO. */
static bool try_connection(Destination *d, VmChannel *take_ch, MigHello *ret)
{
    g_autoptr(GError) error = NULL;

    mig_link_use(&d->link, mig_stream_new(take_ch));
    d->s = d->link.s;
    mig_publish_stream(d->m, d->s);
    mig_stream_set_deadline(d->s, vm_clock_ns() + HELLO_TIMEOUT_NS);
    if (greet(d, ret, &error)) {
        return true;
    }
    mig_link_explain(&d->link, &error);
    mig_publish_stream(d->m, NULL);
    mig_link_done(&d->link);
    d->s = NULL;
    tell_ignored(d, error->message);
    return false; /* (4) */
}

static bool await_connection(Destination *d, VmListener *listener,
                             MigHello *ret, GError **errp)
{
    bool found = false;

    while (!found) {
        VmChannel *ch = vm_listener_accept(listener, errp);

        if (!ch) {
            break;
        }
        found = try_connection(d, ch, ret);
    }
    if (!found || !ret->channels) { /* else there are more to come */
        vm_listener_free(mig_take_listener(d->m));
    }
    return found;
}

/* What is no connection: nobody else can come, however long it takes. */
static bool open_link(Destination *d, MigHello *ret, GError **errp)
{
    if (!mig_link_open(&d->link, d->m->address, /* incoming= */ true,
                       d->m->cancel_fd, errp)) {
        return false;
    }
    d->s = d->link.s;
    mig_publish_stream(d->m, d->s);
    if (d->m->tls_creds) {
        mig_stream_set_deadline(d->s,
                                vm_clock_ns() + DESCRIPTOR_TIMEOUT_NS);
    }
    if (!greet(d, ret, errp)) {
        g_prefix_error(errp, "'%s': ", d->m->address);
        return false;
    }
    return true;
}

static bool await_source(Destination *d, MigHello *ret, GError **errp)
{
    VmListener *listener;

    vm_mutex_lock(&d->m->lock);
    listener = d->m->listener;
    vm_mutex_unlock(&d->m->lock);
    if (!(listener ? await_connection(d, listener, ret, errp)
                   : open_link(d, ret, errp))) {
        return false;
    }
    d->one_way = mig_hello_is_one_way(ret);
    return d->one_way || d->link.can_answer ||
           vm_error_set(errp, 0, "the source wants answers, which '%s' cannot "
                                 "carry", d->m->address);
}

/* Fills the token of WELCOME and takes those who know it. */
static bool start_channels(Destination *d, unsigned count, uint8_t *ret_token,
                           GError **errp)
{
    if (d->m->token) {
        memcpy(ret_token, d->m->token, MIG_TOKEN_BYTES);
    } else if (getrandom(ret_token, MIG_TOKEN_BYTES, 0) != MIG_TOKEN_BYTES) {
        return vm_error_set(errp, errno, "no random bytes");
    }
    d->multifd = mig_multifd_new(d->m, d->s, d->ram, count, ret_token);
    return true;
}

static bool answer_hello(Destination *d, const MigHello *hello,
                         GError **errp)
{
    const RamPlacement *p = d->vm->placement;
    uint64_t budget = p->ops->budget_pages(p->opaque);
    GError *local = NULL;
    struct {
        MigWireWelcome w;
        uint8_t token[MIG_TOKEN_BYTES];
    } welcome;
    unsigned channels;
    MigHello own;

    mig_hello_of_vm(d->vm, &own);
    if (!mig_uri_is_connection(d->m->address)) {
        mig_hello_set_channels(&own, 0); /* nobody else can come */
    }
    if (!mig_hello_answer(hello, &own, budget, &welcome.w, &local)) {
        say_and_linger(d, MIG_REC_REFUSE, local->message);
        g_propagate_prefixed_error(errp, local, "refused the source: ");
        return false;
    }
    channels = welcome.w.features & MIG_FEATURE_CHANNELS ? hello->channels : 0;
    mig_chunks_init(&d->chunks, d->vm, welcome.w.chunk_pages);
    d->placement = d->chunks.placement;
    d->ram = mig_ram_receiver_new(d->m, d->placement, budget, d->one_way,
                                  channels);
    d->devices = mig_device_store_new();
    d->phase = PHASE_RAM;
    d->records = 1;
    MIG_INFO(d->m, info->destination_budget_bytes =
                       budget > UINT64_MAX / RAM_PAGE_BYTES
                           ? UINT64_MAX
                           : budget * RAM_PAGE_BYTES);
    return (channels == 0 ||
            start_channels(d, channels, welcome.token, errp)) &&
           reply(d, MIG_REC_WELCOME, &welcome,
                 channels ? sizeof(welcome) : sizeof(welcome.w), errp);
}

/* -- records ------------------------------------------------------------ */

/* What is not for this side, and may be ignored. */
static bool skip(Destination *d, const MigWireRecord *rec, GError **errp)
{
    int err;

    if (!(rec->type & MIG_REC_IGNORABLE)) {
        return vm_error_set(errp, 0, "migration stream: unknown record type "
                                     "0x%x", rec->type);
    }
    if (rec->length > MIG_IGNORED_BYTES_MAX) {
        return vm_error_set(errp, 0, "migration stream: record type 0x%x is "
                                     "too long", rec->type);
    }
    err = mig_stream_skip_control(d->s, rec->length);
    return err == 0 || mig_stream_receive_error(err, errp);
}

static bool on_plan(Destination *d, const MigWireRecord *rec, GError **errp)
{
    if (d->planned) {
        return refuse(errp, rec, "came twice");
    }
    d->planned = true;
    return mig_ram_receive_plan(d->ram, d->s, rec, errp);
}

static bool on_chunk(Destination *d, const MigWireRecord *rec, GError **errp)
{
    return mig_ram_receive_chunk(d->ram, d->s, rec, errp);
}

static bool on_zero_range(Destination *d, const MigWireRecord *rec,
                          GError **errp)
{
    return mig_ram_receive_zero_range(d->ram, d->s, rec, errp);
}

static bool on_move(Destination *d, const MigWireRecord *rec, GError **errp)
{
    return mig_ram_receive_move(d->ram, d->s, rec, errp);
}

static bool on_pass(Destination *d, const MigWireRecord *rec, GError **errp)
{
    bool last = rec->flags & MIG_FLAG_LAST;
    MigWirePass pass;

    if (!read_body(d, rec, &pass, sizeof(pass), errp)) {
        return false;
    }
    if (pass.pass != d->pass + 1 || pass.reserved) {
        return refuse(errp, rec, "out of order");
    }
    d->pass++;
    MIG_INFO(d->m, info->dirty_sync_count = d->pass);
    if (d->multifd &&
        !mig_multifd_barrier(d->multifd, pass.pass, last, errp)) {
        return false;
    }
    if (last) {
        d->phase = PHASE_DEVICES; /* READY answers for it */
        return true;
    }
    return mig_ram_receive_settle(d->ram, errp) &&
           reply(d, MIG_REC_PASS_DONE, &pass, sizeof(pass), errp);
}

/* An INDEX is for who starts at the end of a file. */
static bool on_index(Destination *d, const MigWireRecord *rec, GError **errp)
{
    return d->map ? mig_file_map_receive(d->map, d->s, rec, errp)
                  : skip(d, rec, errp);
}

static bool on_device(Destination *d, const MigWireRecord *rec,
                      GError **errp)
{
    return mig_device_store_receive(d->devices, d->s, rec->length, errp);
}

static bool check_ram(Destination *d, GError **errp)
{
    ChunkNo missing;
    PageNo damaged;

    if (d->map) {
        return mig_file_map_is_whole(d->map) ||
               vm_error_set(errp, 0, "migration stream: the file's map is "
                                     "not whole");
    }
    if (!mig_ram_receive_is_whole(d->ram, &missing)) {
        return vm_error_set(errp, 0,
                            "migration stream: chunk %" PRIu32
                            " of guest RAM never came", missing);
    }
    if (!mig_ram_receive_is_right(d->ram, &damaged)) {
        return vm_error_set(errp, 0,
                            "migration stream: page %" PRIu64
                            " of guest RAM was damaged on its way", damaged);
    }
    return true;
}

static bool check_complete(Destination *d, const MigWireRecord *rec,
                           const MigWireComplete *c, GError **errp)
{
    uint64_t pages = d->map ? d->foot.payload_pages
                            : mig_ram_received_pages(d->ram);

    if (c->records != d->records - 1 || c->payload_pages != pages ||
        c->devices != mig_device_store_count(d->devices)) {
        return refuse(errp, rec, "its counts are not those of what came");
    }
    if (c->digest != d->digest_before) {
        return refuse(errp, rec, "its digest is not that of what came");
    }
    return check_ram(d, errp);
}

static bool put_in_place(Destination *d, GError **errp)
{
    int err;

    if (!d->map) {
        return mig_ram_receive_settle(d->ram, errp);
    }
    /* By pages, in whatever chunks. */
    err = mig_file_map_place(d->map, d->vm->placement,
                             mig_link_file(&d->link));
    return err == 0 || vm_error_set(errp, -err, "cannot use guest RAM in "
                                                "the file");
}

static bool on_complete(Destination *d, const MigWireRecord *rec,
                        GError **errp)
{
    MigWireComplete c;
    int64_t start_ns = vm_clock_ns();

    if (!read_body(d, rec, &c, sizeof(c), errp) ||
        !check_complete(d, rec, &c, errp) || !put_in_place(d, errp) ||
        !mig_device_store_load(d->devices, d->vm, errp)) {
        return false;
    }
    MIG_INFO(d->m, info->load_us = (vm_clock_ns() - start_ns) / VM_NS_PER_US);
    d->phase = PHASE_READY; /* (2) */
    return reply(d, MIG_REC_READY, NULL, 0, errp);
}

/* Images, then the VM. On failure neither is in use here: (3). */
static bool take_over(Destination *d, bool run, GError **errp)
{
    const MigrationVm *vm = d->vm;
    int64_t start_ns = vm_clock_ns();
    int err;

    if (vm->activate && !d->m->capabilities.late_block_activate &&
        !vm->activate(vm->opaque, errp)) {
        return false;
    }
    mig_finalize_counters(d->m);
    err = vm->start(vm->opaque, run, errp);
    if (err < 0) {
        (void)vm_error_set(errp, -err, "cannot start the VM");
        if (vm->inactivate) {
            (void)vm->inactivate(vm->opaque, NULL); /* told already */
        }
        return false;
    }
    MIG_INFO(d->m, info->start_us = (vm_clock_ns() - start_ns) / VM_NS_PER_US);
    return true;
}

static bool on_run(Destination *d, const MigWireRecord *rec, GError **errp)
{
    MigWireRun run;

    if (!read_body(d, rec, &run, sizeof(run), errp)) {
        return false;
    }
    if (run.state > MIG_WIRE_RUN_RUNNING || run.reserved) {
        return refuse(errp, rec, "bad run state");
    }
    if (d->one_way && !mig_link_finish_receiving(&d->link, errp)) {
        return false;
    }
    if (!mig_commit(d->m)) {
        return vm_error_set(errp, ECANCELED, "migration");
    }
    if (!take_over(d, run.state == MIG_WIRE_RUN_RUNNING, errp)) {
        mig_uncommit(d->m);
        return false;
    }
    d->phase = PHASE_DONE;
    /* The VM is here now, whether the source learns of it or not. */
    (void)reply(d, MIG_REC_RUNNING, NULL, 0, NULL);
    return true;
}

typedef struct RecordKind {
    uint16_t type;
    uint16_t flags; /* known ones of the low byte */
    unsigned phases;
    bool (*handle)(Destination *d, const MigWireRecord *rec, GError **errp);
} RecordKind;

static const RecordKind kinds[] = {
    { MIG_REC_PLAN, 0, PHASE_RAM, on_plan },
    { MIG_REC_CHUNK, MIG_FLAG_HISTORY | MIG_FLAG_LAST | MIG_FLAG_CHECKSUM,
      PHASE_RAM, on_chunk },
    { MIG_REC_ZERO_RANGE, MIG_FLAG_HISTORY, PHASE_RAM, on_zero_range },
    { MIG_REC_MOVE, 0, PHASE_RAM, on_move },
    { MIG_REC_PASS, MIG_FLAG_LAST, PHASE_RAM, on_pass },
    { MIG_REC_INDEX, MIG_FLAG_HISTORY, PHASE_DEVICES, on_index },
    { MIG_REC_DEVICE, 0, PHASE_DEVICES, on_device },
    { MIG_REC_COMPLETE, 0, PHASE_DEVICES, on_complete },
    { MIG_REC_RUN, 0, PHASE_READY, on_run },
};

static bool handle_record(Destination *d, const MigWireRecord *rec,
                          GError **errp)
{
    uint16_t flags = rec->flags & (uint16_t)~MIG_FLAGS_ADVISORY;

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (kinds[i].type != rec->type) {
            continue;
        }
        if (!(kinds[i].phases & d->phase)) {
            return refuse(errp, rec, "out of place");
        }
        if (flags & ~kinds[i].flags) {
            return refuse(errp, rec, "unknown flags");
        }
        return kinds[i].handle(d, rec, errp);
    }
    return skip(d, rec, errp);
}

static bool receive_record(Destination *d, GError **errp)
{
    MigWireRecord rec;
    int err;

    d->digest_before = mig_stream_read_digest(d->s);
    err = mig_stream_read_control(d->s, &rec, sizeof(rec));
    if (err < 0) {
        return mig_stream_receive_error(err, errp);
    }
    if (rec.magic != MIG_WIRE_MAGIC) {
        return vm_error_set(errp, 0, "migration stream: no record where one "
                                     "should begin");
    }
    d->records++;
    if (!handle_record(d, &rec, errp)) {
        g_prefix_error(errp, "record %" PRIu64 ": ", d->records);
        return false;
    }
    return true;
}

/* -- the job ------------------------------------------------------------ */

static bool receive_all(Destination *d, GError **errp)
{
    while (d->phase != PHASE_DONE) {
        if (!receive_record(d, errp)) {
            return false;
        }
    }
    return true;
}

/* A channel that fails ends the first connection, and so does the source when
 * it sees that first: then it is the cause. They are not needed any more. */
static void use_channel_error(Destination *d, GError **error)
{
    GError *cause = NULL;

    if (d->multifd && d->phase == PHASE_RAM) {
        if (!mig_multifd_check(d->multifd, CHANNEL_ERROR_NS, &cause)) {
            g_clear_error(error);
            *error = cause;
        }
        mig_stream_cut_branches(d->s);
    }
}

/* From a file whose map says where RAM lies, only what is behind that is read
 * now. All of the file is, if its end is not what it should be. */
static bool go_to_map(Destination *d, GError **errp)
{
    const RamPlacement *p = d->placement; /* in the file's chunks */
    int fd = mig_link_file(&d->link), err;

    if (fd < 0 || !d->one_way || !mig_file_foot_read(fd, &d->foot) ||
        !mig_file_can_place(d->vm->placement, fd)) {
        return true;
    }
    if (d->foot.hello_digest != mig_stream_read_digest(d->s) ||
        d->foot.reserved) {
        return vm_error_set(errp, 0, "migration stream: FOOT record: it is "
                                     "not this file's");
    }
    err = mig_stream_go_to(d->s, d->foot.offset, d->foot.digest);
    if (err < 0) {
        return mig_stream_receive_error(err, errp);
    }
    d->map = mig_file_map_new(ram_block_pages(d->vm->ram),
                              p->ops->chunk_pages(p->opaque));
    d->records = d->foot.records;
    d->pass = d->foot.passes;
    d->phase = PHASE_DEVICES;
    return true;
}

static bool receive(Destination *d, GError **errp)
{
    MigHello hello;
    GError *local = NULL;

    if (!await_source(d, &hello, errp)) {
        return false;
    }
    mig_set_status(d->m, MIGRATION_ACTIVE);
    if (!answer_hello(d, &hello, errp) || !go_to_map(d, errp)) {
        return false;
    }
    if (!receive_all(d, &local)) {
        use_channel_error(d, &local);
        say_and_linger(d, MIG_REC_FAILED, local->message);
        g_propagate_error(errp, local);
        return false;
    }
    return true;
}

static void tear_down(Destination *d)
{
    g_clear_pointer(&d->multifd, mig_multifd_free);
    vm_listener_free(mig_take_listener(d->m)); /* or NULL */
    g_clear_pointer(&d->ram, mig_ram_receiver_free);
    g_clear_pointer(&d->map, mig_file_map_free);
    g_clear_pointer(&d->devices, mig_device_store_free);
    mig_chunks_done(&d->chunks);
    mig_publish_stream(d->m, NULL);
    mig_link_done(&d->link);
}

void mig_destination_run(void *arg)
{
    Destination d = { .m = arg, .vm = ((Migration *)arg)->vm };
    GError *error = NULL;
    bool ok = receive(&d, &error);

    if (ok && !d.one_way) {
        mig_link_flush(&d.link);
    } else if (!ok && !mig_is_cancelled(d.m)) {
        mig_link_explain(&d.link, &error);
    }
    tear_down(&d);
    if (ok) {
        mig_finish(d.m, MIGRATION_COMPLETED, NULL);
    } else if (mig_is_cancelled(d.m)) {
        mig_finish(d.m, MIGRATION_CANCELLED, NULL);
    } else {
        mig_finish(d.m, MIGRATION_FAILED, error->message);
    }
    g_clear_error(&error);
}
