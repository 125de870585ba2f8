#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Talks QMP for the lab's cases.

    qmp.py SOCKET PID COMMAND [ARGUMENTS-JSON]
    qmp.py SOCKET PID --wait COMMAND KEY=VALUE[|VALUE...] SECONDS

The first form runs one command and prints what it returns, as JSON; an error
is printed and gives status 1. The second repeats a command until a member of
its return has one of the values, prints the last return, and fails when the
time is over. A socket that is not there yet is waited for, as long as process
PID lives.
"""
import json
import os
import socket
import sys
import time

PATIENCE = int(os.environ.get("PATIENCE", "1"))
CONNECT_SECONDS = 30 * PATIENCE
POLL_SECONDS = 0.2


def lives(pid):
    try:
        with open("/proc/%s/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def connect(path, pid):
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(CONNECT_SECONDS)
            sock.connect(path)
            return sock.makefile("rw")
        except (FileNotFoundError, ConnectionRefusedError):
            if not lives(pid):
                sys.exit("qmp.py: %s: process %s has ended" % (path, pid))
            if time.monotonic() > deadline:
                sys.exit("qmp.py: nobody listens on %s" % path)
            time.sleep(POLL_SECONDS)


class Qmp:
    def __init__(self, path, pid):
        self.file = connect(path, pid)
        if "QMP" not in json.loads(self.file.readline()):
            sys.exit("qmp.py: no QMP greeting")
        self.run("qmp_capabilities")

    def run(self, command, arguments=None):
        request = {"execute": command}
        if arguments is not None:
            request["arguments"] = arguments
        self.file.write(json.dumps(request) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                # The process may go before it has answered.
                sys.exit(0 if command == "quit" else
                         "qmp.py: %s: the connection was closed" % command)
            reply = json.loads(line)
            if "error" in reply:
                sys.exit("qmp.py: %s: %s" % (command, reply["error"]))
            if "return" in reply:
                return reply["return"]


def wait(qmp, command, condition, seconds):
    key, values = condition.split("=", 1)
    deadline = time.monotonic() + float(seconds) * PATIENCE
    while True:
        result = qmp.run(command)
        if str(result.get(key)) in values.split("|"):
            print(json.dumps(result))
            return
        if time.monotonic() > deadline:
            print(json.dumps(result))
            sys.exit("qmp.py: %s: no %s in %s s" %
                     (command, condition, seconds))
        time.sleep(POLL_SECONDS)


def main(args):
    if len(args) == 6 and args[2] == "--wait":
        wait(Qmp(args[0], args[1]), *args[3:])
    elif len(args) in (3, 4):
        arguments = json.loads(args[3]) if len(args) == 4 else None
        print(json.dumps(Qmp(args[0], args[1]).run(args[2], arguments)))
    else:
        sys.exit(__doc__)


try:
    main(sys.argv[1:])
except (OSError, ValueError) as error:
    sys.exit("qmp.py: %s" % error)
