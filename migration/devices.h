/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The devices of a VM, into and out of DEVICE records.
 *
 * Threads: the job's thread.
 */
#ifndef VM_MIGRATION_DEVICES_H
#define VM_MIGRATION_DEVICES_H

#include "migration/migration.h"
#include "stream.h"

/* Source, VM stopped: sends them all; *ret_count of them. */
bool mig_devices_send(const MigrationVm *vm, MigStream *s,
                      uint64_t *ret_count, GError **errp);

/* Destination: what was received, kept until all of RAM is there. */
typedef struct MigDeviceStore MigDeviceStore;

MigDeviceStore *mig_device_store_new(void);
void mig_device_store_free(MigDeviceStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigDeviceStore, mig_device_store_free)

/* Reads the body of a DEVICE record of len bytes. */
bool mig_device_store_receive(MigDeviceStore *store, MigStream *s,
                              uint64_t len, GError **errp);
uint64_t mig_device_store_count(const MigDeviceStore *store);
/* Loads each device of the VM, in its order. Each must be there once, and
 * nothing else. */
bool mig_device_store_load(const MigDeviceStore *store, const MigrationVm *vm,
                           GError **errp);

#endif
