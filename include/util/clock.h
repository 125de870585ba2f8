/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Time. Threads: any. */
#ifndef VM_UTIL_CLOCK_H
#define VM_UTIL_CLOCK_H

#include <stdint.h>

#define VM_NS_PER_SEC 1000000000LL
#define VM_NS_PER_MS 1000000LL
#define VM_NS_PER_US 1000LL

int64_t vm_clock_ns(void);      /* CLOCK_MONOTONIC */
int64_t vm_clock_real_ns(void); /* CLOCK_REALTIME  */

#endif
