/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of options, the walk over argv, and the checks that need several
 * options at once.
 *
 * Spelling and meaning are QEMU's. What QEMU has and we have not is refused
 * by name with the reason; what nobody has is an invalid option.
 *
 * Threads: main.
 */
#include "options-internal.h"

#include <string.h>

#include "hw/i386/pc.h"
#include "util/error.h"

typedef struct VmOption {
    const char *name;
    const char *arg; /* what -help shows for it; NULL: a flag */
    const char *help;
    VmOptionHandler *handler;
} VmOption;

static const VmOption options[] = {
    { "M", "NAME", "short for -machine", opt_machine },
    { "machine", "[type=]NAME[,accel=kvm][,memory-backend=ID]...",
      "the machine: q35, pc, none", opt_machine },
    { "accel", "kvm", "the accelerator", opt_accel },
    { "enable-kvm", NULL, "short for -accel kvm", opt_enable_kvm },
    { "cpu", "MODEL[,FLAG=on|off]...", "the CPU model", opt_cpu },
    { "m", "[size=]SIZE", "guest RAM; MiB without a suffix", opt_memory },
    { "smp", "[cpus=]N[,sockets=N][,cores=N]", "number of vCPUs", opt_smp },
    { "vmemdirect", "swap=PATH|swap-dir=DIR,memory=SIZE[,...]",
      "page guest RAM to PATH, or a file in DIR, within a budget of SIZE",
      opt_vmemdirect },
    { "kernel", "FILE", "kernel: bzImage or PVH ELF", opt_kernel },
    { "initrd", "FILE", "initial RAM disk", opt_initrd },
    { "append", "TEXT", "kernel command line", opt_append },
    { "device", "DRIVER[,id=ID][,PROP=VALUE]... or JSON",
      "add a device; 'help' lists them", opt_device },
    { "drive", "file=PATH,if=virtio|none[,format=raw][,id=ID]...",
      "an image, and with if=virtio its disk", opt_drive },
    { "blockdev", "driver=raw|file,node-name=ID,... or JSON",
      "an image node", opt_blockdev },
    { "netdev", "user|tap,id=ID[,...] or JSON", "a network backend",
      opt_netdev },
    { "nic", "none|user,model=virtio-net-pci[,...]",
      "a network card with its backend", opt_nic },
    { "net", "none", "no default network card", opt_net },
    { "chardev", "BACKEND,id=ID[,...]", "a character device", opt_chardev },
    { "serial", "DEV", "the next serial port", opt_serial },
    { "parallel", "none", "no parallel port", opt_parallel },
    { "debugcon", "DEV", "the debug console at port 0xe9", opt_debugcon },
    { "monitor", "DEV", "a human monitor", opt_monitor },
    { "qmp", "DEV", "a QMP monitor", opt_qmp },
    { "qmp-pretty", "DEV", "a QMP monitor with line breaks",
      opt_qmp_pretty },
    { "mon", "chardev=ID[,mode=readline|control][,pretty=on]",
      "a monitor on a character device", opt_mon },
    { "object", "TYPE,id=ID[,PROP=VALUE]... or JSON",
      "rng-random, rng-builtin, memory-backend-ram, secret, tls-creds-*",
      opt_object },
    { "display", "none", "no display", opt_display },
    { "vga", "none", "no graphics card", opt_vga },
    { "audiodev", "none,id=ID", "no sound", opt_audiodev },
    { "nographic", NULL, "serial port and monitor on the terminal",
      opt_flag },
    { "nodefaults", NULL, "no default devices", opt_flag },
    { "no-user-config", NULL, "accepted; there are no config files",
      opt_flag },
    { "no-hpet", NULL, "accepted; there is no HPET", opt_flag },
    { "usb", NULL, "accepted, as libvirt gives it unasked; there is no USB",
      opt_flag },
    { "rtc", "[base=utc|localtime|DATETIME]", "the guest's date", opt_rtc },
    { "boot", "[strict=on][,order=...]", "accepted; no firmware asks",
      opt_boot },
    { "global", "DRIVER.PROP=VALUE", "a few defaults that hold anyway",
      opt_global },
    { "overcommit", "mem-lock=on|off", "lock all memory", opt_overcommit },
    { "name", "[guest=]NAME[,debug-threads=on|off]", "the VM's name",
      opt_name },
    { "uuid", "UUID", "the VM's UUID, for query-uuid", opt_uuid },
    { "S", NULL, "do not start the vCPUs", opt_flag },
    { "incoming", "URI|defer", "wait for a migration", opt_incoming },
    { "no-reboot", NULL, "end instead of resetting", opt_flag },
    { "no-shutdown", NULL, "pause instead of ending", opt_flag },
    { "action", "reboot=reset|shutdown,shutdown=poweroff|pause",
      "what these do", opt_action },
    { "daemonize", NULL, "go into the background", opt_flag },
    { "pidfile", "FILE", "write the process id to FILE", opt_pidfile },
    { "add-fd", "fd=N,set=N[,opaque=TEXT]", "a descriptor for /dev/fdset/N",
      opt_add_fd },
    { "msg", "timestamp=on|off", "format of messages", opt_msg },
    { "sandbox", "on|off[,obsolete=deny][,elevateprivileges=deny|children]"
      "[,spawn=deny][,resourcecontrol=deny]",
      "system calls that fail; deny: these, too", opt_sandbox },
    { "version", NULL, "print the version", opt_flag },
    { "h", NULL, "short for -help", opt_flag },
    { "help", NULL, "print this", opt_flag },
};

