# SPDX-License-Identifier: GPL-2.0-or-later
"""What a migration goes over: loopback, or two network namespaces with a link
of limited rate between them. The namespaces end with the process that made
them, so that nothing is left however the benchmark ends.
"""
import subprocess

import kernel_swap
import vmtest

PORT = 4444
ADDRESSES = ('192.0.2.1', '192.0.2.2')  # RFC 5737: documentation
DELAY_US = 1000


class Loopback:
    name = 'loopback'

    def __init__(self):
        self.prefixes = ([], [])

    def uri(self):
        return 'tcp:127.0.0.1:%d' % vmtest.free_port()

    def close(self):
        pass


class Limited:
    """rate in Mbit/s. With a delay where the kernel has netem."""

    def __init__(self, mbits):
        self.name = '%g Gb/s' % (mbits / 1000)
        self.holders = []
        try:
            for _ in ADDRESSES:
                self.holders.append(subprocess.Popen(
                    ['unshare', '--net', 'sh', '-c', 'echo; cat'],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE))
                self.holders[-1].stdout.readline()
            self.prefixes = tuple(
                ['nsenter', '--target', str(h.pid), '--net', '--']
                for h in self.holders)
            self.connect(mbits)
        except BaseException:
            self.close()
            raise

    def run(self, end, *command):
        subprocess.run(self.prefixes[end] + [kernel_swap.tool(command[0])] +
                       list(command[1:]), check=True, capture_output=True,
                       text=True)

    def connect(self, mbits):
        self.run(0, 'ip', 'link', 'add', 'm0', 'type', 'veth', 'peer', 'name',
                 'm1', 'netns', str(self.holders[1].pid))
        for end, address in enumerate(ADDRESSES):
            self.run(end, 'ip', 'address', 'add', address + '/30', 'dev',
                     'm%d' % end)
            self.run(end, 'ip', 'link', 'set', 'm%d' % end, 'up')
            parent = self.delay(end)
            # Room for what passes in 10 ms: several ticks of the kernel.
            self.run(end, 'tc', 'qdisc', 'add', 'dev', 'm%d' % end, *parent,
                     'tbf', 'rate', '%dmbit' % mbits, 'burst',
                     str(mbits * 1250), 'latency', '50ms')

    def delay(self, end):
        """Where the limit goes: below the delay, if there can be one."""
        try:
            self.run(end, 'tc', 'qdisc', 'add', 'dev', 'm%d' % end, 'root',
                     'handle', '1:', 'netem', 'delay', '%dus' % DELAY_US)
        except subprocess.CalledProcessError:
            return ['root']
        self.name += ', %g ms' % (DELAY_US / 1000) if end == 0 else ''
        return ['parent', '1:']

    def uri(self):
        return 'tcp:%s:%d' % (ADDRESSES[1], PORT)

    def close(self):
        for h in self.holders:
            h.stdin.close()
            h.stdout.close()
            h.wait()
        self.holders = []


def make(name):
    """'loopback', or a number: Mbit/s."""
    return Loopback() if name == 'loopback' else Limited(int(name))


def reason(name):
    """Why there can be no such link here, or None."""
    if name == 'loopback':
        return None
    for tool in ('ip', 'tc', 'unshare', 'nsenter'):
        if kernel_swap.tool(tool) is None:
            return 'no ' + tool
    try:
        make(name).close()
    except subprocess.CalledProcessError as e:
        return '%s: %s' % (' '.join(e.cmd), e.stderr.strip())
    return None
