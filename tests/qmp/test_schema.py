#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
query-qmp-schema says what the dispatcher does, in both directions.

How: each command is given arguments that the schema forbids, one at a time,
and must refuse them for that reason; and what commands return must be what the
schema says, with nothing more in it. The commands' functions do not run in the
first kind of test, since arguments are checked before.
"""
import os
import tempfile

from qmptest import Vm, error_class, main

# A value of a wrong type for each JSON type.
WRONG = {"string": 1, "int": "x", "boolean": "x", "number": "x"}
RIGHT = {"string": "x", "int": 1, "boolean": True, "number": 1.5,
         "value": {}}


class Schema:
    def __init__(self, entries):
        self.entries = {}
        for entry in entries:
            assert entry["name"] not in self.entries, entry
            self.entries[entry["name"]] = entry
        self.used = set()

    def get(self, name, *kinds):
        entry = self.entries[name]
        self.used.add(name)
        assert not kinds or entry["meta-type"] in kinds, entry
        return entry

    def of_kind(self, kind):
        return [e for e in self.entries.values() if e["meta-type"] == kind]

    def members(self, type_name):
        return self.get(type_name, "object")["members"]

    def right(self, type_name):
        entry = self.get(type_name)
        if entry["meta-type"] == "enum":
            return entry["values"][0]
        if entry["meta-type"] == "array":
            return []
        return RIGHT[entry["json-type"]]

    def wrong(self, type_name):
        """None: everything is right."""
        entry = self.get(type_name)
        if entry["meta-type"] == "enum":
            return "not one of them"
        if entry["meta-type"] == "array":
            return "x"
        return WRONG.get(entry["json-type"])

    def check(self, value, type_name, where):
        """Raises if value is not of the type."""
        entry = self.get(type_name)
        kind = entry["meta-type"]
        if kind == "builtin":
            types = {"string": str, "int": int, "boolean": bool,
                     "number": (int, float)}.get(entry["json-type"], object)
            assert isinstance(value, types), (where, value)
            assert entry["json-type"] == "boolean" or types is object or \
                not isinstance(value, bool), (where, value)
        elif kind == "enum":
            assert value in entry["values"], (where, value)
        elif kind == "array":
            assert isinstance(value, list), (where, value)
            for element in value:
                self.check(element, entry["element-type"], where + "[]")
        else:
            self.check_object(value, entry["members"], where)

    def check_object(self, value, members, where):
        assert isinstance(value, dict), (where, value)
        known = {m["name"]: m for m in members}
        for name in value:
            assert name in known, f"{where} has '{name}'"
            self.check(value[name], known[name]["type"], f"{where}.{name}")
        for name, member in known.items():
            assert name in value or "default" in member, \
                f"{where} lacks '{name}'"


def schema_of(qmp):
    return Schema(qmp.ask("query-qmp-schema")["return"])


def entries_are_complete():
    """Every type that is named is there, and none that nobody names."""
    keys = {"builtin": {"json-type"}, "enum": {"values"},
            "array": {"element-type"}, "object": {"members"},
            "command": {"arg-type", "ret-type"}, "event": {"arg-type"}}
    with Vm() as vm:
        schema = schema_of(vm.client())
    for entry in schema.entries.values():
        assert set(entry) == {"name", "meta-type"} | keys[
            entry["meta-type"]], entry
        for key in ("arg-type", "ret-type", "element-type"):
            if key in entry:
                schema.get(entry[key], *(("object",) if key == "arg-type"
                                         else ()))
        for member in entry.get("members", ()):
            assert set(member) <= {"name", "type", "default"}, member
            schema.get(member["type"])
    unused = set(schema.entries) - schema.used
    unused -= {e["name"] for e in schema.of_kind("command") +
               schema.of_kind("event") + schema.of_kind("builtin")}
    assert not unused, unused


def names_agree():
    with Vm() as vm:
        qmp = vm.client()
        schema = schema_of(qmp)
        for command, kind in (("query-commands", "command"),
                              ("query-events", "event")):
            listed = [e["name"] for e in qmp.ask(command)["return"]]
            assert len(listed) == len(set(listed))
            assert set(listed) == {e["name"] for e in schema.of_kind(kind)}


def refusals(schema, entry):
    """(arguments, what the refusal has to say)."""
    members = schema.members(entry["arg-type"])
    good = {m["name"]: schema.right(m["type"]) for m in members
            if "default" not in m}
    yield dict(good, **{"no such argument": 1}), \
        "'no such argument' is unexpected"
    for m in members:
        name = m["name"]
        if "default" not in m:
            yield {k: v for k, v in good.items() if k != name}, \
                f"'{name}' is missing"
        wrong = schema.wrong(m["type"])
        if wrong is not None:
            yield dict(good, **{name: wrong}), f"'{name}'"


def arguments_are_checked():
    count = 0
    with Vm() as vm:
        qmp = vm.client()
        schema = schema_of(qmp)
        for entry in schema.of_kind("command"):
            if entry["name"] == "qmp_capabilities":
                continue  # not in this mode of the session
            for arguments, word in refusals(schema, entry):
                reply = qmp.ask(entry["name"], arguments)
                count += 1
                assert error_class(reply) == "GenericError", (entry, reply)
                assert word in reply["error"]["desc"], (entry, reply)
        assert qmp.ask("query-status")["return"]["running"]
    assert count > 100


def check_replies(qmp, skip=()):
    schema = schema_of(qmp)
    answered = set()
    for entry in schema.of_kind("command"):
        name = entry["name"]
        if not name.startswith("query-") or name in skip or any(
                "default" not in m
                for m in schema.members(entry["arg-type"])):
            continue
        reply = qmp.ask(name)
        if "return" in reply:
            schema.check(reply["return"], entry["ret-type"], name)
            answered.add(name)
        else:
            assert error_class(reply) in ("DeviceNotActive",
                                          "GenericError"), reply
    for event in qmp.events:
        entry = schema.get(event["event"], "event")
        schema.check_object(event.get("data", {}),
                            schema.members(entry["arg-type"]),
                            event["event"])
    return answered


def replies_without_a_machine():
    with Vm("-S", "-chardev", "null,id=n", "-name", "x") as vm:
        qmp = vm.client()
        qmp.ask("cont")
        qmp.ask("stop")
        qmp.ask("system_reset")
        qmp.wait_event("RESET")
        assert len(check_replies(qmp)) > 20


def replies_of_a_machine():
    """With everything that a query could tell about."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "no /dev/kvm"
    with tempfile.TemporaryDirectory(prefix="vm-schema-") as where:
        disk = os.path.join(where, "disk")
        with open(disk, "wb") as image:
            image.truncate(1 << 20)
        with Vm("-S", "-smp", "2", "-device", "virtio-balloon-pci,id=b",
                "-blockdev", f"driver=file,node-name=f,filename={disk}",
                "-blockdev", "driver=raw,node-name=r,file=f", "-device",
                "virtio-blk-pci,drive=r,id=d", "-incoming", "defer",
                machine="q35") as vm:
            qmp = vm.client()
            answered = check_replies(qmp)
            for name in ("query-balloon", "query-blockstats", "query-block",
                         "query-cpus-fast", "query-migrate-parameters",
                         "query-named-block-nodes",
                         "query-hotpluggable-cpus"):
                assert name in answered, name
            assert len(qmp.ask("query-cpus-fast")["return"]) == 2
            entry, = qmp.ask("query-block")["return"]
            assert entry["device"] == ""
            assert entry["qdev"] == "/machine/peripheral/d/virtio-backend"
            nodes = qmp.ask("query-named-block-nodes", {"flat": True})
            assert [n["node-name"] for n in nodes["return"]] == ["r", "f"]
            stats = qmp.ask("query-blockstats", {"query-nodes": True})
            assert [n["node-name"] for n in stats["return"]] == ["r", "f"]
            entry, = qmp.ask("query-blockstats")["return"]
            assert entry["stats"]["rd_bytes"] == 0
    return None


main([entries_are_complete, names_agree, arguments_are_checked,
      replies_without_a_machine, replies_of_a_machine])