static const VmOptionParameter action_parameters[] = {
    { "reboot", "string" },
    { "shutdown", "string" },
    { NULL },
};
static const VmOptionParameter msg_parameters[] = {
    { "timestamp", "boolean" },
    { NULL },
};
static const VmOptionParameter overcommit_parameters[] = {
    { "mem-lock", "boolean" },
    { NULL },
};
static const VmOptionParameter sandbox_parameters[] = {
    { "enable", "boolean" },
    { "obsolete", "string" },
    { "elevateprivileges", "string" },
    { "spawn", "string" },
    { "resourcecontrol", "string" },
    { NULL },
};

const VmOptionParameters vm_options_with_parameters[] = {
    { "action", action_parameters },
    { "msg", msg_parameters },
    { "overcommit", overcommit_parameters },
    { "sandbox", sandbox_parameters },
    { NULL },
};

/* QEMU's, and not ours. */
static const struct {
    const char *name;
    const char *reason;
} refused[] = {
    { "bios", "firmware is not supported yet" },
    { "pflash", "firmware is not supported yet" },
    { "D", "there is no log file; messages go to stderr" },
    { "d", "there is no QEMU log; see VM_DEBUG in the environment" },
    { "trace", "QEMU's trace points are not supported" },
    { "runas", "start the process as that user instead" },
    { "chroot", "not supported" },
    { "tpmdev", "there is no TPM" },
    { "usbdevice", "there is no USB" },
    { "vnc", "there is no display" },
    { "spice", "there is no display" },
    { "hda", "there is no IDE; use -drive if=virtio" },
    { "hdb", "there is no IDE; use -drive if=virtio" },
    { "hdc", "there is no IDE; use -drive if=virtio" },
    { "hdd", "there is no IDE; use -drive if=virtio" },
    { "cdrom", "there is no IDE; use -drive if=virtio" },
    { "fda", "there is no floppy" },
    { "fdb", "there is no floppy" },
    { "snapshot", "not supported" },
    { "loadvm", "not supported; use -incoming" },
    { "numa", "guest NUMA is not supported" },
    { "smbios", "SMBIOS tables are not supported" },
    { "acpitable", "not supported" },
    { "no-acpi", "the machines always have ACPI; in libvirt's XML say "
                 "<features><acpi/></features>" },
    { "fw_cfg", "not supported" },
    { "mem-path", "guest RAM is anonymous memory" },
    { "mem-prealloc", "not supported" },
    { "gdb", "not supported" },
    { "s", "not supported" },
    { "icount", "there is no TCG" },
    { "singlestep", "there is no TCG" },
    { "dtb", "not on this architecture" },
    { "virtfs", "not supported" },
    { "fsdev", "not supported" },
    { "watchdog", "there is no watchdog" },
    { "readconfig", "not supported" },
    { "writeconfig", "not supported" },
    { "only-migratable", "not supported" },
    { "set", "not supported" },
    { "k", "there is no display" },
    { "full-screen", "there is no display" },
    { "curses", "there is no display" },
    { "preconfig", "not supported" },
    { "compat", "not supported" },
};

/* --- Helpers for the handlers ------------------------------------------- */

VmKeyval *options_keyval(const char *opt, const char *arg,
                         const char *implied_key, GError **errp)
{
    g_autofree char *flat = NULL;

    if (arg[0] == '{') {
        flat = vm_options_flatten_json(opt, arg, errp);
        return flat ? vm_keyval_parse(opt, flat, NULL, errp) : NULL;
    }
    return vm_keyval_parse(opt, arg, implied_key, errp);
}

bool options_refuse(const char *opt, const char *key, const char *value,
                    GError **errp)
{
    return vm_error_set(errp, 0, "%s: %s=%s is not supported", opt, key,
                        value);
}

