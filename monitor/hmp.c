/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The human monitor: QMP's commands for fingers and eyes.
 *
 * Every command here runs one of QMP's and prints its reply; there is no
 * second way into the VM.
 *
 * Threads: main thread.
 */
#include "monitor-internal.h"

#include <inttypes.h>
#include <string.h>

#include "util/size.h"

typedef struct HmpCommand {
    const char *name;
    const char *alias;
    const char *params; /* for help */
    const char *help;
    void (*run)(Monitor *mon, int argc, char **argv);
    int max_args;
} HmpCommand;

#define MIGRATE_POLL_MS 100

/* --- Reading replies ---------------------------------------------------- */

static bool query(Monitor *mon, const char *command, json_object *take_args,
                  json_object **ret_value)
{
    g_autoptr(GError) err = NULL;
    bool ok = qmp_run(mon->server, mon, command, take_args, ret_value, &err);

    json_object_put(take_args);
    if (!ok) {
        monitor_printf(mon, "Error: %s\n", err->message);
    }
    return ok;
}

static void run_plain(Monitor *mon, const char *command,
                      json_object *take_args)
{
    json_object *value;

    if (query(mon, command, take_args, &value)) {
        json_object_put(value);
    }
}

static const char *get_str(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v)
                                                 : NULL;
}

static uint64_t get_u64(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) ? json_object_get_uint64(v)
                                                 : 0;
}

