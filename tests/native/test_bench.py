# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/bench/pager and tests/bench/migration work: one command gives figures,
targets, a table and a picture, and leaves nothing behind, also when it is
killed."""
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree

from vmtest import PATIENCE, REPO, Skip, check, guest_image, need, our_binary

sys.path.insert(0, os.path.join(REPO, 'tests', 'bench'))

import kernel_swap  # noqa: E402

PAGER = os.path.join(REPO, 'tests', 'bench', 'pager')
MIGRATION = os.path.join(REPO, 'tests', 'bench', 'migration')


def environment(t):
    return {**os.environ, 'TMPDIR': t.dir, 'QEMU': our_binary(),
            'GUEST_ELF': guest_image()}


def swaps_below(directory):
    with open('/proc/swaps') as f:
        return [line for line in f if line.startswith(directory)]


def members(group):
    try:
        with open(group + '/cgroup.procs') as f:
            return f.read().split()
    except FileNotFoundError:
        return []


def check_left_nothing(t):
    deadline = time.monotonic() + 30 * PATIENCE
    while swaps_below(t.dir):
        check(time.monotonic() < deadline, 'swap is left on: %s',
              swaps_below(t.dir))
        time.sleep(0.1)


def pager_quick(t):
    need()
    out = os.path.join(t.dir, 'out')
    done = subprocess.run(
        [PAGER, '--quick', '--only', 'seq-read', '--only', 'kv', '--only',
         'memory', '--write', out], env=environment(t),
        capture_output=True, text=True, timeout=240 * PATIENCE, check=False)
    check(done.returncode == 0, 'exit status %d: %s', done.returncode,
          done.stderr)
    for line in done.stdout.splitlines():
        if line.startswith('# '):
            t.note('%s', line[2:])
    with open(os.path.join(out, 'pager.json')) as f:
        results = json.load(f)
    ours = {r['workload']: r for r in results['runs']
            if r['system'] == 'ours'}
    check(set(ours) == {'seq-read', 'kv', 'memory'}, 'measured: %s',
          sorted(ours))
    check(all(r['ops-per-s'] > 0 for r in ours.values()), 'no operations')
    check(ours['seq-read']['page-in-mib'] > 0, 'nothing was paged in')
    check(ours['seq-read']['latency']['read']['fault-us']['p50'] > 0,
          'no faults were timed')
    check(ours['memory']['page-in-mib'] == 0, 'paged although all fits')
    check(any('sequential read 50 %' in line['name']
              for line in results['targets']), 'no targets')
    xml.etree.ElementTree.parse(os.path.join(out, 'pager.svg'))
    with open(os.path.join(out, 'pager.md')) as f:
        check('| seq-read | 50 % | ours |' in f.read(), 'no table')
    check_left_nothing(t)


def pager_killed(t):
    """The rival's memory cgroup and swap file go, even at SIGKILL."""
    need(stock=True)
    why = kernel_swap.reason()
    if why:
        raise Skip(why)
    bench = subprocess.Popen(
        [PAGER, '--quick', '--only', 'rand-rmw', '--system', 'kernel-swap'],
        env=environment(t), stdout=subprocess.DEVNULL)
    try:
        group = os.path.join(kernel_swap.GROUPS, 'vmt-bench-%d' % bench.pid)
        deadline = time.monotonic() + 60 * PATIENCE
        while not (members(group) and swaps_below(t.dir)):
            check(bench.poll() is None, 'it ended early')
            check(time.monotonic() < deadline, 'no rival was started')
            time.sleep(0.01)
    finally:
        bench.kill()
        bench.wait()
    check_left_nothing(t)
    check(not os.path.exists(group), '%s is left', group)


def migration_quick(t):
    need(stock=True)
    why = kernel_swap.reason()
    if why:
        raise Skip(why)
    out = os.path.join(t.dir, 'out')
    done = subprocess.run(
        [MIGRATION, '--quick', '--guest', 'idle', '--setup', 'ours to 50 %',
         '--setup', 'stock to swap 50 %', '--write', out],
        env=environment(t), capture_output=True, text=True,
        timeout=240 * PATIENCE, check=False)
    check(done.returncode == 0, 'exit status %d: %s', done.returncode,
          done.stderr)
    with open(os.path.join(out, 'migration.json')) as f:
        runs = {r['setup']: r for r in json.load(f)['runs']}
    check(set(runs) == {'ours to 50 %', 'stock to swap 50 %'},
          'measured: %s', sorted(runs))
    ours = runs['ours to 50 %']
    check(ours['converged'] and ours['to-swap-mib'] > 0, 'figures: %r', ours)
    check(ours['destination-high-mib'] <= ours['destination-budget-mib'] + 64,
          'the destination took %d MiB', ours['destination-high-mib'])
    check(ours['speed']['after'] > 0, 'the guest does not run: %r', ours)
    xml.etree.ElementTree.parse(os.path.join(out, 'migration.svg'))
    check_left_nothing(t)


TESTS = [(f.__name__, f) for f in (pager_quick, pager_killed,
                                   migration_quick)]
for _, f in TESTS:
    f.limit = 300
