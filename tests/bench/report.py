# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run of the paging benchmark says: tables, as Markdown and as text."""
import bench
import raw_device
import targets

COLUMNS = (('ops-per-s', 'per s'), ('mib-per-s', 'MiB/s'),
           ('page-in-mib-per-s', 'in MiB/s'),
           ('page-out-mib-per-s', 'out MiB/s'), ('fault-share', 'faults'),
           ('fault-p50', 'p50 us'), ('fault-p99', 'p99 us'),
           ('cpu-s-per-gib', 'CPU s/GiB'),
           ('machine-cpu-s-per-gib', 'all CPU s/GiB'),
           ('guest-ram-mib', 'RAM MiB'), ('rss-max-mib', 'RSS MiB'))


def number(value):
    if value is None:
        return ''
    if value >= 1000:
        return '%.0f' % value
    return '%.3g' % value


def flat(run):
    """The columns' figures of a run; faults of its first kind of access."""
    out = {key: run.get(key) for key, _ in COLUMNS}
    for figures in list(run.get('latency', {}).values())[:1]:
        faults = figures['fault-us']
        out['fault-share'] = 100 * faults['share']
        out['fault-p50'], out['fault-p99'] = faults['p50'], faults['p99']
    return out


def groups(results):
    """Runs by (workload, budget, system), in the order of the table."""
    out = {}
    for run in results['runs']:
        key = run['workload'], run['budget-percent'], run['system']
        out.setdefault(key, []).append(run)
    order = list(dict.fromkeys(key[0] for key in out))
    return sorted(out.items(), key=lambda item: (
        order.index(item[0][0]), -item[0][1], item[0][2] != 'ours',
        len(item[0][2]), item[0][2]))


def median_of(rows, key):
    values = [row[key] for row in rows if row[key] is not None]
    return bench.median(values) if values else None


def of_killed(runs):
    """What it took for the rival to survive."""
    killed = sum(run.get('killed', 0) for run in runs)
    if not killed:
        return ''
    return ' (killed %d times; had up to %d MiB more)' % (
        killed, max(run.get('spare-mib', 0) for run in runs))


def figure_rows(results):
    for (workload, budget, system), runs in groups(results):
        good = [flat(run) for run in runs if 'ops' in run]
        row = [workload, '%d %%' % budget, system + of_killed(runs)]
        ops = [row['ops-per-s'] for row in good]
        row += [number(median_of(good, key)) for key, _ in COLUMNS]
        row.insert(4, '%.0f %%' % (100 * bench.spread(ops)) if ops else '')
        yield row


FIGURE_HEAD = ['workload', 'budget', 'system', COLUMNS[0][1], 'spread'] + [
    title for _, title in COLUMNS[1:]]


def target_rows(results):
    for line in targets.lines(results):
        values = line.values
        yield [line.name, number(line.value),
               '%s to %s' % (number(min(values)), number(max(values)))
               if values else '',
               ('≥ ' if line.at_least else '≤ ') + number(line.want),
               'not measured' if not values else
               'yes' if line.reached else '**no**']


TARGET_HEAD = ['target', 'median', 'runs', 'aimed at', 'reached']


def raw_rows(results):
    runs = [run for run in results['raw'] if run is not None]
    for name in runs[0] if runs else ():
        for way in ('read', 'write'):
            if targets.dig(runs[0], '%s/%s' % (name, way)) is None:
                continue

            def middle(path, name=name, way=way):
                return number(bench.median([
                    targets.dig(run, '%s/%s/%s' % (name, way, path))
                    for run in runs]))
            yield [name, way, middle('mib-per-s'), middle('ops-per-s'),
                   middle('us/p50'), middle('us/p99'),
                   number(bench.median([run[name]['cpu-s-per-gib']
                                        for run in runs]))]


RAW_HEAD = ['fio', 'way', 'MiB/s', 'per s', 'p50 us', 'p99 us', 'CPU s/GiB']

SPARSE_COLUMNS = (('start-ms', 'start-up ms'),
                  ('plain-start-ms', 'without -vmemdirect'),
                  ('metadata-mib', 'metadata MiB'),
                  ('page-tables-mib', 'page tables MiB'),
                  ('idle-cpu-percent', 'idle CPU %'),
                  ('ops-per-s', 'per s'), ('cpu-s-per-gib', 'CPU s/GiB'),
                  ('rss-max-mib', 'RSS MiB'))


def sparse_rows(results):
    for gib in sorted({s['mem-gib'] for s in results['sparse']}):
        runs = [s for s in results['sparse'] if s['mem-gib'] == gib]
        yield ['%d GiB' % gib] + [
            number(median_of([{key: run.get(key)} for run in runs], key))
            for key, _ in SPARSE_COLUMNS]


SPARSE_HEAD = ['RAM'] + [title for _, title in SPARSE_COLUMNS]


def tables(results):
    """(title, head, rows) of what there is."""
    for title, head, rows in (
            ('Targets', TARGET_HEAD, target_rows(results)),
            ('Figures', FIGURE_HEAD, figure_rows(results)),
            ('Raw device', RAW_HEAD, raw_rows(results)),
            ('Sparse guests', SPARSE_HEAD, sparse_rows(results))):
        rows = list(rows)
        if rows:
            yield title, head, rows


def facts(results):
    """Lines about the machine and the run."""
    m, a = results['machine'], results['arguments']
    yield 'Machine: %d x %s, Linux %s, load %.1f at the start.' % (
        m['processors'], m['processor'], m['kernel'], m['load'])
    yield ('Guest: %d MiB of RAM, %d vCPU; %d runs; swap read-ahead of the '
           'kernel 2^%d pages.' % (a['mem'], a['smp'], a['runs'],
                                   results['page-cluster']))
    wakes = [run[raw_device.WAKE]['other']['p50'] for run in results['raw']
             if run is not None]
    if wakes:
        yield ('To wake a thread on another processor takes %s us (median).' %
               number(bench.median(wakes)))
    if a['options']:
        yield 'Options of ours: `%s`.' % a['options']
    for name, why in results['skipped'].items():
        yield 'Not measured: %s: %s.' % (name, why)
    for text in results['failures']:
        yield '**Failed**: %s.' % text


def markdown(results, command):
    out = ['# Paging: one run', '', 'Made by `%s`; '
           '[performance.md](../performance.md) says what each figure is.'
           % command, '']
    out += [line + '\n' for line in facts(results)]
    out += ['![throughput and latency](pager.svg)', '']
    for title, head, rows in tables(results):
        out += ['## ' + title, '', '| ' + ' | '.join(head) + ' |',
                '|' + '---|' * len(head)]
        out += ['| ' + ' | '.join(row) + ' |' for row in rows]
        out.append('')
    return '\n'.join(out)


def text(results):
    for title, head, rows in tables(results):
        print('\n' + title)
        bench.print_table(head, rows)
