# SPDX-License-Identifier: GPL-2.0-or-later
"""auto-converge: a guest that dirties its memory faster than a limited
bandwidth can carry it arrives nevertheless, and is slowed down no longer than
that."""
import time

from vmtest import (FINISHED, MIB, PATIENCE, check, gives_up,
                    migration_address, need, set_parameters, wait_migration)

# It dirties its hot set in milliseconds; that is more than half a second's
# worth of the bandwidth, and six times what may be left for the downtime.
WORK = {'mib': 96, 'hot': 60, 'rate': 0, 'verify': 4, 'fill': 'random'}
BANDWIDTH = 100 * MIB
LIMITS = {'max_bandwidth': BANDWIDTH, 'downtime_limit': 100,
          'avail_switchover_bandwidth': BANDWIDTH}
STEPS = {'cpu_throttle_initial': 50, 'cpu_throttle_increment': 30}
SHARES = (50, 80, 99)
MEM = 160
ENOUGH = 112
TIGHT = 80
WITHOUT_S = 4
PASSES = 5


def paging(budget):
    return {} if budget is None else {'vmemdirect': {'memory': budget}}


def start_source(t, budget, cpus):
    need(paging=budget is not None)
    guest = t.guest()
    source = t.vm(guest, 'a', mem=MEM, smp=cpus, append=WORK,
                  **paging(budget))
    guest.wait_filled(alive=[source], timeout=90)
    guest.wait_progress(10, alive=[source])
    set_parameters(source, **LIMITS, **STEPS)
    return guest, source, guest.writing_rate('a')


def begin(t, guest, source, budget, cpus, name):
    uri = migration_address('unix', t.dir, name)
    destination = t.vm(guest, name, mem=MEM, smp=cpus, incoming=uri,
                       append=WORK, **paging(budget))
    source.run('migrate', {'uri': uri})
    return destination


def auto_converge(source):
    source.run('migrate-set-capabilities', {'capabilities': [
        {'capability': 'auto-converge', 'state': True}]})


def wait_throttle(source, percent, timeout=60):
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        info = source.run('query-migrate')
        if info.get('cpu-throttle-percentage') == percent:
            return
        check(info['status'] in ('setup', 'active') and
              time.monotonic() < deadline, 'not throttled: %r', info)
        time.sleep(0.05)


def wait_rate(guest, vm, wanted, timeout=20):
    """The guest works again as it did, within what a busy host may take
    away."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        since = time.monotonic()
        guest.wait_progress(10, alive=[vm])
        rate = guest.writing_rate(vm.name, since)
        if rate > wanted / 3:
            return rate
        check(time.monotonic() < deadline, '%.0f pages/s at %s, %.0f before',
              rate, vm.name, wanted)


def never_ends(source):
    """As far as can be told in some seconds and passes."""
    start = time.monotonic()
    info = {}
    while time.monotonic() < start + WITHOUT_S or \
            info['ram']['dirty-sync-count'] < PASSES:
        time.sleep(0.1)
        info = wait_migration(source, statuses=('active', *FINISHED))
        check(info['status'] == 'active', 'it is %s without', info['status'])
        check('cpu-throttle-percentage' not in info, '%r', info)
        check(time.monotonic() < start + 30 * PATIENCE, '%r', info)


def converge(t, budgets, cpus):
    guest, source, before = start_source(t, budgets[0], cpus)
    victim = begin(t, guest, source, budgets[1], cpus, 'without')
    never_ends(source)
    source.run('migrate_cancel')
    wait_migration(source)
    gives_up(victim)

    auto_converge(source)
    destination = begin(t, guest, source, budgets[1], cpus, 'b')
    shares = []
    info = wait_migration(source, 60, seen=lambda info: shares.append(
        info.get('cpu-throttle-percentage', 0)))
    check(info['status'] == 'completed', '%r', info)
    while shares[-1] == 0 and max(shares) > 0:
        shares.pop()  # in the switch-over
    check(shares == sorted(shares) and set(shares) <= {0, *SHARES} and
          max(shares) > 0, 'throttled by %r', shares)
    check('cpu-throttle-percentage' not in info, '%r', info)
    destination.wait_status('running')
    after = wait_rate(guest, destination, before)
    t.note('%.0f pages/s before, %.0f after; throttled up to %d %%; total '
           '%d ms, downtime %d ms, of which stop %d us', before, after,
           max(shares), info['total-time'], info['downtime'],
           info['vmemdirect']['stop-us'])
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def plain(t):
    converge(t, (None, None), 1)


def paged_2_cpus(t):
    converge(t, (ENOUGH, TIGHT), 2)


def cancel(t):
    """A cancelled migration leaves the guest as fast as it was; and so does
    one whose destination dies. Being throttled does not disturb its paging:
    what it reads back is right."""
    guest, source, before = start_source(t, TIGHT, 2)
    auto_converge(source)
    set_parameters(source, cpu_throttle_initial=90,
                   avail_switchover_bandwidth=1, throttle_trigger_threshold=1)
    for name, end in (('cancelled', lambda vm: source.run('migrate_cancel')),
                      ('killed', lambda vm: vm.kill())):
        victim = begin(t, guest, source, TIGHT, 2, name)
        wait_throttle(source, 90)
        end(victim)
        info = wait_migration(source)
        check(info['status'] in ('cancelled', 'failed'), '%r', info)
        check('cpu-throttle-percentage' not in info, '%r', info)
        wait_rate(guest, source, before)
    guest.wait_verified(alive=[source])
    source.quit()


def stopped_and_continued(t):
    """The operator's stop is not held up by a throttled guest, and cont does
    not end the throttling."""
    guest, source, _ = start_source(t, None, 2)
    auto_converge(source)
    set_parameters(source, cpu_throttle_initial=99,
                   avail_switchover_bandwidth=1)
    victim = begin(t, guest, source, None, 2, 'never')
    wait_throttle(source, 99)
    took = []
    for _ in range(20):
        start = time.monotonic()
        source.run('stop')
        took.append(time.monotonic() - start)
        source.run('cont')
        time.sleep(0.02)
    took.sort()
    t.note('stop took %.1f ms, at most %.1f ms', took[10] * 1e3,
           took[-1] * 1e3)
    check(took[10] < 0.02, 'stop took %.1f ms', took[10] * 1e3)
    source.check_alive()
    source.run('migrate_cancel')
    wait_migration(source)
    gives_up(victim)
    guest.wait_verified(alive=[source])
    source.quit()


TESTS = [(f.__name__, f) for f in (plain, paged_2_cpus, cancel,
                                   stopped_and_continued)]
