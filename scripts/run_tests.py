#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The stages of scripts/run-tests.

usage: scripts/run-tests [--quick] [--no-lab] [--full]

  --quick    gcc build, its meson tests, and the native tests without the
             stress test; no sanitizers, no fuzzing, no lab
  --no-lab   everything but the lab
  --full     the native tests once more under AddressSanitizer

Each stage yields results of single tests, counted one by one: the points of a
program that prints TAP, or the program as a whole if it prints none. A stage
that ends badly without a failed point counts as one failure, so that nothing
is lost. What a stage says is kept in build-logs/.
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(TOP, "build-logs")
# The whole run has to end within the hour, on two cores.
LIMIT_S = 58 * 60
TAP_POINT = re.compile(r"^(not )?ok\b\s*(\d+)?\s*(?:- )?(.*?)\s*$")
TAP_PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP\S*\s*(.*))?$", re.I)
TAP_SKIP = re.compile(r"\s*# SKIP\S*\s*(.*)$", re.I)
START = time.monotonic()


class Results:
    """What came out, over all stages."""

    def __init__(self):
        self.passed = 0
        self.failed = []   # of "stage: name"
        self.skipped = []  # of "stage: name: reason"

    def add_pass(self):
        self.passed += 1

    def add_fail(self, stage, name):
        self.failed.append(f"{stage}: {name}")

    def add_skip(self, stage, name, reason):
        self.skipped.append(f"{stage}: {name}: {reason or 'no reason given'}")

    def counts(self):
        return self.passed, len(self.failed), len(self.skipped)


def left_s():
    return max(LIMIT_S - (time.monotonic() - START), 1)


def say(text):
    print(f"[{time.monotonic() - START:4.0f} s] {text}", flush=True)


def log_path(stage):
    return os.path.join(LOGS, re.sub(r"[^A-Za-z0-9]+", "-", stage) + ".log")


def run(stage, command, limit_s, env=None):
    """Runs command into the stage's log. Returns its exit status, or 'time
    limit'; nothing that it started in its process group is left."""
    os.makedirs(LOGS, exist_ok=True)
    with open(log_path(stage), "a", encoding="utf-8") as log:
        print("$", " ".join(command), file=log, flush=True)
        child = subprocess.Popen(
            command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **(env or {})})
        try:
            return child.wait(min(limit_s, left_s()))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                pass
            return "time limit"
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()


def show_log_end(stage, lines=30):
    with open(log_path(stage), encoding="utf-8", errors="replace") as log:
        for line in log.read().splitlines()[-lines:]:
            print("    " + line)


def add_tap(results, stage, name, text, ended_well):
    """Adds the points of a TAP stream."""
    planned, seen, failed = None, 0, 0
    for line in text.splitlines():
        plan = TAP_PLAN.match(line)
        point = TAP_POINT.match(line)
        if plan:
            planned = int(plan[1])
            if planned == 0:
                results.add_skip(stage, name, plan[2])
        elif point:
            seen += 1
            skip = TAP_SKIP.search(point[3])
            label = TAP_SKIP.sub("", point[3]) or f"{name} {seen}"
            if point[1]:
                failed += 1
                results.add_fail(stage, label)
            elif skip:
                results.add_skip(stage, label, skip[1])
            else:
                results.add_pass()
    if planned is None or seen < planned:
        results.add_fail(stage, f"{name} ended after {seen} of "
                                f"{planned if planned is not None else '?'}"
                                f" tests")
    elif not ended_well and not failed:
        results.add_fail(stage, f"{name} ended badly after its last test")


def add_meson_test(results, stage, test):
    """One entry of meson's testlog.json."""
    text = test.get("stdout") or ""
    name = test["name"].split(" / ")[-1]
    if any(TAP_PLAN.match(line) for line in text.splitlines()):
        add_tap(results, stage, name, text,
                test["result"] in ("OK", "SKIP"))
    elif test["result"] in ("OK", "EXPECTEDFAIL"):
        results.add_pass()
    elif test["result"] == "SKIP":
        reason = text.strip().splitlines()
        results.add_skip(stage, name, reason[-1] if reason else "")
    else:
        results.add_fail(stage, f"{name} ({test['result']})")


def build(results, stage, builddir, options):
    """Returns False, and counts a failure, if it does not build."""
    command = ["./configure", f"--builddir={builddir}", *options]
    if run(stage, command, 300) == 0 and \
            run(stage, ["ninja", "-C", builddir], 1200) == 0:
        return True
    results.add_fail(stage, "build")
    say(f"{stage}: does not build")
    show_log_end(stage)
    return False


