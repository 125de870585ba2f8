# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: the harness, medians, tables, JSON.

Benchmarks never pass or fail. Everything is measured in turns on the same
machine in the same run, and compared by ratios of medians: absolute numbers
depend on the neighbours.
"""
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                '..', 'native'))

import vmtest  # noqa: E402


TICKS = os.sysconf('SC_CLK_TCK')


def time_s():
    return time.monotonic()


def stat_fields(path):
    """/proc/PID/stat behind the name: [0] is the state."""
    with open(path) as f:
        return f.read().rsplit(')', 1)[1].split()


def process_cpu(pid):
    """User and system time of a process that still runs, and the guest's
    part of it, in seconds."""
    fields = stat_fields('/proc/%d/stat' % pid)
    return ((int(fields[11]) + int(fields[12])) / TICKS,
            int(fields[40]) / TICKS)


def cpu_seconds(vm):
    return process_cpu(vm.process.pid)[0]


def kswapd_cpu():
    """Seconds of all kswapd threads."""
    seconds = 0.0
    for pid in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError):
            with open('/proc/%s/comm' % pid) as f:
                if f.read().startswith('kswapd'):
                    seconds += process_cpu(int(pid))[0]
    return seconds


def machine_cpu():
    """Seconds that the machine's processors were not idle."""
    with open('/proc/stat') as f:
        user, nice, system, _, _, irq, softirq = map(
            int, f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def rss_high_bytes(vm):
    """The kernel's own record of the largest resident size."""
    with open('/proc/%d/status' % vm.process.pid) as f:
        for line in f:
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) * 1024
    return 0


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


def compact_json(tree, depth=2, indent=''):
    """JSON with one line for each thing at that depth: short, and good to
    compare."""
    inner = indent + ' '
    if depth == 0 or not tree or not isinstance(tree, (dict, list)):
        return json.dumps(tree, separators=(',', ':'))
    if isinstance(tree, dict):
        parts = ['%s%s: %s' % (inner, json.dumps(key), compact_json(
            value, depth - 1, inner)) for key, value in tree.items()]
    else:
        parts = [inner + compact_json(value, depth - 1, inner)
                 for value in tree]
    start, end = '{}' if isinstance(tree, dict) else '[]'
    return '%s\n%s\n%s%s' % (start, ',\n'.join(parts), indent, end)


def write_json(path, results):
    if path:
        with open(path, 'w') as f:
            json.dump(results, f, indent=1)
            f.write('\n')


def was_killed(vm):
    """Or is just being killed: QMP closes before the process is gone."""
    try:
        return vm.process.wait(5) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        return False


def with_test(name, function, *args):
    """Runs function(test, ...) with a harness that is cleaned up."""
    test = vmtest.Test(name, vmtest.scratch_root())
    try:
        return function(test, *args)
    except (vmtest.Failure, vmtest.QmpError) as e:
        e.diagnostics = test.diagnostics()
        e.killed = any(was_killed(vm) for vm in test.vms)
        raise
    finally:
        test.stop_all()
        test.remove()
