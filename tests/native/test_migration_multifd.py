# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration by several connections: it moves the guest, within the budgets,
with TLS too; what cannot take them is refused."""
import os

from vmtest import (MIB, QmpError, check, free_port, migrate, migration_address,
                    need, set_parameters)
from test_migration import (ENOUGH, TIGHT, check_only_one_runs, note,
                            start_destination, start_source)
from test_migration_tls import HOST, add, make_pki, start_waiting, x509


def use_multifd(vm, channels):
    vm.run('migrate-set-capabilities', {'capabilities': [
        {'capability': 'multifd', 'state': True}]})
    set_parameters(vm, multifd_channels=channels)


def finish(t, guest, info, source, destination):
    check(info['ram']['multifd-bytes'] > 0, 'nothing went by channels: %r',
          info['ram'])
    check_only_one_runs(guest, source, destination)
    note(t, guest, info, source, destination)
    guest.wait_verified(alive=[destination])


def move(t, from_budget, to_budget, *, kind='tcp', channels=2, cpus=1):
    need(paging=from_budget is not None or to_budget is not None)
    guest, source = start_source(t, from_budget, cpus=cpus)
    guest.wait_verified(alive=[source])
    uri = migration_address(kind, t.dir)
    destination = start_destination(t, guest, source, to_budget, uri,
                                    cpus=cpus)
    use_multifd(source, channels)
    info = migrate(source, destination, uri)
    finish(t, guest, info, source, destination)
    if to_budget is not None:
        destination.check_rss()
    source.quit()
    destination.quit()


def tight_to_tight(t):
    move(t, TIGHT, TIGHT, channels=4, cpus=2)


def plain_to_plain_unix(t):
    move(t, None, None, kind='unix', channels=8)


def enough_to_tight(t):
    move(t, ENOUGH, TIGHT)


def tls(t):
    """A handshake for each; a limit holds for all together."""
    need()
    pki = make_pki(t)
    guest, source = start_source(t, TIGHT)
    uri = 'tcp:%s:%d' % (HOST, free_port())
    destination = start_waiting(t, guest, source, uri,
                                x509(pki, 'server', 'server'))
    add(source, x509(pki, 'client', 'client'))
    use_multifd(source, 4)
    info = migrate(source, destination, uri, max_bandwidth=100 << 20)
    finish(t, guest, info, source, destination)
    rate = info['ram']['precopy-bytes'] * 1000 / \
        (info['total-time'] - info['downtime'])
    check(rate < 110 << 20, '%d MiB/s', rate / MIB)  # and what may burst
    source.quit()
    destination.quit()


def refused_elsewhere(t):
    """What is no connection, and a compression that there is not."""
    need()
    guest, source = start_source(t, TIGHT)
    use_multifd(source, 2)
    for command, arguments, word in (
            ('migrate', {'uri': 'file:' + os.path.join(t.dir, 'vm')},
             'multifd'),
            ('migrate', {'uri': 'exec:cat'}, 'multifd'),
            ('migrate-set-parameters', {'multifd-compression': 'zlib'},
             'zlib'),
            ('migrate-set-parameters', {'multifd-channels': 256},
             'multifd-channels')):
        try:
            source.run(command, arguments)
            check(False, '%s %r was taken', command, arguments)
        except QmpError as e:
            check(word in str(e), '%s: %s', command, e)
    source.quit()


TESTS = [(f.__name__, f) for f in (
    tight_to_tight, plain_to_plain_unix, enough_to_tight, tls,
    refused_elsewhere)]
