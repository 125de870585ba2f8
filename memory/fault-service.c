/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one userfaultfd of a VM.
 *
 * Why a file of its own: the descriptor, its feature set and the protocol of
 * its ioctls (partial progress, EAGAIN while the address space changes) are
 * the same for every page source.
 *
 * The system headers of older distributions lack UFFDIO_MOVE (Linux 6.8) and
 * read-write protection (Linux 7.3), so their numbers and shapes are declared
 * here after ioctl_userfaultfd(2).
 *
 * Threads: see the header. No state changes after set-up.
 */
#include "memory/fault-service.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault-progress.h"
#include "util/error.h"
#include "util/fd.h"

#ifndef UFFDIO_MOVE
#define _UFFDIO_MOVE 0x05
#define UFFD_FEATURE_MOVE (1 << 16)
struct uffdio_move {
    __u64 dst;
    __u64 src;
    __u64 len;
    __u64 mode;
    __s64 move;
};
#define UFFDIO_MOVE_MODE_DONTWAKE ((__u64)1 << 0)
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES ((__u64)1 << 1)
#define UFFDIO_MOVE _IOWR(UFFDIO, _UFFDIO_MOVE, struct uffdio_move)
#endif
#ifndef UFFD_FEATURE_RWP
#define UFFD_FEATURE_RWP (1 << 17)
#define UFFDIO_REGISTER_MODE_RWP ((__u64)1 << 3)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define PAGE_BYTES 4096u
/* WRITEPROTECT: tries in a row that may say EAGAIN. */
#define RETRIES_MAX 10000

struct VmFaultService {
    int fd;
    bool has_move;
    bool move_keeps_protection;
};

static int open_descriptor(void)
{
    vm_autofd node = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd = -1;

    if (node >= 0) {
        fd = ioctl(node, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    }
    if (fd < 0) {
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    }
    return fd < 0 ? -errno : fd;
}

/* Asks for features; a kernel that lacks one refuses the whole set. */
static int handshake(int fd, uint64_t features, struct uffdio_api *ret_api)
{
    *ret_api = (struct uffdio_api){ .api = UFFD_API, .features = features };
    return ioctl(fd, UFFDIO_API, ret_api) < 0 ? -errno : 0;
}

/* Bit 57 of an entry of pagemap: write-protected by userfaultfd. */
static bool page_is_protected(void *page)
{
    vm_autofd map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    off_t at = (off_t)((uintptr_t)page / PAGE_BYTES * sizeof(uint64_t));
    uint64_t entry = 0;

    return map >= 0 &&
           pread(map, &entry, sizeof(entry), at) == sizeof(entry) &&
           entry >> 57 & 1;
}

/*
 * Until 2026 MOVE dropped the write protection of a page; since then kernels
 * may keep it. One page is moved to see which this one does.
 */
static bool probe_kept_protection(int fd)
{
    VmFaultService probe = { .fd = fd };
    uint8_t *pages = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t done;

    if (pages == MAP_FAILED) {
        return false;
    }
    pages[0] = 1;
    bool kept = vm_fault_service_register(&probe, pages, 2 * PAGE_BYTES,
                                          VM_FAULT_REGISTER_FRAMES, NULL) &&
                vm_fault_protect(&probe, pages, PAGE_BYTES, true, true) == 0 &&
                vm_fault_move(&probe, pages + PAGE_BYTES, pages, PAGE_BYTES,
                              true, &done) == 0 &&
                page_is_protected(pages + PAGE_BYTES);
    (void)munmap(pages, 2 * PAGE_BYTES);
    return kept;
}

VmFaultService *vm_fault_service_new(GError **errp)
{
    const uint64_t required = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    struct uffdio_api api;
    int fd = open_descriptor();

    if (fd == -ENOSYS) {
        vm_error_set(errp, 0, "userfaultfd: this kernel is built without it");
        return NULL;
    }
    if (fd < 0) {
        vm_error_set(errp, -fd,
                     "userfaultfd: cannot be opened; give this user access to "
                     "/dev/userfaultfd, or set the sysctl "
                     "vm.unprivileged_userfaultfd to 1 (under libvirt: "
                     "scripts/libvirt-setup)");
        return NULL;
    }
    int r = handshake(fd, required | UFFD_FEATURE_MOVE, &api);
    if (r == -EINVAL) {
        /* A failed hand-shake leaves the descriptor unusable: open anew. */
        (void)close(fd);
        fd = open_descriptor();
        r = fd < 0 ? fd : handshake(fd, required, &api);
    }
    if (r < 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        vm_error_set(errp, -r,
                     "userfaultfd: write protection of anonymous memory "
                     "(Linux 5.7) is needed");
        return NULL;
    }

    VmFaultService *fs = g_new0(VmFaultService, 1);
    fs->fd = fd;
    fs->has_move = api.features & UFFD_FEATURE_MOVE;
    fs->move_keeps_protection = fs->has_move && probe_kept_protection(fd);
    return fs;
}

void vm_fault_service_free(VmFaultService *fs)
{
    if (fs) {
        (void)close(fs->fd);
        g_free(fs);
    }
}

bool vm_fault_service_has_move(const VmFaultService *fs)
{
    return fs->has_move;
}

bool vm_fault_service_move_keeps_protection(const VmFaultService *fs)
{
    return fs->move_keeps_protection;
}

int vm_fault_service_fd(const VmFaultService *fs)
{
    return fs->fd;
}

bool vm_fault_service_register(VmFaultService *fs, void *addr, size_t len,
                               VmFaultRegister how, GError **errp)
{
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)addr, .len = len },
        .mode = UFFDIO_REGISTER_MODE_WP,
    };

    if (how == VM_FAULT_REGISTER_GUEST) {
        reg.mode |= UFFDIO_REGISTER_MODE_MISSING;
    }
    if (ioctl(fs->fd, UFFDIO_REGISTER, &reg) < 0) {
        return vm_error_set(errp, errno,
                            "userfaultfd: cannot register %zu bytes", len);
    }
    return true;
}

