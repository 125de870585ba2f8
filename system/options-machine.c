/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options about the machine: type, accelerator, CPUs, memory, kernel, clock.
 *
 * Threads: main.
 */
#include "options-internal.h"

#include <string.h>

#include "crypto/tls-creds.h"
#include "hw/i386/pc.h"
#include "util/error.h"
#include "util/size.h"

static const char *const only_on[] = { "on", NULL };
static const char *const only_off[] = { "off", NULL };

static void set_str(char **where, const char *value)
{
    g_free(*where);
    *where = g_strdup(value);
}

/* --- -machine, -accel --------------------------------------------------- */

/* "kvm:tcg": QEMU takes the first that works; ours can only be kvm. */
static bool accel_check(const char *opt, const char *list, GError **errp)
{
    g_auto(GStrv) words = g_strsplit(list, ":", -1);

    if (g_strv_contains((const char *const *)words, "kvm")) {
        return true;
    }
    return vm_error_set(errp, 0, "%s: accelerator '%s' is not supported, "
                        "only kvm is", opt, list);
}

static bool machine_type(VmOptions *o, const char *opt, const char *type,
                         GError **errp)
{
    const char *canonical = pc_machine_canonical_name(type);

    if (strcmp(type, "help") == 0) {
        o->action = VM_OPTIONS_MACHINES;
        return true;
    }
    if (!canonical) {
        return vm_error_set(errp, 0, "%s: unsupported machine type '%s' "
                            "(there are q35, pc and none)", opt, type);
    }
    set_str(&o->machine, canonical);
    return true;
}

/* Properties that are accepted in the one way that is true here. */
static bool machine_fixed(VmKeyval *kv, const char *opt, GError **errp)
{
    static const struct {
        const char *key;
        const char *const *words;
    } fixed[] = {
        { "kernel-irqchip", only_on },  { "usb", only_off },
        { "dump-guest-core", only_off }, { "vmport", only_off },
        { "hpet", only_off },           { "graphics", only_off },
        { "mem-merge", only_off },      { "smm", only_off },
        { "acpi", only_on },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++) {
        if (!options_accept_only(kv, opt, fixed[i].key, fixed[i].words,
                                 errp)) {
            return false;
        }
    }
    return true;
}

bool opt_machine(VmOptions *o, const char *opt, const char *arg,
                 GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "type", errp);
    const char *value;

    if (!kv) {
        return false;
    }
    value = vm_keyval_get(kv, "type");
    if (value && !machine_type(o, opt, value, errp)) {
        return false;
    }
    value = vm_keyval_get(kv, "accel");
    if (value && !accel_check(opt, value, errp)) {
        return false;
    }
    value = vm_keyval_get(kv, "memory-backend");
    if (value) {
        set_str(&o->memory_backend, value);
    }
    return machine_fixed(kv, opt, errp) && vm_keyval_check_all_used(kv, errp);
}

bool opt_accel(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "accel", errp);
    const char *name = kv ? vm_keyval_get(kv, "accel") : NULL;

    if (!kv) {
        return false;
    }
    if (!name) {
        return vm_error_set(errp, 0, "%s: names no accelerator", opt);
    }
    return accel_check(opt, name, errp) &&
           options_accept_only(kv, opt, "kernel-irqchip", only_on, errp) &&
           vm_keyval_check_all_used(kv, errp);
}

bool opt_enable_kvm(VmOptions *o, const char *opt, const char *arg,
                    GError **errp)
{
    return true; /* there is nothing else */
}

/* --- CPUs and memory ---------------------------------------------------- */

bool opt_cpu(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    if (arg[0] == '\0' || arg[0] == ',') {
        return vm_error_set(errp, 0, "%s: names no model", opt);
    }
    set_str(&o->cpu, arg); /* accel knows the models */
    return true;
}

