/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The budget in force, on its way to the one that was asked for.
 *
 * A larger budget counts at once. A smaller one cannot: memory has to be
 * written out first. Until that is done the limit in force slides down with
 * what reclaim frees:
 *
 *   cfg.budget_pages (asked for) <= limit_pages (in force) <= the one before
 *
 * Why not the smaller limit at once: every fault would then wait until all of
 * the excess is written, which for many GiB is minutes in which the guest
 * stands still. Why not reclaim alone: a guest that uses each page as soon as
 * it is freed would keep the limit up for ever. So one half of what was freed
 * lowers the limit, and the other is left to faults. A step does this before
 * it serves any fault with memory that has just become free; hence the limit
 * is reached when at most twice the excess has been freed, whatever the guest
 * does. And so that writing a chunk always frees memory, a page of it that is
 * touched meanwhile comes back alone, not with all of the chunk (pager.c).
 *
 * Invariants:
 *   (B1) Memory in use is at most limit_pages.
 *   (B2) Between two changes of the budget limit_pages never rises.
 *   (B3) Of memory that is freed at least half lowers the limit, until it is
 *        the budget.
 *
 * Threads: the pager thread.
 */
#include "pager-internal.h"

#include "util/clock.h"

/* Without any progress for so long it is called that it cannot be reached. */
#define STUCK_NS (2 * VM_NS_PER_SEC)

const char *vmd_budget_state_to_string(VmdBudgetState state)
{
    static const char *const names[] = {
        [VMD_BUDGET_REACHED] = "reached",
        [VMD_BUDGET_CONVERGING] = "converging",
        [VMD_BUDGET_CANNOT] = "cannot",
    };

    return names[state];
}

uint64_t vmd_used_pages(const VmdPager *p)
{
    return p->guest_pages + p->landing_pages + p->frames.populated_pages;
}

void vmd_budget_set(VmdPager *p, uint64_t pages)
{
    int64_t now = p->cfg.now_ns();

    p->cfg.budget_pages = pages;
    p->budget.limit_pages = MAX(pages, vmd_used_pages(p));
    p->budget.set_ns = now;
    p->budget.moved_ns = now;
    p->budget.took_ns = 0;
}

bool vmd_budget_is_reached(const VmdPager *p)
{
    return p->budget.limit_pages == p->cfg.budget_pages;
}

void vmd_budget_step(VmdPager *p)
{
    uint64_t excess = p->budget.limit_pages - p->cfg.budget_pages;
    uint64_t available = (uint64_t)vmd_available_pages(p); /* (B1) */
    uint64_t reserve = MIN(available, p->cfg.chunk_pages);
    uint64_t lower = MAX(MIN(p->budget.freed_pages, available),
                         available - reserve);

    p->budget.freed_pages = 0;
    lower = MIN(excess, (lower + 1) / 2); /* (B3) */
    if (lower == 0) {
        return;
    }
    p->budget.limit_pages -= lower;
    p->budget.moved_ns = p->cfg.now_ns();
    vmd_frames_trim(p); /* (B1): what was free is partly in stale frames */
    if (vmd_budget_is_reached(p)) {
        p->budget.took_ns = p->budget.moved_ns - p->budget.set_ns;
    }
}

static bool all_resident_are_pinned(const VmdPager *p)
{
    bool any = false;

    for (ChunkNo c = 0; c < p->chunk_count; c++) {
        if (p->chunks[c].state == VMD_RESIDENT) {
            if (atomic_load(&p->pins[c]) == 0) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

/* Why it does not move; NULL: it does. */
static const char *obstacle(const VmdPager *p)
{
    if (p->fatal) {
        return "engine";
    }
    if (vmd_health_has(&p->health, VMD_TROUBLE_WRITE)) {
        return "write-error";
    }
    if (p->cfg.now_ns() - p->budget.moved_ns < STUCK_NS) {
        return NULL;
    }
    if (all_resident_are_pinned(p)) {
        return "pinned";
    }
    return p->in_flight > 0 ? "slow-io" : "busy";
}

void vmd_budget_fill_stats(const VmdPager *p, VmdStats *ret)
{
    bool reached = vmd_budget_is_reached(p);

    ret->budget_bytes = p->cfg.budget_pages * RAM_PAGE_BYTES;
    ret->budget_limit_bytes = p->budget.limit_pages * RAM_PAGE_BYTES;
    ret->budget_used_bytes = vmd_used_pages(p) * RAM_PAGE_BYTES;
    ret->budget_age_ns = p->cfg.now_ns() - p->budget.set_ns;
    ret->budget_took_ns = p->budget.took_ns;
    ret->budget_obstacle = reached ? NULL : obstacle(p);
    ret->budget_state = reached ? VMD_BUDGET_REACHED
                        : ret->budget_obstacle ? VMD_BUDGET_CANNOT
                                               : VMD_BUDGET_CONVERGING;
}