VmFaultRwp vm_fault_service_probe_rwp(void)
{
    const size_t len = 4096;
    vm_autofd fd = open_descriptor();
    struct uffdio_api api;

    if (fd < 0 || handshake(fd, UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                            UFFD_FEATURE_RWP, &api) < 0) {
        return VM_FAULT_RWP_ABSENT;
    }
    void *page = mmap(NULL, len, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return VM_FAULT_RWP_ABSENT;
    }
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)page, .len = len },
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP |
                UFFDIO_REGISTER_MODE_RWP,
    };
    bool both = ioctl(fd, UFFDIO_REGISTER, &reg) == 0;
    (void)munmap(page, len);
    return both ? VM_FAULT_RWP_WITH_WP : VM_FAULT_RWP_EXCLUDES_WP;
}

int vm_fault_service_read(VmFaultService *fs, VmFaultEvent *events, int max)
{
    struct uffd_msg msgs[64];
    int wanted = MIN(max, (int)G_N_ELEMENTS(msgs));
    ssize_t n;

    do {
        n = read(fs->fd, msgs, (size_t)wanted * sizeof(msgs[0]));
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? 0 : -errno;
    }

    int count = 0;
    for (size_t i = 0; i < (size_t)n / sizeof(msgs[0]); i++) {
        uint64_t flags = msgs[i].arg.pagefault.flags;
        if (msgs[i].event != UFFD_EVENT_PAGEFAULT) {
            continue;
        }
        events[count].address = msgs[i].arg.pagefault.address & ~0xfffull;
        if (flags & UFFD_PAGEFAULT_FLAG_WP) {
            events[count].kind = VM_FAULT_WRITE_PROTECT;
        } else if (flags & UFFD_PAGEFAULT_FLAG_WRITE) {
            events[count].kind = VM_FAULT_WRITE;
        } else {
            events[count].kind = VM_FAULT_READ;
        }
        count++;
    }
    return count;
}

/* One range of MOVE, COPY or ZEROPAGE, as their attempts see it. */
typedef struct Range {
    int fd;
    uint64_t to, from, mode;
} Range;

/* The field as written by the kernel, or the ioctl's own errno. */
static int64_t outcome(int rc, int64_t field)
{
    if (field != 0) {
        return field;
    }
    return rc < 0 ? -errno : -EIO;
}

