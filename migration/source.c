/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source of a migration.
 *
 *            connect, HELLO, WELCOME, tracking on
 *   RUNNING ------------------------------------------+
 *      |      first pass, dirty passes                |
 *      | the rest fits downtime-limit                 |
 *      v                                              |
 *   STOPPED   (migrate-continue,) last pass,          |
 *      |      devices, COMPLETE, READY                |  any failure or
 *      |                                              |  cancel: the VM
 *      v                                              +--> goes on here
 *   INACTIVE  images given up                         |
 *      |                                              |
 *      | RUN handed to the socket in full             |
 *      v                                              |
 *   RUN_SENT --FAILED (the destination never runs)----+
 *      |  |
 *      |  +--nothing--> stays paused: the operator decides
 *      | RUNNING
 *      v
 *   GONE      the VM is the destination's
 *
 * One way (docs/migration-format.md, 5.4) nothing is waited for but for the
 * end of what was written: that stands for READY and RUNNING.
 *
 * Invariants (the proof is in docs/migration-format.md, section 5):
 *   (1) Before RUN_SENT the destination cannot have the whole RUN record, so
 *       it does not run, and this side may.
 *   (2) In RUN_SENT and GONE this side does not run, unless the destination
 *       has said FAILED after RUN, which it says only if it never runs.
 *   (3) Images are taken back before the VM goes on, and only if (1) or
 *       FAILED says that the destination does not use them.
 *   (4) A dirty page is either in "dirty", or in an export, or was written
 *       after the last sync and is in the log. Once the VM is stopped, one
 *       more sync has them all.
 *
 * Threads: "mig-source" runs all of this; "mig-return" reads the answers;
 * "mig-send" send chunks, if there are channels.
 */
#include "migration-internal.h"

#include <errno.h>
#include <inttypes.h>

#include "chunk-size.h"
#include "devices.h"
#include "estimate.h"
#include "hello.h"
#include "link.h"
#include "multifd-connect.h"
#include "ram-send.h"
#include "return-path.h"
#include "throttle.h"
#include "util/bits.h"
#include "util/clock.h"
#include "util/error.h"

/* While nothing is sent, a destination that has gone is noticed so soon. */
#define PAUSE_LOOK_NS (200 * VM_NS_PER_MS)

typedef enum SourceStage {
    STAGE_RUNNING,
    STAGE_STOPPED,
    STAGE_INACTIVE,
    STAGE_RUN_SENT,
    STAGE_GONE,
} SourceStage;

typedef struct Source {
    /* Immutable after the handshake. */
    Migration *m;
    const MigrationVm *vm;
    MigLink link;
    MigStream *s; /* link's */
    bool one_way; /* nobody answers */
    const RamPlacement *placement; /* chunks' */
    MigChunks chunks;
    uint64_t budget_pages;
    bool has_history;
    bool can_move;
    bool with_sums;
    unsigned channels_wanted;
    GPtrArray *channels; /* of MigStream, branches of s */
    MigFileMap *map; /* of a file that can be used in place; or NULL */
    MigWireFoot foot; /* likewise */

    /* The source's thread only. */
    MigReturn *ret; /* NULL: one way, or not there yet */
    MigRamSender *ram;
    unsigned long *dirty;
    uint64_t pages;
    SourceStage stage;
    bool was_running;
    bool tracking;
    uint32_t pass;
    MigEstimate estimate;
    MigThrottle throttle;
    int64_t pass_start_ns;
    uint64_t pass_start_bytes;
    uint64_t pass_start_pages;
    uint64_t pass_start_chunks;
    int64_t last_sync_ns;
    int64_t stop_ns; /* when the stop began */
    uint64_t devices;
} Source;

/* -- handshake ---------------------------------------------------------- */

/* A connection has somebody at the other end; so has a descriptor that can
 * answer. Of a command only who gave it knows. */
static bool goes_one_way(const Source *src)
{
    return !src->link.can_answer ||
           (src->link.is_command && !src->m->capabilities.return_path);
}

