/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fake VM and its fake pager. See fake-vm.h.
 *
 * The fake pager keeps swapped chunks in a second buffer. Exports and
 * imports are completed by a thread of its own, newest first, so that
 * completions come late and out of order.
 *
 * The guest writes the same bytes over and over with a counter; it is left
 * out of the thread sanitizer, as a real guest is: its writes race with the
 * source's reads by design, and the dirty log makes up for it.
 */
#include "fake-vm.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/clock.h"
#include "util/error.h"

#define WAIT_NS (60 * VM_NS_PER_SEC)

/* -- the fake pager ----------------------------------------------------- */

typedef struct Job {
    RamExport *e; /* one of the two */
    RamImport *im;
} Job;

struct FakePager {
    RamPlacementOps ops;
    RamPlacement placement;
    bool backed;        /* by a file ... */
    unsigned bad_pages; /* ... which had so many that are not right */
    RamBlock *ram;
    uint32_t chunk_pages;
    uint32_t chunks;
    uint64_t pages;
    uint64_t budget_pages;

    VmMutex lock; /* rank VM_RANK_PAGER */
    VmCond cond;
    VmThread *worker;
    bool quit;
    GArray *jobs;
    uint8_t *swap; /* by page, as the block */
    RamPlace *place;
    uint8_t *key;
    uint8_t *history; /* by page */
    bool *importing;  /* by page */
    unsigned exports, imports;
    int fail_import, fail_export;
    atomic_bool redirty;
    ChunkNo redirty_chunk; /* by the source's thread */
    unsigned redirty_times;
};

static uint32_t pager_pages_of(const FakePager *p, ChunkNo c)
{
    return (uint32_t)MIN((uint64_t)p->chunk_pages,
                         p->pages - (uint64_t)c * p->chunk_pages);
}

static uint8_t *chunk_at(const FakePager *p, ChunkNo c)
{
    uint8_t *base = p->place[c] == RAM_PLACE_SWAP ? p->swap
                                                  : ram_block_hva(p->ram);

    return base + (size_t)c * p->chunk_pages * RAM_PAGE_BYTES;
}

static void pager_export_now(FakePager *p, RamExport *e)
{
    uint32_t n = pager_pages_of(p, e->chunk);

    for (uint32_t i = 0; i < n; i++) {
        if (!vm_bit_test(e->want, i)) {
            continue;
        }
        if (p->place[e->chunk] == RAM_PLACE_ZERO) {
            vm_bit_set(e->zero, i);
        } else if (p->place[e->chunk] == RAM_PLACE_SWAP) {
            memcpy((uint8_t *)e->buf + i * RAM_PAGE_BYTES,
                   chunk_at(p, e->chunk) + i * RAM_PAGE_BYTES,
                   RAM_PAGE_BYTES);
            vm_bit_set(e->in_buf, i);
        }
    }
    e->pinned = true;
}

static void pager_import_now(FakePager *p, RamImport *im)
{
    uint32_t n = pager_pages_of(p, im->chunk);
    uint8_t *to;

    if (p->place[im->chunk] == RAM_PLACE_ZERO) {
        p->place[im->chunk] = im->place;
    } else if (p->place[im->chunk] == RAM_PLACE_SWAP &&
               im->place == RAM_PLACE_RAM) {
        memcpy(ram_block_hva(p->ram) +
                   (size_t)im->chunk * p->chunk_pages * RAM_PAGE_BYTES,
               chunk_at(p, im->chunk), n * RAM_PAGE_BYTES);
        p->place[im->chunk] = RAM_PLACE_RAM;
    }
    to = chunk_at(p, im->chunk);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *page = to + i * RAM_PAGE_BYTES;

        if (vm_bit_test(im->pages, i)) {
            memcpy(page, (uint8_t *)im->buf + i * RAM_PAGE_BYTES,
                   RAM_PAGE_BYTES);
        } else if (vm_bit_test(im->zero, i)) {
            memset(page, 0, RAM_PAGE_BYTES);
        }
    }
    if (im->history) {
        memcpy(p->history + (size_t)im->chunk * p->chunk_pages +
                   im->history_first,
               im->history, im->history_count ? im->history_count : n);
    }
}

