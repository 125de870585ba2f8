# SPDX-License-Identifier: GPL-2.0-or-later
"""Harness of the native tests: virtual machines with the test guest.

What: starts our binary or stock QEMU with the test guest (tests/guest), talks
QMP, follows what the guest says, watches the VMM's resident memory, migrates.

What must stay true: every wait has a limit; only processes started here are
ended, by their handle; nothing is left behind but the files of a failed test.

Threads: each Guest has one reader thread for its consoles, each Vm one that
samples its memory; both only append under their lock. All else is on the
test's thread.
"""
import contextlib
import ctypes
import fcntl
import errno
import json
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), '..', '..'))
STOCK = os.environ.get('STOCK_QEMU', '/usr/bin/qemu-system-x86_64')
MIB = 1 << 20
PAGE = 4096
KVM_GET_API_VERSION = 0xAE00  # linux/kvm.h
# What the VMM itself may use beside the budget. AddressSanitizer keeps freed
# memory, ThreadSanitizer several bytes for each that is touched.
RSS_MARGIN_MIB = 64
if 'ASAN_OPTIONS' in os.environ:
    RSS_MARGIN_MIB = 640
if 'TSAN_OPTIONS' in os.environ:
    RSS_MARGIN_MIB = 4096
START_TIMEOUT = 20
QMP_TIMEOUT = 30
# To prove the tests themselves: every VM is stock QEMU, never paged. Tests
# that ask for our own commands fail then.
ALL_STOCK = os.environ.get('VMTEST_STOCK') == '1'
# For a slow host (sanitizers, emulation): all limits are multiplied by it.
PATIENCE = float(os.environ.get('VMTEST_PATIENCE', '1'))


class Failure(Exception):
    """The thing under test broke a promise."""


class Skip(Exception):
    """The test cannot run here; the text says why."""


class QmpError(Exception):
    """An error answer: class and text."""

    def __init__(self, command, error):
        super().__init__('%s: %s' % (command, error.get('desc')))
        self.error_class = error.get('class')
        self.text = error.get('desc', '')


def check(condition, text, *args):
    if not condition:
        raise Failure(text % args if args else text)


# --- the machine it runs on -------------------------------------------------

def build_dir():
    return os.environ.get('VMTEST_BUILD', os.path.join(REPO, 'build'))


def our_binary():
    return os.environ.get('QEMU') or os.path.join(build_dir(),
                                                  'qemu-system-x86_64')


def guest_image():
    """The guest next to the binary's build, or the one given."""
    given = os.environ.get('GUEST_ELF')
    near = os.path.join(os.path.dirname(os.path.realpath(our_binary())),
                        'tests', 'guest', 'guest.elf')
    for path in (given, near, os.path.join(build_dir(), 'tests', 'guest',
                                           'guest.elf')):
        if path and os.path.exists(path):
            return path
    raise Skip('no test guest; build it with ninja')


def kvm_reason():
    """Why KVM cannot be used here, or None."""
    try:
        fd = os.open('/dev/kvm', os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        return '/dev/kvm: %s' % os.strerror(e.errno)
    try:
        version = fcntl.ioctl(fd, KVM_GET_API_VERSION)
    except OSError as e:
        return '/dev/kvm: %s' % os.strerror(e.errno)
    finally:
        os.close(fd)
    return None if version == 12 else '/dev/kvm: API version %d' % version


def userfaultfd_reason():
    """Why userfaultfd cannot be used for faults of the kernel, or None."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(323, os.O_CLOEXEC)
    if fd >= 0:
        os.close(fd)
        return None
    text = os.strerror(ctypes.get_errno())
    try:
        os.close(os.open('/dev/userfaultfd', os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        return 'userfaultfd: %s; /dev/userfaultfd: %s' % (
            text, os.strerror(e.errno))
    return None


def need(*, ours=True, stock=False, paging=True):
    """Skips unless what a test needs is there."""
    reason = kvm_reason()
    if reason is None and paging:
        reason = userfaultfd_reason()
    if reason is None and ours and not ALL_STOCK and \
            not os.access(our_binary(), os.X_OK):
        reason = 'no binary at %s' % our_binary()
    if reason is None and stock and not os.access(STOCK, os.X_OK):
        reason = 'no stock QEMU at %s' % STOCK
    if reason is not None:
        raise Skip(reason)


def tsc_mhz():
    """The TSC's frequency: the kernel derives bogomips from it."""
    try:
        with open('/proc/cpuinfo') as f:
            m = re.search(r'^bogomips\s*:\s*([0-9.]+)', f.read(), re.M | re.I)
        return round(float(m.group(1)) / 2) if m else 0
    except OSError:
        return 0


def can_o_direct(directory):
    path = os.path.join(directory, '.o_direct.%d' % os.getpid())
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600))
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def scratch_root():
    """A directory for swap files: the first that takes O_DIRECT."""
    for directory in (os.environ.get('TMPDIR'), '/tmp', '/var/tmp',
                      build_dir()):
        if directory and os.path.isdir(directory) and \
                can_o_direct(directory):
            return directory
    raise Skip('no directory whose file system takes O_DIRECT; set TMPDIR')


