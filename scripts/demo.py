#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows the whole thing: a VM larger than its memory runs, pages to a swap
file, and moves to a second process with half of its RAM.

Installs what is missing (scripts/install-deps), builds, then runs the test
guest, which writes and verifies its memory. Where /dev/kvm or userfaultfd
cannot be used, the same is shown inside the lab, under emulation.
"""
import argparse
import contextlib
import os
import subprocess
import sys
import time

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), '..'))
sys.path.insert(0, os.path.join(REPO, 'tests', 'native'))
sys.dont_write_bytecode = True

import vmtest  # noqa: E402
from vmtest import MIB  # noqa: E402

STEP_S = 0.5


def arguments():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--no-install', action='store_true',
                   help='do not install packages')
    p.add_argument('--native', action='store_true',
                   help='neither install nor build, and never use the lab;\n'
                        'the binary is $QEMU, the guest $GUEST_ELF')
    p.add_argument('--mem', type=int, default=1024, help='RAM, MiB')
    p.add_argument('--budget', type=int, help='memory=, MiB; default half')
    p.add_argument('--hot', type=int, help='MiB that the guest works on; '
                                           'default an eighth of RAM')
    p.add_argument('--rate', type=int, default=50,
                   help='MiB/s that it writes there')
    p.add_argument('--smp', type=int, default=1)
    p.add_argument('--chunk-pages', type=int, default=256)
    p.add_argument('--seconds', type=int, default=4,
                   help='to watch before and after')
    args = p.parse_args()
    args.budget = args.budget or args.mem // 2
    args.hot = args.hot or args.mem // 8
    return args


def say(text=''):
    print(text, flush=True)


def step(command, what):
    say('== ' + what)
    if subprocess.run(command, cwd=REPO, check=False).returncode != 0:
        sys.exit('demo: %s failed' % ' '.join(command))


def prepare(args):
    """The binary; its packages are there (scripts/demo)."""
    if not os.path.exists(os.path.join(vmtest.build_dir(), 'build.ninja')):
        step([os.path.join(REPO, 'configure')], 'configuring')
    step(['ninja', '-C', vmtest.build_dir()], 'building')


def unusable():
    return vmtest.kvm_reason() or vmtest.userfaultfd_reason()


class View:
    """One line each half second: where the pages are, and how they move."""

    HEAD = ('  time  resident  frames  swapped    zero   in MiB/s  out MiB/s'
            '  faults/s   guest pages/s')

    def __init__(self, guest):
        self.guest = guest
        self.start = time.monotonic()
        self.last = {}

    def rates(self, vm, p):
        """Per second since the last line for this VM."""
        faults = sum(p['faults-' + k] for k in ('hard', 'soft', 'zero'))
        now = (time.monotonic(), p['page-in-bytes'], p['page-out-bytes'],
               faults)
        then = self.last.get(vm.name, (now[0] - STEP_S,) + now[1:])
        self.last[vm.name] = now
        seconds = max(now[0] - then[0], 0.001)
        return [(a - b) / seconds for a, b in zip(now[1:], then[1:])]

    def line(self, vm, text=''):
        p = vm.paging()
        page_in, page_out, faults = self.rates(vm, p)
        say('%5.1fs %5d MiB %7d %8d %7d %10.0f %10.0f %9.0f %15.0f  %s' % (
            time.monotonic() - self.start, p['resident-bytes'] // MIB,
            p['frames-bytes'] // MIB, p['swapped-bytes'] // MIB,
            p['zero-bytes'] // MIB, page_in / MIB, page_out / MIB, faults,
            self.guest.rate(vm.name, 1), text))

    def watch(self, vm, seconds, text=''):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(STEP_S)
            vm.check_alive()
            self.guest.check_right()
            self.line(vm, text)

    def watch_until(self, vm, pattern, after, text, timeout=120):
        """Watches until the guest says this; returns its position."""
        deadline = time.monotonic() + timeout * vmtest.PATIENCE
        while True:
            with contextlib.suppress(vmtest.Failure):
                return self.guest.wait(pattern, after,
                                       STEP_S / vmtest.PATIENCE)[0]
            vm.check_alive()
            self.guest.check_right()
            self.line(vm, text)
            vmtest.check(time.monotonic() < deadline,
                         'the guest does not say %s', pattern)


def vm(test, guest, name, args, incoming=None):
    return test.vm(guest, name, mem=args.mem, smp=args.smp,
                   incoming=incoming,
                   vmemdirect={'memory': args.budget,
                               'chunk-pages': args.chunk_pages},
                   append={'mib': args.mem - 48, 'hot': args.hot,
                           'rate': args.rate, 'verify': 10,
                           'fill': 'zero-part'})


def verified(view, guest, machine, text):
    """The next verification, from its begin to its end."""
    at = view.watch_until(machine, r'B \d+$', guest.mark(), text)
    with guest.lock:
        number = guest.lines[at][2].split()[1]
    at = view.watch_until(machine, r'V ok \d+ %s ' % number, at,
                          'verifying all memory')
    with guest.lock:
        return guest.lines[at][2].split()


def settle(view, machine, timeout=20):
    """Until the guest's hot set is in memory again and paging is quiet."""
    deadline = time.monotonic() + timeout * vmtest.PATIENCE
    last = None
    while time.monotonic() < deadline:
        p = machine.paging()
        now = (p['page-in-bytes'], p['page-out-bytes'])
        if now == last:
            return
        last = now
        time.sleep(STEP_S)
        view.line(machine, 'settling')


