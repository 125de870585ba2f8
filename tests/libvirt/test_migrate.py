# SPDX-License-Identifier: GPL-2.0-or-later
"""virsh migrate between two hosts on this machine; save and restore.

The disk is the same file for both (--unsafe, since libvirt does not take a
local file for shared). Ports are libvirt's own, from 49152 on.
"""
import json
import re
import time

from domain import (BALLOON, DISK, MIB, NETWORK, NO_BALLOON, PATIENCE, RANDOM,
                    SERIAL_FILE)
from test_life import start, wait_state

DEVICES = (SERIAL_FILE, DISK, NETWORK, RANDOM, BALLOON)
PAGING = 'swap-dir=/var/lib/libvirt/swap,memory=96M,tracker=soft'


def migrate_args(name, to, *flags):
    return ('migrate', '--live', '--unsafe', '--verbose', *flags, name,
            to.uri(), '--migrateuri', 'tcp://127.0.0.1')


def migrate(domain, source, to, *flags):
    at = domain.mark(to)
    source.virsh(*migrate_args(domain.name, to, *flags))
    assert to.virsh('domstate', domain.name) == 'running'
    domain.wait_line(to, r'P \d+ ', at)
    domain.wait_verified(to)


def paged_domain(t, name='vm', **changes):
    options = {'mem': 256, 'paging': PAGING, 'devices': DEVICES,
               'disk': t.shared_disk(), 'append': {'rate': 50}}
    options.update(changes)
    return t.domain(name, **options)


def there_and_back(t):
    """Four times, under load, with half of the memory paged out."""
    a, b = t.host('a'), t.host('b')
    domain = paged_domain(t)
    start(t, a, domain)
    a.virsh('undefine', domain.name)  # it is transient from here on
    for source, to in ((a, b), (b, a)) * 2:
        migrate(domain, source, to)
        assert source.virsh('list', '--all', '--name') == ''
    reply = json.loads(a.virsh('qemu-monitor-command', domain.name,
                               '{"execute":"query-vmemdirect"}'))
    assert reply['return']['budget-bytes'] == 96 * MIB
    a.virsh('destroy', domain.name)


def persistent(t):
    """--persistent --undefinesource: the definition moves, too."""
    a, b = t.host('a'), t.host('b')
    domain = paged_domain(t)
    start(t, a, domain)
    migrate(domain, a, b, '--persistent', '--undefinesource')
    assert a.virsh('list', '--all', '--name') == ''
    b.virsh('destroy', domain.name)
    assert b.virsh('list', '--all', '--name').split() == [domain.name]
    b.virsh('undefine', domain.name)


def peer_to_peer(t):
    a, b = t.host('a'), t.host('b')
    domain = paged_domain(t)
    start(t, a, domain)
    a.virsh('undefine', domain.name)
    migrate(domain, a, b, '--p2p')
    b.virsh('destroy', domain.name)


def tls(t):
    """--tls, with certificates of one authority; and not with those of
    another, when the source goes on."""
    a, b = t.host('a'), t.host('b')
    pki, stranger = t.make_pki('pki'), t.make_pki('stranger')
    a.put_certificates(pki + '/server', pki + '/client')
    b.put_certificates(stranger + '/server', stranger + '/client')
    domain = paged_domain(t)
    start(t, a, domain)
    a.virsh('undefine', domain.name)
    said = a.refused(*migrate_args(domain.name, b, '--tls'))
    t.note('%s', said.splitlines()[-1])
    wait_state(a, domain.name, 'running')
    b.put_certificates(pki + '/server', pki + '/client')
    migrate(domain, a, b, '--tls')
    b.virsh('destroy', domain.name)


def parallel(t):
    """--parallel: several connections, there and back."""
    a, b = t.host('a'), t.host('b')
    domain = paged_domain(t)
    start(t, a, domain)
    a.virsh('undefine', domain.name)
    migrate(domain, a, b, '--parallel', '--parallel-connections', '2')
    migrate(domain, b, a, '--parallel')
    a.virsh('destroy', domain.name)


