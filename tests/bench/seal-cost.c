/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What checksum=on and encrypt=on add to each page that is written or read:
 * CPU time by page, beside that of a memcpy() of a page, as a measure of the
 * machine.
 *
 *     seal-cost
 *
 * How: the functions that seal.c calls, on the pages of a chunk of 1 MiB. They
 * take turns, and each figure is the median of the rounds. Prints JSON.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../vmemdirect/cipher.h"
#include "../../vmemdirect/page-hash.h"
#include "memory/ram.h"

#define PAGES 256u
#define TIMES 16u
#define ROUNDS 101u

typedef struct Bench {
    VmdCipher *cipher;
    uint8_t *from, *to;
    uint64_t result; /* so that nothing is left out */
} Bench;

static void copy(Bench *b, size_t at, uint64_t page)
{
    memcpy(b->to + at, b->from + at, RAM_PAGE_BYTES);
    b->result += b->to[at];
}

static void checksum(Bench *b, size_t at, uint64_t page)
{
    b->result += vmd_page_hash(b->from + at, RAM_PAGE_BYTES).low;
}

static void encrypt(Bench *b, size_t at, uint64_t page)
{
    b->result += (uint64_t)vmd_cipher_encrypt(b->cipher, page, b->to + at,
                                              b->from + at, RAM_PAGE_BYTES);
}

static void decrypt(Bench *b, size_t at, uint64_t page)
{
    b->result += (uint64_t)vmd_cipher_decrypt(b->cipher, page, b->to + at,
                                              b->to + at, RAM_PAGE_BYTES);
}

static const struct {
    const char *name;
    void (*run)(Bench *b, size_t at, uint64_t page);
} kinds[] = {
    { "memcpy", copy },
    { "checksum", checksum },
    { "encrypt", encrypt },
    { "decrypt", decrypt },
};

/* CPU time: neighbours do not count. */
static double cpu_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double measure(Bench *b, unsigned kind)
{
    double start = cpu_us();

    for (unsigned i = 0; i < TIMES * PAGES; i++) {
        kinds[kind].run(b, (size_t)(i % PAGES) * RAM_PAGE_BYTES, i);
    }
    return (cpu_us() - start) / (TIMES * PAGES);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

int main(void)
{
    static double us[G_N_ELEMENTS(kinds)][ROUNDS];
    g_autoptr(GError) err = NULL;
    Bench b = { .cipher = vmd_cipher_new(&err) };

    if (!b.cipher) {
        fprintf(stderr, "seal-cost: %s\n", err->message);
        return 1;
    }
    b.from = g_aligned_alloc0(PAGES, RAM_PAGE_BYTES, RAM_PAGE_BYTES);
    b.to = g_aligned_alloc0(PAGES, RAM_PAGE_BYTES, RAM_PAGE_BYTES);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned kind = 0; kind < G_N_ELEMENTS(kinds); kind++) {
            us[kind][round] = measure(&b, kind);
        }
    }
    for (unsigned kind = 0; kind < G_N_ELEMENTS(kinds); kind++) {
        qsort(us[kind], ROUNDS, sizeof(us[kind][0]), compare);
        printf("%s\"%s-us-page\": %.3f", kind == 0 ? "{" : ", ",
               kinds[kind].name, us[kind][ROUNDS / 2]);
    }
    printf("}\n");
    g_aligned_free(b.from);
    g_aligned_free(b.to);
    vmd_cipher_free(b.cipher);
    return b.result == 0; /* never: the sums of a page are not all 0 */
}