bool options_accept_only(VmKeyval *kv, const char *opt, const char *key,
                         const char *const *words, GError **errp)
{
    const char *value = vm_keyval_get(kv, key);

    return !value || g_strv_contains(words, value) ||
           options_refuse(opt, key, value, errp);
}

/* --- Flags -------------------------------------------------------------- */

bool opt_flag(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    const struct {
        const char *name;
        bool *value;
    } flags[] = {
        { "-nographic", &o->nographic }, { "-nodefaults", &o->nodefaults },
        { "-S", &o->paused },            { "-no-reboot", &o->no_reboot },
        { "-no-shutdown", &o->no_shutdown },
        { "-daemonize", &o->daemonize },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        if (strcmp(opt, flags[i].name) == 0) {
            *flags[i].value = true;
        }
    }
    if (strcmp(opt, "-h") == 0 || strcmp(opt, "-help") == 0) {
        o->action = VM_OPTIONS_HELP;
    } else if (strcmp(opt, "-version") == 0) {
        o->action = VM_OPTIONS_VERSION;
    }
    return true; /* the others are true already */
}

/* --- The walk ----------------------------------------------------------- */

static bool unknown_option(const char *arg, const char *name, GError **errp)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        if (strcmp(name, refused[i].name) == 0) {
            return vm_error_set(errp, 0, "-%s: %s", name, refused[i].reason);
        }
    }
    return vm_error_set(errp, 0, "%s: invalid option", arg);
}

