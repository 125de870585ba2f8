# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is measured in which workload."""
import systems

SORT_CHUNK_PAGES = (1, 16, 64, 256, 512)


def parse_options(text):
    return dict(option.split('=', 1) for option in text.split(',') if option)


def variants(args):
    """From --variant NAME:OPTIONS."""
    out = []
    for text in args.variant:
        name, _, options = text.partition(':')
        out.append(systems.Ours('ours ' + name, parse_options(options)))
    return out


def of(workload, args):
    """Systems, in the order of the first run."""
    options = parse_options(args.options)
    if workload.systems == 'chunks':
        out = [systems.Ours('ours chunk-pages=%d' % n,
                            {**options, 'chunk-pages': n})
               for n in SORT_CHUNK_PAGES]
        out.append(systems.Stock())
    elif workload.systems == 'room':
        out = [systems.Plain(), systems.Ours('ours', options),
               systems.Ours('ours tracker=off',
                            {**options, 'tracker': 'off'}),
               systems.Ours('ours chunk-pages=256',
                            {**options, 'chunk-pages': 256}),
               systems.RoomyStock()]
    else:
        out = [systems.Ours('ours', options), systems.Stock()]
        if args.huge:
            out.append(systems.Stock(huge=True))
        out += variants(args)
    return [s for s in out if not args.system or
            any(word in s.name for word in args.system)]
