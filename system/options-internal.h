/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the option files share: the handlers that the table names.
 *
 * Each handler reads arg (NULL for flags) into o. opt is the option with its
 * dash, for messages.
 */
#ifndef VM_SYSTEM_OPTIONS_INTERNAL_H
#define VM_SYSTEM_OPTIONS_INTERNAL_H

#include "system/options.h"

typedef bool VmOptionHandler(VmOptions *o, const char *opt, const char *arg,
                             GError **errp);

/* options-machine.c */
VmOptionHandler opt_machine, opt_accel, opt_enable_kvm, opt_cpu, opt_memory,
    opt_smp, opt_kernel, opt_initrd, opt_append, opt_rtc, opt_boot,
    opt_global, opt_overcommit, opt_object, opt_vmemdirect;
/* options-process.c */
VmOptionHandler opt_name, opt_uuid, opt_action, opt_msg, opt_sandbox,
    opt_add_fd, opt_incoming, opt_pidfile, opt_flag;
/* options-devices.c */
VmOptionHandler opt_device, opt_drive, opt_blockdev, opt_netdev, opt_nic,
    opt_net, opt_chardev, opt_serial, opt_parallel, opt_monitor, opt_qmp,
    opt_qmp_pretty, opt_mon, opt_debugcon, opt_display, opt_vga,
    opt_audiodev;

/* Once all options are read: swap-dir= of -vmemdirect becomes swap=. */
bool options_swap_dir(VmOptions *o, GError **errp);

/* Key-value or JSON text; every later check of used keys is the caller's. */
VmKeyval *options_keyval(const char *opt, const char *arg,
                         const char *implied_key, GError **errp);
/* "OPT: KEY=VALUE is not supported": for values that exist in QEMU. */
bool options_refuse(const char *opt, const char *key, const char *value,
                    GError **errp);
/* The key must be absent or have one of the words. */
bool options_accept_only(VmKeyval *kv, const char *opt, const char *key,
                         const char *const *words, GError **errp);

#endif
