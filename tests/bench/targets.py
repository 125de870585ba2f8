# SPDX-License-Identifier: GPL-2.0-or-later
"""What was aimed at, and whether it was reached.

Each target is a ratio of figures of the same run; its value is the median
over the runs, with the smallest and the largest beside it. What could not be
measured has no value and is not reached.
"""
import bench

PAGED = ('seq-read', 'seq-write', 'rand-read', 'rand-rmw', 'kv', 'hot-scan',
         'page-out')
RSS_MARGIN_MIB = 64
FLAT = 1.2  # how much worse per GiB still counts as flat


class Results:
    """The runs, to be asked for figures by workload, budget and system."""

    def __init__(self, results):
        self.raw = results.get('raw', [])
        self.sparse = results.get('sparse', [])
        self.runs = results.get('runs', [])

    def budgets(self, workload):
        return sorted({r['budget-percent'] for r in self.runs
                       if r['workload'] == workload}, reverse=True)

    def figures(self, workload, budget, system, path):
        """{run: figure}; path as in 'latency/read/fault-us/p50'."""
        out = {}
        for r in self.runs:
            if (r['workload'], r['budget-percent'], r['system']) == (
                    workload, budget, system):
                value = dig(r, path)
                if value is not None:
                    out[r['run']] = value
        return out

    def raw_figures(self, path):
        return {run: dig(raw, path) for run, raw in enumerate(self.raw)
                if raw is not None}


def dig(tree, path):
    for name in path.split('/'):
        if not isinstance(tree, dict) or tree.get(name) is None:
            return None
        tree = tree[name]
    return tree


def ratios(a, b):
    """Of the runs that have both."""
    return [a[run] / b[run] for run in sorted(a) if b.get(run)]


class Line:
    """A target's row."""

    def __init__(self, name, values, want, at_least):
        self.name = name
        self.values = values
        self.want = want
        self.at_least = at_least

    @property
    def value(self):
        return bench.median(self.values) if self.values else None

    @property
    def reached(self):
        if self.value is None:
            return False
        return self.value >= self.want if self.at_least else \
            self.value <= self.want

    def as_dict(self):
        return {'name': self.name, 'value': self.value,
                'values': self.values, 'want': self.want,
                'at-least': self.at_least, 'reached': self.reached}


def at_least(name, values, want):
    return Line(name, values, want, True)


def at_most(name, values, want):
    return Line(name, values, want, False)


def against_rival(r, workload, budget, path='ops-per-s'):
    return ratios(r.figures(workload, budget, 'ours', path),
                  r.figures(workload, budget, 'kernel-swap', path))


def sequential(r):
    for budget in r.budgets('seq-read'):
        raw = r.raw_figures('read-1m-qd8/read/mib-per-s')
        for path, what in (('mib-per-s', 'seen by the guest'),
                           ('page-in-mib-per-s', 'paged in')):
            yield at_least(
                'sequential read %d %%, %s / raw 1 MiB reads, 8 at a time' %
                (budget, what),
                ratios(r.figures('seq-read', budget, 'ours', path), raw),
                0.9)
    for workload, what in (('seq-read', 'read'), ('seq-write', 'write')):
        for budget in r.budgets(workload):
            yield at_least('sequential %s %d %% / kernel swap' %
                           (what, budget),
                           against_rival(r, workload, budget), 2)


def random_access(r):
    raw = 'read-4k-qd1/read/us/'
    # The thread that faults is not the one that reads: one wake-up at least.
    wakes = r.raw_figures('wake/other/p50')
    limit = {run: us + wakes[run]
             for run, us in r.raw_figures(raw + 'p50').items()}
    for budget in r.budgets('rand-read'):
        for path, what in (('latency/read/fault-us', 'guest\'s clock'),
                           ('engine-fault-us', 'engine\'s clock')):
            for p, want in (('p50', 1.3), ('p99', 2)):
                yield at_most(
                    'random read %d %%, %s fault, %s / raw 4 KiB read' %
                    (budget, p, what),
                    ratios(r.figures('rand-read', budget, 'ours',
                                     path + '/' + p),
                           r.raw_figures(raw + p)), want)
        yield at_most(
            'random read %d %%, p50 fault, guest\'s clock / raw 4 KiB read and '
            'one wake-up' % budget,
            ratios(r.figures('rand-read', budget, 'ours',
                             'latency/read/fault-us/p50'), limit), 1.3)
    for workload, what in (('rand-read', 'read'),
                           ('rand-rmw', 'increment')):
        for budget in r.budgets(workload):
            yield at_least('random %s %d %% / kernel swap' % (what, budget),
                           against_rival(r, workload, budget), 1.2)


