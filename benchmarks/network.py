"""Question: what does a message cost a server on each loop, and beside plain C?

Echo servers (servers.py, and floor.c without Python) on one processor, the load
(load.c; tls.py for TLS) on another. The figure that is compared is the server's CPU
time per message, from the kernel's accounts of its threads; it holds still where
messages per second move with the load generator.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tls
from benchmarks.compare import (
    Case,
    Choice,
    Figures,
    budget_table,
    busy,
    interleave,
    rate_table,
)
from benchmarks.processes import (
    LOAD_CORE,
    PYTHON,
    build,
    output,
    peak_memory,
    server,
)

EPOLL, RING = "floor epoll", "floor ring"
SLACK_SECONDS = 20.0  # for connecting, warming up and settling


@dataclass(frozen=True)
class Load(Case):
    """A row: which server, which load."""

    kind: str = "protocol"
    mode: str = "echo"
    connections: int = 50
    size: int = 1024
    figure: str = "cpu_ns"


BOTH, ONE = (EPOLL, RING), (EPOLL,)
K100, BUFFERED = 100 * 1024, "buffered"
CASES = [
    Load("protocol-50-1k", "Protocol, 50 x 1 KiB", 0.93, 1.05, BOTH),
    Load("protocol-1-1k", "Protocol, 1 x 1 KiB", 1.0, None, BOTH, connections=1),
    Load("protocol-50-64", "Protocol, 50 x 64 B", floors=BOTH, size=64),
    Load("protocol-50-100k", "Protocol, 50 x 100 KiB", 0.92, floors=BOTH, size=K100),
    Load("protocol-1000-1k", "Protocol, 1000 x 1 KiB", floors=BOTH, connections=1000),
    Load("buffered-50-1k", "BufferedProtocol, 50 x 1 KiB", 0.93, kind=BUFFERED),
    Load(
        "buffered-50-100k", "BufferedProtocol, 50 x 100 KiB", kind="buffered", size=K100
    ),
    Load("streams-50-1k", "streams, 50 x 1 KiB", 0.66, kind="streams"),
    Load("sock-50-1k", "sock_recv, sock_sendall, 50 x 1 KiB", 0.55, kind="sock"),
    Load("churn", "short connections, 64 B", 0.95, floors=BOTH, mode="churn", size=64),
    Load("unix-50-1k", "Unix socket, 50 x 1 KiB", floors=ONE, kind="unix"),
    Load("udp-50-1k", "UDP, 50 x 1 KiB", floors=ONE, kind="udp", mode="udp"),
    Load("tls-50-1k", "TLS, 50 x 1 KiB", kind="tls", mode="tls"),
    Load(
        "broadcast-1000",
        "broadcast to 1000, 64 B, each",
        kind="broadcast",
        mode="broadcast",
        connections=1000,
        size=64,
    ),
    Load(
        "idle-10000",
        "10 000 idle connections, bytes each",
        mode="idle",
        connections=9_500,
        size=64,
        figure="bytes",
    ),
]


def server_command(folder: str, case: Load, name: str) -> list[str]:
    """How to start one contender's server."""
    path = []
    if case.kind == "unix":
        path = [str(Path(folder, "socket"))]
        Path(path[0]).unlink(missing_ok=True)
    if case.kind == "tls":
        path = [folder]
    if name in BOTH:
        kind = "udp" if case.kind == "udp" else "stream"
        return [str(Path(folder, "floor")), name.split()[1], kind, *path]
    return [*PYTHON, "benchmarks.servers", name, case.kind, *path]


def run_load(folder: str, case: Load, name: str, seconds: float) -> Figures:
    """One contender, one run."""
    program = [str(Path(folder, "load")), case.mode]
    if case.mode == "tls":
        program = [*PYTHON, "benchmarks.tls"]
    with server(server_command(folder, case, name)) as running:
        what = [str(case.connections), str(case.size), f"{seconds}s", str(running.pid)]
        command = [*program, running.address, *what]
        figures: Figures = json.loads(
            output(command, LOAD_CORE, seconds + SLACK_SECONDS)
        )
        figures["rss_bytes"] = peak_memory(running.pid)
    return figures


def report(quick: bool, choice: Choice) -> str:
    """CPU per message with budgets, bytes per connection, then rates as Markdown."""
    rounds = choice.rounds or (3 if quick else 5)
    seconds = choice.seconds or (0.25 if quick else 0.4)
    cases = choice.select(CASES)
    with tempfile.TemporaryDirectory() as folder:
        build(folder, "floor", "load")
        if any(case.key.startswith("tls") for case in cases):
            tls.make_certificate(folder)

        def run(case: Case, name: str) -> Figures:
            assert isinstance(case, Load)
            return run_load(folder, case, name, seconds)

        outcomes = interleave(cases, choice.loop_names(), rounds, run)
    choice.outcomes += outcomes
    text = []
    for figure, title in (
        ("cpu_ns", "CPU time of the server per message, ns:"),
        ("bytes", "Resident memory of the server per connection, bytes:"),
    ):
        some = [o for o in outcomes if getattr(o.case, "figure", "") == figure]
        if some:
            text += [title, "", budget_table(some, figure), ""]
    rated = [o for o in outcomes if getattr(o.case, "figure", "") == "cpu_ns"]
    if rated:
        text += ["Messages per second, and the 99th percentile of the wait:", ""]
        text += [rate_table(rated), "", busy(rated)]
    return "\n".join(["## Servers", "", *text]).rstrip()
