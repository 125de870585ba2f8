/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeping the program's memory off the host's swap.
 *
 * Why: with -vmemdirect the host is short of memory. The pager must not itself
 * wait for the kernel's swap, and guest RAM within the budget is not to be
 * paged a second time. All is locked as it is touched (MCL_ONFAULT), so only
 * what is in use counts, and of guest RAM that is never more than the budget.
 *
 * It happens in two steps, since RLIMIT_MEMLOCK counts address space, of which
 * guest RAM and the engine's frames have about twice the RAM:
 *   1. before guest RAM is mapped: the program and its libraries;
 *   2. when all is mapped: the rest. Guest RAM and frames in one call, since
 *      UFFDIO_MOVE refuses pages whose mappings differ in that.
 * What the limit forbids is told once, and the VM runs without.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "util/error.h"
#include "util/log.h"

#define MIB (UINT64_C(1) << 20)

const char *vm_locked_to_string(VmLocked locked)
{
    static const char *const names[VM_LOCKED__COUNT] = {
        [VM_LOCKED_NOTHING] = "nothing",
        [VM_LOCKED_PROGRAM] = "program",
        [VM_LOCKED_ALL] = "all",
    };

    g_assert(locked < VM_LOCKED__COUNT);
    return names[locked];
}

/* In bytes; raised as far as it may be. */
static rlim_t raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0) {
        return 0;
    }
    if (limit.rlim_cur != limit.rlim_max) {
        struct rlimit more = { limit.rlim_max, limit.rlim_max };
        if (setrlimit(RLIMIT_MEMLOCK, &more) == 0) {
            limit = more;
        }
    }
    return limit.rlim_cur;
}

/* Of address space: what the limit is compared with. */
static uint64_t mapped_bytes(void)
{
    g_autofree char *text = NULL;
    uint64_t pages = 0;

    if (g_file_get_contents("/proc/self/statm", &text, NULL, NULL)) {
        (void)sscanf(text, "%" SCNu64, &pages);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void warn(const char *what, int error, rlim_t limit)
{
    vm_warn("-vmemdirect: %s is not locked, so the host may swap it out: %s "
            "(RLIMIT_MEMLOCK is %" PRIu64 " MiB; it takes %" PRIu64
            " MiB, or CAP_IPC_LOCK)",
            what, g_strerror(error), (uint64_t)limit / MIB,
            mapped_bytes() / MIB + 1);
}

bool vm_lock_memory(const VmOptions *o, VmLocked *ret_locked, GError **errp)
{
    *ret_locked = VM_LOCKED_NOTHING;
    if (o->mem_lock && mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
        return vm_error_set(errp, errno,
                            "-overcommit: cannot lock all memory "
                            "(RLIMIT_MEMLOCK?)");
    }
    if (o->mem_lock) {
        *ret_locked = VM_LOCKED_ALL;
    } else if (o->vmemdirect) {
        (void)raise_limit();
        if (mlockall(MCL_CURRENT | MCL_ONFAULT) == 0) {
            *ret_locked = VM_LOCKED_PROGRAM;
        }
    }
    return true;
}

/* The engine gives locked pages back to the system by this (Linux 5.18). */
static bool locked_pages_can_go(void)
{
    return madvise(NULL, 0, MADV_DONTNEED_LOCKED) == 0;
}

/*
 * MCL_FUTURE, too, for what will be mapped later? Beyond the limit mmap() would
 * fail, so only if there is none: it is unlimited, or we are beyond it already,
 * and then mlockall() succeeds with CAP_IPC_LOCK only.
 */
static int flags_for(rlim_t limit)
{
    bool no_limit = limit == RLIM_INFINITY || mapped_bytes() > limit;

    return MCL_CURRENT | MCL_ONFAULT | (no_limit ? MCL_FUTURE : 0);
}

void vm_lock_all_memory(VmLocked *locked)
{
    rlim_t limit = raise_limit();

    if (!locked_pages_can_go()) {
        vm_warn("-vmemdirect: guest RAM is not locked, so the host may swap "
                "it out: that needs Linux 5.18");
    } else if (mlockall(flags_for(limit)) == 0) {
        *locked = VM_LOCKED_ALL;
    } else {
        warn(*locked == VM_LOCKED_PROGRAM ? "guest RAM" : "memory",
             errno, limit);
    }
}
