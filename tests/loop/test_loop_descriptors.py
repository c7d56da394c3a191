"""add_reader, add_writer and sock_*: the same on asyncio's loop and on ours."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from loop.sockets import open_pair


def test_readers_are_called_while_there_is_something(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = open_pair()
        seen: list[bytes] = []
        done = loop.create_future()

        def read() -> None:
            seen.append(left.recv(1))
            if seen[-1] == b"c":
                done.set_result(None)

        loop.add_reader(left, read)
        right.send(b"abc")
        await asyncio.wait_for(done, 5)
        assert seen == [b"a", b"b", b"c"]
        assert loop.remove_reader(left)
        assert not loop.remove_reader(left)
        left.close()
        right.close()

    runner.run(main())


def test_readers_can_be_added_and_removed_all_the_time(
    runner: asyncio.Runner,
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            left, right = open_pair()
            ready = loop.create_future()
            loop.add_reader(left, ready.set_result, None)
            right.send(b"x")
            await asyncio.wait_for(ready, 5)
            loop.remove_reader(left)
            left.close()
            right.close()

    runner.run(main())


def test_a_writer_waits_for_room(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writing, bytes(65536))
        room = loop.create_future()
        loop.add_writer(writing, room.set_result, None)
        await asyncio.sleep(0.01)
        assert not room.done()
        os.read(reading, 1 << 16)
        await asyncio.wait_for(room, 5)
        loop.remove_writer(writing)
        os.close(reading)
        os.close(writing)

    runner.run(main())


def test_reader_and_writer_of_one_descriptor(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = open_pair()
        readable, writable = loop.create_future(), loop.create_future()
        loop.add_reader(left, readable.set_result, None)
        loop.add_writer(left, writable.set_result, None)
        await asyncio.wait_for(writable, 5)
        assert loop.remove_writer(left)
        assert not readable.done()
        right.send(b"x")
        await asyncio.wait_for(readable, 5)
        assert loop.remove_reader(left)
        left.close()
        right.close()

    runner.run(main())


def test_a_regular_file_has_no_readiness(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        with open(tmp_path / "file", "wb") as file, pytest.raises(PermissionError):
            asyncio.get_running_loop().add_reader(file, print)

    runner.run(main())


def test_stream_sockets(runner: asyncio.Runner) -> None:
    payload = bytes(range(256)) * 8192  # 2 MiB: more than any socket buffer

    async def echo(listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        conn, _ = await loop.sock_accept(listener)
        with conn:
            while data := await loop.sock_recv(conn, 1 << 16):
                await loop.sock_sendall(conn, data)

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            server = asyncio.create_task(echo(listener))
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, listener.getsockname())
                sending = asyncio.create_task(loop.sock_sendall(client, payload))
                back = bytearray(len(payload))
                view, at = memoryview(back), 0
                while at < len(payload):
                    at += await loop.sock_recv_into(client, view[at:])
                await sending
            await server
            return bytes(back)

    assert runner.run(main()) == payload


def test_datagram_sockets(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with (
            socket.socket(type=socket.SOCK_DGRAM) as one,
            socket.socket(type=socket.SOCK_DGRAM) as two,
        ):
            for each in (one, two):
                each.setblocking(False)
                each.bind(("127.0.0.1", 0))
            receiving = asyncio.create_task(loop.sock_recvfrom(two, 100))
            await asyncio.sleep(0.01)
            assert await loop.sock_sendto(one, b"hello", two.getsockname()) == 5
            assert await receiving == (b"hello", one.getsockname())

    runner.run(main())


def test_sock_sendfile(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(300_000))

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        left, right = open_pair()
        with left, right, open(path, "rb") as file:
            sending = asyncio.create_task(loop.sock_sendfile(left, file))
            data = b""
            while len(data) < 300_000:
                data += await loop.sock_recv(right, 1 << 16)
            assert await sending == 300_000
            return data

    assert runner.run(main()) == path.read_bytes()


def test_a_refused_connection_is_an_error(runner: asyncio.Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, address)

    runner.run(main())


def test_a_cancelled_sock_recv_leaves_nothing(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = open_pair()
        with left, right:
            waiting = asyncio.create_task(loop.sock_recv(left, 10))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            right.send(b"data")
            assert await loop.sock_recv(left, 10) == b"data"

    runner.run(main())


def test_a_socket_is_removed_after_it_was_closed(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        loop.add_reader(left, print)
        left.close()
        assert loop.remove_reader(left)
        right.close()

    runner.run(main())
