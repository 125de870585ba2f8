# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirt host of its own: libvirtd, unmodified, in a root of its own.

What: libvirtd in a mount and a UTS name space, where its directories (state,
cache, logs, configuration) are below one folder and the nodes of /dev that a
VMM needs are ours; several such hosts may run at once. No systemd, no other
daemon. virsh talks to it by the socket's path.

What must stay true: nothing of the machine's own libvirt is touched; every
process that was started here is ended, by its id; every wait has a limit.
"""
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time

# What libvirtd writes to, and where it is in the host's root.
DIRECTORIES = {'/run/libvirt': 'run', '/var/lib/libvirt': 'lib',
               '/var/cache/libvirt': 'cache', '/var/log/libvirt': 'log',
               '/etc/libvirt': 'etc'}
# libvirt's list of what a domain may see, and what -vmemdirect needs.
NODES = ('/dev/null', '/dev/full', '/dev/zero', '/dev/random',
         '/dev/urandom', '/dev/ptmx', '/dev/kvm', '/dev/userfaultfd')
OURS = ('/dev/kvm', '/dev/userfaultfd')
# Who VMs run as: an ordinary user, whom an installed libvirt would have made.
USER = 'libvirt-qemu'
USER_ID = 64055
REAPER = os.path.join(os.path.dirname(os.path.realpath(__file__)),
                      'reaper.py')
START_TIMEOUT = 30
VIRSH_TIMEOUT = 120


class VirshError(Exception):
    """virsh failed; the text is what it said."""


def packages_reason():
    """Why libvirt cannot run here, or None."""
    if os.geteuid() != 0:
        return 'libvirtd needs root'
    for program in ('libvirtd', 'virsh', 'unshare'):
        if not shutil.which(program, path=search_path()):
            return 'no %s' % program
    done = subprocess.run(['unshare', '--mount', '--uts', 'true'],
                          capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else 'unshare: ' + done.stderr.strip()


def exists(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def search_path():
    return os.environ.get('PATH', '') + ':/usr/sbin:/sbin'


class Host:
    def __init__(self, root, name, number, emulator):
        self.root = os.path.join(root, name)
        self.name = name
        self.emulator = os.path.realpath(emulator)
        self.uuid = '00000000-1111-2222-3333-%012d' % number
        self.daemon = None
        self.reapers = []
        self.made = []
        # /var/lib/libvirt/swap inside, the same on each host.
        self.swap = self.path('lib', 'swap')
        for directory in DIRECTORIES.values():
            os.makedirs(self.path(directory), 0o755)
        os.mkdir(self.path('log', 'qemu'))
        os.mkdir(self.path('pki'))
        os.mkdir(self.swap, 0o700)
        os.chown(self.swap, USER_ID, USER_ID)
        self.make_nodes()
        self.make_user()
        self.configure()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def make_nodes(self):
        """Copies of nodes with the rights that a udev rule gives."""
        os.mkdir(self.path('dev'))
        for node in OURS:
            if os.path.exists(node):
                copy = self.path('dev', os.path.basename(node))
                os.mknod(copy, 0o660 | stat.S_IFCHR, os.stat(node).st_rdev)
                os.chown(copy, 0, USER_ID)
                os.chmod(copy, 0o660)

    def make_user(self):
        for name, line in (('passwd', '%s:x:%d:%d::/nonexistent:/bin/false'),
                           ('group', '%s:x:%d:')):
            with open('/etc/' + name) as f:
                lines = [text for text in f.read().splitlines()
                         if not text.startswith(USER + ':')]
            lines.append(line % ((USER,) + (USER_ID,) * (line.count('%') -
                                                         1)))
            with open(self.path(name), 'w') as f:
                f.write('\n'.join(lines) + '\n')

    def configure(self):
        with open(self.path('etc', 'libvirtd.conf'), 'w') as f:
            f.write('auth_unix_ro = "none"\nauth_unix_rw = "none"\n'
                    'host_uuid = "%s"\n' % self.uuid +
                    'log_outputs = "2:file:%s"\n' % self.path('libvirtd.log'))
        with open(self.path('etc', 'qemu.conf'), 'w') as f:
            f.write('user = "%s"\ngroup = "%s"\n' % (USER, USER) +
                    'security_driver = "none"\nstdio_handler = "file"\n'
                    'remember_owner = 0\ncgroup_controllers = []\n'
                    'migrate_tls_x509_cert_dir = "%s"\n'
                    'migrate_tls_x509_verify = 1\n' % self.path('pki') +
                    'cgroup_device_acl = [ %s ]\n' % ', '.join(
                        '"%s"' % node for node in NODES
                        if os.path.exists(node)))

    def start(self):
        script = ['hostname ' + self.name]
        for where, directory in DIRECTORIES.items():
            if not os.path.isdir(where):
                os.makedirs(where)
                self.made.append(where)
            script.append('mount --bind %s %s' % (self.path(directory),
                                                  where))
        for node in OURS:
            copy = self.path('dev', os.path.basename(node))
            if os.path.exists(copy):
                script.append('mount --bind %s %s' % (copy, node))
        for name in ('passwd', 'group'):
            script.append('mount --bind %s /etc/%s' % (self.path(name), name))
        # As the conf file of an installed one would be, but for the path.
        script.append('exec libvirtd -f %s -p %s' % (
            self.path('etc', 'libvirtd.conf'), self.path('libvirtd.pid')))
        with open(self.path('libvirtd.out'), 'ab') as out:
            reaper = subprocess.Popen(
                [sys.executable, REAPER, self.path('daemon.pid'),
                 'unshare', '--mount', '--uts', '--propagation', 'private',
                 'sh', '-e', '-c', '\n'.join(script)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=dict(os.environ, PATH=search_path(), LC_ALL='C'))
        self.reapers.append(reaper)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.virsh('hostname')
                with open(self.path('daemon.pid'), encoding='ascii') as f:
                    self.daemon = int(f.read())
                return
            except VirshError as e:
                if reaper.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError('no libvirtd: %s; %s' % (
                        e, self.log())) from e
            time.sleep(0.1)

    def uri(self):
        return 'qemu+unix:///system?socket=' + self.path('run', 'libvirt-sock')

    def virsh_popen(self, *args):
        return subprocess.Popen(
            ['virsh', '-q', '-c', self.uri(), *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, LC_ALL='C'))

    def virsh(self, *args, timeout=VIRSH_TIMEOUT):
        """What it prints; VirshError if it fails."""
        child = self.virsh_popen(*args)
        try:
            out = child.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired as e:
            child.kill()
            child.communicate()
            raise VirshError('virsh %s: no end in %d s' % (
                ' '.join(args), timeout)) from e
        if child.returncode != 0:
            raise VirshError(out.strip())
        return out.strip()

    def refused(self, *args):
        """The error text; fails if it succeeds."""
        try:
            said = self.virsh(*args)
        except VirshError as e:
            return str(e)
        raise AssertionError('virsh %s succeeds: %s' % (' '.join(args), said))

    def alive(self):
        return self.daemon is not None and exists(self.daemon)

    def domain_pid(self, domain):
        with open(self.path('run', 'qemu', domain + '.pid')) as f:
            return int(f.read())

    def put_certificates(self, *folders):
        for folder in folders:
            for name in os.listdir(folder):
                path = shutil.copy(os.path.join(folder, name),
                                   self.path('pki'))
                os.chmod(path, 0o444)

    def kill_domain(self, domain):
        os.kill(self.domain_pid(domain), signal.SIGKILL)

    def remove_swap(self):
        os.rmdir(self.swap)

    def domain_log(self, domain):
        try:
            with open(self.path('log', 'qemu', domain + '.log'),
                      errors='replace') as f:
                return f.read()
        except OSError:
            return ''

    def log(self):
        text = ''
        for name in ('libvirtd.out', 'libvirtd.log'):
            try:
                with open(self.path(name), errors='replace') as f:
                    text += f.read()[-2000:]
            except OSError:
                pass
        return text

    def stop_daemon(self, number=signal.SIGTERM):
        if self.alive():
            os.kill(self.daemon, number)
            deadline = time.monotonic() + 20
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.05)
            if self.alive():
                os.kill(self.daemon, signal.SIGKILL)
        self.daemon = None

    def probes(self):
        """Ids of the daemons that answer capability probes."""
        found = []
        folder = self.path('lib', 'qemu')
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if re.match(r'qmp-', name):
                try:
                    with open(os.path.join(folder, name, 'qmp.pid')) as f:
                        found.append(int(f.read()))
                except (OSError, ValueError):
                    pass
        return found

    def close(self):
        """Ends the VMs, then the daemon."""
        pids = []
        folder = self.path('run', 'qemu')
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.endswith('.pid') and name != 'driver.pid':
                try:
                    pids.append(self.domain_pid(name[:-len('.pid')]))
                except (OSError, ValueError):
                    pass
        pids += self.probes()
        self.stop_daemon()
        for pid in pids:
            if self.is_ours(pid):
                os.kill(pid, signal.SIGKILL)
        for reaper in self.reapers:
            try:
                reaper.wait(10)
            except subprocess.TimeoutExpired:
                reaper.kill()
                reaper.wait()
        for where in reversed(self.made):
            try:
                os.rmdir(where)
            except OSError:
                pass

    def is_ours(self, pid):
        """Still the process that it was, or at least the same program."""
        try:
            return os.readlink('/proc/%d/exe' % pid) == self.emulator
        except OSError:
            return False
