# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture of a run of tests/bench/migration: for each guest, one panel a
setup, with the guest's speed before, during and after the migration, and
below it what was sent, to RAM and to swap, and where passes begin."""
from picture import GRID, OURS, RAW, RIVAL, Svg, TEXT, WIDTH

PANEL_HEIGHT, SPEED_HEIGHT, BYTES_HEIGHT = 190, 80, 50
LEFT, PLOT = 70, 370
SWAP = '#009e73'
BEFORE_S, AFTER_S = 1.0, 3.0
SETUPS = ('stock', 'stock to swap 50 %', 'ours', 'ours to 50 %',
          'ours 50 % to 50 %', 'ours, throttled')


def shown(results):
    """{guest: runs}: the first of each setup, on the first link and size."""
    out = {}
    for r in results['runs']:
        if r.get('samples') and r['setup'] in SETUPS:
            out.setdefault(r['guest'], {}).setdefault(r['setup'], r)
    return {guest: sorted(runs.values(),
                          key=lambda r: SETUPS.index(r['setup']))
            for guest, runs in out.items()}


def per_second(value):
    for factor, unit in ((1e6, 'M'), (1e3, 'k')):
        if value >= factor:
            return '%.3g %s/s' % (value / factor, unit)
    return '%.3g /s' % value


def curve(svg, x, y, points, color):
    """x, y: seconds and values to the picture."""
    if points:
        svg.path([(x(t), y(v)) for t, v in points], color, 1.5)


def panel(svg, left, top, run):
    end = run['samples'][-1][0]
    span = BEFORE_S + end + AFTER_S
    origin = left + LEFT

    def x(t):
        return origin + (t + BEFORE_S) / span * PLOT

    svg.text(left + 10, top, '%s: %s' % (run['guest'], run['setup']),
             bold=True)
    svg.text(origin + PLOT, top, '%d ms, downtime %d ms' % (
        run['total-ms'], run['downtime-ms']), 'end')
    speed(svg, x, top + 10, run, end)
    sent(svg, x, top + 20 + SPEED_HEIGHT, run, origin)
    foot = top + 36 + SPEED_HEIGHT + BYTES_HEIGHT
    for t, text in ((0, '0'), (end, '%.2g s' % end)):
        svg.line(x(t), top + 10, x(t), foot - 14, RAW, 1, '2 3')
        svg.text(x(t), foot, text, 'middle')


def speed(svg, x, top, run, end):
    points = [(t, v) for t, v in run['timeline']
              if -BEFORE_S <= t <= end + AFTER_S]
    high = max([v for _, v in points] + [1])
    svg.text(x(-BEFORE_S) - 6, top + 10, per_second(high), 'end')
    svg.line(x(-BEFORE_S), top + SPEED_HEIGHT, x(end + AFTER_S),
             top + SPEED_HEIGHT, GRID)
    curve(svg, x, lambda v: top + SPEED_HEIGHT * (1 - v / high), points, TEXT)


def sent(svg, x, top, run, origin):
    samples = run['samples']
    ours = run['setup'].startswith('ours')
    total = max([s[3] for s in samples] + [1])

    def y(v):
        return top + BYTES_HEIGHT * (1 - v / total)
    svg.text(origin - 6, top + 10, '%d MiB' % (total >> 20), 'end')
    svg.line(origin, top + BYTES_HEIGHT, origin + PLOT, top + BYTES_HEIGHT,
             GRID)
    curve(svg, x, y, [(s[0], s[3]) for s in samples],
         RAW if ours else RIVAL)
    if ours:
        curve(svg, x, y, [(s[0], s[4]) for s in samples], OURS)
        curve(svg, x, y, [(s[0], s[5]) for s in samples], SWAP)
    seen = 1
    for s in samples:
        if s[2] > seen:
            seen = s[2]
            svg.line(x(s[0]), top + BYTES_HEIGHT, x(s[0]),
                     top + BYTES_HEIGHT + 6, TEXT, 1.5)


def draw(results):
    guests = shown(results)
    svg = Svg(WIDTH, 70 + PANEL_HEIGHT * sum(
        (len(runs) + 1) // 2 for runs in guests.values()))
    svg.text(20, 24, 'Live migrations: the guest\'s speed, and what had been '
             'sent', bold=True)
    svg.text(20, 42, 'upper line: pages a second; lower lines: all bytes '
             '(grey, orange for stock QEMU), to RAM (blue), to swap (green); '
             'marks: passes')
    top = 76
    for runs in guests.values():
        for i, run in enumerate(runs):
            panel(svg, (i % 2) * 470, top + i // 2 * PANEL_HEIGHT, run)
        top += (len(runs) + 1) // 2 * PANEL_HEIGHT
    return str(svg)
