# SPDX-License-Identifier: GPL-2.0-or-later
"""Very large and mostly empty guests: does the cost grow with RAM?

The guest touches 1 GiB in groups of 16 pages that are spread over all of its
RAM, under a budget of half of that.
"""
import os
import subprocess
import time

import bench
import kernel_swap
import systems
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


def loop_device(test, mib):
    """A block device over a sparse file, for guests that are larger than the
    file system. File and device are gone when the VMM has closed it."""
    path = os.path.join(test.dir, 'sparse')
    with open(path, 'wb') as f:
        f.truncate(mib * MIB)
    try:
        done = subprocess.run(
            [kernel_swap.tool('losetup'), '--find', '--show',
             '--direct-io=on', path], check=True, capture_output=True,
            text=True)
        return done.stdout.strip()
    finally:
        os.unlink(path)


def let_go(device):
    """In use: the kernel detaches it at the last close."""
    subprocess.run([kernel_swap.tool('losetup'), '--detach', device],
                   check=True)


def status_mib(vm, key):
    with open('/proc/%d/status' % vm.process.pid) as f:
        for line in f:
            if line.startswith(key + ':'):
                return int(line.split()[1]) / 1024
    return 0.0


def start_ms(guest, vm, begin):
    """From the command line to the guest's first line."""
    at, _ = guest.wait(r'.*G ', timeout=120, alive=[vm])
    return (guest.lines[at][0] - begin) * 1000, at


def plain_start_ms(test, size, args, mem):
    """The same guest without -vmemdirect: KVM itself has tables for all of
    RAM where there is no second level of page tables in hardware."""
    guest = test.guest()
    begin = time.monotonic()
    vm = test.vm(guest, 'plain', mem=mem, append=append(size, args),
                 extra=('-cpu', 'host'))
    out, _ = start_ms(guest, vm, begin)
    vm.kill()
    return out


def run(test, args, gib):
    size, mem = Size(args), gib * GIB_MIB
    plain_ms = plain_start_ms(test, size, args, mem)
    guest = test.guest()
    device = loop_device(test, mem)
    try:
        begin = time.monotonic()
        # -cpu host: the default one has 40 bits of physical address.
        vm = test.vm(guest, 'vm', mem=mem, append=append(size, args),
                     vmemdirect={'memory': size.budget_mib, 'swap': device},
                     extra=('-cpu', 'host'))
    finally:
        let_go(device)
    started_ms, at = start_ms(guest, vm, begin)
    start, _ = guest.wait(r'M$', at, 300, [vm])
    ours = systems.Ours()
    before = ours.read(vm)
    end, _ = guest.wait(r'R 1 ', start, 300, [vm])
    after = ours.read(vm)
    guest.wait(r'END ok', end, 300, [vm])
    out = {'mem-gib': gib, 'start-ms': started_ms,
           'plain-start-ms': plain_ms}
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
    """Why there can be no such guest here, or None."""
    if os.geteuid() != 0:
        return 'loop devices need root'
    if kernel_swap.tool('losetup') is None:
        return 'no losetup'
    if not os.path.exists('/dev/loop-control'):
        return 'no /dev/loop-control'
    return None
