/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: the pager thread, its mailbox, and the public interface.
 *
 * One thread owns every chunk. It waits for page faults (userfaultfd), I/O
 * completions (the ring's descriptor) and messages (an eventfd), and runs one
 * bounded step of the pager after each. Other threads never touch the pager's
 * data; they post messages, and where they need an answer they sleep until
 * the message has been run. Two things go around the mailbox, since they are
 * frequent: a pin whose pages are present (atomics, see pager.c), and copies
 * of the history (history_lock).
 *
 * A poster may hold any lock but the leaves: the pager thread takes no other.
 *
 * Threads: as in vmemdirect/vmemdirect.h.
 */
#include "engine-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "seal.h"
#include "swapfile.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"

#define MIN_BUDGET_CHUNKS 16u
#define HUGE_BYTES ((size_t)2 << 20)
#define EVENTS_PER_READ 64
/* Pages that one message discards: some milliseconds; and what the call for
 * a range costs, in pages. */
#define DISCARD_PAGES_PER_CALL UINT64_C(4096)
#define DISCARD_RANGE_COST_PAGES UINT64_C(16)
/* How often who can do without an answer asks the watchdog. */
#define PATIENCE_NS (100 * VM_NS_PER_MS)

/* --- mailbox ------------------------------------------------------------- */

void vmd_engine_post(VmdEngine *vmd, VmdMessage *m)
{
    uint64_t one = 1;

    m->next = NULL;
    vm_mutex_lock(&vmd->lock);
    if (vmd->last) {
        vmd->last->next = m;
    } else {
        vmd->first = m;
    }
    vmd->last = m;
    vm_mutex_unlock(&vmd->lock);
    (void)!write(vmd->event_fd, &one, sizeof(one));
}

void vmd_engine_finish(VmdEngine *vmd, VmdMessage *m)
{
    vm_mutex_lock(&vmd->lock);
    m->done = true;
    if (m->waiter) {
        vm_cond_signal(m->waiter);
    }
    vm_mutex_unlock(&vmd->lock); /* the poster owns m from here on */
}

/* A condition for each who waits: many may, and only one has its answer. */
void vmd_engine_wait(VmdEngine *vmd, VmdMessage *m)
{
    VmCond answered;

    vm_cond_init(&answered);
    vm_mutex_lock(&vmd->lock);
    m->waiter = &answered;
    while (!m->done) {
        vm_cond_wait(&answered, &vmd->lock);
    }
    vm_mutex_unlock(&vmd->lock);
    vm_cond_done(&answered);
}

static void run_messages(VmdEngine *vmd)
{
    uint64_t counter;

    (void)!read(vmd->event_fd, &counter, sizeof(counter));
    vm_mutex_lock(&vmd->lock);
    VmdMessage *m = vmd->first;
    vmd->first = NULL;
    vmd->last = NULL;
    vm_mutex_unlock(&vmd->lock);
    while (m) {
        VmdMessage *next = m->next;
        m->run(vmd, m);
        m = next;
    }
}

/* A function that runs on the pager thread while the caller waits. */
typedef struct Call {
    VmdMessage message;
    void (*function)(VmdPager *p, void *arg);
    void *arg;
} Call;

static void run_call(VmdEngine *vmd, VmdMessage *m)
{
    Call *call = (Call *)m;

    call->function(&vmd->pager, call->arg);
    vmd_engine_finish(vmd, m);
}

void vmd_engine_call(VmdEngine *vmd, void (*function)(VmdPager *, void *),
                       void *arg)
{
    Call call = { .message = { .run = run_call }, .function = function,
                  .arg = arg };

    vmd_engine_post(vmd, &call.message);
    vmd_engine_wait(vmd, &call.message);
}

/*
 * The same for who must not hang with the pager: gives up when the watchdog
 * has found it stalled, and then the function runs when it moves again. So arg
 * is copied, there and back; the last of the two frees the copy.
 */
typedef struct PatientCall {
    VmdMessage message;
    void (*function)(VmdPager *p, void *arg);
    atomic_uint refs;
    max_align_t arg[];
} PatientCall;

static void patient_call_unref(PatientCall *call)
{
    /* Release: what this thread did with it; acquire: what the other did. */
    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) == 1) {
        g_free(call);
    }
}

