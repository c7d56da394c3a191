"""The loops that the behaviour tests run on; asyncio's own is the judge.

`runner` is an asyncio.Runner with a loop of each kind in turn. On `uring` and `epoll`
the engine exists from the start, so the waiting is done by it; `plain` is our loop as
it is before the first flight. `foreign` makes loops that know nothing of flights.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kinds import FOREIGN
from loop.sockets import Pair, make_pair

import syslet_loop

BACKENDS = ("uring", "epoll")
if Path("/dev/syslet").exists():  # a kernel that executes syslets: docs/kernel.md
    BACKENDS += ("kernel",)
KINDS = ("asyncio", "plain", *BACKENDS)


def ring_works() -> bool:
    """Whether this process may use io_uring."""
    engine = syslet_loop._native.Engine()
    try:
        return engine.backend in ("uring", "kernel")
    finally:
        engine.close()


RING_WORKS = ring_works()


def factory(kind: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What makes a loop of this kind."""
    if kind == "uring" and not RING_WORKS:
        pytest.skip("this process may not use io_uring")
    if kind in BACKENDS:
        monkeypatch.setenv("SYSLET_LOOP_BACKEND", kind)
    else:
        monkeypatch.delenv("SYSLET_LOOP_BACKEND", raising=False)

    def make() -> asyncio.AbstractEventLoop:
        if kind == "asyncio":
            return asyncio.SelectorEventLoop()
        loop = syslet_loop.new_event_loop()
        if kind in BACKENDS:
            assert loop.backend == kind
        return loop

    return make


@pytest.fixture(params=KINDS)
def runner(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[asyncio.Runner]:
    """A Runner on each kind of loop."""
    handler = signal.getsignal(signal.SIGINT)
    make = factory(request.param, monkeypatch)
    with asyncio.Runner(loop_factory=make) as made:
        yield made
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of each backend of ours, chosen in the environment."""
    factory(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture(params=("asyncio", "uvloop"))
def foreign(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """What makes loops of other people's, on which flights are attached."""
    return FOREIGN[request.param]


@pytest.fixture
def ours(backend: str) -> Iterator[asyncio.Runner]:
    """A Runner on each backend of ours."""
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as made:
        yield made


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected sockets that do not block."""
    with make_pair() as made:
        yield made
