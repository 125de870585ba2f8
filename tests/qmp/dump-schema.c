/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints QMP's tables, one line a command, argument, event or member:
 *
 *   command NAME | argument NAME TYPE [optional] | event NAME | member ...
 *
 * so that docs/qmp.md can be compared with them. Linked with the same tables
 * as the real binary.
 */
#include <stdio.h>

#include "system-internal.h"

static void dump_arguments(const char *word, const QmpArgument *table)
{
    for (const QmpArgument *a = table; a && a->name; a++) {
        printf("%s %s %s%s\n", word, a->name, a->type,
               a->optional ? " optional" : "");
    }
}

static void dump_commands(const QmpCommand *table)
{
    for (const QmpCommand *c = table; c->name; c++) {
        printf("command %s\n", c->name);
        dump_arguments("argument", c->arguments);
    }
}

int main(void)
{
    dump_commands(monitor_commands);
    dump_commands(vm_qmp_run_commands);
    dump_commands(vm_qmp_query_commands);
    dump_commands(vm_qmp_block_commands);
    dump_commands(vm_qmp_cpu_commands);
    dump_commands(vm_qmp_probe_commands);
    dump_commands(vm_qmp_migration_commands);
    dump_commands(vm_qmp_vmemdirect_commands);
    dump_commands(vm_qmp_balloon_commands);
    dump_commands(vm_qmp_qom_commands);
    dump_commands(vm_qmp_object_commands);
    for (const QmpEventInfo *e = vm_qmp_events; e->name; e++) {
        printf("event %s\n", e->name);
        dump_arguments("member", e->members);
    }
    return 0;
}
