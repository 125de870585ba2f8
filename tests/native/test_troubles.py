# SPDX-License-Identifier: GPL-2.0-or-later
"""A swap file that is full, hangs, fails or is cut, under a running VM: the
VM stops and goes on as the policy says, each trouble is told once, the
monitor always answers, and the guest never sees a wrong byte."""
import contextlib
import fcntl
import os
import shutil
import subprocess
import time

from vmtest import (MIB, PATIENCE, QmpError, Skip, can_o_direct, check, need,
                    small_file_system)

MEM = 192
WORK = {'mib': 160, 'rate': 40, 'verify': 1, 'fill': 'random'}
BUDGET = 96


def events(vm, name, operation=None, after=0):
    vm.qmp.drain()
    return [e['data'] for e in vm.qmp.events[after:]
            if e['event'] == name and
            operation in (None, e.get('data', {}).get('operation'))]


def wait_trouble(vm, operation, action, after=0, timeout=30):
    """The event's data, and the index behind it."""
    while True:
        at, event = vm.qmp.wait_event('VMEMDIRECT_ERROR', timeout, after)
        after = at + 1
        if event['data']['operation'] == operation:
            check(event['data']['action'] == action, 'event %r', event)
            return event['data'], after


def wait_over(vm, operation, after=0, timeout=30):
    while True:
        at, event = vm.qmp.wait_event('VMEMDIRECT_RECOVERED', timeout, after)
        after = at + 1
        if event['data']['operation'] == operation:
            return after


def check_trouble(vm, operation, text):
    """query-vmemdirect answers at once and says what is wrong."""
    start = time.monotonic()
    troubles = vm.paging()['troubles']
    took = time.monotonic() - start
    check(took < 3 * PATIENCE, 'query-vmemdirect took %.1f s', took)
    mine = [x for x in troubles if x['operation'] == operation]
    check(len(mine) == 1 and text in mine[0]['error'] and
          mine[0]['failures'] > 0, 'troubles: %r', troubles)


def check_refused(vm, command, arguments=None):
    try:
        vm.run(command, arguments)
    except QmpError as e:
        check(e.text, 'no text')
    else:
        check(False, '%s was not refused', command)


def quick(function, *args, limit=10):
    start = time.monotonic()
    result = function(*args)
    took = time.monotonic() - start
    check(took < limit * PATIENCE, '%s took %.1f s', function.__name__, took)
    return result


# --- a full file system -------------------------------------------------------

def fill_up(mount):
    """Takes all free space; deleting the file gives it back."""
    path = os.path.join(mount, 'filler')
    with open(path, 'wb', buffering=0) as f:
        for size in (MIB, 4096):
            with contextlib.suppress(OSError):
                while True:
                    f.write(b'\xaa' * size)
    return path


def full(t, policy):
    need()
    mount = small_file_system(t, 400)
    if not can_o_direct(mount):
        raise Skip('no O_DIRECT on a loop device')
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=MEM, append=WORK,
              vmemdirect={'memory': 176, 'swap': mount + '/swap',
                          'write-error': policy})
    guest.wait_filled(alive=[vm])
    guest.wait_verified(alive=[vm])
    filler = fill_up(mount)
    # A much tighter budget needs more room in the file than there is.
    vm.set_budget(64)
    data, _ = wait_trouble(vm, 'write', policy)
    check(data['nospace'] and 'No space' in data['error'], 'event %r', data)
    time.sleep(3)
    check(len(events(vm, 'VMEMDIRECT_ERROR')) == 1 and
          not events(vm, 'VMEMDIRECT_RECOVERED'), 'events: %r',
          vm.qmp.events)
    check_trouble(vm, 'write', 'No space')
    check(vm.status() == ('io-error' if policy == 'stop' else 'running'),
          'status %s', vm.status())
    check_refused(vm, 'system_reset')
    guest.check_right()
    return guest, vm, filler


def full_stop(t):
    """No room in the file: the VM stops; there is room again: it goes on
    with cont, and it was told once."""
    guest, vm, filler = full(t, 'stop')
    after = len(vm.qmp.events)
    quick(vm.run, 'cont')  # in vain: stops again
    _, after = wait_trouble(vm, 'write', 'stop', after)
    vm.wait_status('io-error')
    os.unlink(filler)
    wait_over(vm, 'write', after)
    check(vm.status() == 'io-error', 'status %s', vm.status())
    vm.run('cont')
    guest.wait_verified(2, alive=[vm])
    check(vm.paging()['troubles'] == [], 'troubles: %r', vm.brief())
    check(not events(vm, 'VMEMDIRECT_ERROR', after=after), 'more events')
    vm.quit()


