/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Zero-copy paging: pages change their place in the address space.
 *
 * Two facts shape this file.
 *
 * A page that was just read or written by O_DIRECT can stay pinned for a
 * moment after its completion is seen; MOVE then says EBUSY. On the way in
 * that is waited out, and in the end the page is copied. On the way out it
 * means I/O in flight: the page must stay where it is.
 *
 * MOVE drops the write-protect bit, or keeps that of the frame, which has none
 * (newer kernels). So a page is writable between MOVE and the WRITEPROTECT
 * that follows it. A vCPU that was not waiting for this page can write in
 * that window unseen; the page would then count as equal to the swap file and
 * its change be lost at the next page-out. So the content is hashed before the
 * MOVE and again once the protection holds: if the guest wrote in between, the
 * two differ, and the pages are reported as changed.
 *
 * Why not UFFDIO_COPY with its atomic write-protect mode, as for small reads:
 * it copies and allocates, 298 us a MiB measured, against 27 to 38 us for the
 * MOVE and 107 us for the two hashes (gcc -O2, SSE2 code of xxhash 0.8.1, AMD
 * Zen 5, 256 pieces of 1 MiB; its AVX2 code takes 0.66 of that).
 */
#include "mem-common.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "memory/ram.h"
#include "page-hash.h"

#define IN_BUSY_TRIES 2000
#define OUT_BUSY_TRIES 3

typedef enum Moving { MOVE_OUT, MOVE_IN, MOVE_IN_AND_WAKE } Moving;

/* MOVE that waits for EBUSY to pass, at most tries times in a row. */
static int move_patiently(VmFaultService *fs, void *to, void *from, size_t len,
                          Moving how, unsigned tries, size_t *ret_done)
{
    size_t done = 0;
    unsigned busy = 0;
    int r = 0;

    while (done < len) {
        size_t step = 0;
        char *there = (char *)to + done, *here = (char *)from + done;
        r = how == MOVE_OUT
                ? vm_fault_move_sparse(fs, there, here, len - done, &step)
                : vm_fault_move(fs, there, here, len - done,
                                how == MOVE_IN_AND_WAKE, &step);
        done += step;
        busy = step > 0 ? 0 : busy + 1;
        if (r != -EBUSY || busy > tries) {
            break;
        }
        sched_yield();
    }
    *ret_done = done;
    return r;
}

static int move_out(void *opaque, void *guest, void *frame, size_t len,
                    size_t *ret_done)
{
    int r = move_patiently(opaque, frame, guest, len, MOVE_OUT, OUT_BUSY_TRIES,
                           ret_done);

    if (*ret_done > 0 && vm_fault_service_move_keeps_protection(opaque)) {
        /* A read into a protected frame would fault, and wait for us. */
        int p = vm_fault_protect(opaque, frame, *ret_done,
                                 /* protect= */ false, /* wake= */ false);
        return r < 0 ? r : p;
    }
    return r;
}

/* Moves; a page that stays busy is copied, and its frame page dropped. */
static int move_or_copy(VmFaultService *fs, void *guest, void *frame,
                        size_t len, bool wake, size_t *ret_done)
{
    size_t done = 0;
    int r;

    do {
        size_t step = 0;
        r = move_patiently(fs, (char *)guest + done, (char *)frame + done,
                           len - done, wake ? MOVE_IN_AND_WAKE : MOVE_IN,
                           IN_BUSY_TRIES, &step);
        done += step;
        if (r == -EBUSY) {
            r = vm_fault_copy(fs, (char *)guest + done, (char *)frame + done,
                              4096, /* write_protect= */ false, wake, &step);
            if (r == 0) {
                r = vmd_mem_discard(NULL, (char *)frame + done, 4096);
                done += step;
            }
        }
    } while (r == 0 && done < len);
    *ret_done = done;
    return r;
}

static int move_in(void *opaque, void *guest, void *frame, size_t len,
                   bool protect, size_t *ret_done, bool *ret_changed)
{
    *ret_changed = false;
    if (!protect) {
        return move_or_copy(opaque, guest, frame, len, /* wake= */ true,
                            ret_done);
    }

    VmdPageHash before = vmd_page_hash(frame, len);
    int r = move_or_copy(opaque, guest, frame, len, /* wake= */ false,
                         ret_done);
    int p = 0;
    if (*ret_done > 0) {
        p = vm_fault_protect(opaque, guest, *ret_done, /* protect= */ true,
                             /* wake= */ false);
        (void)vm_fault_wake(opaque, guest, *ret_done);
    }
    if (r < 0 || p < 0) {
        *ret_changed = true; /* not all pages could be compared */
        return r;
    }
    /* The pages are present and protected: this read cannot fault, and what
     * it reads cannot change. */
    *ret_changed = !vmd_page_hash_equal(before, vmd_page_hash(guest, len));
    return 0;
}

/*
 * A huge page is moved whole only to where no page table is left of small
 * pages; Linux frees an empty one by MADV_DONTNEED since 6.14. Before that,
 * the page is split and moved all the same.
 */
static void clear_way(void *opaque, void *addr, size_t len)
{
    (void)vmd_mem_discard(opaque, addr, len);
}

/* Touches the stage; is the last page of it there too? */
static bool make_in_stage(uint8_t *stage, size_t len)
{
    unsigned char resident = 0;

    *(volatile uint8_t *)stage = 0;
    return mincore(stage + len - RAM_PAGE_BYTES, RAM_PAGE_BYTES,
                   &resident) == 0 && (resident & 1);
}

static int make_huge(void *opaque, void *to, void *stage, size_t len,
                     size_t *ret_done)
{
    int r = -ENOMEM;

    *ret_done = 0;
    if (make_in_stage(stage, len)) {
        clear_way(opaque, to, len);
        r = move_patiently(opaque, to, stage, len, MOVE_IN_AND_WAKE,
                           IN_BUSY_TRIES, ret_done);
    }
    if (r < 0) {
        (void)vmd_mem_discard(opaque, stage, len);
    }
    return r;
}

const VmdMemOps vmd_mem_move = {
    .name = "move",
    .skips_holes = true,
    .out = move_out,
    .in = move_in,
    .copy_in = vmd_mem_copy_in,
    .zero = vmd_mem_zero,
    .unprotect = vmd_mem_unprotect,
    .wake = vmd_mem_wake,
    .discard = vmd_mem_discard,
    .clear_way = clear_way,
    .huge = make_huge,
};
