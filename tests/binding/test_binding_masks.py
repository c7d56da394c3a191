"""Calls that change the signal mask while they wait: a worker drops the mask."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from flights import current, until

from syslet_loop import syslet

EPOLL_PWAIT = {"x86_64": 281, "aarch64": 22}[os.uname().machine]
ALL, NONE = b"\xff" * 8, bytes(8)


@syslet
def wait_masked(s: Any, epoll: int, events: int, mask: int) -> Any:
    return s.syscall(EPOLL_PWAIT, epoll, events, 1, -1, mask, 8)


@contextlib.contextmanager
def waiting(mask: bytes) -> Any:
    """An awaitable that waits for an empty pipe, and the pipe's other end."""
    read, write = os.pipe()
    events = ctypes.create_string_buffer(12)
    masks = ctypes.create_string_buffer(mask, 8)
    with (
        open(read, "rb"),
        open(write, "wb", buffering=0) as end,
        select.epoll() as poll,
    ):
        poll.register(read, select.EPOLLIN)
        addresses = ctypes.addressof(events), ctypes.addressof(masks)
        yield wait_masked(poll.fileno(), *addresses), end


def test_a_mask_of_everything_does_not_keep_a_cancellation_out(run: Any) -> None:
    async def main() -> None:
        with waiting(ALL) as (flight, _):
            task = asyncio.ensure_future(flight)
            await until(lambda: current().stats()["working"] == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def waiting_threads() -> list[str]:
    """Of the threads that wait in that call, all but this one: what they block."""
    found = []
    for number in os.listdir("/proc/self/task"):
        folder = Path("/proc/self/task") / number
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            call = (folder / "syscall").read_text().split()[0]
            if call == str(EPOLL_PWAIT) and int(number) != threading.get_native_id():
                found.append((folder / "status").read_text())
    return found


@pytest.mark.skipif(
    not Path("/proc/self/syscall").exists(),
    reason="this kernel does not say in which call a thread is (User Mode Linux)",
)
def test_an_empty_mask_lets_no_signal_in(run: Any) -> None:
    async def main() -> None:
        with waiting(NONE) as (flight, end):
            task = asyncio.ensure_future(flight)
            await until(lambda: current().stats()["working"] == 1)
            await until(lambda: len(waiting_threads()) == 1)
            (status,) = waiting_threads()
            blocked = int(status.split("SigBlk:")[1].split()[0], 16)
            assert blocked >> (signal.SIGUSR1 - 1) & 1
            assert blocked >> (signal.SIGINT - 1) & 1
            end.write(b"x")
            assert await task == 1

    run(main())
