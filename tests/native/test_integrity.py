# SPDX-License-Identifier: GPL-2.0-or-later
"""checksum=on and encrypt=on: the guest's bytes are right under paging and
after migration, what somebody does to the swap file is noticed and never
seen by the guest, and nothing of the guest can be read in the file."""
import os
import time
import zlib

from test_migration import ENOUGH, TIGHT, check_only_one_runs, note, \
    start_destination, start_source
from vmtest import (MIB, PAGE, check, migrate, migration_address, need,
                    wait_migration)

MEM = 192
WORK = {'mib': 160, 'rate': 40, 'verify': 1, 'fill': 'random'}
BOTH = {'checksum': 'on', 'encrypt': 'on'}


def start(t, budget=96, *, smp=1, **options):
    need()
    guest = t.guest()
    swap = os.path.join(t.dir, 'swap')
    vm = t.vm(guest, 'vm', mem=MEM, smp=smp, append=WORK,
              vmemdirect=dict({'memory': budget, 'swap': swap}, **options))
    guest.wait_filled(alive=[vm])
    return guest, vm, swap


# --- right bytes --------------------------------------------------------------

def paged(t, **options):
    guest, vm, _ = start(t, **options)
    guest.wait_verified(2, alive=[vm])
    p = vm.paging()
    check(p['page-in-bytes'] > 0 and p['page-out-bytes'] > 0 and
          p['read-errors'] == 0 and p['write-errors'] == 0 and
          p['checksum'] == (options.get('checksum') == 'on') and
          p['encrypt'] == (options.get('encrypt') == 'on') and
          p['seal-bytes'] > 0, 'figures: %r', vm.brief())
    vm.check_rss()
    vm.quit()


def checksum(t):
    paged(t, checksum='on')


def encrypt(t):
    paged(t, encrypt='on')


def both_2_cpus(t):
    paged(t, smp=2, **BOTH)


def both_mode_copy_libaio(t):
    paged(t, mode='copy', io='libaio', **BOTH)


def both_chunk_pages_512(t):
    paged(t, **dict(BOTH, **{'chunk-pages': 512}))


def move(t, from_options, to_options, from_budget=TIGHT, to_budget=TIGHT):
    guest, source = start_source(t, from_budget, options=from_options)
    guest.wait_verified(alive=[source])
    uri = migration_address('tcp', t.dir)
    destination = start_destination(t, guest, source, to_budget, uri,
                                    options=to_options)
    info = migrate(source, destination, uri)
    check_only_one_runs(guest, source, destination)
    note(t, guest, info, source, destination)
    check(info['vmemdirect']['from-swap-bytes'] > 0,
          'nothing was read from the swap file: %r', info)
    guest.wait_verified(2, alive=[destination])
    for vm in (source, destination):
        p = vm.paging()
        check(p['read-errors'] == 0, 'read errors: %r', vm.brief())
    destination.quit()
    source.quit()


def migrate_both(t):
    move(t, BOTH, BOTH)


def migrate_to_plain_file(t):
    move(t, BOTH, None, to_budget=ENOUGH)


def migrate_from_plain_file(t):
    move(t, {'checksum': 'on'}, {'encrypt': 'on'})


# --- what is in the file ------------------------------------------------------