static bool get_bool(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

static void print_bytes(Monitor *mon, const char *label, json_object *o,
                        const char *key)
{
    g_autofree char *text = vm_size_to_string(get_u64(o, key));

    monitor_printf(mon, "%-18s %s\n", label, text);
}

/* --- info --------------------------------------------------------------- */

static void info_status(Monitor *mon)
{
    json_object *v;
    const char *status;

    if (!query(mon, "query-status", NULL, &v)) {
        return;
    }
    status = get_str(v, "status");
    if (get_bool(v, "running") || strcmp(status, "paused") == 0) {
        monitor_printf(mon, "VM status: %s\n", status);
    } else {
        monitor_printf(mon, "VM status: paused (%s)\n", status);
    }
    json_object_put(v);
}

static void info_version(Monitor *mon)
{
    json_object *v, *qemu;

    if (!query(mon, "query-version", NULL, &v)) {
        return;
    }
    json_object_object_get_ex(v, "qemu", &qemu);
    monitor_printf(mon, "%" PRIu64 ".%" PRIu64 ".%" PRIu64 " (%s)\n",
                   get_u64(qemu, "major"), get_u64(qemu, "minor"),
                   get_u64(qemu, "micro"), get_str(v, "package"));
    json_object_put(v);
}

static void info_kvm(Monitor *mon)
{
    json_object *v;

    if (query(mon, "query-kvm", NULL, &v)) {
        monitor_printf(mon, "kvm support: %s\n",
                       get_bool(v, "enabled") ? "enabled" : "disabled");
        json_object_put(v);
    }
}

static void info_chardev(Monitor *mon)
{
    json_object *v;

    if (!query(mon, "query-chardev", NULL, &v)) {
        return;
    }
    for (size_t i = 0; i < json_object_array_length(v); i++) {
        json_object *c = json_object_array_get_idx(v, i);

        monitor_printf(mon, "%s: filename=%s\n", get_str(c, "label"),
                       get_str(c, "filename"));
    }
    json_object_put(v);
}

static void info_migrate_ram(Monitor *mon, json_object *ram)
{
    json_object *mbps;

    print_bytes(mon, "transferred", ram, "transferred");
    print_bytes(mon, "remaining", ram, "remaining");
    print_bytes(mon, "total", ram, "total");
    monitor_printf(mon, "%-18s %" PRIu64 "\n", "zero pages",
                   get_u64(ram, "duplicate"));
    monitor_printf(mon, "%-18s %" PRIu64 "\n", "normal pages",
                   get_u64(ram, "normal"));
    monitor_printf(mon, "%-18s %" PRIu64 "\n", "passes",
                   get_u64(ram, "dirty-sync-count"));
    if (json_object_object_get_ex(ram, "mbps", &mbps)) {
        monitor_printf(mon, "%-18s %.1f Mbit/s\n", "throughput",
                       json_object_get_double(mbps));
    }
}

static void info_migrate(Monitor *mon)
{
    static const char *const times[] = { "total-time", "setup-time",
                                         "downtime", "expected-downtime" };
    json_object *v, *part;

    if (!query(mon, "query-migrate", NULL, &v)) {
        return;
    }
    if (!get_str(v, "status")) {
        monitor_printf(mon, "No migration so far\n");
    } else {
        monitor_printf(mon, "%-18s %s\n", "Migration", get_str(v, "status"));
    }
    if (get_str(v, "error-desc")) {
        monitor_printf(mon, "%-18s %s\n", "reason", get_str(v, "error-desc"));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(times); i++) {
        if (json_object_object_get_ex(v, times[i], &part)) {
            monitor_printf(mon, "%-18s %" PRIu64 " ms\n", times[i],
                           get_u64(v, times[i]));
        }
    }
    if (json_object_object_get_ex(v, "cpu-throttle-percentage", &part)) {
        monitor_printf(mon, "%-18s %" PRIu64 " %%\n", "CPU throttle",
                       get_u64(v, "cpu-throttle-percentage"));
    }
    if (json_object_object_get_ex(v, "ram", &part)) {
        info_migrate_ram(mon, part);
    }
    if (json_object_object_get_ex(v, "vmemdirect", &part)) {
        print_bytes(mon, "sent for RAM", part, "sent-ram-bytes");
        print_bytes(mon, "sent for swap", part, "sent-swap-bytes");
        print_bytes(mon, "read from swap", part, "from-swap-bytes");
        monitor_printf(mon, "%-18s %" PRIu64 " in, %" PRIu64 " out\n",
                       "pages by touch", get_u64(part, "pages-in"),
                       get_u64(part, "pages-out"));
    }
    json_object_put(v);
}

static void info_vmemdirect(Monitor *mon)
{
    static const struct {
        const char *label, *key;
    } sizes[] = {
        { "budget", "budget-bytes" },
        { "guest RAM", "ram-bytes" },
        { "resident", "resident-bytes" },
        { "standby", "standby-bytes" },
        { "frames", "frames-bytes" },
        { "swapped", "swapped-bytes" },
        { "zero", "zero-bytes" },
        { "clean", "clean-bytes" },
        { "dirty", "dirty-bytes" },
        { "stored in file", "stored-bytes" },
        { "in saved file", "backing-bytes" },
        { "paged in", "page-in-bytes" },
        { "paged out", "page-out-bytes" },
    };
    json_object *v;

    if (!query(mon, "query-vmemdirect", NULL, &v)) {
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        print_bytes(mon, sizes[i].label, v, sizes[i].key);
    }
    monitor_printf(mon,
                   "%-18s %" PRIu64 " hard, %" PRIu64 " soft, %" PRIu64
                   " zero, %" PRIu64 " write-protect\n",
                   "faults", get_u64(v, "faults-hard"),
                   get_u64(v, "faults-soft"), get_u64(v, "faults-zero"),
                   get_u64(v, "faults-write-protect"));
    monitor_printf(mon, "%-18s %" PRIu64 " read, %" PRIu64 " write\n",
                   "I/O errors", get_u64(v, "read-errors"),
                   get_u64(v, "write-errors"));
    monitor_printf(mon, "%-18s mode=%s io=%s tracker=%s\n", "as chosen",
                   get_str(v, "mode"), get_str(v, "io"),
                   get_str(v, "tracker"));
    json_object_put(v);
}

static const struct {
    const char *name;
    void (*run)(Monitor *mon);
    const char *help;
} info_items[] = {
    { "chardev", info_chardev, "the character devices" },
    { "kvm", info_kvm, "whether KVM is in use" },
    { "migrate", info_migrate, "the state of migration" },
    { "status", info_status, "whether the VM runs" },
    { "version", info_version, "the version" },
    { "vmemdirect", info_vmemdirect, "where the guest's memory is" },
};

static void do_info(Monitor *mon, int argc, char **argv)
{
    for (size_t i = 0; i < G_N_ELEMENTS(info_items); i++) {
        if (argc == 2 && strcmp(argv[1], info_items[i].name) == 0) {
            info_items[i].run(mon);
            return;
        }
    }
    if (argc == 2) {
        monitor_printf(mon, "unknown command: 'info %s'\n", argv[1]);
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(info_items); i++) {
        monitor_printf(mon, "info %s -- %s\n", info_items[i].name,
                       info_items[i].help);
    }
}

/* --- Commands ----------------------------------------------------------- */

/* migrate without -d: the prompt comes back when the migration has ended. */
static gboolean migrate_poll(gpointer opaque)
{
    static const char *const ended[] = { "completed", "failed", "cancelled",
                                         NULL };
    Monitor *mon = opaque;
    json_object *v;
    const char *status = NULL;
    bool done = true;

    if (query(mon, "query-migrate", NULL, &v)) {
        status = get_str(v, "status");
        done = !status || g_strv_contains(ended, status);
        if (done && status && strcmp(status, "completed") != 0) {
            const char *why = get_str(v, "error-desc");

            monitor_printf(mon, "Error: migration %s%s%s\n", status,
                           why ? ": " : "", why ? why : "");
        }
        json_object_put(v);
    }
    if (!done) {
        return G_SOURCE_CONTINUE;
    }
    mon->resume_source = 0;
    hmp_prompt(mon);
    chardev_accept_input(mon->chr);
    return G_SOURCE_REMOVE;
}

static void do_migrate(Monitor *mon, int argc, char **argv)
{
    bool detach = argc > 1 && strcmp(argv[1], "-d") == 0;
    json_object *args, *value;

    if (argc != (detach ? 3 : 2)) {
        monitor_printf(mon, "migrate: wrong number of arguments\n");
        return;
    }
    args = json_object_new_object();
    qmp_put_str(args, "uri", argv[argc - 1]);
    if (!query(mon, "migrate", args, &value)) {
        return;
    }
    json_object_put(value);
    if (!detach && mon->chr) {
        mon->resume_source = g_timeout_add(MIGRATE_POLL_MS, migrate_poll, mon);
    }
}

static void do_cont(Monitor *mon, int argc, char **argv)
{
    run_plain(mon, "cont", NULL);
}

/* The command has QMP's name and no arguments. */
static void do_same(Monitor *mon, int argc, char **argv)
{
    run_plain(mon, argv[0], NULL);
}

static void do_quit(Monitor *mon, int argc, char **argv)
{
    run_plain(mon, "quit", NULL);
}

static void do_help(Monitor *mon, int argc, char **argv);

static const HmpCommand hmp_commands[] = {
    { "cont", "c", "", "let the VM go on", do_cont, 0 },
    { "help", "?", "[command]", "this list", do_help, 1 },
    { "info", NULL, "[subcommand]", "show something about the VM", do_info,
      1 },
    { "migrate", NULL, "[-d] uri",
      "migrate to uri; -d: do not wait for the end", do_migrate, 2 },
    { "migrate_cancel", NULL, "", "cancel the migration", do_same, 0 },
    { "quit", "q", "", "end the VM", do_quit, 0 },
    { "stop", "s", "", "pause the VM", do_same, 0 },
    { "system_powerdown", NULL, "", "press the power button", do_same, 0 },
    { "system_reset", NULL, "", "press the reset button", do_same, 0 },
};

static void do_help(Monitor *mon, int argc, char **argv)
{
    for (size_t i = 0; i < G_N_ELEMENTS(hmp_commands); i++) {
        const HmpCommand *c = &hmp_commands[i];

        if (argc < 2 || strcmp(argv[1], c->name) == 0) {
            monitor_printf(mon, "%s%s%s%s%s -- %s\n", c->name,
                           c->alias ? "|" : "", c->alias ? c->alias : "",
                           c->params[0] ? " " : "", c->params, c->help);
        }
    }
}

static const HmpCommand *find_command(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(hmp_commands); i++) {
        if (strcmp(name, hmp_commands[i].name) == 0 ||
            g_strcmp0(name, hmp_commands[i].alias) == 0) {
            return &hmp_commands[i];
        }
    }
    return NULL;
}

