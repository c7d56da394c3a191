"""The builder that users see: `s` in a syslet's function.

Control flow and cells come from builder.py, operations with structures from
methods_files.py and methods_net.py, all others from the rows of the operations table.
A name that is none of them is refused with the nearest one that is.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import ops
from .draft import Step
from .generic import method
from .methods_files import FileMethods
from .methods_net import NetMethods


class Builder(FileMethods, NetMethods):
    """Writes a syslet: every operation is a method, see help() of each."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    else:

        def __getattr__(self, name):
            if name.startswith("_"):
                raise AttributeError(name)
            raise unknown(name, self._here())


def unknown(name: str, place: object) -> Exception:
    """The error for an operation that does not exist or may not be used."""
    if name in ops.REFUSED_NAMES:
        reason = ops.REFUSED_NAMES[name]
        return ValueError(f"a syslet may not call {name}: {reason} ({place})")
    known = [title for title in dir(Builder) if not title.startswith("_")]
    near = difflib.get_close_matches(name, known, 1)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return UnknownOperation(f"no operation {name!r} ({place}){hint}")


class UnknownOperation(TypeError, AttributeError):
    """A TypeError that hasattr() and getattr() with a default understand."""


def _located(title: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The method, with its mistakes naming the atom and the line they are about."""

    @functools.wraps(function)
    def call(self: Builder, *args: object, **kwargs: object) -> Any:
        try:
            return function(self, *args, **kwargs)
        except (TypeError, ValueError) as error:
            if getattr(error, "is_located", False):
                raise
            index = sum(isinstance(item, Step) for item in self._draft.code)
            place = f"atom {index}: {title} ({self._here()})"
            located = type(error)(f"{place}: {error}")
            located.__dict__["is_located"] = True
            raise located from None

    return call


_BY_HAND = ("umem_add", "load", "buffer", "emit")

for _op in ops.OPS:
    if _op.name in _BY_HAND:
        continue
    if not hasattr(Builder, _op.title):
        setattr(Builder, _op.title, method(_op))
    if not hasattr(Builder, _op.name):
        setattr(Builder, _op.name, getattr(Builder, _op.title))

for _name in dir(Builder):
    # `loop` and `otherwise` take no operands; `call` runs other code, which is located.
    if not _name.startswith("_") and _name not in ("loop", "otherwise", "call"):
        _function = getattr(Builder, _name)
        if callable(_function):
            setattr(Builder, _name, _located(_name, _function))
