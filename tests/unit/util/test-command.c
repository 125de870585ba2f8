/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: a command reads from and writes to one socket, how it ends is
 * told, and it does not outlive its object.
 *
 * How: real shells. What would hang is ended by meson's time-out.
 */
#include "util/command.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/fd.h"

#define LONG_NS (30 * VM_NS_PER_SEC)

static VmCommand *start(const char *text, int *ret_fd)
{
    g_autoptr(GError) err = NULL;
    VmCommand *c = vm_command_new(text, ret_fd, &err);

    g_assert_no_error(err);
    return c;
}

static void test_both_ways(void)
{
    g_autoptr(GError) err = NULL;
    vm_autofd fd = -1;
    g_autoptr(VmCommand) c = start("tr a-z A-Z", &fd);
    char text[6] = "";

    g_assert_cmpint(vm_write_full(fd, "hello", 5), ==, 0);
    g_assert_cmpint(shutdown(fd, SHUT_WR), ==, 0);
    g_assert_cmpint(vm_read_full(fd, text, 5), ==, 0);
    g_assert_cmpstr(text, ==, "HELLO");
    g_assert_cmpint(read(fd, text, 1), ==, 0);
    g_assert_true(vm_command_wait(c, LONG_NS, &err));
    g_assert_true(vm_command_wait(c, LONG_NS, &err)); /* again: the same */
}

static void expect_end(const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;
    vm_autofd fd = -1;
    g_autoptr(VmCommand) c = start(text, &fd);

    g_assert_false(vm_command_wait(c, LONG_NS, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void test_endings(void)
{
    expect_end("exit 3", "the command failed with status 3");
    expect_end("/nonexistent/x 2>/dev/null",
               "the command failed with status 127");
    expect_end("kill -9 $$", "the command was ended by signal 9");
    /* Whatever this process does with signals. */
    (void)signal(SIGPIPE, SIG_IGN);
    expect_end("kill -PIPE $$", "the command was ended by signal 13");
    (void)signal(SIGPIPE, SIG_DFL);
}

/* It, and what it has started: the socket ends only when all are gone. */
static void test_killed(void)
{
    g_autoptr(GError) err = NULL;
    vm_autofd fd = -1;
    VmCommand *c = start("sleep 1000 & sleep 1000", &fd);
    char byte;

    g_assert_false(vm_command_wait(c, VM_NS_PER_MS, &err));
    g_assert_cmpint(err->code, ==, ETIMEDOUT);
    vm_command_free(c);
    g_assert_cmpint(read(fd, &byte, 1), ==, 0);
}

static void test_inherits_nothing(void)
{
    int other[2];
    vm_autofd fd = -1;
    g_autoptr(VmCommand) c = NULL;
    g_autofree char *text = NULL;
    char answer[4] = "";

    g_assert_cmpint(pipe(other), ==, 0); /* without O_CLOEXEC */
    text = g_strdup_printf("test -e /proc/self/fd/%d && echo yes || echo no",
                           other[1]);
    c = start(text, &fd);
    g_assert_cmpint(vm_read_full(fd, answer, 3), ==, 0);
    g_assert_cmpstr(answer, ==, "no\n");
    (void)close(other[0]);
    (void)close(other[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/command/both-ways", test_both_ways);
    g_test_add_func("/command/endings", test_endings);
    g_test_add_func("/command/killed", test_killed);
    g_test_add_func("/command/inherits-nothing", test_inherits_nothing);
    return g_test_run();
}