bool opt_memory(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "size", errp);
    const char *size;
    uint64_t bytes;

    if (!kv) {
        return false;
    }
    if (vm_keyval_get(kv, "slots") || vm_keyval_get(kv, "maxmem")) {
        return vm_error_set(errp, 0,
                            "%s: slots= and maxmem= (memory hotplug) are "
                            "not supported", opt);
    }
    size = vm_keyval_get(kv, "size");
    if (!size) {
        return vm_error_set(errp, 0, "%s: names no size", opt);
    }
    if (!vm_size_parse(size, 1u << 20, opt, &bytes, errp) ||
        !vm_keyval_check_all_used(kv, errp)) {
        return false;
    }
    if (bytes < (1u << 20) || bytes > VM_RAM_MAX_BYTES) {
        return vm_error_set(errp, 0, "%s: '%s' is not between 1M and 4T", opt,
                            size);
    }
    if (bytes % 4096 != 0) {
        return vm_error_set(errp, 0, "%s: '%s' is not a multiple of 4096 "
                            "bytes", opt, size);
    }
    o->ram_bytes = bytes;
    o->ram_given = true;
    return true;
}

typedef struct Smp {
    uint64_t cpus, maxcpus, sockets, dies, cores, threads;
} Smp;

static bool smp_read(VmKeyval *kv, Smp *s, GError **errp)
{
    /* 0 stands for absent; a given 0 is refused below. */
    return vm_keyval_get_u64(kv, "cpus", 0, &s->cpus, errp) &&
           vm_keyval_get_u64(kv, "maxcpus", 0, &s->maxcpus, errp) &&
           vm_keyval_get_u64(kv, "sockets", 0, &s->sockets, errp) &&
           vm_keyval_get_u64(kv, "dies", 0, &s->dies, errp) &&
           vm_keyval_get_u64(kv, "cores", 0, &s->cores, errp) &&
           vm_keyval_get_u64(kv, "threads", 0, &s->threads, errp) &&
           vm_keyval_check_all_used(kv, errp);
}

static bool smp_zero(VmKeyval *kv, const char *opt, const Smp *s,
                     GError **errp)
{
    const struct {
        const char *key;
        uint64_t value;
    } all[] = {
        { "cpus", s->cpus },       { "maxcpus", s->maxcpus },
        { "sockets", s->sockets }, { "dies", s->dies },
        { "cores", s->cores },     { "threads", s->threads },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        if (all[i].value == 0 && vm_keyval_get(kv, all[i].key)) {
            return vm_error_set(errp, 0, "%s: %s=0 makes no sense", opt,
                                all[i].key);
        }
        if (all[i].value > VM_CPUS_MAX) {
            return vm_error_set(errp, 0, "%s: %s is more than %u", opt,
                                all[i].key, VM_CPUS_MAX);
        }
    }
    return true;
}

/* Sockets and cores are not told to the guest apart; threads would be. */
static bool smp_topology(const char *opt, Smp *s, GError **errp)
{
    uint64_t cores = s->cores ? s->cores : 1;
    uint64_t sockets = s->sockets ? s->sockets : 1;

    if (s->threads > 1 || s->dies > 1) {
        return vm_error_set(errp, 0, "%s: %s above 1 is not supported", opt,
                            s->threads > 1 ? "threads" : "dies");
    }
    if (s->cpus == 0) {
        s->cpus = s->maxcpus ? s->maxcpus : sockets * cores;
    }
    if (s->sockets && s->cores && sockets * cores != s->cpus) {
        return vm_error_set(errp, 0,
                            "%s: sockets * cores is not the number of CPUs",
                            opt);
    }
    if (s->cpus % cores != 0 || s->cpus % sockets != 0) {
        return vm_error_set(errp, 0, "%s: CPUs do not fill the %s evenly",
                            opt, s->cpus % cores ? "cores" : "sockets");
    }
    if (s->maxcpus && s->maxcpus != s->cpus) {
        return vm_error_set(errp, 0,
                            "%s: maxcpus differs from cpus (CPU hotplug is "
                            "not supported)", opt);
    }
    if (s->cpus > VM_CPUS_MAX) {
        return vm_error_set(errp, 0, "%s: more than %u CPUs", opt,
                            VM_CPUS_MAX);
    }
    return true;
}

bool opt_smp(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "cpus", errp);
    Smp s;

    if (!kv || !smp_read(kv, &s, errp) || !smp_zero(kv, opt, &s, errp) ||
        !smp_topology(opt, &s, errp)) {
        return false;
    }
    o->cpus = (unsigned)s.cpus;
    return true;
}

static void vmemdirect_key(const char *key, const char *value, void *opaque)
{
    g_string_append_printf(opaque, " %s", key);
}