static const VmOption *find_option(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        if (strcmp(name, options[i].name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

static bool take_option(VmOptions *o, int argc, char *const *argv, int *i,
                        GError **errp)
{
    const char *arg = argv[*i];
    const char *name = arg + (arg[0] == '-') + (g_str_has_prefix(arg, "--"));
    const VmOption *option;
    g_autofree char *opt = NULL;

    if (arg[0] != '-' || name[0] == '\0') {
        return vm_error_set(errp, 0,
                            "%s: invalid option (an image goes to -drive)",
                            arg);
    }
    option = find_option(name);
    if (!option) {
        return unknown_option(arg, name, errp);
    }
    opt = g_strdup_printf("-%s", name);
    if (!option->arg) {
        return option->handler(o, opt, NULL, errp);
    }
    if (*i + 1 >= argc) {
        return vm_error_set(errp, 0, "%s: requires an argument", opt);
    }
    (*i)++;
    return option->handler(o, opt, argv[*i], errp);
}

/* --- Checks across options ---------------------------------------------- */

static bool check_memory_backend(VmOptions *o, GError **errp)
{
    if (!o->memory_backend) {
        return true;
    }
    for (guint i = 0; i < o->objects->len; i++) {
        const VmObjectOption *object = o->objects->pdata[i];

        if (strcmp(object->id, o->memory_backend) != 0) {
            continue;
        }
        if (strcmp(object->type, "memory-backend-ram") != 0) {
            return vm_error_set(errp, 0,
                                "-machine: memory-backend '%s' is a %s",
                                object->id, object->type);
        }
        if (o->ram_given && o->ram_bytes != object->size_bytes) {
            return vm_error_set(errp, 0,
                                "-m: differs from the size of "
                                "memory-backend '%s'", object->id);
        }
        o->ram_bytes = object->size_bytes;
        return true;
    }
    return vm_error_set(errp, 0, "-machine: no memory-backend '%s'",
                        o->memory_backend);
}

static bool check_boot(const VmOptions *o, GError **errp)
{
    if (o->kernel) {
        return true;
    }
    if (o->initrd || o->append) {
        return vm_error_set(errp, 0, "%s: needs -kernel",
                            o->initrd ? "-initrd" : "-append");
    }
    if (!o->incoming) {
        return vm_error_set(errp, 0,
                            "no kernel given (-kernel FILE), and firmware "
                            "is not supported yet");
    }
    return true;
}

static bool check_none(const VmOptions *o, GError **errp)
{
    const struct {
        const char *option;
        bool given;
    } needs_machine[] = {
        { "-kernel", o->kernel != NULL },
        { "-initrd", o->initrd != NULL },
        { "-append", o->append != NULL },
        { "-device", o->devices->len != 0 },
        { "-incoming", o->incoming != NULL },
        { "-vmemdirect", o->vmemdirect != NULL },
        { "-serial", o->serials->len != 0 },
        { "-debugcon", o->debugcon != NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(needs_machine); i++) {
        if (needs_machine[i].given) {
            return vm_error_set(errp, 0,
                                "%s: the machine 'none' has no use for it",
                                needs_machine[i].option);
        }
    }
    return true;
}

static bool check_stdio(const VmOptions *o, GError **errp)
{
    bool stdio = o->nographic && !o->nodefaults && o->serials->len == 0;

    for (guint i = 0; i < o->serials->len; i++) {
        stdio |= g_str_has_suffix(o->serials->pdata[i], "stdio");
    }
    for (guint i = 0; i < o->monitors->len; i++) {
        VmMonitorOption *m = o->monitors->pdata[i];

        stdio |= m->text && g_str_has_suffix(m->text, "stdio");
    }
    for (guint i = 0; i < o->chardevs->len; i++) {
        stdio |= g_str_has_prefix(o->chardevs->pdata[i], "stdio");
    }
    if (o->daemonize && stdio) {
        return vm_error_set(errp, 0,
                            "-daemonize: cannot be used with stdio");
    }
    return true;
}

static bool check_together(VmOptions *o, GError **errp)
{
    if (o->mem_lock && o->vmemdirect) {
        return vm_error_set(errp, 0,
                            "-overcommit: mem-lock=on contradicts "
                            "-vmemdirect, which pages guest RAM");
    }
    if (!check_stdio(o, errp) || !check_memory_backend(o, errp)) {
        return false;
    }
    return strcmp(o->machine, "none") == 0
               ? check_none(o, errp)
               : options_swap_dir(o, errp) && check_boot(o, errp);
}

/* --- Life --------------------------------------------------------------- */

static void monitor_option_free(gpointer opaque)
{
    VmMonitorOption *m = opaque;

    g_free(m->chardev);
    g_free(m->text);
    g_free(m);
}

static void object_option_free(gpointer opaque)
{
    VmObjectOption *object = opaque;

    g_free(object->type);
    g_free(object->id);
    g_free(object->filename);
    vm_keyval_free(object->props);
    g_free(object);
}

static void fd_option_free(gpointer opaque)
{
    VmFdOption *f = opaque;

    g_free(f->opaque);
    g_free(f);
}

static void keyval_free(gpointer opaque)
{
    vm_keyval_free(opaque);
}

static VmOptions *options_new(void)
{
    VmOptions *o = g_new0(VmOptions, 1);

    o->machine = g_strdup(pc_machine_canonical_name("pc"));
    o->kvm = true;
    o->cpu = g_strdup("qemu64");
    o->ram_bytes = UINT64_C(128) << 20;
    o->cpus = 1;
    o->chardevs = g_ptr_array_new_with_free_func(g_free);
    o->monitors = g_ptr_array_new_with_free_func(monitor_option_free);
    o->serials = g_ptr_array_new_with_free_func(g_free);
    o->objects = g_ptr_array_new_with_free_func(object_option_free);
    o->drives = g_ptr_array_new_with_free_func(keyval_free);
    o->blockdevs = g_ptr_array_new_with_free_func(keyval_free);
    o->netdevs = g_ptr_array_new_with_free_func(keyval_free);
    o->devices = g_ptr_array_new_with_free_func(keyval_free);
    o->fds = g_ptr_array_new_with_free_func(fd_option_free);
    return o;
}

void vm_options_free(VmOptions *o)
{
    if (!o) {
        return;
    }
    g_free(o->machine);
    g_free(o->memory_backend);
    g_free(o->cpu);
    g_free(o->kernel);
    g_free(o->initrd);
    g_free(o->append);
    vm_keyval_free(o->vmemdirect);
    g_ptr_array_unref(o->chardevs);
    g_ptr_array_unref(o->monitors);
    g_ptr_array_unref(o->serials);
    g_ptr_array_unref(o->objects);
    g_ptr_array_unref(o->drives);
    g_ptr_array_unref(o->blockdevs);
    g_ptr_array_unref(o->netdevs);
    g_ptr_array_unref(o->devices);
    g_ptr_array_unref(o->fds);
    g_free(o->debugcon);
    g_free(o->name);
    g_free(o->uuid);
    g_free(o->pidfile);
    g_free(o->incoming);
    g_free(o);
}

VmOptions *vm_options_parse(int argc, char *const *argv, GError **errp)
{
    g_autoptr(VmOptions) o = options_new();

    for (int i = 1; i < argc; i++) {
        if (!take_option(o, argc, argv, &i, errp)) {
            return NULL;
        }
        if (o->action != VM_OPTIONS_RUN) {
            return g_steal_pointer(&o);
        }
    }
    return check_together(o, errp) ? g_steal_pointer(&o) : NULL;
}

char *vm_options_help(void)
{
    GString *text = g_string_new("usage: qemu-system-x86_64 [options]\n\n");

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        g_string_append_printf(text, "-%s %s\n        %s\n", options[i].name,
                               options[i].arg ? options[i].arg : "",
                               options[i].help);
    }
    return g_string_free(text, /* free_segment= */ FALSE);
}
