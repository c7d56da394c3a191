"""Draws what was measured: `python -m benchmarks.plots [NAME …]`, or `make plots`.

Reads docs/benchmarks/*.json (what `benchmarks.run --json docs/benchmarks` wrote), draws
docs/benchmarks/VERSION-NAME.svg and .png, and puts them at the head of each version's
section of docs/benchmarks.md, each with the command that draws it. Rows in which a
peer is better are drawn like all others, and said to be so.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import figures, stored
from benchmarks.compare import Outcome
from benchmarks.figures import Bar, Curves, Panel
from benchmarks.stored import Stored, Table
from benchmarks.verdicts import (
    COMPARED_BY,
    compared_by,
    is_ours,
    kind_of,
    ratio_of,
    verdict,
    with_figure,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"
LESS = "Less is better."


def panel(outcome: Outcome, key: str, scale: float) -> Panel:
    """A row of a comparison of loops; names of failures say so."""
    ratio = ratio_of(outcome, key)
    loses = ratio is not None and ratio.ratio > 1
    bars = [
        Bar(name, (outcome.figure(name, key) or 0) * scale, kind_of(name), loses)
        for name in with_figure(outcome, key)
    ]
    failed = [
        name for name in outcome.failures if name not in with_figure(outcome, key)
    ]
    said = verdict(ratio) + (f"; failed: {', '.join(failed)}" if failed else "")
    return Panel(outcome.case.title, bars, said, loses)


def rows_by(data: Stored, key: str) -> list[Outcome]:
    """The rows that are compared by a figure and have somebody in them."""
    return [outcome for outcome in data.outcomes if compared_by(outcome) == key]


# The pictures. Each gives None if nothing was stored for it.


def summary(data: Stored) -> Any:
    found = [
        ratio
        for key in COMPARED_BY
        for outcome in rows_by(data, key)
        if (ratio := ratio_of(outcome, key)) is not None
    ]
    says = (
        "CPU time, or memory, of ours divided by that of the best peer of each row: "
        "median and quartiles of the rounds.\nBlue circles: ours needs less. Orange "
        "squares: a peer needs less. Black strokes: the goal."
    )
    title = f"Loops on Python {data.version}: every row against its best peer"
    return figures.ratios(found, title, says) if found else None


PALE = (
    "Blue is ours; orange is ours where a peer is better; pale is without a loop. "
    "Ratios are medians of the rounds' ratios."
)


def _loops(data: Stored, key: str, title: str, what: str) -> Any:
    found = [panel(outcome, key, 1e-3) for outcome in rows_by(data, key)]
    says = (
        f"{what} {LESS} Each row has its own scale, from zero; // marks a bar that was "
        f"cut.\n{PALE}"
    )
    return figures.panels(found, "µs", title, says) if found else None


def servers(data: Stored) -> Any:
    title = f"Servers on Python {data.version}: CPU time per message"
    return _loops(data, "cpu_ns", title, "CPU time of the server per message, in µs.")


def operations(data: Stored) -> Any:
    title = f"Operations of the loop on Python {data.version}"
    return _loops(data, "ns", title, "Time per operation, in µs.")


def memory(data: Stored) -> Any:
    idle = [panel(o, "bytes", 1) for o in data.outcomes if with_figure(o, "bytes")]
    found = [Panel(f"{p.title} (B)", p.bars, p.verdict, p.loses) for p in idle]
    for outcome in data.outcomes:
        if with_figure(outcome, "rss_bytes") and not with_figure(outcome, "bytes"):
            p = panel(outcome, "rss_bytes", 1e-6)
            found.append(Panel(f"{p.title} (MB)", p.bars, p.verdict, p.loses))
    title = f"Resident memory of the server on Python {data.version}"
    says = (
        "The most that the server had under load; for idle connections, what each one "
        f"adds. {LESS}\n{PALE}"
    )
    return figures.panels(found, "", title, says) if found else None


def latency(data: Stored) -> Any:
    found = []
    for outcome in data.outcomes:
        names = with_figure(outcome, "p99_us")
        if not names:
            continue
        ratio = ratio_of(outcome, "p99_us")
        loses = ratio is not None and ratio.ratio > 1
        bars = [_wait(outcome, name, loses) for name in names]
        said = f"p99: {verdict(ratio)}" if ratio else ""
        found.append(Panel(outcome.case.title, bars, said, loses))
    has_medians = any(bar.until for each in found for bar in each.bars)
    title = f"How long a client waits on Python {data.version}"
    says = (
        f"{'Median / ' if has_medians else ''}99th percentile of a round trip, in ms. "
        f"{LESS}\nBoth move with the load generator and with other processes far more "
        "than CPU time does."
    )
    return figures.panels(found, "ms", title, says) if found else None


def _wait(outcome: Outcome, name: str, loses: bool) -> Bar:
    """From the median to the p99, or the p99 if there is no median."""
    kind, p99 = kind_of(name), (outcome.figure(name, "p99_us") or 0) / 1e3
    if name not in with_figure(outcome, "p50_us"):
        return Bar(name, p99, kind, loses)
    p50 = (outcome.figure(name, "p50_us") or 0) / 1e3
    return Bar(name, p50, kind, loses, p99)


# Files.


def file_tables(data: Stored) -> Iterator[tuple[str, Table]]:
    """The tables of contenders and a title for each."""
    for heading in ("1000 small files", "Whole files", "One large file", "The drawing"):
        for table in data.tables(heading):
            if table.head[0] != "contender" or table.title.startswith("Depth"):
                continue
            yield _title(heading, table), table


def _title(heading: str, table: Table) -> str:
    title = table.title
    if heading == "1000 small files":
        title = f"A syslet, {title.lower()}"
    if heading == "Whole files" and title.startswith("After"):
        title = "1000 small files, cold"
    per = table.head[1].removeprefix("ns ")
    return f"{title}, {per}"


def files(data: Stored) -> Any:
    found = []
    waits: dict[str, dict[str, float]] = {}
    for title, table in file_tables(data):
        values = {row[0]: float(row[1]) / 1e3 for row in table.rows}
        found.append(_file_panel(title, values))
        late = [line for line in table.below if line.startswith("A task on the same")]
        for name, value in re.findall(r"[:,] ([^\d:]+?) ([\d.]+) ms", "".join(late)):
            waits.setdefault(title.partition(" in ")[0], {})[name] = float(value) * 1e3
    for title, values in waits.items():
        said = f"A task's delay while a file is {title.lower()}, p99"
        found.append(_file_panel(said, values))
    title = f"Files on Python {data.version}"
    says = (
        f"Median time, in µs. {LESS} Bold names are ours: blue, or orange where the "
        "best of the others is better.\nEach panel has its own scale, from "
        "zero; // marks a bar that was cut."
    )
    return figures.panels(found, "µs", title, says, 2) if found else None


def _file_panel(title: str, values: dict[str, float]) -> Panel:
    """Our bars are orange where the best of the others is better."""
    theirs = {name: value for name, value in values.items() if not is_ours(name)}
    best = min(theirs, key=theirs.__getitem__, default="")
    bars = [
        Bar(name, value, "ours", bool(best) and value > theirs[best])
        if is_ours(name)
        else Bar(name, value)
        for name, value in values.items()
    ]
    own = [value for name, value in values.items() if is_ours(name)]
    if not own or not theirs:
        return Panel(title, bars)
    ratio = min(own) / theirs[best]
    return Panel(title, bars, f"our best: {ratio:.2f} x {best}", ratio > 1)


def depth(data: Stored) -> Any:
    charts: dict[str, Curves] = {}
    for table in data.tables("One large file"):
        if not table.title.startswith("Depth"):
            continue
        kind = next(line for line in table.above[::-1] if line.startswith("Random"))
        chart = charts.setdefault(kind, Curves(kind.rstrip(":"), {}))
        x = float(table.title.split()[1])
        rates = {row[0]: 1e6 / float(row[1]) for row in table.rows if row[1] != "-"}
        for line in table.below:
            if found := re.match(r"fio's io_uring engine: (\d+) ns", line):
                rates["fio, io_uring"] = 1e6 / float(found[1])
        for name, rate in rates.items():
            chart.lines.setdefault(name, []).append((x, rate))
    title = f"Random reads of 4 KiB on Python {data.version}"
    says = (
        "Thousands of reads per second of one large file, by how many are in the air "
        "at once. More is better.\nfio is a C program; the others are coroutines."
    )
    labels = ("reads in the air", "thousand reads per second")
    return figures.curves([*charts.values()], labels, title, says) if charts else None


def chain(data: Stored) -> Any:
    tables = data.tables("A chain")
    if not tables:
        return None
    names = {1: "one syslet", 2: "n awaits of one call", 3: "n os.getppid() calls"}
    lines = {
        name: [
            (float(row[0]), float(row[at]) / float(row[0])) for row in tables[0].rows
        ]
        for at, name in names.items()
    }
    title = f"A chain of n calls on Python {data.version}"
    says = (
        "Nanoseconds per call of getppid, by how many are in one chain. Less is better."
    )
    chart = Curves("The price of a call", lines)
    return figures.curves([chart], ("n", "ns per call"), title, says)


@dataclass(frozen=True)
class Picture:
    """`alt` is for those who do not see it, `only` what measures its data."""

    draw: Callable[[Stored], Any]
    alt: str
    only: str


PICTURES = {
    "summary": Picture(
        summary, "Ratios to the best peer", "network,scheduling,http,web"
    ),
    "servers": Picture(servers, "CPU time per message by loop", "network,http,web"),
    "latency": Picture(
        latency, "Median and p99 of the wait by loop", "network,http,web"
    ),
    "memory": Picture(memory, "Resident memory by loop", "network,http,web"),
    "operations": Picture(operations, "Operations by loop", "scheduling"),
    "files": Picture(files, "Files by contender", "files,bulk,disk,drawing"),
    "depth": Picture(depth, "Random reads by depth", "disk"),
    "chain": Picture(chain, "A chain of calls", "chain"),
}


def draw(data: Stored, folder: Path, names: Sequence[str]) -> list[str]:
    """Draw one version's pictures; gives the names of those there was data for."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name in names:
        fig = PICTURES[name].draw(data)
        if fig:
            figures.save(fig, str(folder / f"{data.version}-{name}"))
            drawn.append(name)
    return drawn


def markdown(of: str, drawn: Sequence[str], folder: str) -> str:
    """The section that shows them."""
    where = f"docs/{folder}"
    text = [stored.PICTURES, ""]
    for name in drawn:
        picture = PICTURES[name]
        text += [
            f"![{picture.alt}, Python {of}]({folder}/{of}-{name}.svg)",
            "",
            f"    python -m benchmarks.run --only {picture.only} --json {where}",
            f"    python -m benchmarks.plots {name}",
            "",
        ]
    return "\n".join(text)


def main() -> None:
    """Draw everything that was stored, or the pictures that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--folder", type=Path, default=DOCS / "benchmarks")
    options = parser.parse_args()
    if unknown := set(options.names) - PICTURES.keys():
        parser.error(f"no such picture: {unknown.pop()}")
    every = stored.load(options.folder)
    if not every:
        parser.error(f"nothing is stored in {options.folder}")
    file = options.folder.with_suffix(".md")
    for data in every:
        drawn = draw(data, options.folder, options.names or list(PICTURES))
        print(f"Python {data.version}: {' '.join(drawn)}")
        if not options.names:
            part = markdown(data.version, drawn, options.folder.name)
            stored.store_markdown(file, [data.machine, part], data.version)


if __name__ == "__main__":
    main()
