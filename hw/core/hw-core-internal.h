/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of hw/core. */
#ifndef VM_HW_CORE_INTERNAL_H
#define VM_HW_CORE_INTERNAL_H

#include "hw/core/machine.h"

/* NULL is fine. */
void irq_line_free(IrqLine *line);

#endif
