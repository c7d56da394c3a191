"""What the runs measured, as files: Markdown for people, JSON for plots, and back.

docs/benchmarks/3.13.json has the machine, every figure of every round of the rows that
compare loops, and the tables of the other benchmarks as they were printed. The runner
writes both, plots.py and summary.py read them. Where there is no JSON the Markdown is
read, which has medians only. Nothing here measures.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.compare import FLOOR, Case, Outcome, as_json
from benchmarks.verdicts import Ratio

PICTURES = "## In pictures"
HEAD = """# Benchmarks

Written by `make bench`; every table is one interleaved run, medians and ratios of
rounds. Absolute times belong to the machine and the minute they were measured in: only
the ratios inside one table mean something. `speed` above 1 is faster than the base.

Where loops are compared, less is better: nanoseconds of the server's CPU time, as the
kernel accounts it, or of an operation. `ours ÷ best peer` is the median of the rounds'
ratios against the peer with the smallest median, and `budget` is the goal for it.
`floor epoll` and `floor ring` are the same server in C. A few rows take seconds:

    python -m benchmarks.run --rows protocol-50-1k,streams --loops ours,blazio
    python -m benchmarks.run --list

Servers run on one processor, their load on another, in processes of their own; the
order of the contenders rotates with each round; a contender that fails or hangs is out
of its row and named under the table. The echo loads compare every byte they get back.
"""
SECTION = re.compile(r"<!-- python ([\d.]+) -->(.*?)<!-- end \1 -->", re.S)
# What the Markdown calls a figure.
FIGURES = {
    "CPU time of the server per message, ns": "cpu_ns",
    "CPU time of the server per request, ns": "cpu_ns",
    "Resident memory of the server per connection, bytes": "bytes",
    "Time per operation, ns": "ns",
}


def version() -> str:
    """Of this Python, as files and sections are named: 3.13."""
    return ".".join(platform.python_version_tuple()[:2])


@dataclass(frozen=True)
class Table:
    """A table of the Markdown: the text above it, its cells, the text below it."""

    above: tuple[str, ...]
    head: list[str]
    rows: list[list[str]]
    below: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The line above it, or the heading."""
        return self.above[-1].lstrip("# ").rstrip(":")


@dataclass
class Stored:
    """Everything that is known about one Python version."""

    version: str
    machine: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    def tables(self, heading: str) -> list[Table]:
        """The tables of one benchmark, by the beginning of its heading."""
        for part in self.parts:
            if part.startswith(f"## {heading}"):
                return list(tables_of(part))
        return []


# Markdown.


def store_markdown(file: Path, parts: list[str], of: str) -> None:
    """Put the parts into a Python version's section, in place of older ones.

    The first part is what the machine was, every other one begins with its heading.
    """
    older = file.read_text() if file.exists() else ""
    first = older.find("<!-- python")
    whole = f"{HEAD}\n{older[first:]}" if first >= 0 else HEAD
    begin, end = f"<!-- python {of} -->", f"<!-- end {of} -->"
    pattern = re.compile(re.escape(begin) + "(.*?)" + re.escape(end), re.S)
    known = pattern.search(whole)
    kept = re.split(r"^(?=## )", known[1], flags=re.M)[1:] if known else []
    merged = {part.split("\n")[0]: part.strip() for part in [*kept, *parts[1:]]}
    pictures = [merged.pop(PICTURES)] if PICTURES in merged else []
    text = "\n\n".join([f"# Python {of}", parts[0], *pictures, *merged.values()])
    section = f"{begin}\n\n{text}\n\n{end}"
    if known:
        whole = pattern.sub(lambda _: section, whole)
    else:
        whole = f"{whole.rstrip()}\n\n{section}\n"
    file.write_text(whole)


def tables_of(part: str) -> Iterator[Table]:
    """The tables of some Markdown, in order."""
    said: list[str] = []
    found: list[tuple[int, list[list[str]]]] = []
    is_inside = False
    for line in filter(None, map(str.strip, part.splitlines())):
        if line.startswith("|"):
            if not is_inside:
                found.append((len(said), []))
            found[-1][1].append([cell.strip() for cell in line[1:-1].split(" | ")])
        else:
            said.append(line)
        is_inside = line.startswith("|")
    ends = [at for at, _ in found[1:]] + [len(said)]
    for (at, lines), end in zip(found, ends, strict=False):
        yield Table(tuple(said[:at]), lines[0], lines[2:], tuple(said[at:end]))