/* The pages of an import are in no other. Called with the lock held. */
static void set_importing(FakePager *p, const RamImport *im, bool importing)
{
    bool *pages = p->importing + (size_t)im->chunk * p->chunk_pages;

    for (uint32_t i = 0; i < pager_pages_of(p, im->chunk); i++) {
        if (vm_bit_test(im->pages, i)) {
            g_assert_true(pages[i] != importing);
            pages[i] = importing;
        }
    }
}

static bool any_importing(FakePager *p, ChunkNo chunk)
{
    return memchr(p->importing + (size_t)chunk * p->chunk_pages, true,
                  pager_pages_of(p, chunk));
}

static void pager_finish(FakePager *p, Job job)
{
    if (job.e) {
        pager_export_now(p, job.e);
        job.e->done(job.e);
        return;
    }
    if (job.im->result == 0) {
        pager_import_now(p, job.im);
    }
    g_free(job.im->frame);
    vm_mutex_lock(&p->lock);
    set_importing(p, job.im, false);
    p->imports--;
    vm_mutex_unlock(&p->lock);
    job.im->done(job.im);
}

static void pager_worker(void *arg)
{
    FakePager *p = arg;

    vm_mutex_lock(&p->lock);
    for (;;) {
        Job job;

        while (!p->quit && p->jobs->len == 0) {
            vm_cond_wait(&p->cond, &p->lock);
        }
        if (p->jobs->len == 0) {
            break;
        }
        job = g_array_index(p->jobs, Job, p->jobs->len - 1);
        g_array_set_size(p->jobs, p->jobs->len - 1);
        vm_mutex_unlock(&p->lock);
        pager_finish(p, job);
        vm_mutex_lock(&p->lock);
    }
    vm_mutex_unlock(&p->lock);
}

static void pager_push(FakePager *p, Job job)
{
    vm_mutex_lock(&p->lock);
    g_array_append_val(p->jobs, job);
    vm_cond_signal(&p->cond);
    vm_mutex_unlock(&p->lock);
}

static uint32_t op_chunk_pages(void *opaque)
{
    return ((FakePager *)opaque)->chunk_pages;
}

static uint64_t op_budget_pages(void *opaque)
{
    return ((FakePager *)opaque)->budget_pages;
}

static void op_counters(void *opaque, RamPagingCounters *ret)
{
    *ret = (RamPagingCounters){ 0 };
}

static void op_chunk_infos(void *opaque, RamChunkInfo *ret_infos)
{
    FakePager *p = opaque;

    for (ChunkNo c = 0; c < p->chunks; c++) {
        ret_infos[c] = (RamChunkInfo){ p->place[c], p->key[c] };
    }
}

static void op_history(void *opaque, ChunkNo chunk, uint8_t *ret_history)
{
    FakePager *p = opaque;

    memcpy(ret_history, p->history + (size_t)chunk * p->chunk_pages,
           pager_pages_of(p, chunk));
}

static int op_export_start(void *opaque, RamExport *e)
{
    FakePager *p = opaque;

    vm_mutex_lock(&p->lock);
    p->exports++;
    g_assert_cmpuint(p->exports, <=, RAM_EXPORTS_MAX);
    e->result = p->fail_export && --p->fail_export == 0 ? -EIO : 0;
    vm_mutex_unlock(&p->lock);
    pager_push(p, (Job){ .e = e });
    return 0;
}

static bool redirties(FakePager *p, ChunkNo chunk)
{
    if (chunk == p->redirty_chunk && p->redirty_times > 0) {
        p->redirty_times--;
        return true;
    }
    return atomic_load(&p->redirty);
}

static void op_export_end(void *opaque, RamExport *e)
{
    FakePager *p = opaque;

    g_assert_true(e->pinned);
    e->pinned = false;
    if (redirties(p, e->chunk)) {
        ram_mark_dirty(p->ram, (uint64_t)e->chunk * p->chunk_pages *
                                   RAM_PAGE_BYTES,
                       pager_pages_of(p, e->chunk) * RAM_PAGE_BYTES);
    }
    vm_mutex_lock(&p->lock);
    p->exports--;
    vm_mutex_unlock(&p->lock);
}

static void op_nothing(void *opaque)
{
}

static int op_import_begin(void *opaque, RamImport *im)
{
    FakePager *p = opaque;

    vm_mutex_lock(&p->lock);
    set_importing(p, im, true);
    p->imports++;
    g_assert_cmpuint(p->imports, <=, RAM_IMPORTS_MAX);
    vm_mutex_unlock(&p->lock);
    im->frame = g_malloc(p->chunk_pages * RAM_PAGE_BYTES);
    im->buf = im->frame;
    return 0;
}