static void run_patient_call(VmdEngine *vmd, VmdMessage *m)
{
    PatientCall *call = (PatientCall *)m;

    call->function(&vmd->pager, call->arg);
    vmd_engine_finish(vmd, m);
    patient_call_unref(call);
}

static bool wait_unless_stalled(VmdEngine *vmd, VmdMessage *m)
{
    VmCond answered;
    bool done;

    vm_cond_init(&answered);
    vm_mutex_lock(&vmd->lock);
    m->waiter = &answered;
    while (!m->done) {
        if (!vm_cond_wait_ns(&answered, &vmd->lock, PATIENCE_NS) &&
            !m->done && vmd_watchdog_stalled(vmd->watchdog)) {
            break;
        }
    }
    done = m->done;
    m->waiter = NULL;
    vm_mutex_unlock(&vmd->lock);
    vm_cond_done(&answered);
    return done;
}

static bool call_pager_unless_stalled(VmdEngine *vmd,
                                      void (*function)(VmdPager *, void *),
                                      void *arg, size_t arg_bytes)
{
    PatientCall *call;
    bool done;

    if (vmd_watchdog_stalled(vmd->watchdog)) {
        return false;
    }
    call = g_malloc0(sizeof(*call) + arg_bytes);
    call->message.run = run_patient_call;
    call->function = function;
    atomic_init(&call->refs, 2);
    memcpy(call->arg, arg, arg_bytes);
    vmd_engine_post(vmd, &call->message);
    done = wait_unless_stalled(vmd, &call->message);
    if (done) {
        memcpy(arg, call->arg, arg_bytes);
    }
    patient_call_unref(call);
    return done;
}

/* --- access sources ------------------------------------------------------ */

/* An observing tracker has failed: soft faults need nothing and go on. */
static void replace_tracker(VmdEngine *vmd, int error)
{
    VmdPager *p = &vmd->pager;

    for (unsigned i = 0; i < VMD_TRACKERS; i++) {
        if (vmd_tracker_ops(i) == vmd->tracker->ops) {
            vmd->tracker_report.why_not[i] =
                g_strdup_printf("it has failed: %s", g_strerror(-error));
        }
    }
    vmd->spare_tracker = vmd_tracker_soft.start(&vmd->tracker_env, NULL);
    p->tracker = vmd->spare_tracker;
}

static void run_observed(VmdEngine *vmd, VmdMessage *m)
{
    const Observed *observed = (Observed *)m;
    const VmdObservation *o = observed->observation;
    int64_t start_ns = vm_clock_ns();

    if (o->error < 0) {
        replace_tracker(vmd, o->error);
    } else {
        vmd_history_observe(&vmd->pager, o->first, o->count, o->accessed);
    }
    vmd_observer_taken(observed->observer, vm_clock_ns() - start_ns);
}

static void deliver(void *opaque, VmdObserver *observer,
                    const VmdObservation *observation)
{
    VmdEngine *vmd = opaque;

    vmd->observed = (Observed){ .message = { .run = run_observed },
                                .observer = observer,
                                .observation = observation };
    vmd_engine_post(vmd, &vmd->observed.message);
}

static bool start_tracker(VmdEngine *vmd, const VmdConfig *cfg, GError **errp)
{
    vmd->tracker_root = g_strdup(cfg->tracker_root ? cfg->tracker_root : "");
    vmd->tracker_env = (VmdTrackerEnv){
        .guest = vmd->base,
        .pages = vmd->bytes >> RAM_PAGE_BITS,
        .chunk_pages = vmd->chunk_pages,
        .interval_ns = (int64_t)cfg->aging_interval_ms * VM_NS_PER_MS,
        .now_ns = vm_clock_ns,
        .root = vmd->tracker_root,
    };
    return vmd_tracker_choose(cfg->tracker, &vmd->tracker_env, &vmd->tracker,
                              &vmd->tracker_report, errp);
}

