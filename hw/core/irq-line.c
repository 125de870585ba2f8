/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt lines: the wired OR between devices and one pin of the chips.
 *
 * Why: PCI devices share level-triggered pins, and the in-kernel chips take
 * one level a pin, so somebody has to know who still pulls.
 *
 * Invariants:
 *   (1) raised is the number of sources whose level is true.
 *   (2) The chips were last told raised > 0; changes reach them in the order
 *       in which they were made, hence set_line() runs under the lock.
 *
 * Threads: irq_line_set() by any; the rest by the main thread before the VM
 * runs. Lock: line->lock, rank VM_RANK_IRQ.
 */
#include "hw-core-internal.h"

struct IrqLine {
    /* Immutable. */
    Machine *machine;
    unsigned gsi;

    /* Protected by lock. */
    VmMutex lock;
    GByteArray *levels; /* one byte a source */
    unsigned raised;
};

IrqLine *irq_line_get(Machine *machine, unsigned gsi)
{
    IrqLine *line;

    g_assert(gsi < MACHINE_GSIS);
    if (machine->lines[gsi]) {
        return machine->lines[gsi];
    }
    line = g_new0(IrqLine, 1);
    line->machine = machine;
    line->gsi = gsi;
    line->levels = g_byte_array_new();
    vm_mutex_init(&line->lock, VM_RANK_IRQ);
    machine->lines[gsi] = line;
    return line;
}

void irq_line_free(IrqLine *line)
{
    if (!line) {
        return;
    }
    vm_mutex_done(&line->lock);
    g_byte_array_unref(line->levels);
    g_free(line);
}

unsigned irq_line_add_source(IrqLine *line)
{
    const uint8_t low = 0;
    unsigned source;

    vm_mutex_lock(&line->lock);
    source = line->levels->len;
    g_byte_array_append(line->levels, &low, 1);
    vm_mutex_unlock(&line->lock);
    return source;
}

void irq_line_set(IrqLine *line, unsigned source, bool level)
{
    const InterruptOps *ops = line->machine->interrupts;
    bool before;

    vm_mutex_lock(&line->lock);
    g_assert(source < line->levels->len);
    before = line->raised > 0;
    if (line->levels->data[source] != level) {
        line->levels->data[source] = level;
        line->raised += level ? 1 : -1;
    }
    if (before != (line->raised > 0)) {
        ops->set_line(line->machine->interrupts_opaque, line->gsi, !before);
    }
    vm_mutex_unlock(&line->lock);
}
