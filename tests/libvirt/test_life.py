# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains: start, stop, ask, and everything between."""
import json
import os
import re
import signal
import time

from domain import (BALLOON, DISK, NETWORK, NO_BALLOON, PATIENCE, RANDOM,
                    SERIAL_FILE, SERIAL_PTY)
from host import VirshError

EVERYTHING = (SERIAL_FILE, SERIAL_PTY, DISK, NETWORK, RANDOM, BALLOON)


def wait_state(host, name, state, timeout=30):
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        now = host.virsh('domstate', name)
        if now == state:
            return
        assert time.monotonic() < deadline, '%s is %s, not %s: %s' % (
            name, now, state, host.domain_log(name)[-500:])
        time.sleep(0.1)


def start(t, host, domain):
    host.virsh('define', domain.write(t.dir))
    host.virsh('start', domain.name)
    domain.wait_line(host, r'F \d+ \d+')


def stop(host, domain):
    host.virsh('destroy', domain.name)
    host.virsh('undefine', domain.name)


def run_everything(t, machine):
    """define, start, list, dominfo, suspend, resume, reset, destroy,
    undefine, with every device that there is."""
    host = t.host()
    domain = t.domain(machine=machine, vcpus=2, devices=EVERYTHING,
                      disk=t.disk(host))
    name = domain.name
    start(t, host, domain)
    assert name in host.virsh('list', '--name').split()
    info = host.virsh('dominfo', name)
    assert re.search(r'^State:\s+running$', info, re.M), info
    assert re.search(r'^CPU\(s\):\s+2$', info, re.M), info
    host.virsh('suspend', name)
    assert host.virsh('domstate', '--reason', name) == 'paused (user)'
    assert domain.stands_still(host)
    host.virsh('resume', name)
    wait_state(host, name, 'running')
    domain.wait_progress(host)
    at = domain.mark(host)
    host.virsh('reset', name)
    domain.wait_line(host, r'F \d+ \d+', at)
    assert host.virsh('domstate', name) == 'running'
    stop(host, domain)
    assert name not in host.virsh('list', '--all', '--name').split()


def everything_q35(t):
    run_everything(t, 'q35')


def everything_pc(t):
    run_everything(t, 'pc')


def start_paused(t):
    host = t.host()
    domain = t.domain()
    host.virsh('create', domain.write(t.dir), '--paused')
    assert host.virsh('domstate', domain.name) == 'paused'
    assert domain.stands_still(host)
    host.virsh('resume', domain.name)
    domain.wait_line(host, r'F \d+ \d+')
    host.virsh('destroy', domain.name)


def questions(t):
    """What the operator's tools ask of a running domain."""
    host = t.host()
    domain = t.domain(vcpus=2, devices=EVERYTHING, disk=t.disk(host),
                      append={'balloon': 1, 'fill': 'zero-part'})
    name = domain.name
    start(t, host, domain)
    vcpus = host.virsh('vcpuinfo', name)
    assert len(re.findall(r'^VCPU:', vcpus, re.M)) == 2, vcpus
    assert len(re.findall(r'^State:\s+running', vcpus, re.M)) == 2, vcpus
    host.virsh('vcpupin', name, '1', '0')
    assert 'vda' in host.virsh('domblklist', name)
    assert re.search(r'vda rd_req \d+', host.virsh('domblkstat', name, 'vda'))
    assert 'Capacity:       1048576' in host.virsh('domblkinfo', name, 'vda')
    assert 'virtio' in host.virsh('domiflist', name)
    stats = host.virsh('domstats', name)
    for key in ('state.state=1', 'vcpu.current=2', 'balloon.current=',
                'block.count=1', 'block.0.capacity=1048576',
                'block.0.rd.reqs='):
        assert key in stats, stats
    assert re.search(r'/dev/pts/\d+', host.virsh('dumpxml', name))
    assert re.search(r'actual \d+', host.virsh('dommemstat', name))
    host.virsh('setmem', name, '128M', '--live')
    domain.wait_line(host, r'A \d+$')
    deadline = time.monotonic() + 20 * PATIENCE
    while 'actual 131072' not in host.virsh('dommemstat', name):
        assert time.monotonic() < deadline, host.virsh('dommemstat', name)
        time.sleep(0.2)
    host.virsh('dommemstat', name, '--period', '1', '--live')
    reply = json.loads(host.virsh('qemu-monitor-command', name,
                                  '{"execute":"query-status"}'))
    assert reply['return']['running'] is True
    assert 'running' in host.virsh('qemu-monitor-command', '--hmp', name,
                                   'info status')
    assert 'no error' in host.virsh('domblkerror', name).lower()
    assert host.virsh('domcontrol', name) == 'ok'
    stop(host, domain)


def guest_powers_off(t):
    """shutdown presses the button; the guest ends by itself."""
    host = t.host()
    domain = t.domain()
    start(t, host, domain)
    host.virsh('shutdown', domain.name)
    wait_state(host, domain.name, 'shut off')
    assert host.virsh('domstate', '--reason', domain.name) == \
        'shut off (shutdown)'
    host.virsh('undefine', domain.name)