def small_file_system(t, mib):
    """A new ext4 file system of its own on a loop device."""
    if os.geteuid() != 0:
        raise Skip('needs root to mount a file system')
    image = os.path.join(t.dir, 'image')
    mount = os.path.join(t.dir, 'mnt')
    os.mkdir(mount)
    with open(image, 'wb') as f:
        f.truncate(mib * MIB)
    for command in (['mkfs.ext4', '-q', '-m', '0', '-O', '^has_journal',
                     image], ['mount', '-o', 'loop', image, mount]):
        try:
            done = subprocess.run(command, capture_output=True, text=True,
                                  timeout=60, check=False)
        except OSError as e:
            raise Skip('%s: %s' % (command[0], e)) from e
        if done.returncode != 0:
            raise Skip('%s: %s' % (command[0], done.stderr.strip()))
    t.cleanup(lambda: subprocess.run(['umount', '-l', mount], check=False,
                                     timeout=60))
    return mount


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


# --- QMP ---------------------------------------------------------------------

class Qmp:
    """A QMP client; events are kept in order in .events."""

    def __init__(self, path, process, timeout=START_TIMEOUT):
        self.events = []
        self.buffer = b''
        self.next_id = 0
        self.socket = self.connect(path, process, timeout * PATIENCE)
        greeting = self.receive(time.monotonic() + timeout * PATIENCE)
        check('QMP' in greeting, 'QMP: no greeting but %r', greeting)
        self.greeting = greeting['QMP']
        self.run('qmp_capabilities')

    @staticmethod
    def connect(path, process, timeout):
        deadline = time.monotonic() + timeout
        while True:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(path)
                return s
            except OSError as e:
                s.close()
                if e.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                    raise
            if process.poll() is not None:
                raise Failure('the VMM exited with %d before QMP was there'
                              % process.returncode)
            check(time.monotonic() < deadline, 'QMP: no socket in time')
            time.sleep(0.01)

    def receive(self, deadline):
        while b'\n' not in self.buffer:
            left = deadline - time.monotonic()
            check(left > 0, 'QMP: no answer in time')
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                continue
            except ConnectionError:
                data = b''
            if not data:
                raise EOFError('QMP: closed')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return json.loads(line)

    def run(self, command, arguments=None, timeout=QMP_TIMEOUT, fds=()):
        """fds: descriptors that go with the command (getfd)."""
        self.next_id += 1
        request = {'execute': command, 'id': self.next_id}
        if arguments:
            request['arguments'] = arguments
        data = json.dumps(request).encode() + b'\r\n'
        try:
            if fds:
                socket.send_fds(self.socket, [data], fds)
            else:
                self.socket.sendall(data)
        except OSError as e:
            raise EOFError('QMP: %s' % e) from e
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            answer = self.receive(deadline)
            if 'event' in answer:
                self.events.append(answer)
            elif answer.get('id') == self.next_id:
                if 'error' in answer:
                    raise QmpError(command, answer['error'])
                return answer['return']

    def drain(self, seconds=0.0):
        """Collects events that have come, or come within seconds."""
        deadline = time.monotonic() + seconds
        while True:
            ready = b'\n' in self.buffer or select.select(
                [self.socket], [], [],
                max(0, deadline - time.monotonic()))[0]
            if not ready:
                return
            try:
                answer = self.receive(time.monotonic() + 1)
            except EOFError:
                return
            if 'event' in answer:
                self.events.append(answer)

    def wait_event(self, name, timeout=QMP_TIMEOUT, after=0):
        """First event of that name with index >= after."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            for i, event in enumerate(self.events[after:], after):
                if event['event'] == name:
                    return i, event
            check(time.monotonic() < deadline, 'no event %s in time', name)
            self.drain(0.05)

    def close(self):
        self.socket.close()


# --- what the guest says ------------------------------------------------------

class Guest:
    """One guest's console, through all processes that it lives in.

    Each process writes into its own FIFO; one thread reads them, older ones
    first, so that a line cut by the switch-over is joined again.
    """

    def __init__(self, directory, name='guest'):
        self.directory = directory
        self.name = name
        self.lock = threading.Condition()  # over an RLock
        self.lines = []       # (host time, process name, text)
        self.wrong = []       # lines that say that memory is wrong
        self.sources = []     # (fd, process name)
        self.partial = b''
        self.partial_time = 0.0
        self.partial_from = None
        self.wake_r, self.wake_w = os.pipe()
        self.stopping = False
        self.log = open(os.path.join(directory, name + '.log'), 'wb')
        self.thread = threading.Thread(target=self.read_all, daemon=True)
        self.thread.start()

    def add_console(self, path, process_name):
        os.mkfifo(path, 0o600)
        # Read and write: it never ends, and the VMM's open does not wait.
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        with self.lock:
            self.sources.append((fd, process_name))
        os.write(self.wake_w, b'x')

    def remove_console(self, process_name):
        """The process is gone; what it wrote has been read, or is now."""
        with self.lock:
            for source in [s for s in self.sources if s[1] == process_name]:
                with contextlib.suppress(BlockingIOError):
                    self.feed(os.read(source[0], 65536), process_name,
                              time.monotonic())
                self.sources.remove(source)
                os.close(source[0])

    def read_all(self):
        while not self.stopping:
            with self.lock:
                sources = list(self.sources)
            try:
                ready = select.select(
                    [fd for fd, _ in sources] + [self.wake_r], [], [], 1)[0]
            except OSError:
                continue  # a console was removed meanwhile
            now = time.monotonic()
            if self.wake_r in ready:
                os.read(self.wake_r, 100)
            for source in sources:
                with self.lock:
                    if source[0] in ready and source in self.sources:
                        with contextlib.suppress(BlockingIOError):
                            self.feed(os.read(source[0], 65536), source[1],
                                      now)

    def feed(self, data, process_name, now):
        self.log.write(data)
        self.log.flush()
        with self.lock:
            for piece in data.splitlines(keepends=True):
                if not self.partial:
                    self.partial_time = now
                    self.partial_from = process_name
                self.partial += piece
                if not self.partial.endswith(b'\n'):
                    continue
                text = self.partial.decode('latin-1').strip()
                self.lines.append((self.partial_time, process_name, text))
                if re.match(r'V BAD|V bad|X |END bad', text):
                    self.wrong.append(text)
                self.partial = b''
            self.lock.notify_all()

    def check_right(self):
        with self.lock:
            check(not self.wrong, 'guest %s: %s', self.name,
                  '; '.join(self.wrong[:4]))

    def mark(self):
        """Position for wait(): lines that come from now on."""
        with self.lock:
            return len(self.lines)

    def wait(self, pattern, after=0, timeout=30, alive=()):
        """(index, match) of the first such line at or after an index."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout * PATIENCE
        at = after
        while True:
            with self.lock:
                if at >= len(self.lines):
                    self.lock.wait(0.1)
                new = self.lines[at:]
            for _, _, text in new:
                m = regex.match(text)
                if m:
                    return at, m
                at += 1
            self.check_right()
            for vm in alive:
                vm.check_alive()
            check(time.monotonic() < deadline,
                  'guest %s: no line like %r in %g s', self.name, pattern,
                  timeout * PATIENCE)

    def wait_filled(self, timeout=60, alive=()):
        return self.wait(r'F \d+ \d+', timeout=timeout, alive=alive)

    def wait_verified(self, passes=1, timeout=120, alive=()):
        """Verifications that begin from now on, and are found right."""
        at = self.mark()
        for _ in range(passes):
            at, m = self.wait(r'B (\d+)$', at, timeout, alive)
            at, _ = self.wait(r'V ok \d+ %s ' % m.group(1), at, timeout,
                              alive)
        self.check_right()

    def progress(self):
        """All progress lines: (host s, process, guest us, writes, reads,
        gap us)."""
        with self.lock:
            lines = list(self.lines)
        out = []
        for when, process_name, text in lines:
            m = re.match(r'P (\d+) (\d+) (\d+) (\d+)$', text)
            if m:
                out.append((when, process_name) +
                           tuple(int(n) for n in m.groups()))
        return out

    def wait_progress(self, lines=3, timeout=20, alive=()):
        """The guest runs: so many lines of progress from now on."""
        at = self.mark()
        for _ in range(lines):
            at, _ = self.wait(r'P \d+ ', at, timeout, alive)
            at += 1

    def gap_ms(self, source, destination):
        """Time lost to the guest across the switch-over from one process to
        the other: host time that passed between two lines less guest time
        (the TSC may stand still), and what the guest saw stand still."""
        before = [p for p in self.progress() if p[1] == source]
        after = [p for p in self.progress() if p[1] == destination]
        if not before or not after:
            return None
        a, b = before[-1], after[0]
        lost_us = (b[0] - a[0]) * 1e6 - (b[2] - a[2])
        return (max(0, lost_us) + b[5]) / 1000

    def rate(self, process_name, seconds=None):
        """Pages written and read per second in a process (its last
        seconds)."""
        points = [p for p in self.progress() if p[1] == process_name]
        if seconds is not None and points:
            points = [p for p in points if p[0] >= points[-1][0] - seconds]
        if len(points) < 2 or points[-1][0] == points[0][0]:
            return 0.0
        done = sum(points[-1][3:5]) - sum(points[0][3:5])
        return done / (points[-1][0] - points[0][0])

    def writing_rate(self, process_name, since=0.0):
        """Median pages per second over the intervals of progress in which
        the guest worked all the time: a verification stops the writing."""
        with self.lock:
            lines = list(self.lines)
        rates, last = [], None
        for when, name, text in lines:
            m = re.match(r'P (\d+) (\d+) (\d+) ', text)
            if name != process_name or when < since or \
                    text[:1] in ('B', 'F', 'V'):
                last = None
            elif m:
                us, done = int(m.group(1)), int(m.group(2)) + int(m.group(3))
                if last is not None and done > last[1]:
                    rates.append((done - last[1]) * 1e6 / (us - last[0]))
                last = us, done
        return sorted(rates)[len(rates) // 2] if rates else 0.0

    def close(self):
        self.stopping = True
        os.write(self.wake_w, b'x')
        self.thread.join(5)
        for fd, _ in self.sources:
            os.close(fd)
        os.close(self.wake_r)
        os.close(self.wake_w)
        self.log.close()


# Run states that no test waits in.
BROKEN = ('internal-error', 'io-error', 'guest-panicked', 'shutdown')


# --- a virtual machine --------------------------------------------------------

class Vm:
    """One VMM process. vmemdirect: dict of options, 'memory' in MiB."""

    def __init__(self, test, guest, name, *, stock=False, mem=160, smp=1,
                 machine='pc', append=None, vmemdirect=None, incoming=None,
                 extra=(), qmp=True, wait_qmp=True, prefix=(), kernel=None,
                 pass_fds=()):
        self.test = test
        self.guest = guest
        self.name = name
        self.stock = stock or ALL_STOCK
        self.pass_fds = pass_fds
        if self.stock:
            vmemdirect = None
        self.budget_mib = None
        self.dir = os.path.join(test.dir, name)
        os.mkdir(self.dir)
        self.qmp = None
        self.qmp_path = os.path.join(self.dir, 'q')
        self.stderr_path = os.path.join(self.dir, 'stderr')
        self.rss_lock = threading.Lock()
        self.rss_max = 0
        self.status_time = 0.0
        self.console = os.path.join(self.dir, 'console')
        guest.add_console(self.console, name)
        self.kernel = kernel or guest_image()
        self.args = list(prefix) + self.command_line(
            mem, smp, machine, append or {}, vmemdirect, incoming, qmp)
        self.args += list(extra)
        self.start()
        if qmp and wait_qmp:
            self.connect()

    def command_line(self, mem, smp, machine, append, vmemdirect, incoming,
                     qmp):
        guest_args = {'mhz': tsc_mhz(), 'cpus': smp}
        guest_args.update(append)
        args = [STOCK if self.stock else our_binary(), '-nodefaults',
                '-display', 'none', '-M', machine, '-accel', 'kvm',
                '-cpu', 'qemu64', '-m', str(mem), '-smp', str(smp),
                '-kernel', self.kernel,
                '-append', ','.join('%s=%s' % kv for kv in
                                    guest_args.items()),
                '-chardev', 'file,id=d,path=' + self.console,
                '-device', 'isa-debugcon,iobase=0xe9,chardev=d',
                '-device', 'isa-debug-exit,iobase=0x501,iosize=1']
        if self.stock:
            args += ['-bios', 'qboot.rom']
        if qmp:
            args += ['-qmp', 'unix:%s,server=on,wait=off' % self.qmp_path]
        if vmemdirect is not None:
            args += ['-vmemdirect', self.vmemdirect_option(vmemdirect)]
        if incoming is not None:
            args += ['-incoming', incoming]
        return args

    def vmemdirect_option(self, options):
        options = dict(options)
        self.budget_mib = options.pop('memory')
        options.setdefault('swap', os.path.join(self.dir, 'swap'))
        # auto might take this machine's DAMON, of which there is one.
        options.setdefault('tracker', 'soft')
        return ','.join(['swap=%s' % options.pop('swap'),
                         'memory=%dM' % self.budget_mib] +
                        ['%s=%s' % kv for kv in options.items()])

    def start(self):
        with open(os.path.join(self.dir, 'command'), 'w') as f:
            f.write(' '.join(self.args) + '\n')
        with open(self.stderr_path, 'wb') as err:
            self.process = subprocess.Popen(
                self.args, stdin=subprocess.DEVNULL,
                stdout=err, stderr=err, cwd=self.dir,
                pass_fds=self.pass_fds)
        self.test.vms.append(self)
        self.sampler = threading.Thread(target=self.sample_rss, daemon=True)
        self.sampler.start()

    def connect(self):
        try:
            self.qmp = Qmp(self.qmp_path, self.process)
        except (Failure, EOFError) as e:
            raise Failure('%s: %s; stderr: %s' % (self.name, e,
                                                  self.stderr())) from e

    def stderr(self):
        with open(self.stderr_path, errors='replace') as f:
            return f.read().strip()

    # memory of the process

    def rss_bytes(self):
        try:
            with open('/proc/%d/statm' % self.process.pid) as f:
                return int(f.read().split()[1]) * PAGE
        except (OSError, IndexError):
            return 0

    def sample_rss(self):
        while self.process.returncode is None:
            rss = self.rss_bytes()
            with self.rss_lock:
                self.rss_max = max(self.rss_max, rss)
            time.sleep(0.03)

    def rss_peak_reset(self):
        with self.rss_lock:
            peak, self.rss_max = self.rss_max, 0
        return peak

    def check_rss(self, budget_mib=None):
        """The highest resident size since the last call keeps the bound."""
        budget_mib = budget_mib or self.budget_mib
        if budget_mib is None:
            return 0
        peak = self.rss_peak_reset()
        check(peak <= (budget_mib + RSS_MARGIN_MIB) * MIB,
              '%s: %d MiB resident, budget %d MiB', self.name, peak >> 20,
              budget_mib)
        return peak

    # state

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failure('%s exited with %d: %s' % (
                self.name, self.process.returncode, self.stderr()))
        now = time.monotonic()
        if self.qmp is not None and now - self.status_time > 1:
            self.status_time = now
            status = self.status()
            check(status not in BROKEN, '%s is stopped (%s): %s', self.name,
                  status, self.stderr())

    def run(self, command, arguments=None, **kw):
        try:
            return self.qmp.run(command, arguments, **kw)
        except EOFError:
            self.process.poll()
            raise Failure('%s: QMP closed at %s, exit status %s: %s' % (
                self.name, command, self.process.returncode,
                self.stderr())) from None

    def status(self):
        return self.run('query-status')['status']

    def wait_status(self, wanted, timeout=20):
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            status = self.status()
            if status == wanted:
                return
            check(time.monotonic() < deadline, '%s: status %s, not %s',
                  self.name, status, wanted)
            time.sleep(0.02)

    def paging(self):
        return self.run('query-vmemdirect')

    def brief(self):
        """paging() for a message: without the histograms."""
        return {k: v for k, v in self.paging().items()
                if not isinstance(v, list)}

    def set_budget(self, mib):
        self.run('vmemdirect-set', {'memory': mib * MIB})
        self.budget_mib = mib

    def wait_exit(self, timeout=60):
        """Exit status; fails when it does not come. The limit is generous:
        freeing a swap file on a file system that discards takes seconds on
        a busy disk, and the kernel does it before the process is gone."""
        try:
            return self.process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure('%s does not exit; stderr: %s' % (
                self.name, self.stderr())) from None

    def quit(self, timeout=60):
        with contextlib.suppress(EOFError):
            self.qmp.run('quit')
        status = self.wait_exit(timeout)
        check(status == 0, '%s: exit status %d after quit: %s', self.name,
              status, self.stderr())

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.test.note('%s: pid %d is not gone 120 s after SIGKILL',
                           self.name, self.process.pid)

    def close(self):
        self.kill()
        self.sampler.join(5)
        self.guest.remove_console(self.name)
        if self.qmp is not None:
            self.qmp.close()


# --- migration ----------------------------------------------------------------

FINISHED = ('completed', 'failed', 'cancelled')


def migration_address(kind, directory, name='m'):
    if kind == 'unix':
        return 'unix:' + os.path.join(directory, name + '.sock')
    return 'tcp:127.0.0.1:%d' % free_port()


def set_parameters(vm, **parameters):
    vm.run('migrate-set-parameters',
           {k.replace('_', '-'): v for k, v in parameters.items()})


def wait_migration(source, timeout=120, statuses=FINISHED, seen=None):
    """query-migrate of the source once its status is one of these; seen is
    called with each answer before."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        info = source.run('query-migrate')
        if info.get('status') in statuses:
            return info
        if seen is not None:
            seen(info)
        check(time.monotonic() < deadline, '%s: migration is %s after %g s',
              source.name, info.get('status'), timeout * PATIENCE)
        time.sleep(0.02)


def migrate(source, destination, uri, *, timeout=120, max_bandwidth=0,
            downtime_limit=300, seen=None):
    """Moves the guest; returns query-migrate's last answer of the source.
    max_bandwidth 0: no limit that matters."""
    set_parameters(source, max_bandwidth=max_bandwidth or 10 << 30,
                   downtime_limit=downtime_limit)
    source.run('migrate', {'uri': uri})
    info = wait_migration(source, timeout, seen=seen)
    check(info['status'] == 'completed',
          'migration %s -> %s: %s %s; source says: %s; destination says: %s',
          source.name, destination.name, info['status'],
          info.get('error-desc', ''), source.stderr(), destination.stderr())
    destination.wait_status('running')
    return info


def gives_up(destination):
    """A destination whose stream broke ends with an error; one that was
    only knocked at may wait on. True if it has ended."""
    deadline = time.monotonic() + 10 * PATIENCE
    while destination.process.poll() is None:
        if 'ignored a connection' in destination.stderr():
            time.sleep(0.3)
            check(destination.status() == 'inmigrate',
                  '%s ignored a connection but is %s', destination.name,
                  destination.status())
            destination.close()
            return False
        check(time.monotonic() < deadline, '%s neither ends nor waits on',
              destination.name)
        time.sleep(0.02)
    status = destination.process.returncode
    check(status > 0, '%s exits with %d', destination.name, status)
    return True


# --- a test -------------------------------------------------------------------

class Test:
    """What a test function gets: a directory and the things it starts."""

    def __init__(self, name, root):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix='vmt-', dir=root)
        self.vms = []
        self.guests = []
        self.cleanups = []
        self.notes = []

    def guest(self, name='guest'):
        guest = Guest(self.dir, name)
        self.guests.append(guest)
        return guest

    def vm(self, guest, name, **kw):
        return Vm(self, guest, name, **kw)

    def note(self, text, *args):
        self.notes.append(text % args if args else text)

    def skip(self, text):
        raise Skip(text)

    def cleanup(self, function, *args):
        """Called at the end, in reverse order."""
        self.cleanups.append((function, args))

    def stop_all(self):
        for vm in self.vms:
            vm.close()
        for guest in self.guests:
            guest.close()
        for function, args in reversed(self.cleanups):
            function(*args)

    def diagnostics(self):
        """The ends of all logs, for a failed test."""
        out = []
        for directory, _, names in os.walk(self.dir):
            for name in sorted(names):
                path = os.path.join(directory, name)
                if name != 'stderr' and not name.endswith('.log') or \
                        os.path.getsize(path) == 0:
                    continue
                with open(path, errors='replace') as f:
                    tail = f.read()[-1500:].splitlines()[-12:]
                out.append('--- ' + os.path.relpath(path, self.dir))
                out += tail
        return out

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)