static void op_import_commit(void *opaque, RamImport *im)
{
    FakePager *p = opaque;

    vm_mutex_lock(&p->lock);
    im->result = p->fail_import && --p->fail_import == 0 ? -ENOSPC : 0;
    vm_mutex_unlock(&p->lock);
    pager_push(p, (Job){ .im = im });
}

static void op_import_abort(void *opaque, RamImport *im)
{
    FakePager *p = opaque;

    g_free(im->frame);
    vm_mutex_lock(&p->lock);
    set_importing(p, im, false);
    p->imports--;
    vm_mutex_unlock(&p->lock);
}

static int op_import_zero(void *opaque, ChunkNo chunk, const uint8_t *history)
{
    FakePager *p = opaque;

    g_assert_false(any_importing(p, chunk));
    memset(chunk_at(p, chunk), 0, pager_pages_of(p, chunk) * RAM_PAGE_BYTES);
    p->place[chunk] = RAM_PLACE_ZERO;
    if (history) {
        memcpy(p->history + (size_t)chunk * p->chunk_pages, history,
               pager_pages_of(p, chunk));
    }
    return 0;
}

static void op_to_swap(void *opaque, ChunkNo chunk)
{
    FakePager *p = opaque;

    g_assert_false(any_importing(p, chunk));
    if (p->place[chunk] == RAM_PLACE_RAM) {
        memcpy(p->swap + (size_t)chunk * p->chunk_pages * RAM_PAGE_BYTES,
               ram_block_hva(p->ram) +
                   (size_t)chunk * p->chunk_pages * RAM_PAGE_BYTES,
               pager_pages_of(p, chunk) * RAM_PAGE_BYTES);
        p->place[chunk] = RAM_PLACE_SWAP;
    }
}

static const RamPlacementOps fake_ops = {
    .chunk_pages = op_chunk_pages,
    .budget_pages = op_budget_pages,
    .counters = op_counters,
    .chunk_infos = op_chunk_infos,
    .history = op_history,
    .export_start = op_export_start,
    .export_end = op_export_end,
    .tracking_start = op_nothing,
    .tracking_stop = op_nothing,
    .import_begin = op_import_begin,
    .import_commit = op_import_commit,
    .import_abort = op_import_abort,
    .import_zero = op_import_zero,
    .to_swap = op_to_swap,
};

/* A page that is not what was saved would be an error of the page, not of the
 * migration: here it is noted, and the page is empty. */
static int op_back(void *opaque, RamBacking *take)
{
    _Alignas(4096) uint8_t page[RAM_PAGE_BYTES];
    FakePager *p = opaque;

    for (PageNo i = 0; i < p->pages; i++) {
        uint64_t at = (uint64_t)take->at[i] * RAM_PAGE_BYTES;

        if (take->at[i] == 0) {
            continue;
        }
        g_assert_cmpuint(at + RAM_PAGE_BYTES, <=, take->bytes);
        p->place[i / p->chunk_pages] = RAM_PLACE_SWAP;
        if (pread(take->fd, page, sizeof(page), (off_t)at) == sizeof(page) &&
            take->sum(page) == take->sums[i]) {
            memcpy(p->swap + i * RAM_PAGE_BYTES, page, sizeof(page));
        } else {
            p->bad_pages++;
        }
    }
    if (take->history) {
        memcpy(p->history, take->history, p->pages);
    }
    p->backed = true;
    (void)close(take->fd);
    g_free(take->at);
    g_free(take->sums);
    return 0;
}

static FakePager *fake_pager_new(RamBlock *ram, uint32_t chunk_pages,
                                 uint64_t budget_pages)
{
    FakePager *p = g_new0(FakePager, 1);

    p->ops = fake_ops;
    p->placement = (RamPlacement){ &p->ops, p };
    p->ram = ram;
    p->chunk_pages = chunk_pages;
    p->pages = ram_block_pages(ram);
    p->chunks = (uint32_t)((p->pages + chunk_pages - 1) / chunk_pages);
    p->budget_pages = budget_pages;
    p->jobs = g_array_new(FALSE, FALSE, sizeof(Job));
    p->swap = g_malloc0(p->pages * RAM_PAGE_BYTES);
    p->place = g_new0(RamPlace, p->chunks);
    p->key = g_new0(uint8_t, p->chunks);
    p->history = g_new0(uint8_t, (size_t)p->chunks * chunk_pages);
    p->importing = g_new0(bool, p->pages);
    vm_mutex_init(&p->lock, VM_RANK_PAGER);
    vm_cond_init(&p->cond);
    p->worker = vm_thread_new("fake-pager", pager_worker, p);
    return p;
}

