"""Question: what does the C interpreter add to plain system calls? See interpreter.c.

Builds that program with the machine's compiler and the engine's sources, runs it, and
reports the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(folder: str) -> str:
    """The benchmark program; raises CalledProcessError if it does not compile."""
    program = str(Path(folder, "interpreter"))
    sources = [str(path) for path in sorted(ROOT.glob("native/engine/*.c"))]
    here = str(ROOT / "benchmarks" / "interpreter.c")
    include = f"-I{ROOT / 'native' / 'engine'}"
    options = ["-std=gnu11", "-O2", "-flto", "-DNDEBUG", include]  # as in setup.py
    subprocess.run(
        ["cc", *options, here, *sources, "-o", program, "-lpthread"], check=True
    )
    return program


def report(quick: bool) -> str:
    """Overhead in per cent as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        program = build(folder)
        file = Path(folder, "file")
        file.write_bytes(b"x" * 3000)
        rounds = "5" if quick else "41"
        output = subprocess.run(
            [program, str(file), rounds], check=True, capture_output=True, text=True
        ).stdout
    pairs = [tuple(map(float, line.split())) for line in output.splitlines()][1:]
    ratio = statistics.median(engine / plain for plain, engine in pairs)
    plain = statistics.median(pair[0] for pair in pairs)
    engine = statistics.median(pair[1] for pair in pairs)
    return "\n".join(
        [
            "## The interpreter in C",
            "",
            "open, read, close of one cached file of 3000 bytes, no Python.",
            "",
            "| plain calls, ns | plan of three atoms, ns | overhead |",
            "|---|---|---|",
            f"| {plain:.0f} | {engine:.0f} | {(ratio - 1) * 100:.1f} % |",
        ]
    )