def mixed(r):
    for workload, what, want in (('kv', 'Zipf key-value', 1.25),
                                 ('hot-scan', 'hot set and scan', 2)):
        for budget in r.budgets(workload):
            yield at_least('%s %d %% / kernel swap' % (what, budget),
                           against_rival(r, workload, budget), want)


def sort(r):
    for budget in r.budgets('sort'):
        speed = {name: r.figures('sort', budget, name, 'ops-per-s')
                 for name in sorted({run['system'] for run in r.runs
                                     if run['workload'] == 'sort'})}
        rival = speed.pop('kernel-swap', {})
        yield at_most(
            'sort %d %%, time with 256 pages a chunk / with 1' % budget,
            ratios(speed.get('ours chunk-pages=1', {}),
                   speed.get('ours chunk-pages=256', {})), 0.08)
        best = max(speed, default=None,
                   key=lambda n: bench.median(list(speed[n].values())))
        yield at_least('sort %d %%, the best (%s) / kernel swap' %
                       (budget, best),
                       ratios(speed.get(best, {}), rival), 2)


def cpu(r):
    for workload in PAGED:
        for budget in r.budgets(workload):
            yield at_most(
                'CPU per GiB paged, %s %d %% / kernel swap' %
                (workload, budget),
                against_rival(r, workload, budget, 'cpu-s-per-gib'), 0.5)


def room(r):
    for budget in r.budgets('memory'):
        ours = r.figures('memory', budget, 'ours', 'ops-per-s')
        for name, system in (('', 'ours'),
                             (', chunk-pages=256', 'ours chunk-pages=256')):
            yield at_least(
                'enough budget%s / without -vmemdirect' % name,
                ratios(r.figures('memory', budget, system, 'ops-per-s'),
                       r.figures('memory', budget, 'plain', 'ops-per-s')),
                0.99)
        yield at_least(
            'tracking / tracker=off',
            ratios(ours, r.figures('memory', budget, 'ours tracker=off',
                                   'ops-per-s')), 0.99)


def bounds(r):
    over = [run['rss-max-mib'] - run['budget-mib'] for run in r.runs
            if run['system'].startswith('ours') and 'rss-max-mib' in run and
            run['workload'] != 'memory']
    yield at_most('resident size above memory=, MiB, of all runs',
                  [max(over)] if over else [], RSS_MARGIN_MIB)


def sparse(r):
    by_size = {}
    for s in r.sparse:
        by_size.setdefault(s['mem-gib'], []).append(s)
    if len(by_size) < 2:
        return
    small, large = by_size[min(by_size)], by_size[max(by_size)]
    yield at_most('metadata / RAM, %d GiB, %%' % max(by_size),
                  [100 * s['metadata-mib'] / 1024 / s['mem-gib']
                   for s in large], 0.1)
    yield at_most('start-up, %d GiB / without -vmemdirect' % max(by_size),
                  [s['start-ms'] / s['plain-start-ms'] for s in large
                   if s.get('plain-start-ms')], FLAT)
    for key, what in (('start-ms', 'start-up'), ('metadata-mib', 'metadata'),
                      ('idle-cpu-percent', 'CPU while idle'),
                      ('cpu-s-per-gib', 'CPU per GiB paged')):
        # Start-up, metadata and idling may grow with RAM, paging may not.
        each = 1 if key == 'cpu-s-per-gib' else max(by_size) / min(by_size)
        yield at_most('%s%s, %d GiB / %d GiB' % (
            what, '' if each == 1 else ' per GiB', max(by_size),
            min(by_size)),
            [b[key] / each / a[key] for a, b in zip(small, large)
             if a.get(key) and b.get(key) is not None], FLAT)


def lines(results):
    r = Results(results)
    return [line for group in (sequential, random_access, mixed, sort, cpu,
                               room, bounds, sparse)
            for line in group(r)]
