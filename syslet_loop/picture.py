"""A compiled syslet as an SVG picture: atoms in a column, jumps beside it.

What `explain("svg")` gives. Loops go back on the left, jumps forward on the right;
dashed lines are taken if the condition in the box holds. That an error ends the syslet
and is raised is so for nearly every atom and is not drawn. Purely for looking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from . import program_format
from .explain import call_names, condition_words, parameters
from .flow import Placed

if TYPE_CHECKING:
    from .plan import Compiled

_CHAR = 7.3  # the width of a character, in a monospaced font of 12 pixels
_ROW, _BOX, _TALL = 50, 26, 38  # pixels from box to box; heights of a box
_TOP, _LANE, _MARGIN = 52, 14, 16
_LONG = 72  # characters of a box; what is longer is cut
_COLOURS = {"call": ("#E3EEF9", "#0072B2"), "flight": ("#FFFFFF", "#777777")}


@dataclass
class _Edge:
    """From one place to another; the end is the place behind the last atom."""

    start: int
    end: int
    is_dashed: bool
    lane: int = 0

    @property
    def rows(self) -> range:
        """What it passes."""
        return range(min(self.start, self.end), max(self.start, self.end))


@dataclass
class _Sheet:
    """Where things are."""

    atoms: list[Placed]
    left: int  # of the boxes
    width: float  # of the boxes

    @property
    def last(self) -> int:
        """The place of the end."""
        return len(self.atoms)

    def middle(self, place: int) -> float:
        """From the top to the middle of a box, or of the end."""
        return _TOP + _ROW * place + _BOX / 2

    def half(self, place: int) -> float:
        """From there to its border."""
        if place == self.last:
            return 9
        return (_TALL if _decides(self.atoms[place]) else _BOX) / 2

    def right(self, place: int) -> float:
        """The right border of a box, or of the end."""
        return self.left + (33 if place == self.last else self.width)


def svg(compiled: Compiled) -> str:
    """The program as the text of an SVG file."""
    texts = call_names(compiled)
    boxes = [t if len(t) <= _LONG else f"{t[: _LONG - 1]}…" for t in texts]
    atoms = compiled.atoms_placed
    edges = [e for i, atom in enumerate(atoms) for e in _edges(atom, i, len(atoms))]
    back = _lanes([edge for edge in edges if edge.end <= edge.start])
    ahead = _lanes([edge for edge in edges if edge.end > edge.start + 1])
    width = max(len(text) for text in boxes) * _CHAR + 20
    sheet = _Sheet(atoms, _MARGIN + back * _LANE, width)
    head = compiled.name + parameters(compiled)
    right = max(sheet.left + width + ahead * _LANE, _MARGIN + len(head) * _CHAR * 1.1)
    parts = [
        *_page(head, round(right + _MARGIN), _TOP + _ROW * len(boxes) + 40),
        *(part for i, text in enumerate(boxes) for part in _box(sheet, i, text)),
        *_end(sheet),
        *(_line(sheet, edge) for edge in edges),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _page(head: str, width: int, height: int) -> Iterator[str]:
    title = escape(head)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="monospace" font-size="12">'
    )
    yield f"<title>{title}</title>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#333"/>'
        "</marker></defs>"
    )
    yield '<rect width="100%" height="100%" rx="6" fill="white"/>'
    bold = 'font-size="13" font-weight="bold"'
    yield f'<text x="{_MARGIN}" y="26" {bold}>{title}</text>'


def _edges(atom: Placed, index: int, last: int) -> Iterator[_Edge]:
    yield _Edge(index, atom.next - 1 if atom.next else last, False)
    if _decides(atom):
        flags = atom.flags | atom.step.flags
        skips = flags & program_format.SKIP_TO_NEXT_ON_STOP
        yield _Edge(index, index + 1 if skips else last, True)


def _decides(atom: Placed) -> bool:
    """Whether its result says where to go; an error that is raised is no decision."""
    flags = atom.flags | atom.step.flags
    stops = flags & program_format.STOP_MASK
    skips = flags & program_format.SKIP_TO_NEXT_ON_STOP
    is_error = atom.step.check and stops == program_format.STOP_ON_NEGATIVE
    return bool(stops and (skips or not is_error))


def _lanes(edges: list[_Edge]) -> int:
    """Give each a lane that no other uses beside it, short ones inside; how many."""
    taken: list[set[int]] = []
    for edge in sorted(edges, key=lambda edge: len(edge.rows)):
        rows = set(edge.rows) or {edge.start}
        free = [lane for lane, other in enumerate(taken) if not rows & other]
        if not free:
            taken.append(set())
            free = [len(taken) - 1]
        edge.lane = free[0]
        taken[edge.lane] |= rows
    return len(taken)


def _box(sheet: _Sheet, index: int, text: str) -> Iterator[str]:
    atom, middle, half = sheet.atoms[index], sheet.middle(index), sheet.half(index)
    is_call = atom.step.op is None or not atom.step.op.is_pseudo
    fill, edge = _COLOURS["call" if is_call else "flight"]
    yield (
        f'<rect x="{sheet.left}" y="{middle - half:g}" width="{sheet.width:g}" '
        f'height="{2 * half:g}" rx="4" fill="{fill}" stroke="{edge}"/>'
    )
    x = sheet.left + 10
    base = middle + (-3 if _decides(atom) else 4)
    yield f'<text x="{x}" y="{base:g}">{escape(text)}</text>'
    if _decides(atom):
        small = 'font-size="11" fill="#555" font-style="italic"'
        words = condition_words(atom)
        yield f'<text x="{x}" y="{base + 15:g}" {small}>dashed if {words}</text>'


def _end(sheet: _Sheet) -> Iterator[str]:
    for radius, fill in ((8, "white"), (4, "#333")):
        yield (
            f'<circle cx="{sheet.left + 24}" cy="{sheet.middle(sheet.last):g}" '
            f'r="{radius}" fill="{fill}" stroke="#333"/>'
        )


def _line(sheet: _Sheet, edge: _Edge) -> str:
    start, end = sheet.middle(edge.start), sheet.middle(edge.end)
    if edge.end == edge.start + 1:
        # Two ways may lead to the same place: side by side.
        x = sheet.left + (40 if edge.is_dashed and edge.end < sheet.last else 24)
        top, bottom = start + sheet.half(edge.start), end - sheet.half(edge.end)
        path = f"M{x},{top:g} V{bottom:g}"
    elif edge.end <= edge.start:
        x = sheet.left
        lane = x - _LANE * (edge.lane + 0.8)
        path = f"M{x},{start - 4:g} H{lane:g} V{end + 4:g} H{x}"
    else:
        start_x, target = sheet.right(edge.start), sheet.right(edge.end)
        lane = sheet.right(0) + _LANE * (edge.lane + 0.8)
        height = end if edge.end == sheet.last else end - 4
        path = f"M{start_x:g},{start + 4:g} H{lane:g} V{height:g} H{target:g}"
    dashes = ' stroke-dasharray="5 3"' if edge.is_dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="#333"{dashes} marker-end="url(#tip)"/>'
    )
