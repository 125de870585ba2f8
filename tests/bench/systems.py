# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compared: our binary, stock QEMU on kernel swap, and how each is
started and read."""
import os

import bench
import histogram
import kernel_swap
import vmtest
from vmtest import MIB

PERCENTS = (50, 90, 99, 99.9)
ROOM_MIB = 256
# What the rival gets beyond the budget when the kernel has killed it.
SPARE_STEP_MIB = 16
SPARE_MAX_MIB = 64


class Reading:
    """Counters at one moment: time, CPU, paging; guest RAM in memory."""

    def __init__(self, vm, paged_bytes, latency=None, resident_bytes=None):
        self.time = bench.time_s()
        self.cpu, self.guest = bench.process_cpu(vm.process.pid)
        self.kswapd = bench.kswapd_cpu()
        self.machine = bench.machine_cpu()
        self.paged = paged_bytes
        self.latency = latency
        self.resident = resident_bytes


class Ours:
    """Our binary; options: of -vmemdirect beside swap and memory."""

    def __init__(self, name='ours', options=None):
        self.name = name
        self.options = options or {}

    def start(self, test, guest, workload, args, budget_mib):
        return test.vm(guest, 'vm', mem=workload.mem_mib(args), smp=args.smp,
                       vmemdirect={'memory': budget_mib, **self.options},
                       append=self.append(workload, args, budget_mib))

    def append(self, workload, args, budget_mib):
        out = workload.append(args, budget_mib)
        out['check'] = 1
        return out

    def filled(self, vm, budget_mib):
        pass

    def read(self, vm):
        p = vm.paging()
        return Reading(vm, (p['page-in-bytes'], p['page-out-bytes']),
                       p['fault-latency'], p['resident-bytes'])


class Plain(Ours):
    """Our binary without -vmemdirect."""

    def __init__(self):
        super().__init__('plain')

    def start(self, test, guest, workload, args, budget_mib):
        return test.vm(guest, 'vm', mem=workload.mem_mib(args), smp=args.smp,
                       append=self.append(workload, args, budget_mib))

    def read(self, vm):
        return Reading(vm, (0, 0))


class Stock:
    """Stock QEMU in a squeezed memory cgroup."""

    name = 'kernel-swap'

    def __init__(self, huge=False):
        self.huge = huge
        if huge:
            self.name = 'kernel-swap-huge'
        self.swap = None
        self.spare_mib = 0  # beyond the budget, for it to survive

    def start(self, test, guest, workload, args, budget_mib):
        mem = workload.mem_mib(args)
        # More than twice of what is swapped: a kernel whose swap is half
        # full gives up the copies of pages that it has read.
        self.swap = kernel_swap.KernelSwap(test.dir, 2 * mem + ROOM_MIB)
        test.cleanup(self.close)
        self.swap.roomy(mem + ROOM_MIB)
        return test.vm(guest, 'vm', stock=True, mem=mem, smp=args.smp,
                       prefix=self.swap.prefix(self.huge),
                       append=workload.append(args, budget_mib))

    def filled(self, vm, budget_mib):
        vm.run('stop')
        self.swap.squeeze(vm.process.pid, budget_mib * MIB,
                          self.spare_mib * MIB)
        vm.run('cont')

    def read(self, vm):
        return Reading(vm, kernel_swap.swapped_bytes(), resident_bytes=
                       kernel_swap.ram_rss_bytes(vm.process.pid))

    def close(self):
        if self.swap is not None:
            self.swap.close()
            self.swap = None


class RoomyStock:
    """Stock QEMU with all the memory that it wants."""

    name = 'stock'

    def start(self, test, guest, workload, args, budget_mib):
        return test.vm(guest, 'vm', stock=True, mem=workload.mem_mib(args),
                       smp=args.smp, append=workload.append(args, budget_mib))

    def filled(self, vm, budget_mib):
        pass

    def read(self, vm):
        return Reading(vm, (0, 0))


def times(hist, floor=0):
    """Percentiles in us."""
    slow = histogram.above(hist, floor)
    out = {'share': histogram.total(slow) / max(histogram.total(hist), 1)}
    for p in PERCENTS:
        value = histogram.percentile(slow, p)
        out['p%g' % p] = value / 1000 if value is not None else None
    return out


def between(a, b):
    """What two readings say of the time between them."""
    paged_in = (b.paged[0] - a.paged[0]) / MIB
    paged_out = (b.paged[1] - a.paged[1]) / MIB
    guest = b.guest - a.guest
    cpu = b.cpu - a.cpu - guest + b.kswapd - a.kswapd
    wall = b.time - a.time
    gib = (paged_in + paged_out) / 1024
    out = {'wall-s': wall, 'page-in-mib': paged_in,
           'page-out-mib': paged_out, 'page-in-mib-per-s': paged_in / wall,
           'page-out-mib-per-s': paged_out / wall, 'vmm-cpu-s': cpu,
           'guest-cpu-s': guest,
           'machine-cpu-s': b.machine - a.machine - guest}
    if gib > 0.01:
        out['cpu-s-per-gib'] = cpu / gib
        out['machine-cpu-s-per-gib'] = out['machine-cpu-s'] / gib
    if b.resident is not None:
        out['guest-ram-mib'] = b.resident / MIB
    if a.latency is not None:
        hist = histogram.from_engine(b.latency, a.latency)
        out['engine-fault-us'] = times(hist)
        out['engine-fault-hist'] = hist
    return out


def rounds_of(guest, start, end, workload):
    """Throughput over the rounds that count, from the guest's lines."""
    ops = us = 0
    for _, _, text in guest.lines[start:end + 1]:
        if text.startswith('R '):
            _, _, n, t = text.split()
            ops, us = ops + int(n), us + int(t)
    out = {'ops': ops, 'ops-per-s': ops * 1e6 / us}
    if workload.mib_per_op:
        out['mib-per-s'] = out['ops-per-s'] * workload.mib_per_op
    return out


