# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input, at start and in QMP: one clear line, the right exit status,
nothing changed."""
import os
import shutil
import subprocess
import time

from vmtest import (MIB, QmpError, Skip, can_o_direct, check, guest_image,
                    need, our_binary)

MEM = 192
WORK = {'mib': 160, 'rate': 40, 'verify': 1, 'fill': 'zero-part'}
BUDGET = 96


def check_refusal(process, stderr, words, what):
    lines = [line for line in stderr.strip().splitlines()
             if ': warning: ' not in line]
    check(process == 1, '%s: exit status %d; %r', what, process, stderr)
    check(len(lines) == 1, '%s: %d lines on stderr: %r', what, len(lines),
          stderr)
    for word in words:
        check(word in stderr, '%s: no %r in %r', what, word, stderr)


def refused(args, *words, prefix=()):
    """The command line is refused at once, in one line with these words."""
    command = list(prefix) + [our_binary(), '-nodefaults', '-display',
                              'none'] + args
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=20,
                              check=False)
    except subprocess.TimeoutExpired:
        check(False, '%s: runs on', ' '.join(args))
    check_refusal(done.returncode, done.stderr, words, ' '.join(args))
    return done.stderr


def machine(*more):
    return ['-M', 'pc', '-accel', 'kvm', '-cpu', 'qemu64', '-m', str(MEM),
            '-kernel', guest_image()] + list(more)


def options(t):
    """Unknown and contradictory options are refused by name."""
    need()
    swap = os.path.join(t.dir, 'swap')
    ok = 'swap=%s,memory=96M' % swap
    refused(machine('-frobnicate'), 'frobnicate')
    refused(machine('-device', 'frobnicator'), 'frobnicator')
    refused(machine('-device', 'isa-debug-exit,frob=1'), 'frob')
    refused(['-M', 'frob', '-accel', 'kvm', '-kernel', guest_image()],
            'frob')
    refused(machine('-cpu', 'frob'), 'frob')
    refused(machine('-accel', 'frob'), 'frob')
    refused(machine('-m', '0'))
    refused(machine('-m', 'many'), 'many')
    refused(machine('-m', '99999999999999999999G'))
    refused(machine('-smp', '0'))
    refused(machine('-smp', '100000'))
    refused(machine('-chardev', 'frob,id=x'), 'frob')
    refused(machine('-qmp', 'frob'), 'frob')
    refused(machine('-serial', 'frob'), 'frob')
    refused(machine('-incoming', 'frob:1'), 'frob')
    refused(machine('-vmemdirect', 'memory=96M'), 'swap')
    refused(machine('-vmemdirect', 'swap=' + swap), 'memory')
    for bad in ('frob=1', 'chunk-pages=3', 'chunk-pages=1024',
                'chunk-pages=0', 'chunk-pages=-16', 'memory=0', 'memory=1',
                'memory=-1', 'memory=lots', 'io=frob', 'mode=frob',
                'tracker=frob', 'aging-interval=1', 'aging-interval=x',
                'keep-swap=perhaps', 'write-error=ignore',
                'read-error=report', 'timeout-error=x', 'io-timeout=-1',
                'io-timeout=3601'):
        refused(machine('-vmemdirect', ok + ',' + bad), bad.split('=')[0])
        check(not os.path.exists(swap), '%s: leaves a swap file', bad)


def kernel_images(t):
    """A kernel that is none is refused with its name."""
    need(paging=False)
    empty = os.path.join(t.dir, 'empty')
    with open(empty, 'wb'):
        pass
    text = os.path.join(t.dir, 'text')
    with open(text, 'wb') as f:
        f.write(b'not a kernel\n' * 1000)
    cut = os.path.join(t.dir, 'cut')
    with open(guest_image(), 'rb') as f, open(cut, 'wb') as g:
        g.write(f.read(5000))
    base = ['-M', 'pc', '-accel', 'kvm', '-m', str(MEM), '-kernel']
    for path in (empty, text, cut, t.dir, os.path.join(t.dir, 'missing')):
        refused(base + [path], os.path.basename(path))
    refused(['-M', 'pc', '-accel', 'kvm', '-m', '1', '-kernel',
             guest_image()])


def bad_swap_paths(t):
    need()
    refused(machine('-vmemdirect', 'memory=96M,swap=' + t.dir), t.dir)
    missing = os.path.join(t.dir, 'no', 'such', 'swap')
    refused(machine('-vmemdirect', 'memory=96M,swap=' + missing), missing)
    refused(machine('-vmemdirect', 'memory=96M,swap='), 'swap')
    refused(machine('-vmemdirect', 'memory=96M,swap=/dev/null'), '/dev/null')
    fifo = os.path.join(t.dir, 'fifo')
    os.mkfifo(fifo)
    refused(machine('-vmemdirect', 'memory=96M,swap=' + fifo), fifo)


def swap_no_o_direct(t):
    """A file system without O_DIRECT is refused by name."""
    need()
    for directory in ('/dev/shm', '/run', '/sys/kernel', '/proc'):
        if os.access(directory, os.W_OK) and not can_o_direct(directory):
            path = os.path.join(directory, 'vmtest-swap-%d' % os.getpid())
            t.cleanup(lambda: os.path.exists(path) and os.unlink(path))
            refused(machine('-vmemdirect', 'memory=96M,swap=' + path), path)
            check(not os.path.exists(path), 'leaves a swap file')
            return
    raise Skip('every file system here takes O_DIRECT')


def swap_in_use(t):
    """A second VM with the same swap file is refused; the first goes on."""
    need()
    guest = t.guest()
    swap = os.path.join(t.dir, 'swap')
    vm = t.vm(guest, 'vm', mem=MEM, append=WORK, vmemdirect={
        'memory': BUDGET, 'swap': swap, 'keep-swap': 'on'})
    guest.wait_filled(alive=[vm])
    before = os.stat(swap)
    refused(machine('-vmemdirect', 'memory=96M,swap=' + swap), swap)
    after = os.stat(swap)
    check(before.st_ino == after.st_ino and before.st_size == after.st_size,
          'the file has changed')
    guest.wait_verified(2, alive=[vm])
    vm.quit()


def as_nobody(*more_mounts):
    """Prefix of a command: user nobody, in a mount name space of its own."""
    if os.geteuid() != 0:
        raise Skip('needs root to become another user')
    for tool in ('unshare', 'setpriv'):
        if shutil.which(tool) is None:
            raise Skip('needs %s' % tool)
    if subprocess.run(['unshare', '-m', 'true'], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip('no mount name spaces here (a chroot?)')
    script = '; '.join(more_mounts + (
        'exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"',))
    return ['unshare', '-m', 'sh', '-c', 'set -e; ' + script, 'sh']


def private_dev(*nodes):
    """Mount commands: /dev with nothing but these, open to everybody."""
    out = ['mount -t tmpfs none /mnt', 'mknod -m 666 /mnt/null c 1 3',
           'mknod -m 666 /mnt/urandom c 1 9']
    for node in nodes:
        number = os.stat('/dev/' + node).st_rdev
        out.append('mknod -m 666 /mnt/%s c %d %d' % (
            node, os.major(number), os.minor(number)))
    return tuple(out + ['mount --move /mnt /dev'])


def no_permission(t):
    """A directory that one may not write to."""
    need()
    os.chmod(t.dir, 0o755)
    nodes = ['kvm'] + (['userfaultfd']
                       if os.path.exists('/dev/userfaultfd') else [])
    swap = os.path.join(t.dir, 'swap')
    refused(machine('-vmemdirect', 'memory=96M,swap=' + swap), swap,
            prefix=as_nobody(*private_dev(*nodes)))


def no_kvm(t):
    """/dev/kvm absent, and there without rights."""
    need(paging=False)
    refused(machine(), '/dev/kvm', prefix=as_nobody(*private_dev()))
    refused(machine(), '/dev/kvm', prefix=as_nobody())


def no_userfaultfd(t):
    """The line names both ways to allow it."""
    need()
    with open('/proc/sys/vm/unprivileged_userfaultfd') as f:
        if f.read().strip() != '0':
            raise Skip('unprivileged userfaultfd is allowed here')
    os.chmod(t.dir, 0o777)
    swap = os.path.join(t.dir, 'swap')
    refused(machine('-vmemdirect', 'memory=96M,swap=' + swap),
            '/dev/userfaultfd', 'unprivileged_userfaultfd',
            prefix=as_nobody(*private_dev('kvm')))
    check(not os.path.exists(swap), 'leaves a swap file')


def qmp_errors(t):
    """What is no command changes nothing, and is answered."""
    need(paging=False)
    guest = t.guest()
    vm = t.vm(guest, 'vm', mem=MEM, append=WORK)
    guest.wait_filled(alive=[vm])
    for command, arguments in (('frobnicate', None), ('stop', {'x': 1}),
                               ('migrate', None), ('migrate', {'uri': 7}),
                               ('query-vmemdirect', {'x': 1}),
                               ('vmemdirect-set', {'memory': 64 * MIB})):
        try:
            vm.run(command, arguments)
        except QmpError as e:
            check(e.text, 'no text')
        else:
            check(False, '%s %r was taken', command, arguments)
    for raw in (b'[1, 2]\n', b'"x"\n',
                b'{"execute": 1}\n', b'\x80\xff\n', b'}\n'):
        vm.qmp.socket.sendall(raw)
        answer = vm.qmp.receive(time.monotonic() + 10)
        check('error' in answer, '%r is answered by %r', raw, answer)
    check(vm.status() == 'running', 'status %s', vm.status())
    guest.wait_verified(alive=[vm])
    vm.quit()


TESTS = [(f.__name__, f) for f in (
    options, kernel_images, bad_swap_paths, swap_no_o_direct, swap_in_use,
    no_permission, no_kvm, no_userfaultfd, qmp_errors)]