/* The alias "s" and friends become QMP's name for do_same(). */
static void run_command(Monitor *mon, const HmpCommand *c, int argc,
                        char **argv)
{
    if (argc - 1 > c->max_args) {
        monitor_printf(mon, "%s: extraneous characters at the end of line\n",
                       c->name);
        return;
    }
    g_free(argv[0]);
    argv[0] = g_strdup(c->name);
    c->run(mon, argc, argv);
}

void hmp_run_line(Monitor *mon, const char *line)
{
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) err = NULL;
    const HmpCommand *c;
    int argc;

    if (line[strspn(line, " \t\r\n")] == '\0') {
        return;
    }
    if (!g_shell_parse_argv(line, &argc, &argv, &err)) {
        monitor_printf(mon, "%s\n", err->message);
        return;
    }
    c = find_command(argv[0]);
    if (!c) {
        monitor_printf(mon, "unknown command: '%s'\n", argv[0]);
        return;
    }
    run_command(mon, c, argc, argv);
}

char *hmp_capture(MonitorServer *server, const char *line)
{
    Monitor mon = { .server = server, .is_hmp = true };
    char *text;

    mon.capture = g_string_new(NULL);
    mon.fds = g_hash_table_new(g_str_hash, g_str_equal);
    hmp_run_line(&mon, line);
    g_hash_table_unref(mon.fds);
    text = g_utf8_make_valid(mon.capture->str, (gssize)mon.capture->len);
    g_string_free(mon.capture, TRUE);
    return text;
}

void hmp_prompt(Monitor *mon)
{
    monitor_printf(mon, "(qemu) ");
}

void hmp_banner(Monitor *mon)
{
    monitor_printf(mon, "VMemDirect monitor - type 'help' for more "
                        "information\n");
    hmp_prompt(mon);
}