/* After the pager's thread: nobody uses them any more. */
static void stop_trackers(VmdEngine *vmd)
{
    vmd_observer_free(vmd->observer);
    if (vmd->tracker) {
        vmd->tracker->ops->stop(vmd->tracker);
    }
    if (vmd->spare_tracker) {
        vmd->spare_tracker->ops->stop(vmd->spare_tracker);
    }
    vmd_tracker_report_clear(&vmd->tracker_report);
    g_free(vmd->tracker_root);
}

/* --- the pager thread ---------------------------------------------------- */

static int compare_events(const void *a, const void *b)
{
    uint64_t x = ((const VmFaultEvent *)a)->address;
    uint64_t y = ((const VmFaultEvent *)b)->address;

    return x < y ? -1 : x > y;
}

/* Sorted, so that faults on one chunk come together. */
static void read_faults(VmdEngine *vmd)
{
    VmFaultEvent events[EVENTS_PER_READ];
    int n = vm_fault_service_read(vmd->faults, events, EVENTS_PER_READ);

    if (n < 0) {
        vmd_pager_fatal(&vmd->pager, n);
        return;
    }
    if (n > 0) {
        vmd_spin_fault(&vmd->spin, vm_clock_ns());
        qsort(events, (size_t)n, sizeof(events[0]), compare_events);
    }
    for (int i = 0; i < n; i++) {
        uint64_t offset = events[i].address - (uintptr_t)vmd->base;
        if (offset < vmd->bytes) {
            vmd_pager_fault(&vmd->pager, offset >> RAM_PAGE_BITS,
                            events[i].kind);
        } else {
            /* A protected frame page: nobody writes there but us. */
            vmd_pager_fatal(&vmd->pager, -EFAULT);
        }
    }
}

typedef struct Work {
    bool faults, messages;
} Work;

static uint64_t times_preempted(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nivcsw
                                                 : 0;
}

/* Sleeps until there is something to do; what: what to look at. */
static void wait_for_work(VmdEngine *vmd, Work *what)
{
    struct pollfd fds[] = {
        { .fd = vm_fault_service_fd(vmd->faults), .events = POLLIN },
        { .fd = vmd->pager.cfg.io->ops->fd(vmd->pager.cfg.io),
          .events = POLLIN },
        { .fd = vmd->event_fd, .events = POLLIN },
    };
    int64_t now = vm_clock_ns();
    int64_t left = vmd_pager_deadline_ns(&vmd->pager) - now;
    struct timespec timeout = { 0, 0 };

    *what = (Work){ true, true };
    if (vmd_spin_again(&vmd->spin, now, times_preempted)) {
        sched_yield();
        return;
    }
    if (left > 0) {
        timeout.tv_sec = left / VM_NS_PER_SEC;
        timeout.tv_nsec = left % VM_NS_PER_SEC;
    }
    if (ppoll(fds, G_N_ELEMENTS(fds), &timeout, NULL) >= 0) {
        *what = (Work){ fds[0].revents != 0, fds[2].revents != 0 };
    }
}

static void pager_thread(void *arg)
{
    VmdEngine *vmd = arg;

    vm_thread_set_never_faults();
    while (!vmd->quit || vmd->pager.in_flight > 0) {
        Work work;
        vmd_pulse_beat(&vmd->pulse);
        wait_for_work(vmd, &work);
        vmd_pulse_beat(&vmd->pulse);
        vmd_history_advance(&vmd->pager, vm_clock_ns());
        if (work.faults) {
            read_faults(vmd);
        }
        if (work.messages) {
            run_messages(vmd);
        }
        vmd_pager_step(&vmd->pager);
    }
}

/* --- set-up -------------------------------------------------------------- */

