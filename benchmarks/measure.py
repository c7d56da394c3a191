"""Interleaved timing: every contender once per round, medians and ratios over rounds.

Timings on shared machines drift; what survives is the ratio of two contenders measured
in the same round. Used by every benchmark here, by nobody else.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Row:
    """One contender: `run()` does the whole work once and returns nothing."""

    name: str
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    prepare: Callable[[], object] | None = None  # before each run, not timed


@dataclass
class Result:
    """What a contender took per unit of work, and against the base contender.

    `unit_ns` is the median; `speed` is the median over rounds of (base time / this
    time): above 1 means faster than the base. `low` and `high` are its quartiles.
    """

    name: str
    unit_ns: float
    speed: float
    low: float
    high: float


def interleave(rows: Sequence[Row], rounds: int, units: int) -> list[Result]:
    """Run all rows `rounds` times in turn; the first row is the base of the ratios.

    The order is rotated every round, so that no contender always follows the same
    other one. The garbage collector runs between measurements, never inside one.
    """
    for row in rows:  # one run each that does not count
        if row.prepare:
            row.prepare()
        row.run()
    for turn in range(rounds):
        for row in list(rows[turn % len(rows) :]) + list(rows[: turn % len(rows)]):
            if row.prepare:
                row.prepare()
            row.seconds.append(_timed(row.run))
        bar(turn + 1, rounds, rows[0].name)
    progress("")
    base = rows[0].seconds
    return [_result(row, base, units) for row in rows]


def _timed(run: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    run()
    elapsed = time.perf_counter() - start
    gc.enable()
    return elapsed


def _result(row: Row, base: list[float], units: int) -> Result:
    ratios = sorted(b / s for b, s in zip(base, row.seconds, strict=True))
    quarter = len(ratios) // 4
    return Result(
        row.name,
        statistics.median(row.seconds) / units * 1e9,
        statistics.median(ratios),
        ratios[quarter],
        ratios[-1 - quarter],
    )


def progress(text: str) -> None:
    """A line that overwrites itself, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r  {text:70}", end="", file=sys.stderr, flush=True)


def bar(done: int, whole: int, what: str) -> None:
    """How much of a benchmark is done, and which part of it runs."""
    filled = 30 * done // whole
    progress(f"[{'#' * filled}{'.' * (30 - filled)}] {done}/{whole} {what}")


def table(
    results: Sequence[Result], unit: str, budget: dict[str, float] | None = None
) -> str:
    """Results as a Markdown table; times have the noise of the machine they ran on.

    `budget` has the least speed that is wanted of a contender.
    """
    base = results[0].name
    extra = " budget |" if budget else ""
    lines = [
        f"| contender | ns per {unit} | speed against `{base}` | quartiles |{extra}",
        "|---|---|---|---|" + ("---|" if budget else ""),
    ]
    for r in results:
        quartiles = f"{r.low:.2f} to {r.high:.2f}"
        line = f"| {r.name} | {r.unit_ns:.0f} | {r.speed:.2f} | {quartiles} |"
        if budget:
            line += f" {_verdict(r, budget.get(r.name))} |"
        lines.append(line)
    return "\n".join(lines)


def _verdict(result: Result, least: float | None) -> str:
    if least is None:
        return "-"
    return f"≥ {least:g}: {'met' if result.speed >= least else 'NOT met'}"
