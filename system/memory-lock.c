/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locking the program's own memory.
 *
 * Why: with -vmemdirect the host is short of memory, and the pager must not
 * itself wait for the kernel's swap. Guest RAM and the engine's frames have
 * to stay unlocked, both (UFFDIO_MOVE refuses pages whose mappings differ in
 * that), so what is mapped before them is locked, page by page as it is
 * touched, and nothing that comes later.
 *
 * Threads: main, before guest RAM is mapped.
 */
#include "system-internal.h"

#include <errno.h>
#include <sys/mman.h>

#include "util/error.h"
#include "util/log.h"

bool vm_lock_memory(const VmOptions *o, GError **errp)
{
    if (o->mem_lock && mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
        return vm_error_set(errp, errno,
                            "-overcommit: cannot lock all memory "
                            "(RLIMIT_MEMLOCK?)");
    }
    if (o->vmemdirect && mlockall(MCL_CURRENT | MCL_ONFAULT) < 0) {
        vm_warn("-vmemdirect: the program's own memory is not locked: %s "
                "(RLIMIT_MEMLOCK)", g_strerror(errno));
    }
    return true;
}
