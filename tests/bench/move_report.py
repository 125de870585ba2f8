# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets, tables and page of a run of tests/bench/migration."""
import bench
from report import number
from targets import Line, at_least, at_most, dig, ratios

COLUMNS = (('total-ms', 'total ms'), ('downtime-ms', 'downtime ms'),
           ('gap-ms', 'guest lost ms'), ('passes', 'passes'),
           ('sent-mib', 'sent MiB'), ('to-swap-mib', 'to swap MiB'),
           ('speed/before', 'before /s'), ('speed/first-pass', 'first pass /s'),
           ('speed/after', 'after /s'), ('source-cpu-s', 'source CPU s'),
           ('source-grew-mib', 'source grew MiB'),
           ('destination-high-mib', 'destination MiB'),
           ('paged-in', 'pages in'), ('paged-out', 'pages out'))
TARGET_HEAD = ['target', 'median', 'runs', 'aimed at', 'reached']
FIXED_PARTS = ('stop-us', 'device-us', 'ready-us', 'images-us', 'resume-us')


class Cell:
    """All runs of one guest, size and link."""

    def __init__(self, key, runs):
        self.guest, self.mem_mib, self.link = key
        self.runs = runs

    def __str__(self):
        return '%s, %g GiB, %s' % (self.guest, self.mem_mib / 1024, self.link)

    def figures(self, setup, path):
        """{run: figure}"""
        return {r['run']: dig(r, path) for r in self.runs
                if r['setup'] == setup and dig(r, path) is not None}

    def against(self, setup, other, path):
        return ratios(self.figures(setup, path), self.figures(other, path))


def cells(results):
    """In the order in which they were measured."""
    out = {}
    for r in results['runs']:
        out.setdefault((r['guest'], r['mem-mib'], r['link']), []).append(r)
    return [Cell(key, runs) for key, runs in out.items()]


# --- targets ------------------------------------------------------------------

def against_stock(cell):
    for path, what, want, want_swap in (
            ('total-ms', 'total time', 0.7, 0.4),
            ('downtime-ms', 'downtime', 1.0, 0.7)):
        yield at_most('%s: %s to 50 %% / stock with enough' % (cell, what),
                      cell.against('ours to 50 %', 'stock', path), want)
        yield at_most('%s: %s to 50 %% / stock to kernel swap' % (cell, what),
                      cell.against('ours to 50 %', 'stock to swap 50 %', path),
                      want_swap)
    yield at_most('%s: total time 50 %% to 50 %% / enough to enough' % cell,
                  cell.against('ours 50 % to 50 %', 'ours', 'total-ms'), 1.15)


def after_the_move(cell):
    def part(setup):
        return ratios(cell.figures(setup, 'speed/after'),
                      cell.figures(setup, 'speed/before'))
    yield at_least('%s: speed in the first second to 50 %% / before' % cell,
                   part('ours to 50 %'), 0.9)
    ours, swap = part('ours to 50 %'), part('stock to swap 50 %')
    yield at_least('%s: that, ours / stock to kernel swap' % cell,
                   [a / b for a, b in zip(ours, swap) if b], 32)
    yield at_least('%s: speed in the first pass / before' % cell,
                   ratios(cell.figures('ours', 'speed/first-pass'),
                          cell.figures('ours', 'speed/before')), 0.9)


def convergence(cell):
    def share(setup):
        return [float(r['converged']) for r in cell.runs
                if r['setup'] == setup]
    yield at_least('%s: throttled, ours converges (1: always)' % cell,
                   share('ours, throttled'), 1)
    yield at_most('%s: without throttling, stock converges' % cell,
                  share('stock'), 0)


def bounds(results):
    own = [r for r in results['runs'] if r['setup'].startswith('ours')]
    yield at_most('source grew, MiB, of all', [max(
        [r['source-grew-mib'] for r in own])] if own else [], 64)
    over = [r['destination-rss-mib'] - r['destination-budget-mib']
            for r in own if r.get('destination-rss-mib') is not None]
    yield at_most('destination above its budget, MiB, of all',
                  [max(over)] if over else [], 64)
    still = [r for r in own if r['guest'] == 'idle' and r['converged']]
    yield at_most('pages paged in or out by a migration of an idle guest',
                  [max(r['paged-in'] + r['paged-out'] for r in still)]
                  if still else [], 0)
    fixed = [sum(r['parts-us'].get(k, 0) for k in FIXED_PARTS) / 1000
             for r in still if r['setup'] == 'ours']
    yield at_most('fixed part of the downtime, ms, idle guest', fixed, 15)


def target_lines(results):
    out = []
    for cell in cells(results):
        if cell.guest == 'write-heavy':
            out += convergence(cell)
        else:
            out += against_stock(cell)
        if cell.guest == 'key-value':
            out += after_the_move(cell)
    out += bounds(results)
    return [line for line in out if isinstance(line, Line)]


def target_rows(results):
    for line in target_lines(results):
        yield [line.name, number(line.value),
               '%s to %s' % (number(min(line.values)),
                             number(max(line.values)))
               if line.values else '',
               ('≥ ' if line.at_least else '≤ ') + number(line.want),
               'not measured' if not line.values else
               'yes' if line.reached else '**no**']


# --- tables -------------------------------------------------------------------

def fate(runs):
    """What happened beside migrations that were completed."""
    killed = sum(r.get('killed', 0) for r in runs)
    late = sum(not r['converged'] and not r.get('killed') for r in runs)
    spare = max(r.get('spare-mib', 0) for r in runs)
    notes = []
    if late:
        notes.append('%d of %d did not converge' % (late, len(runs)))
    if killed:
        notes.append('killed by the kernel')
    elif spare:
        notes.append('given %d MiB more' % spare)
    return ' (%s)' % ', '.join(notes) if notes else ''


def rows(cell):
    for setup in dict.fromkeys(r['setup'] for r in cell.runs):
        runs = [r for r in cell.runs if r['setup'] == setup]
        row = [setup + fate(runs)]
        for path, _ in COLUMNS:
            values = list(cell.figures(setup, path).values())
            row.append(number(bench.median(values)) if values else '')
        yield row


def tables(results):
    """(title, head, rows)."""
    yield 'Targets', TARGET_HEAD, list(target_rows(results))
    for cell in cells(results):
        yield str(cell)[0].upper() + str(cell)[1:], ['setup'] + [
            title for _, title in COLUMNS], list(rows(cell))


def markdown(results, command):
    m = results['machine']
    out = ['# Migration: one run', '', 'Made by `%s`; '
           '[performance.md](../performance.md) says what each figure is.'
           % command, '', 'Machine: %d x %s, Linux %s, load %.1f at the '
           'start; %d runs.' % (m['processors'], m['processor'], m['kernel'],
                                m['load'], results['arguments']['runs']), '']
    for name, why in results['skipped'].items():
        out += ['Not measured: %s: %s.' % (name, why), '']
    for text in results['failures']:
        out += ['**Failed**: %s.' % text, '']
    out += ['![timelines](migration.svg)', '']
    for title, head, body in tables(results):
        out += ['## ' + title, '', '| ' + ' | '.join(head) + ' |',
                '|' + '---|' * len(head)]
        out += ['| ' + ' | '.join(row) + ' |' for row in body] + ['']
    return '\n'.join(out)


def text(results):
    for title, head, body in tables(results):
        print('\n' + title)
        bench.print_table(head, body)
