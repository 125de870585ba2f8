/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP and HMP sessions over socket pairs: negotiation, ids, argument checks,
 * the order of events and replies, descriptors, two clients at once, a client
 * that goes away in the middle.
 */
#include "monitor/qmp.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

#define GREETING "{\"QMP\":"
#define NEGOTIATE "{\"execute\":\"qmp_capabilities\"}\n"

typedef struct Client {
    int fd;
    Chardev *chr;
} Client;

typedef struct Fixture {
    MonitorServer *server;
    Client a, b;
} Fixture;

/* --- Commands of the test --- */

static MonitorServer *server_of_events;

static bool run_echo(void *opaque, Monitor *mon, json_object *args,
                     json_object **ret_value, GError **errp)
{
    *ret_value = json_object_get(args);
    return true;
}

static bool run_fail(void *opaque, Monitor *mon, json_object *args,
                     json_object **ret_value, GError **errp)
{
    if (qmp_arg_bool(args, "inactive", false)) {
        g_set_error_literal(errp, QMP_ERROR, QMP_ERROR_DEVICE_NOT_ACTIVE,
                            "asleep");
        return false;
    }
    return vm_error_set(errp, 0, "as you \xff wish");
}

static bool run_event(void *opaque, Monitor *mon, json_object *args,
                      json_object **ret_value, GError **errp)
{
    qmp_event(server_of_events, "STOP", NULL);
    return true;
}

static bool run_fd(void *opaque, Monitor *mon, json_object *args,
                   json_object **ret_value, GError **errp)
{
    int fd = monitor_take_fd(mon, qmp_arg_str(args, "name"));

    *ret_value = json_object_new_int(fd >= 0 ? 1 : 0);
    vm_close_fd(&fd);
    return true;
}

static const QmpArgument echo_args[] = {
    { "s", "str", .optional = true },     { "i", "int", .optional = true },
    { "z", "size", .optional = true },    { "b", "bool", .optional = true },
    { "n", "number", .optional = true },  { "e", "red|green", true },
    { "o", "object", .optional = true },  { "l", "array", .optional = true },
    { "any", "any", .optional = true },   { "must", "int" },
    { NULL },
};
static const QmpArgument fail_args[] = {
    { "inactive", "bool", .optional = true },
    { NULL },
};
static const QmpArgument fd_args[] = { { "name", "str" }, { NULL } };

static const QmpCommand commands[] = {
    { "echo", echo_args, run_echo, "" },
    { "fail", fail_args, run_fail, "" },
    { "event", NULL, run_event, "" },
    { "take-fd", fd_args, run_fd, "" },
    { NULL },
};
static const QmpEventInfo events[] = { { "STOP", NULL, "" }, { NULL } };

/* --- Fixture --- */

static Client client_new(const char *id)
{
    g_autofree char *option = NULL;
    g_autoptr(GError) err = NULL;
    Client c;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                    ==, 0);
    g_assert_cmpint(fcntl(fds[0], F_SETFL, O_NONBLOCK), ==, 0);
    option = g_strdup_printf("socket,id=%s,fd=%d", id, fds[1]);
    c.fd = fds[0];
    c.chr = chardev_new_from_option(option, &err);
    g_assert_no_error(err);
    return c;
}

static void client_done(Client *c)
{
    chardev_free(c->chr);
    vm_close_fd(&c->fd);
}

static void setup(Fixture *f, gconstpointer hmp)
{
    g_autoptr(GError) err = NULL;

    f->server = server_of_events = monitor_server_new();
    monitor_server_add_commands(f->server, commands, NULL);
    monitor_server_add_events(f->server, events);
    f->a = client_new("a");
    f->b = client_new("b");
    if (hmp) {
        g_assert_true(monitor_server_add_hmp(f->server, f->a.chr, &err));
    } else {
        g_assert_true(
            monitor_server_add_qmp(f->server, f->a.chr, false, &err));
    }
    g_assert_true(monitor_server_add_qmp(f->server, f->b.chr, false, &err));
}

