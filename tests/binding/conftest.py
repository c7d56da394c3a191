"""What the tests of the binding share: loops of every kind, pairs of sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kinds
import pytest
from kinds import KINDS

from syslet_loop import _native, attach

BACKENDS = ("uring", "epoll")
if Path("/dev/syslet").exists():  # a kernel that executes syslets: docs/kernel.md
    BACKENDS += ("kernel",)


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


@pytest.fixture(params=KINDS)
def run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Any], Any]:
    """Runs an awaitable on a loop of each kind, with its engine from the start."""
    factory = kinds.factory(request.param, monkeypatch)

    async def attached() -> str:
        return attach.current_engine().backend

    def run(main: Any) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            backend = runner.run(attached())
            assert backend == (kinds.BACKENDS[request.param] or backend)
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
