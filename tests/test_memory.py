"""C structures made through cffi, as operands of atoms."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

import syslet_loop
from syslet_loop import calls, memory, syslet

STATX = 332 if os.uname().machine == "x86_64" else 291
STATX_SIZE = 0x200


@syslet
def statx(s: Any, path: str, info: memoryview) -> Any:
    return s.syscall(STATX, -100, path, 0, STATX_SIZE, info)


def test_an_atom_fills_a_structure(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1234))
    info = memory.new("struct statx *")

    async def main() -> Any:
        return await statx(str(path).encode(), info)

    assert syslet_loop.run(main()) == 0
    assert info.stx_size == 1234
    assert info.stx_mask & STATX_SIZE


def test_a_flight_keeps_the_memory_it_was_lent() -> None:
    async def main() -> bytes:
        left, right = socket.socketpair()
        left.setblocking(False)
        with left, right:
            reading = calls.recv(left, memory.new("char[16]"))
            import asyncio
            import gc

            task = asyncio.ensure_future(reading)
            del reading
            await asyncio.sleep(0.01)
            gc.collect()
            right.send(b"abc")
            assert await task == 3
        return b"done"

    assert syslet_loop.run(main()) == b"done"


def test_cells_of_the_user() -> None:
    counter = memory.new("int64_t *", 40)

    @syslet
    def add(s: Any, counter: memoryview) -> Any:
        s.umem_add(counter, 1)
        return s.umem_add(counter, 1)

    async def main() -> Any:
        return await add(counter)

    assert syslet_loop.run(main()) == 42
    assert counter[0] == 42


def test_view_is_the_memory_itself() -> None:
    words = memory.new("uint32_t[2]", [1, 2])
    view = memory.view(words)
    view[4:8] = (7).to_bytes(4, "little")
    assert list(words) == [1, 7]
    assert len(view) == 8


def test_structures_are_those_of_the_system() -> None:
    atom = memory.ffi.typeof("struct syslet_uatom")
    assert memory.ffi.sizeof(atom) == 80
    assert memory.ffi.sizeof("struct statx") == 256
    assert memory.ffi.sizeof("struct sockaddr_in") == 16


def test_unknown_types_are_refused() -> None:
    with pytest.raises(memory.ffi.error):
        memory.new("struct nothing *")
