"""Puts another loop in the place of asyncio's selector loop, in a process of its own.

Called by child.py after the fork and before the test. Every name that asyncio or the
test modules have for the selector loop's class becomes a stand-in that calls a factory
and counts. Classes that were derived from asyncio's already stay what they are.
"""

from __future__ import annotations

import asyncio
import asyncio.unix_events
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

ORIGINAL = asyncio.unix_events._UnixSelectorEventLoop
BACKENDS = ("uring", "epoll")
PACKAGES = ("asyncio.", "test.test_asyncio.")

Factory = Callable[[], asyncio.AbstractEventLoop]


class Count:
    """How many loops were made: of the kind asked for, and asyncio's own."""

    ours = 0
    asyncios = 0


def factory_of(kind: str) -> Factory | None:
    """What makes loops of a kind; None for asyncio's own.

    A kind is 'asyncio', 'ours', a backend of ours, or 'module:factory'.
    """
    if kind == "asyncio":
        return None
    if ":" in kind:
        module, _, name = kind.partition(":")
        made: Factory = getattr(importlib.import_module(module), name)
        return made
    if kind in BACKENDS:
        os.environ["SYSLET_LOOP_BACKEND"] = kind
    elif kind != "ours":
        raise ValueError(f"no loop is called {kind!r}")
    import syslet_loop

    def make() -> asyncio.AbstractEventLoop:
        loop = syslet_loop.new_event_loop()
        # Asking for the backend makes the engine, so that the waiting is done by it.
        assert kind == "ours" or loop.backend == kind
        return loop

    return make


class _StandIn(type):
    """Calls are the factory's; the loops that it made are instances."""

    def __call__(cls, selector: Any = None) -> asyncio.AbstractEventLoop:
        if selector is not None:
            selector.close()
        loop = cls.factory()
        cls.types.add(type(loop))
        Count.ours += 1
        return loop

    def __instancecheck__(cls, instance: Any) -> bool:
        return type(instance) in cls.types or isinstance(instance, ORIGINAL)


def _count_originals() -> None:
    """Count the loops that are asyncio's selector loop itself."""
    init = ORIGINAL.__init__

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        Count.asyncios += type(self) is ORIGINAL
        init(self, *args, **named)

    ORIGINAL.__init__ = __init__


def _spaces() -> Iterator[Any]:
    """The modules of asyncio and of its tests, and the classes they define."""
    for name, module in list(sys.modules.items()):
        if f"{name}.".startswith(PACKAGES):
            yield module
            for value in list(vars(module).values()):
                if isinstance(value, type) and value.__module__ == name:
                    yield value


def _close_loop(close: Callable[[Any], None]) -> Callable[[Any], None]:
    """The tests' clean-up for loops that show no _default_executor."""

    def close_loop(loop: Any) -> None:
        if not hasattr(loop, "_default_executor"):
            if not loop.is_closed():
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()
            asyncio.set_event_loop(None)
            return
        close(loop)

    return close_loop


def replace(kind: str) -> None:
    """From here on `kind` is the loop of this process."""
    factory = factory_of(kind)
    _count_originals()
    if factory is None:
        return
    space = {"factory": staticmethod(factory), "types": set()}
    stand_in = _StandIn("SelectorEventLoop", (), space)
    for space in _spaces():
        for name, value in list(vars(space).items()):
            if value is ORIGINAL:
                setattr(space, name, stand_in)
    from test.test_asyncio import utils

    utils.TestCase.close_loop = staticmethod(_close_loop(utils.TestCase.close_loop))


def is_ours(kind: str) -> bool:
    return kind == "ours" or kind in BACKENDS


def check(kind: str) -> None:
    """Import what loops of a kind need, so that no child has to; or raise."""
    if kind != "asyncio":
        factory_of(kind)