static void fake_pager_free(FakePager *p)
{
    if (!p) {
        return;
    }
    vm_mutex_lock(&p->lock);
    p->quit = true;
    vm_cond_signal(&p->cond);
    vm_mutex_unlock(&p->lock);
    vm_thread_join(p->worker);
    g_assert_cmpuint(p->exports, ==, 0);
    g_assert_cmpuint(p->imports, ==, 0);
    vm_cond_done(&p->cond);
    vm_mutex_done(&p->lock);
    g_array_unref(p->jobs);
    g_free(p->swap);
    g_free(p->place);
    g_free(p->key);
    g_free(p->history);
    g_free(p->importing);
    g_free(p);
}

RamPlace fake_pager_place(FakeVm *f, ChunkNo chunk)
{
    return f->pager->place[chunk];
}

uint8_t fake_pager_history(FakeVm *f, ChunkNo chunk, uint32_t page)
{
    return f->pager->history[(size_t)chunk * f->pager->chunk_pages + page];
}

void fake_pager_allow_back(FakeVm *f)
{
    f->pager->ops.back = op_back;
}

bool fake_pager_is_backed(FakeVm *f)
{
    return f->pager->backed;
}

unsigned fake_pager_bad_pages(FakeVm *f)
{
    return f->pager->bad_pages;
}

void fake_pager_fail_import(FakeVm *f, int n)
{
    f->pager->fail_import = n;
}

void fake_pager_fail_export(FakeVm *f, int n)
{
    f->pager->fail_export = n;
}

void fake_pager_redirty_chunk(FakeVm *f, ChunkNo chunk, unsigned times)
{
    f->pager->redirty_chunk = chunk;
    f->pager->redirty_times = times;
}

void fake_pager_redirty(FakeVm *f)
{
    atomic_store(&f->pager->redirty, true);
}

/* -- the VM ------------------------------------------------------------- */

static const VMStateField device_fields[] = {
    VMSTATE_U32(reg, FakeDevice),
    VMSTATE_BUFFER(fifo, FakeDevice),
    VMSTATE_U64_ARRAY(counters, FakeDevice, 3),
    VMSTATE_VARBYTES(blob, blob_len, FakeDevice, 64),
    VMSTATE_END,
};

static const VMStateDescription device_vmsd = {
    .name = "fake-device",
    .version = 1,
    .minimum_version = 1,
    .fields = device_fields,
};

static void count_up(FakeWorld *w, atomic_int *counter)
{
    if (atomic_fetch_add(counter, 1) != 0) {
        atomic_store(&w->violated, true);
    }
}

static void own_images(FakeVm *f, bool own)
{
    if (atomic_exchange(&f->owns_images, own) != own) {
        if (own) {
            count_up(f->world, &f->world->image_owners);
        } else {
            atomic_fetch_sub(&f->world->image_owners, 1);
        }
    }
}

static void set_running(FakeVm *f, bool run)
{
    vm_mutex_lock(&f->guest_lock);
    if (run && !f->guest_running) {
        count_up(f->world, &f->world->running);
        if (!atomic_load(&f->owns_images)) {
            atomic_store(&f->world->violated, true);
        }
    } else if (!run && f->guest_running) {
        while (f->guest && !f->guest_idle) {
            f->guest_running = false;
            vm_cond_wait(&f->guest_cond, &f->guest_lock);
        }
        atomic_fetch_sub(&f->world->running, 1);
    }
    f->guest_running = run;
    vm_cond_broadcast(&f->guest_cond);
    vm_mutex_unlock(&f->guest_lock);
}

bool fake_vm_runs(FakeVm *f)
{
    bool runs;

    vm_mutex_lock(&f->guest_lock);
    runs = f->guest_running;
    vm_mutex_unlock(&f->guest_lock);
    return runs;
}

static void note_throttle(FakeVm *f, int what)
{
    g_array_append_val(f->throttles, what);
}

