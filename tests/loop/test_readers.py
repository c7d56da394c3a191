"""add_reader and add_writer: registration, repeated calls, and odd descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import caught, on_loop, stuff, turns, until


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    with os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0):
        yield reading, writing


@on_loop
async def test_adding_and_removing() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, _):
        for add, remove in (
            (loop.add_reader, loop.remove_reader),
            (loop.add_writer, loop.remove_writer),
        ):
            assert remove(left) is False
            assert add(left, print) is None
            assert remove(left.fileno()) is True, "the number is the same"
            assert remove(left) is False
        loop.add_reader(left.fileno(), print)
        loop.add_writer(left, print)
        assert loop.remove_reader(left) is True
        assert loop.remove_writer(left) is True
        assert loop.remove_writer(left) is False


@on_loop
async def test_arguments() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, _):
        seen: list[Any] = []
        loop.add_writer(left, lambda *args: seen.append(args), 1, "two", None)
        await until(lambda: seen)
        loop.remove_writer(left)
        assert seen[0] == (1, "two", None)
        with pytest.raises(TypeError):
            loop.add_reader(left, print, end="")


@on_loop
async def test_calls_go_on_while_there_is_something() -> None:
    """Whatever the callback leaves is told again; without more, nothing is told."""
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        calls: list[int] = []
        loop.add_reader(left, calls.append, 1)
        await turns()
        assert calls == []
        right.send(b"ab")
        await until(lambda: len(calls) >= 5)
        left.recv(1)
        calls.clear()
        await until(lambda: len(calls) >= 5)
        left.recv(1)
        await turns(2)
        calls.clear()
        await asyncio.sleep(0.01)
        assert calls == []
        right.send(b"c")
        await until(lambda: calls)
        loop.remove_reader(left)


@on_loop
async def test_a_second_reader_replaces_the_first() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        seen: list[str] = []
        loop.add_reader(left, seen.append, "first")
        loop.add_reader(left, seen.append, "second")
        right.send(b"x")
        await until(lambda: seen)
        loop.add_reader(left, seen.append, "third")
        seen.clear()
        await until(lambda: seen)
        assert set(seen) == {"third"}
        assert loop.remove_reader(left)
        seen.clear()
        await turns()
        assert seen == []


@on_loop
async def test_removing_within_the_callback() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        seen: list[bool] = []
        loop.add_reader(left, lambda: seen.append(loop.remove_reader(left)))
        right.send(b"x")
        await until(lambda: seen)
        await turns()
        assert seen == [True]


@on_loop
async def test_removing_another_that_is_ready_too() -> None:
    """Of two that are ready in one turn, the first may take the other out."""
    loop = asyncio.get_running_loop()
    with make_pair() as (one, to_one), make_pair() as (two, to_two):
        seen: list[str] = []

        def told(name: str) -> None:
            seen.append(name)
            loop.remove_reader(one)
            loop.remove_reader(two)

        loop.add_reader(one, told, "one")
        loop.add_reader(two, told, "two")
        to_one.send(b"x")
        to_two.send(b"x")
        await turns(10)
        assert seen in (["one"], ["two"])


@on_loop
async def test_replacing_another_that_is_ready_too() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (one, to_one), make_pair() as (two, to_two):
        seen: list[str] = []

        def told(name: str) -> None:
            seen.append(name)
            for sock in (one, two):
                loop.add_reader(sock, again, sock)

        def again(sock: socket.socket) -> None:
            seen.append("again")
            loop.remove_reader(sock)

        loop.add_reader(one, told, "old")
        loop.add_reader(two, told, "old")
        to_one.send(b"x")
        to_two.send(b"x")
        await until(lambda: len(seen) == 3)
        assert seen == ["old", "again", "again"]


@on_loop
async def test_adding_again_within_the_callback() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        seen: list[int] = []

        def read(number: int) -> None:
            seen.append(number)
            assert loop.remove_reader(left)
            if number < 5:
                loop.add_reader(left, read, number + 1)

        loop.add_reader(left, read, 0)
        right.send(b"x")
        await until(lambda: len(seen) == 6)
        await turns()
        assert seen == list(range(6))


@on_loop
async def test_the_reader_comes_before_the_writer() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        seen: list[str] = []
        right.send(b"x")
        loop.add_writer(left, seen.append, "writer")
        loop.add_reader(left, seen.append, "reader")
        await until(lambda: len(seen) >= 4)
        loop.remove_reader(left)
        loop.remove_writer(left)
        assert seen[:4] == ["reader", "writer"] * 2


@on_loop
async def test_a_failing_callback_stays_registered() -> None:
    loop = asyncio.get_running_loop()
    contexts = caught()
    with make_pair() as (left, right):
        loop.add_reader(left, int, "no number")
        right.send(b"x")
        await until(lambda: len(contexts) >= 2)
        assert loop.remove_reader(left)
    assert contexts[0].keys() == {"message", "exception", "handle"}
    assert contexts[0]["message"].startswith("Exception in callback ")
    assert isinstance(contexts[0]["exception"], ValueError)
    assert isinstance(contexts[0]["handle"], asyncio.Handle)


@on_loop
async def test_ends_of_pipes() -> None:
    """A lost peer is told to reader and writer alike, whatever was asked for."""
    loop = asyncio.get_running_loop()
    for add, remove, mine in (
        (loop.add_reader, loop.remove_reader, 0),
        (loop.add_reader, loop.remove_reader, 1),
        (loop.add_writer, loop.remove_writer, 1),
    ):
        ends = os.pipe2(os.O_NONBLOCK)
        if add == loop.add_writer:
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(ends[1], bytes(65536))
        told = asyncio.Event()
        add(ends[mine], told.set)
        await turns()
        assert not told.is_set()
        os.close(ends[1 - mine])
        await told.wait()
        assert remove(ends[mine])
        os.close(ends[mine])


@on_loop
async def test_a_writer_waits_for_room_each_time() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        for _ in range(3):
            taken = stuff(left)
            told = asyncio.Event()
            loop.add_writer(left, told.set)
            await turns()
            assert not told.is_set()
            while taken:
                taken -= len(right.recv(1 << 20))
            await told.wait()
            assert loop.remove_writer(left)


@on_loop
async def test_a_closed_descriptor_can_be_removed_and_used_again() -> None:
    loop = asyncio.get_running_loop()
    for _ in range(5):
        reading, writing = os.pipe()
        loop.add_reader(reading, print)
        os.close(reading)
        os.close(writing)
        assert loop.remove_reader(reading) is True
        with pipe() as (again, end):
            assert again == reading
            told = asyncio.Event()
            loop.add_reader(again, told.set)
            os.write(end, b"x")
            await told.wait()
            assert loop.remove_reader(again)


@on_loop
async def test_closing_within_the_callback() -> None:
    loop = asyncio.get_running_loop()
    seen: list[bytes] = []
    reading, writing = os.pipe()

    def read() -> None:
        seen.append(os.read(reading, 10))
        os.close(reading)
        assert loop.remove_reader(reading)

    loop.add_reader(reading, read)
    os.write(writing, b"only")
    await until(lambda: seen)
    await turns()
    assert seen == [b"only"]
    os.close(writing)


@on_loop
async def test_duplicates_are_descriptors_of_their_own() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right), left.dup() as other:
        seen: list[str] = []
        loop.add_reader(left, seen.append, "left")
        loop.add_reader(other, seen.append, "other")
        right.send(b"x")
        await until(lambda: set(seen) == {"left", "other"})
        loop.remove_reader(left)
        seen.clear()
        await until(lambda: seen)
        assert set(seen) == {"other"}
        loop.remove_reader(other)


@on_loop
async def test_what_has_no_readiness(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with open(tmp_path / "file", "wb") as file, open("/dev/null", "rb") as null:
        for each in (file, null):
            for add in (loop.add_reader, loop.add_writer):
                with pytest.raises(PermissionError):
                    add(each, print)
            assert not loop.remove_reader(each)


@on_loop
async def test_what_is_no_descriptor() -> None:
    loop = asyncio.get_running_loop()
    number = os.dup(0)
    os.close(number)
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises(OSError) as refusal:
            method(number, print)
        assert refusal.value.errno == errno.EBADF
        for wrong in ("0", None, object(), 1.5):
            with pytest.raises(ValueError, match="Invalid file object"):
                method(wrong, print)
        with pytest.raises(ValueError):
            method(-1, print)
    for remove in (loop.remove_reader, loop.remove_writer):
        assert remove(number) is False
        with pytest.raises(ValueError):
            remove(None)


@on_loop
async def test_other_kinds_of_descriptors() -> None:
    loop = asyncio.get_running_loop()
    with pipe() as (reading, writing), select.epoll() as epoll:
        epoll.register(reading, select.EPOLLIN)
        told = asyncio.Event()
        loop.add_reader(epoll, told.set)
        os.write(writing, b"x")
        await told.wait()
        loop.remove_reader(epoll)
    number = os.pidfd_open(os.getpid())
    loop.add_reader(number, print)
    assert loop.remove_reader(number)
    os.close(number)


@on_loop
async def test_many_descriptors() -> None:
    loop = asyncio.get_running_loop()
    seen: set[int] = set()
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(pipe()) for _ in range(200)]
        for reading, _ in ends:
            loop.add_reader(reading, seen.add, reading)
        for _, writing in ends[::2]:
            os.write(writing, b"x")
        await until(lambda: len(seen) == 100)
        assert seen == {reading for reading, _ in ends[::2]}
        assert all(loop.remove_reader(reading) for reading, _ in ends)


@on_loop
async def test_nobody_starves() -> None:
    """Callbacks that never end, a descriptor that is always ready, and timers."""
    loop = asyncio.get_running_loop()
    with make_pair() as (left, _):
        counts = {"soon": 0, "ready": 0, "timer": 0}

        def count(name: str, again: Any, *args: Any) -> None:
            counts[name] += 1
            again(*args)

        def soon() -> None:
            count("soon", loop.call_soon, soon)

        def timer() -> None:
            count("timer", loop.call_later, 0, timer)

        loop.add_writer(left, count, "ready", int)
        soon()
        timer()
        await until(lambda: min(counts.values()) > 20)
        loop.remove_writer(left)


def test_readers_outlive_a_run(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    seen: list[int] = []
    with make_pair() as (left, right):
        loop.add_reader(left, seen.append, 1)
        right.send(b"x")
        runner.run(turns())
        first = len(seen)
        assert first >= 1
        runner.run(turns())
        assert len(seen) > first
        assert loop.remove_reader(left), "this needs no running loop"
        loop.add_reader(left, seen.append, 1)
        runner.close()
        assert loop.remove_reader(left) is False
        with pytest.raises(RuntimeError, match="closed"):
            loop.add_reader(left, print)
