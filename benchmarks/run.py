"""The runner: `python -m benchmarks.run [--quick] [--only NAME,...] [--rows ROW,...]`.

Prints every benchmark's table; --write FILE also stores them as the section of this
Python version in the given Markdown file, leaving other versions' sections alone, and
--json FILE, or FOLDER for FOLDER/VERSION.json, has the figures of every round, beside
those of earlier runs of other rows. A row is named by the beginning of its key,
as in `--rows protocol-50-1k,streams --loops ours,blazio`; --list has the keys. --before
FOLDER adds our loop as it is in another checkout, for what a change does.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path

import syslet_loop
from benchmarks import compare, stored
from benchmarks.loops import versions

NAMES = ("interpreter", "files", "bulk", "disk", "chain", "drawing", "workers")
COMPARED = ("network", "scheduling", "http", "web")  # loops, row by row


def machine() -> str:
    """What the numbers were measured on."""
    linux = platform.release().partition("-")[0]
    return (
        f"Python {platform.python_version()}, Linux {linux}, "
        f"{os.cpu_count()} CPUs, syslet_loop {syslet_loop.__version__}. {versions()}"
    )


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
    parser.add_argument("--before", type=Path, help="a checkout that is built")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one run in one round")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--list", action="store_true", help="the keys of the rows")
    options = parser.parse_args()
    if options.write and options.rows:
        parser.error("--write is for whole benchmarks, not for some of their rows")
    return options


def main() -> None:
    """Run what was asked for."""
    options = parse()
    modules = {n: importlib.import_module(f"benchmarks.{n}") for n in options.only}
    keys = {n: [c.key for c in modules[n].CASES] for n in modules if n in COMPARED}
    if options.list:
        for name, rows in keys.items():
            print(f"{name}: {' '.join(rows)}")
        return
    if options.rows:
        modules = {n: modules[n] for n in compare.with_rows(options.rows, keys)}
    if options.before:
        os.environ["BENCH_BEFORE"] = str(options.before.resolve(strict=True))
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
        stored.store_markdown(options.write, parts, stored.version())
    if options.json:
        kept = [] if options.rows else parts[1:]  # no table of some rows only
        stored.store_json(options.json, parts[0], choice.outcomes, kept)


if __name__ == "__main__":
    main()
