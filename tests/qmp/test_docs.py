#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
docs/qmp.md says what the tables say, both ways.

usage: test_docs.py PATH-OF-dump-schema PATH-OF-qmp.md

In the page a command is "### `name`" below "## Commands", an event the same
below "## Events"; an argument or member is a line "- `name` (type)" or
"- `name` (type, optional)". Lines of what a command returns begin "  - ".
"""
import re
import subprocess
import sys


def from_tables(program):
    found, current = {}, None
    output = subprocess.run([program], check=True, capture_output=True,
                            text=True).stdout
    for line in output.splitlines():
        word, name, *rest = line.split()
        if word in ("command", "event"):
            current = found[f"{word} {name}"] = {}
        else:
            current[name] = ", ".join(rest)
    return found


def from_page(path):
    found, kind, current = {}, None, None
    for line in open(path, encoding="utf-8"):
        if line.startswith("## "):
            kind = {"## Commands": "command", "## Events": "event"}.get(
                line.strip())
        heading = re.match(r"### `(.*)`$", line)
        argument = re.match(r"- `(.*?)` \((.*?)\)", line)
        if heading and kind:
            current = found[f"{kind} {heading[1]}"] = {}
        elif argument and kind:
            current[argument[1]] = argument[2].replace("\\|", "|")
    return found


def differences(tables, page):
    for name in sorted(set(tables) | set(page)):
        if name not in page:
            yield f"{name} has no section"
        elif name not in tables:
            yield f"there is no {name}"
        elif tables[name] != page[name]:
            yield f"{name}: tables say {tables[name]}, page {page[name]}"


def main():
    problems = list(differences(from_tables(sys.argv[1]),
                                from_page(sys.argv[2])))
    print("1..1")
    for text in problems:
        print(f"# docs/qmp.md: {text}")
    print("not ok 1 docs" if problems else "ok 1 docs")
    sys.exit(1 if problems else 0)


main()
