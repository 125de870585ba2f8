/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each answer that a kernel may give to MOVE, COPY and ZEROPAGE, played. */
#include <errno.h>
#include <glib.h>

#include "../../../memory/fault-progress.h"

#define PAGE 4096

/* A kernel with a script: what it says at each try, and what it really did. */
typedef struct Step {
    int64_t says;   /* bytes, or -errno */
    size_t moves;   /* pages that leave their source now */
} Step;

typedef struct World {
    const Step *steps;
    size_t next, count;
    size_t offset[16]; /* asked for, by try */
    size_t gone;       /* pages moved, from the start */
} World;

static int64_t attempt(void *opaque, size_t done, size_t len)
{
    World *w = opaque;

    g_assert_cmpuint(w->next, <, w->count);
    w->offset[w->next] = done;
    w->gone += w->steps[w->next].moves;
    return w->steps[w->next++].says;
}

static bool source_gone(void *opaque, size_t done)
{
    World *w = opaque;
    return done < w->gone * PAGE;
}

static int run(World *w, const Step *steps, size_t count, bool is_move,
               size_t pages, size_t *ret_done, size_t *ret_unreported)
{
    VmFaultOp op = { attempt, is_move ? source_gone : NULL, w, PAGE };

    *w = (World){ .steps = steps, .count = count };
    return vm_fault_go_on(&op, pages * PAGE, ret_done, ret_unreported);
}

static void test_at_once(void)
{
    const Step steps[] = { { 4 * PAGE, 4 } };
    World w;
    size_t done, unreported;

    g_assert_cmpint(run(&w, steps, 1, true, 4, &done, &unreported), ==, 0);
    g_assert_cmpuint(done, ==, 4 * PAGE);
    g_assert_cmpuint(unreported, ==, 0);
}

static void test_partial(void)
{
    const Step steps[] = { { 2 * PAGE, 2 }, { -EAGAIN, 0 }, { PAGE, 1 },
                           { -EBUSY, 0 } };
    World w;
    size_t done, unreported;

    g_assert_cmpint(run(&w, steps, 4, true, 5, &done, &unreported), ==,
                    -EBUSY);
    g_assert_cmpuint(done, ==, 3 * PAGE);
    g_assert_cmpuint(w.offset[1], ==, 2 * PAGE);
    g_assert_cmpuint(w.offset[3], ==, 3 * PAGE);
    g_assert_cmpuint(unreported, ==, 0);
}

/* The kernel moves two pages after an EAGAIN of its own, and forgets them. */
static void test_moved_but_not_counted(void)
{
    const Step steps[] = { { PAGE, 1 }, { -EEXIST, 2 }, { -EEXIST, 0 },
                           { PAGE, 1 } };
    World w;
    size_t done, unreported;

    g_assert_cmpint(run(&w, steps, 4, true, 4, &done, &unreported), ==, 0);
    g_assert_cmpuint(done, ==, 4 * PAGE);
    g_assert_cmpuint(unreported, ==, 2 * PAGE);
    g_assert_cmpuint(w.offset[2], ==, 2 * PAGE);
    g_assert_cmpuint(w.offset[3], ==, 3 * PAGE);
}

/* Something is there, and the source too: two pages with one address. */
static void test_really_exists(void)
{
    const Step steps[] = { { PAGE, 1 }, { -EEXIST, 0 } };
    World w;
    size_t done, unreported;

    g_assert_cmpint(run(&w, steps, 2, true, 4, &done, &unreported), ==,
                    -EEXIST);
    g_assert_cmpuint(done, ==, PAGE);
    g_assert_cmpuint(unreported, ==, 0);
}

/* COPY leaves its source: EEXIST is what it says. */
static void test_copy_exists(void)
{
    const Step steps[] = { { -EEXIST, 1 } };
    World w;
    size_t done, unreported;

    g_assert_cmpint(run(&w, steps, 1, false, 4, &done, &unreported), ==,
                    -EEXIST);
    g_assert_cmpuint(done, ==, 0);
}

static int64_t always_again(void *opaque, size_t done, size_t len)
{
    (*(unsigned *)opaque)++;
    return -EAGAIN;
}

static void test_gives_up(void)
{
    unsigned tries = 0;
    VmFaultOp op = { always_again, NULL, &tries, PAGE };
    size_t done, unreported;

    g_assert_cmpint(vm_fault_go_on(&op, PAGE, &done, &unreported), ==,
                    -EAGAIN);
    g_assert_cmpuint(done, ==, 0);
    g_assert_cmpuint(tries, >, 1000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fault-progress/at-once", test_at_once);
    g_test_add_func("/fault-progress/partial", test_partial);
    g_test_add_func("/fault-progress/moved-not-counted",
                    test_moved_but_not_counted);
    g_test_add_func("/fault-progress/really-exists", test_really_exists);
    g_test_add_func("/fault-progress/copy-exists", test_copy_exists);
    g_test_add_func("/fault-progress/gives-up", test_gives_up);
    return g_test_run();
}
