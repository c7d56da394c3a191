"""Question: how much of an HTTP server's time does the loop save?

aiohttp and uvicorn answer the same 13 bytes (servers.py) to 50 connections of wrk. The
figure that is compared is the server's CPU time per request.
"""

from __future__ import annotations

import importlib.util
import re
import shutil

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
    account,
    output,
    peak_memory,
    server,
)

CASES = [
    Case("aiohttp", "aiohttp, hello"),
    Case("uvicorn", "uvicorn with httptools, hello"),
]
SLACK_SECONDS = 10
UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


def parse(text: str) -> Figures:
    """What wrk says: requests, seconds, the median and the 99th percentile."""
    total = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text)
    p50, p99 = (
        re.search(rf"^\s*{part}%\s+([\d.]+)(us|ms|s)\b", text, re.M)
        for part in (50, 99)
    )
    if not total or not p50 or not p99 or "Non-2xx" in text:
        raise RuntimeError(f"wrk: {text.strip().splitlines()[-1]}")
    return {
        "messages": float(total[1]),
        "seconds": float(total[2]) * UNITS[total[3]] / 1e6,
        "p50_us": float(p50[1]) * UNITS[p50[2]],
        "p99_us": float(p99[1]) * UNITS[p99[2]],
    }


def run(case: Case, name: str, seconds: int) -> Figures:
    """One contender, one run."""
    return load([*PYTHON, "benchmarks.servers", name, case.key], "/", seconds)


def load(start: list[str], path: str, seconds: int) -> Figures:
    """A server that this command starts, after a second of warming up."""
    with server(start) as running:
        url = f"http://127.0.0.1:{running.address}{path}"
        wrk = ["wrk", "--threads", "1", "--connections", "50", "--latency"]
        output([*wrk, "--duration", "1", url], LOAD_CORE, SLACK_SECONDS)
        before = account(running.pid)
        command = [*wrk, "--duration", str(seconds), url]
        figures = parse(output(command, LOAD_CORE, seconds + SLACK_SECONDS))
        after = account(running.pid)
        figures["rss_bytes"] = peak_memory(running.pid)
    figures["cpu_ns"] = (after.ran - before.ran) / figures["messages"]
    figures["waited"] = (after.waited - before.waited) / 1e9 / figures["seconds"]
    return figures


def report(quick: bool, choice: Choice) -> str:
    """CPU per request, requests per second and the slowest of a hundred."""
    head = "## HTTP\n\n"
    if not shutil.which("wrk"):
        return head + "Not measured: wrk is not installed."
    cases = [c for c in choice.select(CASES) if importlib.util.find_spec(c.key)]
    rounds = choice.rounds or (2 if quick else 5)
    seconds = max(1, round(choice.seconds or (1 if quick else 2)))
    outcomes = interleave(
        cases, choice.loop_names(), rounds, lambda case, name: run(case, name, seconds)
    )
    choice.outcomes += outcomes
    text = [
        "CPU time of the server per request, ns:",
        "",
        budget_table(outcomes, "cpu_ns"),
    ]
    text += ["", "Requests per second; median and 99th percentile of the wait:", ""]
    text += [rate_table(outcomes), "", busy(outcomes)]
    return head + "\n".join(text).rstrip()