static bool check_config(const VmdConfig *cfg, void *base, uint64_t bytes,
                         GError **errp)
{
    uint32_t chunk_pages = cfg->chunk_pages ? cfg->chunk_pages
                                            : VMD_CHUNK_PAGES;
    uint64_t least = (uint64_t)MIN_BUDGET_CHUNKS * MAX(chunk_pages, 16u) *
                     RAM_PAGE_BYTES;

    g_assert((uintptr_t)base % RAM_PAGE_BYTES == 0);
    g_assert(bytes > 0 && bytes % RAM_PAGE_BYTES == 0);
    if (!cfg->swap) {
        return vm_error_set(errp, 0, "vmemdirect: swap=PATH is missing");
    }
    if (cfg->memory_bytes == 0) {
        return vm_error_set(errp, 0, "vmemdirect: memory=SIZE is missing");
    }
    if (cfg->memory_bytes < least) {
        return vm_error_set(errp, 0,
                            "vmemdirect: memory=%" PRIu64 " is too small; "
                            "with chunk-pages=%u at least %" PRIu64
                            " bytes are needed",
                            cfg->memory_bytes, chunk_pages, least);
    }
    if (bytes / RAM_PAGE_BYTES / chunk_pages >=
        VMD_NONE - VMD_EXTRA_FRAMES) {
        return vm_error_set(errp, 0,
                            "vmemdirect: chunk-pages=%u is too small for "
                            "this much RAM",
                            chunk_pages);
    }
    return true;
}

static const VmdMemOps *choose_mode(const VmdConfig *cfg, VmdEngine *vmd,
                                    GError **errp)
{
    bool has_move = vm_fault_service_has_move(vmd->faults);

    if (cfg->mode == VMD_MODE_MOVE && !has_move) {
        vm_error_set(errp, 0,
                     "vmemdirect: mode=move: this kernel has no UFFDIO_MOVE "
                     "(Linux 6.8)");
        return NULL;
    }
    return has_move && cfg->mode != VMD_MODE_COPY ? &vmd_mem_move
                                                  : &vmd_mem_copy;
}

/*
 * Where nothing has to leave, what counts is the guest's speed: huge pages. To
 * spare: the watermarks, and chunks that are on their way.
 */
static uint32_t choose_chunk_pages(const VmdConfig *cfg, uint64_t bytes,
                                   const VmdMemOps *mem)
{
    uint64_t spare = MIN(bytes / 32, 64 * HUGE_BYTES) + 16 * HUGE_BYTES;

    if (cfg->chunk_pages) {
        return cfg->chunk_pages;
    }
    return mem->huge && cfg->memory_bytes >= bytes + spare
               ? HUGE_BYTES / RAM_PAGE_BYTES
               : VMD_CHUNK_PAGES;
}

static VmdIo *choose_io(const VmdConfig *cfg, int fd, uint64_t bytes,
                        GError **errp)
{
    g_autoptr(GError) why = NULL;
    VmdIo *io = NULL;

    if (cfg->io != VMD_IO_AIO) {
        io = vmd_io_uring_new(fd, bytes, VMD_IO_DEPTH,
                              cfg->io == VMD_IO_URING ? errp : &why);
    }
    if (!io && cfg->io != VMD_IO_URING) {
        io = vmd_io_aio_new(fd, bytes, VMD_IO_DEPTH, errp);
    }
    return io;
}

/* At the alignment of huge pages. */
static bool map_frames(VmdEngine *vmd, GError **errp)
{
    vmd->reservation_bytes = vmd->frames_bytes + HUGE_BYTES;
    vmd->reservation = mmap(NULL, vmd->reservation_bytes,
                            PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                            0);
    if (vmd->reservation == MAP_FAILED) {
        vmd->reservation = NULL;
        return vm_error_set(errp, errno,
                            "vmemdirect: cannot map %zu bytes for frames",
                            vmd->reservation_bytes);
    }
    vmd->frames = (uint8_t *)(((uintptr_t)vmd->reservation + HUGE_BYTES - 1) &
                              ~(uintptr_t)(HUGE_BYTES - 1));
    return true;
}

/* The piece behind the last frame, if chunks can be huge pages. */
static void find_stage(VmdEngine *vmd)
{
    uint8_t *stage = vmd->frames + vmd->frames_bytes - HUGE_BYTES;

    if (vmd->chunk_pages * RAM_PAGE_BYTES == HUGE_BYTES &&
        (uintptr_t)vmd->base % HUGE_BYTES == 0 &&
        madvise(stage, HUGE_BYTES, MADV_HUGEPAGE) == 0) {
        vmd->huge_stage = stage;
    }
}

/* Buffers for page-out that is encrypted: this much, but for two at least. */
#define SEAL_BUFFER_BYTES (8u << 20)