static void teardown(Fixture *f, gconstpointer unused)
{
    monitor_server_free(f->server);
    client_done(&f->a);
    client_done(&f->b);
}

static void loop(void)
{
    for (int i = 0; i < 50; i++) {
        (void)g_main_context_iteration(NULL, /* may_block= */ false);
    }
}

static void put(Client *c, const char *text)
{
    g_assert_cmpint(vm_write_full(c->fd, text, strlen(text)), ==, 0);
}

/* Everything that has arrived. */
static char *get(Client *c)
{
    char buf[65536];
    ssize_t n;

    loop();
    n = read(c->fd, buf, sizeof(buf) - 1);
    buf[n > 0 ? n : 0] = '\0';
    return g_strdup(buf);
}

static char *ask(Client *c, const char *text)
{
    put(c, text);
    return get(c);
}

static void negotiate(Client *c)
{
    g_autofree char *text = ask(c, NEGOTIATE);

    g_assert_true(g_str_has_prefix(text, GREETING));
    g_assert_true(g_str_has_suffix(text, "}\r\n{\"return\":{}}\r\n"));
}

#define ASSERT_ASK(c, text, reply)                                          \
    do {                                                                    \
        g_autofree char *answer_ = ask(c, text);                            \
        g_assert_cmpstr(answer_, ==, reply);                                \
    } while (0)

#define ASSERT_ERROR(c, text, class)                                        \
    do {                                                                    \
        g_autofree char *answer_ = ask(c, text);                            \
        g_assert_true(g_str_has_prefix(                                     \
            answer_, "{\"error\":{\"class\":\"" class "\",\"desc\":\""));   \
        g_assert_true(g_str_has_suffix(answer_, "}\r\n"));                  \
    } while (0)

/* --- Tests --- */

static void test_negotiation(Fixture *f, gconstpointer unused)
{
    g_autofree char *greeting = get(&f->a);

    g_assert_true(g_str_has_prefix(greeting, GREETING));
    ASSERT_ERROR(&f->a, "{\"execute\":\"query-version\"}", "CommandNotFound");
    ASSERT_ERROR(&f->a,
                 "{\"execute\":\"qmp_capabilities\",\"arguments\":"
                 "{\"enable\":[\"oob\"]}}",
                 "GenericError");
    ASSERT_ASK(&f->a, NEGOTIATE, "{\"return\":{}}\r\n");
    ASSERT_ERROR(&f->a, NEGOTIATE, "CommandNotFound");
}

static void test_envelope(Fixture *f, gconstpointer unused)
{
    negotiate(&f->a);
    ASSERT_ASK(&f->a,
               "{\"execute\":\"echo\",\"arguments\":{\"must\":1},"
               "\"id\":{\"x\":[1,null]}}",
               "{\"return\":{\"must\":1},\"id\":{\"x\":[1,null]}}\r\n");
    ASSERT_ERROR(&f->a, "{\"execute\":\"nothing\",\"id\":5}",
                 "CommandNotFound");
    ASSERT_ERROR(&f->a, "{\"exec-oob\":\"echo\"}", "GenericError");
    ASSERT_ERROR(&f->a, "{\"id\":5}", "GenericError");
    ASSERT_ERROR(&f->a, "{\"execute\":5}", "GenericError");
    ASSERT_ERROR(&f->a, "{\"execute\":\"echo\",\"arguments\":[]}",
                 "GenericError");
    ASSERT_ERROR(&f->a, "{\"execute\":\"echo\",\"extra\":1}",
                 "GenericError");
    ASSERT_ERROR(&f->a, "{broken}\n", "GenericError");
    ASSERT_ASK(&f->a, "{\"execute\":\"query-events\"}",
               "{\"return\":[{\"name\":\"STOP\"}]}\r\n");
}

