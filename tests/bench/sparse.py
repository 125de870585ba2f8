# SPDX-License-Identifier: GPL-2.0-or-later
"""Very large and mostly empty guests: does the cost grow with RAM?

The guest touches 1 GiB in groups of 16 pages that are spread over all of its
RAM, under a budget of half of that.
"""
import os
import time

import bench
import systems
import vmtest
from vmtest import MIB

GIB_MIB = 1024
IDLE_S = 10


class Size:
    """What systems.run() wants to know of a workload."""

    mib_per_op = 0

    def __init__(self, args):
        self.touched_mib = 128 if args.quick else 1024
        self.budget_mib = self.touched_mib // 2


def append(size, args):
    return {'bench': 'rand-read', 'spread': 1, 'mib': size.touched_mib,
            'warm': 1, 'rounds': 1, 'round': 300 if args.quick else 3000,
            'settle': 100, 'check': 1}


def accepted_budget_mib(test, mem_mib, budget_mib):
    """A swap file must be able to hold RAM less the budget when the VM
    starts, so a larger guest starts with more, and is given the budget before
    it runs."""
    fs = os.statvfs(test.dir)
    file_mib = fs.f_blocks * fs.f_frsize // MIB // 2
    return max(mem_mib - file_mib, budget_mib)


def status_mib(vm, key):
    with open('/proc/%d/status' % vm.process.pid) as f:
        for line in f:
            if line.startswith(key + ':'):
                return int(line.split()[1]) / 1024
    return 0.0


def run(test, args, gib):
    size, mem = Size(args), gib * GIB_MIB
    guest = test.guest()
    begin = time.monotonic()
    # -cpu host: the default one has 40 bits of physical address.
    vm = test.vm(guest, 'vm', mem=mem, append=append(size, args),
                 vmemdirect={'memory': accepted_budget_mib(
                     test, mem, size.budget_mib)},
                 extra=('-cpu', 'host', '-S'))
    built = time.monotonic()
    vm.set_budget(size.budget_mib)
    resumed = time.monotonic()
    vm.run('cont')
    at, _ = guest.wait(r'.*G ', timeout=120, alive=[vm])
    first_line = guest.lines[at][0]
    start, _ = guest.wait(r'M$', at, 300, [vm])
    ours = systems.Ours()
    before = ours.read(vm)
    end, _ = guest.wait(r'R 1 ', start, 300, [vm])
    after = ours.read(vm)
    guest.wait(r'END ok', end, 300, [vm])
    out = {'mem-gib': gib, 'start-ms':
           (built - begin + first_line - resumed) * 1000}
    out.update(systems.rounds_of(guest, start, end, size))
    out.update(systems.between(before, after))
    out.pop('engine-fault-hist', None)
    out.update(idle(vm, 1 if args.quick else IDLE_S))
    out.update(memory(vm))
    return out


def idle(vm, seconds):
    """The guest has halted; what the engine costs by itself."""
    time.sleep(1)
    begin, before = time.monotonic(), bench.cpu_seconds(vm)
    time.sleep(seconds)
    cpu = bench.cpu_seconds(vm) - before
    return {'idle-cpu-percent': 100 * cpu / (time.monotonic() - begin)}


def memory(vm):
    """What the process has beside the guest's pages."""
    p = vm.paging()
    paged = (p['resident-bytes'] + p['frames-bytes']) / MIB
    return {'metadata-mib': status_mib(vm, 'RssAnon') - paged,
            'page-tables-mib': status_mib(vm, 'VmPTE'),
            'rss-max-mib': max(vm.rss_max, bench.rss_high_bytes(vm)) / MIB,
            'budget-mib': vm.budget_mib}


def sizes(args):
    return (4, 16) if args.quick else (64, 1024)


def reason():
    return vmtest.userfaultfd_reason()
