"""add_reader and add_writer: files that act when they are let go, numbers used again.

What a second reading of the native readers found. asyncio's loop is the judge where it
has an opinion; it has none about a number that was closed and is somebody else's.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import fill, on_loop, turns, until, wired

ours = pytest.mark.parametrize("runner", ("plain", "uring", "epoll"), indirect=True)


class File:
    """A file that calls `at_end` when nobody has it any more."""

    def __init__(self, number: int, at_end: Callable[[], None]) -> None:
        self.number = number
        self.at_end = at_end

    def fileno(self) -> int:
        return self.number

    def __del__(self) -> None:
        self.at_end()


@on_loop
async def test_the_first_file_stays_while_its_number_is_registered() -> None:
    loop = asyncio.get_running_loop()
    removed: list[bool] = []
    with make_pair() as (left, right):
        number = left.fileno()
        told = asyncio.Event()
        file = File(number, lambda: removed.append(loop.remove_reader(number)))
        loop.add_reader(file, print)
        del file
        loop.add_reader(number, print)
        loop.add_reader(left, told.set)
        assert removed == []
        right.send(b"x")
        await told.wait()
        assert loop.remove_reader(number)
        assert removed == [False]


@on_loop
async def test_a_closed_file_is_removed_though_its_number_was_added_too() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, _):
        loop.add_reader(left, print)
        loop.add_reader(left.fileno(), print)
        left.close()
        assert loop.remove_reader(left) is True
        with pytest.raises(ValueError):
            loop.remove_reader(left)


@ours
@on_loop
async def test_a_file_that_removes_what_takes_its_number() -> None:
    loop = asyncio.get_running_loop()
    removed: list[bool] = []
    reading, writing = os.pipe()
    file = File(reading, lambda: removed.append(loop.remove_reader(reading)))
    loop.add_reader(file, print)
    del file
    os.close(reading)
    os.close(writing)
    with make_pair() as (left, right):
        assert left.fileno() == reading
        loop.add_reader(left, print)  # lets go of the file, which removes this
        assert removed == [True]
        called: list[int] = []
        for each in range(5):
            loop.call_soon(called.append, each)
        right.send(b"x")
        await turns()
        assert called == [0, 1, 2, 3, 4]
        assert loop.remove_reader(left) is False


@ours
@on_loop
async def test_removing_one_of_two_adds_nothing_for_the_other() -> None:
    loop = asyncio.get_running_loop()
    called: list[str] = []
    with make_pair() as (left, _):
        number = left.fileno()
        loop.add_reader(number, called.append, "read")
        loop.add_writer(number, called.append, "write")
    with make_pair() as (left, _):
        assert left.fileno() == number
        assert loop.remove_reader(number)
        await turns()
        assert called == []  # though `left` could be written to
        loop.add_writer(number, called.append, "new")
        await until(lambda: called)
        assert loop.remove_writer(number)
        assert set(called) == {"new"}


@on_loop
async def test_a_cancelled_reader_whose_file_adds_another() -> None:
    loop: Any = asyncio.get_running_loop()
    told: list[str] = []
    with make_pair() as (left, right), make_pair() as (other, sender):
        high = fcntl.fcntl(other, fcntl.F_DUPFD_CLOEXEC, 3000)
        file = File(left.fileno(), lambda: loop.add_reader(high, told.append, "high"))
        handle = loop._add_reader(file, told.append, "cancelled")
        del file
        handle.cancel()
        sender.send(b"x")
        right.send(b"x")
        await until(lambda: told)
        assert set(told) == {"high"}
        assert loop.remove_reader(high)
        os.close(high)


@pytest.mark.parametrize("unsent", [False, True])
@on_loop
async def test_a_descriptor_of_a_closing_transport(unsent: bool) -> None:
    loop = asyncio.get_running_loop()
    async with wired() as (transport, _, _):
        sock: socket.socket = transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(sock, print)
        if unsent:
            fill(transport)
        transport.close()
        assert loop.remove_reader(sock) is False
        loop.add_reader(sock, print)
        assert loop.remove_reader(sock) is True
        transport.abort()