static bool seal_io(VmdEngine *vmd, const VmdConfig *cfg, GError **errp)
{
    uint32_t write_bytes = vmd->chunk_pages * (uint32_t)RAM_PAGE_BYTES;
    VmdSealConfig seal = {
        .pages = vmd->bytes >> RAM_PAGE_BITS,
        .depth = VMD_IO_DEPTH,
        .writes = CLAMP(SEAL_BUFFER_BYTES / write_bytes, 2, VMD_WRITES_MAX),
        .write_bytes = write_bytes,
        .checksum = cfg->checksum,
    };

    vmd->checksum = cfg->checksum;
    vmd->encrypt = cfg->encrypt;
    if (cfg->encrypt) {
        seal.cipher = vmd_cipher_new(errp);
        if (!seal.cipher) {
            return false;
        }
    }
    if (cfg->checksum || cfg->encrypt) {
        vmd->io = vmd_seal_new(vmd->io, &seal);
    }
    return true;
}

static bool make_frames(VmdEngine *vmd, GError **errp)
{
    uint64_t pages = vmd->bytes >> RAM_PAGE_BITS;

    vmd->frames_bytes =
        (size_t)vmd_pager_frames_needed(pages, vmd->chunk_pages) *
            vmd->chunk_pages * RAM_PAGE_BYTES +
        HUGE_BYTES;
    if (!map_frames(vmd, errp)) {
        return false;
    }
    /* Huge pages come from the stage only, see huge.c (chunks of less would
     * split them by every move, 7 times slower); a fork would make pages
     * shared, which cannot be moved. */
    (void)madvise(vmd->frames, vmd->frames_bytes, MADV_NOHUGEPAGE);
    find_stage(vmd);
    (void)madvise(vmd->frames, vmd->frames_bytes, MADV_DONTFORK);
    (void)madvise(vmd->base, vmd->bytes, MADV_NOHUGEPAGE);
    (void)madvise(vmd->base, vmd->bytes, MADV_DONTFORK);
    return vm_fault_service_register(vmd->faults, vmd->frames,
                                     vmd->frames_bytes,
                                     VM_FAULT_REGISTER_FRAMES, errp) &&
           vm_fault_service_register(vmd->faults, vmd->base, vmd->bytes,
                                     VM_FAULT_REGISTER_GUEST, errp);
}

static void start_pager(VmdEngine *vmd, const VmdConfig *cfg,
                        const VmdMemOps *mem, const VmdEvents *events,
                        void *opaque)
{
    VmdPagerConfig pc = {
        .guest = vmd->base,
        .pages = vmd->bytes >> RAM_PAGE_BITS,
        .chunk_pages = vmd->chunk_pages,
        .landing_pages = VMD_LANDING_PAGES,
        .budget_pages = cfg->memory_bytes >> RAM_PAGE_BITS,
        .frame_base = vmd->frames,
        .huge_stage = mem->huge ? vmd->huge_stage : NULL,
        .tracker = vmd->tracker,
        .aging_interval_ns = (int64_t)cfg->aging_interval_ms * VM_NS_PER_MS,
        .stop_on_write_error = cfg->stop_on_write_error,
        .stop_on_timeout = cfg->stop_on_timeout,
        .io_timeout_ns = (int64_t)cfg->io_timeout_s * VM_NS_PER_SEC,
        .mem = mem,
        .mem_opaque = vmd->faults,
        .io = vmd->io,
        .now_ns = vm_clock_ns,
        .events = events,
        .events_opaque = opaque,
        .import_lent = vmd_engine_import_lent,
    };

    vmd->mode_name = mem->name;
    vmd_pager_init(&vmd->pager, &pc);
    vmd_spin_init(&vmd->spin, (int64_t)cfg->poll_us * 1000);
    vmd_pager_fill_stats(&vmd->pager, &vmd->last_stats);
    vmd->thread = vm_thread_new("vmd-pager", pager_thread, vmd);
    if (pc.io_timeout_ns > 0) {
        vmd->watchdog = vmd_watchdog_new(&vmd->pulse, pc.io_timeout_ns,
                                         cfg->stop_on_timeout, events, opaque);
    }
    if (vmd->tracker && vmd->tracker->ops->collect) {
        vmd->observer = vmd_observer_new(vmd->tracker, &vmd->tracker_env,
                                         deliver, vmd);
    }
}