static int64_t attempt_move(void *opaque, size_t done, size_t len)
{
    const Range *r = opaque;
    struct uffdio_move op = { .dst = r->to + done, .src = r->from + done,
                              .len = len, .mode = r->mode };
    int rc = ioctl(r->fd, UFFDIO_MOVE, &op);
    return outcome(rc, op.move);
}

static int64_t attempt_copy(void *opaque, size_t done, size_t len)
{
    const Range *r = opaque;
    struct uffdio_copy op = { .dst = r->to + done, .src = r->from + done,
                              .len = len, .mode = r->mode };
    int rc = ioctl(r->fd, UFFDIO_COPY, &op);
    return outcome(rc, op.copy);
}

static int64_t attempt_zero(void *opaque, size_t done, size_t len)
{
    const Range *r = opaque;
    struct uffdio_zeropage op = { .range = { .start = r->to + done,
                                             .len = len },
                                  .mode = r->mode };
    int rc = ioctl(r->fd, UFFDIO_ZEROPAGE, &op);
    return outcome(rc, op.zeropage);
}

static bool source_gone(void *opaque, size_t done)
{
    const Range *r = opaque;
    unsigned char resident = 1;
    uintptr_t page = (uintptr_t)(r->from + done);

    return mincore((void *)page, PAGE_BYTES, &resident) == 0 &&
           !(resident & 1);
}

int vm_fault_move_sparse(VmFaultService *fs, void *to, void *from, size_t len,
                         size_t *ret_done)
{
    Range range = { fs->fd, (uintptr_t)to, (uintptr_t)from,
                    UFFDIO_MOVE_MODE_DONTWAKE |
                    UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES };
    VmFaultOp op = { attempt_move, source_gone, &range, PAGE_BYTES };
    size_t unreported;

    return vm_fault_go_on(&op, len, ret_done, &unreported);
}

int vm_fault_move(VmFaultService *fs, void *to, void *from, size_t len,
                  bool wake, size_t *ret_done)
{
    Range range = { fs->fd, (uintptr_t)to, (uintptr_t)from,
                    wake ? 0 : UFFDIO_MOVE_MODE_DONTWAKE };
    VmFaultOp op = { attempt_move, source_gone, &range, PAGE_BYTES };
    size_t unreported;
    int r = vm_fault_go_on(&op, len, ret_done, &unreported);

    if (wake && unreported > 0) {
        (void)vm_fault_wake(fs, to, *ret_done);
    }
    return r;
}

int vm_fault_copy(VmFaultService *fs, void *to, const void *from, size_t len,
                  bool write_protect, bool wake, size_t *ret_done)
{
    Range range = { fs->fd, (uintptr_t)to, (uintptr_t)from,
                    (write_protect ? UFFDIO_COPY_MODE_WP : 0) |
                    (wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE) };
    VmFaultOp op = { attempt_copy, NULL, &range, PAGE_BYTES };
    size_t unreported;

    return vm_fault_go_on(&op, len, ret_done, &unreported);
}

int vm_fault_zero(VmFaultService *fs, void *to, size_t len, bool wake,
                  size_t *ret_done)
{
    Range range = { fs->fd, (uintptr_t)to, 0,
                    wake ? 0 : UFFDIO_ZEROPAGE_MODE_DONTWAKE };
    VmFaultOp op = { attempt_zero, NULL, &range, PAGE_BYTES };
    size_t unreported;

    return vm_fault_go_on(&op, len, ret_done, &unreported);
}

int vm_fault_protect(VmFaultService *fs, void *addr, size_t len, bool protect,
                     bool wake)
{
    struct uffdio_writeprotect op = {
        .range = { .start = (uintptr_t)addr, .len = len },
        .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    unsigned idle = 0;

    /* DONTWAKE goes only with the removal of the protection. */
    if (!protect && !wake) {
        op.mode |= UFFDIO_WRITEPROTECT_MODE_DONTWAKE;
    }
    while (ioctl(fs->fd, UFFDIO_WRITEPROTECT, &op) < 0) {
        if (errno != EAGAIN || ++idle > RETRIES_MAX) {
            return -errno;
        }
        sched_yield();
    }
    return 0;
}

int vm_fault_wake(VmFaultService *fs, void *addr, size_t len)
{
    struct uffdio_range range = { .start = (uintptr_t)addr, .len = len };
    return ioctl(fs->fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}
