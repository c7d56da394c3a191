"""Every operation as a plain awaitable: `await calls.fsync(fd)`.

The names and parameters are those of the builder's methods, without `atom_flags`. Each
call is a syslet of one operation, made when it is first used with operands of these
kinds (a number or memory, one buffer or three) and kept. An operation without
parameters is such a syslet itself. An fd in a result belongs to the caller.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from operator import is_ as _is
from typing import Any

from . import ops, plan
from .methods import Builder, unknown
from .operands import Param, Site

_KEPT = ("check", "address")  # part of the program, not of the arguments
# Parameters that must be known when the program is made, because it depends on them.
_FIXED = {
    "poll": ("events",),
    "fcntl": ("command",),
    "getsockopt": ("size",),
    "utimensat": ("times",),
    "timerfd_settime": ("seconds", "interval"),
    "syscall": ("nr",),
}
_NOT_CALLS = frozenset(
    [
        "add",
        "break_if",
        "buffer",
        "buffers",
        "call",
        "cell",
        "continue_if",
        "emit",
        "emits",
        "if_",
        "loop",
        "nop",
        "otherwise",
        "set",
        "stop_if",
    ]
)
_TIMES = ("timeout", "seconds")
_SYSLETS_MAX = 4096

Shape = tuple[Any, ...]


class Call:
    """One operation; calling it gives the awaitable."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.method: Callable[..., Any] = getattr(Builder, name)
        parameters = list(inspect.signature(self.method).parameters.values())
        if parameters and parameters[0].name == "self":
            parameters = parameters[1:]
        kept = [each for each in parameters if each.name != "atom_flags"]
        self.__signature__ = inspect.Signature(kept)
        self.__name__ = self.__qualname__ = name
        self.__doc__ = inspect.getdoc(self.method)
        self.syslets: dict[Shape, Any] = {}
        # For calls whose arguments are all the syslet's own: by their types.
        self.direct: dict[tuple[type, ...], Any] = {}

    def __call__(self, *args: object, **kwargs: object) -> Any:
        if not kwargs:
            syslet = self.direct.get(tuple(map(type, args)))
            if syslet is not None:
                return syslet(*args)
        shape, flat = self.flatten(args, kwargs)
        syslet = self.syslets.get(shape)
        if syslet is None:
            syslet = self.make(shape)
        if not kwargs and len(flat) == len(args) and all(map(_is, flat, args)):
            self.direct[tuple(map(type, args))] = syslet
        return syslet(*flat)

    def __repr__(self) -> str:
        return f"<call {self.name}{self.__signature__}>"

    def flatten(
        self, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[Shape, list[object]]:
        """The shape of a call and the arguments of the syslet for it."""
        flat: list[object] = []
        shape: list[Any] = []
        fixed = _FIXED.get(self.name, ()) + _KEPT
        bound = self.__signature__.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            parameter = self.__signature__.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                shape.append((name, tuple(_shape(name, each, flat) for each in value)))
            elif name in fixed and (name != "address" or isinstance(value, bool)):
                shape.append((name, ("is", value)))
            else:
                shape.append((name, _shape(name, value, flat)))
        return tuple(shape), flat

    def make(self, shape: Shape) -> Any:
        """The syslet for calls of this shape."""
        if len(self.syslets) == _SYSLETS_MAX:
            self.syslets.clear()
            self.direct.clear()
        syslet = plan.make_syslet(self.compile(shape), self)
        self.syslets[shape] = syslet
        return syslet

    def compile(self, shape: Shape) -> plan.Compiled:
        """The program for calls of this shape."""
        builder = Builder()
        builder._site = Site("", 0)
        params: list[Param] = []
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, kind in shape:
            parameter = self.__signature__.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += [_operand(builder, name, each, params) for each in kind]
            elif parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[name] = _operand(builder, name, kind, params)
            elif any(p.kind is p.VAR_POSITIONAL for p in self._parameters()):
                args.append(_operand(builder, name, kind, params))
            else:
                kwargs[name] = _operand(builder, name, kind, params)
        either = inspect.Parameter.POSITIONAL_OR_KEYWORD
        names = [inspect.Parameter(param.name, either) for param in params]
        return plan.compile_builder(
            self.name,
            builder,
            params,
            lambda: self.method(builder, *args, **kwargs),
            inspect.Signature(names),
        )

    def _parameters(self) -> list[inspect.Parameter]:
        return list(self.__signature__.parameters.values())


def _shape(name: str, value: object, flat: list[object]) -> Any:
    """What kind of operand an argument is; the argument goes to `flat`."""
    if value is None:
        return ("is", None)
    if name in ("buffers", "data") and isinstance(value, list | tuple):
        return ("list", tuple(_shape("", each, flat) for each in value))
    flat.append(value)
    if name in _TIMES:
        return "timeout"
    if name == "address" or "fd" in name.split("_"):
        return name
    if isinstance(value, int):
        return "int"
    if isinstance(value, str | os.PathLike):
        return "path"
    if isinstance(value, bytes):
        return "bytes"
    return "memory"


_ALLOWED: dict[str, frozenset[str] | None] = {
    "int": frozenset({"int", "fd"}),
    "path": frozenset({"path"}),
    "bytes": frozenset({"path", "readable"}),
    "memory": frozenset({"readable", "writable"}),
    "timeout": frozenset({"timeout"}),
}


def _operand(builder: Builder, name: str, kind: Any, params: list[Param]) -> object:
    """The operand for one part of a shape: a constant, a parameter, a list."""
    if isinstance(kind, tuple) and kind[0] == "is":
        return kind[1]
    if isinstance(kind, tuple):
        return [_operand(builder, name, each, params) for each in kind[1]]
    taken = {param.name for param in params}
    called = name
    while called in taken:
        called = f"{name}_{len(params)}"
    param = Param(builder, called, len(params))
    param.allowed, param.origin = _ALLOWED.get(kind), f"argument is {kind}"
    params.append(param)
    return param


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _NOT_CALLS or not hasattr(Builder, name):
        raise AttributeError(str(unknown(name, __name__)))
    call = Call(name)
    is_alone = not [each for each in call._parameters() if each.name not in _KEPT]
    globals()[name] = call.make(()) if is_alone else call
    return globals()[name]


def __dir__() -> list[str]:
    names = [name for name in dir(Builder) if not name.startswith("_")]
    return sorted({*globals(), *names} - _NOT_CALLS)


__all__ = [op.title for op in ops.OPS if hasattr(Builder, op.title)]
__all__ = [name for name in __all__ if name not in _NOT_CALLS]