static bool open_stream(Source *src, GError **errp)
{
    const char *uri = src->m->address;

    if (!mig_link_open(&src->link, uri, /* incoming= */ false,
                       src->m->cancel_fd, errp)) {
        return false;
    }
    src->s = src->link.s;
    if (!src->link.is_command) { /* what one waits for, only its author knows */
        vm_channel_set_write_limit(mig_stream_channel(src->s),
                                   src->m->waits.write_ns);
    }
    mig_publish_stream(src->m, src->s);
    if (!mig_multifd_secure(src->m, &src->link, errp)) {
        return false;
    }
    src->one_way = goes_one_way(src);
    return !src->one_way || !src->m->capabilities.return_path ||
           vm_error_set(errp, 0, "the capability 'return-path' is on, and "
                                 "'%s' cannot carry answers", uri);
}

static bool read_refusal(Source *src, uint64_t len, GError **errp)
{
    char text[MIG_REASON_BYTES_MAX];
    g_autofree char *reason = NULL;

    if (len > sizeof(text) ||
        mig_stream_read_control(src->s, text, (size_t)len) < 0) {
        return vm_error_set(errp, 0, "the destination refused");
    }
    reason = mig_reason_clean(text, (size_t)len);
    return vm_error_set(errp, 0, "the destination refused: %s", reason);
}

typedef struct Welcome {
    MigWireWelcome w;
    uint8_t token[MIG_TOKEN_BYTES]; /* with channels */
} Welcome;

static bool read_welcome(Source *src, Welcome *ret, GError **errp)
{
    size_t len = sizeof(ret->w) + (src->channels_wanted ? sizeof(ret->token)
                                                        : 0);
    MigWireRecord rec;
    int err;

    mig_stream_set_deadline(src->s, vm_clock_ns() + src->m->waits.welcome_ns);
    err = mig_stream_read_control(src->s, &rec, sizeof(rec));
    if (err == 0 && rec.magic == MIG_WIRE_MAGIC &&
        rec.type == MIG_REC_REFUSE) {
        return read_refusal(src, rec.length, errp);
    }
    /* A longer WELCOME is a later version's: the rest is skipped. */
    if (err == 0 &&
        (rec.magic != MIG_WIRE_MAGIC || rec.type != MIG_REC_WELCOME ||
         rec.length < len || rec.length > MIG_HELLO_BYTES_MAX)) {
        return vm_error_set(errp, 0, "the peer does not speak this "
                                     "migration protocol");
    }
    if (err == 0) {
        err = mig_stream_read_control(src->s, ret, len);
    }
    if (err == 0) {
        err = mig_stream_skip_control(src->s, rec.length - len);
    }
    mig_stream_set_deadline(src->s, 0);
    return err == 0 || vm_error_set(errp, 0, "no answer to the handshake: %s",
                                    mig_stream_strerror(err));
}

static void adopt_welcome(Source *src, const MigHello *own,
                          const MigWireWelcome *w)
{
    src->budget_pages = w->budget_pages;
    src->has_history = !own->adapts_chunk;
    src->can_move = w->features & MIG_FEATURE_MOVE && !src->one_way;
    mig_chunks_init(&src->chunks, src->vm, w->chunk_pages);
    src->placement = src->chunks.placement;
    src->with_sums = w->features & MIG_FEATURE_CHECKSUM;
    MIG_INFO(src->m, info->destination_budget_bytes =
                         w->budget_pages > UINT64_MAX / RAM_PAGE_BYTES
                             ? UINT64_MAX
                             : w->budget_pages * RAM_PAGE_BYTES);
}

static unsigned channels_wanted(Migration *m)
{
    unsigned n;

    vm_mutex_lock(&m->lock);
    n = m->capabilities.multifd ? (unsigned)m->parameters.multifd_channels : 0;
    vm_mutex_unlock(&m->lock);
    return n;
}

