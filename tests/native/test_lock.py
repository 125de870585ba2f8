# SPDX-License-Identifier: GPL-2.0-or-later
"""With -vmemdirect the VMM's memory is kept off the host's swap, guest RAM
within its budget included, as far as RLIMIT_MEMLOCK lets it; where that does
not let it, one warning says so and the VM runs."""
import os
import re
import shutil
import subprocess

from vmtest import MIB, Skip, check, need, our_binary

MEM = 192
WORK = {'mib': 160, 'rate': 40, 'verify': 1, 'fill': 'random'}
BUDGET = 96
KIB = 1024


def start(t, prefix=(), **options):
    need()
    with open(our_binary(), 'rb') as f:
        if re.search(rb'__[at]san_init', f.read()):
            raise Skip('sanitizers replace mlockall() by nothing')
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=MEM, append=WORK, prefix=prefix,
              vmemdirect=dict({'memory': BUDGET}, **options))
    guest.wait_filled(alive=[vm])
    return guest, vm


def mappings(vm):
    """(head, size, locked, swapped, flags) of each; sizes in bytes."""
    with open('/proc/%d/smaps' % vm.process.pid) as f:
        text = f.read()
    found = []
    for part in re.split(r'^(?=[0-9a-f]+-[0-9a-f]+ )', text, flags=re.M)[1:]:
        def number(key, text=part):
            return int(re.search(r'^%s: +(\d+) kB' % key, text,
                                 re.M).group(1)) * KIB
        found.append((part.splitlines()[0], number('Size'), number('Locked'),
                      number('Swap'),
                      re.search(r'^VmFlags: (.*)$', part, re.M)
                      .group(1).split()))
    return found


def is_memory(head):
    """Private, can be written, and belongs to no file."""
    fields = head.split()
    return fields[1][1] == 'w' and fields[1][3] == 'p' and \
        (len(fields) < 6 or fields[5] in ('[heap]', '[stack]') or
         fields[5].startswith('[anon'))


def all_locked(t, **options):
    guest, vm = start(t, **options)
    check(vm.paging()['locked'] == 'all', 'locked: %r', vm.paging()['locked'])
    guest.wait_verified(2, alive=[vm])
    for head, size, _, swap, flags in mappings(vm):
        if is_memory(head):
            check('lo' in flags, 'not locked: %s, %d bytes', head, size)
        check(swap == 0, 'swapped out: %s', head)
    locked = sum(m[2] for m in mappings(vm))
    t.note('%d MiB locked, %d MiB of budget', locked // MIB, BUDGET)
    check(BUDGET // 2 * MIB < locked < (BUDGET + 64) * MIB,
          '%d bytes are locked', locked)
    p = vm.paging()
    check(p['page-in-bytes'] > 0 and p['page-out-bytes'] > 0, 'no paging')
    check('lock' not in vm.stderr(), 'stderr: %s', vm.stderr())
    vm.check_rss()
    vm.set_budget(32)
    vm.set_budget(BUDGET)
    guest.wait_verified(3, alive=[vm])
    vm.quit()


def locked(t):
    all_locked(t)


def locked_mode_copy(t):
    all_locked(t, mode='copy')


def locked_huge(t):
    all_locked(t, **{'chunk-pages': 512})


def limited(t, mib, what, text):
    if os.geteuid() != 0 or not shutil.which('setpriv') or \
            not shutil.which('prlimit'):
        raise Skip('needs root, setpriv and prlimit')
    caps = '-ipc_lock,-sys_resource'
    prefix = ('prlimit', '--memlock=%d' % (mib * MIB), 'setpriv',
              '--bounding-set', caps, '--inh-caps', caps)
    if subprocess.run(prefix + ('true',), check=False, timeout=60,
                      stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip('cannot set RLIMIT_MEMLOCK to %d MiB' % mib)
    guest, vm = start(t, prefix=prefix)
    guest.wait_verified(2, alive=[vm])
    check(vm.paging()['locked'] == what, 'locked: %r', vm.paging()['locked'])
    lines = [line for line in vm.stderr().splitlines() if 'lock' in line]
    check(len(lines) == 1 and text in lines[0] and
          'RLIMIT_MEMLOCK is %d MiB' % mib in lines[0], 'stderr: %s',
          vm.stderr())
    t.note('%s', lines[0])
    vm.quit()


def limit_too_low(t):
    limited(t, 1, 'nothing', 'memory is not locked')


def limit_for_program(t):
    """Enough for the program, too little for guest RAM and frames."""
    limited(t, 2 * MEM, 'program', 'guest RAM is not locked')


TESTS = [(f.__name__, f) for f in (
    locked, locked_mode_copy, locked_huge, limit_too_low, limit_for_program)]