def guest_reboots(t):
    """reboot presses the button, too; then the same process starts anew."""
    host = t.host()
    domain = t.domain()
    start(t, host, domain)
    pid = host.domain_pid(domain.name)
    at = domain.mark(host)
    host.virsh('reboot', domain.name)
    domain.wait_line(host, r'F \d+ \d+', at)
    wait_state(host, domain.name, 'running')
    assert host.domain_pid(domain.name) == pid
    stop(host, domain)


def killed(t):
    host = t.host()
    domain = t.domain()
    start(t, host, domain)
    os.kill(host.domain_pid(domain.name), signal.SIGKILL)
    wait_state(host, domain.name, 'shut off')
    assert host.virsh('domstate', '--reason', domain.name) == \
        'shut off (crashed)'
    host.virsh('undefine', domain.name)


def daemon_restarts(t):
    """The VM runs on, and the new daemon finds it as it is."""
    host = t.host()
    running, paused = t.domain('a'), t.domain('b')
    start(t, host, running)
    start(t, host, paused)
    host.virsh('suspend', paused.name)
    host.stop_daemon(signal.SIGKILL)
    running.wait_progress(host)
    host.start()
    assert host.virsh('domstate', running.name) == 'running'
    assert host.virsh('domstate', paused.name) == 'paused'
    running.wait_progress(host)
    host.virsh('resume', paused.name)
    paused.wait_progress(host)
    stop(host, running)
    stop(host, paused)


def paged(t):
    """Half of what the guest works on fits: -vmemdirect under libvirt, as an
    ordinary user with a private /dev."""
    host = t.host()
    domain = t.domain(mem=256, append={'rate': 0}, paging=(
        'swap-dir=/var/lib/libvirt/swap,memory=96M,tracker=soft'))
    start(t, host, domain)
    domain.wait_verified(host)
    with open('/proc/%d/status' % host.domain_pid(domain.name)) as f:
        status = f.read()
    assert not re.search(r'^Uid:\s+0', status, re.M), status
    assert re.search(r'^CapEff:\s+0+$', status, re.M), status
    reply = json.loads(host.virsh('qemu-monitor-command', domain.name,
                                  '{"execute":"query-vmemdirect"}'))
    assert reply['return']['page-out-bytes'] > 0
    assert reply['return']['budget-bytes'] == 96 << 20
    said = host.virsh('qemu-monitor-command', '--hmp', domain.name,
                      'info vmemdirect')
    t.note('paged out %d MiB', reply['return']['page-out-bytes'] >> 20)
    assert said
    stop(host, domain)


# What is refused, and a word of what virsh says.
REFUSED = [
    ({'paging': 'memory=64M'}, 'swap=PATH is missing'),
    ({'paging': 'swap-dir=/nonexistent,memory=64M'}, '/nonexistent'),
    ({'paging': 'swap=/tmp/x,memory=64M,foo=1'}, "'foo'"),
    ({'cpu': "<cpu mode='custom'>"
             "<model fallback='forbid'>pentium3</model></cpu>"}, None),
    ({'memory_backing':
      '<memoryBacking><hugepages/></memoryBacking>'}, None),
    ({'memory_backing': "<memoryBacking><source type='memfd'/>"
                        "</memoryBacking>"}, None),
    ({'devices': (SERIAL_FILE, NO_BALLOON,
                  "<sound model='ich9'/>")}, 'ich9-intel-hda'),
    ({'devices': (SERIAL_FILE, NO_BALLOON,
                  "<watchdog model='i6300esb'/>")}, None),
    ({'arguments': ['-foo']}, '-foo: invalid option'),
]


def refusals(t):
    """What is not there is named in the error, and libvirtd goes on."""
    host = t.host()
    for number, (changes, word) in enumerate(REFUSED):
        domain = t.domain('refused%d' % number, **changes)
        said = host.refused('create', domain.write(t.dir))
        assert word is None or word in said, (changes, said)
        t.note('%s: %s', ' '.join(changes), said.splitlines()[-1])
        assert host.alive()
    assert host.virsh('list', '--name') == ''


def cpu_models(t):
    """host-model and a named one start; what the guest has is recorded."""
    host = t.host()
    for number, cpu in enumerate((
            '', "<cpu mode='host-model'/>", "<cpu mode='host-passthrough'/>",
            "<cpu mode='custom'><model>qemu64</model></cpu>",
            "<cpu mode='maximum'/>")):
        domain = t.domain('cpu%d' % number, cpu=cpu)
        try:
            host.virsh('create', domain.write(t.dir))
        except VirshError as e:
            # libvirt's own models may have more than this host.
            assert 'custom' in cpu and 'incompatible with host CPU' in str(e)
            t.note('%s: %s', cpu, str(e).splitlines()[-1])
            continue
        domain.wait_line(host, r'F \d+ \d+')
        t.note('%s: %s', cpu or 'none', re.search(
            r'-cpu (\S+)', host.domain_log(domain.name))[1])
        host.virsh('destroy', domain.name)


TESTS = [everything_q35, everything_pc, start_paused, questions,
         guest_powers_off, guest_reboots, killed, daemon_restarts, paged,
         refusals, cpu_models]