static bool shake_hands(Source *src, GError **errp)
{
    g_autoptr(GByteArray) body = NULL;
    MigHello own;
    Welcome welcome = { .token = { 0 } };
    int err;

    src->channels_wanted = channels_wanted(src->m);
    mig_hello_of_vm(src->vm, &own);
    mig_hello_set_one_way(&own, src->one_way);
    if (!src->one_way && !src->m->capabilities.checksum) {
        own.features &= ~MIG_FEATURE_CHECKSUM;
    }
    mig_hello_set_channels(&own, src->channels_wanted);
    body = mig_hello_encode(&own);
    err = mig_stream_write_body(src->s, MIG_REC_HELLO, 0, body->data,
                                body->len);
    if (err < 0) {
        return mig_stream_send_error(err, errp);
    }
    src->foot.hello_digest = mig_stream_write_digest(src->s);
    if (src->one_way) {
        welcome.w = (MigWireWelcome){ .version = own.version_max,
                                      .chunk_pages = own.chunk_pages,
                                      .features = own.features,
                                      .budget_pages = UINT64_MAX };
    } else if (!read_welcome(src, &welcome, errp) ||
               !mig_hello_accept(&own, &welcome.w, errp)) {
        return false;
    }
    adopt_welcome(src, &own, &welcome.w);
    return mig_multifd_connect(src->m, src->s, welcome.token,
                               src->channels_wanted, src->channels, errp);
}

/* -- set-up ------------------------------------------------------------- */

static bool start_tracking(Source *src, GError **errp)
{
    int err;

    src->placement->ops->tracking_start(src->placement->opaque);
    err = ram_dirty_start(src->vm->ram);
    if (err < 0) {
        src->placement->ops->tracking_stop(src->placement->opaque);
        return vm_error_set(errp, -err, "cannot track what the guest writes");
    }
    src->tracking = true;
    src->last_sync_ns = vm_clock_ns();
    return true;
}

static void stop_tracking(Source *src)
{
    if (src->tracking) {
        ram_dirty_stop(src->vm->ram);
        src->placement->ops->tracking_stop(src->placement->opaque);
        src->tracking = false;
    }
}

static void start_map(Source *src)
{
    const RamPlacement *p = src->placement;

    if (mig_link_file(&src->link) >= 0 && src->with_sums) {
        src->map = mig_file_map_new(ram_block_pages(src->vm->ram),
                                    p->ops->chunk_pages(p->opaque));
    }
}

static bool set_up(Source *src, GError **errp)
{
    MigRamSenderConfig config;

    if (!open_stream(src, errp) || !shake_hands(src, errp)) {
        return false;
    }
    start_map(src);
    src->ret = src->one_way ? NULL : mig_return_new(
        src->s, src->m->waits.last_words_ns);
    config = (MigRamSenderConfig){
        .m = src->m,
        .stream = src->s,
        .channels = src->channels,
        .ram = src->vm->ram,
        .placement = src->placement,
        .budget_pages = src->budget_pages,
        .one_way = src->one_way,
        .has_history = src->has_history,
        .can_move = src->can_move,
        .with_sums = src->with_sums,
        .map = src->map,
    };
    src->ram = mig_ram_sender_new(&config, errp);
    if (!src->ram) {
        return false;
    }
    src->pages = ram_block_pages(src->vm->ram);
    src->dirty = vm_bitmap_new(src->pages);
    return start_tracking(src, errp);
}

/* -- answers ------------------------------------------------------------ */

/* Before the request is written. One way, nothing is expected. */
static int expect(Source *src, MigAnswer answer, uint32_t pass)
{
    return src->one_way ? 0 : mig_return_expect(src->ret, answer, pass);
}

static int await(Source *src, int64_t timeout_ns)
{
    return src->one_way ? 0 : mig_return_wait(src->ret, timeout_ns);
}

/* -- passes ------------------------------------------------------------- */

static void begin_pass(Source *src)
{
    mig_begin_pass(src->m);
    MIG_INFO(src->m, src->pass_start_pages = info->normal_pages +
                                             info->duplicate_pages);
    src->pass_start_ns = vm_clock_ns();
    src->pass_start_bytes = mig_stream_bytes_written(src->s);
    src->pass_start_chunks = mig_ram_chunks_sent(src->ram);
}

static void measure_pass(Source *src)
{
    uint64_t bytes = mig_stream_bytes_written(src->s) - src->pass_start_bytes;
    int64_t ns = MAX(vm_clock_ns() - src->pass_start_ns, 1);

    mig_estimate_pass(&src->estimate, bytes,
                      mig_ram_chunks_sent(src->ram) - src->pass_start_chunks,
                      ns);
    MIG_INFO(src->m, {
        info->mbps = (double)bytes * 8e3 / (double)ns;
        info->pages_per_second =
            (uint64_t)((double)(info->normal_pages + info->duplicate_pages -
                                src->pass_start_pages) *
                       1e9 / (double)ns);
    });
}

