#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The arithmetic of tests/bench: histograms, targets, tables and the picture.

A benchmark that reckons wrong looks just like one that is right; so each step
is made on figures whose outcome is known. Prints TAP.
"""
import json
import os
import subprocess
import sys
import traceback
import xml.etree.ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests", "bench"))

# pylint: disable=wrong-import-position
import bench  # noqa: E402
import histogram  # noqa: E402
import move_report  # noqa: E402
import moves  # noqa: E402
import picture  # noqa: E402
import report  # noqa: E402
import targets  # noqa: E402
import timelines  # noqa: E402


def close(a, b):
    return abs(a - b) < 1e-9 * max(abs(a), abs(b), 1)


def a_run(run, system, speed, workload="rand-read", budget=50, **more):
    return {"workload": workload, "budget-percent": budget, "run": run,
            "system": system, "ops": 1, "ops-per-s": speed,
            "budget-mib": 100, "rss-max-mib": 110, **more}


def results(*runs, **more):
    return {"runs": list(runs), "raw": [], "sparse": [], "histograms": [],
            "skipped": {}, "failures": [], "page-cluster": 3,
            "machine": {"processors": 2, "processor": "p", "kernel": "k",
                        "load": 0.0},
            "arguments": {"mem": 768, "smp": 1, "runs": 1, "options": ""},
            **more}


def line(results_, part):
    found = [t for t in targets.lines(results_) if part in t.name]
    assert len(found) == 1, [t.name for t in found]
    return found[0]


def test_guest_buckets():
    """They join each other, and are those of tests/guest/hist.h."""
    end = 0
    for index in range(592):
        low, high = histogram.guest_bucket(index)
        assert low == end, (index, low, end)
        end = high
    assert end == 1 << 40
    assert histogram.guest_bucket(16) == (16, 17)
    assert histogram.guest_bucket(33) == (34, 36)


def test_guest_ticks():
    hist = histogram.from_guest("16:3 33:1", 2000)
    assert hist == [(8.0, 8.5, 3), (17.0, 18.0, 1)], hist


def test_percentile():
    hist = [(0, 10, 50), (10, 20, 40), (100, 200, 10)]
    for percent, want in ((50, 10), (25, 5), (90, 20), (95, 150),
                          (100, 200)):
        got = histogram.percentile(hist, percent)
        assert close(got, want), (percent, got)
    assert histogram.percentile([], 50) is None
    assert histogram.total(histogram.above(hist, 10)) == 50


def test_merge():
    merged = histogram.merge([[(0, 1, 2), (5, 6, 1)], [(0, 1, 3)]])
    assert merged == [(0, 1, 5), (5, 6, 1)], merged


def test_engine_histogram():
    before = [{"from-ns": 0, "count": 5}, {"from-ns": 64, "count": 0}]
    now = [{"from-ns": 0, "count": 5}, {"from-ns": 64, "count": 2},
           {"from-ns": 128, "count": 1}]
    hist = histogram.from_engine(now, before)
    assert hist == [(64, 128, 2), (128, 256, 1)], hist


def test_ratio_is_by_run():
    """The median of ratios, not the ratio of medians."""
    r = results(a_run(0, "ours", 120), a_run(0, "kernel-swap", 100),
                a_run(1, "ours", 10), a_run(1, "kernel-swap", 5),
                a_run(2, "ours", 130), a_run(2, "kernel-swap", 100))
    t = line(r, "random read 50 % / kernel swap")
    assert t.values == [1.2, 2.0, 1.3] and t.value == 1.3 and t.reached


def test_just_missed():
    r = results(a_run(0, "ours", 119), a_run(0, "kernel-swap", 100))
    assert not line(r, "random read 50 % / kernel swap").reached


def test_without_rival():
    """Not measured is not reached."""
    t = line(results(a_run(0, "ours", 119)),
             "random read 50 % / kernel swap")
    assert t.value is None and not t.reached
    killed = {k: v for k, v in a_run(0, "kernel-swap", 0).items()
              if k not in ("ops", "ops-per-s")}
    t = line(results(a_run(0, "ours", 119), killed),
             "random read 50 % / kernel swap")
    assert t.value is None and not t.reached


def test_at_most():
    latency = {"read": {"fault-us": {"share": 0.5, "p50": 130, "p99": 500}}}
    raw = [{"read-4k-qd1": {"read": {"us": {"p50": 100, "p99": 200}}},
            "wake": {"other": {"p50": 30}}}]
    r = results(a_run(0, "ours", 1, latency=latency), raw=raw)
    alone, with_wake = (t for t in targets.lines(r)
                        if "p50 fault, guest's clock" in t.name)
    assert alone.reached and with_wake.value == 1
    t = line(r, "50 %, p99 fault, guest's clock")
    assert t.value == 2.5 and not t.reached


def test_sort():
    r = results(*[a_run(0, name, speed, "sort") for name, speed in (
        ("ours chunk-pages=1", 5), ("ours chunk-pages=256", 100),
        ("ours chunk-pages=64", 120), ("kernel-swap", 80))])
    t = line(r, "256 pages a chunk")
    assert t.value == 0.05 and t.reached
    t = line(r, "the best")
    assert "chunk-pages=64" in t.name and t.value == 1.5 and not t.reached


def test_resident():
    r = results(a_run(0, "ours", 1), a_run(1, "ours x", 1, **{
        "rss-max-mib": 165}))
    t = line(r, "resident size")
    assert t.value == 65 and not t.reached


def test_sparse_is_per_gib():
    def size(gib, start, paging):
        return {"mem-gib": gib, "run": 0, "start-ms": start,
                "metadata-mib": gib / 2, "idle-cpu-percent": gib / 100,
                "cpu-s-per-gib": paging}

    r = results(sparse=[size(64, 10, 1.0), size(1024, 200, 1.5)])
    assert line(r, "start-up per GiB").value == 1.25
    assert not line(r, "start-up per GiB").reached
    assert close(line(r, "metadata per GiB").value, 1)
    assert close(line(r, "metadata / RAM").value, 100 * 0.5 / 1024)
    assert line(r, "CPU per GiB paged, 1024").value == 1.5


def full_results():
    latency = {"read": {"fault-us": {"share": 0.5, "p50": 130, "p99": 500}}}
    return results(
        a_run(0, "ours", 119, latency=latency), a_run(0, "kernel-swap", 100),
        a_run(0, "ours chunk-pages=1", 3, "sort"),
        a_run(0, "kernel-swap", 100, "sort"),
        raw=[{"read-4k-qd1": {"cpu-s-per-gib": 1, "read": {
            "mib-per-s": 1, "ops-per-s": 256,
            "us": {"p50": 100, "p99": 200}}},
            "wake": {"other": {"p50": 30}}}],
        histograms=[{"workload": "rand-read", "system": "ours",
                     "budget-percent": 50, "name": "read",
                     "hist": [(0, 100, 5), (20000, 30000, 7)]}])


def test_picture():
    root = xml.etree.ElementTree.fromstring(picture.draw(full_results()))
    text = " ".join(e.text or "" for e in root.iter())
    for part in ("rand-read, 50 %", "chunk-pages=1", "ours, 50 %",
                 "raw read-4k-qd1"):
        assert part in text, part
    xml.etree.ElementTree.fromstring(picture.draw(results()))


def test_markdown():
    page = report.markdown(full_results(), "x")
    for part in ("| rand-read | 50 % | ours | 119 |",
                 "| random read 50 % / kernel swap | 1.19 |", "**no**"):
        assert part in page, (part, page)


def test_killed_rival_is_told():
    killed = a_run(0, "kernel-swap", 0, killed=4)
    del killed["ops"]
    page = report.markdown(results(a_run(0, "ours", 1), killed), "x")
    assert "killed 4 times" in page, page


def a_move(run, setup, total, *, guest="key-value", converged=True, **more):
    out = {"setup": setup, "guest": guest, "mem-mib": 1024, "run": run,
           "link": "loopback", "converged": converged,
           "source-grew-mib": 1.0}
    if converged:
        out.update({"total-ms": total, "downtime-ms": total / 10,
                    "speed": {"before": 1000.0, "first-pass": 900.0,
                              "after": 500.0},
                    "paged-in": 0, "paged-out": 0, **more})
    return out


def move_line(results_, part):
    found = [t for t in move_report.target_lines(results_) if part in t.name]
    assert len(found) == 1, [t.name for t in found]
    return found[0]


def test_move_targets():
    r = results(*(a_move(run, setup, total) for run in range(3)
                  for setup, total in (("stock", 1000), ("ours", 400),
                                       ("ours to 50 %", 600 + 100 * run),
                                       ("ours 50 % to 50 %", 500))))
    t = move_line(r, "total time to 50 % / stock with enough")
    assert close(t.value, 0.7) and t.reached
    assert close(move_line(r, "downtime to 50 % / stock with").value, 0.7)
    t = move_line(r, "50 % to 50 % / enough to enough")
    assert close(t.value, 1.25) and not t.reached
    assert close(move_line(r, "first second to 50 %").value, 0.5)
    assert move_line(r, "that, ours / stock").value is None


def test_moves_that_do_not_converge():
    runs = [a_move(0, "stock", 0, guest="write-heavy", converged=False),
            a_move(0, "ours, throttled", 900, guest="write-heavy")]
    r = results(*runs)
    assert move_line(r, "throttled, ours converges").reached
    assert move_line(r, "without throttling, stock").reached
    assert "did not converge" in move_report.markdown(r, "x")
    runs[0]["converged"] = True
    runs[0]["total-ms"] = 5
    assert not move_line(results(*runs), "without throttling").reached


def test_guest_speed():
    def line(s, done):
        return (s, "a", s * 1e6, done, 0, 0)
    assert close(moves.speed([line(1.0, 0), line(1.5, 50), line(3.0, 200)]),
                 100)
    # Both lines were read at once; the guest knows better.
    assert close(moves.speed([(5, "a", 0, 0, 0, 0), (5, "a", 1e6, 7, 3, 0)]),
                 10)
    assert moves.speed([line(1.0, 0)]) is None


def test_timelines():
    run = a_move(0, "ours", 800, timeline=[(-0.1, 5), (0.4, 9), (2.0, 7)],
                 samples=[[0.0, "active", 1, 0, 0, 0],
                          [0.8, "completed", 3, 4 << 20, 3 << 20, 1 << 20]])
    svg = timelines.draw(results(run))
    xml.etree.ElementTree.fromstring(svg)
    assert "key-value: ours" in svg and "800 ms" in svg


def test_failures_are_told():
    r = full_results()
    r["failures"].append("kv 50 % ours: lost")
    r["raw"].append(None)
    assert "**Failed**: kv 50 % ours: lost" in report.markdown(r, "x")
    assert [t.value for t in targets.lines(r)
            if "p50 fault, guest's clock" in t.name] == [1.3, 1]


def test_help():
    for name in ("pager", "migration", "tracker"):
        text = subprocess.run(
            [sys.executable, os.path.join(TOP, "tests", "bench", name),
             "--help"], check=True, capture_output=True, text=True).stdout
        assert text.startswith("usage: " + name), text


def test_compact_json():
    tree = {"a": [1, {"b": [2, 3]}], "c": {}, "d": "x", "e": [[], {}]}
    for depth in range(5):
        assert json.loads(bench.compact_json(tree, depth)) == tree
    assert len(bench.compact_json(tree, 1).splitlines()) == 6


def main():
    tests = [(name, function) for name, function in globals().items()
             if name.startswith("test_")]
    print(f"1..{len(tests)}", flush=True)
    for number, (name, function) in enumerate(tests, 1):
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Exception:  # pylint: disable=broad-except
            print(f"not ok {number} - {name}", flush=True)
            for text in traceback.format_exc().splitlines():
                print("# " + text)


main()
