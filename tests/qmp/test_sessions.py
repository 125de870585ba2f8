#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
QMP against the real binary with -M none: what a client sees on the wire.
"""
import json
import os
import signal
import socket
import subprocess
import tempfile
import time

from qmptest import Client, Vm, binary, error_class, main


def greeting_and_negotiation():
    with Vm("-S") as vm:
        qmp = vm.client(negotiate=False)
        version = qmp.greeting["QMP"]["version"]
        assert version["qemu"] == {"major": 7, "minor": 2, "micro": 0}
        assert isinstance(version["package"], str)
        assert isinstance(qmp.greeting["QMP"]["capabilities"], list)
        assert error_class(qmp.ask("query-status")) == "CommandNotFound"
        assert qmp.ask("qmp_capabilities", id="x") == {"return": {}, "id": "x"}
        assert error_class(qmp.ask("qmp_capabilities")) == "CommandNotFound"


def two_clients():
    with Vm("-S", "-qmp", "unix:DIR/second,server=on,wait=off") as vm:
        first = vm.client()
        second = Client(vm.dir + "/second")
        assert first.ask("cont") == {"return": {}}
        second.wait_event("RESUME")
        first.wait_event("RESUME")


def reconnect():
    with Vm("-S") as vm:
        for _ in range(3):
            qmp = vm.client()
            qmp.send_raw(b'{"execute": "quit')  # and gone in mid-command
            qmp.close()
        qmp = vm.client()
        assert qmp.ask("query-status")["return"]["status"] == "prelaunch"


def stop_and_cont():
    with Vm("-S") as vm:
        qmp = vm.client()
        status = qmp.ask("query-status")["return"]
        assert status == {"running": False, "singlestep": False,
                          "status": "prelaunch"}
        qmp.ask("cont")
        assert [e["event"] for e in qmp.events] == ["RESUME"]
        event = qmp.events.pop()
        assert set(event) == {"event", "timestamp"}
        assert set(event["timestamp"]) == {"seconds", "microseconds"}
        assert abs(event["timestamp"]["seconds"] - time.time()) < 60
        assert qmp.ask("query-status")["return"]["status"] == "running"
        qmp.ask("cont")
        assert not qmp.events  # it ran already
        qmp.ask("stop")
        assert [e["event"] for e in qmp.events] == ["STOP"]
        qmp.events.clear()
        assert qmp.ask("query-status")["return"]["status"] == "paused"
        qmp.ask("stop")
        assert not qmp.events


def reset():
    with Vm() as vm:
        qmp = vm.client()
        assert qmp.ask("system_reset") == {"return": {}}
        event = qmp.wait_event("RESET")
        assert event["data"] == {"guest": False,
                                 "reason": "host-qmp-system-reset"}
        assert qmp.ask("query-status")["return"]["running"]
        qmp.ask("stop")
        qmp.ask("system_reset")
        qmp.wait_event("RESET")
        assert qmp.ask("query-status")["return"]["status"] == "prelaunch"


def no_reboot():
    with Vm("-no-reboot") as vm:
        qmp = vm.client()
        qmp.ask("system_reset")
        event = qmp.wait_event("SHUTDOWN")
        assert event["data"] == {"guest": False,
                                 "reason": "host-qmp-system-reset"}
        assert vm.wait() == 0


def no_shutdown():
    with Vm("-no-reboot", "-no-shutdown") as vm:
        qmp = vm.client()
        qmp.ask("system_reset")
        qmp.wait_event("SHUTDOWN")
        qmp.wait_event("STOP")
        assert qmp.ask("query-status")["return"]["status"] == "shutdown"
        assert "error" in qmp.ask("cont")
        os.kill(vm.process.pid, signal.SIGTERM)
        event = qmp.wait_event("SHUTDOWN")
        assert event["data"] == {"guest": False, "reason": "host-signal"}
        assert vm.wait() == 0


def quit_replies_first():
    with Vm() as vm:
        qmp = vm.client()
        assert qmp.ask("quit", id=1) == {"return": {}, "id": 1}
        assert not qmp.events
        event = qmp.wait_event("SHUTDOWN")
        assert event["data"] == {"guest": False, "reason": "host-qmp-quit"}
        assert qmp.read() is None
        assert vm.wait() == 0
        assert not os.path.exists(vm.path)


def signals():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Vm() as vm:
            qmp = vm.client()
            os.kill(vm.process.pid, number)
            event = qmp.wait_event("SHUTDOWN")
            assert event["data"]["reason"] == "host-signal"
            assert vm.wait() == 0


def powerdown():
    with Vm() as vm:
        qmp = vm.client()
        assert qmp.ask("system_powerdown") == {"return": {}}
        assert "data" not in qmp.wait_event("POWERDOWN")


def names():
    with Vm("-name", "guest=a,,b,debug-threads=on", "-uuid",
            "1B4E28BA-2FA1-11D2-883F-B9A761BDE3FB") as vm:
        qmp = vm.client()
        assert qmp.ask("query-name") == {"return": {"name": "a,b"}}
        assert qmp.ask("query-uuid") == {
            "return": {"UUID": "1b4e28ba-2fa1-11d2-883f-b9a761bde3fb"}}
        assert qmp.ask("query-target") == {"return": {"arch": "x86_64"}}
        assert set(qmp.ask("query-kvm")["return"]) == {"present", "enabled"}
        assert qmp.ask("query-cpus-fast") == {"return": []}
        assert qmp.ask("query-block") == {"return": []}
    with Vm() as vm:
        qmp = vm.client()
        assert qmp.ask("query-name") == {"return": {}}


def chardevs():
    with Vm("-chardev", "null,id=n") as vm:
        entries = vm.client().ask("query-chardev")["return"]
        labels = {e["label"]: e for e in entries}
        assert set(labels) == {"n", "compat_monitor0"}
        assert labels["n"]["filename"] == "null"
        for entry in entries:
            assert set(entry) == {"label", "filename", "frontend-open"}


def migration_without_a_machine():
    with Vm() as vm:
        qmp = vm.client()
        assert qmp.ask("query-migrate") == {"return": {}}
        assert "error" in qmp.ask("migrate", {"uri": "tcp:localhost:1"})
        assert "error" in qmp.ask("migrate-incoming", {"uri": "unix:/x"})
        assert qmp.ask("migrate_cancel") == {"return": {}}
        assert error_class(qmp.ask("query-vmemdirect")) == "DeviceNotActive"
        assert error_class(
            qmp.ask("vmemdirect-set", {"memory": 1 << 30})) == "DeviceNotActive"


def capabilities():
    def entry(state):
        return [{"capability": "events", "state": state}]

    def current(qmp):
        return {c["capability"]: c["state"] for c in
                qmp.ask("query-migrate-capabilities")["return"]}
    with Vm() as vm:
        qmp = vm.client()
        assert set(current(qmp).values()) == {False}
        assert set(current(qmp)) == {"auto-converge", "checksum", "events",
                                     "late-block-activate", "multifd",
                                     "pause-before-switchover",
                                     "return-path"}
        assert qmp.ask("migrate-set-capabilities",
                       {"capabilities": entry(True)}) == {"return": {}}
        assert current(qmp)["events"]
        bad = [entry(False)[0], {"capability": "x-foo", "state": True}]
        for value in (bad, [1], [{}], [{"capability": "events"}],
                      [{"capability": "events", "state": 1}]):
            assert "error" in qmp.ask("migrate-set-capabilities",
                                      {"capabilities": value})
        assert current(qmp)["events"]
        off = [{"capability": c, "state": False} for c in current(qmp)]
        assert qmp.ask("migrate-set-capabilities",
                       {"capabilities": off}) == {"return": {}}
        assert not current(qmp)["events"]


def objects():
    """Secrets and TLS credentials come and go; the machine's do not."""
    with Vm("-object", "secret,id=s0,data=abc", "-object",
            "rng-builtin,id=rng0") as vm:
        qmp = vm.client()
        secret = {"qom-type": "secret", "id": "s1", "data": "eA==",
                  "format": "base64"}
        assert qmp.ask("object-add", secret) == {"return": {}}
        anon = {"qom-type": "tls-creds-anon", "id": "a, b",
                "verify-peer": False, "endpoint": "server"}
        assert qmp.ask("object-add", anon) == {"return": {}}
        for bad, word in (
                (secret, "'s1'"), (dict(secret, id="rng0"), "'rng0'"),
                (dict(secret, id="s2", data="*"), "base64"),
                (dict(secret, id="s2", dir="/"), "'dir'"),
                (dict(secret, id="s2", keyid="s1", iv="x"), "iv"),
                ({"qom-type": "rng-random", "id": "x"}, "rng-random"),
                ({"qom-type": "tls-creds-x509", "id": "x",
                  "dir": "/nonexistent"}, "ca-cert.pem"),
                ({"qom-type": "tls-creds-psk", "id": "x"}, "'dir'")):
            reply = qmp.ask("object-add", bad)
            assert word in reply["error"]["desc"], reply
        for name, word in (("s0", None), ("s1", None), ("a, b", None),
                           ("s1", "not found"), ("rng0", "in use")):
            reply = qmp.ask("object-del", {"id": name})
            assert (word in reply["error"]["desc"] if word
                    else reply == {"return": {}}), reply


