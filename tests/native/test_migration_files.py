# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs that start from the file that they were saved to, and leave their memory
there: it is what was saved, whatever happens to the file meanwhile."""
import hashlib
import os

from vmtest import (MIB, Skip, can_o_direct, check,
                    wait_migration)
from test_migration import ENOUGH, MEM, TIGHT, start_destination, start_source
from test_migration_links import restore, save
from test_troubles import wait_trouble

# More than the working set, so that all of it is in RAM in the end; and so
# much less that most of it is not.
ROOMY = 320
SMALL = 32


def saved(t, budget, options=None):
    """A guest in a file, and nobody who runs it."""
    if not can_o_direct(t.dir):
        raise Skip('no O_DIRECT in ' + t.dir)
    guest, source = start_source(t, budget, options=options)
    guest.wait_verified(alive=[source])
    path = os.path.join(t.dir, 'vm')
    save(source, 'file:' + path)
    source.quit()
    return guest, path


def start(t, guest, path, budget, extra=(), name='b', options=None):
    vm = start_destination(t, guest, None, budget, 'file:' + path, name=name,
                           extra=list(extra), options=options)
    vm.wait_status('paused' if '-S' in extra else 'running')
    return vm


def in_file_mib(vm):
    return vm.paging()['backing-bytes'] >> 20


def hash_of(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def in_place(t, from_budget, to_budget, options=None, source_options=None):
    guest, path = saved(t, from_budget, source_options)
    before = hash_of(path)
    vm = start(t, guest, path, to_budget, ['-S'], options=options)
    first = in_file_mib(vm)
    check(first > 60, 'only %d MiB are in the file', first)
    vm.run('cont')
    guest.wait_verified(2, alive=[vm])
    check(in_file_mib(vm) < first, 'what is written stays in the file')
    vm.check_rss()
    check(hash_of(path) == before, 'the file has changed')
    t.note('%d MiB in the file at first, %d now', first, in_file_mib(vm))
    vm.quit()
    # And once more, as nobody has changed it.
    restore(t, guest, 'file:' + path, to_budget, options=options)


def in_place_tight(t):
    in_place(t, TIGHT, TIGHT)


def in_place_plain_to_enough(t):
    in_place(t, None, ENOUGH)


def in_place_sealed(t):
    in_place(t, TIGHT, TIGHT, {'checksum': 'on', 'encrypt': 'on'})


def in_place_libaio(t):
    in_place(t, ENOUGH, TIGHT, {'io': 'libaio'})


def in_place_huge(t):
    huge = {'chunk-pages': 512}
    in_place(t, TIGHT, TIGHT, huge, huge)


def fills_ram(t):
    """By itself, without a touch, as far as there is room."""
    guest, path = saved(t, TIGHT)
    vm = start(t, guest, path, ROOMY, ['-S'])
    for _ in range(200):
        if vm.paging()['swapped-bytes'] == 0:
            break
        vm.qmp.drain(0.05)
    p = vm.brief()
    check(p['swapped-bytes'] == 0, 'not all is in RAM: %r', p)
    check(p['resident-bytes'] >= p['backing-bytes'] > 60 * MIB, '%r', p)
    vm.run('cont')
    guest.wait_verified(alive=[vm])
    vm.check_rss()
    vm.quit()


def removed(t):
    """The file's name goes, and the VM moves on to another file."""
    guest, path = saved(t, TIGHT)
    vm = start(t, guest, path, TIGHT)
    os.unlink(path)
    guest.wait_verified(alive=[vm])
    save(vm, 'file:' + path)
    vm.quit()
    restore(t, guest, 'file:' + path, TIGHT)


def in_use(t):
    """Nobody saves into a file that a VM runs from."""
    guest, path = saved(t, TIGHT)
    vm = start(t, guest, path, TIGHT)
    before = hash_of(path)
    vm.run('migrate', {'uri': 'file:' + path})
    info = wait_migration(vm)
    check(info['status'] == 'failed' and 'in use' in info['error-desc'],
          '%r', info)
    check(hash_of(path) == before, 'the file has changed')
    vm.wait_status('running')
    guest.wait_verified(alive=[vm])
    vm.quit()


def spoil(path, mask):
    """Changes a byte in every page of the file's first half: there is guest
    RAM, for the most part. Twice is as before."""
    with open(path, 'r+b') as f:
        for at in range(4096 + 100, os.path.getsize(path) // 2, 4096):
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ mask]))


def damaged(t):
    """It stops, and goes on when the file is what it was."""
    guest, path = saved(t, TIGHT)
    vm = start(t, guest, path, SMALL, ['-S'])
    spoil(path, 0x40)
    vm.run('cont')
    data, after = wait_trouble(vm, 'read', 'stop')
    check('checksum' in data['error'], '%r', data)
    vm.wait_status('io-error')
    vm.run('cont')  # in vain
    wait_trouble(vm, 'read', 'stop', after)
    vm.wait_status('io-error')
    guest.check_right()
    spoil(path, 0x40)
    vm.run('cont')
    guest.wait_verified(2, alive=[vm])
    vm.quit()


def cut(t):
    """It stops, and never runs on with something else in place of what is
    gone."""
    guest, path = saved(t, TIGHT)
    vm = start(t, guest, path, SMALL, ['-S'])
    os.truncate(path, 1 << 20)
    vm.run('cont')
    data, _ = wait_trouble(vm, 'read', 'stop')
    check('cut short' in data['error'], '%r', data)
    vm.wait_status('io-error')
    guest.check_right()
    vm.quit()  # though a vCPU may sleep in a fault that nothing else ends


def other_machine(t):
    """Refused as over a connection: nothing has begun."""
    guest, path = saved(t, TIGHT)
    vm = t.vm(guest, 'b', mem=MEM + 16, incoming='file:' + path,
              vmemdirect={'memory': TIGHT}, wait_qmp=False)
    check(vm.wait_exit() == 1, 'it did not fail')
    check('RAM' in vm.stderr(), 'it says: %s', vm.stderr())


TESTS = [(f.__name__, f) for f in (
    in_place_tight, in_place_plain_to_enough, in_place_sealed,
    in_place_libaio, in_place_huge, fills_ram, removed, in_use, damaged, cut,
    other_machine)]
