"""Results, whose descriptors are whose, and the exceptions of what failed."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flights import descriptors, echo, flying, make_pipe, read_file, receive

from syslet_loop import calls, syslet

Run = Callable[[Any], Any]
Pair = tuple[socket.socket, socket.socket]


# Values.


class Named(NamedTuple):
    first: Any
    second: Any


def test_values_of_every_kind(run: Run) -> None:
    marker = object()

    @syslet
    def give(s: Any, target: bytearray, other: Any) -> Any:
        number = s.nop(-5)
        data = s.getrandom(4)
        filled = s.getrandom(target)
        return {
            "int": number,
            "bytes": data,
            "count": filled,
            "memory": target,
            "object": other,
            "constant": marker,
            "none": None,
            "text": "text",
            "tuple": (number, (number, [number])),
            "list": [number, {"deep": {"deeper": number}}],
            "named": Named(number, "second"),
            "empty": ((), [], {}),
            5: 6,
        }

    async def main() -> None:
        target, other = bytearray(6), ["other"]
        result = await give(target, other)
        assert list(result)[:3] == ["int", "bytes", "count"]
        assert (result["int"], result["count"], result[5]) == (-5, 6, 6)
        assert type(result["bytes"]) is bytes and len(result["bytes"]) == 4
        assert result["memory"] is target
        assert result["object"] is other
        assert result["constant"] is marker
        assert result["none"] is None and result["text"] == "text"
        assert result["tuple"] == (-5, (-5, [-5]))
        assert result["list"] == [-5, {"deep": {"deeper": -5}}]
        assert result["named"] == Named(-5, "second")
        assert type(result["named"]) is Named
        assert result["empty"] == ((), [], {})
        again = await give(target, other)
        assert again["list"] is not result["list"]
        assert again is not result

    run(main())


def test_bytes_have_the_length_that_was_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "file"
    sizes = (0, 1, 100, 65535, 65536, 65537, 1 << 20)

    async def main() -> None:
        for size in sizes:
            content = os.urandom(size)
            path.write_bytes(content)
            assert await read_file(path, 1 << 21) == content
            assert await read_file(path, 50) == content[:50]
        assert await read_file(path, 0) == b""

    run(main())


def test_no_return_is_none(run: Run) -> None:
    @syslet
    def nothing(s: Any) -> None:
        s.getppid()

    async def main() -> None:
        assert await nothing() is None

    run(main())


def test_a_template_that_raises(run: Run, pair: Pair) -> None:
    """A class of the user's that refuses its values: nothing stays open."""

    class Picky(NamedTuple):
        fd: int
        other: int

    def refuse(cls: Any, fd: int, other: int) -> Any:
        raise LookupError(f"{other} is wrong")

    @syslet
    def give(s: Any) -> Any:
        return Picky(s.eventfd(0), s.nop(3))

    @syslet
    def give_late(s: Any, fd: int) -> Any:
        made = s.eventfd(0)
        s.recv(fd, 1)
        return Picky(made, s.nop(4))

    async def main() -> None:
        good = await give()
        os.close(good.fd)
        before = descriptors()
        original = Picky.__new__
        try:
            Picky.__new__ = refuse  # type: ignore[method-assign]
            with pytest.raises(LookupError, match="3 is wrong"):
                await give()
            pair[1].send(b"x")
            with pytest.raises(LookupError, match="4 is wrong"):
                await give_late(pair[0])
            task = asyncio.create_task(give_late(pair[0]))
            await flying(1)
            pair[1].send(b"x")
            with pytest.raises(LookupError, match="4 is wrong"):
                await task
        finally:
            Picky.__new__ = original  # type: ignore[method-assign]
        assert descriptors() == before

    run(main())


# Descriptors.


@syslet
def open_three(s: Any, fails: int) -> Any:
    first, third = s.eventfd(1), s.eventfd(3)
    s.eventfd(2)
    with s.if_(fails > 0):
        s.lseek(first, 0, 99)
    return {"third": third, "pair": (first, [first])}


