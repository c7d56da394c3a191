"""The reliability checks, shorter than `python -m tests.reliability.run` has them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import syslet_loop
from tests.reliability import checks

SHORT: dict[str, dict[str, Any]] = {
    "connections": {"count": 300},
    "fifos": {"count": 100, "files": 40},
    "resets": {"count": 40, "seconds": 1.5},
    "cancels": {"count": 10_000},
}


@pytest.fixture(params=["uring", "epoll"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    try:
        syslet_loop._native.Engine(name).close()
    except OSError as error:
        pytest.skip(f"{name} is not to be had here: {error}")
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", name)
    return name


@pytest.mark.parametrize("name", SHORT)
def test_it_holds(backend: str, name: str) -> None:
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
        assert runner.run(checks.CHECKS[name](**SHORT[name]))