/* A barrier: the destination has applied all of the pass. */
static bool end_pass(Source *src, GError **errp)
{
    MigWirePass body = { .pass = ++src->pass };
    int err;

    if (!mig_ram_sync_channels(src->ram, body.pass, /* last= */ false, errp)) {
        return false;
    }
    err = expect(src, MIG_ANSWER_PASS_DONE, body.pass);
    if (err == 0) {
        err = mig_stream_write_body(src->s, MIG_REC_PASS, 0, &body,
                                    sizeof(body));
    }
    if (err == 0) {
        err = await(src, src->m->waits.pass_ns);
    }
    if (err < 0) {
        return mig_stream_send_error(err, errp);
    }
    measure_pass(src);
    return true;
}

/* Adds to dirty what was written since the last sync. */
static bool sync_dirty(Source *src, GError **errp)
{
    int err = ram_dirty_sync(src->vm->ram, src->dirty);
    int64_t now_ns = vm_clock_ns();
    int64_t since_ns = MAX(now_ns - src->last_sync_ns, 1);
    uint64_t pages;

    if (err < 0) {
        return vm_error_set(errp, -err, "cannot collect what the guest wrote");
    }
    src->last_sync_ns = now_ns;
    pages = vm_bitmap_count(src->dirty, 0, src->pages);
    MIG_INFO(src->m, {
        info->dirty_pages_rate = (uint64_t)((double)pages * 1e9 /
                                            (double)since_ns);
        info->ram_remaining_bytes = pages * RAM_PAGE_BYTES;
    });
    return true;
}

static uint64_t dirty_bytes(const Source *src)
{
    return vm_bitmap_count(src->dirty, 0, src->pages) * RAM_PAGE_BYTES;
}

/* Whether what is dirty now can be sent within the downtime limit. */
static bool rest_fits(Source *src)
{
    MigrationParameters p;
    uint64_t bytes = dirty_bytes(src);
    double expected_ms = mig_estimate_ns(
        &src->estimate, bytes, mig_ram_dirty_chunks(src->ram, src->dirty)) /
        (double)VM_NS_PER_MS;

    vm_mutex_lock(&src->m->lock);
    p = src->m->parameters;
    if (p.switchover_bandwidth_bytes_per_s) {
        expected_ms = (double)bytes * 1e3 /
                      (double)p.switchover_bandwidth_bytes_per_s;
    }
    src->m->info.expected_downtime_ms = (int64_t)expected_ms;
    vm_mutex_unlock(&src->m->lock);
    return expected_ms <= (double)p.downtime_limit_ms;
}

static void throttle(Source *src, unsigned percent)
{
    src->vm->throttle(src->vm->opaque, percent);
    MIG_INFO(src->m, info->cpu_throttle_percent = percent);
}

static void unthrottle(Source *src)
{
    if (src->throttle.percent) {
        src->throttle.percent = 0;
        throttle(src, 0);
    }
}

/* After a pass: all that is dirty was dirtied since it began. */
static void converge(Source *src)
{
    MigrationParameters p;

    if (!src->m->capabilities.auto_converge) {
        return;
    }
    vm_mutex_lock(&src->m->lock);
    p = src->m->parameters;
    vm_mutex_unlock(&src->m->lock);
    if (mig_throttle_pass(&src->throttle, &p, dirty_bytes(src),
                          mig_stream_bytes_written(src->s) -
                              src->pass_start_bytes,
                          vm_clock_ns() - src->pass_start_ns)) {
        throttle(src, src->throttle.percent);
    }
}

static bool precopy(Source *src, GError **errp)
{
    begin_pass(src);
    if (!mig_ram_send_all(src->ram, errp) || !end_pass(src, errp)) {
        return false;
    }
    for (;;) {
        if (!sync_dirty(src, errp)) {
            return false;
        }
        if (rest_fits(src) &&
            !mig_ram_wants_exchange(src->ram, src->dirty)) {
            return true;
        }
        converge(src);
        begin_pass(src);
        if (!mig_ram_send_dirty(src->ram, src->dirty, /* stopped= */ false,
                                errp) ||
            !end_pass(src, errp)) {
            return false;
        }
    }
}

