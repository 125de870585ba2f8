# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration through descriptors, commands and files: VMs that are saved and
restored, and what a client that connects by itself does."""
import fcntl
import os
import shutil
import socket
import struct
import threading

from vmtest import (PATIENCE, QmpError, Skip, check, need, set_parameters,
                    wait_migration)
from test_migration import (ENOUGH, MEM, TIGHT, WORK, check_only_one_runs,
                            start_destination, start_source)

ETH_P_RARP = 0x8035    # linux/if_ether.h
SIOCGIFFLAGS = 0x8913  # linux/sockios.h
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def send(source, uri, statuses=('completed',)):
    set_parameters(source, max_bandwidth=10 << 30)
    source.run('migrate', {'uri': uri})
    info = wait_migration(source)
    check(info['status'] in statuses, 'migration %r', info)
    return info


def save(source, uri):
    info = send(source, uri)
    source.wait_status('postmigrate')
    return info


def restore(t, guest, uri, budget, **kw):
    destination = start_destination(t, guest, None, budget, uri,
                                    name='restored', **kw)
    destination.wait_status('running')
    guest.wait_verified(alive=[destination])
    if budget is not None:
        destination.check_rss()
    destination.quit()


def save_and_restore(t, from_budget, to_budget, save_uri, restore_uri,
                     cpus=1, append=None):
    guest, source = start_source(t, from_budget, cpus=cpus, append=append)
    guest.wait_verified(alive=[source])
    info = save(source, save_uri)
    t.note('saved in %d ms, %d MiB', info['total-time'],
           info['ram']['transferred'] >> 20)
    source.quit()
    restore(t, guest, restore_uri, to_budget, cpus=cpus)


def file_enough_to_tight(t):
    uri = 'file:' + os.path.join(t.dir, 'vm')
    save_and_restore(t, ENOUGH, TIGHT, uri, uri, cpus=2)


def file_tight_to_plain(t):
    uri = 'file:' + os.path.join(t.dir, 'vm')
    save_and_restore(t, TIGHT, None, uri, uri)


def command_gzip(t):
    path = os.path.join(t.dir, 'vm.gz')
    save_and_restore(t, TIGHT, TIGHT, 'exec:gzip -1 > ' + path,
                     'exec:gzip -dc ' + path, append={'rate': 4})


def damaged(t):
    """A file that was cut short, or whose command finds it wrong, does not
    run; the source goes on by cont, and can be saved again."""
    guest, source = start_source(t, TIGHT)
    path = os.path.join(t.dir, 'vm')
    save(source, 'file:' + path)
    with open(path, 'r+b') as f:
        f.truncate(os.path.getsize(path) - 1)
    for number, uri in enumerate(('file:' + path,
                                  'exec:cat %s; exit 3' % path)):
        victim = start_destination(t, guest, source, TIGHT, uri,
                                   name='victim%d' % number, wait_qmp=False)
        check(victim.wait_exit() == 1, 'it did not fail')
        word = ('too early', 'status 3')[number]
        check(word in victim.stderr(), 'it says: %s', victim.stderr())
    source.run('cont')
    guest.wait_verified(alive=[source])
    save(source, 'file:' + path)
    source.quit()
    restore(t, guest, 'file:' + path, TIGHT)


def full_disk(t):
    """A command that cannot write ends it, and the source goes on."""
    guest, source = start_source(t, TIGHT)
    info = send(source, 'exec:cat > /dev/full', ['failed'])
    check('status 1' in info['error-desc'], '%r', info)
    source.wait_status('running')
    guest.wait_verified(alive=[source])
    source.quit()


def client_connects(t):
    """As libvirt does: the client has the connection, and gives its end to
    the source by getfd."""
    guest, source = start_source(t, TIGHT)
    path = os.path.join(t.dir, 'm.sock')
    destination = start_destination(t, guest, source, TIGHT, 'defer')
    destination.run('migrate-incoming', {'uri': 'unix:' + path})
    source.run('migrate-set-capabilities', {
        'capabilities': [{'capability': 'return-path', 'state': True}]})
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        source.run('getfd', {'fdname': 'migrate'}, fds=[s.fileno()])
    send(source, 'fd:migrate')
    destination.wait_status('running')
    check_only_one_runs(guest, source, destination)
    try:
        source.run('migrate', {'uri': 'fd:migrate'})
    except QmpError as e:
        check('handed over' in e.text, '%s', e)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


def client_saves(t):
    """As libvirt does: a paused VM goes through a pipe into a file, and comes
    back from a descriptor that the process inherits."""
    guest, source = start_source(t, TIGHT)
    path = os.path.join(t.dir, 'vm')
    reader, writer = os.pipe()

    def copy():
        with open(reader, 'rb') as pipe, open(path, 'wb') as out:
            shutil.copyfileobj(pipe, out)

    copier = threading.Thread(target=copy)
    copier.start()
    source.run('stop')
    source.run('getfd', {'fdname': 'migrate'}, fds=[writer])
    os.close(writer)
    save(source, 'fd:migrate')
    copier.join(30)
    check(not copier.is_alive(), 'the pipe does not end')
    source.quit()
    with open(path, 'rb') as f:
        destination = start_destination(t, guest, source, TIGHT, 'defer',
                                        pass_fds=[f.fileno()])
        destination.run('migrate-incoming', {'uri': 'fd:%d' % f.fileno()})
    destination.wait_status('paused')
    destination.run('cont')
    guest.wait_verified(alive=[destination])
    destination.quit()


def listen_to_rarp(name):
    """A socket on the network side of a tap interface, which is set up."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                      socket.htons(ETH_P_RARP))
    request = struct.pack('16sH14x', name.encode(), 0)
    flags = struct.unpack('16sH14x', fcntl.ioctl(s, SIOCGIFFLAGS,
                                                 request))[1]
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack('16sH14x', name.encode(),
                                             flags | IFF_UP))
    s.bind((name, ETH_P_RARP))
    s.settimeout(10 * PATIENCE)
    return s