def full_report(t):
    """No room in the file: the VM goes on within its frames."""
    guest, vm, filler = full(t, 'report')
    after = len(vm.qmp.events)
    for command in ('stop', 'cont') * 2:
        quick(vm.run, command)
    os.unlink(filler)
    wait_over(vm, 'write', after)
    guest.wait_verified(2, alive=[vm])
    vm.quit()


def full_quit(t):
    """The end comes soon, whoever waits for memory."""
    _, vm, _ = full(t, 'stop')
    quick(vm.quit, limit=30)


# --- a device that does not answer --------------------------------------------

def freeze(t, mount):
    """Writes to the file system hang until the returned function is called.
    Reads do not."""
    if shutil.which('fsfreeze') is None:
        raise Skip('needs fsfreeze')

    def run(*args):
        return subprocess.run(['fsfreeze'] + list(args), check=False,
                              capture_output=True, text=True, timeout=60)
    done = run('-f', mount)
    if done.returncode != 0:
        raise Skip('fsfreeze: %s' % done.stderr.strip())
    t.cleanup(run, '-u', mount)
    return lambda: run('-u', mount)


def hanging(t, **options):
    """A VM with a request in a device that hangs, and what thaws it."""
    need()
    mount = small_file_system(t, 400)
    if not can_o_direct(mount):
        raise Skip('no O_DIRECT on a loop device')
    guest = t.guest()
    vmemdirect = {'memory': BUDGET, 'swap': mount + '/swap', 'io-timeout': 1}
    vmemdirect.update(options)
    vm = t.vm(guest, 'vm', mem=MEM, append=WORK, vmemdirect=vmemdirect)
    guest.wait_filled(alive=[vm])
    guest.wait_verified(alive=[vm])
    vm.paging()  # there are figures from before
    return guest, vm, freeze(t, mount)


def hang_stop(t):
    """The VM stops, says why, and goes on by itself."""
    guest, vm, thaw = hanging(t)
    data, after = wait_trouble(vm, 'timeout', 'stop')
    check('does not answer' in data['error'], 'event %r', data)
    quick(vm.wait_status, 'io-error')
    check_trouble(vm, 'timeout', 'does not answer')
    check(vm.paging()['oldest-request-ms'] >= 1000, 'oldest: %r', vm.brief())
    check_refused(vm, 'system_reset')
    quick(vm.run, 'cont')  # in vain
    _, after = wait_trouble(vm, 'timeout', 'stop', after)
    vm.wait_status('io-error')
    time.sleep(2)
    check(not events(vm, 'VMEMDIRECT_ERROR', after=after), 'told again')
    thaw()
    after = wait_over(vm, 'timeout', after)
    vm.wait_status('running')
    guest.wait_verified(2, alive=[vm])
    check(vm.paging()['troubles'] == [], 'troubles: %r', vm.brief())
    vm.quit()


def hang_report(t):
    """The VM goes on as far as it comes."""
    guest, vm, thaw = hanging(t, **{'timeout-error': 'report'})
    _, after = wait_trouble(vm, 'timeout', 'report')
    check(vm.status() == 'running', 'status %s', vm.status())
    thaw()
    wait_over(vm, 'timeout', after)
    guest.wait_verified(2, alive=[vm])
    vm.quit()


def hang_stopped_by_hand(t):
    """Who said stop meanwhile is not overruled."""
    guest, vm, thaw = hanging(t)
    _, after = wait_trouble(vm, 'timeout', 'stop')
    quick(vm.run, 'stop')
    thaw()
    wait_over(vm, 'timeout', after)
    time.sleep(1)
    check(vm.status() != 'running', 'status %s', vm.status())
    vm.run('cont')
    guest.wait_verified(2, alive=[vm])
    vm.quit()


