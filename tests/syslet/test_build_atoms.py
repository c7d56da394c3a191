"""Explicit atoms: the announcement's own model."""

import os
from pathlib import Path
from typing import Any

import model
import pytest

from syslet_loop import ops
from syslet_loop.language import (
    AT_FDCWD,
    END,
    Atom,
    Cell,
    Memory,
    Param,
    address,
    compile_program,
    length,
)
from syslet_loop.program_format import (
    ASYNC,
    SKIP_TO_NEXT_ON_STOP,
    STOP_ON_NEGATIVE,
    STOP_ON_NON_POSITIVE,
    STOP_ON_NONZERO,
    STOP_ON_ZERO,
    SYNC,
)


def refused(kind: type[Exception], words: str, *atoms: Atom, **kwargs: Any) -> None:
    with pytest.raises(kind, match=words) as caught:
        compile_program(atoms, **kwargs)
    assert "atom " in str(caught.value)


def test_open_read_close(tmp_path: Path) -> None:
    fd, n, buf = Cell(), Cell(), Memory(64)
    compiled = compile_program(
        [
            Atom("openat", AT_FDCWD, Param("path"), os.O_RDONLY, 0, ret=fd, check=True),
            Atom("read", fd, buf, 64, ret=n, flags=STOP_ON_NEGATIVE),
            Atom("close", fd, next=END),
        ],
        params=["path"],
        returns=(n, buf),
    )
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert model.run(compiled, path) == (7, b"content")
    with pytest.raises(FileNotFoundError):
        model.run(compiled, tmp_path / "missing")
    assert model.run(compiled, tmp_path) == (-21, b"")
    assert compiled.describe("p") == "<syslet p(path): openat → read → close>"
    assert compiled.explain().splitlines()[1:] == [
        "  0  openat(AT_FDCWD, path, O_RDONLY) -> cell4   stop if negative; then 1",
        "  1  read(cell4, buf, 64) -> cell7               stop if negative; then 2",
        "  2  close(cell4)                                then end",
    ]


def test_a_loop_by_next() -> None:
    left, rounds = Cell(5), Cell()
    compiled = compile_program(
        [
            Atom("umem_add", address(rounds), 1),
            Atom("umem_add", address(left), -1, next=0, flags=STOP_ON_NON_POSITIVE),
        ],
        returns=(left, rounds),
    )
    assert model.run(compiled) == (0, 5)


@pytest.mark.parametrize(
    ("flag", "signs"),
    [
        (STOP_ON_ZERO, [0]),
        (STOP_ON_NONZERO, [-1, 1]),
        (STOP_ON_NEGATIVE, [-1]),
        (STOP_ON_NON_POSITIVE, [-1, 0]),
    ],
)
def test_stop_flags_and_skip(flag: int, signs: list[int]) -> None:
    where = Cell()
    compiled = compile_program(
        [
            Atom("nop", Param("value"), flags=flag | SKIP_TO_NEXT_ON_STOP, next=2),
            Atom("nop", 1, ret=where, next=END),
            Atom("nop", 2, ret=where),
        ],
        params=["value"],
        returns=where,
    )
    for value in (-1, 0, 1):
        assert model.run(compiled, value) == (1 if value in signs else 2)


def test_lent_memory() -> None:
    n = Cell()
    data = Param("data")
    compiled = compile_program(
        [Atom("write", Param("fd"), data, length(data), ret=n)],
        params=["fd", "data"],
        returns=n,
    )
    r, w = os.pipe()
    assert model.run(compiled, w, b"hello") == 5
    assert os.read(r, 9) == b"hello"
    os.close(r)
    os.close(w)


def test_owned_fds_are_returned() -> None:
    fd = Cell()
    compiled = compile_program(
        [Atom("memfd_create", "name", 1, ret=fd, check=True)], returns={"fd": fd}
    )
    os.close(model.run(compiled)["fd"])


def test_raw_numbers() -> None:
    pid = Cell()
    compiled = compile_program([Atom(ops.BY_NAME["getpid"].nr, ret=pid)], returns=pid)
    assert model.run(compiled) == os.getpid()


def test_refusals() -> None:
    refused(ValueError, "next is atom 5", Atom("getpid", next=5))
    refused(ValueError, "next is atom -2", Atom("getpid", next=-2))
    refused(TypeError, "next is an index", Atom("getpid", next="x"))  # type: ignore[arg-type]
    refused(ValueError, "behind the last", Atom("getpid", flags=SKIP_TO_NEXT_ON_STOP))
    refused(ValueError, "exclude each other", Atom("getpid", flags=ASYNC | SYNC))
    refused(ValueError, "unknown flags 0x100", Atom("getpid", flags=0x100))
    refused(TypeError, "did you mean 'getpid'", Atom("getpidd"))
    refused(ValueError, "refused", Atom("fork"))
    refused(ValueError, "refused", Atom(60))
    refused(ValueError, "no system call", Atom(0x10001, 1, 2))
    refused(ValueError, "only the builder", Atom("emit", 0))
    refused(TypeError, "1 to 1 operands", Atom("close"))
    refused(TypeError, "1 to 1 operands", Atom("close", 1, 2))
    refused(TypeError, "not an operand", Atom("close", 1.5))
    refused(TypeError, "ret is a Cell", Atom("getpid", ret=3))  # type: ignore[arg-type]
    refused(ValueError, "no parameter 'x'", Atom("close", Param("x")))
    refused(ValueError, "has 4", Atom("read", 0, Memory(4), 5))
    refused(ValueError, "bytes are needed", Atom("fstat", 0, Memory(100)))
    refused(ValueError, "bytes are needed", Atom("statx", 0, "", 0, 0, address(Cell())))
    refused(ValueError, "bytes are needed", Atom("nanosleep", b"short"))
    refused(ValueError, "has 4", Atom("write", 0, b"abc", 5))
    refused(
        ValueError,
        "uses an fd that may have been closed",
        Atom("close", Param("fd")),
        Atom("fsync", Param("fd")),
        params=["fd"],
    )
    with pytest.raises(TypeError, match="atom 0: not an Atom"):
        compile_program([5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="at least one atom"):
        compile_program([])
    with pytest.raises(ValueError, match="two parameters"):
        compile_program([Atom("getpid")], params=["a", "a"])
    with pytest.raises(ValueError, match="64 bits"):
        Cell(1 << 64)


def test_iovecs_in_memory_are_counted() -> None:
    parts, names = Param("parts"), ["parts", "count"]
    with pytest.raises(TypeError, match="the number of iovecs is a constant"):
        compile_program([Atom("readv", 0, parts, Param("count"))], params=names)
    with pytest.raises(ValueError, match="2 iovecs, but the memory has 16 bytes"):
        compile_program([Atom("readv", 0, Memory(16), 2)])
    reads = compile_program([Atom("readv", 0, parts, 2)], params=names[:1])
    assert reads.params[0][4] == 32, "bytes that the argument must have"
