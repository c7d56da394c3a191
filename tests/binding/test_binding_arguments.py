"""Arguments that are numbers, descriptors, paths and times, and how they match."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flights import current, echo, read_file

from syslet_loop import calls, syslet

Run = Callable[[Any], Any]


@syslet
def three(s: Any, a: int, b: int = 2, c: int = 3) -> Any:
    return s.nop(a), s.nop(b), s.nop(c)


@syslet
def nap(s: Any, seconds: float) -> Any:
    s.timeout(seconds)


@syslet
def seek(s: Any, fd: int) -> Any:
    return s.lseek(fd, 0, os.SEEK_CUR)


class Indexed:
    """An integer that is not an int."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> Any:
        return self.value


class Failing:
    """Raises whatever is asked of it."""

    def __index__(self) -> int:
        raise LookupError("index")

    def __fspath__(self) -> str:
        raise LookupError("path")

    def fileno(self) -> int:
        raise LookupError("fileno")


class Numbered:
    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        return self.number


# Matching arguments with parameters: at the call, before anything is awaited.


def test_arguments_match_like_a_functions(run: Run) -> None:
    async def main() -> None:
        assert await three(1) == (1, 2, 3)
        assert await three(1, c=5) == (1, 2, 5)
        assert await three(c=5, b=4, a=1) == (1, 4, 5)
        assert await three(*[1], **{"b": 7}) == (1, 7, 3)

    run(main())


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, r"three\(\) missing 1 required argument: 'a'"),
        ((1, 2, 3, 4), {}, r"takes from 1 to 3 positional arguments but 4 were given"),
        ((1,), {"a": 1}, r"got multiple values for argument 'a'"),
        ((1,), {"d": 1}, r"got an unexpected keyword argument 'd'"),
        ((1,), {"queue": 1}, r"unexpected keyword argument 'queue'"),
    ],
)
def test_calls_that_do_not_match(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        three(*args, **kwargs)


def test_a_call_names_every_missing_argument() -> None:
    @syslet
    def many(s: Any, a: int, b: int, c: int) -> Any:
        return s.nop(a), s.nop(b), s.nop(c)

    with pytest.raises(TypeError, match=r"missing 3 required.*'a', 'b' and 'c'"):
        many()
    with pytest.raises(TypeError, match="missing 2 required arguments: 'a' and 'c'"):
        many(b=1)
    with pytest.raises(TypeError, match="takes 3 positional arguments but 4 were"):
        many(1, 2, 3, 4)


def test_a_parameter_called_timeout_is_an_ordinary_one(run: Run) -> None:
    @syslet
    def own(s: Any, timeout: int) -> Any:
        return s.nop(timeout)

    async def main() -> None:
        assert await own(timeout=123) == 123

    run(main())


def test_nothing_is_converted_before_the_await() -> None:
    flight = echo("not a number")
    flight.close()


# Numbers.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (-1, -1),
        (True, 1),
        (2**63 - 1, 2**63 - 1),
        (-(2**63) + 1, -(2**63) + 1),
        (2**63 + 5, -(2**63) + 5),  # an unsigned word reads as the signed one it is
        (2**64 - 1, -1),
        (Indexed(7), 7),
        (Indexed(2**64 - 1), -1),
        (signal.SIGTERM, int(signal.SIGTERM)),
    ],
)
def test_integers_are_64_bits(run: Run, value: Any, expected: int) -> None:
    async def main() -> None:
        assert await echo(value) == expected

    run(main())


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (2**64, OverflowError, "'number' of syslet 'echo' does not fit in 64 bits"),
        (-(2**63) - 1, OverflowError, "does not fit in 64 bits"),
        (10**100, OverflowError, "does not fit in 64 bits"),
        (1.0, TypeError, "'number' of syslet 'echo' must be an integer, not float"),
        (None, TypeError, "must be an integer, not NoneType"),
        ("1", TypeError, "must be an integer, not str"),
        (b"1", TypeError, "must be an integer, not bytes"),
        (Indexed("x"), TypeError, "__index__ returned non-int"),
        (Failing(), LookupError, "index"),
    ],
)
def test_what_is_no_integer(
    run: Run, value: Any, error: type[Exception], message: str
) -> None:
    async def main() -> None:
        await echo(1)
        before = current().stats()["launched"]
        with pytest.raises(error, match=message):
            await echo(value)
        assert current().stats()["launched"] == before

    run(main())


# Descriptors.


def test_descriptors_are_numbers_or_have_one(run: Run) -> None:
    async def main() -> None:
        with open(__file__, "rb") as file:
            assert await seek(file) == 0
            assert await seek(file.fileno()) == 0
            assert await seek(Numbered(file.fileno())) == 0

    run(main())


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "'fd' of syslet 'seek' is no descriptor"),
        (2**31, ValueError, "is no descriptor"),
        (2**80, ValueError, "is no descriptor"),
        (None, TypeError, r"must be a descriptor or have fileno\(\), not NoneType"),
        ("3", TypeError, r"must be a descriptor or have fileno\(\), not str"),
        (3.0, TypeError, r"must be a descriptor or have fileno\(\), not float"),
        (Numbered("3"), TypeError, r"must have a fileno\(\) that gives an integer"),
        (Numbered(-5), ValueError, "is no descriptor"),
        (Failing(), LookupError, "fileno"),
    ],
)
def test_what_is_no_descriptor(
    run: Run, value: Any, error: type[Exception], message: str
) -> None:
    async def main() -> None:
        with pytest.raises(error, match=message):
            await seek(value)

    run(main())


