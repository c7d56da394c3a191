"""Servers, connections, protocols, subprocesses: the same on both loops."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

PAYLOAD = os.urandom(1 << 20)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> bytes:
    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _, back = await asyncio.gather(send(), reader.read())
    writer.close()
    await writer.wait_closed()
    return back


def test_a_tcp_server_and_many_clients(runner: asyncio.Runner) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def client(number: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            data = b"%d" % number * 1000
            assert await talk(reader, writer, data) == data

        await asyncio.gather(*(client(number) for number in range(50)))
        server.close()
        await server.wait_closed()

    runner.run(main())


def test_much_data_with_flow_control(runner: asyncio.Runner) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connections = [
            await asyncio.open_connection("127.0.0.1", port) for _ in range(4)
        ]
        back = await asyncio.gather(*(talk(*each, PAYLOAD) for each in connections))
        assert back == [PAYLOAD] * 4
        server.close()
        await server.wait_closed()

    runner.run(main())


def test_a_unix_server(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        server = await asyncio.start_unix_server(echo, path)
        reader, writer = await asyncio.open_unix_connection(path)
        assert await talk(reader, writer, PAYLOAD) == PAYLOAD
        server.close()
        await server.wait_closed()

    runner.run(main())


class Recorder(asyncio.Protocol):
    """Notes what it is told; `closed` is done when the connection is lost."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(f"data {data.decode()}")

    def eof_received(self) -> bool:
        self.told.append("eof")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(f"lost {error}")
        self.closed.set_result(None)


def test_a_protocol_is_told_everything_in_order(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        _, protocol = await loop.create_connection(Recorder, sock=left)
        for text in ("a", "b"):
            right.send(text.encode())
            await asyncio.sleep(0.01)
        right.close()
        await asyncio.wait_for(protocol.closed, 5)
        assert protocol.told == ["made", "data a", "data b", "eof", "lost None"]

    runner.run(main())


def test_a_paused_transport_reads_nothing(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        transport.pause_reading()
        right.send(b"x")
        await asyncio.sleep(0.02)
        assert protocol.told == ["made"]
        transport.resume_reading()
        await asyncio.sleep(0.02)
        assert protocol.told == ["made", "data x"]
        transport.abort()
        await asyncio.wait_for(protocol.closed, 5)
        right.close()

    runner.run(main())


class Datagrams(asyncio.DatagramProtocol):
    """Puts what arrives into a queue."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, _: object) -> None:
        self.arrived.put_nowait(data)


def test_datagram_endpoints(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        address = ("127.0.0.1", 0)
        first, taker = await loop.create_datagram_endpoint(Datagrams, address)
        second, _ = await loop.create_datagram_endpoint(
            Datagrams, remote_addr=first.get_extra_info("sockname")
        )
        for number in range(20):
            second.sendto(b"%d" % number)
            assert await asyncio.wait_for(taker.arrived.get(), 5) == b"%d" % number
        first.close()
        second.close()
        await asyncio.sleep(0.01)

    runner.run(main())


def test_pipes(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        transport, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(writing, "wb", 0)
        )
        transport.write(b"through the pipe")
        transport.close()
        assert await asyncio.wait_for(reader.read(), 5) == b"through the pipe"

    runner.run(main())


def test_a_server_stops_serving(runner: asyncio.Runner) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    runner.run(main())


def test_names_are_resolved(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        assert found[0][4] == ("127.0.0.1", 80)

    runner.run(main())


def test_subprocesses(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.12 asyncio needs a watcher; the thread one works with every loop."""

    async def main() -> tuple[bytes, int | None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; sys.stdout.write(sys.stdin.read()[::-1]); sys.exit(3)",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(b"abc")
        return out, process.returncode

    assert runner.run(main()) == (b"cba", 3)
