"""The language: what a program that writes syslets imports.

`@syslet` turns a function of the builder into a syslet; `program` and `Atom` write one
atom by atom (atoms.py). The flags are the announcement's. Building happens when the
decorator runs, and so do all complaints; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, overload

from .atoms import (
    END,
    Atom,
    Cell,
    Memory,
    Param,
    address,
    compile_program,
    length,
    program,
)
from .methods import Builder
from .ops import AT_FDCWD
from .plan import Compiled, compile_function, make_syslet
from .program_format import (
    ASYNC,
    NO_COMPLETE,
    SKIP_TO_NEXT_ON_STOP,
    STOP_ON_NEGATIVE,
    STOP_ON_NON_POSITIVE,
    STOP_ON_NONZERO,
    STOP_ON_ZERO,
    SYNC,
)

if TYPE_CHECKING:
    from . import _native

__all__ = [
    "ASYNC",
    "AT_FDCWD",
    "END",
    "NO_COMPLETE",
    "SKIP_TO_NEXT_ON_STOP",
    "STOP_ON_NEGATIVE",
    "STOP_ON_NONZERO",
    "STOP_ON_NON_POSITIVE",
    "STOP_ON_ZERO",
    "SYNC",
    "Atom",
    "Builder",
    "Cell",
    "Compiled",
    "Memory",
    "Param",
    "address",
    "compile_function",
    "compile_program",
    "length",
    "program",
    "syslet",
]


@overload
def syslet(function: Callable[..., object], /) -> _native.Syslet: ...


@overload
def syslet(
    *, name: str | None = None
) -> Callable[[Callable[..., object]], _native.Syslet]: ...


def syslet(
    function: Callable[..., object] | None = None, /, *, name: str | None = None
) -> _native.Syslet | Callable[[Callable[..., object]], _native.Syslet]:
    """Make a syslet of a function that writes it.

    The function is called once, now, with a Builder and one value per parameter; what
    it returns is what awaiting the syslet gives. Its parameters are those of the
    syslet, with their defaults; annotations say what they are where their use does not.
    Raises TypeError or ValueError for mistakes, naming the atom and the line.
    """

    def make(function: Callable[..., object]) -> _native.Syslet:
        return make_syslet(compile_function(function, name), function)

    return make if function is None else make(function)