/* -- switch-over -------------------------------------------------------- */

static int64_t us_since(int64_t start_ns)
{
    return (vm_clock_ns() - start_ns) / VM_NS_PER_US;
}

static bool stop_vm(Source *src, GError **errp)
{
    int err;

    if (mig_is_cancelled(src->m)) {
        return vm_error_set(errp, ECANCELED, "migration");
    }
    src->stop_ns = vm_clock_ns();
    err = src->vm->stop(src->vm->opaque, &src->was_running);
    if (err < 0) {
        return vm_error_set(errp, -err, "cannot stop the VM");
    }
    src->stage = STAGE_STOPPED;
    unthrottle(src); /* not earlier: until it stood, the guest could write */
    MIG_INFO(src->m, {
        info->stop_us = us_since(src->stop_ns);
        info->precopy_bytes = mig_stream_bytes_written(src->s);
    });
    return true;
}

/* For who has to do something between the two sides, such as move a lock. */
static bool pause_before_switchover(Source *src, GError **errp)
{
    int64_t start_ns = vm_clock_ns();

    mig_set_status(src->m, MIGRATION_PRE_SWITCHOVER);
    while (!mig_wait_continue(src->m, PAUSE_LOOK_NS)) {
        if (src->ret && mig_return_has_ended(src->ret)) {
            return mig_stream_send_error(-EPIPE, errp);
        }
    }
    MIG_INFO(src->m, info->pause_us = us_since(start_ns));
    return !mig_is_cancelled(src->m) ||
           vm_error_set(errp, ECANCELED, "migration");
}

/* PASS with LAST ends it; READY, not PASS_DONE, is the answer. */
static bool last_pass(Source *src, GError **errp)
{
    int64_t start_ns = vm_clock_ns();
    MigWirePass body = { .pass = ++src->pass };
    int err;

    mig_begin_pass(src->m);
    if (!sync_dirty(src, errp) ||
        !mig_ram_send_dirty(src->ram, src->dirty, /* stopped= */ true,
                            errp) ||
        !mig_ram_sync_channels(src->ram, body.pass, /* last= */ true, errp)) {
        return false;
    }
    err = mig_stream_write_body(src->s, MIG_REC_PASS, MIG_FLAG_LAST, &body,
                                sizeof(body));
    MIG_INFO(src->m, info->last_pass_us = us_since(start_ns));
    return err == 0 || mig_stream_send_error(err, errp);
}

/* Behind the last pass: where everything lies. */
static bool send_index(Source *src, GError **errp)
{
    int err;

    if (!src->map) {
        return true;
    }
    src->foot.offset = mig_stream_bytes_written(src->s);
    src->foot.records = mig_stream_records_written(src->s);
    src->foot.payload_pages = mig_ram_payload_pages(src->ram);
    src->foot.digest = mig_stream_write_digest(src->s);
    src->foot.passes = src->pass;
    err = mig_file_map_write(src->map, src->s,
                             src->has_history ? src->placement : NULL);
    return err == 0 || mig_stream_send_error(err, errp);
}

static bool send_foot(Source *src, GError **errp)
{
    int err = src->map ? mig_stream_write_body(src->s, MIG_REC_FOOT, 0,
                                               &src->foot, sizeof(src->foot))
                       : 0;

    return err == 0 || mig_stream_send_error(err, errp);
}

static bool send_devices(Source *src, GError **errp)
{
    int64_t start_ns = vm_clock_ns();
    bool ok = mig_devices_send(src->vm, src->s, &src->devices, errp);

    MIG_INFO(src->m, info->device_us = us_since(start_ns));
    return ok;
}