def histograms_of(guest, start):
    _, m = guest.wait(r'.*G .*mhz=(\d+)')
    out = {}
    for _, _, text in guest.lines[start:]:
        if text.startswith('H '):
            _, name, *rest = text.split(' ', 2)
            hist = histogram.from_guest(rest[0] if rest else '',
                                        int(m.group(1)))
            out[name] = {'all-us': times(hist),
                         'fault-us': times(hist, histogram.FAULT_NS),
                         'hist': hist}
    return out


def run(test, system, workload, args, budget_percent):
    """One VM, one workload: everything that was measured."""
    budget_mib = workload.mem_mib(args) * budget_percent // 100
    guest = test.guest()
    vm = system.start(test, guest, workload, args, budget_mib)
    _, m = guest.wait(r'F (\d+) (\d+)', timeout=300, alive=[vm])
    system.filled(vm, budget_mib)
    start, _ = guest.wait(r'M$', timeout=600, alive=[vm])
    begin = system.read(vm)
    wanted = workload.append(args, budget_mib)
    last = wanted['warm'] + wanted['rounds'] - 1
    end, _ = guest.wait(r'R %d ' % last, start, 900, [vm])
    finish = system.read(vm)
    guest.wait(r'END ok', end, 600, [vm])
    out = {'workload': workload.name, 'budget-percent': budget_percent,
           'system': system.name, 'fill-ms': int(m.group(2)) / 1000,
           'budget-mib': budget_mib,
           'rss-max-mib': max(vm.rss_max, bench.rss_high_bytes(vm)) / MIB}
    out.update(rounds_of(guest, start, end, workload))
    out.update(between(begin, finish))
    out['latency'] = histograms_of(guest, end)
    guest.check_right()
    return out


def run_again_if_killed(test_function, system, workload, args,
                        budget_percent, spare):
    """The kernel ends the rival now and then because its group is out of
    memory. It then gets more, also in later runs: spare keeps how much."""
    key = (workload.name, budget_percent, system.name)
    killed = 0
    while True:
        system.spare_mib = spare.get(key, 0)
        try:
            result = test_function(run, system, workload, args,
                                   budget_percent)
            return {**result, 'killed': killed, 'spare-mib': system.spare_mib}
        except vmtest.Failure as e:
            if not isinstance(system, Stock) or not e.killed:
                raise
        killed += 1
        if system.spare_mib == SPARE_MAX_MIB:
            return {'workload': workload.name, 'system': system.name,
                    'budget-percent': budget_percent, 'killed': killed,
                    'spare-mib': system.spare_mib}
        spare[key] = system.spare_mib + SPARE_STEP_MIB


def reasons():
    """System name: why it cannot be measured here."""
    out = {}
    if not os.access(vmtest.STOCK, os.X_OK):
        why = 'no stock QEMU at %s' % vmtest.STOCK
        out[Stock.name] = out[RoomyStock.name] = why
    elif kernel_swap.reason():
        out[Stock.name] = kernel_swap.reason()
    return out
