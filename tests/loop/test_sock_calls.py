"""loop.sock_*: what they give, what they wait for, and how they fail."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import on_loop, read_exactly, reset, stuff, tcp_pair, turns


@on_loop
async def test_results() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        assert await loop.sock_sendall(left, b"0123456789") is None
        assert await loop.sock_recv(right, 2) == b"01"
        memory = bytearray(b"......")
        assert await loop.sock_recv_into(right, memoryview(memory)[2:4]) == 2
        assert memory == b"..23.."
        data, _ = await loop.sock_recvfrom(right, 2)
        assert data == b"45"
        assert await loop.sock_recvfrom_into(right, memory, 1) == (1, None)
        assert memory == b"6.23.."
        size, _ = await loop.sock_recvfrom_into(right, memory)
        assert (size, memory) == (3, b"7893..")
        left.close()
        assert await loop.sock_recv(right, 10) == b""
        assert await loop.sock_recv_into(right, memory) == 0


@on_loop
async def test_results_that_are_waited_for() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        memory = bytearray(4)
        for call, expected in (
            (loop.sock_recv(left, 10), b"data"),
            (loop.sock_recv_into(left, memory), 4),
            (loop.sock_recvfrom(left, 10), (b"data", None)),
            (loop.sock_recvfrom_into(left, memory), (4, None)),
        ):
            waiting = asyncio.create_task(call)
            await turns()
            assert not waiting.done()
            right.send(b"data")
            assert await waiting == expected
        assert memory == b"data"


@on_loop
async def test_the_end_of_file_is_waited_for() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        waiting = asyncio.create_task(loop.sock_recv(left, 10))
        await turns()
        right.close()
        assert await waiting == b""


@pytest.mark.parametrize(
    "data",
    [b"bytes", bytearray(b"byte array"), memoryview(b"a view")[2:], b""],
)
@on_loop
async def test_what_sendall_takes(data: Any) -> None:
    with make_pair() as (left, right):
        loop = asyncio.get_running_loop()
        assert await loop.sock_sendall(left, data) is None
        left.close()
        assert await loop.sock_recv(right, 100) == bytes(data)


@on_loop
async def test_sendall_waits_and_keeps_the_order() -> None:
    payload = os.urandom(3 << 20)
    with make_pair() as (left, right):
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(left, memoryview(payload)))
        await turns()
        assert not sending.done()
        assert await read_exactly(right, len(payload)) == payload
        assert await sending is None


@on_loop
async def test_datagrams() -> None:
    loop = asyncio.get_running_loop()
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as two,
    ):
        for each in (one, two):
            each.setblocking(False)
            each.bind(("127.0.0.1", 0))
        here, there = one.getsockname(), two.getsockname()
        assert await loop.sock_sendto(one, b"abc", there) == 3
        assert await loop.sock_sendto(one, bytearray(b""), there) == 0
        assert await loop.sock_sendto(one, memoryview(b"defg"), there) == 4
        assert await loop.sock_recvfrom(two, 2) == (b"ab", here)
        assert await loop.sock_recvfrom(two, 10) == (b"", here)
        memory = bytearray(10)
        assert await loop.sock_recvfrom_into(two, memory) == (4, here)
        waiting = asyncio.create_task(loop.sock_recvfrom_into(two, memory, 3))
        await turns()
        one.sendto(b"hijkl", there)
        assert await waiting == (3, here)
        assert memory == b"hijg" + bytes(6)


@on_loop
async def test_sendto_waits_for_room(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = str(tmp_path / "socket")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taker,
    ):
        taker.bind(path)
        sender.setblocking(False)
        taker.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(b"filling", path)
        waiting = asyncio.create_task(loop.sock_sendto(sender, b"last", path))
        await turns()
        assert not waiting.done()
        while (data := await loop.sock_recv(taker, 100)) != b"last":
            assert data == b"filling"
        assert await waiting == 4


@on_loop
async def test_accept_and_connect() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        waiting = asyncio.create_task(loop.sock_accept(listener))
        await turns()
        with socket.socket() as client:
            client.setblocking(False)
            assert await loop.sock_connect(client, ("localhost", port)) is None
            conn, address = await waiting
            with conn:
                assert type(conn) is socket.socket
                assert conn.gettimeout() == 0
                assert conn.family == socket.AF_INET
                assert not os.get_inheritable(conn.fileno())
                assert address == client.getsockname()
                conn.send(b"hello")
                assert await loop.sock_recv(client, 10) == b"hello"


@on_loop
async def test_many_accepts_one_after_the_other(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(100)
        listener.setblocking(False)
        for _ in range(30):
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                await loop.sock_connect(client, path)
                conn, address = await loop.sock_accept(listener)
                conn.close()
                assert address == ""


@on_loop
async def test_failures_of_connect(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with socket.socket() as client:
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError) as refusal:
            await loop.sock_connect(client, address)
        assert f"Connect call failed {address}" in str(refusal.value)
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        with pytest.raises(FileNotFoundError):
            await loop.sock_connect(client, str(tmp_path / "none"))
        with pytest.raises(TypeError):
            await loop.sock_connect(client, 5)


@on_loop
async def test_failures_of_peers() -> None:
    loop = asyncio.get_running_loop()
    left, right = tcp_pair()
    with left:
        left.setblocking(False)
        waiting = asyncio.create_task(loop.sock_recv(left, 10))
        await turns()
        reset(right)
        with pytest.raises(ConnectionResetError):
            await waiting
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(left, b"x")
    with make_pair() as (left, right):
        stuff(left)
        waiting = asyncio.create_task(loop.sock_sendall(left, b"x"))
        await turns()
        right.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await waiting


@on_loop
async def test_wrong_buffers() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        right.send(b"x")
        with pytest.raises(TypeError):
            await loop.sock_recv_into(left, b"read only")
        with pytest.raises(TypeError):
            await loop.sock_recv(left, "ten")
        with pytest.raises(ValueError):
            await loop.sock_recv(left, -1)
        with pytest.raises(TypeError):
            await loop.sock_sendall(left, "text")
        numbers = array.array("I", [0] * 4)
        assert await loop.sock_recv_into(left, numbers) == 1
        assert numbers.tobytes() == b"x" + bytes(15)
