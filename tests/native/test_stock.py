# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness and the guest themselves, proved with stock QEMU: what fails
here is a fault of the tests or of the machine, not of our binary."""
from vmtest import check, migrate, migration_address, need

WORK = {'mib': 128, 'hot': 32, 'rate': 50, 'verify': 1, 'fill': 'zero-part'}


def stock_migration(t, kind, cpus):
    need(ours=False, stock=True, paging=False)
    guest = t.guest()
    work = dict(WORK)
    source = t.vm(guest, 'a', stock=True, smp=cpus, append=work)
    guest.wait_filled(alive=[source])
    guest.wait_verified(alive=[source])
    uri = migration_address(kind, t.dir)
    destination = t.vm(guest, 'b', stock=True, smp=cpus, append=work,
                       incoming=uri)
    info = migrate(source, destination, uri)
    guest.wait_verified(alive=[destination])
    guest.wait_progress(2, alive=[destination])
    t.note('total %d ms, downtime %d ms, the guest lost %.1f ms',
           info['total-time'], info['downtime'], guest.gap_ms('a', 'b'))
    source.quit()
    check(guest.rate('b') > 0, 'no work done at the destination')


def tcp_1(t):
    stock_migration(t, 'tcp', 1)


def unix_2(t):
    stock_migration(t, 'unix', 2)


TESTS = [(f.__name__, f) for f in (tcp_1, unix_2)]