static void test_arguments(Fixture *f, gconstpointer unused)
{
    static const char *const bad[] = {
        "\"i\":1",          "\"s\":1",         "\"i\":\"1\"",
        "\"i\":1.5",        "\"z\":-1",        "\"z\":\"1\"",
        "\"b\":1",          "\"b\":\"true\"",  "\"n\":\"1\"",
        "\"e\":\"blue\"",   "\"e\":\"red|green\"", "\"e\":1",
        "\"o\":[]",         "\"l\":{}",        "\"unknown\":1",
        "\"s\":null",       "\"must\":null",
    };
    static const char good[] =
        "{\"execute\":\"echo\",\"arguments\":{\"s\":\"x\",\"i\":-1,\"z\":2,"
        "\"b\":true,\"n\":1.5,\"e\":\"red\",\"o\":{},\"l\":[],\"any\":null,"
        "\"must\":1}}";

    negotiate(&f->a);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf(
            "{\"execute\":\"echo\",\"arguments\":{%s%s}}",
            i ? "\"must\":1," : "", bad[i]);

        ASSERT_ERROR(&f->a, text, "GenericError");
    }
    {
        g_autofree char *answer = ask(&f->a, good);

        g_assert_true(g_str_has_prefix(answer, "{\"return\":{\"s\":\"x\""));
    }
}

static void test_errors(Fixture *f, gconstpointer unused)
{
    g_autofree char *answer = NULL;

    negotiate(&f->a);
    answer = ask(&f->a, "{\"execute\":\"fail\",\"id\":1}");
    g_assert_true(g_utf8_validate(answer, -1, NULL));
    g_assert_nonnull(strstr(answer, "\"class\":\"GenericError\""));
    g_assert_true(g_str_has_suffix(answer, "\"id\":1}\r\n"));
    ASSERT_ERROR(&f->a,
                 "{\"execute\":\"fail\",\"arguments\":{\"inactive\":true}}",
                 "DeviceNotActive");
}

/* STOP comes to both, and to the asker before its reply. */
static void test_events(Fixture *f, gconstpointer unused)
{
    g_autofree char *asker = NULL, *other = NULL;
    const char *event, *reply;

    negotiate(&f->a);
    asker = ask(&f->a, "{\"execute\":\"event\",\"id\":9}");
    event = strstr(asker, "\"event\":\"STOP\"}\r\n");
    reply = strstr(asker, "{\"return\":{},\"id\":9}\r\n");
    g_assert_true(event && reply && event < reply);
    g_assert_true(g_str_has_prefix(asker, "{\"timestamp\":{\"seconds\":"));
    other = get(&f->b);
    g_assert_null(strstr(other, "STOP")); /* it has not negotiated */
}

static gpointer raise_event(gpointer server)
{
    qmp_event(server, "STOP", NULL);
    return NULL;
}

static void test_event_from_thread(Fixture *f, gconstpointer unused)
{
    g_autofree char *text = NULL;

    negotiate(&f->a);
    g_thread_join(g_thread_new("raiser", raise_event, f->server));
    text = get(&f->a);
    g_assert_nonnull(strstr(text, "\"event\":\"STOP\""));
}

static void send_with_fd(Client *c, const char *text, int fd)
{
    struct iovec iov = { (void *)text, strlen(text) };
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = sizeof(control) };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    g_assert_cmpint(sendmsg(c->fd, &msg, 0), ==, (gssize)strlen(text));
}

static void test_getfd(Fixture *f, gconstpointer unused)
{
    static const char getfd[] =
        "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"m\"}}";
    static const char take[] =
        "{\"execute\":\"take-fd\",\"arguments\":{\"name\":\"m\"}}";
    static const char closefd[] =
        "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"m\"}}";
    g_autofree char *answer = NULL;

    negotiate(&f->a);
    ASSERT_ERROR(&f->a, getfd, "GenericError");
    send_with_fd(&f->a, getfd, f->b.fd);
    answer = get(&f->a);
    g_assert_cmpstr(answer, ==, "{\"return\":{}}\r\n");
    ASSERT_ASK(&f->a, take, "{\"return\":1}\r\n");
    ASSERT_ASK(&f->a, take, "{\"return\":0}\r\n");
    ASSERT_ERROR(&f->a, closefd, "GenericError");
    send_with_fd(&f->a, getfd, f->b.fd);
    loop();
    ASSERT_ASK(&f->a, closefd, "{\"return\":{}}\r\n{\"return\":{}}\r\n");
}

