"""Question: how fast is syslet_loop.web, as a server of files and of small answers?

The same file and the same 13 bytes from servers on one processor, asked for by 50
connections of wrk on another. What is compared is the server's CPU time per request;
aiohttp and uvicorn run on uvloop. A peer that is missing is left out.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import http
from benchmarks.compare import (
    Case,
    Choice,
    Figures,
    Outcome,
    budget_table,
    busy,
    interleave,
    rate_table,
)
from benchmarks.loops import OURS
from benchmarks.processes import PYTHON

FILE_BYTES = 102_400


@dataclass(frozen=True)
class Row(Case):
    """A case with its own contenders; `path` is what is asked for."""

    names: tuple[str, ...] = ()
    path: str = "/"


CASES = [
    Row("web-hello", "web, 13 bytes", names=("aiohttp", "uvicorn"), path="/"),
    Row("web-static-aiohttp", "web, 100 KiB", 0.5, names=("aiohttp",), path="/files/f"),
    Row(
        "web-static-nginx",
        "web, 100 KiB, nginx",
        1.3,
        names=("nginx",),
        path="/files/f",
    ),
]
KINDS = {OURS: "web", "aiohttp": "aiohttp", "uvicorn": "uvicorn"}


def is_installed(name: str) -> bool:
    """Whether a peer can be measured here."""
    if name == "nginx":
        return shutil.which("nginx") is not None
    return importlib.util.find_spec(name) is not None


def command(name: str, folder: str) -> list[str]:
    """What starts a server."""
    if name == "nginx":
        return [*PYTHON, "benchmarks.nginx", folder]
    has_uvloop = importlib.util.find_spec("uvloop") is not None
    loop = OURS if name == OURS else "uvloop" if has_uvloop else "asyncio"
    return [*PYTHON, "benchmarks.servers", loop, KINDS[name], folder]


def measure(row: Row, choice: Choice, rounds: int, seconds: int) -> list[Outcome]:
    """One row, with the contenders that are here; ours is the last."""
    names = [name for name in row.names if is_installed(name)]
    if not names or not is_installed("httptools"):
        return []
    names = [n for n in [*names, OURS] if not choice.loops or n in choice.loops]
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base, "served")
        folder.mkdir()
        (folder / "f").write_bytes(bytes(range(256)) * (FILE_BYTES // 256))

        def run(case: Case, name: str) -> Figures:
            return http.load(command(name, str(folder)), row.path, seconds)

        return interleave([row], names, rounds, run)


def report(quick: bool, choice: Choice) -> str:
    """CPU per request, requests per second, how long clients waited."""
    head = "## syslet_loop.web\n\n"
    if not shutil.which("wrk"):
        return head + "Not measured: wrk is not installed."
    rounds = choice.rounds or (2 if quick else 5)
    seconds = max(1, round(choice.seconds or (1 if quick else 2)))
    outcomes: list[Outcome] = []
    for row in choice.select(CASES):
        assert isinstance(row, Row)
        outcomes += measure(row, choice, rounds, seconds)
    choice.outcomes += outcomes
    text = [
        "CPU time of the server per request, ns; aiohttp and uvicorn on uvloop, nginx",
        "with one process:",
        "",
        budget_table(outcomes, "cpu_ns"),
        "",
        "Requests per second, and the median and the 99th percentile of the wait:",
        "",
        rate_table(outcomes),
        "",
        busy(outcomes),
    ]
    return head + "\n".join(text).rstrip()
