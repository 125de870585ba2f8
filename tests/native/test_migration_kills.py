# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 of either side of a migration in each of its phases, and a
destination whose swap is full, fails or shrinks: one side at most can run the
guest, it is right, the other has ended, says why, and leaves nothing behind.

How: a destination that is held by SIGSTOP keeps the source in the phase in
which it waits for it. What cannot be held, the hand-over, is met by seeded
delays."""
import os
import random
import signal
import time

from vmtest import (MIB, PATIENCE, Failure, QmpError, Skip, can_o_direct, check,
                    gives_up, migrate, migration_address, need,
                    set_parameters, small_file_system, wait_migration)
from test_migration_errors import SEED, check_source_goes_on
from test_troubles import fill_up, lose_from, loop_device

MEM = 96
WORK = {'mib': 64, 'hot': 32, 'rate': 40, 'verify': 1, 'fill': 'zero-part'}
TIGHT = 64
FAST = 10 << 30


def start_source(t, name='src'):
    need()
    guest = t.guest('guest-' + name)
    source = t.vm(guest, name, mem=MEM, append=WORK,
                  vmemdirect={'memory': TIGHT})
    source.run('migrate-set-capabilities', {'capabilities': [
        {'capability': 'pause-before-switchover', 'state': True}]})
    guest.wait_filled(alive=[source], timeout=60)
    return guest, source


def start_destination(t, guest, name, uri, budget=TIGHT, **options):
    return t.vm(guest, name, mem=MEM, append=WORK, incoming=uri,
                vmemdirect=dict(options, memory=budget))


def open_files(vm):
    return len(os.listdir('/proc/%d/fd' % vm.process.pid))


def said(vm):
    """Its errors, without what it says about this host's CPU."""
    return '\n'.join(line for line in vm.stderr().splitlines()
                     if 'support requested feature' not in line)


def hold(vm):
    vm.process.send_signal(signal.SIGSTOP)


def let_go(vm):
    vm.process.send_signal(signal.SIGCONT)


def begin(source, uri, bandwidth=FAST, downtime=300):
    set_parameters(source, max_bandwidth=bandwidth, downtime_limit=downtime)
    source.run('migrate', {'uri': uri})


def wait_phase(source, wanted):
    """Until query-migrate says so; each phase here lasts."""
    deadline = time.monotonic() + 20 * PATIENCE
    while not wanted(source.run('query-migrate')):
        check(time.monotonic() < deadline, 'not that far: %r',
              source.run('query-migrate'))
        time.sleep(0.005)


def is_in(status):
    return lambda info: info.get('status') == status


# The phases. Each brings a migration there, and leaves the destination held
# if it has to be.

def knocks(uri):
    """Whether one who connects waits to be accepted: beside the socket that
    listens there is one more of its name."""
    path = uri[len('unix:'):]
    with open('/proc/net/unix', encoding='ascii',
              errors='surrogateescape') as sockets:
        return sum(line.split()[-1] == path for line in sockets) > 1


def in_setup(source, destination, uri):
    # The status comes first: killed before it connects, the source would
    # leave a destination that never hears of it.
    hold(destination)
    begin(source, uri)
    wait_phase(source, lambda info: info.get('status') == 'setup' and
               knocks(uri))


def in_first_pass(source, destination, uri):
    begin(source, uri, bandwidth=8 * MIB)
    wait_phase(source, lambda info: info['status'] == 'active' and
               0 < info['ram']['transferred'] < 16 * MIB)


def in_later_pass(source, destination, uri):
    # 40 MiB/s are written: nothing of it fits in a millisecond.
    begin(source, uri, bandwidth=30 * MIB, downtime=1)
    wait_phase(source, lambda info: info['status'] == 'active' and
               info['ram']['dirty-sync-count'] > 1)


def in_pre_switchover(source, destination, uri):
    begin(source, uri)
    wait_phase(source, is_in('pre-switchover'))


def in_device(source, destination, uri):
    in_pre_switchover(source, destination, uri)
    hold(destination)
    source.run('migrate-continue', {'state': 'pre-switchover'})
    wait_phase(source, is_in('device'))


PHASES = (in_setup, in_first_pass, in_later_pass, in_pre_switchover,
          in_device)


def check_nothing_left(destination, uri):
    for path in (uri[len('unix:'):], os.path.join(destination.dir, 'swap')):
        check(not os.path.exists(path), '%s is left', path)


def destination_killed_in_each_phase(t):
    """The source goes on, says why, and has no descriptor more."""
    guest, source = start_source(t)
    # One that fails at once: what a source keeps between jobs is there.
    source.run('migrate', {'uri': migration_address('unix', t.dir, 'no')})
    check_source_goes_on(guest, source)
    files = open_files(source)
    for phase in PHASES:
        uri = migration_address('unix', t.dir, phase.__name__)
        victim = start_destination(t, guest, phase.__name__, uri)
        phase(source, victim, uri)
        victim.kill()
        info = check_source_goes_on(guest, source)
        text = info.get('error-desc', '')
        t.note('%s: %s', phase.__name__, text)
        check('destination' in text or 'handshake' in text,
              '%s: no cause but %r', phase.__name__, text)
        check(open_files(source) == files, '%s: %d files are open, not %d',
              phase.__name__, open_files(source), files)
    guest.wait_verified(alive=[source])
    source.quit()


