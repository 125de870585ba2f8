# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt finds out about the binary, and what it makes of it."""
import os
import time
import xml.etree.ElementTree as ElementTree


def capabilities(t):
    host = t.host()
    tree = ElementTree.fromstring(host.virsh('capabilities'))
    assert tree.findtext('host/uuid') == host.uuid


def domain_capabilities(t):
    """libvirt lists what is there, and nothing that is not."""
    host = t.host()
    for machine, name in (('q35', 'pc-q35-7.2'), ('pc', 'pc-i440fx-7.2')):
        tree = ElementTree.fromstring(host.virsh(
            'domcapabilities', '--emulatorbin', t.binary, '--virttype', 'kvm',
            '--machine', machine))
        assert tree.findtext('machine') == name
        assert tree.findtext('domain') == 'kvm'
        assert tree.find('vcpu').get('max') == '255'
        modes = {m.get('name'): m for m in tree.findall('cpu/mode')}
        assert modes['host-passthrough'].get('supported') == 'yes'
        models = {m.text: m.get('usable')
                  for m in modes['custom'].findall('model')}
        assert 'qemu64' in models, models
        devices = tree.find('devices')
        for name in ('graphics', 'video', 'hostdev', 'tpm', 'filesystem'):
            part = devices.find(name)
            if part is not None and part.get('supported') == 'yes':
                values = [v.text for e in part.findall('enum')
                          if e.get('name') in ('type', 'modelType', 'model')
                          for v in e.findall('value')]
                t.note('%s: %s', name, ' '.join(values))
        backends = [v.text for v in devices.findall(
            "rng/enum[@name='backendModel']/value")]
        assert 'random' in backends and 'egd' not in backends, backends


def probes_leave_nothing(t):
    """A probe ends with the daemon that asked; ours end by SIGTERM."""
    host = t.host()
    host.virsh('domcapabilities', '--emulatorbin', t.binary, '--virttype',
               'kvm')
    deadline = time.monotonic() + 10
    while host.probes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not host.probes()
    assert host.alive()


def probe_survives_a_restart(t):
    """What was found out is kept, and asked for anew when the binary is
    another."""
    host = t.host()
    before = host.virsh('domcapabilities', '--emulatorbin', t.binary,
                        '--virttype', 'kvm')
    host.stop_daemon()
    host.start()
    assert before == host.virsh('domcapabilities', '--emulatorbin', t.binary,
                                '--virttype', 'kvm')
    cache = host.path('cache', 'qemu', 'capabilities')
    assert os.listdir(cache)


TESTS = [capabilities, domain_capabilities, probes_leave_nothing,
         probe_survives_a_restart]
