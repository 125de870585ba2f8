#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a daemon, and takes in its orphans as an init would.

usage: reaper.py PIDFILE COMMAND...

libvirt waits until a process that it has ended is gone; what is nobody's child
any more stays a zombie where process 1 is slow. Ends when no child is left.
"""
import ctypes
import os
import sys

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
child = os.fork()
if child == 0:
    with open(sys.argv[1], 'w', encoding='ascii') as pidfile:
        pidfile.write('%d\n' % os.getpid())
    os.execvp(sys.argv[2], sys.argv[2:])
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