def paused_stays_paused(t):
    a, b = t.host('a'), t.host('b')
    domain = paged_domain(t)
    start(t, a, domain)
    a.virsh('undefine', domain.name)
    a.virsh('suspend', domain.name)
    a.virsh(*migrate_args(domain.name, b))
    assert b.virsh('domstate', domain.name) == 'paused'
    b.virsh('resume', domain.name)
    domain.wait_verified(b)
    b.virsh('destroy', domain.name)


def wait_job(host, name, child):
    deadline = time.monotonic() + 20 * PATIENCE
    while True:
        assert child.poll() is None, child.communicate()[0]
        info = host.virsh('domjobinfo', name)
        if re.search(r'Memory processed:\s+\d', info):
            return info
        assert time.monotonic() < deadline, info
        time.sleep(0.1)


def abort(t):
    """A slow one is looked at, given other limits, and aborted; then it goes
    all the same."""
    a, b = t.host('a'), t.host('b')
    domain = paged_domain(t)
    start(t, a, domain)
    a.virsh('undefine', domain.name)
    child = a.virsh_popen(*migrate_args(domain.name, b, '--bandwidth', '4'))
    info = wait_job(a, domain.name, child)
    for word in ('Operation:        Outgoing migration',
                 'Memory remaining:', 'Expected downtime:'):
        assert word in info, info
    assert a.virsh('migrate-getspeed', domain.name)
    a.virsh('migrate-setspeed', domain.name, '5')
    a.virsh('migrate-setmaxdowntime', domain.name, '400')
    assert a.virsh('migrate-getmaxdowntime', domain.name) == '400'
    a.virsh('domjobabort', domain.name)
    out = child.communicate(timeout=60)[0]
    assert child.returncode != 0 and 'canceled by client' in out, out
    assert a.virsh('domstate', domain.name) == 'running'
    assert b.virsh('list', '--all', '--name') == ''
    domain.wait_verified(a)
    a.virsh('migrate-setspeed', domain.name, '8796093022207')
    migrate(domain, a, b)
    b.virsh('destroy', domain.name)


def destination_refuses(t):
    """No room for the swap file there: virsh says so, and it runs on here."""
    a, b = t.host('a'), t.host('b')
    b.remove_swap()
    domain = paged_domain(t)
    start(t, a, domain)
    a.virsh('undefine', domain.name)
    said = a.refused(*migrate_args(domain.name, b))
    assert 'swap' in said, said
    t.note('%s', said.splitlines()[-1])
    assert a.virsh('domstate', domain.name) == 'running'
    domain.wait_verified(a)
    a.virsh('destroy', domain.name)


def destination_dies(t):
    """Killed on the way: the source goes on, and may try again."""
    a, b = t.host('a'), t.host('b')
    domain = paged_domain(t)
    start(t, a, domain)
    a.virsh('undefine', domain.name)
    child = a.virsh_popen(*migrate_args(domain.name, b, '--bandwidth', '4'))
    wait_job(a, domain.name, child)
    b.kill_domain(domain.name)
    out = child.communicate(timeout=60)[0]
    assert child.returncode != 0, out
    wait_state(a, domain.name, 'running')
    domain.wait_verified(a)
    a.virsh('migrate-setspeed', domain.name, '8796093022207')
    migrate(domain, a, b)
    b.virsh('destroy', domain.name)


def save_and_restore(t):
    a = t.host('a')
    domain = paged_domain(t)
    start(t, a, domain)
    path = a.path('saved')
    a.virsh('save', domain.name, path)
    assert a.virsh('domstate', domain.name) == 'shut off'
    a.virsh('restore', path)
    domain.wait_verified(a)
    a.virsh('managedsave', domain.name)
    assert a.virsh('domstate', domain.name) == 'shut off'
    a.virsh('start', domain.name)
    domain.wait_verified(a)
    a.virsh('destroy', domain.name)
    a.virsh('undefine', domain.name)


TESTS = [there_and_back, persistent, peer_to_peer, tls, parallel,
         paused_stays_paused, abort, destination_refuses, destination_dies,
         save_and_restore]
