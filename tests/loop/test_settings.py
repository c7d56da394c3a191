"""The variables that bound a loop, and what it says when a bound is reached."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

import syslet_loop
from syslet_loop import calls, syslet
from syslet_loop.settings import BOUNDS


def run(monkeypatch: pytest.MonkeyPatch, main: Any, **bounds: int) -> Any:
    """On a loop with these bounds."""
    for name, value in bounds.items():
        monkeypatch.setenv(f"SYSLET_LOOP_{name}", str(value))
    return syslet_loop.run(main)


@pytest.mark.parametrize("variable", BOUNDS)
@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5", "9" * 30, "٣"])
def test_a_bad_value_is_an_error_when_a_loop_is_made(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=f"{variable} is .* a number from"):
        syslet_loop.new_event_loop()


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    for variable in BOUNDS:
        monkeypatch.setenv(variable, "")
    assert syslet_loop.run(calls.getppid()) == os.getppid()


def test_flights(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """One more is refused, and goes when another one has landed."""

    async def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            waiting = [
                asyncio.ensure_future(calls.recv(left.fileno(), 1)) for _ in range(5)
            ]
            await asyncio.sleep(0)
            with pytest.raises(BlockingIOError, match=r"5 flights .*_FLIGHTS"):
                await calls.timeout(0.001)
            right.send(b"x")
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await calls.timeout(0.001)
            right.send(b"xxxx")
            await asyncio.gather(*waiting)

    run(monkeypatch, main(), FLIGHTS=5)


@syslet
def read_fifo(s: Any, path: str) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    return s.read(fd, 10)


def test_workers(monkeypatch: pytest.MonkeyPatch, backend: str, tmp_path: Path) -> None:
    """As few as there may be: FIFOs that nobody opens leave one of them."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        paths = [tmp_path / str(number) for number in range(10)]
        for path in paths:
            os.mkfifo(path)
        waiting = [asyncio.ensure_future(read_fifo(str(path))) for path in paths]
        async with asyncio.timeout(30):
            await asyncio.gather(*(calls.faccessat("/", os.F_OK) for _ in range(50)))
        assert loop.stats()["workers"] <= 2
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)

    run(monkeypatch, main(), WORKERS=2)


def test_entries_of_the_ring(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*(calls.timeout(0.001) for _ in range(100)))

    run(monkeypatch, main(), ENTRIES=2)


@syslet
def fixed(s: Any) -> Any:
    return s.getrandom(1 << 20)


@syslet
def computed(s: Any, size: int) -> Any:
    return s.getrandom(size)


def test_memory(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Of new buffers that are larger than a flight."""

    async def main() -> None:
        with pytest.raises(MemoryError, match="SYSLET_LOOP_MEMORY"):
            await fixed()
        with pytest.raises(OSError) as caught:
            await computed(1 << 20)
        assert caught.value.errno == errno.ENOMEM
        assert len(await computed(400_000)) == 400_000

    run(monkeypatch, main(), MEMORY=500_000)


def test_on_a_foreign_loop(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setenv("SYSLET_LOOP_MEMORY", "500000")

    async def main() -> None:
        with pytest.raises(MemoryError):
            await fixed()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())
