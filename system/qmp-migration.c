/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: migration.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <inttypes.h>
#include <string.h>

#include "util/error.h"

static bool need_machine(const Vm *vm, GError **errp)
{
    return vm->migration ||
           vm_error_set(errp, 0, "The machine 'none' cannot migrate");
}

/* What the parameters name, as it is now: for the job that begins. */
static bool use_tls(Vm *vm, GError **errp)
{
    TlsCreds *creds = NULL;

    if (vm->tls_creds[0]) {
        creds = vm_find_tls_creds(vm, vm->tls_creds, errp);
        if (!creds) {
            return false;
        }
    }
    return migration_set_tls(vm->migration, creds,
                             vm->tls_hostname[0] ? vm->tls_hostname : NULL,
                             errp);
}

/* --- Doing -------------------------------------------------------------- */

/* The event comes before the reply: management that has the reply and no event
 * takes it that nothing has begun. */
static bool tell_setup(Vm *vm)
{
    migration_deliver_events(vm->migration);
    return true;
}

static bool run_migrate(void *opaque, Monitor *mon, json_object *args,
                        json_object **ret_value, GError **errp)
{
    static const char *const unsupported[] = { "blk", "inc", "resume" };
    Vm *vm = opaque;
    g_autofree char *uri = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(unsupported); i++) {
        if (qmp_arg_bool(args, unsupported[i], false)) {
            return vm_error_set(errp, 0, "Parameter '%s' is not supported",
                                unsupported[i]);
        }
    }
    if (!need_machine(vm, errp)) {
        return false;
    }
    if (vm->state == VM_RUN_INMIGRATE) {
        return vm_error_set(errp, 0, "The VM is waiting for an incoming "
                            "migration");
    }
    if (vm->state == VM_RUN_POSTMIGRATE) {
        return vm_error_set(errp, 0, "The VM has been handed over already");
    }
    if (vm->state != VM_RUN_FINISH_MIGRATE &&
        !vm_run_state_allowed(vm->state, VM_RUN_FINISH_MIGRATE)) {
        return vm_error_set(errp, 0, "The VM cannot migrate in the state "
                            "'%s'", vm_run_state_to_string(vm->state));
    }
    if (!use_tls(vm, errp)) {
        return false;
    }
    uri = vm_migration_uri(mon, qmp_arg_str(args, "uri"), errp);
    return uri && migration_start(vm->migration, uri, errp) &&
           tell_setup(vm);
}

static bool run_migrate_cancel(void *opaque, Monitor *mon, json_object *args,
                               json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;

    if (vm->migration) {
        migration_cancel(vm->migration);
    }
    return true;
}

static bool run_migrate_continue(void *opaque, Monitor *mon,
                                 json_object *args, json_object **ret_value,
                                 GError **errp)
{
    Vm *vm = opaque;
    const char *text = qmp_arg_str(args, "state");
    MigrationStatus state = MIGRATION_NONE;

    while (strcmp(migration_status_to_string(state), text) != 0) {
        state++; /* the dispatcher has checked that it is there */
    }
    return need_machine(vm, errp) &&
           migration_continue(vm->migration, state, errp);
}

static bool run_migrate_incoming(void *opaque, Monitor *mon,
                                 json_object *args, json_object **ret_value,
                                 GError **errp)
{
    Vm *vm = opaque;
    g_autofree char *uri = NULL;

    if (vm->state != VM_RUN_INMIGRATE ||
        strcmp(vm->options->incoming, "defer") != 0) {
        return vm_error_set(errp, 0, "'-incoming defer' is needed for "
                            "migrate-incoming");
    }
    if (migration_is_active(vm->migration)) {
        return vm_error_set(errp, 0, "The incoming migration has already "
                            "been started");
    }
    if (!use_tls(vm, errp)) {
        return false;
    }
    uri = vm_migration_uri(mon, qmp_arg_str(args, "uri"), errp);
    return uri && migration_listen(vm->migration, uri, errp) &&
           tell_setup(vm);
}

/* --- Parameters and capabilities ---------------------------------------- */

static uint64_t *parameter_at(MigrationParameters *p,
                              const MigrationParameterInfo *info)
{
    return (uint64_t *)((char *)p + info->offset);
}

