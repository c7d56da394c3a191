"""Builder methods made from rows of the operations table.

Most operations need nothing but their row: its letters say how each operand becomes a
cell, its `call` how the method is written. Operations with structures, addresses or
pairs in them are written by hand in the `methods_*` files. methods.py puts both
together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from . import ops
from .compound import Compound, Fills
from .op_words import SAYS
from .operands import Buffer, Data, Fd, Int, Param, Slot
from .recorder import Bounds

_DEFAULTS: dict[str, int | None] = {"AT": ops.AT_FDCWD, "None": None}


def signature(op: ops.Op) -> inspect.Signature:
    """The builder method's parameters without `self`: the row's, check, atom_flags."""
    parameters = []
    for token in op.call.split():
        name, _, default = token.lstrip("*").partition("=")
        value: object = inspect.Parameter.empty
        if default:
            value = _DEFAULTS[default] if default in _DEFAULTS else int(default, 0)
        is_keyword = token.startswith("*")
        kind = (
            inspect.Parameter.KEYWORD_ONLY
            if is_keyword
            else inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        parameters.append(inspect.Parameter(name, kind, default=value))
    parameters.sort(key=lambda p: (p.kind, p.default is not inspect.Parameter.empty))
    for name, default_value in (("check", True), ("atom_flags", 0)):
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default_value
            )
        )
    return inspect.Signature(parameters)


class Operands:
    """The cells of one atom while they are found, letter by letter."""

    def __init__(self, core: Compound, op: ops.Op, given: Mapping[str, Any]) -> None:
        self.core = core
        self.op = op
        self.given = given
        self.args: list[Slot] = []
        self.bounds: Bounds = []
        self.result: Callable[[object, Slot], Int] = Fd if op.result == "f" else Int
        self.data: Data | None = None  # new memory that is the value
        self.fills: Fills = []
        for at, (letter, name) in enumerate(zip(op.args, op.names, strict=True)):
            if name in given:
                before = op.args[at - 1] if at else " "
                self._take(letter, before, name)
            elif letter == "i":
                self.args.append(core._draft.number(0))  # not for the builder's users

    def _take(self, letter: str, before: str, name: str) -> None:
        core, value = self.core, self.given[name]
        if letter in "fd":
            self.args.append(core._fd(value, letter == "d"))
        elif letter in "ps":
            self.args.append(core._path(value))
        elif letter == "r":
            self._take_readable(value)
        elif letter == "w":
            self._take_writable(value)
        elif letter in "vV":
            self._take_vector(letter, value)
        elif letter == "a":
            at = len(self.args) + 1
            self.args += core._take_address(value, self.bounds, at)
        elif letter == "O":
            self.args.append(core._offset(value))
        elif letter == "z":
            self.args.append(core._anything(value))
        elif letter in "io" or (letter == "n" and before not in "rwa"):
            self.args.append(core._number(self._with_cloexec(name, value), repr(name)))

    def _with_cloexec(self, name: str, value: object) -> object:
        adds, flag = ops.CLOEXEC.get(self.op.name, ("", 0))
        if name != adds:
            return value
        if isinstance(value, Param):
            value.transform(_adder(flag), self.core._here())
            return value
        return value | flag if isinstance(value, int) else value

    def _take_readable(self, value: object) -> None:
        core, size = self.core, self.given.get("size")
        memory = core._memory(value, "readable", "data")
        if size is None and isinstance(value, Buffer):
            size = value.length
        self.args.append(memory.address)
        self.args.append(core._length(memory, size, len(self.args), self.bounds))

    def _take_writable(self, value: object) -> None:
        core, size = self.core, self.given.get("size")
        if core._is_size(value):
            if size is not None:
                raise TypeError(f"{self.op.title} takes a size or memory and a size")
            memory = core._new_memory(value)
            self.data = core._new_data(memory)
            self.fills.append((self.data, None))
        else:
            memory = core._memory(value, "writable", "memory")
            if isinstance(value, Buffer):
                self.fills.append((value, None))
        self.args.append(memory.address)
        self.args.append(core._length(memory, size, len(self.args), self.bounds))

    def _take_vector(self, letter: str, value: object) -> None:
        block, count, fills = self.core._vector(value, letter == "V")
        self.args += [block, count]
        self.fills += fills

    def append(self) -> object:
        """The atom; gives the value that stands for its result."""
        core = self.core
        answer = core._atom(
            self.op.name,
            self.args,
            check=self.given["check"],
            flags=self.given["atom_flags"],
            bounds=self.bounds,
            result=self.result,
        )
        for buffer, before in self.fills:
            core._fill(buffer, answer.slot, before)
        return answer if self.data is None else self.data


def _adder(flag: int) -> Callable[[object], object]:
    """Adds a flag to an argument; the same function for the same flag."""
    if flag not in _ADDERS:

        def add(value: object) -> object:
            return value | flag if isinstance(value, int) else value

        _ADDERS[flag] = add
    return _ADDERS[flag]


_ADDERS: dict[int, Callable[[object], object]] = {}


def method(op: ops.Op) -> Callable[..., object]:
    """The builder's method for an operation that its row describes."""
    parameters = signature(op)

    def call(self: Compound, *args: object, **kwargs: object) -> object:
        try:
            bound = parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"s.{op.title}{parameters}: {error}") from None
        bound.apply_defaults()
        return Operands(self, op, bound.arguments).append()

    call.__name__ = call.__qualname__ = op.title
    call.__doc__ = SAYS.get(op.name, f"The system call {op.name}.")
    call.__signature__ = parameters  # type: ignore[attr-defined]
    return call
