"""Loops compared: every contender once per round, budgets against the best peer.

A benchmark gives cases and a function that runs one of them for one contender; this
file interleaves them, keeps what failed apart, and lays out the tables. The first
figure of a case is the one that is compared; less is better.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.loops import BEFORE, NOT_PEERS, OURS, installed
from benchmarks.measure import bar, progress

Figures = dict[str, float]
FLOOR = "floor"
BUSY = 0.05  # the part of the time that is worth a warning


@dataclass(frozen=True)
class Case:
    """One row. `peer` and `floor` are the budget: at most that ratio."""

    key: str
    title: str
    peer: float | None = None
    floor: float | None = None
    floors: tuple[str, ...] = ()


@dataclass
class Choice:
    """What the command line asked for; None means the benchmark's own choice."""

    rows: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    rounds: int | None = None
    seconds: float | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    def loop_names(self) -> list[str]:
        return installed(self.loops)

    def select(self, cases: Sequence[Case]) -> list[Case]:
        """The cases whose key is asked for, or begins with what is asked for."""
        if not self.rows:
            return list(cases)
        return [case for case in cases if case.key.startswith(tuple(self.rows))]


@dataclass
class Outcome:
    """The figures of one case: a list of rounds per contender."""

    case: Case
    rounds: dict[str, list[Figures]]
    failures: dict[str, str]

    def names(self) -> list[str]:
        return list(self.rounds)

    def figure(self, name: str, key: str) -> float | None:
        """The median over the rounds, or None for a contender that failed."""
        if name in self.failures or not self.rounds.get(name):
            return None
        return self.median(name, lambda figures: figures[key])

    def median(self, name: str, of: Callable[[Figures], float]) -> float:
        """The median over the rounds of anything made of the figures."""
        return statistics.median(map(of, self.rounds[name]))

    def best(self, key: str, floor: bool = False) -> str | None:
        """The peer (or the floor) with the least median."""
        medians = {
            name: value
            for name in self.rounds
            if name not in NOT_PEERS and name.startswith(FLOOR) == floor
            if (value := self.figure(name, key)) is not None
        }
        return min(medians, key=medians.__getitem__) if medians else None

    def ratios(self, other: str | None, key: str) -> list[float]:
        """Ours against another contender, round by round, in order of size."""
        if OURS not in self.rounds or other is None or other in self.failures:
            return []
        if OURS in self.failures:
            return []
        pairs = zip(self.rounds[OURS], self.rounds[other], strict=True)
        return sorted(mine[key] / theirs[key] for mine, theirs in pairs if theirs[key])


def interleave(
    cases: Sequence[Case],
    loops: Sequence[str],
    rounds: int,
    run: Callable[[Case, str], Figures],
) -> list[Outcome]:
    """Run every case for every contender, in an order that rotates with the round.

    A contender that fails once in a case is out of that case.
    """
    outcomes = [
        Outcome(case, {name: [] for name in (*case.floors, *loops)}, {})
        for case in cases
    ]
    for number, outcome in enumerate(outcomes):
        names = list(outcome.rounds)
        for turn in range(rounds):
            bar(number * rounds + turn, len(outcomes) * rounds, outcome.case.key)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if name in outcome.failures:
                    continue
                try:
                    outcome.rounds[name].append(run(outcome.case, name))
                except RuntimeError as error:
                    outcome.failures[name] = str(error)
    progress("")
    return outcomes


def busy(outcomes: Sequence[Outcome]) -> str:
    """A warning where the servers were kept from running by other processes."""
    waits = [
        figures["waited"]
        for outcome in outcomes
        for rounds in outcome.rounds.values()
        for figures in rounds
        if "waited" in figures
    ]
    part = statistics.fmean(waits) if waits else 0
    if part < BUSY:
        return ""
    return (
        f"The machine was busy: servers waited for a processor for {part:.0%} of the "
        "time, so rates and waits mean little, and CPU times are too high."
    )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _verdict(ratios: list[float], most: float | None, of: str | None) -> list[str]:
    if most is None:
        return []
    if not ratios:
        return []
    met = statistics.median(ratios) <= most
    return [f"≤ {most:g} x {of}: {'met' if met else 'NOT met'}"]


def _quartiles(ratios: list[float], of: str | None) -> str:
    if not ratios:
        return "-"
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    return f"{statistics.median(ratios):.3f} of {of} ({low:.2f} to {high:.2f})"


def _comparison(outcome: Outcome, key: str) -> list[str]:
    peer, floor = outcome.best(key), outcome.best(key, floor=True)
    ratios, case = outcome.ratios(peer, key), outcome.case
    cells = [_quartiles(ratios, peer)]
    if BEFORE in outcome.rounds:
        cells.append(_quartiles(outcome.ratios(BEFORE, key), BEFORE))
    budget = _verdict(ratios, case.peer, peer)
    budget += _verdict(outcome.ratios(floor, key), case.floor, floor)
    return [*cells, "; ".join(budget) or "-"]


def _columns(outcomes: Sequence[Outcome]) -> list[str]:
    names = {name: None for outcome in outcomes for name in outcome.names()}
    floors = [name for name in names if name.startswith(FLOOR)]
    return floors + [name for name in names if name not in floors]


def budget_table(outcomes: Sequence[Outcome], key: str) -> str:
    """Medians, ours against the best peer, and the budget; then what failed."""
    columns = _columns(outcomes)
    old = ["ours ÷ before"] if BEFORE in columns else []
    head = ["", *columns, "ours ÷ best peer (quartiles)", *old, "budget"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    failed = []
    for outcome in outcomes:
        cells = []
        for name in columns:
            cells.append(_cell(outcome.figure(name, key)))
        line = [outcome.case.title, *cells, *_comparison(outcome, key)]
        lines.append(f"| {' | '.join(line)} |")
        failed += [
            f"- {name}, {outcome.case.title}: {why}"
            for name, why in outcome.failures.items()
        ]
    return "\n".join([*lines, *([""] if failed else []), *failed])


def rate_table(outcomes: Sequence[Outcome]) -> str:
    """Messages per second and the wait: its 99th percentile, the median if known."""
    columns = _columns(outcomes)
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for outcome in outcomes:
        cells = []
        for name in columns:
            p99 = outcome.figure(name, "p99_us")
            if p99 is None:
                cells.append("-")
                continue
            rate = outcome.median(name, lambda f: f["messages"] / f["seconds"])
            waits = f"{p99:.0f} µs"
            if "p50_us" in outcome.rounds[name][0]:
                waits = f"{outcome.figure(name, 'p50_us'):.0f}, {waits}"
            cells.append(f"{rate:.0f}/s, {waits}")
        lines.append(f"| {outcome.case.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_rows(rows: Sequence[str], keys: dict[str, list[str]]) -> list[str]:
    """The benchmarks that have these rows; ends with a message if none has one."""
    known = [key for some in keys.values() for key in some]
    for row in rows:
        if not any(key.startswith(row) for key in known):
            raise SystemExit(f"no row begins with {row}; there are: {' '.join(known)}")
    wanted = tuple(rows)
    return [name for name in keys if any(k.startswith(wanted) for k in keys[name])]


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """Every figure of every round."""
    return [
        {
            "row": o.case.key,
            "title": o.case.title,
            "budget": {"best peer": o.case.peer, "floor": o.case.floor},
            "rounds": o.rounds,
            "failures": o.failures,
        }
        for o in outcomes
    ]
