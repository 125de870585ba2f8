#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The checkers and the counter of test results, on trees that are wrong.

A checker that finds nothing looks just like a tree in order; so each rule is
broken once in a small copy, and the checker has to name it. Prints TAP.
"""
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
LICENCE = "SPDX-License-Identifier: GPL-2.0-or-later"
HEAD = f"/* {LICENCE} */\n/* What it is. */\n"
TABLE = """
| folder | uses | what |
|--------|------|------|
| util | | |
| memory | util | |
| hw/core | util memory | |

"""
RANKS = """
| rank | protects |
|------|----------|
| DEVICE | x |
| LEAF | x |

"""
THREAD = """typedef enum VmLockRank {
    VM_RANK_DEVICE, /* a */
    VM_RANK_LEAF,   /* b */
    VM_RANK__COUNT
} VmLockRank;
"""


class Tree:
    """A small tree in order, to be broken by each test."""

    def __init__(self):
        self.holder = tempfile.TemporaryDirectory()
        self.top = self.holder.name
        shutil.copytree(os.path.join(TOP, "scripts"),
                        os.path.join(self.top, "scripts"))
        for folder in ("util", "memory", "hw/core"):
            self.write(f"{folder}/x.c", HEAD)
        self.header("util/a.h")
        self.header("memory/b.h")
        self.header("migration/vmstate.h")
        self.write("docs/architecture.md", TABLE)
        self.write("docs/locking.md", RANKS)
        self.write("README.md", "")
        self.write("HACKING.md", "")
        self.header("util/thread.h", THREAD)

    def write(self, path, text):
        path = os.path.join(self.top, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def header(self, name, text="\n"):
        guard = "VM_" + name.upper().translate(str.maketrans("/.-", "___"))
        self.write(f"include/{name}", f"{HEAD}#ifndef {guard}\n"
                   f"#define {guard}\n{text}#endif\n")

    def check(self, what, *args):
        """Returns the exit status and what was printed."""
        done = subprocess.run(
            [os.path.join(self.top, "scripts/check-" + what), *args],
            cwd=self.top, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


def expect(result, status, *texts):
    assert result[0] == status, f"exit status {result[0]}: {result[1]}"
    for text in texts:
        assert text in result[1], f"'{text}' not in: {result[1]}"


def test_layers_good(tree):
    tree.write("memory/x.c", '#include "memory/b.h"\n#include "util/a.h"\n'
               '#include "migration/vmstate.h"\n#include "own.h"\n')
    tree.write("memory/own.h", "")
    tree.write("docs/architecture.md",
               TABLE.replace("| hw/core", "| migration | | |\n| hw/core"))
    tree.write("migration/x.c", HEAD)
    expect(tree.check("layers"), 0)


def layers_refuse(tree, path, line, text):
    tree.write("docs/architecture.md",
               TABLE.replace("| hw/core", "| migration | | |\n| hw/core"))
    tree.write("migration/x.c", HEAD)
    expect(tree.check("layers"), 0)
    tree.write(path, line + "\n")
    expect(tree.check("layers"), 1, f"{path}:1: ", text)


def test_layers_up(tree):
    layers_refuse(tree, "util/x.c", '#include "memory/b.h"', "goes up")


def test_layers_up_in_header(tree):
    layers_refuse(tree, "include/util/a.h", '  #  include "memory/b.h"',
                  "goes up")


def test_layers_private(tree):
    tree.write("util/secret.h", "")
    layers_refuse(tree, "memory/x.c", '#include "util/secret.h"',
                  "private to util")


def test_layers_dots(tree):
    tree.write("util/secret.h", "")
    layers_refuse(tree, "memory/x.c", '#include "../util/secret.h"', "'..'")


def test_layers_unknown(tree):
    layers_refuse(tree, "memory/x.c", '#include "extra/e.h"', "in no folder")


def test_layers_other_bare_name(tree):
    tree.write("util/secret.h", "")
    layers_refuse(tree, "memory/x.c", '#include "secret.h"', "not beside")


def test_layers_unlisted_folder(tree):
    tree.write("extra/x.c", HEAD)
    expect(tree.check("layers"), 1, "'extra' is not in")


def test_layers_table_goes_up(tree):
    tree.write("docs/architecture.md",
               TABLE.replace("| util | |", "| util | memory |"))
    expect(tree.check("layers"), 1, "not below it")


def test_layers_row_without_folder(tree):
    tree.write("docs/architecture.md",
               TABLE.replace("\n\n", "\n| ghost | | |\n\n", 2))
    expect(tree.check("layers"), 1)


def test_layers_no_table(tree):
    tree.write("docs/architecture.md", "nothing\n")
    expect(tree.check("layers"), 1, "no layer table")


def test_style_good(tree):
    tree.write("util/x.c", HEAD + "/* calls free() */\n"
               'static const char *s = "strcpy(a, b) // no comment";\n'
               "void f(void)\n{\n    g_free(p);\n    p->free(p);\n"
               "    free(p); /* from posix_memalign() */\n}\n")
    expect(tree.check("style", "util/x.c"), 0)


def style_refuses(tree, text, *says):
    tree.write("util/x.c", text)
    expect(tree.check("style", "util/x.c"), 1, *says)


def test_style_calls(tree):
    for call in ("strcpy(a, b)", "strcat(a, b)", "sprintf(a, b)", "atoi(a)",
                 "strtok(a, b)", "alloca(8)", "usleep(1)", "malloc(1)",
                 "calloc(1, 2)", "realloc(a, 2)", "free(a)", "free (a)"):
        style_refuses(tree, f"{HEAD}int a = {call};\n", "util/x.c:3: ",
                      call.split("(")[0].strip() + "()")


def test_style_comment(tree):
    style_refuses(tree, HEAD + "int a; // b\n", ":3: // comment")


def test_style_head(tree):
    style_refuses(tree, "/* What it is. */\n", "first line")
    style_refuses(tree, f"/* {LICENCE} */\nint a;\n", "no comment")


def test_style_white_space(tree):
    style_refuses(tree, HEAD + "int a; \n", "blanks")
    style_refuses(tree, HEAD + "\tint a;\n", "tab")
    style_refuses(tree, HEAD + "int a;", "no line end")


def test_style_columns(tree):
    style_refuses(tree, HEAD + "/* " + "x" * 75 + " */\n", "81 columns")
    tree.write("util/x.c", HEAD + "/* " + "x" * 74 + " */\n")
    expect(tree.check("style", "util/x.c"), 0)


def test_style_unfinished(tree):
    for word in ("TO" + "DO", "FIX" + "ME", "X" + "XX"):
        style_refuses(tree, f"{HEAD}/* {word}: later */\n", "unfinished")


def test_style_guard(tree):
    tree.write("include/util/a.h", HEAD + "int a;\n")
    expect(tree.check("style"), 1, "include/util/a.h:1: no header guard")
    tree.write("include/util/a.h", HEAD + "#ifndef A_H\n#define A_H\n#endif\n")
    expect(tree.check("style"), 1, "is not VM_UTIL_A_H")


def test_style_script(tree):
    tree.write("scripts/new", "#!/bin/sh\necho\n")
    expect(tree.check("style"), 1, "scripts/new:1: no SPDX")


def test_headers_good(tree):
    expect(tree.check("headers"), 0)


def test_headers_not_alone(tree):
    tree.header("util/a.h", "static inline uint64_t f(void)\n{\n"
                "    return 0;\n}\n")
    expect(tree.check("headers"), 1, "include/util/a.h")


def test_docs_good(tree):
    tree.write("README.md", "See [x](docs/locking.md) and `util/x.c`.\n")
    expect(tree.check("docs"), 0)


def test_docs_missing_rank(tree):
    tree.write("docs/locking.md", RANKS.replace("| LEAF | x |\n", ""))
    expect(tree.check("docs"), 1, "rank LEAF has no row")


def test_docs_extra_rank(tree):
    tree.write("docs/locking.md", RANKS.replace("| LEAF",
                                              "| ODD | x |\n| LEAF"))
    expect(tree.check("docs"), 1, "no rank VM_RANK_ODD")


def test_docs_rank_order(tree):
    tree.write("docs/locking.md", RANKS.replace(
        "| DEVICE | x |\n| LEAF | x |", "| LEAF | x |\n| DEVICE | x |"))
    expect(tree.check("docs"), 1, "not in the order")


def test_docs_links(tree):
    tree.write("README.md", "See [x](docs/gone.md).\n")
    expect(tree.check("docs"), 1, "'docs/gone.md'")
    tree.write("README.md", "See `util/gone.c`.\n")
    expect(tree.check("docs"), 1, "`util/gone.c`")


def counted(text, ended_well=True):
    """What the counter of run-tests makes of a TAP stream."""
    spec = importlib.util.spec_from_file_location(
        "run_tests", os.path.join(TOP, "scripts/run_tests.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = module.Results()
    module.add_tap(results, "stage", "program", text, ended_well)
    return results


def test_count_points(_tree):
    results = counted("# hello\n1..4\nok 1 /a\nok 2 /b # SKIP no kvm\n"
                      "not ok 3 - /c\nok 4 - d # 1.5 s\n")
    assert results.counts() == (2, 1, 1), results.counts()
    assert results.failed == ["stage: /c"], results.failed
    assert results.skipped == ["stage: /b: no kvm"], results.skipped


def test_count_plan_last(_tree):
    assert counted("ok 1 /a\nok 2 /b\n1..2\n").counts() == (2, 0, 0)


def test_count_crash(_tree):
    assert counted("1..3\nok 1 /a\n", False).counts() == (1, 1, 0)
    assert counted("1..3\nok 1 /a\n", True).counts() == (1, 1, 0)
    assert counted("1..1\nok 1 /a\n", False).counts() == (1, 1, 0)
    assert counted("no such file\n", False).counts() == (0, 1, 0)


def test_count_failed_once(_tree):
    assert counted("1..1\nnot ok 1 /a\n", False).counts() == (0, 1, 0)


def test_count_skip_all(_tree):
    results = counted("1..0 # SKIP no /dev/kvm\n")
    assert results.counts() == (0, 0, 1)
    assert results.skipped == ["stage: program: no /dev/kvm"]


def test_install_deps_refuses(_tree):
    script = os.path.join(TOP, "scripts/install-deps")
    for arg in ("nonsense", "--nonsense"):
        done = subprocess.run([script, arg], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 2, done.returncode
        assert arg in done.stderr, done.stderr


def test_configure_refuses(tree):
    script = os.path.join(TOP, "configure")
    tree.write("full/precious", "x")
    for arg, says in (("--nonsense", "--nonsense"), ("--cc=", "--cc="),
                      (f"--builddir={tree.top}/full", "no build directory")):
        done = subprocess.run([script, arg], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 1, done.returncode
        assert says in done.stderr, done.stderr
    assert os.path.exists(os.path.join(tree.top, "full/precious"))


def libvirt_setup(tree, *args):
    return subprocess.run(
        [os.path.join(TOP, "scripts/libvirt-setup"), "--root", tree.top,
         *args], capture_output=True, text=True, check=False)


def files_of(tree, *folders):
    found = {}
    for folder in folders:
        for root, _, names in os.walk(os.path.join(tree.top, folder)):
            for name in names:
                path = os.path.join(root, name)
                with open(path, encoding="utf-8") as f:
                    found[os.path.relpath(path, tree.top)] = f.read()
    return found


def test_libvirt_setup_and_undo(tree):
    """What it changes is there once however often it is run, and --undo
    leaves what was there."""
    tree.write("etc/libvirt/qemu.conf", '# user = "x"\nuser = "root"\n')
    tree.write("etc/apparmor.d/usr.sbin.libvirtd", "x\n")
    before = files_of(tree, "etc")
    swap = os.path.join(tree.top, "srv/swap")
    args = ("--swap-dir", "/srv/swap", "--emulator", "/opt/vm")
    done = libvirt_setup(tree, *args)
    assert done.returncode == 0, done.stderr
    after = files_of(tree, "etc")
    conf = after["etc/libvirt/qemu.conf"]
    assert conf.startswith(before["etc/libvirt/qemu.conf"])
    assert '"/dev/userfaultfd" ]' in conf and '"/dev/kvm"' in conf, conf
    assert 'KERNEL=="userfaultfd"' in after[
        "etc/udev/rules.d/70-vmemdirect.rules"]
    profile = after["etc/apparmor.d/local/abstractions/libvirt-qemu"]
    for line in ("/dev/userfaultfd rw,", "/srv/swap/** rwk,", "/opt/vm rmix,"):
        assert line in profile, profile
    assert os.stat(swap).st_mode & 0o777 == 0o700
    assert libvirt_setup(tree, *args).returncode == 0
    assert files_of(tree, "etc") == after
    assert libvirt_setup(tree, "--undo", *args).returncode == 0
    assert files_of(tree, "etc") == before
    assert not os.path.exists(swap)
    assert libvirt_setup(tree, "--undo", *args).returncode == 0


def test_libvirt_setup_refuses(tree):
    """A list that somebody wrote is not overruled; nothing is changed."""
    tree.write("etc/libvirt/qemu.conf",
               'cgroup_device_acl = [\n  "/dev/null", "/dev/kvm"\n]\n')
    before = files_of(tree, "etc")
    done = libvirt_setup(tree)
    assert done.returncode == 1 and "/dev/userfaultfd" in done.stderr, \
        done.stderr
    assert files_of(tree, "etc") == before
    assert libvirt_setup(tree, "--swap-dir", "x").returncode == 2
    tree.write("etc/libvirt/qemu.conf",
               'cgroup_device_acl = [\n  "/dev/userfaultfd"\n]\n')
    assert libvirt_setup(tree).returncode == 0


def main():
    tests = [(name, function) for name, function in globals().items()
             if name.startswith("test_")]
    print(f"1..{len(tests)}", flush=True)
    for number, (name, function) in enumerate(tests, 1):
        tree = Tree()
        try:
            function(tree)
            print(f"ok {number} - {name}", flush=True)
        except AssertionError as e:
            print(f"not ok {number} - {name}", flush=True)
            for line in str(e).splitlines():
                print("# " + line)
        finally:
            tree.holder.cleanup()


sys.dont_write_bytecode = True
main()