def run_meson(results, stage, builddir, suites, env=None, slow=1):
    before = results.counts()
    log = os.path.join(TOP, builddir, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.remove(log)
    command = ["meson", "test", "-C", builddir, "--no-rebuild",
               "--print-errorlogs", "-t", str(slow)]
    if env and subprocess.run(["setarch", "-R", "true"], check=False,
                              capture_output=True).returncode == 0:
        # Sanitizers of LLVM 14 want less address randomization than new
        # kernels do.
        command = ["setarch", "-R", *command]
    for suite in suites:
        command += ["--suite", suite]
    status = run(stage, command, 900, env)
    tests = []
    if os.path.exists(log):
        with open(log, encoding="utf-8") as lines:
            tests = [json.loads(line) for line in lines]
    for test in tests:
        failed = len(results.failed)
        add_meson_test(results, stage, test)
        if len(results.failed) > failed:
            show_output(test)
    if not tests:
        results.add_fail(stage, f"no tests ran (status {status})")
    elif status != 0 and results.counts()[1] == before[1]:
        results.add_fail(stage, f"meson test ended with status {status}")
    tell(results, stage, before)


def show_output(test, lines=30):
    """What a failed program of meson's log said last."""
    print(f"    {test['name']}: {test['result']}")
    for stream in ("stdout", "stderr"):
        said = (test.get(stream) or "").splitlines()
        # The points that are fine do not help; a sanitizer's first words do.
        said = [line for line in said if not line.startswith(
            ("ok ", "# Start of", "# End of"))]
        if len(said) > 2 * lines:
            said = said[:lines] + ["[...]"] + said[-lines:]
        for line in said:
            print("    " + line)


def run_tap(results, stage, command, limit_s, env=None):
    before = results.counts()
    log = log_path(stage)
    offset = os.path.getsize(log) if os.path.exists(log) else 0
    status = run(stage, command, limit_s, env)
    with open(log, encoding="utf-8", errors="replace") as lines:
        lines.seek(offset)
        text = lines.read()
    if status == "time limit":
        results.add_fail(stage, "did not end within its time limit")
    add_tap(results, stage, command[0], text, status == 0)
    tell(results, stage, before)
    if results.counts()[1] > before[1]:
        show_log_end(stage)


def tell(results, stage, before):
    now = results.counts()
    passed, failed, skipped = (now[i] - before[i] for i in range(3))
    say(f"{stage}: {passed} passed, {failed} failed, {skipped} skipped")


def symbolizer():
    for name in ("llvm-symbolizer", "llvm-symbolizer-14"):
        if shutil.which(name):
            return shutil.which(name)
    return None


def sanitizer_env():
    path = symbolizer()
    env = {
        "ASAN_OPTIONS": "detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": "second_deadlock_stack=1:suppressions=" +
                        os.path.join(TOP, "tests", "tsan.supp"),
        # GLib 2.74 would hide its lists from the leak check.
        "G_SLICE": "always-malloc",
    }
    if path:
        env["ASAN_SYMBOLIZER_PATH"] = path
        env["TSAN_OPTIONS"] += f":external_symbolizer_path={path}"
    return env


def stage_sanitizers(results):
    for stage, builddir, option in (
            ("ASan and UBSan", "build-asan", "--sanitize=address"),
            ("TSan", "build-tsan", "--sanitize=thread")):
        if not shutil.which("clang"):
            results.add_skip(stage, "unit, device", "clang is not installed")
            say(f"{stage}: skipped, no clang")
        elif build(results, stage, builddir, ["--cc=clang", option]):
            run_meson(results, stage, builddir, ["unit", "device"],
                      sanitizer_env(), slow=5)


def stage_native(results, stage, options, env=None):
    if os.access(os.path.join(TOP, "tests/native/run"), os.X_OK):
        run_tap(results, stage, ["tests/native/run", *options], 1500, env)
    else:
        results.add_skip(stage, "tests/native/run", "not in this tree")


def stage_fuzz(results, wanted):
    if wanted:
        run_tap(results, "fuzz", ["tests/fuzz/run"], 900)
    else:
        results.add_skip("fuzz", "tests/fuzz/run", "--quick")


def stage_libvirt(results):
    if os.access(os.path.join(TOP, "tests/libvirt/run"), os.X_OK):
        run_tap(results, "libvirt", ["tests/libvirt/run"], 600)
    else:
        results.add_skip("libvirt", "tests/libvirt/run", "not in this tree")


def stage_lab(results, wanted):
    if not wanted:
        results.add_skip("lab", "tests/lab/run", "not asked for")
    elif os.access(os.path.join(TOP, "tests/lab/run"), os.X_OK):
        # Time limits there are for an idle machine.
        patience = os.environ.get("LAB_PATIENCE", "2")
        run_tap(results, "lab", ["tests/lab/run"], left_s(),
                {"LAB_PATIENCE": patience})
    else:
        results.add_skip("lab", "tests/lab/run", "not in this tree")


def run_all(results, args):
    if not build(results, "gcc", "build", ["--cc=gcc"]):
        return
    if not os.path.exists("build/qemu-system-x86_64"):
        # Every native test would skip, and the run look fine.
        results.add_fail("gcc", "the build has made no qemu-system-x86_64")
    run_meson(results, "gcc", "build", suites=[])
    if not args.quick:
        stage_sanitizers(results)
    else:
        results.add_skip("sanitizers", "unit, device", "--quick")
    stage_fuzz(results, not args.quick)
    stage_native(results, "native", ["--quick"] if args.quick else [])
    stage_libvirt(results)
    if args.full and os.path.exists("build-asan/qemu-system-x86_64"):
        env = {"QEMU": os.path.join(TOP, "build-asan/qemu-system-x86_64"),
               "VMTEST_PATIENCE": "5", **sanitizer_env()}
        stage_native(results, "native, ASan", ["--quick"], env)
    stage_lab(results, not args.quick and not args.no_lab)


def main():
    parser = argparse.ArgumentParser(prog="scripts/run-tests")
    parser.add_argument("--quick", action="store_true",
                        help="no sanitizers, fuzzing, stress test or lab")
    parser.add_argument("--no-lab", action="store_true")
    parser.add_argument("--full", action="store_true",
                        help="native tests under AddressSanitizer too")
    args = parser.parse_args()
    os.chdir(TOP)
    # Ended from outside: end what runs too, see the finally in run().
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    shutil.rmtree(LOGS, ignore_errors=True)
    results = Results()
    run_all(results, args)
    for title, entries in (("failed", results.failed),
                           ("skipped", results.skipped)):
        for entry in entries:
            print(f"{title}: {entry}")
    print("%d passed, %d failed, %d skipped" % results.counts())
    sys.exit(1 if results.failed else 0)


if __name__ == "__main__":
    main()
