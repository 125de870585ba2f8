#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Bad command lines: each gives one line on stderr that names the option, exit
status 1, nothing on stdout, and no file is made.

Each entry is a command line and a word that the line must have.
"""
import os
import shlex
import subprocess
import tempfile

from qmptest import binary, main

BAD = [
    ("-foo", "-foo: invalid option"),
    ("--foo", "--foo: invalid option"),
    ("disk.img", "disk.img: invalid option"),
    ("-", "-: invalid option"),
    ("", "no kernel given"),
    ("-M q35", "no kernel given"),
    ("-M q35 -append x", "-append: needs -kernel"),
    ("-M q35 -initrd x", "-initrd: needs -kernel"),
    ("-M", "-M: requires an argument"),
    ("-M virt", "unsupported machine type 'virt'"),
    ("-M q35,accel=tcg", "accelerator 'tcg'"),
    ("-M q35,foo=on", "'foo'"),
    ("-M q35,usb=on", "usb=on is not supported"),
    ("-M q35,kernel-irqchip=off", "kernel-irqchip=off"),
    ("-M q35,memory-backend=x -kernel k", "no memory-backend 'x'"),
    ("-accel tcg", "accelerator 'tcg'"),
    ("-accel kvm,foo=1", "'foo'"),
    ("-M none -kernel k", "'none'"),
    ("-M none -device virtio-rng-pci", "'none'"),
    ("-M none -incoming defer", "'none'"),
    ("-M none -vmemdirect swap=s,memory=1G", "'none'"),
    ("-M none -m 0", "-m: "),
    ("-M none -m -1", "-m: "),
    ("-M none -m 1Z", "-m: "),
    ("-M none -m 99999999999999999999", "-m: "),
    ("-M none -m 8E", "-m: "),
    ("-M none -m 1025k", "multiple of 4096"),
    ("-M none -m ''", "-m: "),
    ("-M none -m 1G,slots=2", "hotplug"),
    ("-M none -m 1G,maxmem=2G", "hotplug"),
    ("-M none -m size=1G,foo=2", "'foo'"),
    ("-M none -smp 0", "-smp: "),
    ("-M none -smp x", "-smp: "),
    ("-M none -smp 256", "-smp: "),
    ("-M none -smp 2,maxcpus=4", "hotplug"),
    ("-M none -smp 3,sockets=2", "sockets"),
    ("-M none -smp 4,sockets=1,cores=2", "sockets"),
    ("-M none -smp 2,threads=2", "threads"),
    ("-M none -smp 2,cores=0", "cores=0"),
    ("-M none -smp 2,foo=1", "'foo'"),
    ("-M none -cpu ''", "-cpu: "),
    ("-M none -bios b", "-bios: firmware"),
    ("-M none -hda x", "-hda: "),
    ("-M none -vnc :0", "-vnc: "),
    ("-M none -usbdevice tablet", "-usbdevice: "),
    ("-M none -no-acpi", "<acpi/>"),
    ("-M none -D log", "-D: "),
    ("-M none -d exec", "-d: "),
    ("-M none -runas nobody", "-runas: "),
    ("-M none -drive file=x", "if=ide"),
    ("-M none -drive file=x,if=scsi", "if=scsi"),
    ("-M none -drive file=x,if=none,media=cdrom", "media=cdrom"),
    ("-M none -drive file=DIR/absent,if=none", "absent"),
    ("-M none -drive file=DIR,if=none", "-drive: "),
    ("-M none -drive if=none,file=DIR/disk,format=qcow2", "qcow2"),
    ("-M none -drive if=none,file=DIR/disk,format=raw,foo=1", "'foo'"),
    ("-M none -drive if=none,format=raw,file=DIR/disk,id=a "
     "-drive if=none,format=raw,file=DIR/disk2,id=a", "duplicate id 'a'"),
    ("-M none -blockdev driver=raw,node-name=r,file=nobody", "nobody"),
    ("-M none -blockdev driver=raw", "node-name"),
    ("-M none -blockdev '{\"driver\":'", "JSON parse error"),
    ("-M none -blockdev '{\"driver\":null,\"node-name\":\"x\"}'", "null"),
    ("-M none -netdev user", "'id'"),
    ("-M none -netdev vde,id=x", "vde"),
    ("-M none -netdev user,id=x,foo=1", "'foo'"),
    ("-M none -netdev user,id=x -netdev user,id=x", "duplicate id 'x'"),
    ("-M none -nic user", "e1000"),
    ("-M none -nic user,model=rtl8139", "rtl8139"),
    ("-M none -net user", "-net: "),
    ("-M none -chardev null", "id"),
    ("-M none -chardev foo,id=x", "foo"),
    ("-M none -chardev pipe,id=x,path=p", "pipe"),
    ("-M none -chardev null,id=x,foo=1", "'foo'"),
    ("-M none -chardev null,id=x -chardev null,id=x", "duplicate id 'x'"),
    ("-M none -chardev file,id=x,path=DIR/no/such", "such"),
    ("-M none -chardev file,id=x,path=/dev/fdset/7", "fdset"),
    ("-M none -add-fd fd=99,set=1", "-add-fd: "),
    ("-M none -add-fd fd=1,set=1", "-add-fd: "),
    ("-M none -add-fd set=1", "-add-fd: "),
    ("-M none -mon chardev=x", "no chardev 'x'"),
    ("-M none -mon mode=control", "'chardev'"),
    ("-M none -chardev null,id=x -mon chardev=x,mode=foo", "foo"),
    ("-M none -chardev null,id=x -mon chardev=x,pretty=on", "pretty"),
    ("-M none -chardev null,id=x -mon x -mon x", "-mon: "),
    ("-M none -qmp nonsense:1", "-qmp: "),
    ("-M none -qmp unix:DIR/no/such,server=on,wait=off", "such"),
    ("-M none -monitor chardev:x", "no chardev 'x'"),
    ("-M none -parallel stdio", "-parallel: "),
    ("-M none -display gtk", "-display: "),
    ("-M none -vga std", "-vga: "),
    ("-M none -audiodev alsa,id=a", "alsa"),
    ("-M none -object foo,id=x", "foo"),
    ("-M none -object rng-random", "'id'"),
    ("-M none -object rng-builtin,id=x -object rng-builtin,id=x",
     "duplicate id 'x'"),
    ("-M none -object rng-builtin,id=x,foo=1", "'foo'"),
    ("-M none -object memory-backend-ram,id=x", "size"),
    ("-M none -object secret,id=x", "-object: secret 'x': "),
    ("-M none -object secret,id=x,file=/no/such", "/no/such"),
    ("-M none -object secret,id=x,data=y,foo=1", "'foo'"),
    ("-M none -object secret,id=x,data=y -object rng-builtin,id=x",
     "duplicate id 'x'"),
    ("-M none -object tls-creds-x509,id=x,dir=/no/such", "ca-cert.pem"),
    ("-M none -object tls-creds-x509,id=x,endpoint=both", "'both'"),
    ("-M none -object tls-creds-psk,id=x,dir=/no/such", "keys.psk"),
    ("-M none -object tls-creds-anon,id=x,priority=FOO", "FOO"),
    ("-M none -object authz-list,id=x", "'authz-list' is not supported"),
    ("-M none -object memory-backend-ram,id=x,size=1G,share=on", "share=on"),
    ("-M q35,memory-backend=x -m 2G -kernel k "
     "-object memory-backend-ram,id=x,size=1G", "-m: "),
    ("-M none -rtc base=yesterday", "yesterday"),
    ("-M none -rtc clock=vm", "clock=vm"),
    ("-M none -boot order=zz", "zz"),
    ("-M none -boot menu=on", "menu=on"),
    ("-M none -global foo.bar=1", "foo.bar=1"),
    ("-M none -overcommit mem-lock=maybe", "mem-lock"),
    ("-M none -overcommit cpu-pm=on", "cpu-pm=on"),
    ("-M q35 -kernel k -overcommit mem-lock=on "
     "-vmemdirect swap=DIR/swap,memory=64M", "mem-lock=on"),
    ("-M none -uuid 1234", "-uuid: "),
    ("-M none -name guest=x,foo=1", "'foo'"),
    ("-M none -action reboot=foo", "reboot=foo"),
    ("-M none -action panic=pause", "'panic'"),
    ("-M none -msg timestamp=x", "timestamp"),
    ("-M none -sandbox maybe", "enable"),
    ("-M none -sandbox on,spawn=maybe", "spawn=maybe"),
    ("-M none -sandbox on,foo=deny", "'foo'"),
    ("-M none -daemonize -monitor stdio", "-daemonize: "),
    ("-M none -pidfile DIR/no/such", "-pidfile: "),
    ("-M q35 -kernel k -serial null -serial null -serial null -serial null "
     "-serial null", "-serial: "),
    ("-M q35 -kernel k -debugcon null -debugcon null", "-debugcon: "),
    ("-M q35 -incoming defer -incoming defer", "-incoming: "),
    ("-M q35 -kernel k -vmemdirect ''", "-vmemdirect: needs"),
    ("-M q35 -kernel k -vmemdirect a=1 -vmemdirect a=1", "twice"),
    ("-M q35 -kernel k -vmemdirect memory=64M", "-vmemdirect: swap="),
    ("-M q35 -kernel k -vmemdirect swap=DIR/swap", "-vmemdirect: memory="),
    ("-M q35 -kernel k -vmemdirect swap=DIR/swap,memory=64M,foo=1", "'foo'"),
    ("-M q35 -kernel k -vmemdirect swap=DIR/swap,memory=64Q", "'64Q'"),
    ("-M q35 -kernel k -vmemdirect swap=DIR,memory=64M", "DIR"),
    ("-M q35 -kernel k -vmemdirect swap-dir=DIR,memory=64M", "-name"),
    ("-M q35 -kernel k -name a/b -vmemdirect swap-dir=DIR,memory=64M",
     "-name"),
    ("-M q35 -kernel k -name a -vmemdirect swap-dir=DIR,swap=x,memory=64M",
     "exclude"),
    ("-M q35 -kernel k -name a -vmemdirect swap-dir=DIR/no/such,memory=64M",
     "DIR/no/such/a.swap"),
    ("-M q35 -kernel k -vmemdirect swap=DIR/no/such,memory=64M", "such"),
]

# With a machine: these need /dev/kvm to get as far as the mistake.
BAD_KVM = [
    ("-M q35 -kernel DIR/absent", "absent"),
    ("-M q35 -kernel DIR/disk", "disk"),
    ("-M q35 -kernel DIR", "DIR"),
    ("-M q35 -kernel k -cpu nonesuch", "nonesuch"),
    ("-M q35 -kernel k -cpu host,+nonesuch", "nonesuch"),
    ("-M q35 -kernel k -device e1000", "e1000"),
    ("-M pc -kernel k -device pcie-root-port", "q35"),
    ("-M q35 -kernel k -device virtio-rng-pci,bus=pci.1", "'pci.1'"),
    ("-M q35 -kernel k -device virtio-rng-pci,foo=1", "'foo'"),
    ("-M q35 -kernel k -device virtio-balloon-pci,foo=1", "'foo'"),
    ("-M q35 -kernel k -device virtio-balloon-pci,free-page-reporting=x",
     "free-page-reporting"),
    ("-M q35 -kernel k -device virtio-balloon-pci,free-page-hint=on",
     "free-page-hint"),
    ("-M q35 -kernel k -device virtio-balloon-pci -device virtio-balloon-pci",
     "Only one balloon"),
    ("-M q35 -kernel k -device virtio-rng-pci,rng=x", "'x'"),
    ("-M q35 -kernel k -device virtio-blk-pci", "-device: "),
    ("-M q35 -kernel k -device virtio-blk-pci,drive=x", "'x'"),
    ("-M q35 -kernel k -device virtio-net-pci,netdev=x", "'x'"),
    ("-M q35 -kernel k -device isa-debugcon,chardev=x", "'x'"),
    ("-M q35 -kernel k -device virtio-rng-pci,id=a "
     "-device virtio-rng-pci,id=a", "duplicate id 'a'"),
    ("-M q35 -incoming tcp:nowhere", "tcp"),
    ("-M q35 -incoming cat:exec", "'cat:exec'"),
    ("-M q35 -incoming exec:", "no command"),
    ("-M q35 -incoming fd:name", "'name'"),
    ("-M q35 -incoming fd:2", "'2'"),
    ("-M q35 -incoming fd:99", "'99'"),
    ("-M q35 -incoming file:x,offset=1", "offset"),
    ("-M q35 -incoming unix:DIR/no/such", "such"),
]


def check(line, word):
    with tempfile.TemporaryDirectory(prefix="vm-bad-") as where:
        for name in ("disk", "disk2"):
            with open(os.path.join(where, name), "wb") as disk:
                disk.truncate(1 << 20)
        before = sorted(os.listdir(where))
        args = shlex.split(line.replace("DIR", where))
        run = subprocess.run([binary(), "-nodefaults", *args], timeout=20,
                             stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, check=False)
        lines = [text for text in run.stderr.splitlines()
                 if ": warning: " not in text]
        assert run.returncode == 1, f"exit status {run.returncode}"
        assert run.stdout == "", run.stdout
        assert len(lines) == 1, run.stderr
        assert lines[0].startswith("qemu-system-x86_64: "), run.stderr
        assert word.replace("DIR", where) in lines[0], run.stderr
        assert sorted(os.listdir(where)) == before, os.listdir(where)


def test(line, word, needs_kvm):
    def run():
        if needs_kvm and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return "no /dev/kvm"
        check(line, word)
        return None
    run.__name__ = line or "(nothing)"
    return run


main([test(line, word, False) for line, word in BAD] +
     [test(line, word, True) for line, word in BAD_KVM])
