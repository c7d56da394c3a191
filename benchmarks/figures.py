"""How the pictures look: panels of bars, waits, curves and ratios, by matplotlib.

Called by plots.py, which says what to draw. Scales of bars begin at zero; a bar that
would leave no room for ours is cut with a visible break and keeps its number, and ours
is never cut. Colours are Okabe and Ito's, and each is also said in words or by shape.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from PIL import Image

from benchmarks.verdicts import Ratio

WIDTH = 8.6  # inches: the width of a page
# By the number of columns: the left margin, and the room between two, in axes' widths.
ROOM = {2: (0.215, 0.86), 3: (0.125, 0.72)}
THICK, GAP = 0.165, 0.62  # inches of a bar, and from one row of charts to the next
CUT = 3.0  # times our largest bar: what is longer is cut
GOOD, BAD, PEER, FLOOR = "#0072B2", "#D55E00", "#A9A9A9", "#E4E4E4"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#333333", "#E69F00")
MARKS, DASHES = "os^DvP", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
STYLE = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "svg.fonttype": "none",  # text is text
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "syslet_loop",  # the same data give the same file
}


@dataclass(frozen=True)
class Bar:
    """A contender; `kind` is ours, peer or floor, and `loses` if a peer is better.

    `until` is the p99 of a wait whose median is `value`: drawn as a stroke.
    """

    name: str
    value: float
    kind: str = "peer"
    loses: bool = False
    until: float | None = None

    @property
    def length(self) -> float:
        """How far it goes."""
        return self.value if self.until is None else self.until

    @property
    def colour(self) -> str:
        """Of its inside."""
        return {"ours": BAD if self.loses else GOOD, "floor": FLOOR}.get(
            self.kind, PEER
        )


@dataclass(frozen=True)
class Panel:
    """One row of a benchmark; `verdict` is under its title, orange if it `loses`."""

    title: str
    bars: Sequence[Bar]
    verdict: str = ""
    loses: bool = False


def figure(rows: int, columns: int, height: float, title: str, says: str) -> Any:
    """A page with a title, one sentence under it, and its axes as a list."""
    plt.rcParams.update(STYLE)
    whole = height + 0.75
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, whole), squeeze=False)
    fig.text(0.012, 1 - 0.10 / whole, title, va="top", size=11, weight="bold")
    fig.text(0.012, 1 - 0.32 / whole, says, va="top", size=8, color="#444444")
    fig.subplots_adjust(top=1 - 0.98 / whole)
    return fig, list(axes.flat)


def number(value: float, digits: int = 3) -> str:
    """So many digits that matter, or a few more."""
    if value == 0:
        return "0"
    digits = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}" if value < 1e6 else f"{value:,.0f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def panels(
    every: Sequence[Panel], unit: str, title: str, says: str, columns: int = 3
) -> Any:
    """Small bar charts side by side, each with a scale of its own."""
    starts = range(0, len(every), columns)
    most = [max(len(p.bars) for p in every[at : at + columns]) for at in starts]
    height = sum(GAP + THICK * bars for bars in most)
    fig, axes = figure(len(most), columns, height, title, says)
    axes[0].get_gridspec().set_height_ratios(most)
    left, between = ROOM[columns]
    fig.subplots_adjust(
        left=left,
        right=0.94,
        bottom=0.15 / (height + 0.75),
        wspace=between,
        hspace=GAP / (THICK * sum(most) / len(most)),
    )
    indent = (left * WIDTH - 0.08) * 72
    for at, (axis, each) in enumerate(zip(axes, every, strict=False)):
        _panel(axis, each, unit, most[at // columns], indent)
    for axis in axes[len(every) :]:
        axis.set_visible(False)
    return fig


def _panel(axis: Any, panel: Panel, unit: str, most: int, indent: float) -> None:
    """`most` bars have room; `indent` points are left of the scale."""
    own = [bar.length for bar in panel.bars if bar.kind == "ours"]
    longest = max(bar.length for bar in panel.bars)
    limit = min(longest, CUT * max(own)) if own else longest
    places = range(len(panel.bars))
    for place, bar in zip(places, panel.bars, strict=True):
        (_bar if bar.until is None else _stroke)(axis, place, bar, limit, unit)
    axis.set_yticks(places, [bar.name for bar in panel.bars])
    for label, bar in zip(axis.get_yticklabels(), panel.bars, strict=True):
        label.set_fontweight("bold" if bar.kind == "ours" else "normal")
    has_two = any(bar.until is not None for bar in panel.bars)  # numbers need room
    axis.set(xlim=(0, limit * (1.2 if has_two else 1)), ylim=(most - 0.4, -0.6))
    axis.spines["left"].set_bounds(len(panel.bars) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0, pad=2, labelsize=7)
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axis.annotate(panel.title, (0, 1), (-indent, 13), size=8.5, weight="bold", **place)
    colour = BAD if panel.loses else "#444444"
    axis.annotate(panel.verdict, (0, 1), (-indent, 3), size=7.5, color=colour, **place)


def _bar(axis: Any, place: int, bar: Bar, limit: float, unit: str) -> None:
    length = min(bar.length, limit)
    edge = "#777777" if bar.kind == "floor" else bar.colour
    axis.barh(place, length, 0.72, color=bar.colour, edgecolor=edge, linewidth=0.6)
    value = bar.value
    if unit == "µs" and value >= 1000:
        value, unit = value / 1000, "ms"
    _say(axis, place, bar, limit, f"{number(value)} {unit}")


def _stroke(axis: Any, place: int, bar: Bar, limit: float, _: str) -> None:
    colour = "#888888" if bar.kind == "floor" else bar.colour
    start, end = min(bar.value, limit), min(bar.length, limit)
    axis.plot([start, end], [place, place], color=colour, lw=2.2, zorder=2)
    axis.plot(start, place, "o", color=colour, ms=4, zorder=3, clip_on=False)
    axis.plot(end, place, "|", color=colour, ms=8, mew=2, clip_on=False)
    text = f"{number(bar.value, 2)} / {number(bar.length, 2)}"
    _say(axis, place, bar, limit, text)


def _say(axis: Any, place: int, bar: Bar, limit: float, text: str) -> None:
    """The number behind a bar, and the break in one that is cut."""
    if bar.length > limit * 1.0001:
        cut = {"ha": "center", "va": "center", "color": "white", "weight": "bold"}
        axis.text(0.86 * limit, place, "//", size=9, **cut)
    place_of = (min(bar.length, limit), place)
    style = {"va": "center", "size": 7, "annotation_clip": False}
    axis.annotate(text, place_of, (4, 0), textcoords="offset points", **style)


def ratios(every: Sequence[Ratio], title: str, says: str) -> Any:
    """All rows on one scale; to the right of 1 a peer is better."""
    height = 0.19 * len(every) + 0.35
    fig, (axis,) = figure(1, 1, height, title, says)
    fig.subplots_adjust(left=0.30, right=0.83, bottom=0.42 / (height + 0.75))
    fig.subplots_adjust(top=1 - 0.7 / (height + 0.75))
    edges = [value for each in every for value in (each.ratio, each.low, each.high)]
    axis.set_xscale("log", base=2)
    axis.set(xlim=(min(0.5, *edges) * 0.95, max(1.4, *edges) * 1.05))
    axis.axvline(1, color="black", lw=1)
    for place, each in enumerate(every):
        colour, mark = (GOOD, "o") if each.ratio <= 1 else (BAD, "s")
        axis.plot([each.low, each.high], [place, place], color=colour, lw=2, alpha=0.6)
        axis.plot(each.ratio, place, mark, color=colour, ms=5.5, zorder=3)
        if each.goal is not None:
            axis.plot(each.goal, place, "|", color="black", ms=9, mew=1.2, zorder=4)
        axis.text(1.01, place, f"{each.ratio:.2f} x {each.peer}", size=7.5, va="center",
                  color=colour, transform=axis.get_yaxis_transform())  # fmt: skip
    axis.set_yticks(range(len(every)), [each.title for each in every])
    axis.set_ylim(len(every) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    steps = [s for s in (0.125, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 4, 8)]
    low, high = axis.get_xlim()
    shown = [step for step in steps if low <= step <= high]
    axis.set_xticks(shown, [f"{step:g}" for step in shown])
    axis.minorticks_off()
    axis.grid(axis="x", color="#DDDDDD", lw=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel("◀ ours is better  |  ours ÷ best peer  |  a peer is better ▶")
    return fig


@dataclass(frozen=True)
class Curves:
    """One chart of lines: (x, y) of every name."""

    title: str
    lines: dict[str, list[tuple[float, float]]]


def curves(
    every: Sequence[Curves], labels: tuple[str, str], title: str, says: str
) -> Any:
    """Charts of lines side by side, with equal places for the values of x."""
    height = 3.3
    fig, axes = figure(1, len(every), height, title, says)
    fig.subplots_adjust(left=0.08, right=0.98, bottom=0.78 / (height + 0.75),
                        wspace=0.22)  # fmt: skip
    names = list(dict.fromkeys(name for each in every for name in each.lines))
    for axis, each in zip(axes, every, strict=True):
        places = sorted({x for line in each.lines.values() for x, _ in line})
        for name, line in each.lines.items():
            at = names.index(name) % len(LINES)
            axis.plot(
                [places.index(x) for x, _ in line],
                [y for _, y in line],
                color=LINES[at],
                marker=MARKS[at],
                linestyle=DASHES[at],
                label=name,
                lw=1.8 if at == 0 else 1.2,
                ms=5,
            )
        axis.set_xticks(range(len(places)), [f"{x:g}" for x in places])
        axis.set_ylim(bottom=0)
        axis.set_title(each.title, weight="bold")
        axis.set_xlabel(labels[0])
        axis.grid(axis="y", color="#DDDDDD", lw=0.6)
    axes[0].set_ylabel(labels[1])
    handles = {}
    for axis in axes:
        handles |= dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    fig.legend(handles.values(), handles, loc="lower center", ncols=len(handles),
               frameon=False, fontsize=8)  # fmt: skip
    return fig


def save(fig: Any, stem: str) -> None:
    """As STEM.svg for pages and STEM.png for whoever wants pixels."""
    fig.savefig(f"{stem}.svg", metadata={"Date": None})
    pixels = io.BytesIO()
    fig.savefig(pixels, dpi=120)
    few = Image.open(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    few.save(f"{stem}.png", optimize=True)
    plt.close(fig)