static void test_client_leaves(Fixture *f, gconstpointer unused)
{
    negotiate(&f->a);
    negotiate(&f->b);
    put(&f->a, "{\"execute\":\"ec");
    vm_close_fd(&f->a.fd);
    loop();
    ASSERT_ASK(&f->b, "{\"execute\":\"echo\",\"arguments\":{\"must\":2}}",
               "{\"return\":{\"must\":2}}\r\n");
}

/* A client that has said all it wants still gets its replies. */
static void test_half_close(Fixture *f, gconstpointer unused)
{
    g_autofree char *text = NULL;

    put(&f->a, NEGOTIATE "{\"execute\":\"query-events\"}\n");
    g_assert_cmpint(shutdown(f->a.fd, SHUT_WR), ==, 0);
    text = get(&f->a);
    g_assert_true(g_str_has_suffix(
        text, "{\"return\":{}}\r\n{\"return\":[{\"name\":\"STOP\"}]}\r\n"));
}

static void test_hmp(Fixture *f, gconstpointer unused)
{
    g_autofree char *banner = get(&f->a);
    g_autofree char *text = NULL;

    g_assert_true(g_str_has_suffix(banner, "\r\n(qemu) "));
    text = ask(&f->a, "info vexx\x7f\x7frsiox\x7fn\r");
    g_assert_nonnull(strstr(text, "7.2.0 (vmemdirect"));
    g_assert_true(g_str_has_suffix(text, "\r\n(qemu) "));
    g_free(text);
    text = ask(&f->a, "nonsense\r\n");
    g_assert_nonnull(strstr(text, "unknown command: 'nonsense'\r\n(qemu) "));
    g_free(text);
    text = ask(&f->a, "\x1b[A\r"); /* recalls it */
    g_assert_nonnull(strstr(text, "unknown command: 'nonsense'\r\n(qemu) "));
}

static void test_hmp_by_qmp(Fixture *f, gconstpointer unused)
{
    g_autofree char *text = NULL;

    negotiate(&f->a);
    text = ask(&f->a,
               "{\"execute\":\"human-monitor-command\",\"arguments\":"
               "{\"command-line\":\"bad 'quote\"}}\n"
               "{\"execute\":\"human-monitor-command\",\"arguments\":"
               "{\"command-line\":\"\"}}\n");
    g_assert_true(g_str_has_prefix(text, "{\"return\":\"Text ended"));
    g_assert_true(g_str_has_suffix(text, "\r\n{\"return\":\"\"}\r\n"));
}

int main(int argc, char **argv)
{
    const struct {
        const char *path;
        void (*run)(Fixture *f, gconstpointer hmp);
        bool hmp;
    } tests[] = {
        { "/session/negotiation", test_negotiation, false },
        { "/session/envelope", test_envelope, false },
        { "/session/arguments", test_arguments, false },
        { "/session/errors", test_errors, false },
        { "/session/events", test_events, false },
        { "/session/event-from-thread", test_event_from_thread, false },
        { "/session/getfd", test_getfd, false },
        { "/session/client-leaves", test_client_leaves, false },
        { "/session/half-close", test_half_close, false },
        { "/session/hmp", test_hmp, true },
        { "/session/hmp-by-qmp", test_hmp_by_qmp, false },
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_test_add(tests[i].path, Fixture, tests[i].hmp ? tests : NULL, setup,
                   tests[i].run, teardown);
    }
    return g_test_run();
}
