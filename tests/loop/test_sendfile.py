"""loop.sendfile and loop.sock_sendfile: offsets, fallbacks, and interruptions."""

from __future__ import annotations

import asyncio
import io
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from certificate import client_context, server_context
from loop.sockets import make_pair
from peers import (
    Recorder,
    fill,
    on_loop,
    read_all,
    read_exactly,
    turns,
    until,
    wired,
)

SIZE = 1_500_000
CONTENT = os.urandom(SIZE)

# (offset, count, what of the content is sent)
PARTS = [
    (0, None, slice(None)),
    (1000, None, slice(1000, None)),
    (0, 10, slice(10)),
    (5, 300_000, slice(5, 300_005)),
    (SIZE - 5, 100, slice(SIZE - 5, None)),
    (SIZE + 5, None, slice(0, 0)),
]
parts = pytest.mark.parametrize(("offset", "count", "part"), PARTS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the content."""
    made = tmp_path / "file"
    made.write_bytes(CONTENT)
    return made


def opened(path: Path, kind: str) -> Any:
    """A file of the system, or one that exists in memory only."""
    return open(path, "rb") if kind == "file" else io.BytesIO(CONTENT)


@parts
@pytest.mark.parametrize("kind", ["file", "memory"])
@on_loop
async def test_parts_to_a_transport(
    path: Path, kind: str, offset: int, count: int | None, part: slice
) -> None:
    loop = asyncio.get_running_loop()
    async with wired() as (transport, _, peer):
        with opened(path, kind) as file:
            transport.write(b"before")
            taking = asyncio.create_task(read_all(peer))
            sent = await loop.sendfile(transport, file, offset, count)
            assert sent == len(CONTENT[part])
            if sent:
                assert file.tell() == offset + sent
            transport.write(b"after")
            transport.close()
            assert await taking == b"before" + CONTENT[part] + b"after"


@parts
@pytest.mark.parametrize("kind", ["file", "memory"])
@on_loop
async def test_parts_to_a_socket(
    path: Path, kind: str, offset: int, count: int | None, part: slice
) -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right), opened(path, kind) as file:
        taking = asyncio.create_task(read_all(right))
        sent = await loop.sock_sendfile(left, file, offset, count)
        assert sent == len(CONTENT[part])
        if sent:
            assert file.tell() == offset + sent
        left.close()
        assert await taking == CONTENT[part]


@on_loop
async def test_without_a_fallback(path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with wired() as (transport, _, peer):
        with open(path, "rb") as file:
            assert await loop.sendfile(transport, file, 0, 10, fallback=False) == 10
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sendfile(transport, io.BytesIO(CONTENT), fallback=False)
        assert await read_exactly(peer, 10) == CONTENT[:10]
    with make_pair() as (left, right):
        with open(path, "rb") as file:
            assert await loop.sock_sendfile(left, file, 0, 10, fallback=False) == 10
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sock_sendfile(left, io.BytesIO(CONTENT), fallback=False)
        assert await read_exactly(right, 10) == CONTENT[:10]


@on_loop
async def test_a_transport_with_much_to_send_first(path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with wired() as (transport, protocol, peer):
        written = fill(transport)
        with open(path, "rb") as file:
            sending = asyncio.create_task(loop.sendfile(transport, file))
            await turns()
            for refused in (transport.write, lambda data: transport.writelines([data])):
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    refused(b"out of turn")
            peer.send(b"meanwhile")
            data = await read_exactly(peer, written + SIZE)
            assert await sending == SIZE
        assert data[written:] == CONTENT
        await until(lambda: protocol.data == b"meanwhile")
        transport.write(b"goes on")
        assert await read_exactly(peer, 7) == b"goes on"


@on_loop
async def test_a_paused_transport_stays_paused(path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with wired() as (transport, protocol, peer):
        transport.pause_reading()
        peer.send(b"later")
        with open(path, "rb") as file:
            await loop.sendfile(transport, file, 0, 100)
        await turns()
        assert not transport.is_reading()
        assert not protocol.data
        transport.resume_reading()
        await until(lambda: protocol.data)


@pytest.mark.parametrize("kind", ["file", "memory"])
@on_loop
async def test_a_peer_that_leaves(path: Path, kind: str) -> None:
    loop = asyncio.get_running_loop()
    async with wired() as (transport, protocol, peer):
        with opened(path, kind) as file:
            sending = asyncio.create_task(loop.sendfile(transport, file))
            await read_exactly(peer, 1000)
            peer.close()
            with pytest.raises(ConnectionError):
                await sending
        transport.close()
        await protocol.lost


@on_loop
async def test_a_peer_that_leaves_a_socket(path: Path) -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right), open(path, "rb") as file:
        sending = asyncio.create_task(loop.sock_sendfile(left, file))
        await read_exactly(right, 1000)
        right.close()
        with pytest.raises(OSError):
            await sending
        assert not loop.remove_writer(left)


@on_loop
async def test_cancelling(path: Path) -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right), open(path, "rb") as file:
        sending = asyncio.create_task(loop.sock_sendfile(left, file))
        await turns()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not loop.remove_writer(left)
        left.close()
        data = await read_all(right)
        assert 0 < len(data) < SIZE
        assert data == CONTENT[: len(data)]
    async with wired() as (transport, _, peer):
        with open(path, "rb") as file:
            sending = asyncio.create_task(loop.sendfile(transport, file))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        transport.write(b"goes on")
        transport.write_eof()
        data = (await read_all(peer)).removesuffix(b"goes on")
        assert 0 < len(data) < SIZE
        assert data == CONTENT[: len(data)]


@on_loop
async def test_what_is_refused(path: Path) -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, _), open(path, "rb") as file:
        for count in (0, -1):
            with pytest.raises(ValueError, match="count must be a positive integer"):
                await loop.sock_sendfile(left, file, 0, count)
        with pytest.raises(TypeError, match="count must be a positive integer"):
            await loop.sock_sendfile(left, file, 0, "1")
        with pytest.raises(ValueError, match="offset must be a non-negative integer"):
            await loop.sock_sendfile(left, file, -1)
        with pytest.raises(TypeError, match="offset must be a non-negative integer"):
            await loop.sock_sendfile(left, file, 1.5)
        with (
            open(path, encoding="latin-1") as text,
            pytest.raises(ValueError, match="file should be opened in binary mode"),
        ):
            await loop.sock_sendfile(left, text)
        with (
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            pytest.raises(ValueError, match="only SOCK_STREAM type sockets"),
        ):
            datagrams.setblocking(False)
            await loop.sock_sendfile(datagrams, file)
        loop.set_debug(True)
        with (
            socket.socket() as blocking,
            pytest.raises(ValueError, match="the socket must be non-blocking"),
        ):
            await loop.sock_sendfile(blocking, file)
    async with wired() as (transport, _, _):
        transport.close()
        with open(path, "rb") as file, pytest.raises(RuntimeError, match="is closing"):
            await loop.sendfile(transport, file)


@on_loop
async def test_over_tls(path: Path) -> None:
    """There the fallback is the only way."""
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_context())
    transport, protocol = await loop.create_connection(
        Recorder,
        *server.sockets[0].getsockname(),
        ssl=client_context(),
        server_hostname="localhost",
    )
    with open(path, "rb") as file:
        with pytest.raises(RuntimeError, match="fallback is disabled"):
            await loop.sendfile(transport, file, fallback=False)
        assert await loop.sendfile(transport, file, 7, 400_000) == 400_000
        assert file.tell() == 400_007
    await until(lambda: made and len(made[0].data) == 400_000)
    assert made[0].data == CONTENT[7:400_007]
    transport.close()
    await protocol.lost
    await made[0].lost
    server.close()
    await server.wait_closed()