/* What lies in the file if the guest uses all of its RAM. */
static uint64_t swapped_at_least(const VmdEngine *vmd, uint64_t budget_bytes)
{
    return vmd->bytes > budget_bytes ? vmd->bytes - budget_bytes : 0;
}

static bool set_up(VmdEngine *vmd, const VmdConfig *cfg,
                   const VmdEvents *events, void *opaque, GError **errp)
{
    uint64_t least = swapped_at_least(vmd, cfg->memory_bytes);

    vmd->faults = vm_fault_service_new(errp);
    if (!vmd->faults) {
        return false;
    }
    const VmdMemOps *mem = choose_mode(cfg, vmd, errp);
    if (!mem) {
        return false;
    }
    vmd->chunk_pages = choose_chunk_pages(cfg, vmd->bytes, mem);
    if (!make_frames(vmd, errp)) {
        return false;
    }
    vmd->swap_path = g_strdup(cfg->swap);
    vmd->swap_fd = vmd_swapfile_open(cfg->swap, vmd->bytes, least,
                                     cfg->keep_swap, errp);
    if (vmd->swap_fd < 0) {
        return false;
    }
    vmd->io = choose_io(cfg, vmd->swap_fd, vmd->bytes, errp);
    if (vmd->io && cfg->wrap_io) {
        vmd->io = cfg->wrap_io(vmd->io);
    }
    if (!vmd->io || !seal_io(vmd, cfg, errp)) {
        return false;
    }
    vmd->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vmd->event_fd < 0) {
        return vm_error_set(errp, errno, "vmemdirect: eventfd");
    }
    if (!start_tracker(vmd, cfg, errp)) {
        return false;
    }
    start_pager(vmd, cfg, mem, events, opaque);
    return true;
}

VmdEngine *vmd_engine_new(const VmdConfig *cfg, void *base, uint64_t bytes,
                          const VmdEvents *events, void *opaque,
                          GError **errp)
{
    if (!check_config(cfg, base, bytes, errp)) {
        return NULL;
    }
    VmdEngine *vmd = g_new0(VmdEngine, 1);
    vmd->base = base;
    vmd->bytes = bytes;
    vmd->swap_fd = -1;
    vmd->event_fd = -1;
    vmd->pulse = (VmdPulse)VMD_PULSE_INIT;
    vmd->placement = (RamPlacement){ &vmd_engine_placement_ops, vmd };
    vm_mutex_init(&vmd->lock, VM_RANK_PAGER);
    if (!set_up(vmd, cfg, events, opaque, errp)) {
        vmd_engine_free(vmd);
        return NULL;
    }
    return vmd;
}

static void run_quit(VmdEngine *vmd, VmdMessage *m)
{
    vmd->quit = true;
}

void vmd_engine_free(VmdEngine *vmd)
{
    VmdMessage quit = { .run = run_quit };

    if (!vmd) {
        return;
    }
    vmd_observer_stop(vmd->observer); /* ahead of who takes from it */
    if (vmd->thread) {
        vmd_engine_post(vmd, &quit);
        vm_thread_join(vmd->thread);
        vmd_watchdog_free(vmd->watchdog);
        vmd_pager_done(&vmd->pager);
    }
    stop_trackers(vmd);
    if (vmd->backing) {
        vmd->backing->ops->free(vmd->backing);
    }
    if (vmd->io) {
        vmd->io->ops->free(vmd->io);
    }
    vm_fault_service_free(vmd->faults);
    if (vmd->reservation) {
        (void)munmap(vmd->reservation, vmd->reservation_bytes);
    }
    vm_close_fd(&vmd->swap_fd);
    vm_close_fd(&vmd->event_fd);
    vm_mutex_done(&vmd->lock);
    g_free(vmd->swap_path);
    g_free(vmd);
}

/* --- pins ---------------------------------------------------------------- */

typedef struct PinCall {
    VmdMessage message;
    VmdPinWaiter waiter;
    VmdEngine *vmd;
    int result;
} PinCall;

static void pin_done(VmdPinWaiter *w, int result)
{
    PinCall *call = (PinCall *)((char *)w - offsetof(PinCall, waiter));

    call->result = result;
    vmd_engine_finish(call->vmd, &call->message);
}

