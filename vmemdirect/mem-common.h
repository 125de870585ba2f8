/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations that moving and copying have in common; see mem.h. */
#ifndef VMD_MEM_COMMON_H
#define VMD_MEM_COMMON_H

#include "mem.h"

int vmd_mem_copy_in(void *opaque, void *guest, const void *from, size_t len,
                    bool protect, size_t *ret_done);
int vmd_mem_zero(void *opaque, void *guest, size_t len, bool own,
                 size_t *ret_done);
int vmd_mem_unprotect(void *opaque, void *guest, size_t len);
int vmd_mem_wake(void *opaque, void *guest, size_t len);
int vmd_mem_discard(void *opaque, void *addr, size_t len);

#endif