static void vm_throttle(void *opaque, unsigned percent)
{
    FakeVm *f = opaque;

    note_throttle(f, (int)percent);
    if (f->calm_percent) {
        atomic_store(&f->pager->redirty, percent < f->calm_percent);
    }
}

static int vm_stop(void *opaque, bool *ret_was_running)
{
    FakeVm *f = opaque;

    if (f->fail_stop) {
        return -EBUSY;
    }
    note_throttle(f, FAKE_STOP);
    atomic_fetch_add(&f->stops, 1);
    *ret_was_running = fake_vm_runs(f);
    set_running(f, false);
    return 0;
}

static void vm_resume(void *opaque)
{
    FakeVm *f = opaque;

    note_throttle(f, FAKE_RESUME);
    atomic_fetch_add(&f->resumes, 1);
    set_running(f, true);
}

static int vm_start(void *opaque, bool run, GError **errp)
{
    FakeVm *f = opaque;

    if (f->fail_start) {
        (void)vm_error_set(errp, 0, "this VM does not start");
        return -EIO;
    }
    atomic_fetch_add(&f->starts, 1);
    if (run) {
        own_images(f, true); /* if it has not yet */
    }
    set_running(f, run);
    return 0;
}

static bool vm_inactivate(void *opaque, GError **errp)
{
    FakeVm *f = opaque;

    if (f->fail_inactivate) {
        return vm_error_set(errp, 0, "images do not flush");
    }
    own_images(f, false);
    return true;
}

static bool vm_activate(void *opaque, GError **errp)
{
    FakeVm *f = opaque;

    if (f->fail_activate) {
        return vm_error_set(errp, 0, "images do not open");
    }
    own_images(f, true);
    return true;
}

static GArray *vm_devices(void *opaque)
{
    FakeVm *f = opaque;
    GArray *list = g_array_new(FALSE, TRUE, sizeof(MigrationDevice));

    for (uint32_t i = 0; i < 2; i++) {
        MigrationDevice d = { &device_vmsd, i, &f->device[i],
                              &f->device_lock };

        g_array_append_val(list, d);
    }
    return list;
}

static void vm_status_changed(void *opaque, MigrationStatus status,
                              const char *error)
{
    FakeVm *f = opaque;

    g_array_append_val(f->statuses, status);
    if (status == MIGRATION_SETUP) {
        f->passes = 0;
    }
    if (error) {
        g_free(f->error);
        f->error = g_strdup(error);
    }
}

static void vm_pass_begun(void *opaque, uint64_t pass)
{
    FakeVm *f = opaque;

    g_assert_cmpuint(pass, ==, f->passes + 1);
    f->passes = pass;
}

void fake_vm_set_bandwidth(FakeVm *f, uint64_t bytes_per_s)
{
    MigrationParameters p;

    migration_get_parameters(f->mig, &p);
    p.max_bandwidth_bytes_per_s = bytes_per_s;
    g_assert_true(migration_set_parameters(f->mig, &p, NULL));
}

FakeVm *fake_vm_new(FakeWorld *world, const FakeVmConfig *config)
{
    FakeVm *f = g_new0(FakeVm, 1);

    f->world = world;
    f->ram = ram_block_new("ram", config->pages * RAM_PAGE_BYTES, NULL);
    g_assert_nonnull(f->ram);
    if (config->budget_pages == UINT64_MAX) {
        f->plain = ram_plain_placement_new(f->ram, config->chunk_pages);
    } else {
        f->pager = fake_pager_new(f->ram, config->chunk_pages,
                                  config->budget_pages);
    }
    f->statuses = g_array_new(FALSE, FALSE, sizeof(MigrationStatus));
    f->throttles = g_array_new(FALSE, FALSE, sizeof(int));
    vm_mutex_init(&f->device_lock, VM_RANK_DEVICE);
    vm_mutex_init(&f->guest_lock, VM_RANK_RUN_STATE);
    vm_cond_init(&f->guest_cond);
    f->vm = (MigrationVm){
        .machine = config->machine ? config->machine : "pc-test",
        .vcpus = config->vcpus ? config->vcpus : 1,
        .ram = f->ram,
        .placement = f->plain ? f->plain : &f->pager->placement,
        .stop = vm_stop,
        .resume = vm_resume,
        .throttle = vm_throttle,
        .start = vm_start,
        .inactivate = vm_inactivate,
        .activate = vm_activate,
        .devices = vm_devices,
        .status_changed = vm_status_changed,
        .pass_begun = vm_pass_begun,
        .opaque = f,
    };
    f->mig = migration_new(&f->vm);
    return f;
}