static bool complete(Source *src, GError **errp)
{
    int64_t start_ns = vm_clock_ns();
    MigWireComplete body = {
        .records = mig_stream_records_written(src->s),
        .payload_pages = mig_ram_payload_pages(src->ram),
        .devices = src->devices,
        .digest = mig_stream_write_digest(src->s),
    };
    int err = expect(src, MIG_ANSWER_READY, 0);

    if (err == 0) {
        err = mig_stream_write_body(src->s, MIG_REC_COMPLETE, 0, &body,
                                    sizeof(body));
    }
    if (err == 0) {
        err = await(src, src->m->waits.ready_ns);
    }
    MIG_INFO(src->m, info->ready_us = us_since(start_ns));
    return err == 0 || mig_stream_send_error(err, errp);
}

static bool give_up_images(Source *src, GError **errp)
{
    int64_t start_ns = vm_clock_ns();
    bool ok;

    src->stage = STAGE_INACTIVE; /* also half way: all are taken back then */
    ok = !src->vm->inactivate || src->vm->inactivate(src->vm->opaque, errp);
    MIG_INFO(src->m, info->images_us = us_since(start_ns));
    return ok;
}

/* The point of no return. */
static bool send_run(Source *src, GError **errp)
{
    MigWireRun body = { .state = src->was_running ? MIG_WIRE_RUN_RUNNING
                                                  : MIG_WIRE_RUN_PAUSED };
    int err;

    /* Once RUNNING is expected, and the job committed, nobody of this side
     * cuts the stream: an error below means that RUN was not handed over in
     * full, which is what (1) rests on. */
    if (!mig_commit(src->m)) {
        return vm_error_set(errp, ECANCELED, "migration");
    }
    err = expect(src, MIG_ANSWER_RUNNING, 0);
    if (err == 0) {
        err = mig_stream_write_body(src->s, MIG_REC_RUN, 0, &body,
                                    sizeof(body));
    }
    if (err < 0) {
        mig_uncommit(src->m);
        return mig_stream_send_error(err, errp);
    }
    src->stage = STAGE_RUN_SENT;
    return true;
}

static bool await_running(Source *src, GError **errp)
{
    int err = mig_return_wait(src->ret, src->m->waits.running_ns);

    if (err == 0) {
        src->stage = STAGE_GONE;
        return true;
    }
    if (mig_return_has_failed(src->ret)) {
        src->stage = STAGE_INACTIVE; /* (2): it has promised */
        mig_uncommit(src->m);
        return mig_return_error(src->ret, errp);
    }
    return vm_error_set(
        errp, 0,
        "the destination was told to run and did not answer (%s): it may be "
        "running, so this side stays paused. Make sure that it is not, "
        "then 'cont' here",
        err == -ETIMEDOUT ? "time-out" : "the connection ended");
}

/* One way: the end of what was written is all that will be known. */
static bool finish_sending(Source *src, GError **errp)
{
    bool is_void;

    if (mig_link_finish_sending(&src->link, &is_void, errp)) {
        src->stage = STAGE_GONE;
        return true;
    }
    if (is_void) {
        src->stage = STAGE_INACTIVE; /* (2): nobody can run it */
        mig_uncommit(src->m);
    } else {
        g_prefix_error(errp, "the whole VM was sent, so it may run elsewhere "
                             "and this side stays paused; make sure that it "
                             "does not, then 'cont' here: ");
    }
    return false;
}

/* The last two steps: the other side runs, or at least can. */
static bool hand_over(Source *src, GError **errp)
{
    int64_t start_ns = vm_clock_ns();

    if (!send_run(src, errp) ||
        !(src->one_way ? finish_sending(src, errp)
                       : await_running(src, errp))) {
        return false;
    }
    MIG_INFO(src->m, info->resume_us = us_since(start_ns));
    return true;
}

static bool switch_over(Source *src, GError **errp)
{
    if (!stop_vm(src, errp) ||
        (src->m->capabilities.pause_before_switchover &&
         !pause_before_switchover(src, errp))) {
        return false;
    }
    mig_set_status(src->m, MIGRATION_DEVICE);
    if (!last_pass(src, errp) || !send_index(src, errp) ||
        !send_devices(src, errp) || !send_foot(src, errp) ||
        !complete(src, errp) || !give_up_images(src, errp) ||
        !hand_over(src, errp)) {
        return false;
    }
    MIG_INFO(src->m, {
        info->downtime_ms = us_since(src->stop_ns) / 1000;
        info->ram_remaining_bytes = 0;
        info->transferred_bytes = mig_stream_bytes_written(src->s);
        info->downtime_bytes = info->transferred_bytes - info->precopy_bytes;
    });
    return true;
}