static void run_pin(VmdEngine *vmd, VmdMessage *m)
{
    vmd_pager_add_pin_waiter(&vmd->pager, &((PinCall *)m)->waiter);
}

/* acquire: pairs with the release in set_present(). */
static bool all_present(const VmdPager *p, PageNo first, PageNo end)
{
    for (PageNo page = first; page < end; page++) {
        unsigned long word = __atomic_load_n(&p->present[page / 64],
                                             __ATOMIC_ACQUIRE);
        if (!((word >> (page % 64)) & 1)) {
            return false;
        }
    }
    return true;
}

static void pin_chunks(VmdPager *p, PageNo first, PageNo end)
{
    for (PageNo c = first / p->cfg.chunk_pages;
         c <= (end - 1) / p->cfg.chunk_pages; c++) {
        atomic_fetch_add(&p->pins[c], 1);
        /* A move-out takes tens of microseconds: not worth a sleep. */
        while (atomic_load(&p->leaving[c])) {
            sched_yield();
        }
    }
}

static void engine_unpin(void *opaque, RamOffset offset, size_t len)
{
    VmdPager *p = &((VmdEngine *)opaque)->pager;

    if (len == 0) {
        return;
    }
    PageNo first = offset >> RAM_PAGE_BITS;
    PageNo last = (offset + len - 1) >> RAM_PAGE_BITS;
    for (PageNo c = first / p->cfg.chunk_pages;
         c <= last / p->cfg.chunk_pages; c++) {
        atomic_fetch_sub(&p->pins[c], 1);
    }
}

/* T22 */
static int engine_pin(void *opaque, RamOffset offset, size_t len)
{
    VmdEngine *vmd = opaque;
    PageNo first = offset >> RAM_PAGE_BITS;
    PageNo end = (offset + len + RAM_PAGE_BYTES - 1) >> RAM_PAGE_BITS;

    if (len == 0) {
        return 0;
    }
    vm_assert_may_fault();
    g_assert(end <= vmd->bytes >> RAM_PAGE_BITS);
    pin_chunks(&vmd->pager, first, end);
    if (all_present(&vmd->pager, first, end)) {
        return 0;
    }
    PinCall call = {
        .message = { .run = run_pin },
        .waiter = { .first = first, .count = end - first, .done = pin_done },
        .vmd = vmd,
    };
    vmd_engine_post(vmd, &call.message);
    vmd_engine_wait(vmd, &call.message);
    if (call.result < 0) {
        engine_unpin(vmd, offset, len);
    }
    return call.result;
}

/* --- discard ------------------------------------------------------------- */

typedef struct DiscardCall {
    const RamRange *ranges;
    unsigned count;
    unsigned at;         /* the range in which it goes on, and ... */
    uint64_t done_pages; /* ... how much of that is done */
} DiscardCall;

/* A bounded part of it, so that faults are served in between. */
static void call_discard(VmdPager *p, void *arg)
{
    DiscardCall *d = arg;
    uint64_t left = DISCARD_PAGES_PER_CALL;

    while (left > 0 && d->at < d->count) {
        const RamRange *range = &d->ranges[d->at];
        uint64_t pages = (range->len >> RAM_PAGE_BITS) - d->done_pages;
        uint64_t now = MIN(pages, left);

        vmd_pager_discard(p, (range->offset >> RAM_PAGE_BITS) + d->done_pages,
                          now);
        d->done_pages += now;
        if (now == pages) {
            d->at++;
            d->done_pages = 0;
        }
        left -= MIN(left, MAX(now, DISCARD_RANGE_COST_PAGES));
    }
}

static void engine_discard(void *opaque, const RamRange *ranges,
                           unsigned count)
{
    DiscardCall d = { .ranges = ranges, .count = count };

    while (d.at < d.count) {
        vmd_engine_call(opaque, call_discard, &d);
    }
}

const RamPagerOps vmd_pager_ops = {
    .pin = engine_pin,
    .unpin = engine_unpin,
    .discard = engine_discard,
};

/* --- control ------------------------------------------------------------- */

typedef struct StatsCall {
    const VmdEngine *vmd;
    VmdStats stats;
} StatsCall;