def test_a_closed_file_raises_its_own_error(run: Run) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        right.close()
        left.close()
        with pytest.raises(ValueError, match="is no descriptor"):
            await seek(left)  # its fileno() is -1
        with open(__file__, "rb") as file:
            pass
        with pytest.raises(ValueError, match="closed file"):
            await seek(file)

    run(main())


def test_a_directory_may_be_the_current_one(run: Run) -> None:
    @syslet
    def names(s: Any, dir_fd: int) -> Any:
        fd = s.openat("proc", os.O_RDONLY | os.O_DIRECTORY, dir_fd=dir_fd)
        s.close(fd)

    async def main() -> None:
        root = await calls.openat("/", os.O_RDONLY)
        try:
            assert await names(root) is None
        finally:
            os.close(root)

    run(main())


# Paths.


class Bytes(bytes):
    """A path that is not exactly bytes."""


class Text(str):
    """A path that is not exactly str."""


def test_paths_of_every_kind(run: Run, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    named = tmp_path / "träffad-\N{SNOWMAN}"
    strange = os.fsencode(tmp_path) + b"/\xff\xfe"
    for path in (plain, named, strange):
        with open(path, "wb") as file:
            file.write(b"content")

    async def main() -> None:
        for path in (plain, named, os.fsdecode(strange)):
            for form in (str, os.fsencode, Path, Text):
                assert await read_file(form(path)) == b"content"
            assert await read_file(Bytes(os.fsencode(path))) == b"content"

    run(main())


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("a\0b", ValueError, "embedded null"),
        (b"a\0b", ValueError, "embedded null"),
        ("ä\0b", ValueError, "embedded null"),
        (Path("a\0b"), ValueError, "embedded null"),
        ("\ud800", UnicodeEncodeError, "surrogates"),
        (None, TypeError, "'path' of syslet 'read_file' must be str, bytes or os.Path"),
        (5, TypeError, "must be str, bytes or os.PathLike, not int"),
        (bytearray(b"a"), TypeError, "must be str, bytes or os.PathLike"),
        (memoryview(b"a"), TypeError, "must be str, bytes or os.PathLike"),
        (Failing(), LookupError, "path"),
    ],
)
def test_what_is_no_path(
    run: Run, path: Any, error: type[Exception], message: str
) -> None:
    async def main() -> None:
        with pytest.raises(error, match=message):
            await read_file(path)

    run(main())


def test_fspath_must_give_a_path(run: Run) -> None:
    class Wrong:
        def __fspath__(self) -> Any:
            return 5

    async def main() -> None:
        with pytest.raises(TypeError):
            await read_file(Wrong())

    run(main())


def test_the_empty_path_is_the_kernels_business(run: Run) -> None:
    async def main() -> None:
        for path in ("", b""):
            with pytest.raises(FileNotFoundError):
                await read_file(path)
        with pytest.raises(OSError, match="too long"):
            await read_file("/" + "x" * 5000)

    run(main())


# Times.


def test_times_of_every_kind(run: Run) -> None:
    from decimal import Decimal
    from fractions import Fraction

    async def main() -> None:
        for seconds in (0, 0.0, False, 1e-9, Indexed(0), Decimal(0), Fraction(0)):
            assert await nap(seconds) is None

    run(main())


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "'seconds' of syslet 'nap' must not be negative"),
        (-0.001, ValueError, "must not be negative"),
        (float("nan"), ValueError, "must not be negative"),
        (float("inf"), OverflowError, "is too long a time"),
        (1e10, OverflowError, "is too long a time"),
        (10**400, OverflowError, "too large"),
        (None, TypeError, "must be a number of seconds, not NoneType"),
        ("1", TypeError, "must be a number of seconds, not str"),
    ],
)
def test_what_is_no_time(
    run: Run, value: Any, error: type[Exception], message: str
) -> None:
    async def main() -> None:
        with pytest.raises(error, match=message):
            await nap(value)

    run(main())


# Arguments that run code of their own.


def test_an_argument_may_await_nothing_but_may_use_the_loop(run: Run) -> None:
    class Busy:
        def __index__(self) -> int:
            asyncio.get_running_loop().call_soon(seen.append, "called")
            return 5

    seen: list[str] = []

    async def main() -> None:
        assert await echo(Busy()) == 5
        await asyncio.sleep(0)
        assert seen == ["called"]

    run(main())


def test_an_argument_may_fly_a_syslet_itself(run: Run) -> None:
    class Nested:
        def __index__(self) -> int:
            try:
                echo(3).send(None)
            except StopIteration as stop:
                return int(stop.value)
            raise AssertionError("it had to wait")

    async def main() -> None:
        assert await echo(Nested()) == 3

    run(main())


def test_more_parameters_than_fit_a_small_run(run: Run) -> None:
    @syslet
    def many(s: Any, a, b, c, d, e, f, g, h, i, j, k, path) -> Any:  # type: ignore[no-untyped-def]
        fd = s.openat(path, os.O_RDONLY)
        s.close(fd)
        return [s.nop(each) for each in (a, b, c, d, e, f, g, h, i, j, k)]

    async def main() -> None:
        for path in (Path(__file__), __file__, Text(__file__)):
            assert await many(*range(11), path) == list(range(11))
        with pytest.raises(TypeError, match="'k' of syslet"):
            await many(*range(10), None, __file__)

    run(main())