void fake_vm_free(FakeVm *f)
{
    migration_free(f->mig);
    if (f->guest) {
        set_running(f, false);
        vm_mutex_lock(&f->guest_lock);
        f->guest_quit = true;
        vm_cond_broadcast(&f->guest_cond);
        vm_mutex_unlock(&f->guest_lock);
        vm_thread_join(f->guest);
        f->guest = NULL;
    }
    set_running(f, false);
    own_images(f, false);
    fake_pager_free(f->pager);
    ram_plain_placement_free(f->plain);
    ram_block_free(f->ram);
    vm_cond_done(&f->guest_cond);
    vm_mutex_done(&f->guest_lock);
    vm_mutex_done(&f->device_lock);
    g_array_unref(f->statuses);
    g_array_unref(f->throttles);
    g_free(f->error);
    g_free(f->device[0].blob);
    g_free(f->device[1].blob);
    g_free(f);
}

void fake_vm_boot(FakeVm *f)
{
    for (unsigned i = 0; i < 2; i++) {
        FakeDevice *d = &f->device[i];

        d->reg = 0x1000 + i;
        d->counters[2] = 77 * (i + 1);
        memset(d->fifo, 'a' + (int)i, sizeof(d->fifo));
        d->blob_len = 5 + 20 * i;
        d->blob = g_malloc(d->blob_len);
        memset(d->blob, 0x40 + (int)i, d->blob_len);
    }
    own_images(f, true);
    set_running(f, true);
}

__attribute__((no_sanitize("thread"), noinline)) static void
guest_write(uint8_t *page, uint64_t value)
{
    volatile uint64_t *words = (volatile uint64_t *)page;

    words[value % (RAM_PAGE_BYTES / 8)] = value;
    words[0] = value;
}

static void guest_run(void *arg)
{
    FakeVm *f = arg;
    uint64_t n = 0;

    vm_mutex_lock(&f->guest_lock);
    while (!f->guest_quit) {
        uint64_t page;

        if (!f->guest_running) {
            f->guest_idle = true;
            vm_cond_broadcast(&f->guest_cond);
            vm_cond_wait(&f->guest_cond, &f->guest_lock);
            continue;
        }
        f->guest_idle = false;
        vm_mutex_unlock(&f->guest_lock);
        page = f->guest_first + n * 7 % f->guest_count;
        guest_write(ram_block_hva(f->ram) + page * RAM_PAGE_BYTES, ++n);
        ram_mark_dirty(f->ram, page * RAM_PAGE_BYTES, RAM_PAGE_BYTES);
        atomic_store(&f->guest_writes, n);
        g_thread_yield();
        vm_mutex_lock(&f->guest_lock);
    }
    vm_mutex_unlock(&f->guest_lock);
}

void fake_vm_start_guest(FakeVm *f, uint64_t first, uint64_t count)
{
    f->guest_first = first;
    f->guest_count = count;
    f->guest = vm_thread_new("fake-guest", guest_run, f);
    while (fake_vm_runs(f) && atomic_load(&f->guest_writes) == 0) {
        g_usleep(100); /* on a busy host, a migration may be over before */
    }
}

static bool page_in_swap(FakeVm *f, PageNo page)
{
    return f->pager &&
           f->pager->place[page / f->pager->chunk_pages] == RAM_PLACE_SWAP;
}

static uint8_t *page_at(FakeVm *f, PageNo page)
{
    uint8_t *base = page_in_swap(f, page) ? f->pager->swap
                                          : ram_block_hva(f->ram);

    return base + page * RAM_PAGE_BYTES;
}

void fake_vm_read_page(FakeVm *f, PageNo page, uint8_t *ret)
{
    memcpy(ret, page_at(f, page), RAM_PAGE_BYTES);
}

static void fill_page(uint8_t *page, uint64_t seed)
{
    uint64_t *words = (uint64_t *)page;

    for (size_t i = 0; i < RAM_PAGE_BYTES / 8; i++) {
        words[i] = (seed * 512 + i + 1) * 0x9e3779b97f4a7c15ull;
    }
}

