"""What the figures of a row say: which is compared, who is ours, who is best.

Used by plots.py and summary.py. A contender that failed in a row, or has not the
figure, is no peer there. Nothing here draws, measures or reads files.
"""

from __future__ import annotations

import re
import statistics
from typing import NamedTuple

from benchmarks.compare import FLOOR, Outcome
from benchmarks.loops import OURS

COMPARED_BY = ("cpu_ns", "ns", "bytes")  # the figure of a row that is compared
PEERS = re.compile(
    r"os\.|open\(\)|aiofiles?\b|caio|anyio|asyncio|one after|separate|fio|nginx|uvloop"
)


class Ratio(NamedTuple):
    """Ours ÷ the best peer, its quartiles over the rounds, the peer and the goal."""

    title: str
    ratio: float
    low: float
    high: float
    peer: str
    goal: float | None = None


def compared_by(outcome: Outcome) -> str | None:
    """Which figure of a row is compared."""
    return next((key for key in COMPARED_BY if with_figure(outcome, key)), None)


def with_figure(outcome: Outcome, key: str) -> list[str]:
    """The contenders that have this figure."""
    return [
        name
        for name, rounds in outcome.rounds.items()
        if name not in outcome.failures and rounds and all(key in f for f in rounds)
    ]


def kind_of(name: str) -> str:
    """Ours, peer or floor, of a contender in a comparison of loops."""
    if name == OURS:
        return "ours"
    return "floor" if name.startswith(FLOOR) else "peer"


def ratio_of(outcome: Outcome, key: str | None = None) -> Ratio | None:
    """Ours against the best peer, if both finished; by the figure that is compared."""
    key = key or compared_by(outcome)
    if key is None:
        return None
    if said := getattr(outcome, "ratios_said", {}).get(key):
        return said  # what was measured round by round, and only that was kept
    names = with_figure(outcome, key)
    known = Outcome(outcome.case, {n: outcome.rounds[n] for n in names}, {})
    peer = known.best(key)
    found = known.ratios(peer, key)
    if not found or peer is None:
        return None
    quarter = len(found) // 4
    quartiles = found[quarter], found[-1 - quarter]
    case = outcome.case
    return Ratio(case.title, statistics.median(found), *quartiles, peer, case.peer)


def median_of(outcome: Outcome, name: str) -> float | None:
    """The figure that is compared, of one contender."""
    key = compared_by(outcome)
    if key is None or name not in with_figure(outcome, key):
        return None
    return outcome.figure(name, key)


def verdict(ratio: Ratio | None) -> str:
    """Under a panel's title."""
    if ratio is None:
        return ""
    word = "best peer" if ratio.ratio <= 1 else "better peer"
    return f"{ratio.ratio:.2f} x {ratio.peer}, the {word}"


def is_ours(name: str) -> bool:
    """Of a contender in the tables about files, where ours has many names."""
    return not PEERS.match(name)
