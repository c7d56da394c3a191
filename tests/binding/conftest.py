"""What the tests of the binding share: our loop on each backend, pairs of sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import syslet_loop
from syslet_loop import _native

BACKENDS = ("uring", "epoll")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of each backend of ours, chosen in the environment."""
    name: str = request.param
    try:
        _native.Engine(name).close()
    except OSError as error:
        pytest.skip(f"{name} is not to be had here: {error}")
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", name)
    return name


@pytest.fixture
def run(backend: str) -> Callable[[Any], Any]:
    """Runs an awaitable on a loop of ours that has its engine from the start."""

    def make() -> asyncio.AbstractEventLoop:
        loop = syslet_loop.new_event_loop()
        assert loop.backend == backend
        return loop

    def run(main: Any) -> Any:
        with asyncio.Runner(loop_factory=make) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets that do not block."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right
