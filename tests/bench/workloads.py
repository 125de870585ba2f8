# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest does in each benchmark of paging (tests/guest/bench*.c)."""

SLACK_MIB = 16  # of RAM: the guest's image, and what it does not use


class Workload:
    """A row of the table below.

    bench: name in the guest. page_op: an operation is a page. warm, rounds:
    that do not count, and that do; of round_ms or longer, if a sweep takes
    longer.
    hot: the guest's hot=, as a part of the budget. memory: RAM as a part of
    --mem. systems: who is measured, see lineup.py.
    """

    def __init__(self, name, title, bench, unit, *, page_op=False, warm=2,
                 rounds=4, round_ms=1000, hot=0.0, memory=1.0, budgets=(50, 25),
                 systems='pair'):
        self.name = name
        self.title = title
        self.bench = bench
        self.unit = unit
        self.mib_per_op = 4096 / (1 << 20) if page_op else 0
        self.warm = warm
        self.rounds = rounds
        self.round_ms = round_ms
        self.hot = hot
        self.memory = memory
        self.budgets = budgets
        self.systems = systems

    def mem_mib(self, args):
        return int(args.mem * self.memory)

    def budgets_of(self, args):
        """Percents of RAM."""
        if self.systems == 'room':
            return self.budgets
        return args.budget or (self.budgets[:1] if args.quick else
                               self.budgets)

    def append(self, args, budget_mib):
        """The guest's parameters."""
        out = {'bench': self.bench, 'mib': self.mem_mib(args) - SLACK_MIB,
               'warm': self.warm, 'rounds': self.rounds,
               'round': self.round_ms,
               'settle': 500, 'read': 90, 'record': 8, 'cpus': args.smp}
        if args.quick:
            out['round'], out['settle'] = min(self.round_ms, 200), 100
            out['warm'], out['rounds'] = min(self.warm, 1), 1
        if self.hot:
            out['hot'] = int(budget_mib * self.hot)
        return out


ALL = [
    Workload('seq-read', 'sequential read sweep, verified', 'seq-read',
             'pages', page_op=True, warm=1, rounds=1, round_ms=2000),
    Workload('seq-write', 'sequential write sweep', 'seq-write', 'pages',
             page_op=True, warm=1, rounds=1, round_ms=2000),
    Workload('rand-read', 'uniform random 4 KiB, read', 'rand-read',
             'accesses'),
    Workload('rand-rmw', 'uniform random 4 KiB, incremented', 'rand-rmw',
             'accesses'),
    Workload('kv', 'Zipf 0.99 key-value, 90 % gets', 'kv', 'operations',
             warm=6),
    Workload('hot-scan', 'hot set of 60 % of the budget, and a scan',
             'hot-scan', 'accesses', hot=0.6),
    Workload('page-out', 'new memory written, faster than the device',
             'page-out', 'pages', page_op=True, warm=0, rounds=1, round_ms=0,
             hot=0.8, memory=2.0, budgets=(50,)),
    Workload('sort', 'quicksort of 64-byte records in place', 'sort',
             'records',
             warm=0, rounds=1, round_ms=0, memory=1 / 3, systems='chunks'),
    Workload('memory', 'random increments, all in RAM', 'increments',
             'accesses', warm=1, budgets=(110,), systems='room'),
]


def named(words):
    """Workloads whose name contains one of the words; all without words."""
    return [w for w in ALL
            if not words or any(word in w.name for word in words)]
