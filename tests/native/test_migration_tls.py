# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration with TLS: it moves the guest, nobody reads it on the way, and who
is not the right one is refused while the source goes on."""
import contextlib
import os
import socket
import subprocess
import threading
import time

from vmtest import (QmpError, Skip, build_dir, check, free_port, migrate,
                    migration_address, need, set_parameters, wait_migration)
from test_migration import (ENOUGH, TIGHT, check_only_one_runs,
                            start_destination, start_source)

HOST = '127.0.0.1'
MAGIC = b'VDMR'


def make_pki(t):
    """The directory of make-pki."""
    tool = os.path.join(build_dir(), 'tests', 'unit', 'crypto', 'make-pki')
    if not os.path.exists(tool):
        raise Skip('no make-pki; build it with ninja')
    path = os.path.join(t.dir, 'pki')
    subprocess.run([tool, path, HOST], check=True)
    return path


def x509(pki, name, endpoint, **more):
    return dict({'qom-type': 'tls-creds-x509', 'id': 'tls0',
                 'endpoint': endpoint, 'dir': os.path.join(pki, name)},
                **more)


def add(vm, properties, hostname=''):
    """Another object, if there is one; None: none."""
    with contextlib.suppress(QmpError):
        vm.run('object-del', {'id': 'tls0'})
    if properties:
        vm.run('object-add', properties)
    set_parameters(vm, tls_creds='tls0' if properties else '',
                   tls_hostname=hostname)


def start_waiting(t, guest, source, uri, properties, name='b'):
    destination = start_destination(t, guest, source, TIGHT, 'defer',
                                    name=name)
    add(destination, properties)
    destination.run('migrate-incoming', {'uri': uri})
    return destination


class Tap:
    """Passes one connection on, and keeps what the source has sent."""

    def __init__(self, to_port):
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.to_port = to_port
        self.sent = bytearray()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        a, _ = self.listener.accept()
        b = socket.create_connection((HOST, self.to_port))
        back = threading.Thread(target=self.copy, args=(b, a, bytearray()),
                                daemon=True)
        back.start()
        self.copy(a, b, self.sent)
        back.join()

    @staticmethod
    def copy(source, sink, record):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                record += data
                sink.sendall(data)
        for s in (source, sink):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


def x509_tcp(t):
    """Objects of the command line; what passes on the way is not readable."""
    pki = make_pki(t)
    need()
    guest, source = start_source(t, TIGHT, cpus=2)
    guest.wait_verified(alive=[source])
    source.run('object-add', x509(pki, 'client', 'client'))
    port = free_port()
    destination = start_destination(
        t, guest, source, ENOUGH, 'defer', cpus=2,
        extra=['-object', 'tls-creds-x509,id=tls1,endpoint=server,dir=' +
               os.path.join(pki, 'server')])
    set_parameters(source, tls_creds='tls0')
    set_parameters(destination, tls_creds='tls1')
    destination.run('migrate-incoming', {'uri': 'tcp:%s:%d' % (HOST, port)})
    tap = Tap(port)
    info = migrate(source, destination, 'tcp:%s:%d' % (HOST, tap.port))
    check_only_one_runs(guest, source, destination)
    guest.wait_verified(alive=[destination])
    tap.thread.join(20)
    check(len(tap.sent) > info['ram']['transferred'], '%d bytes passed',
          len(tap.sent))
    check(tap.sent[0] == 0x16 and MAGIC not in tap.sent, 'it is readable')
    t.note('total %s ms, downtime %s ms', info['total-time'],
           info['downtime'])
    source.quit()
    destination.quit()


def psk_unix_and_back(t):
    """By object-add; the objects are gone before the migration ends."""
    need()
    guest, source = start_source(t, TIGHT)
    keys = os.path.join(t.dir, 'keys')
    os.mkdir(keys)
    with open(os.path.join(keys, 'keys.psk'), 'w', encoding='ascii') as f:
        f.write('qemu:8d3f0a5d7c6b4e2f9a1b0c2d3e4f5061\n')
    for number in range(2):
        uri = migration_address('unix', t.dir, 'm%d' % number)
        psk = {'qom-type': 'tls-creds-psk', 'id': 'tls0', 'dir': keys}
        destination = start_waiting(t, guest, source, uri,
                                    dict(psk, endpoint='server'),
                                    name='dst%d' % number)
        add(source, dict(psk, endpoint='client'))
        destination.run('object-del', {'id': 'tls0'})
        migrate(source, destination, uri)
        source.run('object-del', {'id': 'tls0'})
        check_only_one_runs(guest, source, destination)
        source.quit()
        source = destination
    guest.wait_verified(alive=[source])
    source.quit()


def client_connects(t):
    """As libvirt does: a descriptor, and the name of the host."""
    pki = make_pki(t)
    guest, source = start_source(t, TIGHT)
    path = os.path.join(t.dir, 'm.sock')
    destination = start_waiting(t, guest, source, 'unix:' + path,
                                x509(pki, 'server', 'server'))
    add(source, x509(pki, 'client', 'client'), HOST)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        source.run('getfd', {'fdname': 'migrate'}, fds=[s.fileno()])
    migrate(source, destination, 'fd:migrate')
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def fails(guest, source, uri, *words):
    source.run('migrate', {'uri': uri})
    info = wait_migration(source, 30)
    check(info['status'] == 'failed', '%r', info)
    for word in words:
        check(word in info['error-desc'], 'the source does not say %r: %s',
              word, info['error-desc'])
    source.wait_status('running')
    guest.wait_progress(2, alive=[source])
    return info['error-desc']


def refused(t):
    """Everybody who is not the right one, one after the other; then the right
    one, with a key that a secret opens."""
    pki = make_pki(t)
    guest, source = start_source(t, TIGHT)
    uri = migration_address('tcp', t.dir)
    destination = start_waiting(t, guest, source, uri,
                                x509(pki, 'server', 'server'))
    wrong = (
        (None, '', 'the destination refused: this side wants TLS',
         'is not TLS'),
        (x509(pki, 'nobody', 'client'), '', 'Certificate is required',
         'ertificate is required'),
        (x509(pki, 'stranger', 'client', **{'sanity-check': False}), '',
         'has ended TLS', 'issuer is unknown'),
        (x509(pki, 'client', 'client'), 'elsewhere.example',
         'does not match', 'has ended TLS'),
    )
    for properties, hostname, at_source, at_destination in wrong:
        add(source, properties, hostname)
        text = fails(guest, source, uri, at_source)
        said = destination.run('query-migrate')
        check(said['status'] == 'setup' and
              at_destination in said.get('error-desc', ''), '%r', said)
        t.note('source: %s; destination: %s', text, said['error-desc'])
    source.run('object-add', {'qom-type': 'secret', 'id': 'pw',
                              'data': 'open sesame'})
    add(source, x509(pki, 'locked', 'client', passwordid='pw'))
    migrate(source, destination, uri)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def refused_by_source(t):
    """Destinations without TLS, of another name, and out of date."""
    pki = make_pki(t)
    guest, source = start_source(t, TIGHT)
    add(source, x509(pki, 'client', 'client'))
    for name, word in ((None, 'does not use TLS'), ('other', 'not match'),
                       ('expired', 'expired')):
        uri = migration_address('tcp', t.dir)
        destination = start_waiting(
            t, guest, source, uri,
            name and x509(pki, name, 'server', **{'sanity-check': False}),
            name='dst-%s' % name)
        t.note(fails(guest, source, uri, word))
        check('ignored a connection' in destination.stderr(), '%s',
              destination.stderr())
        destination.quit()
    guest.wait_verified(alive=[source])
    source.quit()


def silent(t):
    """Who connects and says nothing holds up neither QMP nor, for long, the
    right one; a source whose peer is silent can be cancelled."""
    pki = make_pki(t)
    guest, source = start_source(t, TIGHT)
    add(source, x509(pki, 'client', 'client'))
    with socket.create_server((HOST, 0)) as listener:
        uri = 'tcp:%s:%d' % listener.getsockname()
        source.run('migrate', {'uri': uri})
        peer, _ = listener.accept()
        guest.wait_progress(2, alive=[source])
        start = time.monotonic()
        source.run('migrate_cancel')
        info = wait_migration(source, 5)
        check(info['status'] == 'cancelled', '%r', info)
        check(time.monotonic() - start < 2, 'a cancel takes %g s',
              time.monotonic() - start)
        peer.close()
    port = free_port()
    uri = 'tcp:%s:%d' % (HOST, port)
    destination = start_waiting(t, guest, source, uri,
                                x509(pki, 'server', 'server'))
    with socket.create_connection((HOST, port)):
        start = time.monotonic()
        destination.run('query-migrate')
        check(time.monotonic() - start < 1, 'QMP waits for the handshake')
        migrate(source, destination, uri)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


TESTS = [(f.__name__, f) for f in (
    x509_tcp, psk_unix_and_back, client_connects, refused, refused_by_source,
    silent)]