static void set_string(char **to, const char *value)
{
    if (value) {
        g_free(*to);
        *to = g_strdup(value);
    }
}

/* What is not given stays. */
static void read_parameter(json_object *args,
                           const MigrationParameterInfo *info,
                           uint64_t *value)
{
    if (info->is_bool) {
        *value = qmp_arg_bool(args, info->name, *value != 0);
    } else {
        (void)qmp_arg_u64(args, info->name, value);
    }
}

static void put_parameter(json_object *reply,
                          const MigrationParameterInfo *info, uint64_t value)
{
    if (info->is_bool) {
        qmp_put_bool(reply, info->name, value != 0);
    } else {
        qmp_put_u64(reply, info->name, value);
    }
}

static bool run_set_parameters(void *opaque, Monitor *mon, json_object *args,
                               json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    const char *authz = qmp_arg_str(args, "tls-authz");
    const char *compression = qmp_arg_str(args, "multifd-compression");
    MigrationParameters p;

    if (!need_machine(vm, errp)) {
        return false;
    }
    if (authz && authz[0]) {
        return vm_error_set(errp, 0, "Parameter 'tls-authz' is not supported: "
                            "who has a certificate of the authority is "
                            "believed");
    }
    if (compression && strcmp(compression, "none") != 0) {
        return vm_error_set(errp, 0, "Parameter 'multifd-compression': '%s' is "
                            "not supported, only 'none' is", compression);
    }
    migration_get_parameters(vm->migration, &p);
    for (size_t i = 0; i < migration_parameter_count; i++) {
        const MigrationParameterInfo *info = &migration_parameter_infos[i];

        read_parameter(args, info, parameter_at(&p, info));
    }
    if (!migration_set_parameters(vm->migration, &p, errp)) {
        return false;
    }
    set_string(&vm->tls_creds, qmp_arg_str(args, "tls-creds"));
    set_string(&vm->tls_hostname, qmp_arg_str(args, "tls-hostname"));
    return true;
}

static bool run_query_parameters(void *opaque, Monitor *mon,
                                 json_object *args, json_object **ret_value,
                                 GError **errp)
{
    Vm *vm = opaque;
    MigrationParameters p;

    if (!need_machine(vm, errp)) {
        return false;
    }
    migration_get_parameters(vm->migration, &p);
    *ret_value = json_object_new_object();
    for (size_t i = 0; i < migration_parameter_count; i++) {
        const MigrationParameterInfo *info = &migration_parameter_infos[i];

        put_parameter(*ret_value, info, *parameter_at(&p, info));
    }
    qmp_put_str(*ret_value, "tls-creds", vm->tls_creds);
    qmp_put_str(*ret_value, "tls-hostname", vm->tls_hostname);
    qmp_put_str(*ret_value, "tls-authz", "");
    qmp_put_str(*ret_value, "multifd-compression", "none");
    return true;
}

/* A set of capabilities, as QMP sees it. */
typedef struct Capabilities {
    bool events; /* the monitors', the rest is migration's */
    MigrationCapabilities job;
} Capabilities;

static const struct {
    const char *name; /* QEMU's, but for checksum */
    size_t offset;    /* of a bool in Capabilities */
} capabilities[] = {
    { "auto-converge", offsetof(Capabilities, job.auto_converge) },
    { "checksum", offsetof(Capabilities, job.checksum) },
    { "events", offsetof(Capabilities, events) },
    { "late-block-activate",
      offsetof(Capabilities, job.late_block_activate) },
    { "multifd", offsetof(Capabilities, job.multifd) },
    { "pause-before-switchover",
      offsetof(Capabilities, job.pause_before_switchover) },
    { "return-path", offsetof(Capabilities, job.return_path) },
};

static bool *capability_at(Capabilities *c, size_t i)
{
    return (bool *)((char *)c + capabilities[i].offset);
}

static bool *find_capability(Capabilities *c, const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        if (strcmp(capabilities[i].name, name) == 0) {
            return capability_at(c, i);
        }
    }
    return NULL;
}

static void get_capabilities(const Vm *vm, Capabilities *ret)
{
    *ret = (Capabilities){ .events = vm->events_capability };
    if (vm->migration) {
        migration_get_capabilities(vm->migration, &ret->job);
    }
}

