/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The test guest: what its files share.
 *
 * All C code runs at CPL3 with interrupts off, identity mapped, one thread a
 * processor. Each page of the workload has one writing processor, so pages
 * and their versions need no atomics; what processors tell each other goes
 * through the few atomic fields marked below.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

#define PAGE_BYTES 4096u
#define PAGE_WORDS (PAGE_BYTES / 8)
#define MIB_PAGES 256u
#define RECORD_WORDS_MAX 64u

/* lib.c: ports, console, time. */
uint8_t port_in8(uint16_t port);
void port_out8(uint16_t port, uint8_t value);
uint32_t port_in32(uint16_t port);
void port_out32(uint16_t port, uint32_t value);
uint64_t rdtsc(void);
void cpu_relax(void);
void park(void) __attribute__((noreturn));
void console_init(bool com1);
/* Called for each byte written, so that slow output is not taken for a gap
 * in the guest's time, nor hides one. */
extern void (*console_byte_hook)(void);
void put_text(const char *text);
void put_u64(uint64_t value);
void put_hex(uint64_t value);
/* " name=value" */
void put_field(const char *name, uint64_t value);
void put_field_hex(const char *name, uint64_t value);
void put_end(void);
/* "head 1 2 3\n" */
void put_numbers(const char *head, const uint64_t *numbers, unsigned count);
/* Reports on the console and powers off with a failure status. */
void fatal(const char *text) __attribute__((noreturn));
void power_off(unsigned status) __attribute__((noreturn));
/* With acpi=1 it is looked at with each line of progress. */
void power_button_obey(void);
uint64_t tsc_mhz_measure(void);
void *memset(void *to, int byte, size_t bytes);
void *memcpy(void *to, const void *from, size_t bytes);

/* params.c: -append "key=value,...". */
enum Pattern {
    PATTERN_RANDOM,
    PATTERN_SEQ,
    PATTERN_ZIPF,
    PATTERN_SCAN,
    PATTERN_SORT,
};

/* A part of the command line, which lasts. */
struct Word {
    const char *text;
    size_t bytes;
};

struct Params {
    uint64_t mib;      /* workload memory; 0: all there is           */
    uint64_t hot;      /* MiB of it that is worked on; 0: all        */
    uint64_t rate;     /* MiB/s of dirtied pages; 0: no limit        */
    uint64_t read;     /* percent of operations that only read       */
    uint64_t verify;   /* seconds between verifications; 0: at the end */
    uint64_t secs;     /* 0: for ever                                */
    uint64_t seed;
    uint64_t stride;   /* pages, for seq and scan                    */
    uint64_t mhz;      /* of the TSC; 0: measured                    */
    uint64_t cpus;
    enum Pattern pattern;
    struct Word bench; /* a benchmark in place of the pattern; see bench.c */
    uint64_t round;    /* milliseconds of a benchmark's round, at least */
    uint64_t warm, rounds; /* that do not count, and that count */
    uint64_t record;   /* words of what is sorted, a power of two */
    uint64_t settle;   /* milliseconds after the fill */
    uint64_t spread;   /* 1: groups of 16 pages are spread over all RAM */
    uint64_t check;    /* 1: everything is verified at the end */
    uint64_t balloon;  /* 1: pages go into a virtio-balloon as asked */
    uint64_t discard;  /* percent of operations that give pages up */
    bool com1;
    bool zero_part;
    bool exit;         /* leave through isa-debug-exit when done     */
    bool acpi;         /* a press of the power button powers off     */
};
extern struct Params params;
/* Unknown keys and bad values are fatal: a typing error in a test must not
 * turn into another test. */
void params_parse(const char *text);
bool word_is(struct Word word, const char *text);

/* memory.c: RAM from the PVH start info. */
void memory_init(uint64_t start_info_addr);
/* Command line of the start info, copied. */
extern char command_line[1024];
uint64_t memory_workload_pages(void);
void *memory_page(uint64_t page);
/* So many pages from one on; fatal if they are not in one piece. */
void *memory_range(uint64_t page, uint64_t pages);
struct Version *memory_versions(void);

/* Version of a page: what its content is made from. */
struct Version {
    uint32_t version;
    uint32_t check; /* of seed, page and version */
};

