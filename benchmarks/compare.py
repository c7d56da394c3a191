"""Loops compared: every contender once per round, budgets against the best peer.

A benchmark gives cases and a function that runs one of them for one contender; this
file interleaves them, keeps what failed apart, and lays out the tables. The first
figure of a case is the one that is compared; less is better.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.loops import OURS, installed
from benchmarks.measure import progress

Figures = dict[str, float]
FLOOR = "floor"


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
        if name in self.failures or not self.rounds[name]:
            return None
        return statistics.median(figures[key] for figures in self.rounds[name])

    def best(self, key: str, floor: bool = False) -> str | None:
        """The peer (or the floor) with the least median."""
        medians = {
            name: value
            for name in self.rounds
            if name != OURS and name.startswith(FLOOR) == floor
            if (value := self.figure(name, key)) is not None
        }
        return min(medians, key=medians.__getitem__) if medians else None

    def ratios(self, other: str | None, key: str) -> list[float]:
        """Ours against another contender, round by round, in order of size."""
        if other is None or self.figure(OURS, key) is None:
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
    outcomes = []
    for number, case in enumerate(cases):
        names = [*case.floors, *loops]
        outcome = Outcome(case, {name: [] for name in names}, {})
        for turn in range(rounds):
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                if name in outcome.failures:
                    continue
                progress(
                    f"{number + 1}/{len(cases)} {case.key}, "
                    f"round {turn + 1}/{rounds}, {name}"
                )
                try:
                    outcome.rounds[name].append(run(case, name))
                except RuntimeError as error:
                    outcome.failures[name] = str(error)
        outcomes.append(outcome)
    progress("")
    return outcomes


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _verdict(ratios: list[float], most: float | None, of: str | None) -> list[str]:
    if most is None:
        return []
    if not ratios:
        return [f"≤ {most:g} x {of or 'best peer'}: not measured"]
    met = statistics.median(ratios) <= most
    return [f"≤ {most:g} x {of}: {'met' if met else 'NOT met'}"]


def _comparison(outcome: Outcome, key: str) -> str:
    peer, floor = outcome.best(key), outcome.best(key, floor=True)
    ratios, case = outcome.ratios(peer, key), outcome.case
    if ratios:
        quarter = len(ratios) // 4
        low, high = ratios[quarter], ratios[-1 - quarter]
        middle = statistics.median(ratios)
        cells = f"{middle:.2f} of {peer} | {low:.2f} to {high:.2f}"
    else:
        cells = "- | -"
    budget = _verdict(ratios, case.peer, peer)
    budget += _verdict(outcome.ratios(floor, key), case.floor, floor)
    return f"{cells} | {'; '.join(budget) or '-'}"


def _columns(outcomes: Sequence[Outcome]) -> list[str]:
    names = {name: None for outcome in outcomes for name in outcome.names()}
    floors = [name for name in names if name.startswith(FLOOR)]
    return floors + [name for name in names if name not in floors]


def budget_table(outcomes: Sequence[Outcome], key: str) -> str:
    """Medians, ours against the best peer, and the budget; then what failed."""
    columns = _columns(outcomes)
    head = ["", *columns, "ours ÷ best peer", "quartiles", "budget"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    failed = []
    for outcome in outcomes:
        cells = []
        for name in columns:
            known = name in outcome.rounds
            cells.append(_cell(outcome.figure(name, key) if known else None))
        line = [outcome.case.title, *cells, _comparison(outcome, key)]
        lines.append(f"| {' | '.join(line)} |")
        failed += [
            f"- {name}, {outcome.case.title}: {why}"
            for name, why in outcome.failures.items()
        ]
    return "\n".join([*lines, *([""] if failed else []), *failed])


def plain_table(
    outcomes: Sequence[Outcome], show: Callable[[Outcome, str], str | None]
) -> str:
    """A table of whatever `show` makes of a contender that did not fail."""
    columns = _columns(outcomes)
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for outcome in outcomes:
        cells = []
        for name in columns:
            works = outcome.rounds.get(name) and name not in outcome.failures
            cells.append((show(outcome, name) if works else None) or "-")
        lines.append(f"| {outcome.case.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def check_rows(rows: Sequence[str], keys: dict[str, list[str]]) -> None:
    """End with a message if a row that was asked for begins no key."""
    known = [key for some in keys.values() for key in some]
    for row in rows:
        if not any(key.startswith(row) for key in known):
            raise SystemExit(f"no row begins with {row}; there are: {' '.join(known)}")


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