static bool read_capability(json_object *entry, Capabilities *c,
                            GError **errp)
{
    static const QmpArgument members[] = {
        { "capability", "str" },
        { "state", "bool" },
        { NULL },
    };
    bool *value;

    if (!json_object_is_type(entry, json_type_object)) {
        return vm_error_set(errp, 0, "Parameter 'capabilities' expects "
                            "objects");
    }
    for (const QmpArgument *m = members; m->name; m++) {
        json_object *v;

        if (!json_object_object_get_ex(entry, m->name, &v) ||
            !json_object_is_type(v, m->type[0] == 's' ? json_type_string
                                                      : json_type_boolean)) {
            return vm_error_set(errp, 0, "Parameter '%s' is missing or of "
                                "the wrong type", m->name);
        }
    }
    value = find_capability(c, qmp_arg_str(entry, "capability"));
    if (!value) {
        return vm_error_set(errp, 0, "Parameter 'capability' does not accept "
                            "value '%s'", qmp_arg_str(entry, "capability"));
    }
    *value = qmp_arg_bool(entry, "state", false);
    return true;
}

/* All or nothing. What does not change may be said at any time. */
static bool run_set_capabilities(void *opaque, Monitor *mon,
                                 json_object *args, json_object **ret_value,
                                 GError **errp)
{
    Vm *vm = opaque;
    json_object *list;
    Capabilities old, new;

    get_capabilities(vm, &old);
    new = old;
    json_object_object_get_ex(args, "capabilities", &list);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        if (!read_capability(json_object_array_get_idx(list, i), &new,
                             errp)) {
            return false;
        }
    }
    if (memcmp(&old.job, &new.job, sizeof(new.job)) != 0 &&
        !(need_machine(vm, errp) &&
          migration_set_capabilities(vm->migration, &new.job, errp))) {
        return false;
    }
    vm->events_capability = new.events;
    return true;
}

static bool run_query_capabilities(void *opaque, Monitor *mon,
                                   json_object *args, json_object **ret_value,
                                   GError **errp)
{
    Capabilities now;

    get_capabilities(opaque, &now);
    *ret_value = json_object_new_array();
    for (size_t i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        json_object *entry = json_object_new_object();

        qmp_put_str(entry, "capability", capabilities[i].name);
        qmp_put_bool(entry, "state", *capability_at(&now, i));
        json_object_array_add(*ret_value, entry);
    }
    return true;
}

/* --- Announcements ------------------------------------------------------ */

/* Its arguments have the limits of the parameters of the same meaning. */
static bool read_rounds(json_object *args, VmAnnounceRounds *ret,
                        GError **errp)
{
    for (size_t i = 0; i < migration_parameter_count; i++) {
        const MigrationParameterInfo *info = &migration_parameter_infos[i];
        const char *name = info->name + strlen("announce-");
        uint64_t value;

        if (!g_str_has_prefix(info->name, "announce-") ||
            !qmp_arg_u64(args, name, &value)) {
            continue;
        }
        if (value < info->minimum || value > info->maximum) {
            return vm_error_set(errp, 0, "Parameter '%s' expects an integer "
                                "in the range of %" PRIu64 " to %" PRIu64,
                                name, info->minimum, info->maximum);
        }
    }
    (void)qmp_arg_u64(args, "initial", &ret->initial_ms);
    (void)qmp_arg_u64(args, "max", &ret->max_ms);
    (void)qmp_arg_u64(args, "rounds", &ret->rounds);
    (void)qmp_arg_u64(args, "step", &ret->step_ms);
    return true;
}

static bool run_announce_self(void *opaque, Monitor *mon, json_object *args,
                              json_object **ret_value, GError **errp)
{
    VmAnnounceRounds rounds = { 0 };

    if (!read_rounds(args, &rounds, errp)) {
        return false;
    }
    vm_announce_start(opaque, &rounds);
    return true;
}

/* --- query-migrate ------------------------------------------------------ */