bool opt_vmemdirect(VmOptions *o, const char *opt, const char *arg,
                    GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, NULL, errp);
    g_autoptr(GString) keys = g_string_new(NULL);

    if (!kv) {
        return false;
    }
    if (o->vmemdirect) {
        return vm_error_set(errp, 0, "%s: given twice", opt);
    }
    vm_keyval_foreach(kv, vmemdirect_key, keys);
    if (keys->len == 0) {
        return vm_error_set(errp, 0, "%s: needs swap=PATH and memory=SIZE",
                            opt);
    }
    o->vmemdirect = g_steal_pointer(&kv);
    return true;
}

/*
 * The file's name follows the VM's, so that one command line (or libvirt's
 * XML) is right on every host that the VM comes to.
 */
bool options_swap_dir(VmOptions *o, GError **errp)
{
    const char *dir =
        o->vmemdirect ? vm_keyval_get(o->vmemdirect, VM_SWAP_DIR_KEY) : NULL;
    g_autofree char *file = NULL, *path = NULL;

    if (!dir) {
        return true;
    }
    if (vm_keyval_get(o->vmemdirect, "swap")) {
        return vm_error_set(errp, 0, "-vmemdirect: swap= and swap-dir= "
                            "exclude each other");
    }
    if (!o->name || !o->name[0] || strchr(o->name, '/')) {
        return vm_error_set(errp, 0, "-vmemdirect: swap-dir= needs -name, "
                            "with a name that can be a file's");
    }
    file = g_strdup_printf("%s.swap", o->name);
    path = g_build_filename(dir[0] ? dir : ".", file, NULL);
    vm_keyval_set(o->vmemdirect, "swap", path);
    return true;
}

/* --- Kernel ------------------------------------------------------------- */

static bool set_file(char **where, const char *opt, const char *arg,
                     GError **errp)
{
    if (arg[0] == '\0') {
        return vm_error_set(errp, 0, "%s: names no file", opt);
    }
    set_str(where, arg);
    return true;
}

bool opt_kernel(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    return set_file(&o->kernel, opt, arg, errp);
}

bool opt_initrd(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    return set_file(&o->initrd, opt, arg, errp);
}

bool opt_append(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    set_str(&o->append, arg);
    return true;
}

/* --- Clock, boot order, and what holds anyway --------------------------- */

static bool rtc_base(VmOptions *o, const char *opt, const char *base,
                     GError **errp)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) date = NULL;

    if (strcmp(base, "utc") == 0) {
        o->rtc_offset_s = 0;
    } else if (strcmp(base, "localtime") == 0) {
        o->rtc_offset_s = g_date_time_get_utc_offset(now) / G_TIME_SPAN_SECOND;
    } else {
        date = g_date_time_new_from_iso8601(base, utc);
        if (!date) {
            return vm_error_set(errp, 0, "%s: bad date '%s' (want "
                                "YYYY-MM-DDThh:mm:ss)", opt, base);
        }
        o->rtc_offset_s = g_date_time_to_unix(date) -
                          g_date_time_to_unix(now);
    }
    return true;
}

bool opt_rtc(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    static const char *const clocks[] = { "host", NULL };
    static const char *const drifts[] = { "none", NULL };
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "base", errp);
    const char *base = kv ? vm_keyval_get(kv, "base") : NULL;

    return kv && options_accept_only(kv, opt, "clock", clocks, errp) &&
           options_accept_only(kv, opt, "driftfix", drifts, errp) &&
           vm_keyval_check_all_used(kv, errp) &&
           (!base || rtc_base(o, opt, base, errp));
}

/* Without firmware there is one way to boot, and these ask for no other. */
bool opt_boot(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, "order", errp);
    const char *order = kv ? vm_keyval_get(kv, "order") : NULL;
    bool strict;

    if (!kv) {
        return false;
    }
    if (order && order[strspn(order, "abcdefghijklmnop")] != '\0') {
        return vm_error_set(errp, 0, "%s: invalid order '%s'", opt, order);
    }
    return vm_keyval_get_bool(kv, "strict", false, &strict, errp) &&
           options_accept_only(kv, opt, "menu", only_off, errp) &&
           vm_keyval_check_all_used(kv, errp);
}

