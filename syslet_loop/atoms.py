"""Explicit atoms: the announcement's own model, written atom by atom.

    fd, n = Cell(), Cell()
    buf = Memory(4096)
    head = program(
        [
            Atom("openat", AT_FDCWD, Param("path"), os.O_RDONLY, 0, ret=fd, check=True),
            Atom("read", fd, buf, 4096, ret=n, flags=STOP_ON_NEGATIVE),
        ],
        params=["path"],
        returns=(n, buf),
    )

Arguments are the raw system call's, in its order; nothing is added to them. `next` is
the index of an atom in the list, END, or the following atom when left out. A stop ends
the syslet without an error unless the atom says `check=True`. The builder is the other
way to write a program; both compile to the same format and may not be mixed.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from . import ops
from .atom_values import Address, Cell, Length, Memory, Param, address, length
from .draft import Draft, Step
from .flow import Placed
from .nodes import Node, template
from .operands import Int, Site, Slot, calling_site
from .operands import Memory as Place
from .operands import Param as Parameter
from .plan import Compiled, compile_draft, make_syslet
from .program_format import (
    ARGS_MAX,
    FLAGS_ALL,
    SKIP_TO_NEXT_ON_STOP,
    STOP_MASK,
    STOP_ON_NEGATIVE,
)

if TYPE_CHECKING:
    from . import _native

__all__ = ["END", "Atom", "Cell", "Memory", "Param", "address", "length", "program"]

END: Final = -1

_IOVEC_BYTES = 16


class Atom:
    """One system call and how to go on.

    `operation` is a name of the operations table or a number, `operands` are the raw
    arguments: ints, str or bytes, Cell, Memory, Param, `address(cell)` and
    `length(param)`. `ret` is the cell for the result, `next` the index of the next atom
    or END, `flags` are STOP_ON_* and their kind. With `check` a negative result is
    raised as OSError. Mistakes are TypeErrors or ValueErrors when `program` is called.
    """

    def __init__(
        self,
        operation: str | int,
        *operands: object,
        ret: Cell | None = None,
        next: int | None = None,
        flags: int = 0,
        check: bool = False,
    ) -> None:
        self.site = calling_site()
        self.operation = operation
        self.operands = operands
        self.ret = ret
        self.next = next
        self.flags = flags
        self.check = check


class _Writer:
    """Turns explicit atoms into a draft."""

    def __init__(self, params: Sequence[str | Param]) -> None:
        self.draft = Draft()
        self.cells: dict[int, Slot] = {}
        self.memories: dict[int, Place] = {}
        self.filled: dict[int, list[Slot | None]] = {}
        self.params: dict[str, Parameter] = {}
        for index, each in enumerate(params):
            name = each if isinstance(each, str) else each.name
            if name in self.params:
                raise ValueError(f"two parameters are named {name!r}")
            self.params[name] = Parameter(self, name, index)
            if isinstance(each, Param) and each.kind:
                self.params[name].use(each.kind, calling_site())
        self.draft.params = list(self.params.values())
        self.fds: set[int] = set()

    def step(self, index: int, atom: Atom) -> Step:
        """One atom with its operands as cells."""
        try:
            op, nr = _operation(atom.operation)
            letters = op.args if op is not None else "i" * ARGS_MAX
            least = op.least if op is not None else 0
            if not least <= len(atom.operands) <= len(letters):
                wants = f"{least} to {len(letters)}"
                raise TypeError(
                    f"{wants} operands are needed, not {len(atom.operands)}"
                )
            step = Step(op, nr, _title(op, nr), [], None, atom.site, atom.check)
            for at, operand in enumerate(atom.operands):
                self._operand(step, letters, at, operand, atom.operands)
            self._finish(step, atom)
        except (TypeError, ValueError) as error:
            where = f"atom {index}: {atom.operation} ({atom.site})"
            raise type(error)(f"{where}: {error}") from None
        return step

    def _finish(self, step: Step, atom: Atom) -> None:
        if atom.flags & ~FLAGS_ALL:
            raise ValueError(f"unknown flags {atom.flags & ~FLAGS_ALL:#x}")
        if atom.ret is not None:
            if not isinstance(atom.ret, Cell):
                raise TypeError(f"ret is a Cell, not {atom.ret!r}")
            step.ret = self._cell(atom.ret)
            if step.op is not None and step.op.result == "f":
                self.fds.add(id(step.ret))
        if atom.check and not atom.flags & STOP_MASK:
            step.flags |= STOP_ON_NEGATIVE
        step.flags |= atom.flags
        for at, operand in enumerate(atom.operands):
            writes = step.letters[at] in "wT" and isinstance(operand, Memory)
            if writes and step.letters[at] == "w":
                self.filled.setdefault(id(operand), []).append(step.ret)
            elif writes:
                self.filled.setdefault(id(operand), []).append(None)

    def _cell(self, cell: Cell) -> Slot:
        if id(cell) not in self.cells:
            self.cells[id(cell)] = self.draft.slot(cell.initial)
        return self.cells[id(cell)]

    def _memory(self, memory: Memory) -> Place:
        if id(memory) not in self.memories:
            self.memories[id(memory)] = self.draft.buffer(memory.size)
        return self.memories[id(memory)]

    def _param(self, name: str) -> Parameter:
        if name not in self.params:
            raise ValueError(f"no parameter {name!r} in params")
        return self.params[name]

    def _operand(
        self, step: Step, letters: str, at: int, value: object, all_: Sequence[object]
    ) -> None:
        letter, site = letters[at], step.site
        if isinstance(value, Cell):
            slot = self._cell(value)
        elif isinstance(value, Address):
            slot = self.draft.address_of(self._cell(value.cell))
        elif isinstance(value, Memory):
            slot = self._memory(value).address
        elif isinstance(value, Length):
            param = self._param(value.param.name)
            param.use("readable", site)
            param.slot.origin = "host"
            self.draft.param_slot(param)
            slot = self.draft.param_length(param)
        elif isinstance(value, Param):
            slot = self._parameter(value, letter, site)
        elif isinstance(value, int):
            slot = self.draft.number(value)
        elif isinstance(value, str | bytes):
            slot = self.draft.string(os.fsencode(value), value)
        else:
            raise TypeError(f"not an operand: {value!r}")
        step.args.append(slot)
        self._check_structure(step.op, at, value)
        if letter == "n" and at > 0 and letters[at - 1] in "rwaz":
            self._bound(step, at, value, all_[at - 1])
        if letter in "vV" and not isinstance(value, Cell | Address | int):
            self._count(value, all_[at + 1])

    def _parameter(self, value: Param, letter: str, site: Site) -> Slot:
        param = self._param(value.name)
        kinds = {"f": "fd", "d": "fd", "p": "path", "s": "path", "a": "readable"}
        kinds |= dict.fromkeys("rvmt", "readable")
        kinds |= dict.fromkeys("wVMATLO", "writable")
        kind = value.kind or param.kind or kinds.get(letter, "int")
        param.use(kind, site)
        if kind in ("path", "readable", "writable"):
            param.slot.origin = "host"
        return self.draft.param_slot(param)

    def _check_structure(self, op: ops.Op | None, at: int, value: object) -> None:
        """The kernel finds all of a structure behind its address."""
        least = ops.structure_bytes(op, at)
        known = least
        if isinstance(value, Memory):
            known = value.size
        elif isinstance(value, Address):
            known = 8
        elif isinstance(value, str | bytes):
            known = len(os.fsencode(value)) + 1
        elif isinstance(value, Param):
            param = self._param(value.name)
            param.least = max(param.least, least)
        if known < least:
            raise ValueError(f"{least} bytes are needed here, the memory has {known}")

    def _count(self, memory: object, count: object) -> None:
        """iovecs in memory are no more than it has room for."""
        if not isinstance(count, int):
            raise TypeError("the number of iovecs is a constant")
        if isinstance(memory, Param):
            param = self._param(memory.name)
            param.least = max(param.least, _IOVEC_BYTES * count)
        elif isinstance(memory, Memory) and _IOVEC_BYTES * count > memory.size:
            raise ValueError(f"{count} iovecs, but the memory has {memory.size} bytes")

    def _bound(self, step: Step, at: int, size: object, memory: object) -> None:
        """What is read or written is not more than the memory has."""
        known: int | None = None
        capacity: Slot | None = None
        if isinstance(memory, Memory):
            place = self._memory(memory)
            known, capacity = place.size, place.capacity
        elif isinstance(memory, str | bytes):
            known = len(os.fsencode(memory)) + 1
            capacity = self.draft.number(known)
        elif isinstance(memory, Address):
            known, capacity = 8, self.draft.number(8)
        elif isinstance(memory, Param):
            param = self._param(memory.name)
            if param.kind not in ("readable", "writable"):
                return
            if isinstance(size, int):
                param.least = max(param.least, size)
                return
            capacity = self.draft.param_length(param)
        if isinstance(size, int):
            if known is not None and not 0 <= size <= known:
                raise ValueError(f"{size} bytes, but the memory has {known}")
        elif capacity is not None:
            step.bounds.append((at, capacity))

    def result(self, value: object) -> Node:
        """The template of what the program returns."""
        if isinstance(value, Cell):
            slot = self._cell(value)
            return ("fd" if id(slot) in self.fds else "int", slot)
        if isinstance(value, Memory):
            place, fillers = self._memory(value), self.filled.get(id(value), [])
            count = fillers[0] if len(fillers) == 1 else None
            if count is None:
                self.draft.zero(place)
            return ("bytes", place.address, count or place.capacity)
        if isinstance(value, Param):
            return ("param", self._param(value.name).index)
        if isinstance(value, tuple | list):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return (kind, [self.result(part) for part in value])
        if isinstance(value, dict):
            return ("dict", list(value), [self.result(part) for part in value.values()])
        if isinstance(value, Int):
            raise TypeError("values of a builder do not belong into explicit atoms")
        return template(self.draft, value)


def _operation(operation: str | int) -> tuple[ops.Op | None, int]:
    if isinstance(operation, str):
        if operation in ops.REFUSED_NAMES:
            raise ValueError(f"refused: {ops.REFUSED_NAMES[operation]}")
        op = ops.BY_NAME.get(operation) or ops.BY_TITLE.get(operation)
        if op is None:
            from .methods import unknown

            raise unknown(operation, "explicit atoms")
        if op.name in ("buffer", "emit"):
            raise ValueError("only the builder can write this operation")
        return op, op.nr
    if isinstance(operation, bool) or not isinstance(operation, int):
        raise TypeError(f"an operation is a name or a number, not {operation!r}")
    if operation in ops.REFUSED:
        raise ValueError(f"refused: {ops.REFUSED[operation]}")
    if not 0 <= operation < ops.PSEUDO_FIRST:
        raise ValueError(f"{operation} is no system call's number")
    return ops.BY_NUMBER.get(operation), operation


def _title(op: ops.Op | None, nr: int) -> str:
    return op.title if op is not None else f"syscall {nr}"


def _place(atom: Atom, step: Step, index: int, count: int) -> Placed:
    """Where an atom goes next. Raises ValueError if that is nowhere."""
    where = f"atom {index}: {step}"
    target = atom.next
    if target is None:
        target = index + 1 if index + 1 < count else END
    if isinstance(target, bool) or not isinstance(target, int):
        raise TypeError(f"{where}: next is an index or END, not {target!r}")
    if target != END and not 0 <= target < count:
        raise ValueError(f"{where}: next is atom {target}, but there are {count}")
    if step.flags & SKIP_TO_NEXT_ON_STOP and index + 1 == count:
        raise ValueError(f"{where}: a stop would skip behind the last atom")
    if atom.check and step.flags & SKIP_TO_NEXT_ON_STOP:
        raise ValueError(f"{where}: check ends the syslet, so a stop cannot skip")
    if step.flags & 1 and step.flags & 2:
        raise ValueError(f"{where}: ASYNC and SYNC exclude each other")
    return Placed(step, 0, target + 1)


def compile_program(
    atoms: Sequence[Atom],
    params: Sequence[str | Param] = (),
    returns: object = None,
    name: str = "program",
) -> Compiled:
    """Verify and pack explicit atoms; `program` makes a syslet of it."""
    writer = _Writer(params)
    placed = []
    if not atoms:
        raise ValueError("a program has at least one atom")
    for index, atom in enumerate(atoms):
        if not isinstance(atom, Atom):
            raise TypeError(f"atom {index}: not an Atom: {atom!r}")
        placed.append(_place(atom, writer.step(index, atom), index, len(atoms)))
    result = writer.result(returns)
    names: Any = writer.params
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(each, either) for each in names])
    return compile_draft(name, writer.draft, placed, result, (), signature)


def program(
    atoms: Sequence[Atom],
    *,
    params: Sequence[str | Param] = (),
    returns: object = None,
    name: str = "program",
) -> _native.Syslet:
    """A syslet of explicit atoms.

    `params` are the names (or Params) of its arguments in order; `returns` is made of
    cells, memory and parameters. Raises TypeError or ValueError, naming the atom, for
    wrong operands, a dangling `next`, refused calls and fds used after close.
    """
    return make_syslet(compile_program(atoms, params, returns, name), None)
