#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes a directory as a cpio archive in the "newc" format.

    mkcpio.py DIRECTORY >ARCHIVE

Why not cpio(1): the same bytes come out for the same tree (owner root, time
0, inodes by order), and it is one package less. Linux unpacks several
archives after each other, so a case can append its own script to a ready
one. Format: Documentation/driver-api/early-userspace/buffer-format.rst of
the Linux kernel.
"""
import os
import stat
import sys


def pad(data):
    return data + b"\0" * (-len(data) % 4)


def entry(inode, name, mode, data=b"", device=0):
    fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0,
              os.major(device), os.minor(device), len(name) + 1, 0]
    header = b"070701" + b"".join(b"%08x" % f for f in fields)
    return pad(header + name + b"\0") + pad(data)


def walk(top):
    """Paths below top, a directory before what is in it, in order."""
    for name in sorted(os.listdir(top)):
        path = os.path.join(top, name)
        yield path
        if os.path.isdir(path) and not os.path.islink(path):
            yield from walk(path)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: mkcpio.py DIRECTORY >ARCHIVE")
    top = sys.argv[1]
    out = sys.stdout.buffer
    for inode, path in enumerate(walk(top), 1):
        info = os.lstat(path)
        data = b""
        if stat.S_ISLNK(info.st_mode):
            data = os.fsencode(os.readlink(path))
        elif stat.S_ISREG(info.st_mode):
            with open(path, "rb") as file:
                data = file.read()
        name = os.fsencode(os.path.relpath(path, top))
        out.write(entry(inode, name, info.st_mode, data, info.st_rdev))
    out.write(entry(0, b"TRAILER!!!", 0))


main()
