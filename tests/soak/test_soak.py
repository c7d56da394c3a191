"""The soak itself: a short one on each backend, and that it notices what it is for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import syslet_loop
from tests.soak import run, servers

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("backend", ["uring", "epoll"])
def test_a_short_soak(backend: str) -> None:
    try:
        syslet_loop._native.Engine(backend).close()
    except OSError as error:
        pytest.skip(f"{backend} is not to be had here: {error}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.run", "--seconds", "2", "--seed", "7"],
        env={**os.environ, "SYSLET_LOOP_BACKEND": backend},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost, nothing left" in done.stdout


def failures(monkeypatch: pytest.MonkeyPatch, protocol: type) -> run.Failures:
    """What a very short soak finds, of echo jobs only, with this protocol."""
    monkeypatch.setattr(servers, "EchoProtocol", protocol)
    monkeypatch.setattr(servers, "BufferedEcho", protocol)
    monkeypatch.setattr(run, "JOBS", {next(iter(run.JOBS)): 1})
    monkeypatch.setattr(run, "JOB_LIMIT_S", 0.5)
    monkeypatch.setattr(run, "CANCELLED", 0)
    one = run.Soak(1, 0.2)
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
        runner.run(one.run())
    one.world.folder.cleanup()
    return one.failures


class Changes(servers.EchoProtocol):
    def data_received(self, data: bytes) -> None:
        super().data_received(data[:-1] + bytes([data[-1] ^ 1]))


class Loses(servers.EchoProtocol):
    def data_received(self, data: bytes) -> None:
        super().data_received(data[:-1])


def test_changed_bytes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("differs" in what for what in failures(monkeypatch, Changes))


def test_lost_bytes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = failures(monkeypatch, Loses)
    assert any("differs" in what or "hangs" in what for what in found)


@pytest.mark.parametrize(("last", "grew"), [(50, False), (60, False), (100, True)])
def test_growth_is_noticed(last: int, grew: bool) -> None:
    one: Any = run.Soak(1, run.GROWTH_S)
    one.memory = [10 << 20] * 3 + [50 << 20] * 3 + [last << 20] * 3
    one.check_growth()
    one.world.folder.cleanup()
    assert bool(one.failures) == grew
