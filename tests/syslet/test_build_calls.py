"""Single operations: one syslet per operation and kind of operands."""

import inspect
import os
from pathlib import Path
from typing import Any

import model
import pytest

from syslet_loop import calls, ops


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """What awaiting the call must give."""
    made = calls.Call(name)
    shape, flat = made.flatten(args, kwargs)
    return model.run(made.compile(shape), *flat)


def test_calls(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = call("openat", path, os.O_RDWR | os.O_CREAT)
    assert not os.get_inheritable(fd)
    assert call("write", fd, b"0123456789") == 10
    assert call("writev", fd, [b"ab", bytearray(b"cd")]) == 4
    assert call("pread", fd, 4, 2) == b"2345"
    buffer = bytearray(6)
    assert call("pread", fd, buffer, offset=0) == 6
    assert buffer == b"012345"
    assert call("preadv", fd, [buffer, bytearray(2)], 4) == 8
    assert call("fstat", fd).st_size == 14
    assert call("statx", str(path)).stx_size == 14
    assert call("fcntl", fd, 1) == 1
    duplicate = call("dup", fd)
    assert call("close", duplicate) == 0
    assert call("fsync", fd) == 0
    assert call("close", fd) == 0
    assert call("close", fd, check=False) == -9
    assert call("getpid") == os.getpid()
    with pytest.raises(FileNotFoundError) as caught:
        call("unlinkat", tmp_path / "missing")
    assert caught.value.filename == str(tmp_path / "missing")
    assert caught.value.__notes__ == ["atom 0: unlinkat"]


def test_sockets_and_times() -> None:
    a, b = call("socketpair")
    assert call("send", a, b"hello") == 5
    assert call("recv", b, 100, 0x2) == b"hello"
    assert call("poll", b, 1, timeout=0) == 1
    assert call("poll", b, 1) == 1
    assert call("recv", b, bytearray(10)) == 5
    assert call("timeout", 0.001) == 0
    for fd in (a, b):
        os.close(fd)
    assert call("syscall", ops.BY_NAME["getpid"].nr) == os.getpid()


def test_shapes_are_shared() -> None:
    made = calls.Call("read")
    first, _ = made.flatten((3, 10), {})
    second, _ = made.flatten((4, 20), {})
    third, _ = made.flatten((4, bytearray(3)), {})
    assert first == second != third


def test_names() -> None:
    assert "fsync" in dir(calls) and "if_" not in dir(calls)
    assert str(inspect.signature(calls.Call("fsync"))) == "(fd, *, check=True)"
    for name in calls.__all__:
        assert len(calls.Call(name).__doc__ or "") > 15, name
        assert getattr(calls, name) is not None  # as `from … import *` does
    with pytest.raises(AttributeError, match="did you mean 'fsync'"):
        calls.fsink  # noqa: B018
    with pytest.raises(AttributeError):
        calls.loop  # noqa: B018
    with pytest.raises(TypeError, match="missing"):
        calls.Call("fsync")()
    assert repr(calls.Call("fsync")) == "<call fsync(fd, *, check=True)>"
