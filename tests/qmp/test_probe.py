#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What management reads before it starts anything is true: types, properties,
machines, options and CPU models that are told are there, and others are not.
"""
import os
import subprocess
import tempfile

from qmptest import Vm, binary, error_class, main

# What a device needs to be made at all.
NEEDS = {
    "isa-serial": (["-chardev", "null,id=c"], "chardev=c"),
    "isa-debugcon": (["-chardev", "null,id=c"], "chardev=c"),
    "virtio-blk-pci": (["-drive", "if=none,id=d,format=raw,file=DIR/disk"],
                       "drive=d"),
    "virtio-net-pci": (["-netdev", "user,id=n"], "netdev=n"),
}
# Of a value of the type that no property refuses out of hand.
VALUES = {"bool": "on", "str": "x"}


def has_kvm():
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def names(reply):
    return [entry["name"] for entry in reply["return"]]


def device_types():
    run = subprocess.run([binary(), "-device", "help"], check=True,
                         capture_output=True, text=True, timeout=20)
    return [line.split('"')[1] for line in run.stdout.splitlines()]


def types():
    with Vm() as vm:
        listed = names(vm.client().ask("qom-list-types"))
    assert len(listed) == len(set(listed))
    for name in device_types() + ["max-x86_64-cpu", "pc-q35-7.2-machine",
                                  "rng-random", "isa-serial"]:
        assert name in listed, name
    for name in ("tcg-accel", "VGA", "qxl", "usb-tablet", "iothread",
                 "memory-backend-memfd", "memory-backend-file", "vfio-pci",
                 "virtio-scsi-pci", "tpm-tis", "nvdimm"):
        assert name not in listed, name


def objects_can_be_made():
    """Each type of object gets further than "not supported"."""
    with Vm() as vm:
        listed = [entry["name"] for entry in
                  vm.client().ask("qom-list-types")["return"]
                  if entry["parent"] == "object"]
    assert "memory-backend-ram" in listed
    for name in listed:
        run = subprocess.run(
            [binary(), "-M", "none", "-object", f"{name},id=x,nothing=1"],
            capture_output=True, text=True, timeout=20, check=False)
        assert run.returncode == 1
        assert "is not supported" not in run.stderr, run.stderr


def try_device(where, name, item):
    extra, needed = NEEDS.get(name.replace("-non-transitional", ""),
                              ([], ""))
    with open(where + "/disk", "wb") as disk:
        disk.truncate(1 << 20)
    text = ",".join(part for part in (name, needed, item) if part)
    run = subprocess.run(
        [binary(), "-nodefaults", "-display", "none", "-M", "q35", "-kernel",
         where + "/absent", *[arg.replace("DIR", where) for arg in extra],
         "-device", text], capture_output=True, text=True, timeout=20,
        check=False)
    assert run.returncode == 1
    return run.stderr


def properties_are_read():
    """Every property that is told is one that -device knows. The kernel is
    not there, so that the VM ends when the device has been made."""
    if not has_kvm():
        return "no /dev/kvm"
    with Vm() as vm:
        qmp = vm.client()
        told = {name: qmp.ask("device-list-properties", {"typename": name})
                for name in device_types()}
    with tempfile.TemporaryDirectory(prefix="vm-probe-") as where:
        for name, reply in told.items():
            assert reply["return"], name
            assert "absent" in try_device(where, name, ""), name
            assert "'nothing'" in try_device(where, name, "nothing=1")
            for p in reply["return"]:
                item = f"{p['name']}={VALUES.get(p['type'], '1')}"
                said = try_device(where, name, item)
                assert "unknown parameter" not in said, (name, item, said)
    return None


def properties_of_what_is_not_there():
    with Vm() as vm:
        qmp = vm.client()
        for name in ("scsi-hd", "ide-hd", "usb-host", "virtio-balloon-ccw",
                     "nonsense", ""):
            assert error_class(qmp.ask(
                "device-list-properties",
                {"typename": name})) == "DeviceNotFound"
            assert qmp.ask("qom-list-properties",
                           {"typename": name}) == {"return": []}
        # libvirt 9.0 dies of an error here.
        assert qmp.ask("qom-list-properties", {
            "typename": "memory-backend-file"}) == {"return": []}
        for name in ("PIIX4_PM", "ICH9-LPC"):
            assert names(qmp.ask("device-list-properties", {
                "typename": name})) == ["disable_s3", "disable_s4"]
            for word in ("disable_s3", "disable_s4"):
                subprocess.run([binary(), "-global", f"{name}.{word}=1",
                                "-version"], check=True, timeout=20,
                               capture_output=True)


def machines():
    with Vm() as vm:
        entries = vm.client().ask("query-machines")["return"]
    machine_names = {e["name"]: e for e in entries}
    assert set(machine_names) == {"pc-q35-7.2", "pc-i440fx-7.2", "none"}
    assert [e["name"] for e in entries if e.get("is-default")] == \
        ["pc-i440fx-7.2"]
    for entry in entries:
        for name in (entry["name"], entry.get("alias", "none")):
            run = subprocess.run(
                [binary(), "-M", name, "-smp", str(entry["cpu-max"]),
                 "-version"], capture_output=True, timeout=20, check=False)
            assert run.returncode == 0, run.stderr


def options():
    """A value of every parameter that is told passes."""
    values = {"mem-lock": "off", "timestamp": "on", "reboot": "reset",
              "shutdown": "pause", "enable": "on", "obsolete": "deny",
              "elevateprivileges": "children", "spawn": "allow",
              "resourcecontrol": "deny"}
    with Vm() as vm:
        qmp = vm.client()
        told = qmp.ask("query-command-line-options")["return"]
        assert qmp.ask("query-command-line-options", {"option": "msg"})[
            "return"] == [e for e in told if e["option"] == "msg"]
    for entry in told:
        for parameter in entry["parameters"]:
            item = f"{parameter['name']}={values[parameter['name']]}"
            subprocess.run([binary(), "-" + entry["option"], item,
                            "-version"], check=True, timeout=20,
                           capture_output=True)


def expansion(qmp, name, **props):
    model = {"name": name, "props": props} if props else {"name": name}
    reply = qmp.ask("query-cpu-model-expansion",
                    {"type": "full", "model": model})
    return reply["return"]["model"]["props"]


def cpu_models():
    with Vm() as vm:
        qmp = vm.client()
        entries = qmp.ask("query-cpu-definitions")["return"]
        found = {e["name"]: e for e in entries}
        assert {"host", "max", "qemu64"} <= set(found)
        assert found["qemu64"]["typename"] == "qemu64-x86_64-cpu"
        if not has_kvm():
            assert "unavailable-features" not in found["host"]
            return "no /dev/kvm"
        assert found["host"]["unavailable-features"] == []
        for name in ("host", "qemu64"):
            props = expansion(qmp, name)
            assert props["vendor"] and props["family"]
            assert props["fpu"] is True and props["hypervisor"] is True
        assert expansion(qmp, "host", fpu=False)["fpu"] is False
        assert not expansion(qmp, "host")["invtsc"]
        for name in ("nonsense", "host,foo=on"):
            assert error_class(qmp.ask(
                "query-cpu-model-expansion",
                {"type": "static", "model": {"name": name}})) == \
                "GenericError"
        told = names(qmp.ask("qom-list-properties",
                             {"typename": "max-x86_64-cpu"}))
        assert {"unavailable-features", "migratable", "fpu"} <= set(told)
        assert len(told) == len(set(told))
    return None


def vcpus_as_objects():
    """What a vCPU says of itself is what the model's expansion says."""
    if not has_kvm():
        return "no /dev/kvm"
    with Vm("-S", "-cpu", "host,-sse4.2", "-smp", "2", "-incoming", "defer",
            machine="q35") as vm:
        qmp = vm.client()
        props = expansion(qmp, "host", **{"sse4.2": False})
        for cpu in qmp.ask("query-hotpluggable-cpus")["return"]:
            path = {"path": cpu["qom-path"]}
            assert cpu["type"] == "host-x86_64-cpu"
            listed = qmp.ask("qom-list", path)["return"]
            for entry in listed:
                value = qmp.ask("qom-get", dict(
                    path, property=entry["name"]))["return"]
                if entry["type"] == "bool":
                    assert value is props[entry["name"]], entry
            assert "sse4.2" in [entry["name"] for entry in listed]
            assert qmp.ask("qom-get", dict(
                path, property="unavailable-features")) == {"return": []}
            assert "error" in qmp.ask("qom-get", dict(path, property="x"))
        for path in ("/machine/unattached/device[2]",
                     "/machine/unattached/device[]",
                     "/machine/unattached/device[0"):
            assert error_class(qmp.ask("qom-list", {
                "path": path})) == "DeviceNotFound"
    return None


main([types, objects_can_be_made, properties_are_read,
      properties_of_what_is_not_there, machines, options, cpu_models,
      vcpus_as_objects])
