/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MC146818 real-time clock and CMOS RAM (ports 0x70, 0x71, IRQ 8).
 *
 * Threads: main thread; see hw/core/device.h.
 */
#ifndef VM_HW_RTC_MC146818_H
#define VM_HW_RTC_MC146818_H

#include "hw/core/machine.h"

#define RTC_IRQ 8
#define RTC_CMOS_CENTURY 0x32

typedef struct Rtc Rtc;

/* offset_s: the clock's time minus the host's UTC. The machine owns it. */
Rtc *rtc_new(Machine *machine, int64_t offset_s);
/* What firmware would have left in CMOS RAM; index 0x0e to 0x7f. */
void rtc_set_cmos(Rtc *rtc, unsigned index, uint8_t value);

#endif
