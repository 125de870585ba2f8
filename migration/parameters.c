/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parameters of migration: QEMU's names, limits and defaults.
 *
 * Threads: constants.
 */
#include "migration-internal.h"

#include <inttypes.h>

#include "util/error.h"

#define PARAMETER(name, member, minimum, maximum, initial) \
    { name, offsetof(MigrationParameters, member), minimum, maximum, initial }

const MigrationParameterInfo migration_parameter_infos[] = {
    PARAMETER("max-bandwidth", max_bandwidth_bytes_per_s, 0, UINT64_MAX,
              128u << 20),
    PARAMETER("downtime-limit", downtime_limit_ms, 0, 2000000, 300),
    PARAMETER("avail-switchover-bandwidth", switchover_bandwidth_bytes_per_s,
              0, UINT64_MAX, 0),
    PARAMETER("announce-initial", announce_initial_ms, 0, 100000, 50),
    PARAMETER("announce-max", announce_max_ms, 0, 100000, 550),
    PARAMETER("announce-rounds", announce_rounds, 0, 1000, 5),
    PARAMETER("announce-step", announce_step_ms, 1, 10000, 100),
    PARAMETER("throttle-trigger-threshold", throttle_trigger_threshold, 1,
              100, 50),
    PARAMETER("cpu-throttle-initial", cpu_throttle_initial, 1, 99, 20),
    PARAMETER("cpu-throttle-increment", cpu_throttle_increment, 1, 99, 10),
    { "cpu-throttle-tailslow",
      offsetof(MigrationParameters, cpu_throttle_tailslow), 0, 1, 0,
      .is_bool = true },
    PARAMETER("max-cpu-throttle", max_cpu_throttle, 1, 99, 99),
    PARAMETER("multifd-channels", multifd_channels, 1, 255, 2),
};
const size_t migration_parameter_count =
    G_N_ELEMENTS(migration_parameter_infos);

static uint64_t *value_at(MigrationParameters *p,
                          const MigrationParameterInfo *info)
{
    return (uint64_t *)((char *)p + info->offset);
}

void mig_parameters_init(MigrationParameters *p)
{
    for (size_t i = 0; i < migration_parameter_count; i++) {
        *value_at(p, &migration_parameter_infos[i]) =
            migration_parameter_infos[i].initial;
    }
}

bool mig_parameters_check(const MigrationParameters *p, GError **errp)
{
    MigrationParameters copy = *p;

    for (size_t i = 0; i < migration_parameter_count; i++) {
        const MigrationParameterInfo *info = &migration_parameter_infos[i];
        uint64_t value = *value_at(&copy, info);

        if (value < info->minimum || value > info->maximum) {
            return vm_error_set(errp, 0,
                                "Parameter '%s' expects an integer in the "
                                "range of %" PRIu64 " to %" PRIu64,
                                info->name, info->minimum, info->maximum);
        }
    }
    if (p->max_cpu_throttle < p->cpu_throttle_initial) {
        return vm_error_set(errp, 0,
                            "Parameter 'max-cpu-throttle' expects an integer "
                            "in the range of cpu-throttle-initial to 99");
    }
    return true;
}
