/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver of virtio-balloon (virtio 1.2, 5.5), for balloon=1 and discard=.
 *
 * balloon=1: does what a balloon driver does. The host says how many pages it
 * wants (num_pages); processor 0 takes them from the end of its own pages,
 * which are not worked on (hot=), and gives them back from there. Whenever the
 * balloon has become what was asked, or cannot, a line "A pages" is printed.
 *
 * discard=PERCENT: so many of the operations give up 16 pages that are worked
 * on, by a request to the inflate queue (processor 0) or a free page report
 * (processor 1, or 0 if it is alone), wait for the answer, and go on using
 * them. From the answer on they must be zero.
 *
 * Either way a page that was given up counts as a new version whose content
 * is zero, so that the verification tells zero from old content, and from
 * what was lost on the way.
 */
#include "virtio.h"

#define ID 0x1045
#define ID_TRANSITIONAL 0x1002
#define F_STATS (1ull << 1)
#define F_REPORTING (1ull << 5)
enum { INFLATE, DEFLATE, STATS, REPORTING };
enum { CONFIG_NUM_PAGES = 0, CONFIG_ACTUAL = 4 };
enum { STAT_FREE_MEMORY = 4, STAT_TOTAL_MEMORY = 5 };

#define POLL_US 10000u
#define PFNS_MAX 256u

struct Stat {
    uint16_t tag;
    uint64_t value;
} __attribute__((packed));

static bool present;
static uint64_t next_poll_tsc;
static uint64_t first_inside; /* of processor 0's pages: those from here on */
static uint64_t last_target, last_told;
static struct Stat stats[2];

/* Lists of page numbers, one for each queue: each has its own processor. */
static uint32_t inflate_pfns[PFNS_MAX], deflate_pfns[PFNS_MAX];

static uint64_t inside(void)
{
    return workload_own_pages() - first_inside;
}

static void offer_stats(void)
{
    const struct VirtioBuffer buffer = { stats, sizeof(stats), false };

    stats[0].tag = STAT_FREE_MEMORY;
    stats[0].value = (first_inside - workload_own_hot_pages()) * PAGE_BYTES;
    stats[1].tag = STAT_TOTAL_MEMORY;
    stats[1].value = workload_own_pages() * PAGE_BYTES;
    virtio_offer(STATS, &buffer, 1);
}

void balloon_init(void)
{
    if (params.balloon == 0 && params.discard == 0) {
        return;
    }
    if (!params.zero_part) {
        fatal("balloon and discard need fill=zero-part");
    }
    first_inside = workload_own_pages();
    present = virtio_start(ID, ID_TRANSITIONAL, F_STATS | F_REPORTING,
                           REPORTING + 1);
    if (!present || !virtio_has_feature(F_STATS) ||
        !virtio_has_feature(F_REPORTING)) {
        fatal("no balloon with free-page-reporting=on");
    }
    offer_stats();
}

/* The number of page k of the processor; its content is zero from now on. */
static uint32_t give_up(struct Cpu *cpu, uint64_t k)
{
    uint64_t page = workload_page(cpu, k);

    page_discard(cpu, page);
    return (uint32_t)((uint64_t)memory_page(page) / PAGE_BYTES);
}

/* ---- discard= ------------------------------------------------------------ */

void balloon_discard(struct Cpu *cpu, uint64_t k, unsigned count)
{
    unsigned queue = cpu->index == 1 ||
                             (cpu_count == 1 && random_next(cpu) % 2 == 0)
                         ? REPORTING
                         : INFLATE;
    struct VirtioBuffer list = { inflate_pfns, count * 4, false };

    if (cpu->index > 1 || count > VIRTIO_QUEUE_SIZE) {
        return;
    }
    if (queue == INFLATE) {
        for (unsigned i = 0; i < count; i++) {
            inflate_pfns[i] = give_up(cpu, k + i);
        }
        virtio_request(cpu, INFLATE, &list, 1);
    } else {
        struct VirtioBuffer blocks[VIRTIO_QUEUE_SIZE];

        for (unsigned i = 0; i < count; i++) {
            uint64_t pfn = give_up(cpu, k + i);

            blocks[i].at = (void *)(pfn * PAGE_BYTES);
            blocks[i].bytes = PAGE_BYTES;
            blocks[i].in = true;
        }
        virtio_request(cpu, REPORTING, blocks, count);
    }
    page_peek(cpu, workload_page(cpu, k + random_next(cpu) % count),
              (unsigned)(random_next(cpu) % PAGE_WORDS));
}

/* ---- balloon=1 ----------------------------------------------------------- */

bool balloon_holds(const struct Cpu *cpu, uint64_t k)
{
    return present && cpu->index == 0 && k >= first_inside;
}

static void inflate(struct Cpu *cpu, uint64_t target)
{
    unsigned n = 0;

    while (inside() < target && first_inside > workload_own_hot_pages() &&
           n < PFNS_MAX) {
        inflate_pfns[n++] = give_up(cpu, --first_inside);
    }
    if (n > 0) {
        const struct VirtioBuffer list = { inflate_pfns, n * 4, false };

        virtio_request(cpu, INFLATE, &list, 1);
    }
}

static void deflate(struct Cpu *cpu, uint64_t target)
{
    unsigned n = 0;

    while (inside() > target && n < PFNS_MAX) {
        uint64_t page = workload_page(cpu, first_inside++);

        deflate_pfns[n++] =
            (uint32_t)((uint64_t)memory_page(page) / PAGE_BYTES);
    }
    if (n > 0) {
        const struct VirtioBuffer list = { deflate_pfns, n * 4, false };

        virtio_request(cpu, DEFLATE, &list, 1);
    }
}

static void follow(struct Cpu *cpu, uint64_t target)
{
    uint64_t before = inside();

    inflate(cpu, target);
    deflate(cpu, target);
    if (inside() != before) {
        virtio_config_write(CONFIG_ACTUAL, (uint32_t)inside());
        next_poll_tsc = 0; /* there may be more to do */
    } else if (last_target != target || last_told != before) {
        last_target = target;
        last_told = before;
        put_numbers("A", &before, 1);
    }
}

void balloon_poll(struct Cpu *cpu)
{
    uint64_t now = cpu->last_tsc;

    if (!present || cpu->index != 0 || now < next_poll_tsc) {
        return;
    }
    next_poll_tsc = now + POLL_US * params.mhz;
    if (virtio_is_back(STATS)) {
        offer_stats();
    }
    if (params.balloon != 0) {
        follow(cpu, virtio_config_read(CONFIG_NUM_PAGES));
    }
}