/* One processor. Processor 0 also reads what is marked (*). */
struct Cpu {
    unsigned index;
    uint64_t random;
    uint64_t writes, reads; /* (*) */
    uint64_t version_sum;   /* of all versions of this processor's pages */
    uint64_t last_tsc;
    uint64_t gap_tsc;       /* (*) which resets it */
    uint64_t next_tsc;      /* when the rate allows the next operation */
    uint64_t cursor, phase; /* of the sequential patterns */
    uint64_t round_start_tsc;
    uint64_t checked;       /* (*) pages of the last verification */
    uint64_t bad;           /* (*) wrong pages met so far */
    uint64_t done_pass;     /* (*) last verification done; release */
} __attribute__((aligned(256)));
extern struct Cpu cpus[MAX_CPUS];
extern unsigned cpu_count;

/* A wrong page, for the report. */
struct BadPage {
    uint64_t page, word, want, got;
    uint32_t version;
};
#define BAD_PAGES_KEPT 8
extern struct BadPage bad_pages[MAX_CPUS][BAD_PAGES_KEPT];

/* smp.c */
unsigned smp_start(unsigned wanted);
/* Waits until all processors are here. */
void smp_barrier(struct Cpu *cpu);

/* pages.c: content and versions. */
void pages_init(uint64_t hot_pages);
/* First content of a page; a page that is to stay untouched gets only its
 * version. */
void page_fill(struct Cpu *cpu, uint64_t page);
void page_write(struct Cpu *cpu, uint64_t page);
/* The next version whose content is zero, without touching the page: somebody
 * else makes it zero. With fill=zero-part only. */
void page_discard(struct Cpu *cpu, uint64_t page);
/* Its version, without touching it. */
uint32_t page_version(struct Cpu *cpu, uint64_t page);
uint64_t mix64(uint64_t x);
/* Content by a version that the caller knows, past the version table. */
void page_put(uint64_t page, uint32_t version);
uint64_t page_word_want(uint64_t page, uint32_t version, unsigned word);
void page_word_check(struct Cpu *cpu, uint64_t page, uint32_t version,
                     unsigned word, uint64_t got);
void page_words_check(struct Cpu *cpu, uint64_t page, uint32_t version,
                      unsigned first_word);
void page_note_bad(struct Cpu *cpu, const struct BadPage *bad);
/* Looks at one word: enough to notice a wrong page while working. */
void page_peek(struct Cpu *cpu, uint64_t page, unsigned word);
/* Looks at every word; untouched pages only if asked, since a look makes
 * them present. Returns the version; wrong pages are put into bad_pages. */
uint32_t page_check(struct Cpu *cpu, uint64_t page, bool untouched_too);

/* workload.c */
uint64_t random_next(struct Cpu *cpu);
/* Page number of a processor's k-th page; how many it has. */
uint64_t workload_page(const struct Cpu *cpu, uint64_t k);
uint64_t workload_own_pages(void);
uint64_t workload_own_hot_pages(void);
uint64_t tsc_to_us(uint64_t tsc);
/* Processor 0: the last lines, then power-off or parking. */
void workload_finish(void) __attribute__((noreturn));
void workload_init(void);
void workload_run(struct Cpu *cpu) __attribute__((noreturn));
/* Notes the time since the last call; prints progress on processor 0. Every
 * loop calls it at least once a page. */
void workload_tick(struct Cpu *cpu);

/* balloon.c: see there. init: processor 0, after workload_init(). */
void balloon_init(void);
/* Follows what the host asks for; often. */
void balloon_poll(struct Cpu *cpu);
/* Gives up pages k to k + count - 1 of the processor; waits. */
void balloon_discard(struct Cpu *cpu, uint64_t k, unsigned count);
/* Is page k of the processor in the balloon, not to be touched? */
bool balloon_holds(const struct Cpu *cpu, uint64_t k);

/* sort.c: records of a round into the processor's pages; into order; whether
 * they are in order and those that were put. */
void sort_put_keys(struct Cpu *cpu, uint64_t round);
void sort_keys(struct Cpu *cpu);
bool sort_is_right(struct Cpu *cpu);
/* One round fills the processor's pages with keys, sorts them and
 * checks the result; false if it is wrong. */
bool sort_round(struct Cpu *cpu, uint64_t round, uint64_t *ret_tsc);

/* Atomics with the orders that are used here. */
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)

#endif