def announce_self():
    with Vm() as vm:
        qmp = vm.client()
        good = {"initial": 50, "max": 500, "rounds": 3, "step": 50}
        assert qmp.ask("announce-self", good) == {"return": {}}
        for name, value in (("initial", 100001), ("max", 100001),
                            ("rounds", 1001), ("step", 0)):
            reply = qmp.ask("announce-self", dict(good, **{name: value}))
            assert f"'{name}' expects" in reply["error"]["desc"], reply
        assert "error" in qmp.ask("announce-self", {"rounds": 1})


def hmp():
    def run(qmp, line):
        return qmp.ask("human-monitor-command",
                       {"command-line": line})["return"]
    with Vm() as vm:
        qmp = vm.client()
        assert run(qmp, "info status") == "VM status: running\r\n"
        assert run(qmp, "stop") == ""
        assert run(qmp, "info status") == "VM status: paused\r\n"
        assert run(qmp, "c") == ""
        assert run(qmp, "info migrate") == "No migration so far\r\n"
        assert run(qmp, "info version").startswith("7.2.0 (")
        assert "compat_monitor0: filename=" in run(qmp, "info chardev")
        assert run(qmp, "migrate").startswith("migrate: ")
        assert run(qmp, "migrate -d tcp:x:1").startswith("Error: ")
        assert run(qmp, "stop now").startswith("stop: ")
        assert run(qmp, "foo") == "unknown command: 'foo'\r\n"
        assert run(qmp, "info foo") == "unknown command: 'info foo'\r\n"
        assert run(qmp, "help").count("--") > 5
        assert run(qmp, "q") == ""
        assert vm.wait() == 0


