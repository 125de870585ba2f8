# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture of a run: throughput against kernel swap, and fault latency.

Plain SVG by our own hand: two kinds of chart need no library, and the file is
small and the same for the same figures.
"""
import math
from xml.sax.saxutils import escape

import histogram
import targets

WIDTH = 960
OURS, RIVAL, RAW, GRID, TEXT = ('#0072b2', '#d55e00', '#444444', '#dddddd',
                                '#222222')
PANELS = (('rand-read', 'read', 'uniform random reads'),
          ('seq-read', 'read', 'sequential read sweep'),
          ('kv', 'get', 'Zipf 0.99 gets'),
          ('hot-scan', 'scan', 'scan beside a hot set'))
RAW_JOBS = {'rand-read': 'read-4k-qd1', 'seq-read': 'read-1m-qd1'}


class Svg:
    """Elements, in order."""

    def __init__(self, width, height):
        self.head = ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" '
                     'height="%d" viewBox="0 0 %d %d" font-family='
                     '"sans-serif" font-size="12">' % (width, height, width,
                                                       height))
        self.parts = []
        self.rect(0, 0, width, height, '#ffffff')

    def rect(self, x, y, w, h, color):
        self.parts.append('<rect x="%.1f" y="%.1f" width="%.1f" '
                          'height="%.1f" fill="%s"/>' % (x, y, w, h, color))

    def line(self, x1, y1, x2, y2, color, width=1.0, dash=''):
        self.path([(x1, y1), (x2, y2)], color, width, dash)

    def path(self, points, color, width=2.0, dash=''):
        self.parts.append(
            '<polyline fill="none" stroke="%s" stroke-width="%g"%s '
            'points="%s"/>' % (
                color, width,
                ' stroke-dasharray="%s"' % dash if dash else '',
                ' '.join('%.1f,%.1f' % p for p in points)))

    def text(self, x, y, text, anchor='start', color=TEXT, bold=False):
        self.parts.append(
            '<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s"%s>%s</text>'
            % (x, y, anchor, color, ' font-weight="bold"' if bold else '',
               escape(text)))

    def __str__(self):
        return '\n'.join([self.head] + self.parts + ['</svg>', ''])


class LogScale:
    """Numbers from low to high onto a stretch of the picture."""

    def __init__(self, low, high, start, length):
        self.low, self.high = math.log10(low), math.log10(high)
        self.start, self.length = start, length

    def __call__(self, value):
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + min(max(part, 0), 1) * self.length


# --- throughput ---------------------------------------------------------------

def bars(results):
    """(label, ratios of the runs, target or None)."""
    r = targets.Results(results)
    out = []
    for workload, want in (('seq-read', 2), ('seq-write', 2),
                           ('rand-read', 1.2), ('rand-rmw', 1.2),
                           ('kv', 1.25), ('hot-scan', 2),
                           ('page-out', None)):
        for budget in r.budgets(workload):
            values = targets.against_rival(r, workload, budget)
            if values:
                out.append(('%s, %d %%' % (workload, budget), values, want))
    for budget in r.budgets('sort'):
        for system in sorted({run['system'] for run in r.runs
                              if run['workload'] == 'sort'},
                             key=lambda s: (len(s), s)):
            values = targets.ratios(
                r.figures('sort', budget, system, 'ops-per-s'),
                r.figures('sort', budget, 'kernel-swap', 'ops-per-s'))
            if values and system != 'kernel-swap':
                out.append(('sort, %d %%, %s' % (budget, system[5:]), values,
                            None))
    return out


def throughput(svg, top, rows):
    left, width, step = 230, WIDTH - 230 - 70, 20
    highest = max([max(values) for _, values, _ in rows] + [10])
    lowest = min([min(values) for _, values, _ in rows] + [0.5])
    x = LogScale(10 ** math.floor(math.log10(lowest)), 10 ** math.ceil(
        math.log10(highest)), left, width)
    bottom = top + 30 + step * len(rows)
    svg.text(20, top, 'Throughput: ours / kernel swap, same budget (% of '
             'RAM); median, smallest and largest', bold=True)
    for power in range(round(x.low), round(x.high) + 1):
        at = x(10 ** power)
        svg.line(at, top + 12, at, bottom, GRID)
        svg.text(at, bottom + 14, '%gx' % 10 ** power, 'middle')
    for i, (label, values, want) in enumerate(rows):
        bar(svg, x, top + 20 + step * i, label, values, want)
    svg.line(x(1), top + 12, x(1), bottom, RIVAL, 2)
    svg.text(left, bottom + 30, 'orange: kernel swap; black mark: what was '
             'aimed at')
    return bottom + 56


def bar(svg, x, y, label, values, want):
    middle = sorted(values)[len(values) // 2]
    begin, end = sorted((x(1), x(middle)))
    svg.text(x.start - 8, y + 12, label, 'end')
    svg.rect(begin, y + 2, max(end - begin, 1), 12, OURS)
    svg.line(x(min(values)), y + 8, x(max(values)), y + 8, TEXT, 1.5)
    if want is not None:
        svg.line(x(want), y, x(want), y + 16, '#000000', 2.5)
    svg.text(WIDTH - 14, y + 12, '%.3g' % middle, 'end')


# --- latency ------------------------------------------------------------------

SHARES = (0, 50, 90, 99, 99.9, 99.99)


def share_y(percent, top, height):
    """Percentiles on a scale of nines."""
    nines = -math.log10(max(1 - percent / 100, 1e-4))
    return top + height - height * nines / 4


def curve(hist):
    """(percent, us) along a histogram."""
    all_, seen, out = histogram.total(hist), 0, []
    for low, high, count in hist:
        if not out:
            out.append((0, low / 1000))
        seen += count
        out.append((100 * seen / all_, high / 1000))
    return out


def curves(results, workload, name):
    """(legend, color, dash, points)."""
    out = []
    for h in results.get('histograms', []):
        if h['workload'] != workload or h['name'] != name or \
                h['system'] not in ('ours', 'kernel-swap'):
            continue
        hist = histogram.above(h['hist'], histogram.FAULT_NS)
        if histogram.total(hist) == 0:
            continue
        out.append(('%s, %d %%' % (h['system'], h['budget-percent']),
                    OURS if h['system'] == 'ours' else RIVAL,
                    '' if h['budget-percent'] >= 50 else '5 3',
                    curve(hist)))
    job = RAW_JOBS.get(workload)
    points = {}
    for raw in results.get('raw', []):
        for p, us in (targets.dig(raw, job + '/read/us') or {}).items() \
                if job else ():
            points.setdefault(float(p[1:]), []).append(us)
    if points:
        out.append(('raw ' + job, RAW, '2 3', [
            (p, sorted(us)[len(us) // 2]) for p, us in
            sorted(points.items())]))
    return out


def latency(svg, left, top, title, lines):
    width, height = 370, 210
    x = LogScale(10, 100000, left + 45, width)
    svg.text(left, top, title, bold=True)
    top += 14
    for percent in SHARES:
        y = share_y(percent, top, height)
        svg.line(x.start, y, x.start + width, y, GRID)
        svg.text(x.start - 6, y + 4, '%g %%' % percent, 'end')
    for power in range(1, 6):
        at = x(10 ** power)
        svg.line(at, top, at, top + height, GRID)
        svg.text(at, top + height + 15, '%g %s' % (
            (10 ** power, 'us') if power < 3 else
            (10 ** (power - 3), 'ms')), 'middle')
    for i, (legend, color, dash, points) in enumerate(lines):
        svg.path([(x(max(us, 1)), share_y(p, top, height))
                  for p, us in points], color, 2, dash)
        # At the bottom right, where curves seldom are.
        at = top + height - 8 - 15 * (len(lines) - 1 - i)
        left = x.start + width - 150
        svg.line(left, at - 4, left + 26, at - 4, color, 2, dash)
        svg.text(left + 32, at, legend)
    return top + height + 40


def draw(results):
    """The SVG of results as pager makes them."""
    rows = bars(results)
    panels = [(title, curves(results, workload, name))
              for workload, name, title in PANELS]
    panels = [(title, lines) for title, lines in panels if lines]
    height = 40 + (30 + 20 * len(rows) + 90 if rows else 0) + \
        (30 if panels else 0) + (len(panels) + 1) // 2 * 264
    svg = Svg(WIDTH, height)
    top = 30
    if rows:
        top = throughput(svg, top, rows)
    if panels:
        svg.text(20, top, 'Accesses of the guest slower than 10 us: share '
                 'that is done within a time (guest\'s clock)', bold=True)
        top += 28
    for i, (title, lines) in enumerate(panels):
        bottom = latency(svg, 20 + (i % 2) * 470, top, title, lines)
        top = bottom if i % 2 else top
    return str(svg)
