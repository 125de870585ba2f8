# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: the harness, medians, tables, JSON.

Benchmarks never pass or fail. Everything is measured in turns on the same
machine in the same run, and compared by ratios of medians: absolute numbers
depend on the neighbours.
"""
import json
import os
import statistics
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                '..', 'native'))

import vmtest  # noqa: E402


def cpu_seconds(vm):
    """User and system time of a process that still runs."""
    with open('/proc/%d/stat' % vm.process.pid) as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def machine():
    """Where the numbers come from."""
    model = 'unknown processor'
    with open('/proc/cpuinfo') as f:
        for line in f:
            if line.startswith('model name'):
                model = line.split(':', 1)[1].strip()
                break
    return {'kernel': os.uname().release, 'processor': model,
            'processors': os.cpu_count(), 'load': os.getloadavg()[0]}


def median(values):
    return statistics.median(values)


def spread(values):
    """Interquartile range as part of the median."""
    if len(values) < 4 or median(values) == 0:
        return 0.0
    q = statistics.quantiles(values, n=4)
    return (q[2] - q[0]) / median(values)


def print_table(head, rows):
    table = [head] + [[c if isinstance(c, str) else '%.4g' % c for c in row]
                      for row in rows]
    widths = [max(len(r[i]) for r in table) for i in range(len(head))]
    for row in table:
        print('  '.join(c.ljust(w) if i == 0 else c.rjust(w)
                        for i, (c, w) in enumerate(zip(row, widths))))


def write_json(path, results):
    if path:
        with open(path, 'w') as f:
            json.dump(results, f, indent=1)
            f.write('\n')


def with_test(name, function, *args):
    """Runs function(test, ...) with a harness that is cleaned up."""
    test = vmtest.Test(name, vmtest.scratch_root())
    try:
        return function(test, *args)
    except (vmtest.Failure, vmtest.QmpError):
        print('\n'.join(test.diagnostics()), file=sys.stderr)
        raise
    finally:
        test.stop_all()
        test.remove()
