# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that gives memory up: it costs nothing any more, and is zero."""
import os
import time

from vmtest import (MIB, PAGE, PATIENCE, QmpError, check, migrate,
                    migration_address, need)

BALLOON = ['-device', 'virtio-balloon-pci,id=b,free-page-reporting=on']
PATH = '/machine/peripheral/b'
MEM = 256        # MiB of RAM
GIVEN = 128      # MiB that go into the balloon, all cold
FOLLOWER = {'mib': 192, 'hot': 32, 'rate': 20, 'verify': 1, 'balloon': 1,
            'fill': 'zero-part'}
# Half of what is worked on fits: every state of a chunk meets discards.
CHURN = {'mib': 160, 'rate': 0, 'verify': 2, 'discard': 2,
         'fill': 'zero-part'}


def start(t, append, name='vm', guest=None, **kw):
    need()
    guest = guest or t.guest(name)
    vm = t.vm(guest, name, append=append, extra=BALLOON, **kw)
    if 'incoming' not in kw:
        guest.wait_filled(alive=[vm], timeout=90)
    return guest, vm


def wait_for(what, ready, timeout=30):
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = ready()
        if value:
            return value
        check(time.monotonic() < deadline, 'not in time: %s', what)
        time.sleep(0.05)


def ask(guest, vm, mib):
    """The balloon is to leave so much to the guest, and does."""
    at, events = guest.mark(), len(vm.qmp.events)
    pages = (MEM - mib) * MIB // PAGE
    vm.run('balloon', {'value': mib * MIB})
    guest.wait(r'A %d$' % pages, at, alive=[vm])
    check(vm.run('query-balloon')['actual'] == mib * MIB, 'actual is %r',
          vm.run('query-balloon'))

    def told():
        vm.qmp.drain()
        return any(e['event'] == 'BALLOON_CHANGE' and
                   e['data']['actual'] == mib * MIB
                   for e in vm.qmp.events[events:])
    wait_for('BALLOON_CHANGE', told)


def swap_blocks(vm):
    return os.stat(os.path.join(vm.dir, 'swap')).st_blocks * 512


def inflate_and_deflate(t):
    """The balloon's pages take no budget, no RAM and no blocks; afterwards
    they are zero, and the guest uses them again."""
    guest, vm = start(t, FOLLOWER, mem=MEM, vmemdirect={
        'memory': 96, 'keep-swap': 'on', 'aging-interval': 100})
    guest.wait_verified(alive=[vm])
    before, blocks = vm.paging(), swap_blocks(vm)
    check(before['swapped-bytes'] > 32 * MIB, 'only %d MiB are swapped',
          before['swapped-bytes'] >> 20)
    ask(guest, vm, MEM - GIVEN)
    p = vm.paging()
    check(p['discarded-bytes'] == GIVEN * MIB, 'discarded %d',
          p['discarded-bytes'])
    check(p['zero-bytes'] >= GIVEN * MIB, 'only %d MiB are zero',
          p['zero-bytes'] >> 20)
    left = (MEM - GIVEN) * MIB
    wait_for('blocks of the swap file', lambda: swap_blocks(vm) <= left)
    wait_for('stored bytes', lambda: vm.paging()['stored-bytes'] <= left)
    t.note('swap file %d to %d MiB, resident %d to %d MiB', blocks >> 20,
           swap_blocks(vm) >> 20, before['resident-bytes'] >> 20,
           vm.paging()['resident-bytes'] >> 20)
    check(swap_blocks(vm) < blocks, 'no blocks were punched')
    guest.wait_verified(alive=[vm])
    ask(guest, vm, MEM)
    guest.wait_verified(alive=[vm])  # looks at all of them again
    check(vm.paging()['discarded-bytes'] == GIVEN * MIB,
          'deflating has discarded')
    vm.check_rss()
    vm.quit()


def without_paging(t):
    """RSS, seen from outside, goes down by what is given up, and up again."""
    guest, vm = start(t, FOLLOWER, mem=MEM)
    guest.wait_verified(alive=[vm])
    before = vm.rss_bytes()
    ask(guest, vm, MEM - GIVEN)
    inside = vm.rss_bytes()
    # A quarter of the cold pages was never touched.
    check(inside <= before - GIVEN * MIB // 2, 'RSS %d to %d MiB',
          before >> 20, inside >> 20)
    guest.wait_verified(alive=[vm])
    ask(guest, vm, MEM)
    guest.wait_verified(alive=[vm])
    t.note('RSS %d, %d, %d MiB', before >> 20, inside >> 20,
           vm.rss_bytes() >> 20)
    vm.quit()


def statistics(t):
    guest, vm = start(t, FOLLOWER, mem=MEM)

    def stats():
        return vm.run('qom-get', {'path': PATH, 'property': 'guest-stats'})

    def interval(value):
        vm.run('qom-set', {'path': PATH, 'value': value,
                           'property': 'guest-stats-polling-interval'})
    check({'name': 'b', 'type': 'child<virtio-balloon-pci>'} in
          vm.run('qom-list', {'path': '/machine/peripheral'}), 'no balloon')
    first = stats()['stats']
    check(first['stat-total-memory'] == 192 * MIB and
          first['stat-swap-in'] == (1 << 64) - 1, '%r', first)
    interval(1)
    ask(guest, vm, MEM - GIVEN)
    free = first['stat-free-memory'] - GIVEN * MIB
    wait_for('new statistics',
             lambda: stats()['stats']['stat-free-memory'] == free)
    check(stats()['last-update'] >= time.time() - 5, '%r', stats())
    interval(0)
    for bad in (-1, 1 << 32, '1', None):
        try:
            interval(bad)
        except QmpError as e:
            check(e.text, 'no text')
        else:
            check(False, '%r was taken', bad)
    vm.quit()


