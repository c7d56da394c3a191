"""The one runner: `python -m benchmarks.run [--only NAME,...] [--rows ROW,...] ...`.

Prints every benchmark's table; --write FILE also stores them as the section of this
Python version in the given Markdown file, leaving other versions' sections alone, and
--json FILE has the figures of every round. A row is named by the beginning of its key:
`--only network --rows protocol-50-1k,streams --loops ours,blazio`; --list has the keys.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import sys
from pathlib import Path

import syslet_loop
from benchmarks import compare
from benchmarks.loops import versions

NAMES = ("interpreter", "files", "chain", "drawing")
COMPARED = ("network", "scheduling")  # loops, row by row

HEAD = """# Benchmarks

Written by `make bench`; every table is one interleaved run, medians and ratios of
rounds. Absolute times belong to the machine and the minute they were measured in: only
the ratios inside one table mean something. `speed` above 1 is faster than the base.
"""


def machine() -> str:
    """What the numbers were measured on."""
    return (
        f"Python {platform.python_version()}, Linux {platform.release()}, "
        f"{os.cpu_count()} CPUs, syslet_loop {syslet_loop.__version__}. {versions()}"
    )


def store(file: Path, text: str) -> None:
    """Replace this Python version's part of the file, or append it."""
    version = ".".join(platform.python_version_tuple()[:2])
    begin, end = f"<!-- python {version} -->", f"<!-- end {version} -->"
    whole = file.read_text() if file.exists() else HEAD
    section = f"{begin}\n\n# Python {version}\n\n{text}\n\n{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    if pattern.search(whole):
        whole = pattern.sub(lambda _: section, whole)
    else:
        whole = f"{whole.rstrip()}\n\n{section}\n"
    file.write_text(whole)


def parse() -> argparse.Namespace:
    """The command line; lists are separated by commas."""

    def several(text: str) -> list[str]:
        return text.split(",")

    def benchmarks(text: str) -> list[str]:
        if unknown := set(several(text)) - {*NAMES, *COMPARED}:
            raise argparse.ArgumentTypeError(f"no such benchmark: {unknown.pop()}")
        return several(text)

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--only", type=benchmarks, default=[*NAMES, *COMPARED])
    parser.add_argument("--rows", type=several, default=[], help="of those compared")
    parser.add_argument("--loops", type=several, default=[], help="contenders")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one run in one round")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--list", action="store_true", help="the keys of the rows")
    return parser.parse_args()


def main() -> None:
    """Run what was asked for."""
    options = parse()
    modules = {n: importlib.import_module(f"benchmarks.{n}") for n in options.only}
    keys = {n: [c.key for c in modules[n].CASES] for n in modules if n in COMPARED}
    if options.list:
        for name, rows in keys.items():
            print(f"{name}: {' '.join(rows)}")
        return
    compare.check_rows(options.rows, keys)
    choice = compare.Choice(
        options.rows, options.loops, options.rounds, options.seconds
    )
    parts = [machine()]
    for name, module in modules.items():
        print(f"… {name}", file=sys.stderr)
        extra = [choice] if name in COMPARED else []
        part = module.report(options.quick, *extra)
        print(part, end="\n\n", flush=True)
        parts.append(part)
    if options.write:
        store(options.write, "\n\n".join(parts))
    if options.json:
        whole = {"machine": machine(), "rows": compare.as_json(choice.outcomes)}
        options.json.write_text(json.dumps(whole, indent=1))


if __name__ == "__main__":
    main()
