# SPDX-License-Identifier: GPL-2.0-or-later
"""The test guest starts, runs and stops; no paging."""
import os
import signal
import struct
import time

from vmtest import MIB, check, need

WORK = {'mib': 128, 'rate': 50, 'verify': 1, 'fill': 'zero-part'}


def boot(t, machine, cpus, **kw):
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', machine=machine, smp=cpus, append=WORK, **kw)
    guest.wait_filled(alive=[vm])
    guest.wait_verified(alive=[vm])
    check(vm.status() == 'running', 'status is %s', vm.status())
    vm.quit()


def boot_pc_1(t):
    boot(t, 'pc', 1)


def boot_pc_2(t):
    boot(t, 'pc', 2)


def boot_q35_1(t):
    boot(t, 'q35', 1)


def boot_q35_2(t):
    boot(t, 'q35', 2)


def high_memory(t):
    """RAM above 4 GiB: few of its pages are touched, the rest stays zero."""
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=5120, append={'mib': 4096 + 512, 'hot': 64,
                                              'rate': 50, 'pattern': 'zipf'})
    # Filling needs as much memory on the host: too much for many machines.
    guest.wait(r'P \d+ ', alive=[vm])
    vm.quit()


def exit_status(t):
    """isa-debug-exit carries the guest's verdict, as QEMU does."""
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', append=dict(WORK, secs=2, exit=1))
    guest.wait(r'END ok', alive=[])
    status = vm.wait_exit()
    check(status == 1, 'exit status %d, not 1', status)


def serial_console(t):
    """The same report through the 16550."""
    need(paging=False)
    guest = t.guest()
    serial = t.dir + '/serial'
    vm = t.vm(guest, 'vm', append=dict(WORK, com=1, secs=2, exit=1),
              extra=['-serial', 'file:' + serial])
    vm.wait_exit(30)
    with open(serial) as f:
        text = f.read()
    check('END ok' in text, 'no END ok on the serial port: %r', text[-200:])


def stop_and_continue(t):
    """A stopped guest does nothing; it goes on unharmed."""
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', smp=2, append=WORK)
    guest.wait_filled(alive=[vm])
    for _ in range(3):
        vm.run('stop')
        check(vm.status() == 'paused', 'status %s', vm.status())
        time.sleep(0.2)
        at = guest.mark()
        time.sleep(0.4)
        check(guest.mark() == at, 'output while stopped')
        vm.run('cont')
        check(vm.status() == 'running', 'status %s', vm.status())
        guest.wait_progress(2, alive=[vm])
    names = [e['event'] for e in vm.qmp.events]
    check(names.count('STOP') == 3 and names.count('RESUME') == 3,
          'events: %s', names)
    guest.wait_verified(alive=[vm])
    vm.quit()


def started_stopped(t):
    """-S waits for cont."""
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', append=WORK, extra=['-S'])
    time.sleep(0.5)
    check(guest.mark() == 0, 'output before cont')
    check(vm.status() in ('prelaunch', 'paused'), 'status %s', vm.status())
    vm.run('cont')
    guest.wait_filled(alive=[vm])
    vm.quit()


def reset(t):
    """system_reset starts the guest again, with all processors."""
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', smp=2, append=WORK)
    guest.wait_filled(alive=[vm])
    for _ in range(3):
        at = guest.mark()
        vm.run('system_reset')
        # The line being printed may be cut: the start is joined to it.
        at, _ = guest.wait(r'.*G pages=\d+ hot=\d+ cpus=2 ', at, alive=[vm])
        guest.wait(r'F \d+ ', at, alive=[vm])
    vm.qmp.drain()
    names = [e['event'] for e in vm.qmp.events]
    check(names.count('RESET') >= 3, 'events: %s', names)
    guest.wait_verified(alive=[vm])
    vm.quit()


def sigterm(t):
    """SIGTERM ends the VMM in good order."""
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', smp=2, append=WORK)
    guest.wait_filled(alive=[vm])
    vm.process.send_signal(signal.SIGTERM)
    status = vm.wait_exit()
    check(status == 0, 'exit status %d', status)


# lidt of a table without entries, ud2: no exception can be delivered.
CRASH_CODE = b'\x0f\x01\x1d\x10\x00\x10\x00' + b'\x0f\x0b'
CRASH_LOAD = 0x100000


def crash_image(t):
    """A PVH kernel that ends in a triple fault at once."""
    path = os.path.join(t.dir, 'crash.elf')
    note_at = 64 + 2 * 56
    note = struct.pack('<III4sQ', 4, 8, 18, b'Xen\0', CRASH_LOAD)
    code_at = note_at + len(note)
    code = CRASH_CODE.ljust(32, b'\0')
    header = struct.pack('<4sBBB9xHHIQQQIHHHHHH', b'\x7fELF', 2, 1, 1, 2, 62,
                         1, CRASH_LOAD, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack('<IIQQQQQQ', 1, 7, code_at, CRASH_LOAD, CRASH_LOAD,
                       len(code), len(code), 1)
    notes = struct.pack('<IIQQQQQQ', 4, 4, note_at, 0, 0, len(note),
                        len(note), 4)
    with open(path, 'wb') as f:
        f.write(header + load + notes + note + code)
    return path


def triple_fault(t):
    """With -no-reboot it ends the VMM, which says so to everybody."""
    need(paging=False)
    vm = t.vm(t.guest(), 'vm', kernel=crash_image(t),
              extra=['-S', '-no-reboot'])
    vm.run('cont')
    _, event = vm.qmp.wait_event('SHUTDOWN')
    check(event['data'] == {'guest': True, 'reason': 'guest-reset'},
          'SHUTDOWN says %s', event['data'])
    status = vm.wait_exit()
    check(status == 0, 'exit status %d', status)
    check(vm.stock or 'vCPU 0: triple fault; the VM is shut down' in
          vm.stderr(), 'stderr: %r', vm.stderr())


def triple_faults(t):
    """Without -no-reboot it resets, again and again, in few lines."""
    need(paging=False)
    vm = t.vm(t.guest(), 'vm', kernel=crash_image(t))
    at = -1
    for _ in range(5):
        at, event = vm.qmp.wait_event('RESET', after=at + 1)
        check(event['data']['reason'] == 'guest-reset', 'RESET says %s',
              event['data'])
    check(vm.status() == 'running', 'status %s', vm.status())
    lines = vm.stderr().count('vCPU 0: triple fault; the VM is reset')
    check(vm.stock or lines == 1, '%d lines on stderr', lines)
    vm.quit()


def plain_memory(t):
    """Without -vmemdirect RAM is ordinary memory, and only touched pages
    are resident."""
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=512, append=dict(WORK, mib=96))
    guest.wait_verified(alive=[vm])
    peak = vm.rss_peak_reset()
    check(96 * MIB // 2 < peak < (96 + 80) * MIB, '%d MiB resident',
          peak >> 20)
    vm.quit()


TESTS = [(f.__name__, f) for f in (
    boot_pc_1, boot_pc_2, boot_q35_1, boot_q35_2, high_memory, exit_status,
    serial_console, stop_and_continue, started_stopped, reset, sigterm,
    triple_fault, triple_faults, plain_memory)]
