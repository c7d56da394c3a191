"""The one runner: `python -m benchmarks.run [--quick] [--only NAME] [--write FILE]`.

Prints every benchmark's table; with --write also stores them as the section of this
Python version in the given Markdown file, leaving other versions' sections alone.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import re
import sys
from pathlib import Path

NAMES = ("interpreter", "files", "chain", "drawing")

HEAD = """# Benchmarks

Written by `make bench`; every table is one interleaved run, medians and ratios of
rounds. Absolute times belong to the machine and the minute they were measured in: only
the ratios inside one table mean something. `speed` above 1 is faster than the base.
"""


def machine() -> str:
    """What the numbers were measured on."""
    import os

    import syslet_loop

    return (
        f"Python {platform.python_version()}, Linux {platform.release()}, "
        f"{os.cpu_count()} CPUs, syslet_loop {syslet_loop.__version__}."
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


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--only", choices=NAMES, action="append")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    parts = [machine()]
    for name in options.only or NAMES:
        print(f"… {name}", file=sys.stderr)
        part = importlib.import_module(f"benchmarks.{name}").report(options.quick)
        print(part, end="\n\n", flush=True)
        parts.append(part)
    if options.write:
        store(options.write, "\n\n".join(parts))


if __name__ == "__main__":
    main()