def no_balloon():
    with Vm() as vm:
        qmp = vm.client()
        for ask in (("query-balloon",), ("balloon", {"value": 1 << 30})):
            assert error_class(qmp.ask(*ask)) == "DeviceNotActive"
        for value in ("1G", -1, 1.5, None):
            reply = qmp.ask("balloon", {"value": value})
            assert error_class(reply) == "GenericError", value
        for path in ("/machine/peripheral", "/machine/peripheral/b", "/", ""):
            for ask in (("qom-list", {"path": path}),
                        ("qom-get", {"path": path, "property": "type"}),
                        ("qom-set", {"path": path, "property": "type",
                                     "value": 1})):
                assert error_class(qmp.ask(*ask)) == "DeviceNotFound", ask


def hmp_on_stdio():
    run = subprocess.run([binary(), "-M", "none", "-monitor", "stdio"],
                         input="info status\nquit\n", text=True, timeout=20,
                         capture_output=True, check=True)
    assert "VM status: running\n" in run.stdout
    assert run.stdout.count("(qemu) ") >= 2


def pretty():
    with Vm("-qmp-pretty", "unix:DIR/pretty,server=on,wait=off") as vm:
        vm.client()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(vm.dir + "/pretty")
        text = b""
        while b"{" not in text or text.count(b"{") != text.count(b"}"):
            text += sock.recv(4096)
        sock.close()
        assert text.count(b"\n") > 5
        assert "QMP" in json.loads(text)


