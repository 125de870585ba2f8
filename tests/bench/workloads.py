# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest does in each benchmark of paging (tests/guest/bench*.c)."""

SLACK_MIB = 48  # of RAM: the guest's image, and what it does not use


class Workload:
    """A row of the table below.

    bench: name in the guest. unit: what an operation is; mib_per_op if it is
    a matter of memory. warm, rounds: that do not count, and that do. sweep:
    a round is a sweep, not a time. hot: part of the budget that is the hot
    set. vmemdirect: lists of options, each measured as a system of its own.
    """

    def __init__(self, name, title, bench, unit, *, page_op=False, warm=3,
                 rounds=5, sweep=False, hot=0.0, memory=1.0, check=True,
                 budgets=(50, 25), variants=None, kinds=None):
        self.name = name
        self.title = title
        self.bench = bench
        self.unit = unit
        self.mib_per_op = 4096 / (1 << 20) if page_op else 0
        self.warm = warm
        self.rounds = rounds
        self.sweep = sweep
        self.hot = hot
        self.memory = memory
        self.check = check
        self.budgets = budgets
        self.variants = variants
        self.kinds = kinds

    def mem_mib(self, args):
        return int(args.mem * self.memory)

    def append(self, args, budget_mib):
        """The guest's parameters."""
        out = {'bench': self.bench, 'mib': self.mem_mib(args) - SLACK_MIB,
               'warm': self.warm, 'rounds': self.rounds, 'round': 1000,
               'settle': 500, 'read': 90, 'cpus': args.smp}
        if args.quick:
            out['round'], out['settle'] = 200, 100
            out['warm'], out['rounds'] = min(self.warm, 1), 1
        if self.hot:
            out['hot'] = int(budget_mib * self.hot)
        return out


ALL = [
    Workload('seq-read', 'sequential read sweep, verified', 'seq-read',
             'pages', page_op=True, sweep=True, warm=1, rounds=2),
    Workload('seq-write', 'sequential write sweep', 'seq-write', 'pages',
             page_op=True, sweep=True, warm=1, rounds=2),
    Workload('rand-read', 'uniform random 4 KiB, read', 'rand-read',
             'accesses'),
    Workload('rand-rmw', 'uniform random 4 KiB, incremented', 'rand-rmw',
             'accesses'),
    Workload('kv', 'Zipf 0.99 key-value, 90 % gets', 'kv', 'operations'),
]


def named(names):
    """Workloads whose name contains one of the words; all without words."""
    return [w for w in ALL
            if not names or any(n in w.name for n in names)]
