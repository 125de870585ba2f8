/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations that moving and copying have in common; contract in mem.h. */
#include "mem-common.h"

#include <errno.h>
#include <glib.h>
#include <sys/mman.h>

#include "memory/placement.h"
#include "memory/ram.h"

/* The kernel copies from here; never written, so it has no memory. */
static _Alignas(4096) uint8_t zeros[RAM_CHUNK_PAGES_MAX *
                                          RAM_PAGE_BYTES];

int vmd_mem_copy_in(void *opaque, void *guest, const void *from, size_t len,
                    bool protect, size_t *ret_done)
{
    return vm_fault_copy(opaque, guest, from, len, protect, /* wake= */ true,
                         ret_done);
}

int vmd_mem_zero(void *opaque, void *guest, size_t len, bool own,
                 size_t *ret_done)
{
    if (own) {
        g_assert(len <= sizeof(zeros));
        return vm_fault_copy(opaque, guest, zeros, len, /* protect= */ false,
                             /* wake= */ true, ret_done);
    }
    return vm_fault_zero(opaque, guest, len, /* wake= */ true, ret_done);
}

int vmd_mem_unprotect(void *opaque, void *guest, size_t len)
{
    return vm_fault_protect(opaque, guest, len, /* protect= */ false,
                            /* wake= */ true);
}

int vmd_mem_wake(void *opaque, void *guest, size_t len)
{
    return vm_fault_wake(opaque, guest, len);
}

int vmd_mem_discard(void *opaque, void *addr, size_t len)
{
    (void)opaque;
    /* Whoever uses the engine may have locked all memory. Before Linux 5.18
     * this is not known, and locked pages cannot be given back. */
    if (madvise(addr, len, MADV_DONTNEED_LOCKED) == 0 ||
        (errno == EINVAL && madvise(addr, len, MADV_DONTNEED) == 0)) {
        return 0;
    }
    return -errno;
}