def test_what_is_returned_belongs_to_the_caller(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        result = await open_three(0)
        first, third = result["pair"][0], result["third"]
        assert result["pair"][1] == [first]
        assert descriptors() - before == {first, third}
        assert not os.get_inheritable(first)
        os.close(first)
        os.close(third)
        assert descriptors() == before

    run(main())


def test_nothing_stays_open_after_an_error(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        with pytest.raises(OSError, match="Invalid argument"):
            await open_three(1)
        assert descriptors() == before

    run(main())


def test_descriptors_of_a_landed_flight_that_nobody_collects(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        with pytest.raises(StopIteration) as caught:
            make_pipe().send(None)
        made = caught.value.value
        assert descriptors() - before == set(made.values())
        for fd in made.values():
            os.close(fd)

    run(main())


def test_one_that_was_closed_is_not_the_flights_any_more(run: Run) -> None:
    @syslet
    def closed(s: Any) -> Any:
        fd = s.eventfd(0)
        s.close(fd)
        return fd

    async def main() -> None:
        before = descriptors()
        fd = await closed()
        assert fd not in descriptors()
        assert descriptors() == before

    run(main())


def test_the_callers_own_stay_open(run: Run, pair: Pair) -> None:
    @syslet
    def give_back(s: Any, fd: int) -> Any:
        s.lseek(fd, 0, 0, check=False)
        return fd

    async def main() -> None:
        assert await give_back(pair[0]) is pair[0]
        task = asyncio.create_task(receive(pair[0]))
        await flying(1)
        task.cancel()
        await asyncio.wait([task])
        await flying(0)
        assert pair[0].fileno() in descriptors()
        with pytest.raises(OSError, match="Illegal seek"):
            await calls.lseek(pair[0], 0, 0)
        assert pair[0].fileno() in descriptors()

    run(main())


def test_more_descriptors_than_a_flight_may_own(run: Run) -> None:
    @syslet
    def open_many(s: Any, count: int) -> Any:
        left = s.cell(0)
        s.set(left, count)
        with s.loop():
            s.eventfd(0)
            s.break_if(s.add(left, -1) <= 0)

    async def main() -> None:
        before = descriptors()
        assert await open_many(64) is None
        with pytest.raises(OSError) as caught:
            await open_many(65)
        assert caught.value.errno == errno.EMFILE
        assert descriptors() == before

    run(main())


# Failures.


def test_failures_are_what_open_raises(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cases = [
        (tmp_path / "missing", os.O_RDONLY, FileNotFoundError, errno.ENOENT),
        (tmp_path / "file" / "x", os.O_RDONLY, NotADirectoryError, errno.ENOTDIR),
        (tmp_path, os.O_WRONLY, IsADirectoryError, errno.EISDIR),
        (tmp_path / "file", os.O_CREAT | os.O_EXCL, FileExistsError, errno.EEXIST),
    ]

    async def main() -> None:
        for path, flags, error, number in cases:
            for form in (path, str(path), os.fsencode(path)):
                with pytest.raises(error) as caught:
                    await calls.openat(form, flags)
                expected = form if isinstance(form, bytes) else str(form)
                assert caught.value.errno == number
                assert caught.value.filename == expected
                assert caught.value.strerror == os.strerror(number)
                assert type(caught.value) is error

    run(main())


def test_failures_with_two_paths_or_none(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await calls.renameat2(str(tmp_path / "a"), tmp_path / "b")
        assert caught.value.filename == str(tmp_path / "a")
        assert caught.value.filename2 == str(tmp_path / "b")
        with pytest.raises(OSError) as caught_plain:
            await calls.fsync(99999)
        assert caught_plain.value.filename is None
        assert caught_plain.value.errno == errno.EBADF

    run(main())


@syslet
def steps(s: Any, path: str, fd: int) -> Any:
    first = s.eventfd(0)
    n = s.recv(fd, 10)
    s.openat(path, os.O_RDONLY)
    return first, n


@pytest.mark.parametrize("waits", [False, True])
def test_notes_name_the_atom_and_what_was_before(
    run: Run, pair: Pair, waits: bool
) -> None:
    async def main() -> None:
        task = asyncio.create_task(steps("/nothing", pair[0]))
        if waits:
            await flying(1)
        pair[1].send(b"12345")
        with pytest.raises(FileNotFoundError) as caught:
            await task
        (note,) = caught.value.__notes__
        assert note.startswith("atom 2: openat (line ")
        assert "test_binding_results.py" in note
        assert "eventfd = " in note and "recv = 5" in note
        text = "".join(traceback.format_exception(caught.value))
        assert "No such file or directory: '/nothing'" in text
        assert note in text

    run(main())


def test_failures_of_atoms_that_wait(run: Run, pair: Pair) -> None:
    @syslet
    def shout(s: Any, fd: int) -> Any:
        s.recv(fd, 10)
        return s.send(fd, b"x", 0x4000)  # MSG_NOSIGNAL

    async def main() -> None:
        task = asyncio.create_task(shout(pair[0]))
        await flying(1)
        pair[1].close()
        with pytest.raises(BrokenPipeError):
            await task
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await calls.connect(client, address)

    run(main())


def test_unchecked_failures_are_numbers(run: Run) -> None:
    @syslet
    def try_it(s: Any, path: str) -> Any:
        return s.openat(path, os.O_RDONLY, check=False)

    async def main() -> None:
        assert await try_it("/nothing") == -errno.ENOENT

    run(main())


def test_every_failure_is_an_exception_of_its_own(run: Run) -> None:
    async def main() -> None:
        flights = [read_file(f"/nothing/{number}") for number in range(50)]
        errors = await asyncio.gather(*flights, return_exceptions=True)
        assert len({id(error) for error in errors}) == 50
        names = [error.filename for error in errors]
        assert names == [f"/nothing/{number}" for number in range(50)]

    run(main())


def test_a_failure_has_the_context_it_is_raised_in(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await read_file("/nothing")
        assert caught.value.__context__ is None
        try:
            raise KeyError("first")
        except KeyError as first:
            with pytest.raises(FileNotFoundError) as caught:
                await read_file("/nothing")
            assert caught.value.__context__ is first
        assert await echo(1) == 1

    run(main())