def data_pages(swap):
    """Numbers of the pages that the file has blocks for."""
    pages = []
    with open(swap, 'rb') as f:
        size = os.fstat(f.fileno()).st_size
        at = 0
        while at < size:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            pages += range(at // PAGE, end // PAGE)
            at = end
    return pages


def read_page(fd, page):
    return os.pread(fd, PAGE, page * PAGE)


def compressible(swap, pages):
    fd = os.open(swap, os.O_RDONLY)
    try:
        return sum(len(zlib.compress(read_page(fd, p), 1)) < PAGE - 64
                   for p in pages)
    finally:
        os.close(fd)


def nothing_can_be_read(t):
    """Pages with patterns (the guest's tables) are such in the plain file, and
    noise in the encrypted one."""
    need()
    found = {}
    for word in ('off', 'on'):
        guest = t.guest('guest-' + word)
        swap = os.path.join(t.dir, 'swap-' + word)
        vm = t.vm(guest, 'vm-' + word, mem=MEM,
                  append=dict(WORK, fill='zero-part'),
                  vmemdirect={'memory': 64, 'swap': swap, 'keep-swap': 'on',
                              'encrypt': word})
        guest.wait_filled(alive=[vm])
        guest.wait_verified(alive=[vm])
        vm.run('stop')
        pages = data_pages(swap)
        check(len(pages) > 1000, 'only %d pages in the file', len(pages))
        found[word] = compressible(swap, pages)
        vm.quit()
    t.note('pages that can be compressed: %d plain, %d encrypted',
           found['off'], found['on'])
    check(found['off'] > 20, 'the plain file has no patterns')
    check(found['on'] == 0, '%d pages of the encrypted file have patterns',
          found['on'])


# --- somebody else writes to the file -----------------------------------------

def flip(swap, pages):
    """One bit of each page; returns what undo() needs."""
    done = {}
    fd = os.open(swap, os.O_RDWR)
    try:
        for page in pages:
            old = read_page(fd, page)
            new = bytearray(old)
            new[page % PAGE] ^= 0x20
            os.pwrite(fd, new, page * PAGE)
            done[page] = (old, bytes(new))
        os.fsync(fd)
    finally:
        os.close(fd)
    return done


def undo(swap, done):
    """But for pages that have been written since. The VM is stopped."""
    fd = os.open(swap, os.O_RDWR)
    try:
        for page, (old, new) in done.items():
            if read_page(fd, page) == new:
                os.pwrite(fd, old, page * PAGE)
        os.fsync(fd)
    finally:
        os.close(fd)


def tampered(t, **options):
    """One bit in every third page of the file, under a VM that runs: it stops
    and says why; after the repair it goes on, and nothing is wrong."""
    guest, vm, swap = start(t, 64, **dict({'keep-swap': 'on'}, **options))
    guest.wait_verified(alive=[vm])
    vm.run('stop')
    done = flip(swap, data_pages(swap)[::3])
    after = len(vm.qmp.events)
    vm.run('cont')
    at, event = vm.qmp.wait_event('VMEMDIRECT_ERROR', after=after)
    check(event['data']['operation'] == 'read' and
          event['data']['error'] == 'checksum mismatch' and
          event['data']['action'] == 'stop', 'event %r', event)
    vm.wait_status('io-error')
    p = vm.paging()
    check(p['checksum-errors'] > 0 and p['failed-chunks'] > 0,
          'figures: %r', vm.brief())
    vm.run('cont')
    vm.qmp.wait_event('VMEMDIRECT_ERROR', after=at + 1)
    vm.wait_status('io-error')
    guest.check_right()
    wait_quiet(vm)
    undo(swap, done)
    vm.run('cont')
    guest.wait_verified(3, alive=[vm])
    vm.qmp.wait_event('VMEMDIRECT_RECOVERED', after=at + 1)
    p = vm.paging()
    check(p['failed-chunks'] == 0 and p['troubles'] == [], 'figures: %r',
          vm.brief())
    vm.quit()


def wait_quiet(vm):
    """Until the pager of a stopped VM writes no more."""
    before = None
    while before != (before := vm.paging()['page-out-ops']):
        time.sleep(0.3)


def tamper(t):
    tampered(t, checksum='on')


def tamper_encrypted(t):
    tampered(t, **BOTH)


def tamper_while_running(t):
    """Nobody stops the VM first."""
    guest, vm, swap = start(t, 64, **dict({'keep-swap': 'on'}, **BOTH))
    guest.wait_verified(alive=[vm])
    flip(swap, data_pages(swap)[::2])
    _, event = vm.qmp.wait_event('VMEMDIRECT_ERROR')
    check(event['data']['error'] == 'checksum mismatch', 'event %r', event)
    vm.wait_status('io-error')
    guest.check_right()
    vm.quit()


def zeroed(t):
    """Somebody punches holes: with checksums that is noticed, too."""
    guest, vm, swap = start(t, 64, **{'keep-swap': 'on', 'checksum': 'on'})
    guest.wait_verified(alive=[vm])
    length = os.stat(swap).st_size
    os.truncate(swap, 32 * MIB)
    os.truncate(swap, length)
    _, event = vm.qmp.wait_event('VMEMDIRECT_ERROR')
    check(event['data']['error'] in ('checksum mismatch',
                                     'the swap file was cut short'),
          'event %r', event)
    vm.wait_status('io-error')
    guest.check_right()
    vm.quit()


def migrate_tampered(t):
    """What is wrong in the source's file is not sent: the migration fails,
    the source is as it was."""
    guest, source = start_source(t, 64, options=dict(
        {'keep-swap': 'on', 'swap': os.path.join(t.dir, 'swap')}, **BOTH))
    guest.wait_verified(alive=[source])
    source.run('stop')
    flip(os.path.join(t.dir, 'swap'), data_pages(os.path.join(t.dir, 'swap')))
    uri = migration_address('unix', t.dir)
    destination = start_destination(t, guest, source, ENOUGH, uri)
    source.run('migrate', {'uri': uri})
    info = wait_migration(source)
    check(info['status'] == 'failed', 'migration %r', info)
    check(source.status() == 'paused', 'source is %s', source.status())
    guest.check_right()
    source.quit()
    destination.close()


TESTS = [(f.__name__, f) for f in (
    checksum, encrypt, both_2_cpus, both_mode_copy_libaio,
    both_chunk_pages_512, migrate_both, migrate_to_plain_file,
    migrate_from_plain_file, nothing_can_be_read, tamper, tamper_encrypted,
    tamper_while_running, zeroed, migrate_tampered)]
