"""The loops that the tests of files run on: both backends of ours, and other loops.

`runner` is an asyncio.Runner on each backend of ours, `any_runner` also on the loops of
asyncio and uvloop, where the flights are attached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

import syslet_loop
import syslet_loop._native

BACKENDS = ("uring", "epoll")
KINDS = (*BACKENDS, "asyncio", "uvloop")


@pytest.fixture(scope="session")
def ring_works() -> bool:
    """Whether this process may use io_uring."""
    engine = syslet_loop._native.Engine()
    try:
        return bool(engine.backend == "uring")
    finally:
        engine.close()


# libuv keeps two descriptors for the process from its first loop on.
uvloop.new_event_loop().close()

FACTORIES: dict[str, Callable[[], Any]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


def made(
    kind: str, ring_works: bool, monkeypatch: pytest.MonkeyPatch
) -> Iterator[asyncio.Runner]:
    """A Runner with a loop of this kind."""
    if kind == "uring" and not ring_works:
        pytest.skip("this process may not use io_uring")
    if kind in BACKENDS:
        monkeypatch.setenv("SYSLET_LOOP_BACKEND", kind)
    else:
        monkeypatch.delenv("SYSLET_LOOP_BACKEND", raising=False)
    factory = FACTORIES.get(kind, syslet_loop.new_event_loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner


@pytest.fixture(params=BACKENDS)
def runner(
    request: pytest.FixtureRequest,
    ring_works: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[asyncio.Runner]:
    """A Runner on each backend of ours."""
    yield from made(request.param, ring_works, monkeypatch)


@pytest.fixture(params=KINDS)
def any_runner(
    request: pytest.FixtureRequest,
    ring_works: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[asyncio.Runner]:
    """A Runner on each loop that files work on."""
    yield from made(request.param, ring_works, monkeypatch)
