#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The rival: stock QEMU whose memory the kernel swaps.

What: a memory cgroup (version 1) and a swap file. The VM starts with room for
all of its RAM, fills it, and is then squeezed while it is stopped: a guest
that fills memory in a group that is already tight gets its VMM killed.

What must stay true: group and swap file are gone afterwards, however the
benchmark ends. So a second process (guard) undoes both when its standard
input ends, which also happens when the benchmark is killed.
"""
import contextlib
import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import time

GROUPS = '/sys/fs/cgroup/memory'
MIB = 1 << 20
PAGE = 4096
PR_SET_THP_DISABLE = 41  # linux/prctl.h
STEP_BYTES = 16 * MIB
SQUEEZE_TIMEOUT = 120
SWAP_PRIORITY = 32767  # ahead of any other swap


def read_number(path):
    with open(path) as f:
        return int(f.read())


def write_text(path, text):
    with open(path, 'w') as f:
        f.write(str(text))


def tool(name):
    return shutil.which(name, path=os.environ.get('PATH', '') +
                        ':/usr/sbin:/sbin')


def reason():
    """Why there can be no such rival here, or None."""
    if os.geteuid() != 0:
        return 'kernel swap needs root'
    if not os.path.exists(GROUPS + '/memory.limit_in_bytes'):
        return 'no memory cgroup of version 1 at ' + GROUPS
    for name in ('mkswap', 'swapon', 'swapoff'):
        if tool(name) is None:
            return 'no ' + name
    return None


def page_cluster():
    """Swap read-ahead of the kernel: 2^n pages."""
    return read_number('/proc/sys/vm/page-cluster')


def swapped_bytes():
    """(in, out) of the whole machine since it started."""
    with open('/proc/vmstat') as f:
        stat = dict(line.split() for line in f)
    return int(stat['pswpin']) * PAGE, int(stat['pswpout']) * PAGE


def ram_rss_bytes(pid):
    """Resident part of a process's largest mapping: the guest's RAM."""
    largest, rss, size = 0, 0, 0
    with open('/proc/%d/smaps' % pid) as f:
        for line in f:
            if line.startswith('Size:'):
                size = int(line.split()[1])
            elif line.startswith('Rss:') and size > largest:
                largest, rss = size, int(line.split()[1]) * 1024
    return rss


class KernelSwap:
    """A group and a swap file, from construction to close(); swap_mib=0: a
    group only, to see how much memory its processes take."""

    def __init__(self, directory, swap_mib):
        self.group = os.path.join(GROUPS, 'vmt-bench-%d' % os.getpid())
        self.swap = os.path.join(directory, 'kernel-swap')
        self.guard = subprocess.Popen(
            [sys.executable, os.path.realpath(__file__), 'guard', self.group,
             self.swap], stdin=subprocess.PIPE, start_new_session=True)
        try:
            os.mkdir(self.group)
            write_text(self.group + '/memory.swappiness', 100)
            if swap_mib:
                self.make_swap(swap_mib)
        except BaseException:
            self.close()
            raise

    def make_swap(self, mib):
        fd = os.open(self.swap, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(fd, 0, mib * MIB)
        finally:
            os.close(fd)
        subprocess.run([tool('mkswap'), self.swap], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([tool('swapon'), '-p', str(SWAP_PRIORITY), self.swap],
                       check=True)

    def roomy(self, mib):
        write_text(self.group + '/memory.limit_in_bytes', mib * MIB)

    def highest_bytes(self):
        """Of all memory of the group at a time, its page cache included."""
        return read_number(self.group + '/memory.max_usage_in_bytes')

    def prefix(self, huge=False):
        """Put before a command line, runs it in the group."""
        return [sys.executable, os.path.realpath(__file__),
                'enter-huge' if huge else 'enter', self.group]

    def squeeze(self, pid, budget_bytes, spare_bytes):
        """The VM is stopped. Leaves it so much of the guest's RAM, and what
        the VMM has beside it on top: our engine's budget does not count its
        VMM either. How much the VMM keeps shows only while it is squeezed:
        the kernel takes its pages, too. A guest that has less in memory may
        grow up to the budget. spare_bytes go on top of all."""
        deadline = time.monotonic() + SQUEEZE_TIMEOUT
        limit = read_number(self.group + '/memory.limit_in_bytes')
        while (more := ram_rss_bytes(pid) - budget_bytes) > 0:
            # Where the limit is above the use, lowering it takes nothing.
            limit = min(limit, read_number(self.group +
                                           '/memory.usage_in_bytes'))
            limit -= min(STEP_BYTES, more)
            self.lower(limit, deadline)
        room = budget_bytes - ram_rss_bytes(pid)
        self.lower(read_number(self.group + '/memory.usage_in_bytes') +
                   max(room, 0) + spare_bytes, deadline)

    def lower(self, limit, deadline):
        while True:
            try:
                write_text(self.group + '/memory.limit_in_bytes', limit)
                return
            except OSError as e:
                if e.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def close(self):
        self.guard.stdin.close()
        self.guard.wait()


# --- the guard's side ---------------------------------------------------------

def end_group(group):
    """Ends what runs in a group of ours, then the group."""
    deadline = time.monotonic() + 60
    while os.path.isdir(group):
        with open(group + '/cgroup.procs') as f:
            for pid in f.read().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.rmdir(group)
        if time.monotonic() > deadline:
            print('bench: cannot remove ' + group, file=sys.stderr)
            return
        time.sleep(0.02)


def guard(group, swap):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    end_group(group)
    with open('/proc/swaps') as f:
        on = any(line.split()[0] == swap for line in f)
    if on:
        subprocess.run([tool('swapoff'), swap], check=False)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(swap)


def enter(group, huge, command):
    """Goes into the group and becomes the command; without huge pages, unless
    they are asked for: they make both squeeze and swap unsteady."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not huge and libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0:
        sys.exit('bench: PR_SET_THP_DISABLE: ' +
                 os.strerror(ctypes.get_errno()))
    write_text(group + '/cgroup.procs', os.getpid())
    os.execv(command[0], command)


def main():
    if sys.argv[1] == 'guard':
        guard(sys.argv[2], sys.argv[3])
    else:
        enter(sys.argv[2], sys.argv[1] == 'enter-huge', sys.argv[3:])


if __name__ == '__main__':
    main()