def from_markdown(text: str) -> list[Stored]:
    """What the sections of docs/benchmarks.md say: one round, the medians."""
    found = []
    for of, section in SECTION.findall(text):
        head, *parts = re.split(r"^(?=## )", section, flags=re.M)
        machine = head.strip().partition("\n")[2].strip()
        stored = Stored(of, machine, [], [part.strip() for part in parts])
        for part in stored.parts:
            for table in tables_of(part):
                _take_medians(stored, table)
        found.append(stored)
    return found


@dataclass
class Written(Outcome):
    """A row as the Markdown has it: medians, and what was said about the rounds."""

    ratios_said: dict[str, Ratio] = field(default_factory=dict)  # by figure


def _take_medians(stored: Stored, table: Table) -> None:
    """The rows of a table that compares loops, as outcomes of one round."""
    said = " ".join(table.above[-2:])
    key = next((FIGURES[text] for text in FIGURES if text in said), None)
    if "99th percentile" in table.above[-1]:
        key = None
    elif key is None:
        return
    known = {outcome.case.title: outcome for outcome in stored.outcomes}
    for title, *cells in table.rows:
        outcome = known.get(title)
        if outcome is None:
            outcome = Written(Case(_key_of(title), title), {}, {})
            stored.outcomes.append(outcome)
        for name, cell in zip(table.head[1:], cells, strict=True):
            if key is not None and name.startswith("ours ÷ best"):
                _take_ratio(outcome, key, cell, cells[-1])
            elif key is not None and re.fullmatch(r"\d+", cell):
                outcome.rounds.setdefault(name, [{}])[0][key] = float(cell)
            elif found := re.fullmatch(r"(\d+)/s, (?:(\d+), )?(\d+) µs", cell):
                figures = outcome.rounds.setdefault(name, [{}])[0]
                figures |= {"messages": float(found[1]), "seconds": 1.0}
                figures |= {"p50_us": float(found[2])} if found[2] else {}
                figures["p99_us"] = float(found[3])


def _take_ratio(outcome: Outcome, key: str, cell: str, budget: str) -> None:
    found = re.fullmatch(r"([\d.]+) of (\S+) \(([\d.]+) to ([\d.]+)\)", cell)
    goal = re.match(rf"≤ ([\d.]+) x (?!{FLOOR})", budget)
    if found and isinstance(outcome, Written):
        middle, low, high = (float(found[at]) for at in (1, 3, 4))
        most = float(goal[1]) if goal else None
        title = outcome.case.title
        outcome.ratios_said[key] = Ratio(title, middle, low, high, found[2], most)


def _key_of(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


# JSON.


def store_json(
    file: Path, machine: str, outcomes: Sequence[Outcome], parts: Sequence[str]
) -> Path:
    """Merge a run into a file, or into VERSION.json of a folder; gives the file.

    Rows and tables that were measured again take the place of the older ones.
    """
    if file.is_dir() or not file.suffix:
        file.mkdir(parents=True, exist_ok=True)
        file /= f"{version()}.json"
    older: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    rows = {row["row"]: row for row in older.get("rows", [])}
    rows |= {str(row["row"]): row for row in as_json(outcomes)}
    tables = {text.split("\n")[0]: text for text in older.get("tables", [])}
    tables |= {text.split("\n")[0]: text for text in parts}
    whole = {"machine": machine, "rows": list(rows.values())}
    file.write_text(json.dumps(whole | {"tables": list(tables.values())}, indent=1))
    return file


def from_json(file: Path) -> Stored:
    """What a file of `store_json` has; its name is the version."""
    whole = json.loads(file.read_text())
    outcomes = []
    for row in whole["rows"]:
        budget = row["budget"]
        case = Case(row["row"], row["title"], budget["best peer"], budget["floor"])
        outcomes.append(Outcome(case, row["rounds"], row["failures"]))
    return Stored(file.stem, whole["machine"], outcomes, whole["tables"])


def load(folder: Path) -> list[Stored]:
    """Every version's: FOLDER/*.json, and what only the Markdown beside it has."""
    found = [from_json(file) for file in sorted(folder.glob("*.json"))]
    known = {stored.version for stored in found}
    markdown = folder.with_suffix(".md")
    if markdown.exists():
        written = from_markdown(markdown.read_text())
        found += [stored for stored in written if stored.version not in known]
    return found
