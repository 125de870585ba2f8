/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects that may come and go while the VM runs: secrets and TLS
 * credentials, by -object, object-add and object-del.
 *
 * The other objects (rng-*, memory-backend-ram) are a part of the machine and
 * stay where the options have put them; all share one name space.
 *
 * An object that is deleted goes on for whom it was already given: a
 * migration keeps its credentials until it ends.
 *
 * Threads: main.
 */
#include "system-internal.h"

#include <string.h>

#include "crypto/secret.h"
#include "util/error.h"

typedef struct UserObject {
    char *id;
    GBytes *secret;  /* one of the two */
    TlsCreds *creds;
} UserObject;

static void object_free(gpointer data)
{
    UserObject *object = data;

    g_free(object->id);
    g_clear_pointer(&object->secret, g_bytes_unref);
    tls_creds_unref(object->creds);
    g_free(object);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(UserObject, object_free)

static UserObject *find(const Vm *vm, const char *id)
{
    for (guint i = 0; i < vm->objects->len; i++) {
        UserObject *object = vm->objects->pdata[i];

        if (strcmp(object->id, id) == 0) {
            return object;
        }
    }
    return NULL;
}

/* A part of the machine, that is. */
static bool is_fixed(const Vm *vm, const char *id)
{
    for (guint i = 0; i < vm->options->objects->len; i++) {
        const VmObjectOption *option = vm->options->objects->pdata[i];

        if (!option->props && strcmp(option->id, id) == 0) {
            return true;
        }
    }
    return false;
}

static GBytes *find_secret(void *opaque, const char *id)
{
    UserObject *object = find(opaque, id);

    return object ? object->secret : NULL;
}

TlsCreds *vm_find_tls_creds(Vm *vm, const char *id, GError **errp)
{
    UserObject *object = find(vm, id);

    if (!object || !object->creds) {
        vm_error_set(errp, 0, object ? "Object '%s' is not TLS credentials"
                                     : "No TLS credentials with id '%s'", id);
        return NULL;
    }
    return object->creds;
}

bool vm_object_add(Vm *vm, const char *type, const char *id, VmKeyval *kv,
                   GError **errp)
{
    const SecretSource secrets = { find_secret, vm };
    g_autoptr(UserObject) object = g_new0(UserObject, 1);

    if (find(vm, id) || is_fixed(vm, id)) {
        return vm_error_set(errp, 0, "there is an object '%s' already", id);
    }
    object->id = g_strdup(id);
    if (strcmp(type, "secret") == 0) {
        object->secret = secret_new(kv, &secrets, errp);
    } else {
        object->creds = tls_creds_new(type, kv, &secrets, errp);
    }
    if (!object->secret && !object->creds) {
        g_prefix_error(errp, "%s '%s': ", type, id);
        return false;
    }
    if (!vm_keyval_check_all_used(kv, errp)) {
        return false;
    }
    g_ptr_array_add(vm->objects, g_steal_pointer(&object));
    return true;
}

static bool object_del(Vm *vm, const char *id, GError **errp)
{
    UserObject *object = find(vm, id);

    if (object) {
        g_ptr_array_remove(vm->objects, object);
        return true;
    }
    return is_fixed(vm, id)
               ? vm_error_set(errp, 0, "object '%s' is in use, can not be "
                                       "deleted", id)
               : vm_error_set(errp, 0, "object '%s' not found", id);
}

bool vm_objects_start(Vm *vm, GError **errp)
{
    vm->objects = g_ptr_array_new_with_free_func(object_free);
    for (guint i = 0; i < vm->options->objects->len; i++) {
        const VmObjectOption *option = vm->options->objects->pdata[i];

        if (option->props && !vm_object_add(vm, option->type, option->id,
                                            option->props, errp)) {
            return vm_prefix_option(errp, "-object");
        }
    }
    return true;
}

void vm_objects_stop(Vm *vm)
{
    g_clear_pointer(&vm->objects, g_ptr_array_unref);
}

/* --- QMP ---------------------------------------------------------------- */

static bool run_object_add(void *opaque, Monitor *mon, json_object *args,
                           json_object **ret_value, GError **errp)
{
    g_autofree char *flat = vm_options_flatten_json(
        "object-add", json_object_to_json_string(args), errp);
    g_autoptr(VmKeyval) kv =
        flat ? vm_keyval_parse("object-add", flat, NULL, errp) : NULL;

    return kv && vm_object_add(opaque, vm_keyval_get(kv, "qom-type"),
                               vm_keyval_get(kv, "id"), kv, errp);
}

static bool run_object_del(void *opaque, Monitor *mon, json_object *args,
                           json_object **ret_value, GError **errp)
{
    return object_del(opaque, qmp_arg_str(args, "id"), errp);
}

static const QmpArgument add_args[] = {
    { "qom-type", "secret|tls-creds-anon|tls-creds-psk|tls-creds-x509" },
    { "id", "str" },
    { "data", "str", .optional = true },
    { "file", "str", .optional = true },
    { "format", "raw|base64", .optional = true },
    { "keyid", "str", .optional = true },
    { "iv", "str", .optional = true },
    { "endpoint", "client|server", .optional = true },
    { "dir", "str", .optional = true },
    { "verify-peer", "bool", .optional = true },
    { "priority", "str", .optional = true },
    { "passwordid", "str", .optional = true },
    { "sanity-check", "bool", .optional = true },
    { "username", "str", .optional = true },
    { NULL },
};
static const QmpArgument del_args[] = {
    { "id", "str" },
    { NULL },
};

const QmpCommand vm_qmp_object_commands[] = {
    { "object-add", add_args, run_object_add,
      "Makes a secret or TLS credentials." },
    { "object-del", del_args, run_object_del, "Deletes such an object." },
    { NULL },
};