def source_killed_in_each_phase(t):
    """The destination never runs, ends, says why, and leaves no file."""
    for phase in PHASES:
        guest, source = start_source(t, 'src-' + phase.__name__)
        uri = migration_address('unix', t.dir, phase.__name__)
        destination = start_destination(t, guest, phase.__name__, uri)
        phase(source, destination, uri)
        source.kill()
        let_go(destination)
        if gives_up(destination):
            check('the source' in said(destination), '%s: no cause but %r',
                  phase.__name__, said(destination))
            t.note('%s: %s', phase.__name__, said(destination))
            check_nothing_left(destination, uri)
        else:
            check(phase is in_setup, '%s: it waits on', phase.__name__)
        check(all(name != destination.name for _, name, _ in guest.lines),
              '%s: the destination ran', phase.__name__)
        guest.check_right()


def hand_over_destination_killed(t):
    """Whatever the moment: the guest can go on at the source, by itself
    or, where the destination may have had it, by cont."""
    generator = random.Random(SEED)
    guest, source = start_source(t)
    ends = []
    for number in range(6):
        uri = migration_address('unix', t.dir, 'h%d' % number)
        victim = start_destination(t, guest, 'h%d' % number, uri)
        in_pre_switchover(source, victim, uri)
        source.run('migrate-continue', {'state': 'pre-switchover'})
        time.sleep(generator.uniform(0, 0.012))
        victim.kill()
        info = wait_migration(source, 60)
        status = source.status()
        ends.append('%s/%s' % (info['status'], status))
        if status != 'running':
            check(info['status'] == 'completed' or
                  'may be running' in info.get('error-desc', ''), '%r', info)
            source.run('cont')
        guest.wait_progress(2, alive=[source])
    t.note('%s', ', '.join(ends))
    guest.wait_verified(alive=[source])
    source.quit()


def hand_over_source_killed(t):
    """Either the destination runs the guest and it is right, or it ends."""
    generator = random.Random(SEED)
    ends = []
    for number in range(3):
        guest, source = start_source(t, 's%d' % number)
        uri = migration_address('unix', t.dir, 'h%d' % number)
        destination = start_destination(t, guest, 'h%d' % number, uri)
        in_pre_switchover(source, destination, uri)
        source.run('migrate-continue', {'state': 'pre-switchover'})
        time.sleep(generator.uniform(0, 0.012))
        source.kill()
        # It either has all of RUN, or the end of the stream.
        deadline = time.monotonic() + 20 * PATIENCE
        while destination.process.poll() is None:
            try:
                if destination.status() == 'running':
                    break
            except Failure:  # it has just ended
                pass
            check(time.monotonic() < deadline, 'neither runs nor ends')
            time.sleep(0.02)
        if destination.process.poll() is None:
            guest.wait_verified(alive=[destination])
            ends.append('runs')
            destination.quit()
        else:
            check(destination.process.returncode > 0 and
                  'the source' in said(destination), 'exit status %d: %r',
                  destination.process.returncode, said(destination))
            check_nothing_left(destination, uri)
            ends.append('ended')
        guest.check_right()
    t.note('%s', ', '.join(ends))


# --- the receiver's swap and budget -------------------------------------------

def fails_for_both(t, guest, source, destination, uri, word):
    begin(source, uri)
    info = check_source_goes_on(guest, source)
    check(word in info.get('error-desc', ''), 'the source says %r', info)
    status = destination.wait_exit()
    check(status > 0 and word in destination.stderr(),
          'exit status %d: %s', status, destination.stderr())
    t.note('%s', info['error-desc'])
    guest.wait_verified(alive=[source])


def swap_is_full(t):
    """No room in the destination's file system: both say so; with room
    again, the move works."""
    guest, source = start_source(t)
    mount = small_file_system(t, 160)
    if not can_o_direct(mount):
        raise Skip('no O_DIRECT on a loop device')
    filler = fill_up(mount)
    swap = os.path.join(mount, 'swap')
    uri = migration_address('unix', t.dir, 'full')
    destination = start_destination(t, guest, 'full', uri, budget=32,
                                    swap=swap)
    fails_for_both(t, guest, source, destination, uri, 'No space')
    check(not os.path.exists(swap), 'the swap file is left')
    os.unlink(filler)
    uri = migration_address('unix', t.dir, 'room')
    destination = start_destination(t, guest, 'room', uri, budget=32,
                                    swap=swap)
    source.run('migrate-set-capabilities', {'capabilities': [
        {'capability': 'pause-before-switchover', 'state': False}]})
    migrate(source, destination, uri)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def swap_fails(t):
    """EIO from the destination's swap device."""
    guest, source = start_source(t)
    device, fd = loop_device(t, MEM)
    uri = migration_address('unix', t.dir, 'eio')
    destination = start_destination(t, guest, 'eio', uri, budget=32,
                                    swap=device)
    lose_from(fd, 4 * MIB)
    fails_for_both(t, guest, source, destination, uri, 'Input/output')
    source.quit()


def budget_shrinks(t):
    """The destination gets less than it has announced, while it receives."""
    guest, source = start_source(t)
    source.run('migrate-set-capabilities', {'capabilities': [
        {'capability': 'pause-before-switchover', 'state': False}]})
    uri = migration_address('unix', t.dir)
    destination = start_destination(t, guest, 'shrinks', uri)
    begin(source, uri, bandwidth=30 * MIB)
    wait_phase(source, lambda info: info['status'] == 'active' and
               info['ram']['transferred'] > 2 * MIB)
    try:
        destination.set_budget(32)
    except QmpError as e:
        t.note('refused: %s', e.text)
    set_parameters(source, max_bandwidth=FAST)
    info = wait_migration(source)
    check(info['status'] == 'completed', '%r', info)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.check_rss()
    destination.quit()


TESTS = [(f.__name__, f) for f in (
    destination_killed_in_each_phase, source_killed_in_each_phase,
    hand_over_destination_killed, hand_over_source_killed, swap_is_full,
    swap_fails, budget_shrinks)]
