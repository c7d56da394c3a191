"""Question: how much more do two workers of syslet_loop.serve answer than one?

`python -m benchmarks.workers COUNT FOLDER` serves with that many processes at a free
port of 127.0.0.1, prints a line with the port and ends with its standard input.
Everything else here measures that, with 50 connections of wrk, which takes its
processor time from the same machine. An answer that takes Python a millisecond leaves
wrk next to nothing to do, so that row shows the workers; the others show what the
machine can do with server and load together.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import http
from benchmarks.measure import bar, progress
from benchmarks.processes import CORES, PYTHON, account, output, server

COUNTS = (1, 2)
FILE_BYTES = 102_400
ROWS = {"/": "13 bytes", "/files/f": "100 KiB, static", "/work": "1 ms of Python"}
DOCUMENT = json.dumps([{"id": n, "name": f"n{n}", "tags": ["a"]} for n in range(2400)])
Runs = dict[tuple[str, int], list[dict[str, float]]]


def application(folder: str) -> Any:
    """What each worker serves."""
    from syslet_loop import web

    async def hello(request: Any) -> Any:
        return web.Response(body=b"Hello, world!")

    async def work(request: Any) -> Any:
        return web.Response(text=str(len(json.loads(DOCUMENT))))

    app = web.Application()
    app.add_routes([web.get("/", hello), web.get("/work", work)])
    app.router.add_static("/files", folder)
    return app


def serve(count: int, folder: str) -> None:
    """Until standard input ends."""
    import syslet_loop

    def end_with_input() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    def ready(port: int) -> None:
        threading.Thread(target=end_with_input, daemon=True).start()
        print(port, flush=True)

    make: Callable[[], Any] = lambda: application(folder)  # noqa: E731
    syslet_loop.serve(make, workers=count, port=0, ready=ready)


def children(pid: int) -> list[int]:
    """The workers of a parent."""
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def ran_ns(pids: list[int]) -> int:
    """The processor time that these processes have had."""
    return sum(account(pid).ran for pid in pids)


def load(count: int, path: str, folder: str, seconds: int) -> dict[str, float]:
    """One run: what wrk says, and the workers' processor time per request."""
    start = [*PYTHON, "benchmarks.workers", str(count), folder]
    with server(start, None) as running:
        url = f"http://127.0.0.1:{running.address}{path}"
        wrk = ["wrk", "--threads", "1", "--connections", "50", "--latency"]
        output([*wrk, "--duration", "1", url], None, http.SLACK_SECONDS)
        pids = children(running.pid)
        before = ran_ns(pids)
        command = [*wrk, "--duration", str(seconds), url]
        found = http.parse(output(command, None, seconds + http.SLACK_SECONDS))
        found["cpu_ns"] = (ran_ns(pids) - before) / found["messages"]
    found["rate"] = found["messages"] / found["seconds"]
    return found


def measure(rounds: int, seconds: int) -> Runs:
    """Every row with every count, in turn."""
    runs: Runs = {(path, count): [] for path in ROWS for count in COUNTS}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "f").write_bytes(bytes(range(256)) * (FILE_BYTES // 256))
        for turn in range(rounds):
            for number, (path, count) in enumerate(runs):
                done = turn * len(runs) + number
                bar(done, rounds * len(runs), f"{ROWS[path]}, workers: {count}")
                runs[path, count].append(load(count, path, folder, seconds))
    progress("")
    return runs


def table(runs: Runs) -> str:
    """A line for each row: medians, and the median of the rounds' ratios."""
    lines = [
        "| answer | 1 worker | 2 workers | times the requests | times the CPU each |",
        "|---|---|---|---|---|",
    ]
    for path, title in ROWS.items():
        cells = []
        for count in COUNTS:
            some = runs[path, count]
            rate, cpu, p99 = (
                statistics.median(found[key] for found in some)
                for key in ("rate", "cpu_ns", "p99_us")
            )
            cells.append(
                f"{rate:.0f}/s, {cpu / 1e3:.1f} µs CPU, p99 {p99 / 1e3:.1f} ms"
            )
        pairs = [*zip(runs[path, 1], runs[path, 2], strict=True)]
        for key in ("rate", "cpu_ns"):
            ratio = statistics.median(two[key] / one[key] for one, two in pairs)
            cells.append(f"{ratio:.2f}")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def report(quick: bool) -> str:
    """The table, or why there is none."""
    head = "## Workers\n\n"
    if not shutil.which("wrk"):
        return head + "Not measured: wrk is not installed."
    if len(CORES) < 2:
        return head + "Not measured: there is one processor."
    said = (
        f"syslet_loop.serve, 50 connections of wrk on the same {len(CORES)} "
        "processors:\n\n"
    )
    return head + said + table(measure(1 if quick else 5, 1 if quick else 3))


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