bool opt_global(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    static const char *const true_here[] = {
        "ICH9-LPC.disable_s3=1", "ICH9-LPC.disable_s4=1",
        "PIIX4_PM.disable_s3=1", "PIIX4_PM.disable_s4=1",
        "kvm-pit.lost_tick_policy=delay", NULL,
    };

    return g_strv_contains(true_here, arg) ||
           vm_error_set(errp, 0, "%s: '%s' is not supported", opt, arg);
}

bool opt_overcommit(VmOptions *o, const char *opt, const char *arg,
                    GError **errp)
{
    g_autoptr(VmKeyval) kv = vm_keyval_parse(opt, arg, NULL, errp);

    return kv &&
           vm_keyval_get_bool(kv, "mem-lock", o->mem_lock, &o->mem_lock,
                              errp) &&
           options_accept_only(kv, opt, "cpu-pm", only_off, errp) &&
           vm_keyval_check_all_used(kv, errp);
}

/* --- -object ------------------------------------------------------------ */

static bool object_ram(VmObjectOption *object, VmKeyval *kv, const char *opt,
                       GError **errp)
{
    static const char *const no[] = { "off", NULL };

    if (!vm_keyval_get_size(kv, "size", 0, &object->size_bytes, errp) ||
        !options_accept_only(kv, opt, "share", no, errp) ||
        !options_accept_only(kv, opt, "prealloc", no, errp) ||
        !options_accept_only(kv, opt, "merge", no, errp) ||
        !options_accept_only(kv, opt, "dump", no, errp)) {
        return false;
    }
    if (object->size_bytes < (1u << 20) ||
        object->size_bytes > VM_RAM_MAX_BYTES ||
        object->size_bytes % 4096 != 0) {
        return vm_error_set(errp, 0,
                            "%s: size is not between 1M and 4T in steps of "
                            "4096 bytes", opt);
    }
    return true;
}

static bool object_read(VmObjectOption *object, VmKeyval *kv, const char *opt,
                        GError **errp)
{
    const char *filename;

    if (strcmp(object->type, "memory-backend-ram") == 0) {
        return object_ram(object, kv, opt, errp);
    }
    if (strcmp(object->type, "rng-builtin") == 0) {
        object->filename = g_strdup("/dev/urandom");
        return true;
    }
    if (strcmp(object->type, "rng-random") == 0) {
        filename = vm_keyval_get(kv, "filename");
        object->filename = g_strdup(filename ? filename : "/dev/urandom");
        return true;
    }
    return vm_error_set(errp, 0, "%s: object type '%s' is not supported",
                        opt, object->type);
}

static bool object_id_free(VmOptions *o, const char *opt, const char *id,
                           GError **errp)
{
    for (guint i = 0; i < o->objects->len; i++) {
        VmObjectOption *other = o->objects->pdata[i];

        if (strcmp(other->id, id) == 0) {
            return vm_error_set(errp, 0, "%s: duplicate id '%s'", opt, id);
        }
    }
    return true;
}

bool vm_options_is_user_object(const char *type)
{
    return strcmp(type, "secret") == 0 || tls_creds_is_type(type);
}

const char *vm_options_object_type(size_t index)
{
    static const char *const types[] = {
        "memory-backend-ram", "rng-builtin",   "rng-random",
        "secret",             "tls-creds-anon", "tls-creds-psk",
        "tls-creds-x509",
    };

    return index < G_N_ELEMENTS(types) ? types[index] : NULL;
}

bool opt_object(VmOptions *o, const char *opt, const char *arg, GError **errp)
{
    g_autoptr(VmKeyval) kv = options_keyval(opt, arg, "qom-type", errp);
    const char *type = kv ? vm_keyval_get(kv, "qom-type") : NULL;
    const char *id = kv ? vm_keyval_get(kv, "id") : NULL;
    VmObjectOption *object;

    if (!kv) {
        return false;
    }
    if (!type || !id) {
        return vm_error_set(errp, 0, "%s: parameter '%s' is missing", opt,
                            type ? "id" : "qom-type");
    }
    if (!object_id_free(o, opt, id, errp)) {
        return false;
    }
    object = g_new0(VmObjectOption, 1);
    object->type = g_strdup(type);
    object->id = g_strdup(id);
    g_ptr_array_add(o->objects, object);
    if (vm_options_is_user_object(type)) {
        object->props = g_steal_pointer(&kv); /* read when it is made */
        return true;
    }
    return object_read(object, kv, opt, errp) &&
           vm_keyval_check_all_used(kv, errp);
}