def daemonize():
    with Vm() as other:
        path, pidfile = other.dir + "/q", other.dir + "/pid"
        command = [binary(), "-S", "-no-user-config", "-nodefaults",
                   "-nographic", "-machine", "none,accel=kvm:tcg", "-qmp",
                   f"unix:{path},server=on,wait=off", "-pidfile", pidfile,
                   "-daemonize"]
        run = subprocess.run(command, timeout=20, capture_output=True,
                             check=True)
        assert run.stdout == b"" and run.stderr == b""
        text = open(pidfile, encoding="ascii").read()
        pid = int(text)
        assert text == f"{pid}\n"
        # A second one may not take the pid file.
        command[command.index("-qmp") + 1] = f"unix:{path}2,server=on,wait=off"
        run = subprocess.run(command, timeout=20, capture_output=True,
                             check=False)
        assert run.returncode == 1 and run.stderr.count(b"\n") == 1
        qmp = Client(path)
        os.kill(pid, signal.SIGTERM)
        qmp.wait_event("SHUTDOWN")
        assert qmp.read() is None
        for _ in range(100):
            if not os.path.exists(pidfile):
                return
            time.sleep(0.05)
        raise AssertionError("the pid file stays")


def last_words():
    """Who has passed a listening socket and connects late can still do so
    when the start has failed, and the message is there before its end."""
    with tempfile.TemporaryDirectory(prefix="vm-last-") as where:
        for option in ("-foo", "-vmemdirect"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{where}/{option}")
            listener.listen(1)
            fd = listener.fileno()
            process = subprocess.Popen(
                [binary(), "-M", "q35", "-kernel", "k", "-chardev",
                 f"socket,id=m,fd={fd},server=on,wait=off", "-mon",
                 "chardev=m,mode=control", option, "memory=64M"],
                pass_fds=(fd,), stderr=subprocess.PIPE)
            listener.close()
            said = process.stderr.readline()
            assert option.encode() in said, said
            client = socket.socket(socket.AF_UNIX)
            client.connect(f"{where}/{option}")
            assert process.wait(20) == 1
            try:
                assert client.recv(1) == b""
            except ConnectionResetError:
                pass
            client.close()
            process.stderr.close()


def large_message():
    """A megabyte in one argument comes through; the error names it."""
    with Vm() as vm:
        qmp = vm.client()
        reply = qmp.ask("migrate", {"uri": "x" * (1 << 20), "resume": True})
        assert "error" in reply
        assert qmp.ask("query-status")["return"]["running"]


def garbage():
    with Vm() as vm:
        qmp = vm.client()
        for bad in (b"\x00\x01\x02\n", b"}\n", b"[]\n", b"\xff\n",
                    b"{\"execute\": \"stop\n", b"{" * 2000 + b"\n"):
            qmp.send_raw(bad)
            assert error_class(qmp.reply()) == "GenericError", bad
        assert qmp.ask("query-status")["return"]["running"]


main([greeting_and_negotiation, two_clients, reconnect, stop_and_cont, reset,
      no_reboot, no_shutdown, quit_replies_first, signals, powerdown, names,
      chardevs, migration_without_a_machine, capabilities, objects,
      announce_self, hmp, no_balloon, hmp_on_stdio, pretty, daemonize,
      last_words, large_message, garbage])
