/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One-shot timers of devices.
 *
 * The callback runs on the machine's I/O thread (machine->io_context) with
 * the device's lock held. Arming, disarming: any thread that holds that lock.
 * New, free: main thread; free when the I/O thread no longer runs.
 */
#ifndef VM_HW_CORE_DEVICE_TIMER_H
#define VM_HW_CORE_DEVICE_TIMER_H

#include "hw/core/machine.h"

typedef struct DeviceTimer DeviceTimer;

DeviceTimer *device_timer_new(Device *dev, void (*fn)(Device *dev));
void device_timer_free(DeviceTimer *timer); /* NULL is fine */
/* deadline_ns is of vm_clock_ns(); replaces an earlier deadline. */
void device_timer_arm(DeviceTimer *timer, int64_t deadline_ns);
void device_timer_disarm(DeviceTimer *timer);

#endif
