/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "-option value,key=val,key=val" as QEMU's command line spells it: ",,"
 * stands for a comma inside a value; "key" alone means "key=on" and "nokey"
 * is not supported; the first element may lack its key (implied_key).
 *
 * Threads: any; a VmKeyval has one owner.
 */
#ifndef VM_UTIL_KEYVAL_H
#define VM_UTIL_KEYVAL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmKeyval VmKeyval;

/* option ("-device") is used in messages. implied_key may be NULL. */
VmKeyval *vm_keyval_parse(const char *option, const char *text,
                          const char *implied_key, GError **errp);
void vm_keyval_free(VmKeyval *kv);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmKeyval, vm_keyval_free)

/*
 * Each getter marks the key as used. NULL or the default when absent; of a
 * key given several times the last value counts (vm_keyval_foreach() sees
 * them all). Bad values fill errp and return false. Strings live until the
 * VmKeyval is freed.
 */
const char *vm_keyval_get(VmKeyval *kv, const char *key);
bool vm_keyval_get_bool(VmKeyval *kv, const char *key, bool default_value,
                        bool *ret, GError **errp);
bool vm_keyval_get_u64(VmKeyval *kv, const char *key, uint64_t default_value,
                       uint64_t *ret, GError **errp);
bool vm_keyval_get_size(VmKeyval *kv, const char *key, uint64_t default_value,
                        uint64_t *ret, GError **errp);
/* As if ",key=value" stood at the end of the text. */
void vm_keyval_set(VmKeyval *kv, const char *key, const char *value);
/* Calls fn for each pair in order of appearance; marks them as used. */
void vm_keyval_foreach(VmKeyval *kv,
                       void (*fn)(const char *key, const char *value,
                                  void *opaque),
                       void *opaque);

/*
 * Fails, naming the first key that no getter asked for:
 * "-device: Property 'virtio-blk-pci.foo' not found" style is the caller's;
 * here: "OPTION: unknown parameter 'KEY'".
 */
bool vm_keyval_check_all_used(VmKeyval *kv, GError **errp);

#endif
