# SPDX-License-Identifier: GPL-2.0-or-later
"""A domain with the test guest: its XML, and what its guest says.

The guest writes its lines to the serial port, which libvirt leads into a file
in the host's root; after a migration there is one file on each host.
"""
import os
import re
import time

PATIENCE = float(os.environ.get('VMTEST_PATIENCE', '1'))
MIB = 1 << 20

XML = """<domain type='kvm'
        xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{mem}</memory>
  {memory_backing}
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{kernel}</kernel>
    <cmdline>{append}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  {cpu}
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>{emulator}</emulator>
    {devices}
    <controller type='usb' model='none'/>
  </devices>
  {arguments}
</domain>
"""

SERIAL_FILE = """<serial type='file'>
      <source path='{log}' append='on'/><target port='0'/>
    </serial>"""
SERIAL_PTY = "<serial type='pty'><target port='1'/></serial>"
DISK = """<disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard='unmap'/>
      <source file='{disk}'/><target dev='vda' bus='virtio'/>
      <serial>VM-DISK</serial>
    </disk>"""
NETWORK = """<interface type='user'>
      <mac address='52:54:00:11:22:33'/><model type='virtio'/>
    </interface>"""
BALLOON = "<memballoon model='virtio' freePageReporting='on'/>"
NO_BALLOON = "<memballoon model='none'/>"
RANDOM = """<rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>"""


class Domain:
    def __init__(self, name, number, emulator, kernel, log_name, *, mem=160,
                 vcpus=1, machine='q35', append=None,
                 cpu="<cpu mode='host-passthrough' migratable='on'/>",
                 devices=(SERIAL_FILE, NO_BALLOON), paging=None,
                 memory_backing='', disk=None, arguments=()):
        self.name = name
        self.mem = mem
        guest = {'cpus': vcpus, 'com': 1, 'acpi': 1, 'mib': mem - 64,
                 'hot': 32, 'rate': 20, 'verify': 1}
        guest.update(append or {})
        if paging is not None:
            arguments = ['-vmemdirect', paging] + list(arguments)
        # The path is the same on every host; each has its own /var/log.
        self.log_name = log_name
        self.xml = XML.format(
            name=name, uuid='00000000-4444-5555-6666-%012d' % number, mem=mem,
            vcpus=vcpus, machine=machine, kernel=kernel, emulator=emulator,
            cpu=cpu, memory_backing=memory_backing,
            append=','.join('%s=%s' % kv for kv in guest.items()),
            devices='\n    '.join(devices).format(
                log='/var/log/libvirt/qemu/' + log_name, disk=disk),
            arguments=self.arguments_xml(arguments))

    @staticmethod
    def arguments_xml(arguments):
        if not arguments:
            return ''
        return '<qemu:commandline>%s</qemu:commandline>' % ''.join(
            "<qemu:arg value='%s'/>" % a for a in arguments)

    def write(self, folder):
        path = os.path.join(folder, self.name + '.xml')
        with open(path, 'w') as f:
            f.write(self.xml)
        return path

    # what the guest says

    def lines(self, host):
        try:
            with open(host.path('log', 'qemu', self.log_name),
                      errors='replace') as f:
                return f.read().splitlines()
        except OSError:
            return []

    def wait_line(self, host, pattern, after=0, timeout=60):
        """The index after the first such line from an index on."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            lines = self.lines(host)
            for text in lines:
                assert not re.match(r'V BAD|V bad|X |END bad', text), text
            # The last one may be half a line.
            for i, text in enumerate(lines[after:-1], after):
                if re.match(pattern, text):
                    return i + 1
            assert time.monotonic() < deadline, \
                'guest of %s: no line like %r: %r; %s' % (
                    self.name, pattern, lines[-3:],
                    host.domain_log(self.name)[-500:])
            time.sleep(0.05)

    def mark(self, host):
        return len(self.lines(host))

    def wait_progress(self, host, lines=2):
        at = self.mark(host)
        for _ in range(lines):
            at = self.wait_line(host, r'P \d+ ', at)

    def wait_verified(self, host):
        """A verification that begins from now on finds all right."""
        at = self.wait_line(host, r'B \d+', self.mark(host))
        self.wait_line(host, r'V ok ', at)

    def stands_still(self, host, seconds=1.5):
        at = self.mark(host)
        time.sleep(seconds)
        return self.mark(host) == at
