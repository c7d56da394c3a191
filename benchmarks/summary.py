"""The README's tables: `python -m benchmarks.summary`, which `make plots` calls.

Fills the part of README.md between two comments with rows of the newest Python version
that was stored: those of the loop that most programs meet, the rows in which a peer is
furthest ahead of ours, and small files. Everything else is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks import stored
from benchmarks.compare import Outcome
from benchmarks.loops import MODULES, NOT_PEERS, OURS
from benchmarks.stored import Stored, Table
from benchmarks.verdicts import is_ours, median_of, ratio_of

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"(<!-- numbers -->\n).*?(<!-- end numbers -->)", re.S)
ROWS = (
    "Protocol, 50 x 1 KiB",
    "streams, 50 x 1 KiB",
    "TLS, 50 x 1 KiB",
    "aiohttp, hello",
    "uvicorn with httptools, hello",
    "call_soon, one to a turn",
    "tasks (gather of sleep(0))",
    "run_in_executor round trip",
)
WORST = 2  # rows that are added because a peer is ahead there


def loops_table(data: Stored) -> list[str]:
    """CPU time by loop, and ours against the best of the others."""
    by_title = {outcome.case.title: outcome for outcome in data.outcomes}
    chosen = [by_title[title] for title in ROWS if title in by_title]
    found = [(ratio.ratio, o) for o in data.outcomes if (ratio := ratio_of(o))]
    lost = sorted((pair for pair in found if pair[0] > 1), key=lambda pair: -pair[0])
    peers = MODULES.keys() - {*NOT_PEERS}
    of_loops = [outcome for _, outcome in lost if outcome.rounds.keys() & peers]
    chosen += [outcome for outcome in of_loops[:WORST] if outcome not in chosen]
    names = [n for n in MODULES if any(n in o.rounds for o in chosen)]
    names = [n for n in names if n not in NOT_PEERS] + [OURS]
    head = ["CPU time, µs", *names, "ours ÷ best peer"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for outcome in chosen:
        cells = [_microseconds(outcome, name) for name in names]
        ratio = ratio_of(outcome)
        verdict = f"{ratio.ratio:.2f}" if ratio else "-"
        lines.append(f"| {' | '.join([outcome.case.title, *cells, verdict])} |")
    behind = f"A peer is ahead in {len(lost)} of {len(found)} rows."
    return [*lines, "", behind] if chosen else []


def _microseconds(outcome: Outcome, name: str) -> str:
    value = median_of(outcome, name)
    return "-" if value is None else f"{value / 1e3:.3g}"


def files_table(tables: Sequence[Table]) -> list[str]:
    """Microseconds per small file, from the page cache and from the disk."""
    wanted = {"1000 small files, cached": "cached", "After drop_caches": "cold"}
    found = {wanted[t.title]: dict(_cells(t)) for t in tables if t.title in wanted}
    if "cached" not in found:
        return []
    names = list(dict.fromkeys(name for cells in found.values() for name in cells))
    head = ["1000 small files, µs each", *found]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * len(found)]
    for name in names:
        cells = [found[kind].get(name, "-") for kind in found]
        shown = f"**{name}**" if is_ours(name) else name
        lines.append(f"| {' | '.join([shown, *cells])} |")
    return lines


def _cells(table: Table) -> list[tuple[str, str]]:
    return [(row[0], f"{float(row[1]) / 1e3:.3g}") for row in table.rows]


def newest(every: Sequence[Stored]) -> Stored:
    """Of the highest Python version."""
    return max(every, key=lambda data: [int(n) for n in data.version.split(".")])


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options = parser.parse_args()
    data = newest(stored.load(options.folder))
    files = files_table(data.tables("Whole files"))
    machine = textwrap.fill(data.machine, 88)
    parts = [loops_table(data), files, [machine]]
    text = "\n\n".join("\n".join(part) for part in parts if part)
    readme = options.readme.read_text()
    if not PLACE.search(readme):
        parser.error(f"{options.readme} has no place for numbers")
    filled = PLACE.sub(lambda place: f"{place[1]}\n{text}\n\n{place[2]}", readme)
    options.readme.write_text(filled)


if __name__ == "__main__":
    main()