/* -- the ends ----------------------------------------------------------- */

/* (3). Returns false if the images are lost to this side. */
static bool take_images_back(Source *src, GError **error)
{
    GError *local = NULL;

    if (src->stage != STAGE_INACTIVE) {
        return true;
    }
    if (src->vm->activate && !src->vm->activate(src->vm->opaque, &local)) {
        g_prefix_error(error, "the VM stays paused, since its images could "
                              "not be taken back (%s), after: ",
                       local->message);
        g_clear_error(&local);
        return false;
    }
    src->stage = STAGE_STOPPED;
    return true;
}

/* After a failure or cancel: the VM goes on here if it may. */
static void go_on(Source *src, GError **error)
{
    if (!take_images_back(src, error)) {
        return;
    }
    if (src->stage == STAGE_STOPPED) {
        if (src->was_running) {
            src->vm->resume(src->vm->opaque);
        }
        src->stage = STAGE_RUNNING;
    }
}

/* When the connection was the cause, the destination's own reason is better
 * than "broken pipe". */
static void use_last_words(Source *src, GError **error)
{
    GError *reason = NULL;
    bool channel_broke = src->ram && mig_ram_channel_broke(src->ram);

    if (!src->ret || !(mig_stream_is_broken(src->s) || channel_broke ||
                       mig_return_has_ended(src->ret))) {
        return;
    }
    mig_stream_end_writes(src->s);
    (void)mig_return_error(src->ret, &reason);
    /* Say both: the VM is lost, or the destination may not know which. */
    if (src->stage == STAGE_INACTIVE || channel_broke) {
        g_prefix_error(error, "%s; ", reason->message);
        g_clear_error(&reason);
        return;
    }
    g_clear_error(error);
    *error = reason;
}

static void explain(Source *src, GError **error)
{
    if (src->stage != STAGE_RUN_SENT && !mig_is_cancelled(src->m)) {
        use_last_words(src, error);
        mig_link_explain(&src->link, error);
    }
}

static void tear_down(Source *src)
{
    mig_publish_stream(src->m, NULL);
    g_clear_pointer(&src->ret, mig_return_free);
    if (src->stage < STAGE_RUN_SENT) {
        mig_link_discard(&src->link);
    }
    g_clear_pointer(&src->ram, mig_ram_sender_free);
    g_clear_pointer(&src->map, mig_file_map_free);
    g_clear_pointer(&src->channels, g_ptr_array_unref);
    mig_link_done(&src->link);
    stop_tracking(src);
    g_clear_pointer(&src->dirty, g_free);
    mig_chunks_done(&src->chunks);
}

static bool migrate(Source *src, GError **errp)
{
    int64_t start_ns = vm_clock_ns();

    if (!set_up(src, errp)) {
        return false;
    }
    MIG_INFO(src->m, info->setup_ms = us_since(start_ns) / 1000);
    mig_set_status(src->m, MIGRATION_ACTIVE);
    return precopy(src, errp) && switch_over(src, errp);
}

static void free_channel(void *channel)
{
    mig_stream_free(channel);
}

void mig_source_run(void *arg)
{
    Source src = {
        .m = arg,
        .vm = ((Migration *)arg)->vm,
        .channels = g_ptr_array_new_with_free_func(free_channel),
    };
    GError *error = NULL;
    bool ok = migrate(&src, &error);
    bool cancelled;

    unthrottle(&src);
    if (!ok) {
        go_on(&src, &error); /* first: the VM is waiting */
        explain(&src, &error);
    }
    cancelled = mig_is_cancelled(src.m);
    tear_down(&src);
    if (ok) {
        mig_finish(src.m, MIGRATION_COMPLETED, NULL);
    } else if (cancelled) {
        mig_finish(src.m, MIGRATION_CANCELLED, NULL);
    } else {
        mig_finish(src.m, MIGRATION_FAILED, error->message);
    }
    g_clear_error(&error);
}
