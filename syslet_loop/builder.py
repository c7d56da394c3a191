"""The builder's core: cells, loops, branches, reports, composition.

`s` in a syslet's function is a Builder (methods.py), which is this class with one
method per operation. It runs nothing: it writes a draft, and every mistake that can be
seen without running is raised here, from the line that makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from . import program_format
from .draft import Jump, Label, Test
from .operands import (
    SIGNS,
    Buffer,
    Cell,
    Condition,
    Fd,
    Int,
    Slot,
)
from .recorder import Recorder


class Core(Recorder):
    """Variables and control flow."""

    # Cells and memory.

    def cell(self, initial: int = 0) -> Cell:
        """A variable of the flight that starts as `initial`.

        Reset when the flight starts, not where this line stands: use `set` in a loop.
        """
        if isinstance(initial, bool) or not isinstance(initial, int):
            raise TypeError(f"a cell starts as an int, not as {initial!r}: use s.set")
        slot = self._draft.slot(program_format.word(initial))
        self._draft.origins[id(slot)] = self._here(), "cell"
        return Cell(self, slot)

    def set(self, cell: Cell, value: object) -> None:
        """Give `cell` a value: a constant, a cell, a result or a parameter."""
        slot = self._variable(cell, "s.set")
        slot.holds_fd = slot.holds_fd or isinstance(value, Fd)
        self._atom("nop", [self._number(value)], ret=slot, title="set", check=False)

    def add(self, cell: Cell, value: object) -> Int:
        """Add to `cell` and give the sum. The sum is no error if it is negative."""
        address = self._draft.address_of(self._variable(cell, "s.add"))
        return self._atom(
            "umem_add", [address, self._number(value)], title="add", check=False
        )

    def nop(self, value: object = 0) -> Int:
        """Give `value` and do nothing else."""
        return self._atom("nop", [self._number(value)], check=False)

    def umem_add(self, memory: object, value: object) -> Int:
        """Add to the 8-byte integer at `memory` and give the sum; 0 just reads it.

        `memory` is a parameter (writable memory of at least 8 bytes), a buffer, a cell,
        or a number that is an address.
        """
        address = self._address(memory, 8)
        return self._atom("umem_add", [address, self._number(value)], check=False)

    def buffer(self, size: object) -> Buffer:
        """New memory of `size` bytes, a constant or a value known by then."""
        buffer = Buffer(self, self._new_memory(size))
        self.buffers.append(buffer)
        self._draft.origins[id(buffer.memory.address)] = self._here(), "buffer"
        return buffer

    def _variable(self, cell: object, what: str) -> Slot:
        if not isinstance(cell, Cell):
            raise TypeError(f"{what} changes cells made by s.cell, not {cell!r}")
        self._own(cell)
        return cell.slot

    # Control flow.

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Repeats its body until `break_if`, an error or the end of the flight."""
        start, end = Label(), Label()
        self._draft.code.append(start)
        self._loops.append((start, end))
        yield
        self._loops.pop()
        self._draft.code += [Jump(start), end]

    def if_(self, condition: Condition) -> AbstractContextManager[None]:
        """Runs its body if `condition` holds; `otherwise` may follow."""
        above = Label()
        self._test(condition, above, holds=False)
        return self._body(above)

    @contextmanager
    def _body(self, above: Label) -> Iterator[None]:
        below = Label()
        yield
        # The jump over an `otherwise` is threaded away if there is none.
        self._draft.code += [Jump(below), above, below]
        self._else, self._else_at = below, len(self._draft.code)

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """Runs its body if the condition of the `if_` just before does not hold."""
        if self._else is None or self._else_at != len(self._draft.code):
            raise ValueError(f"s.otherwise() without s.if_ before it ({self._here()})")
        below = self._else
        self._else = None
        self._draft.code.pop()
        yield
        self._draft.code.append(below)

    def break_if(self, condition: Condition) -> None:
        """Leave the innermost loop if `condition` holds."""
        self._test(condition, self._innermost("break_if")[1])

    def continue_if(self, condition: Condition) -> None:
        """Start the innermost loop again if `condition` holds."""
        self._test(condition, self._innermost("continue_if")[0])

    def stop_if(self, condition: Condition) -> None:
        """End the syslet, without an error, if `condition` holds."""
        stop, on = Label(), Label()
        self._test(condition, stop)
        self._draft.code += [Jump(on), stop, Jump(None), on]

    def _innermost(self, name: str) -> tuple[Label, Label]:
        if not self._loops:
            raise ValueError(f"s.{name} outside s.loop() ({self._here()})")
        return self._loops[-1]

    def _innermost_must_be_closed(self) -> None:
        if self._loops:
            raise ValueError("a loop is still open: use `with s.loop():`")

    def _test(self, condition: object, target: Label, holds: bool = True) -> None:
        if not isinstance(condition, Condition):
            raise TypeError(
                f"not a condition: {condition!r}; compare a value with 0, as in n <= 0"
            )
        self._own(condition.value)
        signs = condition.signs if holds else frozenset(SIGNS) - condition.signs
        slot = self._number(condition.value)
        self._draft.code.append(Test(slot, signs, target, self._here()))

    # Reports and composition.

    def emit(self, value: object) -> None:
        """Report `value` to `async for` and go on. An emitted fd is the receiver's."""
        self.emits.append(value)
        number = self._draft.number(len(self.emits) - 1)
        self._atom("emit", [number], ret=None, check=False)

    def call(self, syslet: object, *args: object, **kwargs: object) -> object:
        """Run another syslet's atoms here, with these operands, and give its result.

        `syslet` is a decorated syslet or a function that takes a builder.
        """
        info = getattr(syslet, "info", None)
        function = getattr(info, "function", None) or syslet
        if info is not None and getattr(info, "function", None) is None:
            raise TypeError("a syslet of explicit atoms cannot be part of another one")
        if not callable(function):
            raise TypeError(f"not a syslet: {syslet!r}")
        result: object = function(self, *args, **kwargs)
        return result
