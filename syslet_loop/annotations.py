"""What a parameter's annotation or default says about how it may be used.

Kinds are the binding's: int, fd, path, readable, writable, timeout. An annotation this
room does not know restricts nothing, and neither does None as a default. Used by
plan.py when it makes a syslet's parameters.
"""

from __future__ import annotations

import inspect
import os

from .operands import Param

_NUMBERS = frozenset({"int", "fd", "timeout"})
_PATHS = frozenset({"path"})
_BY_NAME: dict[str, frozenset[str]] = {
    "int": _NUMBERS,
    "float": frozenset({"timeout"}),
    "bytes": frozenset({"path", "readable"}),
    "bytearray": frozenset({"readable", "writable"}),
    "memoryview": frozenset({"readable", "writable"}),
    "str": _PATHS,
    "PathLike": _PATHS,
    "Path": _PATHS,
    "tuple": frozenset({"readable"}),
}


def allowed_kinds(
    parameter: inspect.Parameter,
) -> tuple[frozenset[str] | None, str]:
    """The kinds a parameter may have, None for any; and which words said so."""
    if parameter.annotation is not parameter.empty:
        text = inspect.formatannotation(parameter.annotation).strip("'\"")
        return _by_text(text), f"annotation is {text}"
    default = parameter.default
    if default is parameter.empty or default is None:
        return None, ""
    kinds = _by_type(default)
    return kinds, f"default is {default!r}"


def _by_text(text: str) -> frozenset[str] | None:
    kinds: frozenset[str] = frozenset()
    for part in text.split("|"):
        name = part.strip().partition("[")[0].rpartition(".")[2]
        if name not in _BY_NAME:
            return None
        kinds |= _BY_NAME[name]
    return kinds


def _by_type(value: object) -> frozenset[str] | None:
    if isinstance(value, int):
        return _NUMBERS
    if isinstance(value, os.PathLike):
        return _PATHS
    return _BY_NAME.get(type(value).__name__)


def check_default(param: Param) -> None:
    """Raises TypeError if the default of `param` cannot be what it is used as."""
    default = param.default
    if not param.has_default or not param.kind or param.convert is not None:
        return
    fits = {
        "int": isinstance(default, int),
        "fd": isinstance(default, int),
        "timeout": isinstance(default, int | float),
        "path": isinstance(default, str | bytes | os.PathLike),
        "readable": not isinstance(default, int | float | str | None),
        "writable": not isinstance(default, int | float | str | bytes | None),
    }
    if not fits[param.kind]:
        raise TypeError(
            f"parameter {param.name!r} is used as {param.kind} ({param.site}), which "
            f"its default {default!r} is not"
        )