static void call_stats(VmdPager *p, void *arg)
{
    StatsCall *call = arg;
    VmdStats *ret = &call->stats;

    vmd_pager_fill_stats(p, ret);
    for (unsigned i = 0; i < VMD_TRACKERS; i++) {
        ret->tracker_names[i] = vmd_tracker_ops(i)->name;
        ret->tracker_why_not[i] = call->vmd->tracker_report.why_not[i];
    }
}

void vmd_engine_stats(VmdEngine *vmd, VmdStats *ret)
{
    StatsCall call = { .vmd = vmd };
    bool answered = call_pager_unless_stalled(vmd, call_stats, &call,
                                              sizeof(call));

    vm_mutex_lock(&vmd->lock);
    if (answered) {
        vmd->last_stats = call.stats;
    }
    *ret = vmd->last_stats;
    vm_mutex_unlock(&vmd->lock);
    vmd_watchdog_stats(vmd->watchdog, ret);
    ret->mode = vmd->mode_name;
    ret->io = vmd->io->ops->name;
    ret->checksum = vmd->checksum;
    ret->encrypt = vmd->encrypt;
    ret->seal_bytes = vmd->checksum || vmd->encrypt ? vmd_seal_bytes(vmd->io)
                                                    : 0;
}

uint64_t vmd_engine_min_budget_bytes(const VmdEngine *vmd)
{
    return (uint64_t)MIN_BUDGET_CHUNKS *
           MAX(vmd->pager.cfg.chunk_pages, 16u) * RAM_PAGE_BYTES;
}

static void call_budget(VmdPager *p, void *arg)
{
    vmd_budget_set(p, *(uint64_t *)arg >> RAM_PAGE_BITS);
}

bool vmd_engine_set_budget(VmdEngine *vmd, uint64_t bytes, GError **errp)
{
    if (bytes < vmd_engine_min_budget_bytes(vmd)) {
        return vm_error_set(errp, 0,
                            "vmemdirect: memory=%" PRIu64 " is too small; at "
                            "least %" PRIu64 " bytes are needed",
                            bytes, vmd_engine_min_budget_bytes(vmd));
    }
    if (bytes > (UINT64_C(1) << 52)) {
        return vm_error_set(errp, 0, "vmemdirect: memory=%" PRIu64
                            " is too large", bytes);
    }
    if (!vmd_swapfile_check_room(vmd->swap_fd, vmd->swap_path,
                                 swapped_at_least(vmd, bytes), errp)) {
        return false;
    }
    if (!call_pager_unless_stalled(vmd, call_budget, &bytes, sizeof(bytes))) {
        return vm_error_set(errp, 0, "vmemdirect: %s",
                            vmd_error_to_string(ETIME));
    }
    return true;
}

static void run_retry(VmdEngine *vmd, VmdMessage *m)
{
    g_free(m);
    vmd_pager_retry(&vmd->pager);
}

static void run_abandon(VmdEngine *vmd, VmdMessage *m)
{
    g_free(m);
    vmd_pager_abandon(&vmd->pager);
}

/* For who has no time to wait. */
static void post_new(VmdEngine *vmd, void (*run)(VmdEngine *, VmdMessage *))
{
    VmdMessage *m = g_new0(VmdMessage, 1);

    m->run = run;
    vmd_engine_post(vmd, m);
}

void vmd_engine_retry(VmdEngine *vmd)
{
    vmd_watchdog_retry(vmd->watchdog);
    post_new(vmd, run_retry);
}

void vmd_engine_abandon(VmdEngine *vmd)
{
    post_new(vmd, run_abandon);
}

static void run_stands(VmdEngine *vmd, VmdMessage *m)
{
    g_free(m);
    vmd_history_set_running(&vmd->pager, false, vm_clock_ns());
}

static void run_goes_on(VmdEngine *vmd, VmdMessage *m)
{
    g_free(m);
    vmd_history_set_running(&vmd->pager, true, vm_clock_ns());
}

void vmd_engine_set_running(VmdEngine *vmd, bool running)
{
    post_new(vmd, running ? run_goes_on : run_stands);
    if (vmd->observer) {
        vmd_observer_set_running(vmd->observer, running);
    }
}