void fake_vm_fill(FakeVm *f, uint64_t seed)
{
    const RamPlacement *p = f->vm.placement;
    uint32_t chunk_pages = p->ops->chunk_pages(p->opaque);

    for (PageNo page = 0; page < ram_block_pages(f->ram); page++) {
        ChunkNo c = (ChunkNo)(page / chunk_pages);

        if (c % 4 == 0) {
            continue;
        }
        if (f->pager) {
            f->pager->place[c] = c % 4 == 2 ? RAM_PLACE_SWAP : RAM_PLACE_RAM;
            f->pager->key[c] = (uint8_t)(c * 3 + 1);
            f->pager->history[page] = (uint8_t)(page ^ seed);
        }
        if (c % 4 != 3 || page % 3 != 0) {
            fill_page(page_at(f, page), seed + page);
        }
    }
}

void fake_vm_set_chunk(FakeVm *f, ChunkNo chunk, RamPlace place, uint8_t key)
{
    FakePager *p = f->pager;

    p->place[chunk] = place;
    p->key[chunk] = key;
    memset(p->history + (size_t)chunk * p->chunk_pages, key,
           pager_pages_of(p, chunk));
}

void fake_vm_set_page(FakeVm *f, PageNo page, uint8_t byte)
{
    memset(page_at(f, page), byte, RAM_PAGE_BYTES);
}

bool fake_vm_equal(FakeVm *a, FakeVm *b)
{
    for (PageNo page = 0; page < ram_block_pages(a->ram); page++) {
        if (memcmp(page_at(a, page), page_at(b, page), RAM_PAGE_BYTES)) {
            g_test_message("page %" G_GUINT64_FORMAT " differs", page);
            return false;
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        const FakeDevice *x = &a->device[i], *y = &b->device[i];

        if (x->reg != y->reg || memcmp(x->fifo, y->fifo, sizeof(x->fifo)) ||
            memcmp(x->counters, y->counters, sizeof(x->counters)) ||
            x->blob_len != y->blob_len ||
            memcmp(x->blob, y->blob, x->blob_len)) {
            g_test_message("device %u differs", i);
            return false;
        }
    }
    return true;
}

/* -- waiting ------------------------------------------------------------ */

MigrationStatus fake_vm_status(FakeVm *f)
{
    return f->statuses->len ? g_array_index(f->statuses, MigrationStatus,
                                            f->statuses->len - 1)
                            : MIGRATION_NONE;
}

static bool is_over(MigrationStatus s)
{
    return s == MIGRATION_COMPLETED || s == MIGRATION_FAILED ||
           s == MIGRATION_CANCELLED;
}

static gboolean wake_up(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

void fake_vm_wait_status(FakeVm *f, MigrationStatus status)
{
    int64_t end_ns = vm_clock_ns() + WAIT_NS;
    guint tick = g_timeout_add(20, wake_up, NULL);

    while (!is_over(fake_vm_status(f)) && fake_vm_status(f) != status) {
        g_assert_cmpint(vm_clock_ns(), <, end_ns);
        g_main_context_iteration(NULL, TRUE);
    }
    g_source_remove(tick);
}

MigrationStatus fake_vm_wait(FakeVm *f)
{
    fake_vm_wait_status(f, MIGRATION__COUNT);
    return fake_vm_status(f);
}

char *fake_dir_new(void)
{
    char *dir = g_dir_make_tmp("vm-migration-XXXXXX", NULL);

    g_assert_nonnull(dir);
    return dir;
}

void fake_dir_free(char *dir)
{
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);

        (void)g_unlink(path);
    }
    (void)g_rmdir(dir);
    g_free(dir);
}

FakePair *fake_pair_new(const FakeVmConfig *src, const FakeVmConfig *dst)
{
    FakePair *p = g_new0(FakePair, 1);

    p->src = fake_vm_new(&p->world, src);
    p->dst = fake_vm_new(&p->world, dst);
    p->dir = fake_dir_new();
    p->uri = g_strdup_printf("unix:%s/mig", p->dir);
    fake_vm_boot(p->src);
    fake_vm_fill(p->src, 42);
    return p;
}

void fake_pair_free(FakePair *p)
{
    g_assert_false(p->world.violated);
    fake_vm_free(p->src);
    fake_vm_free(p->dst);
    fake_dir_free(p->dir);
    g_free(p->uri);
    g_free(p);
}