def announces_itself(t):
    """The network learns where the card is: by rounds of broadcasts when the
    VM first runs at the destination, and by announce-self."""
    if os.geteuid() != 0 or not os.access('/dev/net/tun', os.R_OK | os.W_OK):
        raise Skip('needs root and /dev/net/tun')
    need()
    guest = t.guest()
    name = 'vmt%d' % os.getpid()
    card = ['-device', 'virtio-net-pci,netdev=n,mac=52:54:00:0a:0b:0c']
    source = t.vm(guest, 'a', mem=MEM, append=WORK,
                  extra=['-netdev', 'user,id=n'] + card)
    guest.wait_filled(alive=[source], timeout=90)
    # The address travels: the destination's own is another one.
    card[1] = 'virtio-net-pci,netdev=n,mac=52:54:00:00:00:01'
    uri = 'unix:' + os.path.join(t.dir, 'm.sock')
    destination = t.vm(guest, 'b', mem=MEM, incoming=uri, append=WORK,
                       extra=['-S', '-netdev', 'tap,id=n,script=no,'
                              'downscript=no,ifname=' + name] + card)
    set_parameters(destination, announce_rounds=3, announce_initial=20,
                   announce_step=20)
    with listen_to_rarp(name) as s:
        send(source, uri)
        destination.wait_status('paused')
        destination.run('cont')
        frames = [s.recv(2048) for _ in range(3)]
        destination.run('announce-self', {'initial': 0, 'max': 0,
                                          'rounds': 1, 'step': 1})
        frames.append(s.recv(2048))
        s.settimeout(0.3)
        try:
            check(False, 'one more: %r', s.recv(2048))
        except socket.timeout:
            pass
    sender = bytes([0x52, 0x54, 0, 10, 11, 12])
    for frame in frames:
        check(frame[:14] == b'\xff' * 6 + sender + b'\x80\x35',
              'not an announcement: %r', frame)
    source.quit()
    guest.wait_verified(alive=[destination])
    destination.quit()


TESTS = [(f.__name__, f) for f in (
    file_enough_to_tight, file_tight_to_plain, command_gzip, damaged,
    full_disk, client_connects, client_saves, announces_itself)]
