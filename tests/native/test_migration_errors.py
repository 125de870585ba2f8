# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that go wrong: at every instant one side, and only one, can
run the guest; nothing is lost."""
import contextlib
import os
import random
import select
import socket
import threading
import time

from vmtest import (MIB, QmpError, check, free_port, gives_up, migrate,
                    migration_address, set_parameters, wait_migration)
from test_migration import (MEM, TIGHT, WORK, start_destination,
                            start_source, vm_options)

SEED = int(os.environ.get('VMTEST_SEED', '1'))


def check_source_goes_on(guest, source, statuses=('failed',)):
    info = wait_migration(source, 30)
    check(info['status'] in statuses, 'migration is %s', info['status'])
    source.wait_status('running')
    guest.wait_progress(3, alive=[source])
    return info


def final_move(t, guest, source, cpus=1):
    """After all the trouble, a migration still works."""
    uri = migration_address('unix', t.dir, 'final')
    destination = start_destination(t, guest, source, TIGHT, uri, cpus=cpus,
                                    name='final')
    migrate(source, destination, uri)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def destination_killed(t):
    """kill -9 of the destination at random moments."""
    generator = random.Random(SEED)
    guest, source = start_source(t, TIGHT, cpus=2)
    for number in range(5):
        uri = migration_address(('tcp', 'unix')[number % 2], t.dir,
                                'k%d' % number)
        victim = start_destination(t, guest, source, TIGHT, uri, cpus=2,
                                   name='victim%d' % number)
        set_parameters(source, max_bandwidth=60 * MIB)
        source.run('migrate', {'uri': uri})
        delay = generator.uniform(0, 1.5)
        time.sleep(delay)
        victim.kill()
        check_source_goes_on(guest, source)
    guest.wait_verified(alive=[source])
    final_move(t, guest, source, cpus=2)


def source_killed(t):
    """The destination of a source that dies ends with an error."""
    generator = random.Random(SEED)
    for number in range(2):
        guest, source = start_source(t, TIGHT, name='src%d' % number)
        uri = migration_address('tcp', t.dir)
        destination = start_destination(t, guest, source, TIGHT, uri,
                                        name='dst%d' % number)
        set_parameters(source, max_bandwidth=40 * MIB)
        source.run('migrate', {'uri': uri})
        time.sleep(generator.uniform(0.1, 1))
        source.kill()
        status = destination.wait_exit()
        check(status > 0, 'the destination exits with %d', status)
        check(destination.stderr(), 'the destination says nothing')


def refused(t, *words, cpus=1, mem=MEM, machine='pc', options=None,
            destination_cpus=None):
    """A destination that differs: both sides say so, the source runs on."""
    guest, source = start_source(t, TIGHT, cpus=cpus)
    uri = migration_address('tcp', t.dir)
    destination = t.vm(guest, 'b', mem=mem, smp=destination_cpus or cpus,
                       machine=machine, incoming=uri, append=WORK,
                       **vm_options(TIGHT, **(options or {})))
    source.run('migrate', {'uri': uri})
    info = check_source_goes_on(guest, source)
    text = info.get('error-desc', '')
    check(text, 'the source gives no reason')
    status = destination.wait_exit()
    check(status > 0, 'the destination exits with %d', status)
    said = destination.stderr().lower()
    for word in words:
        check(word in said, 'the destination does not say %r but %r', word,
              said)
    t.note('source: %s', text)
    t.note('destination: %s', destination.stderr())
    guest.wait_verified(alive=[source])
    source.quit()


def other_ram_size(t):
    refused(t, mem=MEM + 32)


def other_cpu_count(t):
    refused(t, cpus=1, destination_cpus=2)


def other_machine(t):
    refused(t, machine='q35')


def garbage(t):
    """Bytes that are no stream: a clear end, never a crash."""
    guest, source = start_source(t, TIGHT)
    generator = random.Random(SEED)
    pieces = [b'', b'\0', b'\0' * 65536, b'\xff' * 4096,
              b'QEVM\0\0\0\3' + bytes(64), b'GET / HTTP/1.0\r\n\r\n',
              generator.randbytes(1), generator.randbytes(4096),
              generator.randbytes(1 << 20)]
    for number, piece in enumerate(pieces):
        port = free_port()
        destination = start_destination(
            t, guest, source, TIGHT, 'tcp:127.0.0.1:%d' % port,
            name='dst%d' % number)
        with socket.create_connection(('127.0.0.1', port), 5) as s:
            with contextlib.suppress(OSError):
                s.sendall(piece)
                s.shutdown(socket.SHUT_WR)
        ended = gives_up(destination)
        t.note('%r...: %s', piece[:4], 'ended' if ended else 'waits on')
        lines = [line for line in destination.stderr().splitlines()
                 if 'support requested feature' not in line]
        check(len(lines) == 1, 'after %r...: %r', piece[:8], lines)
    final_move(t, guest, source)


class Link:
    """A TCP relay that cuts both ways after a number of bytes forward."""

    def __init__(self, to_port, cut_after):
        self.to_port = to_port
        self.cut_after = cut_after
        self.forwarded = 0
        self.listener = socket.socket()
        self.listener.bind(('127.0.0.1', 0))
        self.listener.listen(8)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        pairs = {}  # socket -> (peer, forward)
        try:
            while self.forwarded < self.cut_after:
                ready = select.select([self.listener] + list(pairs), [], [],
                                      60)[0]
                if not ready:
                    return
                if self.listener in ready:
                    a = self.listener.accept()[0]
                    b = socket.create_connection(('127.0.0.1', self.to_port))
                    pairs[a], pairs[b] = (b, True), (a, False)
                    continue
                for s in ready:
                    self.pass_on(s, *pairs[s])
        except OSError:
            pass
        finally:
            self.listener.close()
            for s in pairs:
                s.close()

    def pass_on(self, s, peer, forward):
        limit = 65536
        if forward:
            limit = min(limit, self.cut_after - self.forwarded)
        data = s.recv(limit)
        if not data:
            raise ConnectionError
        peer.sendall(data)
        if forward:
            self.forwarded += len(data)


def through_link(t, guest, source, name, cut_after):
    port = free_port()
    destination = start_destination(t, guest, source, TIGHT,
                                    'tcp:127.0.0.1:%d' % port, name=name)
    link = Link(port, cut_after)
    set_parameters(source, max_bandwidth=10 << 30)
    source.run('migrate', {'uri': 'tcp:127.0.0.1:%d' % link.port})
    info = wait_migration(source, 60)
    link.thread.join(10)
    return info, destination, link


def cut_link(t):
    """The connection breaks after any number of bytes: either the source
    goes on and the destination ends, or the move was complete."""
    generator = random.Random(SEED)
    guest, source = start_source(t, TIGHT)
    info, destination, link = through_link(t, guest, source, 'whole',
                                           1 << 60)
    check(info['status'] == 'completed', 'through a relay: %r', info)
    total = link.forwarded
    source.quit()
    source = destination
    cuts = [1, 7, 100, 4096, total // 3, total // 2] + \
        [generator.randrange(total) for _ in range(3)] + \
        [total - n for n in (100000, 20000, 3000, 300, 20, 1)]
    moved = 0
    for number, cut in enumerate(cuts):
        info, destination, _ = through_link(t, guest, source,
                                            'cut%d' % number, max(1, cut))
        if info['status'] == 'completed':
            destination.wait_status('running')
            source.quit()
            source = destination
            moved += 1
        else:
            source.wait_status('running')
            gives_up(destination)
            destination.close()
        at = guest.mark()
        guest.wait_progress(3, alive=[source])
        check(all(name == source.name for _, name, _ in guest.lines[at + 1:]),
              'cut at %d: two processes run the guest', cut)
    t.note('%d of %d cuts came too late to stop the move', moved, len(cuts))
    guest.wait_verified(alive=[source])
    source.quit()


cut_link.limit = 240


def nobody_listens(t):
    guest, source = start_source(t, TIGHT)
    for uri in ('tcp:127.0.0.1:%d' % free_port(),
                'unix:' + os.path.join(t.dir, 'nobody')):
        with contextlib.suppress(QmpError):
            source.run('migrate', {'uri': uri})
        check_source_goes_on(guest, source)
    for uri in ('', 'tcp:', 'smoke:signals', 'tcp:127.0.0.1:99999',
                'unix:' + 'x' * 200):
        try:
            source.run('migrate', {'uri': uri})
        except QmpError as e:
            check(e.text, 'no text for %r', uri)
        else:
            check_source_goes_on(guest, source)
    guest.wait_verified(alive=[source])
    source.quit()


def two_at_once(t):
    """A second migrate while one runs is refused, the first goes on."""
    guest, source = start_source(t, TIGHT)
    uri = migration_address('unix', t.dir)
    destination = start_destination(t, guest, source, TIGHT, uri)
    set_parameters(source, max_bandwidth=60 * MIB)
    source.run('migrate', {'uri': uri})
    try:
        source.run('migrate', {'uri': uri + '2'})
    except QmpError as e:
        check(e.text, 'no text')
    else:
        check(False, 'a second migration was taken')
    set_parameters(source, max_bandwidth=10 << 30)
    info = wait_migration(source)
    check(info['status'] == 'completed', 'migration %r', info)
    guest.wait_verified(alive=[destination])
    source.quit()
    destination.quit()


TESTS = [(f.__name__, f) for f in (
    destination_killed, source_killed, other_ram_size,
    other_cpu_count, other_machine, garbage, cut_link, nobody_listens,
    two_at_once)]
