/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * userfaultfd read-write protection as an access source: probed, never used.
 *
 * Linux 7.3 can make present pages inaccessible and let the kernel clear the
 * mark at the first access (UFFDIO_REGISTER_MODE_RWP, UFFD_FEATURE_RWP_ASYNC;
 * PAGEMAP_SCAN reads the marks). But one bit of the page table serves it and
 * write protection, and so a range can be registered for one of them only
 * (EINVAL for both, as tried with 7.3-rc7). The engine needs write protection:
 * it is how a clean page is told from a dirty one. With RWP in its place,
 * every page that was merely read would have to be written again.
 *
 * So the probe asks the running kernel whether it takes both, and says what
 * it found.
 */
#include "memory/fault-service.h"
#include "tracker.h"
#include "util/error.h"

static VmdTracker *rwp_start(const VmdTrackerEnv *env, GError **errp)
{
    switch (vm_fault_service_probe_rwp()) {
    case VM_FAULT_RWP_ABSENT:
        vm_error_set(errp, 0,
                     "this kernel's userfaultfd has no read-write protection "
                     "(Linux 7.3)");
        break;
    case VM_FAULT_RWP_EXCLUDES_WP:
        vm_error_set(errp, 0,
                     "this kernel has read-write protection, but not together "
                     "with the write protection that tells clean pages from "
                     "dirty ones");
        break;
    case VM_FAULT_RWP_WITH_WP:
        vm_error_set(errp, 0,
                     "this kernel has read-write protection together with "
                     "write protection, which this program cannot use yet");
        break;
    }
    return NULL;
}

const VmdTrackerOps vmd_tracker_rwp = {
    .name = "rwp",
    .start = rwp_start,
};
