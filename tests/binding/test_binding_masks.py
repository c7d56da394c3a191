"""Calls that change the signal mask while they wait: a worker drops the mask."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
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


def test_an_empty_mask_lets_no_signal_in(run: Any) -> None:
    async def main() -> None:
        with waiting(NONE) as (flight, end):
            task = asyncio.ensure_future(flight)
            await until(lambda: current().stats()["working"] == 1)
            seen: list[int] = []
            old = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
                os.kill(os.getpid(), signal.SIGUSR1)
                end.write(b"x")
                assert await task == 1, "it was not interrupted"
                assert signal.SIGUSR1 in signal.sigpending()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
                signal.signal(signal.SIGUSR1, old)
            assert seen == [signal.SIGUSR1]

    run(main())