static json_object *migrate_ram(const MigrationInfo *info)
{
    json_object *ram = json_object_new_object();

    qmp_put_u64(ram, "transferred", info->transferred_bytes);
    qmp_put_u64(ram, "remaining", info->ram_remaining_bytes);
    qmp_put_u64(ram, "total", info->ram_total_bytes);
    qmp_put_u64(ram, "duplicate", info->duplicate_pages);
    qmp_put_u64(ram, "skipped", 0);
    qmp_put_u64(ram, "normal", info->normal_pages);
    qmp_put_u64(ram, "normal-bytes", info->normal_pages * RAM_PAGE_BYTES);
    qmp_put_u64(ram, "dirty-pages-rate", info->dirty_pages_rate);
    json_object_object_add(ram, "mbps", json_object_new_double(info->mbps));
    qmp_put_u64(ram, "dirty-sync-count", info->dirty_sync_count);
    qmp_put_u64(ram, "postcopy-requests", 0);
    qmp_put_u64(ram, "page-size", RAM_PAGE_BYTES);
    qmp_put_u64(ram, "multifd-bytes", info->multifd_bytes);
    qmp_put_u64(ram, "pages-per-second", info->pages_per_second);
    qmp_put_u64(ram, "precopy-bytes", info->precopy_bytes);
    qmp_put_u64(ram, "downtime-bytes", info->downtime_bytes);
    qmp_put_u64(ram, "postcopy-bytes", 0);
    return ram;
}

static void migrate_downtime(json_object *v, const MigrationInfo *info)
{
    qmp_put_int(v, "stop-us", info->stop_us);
    qmp_put_int(v, "pause-us", info->pause_us);
    qmp_put_int(v, "last-pass-us", info->last_pass_us);
    qmp_put_int(v, "device-us", info->device_us);
    qmp_put_int(v, "ready-us", info->ready_us);
    qmp_put_int(v, "images-us", info->images_us);
    qmp_put_int(v, "resume-us", info->resume_us);
}

static json_object *migrate_vmemdirect(const MigrationInfo *info)
{
    json_object *v = json_object_new_object();

    qmp_put_u64(v, "sent-ram-bytes", info->sent_ram_bytes);
    qmp_put_u64(v, "sent-swap-bytes", info->sent_swap_bytes);
    qmp_put_u64(v, "zero-bytes", info->zero_bytes);
    qmp_put_u64(v, "from-swap-bytes", info->from_swap_bytes);
    qmp_put_u64(v, "pages-in", info->pages_in);
    qmp_put_u64(v, "pages-out", info->pages_out);
    if (info->destination_budget_bytes != UINT64_MAX) {
        qmp_put_u64(v, "destination-budget-bytes",
                    info->destination_budget_bytes);
    }
    if (info->incoming) {
        qmp_put_int(v, "load-us", info->load_us);
        qmp_put_int(v, "start-us", info->start_us);
    } else {
        migrate_downtime(v, info);
    }
    return v;
}

static void migrate_times(json_object *reply, const MigrationInfo *info)
{
    qmp_put_int(reply, "total-time", info->total_ms);
    qmp_put_int(reply, "setup-time", info->setup_ms);
    if (info->status == MIGRATION_COMPLETED) {
        qmp_put_int(reply, "downtime", info->downtime_ms);
    } else {
        qmp_put_int(reply, "expected-downtime", info->expected_downtime_ms);
    }
    if (info->cpu_throttle_percent) {
        qmp_put_int(reply, "cpu-throttle-percentage",
                    info->cpu_throttle_percent);
    }
}

static void migrate_blocker(json_object *reply, Vm *vm)
{
    const char *reason = migration_get_blocker(vm->migration);
    json_object *reasons;

    if (reason) {
        reasons = json_object_new_array();
        json_object_array_add(reasons, json_object_new_string(reason));
        json_object_object_add(reply, "blocked-reasons", reasons);
    }
}

