"""Mistakes are refused when the syslet is built, with the atom and the line."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from syslet_loop import ops, program_format
from syslet_loop.plan import compile_function

READ, GETPID = ops.BY_NAME["read"].nr, ops.BY_NAME["getpid"].nr
EXECVE = 59 if ops.MACHINE == "x86_64" else 221


def refused(function: Callable[..., Any], kind: type[Exception], *words: str) -> None:
    with pytest.raises(kind) as caught:
        compile_function(function)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (lambda s, a: s.read("x", 5), TypeError, "an fd must be"),
        (lambda s, a: s.read(-1, 5), ValueError, "-1 is no fd"),
        (lambda s, a: s.openat(5, 0), TypeError, "a path must be"),
        (lambda s, a: s.openat("a\0b", 0), ValueError, "NUL"),
        (lambda s, a: s.openat("x"), TypeError, "missing a required argument"),
        (lambda s, a: s.openat("x", 0, what=1), TypeError, "unexpected keyword"),
        (lambda s, a: s.openat("x", "r"), TypeError, "'flags' must be a number"),
        (lambda s, a: s.write(1, "text"), TypeError, "bytes, not str"),
        (lambda s, a: s.write(1, 5), TypeError, "data must be bytes"),
        (lambda s, a: s.write(1, b"abc", 4), ValueError, "the memory has 3"),
        (lambda s, a: s.write(1, b"abc", -1), ValueError, "no number of bytes"),
        (lambda s, a: s.read(0, s.buffer(4), 5), ValueError, "the memory has 4"),
        (lambda s, a: s.read(0, b"abc"), TypeError, "would be written"),
        (lambda s, a: s.read(0, a), TypeError, "annotate it as int"),
        (lambda s, a: s.readv(0, [4]), TypeError, "not sizes"),
        (lambda s, a: s.readv(0, []), TypeError, "a list of memory"),
        (lambda s, a: s.writev(0, [b"x"] * 65), ValueError, "64 buffers"),
        (lambda s, a: s.buffer(0), ValueError, "1 to"),
        (lambda s, a: s.buffer(1 << 31), ValueError, "1 to"),
        (lambda s, a: s.cell("x"), TypeError, "starts as an int"),
        (lambda s, a: s.cell(1 << 64), ValueError, "64 bits"),
        (lambda s, a: s.lseek(0, 1 << 64, 0), ValueError, "64 bits"),
        (lambda s, a: s.set(s.getpid(), 1), TypeError, "s.set changes cells"),
        (lambda s, a: s.add(5, 1), TypeError, "s.add changes cells"),
        (lambda s, a: s.break_if(s.getpid() < 0), ValueError, "outside s.loop"),
        (lambda s, a: s.stop_if(s.getpid()), TypeError, "compare a value with 0"),
        (lambda s, a: s.if_(True), TypeError, "not a condition"),
        (lambda s, a: s.syscall(EXECVE), ValueError, "execve"),
        (lambda s, a: s.syscall("read"), TypeError, "number is a constant"),
        (lambda s, a: s.syscall(-1), TypeError, "number is a constant"),
        (lambda s, a: s.syscall(READ, 1), TypeError, "does not take 1"),
        (lambda s, a: s.syscall(GETPID, a), TypeError, "does not take 1"),
        (lambda s, a: s.getpid(atom_flags=3), ValueError, "exclude each other"),
        (lambda s, a: s.getpid(check=1), TypeError, "check is True or False"),
        (lambda s, a: s.getpid(atom_flags=8), ValueError, "atom_flags are"),
        (lambda s, a: s.bind(3, ("host.name", 80)), ValueError, "numeric address"),
        (lambda s, a: s.bind(3, ("::1", 70000)), ValueError, "port 70000"),
        (lambda s, a: s.bind(3, 5), TypeError, "not a socket address"),
        (lambda s, a: s.timeout(-1), ValueError, "seconds to wait"),
        (lambda s, a: s.timeout("1"), TypeError, "seconds must be a number"),
        (lambda s, a: s.poll(0, a), TypeError, "events must be a constant"),
    ],
)
def test_operands(body: Any, kind: type[Exception], words: str) -> None:
    def wrong(s: Any, a: Any) -> None:
        body(s, a)

    refused(wrong, kind, words, "test_build_errors.py")


def test_the_atom_and_the_line_are_named() -> None:
    def wrong(s: Any) -> None:
        s.getpid()
        s.read("x", 5)

    line = wrong.__code__.co_firstlineno + 2
    refused(wrong, TypeError, f"atom 1: read (line {line} of {__file__}): an fd")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (lambda n: n < 5, "constant 0, not with 5"),
        (lambda n: n == False, "constant 0"),  # noqa: E712
        (lambda n: n != n, "constant 0"),
        (lambda n: bool(n), "no truth"),
        (lambda n: not (n < 0), "no truth"),
        (lambda n: n + 1, "s.add(cell, value)"),
        (lambda n: 1 - n, "s.add(cell, value)"),
        (lambda n: -n, "s.add(cell, value)"),
        (lambda n: int(n), "s.add(cell, value)"),
        (lambda n: [0][n], "s.add(cell, value)"),
    ],
)
def test_what_values_cannot_do(body: Any, words: str) -> None:
    def wrong(s: Any, a: Any) -> None:
        body(s.getpid())

    refused(wrong, TypeError, words, "test_build_errors.py")


def test_structures_fit() -> None:
    number = ops.BY_NAME["fstat"].nr
    refused(lambda s: s.syscall(number, 0, s.buffer(8)), ValueError, "has 8")

    def text_as_data(s: Any, data: str) -> None:
        s.write(1, data)

    refused(text_as_data, TypeError, "memory to read", "annotation is str")


def test_unknown_operations() -> None:
    refused(lambda s: s.raed(0, 1), TypeError, "no operation 'raed'", "'read'")
    refused(lambda s: s.fork(), ValueError, "may not call fork")
    refused(lambda s: s.execve("x"), ValueError, "may not call execve")


def test_an_fd_is_not_used_after_close() -> None:
    def straight(s: Any, fd: Any) -> None:
        s.close(fd)
        s.fsync(fd)

    refused(straight, ValueError, "atom 1: fsync", "closed by close (line")

    def on_one_branch(s: Any, flag: int) -> None:
        fd = s.openat("x", os.O_RDONLY)
        with s.if_(flag != 0):
            s.close(fd)
        s.fsync(fd)

    refused(on_one_branch, ValueError, "fsync", "may have been closed")

    def next_round(s: Any, fd: Any) -> None:
        with s.loop():
            s.close(fd)

    refused(next_round, ValueError, "close", "may have been closed")

    def copied(s: Any, fd: Any) -> None:
        copy = s.cell()
        s.close(fd)
        s.set(copy, fd)
        s.fsync(copy)

    refused(copied, ValueError, "fsync")

    def opened_again(s: Any) -> None:
        with s.loop():
            fd = s.openat("x", os.O_RDONLY)
            s.close(fd)

    compile_function(opened_again)


def test_an_fd_is_made_before_it_is_used() -> None:
    def maybe(s: Any, flag: int) -> None:
        with s.if_(flag != 0):
            fd = s.openat("x", os.O_RDONLY)
        s.fsync(fd)

    refused(maybe, ValueError, "fsync", "before its fd is made")


def test_control_flow() -> None:
    def lonely(s: Any) -> None:
        with s.otherwise():
            pass

    refused(lonely, ValueError, "without s.if_")

    def late(s: Any, a: int) -> None:
        with s.if_(a == 0):
            s.getpid()
        s.getpid()
        with s.otherwise():
            pass

    refused(late, ValueError, "without s.if_")

    def idle(s: Any) -> None:
        with s.loop():
            pass

    refused(idle, ValueError, "never end")

    def open_loop(s: Any) -> None:
        s.loop().__enter__()

    refused(open_loop, ValueError, "still open")


def test_parameters() -> None:
    def two_uses(s: Any, a: Any) -> None:
        s.fsync(a)
        s.truncate(a, 0)

    refused(two_uses, TypeError, "an fd (line", "a path (line")

    def against_annotation(s: Any, a: bytes) -> None:
        s.fsync(a)

    refused(against_annotation, TypeError, "an fd", "annotation is bytes")

    def against_default(s: Any, a: Any = None) -> None:
        s.fsync(a)

    refused(against_default, TypeError, "default None is not")

    refused(lambda s, *args: None, TypeError, "positional")
    refused(lambda s, *, a: None, TypeError, "positional")
    refused(lambda: None, TypeError, "first argument")

    def converted_twice(s: Any, a: int) -> None:
        s.openat("x", a)
        s.memfd_create("x", a)

    refused(converted_twice, TypeError, "converted in two ways")


def test_values_belong_to_their_syslet() -> None:
    kept: list[Any] = []
    compile_function(lambda s: kept.append(s) or kept.append(s.getpid()))
    refused(lambda s: s.close(kept[1]), TypeError, "another syslet")
    with pytest.raises(TypeError, match="finished"):
        kept[0].getpid()


def test_results() -> None:
    refused(lambda s: s.getpid() < 0, TypeError, "return a condition")

    async def coroutine(s: Any) -> None: ...

    with pytest.raises(TypeError, match="plain def"):
        compile_function(coroutine)
    with pytest.raises(TypeError, match="plain def"):
        compile_function(lambda s: (x for x in ()))


def test_limits() -> None:
    def atoms(s: Any) -> None:
        for _ in range(program_format.LIMITS["ATOMS_MAX"] + 1):
            s.getpid()

    refused(atoms, ValueError, "4097 atoms, at most 4096")

    def buffers(s: Any) -> None:
        for _ in range(program_format.LIMITS["BUFFERS_MAX"] + 1):
            s.buffer(8)

    refused(buffers, ValueError, "more than 64 buffers")

    def cells(s: Any) -> None:
        for _ in range(program_format.LIMITS["CELLS_MAX"]):
            s.cell()

    refused(cells, ValueError, "32768 are allowed")

    def constants(s: Any) -> None:
        s.write(1, bytes(1 << 24))

    refused(constants, ValueError, "16 MiB")


def test_composition() -> None:
    refused(lambda s: s.call(5), TypeError, "not a syslet")
