"""What the kernel's refusals look like in Python.

The binding calls `failure` for a flight that ended at an atom with a negative result
that nobody wanted to see; nothing else here is for others. The exception is a plain
OSError, so that Python picks its subclass, with the paths the atom was about and a note
that names the atom and what had been done before it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .draft import Step

if TYPE_CHECKING:
    from .plan import Compiled

_RESULTS_MAX = 8
_HIDDEN = ("test", "move", "jump", "load", "buffer", "emit", "set")


def failure(
    info: Compiled,
    atom_index: int,
    result: int,
    ran: Sequence[int],
    cells: bytes,
    args: Sequence[object],
) -> OSError:
    """The exception for a flight that failed.

    `result` is the negative errno of atom `atom_index`, `ran` says for each atom
    whether it ran, `cells` is the flight's cells at the end, `args` its arguments.
    """
    step = info.atoms_placed[atom_index].step
    paths = list(_paths(info, step, args))
    number = -result
    error = OSError(number, os.strerror(number))
    if paths:
        second = (None, paths[1]) if len(paths) > 1 else ()
        error = OSError(number, os.strerror(number), paths[0], *second)
    error.add_note(_note(info, atom_index, ran, cells))
    return error


def _paths(info: Compiled, step: Step, args: Sequence[object]) -> Iterator[object]:
    """The paths among the operands of an atom, as they were passed."""
    by_slot = {id(param.slot): param for param in info.draft.params}
    for letter, slot in zip(step.letters, step.args, strict=False):
        if letter != "p":
            continue
        param = by_slot.get(id(slot.resolve()))
        if param is not None and param.index < len(args):
            value = args[param.index]
            yield os.fspath(value) if isinstance(value, os.PathLike) else value
        elif id(slot) in info.draft.texts:
            yield info.draft.texts[id(slot)]


def _note(info: Compiled, atom_index: int, ran: Sequence[int], cells: bytes) -> str:
    step = info.atoms_placed[atom_index].step
    note = f"atom {atom_index}: {_place(step)}"
    results = []
    for index, atom in enumerate(info.atoms_placed):
        before = index != atom_index and index < len(ran) and ran[index]
        if before and atom.step.ret is not None and atom.step.title not in _HIDDEN:
            at = atom.step.ret.resolve().index * 8
            (value,) = struct.unpack_from("<q", cells, at)
            results.append(f"{atom.step.title} = {value}")
    if results:
        hidden = "… " if len(results) > _RESULTS_MAX else ""
        note += f"; results so far: {hidden}{', '.join(results[-_RESULTS_MAX:])}"
    return note


def _place(step: Step) -> str:
    if not step.site.line:
        return step.title
    return f"{step.title} (line {step.site.line} of {os.path.basename(step.site.file)})"
