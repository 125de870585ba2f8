# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the QMP tests share: the binary, a QMP client, TAP output.

Only Python's standard library. The binary is argv[1] or VM_BINARY.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

TIMEOUT = 20


def binary():
    return sys.argv[1] if len(sys.argv) > 1 else os.environ["VM_BINARY"]


class Client:
    """One QMP session; events are kept in order of arrival."""

    def __init__(self, path, negotiate=True):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                self.sock.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.buffer = b""
        self.events = []
        self.greeting = self.read()
        if negotiate:
            assert self.ask("qmp_capabilities") == {"return": {}}

    def send_raw(self, data):
        self.sock.sendall(data)

    def read_line(self):
        """The next line; None at the end."""
        while b"\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r"), line
        return line

    def read(self):
        line = self.read_line()
        return None if line is None else json.loads(line)

    def reply(self):
        """The next message that is not an event."""
        while True:
            message = self.read()
            if message is None or "event" not in message:
                return message
            self.events.append(message)

    def ask(self, command, arguments=None, **extra):
        request = {"execute": command, **extra}
        if arguments is not None:
            request["arguments"] = arguments
        self.send_raw(json.dumps(request).encode() + b"\r\n")
        return self.reply()

    def wait_event(self, name):
        for event in self.events:
            if event["event"] == name:
                self.events.remove(event)
                return event
        while True:
            message = self.read()
            assert message is not None, f"closed while waiting for {name}"
            if message.get("event") == name:
                return message
            self.events.append(message)

    def close(self):
        self.sock.close()


class Vm:
    """A process with a QMP socket in a folder of its own, DIR in arguments."""

    def __init__(self, *args, machine="none"):
        self.dir = tempfile.mkdtemp(prefix="vm-qmp-")
        self.path = os.path.join(self.dir, "qmp")
        self.errors = open(os.path.join(self.dir, "stderr"), "w+")
        self.process = subprocess.Popen(
            [binary(), "-nodefaults", "-display", "none", "-M", machine,
             "-qmp", f"unix:{self.path},server=on,wait=off",
             *[arg.replace("DIR", self.dir) for arg in args]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self.errors)

    def client(self, **kwargs):
        return Client(self.path, **kwargs)

    def wait(self):
        return self.process.wait(TIMEOUT)

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.errors.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def error_class(reply):
    return reply["error"]["class"]


def main(tests):
    """Runs the functions, reports in TAP."""
    print(f"1..{len(tests)}")
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            result = test()
        except Exception:  # pylint: disable=broad-except
            failed += 1
            for line in traceback.format_exc().splitlines():
                print("#", line)
            print(f"not ok {number} {test.__name__}", flush=True)
            continue
        skip = f" # SKIP {result}" if result else ""
        print(f"ok {number} {test.__name__}{skip}", flush=True)
    sys.exit(1 if failed else 0)