def migrate(test, view, guest, source, args):
    uri = vmtest.migration_address('tcp', test.dir)
    say()
    say('== a second process with memory=%dM waits on %s; migrate'
        % (args.budget, uri))
    destination = vm(test, guest, 'destination', args, incoming=uri)
    shown = [0.0]

    def progress(info):
        now = time.monotonic()
        if now - shown[0] < 0.2 or 'ram' not in info:
            return
        shown[0] = now
        ram = info['ram']
        done = ram['total'] - ram['remaining']
        say('%5.1fs %-9s %3d %%  sent %4d MiB  left %4d MiB  pass %d' % (
            now - view.start, info['status'],
            100 * done // max(ram['total'], 1), ram['transferred'] // MIB,
            ram['remaining'] // MIB, ram.get('dirty-sync-count', 0)))

    info = vmtest.migrate(source, destination, uri, seen=progress)
    return destination, info


def mib(number):
    return '%.1f MiB' % (number / MIB)


def table(rows):
    width = max(len(name) for name, _ in rows)
    say()
    for name, value in rows:
        say('  %-*s  %s' % (width, name, value))
    say()


def show(args):
    vmtest.need()
    test = vmtest.Test('demo', vmtest.scratch_root())
    try:
        run(test, args)
        return 0
    except (vmtest.Failure, vmtest.QmpError) as e:
        say('demo: FAILED: %s' % e)
        say('\n'.join(test.diagnostics()))
        return 1
    finally:
        test.stop_all()
        test.remove()


def run(test, args):
    guest = test.guest()
    view = View(guest)
    say('== a guest with %d MiB of RAM, of which %d MiB may be in memory; '
        'the rest goes\n   to a swap file in %s' % (args.mem, args.budget,
                                                    test.dir))
    source = vm(test, guest, 'source', args)
    p = source.paging()
    say('   pages move by %s, file I/O by %s, chunks of %d pages' % (
        p['mode'], p['io'], p['chunk-pages']))
    say(View.HEAD)
    view.watch_until(source, r'F \d+', 0, 'filling its memory')
    view.watch(source, args.seconds, 'writing %d MiB/s to %d MiB' % (
        args.rate, args.hot))
    verified(view, guest, source, 'writing')
    settle(view, source)
    began = time.monotonic()
    view.watch(source, 2, 'writing')
    before = guest.writing_rate(source.name, began)
    source_rss = source.rss_peak_reset()

    destination, info = migrate(test, view, guest, source, args)
    there = destination.run('query-migrate')
    say()
    say(View.HEAD)
    view.watch(destination, args.seconds, 'writing at the destination')
    after = guest.writing_rate(destination.name)
    gap = guest.gap_ms(source.name, destination.name)
    passed = verified(view, guest, destination, 'writing')
    rss = destination.rss_peak_reset()
    source.quit()
    destination.quit()
    guest.check_right()
    with guest.lock:
        passes = sum(t.startswith('V ok') for _, _, t in guest.lines)
    v, w = info['vmemdirect'], there.get('vmemdirect', {})
    table([
        ('total time', '%d ms' % info['total-time']),
        ('downtime', '%d ms; the guest lost %.1f ms' % (info['downtime'],
                                                        gap)),
        ('sent into memory', mib(v['sent-ram-bytes'])),
        ('sent into the swap file', '%s (%s read from the source\'s file)' % (
            mib(v['sent-swap-bytes']), mib(v['from-swap-bytes']))),
        ('zero, not sent', mib(v['zero-bytes'])),
        ('pages in / out, source', '%d / %d by touch, while the job ran' % (
            v['pages-in'], v['pages-out'])),
        ('pages in / out, destination', '%d / %d by touch, while the '
         'job ran' % (w.get('pages-in', 0), w.get('pages-out', 0))),
        ('guest throughput', '%.0f pages/s before, %.0f after (medians '
         'while it writes)' % (before, after)),
        ('most memory resident', '%s at the source, %s at the destination, '
         'budget %d MiB' % (mib(source_rss), mib(rss), args.budget)),
        ('verification', '%d passes, each of %s pages, every byte right' % (
            passes, passed[2])),
    ])


def main():
    args = arguments()
    if args.native:
        try:
            return show(args)
        except vmtest.Skip as e:
            sys.exit('demo: %s' % e)
    prepare(args)
    reason = unusable()
    if reason is not None:
        say('== paging cannot be shown on this machine itself (%s);\n'
            '   showing it in the lab, under emulation' % reason)
        if not args.no_install:
            step([os.path.join(REPO, 'scripts', 'install-deps'), 'test',
                  'lab'], 'installing the packages of the lab')
        lab = os.path.join(REPO, 'tests', 'lab', 'run')
        os.execv(lab, [lab, '--plain', 'demo'])
    return show(args)


if __name__ == '__main__':
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