def churn(t, **kw):
    guest, vm = start(t, CHURN, **kw)
    guest.wait_verified(2, alive=[vm])
    if 'vmemdirect' in kw:
        p = vm.paging()
        check(p['discarded-bytes'] > 16 * MIB, 'only %d MiB were discarded',
              p['discarded-bytes'] >> 20)
        t.note('discarded %d MiB, in %d MiB, out %d MiB',
               p['discarded-bytes'] >> 20, p['page-in-bytes'] >> 20,
               p['page-out-bytes'] >> 20)
    vm.check_rss()
    vm.quit()


def churn_paged(t):
    """Discards of pages that are being paged in and out."""
    churn(t, mem=192, smp=2, vmemdirect={'memory': 80})


def churn_mode_copy(t):
    churn(t, mem=192, smp=2, vmemdirect={'memory': 80, 'mode': 'copy'})


def churn_huge_chunks(t):
    churn(t, mem=192, smp=2, vmemdirect={'memory': 80, 'chunk-pages': 512})


def churn_small_chunks(t):
    churn(t, mem=192, vmemdirect={'memory': 80, 'chunk-pages': 16})


def churn_plain(t):
    churn(t, mem=192, smp=2)


def churn_budget_changes(t):
    guest, vm = start(t, CHURN, mem=192, smp=2, vmemdirect={'memory': 128})
    for mib in (32, 128, 24, 160, 64):
        vm.set_budget(mib)
        wait_for('budget %d MiB' % mib, lambda: vm.paging()['budget'][
            'state'] == 'reached')
        vm.rss_peak_reset()
        guest.wait_progress(3, alive=[vm])
        vm.check_rss()
    guest.wait_verified(alive=[vm])
    vm.quit()


def churn_while_migrating(t, source=80, destination=80):
    """What was discarded after it was sent arrives as zero."""
    def paged(mib):
        return {'memory': mib} if mib else None
    append = dict(CHURN, rate=60)
    guest, vm = start(t, append, 'source', mem=192, smp=2,
                      vmemdirect=paged(source))
    uri = migration_address('unix', t.dir)
    _, to = start(t, append, 'destination', guest, mem=192, smp=2,
                  incoming=uri, vmemdirect=paged(destination))
    migrate(vm, to, uri, timeout=120, downtime_limit=2000)
    vm.quit()
    guest.wait_verified(2, alive=[to])
    to.check_rss()
    to.quit()


def churn_plain_to_paged(t):
    churn_while_migrating(t, source=None)


def churn_paged_to_plain(t):
    churn_while_migrating(t, destination=None)


def follow_while_migrating(t):
    """Balloon, target and statistics move along."""
    guest, vm = start(t, FOLLOWER, 'source', mem=MEM,
                      vmemdirect={'memory': 96})
    ask(guest, vm, MEM - GIVEN)
    uri = migration_address('unix', t.dir)
    _, to = start(t, FOLLOWER, 'destination', guest, mem=MEM, incoming=uri,
                  vmemdirect={'memory': 64})
    info = migrate(vm, to, uri)
    vm.quit()
    check(to.run('query-balloon')['actual'] == (MEM - GIVEN) * MIB,
          'the balloon is of another size')
    t.note('sent %d MiB', info['ram']['transferred'] >> 20)
    guest.wait_verified(alive=[to])
    ask(guest, to, MEM)
    guest.wait_verified(alive=[to])
    to.quit()


def reset_empties_it(t):
    guest, vm = start(t, FOLLOWER, mem=MEM, vmemdirect={'memory': 96})
    ask(guest, vm, MEM - GIVEN)
    at = guest.mark()
    vm.run('system_reset')
    guest.wait(r'F \d+ ', at, alive=[vm], timeout=60)
    # What the host wants has stayed, and the new driver follows.
    guest.wait(r'A %d$' % (GIVEN * MIB // PAGE), at, alive=[vm])
    guest.wait_verified(alive=[vm])
    vm.quit()


def behind_root_port(t):
    """On a bus of its own, as libvirt puts it: found, driven, migrated."""
    need()
    guest = t.guest()
    extra = ['-device', 'pcie-root-port,id=pci.1,bus=pcie.0,addr=0x1,port=8,'
             'chassis=1,multifunction=on',
             '-device', 'pcie-root-port,id=pci.2,bus=pcie.0,addr=0x1.0x1,'
             'port=9,chassis=2',
             '-device', 'virtio-balloon-pci,id=b,bus=pci.2,addr=0x0,'
             'free-page-reporting=on']
    vm = t.vm(guest, 'vm', mem=MEM, append=FOLLOWER, machine='q35',
              extra=extra)
    guest.wait_filled(alive=[vm], timeout=90)
    ask(guest, vm, MEM - GIVEN)
    uri = migration_address('unix', t.dir)
    to = t.vm(guest, 'destination', mem=MEM, append=FOLLOWER, machine='q35',
              extra=extra, incoming=uri)
    migrate(vm, to, uri)
    vm.quit()
    ask(guest, to, MEM)
    guest.wait_verified(alive=[to])
    to.quit()


TESTS = [(f.__name__, f) for f in (
    inflate_and_deflate, without_paging, statistics, churn_paged,
    churn_mode_copy, churn_huge_chunks, churn_small_chunks, churn_plain,
    churn_budget_changes, churn_while_migrating, churn_plain_to_paged,
    churn_paged_to_plain, follow_while_migrating, reset_empties_it,
    behind_root_port)]