static bool run_query_migrate(void *opaque, Monitor *mon, json_object *args,
                              json_object **ret_value, GError **errp)
{
    Vm *vm = opaque;
    json_object *reply = json_object_new_object();
    MigrationInfo info;

    *ret_value = reply;
    if (!vm->migration) {
        return true;
    }
    migrate_blocker(reply, vm);
    migration_query(vm->migration, &info);
    if (info.status == MIGRATION_NONE) {
        return true;
    }
    qmp_put_str(reply, "status", migration_status_to_string(info.status));
    if (info.error[0]) {
        qmp_put_str(reply, "error-desc", info.error);
    }
    if (migration_listen_address(vm->migration)) {
        qmp_put_str(reply, "listen-address",
                    migration_listen_address(vm->migration));
    }
    if (info.status != MIGRATION_SETUP) {
        migrate_times(reply, &info);
        json_object_object_add(reply, "ram", migrate_ram(&info));
        json_object_object_add(reply, "vmemdirect",
                               migrate_vmemdirect(&info));
    }
    return true;
}

static const QmpArgument migrate_args[] = {
    { "uri", "str" },
    { "blk", "bool", .optional = true },
    { "inc", "bool", .optional = true },
    { "detach", "bool", .optional = true },
    { "resume", "bool", .optional = true },
    { NULL },
};
static const QmpArgument incoming_args[] = {
    { "uri", "str" },
    { NULL },
};
static const QmpArgument parameters_args[] = {
    { "max-bandwidth", "size", .optional = true },
    { "downtime-limit", "size", .optional = true },
    { "avail-switchover-bandwidth", "size", .optional = true },
    { "announce-initial", "size", .optional = true },
    { "announce-max", "size", .optional = true },
    { "announce-rounds", "size", .optional = true },
    { "announce-step", "size", .optional = true },
    { "tls-creds", "str", .optional = true },
    { "tls-hostname", "str", .optional = true },
    { "tls-authz", "str", .optional = true },
    { "throttle-trigger-threshold", "size", .optional = true },
    { "cpu-throttle-initial", "size", .optional = true },
    { "cpu-throttle-increment", "size", .optional = true },
    { "cpu-throttle-tailslow", "bool", .optional = true },
    { "max-cpu-throttle", "size", .optional = true },
    { "multifd-channels", "size", .optional = true },
    { "multifd-compression", "str", .optional = true },
    { NULL },
};
static const QmpArgument announce_args[] = {
    { "initial", "size" },
    { "max", "size" },
    { "rounds", "size" },
    { "step", "size" },
    { NULL },
};
static const QmpArgument continue_args[] = {
    { "state", "none|setup|active|pre-switchover|device|completed|failed|"
               "cancelling|cancelled" },
    { NULL },
};
static const QmpArgument capabilities_args[] = {
    { "capabilities", "array" },
    { NULL },
};

static const QmpArgument capability_members[] = {
    { "capability", "str" },
    { "state", "bool" },
    { NULL },
};
static const QmpArgument query_members[] = {
    { "status", "str", .optional = true },
    { "error-desc", "str", .optional = true },
    { "blocked-reasons", "array", .optional = true },
    { "listen-address", "str", .optional = true },
    { "total-time", "int", .optional = true },
    { "setup-time", "int", .optional = true },
    { "downtime", "int", .optional = true },
    { "expected-downtime", "int", .optional = true },
    { "cpu-throttle-percentage", "int", .optional = true },
    { "ram", "object", .optional = true },
    { "vmemdirect", "object", .optional = true },
    { NULL },
};

const QmpCommand vm_qmp_migration_commands[] = {
    { "migrate", migrate_args, run_migrate, "Starts a migration." },
    { "migrate_cancel", NULL, run_migrate_cancel,
      "Cancels the migration that runs, if any." },
    { "migrate-continue", continue_args, run_migrate_continue,
      "Ends the pause before the switch-over." },
    { "migrate-incoming", incoming_args, run_migrate_incoming,
      "Starts to listen, after -incoming defer." },
    { "migrate-set-parameters", parameters_args, run_set_parameters,
      "Sets limits, also of a running migration." },
    { "query-migrate-parameters", NULL, run_query_parameters,
      "The limits.", "object", parameters_args },
    { "announce-self", announce_args, run_announce_self,
      "Tells the network where the cards are." },
    { "migrate-set-capabilities", capabilities_args, run_set_capabilities,
      "Switches capabilities." },
    { "query-migrate-capabilities", NULL, run_query_capabilities,
      "The capabilities.", "array", capability_members },
    { "query-migrate", NULL, run_query_migrate,
      "State and figures of the migration.", "object", query_members },
    { NULL },
};