def stall(t):
    """With libaio it is the pager's own thread that hangs: the VM stops, the
    monitor answers meanwhile, and the VM goes on by itself."""
    guest, vm, thaw = hanging(t, io='libaio')
    data, after = wait_trouble(vm, 'stall', 'stop')
    check('does not move' in data['error'], 'event %r', data)
    quick(vm.wait_status, 'io-error')
    check_trouble(vm, 'stall', 'does not move')
    check(vm.paging()['page-out-bytes'] > 0, 'no figures: %r', vm.brief())
    check_refused(vm, 'vmemdirect-set', {'memory': 80 * MIB})
    check_refused(vm, 'query-vmemdirect-history', {'chunk': 0})
    check_refused(vm, 'system_reset')
    quick(vm.run, 'cont')  # in vain
    _, after = wait_trouble(vm, 'stall', 'stop', after)
    vm.wait_status('io-error')
    thaw()
    after = wait_over(vm, 'stall', after)
    vm.wait_status('running')
    guest.wait_verified(2, alive=[vm])
    check(vm.paging()['troubles'] == [], 'troubles: %r', vm.brief())
    vm.quit()


# --- a file that somebody else works on ---------------------------------------

def cut(t, **options):
    """Half the file is gone: the VM stops and stays so, whatever is done to
    the file's length afterwards."""
    need()
    swap = os.path.join(t.dir, 'swap')
    guest = t.guest()
    vmemdirect = {'memory': 64, 'swap': swap, 'keep-swap': 'on'}
    vmemdirect.update(options)
    vm = t.vm(guest, 'vm', mem=MEM, append=WORK, vmemdirect=vmemdirect)
    guest.wait_filled(alive=[vm])
    guest.wait_verified(alive=[vm])
    length = os.stat(swap).st_size
    os.truncate(swap, length // 2)
    vm.wait_status('io-error')
    data = events(vm, 'VMEMDIRECT_ERROR')
    check(data and all('cut short' in d['error'] for d in data),
          'events %r', data)
    os.truncate(swap, length)
    for _ in range(2):
        after = len(vm.qmp.events)
        quick(vm.run, 'cont')
        vm.qmp.wait_event('VMEMDIRECT_ERROR', after=after)
        vm.wait_status('io-error')
    guest.check_right()
    quick(vm.quit, limit=30)


def cut_file(t):
    cut(t)


def cut_file_libaio(t):
    cut(t, io='libaio')


def loop_device(t, mib):
    """A loop device on memory, and the descriptor of that."""
    if os.geteuid() != 0 or shutil.which('losetup') is None:
        raise Skip('needs root and losetup')
    fd = os.memfd_create('device', os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    t.cleanup(os.close, fd)
    os.ftruncate(fd, mib * MIB)
    done = subprocess.run(['losetup', '-f', '--show',
                           '/proc/%d/fd/%d' % (os.getpid(), fd)],
                          capture_output=True, text=True, timeout=60,
                          check=False)
    if done.returncode != 0:
        raise Skip('losetup: %s' % done.stderr.strip())
    device = done.stdout.strip()
    t.cleanup(lambda: subprocess.run(['losetup', '-d', device], check=False,
                                     timeout=60))
    return device, fd


def lose_from(fd, offset):
    """From there on the device has EIO for reads and for writes; without the
    seal, writes would bring it back, with zeros."""
    os.ftruncate(fd, offset)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)


def device_fails(t):
    """EIO from a block device, for reads and for writes, whichever comes
    first: the VM stops, and stops again after cont."""
    need()
    device, fd = loop_device(t, MEM)
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=MEM, append=WORK,
              vmemdirect={'memory': 64, 'swap': device})
    guest.wait_filled(alive=[vm])
    guest.wait_verified(alive=[vm])
    lose_from(fd, 16 * MIB)
    after = 0
    for _ in range(2):
        at, event = vm.qmp.wait_event('VMEMDIRECT_ERROR', after=after)
        after = at + 1
        vm.wait_status('io-error')
        data = event['data']
        check('Input/output' in data['error'] and data['action'] == 'stop',
              'event %r', event)
        check_trouble(vm, data['operation'], 'Input/output')
        check(data['operation'] != 'read' or vm.paging()['failed-chunks'] > 0,
              'no failed chunk: %r', vm.brief())
        quick(vm.run, 'cont')
    guest.check_right()
    quick(vm.quit, limit=30)


TESTS = [(f.__name__, f) for f in (
    full_stop, full_report, full_quit, hang_stop, hang_report,
    hang_stopped_by_hand, stall, cut_file, cut_file_libaio, device_fails)]
